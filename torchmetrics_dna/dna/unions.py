"""Distances between unions of folds of two DNAs, or of features of images."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from torchmetrics_dna.dna.base import TooFewImagesError, check_comparable
from torchmetrics_dna.dna.features import Features
from torchmetrics_dna.dna.gaussian import LayerGaussianDNA
from torchmetrics_dna.dna.histogram import in_same_bins
from torchmetrics_dna.functional.emd import bounds_on_grid
from torchmetrics_dna.functional.layer_frechet_estimate import layer_frechet_estimate
from torchmetrics_dna.functional.unions import (
    cmmd_of_unions,
    emd_of_unions,
    frechet_of_unions,
    kernel_of_unions,
    layer_frechet_of_unions,
    shift_of_unions,
    sums_of_histograms,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from torchmetrics_dna.dna.base import DNA
    from torchmetrics_dna.dna.histogram import HistogramDNA
    from torchmetrics_dna.neurons.index import Neurons

    Folds = tuple[Tensor | None, Tensor | None]  # the fold of each image of A and of B, int64; None without folds
    Side = Features | LayerGaussianDNA | None

LAYER_RELABELINGS = 200  # of fd, a fifth of other distances: each takes an eigendecomposition per layer


class Noise(NamedTuple):
    """Sampling noise of the distances of all columns; NaN where it is unknown.

    Influences are, for A and B, those of each unit, an image or fold, on the distances, ``(units, N)``, with the number
    of all images divided by those of the unit; None for a side that is taken as exact.
    """

    bias: Tensor  # expected rise of each distance by noise, float64, (N,)
    influences: tuple[tuple[Tensor, Tensor] | None, tuple[Tensor, Tensor] | None]


@dataclass(frozen=True, eq=False)
class Unions:
    """Folds of two sides, those of A first, and the distances between unions of them.

    ``distances`` of the masks ``in_a`` and ``in_b`` of the folds on each side, bool, ``(P, K)``, are of each neuron,
    float64, ``(P, N)``; histograms may be coarser than those of the distance. ``shifts`` of the same masks are the
    signed differences of the means of each neuron, float64, ``(P, N')``; None if a distance is tested by itself alone.
    """

    distances: Callable[[Tensor, Tensor], Tensor]
    sizes_a: Tensor  # number of images of each non-empty fold, int64; of the whole side without folds
    sizes_b: Tensor
    slices: Sequence[slice]  # columns of each layer
    exact: tuple[bool, bool]  # sides without folds; a single fold, of images of one group, is not exact
    noise: Callable[[], Noise] | None = None  # of the distances; None to jackknife them
    num_relabelings: int | None = None  # at most, of a test; 0 for no test, None for the default
    limits: tuple[str, ...] = ()  # a line for each part of the evidence that is missing, with the reason
    shifts: Callable[[Tensor, Tensor], Tensor] | None = None
    shift_slices: Sequence[slice] = ()  # columns of each layer in ``shifts``
    paired: bool = False  # fold k of A and fold k of B hold the same pairs of images

    def as_pairs(self) -> Unions:
        """Return the unions of pairs, of which each fold holds both images.

        Raises:
            TooFewImagesError: If a fold has other numbers of images in A and in B, so that pairs are incomplete.

        """
        if any(self.exact) or not torch.equal(self.sizes_a, self.sizes_b):
            a, b = self.sizes_a.tolist(), self.sizes_b.tolist()
            raise TooFewImagesError(
                f"Pairs expected to have both of their images in one fold, but folds have {a} images in A and {b} in B;"
                " give both images of each pair, and leave both out if one can't be read"
            )
        return replace(self, paired=True)


@dataclass(frozen=True)
class Plan:
    """Plan of the evidence for fd of some layers between two sets."""

    neurons: Neurons
    tested: bool
    debiased: tuple[str, ...]  # layers
    limits: tuple[str, ...]  # a line for each part of the evidence that is missing, with the reason
    by_fold: bool = False  # images of a fold belong together, so folds are the units of the variance, not images


def emd_unions(a: HistogramDNA, b: HistogramDNA) -> Unions:
    """Build unions for dna-emd, in bins of the DNAs, evaluated at the edges of the folds' wider bins."""
    folds: list[Any] = [*_filled(a), *_filled(b)]
    num_bins = min(fold.num_bins for fold in folds)
    folds = [fold if fold.num_bins == num_bins else fold.rebin(num_bins) for fold in folds]
    check_comparable(*folds)
    scale, within = torch.tensor(a.num_bins / num_bins, dtype=torch.float64), None
    if a.self_ranging:
        folds = in_same_bins(*folds)
        grid = folds[0].grid
        low, high = (bound.to(grid.start.device) for bound in a.known_ranges.bounds())
        begin, end, per_bounds = bounds_on_grid(grid, low, high)
        scale, within = a.num_bins * per_bounds, (begin, end)
    counts = torch.stack([fold.counts for fold in folds])
    scale = scale.to(counts.device)

    def distances(in_a: Tensor, in_b: Tensor) -> Tensor:
        return emd_of_unions(counts, in_a.to(counts.device), in_b.to(counts.device), within) * scale

    def shifts(in_a: Tensor, in_b: Tensor) -> Tensor:
        return shift_of_unions(*sums_of_histograms(counts, within), in_a, in_b)

    return _unions_of_neurons(a, b, distances, shifts)


def frechet_unions(a: DNA, b: DNA) -> Unions:
    """Build unions for dna-fd."""
    folds: list[Any] = [*_filled(a), *_filled(b)]
    check_comparable(*folds)
    means, variances = (torch.stack([getattr(fold, name) for fold in folds]) for name in ("mean", "var"))
    sizes = _sizes(folds)
    distances = partial(frechet_of_unions, means, variances, sizes)
    totals = sizes.double()[:, None]
    return _unions_of_neurons(a, b, distances, partial(shift_of_unions, means * totals.to(means), totals))


def _unions_of_neurons(
    a: DNA, b: DNA, distances: Callable[[Tensor, Tensor], Tensor], shifts: Callable[[Tensor, Tensor], Tensor]
) -> Unions:
    slices, exact = [*a.neurons.slices.values()], (not a.folds, not b.folds)
    sizes_a, sizes_b = (_sizes(_filled(dna)) for dna in (a, b))
    return Unions(distances, sizes_a, sizes_b, slices, exact, shifts=shifts, shift_slices=slices)


def _unions_of_images(
    of_unions: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor], a: Features, b: Features, folds: Folds
) -> Unions:
    numbers, sizes_a, sizes_b = _numbered_folds(folds, [a.num_images, b.num_images])
    distances = partial(of_unions, torch.cat([a.values, b.values]), numbers)
    return Unions(distances, sizes_a, sizes_b, [slice(1)], (folds[0] is None, folds[1] is None))


