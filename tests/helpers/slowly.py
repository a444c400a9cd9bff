"""Distances of two sets the slow way: float64 numpy, from activations, one neuron after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, replace
from functools import cache

import numpy as np
import pytest
import torch
from surprise import outlier_scores
from torch import Tensor, nn

from torchmetrics_dna import ActivationRanges, DNAExtractor
from torchmetrics_dna.dna import DNA, GaussianDNA, HistogramDNA, LayerGaussianDNA
from torchmetrics_dna.dna.evidence import Evidence
from torchmetrics_dna.dna.histogram import in_same_bins
from torchmetrics_dna.neurons import Neurons

Activations = Mapping[str, Tensor]


LAYERS = {"all": ["maps", "corner", "rows"], "some": ["rows", "maps"], "one": ["corner"]}
BINS_OF_FOLDS = {7: 7, 250: 50, 1000: 100}


class Polynomials(nn.Module):
    """Activations that no float holds exactly, of either sign, and bitwise the same for any batch."""

    def forward(self, imgs: Tensor) -> dict[str, Tensor]:
        red, green, blue = (imgs if imgs.is_floating_point() else imgs.float() / 255).unbind(1)
        maps = torch.stack([red * green - 0.3 * blue, blue * blue * 0.7, 0.1 - red * green * blue], 1)
        corner = torch.stack([red[:, 1, 2] * 5.1, green[:, 0, 3] - blue[:, 2, 1] * 0.9], 1)
        rows = torch.stack([red[:, 2:] * 0.37, green[:, 1:-1] * blue[:, 2:], red[:, :-2] - 0.61 * blue[:, 2:]], 1)
        return {"maps": maps, "corner": corner, "rows": rows * rows - 0.2}


def some_images(count: int, seed: int, brightest: int = 256) -> Tensor:
    """uint8 images of odd sizes, darker to the right, so that no two axes or channels are alike."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randint(0, brightest, (count, 3, 5, 7), generator=generator).double()
    fall = torch.linspace(1, 0.3, 7) * torch.tensor([1, 0.8, 0.55])[:, None, None]
    return (noise * fall).to(torch.uint8)


def of_neurons(activations: Activations) -> list[np.ndarray]:
    """Values of each neuron, ``(images, positions)``, float64."""
    return [
        values[:, n].reshape(len(values), -1).double().numpy()
        for values in activations.values()
        for n in range(values.shape[1])
    ]


def observed(activations: Activations, margin: str = "widen") -> ActivationRanges:
    """Ranges of activations."""
    ends = [(values.min(), values.max()) for values in of_neurons(activations)]
    neurons = Neurons({layer: values.shape[1] for layer, values in activations.items()})
    return ActivationRanges(*torch.tensor(ends, dtype=torch.float64).T, neurons, margin)


@cache
def extractor(layers: str) -> DNAExtractor:
    return DNAExtractor(Polynomials(), layers=LAYERS[layers])


@cache
def given_ranges() -> ActivationRanges:
    """Ranges that some activations lie beyond."""
    return observed(DNAExtractor(Polynomials())(some_images(3, 5)))


def bounds(low: float, high: float) -> tuple[float, float]:
    """A range with its margin of 20 %."""
    return low - 0.1 * (high - low), high + 0.1 * (high - low)


def within(low: float, high: float) -> tuple[float, float]:
    """Bounds with what the official bins add to them."""
    half = (high - low) / 2 + 1e-8
    return (low + high) / 2 - half, (low + high) / 2 + half


def counted(values: np.ndarray, low: float, high: float, num_bins: int) -> np.ndarray:
    """Histogram between bounds, Eq. (1) and (2)."""
    z = np.clip((values - (low + high) / 2) / ((high - low) / 2 + 1e-8), -1, 1)
    numbers = np.minimum(np.floor((z + 1) * num_bins / 2), num_bins - 1).astype(int)
    return np.bincount(numbers.ravel(), minlength=num_bins)


def finest_exponent(low: float, high: float) -> float:
    """Exponent of the narrowest bins that a range may have."""
    largest = max(abs(low), abs(high))
    return max(np.frexp(largest)[1] - 40.0, -160.0) if largest else -160.0


