"""Compare two sets that were measured."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from torchmetrics_dna.comparisons.two_sets import SHARED, Comparison
from torchmetrics_dna.dna import DNA, GaussianDNA, HistogramDNA
from torchmetrics_dna.dna.base import merged
from torchmetrics_dna.dna.distances import DISTANCES, of_any_network
from torchmetrics_dna.dna.evidence import FartherTest, farther_test, ratio_of
from torchmetrics_dna.dna.shared import shared_neurons
from torchmetrics_dna.files.visible import images_in_words
from torchmetrics_dna.functional.flagging import LEAST
from torchmetrics_dna.functional.permutation import LEAST_FOLDS
from torchmetrics_dna.images.likeness import MOST, near_duplicates
from torchmetrics_dna.images.noun import ROW, noun_of
from torchmetrics_dna.images.properties import BANDS, LAYER
from torchmetrics_dna.jobs.arguments import Arguments
from torchmetrics_dna.jobs.groups import groups_of
from torchmetrics_dna.jobs.measure import Measured, unreadable_of
from torchmetrics_dna.jobs.plan import Plan, folded_sides, make_plan
from torchmetrics_dna.neurons.index import Neurons
from torchmetrics_dna.options import written
from torchmetrics_dna.version import __version__

if TYPE_CHECKING:
    from torchmetrics_dna.dna.distances import Distance
    from torchmetrics_dna.dna.result import Result

# Number of pairs of near-duplicates that a page shows.
_MOST_TWINS = 8
# A comparison of pairs is suggested if at least this share of the larger set has the name of an image in the other set.
_LEAST_SHARE_OF_NAMES = 0.9
# Names that are only numbers do not show that two images belong together.
_NUMBERED = re.compile(r"((image|input|row) )?[\d_-]+")


def compare_measured(a: Measured, b: Measured, plan: Plan | None, *, names: tuple[str, str] = ("A", "B")) -> Comparison:
    """Compare two measured sets by the distances of a plan. A distance that one set does not support is left out.

    Evidence is computed if both sets have folds. The result keeps no folds. Image properties are compared separately
    from the network, unless neurons are weighted. For inputs other than pictures, the bands are compared separately, by
    dna-fd.

    Args:
        a: The reference.
        b: The set to compare with it.
        plan: The plan; by default, a plan of all distances of any network.
        names: Names of the sets.

    """
    if plan is None:
        dna = a.first
        distances = list(of_any_network().values())
        plan = make_plan(Arguments(), distances, [dna], dna)
    if not plan.has_properties:
        comparison = _compare(a, b, plan, names)
        return replace(comparison, properties=_compare_bands(a, b, plan, names))
    network_a = a.select(plan.neurons)
    # A set that is compared with itself stays one object, by which it is recognized.
    network_b = network_a if a is b else b.select(plan.neurons)
    comparison = _compare(network_a, network_b, plan, names)
    return replace(comparison, properties=_compare_properties(a, b, plan, names))


def _compare_properties(a: Measured, b: Measured, plan: Plan, names: tuple[str, str]) -> Comparison | None:
    """Compare the image properties of two sets; None if the plan has no distance of neurons."""
    distances = _distances_of_neurons(plan)
    if not distances:
        return None
    neurons = shared_neurons(a.first.select([LAYER]), b.first.select([LAYER]))
    properties_a = Measured(a.select(neurons).dnas, [])
    properties_b = Measured(b.select(neurons).dnas, [])
    return _compare(properties_a, properties_b, replace(plan, distances=distances), names)


def _compare_bands(a: Measured, b: Measured, plan: Plan, names: tuple[str, str]) -> Comparison | None:
    """Compare the bands of two sets of inputs that are no pictures; None without bands of both sets."""
    if a is b or not _distances_of_neurons(plan):
        return None
    bands_a = _bands_as_dna(a)
    bands_b = _bands_as_dna(b)
    if bands_a is None or bands_b is None:
        return None
    return _compare(bands_a, bands_b, replace(plan, distances=[DISTANCES["dna-fd"]]), names)


def _distances_of_neurons(plan: Plan) -> list[Distance]:
    """Return the distances of a plan that have a value for each neuron."""
    return [distance for distance in plan.distances if distance.granularity == "neuron"]


def _bands_as_dna(side: Measured) -> Measured | None:
    """Return the mean and the variance of each band of the inputs as a DNA with folds.

    None if bands or folds were not kept, if there are fewer than two inputs, or if a value is not finite.
    """
    rows = side.rows.get(BANDS)
    fold_numbers = side.folds
    if rows is None or fold_numbers is None or len(rows) < 2 or not rows.isfinite().all():
        return None
    origin = side.first.origin

    def dna_of(values: Tensor, folds: Sequence[DNA] = ()) -> GaussianDNA:
        """Return the DNA of some inputs, given their bands ``(inputs, bands)``."""
        mean = values.mean(0)
        # A fold of one input has no unbiased variance.
        var = values.var(0, correction=min(1, len(values) - 1))
        return GaussianDNA(mean, var, Neurons({BANDS: len(mean)}), len(values), folds=tuple(folds), **origin)

    folds = [dna_of(rows[fold_numbers == number]) for number in sorted(set(fold_numbers.tolist()))]
    return Measured({"gaussian": dna_of(rows, folds)}, [])


def add_held_out_tests(
    comparison: Comparison, of_held_out: Comparison, measured: tuple[Measured, Measured, Measured]
) -> Comparison:
    """Test if a set is farther from the reference than the held-out set, for distances whose ratio can't be estimated.

    Args:
        comparison: Comparison of the set with the reference. The tests are added to a copy of it.
        of_held_out: Comparison of the held-out set with the same reference.
        measured: The reference, the set and the held-out set, with folds.

    """
    if comparison.shares_images or of_held_out.shares_images:
        return comparison
    names = _distances_without_ratio(comparison, of_held_out)
    properties = comparison.properties
    if properties is not None:
        properties = _add_tests_against_held_out(properties, names, measured)
    return replace(_add_tests_against_held_out(comparison, names, measured), properties=properties)


def _distances_without_ratio(comparison: Comparison, of_held_out: Comparison) -> list[str]:
    """Return the names of tested distances whose ratio to the distance of the held-out set can't be estimated."""
    names = []
    for name, result in comparison.items():
        is_tested_by_folds = result.distance.folded is not None and not result.distance.by_image
        if name not in of_held_out or not is_tested_by_folds:
            continue
        evidence = result.evidence
        held_out_evidence = of_held_out[name].evidence
        if evidence is None or held_out_evidence is None:
            continue
        ratio = ratio_of(evidence, held_out_evidence)
        if ratio is None or not ratio.is_informative:
            names.append(name)
    return names


