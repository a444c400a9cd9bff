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
    from torchmetrics_dna.comparisons.outliers import Outliers
    from torchmetrics_dna.comparisons.two_sets import Comparison
    from torchmetrics_dna.images.reading import Reading
    from torchmetrics_dna.singles.ranking import Ranking

    # Limits by the names of the options; None for gates that were not requested.
    Limits = Mapping[str, float | None]
    # Whether all sets pass, and the lines to print.
    Outcome = tuple[bool, list[str]]
_NO_INTERVAL = (
    "Option --fail-unless-below needs a confidence interval, but there is none for {}; it requires folds (--num-folds"
    " 20), at least 5 of them with images, and neuron weights of 0 or more"
)
_NO_TEST = (
    "Option --fail-if-different needs a test, but there is none for {}; it requires folds (--num-folds 20) in both"
    " sets, at least 5 of them with images, and a distance that has a test, such as dna-emd"
)
_NO_OUTLIERS = (
    "Option --fail-if-outliers can't be used for {}; it requires two different sets, at least 10 images in the"
    " reference, folds (--num-folds 20), and dna-emd or dna-fd"
)
_OF_DNA = "Option --fail-if-outliers needs images in both sets, but {} is a DNA"


class Gate(NamedTuple):
    """Result of a gate."""

    option: str  # option that requested the gate
    limit: float  # its limit, or the level of its test
    passed: bool
    lines: list[str]  # printed lines: one if it passed, else one for each set that failed


def check_limits(limits: Limits, metrics: Sequence[str] | None, options: Mapping[str, Any]) -> None:
    """Raise ValueError for limits, as of :func:`gates_of`, that other options show to be wrong."""
    fail_above = limits["fail_above"]
    if fail_above is not None:
        if not 0 <= fail_above < inf:
            raise ValueError(f"{argument('fail_above')} expected to be a number of 0 or more, but got {fail_above:g}")
        check_distances(metrics, argument("fail_above"))
    fail_unless_below = limits["fail_unless_below"]
    if fail_unless_below is not None:
        if not 0 < fail_unless_below < inf:
            raise ValueError(
                f"{argument('fail_unless_below')} expected to be a number above 0, but got {fail_unless_below:g}"
            )
        check_distances(metrics, argument("fail_unless_below"))
    if limits["fail_if_outliers"] is None:
        return
    for name in ("by", "pairs", "groups"):
        if options[name] is not None:
            raise ValueError(
                f"Option --fail-if-outliers is for independent images of whole sets, but got {written(name)}"
            )


def check_gates(opened: Opened, limits: Limits) -> None:
    """Raise those errors of :func:`gates_of` that are certain before an image is read.

    Args:
        opened: The sets.
        limits: As for :func:`gates_of`.

    Raises:
        ValueError: If a set can have no test, interval or outlier scores, which a gate needs.

    """
    from torchmetrics_dna.functional.permutation import NUM_RELABELINGS

    num_sets = 0
    for k, name in enumerate(opened.names[1:], 1):
        if name == opened.held_out:
            continue
        num_sets += 1
        _check_evidence(opened, k, limits)
        if limits["fail_if_outliers"] is not None:
            _check_outlier_scores(opened, k)
    if limits["fail_if_different"] is not None:
        _check_count(num_sets, 1 / (1 + NUM_RELABELINGS), limits["fail_if_different"])


def _check_evidence(opened: Opened, k: int, limits: Limits) -> None:
    """Raise ValueError if set ``k`` can have no test or no interval, but a gate needs it."""
    can_be_tested = False
    # Whether the first distance, by which sets are near, can have an interval; None before it is found.
    can_have_interval: bool | None = None
    for sides in opened.networks:
        for record in sides.plan.distances:
            has_test, has_interval = sides.evidence_for(record, k)
            can_be_tested = can_be_tested or has_test
            if can_have_interval is None and not record.higher_is_better:
                can_have_interval = has_interval
    if limits["fail_unless_below"] is not None and not can_have_interval:
        raise ValueError(_NO_INTERVAL.format(opened.names[k]))
    if limits["fail_if_different"] is not None and not can_be_tested:
        raise ValueError(_NO_TEST.format(opened.names[k]))


def _check_outlier_scores(opened: Opened, k: int) -> None:
    """Raise ValueError if the images of set ``k`` can have no outlier scores."""
    from torchmetrics_dna.comparisons.outliers import can_have_outliers
    from torchmetrics_dna.dna import DNA

    sides = opened.networks[0]
    if can_have_outliers(sides, k):
        return
    for i in (0, k):
        if isinstance(sides.images[i], DNA):
            raise ValueError(_OF_DNA.format(opened.names[i]))
    raise ValueError(_NO_OUTLIERS.format(opened.names[k]))


