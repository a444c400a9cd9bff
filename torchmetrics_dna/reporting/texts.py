"""Reports as Markdown and as json."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from torchmetrics_dna.dna.names import in_words
from torchmetrics_dna.files.visible import number, p_figure, visible
from torchmetrics_dna.reporting.cards import describe_card
from torchmetrics_dna.reporting.words import describe_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torchmetrics_dna.reporting.findings import Findings

_TOP = 10  # neurons


def as_markdown(findings: Findings) -> str:
    """Render a report as Markdown: the words and tables of the page, without pictures."""
    comparison, (a, b), num_images = findings.comparison, findings.names, findings.comparison.num_images
    parts = [
        "# What differs between A and B?",
        f"A: {_cell(a)} ({num_images['a']:,} images)  \nB: {_cell(b)} ({num_images['b']:,} images)",
        f"**{_cell(findings.verdict)}**",
        *map(_cell, findings.sentences),
        *(f"Note: {_cell(notice)}." for notice in comparison.notices),
        "## Is it real, and how large?",
        _figures(findings),
        *_words(findings),
        "## Where in the network",
        _layers(findings),
        "## Which neurons",
        _neurons(findings),
        "## What was done",
        _table(["", ""], list(describe_settings(comparison, comparison.aligned()[0], findings.settings).items())),
        *(f"Left out: {_cell(line)}" for line in comparison.unreadable),
    ]
    return "\n\n".join(parts) + "\n"


def as_json(findings: Findings) -> str:
    """Render a report as json: the output of ``compare --json`` with the summary, classes, cards and settings."""
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


def _figures(findings: Findings) -> str:
    comparison, rows = findings.comparison, []
    for name, result in comparison.items():
        rows.append([name, number(result.value), f"{result.distance.sentence}; {comparison.about(result)}"])
        evidence = result.evidence
        if evidence and evidence.interval:
            rows.append(
                [
                    "without noise",
                    number(result.overall.debiased_shown),
                    f"{evidence.interval.confidence:.0%} interval {evidence.interval.ends}",
                ]
            )
        if evidence and evidence.test:
            rows.append(["by chance", number(evidence.null), f"p {p_figure(evidence.test.p_value)}"])
    return _table(["distance", "value", "what it is"], rows)


def _words(findings: Findings) -> list[str]:
    """Return the section on properties of images that differ, or nothing."""
    rows = [
        [row["name"], row["a"], row["b"], p_figure(row["q"])]
        for row in findings.properties
        if row["clear"] is not False
    ]
    return ["## What differs, in words", _table(["property of images", "A", "B", "q"], rows)] if rows else []


def _layers(findings: Findings) -> str:
    comparison = findings.comparison
    layers = comparison["dna-emd"].layers
    rows = [
        [layer, f"{comparison.neurons[layer]:,}", number(figure.value), number(figure.debiased_shown),
         figure.interval.ends if figure.interval else "-", p_figure(figure.p_value)]
        for layer, figure in layers.items()
    ]  # fmt: skip
    return _table(["layer", "neurons", "dna-emd (bins)", "without noise", "interval", "p"], rows)


def _neurons(findings: Findings) -> str:
    comparison = findings.comparison
    rows = [
        [
            in_words(neuron["layer"], neuron["neuron"], comparison.neuron_names),
            number(neuron["dna_emd"]),
            f"{neuron['shift']:+.3g}",
            p_figure(neuron["q"]),
        ]
        for neuron in comparison.top_neurons(_TOP)
    ]
    return _table(["neuron", "dna-emd (bins)", "mean activation, B less A", "q"], rows)


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_cell(str(cell)) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    """Escape text from outside, so that neither Markdown nor html in it takes effect."""
    shown = visible(text)
    for sign in "\\`*_[]<>|#":
        shown = shown.replace(sign, f"\\{sign}")
    return shown
