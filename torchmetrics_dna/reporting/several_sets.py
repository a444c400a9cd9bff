"""The comparison of several sets in sentences, tables and records."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torchmetrics_dna.files.tables import Cell, Table
from torchmetrics_dna.files.visible import LEAST_P, number, p_figure
from torchmetrics_dna.functional.permutation import SIGNIFICANT
from torchmetrics_dna.images.sets import note_of_left_out
from torchmetrics_dna.reporting.figures import debiased_cells, values_by_distance

if TYPE_CHECKING:
    from torchmetrics_dna.comparisons.several_sets import Comparisons, ManyComparisons
    from torchmetrics_dna.comparisons.two_sets import Comparison
    from torchmetrics_dna.dna.distances import Distance
    from torchmetrics_dna.dna.evidence import Interval, Ratio
    from torchmetrics_dna.dna.result import Result

# Largest number of sentences of a verdict.
_MOST_SENTENCES = 4
# Largest number of sets that a sentence names.
_MOST_NAMES = 3
# Least number of checkpoints for a sentence on whether the training still improves.
_LEAST_CHECKPOINTS = 3
# The word before the last number of a name, and the words that mark the name of a checkpoint.
_WORD = re.compile(r"([^\W\d_]+)[\W_]*\d+(?:\.\d+)?\D*$")
_CHECKPOINT_WORDS = {"checkpoint", "ckpt", "epoch", "iter", "iteration", "kimg", "snapshot", "step"}
# Name of a held-out set that already says that the set is held out, such as "held_out/".
_HELD_OUT = re.compile("held.?out/?", re.IGNORECASE)
# Heading of the column of ratios.
_X_HELD_OUT = "x held-out"
# Mark of a value that does not differ significantly from the reference.
_NOT_SIGNIFICANT = "n.s."
_NOTE_ON_ERRORS = "±: jackknife standard error over folds, or else deviation over splits or subsets."
_NOTE_ON_P = (
    "p (Holm): of this distance alone, corrected for the number of sets. p (best closer): that the closest set is no"
    " closer."
)
_PAIRED_TEST = f"(paired test, p ≤ {SIGNIFICANT}, Holm-corrected)"


# Sentences


def sentences(sets: Comparisons) -> list[str]:
    """Return at most four sentences, on the closest set and on its distance relative to the held-out set."""
    if sets.held_out is None:
        return _closest(sets)
    equal = _equal_sets(sets)
    compared = [*sets.ranked, *equal]
    closest = compared[0]
    lines = _relative_to_held_out(sets, closest, sets.held_out)
    # For a single set, the comparison with the held-out set may already be the whole answer.
    if len(compared) > 1 or not _is_answered_by_held_out(sets, closest, sets.held_out):
        lines = [*_closest(sets), *lines]
    return lines[:_MOST_SENTENCES]


def _is_answered_by_held_out(sets: Comparisons, name: str, held_out: str) -> bool:
    """True if a set has a ratio to the held-out set, or if neither of both differs from the reference."""
    if sets.ratios()[name] is not None:
        return True
    return _none_differs(sets) and not _sharing(sets, [name, held_out])


def _equal_sets(sets: Comparisons) -> list[str]:
    """Return the names of sets that have the same images as the reference."""
    return [name for name in sets if name != sets.held_out and name not in sets.ranked]


def _sharing(sets: Comparisons, names: Sequence[str]) -> list[str]:
    """Select the names of sets that share images with the reference."""
    return [name for name in names if sets[name].shares_images]


def _p_values_of_tested(sets: Comparisons) -> dict[str, float]:
    """Return the corrected p-value of each tested set against the reference. The held-out set is left out."""
    p_holm = sets.p_holm
    p_values = {name: p_holm[name] for name in sets.ranked}
    return {name: p for name, p in p_values.items() if p is not None}


def _none_differs(sets: Comparisons) -> bool:
    """True if no set differs significantly from the reference, and all sets have a valid test."""
    p_values = _p_values_of_tested(sets).values()
    if not p_values or _sharing(sets, sets.ranked):
        return False
    return min(p_values) > SIGNIFICANT


def _closest(sets: Comparisons) -> list[str]:
    """Return sentences on the closest set, and on sets that have the same images as the reference."""
    lines: list[str] = []
    equal = _equal_sets(sets)
    if equal:
        lines.append(f"{', '.join(equal)} and {sets.reference} have the same {sets.noun}s ({sets.distance} 0).")
    if not sets.ranked:
        return lines
    if _none_differs(sets):
        return [*lines, _no_difference(sets)]
    if len(sets.ranked) == 1:
        return [*lines, *_only_set(sets, has_equal_sets=bool(equal))]
    return [*lines, *_closest_of_several(sets, has_equal_sets=bool(equal))]


def _closest_of_several(sets: Comparisons, *, has_equal_sets: bool) -> list[str]:
    """Return sentences on the closest of several sets that have other images than the reference."""
    closest, *farther = sets.ranked
    figure = _figure_in_words(sets, closest)
    closest_in_words = f"{closest} is closest to {sets.reference} ({sets.distance} {figure})."
    lines = [f"Of the others, {closest_in_words}" if has_equal_sets else closest_in_words]
    why_untested = _why_order_is_untested(sets)
    if why_untested:
        lines.append(f"This order was not tested, because {why_untested}.")
    else:
        lines.append(_test_of_order(sets, farther))
    lines += _last_improvement(sets)
    lines += _which_differ(sets)
    return lines


def _no_difference(sets: Comparisons) -> str:
    """Return the sentence that no set differs significantly from the reference."""
    smallest_p = min(_p_values_of_tested(sets).values())
    if len(sets.ranked) > 1:
        p = p_figure(smallest_p, "smallest Holm p")
        return f"None {_of_sets(sets)} differs significantly from {sets.reference} ({p})."
    p = p_figure(smallest_p, "p")
    return f"{sets.ranked[0]} does not differ significantly from {sets.reference} ({p})."


def _only_set(sets: Comparisons, *, has_equal_sets: bool) -> list[str]:
    """Return sentences on the only set that has other images than the reference."""
    name = sets.ranked[0]
    only = f"The only other set is {name}" if has_equal_sets else f"{name} is the only set"
    lines = [f"{only} ({sets.distance} {_figure_in_words(sets, name)})."]
    why_untested = _why_order_is_untested(sets)
    if why_untested:
        lines.append(f"{why_untested}.")
    return lines


def _why_order_is_untested(sets: Comparisons) -> str:
    """Return the reason why there is no test of the two closest sets, if they share images with the reference."""
    sharing = _sharing(sets, sets.ranked[:2])
    if not sharing:
        return ""
    return f"{sharing[0]} shares {sets.noun}s with {sets.reference}, or has some nearly alike"


def _figure_in_words(sets: Comparisons, name: str) -> str:
    """Return the distance of a set: debiased, unless the set shares images with the reference."""
    result = sets[name][sets.distance]
    if sets[name].shares_images or result.debiased is None:
        return number(result.value)
    shown, _ = debiased_cells(result, sets.own_p_values(sets.distance)[name])
    if not isinstance(shown, str):
        return f"{number(shown)}, debiased"
    if result.few_differ is not None:
        return f"{number(result.value)}, {shown}"
    return shown


def _of_sets(sets: Comparisons) -> str:
    """Return "of 3 sets", or "of 3 other sets" if some sets have the same images as the reference."""
    count = len(sets.ranked)
    return f"of {count} other sets" if _equal_sets(sets) else f"of {count} sets"


def _which_differ(sets: Comparisons) -> list[str]:
    """Return the sentence on the sets that differ significantly from the reference.

    The list is empty if no set differs, if the closest set differs or was not tested, and if the closest set or the
    held-out set shares images with the reference.
    """
    p_values = _p_values_of_tested(sets)
    different = [name for name, p in p_values.items() if p <= SIGNIFICANT]
    closest = sets.ranked[0]
    if not different or closest in different or closest not in p_values:
        return []
    if sets.held_out is not None and _sharing(sets, [closest, sets.held_out]):
        return []
    largest = max(p_values[name] for name in different)
    if len(different) == 1:
        verb = "differs"
        p = p_figure(largest, "Holm p")
    else:
        verb = "differ"
        p = f"Holm p ≤ {max(largest, LEAST_P):.2g}"
    head = f"{len(different)} {_of_sets(sets)} {verb} significantly from {sets.reference} ({p})"
    names = ", ".join(different[:_MOST_NAMES])
    if len(different) > _MOST_NAMES:
        return [f"{head}, such as {names}."]
    return [f"{head}: {names}."]


def _test_of_order(sets: Comparisons, farther: Sequence[str]) -> str:
    """Return the sentence on the test of whether the closest set is closer than the second-closest set.

    Args:
        sets: The sets.
        farther: Names of all sets but the closest, in the order of their distances.

    """
    p_values = sets.p_values
    second = farther[0]
    p_second = p_values[second]
    if p_second is None:
        return f"This order was not tested, because there are no folds of {sets.noun}s."
    p = p_figure(p_second, "p")
    if p_second <= SIGNIFICANT:
        return f"It is significantly closer than {second} ({p})."
    p_values_of_farther = [p_values[name] for name in farther]
    num_ties = sum(p_value is not None and p_value > SIGNIFICANT for p_value in p_values_of_farther)
    ties = second
    if num_ties == 2:
        ties += " and 1 other"
    elif num_ties > 2:
        ties += f" and {num_ties - 1} others"
    return f"It is not significantly closer than {ties} ({p})."


def _last_improvement(sets: Comparisons) -> list[str]:
    """Return the sentence on the last significant improvement of a training; nothing if the sets are no checkpoints."""
    if not _are_checkpoints(sets.ranked):
        return []
    last = sets.improvement
    if last is None:
        return []
    if last.least_p_value is not None:
        p = p_figure(last.least_p_value, "smallest p")
        return [f"No checkpoint after {last.name} is significantly closer to {sets.reference} ({p})."]
    p = p_figure(last.p_value, "p")
    return [
        f"The newest checkpoint, {last.name}, is significantly closer to {sets.reference} than {last.before} ({p})."
    ]


def _are_checkpoints(names: Collection[str]) -> bool:
    """True if there are at least three names, and all names contain the number of a step, an epoch or the like.

    Example:
        >>> _are_checkpoints(["epoch=1-step=50", "epoch=2-step=100", "epoch=3-step=150"])
        True
        >>> _are_checkpoints(["blur_1", "blur_2", "blur_3"])
        False

    """
    return len(names) >= _LEAST_CHECKPOINTS and all(_is_checkpoint(name) for name in names)


def _is_checkpoint(name: str) -> bool:
    """True if a name contains a word such as "step", followed by a number."""
    word = _WORD.search(name)
    return word is not None and word[1].lower().removesuffix("s") in _CHECKPOINT_WORDS


def _relative_to_held_out(sets: Comparisons, name: str, held_out: str) -> list[str]:
    """Return sentences that compare a set with the held-out set.

    They report whether the two sets differ from the reference, and the ratio of their distances from the reference.
    """
    reference, noun = sets.reference, sets.noun
    is_named_held_out = _HELD_OUT.fullmatch(held_out) is not None
    # If the name of the set already is "held_out/", the sentences do not repeat it.
    held_out_in_words = f"held-out {noun}s" if is_named_held_out else f"held-out {held_out}"
    sharing = _sharing(sets, [name, held_out])
    if sharing:
        return [
            f"{name} was not compared with the {held_out_in_words}.",
            f"{reference} shares {noun}s with {' and '.join(sharing)}, or has some nearly alike.",
        ]
    lines = _which_of_two_differ(sets, name, held_out)
    lines += _farther_than_held_out(sets, name, held_out, f"the {held_out_in_words}")
    p_held_out = sets.p_holm[held_out]
    if p_held_out is not None and p_held_out <= SIGNIFICANT:
        differ = "differ" if is_named_held_out else "differs"
        lines.append(
            f"The {held_out_in_words} {differ} from {reference}, too, so other sets look too close in comparison."
        )
    return lines


def _farther_than_held_out(sets: Comparisons, name: str, held_out: str, the_held_out: str) -> list[str]:
    """Return the sentence on how much farther a set is than the held-out set, or on why this is unknown.

    The list is empty if there is no informative ratio, and the set does not differ significantly from the reference.

    Args:
        sets: The sets.
        name: Name of the set.
        held_out: Name of the held-out set.
        the_held_out: The held-out set in words.

    """
    p_value = sets.p_holm[name]
    if p_value is None or sets.p_holm[held_out] is None:
        how_far = _how_far(sets, name, the_held_out, differs=False)
        return [how_far or f"{name} was not tested against {the_held_out}, because there are no folds."]
    differs = p_value <= SIGNIFICANT
    how_far = _how_far(sets, name, the_held_out, differs=differs)
    if how_far:
        return [how_far]
    if differs:
        return [
            f"There are too few {sets.noun}s to test whether {name} is farther from {sets.reference} than"
            f" {the_held_out}."
        ]
    return []


def _how_far(sets: Comparisons, name: str, the_held_out: str, *, differs: bool) -> str:
    """Return the sentence on the ratio of the distances of a set and the held-out set from the reference.

    If there is no informative ratio, return that the set is significantly farther. The text is empty without both.

    Args:
        sets: The sets.
        name: Name of the set.
        the_held_out: The held-out set in words.
        differs: Whether the set differs significantly from the reference.

    """
    reference, noun = sets.reference, sets.noun
    ratio = sets.ratios()[name]
    if ratio is not None and ratio.is_informative:
        return f"{name} is {_ratio_in_words(ratio)} from {reference} as {the_held_out}{ratio.ends}."
    property_ratio = sets.property_ratios()[name]
    if property_ratio is not None and property_ratio.is_informative:
        return (
            f"In {noun} properties, {name} is {property_ratio.in_words} times as far from {reference} as {the_held_out}"
            f"{property_ratio.ends}, mostly in {sets.main_property(name)}."
        )
    if not differs:
        return ""
    p_on_average = sets.p_farther(name)
    if p_on_average is not None and p_on_average <= SIGNIFICANT:
        p = p_figure(p_on_average, "p")
        farther = f"{name} is significantly farther from {reference} than {the_held_out} ({p})."
        return f"{farther} There are too few {noun}s to estimate the ratio."
    p_anywhere = sets[name].p_value_of_farther
    if p_anywhere is not None and p_anywhere <= SIGNIFICANT:
        where = sets[name].furthest_in or "some layer or property"
        p = p_figure(p_anywhere, "p")
        return f"In {where}, {name} is significantly farther from {reference} than {the_held_out} ({p})."
    return ""


def _which_of_two_differ(sets: Comparisons, name: str, held_out: str) -> list[str]:
    """Return the sentence on whether a set and the held-out set differ from the reference; nothing without tests."""
    p_value, p_held_out = sets.p_holm[name], sets.p_holm[held_out]
    if p_value is None or p_held_out is None:
        return []
    reference = sets.reference
    label = "Holm p" if len(sets) > 1 else "p"
    p_in_words = p_figure(p_value, label)
    p_held_out_in_words = p_figure(p_held_out, label)
    set_with_p = f"{name} ({p_in_words})"
    held_out_with_p = f"{held_out} ({p_held_out_in_words})"
    set_differs = p_value <= SIGNIFICANT
    held_out_differs = p_held_out <= SIGNIFICANT
    if set_differs and held_out_differs:
        return [f"{set_with_p} and {held_out_with_p} differ significantly from {reference}."]
    if set_differs:
        return [
            f"{name} differs significantly from {reference} ({p_in_words})."
            f" {held_out} does not ({p_held_out_in_words})."
        ]
    if held_out_differs:
        return [
            f"{held_out} differs significantly from {reference} ({p_held_out_in_words})."
            f" {name} does not ({p_in_words})."
        ]
    return [f"Neither {set_with_p} nor {held_out_with_p} differs significantly from {reference}."]


def _ratio_in_words(ratio: Ratio) -> str:
    """Return a ratio in words; "1 times as far" is "as far"."""
    if ratio.in_words == "1":
        return "as far"
    if ratio.in_words == "at least 1":
        return "at least as far"
    return f"{ratio.in_words} times as far"


# Tables


def table(sets: Comparisons) -> Table:
    """Return the table of the distances of all sets, with a row for each set and a column for each metric."""
    rows: dict[str, dict[str, Cell]] = {}
    for set_name, comparison in sets.items():
        rows[set_name] = {"set": set_name, f"{comparison.noun}s": comparison.num_images["b"]}
    debiased = [distance for distance in sets.distances if _is_shown_debiased(sets, distance)]
    # Row and column of each cell in bold.
    bold: set[tuple[int, int]] = set()
    for distance, definition in sets.distances.items():
        heading = _heading(definition)
        p_values = sets.own_p_values(distance)
        is_debiased = distance in debiased
        for set_name, comparison in sets.items():
            result = comparison.results.get(distance)
            rows[set_name][heading] = _cell(comparison, result, p_values[set_name], is_debiased=is_debiased)
        closest = sets.surely_nearest(distance)
        if closest is not None:
            row = list(rows).index(closest)
            column = list(rows[closest]).index(heading)
            bold.add((row, column))
    all_rows = list(rows.values())
    notes = [*_notes_on_values(sets, all_rows, debiased), *_notes_on_bold(sets), *note_of_left_out(sets.unreadable)]
    return replace(Table.of(all_rows, f"{len(sets)} sets against {sets.reference}", notes), bold=bold)


def _is_shown_debiased(sets: Comparisons, distance: str) -> bool:
    """True if the table shows the debiased values of a distance, with their intervals.

    Either all values of a column are debiased or none is, so that the values can be compared. The values of a
    published metric are not debiased, so that they agree with its publication.
    """
    if sets.distances[distance].protocol is not None:
        return False
    has_intervals = False
    for comparison in sets.values():
        result = comparison.results.get(distance)
        if result is None or (comparison.same_images and result.value == 0):
            # A set without a value has no interval. The exact 0 of a set with the same images requires no interval.
            continue
        if result.interval is None or comparison.shares_images:
            return False
        has_intervals = True
    return has_intervals


def _heading(definition: Distance) -> str:
    """Return the heading of the column of a distance, with its unit and an arrow in the direction of better values."""
    unit = " (bins)" if definition.unit == "bins" else ""
    arrow = "↑" if definition.higher_is_better else "↓"
    return f"{definition.name}{unit} {arrow}"


def _cell(comparison: Comparison, result: Result | None, p_value: float | None, *, is_debiased: bool) -> Cell:
    """Return the cell of a distance; None if the distance was not measured.

    The cell shows the debiased distance with its interval, or the distance with its standard error. A distance that is
    not significant is marked.
    """
    if result is None:
        return None
    shown = _value_with_error(comparison, result)
    if is_debiased:
        shown = _debiased_with_interval(result, p_value)
    if p_value is not None and p_value > SIGNIFICANT:
        shown += f" {_NOT_SIGNIFICANT}"
    return shown


def _debiased_with_interval(result: Result, p_value: float | None) -> str:
    """Return the debiased distance and its interval. An interval from 0 to 0 is left out.

    If the difference is significant but the distance is at most the null mean, return the number of neurons or layers
    that differ.
    """
    if result.few_differ is not None and p_value is not None and p_value <= SIGNIFICANT:
        return f"0 ({result.few_differ.number_in_words})"
    if result.interval is None or result.interval.high == 0:
        return "0"
    # A debiased distance within sampling noise is exactly 0, so it has no significant digits.
    has_digits = result.interval.value != 0
    return f"{number(result.interval.value, zeros=has_digits)} {result.interval.ends}"


def _value_with_error(comparison: Comparison, result: Result) -> str:
    """Return the distance and its standard error. A set that shares images with the reference has no error."""
    error = None
    if comparison.paired or not comparison.shares_images:
        error = result.overall.error
    return number(result.value, zeros=True, error=error)


def _notes_on_values(sets: Comparisons, rows: Sequence[Mapping[str, Cell]], debiased: Sequence[str]) -> list[str]:
    """Return notes on the meaning of brackets, errors and marks in a table."""
    cells = [str(cell) for row in rows for cell in row.values()]
    has_errors = any("±" in cell for cell in cells)
    notes: list[str] = []
    intervals = _intervals(sets, debiased)
    if intervals:
        # All intervals have the same confidence.
        notes.append(f"Debiased, with the {intervals[0].ci} in brackets: {', '.join(debiased)}.")
    if any(interval.value == 0 for interval in intervals):
        notes.append("0: within sampling noise.")
    if has_errors:
        notes.append(_NOTE_ON_ERRORS)
    if any(_NOT_SIGNIFICANT in cell for cell in cells):
        notes.append(
            f"{_NOT_SIGNIFICANT}: not significant, by this distance alone (p > {SIGNIFICANT}, Holm-corrected)."
        )
    if has_errors:
        notes += _without_errors(sets, debiased)
    return notes


def _intervals(sets: Comparisons, distances: Sequence[str]) -> list[Interval]:
    """Return the intervals of these distances. Sets with the same images as the reference are left out."""
    intervals: list[Interval] = []
    for distance in distances:
        for comparison in sets.values():
            result = comparison.results.get(distance)
            if result is not None and result.interval is not None and not comparison.same_images:
                intervals.append(result.interval)
    return intervals


def _notes_on_bold(sets: Comparisons) -> list[str]:
    """Return notes on the meaning of bold, and on metrics without a value in bold; nothing for a single set."""
    if len(sets.ranked) < 2:
        return []
    bold = [distance for distance in sets.distances if sets.surely_nearest(distance) is not None]
    not_bold = [distance for distance in sets.distances if distance not in bold]
    ties = [distance for distance in not_bold if _is_closest_tested(sets, distance)]
    untested = [distance for distance in not_bold if distance not in ties]
    others = "every other set"
    if sets.held_out is not None:
        others += f" except the held-out {sets.held_out}"
    notes: list[str] = []
    if bold:
        notes.append(f"Bold: significantly closer than {others} {_PAIRED_TEST}.")
    if ties:
        reason = f"the closest set is not significantly closer than {others}"
        if not bold:
            # The note on bold already describes the test.
            reason += f" {_PAIRED_TEST}"
        notes.append(f"Not bold: {', '.join(ties)}, because {reason}.")
    if untested:
        notes.append(f"Not bold: {', '.join(untested)}, because there is no test of which set is best.")
    return notes


def _is_closest_tested(sets: Comparisons, distance: str) -> bool:
    """True if there is a test of whether the closest set by a distance is closer than each other set."""
    if sets.distances[distance].higher_is_better:
        return False
    if any(distance not in comparison for comparison in sets.values()):
        return False
    ordered = sets.by(distance)
    p_values = ordered.p_values
    names_without_test = (ordered.best, ordered.held_out)
    return all(p_values[name] is not None for name in ordered if name not in names_without_test)


def _without_errors(sets: Comparisons, debiased: Sequence[str]) -> list[str]:
    """Return notes on values that are not debiased and have no standard error."""
    # Dictionaries keep each line and each distance once, in the order of the sets.
    lines: dict[str, None] = {}
    distances_without_reason: dict[str, None] = {}
    for name, comparison in sets.items():
        if comparison.shares_images and not comparison.paired:
            lines[f"No ± of {name}, which shares {sets.noun}s with {sets.reference}."] = None
            continue
        for distance, result in comparison.items():
            if distance in debiased or not result.value or result.overall.error:
                continue
            for limit in result.limits:
                lines[f"No ±: {limit}."] = None
            if not result.limits:
                distances_without_reason[distance] = None
    notes = list(lines)
    if distances_without_reason:
        notes.append(f"No ± is known of {', '.join(distances_without_reason)}.")
    return notes


def tables(sets: Comparisons) -> list[Table]:
    """Return the table of distances, and the table of tests if there are any tests."""
    evidence = evidence_table(sets)
    return [sets.table] if evidence is None else [sets.table, evidence]


def evidence_table(sets: Comparisons) -> Table | None:
    """Return the table of debiased distances, intervals and tests; None if there are no intervals and no tests."""
    rows: list[dict[str, Cell]] = []
    for distance, definition in sets.distances.items():
        is_in_all_sets = all(distance in comparison for comparison in sets.values())
        if is_in_all_sets and not definition.higher_is_better:
            rows += _evidence_rows(sets, distance)
    if not rows:
        return None
    return Table.of(rows, "Distances and tests", [_NOTE_ON_P, *_notes_on_ratios(sets)])


def _evidence_rows(sets: Comparisons, distance: str) -> list[dict[str, Cell]]:
    """Return the rows of a distance in the table of tests, one row for each set with an interval or a test."""
    rows: list[dict[str, Cell]] = []
    ordered = sets.by(distance)
    p_holm = sets.own_p_values(distance)
    p_values = ordered.p_values
    ratios = ordered.ratios()
    for set_name, comparison in ordered.items():
        result = comparison[distance]
        if result.interval is None and result.p_value is None:
            continue
        debiased, interval = debiased_cells(result, p_holm[set_name])
        row: dict[str, Cell] = {
            "distance": distance,
            "set": set_name,
            "not debiased": _value_with_error(comparison, result),
            "debiased": debiased,
            "interval": interval,
            "p (Holm)": p_figure(p_holm[set_name]),
            "p (best closer)": p_figure(p_values[set_name]),
            _X_HELD_OUT: _ratio_cell(sets, set_name, ratios),
        }
        rows.append(row)
    return rows


def _ratio_cell(sets: Comparisons, name: str, ratios: Mapping[str, Ratio | None]) -> Cell:
    """Return the cell of the ratio of a set to the held-out set; None without a ratio."""
    if name == sets.held_out:
        return "1"
    ratio = ratios.get(name)
    return None if ratio is None else str(ratio)


def _notes_on_ratios(sets: Comparisons) -> list[str]:
    """Return the note on the ratios to the held-out set, or on why there are none; nothing without a held-out set."""
    held_out = sets.held_out
    if held_out is None:
        return []
    # A ratio is None if there are too few images to estimate it.
    all_ratios: list[Ratio | None] = []
    for distance in sets.distances:
        all_ratios += sets.ratios(distance).values()
    ratios = [ratio for ratio in all_ratios if ratio is not None]
    if not ratios and sets[held_out].shares_images:
        return [f"No {_X_HELD_OUT}: {held_out} shares {sets.noun}s with {sets.reference}, or has some nearly alike."]
    if not all_ratios:
        return []
    if not ratios:
        return [f"No {_X_HELD_OUT}: there are too few {sets.noun}s to estimate it."]
    note = f"{_X_HELD_OUT}: times as far as {held_out}, both debiased ({ratios[0].level} interval)."
    if any(ratio.high is None for ratio in ratios):
        note += f" At least: {held_out} does not differ significantly from {sets.reference}."
    if len(ratios) < len(all_ratios):
        note += f" -: there are too few {sets.noun}s to estimate it."
    return [note]


# Records


def rows(sets: Comparisons) -> list[dict[str, Any]]:
    """Return one record per set in plain types."""
    p_values = sets.p_values
    p_holm = sets.p_holm
    best = sets.best
    relative_figures = _figures_relative_to_held_out(sets)
    records: list[dict[str, Any]] = []
    for name, comparison in sets.items():
        record = {
            "set": name,
            "num_images": comparison.num_images["b"],
            **figures_of(sets, comparison),
            "p_holm": p_holm[name],
            "p_best_is_nearer": p_values[name],
            "best": name == best,
            **relative_figures[name],
        }
        records.append(record)
    return records


def _figures_relative_to_held_out(sets: Comparisons) -> dict[str, dict[str, Any]]:
    """Return the ratios and the p-values of each set relative to the held-out set, by name of the set.

    The figures of all sets are empty if there is no held-out set.
    """
    figures: dict[str, dict[str, Any]] = {name: {} for name in sets}
    if sets.held_out is None:
        return figures
    for distance, definition in sets.distances.items():
        if definition.higher_is_better:
            continue
        ratios = sets.ratios(distance)
        property_ratios = sets.property_ratios(distance)
        for name, figures_of_set in figures.items():
            # The held-out set has no ratio.
            figures_of_set.update(_ratio_figures(definition.key, ratios.get(name), property_ratios.get(name)))
            figures_of_set[f"{definition.key}_p_farther"] = sets.p_farther(name, distance)
    return figures


def figures_of(sets: ManyComparisons, comparison: Comparison) -> dict[str, Any]:
    """Return the figures of all distances in one of the comparisons, in plain types."""
    findings = {}
    for name, definition in sets.distances.items():
        result = comparison.get(name)
        findings[definition.key] = None if result is None else result.overall
    return values_by_distance(findings)


def _ratio_figures(key: str, ratio: Ratio | None, of_properties: Ratio | None) -> dict[str, float | None]:
    """Return the ratios to the held-out set, with the ends of their intervals.

    Args:
        key: Key of the distance.
        ratio: Ratio of the distances by the network.
        of_properties: Ratio of the distances by image properties.

    """
    figures: dict[str, float | None] = {}
    for suffix, field in (("", "value"), ("_low", "low"), ("_high", "high")):
        figures[f"{key}_x_held_out{suffix}"] = None if ratio is None else getattr(ratio, field)
        figures[f"{key}_properties_x_held_out{suffix}"] = (
            None if of_properties is None else getattr(of_properties, field)
        )
    return figures


def whole(sets: Comparisons) -> dict[str, Any]:
    """Return all results in plain types, ready for json."""
    return {
        "reference": sets.reference,
        "held_out": sets.held_out,
        "distance": sets.distance,
        "best": sets.best,
        "improvement": None if sets.improvement is None else sets.improvement._asdict(),
        "verdict": sets.verdict,
        "sets": sets.rows(),
        "comparisons": {name: comparison.to_dict() for name, comparison in sets.items()},
    }
