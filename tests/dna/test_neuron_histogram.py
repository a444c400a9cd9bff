"""Histograms of single neurons for other packages, by UHI's protocol."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from uhi.typing.plottable import PlottableHistogram

from torchmetrics_dna import make_dna
from torchmetrics_dna.demo import photographs
from torchmetrics_dna.dna import HistogramDNA
from torchmetrics_dna.neurons import Neurons


@pytest.mark.parametrize("ranges", [None, "auto"])
def test_a_neuron_is_a_plottable_histogram(ranges: str | None) -> None:
    dna = make_dna(photographs(2), layers=["block_0", "block_1"], num_bins=40, ranges=ranges)
    histogram = dna.histogram("block_1", 5)
    assert isinstance(histogram, PlottableHistogram)
    (axis,) = histogram.axes
    row = dna.neurons.index("block_1", 5)
    assert histogram.kind == "COUNT"
    assert histogram.variances() is None
    for values in (histogram.values(), histogram.counts()):
        np.testing.assert_array_equal(values, dna.counts[row])
    edges = dna.bin_edges()[row]
    assert list(axis) == [tuple(pair) for pair in torch.stack([edges[:-1], edges[1:]], 1).tolist()]
    assert (len(axis), axis[-1][1], axis[1:3]) == (40, float(edges[-1]), (axis[1], axis[2]))
    assert (axis.traits.circular, axis.traits.discrete) == (False, False)
    assert axis.label == "block_1, neuron 5"
    assert axis == dna.histogram("block_1", 5).axes[0]
    assert axis != dna.histogram("block_1", 6).axes[0]


def test_unknown_neurons_and_ranges_are_refused() -> None:
    dna = HistogramDNA(torch.ones(2, 3, dtype=torch.int64), Neurons({"head": 2}), None, 1, "tiny")
    with pytest.raises(ValueError, match="activation ranges of this DNA are unknown"):
        dna.histogram("head", 1)
    with pytest.raises(ValueError, match="nonsense"):
        dna.histogram("nonsense", 1)
