"""Two versions of a data set: images by their pixels, and what came and went against what stayed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import Command
from networks import Pixels
from PIL import Image

from torchmetrics_dna import DNAExtractor, compare
from torchmetrics_dna.comparisons import diff

OPTIONS: dict[str, Any] = {"ranges": "auto", "num_bins": 64}


def images(count: int, shift: int = 0, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(90 + shift, 25, (count, 8, 8, 3))
    return noise.clip(0, 255).astype(np.uint8)


KEPT, GONE, CAME = images(40), images(6, seed=1), images(40, 80, seed=2)


def test_what_came_and_went() -> None:
    old, new = np.concatenate([KEPT[:5], GONE, KEPT[5:]]), np.concatenate([CAME, KEPT[::-1], KEPT[:1]])
    versions = diff(old, new, DNAExtractor(Pixels()), **OPTIONS)
    assert versions.num_images == (46, 81)
    assert versions.edited == [f"image {i}" for i in range(5, 11)]
    assert versions.removed == []
    assert len(versions.added) == 35  # an image that stands there twice was added once
    assert not set(versions.added) & set(versions.edited)
    assert ("image 0", "image 79") in versions.renamed
    comparison = compare(old, new, DNAExtractor(Pixels()), num_folds=None, **OPTIONS)
    assert torch.equal(versions.whole["dna-emd"].values, comparison["dna-emd"].values)
    assert versions.whole.p_value is None
    added = compare(KEPT, np.concatenate([CAME, KEPT[:1]]), DNAExtractor(Pixels()), **OPTIONS)
    assert versions.of_added["dna-emd"].value == pytest.approx(added["dna-emd"].value, rel=1e-12)
    assert versions.of_added.p_value == added.p_value
    assert added.p_value <= 0.05
    assert "added or edited" in versions.verdict


def test_equal_and_disjoint_versions() -> None:
    same = diff(KEPT, KEPT.copy(), DNAExtractor(Pixels()), **OPTIONS)
    assert (same.added, same.removed, same.whole, same.of_added) == ([], [], None, None)
    disjoint = diff(GONE, CAME, DNAExtractor(Pixels()), num_folds=None, **OPTIONS)
    assert disjoint.of_added is None
    comparison = compare(GONE, CAME, DNAExtractor(Pixels()), num_folds=None, **OPTIONS)  # of few images, by torch alone
    assert disjoint.whole["dna-emd"].value == pytest.approx(comparison["dna-emd"].value, rel=1e-12)


def test_the_command(tmp_path: Path, cli: Command) -> None:
    for version, version_images in (("old", [*KEPT[:3], GONE[0]]), ("new", [*KEPT[:2], CAME[0]])):
        (tmp_path / version).mkdir()
        for i, image in enumerate(version_images):
            Image.fromarray(image.repeat(4, 0).repeat(4, 1)).save(tmp_path / version / f"{i}.png")
    # the same pixels in another file
    Image.open(tmp_path / "old" / "2.png").save(tmp_path / "new" / "x.webp", lossless=True)
    arguments = ["diff", tmp_path / "old", tmp_path / "new", "--layers", "block_0"]
    captured = cli(*arguments).out
    assert all(part in captured for part in ("3 the same", "1 added", "1 removed", "2.png -> x.webp"))
    captured = cli(*arguments, "--format", "markdown", "--fail-if-changed", code=1)
    assert ["added", "1", "2.png"] in [line.strip("| ").split(" | ") for line in captured.out.splitlines()]
    assert "Failed: 1 image added" in captured.err
    assert json.loads(cli(*arguments, "--format", "json").out)["num_images"] == {"old": 4, "new": 4}
