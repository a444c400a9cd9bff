"""Shapes, types and values of tensors and arrays that are images, and remedies for others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray


def check_images(imgs: Tensor, normalize: bool, channels: Sequence[int], values: bool) -> None:
    """Raise ValueError (TypeError for other than tensors) unless ``imgs`` is a batch of images ``(B, C, H, W)``.

    ``channels`` are the allowed values of C. Images are uint8, or with ``normalize`` floating point; with ``values``,
    these must also lie in [0, 1], whose check is a sync on a device.
    """
    if not isinstance(imgs, Tensor):
        axes = [each.ndim for each in imgs if isinstance(each, Tensor)] if isinstance(imgs, list) else []
        of_list = "torch.stack(imgs)" if 3 in axes else "torch.cat(imgs)" if axes else "torch.tensor(imgs)"
        remedy = {"ndarray": "; give `torch.from_numpy(imgs)`", "list": f"; give `{of_list}`"}
        remedy["dict"] = "; give images, the metric runs the network"
        remedy["str"] = "; paths go to `compare`, `rank` and `make_dna`"
        kind = type(imgs).__name__
        raise TypeError(f"Argument `imgs` expected to be a Tensor, but got {kind}{remedy.get(kind, '')}")
    check_dense(imgs, "Argument `imgs`")
    if imgs.ndim != 4 or imgs.shape[1] not in channels:
        expected = f"(B, {' or '.join(map(str, channels))}, H, W)"
        remedy = _shape_remedy(imgs) if channels == (3,) else ""
        raise ValueError(f"Argument `imgs` expected to have shape {expected}, but got {tuple(imgs.shape)}{remedy}")
    if 0 in imgs.shape:
        raise ValueError(f"Argument `imgs` expected to hold images, but got shape {tuple(imgs.shape)}")
    if not normalize:
        if imgs.dtype != torch.uint8:
            of_floats = "for floats in [0, 1] set `normalize=True`"
            remedy = of_floats if imgs.is_floating_point() else "if they lie in 0 to 255, give `imgs.to(torch.uint8)`"
            raise ValueError(f"Argument `imgs` expected to be uint8, but got {imgs.dtype}; {remedy}")
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
    """Raise ValueError if a tensor has no values, or they do not lie one beside the other."""
    if tensor.device.type == "meta":
        raise ValueError(f"{subject} expected to hold values, but got a tensor on the meta device")
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
    if -3 <= low < -1 and high <= 3:
        return "; leave out `Normalize`, which is the extractor's"
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
        case (_, _):
            return "; give a grey image as `imgs.expand(1, 3, -1, -1)`, and other inputs to `inputs='any'`"
        case (_, channels, _, _):
            return f"; for other images than RGB, give a DNAExtractor of your own network with `channels={channels}`"
        case _:
            return "; for inputs that are no images, give a DNAExtractor with `inputs='any'`"
    return f"; give `{remedy}`"


_GREY_OR_RGB = (1, 3)
EMBEDDINGS = "give embeddings to the feature 'identity', whose neurons are their columns"
# (is tensor, number of axes) -> (axis of channels in the other order, conversion to ours, the first three channels)
_MOVES = {
    (False, 3): (0, "imgs.transpose(1, 2, 0)", "imgs[..., :3]"),
    (False, 4): (1, "imgs.transpose(0, 2, 3, 1)", "imgs[..., :3]"),
    (True, 3): (2, "imgs.permute(2, 0, 1)", "imgs[:3]"),
    (True, 4): (3, "imgs.permute(0, 3, 1, 2)", "imgs[:, :3]"),
}


class ArrayFormat(NamedTuple):
    """Shape and type of an array ``(H, W, C)`` or ``(H, W)``, a tensor ``(C, H, W)``, or a batch of either."""

    shape: tuple[int, ...]
    dtype: str
    is_tensor: bool = False

    @classmethod
    def of(cls, images: NDArray[Any] | Tensor) -> ArrayFormat:
        """Return the format of an array or a tensor."""
        if isinstance(images, Tensor):
            return cls(tuple(images.shape), str(images.dtype), True)
        return cls(images.shape, images.dtype.name)

    def check(self, what: str, most_axes: int, channels: int | None = None) -> None:
        """Raise ValueError with a remedy unless these are shape and type of an image, or of a batch of images.

        Args:
            what: Name of the array in the error.
            most_axes: 3 for an image, 4 to allow a batch.
            channels: Number of channels that a network takes; None if it is not known yet.

        """
        shape, got = self.shape, f"but got shape {self.shape} and type {self.dtype}"
        fits = channels is None or self._channels in accepted(channels)
        if not 2 <= len(shape) <= most_axes or 0 in shape[-3:] or not fits:
            single, several = ("(C, H, W)", "(B, C, H, W)") if self.is_tensor else ("(H, W, C)", "(B, H, W, C)")
            expected = several if most_axes == 4 else single
            if channels is not None:
                expected += f" with C = {' or '.join(map(str, accepted(channels)))}"
            remedy = self._remedy(most_axes, channels or 3)
            raise ValueError(f"{what} must have shape {expected}, {got}{remedy and f'; give {remedy}'}")
        kind = self.dtype.removeprefix("torch.")
        if len(shape) == 2 and most_axes == 4 and kind.startswith(("float", "bfloat")):
            raise ValueError(
                f"{what} must have shape (B, H, W, C), {got}; {EMBEDDINGS}, and a grey image as `imgs[None]`"
            )
        if kind not in ("uint8", "uint16") and not kind.startswith(("float", "bfloat")):
            to_uint8 = "imgs.to(torch.uint8)" if self.is_tensor else 'imgs.astype("uint8")'
            remedy = "; give `imgs * 1.0`" if kind == "bool" else ""
            if "int" in kind:
                to_uint16 = to_uint8.replace("uint8", "uint16")
                remedy = f"; give `{to_uint8}` if they lie in 0 to 255, `{to_uint16}` if in 0 to 65535"
            raise ValueError(f"{what} must be uint8, uint16, or floating point in [0, 1], {got}{remedy}")

    @property
    def _channels(self) -> int:
        return 1 if len(self.shape) == 2 else self.shape[-3 if self.is_tensor else -1] if len(self.shape) > 2 else 0

    def _remedy(self, most_axes: int, channels: int) -> str:
        """Return how another shape becomes images for a network of so many channels; empty if nothing is obvious."""
        axes, fits = len(self.shape), accepted(channels)
        if axes == 4 and most_axes == 3:
            return "one image at a time"
        if not 2 <= axes <= 4 or 0 in self.shape:
            return "what is no image to a DNAExtractor with `inputs='any'`" * (axes > 4)
        axis, moved, cut = _MOVES.get((self.is_tensor, axes), (0, "", ""))
        if moved and self.shape[axis] in fits:
            return f"`{moved}`"
        if self._channels == 4 and 3 in fits:
            return f"`{cut}`, or {own_network(4)}"
        if axes == 3 and 1 in fits and (self.is_tensor or self._channels >= min(self.shape[:2])):
            # a batch of grey images
            return "`imgs[:, None]`" if self.is_tensor else "`imgs[..., None]`"
        count = min(self._channels, self.shape[axis] if moved else self._channels)  # in either order
        return f"images of {' or '.join(map(str, fits))} channels, or {own_network(count)}"


def accepted(channels: int) -> tuple[int, ...]:
    """Return the numbers of channels of arrays that a network of so many channels takes."""
    return _GREY_OR_RGB if channels in _GREY_OR_RGB else (channels,)


def own_network(channels: int) -> str:
    """Return the remedy for images of so many channels."""
    return f"a DNAExtractor of your own network with `channels={channels}`"
