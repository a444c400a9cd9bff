"""Batch-invariant CPU inference: an image's activations do not depend on the rest of its batch."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


def cut(count: int, most: int) -> list[slice]:
    """Split a batch into slices of up to ``most`` images, without a slice of one image where possible.

    Kernels for one image often round differently from those for more. An empty batch is one slice.

    Example:
        >>> [len(range(9)[part]) for part in cut(9, most=4)]
        [4, 3, 2]

    """
    ends = [*range(most, count, most), count]
    if most > 2 and count > most and count % most == 1:
        ends[-2] -= 1
    return [slice(begin, end) for begin, end in zip([0, *ends], ends, strict=False)]


class PackedWeights(dict[nn.Parameter, Tensor]):
    """Cache of convolution weights in oneDNN's layout, by parameter, for weights that never change.

    Without it, oneDNN reorders them in each call: a tenth of the time of a ResNet-50 with four images. It takes as much
    memory as they do. Pickles without its content.
    """

    def __reduce__(self) -> tuple[type[PackedWeights], tuple[()]]:
        return PackedWeights, ()


def alike_convolutions(device: torch.device, packed: PackedWeights | None = None) -> AbstractContextManager[object]:
    """Return a context in which CPU convolutions round identically for any number of images and threads.

    It routes all of them through oneDNN, which torch skips for 1 x 1 convolutions on one thread and for a small image.
    Packed weights are used, and completed.
    """
    return _ThroughOneDNN(packed) if device.type == "cpu" else nullcontext()


class _ThroughOneDNN(TorchFunctionMode):
    def __init__(self, packed: PackedWeights | None) -> None:
        super().__init__()
        self._convolve = partial(_convolve, packed)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return (self._convolve if func is torch.conv2d else func)(*args, **kwargs or {})


def _convolve(
    packed: PackedWeights | None,
    input: Any,  # noqa: A002 - torch's own word
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Any:
    """Replace ``torch.conv2d`` by oneDNN where it applies."""
    if (
        torch.compiler.is_compiling()  # of a module of the user
        or not torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        or not torch.backends.mkldnn.enabled
        or torch.is_autocast_enabled("cpu")
        or not (_is_plain(input) and _is_plain(weight) and input.ndim == 4 and input.numel())
        or isinstance(padding, str)
    ):
        return torch.conv2d(input, weight, bias, stride, padding, dilation, groups)
    padding, stride, dilation = ((size,) if isinstance(size, int) else size for size in (padding, stride, dilation))
    if packed is None or not isinstance(weight, nn.Parameter):
        return torch.mkldnn_convolution(input, weight, bias, padding, stride, dilation, groups)
    if weight not in packed:
        reorder: Any = torch._C._nn.mkldnn_reorder_conv2d_weight  # its stub lacks arguments
        packed[weight] = reorder(weight.to_mkldnn(), padding, stride, dilation, groups, input.shape)
    return torch.ops.mkldnn._convolution_pointwise(
        input, packed[weight], bias, padding, stride, dilation, groups, "none", [], ""
    )


def _is_plain(tensor: Any) -> bool:
    return (
        type(tensor) in (Tensor, nn.Parameter)
        and tensor.device.type == "cpu"
        and tensor.dtype == torch.float32
        and tensor.layout == torch.strided
    )