def _add_tests_against_held_out(
    comparison: Comparison, names: Sequence[str], measured: tuple[Measured, Measured, Measured]
) -> Comparison:
    """Add the test against the held-out set to the named distances of a comparison."""
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

    Null hypothesis: the folds of both sets come from one distribution.
    """
    distance = result.distance
    assert distance.folded is not None
    dna_of_b = b.input_of(distance)
    dna_of_held_out = held_out.input_of(distance)
    folds_of_b = _folds_with_images(dna_of_b)
    folds_of_held_out = _folds_with_images(dna_of_held_out)
    both_without_folds = merged([replace(dna_of_b, folds=()), replace(dna_of_held_out, folds=())])
    both = replace(both_without_folds, folds=(*folds_of_b, *folds_of_held_out))
    folded = distance.folded(a.input_of(distance), both)
    return farther_test(folded, len(folds_of_b), distance.power, result.averaging)


def _folds_with_images(dna: DNA) -> list[DNA]:
    """Return the folds that have images."""
    return [fold for fold in dna.folds if fold.num_images]


def _compare(a: Measured, b: Measured, plan: Plan, names: tuple[str, str]) -> Comparison:
    """Compare all neurons of two measured sets."""
    results, with_too_few_images = _results(a, b, plan)
    rows_of_duplicates = _rows_of_duplicates(a, b, plan)
    duplicates = _duplicates(a, b, rows_of_duplicates)
    notices = [
        *_notices_about_sets(a, b, plan, names, list(results.values()), rows_of_duplicates),
        *_notices_about_results(list(results.values()), with_too_few_images, noun_of(a.first)),
    ]
    is_tested = any(result.p_value is not None for result in results.values())
    untested = _NO_REASON if is_tested else why_untested((a, b), plan, names)
    histograms = _histograms_of(a)
    kept_a = a.without_folds()
    # A set that is compared with itself stays one object, by which results recognize it.
    kept_b = kept_a if a is b else b.without_folds()
    return Comparison(
        neurons=a.first.neurons,
        results=results,
        num_images={"a": a.first.num_images, "b": b.first.num_images},
        extractor=a.first.extractor,
        num_bins=None if histograms is None else histograms.num_bins,
        ranges=None if histograms is None or histograms.ranges is None else histograms.ranges.label,
        unreadable=unreadable_of((a, b)),
        measured=(kept_a, kept_b),
        notices=notices,
        names=names,
        copies=len(duplicates),
        twins=duplicates[:_MOST_TWINS],
        paired=bool(plan.arguments.pairs),
        why_untested=untested.reason,
        is_few=untested.is_few,
        version=__version__,
    )


def _histograms_of(side: Measured) -> HistogramDNA | None:
    """Return the histogram DNA of a set; None if it has none."""
    dna = side.dnas.get("histogram")
    return dna if isinstance(dna, HistogramDNA) else None


def _results(a: Measured, b: Measured, plan: Plan) -> tuple[dict[str, Result], list[str]]:
    """Return the results of the distances of a plan, and the names of distances that need more images.

    A distance that one of the sets does not support has no result.
    """
    results: dict[str, Result] = {}
    with_too_few_images: list[str] = []
    # Values that several distances share.
    cache: dict[Any, Any] = {}
    # A DNA of unknown size is taken as large enough for any distance. No distance of DNAs needs more than 2 images.
    counts = [2 if side.first.has_unknown_size else side.first.num_images for side in (a, b)]
    for distance in plan.distances:
        input_of_a = a.input_of(distance)
        input_of_b = b.input_of(distance)
        if input_of_a is None or input_of_b is None:
            continue
        # If there are too few images for one distance, the others are still reported.
        if min(counts) < distance.least and results:
            with_too_few_images.append(distance.name)
            continue
        results[distance.name] = distance.result(
            input_of_a,
            input_of_b,
            averaging=plan.averaging if distance.granularity == "neuron" else None,
            confidence=plan.arguments.confidence,
            folded=folded_sides(distance, a, b, plan),
            paired=bool(plan.arguments.pairs),
            cache=cache,
        )
    return results, with_too_few_images


def _rows_of_duplicates(a: Measured, b: Measured, plan: Plan) -> Tensor | None:
    """Return the row in A of the near-duplicate of each image of B, ``(images of B,)``, or -1.

    Without thumbnails, only images with equal values are found. None if there are no digests of the values either, if
    there are too many images to search, or if near-duplicates are not searched, as for pairs.
    """
    if plan.arguments.pairs or not plan.arguments.copies:
        return None
    if a.thumbnails is None or b.thumbnails is None:
        return b.rows_in(a)
    return near_duplicates(b.thumbnails, a.thumbnails)


def _duplicates(a: Measured, b: Measured, rows_of_duplicates: Tensor | None) -> list[tuple[int, int]]:
    """Return the source indices of each image of B and its near-duplicate in A, as pairs ``(in A, in B)``."""
    if rows_of_duplicates is None:
        return []
    duplicates = []
    for row_of_b, row_of_a in enumerate(rows_of_duplicates.tolist()):
        if row_of_a >= 0:
            duplicates.append((a.numbers[row_of_a], b.numbers[row_of_b]))
    return duplicates


class Untested(NamedTuple):
    """Reason why there is no test.

    Attributes:
        reason: Sentence about what a test lacks; empty if it lacks nothing.
        is_few: True if there are too few images or groups.

    """

    reason: str
    is_few: bool = True


_NO_REASON = Untested("", is_few=False)


def why_untested(sides: Sequence[Measured], plan: Plan, names: Sequence[str]) -> Untested:
    """Return why sets were not tested, with the actual and the required number of images or groups.

    Args:
        sides: The measured sets.
        plan: Their plan.
        names: Names of the sets.

    """
    noun = noun_of(sides[0].first)
    if plan.arguments.num_folds is None:
        return Untested(f"no folds of {noun}s were kept ({written('num_folds', None)})", is_few=False)
    num_folds = [len(_folds_with_images(side.first)) for side in sides]
    for name, count in zip(names, num_folds, strict=True):
        if not count:
            return Untested(f"{name} has no folds (keep them with {written('num_folds', 20)})", is_few=False)
    fewest_folds = min(num_folds)
    if fewest_folds >= LEAST_FOLDS:
        return _NO_REASON
    k = num_folds.index(fewest_folds)
    num_images = sides[k].first.num_images
    if plan.arguments.pairs:
        return Untested(f"{names[k]} has {images_in_words(num_images, 'pair')}, but 6 are needed")
    if plan.arguments.groups is not None and sides[k].numbers:
        num_groups = _num_groups(sides[k], k, plan)
        return Untested(f"{names[k]} has {images_in_words(num_groups, 'group')}, but about 8 are needed")
    largest = max(side.first.num_images for side in sides)
    return Untested(_too_few_images_in_words(names[k], num_images, fewest_folds, largest, noun))


def _num_groups(side: Measured, k: int, plan: Plan) -> int:
    """Return the number of groups of the readable images of set ``k``, if images are in groups."""
    groups: Any = plan.arguments.groups
    # A tuple holds the groups of each set.
    groups_of_side = groups[k] if isinstance(groups, tuple) else groups
    return len(set(groups_of(side.names, side.numbers, groups_of_side)))


def _too_few_images_in_words(name: str, num_images: int, num_folds: int, largest: int, noun: str) -> str:
    """Return a sentence about a set that has too few images for a test.

    Args:
        name: Name of the set.
        num_images: Number of images of the set.
        num_folds: Number of folds of the set that have images.
        largest: Number of images of the largest set.
        noun: Noun for an image.

    """
    if num_images == 1 and largest >= LEAST:
        return f"{name} has 1 {noun} (use `rank` for single {noun}s)"
    images = images_in_words(num_images, noun)
    if num_images < LEAST:
        return f"{name} has {images}, but about {LEAST} are needed"
    # This number of different images would fill at least 5 folds, so there are equal images.
    folds = images_in_words(num_folds, "fold")
    return f"{name} has {images} in {folds}, but {LEAST_FOLDS} folds are needed (equal {noun}s share a fold)"


def _notices_about_sets(
    a: Measured,
    b: Measured,
    plan: Plan,
    names: tuple[str, str],
    results: Sequence[Result],
    rows_of_duplicates: Tensor | None,
) -> list[str]:
    """Return notices about the inputs, and about images that are alike or have the same names.

    Args:
        a: The reference.
        b: The set.
        plan: Their plan.
        names: Names of A and B.
        results: Results of the distances.
        rows_of_duplicates: Row in A of the near-duplicate of each image of B, or -1, ``(images of B,)``; None if
            near-duplicates were not searched.

    """
    noun = noun_of(a.first)
    notices = _notices_about_inputs(a, b)
    are_identical = a is b or _has_zero_distance(results)
    shares_images = False
    if rows_of_duplicates is not None and not are_identical:
        notices += _notices_about_duplicates(a, b, rows_of_duplicates, names, noun)
        num_duplicates = int((rows_of_duplicates >= 0).sum())
        shares_images = num_duplicates > SHARED * len(rows_of_duplicates)
    # Near-duplicates within a set matter only for a test, and sets that share images have no test.
    if plan.arguments.copies and not shares_images:
        notices += _notices_within((a, b), names, plan.arguments.groups is not None, noun)
    if not plan.arguments.pairs and not are_identical:
        notices += _notices_about_names(a.names, b.names, names, noun)
    return notices


def _has_zero_distance(results: Sequence[Result]) -> bool:
    """Return True if one of the distances of neurons is 0 for all neurons."""
    return any(result.distance.granularity == "neuron" and not result.values.any() for result in results)


def _notices_about_results(results: Sequence[Result], with_too_few_images: Sequence[str], noun: str) -> list[str]:
    """Return a notice for each limit of the results, and one about distances that need more images."""
    limits = chain.from_iterable(result.limits for result in results)
    # A dictionary keeps each limit once, in order.
    notices = list(dict.fromkeys(limits))
    if with_too_few_images:
        notices.append(f"More {noun}s are needed in each set to compute {', '.join(with_too_few_images)}")
    return notices


def _notices_about_inputs(a: Measured, b: Measured) -> list[str]:
    """Return notices about what can't be reported because ranges are unknown, or inputs are no pictures."""
    notices = []
    has_unknown_ranges = _has_unknown_ranges(a) or _has_unknown_ranges(b)
    if has_unknown_ranges:
        notices.append(
            "The activation ranges of a file of vdna are unknown, so shifts of neurons are not reported. Pass the"
            f" ranges as {written('ranges')} when loading"
        )
    has_no_pictures = _are_not_pictures(a) or _are_not_pictures(b)
    if has_no_pictures:
        notices.append(
            "The inputs are neither grey nor RGB images, so near-duplicates, image properties and pictures are not"
            " reported"
        )
    return notices


