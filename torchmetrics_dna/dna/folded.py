"""Two sets in folds: distances between any combinations of folds, for tests, jackknives and intervals.

A permutation test assigns some folds of both sets to A and the others to B. A jackknife leaves out one fold. Two masks
describe P combinations of the K folds: ``in_a`` and ``in_b``, bool, ``(P, K)``. The folds of set A come first. A fold
that is left out is in neither mask. Counts of folds are added as integers, so distances do not depend on the order of
the additions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from torchmetrics_dna.dna.base import DNA, TooFewImagesError, check_comparable
from torchmetrics_dna.dna.features import Features
from torchmetrics_dna.dna.gaussian import LayerGaussianDNA
from torchmetrics_dna.extras import optional
from torchmetrics_dna.functional.features import CMMD_SCALE, kernel_less_one, unit_rows
from torchmetrics_dna.functional.layer_frechet import layer_frechet_distance
from torchmetrics_dna.functional.layer_frechet_estimate import layer_frechet_estimate
from torchmetrics_dna.functional.permutation import UNEQUAL
from torchmetrics_dna.functional.reduction import blocks
from torchmetrics_dna.functional.self_ranging import RangedCounts, counts_in_nodes

if TYPE_CHECKING:
    from torchmetrics_dna.dna.histogram import HistogramDNA
    from torchmetrics_dna.neurons.index import Neurons

    # Fold of each image of A and of B, int64; None for a set without folds.
    Folds = tuple[Tensor | None, Tensor | None]
    Side = Features | LayerGaussianDNA | None

# Number of relabelings for fd. It is a fifth of the usual number, since each takes an eigendecomposition per layer.
LAYER_RELABELINGS = 200
# Smallest number of images per set for each neuron of a layer. With fewer images, the coverage of intervals is too low.
_IMAGES_PER_NEURON = 3
# Largest number of bytes for the spatial means of both sets.
_MOST_BYTES = 1 << 30
# Seconds per relabeling on one core, divided by the cube of the size of the matrix.
_SECONDS_PER_CUBE = 5e-10
# Largest number of seconds that a test may take.
_LONGEST_TEST = 10
# Number of float64 values that are processed at a time. These 2 MB fit the cache.
_CELLS = 1 << 18
# Number of values of a kernel that are computed at a time, 16 MB. Larger matrix products are more efficient.
_KERNEL_CELLS = 1 << 21
# Single precision represents all whole numbers up to this number.
_MOST_SINGLE = 1 << 24
# Smaller differences are taken as rounding: in bins, or relative to the largest mean.
_ROUNDING = 1e-9


class PseudoValues(NamedTuple):
    """Contributions of the units of a set to a distance. Their spread is the sampling noise of the set.

    A unit is a fold or an image. Contributions are pseudo-values of a jackknife, or influences.

    Attributes:
        values: Contribution of each unit to each distance, ``(units, N)``; to a single distance, ``(units,)``.
        ratios: Number of images of the set divided by that of each unit, ``(units,)``.

    """

    values: Tensor
    ratios: Tensor


class Noise(NamedTuple):
    """Sampling noise of the distances of all columns; NaN where it is unknown.

    Attributes:
        bias: Expected increase of each distance due to noise, float64, ``(N,)``.
        influences: Influences of the images or folds of A, and of those of B, on the distances; None for a set that is
            taken as exact.

    """

    bias: Tensor
    influences: tuple[PseudoValues | None, PseudoValues | None]


@dataclass(frozen=True, eq=False)
class FoldedSides:
    """Two sets in folds, with functions that compute distances between combinations of the folds.

    A set without folds, such as published statistics, is one fold that is taken as exact. The fold is never left out or
    exchanged. So the interval does not include the noise of this set, and there is no test.

    Attributes:
        distances: Function of two masks, ``(P, K)`` each. It returns the distance of each neuron between the folds in
            the masks, float64, ``(P, N)``. It may use wider bins than the DNAs.
        sizes_a: Number of images of each non-empty fold of A, int64. For a set without folds, that of the whole set.
        sizes_b: Number of images of each non-empty fold of B, like ``sizes_a``.
        slices: Columns of each layer in the distances.
        exact: Two values, for A and for B: True if the set has no folds. A set whose images are one group has a single
            fold, and is not exact.
        noise: Function that returns the noise of the distances; None to estimate it by the jackknife.
        num_relabelings: Largest number of relabelings of a test; 0 for no test, None for the default.
        limits: One line for each part of the evidence that is missing, with the reason.
        shifts: Function of two masks. It returns the signed differences of means, ``(P, N')``. None to test without
            shifts.
        shift_slices: Columns of each layer in the shifts.
        paired: True if fold k of A and fold k of B hold the same pairs of images.
        distances_in_a: Function like ``distances``, with masks of the folds of A alone; None to use ``distances``.

    """

    distances: Callable[[Tensor, Tensor], Tensor]
    sizes_a: Tensor
    sizes_b: Tensor
    slices: Sequence[slice]
    exact: tuple[bool, bool]
    noise: Callable[[], Noise] | None = None
    num_relabelings: int | None = None
    limits: tuple[str, ...] = ()
    shifts: Callable[[Tensor, Tensor], Tensor] | None = None
    shift_slices: Sequence[slice] = ()
    paired: bool = False
    distances_in_a: Callable[[Tensor, Tensor], Tensor] | None = None

    def between_folds_of_a(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the distance of each neuron between some folds of A and other folds of A, ``(P, N)``.

        Args:
            first: Mask of the first folds, ``(P, folds of A)``.
            second: Mask of the second folds, ``(P, folds of A)``.

        """
        if self.distances_in_a is not None:
            return self.distances_in_a(first, second)
        num_folds_b = len(self.sizes_b)
        return self.distances(_with_unselected(first, num_folds_b), _with_unselected(second, num_folds_b))

    def as_pairs(self) -> FoldedSides:
        """Return the sets as pairs; TooFewImagesError unless fold k of A has as many images as fold k of B."""
        if any(self.exact) or not torch.equal(self.sizes_a, self.sizes_b):
            a, b = self.sizes_a.tolist(), self.sizes_b.tolist()
            raise TooFewImagesError(
                f"Pairs expected to have both of their images in one fold, but folds have {a} images in A and {b} in B;"
                " pass both images of each pair, and omit both if one can't be read"
            )
        return replace(self, paired=True)


@dataclass(frozen=True)
class PlanOfLayers:
    """Plan of the evidence for fd of some layers between two sets.

    Attributes:
        neurons: The neurons of these layers.
        tested: True if there is a permutation test.
        debiased: Names of the layers that are debiased.
        limits: One line for each part of the evidence that is missing, with the reason.
        by_fold: True if images of a fold belong together, so that the variance is that of folds. Otherwise it is that
            of images.

    """

    neurons: Neurons
    tested: bool
    debiased: tuple[str, ...]
    limits: tuple[str, ...]
    by_fold: bool = False


def why_not_kept(neurons: Neurons, num_images: Sequence[int | None], remedy: str, noun: str) -> str:
    """Return the reason why the spatial means of all images can't be kept in memory; empty if they can."""
    sizes = [size for size in num_images if size is not None]
    if len(sizes) < len(num_images):
        return "a stream does not say how long it is"
    num_bytes = 4 * neurons.total * sum(sizes)
    if num_bytes > _MOST_BYTES:
        return f"that would keep {neurons.total:,} numbers per {noun} for {sum(sizes):,} {noun}s; {remedy}"
    return ""


def plan_for(
    neurons: Neurons,
    num_images: Sequence[int | None],
    *,
    tested: bool,
    by_fold: bool,
    name: str,
    noun: str = "image",
) -> PlanOfLayers:
    """Plan fd of some layers between two sets.

    Args:
        neurons: The neurons of these layers.
        num_images: Numbers of images of the sets that are not taken as exact; None for a stream of unknown length.
        tested: False if there is no test, since a set is taken as exact.
        by_fold: True if images of a fold belong together.
        name: Name of the distance, for the limits.
        noun: Noun for an image of the sets, for the limits.

    """
    reason = why_not_kept(neurons, num_images, "watch fewer layers", noun)
    if reason:
        limit = f"{name} has no test and no debiased value here, since {reason}"
        return PlanOfLayers(neurons, False, (), (limit,))
    sizes = [size for size in num_images if size is not None]
    smaller = min(sizes)
    limits: list[str] = []
    why_untested = _why_untested(neurons, smaller, max(sizes), noun)
    if tested and why_untested:
        limits.append(f"{name} has no test here, since {why_untested}")
    debiased = [layer for layer, width in neurons.items() if smaller >= _IMAGES_PER_NEURON * width]
    if len(debiased) < len(neurons):
        scope = _scope_without_debiasing(neurons, debiased)
        images_of_widest = _IMAGES_PER_NEURON * max(neurons.values())
        limits.append(
            f"{name} has no debiased value and no interval {scope}: that takes {_IMAGES_PER_NEURON} {noun}s per set for"
            f" each neuron, {images_of_widest:,} for the widest, but there are {smaller:,}"
        )
    return PlanOfLayers(neurons, tested and not why_untested, tuple(debiased), tuple(limits), by_fold)


def _scope_without_debiasing(neurons: Neurons, debiased: Sequence[str]) -> str:
    """Return a phrase that names the layers that are not debiased; "here" if no layer is debiased."""
    if not debiased:
        return "here"
    not_debiased = [layer for layer in neurons if layer not in debiased]
    layers = ", ".join(not_debiased) if len(not_debiased) <= 3 else f"{len(not_debiased)} layers"
    return f"of {layers} and of the whole"


def _why_untested(neurons: Neurons, smaller: int, larger: int, noun: str) -> str:
    """Return the reason why fd has no test; empty if it has one.

    Args:
        neurons: The neurons of the layers.
        smaller: Number of images of the smaller set.
        larger: Number of images of the larger set.
        noun: Noun for an image.

    """
    # With 50 and 100 images, the test rejects a true null hypothesis too often.
    if larger > UNEQUAL * smaller:
        return (
            f"a test of {smaller:,} and {larger:,} {noun}s has too many false alarms; pass a larger set that is at most"
            f" {UNEQUAL:g} times as large as the smaller one, or test dna-emd"
        )
    # For FID of 10,000 images, a test would take 15 minutes.
    seconds = LAYER_RELABELINGS * _SECONDS_PER_CUBE * sum(min(width, smaller) ** 3 for width in neurons.values())
    if seconds > _LONGEST_TEST:
        return f"that would take about {seconds:.0f} s; test dna-emd, watch fewer layers, or pass fewer {noun}s"
    return ""


def folded_emd(a: HistogramDNA, b: HistogramDNA) -> FoldedSides:
    """Fold both sets for dna-emd. The unit of the distances is the bin of the DNAs.

    Folds may have fewer and wider bins than the DNAs. The cumulative counts are then compared once per wider bin.
    """
    num_folds_a = len(_folds_or_whole(a))
    folds = _in_widest_bins([*_folds_or_whole(a), *_folds_or_whole(b)])
    check_comparable(*folds)
    # Width of the bins of the folds, in bins of the DNAs.
    scale = a.num_bins / folds[0].num_bins
    if a.self_ranging:
        return _folded_self_ranging(a, b, folds[:num_folds_a], folds[num_folds_a:], scale)
    counts = torch.stack([fold.counts for fold in folds])
    return _folded_cumulative(a, b, partial(Cumulative.of, counts), scale)


def _in_widest_bins(folds: Sequence[Any]) -> list[HistogramDNA]:
    """Return the histograms of all folds with the smallest number of bins among the folds."""
    num_bins = min(fold.num_bins for fold in folds)
    return [fold if fold.num_bins == num_bins else fold.rebin(num_bins) for fold in folds]


def _folded_self_ranging(
    a: HistogramDNA, b: HistogramDNA, folds_a: Sequence[HistogramDNA], folds_b: Sequence[HistogramDNA], scale: float
) -> FoldedSides:
    """Fold two self-ranging sets for dna-emd.

    Args:
        a: The first set.
        b: The second set.
        folds_a: Folds of the first set. All folds have the same number of bins.
        folds_b: Folds of the second set.
        scale: Width of the bins of the folds, in bins of the DNAs.

    """
    num_folds_a = len(folds_a)
    counts_a = _ranged_counts(a, folds_a)
    counts_b = _ranged_counts(b, folds_b)
    low, high = a.ranged_counts().bounds()
    # Folds of A are compared as if A were both sets, so that wide bins of B do not hide differences between them. The
    # curves are computed when they are first needed.
    cumulative_in_a = cache(partial(Cumulative.of_own_ranges, counts_a, counts_a, low, high))

    def distances_in_a(first: Tensor, second: Tensor) -> Tensor:
        """Return the distance of each neuron between folds of A, from masks of these folds."""
        in_first = _with_unselected(first, num_folds_a)
        in_second = _with_unselected(second, num_folds_a)
        distances_in_bins: Tensor = cumulative_in_a().emd(in_first, in_second) * scale
        return distances_in_bins

    folded = _folded_cumulative(a, b, partial(Cumulative.of_own_ranges, counts_a, counts_b, low, high), scale)
    return replace(folded, distances_in_a=distances_in_a)


def _folded_cumulative(a: DNA, b: DNA, build: Callable[[], Cumulative], scale: float) -> FoldedSides:
    """Fold both sets for dna-emd, given the function that builds their cumulative counts on first use."""
    cumulative = cache(build)

    def distances(in_a: Tensor, in_b: Tensor) -> Tensor:
        """Return the distance of each neuron, in bins of the DNAs."""
        bins: Tensor = cumulative().emd(in_a, in_b) * scale
        return bins

    def shifts(in_a: Tensor, in_b: Tensor) -> Tensor:
        """Return the signed difference of the means of each neuron."""
        sums, totals = cumulative().sums()
        return shift_of_folds(sums, totals, in_a, in_b)

    return _folded_neurons(a, b, distances, shifts)


def _with_unselected(masks: Tensor, count: int) -> Tensor:
    """Append ``count`` folds that no mask selects to masks ``(P, folds)``."""
    return torch.cat([masks, torch.zeros(len(masks), count, dtype=torch.bool)], 1)


def _ranged_counts(dna: HistogramDNA, folds: Sequence[HistogramDNA]) -> RangedCounts:
    """Return the counts of the folds of a DNA in common bins, which divide the range of all folds."""
    ranges = dna.known_ranges.union(*(fold.known_ranges for fold in folds))
    counts = torch.stack([fold.counts_within(ranges) for fold in folds])
    return RangedCounts(counts, ranges.minimum.to(counts.device), ranges.maximum.to(counts.device))


def folded_frechet(a: DNA, b: DNA) -> FoldedSides:
    """Fold both sets for dna-fd."""
    folds: list[Any] = [*_folds_or_whole(a), *_folds_or_whole(b)]
    check_comparable(*folds)
    means = torch.stack([fold.mean for fold in folds])
    variances = torch.stack([fold.var for fold in folds])
    sizes = _sizes_of(folds)
    totals = sizes.double()[:, None]
    sums = means * totals.to(means)
    distances = partial(frechet_of_folds, means, variances, sizes)
    shifts = partial(shift_of_folds, sums, totals)
    return _folded_neurons(a, b, distances, shifts)


def _folded_neurons(
    a: DNA, b: DNA, distances: Callable[[Tensor, Tensor], Tensor], shifts: Callable[[Tensor, Tensor], Tensor]
) -> FoldedSides:
    """Fold both sets for a distance of neurons. The functions take two masks, and return a column per neuron."""
    slices = list(a.neurons.slices.values())
    return FoldedSides(
        distances,
        sizes_a=_sizes_of(_folds_or_whole(a)),
        sizes_b=_sizes_of(_folds_or_whole(b)),
        slices=slices,
        exact=(not a.folds, not b.folds),
        shifts=shifts,
        shift_slices=slices,
    )


def _folded_images(
    distance: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor], a: Features, b: Features, folds: Folds
) -> FoldedSides:
    """Fold both sets for a distance of sets.

    Args:
        distance: Function of the features of all images, the fold of each image, and two masks.
        a: Features of the first set.
        b: Features of the second set.
        folds: Fold of each image of both sets.

    """
    fold_of_image, sizes_a, sizes_b = _numbered_folds(folds, [a.num_images, b.num_images])
    features = torch.cat([a.values, b.values])
    distances = partial(distance, features, fold_of_image)
    exact = (folds[0] is None, folds[1] is None)
    return FoldedSides(distances, sizes_a, sizes_b, [slice(1)], exact)


