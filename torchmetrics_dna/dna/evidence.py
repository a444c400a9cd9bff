"""Evidence for a distance: its value corrected for sampling noise, an interval, and a permutation test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import comb, isnan, nan, sqrt
from typing import TYPE_CHECKING, NamedTuple

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
from torchmetrics_dna.options import argument

if TYPE_CHECKING:
    from torchmetrics_dna.dna.folded import FoldedSides, Noise

# Pseudo-values of a side, with a row for each fold, and the number of all images divided by that of each fold.
PseudoValues = tuple[Tensor, Tensor]
# Pseudo-values of A and of B; None for a set that is taken as exact. If the sets are pairs, A has those of the pairs.
PseudoValuesOfSets = tuple[PseudoValues | None, PseudoValues | None]

# Number of distinct relabelings of the larger of two unequal sets that a test needs.
_LEAST_RELABELINGS = 100
# Number of ways to halve a set, over which the mean is taken.
_HALVES = 40
# P-value from which on single neurons add nothing to the debiased distance.
_LARGEST_P_OF_NEURONS = 0.2


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
        """Both ends as text: "[0.5, 2]", or "(0, 2]" if 0 does not belong to the interval."""
        bracket = "(" if self.excludes_zero and self.low == 0 else "["
        return f"{bracket}{number(self.low)}, {number(self.high)}]"

    @property
    def in_words(self) -> str:
        """Level and ends for running text: "95% CI [0.5, 2]", or "95% CI (0, 2]" if 0 does not belong to it."""
        return f"{self.ci} {self.ends}"

    @property
    def ci(self) -> str:
        """Name of the interval with its confidence: "95% CI"."""
        return f"{percent(self.confidence)} CI"

    @property
    def level(self) -> str:
        """The confidence in per cent."""
        return percent(self.confidence)


@dataclass(frozen=True, eq=False)
class Jackknife:
    """Delete-one-fold jackknife of a distance, on the scale where the bias is additive: its ``power``.

    Attributes:
        left: Debiased distance; negative if the distance is smaller than its noise.
        variance: Variance of ``left``; NaN if the noise is unknown.
        freedom: Degrees of freedom of the variance.
        sides: Pseudo-values of the distance for each set.

    """

    left: float
    variance: float
    freedom: float
    sides: PseudoValuesOfSets


@dataclass(frozen=True, eq=False)
class FartherTest:
    """Test that a set is farther from A than another set, by exchanges of the folds of both.

    Attributes:
        p_value: P-value of the test of the mean distance.
        test: Test of the layer or neuron in which the set is farther most clearly.

    """

    p_value: float
    test: PermutationTest


@dataclass(frozen=True, eq=False)
class Evidence:
    """Evidence for a distance between two sets.

    Attributes:
        interval: Confidence interval around the debiased distance; None for fd of too few images, and if the distance
            can't be debiased, such as for weights below 0.
        layers: Debiased distance of each layer, shape ``(layers,)``; 0 where nothing is left, NaN for fd of a layer
            with too many neurons for these images, and if the distance can't be debiased.
        layer_intervals: Confidence interval of each layer around its debiased distance; None for NaN.
        neurons: Debiased distance of each neuron, shape ``(N,)``; of each layer for fd.
        test: Permutation test of the folds; None if a set has no folds, or has images in fewer than 5, or is so much
            larger than the other that its folds can't be exchanged.
        null: Expected distance of equal populations at these numbers of images: its mean over relabelings; None without
            a test.
        null_high: 95 % quantile over relabelings; None without a test.
        chance: Expected distance of two sets of these numbers of images that are both like A, from halves of the folds
            of A; None if these are too few, and for fd without a test.
        least_p_value: Smallest p-value that the test can give; None without a test.
        jackknife: Jackknife of the distance; ``left`` is negative below noise, so that means over draws are unbiased.
        centre: Debiased distance on the scale of ``power``, negative if smaller than its noise; the order of sets.
        upper: Estimate on the same scale from which the upper end of the interval is computed: for pairs that of the
            jackknife if it is larger, else ``centre``.
        power: Power of the distance on which noise is additive.
        null_above: How far the 95 % quantile over relabelings is above their mean, on the same scale; None without a
            test.
        farther: Test that B is farther from A than held-out images are; None if there are no held-out images.

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
    farther: FartherTest | None = None

    @property
    def debiased(self) -> float | None:
        """Distance corrected for sampling noise; 0 where nothing is left, None without an interval."""
        return None if self.interval is None else self.interval.value

    def __repr__(self) -> str:
        parts = []
        if self.interval is not None:
            parts.append(f"debiased {number(self.debiased)} ({self.interval.in_words})")
        if self.null is not None:
            parts.append(f"null mean {number(self.null)}")
        if self.test is not None:
            parts.append(p_figure(self.test.p_value, "p"))
        return f"Evidence({', '.join(parts)})"

    @property
    def is_below_noise(self) -> bool:
        """True if the distance is significantly below that of equal sets of independent images (p < 0.001)."""
        variance = self.jackknife.variance
        if self.centre >= 0 or isnan(variance):
            return False
        if variance == 0:
            return True
        deviations_below = -self.centre / variance**0.5
        return student_tail(deviations_below, self.jackknife.freedom) < 0.001