def _has_unknown_ranges(side: Measured) -> bool:
    """Return True if a set has histograms with unknown activation ranges."""
    histograms = _histograms_of(side)
    return histograms is not None and histograms.ranges is None


def _are_not_pictures(side: Measured) -> bool:
    """Return True if the inputs are known to be neither grey nor RGB images. Embeddings do not count."""
    # Without folds, values of single inputs were not kept, so their type is unknown.
    if side.folds is None:
        return False
    # Users of embeddings expect no results about pictures.
    if noun_of(side.first) == ROW:
        return False
    # If folds are kept, thumbnails are kept for all grey and RGB images.
    return side.thumbnails is None


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
    """Return notices about images that resemble other images of their own set."""
    notices: list[str] = []
    sentences: list[str] = []
    for name, side in zip(names, sides, strict=True):
        if side.thumbnails is None or side.folds is None:
            notices += _notice_about_equal(side, name, noun)
        elif len(side.thumbnails) <= MOST:
            sentences += _sentence_about_duplicates_within(side, side.thumbnails, side.folds, name, noun)
        elif not has_groups:
            sentences.append(f"{name} has more than {MOST:,} {noun}s, too many to search for near-duplicates")
    if sentences:
        if has_groups:
            remedy = f"let {written('groups')} put them into one group"
        else:
            remedy = f"pass their groups as {written('groups')} ('folder', or 'prefix:REGEX' of names)"
        notices.append(
            f"{'. '.join(sentences)}. If some of them belong together (frames of a clip, crops of a picture), p-values"
            f" are too small: {remedy}"
        )
    return notices


