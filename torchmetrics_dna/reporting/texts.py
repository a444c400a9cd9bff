"""A report as Markdown, and as json."""

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
    """A report with the same words as the page, and its tables; without pictures."""
    found, (a, b) = findings.found, findings.names
    parts = [
        "# What differs between A and B?",
        f"A: {_cell(a)} ({found.num_images['a']:,} images)  \nB: {_cell(b)} ({found.num_images['b']:,} images)",
        f"**{_cell(findings.verdict)}**",
        *map(_cell, findings.sentences),
        *(f"Note: {_cell(notice)}." for notice in found.notices),
        "## Is it real, and how large?",
        _figures(findings),
        *_words(findings),
        "## Where in the network",
        _layers(findings),
        "## Which neurons",
        _neurons(findings),
        "## What was done",
        _table(["", ""], list(describe_settings(found, found.aligned()[0], findings.settings).items())),
        *(f"Left out: {_cell(line)}" for line in found.unreadable),
    ]
    return "\n\n".join(parts) + "\n"


def as_json(findings: Findings) -> str:
    """A report for programs: what ``compare --json`` prints, with the summary, classes, cards and settings."""
    found, classes, cards = findings.found, findings.classes, findings.cards
    told = {
        "summary": findings.summary,
        "sentences": findings.sentences,
        "names": dict(zip("ab", findings.names, strict=True)),
        **found.to_dict(),
        "classes": classes and classes["rows"],
        "cards": [describe_card(card) for card in cards.cards] if cards else [],
        "settings": describe_settings(found, found.aligned()[0], findings.settings),
    }
    return json.dumps(told, indent=2, ensure_ascii=False) + "\n"


def _figures(findings: Findings) -> str:
    found, rows = findings.found, []
    for name, result in found.items():
        rows.append([name, number(result.value), f"{result.distance.sentence}; {found.about(result)}"])
        evidence = result.evidence
        if evidence and evidence.interval:
            ends = f"{number(evidence.interval.low)} to {number(evidence.interval.high)}"
            rows.append(
                [
                    "without noise",
                    number(result.overall.debiased_shown),
                    f"{evidence.interval.confidence:.0%} interval {ends}",
                ]
            )
        if evidence and evidence.test:
            rows.append(["by chance", number(evidence.null), f"p {p_figure(evidence.test.p_value)}"])
    return _table(["distance", "value", "what it is"], rows)


def _words(findings: Findings) -> list[str]:
    """Properties of images that differ."""
    rows = [
        [row["name"], row["a"], row["b"], p_figure(row["q"])]
        for row in findings.properties
        if row["clear"] is not False
    ]
    return ["## What differs, in words", _table(["property of images", "A", "B", "q"], rows)] if rows else []


def _layers(findings: Findings) -> str:
    found = findings.found
    layers = found["dna-emd"].layers
    rows = [
        [layer, f"{found.neurons[layer]:,}", number(figure.value), number(figure.debiased_shown),
         f"{number(ends.low)} to {number(ends.high)}" if (ends := figure.interval) else "-", p_figure(figure.p_value)]
        for layer, figure in layers.items()
    ]  # fmt: skip
    return _table(["layer", "neurons", "dna-emd (bins)", "without noise", "interval", "p"], rows)


def _neurons(findings: Findings) -> str:
    found = findings.found
    rows = [
        [in_words(one["layer"], one["neuron"], found.neuron_names), number(one["dna_emd"]), f"{one['shift']:+.3g}",
         p_figure(one["q"])]
        for one in found.top_neurons(_TOP)
    ]  # fmt: skip
    return _table(["neuron", "dna-emd (bins)", "mean activation, B less A", "q"], rows)


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_cell(str(cell)) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    """Text from outside, in which nothing acts: neither Markdown's signs nor html's."""
    shown = visible(text)
    for sign in "\\`*_[]<>|#":
        shown = shown.replace(sign, f"\\{sign}")
    return shown
