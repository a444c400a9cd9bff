"""How the figures of a comparison were computed, in sentences for the implementation details of a paper."""

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

    # Results by name of the distance, and of the set that is compared with the reference.
    ByDistance = Mapping[str, Mapping[str, Result]]

# Number of layers that are all named.
_MOST_LAYERS = 20
# Number of digits of a digest that are shown.
_DIGITS = 12


def of_two_sets(comparison: Comparison) -> list[str]:
    """Return how the figures of two sets were computed, one sentence each."""
    reference, name = comparison.names
    lines = [*_measurement(comparison), *_sets(reference, {name: comparison})]
    lines += _figures(reference, {name: comparison})
    if comparison.test is not None:
        lines.append("The p-values of layers and neurons were corrected for their number by the max-T method.")
        if comparison.p_value_of_properties is not None:
            lines.append("A joint test of activations and image properties decides whether the sets differ.")
    return [*lines, *_digests(reference, comparison)]


def of_several_sets(sets: Comparisons) -> list[str]:
    """Return how the figures of several sets were computed, one sentence each."""
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
    """Return the package, the network, the preparation of images and the histograms."""
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
    """Return the network and its layers."""
    neurons = comparison.neurons
    layers = list(neurons)
    named = _listed(layers)
    if len(layers) > _MOST_LAYERS:
        named = f"{layers[0]} to {layers[-1]}"
    count = "1 layer" if len(layers) == 1 else f"{len(layers)} layers"
    return f"The network is {comparison.extractor}, with {neurons.total:,} neurons in {count}: {named}."


def _listed(names: Iterable[str]) -> str:
    """Return names in a sentence: "a", or "a, b and c"."""
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def _preparation(dna: DNA, noun: str) -> list[str]:
    """Return what was done to the images, and the precision of the network."""
    preparation = dna.preparation or {}
    lines: list[str] = []
    if noun == "image":
        lines.append(_image_preparation(preparation))
    if "dtype" in preparation:
        # The preparation names all precisions other than float32.
        lines.append(f"The network ran in {preparation['dtype'] or 'float32'}.")
    return lines


def _image_preparation(preparation: Mapping[str, Any]) -> str:
    """Return how images were cropped, resized and normalized."""
    if "input_size" not in preparation:
        return "The preparation of the images is unknown."
    steps: list[str] = []
    if preparation.get("crop") == "center":
        steps.append("cropped to their largest central square")
    size = preparation["input_size"]
    if size is not None:
        height, width = size
        steps.append(f"resized to {height} x {width} pixels (mode {preparation['resize']})")
    normalization: list[str] = []
    if preparation.get("mean") is not None:
        normalization.append(f"the mean {_numbers(preparation['mean'])}")
    if preparation.get("std") is not None:
        normalization.append(f"the standard deviation {_numbers(preparation['std'])}")
    if normalization:
        steps.append(f"normalized by {' and '.join(normalization)}")
    if not steps:
        return "Images were neither resized nor normalized."
    return f"Images were {', then '.join(steps)}."


def _numbers(values: Iterable[float]) -> str:
    """Return the numbers of all channels, as they were given."""
    return f"({', '.join(f'{value:g}' for value in values)})"


def _histograms(comparison: Comparison) -> list[str]:
    """Return the bins and the activation ranges of histograms."""
    bins = f"Each histogram has {comparison.num_bins:,} bins."
    dna = None if comparison.measured is None else comparison.measured[0].dnas.get("histogram")
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
    margin = "extended by 20%"
    if dna.ranges.margin == "scale":
        margin = "with both ends multiplied by 1.2"
    return [bins, f"The activation ranges are {source}, {margin}."]


def _sets(reference: str, comparisons: Mapping[str, Comparison]) -> list[str]:
    """Return the numbers of images of all sets, and of those that were left out."""
    first = next(iter(comparisons.values()))
    noun = first.noun
    counts = [_count(reference, first.num_images["a"])]
    counts += [_count(name, comparison.num_images["b"]) for name, comparison in comparisons.items()]
    lines = [f"The numbers of {noun}s are: {', '.join(counts)}."]
    if first.paired:
        lines.append(f"The {noun}s were compared as pairs.")
    # Each comparison repeats the lines of the reference. A dictionary keeps each line once, in order.
    unreadable: dict[str, None] = {}
    for comparison in comparisons.values():
        unreadable |= dict.fromkeys(comparison.unreadable)
    lines += [f"{note}." for note in note_of_left_out(list(unreadable))]
    return lines