def weigh_evidence(
    values: Tensor,
    folded: FoldedSides,
    power: int,
    averaging: Averaging,
    confidence: float,
) -> Evidence | None:
    """Compute the evidence for a distance from folds; None if no set has folds, or one has too few with images.

    Distances of finite sets are biased upwards. If the bias of the distance (``power`` 1) or of its square (2) is
    proportional to 1/images, the delete-group jackknife for folds of unequal size (Busing et al., 1999) estimates it,
    and the variance. For squares, the relabelings of a test estimate the bias with less variance. A set without folds
    is taken as exact, and can't be tested.

    Args:
        values: Distance of each neuron, shape ``(N,)``; of each layer for fd.
        folded: Both sets in folds.
        power: Power of the distance to which noise adds; see :class:`~torchmetrics_dna.dna.distances.Distance`.
        averaging: How the values become one number.
        confidence: Level of the interval.

    """
    num_folds_a = len(folded.sizes_a)
    num_folds_b = len(folded.sizes_b)
    exact_a, exact_b = folded.exact
    # A set that is taken as exact needs no folds, but one of the sets must have some.
    if exact_a and exact_b:
        return None
    if (not exact_a and num_folds_a < LEAST_FOLDS) or (not exact_b and num_folds_b < LEAST_FOLDS):
        return None
    figures = _Figures.of(values, folded, power, averaging)
    relabeled = None if exact_a or exact_b else _relabeled(folded)
    test = None
    null = _Null()
    p_values: list[float | None] = [None] * (1 + len(folded.slices))
    if relabeled is not None:
        test = test_relabeled(folded, relabeled, power, averaging.weights)
        null = _null_of(values, folded, relabeled, power, averaging)
        p_values = [test.p_value, *test.layers.tolist()]
        if power == 2:
            figures = _debiased_by_relabelings(values, figures, folded, relabeled, test)
    intervals = []
    for index, p_value in enumerate(p_values):
        intervals.append(_interval(figures, index, power, confidence, max(num_folds_a, num_folds_b), p_value))
    debiased = _root(figures.centre, power)
    num_layers = len(folded.slices)
    return Evidence(
        interval=intervals[0],
        layers=debiased[1 : 1 + num_layers],
        layer_intervals=tuple(intervals[1:]),
        neurons=debiased[1 + num_layers :],
        test=test,
        null=null.mean,
        null_high=null.high,
        chance=_null_mean_of_halves(folded, power, averaging),
        least_p_value=null.least_p_value,
        jackknife=figures.jackknife(0),
        centre=float(figures.centre[0]),
        upper=float(figures.upper[0]),
        power=power,
        null_above=null.above,
    )


class _Null(NamedTuple):
    """Distances of samples of the same distribution, as relabelings give them; None without a test.

    Attributes:
        mean: Mean distance.
        high: 95 % quantile of the distance.
        above: How far the 95 % quantile is above the mean, on the scale of the ``power``.
        least_p_value: Smallest p-value that the test can give.

    """

    mean: float | None = None
    high: float | None = None
    above: float | None = None
    least_p_value: float | None = None


