"""The commands that compare image sets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from rich.table import Table
from rich.text import Text

import torchmetrics_dna.cli.options as o
from torchmetrics_dna.cli.console import (
    check_figure,
    number,
    numbers,
    out,
    print_json,
    print_unreadable,
    progress,
    table,
    talk,
)

if TYPE_CHECKING:
    from torchmetrics_dna.sets.comparison import Comparison
    from torchmetrics_dna.sets.demo import Demo

_UNITS = {"dna_emd": ("dna-emd", "bins of {bins}"), "dna_frechet": ("dna-fd", "squared activations")}
_UNITS["fd"] = ("fd", "squared activations, mean over layers")


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
    """Compare two image sets, or DNAs of them, by dna-emd and dna-fd, or by fd and kid."""
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
    found = result.to_dict()
    if as_json:
        print_json(found)
        return
    units = {key: unit for key, unit in _UNITS.items() if found[key] is not None}
    out.print(_summary(result, found, units))
    if units:
        names = [name for name, _ in units.values()]
        rows = [
            [layer, result.neurons[layer], *(figures[key] for key in units)] for layer, figures in result.layers.items()
        ]
        out.print("", table(["layer", "neurons", *names], rows, "By layer"))
    neuron_units = {key: name for key, (name, _) in units.items() if key != "fd"}
    if neuron_units:
        top = [[n["layer"], str(n["neuron"]), *(n[key] for key in neuron_units)] for n in result.top_neurons()]
        out.print("", table(["layer", "neuron", *neuron_units.values()], top, "Neurons that differ most"))
    if min(result.num_images.values()) < 2:
        talk.print("dna-fd, fd and kid need more than one image on each side.")


def _summary(result: Comparison, found: dict[str, Any], units: dict[str, tuple[str, str]]) -> Table:
    """What a comparison comes to."""
    figures = [(name, found[key], unit.format(bins=result.num_bins)) for key, (name, unit) in units.items()]
    if result.kid is not None:
        spread = f", ± {number(result.kid_std)} over subsets" if result.kid_std else ""
        figures.append(("kid", result.kid, f"of layer {list(result.neurons)[-1]}{spread}"))
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
    rows = []
    for name, comparisons in result.comparisons.items():
        rows.append([name, "dna-emd", *(c.dna_emd for c in comparisons)])
        rows.append(["", "dna-fd", *(c.dna_frechet for c in comparisons)])
    title = f"{result.num_images} photographs against their degraded copies"
    shown = table(["degradation", "distance", *(f"strength {s}" for s in result.strengths)], rows, title)
    for row in shown.rows[1::2]:
        row.end_section = True
    out.print(shown)