def kernel_unions(a: Features, b: Features, folds: Folds) -> Unions:
    """Build unions for kid."""
    return _unions_of_images(kernel_of_unions, a, b, folds)


def cmmd_unions(a: Features, b: Features, folds: Folds) -> Unions:
    """Build unions for cmmd."""
    return _unions_of_images(cmmd_of_unions, a, b, folds)


def layer_frechet_unions(a: Side, b: Side, folds: Folds, plan: Plan) -> Unions:
    """Build unions for fd from the features of all images; each column is a layer.

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
        columns = [layer_frechet_of_unions(features[:, rows], numbers, in_a, in_b) for rows in neurons.slices.values()]
        return torch.stack(columns, 1)

    def shifts(in_a: Tensor, in_b: Tensor) -> Tensor:
        features, sizes = values(), torch.cat([sizes_a, sizes_b])
        sums = torch.zeros(len(sizes), features.shape[1], dtype=torch.float64)
        sums.index_add_(0, numbers, features.double())
        return shift_of_unions(sums, sizes[:, None], in_a, in_b)

    return Unions(
        distances, sizes_a, sizes_b, layers, (folds[0] is None, folds[1] is None), lambda: _noise((a, b), folds, plan),
        LAYER_RELABELINGS if plan.tested else 0, plan.limits, shifts, [*neurons.slices.values()],
    )  # fmt: skip


def _noise(sides: tuple[Side, Side], folds: Folds, plan: Plan) -> Noise:
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