def _null_of(values: Tensor, folded: FoldedSides, relabeled: Relabeled, power: int, averaging: Averaging) -> _Null:
    """Return the distances of relabeled sets."""
    means = mean_over_neurons(averaging.terms(relabeled.distances))
    if folded.paired and not values.any():
        # The distances of identical pairs are rounding.
        means = torch.zeros_like(means)
    powers = means.pow(power) / relabeled.noise.to(means)
    in_a = relabeled.in_a
    # A relabeling that exchanges the sets as a whole has the same distance as the observed sets.
    num_unchanged = (in_a == in_a[0]).all(1).sum()
    num_exchanged = (in_a != in_a[0]).all(1).sum()
    return _Null(
        mean=float(means[1:].mean()),
        high=float(means[1:].quantile(0.95)),
        above=float(powers.quantile(0.95) - powers.mean()),
        least_p_value=float(num_unchanged + num_exchanged) / len(in_a),
    )


def check_confidence(confidence: float) -> None:
    """Raise ValueError unless the confidence is between 0 and 1."""
    if not 0 < confidence < 1:
        raise ValueError(f"{argument('confidence')} expected to be between 0 and 1, but got {confidence}")


def paired_p_value(near: Evidence, far: Evidence) -> float | None:
    """Test if two sets are equally far from the same A: a two-sided t-test by the delete-group jackknife.

    Both distances share the sampling noise of A, or all noise if the sets are pairs. The test is paired, so that the
    shared noise cancels.

    Args:
        near: Evidence for the distance of A and one set.
        far: Evidence for the distance of the same A, in the same folds, and another set.

    Returns:
        The p-value; None if the noise of a distance is unknown, or A has other folds in the two distances.

    """
    first = near.jackknife
    second = far.jackknife
    if isnan(first.variance) or isnan(second.variance) or not _share_folds(first, second):
        return None
    first_a, first_b = first.sides
    second_a, second_b = second.sides
    parts = [side for side in (first_b, second_b) if side is not None]
    if first_a is not None and second_a is not None:
        pseudo_values, ratios = first_a
        parts.append((pseudo_values - second_a[0], ratios))
    variance, freedom = variance_of(parts)
    difference = abs(first.left - second.left)
    if variance == 0:
        return float(difference == 0)
    return min(1.0, 2 * student_tail(difference / variance**0.5, freedom))


def _share_folds(first: Jackknife, second: Jackknife) -> bool:
    """Return True if A has the same folds in two distances, or none in both."""
    first_a = first.sides[0]
    second_a = second.sides[0]
    if first_a is None or second_a is None:
        return first_a is second_a
    return torch.equal(first_a[1], second_a[1])


@dataclass(frozen=True)
class Ratio:
    """Ratio of two distances from one reference, both without sampling noise.

    Attributes:
        value: The ratio; None if the denominator does not differ significantly from 0.
        low: Lower end of its confidence interval; 0 if the numerator does not differ significantly from 0.
        high: Upper end; None if the denominator does not differ significantly from 0.
        confidence: Nominal coverage.

    """

    value: float | None
    low: float
    high: float | None
    confidence: float

    def __str__(self) -> str:
        """Return a cell of a table: "3.1 [2.6, 3.8]", or "at least 2.3"."""
        if self.high is None:
            return self.in_words
        return f"{self.in_words} {self._interval}"

    @property
    def is_informative(self) -> bool:
        """True if the ratio has an upper end, or a lower end of 1 or more."""
        return self.high is not None or self.low >= 1

    @property
    def in_words(self) -> str:
        """The ratio before "times as far as": "3.1", or "at least 2.3"."""
        if self.value is None:
            return f"at least {number(self.low, 2)}"
        return number(self.value, 2)

    @property
    def ends(self) -> str:
        """Interval in brackets: " (95% CI [2.6, 3.8])", or " (one-sided 95% confidence bound)"."""
        if self.high is None:
            return f" (one-sided {self.level} confidence bound)"
        return f" ({self.level} CI {self._interval})"

    @property
    def level(self) -> str:
        """The confidence in per cent."""
        return percent(self.confidence)

    @property
    def _interval(self) -> str:
        """Both ends, of a ratio that has both."""
        return f"[{number(self.low, 2)}, {number(self.high, 2)}]"


