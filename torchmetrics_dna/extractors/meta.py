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
_IN_PLACE = 3  # position of ``inplace`` among the arguments of hardtanh


class Skipping(UncompiledMode):
    """Mode that skips functions that keep the shape of their first argument, whose meta kernels are slow Python.

    Convolutions only get the shape of their output, and residuals that of their input: the meta kernels of these import
    sympy and TorchDynamo, which takes longer than a comparison of a few images.
    """

    def __init__(self, *functions: Callable[..., Any]) -> None:
        super().__init__()
        self._functions = functions

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in self._functions or (func in _SUMS and _are_alike(*args)):
            first: Tensor = next(chain(args, kwargs.values()))
            in_place = kwargs.get("inplace") or (func is hardtanh and True in args[_IN_PLACE:])
            if not (in_place or func.__name__.endswith("_")):
                return first.new_empty(first.shape)
            increment_version(first)  # as the function would
            return first
        if func is torch.conv2d and args[0].is_meta and (sizes := _sizes_after(*args, **kwargs)):
            return args[0].new_empty(sizes)
        return func(*args, **kwargs)


def _are_alike(maps: Any, other: Any = None) -> bool:
    """True for two tensors on the meta device of one shape and dtype."""
    tensors = isinstance(maps, Tensor) and isinstance(other, Tensor)
    return tensors and maps.is_meta and other.is_meta and (maps.shape, maps.dtype) == (other.shape, other.dtype)


def _sizes_after(
    maps: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,  # noqa: ARG001 - arguments of torch.conv2d
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> list[int] | None:
    """Return the shape of a convolution's output; None where torch has more to say, such as an error."""
    options = (stride, padding, dilation)
    if maps.ndim != 4 or not all(isinstance(each, tuple) for each in options) or maps.dtype != weight.dtype:
        return None
    kernels = weight.shape[2:]
    sides = [
        (size + 2 * pad - step * (kernel - 1) - 1) // jump + 1
        for size, kernel, jump, pad, step in zip(maps.shape[2:], kernels, *options, strict=True)
    ]
    fits = maps.shape[1] == weight.shape[1] * groups and min(sides) > 0
    return [maps.shape[0], weight.shape[0], *sides] if fits else None
