"""What the metrics share: two sides, an extractor, weights and a reduction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar

import torch
from torch import Tensor

from torchmetrics_dna.dna import DNA, TooFewImagesError, check_comparable
from torchmetrics_dna.dna.base import check_enough
from torchmetrics_dna.dna.changes import ChangeDictionary, changes_for
from torchmetrics_dna.dna.distances import flat_figures
from torchmetrics_dna.dna.explanation import Explanation, explain
from torchmetrics_dna.dna.neuron_weights import NeuronWeights, resolve_weights
from torchmetrics_dna.extractors.without_properties import network_of
from torchmetrics_dna.functional.reduction import mean_over_neurons, weigh_and_reduce
from torchmetrics_dna.metrics.sided import NAMES, SidedMetric, Value
from torchmetrics_dna.metrics.state import digest_of
from torchmetrics_dna.neurons import Neurons

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from torchmetrics_dna.dna.distances import Distance
    from torchmetrics_dna.functional.permutation import PermutationTest
    from torchmetrics_dna.statistics import DNAStatistic, State
    from torchmetrics_dna.statistics.resolve import Resolved

MetricReduction = Literal["mean", "layer", "none", "class"]
_D = TypeVar("_D", bound=DNA)


class DNAMetric(SidedMetric, Generic[_D]):
    """A distance between the DNAs of real and fake images.

    A subclass names the distance, says by which statistic activations add up, and how layers are weighted if it is of
    these.
    """

    distance: ClassVar[Distance]
    reductions: ClassVar[tuple[str, ...]] = ("mean", "layer", "none")
    plot_legend_name: str = "Layer"
    _statistic: DNAStatistic[Any]

    def __init__(
        self,
        resolved: Resolved,
        reset_real_features: bool,
        normalize: bool,
        neuron_weights: NeuronWeights | Tensor | str | os.PathLike[str] | None,
        reduction: MetricReduction,
        **kwargs: Any,
    ) -> None:
        super().__init__(resolved, reset_real_features, normalize, **kwargs)
        if reduction not in self.reductions:
            *others, last = map(repr, self.reductions)
            raise ValueError(
                f"Argument `reduction` expected to be {', '.join(others)} or {last}, but got {reduction!r}"
            )
        self.reduction = reduction
        self.reference: _D | None = resolved.dnas[0] if resolved.dnas else None  # type: ignore[assignment]
        known = self.neurons, self.extractor.name, self.extractor.weights_digest
        self.neuron_weights = resolve_weights(neuron_weights, *known)

    def _accumulate(self, statistic: DNAStatistic[Any]) -> None:
        """Register the states; ValueError if the reference is of another kind of DNA."""
        options = {"reset_real_features": self.reset_real_features}
        self._accumulate_by(statistic, ("real", "fake") if self.reference is None else ("fake",), options)
        if self.reference is not None:
            check_comparable(self.reference, self._dna(self._side("fake")))

    @property
    def _is_given(self) -> bool:
        return self.reference is not None

    @property
    def _mergeable(self) -> dict[str, Any]:
        return super()._mergeable | {"references": "none" if self.reference is None else self.reference.digest}

    @property
    def _agreed(self) -> dict[str, Any]:
        return super()._agreed | {"neuron weights (digest)": digest_of(self._weights)}

    @property
    def _terms(self) -> Neurons:
        """The neurons, or in their place the layers, that have a distance of their own."""
        return self.neurons if self.distance.grain == "neuron" else Neurons(dict.fromkeys(self.neurons, 1))

    @property
    def _weights(self) -> Tensor | None:
        """The weight of each distance."""
        return self.neuron_weights

    def to_dna(self, real: bool) -> _D:
        """The DNA of one side as accumulated so far, over all processes."""
        if real and self.reference is not None:
            return self.reference
        with self._whole():
            return self._snapshot(real)

    def explain(self, changes: ChangeDictionary | str | os.PathLike[str] | None = None) -> Explanation:
        """Say in words what differs between the sides, over all processes; ``str()`` of it is a text for a log.

        It names properties of images, if they are watched (``DNAExtractor(properties=True)``), and changes of images
        that explain the shift of the neurons. With ``num_folds`` it names nothing where the test finds no difference.

        Args:
            changes: What named changes do to the neurons, as :func:`make_changes` measures it, or the path of a file of
                it; by default what is packaged with the extractor, if anything is.

        Raises:
            ValueError: If the dictionary of changes is for another extractor.
            RuntimeError: If a side has too few images.

        """
        with self._whole():
            a, b = self._pair()
            check_enough(a, b, type(self).__name__, 1)
            known = changes_for(changes, self.extractor.name, self.extractor.weights_digest)
            return explain(a, b, self._test(), known, ("real", "fake"))

    def scalars(self, prefix: str = "dna/") -> dict[str, float]:
        """The distance for a logger, over all processes, whatever the reduction.

        Args:
            prefix: What names begin with.

        Returns:
            A number for each name, over all neurons as ``dna/dna_emd``, of a layer as ``dna/block_0/dna_emd``. With
            ``num_folds`` also without what noise adds, as ``dna/dna_emd_debiased``, ``dna/block_0/dna_emd_debiased``.

        Raises:
            RuntimeError: If a side has too few images.

        """
        with self._whole():
            return flat_figures(prefix, *self._figures())

    def _figures(self) -> tuple[dict[str, float | None], dict[str, dict[str, float | None]]]:
        """The distance by key, in all and of each layer."""
        distances, key = self.distance.of_dnas(*self._pair()), self.distance.key
        layers = self._reduce(distances, "layer").items()
        return {key: float(self._reduce(distances, "mean"))}, {layer: {key: float(value)} for layer, value in layers}

    def _test(self) -> PermutationTest | None:
        """Whether the sides differ at all; None where no folds are kept."""
        return None

    def _dna(self, side: State) -> _D:
        """The DNA of a side, a view of it where possible."""
        dna: _D = self._statistic.value(side)
        return dna

    def _snapshot(self, real: bool) -> _D:
        return self._dna({name: state.clone() for name, state in self._side(NAMES[real]).items()})

    def _pair(self) -> tuple[_D, _D]:
        """The DNAs of both sides."""
        real = self._dna(self._side("real")) if self.reference is None else self.reference
        return real, self._dna(self._side("fake"))

    def _value(self) -> Value:
        """What the metric gives for its sides; RuntimeError if one has too few images."""
        value: Value = self._reduce(self.distance.of_dnas(*self._pair()), self.reduction)
        return value

    def _value_or_nan(self) -> Value:
        try:
            return self._value()
        except TooFewImagesError:
            nothing = torch.full((self._terms.total,), torch.nan, dtype=torch.float64, device=self.device)
            value: Value = self._reduce(nothing, self.reduction)
            return value

    def _reduce(self, distances: Tensor, reduction: MetricReduction) -> Any:
        weighted = weigh_and_reduce(distances, self._weights, "none")
        if reduction == "layer":
            return {layer: mean_over_neurons(values) for layer, values in self._terms.split(weighted).items()}
        if reduction == "none":
            return weighted
        return self._mean(weighted)

    def _mean(self, weighted: Tensor) -> Tensor:
        """Over all terms but properties of images beside a network; of layers, also but projections of others."""
        if self._weights is not None:
            return mean_over_neurons(weighted)
        terms = network_of(self._terms) or self._terms
        places = self._terms.positions(self.distance.layers_of(terms))
        return mean_over_neurons(weighted[places.to(weighted.device)])

    def _apply(self, fn: Callable[..., Any], exclude_state: Sequence[str] = ()) -> DNAMetric[_D]:
        super()._apply(fn, exclude_state)
        if self.reference is not None:
            self.reference = self.reference.to(self.device)
        return self
