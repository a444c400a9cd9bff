"""Two sets in folds: distances between any combinations of folds, for tests, jackknives and intervals.

A permutation test assigns some folds of both sets to A and the others to B. A jackknife leaves out one fold. Two masks
describe P such combinations of the K folds: ``in_a`` and ``in_b``, bool, ``(P, K)``. The folds of set A come first. A
fold may be in neither. Counts of folds are added as integers, so distances do not depend on the order of the work.
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

# Number of relabelings for fd, a fifth of those of other distances: each takes an eigendecomposition per layer.
LAYER_RELABELINGS = 200
# Number of images per set and neuron of a layer. With fewer, intervals cover too little.
_IMAGES = 3
# Number of bytes of the spatial means of both sets, at most.
_BYTES = 1 << 30
# Seconds of one core per relabeling and cube of a matrix's size, and seconds that a test takes at most.
_SECONDS = 5e-10
_LONGEST_TEST = 10
# Number of float64 values at a time: 2 MB, which fit the cache.
_CELLS = 1 << 18
# Single precision has all whole numbers up to this one.
_MOST_SINGLE = 1 << 24
# Smaller differences are 0 up to rounding: in bins, or relative to the largest mean.
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

    A set without folds, such as published statistics, is one fold that is taken as exact: it is never left out or
    exchanged, so its noise is not in the interval, and there is no test.

    Attributes:
        distances: Function of two masks, ``(P, K)`` each, that returns the distance of each neuron between their folds,
            float64, ``(P, N)``. Its bins may be wider than those of the DNAs.
        sizes_a: Number of images of each non-empty fold of A, int64; of the whole set if it has no folds.
        sizes_b: Likewise for B.
        slices: Columns of each layer in the distances.
        exact: True for a set without folds, for A and for B. A single fold, of images of one group, is not exact.
        noise: Function that returns the noise of the distances; None to estimate it by the jackknife.
        num_relabelings: Largest number of relabelings of a test; 0 for no test, None for the default.
        limits: A line for each part of the evidence that is missing, with the reason.
        shifts: Function of two masks that returns the signed shifts of means, ``(P, N')``; None for no test of them.
        shift_slices: Columns of each layer in the shifts.
        paired: True if fold k of A and fold k of B hold the same pairs of images.
        distances_in_a: Function of two masks of the folds of A alone; None to use ``distances``.

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
        """Return the distance of each neuron between folds of A, ``(P, N)``, from masks ``(P, folds of A)``."""
        if self.distances_in_a is not None:
            return self.distances_in_a(first, second)
        num_folds_b = len(self.sizes_b)
        return self.distances(_with_unselected(first, num_folds_b), _with_unselected(second, num_folds_b))

    def as_pairs(self) -> FoldedSides:
        """Return the sets as pairs; TooFewImagesError unless each fold holds as many images of A as of B."""
        if any(self.exact) or not torch.equal(self.sizes_a, self.sizes_b):
            a, b = self.sizes_a.tolist(), self.sizes_b.tolist()
            raise TooFewImagesError(
                f"Pairs expected to have both of their images in one fold, but folds have {a} images in A and {b} in B;"
                " give both images of each pair, and leave both out if one can't be read"
            )
        return replace(self, paired=True)


@dataclass(frozen=True)
class PlanOfLayers:
    """Plan of the evidence for fd of some layers between two sets.

    Attributes:
        neurons: The layers.
        tested: True if there is a permutation test.
        debiased: Names of the layers that are debiased.
        limits: A line for each part of the evidence that is missing, with the reason.
        by_fold: True if the units of the variance are folds, whose images belong together. Otherwise they are images.

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
    if num_bytes > _BYTES:
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
        neurons: The layers.
        num_images: Numbers of images of the sets that are not taken as exact; None for a stream of unknown length.
        tested: False if a set is taken as exact, so that there is no test.
        by_fold: True if images of a fold belong together.
        name: Name of the distance, for the reasons.
        noun: Noun for an image of the sets, for the reasons.

    """
    reason = why_not_kept(neurons, num_images, "watch fewer layers", noun)
    if reason:
        limit = f"{name} has no test and no debiased value here, since {reason}"
        return PlanOfLayers(neurons, False, (), (limit,))
    sizes = [size for size in num_images if size is not None]
    smaller = min(sizes)
    larger = max(sizes)
    limits: list[str] = []
    # With 50 and 100 images, the test rejects a true null hypothesis too often.
    if tested and larger > UNEQUAL * smaller:
        tested = False
        limits.append(
            f"{name} has no test here, since a test of {smaller:,} and {larger:,} {noun}s finds too much; give sets of"
            " which one is at most half as large again, or test dna-emd"
        )
    # For FID of 10,000 images, a test would take 15 minutes.
    seconds = LAYER_RELABELINGS * _SECONDS * sum(min(width, smaller) ** 3 for width in neurons.values())
    if tested and seconds > _LONGEST_TEST:
        tested = False
        limits.append(
            f"{name} has no test here, since that would take about {seconds:.0f} s; test dna-emd, watch fewer"
            f" layers, or give fewer {noun}s"
        )
    debiased = [layer for layer, width in neurons.items() if smaller >= _IMAGES * width]
    not_debiased = [layer for layer in neurons if layer not in debiased]
    if not_debiased:
        scope = "here"
        if debiased:
            layers = ", ".join(not_debiased) if len(not_debiased) <= 3 else f"{len(not_debiased)} layers"
            scope = f"of {layers} and of the whole"
        images_of_widest = _IMAGES * max(neurons[layer] for layer in not_debiased)
        limits.append(
            f"{name} has no debiased value and no interval {scope}: that takes {_IMAGES} {noun}s a side for each"
            f" neuron, {images_of_widest:,} for the widest, but there are {smaller:,}"
        )
    return PlanOfLayers(neurons, tested, tuple(debiased), tuple(limits), by_fold)


def folded_emd(a: HistogramDNA, b: HistogramDNA) -> FoldedSides:
    """Fold both sets for dna-emd, in the unit of the bins of the DNAs.

    Folds may have fewer and wider bins than the DNAs. Distances are evaluated once in each of these wider bins.
    """
    num_folds_a = len(_filled(a))
    folds: list[Any] = [*_filled(a), *_filled(b)]
    num_bins = min(fold.num_bins for fold in folds)
    folds = [fold if fold.num_bins == num_bins else fold.rebin(num_bins) for fold in folds]
    check_comparable(*folds)
    # Distances of wider bins, in the bins of the DNAs.
    scale = a.num_bins / num_bins
    if not a.self_ranging:
        counts = torch.stack([fold.counts for fold in folds])
        return _folded_cumulative(a, b, partial(Cumulative.of, counts), scale)
    counts_a = _ranged_counts(a, folds[:num_folds_a])
    counts_b = _ranged_counts(b, folds[num_folds_a:])
    low, high = a.ranged_counts().bounds()
    # The folds of A are the first and the second set, so that wide bins of B don't hide how they differ.
    cumulative_in_a = cache(partial(Cumulative.of_own_ranges, counts_a, counts_a, low, high))

    def distances_in_a(first: Tensor, second: Tensor) -> Tensor:
        in_first = _with_unselected(first, num_folds_a)
        in_second = _with_unselected(second, num_folds_a)
        bins: Tensor = cumulative_in_a().emd(in_first, in_second) * scale
        return bins

    folded = _folded_cumulative(a, b, partial(Cumulative.of_own_ranges, counts_a, counts_b, low, high), scale)
    return replace(folded, distances_in_a=distances_in_a)


def _folded_cumulative(a: DNA, b: DNA, build: Callable[[], Cumulative], scale: float) -> FoldedSides:
    """Return the folds of both sets for dna-emd as cumulative counts, which are built on first use."""
    cumulative = cache(build)

    def distances(in_a: Tensor, in_b: Tensor) -> Tensor:
        bins: Tensor = cumulative().emd(in_a, in_b) * scale
        return bins

    def shifts(in_a: Tensor, in_b: Tensor) -> Tensor:
        sums, totals = cumulative().sums()
        return shift_of_folds(sums, totals, in_a, in_b)

    return _folded_neurons(a, b, distances, shifts)


def _with_unselected(masks: Tensor, count: int) -> Tensor:
    """Append ``count`` folds to masks ``(P, folds)``; no mask selects them."""
    return torch.cat([masks, torch.zeros(len(masks), count, dtype=torch.bool)], 1)


def _ranged_counts(dna: HistogramDNA, folds: Sequence[HistogramDNA]) -> RangedCounts:
    """Return the counts of the folds of a DNA in the same bins: those of the range of all folds."""
    ranges = dna.known_ranges.union(*(fold.known_ranges for fold in folds))
    counts = torch.stack([fold.counts_within(ranges) for fold in folds])
    return RangedCounts(counts, ranges.minimum.to(counts.device), ranges.maximum.to(counts.device))


def folded_frechet(a: DNA, b: DNA) -> FoldedSides:
    """Fold both sets for dna-fd."""
    folds: list[Any] = [*_filled(a), *_filled(b)]
    check_comparable(*folds)
    means = torch.stack([fold.mean for fold in folds])
    variances = torch.stack([fold.var for fold in folds])
    sizes = _sizes(folds)
    totals = sizes.double()[:, None]
    sums = means * totals.to(means)
    distances = partial(frechet_of_folds, means, variances, sizes)
    shifts = partial(shift_of_folds, sums, totals)
    return _folded_neurons(a, b, distances, shifts)


def _folded_neurons(
    a: DNA, b: DNA, distances: Callable[[Tensor, Tensor], Tensor], shifts: Callable[[Tensor, Tensor], Tensor]
) -> FoldedSides:
    """Fold two DNAs, given functions of two masks that return a column for each neuron."""
    slices = list(a.neurons.slices.values())
    return FoldedSides(
        distances,
        sizes_a=_sizes(_filled(a)),
        sizes_b=_sizes(_filled(b)),
        slices=slices,
        exact=(not a.folds, not b.folds),
        shifts=shifts,
        shift_slices=slices,
    )


def _folded_images(
    distance: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor], a: Features, b: Features, folds: Folds
) -> FoldedSides:
    """Fold both sets for a distance of sets; it takes features, the fold of each image, and two masks."""
    fold_of_image, sizes_a, sizes_b = _numbered_folds(folds, [a.num_images, b.num_images])
    features = torch.cat([a.values, b.values])
    distances = partial(distance, features, fold_of_image)
    exact = (folds[0] is None, folds[1] is None)
    return FoldedSides(distances, sizes_a, sizes_b, [slice(1)], exact)


def folded_layer_frechet(a: Side, b: Side, folds: Folds, plan: PlanOfLayers) -> FoldedSides:
    """Fold both sets for fd from the features of all images; each column is a layer.

    A set is features of at least the layers of the plan, or None if the plan needs none; or, without folds, a DNA that
    is taken as exact, such as published statistics.
    """
    neurons = plan.neurons
    columns_of_layers = list(neurons.slices.values())
    fold_of_image, sizes_a, sizes_b = _numbered_folds(folds, [1, 1])

    def all_features() -> Tensor:
        sets = [side for side in (a, b) if isinstance(side, Features)]
        return torch.cat([side.select(list(neurons)).values for side in sets])

    def distances(in_a: Tensor, in_b: Tensor) -> Tensor:
        features = all_features()
        of_layers = []
        for columns in columns_of_layers:
            of_layers.append(layer_frechet_of_folds(features[:, columns], fold_of_image, in_a, in_b))
        return torch.stack(of_layers, 1)

    def shifts(in_a: Tensor, in_b: Tensor) -> Tensor:
        features = all_features()
        sizes = torch.cat([sizes_a, sizes_b])
        sums = torch.zeros(len(sizes), features.shape[1], dtype=torch.float64)
        sums.index_add_(0, fold_of_image, features.double())
        return shift_of_folds(sums, sizes[:, None], in_a, in_b)

    def noise() -> Noise:
        return _noise((a, b), folds, plan)

    return FoldedSides(
        distances,
        sizes_a,
        sizes_b,
        slices=[slice(i, i + 1) for i in range(len(neurons))],
        exact=(folds[0] is None, folds[1] is None),
        noise=noise,
        num_relabelings=LAYER_RELABELINGS if plan.tested else 0,
        limits=plan.limits,
        shifts=shifts,
        shift_slices=columns_of_layers,
    )


def _noise(sides: tuple[Side, Side], folds: Folds, plan: PlanOfLayers) -> Noise:
    """Estimate the noise of fd of each layer; NaN for layers that the plan does not debias."""
    layers = list(plan.neurons)
    bias = torch.full((len(layers),), torch.nan, dtype=torch.float64)
    influences: list[Tensor | None] = []
    for folds_of_side in folds:
        if folds_of_side is None:
            influences.append(None)
        else:
            influences.append(bias.new_full((len(folds_of_side), len(layers)), torch.nan))
    for i, layer in enumerate(layers):
        if layer not in plan.debiased:
            continue
        estimate = layer_frechet_estimate(_layer_values(sides[0], layer), _layer_values(sides[1], layer), folds)
        bias[i] = estimate.bias
        for influence_on_layers, influence in zip(influences, estimate.influences, strict=True):
            if influence_on_layers is not None and influence is not None:
                influence_on_layers[:, i] = influence
    of_a = _by_unit(influences[0], folds[0], plan.by_fold)
    of_b = _by_unit(influences[1], folds[1], plan.by_fold)
    return Noise(bias, (of_a, of_b))


def _layer_values(side: Side, layer: str) -> Tensor | tuple[Tensor, Tensor]:
    """Return the features of a layer, or its mean and covariance."""
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


def _numbered_folds(sides: Folds, num_images: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Number the folds of A and then B from 0; return the fold of each image, and the sizes of the folds of A and B.

    Args:
        sides: Fold of each image of A and of B; None for a set without folds, which is one fold.
        num_images: Number of images of A and of B, for a set without folds.

    """
    fold_of_image: list[Tensor] = []
    sizes: list[Tensor] = []
    num_folds = 0
    for folds_of_side, images in zip(sides, num_images, strict=True):
        folds = torch.zeros(images, dtype=torch.int64) if folds_of_side is None else folds_of_side
        _, numbers, sizes_of_side = folds.unique(return_inverse=True, return_counts=True)  # type: ignore[no-untyped-call]
        fold_of_image.append(numbers + num_folds)
        sizes.append(sizes_of_side)
        num_folds += len(sizes_of_side)
    return torch.cat(fold_of_image), sizes[0], sizes[1]


