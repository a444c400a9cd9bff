"""Printing: results on stdout, messages and progress on stderr."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import rich.console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Column, Table
from rich.text import Text
from typing_extensions import override

from torchmetrics_dna.files.visible import number, visible

if TYPE_CHECKING:
    from rich.console import JustifyMethod

    from torchmetrics_dna.files.tables import Cell
    from torchmetrics_dna.images.reading import Progress as Report

# Suffixes of figures that matplotlib writes.
_FIGURES = (".png", ".pdf", ".svg", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")
_DOCUMENTS = (".html", ".htm", ".json", ".csv", ".md", ".tex", ".txt")
# Seconds between lines of progress.
_EVERY = 30
# Columns if stdout is no terminal: lines are not wrapped, so that names can be searched for.
WIDE = 1000
# torchrun sets all of these. A shell or a container of another program may set one or two of them.
_OF_TORCHRUN = {"RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}
# Number of processes of this command. Only the first one prints, and it reports the progress of its own share.
PROCESSES = int(os.environ["WORLD_SIZE"]) if os.environ.keys() >= _OF_TORCHRUN else 1
_SHARE = f" (first of {PROCESSES} processes)" if PROCESSES > 1 else ""
_QUIET = PROCESSES > 1 and os.environ.get("RANK") != "0"


class Console(rich.console.Console):
    """Console that prints text from outside literally: no markup, no control characters."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, quiet=_QUIET, **settings)
        if not self.is_terminal and "COLUMNS" not in os.environ:
            self.width = WIDE

    @override
    def render_str(self, text: str, **settings: Any) -> Text:
        return super().render_str(visible(text), **settings)


out = Console()
talk = Console(stderr=True)


@contextmanager
def progress() -> Iterator[Report]:
    """Report progress of each source on stderr: bars in a terminal, else lines at intervals and at the end."""
    if not talk.is_terminal:
        yield _lines()
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bars = Progress(*columns, console=talk, disable=_QUIET)
    tasks: dict[str, TaskID] = {}

    def report(source: str, done: int, total: int | None) -> None:
        # Bars are started here, since stopping them without any task prints an empty line.
        bars.start()
        if source not in tasks or bars.tasks[tasks[source]].finished:
            tasks[source] = bars.add_task(visible(source) + _SHARE, total=total)
        bars.update(tasks[source], completed=done, total=total)

    try:
        yield report
    finally:
        if tasks:
            bars.stop()


def _lines() -> Report:
    # Time of the last line of each source.
    last_reported: dict[str, float] = {}

    def report(source: str, done: int, total: int | None) -> None:
        now = monotonic()
        if done == total or now >= last_reported.setdefault(source, now) + _EVERY:
            last_reported[source] = now
            far = "so far" if total is None else f"of {total:,}"
            talk.print(f"{source}: {done:,} {far}{_SHARE}", soft_wrap=True)

    return report


