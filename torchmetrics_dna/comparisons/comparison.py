"""Comparison: what differs between two sets that were measured."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from math import inf
from typing import TYPE_CHECKING, Any, Literal

from torchmetrics_dna.dna import HistogramDNA
from torchmetrics_dna.dna.distances import DISTANCES, Distance, Grain, flat_figures
from torchmetrics_dna.dna.explanation import (
    SIGNIFICANT,
    Explanation,
    as_gaussian,
    explain,
    has_means,
    property_differences,
)
from torchmetrics_dna.dna.histogram import in_same_bins
from torchmetrics_dna.dna.names import name_of
from torchmetrics_dna.files.visible import number
from torchmetrics_dna.functional.permutation import holm
from torchmetrics_dna.functional.reduction import mean_over_neurons, weigh_and_reduce

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from torchmetrics_dna.dna.changes import ChangeDictionary
    from torchmetrics_dna.dna.evidence import Evidence, Interval
    from torchmetrics_dna.dna.names import NeuronNames
    from torchmetrics_dna.functional.permutation import PermutationTest
    from torchmetrics_dna.jobs.measure import Measured
    from torchmetrics_dna.neurons.index import Neurons

SHARED = 0.1  # of the images of B; of different pictures, up to 3 % look nearly alike
TESTED = ("z", "p_value", "q")  # of a neuron


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """How far two image sets A and B are apart, and where; None stands for what was not asked for.

    Attributes:
        neurons: The neurons, in the order of the tensors below.
        found: The distances by name: of each neuron, shape ``(N,)``, of each layer, or of the sets, shape ``(1,)``.
        num_images: Images of ``a`` and of ``b``.
        extractor: Name of the extractor.
        num_bins: Bins of the histograms, or None.
        ranges: Name or digest of the activation ranges, or None.
        neuron_weights: The weights of Eq. (5), or None for the plain mean.
        unreadable: One line for each image that was left out.
        measured: The DNAs of A and of B that were compared.
        evidence: How sure distances are, by name, where folds of images were kept.
        spread: Standard deviation of a distance of the sets over subsets of images, by name; 0 where there is but one.
        notices: What the reader should know, a line each: images that look nearly alike, and what could not be said.
        neuron_names: What neurons are called, ``{layer: {number: text}}``.
        changes: What named changes of images do to the neurons, or None.
        properties: The comparison of properties of images, if these were watched too; its tests are its own.
        names: What A and B are called in figures: their paths, or the letters.
        copies: How many images of B look nearly like images of A, by thumbnails; 0 where nobody looked.

    """

    neurons: Neurons
    found: dict[str, Tensor]
    num_images: dict[str, int]
    extractor: str
    num_bins: int | None = None
    ranges: str | None = None
    neuron_weights: Tensor | None = None
    unreadable: list[str] = field(default_factory=list)
    measured: tuple[Measured, Measured] | None = None
    evidence: dict[str, Evidence] = field(default_factory=dict)
    spread: dict[str, float] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)
    neuron_names: NeuronNames = field(default_factory=dict)
    changes: ChangeDictionary | None = None
    properties: Comparison | None = None
    names: tuple[str, str] = ("A", "B")
    copies: int = 0

    def value(self, distance: str, layer: str | None = None) -> float | None:
        """One distance, over all neurons or layers, or of one layer; None if it was not asked for or has no layers."""
        values, record = self.found.get(distance), DISTANCES[distance]
        if values is None or record.grain == "set":
            return None if values is None or layer is not None else float(values)
        if record.grain == "layer":
            of = record.layers_of(self.neurons) if layer is None else [layer]
            return float(values[[list(self.neurons).index(one) for one in of]].mean())
        where = slice(None) if layer is None else self.neurons.slices[layer]
        return float(mean_over_neurons(weigh_and_reduce(values, self.neuron_weights, "none")[where]))

    def debiased(self, distance: str, layer: str | None = None) -> float | None:
        """One distance without what noise adds to it, over all neurons or of one layer; 0 if nothing is left of it."""
        found = self.interval_of(distance, layer)
        return None if found is None else found.value

    def debiased_shown(self, distance: str, layer: str | None = None) -> float | str | None:
        """As :meth:`debiased`, but "below noise" instead of 0 where the test finds a difference nonetheless."""
        value, p = self.debiased(distance, layer), self.p_value_of(distance, layer)
        return "below noise" if value == 0 and p is not None and p <= SIGNIFICANT else value

    def interval_of(self, distance: str, layer: str | None = None) -> Interval | None:
        """The confidence interval around :meth:`debiased`, of each layer by itself.

        None without folds of images, and for fd of fewer than two images a side for each neuron of a layer.
        """
        evidence, place = self._evidence(distance, layer)
        return None if evidence is None else evidence.interval if layer is None else evidence.layer_intervals[place]

    def p_value_of(self, distance: str, layer: str | None = None) -> float | None:
        """How often folds that are shared out at random are as far apart, by a permutation test.

        Corrected for the number of layers. None without folds on both sides, and for fd if it would take too long.
        """
        evidence, place = self._evidence(distance, layer)
        if evidence is None or evidence.test is None:
            return None
        return evidence.test.p_value if layer is None else float(evidence.test.layers[place])

    @property
    def same_images(self) -> bool:
        """Whether A and B are the same images: one source, or no neuron at any distance at all."""
        one = self.measured is not None and self.measured[0] is self.measured[1]
        return one or any(not self.found[record.name].any() for record in self.records("neuron"))

    @property
    def shares_images(self) -> bool:
        """Whether so many images of B are images of A, or copies of them, that the sides are no independent samples.

        Values without noise, and tests of which of two sets is nearer, take sides for independent.
        """
        return self.same_images or self.copies > SHARED * (self.num_images["b"] or inf)

    def _evidence(self, distance: str, layer: str | None) -> tuple[Evidence | None, int]:
        """The evidence for a distance, None if there is none or none of a layer; and the place of the layer in it."""
        layers = DISTANCES[distance].layers_of(self.neurons)
        known = self.evidence.get(distance) if layer is None or layer in layers else None
        return known, 0 if layer not in layers else layers.index(layer)

    @property
    def _in_order(self) -> list[Evidence]:
        """The evidence there is, that of dna-emd first."""
        return [self.evidence[name] for name in DISTANCES if name in self.evidence]

    @property
    def p_value(self) -> float | None:
        """As :meth:`p_value_of`, for dna-emd, or else for the first distance that has one: whether the sets differ.

        Where properties of images were watched beside the network, there are two such tests, and either may find a
        difference: so it is corrected for both (Holm, 1979), as is :attr:`p_value_of_properties`.
        """
        return self._p_values["network"]

    @property
    def p_value_of_properties(self) -> float | None:
        """Likewise, by properties of images; None if they were not watched, or without a test."""
        return self._p_values["properties"]

    @property
    def _p_values(self) -> dict[str, float | None]:
        of_properties = None if self.properties is None else self.properties.p_value
        return holm({"network": None if self._first is None else self._first.p_value, "properties": of_properties})

    @property
    def _first(self) -> PermutationTest | None:
        """The first test there is, that of dna-emd first."""
        return next((found.test for found in self._in_order if found.test), None)

    @property
    def least_p_value(self) -> float | None:
        """The smallest that :attr:`p_value` could be: one of all relabelings, or two where each has a mirror image."""
        found = next((found for found in self._in_order if found.test), None)
        if found is None or found.test is None:
            return None
        a, b = (len(side[1]) for side in found.jackknife.sides if side is not None)
        tests = 1 if self.properties is None else 2
        return tests * (1 + (found.test.exact and a == b)) / found.test.num_relabelings

    @property
    def interval(self) -> Interval | None:
        """Confidence interval of the debiased dna-emd, or else of the first distance that has one."""
        return next((found.interval for found in self._in_order if found.interval), None)

    @property
    def null(self) -> float | None:
        """What no difference looks like at these numbers of images, as the mean over relabelings of folds."""
        return next((found.null for found in self._in_order if found.test), None)

    def records(self, *grains: Grain) -> list[Distance]:
        """What distances were found: of neurons, of layers, of the set, or all."""
        return [DISTANCES[name] for name in self.found if not grains or DISTANCES[name].grain in grains]

    def about(self, record: Distance) -> str:
        """The unit of a distance, and what its value is of."""
        unit = f"bins of {self.num_bins}" if record.unit == "bins" else record.unit
        of = {
            "neuron": f"{'mean' if self.neuron_weights is None else 'weighted sum'} over neurons",
            "layer": "mean over layers",
            "set": f"of layer {list(self.neurons)[-1]}" + ", higher is better" * record.higher_is_better,
        }[record.grain]
        spread = self.spread.get(record.name)
        return ", ".join(filter(None, (unit, of, f"± {number(spread)} over subsets" if spread else "")))

    @property
    def neuron_emd(self) -> Tensor | None:
        """Earth Mover's Distance of each neuron, in bins, shape ``(N,)``; None without histograms."""
        return self.found.get("dna-emd")

    @property
    def neuron_frechet(self) -> Tensor | None:
        """Fréchet distance of each neuron, in squared activations; None without Gaussians of two images a side."""
        return self.found.get("dna-fd")

    @property
    def layer_frechet(self) -> Tensor | None:
        """Multivariate Fréchet distance (fd) of each layer, in squared activations."""
        return self.found.get("fd")

    @property
    def dna_emd(self) -> float | None:
        """Earth Mover's Distance over all neurons (dna-emd), in bins."""
        return self.value("dna-emd")

    @property
    def dna_emd_debiased(self) -> float | None:
        """dna-emd without what the noise of finite sets adds to it, in bins; 0 if nothing is left of it."""
        return self.debiased("dna-emd")

    @property
    def dna_frechet_debiased(self) -> float | None:
        """dna-fd without what the noise of finite sets adds to it, in squared activations."""
        return self.debiased("dna-fd")

    @property
    def dna_frechet(self) -> float | None:
        """1-D Fréchet distance over all neurons (dna-fd), in squared activations."""
        return self.value("dna-fd")

    @property
    def fd(self) -> float | None:
        """Fréchet distance (fd), the mean over layers, in squared activations."""
        return self.value("fd")

    @property
    def kid(self) -> float | None:
        """Kernel distance (KID) of the last layer's spatial means, as the mean over subsets of images; without unit."""
        return self.value("kid")

    @property
    def kid_std(self) -> float | None:
        """Standard deviation of kid over subsets of images; 0 where there is but one."""
        return self.spread.get("kid")

    @property
    def mind(self) -> float | None:
        """Monge Inception Distance of the last layer's spatial means, in squared activations."""
        return self.value("mind")

    @property
    def cmmd(self) -> float | None:
        """CMMD of the last layer's spatial means, without unit."""
        return self.value("cmmd")

    @property
    def layers(self) -> dict[str, dict[str, float | None]]:
        """The distances of each layer by key, plain and debiased, and their p-values."""
        return {layer: self._figures(layer) for layer in self.neurons}

    def scalars(self, prefix: str = "dna/") -> dict[str, float]:
        """All figures for a logger, such as ``dna/dna_emd``, ``dna/dna_emd_debiased`` and ``dna/block_0/dna_emd``."""
        return flat_figures(prefix, self._figures(None), self.layers)

    def _figures(self, layer: str | None) -> dict[str, float | None]:
        """The distances of a layer, or over all, by key: plain, debiased, and their p-values."""
        return {
            record.key + suffix: figure(name, layer)
            for name, record in DISTANCES.items()
            if layer is None or record.grain != "set"
            for suffix, figure in (("", self.value), ("_debiased", self.debiased), ("_p_value", self.p_value_of))
            if record.unions or not suffix
        }

    @cached_property
    def means(self) -> tuple[Tensor, Tensor]:
        """Mean activation of each neuron in A and in B, shape ``(N,)``; from histograms good to half a bin."""
        a, b = (as_gaussian(side.dnas.get("histogram", side.any)) for side in self._sides())
        return a.mean, b.mean

    @property
    def mean_shift(self) -> Tensor:
        """Mean activation of each neuron in B less that in A, shape ``(N,)``."""
        return self.means[1] - self.means[0]

    def histograms(self, layer: str, neuron: int) -> tuple[Tensor, Tensor, Tensor]:
        """Shares of one neuron's activations, of A and of B, each ``(num_bins,)``, and the bins' edges.

        Raises:
            ValueError: If there is no such neuron, or no histograms were compared.

        """
        a, b = self.aligned([self.neurons.index(layer, neuron)])
        return a.counts[0].double() / a.counts.sum(), b.counts[0].double() / b.counts.sum(), a.bin_edges()[0]

    def aligned(self, neurons: Sequence[int] | None = None) -> tuple[HistogramDNA, HistogramDNA]:
        """The histogram DNAs of A and of B, in the same bins; of some neurons by flat index, or of all.

        Raises:
            ValueError: If no histograms were compared.

        """
        a, b = (side.dnas.get("histogram") for side in self._sides())
        if not isinstance(a, HistogramDNA) or not isinstance(b, HistogramDNA):
            raise ValueError("No histograms were compared; compare DNAs of kind 'histogram'")
        if neurons is not None:
            a, b = a.select(neurons=neurons), b.select(neurons=neurons)
        return in_same_bins(a, b)

    def _sides(self) -> tuple[Measured, Measured]:
        if self.measured is None:
            raise ValueError("This comparison does not hold the DNAs that were compared")
        return self.measured

    def top_neurons(self, k: int = 10, by: Literal["evidence", "distance"] = "evidence") -> list[dict[str, Any]]:
        """The k neurons that differ most, by the first distance of neurons that there is.

        Args:
            k: How many.
            by: ``"evidence"``: by distance less what chance gives, in standard deviations of chance (``z``), so that
                noisy neurons do not come first. ``"distance"``: by size. Without a test, by size.

        Returns:
            For each its layer, number, name (or again the number), distances, mean shift (None where the ranges of
            official histograms are unknown); ``z``, ``p_value`` (corrected
            for the number of neurons) and ``q`` (share of false discoveries), or None.

        """
        found = self.records("neuron")
        if not found:
            return []
        test = self.evidence[name].test if (name := found[0].name) in self.evidence else None
        order = self.found[name] if test is None or by == "distance" else test.z
        chosen = order.topk(min(k, len(order))).indices.tolist()
        columns = {r.key: self.found.get(name) for name, r in DISTANCES.items() if r.grain == "neuron"}
        dnas = [side.dnas.get("histogram", side.any) for side in self.measured or ()]
        columns["shift"] = self.mean_shift if dnas and all(map(has_means, dnas)) else None
        columns |= dict(zip(TESTED, (test.z, test.neurons, test.q) if test else (None, None, None), strict=True))
        return [
            {
                **dict(zip(("layer", "neuron"), self.neurons.locate(i), strict=True)),
                "name": name_of(*self.neurons.locate(i), self.neuron_names),
                **{name: None if values is None else float(values[i]) for name, values in columns.items()},
            }
            for i in chosen
        ]

    def explain(self, names: tuple[str, str] = ("A", "B")) -> Explanation:
        """Say in words what differs: properties of images if they were watched, and named changes that explain it.

        Args:
            names: What to call A and B.

        """
        a, b = (side.any for side in self._sides())
        if self.properties is None:
            return explain(a, b, self._test, self.changes, names)
        test, p = self._test, self.p_value
        found = explain(a, b, test if test is None or p is None else replace(test, p_value=p), self.changes, names)
        p = self.p_value_of_properties
        if p is not None and p > SIGNIFICANT:
            return replace(found, properties=[])
        a, b = (side.any for side in self.properties._sides())
        return replace(found, properties=property_differences(a, b, self.properties._test))

    @property
    def _test(self) -> PermutationTest | None:
        """Of the first distance of neurons that has one."""
        return next((e.test for r in self.records("neuron") if (e := self.evidence.get(r.name)) and e.test), None)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the per-neuron tensors, in plain types, ready for json."""
        return {
            **{record.key: self.value(name) for name, record in DISTANCES.items()},
            **{f"{r.key}_std": self.spread.get(name) for name, r in DISTANCES.items() if r.subsets},
            "layers": self.layers,
            **{f"{r.key}_debiased": self.debiased(name) for name, r in DISTANCES.items() if r.unions},
            "top_neurons": self.top_neurons(),
            "properties": [] if self.properties is None else self.properties.top_neurons(self.properties.neurons.total),
            "p_value": self.p_value,
            "p_values": {r.key: self.p_value_of(name) for name, r in DISTANCES.items() if r.unions},
            "interval": self.interval and asdict(self.interval),
            "layer_intervals": {
                DISTANCES[name].key: {of: (one := self.interval_of(name, of)) and asdict(one) for of in self.neurons}
                for name in self.evidence
            },
            "null": self.null,
            "notices": self.notices,
            "words": self.explain().sentences if self.measured else [],
            "num_images": self.num_images,
            "extractor": self.extractor,
            "num_bins": self.num_bins,
            "ranges": self.ranges,
            "unreadable": self.unreadable,
        }

    def __repr__(self) -> str:
        figures = "".join(f"{DISTANCES[name].key}={self.value(name)}, " for name in self.found)
        return f"Comparison({figures}num_images={self.num_images}, extractor={self.extractor!r})"
