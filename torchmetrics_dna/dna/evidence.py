"""Evidence for a distance: its value corrected for sampling noise, an interval, and a permutation test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import comb, isnan, nan, sqrt
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from torchmetrics_dna.dna.averaging import Averaging
from torchmetrics_dna.files.visible import number, p_figure, percent
from torchmetrics_dna.functional.permutation import (
    LEAST_FOLDS,
    NUM_RELABELINGS,
    UNEQUAL,
    PermutationTest,
    exchanges_of_pairs,
    layer_shifts,
    permutation_test,
    relabelings,
    relabelings_of_size,
)
from torchmetrics_dna.functional.reduction import mean_over_neurons
from torchmetrics_dna.functional.student import fieller, student_quantile, student_tail

if TYPE_CHECKING:
    from torchmetrics_dna.dna.folded import FoldedSides, Noise

# Pseudo-values of folds, and the number of all images divided by that of each fold.
Pseudo = tuple[Tensor, Tensor]
# Pseudo-values of A and of B. None for a side that is taken as exact; pairs are those of A.
PseudoValues = tuple[Pseudo | None, Pseudo | None]

# Number of distinct relabelings of the larger of two unequal sides that a test needs.
_LEAST_RELABELINGS = 100
# Number of ways to halve a side, over which the mean is taken.
_HALVES = 40
# P-value from which on single neurons add nothing to the debiased distance.
_DOUBTED = 0.2


@dataclass(frozen=True)
class Interval:
    """Confidence interval of a distance between two populations.

    Attributes:
        value: Distance corrected for sampling noise: an estimate for the populations.
        low: Lower end, in the unit of the distance; 0 or more.
        high: Upper end.
        confidence: Nominal coverage of the distance between the two populations.
        num_folds: Number of folds of images it is from.
        excludes_zero: True if the test at this level finds a difference, so that an end at 0 does not belong to the
            interval.

    """

    value: float
    low: float
    high: float
    confidence: float
    num_folds: int
    excludes_zero: bool = False

    @property
    def ends(self) -> str:
        """Both ends as text: "0.5 to 2", or "above 0 to 2" if 0 does not belong to the interval."""
        return self._ends(4)

    @property
    def in_words(self) -> str:
        """Level and ends for running text: "95% CI [0.5, 2]", or "95% CI (0, 2]" if 0 does not belong to it."""
        bracket = "(" if self.excludes_zero and self.low == 0 else "["
        return f"{self.ci} {bracket}{number(self.low, 3)}, {number(self.high, 3)}]"

    @property
    def ci(self) -> str:
        """Name of the interval with its confidence: "95% CI"."""
        return f"{100 * self.confidence:.3g}% CI"

    @property
    def level(self) -> str:
        """The confidence in per cent."""
        return percent(self.confidence)

    def _ends(self, digits: int) -> str:
        low = "above 0" if self.excludes_zero and self.low == 0 else number(self.low, digits)
        return f"{low} to {number(self.high, digits)}"


@dataclass(frozen=True, eq=False)
class Jackknife:
    """Delete-one-fold jackknife of a distance, on the scale where the bias is additive: its ``power``."""

    left: float  # debiased distance; negative if smaller than its noise
    variance: float  # variance of ``left``; NaN where noise can't be taken off
    freedom: float  # degrees of freedom of the variance
    sides: PseudoValues


@dataclass(frozen=True, eq=False)
class Further:
    """Test that a set is further from A than another one, by exchanges of the folds of both.

    Attributes:
        p_value: Of the mean distance.
        test: Of the layer or neuron in which it is further most clearly.

    """

    p_value: float
    test: PermutationTest


@dataclass(frozen=True, eq=False)
class Evidence:
    """Evidence for a distance between two sets.

    Attributes:
        interval: Confidence interval around the debiased distance; None for fd of too few images, and where noise can't
            be taken off, as for weights below 0.
        layers: Debiased distance of each layer, shape ``(layers,)``; 0 where nothing is left, NaN for fd of a layer
            with too many neurons for these images, and where noise can't be taken off.
        layer_intervals: Confidence interval of each layer around its debiased distance; None for NaN.
        neurons: Debiased distance of each neuron, shape ``(N,)``; of each layer for fd.
        test: Permutation test of the folds; None where a side has no folds, or images in fewer than 5, where one side
            is so much larger that its folds can't be exchanged.
        null: Expected distance of equal populations at these numbers of images: its mean over relabelings; None without
            a test.
        null_high: 95 % quantile over relabelings; None without a test.
        chance: Expected distance of two sets of these numbers of images that are both like A, from halves of the folds
            of A; None if these are too few, and for fd without a test.
        least_p_value: Smallest p-value that the test can give; None without a test.
        jackknife: Jackknife of the distance; ``left`` is negative below noise, so that means over draws are unbiased.
        centre: Debiased distance on the scale of ``power``, negative if smaller than its noise; the order of sets.
        upper: Estimate on the same scale that the upper end of the interval is from: of pairs the jackknife's if it is
            larger, else ``centre``.
        power: Power of the distance on which noise is additive.
        null_above: How far the 95 % quantile over relabelings is above their mean, on the same scale; None without a
            test.
        further: Test that B is further from A than held-out images are; None where that was not asked.

    """

    interval: Interval | None
    layers: Tensor
    layer_intervals: tuple[Interval | None, ...]
    neurons: Tensor
    test: PermutationTest | None
    null: float | None
    null_high: float | None
    chance: float | None
    least_p_value: float | None
    jackknife: Jackknife
    centre: float
    upper: float
    power: int
    null_above: float | None = None
    further: Further | None = None

    @property
    def debiased(self) -> float | None:
        """Distance corrected for sampling noise; 0 where nothing is left, None without an interval."""
        return None if self.interval is None else self.interval.value

    def __repr__(self) -> str:
        parts = [] if self.interval is None else [f"debiased {number(self.debiased)} ({self.interval.in_words})"]
        parts += [] if self.null is None else [f"null mean {number(self.null)}"]
        parts += [] if self.test is None else [p_figure(self.test.p_value, "p")]
        return f"Evidence({', '.join(parts)})"

    @property
    def is_below_noise(self) -> bool:
        """True if the distance is surely below that of equal sets of independent images (p < 0.001)."""
        variance = self.jackknife.variance
        if self.centre >= 0 or isnan(variance):
            return False
        return not variance or student_tail(-self.centre / variance**0.5, self.jackknife.freedom) < 0.001


def weigh_evidence(
    values: Tensor,
    folded: FoldedSides,
    power: int,
    averaging: Averaging,
    confidence: float,
) -> Evidence | None:
    """Compute the evidence for a distance from folds; None if no side has folds, or one has too few with images.

    Distances of finite sets are biased upwards. If the bias of the distance (``power`` 1) or of its square (2) is
    proportional to 1/images, the delete-group jackknife for folds of unequal size (Busing et al., 1999) estimates it,
    and the variance. For squares, the relabelings of a test estimate the bias with less variance. A side without folds
    is taken as exact, and can't be tested.

    Args:
        values: Distance of each neuron, shape ``(N,)``; of each layer for fd.
        folded: Both sides in folds.
        power: Power of the distance to which noise adds; see :class:`~torchmetrics_dna.dna.distances.Distance`.
        averaging: How the values become one number.
        confidence: Level of the interval.

    """
    sides = [folded.sizes_a, folded.sizes_b]
    counts = [len(sizes) for sizes, exact in zip(sides, folded.exact, strict=True) if not exact]
    if not counts or min(counts) < LEAST_FOLDS:
        return None
    figures = _Figures.of(values, folded, power, averaging)
    test = null = null_high = null_above = least_p_value = None
    testable = len(counts) == 2 and folded.num_relabelings != 0
    in_a = _relabelings(folded, folded.num_relabelings or NUM_RELABELINGS) if testable else None
    if in_a is not None:
        relabeled = Relabeled.of(folded, in_a)
        test = test_relabeled(folded, relabeled, power, averaging.weights)
        means = mean_over_neurons(averaging.terms(relabeled.distances))
        if folded.paired and not values.any():
            # The distances of identical pairs are rounding.
            means = torch.zeros_like(means)
        null = float(means[1:].mean())
        null_high = float(means[1:].quantile(0.95))
        powers = means.pow(power) / relabeled.noise.to(means)
        null_above = float(powers.quantile(0.95) - powers.mean())
        # A relabeling that exchanges the sides as a whole has the same distance.
        num_equal = (in_a == in_a[0]).all(1).sum() + (in_a != in_a[0]).all(1).sum()
        least_p_value = float(num_equal) / len(in_a)
        if power == 2:
            figures = _without_noise(values, figures, folded, relabeled, test)
    p_values = [None] * (1 + len(folded.slices)) if test is None else [test.p_value, *test.layers.tolist()]
    num_folds = max(map(len, sides))
    interval, *of_layers = (_interval(figures, i, power, confidence, num_folds, p) for i, p in enumerate(p_values))
    debiased = _root(figures.centre, power)
    layers = debiased[1 : 1 + len(folded.slices)]
    single = debiased[1 + len(folded.slices) :]
    return Evidence(
        interval, layers, tuple(of_layers), single, test, null, null_high, _by_chance(folded, power, averaging),
        least_p_value, figures.jackknife(0), float(figures.centre[0]), float(figures.upper[0]), power, null_above,
    )  # fmt: skip


def check_confidence(confidence: float) -> None:
    """Raise ValueError unless the confidence is between 0 and 1."""
    if not 0 < confidence < 1:
        raise ValueError(f"Argument `confidence` expected to be between 0 and 1, but got {confidence}")


def paired_p_value(near: Evidence, far: Evidence) -> float | None:
    """Test if two sets are equally far from the same A: a two-sided t-test by the delete-group jackknife.

    Both distances share the sampling noise of A, and that of pairs in all; the test is paired, so that it cancels.

    Args:
        near: Evidence for the distance of A and one set.
        far: Evidence for the distance of the same A, in the same folds, and another set.

    Returns:
        The p-value; None where the noise of a distance is unknown.

    """
    first, second = near.jackknife, far.jackknife
    a, b = first.sides[0], second.sides[0]
    if (a is None) != (b is None) or isnan(first.variance + second.variance):
        return None
    parts = [side for side in (first.sides[1], second.sides[1]) if side is not None]
    if a is not None and b is not None:
        if not torch.equal(a[1], b[1]):
            return None
        parts.append((a[0] - b[0], a[1]))
    variance, freedom = variance_of(parts)
    if not variance:
        return float(first.left == second.left)
    return min(1.0, 2 * student_tail(abs(first.left - second.left) / variance**0.5, freedom))


@dataclass(frozen=True)
class Ratio:
    """Ratio of two distances from one reference, both without sampling noise.

    Attributes:
        value: The ratio; None where the denominator can't be told from 0.
        low: Lower end of its confidence interval; 0 where the numerator can't be told from 0.
        high: Upper end; None where the denominator can't be told from 0, so that there is none.
        confidence: Nominal coverage.

    """

    value: float | None
    low: float
    high: float | None
    confidence: float

    def __str__(self) -> str:
        """Return a cell of a table: "3.1 (2.6 to 3.8)", or "at least 2.3"."""
        return f"{self.in_words} ({self._both})" if self._both else self.in_words

    @property
    def is_told(self) -> bool:
        """True if it says anything: it has an upper end, or a lower end of 1 or more."""
        return self.high is not None or self.low >= 1

    @property
    def in_words(self) -> str:
        """The ratio before "times as far as": "3.1", or "at least 2.3"."""
        return f"at least {number(self.low, 2)}" if self.value is None else number(self.value, 2)

    @property
    def ends(self) -> str:
        """Interval or level in brackets: " (95% CI 2.6 to 3.8)", or the level of a ratio of "at least"."""
        level = f"{100 * self.confidence:.3g}%"
        return f" ({level} CI {self._both})" if self._both else f" (one-sided {level} confidence bound)"

    @property
    def level(self) -> str:
        """The confidence in per cent."""
        return percent(self.confidence)

    @property
    def _both(self) -> str:
        return "" if self.high is None else f"{number(self.low, 2)} to {number(self.high, 2)}"


def ratio_of(far: Evidence, near: Evidence, questions: int = 1) -> Ratio | None:
    """Divide a distance from a reference by that of another set, and find the interval of the ratio.

    The reference's noise is in both distances, and is taken as such: its folds are the same in both. The interval is
    Fieller's. Where the other set can't be told from the reference, only a lower end is known: one-sided, with the
    variance of the first distance that the lower end of its test gives (:func:`lower_end`).

    Args:
        far: Evidence for the distance of the reference and a set.
        near: Evidence for that of the same reference, in the same folds, and another set.
        questions: Number of ratios that are asked together. They share the error, so the confidence is that of all.

    Returns:
        The ratio; None if neither distance can be told from 0, or their noise is unknown.

    """
    if far.interval is None or near.interval is None or near.is_below_noise:
        return None
    first, second = far.jackknife, near.jackknife
    a, b = first.sides[0], second.sides[0]  # noise of the reference, if it has folds
    variances = first.variance, second.variance
    if (a is None) != (b is None) or isnan(sum(variances)):
        return None
    covariance = 0.0
    if a is not None and b is not None:
        if not torch.equal(a[1], b[1]):
            return None
        of_both, of_far, of_near = (variance_of([side])[0] for side in ((a[0] + b[0], a[1]), a, b))
        covariance = (of_both - of_far - of_near) / 2
    confidence = far.interval.confidence
    of_each = 1 - (1 - confidence) / questions
    freedom = min(first.freedom, second.freedom)
    low, high = fieller(far.centre, near.centre, variances, covariance, student_quantile((1 + of_each) / 2, freedom))
    if high is not None and _differs(near.interval):
        low = low ** (1 / far.power) if _differs(far.interval) else 0.0
        return Ratio(far.interval.value / near.interval.value, low, high ** (1 / far.power), confidence)
    quantile = student_quantile(of_each, freedom)
    least = lower_end(far, quantile)
    if not least:
        return None
    variances = ((far.centre - least) / quantile) ** 2, second.variance
    low, _ = fieller(far.centre, near.centre, variances, covariance, quantile)
    return Ratio(None, low ** (1 / far.power), None, confidence) if low > 0 else None


def lower_end(far: Evidence, quantile: float) -> float:
    """Return a one-sided lower end of a distance on the scale of its ``power``: above 0 if the test of the mean is.

    It is the least distance that a test does not reject, whose noise is between that of equal sets and that at the
    estimate; 0 if there is none. ``quantile`` is of the jackknife.
    """
    centre = far.centre
    at_centre = quantile * far.jackknife.variance**0.5
    at_zero = at_centre if far.null_above is None else far.null_above
    is_alike = far.test is not None and (far.interval is None or not far.interval.excludes_zero)
    if is_alike or centre <= at_zero:
        return 0.0
    slope: float = (max(at_zero, at_centre) ** 2 - at_zero**2) / centre
    return centre + slope / 2 - sqrt(slope**2 / 4 + at_zero**2 + slope * centre)


def is_further(folded: FoldedSides, num_folds: int, power: int, averaging: Averaging) -> Further | None:
    """Test if a set is farther from A than another one: folds of both are exchanged, A is as it is.

    Args:
        folded: A, and the folds of both sets as those of B.
        num_folds: Number of these folds that are of the first set.
        power: As for :func:`weigh_evidence`.
        averaging: As there.

    Returns:
        The test, by how much the first distance exceeds the second, means to this power; None if folds can't be
        exchanged.

    """
    sizes_first = folded.sizes_b[:num_folds]
    sizes_second = folded.sizes_b[num_folds:]
    in_first = _relabelings(replace(folded, sizes_a=sizes_first, sizes_b=sizes_second), NUM_RELABELINGS)
    if in_first is None:
        return None
    # Masks over the folds of A and of both sets. Those of A stay where they are in all relabelings.
    num_folds_a = len(folded.sizes_a)
    in_a = torch.arange(num_folds_a + in_first.shape[1]) < num_folds_a
    in_a = in_a.expand(len(in_first), -1)
    to_second = folded.distances(in_a, torch.nn.functional.pad(~in_first, (num_folds_a, 0)))
    to_first = folded.distances(in_a, torch.nn.functional.pad(in_first, (num_folds_a, 0)))
    mean_to_second = mean_over_neurons(averaging.terms(to_second)).pow(power)
    mean_to_first = mean_over_neurons(averaging.terms(to_first)).pow(power)
    excess = mean_to_first - mean_to_second
    # Values that differ by rounding are equal.
    rounding = 1e-9 * mean_to_first.amax()
    p_value = float((excess >= excess[0] - rounding).double().mean())
    test = permutation_test(to_first - to_second, folded.slices, averaging.weights, exact=False, shifts=None)
    return Further(p_value, test)


def _differs(interval: Interval) -> bool:
    return interval.excludes_zero or interval.low > 0


@dataclass(frozen=True, eq=False)
class _Figures:
    """Powers of the distance, on which noise is additive: of the whole, of each layer and of each neuron.

    All are NaN where noise adds on no scale, as for weights below 0.
    """

    averaging: Averaging
    left: Tensor  # debiased by the jackknife; negative if smaller than their noise
    centre: Tensor  # debiased by the relabelings of a test where these vary less
    upper: Tensor  # estimates from which the upper ends of intervals are computed
    sides: PseudoValues  # pseudo-values of the whole and of layers, shape ``(K, 1 + layers)``

    @classmethod
    def of(cls, values: Tensor, folded: FoldedSides, power: int, averaging: Averaging) -> _Figures:
        if averaging.why_noisy:
            averaging = Averaging(torch.full_like(values, nan))
        if folded.noise is None:
            bias, sides = _delete_one(folded, power, averaging)
        else:
            bias, sides = _known_noise(folded, folded.noise(), averaging)
        left = _figures_of(values[None], folded.slices, averaging)[0].pow(power) - bias
        return cls(averaging, left, left, left, sides)

    def jackknife(self, figure: int) -> Jackknife:
        """Return the jackknife of one figure."""
        a, b = (None if side is None else (side[0][:, figure], side[1]) for side in self.sides)
        return Jackknife(float(self.left[figure]), *variance_of([side for side in (a, b) if side is not None]), (a, b))


def _delete_one(folded: FoldedSides, power: int, averaging: Averaging) -> tuple[Tensor, PseudoValues]:
    """Compute the bias of all figures, and pseudo-values of the whole and the layers; on the scale of ``power``."""
    sides = [folded.sizes_a, folded.sizes_b]
    total = sum(map(len, sides))
    first = torch.arange(total) < len(sides[0])
    out = torch.eye(total, dtype=torch.bool)
    if folded.paired:  # a fold is left out of both sides at once, so that what its pairs share cancels
        out = torch.eye(len(sides[0]), dtype=torch.bool).repeat(1, 2)
        sides = sides[:1]
    rows = torch.cat([first[None], first & ~out]), torch.cat([~first[None], ~first & ~out])
    value, *left = _figures_of(folded.distances(*rows), folded.slices, averaging).pow(power)
    bias = torch.zeros_like(value)
    pseudo_values: list[Pseudo | None] = []
    for k, sizes in enumerate(sides):
        if len(sizes) == 1:
            pseudo_values.append(None)  # taken as exact
            continue
        rest = torch.stack(left[k * len(sides[0]) :][: len(sizes)])
        times = (sizes.double().sum() / sizes).to(rest)
        pseudo = times[:, None] * value - (times[:, None] - 1) * rest
        bias += value - (pseudo / times[:, None]).sum(0)
        pseudo_values.append((pseudo[:, : 1 + len(folded.slices)], times))
    return bias, (pseudo_values[0], None if folded.paired else pseudo_values[1])


def _known_noise(folded: FoldedSides, noise: Noise, averaging: Averaging) -> tuple[Tensor, PseudoValues]:
    """Return the bias of all figures, and influences in the place of pseudo-values, whose variance is the same."""

    def figures(influence: Pseudo | None) -> Pseudo | None:
        if influence is None:
            return None
        return _figures_of(influence[0], folded.slices, averaging)[:, : 1 + len(folded.slices)], influence[1]

    a, b = map(figures, noise.influences)
    if folded.paired and a is not None and b is not None:  # units of both sides hold the same pairs
        a = (a[0] + b[0], a[1])
        b = None
    return _figures_of(noise.bias[None], folded.slices, averaging)[0], (a, b)


def variance_of(sides: Sequence[Pseudo]) -> tuple[float, float]:
    """Return the variance of a sum of means of pseudo-values, and its degrees of freedom (Welch-Satterthwaite)."""
    parts = []
    for pseudo, times in sides:
        mean = (pseudo / times).sum()
        parts.append((((pseudo - mean).square() / (times - 1)).mean().item(), len(times)))
    variance = sum(part for part, _ in parts)
    spread = sum(part**2 / (folds - 1) for part, folds in parts)
    return variance, variance**2 / spread if spread else float("inf")


def _figures_of(distances: Tensor, slices: Sequence[slice], averaging: Averaging) -> Tensor:
    """Return the figures of the whole, of each layer and of each neuron, ``(P, 1 + layers + N)``."""
    terms = averaging.terms(distances)
    layers = [mean_over_neurons(terms[:, rows])[:, None] for rows in slices]
    return torch.cat([mean_over_neurons(terms)[:, None], *layers, terms], 1)


def _root(figures: Tensor, power: int) -> Tensor:
    """Invert ``power``; negative figures become 0."""
    inverted: Tensor = figures.clamp(min=0).pow(1 / power)
    return inverted


def _relabelings(folded: FoldedSides, most: int) -> Tensor | None:
    """Draw relabelings of folds, balanced if sides have about the same size; None if there are too few."""
    sizes_a, sizes_b = folded.sizes_a, folded.sizes_b
    if folded.paired:
        return exchanges_of_pairs(len(sizes_a), most)
    few, many = sorted((int(sizes_a.sum()), int(sizes_b.sum())))
    if many <= UNEQUAL * few:
        return relabelings(len(sizes_a), len(sizes_b), most)
    a_is_smaller = sizes_a.sum() <= sizes_b.sum()
    smaller, larger = (sizes_a, sizes_b) if a_is_smaller else (sizes_b, sizes_a)
    in_smaller = relabelings_of_size(smaller, larger, most)
    # relabelings that exchange the same large folds are nearly the same
    if len(torch.unique(in_smaller[:, len(smaller) :], dim=0)) < _LEAST_RELABELINGS:
        return None
    return in_smaller if a_is_smaller else ~in_smaller.roll(len(sizes_a), 1)


@dataclass(frozen=True, eq=False)
class Relabeled:
    """Distances under relabelings of the folds."""

    in_a: Tensor  # mask of the folds in A, (P, K); the first row is observed
    distances: Tensor  # distance of each neuron, (P, N)
    noise: Tensor  # its variance over that of the observed sides, which differ in their numbers of images, (P,)
    overlap: float  # share of the observed difference, squared, that relabeled sides keep; a mean over relabelings

    @classmethod
    def of(cls, folded: FoldedSides, in_a: Tensor) -> Relabeled:
        """Compute them of these masks."""
        sizes = torch.cat([folded.sizes_a, folded.sizes_b]).double()
        in_a_double = in_a.double()
        observed = in_a[0].double() * sizes
        images_a = in_a_double @ sizes
        images_b = sizes.sum() - images_a
        from_a = in_a_double @ observed
        overlap = (from_a / images_a - (observed.sum() - from_a) / images_b).square().mean()
        products = images_a * images_b
        return cls(in_a, folded.distances(in_a, ~in_a), products[0] / products, float(overlap))

    def null(self, figures: Tensor) -> Tensor:
        """Return what noise adds to the squares of figures, ``(P, F)``; shape ``(F,)``.

        Relabeled sides still differ by a share of the observed difference, which is taken out.
        """
        squares = figures.square() / self.noise.to(figures)[:, None]
        return (squares.mean(0) - self.overlap * squares[0]).clamp(min=0) / (1 - self.overlap)


def _by_chance(folded: FoldedSides, power: int, averaging: Averaging) -> float | None:
    """Return the mean distance of halves of A, brought to the numbers of images of the sides."""
    num_folds = len(folded.sizes_a)
    images_a = float(folded.sizes_a.sum())
    images_b = float(folded.sizes_b.sum())
    untested = folded.num_relabelings == 0 or folded.paired or folded.exact[0]
    if untested or num_folds < 2 * LEAST_FOLDS or not images_b:
        return None
    half = relabelings(num_folds // 2, num_folds - num_folds // 2, _HALVES)
    of_halves = mean_over_neurons(averaging.terms(folded.between_folds_of_a(half, ~half)))
    images = (half.double() @ folded.sizes_a.double()).to(of_halves)
    noise = (1 / images_a + 1 / images_b) / (1 / images + 1 / (images_a - images))
    return float((of_halves * noise.pow(1 / power)).mean())


def test_relabeled(folded: FoldedSides, relabeled: Relabeled, power: int, weights: Tensor | None) -> PermutationTest:
    """Test the folds that the first row has in A against all others, beside those of the other rows."""
    distances = relabeled.distances
    in_a = relabeled.in_a
    noise = relabeled.noise.to(distances)[:, None]
    num_folds = len(folded.sizes_a)
    ways = 2**num_folds if folded.paired else comb(in_a.shape[1], num_folds)
    shifts = None
    if folded.shifts is not None:
        # The noise of a difference of means is the root of 1/images, whatever the power.
        signed = folded.shifts(in_a, ~in_a) / noise.sqrt()
        shifts = layer_shifts(signed, folded.shift_slices, weights if signed.shape == distances.shape else None)
    return permutation_test(distances / noise.pow(1 / power), folded.slices, weights, len(in_a) == ways, shifts)


def _without_noise(
    values: Tensor, figures: _Figures, folded: FoldedSides, relabeled: Relabeled, test: PermutationTest
) -> _Figures:
    """Return squares of the whole, of each layer and of each neuron that relabelings debias.

    What relabelings give on average is subtracted. If the difference is in few neurons, the noise of all others hides
    it from the whole, so nothing may be left of what the test finds. The mean of the neurons' own debiased distances
    has no such gap, but is too large where nothing differs; so it counts as far as the test finds a difference. Neurons
    of pairs are debiased by the jackknife: their difference is above its noise, which then adds less than where nothing
    differs.
    """
    observed, under = map(figures.averaging.terms, (values, relabeled.distances))
    columns = [slice(None), *folded.slices]
    neurons = figures.left[len(columns) :] if folded.paired else observed.square() - relabeled.null(under).to(observed)
    means = torch.stack([mean_over_neurons(under[:, rows]) for rows in columns], 1)
    null = relabeled.null(means).to(observed)
    remaining = torch.stack([mean_over_neurons(observed[rows]) for rows in columns]).square() - null
    single = torch.stack([mean_over_neurons(_root(neurons[rows], 2)) for rows in columns])
    belief = (1 - torch.tensor([test.p_value, *test.layers.tolist()]).to(single) / _DOUBTED).clamp(min=0)
    believed = torch.where(belief > 0, (belief * single).square(), -torch.inf)
    debiased = torch.cat([torch.maximum(remaining, believed), neurons])
    centre = torch.where(figures.left.isnan(), torch.nan, debiased)
    # For pairs, relabelings subtract too much and the jackknife too little, so the interval spans both.
    upper = torch.maximum(centre, figures.left) if folded.paired else centre
    return replace(figures, centre=centre, upper=upper)


def _interval(
    figures: _Figures, figure: int, power: int, confidence: float, num_folds: int, p_value: float | None
) -> Interval | None:
    """Return the interval around a debiased figure; None where the variance is unknown.

    It holds 0 if and only if the test at the same level finds no difference.
    """
    jackknife = figures.jackknife(figure)
    if isnan(jackknife.variance):
        return None
    spread = student_quantile((1 + confidence) / 2, jackknife.freedom) * jackknife.variance**0.5
    centre = figures.centre[figure]
    upper = figures.upper[figure]
    value, low, high = _root(torch.stack([centre, centre - spread, upper + spread]).double(), power).tolist()
    differs = p_value is not None and p_value <= 1 - confidence
    return Interval(value, low if differs or p_value is None else 0.0, high, confidence, num_folds, differs)
