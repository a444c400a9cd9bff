"""Compare two sets that were measured."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from torchmetrics_dna.comparisons.two_sets import SHARED, Comparison
from torchmetrics_dna.dna import DNA, GaussianDNA, HistogramDNA
from torchmetrics_dna.dna.base import merged
from torchmetrics_dna.dna.distances import DISTANCES, of_any_network
from torchmetrics_dna.dna.evidence import FartherTest, is_farther, ratio_of
from torchmetrics_dna.dna.shared import shared_neurons
from torchmetrics_dna.files.visible import images_in_words
from torchmetrics_dna.functional.flagging import LEAST
from torchmetrics_dna.functional.permutation import LEAST_FOLDS
from torchmetrics_dna.images.likeness import MOST, near_duplicates
from torchmetrics_dna.images.noun import noun_of
from torchmetrics_dna.images.properties import BANDS, LAYER
from torchmetrics_dna.jobs.arguments import Arguments
from torchmetrics_dna.jobs.groups import groups_of
from torchmetrics_dna.jobs.measure import Measured, unreadable_of
from torchmetrics_dna.jobs.plan import Plan, folded_sides, make_plan
from torchmetrics_dna.neurons.index import Neurons
from torchmetrics_dna.options import written
from torchmetrics_dna.version import __version__

if TYPE_CHECKING:
    from torchmetrics_dna.dna.result import Result

# Number of pairs of near-duplicates that a page shows.
_TWINS = 8
# Pairs are offered if at least this share of the larger set has the name of an image in the other set.
_NAMESAKES = 0.9
# Names that are only numbers do not show that two images belong together.
_NUMBERED = re.compile(r"((image|input|row) )?[\d_-]+")


def compare_measured(a: Measured, b: Measured, plan: Plan | None, *, names: tuple[str, str] = ("A", "B")) -> Comparison:
    """Compare two measured sets by the distances of a plan that both support.

    Evidence is computed if both sets have folds. The result keeps no folds. Image properties are compared separately
    from the network, unless its neurons are weighted. The bands of other inputs are compared separately by dna-fd.

    Args:
        a: The reference.
        b: The set to compare with it.
        plan: The plan; by default, all distances of any network.
        names: Names of the sets.

    """
    if plan is None:
        dna = a.first
        distances = list(of_any_network().values())
        plan = make_plan(Arguments(), distances, [dna], dna)
    by_neuron = [record for record in plan.distances if record.granularity == "neuron"]
    # Properties or bands of each set; empty if they are not compared.
    properties_of_sets: list[Measured] = []
    if plan.has_properties:
        network_a = a.select(plan.neurons)
        network_b = network_a if a is b else b.select(plan.neurons)
        comparison = _compare(network_a, network_b, plan, names)
        neurons = shared_neurons(a.first.select([LAYER]), b.first.select([LAYER]))
        properties_of_sets = [Measured(side.select(neurons).dnas, []) for side in (a, b)]
    else:
        comparison = _compare(a, b, plan, names)
        if by_neuron:
            by_neuron = [DISTANCES["dna-fd"]]
        if a is not b:
            bands_of_sets = [_bands_as_dna(a), _bands_as_dna(b)]
            properties_of_sets = [bands for bands in bands_of_sets if bands is not None]
    if not by_neuron or len(properties_of_sets) < 2:
        return comparison
    properties_a, properties_b = properties_of_sets
    properties = _compare(properties_a, properties_b, replace(plan, distances=by_neuron), names)
    return replace(comparison, properties=properties)


def _bands_as_dna(side: Measured) -> Measured | None:
    """Return mean and deviation of the bands of single inputs as a DNA with folds.

    None if bands or folds were not kept, for fewer than two inputs, and if a value is not finite.
    """
    rows = side.rows.get(BANDS)
    fold_numbers = side.folds
    if rows is None or fold_numbers is None or len(rows) < 2 or not rows.isfinite().all():
        return None
    origin = side.first.origin

    def dna_of(values: Tensor, folds: Sequence[DNA] = ()) -> GaussianDNA:
        mean = values.mean(0)
        # A fold of one input has no unbiased variance.
        var = values.var(0, correction=min(1, len(values) - 1))
        return GaussianDNA(mean, var, Neurons({BANDS: len(mean)}), len(values), folds=tuple(folds), **origin)

    folds = [dna_of(rows[fold_numbers == number]) for number in sorted(set(fold_numbers.tolist()))]
    return Measured({"gaussian": dna_of(rows, folds)}, [])


def add_held_out_tests(
    comparison: Comparison, of_held_out: Comparison, measured: tuple[Measured, Measured, Measured]
) -> Comparison:
    """Add the test of whether a set is farther than the held-out set to those distances that have no ratio of both.

    Args:
        comparison: The set compared with the reference.
        of_held_out: The held-out set compared with the same reference.
        measured: The reference, the set and the held-out set, with folds.

    """
    if comparison.shares_images or of_held_out.shares_images:
        return comparison
    names = _distances_without_ratio(comparison, of_held_out)
    properties = comparison.properties
    if properties is not None:
        properties = _add_further(properties, names, measured)
    return replace(_add_further(comparison, names, measured), properties=properties)


def _distances_without_ratio(comparison: Comparison, of_held_out: Comparison) -> list[str]:
    """Return the distances with folds of images whose ratio to the held-out set can't be estimated."""
    names = []
    for name, result in comparison.items():
        if name not in of_held_out or result.distance.folded is None or result.distance.by_image:
            continue
        evidence = result.evidence
        held_out_evidence = of_held_out[name].evidence
        if evidence is None or held_out_evidence is None:
            continue
        ratio = ratio_of(evidence, held_out_evidence)
        if ratio is None or not ratio.is_informative:
            names.append(name)
    return names


