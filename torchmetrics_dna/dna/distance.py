"""One distance between two sets: its record, and its result."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch import Tensor

from torchmetrics_dna.dna.base import check_comparable, check_enough
from torchmetrics_dna.dna.evidence import weigh_evidence
from torchmetrics_dna.extractors.projections import own_layers
from torchmetrics_dna.extractors.without_properties import network_of
from torchmetrics_dna.functional.permutation import SIGNIFICANT
from torchmetrics_dna.functional.reduction import mean_over_neurons, weigh_and_reduce
from torchmetrics_dna.neurons import Neurons

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torchmetrics_dna.dna.evidence import Evidence, Interval
    from torchmetrics_dna.dna.unions import Unions

Kind = Literal["histogram", "gaussian", "layer-gaussian"]
Grain = Literal["neuron", "layer", "set"]


_UNTESTABLE = (
    "There is no test: one side has so many more images that its folds can't be exchanged for those of the other;"
    " compare with a part of it, or keep more folds"
)


@dataclass(frozen=True)
class Distance:
    """One distance.

    Args:
        name: What users call it.
        key: Its name in json, tables and Python.
        unit: Of its values.
        sentence: What it measures, in words for people.
        grain: What it is of: each neuron, each layer, or the set as a whole.
        kinds: The kind of DNA that it takes, and others that hold that one; none if it takes features of single images.
        least: How many images a side must have.
        between: The distance between two DNAs of the first kind, float64, shape ``(N,)`` or ``(layers,)``; between
            features of images, the value and, if it has one, its standard deviation over subsets of images, or such
            pairs by key.
        unions: The folds of two such sides, from which a test and an interval follow; of features, also takes the fold
            of each image, and with ``by_image`` a plan. None if it has neither.
        power: Which power of it grows by a share of 1/images because sets are finite.
        subsets: Whether it is the mean over subsets of images, which has a standard deviation.
        by_image: Whether ``unions`` takes features of all layers, not what ``between`` takes.
        pairwise: The distances between all of several such sides, a row for each pair; None to take each by itself.
        higher_is_better: Whether it rises as sets come nearer, so that it is no distance: it says nothing of which set
            is nearest, nor the same of B and A as of A and B.

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

    @property
    def label(self) -> str:
        """Its name, and its unit in brackets if it has one."""
        return f"{self.name} ({self.unit})" if self.unit else self.name

    def layers_of(self, neurons: Neurons) -> list[str]:
        """The layers that its mean and its evidence are of; a distance of layers leaves out projections of others."""
        return {"neuron": list(neurons), "layer": own_layers(neurons), "set": []}[self.grain]

    def result(
        self,
        a: Any,
        b: Any,
        weights: Tensor | None = None,
        *,
        confidence: float = 0.95,
        with_evidence: bool = True,
        unions: Unions | None = None,
        cache: dict[Any, Any] | None = None,
    ) -> Result:
        """Compute the distance between two sets, and how sure it is.

        Args:
            a: DNA of the first of :attr:`kinds`, or features of images.
            b: Likewise.
            weights: Weights of Eq. (5), shape ``(N,)``, or one for each layer; None for the plain mean.
            confidence: Level of the confidence intervals.
            with_evidence: Compute evidence, where there are folds of images.
            unions: The folds of both sides, if ``a`` and ``b`` do not hold them.
            cache: Values of functions that several distances share, for the same sides.

        Raises:
            ValueError: If the sides do not fit together.
            RuntimeError: If one is of too few images.

        """
        spread, cache = None, {} if cache is None else cache
        if self.grain == "set":
            neurons = a.neurons
            if self.between not in cache:
                cache[self.between] = self.between(a, b)
            pair = cache[self.between]
            value, spread = pair[self.key] if isinstance(pair, dict) else pair
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
        return result if unions is None else result.tested(unions, confidence)


