"""Compare two sets that were measured."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from torchmetrics_dna.comparisons.two_sets import SHARED, Comparison
from torchmetrics_dna.dna import DNA, GaussianDNA, HistogramDNA
from torchmetrics_dna.dna.base import merged
from torchmetrics_dna.dna.distances import DISTANCES, of_any_network
from torchmetrics_dna.dna.evidence import Further, is_farther, ratio_of
from torchmetrics_dna.dna.shared import shared_neurons
from torchmetrics_dna.files.visible import images_in_words
from torchmetrics_dna.functional.odd import LEAST
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

if TYPE_CHECKING:
    from torchmetrics_dna.dna.result import Result

# Number of pairs of near-duplicates that a page shows.
_TWINS = 8
# Pairs are offered if at least this share of the larger set has the name of an image in the other set.
_NAMESAKES = 0.9
# Names that are only numbers do not show that two images belong together.
_NUMBERED = re.compile(r"((image|input|row) )?[\d_-]+")


def compare_measured(a: Measured, b: Measured, plan: Plan | None, *, names: tuple[str, str] = ("A", "B")) -> Comparison:
    """Compare two measured sets, which ``names`` call, by those of the distances of a plan that both support.

    By default these are all distances of any network.
    If both have folds, distances come with evidence; the result keeps no folds. Properties of images measured beside a
    network are compared separately, unless neurons are weighted, and so are bands of other inputs, by dna-fd.
    """
    if plan is None:
        dna = a.first
        distances = list(of_any_network().values())
        plan = make_plan(Arguments(), distances, [dna], dna)
    by_neuron = [record for record in plan.distances if record.grain == "neuron"]
    if plan.has_properties:
        neurons = shared_neurons(*(side.first.select([LAYER]) for side in (a, b)))
        of_sides = [Measured(side.select(neurons).dnas, []) for side in (a, b)]
        first = a.select(plan.neurons)
        comparison = _compared(first, first if a is b else b.select(plan.neurons), plan, names)
    else:
        of_sides = [side for side in map(_of_bands, (a, b)) if side is not None and a is not b]
        comparison = _compared(a, b, plan, names)
        if by_neuron:
            by_neuron = [DISTANCES["dna-fd"]]
    if not by_neuron or len(of_sides) < 2:
        return comparison
    properties = _compared(of_sides[0], of_sides[1], replace(plan, distances=by_neuron), names)
    return replace(comparison, properties=properties)


def _of_bands(side: Measured) -> Measured | None:
    """Return mean and deviation of the bands of single inputs as a DNA with folds; None if any is not finite."""
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

    folds = [dna_of(rows[fold_numbers == number]) for number in sorted({*fold_numbers.tolist()})]
    return Measured({"gaussian": dna_of(rows, folds)}, [])


def beside_held_out(far: Comparison, near: Comparison, measured: tuple[Measured, Measured, Measured]) -> Comparison:
    """Test whether a set is further than the held-out one, where no ratio shows that; both share the reference.

    ``measured`` are the reference, the set and the held-out set, with folds.
    """
    if far.shares_images or near.shares_images:
        return far
    untold = _without_ratio(far, near)
    properties = far.properties
    if properties is not None:
        properties = _with_further(properties, untold, measured)
    return replace(_with_further(far, untold, measured), properties=properties)


def _without_ratio(far: Comparison, near: Comparison) -> list[str]:
    """Return the distances with folds of images whose ratio to the held-out set can't be estimated."""
    names = []
    for name, result in far.items():
        if name not in near or result.distance.folded is None or result.distance.by_image:
            continue
        evidence = result.evidence
        of_held_out = near[name].evidence
        if evidence is None or of_held_out is None:
            continue
        ratio = ratio_of(evidence, of_held_out)
        if ratio is None or not ratio.is_informative:
            names.append(name)
    return names


def _with_further(
    comparison: Comparison, names: Sequence[str], measured: tuple[Measured, Measured, Measured]
) -> Comparison:
    """Add the test against the held-out set to these distances of a comparison."""
    a, b, held_out = (side.select(comparison.neurons) for side in measured)
    results = dict(comparison.results)
    for name in names:
        result = results.get(name)
        if result is None or result.evidence is None:
            continue
        further = _further_than_held_out(result, a, b, held_out)
        results[name] = replace(result, evidence=replace(result.evidence, further=further))
    return replace(comparison, results=results)


