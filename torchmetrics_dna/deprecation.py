"""What is to go: a warning in one minor version, gone in the next."""

from __future__ import annotations

import functools
import warnings
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_P = ParamSpec("_P")
_R = TypeVar("_R")


def deprecated(since: str, gone: str, instead: str) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Mark a function or a class as deprecated: each call warns, with a FutureWarning, which Python shows to all.

    Args:
        since: First version that warns, such as ``"0.3"``.
        gone: Version in which it will be gone, the next minor one.
        instead: What to use, such as ``"`compare`"``.

    Example:
        >>> @deprecated("0.3", "0.4", "`new`")
        ... def old(x: int) -> int:
        ...     return x + 1
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     old(1), str(caught[0].message)
        (2, '`old` is deprecated since version 0.3 and will be gone in 0.4; use `new`')

    """

    def mark(call: Any) -> Any:
        text = f"`{call.__name__}` is deprecated since version {since} and will be gone in {gone}; use {instead}"
        if isinstance(call, type):
            call.__init__ = _warning(call.__init__, text)  # type: ignore[misc]
            return call
        return _warning(call, text)

    return mark


def _warning(call: Any, text: str) -> Any:
    @functools.wraps(call)
    def warned(*args: Any, **kwargs: Any) -> Any:
        warnings.warn(text, FutureWarning, stacklevel=2)
        return call(*args, **kwargs)

    return warned