def _add_further(
    comparison: Comparison, names: Sequence[str], measured: tuple[Measured, Measured, Measured]
) -> Comparison:
    """Add the test against the held-out set to these distances of a comparison."""
    a, b, held_out = (side.select(comparison.neurons) for side in measured)
    results = dict(comparison.results)
    for name in names:
        result = results.get(name)
        if result is None or result.evidence is None:
            continue
        farther = _farther_than_held_out(result, a, b, held_out)
        results[name] = replace(result, evidence=replace(result.evidence, farther=farther))
    return replace(comparison, results=results)


def _farther_than_held_out(result: Result, a: Measured, b: Measured, held_out: Measured) -> FartherTest | None:
    """Test if ``b`` is farther from ``a`` than the held-out set, by exchanging the folds of these two sets.

    Null hypothesis: the folds of both come from one distribution.
    """
    distance = result.distance
    assert distance.folded is not None
    dna_of_b = b.input_of(distance)
    dna_of_held_out = held_out.input_of(distance)
    folds_of_b = _folds_with_images(dna_of_b)
    folds_of_held_out = _folds_with_images(dna_of_held_out)
    without_folds = [replace(dna, folds=()) for dna in (dna_of_b, dna_of_held_out)]
    both = replace(merged(without_folds), folds=(*folds_of_b, *folds_of_held_out))
    folded = distance.folded(a.input_of(distance), both)
    return is_farther(folded, len(folds_of_b), distance.power, result.averaging)


def _folds_with_images(dna: DNA) -> list[DNA]:
    """Return the folds that have images."""
    return [fold for fold in dna.folds if fold.num_images]


