"""Changes of images by an amount, such as blur and compression, and what they are called; deterministic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter

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
    moves: str  # property of images that it moves most plainly, with a sign; empty for none
    none: float  # amount that changes nothing
    most: float  # largest amount to search
    power: float = 1.0  # of the place, that the amount grows with
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


_of_colour = partial(Change, of_colour=True)
# in the order in which a camera and a file would make them, so two are made in this one
CHANGES: dict[str, Change] = {
    "brighter": Change(lambda image, levels, _: image + levels, "brightened by {} grey levels", "brightness +", 0, 120),
    "darker": Change(lambda image, percent, _: image * (1 - percent / 100), "darkened by {} %", "brightness -", 0, 90),
    "more contrast": Change(partial(_contrast, 1), "with {} % more contrast", "contrast +", 0, 150),
    "less contrast": Change(partial(_contrast, -1), "with {} % less contrast", "contrast -", 0, 90),
    "more saturation": _of_colour(partial(_saturation, 1), "with {} % more saturation", "saturation +", 0, 300),
    "less saturation": _of_colour(partial(_saturation, -1), "with {} % less saturation", "saturation -", 0, 100),
    "hue": _of_colour(_hue, "with hues turned by {} degrees", "", 0, 360),
    "warmer": _of_colour(partial(_tint, 1), "tinted warm by {} grey levels", "blue against yellow -", 0, 60),
    "cooler": _of_colour(partial(_tint, -1), "tinted cool by {} grey levels", "blue against yellow +", 0, 60),
    "blur": Change(
        lambda image, sigma, _: Image.fromarray(image).filter(ImageFilter.GaussianBlur(sigma)),
        "blurred by {} px", "sharpness -", 0, 6, power=2.0, scale=lambda side: side / _SIDE,
    ),
    "resize": Change(_resize, "resized to {} %", "width -", 100, 0),
    "sharper": Change(_sharper, "sharpened by {} %", "sharpness +", 0, 500),
    "noise": Change(
        lambda image, deviation, rng: image + rng.normal(0, deviation, image.shape),
        "with noise of {} grey levels", "noise +", 0, 60, power=1.5,
    ),
    "grey noise": Change(  # as scans have it
        lambda image, deviation, rng: image + rng.normal(0, deviation, (*image.shape[:2], 1)),
        "with colourless noise of {} grey levels", "noise +", 0, 60, power=1.5,
    ),
    "fewer colours": Change(_fewer_colours, "reduced to {} levels of each colour", "colours -", 256, 3, power=0.25),
    "JPEG compression": Change(_jpeg, "compressed as JPEG of quality {}", "blockiness +", 95, 5),
}  # fmt: skip


@dataclass(frozen=True)
class Causes:
    """Changes that were made to images of A, and how near to B they came; without names if none took half.

    Attributes:
        names: Names of one change, or of two in the order in which they were made; empty for none.
        amounts: Their amounts, see ``CHANGES``.
        bins: debiased dna-emd between images of A and of B: without a change, with the one that takes more, and
            with both.
        num_images: Number of these images of A.
        is_rejected: True if each change that was checked clearly takes less than half.
        likeliest: The change after which properties of images are nearest to those of B, and its amount; None if none
            was looked for.

    """

    names: tuple[str, ...]
    amounts: tuple[float, ...]
    bins: tuple[float, ...]
    num_images: int
    is_rejected: bool = False
    likeliest: tuple[str, float] | None = None

    @property
    def in_words(self) -> str:
        """Description of images after them, as in "blurred by about 1.1 px and with noise of about 4 grey levels"."""
        pairs = zip(self.names, self.amounts, strict=True)
        return " and ".join(CHANGES[name].in_words(amount) for name, amount in pairs)