def gates_of(compared: Mapping[str, Comparison], level: float, limits: Limits) -> list[Gate]:
    """Return for each requested gate whether all sets pass.

    Args:
        compared: The comparison of each set, by name.
        level: Level of tests.
        limits: Of ``fail_above`` the largest distance that passes, debiased if there are folds of images; of
            ``fail_unless_below`` the distance below which each set must be shown to be; of ``fail_if_different`` the
            level, for p-values corrected for the number of sets; of ``fail_if_outliers`` a number, since it has none.

    Raises:
        ValueError: If a gate needs a test, an interval or outlier scores that a set does not have.

    """
    gates = []
    for name, judge in _JUDGES.items():
        limit = limits.get(name)
        if limit is not None:
            has_passed, lines = judge(compared, limit, level)
            gates.append(Gate(option_name(name), limit, has_passed, lines))
    return gates


def _check_count(count: int, least_p: float, level: float) -> None:
    """Raise ValueError if the test could not detect that one of so many sets differs."""
    if least_p * count > level:
        raise ValueError(
            f"Option --fail-if-different can't detect that one of {count} sets differs: the smallest possible p is"
            f" {least_p:.2g}, or {min(1, least_p * count):.2g} after Holm's correction, which is above {level:g}; pass"
            " fewer sets at a time"
        )


def end_by(gates: Sequence[Gate]) -> None:
    """Print whether gates pass; exit with code 1 if one does not."""
    for gate in gates:
        for line in gate.lines:
            talk.print(line, soft_wrap=True)
    if not all(gate.passed for gate in gates):
        raise typer.Exit(1)


def _distance_of(compared: Mapping[str, Comparison]) -> str:
    """Return the name of the first distance."""
    first = next(iter(compared.values()))
    return next(name for name, result in first.items() if not result.distance.higher_is_better)


def _judge_closeness(compared: Mapping[str, Comparison], limit: float, level: float) -> Outcome:
    """Check that the distance of each set is significantly below a limit.

    Each set is tested at the full level, since all have to pass.
    """
    # It imports torch, which the command starts without.
    from torchmetrics_dna.reporting.figures import debiased_in_words

    distance = _distance_of(compared)
    p_values: dict[str, float] = {}
    for name, comparison in compared.items():
        if comparison.shares_images and not comparison.same_images:
            raise ValueError(
                f"Option --fail-unless-below needs independent sets, but {name} shares {comparison.noun}s with"
                f" {comparison.names[0]}, or has near-duplicates of them"
            )
        p = comparison[distance].p_value_of_at_least(limit)
        if p is None:
            raise ValueError(_NO_INTERVAL.format(name))
        p_values[name] = p
    values = {name: number(debiased_in_words(compared[name][distance].overall)) for name in compared}
    failed: list[str] = []
    for name, p in p_values.items():
        if p > level:
            failed.append(
                f"Failed: debiased {distance} of {name} is {values[name]}, not significantly below {limit:g}"
                f" ({p_figure(p, 'p')}, level {level:g})."
            )
    if failed:
        return False, failed
    name = max(p_values, key=p_values.__getitem__)
    p_text = p_figure(p_values[name], "p")
    if len(compared) > 1:
        p_text += f", the largest of {len(compared)}"
    return True, [
        f"Passed: debiased {distance} of {name} is {values[name]}, significantly below {limit:g} ({p_text}, level"
        f" {level:g})."
    ]


def _judge_distance(compared: Mapping[str, Comparison], limit: float, _: float) -> Outcome:
    """Check that the distance of each set is not above a limit."""
    # It imports torch, which the command starts without.
    from torchmetrics_dna.reporting.figures import debiased_in_words

    distance = _distance_of(compared)
    values: dict[str, float] = {}
    lines: dict[str, str] = {}
    for name, comparison in compared.items():
        result = comparison[distance]
        # Debiased values assume independent sets.
        if comparison.shares_images or result.debiased is None:
            values[name] = result.value
            lines[name] = f"{distance} of {name} is {number(result.value)}"
        else:
            values[name] = result.debiased
            lines[name] = f"debiased {distance} of {name} is {number(debiased_in_words(result.overall))}"
    # A value that is not a number fails, too.
    failed = [f"Failed: {lines[name]}, above {limit:g}." for name, value in values.items() if not value <= limit]
    if failed:
        return False, failed
    farthest = max(values, key=values.__getitem__)
    largest = f" (the largest of {len(compared)})" if len(compared) > 1 else ""
    return True, [f"Passed: {lines[farthest]}{largest}, not above {limit:g}."]


