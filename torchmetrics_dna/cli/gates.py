"""Exit codes that depend on the results of a comparison, for scripts and CI."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple

import typer

from torchmetrics_dna.cli.console import talk
from torchmetrics_dna.dna.distances import check_distances
from torchmetrics_dna.files.visible import images_in_words, number, p_figure
from torchmetrics_dna.images.noun import value_of
from torchmetrics_dna.options import argument, option_name, written

if TYPE_CHECKING:
    from torchmetrics_dna.comparisons.compare import Opened
    from torchmetrics_dna.comparisons.odd_images import OddImages
    from torchmetrics_dna.comparisons.two_sets import Comparison
    from torchmetrics_dna.images.reading import Reading
    from torchmetrics_dna.singles.ranking import Ranking

    # Limits by the names of the options; None for gates that were not requested.
    Limits = Mapping[str, float | None]
_NO_INTERVAL = (
    "Option --fail-unless-below takes an interval, but there is none of {}; keep folds (--num-folds 20), at least 5 of"
    " them not empty, and weights of 0 or more"
)
_NO_TEST = (
    "Option --fail-if-different takes a test, but there is none of {}; keep folds (--num-folds 20) on both sides, at"
    " least 5 of them not empty, and a distance that has one, such as dna-emd"
)
_NOT_ASKED = (
    "Option --fail-if-odd was not asked of {}: it takes two different sets, at least 10 images in the reference, folds"
    " (--num-folds 20), and dna-emd or dna-fd"
)
_OF_DNA = "Option --fail-if-odd takes images on both sides, but {} is a DNA"


class Gate(NamedTuple):
    """Result of a gate."""

    option: str  # option that asked for it
    limit: float  # its limit, or the level of its test
    passed: bool
    lines: list[str]  # printed lines: one if it passed, else one for each set that failed


def check_limits(limits: Limits, metrics: Sequence[str] | None, options: Mapping[str, Any]) -> None:
    """Raise ValueError for limits, as of :func:`gates_of`, that other options show to be wrong."""
    for name, least, expected in (("fail_above", -1e-300, "of 0 or more"), ("fail_unless_below", 0, "above 0")):
        limit = limits[name]
        option = argument(name)
        if limit is not None:
            if not least < limit < inf:
                raise ValueError(f"{option} expected to be a number {expected}, but got {limit:g}")
            check_distances(metrics, option)
    if limits["fail_if_odd"] is None:
        return
    for name in ("by", "pairs", "groups"):
        if options[name] is not None:
            raise ValueError(f"Option --fail-if-odd is for independent images of whole sets, but got {written(name)}")


def check_gates(opened: Opened, limits: Limits) -> None:
    """Raise those errors of :func:`gates_of` that are certain before an image is read; arguments as there."""
    from torchmetrics_dna.comparisons.odd_images import can_be_odd
    from torchmetrics_dna.dna import DNA
    from torchmetrics_dna.functional.permutation import NUM_RELABELINGS

    networks = opened.networks
    others = [name for name in opened.names[1:] if name != opened.held_out]
    for k, name in enumerate(opened.names[1:], 1):
        if name == opened.held_out:
            continue
        evidence = {record: sides.evidence_for(record, k) for sides in networks for record in sides.plan.distances}
        has_interval = next((interval for of, (_, interval) in evidence.items() if not of.higher_is_better), False)
        if limits["fail_unless_below"] is not None and not has_interval:
            raise ValueError(_NO_INTERVAL.format(name))
        if limits["fail_if_different"] is not None and not any(has_test for has_test, _ in evidence.values()):
            raise ValueError(_NO_TEST.format(name))
        if limits["fail_if_odd"] is not None and not can_be_odd(networks[0], k):
            dnas = [opened.names[i] for i in (0, k) if isinstance(networks[0].images[i], DNA)]
            raise ValueError(_OF_DNA.format(dnas[0]) if dnas else _NOT_ASKED.format(name))
    if limits["fail_if_different"] is not None:
        _check_count(len(others), 1 / (1 + NUM_RELABELINGS), limits["fail_if_different"])


def gates_of(compared: Mapping[str, Comparison], level: float, limits: Limits) -> list[Gate]:
    """Return for each requested gate whether all sets pass; ValueError without a test or interval that could tell.

    Args:
        compared: The comparison of each set, by name.
        level: Level of tests.
        limits: Of ``fail_above`` the largest distance that passes, debiased if there are folds of images; of
            ``fail_unless_below`` the distance below which each set must be shown to be; of ``fail_if_different`` the
            level, for p-values corrected for the number of sets; of ``fail_if_odd`` a number, since it has none.

    """
    gates = []
    for name, judge in _JUDGES.items():
        limit = limits.get(name)
        if limit is not None:
            lines = judge(compared, limit, level)
            gates.append(Gate(option_name(name), limit, not lines[0].startswith("Failed"), lines))
    return gates


def _check_count(count: int, least_p: float, level: float) -> None:
    """Raise ValueError if the test could not find a difference of one in so many sets."""
    if least_p * count > level:
        raise ValueError(
            f"Option --fail-if-different can't find one of {count} that differs: its p would be {least_p:.2g} at the"
            f" least, {min(1, least_p * count):.2g} after Holm's correction, above {level:g}; give fewer at a time"
        )


def end_by(gates: Sequence[Gate]) -> None:
    """Print whether gates pass; exit with code 1 if one does not."""
    for gate in gates:
        for line in gate.lines:
            talk.print(line, soft_wrap=True)
    if not all(gate.passed for gate in gates):
        raise typer.Exit(1)


def _distance_of(compared: Mapping[str, Comparison]) -> str:
    first = next(iter(compared.values()))
    return next(name for name, result in first.items() if not result.distance.higher_is_better)


def _not_near(compared: Mapping[str, Comparison], limit: float, level: float) -> list[str]:
    """Check that each set is shown to be nearer; each is tested at the full level, since all have to pass."""
    distance = _distance_of(compared)
    # It imports torch, which the command starts without.
    from torchmetrics_dna.reporting.figures import debiased_in_words

    p_values: dict[str, float] = {}
    for name, comparison in compared.items():
        if comparison.shares_images and not comparison.same_images:
            raise ValueError(
                f"Option --fail-unless-below takes independent sets, but {name} shares {comparison.noun}s with"
                f" {comparison.names[0]}, or has copies of them"
            )
        p = comparison[distance].p_value_of_at_least(limit)
        if p is None:
            raise ValueError(_NO_INTERVAL.format(name))
        p_values[name] = p
    lines = {
        name: f"debiased {distance} of {name} is {number(debiased_in_words(compared[name][distance].overall))};"
        f" that it is {limit:g} or more has {p_figure(p, 'p')}"
        for name, p in p_values.items()
    }
    failed = [f"Failed: {lines[name]}, above {level:g}." for name, p in p_values.items() if p > level]
    largest = max(p_values, key=p_values.__getitem__)
    return failed or [f"Passed: {lines[largest]}{_of('largest p', compared)}."]


def _too_far(compared: Mapping[str, Comparison], limit: float, _: float) -> list[str]:
    # It imports torch, which the command starts without.
    from torchmetrics_dna.reporting.figures import debiased_in_words

    distance = _distance_of(compared)
    figures: dict[str, float] = {}
    lines: dict[str, str] = {}
    for name, comparison in compared.items():
        result = comparison[distance]
        # Debiased values assume independent sets.
        if comparison.shares_images or result.debiased is None:
            figures[name] = result.value
            lines[name] = f"{distance} of {name} is {number(result.value)}"
        else:
            figures[name] = result.debiased
            lines[name] = f"debiased {distance} of {name} is {number(debiased_in_words(result.overall))}"
    failed = [f"Failed: {lines[name]}, above {limit:g}." for name, value in figures.items() if not value <= limit]
    largest = max(figures, key=figures.__getitem__)
    return failed or [f"Passed: {lines[largest]}{_of('largest', compared)}, not above {limit:g}."]


def _different(compared: Mapping[str, Comparison], level: float, _: float) -> list[str]:
    from torchmetrics_dna.functional.permutation import holm

    # The smallest p-value that all tests could give.
    least_p = 0.0
    for name, comparison in compared.items():
        if comparison.p_value_of_any is None:
            raise ValueError(_NO_TEST.format(name))
        least_p = max(least_p, comparison.least_p_value or 0)
    count = len(compared)
    _check_count(count, least_p, level)
    p_values = {name: comparison.p_value_of_any for name, comparison in compared.items()}
    p = {name: value for name, value in holm(p_values).items() if value is not None}
    p_texts = {name: p_figure(value, "p (Holm)" if len(p) > 1 else "p") for name, value in p.items()}
    smallest = min(p, key=p.__getitem__)
    failed = [f"Failed: {name} differs, {p_texts[name]}, at or below {level:g}." for name in p if p[name] <= level]
    shown = f"no difference of {smallest} is shown, {p_texts[smallest]}{_of('least', p)}"
    return failed or [f"Passed: {shown}, above {level:g}."]


def gate_of_ranking(ranking: Ranking, name: str) -> Gate:
    """Return whether no image of a ranking is named as odd; ValueError where it could not look at all images."""
    own = 0 if ranking.own is None or ranking.is_alone else int(ranking.own.sum())
    if own and ranking.odd is not None:
        raise ValueError(
            f"Option --fail-if-odd takes {ranking.noun}s that are not the reference's own, but {own:,} of"
            f" {len(ranking.names):,} are; without --reference, each is judged beside the others"
        )
    lines = _odd_lines({name: ranking.odd}, ranking.noun)
    return Gate("--fail-if-odd", 0, not lines[0].startswith("Failed"), lines)


def gate_of_reading(unreadable: Sequence[str], reading: Reading) -> list[Gate]:
    """Return a gate that fails if images could not be read: a check of the others is no check of the set.

    There is none if all could be read, or if leaving them out was asked for.
    """
    if not unreadable or reading.skip_unreadable:
        return []
    from torchmetrics_dna.images.sets import left_out_in_words

    line = (
        f"Failed: {left_out_in_words(unreadable)}, so that not all were checked; --skip-unreadable checks the others."
    )
    return [Gate("--skip-unreadable", 0, False, [line])]


def _odd(compared: Mapping[str, Comparison], _limit: float, _level: float) -> list[str]:
    noun = next(iter(compared.values())).noun
    return _odd_lines({name: comparison.odd for name, comparison in compared.items()}, noun)


def _odd_lines(sets: Mapping[str, OddImages | None], noun: str) -> list[str]:
    failed: list[str] = []
    few: list[str] = []
    for name, odd in sets.items():
        if odd is None:
            raise ValueError(_NOT_ASKED.format(name))
        if odd.is_alone and odd.too_few:
            least = f"{odd.too_few} {noun}s"
            raise ValueError(f"Option --fail-if-odd without a reference takes {least} or more, but {name} has fewer")
        if odd.is_alone and not odd.has_properties:
            raise ValueError(
                f"Option --fail-if-odd without a reference takes grey or RGB images, but {name} has others"
            )
        off = odd.surely_off
        if off:
            failed.append(f"Failed: {name} has {images_in_words(len(off), f'odd {noun}')}, first of all {off[0]}.")
        if odd.too_few:
            few.append(name)
    if failed:
        return failed
    passed = f"Passed: no {noun} of {', '.join(sets)} is named as odd"
    if few:
        passed += f"; of {', '.join(few)}, only {noun}s of one {value_of(noun)} were judged singly"
    return [f"{passed}."]


def _of(which: str, compared: Mapping[str, object]) -> str:
    """Mark the figure as the one nearest to failing, if there are several sets."""
    return f" (the {which} of {len(compared)})" if len(compared) > 1 else ""


_JUDGES = {
    "fail_above": _too_far,
    "fail_unless_below": _not_near,
    "fail_if_different": _different,
    "fail_if_odd": _odd,
}
