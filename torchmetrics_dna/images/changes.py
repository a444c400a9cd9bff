"""Named changes of images in five strengths, such as blur and compression; deterministic."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter

if TYPE_CHECKING:
    from collections.abc import Callable

Picture = NDArray[np.uint8]
STRENGTHS = (1, 2, 3, 4, 5)
_SIDE = 224  # pixels; shorter side of an image for which the lengths below hold
_TINTS = {"warmer": np.array([1.0, 0.1, -1.0]), "cooler": np.array([-1.0, -0.1, 1.0])}


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
    return CHANGES[name](image, strength / 5, np.random.default_rng(seed))


def _rounded(values: NDArray[Any]) -> Picture:
    return values.round().clip(0, 255).astype(np.uint8)


def _unit(image: Picture) -> float:
    """Return the size of a pixel of a 224-pixel image, in pixels of this image."""
    return float(min(image.shape[:2])) / _SIDE


def _noise(image: Picture, share: float, rng: np.random.Generator) -> Picture:
    return _rounded(image + rng.normal(0, 50 * share**1.5, image.shape))


def _salt_and_pepper(image: Picture, share: float, rng: np.random.Generator) -> Picture:
    drawn = rng.random(image.shape[:2])[..., None]
    rate = 0.1 * share**1.5
    return np.where(drawn < rate / 2, 0, np.where(drawn > 1 - rate / 2, 255, image)).astype(np.uint8)


def _speckle(image: Picture, share: float, rng: np.random.Generator) -> Picture:
    return _rounded(image * (1 + rng.normal(0, 0.5 * share**1.5, image.shape)))


def _blur(image: Picture, share: float, _: np.random.Generator) -> Picture:
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(4 * share**1.5 * _unit(image))))


def _motion_blur(image: Picture, share: float, rng: np.random.Generator) -> Picture:
    length, angle = 24 * share * _unit(image), rng.uniform(0, np.pi)
    steps = max(2, int(np.ceil(length)) + 1)
    total = np.zeros(image.shape)
    picture = Image.fromarray(image)
    for offset in np.linspace(-length / 2, length / 2, steps):
        total += _displaced(picture, offset * np.cos(angle), offset * np.sin(angle))
    return _rounded(total / steps)


def _displaced(picture: Image.Image, right: float, down: float) -> NDArray[np.float64]:
    """Translate an image; pixels from outside are those of the original."""
    moved = np.asarray(
        picture.transform(picture.size, Image.Transform.AFFINE, (1, 0, right, 0, 1, down), Image.Resampling.BILINEAR)
    ).astype(np.float64)
    inside = np.asarray(
        Image.new("L", picture.size, 255).transform(
            picture.size, Image.Transform.AFFINE, (1, 0, right, 0, 1, down), Image.Resampling.BILINEAR
        )
    )
    return np.where(inside[..., None] == 255, moved, np.asarray(picture))


def _jpeg(image: Picture, share: float, _: np.random.Generator) -> Picture:
    file = BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=round(70 - 62 * share))
    return np.asarray(Image.open(file))


def _pixelation(image: Picture, share: float, _: np.random.Generator) -> Picture:
    picture, block = Image.fromarray(image), (1 + 7 * share) * _unit(image)
    small = picture.resize([max(1, round(side / block)) for side in picture.size], Image.Resampling.BOX)
    return np.asarray(small.resize(picture.size, Image.Resampling.NEAREST))


def _brighter(image: Picture, share: float, _: np.random.Generator) -> Picture:
    return _rounded(image + 64.0 * share)


def _darker(image: Picture, share: float, _: np.random.Generator) -> Picture:
    return _rounded(image * (1 - 0.6 * share))


def _more_contrast(image: Picture, share: float, _: np.random.Generator) -> Picture:
    mean = image.mean()
    return _rounded(mean + (image - mean) * (1 + 1.2 * share))


def _less_contrast(image: Picture, share: float, _: np.random.Generator) -> Picture:
    mean = image.mean()
    return _rounded(mean + (image - mean) * (1 - 0.75 * share))


def _more_saturation(image: Picture, share: float, _: np.random.Generator) -> Picture:
    return np.asarray(ImageEnhance.Color(Image.fromarray(image)).enhance(1 + 2 * share))


def _less_saturation(image: Picture, share: float, _: np.random.Generator) -> Picture:
    return np.asarray(ImageEnhance.Color(Image.fromarray(image)).enhance(1 - share))


def _hue(image: Picture, share: float, _: np.random.Generator) -> Picture:
    turned = np.array(Image.fromarray(image).convert("HSV"))
    turned[..., 0] += np.uint8(round(128 * share))  # uint8 wraps around, like hue
    return np.asarray(Image.fromarray(turned, "HSV").convert("RGB"))


def _tint(name: str) -> Callable[[Picture, float, np.random.Generator], Picture]:
    return lambda image, share, _: _rounded(image + 50 * share * _TINTS[name])


def _fog(image: Picture, share: float, rng: np.random.Generator) -> Picture:
    density = 0.85 * share * (0.6 + 0.4 * _clouds(image.shape[:2], rng, 4))[..., None]
    return _rounded(image * (1 - density) + 230 * density)


def _clouds(shape: tuple[int, ...], rng: np.random.Generator, cells: int) -> NDArray[np.float64]:
    """Return smooth random values in [0, 1]."""
    coarse = Image.fromarray((rng.random((cells, cells)) * 255).astype(np.uint8))
    return np.asarray(coarse.resize((shape[1], shape[0]), Image.Resampling.BICUBIC)) / 255.0


def _vignette(image: Picture, share: float, _: np.random.Generator) -> Picture:
    down, right = (np.linspace(-1, 1, side) for side in image.shape[:2])
    squared_radius = down[:, None] ** 2 + right**2
    return _rounded(image * (1 - share * (squared_radius / 2) ** 1.0)[..., None])


def _sharpening(image: Picture, share: float, _: np.random.Generator) -> Picture:
    sharper = ImageFilter.UnsharpMask(radius=1.5 * _unit(image), percent=round(500 * share), threshold=0)
    return np.asarray(Image.fromarray(image).filter(sharper))


def _fewer_colours(image: Picture, share: float, _: np.random.Generator) -> Picture:
    steps = (12, 8, 6, 4, 3)[round(5 * share) - 1]
    return _rounded(np.round(image / 255 * (steps - 1)) * 255 / (steps - 1))


def _occlusion(image: Picture, share: float, rng: np.random.Generator) -> Picture:
    occluded, side = image.copy(), round((24 + 76 * share) * _unit(image))
    top, left = (rng.integers(0, max(1, extent - side)) for extent in image.shape[:2])
    occluded[top : top + side, left : left + side] = 0
    return occluded


def _elastic(image: Picture, share: float, rng: np.random.Generator) -> Picture:
    height, width = image.shape[:2]
    moves = [(_clouds((height, width), rng, 14) - 0.5) * 20 * share * _unit(image) for _ in range(2)]
    down, right = np.mgrid[:height, :width]
    at = np.stack([(right + moves[0]) / width * 2 - 1 + 1 / width, (down + moves[1]) / height * 2 - 1 + 1 / height], -1)
    pixels = torch.from_numpy(image.transpose(2, 0, 1)[None].astype(np.float64))
    moved = torch.nn.functional.grid_sample(
        pixels, torch.from_numpy(at[None]), mode="bilinear", padding_mode="reflection", align_corners=False
    )
    return _rounded(moved[0].permute(1, 2, 0).numpy())


CHANGES: dict[str, Callable[[Picture, float, np.random.Generator], Picture]] = {
    "noise": _noise,
    "salt-and-pepper noise": _salt_and_pepper,
    "speckle noise": _speckle,
    "blur": _blur,
    "motion blur": _motion_blur,
    "JPEG compression": _jpeg,
    "pixelation": _pixelation,
    "brighter": _brighter,
    "darker": _darker,
    "more contrast": _more_contrast,
    "less contrast": _less_contrast,
    "more saturation": _more_saturation,
    "less saturation": _less_saturation,
    "hue": _hue,
    "warmer": _tint("warmer"),
    "cooler": _tint("cooler"),
    "fog": _fog,
    "vignette": _vignette,
    "sharpening": _sharpening,
    "fewer colours": _fewer_colours,
    "occlusion": _occlusion,
    "elastic distortion": _elastic,
}
