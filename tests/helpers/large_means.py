"""Samples with small spreads on large means, and what numpy finds of them."""

from __future__ import annotations

import numpy as np
import torch
from networks import Outputs

from torchmetrics_dna import DNAExtractor
from torchmetrics_dna.statistics import CrossMomentStatistic, State

WIDTHS = {"a": 4, "b": 3}
statistic = CrossMomentStatistic(
    DNAExtractor(Outputs(lambda imgs: {name: imgs.new_zeros(len(imgs), n) for name, n in WIDTHS.items()}))
)
_random = np.random.default_rng(0)
# means of about 10,000 with spreads from 0.01 to 1, as a layer without normalisation may give them
SAMPLES = 1e4 * _random.uniform(-1, 1, 7) + _random.normal(size=(200, 7)) @ _random.normal(size=(7, 7)) * np.logspace(
    -2, 0, 7
)


def add(side: State, samples: np.ndarray) -> None:
    values = torch.from_numpy(samples.copy())
    # the second layer with two positions, of which only the mean counts
    layers = {"a": values[:, :4], "b": torch.stack([values[:, 4:] - 0.5, values[:, 4:] + 0.5], 2)}
    statistic.add_(side, [layers], len(samples))


def side_of(samples: np.ndarray, batch: int | None = None) -> State:
    side = statistic.empty("cpu")
    for first in range(0, len(samples), batch or max(1, len(samples))):
        add(side, samples[first : first + (batch or len(samples))])
    return side


def agrees(side: State, samples: np.ndarray, rtol: float = 1e-10) -> None:
    """Mean and covariance are those of numpy; errors of a covariance are seen against the two spreads."""
    dna = statistic.value(side)
    assert dna.num_images == len(samples)
    np.testing.assert_allclose(dna.mean, samples.mean(0), rtol=1e-14)
    for layer, where in dna.neurons.slices.items():
        expected = np.cov(samples[:, where].T)
        spreads = np.sqrt(np.diag(expected))
        error = np.abs(dna.cov[layer].numpy() - expected) / np.outer(spreads, spreads)
        assert error.max() < rtol
