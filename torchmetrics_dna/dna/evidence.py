"""Evidence for a distance: its value corrected for sampling noise, an interval, and a permutation test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import comb, isnan, nan, sqrt
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from torchmetrics_dna.dna.averaging import Averaging
from torchmetrics_dna.dna.folded import PseudoValues
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

# Pseudo-values of A and of B; None for a set that is taken as exact. Pairs of images have their pseudo-values in A, and
# None in B.
PseudoValuesOfSets = tuple[PseudoValues | None, PseudoValues | None]

# If one set is much larger, a test needs at least this number of different choices of its folds.
_LEAST_RELABELINGS = 100
# Number of random halvings of a set that are averaged.
_HALVES = 40
# If the p-value is at least this large, the debiased distances of single neurons do not enter that of the whole.
_LARGEST_P_OF_NEURONS = 0.2


@dataclass(frozen=True)
class Interval:
    """Confidence interval of a distance between two populations.

    Attributes:
        value: Debiased distance, an estimate of the distance between the populations.
        low: Lower end, in the unit of the distance; 0 or more.
        high: Upper end.
        confidence: Nominal probability that the interval contains the distance between the populations.
        num_folds: Number of folds of the set that has more folds.
        excludes_zero: True if the permutation test at this level finds a difference. A lower end of 0 then does not
            belong to the interval.

    """

    value: float
    low: float
    high: float
    confidence: float
    num_folds: int
    excludes_zero: bool = False

    @property
    def ends(self) -> str:
        """Both ends as text, such as "[0.5, 2]", or "(0, 2]" if 0 does not belong to the interval."""
        bracket = "(" if self.excludes_zero and self.low == 0 else "["
        return f"{bracket}{number(self.low)}, {number(self.high)}]"

    @property
    def in_words(self) -> str:
        """Level and ends for running text, such as "95% CI [0.5, 2]"."""
        return f"{self.ci} {self.ends}"

    @property
    def ci(self) -> str:
        """Name of the interval with its confidence, such as "95% CI"."""
        return f"{percent(self.confidence)} CI"

    @property
    def level(self) -> str:
        """Confidence as text, such as "95%"."""
        return percent(self.confidence)


@dataclass(frozen=True, eq=False)
class Jackknife:
    """Delete-one-fold jackknife estimate of a distance.

    All values are on the scale on which sampling noise is additive: that of the distance, or of its square (see
    ``power`` of :class:`Evidence`).

    Attributes:
        left: Distance minus its estimated bias; negative if the bias is larger than the distance.
        variance: Variance of ``left``; NaN if the noise is unknown.
        freedom: Degrees of freedom of the variance.
        sides: Pseudo-values of the distance for A and for B; None for a set that is taken as exact. Pairs of images
            have their pseudo-values in A, and None in B.

    """

    left: float
    variance: float
    freedom: float
    sides: PseudoValuesOfSets

    def __post_init__(self) -> None:
        # In a jackknife that was read from a file, pseudo-values are plain tuples.
        sides = tuple(None if side is None else PseudoValues(*side) for side in self.sides)
        object.__setattr__(self, "sides", sides)


@dataclass(frozen=True, eq=False)
class FartherTest:
    """Test of whether one set is farther from A than another set. The test exchanges the folds of the two sets.

    Attributes:
        p_value: P-value of the test of the mean distance.
        test: Test of the difference of the two distances, in each layer and each neuron.

    """

    p_value: float
    test: PermutationTest


@dataclass(frozen=True, eq=False)
class Evidence:
    """Evidence for a distance between two sets.

    A relabeling is a permutation of the labels of the folds: it assigns folds of both sets to A and to B.

    Attributes:
        interval: Confidence interval of the distance. None if the distance can't be debiased, such as for fd of too few
            images, and for weights below 0.
        layers: Debiased distance of each layer, shape ``(layers,)``; 0 if it is within sampling noise. NaN if it can't
            be debiased: for fd of layers with too many neurons for these images, and for weights below 0.
        layer_intervals: Confidence interval of the distance of each layer; None where ``layers`` is NaN.
        neurons: Debiased distance of each neuron, shape ``(N,)``. For fd, the debiased distance of each layer.
        test: Permutation test of the folds. None if a set is taken as exact, or if there are too few relabelings
            because one set is much larger. Also None for fd if the sets are too large or too unequal.
        null: Null mean: the expected distance between samples of the same distribution, of these sizes. It is the mean
            over relabelings. None without a test.
        null_high: 95% quantile of the distance over relabelings; None without a test.
        chance: Expected distance between two samples of the distribution of A, of these sizes. It is estimated from
            halves of A. None if A has fewer than 10 folds, for pairs, and for fd without a test.
        least_p_value: Smallest p-value that the test can return; None without a test.
        jackknife: Jackknife estimate of the distance. Its ``left`` may be negative, so its mean over draws of images
            is unbiased.
        centre: Debiased distance on the scale of ``power``; negative if the distance is smaller than its noise. Sets
            are ordered by it.
        upper: Estimate on the scale of ``power`` from which the upper end of the interval is computed. It is
            ``centre``, or for pairs the estimate of the jackknife if that is larger.
        power: Power of the distance to which noise adds: 1 for the distance itself, 2 for its square.
        null_above: 95% quantile minus mean over relabelings, on the scale of ``power``; None without a test.
        farther: Test of whether B is farther from A than the held-out images are; None if it was not made.

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
        """Debiased distance; 0 if it is within sampling noise, None without an interval."""
        return None if self.interval is None else self.interval.value

    def __repr__(self) -> str:
        statements = []
        if self.interval is not None:
            statements.append(f"debiased {number(self.debiased)} ({self.interval.in_words})")
        if self.null is not None:
            statements.append(f"null mean {number(self.null)}")
        if self.test is not None:
            statements.append(p_figure(self.test.p_value, "p"))
        return f"Evidence({', '.join(statements)})"

    @property
    def is_below_noise(self) -> bool:
        """True if the distance is significantly smaller than for samples of the same distribution (p < 0.001)."""
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
    """Compute the evidence for a distance from the folds of both sets.

    Distances between finite sets are biased upwards. The bias of the distance (``power`` 1) or of its square (2) is
    proportional to 1/images. The delete-group jackknife for folds of unequal size (Busing et al., 1999) estimates the
    bias and the variance. For squares, the relabelings of the test estimate the bias with less variance. A set without
    folds is taken as exact, and can't be tested.

    Args:
        values: Distance of each neuron, shape ``(N,)``. For fd, the distance of each layer.
        folded: Both sets in folds.
        power: Power of the distance to which noise adds; see :class:`~torchmetrics_dna.dna.distances.Distance`.
        averaging: How the values become one number.
        confidence: Confidence of the intervals.

    Returns:
        The evidence; None if no set has folds, or if a set has images in fewer than 5 folds.

    """
    if not _has_enough_folds(folded):
        return None
    figures = _Figures.of(values, folded, power, averaging)
    relabeled = _relabeled(folded)
    test = None
    null = _Null()
    if relabeled is not None:
        test = test_relabeled(folded, relabeled, power, averaging.weights)
        null = _null_of(values, folded, relabeled, power, averaging)
        if power == 2:
            figures = _debiased_by_relabelings(values, figures, folded, relabeled, test)
    interval, *layer_intervals = _intervals(figures, folded, power, confidence, test)
    debiased = _root(figures.centre, power)
    # The first figure is that over all neurons. Those of the layers and of the neurons follow.
    first_neuron = 1 + len(folded.slices)
    return Evidence(
        interval=interval,
        layers=debiased[1:first_neuron],
        layer_intervals=tuple(layer_intervals),
        neurons=debiased[first_neuron:],
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


def _has_enough_folds(folded: FoldedSides) -> bool:
    """Return True if one set has folds, and each set has at least 5 or is taken as exact."""
    exact_a, exact_b = folded.exact
    if exact_a and exact_b:
        return False
    is_a_enough = exact_a or len(folded.sizes_a) >= LEAST_FOLDS
    is_b_enough = exact_b or len(folded.sizes_b) >= LEAST_FOLDS
    return is_a_enough and is_b_enough


class _Null(NamedTuple):
    """Distances of samples of the same distribution, estimated by relabelings; None without a test.

    Attributes:
        mean: Mean distance.
        high: 95% quantile of the distance.
        above: 95% quantile minus mean, on the scale of ``power``.
        least_p_value: Smallest p-value that the test can return.

    """

    mean: float | None = None
    high: float | None = None
    above: float | None = None
    least_p_value: float | None = None


def _null_of(values: Tensor, folded: FoldedSides, relabeled: Relabeled, power: int, averaging: Averaging) -> _Null:
    """Summarize the distances of relabeled sets, which are samples of the same distribution."""
    means = mean_over_neurons(averaging.terms(relabeled.distances))
    if folded.paired and not values.any():
        # Distances of identical pairs differ from 0 only by rounding.
        means = torch.zeros_like(means)
    powers = means.pow(power) / relabeled.noise.to(means)
    in_a = relabeled.in_a
    # A relabeling that keeps or exchanges the sets as a whole has the observed distance, which bounds the p-value.
    num_unchanged = (in_a == in_a[0]).all(1).sum()
    num_exchanged = (in_a != in_a[0]).all(1).sum()
    # The first relabeling is the observed one.
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
    """Test if two sets are equally far from the same set A, by a two-sided t-test of jackknife estimates.

    Both distances contain the sampling noise of A. For pairs of images, they share all noise. The t-test is paired, so
    the shared noise cancels.

    Args:
        near: Evidence for the distance between A and one set.
        far: Evidence for the distance between A and another set. A has the same folds in both distances.

    Returns:
        The p-value; None if the noise of a distance is unknown, or if A has different folds in the two distances.

    """
    first = near.jackknife
    second = far.jackknife
    if isnan(first.variance) or isnan(second.variance) or not _share_folds(first, second):
        return None
    first_a, first_b = first.sides
    second_a, second_b = second.sides
    independent_sides = [side for side in (first_b, second_b) if side is not None]
    if first_a is not None and second_a is not None:
        # The noise of A is that of the difference of its two pseudo-values.
        independent_sides.append(PseudoValues(first_a.values - second_a.values, first_a.ratios))
    variance, freedom = variance_of(independent_sides)
    difference = abs(first.left - second.left)
    if variance == 0:
        return float(difference == 0)
    return min(1.0, 2 * student_tail(difference / variance**0.5, freedom))


def _share_folds(first: Jackknife, second: Jackknife) -> bool:
    """Return True if A has the same folds in two distances, or no folds in both."""
    first_a = first.sides[0]
    second_a = second.sides[0]
    if first_a is None or second_a is None:
        return first_a is second_a
    return torch.equal(first_a.ratios, second_a.ratios)


@dataclass(frozen=True)
class Ratio:
    """Ratio of the debiased distances of two sets from one reference.

    Attributes:
        value: The ratio; None if the denominator is not significantly above 0.
        low: Lower end of the confidence interval; 0 if the numerator is not significantly above 0.
        high: Upper end of the confidence interval; None if the denominator is not significantly above 0.
        confidence: Nominal probability that the interval contains the ratio of the populations.

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
        """True if the interval has an upper end, or a lower end of 1 or more."""
        return self.high is not None or self.low >= 1

    @property
    def in_words(self) -> str:
        """Ratio as text, such as "3.1" or "at least 2.3", for a sentence such as "3.1 times as far as"."""
        if self.value is None:
            return f"at least {number(self.low, 2)}"
        return number(self.value, 2)

    @property
    def ends(self) -> str:
        """Interval in parentheses, such as " (95% CI [2.6, 3.8])", or " (one-sided 95% confidence bound)"."""
        if self.high is None:
            return f" (one-sided {self.level} confidence bound)"
        return f" ({self.level} CI {self._interval})"

    @property
    def level(self) -> str:
        """Confidence as text, such as "95%"."""
        return percent(self.confidence)

    @property
    def _interval(self) -> str:
        """Both ends as text: "[2.6, 3.8]"."""
        return f"[{number(self.low, 2)}, {number(self.high, 2)}]"


def ratio_of(far: Evidence, near: Evidence, questions: int = 1) -> Ratio | None:
    """Divide the distance of one set from a reference by the distance of another set, with a confidence interval.

    The interval is Fieller's. It accounts for the noise of the reference, which both distances contain. If the other
    set does not differ significantly from the reference, the ratio has only a one-sided lower end.

    Args:
        far: Evidence for the distance between the reference and the set.
        near: Evidence for the distance between the reference and the other set. The reference has the same folds in
            both distances.
        questions: Number of ratios that are computed together. The confidence is the probability that all of their
            intervals are right (Bonferroni).

    Returns:
        The ratio. None if neither distance is significantly above 0, or if the noise of a distance is unknown. Also
        None if the other set is so close to the reference that their images can't be independent.

    """
    if far.interval is None or near.interval is None or near.is_below_noise:
        return None
    first = far.jackknife
    second = near.jackknife
    if isnan(first.variance) or isnan(second.variance) or not _share_folds(first, second):
        return None
    confidence = far.interval.confidence
    confidence_of_each = 1 - (1 - confidence) / questions
    ends = _ends_of_ratio(far, near, confidence_of_each)
    if ends is not None:
        low, high = ends
        return Ratio(far.interval.value / near.interval.value, low, high, confidence)
    lower_bound = _lower_bound_of_ratio(far, near, confidence_of_each)
    if lower_bound is None:
        return None
    return Ratio(None, lower_bound, None, confidence)


def _ends_of_ratio(far: Evidence, near: Evidence, confidence: float) -> tuple[float, float] | None:
    """Return both ends of Fieller's interval of a ratio; None if the denominator is not significantly above 0."""
    if not _differs(near):
        return None
    first = far.jackknife
    second = near.jackknife
    quantile = student_quantile((1 + confidence) / 2, min(first.freedom, second.freedom))
    variances = (first.variance, second.variance)
    low, high = fieller(far.centre, near.centre, variances, _covariance(first, second), quantile)
    if high is None:
        return None
    # The interval is on the scale of `power`, so both ends take the root.
    high_end = high ** (1 / far.power)
    if not _differs(far):
        return 0.0, high_end
    return low ** (1 / far.power), high_end


def _lower_bound_of_ratio(far: Evidence, near: Evidence, confidence: float) -> float | None:
    """Return the one-sided lower end of a ratio; None if the numerator is not significantly above 0."""
    first = far.jackknife
    second = near.jackknife
    quantile = student_quantile(confidence, min(first.freedom, second.freedom))
    least_distance = lower_end(far, quantile)
    if least_distance == 0:
        return None
    # Use the variance for which the interval of the numerator would have this lower end.
    variance_of_far = ((far.centre - least_distance) / quantile) ** 2
    variances = (variance_of_far, second.variance)
    low, _ = fieller(far.centre, near.centre, variances, _covariance(first, second), quantile)
    if not low > 0:
        return None
    bound: float = low ** (1 / far.power)
    return bound


def _covariance(first: Jackknife, second: Jackknife) -> float:
    """Return the covariance of two distances that is due to the folds of A; 0 if A has no folds."""
    first_a = first.sides[0]
    second_a = second.sides[0]
    if first_a is None or second_a is None:
        return 0.0
    sum_of_both = PseudoValues(first_a.values + second_a.values, first_a.ratios)
    variance_of_sum, _ = variance_of([sum_of_both])
    variance_of_first, _ = variance_of([first_a])
    variance_of_second, _ = variance_of([second_a])
    return (variance_of_sum - variance_of_first - variance_of_second) / 2


def lower_end(far: Evidence, quantile: float) -> float:
    """Return a one-sided lower end of a distance, on the scale of its ``power``.

    The lower end is the smallest distance that a test would not reject. The noise at that distance is interpolated
    between the noise at a distance of 0 and the noise at the estimate. The lower end is above 0 only if the permutation
    test finds a difference.

    Args:
        far: Evidence for the distance.
        quantile: Quantile of Student's t, for the degrees of freedom of the jackknife.

    """
    centre = far.centre
    # Noise that a test allows for if the true distance equals the estimate, and if the true distance is 0.
    noise_at_centre = quantile * far.jackknife.variance**0.5
    noise_at_zero = noise_at_centre if far.null_above is None else far.null_above
    if centre <= noise_at_zero:
        return 0.0
    if far.test is not None and (far.interval is None or not far.interval.excludes_zero):
        # The permutation test finds no difference.
        return 0.0
    # The square of the noise is taken as linear in the distance, so the lower end solves a quadratic equation.
    slope: float = (max(noise_at_zero, noise_at_centre) ** 2 - noise_at_zero**2) / centre
    return centre + slope / 2 - sqrt(slope**2 / 4 + noise_at_zero**2 + slope * centre)


def farther_test(folded: FoldedSides, num_folds_first: int, power: int, averaging: Averaging) -> FartherTest | None:
    """Test if a first set is farther from A than a second set, by exchanging the folds of the two sets.

    The mean distance is tested, and also the distance in each layer and each neuron.

    Null hypothesis: the folds of both sets come from one distribution. The folds of A are never exchanged.

    Args:
        folded: A in folds. Its second set, B, has the folds of the first set, then the folds of the second set.
        num_folds_first: Number of folds of the first set.
        power: Power of the mean distances that are compared, see :func:`weigh_evidence`.
        averaging: How the distances of neurons become one number.

    Returns:
        Both tests; None if the folds can't be exchanged.

    """
    # The first set takes the place of A, and the second set that of B, so that their folds are exchanged.
    first_and_second = replace(
        folded, sizes_a=folded.sizes_b[:num_folds_first], sizes_b=folded.sizes_b[num_folds_first:]
    )
    labels = _relabelings(first_and_second, NUM_RELABELINGS)
    if labels is None:
        return None
    in_a, in_first, in_second = _masks_of_three(labels, len(folded.sizes_a))
    to_first = folded.distances(in_a, in_first)
    to_second = folded.distances(in_a, in_second)
    powered_mean_to_first = mean_over_neurons(averaging.terms(to_first)).pow(power)
    powered_mean_to_second = mean_over_neurons(averaging.terms(to_second)).pow(power)
    # Relabelings whose values differ only by rounding count as ties.
    rounding = 1e-9 * powered_mean_to_first.amax()
    excess = powered_mean_to_first - powered_mean_to_second
    # The first relabeling has the observed labels.
    observed_excess = excess[0]
    p_value = float((excess >= observed_excess - rounding).double().mean())
    test = permutation_test(to_first - to_second, folded.slices, averaging.weights, exact=False, shifts=None)
    return FartherTest(p_value, test)


def _masks_of_three(labels: Tensor, num_folds_a: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return masks of the folds in A, in a first set and in a second set, over the folds of all three sets.

    Args:
        labels: Masks of the folds of both sets that each relabeling puts in the first set, bool, ``(P, K)``.
        num_folds_a: Number of folds of A. They come first in the masks, and are always in A.

    Returns:
        Three masks, bool, ``(P, num_folds_a + K)``.

    """
    num_relabelings, num_exchanged = labels.shape
    is_of_a = torch.arange(num_folds_a + num_exchanged) < num_folds_a
    in_a = is_of_a.expand(num_relabelings, -1)
    # Folds of A are in neither of the other sets, so False is put in front.
    in_first = torch.nn.functional.pad(labels, (num_folds_a, 0))
    in_second = torch.nn.functional.pad(~labels, (num_folds_a, 0))
    return in_a, in_first, in_second


def _differs(evidence: Evidence) -> bool:
    """Return True if the distance is significantly above 0."""
    interval = evidence.interval
    return interval is not None and (interval.excludes_zero or interval.low > 0)


@dataclass(frozen=True, eq=False)
class _Figures:
    """Distances over all neurons, of each layer and of each neuron, on the scale of ``power``.

    Each tensor of figures has the shape ``(1 + layers + N,)``. The figure over all neurons comes first, then those of
    the layers, then those of the neurons. All figures are NaN if noise adds to no power of the distance, as with
    weights below 0.

    Attributes:
        averaging: How the distances of neurons become one number.
        jackknifed: Figures debiased by the jackknife; negative if smaller than their noise.
        centre: Figures debiased by relabelings if ``power`` is 2 and there is a test, otherwise ``jackknifed``.
        upper: Estimates from which the upper ends of intervals are computed.
        sides: Pseudo-values over all neurons and of each layer, ``(folds, 1 + layers)``, for A and for B.

    """

    averaging: Averaging
    jackknifed: Tensor
    centre: Tensor
    upper: Tensor
    sides: PseudoValuesOfSets

    @classmethod
    def of(cls, values: Tensor, folded: FoldedSides, power: int, averaging: Averaging) -> _Figures:
        """Compute the figures, and debias them by the jackknife or by the noise that ``folded`` has estimated."""
        if averaging.why_noisy:
            # Such an average can't be debiased. Weights of NaN make all figures NaN.
            averaging = Averaging(torch.full_like(values, nan))
        if folded.noise is None:
            bias, sides = _jackknifed_noise(folded, power, averaging)
        else:
            bias, sides = _known_noise(folded, folded.noise(), averaging)
        observed = _figures_of(values[None], folded.slices, averaging)[0]
        jackknifed = observed.pow(power) - bias
        return cls(averaging, jackknifed, jackknifed, jackknifed, sides)

    def jackknife(self, figure: int) -> Jackknife:
        """Return the jackknife of the figure at this index."""
        a = _column(self.sides[0], figure)
        b = _column(self.sides[1], figure)
        variance, freedom = variance_of([side for side in (a, b) if side is not None])
        return Jackknife(float(self.jackknifed[figure]), variance, freedom, (a, b))


def _jackknifed_noise(folded: FoldedSides, power: int, averaging: Averaging) -> tuple[Tensor, PseudoValuesOfSets]:
    """Estimate the noise of the figures by leaving out one fold at a time, on the scale of ``power``.

    Returns:
        The bias of all figures, and the pseudo-values over all neurons and of each layer.

    """
    in_a, in_b = _leave_one_out(folded)
    value, *values_without = _figures_of(folded.distances(in_a, in_b), folded.slices, averaging).pow(power)
    num_folds_a = len(folded.sizes_a)
    a = _pseudo_values(value, values_without[:num_folds_a], folded.sizes_a)
    b = None
    if not folded.paired:
        b = _pseudo_values(value, values_without[num_folds_a:], folded.sizes_b)
    bias = torch.zeros_like(value)
    for side in (a, b):
        if side is not None:
            debiased = (side.values / side.ratios[:, None]).sum(0)
            bias += value - debiased
    num_columns = 1 + len(folded.slices)
    return bias, (_first_columns(a, num_columns), _first_columns(b, num_columns))


def _leave_one_out(folded: FoldedSides) -> tuple[Tensor, Tensor]:
    """Return masks of the folds in A and in B: all folds in the first row, then one fold less in each row."""
    num_folds_a = len(folded.sizes_a)
    num_folds = num_folds_a + len(folded.sizes_b)
    if folded.paired:
        # A fold is left out of both sets at once, so that the noise that its pairs share cancels.
        is_left_out = torch.eye(num_folds_a, dtype=torch.bool).repeat(1, 2)
    else:
        is_left_out = torch.eye(num_folds, dtype=torch.bool)
    is_of_a = torch.arange(num_folds) < num_folds_a
    in_a = torch.cat([is_of_a[None], is_of_a & ~is_left_out])
    in_b = torch.cat([~is_of_a[None], ~is_of_a & ~is_left_out])
    return in_a, in_b


def _pseudo_values(value: Tensor, values_without: Sequence[Tensor], sizes: Tensor) -> PseudoValues | None:
    """Return the pseudo-values of the folds of a set; None for a single fold, which is taken as exact.

    Args:
        value: Figures of all folds.
        values_without: Figures without one fold, for each fold.
        sizes: Number of images of each fold.

    """
    if len(sizes) == 1:
        return None
    stacked = torch.stack(list(values_without))
    ratios = (sizes.double().sum() / sizes).to(stacked)
    pseudo_values = ratios[:, None] * value - (ratios[:, None] - 1) * stacked
    return PseudoValues(pseudo_values, ratios)


def _first_columns(side: PseudoValues | None, count: int) -> PseudoValues | None:
    """Return the pseudo-values of the first figures."""
    return None if side is None else PseudoValues(side.values[:, :count], side.ratios)


def _column(side: PseudoValues | None, figure: int) -> PseudoValues | None:
    """Return the pseudo-values of one figure."""
    return None if side is None else PseudoValues(side.values[:, figure], side.ratios)


def _known_noise(folded: FoldedSides, noise: Noise, averaging: Averaging) -> tuple[Tensor, PseudoValuesOfSets]:
    """Return the bias of all figures, and the influences on them, which have the variance of pseudo-values."""
    influences_a, influences_b = noise.influences
    a = _figures_of_influences(influences_a, folded.slices, averaging)
    b = _figures_of_influences(influences_b, folded.slices, averaging)
    if folded.paired and a is not None and b is not None:
        # The units of both sets hold the same pairs, so their influences are not independent.
        a = PseudoValues(a.values + b.values, a.ratios)
        b = None
    bias = _figures_of(noise.bias[None], folded.slices, averaging)[0]
    return bias, (a, b)


def _figures_of_influences(
    side: PseudoValues | None, slices: Sequence[slice], averaging: Averaging
) -> PseudoValues | None:
    """Return the influence of each unit of a set on the figure over all neurons and on the figure of each layer."""
    if side is None:
        return None
    influences = PseudoValues(_figures_of(side.values, slices, averaging), side.ratios)
    return _first_columns(influences, 1 + len(slices))


def variance_of(sides: Sequence[PseudoValues]) -> tuple[float, float]:
    """Return the variance of the sum of the means of independent sets, and its degrees of freedom.

    The degrees of freedom are those of Welch and Satterthwaite.
    """
    total = 0.0
    # Denominator of the degrees of freedom; 0 if there is no noise.
    denominator = 0.0
    for pseudo_values, ratios in sides:
        mean = (pseudo_values / ratios).sum()
        variance = ((pseudo_values - mean).square() / (ratios - 1)).mean().item()
        total += variance
        denominator += variance**2 / (len(ratios) - 1)
    freedom = total**2 / denominator if denominator else float("inf")
    return total, freedom


def _figures_of(distances: Tensor, slices: Sequence[slice], averaging: Averaging) -> Tensor:
    """Return the averages over all neurons and over each layer, and the terms of neurons, ``(P, 1 + layers + N)``."""
    terms = averaging.terms(distances)
    return torch.cat([_means(terms, slices), terms], -1)


def _means(terms: Tensor, slices: Sequence[slice]) -> Tensor:
    """Average terms ``(..., N)`` over all neurons, then over those of each layer, ``(..., 1 + layers)``."""
    means = [mean_over_neurons(terms[..., columns]) for columns in (slice(None), *slices)]
    return torch.stack(means, -1)


def _root(figures: Tensor, power: int) -> Tensor:
    """Return the root of figures on the scale of ``power``; negative figures become 0."""
    inverted: Tensor = figures.clamp(min=0).pow(1 / power)
    return inverted


def _relabelings(folded: FoldedSides, count: int) -> Tensor | None:
    """Draw relabelings of the folds.

    If the sets have about the same size, each relabeling keeps the number of folds of each set. Otherwise it keeps
    about the number of images.

    Args:
        folded: Both sets in folds.
        count: Maximum number of relabelings.

    Returns:
        Masks of the folds that each relabeling puts in A, bool, ``(P, K)``; None if there are too few relabelings.

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
        return _relabelings_of_smaller(sizes_a, sizes_b, count)
    in_b = _relabelings_of_smaller(sizes_b, sizes_a, count)
    if in_b is None:
        return None
    # Move the columns of A to the front.
    return ~in_b.roll(len(sizes_a), 1)


def _relabelings_of_smaller(sizes_smaller: Tensor, sizes_larger: Tensor, count: int) -> Tensor | None:
    """Draw relabelings that keep about the number of images of the smaller set.

    Args:
        sizes_smaller: Number of images of each fold of the smaller set.
        sizes_larger: Number of images of each fold of the larger set.
        count: Maximum number of relabelings.

    Returns:
        Masks of the folds in the smaller set, bool, ``(P, K)``, its own folds first; None if there are too few.

    """
    in_smaller = relabelings_of_size(sizes_smaller, sizes_larger, count)
    # Relabelings that move the same large folds are nearly the same, so only different choices of these folds count.
    choices_of_large_folds = torch.unique(in_smaller[:, len(sizes_smaller) :], dim=0)
    if len(choices_of_large_folds) < _LEAST_RELABELINGS:
        return None
    return in_smaller


@dataclass(frozen=True, eq=False)
class Relabeled:
    """Distances under relabelings of the folds.

    Attributes:
        in_a: Mask of the folds in A, ``(P, K)``. The first row is the observed assignment.
        distances: Distance of each neuron, ``(P, N)``.
        noise: Noise of each relabeling divided by the noise of the observed sets, ``(P,)``. It is not 1 if a relabeling
            changes the number of images of A.
        overlap: Share of the observed difference that relabeled sets keep: its mean square over relabelings.

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
        # Number of images of each fold of the observed A; 0 for folds of B.
        observed_a = in_a[0].double() * sizes
        # Number of images of the observed A that each relabeling puts in A and in B.
        observed_in_a = in_a_double @ observed_a
        observed_in_b = observed_a.sum() - observed_in_a
        # Relabeled sets differ only by how many of their images are from the observed A.
        kept_difference = observed_in_a / images_a - observed_in_b / images_b
        overlap = float(kept_difference.square().mean())
        # The noise of two sets is proportional to 1 / images_a + 1 / images_b. The sum of both numbers is constant.
        products = images_a * images_b
        noise = products[0] / products
        distances = folded.distances(in_a, ~in_a)
        return cls(in_a, distances, noise, overlap)

    def null(self, figures: Tensor) -> Tensor:
        """Estimate how much noise adds to the squares of figures, shape ``(F,)``.

        Relabeled sets still differ by a share of the observed difference. This share is subtracted.

        Args:
            figures: Figures of each relabeling, ``(P, F)``.

        """
        squares = figures.square() / self.noise.to(figures)[:, None]
        return (squares.mean(0) - self.overlap * squares[0]).clamp(min=0) / (1 - self.overlap)


def _relabeled(folded: FoldedSides) -> Relabeled | None:
    """Return the distances under relabelings.

    None if a set is taken as exact, if ``folded`` has no test, or if there are too few relabelings.
    """
    if any(folded.exact) or folded.num_relabelings == 0:
        return None
    in_a = _relabelings(folded, folded.num_relabelings or NUM_RELABELINGS)
    if in_a is None:
        return None
    return Relabeled.of(folded, in_a)


def _null_mean_of_halves(folded: FoldedSides, power: int, averaging: Averaging) -> float | None:
    """Return the mean distance between random halves of A, scaled to the sizes of the two sets.

    None if A is taken as exact or has fewer than 10 folds, for pairs, for an empty B, and if ``folded`` has no test.
    """
    num_folds = len(folded.sizes_a)
    images_a = float(folded.sizes_a.sum())
    images_b = float(folded.sizes_b.sum())
    is_untested = folded.num_relabelings == 0 or folded.paired or folded.exact[0]
    if is_untested or num_folds < 2 * LEAST_FOLDS or images_b == 0:
        return None
    in_first_half = relabelings(num_folds // 2, num_folds - num_folds // 2, _HALVES)
    distances = mean_over_neurons(averaging.terms(folded.between_folds_of_a(in_first_half, ~in_first_half)))
    images_of_half = (in_first_half.double() @ folded.sizes_a.double()).to(distances)
    # Noise at the sizes of the two sets, divided by the noise at the sizes of the halves.
    noise = (1 / images_a + 1 / images_b) / (1 / images_of_half + 1 / (images_a - images_of_half))
    return float((distances * noise.pow(1 / power)).mean())


def test_relabeled(folded: FoldedSides, relabeled: Relabeled, power: int, weights: Tensor | None) -> PermutationTest:
    """Test if the observed sets are farther apart than relabeled sets. The first relabeling is the observed one."""
    distances = relabeled.distances
    in_a = relabeled.in_a
    noise = relabeled.noise.to(distances)[:, None]
    num_folds_a = len(folded.sizes_a)
    num_possible = 2**num_folds_a if folded.paired else comb(in_a.shape[1], num_folds_a)
    has_all_relabelings = len(in_a) == num_possible
    shifts = None
    if folded.shifts is not None:
        # Shifts are differences of means, so they scale with the root of the noise, whatever the power.
        signed_shifts = folded.shifts(in_a, ~in_a) / noise.sqrt()
        # For fd, distances are those of layers, but shifts are those of neurons, so the weights do not fit the shifts.
        has_weights_of_shifts = signed_shifts.shape == distances.shape
        shifts = layer_shifts(signed_shifts, folded.shift_slices, weights if has_weights_of_shifts else None)
    return permutation_test(distances / noise.pow(1 / power), folded.slices, weights, has_all_relabelings, shifts)


def _debiased_by_relabelings(
    values: Tensor, figures: _Figures, folded: FoldedSides, relabeled: Relabeled, test: PermutationTest
) -> _Figures:
    """Debias the squared distances over all neurons, of each layer and of each neuron by relabelings.

    The averages over all neurons and over each layer are estimated in two ways, and the larger estimate is used:

    - The noise of the average is subtracted. If only few neurons differ, the noise of all other neurons can hide their
      difference, even if the test finds it.
    - The debiased distances of the neurons are averaged. This average finds a difference in few neurons, but it is too
      large if nothing differs. So it is multiplied by a weight that is smaller for larger p-values.
    """
    terms = figures.averaging.terms(values)
    relabeled_terms = figures.averaging.terms(relabeled.distances)
    if folded.paired:
        # If pairs differ, their noise is smaller than that of relabelings. So the debiased squares are those of the
        # jackknife. They follow the figure over all neurons and the figures of the layers.
        first_neuron = 1 + len(folded.slices)
        squares_of_neurons = figures.jackknifed[first_neuron:]
    else:
        squares_of_neurons = terms.square() - relabeled.null(relabeled_terms).to(terms)
    means = _means(terms, folded.slices)
    noise_of_means = relabeled.null(_means(relabeled_terms, folded.slices)).to(means)
    squares_without_noise = means.square() - noise_of_means
    means_of_debiased = _means(_root(squares_of_neurons, 2), folded.slices)
    squares_of_means = torch.maximum(squares_without_noise, _weighted_squares(means_of_debiased, test))
    debiased = torch.cat([squares_of_means, squares_of_neurons])
    # Figures that can't be debiased stay NaN.
    centre = torch.where(figures.jackknifed.isnan(), torch.nan, debiased)
    # For pairs, relabelings overestimate the noise and the jackknife underestimates it. The interval contains both.
    upper = torch.maximum(centre, figures.jackknifed) if folded.paired else centre
    return replace(figures, centre=centre, upper=upper)


def _weighted_squares(means: Tensor, test: PermutationTest) -> Tensor:
    """Square mean debiased distances, after multiplying them by a weight that decreases with the p-value.

    Args:
        means: Mean debiased distance over all neurons, and over those of each layer, ``(1 + layers,)``.
        test: The test, with the p-value over all neurons and of each layer.

    Returns:
        The weighted squares, ``(1 + layers,)``; minus infinity if the weight is 0.

    """
    p_values = torch.tensor([test.p_value, *test.layers.tolist()]).to(means)
    weight = (1 - p_values / _LARGEST_P_OF_NEURONS).clamp(min=0)
    return torch.where(weight > 0, (weight * means).square(), -torch.inf)


def _intervals(
    figures: _Figures, folded: FoldedSides, power: int, confidence: float, test: PermutationTest | None
) -> list[Interval | None]:
    """Return the interval of the distance over all neurons, then that of each layer."""
    p_values: list[float | None] = [None] * (1 + len(folded.slices))
    if test is not None:
        p_values = [test.p_value, *test.layers.tolist()]
    num_folds = max(len(folded.sizes_a), len(folded.sizes_b))
    intervals = []
    for index, p_value in enumerate(p_values):
        intervals.append(_interval(figures, index, power, confidence, num_folds, p_value))
    return intervals


def _interval(
    figures: _Figures, index: int, power: int, confidence: float, num_folds: int, p_value: float | None
) -> Interval | None:
    """Return the interval around a debiased figure; None if the variance is unknown.

    If there is a test, the interval contains 0 if and only if the test at the same level finds no difference.

    Args:
        figures: Figures on the scale of ``power``.
        index: Index of the figure.
        power: Power of the distance to which noise adds; the interval is in the unit of the distance itself.
        confidence: Confidence of the interval.
        num_folds: Number of folds of the set that has more folds.
        p_value: P-value of the test for this figure; None without a test.

    """
    jackknife = figures.jackknife(index)
    if isnan(jackknife.variance):
        return None
    half_width = student_quantile((1 + confidence) / 2, jackknife.freedom) * jackknife.variance**0.5
    centre = figures.centre[index].double()
    upper = figures.upper[index].double()
    value = _root(centre, power).item()
    low = _root(centre - half_width, power).item()
    high = _root(upper + half_width, power).item()
    if p_value is None:
        return Interval(value, low, high, confidence, num_folds)
    is_different = p_value <= 1 - confidence
    if not is_different:
        low = 0.0
    # If the test finds a difference, a lower end of 0 does not belong to the interval: see `excludes_zero`.
    return Interval(value, low, high, confidence, num_folds, excludes_zero=is_different)
