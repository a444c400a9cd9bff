"""Two sides in folds: distances between any folds together and any others, for tests, jackknives and intervals.

A permutation test puts some folds of both sides on A and the others on B; a jackknife leaves out one. Each question is
a row of two masks, ``in_a`` and ``in_b``, bool, ``(P, K)``, of the K folds, those of side A first; a fold may be in
neither. Counts of folds are added as integers, so that distances are bitwise independent of the order of the work.
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

    Folds = tuple[Tensor | None, Tensor | None]  # the fold of each image of A and of B, int64; None without folds
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


class Noise(NamedTuple):
    """Sampling noise of the distances of all columns; NaN where it is unknown.

    Influences are, for A and B, those of each unit, an image or fold, on the distances, ``(units, N)``, with the number
    of all images divided by those of the unit; None for a side that is taken as exact.
    """

    bias: Tensor  # expected rise of each distance by noise, float64, (N,)
    influences: tuple[tuple[Tensor, Tensor] | None, tuple[Tensor, Tensor] | None]


@dataclass(frozen=True, eq=False)
class FoldedSides:
    """Two sides in folds, and what may be asked of these.

    A side without folds, such as published statistics, is one fold that is taken as exact: it is never left out or
    exchanged, so its noise is not in the interval, and there is no test.
    """

    # Distance of each neuron between the folds of two masks, float64, (P, N). Its bins may be wider.
    distances: Callable[[Tensor, Tensor], Tensor]
    sizes_a: Tensor  # number of images of each non-empty fold, int64; of the whole side without folds
    sizes_b: Tensor
    slices: Sequence[slice]  # columns of each layer
    exact: tuple[bool, bool]  # sides without folds; a single fold, of images of one group, is not exact
    noise: Callable[[], Noise] | None = None  # noise of the distances; None to jackknife them
    num_relabelings: int | None = None  # largest number in a test; 0 for no test, None for the default
    limits: tuple[str, ...] = ()  # a line for each part of the evidence that is missing, with the reason
    shifts: Callable[[Tensor, Tensor], Tensor] | None = None  # signed shifts of means, (P, N'); None for no test
    shift_slices: Sequence[slice] = ()  # columns of each layer in ``shifts``
    paired: bool = False  # fold k of A and fold k of B hold the same pairs of images
    # Distances between folds of A alone, of masks with a column for each of these. None to take ``distances``.
    distances_in_a: Callable[[Tensor, Tensor], Tensor] | None = None

    def between_folds_of_a(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the distance of each neuron between folds of A, ``(P, N)``, from masks ``(P, folds of A)``."""
        if self.distances_in_a is not None:
            return self.distances_in_a(first, second)
        return self.distances(_with_none(first, len(self.sizes_b)), _with_none(second, len(self.sizes_b)))

    def as_pairs(self) -> FoldedSides:
        """Return the sides as pairs; TooFewImagesError unless each fold holds as many images of A as of B."""
        if any(self.exact) or not torch.equal(self.sizes_a, self.sizes_b):
            a, b = self.sizes_a.tolist(), self.sizes_b.tolist()
            raise TooFewImagesError(
                f"Pairs expected to have both of their images in one fold, but folds have {a} images in A and {b} in B;"
                " give both images of each pair, and leave both out if one can't be read"
            )
        return replace(self, paired=True)


@dataclass(frozen=True)
class PlanOfLayers:
    """Plan of the evidence for fd of some layers between two sets."""

    neurons: Neurons
    tested: bool
    debiased: tuple[str, ...]  # layers
    limits: tuple[str, ...]  # a line for each part of the evidence that is missing, with the reason
    by_fold: bool = False  # images of a fold belong together, so folds are the units of the variance, not images


