"""Images that are nearly equal, and the likeness of pictures: what they forgive, and what they do not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from torchmetrics_dna.demo import blur, jpeg, photographs
from torchmetrics_dna.images import likeness as module
from torchmetrics_dna.images.likeness import PICTURE, likeness, near_duplicates, small_picture, thumbnail

PHOTOS = photographs(40)
RANDOM = np.random.default_rng(0)


def like(one: np.ndarray, other: np.ndarray) -> float:
    return float(likeness(small_picture(one)[None], small_picture(other)[None]))


def noisy(image: np.ndarray, deviation: float) -> np.ndarray:
    return (image + RANDOM.normal(0, deviation, image.shape)).clip(0, 255).astype(np.uint8)


COPIES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "same": lambda image: image,
    "mirrored": lambda image: image[:, ::-1],
    "darker": lambda image: (image * 0.7 + 20).astype(np.uint8),
    "smaller": lambda image: np.asarray(Image.fromarray(image).resize((96, 80))),
    "blurred": lambda image: blur(image, 3),
    "noisy": lambda image: noisy(image, 10),
    "a little cropped": lambda image: image[10:, 25:],
    "cropped and mirrored": lambda image: image[: -image.shape[0] // 5, image.shape[1] // 5 :, :][:, ::-1],
}


@pytest.mark.parametrize("copy", COPIES)
def test_copies_are_alike_either_way(copy: str) -> None:
    for photo in (PHOTOS[0], PHOTOS[3]):
        changed = np.ascontiguousarray(COPIES[copy](photo))
        assert like(photo, changed) > 0.97
        assert like(changed, photo) == pytest.approx(like(photo, changed), abs=1e-3)


def test_others_and_plain_pictures_are_not() -> None:
    for photo, other in pairwise(PHOTOS[:8]):
        assert like(photo, other) < 0.9
    assert like(PHOTOS[3], PHOTOS[3][..., ::-1]) < 0.9  # red for blue
    ramp = np.repeat(np.linspace(0, 255, 64).astype(np.uint8)[None, :, None], 64, 0).repeat(3, 2)
    assert np.isnan(like(ramp, ramp))
    grey = small_picture(PHOTOS[0].mean(2, keepdims=True).astype(np.uint8))
    assert (grey.shape, grey.dtype) == ((PICTURE,), torch.uint8)
    assert torch.equal(grey[: PICTURE // 3], grey[-PICTURE // 3 :])


def thumbnails(pictures: list[np.ndarray]) -> torch.Tensor:
    return torch.stack([thumbnail(picture) for picture in pictures])


def near(a: torch.Tensor, b: torch.Tensor, folds: torch.Tensor | None = None) -> int:
    rows = near_duplicates(a, b, folds)
    assert rows is not None
    return int((rows >= 0).sum())


def test_near_duplicates_are_copies_and_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, copies = thumbnails(PHOTOS), thumbnails([jpeg(photo, 1) for photo in PHOTOS])
    assert near(plain, plain, torch.arange(40).repeat(2)) == 0
    assert near_duplicates(plain, copies).tolist() == [*range(40)]
    assert near_duplicates(plain, copies[:7]).tolist() == [*range(7)] + [-1] * 33
    assert near(plain, copies, torch.zeros(80)) == 0  # of one fold
    for step in (0, 1):  # a camera at rest, and one that moves
        frames = thumbnails([noisy(PHOTOS[3][step * i :, step * i :][:128, :128], 3) for i in range(12)])
        assert near(frames, frames, torch.arange(12).repeat(2)) == 12
    assert torch.equal(plain[0], thumbnail((PHOTOS[0] / 255).astype(np.float32)))
    monkeypatch.setattr(module, "MOST", 39)
    assert near_duplicates(plain, copies) is None


def by_all_pairs(a: np.ndarray, b: np.ndarray, folds: np.ndarray) -> list[int]:
    """Near-duplicates as they are defined, of sides of ten images or more."""

    def details(fine: np.ndarray) -> np.ndarray:
        mean = fine.reshape(-1, 12, 2, 12, 2).mean((2, 4), keepdims=True)
        rest = (fine.reshape(-1, 12, 2, 12, 2) - mean).reshape(len(fine), -1)
        norms = np.linalg.norm(rest, axis=1, keepdims=True)
        return np.where(norms > 2 * 24, rest / norms, 0)

    def mirrored(values: np.ndarray, side: int) -> np.ndarray:
        return values.reshape(len(values), -1, side)[..., ::-1].reshape(len(values), -1)

    sides = [side.astype(np.float64) for side in (a, b)]
    colours, fine = [side[:, :432] for side in sides], [side[:, 432:] for side in sides]
    pairs = [(colours[0][:, None] - seen) for seen in (colours[1], mirrored(colours[1], 12))]
    far = np.minimum(*(np.square(pair).sum(2) for pair in pairs))
    alike = np.zeros(far.shape, bool)
    for least, own in ((0.75, [details(side - side.mean(0)) for side in fine]), (0.95, [*map(details, fine)])):
        alike |= np.maximum(own[0] @ own[1].T, own[0] @ mirrored(own[1], 24).T) >= least
        alike |= (least < 0.9) & ~(own[0].any(1)[:, None] & own[1].any(1))
    far[~alike | (folds[: len(a), None] == folds[len(a) :]) | (far > 25 * 432)] = np.inf
    return np.where(np.isinf(far.min(1)), -1, far.argmin(1)).tolist()


@pytest.mark.parametrize("rows", [7, 512])
def test_near_duplicates_are_those_of_all_pairs(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SETTINGS", replace(module._SETTINGS, rows_at_once=rows))
    crops = [np.ascontiguousarray(PHOTOS[i % 9][i % 5 : 90, i % 4 * 3 : 120]) for i in range(90)]
    crops = [crop[:, ::-1] if i % 7 == 0 else crop for i, crop in enumerate(crops)]
    a, b = thumbnails(crops[:50]), thumbnails([*crops[30:], *PHOTOS[:5]])
    for side, other in ((a, b), (b, a), (a, a), (b, b[3:])):
        of = torch.cat([torch.arange(len(side)), torch.arange(len(other))]) % 11
        found = near_duplicates(side, other, of)
        assert found is not None
        assert found.tolist() == by_all_pairs(side.numpy(), other.numpy(), of.numpy())
        assert (found >= 0).sum() > 5
    assert -1 in found.tolist()


def page(seed: int) -> np.ndarray:
    """Lines of print, in the same places on each page; half of the places of letters are dark."""
    random, page = np.random.default_rng(seed), np.full((192, 192), 240.0)
    for top in range(8, 180, 8):
        letters = np.repeat(random.random((2, 56)) < 0.5, 3, 1).repeat(2, 0)
        page[top : top + 4, 12:180] -= 70 * letters
    page[:, :6] = 60
    return np.repeat((page + random.normal(0, 4, page.shape)).clip(0, 255).astype(np.uint8)[..., None], 3, 2)


def test_pages_of_other_words_are_no_copies_and_changed_ones_are() -> None:
    pages = [page(seed) for seed in range(40)]
    a, b = thumbnails(pages[:20]), thumbnails(pages[20:])
    colours = [side[:, :432].float() for side in (a, b)]
    assert (torch.cdist(*colours).amin(1) < 5 * 432**0.5).all()  # alike when small
    assert near(b, a) == near(b[:1], a) == near(a, a, torch.arange(20).repeat(2)) == 0
    size = {"half": (96, 96), "one and a half": (288, 288)}
    changed = {name: [np.asarray(Image.fromarray(one).resize(to)) for one in pages[:20]] for name, to in size.items()}
    changed |= {"jpeg": [jpeg(one, 1) for one in pages[:20]], "mirrored": [one[:, ::-1] for one in pages[:20]]}
    for name, copies in changed.items():
        assert near_duplicates(thumbnails(copies), a).tolist() == [*range(20)], name
        assert near_duplicates(thumbnails(copies[3:5]), a).tolist() == [3, 4], name


def test_images_of_one_colour_are_no_copies() -> None:
    blank = [np.full((64, 64, 3), level, np.uint8) for level in (0, 255, 255)]
    blank += [RANDOM.normal(240, 3, (64, 64, 3)).round().astype(np.uint8)]  # a scan of nothing
    a, b = thumbnails([*PHOTOS[:5], *blank]), thumbnails([*blank, *PHOTOS[4:8]])
    assert near(a, b) == near(a, b, torch.arange(len(a) + len(b))) == 1
    assert near(a[5:], b[:4]) == near(a[5:], b[:0]) == 0
