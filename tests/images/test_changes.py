"""Changes of images: the same each time, stronger with each amount, and what their names say."""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageFilter
from scipy.ndimage import gaussian_filter

from torchmetrics_dna.demo import photographs
from torchmetrics_dna.images.changes import CHANGES, change_image

PHOTO = photographs(5)[3]  # the cat


@pytest.mark.parametrize("name", CHANGES)
def test_they_grow_with_the_amount_and_are_the_same_each_time(name: str) -> None:
    before, change = PHOTO.copy(), CHANGES[name]
    places = (0.2, 0.5) if name == "hue" else (0.3, 0.6, 1.0)  # hue goes round
    changed = [change_image(PHOTO, name, change.amount(place, 192), seed=1) for place in places]
    assert np.array_equal(before, PHOTO)
    assert change.amount(0) == change.none
    assert change.amount(1) == change.most
    for image, place in zip(changed, places, strict=True):
        assert image.dtype == np.uint8
        assert np.array_equal(image, change_image(PHOTO, name, change.amount(place, 192), seed=1))
    if name == "resize":
        assert [image.shape for image in changed] == [(134, 134, 3), (77, 77, 3), (1, 1, 3)]
        return
    differences = [np.abs(image.astype(int) - PHOTO).mean() for image in changed]
    assert differences == sorted(differences)
    assert differences[0] > 0.1


@pytest.mark.parametrize("shape", [(1, 1, 3), (7, 300, 3), (300, 8, 3)])
def test_images_of_any_size(shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    for name, change in CHANGES.items():
        changed = change_image(image, name, change.most)
        assert changed.shape == shape or (name == "resize" and min(changed.shape[:2]) >= 1)


def test_they_are_what_they_are_called() -> None:
    def changed(name: str) -> np.ndarray:
        return change_image(PHOTO, name, CHANGES[name].most).astype(float)

    assert changed("brighter").mean() > PHOTO.mean() > changed("darker").mean()
    assert changed("more contrast").std() > PHOTO.std() > changed("less contrast").std()
    edges = {name: np.abs(np.diff(changed(name), axis=1)).mean() for name in ("sharper", "blur")}
    assert edges["sharper"] > np.abs(np.diff(PHOTO.astype(float), axis=1)).mean() > edges["blur"]
    assert len(np.unique(changed("fewer colours"))) == 3
    colour = {name: np.ptp(changed(name), axis=2).mean() for name in ("more saturation", "less saturation")}
    assert colour["more saturation"] > np.ptp(PHOTO, axis=2).mean() > colour["less saturation"] < 1
    assert (changed("warmer") - PHOTO).mean((0, 1))[0] > 10 > -10 > (changed("warmer") - PHOTO).mean((0, 1))[2]
    assert (changed("cooler") - PHOTO).mean((0, 1))[2] > 10 > -10 > (changed("cooler") - PHOTO).mean((0, 1))[0]
    assert np.abs(np.diff(changed("blur"), axis=1)).mean() < np.abs(np.diff(PHOTO.astype(float), axis=1)).mean() / 2
    for name, has_colour in (("noise", True), ("grey noise", False)):
        noise = change_image(np.full((200, 200, 3), 128, np.uint8), name, 10)
        assert noise.std() == pytest.approx(10, rel=0.02)
        assert np.ptp(noise, axis=2).any() == has_colour


def pillow(image: np.ndarray, change: Callable[[Image.Image], Image.Image]) -> np.ndarray:
    return np.asarray(change(Image.fromarray(image.astype(np.uint8))), dtype=float)


def as_jpeg(image: Image.Image, quality: int) -> Image.Image:
    image.save(file := BytesIO(), "JPEG", quality=quality)
    return Image.open(file)


def about_mean(image: np.ndarray, factor: float) -> np.ndarray:
    return np.average(image) * (1 - factor) + image * factor


def towards_grey(image: np.ndarray, factor: float) -> np.ndarray:
    luma = np.round(image @ [0.299, 0.587, 0.114])[..., None]
    return luma * (1 - factor) + image * factor


def turned(image: np.ndarray, degrees: float) -> np.ndarray:
    hsv = np.array([colorsys.rgb_to_hsv(*pixel) for pixel in image.reshape(-1, 3) / 255])
    rgb = [colorsys.hsv_to_rgb((hue + degrees / 360) % 1, *rest) for hue, *rest in hsv]
    return 255 * np.reshape(rgb, image.shape)


# of an image of float64 and the amount, written anew; with the largest and the mean difference that rounding may make
ORACLES: dict[str, tuple[Callable[[np.ndarray, float], np.ndarray], float, tuple[float, float]]] = {
    "brighter": (lambda image, levels: image + levels, 37, (0.5, 0.3)),
    "darker": (lambda image, percent: image - image * percent / 100, 37, (0.5, 0.3)),
    "more contrast": (lambda image, percent: about_mean(image, 1 + percent / 100), 37, (0.51, 0.3)),
    "less contrast": (lambda image, percent: about_mean(image, 1 - percent / 100), 37, (0.51, 0.3)),
    "more saturation": (lambda image, percent: towards_grey(image, 1 + percent / 100), 60, (2, 0.8)),
    "less saturation": (lambda image, percent: towards_grey(image, 1 - percent / 100), 60, (2, 0.8)),
    "hue": (turned, 90, (12, 1.5)),
    "warmer": (lambda image, levels: image + levels * np.array([1, 0.1, -1]), 20, (0.5, 0.3)),
    "cooler": (lambda image, levels: image - levels * np.array([1, 0.1, -1]), 20, (0.5, 0.3)),
    "blur": (lambda image, sigma: gaussian_filter(image, (sigma, sigma, 0), mode="nearest"), 2, (30, 1.5)),
    "resize": (lambda image, _: pillow(image, lambda i: i.resize((40, 30), Image.Resampling.BICUBIC)), 50, (0, 0)),
    "sharper": (
        lambda image, percent: pillow(image, lambda i: i.filter(ImageFilter.UnsharpMask(1.5, int(percent), 0))),
        80,
        (0, 0),
    ),
    "noise": (lambda image, sd: image + sd * np.random.default_rng(3).standard_normal(image.shape), 9, (0.5, 0.3)),
    "grey noise": (
        lambda image, sd: image + sd * np.random.default_rng(3).standard_normal((*image.shape[:2], 1)), 9, (0.5, 0.3)
    ),
    "fewer colours": (
        lambda image, levels: np.linspace(0, 255, int(levels))[np.rint(image * (levels - 1) / 255).astype(int)],
        7,
        (0.5, 0.4),
    ),
    "JPEG compression": (lambda image, quality: pillow(image, lambda i: as_jpeg(i, int(quality))), 30, (0, 0)),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_pixels_are_those_of_numpy(name: str) -> None:
    oracle, amount, (largest, mean) = ORACLES[name]
    image = np.ascontiguousarray(PHOTO[40:100, 50:130])
    differences = np.abs(change_image(image, name, amount, seed=3) - oracle(image.astype(float), amount).clip(0, 255))
    assert (differences.max() <= largest, differences.mean() <= mean) == (True, True), (
        differences.max(),
        differences.mean(),
    )


def test_an_unknown_change_is_told() -> None:
    with pytest.raises(ValueError, match="^Argument `name` expected to be one of brighter, darker.*, but got 'fuzz'"):
        change_image(PHOTO, "fuzz", 1)