def _compare(a: Measured, b: Measured, plan: Plan, names: tuple[str, str]) -> Comparison:
    """Compare all neurons of two measured sets."""
    is_paired = bool(plan.arguments.pairs)
    results, with_too_few_images = _results(a, b, plan)
    rows_of_duplicates = None
    if plan.arguments.copies and not is_paired:
        rows_of_duplicates = _rows_of_duplicates(a, b)
    duplicates: list[tuple[int, int]] = []
    if rows_of_duplicates is not None:
        for row_of_b, row_of_a in enumerate(rows_of_duplicates.tolist()):
            if row_of_a >= 0:
                duplicates.append((a.numbers[row_of_a], b.numbers[row_of_b]))
    results_by_neuron = [result for result in results.values() if result.distance.granularity == "neuron"]
    are_identical = a is b or any(not result.values.any() for result in results_by_neuron)
    notices = _notices(a, b, plan, names, None if are_identical else rows_of_duplicates)
    if not is_paired and not are_identical:
        notices += _notices_about_names(a.names, b.names, names, noun_of(a.first))
    # A dictionary keeps each limit once, in order.
    notices += dict.fromkeys(limit for result in results.values() for limit in result.limits)
    if with_too_few_images:
        noun = noun_of(a.first)
        notices.append(f"More {noun}s are needed in each set to compute {', '.join(with_too_few_images)}")
    untested = Untested("", is_few=False)
    if all(result.p_value is None for result in results.values()):
        untested = why_untested((a, b), plan, names)
    num_bins = None
    ranges = None
    histograms = a.dnas.get("histogram")
    if isinstance(histograms, HistogramDNA):
        num_bins = histograms.num_bins
        if histograms.ranges:
            ranges = histograms.ranges.label
    kept_a = a.without_folds()
    # A set that is compared with itself stays one object: results recognize it by that.
    kept_b = kept_a if a is b else b.without_folds()
    return Comparison(
        a.first.neurons,
        results,
        {"a": a.first.num_images, "b": b.first.num_images},
        a.first.extractor,
        num_bins,
        ranges,
        unreadable_of((a, b)),
        (kept_a, kept_b),
        notices,
        names=names,
        copies=len(duplicates),
        twins=duplicates[:_TWINS],
        paired=is_paired,
        why_untested=untested.reason,
        is_few=untested.is_few,
        version=__version__,
    )


def _results(a: Measured, b: Measured, plan: Plan) -> tuple[dict[str, Result], list[str]]:
    """Return the results of a plan's distances that both sets support, and the names of those with too few images."""
    results: dict[str, Result] = {}
    too_few: list[str] = []
    cache: dict[Any, Any] = {}
    # A DNA of unknown size is taken as large enough for any distance.
    counts = [2 if side.first.has_unknown_size else side.first.num_images for side in (a, b)]
    for record in plan.distances:
        input_of_a = a.input_of(record)
        input_of_b = b.input_of(record)
        if input_of_a is None or input_of_b is None:
            continue
        # If there are too few images for one distance, the others are still reported.
        if min(counts) < record.least and results:
            too_few.append(record.name)
            continue
        results[record.name] = record.result(
            input_of_a,
            input_of_b,
            plan.averaging if record.granularity == "neuron" else None,
            confidence=plan.arguments.confidence,
            folded=folded_sides(record, a, b, plan),
            paired=bool(plan.arguments.pairs),
            cache=cache,
        )
    return results, too_few


def _rows_of_duplicates(a: Measured, b: Measured) -> Tensor | None:
    """Return the row in A of the near-duplicate of each image of B, ``(images of B,)``, or -1.

    Without thumbnails, only images of equal values are found. None if these were not kept, either, or if there are too
    many images to search.
    """
    if a.thumbnails is None or b.thumbnails is None:
        return b.rows_in(a)
    return near_duplicates(b.thumbnails, a.thumbnails)


class Untested(NamedTuple):
    """Why sets were not tested."""

    # What is missing; empty if nothing is.
    reason: str
    # Whether there are too few images or groups.
    is_few: bool = True