def ratio_of(far: Evidence, near: Evidence, questions: int = 1) -> Ratio | None:
    """Divide a distance from a reference by that of another set, and find the interval of the ratio.

    Both distances contain the noise of the reference, whose folds are the same in both. The interval, which accounts
    for that, is Fieller's. If the other set does not differ significantly from the reference, only a lower end is
    known. It is one-sided, and is computed with the variance that follows from the lower end of the first distance
    (:func:`lower_end`).

    Args:
        far: Evidence for the distance of the reference and a set.
        near: Evidence for that of the same reference, in the same folds, and another set.
        questions: Number of ratios that are computed together. They share the error, so the confidence is that of all.

    Returns:
        The ratio; None if no distance differs significantly from 0, or their noise is unknown.

    """
    if far.interval is None or near.interval is None or near.is_below_noise:
        return None
    first = far.jackknife
    second = near.jackknife
    if isnan(first.variance) or isnan(second.variance) or not _share_folds(first, second):
        return None
    covariance = _covariance(first, second)
    confidence = far.interval.confidence
    confidence_of_each = 1 - (1 - confidence) / questions
    freedom = min(first.freedom, second.freedom)
    two_sided = student_quantile((1 + confidence_of_each) / 2, freedom)
    variances = (first.variance, second.variance)
    low, high = fieller(far.centre, near.centre, variances, covariance, two_sided)
    if high is not None and _differs(near.interval):
        value = far.interval.value / near.interval.value
        low = low ** (1 / far.power) if _differs(far.interval) else 0.0
        return Ratio(value, low, high ** (1 / far.power), confidence)
    one_sided = student_quantile(confidence_of_each, freedom)
    least = lower_end(far, one_sided)
    if least == 0:
        return None
    variance_of_far = ((far.centre - least) / one_sided) ** 2
    low, _ = fieller(far.centre, near.centre, (variance_of_far, second.variance), covariance, one_sided)
    if not low > 0:
        return None
    return Ratio(None, low ** (1 / far.power), None, confidence)


def _covariance(first: Jackknife, second: Jackknife) -> float:
    """Return the covariance of two distances from one reference, which its folds cause; 0 if it has none."""
    first_a = first.sides[0]
    second_a = second.sides[0]
    if first_a is None or second_a is None:
        return 0.0
    pseudo_values, ratios = first_a
    variance_of_sum, _ = variance_of([(pseudo_values + second_a[0], ratios)])
    variance_of_first, _ = variance_of([first_a])
    variance_of_second, _ = variance_of([second_a])
    return (variance_of_sum - variance_of_first - variance_of_second) / 2


def lower_end(far: Evidence, quantile: float) -> float:
    """Return a one-sided lower end of a distance, on the scale of its ``power``.

    It is the least distance that a test does not reject. The noise at this distance is taken as between that of equal
    sets and that at the estimate. The lower end is above 0 only if the test of the mean finds a difference.

    Args:
        far: Evidence for the distance.
        quantile: Quantile of Student's t, for the degrees of freedom of the jackknife.

    """
    centre = far.centre
    # The noise that a test allows for, at the estimate and at a distance of 0.
    noise_at_centre = quantile * far.jackknife.variance**0.5
    noise_at_zero = noise_at_centre if far.null_above is None else far.null_above
    if centre <= noise_at_zero:
        return 0.0
    if far.test is not None and (far.interval is None or not far.interval.excludes_zero):
        # The test finds no difference.
        return 0.0
    # The square of the noise is linear between the two. The lower end solves a quadratic equation.
    slope: float = (max(noise_at_zero, noise_at_centre) ** 2 - noise_at_zero**2) / centre
    return centre + slope / 2 - sqrt(slope**2 / 4 + noise_at_zero**2 + slope * centre)


