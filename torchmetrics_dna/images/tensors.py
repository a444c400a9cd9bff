"""Check batches of images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence


def check_images(imgs: Tensor, normalize: bool, channels: Sequence[int] = (3,), values: bool = True) -> None:
    """Raise ValueError (TypeError for other than tensors) unless ``imgs`` is a batch of images ``(B, C, H, W)``.

    Args:
        imgs: The images.
        normalize: False to expect uint8, True to expect floating point in [0, 1].
        channels: Allowed values of C.
        values: Whether to check values, too. For floating point images on a device, this is a device sync.

    """
    if not isinstance(imgs, Tensor):
        raise TypeError(f"Argument `imgs` expected to be a Tensor, but got {type(imgs).__name__}")
    check_dense(imgs, "Argument `imgs`")
    if imgs.ndim != 4 or imgs.shape[1] not in channels:
        expected = f"(B, {' or '.join(map(str, channels))}, H, W)"
        remedy = _shape_remedy(imgs) if channels == (3,) else ""
        raise ValueError(f"Argument `imgs` expected to have shape {expected}, but got {tuple(imgs.shape)}{remedy}")
    if 0 in imgs.shape:
        raise ValueError(f"Argument `imgs` expected to hold images, but got shape {tuple(imgs.shape)}")
    if not normalize:
        if imgs.dtype != torch.uint8:
            raise ValueError(
                f"Argument `imgs` expected to be uint8, but got {imgs.dtype}; for floats in [0, 1] set `normalize=True`"
            )
        return
    if not imgs.is_floating_point():
        raise ValueError(
            f"Argument `imgs` expected to be floating point with `normalize=True`, but got {imgs.dtype};"
            " for uint8 set `normalize=False`"
        )
    if not values:
        return
    low, high = torch.stack(torch.aminmax(imgs.detach())).tolist()
    if not (low >= 0 and high <= 1):  # also true of NaN
        raise ValueError(
            f"Argument `imgs` expected to lie in [0, 1] with `normalize=True`, but got values from {low:g} to {high:g}"
            + scale_remedy(low, high)
        )


def check_dense(tensor: Tensor, subject: str) -> None:
    """Raise ValueError if the values of a tensor do not lie one beside the other."""
    if layout := not_dense(tensor):
        convert = "torch.nested.to_padded_tensor" if tensor.is_nested else "torch.Tensor.to_dense"
        raise ValueError(f"{subject} expected to be a dense tensor, but got layout {layout}; convert it by `{convert}`")


def not_dense(tensor: Tensor) -> str:
    """Return the layout of a tensor that is not dense, such as "sparse_coo"; else nothing."""
    if tensor.layout == torch.strided:
        return "nested" if tensor.is_nested else ""
    return str(tensor.layout).removeprefix("torch.")


def lacks_float64(device: torch.device) -> bool:
    """True if a device does not support float64, like Apple's GPUs and some of Intel's."""
    if device.type == "xpu":
        return not torch.xpu.get_device_properties(device).has_fp64
    return device.type == "mps"


def in_unit_range(imgs: Tensor) -> Tensor:
    """Test if all values are in [0, 1], as a bool tensor without a device sync; False if any is NaN."""
    low, high = torch.aminmax(imgs)
    return (low >= 0) & (high <= 1)


def scale_remedy(low: float, high: float) -> str:
    """Return a remedy for pixels beyond [0, 1], as the end of a message; empty if there is no obvious one."""
    if low >= 0 and 2 < high <= 255:  # a little above 1 is a fault of another kind
        return "; give `imgs / 255`"
    return "; give `(imgs + 1) / 2`" if -1 <= low < -0.1 and high <= 1 else ""


def _shape_remedy(imgs: Tensor) -> str:
    """Return a remedy for a shape other than ``(B, 3, H, W)``, as the end of a message; empty if none is obvious."""
    match tuple(imgs.shape):
        case (_, 1, _, _):
            return "; give `imgs.expand(-1, 3, -1, -1)`, or a DNAExtractor with `channels=1`"
        case (_, 4, _, _):
            remedy = "imgs[:, :3]"
        case (_, _, _, 3):
            remedy = "imgs.permute(0, 3, 1, 2)"
        case (3, _, _):
            remedy = "imgs[None]"
        case (_, _, 3):
            remedy = "imgs.permute(2, 0, 1)[None]"
        case (_, _, _):
            remedy = "imgs[:, None].expand(-1, 3, -1, -1)"
        case (_, channels, _, _):
            return f"; for other images than RGB, give a DNAExtractor of your own network with `channels={channels}`"
        case _:
            return ""
    return f"; give `{remedy}`"