def why_untested(sides: Sequence[Measured], plan: Plan, names: Sequence[str]) -> Untested:
    """Return why sets were not tested, with the number of images or groups that there are, and that a test needs."""
    noun = noun_of(sides[0].first)
    if plan.arguments.num_folds is None:
        return Untested(f"no folds of {noun}s were kept ({written('num_folds', None)})", is_few=False)
    num_folds = [len(_folds_with_images(side.first)) for side in sides]
    for name, count in zip(names, num_folds, strict=True):
        if not count:
            return Untested(f"{name} has no folds (keep them with {written('num_folds', 20)})", is_few=False)
    k = num_folds.index(min(num_folds))
    if num_folds[k] >= LEAST_FOLDS:
        return Untested("", is_few=False)
    name = names[k]
    side = sides[k]
    num_images = side.first.num_images
    groups = plan.arguments.groups
    if plan.arguments.pairs:
        return Untested(f"{name} has {images_in_words(num_images, 'pair')}, but 6 are needed")
    if groups is not None and side.numbers:
        groups_of_side: Any = groups[k] if isinstance(groups, tuple) else groups
        num_groups = len(set(groups_of(side.names, side.numbers, groups_of_side)))
        return Untested(f"{name} has {images_in_words(num_groups, 'group')}, but about 8 are needed")
    largest = max(other.first.num_images for other in sides)
    if num_images == 1 and largest >= LEAST:
        return Untested(f"{name} has 1 {noun} (use `rank` for single {noun}s)")
    if num_images >= LEAST:
        # This number of different images would fill at least 5 folds. Equal images share a fold.
        return Untested(
            f"{name} has {images_in_words(num_images, noun)} in {images_in_words(num_folds[k], 'fold')}, but"
            f" {LEAST_FOLDS} folds are needed (equal {noun}s share a fold)"
        )
    return Untested(f"{name} has {images_in_words(num_images, noun)}, but about {LEAST} are needed")


def _notices(
    a: Measured, b: Measured, plan: Plan, names: tuple[str, str], rows_of_duplicates: Tensor | None
) -> list[str]:
    """Return notices about the inputs, near-duplicates in both sets, and near-duplicates within each set.

    Args:
        a: The reference.
        b: The set.
        plan: Their plan.
        names: Names of A and B.
        rows_of_duplicates: Row in A of the near-duplicate of each image of B, or -1, ``(images of B,)``; None if these
            were not searched.

    """
    noun = noun_of(a.first)
    notices = _notices_about_inputs(a, b)
    if rows_of_duplicates is not None:
        notices += _notices_about_duplicates(a, b, rows_of_duplicates, names, noun)
        num_duplicates = int((rows_of_duplicates >= 0).sum())
        if num_duplicates > SHARED * len(rows_of_duplicates):
            # Near-duplicates within a set matter only for tests, and there is none of sets that share images.
            return notices
    if plan.arguments.copies:
        notices += _notices_within((a, b), names, plan.arguments.groups is not None, noun)
    return notices


def _notices_about_inputs(a: Measured, b: Measured) -> list[str]:
    """Return what can't be reported for ranges that are unknown, and for inputs that are no pictures."""
    notices = []
    histograms = [side.dnas.get("histogram") for side in (a, b)]
    if any(isinstance(dna, HistogramDNA) and dna.ranges is None for dna in histograms):
        notices.append(
            "The activation ranges of a file of vdna are unknown, so shifts of neurons are not reported. Pass the"
            f" ranges as {written('ranges')} when loading"
        )
    if any(side.folds is not None and side.thumbnails is None and noun_of(side.first) != "row" for side in (a, b)):
        notices.append(
            "The inputs are neither grey nor RGB images, so near-duplicates, image properties and pictures are not"
            " reported"
        )
    return notices