def _sentence_about_duplicates_within(
    side: Measured, thumbnails: Tensor, folds: Tensor, name: str, noun: str
) -> list[str]:
    """Return a sentence about the near-duplicates in different folds of one set, if there are any."""
    rows = near_duplicates(thumbnails, thumbnails, torch.cat([folds, folds]))
    if rows is None or not (rows >= 0).any():
        return []
    count = int((rows >= 0).sum())
    are_duplicates = "is a near-duplicate" if count == 1 else "are near-duplicates"
    return [
        f"{images_in_words(count, noun)} in {name} {are_duplicates} of others there, such as"
        f" {_first_pair(rows, side, side)}"
    ]


def _notice_about_equal(side: Measured, name: str, noun: str) -> list[str]:
    """Return a notice about inputs that are equal to an earlier input of their set, if there are any."""
    first_rows = side.rows_in(side)
    if first_rows is None:
        return []
    # An input that is equal to no earlier input is its own first row.
    rows = first_rows.where(first_rows < torch.arange(len(first_rows)), -1)
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
    if not common or len(common) < _LEAST_SHARE_OF_NAMES * max(len(names_a), len(names_b)):
        return []
    have_names = "has the same name as one" if len(common) == 1 else f"have the same names as {noun}s"
    return [
        f"{images_in_words(len(common), noun)} in {names[1]} {have_names} in {names[0]}. If they show the same, compare"
        f" them as pairs with {written('pairs', 'name')}, which needs far fewer {noun}s"
    ]


def _first_pair(rows: Tensor, side: Measured, other_side: Measured) -> str:
    """Return the names of the first image with a near-duplicate, and of its near-duplicate in the other set."""
    row = int((rows >= 0).nonzero()[0])
    return f"{side.names[row]} and {other_side.names[int(rows[row])]}"
