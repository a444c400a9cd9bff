"""Two sets of images in classes, and assertions about them in any number of processes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from networks import Pixels

from torchmetrics_dna import DNAExtractor, compare

NAMES = ("cat", "dog", "emu", "fox")
SIZES = {"real": (20, 11, 7, 0), "fake": (14, 11, 1, 5)}


def sets() -> dict[str, tuple[np.ndarray, list[str]]]:
    """Return images and their classes, shuffled; foxes are only among the fakes."""
    generator = np.random.default_rng(0)
    by_side = {}
    for side, sizes in SIZES.items():
        classes = generator.permutation(np.repeat(NAMES, sizes)).tolist()
        shifts = [20 * NAMES.index(name) + (30 if (side, name) == ("fake", "dog") else 0) for name in classes]
        images = generator.normal(80, 30, (len(classes), 8, 8, 3)) + np.array(shifts)[:, None, None, None]
        by_side[side] = images.clip(0, 255).astype(np.uint8), classes
    return by_side


SETS = sets()
OPTIONS: dict[str, Any] = {"ranges": "auto", "num_bins": 64}


def extractor() -> DNAExtractor:
    return DNAExtractor(Pixels())


def of_class(side: str, name: str) -> np.ndarray:
    images, classes = SETS[side]
    return images[[label == name for label in classes]]


def check(rank: int, world: int) -> None:
    """Assert that each class is as measured by itself, however many processes share the images."""
    by = tuple(classes for _, classes in SETS.values())
    images = [images for images, _ in SETS.values()]
    comparisons = compare(*images, extractor(), by=by, num_folds=None, distributed=world > 1, **OPTIONS)
    assert list(comparisons) == ["cat", "dog", "emu"]
    assert comparisons.alone == ([], ["fox"])
    for name in ("cat", "dog", "emu"):
        single = compare(of_class("real", name), of_class("fake", name), extractor(), num_folds=None, **OPTIONS)
        assert torch.equal(comparisons[name]["dna-emd"].values, single["dna-emd"].values)
        if name != "emu":  # of which one is no Gaussian
            assert comparisons[name]["dna-fd"].value == pytest.approx(single["dna-fd"].value, rel=1e-12)
    joined = compare(
        images[0],
        np.concatenate([of_class("fake", name) for name in NAMES[:3]]),
        extractor(),
        num_folds=None,
        **OPTIONS,
    )
    assert torch.equal(comparisons.total["dna-emd"].values, joined["dna-emd"].values)
