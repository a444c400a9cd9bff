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
from torchmetrics_dna.dna.distances import DISTANCES, Granularity, Kind, flat_figures, names_of
from torchmetrics_dna.dna.histogram import in_same_bins
from torchmetrics_dna.dna.shared import as_gaussian, has_means
from torchmetrics_dna.dna.shown import Shown
from torchmetrics_dna.files.visible import plain_name
from torchmetrics_dna.functional.flagging import GREY
from torchmetrics_dna.functional.permutation import SIGNIFICANT, PermutationTest, joint_p_value
from torchmetrics_dna.images.noun import noun_of
from torchmetrics_dna.images.properties import BANDS, LAYER, PROPERTIES, neuron_in_words, neuron_name
from torchmetrics_dna.plots import plot_layers
from torchmetrics_dna.words.differences import explain, property_differences

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from torchmetrics_dna.comparisons.outliers import Outliers
    from torchmetrics_dna.dna.evidence import Evidence, Interval
    from torchmetrics_dna.dna.result import Result
    from torchmetrics_dna.images.changes import Causes
    from torchmetrics_dna.images.pixel_differences import PixelDifferences
    from torchmetrics_dna.jobs.measure import Measured
    from torchmetrics_dna.neurons.index import Neurons
    from torchmetrics_dna.words.explanation import Explanation, PropertyDifference

# Two sets are not independent samples if more than this share of the images of B is in A. In sets of different
# pictures, up to 3% of the images are near-duplicates.
SHARED = 0.1
_T = TypeVar("_T")