def _notices_about_duplicates(a: Measured, b: Measured, rows: Tensor, names: tuple[str, str], noun: str) -> list[str]:
    """Return a notice about the images of B that have a near-duplicate in A, if there are any.

    Args:
        a: The reference.
        b: The set.
        rows: Row in A of the near-duplicate of each image of B, or -1, ``(images of B,)``.
        names: Names of A and B.
        noun: Noun of what was compared.

    """
    count = int((rows >= 0).sum())
    if count == 0:
        return []
    counted = f"{images_in_words(count, noun)} in {names[1]}"
    example = _first_pair(rows, b, a)
    if b.thumbnails is None:
        verb = "is" if count == 1 else "are"
        return [f"{counted} {verb} also in {names[0]}, such as {example}. Near-duplicates were not searched for"]
    are_duplicates = "is a near-duplicate" if count == 1 else "are near-duplicates"
    return [
        f"{counted} {are_duplicates} of {noun}s in {names[0]}, such as {example}. Use `rank --nearest` to list all."
        f" If they are different pictures, pass {written('copies', False)}"
    ]


def _notices_within(sides: Sequence[Measured], names: Sequence[str], has_groups: bool, noun: str) -> list[str]:
    """Return caveats about images that resemble others of their own set."""
    notices: list[str] = []
    sentences: list[str] = []
    for name, side in zip(names, sides, strict=True):
        thumbnails = side.thumbnails
        if thumbnails is None or side.folds is None:
            notices += _notice_about_equal(side, name, noun)
        elif len(thumbnails) > MOST:
            if not has_groups:
                sentences.append(f"{name} has more than {MOST:,} {noun}s, too many to search for near-duplicates")
        else:
            rows = near_duplicates(thumbnails, thumbnails, torch.cat([side.folds, side.folds]))
            count = 0 if rows is None else int((rows >= 0).sum())
            if rows is not None and count:
                are_duplicates = "is a near-duplicate" if count == 1 else "are near-duplicates"
                sentences.append(
                    f"{images_in_words(count, noun)} in {name} {are_duplicates} of others there, such as"
                    f" {_first_pair(rows, side, side)}"
                )
    if sentences:
        remedy = f"pass their groups as {written('groups')} ('folder', or 'prefix:REGEX' of names)"
        if has_groups:
            remedy = f"let {written('groups')} put them into one group"
        notices.append(
            f"{'. '.join(sentences)}. If some of them belong together (frames of a clip, crops of a picture), p-values"
            f" are too small: {remedy}"
        )
    return notices


def _notice_about_equal(side: Measured, name: str, noun: str) -> list[str]:
    """Return a notice about inputs that are equal to an earlier one of their set, if there are any."""
    first = side.rows_in(side)
    if first is None:
        return []
    rows = first.where(first < torch.arange(len(first)), -1)
    count = int((rows >= 0).sum())
    if count == 0:
        return []
    verb = "occurs" if count == 1 else "occur"
    return [
        f"{images_in_words(count, noun)} in {name} {verb} there again, such as {_first_pair(rows, side, side)}. Equal"
        f" {noun}s share a fold, which weakens the test"
    ]


def _notices_about_names(
    names_a: Sequence[str], names_b: Sequence[str], names: tuple[str, str], noun: str
) -> list[str]:
    """Return a notice that suggests pairs if nearly all images have the names of images of the other set."""
    stems_a = {PurePath(name).stem for name in names_a}
    stems_b = {PurePath(name).stem for name in names_b}
    common = {stem for stem in stems_a & stems_b if not _NUMBERED.fullmatch(stem)}
    if not common or len(common) < _NAMESAKES * max(len(names_a), len(names_b)):
        return []
    have_names = "has the same name as one" if len(common) == 1 else f"have the same names as {noun}s"
    return [
        f"{images_in_words(len(common), noun)} in {names[1]} {have_names} in {names[0]}. If they show the same, compare"
        f" them as pairs with {written('pairs', 'name')}, which needs far fewer {noun}s"
    ]


def _first_pair(rows: Tensor, side: Measured, other_side: Measured) -> str:
    """Return the names of the first image that has a near-duplicate, and of this near-duplicate."""
    row = int((rows >= 0).nonzero()[0])
    return f"{side.names[row]} and {other_side.names[int(rows[row])]}"
