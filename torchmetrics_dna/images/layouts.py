"""Shapes and types of arrays and tensors that are images, and remedies for others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

_GREY_OR_RGB = (1, 3)
# (is tensor, number of axes) -> (axis of channels in the other layout, conversion to ours, the first three channels)
_MOVES = {
    (False, 3): (0, "imgs.transpose(1, 2, 0)", "imgs[..., :3]"),
    (False, 4): (1, "imgs.transpose(0, 2, 3, 1)", "imgs[..., :3]"),
    (True, 3): (2, "imgs.permute(2, 0, 1)", "imgs[:3]"),
    (True, 4): (3, "imgs.permute(0, 3, 1, 2)", "imgs[:, :3]"),
}


class Layout(NamedTuple):
    """Shape and type of an array ``(H, W, C)`` or ``(H, W)``, a tensor ``(C, H, W)``, or a batch of either."""

    shape: tuple[int, ...]
    dtype: str
    is_tensor: bool = False

    @classmethod
    def of(cls, images: NDArray[Any] | Tensor) -> Layout:
        """Return the layout of an array or a tensor."""
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
        if kind not in ("uint8", "uint16") and not kind.startswith(("float", "bfloat")):
            to_uint8 = "imgs.to(torch.uint8)" if self.is_tensor else 'imgs.astype("uint8")'
            remedy = "; give `imgs * 1.0`" if kind == "bool" else ""
            if "int" in kind:
                remedy = f"; if they lie in 0 to 255, give `{to_uint8}`"
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
            return ""
        axis, moved, cut = _MOVES.get((self.is_tensor, axes), (0, "", ""))
        if moved and self.shape[axis] in fits:
            return f"`{moved}`"
        if self._channels == 4 and 3 in fits:
            return f"`{cut}`, or {own_network(4)}"
        if axes == 3 and 1 in fits and (self.is_tensor or self._channels >= min(self.shape[:2])):
            # a batch of grey images
            return "`imgs[:, None]`" if self.is_tensor else "`imgs[..., None]`"
        return f"images of {' or '.join(map(str, fits))} channels, or {own_network(self._channels)}"


def accepted(channels: int) -> tuple[int, ...]:
    """Return the numbers of channels of arrays that a network of so many channels takes."""
    return _GREY_OR_RGB if channels in _GREY_OR_RGB else (channels,)


def own_network(channels: int) -> str:
    """Return the remedy for images of so many channels."""
    return f"a DNAExtractor of your own network with `channels={channels}`"