def folded_layer_frechet(a: Side, b: Side, folds: Folds, plan: PlanOfLayers) -> FoldedSides:
    """Fold both sets for fd from the features of all images. Each column of the distances is a layer.

    Args:
        a: Features of at least the layers of the plan; None if the plan needs no features. A set without folds may be a
            DNA, such as published statistics, which is taken as exact.
        b: The second set, as ``a``.
        folds: Fold of each image of both sets; None for a set without folds.
        plan: Plan of the evidence.

    """
    fold_of_image, sizes_a, sizes_b = _numbered_folds(folds, [1, 1])
    layers = _FoldedLayers((a, b), plan.neurons, fold_of_image, torch.cat([sizes_a, sizes_b]))
    return FoldedSides(
        layers.distances,
        sizes_a,
        sizes_b,
        slices=[slice(i, i + 1) for i in range(len(plan.neurons))],
        exact=(folds[0] is None, folds[1] is None),
        noise=partial(_noise, (a, b), folds, plan),
        num_relabelings=LAYER_RELABELINGS if plan.tested else 0,
        limits=plan.limits,
        shifts=layers.shifts,
        shift_slices=list(plan.neurons.slices.values()),
    )


class _FoldedLayers(NamedTuple):
    """Features of two sets in folds, from which fd of each layer is computed.

    Attributes:
        sides: Features of both sets.
        neurons: The neurons of the layers.
        fold_of_image: Fold of each image, from 0 to K - 1.
        sizes: Number of images of each fold, ``(K,)``.

    """

    sides: tuple[Side, Side]
    neurons: Neurons
    fold_of_image: Tensor
    sizes: Tensor

    def distances(self, in_a: Tensor, in_b: Tensor) -> Tensor:
        """Return fd of each layer between the folds in A and in B, ``(P, layers)``."""
        features = self._features()
        distances = []
        for columns in self.neurons.slices.values():
            distances.append(layer_frechet_of_folds(features[:, columns], self.fold_of_image, in_a, in_b))
        return torch.stack(distances, 1)

    def shifts(self, in_a: Tensor, in_b: Tensor) -> Tensor:
        """Return the mean of each neuron in A minus its mean in B, ``(P, N)``."""
        features = self._features()
        sums = torch.zeros(len(self.sizes), features.shape[1], dtype=torch.float64)
        sums.index_add_(0, self.fold_of_image, features.double())
        return shift_of_folds(sums, self.sizes[:, None], in_a, in_b)

    def _features(self) -> Tensor:
        """Return the features of all images of both sets, ``(images, N)``."""
        sets = [side for side in self.sides if isinstance(side, Features)]
        return torch.cat([side.select(list(self.neurons)).values for side in sets])