def why_not_kept(neurons: Neurons, num_images: Sequence[int | None], remedy: str, noun: str) -> str:
    """Say why the spatial means of all images can't be kept in memory; empty if they can."""
    sizes = [size for size in num_images if size is not None]
    if len(sizes) < len(num_images):
        return "a stream does not say how long it is"
    if 4 * neurons.total * sum(sizes) > _BYTES:
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
        num_images: Numbers of images of the sides that are not taken as exact; None for a stream of unknown length.
        tested: False if a side is taken as exact, so that there is no test.
        by_fold: True if images of a fold belong together.
        name: Name of the distance, for the reasons.
        noun: What the sides have, for the reasons.

    """
    if reason := why_not_kept(neurons, num_images, "watch fewer layers", noun):
        limit = f"{name} has no test and no debiased value here, since {reason}"
        return PlanOfLayers(neurons, False, (), (limit,))
    sizes = [size for size in num_images if size is not None]
    few = min(sizes)
    many = max(sizes)
    limits: list[str] = []
    if tested and many > UNEQUAL * few:  # with 50 and 100 images the test rejects a true null hypothesis too often
        tested = False
        limits.append(
            f"{name} has no test here, since a test of {few:,} and {many:,} {noun}s finds too much; give sets of which"
            " one is at most half as large again, or test dna-emd"
        )
    seconds = LAYER_RELABELINGS * _SECONDS * sum(min(width, few) ** 3 for width in neurons.values())
    if tested and seconds > _LONGEST_TEST:  # 15 minutes for FID of 10,000 images, whose p-value nobody asked for
        tested = False
        limits.append(
            f"{name} has no test here, since that would take about {seconds:.0f} s; test dna-emd, watch fewer"
            f" layers, or give fewer {noun}s"
        )
    debiased = [layer for layer, width in neurons.items() if few >= _IMAGES * width]
    lacking = [layer for layer in neurons if layer not in debiased]
    if lacking:
        named = ", ".join(lacking) if len(lacking) <= 3 else f"{len(lacking)} layers"
        scope = f"of {named} and of the whole" if debiased else "here"
        limits.append(
            f"{name} has no debiased value and no interval {scope}: that takes {_IMAGES} {noun}s a side for each"
            f" neuron, {_IMAGES * max(neurons[layer] for layer in lacking):,} for the widest, but there are {few:,}"
        )
    return PlanOfLayers(neurons, tested, tuple(debiased), tuple(limits), by_fold)


def folded_emd(a: HistogramDNA, b: HistogramDNA) -> FoldedSides:
    """Fold both sides for dna-emd, in bins of the DNAs, evaluated once in each of the folds' wider bins."""
    folds_a, folds_b = _filled(a), _filled(b)
    folds: list[Any] = [*folds_a, *folds_b]
    num_bins = min(fold.num_bins for fold in folds)
    folds = [fold if fold.num_bins == num_bins else fold.rebin(num_bins) for fold in folds]
    check_comparable(*folds)
    if a.self_ranging:
        sides = _ranged_counts(a, folds[: len(folds_a)]), _ranged_counts(b, folds[len(folds_a) :])
        bounds = a.ranged_counts().bounds()
        cumulative = cache(partial(Cumulative.of_own_ranges, *sides, *bounds))
        cumulative_in_a = cache(partial(Cumulative.of_own_ranges, sides[0], sides[0], *bounds))
    else:
        cumulative = cache(partial(Cumulative.of, torch.stack([fold.counts for fold in folds])))
    scale = a.num_bins / num_bins

    def distances(in_a: Tensor, in_b: Tensor) -> Tensor:
        of_folds: Tensor = cumulative().emd(in_a, in_b) * scale
        return of_folds

    def shifts(in_a: Tensor, in_b: Tensor) -> Tensor:
        return shift_of_folds(*cumulative().sums(), in_a, in_b)

    def distances_in_a(first: Tensor, second: Tensor) -> Tensor:
        count = len(folds_a)
        of_folds: Tensor = cumulative_in_a().emd(_with_none(first, count), _with_none(second, count)) * scale
        return of_folds

    sides_in_folds = _folded_neurons(a, b, distances, shifts)
    if not a.self_ranging:
        return sides_in_folds
    # Wide bins of B would hide how folds of A differ from each other.
    return replace(sides_in_folds, distances_in_a=distances_in_a)


