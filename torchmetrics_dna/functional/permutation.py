"""Permutation tests of distances, which exchange folds of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, product
from math import comb

import torch
from torch import Tensor

# Default number of folds per set.
NUM_FOLDS = 20
# Smallest number of folds per set for a test or an interval.
LEAST_FOLDS = 5
# Number of relabelings of a test. The smallest p-value is then 0.001.
NUM_RELABELINGS = 1000
# Level of significance of p-values and of false discovery rates.
SIGNIFICANT = 0.05
# Ratio of the numbers of images above which relabelings balance images instead of folds.
UNEQUAL = 1.5
# Largest difference of values that count as equal: relative to them, or absolute for standardised values below 1.
_TIE = 1e-9
# Number of draws per required relabeling. Some draws are equal, and duplicates are removed.
_SPARE = 8


@dataclass(frozen=True, eq=False)
class PermutationTest:
    """Result of a permutation test.

    Attributes:
        p_value: Share of relabelings whose most extreme layer or neuron is at least as extreme as the observed one.
        layers: p-value of each layer, corrected for the number of layers (max-T), shape ``(layers,)``. The statistic of
            a layer is the larger of two statistics.
        neurons: p-value of each neuron, corrected for the number of neurons (max-T of Westfall and Young), shape
            ``(N,)``.
        q: False discovery rate among the neurons with at least as much evidence (Benjamini and Hochberg), shape
            ``(N,)``.
        z: Distance of each neuron, standardised by its mean and standard deviation over relabelings, shape ``(N,)``.
        num_relabelings: Number of relabelings, including the observed labels.
        exact: True if the relabelings are all possible ones.
        overall: Overall statistic of each relabeling, from which ``p_value`` is computed, float64, shape ``(P,)``. The
            observed labels come first.

    """

    p_value: float
    layers: Tensor
    neurons: Tensor
    q: Tensor
    z: Tensor
    num_relabelings: int
    exact: bool
    overall: Tensor


# The cache is useful, because all distances of a comparison use the same relabelings. It is safe, because nothing
# writes to them.
@lru_cache(maxsize=8)
def relabelings(num_a: int, num_b: int, most: int) -> Tensor:
    """Return relabelings of folds as A or B.

    Args:
        num_a: Number of folds of A.
        num_b: Number of folds of B.
        most: Maximum number of relabelings. If there are more, different random ones are drawn.

    Returns:
        Masks of the folds in A, bool, shape ``(P, num_a + num_b)``. The folds of A come first. The first row has the
        observed labels.

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
        # Sorting random keys chooses random folds. The keys of the first row choose the observed folds of A.
        keys = torch.rand(_SPARE * most, total, generator=torch.Generator().manual_seed(0))
        keys[0] = torch.arange(total)
        chosen = keys.argsort(1)[:, :num_a]
    masks = torch.zeros(len(chosen), total, dtype=torch.bool).scatter_(1, chosen, value=True)
    return _distinct(masks, most)


def relabelings_of_size(sizes_a: Tensor, sizes_b: Tensor, most: int) -> Tensor:
    """Draw different relabelings, as in :func:`relabelings`, that preserve the number of images of A to within a tenth.

    If one set has many more images, its folds are larger. Exchanging equal numbers of folds would then change the
    number of images per set, which changes the null distribution of distances. So these relabelings preserve numbers of
    images instead of folds. There may be few such relabelings.

    Args:
        sizes_a: Number of images of each fold of A.
        sizes_b: Number of images of each fold of B.
        most: Maximum number of relabelings.

    Example:
        >>> relabelings_of_size(torch.tensor([2, 2]), torch.tensor([4, 4]), most=9).int()[:, :2].sum(1)
        tensor([2, 0, 0])

    """
    sizes = torch.cat([sizes_a, sizes_b])
    target = int(sizes_a.sum())
    # For each draw, go through the folds in random order. Put a fold in A if A then still has at most `target` images.
    # There are twice as many draws as needed, because some draws are equal, or leave too few images in A.
    order = torch.rand(2 * most, len(sizes), generator=torch.Generator().manual_seed(0)).argsort(1)
    remaining = torch.full((len(order),), target)
    in_a = torch.zeros(len(order), len(sizes), dtype=torch.bool)
    for folds in order.T:
        fits = sizes[folds] <= remaining
        in_a.scatter_(1, folds[:, None], fits[:, None])
        remaining -= sizes[folds] * fits
    is_nearly_full = remaining * 10 <= target
    distinct_masks = torch.unique(in_a[is_nearly_full], dim=0)
    observed = torch.arange(len(sizes)) < len(sizes_a)
    is_other = (distinct_masks != observed).any(1)
    other_masks = distinct_masks[is_other]
    # The distinct masks are sorted, so the first of them would not be a random sample.
    drawn = torch.randperm(len(other_masks), generator=torch.Generator().manual_seed(0))[: most - 1]
    return torch.cat([observed[None], other_masks[drawn]])


