"""Samples of single images in DNAs: merged in any order, written to files and read again."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from networks import Pixels
from torch import Tensor

from torchmetrics_dna import DNAExtractor, DNARealism, load_dna, make_dna
from torchmetrics_dna.dna import LayerGaussianDNA
from torchmetrics_dna.dna.image_sample import ImageSample
from torchmetrics_dna.images.properties import image_properties

EXTRACTOR = DNAExtractor(Pixels())
IMAGES = np.random.default_rng(0).integers(0, 256, (40, 9, 8, 3)).astype(np.uint8)


def dna_of(images: np.ndarray) -> LayerGaussianDNA:
    dna: Any = make_dna(images, EXTRACTOR, kind="layer-gaussian")
    return dna


def rows_of(sample: ImageSample) -> Tensor:
    """All values of each image, in an order that does not depend on that of the sample."""
    assert sample.properties is not None
    rows = torch.cat([*sample.means.values(), sample.properties], 1)
    return rows[np.lexsort(rows.numpy().T)]


def in_sorted_rows(values: Tensor) -> Tensor:
    return values[np.lexsort(values.numpy().T)]


def test_a_sample_has_the_means_and_properties_of_each_image() -> None:
    sample = dna_of(IMAGES).sample
    assert sample is not None
    batch = torch.from_numpy(IMAGES).permute(0, 3, 1, 2)
    means = [
        of_layer.double().reshape(len(batch), of_layer.shape[1], -1).mean(2) for of_layer in EXTRACTOR(batch).values()
    ]
    expected = in_sorted_rows(torch.cat([*means, image_properties(batch)], 1).float())
    torch.testing.assert_close(rows_of(sample), expected)


def test_parts_give_the_sample_of_the_whole_in_any_order() -> None:
    whole = dna_of(IMAGES).sample
    assert whole is not None
    parts = [dna_of(IMAGES[:7]), dna_of(IMAGES[7:25]), dna_of(IMAGES[25:])]
    for a, b, c in itertools.permutations(parts):
        merged = (a + (b + c)).sample
        assert merged is not None
        torch.testing.assert_close(rows_of(merged), rows_of(whole))


@pytest.mark.parametrize("count", [999, 1000, 1001, 2500])
def test_a_large_set_leaves_the_same_thousand_in_any_order(count: int) -> None:
    values = torch.rand(count, 3, generator=torch.Generator().manual_seed(count))
    properties = values[:, :2] * 2
    whole = ImageSample.of({"layer": values}, properties)
    assert whole.num_images == min(count, 1000)
    parts = [ImageSample.of({"layer": values[part]}, properties[part]) for part in (slice(300), slice(300, None))]
    for merged in (parts[0].merge(parts[1]), parts[1].merge(parts[0])):
        assert torch.equal(rows_of(merged), rows_of(whole))
    # Larger values are not preferred: the hash is of all bytes.
    assert abs(whole.means["layer"].mean() - 0.5) < 0.03


def test_a_part_without_properties_leaves_the_means_alone() -> None:
    values = torch.rand(6, 3)
    merged = ImageSample.of({"layer": values}, values).merge(ImageSample.of({"layer": values + 1}))
    assert merged.properties is None
    assert merged.num_images == 12


def test_a_file_gives_the_same_sample_and_scores(tmp_path: Path) -> None:
    dna = dna_of(IMAGES)
    dna.save(tmp_path / "x.dna.npz")
    loaded: Any = load_dna(tmp_path / "x.dna.npz")
    assert dna.sample is not None
    assert torch.equal(rows_of(loaded.sample), rows_of(dna.sample))
    scores = []
    for reference in (dna, tmp_path / "x.dna.npz"):
        metric = DNARealism(EXTRACTOR, reference=reference)
        metric.update(torch.from_numpy(IMAGES[:5] // 2).permute(0, 3, 1, 2))
        scores.append(metric.compute())
    assert torch.equal(*scores)


@pytest.mark.parametrize(
    ("forge", "message"),
    [
        (lambda sample: replace(sample, properties=sample.properties[:-1]), "its sample is uint8 of shape"),
        (
            lambda sample: replace(sample, properties=sample.properties * torch.nan),
            "its sample has values that",
        ),
    ],
)
def test_a_file_with_a_sample_that_does_not_fit_is_refused(
    forge: Callable[[Any], ImageSample], message: str, tmp_path: Path
) -> None:
    dna = dna_of(IMAGES)
    replace(dna, sample=forge(dna.sample)).save(tmp_path / "x.dna.npz")
    with pytest.raises(ValueError, match=message):
        load_dna(tmp_path / "x.dna.npz")
