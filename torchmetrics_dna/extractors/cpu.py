"""Inference on the CPU, with activations that depend neither on the batch nor on the number of threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from torchmetrics_dna.extractors.compiled import UncompiledMode

# Size of a block of memory in bytes, just below glibc's limit of 32 MiB. Larger blocks do not change what glibc keeps.
_BLOCK = 2**25 - 2**16


@cache
def keep_freed_memory() -> None:
    """Let glibc keep up to 64 MiB of freed memory for later allocations, by releasing one large block.

    glibc keeps twice the size of the largest mapped block that was released, unless the user set `MALLOC_*`. Without
    such a block, glibc returns the buffers of most networks to the system. Their memory is then mapped again, page by
    page, several times in a forward pass.
    """
    # The block takes no physical memory, because nothing is written to it.
    torch.empty(_BLOCK, dtype=torch.uint8, device="cpu")


def cut(count: int, most: int) -> list[slice]:
    """Split a batch of ``count`` images into slices of up to ``most`` images.

    A slice of a single image is avoided if possible, because the user's module may round differently for one image than
    for several. An empty batch is one slice.

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

    In this context, oneDNN computes all of these layers. By default, torch uses other code for linear layers, for 1 x 1
    convolutions of few images on one thread, and for a small image. oneDNN also makes linear layers an eighth faster.
    """
    return _ThroughOneDNN() if device.type == "cpu" else nullcontext()


class _ThroughOneDNN(UncompiledMode):
    """Mode in which oneDNN computes convolutions and linear layers, if it supports their arguments."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        replacement = _REPLACEMENTS.get(func, func)
        return replacement(*args, **(kwargs or {}))


def _through_onednn(convolve: Callable[..., Any]) -> Callable[..., Any]:
    """Return a replacement of ``torch.conv1d``, ``conv2d`` or ``conv3d`` that uses oneDNN for supported arguments."""

    def replaced(
        input: Any,  # noqa: A002 - torch's own word
        weight: Any,
        bias: Any = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Any:
        is_supported = _is_for_onednn(input, weight, bias) and input.ndim == weight.ndim
        if not is_supported or _is_error(stride, padding):
            return convolve(input, weight, bias, stride, padding, dilation, groups)
        steps = _as_sequence(stride)
        spacings = _as_sequence(dilation)
        padded, zeros = _padded(input, weight, padding, spacings)
        return torch.mkldnn_convolution(padded, weight, _contiguous(bias), zeros, steps, spacings, groups)

    return replaced


def _is_error(stride: Any, padding: Any) -> bool:
    """True if torch raises an error for the arguments of a convolution: strides with the padding "same"."""
    return padding == "same" and any(step != 1 for step in _as_sequence(stride))


def _padded(input: Any, weight: Any, padding: Any, dilation: Sequence[int]) -> tuple[Tensor, Any]:  # noqa: A002
    """Return an input of a convolution, which may be padded, and the remaining padding as numbers."""
    if padding == "same":
        return _padded_to_same(input, weight, dilation)
    if padding == "valid":
        return input, (0,)
    return input, _as_sequence(padding)


def _padded_to_same(input: Any, weight: Any, dilation: Sequence[int]) -> tuple[Tensor, list[int]]:  # noqa: A002
    """Return an input of a convolution, and the padding with which the output has the size of the input.

    The padding is the number of zeros at both ends of each axis. If an axis needs an odd number of zeros, the returned
    input has the additional zero at its end.
    """
    num_axes = weight.ndim - 2
    steps = dilation if len(dilation) > 1 else [*dilation] * num_axes
    zeros = [step * (size - 1) for step, size in zip(steps, weight.shape[2:], strict=True)]
    additional = []
    # `pad` expects the last axis first.
    for count in reversed(zeros):
        additional += [0, count % 2]
    return functional.pad(input, additional), [count // 2 for count in zeros]


def _as_sequence(size: Any) -> Any:
    """Return an argument of a convolution as a sequence. One number holds for all axes."""
    return (size,) if isinstance(size, int) else size


def _contiguous(bias: Any) -> Any:
    """Return a contiguous bias, or None if it is None. oneDNN ignores the strides of a bias."""
    return None if bias is None else bias.contiguous()


def _never_alone(convolve: Callable[..., Any]) -> Callable[..., Any]:
    """Return a replacement of a transposed convolution that computes a single image as a batch of two.

    Transposed convolutions round differently for a batch of one image.
    """

    def replaced(input: Any, weight: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: A002 - torch's own word
        is_single = input.ndim == weight.ndim and len(input) == 1
        if not is_single or not _is_for_onednn(input, weight):
            return convolve(input, weight, *args, **kwargs)
        twice = input.expand(2, *input.shape[1:])
        return convolve(twice, weight, *args, **kwargs)[:1]

    return replaced


def _linear_by_onednn(input: Any, weight: Any, bias: Any = None) -> Any:  # noqa: A002 - torch's own word
    """Compute ``torch.nn.functional.linear`` by oneDNN, if it supports the arguments."""
    is_supported = _is_for_onednn(input, weight, bias)
    # torch computes the product with a vector, and raises an error for shapes that do not fit.
    if not is_supported or weight.ndim != 2 or input.shape[-1:] != weight.shape[1:]:
        return functional.linear(input, weight, bias)
    # A single row rounds differently, so it is computed as two rows.
    is_single = input.numel() == input.shape[-1]
    rows = input.expand(2, *input.shape) if is_single else input
    contiguous = rows.contiguous(), weight.contiguous(), _contiguous(bias)
    outputs = torch.ops.mkldnn._linear_pointwise(*contiguous, "none", [], "")
    return outputs[0] if is_single else outputs


_REPLACEMENTS: dict[Callable[..., Any], Callable[..., Any]] = {
    **{convolve: _through_onednn(convolve) for convolve in (torch.conv1d, torch.conv2d, torch.conv3d)},
    **{
        convolve: _never_alone(convolve)
        for convolve in (torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d)
    },
    functional.linear: _linear_by_onednn,
}


def _is_for_onednn(input: Any, *parameters: Any) -> bool:  # noqa: A002 - torch's own word
    """True if oneDNN supports this input with these parameters. A parameter may be None."""
    # The user's module may compile a part of itself.
    if torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu"):
        return False
    is_available = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if not is_available or not torch.backends.mkldnn.enabled:
        return False
    tensors = [input, *(parameter for parameter in parameters if parameter is not None)]
    return all(_is_float32_on_cpu(tensor) for tensor in tensors) and input.numel() > 0


def _is_float32_on_cpu(tensor: Any) -> bool:
    """True for a dense float32 tensor on the CPU; False for subclasses of tensors, such as quantized tensors."""
    return (
        type(tensor) in (Tensor, nn.Parameter)
        and tensor.is_cpu
        and tensor.dtype == torch.float32
        and tensor.layout == torch.strided
    )
