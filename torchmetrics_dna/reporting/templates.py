"""Jinja templates of pages; all values are escaped and made visible."""

from __future__ import annotations

from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from torchmetrics_dna.files.visible import number, p_figure, p_in_words, visible

_HERE = "torchmetrics_dna.reporting"


def environment() -> Environment:
    """Return the Jinja environment of the templates in this package, with its filters."""
    env = Environment(
        loader=PackageLoader(_HERE, ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: visible(value) if type(value) is str else value,  # Markup is our own
    )
    env.filters |= {"number": number, "p": p_figure, "p_in_words": p_in_words}
    return env


def styles(*names: str) -> Markup:
    """Concatenate style sheets of this package."""
    return Markup("\n".join(files(_HERE).joinpath(name).read_text(encoding="utf-8") for name in names))
