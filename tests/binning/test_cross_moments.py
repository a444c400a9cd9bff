"""Covariances from sums about a shift: as good as numpy's in two passes, however the images come in."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import Outputs

from torchmetrics_dna import DNAExtractor
from torchmetrics_dna.binning import Activations
from torchmetrics_dna.statistics import CrossMomentStatistic, DNAStatistic, State

WIDTHS = {"a": 4, "b": 3}
statistic = CrossMomentStatistic(
    DNAExtractor(Outputs(lambda imgs: {name: imgs.new_zeros(len(imgs), n) for name, n in WIDTHS.items()}))
)
_random = np.random.default_rng(0)
# means of about 10,000 with spreads from 0.01 to 1, as of a layer without normalisation
SAMPLES = 1e4 * _random.uniform(-1, 1, 7) + _random.normal(size=(200, 7)) @ _random.normal(size=(7, 7)) * np.logspace(
    -2, 0, 7
)


def add(side: State, samples: np.ndarray, to: DNAStatistic = statistic) -> None:
    values = torch.from_numpy(samples.copy())
    # the second layer has two positions, whose mean counts
    layers = {"a": values[:, :4], "b": torch.stack([values[:, 4:] - 0.5, values[:, 4:] + 0.5], 2)}
    keys = None if to.num_folds is None else torch.arange(len(samples)) % to.num_folds
    to.add_(side, Activations(layers), keys)


def side_of(samples: np.ndarray, batch: int | None = None) -> State:
    side = statistic.empty("cpu")
    for first in range(0, len(samples), batch or max(1, len(samples))):
        add(side, samples[first : first + (batch or len(samples))])
    return side


def check_moments(side: State, samples: np.ndarray, of: DNAStatistic = statistic) -> None:
    """Assert that mean and covariance are those of numpy; errors of a covariance are relative to the two spreads."""
    dna = of.value(side, of.extractor.origin)
    assert dna.num_images == len(samples)
    np.testing.assert_allclose(dna.mean, samples.mean(0), rtol=1e-14)
    for layer, columns in dna.neurons.slices.items():
        expected = np.cov(samples[:, columns].T)
        spreads = np.sqrt(np.diag(expected))
        error = np.abs(dna.cov[layer].numpy() - expected) / np.outer(spreads, spreads)
        assert error.max() < 1e-10


@pytest.mark.parametrize("batch", [1, 7, 200])
def test_small_spreads_on_large_means_keep_their_digits(batch: int) -> None:
    check_moments(side_of(SAMPLES, batch), SAMPLES)
    check_moments(side_of(SAMPLES[::-1], batch), SAMPLES)


@given(
    st.lists(st.integers(0, 60), min_size=1, max_size=5),
    st.randoms(use_true_random=False),
    st.floats(-1e3, 1e3),
)
@settings(max_examples=15)
def test_merging_is_adding_in_any_grouping(sizes: list[int], random: object, offset: float) -> None:
    ends = np.cumsum(sizes)
    if ends[-1] < 2:
        return
    samples = np.random.default_rng(1).permutation(np.resize(SAMPLES, (ends[-1], 7)))
    samples += np.linspace(0, offset, len(samples))[:, None] * 1e-3  # parts with other means
    sides = [side_of(part, 9) for part in np.split(samples, ends[:-1])]
    before = [{name: tensor.clone() for name, tensor in side.items()} for side in sides]
    while len(sides) > 1:
        target, source = random.sample(sides, 2)  # type: ignore[attr-defined]
        statistic.merge_(target, source)
        sides = [side for side in sides if side is not source]
    check_moments(sides[0], samples)
    merged = statistic.empty("cpu")
    statistic.merge_(merged, before[0])
    assert all(torch.equal(merged[name], before[0][name]) for name in merged)
    statistic.merge_(merged, statistic.empty("cpu"))
    assert all(torch.equal(merged[name], before[0][name]) for name in merged)