def _filled(dna: DNA) -> list[DNA]:
    """Return the non-empty folds; the DNA itself if it has no folds."""
    filled = [fold for fold in dna.folds if fold.num_images]
    return filled or [replace(dna, folds=())]


def _sizes(folds: list[DNA]) -> Tensor:
    """Return the number of images of each fold, int64, ``(K,)``."""
    return torch.tensor([fold.num_images for fold in folds])


class Cumulative(NamedTuple):
    """Cumulative counts of folds, which are computed once for the distances between all combinations of the folds.

    Attributes:
        counts: Whole numbers or dyadic fractions, ``(K, N, num_bins)``, in single precision if it represents all their
            sums.
        totals: Number of counts of each neuron, float64, ``(K, N)``.

    Example:
        >>> folds = Cumulative.of(torch.tensor([[[4, 0, 0]], [[0, 4, 0]], [[0, 0, 4]]]))
        >>> folds.emd(torch.tensor([[True, False, False]]), torch.tensor([[False, True, True]]))
        tensor([[1.5000]], dtype=torch.float64)

    """

    counts: Tensor
    totals: Tensor

    @classmethod
    def of(cls, counts: Tensor) -> Cumulative:
        """Add up the counts of each fold, integers, shape ``(K, N, num_bins)``, in the same bins."""
        # Counts are integers below 2^53, so sums are exact.
        cumulative = counts.cumsum(2).double()
        totals = cumulative[:, :, -1].clone()
        # Single precision takes half the time, and is exact if no matrix product rounds and all sums fit.
        is_exact = counts.device.type == "cpu" and torch.get_float32_matmul_precision() == "highest"
        if is_exact and float(totals.sum(0).max()) < _MOST_SINGLE:
            cumulative = cumulative.float()
        return cls(cumulative, totals)

    @classmethod
    def of_own_ranges(cls, a: RangedCounts, b: RangedCounts, low: Tensor, high: Tensor) -> Cumulative:
        """Add up the counts of the folds of two self-ranging sets, in the middle of equal bins between bounds."""
        totals = torch.cat([a.counts.sum(2), b.counts.sum(2)]).double()
        counts = torch.cat(counts_in_nodes(a, b, low, high))
        return cls(counts, totals)

    def emd(self, in_a: Tensor, in_b: Tensor) -> Tensor:
        """Compute the EMD, Eq. (3), of each neuron between folds in A and in B, in bins, float64, ``(P, N)``."""
        device = self.counts.device
        in_a = in_a.to(device)
        in_b = in_b.to(device)
        # Weight of one count of A or B in its cumulative shares, (P, N).
        weight_a = 1 / (in_a.double() @ self.totals)
        weight_b = 1 / (in_b.double() @ self.totals)
        _, num_neurons, num_bins = self.counts.shape
        num_pairs = len(in_a)
        # If each fold is in A or B, the sums of B follow from those of A, so one matrix product is enough.
        is_partition = bool((in_a ^ in_b).all())
        compiled = None
        if is_partition and self.counts.dtype == torch.float32:
            compiled = optional("binning.cpu")
        num_cells = _CELLS if compiled is None else 4 * _CELLS
        distances = torch.empty(num_pairs, num_neurons, dtype=torch.float64, device=device)
        for rows in blocks(num_neurons, num_pairs * num_bins, num_cells):
            counts = self.counts[:, rows]
            sums_a = torch.tensordot(in_a.to(counts), counts, 1)
            if compiled is not None:
                scale = weight_a[:, rows] / weight_b[:, rows] + 1
                distances[:, rows] = compiled.distances_of_sums(sums_a, scale, counts.sum(0)) * weight_b[:, rows]
                continue
            scale_a = weight_a[:, rows, None]
            scale_b = weight_b[:, rows, None]
            if is_partition:
                # With S the sums of all folds, the sums of B are S - sums_a.
                scale_a = scale_a + scale_b
                subtracted = counts.sum(0).double()
            else:
                subtracted = torch.tensordot(in_b.to(counts), counts, 1).double()
            difference = sums_a.double().mul_(scale_a).addcmul_(subtracted, scale_b, value=-1)
            distances[:, rows] = difference.abs_().sum(2)
        return torch.where(distances > _ROUNDING, distances, 0)

    def sums(self) -> tuple[Tensor, Tensor]:
        """Sum the activations of each neuron in each fold, in bins below the upper end, and count them, ``(K, N)``.

        The absolute difference of two means is at most the EMD.
        """
        return self.counts.sum(2, dtype=torch.float64), self.totals


