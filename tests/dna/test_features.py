"""Features of images: several layers, names, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import dnas
import pytest
import torch

from torchmetrics_dna import DNAExtractor, Features
from torchmetrics_dna.files.damage import MOST_HEADER
from torchmetrics_dna.metrics import MIND
from torchmetrics_dna.neurons import Neurons
from torchmetrics_dna.singles.nearest import check_index, find_nearest

NEURONS = Neurons({"first": 2, "head": 3})
VALUES = torch.arange(20.0).reshape(4, 5)
NAMES = ["a", "b", "ü", "d"]


def test_names_may_be_longer_than_a_header(tmp_path: Path) -> None:
    names = [f"{number}".zfill(MOST_HEADER // 1000) for number in range(1100)]
    Features(torch.zeros(1100, 1), Neurons({"head": 1}), "tiny", names=names).save(tmp_path / "x.features.npz")
    assert Features.load(tmp_path / "x.features.npz").names == names


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(images, 5\), but got \(4, 4\)"):
        Features(VALUES[:, :4], NEURONS, "tiny")
    with pytest.raises(ValueError, match="`names` expected to have 4 names, but got 2"):
        Features(VALUES, NEURONS, "tiny", names=["a", "b"])
    with pytest.raises(ValueError, match="Expected finite features"):
        Features(VALUES / 0, NEURONS, "tiny")
    with pytest.raises(ValueError, match="expected to be features of one layer, but got .*; select one"):
        MIND(reference=Features(VALUES, NEURONS, "tiny"))
    with pytest.raises(ValueError, match="The index of images expected to hold images"):
        check_index(Features(VALUES[:0], NEURONS, "tiny"), DNAExtractor(layers=["block_0"]))


def test_images_without_names_are_called_by_their_numbers() -> None:
    index = Features(VALUES, NEURONS, "tiny")
    assert find_nearest(Features(VALUES[2:] + 0.1, NEURONS, "tiny"), index, themselves=None).names == [
        "image 2",
        "image 3",
    ]


@pytest.mark.outer  # starts a process
def test_a_dna_of_any_kind_is_read_from_the_start(tmp_path: Path) -> None:
    for number, dna in enumerate(dnas.every_kind()):
        dna.save(tmp_path / f"{number}.dna.npz")
    code = """
import sys
from torchmetrics_dna.dna.load import load_dna
print(*[type(load_dna(path)).__name__ for path in sys.argv[1:]])
"""
    command = [sys.executable, "-c", code, *map(str, sorted(tmp_path.iterdir()))]
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    assert process.stdout.split() == ["HistogramDNA", "HistogramDNA", "GaussianDNA", "LayerGaussianDNA"]


def test_a_copy_of_an_image_that_is_in_the_index_twice_is_found() -> None:
    generator = torch.Generator().manual_seed(0)
    distinct = torch.randn(6, 5, generator=generator)
    images = torch.stack([distinct[0] + 1e-3, distinct[1] + 1e-3, distinct[2] * 2])
    index = torch.cat([distinct, distinct[:1], distinct[:1] * (1 + 1e-6)])  # other kernels round differently
    once, often = (
        find_nearest(Features(images, NEURONS, "x"), Features(rows, NEURONS, "x"), themselves=None)
        for rows in (distinct, index)
    )
    assert often.copies.tolist() == once.copies.tolist() == [True, True, False]
    torch.testing.assert_close(often.ratios, once.ratios)
    assert (
        find_nearest(Features(images, NEURONS, "x"), Features(distinct[:1], NEURONS, "x"), themselves=None)
        .ratios.isnan()
        .all()
    )
