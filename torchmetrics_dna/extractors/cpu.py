"""Batch-invariant CPU inference: an image's activations depend neither on the rest of its batch nor on threads."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any
from weakref import ref

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from torchmetrics_dna.extractors.buffers import IN_PLACE, MAKERS

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager


def cut(count: int, most: int) -> list[slice]:
    """Split a batch into slices of up to ``most`` images, without a slice of one image where possible.

    Operators of a user's module may round differently for one image than for more. An empty batch is one slice.

    Example:
        >>> [len(range(9)[part]) for part in cut(9, most=4)]
        [4, 3, 2]

    """
    ends = [*range(most, count, most), count]
    if most > 2 and count > most and count % most == 1:
        ends[-2] -= 1
    return [slice(begin, end) for begin, end in zip([0, *ends], ends, strict=False)]


def rounding_alike(device: torch.device, reusable: frozenset[int] = frozenset()) -> AbstractContextManager[object]:
    """Return a context in which CPU convolutions and linear layers round alike for any number of images and threads.

    All go through oneDNN, which torch skips for linear layers, which take an eighth less time then, for 1 x 1
    convolutions of few images on one thread, and for a small image. Calls whose number is among ``reusable`` write
    into their input: new memory for their output, which the system maps, takes a tenth of a pass.
    """
    return _OnCPU(reusable) if device.type == "cpu" else nullcontext()


class _OnCPU(TorchFunctionMode):
    def __init__(self, reusable: frozenset[int]) -> None:
        super().__init__()
        self._reusable = reusable
        self._calls = 0
        self._made: Callable[[], Any] = lambda: None  # weak reference to what the last call made

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        replacement = _REPLACEMENTS.get(func, func)
        if func not in MAKERS and func not in IN_PLACE:
            return replacement(*args, **kwargs)
        if func in IN_PLACE:
            is_fresh = args and args[0] is self._made() and _is_plain(args[0])
            replacement = IN_PLACE[func] if is_fresh and self._calls in self._reusable else func
            self._calls += 1
        output = replacement(*args, **kwargs)
        self._made = ref(output)
        return output


def _through_onednn(convolve: Callable[..., Any]) -> Callable[..., Any]:
    """Return the replacement of ``torch.conv1d``, ``conv2d`` or ``conv3d`` by oneDNN where it applies."""

    def replaced(
        input: Any,  # noqa: A002 - torch's own word
        weight: Any,
        bias: Any = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Any:
        if not _is_for_onednn(input, weight, bias) or input.ndim != weight.ndim or isinstance(padding, str):
            return convolve(input, weight, bias, stride, padding, dilation, groups)
        padding, stride, dilation = ((size,) if isinstance(size, int) else size for size in (padding, stride, dilation))
        bias = bias if bias is None else bias.contiguous()  # or oneDNN reads what lies between its values
        return torch.mkldnn_convolution(input, weight, bias, padding, stride, dilation, groups)

    return replaced


def _never_alone(convolve: Callable[..., Any]) -> Callable[..., Any]:
    """Return the replacement of a transposed convolution that runs a single image twice, since it rounds otherwise."""

    def replaced(input: Any, weight: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: A002 - torch's own word
        if input.ndim != weight.ndim or len(input) != 1 or not _is_for_onednn(input, weight):
            return convolve(input, weight, *args, **kwargs)
        return convolve(input.expand(2, *input.shape[1:]), weight, *args, **kwargs)[:1]

    return replaced


def _transform(input: Any, weight: Any, bias: Any = None) -> Any:  # noqa: A002 - torch's own word
    """Replace ``torch.nn.functional.linear`` by oneDNN where it applies."""
    if not _is_for_onednn(input, weight, bias) or weight.ndim != 2 or input.shape[-1:] != weight.shape[1:]:
        return functional.linear(input, weight, bias)
    is_single = input.numel() == input.shape[-1]  # a single row rounds differently
    rows = input.expand(2, *input.shape) if is_single else input
    bias = bias if bias is None else bias.contiguous()
    outputs = torch.ops.mkldnn._linear_pointwise(rows.contiguous(), weight.contiguous(), bias, "none", [], "")
    return outputs[0] if is_single else outputs


_REPLACEMENTS: dict[Callable[..., Any], Callable[..., Any]] = {
    **{convolve: _through_onednn(convolve) for convolve in (torch.conv1d, torch.conv2d, torch.conv3d)},
    **{
        convolve: _never_alone(convolve)
        for convolve in (torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d)
    },
    functional.linear: _transform,
}


def _is_for_onednn(*tensors: Any) -> bool:
    is_usable = (
        not torch.compiler.is_compiling()  # of a module of the user
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and torch.backends.mkldnn.enabled
        and not torch.is_autocast_enabled("cpu")
    )
    return bool(is_usable and all(_is_plain(tensor) for tensor in tensors if tensor is not None) and tensors[0].numel())


def _is_plain(tensor: Any) -> bool:
    return (
        type(tensor) in (Tensor, nn.Parameter)
        and tensor.is_cpu
        and tensor.dtype == torch.float32
        and tensor.layout == torch.strided
    )
