"""How far small sets are apart without noise, and what takes half of that."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from torchmetrics_dna.dna.averaging import PLAIN, Averaging
from torchmetrics_dna.jobs.causes import Apart, Shares, takes_half

RNG = np.random.default_rng(0)
COUNTS = RNG.integers(0, 9, (2, 5, 4, 7)) + 1  # sides, folds, neurons, bins
IMAGES = np.array([[3, 1, 2, 2, 1], [2, 2, 1, 4, 1]])
WEIGHTS = np.array([0.1, 0.2, 0.3, 0.4])


def expected(folds: list[np.ndarray], images: list[np.ndarray], weights: np.ndarray) -> tuple[float, float, float]:
    """The squared distance without noise, and dna-emd and the squared distance with it, neuron by neuron."""
    figures = np.zeros(3)
    for neuron, weight in enumerate(weights):
        means, noise = [], 0.0
        for values, sizes in zip(folds, images, strict=True):
            mean = np.average(values[:, neuron], axis=0, weights=sizes)
            variance_of_an_image = (sizes[:, None] * (values[:, neuron] - mean) ** 2).sum() / (len(sizes) - 1)
            means.append(mean)
            noise += variance_of_an_image / sizes.sum()
        difference = means[0] - means[1] if len(means) == 2 else means[0]
        squared = (difference**2).sum()
        figures += weight * np.array([squared - noise, np.abs(difference).sum(), squared])
    return tuple(figures)


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_it_is_the_formula(paired: bool, weights: np.ndarray | None) -> None:
    shares = COUNTS / COUNTS.sum(3, keepdims=True)
    cumulative = list(shares.cumsum(3))
    images = list(IMAGES if not paired else IMAGES[[0, 0]])
    folds, sizes = ([cumulative[0] - cumulative[1]], images[:1]) if paired else (cumulative, images)
    of_neurons = np.full(4, 0.25) if weights is None else weights
    square, emd, with_noise = expected(folds, sizes, of_neurons)
    a, b = (
        Shares.of(torch.from_numpy(counts), torch.from_numpy(of)) for counts, of in zip(COUNTS, images, strict=True)
    )
    found = Apart((a.less(b),) if paired else (a, b), Averaging(None if weights is None else torch.from_numpy(weights)))
    assert found.square == pytest.approx(square)
    assert found.bins == pytest.approx(emd * max(0, square / with_noise) ** 0.5)
    for side, left_out in enumerate(found.left_out):
        for fold, value in enumerate(left_out.tolist()):
            rest = [np.delete(values, fold, 0) if k == side else values for k, values in enumerate(folds)]
            rest_sizes = [np.delete(of, fold) if k == side else of for k, of in enumerate(sizes)]
            assert value == pytest.approx(expected(rest, rest_sizes, of_neurons)[0])


def test_of_equal_sets_nothing_is_left_on_average() -> None:
    """In 400 draws from one population, where the distance with noise is far above 0."""
    squares, plain = [], []
    for seed in range(400):
        rng = np.random.default_rng(seed)
        counts = torch.from_numpy(rng.multinomial(5, rng.dirichlet(np.ones(6), (2, 8, 3))))
        one = torch.ones(8, dtype=torch.int64)
        squares.append(Apart((Shares.of(counts[0], one), Shares.of(counts[1], one)), averaging=PLAIN).square)
        difference = (counts[0] - counts[1]).double().cumsum(2).mean(0) / 5
        plain.append(float(difference.square().sum(1).mean()))
    assert abs(np.mean(squares)) < 3 * np.std(squares) / 20 < np.mean(plain) / 5


def test_half_is_taken_only_clearly() -> None:
    def sets(bins: float, square: float, *left: float) -> SimpleNamespace:
        return SimpleNamespace(bins=bins, square=square, left_out=[torch.tensor(left).double()] * 2)

    before = sets(8, 4, 3.9, 4.0, 4.1, 4.0)
    assert takes_half(before, sets(5.7, 2, 1.9, 2.0, 2.1, 2.0))
    assert not takes_half(before, sets(5.7, 2.1, 1.9, 2.0, 2.1, 2.0))
    assert takes_half(sets(8, 4, 1, 4, 8, 3), sets(4, 1, -2, 1, 5, 0))  # what images show cancels
    assert not takes_half(before, sets(0, -1, -5, 5, -5, 5))  # less only by chance
    assert not takes_half(sets(0, -1, -1, -1, -1, -1), sets(0, -3, -3, -3, -3, -3))  # nothing was apart
