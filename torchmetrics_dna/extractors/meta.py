"""Skip needless work on the meta device, where tensors have shapes but no values."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import increment_version
from torch.nn.functional import hardtanh

from torchmetrics_dna.extractors.compiled import UncompiledMode

_SUMS = (Tensor.add, Tensor.add_, Tensor.__iadd__)
# Position of ``inplace`` among the arguments of hardtanh.
_IN_PLACE = 3


class Skipping(UncompiledMode):
    """Mode that replaces slow functions on the meta device, where only the shape of an output matters.

    Some functions are slow because their meta kernels are written in Python. Those for convolutions and additions
    import sympy and TorchDynamo, which takes longer than comparing a few images.

    Args:
        functions: Functions to skip, whose output has the shape of their first argument. The mode also skips residual
            additions, and replaces convolutions.

    """

    def __init__(self, *functions: Callable[..., Any]) -> None:
        super().__init__()
        self._functions = functions

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        keeps_shape = func in self._functions or (func in _SUMS and _are_alike(*args))
        if keeps_shape:
            return _skipped(func, args, kwargs)
        if func is torch.conv2d and args[0].is_meta:
            shape = _shape_after(*args, **kwargs)
            if shape is not None:
                return args[0].new_empty(shape)
        return func(*args, **kwargs)


def _skipped(func: Any, args: Any, kwargs: Any) -> Tensor:
    """Return the output of a function that keeps the shape of its first argument, without calling the function."""
    first: Tensor = next(chain(args, kwargs.values()))
    has_inplace = kwargs.get("inplace") or (func is hardtanh and True in args[_IN_PLACE:])
    if has_inplace or func.__name__.endswith("_"):
        # The function would write to its argument, so increment torch's counter of writes.
        increment_version(first)
        return first
    return first.new_empty(first.shape)


def _are_alike(maps: Any, other: Any = None) -> bool:
    """True if both values are tensors on the meta device with the same shape and dtype."""
    if not isinstance(maps, Tensor) or not isinstance(other, Tensor):
        return False
    if not maps.is_meta or not other.is_meta:
        return False
    return maps.shape == other.shape and maps.dtype == other.dtype


def _shape_after(
    maps: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,  # noqa: ARG001 - arguments of torch.conv2d
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> list[int] | None:
    """Return the shape of the output of a convolution.

    Returns:
        The shape. None if the arguments have an unusual form or are wrong, so that torch must compute the shape or
        raise an error.

    """
    has_pairs = all(isinstance(option, tuple) for option in (stride, padding, dilation))
    if maps.ndim != 4 or not has_pairs or maps.dtype != weight.dtype:
        return None
    if maps.shape[1] != weight.shape[1] * groups:
        return None
    sides = []
    axes = zip(maps.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True)
    for size, kernel, step, zeros, spacing in axes:
        extent = spacing * (kernel - 1) + 1
        side = (size + 2 * zeros - extent) // step + 1
        if side < 1:
            return None
        sides.append(side)
    return [maps.shape[0], weight.shape[0], *sides]
