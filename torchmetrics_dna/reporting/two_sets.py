"""The comparison of two sets in sentences, tables and records."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from torchmetrics_dna.files.tables import Cell, Table
from torchmetrics_dna.files.visible import images_in_words, number, p_figure
from torchmetrics_dna.functional.permutation import SIGNIFICANT
from torchmetrics_dna.images.sets import note_of_left_out
from torchmetrics_dna.options import written
from torchmetrics_dna.reporting.figures import (
    cells_of,
    debiased_cells,
    distance_in_words,
    meanings_of,
    values_by_distance,
    values_of,
)
from torchmetrics_dna.reporting.outliers import are_many, outliers_of_b
from torchmetrics_dna.words.explanation import difference, has_exact_change, pixels_of_pairs, what_was_measured

if TYPE_CHECKING:
    from torchmetrics_dna.comparisons.two_sets import Comparison
    from torchmetrics_dna.dna.result import Result
    from torchmetrics_dna.functional.permutation import PermutationTest

# Largest number of sentences of a verdict.
_MOST_SENTENCES = 4
# Largest number of columns of embeddings that a verdict names.
_MOST_COLUMNS = 5
#: Terms that the page of two sets explains.
TERMS = ("layer", "neuron", "bin", "dna-emd", "p", "q", "debiased", "95% CI", "null mean")


def title(comparison: Comparison) -> str:
    """Return the title of a page."""
    a, b = comparison.names
    return f"{b} compared with {a}"


# Sentences


def sentences(comparison: Comparison) -> list[str]:
    """Return a verdict of about four sentences.

    The sentences are about these subjects, in this order: the pixels of pairs, the result of the test, the distance,
    properties that differ, and outliers.
    """
    a, b = comparison.names
    noun = comparison.noun
    if comparison.is_one_source:
        source = f"the same {noun}s" if a == "A" else a
        return [f"You gave {source} twice: A and B are the same {noun}s."]
    explanation = comparison.explanation
    pixels = [] if explanation is None else pixels_of_pairs(explanation)
    main = comparison.main
    if main is not None and main.value == 0 and main.distance.unit == "bins":
        return [*pixels, f"{a} and {b} are 0 bins apart: their histograms are equal, as of the same {noun}s."]
    answer = _answer(comparison)
    distance = _distance(comparison)
    properties = _properties(comparison)
    outliers = outliers_of_b(comparison)
    verdict = pixels + answer + distance + properties + outliers
    if len(verdict) <= _MOST_SENTENCES:
        return verdict
    if explanation is not None and (explanation.causes is not None or has_exact_change(explanation)):
        # The change describes the difference better than the properties do.
        return pixels + answer + distance + outliers
    has_many_outliers = comparison.outliers is not None and are_many(comparison.outliers)
    if comparison.shares_images or has_many_outliers:
        return pixels + answer + distance + properties
    # Only the first sentence on the test has its result.
    return pixels + answer[:1] + distance + properties + outliers


def _answer(comparison: Comparison) -> list[str]:
    """Return sentences on the result of the test; nothing if there are neither distances nor a reason for no test."""
    if comparison.main is None and not comparison.why_untested:
        return []
    return [f"{clause}." for clause in _do_they_differ(comparison)]


def _distance(comparison: Comparison) -> list[str]:
    """Return the sentence on the main distance; nothing if there are too few images for a meaningful value."""
    main = comparison.main
    if main is None:
        return []
    # Without an interval, the distance between few images is mostly sampling noise.
    if comparison.is_few and main.interval is None:
        return []
    return [f"{_how_far(comparison, main)}."]


def _properties(comparison: Comparison) -> list[str]:
    """Return sentences on the properties, columns or layers that differ most."""
    lines: list[str] = []
    if comparison.explanation is not None and comparison.p_value_of_any is not None:
        lines += what_was_measured(comparison.explanation)
    place = _where_most(comparison)
    if place and comparison.differs:
        lines.append(f"The difference is largest in {place}.")
    return lines


def _do_they_differ(comparison: Comparison) -> list[str]:
    """Return clauses on the result of the test, or on the reason why there is no test."""
    a, b = comparison.names
    if comparison.p_value_of_any is None:
        untested = f"{b} was not tested against {a}"
        if comparison.why_untested:
            untested += f": {comparison.why_untested}"
        return [untested]
    duplicates = _near_duplicates(comparison)
    if comparison.differs:
        return _significant_difference(comparison, duplicates)
    if duplicates:
        return [f"Not tested: {duplicates}, but the test needs independent sets. {_without_independence()}"]
    answer = f"No significant difference between {a} and {b}"
    if comparison.outliers is not None and comparison.outliers.named:
        answer += " as a whole"
    return [answer]


def _near_duplicates(comparison: Comparison) -> str:
    """Return the number of images of B that are near-duplicates of images of A; empty if there are few of them."""
    if not comparison.shares_images:
        return ""
    a, b = comparison.names
    total = images_in_words(comparison.num_images["b"], comparison.noun)
    return f"{comparison.copies:,} of {total} in {b} are near-duplicates of {comparison.noun}s in {a}"


def _without_independence() -> str:
    """Return what to do if the images of both sets are not independent."""
    return f"Use `diff`, or {written('pairs', 'name')} if the images correspond"


def _significant_difference(comparison: Comparison, duplicates: str) -> list[str]:
    """Return clauses on a significant difference.

    Args:
        comparison: The comparison.
        duplicates: Number of near-duplicates in words; empty if there are few of them.

    """
    explanation = comparison.explanation
    clauses = [] if explanation is None else difference(explanation)
    if explanation is None or explanation.causes is None:
        # Shared images are a better explanation than the report that no change was found.
        no_change_found = [] if duplicates else clauses[1:]
        clauses = [_what_differs(comparison), *no_change_found]
    if duplicates:
        clauses.append(f"{duplicates}. {_without_independence()}")
    return clauses


def _what_differs(comparison: Comparison) -> str:
    """Return the clause that the sets differ, or that only their image properties differ."""
    a, b = comparison.names
    is_shown_by_network = comparison.p_value is not None and comparison.p_value <= SIGNIFICANT
    if is_shown_by_network or comparison.p_value_of_properties is None:
        return f"{b} differs significantly from {a}"
    differ = f"The {comparison.noun} properties of {b} differ significantly from those of {a}"
    return f"{differ}, but the network's activations do not"


def _p_of_answer(comparison: Comparison) -> str:
    """Return the p-value of the test, and a remark if the test includes image properties.

    The text is empty without a test. It is also empty if the sets share images and do not differ significantly, because
    the test is then not valid.
    """
    if comparison.p_value_of_any is None:
        return ""
    if comparison.shares_images and not comparison.differs:
        return ""
    p = p_figure(comparison.p_value_of_any, "p")
    if comparison.p_value_of_properties is not None and p != p_figure(comparison.p_value, "p"):
        return f"{p} for activations and {comparison.noun} properties together"
    return p


def _how_far(comparison: Comparison, result: Result) -> str:
    """Return the clause on a distance, with its interval and p-value if they are known."""
    interval = result.interval
    name = f"{result.averaging.adjective}{result.distance.name}"
    p = _p_of_answer(comparison)
    if interval is None or comparison.shares_images:
        return _joined(f"{name}, not debiased: {distance_in_words(result.distance, result.value)}", p)
    largest = distance_in_words(result.distance, interval.high)
    if comparison.p_value_of_any is not None and not comparison.differs:
        within_noise = f"{name} is within sampling noise ({p})"
        if interval.high > 0:
            return f"{within_noise}. The true distance is at most {largest} ({interval.ci})"
        return within_noise
    if result.few_differ is not None:
        return f"No shift on average, but {result.few_differ.number_in_words} ({p})"
    if interval.high == 0:
        below_noise = f"{name} is below sampling noise"
        return f"{below_noise} ({p})" if p else below_noise
    if interval.value == 0:
        # A 0 next to a small p-value would look like no difference.
        return _joined(f"Debiased {name}: at most {largest} ({interval.ci})", p)
    return _joined(f"Debiased {name}: {distance_in_words(result.distance, interval.value)}", interval.in_words, p)


def _joined(*parts: str) -> str:
    """Join all non-empty parts by commas."""
    return ", ".join(part for part in parts if part)


def _where_most(comparison: Comparison) -> str:
    """Return the layer, columns or neurons in which inputs other than images differ most.

    The text is empty for images, without a test, and if no single column or neuron differs significantly.
    """
    test = comparison.test
    if test is None or comparison.noun == "image":
        return ""
    if len(comparison.neurons) > 1:
        mean_z = {layer: float(test.z[neurons].mean()) for layer, neurons in comparison.neurons.slices.items()}
        clearest_layer = max(mean_z, key=lambda layer: mean_z[layer])
        return f"layer {clearest_layer}"
    noun = "column" if comparison.noun == "row" else "neuron"
    return _significant_neurons(test, noun)


def _significant_neurons(test: PermutationTest, noun: str) -> str:
    """Return the numbers of the neurons that differ significantly, the clearest first; empty if there are none.

    Args:
        test: Test of the neurons.
        noun: Name of a neuron, such as "column".

    """
    order = test.z.argsort(descending=True).tolist()
    numbers = [str(number) for number in order if test.neurons[number] <= SIGNIFICANT]
    if not numbers:
        return ""
    if len(numbers) > 1:
        noun += "s"
    place = f"{noun} {', '.join(numbers[:_MOST_COLUMNS])}"
    if len(numbers) > _MOST_COLUMNS:
        place += f" and {len(numbers) - _MOST_COLUMNS} more"
    return place


# Tables


def table(comparison: Comparison) -> Table:
    """Return the table of distances with their intervals and tests, and notes on the images and the network."""
    notes = [_setting(comparison)]
    rows: list[dict[str, Cell]] = []
    for name, result in comparison.items():
        row = {"distance": name, **cells_of(result.overall, "two sets")}
        if comparison.copied:
            # Debiased values, intervals and tests assume independent sets.
            row |= {"debiased": None, "interval": "-", "p": "-"}
        else:
            row["debiased"], row["interval"] = debiased_cells(result, result.p_value)
        row["unit"] = described_value(comparison, result)
        rows.append(row)
        note = why_small(result)
        if note:
            notes.append(f"{note}.")
    notes += meanings_of(rows)
    notes += note_of_left_out(comparison.unreadable)
    return Table.of(rows, notes=notes)


def _setting(comparison: Comparison) -> str:
    """Return the note on the images, the network, the neurons and the activation ranges of a comparison."""
    counts = " and ".join(f"{count:,}" if count else "unknown" for count in comparison.num_images.values())
    images = f"{counts} {comparison.noun}s in {' and '.join(comparison.names)}"
    if comparison.paired:
        images += ", as pairs"
    network = f"{comparison.extractor}, {comparison.neurons.total:,} neurons"
    if comparison.ranges:
        network += f", ranges {comparison.ranges}"
    return f"{images}; {network}"


def described_value(comparison: Comparison, result: Result) -> str:
    """Return a description of the value of a distance.

    It has the unit, the neurons or layers over which the distance is averaged, the direction that is better, and the
    standard deviation over subsets of the images.
    """
    direction = "higher is better" if result.distance.higher_is_better else ""
    spread = f"± {number(result.spread)} over subsets" if result.spread else ""
    return _joined(_unit(comparison, result), _measured_on(comparison, result), direction, spread)


def _unit(comparison: Comparison, result: Result) -> str:
    """Return the unit of a distance; empty if it has none."""
    unit = result.distance.unit
    if unit != "bins":
        return unit
    if comparison.ranges == "auto":
        return f"bins of {comparison.num_bins} of the range of {comparison.names[0]}"
    return f"bins of {comparison.num_bins}"


def _measured_on(comparison: Comparison, result: Result) -> str:
    """Return the neurons or layers over which a distance is averaged, or the layer that it is of."""
    distance = result.distance
    if distance.protocol is None and distance.granularity != "set":
        return result.averaging.over(f"{distance.granularity}s")
    # A distance of whole sets takes the last layer, unless it has a layer of its own.
    layer = distance.layer or list(comparison.neurons)[-1]
    if distance.protocol is not None:
        return f"of layer {layer} of {distance.protocol.feature}"
    return f"of layer {layer}"


def why_small(result: Result) -> str:
    """Return a remark on a small p-value of a distance that is within sampling noise; empty for other distances.

    The test is about the layer or neuron with the clearest difference, and the distance is a mean over all neurons.
    """
    if result.p_value is None or result.p_value > SIGNIFICANT or result.few_differ is not None:
        return ""
    null_high: float | None = 0.0
    if result.evidence is not None and result.distance.granularity == "neuron":
        null_high = result.evidence.null_high
    if result.value > (null_high or 0.0):
        return ""
    name = result.distance.name
    return f"p of {name} tests the clearest layer or neuron, since the mean over all neurons is within sampling noise"


def tables(comparison: Comparison) -> list[Table]:
    """Return the table of distances. If the sets differ, add the tables of layers and neurons."""
    tables = [comparison.table]
    if comparison.same_images or comparison.differs is False:
        return tables
    layers = _table_of_layers(comparison)
    if layers is not None:
        tables.append(layers)
    neurons = _table_of_neurons(comparison)
    if neurons is not None:
        tables.append(neurons)
    return tables


def _table_of_layers(comparison: Comparison) -> Table | None:
    """Return the table of the distances of each layer; None if no distance has values of layers."""
    results = comparison.of_granularity("neuron", "layer")
    if not results:
        return None
    # Only the first distance with an interval or a test has columns for them.
    tested = next((result for result in results if result.evidence), None)
    rows: list[dict[str, Cell]] = []
    for layer, count in comparison.neurons.items():
        row: dict[str, Cell] = {"layer": layer, "neurons": count}
        for result in results:
            row[result.distance.name] = result.layers[layer].value
            if result is tested:
                row |= cells_of(result.layers[layer], "layers")
        rows.append(row)
    return Table(list(rows[0]), [list(row.values()) for row in rows], "By layer")


def num_significant(comparison: Comparison) -> str:
    """Return the number of neurons that differ significantly, in words; empty without a test."""
    test = _test_of_neurons(comparison)
    if test is None:
        return ""
    count = int((test.neurons <= SIGNIFICANT).sum())
    return f"{count:,} of {comparison.neurons.total:,} significantly, p ≤ {SIGNIFICANT}"


def _test_of_neurons(comparison: Comparison) -> PermutationTest | None:
    """Return the test of the first distance of neurons that has evidence; None without a test."""
    for result in comparison.of_granularity("neuron"):
        if result.evidence is not None:
            return result.evidence.test
    return None


def _table_of_neurons(comparison: Comparison) -> Table | None:
    """Return the table of the neurons that differ most; None if there are none.

    With a test, the table has only neurons that differ significantly.
    """
    top = _clearest_neurons(comparison)
    if not top:
        return None
    has_test = _test_of_neurons(comparison) is not None
    rows: list[dict[str, Cell]] = []
    for neuron in top:
        row: dict[str, Cell] = {"layer": neuron["layer"], "neuron": neuron["name"]}
        for result in comparison.of_granularity("neuron"):
            row[result.distance.name] = neuron[result.distance.key]
        row["mean shift"] = neuron["shift"]
        if has_test:
            row |= {"p": p_figure(neuron["p_value"]), "q": p_figure(neuron["q"])}
        rows.append(row)
    if has_test:
        heading = f"Neurons that differ most clearly ({num_significant(comparison)})"
    else:
        heading = "Neurons that differ most"
    return Table(list(rows[0]), [list(row.values()) for row in rows], heading)


def _clearest_neurons(comparison: Comparison) -> list[dict[str, Any]]:
    """Return the neurons that differ most. If they were tested, only those that differ significantly are returned."""
    clearest: list[dict[str, Any]] = []
    for neuron in comparison.top_neurons():
        p_value = neuron["p_value"]
        if p_value is None or p_value <= SIGNIFICANT:
            clearest.append(neuron)
    return clearest


# Records


def rows(comparison: Comparison) -> list[dict[str, Any]]:
    """Return records of each distance in plain types: one over all neurons (without a layer), and one per layer."""
    rows: list[dict[str, Any]] = []
    for name, result in comparison.items():
        for layer, finding in result.findings.items():
            rows.append({"distance": name, "layer": layer, **values_of(finding)})
    return rows


def whole(comparison: Comparison) -> dict[str, Any]:
    """Return all results except for the tensors of neurons in plain types, ready for json."""
    overall = {result.distance.key: result.overall for result in comparison.values()}
    properties = comparison.properties
    with_subsets = [result for result in comparison.values() if result.distance.subsets]
    return {
        **values_by_distance(overall),
        **{f"{result.distance.key}_std": result.spread for result in with_subsets},
        "layers": {layer: values_by_distance(findings) for layer, findings in _by_layer(comparison).items()},
        "top_neurons": comparison.top_neurons(),
        "properties": [] if properties is None else properties.top_neurons(properties.neurons.total),
        "p_value": comparison.p_value,
        "p_value_of_properties": comparison.p_value_of_properties,
        "p_value_of_any": comparison.p_value_of_any,
        "differs": comparison.differs,
        "outliers": None if comparison.outliers is None else comparison.outliers.to_dict(),
        "interval": _as_dict_or_none(comparison.interval),
        "notices": comparison.notices,
        "verdict": comparison.verdict if comparison.measured else "",
        "causes": _as_dict_or_none(comparison.causes),
        "pixels": _as_dict_or_none(comparison.pixels),
        "num_images": comparison.num_images,
        "paired": comparison.paired,
        "extractor": comparison.extractor,
        "average": {
            result.distance.key: result.averaging.over("neurons") for result in comparison.of_granularity("neuron")
        },
        "num_bins": comparison.num_bins,
        "ranges": comparison.ranges,
        "unreadable": comparison.unreadable,
    }


def _as_dict_or_none(record: Any) -> dict[str, Any] | None:
    """Return the fields of a dataclass by name; None if there is no record."""
    return None if record is None else asdict(record)


def _by_layer(comparison: Comparison) -> dict[str, dict[str, Any]]:
    """Return the findings of each layer, by key of the distance. Published metrics have no findings of layers."""
    by_layer: dict[str, dict[str, Any]] = {layer: {} for layer in comparison.neurons}
    for result in comparison.of_granularity("neuron", "layer"):
        for layer, finding in result.layers.items():
            by_layer[layer][result.distance.key] = finding
    return by_layer
