"""Named changes of images in five strengths, such as blur and compression; deterministic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from torchmetrics_dna.images.changes import CHANGES as NAMED

if TYPE_CHECKING:
    from collections.abc import Callable

Picture = NDArray[np.uint8]
STRENGTHS = (1, 2, 3, 4, 5)
_SIDE = 224  # pixels; shorter side of an image for which the lengths below hold


def change_image(image: Picture, name: str, strength: int, seed: int = 0) -> Picture:
    """Change an image.

    Lengths, such as that of a blur, are relative to the image's shorter side; noise and compression act on pixels.

    Args:
        image: Image, shape ``(H, W, 3)``, uint8.
        name: One of ``CHANGES``.
        strength: 1 to 5.
        seed: Seed of random changes, such as noise.

    Returns:
        An image of the same shape.

    Raises:
        ValueError: If there is no such change or strength.

    Example:
        >>> grey = np.full((32, 32, 3), 128, np.uint8)
        >>> int(change_image(grey, "brighter", 5).mean()), len(CHANGES)
        (192, 22)

    """
    if name not in CHANGES:
        raise ValueError(f"Argument `name` expected to be one of {', '.join(CHANGES)}, but got {name!r}")
    if strength not in STRENGTHS:
        raise ValueError(f"Argument `strength` expected to be an integer from 1 to 5, but got {strength!r}")
    change = CHANGES[name]
    return _rounded(np.asarray(change.apply(image, change.amounts[strength - 1], np.random.default_rng(seed))))


def _rounded(values: NDArray[Any]) -> Picture:
    return values.round().clip(0, 255).astype(np.uint8)


def _unit(image: Picture) -> float:
    """Return the size of a pixel of a 224-pixel image, in pixels of this image."""
    return float(min(image.shape[:2])) / _SIDE


def _salt_and_pepper(image: Picture, percent: float, rng: np.random.Generator) -> Picture:
    drawn = rng.random(image.shape[:2])[..., None]
    rate = percent / 100
    return np.where(drawn < rate / 2, 0, np.where(drawn > 1 - rate / 2, 255, image)).astype(np.uint8)


def _speckle(image: Picture, percent: float, rng: np.random.Generator) -> Picture:
    return _rounded(image * (1 + rng.normal(0, percent / 100, image.shape)))


def _blur(image: Picture, sigma: float, _: np.random.Generator) -> Picture:
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(sigma * _unit(image))))


def _motion_blur(image: Picture, length: float, rng: np.random.Generator) -> Picture:
    length, angle = length * _unit(image), rng.uniform(0, np.pi)
    steps = max(2, int(np.ceil(length)) + 1)
    total = np.zeros(image.shape)
    picture = Image.fromarray(image)
    for offset in np.linspace(-length / 2, length / 2, steps):
        total += _displaced(picture, offset * np.cos(angle), offset * np.sin(angle))
    return _rounded(total / steps)


def _displaced(picture: Image.Image, right: float, down: float) -> NDArray[np.float64]:
    """Translate an image; uncovered pixels keep the values of the original."""
    shift = picture.size, Image.Transform.AFFINE, (1, 0, right, 0, 1, down), Image.Resampling.BILINEAR
    moved = np.asarray(picture.transform(*shift)).astype(np.float64)
    inside = np.asarray(Image.new("L", picture.size, 255).transform(*shift))
    return np.where(inside[..., None] == 255, moved, np.asarray(picture))


def _pixelation(image: Picture, block: float, _: np.random.Generator) -> Picture:
    picture, block = Image.fromarray(image), block * _unit(image)
    small = picture.resize([max(1, round(side / block)) for side in picture.size], Image.Resampling.BOX)
    return np.asarray(small.resize(picture.size, Image.Resampling.NEAREST))


def _fog(image: Picture, percent: float, rng: np.random.Generator) -> Picture:
    density = percent / 100 * (0.6 + 0.4 * _clouds(image.shape[:2], rng, 4))[..., None]
    return _rounded(image * (1 - density) + 230 * density)


def _clouds(shape: tuple[int, ...], rng: np.random.Generator, cells: int) -> NDArray[np.float64]:
    """Return smooth random values in [0, 1]."""
    coarse = Image.fromarray((rng.random((cells, cells)) * 255).astype(np.uint8))
    return np.asarray(coarse.resize((shape[1], shape[0]), Image.Resampling.BICUBIC)) / 255.0


def _vignette(image: Picture, percent: float, _: np.random.Generator) -> Picture:
    down, right = (np.linspace(-1, 1, side) for side in image.shape[:2])
    squared_radius = down[:, None] ** 2 + right**2
    return _rounded(image * (1 - percent / 100 * (squared_radius / 2))[..., None])


def _sharpening(image: Picture, percent: float, _: np.random.Generator) -> Picture:
    sharper = ImageFilter.UnsharpMask(radius=1.5 * _unit(image), percent=round(percent), threshold=0)
    return np.asarray(Image.fromarray(image).filter(sharper))


def _fewer_colours(image: Picture, steps: float, _: np.random.Generator) -> Picture:
    return _rounded(np.round(image / 255 * (steps - 1)) * 255 / (steps - 1))


def _occlusion(image: Picture, side: float, rng: np.random.Generator) -> Picture:
    occluded, pixels = image.copy(), round(side * _unit(image))
    top, left = (rng.integers(0, max(1, extent - pixels)) for extent in image.shape[:2])
    occluded[top : top + pixels, left : left + pixels] = 0
    return occluded


def _elastic(image: Picture, furthest: float, rng: np.random.Generator) -> Picture:
    height, width = image.shape[:2]
    moves = [(_clouds((height, width), rng, 14) - 0.5) * 2 * furthest * _unit(image) for _ in range(2)]
    down, right = np.mgrid[:height, :width]
    at = np.stack([(right + moves[0]) / width * 2 - 1 + 1 / width, (down + moves[1]) / height * 2 - 1 + 1 / height], -1)
    pixels = torch.from_numpy(image.transpose(2, 0, 1)[None].astype(np.float64))
    moved = torch.nn.functional.grid_sample(
        pixels, torch.from_numpy(at[None]), mode="bilinear", padding_mode="reflection", align_corners=False
    )
    return _rounded(moved[0].permute(1, 2, 0).numpy())


def _even(most: float, power: float = 1.0) -> tuple[float, ...]:
    """Return amounts that rise to the largest."""
    return tuple(most * (strength / 5) ** power for strength in STRENGTHS)


class Change(NamedTuple):
    """Named change of images."""

    apply: Callable[[Picture, float, np.random.Generator], Picture]  # of an image, an amount and a random generator
    amounts: tuple[float, ...]  # at each strength
    words: str  # noun phrase with a place for the amount
    depends_on_size: bool = True  # the same amount is seen more in small images, as of lengths and noise

    def in_words(self, strength: float) -> str:
        """Describe the change with its amount, interpolated between strengths.

        Example:
            >>> CHANGES["blur"].in_words(2.5), CHANGES["JPEG compression"].in_words(5)
            ('a blur of about 1.4 px', 'JPEG compression of quality at most 8')

        """
        first, last = self.amounts[0], self.amounts[-1]
        if strength < STRENGTHS[0]:
            bound, amount = "under" if first < last else "over", first
        elif strength >= STRENGTHS[-1]:
            bound, amount = "at least" if first < last else "at most", last
        else:
            bound, amount = "about", float(np.interp(strength, STRENGTHS, self.amounts))
        return self.words.format(f"{bound} {float(f'{amount:.2g}'):g}")


CHANGES: dict[str, Change] = {
    "noise": Change(NAMED["noise"].apply, _even(50, 1.5), "noise of {} grey levels"),
    "salt-and-pepper noise": Change(_salt_and_pepper, _even(10, 1.5), "salt-and-pepper noise in {} % of pixels"),
    "speckle noise": Change(_speckle, _even(50, 1.5), "speckle noise of {} %"),
    "blur": Change(_blur, _even(4, 1.5), "a blur of {} px"),
    "motion blur": Change(_motion_blur, _even(24), "a motion blur of {} px"),
    "JPEG compression": Change(
        NAMED["JPEG compression"].apply, (57.6, 45.2, 32.8, 20.4, 8.0), "JPEG compression of quality {}"
    ),
    "pixelation": Change(_pixelation, (2.4, 3.8, 5.2, 6.6, 8.0), "pixelation in blocks of {} px"),
    "brighter": Change(NAMED["brighter"].apply, _even(64), "brightening by {} grey levels", False),
    "darker": Change(NAMED["darker"].apply, _even(60), "darkening by {} %", False),
    "more contrast": Change(NAMED["more contrast"].apply, _even(120), "a gain in contrast of {} %", False),
    "less contrast": Change(NAMED["less contrast"].apply, _even(75), "a loss of contrast of {} %", False),
    "more saturation": Change(NAMED["more saturation"].apply, _even(200), "a gain in saturation of {} %", False),
    "less saturation": Change(NAMED["less saturation"].apply, _even(100), "a loss of saturation of {} %", False),
    "hue": Change(NAMED["hue"].apply, _even(180), "a turn of hue by {} degrees", False),
    "warmer": Change(NAMED["warmer"].apply, _even(50), "a warm tint of {} grey levels", False),
    "cooler": Change(NAMED["cooler"].apply, _even(50), "a cool tint of {} grey levels", False),
    "fog": Change(_fog, _even(85), "fog of {} % density", False),
    "vignette": Change(_vignette, _even(100), "a vignette of {} % in the corners", False),
    "sharpening": Change(_sharpening, _even(500), "sharpening by {} %"),
    "fewer colours": Change(_fewer_colours, (12, 8, 6, 4, 3), "a reduction to {} levels per channel", False),
    "occlusion": Change(_occlusion, (39.2, 54.4, 69.6, 84.8, 100.0), "a black square of {} px"),
    "elastic distortion": Change(_elastic, _even(10), "elastic distortion by {} px"),
}
