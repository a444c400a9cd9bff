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

# Number of sentences of a verdict.
_MOST_SENTENCES = 4
# Number of sets that a sentence names at most.
_MOST_NAMES = 3
# Least number of checkpoints for a sentence on whether training still improves.
_LEAST_CHECKPOINTS = 3
# Word before the last number of a name, and those of checkpoints.
_WORD = re.compile(r"([^\W\d_]+)[\W_]*\d+(?:\.\d+)?\D*$")
_OF_CHECKPOINTS = {"checkpoint", "ckpt", "epoch", "iter", "iteration", "kimg", "snapshot", "step"}
# Heading of the column of ratios.
_X_HELD_OUT = "x held-out"
# Mark of a value that does not differ significantly from the reference.
_NOT_SIGNIFICANT = "n.s."
_ERRORS = "±: jackknife standard error over folds, or else deviation over splits or subsets."
_P = (
    "p (Holm): of this distance alone, corrected for the number of sets. p (best closer): that the closest set is no"
    " closer."
)
_PAIRED_TEST = f"(paired test, p ≤ {SIGNIFICANT}, Holm-corrected)"


# Sentences


def sentences(sets: Comparisons) -> list[str]:
    """Return at most four sentences: which set is closest, and how far it is relative to the held-out set."""
    if sets.held_out is None:
        return _closest(sets)
    equal = _equal_sets(sets)
    first = [*sets.ranked, *equal][0]
    lines = _relative_to_held_out(sets, first, sets.held_out)
    is_one = len(sets.ranked) + len(equal) == 1
    answers = sets.ratios()[first] is not None or (_none_differs(sets) and not _sharing(sets, [first, sets.held_out]))
    if not (is_one and answers):
        lines = [*_closest(sets), *lines]
    return lines[:_MOST_SENTENCES]


def _equal_sets(sets: Comparisons) -> list[str]:
    """Return the names of sets whose images are the reference's own."""
    return [name for name in sets if name != sets.held_out and name not in sets.ranked]


def _sharing(sets: Comparisons, names: Sequence[str]) -> list[str]:
    """Return those of these sets that share images with the reference."""
    return [name for name in names if sets[name].shares_images]


def _tested(sets: Comparisons) -> dict[str, float]:
    """Return the corrected p-values of the tests of sets against the reference, without the held-out one."""
    p_holm = sets.p_holm
    p_values = {name: p_holm[name] for name in sets.ranked}
    return {name: p for name, p in p_values.items() if p is not None}


def _none_differs(sets: Comparisons) -> bool:
    """True if no set differs significantly from the reference, and all have a valid test."""
    return min(_tested(sets).values(), default=0) > SIGNIFICANT and not _sharing(sets, sets.ranked)


def _closest(sets: Comparisons) -> list[str]:
    """Return sentences on the closest set, and on sets that are the reference itself."""
    lines: list[str] = []
    equal = _equal_sets(sets)
    reference, noun = sets.reference, sets.noun
    if equal:
        lines.append(f"{', '.join(equal)} and {reference} have the same {noun}s ({sets.distance} 0).")
    if not sets.ranked:
        return lines
    best, *rest = sets.ranked
    if _none_differs(sets):
        least = min(_tested(sets).values())
        if rest:
            p = p_figure(least, "smallest Holm p")
            return [*lines, f"None {_of_sets(sets)} differs significantly from {reference} ({p})."]
        return [*lines, f"{best} does not differ significantly from {reference} ({p_figure(least, 'p')})."]
    figure = f"{sets.distance} {_figure_in_words(sets, best)}"
    sharing = _sharing(sets, sets.ranked[:2])
    why_untested = f"{sharing[0]} shares {noun}s with {reference}, or has some nearly alike" if sharing else ""
    if not rest:
        only = f"The only other set is {best}" if equal else f"{best} is the only set"
        lines.append(f"{only} ({figure}).")
        if why_untested:
            lines.append(f"{why_untested}.")
        return lines
    closest = f"{best} is closest to {reference} ({figure})."
    lines.append(f"Of the others, {closest}" if equal else closest)
    if why_untested:
        lines.append(f"This order was not tested, because {why_untested}.")
    else:
        lines.append(_is_closer(sets, rest))
    lines += _still_improves(sets)
    lines += _which_differ(sets)
    return lines


