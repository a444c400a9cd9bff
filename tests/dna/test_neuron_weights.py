from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import dnas
import numpy as np
import pytest
import torch

from torchmetrics_dna import NeuronWeights
from torchmetrics_dna.dna.averaging import averaging_of
from torchmetrics_dna.neurons import Neurons

NEURONS = Neurons({"block.0/é": 2, "head": [1, 4]})


def test_other_files_are_refused(tmp_path: Path) -> None:
    weights = NeuronWeights(torch.tensor([0.1, 0.0, -2.0, 1e-9]), NEURONS, "tiny", "aa", "ignores hats")
    assert "3 of 4 neurons" in repr(weights)
    dnas.gaussian().save(tmp_path / "dna")
    with pytest.raises(ValueError, match="holds 'gaussian', expected 'neuron-weights'"):
        NeuronWeights.load(tmp_path / "dna")


def test_chosen_neurons_are_a_mean() -> None:
    dna = dnas.histogram()
    chosen = NeuronWeights.of_neurons(torch.tensor([5, 2]), dna.neurons, "tiny")
    distances = torch.rand(dna.neurons.total).double()
    assert float(chosen.weights @ distances) == pytest.approx(float(distances[[2, 5]].mean()))
    assert int((chosen.weights != 0).sum()) == 2
    for indices in ([5, 2], (2, 5), np.array([5, 2])):
        assert torch.equal(NeuronWeights.of_neurons(indices, dna.neurons, "tiny").weights, chosen.weights)
    with pytest.raises(TypeError, match="`chosen` expected to be a tensor or a list, but got 5"):
        NeuronWeights.of_neurons(5, dna.neurons, "tiny")
    assert NeuronWeights.like(chosen.weights, dna).weights_digest == dna.weights_digest


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"neurons": Neurons({"head": 4})}, "their layers differ"),
        ({"neurons": Neurons(dict(zip(NEURONS, (1, 3), strict=True)))}, "their neurons differ"),
        ({"extractor": "other"}, "their extractors differ: 'tiny' and 'other'"),
        ({"weights_digest": "bb"}, r"their weights \(digest\) differ: 'aa' and 'bb'"),
    ],
)
def test_weights_of_something_else(changes: dict[str, object], message: str, tmp_path: Path) -> None:
    weights = NeuronWeights(torch.ones(4), NEURONS, "tiny", "aa")
    weights.save(tmp_path / "x")
    fitting = replace(dnas.gaussian(NEURONS), weights_digest="aa")
    for source in (weights, tmp_path / "x", str(tmp_path / "x"), torch.ones(4)):
        assert averaging_of(fitting, neuron_weights=source).weights.tolist() == [1] * 4
    assert averaging_of(fitting).is_plain
    assert not averaging_of(replace(fitting, weights_digest=None), neuron_weights=weights).is_plain
    with pytest.raises(ValueError, match=message):
        averaging_of(replace(fitting, **changes), neuron_weights=weights)
    with pytest.raises(ValueError, match=r"expected to have shape \(4,\)"):
        NeuronWeights(torch.ones(3), NEURONS, "tiny")


def test_weights_of_zero_make_no_distance() -> None:
    for weights in (torch.zeros(4), NeuronWeights(torch.zeros(4), NEURONS, "tiny")):
        with pytest.raises(ValueError, match="expected to have a weight other than 0, but all are 0"):
            averaging_of(dnas.gaussian(NEURONS), neuron_weights=weights)