def _with_none(masks: Tensor, count: int) -> Tensor:
    """Add ``count`` folds to masks ``(P, folds)`` that none of them selects."""
    return torch.cat([masks, torch.zeros(len(masks), count, dtype=torch.bool)], 1)


def _ranged_counts(dna: HistogramDNA, folds: Sequence[HistogramDNA]) -> RangedCounts:
    """Return the counts of the folds of a DNA in the same bins: those of the range of all folds."""
    ranges = dna.known_ranges.union(*(fold.known_ranges for fold in folds))
    counts = torch.stack([fold.counts_within(ranges) for fold in folds])
    return RangedCounts(counts, ranges.minimum.to(counts.device), ranges.maximum.to(counts.device))


def folded_frechet(a: DNA, b: DNA) -> FoldedSides:
    """Fold both sides for dna-fd."""
    folds: list[Any] = [*_filled(a), *_filled(b)]
    check_comparable(*folds)
    means, variances = (torch.stack([getattr(fold, name) for fold in folds]) for name in ("mean", "var"))
    sizes = _sizes(folds)
    distances = partial(frechet_of_folds, means, variances, sizes)
    totals = sizes.double()[:, None]
    return _folded_neurons(a, b, distances, partial(shift_of_folds, means * totals.to(means), totals))


def _folded_neurons(
    a: DNA, b: DNA, distances: Callable[[Tensor, Tensor], Tensor], shifts: Callable[[Tensor, Tensor], Tensor]
) -> FoldedSides:
    slices = [*a.neurons.slices.values()]
    exact = (not a.folds, not b.folds)
    sizes_a, sizes_b = (_sizes(_filled(dna)) for dna in (a, b))
    return FoldedSides(distances, sizes_a, sizes_b, slices, exact, shifts=shifts, shift_slices=slices)


def _folded_images(
    of_folds: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor], a: Features, b: Features, folds: Folds
) -> FoldedSides:
    numbers, sizes_a, sizes_b = _numbered_folds(folds, [a.num_images, b.num_images])
    distances = partial(of_folds, torch.cat([a.values, b.values]), numbers)
    return FoldedSides(distances, sizes_a, sizes_b, [slice(1)], (folds[0] is None, folds[1] is None))


def folded_layer_frechet(a: Side, b: Side, folds: Folds, plan: PlanOfLayers) -> FoldedSides:
    """Fold both sides for fd from the features of all images; each column is a layer.

    A side is features of at least the layers of the plan, or None if the plan needs none; or, without folds, a DNA that
    is taken as exact, such as published statistics.
    """
    neurons = plan.neurons
    numbers, sizes_a, sizes_b = _numbered_folds(folds, [1, 1])
    layers = [slice(i, i + 1) for i in range(len(neurons))]

    def values() -> Tensor:
        return torch.cat([side.select(list(neurons)).values for side in (a, b) if isinstance(side, Features)])

    def distances(in_a: Tensor, in_b: Tensor) -> Tensor:
        features = values()
        columns = [layer_frechet_of_folds(features[:, rows], numbers, in_a, in_b) for rows in neurons.slices.values()]
        return torch.stack(columns, 1)

    def shifts(in_a: Tensor, in_b: Tensor) -> Tensor:
        features = values()
        sizes = torch.cat([sizes_a, sizes_b])
        sums = torch.zeros(len(sizes), features.shape[1], dtype=torch.float64)
        sums.index_add_(0, numbers, features.double())
        return shift_of_folds(sums, sizes[:, None], in_a, in_b)

    return FoldedSides(
        distances, sizes_a, sizes_b, layers, (folds[0] is None, folds[1] is None), lambda: _noise((a, b), folds, plan),
        LAYER_RELABELINGS if plan.tested else 0, plan.limits, shifts, [*neurons.slices.values()],
    )  # fmt: skip