def is_farther(folded: FoldedSides, num_folds: int, power: int, averaging: Averaging) -> FartherTest | None:
    """Test if a set is farther from A than another set, by exchanging the folds of both. A stays as it is.

    Null hypothesis: the folds of both sets come from one distribution.

    Args:
        folded: A, and the folds of both sets in the place of those of B.
        num_folds: Number of these folds that are of the first set.
        power: Power to which mean distances are compared, as for :func:`weigh_evidence`.
        averaging: How the distances of neurons become one number.

    Returns:
        The test; None if the folds can't be exchanged.

    """
    sizes_first = folded.sizes_b[:num_folds]
    sizes_second = folded.sizes_b[num_folds:]
    in_first = _relabelings(replace(folded, sizes_a=sizes_first, sizes_b=sizes_second), NUM_RELABELINGS)
    if in_first is None:
        return None
    # Masks over the folds of A and of both sets. Those of A stay where they are in all relabelings.
    num_relabelings, num_exchanged = in_first.shape
    num_folds_a = len(folded.sizes_a)
    is_of_a = torch.arange(num_folds_a + num_exchanged) < num_folds_a
    in_a = is_of_a.expand(num_relabelings, -1)
    to_second = folded.distances(in_a, torch.nn.functional.pad(~in_first, (num_folds_a, 0)))
    to_first = folded.distances(in_a, torch.nn.functional.pad(in_first, (num_folds_a, 0)))
    mean_to_second = mean_over_neurons(averaging.terms(to_second)).pow(power)
    mean_to_first = mean_over_neurons(averaging.terms(to_first)).pow(power)
    excess = mean_to_first - mean_to_second
    # Values that differ by rounding are equal.
    rounding = 1e-9 * mean_to_first.amax()
    p_value = float((excess >= excess[0] - rounding).double().mean())
    test = permutation_test(to_first - to_second, folded.slices, averaging.weights, exact=False, shifts=None)
    return FartherTest(p_value, test)


def _differs(interval: Interval) -> bool:
    return interval.excludes_zero or interval.low > 0


@dataclass(frozen=True, eq=False)
class _Figures:
    """Powers of the distance, on which noise is additive: of the whole, of each layer and of each neuron.

    All are NaN if noise is additive on no scale, such as for weights below 0.

    Attributes:
        averaging: How the distances of neurons become one number.
        jackknifed: Figures debiased by the jackknife; negative if smaller than their noise.
        centre: Figures debiased by the relabelings of a test, if these vary less.
        upper: Estimates from which the upper ends of intervals are computed.
        sides: Pseudo-values of the whole and of layers, shape ``(K, 1 + layers)``.

    """

    averaging: Averaging
    jackknifed: Tensor
    centre: Tensor
    upper: Tensor
    sides: PseudoValuesOfSets

    @classmethod
    def of(cls, values: Tensor, folded: FoldedSides, power: int, averaging: Averaging) -> _Figures:
        """Compute the figures and their noise by the jackknife, or from noise that is known."""
        if averaging.why_noisy:
            averaging = Averaging(torch.full_like(values, nan))
        if folded.noise is None:
            bias, sides = _jackknifed_noise(folded, power, averaging)
        else:
            bias, sides = _known_noise(folded, folded.noise(), averaging)
        observed = _figures_of(values[None], folded.slices, averaging)[0]
        jackknifed = observed.pow(power) - bias
        return cls(averaging, jackknifed, jackknifed, jackknifed, sides)

    def jackknife(self, figure: int) -> Jackknife:
        """Return the jackknife of one figure."""
        a, b = self.sides
        if a is not None:
            a = (a[0][:, figure], a[1])
        if b is not None:
            b = (b[0][:, figure], b[1])
        variance, freedom = variance_of([side for side in (a, b) if side is not None])
        return Jackknife(float(self.jackknifed[figure]), variance, freedom, (a, b))


def _jackknifed_noise(folded: FoldedSides, power: int, averaging: Averaging) -> tuple[Tensor, PseudoValuesOfSets]:
    """Compute noise by leaving out one fold at a time, on the scale of ``power``.

    Returns:
        The bias of all figures, and the pseudo-values of the whole and of the layers.

    """
    num_folds_a = len(folded.sizes_a)
    num_folds = num_folds_a + len(folded.sizes_b)
    is_of_a = torch.arange(num_folds) < num_folds_a
    if folded.paired:
        # A fold is left out of both sets at once, so that the noise that its pairs share cancels.
        is_left_out = torch.eye(num_folds_a, dtype=torch.bool).repeat(1, 2)
    else:
        is_left_out = torch.eye(num_folds, dtype=torch.bool)
    # The first row has all folds.
    in_a = torch.cat([is_of_a[None], is_of_a & ~is_left_out])
    in_b = torch.cat([~is_of_a[None], ~is_of_a & ~is_left_out])
    value, *values_without = _figures_of(folded.distances(in_a, in_b), folded.slices, averaging).pow(power)
    a = _pseudo_values(value, values_without[:num_folds_a], folded.sizes_a)
    b = None
    if not folded.paired:
        b = _pseudo_values(value, values_without[num_folds_a:], folded.sizes_b)
    bias = torch.zeros_like(value)
    for side in (a, b):
        if side is not None:
            pseudo_values, ratios = side
            bias += value - (pseudo_values / ratios[:, None]).sum(0)
    num_columns = 1 + len(folded.slices)
    return bias, (_first_columns(a, num_columns), _first_columns(b, num_columns))


