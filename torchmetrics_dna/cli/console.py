"""What the command line says: results on stdout, talk and progress on stderr."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torchmetrics_dna.measure import Progress as Report

out, talk = Console(highlight=False), Console(stderr=True, highlight=False)


@contextmanager
def progress(silent: bool = False) -> Iterator[Report]:
    """A bar on stderr for each source that reports."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=talk, disable=silent) as bars:
        tasks: dict[str, TaskID] = {}

        def report(source: str, done: int, total: int) -> None:
            if source not in tasks or bars.tasks[tasks[source]].finished:
                tasks[source] = bars.add_task(source, total=total)
            bars.update(tasks[source], completed=done)

        yield report


def print_json(value: Any) -> None:
    """One json document on stdout."""
    out.print_json(json.dumps(value))


def print_unreadable(lines: Sequence[str]) -> None:
    """Say which images were left out, if any."""
    if lines:
        talk.print(f"{len(lines)} images were left out:")
    for line in lines:
        talk.print(f"  {line}", markup=False)


def table(*columns: str, title: str, left: int = 1) -> Table:
    """A table whose columns beyond the first ones hold numbers."""
    made = Table(*columns, title=title, title_justify="left")
    for column in made.columns[left:]:
        column.justify = "right"
    return made


def number(value: float | None) -> str:
    """Four significant digits, or a dash."""
    return "-" if value is None else f"{value:.4g}"
