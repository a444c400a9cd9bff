"""Results as documents: the writer of html, Markdown, LaTeX, csv and json; imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torchmetrics_dna.files.tables import as_csv, as_html, as_markdown
from torchmetrics_dna.files.visible import strict_json, visible
from torchmetrics_dna.version import __version__

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence

    from torchmetrics_dna.files.tables import Table


class Format(Enum):
    """Format of a result."""

    TEXT = "text"
    JSON = "json"
    CSV = "csv"
    MARKDOWN = "markdown"
    LATEX = "latex"
    HTML = "html"


SUFFIXES = {
    ".txt": Format.TEXT,
    ".json": Format.JSON,
    ".csv": Format.CSV,
    ".md": Format.MARKDOWN,
    ".tex": Format.LATEX,
    ".html": Format.HTML,
    ".htm": Format.HTML,
}


def format_of(path: str | os.PathLike[str], default: Format) -> Format:
    """Return the format that the suffix of a file stands for."""
    return SUFFIXES.get(Path(path).suffix.lower(), default)


@dataclass(frozen=True)
class Document:
    """A result, ready for all formats.

    Attributes:
        whole: Function that returns all of it, in json's types.
        records: Function that returns rows for csv.
        sentences: What it says in words.
        tables: What it says in tables.
        text: Text for a terminal, of sentences and tables of rich; by default ``sentences`` and ``tables``.
        columns: Columns of ``records``, if there may be none.
        page: Function that renders a page of its own; by default a page has ``sentences`` and ``tables``.

    """

    whole: Callable[[], Any]
    records: Callable[[], Sequence[Mapping[str, Any]]]
    sentences: Sequence[str]
    tables: Sequence[Table]
    text: Sequence[Any] = ()
    columns: Sequence[str] = ()
    page: Callable[[], str] | None = None

    def render(self, form: Format) -> str:
        """Return the document in a format that does not depend on a terminal: all but text."""
        if form is Format.JSON:
            whole = self.whole()
            return strict_json({"version": __version__} | whole if isinstance(whole, dict) else whole, indent=2) + "\n"
        if form is Format.CSV:
            return as_csv(self.records(), self.columns)
        if form is Format.MARKDOWN:
            return as_markdown(self.sentences, self.tables)
        if form is Format.HTML and self.page:
            return self.page()
        if form is Format.HTML:
            style = files("torchmetrics_dna.reporting").joinpath("page.css").read_text(encoding="utf-8")
            head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
            head += (
                f'<meta name="color-scheme" content="light dark"><title>torchmetrics-dna</title><style>{style}</style>'
            )
            body = f"<body><main>\n{as_html(self.sentences, self.tables)}\n</main></body>"
            return f'<!doctype html>\n<html lang="en"><head>{head}</head>{body}</html>\n'
        titled = [f"% {visible(table.title)}\n" * bool(table.title) + table.latex() for table in self.tables]
        return "\n\n".join(titled) + "\n"