def _figure_in_words(sets: Comparisons, name: str) -> str:
    """Return the distance of a set: debiased, unless the set shares images with the reference."""
    result = sets[name][sets.distance]
    if sets[name].shares_images or result.debiased is None:
        return number(result.value)
    shown, _ = debiased_cells(result, sets.own_p_values(sets.distance)[name])
    if isinstance(shown, str):
        return f"{number(result.value)}, {shown}" if result.few_differ is not None else shown
    return f"{number(shown)}, debiased"


def _of_sets(sets: Comparisons) -> str:
    """Return the end of a number of sets: "of 3 sets", or "of 3 other sets" after those that are the reference."""
    count = len(sets.ranked)
    return f"of {count} other sets" if _equal_sets(sets) else f"of {count} sets"


def _which_differ(sets: Comparisons) -> list[str]:
    """Return the sentence on the sets that differ significantly, if the closest does not; else nothing."""
    p_values = _tested(sets)
    different = [name for name, p in p_values.items() if p <= SIGNIFICANT]
    if not different or p_values.get(sets.ranked[0], 0) <= SIGNIFICANT:
        return []
    if sets.held_out is not None and _sharing(sets, [sets.ranked[0], sets.held_out]):
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
    return [f"{head}: {names}." if len(different) <= _MOST_NAMES else f"{head}, such as {names}."]


def _is_closer(sets: Comparisons, rest: Sequence[str]) -> str:
    """Return the sentence on the test that the closest set is closer than the next one."""
    p_values = sets.p_values
    second = rest[0]
    p_second = p_values[second]
    if p_second is None:
        return f"This order was not tested, because there are no folds of {sets.noun}s."
    p = p_figure(p_second, "p")
    if p_second <= SIGNIFICANT:
        return f"It is significantly closer than {second} ({p})."
    num_others = sum((p_values[name] or 0) > SIGNIFICANT for name in rest) - 1
    ties = second
    if num_others == 1:
        ties += " and 1 other"
    elif num_others > 1:
        ties += f" and {num_others} others"
    return f"It is not significantly closer than {ties} ({p})."


def _still_improves(sets: Comparisons) -> list[str]:
    """Return the sentence on the last significant improvement of a training; nothing if the sets are none."""
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
    """True if there are three names or more, and all count steps, epochs or the like.

    Example:
        >>> _are_checkpoints(["epoch=1-step=50", "epoch=2-step=100", "epoch=3-step=150"])
        True
        >>> _are_checkpoints(["blur_1", "blur_2", "blur_3"])
        False

    """
    words = [_WORD.search(name) for name in names]
    are_of_training = all(word is not None and word[1].lower().removesuffix("s") in _OF_CHECKPOINTS for word in words)
    return len(names) >= _LEAST_CHECKPOINTS and are_of_training


def _relative_to_held_out(sets: Comparisons, name: str, held_out: str) -> list[str]:
    """Return whether a set and the held-out one differ from the reference, and how many times as far the set is."""
    reference, noun = sets.reference, sets.noun
    # A set that is named after what it is, such as "held_out/", is not called "the held-out held_out/".
    is_named_so = re.fullmatch("(?i)held.?out/?", held_out) is not None
    the_held_out = f"held-out {noun}s" if is_named_so else f"held-out {held_out}"
    sharing = _sharing(sets, [name, held_out])
    if sharing:
        why = f"{reference} shares {noun}s with {' and '.join(sharing)}, or has some nearly alike."
        return [f"{name} was not compared with the {the_held_out}.", why]
    lines = _which_of_two_differ(sets, name, held_out)
    p, p_held_out = sets.p_holm[name], sets.p_holm[held_out]
    differs = p is not None and p_held_out is not None and p <= SIGNIFICANT
    how_far = _how_far(sets, name, f"the {the_held_out}", differs=differs)
    if how_far:
        lines.append(how_far)
    elif not lines:
        lines.append(f"{name} was not tested against the {the_held_out}, because there are no folds.")
    elif differs:
        lines.append(
            f"There are too few {noun}s to test whether {name} is farther from {reference} than the {the_held_out}."
        )
    if p_held_out is not None and p_held_out <= SIGNIFICANT:
        verb = "differ" if is_named_so else "differs"
        lines.append(f"The {the_held_out} {verb} from {reference}, too, so other sets look too close in comparison.")
    return lines


