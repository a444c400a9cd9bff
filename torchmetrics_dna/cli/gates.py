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

    # Limits of gates, by argument name, such as "fail_above". The limit of a gate that was not requested is None.
    Limits = Mapping[str, float | None]
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
    """Result of a gate, which is a check that decides the exit code of a command.

    Attributes:
        option: Option that requested the gate.
        limit: Limit of the gate, or the level of its test.
        passed: Whether the gate passed.
        lines: Lines to print. There is one line if the gate passed, else one for each set that failed.

    """

    option: str
    limit: float
    passed: bool
    lines: list[str]


class _Outcome(NamedTuple):
    """Whether all sets pass a gate, and the lines to print."""

    passed: bool
    lines: list[str]


def check_limits(limits: Limits, metrics: Sequence[str] | None, options: Mapping[str, Any]) -> None:
    """Check the limits of gates, and that the gates can be used with the other options.

    Args:
        limits: Limits of the gates, see :func:`gates_of`.
        metrics: Names of the metrics.
        options: Values of the other options by argument name.

    Raises:
        ValueError: If a limit is out of range, the metrics include no distance that a gate needs, or an option excludes
            a gate.

    """
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
    """Check before an image is read that the sets can have the results that the gates need.

    Args:
        opened: The opened sets.
        limits: Limits of the gates, see :func:`gates_of`.

    Raises:
        ValueError: If a gate needs a test, an interval or outlier scores that a set can't have.

    """
    from torchmetrics_dna.functional.permutation import NUM_RELABELINGS

    # The reference and the held-out set are not checked.
    checked_sets = [k for k, name in enumerate(opened.names) if k > 0 and name != opened.held_out]
    for k in checked_sets:
        _check_evidence(opened, k, limits)
        if limits["fail_if_outliers"] is not None:
            _check_outlier_scores(opened, k)
    level = limits["fail_if_different"]
    if level is not None:
        least_p = 1 / (1 + NUM_RELABELINGS)
        _check_count(len(checked_sets), least_p, level)


def _check_evidence(opened: Opened, k: int, limits: Limits) -> None:
    """Raise ValueError if set ``k`` can have no test or no interval, but a gate needs it."""
    have_tests: list[bool] = []
    have_intervals: list[bool] = []
    for sides in opened.networks:
        for distance in sides.plan.distances:
            has_test, has_interval = sides.evidence_for(distance, k)
            have_tests.append(has_test)
            # Metrics whose higher values are better are no distances, so they have no limit.
            if not distance.higher_is_better:
                have_intervals.append(has_interval)
    # The limit is that of the first distance.
    has_interval_of_first = bool(have_intervals) and have_intervals[0]
    if limits["fail_unless_below"] is not None and not has_interval_of_first:
        raise ValueError(_NO_INTERVAL.format(opened.names[k]))
    if limits["fail_if_different"] is not None and not any(have_tests):
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
    """Check all sets by each requested gate, and return the gates.

    Args:
        compared: The comparison of each set, by name.
        level: Significance level of the tests.
        limits: Limits by argument name. A gate is requested if it has a limit other than None:

            - ``fail_above``: the largest distance that passes. The distance is debiased if there are folds of images.
            - ``fail_unless_below``: the limit that each distance must be significantly below.
            - ``fail_if_different``: the significance level. The p-values are corrected for the number of sets.
            - ``fail_if_outliers``: any number, since this gate has no limit.

    Raises:
        ValueError: If a gate needs a test, an interval or outlier scores that a set does not have.

    """
    gates = []
    for name, judge in _JUDGES.items():
        limit = limits.get(name)
        if limit is not None:
            outcome = judge(compared, limit, level)
            gates.append(Gate(option_name(name), limit, outcome.passed, outcome.lines))
    return gates


def _check_count(count: int, least_p: float, level: float) -> None:
    """Raise ValueError if the tests can't detect that a single set differs.

    Args:
        count: Number of sets that are tested.
        least_p: Smallest p-value that the tests can give.
        level: Significance level.

    """
    if least_p * count > level:
        raise ValueError(
            f"Option --fail-if-different can't detect that one of {count} sets differs: the smallest possible p is"
            f" {least_p:.2g}, or {min(1, least_p * count):.2g} after Holm's correction, which is above {level:g}; pass"
            " fewer sets at a time"
        )


def end_by(gates: Sequence[Gate]) -> None:
    """Print whether each gate passed, and exit with code 1 if a gate failed."""
    for gate in gates:
        for line in gate.lines:
            talk.print(line, soft_wrap=True)
    if not all(gate.passed for gate in gates):
        raise typer.Exit(1)