def _pseudo_values(value: Tensor, values_without: Sequence[Tensor], sizes: Tensor) -> PseudoValues | None:
    """Return the pseudo-values of the folds of a set; None for a single fold, which is taken as exact.

    Args:
        value: Figures with all folds.
        values_without: Figures without each fold.
        sizes: Number of images of each fold.

    """
    if len(sizes) == 1:
        return None
    stacked = torch.stack(list(values_without))
    ratios = (sizes.double().sum() / sizes).to(stacked)
    pseudo_values = ratios[:, None] * value - (ratios[:, None] - 1) * stacked
    return pseudo_values, ratios


def _first_columns(side: PseudoValues | None, count: int) -> PseudoValues | None:
    if side is None:
        return None
    pseudo_values, ratios = side
    return pseudo_values[:, :count], ratios


def _known_noise(folded: FoldedSides, noise: Noise, averaging: Averaging) -> tuple[Tensor, PseudoValuesOfSets]:
    """Return the bias of all figures, and influences in the place of pseudo-values, whose variance is the same."""
    influences_a, influences_b = noise.influences
    a = _figures_of_influences(influences_a, folded.slices, averaging)
    b = _figures_of_influences(influences_b, folded.slices, averaging)
    if folded.paired and a is not None and b is not None:
        # The units of both sets hold the same pairs.
        a = (a[0] + b[0], a[1])
        b = None
    bias = _figures_of(noise.bias[None], folded.slices, averaging)[0]
    return bias, (a, b)


def _figures_of_influences(
    side: PseudoValues | None, slices: Sequence[slice], averaging: Averaging
) -> PseudoValues | None:
    """Return the influences of the units of a set on the whole and on the layers."""
    if side is None:
        return None
    influences, ratios = side
    return _first_columns((_figures_of(influences, slices, averaging), ratios), 1 + len(slices))


def variance_of(sides: Sequence[PseudoValues]) -> tuple[float, float]:
    """Return the variance of a sum of means of pseudo-values, and its degrees of freedom (Welch-Satterthwaite)."""
    total = 0.0
    spread = 0.0
    for pseudo_values, ratios in sides:
        mean = (pseudo_values / ratios).sum()
        variance = ((pseudo_values - mean).square() / (ratios - 1)).mean().item()
        total += variance
        spread += variance**2 / (len(ratios) - 1)
    freedom = total**2 / spread if spread else float("inf")
    return total, freedom


def _figures_of(distances: Tensor, slices: Sequence[slice], averaging: Averaging) -> Tensor:
    """Return the figures of the whole, of each layer and of each neuron, ``(P, 1 + layers + N)``."""
    terms = averaging.terms(distances)
    layers = [mean_over_neurons(terms[:, rows])[:, None] for rows in slices]
    return torch.cat([mean_over_neurons(terms)[:, None], *layers, terms], 1)


def _root(figures: Tensor, power: int) -> Tensor:
    """Invert ``power``; negative figures become 0."""
    inverted: Tensor = figures.clamp(min=0).pow(1 / power)
    return inverted


