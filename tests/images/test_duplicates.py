"""Pictures that are nearly equal, on photographs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from torchmetrics_dna.demo import jpeg, photographs
from torchmetrics_dna.images import likeness
from torchmetrics_dna.images.likeness import near_duplicates, thumbnail

PHOTOS = photographs(40)


def thumbnails(pictures: list[np.ndarray]) -> torch.Tensor:
    return torch.stack([thumbnail(picture) for picture in pictures])


def test_photographs_are_not_alike_but_their_copies_are() -> None:
    plain, copies = thumbnails(PHOTOS), thumbnails([jpeg(photo, 1) for photo in PHOTOS])
    folds = torch.arange(40).repeat(2)
    assert near_duplicates(plain, plain, folds) == 0
    assert near_duplicates(plain, copies) == 40
    assert near_duplicates(plain, copies[:7]) == 7
    assert near_duplicates(plain, copies, torch.zeros(80)) == 0  # of one fold


def test_frames_are_alike() -> None:
    random = np.random.default_rng(0)
    photo = PHOTOS[3]
    frames = [photo[i : i + 128, i : i + 128] for i in range(10)]
    noisy = [np.clip(frame + random.normal(0, 3, frame.shape), 0, 255).astype(np.uint8) for frame in frames]
    assert near_duplicates(thumbnails(noisy), thumbnails(noisy), torch.arange(10).repeat(2)) == 10


def test_bytes_and_floats_look_the_same() -> None:
    assert torch.equal(thumbnail(PHOTOS[0]), thumbnail((PHOTOS[0] / 255).astype(np.float32)))


@pytest.mark.parametrize("rows", [3, 11])
def test_blocks_change_nothing(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, copies = thumbnails(PHOTOS), thumbnails(PHOTOS[::-1])
    folds = torch.from_numpy(np.random.default_rng(0).integers(0, 3, 80))
    expected = sum(int(folds[i] != folds[79 - i]) for i in range(40))  # each has one copy
    assert 0 < expected < 40
    monkeypatch.setattr(likeness, "_ROWS", rows)
    assert near_duplicates(plain, copies, folds) == expected


def test_too_many_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = thumbnails(PHOTOS[:5])
    monkeypatch.setattr(likeness, "MOST", 4)
    assert near_duplicates(plain, plain) is None


def test_images_of_one_colour_are_no_copies() -> None:
    random = np.random.default_rng(0)
    blank = [np.full((64, 64, 3), level, np.uint8) for level in (0, 255, 255)]
    blank += [random.normal(240, 3, (64, 64, 3)).round().astype(np.uint8)]  # a scan of nothing
    a, b = thumbnails([*PHOTOS[:5], *blank]), thumbnails([*blank, *PHOTOS[4:8]])
    folds = torch.arange(len(a) + len(b))
    assert near_duplicates(a, b) == near_duplicates(a, b, folds) == 1
    assert near_duplicates(a[5:], b[:4]) == near_duplicates(a[5:], b[:0]) == 0