def _noise(sides: tuple[Side, Side], folds: Folds, plan: PlanOfLayers) -> Noise:
    """Estimate the noise of fd of each layer; NaN for layers that the plan does not debias."""
    a, b = sides
    folds_a, folds_b = folds
    num_layers = len(plan.neurons)
    bias = torch.full((num_layers,), torch.nan, dtype=torch.float64)
    influences_a = _unknown_influences(folds_a, num_layers)
    influences_b = _unknown_influences(folds_b, num_layers)
    for column, layer in enumerate(plan.neurons):
        if layer not in plan.debiased:
            continue
        estimate = layer_frechet_estimate(_layer_values(a, layer), _layer_values(b, layer), folds)
        bias[column] = estimate.bias
        of_layer_a, of_layer_b = estimate.influences
        _set_column(influences_a, column, of_layer_a)
        _set_column(influences_b, column, of_layer_b)
    by_unit_a = _by_unit(influences_a, folds_a, plan.by_fold)
    by_unit_b = _by_unit(influences_b, folds_b, plan.by_fold)
    return Noise(bias, (by_unit_a, by_unit_b))


def _unknown_influences(folds: Tensor | None, num_layers: int) -> Tensor | None:
    """Return NaN for each image and layer, ``(images, layers)``; None for a set that is taken as exact."""
    if folds is None:
        return None
    return torch.full((len(folds), num_layers), torch.nan, dtype=torch.float64)