def _count(name: str, num_images: int) -> str:
    """Return the number of images of a set; 0 stands for an unknown number."""
    return f"{name} {num_images:,}" if num_images else f"{name} unknown"


def _figures(reference: str, comparisons: Mapping[str, Comparison]) -> list[str]:
    """Return what the distances are, and how their intervals and p-values were computed."""
    first = next(iter(comparisons.values()))
    # The results of each distance, by name of the set.
    by_distance: dict[str, dict[str, Result]] = {}
    for set_name, comparison in comparisons.items():
        for distance, result in comparison.items():
            by_distance.setdefault(distance, {})[set_name] = result
    # Distances that are computed in the same way share a sentence.
    by_origin: dict[str, list[str]] = {}
    for distance, results in by_distance.items():
        origin = _origin(next(iter(results.values())), first)
        by_origin.setdefault(origin, []).append(distance)
    lines = [f"The values of {_listed(distances)} are {origin}." for origin, distances in by_origin.items()]
    lines += _intervals(reference, by_distance, is_paired=first.paired)
    lines += _tests(by_distance, is_paired=first.paired)
    return lines


def _origin(result: Result, comparison: Comparison) -> str:
    """Return what a distance is computed from, or averaged over."""
    record = result.distance
    if record.protocol is not None:
        layer = f"layer {record.protocol.layer} of {record.protocol.feature}"
        if record.protocol.crop == "center":
            layer += " and the largest central square of each image"
        return f"computed as published, from {layer}"
    if record.granularity == "set":
        return f"computed from the spatial means of layer {list(comparison.neurons)[-1]}"
    average = f"a {result.averaging.over(f'{record.granularity}s')}"
    if result.averaging.is_plain:
        return average
    digest = result.averaging.settings["neuron weights (digest)"]
    return f"{average}, with weights of digest {digest[:_DIGITS]}"


def _intervals(reference: str, by_distance: ByDistance, *, is_paired: bool) -> list[str]:
    """Return the folds of images, the confidence of the intervals, and the sets whose noise is not in them."""
    distances_with_intervals: list[str] = []
    intervals: list[Interval] = []
    # Sets without folds have no sampling noise.
    sets_without_noise: list[str] = []
    for distance, results in by_distance.items():
        for set_name, result in results.items():
            if result.evidence is None or result.interval is None:
                continue
            distances_with_intervals.append(distance)
            intervals.append(result.interval)
            # The noise of both sets is in that of the pairs.
            if not is_paired:
                noise_of_reference, noise_of_set = result.evidence.jackknife.sides
                if noise_of_reference is None:
                    sets_without_noise.append(reference)
                if noise_of_set is None:
                    sets_without_noise.append(set_name)
    if not intervals:
        return ["There are no confidence intervals."]
    num_folds = max(interval.num_folds for interval in intervals)
    listed_distances = _listed(dict.fromkeys(distances_with_intervals))
    lines = [
        f"The {intervals[-1].level} confidence intervals of {listed_distances} are around debiased values.",
        f"Each set was divided into at most {num_folds} folds.",
    ]
    if sets_without_noise:
        listed_sets = _listed(dict.fromkeys(sets_without_noise))
        lines.append(f"The intervals do not include the sampling noise of {listed_sets}.")
    return lines


def _tests(by_distance: ByDistance, *, is_paired: bool) -> list[str]:
    """Return the permutation tests; distances with the same number of permutations share a sentence."""
    by_number: dict[str, list[str]] = {}
    for distance, results in by_distance.items():
        evidence = [result.evidence for result in results.values() if result.evidence is not None]
        numbers = sorted({each.test.num_relabelings for each in evidence if each.test is not None})
        if not numbers:
            continue
        count = f"{numbers[0]:,}"
        if len(numbers) > 1:
            count += f" to {numbers[-1]:,}"
        by_number.setdefault(count, []).append(distance)
    if not by_number:
        return ["There is no permutation test."]
    what = "permutations of the folds"
    if is_paired:
        what = "exchanges of the two sets within folds of pairs"
    lines: list[str] = []
    for count, distances in by_number.items():
        lines.append(
            f"The p-values of {_listed(distances)} are from {count} {what}, including the observed assignment."
        )
    return lines


def _digests(reference: str, comparison: Comparison) -> list[str]:
    """Return the digests of the weights, the activation ranges and the reference, as far as they are known."""
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