def _distance_of(compared: Mapping[str, Comparison]) -> str:
    """Return the name of the first distance, which all comparisons share."""
    first = next(iter(compared.values()))
    return next(name for name, result in first.items() if not result.distance.higher_is_better)


def _judge_closeness(compared: Mapping[str, Comparison], limit: float, level: float) -> _Outcome:
    """Check that the distance of each set is significantly below a limit.

    Each set is tested at the full level, since all have to pass.
    """
    # This module imports torch, which takes seconds.
    from torchmetrics_dna.reporting.figures import debiased_in_words

    distance = _distance_of(compared)
    p_values = _p_values_below(compared, distance, limit)
    statements: dict[str, str] = {}
    for name, comparison in compared.items():
        value = number(debiased_in_words(comparison[distance].overall))
        statements[name] = f"debiased {distance} of {name} is {value}"
    failed: list[str] = []
    for name, p_value in p_values.items():
        if p_value > level:
            failed.append(
                f"Failed: {statements[name]}, not significantly below {limit:g}"
                f" ({p_figure(p_value, 'p')}, level {level:g})."
            )
    if failed:
        return _Outcome(False, failed)
    least_certain = max(p_values, key=p_values.__getitem__)
    p_text = p_figure(p_values[least_certain], "p")
    if len(compared) > 1:
        p_text += f", the largest of {len(compared)}"
    passed = f"Passed: {statements[least_certain]}, significantly below {limit:g} ({p_text}, level {level:g})."
    return _Outcome(True, [passed])


def _p_values_below(compared: Mapping[str, Comparison], distance: str, limit: float) -> dict[str, float]:
    """Return for each set the p-value of the test that its distance is below a limit.

    Raises:
        ValueError: If a set is not independent of the reference, or has no interval.

    """
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
    return p_values


def _judge_distance(compared: Mapping[str, Comparison], limit: float, _level: float) -> _Outcome:
    """Check that the distance of each set is not above a limit."""
    # This module imports torch, which takes seconds.
    from torchmetrics_dna.reporting.figures import debiased_in_words

    distance = _distance_of(compared)
    values: dict[str, float] = {}
    statements: dict[str, str] = {}
    for name, comparison in compared.items():
        result = comparison[distance]
        # Debiased values assume independent sets.
        if comparison.shares_images or result.debiased is None:
            values[name] = result.value
            statements[name] = f"{distance} of {name} is {number(result.value)}"
        else:
            values[name] = result.debiased
            statements[name] = f"debiased {distance} of {name} is {number(debiased_in_words(result.overall))}"
    # A distance that is NaN fails, too: it is not below the limit.
    failed = [f"Failed: {statements[name]}, above {limit:g}." for name, value in values.items() if not value <= limit]
    if failed:
        return _Outcome(False, failed)
    farthest = max(values, key=values.__getitem__)
    statement = statements[farthest]
    if len(compared) > 1:
        statement += f" (the largest of {len(compared)})"
    return _Outcome(True, [f"Passed: {statement}, not above {limit:g}."])


def _judge_difference(compared: Mapping[str, Comparison], level: float, _level_of_tests: float) -> _Outcome:
    """Check that no set differs significantly."""
    p_values = _p_values_of_differences(compared, level)
    label = "p (Holm)" if len(p_values) > 1 else "p"
    failed: list[str] = []
    for name, p_value in p_values.items():
        if p_value <= level:
            failed.append(f"Failed: {name} differs significantly ({p_figure(p_value, label)}, level {level:g}).")
    if failed:
        return _Outcome(False, failed)
    least_certain = min(p_values, key=p_values.__getitem__)
    p_text = p_figure(p_values[least_certain], label)
    if len(compared) > 1:
        p_text += f", the smallest of {len(compared)}"
    return _Outcome(True, [f"Passed: {least_certain} does not differ significantly ({p_text}, level {level:g})."])


def _p_values_of_differences(compared: Mapping[str, Comparison], level: float) -> dict[str, float]:
    """Return the p-value that each set differs, after Holm's correction.

    Raises:
        ValueError: If a set has no test, or the tests can't detect that a single set differs.

    """
    # This module imports torch, which takes seconds.
    from torchmetrics_dna.functional.permutation import holm

    # Smallest p-value that the test of every set can give.
    least_p = 0.0
    p_values: dict[str, float | None] = {}
    for name, comparison in compared.items():
        if comparison.p_value_of_any is None:
            raise ValueError(_NO_TEST.format(name))
        least_p = max(least_p, comparison.least_p_value or 0)
        p_values[name] = comparison.p_value_of_any
    _check_count(len(compared), least_p, level)
    return {name: p for name, p in holm(p_values).items() if p is not None}


