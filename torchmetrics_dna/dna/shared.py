"""Functions for DNAs of any representation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from torchmetrics_dna.dna.gaussian import GaussianDNA, LayerGaussianDNA
from torchmetrics_dna.dna.histogram import HistogramDNA
from torchmetrics_dna.images.properties import LAYER, RECORDS

if TYPE_CHECKING:
    from torchmetrics_dna.dna.base import DNA
    from torchmetrics_dna.neurons.index import Neurons


def has_means(dna: DNA) -> bool:
    """Return True if the means of neurons are known. They are unknown for histograms of unknown ranges."""
    return not (isinstance(dna, HistogramDNA) and dna.ranges is None)


def as_gaussian(dna: DNA) -> GaussianDNA:
    """Return the mean and variance of each neuron. For histograms, they are those of all activations.

    For other representations, they are those of spatial means.
    """
    if isinstance(dna, GaussianDNA):
        return dna
    assert isinstance(dna, (HistogramDNA, LayerGaussianDNA))
    return dna.to_gaussian()


def shared_neurons(*dnas: DNA) -> Neurons:
    """Return the neurons that can be compared between DNAs.

    Image properties that need a file are left out if the images of a DNA were not read from files.
    """
    neurons = dnas[0].neurons
    if LAYER not in neurons:
        return neurons
    measured = neurons.numbers(LAYER)
    of_files = [number for number, record in enumerate(RECORDS.values()) if record.needs == "file"]
    positions_of_files = [neurons.index(LAYER, number) for number in of_files if number in measured]
    if not positions_of_files:
        return neurons
    if all(_are_above_zero(dna.select(neurons=positions_of_files)) for dna in dnas):
        return neurons
    comparable = [position for position in range(neurons.total) if position not in positions_of_files]
    return neurons.take(torch.tensor(comparable))


def _are_above_zero(dna: DNA) -> bool:
    """Return True if any image has a value above 0. Without files, all properties that need a file are 0."""
    if isinstance(dna, HistogramDNA):
        is_above = dna.bin_edges()[:, :-1] > 0
        return bool(dna.counts[is_above].any())
    return bool(as_gaussian(dna).mean.any())