def _further_than_held_out(result: Result, a: Measured, b: Measured, held_out: Measured) -> Further | None:
    """Test if ``b`` is farther from ``a`` than the held-out set, by exchanging the folds of these two.

    Null hypothesis: the folds of both come from one distribution.
    """
    distance = result.distance
    assert distance.folded is not None
    dna_of_b = b.input_of(distance)
    dna_of_held_out = held_out.input_of(distance)
    folds_of_b = _filled(dna_of_b.folds)
    folds_of_held_out = _filled(dna_of_held_out.folds)
    without_folds = [replace(dna, folds=()) for dna in (dna_of_b, dna_of_held_out)]
    both = replace(merged(without_folds), folds=(*folds_of_b, *folds_of_held_out))
    folded = distance.folded(a.input_of(distance), both)
    return is_farther(folded, len(folds_of_b), distance.power, result.averaging)


def _filled(folds: Sequence[DNA]) -> list[DNA]:
    """Return the folds that have images."""
    return [fold for fold in folds if fold.num_images]


def _compared(a: Measured, b: Measured, plan: Plan, names: tuple[str, str]) -> Comparison:
    """Compare all neurons of two measured sets."""
    arguments = plan.arguments
    paired = bool(arguments.pairs)
    noun = noun_of(a.first)
    results, lacking = _results(a, b, plan)
    copied = None
    if arguments.copies and not paired:
        if a.thumbnails is None or b.thumbnails is None:
            copied = b.rows_in(a)
        else:
            copied = near_duplicates(b.thumbnails, a.thumbnails)
    rows_of_a = [] if copied is None else copied.tolist()
    alike = [(a.numbers[row], b.numbers[i]) for i, row in enumerate(rows_of_a) if row >= 0]
    of_neurons = [result for result in results.values() if result.distance.grain == "neuron"]
    identical = a is b or any(not result.values.any() for result in of_neurons)
    notices = _notices(a, b, None if identical else copied, names, arguments.copies, arguments.groups is not None, noun)
    lacks = ""
    is_few = False
    if all(result.p_value is None for result in results.values()):
        lacks, is_few = why_untested((a, b), plan, names)
    if not paired and not identical:
        notices += _namesakes(a.names, b.names, names, noun)
    notices += dict.fromkeys(limit for result in results.values() for limit in result.limits)
    if lacking:
        notices.append(f"More {noun}s are needed on each side for {', '.join(lacking)}")
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
        copies=len(alike),
        twins=alike[:_TWINS],
        paired=paired,
        lacks=lacks,
        is_few=is_few,
    )


def _results(a: Measured, b: Measured, plan: Plan) -> tuple[dict[str, Result], list[str]]:
    """Return the results of a plan's distances that both sets support, and the names of those with too few images."""
    results: dict[str, Result] = {}
    too_few: list[str] = []
    cache: dict[Any, Any] = {}
    images = min(2 if side.first.has_unknown_size else side.first.num_images for side in (a, b))
    for record in plan.distances:
        input_of_a = a.input_of(record)
        input_of_b = b.input_of(record)
        if input_of_a is None or input_of_b is None:
            continue
        # Too few images for one distance are no reason to withhold the others.
        if images < record.least and results:
            too_few.append(record.name)
            continue
        results[record.name] = record.result(
            input_of_a,
            input_of_b,
            plan.averaging if record.grain == "neuron" else None,
            confidence=plan.arguments.confidence,
            folded=folded_sides(record, a, b, plan),
            paired=bool(plan.arguments.pairs),
            cache=cache,
        )
    return results, too_few


def why_untested(sides: Sequence[Measured], plan: Plan, names: Sequence[str]) -> tuple[str, bool]:
    """Say why there is no test, with what is there and what it takes; True if images or groups are too few."""
    folds = [_filled(side.first.folds) for side in sides]
    noun = noun_of(sides[0].first)
    if plan.arguments.num_folds is None:
        return f"no folds of {noun}s were kept ({written('num_folds', None)})", False
    for name, of_side in zip(names, folds, strict=True):
        if not of_side:
            return f"{name} has no folds (keep them with {written('num_folds', 20)})", False
    k = min(range(len(sides)), key=lambda k: len(folds[k]))
    if len(folds[k]) >= LEAST_FOLDS:
        return "", False
    side = sides[k]
    groups = plan.arguments.groups
    count = side.first.num_images
    largest = max(each.first.num_images for each in sides)
    if plan.arguments.pairs:
        return _has_too_few(names[k], count, "pair", "6"), True
    if groups is not None and side.numbers:
        groups_of_side: Any = groups[k] if isinstance(groups, tuple) else groups
        num_groups = len({*groups_of(side.names, side.numbers, groups_of_side)})
        return _has_too_few(names[k], num_groups, "group", "about 8"), True
    if count == 1 and largest >= LEAST:
        return f"{names[k]} has 1 {noun}, which `rank` takes", True
    if count >= LEAST:
        # So many different images are in 5 folds or more, but equal ones share a fold.
        filled = images_in_words(len(folds[k]), "fold")
        return (
            f"{names[k]} has {images_in_words(count, noun)} in {filled}, {LEAST_FOLDS} are needed; equal {noun}s share"
            " a fold",
            True,
        )
    return _has_too_few(names[k], count, noun, f"about {LEAST}"), True


