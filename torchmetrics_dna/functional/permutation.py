"""Permutation tests of distances by folds of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, product
from math import comb

import torch
from torch import Tensor

# Number of folds per set: the default, and the minimum for a test or an interval.
NUM_FOLDS = 20
LEAST_FOLDS = 5
# Number of relabelings of a test, so that the smallest p-value is 0.001.
NUM_RELABELINGS = 1000
# Level of p-values, and of false discovery rates.
SIGNIFICANT = 0.05
# Ratio of the numbers of images above which relabelings balance images instead of folds.
UNEQUAL = 1.5
# Values are tied below this difference: relative, or absolute for standardised values below 1.
_TIE = 1e-9
# Number of draws per required relabeling, since some relabelings are drawn twice.
_SPARE = 8


@dataclass(frozen=True, eq=False)
class PermutationTest:
    """Result of a permutation test.

    Attributes:
        p_value: Share of relabelings whose most extreme layer or neuron is at least as extreme as the observed one.
        layers: p-value of each layer, by the larger of its two statistics, corrected for the number of layers
            (max-T), shape ``(layers,)``.
        neurons: p-value of each neuron, corrected for their number (max-T of Westfall and Young), shape ``(N,)``.
        q: False discovery rate among neurons with at least as much evidence (Benjamini and Hochberg), shape ``(N,)``.
        z: Distance of each neuron, standardised by mean and deviation over relabelings, shape ``(N,)``.
        num_relabelings: Number of relabelings, including the observed labels.
        exact: True if these are all possible relabelings.
        overall: Statistic of each relabeling that the p-value is from, the observed one first, float64, shape ``(P,)``.

    """

    p_value: float
    layers: Tensor
    neurons: Tensor
    q: Tensor
    z: Tensor
    num_relabelings: int
    exact: bool
    overall: Tensor


# All distances of a comparison use the same relabelings, and nothing writes to them.
@lru_cache(maxsize=8)
def relabelings(num_a: int, num_b: int, most: int) -> Tensor:
    """Return relabelings of folds as A or B: all of them, or ``most`` different random ones if there are more.

    Relabelings are masks of the folds in A, bool, shape ``(P, num_a + num_b)``. The folds of A come first. The first
    row has the observed labels.

    Example:
        >>> relabelings(1, 2, most=9).int()
        tensor([[1, 0, 0],
                [0, 1, 0],
                [0, 0, 1]], dtype=torch.int32)

    """
    total = num_a + num_b
    if comb(total, num_a) <= most:
        chosen = torch.tensor(list(combinations(range(total), num_a)))
    else:
        keys = torch.rand(_SPARE * most, total, generator=torch.Generator().manual_seed(0))
        keys[0] = torch.arange(total)
        chosen = keys.argsort(1)[:, :num_a]
    masks = torch.zeros(len(chosen), total, dtype=torch.bool).scatter_(1, chosen, value=True)
    return _distinct(masks, most)


def relabelings_of_size(sizes_a: Tensor, sizes_b: Tensor, most: int) -> Tensor:
    """Draw distinct relabelings, as in :func:`relabelings`, that preserve the number of images of A to within a tenth.

    If one side has many more images, its folds are larger. Exchanging equal numbers of folds would change the sizes of
    the sides, and with them the null distribution of distances, so relabelings balance images instead. They may be few.

    Example:
        >>> relabelings_of_size(torch.tensor([2, 2]), torch.tensor([4, 4]), most=9).int()[:, :2].sum(1)
        tensor([2, 0, 0])

    """
    sizes = torch.cat([sizes_a, sizes_b])
    target = int(sizes_a.sum())
    order = torch.rand(2 * most, len(sizes), generator=torch.Generator().manual_seed(0)).argsort(1)
    remaining = torch.full((len(order),), target)
    chosen = torch.zeros(len(order), len(sizes), dtype=torch.bool)
    for folds in order.T:
        fits = sizes[folds] <= remaining
        chosen.scatter_(1, folds[:, None], fits[:, None])
        remaining -= sizes[folds] * fits
    observed = torch.arange(len(sizes)) < len(sizes_a)
    masks = torch.unique(chosen[remaining * 10 <= target], dim=0)
    masks = masks[(masks != observed).any(1)]
    drawn = torch.randperm(len(masks), generator=torch.Generator().manual_seed(0))[: most - 1]
    return torch.cat([observed[None], masks[drawn]])


def exchanges_of_pairs(num_folds: int, most: int) -> Tensor:
    """Return relabelings of pairs, as in :func:`relabelings`, which exchange the sides of folds.

    Fold k of A and fold k of B hold the same pairs. A relabeling and its mirror image have the same distances, so they
    count as one of ``most``.

    Example:
        >>> exchanges_of_pairs(2, most=9).int()
        tensor([[1, 1, 0, 0],
                [1, 0, 0, 1],
                [0, 1, 1, 0],
                [0, 0, 1, 1]], dtype=torch.int32)

    """
    if 2 ** (num_folds - 1) <= most:
        unchanged = torch.tensor(list(product([True, False], repeat=num_folds)))
    else:
        unchanged = torch.rand(_SPARE * most, num_folds, generator=torch.Generator().manual_seed(0)) < 0.5
        unchanged[0] = True
        unchanged = _distinct(unchanged ^ ~unchanged[:, :1], most)
    return torch.cat([unchanged, ~unchanged], 1)


def partitions(num_folds: Sequence[int], most: int) -> Tensor:
    """Assign the folds of several sets to the sets at random, so that each set keeps its number of folds.

    Masks of the folds in each set, bool, shape ``(P, sets, folds)``. The folds are in the order of the sets. The first
    partition is the observed one.

    Example:
        >>> partitions([2, 1], 2)[0].int()
        tensor([[1, 1, 0],
                [0, 0, 1]], dtype=torch.int32)

    """
    keys = torch.rand(most, sum(num_folds), generator=torch.Generator().manual_seed(0))
    keys[0] = torch.arange(sum(num_folds))
    places = torch.repeat_interleave(torch.arange(len(num_folds)), torch.tensor(num_folds))
    dealt = torch.empty_like(keys, dtype=torch.int64).scatter_(1, keys.argsort(1), places.expand(most, -1))
    return dealt[:, None] == torch.arange(len(num_folds))[:, None]


def _distinct(masks: Tensor, most: int) -> Tensor:
    """Return the first ``most`` different rows, in their order."""
    distinct, numbers = masks.unique(dim=0, return_inverse=True)  # type: ignore[no-untyped-call]
    # For each different row, the number of the first row that is equal to it.
    beyond_last = torch.full((len(distinct),), len(masks))
    first = beyond_last.scatter_reduce(0, numbers, torch.arange(len(masks)), "amin")
    return masks[first.sort().values[:most]]


def permutation_test(
    distances: Tensor,
    layers: Sequence[slice],
    weights: Tensor | None,
    exact: bool,
    shifts: Tensor | None,
) -> PermutationTest:
    """Run a permutation test on distances under relabelings.

    The distance of each neuron is standardised by its mean and deviation over all relabelings. A layer has two
    statistics, each standardised again: the mean of its neurons, and its shift (:func:`layer_shifts`), which sees
    slight differences of many neurons in one direction. The overall statistic is the maximum over layers, over their
    shifts, or over neurons, each standardised again: slight differences affect few layers or few neurons, which the
    overall mean would miss.

    Args:
        distances: Distances of each neuron, scaled to be independent of the number of images of either side in a
            relabeling, shape ``(P, N)``, float64; the first row is observed.
        layers: Columns of each layer.
        weights: Weights of Eq. (5), shape ``(N,)``, of which absolute values are used; None for equal weights.
        exact: Whether these are all possible relabelings.
        shifts: Shift of each layer, shape ``(P, layers)``; None to test without shifts.

    """
    z = standardised(distances)
    neuron_weights = torch.ones(z.shape[1], dtype=torch.float64) if weights is None else weights.abs().double()
    neuron_weights = neuron_weights.to(z.device)
    by_layer = standardised(torch.stack([z[:, columns] @ neuron_weights[columns] for columns in layers], 1))
    # Maxima of each relabeling, over layers, neurons and shifts of layers.
    max_neuron = torch.where(neuron_weights > 0, z, -torch.inf).amax(1)
    maxima = [by_layer.amax(1), max_neuron]
    if shifts is not None:
        by_shift = standardised(shifts.to(z))
        maxima.append(by_shift.amax(1))
        by_layer = torch.maximum(by_layer, by_shift)
    overall = standardised(torch.stack(maxima, 1)).amax(1)
    return PermutationTest(
        float(_p_values(overall, overall[0])),
        _p_values(by_layer.amax(1), by_layer[0]),
        _p_values(max_neuron, z[0]),
        false_discovery_rates(z),
        z[0],
        len(distances),
        exact,
        overall,
    )


def joint_p_value(*tests: PermutationTest) -> float:
    """Compute the p-value of the test that any of several tests of the same relabelings finds a difference.

    The statistic of a relabeling is the smallest of its p-values (min-P of Westfall and Young). The p-value of this
    statistic is computed by relabeling, too, so tests may depend on each other. It is never smaller than the smallest
    p-value of the tests. If tests have different numbers of relabelings, their p-values are corrected for the number of
    tests (Bonferroni).
    """
    if len({test.num_relabelings for test in tests}) > 1:
        return min(1.0, len(tests) * min(test.p_value for test in tests))
    evidence = _joint_evidence(tests)
    return float(_p_values(evidence, evidence[0]))


def most_unlike(tests: Sequence[PermutationTest], num_sets: int) -> tuple[int, float]:
    """Return the number of the set with the most joint evidence, and the p-value that any differs from all others.

    The rows of the tests are each set against all others, in each of the :func:`partitions`. The statistic of a
    partition is the largest of its sets.
    """
    evidence = _joint_evidence(tests).view(-1, num_sets)
    largest = evidence.amax(1)
    overall = torch.stack([test.overall[:num_sets].cpu() for test in tests]).sum(0)
    # Sets of equal rank are ordered by the size of the statistic.
    furthest = torch.where(evidence[0] >= largest[0] - _TIE, overall, -torch.inf).argmax()
    return int(furthest), float(_p_values(largest, largest[0]))


def _joint_evidence(tests: Sequence[PermutationTest]) -> Tensor:
    """Return minus the smallest p-value among tests for each of their common relabelings, ``(P,)``."""
    p_values = [_p_values(test.overall, test.overall).cpu() for test in tests]
    return -torch.stack(p_values).amin(0)


def layer_shifts(shifts: Tensor, layers: Sequence[slice], weights: Tensor | None) -> Tensor:
    """Compute the shift of each layer: the mean over neurons of the square of the difference of means over its noise.

    Noise is the mean square over relabelings, whose mean is 0: a relabeling and its mirror image are equally likely.
    Those of neurons, ``(P, N)``, float64, are mean activations in one side less those in the other, scaled as the
    distances of :func:`permutation_test`. Those of layers, ``(P, layers)``, are not standardised.
    """
    squares = shifts.square()
    noise = squares.mean(0)
    squares = torch.where(noise > 0, squares / torch.where(noise > 0, noise, 1), 0)
    if weights is not None:
        squares = squares * weights.abs().to(squares)
    return torch.stack([squares[:, rows].mean(1) for rows in layers], 1)


def standardised(distances: Tensor) -> Tensor:
    """Standardise each column. A column that is constant up to rounding becomes 0."""
    mean = distances.mean(0)
    centred = distances - mean
    deviation = centred.square().mean(0).sqrt()
    varies = deviation > _TIE * distances.abs().amax(0)
    return torch.where(varies, centred / torch.where(varies, deviation, 1), 0)


def false_discovery_rates(z: Tensor) -> Tensor:
    """Compute q of each neuron by Benjamini and Hochberg, from p-values pooled over relabelings of all neurons.

    ``z`` are standardised distances, shape ``(P, N)``, of which the first row is observed; q has shape ``(N,)``.
    """
    observed = z[0]
    count = z.shape[1]
    null = z[1:].flatten()
    order = observed.argsort(descending=True)
    descending = observed[order]
    num_null = (len(z) - 1) * count
    # Sort only values of interest: q is 1 for the rest.
    null = null[null >= 1].sort().values
    above = len(null) - torch.searchsorted(null, descending.clamp(min=1) * (1 - _TIE))
    p = torch.where(descending >= 1, (1 + above) / (1 + num_null), 1.0).double()
    q = rates_of_sorted(p)
    return torch.empty_like(q).scatter_(0, order, q)


def rates_of_sorted(p: Tensor) -> Tensor:
    """Compute q of p-values in ascending order, float64, shape ``(n,)`` (Benjamini and Hochberg, 1995).

    Example:
        >>> rates_of_sorted(torch.tensor([0.25, 0.5, 0.5], dtype=torch.float64))
        tensor([0.5000, 0.5000, 0.5000], dtype=torch.float64)

    """
    q = p * len(p) / torch.arange(1, len(p) + 1, dtype=torch.float64, device=p.device)
    return q.flip(0).cummin(0).values.flip(0).clamp(max=1)


def holm(p_values: Mapping[str, float | None]) -> dict[str, float | None]:
    """Correct p-values for the number of tests (Holm, 1979), by name; None means no test.

    This controls the family-wise error rate.

    Example:
        >>> holm({"a": 0.01, "b": None, "c": 0.04, "d": 0.03})
        {'a': 0.03, 'b': None, 'c': 0.06, 'd': 0.06}

    """
    tested = {name: p for name, p in p_values.items() if p is not None}
    corrected: dict[str, float | None] = dict.fromkeys(p_values)
    largest = 0.0
    for i, name in enumerate(sorted(tested, key=tested.__getitem__)):
        largest = max(largest, min(1.0, (len(tested) - i) * tested[name]))
        corrected[name] = largest
    return corrected


def _p_values(null: Tensor, observed: Tensor) -> Tensor:
    """Compute the share of relabelings, including the observed one, with a statistic as large, shape as observed."""
    least = observed - _TIE * observed.abs().clamp(min=1)
    return (len(null) - torch.searchsorted(null.sort().values, least)).double() / len(null)
