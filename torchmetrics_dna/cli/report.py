"""Command that writes a report."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import torchmetrics_dna.cli.options as o
from torchmetrics_dna.cli.console import PROCESSES, check_output, check_sources, out, print_unreadable, progress, talk
from torchmetrics_dna.cli.measuring import measures_images, with_progress

if TYPE_CHECKING:
    from pathlib import Path

    from torchmetrics_dna.comparisons.comparison import Comparison


class Format(Enum):
    """Format of a report."""

    HTML = "html"
    MARKDOWN = "markdown"
    JSON = "json"


_SUFFIXES = {Format.HTML: (".html", ".htm"), Format.MARKDOWN: (".md",), Format.JSON: (".json",)}
Scored = Annotated[
    int,
    o.option(
        "Images of each side, drawn at random, among which to look for those most and least like the other.", "--scored"
    ),
]


@measures_images()
def report(
    a: o.SideA,
    b: o.SideB,
    output: o.Output,
    format: Annotated[Format | None, o.option("Format of the report. [default: by the name of the file]")] = None,  # noqa: A002
    num_scored: Scored = 256,
    metrics: o.Metrics = None,
    neuron_weights: o.NeuronWeightsFile = None,
    neuron_names: o.NeuronNamesFile = None,
    changes: o.ChangesFile = None,
    groups: o.Groups = None,
    pairs: o.Pairs = None,
    confidence: o.Confidence = 0.95,
    **options: Any,
) -> None:
    """Compare two image sets, or DNAs of them, and write what differs: one page that opens offline, or a text."""
    check_sources(a, b)
    check_output(
        output, *(_SUFFIXES[format] if format else [suffix for suffixes in _SUFFIXES.values() for suffix in suffixes])
    )
    import torchmetrics_dna.reporting as pages

    with progress() as bars:
        result = pages.report(
            a,
            b,
            output,
            format=format and format.value,
            num_scored=num_scored,
            groups=groups,
            pairs=pairs and pairs.pairs,
            confidence=confidence,
            metrics=o.names(metrics),
            neuron_weights=neuron_weights,
            neuron_names=neuron_names,
            changes=changes,
            distributed=PROCESSES > 1,
            **with_progress(options, bars),
        )
    _tell(result, output)


def _tell(result: Comparison, output: Path) -> None:
    for sentence in (result.verdict, *result.explain().property_sentences):
        out.print(sentence)
    talk.print(f"The report is in {output}")
    print_unreadable(result.unreadable)