def dyadic_edges(low: float, high: float, num_bins: int) -> np.ndarray:
    """Edges of the narrowest bins, of a power of two, that hold a range, down to 40 bits below its larger end."""
    exponent = finest_exponent(low, high)
    if high > low:
        exponent = max(exponent, np.floor(np.log2((high - low) / num_bins)) - 2)
    while np.floor(high / 2**exponent) - np.floor(low / 2**exponent) >= num_bins:
        exponent += 1
    return (np.floor(low / 2**exponent) + np.arange(num_bins + 1)) * 2**exponent


def counted_between(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    numbers = np.searchsorted(edges, values.ravel(), side="right") - 1
    return np.bincount(numbers, minlength=len(edges) - 1)


def emd(a: np.ndarray, b: np.ndarray) -> float:
    """Eq. (3), of counts."""
    return float(np.abs(a.cumsum() / a.sum() - b.cumsum() / b.sum()).sum())


def emd_within(a: np.ndarray, b: np.ndarray, low: float, high: float, num_bins: int) -> float:
    """EMD of a neuron's values between the bounds of a range."""
    ends = bounds(low, high)
    return emd(counted(a, *ends, num_bins), counted(b, *ends, num_bins))


def own_bounds(low: float, high: float) -> tuple[float, float]:
    """Bounds of a self-ranging histogram: a range with its margin, and never less than its finest bins resolve."""
    half = max((high - low) * 0.6, 2.0 ** finest_exponent(low, high))
    return (low + high) / 2 - half, (low + high) / 2 + half


def integral(a: np.ndarray, b: np.ndarray, low: float, high: float) -> float:
    """Area between the exact cumulative shares of values, as a part of the bounds."""
    at = np.unique(np.clip(np.concatenate([a, b, [low, high]]), low, high))
    shares = [np.searchsorted(np.sort(x), at[:-1], side="right") / x.size for x in (a, b)]
    return float((np.abs(shares[0] - shares[1]) * np.diff(at)).sum() / (high - low))


def emd_of_any_range(a: np.ndarray, b: np.ndarray, num_bins: int, low: float, high: float) -> float:
    """Area between the cumulative shares of self-ranging histograms, over the bounds of the range of A.

    Where the edges of the wider bins leave open where values lie, they lie where the other set has its values; if it
    has none there, they are spread evenly.
    """
    a, b = a.ravel().astype(np.float64), b.ravel().astype(np.float64)
    edges_of_a, edges_of_b = (dyadic_edges(x.min(), x.max(), num_bins) for x in (a, b))
    if edges_of_a[1] - edges_of_a[0] <= edges_of_b[1] - edges_of_b[0]:
        fine, fine_edges, coarse, coarse_edges = a, edges_of_a, b, edges_of_b
    else:
        fine, fine_edges, coarse, coarse_edges = b, edges_of_b, a, edges_of_a
    width = fine_edges[1] - fine_edges[0]
    fine_shares = np.append(0, counted_between(fine, fine_edges).cumsum()) / fine.size
    fine_knots = fine_edges.clip(fine.min(), fine.max())
    known = coarse_edges.clip(coarse.min(), coarse.max())
    coarse_at_known = np.append(0, counted_between(coarse, coarse_edges).cumsum()) / coarse.size
    fine_at_known = np.array([(fine < x).mean() for x in known])
    if coarse.min() <= fine.max() and coarse.max() >= fine.min():
        # the narrow bins that hold the ends of the other set lie inside its range
        first, last = np.floor(coarse.min() / width), np.floor(coarse.max() / width)
        fine_at_known[known == coarse.min()] = (np.floor(fine / width) < first).mean()
        fine_at_known[coarse_edges > coarse.max()] = (np.floor(fine / width) <= last).mean()
        # their values lie inside it, too
        after_last, first_knot = (int(number - fine_edges[0] / width) for number in (last + 1, first))
        if 0 < after_last <= num_bins and fine_knots[after_last] > coarse.max():
            fine_knots = np.insert(fine_knots, after_last, max(coarse.max(), fine_knots[after_last - 1]))
            fine_shares = np.insert(fine_shares, after_last, fine_shares[after_last])
        if 0 <= first_knot < num_bins and fine_knots[first_knot] < coarse.min():
            fine_knots = np.insert(fine_knots, first_knot + 1, coarse.min())
            fine_shares = np.insert(fine_shares, first_knot + 1, fine_shares[first_knot])
    low, high = own_bounds(low, high)
    ends = min(low, fine.min(), coarse.min()) - 1, max(high, fine.max(), coarse.max()) + 1
    known = np.concatenate([ends[:1], known, ends[1:]])
    coarse_at_known = np.concatenate([[0], coarse_at_known, [1]])
    fine_at_known = np.concatenate([[0], fine_at_known, [1]])

    def difference(x: np.ndarray) -> np.ndarray:
        share = np.interp(x, fine_knots, fine_shares)
        gap = np.searchsorted(known, x) - 1
        (begin, end), (before, after) = ((y[gap], y[gap + 1]) for y in (known, fine_at_known))
        rises = after > before
        along = np.where(rises, (share - before) / np.where(rises, after - before, 1), (x - begin) / (end - begin))
        share_of_coarse = coarse_at_known[gap] + np.diff(coarse_at_known)[gap] * along.clip(0, 1)
        return np.asarray(share - share_of_coarse)

    at = np.unique(np.concatenate([known, fine_knots, [low, high]]).clip(low, high))
    third = np.diff(at) / 3
    one, two = difference(at[:-1] + third), difference(at[1:] - third)
    # straight lines between the points
    left, right = 2 * one - two, 2 * two - one
    total = np.abs(left) + np.abs(right)
    heights = np.where(left * right < 0, (left**2 + right**2) / np.where(total > 0, total, 1), total) / 2
    return float((heights * 3 * third).sum() * num_bins / (high - low))


def frechet(mean_a: float, var_a: float, mean_b: float, var_b: float) -> float:
    return float((mean_a - mean_b) ** 2 + var_a + var_b - 2 * np.sqrt(var_a * var_b))


def moments(values: np.ndarray) -> tuple[float, float]:
    """Mean and variance of spatial means."""
    means = values.mean(1)
    return means.mean(), means.var(ddof=1) if len(means) > 1 else 0.0


def moments_of_bins(values: np.ndarray, edges: np.ndarray, counts: np.ndarray) -> tuple[float, float]:
    """Mean and variance of all values, from the centres of their bins."""
    centres = (edges[1:] + edges[:-1]) / 2
    mean = (centres * counts).sum() / values.size
    return mean, ((centres - mean) ** 2 * counts).sum() / values.size


def layer_frechet(a: np.ndarray, b: np.ndarray) -> float:
    """Multivariate distance of spatial means, ``(images, n)``, by the eigenvalues of the product of covariances."""
    cov_a, cov_b = np.atleast_2d(np.cov(a.T)), np.atleast_2d(np.cov(b.T))
    root = np.sqrt(np.linalg.eigvals(cov_a @ cov_b).real.clip(min=0)).sum()
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * root)