def _how_far(sets: Comparisons, name: str, the_held_out: str, *, differs: bool) -> str:
    """Return how many times as far a set is as the held-out one, or that it is farther; empty without either."""
    reference, noun = sets.reference, sets.noun
    comparison = sets[name]
    ratio = sets.ratios()[name]
    if ratio is not None and ratio.is_informative:
        return f"{name} is {_ratio_in_words(ratio)} from {reference} as {the_held_out}{ratio.ends}."
    ratio = sets.property_ratios()[name]
    if ratio is not None and ratio.is_informative:
        return (
            f"In {noun} properties, {name} is {ratio.in_words} times as far from {reference} as {the_held_out}"
            f"{ratio.ends}, mostly in {sets.main_property(name)}."
        )
    p_farther = sets.p_farther(name)
    if differs and p_farther is not None and p_farther <= SIGNIFICANT:
        farther = f"{name} is significantly farther from {reference} than {the_held_out} ({p_figure(p_farther, 'p')})."
        return f"{farther} There are too few {noun}s to estimate the ratio."
    p_anywhere = comparison.p_value_of_farther
    if differs and p_anywhere is not None and p_anywhere <= SIGNIFICANT:
        where = comparison.furthest_in or "some layer or property"
        p = p_figure(p_anywhere, "p")
        return f"In {where}, {name} is significantly farther from {reference} than {the_held_out} ({p})."
    return ""


def _which_of_two_differ(sets: Comparisons, name: str, held_out: str) -> list[str]:
    """Return the sentence on whether a set and the held-out one differ from the reference; nothing without tests."""
    p_first, p_second = sets.p_holm[name], sets.p_holm[held_out]
    if p_first is None or p_second is None:
        return []
    first, second = name, held_out
    if p_first > SIGNIFICANT and p_second <= SIGNIFICANT:
        # The one that differs comes first.
        first, p_first, second, p_second = second, p_second, first, p_first
    label = "Holm p" if len(sets) > 1 else "p"
    of_first = p_figure(p_first, label)
    of_second = p_figure(p_second, label)
    reference = sets.reference
    if p_first > SIGNIFICANT:
        return [f"Neither {first} ({of_first}) nor {second} ({of_second}) differs significantly from {reference}."]
    if p_second > SIGNIFICANT:
        return [f"{first} differs significantly from {reference} ({of_first}). {second} does not ({of_second})."]
    return [f"{first} ({of_first}) and {second} ({of_second}) differ significantly from {reference}."]


def _ratio_in_words(ratio: Ratio) -> str:
    """Return a ratio in words; "1 times as far" is "as far"."""
    if ratio.in_words == "1":
        return "as far"
    if ratio.in_words == "at least 1":
        return "at least as far"
    return f"{ratio.in_words} times as far"


# Tables


def table(sets: Comparisons) -> Table:
    """Return the distances of all sets: a row for each set, and a column for each metric."""
    rows: dict[str, dict[str, Cell]] = {}
    for set_name, comparison in sets.items():
        rows[set_name] = {"set": set_name, f"{comparison.noun}s": comparison.num_images["b"]}
    debiased = [distance for distance in sets.distances if _is_shown_debiased(sets, distance)]
    bold: set[tuple[int, int]] = set()
    for distance, record in sets.distances.items():
        heading = _heading(record)
        p_values = sets.own_p_values(distance)
        for set_name, comparison in sets.items():
            result = comparison.results.get(distance)
            is_debiased = distance in debiased
            rows[set_name][heading] = _cell(comparison, result, p_values[set_name], is_debiased=is_debiased)
        closest = sets.surely_nearest(distance)
        if closest is not None:
            bold.add((list(sets).index(closest), list(rows[closest]).index(heading)))
    cells = list(rows.values())
    notes = [*_notes_on_values(sets, cells, debiased), *_notes_on_bold(sets), *note_of_left_out(sets.unreadable)]
    return replace(Table.of(cells, f"{len(sets)} sets against {sets.reference}", notes), bold=bold)


