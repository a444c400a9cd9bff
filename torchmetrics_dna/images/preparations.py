"""Prepare decoded images for a network as published codes do, which differ in how they save, resize and scale."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import interpolate
from typing_extensions import override

from torchmetrics_dna.images.base import ImageSource, VersionedImages
from torchmetrics_dna.images.cells import Crop, central_square
from torchmetrics_dna.images.pixels import as_bytes
from torchmetrics_dna.images.resize import RESIZES, resize_image

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from torchmetrics_dna.images.pixels import RGBImage

    Resizer = Callable[[RGBImage, tuple[int, int]], NDArray[np.float32]]
    Channels = Sequence[float]


@dataclass(frozen=True)
class Preparation:
    """Preparation of images for a network; each field is a step that published codes take differently."""

    saved: str = "given"  # of SAVES: what became of the pixels when images were saved
    crop: Crop = "none"  # before the resize
    resize: str = "clean"  # of RESIZERS
    channels: str = "RGB"  # order, "RGB" or "BGR"
    scaling: str = "own"  # of SCALINGS; "own" for the mean and standard deviation of the network

    def apply(self, image: RGBImage, size: tuple[int, int], mean: Channels, std: Channels) -> NDArray[np.float32]:
        """Prepare an image ``(H, W, 3)``, uint8 or float32 in [0, 1], for a network of this input ``size``.

        The network subtracts ``mean`` and divides by ``std`` afterwards, so the result is float32 in [0, 1] or a little
        beyond, ``(height, width, 3)``; with another scaling, what becomes of it by ``mean`` and ``std``.
        """
        image = SAVES[self.saved](image)
        if self.crop == "center":
            top, left, side = central_square(*image.shape[:2])
            image = image[top : top + side, left : left + side]
        resized = RESIZERS[self.resize](image, size).transpose(1, 2, 0)
        if self.channels == "BGR":
            resized = resized[..., ::-1]
        scaling = SCALINGS[self.scaling]
        if scaling is not None:
            other_mean, other_std = (np.asarray(values, np.float32) for values in scaling)
            resized = (resized - other_mean) / other_std * np.asarray(std, np.float32) + np.asarray(mean, np.float32)
        return np.ascontiguousarray(resized)


class PreparedImages(VersionedImages):
    """Images of a source, each in several preparations.

    ``size`` is the height and width of the network's input, which subtracts ``mean`` and divides by ``std``.
    """

    def __init__(
        self,
        source: ImageSource,
        preparations: Sequence[Preparation],
        size: tuple[int, int],
        mean: Channels,
        std: Channels,
    ) -> None:
        super().__init__(source, len(preparations))
        self._preparations, self._input = preparations, (size, mean, std)

    @override
    def version(self, image: RGBImage, number: int, index: int) -> NDArray[np.float32]:
        return self._preparations[number].apply(image, *self._input)


def is_floating(image: RGBImage) -> bool:
    """True for an image of floats, which may have been saved as bytes in several ways."""
    return image.dtype != np.uint8


def _cut(image: RGBImage) -> RGBImage:
    return (image * 255).astype(np.uint8) if is_floating(image) else image


def _as_jpeg(quality: int, image: RGBImage) -> RGBImage:
    file = BytesIO()
    Image.fromarray(as_bytes(image)).save(file, "JPEG", quality=quality)
    return np.array(Image.open(file))


def _by_pillow(method: Image.Resampling, image: RGBImage, size: tuple[int, int]) -> NDArray[np.float32]:
    resized = Image.fromarray(np.ascontiguousarray(as_bytes(image))).resize(size[::-1], method)
    values: NDArray[np.float32] = np.divide(np.asarray(resized).transpose(2, 0, 1), np.float32(255), dtype=np.float32)
    return values


def _by_torch(image: RGBImage, size: tuple[int, int], rounds: bool = False, **options: Any) -> NDArray[np.float32]:
    pixels = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None].float()
    pixels = pixels if is_floating(image) else pixels / 255
    resized = interpolate(pixels, size, **options)[0]
    return np.asarray(((resized * 255).round() / 255 if rounds else resized).numpy())


#: What may become of pixels when images are saved, by name.
SAVES: dict[str, Callable[[RGBImage], RGBImage]] = {
    "given": lambda image: image,
    "rounded": as_bytes,
    "cut": _cut,
    **{f"jpeg_{quality}": partial(_as_jpeg, quality) for quality in (95, 90, 75)},
}
#: Methods of resizing an image ``(H, W, 3)`` to float32 ``(3, height, width)``, by name: those of extractors, and more.
RESIZERS: dict[str, Resizer] = {
    **{name: partial(resize_image, resize=name) for name in RESIZES},
    "torch_bilinear": partial(_by_torch, mode="bilinear"),
    "torch_bilinear_corners": partial(_by_torch, mode="bilinear", align_corners=True),
    "torch_bilinear_antialias": partial(_by_torch, mode="bilinear", antialias=True),
    "torch_bicubic": partial(_by_torch, mode="bicubic"),
    "torch_nearest": partial(_by_torch, mode="nearest"),
    "bytes_bilinear": partial(_by_torch, mode="bilinear", rounds=True),
    "pillow_bilinear": partial(_by_pillow, Image.Resampling.BILINEAR),
    "pillow_lanczos": partial(_by_pillow, Image.Resampling.LANCZOS),
    "pillow_nearest": partial(_by_pillow, Image.Resampling.NEAREST),
}
#: Mean and standard deviation per channel that images in [0, 1] are scaled by, by name; None for those of the network.
SCALINGS: dict[str, tuple[Channels, Channels] | None] = {
    "own": None,
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}