def histogram_dna(activations: Activations, ranges: ActivationRanges | None, num_bins: int) -> HistogramDNA:
    """DNA of activations; without ranges a self-ranging one."""
    values, own = of_neurons(activations), observed(activations, "auto") if ranges is None else ranges
    counts = [
        counted_between(x, dyadic_edges(*ends, num_bins)) if ranges is None else counted(x, *bounds(*ends), num_bins)
        for x, *ends in zip(values, own.minimum.tolist(), own.maximum.tolist(), strict=True)
    ]
    return HistogramDNA(torch.from_numpy(np.stack(counts)), own.neurons, own, len(values[0]), "x")


def gaussian_dna(activations: Activations) -> GaussianDNA:
    mean, var = torch.tensor([moments(x) for x in of_neurons(activations)], dtype=torch.float64).T
    return GaussianDNA(mean, var, observed(activations).neurons, len(next(iter(activations.values()))), "x")


def layer_gaussian_dna(activations: Activations) -> LayerGaussianDNA:
    means = {layer: x.double().reshape(*x.shape[:2], -1).mean(2).numpy() for layer, x in activations.items()}
    cov = {layer: torch.from_numpy(np.atleast_2d(np.cov(x.T))) for layer, x in means.items()}
    mean = torch.from_numpy(np.concatenate([x.mean(0) for x in means.values()]))
    return LayerGaussianDNA(mean, cov, observed(activations).neurons, len(next(iter(means.values()))), "x")


def in_folds(
    activations: Activations, of_image: Tensor, whole: Callable[[Activations], DNA], part: Callable[[Activations], DNA]
) -> DNA:
    """DNA of activations with a DNA of each fold beside it."""
    folds = [{layer: x[of_image == k] for layer, x in activations.items()} for k in of_image.unique().tolist()]
    return replace(whole(activations), folds=tuple(map(part, folds)))


