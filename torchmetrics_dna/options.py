"""Fields of dataclasses that are options of commands, too, and helpers for arguments.

It imports nothing of this package, so that the command line starts at once.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sized
from dataclasses import field
from typing import Any, get_args

_LONGEST = 80  # characters of a value in an error


def option(default: Any, group: str, text: str) -> Any:
    """Return a field that is also an option of commands, with this help text.

    Args:
        default: Default of the field and of the option.
        group: Panel of the help, and table of the documentation, that lists the option.
        text: Help text.

    """
    return field(default=default, metadata={"group": group, "help": text})


def names_in(text: str) -> list[str]:
    """Split a list of names at commas and spaces.

    Example:
        >>> names_in("dna-emd, fd kid")
        ['dna-emd', 'fd', 'kid']

    """
    return text.replace(",", " ").split()


def brief(value: object) -> str:
    """Return a value in one short line: of a long one its type, with its shape or length.

    Example:
        >>> brief("x"), brief(list(range(100)))
        ("'x'", 'a list of 100')

    """
    kind, shape = type(value).__name__, getattr(value, "shape", None)
    kind = f"a{'n' * (kind[0] in 'AEIOUaeiou')} {kind}"
    if isinstance(shape, tuple):
        return f"{kind} of shape {tuple(shape)}"
    text = " ".join(repr(value).split())
    if len(text) <= _LONGEST:
        return text
    size = f" of {len(value)}" if isinstance(value, Sized) else ""
    return f"{text[:_LONGEST]}..." if isinstance(value, str) else f"{kind}{size}"


def check_one_of(name: str, value: object, choices: Any) -> None:
    """Raise ValueError unless the value is one of a Literal's."""
    if value not in get_args(choices):
        raise ValueError(f"Argument `{name}` expected to be one of {get_args(choices)}, but got {value!r}")


def warn(text: str) -> None:
    """Warn at the line by which a user called this package, for which Python shows equal warnings once."""
    frame, level = sys._getframe(1), 2
    while frame.f_back and str(frame.f_globals.get("__name__")).partition(".")[0] == __package__:
        frame, level = frame.f_back, level + 1
    warnings.warn(text, stacklevel=level)


def lazily(package: str, file: str) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Return ``__getattr__``, ``__dir__`` and ``__all__`` of a package that imports names of its stub on first use."""
    import lazy_loader  # type: ignore[import-untyped]

    attached: tuple[Any, Any, list[str]] = lazy_loader.attach_stub(package, file)
    return attached