def _set_column(influences: Tensor | None, column: int, of_layer: Tensor | None) -> None:
    """Set the influences of a layer. Both arguments are None for a set that is taken as exact."""
    if influences is not None and of_layer is not None:
        influences[:, column] = of_layer


def _layer_values(side: Side, layer: str) -> Tensor | tuple[Tensor, Tensor]:
    """Return the features of a layer. For a DNA, return the mean and the covariance of the layer."""
    if isinstance(side, LayerGaussianDNA):
        return side.by_layer()[layer]
    assert side is not None
    return side.select([layer]).values


def _by_unit(influences: Tensor | None, folds: Tensor | None, by_fold: bool) -> PseudoValues | None:
    """Return the influences of the units of a set, which are images or folds.

    Args:
        influences: Influence of each image on the layers, ``(images, layers)``; None for a set that is taken as exact.
        folds: Fold of each image, ``(images,)``.
        by_fold: True if units are folds.

    """
    if influences is None or folds is None:
        return None
    num_images = len(influences)
    if not by_fold:
        return PseudoValues(influences, influences.new_full((num_images,), num_images))
    _, fold_of_image, sizes = folds.unique(return_inverse=True, return_counts=True)  # type: ignore[no-untyped-call]
    sums = influences.new_zeros(len(sizes), influences.shape[1])
    sums.index_add_(0, fold_of_image, influences)
    return PseudoValues(sums / sizes[:, None], num_images / sizes.double())


