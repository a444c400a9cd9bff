"""Less work on the meta device, where tensors have shapes and no values."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:
    from collections.abc import Callable


class LeavingOut(TorchFunctionMode):
    """Leaves out functions that keep the shape of their first argument: torch takes long over these, in Python.

    Args:
        functions: Such functions.

    """

    def __init__(self, *functions: Callable[..., Any]) -> None:
        super().__init__()
        self._functions = functions

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        return next(chain(args, kwargs.values())) if func in self._functions else func(*args, **kwargs)