class ByName(Shown, Mapping[str, _T]):
    """Mapping of ``results`` by name. It is equal only to itself, since a comparison by value would compare tensors."""

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
    """Distances between two image sets A and B, per neuron and layer. It is a mapping of results by name of distance.

    Attributes:
        neurons: The neurons, in the order of the tensors of the results.
        results: The distances, by name.
        num_images: Number of images of ``"a"`` and of ``"b"``.
        extractor: Name of the extractor.
        num_bins: Number of bins of the histograms; None without histograms.
        ranges: Name or digest of the activation ranges; None without histograms, or if the ranges are unknown.
        unreadable: One line for each image that was left out.
        measured: The DNAs of A and of B that were compared.
        notices: Caveats, one line each, such as near-duplicate images, and evidence that is not available.
        causes: Changes of the images of A that explain the difference from B; None if they were not searched.
        properties: Comparison of image properties, with its own tests; None if they were not measured.
        names: Names of A and B in figures: their paths, or the letters.
        copies: Number of images of B that are near-duplicates of images of A; 0 if near-duplicates were not searched.
        twins: Source indices, in A and in B, of the first pairs of near-duplicates.
        paired: True if each image of B was compared with its partner in A.
        why_untested: Reason why there is no test, with the actual and the required number of images or groups; empty if
            there is a test.
        is_few: True if there are too few images or groups for a test.
        outliers: Images of B that are outliers relative to A. If B shares images with A, images that are outliers
            within B. None if outliers were not searched, as for DNAs, pairs, groups, and sets that are too large.
        pixels: Differences between the pixels of pairs; None if the images are not pairs.
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
    why_untested: str = ""
    is_few: bool = False
    outliers: Outliers | None = None
    pixels: PixelDifferences | None = None
    version: str = ""

    def __getitem__(self, distance: str) -> Result:
        """Return one distance by its name (``"dna-emd"``), key (``"dna_emd"``) or metric (``"DNAEMD"``)."""
        for result in self.results.values():
            if plain_name(distance) in map(plain_name, names_of(result.distance)):
                return result
        raise KeyError(f"There is no {distance!r} in this comparison, which has {', '.join(self)}")

    def of_granularity(self, *granularities: Granularity) -> list[Result]:
        """Return the results whose values are per ``"neuron"``, per ``"layer"`` or per ``"set"``.

        Published metrics, which bring their own network, are left out.
        """
        results: list[Result] = []
        for result in self.values():
            if result.distance.protocol is None and result.distance.granularity in granularities:
                results.append(result)
        return results

    @property
    def same_images(self) -> bool:
        """True if A and B are the same source, or if all neurons have a distance of 0."""
        return self.is_one_source or any(not result.values.any() for result in self.of_granularity("neuron"))

    @property
    def is_one_source(self) -> bool:
        """True if A and B are the same source."""
        return self.measured is not None and self.measured[0] is self.measured[1]

    @property
    def main(self) -> Result | None:
        """Distance that the verdict reports. It is dna-emd, or else the first distance with a test, or else None."""
        if "dna-emd" in self.results:
            return self.results["dna-emd"]
        return next((result for result in self.values() if result.p_value is not None), None)

    @property
    def shares_images(self) -> bool:
        """True if more than 10% of the images of B are near-duplicates of images of A, or the same images.

        The sets are then not independent. Debiased values, and tests of which of two sets is closer, assume independent
        sets.
        """
        return self.same_images or self.copies > SHARED * (self.num_images["b"] or inf)

    @property
    def copied(self) -> bool:
        """True if the sets share images, are not pairs, and do not differ significantly. The test is then not valid."""
        return self.shares_images and not self.paired and not self.differs

    @property
    def p_value(self) -> float | None:
        """P-value of the test by the network. It is that of dna-emd, or else of the first distance with a test."""
        return None if self.test is None else self.test.p_value

    @property
    def p_value_of_properties(self) -> float | None:
        """P-value of the test of image properties; None if properties were not measured, or without a test."""
        return None if self.properties is None else self.properties.p_value

    @cached_property
    def p_value_of_any(self) -> float | None:
        """P-value of the test of whether the sets differ, by the network or by image properties.

        One test covers both, over the same permutations; see ``joint_p_value`` in ``functional.permutation``. Without
        properties, it is the p-value of the test by the network.
        """
        return self._jointly(lambda evidence: evidence.test)

    @property
    def p_value_of_farther(self) -> float | None:
        """P-value of the test of whether B is farther from A than held-out images, in a layer, a neuron or a property.

        One test covers the network and image properties, like :attr:`p_value_of_any`. It exchanges the folds of B and
        of the held-out images. None if this was not tested.
        """
        return self._jointly(_test_against_held_out)

    @property
    def furthest_in(self) -> str | None:
        """Layer, neuron or property that shows most clearly that B is farther from A than held-out images.

        It is a layer if a layer of the network is significant, and else a neuron or a property. None if this was not
        tested, or if no layer, neuron or property has a p-value of at most 0.05.
        """
        tests = self._tests(_test_against_held_out)
        if not tests:
            return None
        neurons, test = min(tests, key=lambda neurons_and_test: neurons_and_test[1].p_value)
        return _clearest_place(neurons, test)

    def _jointly(self, test_of: Callable[[Evidence], PermutationTest | None]) -> float | None:
        """Return the p-value of a test by the network and properties together; None without a test."""
        tests = [test for _, test in self._tests(test_of)]
        return joint_p_value(*tests) if tests else None

    def _tests(self, test_of: Callable[[Evidence], PermutationTest | None]) -> list[tuple[Neurons, PermutationTest]]:
        """Return the test by the network and the test by properties, each with its neurons, if there are any."""
        comparisons = [self] if self.properties is None else [self, self.properties]
        tests = []
        for comparison in comparisons:
            test = comparison._first_test(test_of)
            if test is not None:
                tests.append((comparison.neurons, test))
        return tests

    def _first_test(self, test_of: Callable[[Evidence], PermutationTest | None]) -> PermutationTest | None:
        """Return the test of the first distance that has one; ``test_of`` returns the test of an evidence."""
        for result in self.values():
            test = None if result.evidence is None else test_of(result.evidence)
            if test is not None:
                return test
        return None

    @property
    def least_p_value(self) -> float | None:
        """Smallest :attr:`p_value` that the test can return; None without a test."""
        return None if self._first is None else self._first.least_p_value

    @property
    def interval(self) -> Interval | None:
        """Confidence interval of dna-emd, or else of the first distance that has an interval."""
        return next((result.interval for result in self.values() if result.interval), None)

    @property
    def null(self) -> float | None:
        """Mean distance over permutations of the folds (the null mean). None without a test."""
        return None if self._first is None else self._first.null

    @property
    def _first(self) -> Evidence | None:
        """Evidence of the first distance with a test. If dna-emd has a test, it comes first."""
        for result in self.values():
            if result.evidence is not None and result.evidence.test is not None:
                return result.evidence
        return None

    @property
    def layers(self) -> dict[str, dict[str, float | None]]:
        """Biased and debiased distances of each layer, and their p-values, ``{layer: {key: value}}``."""
        return {layer: figures for layer, figures in self._by_key.items() if layer is not None}

    def scalars(self, prefix: str = "dna/") -> dict[str, float]:
        """Return all figures for a logger, with keys such as ``dna/dna_emd`` and ``dna/block_0/dna_emd_debiased``."""
        return flat_figures(prefix, self._by_key[None], self.layers)

    @property
    def _by_key(self) -> dict[str | None, dict[str, float | None]]:
        """Biased and debiased distances, and their p-values, ``{layer: {key: value}}``; None means all neurons."""
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
        """Mean activation of each neuron in A and in B, shape ``(N,)``.

        Means from histograms are exact to half a bin. Means of image properties are exact if dna-fd was measured.
        """
        kind: Kind = "gaussian" if LAYER in self.neurons else "histogram"
        a, b = self._sides()
        gaussian_a = as_gaussian(a.dnas.get(kind, a.first))
        gaussian_b = as_gaussian(b.dnas.get(kind, b.first))
        return gaussian_a.mean, gaussian_b.mean

    @property
    def mean_shift(self) -> Tensor:
        """Mean activation of each neuron in B minus its mean activation in A, shape ``(N,)``."""
        mean_a, mean_b = self.means
        return mean_b - mean_a

    def histograms(self, layer: str, neuron: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return the histograms of one neuron in A and in B, as shares ``(num_bins,)``, and the edges of the bins.

        Raises:
            ValueError: If there is no such neuron, or no histograms were compared.

        """
        a, b = self.aligned([self.neurons.index(layer, neuron)])
        shares_a = a.counts[0].double() / a.counts.sum()
        shares_b = b.counts[0].double() / b.counts.sum()
        return shares_a, shares_b, a.bin_edges()[0]

    def aligned(self, neurons: Sequence[int] | None = None) -> tuple[HistogramDNA, HistogramDNA]:
        """Return the histogram DNAs of A and of B in the same bins.

        Args:
            neurons: Flat indices of the neurons; None for all neurons.

        Raises:
            ValueError: If no histograms were compared.

        """
        measured_a, measured_b = self._sides()
        a = measured_a.dnas.get("histogram")
        b = measured_b.dnas.get("histogram")
        if not isinstance(a, HistogramDNA) or not isinstance(b, HistogramDNA):
            raise ValueError("No histograms were compared; compare DNAs of kind 'histogram'")
        if neurons is not None:
            a, b = a.select(neurons=neurons), b.select(neurons=neurons)
        a, b = in_same_bins(a, b)
        return a, b

    def _sides(self) -> tuple[Measured, Measured]:
        """Return the DNAs of A and of B; ValueError if the comparison does not hold them."""
        if self.measured is None:
            raise ValueError("This comparison does not hold the DNAs that were compared")
        return self.measured

    def top_neurons(self, k: int = 10, by: Literal["evidence", "distance"] = "evidence") -> list[dict[str, Any]]:
        """Return the k neurons that differ most, by the first distance that has a value for each neuron.

        Args:
            k: Number of neurons.
            by: ``"evidence"`` orders neurons by their ``z``, so that noisy neurons do not come first. ``"distance"``
                orders neurons by their distance. This is also the order if there is no test.

        Returns:
            One dictionary per neuron:

            - its ``layer``, ``neuron`` (its number) and ``name``, which is the number if the neuron has no name,
            - its distances, by key,
            - its mean ``shift``; None if the activation ranges are unknown,
            - its ``z``, the distance minus the null mean in null standard deviations; None without a test,
            - its ``p_value``, corrected for the number of neurons; None without a test,
            - its ``q``, the false discovery rate; None without a test.

        """
        check_one_of("by", by, Literal["evidence", "distance"])
        results = self.of_granularity("neuron")
        if not results:
            return []
        test = None if results[0].evidence is None else results[0].evidence.test
        sort_key = test.z if test is not None and by == "evidence" else results[0].values
        top = sort_key.topk(min(k, len(sort_key))).indices.tolist()
        columns = self._columns_of_neurons(test)
        rows: list[dict[str, Any]] = []
        for i in top:
            layer, neuron = self.neurons.locate(i)
            row: dict[str, Any] = {"layer": layer, "neuron": neuron, "name": neuron_name(layer, neuron)}
            for name, values in columns.items():
                row[name] = None if values is None else float(values[i])
            rows.append(row)
        return rows

    def _columns_of_neurons(self, test: PermutationTest | None) -> dict[str, Tensor | None]:
        """Return the values of all neurons, ``(N,)``, by name of the column; None for a column without values."""
        columns: dict[str, Tensor | None] = {}
        for name, record in DISTANCES.items():
            if record.granularity == "neuron":
                columns[record.key] = self[name].values if name in self else None
        dnas = [side.dnas.get("histogram", side.first) for side in self.measured or ()]
        columns["shift"] = self.mean_shift if dnas and all(map(has_means, dnas)) else None
        columns["z"] = None if test is None else test.z
        columns["p_value"] = None if test is None else test.neurons
        columns["q"] = None if test is None else test.q
        return columns

    def explain(self, names: tuple[str, str] | None = None) -> Explanation:
        """Describe the difference in words: image properties that differ, and changes of A that explain it.

        Args:
            names: Names of A and B; by default those of the comparison.

        """
        explanation = self._explained
        return explanation if names is None else replace(explanation, names=names)

    @property
    def explanation(self) -> Explanation | None:
        """Description of the difference; None if the comparison does not hold its DNAs."""
        return None if self.measured is None else self._explained

    @cached_property
    def _explained(self) -> Explanation:
        """Description of the difference, with the names of the comparison."""
        a, b = self._sides()
        properties = self._property_differences()
        tests = [result.evidence.test for result in self.of_granularity("neuron") if result.evidence is not None]
        test = next((test for test in tests if test is not None), None)
        explanation = explain(
            a.first,
            b.first,
            test,
            self.names,
            properties=properties,
            causes=self.causes,
            why_untested=self.why_untested,
            p_value=self.p_value_of_any,
        )
        is_less_colourful = any(
            difference.name == "saturation" and difference.direction < 0 for difference in properties or ()
        )
        colourless = self._colourless() if is_less_colourful else None
        return replace(explanation, paired=self.paired, pixels=self.pixels, colourless=colourless)

    def _property_differences(self) -> list[PropertyDifference] | None:
        """Return the image properties that differ; empty if they do not differ significantly, None if not measured."""
        if self.properties is None:
            return None
        p_value = self.p_value_of_properties
        if p_value is not None and p_value > SIGNIFICANT:
            return []
        a, b = self.properties._sides()
        gaussian_a = a.dnas.get("gaussian", a.first)
        gaussian_b = b.dnas.get("gaussian", b.first)
        return property_differences(gaussian_a, gaussian_b, self.properties.test)

    def _colourless(self) -> tuple[int, int, int] | None:
        """Return the number of grey images in A, of grey images in B, and of all images in B.

        None unless B clearly has a larger share of grey images.
        """
        if self.properties is None or self.num_bins is None:
            return None
        saturation = self.properties.neurons.index(LAYER, PROPERTIES.index("saturation"))
        num_grey: list[int] = []
        for dna in self.properties.aligned([saturation]):
            upper_edges = dna.bin_edges()[0, 1:]
            num_grey.append(int(dna.counts[0, upper_edges <= GREY].sum()))
        grey_a, grey_b = num_grey
        share_a = grey_a / self.num_images["a"]
        share_b = grey_b / self.num_images["b"]
        # B needs at least 3 grey images, and a share of more than 0.1 plus twice the share in A.
        if grey_b <= 2 or share_b <= 0.1 + 2 * share_a:
            return None
        return grey_a, grey_b, self.num_images["b"]

    @property
    def noun(self) -> str:
        """Noun of what was compared, ``"image"``, ``"row"`` for embeddings, or ``"input"``."""
        return "image" if self.measured is None else noun_of(self.measured[0].first)

    @property
    def differs(self) -> bool | None:
        """True if :attr:`p_value_of_any` is at most 0.05; None without a test."""
        return None if self.p_value_of_any is None else self.p_value_of_any <= SIGNIFICANT

    @property
    def test(self) -> PermutationTest | None:
        """Permutation test that gives :attr:`p_value`; None without a test."""
        return None if self._first is None else self._first.test

    def protocol(self) -> str:
        """Describe how the figures were computed, for the implementation details of a paper, one sentence per line.

        The text is about the package, the network, the image preprocessing, the numbers of images, the histograms and
        the tests. It includes digests. Facts that are missing from the result are left out.
        """
        # The module describes results, so it is imported when a result is described.
        protocol = import_module("torchmetrics_dna.reporting.protocol")
        return "\n".join(protocol.of_two_sets(self))

    def plot(self, distance: str | None = None, *, ax: Any = None) -> Any:
        """Plot the distances of the layers, see :func:`~torchmetrics_dna.plots.plot_layers`."""
        return plot_layers(self, distance, ax=ax)

    def __repr__(self) -> str:
        if "dna-emd" in self:
            return f"Comparison({' '.join(self.verdict_lines[:2])})"
        return f"Comparison({', '.join(map(repr, self.values()))})"


def _test_against_held_out(evidence: Evidence) -> PermutationTest | None:
    """Return the test of whether B is farther from A than held-out images; None if it was not made."""
    return None if evidence.farther is None else evidence.farther.test


def _clearest_place(neurons: Neurons, test: PermutationTest) -> str | None:
    """Return the layer with the smallest p-value, else the clearest neuron or property; None without significance."""
    clearest_layer = int(test.layers.argmin())
    name_of_layer = list(neurons)[clearest_layer]
    # All image properties or bands are one layer, so its name would not explain anything.
    if name_of_layer not in (LAYER, BANDS) and test.layers[clearest_layer] <= SIGNIFICANT:
        return name_of_layer
    # Several neurons may have the same p-value, so the clearest neuron is the one with the largest z.
    clearest_neuron = int(test.z.argmax())
    if test.neurons[clearest_neuron] > SIGNIFICANT:
        return None
    layer, number = neurons.locate(clearest_neuron)
    return neuron_name(layer, number) if layer in (LAYER, BANDS) else neuron_in_words(layer, number)
