"""Comparison: distances between two measured image sets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import import_module
from math import inf
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from torchmetrics_dna.checks import check_one_of
from torchmetrics_dna.dna import HistogramDNA
from torchmetrics_dna.dna.distances import DISTANCES, Grain, Kind, flat_figures, names_of
from torchmetrics_dna.dna.histogram import in_same_bins
from torchmetrics_dna.dna.shared import as_gaussian, has_means
from torchmetrics_dna.dna.shown import Shown
from torchmetrics_dna.files.visible import plain_name
from torchmetrics_dna.functional.odd import GREY
from torchmetrics_dna.functional.permutation import SIGNIFICANT, PermutationTest, joint_p_value
from torchmetrics_dna.images.noun import noun_of
from torchmetrics_dna.images.properties import BANDS, LAYER, PROPERTIES, neuron_in_words, neuron_name
from torchmetrics_dna.plots import plot_layers
from torchmetrics_dna.words.differences import explain, property_differences

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from torchmetrics_dna.comparisons.odd_images import OddImages
    from torchmetrics_dna.dna.evidence import Evidence, Interval
    from torchmetrics_dna.dna.result import Result
    from torchmetrics_dna.images.changes import Causes
    from torchmetrics_dna.images.pixel_differences import PixelDifferences
    from torchmetrics_dna.jobs.measure import Measured
    from torchmetrics_dna.neurons.index import Neurons
    from torchmetrics_dna.words.explanation import Explanation, PropertyDifference

# Two sets are no independent samples if more than this share of B's images is in A. In sets of different pictures,
# up to 3% of the images are near-duplicates.
SHARED = 0.1
_T = TypeVar("_T")


class ByName(Shown, Mapping[str, _T]):
    """A mapping of ``results`` by name, equal to itself alone: equal mappings would be compared by their tensors."""

    results: Mapping[str, _T]

    def __getitem__(self, name: str) -> _T:
        return self.results[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    __eq__, __hash__ = object.__eq__, object.__hash__


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(ByName["Result"]):
    """Distances between two image sets A and B, per neuron and layer: a mapping of results by name of distance.

    Attributes:
        neurons: The neurons, in the order of the tensors below.
        results: The distances, by name.
        num_images: Number of images of ``a`` and of ``b``.
        extractor: Name of the extractor.
        num_bins: Bins of the histograms, or None.
        ranges: Name or digest of the activation ranges, or None.
        unreadable: One line for each image that was left out.
        measured: The DNAs of A and of B that were compared.
        notices: Caveats, one line each: near-duplicate images, and evidence that is not available.
        causes: Changes of A's images that were searched for what brings them to B, or None.
        properties: Comparison of properties of images, with its own tests; None if they were not measured.
        names: Names of A and B in figures: their paths, or the letters.
        copies: Number of images of B that look nearly like images of A, by thumbnails; 0 if not checked.
        twins: Numbers of the first of these, in A and in B.
        paired: True if each image of B was compared with its partner in A.
        lacks: Why there is no test, with the number of images or groups that there are, and that it takes.
        is_few: True if it is for want of these.
        odd: Test of whether a few images of B are unlike A's own, or, if B shares images with A, odd beside B's others;
            None if that was not asked, as of DNAs, pairs, groups, and sets that are too large.
        pixels: Differences between the pixels of pairs; None if the images are no pairs.
        version: Version of this package that compared the sets; empty if unknown.

    """

    SHOWN_BY: ClassVar[str] = "two_sets"

    neurons: Neurons
    results: Mapping[str, Result]
    num_images: dict[str, int]
    extractor: str
    num_bins: int | None = None
    ranges: str | None = None
    unreadable: list[str] = field(default_factory=list)
    measured: tuple[Measured, Measured] | None = None
    notices: list[str] = field(default_factory=list)
    causes: Causes | None = None
    properties: Comparison | None = None
    names: tuple[str, str] = ("A", "B")
    copies: int = 0
    twins: list[tuple[int, int]] = field(default_factory=list)
    paired: bool = False
    lacks: str = ""
    is_few: bool = False
    odd: OddImages | None = None
    pixels: PixelDifferences | None = None
    version: str = ""

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
        return self.is_one_source or any(not result.values.any() for result in self.of_grain("neuron"))

    @property
    def is_one_source(self) -> bool:
        """True if A and B are one source."""
        return self.measured is not None and self.measured[0] is self.measured[1]

    @property
    def main(self) -> Result | None:
        """The distance that the verdict is about: dna-emd, or else the first with a test; None without either."""
        tested = (result for result in self.values() if result.p_value is not None)
        return self.results.get("dna-emd") or next(tested, None)

    @property
    def shares_images(self) -> bool:
        """True if so many images of B are in A, or copies of them, that the sides are no independent samples.

        Debiased values, and tests of which of two sets is nearer, assume independent sides.
        """
        return self.same_images or self.copies > SHARED * (self.num_images["b"] or inf)

    @property
    def copied(self) -> bool:
        """True if it shares images, not as pairs, and no difference is shown all the same: it has no valid test."""
        return self.shares_images and not self.paired and not self.differs

    @property
    def p_value(self) -> float | None:
        """P-value of the network's own test: of dna-emd, or else of the first distance that has one."""
        return None if self.test is None else self.test.p_value

    @property
    def p_value_of_properties(self) -> float | None:
        """P-value of the test of properties of images; None if they were not measured, or without a test."""
        return None if self.properties is None else self.properties.p_value

    @cached_property
    def p_value_of_any(self) -> float | None:
        """P-value of the answer: do the sets differ, by the network or by properties of images?

        One test of both over the same relabelings, see
        ``joint_p_value`` in ``functional.permutation``; the network's own without properties.
        """
        return self._jointly(lambda evidence: evidence.test)

    @property
    def p_value_of_further(self) -> float | None:
        """P-value that B is further from A than held-out images in a layer, a neuron or a property.

        One test, as :attr:`p_value_of_any`, over exchanges of the folds of B and of these; None if that was not asked.
        """
        return self._jointly(_of_further)

    @property
    def furthest_in(self) -> str | None:
        """Layer, neuron or property in which B is further from A than held-out images most clearly.

        None if that was not asked, and where none by itself has a p-value of at most .05.
        """
        tests = self._tests(_of_further)
        if not tests:
            return None
        neurons, test = min(tests, key=lambda of_neurons: of_neurons[1].p_value)
        clearest_neuron = int(test.z.argmax())
        clearest_layer = int(test.layers.argmin())
        layer, number = neurons.locate(clearest_neuron)
        is_of_network = layer not in (LAYER, BANDS)
        if is_of_network and test.layers[clearest_layer] <= SIGNIFICANT:
            return list(neurons)[clearest_layer]
        if test.neurons[clearest_neuron] > SIGNIFICANT:
            return None
        return neuron_in_words(layer, number) if is_of_network else neuron_name(layer, number)

    def _jointly(self, test_of: Callable[[Evidence], PermutationTest | None]) -> float | None:
        """Return the p-value of a test by network and properties together."""
        tests = [test for _, test in self._tests(test_of)]
        return joint_p_value(*tests) if tests else None

    def _tests(self, test_of: Callable[[Evidence], PermutationTest | None]) -> list[tuple[Neurons, PermutationTest]]:
        """Return tests of the network and of properties, with their neurons: of each the first evidence that has it."""
        comparisons = [self] if self.properties is None else [self, self.properties]
        tests = []
        for comparison in comparisons:
            for result in comparison.values():
                test = None if result.evidence is None else test_of(result.evidence)
                if test is not None:
                    tests.append((comparison.neurons, test))
                    break
        return tests

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

    @property
    def layers(self) -> dict[str, dict[str, float | None]]:
        """Distances of each layer by key, plain and debiased, and their p-values."""
        return {layer: figures for layer, figures in self._by_key.items() if layer is not None}

    def scalars(self, prefix: str = "dna/") -> dict[str, float]:
        """Return all figures for a logger, such as ``dna/dna_emd`` and ``dna/block_0/dna_emd_debiased``."""
        return flat_figures(prefix, self._by_key[None], self.layers)

    @property
    def _by_key(self) -> dict[str | None, dict[str, float | None]]:
        """Distances by key, over all neurons (None) and of each layer: plain, debiased and p-values."""
        by_key: dict[str | None, dict[str, float | None]] = {layer: {} for layer in (None, *self.neurons)}
        for result in self.values():
            key = result.distance.key
            for layer, finding in result.findings.items():
                by_key[layer][key] = finding.value
                if result.distance.folded:
                    by_key[layer][f"{key}_debiased"] = finding.debiased
                    by_key[layer][f"{key}_p_value"] = finding.p_value
        return by_key

    @cached_property
    def means(self) -> tuple[Tensor, Tensor]:
        """Mean activation of each neuron in A and in B, shape ``(N,)``; from histograms exact to half a bin.

        Those of properties of images are exact if dna-fd was measured.
        """
        kind: Kind = "gaussian" if LAYER in self.neurons else "histogram"
        a, b = (as_gaussian(side.dnas.get(kind, side.first)) for side in self._sides())
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
        check_one_of("by", by, Literal["evidence", "distance"])
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
        dnas = [side.dnas.get("histogram", side.first) for side in self.measured or ()]
        columns["shift"] = self.mean_shift if dnas and all(map(has_means, dnas)) else None
        tested = (None, None, None) if test is None else (test.z, test.neurons, test.q)
        columns |= dict(zip(("z", "p_value", "q"), tested, strict=True))
        rows: list[dict[str, Any]] = []
        for i in chosen:
            layer, neuron = self.neurons.locate(i)
            figures = {name: None if values is None else float(values[i]) for name, values in columns.items()}
            rows.append({"layer": layer, "neuron": neuron, "name": neuron_name(layer, neuron), **figures})
        return rows

    def explain(self, names: tuple[str, str] | None = None) -> Explanation:
        """Describe what differs in words: properties of images if measured, and changes of A's that bring it to B.

        Args:
            names: Names of A and B; by default ``names``.

        """
        explanation = self._explained
        return explanation if names is None else replace(explanation, names=names)

    @property
    def explanation(self) -> Explanation | None:
        """Description of what differs; None in a comparison without its DNAs."""
        return None if self.measured is None else self._explained

    @cached_property
    def _explained(self) -> Explanation:
        a, b = (side.first for side in self._sides())
        properties = self._property_differences()
        tests = (result.evidence.test for result in self.of_grain("neuron") if result.evidence is not None)
        test = next(filter(None, tests), None)
        explanation = explain(a, b, test, self.names, properties, self.causes, self.lacks, self.p_value_of_any)
        explanation = replace(explanation, paired=self.paired, pixels=self.pixels)
        saturation = next((each for each in properties or () if each.name == "saturation"), None)
        if saturation is None or saturation.direction >= 0:
            return explanation
        return replace(explanation, colourless=self._colourless())

    def _property_differences(self) -> list[PropertyDifference] | None:
        """Return the properties that differ; None if they were not measured, empty if their test shows none."""
        if self.properties is None:
            return None
        p_value = self.p_value_of_properties
        if p_value is not None and p_value > SIGNIFICANT:
            return []
        a, b = (side.dnas.get("gaussian", side.first) for side in self.properties._sides())
        return property_differences(a, b, self.properties.test)

    def _colourless(self) -> tuple[int, int, int] | None:
        """Return the numbers of grey images in A and in B, and of all in B; None unless B clearly has more."""
        if self.properties is None or self.num_bins is None:
            return None
        saturation = self.properties.neurons.index(LAYER, PROPERTIES.index("saturation"))
        of_both = self.properties.aligned([saturation])
        grey_a, grey_b = (int(dna.counts[0, dna.bin_edges()[0, 1:] <= GREY].sum()) for dna in of_both)
        total = self.num_images["b"]
        is_more = grey_b > 2 and grey_b / total > 0.1 + 2 * grey_a / self.num_images["a"]
        return (grey_a, grey_b, total) if is_more else None

    @property
    def noun(self) -> str:
        """Noun of what was compared: ``"image"``, ``"row"`` of embeddings, or another ``"input"``."""
        return "image" if self.measured is None else noun_of(self.measured[0].first)

    @property
    def differs(self) -> bool | None:
        """True if :attr:`p_value_of_any` shows a difference, at 0.05; None without a test."""
        return None if self.p_value_of_any is None else self.p_value_of_any <= SIGNIFICANT

    @property
    def test(self) -> PermutationTest | None:
        """Permutation test that :attr:`p_value` is from."""
        return None if self._first is None else self._first.test

    def protocol(self) -> str:
        """Return how the figures were computed, for the implementation details of a paper, one sentence per line.

        It has the package, the network, the preparation of images, the numbers of images, the histograms, the tests and
        digests, as far as the result holds them.
        """
        # The module describes results, so it is imported when a result is described.
        protocol = import_module("torchmetrics_dna.reporting.protocol")
        return "\n".join(protocol.of_two_sets(self))

    def plot(self, distance: str | None = None, *, ax: Any = None) -> Any:
        """Plot the distances of the layers, see :func:`~torchmetrics_dna.plots.plot_layers`."""
        return plot_layers(self, distance, ax=ax)

    def __repr__(self) -> str:
        said = " ".join(self.verdict_lines[:2]) if "dna-emd" in self else ", ".join(map(repr, self.values()))
        return f"Comparison({said})"


def _of_further(evidence: Evidence) -> PermutationTest | None:
    return None if evidence.further is None else evidence.further.test
