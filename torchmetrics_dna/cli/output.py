"""Output of a command's result: as text, or a document of any format, on stdout or to a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from enum import Enum
from io import StringIO
from pathlib import Path
from typing import Annotated, Any

import torchmetrics_dna.cli.options as o
from torchmetrics_dna.cli.console import WIDE, Console, check_output, out, rich_table, talk
from torchmetrics_dna.files.tables import Table
from torchmetrics_dna.files.visible import ERRORS
from torchmetrics_dna.reporting.document import FORMATS, JSON, TEXT, Document, Format, format_of, save

# Typer lists the members of an enumeration.
_Names: Any = Enum("Format", [(name, name) for name in FORMATS])  # type: ignore[misc]
FormatOption = Annotated[
    _Names | None,
    o.output_option(
        f"Format of the result: {', '.join(FORMATS)}. Default: by the file name, or text.",
        "--format",
        metavar="FORMAT",
    ),
]
ResultFile = Annotated[
    Path | None,
    o.output_option(
        f"Write the result to this file ({', '.join(form.suffixes[0] for form in FORMATS.values())}).", "-o", "--output"
    ),
]


def format_for(choice: Any, path: Path | None, streamed: bool = False) -> Format:
    """Return the format of a result, by choice or the name of the file to write.

    Args:
        choice: The chosen format, or None.
        path: The file, whose name is checked as by :func:`check_output`; None for stdout.
        streamed: Whether records are written one by one.

    Raises:
        ValueError: If records are streamed, which pages and tables in Markdown and LaTeX do not allow.

    """
    if path is not None and choice is None:
        suffixes: list[str] = []
        for known in FORMATS.values():
            suffixes += known.suffixes
        check_output(path, *suffixes)
    elif path is not None:
        # A chosen format may be written to a file of any name.
        check_output(path, "")
    if choice is not None:
        form = FORMATS[choice.value]
    elif path is None:
        form = TEXT
    else:
        form = format_of(path, TEXT)
    if streamed and form is not TEXT and form.line is None:
        *others, last = [known.name for known in FORMATS.values() if known is TEXT or known.line is not None]
        raise ValueError(
            f"A stream is written line by line, which requires --format {', '.join(others)} or {last}, but got"
            f" {form.name}"
        )
    return form


def write(result: Document, form: Format, path: Path | None) -> None:
    """Print a result on stdout, or write it to a file and print the verdict that the file lacks; only in process 0."""
    if path is None:
        _print(result, form, out)
        return
    if not out.quiet:
        save(result, form, path, _as_text)
    if form.is_page or not form.words:
        for sentence in result.sentences:
            out.print(sentence)
    talk.print(f"The {'page' if form.is_page else 'result'} is in {path}", soft_wrap=True)


@contextmanager
def writing_lines(form: Format, path: Path | None) -> Iterator[Callable[[Mapping[str, Any], str], None]]:
    """Yield a function that writes a record, or its text, at once: as text, csv, or json with a document per line."""
    with nullcontext() if path is None else path.open("w", encoding="utf-8", errors=ERRORS, newline="") as file:
        console = out if file is None else Console(file=file, width=WIDE)
        is_first = True

        def write_line(record: Mapping[str, Any], text: str) -> None:
            nonlocal is_first
            console.print(text if form.line is None else form.line(record, is_first), soft_wrap=True)
            is_first = False
            console.file.flush()

        yield write_line
    if path is not None:
        talk.print(f"The result is in {path}", soft_wrap=True)


def _as_text(result: Document) -> str:
    """Return a result as it is printed."""
    file = StringIO()
    _print(result, TEXT, Console(file=file, width=WIDE))
    return file.getvalue()


def _parts_of(result: Document) -> list[Any]:
    """Return sentences and tables, with an empty line before each table that is not the first part."""
    parts: list[Any] = [*result.sentences]
    for table in result.tables:
        if parts:
            parts.append("")
        parts.append(table)
    return parts


def _print(result: Document, form: Format, console: Console) -> None:
    """Print a result in a format."""
    if form is JSON:
        # On a terminal, json is in colours.
        console.print_json(form.render(result) if form.render else "", ensure_ascii=True)
    elif form.render is None:
        for part in result.text or _parts_of(result):
            if isinstance(part, Table):
                # Intervals would make a table too wide.
                shown = part.without("interval")
                table = rich_table(shown.header, shown.rows, shown.title, bold=shown.bold)
                console.print(table, *shown.notes, sep="\n")
            else:
                console.print(part)
    elif not console.quiet:
        console.file.write(form.render(result))
