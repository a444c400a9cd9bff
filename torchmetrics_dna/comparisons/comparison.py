"""Comparison: distances between two measured image sets."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from math import inf
from typing import TYPE_CHECKING, Any, Literal

from torchmetrics_dna.comparisons.results import Results
from torchmetrics_dna.comparisons.scale import chance_in_words
from torchmetrics_dna.dna import HistogramDNA
from torchmetrics_dna.dna.distances import DISTANCES, flat_figures, names_of
from torchmetrics_dna.dna.explanation import (
    Explanation,
    as_gaussian,
    explain,
    has_means,
    name_of,
    property_differences,
)
from torchmetrics_dna.dna.histogram import in_same_bins
from torchmetrics_dna.files.tables import Table
from torchmetrics_dna.files.visible import bins_in_words, number, p_figure, plain_name
from torchmetrics_dna.functional.permutation import LEAST_FOLDS, SIGNIFICANT
from torchmetrics_dna.plots import plot_layers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from torchmetrics_dna.comparisons.odd_images import OddImages
    from torchmetrics_dna.dna.distances import Grain
    from torchmetrics_dna.dna.evidence import Evidence, Interval
    from torchmetrics_dna.dna.explanation import Causes
    from torchmetrics_dna.dna.result import Result
    from torchmetrics_dna.files.tables import Cell
    from torchmetrics_dna.functional.permutation import PermutationTest
    from torchmetrics_dna.jobs.measure import Measured
    from torchmetrics_dna.neurons.index import Neurons

SHARED = 0.1  # of the images of B; of different pictures, up to 3 % look nearly alike
_MOST_LAYERS = 3  # that a verdict names
_UNCORRECTED = "dna-emd, not corrected for sampling noise, since images of both are the same or nearly alike"
TESTED = ("z", "p_value", "q")  # of a neuron


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(Results["Result"]):
    """Distances between two image sets A and B, per neuron and layer: a mapping of results by name of distance.

    Attributes:
        neurons: The neurons, in the order of the tensors below.
        results: The distances, by name.
        num_images: Number of images of ``a`` and of ``b``.
        extractor: Name of the extractor.
        num_bins: Bins of the histograms, or None.
        ranges: Name or digest of the activation ranges, or None.
        neuron_weights: The weights of Eq. (5), or None for the plain mean.
        unreadable: One line for each image that was left out.
        measured: The DNAs of A and of B that were compared.
        notices: Caveats, one line each: near-duplicate images, and evidence that is not available.
        causes: Changes of A's images that were searched for what brings them to B, or None.
        properties: Comparison of properties of images, with its own tests; None if they were not measured.
        names: Names of A and B in figures: their paths, or the letters.
        copies: Number of images of B that look nearly like images of A, by thumbnails; 0 if not checked.
        paired: True if each image of B was compared with its partner in A.
        odd: Test of whether a few images of B are unlike A's own; None if that was not asked, as of DNAs, pairs,
            groups, and sets that are too large.

    """

    neurons: Neurons
    results: Mapping[str, Result]
    num_images: dict[str, int]
    extractor: str
    num_bins: int | None = None
    ranges: str | None = None
    neuron_weights: Tensor | None = None
    unreadable: list[str] = field(default_factory=list)
    measured: tuple[Measured, Measured] | None = None
    notices: list[str] = field(default_factory=list)
    causes: Causes | None = None
    properties: Comparison | None = None
    names: tuple[str, str] = ("A", "B")
    copies: int = 0
    paired: bool = False
    odd: OddImages | None = None

    def __getitem__(self, distance: str) -> Result:
        """Return one distance by its name (``"dna-emd"``), key (``"dna_emd"``) or metric (``"DNAEMD"``)."""
        for result in self.results.values():
            if plain_name(distance) in map(plain_name, names_of(result.distance)):
                return result
        raise KeyError(f"There is no {distance!r} in this comparison, which has {', '.join(self)}")

    def of_grain(self, *grains: Grain) -> list[Result]:
        """Return the results of these grains, ``"neuron"``, ``"layer"`` or ``"set"``, without published metrics."""
        results = (result for result in self.values() if result.distance.protocol is None)
        return [result for result in results if result.distance.grain in grains]

    @property
    def same_images(self) -> bool:
        """True if A and B are the same images: one source, or every neuron at distance 0."""
        same_source = self.measured is not None and self.measured[0] is self.measured[1]
        return same_source or any(not result.values.any() for result in self.of_grain("neuron"))

    @property
    def shares_images(self) -> bool:
        """True if so many images of B are in A, or copies of them, that the sides are no independent samples.

        Debiased values, and tests of which of two sets is nearer, assume independent sides.
        """
        return self.same_images or self.copies > SHARED * (self.num_images["b"] or inf)

    @property
    def p_value(self) -> float | None:
        """P-value of the test of dna-emd, or else of the first distance that has one: do the sets differ?

        It is the same whether properties of images were measured or not: these describe a difference, and have a test
        of their own.
        """
        return None if self._first is None or self._first.test is None else self._first.test.p_value

    @property
    def p_value_of_properties(self) -> float | None:
        """P-value of the test of properties of images; None if they were not measured, or without a test."""
        return None if self.properties is None else self.properties.p_value

    @property
    def least_p_value(self) -> float | None:
        """Smallest possible :attr:`p_value`: one of all relabelings, or two if each has a mirror image."""
        return None if self._first is None else self._first.least_p_value

    @property
    def interval(self) -> Interval | None:
        """Confidence interval of the debiased dna-emd, or else of the first distance that has one."""
        return next((result.interval for result in self.values() if result.interval), None)

    @property
    def null(self) -> float | None:
        """Mean distance under the null hypothesis at these numbers of images, over relabelings of folds."""
        return None if self._first is None else self._first.null

    @property
    def _first(self) -> Evidence | None:
        """First evidence with a test, dna-emd before others."""
        candidates = (result.evidence for result in self.values())
        return next((evidence for evidence in candidates if evidence is not None and evidence.test is not None), None)

    def about(self, result: Result) -> str:
        """Return the unit of a distance, and what its value averages over."""
        record, weights = result.distance, self.neuron_weights
        of_range = f" of the range of {self.names[0]}" if self.ranges == "auto" else ""
        unit = f"bins of {self.num_bins}{of_range}" if record.unit == "bins" else record.unit
        of_layer = f"of layer {record.layer or list(self.neurons)[-1]}"
        if record.protocol is not None:
            reduction = f"{of_layer} of {record.protocol.feature}"
        else:
            mean = "mean" if weights is None else "weighted sum"
            reduction = {"neuron": f"{mean} over neurons", "layer": "mean over layers", "set": of_layer}[record.grain]
        better = "higher is better" if record.higher_is_better else ""
        spread = f"± {number(result.spread)} over subsets" if result.spread else ""
        return ", ".join(filter(None, (unit, reduction, better, spread)))

    @property
    def layers(self) -> dict[str, dict[str, float | None]]:
        """Distances of each layer by key, plain and debiased, and their p-values."""
        return {layer: self._figures(layer) for layer in self.neurons}

    def scalars(self, prefix: str = "dna/") -> dict[str, float]:
        """Return all figures for a logger, such as ``dna/dna_emd`` and ``dna/block_0/dna_emd_debiased``."""
        return flat_figures(prefix, self._figures(None), self.layers)

    def _figures(self, layer: str | None) -> dict[str, float | None]:
        """Return distances of a layer, or over all, by key: plain, debiased and p-values."""
        figures: dict[str, float | None] = {}
        for name, result in self.items():
            record = result.distance
            if layer is not None and (record.grain == "set" or record.protocol is not None):
                continue
            figure = self[name].overall if layer is None else self[name].layers[layer]
            figures[record.key] = figure.value
            if record.unions:
                figures |= {f"{record.key}_debiased": figure.debiased, f"{record.key}_p_value": figure.p_value}
        return figures

    @cached_property
    def means(self) -> tuple[Tensor, Tensor]:
        """Mean activation of each neuron in A and in B, shape ``(N,)``; from histograms exact to half a bin."""
        a, b = (as_gaussian(side.dnas.get("histogram", side.any)) for side in self._sides())
        return a.mean, b.mean

    @property
    def mean_shift(self) -> Tensor:
        """Mean activation of each neuron in B less that in A, shape ``(N,)``."""
        return self.means[1] - self.means[0]

    def histograms(self, layer: str, neuron: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return shares of one neuron's activations in A and in B, each ``(num_bins,)``, and the edges of the bins.

        Raises:
            ValueError: If there is no such neuron, or no histograms were compared.

        """
        a, b = self.aligned([self.neurons.index(layer, neuron)])
        return a.counts[0].double() / a.counts.sum(), b.counts[0].double() / b.counts.sum(), a.bin_edges()[0]

    def aligned(self, neurons: Sequence[int] | None = None) -> tuple[HistogramDNA, HistogramDNA]:
        """Return the histogram DNAs of A and of B in the same bins, of the neurons with these flat indices, or of all.

        Raises:
            ValueError: If no histograms were compared.

        """
        a, b = (side.dnas.get("histogram") for side in self._sides())
        if not isinstance(a, HistogramDNA) or not isinstance(b, HistogramDNA):
            raise ValueError("No histograms were compared; compare DNAs of kind 'histogram'")
        if neurons is not None:
            a, b = a.select(neurons=neurons), b.select(neurons=neurons)
        a, b = in_same_bins(a, b)
        return a, b

    def _sides(self) -> tuple[Measured, Measured]:
        if self.measured is None:
            raise ValueError("This comparison does not hold the DNAs that were compared")
        return self.measured

    def top_neurons(self, k: int = 10, by: Literal["evidence", "distance"] = "evidence") -> list[dict[str, Any]]:
        """Return the k neurons that differ most, by the first distance of neurons.

        Args:
            k: Number of neurons.
            by: ``"evidence"``: by distance above its null mean, in null standard deviations (``z``), so that
                noisy neurons do not come first. ``"distance"``: by size. Without a test, by size.

        Returns:
            For each neuron its layer, number, name (or again the number), distances and mean shift (None if the ranges
            of official histograms are unknown); ``z``, ``p_value`` (corrected for the number of neurons) and ``q``
            (false discovery rate), or None.

        """
        results = self.of_grain("neuron")
        if not results:
            return []
        test = None if results[0].evidence is None else results[0].evidence.test
        order = results[0].values if test is None or by == "distance" else test.z
        chosen = order.topk(min(k, len(order))).indices.tolist()
        columns: dict[str, Tensor | None] = {
            record.key: self[name].values if name in self else None
            for name, record in DISTANCES.items()
            if record.grain == "neuron"
        }
        dnas = [side.dnas.get("histogram", side.any) for side in self.measured or ()]
        columns["shift"] = self.mean_shift if dnas and all(map(has_means, dnas)) else None
        columns |= dict(zip(TESTED, (test.z, test.neurons, test.q) if test else (None, None, None), strict=True))
        return [
            {
                **dict(zip(("layer", "neuron"), self.neurons.locate(i), strict=True)),
                "name": name_of(*self.neurons.locate(i)),
                **{name: None if values is None else float(values[i]) for name, values in columns.items()},
            }
            for i in chosen
        ]

    def explain(self, names: tuple[str, str] | None = None) -> Explanation:
        """Describe what differs in words: properties of images if measured, and changes of A's that bring it to B.

        Args:
            names: Names of A and B; by default ``names``.

        """
        return replace(self._explanation, names=names or self.names)

    @cached_property
    def _explanation(self) -> Explanation:
        properties = None
        if self.properties is not None:
            of_properties = self.p_value_of_properties
            sides = [side.any for side in self.properties._sides()]
            properties = property_differences(sides[0], sides[1], self.properties._test)
            if of_properties is not None and of_properties > SIGNIFICANT:
                properties = []
        a, b = (side.any for side in self._sides())
        return explain(a, b, self._test, self.names, properties, self.causes)

    @property
    def verdict(self) -> str:
        """Sentences: likeness of B to A, distance by dna-emd, certainty (without dna-emd none), and odd images."""
        return " ".join(self.verdict_lines())

    def verdict_lines(self, sentences: Sequence[str] = ()) -> list[str]:
        """Return the parts of :attr:`verdict`, each for a line, with sentences on what differs in the middle."""
        (headline, figures), odd = self.headline_and_figures, self.odd_in_words
        if self.odd is not None and self._few_off and headline.endswith(f"{self._few_off}."):
            headline, odd = f"{headline[:-1]}{self.odd.details}.", ""
        return list(filter(None, (headline, *sentences, figures, odd)))

    @property
    def odd_in_words(self) -> str:
        """Sentence on whether a few images of B are unlike A's own; empty if that was not asked."""
        return "" if self.odd is None else self.odd.sentence(self.names[0], f" of {self.names[1]}")

    @property
    def _few_off(self) -> str:
        """About how many images are off, a clause; empty if none is shown to be."""
        return "" if self.odd is None else self.odd.clause(self.names[0], f" of {self.names[1]}")

    @property
    def headline_and_figures(self) -> tuple[str, str]:
        """The verdict in two parts: what B looks like, and how far it is and how surely; empty without dna-emd."""
        if "dna-emd" not in self:
            return "", ""
        headline, figures = _verdict(self)
        if self._few_off and self.p_value is not None and self.p_value > SIGNIFICANT:
            of_properties = self.p_value_of_properties
            link = "but" if of_properties is None or of_properties > SIGNIFICANT else "and"
            headline = f"{headline.removesuffix('.')}, {link} {self._few_off}."
        return headline, figures

    @property
    def _test(self) -> PermutationTest | None:
        """Permutation test of the first distance of neurons that has one."""
        tests = (result.evidence.test for result in self.of_grain("neuron") if result.evidence is not None)
        return next(filter(None, tests), None)

    @property
    def table(self) -> Table:
        """The distances, each with its interval and test; below them, of what they are."""
        counts = " and ".join(f"{count:,}" if count else "unknown" for count in self.num_images.values())
        ranges = f", ranges {self.ranges}" if self.ranges else ""
        notes = [
            f"{counts} images in {' and '.join(self.names)}{', as pairs' * self.paired}; {self.extractor},"
            f" {self.neurons.total:,} neurons{ranges}"
        ]
        names = "without noise", "interval", "by chance", "x chance", "p"
        noise: dict[str, list[Cell]] = {name: [] for name in names}
        for name, result in self.items():
            overall, evidence, p = result.overall, result.evidence, result.p_value
            chance = result.by_chance, result.times_chance
            cells = result.shown, result.ends, *chance, p_figure(overall.p_value)
            for column, cell in zip(noise.values(), cells, strict=True):
                column.append(cell)
            high = None if evidence is None or result.distance.grain != "neuron" else evidence.null_high
            if p is not None and p <= SIGNIFICANT and not result.without_shift and result.value <= (high or 0):
                notes.append(
                    f"p of {name} is for the clearest layer or neuron; chance alone gives such a mean over all neurons"
                )
        columns: dict[str, list[Cell]] = {
            "distance": list(self),
            "value": [result.value for result in self.values()],
            **{name: cells for name, cells in noise.items() if any(cell is not None for cell in cells)},
            "unit": [self.about(result) for result in self.values()],
        }
        return Table(list(columns), list(zip(*columns.values(), strict=True)), notes=notes)

    def plot(self, distance: str | None = None, *, ax: Any = None) -> Any:
        """Plot the distances of the layers, see :func:`~torchmetrics_dna.plots.plot_layers`."""
        return plot_layers(self, distance, ax=ax)

    def rows(self) -> list[dict[str, Any]]:
        """Return one record per distance, over all neurons (no layer) and then for each layer, in plain types."""
        return [
            {"distance": name, "layer": layer, **figure.to_dict()}
            for name, result in self.items()
            for layer, figure in [(None, result.overall), *result.layers.items()]
            if layer is None or result.distance.protocol is None
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the per-neuron tensors in plain types, ready for json."""
        overall, records = self._figures(None), [result.distance for result in self.values()]
        return {
            **{record.key: overall[record.key] for record in records},
            **{f"{r.key}_std": self[r.name].spread for r in records if r.subsets},
            "layers": self.layers,
            **{f"{r.key}_debiased": overall[f"{r.key}_debiased"] for r in records if r.unions},
            "top_neurons": self.top_neurons(),
            "properties": [] if self.properties is None else self.properties.top_neurons(self.properties.neurons.total),
            "p_value": self.p_value,
            "few_off": None if self.odd is None else self.odd.to_dict(),
            "p_values": {r.key: overall[f"{r.key}_p_value"] for r in records if r.unions},
            "interval": self.interval and asdict(self.interval),
            "layer_intervals": {
                result.distance.key: {
                    layer: figure.interval and asdict(figure.interval) for layer, figure in result.layers.items()
                }
                for result in self.values()
                if result.evidence is not None
            },
            "null": self.null,
            "x_chance": {result.distance.key: result.times_chance for result in self.of_grain("neuron")},
            "notices": self.notices,
            "verdict": self.verdict if self.measured else "",
            "words": self.explain().sentences if self.measured else [],
            "causes": None if self.causes is None else asdict(self.causes),
            "num_images": self.num_images,
            "paired": self.paired,
            "extractor": self.extractor,
            "num_bins": self.num_bins,
            "ranges": self.ranges,
            "unreadable": self.unreadable,
        }

    def __repr__(self) -> str:
        figures = "".join(f"{result.distance.key}={result.value}, " for result in self.values())
        return f"Comparison({figures}num_images={self.num_images}, extractor={self.extractor!r})"


def _verdict(comparison: Comparison) -> tuple[str, str]:
    """Say what B looks like, and how far it is from A by dna-emd and how sure that is."""
    a, b = comparison.names
    emd, interval, p = comparison["dna-emd"].value, comparison["dna-emd"].interval, comparison.p_value
    if comparison.measured is not None and comparison.measured[0] is comparison.measured[1]:
        name = "the same images" if a == "A" else a
        return f"You gave {name} twice: A and B are the same images.", ""
    if emd == 0:
        return f"{a} and {b} are 0 bins apart: their histograms are equal, as those of the same images are.", ""
    if p is not None and interval is not None:
        return _tested(comparison)
    headline = comparison.explain().headline if comparison.measured else ""
    if interval is None:
        distance = f"{a} and {b} are {bins_in_words(emd)} apart by dna-emd."
        doubt = (
            "Whether that is more than noise can't be said: a test takes images in"
            f" {LEAST_FOLDS} folds on each side; give about 20 images, or DNAs made with folds."
        )
    else:
        distance = (
            f"{a} and {b} are {bins_in_words(interval.value)} apart by dna-emd, corrected for sampling noise"
            f" ({interval.in_words})."
        )
        doubt = (
            "Whether they differ can't be tested, since one side has no folds; give its images, or a DNA that was made"
            " with folds."
        )
    return (f"{headline}.", f"{distance} {doubt}") if headline else (distance, doubt)


def _tested(comparison: Comparison) -> tuple[str, str]:
    a, b = comparison.names
    emd, interval, p = comparison["dna-emd"], comparison["dna-emd"].interval, comparison.p_value
    assert interval is not None
    assert p is not None
    if p > SIGNIFICANT:
        of_properties = comparison.p_value_of_properties
        if comparison.shares_images:
            alike = f"{a} and {b} share images, or have some that are nearly alike"
            hidden = f"{alike}, so this test can't show whether they differ"
            if of_properties is not None and of_properties <= SIGNIFICANT:
                hidden += f", but properties of their images do ({p_figure(of_properties, 'p')})"
            return f"{hidden}.", f"{_UNCORRECTED}: {bins_in_words(emd.value)}; {p_figure(p, 'p')}."
        whole = " as a whole" if comparison._few_off else ""
        shown = f"No difference between {a} and {b}{whole} can be shown"
        if of_properties is not None and of_properties <= SIGNIFICANT:
            shown += f" by the network, but properties of their images differ ({p_figure(of_properties, 'p')})"
        assert comparison.null is not None
        value, chance = f"dna-emd is {bins_in_words(emd.value)}", number(comparison.null, 3)
        if not interval.high:
            least = f"{value}, less than the {chance} that chance alone gives at this size"
            return f"{shown}.", f"{least}; {p_figure(p, 'p')}."
        value += f", and chance alone gives {chance} at this size"
        most = f"at most {bins_in_words(interval.high)} ({interval.level} interval)"
        return f"{shown}.", f"{value}; corrected for sampling noise, it is {most}; {p_figure(p, 'p')}."
    headline = comparison.explain().headline if comparison.measured else f"{b} differs from {a}"
    where, distance = _where(comparison), f"{bins_in_words(interval.value)} ({interval.in_words})"
    if comparison.shares_images:
        return f"{headline}.", f"{_UNCORRECTED}: {bins_in_words(emd.value)}{where}; {p_figure(p, 'p')}."
    if emd.without_shift:
        chance = f"and chance alone gives {number(emd.by_chance, 3)} at this size"
        shift = f"{emd.without_shift} ({p_figure(p, 'p')})"
        return f"{headline}.", f"dna-emd is {bins_in_words(emd.value)}, {chance}: {shift}."
    if not interval.value:
        distance = f"below noise, at most {bins_in_words(interval.high)} ({interval.level} interval)"
    figures = f"dna-emd, corrected for sampling noise: {distance}{where}; {p_figure(p, 'p')}."
    chance = chance_in_words(comparison)
    return f"{headline}.", f"{figures} {chance}".rstrip()


def _where(comparison: Comparison) -> str:
    """Name the layers in which the test finds a difference, if they are few."""
    p_values = {layer: result.p_value or 0 for layer, result in comparison["dna-emd"].layers.items()}
    significant = [layer for layer, p in p_values.items() if p <= SIGNIFICANT]
    if not significant:
        return ", in a few neurons and in no layer as a whole"
    if len(significant) == len(p_values) or len(significant) > _MOST_LAYERS:
        return ""
    *others, last = significant
    return f", most clearly in {', '.join(others)}{' and ' * bool(others)}{last}"
