"""Deterministic changes of images by an amount, such as blur and compression, and their descriptions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter

# Shorter side in pixels of the images for which the amounts in `CHANGES` were chosen.
_SIDE = 224
# Direction of a warm tint in RGB: more red and less blue.
_WARM = np.array([1.0, 0.1, -1.0])


def change_image(image: NDArray[np.uint8], name: str, amount: float, seed: int = 0) -> NDArray[np.uint8]:
    """Change an image.

    Args:
        image: Image ``(H, W, 3)``, uint8.
        name: Name of the change, a key of ``CHANGES``.
        amount: Amount of the change, in the unit of its description.
        seed: Seed for changes that add noise.

    Returns:
        The changed image, uint8. It has the same shape as the image, except for ``"resize"``.

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
    # A sum of uint8 wraps around, as hue does.
    turned[..., 0] += np.uint8(round(degrees * 256 / 360) % 256)
    return Image.fromarray(turned, "HSV").convert("RGB")


def _tint(sign: int, image: NDArray[np.uint8], levels: float, _: np.random.Generator) -> NDArray[Any]:
    return image + sign * levels * _WARM


def _resize(image: NDArray[np.uint8], percent: float, _: np.random.Generator) -> Image.Image:
    size = [max(1, round(side * percent / 100)) for side in image.shape[1::-1]]
    return Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)


def _sharper(image: NDArray[np.uint8], percent: float, _: np.random.Generator) -> Image.Image:
    return Image.fromarray(image).filter(ImageFilter.UnsharpMask(radius=1.5, percent=round(percent), threshold=0))


def _fewer_colours(image: NDArray[np.uint8], levels: float, _: np.random.Generator) -> NDArray[Any]:
    step: float = 255 / (levels - 1)
    return np.round(image / step) * step


def _brighter(image: NDArray[np.uint8], levels: float, _: np.random.Generator) -> NDArray[Any]:
    return image + levels


def _darker(image: NDArray[np.uint8], percent: float, _: np.random.Generator) -> NDArray[Any]:
    return image * (1 - percent / 100)


def _blur(image: NDArray[np.uint8], sigma: float, _: np.random.Generator) -> Image.Image:
    return Image.fromarray(image).filter(ImageFilter.GaussianBlur(sigma))


def _relative_to_side(side: float) -> float:
    """Return the factor of an amount in pixels for images with this shorter side."""
    return side / _SIDE


def _noise(image: NDArray[np.uint8], deviation: float, rng: np.random.Generator) -> NDArray[Any]:
    return image + rng.normal(0, deviation, image.shape)


def _grey_noise(image: NDArray[np.uint8], deviation: float, rng: np.random.Generator) -> NDArray[Any]:
    """Add the same noise to all channels, as scanners do."""
    height, width = image.shape[:2]
    return image + rng.normal(0, deviation, (height, width, 1))


def _jpeg(image: NDArray[np.uint8], quality: float, _: np.random.Generator) -> Image.Image:
    file = BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=round(quality))
    return Image.open(file)


class Change(NamedTuple):
    """Change of images.

    Attributes:
        apply: Function of an image, an amount and a random generator. The result is rounded and clipped to bytes.
        words: Description of a changed image, with a placeholder for the amount.
        affected: Property of images that changes most. Empty if there is none.
        direction: 1 if this property increases, -1 if it decreases, 0 if there is none.
        none: Amount that does not change an image.
        most: Amount of the strongest change that a search tries.
        power: Exponent with which the amount grows from ``none`` to ``most``.
        of_colour: Whether the change has no effect on greyscale images.
        scale: Function that returns a factor for the amount. Its argument is the shorter side of an image in pixels.
            None for the factor 1.

    """

    apply: Callable[[NDArray[np.uint8], float, np.random.Generator], NDArray[Any] | Image.Image]
    words: str
    affected: str
    direction: int
    none: float
    most: float
    power: float = 1.0
    of_colour: bool = False
    scale: Callable[[float], float] | None = None

    def amount(self, place: float, side: float = _SIDE) -> float:
        """Return an amount between ``none`` and ``most``.

        Args:
            place: Relative strength of the change, from 0 for ``none`` to 1 for ``most``.
            side: Shorter side of the images in pixels.

        Example:
            >>> [round(CHANGES["blur"].amount(place, 448), 2) for place in (1 / 3, 1)]
            [1.33, 12.0]

        """
        if not place:
            return self.none
        factor = 1.0 if self.scale is None else self.scale(side)
        return float(self.none + (self.most - self.none) * place**self.power) * factor

    def in_words(self, amount: float) -> str:
        """Return the description of a changed image, with the amount.

        Example:
            >>> CHANGES["blur"].in_words(1.42), CHANGES["JPEG compression"].in_words(8)
            ('blurred by about 1.4 px', 'compressed as JPEG of quality about 8')

        """
        return self.words.format(f"about {float(f'{amount:.2g}'):g}")