def _is_shown_debiased(sets: Comparisons, distance: str) -> bool:
    """True if the table shows a distance debiased, with its interval.

    All values of a column are debiased, or none is, so that they can be compared. A published metric has the value of
    its publication, which is not debiased.
    """
    if sets.distances[distance].protocol is not None:
        return False
    has_intervals = False
    for comparison in sets.values():
        result = comparison.results.get(distance)
        if result is None or (comparison.same_images and result.value == 0):
            # A set without a value has no interval, and the exact 0 of the reference itself needs none.
            continue
        if result.interval is None or comparison.shares_images:
            return False
        has_intervals = True
    return has_intervals


def _heading(record: Distance) -> str:
    """Return the heading of a distance's column, with its unit and the direction that is better."""
    unit = " (bins)" if record.unit == "bins" else ""
    arrow = "↑" if record.higher_is_better else "↓"
    return f"{record.name}{unit} {arrow}"


def _cell(comparison: Comparison, result: Result | None, p_value: float | None, *, is_debiased: bool) -> Cell:
    """Return the debiased distance with its interval, or the distance with its error; None if it was not measured.

    A value that does not differ significantly is marked.
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
    """Return the debiased distance and both ends of its interval, which is left out if both ends are 0.

    If a difference is significant but the distance is no larger than its null mean, the cell counts what differs.
    """
    if result.few_differ is not None and p_value is not None and p_value <= SIGNIFICANT:
        return f"0 ({result.few_differ.number_in_words})"
    if result.interval is None or result.interval.high == 0:
        return "0"
    # A debiased distance within sampling noise is exactly 0, so it has no significant digits.
    has_digits = result.interval.value != 0
    return f"{number(result.interval.value, zeros=has_digits)} {result.interval.ends}"


def _value_with_error(comparison: Comparison, result: Result) -> str:
    """Return the distance and its error; a set that shares images with the reference has no error."""
    error = None
    if comparison.paired or not comparison.shares_images:
        error = result.overall.error
    return number(result.value, zeros=True, error=error)


def _notes_on_values(sets: Comparisons, rows: Sequence[Mapping[str, Cell]], debiased: Sequence[str]) -> list[str]:
    """Return what brackets, errors and marks of a table mean, one line each."""
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
        notes.append(_ERRORS)
    if any(_NOT_SIGNIFICANT in cell for cell in cells):
        notes.append(
            f"{_NOT_SIGNIFICANT}: not significant, by this distance alone (p > {SIGNIFICANT}, Holm-corrected)."
        )
    if has_errors:
        notes += _without_errors(sets, debiased)
    return notes


def _intervals(sets: Comparisons, distances: Sequence[str]) -> list[Interval]:
    """Return the intervals of these distances, of all sets but the reference itself."""
    intervals: list[Interval] = []
    for distance in distances:
        for comparison in sets.values():
            result = comparison.results.get(distance)
            if result is not None and result.interval is not None and not comparison.same_images:
                intervals.append(result.interval)
    return intervals


def _notes_on_bold(sets: Comparisons) -> list[str]:
    """Return what bold means, and why some metrics have no value in bold, one line each; nothing for a single set."""
    if len(sets.ranked) < 2:
        return []
    bold: list[str] = []
    ties: list[str] = []
    untested: list[str] = []
    for distance in sets.distances:
        if sets.surely_nearest(distance) is not None:
            bold.append(distance)
        elif _is_closest_tested(sets, distance):
            ties.append(distance)
        else:
            untested.append(distance)
    others = "every other set"
    if sets.held_out is not None:
        others += f" except the held-out {sets.held_out}"
    notes: list[str] = []
    if bold:
        notes.append(f"Bold: significantly closer than {others} {_PAIRED_TEST}.")
    if ties:
        reason = f"the closest set is not significantly closer than {others}"
        if not bold:
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
    by_one = sets.by(distance)
    p_values = by_one.p_values
    return all(p_values[name] is not None for name in by_one if name not in (by_one.best, by_one.held_out))


def _without_errors(sets: Comparisons, debiased: Sequence[str]) -> list[str]:
    """Return why some values that are not debiased have no standard error, one line each."""
    # Dictionaries keep each line and each distance once, in order.
    lines: dict[str, None] = {}
    unknown: dict[str, None] = {}
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
                unknown[distance] = None
    if unknown:
        return [*lines, f"No ± is known of {', '.join(unknown)}."]
    return [*lines]


def tables(sets: Comparisons) -> list[Table]:
    """Return the values, and the table of tests if there are any."""
    evidence = evidence_table(sets)
    return [sets.table] if evidence is None else [sets.table, evidence]


def evidence_table(sets: Comparisons) -> Table | None:
    """Return the distances, also debiased, their intervals and tests: a row for each distance and set; None without."""
    rows: list[dict[str, Cell]] = []
    for name, record in sets.distances.items():
        if record.higher_is_better or not all(name in comparison for comparison in sets.values()):
            continue
        by_one = sets.by(name)
        p_holm = sets.own_p_values(name)
        p_values = by_one.p_values
        ratios = by_one.ratios()
        for set_name, comparison in by_one.items():
            result = comparison[name]
            if result.interval is None and result.p_value is None:
                continue
            debiased, interval = debiased_cells(result, p_holm[set_name])
            ratio = "1" if set_name == sets.held_out else ratios.get(set_name)
            rows.append(
                {
                    "distance": name,
                    "set": set_name,
                    "not debiased": _value_with_error(comparison, result),
                    "debiased": debiased,
                    "interval": interval,
                    "p (Holm)": p_figure(p_holm[set_name]),
                    "p (best closer)": p_figure(p_values[set_name]),
                    _X_HELD_OUT: None if ratio is None else str(ratio),
                }
            )
    if not rows:
        return None
    return Table.of(rows, "Distances and tests", [_P, *_notes_on_ratios(sets)])


def _notes_on_ratios(sets: Comparisons) -> list[str]:
    """Return the note below a table that explains its ratios; nothing without ratios."""
    all_ratios = [ratio for distance in sets.distances for ratio in sets.ratios(distance).values()]
    ratios = [ratio for ratio in all_ratios if ratio is not None]
    held_out = sets.held_out
    if not ratios and held_out is not None and sets[held_out].shares_images:
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
    rows: list[dict[str, Any]] = []
    for name, comparison in sets.items():
        row = {"set": name, "num_images": comparison.num_images["b"], **figures_of(sets, comparison)}
        row |= {"p_holm": p_holm[name], "p_best_is_nearer": p_values[name], "best": name == best}
        rows.append(row)
    if sets.held_out is None:
        return rows
    for distance, record in sets.distances.items():
        if record.higher_is_better:
            continue
        ratios = sets.ratios(distance)
        property_ratios = sets.property_ratios(distance)
        for row in rows:
            name = row["set"]
            row |= _ratio_figures(record.key, ratios.get(name), property_ratios.get(name))
            row[f"{record.key}_p_further"] = sets.p_farther(name, distance)
    return rows


def figures_of(sets: ManyComparisons, comparison: Comparison) -> dict[str, Any]:
    """Return the figures of all distances of one of several comparisons, in plain types."""
    findings = {}
    for name, record in sets.distances.items():
        result = comparison.get(name)
        findings[record.key] = None if result is None else result.overall
    return values_by_distance(findings)


def _ratio_figures(key: str, ratio: Ratio | None, of_properties: Ratio | None) -> dict[str, float | None]:
    """Return the ratios to the held-out set, by network and by properties, with the ends of their intervals."""
    figures: dict[str, float | None] = {}
    for end, field in (("", "value"), ("_low", "low"), ("_high", "high")):
        figures[f"{key}_x_held_out{end}"] = None if ratio is None else getattr(ratio, field)
        figures[f"{key}_properties_x_held_out{end}"] = None if of_properties is None else getattr(of_properties, field)
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
