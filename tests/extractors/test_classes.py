"""The classifier behind the default extractor is timm's own, with names that tell its classes apart."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch

from torchmetrics_dna import DNAExtractor
from torchmetrics_dna.demo import photographs
from torchmetrics_dna.extractors.architectures import build_network
from torchmetrics_dna.extractors.checkpoints import load_weights
from torchmetrics_dna.extractors.classes import Classifier, classifier_of
from torchmetrics_dna.extractors.presets import PRESETS
from torchmetrics_dna.extractors.weights import find_weights

PRESET = PRESETS["efficientnet_lite0"]


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return classifier_of(DNAExtractor(layers=["block_0", "head"]))


def test_probabilities_are_those_of_the_whole_network(classifier: Classifier) -> None:
    network = timm.create_model("tf_efficientnet_lite0").eval()
    load_weights(network, find_weights(PRESET), PRESET)
    extractor = DNAExtractor(layers=["head"], input_size=224)
    images = torch.stack([torch.from_numpy(photo).permute(2, 0, 1) for photo in photographs(6)])
    with torch.no_grad():
        expected = network(extractor._prepare(images)).softmax(1)
    probabilities = classifier.probabilities(extractor(images)["head"])
    assert torch.allclose(probabilities, expected, atol=1e-5)
    assert torch.allclose(probabilities.sum(1), torch.ones(6))
    assert "cat" in classifier.names[int(probabilities[3].argmax())]  # scikit-image's cat


def test_means_are_taken_first(classifier: Classifier) -> None:
    head = torch.rand(2, 1280, 7, 7) * 3
    assert torch.allclose(classifier.probabilities(head), classifier.probabilities(head.mean((2, 3))), atol=1e-6)


def test_names_are_short_and_differ(classifier: Classifier) -> None:
    assert len(classifier.names) == len(set(classifier.names)) == len(classifier.bias) == 1000
    assert classifier.names[0] == "tench"
    assert classifier.names[281] == "tabby"
    assert classifier.names[517] == "crane (lifts and moves heavy objects)"


def test_other_extractors_have_none(tmp_path: Path) -> None:
    assert classifier_of(DNAExtractor(layers=["block_0"])) is None
    assert classifier_of(DNAExtractor(timm.create_model("tf_efficientnet_lite0"), layers=["blocks.0"])) is None
    # the same network with other weights
    network = build_network(PRESET)
    load_weights(network, find_weights(PRESET), PRESET)
    state = network.state_dict()
    state["bn2.weight"] = state["bn2.weight"] + 1
    torch.save(state, tmp_path / "other.pth")
    assert classifier_of(DNAExtractor(layers=["head"], weights_path=tmp_path / "other.pth")) is None
    torch.save(network.state_dict(), tmp_path / "same.pth")
    assert classifier_of(DNAExtractor(layers=["head"], weights_path=tmp_path / "same.pth")) is not None