def _noise(sides: tuple[Side, Side], folds: Folds, plan: PlanOfLayers) -> Noise:
    """Estimate the noise of fd of each layer; NaN for layers that the plan does not debias."""
    layers = list(plan.neurons)
    bias = torch.full((len(layers),), torch.nan, dtype=torch.float64)
    influences = [
        None if of_side is None else bias.new_full((len(of_side), len(layers)), torch.nan) for of_side in folds
    ]
    for i, layer in enumerate(layers):
        if layer in plan.debiased:
            estimate = layer_frechet_estimate(_of_layer(sides[0], layer), _of_layer(sides[1], layer), folds)
            bias[i] = estimate.bias
            for columns, influence in zip(influences, estimate.influences, strict=True):
                if columns is not None and influence is not None:
                    columns[:, i] = influence
    a, b = (_by_unit(*pair, plan.by_fold) for pair in zip(influences, folds, strict=True))
    return Noise(bias, (a, b))


def _of_layer(side: Side, layer: str) -> Tensor | tuple[Tensor, Tensor]:
    """Return the features of a layer, or its mean and covariance."""
    if isinstance(side, LayerGaussianDNA):
        return side.by_layer()[layer]
    assert side is not None
    return side.select([layer]).values


def _by_unit(influences: Tensor | None, folds: Tensor | None, by_fold: bool) -> tuple[Tensor, Tensor] | None:
    """Return the influences of images or folds, and the number of all images divided by those of each of these."""
    if influences is None or folds is None:
        return None
    if not by_fold:
        return influences, influences.new_full((len(influences),), len(influences))
    _, numbers, sizes = folds.unique(return_inverse=True, return_counts=True)  # type: ignore[no-untyped-call]
    sums = influences.new_zeros(len(sizes), influences.shape[1]).index_add_(0, numbers, influences)
    return sums / sizes[:, None], len(influences) / sizes.double()