_of_colour = partial(Change, of_colour=True)
# Changes by name, in the order in which a camera and a file format would cause them. Two changes are applied in this
# order.
CHANGES: dict[str, Change] = {
    "brighter": Change(_brighter, "brightened by {} grey levels", "brightness", 1, none=0, most=120),
    "darker": Change(_darker, "darkened by {}%", "brightness", -1, none=0, most=90),
    "more contrast": Change(partial(_contrast, 1), "with {}% more contrast", "contrast", 1, none=0, most=150),
    "less contrast": Change(partial(_contrast, -1), "with {}% less contrast", "contrast", -1, none=0, most=90),
    "more saturation": _of_colour(
        partial(_saturation, 1), "with {}% more saturation", "saturation", 1, none=0, most=300
    ),
    "less saturation": _of_colour(
        partial(_saturation, -1), "with {}% less saturation", "saturation", -1, none=0, most=100
    ),
    "hue": _of_colour(_hue, "with hues turned by {} degrees", "", 0, none=0, most=360),
    "warmer": _of_colour(
        partial(_tint, 1), "tinted warm by {} grey levels", "blue against yellow", -1, none=0, most=60
    ),
    "cooler": _of_colour(
        partial(_tint, -1), "tinted cool by {} grey levels", "blue against yellow", 1, none=0, most=60
    ),
    "blur": Change(_blur, "blurred by {} px", "sharpness", -1, none=0, most=6, power=2.0, scale=_relative_to_side),
    "resize": Change(_resize, "resized to {}%", "width", -1, none=100, most=0),
    "sharper": Change(_sharper, "sharpened by {}%", "sharpness", 1, none=0, most=500),
    "noise": Change(_noise, "with noise of {} grey levels", "noise", 1, none=0, most=60, power=1.5),
    "grey noise": Change(
        _grey_noise, "with colourless noise of {} grey levels", "noise", 1, none=0, most=60, power=1.5
    ),
    "fewer colours": Change(
        _fewer_colours, "reduced to {} levels of each colour", "colours", -1, none=256, most=3, power=0.25
    ),
    "JPEG compression": Change(_jpeg, "compressed as JPEG of quality {}", "blockiness", 1, none=95, most=5),
}


@dataclass(frozen=True)
class Causes:
    """Result of a search for changes of A that explain its difference from B.

    Changes explain the difference if they reduce the squared distance by at least half.

    Attributes:
        names: Names of the changes that explain the difference: one, or two in the order in which they are applied.
            Empty if no change does.
        amounts: Amount of each change, see ``CHANGES``.
        bins: Debiased dna-emd between images of A and of B: without a change, after the first change that was found,
            and after both changes.
        num_images: Number of the images of A that were changed.
        is_rejected: True if each candidate change clearly reduces the squared distance by less than half.
        likeliest: Name and amount of the change after which the properties of images are closest to those of B. None if
            no change was searched for.

    """

    names: tuple[str, ...]
    amounts: tuple[float, ...]
    bins: tuple[float, ...]
    num_images: int
    is_rejected: bool = False
    likeliest: tuple[str, float] | None = None

    @property
    def in_words(self) -> str:
        """Description of changed images, as in "blurred by about 1.1 px and with noise of about 4 grey levels"."""
        descriptions = [CHANGES[name].in_words(amount) for name, amount in zip(self.names, self.amounts, strict=True)]
        return " and ".join(descriptions)