def _judge_difference(compared: Mapping[str, Comparison], level: float, _: float) -> Outcome:
    """Check that no set differs significantly."""
    from torchmetrics_dna.functional.permutation import holm

    # The smallest p-value that all tests could give.
    least_p = 0.0
    for name, comparison in compared.items():
        if comparison.p_value_of_any is None:
            raise ValueError(_NO_TEST.format(name))
        least_p = max(least_p, comparison.least_p_value or 0)
    count = len(compared)
    _check_count(count, least_p, level)
    corrected = holm({name: comparison.p_value_of_any for name, comparison in compared.items()})
    p_values = {name: p for name, p in corrected.items() if p is not None}
    label = "p (Holm)" if len(p_values) > 1 else "p"
    failed: list[str] = []
    for name, p in p_values.items():
        if p <= level:
            failed.append(f"Failed: {name} differs significantly ({p_figure(p, label)}, level {level:g}).")
    if failed:
        return False, failed
    name = min(p_values, key=p_values.__getitem__)
    p_text = p_figure(p_values[name], label)
    if len(compared) > 1:
        p_text += f", the smallest of {len(compared)}"
    return True, [f"Passed: {name} does not differ significantly ({p_text}, level {level:g})."]


def gate_of_ranking(ranking: Ranking, name: str) -> Gate:
    """Return the gate of a ranking, which fails if an image is flagged as an outlier.

    Raises:
        ValueError: If some of the images could not be judged.

    """
    num_own = 0
    if ranking.own is not None and not ranking.is_alone:
        num_own = int(ranking.own.sum())
    if num_own and ranking.outliers is not None:
        raise ValueError(
            f"Option --fail-if-outliers needs {ranking.noun}s that are not in the reference, but {num_own:,} of"
            f" {len(ranking.names):,} are; without --reference, each is compared with the others"
        )
    has_passed, lines = _outliers_of_sets({name: ranking.outliers}, ranking.noun)
    return Gate("--fail-if-outliers", 0, has_passed, lines)


def gate_of_reading(unreadable: Sequence[str], reading: Reading) -> list[Gate]:
    """Return a gate that fails if images could not be read: a check of the others is no check of the set.

    There is none if all could be read, or if leaving them out was requested.
    """
    if not unreadable or reading.skip_unreadable:
        return []
    from torchmetrics_dna.images.sets import left_out_in_words

    line = f"Failed: {left_out_in_words(unreadable)}, so not all were checked. Use --skip-unreadable to allow this."
    return [Gate("--skip-unreadable", 0, False, [line])]


def _judge_outliers(compared: Mapping[str, Comparison], _limit: float, _level: float) -> Outcome:
    """Check that no image is flagged as an outlier."""
    noun = next(iter(compared.values())).noun
    return _outliers_of_sets({name: comparison.outliers for name, comparison in compared.items()}, noun)


def _outliers_of_sets(sets: Mapping[str, Outliers | None], noun: str) -> Outcome:
    """Check that no set has outliers; there is a line for each set that has some, or one line if none has."""
    failed: list[str] = []
    # Sets with too few images to flag others than those of a single colour.
    small_sets: list[str] = []
    for name, outliers in sets.items():
        if outliers is None:
            raise ValueError(_NO_OUTLIERS.format(name))
        if outliers.is_alone and outliers.too_few:
            raise ValueError(
                f"Option --fail-if-outliers without a reference needs at least {outliers.too_few} {noun}s, but {name}"
                " has fewer"
            )
        if outliers.is_alone and not outliers.has_properties:
            raise ValueError(
                f"Option --fail-if-outliers without a reference needs grey or RGB images, but {name} has others"
            )
        flagged = outliers.surely_flagged
        if flagged:
            counted = images_in_words(len(flagged), "outlier")
            failed.append(f"Failed: {name} has {counted}. The most unusual {noun} is {flagged[0]}.")
        if outliers.too_few:
            small_sets.append(name)
    if failed:
        return False, failed
    passed = f"Passed: no {noun} of {', '.join(sets)} is flagged as an outlier."
    if small_sets:
        passed += (
            f" The reference is so small that in {', '.join(small_sets)} only {noun}s of a single {value_of(noun)} can"
            " be flagged."
        )
    return True, [passed]


_JUDGES = {
    "fail_above": _judge_distance,
    "fail_unless_below": _judge_closeness,
    "fail_if_different": _judge_difference,
    "fail_if_outliers": _judge_outliers,
}
