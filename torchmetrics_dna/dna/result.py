"""Result of a distance between two sets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from math import isnan
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from torchmetrics_dna.dna.averaging import Averaging
from torchmetrics_dna.dna.evidence import Evidence, Interval, weigh_evidence
from torchmetrics_dna.files.visible import number, p_figure
from torchmetrics_dna.functional.permutation import SIGNIFICANT, PermutationTest
from torchmetrics_dna.functional.reduction import mean_over_neurons
from torchmetrics_dna.functional.student import student_tail
from torchmetrics_dna.images.properties import without_properties
from torchmetrics_dna.neurons import Neurons

if TYPE_CHECKING:
    from torchmetrics_dna.dna.distances import Distance
    from torchmetrics_dna.dna.folded import FoldedSides

_UNTESTABLE = (
    "There is no test: one side is so much larger that its folds can't be exchanged for those of the other;"
    " compare with a part of it, or keep more folds"
)


class Finding(NamedTuple):
    """Figures of a distance, over all neurons or of one layer.

    Attributes:
        value: The distance.
        interval: Confidence interval of the distance; None without folds of images, and for fd of too few images.
        p_value: P-value of the permutation test. The p-value of a layer is corrected for the number of layers. None if
            there is no test.
        error: Standard error of the value over draws of images, or else its standard deviation over subsets of images.
            None if neither is known, and for a layer.
        null_mean: Mean distance of samples of the same distribution, of these sizes; None without a test, and for a
            layer.
        ratio_to_null: The value divided by ``null_mean``, if the difference is significant. The ratio grows with the
            number of images.

    """

    value: float
    interval: Interval | None = None
    p_value: float | None = None
    error: float | None = None
    null_mean: float | None = None
    ratio_to_null: float | None = None

    @property
    def debiased(self) -> float | None:
        """Debiased distance; 0 if it is within sampling noise, None without an interval."""
        if self.interval is None:
            return None
        return self.interval.value

    @property
    def low(self) -> float | None:
        """Lower end of the interval."""
        return None if self.interval is None else self.interval.low

    @property
    def high(self) -> float | None:
        """Upper end of the interval."""
        return None if self.interval is None else self.interval.high


class FewDiffer(NamedTuple):
    """Number of neurons or layers that differ, if the mean over all neurons does not.

    Attributes:
        number: The number.
        what: ``"neuron"`` or ``"layer"``.

    """

    number: int
    what: str

    @property
    def number_in_words(self) -> str:
        """Number with a verb, such as "1 neuron differs" or "3 layers differ"."""
        if self.number == 1:
            return f"1 {self.what} differs"
        return f"{self.number:,} {self.what}s differ"

    @property
    def in_words(self) -> str:
        """Text for tables and legends."""
        return f"no shift on average, but {self.number_in_words}"


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """Distance between two sets, with its evidence.

    Attributes:
        distance: Registry entry of the distance.
        values: Distance of each neuron, ``(N,)``, of each layer, ``(layers,)``, or of the sets, ``(1,)``; float64.
        neurons: The neurons, in the order of ``values``.
        averaging: How the values become one number.
        evidence: Debiased distances, intervals and a test; None without folds of images.
        spread: Standard deviation over subsets of images; 0 for a single subset, None if the distance is not a mean
            over subsets.
        limits: One line for each part of the evidence that is missing, with the reason.

    """

    distance: Distance
    values: Tensor
    neurons: Neurons
    averaging: Averaging
    evidence: Evidence | None = None
    spread: float | None = None
    limits: tuple[str, ...] = ()

    def __repr__(self) -> str:
        value = f"{self.distance.name} {number(self.value, 3)}"
        if self.distance.unit == "bins":
            value += " bins"
        statements = [value]
        if self.few_differ is not None:
            statements.append(self.few_differ.in_words)
        elif self.interval is not None:
            statements.append(f"debiased {number(self.debiased, 3)} ({self.interval.in_words})")
        if self.p_value is not None:
            statements.append(p_figure(self.p_value, "p"))
        return ", ".join(statements)

    @cached_property
    def weighted(self) -> Tensor:
        """Values, scaled so that their mean is the distance over all neurons or layers."""
        return self.averaging.terms(self.values)

    @property
    def mean(self) -> Tensor:
        """Distance over all neurons or layers, a scalar on the device of the values.

        Image properties are left out if there are layers of a network, and neurons have no weights.
        """
        terms = self.weighted
        if self._averaged is not None:
            terms = terms[self._averaged.to(terms.device)]
        return mean_over_neurons(terms)

    @property
    def layer_means(self) -> dict[str, Tensor]:
        """Distance of each layer, as scalars on the device of the values; empty for a distance of sets."""
        if self.distance.granularity == "set":
            return {}
        return {layer: mean_over_neurons(values) for layer, values in self._terms.split(self.weighted).items()}

    @cached_property
    def overall(self) -> Finding:
        """Figures of the distance over all neurons or layers."""
        return Finding(
            value=float(self.mean),
            interval=None if self.evidence is None else self.evidence.interval,
            p_value=None if self._test is None else self._test.p_value,
            error=self.standard_error or self.spread,
            null_mean=self.null_mean,
            ratio_to_null=self.ratio_to_null,
        )

    @cached_property
    def layers(self) -> dict[str, Finding]:
        """Figures of each layer; empty for a distance of sets."""
        findings = {}
        for i, (layer, mean) in enumerate(self.layer_means.items()):
            interval = None if self.evidence is None else self.evidence.layer_intervals[i]
            p_value = None if self._test is None else float(self._test.layers[i])
            findings[layer] = Finding(float(mean), interval, p_value)
        return findings

    @property
    def findings(self) -> dict[str | None, Finding]:
        """Figures over all neurons, with the key None, and figures of each layer, with the name of the layer as key.

        A published metric has no figures of layers.
        """
        findings: dict[str | None, Finding] = {None: self.overall}
        if self.distance.protocol is None:
            findings.update(self.layers)
        return findings

    @property
    def _test(self) -> PermutationTest | None:
        """Permutation test; None without evidence or without a test."""
        return None if self.evidence is None else self.evidence.test

    @cached_property
    def value(self) -> float:
        """Distance over all neurons or layers."""
        return float(self.mean)

    @property
    def debiased(self) -> float | None:
        """Debiased distance; 0 if it is within sampling noise, None without an interval."""
        return None if self.interval is None else self.interval.value

    @property
    def interval(self) -> Interval | None:
        """Confidence interval of the distance; None if there is none."""
        return None if self.evidence is None else self.evidence.interval

    @property
    def standard_error(self) -> float | None:
        """Standard error of the value over draws of images, by the jackknife.

        None without an interval, and if the value is 0.
        """
        if self.evidence is None or self.interval is None or not self.value:
            return None
        variance = self.evidence.jackknife.variance
        if isnan(variance):
            return None
        # The variance is that of a power of the distance, so its root is divided by the derivative of the power.
        power = self.evidence.power
        derivative = power * abs(self.value) ** (power - 1)
        error: float = variance**0.5 / derivative
        return error

    @property
    def p_value(self) -> float | None:
        """P-value of the permutation test of the folds; None without a test."""
        if self._test is None:
            return None
        return self._test.p_value

    @property
    def null_mean(self) -> float | None:
        """Mean distance of samples of the same distribution, of these sizes; None without a test.

        It is the mean over permutations of the folds. If the difference is significant, permuted sets still differ, so
        the mean over halves of A is used.
        """
        if self.evidence is None:
            return None
        if self.ratio_to_null is None:
            return self.evidence.null
        return self.evidence.chance

    @property
    def ratio_to_null(self) -> float | None:
        """The value divided by the null mean, if the difference is significant. It grows with the number of images.

        None if the difference is not significant, for distances of layers and of sets, and if A has too few folds.
        """
        if self.evidence is None or self.distance.granularity != "neuron":
            return None
        null_mean = self.evidence.chance
        is_significant = self.p_value is not None and self.p_value <= SIGNIFICANT
        if not null_mean or not is_significant:
            return None
        return self.value / null_mean

    @property
    def few_differ(self) -> FewDiffer | None:
        """Number of neurons or layers that differ, if the difference is significant, but no larger than the null mean.

        The mean then does not show the few neurons that differ, because of the sampling noise of all other neurons.
        None otherwise.
        """
        test = self._test
        if self.distance.granularity != "neuron" or test is None or test.p_value > SIGNIFICANT:
            return None
        null_mean = self.null_mean
        if null_mean is None or self.value > null_mean:
            return None
        num_neurons = int((test.neurons <= SIGNIFICANT).sum())
        if num_neurons:
            return FewDiffer(num_neurons, "neuron")
        num_layers = int((test.layers <= SIGNIFICANT).sum())
        if num_layers:
            return FewDiffer(num_layers, "layer")
        # The test of all layers and neurons together is significant, so at least one of them differs.
        return FewDiffer(1, "layer or neuron")

    def p_value_of_at_least(self, distance: float) -> float | None:
        """Return the p-value of the hypothesis that the distance of the populations is at least ``distance``.

        A p-value of 0.05 or less shows that the populations are closer. A large :attr:`p_value` does not show that. The
        test uses the variance of the jackknife.

        Args:
            distance: A distance above 0.

        Returns:
            The p-value; None without an interval.

        Raises:
            ValueError: If the distance is not above 0.

        """
        if not distance > 0:
            raise ValueError(f"Argument `distance` expected to be above 0, but got {distance}")
        # The sets are equal.
        if not self.values.any():
            return 0.0
        if self.evidence is None or self.interval is None:
            return None
        jackknife = self.evidence.jackknife
        if isnan(jackknife.variance):
            return None
        excess = distance**self.evidence.power - self.evidence.upper
        if jackknife.variance == 0:
            return float(excess <= 0)
        return student_tail(excess / jackknife.variance**0.5, jackknife.freedom)

    def tested(self, folded: FoldedSides, confidence: float = 0.95) -> Result:
        """Return the result with evidence from folds. If too few folds have images, return the result itself."""
        averaging = self._averaging_of_terms
        evidence = weigh_evidence(self.values, folded, self.distance.power, averaging, confidence)
        if evidence is None:
            return self
        limits = self._limits(folded, evidence, averaging)
        return replace(self, evidence=evidence, limits=tuple(limits))

    @property
    def _averaging_of_terms(self) -> Averaging:
        """Averaging of all terms. Neurons that :attr:`mean` leaves out have a weight of 0."""
        if self.distance.granularity != "neuron" or self._averaged is None:
            return self.averaging
        weights = torch.zeros(len(self.values), dtype=torch.float64)
        weights[self._averaged] = 1 / len(self._averaged)
        return Averaging(weights)

    def _limits(self, folded: FoldedSides, evidence: Evidence, averaging: Averaging) -> list[str]:
        """Return one line for each part of the evidence that is missing or doubtful, with the reason."""
        limits = list(folded.limits)
        # There is never a test if a set is treated as exact.
        if not limits and evidence.test is None and not any(folded.exact):
            limits.append(_UNTESTABLE)
        least_p_value = evidence.least_p_value
        if folded.paired and least_p_value is not None and least_p_value > SIGNIFICANT:
            limits.append(
                f"{len(folded.sizes_a)} folds of pairs can't have a p-value below {least_p_value:.2g}, so no"
                " difference can be shown; pass at least 6 pairs"
            )
        if averaging.why_noisy:
            limits.append(averaging.why_noisy)
        if self.distance.by_image and any(folded.exact) and evidence.is_below_noise:
            limits.append(
                f"{self.distance.name} is {number(self.value)}, but equal sets of this size have a mean of"
                f" {number(self.value - evidence.centre)}; B may be a part of A, or the features may hardly vary"
            )
        return limits

    @property
    def _terms(self) -> Neurons:
        """Index of the values: the neurons, or one value per layer for a distance of layers."""
        if self.distance.granularity == "neuron":
            return self.neurons
        return Neurons(dict.fromkeys(self.neurons, 1))

    @cached_property
    def _averaged(self) -> Tensor | None:
        """Indices of the values that enter the mean; None for all values."""
        if not self.averaging.is_plain or self.distance.granularity == "set":
            return None
        terms = self._terms
        layers = list(without_properties(terms) or terms)
        if len(layers) == len(terms):
            return None
        return terms.positions(layers)
