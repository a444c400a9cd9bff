"""Inference on the CPU: activations of an image that depend neither on its batch nor on the number of threads."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from torchmetrics_dna.extractors.compiled import UncompiledMode

_BLOCK = 2**25 - 2**16  # bytes, just below the largest block from whose release glibc learns


@cache
def keep_freed_memory() -> None:
    """Let glibc keep up to 64 MiB that a forward pass frees, which otherwise is mapped again for the next.

    It keeps twice as much as the largest mapped block that was released, unless the user set `MALLOC_*`. Most networks'
    buffers are smaller, so that their memory is returned and mapped anew, page by page, several times in a pass.
    """
    torch.empty(_BLOCK, dtype=torch.uint8, device="cpu")  # never written to, so it takes no memory


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


def rounding_alike(device: torch.device) -> AbstractContextManager[object]:
    """Return a context in which CPU convolutions and linear layers round alike for any number of images and threads.

    All of them go through oneDNN. By itself, torch uses other code for linear layers, for 1 x 1 convolutions of few
    images on one thread, and for a small image. oneDNN also makes linear layers an eighth faster.
    """
    return _ThroughOneDNN() if device.type == "cpu" else nullcontext()


class _ThroughOneDNN(UncompiledMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        replacement = _REPLACEMENTS.get(func, func)
        return replacement(*args, **(kwargs or {}))


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
        has_steps = padding == "same" and stride != 1 and set(stride) != {1}  # torch refuses it
        if not _is_for_onednn(input, weight, bias) or input.ndim != weight.ndim or has_steps:
            return convolve(input, weight, bias, stride, padding, dilation, groups)
        padding = 0 if padding == "valid" else padding
        padding, stride, dilation = ((size,) if isinstance(size, int) else size for size in (padding, stride, dilation))
        if padding == "same":  # an odd number of zeros has one more at the end
            steps = dilation if len(dilation) > 1 else dilation * (weight.ndim - 2)
            zeros = [step * (size - 1) for step, size in zip(steps, weight.shape[2:], strict=True)]
            input = functional.pad(input, [end for count in reversed(zeros) for end in (0, count % 2)])  # noqa: A001
            padding = [count // 2 for count in zeros]
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
