"""Command that writes a report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import torchmetrics_dna.cli.options as o
from torchmetrics_dna.cli.console import PROCESSES, check_output, check_sources, out, print_unreadable, talk
from torchmetrics_dna.cli.measuring import measures_images, showing_progress

_SUFFIXES = (".html", ".htm", ".md", ".json")
Report = Annotated[Path, o.output_option("The file to write: .html, .md or .json.", "-o", "--output")]
Scored = Annotated[
    int,
    o.option("Images of each side, drawn at random, among which to look for those least like the other."),
]


@measures_images("properties", "crop")
def report(
    a: o.SideA,
    b: o.SideB,
    output: Report,
    num_scored: Scored = 256,
    metrics: o.Metrics = None,
    neuron_weights: o.NeuronWeightsFile = None,
    changes: o.ChangesFile = None,
    groups: o.Groups = None,
    pairs: o.Pairs = None,
    **options: Any,
) -> None:
    """Compare two image sets, or DNAs of them, and write what differs: one page that opens offline, or a text."""
    check_sources(a, b)
    check_output(output, *_SUFFIXES)
    import torchmetrics_dna.reporting as pages

    options |= {
        "num_scored": num_scored,
        "metrics": o.names(metrics),
        "neuron_weights": neuron_weights,
        "changes": changes,
        "groups": groups,
        "pairs": pairs and pairs.pairs,
    }
    with showing_progress(options) as packed:
        result = pages.report(a, b, output, distributed=PROCESSES > 1, **packed)
    for sentence in (result.verdict, *result.explain().property_sentences):
        out.print(sentence)
    talk.print(f"The report is in {output}")
    print_unreadable(result.unreadable)
