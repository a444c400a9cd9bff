"""Results as documents, and the formats in which they are written; imports no torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from torchmetrics_dna.files.atomic import replacing
from torchmetrics_dna.files.tables import Table, as_csv, as_html, as_markdown
from torchmetrics_dna.files.visible import ERRORS, strict_json, visible
from torchmetrics_dna.registry import Registry
from torchmetrics_dna.version import __version__


@dataclass(frozen=True)
class Document:
    """A result, ready for all formats."""

    whole: Callable[[], Any]  # all of it, in json's types
    records: Callable[[], Sequence[Mapping[str, Any]]]  # rows for csv
    sentences: Sequence[str]
    tables: Sequence[Table]
    text: Sequence[Any] = ()  # parts for a terminal, also what rich renders; if empty, ``sentences`` and ``tables``
    columns: Sequence[str] = ()  # header of a csv file if ``records`` may be empty
    page: Callable[[], str] | None = None  # a page of its own; by default it has ``sentences`` and ``tables``


@dataclass(frozen=True)
class Format:
    """Record of a format of results.

    Args:
        name: Its name, as options have it.
        suffixes: Suffixes of its files.
        render: Function that returns a document as text; None for the text of a terminal, which depends on that.
        line: Function of a record and whether it is the first, that returns it as a line; None if there are none.
        words: Whether it has the sentences of a result.
        is_page: Whether it shows images, so that its sentences are printed, too.

    """

    name: str
    suffixes: tuple[str, ...]
    render: Callable[[Document], str] | None = None
    line: Callable[[Mapping[str, Any], bool], str] | None = None
    words: bool = True
    is_page: bool = False


def _json(document: Document) -> str:
    whole = document.whole()
    return strict_json({"version": __version__} | whole if isinstance(whole, dict) else whole, indent=2) + "\n"


def _csv_line(record: Mapping[str, Any], is_first: bool) -> str:
    text = as_csv([record]).rstrip("\n")
    return text if is_first else text.partition("\n")[2]


def _latex(document: Document) -> str:
    titled = []
    for table in document.tables:
        if table.title:
            titled.append(f"% {visible(table.title)}\n{table.latex()}")
        else:
            titled.append(table.latex())
    return "\n\n".join(titled) + "\n"


def _html(document: Document) -> str:
    if document.page:
        return document.page()
    style = files("torchmetrics_dna.reporting").joinpath("page.css").read_text(encoding="utf-8")
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    head += f'<meta name="color-scheme" content="light dark"><title>torchmetrics-dna</title><style>{style}</style>'
    # As on a screen, tables of the text replace the complete ones.
    tables = [part for part in document.text if isinstance(part, Table)] or document.tables
    body = f"<body><main>\n{as_html(document.sentences, tables)}\n</main></body>"
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>{body}</html>\n'


TEXT = Format("text", (".txt",))
JSON = Format("json", (".json",), _json, lambda record, _: strict_json(record))
HTML = Format("html", (".html", ".htm"), _html, is_page=True)
FORMATS = Registry(
    "format",
    (
        TEXT,
        JSON,
        Format("csv", (".csv",), lambda document: as_csv(document.records(), document.columns), _csv_line, words=False),
        Format("markdown", (".md",), lambda document: as_markdown(document.sentences, document.tables)),
        Format("latex", (".tex",), _latex, words=False),
        HTML,
    ),
    lambda form: (form.name, *form.suffixes),
)


def save(
    document: Document,
    form: Format,
    path: str | os.PathLike[str],
    as_text: Callable[[Document], str] = lambda document: as_markdown(document.sentences, document.tables),
) -> None:
    """Write a document to a file, which it replaces at once; ``as_text`` renders it where the format does not."""
    with replacing(path) as temporary:
        temporary.write_text((form.render or as_text)(document), encoding="utf-8", errors=ERRORS, newline="")


def format_of(path: str | os.PathLike[str], default: Format) -> Format:
    """Return the format that the suffix of a file stands for."""
    suffix = Path(path).suffix.lower()
    return (FORMATS.find(suffix) if suffix else None) or default
