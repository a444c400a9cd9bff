"""Reports as Markdown and as json."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from torchmetrics_dna.files.tables import Table, escaped_markdown
from torchmetrics_dna.files.visible import p_figure
from torchmetrics_dna.reporting.cards import describe_card
from torchmetrics_dna.reporting.words import layers_table, neurons_table

if TYPE_CHECKING:
    from torchmetrics_dna.reporting.findings import Findings


def as_markdown(findings: Findings) -> str:
    """Render a report as Markdown: the words and tables of the page, without pictures."""
    comparison, sides = findings.comparison, map(escaped_markdown, findings.sides.values())
    headline, figures = map(escaped_markdown, comparison.headline_and_figures)
    place = findings.place_on_scale
    differing = [[row["name"], row["a"], row["b"], p_figure(row["q"])] for row in findings.properties if row["clear"]]
    parts = [
        f"# {headline}",
        "A: {}  \nB: {}".format(*sides),
        *filter(None, [figures, place and escaped_markdown(place.sentence)]),
        *(f"Note: {escaped_markdown(notice)}." for notice in comparison.notices),
        *(["## What differs", Table(["property of images", "A", "B", "q"], differing).markdown()] if differing else []),
        "## Where in the network",
        layers_table(comparison).markdown(),
        "## Over all layers",
        comparison.table.markdown(),
        "## Which neurons",
        neurons_table(comparison).markdown(),
        "## What was done",
        Table(["setting", "value"], list(findings.all_settings.items())).markdown(),
        *(f"Left out: {escaped_markdown(line)}" for line in comparison.unreadable),
    ]
    return "\n\n".join(parts) + "\n"


def as_json(findings: Findings) -> str:
    """Render a report as json: that of ``compare`` with the summary, cards and settings."""
    comparison, cards = findings.comparison, findings.cards
    place = findings.place_on_scale
    record = {
        "summary": findings.summary,
        "sentences": findings.explanation.property_sentences,
        "names": dict(zip("ab", comparison.names, strict=True)),
        **comparison.to_dict(),
        "scale": [mark._asdict() for mark in place.scale.marks] if place else [],
        "cards": [describe_card(card) for card in cards.cards] if cards else [],
        "settings": findings.all_settings,
    }
    return json.dumps(record, indent=2, ensure_ascii=False) + "\n"
