"""Rendering of html pages from templates."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from torchmetrics_dna.files.tables import Table, sentence_in_html
from torchmetrics_dna.files.visible import images_in_words, number, p_figure, visible

if TYPE_CHECKING:
    from torchmetrics_dna.reporting.terms import Term

_PACKAGE = "torchmetrics_dna.reporting"


def render(template: str, **values: Any) -> str:
    """Render a template of this package as a page. All texts are escaped.

    Args:
        template: Name of the template's file.
        values: Values that the template uses, by name.

    """
    environment = Environment(
        loader=PackageLoader(_PACKAGE, ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_with_visible_signs,
    )
    environment.filters["images"] = images_in_words
    environment.filters["number"] = number
    environment.filters["p"] = p_figure
    environment.filters["sentence"] = _sentence
    style = files(_PACKAGE).joinpath("page.css").read_text(encoding="utf-8")
    return environment.get_template(template).render(style=Markup(style), **values)


def render_tables(title: str, sentences: Sequence[str], tables: Sequence[Table], terms: Sequence[Term]) -> str:
    """Return a page of sentences and tables.

    Args:
        title: Title of the page.
        sentences: Sentences at the top of the page.
        tables: Tables below the sentences.
        terms: Terms that the page explains.

    """
    # Tables escape their texts themselves.
    in_html = [Markup(table.html()) for table in tables]
    return render("tables.html", title=title, sentences=sentences, tables=in_html, terms=terms)


def _with_visible_signs(value: Any) -> Any:
    """Escape the control characters of a text, and return other values unchanged."""
    # Only this module creates Markup, a subtype of str, from texts that are already escaped.
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return visible(value)


def _sentence(text: str) -> Markup:
    """Return a sentence as html. ``sentence_in_html`` escapes the text."""
    return Markup(sentence_in_html(text))