def shift_of_folds(sums: Tensor, totals: Tensor, in_a: Tensor, in_b: Tensor) -> Tensor:
    """Compute the signed difference of the mean of each neuron, float64, ``(P, N)``; 0 where only rounding is left.

    Args:
        sums: Sum of the values of each fold, ``(K, N)``.
        totals: Number of values of each fold, ``(K, N)`` or ``(K, 1)``.
        in_a: Folds in A.
        in_b: Folds in B.

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
        means: Mean of the spatial means of each fold's images, ``(K, N)``.
        variances: Their unbiased variance, ``(K, N)``.
        sizes: Number of images of each fold, ``(K,)``.
        in_a: Folds in A.
        in_b: Folds in B.

    Returns:
        The distances; NaN where A or B has fewer than two images.

    """
    means = means.double()
    variances = variances.double()
    sizes = sizes.to(means)[:, None]
    # Centre the means, to avoid cancellation in sums of squares.
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
        sums: Sum of their values, ``(K, N)``.
        squares: Sum of the squares of their values, ``(K, N)``.
        selected: 1 for selected folds, otherwise 0, float64, ``(P, K)``.

    """
    images = selected @ sizes
    mean = (selected @ sums) / images
    variance = ((selected @ squares) - images * mean.square()).clamp(min=0) / (images - 1)
    return mean, torch.where(images > 1, variance, torch.nan).sqrt()


def layer_frechet_of_folds(features: Tensor, folds: Tensor, in_a: Tensor, in_b: Tensor) -> Tensor:
    """Compute the Fréchet distance (fd) of one layer between folds, in squared activations, ``(P,)``.

    For few images, it is computed from their Gram matrix ``(images, images)``; for many, from covariances ``(n, n)``.
    Both equal :func:`layer_frechet_distance` up to rounding.

    Args:
        features: Spatial means of the layer's neurons for each image, shape ``(images, n)``.
        folds: Fold of each image, from 0 to K - 1, shape ``(images,)``.
        in_a: Folds in A; each row has two images or more.
        in_b: Folds in B.

    Example:
        >>> features = torch.tensor([[0.0], [2.0], [3.0], [5.0]])
        >>> layer_frechet_of_folds(features, torch.arange(4) // 2, torch.eye(2).bool()[:1], torch.eye(2).bool()[1:])
        tensor([9.], dtype=torch.float64)

    """
    features = features.double()
    # Centre the features, to avoid cancellation in products.
    features = features - features.mean(0)
    images_in_a = in_a[:, folds]
    images_in_b = in_b[:, folds]
    num_images, num_neurons = features.shape
    distances = []
    # With so few images, A or B has fewer images than neurons.
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

    Arguments are those of :func:`layer_frechet_of_folds`.
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
        kernels: Sum of the kernel over pairs of images of two folds, ``(K, K)``.
        diagonal: Sum over images with themselves, ``(K,)``.
        sizes: Number of images of each fold, ``(K,)``.
        selected: 1 for selected folds, otherwise 0, float64, ``(P, K)``.

    """
    images = selected @ sizes
    sums = ((selected @ kernels) * selected).sum(1) - selected @ diagonal
    return sums / (images * (images - 1))


def cmmd_of_folds(embeddings: Tensor, folds: Tensor, in_a: Tensor, in_b: Tensor) -> Tensor:
    """Compute CMMD between folds; arguments and result are those of :func:`kernel_of_folds`."""
    num_folds = in_a.shape[1]
    kernels, _ = _kernel_by_folds(unit_rows(embeddings), folds, num_folds, kernel_less_one)
    sizes = folds.bincount(minlength=num_folds).double()
    in_a = in_a.double()
    in_b = in_b.double()
    share_a = in_a / (in_a @ sizes)[:, None]
    share_b = in_b / (in_b @ sizes)[:, None]
    change = share_a - share_b
    return CMMD_SCALE * ((change @ kernels) * change).sum(1, keepdim=True).clamp(min=0)


# Functions that fold both sets for KID and for CMMD, see :func:`_folded_images`.
folded_kernel = partial(_folded_images, kernel_of_folds)
folded_cmmd = partial(_folded_images, cmmd_of_folds)


def _kernel_by_folds(
    features: Tensor, folds: Tensor, num_folds: int, kernel: Callable[[Tensor, Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """Sum a kernel over pairs of images by folds, ``(K, K)``, and over images with themselves, ``(K,)``."""
    device = features.device
    sums = torch.zeros(num_folds, num_folds, dtype=torch.float64, device=device)
    diagonal = torch.zeros(num_folds, dtype=torch.float64, device=device)
    for rows in blocks(len(features), len(features), _CELLS << 3):
        values = kernel(features[rows], features)
        by_fold = torch.zeros(num_folds, len(features), dtype=torch.float64, device=device)
        by_fold.index_add_(0, folds[rows], values)
        sums.index_add_(1, folds, by_fold)
        diagonal.index_add_(0, folds[rows], values.diagonal(rows.start))
    return sums, diagonal


def _layer_frechet_of_products(products: Tensor, is_in_a: Tensor, is_in_b: Tensor) -> Tensor:
    """Compute fd of two sets, masks ``(images,)``, from the Gram matrix of all images, ``(images, images)``.

    The trace of the root of the product of two covariances is the sum of the singular values of the centred
    cross-Gram matrix of the two sets.
    """
    a = is_in_a.nonzero()[:, 0]
    b = is_in_b.nonzero()[:, 0]
    between = products[a][:, b]
    # Squared lengths of the means of A and of B.
    square_of_mean_a = products[a][:, a].mean()
    square_of_mean_b = products[b][:, b].mean()
    distance = square_of_mean_a + square_of_mean_b - 2 * between.mean()
    squares = products.diagonal()
    # Add the traces of both covariances.
    distance += (squares[a].sum() - len(a) * square_of_mean_a) / (len(a) - 1)
    distance += (squares[b].sum() - len(b) * square_of_mean_b) / (len(b) - 1)
    centred = between - between.mean(0) - between.mean(1, keepdim=True) + between.mean()
    distance -= 2 * torch.linalg.svdvals(centred).sum() / ((len(a) - 1) * (len(b) - 1)) ** 0.5
    return distance.clamp(min=0)


def _moments(features: Tensor, masks: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the mean and unbiased covariance of the images that each row of the mask ``(P, images)`` selects.

    Sums are updated from one row to the next by the images that are added or removed.
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
