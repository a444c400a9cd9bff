"""Output of a command's result: as text, json, csv, Markdown or LaTeX, on stdout or to a file."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import torchmetrics_dna.cli.options as o
from torchmetrics_dna.cli.console import WIDE, Console, check_output, out, rich_table, talk
from torchmetrics_dna.files.atomic import replacing
from torchmetrics_dna.files.tables import Table, as_csv, as_markdown
from torchmetrics_dna.files.visible import ERRORS, strict_json, visible
from torchmetrics_dna.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence


class Format(Enum):
    """Format of a result."""

    TEXT = "text"
    JSON = "json"
    CSV = "csv"
    MARKDOWN = "markdown"
    LATEX = "latex"


_SUFFIXES = {
    ".txt": Format.TEXT,
    ".json": Format.JSON,
    ".csv": Format.CSV,
    ".md": Format.MARKDOWN,
    ".tex": Format.LATEX,
}
FormatOption = Annotated[
    Format | None, o.output_option("Format of the result. [default: by the name of the file, or text]", "--format")
]
ResultFile = Annotated[
    Path | None, o.output_option("Write the result to this file: .txt, .json, .csv, .md or .tex.", "-o", "--output")
]


@dataclass(frozen=True)
class Printout:
    """A result, ready for all formats.

    Attributes:
        document: Function that returns all of it, in json's types.
        records: Function that returns rows for csv.
        sentences: What it says in words.
        tables: What it says in tables.
        text: Text for a terminal, of sentences and tables of rich; by default ``sentences`` and ``tables``.
        columns: Columns of ``records``, if there may be none.

    """

    document: Callable[[], Any]
    records: Callable[[], Sequence[Mapping[str, Any]]]
    sentences: Sequence[str]
    tables: Sequence[Table]
    text: Sequence[Any] = ()
    columns: Sequence[str] = ()


def format_for(form: Format | None, path: Path | None, streamed: bool = False, also: tuple[str, ...] = ()) -> Format:
    """Return the format of a result; check the file to write, and print if it will be replaced, before any work.

    Args:
        form: The format, if it is given.
        path: File to write, if it is given.
        streamed: Whether records are written one by one, which tables in Markdown and LaTeX do not allow.
        also: More suffixes that are allowed, of files that the command writes by itself.

    Raises:
        FileNotFoundError: If the folder to write to does not exist.
        ValueError: If the name of the file has an unknown suffix and no format is given, or the format does not fit.

    """
    if path is not None:
        check_output(path, *((*_SUFFIXES, *also) if form is None else ("",)))
    form = form or (Format.TEXT if path is None else _SUFFIXES.get(path.suffix.lower(), Format.TEXT))
    if streamed and form in (Format.MARKDOWN, Format.LATEX):
        raise ValueError(f"A stream is written line by line; give --format text, json or csv, but got {form.value}")
    return form


def write(result: Printout, form: Format, path: Path | None) -> None:
    """Print a result on stdout, or write it to a file; only in the first process."""
    if path is None:
        _print(result, form, out)
    elif not out.quiet:
        with replacing(path) as temporary, temporary.open("w", encoding="utf-8", errors=ERRORS, newline="") as file:
            _print(result, form, Console(file=file, width=WIDE))
        talk.print(f"The result is in {path}", soft_wrap=True)


@contextmanager
def writing_lines(form: Format, path: Path | None) -> Iterator[Callable[[Mapping[str, Any], str], None]]:
    """Yield a function that writes a record, and its text, at once: as text, csv or a json document a line."""
    with nullcontext() if path is None else path.open("w", encoding="utf-8", errors=ERRORS, newline="") as file:
        console = out if file is None else Console(file=file, width=WIDE)
        has_header = False

        def write_line(record: Mapping[str, Any], text: str) -> None:
            nonlocal has_header
            line = {Format.TEXT: text, Format.JSON: strict_json(record)}.get(form)
            if line is None:
                header, _, values = as_csv([record]).rstrip("\n").partition("\n")
                line, has_header = values if has_header else f"{header}\n{values}", True
            console.print(line, soft_wrap=True)
            console.file.flush()

        yield write_line
    if path is not None:
        talk.print(f"The result is in {path}", soft_wrap=True)


def _print(result: Printout, form: Format, console: Console) -> None:
    if form is Format.JSON:
        document = result.document()
        if isinstance(document, dict):
            document = {"version": __version__} | document
        console.print_json(strict_json(document), ensure_ascii=True)
    elif form is Format.TEXT:
        for part in result.text or [*result.sentences, *terminal_tables(result.tables)]:
            console.print(part)
    elif not console.quiet:
        console.file.write(_rendered(result, form))


def terminal_tables(tables: Sequence[Table]) -> list[Any]:
    """Return tables for a terminal, an empty line before each; intervals would make them too wide."""
    parts: list[Any] = []
    for table in (table.without("interval") for table in tables):
        parts += ["", rich_table(table.header, table.rows, table.title, bold=table.bold), *table.notes]
    return parts


def _rendered(result: Printout, form: Format) -> str:
    """Return what does not depend on a terminal: csv, Markdown or LaTeX."""
    if form is Format.CSV:
        return as_csv(result.records(), result.columns)
    if form is Format.MARKDOWN:
        return as_markdown(result.sentences, result.tables)
    titled = [f"% {visible(table.title)}\n" * bool(table.title) + table.latex() for table in result.tables]
    return "\n\n".join(titled) + "\n"
