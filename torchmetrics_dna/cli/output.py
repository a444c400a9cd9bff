"""Output of a command's result: as text, or a document of any format, on stdout or to a file."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import torchmetrics_dna.cli.options as o
from torchmetrics_dna.cli.console import WIDE, Console, check_output, out, rich_table, talk
from torchmetrics_dna.files.atomic import replacing
from torchmetrics_dna.files.tables import as_csv
from torchmetrics_dna.files.visible import ERRORS, strict_json
from torchmetrics_dna.reporting.document import SUFFIXES, Document, Format, format_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

FormatOption = Annotated[
    Format | None, o.output_option("Format of the result. [default: by the name of the file, or text]", "--format")
]
ResultFile = Annotated[
    Path | None,
    o.output_option(
        "Write the result to this file: .txt, .json, .csv, .md or .tex; .html for a page.", "-o", "--output"
    ),
]
_OF_LINES = (Format.TEXT, Format.JSON, Format.CSV)


def format_for(form: Format | None, path: Path | None, streamed: bool = False) -> Format:
    """Return the format of a result; check the file to write, and print if it will be replaced, before any work.

    Args:
        form: The format, if it is given.
        path: File to write, if it is given.
        streamed: Whether records are written one by one, which pages and tables in Markdown and LaTeX do not allow.

    Raises:
        FileNotFoundError: If the folder to write to does not exist.
        ValueError: If the name of the file has an unknown suffix and no format is given, or the format does not fit.

    """
    if path is not None:
        check_output(path, *(SUFFIXES if form is None else ("",)))
    form = form or (Format.TEXT if path is None else format_of(path, Format.TEXT))
    if streamed and form not in _OF_LINES:
        raise ValueError(f"A stream is written line by line; give --format text, json or csv, but got {form.value}")
    return form


def write(result: Document, form: Format, path: Path | None) -> None:
    """Print a result on stdout, or write it to a file, and the sentences of a page; only in the first process."""
    if path is None:
        _print(result, form, out)
        return
    if not out.quiet:
        with replacing(path) as temporary, temporary.open("w", encoding="utf-8", errors=ERRORS, newline="") as file:
            _print(result, form, Console(file=file, width=WIDE))
    for sentence in result.sentences if form is Format.HTML else ():
        out.print(sentence)
    talk.print(f"The {'page' if form is Format.HTML else 'result'} is in {path}", soft_wrap=True)


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


def _print(result: Document, form: Format, console: Console) -> None:
    if form is Format.JSON:
        console.print_json(result.render(form), ensure_ascii=True)
    elif form is Format.TEXT:
        for part in result.text or result.sentences:
            console.print(part)
        for table in () if result.text else result.tables:
            shown = table.without("interval")  # which would make it too wide
            console.print(
                "", rich_table(shown.header, shown.rows, shown.title, bold=shown.bold), *shown.notes, sep="\n"
            )
    elif not console.quiet:
        console.file.write(result.render(form))
