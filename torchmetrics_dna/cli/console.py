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

# Suffixes of figures that matplotlib writes, and of pages and tables.
_FIGURES = (".png", ".pdf", ".svg", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")
_DOCUMENTS = (".html", ".htm", ".json", ".csv", ".md", ".tex", ".txt")
# Seconds between two lines of progress, if stderr is no terminal.
_EVERY = 30
# Width in columns if stdout is no terminal. Lines are then not wrapped, so that names in them can be searched for.
WIDE = 1000
# Environment variables that torchrun sets. Other programs may set one or two of them, but not all.
_OF_TORCHRUN = {"RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}
# Number of processes of this command. Only the first process prints. Its progress is that of its own share of images.
PROCESSES = int(os.environ["WORLD_SIZE"]) if os.environ.keys() >= _OF_TORCHRUN else 1
_SHARE = f" (first of {PROCESSES} processes)" if PROCESSES > 1 else ""
_QUIET = PROCESSES > 1 and os.environ.get("RANK") != "0"


class Console(rich.console.Console):
    """Console that prints texts, such as file names, literally: without markup and control characters."""

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
    """Show the progress of each source on stderr while the block runs.

    In a terminal, progress is shown as bars. Otherwise, lines are printed at intervals and at the end.

    Yields:
        Callback that reports the progress of a source.

    """
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
    """Return a callback that prints progress as lines."""
    # Time of the last line of each source.
    last_reported: dict[str, float] = {}

    def report(source: str, done: int, total: int | None) -> None:
        now = monotonic()
        if done == total or now >= last_reported.setdefault(source, now) + _EVERY:
            last_reported[source] = now
            goal = "so far" if total is None else f"of {total:,}"
            talk.print(f"{source}: {done:,} {goal}{_SHARE}", soft_wrap=True)

    return report


def interrupted(error: BaseException | None) -> bool:
    """Return whether an error is an interrupt by Ctrl-C, or was raised while an interrupt was handled.

    For example, a worker process may exit before the main process handles the interrupt.
    """
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


def print_unreadable(lines: Sequence[str]) -> None:
    """Print one line for each image that could not be read, if there are any."""
    from torchmetrics_dna.images.sets import left_out_in_words

    if lines:
        talk.print(f"{left_out_in_words(lines)}:")
    for line in lines:
        talk.print(f"  {line}", soft_wrap=True)


def check_sources(*sources: str) -> None:
    """Check that paths exist, before modules are imported that take seconds.

    Texts with a colon, such as addresses, are not checked here, and neither are patterns that match nothing. They are
    checked when they are opened.

    Raises:
        FileNotFoundError: If a path does not exist.

    """
    from torchmetrics_dna.images.paths import expand, missing

    for source in sources:
        if ":" in source:
            continue
        for path in expand(source):
            if not _exists(path):
                raise missing(path)


def _exists(path: str) -> bool:
    """Return whether a path exists, or is the common stem of two files of vdna that exist."""
    if os.path.lexists(path):
        return True
    from torchmetrics_dna.dna.vdna_files import vdna_pair

    return vdna_pair(path) is not None


def check_output(path: Path | str, *suffixes: str) -> None:
    """Check the name of an output file before any work, and print if an existing file will be replaced.

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
    """Return a hint for an output file with another suffix: the option that accepts it.

    Args:
        path: Name of the file.
        suffixes: Suffixes that were expected.

    Returns:
        The hint, which begins with a semicolon. It is empty if no option accepts the file.

    """
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
    *,
    compact: bool = False,
    bold: Collection[tuple[int, int]] = (),
) -> Table:
    """Make a table of texts, counts and other numbers.

    Args:
        columns: Headers of the columns.
        rows: Cells of one or more rows. A column of floats may also hold None, shown as a dash, and texts.
        title: Title of the table.
        compact: Whether to leave out the borders.
        bold: Row and column of each cell to print in bold.

    """
    style: dict[str, Any] = {"box": None, "padding": (0, 1, 0, 0)} if compact else {}
    table = Table(title=title, title_justify="left", **style)
    values_of_columns = list(zip(*rows, strict=True))
    texts_of_columns = []
    for j, (header, values) in enumerate(zip(columns, values_of_columns, strict=True)):
        texts_of_columns.append(_formatted(header, values))
        # Long cells are wrapped, not cut.
        table.add_column(header, justify=_alignment(values), overflow="fold", no_wrap=compact and j == 0)
    texts_of_rows = zip(*texts_of_columns, strict=True)
    for i, texts in enumerate(texts_of_rows):
        table.add_row(*[_cell(text, is_bold=(i, j) in bold) for j, text in enumerate(texts)])
    return table


def _cell(text: str, *, is_bold: bool) -> str | Text:
    """Return the text of a cell, in bold if requested."""
    # The console escapes control characters in a str, but not in a Text.
    return Text(visible(text), "bold") if is_bold else text


def _alignment(values: Sequence[Cell]) -> JustifyMethod:
    """Return the alignment of a column: right for counts, among which there may be texts, and left for other cells."""
    are_counts = isinstance(values[0], int) and all(isinstance(value, (str, int)) for value in values)
    return "right" if are_counts else "left"


def _formatted(header: str, values: Sequence[Cell]) -> list[str]:
    """Format the cells of a column."""
    if all(isinstance(value, (str, int)) for value in values):
        return [f"{value:,}" if isinstance(value, int) else str(value) for value in values]
    # Headers wrap at spaces, so a column is at least as wide as the longest word of its header.
    longest_word = max(map(len, header.split()), default=0)
    return numbers(values, longest_word)


def listing(rows: Iterable[Sequence[str]]) -> Table:
    """Make a table of two columns without a header."""
    result = Table(Column(overflow="fold"), Column(overflow="fold"), show_header=False, box=None)
    for row in rows:
        result.add_row(*row)
    return result


def numbers(values: Sequence[float | str | None], width: int = 0) -> list[str]:
    """Format numbers with three significant digits, and align them at the decimal point.

    Args:
        values: The numbers. None is shown as a dash. Texts are returned unchanged, since a long text must not widen all
            other cells.
        width: Smallest width to which numbers are padded.

    Example:
        >>> numbers([15.0, 0.1468, None, "at most 0.1"])
        ['15.0  ', ' 0.147', ' -    ', 'at most 0.1']

    """
    figures = [value for value in values if not isinstance(value, str)]
    aligned = iter(_aligned(figures, width))
    return [value if isinstance(value, str) else next(aligned) for value in values]


def _aligned(figures: Sequence[float | None], width: int) -> list[str]:
    """Format numbers, and pad them so that their decimal points are at the same position."""
    texts = ["0" if figure == 0 else number(figure, zeros=True) for figure in figures]
    integers = [text.partition(".")[0] for text in texts]
    fractions = [text.removeprefix(integer) for text, integer in zip(texts, integers, strict=True)]
    longest_fraction = max(map(len, fractions), default=0)
    padded = [integer + fraction.ljust(longest_fraction) for integer, fraction in zip(integers, fractions, strict=True)]
    width = max([width, *map(len, padded)])
    return [text.rjust(width) for text in padded]
