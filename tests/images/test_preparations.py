"""Preparations of images, against Pillow itself and formulas of linear interpolation."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from torchmetrics_dna.demo import photographs
from torchmetrics_dna.images import open_source
from torchmetrics_dna.images.preparations import RESIZERS, SAVES, Preparation, PreparedImages

PHOTO = np.ascontiguousarray(photographs(4)[3][:70, :90])
SIZE = (48, 40)
NO_SCALE = (0.0,) * 3, (1.0,) * 3


def linear(image: np.ndarray, places: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Bilinear interpolation at these rows and columns, (H, W, 3)."""
    values = image / 255
    for axis, at in enumerate(places):
        inside = np.clip(at, 0, values.shape[axis] - 1)
        low = np.floor(inside).astype(int)
        share = np.expand_dims(inside - low, (1, 2) if axis == 0 else (0, 2))
        high = np.minimum(low + 1, values.shape[axis] - 1)
        values = np.take(values, low, axis) * (1 - share) + np.take(values, high, axis) * share
    return values


def test_linear_resizes_are_their_formulas() -> None:
    half = [(np.arange(new) + 0.5) * old / new - 0.5 for new, old in zip(SIZE, PHOTO.shape, strict=False)]
    ends = [np.arange(new) * (old - 1) / (new - 1) for new, old in zip(SIZE, PHOTO.shape, strict=False)]
    corner = [np.arange(new) * old / new for new, old in zip(SIZE, PHOTO.shape, strict=False)]
    for name, places in (("torch_bilinear", half), ("torch_bilinear_corners", ends), ("tensorflow", corner)):
        np.testing.assert_allclose(
            RESIZERS[name](PHOTO, SIZE).transpose(1, 2, 0), linear(PHOTO, places), atol=1e-5, err_msg=name
        )
    whole = RESIZERS["bytes_bilinear"](PHOTO, SIZE).transpose(1, 2, 0) * 255
    assert np.abs(whole - linear(PHOTO, half) * 255).max() <= 0.5 + 1e-3
    np.testing.assert_allclose(whole, whole.round(), atol=1e-4)


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("pillow", Image.Resampling.BICUBIC),
        ("pillow_bilinear", Image.Resampling.BILINEAR),
        ("pillow_lanczos", Image.Resampling.LANCZOS),
        ("pillow_nearest", Image.Resampling.NEAREST),
    ],
)
def test_resizes_by_pillow_are_those_of_pillow(name: str, method: Image.Resampling) -> None:
    expected = np.asarray(Image.fromarray(PHOTO).resize(SIZE[::-1], method)) / 255
    np.testing.assert_allclose(RESIZERS[name](PHOTO, SIZE).transpose(1, 2, 0), expected, atol=1e-7)


def test_every_resize_keeps_a_plain_image_and_leaves_its_own_size_alone() -> None:
    plain = np.full((30, 20, 3), 51, np.uint8)
    for name, resize in RESIZERS.items():
        np.testing.assert_allclose(resize(plain, SIZE), 0.2, atol=1e-5, err_msg=name)
        same = resize(PHOTO, PHOTO.shape[:2])
        assert same.dtype == np.float32
        np.testing.assert_allclose(same.transpose(1, 2, 0), PHOTO / 255, atol=1e-6, err_msg=name)


def test_saving_rounds_cuts_or_compresses() -> None:
    floats = np.float32([0.1, 0.5, 0.999]).repeat(64 * 64).reshape(3, 64, 64).transpose(1, 2, 0)
    assert SAVES["rounded"](floats)[0, 0].tolist() == [26, 128, 255]
    assert SAVES["cut"](floats)[0, 0].tolist() == [25, 127, 254]
    assert SAVES["cut"](PHOTO) is PHOTO
    file = BytesIO()
    Image.fromarray(PHOTO).save(file, "JPEG", quality=90)
    np.testing.assert_array_equal(SAVES["jpeg_90"](PHOTO), np.asarray(Image.open(file)))


def test_a_scaling_is_what_the_network_makes_of_it() -> None:
    mean, std = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
    plain = Preparation().apply(PHOTO, SIZE, *NO_SCALE)
    scaled = (Preparation(scaling="half").apply(PHOTO, SIZE, mean, std) - mean) / std
    np.testing.assert_allclose(scaled, 2 * plain - 1, atol=1e-5)
    np.testing.assert_array_equal(Preparation(channels="BGR").apply(PHOTO, SIZE, *NO_SCALE), plain[..., ::-1])
    cropped = Preparation(crop="center").apply(PHOTO, SIZE, *NO_SCALE)
    np.testing.assert_array_equal(cropped, Preparation().apply(PHOTO[:, 10:80], SIZE, *NO_SCALE))


def test_an_image_is_decoded_once_for_all_preparations() -> None:
    photos = [PHOTO, PHOTO[::-1], PHOTO[:, ::-1]]
    source = open_source(photos)
    decoded = []
    decode = source.decode
    source.decode = lambda index: decoded.append(index) or decode(index)
    preparations = [Preparation(), Preparation(resize="pillow"), Preparation(crop="center")]
    images = PreparedImages(source, preparations, SIZE, *NO_SCALE)
    values = [images[i] for i in range(len(images))]
    assert decoded == [0, 1, 2]
    for i, value in enumerate(values):
        np.testing.assert_array_equal(value, preparations[i % 3].apply(photos[i // 3], SIZE, *NO_SCALE))
