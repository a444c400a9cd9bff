"""Likeness of small pictures: what it forgives, and what it does not."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from torchmetrics_dna.demo import photographs
from torchmetrics_dna.images.likeness import PICTURE, likeness, small_picture

PHOTOS = photographs(8)


def like(one: np.ndarray, other: np.ndarray) -> float:
    return float(likeness(small_picture(one)[None], small_picture(other)[None]))


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image,
        lambda image: image[:, ::-1],
        lambda image: (image * 0.7 + 20).astype(np.uint8),
        lambda image: np.asarray(Image.fromarray(image).resize((96, 80))),
        lambda image: np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(2))),
        lambda image: (image + np.random.default_rng(0).normal(0, 10, image.shape)).clip(0, 255).astype(np.uint8),
        lambda image: image[10:, 25:],
        lambda image: image[: -image.shape[0] // 5, image.shape[1] // 5 :, :][:, ::-1],
    ],
    ids=["same", "mirrored", "darker", "smaller", "blurred", "noisy", "a little cropped", "cropped and mirrored"],
)
def test_copies_are_alike_either_way(change: object) -> None:
    for photo in (PHOTOS[0], PHOTOS[3]):
        changed = np.ascontiguousarray(change(photo))
        assert like(photo, changed) > 0.97
        assert like(changed, photo) == pytest.approx(like(photo, changed), abs=1e-3)


def test_others_and_plain_pictures_are_not() -> None:
    for photo, other in pairwise(PHOTOS):
        assert like(photo, other) < 0.9
    assert like(PHOTOS[3], PHOTOS[3][..., ::-1]) < 0.9  # red for blue
    ramp = np.repeat(np.linspace(0, 255, 64).astype(np.uint8)[None, :, None], 64, 0).repeat(3, 2)
    assert np.isnan(like(ramp, ramp))
    grey = small_picture(PHOTOS[0].mean(2, keepdims=True).astype(np.uint8))
    assert grey.shape == (PICTURE,)
    assert grey.dtype == torch.uint8