def gate_of_ranking(ranking: Ranking, name: str) -> Gate:
    """Return the gate of a ranking, which fails if an image is flagged as an outlier.

    Args:
        ranking: The ranking.
        name: Name of the set in the printed line.

    Raises:
        ValueError: If some images are in the reference, or the images have no outlier scores.

    """
    num_in_reference = _num_in_reference(ranking)
    if num_in_reference and ranking.outliers is not None:
        raise ValueError(
            f"Option --fail-if-outliers needs {ranking.noun}s that are not in the reference, but {num_in_reference:,}"
            f" of {len(ranking.names):,} are; without --reference, each is compared with the others"
        )
    outcome = _outcome_of_outliers({name: ranking.outliers}, ranking.noun)
    return Gate("--fail-if-outliers", 0, outcome.passed, outcome.lines)


def _num_in_reference(ranking: Ranking) -> int:
    """Return the number of ranked images that are in the reference; 0 if images are compared with each other."""
    if ranking.own is None or ranking.is_alone:
        return 0
    return int(ranking.own.sum())


def gate_of_reading(unreadable: Sequence[str], reading: Reading) -> list[Gate]:
    """Return a gate that fails, since unreadable images were not checked.

    The list is empty if all images could be read, or if ``--skip-unreadable`` was passed.
    """
    if not unreadable or reading.skip_unreadable:
        return []
    from torchmetrics_dna.images.sets import left_out_in_words

    line = f"Failed: {left_out_in_words(unreadable)}, so not all were checked. Use --skip-unreadable to allow this."
    return [Gate("--skip-unreadable", 0, False, [line])]


def _judge_outliers(compared: Mapping[str, Comparison], _limit: float, _level: float) -> _Outcome:
    """Check that no image is flagged as an outlier."""
    noun = next(iter(compared.values())).noun
    outliers_by_set = {name: comparison.outliers for name, comparison in compared.items()}
    return _outcome_of_outliers(outliers_by_set, noun)


def _outcome_of_outliers(outliers_by_set: Mapping[str, Outliers | None], noun: str) -> _Outcome:
    """Check that no image of any set is flagged as an outlier.

    Args:
        outliers_by_set: The outliers of each set; None for a set without outlier scores.
        noun: Noun for one input, such as "image".

    Raises:
        ValueError: If a set has no outlier scores, or they can't decide.

    """
    failed: list[str] = []
    # The references of these sets are so small that only images of a single colour can be flagged.
    small_sets: list[str] = []
    for name, outliers in outliers_by_set.items():
        if outliers is None:
            raise ValueError(_NO_OUTLIERS.format(name))
        if outliers.is_alone:
            _check_without_reference(outliers, name, noun)
        flagged = outliers.surely_flagged
        if flagged:
            counted = images_in_words(len(flagged), "outlier")
            failed.append(f"Failed: {name} has {counted}. The most unusual {noun} is {flagged[0]}.")
        if outliers.too_few:
            small_sets.append(name)
    if failed:
        return _Outcome(False, failed)
    passed = f"Passed: no {noun} of {', '.join(outliers_by_set)} is flagged as an outlier."
    if small_sets:
        passed += (
            f" The reference is so small that in {', '.join(small_sets)} only {noun}s of a single {value_of(noun)} can"
            " be flagged."
        )
    return _Outcome(True, [passed])


def _check_without_reference(outliers: Outliers, name: str, noun: str) -> None:
    """Raise ValueError if a set is too small to find outliers without a reference, or has no image properties."""
    if outliers.too_few:
        raise ValueError(
            f"Option --fail-if-outliers without a reference needs at least {outliers.too_few} {noun}s, but {name}"
            " has fewer"
        )
    if not outliers.has_properties:
        raise ValueError(
            f"Option --fail-if-outliers without a reference needs grey or RGB images, but {name} has others"
        )


# Functions of the comparisons, the limit of the gate and the level of tests, by argument name.
_JUDGES = {
    "fail_above": _judge_distance,
    "fail_unless_below": _judge_closeness,
    "fail_if_different": _judge_difference,
    "fail_if_outliers": _judge_outliers,
}
