"""Compare two sets that were measured."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import Any

import torch
from torch import Tensor

from torchmetrics_dna.comparisons.comparison import SHARED, Comparison
from torchmetrics_dna.dna import DNA, GaussianDNA, HistogramDNA
from torchmetrics_dna.dna.base import merged
from torchmetrics_dna.dna.distances import DISTANCES, of_any_network
from torchmetrics_dna.dna.evidence import is_further, ratio_of
from torchmetrics_dna.dna.result import Result
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
from torchmetrics_dna.words.explanation import shared_neurons

_TWINS = 8  # pairs of images that look alike, which a page shows
_NAMESAKES = 0.9  # of the images of the larger side, for pairs to be offered
_NUMBERED = re.compile(r"((image|input|row) )?[\d_-]+")  # which tells nothing of what an image shows


def compare_measured(a: Measured, b: Measured, plan: Plan | None, *, names: tuple[str, str] = ("A", "B")) -> Comparison:
    """Compare two measured sets, which ``names`` call, by those of the distances of a plan that both support.

    By default these are all distances of any network.
    If both have folds, distances come with evidence; the result keeps no folds. Properties of images measured beside a
    network are compared separately, unless neurons are weighted, and so are bands of other inputs, by dna-fd.
    """
    if plan is None:
        dna, distances = a.first, list(of_any_network().values())
        plan = make_plan(Arguments(), distances, [dna], dna)
    by_neuron = [record for record in plan.distances if record.grain == "neuron"]
    if plan.has_properties:
        properties = shared_neurons(*(side.first.select([LAYER]) for side in (a, b)))
        of_sides = [Measured(side.select(properties).dnas, []) for side in (a, b)]
        first = a.select(plan.neurons)
        comparison = _compared(first, first if a is b else b.select(plan.neurons), plan, names)
    else:
        of_sides = [side for side in map(_of_bands, (a, b)) if side is not None and a is not b]
        by_neuron, comparison = [DISTANCES["dna-fd"]] * bool(by_neuron), _compared(a, b, plan, names)
    if not by_neuron or len(of_sides) < 2:
        return comparison
    return replace(
        comparison, properties=_compared(of_sides[0], of_sides[1], replace(plan, distances=by_neuron), names)
    )


def _of_bands(side: Measured) -> Measured | None:
    """Return mean and deviation of the bands of single inputs as a DNA with folds; None if any is not finite."""
    rows, folds, origin = side.rows.get(BANDS), side.folds, side.first.origin
    if rows is None or folds is None or len(rows) < 2 or not rows.isfinite().all():
        return None

    def dna_of(values: Tensor, folds: Sequence[DNA] = ()) -> GaussianDNA:
        mean, var = values.mean(0), values.var(0, correction=min(1, len(values) - 1))
        return GaussianDNA(mean, var, Neurons({BANDS: len(mean)}), len(values), folds=tuple(folds), **origin)

    return Measured({"gaussian": dna_of(rows, [dna_of(rows[folds == fold]) for fold in sorted({*folds.tolist()})])}, [])


def beside_held_out(far: Comparison, near: Comparison, measured: tuple[Measured, Measured, Measured]) -> Comparison:
    """Test whether a set is further than the held-out one, where no ratio shows that; both share the reference.

    ``measured`` are the reference, the set and the held-out set, with folds.
    """
    if far.shares_images or near.shares_images:
        return far
    untold = []
    for name, result in far.items():
        evidence, of_held_out = result.evidence, None if name not in near else near[name].evidence
        if evidence is None or of_held_out is None or result.distance.folded is None or result.distance.by_image:
            continue
        ratio = ratio_of(evidence, of_held_out)
        untold += [name] * (ratio is None or not ratio.is_told)

    def exchanged(comparison: Comparison) -> Comparison:
        a, *others = (side.select(comparison.neurons) for side in measured)
        results = dict(comparison.results)
        for name in untold:
            if (result := results.get(name)) is None or result.evidence is None or result.distance.folded is None:
                continue
            dnas = [side.input_of(result.distance) for side in others]
            folds = [[fold for fold in dna.folds if fold.num_images] for dna in dnas]
            both = replace(merged([replace(dna, folds=()) for dna in dnas]), folds=(*folds[0], *folds[1]))
            folded = result.distance.folded(a.input_of(result.distance), both)
            further = is_further(folded, len(folds[0]), result.distance.power, result.averaging)
            results[name] = replace(result, evidence=replace(result.evidence, further=further))
        return replace(comparison, results=results)

    properties = None if far.properties is None else exchanged(far.properties)
    return replace(exchanged(far), properties=properties)


def _compared(a: Measured, b: Measured, plan: Plan, names: tuple[str, str]) -> Comparison:
    """Compare all neurons of two measured sets."""
    arguments, paired = plan.arguments, bool(plan.arguments.pairs)
    dna, results, cache = a.first, dict[str, Result](), dict[Any, Any]()
    images = min(2 if side.first.has_unknown_size else side.first.num_images for side in (a, b))
    lacking: list[str] = []
    for record in plan.distances:
        inputs = [side.input_of(record) for side in (a, b)]
        if any(side_input is None for side_input in inputs):
            continue
        if images < record.least and results:  # too few images for a distance are no reason to withhold another
            lacking.append(record.name)
            continue
        results[record.name] = record.result(
            inputs[0],
            inputs[1],
            plan.averaging if record.grain == "neuron" else None,
            confidence=arguments.confidence,
            folded=folded_sides(record, a, b, plan),
            paired=paired,
            cache=cache,
        )
    sides = a.without_folds(), b.without_folds()
    copied = None
    if arguments.copies and not paired:
        if a.thumbnails is None or b.thumbnails is None:
            copied = b.rows_in(a)
        else:
            copied = near_duplicates(b.thumbnails, a.thumbnails)
    rows_of_a = [] if copied is None else copied.tolist()
    alike = [(a.numbers[row], b.numbers[i]) for i, row in enumerate(rows_of_a) if row >= 0]
    copies, twins = len(alike), alike[:_TWINS]
    of_neurons = [result for result in results.values() if result.distance.grain == "neuron"]
    identical = a is b or any(not result.values.any() for result in of_neurons)
    noun = noun_of(dna)
    notices = _notices(a, b, None if identical else copied, names, arguments.copies, arguments.groups is not None, noun)
    is_tested = any(result.p_value is not None for result in results.values())
    lacks, is_few = ("", False) if is_tested else why_untested((a, b), plan, names)
    if not paired and not identical:
        notices += _namesakes(a.names, b.names, names, noun)
    notices += dict.fromkeys(limit for result in results.values() for limit in result.limits)
    if lacking:
        notices.append(f"More {noun}s are needed on each side for {', '.join(lacking)}")
    histograms = a.dnas.get("histogram")
    return Comparison(
        dna.neurons,
        results,
        {"a": a.first.num_images, "b": b.first.num_images},
        dna.extractor,
        histograms.num_bins if isinstance(histograms, HistogramDNA) else None,
        histograms.ranges.label if isinstance(histograms, HistogramDNA) and histograms.ranges else None,
        unreadable_of((a, b)),
        (sides[0], sides[0]) if a is b else sides,
        notices,
        names=names,
        copies=copies,
        twins=twins,
        paired=paired,
        lacks=lacks,
        is_few=is_few,
    )


def why_untested(sides: Sequence[Measured], plan: Plan, names: Sequence[str]) -> tuple[str, bool]:
    """Say why there is no test, with what is there and what it takes; True if images or groups are too few."""
    folds = [[fold for fold in side.first.folds if fold.num_images] for side in sides]
    noun = noun_of(sides[0].first)
    if plan.arguments.num_folds is None:
        return f"folds of {noun}s are off (num_folds)", False
    for name, of_side in zip(names, folds, strict=True):
        if not of_side:
            return f"{name} has no folds (`num_folds=20`)", False
    k = min(range(len(sides)), key=lambda k: len(folds[k]))
    if len(folds[k]) >= LEAST_FOLDS:
        return "", False
    side, groups, unit, needed = sides[k], plan.arguments.groups, noun, f"about {LEAST}"
    count = side.first.num_images
    beside = max(each.first.num_images for each in sides)
    if plan.arguments.pairs:
        unit, needed = "pair", "6"
    elif groups is not None and side.numbers:
        of_groups: Any = groups[k] if isinstance(groups, tuple) else groups
        count, unit, needed = len({*groups_of(side.names, side.numbers, of_groups)}), "group", "about 8"
    elif count == 1 and beside >= LEAST:
        return f"{names[k]} has 1 {noun}, which `rank` takes", True
    elif count >= LEAST:
        # So many different images are in 5 folds or more, but equal ones share a fold.
        filled = images_in_words(len(folds[k]), "fold")
        return (
            f"{names[k]} has {images_in_words(count, noun)} in {filled}, {LEAST_FOLDS} are needed; equal {noun}s share"
            " a fold",
            True,
        )
    return f"{names[k]} has {count:,} {unit}{'s' * (count != 1)}, {needed} are needed", True


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
            "The activation ranges of official histograms are unknown, so shifts of neurons are left out; give them"
            " when loading: load_dna(path, ranges=...)"
        )
    if any(side.folds is not None and side.thumbnails is None and noun_of(side.first) != "row" for side in (a, b)):
        notices.append(
            "The inputs are neither grey nor RGB images, so nearly equal ones, properties and pictures are left out"
        )
    if copied is not None and (copied >= 0).any():
        if b.thumbnails is not None:
            notices.append(
                f"{_that_look(copied, noun, names[1])} nearly like {noun}s of {names[0]}, such as"
                f" {_pair(copied, b, a)}; `rank --nearest` shows all; if they are different pictures, say so:"
                " `--no-copies`, or `copies=False`"
            )
        else:
            notices.append(
                f"{_that_look(copied, noun, names[1], 'is', 'are')} also in {names[0]}, such as"
                f" {_pair(copied, b, a)}; nearly equal ones are not looked for"
            )
        if (copied >= 0).sum() > SHARED * len(copied):
            return notices
    near: list[str] = []
    for name, side in zip(names, (a, b), strict=True) if look_for_copies else ():
        if side.thumbnails is not None and len(side.thumbnails) > MOST:
            near += (
                [] if has_groups else [f"{name} has more than {MOST:,} {noun}s, too many to look for nearly equal ones"]
            )
        elif side.thumbnails is not None and side.folds is not None:
            rows = near_duplicates(side.thumbnails, side.thumbnails, torch.cat([side.folds, side.folds]))
            if rows is not None and (rows >= 0).any():
                near.append(
                    f"{_that_look(rows, noun, name)} nearly like others there, such as {_pair(rows, side, side)}"
                )
        elif (first := side.rows_in(side)) is not None:
            rows = first.where(first < torch.arange(len(first)), -1)
            if (rows >= 0).any():
                again = (
                    f"{_that_look(rows, noun, name, 'occurs', 'occur')} there again, such as {_pair(rows, side, side)}"
                )
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
