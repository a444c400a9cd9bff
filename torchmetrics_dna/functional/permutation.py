"""Permutation tests: could folds of images that were shared out at random be as far apart?"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

NUM_FOLDS, LEAST_FOLDS = 20, 5  # of images of a side: by default, and for a test or an interval
NUM_RELABELINGS = 1000
SIGNIFICANT = 0.05  # p-value or rate of false discoveries
UNEQUAL = 1.5  # times as many images on one side, beyond which folds are exchanged by the number of their images
_TIE = 1e-9  # relative; what differs by less is equal up to rounding


@dataclass(frozen=True, eq=False)
class PermutationTest:
    """What a permutation test says.

    Attributes:
        p_value: Of the whole: in which share of relabelings a layer or a neuron stands out as much as one does here.
        layers: p-value of each layer, corrected for their number (max-T), shape ``(layers,)``.
        neurons: p-value of each neuron, corrected for their number (max-T of Westfall and Young), shape ``(N,)``.
        q: Share of false discoveries among the neurons with as much evidence (Benjamini and Hochberg), shape ``(N,)``.
        z: Distance of each neuron, less its mean over relabelings, in standard deviations over these, shape ``(N,)``.
        num_relabelings: How many, the observed labels among them.
        exact: Whether these are all that there are.

    """

    p_value: float
    layers: Tensor
    neurons: Tensor
    q: Tensor
    z: Tensor
    num_relabelings: int
    exact: bool


def relabelings(num_a: int, num_b: int, most: int = NUM_RELABELINGS, seed: int = 0) -> Tensor:
    """Ways to share folds out between A and B: all of them if these are few, else random ones.

    Args:
        num_a: Folds of A, which come first.
        num_b: Folds of B.
        most: How many ways at most.
        seed: Of the random ones.

    Returns:
        Which folds are in A, bool, shape ``(P, num_a + num_b)``; the first row is how it is.

    Example:
        >>> relabelings(1, 2).int()
        tensor([[1, 0, 0],
                [0, 1, 0],
                [0, 0, 1]], dtype=torch.int32)

    """
    total = num_a + num_b
    if comb(total, num_a) <= most:
        chosen = torch.tensor(list(combinations(range(total), num_a)))
    else:
        generator = torch.Generator().manual_seed(seed)
        keys = torch.rand(most, total, generator=generator)
        keys[0] = torch.arange(total)
        chosen = keys.argsort(1)[:, :num_a]
    return torch.zeros(len(chosen), total, dtype=torch.bool).scatter_(1, chosen, value=True)


def relabelings_of_size(sizes_a: Tensor, sizes_b: Tensor, most: int = NUM_RELABELINGS, seed: int = 0) -> Tensor:
    """Random ways to share folds out so that A has as many images as it has, but for a tenth; no way comes twice.

    Where one side has many more images, its folds are larger. To exchange them for as many folds of the other would
    compare sides of other sizes, whose distances are spread in another way: so folds go for images.

    Args:
        sizes_a: Images of each fold of A, which come first, int64.
        sizes_b: Likewise, of B.
        most: How many ways at most.
        seed: Of the draws.

    Returns:
        Which folds are in A, bool, shape ``(P, num_a + num_b)``; the first row is how it is. There may be few others.

    Example:
        >>> relabelings_of_size(torch.tensor([2, 2]), torch.tensor([4, 4])).int()[:, :2].sum(1)
        tensor([2, 0, 0])

    """
    sizes, target = torch.cat([sizes_a, sizes_b]), int(sizes_a.sum())
    order = torch.rand(2 * most, len(sizes), generator=torch.Generator().manual_seed(seed)).argsort(1)
    left = torch.full((len(order),), target)
    chosen = torch.zeros(len(order), len(sizes), dtype=torch.bool)
    for folds in order.T:
        fits = sizes[folds] <= left
        chosen.scatter_(1, folds[:, None], fits[:, None])
        left -= sizes[folds] * fits
    observed = torch.arange(len(sizes)) < len(sizes_a)
    found = torch.unique(chosen[left * 10 <= target], dim=0)
    found = found[(found != observed).any(1)]
    drawn = torch.randperm(len(found), generator=torch.Generator().manual_seed(seed))[: most - 1]
    return torch.cat([observed[None], found[drawn]])


def permutation_test(
    distances: Tensor, layers: Sequence[slice], weights: Tensor | None = None, exact: bool = False
) -> PermutationTest:
    """Test by distances under relabelings.

    Each neuron's distance is standardised by its mean and deviation over all relabelings. A layer's statistic is the
    mean of its neurons, standardised likewise. That of the whole is the layer or the neuron that stands out most, each
    of the two standardised again: a slight difference is in few layers or in few neurons, to which the mean over all is
    blind.

    Args:
        distances: Of each neuron, scaled so that they do not depend on how many images a relabeling puts on either
            side, shape ``(P, N)``, float64; the first row is observed.
        layers: Where each layer's neurons are.
        weights: The weights of Eq. (5), shape ``(N,)``; a neuron counts by its weight's absolute value. None: alike.
        exact: Whether these are all relabelings.

    """
    z = standardised(distances)
    share = torch.ones(z.shape[1], dtype=torch.float64) if weights is None else weights.abs().double()
    share = share.to(z.device)
    by_layer = standardised(torch.stack([z[:, rows] @ share[rows] for rows in layers], 1))
    # the largest of each relabeling, of layers and of neurons
    layer, neuron = by_layer.amax(1), torch.where(share > 0, z, -torch.inf).amax(1)
    either = torch.stack([standardised(layer[:, None]), standardised(neuron[:, None])]).amax(0)
    return PermutationTest(
        float(_p_values(either, either[0])),
        _p_values(layer[:, None], by_layer[0]),
        _p_values(neuron[:, None], z[0]),
        false_discovery_rates(z),
        z[0],
        len(distances),
        exact,
    )


def standardised(distances: Tensor) -> Tensor:
    """Each column less its mean, in its standard deviations; 0 where it does not vary but by rounding."""
    mean = distances.mean(0)
    centred = distances - mean
    deviation = centred.square().mean(0).sqrt()
    varies = deviation > _TIE * distances.abs().amax(0)
    return torch.where(varies, centred / torch.where(varies, deviation, 1), 0)


def false_discovery_rates(z: Tensor) -> Tensor:
    """Q of each neuron by Benjamini and Hochberg, of p-values from the relabelings of all neurons together.

    Args:
        z: Standardised distances, shape ``(P, N)``; the first row is observed.

    Returns:
        float64, shape ``(N,)``.

    """
    observed, count = z[0], z.shape[1]
    null = z[1:].flatten()
    order = observed.argsort(descending=True)
    # only what may exceed the smallest of interest is sorted: q is 1 for the rest
    null = null[null >= 1].sort().values
    above = len(null) - torch.searchsorted(null, observed[order].clamp(min=1) * (1 - _TIE))
    p = torch.where(observed[order] >= 1, (1 + above) / (1 + (len(z) - 1) * count), 1.0).double()
    q = rates_of_sorted(p)
    return torch.empty_like(q).scatter_(0, order, q)


def rates_of_sorted(p: Tensor) -> Tensor:
    """Q of each of some p-values, float64, shape ``(n,)``, in ascending order (Benjamini and Hochberg, 1995).

    Example:
        >>> rates_of_sorted(torch.tensor([0.25, 0.5, 0.5], dtype=torch.float64))
        tensor([0.5000, 0.5000, 0.5000], dtype=torch.float64)

    """
    q = p * len(p) / torch.arange(1, len(p) + 1, dtype=torch.float64, device=p.device)
    return q.flip(0).cummin(0).values.flip(0).clamp(max=1)


def holm(p_values: Mapping[str, float | None]) -> dict[str, float | None]:
    """P-values corrected for how many tests there are (Holm, 1979), by name; None is no test.

    The chance that any of the tests that have no difference to find ends at or below a level is at most that level.

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
    """The share of relabelings, the observed one among them, with a statistic as large, shape ``(n,)``."""
    return (null >= observed - _TIE * observed.abs()).double().mean(0)