def _has_too_few(name: str, count: int, unit: str, needed: str) -> str:
    units = unit if count == 1 else f"{unit}s"
    return f"{name} has {count:,} {units}, {needed} are needed"


def _notices(
    a: Measured,
    b: Measured,
    copied: Tensor | None,
    names: tuple[str, str],
    look_for_copies: bool,
    has_groups: bool,
    noun: str,
) -> list[str]:
    """Return caveats about unknown ranges and near-duplicate images, one line each."""
    notices = []
    histograms = [side.dnas.get("histogram") for side in (a, b)]
    if any(isinstance(dna, HistogramDNA) and dna.ranges is None for dna in histograms):
        notices.append(
            "The activation ranges of official histograms are unknown, so shifts of neurons are left out; pass the"
            f" ranges as {written('ranges')} when loading"
        )
    if any(side.folds is not None and side.thumbnails is None and noun_of(side.first) != "row" for side in (a, b)):
        notices.append(
            "The inputs are neither grey nor RGB images, so nearly equal ones, properties and pictures are left out"
        )
    if copied is not None and (copied >= 0).any():
        if b.thumbnails is not None:
            notices.append(
                f"{_that_look(copied, noun, names[1])} nearly like {noun}s of {names[0]}, such as"
                f" {_pair(copied, b, a)}; `rank --nearest` shows all; if they are different pictures, pass"
                f" {written('copies', False)}"
            )
        else:
            notices.append(
                f"{_that_look(copied, noun, names[1], 'is', 'are')} also in {names[0]}, such as"
                f" {_pair(copied, b, a)}; nearly equal ones are not looked for"
            )
        if (copied >= 0).sum() > SHARED * len(copied):
            return notices
    if look_for_copies:
        notices += _notices_within((a, b), names, has_groups, noun)
    return notices


def _notices_within(sides: Sequence[Measured], names: Sequence[str], has_groups: bool, noun: str) -> list[str]:
    """Return caveats about images that resemble others of their own set, one line each."""
    notices: list[str] = []
    near: list[str] = []
    for name, side in zip(names, sides, strict=True):
        if side.thumbnails is not None and len(side.thumbnails) > MOST:
            if not has_groups:
                near.append(f"{name} has more than {MOST:,} {noun}s, too many to look for nearly equal ones")
            continue
        if side.thumbnails is not None and side.folds is not None:
            rows = near_duplicates(side.thumbnails, side.thumbnails, torch.cat([side.folds, side.folds]))
            if rows is not None and (rows >= 0).any():
                near.append(
                    f"{_that_look(rows, noun, name)} nearly like others there, such as {_pair(rows, side, side)}"
                )
            continue
        first = side.rows_in(side)
        if first is None:
            continue
        rows = first.where(first < torch.arange(len(first)), -1)
        if (rows >= 0).any():
            again = f"{_that_look(rows, noun, name, 'occurs', 'occur')} there again, such as {_pair(rows, side, side)}"
            notices.append(f"{again}; equal ones share a fold, which weakens the test")
    if near:
        notices.append(
            f"{'; '.join(near)}; if some belong together (frames of a clip, crops of a picture), p-values are too"
            f" small; give {'these one group' if has_groups else 'their groups'} ('folder', or 'prefix:REGEX' of names)"
        )
    return notices


def _namesakes(names_a: Sequence[str], names_b: Sequence[str], names: tuple[str, str], noun: str) -> list[str]:
    """Offer pairs if nearly all images have the names of images on the other side; mere numbers do not count."""
    a, b = ({PurePath(name).stem for name in names} for names in (names_a, names_b))
    common = {name for name in a & b if not _NUMBERED.fullmatch(name)}
    if not common or len(common) < _NAMESAKES * max(len(names_a), len(names_b)):
        return []
    have_names = "has the name" if len(common) == 1 else "have names"
    return [
        f"{images_in_words(len(common), noun)} of {names[1]} {have_names} of {noun}s of {names[0]}; if these show the"
        f" same, compare them as pairs, which takes far fewer {noun}s"
    ]


def _that_look(near: Tensor, noun: str, name: str, one: str = "looks", several: str = "look") -> str:
    """Say how many of a set look like others; ``one`` and ``several`` are the verb in singular and plural."""
    count = int((near >= 0).sum())
    return f"{images_in_words(count, noun)} of {name} {one if count == 1 else several}"


def _pair(near: Tensor, side: Measured, among: Measured) -> str:
    """Name the first image that has a near-duplicate, and that."""
    row = int((near >= 0).nonzero()[0])
    return f"{side.names[row]} and {among.names[int(near[row])]}"
