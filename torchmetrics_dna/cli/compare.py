"""The commands that compare image sets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rich.table import Table
from rich.text import Text

import torchmetrics_dna.cli.options as o
from torchmetrics_dna.cli.console import (
    check_figure,
    numbers,
    out,
    print_json,
    print_unreadable,
    progress,
    table,
    talk,
)
from torchmetrics_dna.files.visible import number

if TYPE_CHECKING:
    from torchmetrics_dna.sets.comparison import Comparison
    from torchmetrics_dna.sets.demo import Demo


def compare(
    a: o.SideA,
    b: o.SideB,
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
    confidence: Annotated[float | None, o.option("Give a confidence interval of dna-emd, such as 0.95.")] = None,
    as_json: o.Json = False,
) -> None:
    """Compare two image sets, or DNAs of them."""
    from torchmetrics_dna.sets.compare import compare as compare_sets
    from torchmetrics_dna.sets.processes import world_size

    with progress() as report:
        result = compare_sets(
            a,
            b,
            feature,
            layers=o.names(layers),
            metrics=o.names(metrics),
            device=device,
            num_bins=num_bins,
            ranges=ranges,
            neuron_weights=neurons,
            confidence=confidence,
            batch_size=batch_size,
            num_workers=num_workers,
            exif_orientation=exif_orientation,
            skip_unreadable=skip_unreadable,
            progress=report,
            distributed=world_size() > 1,
            **o.extractor_settings(weights_path, crop),
        )
    _print_comparison(result, as_json)
    print_unreadable(result.unreadable)


def demo(
    output: Annotated[Path, o.option("Where the figure goes.", "-o", "--output")] = Path("demo.png"),
    num_images: Annotated[int, o.option("Photographs to compare with their degraded copies.")] = 32,
) -> None:
    """Compare photographs with degraded copies of rising strength, and plot how the distances rise."""
    from torchmetrics_dna.plots import plot_demo
    from torchmetrics_dna.sets.demo import run_demo

    check_figure(output)
    with progress() as report:
        result = run_demo(num_images, report)
    _print_demo(result)
    plot_demo(result).savefig(output)
    talk.print(f"The figure is in {output}")


def _print_comparison(result: Comparison, as_json: bool) -> None:
    from torchmetrics_dna.dna.distances import DISTANCES

    if as_json:
        print_json(result.to_dict())
        return
    out.print(_summary(result))
    if records := result.records("neuron", "layer"):
        rows = [
            [layer, width, *(result.value(record.name, layer) for record in records)]
            for layer, width in result.neurons.items()
        ]
        out.print("", table(["layer", "neurons", *(record.name for record in records)], rows, "By layer"))
    if records := result.records("neuron"):
        top = [[n["layer"], str(n["neuron"]), *(n[record.key] for record in records)] for n in result.top_neurons()]
        out.print("", table(["layer", "neuron", *(record.name for record in records)], top, "Neurons that differ most"))
    if lacking := [name for name, record in DISTANCES.items() if record.least > min(result.num_images.values())]:
        talk.print(f"More images are needed on each side for {', '.join(lacking)}.")


def _summary(result: Comparison) -> Table:
    """What a comparison comes to."""
    figures = [(record.name, result.value(record.name), result.about(record)) for record in result.records()]
    main = len(figures)
    if interval := result.interval:
        sure = f"{interval.confidence:.0%}: {number(interval.low)} to {number(interval.high)}"
        figures.append(("without noise", interval.value, sure))
        figures.append(("noise floor", result.noise_floor, "between random halves of one set"))
    summary = Table(show_header=False, box=None)
    values = numbers([value for _, value, _ in figures])
    for i, ((name, _, what), value) in enumerate(zip(figures, values, strict=True)):
        summary.add_row(name, Text(value, "bold" if i < main else ""), what)
    summary.add_row("images", f"{result.num_images['a']} and {result.num_images['b']}", "in A and B")
    ranges = f", ranges {result.ranges}" if result.ranges else ""
    summary.add_row("extractor", result.extractor, f"{result.neurons.total} neurons{ranges}")
    return summary


def _print_demo(result: Demo) -> None:
    rows = [
        [name if first else "", distance, *(c.value(distance) for c in comparisons)]
        for name, comparisons in result.comparisons.items()
        for first, distance in ((True, "dna-emd"), (False, "dna-fd"))
    ]
    title = f"{result.num_images} photographs against their degraded copies"
    shown = table(["degradation", "distance", *(f"strength {s}" for s in result.strengths)], rows, title)
    for row in shown.rows[1::2]:
        row.end_section = True
    out.print(shown)
