"""Print results on stdout, talk and progress on stderr."""

from __future__ import annotations

import csv
import json
import os
import sys
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from torchmetrics_dna.files.visible import number, visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rich.text import Text

    from torchmetrics_dna.images.base import Progress as Report

_FIGURES = (".png", ".pdf", ".svg", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")  # that matplotlib writes
_EVERY = 30  # seconds between lines of progress
_WIDE = 1000  # columns of what is no terminal: a file has no edge, and names are looked for as they are
PROCESSES = int(os.environ.get("WORLD_SIZE", "1"))  # of this command, as torchrun says
_QUIET = PROCESSES > 1 and os.environ.get("RANK") != "0"  # the first process speaks


class _Console(Console):
    """A console that shows text from outside as it is: no markup, no control characters."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, quiet=_QUIET, **settings)
        if not self.is_terminal and "COLUMNS" not in os.environ:
            self.width = _WIDE

    def render_str(self, text: str, **settings: Any) -> Text:
        return super().render_str(visible(text), **settings)


out, talk = _Console(), _Console(stderr=True)


@contextmanager
def progress() -> Iterator[Report]:
    """Say on stderr how far each source is: a bar in a terminal; elsewhere a line now and then, and one at its end."""
    if not talk.is_terminal:
        yield _lines()
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bars = Progress(*columns, console=talk, disable=_QUIET)
    tasks: dict[str, TaskID] = {}

    def report(source: str, done: int, total: int | None) -> None:
        bars.start()  # not before there is one: stopping without any prints an empty line
        if source not in tasks or bars.tasks[tasks[source]].finished:
            tasks[source] = bars.add_task(visible(source), total=total)
        bars.update(tasks[source], completed=done, total=total)

    try:
        yield report
    finally:
        if tasks:
            bars.stop()


def _lines() -> Report:
    told: dict[str, float] = {}  # when a source was spoken of last

    def report(source: str, done: int, total: int | None) -> None:
        now = monotonic()
        if done == total or now >= told.setdefault(source, now) + _EVERY:
            told[source] = now
            far = "so far" if total is None else f"of {total:,}"
            talk.print(f"{source}: {done:,} {far}", soft_wrap=True)

    return report


def interrupted(error: BaseException | None) -> bool:
    """Whether this is Ctrl-C, or what went wrong as work ended for it, such as a worker that was gone first."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


def print_json(value: Any) -> None:
    """Print one json document on stdout, in ASCII."""
    out.print_json(json.dumps(value), ensure_ascii=True)


def print_csv(rows: Sequence[dict[str, Any]]) -> None:
    """Print comma-separated values on stdout; no cell begins as a spreadsheet's formula does."""
    if _QUIET:
        return
    writer = csv.DictWriter(sys.stdout, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: _cell(value) if isinstance(value, str) else value for key, value in row.items()})


def print_markdown(header: Sequence[str], rows: Sequence[Sequence[Any]], sentence: str) -> None:
    """Print a sentence and a Markdown table on stdout."""
    lines = [header, ["---"] + ["--:"] * (len(header) - 1)]
    lines += [[number(cell) if isinstance(cell, (float, type(None))) else cell for cell in row] for row in rows]
    out.print(sentence, soft_wrap=True)
    out.print()
    for line in lines:
        cells = (visible(str(cell)).replace("|", "&#124;") for cell in line)
        out.print(f"| {' | '.join(cells)} |", soft_wrap=True)


def _cell(text: str) -> str:
    return ("'" if text.startswith(("=", "+", "-", "@")) else "") + visible(text)


def print_unreadable(lines: Sequence[str]) -> None:
    """Say what was left out, if anything."""
    from torchmetrics_dna.images.base import left_out_in_words

    if lines:
        talk.print(f"{left_out_in_words(lines)}:")
    for line in lines:
        talk.print(f"  {line}", soft_wrap=True)


def check_output(path: Path | str, *suffixes: str) -> None:
    """Say which file will be replaced, before any work.

    Raises:
        FileNotFoundError: If there is no folder or bucket to write to.
        ValueError: If the name does not end as that of such a file, or is that of a folder.

    """
    from torchmetrics_dna.images.addresses import check_writable

    if not str(path).lower().endswith(suffixes) or Path(path).is_dir():
        raise ValueError(f"Expected the name of a file that ends in {' or '.join(suffixes)}, but got {str(path)!r}")
    check_writable(path)
    if Path(path).exists():
        talk.print(f"This replaces {path}")


def check_figure(path: Path) -> None:
    """As :func:`check_output`, for a figure; ModuleNotFoundError if matplotlib is missing."""
    from torchmetrics_dna.extras import require

    require("matplotlib", "plot")
    check_output(path, *_FIGURES)


def table(columns: Sequence[str], rows: Sequence[Sequence[str | float | None]], title: str) -> Table:
    """A table of words (str), counts (int) and figures (float, None for a dash, or words for some)."""
    made = Table(*columns, title=title, title_justify="left")
    cells = []
    for column, values in zip(made.columns, zip(*rows, strict=True), strict=True):
        if any(not isinstance(value, (str, int)) for value in values):
            cells.append(numbers(values, max(map(len, str(column.header).split()), default=0)))  # which may be broken
        else:
            column.justify = "right" if isinstance(values[0], int) else "left"
            cells.append([f"{value:,}" if isinstance(value, int) else str(value) for value in values])
    for row in zip(*cells, strict=True):
        made.add_row(*row)
    return _uncut(made)


def listing(rows: Iterable[Sequence[str | Text]]) -> Table:
    """Rows without a header."""
    made = Table(show_header=False, box=None)
    for row in rows:
        made.add_row(*row)
    return _uncut(made)


def _uncut(made: Table) -> Table:
    for column in made.columns:
        column.overflow = "fold"  # what is too long for a terminal goes on in the next line
    return made


def numbers(values: Sequence[float | str | None], width: int = 0) -> list[str]:
    """Four significant digits, a dash or words, equally long and at least so wide, decimal points below each other.

    Example:
        >>> numbers([15.0, 0.1468, None])
        ['15.00  ', ' 0.1468', ' -     ']

    """
    parts = [
        (
            number(value) if value is None or isinstance(value, str) else f"{value:#.4g}".rstrip(".") if value else "0"
        ).partition(".")
        for value in values
    ]
    most = max(len(point + fraction) for _, point, fraction in parts)
    padded = [whole + (point + fraction).ljust(most) for whole, point, fraction in parts]
    width = max(width, *map(len, padded))
    return [text.rjust(width) for text in padded]