def _relabelings(folded: FoldedSides, count: int) -> Tensor | None:
    """Draw relabelings of folds, balanced if the sets have about the same size; None if there are too few.

    Args:
        folded: Both sets in folds.
        count: Maximum number of relabelings.

    Returns:
        Masks of the folds that each relabeling puts in A, bool, ``(P, K)``.

    """
    sizes_a = folded.sizes_a
    sizes_b = folded.sizes_b
    if folded.paired:
        return exchanges_of_pairs(len(sizes_a), count)
    images_a = int(sizes_a.sum())
    images_b = int(sizes_b.sum())
    if max(images_a, images_b) <= UNEQUAL * min(images_a, images_b):
        return relabelings(len(sizes_a), len(sizes_b), count)
    if images_a <= images_b:
        in_smaller = relabelings_of_size(sizes_a, sizes_b, count)
        in_a = in_smaller
        num_smaller = len(sizes_a)
    else:
        in_smaller = relabelings_of_size(sizes_b, sizes_a, count)
        # The columns of A come first again.
        in_a = ~in_smaller.roll(len(sizes_a), 1)
        num_smaller = len(sizes_b)
    # Relabelings that exchange the same large folds are nearly the same.
    different = torch.unique(in_smaller[:, num_smaller:], dim=0)
    if len(different) < _LEAST_RELABELINGS:
        return None
    return in_a


@dataclass(frozen=True, eq=False)
class Relabeled:
    """Distances under relabelings of the folds.

    Attributes:
        in_a: Mask of the folds in A, ``(P, K)``. The first row has the observed sets.
        distances: Distance of each neuron, ``(P, N)``.
        noise: Variance of the distance relative to the observed sets, whose numbers of images differ, ``(P,)``.
        overlap: Share of the observed difference, squared, that relabeled sets keep: a mean over relabelings.

    """

    in_a: Tensor
    distances: Tensor
    noise: Tensor
    overlap: float

    @classmethod
    def of(cls, folded: FoldedSides, in_a: Tensor) -> Relabeled:
        """Compute the distances of relabelings from their masks."""
        sizes = torch.cat([folded.sizes_a, folded.sizes_b]).double()
        in_a_double = in_a.double()
        images_a = in_a_double @ sizes
        images_b = sizes.sum() - images_a
        # Numbers of images of the observed set A.
        observed_a = in_a[0].double() * sizes
        observed_in_a = in_a_double @ observed_a
        observed_in_b = observed_a.sum() - observed_in_a
        overlap = (observed_in_a / images_a - observed_in_b / images_b).square().mean()
        products = images_a * images_b
        distances = folded.distances(in_a, ~in_a)
        return cls(in_a, distances, products[0] / products, float(overlap))

    def null(self, figures: Tensor) -> Tensor:
        """Return how much noise adds to the squares of figures, ``(P, F)``; shape ``(F,)``.

        Relabeled sets still differ by a share of the observed difference, which is subtracted.
        """
        squares = figures.square() / self.noise.to(figures)[:, None]
        return (squares.mean(0) - self.overlap * squares[0]).clamp(min=0) / (1 - self.overlap)


def _relabeled(folded: FoldedSides) -> Relabeled | None:
    """Return the distances under relabelings for a test; None if there is no test, or there are too few relabelings."""
    if folded.num_relabelings == 0:
        return None
    in_a = _relabelings(folded, folded.num_relabelings or NUM_RELABELINGS)
    if in_a is None:
        return None
    return Relabeled.of(folded, in_a)