def _numbered_folds(folds: Folds, num_images: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Number the folds of A, then those of B, from 0.

    Args:
        folds: Fold of each image of A and of B; None for a set without folds, which becomes one fold.
        num_images: Number of images of A and of B, for a set without folds.

    Returns:
        The fold of each image, and the number of images of each fold of A and of each fold of B.

    """
    fold_of_image: list[Tensor] = []
    sizes: list[Tensor] = []
    num_folds = 0
    for given_folds, size in zip(folds, num_images, strict=True):
        folds_of_side = torch.zeros(size, dtype=torch.int64) if given_folds is None else given_folds
        _, numbers, sizes_of_side = folds_of_side.unique(return_inverse=True, return_counts=True)  # type: ignore[no-untyped-call]
        fold_of_image.append(numbers + num_folds)
        sizes.append(sizes_of_side)
        num_folds += len(sizes_of_side)
    return torch.cat(fold_of_image), sizes[0], sizes[1]


def _folds_or_whole(dna: DNA) -> list[DNA]:
    """Return the non-empty folds. If there are none, return the DNA itself as one fold."""
    filled = [fold for fold in dna.folds if fold.num_images]
    return filled or [replace(dna, folds=())]


def _sizes_of(folds: list[DNA]) -> Tensor:
    """Return the number of images of each fold, int64, ``(K,)``."""
    return torch.tensor([fold.num_images for fold in folds])


class Cumulative(NamedTuple):
    """Cumulative counts of folds. They are computed once, for the distances between all combinations of the folds.

    Attributes:
        counts: Cumulative counts, ``(K, N, num_bins)``: whole numbers or dyadic fractions. They are in single precision
            if single precision represents all sums of the counts exactly.
        totals: Number of values that were counted, per fold and neuron, float64, ``(K, N)``.

    Example:
        >>> folds = Cumulative.of(torch.tensor([[[4, 0, 0]], [[0, 4, 0]], [[0, 0, 4]]]))
        >>> folds.emd(torch.tensor([[True, False, False]]), torch.tensor([[False, True, True]]))
        tensor([[1.5000]], dtype=torch.float64)

    """

    counts: Tensor
    totals: Tensor

    @classmethod
    def of(cls, counts: Tensor) -> Cumulative:
        """Compute the cumulative counts from the integer counts of the folds, ``(K, N, num_bins)``, in common bins."""
        # Counts are integers below 2^53, so their sums are exact in double precision.
        cumulative = counts.cumsum(2).double()
        totals = cumulative[:, :, -1].clone()
        # Single precision takes half the time. It is exact if matrix products do not round and no sum is too large.
        is_exact = counts.device.type == "cpu" and torch.get_float32_matmul_precision() == "highest"
        if is_exact and float(totals.sum(0).max()) < _MOST_SINGLE:
            cumulative = cumulative.float()
        return cls(cumulative, totals)

    @classmethod
    def of_own_ranges(cls, a: RangedCounts, b: RangedCounts, low: Tensor, high: Tensor) -> Cumulative:
        """Compute the cumulative counts of two self-ranging sets, at the middle of equal bins between the bounds."""
        totals = torch.cat([a.counts.sum(2), b.counts.sum(2)]).double()
        counts = torch.cat(counts_in_nodes(a, b, low, high))
        return cls(counts, totals)

    def emd(self, in_a: Tensor, in_b: Tensor) -> Tensor:
        """Compute the EMD, Eq. (3), of each neuron between the folds in A and in B, in bins, float64, ``(P, N)``."""
        device = self.counts.device
        in_a = in_a.to(device)
        in_b = in_b.to(device)
        # Share that one count adds to the cumulative shares of A and of B, (P, N).
        weight_a = 1 / (in_a.double() @ self.totals)
        weight_b = 1 / (in_b.double() @ self.totals)
        _, num_neurons, num_bins = self.counts.shape
        num_pairs = len(in_a)
        is_partition = bool((in_a ^ in_b).all())
        compiled = None
        if is_partition and self.counts.dtype == torch.float32:
            compiled = optional("binning.cpu")
        # The compiled function makes no float64 copies of the sums, so its blocks are larger.
        num_cells = _CELLS if compiled is None else 4 * _CELLS
        distances = torch.empty(num_pairs, num_neurons, dtype=torch.float64, device=device)
        for rows in blocks(num_neurons, num_pairs * num_bins, num_cells):
            counts = self.counts[:, rows]
            if is_partition:
                emd = _emd_of_partition(counts, in_a, weight_a[:, rows], weight_b[:, rows], compiled)
            else:
                emd = _emd_of_selection(counts, in_a, in_b, weight_a[:, rows], weight_b[:, rows])
            distances[:, rows] = emd
        return torch.where(distances > _ROUNDING, distances, 0)

    def sums(self) -> tuple[Tensor, Tensor]:
        """Return the sum and the number of the values of each neuron in each fold, ``(K, N)``.

        A value is the distance from the upper end of the range, in bins. The absolute difference of the means of two
        sets is at most the EMD.
        """
        return self.counts.sum(2, dtype=torch.float64), self.totals


def _emd_of_selection(counts: Tensor, in_a: Tensor, in_b: Tensor, weight_a: Tensor, weight_b: Tensor) -> Tensor:
    """Return the EMD of each neuron between the folds in A and in B, ``(P, N)``.

    Args:
        counts: Cumulative counts, ``(K, N, num_bins)``.
        in_a: Mask of the folds in A, ``(P, K)``.
        in_b: Mask of the folds in B, ``(P, K)``.
        weight_a: Share that one count adds to the cumulative shares of A, ``(P, N)``.
        weight_b: Share that one count adds to the cumulative shares of B, ``(P, N)``.

    """
    sums_a = torch.tensordot(in_a.to(counts), counts, 1)
    sums_b = torch.tensordot(in_b.to(counts), counts, 1)
    return _summed_differences(sums_a, weight_a, sums_b.double(), weight_b)


def _emd_of_partition(counts: Tensor, in_a: Tensor, weight_a: Tensor, weight_b: Tensor, compiled: Any) -> Tensor:
    """Return the EMD of each neuron if all folds that are not in A are in B, ``(P, N)``.

    The sums of B are then ``sums_of_all - sums_a``, so one matrix product is enough. The difference
    ``weight_a * sums_a - weight_b * sums_b`` is ``(weight_a + weight_b) * sums_a - weight_b * sums_of_all``.

    Args:
        counts: As for :func:`_emd_of_selection`.
        in_a: As for :func:`_emd_of_selection`.
        weight_a: As for :func:`_emd_of_selection`.
        weight_b: As for :func:`_emd_of_selection`.
        compiled: Module of the compiled functions; None to use torch.

    """
    sums_a = torch.tensordot(in_a.to(counts), counts, 1)
    sums_of_all = counts.sum(0)
    if compiled is None:
        return _summed_differences(sums_a, weight_a + weight_b, sums_of_all.double(), weight_b)
    # The compiled function returns the distance divided by the weight of B.
    distances: Tensor = compiled.distances_of_sums(sums_a, weight_a / weight_b + 1, sums_of_all)
    return distances * weight_b


def _summed_differences(first: Tensor, weight_first: Tensor, second: Tensor, weight_second: Tensor) -> Tensor:
    """Return the sum over bins of ``|first * weight_first - second * weight_second|``, ``(P, N)``.

    Args:
        first: First sums, ``(P, N, num_bins)``. They are overwritten if they are float64.
        weight_first: Weight of the first sums, ``(P, N)``.
        second: Second sums, float64, ``(P, N, num_bins)`` or ``(N, num_bins)``.
        weight_second: Weight of the second sums, ``(P, N)``.

    """
    difference = first.double().mul_(weight_first[..., None])
    difference.addcmul_(second, weight_second[..., None], value=-1)
    return difference.abs_().sum(2)


def shift_of_folds(sums: Tensor, totals: Tensor, in_a: Tensor, in_b: Tensor) -> Tensor:
    """Compute the mean of each neuron in A minus its mean in B, float64, ``(P, N)``; 0 within rounding.

    Args:
        sums: Sum of the values of each fold, ``(K, N)``.
        totals: Number of values of each fold, ``(K, N)`` or ``(K, 1)``.
        in_a: Mask of the folds in A, ``(P, K)``.
        in_b: Mask of the folds in B, ``(P, K)``.

    Example:
        >>> sums, sizes = torch.tensor([[2.0], [8.0], [1.0]]), torch.tensor([[1.0], [2.0], [1.0]])
        >>> shift_of_folds(sums, sizes, torch.tensor([[True, False, True]]), torch.tensor([[False, True, False]]))
        tensor([[-2.5000]], dtype=torch.float64)

    """
    sums = sums.double()
    totals = totals.to(sums)
    in_a = in_a.to(sums)
    in_b = in_b.to(sums)
    mean_a = (in_a @ sums) / (in_a @ totals)
    mean_b = (in_b @ sums) / (in_b @ totals)
    shift = mean_a - mean_b
    largest_mean = (sums / totals).abs().amax(0)
    return torch.where(shift.abs() > _ROUNDING * largest_mean, shift, 0)


def frechet_of_folds(means: Tensor, variances: Tensor, sizes: Tensor, in_a: Tensor, in_b: Tensor) -> Tensor:
    """Compute the 1-D Fréchet distance of each neuron between folds, in squared activations, ``(P, N)``.

    Args:
        means: Mean of the spatial means over the images of each fold, ``(K, N)``.
        variances: Unbiased variance of the spatial means over the images of each fold, ``(K, N)``.
        sizes: Number of images of each fold, ``(K,)``.
        in_a: Mask of the folds in A, ``(P, K)``.
        in_b: Mask of the folds in B, ``(P, K)``.

    Returns:
        The distances; NaN where A or B has fewer than two images.

    """
    means = means.double()
    variances = variances.double()
    sizes = sizes.to(means)[:, None]
    # Centred means avoid cancellation in the sums of squares.
    centred = means - (sizes * means).sum(0) / sizes.sum()
    sums = sizes * centred
    squares = variances * (sizes - 1).clamp(min=0) + sizes * centred.square()
    mean_a, deviation_a = _mean_and_deviation(sizes, sums, squares, in_a.to(means))
    mean_b, deviation_b = _mean_and_deviation(sizes, sums, squares, in_b.to(means))
    return (mean_a - mean_b).square() + (deviation_a - deviation_b).square()


def _mean_and_deviation(sizes: Tensor, sums: Tensor, squares: Tensor, selected: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean and standard deviation of the images of selected folds, ``(P, N)``; NaN with one image.

    Args:
        sizes: Number of images of each fold, ``(K, 1)``.
        sums: Sum of the values of the images of each fold, ``(K, N)``.
        squares: Sum of the squares of these values, ``(K, N)``.
        selected: 1 for selected folds, otherwise 0, float64, ``(P, K)``.

    """
    images = selected @ sizes
    mean = (selected @ sums) / images
    variance = ((selected @ squares) - images * mean.square()).clamp(min=0) / (images - 1)
    return mean, torch.where(images > 1, variance, torch.nan).sqrt()


def layer_frechet_of_folds(features: Tensor, folds: Tensor, in_a: Tensor, in_b: Tensor) -> Tensor:
    """Compute the Fréchet distance (fd) of one layer between folds, in squared activations, ``(P,)``.

    For few images, the distance is computed from their Gram matrix ``(images, images)``. For many images, it is
    computed from covariances ``(n, n)``. Both equal :func:`layer_frechet_distance` up to rounding.

    Args:
        features: Spatial means of the neurons of the layer for each image, ``(images, n)``.
        folds: Fold of each image, from 0 to K - 1, ``(images,)``.
        in_a: Mask of the folds in A, ``(P, K)``. Each row has two images or more.
        in_b: Mask of the folds in B, ``(P, K)``. Each row has two images or more.

    Example:
        >>> features = torch.tensor([[0.0], [2.0], [3.0], [5.0]])
        >>> layer_frechet_of_folds(features, torch.arange(4) // 2, torch.eye(2).bool()[:1], torch.eye(2).bool()[1:])
        tensor([9.], dtype=torch.float64)

    """
    features = features.double()
    # Centred features avoid cancellation in the products.
    features = features - features.mean(0)
    images_in_a = in_a[:, folds]
    images_in_b = in_b[:, folds]
    num_images, num_neurons = features.shape
    distances = []
    # With so few images, A or B has at most as many images as neurons.
    if num_images <= 2 * num_neurons:
        products = features @ features.T
        for is_in_a, is_in_b in zip(images_in_a, images_in_b, strict=True):
            distances.append(_layer_frechet_of_products(products, is_in_a, is_in_b))
    else:
        moments_a = _moments(features, images_in_a)
        moments_b = _moments(features, images_in_b)
        for (mean_a, cov_a), (mean_b, cov_b) in zip(moments_a, moments_b, strict=True):
            distances.append(layer_frechet_distance(mean_a, cov_a, mean_b, cov_b))
    return torch.stack(distances)


def kernel_of_folds(features: Tensor, folds: Tensor, in_a: Tensor, in_b: Tensor) -> Tensor:
    """Compute the unbiased kernel distance (squared MMD, with KID's cubic kernel) between folds, ``(P, 1)``.

    The arguments are those of :func:`layer_frechet_of_folds`.
    """
    num_folds = in_a.shape[1]
    kernels, diagonal = _kernel_by_folds(features.double(), folds, num_folds, _cubic_kernel)
    sizes = folds.bincount(minlength=num_folds).double()
    in_a = in_a.double()
    in_b = in_b.double()
    within_a = _mean_kernel(kernels, diagonal, sizes, in_a)
    within_b = _mean_kernel(kernels, diagonal, sizes, in_b)
    between = ((in_a @ kernels) * in_b).sum(1) / ((in_a @ sizes) * (in_b @ sizes))
    return (within_a + within_b - 2 * between)[:, None]


def _cubic_kernel(first: Tensor, second: Tensor) -> Tensor:
    """Return KID's kernel of each pair of rows, ``(n, m)``."""
    num_neurons = first.shape[1]
    return (first @ second.T / num_neurons + 1) ** 3


def _mean_kernel(kernels: Tensor, diagonal: Tensor, sizes: Tensor, selected: Tensor) -> Tensor:
    """Return the mean of a kernel over pairs of different images of selected folds, ``(P,)``.

    Args:
        kernels: Sum of the kernel over all pairs of an image of one fold and an image of another fold, ``(K, K)``.
        diagonal: Sum of the kernel of each image with itself, ``(K,)``.
        sizes: Number of images of each fold, ``(K,)``.
        selected: 1 for selected folds, otherwise 0, float64, ``(P, K)``.

    """
    images = selected @ sizes
    sums = ((selected @ kernels) * selected).sum(1) - selected @ diagonal
    return sums / (images * (images - 1))


def cmmd_of_folds(embeddings: Tensor, folds: Tensor, in_a: Tensor, in_b: Tensor) -> Tensor:
    """Compute CMMD between folds, ``(P, 1)``. The arguments are those of :func:`layer_frechet_of_folds`."""
    num_folds = in_a.shape[1]
    kernels, _ = _kernel_by_folds(unit_rows(embeddings), folds, num_folds, kernel_less_one)
    sizes = folds.bincount(minlength=num_folds).double()
    in_a = in_a.double()
    in_b = in_b.double()
    # Weight of one image of each fold in the means of A and of B, (P, K).
    weight_a = in_a / (in_a @ sizes)[:, None]
    weight_b = in_b / (in_b @ sizes)[:, None]
    difference = weight_a - weight_b
    # The squared discrepancy is a quadratic form of the kernel.
    return CMMD_SCALE * ((difference @ kernels) * difference).sum(1, keepdim=True).clamp(min=0)


# Functions that fold both sets for KID and for CMMD, see :func:`_folded_images`.
folded_kernel = partial(_folded_images, kernel_of_folds)
folded_cmmd = partial(_folded_images, cmmd_of_folds)


def _kernel_by_folds(
    features: Tensor, folds: Tensor, num_folds: int, kernel: Callable[[Tensor, Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """Sum a kernel over all pairs of images of two folds, ``(K, K)``, and over each image with itself, ``(K,)``."""
    device = features.device
    num_images = len(features)
    sums = torch.zeros(num_folds, num_folds, dtype=torch.float64, device=device)
    diagonal = torch.zeros(num_folds, dtype=torch.float64, device=device)
    for rows in blocks(num_images, num_images, _KERNEL_CELLS):
        values = kernel(features[rows], features)
        # Sum of the kernel over the images of each fold, for each image.
        sums_of_images = torch.zeros(num_folds, num_images, dtype=torch.float64, device=device)
        sums_of_images.index_add_(0, folds[rows], values)
        sums.index_add_(1, folds, sums_of_images)
        diagonal.index_add_(0, folds[rows], values.diagonal(rows.start))
    return sums, diagonal


def _layer_frechet_of_products(products: Tensor, is_in_a: Tensor, is_in_b: Tensor) -> Tensor:
    """Compute fd of two sets from the Gram matrix of all images.

    The distance has the trace of the square root of the product of both covariances. This trace is the sum of the
    singular values of the centred cross-Gram matrix of the sets, scaled by their degrees of freedom.

    Args:
        products: Gram matrix, ``(images, images)``.
        is_in_a: Mask of the images in A, ``(images,)``.
        is_in_b: Mask of the images in B, ``(images,)``.

    """
    a = is_in_a.nonzero()[:, 0]
    b = is_in_b.nonzero()[:, 0]
    freedom_a = len(a) - 1
    freedom_b = len(b) - 1
    between = products[a][:, b]
    # Squared lengths of the means of A and of B, and of their difference.
    square_of_mean_a = products[a][:, a].mean()
    square_of_mean_b = products[b][:, b].mean()
    square_of_shift = square_of_mean_a + square_of_mean_b - 2 * between.mean()
    # Traces of the covariances of A and of B.
    squares = products.diagonal()
    trace_a = (squares[a].sum() - len(a) * square_of_mean_a) / freedom_a
    trace_b = (squares[b].sum() - len(b) * square_of_mean_b) / freedom_b
    centred = between - between.mean(0) - between.mean(1, keepdim=True) + between.mean()
    trace_of_root = torch.linalg.svdvals(centred).sum() / (freedom_a * freedom_b) ** 0.5
    distance: Tensor = square_of_shift + trace_a + trace_b - 2 * trace_of_root
    return distance.clamp(min=0)


def _moments(features: Tensor, masks: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the mean and the unbiased covariance of the images that each row of the masks ``(P, images)`` selects.

    From one row to the next, only images that are added or removed change the sums.
    """
    num_neurons = features.shape[1]
    sums = features.new_zeros(num_neurons)
    products = features.new_zeros(num_neurons, num_neurons)
    was_selected = torch.zeros_like(masks[0])
    for is_selected in masks:
        is_changed = is_selected ^ was_selected
        changed = features[is_changed]
        signs = torch.where(is_selected[is_changed], 1.0, -1.0).to(changed)
        signed = signs[:, None] * changed
        sums += signed.sum(0)
        products += signed.T @ changed
        was_selected = is_selected
        count = is_selected.sum()
        mean = sums / count
        cov = (products - torch.outer(sums, sums) / count) / (count - 1)
        yield mean, cov