def _numbered_folds(sides: Folds, num_images: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Number the folds of A and then B from 0; return the fold of each image, and the sizes of the folds of A and B.

    A side without folds is one of so many images.
    """
    numbers: list[Tensor] = []
    sizes: list[Tensor] = []
    for of_side, images in zip(sides, num_images, strict=True):
        folds = torch.zeros(images, dtype=torch.int64) if of_side is None else of_side
        _, number, size = folds.unique(return_inverse=True, return_counts=True)  # type: ignore[no-untyped-call]
        numbers.append(number + sum(map(len, sizes)))
        sizes.append(size)
    return torch.cat(numbers), sizes[0], sizes[1]


def _filled(dna: DNA) -> list[DNA]:
    """Return the non-empty folds; the DNA itself if it has no folds."""
    return [fold for fold in dna.folds if fold.num_images] or [replace(dna, folds=())]


def _sizes(folds: list[DNA]) -> Tensor:
    return torch.tensor([fold.num_images for fold in folds])


class Cumulative(NamedTuple):
    """Cumulative counts of folds, which are prepared once for all questions about them.

    Example:
        >>> folds = Cumulative.of(torch.tensor([[[4, 0, 0]], [[0, 4, 0]], [[0, 0, 4]]]))
        >>> folds.emd(torch.tensor([[True, False, False]]), torch.tensor([[False, True, True]]))
        tensor([[1.5000]], dtype=torch.float64)

    """

    counts: Tensor  # whole numbers or dyadic fractions, in single precision if that has their sums, (K, N, num_bins)
    totals: Tensor  # float64, (K, N)

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
        """Add up the counts of the folds of two self-ranging sides, in the middle of equal bins between bounds."""
        totals = torch.cat([side.counts.sum(2) for side in (a, b)]).double()
        return cls(torch.cat(counts_in_nodes(a, b, low, high)), totals)

    def emd(self, in_a: Tensor, in_b: Tensor) -> Tensor:
        """Compute the EMD, Eq. (3), of each neuron between folds in A and in B, in bins, float64, ``(P, N)``."""
        cumulative, (in_a, in_b) = self.counts, (side.to(self.counts.device) for side in (in_a, in_b))
        a, b = in_a.to(cumulative), in_b.to(cumulative)
        share_a, share_b = (1 / (side.double() @ self.totals) for side in (in_a, in_b))
        is_partition = bool((in_a ^ in_b).all())  # each fold is on one side: one product is enough
        compiled = optional("binning.cpu") if is_partition and cumulative.dtype == torch.float32 else None
        distances = torch.empty(len(a), cumulative.shape[1], dtype=torch.float64, device=cumulative.device)
        for rows in blocks(len(distances[0]), len(a) * cumulative.shape[2], _CELLS if compiled is None else 4 * _CELLS):
            chunk = cumulative[:, rows]
            scale_a = share_a[:, rows, None]
            scale_b = share_b[:, rows, None]
            sums = torch.tensordot(a, chunk, 1)
            if compiled is not None:
                scale = (scale_a / scale_b + 1)[..., 0]
                distances[:, rows] = compiled.distances_of_sums(sums, scale, chunk.sum(0)) * scale_b[..., 0]
                continue
            if is_partition:
                difference = sums.double().mul_(scale_a + scale_b).addcmul_(chunk.sum(0).double(), scale_b, value=-1)
            else:
                others = torch.tensordot(b, chunk, 1).double()
                difference = sums.double().mul_(scale_a).addcmul_(others, scale_b, value=-1)
            distances[:, rows] = difference.abs_().sum(2)
        return torch.where(distances > _ROUNDING, distances, 0)

    def sums(self) -> tuple[Tensor, Tensor]:
        """Sum the activations of each neuron in each fold, in bins below the upper end, and count them, ``(K, N)``.

        The absolute difference of two means is at most the EMD.
        """
        return self.counts.sum(2, dtype=torch.float64), self.totals


def shift_of_folds(sums: Tensor, totals: Tensor, in_a: Tensor, in_b: Tensor) -> Tensor:
    """Compute the signed difference of the mean of each neuron, float64, ``(P, N)``; 0 where only rounding is left.

    ``sums`` over each fold have shape ``(K, N)``; ``totals``, their numbers of values, ``(K, N)`` or ``(K, 1)``.

    Example:
        >>> sums, sizes = torch.tensor([[2.0], [8.0], [1.0]]), torch.tensor([[1.0], [2.0], [1.0]])
        >>> shift_of_folds(sums, sizes, torch.tensor([[True, False, True]]), torch.tensor([[False, True, False]]))
        tensor([[-2.5000]], dtype=torch.float64)

    """
    sums = sums.double()
    totals = totals.to(sums)
    a, b = ((side @ sums) / (side @ totals) for side in (in_a.to(sums), in_b.to(sums)))
    shift = a - b
    return torch.where(shift.abs() > _ROUNDING * (sums / totals).abs().amax(0), shift, 0)


def frechet_of_folds(means: Tensor, variances: Tensor, sizes: Tensor, in_a: Tensor, in_b: Tensor) -> Tensor:
    """Compute the 1-D Fréchet distance of each neuron between folds, in squared activations, ``(P, N)``.

    Means and unbiased variances are of each fold's spatial means, ``(K, N)``; sizes, numbers of images, ``(K,)``. It is
    NaN where a side has fewer than two images.
    """
    means, variances = means.double(), variances.double()
    counts = sizes.to(means)[:, None]
    shifted = means - (counts * means).sum(0) / counts.sum()  # centred to avoid cancellation in sums of squares
    sums = counts * shifted
    squares = variances * (counts - 1).clamp(min=0) + counts * shifted.square()
    sides = []
    for side in (in_a.to(means), in_b.to(means)):
        images = side @ counts
        mean = (side @ sums) / images
        variance = ((side @ squares) - images * mean.square()).clamp(min=0) / (images - 1)
        sides.append((mean, torch.where(images > 1, variance, torch.nan).sqrt()))
    (mean_a, deviation_a), (mean_b, deviation_b) = sides
    return (mean_a - mean_b).square() + (deviation_a - deviation_b).square()


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
    features = features - features.mean(0)  # centred to avoid cancellation in products
    sides = in_a[:, folds], in_b[:, folds]
    if len(features) <= 2 * features.shape[1]:  # a side then has fewer images than neurons
        products = features @ features.T
        distances = [_of_products(products, *pair) for pair in zip(*sides, strict=True)]
    else:
        distances = [
            layer_frechet_distance(*a, *b) for a, b in zip(*(_moments(features, s) for s in sides), strict=True)
        ]
    return torch.stack(distances)


def kernel_of_folds(features: Tensor, folds: Tensor, in_a: Tensor, in_b: Tensor) -> Tensor:
    """Compute the unbiased kernel distance (squared MMD, with KID's cubic kernel) between folds, ``(P, 1)``.

    Arguments are those of :func:`layer_frechet_of_folds`.
    """
    kernels, diagonal = _by_folds(features.double(), folds, in_a, lambda a, b: (a @ b.T / a.shape[1] + 1) ** 3)
    sizes = folds.bincount(minlength=in_a.shape[1]).double()
    a, b = in_a.double(), in_b.double()
    within = []
    for side in (a, b):
        images = side @ sizes
        within.append((((side @ kernels) * side).sum(1) - side @ diagonal) / (images * (images - 1)))
    between = ((a @ kernels) * b).sum(1) / ((a @ sizes) * (b @ sizes))
    return (within[0] + within[1] - 2 * between)[:, None]


def cmmd_of_folds(embeddings: Tensor, folds: Tensor, in_a: Tensor, in_b: Tensor) -> Tensor:
    """Compute CMMD between folds; arguments and result are those of :func:`kernel_of_folds`."""
    kernels, _ = _by_folds(unit_rows(embeddings), folds, in_a, kernel_less_one)
    sizes = folds.bincount(minlength=in_a.shape[1]).double()
    shares = [side / (side @ sizes)[:, None] for side in (in_a.double(), in_b.double())]
    change = shares[0] - shares[1]
    return CMMD_SCALE * ((change @ kernels) * change).sum(1, keepdim=True).clamp(min=0)


# Folds of KID.
folded_kernel = partial(_folded_images, kernel_of_folds)
folded_cmmd = partial(_folded_images, cmmd_of_folds)


def _by_folds(
    features: Tensor, folds: Tensor, masks: Tensor, kernel: Callable[[Tensor, Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """Sum a kernel over pairs of images by folds, ``(K, K)``, and over images with themselves, ``(K,)``."""
    num_folds = masks.shape[1]
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


def _of_products(products: Tensor, in_a: Tensor, in_b: Tensor) -> Tensor:
    """Compute fd of two sides, masks ``(images,)``, from the Gram matrix of all images, ``(images, images)``.

    The trace of the root of the product of two covariances is the sum of the singular values of the centred
    cross-Gram matrix of the two sides.
    """
    a, b = (side.nonzero()[:, 0] for side in (in_a, in_b))
    mean_a, mean_b = (products[side][:, side].mean() for side in (a, b))
    between = products[a][:, b]
    distance = mean_a + mean_b - 2 * between.mean()
    for side, mean in ((a, mean_a), (b, mean_b)):
        distance += (products.diagonal()[side].sum() - len(side) * mean) / (len(side) - 1)
    centred = between - between.mean(0) - between.mean(1, keepdim=True) + between.mean()
    distance -= 2 * torch.linalg.svdvals(centred).sum() / ((len(a) - 1) * (len(b) - 1)) ** 0.5
    return distance.clamp(min=0)


def _moments(features: Tensor, sides: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the mean and unbiased covariance of each side, a row of the mask ``(P, images)``.

    Sums are updated from one row to the next by the images that are added or removed.
    """
    sums, products = (features.new_zeros(shape) for shape in (features.shape[1], (features.shape[1],) * 2))
    previous = torch.zeros_like(sides[0])
    for side in sides:
        changed = side ^ previous
        updates = features[changed]
        signed = torch.where(side[changed], 1.0, -1.0).to(updates)[:, None] * updates
        sums += signed.sum(0)
        products += signed.T @ updates
        previous = side
        count = side.sum()
        yield sums / count, (products - torch.outer(sums, sums) / count) / (count - 1)