def _null_mean_of_halves(folded: FoldedSides, power: int, averaging: Averaging) -> float | None:
    """Return the mean distance of halves of A, scaled to the numbers of images of the two sets.

    None if A has too few folds, and if there is no test.
    """
    num_folds = len(folded.sizes_a)
    images_a = float(folded.sizes_a.sum())
    images_b = float(folded.sizes_b.sum())
    is_untested = folded.num_relabelings == 0 or folded.paired or folded.exact[0]
    if is_untested or num_folds < 2 * LEAST_FOLDS or images_b == 0:
        return None
    half = relabelings(num_folds // 2, num_folds - num_folds // 2, _HALVES)
    distances = mean_over_neurons(averaging.terms(folded.between_folds_of_a(half, ~half)))
    images = (half.double() @ folded.sizes_a.double()).to(distances)
    # Variance at the sizes of the two sets, relative to that at the sizes of the halves.
    noise = (1 / images_a + 1 / images_b) / (1 / images + 1 / (images_a - images))
    return float((distances * noise.pow(1 / power)).mean())


def test_relabeled(folded: FoldedSides, relabeled: Relabeled, power: int, weights: Tensor | None) -> PermutationTest:
    """Test if the observed sets, the first row of the relabelings, are farther apart than relabeled ones."""
    distances = relabeled.distances
    in_a = relabeled.in_a
    noise = relabeled.noise.to(distances)[:, None]
    num_folds_a = len(folded.sizes_a)
    num_possible = 2**num_folds_a if folded.paired else comb(in_a.shape[1], num_folds_a)
    is_exact = len(in_a) == num_possible
    shifts = None
    if folded.shifts is not None:
        # The noise of a difference of means is the root of 1/images for each power.
        signed = folded.shifts(in_a, ~in_a) / noise.sqrt()
        weights_of_shifts = weights if signed.shape == distances.shape else None
        shifts = layer_shifts(signed, folded.shift_slices, weights_of_shifts)
    return permutation_test(distances / noise.pow(1 / power), folded.slices, weights, is_exact, shifts)


def _debiased_by_relabelings(
    values: Tensor, figures: _Figures, folded: FoldedSides, relabeled: Relabeled, test: PermutationTest
) -> _Figures:
    """Debias the squares of the whole, of each layer and of each neuron by relabelings.

    The mean over relabelings is subtracted. If the difference is in few neurons, the noise of all other neurons hides
    it from the whole, so that nothing may be left of a difference that the test finds. The mean of the neurons' own
    debiased distances does not have this gap, but is too large if nothing differs. So it is weighted by the p-value.

    Neurons of pairs are debiased by the jackknife. If they differ, noise adds less to them than under relabelings.
    """
    observed = figures.averaging.terms(values)
    relabeled_terms = figures.averaging.terms(relabeled.distances)
    # Neurons of the whole, and of each layer.
    columns = [slice(None), *folded.slices]
    # Squares of each neuron.
    if folded.paired:
        neurons = figures.jackknifed[len(columns) :]
    else:
        neurons = observed.square() - relabeled.null(relabeled_terms).to(observed)
    # Squares of the whole and of each layer, in two ways.
    observed_means = torch.stack([mean_over_neurons(observed[rows]) for rows in columns])
    relabeled_means = torch.stack([mean_over_neurons(relabeled_terms[:, rows]) for rows in columns], 1)
    by_means = observed_means.square() - relabeled.null(relabeled_means).to(observed)
    means_of_neurons = torch.stack([mean_over_neurons(_root(neurons[rows], 2)) for rows in columns])
    by_neurons = _weighted_squares(means_of_neurons, test)
    debiased = torch.cat([torch.maximum(by_means, by_neurons), neurons])
    centre = torch.where(figures.jackknifed.isnan(), torch.nan, debiased)
    upper = centre
    if folded.paired:
        # For pairs, relabelings subtract too much and the jackknife too little, so the interval spans both.
        upper = torch.maximum(centre, figures.jackknifed)
    return replace(figures, centre=centre, upper=upper)


def _weighted_squares(means_of_neurons: Tensor, test: PermutationTest) -> Tensor:
    """Return the squares of mean debiased distances of neurons, weighted by how small the p-values are.

    Args:
        means_of_neurons: Mean over all neurons, and over those of each layer, ``(1 + layers,)``.
        test: The test, with the p-values of all neurons and of each layer.

    Returns:
        The weighted squares; minus infinity if the weight is 0. Shape ``(1 + layers,)``.

    """
    p_values = torch.tensor([test.p_value, *test.layers.tolist()]).to(means_of_neurons)
    weight = (1 - p_values / _LARGEST_P_OF_NEURONS).clamp(min=0)
    return torch.where(weight > 0, (weight * means_of_neurons).square(), -torch.inf)


def _interval(
    figures: _Figures, figure: int, power: int, confidence: float, num_folds: int, p_value: float | None
) -> Interval | None:
    """Return the interval around a debiased figure; None if the variance is unknown.

    It holds 0 if and only if the test at the same level finds no difference.
    """
    jackknife = figures.jackknife(figure)
    if isnan(jackknife.variance):
        return None
    spread = student_quantile((1 + confidence) / 2, jackknife.freedom) * jackknife.variance**0.5
    centre = figures.centre[figure]
    upper = figures.upper[figure]
    value, low, high = _root(torch.stack([centre, centre - spread, upper + spread]).double(), power).tolist()
    if p_value is None:
        return Interval(value, low, high, confidence, num_folds)
    differs = p_value <= 1 - confidence
    if not differs:
        low = 0.0
    return Interval(value, low, high, confidence, num_folds, differs)
