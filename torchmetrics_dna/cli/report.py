"""The command that writes a report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import torchmetrics_dna.cli.options as o
from torchmetrics_dna.cli.console import check_output, out, print_unreadable, progress, talk

if TYPE_CHECKING:
    from pathlib import Path

    from torchmetrics_dna.sets.comparison import Comparison

Scored = Annotated[
    int, o.option("Images of each side, drawn at random, among which to look for the closest and furthest.")
]


def report(
    a: o.SideA,
    b: o.SideB,
    output: o.Output,
    scored: Scored = 256,
    metrics: o.Metrics = None,
    feature: o.Feature = None,
    layers: o.Layers = None,
    num_bins: o.NumBins = None,
    ranges: o.Ranges = None,
    weights_path: o.WeightsPath = None,
    crop: o.CropOption = None,
    exif_orientation: o.ExifOrientation = False,
    skip_unreadable: o.SkipUnreadable = False,
    batch_size: o.BatchSize = 32,
    num_workers: o.NumWorkers = None,
    device: o.Device = None,
    neurons: o.NeuronWeightsFile = None,
    group_by: o.Groups = None,
    confidence: o.Confidence = 0.95,
) -> None:
    """Compare two image sets, or DNAs of them, and write what differs to one html page that opens offline."""
    import torchmetrics_dna.reporting as pages
    from torchmetrics_dna.sets.processes import world_size

    check_output(output, ".html", ".htm")
    with progress() as bars:
        result = pages.report(
            a,
            b,
            output,
            feature,
            layers=o.names(layers),
            num_scored=scored,
            groups=group_by,
            confidence=confidence,
            metrics=o.names(metrics),
            device=device,
            num_bins=num_bins,
            ranges=ranges,
            neuron_weights=neurons,
            batch_size=batch_size,
            num_workers=num_workers,
            exif_orientation=exif_orientation,
            skip_unreadable=skip_unreadable,
            progress=bars,
            distributed=world_size() > 1,
            **o.extractor_settings(weights_path, crop),
        )
    _tell(result, output)


def _tell(result: Comparison, output: Path) -> None:
    from torchmetrics_dna.reporting.words import verdict

    out.print(verdict(result))
    talk.print(f"The report is in {output}")
    print_unreadable(result.unreadable)