def exchanges_of_pairs(num_folds: int, most: int) -> Tensor:
    """Return relabelings of paired images, as in :func:`relabelings`, which exchange whole folds between A and B.

    Fold k of A and fold k of B hold the same pairs. A relabeling and its mirror image have the same distances.

    Args:
        num_folds: Number of folds per set.
        most: Maximum number of relabelings, where a relabeling and its mirror image count as one. If there are more,
            different random ones are drawn.

    Example:
        >>> exchanges_of_pairs(2, most=9).int()
        tensor([[1, 1, 0, 0],
                [1, 0, 0, 1],
                [0, 1, 1, 0],
                [0, 0, 1, 1]], dtype=torch.int32)

    """
    # A mask says which folds keep their sets. It and its complement are mirror images.
    if 2 ** (num_folds - 1) <= most:
        unchanged = torch.tensor(list(product([True, False], repeat=num_folds)))
    else:
        drawn = torch.rand(_SPARE * most, num_folds, generator=torch.Generator().manual_seed(0)) < 0.5
        drawn[0] = True
        # Replace a mask by its complement if it exchanges the first fold. So mirror images become equal.
        exchanges_first = ~drawn[:, :1]
        unchanged = _distinct(drawn ^ exchanges_first, most)
    return torch.cat([unchanged, ~unchanged], 1)


def partitions(num_folds: Sequence[int], most: int) -> Tensor:
    """Assign the folds of several sets to the sets at random. Each set keeps its number of folds.

    Args:
        num_folds: Number of folds of each set.
        most: Number of partitions.

    Returns:
        Masks of the folds in each set, bool, shape ``(P, sets, folds)``. The folds are in the order of the sets. The
        first partition is the observed one.

    Example:
        >>> partitions([2, 1], 2)[0].int()
        tensor([[1, 1, 0],
                [0, 0, 1]], dtype=torch.int32)

    """
    # Sorting random keys gives a random order of the folds. The first row has the observed order.
    keys = torch.rand(most, sum(num_folds), generator=torch.Generator().manual_seed(0))
    keys[0] = torch.arange(sum(num_folds))
    # Number of the set of each fold: as observed, and in each partition.
    observed_sets = torch.repeat_interleave(torch.arange(len(num_folds)), torch.tensor(num_folds))
    assigned_sets = torch.empty_like(keys, dtype=torch.int64)
    assigned_sets.scatter_(1, keys.argsort(1), observed_sets.expand(most, -1))
    return assigned_sets[:, None] == torch.arange(len(num_folds))[:, None]


def _distinct(masks: Tensor, most: int) -> Tensor:
    """Remove duplicates of rows; return the first ``most`` remaining rows, in their order."""
    distinct, numbers = masks.unique(dim=0, return_inverse=True)  # type: ignore[no-untyped-call]
    # For each distinct row, find the first row that is equal to it.
    after_last = torch.full((len(distinct),), len(masks))
    first_rows = after_last.scatter_reduce(0, numbers, torch.arange(len(masks)), "amin")
    return masks[first_rows.sort().values[:most]]


def permutation_test(
    distances: Tensor,
    layers: Sequence[slice],
    weights: Tensor | None,
    exact: bool,
    shifts: Tensor | None,
) -> PermutationTest:
    """Run a permutation test on distances under relabelings.

    The distance of each neuron is standardised by its mean and standard deviation over all relabelings. A layer has two
    statistics: the mean of its neurons, and its shift, see :func:`layer_shifts`. The shift detects small differences of
    many neurons in one direction. The overall statistic is the maximum over the means of layers, over the shifts of
    layers, and over neurons. It detects small differences that affect few layers or few neurons, which the mean over
    all neurons would miss. All statistics are standardised before they are compared.

    Args:
        distances: Distance of each neuron in each relabeling, shape ``(P, N)``, float64. Distances are scaled so that
            they do not depend on the number of images per set. The first row is observed.
        layers: Columns of each layer.
        weights: Weights of Eq. (5), shape ``(N,)``, or None for equal weights. Their absolute values are used.
        exact: Whether the relabelings are all possible ones.
        shifts: Shift of each layer in each relabeling, shape ``(P, layers)``, or None to test without shifts.

    """
    z = standardised(distances)
    neuron_weights = torch.ones(z.shape[1], dtype=torch.float64) if weights is None else weights.abs().double()
    neuron_weights = neuron_weights.to(z.device)
    by_mean = standardised(torch.stack([z[:, columns] @ neuron_weights[columns] for columns in layers], 1))
    # For each relabeling, take the maximum over means of layers, over neurons, and over shifts of layers.
    max_neuron = torch.where(neuron_weights > 0, z, -torch.inf).amax(1)
    maxima = [by_mean.amax(1), max_neuron]
    if shifts is None:
        by_layer = by_mean
    else:
        by_shift = standardised(shifts.to(z))
        maxima.append(by_shift.amax(1))
        by_layer = torch.maximum(by_mean, by_shift)
    overall = standardised(torch.stack(maxima, 1)).amax(1)
    return PermutationTest(
        p_value=float(_p_values(overall, overall[0])),
        layers=_p_values(by_layer.amax(1), by_layer[0]),
        neurons=_p_values(max_neuron, z[0]),
        q=false_discovery_rates(z),
        z=z[0],
        num_relabelings=len(distances),
        exact=exact,
        overall=overall,
    )


