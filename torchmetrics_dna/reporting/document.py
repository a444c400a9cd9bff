"""Results as documents, and the formats in which they are written; imports no torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torchmetrics_dna.files.atomic import replacing
from torchmetrics_dna.files.tables import Table, as_csv, as_markdown, escaped_latex
from torchmetrics_dna.files.visible import ERRORS, strict_json, visible
from torchmetrics_dna.registry import Registry
from torchmetrics_dna.version import __version__

if TYPE_CHECKING:
    from torchmetrics_dna.reporting.terms import Term


@dataclass(frozen=True)
class Document:
    """A result, ready for all formats.

    Attributes:
        whole: Function that returns the whole result, in the types of json.
        records: Function that returns the rows of a csv file.
        sentences: The result in sentences.
        tables: The result in tables.
        text: Parts for a terminal, including what rich renders; if empty, ``sentences`` and ``tables``.
        title: Title of a page.
        terms: Terms that a page explains.
        page_tables: Tables of a page; if empty, ``tables``.
        columns: Header of a csv file if ``records`` may be empty.
        page: Function that returns the html page; by default, a page has ``sentences`` and tables.
        protocol: Function that returns how the figures were computed, one sentence per line.

    """

    whole: Callable[[], Any]
    records: Callable[[], Sequence[Mapping[str, Any]]]
    sentences: Sequence[str]
    tables: Sequence[Table]
    text: Sequence[Any] = ()
    title: str = "torchmetrics-dna"
    terms: Sequence[Term] = ()
    page_tables: Sequence[Table] = ()
    columns: Sequence[str] = ()
    page: Callable[[], str] | None = None
    protocol: Callable[[], str] | None = None


@dataclass(frozen=True)
class Format:
    """Registry entry of a format of results.

    Args:
        name: Its name, as options have it.
        suffixes: Suffixes of its files.
        render: Function that returns a document as text; None for text, because its layout depends on the terminal.
        line: Function that returns a record as a line, given whether it is the first; None if a format has no lines.
        words: True if it has the sentences of a result.
        is_page: True if it shows images. The sentences are then printed, too.

    """

    name: str
    suffixes: tuple[str, ...]
    render: Callable[[Document], str] | None = None
    line: Callable[[Mapping[str, Any], bool], str] | None = None
    words: bool = True
    is_page: bool = False


def _json(document: Document) -> str:
    whole = document.whole()
    if isinstance(whole, dict):
        whole = {"version": __version__} | whole
    return strict_json(whole, indent=2) + "\n"


def _csv_line(record: Mapping[str, Any], is_first: bool) -> str:
    header_and_line = as_csv([record]).rstrip("\n")
    if is_first:
        return header_and_line
    _, _, line = header_and_line.partition("\n")
    return line


def _markdown(document: Document) -> str:
    return as_markdown(document.sentences, document.tables)


def _latex(document: Document) -> str:
    parts: list[str] = []
    if document.protocol is not None:
        # The sentences are escaped, so that they can be moved out of the comment.
        parts.append("\n".join(f"% {escaped_latex(sentence)}" for sentence in document.protocol().splitlines()))
    for table in document.tables:
        if table.title:
            parts.append(f"% {visible(table.title)}\n{table.latex()}")
        else:
            parts.append(table.latex())
    return "\n\n".join(parts) + "\n"


def _html(document: Document) -> str:
    # Templates are imported only for pages, since the command line imports this module at each start.
    from torchmetrics_dna.reporting.templates import render_tables

    if document.page is not None:
        return document.page()
    tables = document.page_tables or document.tables
    return render_tables(document.title, document.sentences, tables, document.terms)


TEXT = Format("text", (".txt",))
JSON = Format("json", (".json",), _json, lambda record, _: strict_json(record))
HTML = Format("html", (".html", ".htm"), _html, is_page=True)
FORMATS = Registry(
    "format",
    (
        TEXT,
        JSON,
        Format("csv", (".csv",), lambda document: as_csv(document.records(), document.columns), _csv_line, words=False),
        Format("markdown", (".md",), _markdown),
        Format("latex", (".tex",), _latex, words=False),
        HTML,
    ),
    lambda form: (form.name, *form.suffixes),
)


def save(
    document: Document,
    form: Format,
    path: str | os.PathLike[str],
    as_text: Callable[[Document], str] = _markdown,
) -> None:
    """Write a document to a file, which it replaces at once.

    Args:
        document: The document.
        form: Its format.
        path: The file.
        as_text: Function that renders the document if the format is text.

    """
    render = as_text if form.render is None else form.render
    with replacing(path) as temporary:
        temporary.write_text(render(document), encoding="utf-8", errors=ERRORS, newline="")


def format_of(path: str | os.PathLike[str], default: Format) -> Format:
    """Return the format of a file, by its suffix."""
    suffix = Path(path).suffix.lower()
    if not suffix:
        return default
    return FORMATS.find(suffix) or default
