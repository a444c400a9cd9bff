"""Distance between two sets: its record, and its result."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from math import isnan
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch import Tensor

from torchmetrics_dna.dna.base import check_comparable, check_enough
from torchmetrics_dna.dna.evidence import weigh_evidence
from torchmetrics_dna.dna.jackknife import has_negative
from torchmetrics_dna.extractors.views import network_of
from torchmetrics_dna.files.visible import number
from torchmetrics_dna.functional.permutation import SIGNIFICANT
from torchmetrics_dna.functional.reduction import mean_over_neurons, weigh_and_reduce
from torchmetrics_dna.functional.student import student_tail
from torchmetrics_dna.neurons import Neurons

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torchmetrics_dna.dna.evidence import Evidence, Interval
    from torchmetrics_dna.dna.unions import Unions
    from torchmetrics_dna.images.cells import Crop

Kind = Literal["histogram", "gaussian", "layer-gaussian"]
Grain = Literal["neuron", "layer", "set"]

_UNTESTABLE = (
    "There is no test: one side has so many more images that its folds can't be exchanged for those of the other;"
    " compare with a part of it, or keep more folds"
)


class Protocol(NamedTuple):
    """Network and images of a published metric."""

    feature: str  # name of the preset, which brings resize, mean and standard deviation
    layer: str
    crop: Crop = "none"  # of images before they are resized


_SIGNED = "weights below 0 have no interval and no value without noise, since noise can move their sum either way"


def _below_noise(name: str, value: float, debiased: float) -> str:
    return (
        f"{name} is {number(value)}, but equal sets of this size give {number(value - debiased)}; these may be the"
        " reference's own images, or features that hardly vary"
    )


def _too_few_pairs(num_folds: int, least_p_value: float) -> str:
    return (
        f"{num_folds} folds of pairs can't give a p-value below {least_p_value:.2g}, so no difference can be shown;"
        " give at least 6 pairs"
    )


@dataclass(frozen=True)
class Distance:
    """Record of a distance.

    Args:
        name: Display name.
        key: Name in json, tables and Python.
        unit: Unit of the values.
        sentence: One-line explanation for readers of a report.
        grain: Granularity of the values: per neuron, per layer, or one for the set.
        kinds: Kind of DNA that it needs, then kinds that contain that one; empty if it needs features of single images.
        least: Minimum number of images per side.
        between: Function of two DNAs of the first kind that returns distances, float64, shape ``(N,)`` or
            ``(layers,)``; or of features of images, ``(images, n)`` each, that returns the value, with its standard
            deviation over subsets of images if it is a mean over these, or values by key.
        unions: Function of the two sides that returns their :class:`Unions`, for the test and the interval; for
            features, it also takes the fold of each image, and with ``by_image`` a plan. None for no evidence.
        power: Power of the distance whose finite-sample bias is proportional to 1/images.
        subsets: True if the distance is a mean over subsets of images.
        by_image: True if ``unions`` takes features of all layers instead of the arguments of ``between``.
        pairwise: Function of several sides that returns the distances of all pairs, a row each; None to call
            ``between`` for each pair.
        higher_is_better: True for scores where higher is better; they are not symmetric and never order sets.
        protocol: Network and layer of a published metric; None for a distance of any network.

    """

    name: str
    key: str
    unit: str
    sentence: str
    grain: Grain
    kinds: tuple[Kind, ...]
    least: int
    between: Callable[[Any, Any], Any]
    unions: Callable[..., Unions] | None = None
    power: int = 1
    subsets: bool = False
    by_image: bool = False
    pairwise: Callable[[Sequence[Any]], Tensor] | None = None
    higher_is_better: bool = False
    protocol: Protocol | None = None

    @property
    def layer(self) -> str | None:
        """The layer of a published metric; None for a distance of any layers."""
        return None if self.protocol is None else self.protocol.layer

    @property
    def label(self) -> str:
        """Name, with the unit in brackets if there is one."""
        return f"{self.name} ({self.unit})" if self.unit else self.name

    def layers_of(self, neurons: Neurons) -> list[str]:
        """Return the layers in the mean and the evidence."""
        return [] if self.grain == "set" else list(neurons)

    def result(
        self,
        a: Any,
        b: Any,
        weights: Tensor | None = None,
        *,
        confidence: float = 0.95,
        with_evidence: bool = True,
        unions: Unions | None = None,
        paired: bool = False,
        cache: dict[Any, Any] | None = None,
    ) -> Result:
        """Compute the distance between two sets and its evidence.

        Args:
            a: DNA of the first of :attr:`kinds`, or features of images.
            b: DNA or features of the other set.
            weights: Weights of Eq. (5), shape ``(N,)``, or one for each layer; None for the plain mean.
            confidence: Level of the confidence intervals.
            with_evidence: Compute evidence, where there are folds of images.
            unions: Folds of both sides, if ``a`` and ``b`` do not contain them.
            paired: Whether fold k of one side and fold k of the other hold the same pairs of images.
            cache: Values of :attr:`between` that several distances of the same two sides share.

        Raises:
            ValueError: If the sides are not comparable.
            RuntimeError: If a side has too few images.

        """
        spread = None
        if self.grain == "set":
            neurons = a.neurons
            value, spread = self.of_features(a.values, b.values, cache)
            values = torch.tensor([value], dtype=torch.float64)
        else:
            check_comparable(a, b)
            check_enough(a, b, self.name, self.least)
            values, neurons = self.between(a, b), a.neurons
        result = Result(self, values, neurons, weights, spread=spread)
        if not with_evidence or self.unions is None:
            return result
        if unions is None and self.kinds and not self.by_image:
            unions = self.unions(a, b)
        if unions is None:
            return result
        return result.tested(unions.as_pairs() if paired else unions, confidence)

    def of_features(self, a: Tensor, b: Tensor, cache: dict[Any, Any] | None = None) -> tuple[float, float | None]:
        """Compute a distance of features ``(images, n)``, and its deviation over subsets; ``cache`` as in `result`."""
        cache = {} if cache is None else cache
        if self.between not in cache:
            cache[self.between] = self.between(a, b)
        figure = cache[self.between]
        if isinstance(figure, dict):
            figure = figure[self.key]
        return figure if isinstance(figure, tuple) else (float(figure), None)


class Figure(NamedTuple):
    """Distance over all neurons, or of one layer.

    Attributes:
        value: The distance.
        interval: Confidence interval around the debiased distance; None without folds of images, and for fd with fewer
            than two images per neuron of a layer and side.
        p_value: P-value of a permutation test, for a layer corrected for the number of layers; None without folds on
            both sides, and for fd where the test would take too long.

    """

    value: float
    interval: Interval | None = None
    p_value: float | None = None

    @property
    def debiased(self) -> float | None:
        """Distance corrected for sampling noise; 0 if nothing is left, None without an interval."""
        return None if self.interval is None else self.interval.value

    @property
    def debiased_shown(self) -> float | str | None:
        """:attr:`debiased`; if nothing is left of a distance, "below noise" and the end of the interval."""
        if self.interval is None or self.interval.value != 0 or self.value == 0:
            return self.debiased
        return "below noise" + (f", at most {number(self.interval.high)}" if self.interval.high > 0 else "")

    @property
    def ends(self) -> str:
        """Ends of the interval in words; a dash without one."""
        return "-" if self.interval is None else self.interval.ends

    def to_dict(self) -> dict[str, float | None]:
        """Return all figures in plain types."""
        low, high = (None, None) if self.interval is None else (self.interval.low, self.interval.high)
        return {"value": self.value, "debiased": self.debiased, "low": low, "high": high, "p_value": self.p_value}


@dataclass(frozen=True, eq=False)
class Result:
    """Distance between two sets, with its evidence.

    Attributes:
        distance: Record of the distance.
        values: Distances per neuron, shape ``(N,)``, per layer, or of the sets, shape ``(1,)``; float64.
        neurons: The neurons, in the order of ``values``.
        weights: Weights of Eq. (5), or None for the plain mean.
        evidence: Debiased distances, intervals and a test; None without folds of images.
        spread: Standard deviation over subsets of images; 0 for a single subset, None if it is not a mean over subsets.
        limits: One line for each part of the evidence that is missing, with the reason.

    """

    distance: Distance
    values: Tensor
    neurons: Neurons
    weights: Tensor | None = None
    evidence: Evidence | None = None
    spread: float | None = None
    limits: tuple[str, ...] = ()

    @cached_property
    def weighted(self) -> Tensor:
        """Terms whose mean is the distance: ``values * weights * len(weights)``."""
        return weigh_and_reduce(self.values, self.weights, "none")

    @property
    def mean(self) -> Tensor:
        """Distance over all neurons or layers, a scalar on the device of the values.

        Without weights, image properties beside a network are left out.
        """
        averaged = self._averaged
        weighted = self.weighted if averaged is None else self.weighted[averaged.to(self.weighted.device)]
        return mean_over_neurons(weighted)

    @property
    def layer_means(self) -> dict[str, Tensor]:
        """Distance of each layer, scalars on the device of the values; empty for a distance of sets."""
        if self.distance.grain == "set":
            return {}
        return {layer: mean_over_neurons(values) for layer, values in self._terms.split(self.weighted).items()}

    @cached_property
    def overall(self) -> Figure:
        """Distance over all neurons or layers, with its interval and test."""
        evidence = self.evidence
        test = None if evidence is None else evidence.test
        interval = None if evidence is None else evidence.interval
        return Figure(float(self.mean), interval, None if test is None else test.p_value)

    @cached_property
    def layers(self) -> dict[str, Figure]:
        """Distance of each layer, with its interval and test; empty for a distance of sets."""
        evidence, columns = self.evidence, {name: i for i, name in enumerate(self.distance.layers_of(self.neurons))}
        figures = {layer: Figure(float(value)) for layer, value in self.layer_means.items()}
        if evidence is None:
            return figures
        for layer, i in columns.items():
            p_value = None if evidence.test is None else float(evidence.test.layers[i])
            figures[layer] = Figure(figures[layer].value, evidence.layer_intervals[i], p_value)
        return figures

    @property
    def value(self) -> float:
        """Distance over all neurons or layers."""
        return self.overall.value

    @property
    def debiased(self) -> float | None:
        """Distance corrected for sampling noise; see :class:`Figure`."""
        return self.overall.debiased

    @property
    def interval(self) -> Interval | None:
        """Confidence interval around the debiased distance."""
        return self.overall.interval

    @property
    def standard_error(self) -> float | None:
        """Standard error of the value over draws of images, by the jackknife; None without an interval, and at 0."""
        if self.evidence is None or self.interval is None or not self.value:
            return None
        variance, power = self.evidence.jackknife.variance, self.evidence.power
        return None if isnan(variance) else variance**0.5 / (power * abs(self.value) ** (power - 1))

    @property
    def p_value(self) -> float | None:
        """P-value of the permutation test: share of random relabelings of folds that are at least as far apart."""
        return self.overall.p_value

    def p_value_of_at_least(self, distance: float) -> float | None:
        """P-value of the hypothesis that the populations are at least so far apart, by the jackknife's variance.

        A p-value of 0.05 or less shows that they are nearer, which a large :attr:`p_value` does not. None without an
        interval.

        Args:
            distance: A distance above 0.

        Raises:
            ValueError: If it is not above 0.

        """
        if not distance > 0:
            raise ValueError(f"Argument `distance` expected to be above 0, but got {distance}")
        if not self.values.any():
            return 0.0  # equal sets
        if self.evidence is None or self.interval is None or isnan(self.evidence.jackknife.variance):
            return None
        variance, freedom = self.evidence.jackknife.variance, self.evidence.jackknife.freedom
        beyond = distance**self.evidence.power - self.evidence.upper
        return student_tail(beyond / variance**0.5, freedom) if variance else float(beyond <= 0)

    def tested(self, unions: Unions, confidence: float = 0.95) -> Result:
        """Return the result with evidence from folds, if enough of them have images."""
        values, weights = self.values, self.weights
        if self.distance.grain == "layer":
            own = self.distance.layers_of(self.neurons)
            values = values[[layer in own for layer in self.neurons]]
        elif weights is None and self._averaged is not None:
            weights = torch.zeros(len(values), dtype=torch.float64)
            weights[self._averaged] = 1 / len(self._averaged)
        evidence = weigh_evidence(values, unions, self.distance.power, weights, confidence)
        if evidence is None:
            return self
        untestable = evidence.test is None and not any(unions.exact)
        limits = unions.limits or ((_UNTESTABLE,) if untestable else ())
        least_p_value = evidence.least_p_value
        if unions.paired and least_p_value is not None and least_p_value > SIGNIFICANT:
            limits = (*limits, _too_few_pairs(len(unions.sizes_a), least_p_value))
        if has_negative(weights):
            limits = (*limits, _SIGNED)
        if self.distance.by_image and any(unions.exact) and evidence.is_below_noise:
            limits = (*limits, _below_noise(self.distance.name, self.value, evidence.centre))
        return replace(self, evidence=evidence, limits=tuple(limits))

    @property
    def _terms(self) -> Neurons:
        """Terms per layer: its neurons, or one for a distance of layers."""
        return self.neurons if self.distance.grain == "neuron" else Neurons(dict.fromkeys(self.neurons, 1))

    @cached_property
    def _averaged(self) -> Tensor | None:
        """Indices of the terms in the mean; None for all."""
        if self.weights is not None or self.distance.grain == "set":
            return None
        terms = self._terms
        layers = self.distance.layers_of(network_of(terms) or terms)
        return None if len(layers) == len(terms) else terms.positions(layers)
