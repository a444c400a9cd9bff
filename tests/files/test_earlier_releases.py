"""Files that version 0.3.0 wrote can be loaded, and what they hold has the same digest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from torchmetrics_dna import ActivationRanges, DNAExtractor, NeuronWeights, compare, load_dna, make_dna
from torchmetrics_dna.comparisons import Comparison

FOLDER = Path(__file__).parents[1] / "data" / "release_0_3"
DIGESTS = json.loads((FOLDER / "digests.json").read_text(encoding="utf-8"))
DNAS = sorted(name for name in DIGESTS if name.endswith(".dna.npz"))


@pytest.mark.parametrize("name", DNAS)
def test_a_dna_has_the_same_digest(name: str) -> None:
    dna = load_dna(FOLDER / name)
    assert dna.digest == DIGESTS[name]
    assert bool(dna.folds) == ("in_folds" in name or name == "of_images.dna.npz")


def test_ranges_and_weights_of_neurons_have_the_same_digests() -> None:
    assert ActivationRanges.load(FOLDER / "ranges.json").digest == DIGESTS["ranges.json"]
    assert NeuronWeights.load(FOLDER / "neuron_weights.npz").digest == DIGESTS["neuron_weights.npz"]


def network() -> nn.Module:
    """The network of ``make.py`` beside the files."""
    layer = nn.Conv2d(3, 4, 3)
    with torch.no_grad():
        layer.weight.copy_(torch.arange(4 * 27).reshape(4, 3, 3, 3) % 7 - 3.0)
        assert layer.bias is not None
        layer.bias.zero_()
    return nn.Sequential(layer, nn.ReLU())


def example_images() -> torch.Tensor:
    """The images of ``make.py`` beside the files."""
    return torch.arange(12 * 3 * 16 * 16).reshape(12, 3, 16, 16).mul(37).remainder(251).byte()


def test_a_result_is_equal_to_the_same_comparison_of_today() -> None:
    earlier = Comparison.load(FOLDER / "comparison.result.npz")
    images = example_images()
    extractor = DNAExtractor(network(), layers=["0", "1"], input_size=(16, 16))
    today = compare(images, images // 2, extractor, metrics="dna-fd")
    torch.testing.assert_close(earlier["dna-fd"].values, today["dna-fd"].values)
    evidence_earlier, evidence_today = earlier["dna-fd"].evidence, today["dna-fd"].evidence
    assert evidence_earlier is not None
    assert evidence_today is not None
    assert evidence_earlier.debiased == pytest.approx(evidence_today.debiased)
    assert evidence_earlier.farther is None


def test_the_same_images_and_network_give_the_same_dna() -> None:
    images = example_images()
    extractor = DNAExtractor(network(), layers=["0", "1"], input_size=(16, 16))
    dna = make_dna(images, extractor, ranges="auto", num_bins=16, num_folds=5)
    earlier = load_dna(FOLDER / "of_images.dna.npz")
    assert not dna.distances(earlier).any()
    assert dna.num_images == earlier.num_images
