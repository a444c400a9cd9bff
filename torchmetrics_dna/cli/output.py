"""Output of the result of a command: in any format, on stdout or in a file."""

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

# Typer needs an enumeration to list the formats in the help.
_Names: Any = Enum("Format", [(name, name) for name in FORMATS])  # type: ignore[misc]
FormatOption = Annotated[
    _Names | None,
    o.output_option(
        f"Format of the result: {', '.join(FORMATS)}. The default depends on the ending of the output file. Without a"
        " file, it is text.",
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
    """Return the format of a result, and check the name of the file to write.

    Args:
        choice: The chosen format, or None. By default, the suffix of the file decides.
        path: The file; None for stdout.
        streamed: Whether the result is written line by line.

    Raises:
        ValueError: If the file has an unknown suffix, or is a folder. Also if the format can't be written line by line.

    """
    form = _chosen_format(choice, path)
    if streamed and not _has_lines(form):
        *first_names, last_name = [accepted.name for accepted in FORMATS.values() if _has_lines(accepted)]
        expected = f"{', '.join(first_names)} or {last_name}"
        raise ValueError(f"A stream is written line by line, which requires --format {expected}, but got {form.name}")
    return form


def _chosen_format(choice: Any, path: Path | None) -> Format:
    """Return the chosen format, or else the format of the file, and check the name of the file."""
    if choice is not None:
        if path is not None:
            # A chosen format may be written to a file with any suffix.
            check_output(path, "")
        return FORMATS[choice.value]
    if path is None:
        return TEXT
    suffixes: list[str] = []
    for form in FORMATS.values():
        suffixes += form.suffixes
    check_output(path, *suffixes)
    return format_of(path, TEXT)


def _has_lines(form: Format) -> bool:
    """Return whether a format can be written line by line."""
    return form is TEXT or form.line is not None


def write(result: Document, form: Format, path: Path | None) -> None:
    """Print a result on stdout, or write it to a file. Only process 0 prints and writes.

    If the file is a page or has no sentences, the sentences of the result are printed as well.

    Args:
        result: The result.
        form: Format of the result.
        path: The file; None for stdout.

    """
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
    """Open a file, or use stdout, to write records line by line.

    Args:
        form: Format of the lines: text, csv, or json with one document per line.
        path: The file; None for stdout.

    Yields:
        Function of a record and its text that writes one of them at once.

    """
    with nullcontext() if path is None else path.open("w", encoding="utf-8", errors=ERRORS, newline="") as file:
        console = out if file is None else Console(file=file, width=WIDE)
        is_first = True

        def write_line(record: Mapping[str, Any], text: str) -> None:
            nonlocal is_first
            line = text if form.line is None else form.line(record, is_first)
            console.print(line, soft_wrap=True)
            is_first = False
            console.file.flush()

        yield write_line
    if path is not None:
        talk.print(f"The result is in {path}", soft_wrap=True)


def _as_text(result: Document) -> str:
    """Return a result as text, without wrapped lines."""
    file = StringIO()
    _print(result, TEXT, Console(file=file, width=WIDE))
    return file.getvalue()


def _parts_of(result: Document) -> list[Any]:
    """Return the sentences and tables to print, with an empty line before each table."""
    parts: list[Any] = [*result.sentences]
    for table in result.tables:
        if parts:
            parts.append("")
        parts.append(table)
    return parts


def _print(result: Document, form: Format, console: Console) -> None:
    """Print a result in a format."""
    if form.render is None:
        for part in result.text or _parts_of(result):
            _print_part(part, console)
    elif form is JSON:
        # On a terminal, json is printed in colours.
        console.print_json(form.render(result), ensure_ascii=True)
    elif not console.quiet:
        console.file.write(form.render(result))


def _print_part(part: Any, console: Console) -> None:
    """Print a sentence or a table of a result."""
    if not isinstance(part, Table):
        console.print(part)
        return
    # Intervals would make the table too wide.
    narrow = part.without("interval")
    table = rich_table(narrow.header, narrow.rows, narrow.title, bold=narrow.bold)
    console.print(table, *narrow.notes, sep="\n")
