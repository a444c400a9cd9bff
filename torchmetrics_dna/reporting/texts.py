"""Reports as Markdown and as json."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from torchmetrics_dna.files.tables import Table, escaped_markdown
from torchmetrics_dna.files.visible import p_figure
from torchmetrics_dna.reporting.cards import describe_card
from torchmetrics_dna.reporting.tables import distances_table, layers_table, neurons_table
from torchmetrics_dna.reporting.words import describe_settings

if TYPE_CHECKING:
    from torchmetrics_dna.reporting.findings import Findings


def as_markdown(findings: Findings) -> str:
    """Render a report as Markdown: the words and tables of the page, without pictures."""
    comparison, num_images = findings.comparison, findings.comparison.num_images
    a, b = map(escaped_markdown, findings.names)
    settings = describe_settings(comparison, comparison.aligned()[0], findings.settings)
    parts = [
        "# What differs between A and B?",
        f"A: {a} ({num_images['a']:,} images)  \nB: {b} ({num_images['b']:,} images)",
        f"**{escaped_markdown(comparison.verdict)}**",
        *map(escaped_markdown, findings.sentences),
        *(f"Note: {escaped_markdown(notice)}." for notice in comparison.notices),
        "## Is it real, and how large?",
        distances_table(comparison).markdown(),
        *_words(findings),
        "## Where in the network",
        layers_table(comparison).markdown(),
        "## Which neurons",
        neurons_table(comparison).markdown(),
        "## What was done",
        Table(["setting", "value"], list(settings.items())).markdown(),
        *(f"Left out: {escaped_markdown(line)}" for line in comparison.unreadable),
    ]
    return "\n\n".join(parts) + "\n"


def as_json(findings: Findings) -> str:
    """Render a report as json: that of ``compare`` with the summary, classes, cards and settings."""
    comparison, classes, cards = findings.comparison, findings.classes, findings.cards
    record = {
        "summary": findings.summary,
        "sentences": findings.sentences,
        "names": dict(zip("ab", findings.names, strict=True)),
        **comparison.to_dict(),
        "classes": classes and classes["rows"],
        "cards": [describe_card(card) for card in cards.cards] if cards else [],
        "settings": describe_settings(comparison, comparison.aligned()[0], findings.settings),
    }
    return json.dumps(record, indent=2, ensure_ascii=False) + "\n"


def _words(findings: Findings) -> list[str]:
    """Return the section on properties of images that differ, or nothing."""
    rows = [
        [row["name"], row["a"], row["b"], p_figure(row["q"])]
        for row in findings.properties
        if row["clear"] is not False
    ]
    return ["## What differs, in words", Table(["property of images", "A", "B", "q"], rows).markdown()] if rows else []
