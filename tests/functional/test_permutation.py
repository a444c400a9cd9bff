"""Permutation tests, against their definitions written out and by the laws that they must obey."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import partial
from itertools import combinations, permutations, product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import false_discovery_control
from torch import Tensor

from torchmetrics_dna.dna.averaging import PLAIN
from torchmetrics_dna.dna.evidence import weigh_evidence
from torchmetrics_dna.dna.folded import FoldedSides
from torchmetrics_dna.functional.permutation import (
    NUM_RELABELINGS,
    exchanges_of_pairs,
    false_discovery_rates,
    holm,
    joint_p_value,
    layer_shifts,
    most_unlike,
    partitions,
    permutation_test,
    relabelings,
    relabelings_of_size,
    standardised,
)

permuted = partial(permutation_test, weights=None, exact=False, shifts=None)


@given(st.integers(1, 6), st.integers(1, 6))
def test_few_ways_are_all_tried(a: int, b: int) -> None:
    labels = relabelings(a, b, most=NUM_RELABELINGS)
    assert {tuple(row.nonzero().flatten().tolist()) for row in labels} == set(combinations(range(a + b), a))
    assert labels[0].tolist() == [True] * a + [False] * b


def test_relabelings_stay() -> None:
    """The same are drawn in every version, so that p-values of old reports can be had again."""
    sizes = torch.tensor([3, 4, 2, 5, 3, 4]), torch.tensor([11, 8, 9, 12, 10, 7, 9])
    drawn = (
        relabelings(20, 20, most=NUM_RELABELINGS),
        relabelings_of_size(*sizes, most=60),
        exchanges_of_pairs(30, most=NUM_RELABELINGS),
    )
    digests = [hashlib.sha256(np.packbits(masks.numpy(), axis=1).tobytes()).hexdigest()[:12] for masks in drawn]
    assert digests == ["6b550926d761", "d2dea5590d71", "0b6021aafa25"]


@given(st.lists(st.integers(1, 6), min_size=2, max_size=5), st.integers(1, 40))
def test_each_fold_is_dealt_to_one_set(num_folds: list[int], most: int) -> None:
    masks = partitions(num_folds, most)
    assert masks.shape == (most, len(num_folds), sum(num_folds))
    assert (masks.sum(1) == 1).all()
    assert torch.equal(masks.sum(2), torch.tensor(num_folds).expand(most, -1))
    assert masks[0].nonzero()[:, 1].tolist() == list(range(sum(num_folds)))
    assert torch.equal(masks, partitions(num_folds, most))


def test_every_way_that_keeps_the_numbers_may_be_drawn() -> None:
    a, b = [2, 2, 2], [4, 4, 4, 2]
    ways = {row for k in range(8) for row in combinations(range(7), k) if sum((a + b)[i] for i in row) == sum(a)}
    labels = relabelings_of_size(torch.tensor(a), torch.tensor(b), most=NUM_RELABELINGS)
    assert {tuple(row.nonzero().flatten().tolist()) for row in labels} == ways


def test_relabelings_take_folds_that_fit_and_balance_the_sides_to_a_tenth() -> None:
    """Against the definition over all orders of the folds."""
    a, b = [10, 10], [6, 13, 8, 3]  # 10 and 8 are just enough
    sizes, ways = a + b, {(0, 1)}
    for order in permutations(range(6)):
        taken: list[int] = []
        for fold in order:
            taken += [fold] * (sum(sizes[i] for i in [*taken, fold]) <= sum(a))
        if 10 * sum(sizes[i] for i in taken) >= 9 * sum(a):
            ways.add(tuple(sorted(taken)))
    labels = relabelings_of_size(torch.tensor(a), torch.tensor(b), most=NUM_RELABELINGS)
    drawn = [tuple(row.nonzero().flatten().tolist()) for row in labels]
    assert (drawn[0], {*drawn}, len(drawn)) == ((0, 1), ways, len(ways))


@given(st.lists(st.sampled_from([0.001, 0.01, 0.02, 0.04, 0.3, 1.0]), max_size=6), st.integers(0, 6))
def test_holm_steps_down(p_values: list[float], none: int) -> None:
    """Against its definition: rejected one after the other, the k-th at level / (n - k), until one is not."""
    named: dict[str, float | None] = dict(enumerate(p_values)) | {f"none {i}": None for i in range(none)}  # type: ignore[assignment]
    corrected = holm(named)
    assert list(corrected) == list(named)
    for level in (0.0099, 0.0301, 0.0501, 0.0799, 0.2):
        rejected = set()
        for k, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
            if p_values[i] > level / (len(p_values) - k):
                break
            rejected.add(i)
        assert {name for name, p in corrected.items() if p is not None and p <= level} == rejected


def written_out(
    distances: np.ndarray, layers: list[slice], shifts: np.ndarray | None = None
) -> tuple[float, list[float], list[float]]:
    """p-values of the whole, of layers and of neurons, in loops."""

    def standard(values: np.ndarray) -> np.ndarray:
        return (values - values.mean()) / values.std() if values.std() > 0 else np.zeros(len(values))

    z = np.stack([standard(column) for column in distances.T], 1)
    of_layers = np.stack([standard(z[:, rows].mean(1)) for rows in layers], 1)
    kinds, neuron = [of_layers.max(1), z.max(1)], z.max(1)
    if shifts is not None:
        of_shifts = np.stack([standard(column) for column in shifts.T], 1)
        kinds.append(of_shifts.max(1))
        of_layers = np.maximum(of_layers, of_shifts)
    largest, either = of_layers.max(1), np.max([standard(kind) for kind in kinds], 0)
    return (
        np.mean(either >= either[0]),
        [np.mean(largest >= value) for value in of_layers[0]],
        [np.mean(neuron >= value) for value in z[0]],
    )


@pytest.mark.parametrize("seed", range(5))
def test_against_loops(seed: int) -> None:
    random = np.random.default_rng(seed)
    distances = random.gamma(2, size=(200, 12))
    distances[0, 3] += 4
    distances[:, 5] = 0  # a dead neuron
    layers = [slice(0, 4), slice(4, 12)]
    shifts = random.normal(size=(200, 2)) if seed % 2 else None
    test = permuted(torch.from_numpy(distances), layers, shifts=None if shifts is None else torch.from_numpy(shifts))
    whole, of_layers, of_neurons = written_out(distances, layers, shifts)
    assert test.p_value == pytest.approx(whole)
    np.testing.assert_allclose(test.layers, of_layers)
    np.testing.assert_allclose(test.neurons, of_neurons)
    assert test.z[5] == 0
    assert test.num_relabelings == 200


@pytest.mark.parametrize("seed", range(3))
def test_the_joint_test_of_several_against_loops(seed: int) -> None:
    """Of each relabeling the smallest of its p-values; ties count, and tests may be of the same."""
    random = np.random.default_rng(seed)
    distances = [random.gamma(2, size=(120, count)) for count in (6, 3)]
    distances[1][60:] = distances[1][:60]  # ties
    distances[0][0, 0] += 2 * seed
    tests = [permuted(torch.from_numpy(each), [slice(0, each.shape[1])]) for each in distances]
    least = np.ones(120)
    for test in tests:
        overall = test.overall.numpy()
        least = np.minimum(least, [np.mean(overall >= value - 1e-9) for value in overall])
        assert joint_p_value(test) == pytest.approx(test.p_value) == np.mean(overall >= overall[0] - 1e-9)
    assert min(test.p_value for test in tests) <= joint_p_value(*tests) == pytest.approx(np.mean(least <= least[0]))
    fewer = permuted(torch.from_numpy(distances[0][:50]), [slice(0, 6)])
    assert joint_p_value(fewer, tests[1]) == min(1, 2 * min(fewer.p_value, tests[1].p_value))


@pytest.mark.parametrize("seed", range(3))
def test_the_furthest_set_against_loops(seed: int) -> None:
    random = np.random.default_rng(seed)
    distances = [random.gamma(2, size=(60 * 3, count)) for count in (6, 2)]
    distances[1][1] += 2 * seed  # of the second set, observed
    tests = [permuted(torch.from_numpy(each), [slice(0, each.shape[1])]) for each in distances]
    of_sets = np.ones(180)
    for test in tests:
        overall = test.overall.numpy()
        of_sets = np.minimum(of_sets, [np.mean(overall >= value - 1e-9) for value in overall])
    least = of_sets.reshape(60, 3).min(1)
    place, p_value = most_unlike(tests, 3)
    assert of_sets[place] == of_sets[:3].min()
    assert p_value == pytest.approx(np.mean(least <= least[0]))
    tied = permuted(torch.from_numpy(np.r_[[[3.0], [5.0]], np.zeros((38, 1))]), [slice(0, 1)])
    assert most_unlike([tied], 2) == (1, 0.05)
    equal, larger = (torch.tensor([*pair, *[0.0] * 38], dtype=torch.float64) for pair in ((7.0, 7.0), (1.0, 1 + 1e-10)))
    both_first = [replace(tied, overall=overall) for overall in (equal, larger)]
    assert most_unlike(both_first, 2)[0] == 1  # of equal ranks the larger


def test_shifts_of_layers_against_loops() -> None:
    random = np.random.default_rng(0)
    signed = random.normal(size=(50, 12)) * 10.0 ** random.integers(-6, 6, 12)
    signed[:, 5] = 0  # a dead neuron
    layers, weights = [slice(0, 4), slice(4, 12)], random.normal(size=12)
    for given_weights in (None, weights):
        moved = layer_shifts(
            torch.from_numpy(signed), layers, None if given_weights is None else torch.from_numpy(given_weights)
        )
        for k, rows in enumerate(layers):
            for i in range(50):
                terms = [
                    (1 if given_weights is None else abs(given_weights[j]))
                    * signed[i, j] ** 2
                    / (signed[:, j] ** 2).mean()
                    for j in range(rows.start, rows.stop)
                    if j != 5
                ]
                assert float(moved[i, k]) == pytest.approx(sum(terms) / (rows.stop - rows.start))


@given(st.integers(1, 12))
def test_pairs_are_exchanged_within_folds(num_folds: int) -> None:
    exchanges = exchanges_of_pairs(num_folds, most=100)
    assert (exchanges[:, :num_folds] ^ exchanges[:, num_folds:]).all()
    assert exchanges[0].tolist() == [True] * num_folds + [False] * num_folds
    assert len(exchanges.unique(dim=0)) == len(exchanges)
    # but for mirror images, which have the same distance
    different = torch.cat([exchanges, ~exchanges]).unique(dim=0)
    assert len(different) == 2 * min(100, 2 ** (num_folds - 1))
    assert len(exchanges) == (100 if num_folds > 7 else 2**num_folds)
    assert torch.equal(exchanges, exchanges_of_pairs(num_folds, most=100))


@pytest.mark.parametrize("seed", range(4))
def test_the_p_value_of_ten_pairs_is_that_of_all_ways(seed: int) -> None:
    differences = np.random.default_rng(seed).normal(0.4, 1, size=(10, 6))
    moved = torch.from_numpy(np.concatenate([differences, -differences]) / 20)

    def distances(in_a: Tensor, in_b: Tensor) -> Tensor:
        return (in_a.double() @ moved - in_b.double() @ moved).abs()

    sizes, layers = torch.ones(10, dtype=torch.int64), [slice(0, 2), slice(2, 6)]
    unions = FoldedSides(distances, sizes, sizes, layers, (False, False)).as_pairs()
    evidence = weigh_evidence(
        torch.from_numpy(np.abs(differences.mean(0))), unions, power=1, averaging=PLAIN, confidence=0.95
    )
    assert evidence is not None
    assert evidence.test is not None
    ways = np.array(list(product([1, -1], repeat=10)))
    whole, of_layers, of_neurons = written_out(np.abs(ways @ differences / 10), layers)
    assert evidence.test.exact
    assert evidence.test.p_value == pytest.approx(whole)
    np.testing.assert_allclose(evidence.test.layers, of_layers)
    np.testing.assert_allclose(evidence.test.neurons, of_neurons)
    assert evidence.least_p_value == 2 / 1024


def test_what_only_rounding_moves_has_no_evidence() -> None:
    """A dead neuron divided by a spread near zero would be the clearest of all."""
    random = np.random.default_rng(0)
    distances = random.gamma(2, size=(100, 3))
    distances[:, 1] = 7 * (1 + 1e-15 * random.normal(size=100))
    distances[0, 1] = 7 * (1 + 1e-14)
    assert standardised(torch.from_numpy(distances))[:, 1].abs().max() == 0


def test_neurons_without_weight_are_left_out() -> None:
    random = np.random.default_rng(0)
    distances = torch.from_numpy(random.gamma(2, size=(100, 6)))
    distances[0, 0] += 100
    weights = torch.tensor([0, 0, 1, -1, 1, 1.0])
    layers = [slice(0, 2), slice(2, 6)]
    assert permuted(distances, layers).p_value == pytest.approx(0.01)
    assert permuted(distances, layers, weights=weights).p_value > 0.05


@pytest.mark.parametrize("seed", range(3))
def test_false_discovery_rates_against_scipy(seed: int) -> None:
    random = np.random.default_rng(seed)
    z = random.normal(size=(50, 30))
    z[0, :5] += 3
    null = z[1:].ravel()
    p = np.array([(1 + (null >= value).sum()) / (1 + null.size) if value >= 1 else 1 for value in z[0]])
    np.testing.assert_allclose(false_discovery_rates(torch.from_numpy(z)), false_discovery_control(p))
