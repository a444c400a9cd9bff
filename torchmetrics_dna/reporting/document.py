"""Documents of results, and the formats in which documents are written. This module does not import torch."""

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
    """Result in a form that all formats can render.

    Attributes:
        whole: Function that returns the whole result, in the types of json.
        records: Function that returns the rows of a csv file.
        sentences: Sentences on the result.
        tables: Tables of the result.
        text: Texts and rich renderables for a terminal. If empty, a terminal shows ``sentences`` and ``tables``.
        title: Title of an html page.
        terms: Terms that an html page explains.
        page_tables: Tables of an html page. If empty, the page shows ``tables``.
        columns: Header of a csv file, for documents whose ``records`` may be empty.
        page: Function that returns the html page. If None, the page has the sentences and the tables.
        protocol: Function that returns sentences on how the figures were computed, one per line.

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
        name: Name of the format in options.
        suffixes: Suffixes of its files.
        render: Function that renders a document. It is None for the format ``"text"``, because the layout of text
            depends on the terminal.
        line: Function that renders a record as one line. Its second argument is True for the first record. None if the
            format has no lines.
        words: True if the format contains the sentences of a result.
        is_page: True if the format shows images. The command line then also prints the sentences.

    """

    name: str
    suffixes: tuple[str, ...]
    render: Callable[[Document], str] | None = None
    line: Callable[[Mapping[str, Any], bool], str] | None = None
    words: bool = True
    is_page: bool = False


def _json(document: Document) -> str:
    """Render the whole result, and the version of this package."""
    whole = document.whole()
    if isinstance(whole, dict):
        whole = {"version": __version__} | whole
    return strict_json(whole, indent=2) + "\n"


def _csv_line(record: Mapping[str, Any], is_first: bool) -> str:
    """Render a record as a line of a csv file, after the header if it is the first record."""
    header_and_line = as_csv([record]).rstrip("\n")
    if is_first:
        return header_and_line
    _, _, line = header_and_line.partition("\n")
    return line


def _markdown(document: Document) -> str:
    """Render the sentences and the tables."""
    return as_markdown(document.sentences, document.tables)


def _latex(document: Document) -> str:
    """Render the tables, after a comment that describes how the figures were computed."""
    blocks: list[str] = []
    if document.protocol is not None:
        # The sentences are escaped, so that users can move them from the comment into the text of a paper.
        comment = [f"% {escaped_latex(sentence)}" for sentence in document.protocol().splitlines()]
        blocks.append("\n".join(comment))
    for table in document.tables:
        if table.title:
            blocks.append(f"% {visible(table.title)}\n{table.latex()}")
        else:
            blocks.append(table.latex())
    return "\n\n".join(blocks) + "\n"


def _html(document: Document) -> str:
    """Render an html page."""
    # Import templates only for pages, because the command line imports this module at each start.
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
    """Write a document to a file. An existing file is replaced in one step.

    Args:
        document: The document.
        form: Its format.
        path: The file.
        as_text: Function that renders the document if the format is ``"text"``.

    """
    render = as_text if form.render is None else form.render
    with replacing(path) as temporary:
        temporary.write_text(render(document), encoding="utf-8", errors=ERRORS, newline="")


def format_of(path: str | os.PathLike[str], default: Format) -> Format:
    """Return the format of a file by its suffix; ``default`` if the file has no suffix or an unknown one."""
    suffix = Path(path).suffix.lower()
    if not suffix:
        return default
    return FORMATS.find(suffix) or default
