"""Groups: images that share a fold."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import Pixels, random_images
from pixel_sets import EXTRACTOR, RANGES, A, B

from torchmetrics_dna import DNAExtractor, compare
from torchmetrics_dna.images import ImageSource
from torchmetrics_dna.jobs.arguments import Arguments
from torchmetrics_dna.jobs.groups import group_names
from torchmetrics_dna.jobs.sides import open_sides
from torchmetrics_dna.statistics.folds import group_folds

NAMES = ["x/a_01.png", "x/a_02.png", "y/b-1.png"]
IMAGES = ImageSource(NAMES, str, "images")


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ("folder", ["x", "x", "y"]),
        ("prefix:[a-z]", ["a", "a", "b"]),
        (r"prefix:[a-z][_-](\d)", ["0", "0", "1"]),
        (lambda name: name[-5], ["1", "2", "1"]),
        ([7, 8, 7], [7, 8, 7]),
    ],
)
def test_ways_to_say_it(groups: object, expected: list[object]) -> None:
    assert group_names(IMAGES, groups) == expected


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ("folders", "`groups` expected to be 'folder' or 'prefix:REGEX', but got 'folders'"),
        ("prefix:[", "`groups` has no regular expression, '\\['"),
        ("prefix:a", "'a' matches nothing at the beginning of 'b-1.png', the name without folders; pass another expr"),
        (["a"], "`groups` has 1 names, but 'images' has 3 images"),
    ],
)
def test_what_says_nothing(groups: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        group_names(IMAGES, groups)


def test_groups_are_shared_out_evenly_and_by_name_alone() -> None:
    folds = group_folds([f"clip {i}" for i in range(600)], 20)
    assert folds.bincount(minlength=20).min() > 10
    assert group_folds(["clip 7", "clip 7"], 20).tolist() == [int(folds[7])] * 2
    numbers = [7, 8, 7]
    for groups in (torch.tensor(numbers), list(torch.tensor(numbers)), np.array(numbers)):
        assert group_folds(groups, 20).tolist() == group_folds(numbers, 20).tolist()


def test_one_folder_in_two_groupings_has_two_foldings(photo_folder: Path) -> None:
    """As originals of two clips each, and of four."""
    groupings = [str(i // 6) for i in range(12)], [str(i // 3) for i in range(12)]
    sides = open_sides([photo_folder, photo_folder], Arguments(DNAExtractor(Pixels()), groups=groupings))
    for k, groups in enumerate(groupings):
        assert sides.measured(k).folds.tolist() == group_folds(groups, 20).tolist()


@pytest.mark.slow
def test_frames_of_one_clip_are_no_test() -> None:
    """Case of each image ten times, a little changed: without groups, p is far too small."""
    random = np.random.default_rng(0)

    def clips(images: np.ndarray) -> list[np.ndarray]:
        return [np.clip(image + random.integers(-1, 2, image.shape), 0, 255).astype(np.uint8)
                for image in images for _ in range(10)]  # fmt: skip

    a, b = A[:8].astype(int), A[8:16].astype(int)
    options = {"ranges": RANGES, "num_bins": 40, "metrics": ["dna-emd"]}
    names = [i // 10 for i in range(80)]
    ungrouped = compare(clips(a), clips(b), EXTRACTOR, **options)
    grouped = compare(clips(a), clips(b), EXTRACTOR, groups=(names, names), **options)
    assert ungrouped.p_value < 0.01 < 0.05 < grouped.p_value
    assert ["pass their groups" in " ".join(each.notices) for each in (ungrouped, grouped)] == [True, False]
    single = compare(clips(a[:1]), clips(b[:1]), EXTRACTOR, groups=(["a"] * 10, ["b"] * 10), **options)
    assert single.p_value is None


def test_sides_of_very_unequal_size_have_no_test() -> None:
    images = random_images(300, 21).permute(0, 2, 3, 1).numpy()
    unequal = compare(A[:12], images, EXTRACTOR, ranges=RANGES, num_bins=40, metrics=["dna-emd"])
    assert unequal.p_value is None
    assert unequal.interval is not None
    assert any("one side is so much larger" in line for line in unequal.notices)
    similar = compare(A, images[:30], EXTRACTOR, ranges=RANGES, num_bins=40, metrics=["dna-emd"])
    assert similar.p_value is not None
    assert not any("no test" in line for line in similar.notices)


def test_copies_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    sides, options = (A[:9], np.concatenate([A[:3], B[:9]])), {"ranges": RANGES, "num_bins": 40, "metrics": ["dna-emd"]}
    notices = compare(*sides, EXTRACTOR, **options).notices
    assert any(notice.startswith("3 images in B are near-duplicates") for notice in notices)
    for module in ("comparisons.measured", "images.likeness"):
        monkeypatch.setattr(f"torchmetrics_dna.{module}.MOST", 10)
    (notice,) = (each for each in compare(*sides, EXTRACTOR, **options).notices if "near-duplicates" in each)
    assert re.match("^B .* 10 images.*pass their groups", notice)