def check_dna(dna: DNA, slow: DNA) -> None:
    """Check that a DNA and its folds that hold images are those that were counted slowly."""
    assert (dna.kind, dna.num_images, dna.neurons) == (slow.kind, slow.num_images, slow.neurons)
    if isinstance(slow, HistogramDNA):
        # self-ranging folds are on the grid of the whole, which is coarser than their own may be
        assert torch.equal(*(each.counts for each in in_same_bins(dna, slow)))
    elif isinstance(slow, GaussianDNA):
        torch.testing.assert_close((dna.mean, dna.var), (slow.mean, slow.var), rtol=1e-9, atol=1e-15)
    else:
        torch.testing.assert_close((dna.mean, dna.cov), (slow.mean, slow.cov), rtol=1e-9, atol=1e-15)
    folds = [fold for fold in dna.folds if fold.num_images]
    assert len(folds) == len(slow.folds)
    for fold, of_slow in zip(folds, slow.folds, strict=True):
        check_dna(fold, of_slow)


def check_evidence(evidence: Evidence, slow: Evidence) -> None:
    """Check that evidence is that from DNAs that were counted slowly, to what the digits of their sums allow."""
    figures: list[list[float]] = []
    for each in (evidence, slow):
        intervals = [astuple(interval) for interval in (each.interval, *each.layer_intervals) if interval is not None]
        test = each.test
        tested = [test.p_value, *test.layers.tolist(), *test.neurons.tolist(), *test.q.tolist()]
        rest = each.null, each.null_high, each.least_p_value, -1 if each.chance is None else each.chance
        figures.append([*sum(intervals, ()), *each.layers.tolist(), *each.neurons.tolist(), *tested, *rest])
    assert figures[0] == pytest.approx(figures[1], rel=1e-6, abs=1e-9, nan_ok=True)


def realism(images: Activations, references: Sequence[Activations], ends: Sequence, num_bins: int) -> np.ndarray:
    """Distance of each image to each reference, of each neuron, ``(references, images, N)``.

    Without ``ends`` it is in equal bins between the bounds of the first reference, to which the histograms of all
    references are moved.
    """
    result = []
    for n, values in enumerate(of_neurons(images)):
        sets = [of_neurons(reference)[n] for reference in references]
        if ends is not None:
            of_images, of_sets = ([counted(x, *bounds(*ends[n]), num_bins) for x in xs] for xs in (values, sets))
        else:
            within = own_bounds(sets[0].min(), sets[0].max())
            of_images = [counted_inside(x, *within, num_bins) for x in values]
            of_sets = [moved(x, *within, num_bins) for x in sets]
        result.append([[emd(image, reference) for image in of_images] for reference in of_sets])
    return np.array(result).transpose(1, 2, 0)


def counted_inside(values: np.ndarray, low: float, high: float, num_bins: int) -> np.ndarray:
    """Histogram between bounds, without the margin of the official code."""
    z = (values - (low + high) / 2) / ((high - low) / 2)
    numbers = np.floor((z + 1) * num_bins / 2).clip(0, num_bins - 1).astype(int)
    return np.bincount(numbers.ravel(), minlength=num_bins)


def moved(values: np.ndarray, low: float, high: float, num_bins: int) -> np.ndarray:
    """Share of values in equal bins between bounds, evenly spread in each of the bins of a self-ranging histogram."""
    values = values.ravel().astype(np.float64)
    edges = dyadic_edges(values.min(), values.max(), num_bins)
    up_to = np.append(0, counted_between(values, edges).cumsum()) / values.size
    inner = np.linspace(low, high, num_bins + 1)[1:-1]
    shares = np.interp(inner, edges.clip(values.min(), values.max()), up_to)
    # values that are equal are above a position at which they lie
    shares = np.where(inner <= values.min(), 0, shares)
    return np.diff(np.concatenate([[0], shares, [1]]))


def outliers(
    images: Activations, reference: Activations, properties: tuple[Tensor, Tensor] | None = None
) -> np.ndarray:
    """Outlier score of each image; ``properties`` are those of the reference and of the images."""
    means = tuple(
        [of_layer.double().reshape(len(of_layer), of_layer.shape[1], -1).mean(2).numpy() for of_layer in side.values()]
        for side in (reference, images)
    )
    of_pixels = None if properties is None else tuple(side.double().numpy() for side in properties)
    return outlier_scores(means, of_pixels)[0]
