from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import rankdata

from torchmetrics_dna.functional import (
    learn_neuron_weights,
    select_neurons,
    sensitivity_deviation,
)


@settings(max_examples=30)
@given(arrays("float64", (3, 8), elements=st.integers(0, 5).map(float)), st.integers(1, 8))
def test_pairs_are_pooled_by_mean_rank(distances: object, k: int) -> None:
    chosen = select_neurons(torch.from_numpy(distances), k).tolist()
    pooled = rankdata(distances, axis=1).mean(0)
    assert chosen == sorted(range(8), key=lambda i: (-pooled[i], i))[:k]


def test_one_pair_is_by_distance() -> None:
    distances = torch.tensor([3.0, 1.0, 4.0, 1.0, 5.0])
    assert select_neurons(distances, 3).tolist() == [4, 2, 0]
    assert select_neurons(distances, quantile=0.8).tolist() == [4]
    assert select_neurons(distances, quantile=0).tolist() == [4, 2, 0, 1, 3]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "either `k` or `quantile`"),
        ({"k": 1, "quantile": 0.5}, "either `k` or `quantile`"),
        ({"k": 0}, "`k` expected to be from 1 to 3"),
        ({"k": 4}, "`k` expected to be from 1 to 3"),
        ({"quantile": 1.0}, r"`quantile` expected to be in \[0, 1\)"),
    ],
)
def test_bad_selections(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        select_neurons(torch.ones(3), **arguments)
    with pytest.raises(ValueError, match="Expected finite distances"):
        select_neurons(torch.tensor([1.0, torch.nan]), 1)


def test_deviation_is_eq_6() -> None:
    distances = torch.rand(4, 9, generator=torch.Generator().manual_seed(0))
    weights = torch.rand(9, generator=torch.Generator().manual_seed(1))
    expected = [1 - float((row.double() * weights.double()).sum()) / float(row.double().mean()) for row in distances]
    torch.testing.assert_close(sensitivity_deviation(distances, weights), torch.tensor(expected).double())
    even = torch.full((9,), 1 / 9, dtype=torch.float64)
    torch.testing.assert_close(sensitivity_deviation(distances, even), torch.zeros(4).double(), atol=1e-12, rtol=0)


def attributes() -> tuple[torch.Tensor, torch.Tensor]:
    draws = torch.rand(6, 60, generator=torch.Generator().manual_seed(0)).double() ** 3
    return draws[0], draws[1:]


@pytest.mark.parametrize("nonnegative", [False, True])
def test_learned_weights_take_one_away_and_keep_the_others(nonnegative: bool) -> None:
    target, others = attributes()
    weights = learn_neuron_weights(target, others, nonnegative=nonnegative, steps=1200)
    assert float(sensitivity_deviation(target, weights)) > (0.6 if nonnegative else 0.99)
    assert float(sensitivity_deviation(others, weights).abs().mean()) < (0.3 if nonnegative else 0.01)
    assert (weights >= 0).all() or not nonnegative


def test_held_out_images_stop_the_learning() -> None:
    target, others = attributes()
    same = learn_neuron_weights(target, others, held_out=(target, others), steps=200)
    assert float(sensitivity_deviation(target, same)) > 0.9
    # where the held-out images say the opposite, nothing is better than the plain mean
    contrary = learn_neuron_weights(target, others, held_out=(others[0], target.expand_as(others)), steps=200)
    assert float(sensitivity_deviation(target, contrary)) < 0.5


def test_draws_are_seeded() -> None:
    target, others = attributes()
    random = torch.Generator().manual_seed(3)
    noise = 1 + 0.2 * torch.rand(6, 10, 60, generator=random).double()
    targets, drawn = target * noise[0], others[:, None] * noise[1:]
    weights = [learn_neuron_weights(targets, drawn, seed=seed, steps=300) for seed in (0, 0, 1)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert float(sensitivity_deviation(target, weights[0])) > 0.9


@pytest.mark.parametrize(
    ("target", "others", "message"),
    [
        (torch.ones(3), torch.ones(2, 4), "Expected `target` of shape"),
        (torch.ones(3), torch.ones(0, 3), "Expected `target` of shape"),
        (torch.zeros(3), torch.ones(2, 3), "each attribute to change a neuron"),
        (torch.ones(3), torch.full((2, 3), torch.nan), "Expected finite distances"),
    ],
)
def test_bad_distances(target: torch.Tensor, others: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        learn_neuron_weights(target, others)
