"""Sentences on how the figures of a comparison were computed, for the implementation details of a paper."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from torchmetrics_dna.dna import DNA, HistogramDNA
from torchmetrics_dna.images.sets import note_of_left_out

if TYPE_CHECKING:
    from torchmetrics_dna.comparisons.several_sets import Comparisons
    from torchmetrics_dna.comparisons.two_sets import Comparison
    from torchmetrics_dna.dna.evidence import Interval
    from torchmetrics_dna.dna.result import Result

    # Results by name of the distance, and then by name of the set that is compared with the reference.
    ByDistance = Mapping[str, Mapping[str, Result]]

# Largest number of layers that are all named. Of more layers, the first and the last are named.
_MOST_LAYERS = 20
# Number of digits of a digest that are shown.
_DIGITS = 12


def of_two_sets(comparison: Comparison) -> list[str]:
    """Return sentences on how the figures of two sets were computed."""
    reference, name = comparison.names
    lines = [*_measurement(comparison), *_sets(reference, {name: comparison})]
    lines += _figures(reference, {name: comparison})
    if comparison.test is not None:
        lines.append("The p-values of layers and neurons were corrected for their number by the max-T method.")
        if comparison.p_value_of_properties is not None:
            lines.append("A joint test of activations and image properties decides whether the sets differ.")
    return [*lines, *_digests(reference, comparison)]


def of_several_sets(sets: Comparisons) -> list[str]:
    """Return sentences on how the figures of several sets were computed."""
    first = next(iter(sets.values()))
    lines = [*_measurement(first), *_sets(sets.reference, sets)]
    if sets.held_out is not None:
        lines.append(f"{sets.held_out} is the held-out set.")
    lines += _figures(sets.reference, sets)
    num_tests = sum(p_value is not None for p_value in sets.p_holm.values())
    if num_tests > 1:
        lines.append(f"The p-values were corrected for {num_tests} sets by Holm's method.")
    if any(p_value is not None for p_value in sets.p_values.values()):
        lines.append(
            "Whether the closest set is closer than another was tested by a paired t-test of jackknife estimates,"
            " corrected for the number of sets by Holm's method."
        )
    return [*lines, *_digests(sets.reference, first)]


def _measurement(comparison: Comparison) -> list[str]:
    """Return sentences on the package, the network, the preparation of images and the histograms."""
    version = f" {comparison.version}" if comparison.version else ""
    lines = [f"The sets were compared with torchmetrics-dna{version}.", _network(comparison)]
    dna = _reference_dna(comparison)
    if dna is not None:
        lines += _preparation(dna, comparison.noun)
    if comparison.num_bins is not None:
        lines += _histograms(comparison)
    return lines


def _reference_dna(comparison: Comparison) -> DNA | None:
    """Return the DNA of the reference; None in a comparison without DNAs."""
    return None if comparison.measured is None else comparison.measured[0].first


def _network(comparison: Comparison) -> str:
    """Return the sentence on the network and its layers."""
    neurons = comparison.neurons
    layers = list(neurons)
    names = f"{layers[0]} to {layers[-1]}" if len(layers) > _MOST_LAYERS else _listed(layers)
    count = "1 layer" if len(layers) == 1 else f"{len(layers)} layers"
    return f"The network is {comparison.extractor}, with {neurons.total:,} neurons in {count}: {names}."


def _listed(names: Iterable[str]) -> str:
    """Return names as part of a sentence, such as "a, b and c"."""
    *first_names, last_name = names
    if not first_names:
        return last_name
    return f"{', '.join(first_names)} and {last_name}"


def _preparation(dna: DNA, noun: str) -> list[str]:
    """Return sentences on the preparation of images, and on the precision of the network."""
    preparation = dna.preparation or {}
    lines: list[str] = []
    if noun == "image":
        lines.append(_image_preparation(preparation))
    if "dtype" in preparation:
        # The preparation leaves float32 unnamed.
        lines.append(f"The network ran in {preparation['dtype'] or 'float32'}.")
    return lines


def _image_preparation(preparation: Mapping[str, Any]) -> str:
    """Return the sentence on how images were cropped, resized and normalized."""
    if "input_size" not in preparation:
        return "The preparation of the images is unknown."
    steps: list[str] = []
    if preparation.get("crop") == "center":
        steps.append("cropped to their largest central square")
    size = preparation["input_size"]
    if size is not None:
        height, width = size
        steps.append(f"resized to {height} x {width} pixels (mode {preparation['resize']})")
    normalization = _normalization(preparation)
    if normalization:
        steps.append(f"normalized by {normalization}")
    if not steps:
        return "Images were neither resized nor normalized."
    return f"Images were {', then '.join(steps)}."


def _normalization(preparation: Mapping[str, Any]) -> str:
    """Return the mean and the standard deviation of the normalization; empty without normalization."""
    constants: list[str] = []
    if preparation.get("mean") is not None:
        constants.append(f"the mean {_numbers(preparation['mean'])}")
    if preparation.get("std") is not None:
        constants.append(f"the standard deviation {_numbers(preparation['std'])}")
    return " and ".join(constants)


def _numbers(values: Iterable[float]) -> str:
    """Return one number per channel, in parentheses."""
    return f"({', '.join(f'{value:g}' for value in values)})"


def _histograms(comparison: Comparison) -> list[str]:
    """Return sentences on the bins and the activation ranges of histograms."""
    bins = f"Each histogram has {comparison.num_bins:,} bins."
    if comparison.measured is None:
        return [bins]
    reference, _ = comparison.measured
    dna = reference.dnas.get("histogram")
    if not isinstance(dna, HistogramDNA):
        return [bins]
    if dna.ranges is None:
        return [bins, "The activation ranges of the histograms are unknown."]
    if dna.self_ranging:
        return [
            "The range of each histogram was observed on the images of its set.",
            f"A bin is 1/{comparison.num_bins:,} of the range in {comparison.names[0]}, which is extended by 20%.",
        ]
    source = f"those of {dna.ranges.name}" if dna.ranges.name else "fixed"
    margin = "with both ends multiplied by 1.2" if dna.ranges.margin == "scale" else "extended by 20%"
    return [bins, f"The activation ranges are {source}, {margin}."]


def _sets(reference: str, comparisons: Mapping[str, Comparison]) -> list[str]:
    """Return sentences on the numbers of images in all sets, and on images that were left out."""
    first = next(iter(comparisons.values()))
    noun = first.noun
    counts = [_count(reference, first.num_images["a"])]
    counts += [_count(name, comparison.num_images["b"]) for name, comparison in comparisons.items()]
    lines = [f"The numbers of {noun}s are {', '.join(counts)}."]
    if first.paired:
        lines.append(f"The {noun}s were compared as pairs.")
    # Each comparison repeats the lines of the reference. A dictionary keeps each line once, in the original order.
    unreadable: dict[str, None] = {}
    for comparison in comparisons.values():
        unreadable |= dict.fromkeys(comparison.unreadable)
    lines += [f"{note}." for note in note_of_left_out(list(unreadable))]
    return lines


def _count(name: str, num_images: int) -> str:
    """Return the number of images of a set in words. The number 0 means that the number is unknown."""
    if not num_images:
        return f"unknown in {name}"
    return f"{num_images:,} in {name}"


def _figures(reference: str, comparisons: Mapping[str, Comparison]) -> list[str]:
    """Return sentences on the definitions of the distances, their intervals and their tests."""
    first = next(iter(comparisons.values()))
    by_distance = _results_by_distance(comparisons)
    lines = _definitions(by_distance, first)
    lines += _intervals(reference, by_distance, is_paired=first.paired)
    lines += _tests(by_distance, is_paired=first.paired)
    return lines


def _results_by_distance(comparisons: Mapping[str, Comparison]) -> ByDistance:
    """Return the results by name of the distance, and then by name of the set."""
    by_distance: dict[str, dict[str, Result]] = {}
    for set_name, comparison in comparisons.items():
        for distance, result in comparison.items():
            by_distance.setdefault(distance, {})[set_name] = result
    return by_distance


def _definitions(by_distance: ByDistance, comparison: Comparison) -> list[str]:
    """Return sentences on how distances are computed. Distances with the same definition share a sentence."""
    distances_by_definition: dict[str, list[str]] = {}
    for distance, results in by_distance.items():
        first_result = next(iter(results.values()))
        definition = _definition(first_result, comparison)
        distances_by_definition.setdefault(definition, []).append(distance)
    lines: list[str] = []
    for definition, distances in distances_by_definition.items():
        lines.append(f"The values of {_listed(distances)} are {definition}.")
    return lines


def _definition(result: Result, comparison: Comparison) -> str:
    """Return how a distance is computed: from a layer, from spatial means, or as an average over neurons or layers."""
    distance = result.distance
    if distance.protocol is not None:
        source = f"layer {distance.protocol.layer} of {distance.protocol.feature}"
        if distance.protocol.crop == "center":
            source += " and the largest central square of each image"
        return f"computed as published, from {source}"
    if distance.granularity == "set":
        return f"computed from the spatial means of layer {list(comparison.neurons)[-1]}"
    average = f"a {result.averaging.over(f'{distance.granularity}s')}"
    if result.averaging.is_plain:
        return average
    digest = result.averaging.settings["neuron weights (digest)"]
    return f"{average}, with weights of digest {digest[:_DIGITS]}"


def _intervals(reference: str, by_distance: ByDistance, *, is_paired: bool) -> list[str]:
    """Return sentences on the confidence intervals, their folds, and the sets whose sampling noise is not included."""
    distances: list[str] = []
    intervals: list[Interval] = []
    for distance, results in by_distance.items():
        intervals_of_distance = [result.interval for result in results.values() if result.interval is not None]
        if intervals_of_distance:
            distances.append(distance)
            intervals += intervals_of_distance
    if not intervals:
        return ["There are no confidence intervals."]
    num_folds = max(interval.num_folds for interval in intervals)
    lines = [
        # All intervals have the same level.
        f"The {intervals[-1].level} confidence intervals of {_listed(distances)} are around debiased values.",
        f"Each set was divided into at most {num_folds} folds.",
    ]
    # The sampling noise of pairs includes the noise of both sets.
    sets_without_noise = [] if is_paired else _sets_without_noise(reference, by_distance)
    if sets_without_noise:
        lines.append(f"The intervals do not include the sampling noise of {_listed(sets_without_noise)}.")
    return lines


def _sets_without_noise(reference: str, by_distance: ByDistance) -> list[str]:
    """Return the names of sets with an interval, but without folds to estimate their sampling noise from."""
    # A dictionary keeps each name once, in the original order.
    names: dict[str, None] = {}
    for results in by_distance.values():
        for set_name, result in results.items():
            if result.evidence is None or result.interval is None:
                continue
            noise_of_reference, noise_of_set = result.evidence.jackknife.sides
            if noise_of_reference is None:
                names[reference] = None
            if noise_of_set is None:
                names[set_name] = None
    return list(names)


def _tests(by_distance: ByDistance, *, is_paired: bool) -> list[str]:
    """Return sentences on permutation tests. Distances with the same number of permutations share a sentence."""
    distances_by_count: dict[str, list[str]] = {}
    for distance, results in by_distance.items():
        count = _num_permutations(results.values())
        if count:
            distances_by_count.setdefault(count, []).append(distance)
    if not distances_by_count:
        return ["There is no permutation test."]
    permutations = "exchanges of the two sets within folds of pairs" if is_paired else "permutations of the folds"
    lines: list[str] = []
    for count, distances in distances_by_count.items():
        lines.append(
            f"The p-values of {_listed(distances)} are from {count} {permutations}, including the observed assignment."
        )
    return lines


def _num_permutations(results: Iterable[Result]) -> str:
    """Return the number of permutations of the tests of results, such as "500 to 1,000"; empty without a test."""
    numbers: set[int] = set()
    for result in results:
        if result.evidence is not None and result.evidence.test is not None:
            numbers.add(result.evidence.test.num_relabelings)
    if not numbers:
        return ""
    least, most = min(numbers), max(numbers)
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"


def _digests(reference: str, comparison: Comparison) -> list[str]:
    """Return the sentence with the digests that are known: of the weights, activation ranges and reference."""
    dna = _reference_dna(comparison)
    if dna is None:
        return []
    digests: list[str] = []
    if dna.weights_digest:
        digests.append(f"weights of the network {dna.weights_digest[:_DIGITS]}")
    if isinstance(dna, HistogramDNA) and dna.ranges is not None and not dna.self_ranging:
        digests.append(f"activation ranges {dna.ranges.digest[:_DIGITS]}")
    digests.append(f"{dna.kind} DNA of {reference} in these neurons {dna.digest[:_DIGITS]}")
    return [f"Digests (first {_DIGITS} digits): {', '.join(digests)}."]
