"""Skip needless work on the meta device, where tensors have shapes but no values."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:
    from collections.abc import Callable


class Skipping(TorchFunctionMode):
    """Mode that skips functions that keep the shape of their first argument, whose meta kernels are slow Python.

    Args:
        functions: Functions to skip.

    """

    def __init__(self, *functions: Callable[..., Any]) -> None:
        super().__init__()
        self._functions = functions

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        return next(chain(args, kwargs.values())) if func in self._functions else func(*args, **kwargs)
