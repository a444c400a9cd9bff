"""Exit codes that say what a comparison found, for scripts and CI."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from torchmetrics_dna.cli.console import talk
from torchmetrics_dna.files.visible import number, p_in_words

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torchmetrics_dna.comparisons.comparison import Comparison


def check_gates(found: Mapping[str, Comparison], fail_above: float | None, level: float | None) -> None:
    """Say of each gate that was asked for whether it passes; end with code 1 if a set is too far or differs.

    Args:
        found: The comparison of each set, by name.
        fail_above: The largest distance that passes: without noise, where folds of images say what that is.
        level: Fail for a p-value that is not above it, corrected for the number of sets; None to ask for no test.

    Raises:
        typer.Exit: With code 1.
        ValueError: If there is no test to ask, or it could not find a difference in one of so many sets.

    """
    lines = [] if fail_above is None else _too_far(found, fail_above)
    lines += [] if level is None else _different(found, level)
    for line in lines:
        talk.print(line, soft_wrap=True)
    if any(line.startswith("Failed") for line in lines):
        raise typer.Exit(1)


def _too_far(found: Mapping[str, Comparison], limit: float) -> list[str]:
    first = next(iter(found.values()))
    distance = next(name for name, result in first.items() if not result.distance.higher_is_better)
    figures, lines = dict[str, float](), dict[str, str]()
    for name, one in found.items():
        result = one[distance]
        debiased = None if one.shares_images else result.debiased
        value = result.value if debiased is None else debiased
        shown = number(value if debiased is None else result.overall.debiased_shown)
        figures[name] = value
        lines[name] = f"{distance}{'' if debiased is None else ' without noise'} of {name} is {shown}"
    failed = [f"Failed: {lines[name]}, above {limit:g}." for name, value in figures.items() if value > limit]
    largest = max(figures, key=figures.__getitem__)
    return failed or [f"Passed: {lines[largest]}{_of('largest', found)}, not above {limit:g}."]


def _different(found: Mapping[str, Comparison], level: float) -> list[str]:
    from torchmetrics_dna.functional.permutation import holm

    least = 0.0  # that p of one set may be
    for name, one in found.items():
        if one.p_value is None:
            raise ValueError(
                f"Option --fail-if-different takes a test, but there is none of {name}; keep folds (--folds 20) on both"
                " sides, with images in at least 5 of them"
            )
        least = max(least, one.least_p_value or 0)
    if least * len(found) > level:
        raise ValueError(
            f"Option --fail-if-different can't find one of {len(found)} that differs: its p would be {least:.2g} at the"
            f" least, {min(1, least * len(found)):.2g} after Holm's correction, above {level:g}; give fewer at a time"
        )
    corrected = holm({name: one.p_value for name, one in found.items()})
    p = {name: value for name, value in corrected.items() if value is not None}
    told = {
        name: f"p{' (Holm)' * (len(found) > 1)} {p_in_words(value).removeprefix('p ')}" for name, value in p.items()
    }
    smallest = min(p, key=p.__getitem__)
    failed = [f"Failed: {name} differs, {told[name]}, not above {level:g}." for name in p if p[name] <= level]
    passed = f"Passed: no difference of {smallest} is shown, {told[smallest]}{_of('least', found)}, above {level:g}."
    return failed or [passed]


def _of(which: str, found: Mapping[str, Comparison]) -> str:
    """That it is the figure that comes nearest to failing, where there are several."""
    return f" (the {which} of {len(found)})" if len(found) > 1 else ""
