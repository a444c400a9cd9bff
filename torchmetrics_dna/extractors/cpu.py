"""Batch-invariant CPU inference: an image's activations do not depend on the rest of its batch."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional
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


def rounding_alike(device: torch.device, packed: PackedWeights | None = None) -> AbstractContextManager[object]:
    """Return a context in which CPU convolutions and linear layers round alike for any number of images and threads.

    It routes them through oneDNN. torch skips it for linear layers, which take an eighth less time then, for 1 x 1
    convolutions on one thread and for a small image. Packed weights are used, and completed.
    """
    return _ThroughOneDNN(packed) if device.type == "cpu" else nullcontext()


class _ThroughOneDNN(TorchFunctionMode):
    def __init__(self, packed: PackedWeights | None) -> None:
        super().__init__()
        self._replacements: dict[Any, Any] = {torch.conv2d: partial(_convolve, packed), functional.linear: _transform}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self._replacements.get(func, func)(*args, **kwargs or {})


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
    if not _is_for_onednn(input, weight, bias) or input.ndim != 4 or isinstance(padding, str):
        return torch.conv2d(input, weight, bias, stride, padding, dilation, groups)
    padding, stride, dilation = ((size,) if isinstance(size, int) else size for size in (padding, stride, dilation))
    bias = bias if bias is None else bias.contiguous()  # or oneDNN reads what lies between its values
    if packed is None or not isinstance(weight, nn.Parameter):
        return torch.mkldnn_convolution(input, weight, bias, padding, stride, dilation, groups)
    if weight not in packed:
        reorder: Any = torch._C._nn.mkldnn_reorder_conv2d_weight  # its stub lacks arguments
        packed[weight] = reorder(weight.to_mkldnn(), padding, stride, dilation, groups, input.shape)
    return torch.ops.mkldnn._convolution_pointwise(
        input, packed[weight], bias, padding, stride, dilation, groups, "none", [], ""
    )


def _transform(input: Any, weight: Any, bias: Any = None) -> Any:  # noqa: A002 - torch's own word
    """Replace ``torch.nn.functional.linear`` by oneDNN where it applies."""
    if not _is_for_onednn(input, weight, bias) or weight.ndim != 2 or input.shape[-1:] != weight.shape[1:]:
        return functional.linear(input, weight, bias)
    is_single = input.numel() == input.shape[-1]  # a single row rounds differently
    rows = input.expand(2, *input.shape) if is_single else input
    bias = bias if bias is None else bias.contiguous()
    outputs = torch.ops.mkldnn._linear_pointwise(rows.contiguous(), weight.contiguous(), bias, "none", [], "")
    return outputs[0] if is_single else outputs


def _is_for_onednn(input: Any, weight: Any, bias: Any) -> bool:  # noqa: A002 - torch's own word
    is_usable = (
        not torch.compiler.is_compiling()  # of a module of the user
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and torch.backends.mkldnn.enabled
        and not torch.is_autocast_enabled("cpu")
    )
    are_plain = all(_is_plain(tensor) for tensor in (input, weight, bias) if tensor is not None)
    return bool(is_usable and are_plain and input.numel())


def _is_plain(tensor: Any) -> bool:
    return (
        type(tensor) in (Tensor, nn.Parameter)
        and tensor.device.type == "cpu"
        and tensor.dtype == torch.float32
        and tensor.layout == torch.strided
    )
