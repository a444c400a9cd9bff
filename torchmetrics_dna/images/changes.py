"""Changes of images by an amount, such as blur and compression, and what they are called; deterministic."""

from __future__ import annotations

from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

_SIDE = 224  # pixels of the shorter side, at which the largest blur and the smallest size are those below
_WARM = np.array([1.0, 0.1, -1.0])  # tint


def change_image(image: NDArray[np.uint8], name: str, amount: float, seed: int = 0) -> NDArray[np.uint8]:
    """Change an image.

    Args:
        image: Image, shape ``(H, W, 3)``, uint8.
        name: One of ``CHANGES``.
        amount: How much, in the unit that the change's words name.
        seed: Seed of noise.

    Returns:
        An image of the same shape; of ``"resize"``, a smaller one.

    Raises:
        ValueError: If there is no such change.

    Example:
        >>> grey = np.full((32, 32, 3), 128, np.uint8)
        >>> int(change_image(grey, "brighter", 64).mean()), change_image(grey, "resize", 50).shape, len(CHANGES)
        (192, (16, 16, 3), 16)

    """
    if name not in CHANGES:
        raise ValueError(f"Argument `name` expected to be one of {', '.join(CHANGES)}, but got {name!r}")
    changed = CHANGES[name].apply(image, amount, np.random.default_rng(seed))
    return np.asarray(changed).round().clip(0, 255).astype(np.uint8)


def _contrast(sign: int, image: NDArray[np.uint8], percent: float, _: np.random.Generator) -> NDArray[Any]:
    mean = image.mean()
    changed: NDArray[Any] = mean + (image - mean) * (1 + sign * percent / 100)
    return changed


def _saturation(sign: int, image: NDArray[np.uint8], percent: float, _: np.random.Generator) -> Image.Image:
    return ImageEnhance.Color(Image.fromarray(image)).enhance(1 + sign * percent / 100)


def _hue(image: NDArray[np.uint8], degrees: float, _: np.random.Generator) -> Image.Image:
    turned = np.array(Image.fromarray(image).convert("HSV"))
    turned[..., 0] += np.uint8(round(degrees * 256 / 360) % 256)  # uint8 wraps around, like hue
    return Image.fromarray(turned, "HSV").convert("RGB")


def _tint(sign: int, image: NDArray[np.uint8], levels: float, _: np.random.Generator) -> NDArray[Any]:
    return image + sign * levels * _WARM


def _resize(image: NDArray[np.uint8], percent: float, _: np.random.Generator) -> Image.Image:
    size = [max(1, round(side * percent / 100)) for side in image.shape[1::-1]]
    return Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)


def _sharper(image: NDArray[np.uint8], percent: float, _: np.random.Generator) -> Image.Image:
    return Image.fromarray(image).filter(ImageFilter.UnsharpMask(1.5, round(percent), threshold=0))


def _fewer_colours(image: NDArray[np.uint8], levels: float, _: np.random.Generator) -> NDArray[Any]:
    step: float = 255 / (levels - 1)
    return np.round(image / step) * step


def _jpeg(image: NDArray[np.uint8], quality: float, _: np.random.Generator) -> Image.Image:
    file = BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=round(quality))
    return Image.open(file)


class Change(NamedTuple):
    """Change of images."""

    # of an image, an amount and a random generator; what it returns is rounded and clipped to bytes
    apply: Callable[[NDArray[np.uint8], float, np.random.Generator], NDArray[Any] | Image.Image]
    words: str  # what an image then is, with a place for the amount
    none: float  # amount that changes nothing
    most: float  # largest amount to search
    power: float = 1.0  # of the place, that the amount grows with
    moves: tuple[str, int] = ("", 0)  # property of images that it moves most plainly, and its direction
    of_colour: bool = False  # does nothing to a grey image
    scale: Callable[[float], float] | None = None  # factor of the amount for images with this shorter side in pixels

    def amount(self, place: float, side: float = _SIDE) -> float:
        """Return the amount at a place between none (0) and most (1), for images with this shorter side in pixels.

        Example:
            >>> [round(CHANGES["blur"].amount(place, 448), 2) for place in (1 / 3, 1)]
            [1.33, 12.0]

        """
        if not place:
            return self.none
        factor = 1.0 if self.scale is None else self.scale(side)
        return float(self.none + (self.most - self.none) * place**self.power) * factor

    def in_words(self, amount: float) -> str:
        """Describe an image after the change, with its amount.

        Example:
            >>> CHANGES["blur"].in_words(1.42), CHANGES["JPEG compression"].in_words(8)
            ('blurred by about 1.4 px', 'compressed as JPEG of quality about 8')

        """
        return self.words.format(f"about {float(f'{amount:.2g}'):g}")


# in the order in which a camera and a file would make them, so two are made in this one
CHANGES: dict[str, Change] = {
    "brighter": Change(
        lambda image, levels, _: image + levels, "brightened by {} grey levels", 0, 120, 1, ("brightness", 1)
    ),
    "darker": Change(
        lambda image, percent, _: image * (1 - percent / 100), "darkened by {} %", 0, 90, 1, ("brightness", -1)
    ),
    "more contrast": Change(partial(_contrast, 1), "with {} % more contrast", 0, 150, 1, ("contrast", 1)),
    "less contrast": Change(partial(_contrast, -1), "with {} % less contrast", 0, 90, 1, ("contrast", -1)),
    "more saturation": Change(
        partial(_saturation, 1), "with {} % more saturation", 0, 300, 1, ("saturation", 1), True
    ),
    "less saturation": Change(
        partial(_saturation, -1), "with {} % less saturation", 0, 100, 1, ("saturation", -1), True
    ),
    "hue": Change(_hue, "with hues turned by {} degrees", 0, 360, of_colour=True),
    "warmer": Change(partial(_tint, 1), "tinted warm by {} grey levels", 0, 60, 1, ("blue against yellow", -1), True),
    "cooler": Change(partial(_tint, -1), "tinted cool by {} grey levels", 0, 60, 1, ("blue against yellow", 1), True),
    "blur": Change(
        lambda image, sigma, _: Image.fromarray(image).filter(ImageFilter.GaussianBlur(sigma)),
        "blurred by {} px", 0, 6, 2, ("sharpness", -1), scale=lambda side: side / _SIDE,
    ),
    "resize": Change(_resize, "resized to {} %", 100, 0, 1, ("width", -1)),
    "sharper": Change(_sharper, "sharpened by {} %", 0, 500, 1, ("sharpness", 1)),
    "noise": Change(
        lambda image, deviation, rng: image + rng.normal(0, deviation, image.shape),
        "with noise of {} grey levels", 0, 60, 1.5, ("noise", 1),
    ),
    "grey noise": Change(  # as scans have it
        lambda image, deviation, rng: image + rng.normal(0, deviation, (*image.shape[:2], 1)),
        "with colourless noise of {} grey levels", 0, 60, 1.5, ("noise", 1),
    ),
    "fewer colours": Change(_fewer_colours, "reduced to {} levels of each colour", 256, 3, 0.25, ("colours", -1)),
    "JPEG compression": Change(_jpeg, "compressed as JPEG of quality {}", 95, 5, 1, ("blockiness", 1)),
}  # fmt: skip