def joint_p_value(*tests: PermutationTest) -> float:
    """Compute the p-value of the null hypothesis of several tests together.

    The statistic of a relabeling is its smallest p-value among the tests (min-P of Westfall and Young). The p-value of
    this statistic is computed from the same relabelings, so the tests may depend on each other. The result is never
    smaller than the smallest p-value of the tests. If the tests have different numbers of relabelings, the smallest
    p-value is corrected for the number of tests instead (Bonferroni).
    """
    if len({test.num_relabelings for test in tests}) > 1:
        return min(1.0, len(tests) * min(test.p_value for test in tests))
    evidence = _joint_evidence(tests)
    return float(_p_values(evidence, evidence[0]))


def most_unlike(tests: Sequence[PermutationTest], num_sets: int) -> tuple[int, float]:
    """Find the set that differs most from all other sets.

    The statistic of a partition is the largest joint evidence among its sets.

    Args:
        tests: Tests of each set against all other sets. Their rows are the sets of each of the :func:`partitions`.
        num_sets: Number of sets.

    Returns:
        The number of the set with the most joint evidence, and the p-value of the null hypothesis that no set differs
        from all others.

    """
    evidence = _joint_evidence(tests).view(-1, num_sets)
    largest = evidence.amax(1)
    overall = torch.stack([test.overall[:num_sets].cpu() for test in tests]).sum(0)
    # Sets with equal evidence are compared by the size of their statistics.
    number = torch.where(evidence[0] >= largest[0] - _TIE, overall, -torch.inf).argmax()
    return int(number), float(_p_values(largest, largest[0]))


def _joint_evidence(tests: Sequence[PermutationTest]) -> Tensor:
    """Return minus the smallest p-value among tests, for each of their common relabelings, ``(P,)``."""
    p_values = [_p_values(test.overall, test.overall).cpu() for test in tests]
    return -torch.stack(p_values).amin(0)


def layer_shifts(shifts: Tensor, layers: Sequence[slice], weights: Tensor | None) -> Tensor:
    """Compute the shift of each layer: the mean over its neurons of squared shifts, each divided by its noise.

    The noise of a neuron is the mean of its squared shift over relabelings. The mean shift is 0, because a relabeling
    and its mirror image are equally likely.

    Args:
        shifts: Shift of each neuron, ``(P, N)``, float64: its mean activation in one set less that in the other. Shifts
            are scaled like the distances of :func:`permutation_test`.
        layers: Columns of each layer.
        weights: Weights of Eq. (5), shape ``(N,)``, or None for equal weights. Their absolute values are used.

    Returns:
        Shifts of layers, ``(P, layers)``, not standardised.

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
    """Compute the false discovery rate of each neuron (Benjamini and Hochberg).

    p-values are computed from a null distribution that is pooled over the relabelings of all neurons.

    Args:
        z: Standardised distances, shape ``(P, N)``. The first row is observed.

    Returns:
        False discovery rates, shape ``(N,)``.

    """
    observed = z[0]
    null = z[1:].flatten()
    order = observed.argsort(descending=True)
    descending = observed[order]
    # Sorting values of at least 1 is enough. Smaller observed values get a p-value of 1.
    large_null = null[null >= 1].sort().values
    num_as_large = len(large_null) - torch.searchsorted(large_null, descending.clamp(min=1) * (1 - _TIE))
    p = torch.where(descending >= 1, (1 + num_as_large) / (1 + len(null)), 1.0).double()
    q = rates_of_sorted(p)
    return torch.empty_like(q).scatter_(0, order, q)


def rates_of_sorted(p: Tensor) -> Tensor:
    """Compute false discovery rates from p-values in ascending order (Benjamini and Hochberg, 1995).

    Args:
        p: p-values, float64, shape ``(n,)``.

    Returns:
        False discovery rates, float64, shape ``(n,)``.

    Example:
        >>> rates_of_sorted(torch.tensor([0.25, 0.5, 0.5], dtype=torch.float64))
        tensor([0.5000, 0.5000, 0.5000], dtype=torch.float64)

    """
    q = p * len(p) / torch.arange(1, len(p) + 1, dtype=torch.float64, device=p.device)
    return q.flip(0).cummin(0).values.flip(0).clamp(max=1)


def holm(p_values: Mapping[str, float | None]) -> dict[str, float | None]:
    """Correct p-values for the number of tests, which controls the family-wise error rate (Holm, 1979).

    Args:
        p_values: p-value of each test, by name, or None if there was no test.

    Returns:
        Corrected p-values, by name, or None if there was no test.

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
    """Compute the share of relabelings with a statistic at least as large as observed.

    Args:
        null: Statistic of each relabeling, including the observed one, ``(P,)``.
        observed: Observed statistics.

    Returns:
        p-values in the shape of ``observed``.

    """
    least = observed - _TIE * observed.abs().clamp(min=1)
    return (len(null) - torch.searchsorted(null.sort().values, least)).double() / len(null)