def interrupted(error: BaseException | None) -> bool:
    """Return whether an error is Ctrl-C, or was raised while handling it, such as by a worker that exited first."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


def print_unreadable(lines: Sequence[str]) -> None:
    """Print the images that were left out, if any."""
    from torchmetrics_dna.images.sets import left_out_in_words

    if lines:
        talk.print(f"{left_out_in_words(lines)}:")
    for line in lines:
        talk.print(f"  {line}", soft_wrap=True)


def check_sources(*sources: str) -> None:
    """Raise FileNotFoundError for a path that does not exist, before anything slow is imported.

    Addresses, and other texts with a colon, are checked when they are opened. So are patterns that match nothing.
    """
    from torchmetrics_dna.images.paths import expand, missing

    for source in sources:
        if ":" in source:
            continue
        for path in expand(source):
            if os.path.lexists(path):
                continue
            from torchmetrics_dna.dna.vdna_files import vdna_pair

            if vdna_pair(path) is None:
                raise missing(path)


def check_output(path: Path | str, *suffixes: str) -> None:
    """Check the name of an output file, and print if it will be replaced, before any work.

    Args:
        path: Name of the file.
        suffixes: Suffixes that the name may have.

    Raises:
        FileNotFoundError: If there is no such folder or bucket.
        ValueError: If the file has another suffix, or is a folder.

    """
    from torchmetrics_dna.images.paths import check_writable

    if not str(path).lower().endswith(suffixes) or Path(path).is_dir():
        expected = f"Expected the name of a file that ends in {' or '.join(suffixes)}"
        raise ValueError(f"{expected}, but got {str(path)!r}{_other_option(path, suffixes)}")
    check_writable(path)
    if Path(path).exists():
        talk.print(f"Replacing {path}")


def _other_option(path: Path | str, suffixes: Sequence[str]) -> str:
    """Return a hint at the option that takes a file which is not of these suffixes; empty if there is none."""
    if str(path) == "-":
        return "; without -o, the result is printed"
    suffix = Path(path).suffix.lower()
    takes_figures = _FIGURES[0] in suffixes
    if takes_figures and suffix in _DOCUMENTS:
        return "; use -o of compare or rank for pages and tables"
    if not takes_figures and suffix in _FIGURES:
        return "; use --plot for figures"
    return ""


def check_figure(path: Path) -> None:
    """Check the name of a figure like :func:`check_output`.

    Raises:
        ModuleNotFoundError: If matplotlib is missing.

    """
    from torchmetrics_dna.extras import require

    require("matplotlib", "plot")
    check_output(path, *_FIGURES)


def rich_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    title: str,
    compact: bool = False,
    bold: Collection[tuple[int, int]] = (),
) -> Table:
    """Make a table of words (str), counts (int) and figures (float, None for a dash, or words for some)."""
    style: dict[str, Any] = {"box": None, "padding": (0, 1, 0, 0)} if compact else {}
    result = Table(title=title, title_justify="left", **style)
    cells = []
    for header, values in zip(columns, zip(*rows, strict=True), strict=True):
        are_figures = any(not isinstance(value, (str, int)) for value in values)
        if are_figures:
            # Headers wrap at spaces, so a column is as wide as the longest word.
            cells.append(numbers(values, max(map(len, header.split()), default=0)))
        else:
            cells.append([f"{value:,}" if isinstance(value, int) else str(value) for value in values])
        side: JustifyMethod = "right" if isinstance(values[0], int) and not are_figures else "left"
        # Long cells are wrapped, not cut.
        result.add_column(header, justify=side, overflow="fold", no_wrap=compact and not result.columns)
    for i, row in enumerate(zip(*cells, strict=True)):
        result.add_row(*(Text(visible(text), "bold") if (i, j) in bold else text for j, text in enumerate(row)))
    return result


def listing(rows: Iterable[Sequence[str]]) -> Table:
    """Make a table of two columns without a header."""
    result = Table(Column(overflow="fold"), Column(overflow="fold"), show_header=False, box=None)
    for row in rows:
        result.add_row(*row)
    return result


def numbers(values: Sequence[float | str | None], width: int = 0) -> list[str]:
    """Format figures with three significant digits, aligned at the decimal point and padded to at least ``width``.

    Words are as they are: a long one must not widen all other cells.

    Example:
        >>> numbers([15.0, 0.1468, None, "at most 0.1"])
        ['15.0  ', ' 0.147', ' -    ', 'at most 0.1']

    """
    # Texts of the figures, before and from the decimal point on, by place.
    parts: dict[int, tuple[str, str]] = {}
    for place, value in enumerate(values):
        if isinstance(value, str):
            continue
        text = "0" if value == 0 else number(value, zeros=True)
        integer, point, fraction = text.partition(".")
        parts[place] = (integer, point + fraction)
    longest_fraction = max((len(fraction) for _, fraction in parts.values()), default=0)
    padded = {place: integer + fraction.ljust(longest_fraction) for place, (integer, fraction) in parts.items()}
    for text in padded.values():
        width = max(width, len(text))
    return [padded[place].rjust(width) if place in padded else str(value) for place, value in enumerate(values)]