class Figure(NamedTuple):
    """A distance over all neurons, or of one layer.

    Attributes:
        value: The distance.
        interval: Confidence interval around the debiased distance; None without folds of images, and for fd of fewer
            than two images a side for each neuron of a layer.
        p_value: Permutation test, for a layer corrected for the number of layers; None without folds on both sides, and
            for fd where it would take too long.

    """

    value: float
    interval: Interval | None = None
    p_value: float | None = None

    @property
    def debiased(self) -> float | None:
        """The distance without what noise adds to it; 0 if nothing is left of it, None without an interval."""
        return None if self.interval is None else self.interval.value

    @property
    def debiased_shown(self) -> float | str | None:
        """As :attr:`debiased`, but "below noise" instead of 0 where the test finds a difference nonetheless."""
        different = self.p_value is not None and self.p_value <= SIGNIFICANT
        return "below noise" if self.debiased == 0 and different else self.debiased


@dataclass(frozen=True, eq=False)
class Result:
    """One distance between two sets, and how sure it is.

    Attributes:
        distance: Its record.
        values: The distance of each neuron, shape ``(N,)``, of each layer, or of the sets, shape ``(1,)``; float64.
        neurons: The neurons, in this order.
        weights: Weights of Eq. (5), or None for the plain mean.
        evidence: Debiased distances, intervals and a test; None without folds of images.
        spread: Standard deviation over subsets of images; None where it is not such a mean, 0 where there is but one.
        limits: One line for what the evidence leaves out, with the reason.

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
        """The terms whose mean is the distance: ``values``, times weights and their number."""
        return weigh_and_reduce(self.values, self.weights, "none")

    @property
    def mean(self) -> Tensor:
        """The distance over all neurons or layers, a scalar on the device of the values.

        Without weights, it leaves out properties of images beside a network; of layers, projections of others, too.
        """
        places = self._averaged
        weighted = self.weighted if places is None else self.weighted[places.to(self.weighted.device)]
        return mean_over_neurons(weighted)

    @property
    def layer_means(self) -> dict[str, Tensor]:
        """The distance of each layer, scalars on the device of the values; none of a distance of sets."""
        if self.distance.grain == "set":
            return {}
        return {layer: mean_over_neurons(values) for layer, values in self._terms.split(self.weighted).items()}

    @cached_property
    def overall(self) -> Figure:
        """The distance over all neurons or layers, with its interval and test."""
        evidence = self.evidence
        test = None if evidence is None else evidence.test
        interval = None if evidence is None else evidence.interval
        return Figure(float(self.mean), interval, None if test is None else test.p_value)

    @cached_property
    def layers(self) -> dict[str, Figure]:
        """The distance of each layer, with its interval and test; none of a distance of sets."""
        evidence, places = self.evidence, {name: i for i, name in enumerate(self.distance.layers_of(self.neurons))}
        figures = {layer: Figure(float(value)) for layer, value in self.layer_means.items()}
        if evidence is None:
            return figures
        for layer, i in places.items():
            p_value = None if evidence.test is None else float(evidence.test.layers[i])
            figures[layer] = Figure(figures[layer].value, evidence.layer_intervals[i], p_value)
        return figures

    @property
    def value(self) -> float:
        """The distance over all neurons or layers."""
        return self.overall.value

    @property
    def debiased(self) -> float | None:
        """The distance without what noise adds to it; see :class:`Figure`."""
        return self.overall.debiased

    @property
    def interval(self) -> Interval | None:
        """Confidence interval around the debiased distance."""
        return self.overall.interval

    @property
    def p_value(self) -> float | None:
        """How often folds that are shared out at random are as far apart, by a permutation test."""
        return self.overall.p_value

    def tested(self, unions: Unions, confidence: float = 0.95) -> Result:
        """The same with evidence from folds, where enough of them have images."""
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
        return replace(self, evidence=evidence, limits=tuple(limits))

    @property
    def _terms(self) -> Neurons:
        """The terms of each layer: its neurons, or itself."""
        return self.neurons if self.distance.grain == "neuron" else Neurons(dict.fromkeys(self.neurons, 1))

    @cached_property
    def _averaged(self) -> Tensor | None:
        """Indices of the terms that the mean is of; None for all."""
        if self.weights is not None or self.distance.grain == "set":
            return None
        terms = self._terms
        layers = self.distance.layers_of(network_of(terms) or terms)
        return None if len(layers) == len(terms) else terms.positions(layers)
