"""Exit codes that say what a comparison found, for scripts and CI."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from torchmetrics_dna.cli.console import talk
from torchmetrics_dna.files.visible import number

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torchmetrics_dna.sets.comparison import Comparison


def check_gates(found: Mapping[str, Comparison], fail_above: float | None, level: float | None) -> None:
    """End with code 1, and a line that says why, if a set is too far or differs.

    Args:
        found: The comparison of each set, by name.
        fail_above: The largest distance that passes: without noise, where folds of images say what that is.
        level: Fail for a p-value that is not above it; None to ask for no test.

    Raises:
        typer.Exit: With code 1.
        ValueError: If there is no test to ask.

    """
    failed = [line for name, one in found.items() for line in _reasons(name, one, fail_above, level)]
    for line in failed:
        talk.print(line)
    if failed:
        raise typer.Exit(1)


def _reasons(name: str, one: Comparison, fail_above: float | None, level: float | None) -> list[str]:
    distance = next(record.name for record in one.records() if not record.higher_is_better)
    debiased, told = one.debiased(distance), []
    value = one.value(distance) if debiased is None else debiased
    if fail_above is not None and value is not None and value > fail_above:
        what = distance if debiased is None else f"{distance} without noise"
        told.append(f"Failed: {what} of {name} is {number(value)}, above {fail_above:g}.")
    if level is not None:
        if one.p_value is None:
            raise ValueError(
                f"Option --fail-if-different takes a test, but there is none of {name}; keep folds (--folds 20) on both"
                " sides, with images in at least 5 of them"
            )
        if one.p_value <= level:
            told.append(f"Failed: {name} differs, p = {one.p_value:.2g}, not above {level:g}.")
    return told
