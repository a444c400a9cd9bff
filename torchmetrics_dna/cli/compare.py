"""The commands that compare image sets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from rich.table import Table

import torchmetrics_dna.cli.options as o
from torchmetrics_dna.cli.console import number, out, print_json, print_unreadable, progress, table, talk

if TYPE_CHECKING:
    from torchmetrics_dna.comparison import Comparison
    from torchmetrics_dna.demo import Demo

_UNITS = {"dna_emd": ("dna-emd", "bins of {bins}"), "dna_frechet": ("dna-fd", "squared activations")}
_UNITS["fd"] = ("fd", "squared activations, mean over layers")
Metrics = Annotated[
    str | None,
    o.option("Any of dna-emd, dna-fd, fd, kid, with commas. [default: dna-emd,dna-fd, or what DNAs allow]"),
]


def compare(
    a: o.SideA,
    b: o.SideB,
    metrics: Metrics = None,
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
    import torchmetrics_dna.comparing as sets
    from torchmetrics_dna.processes import joined, rank, world_size

    sides = [sets.open_side(side, o.names(layers), ranges, exif_orientation) for side in (a, b)]
    with joined() as own_device, progress(silent=rank() > 0) as report:
        result = sets.compare(
            sides[0],
            sides[1],
            extractor_for(sides, feature, o.names(layers), o.extractor_settings(weights_path, crop)),
            metrics=o.names(metrics),
            device=device or own_device,
            num_bins=num_bins,
            ranges=ranges,
            neuron_weights=neurons,
            confidence=confidence,
            batch_size=batch_size,
            num_workers=num_workers,
            skip_unreadable=skip_unreadable,
            progress=report,
            distributed=world_size() > 1,
        )
        if rank() > 0:
            return
    _print_comparison(result, as_json)
    print_unreadable(result.unreadable)


def demo(
    output: Annotated[Path, o.option("Where the figure goes.", "-o", "--output")] = Path("demo.png"),
    num_images: Annotated[int, o.option("Photographs to compare with their degraded copies.")] = 32,
) -> None:
    """Compare photographs with degraded copies of rising strength, and plot how the distances rise."""
    from torchmetrics_dna.demo import run_demo
    from torchmetrics_dna.plots import plot_demo

    with progress() as report:
        result = run_demo(num_images, report)
    _print_demo(result)
    plot_demo(result).savefig(output)
    talk.print(f"The figure is in {output}", markup=False)


def extractor_for(sides: list[Any], feature: str | None, layers: list[str] | None, settings: dict[str, Any]) -> Any:
    """The extractor for the sides that are images; None if there are none."""
    from torchmetrics_dna.dna import DNA
    from torchmetrics_dna.extractors import DNAExtractor
    from torchmetrics_dna.reference import DEFAULT_FEATURE, extractor_of

    dnas = [side for side in sides if isinstance(side, DNA)]
    if len(dnas) == len(sides):
        return None
    if dnas and feature in (None, dnas[0].extractor):
        return extractor_of(dnas[0], **settings)
    return DNAExtractor(feature or DEFAULT_FEATURE, layers=list(dnas[0].neurons) if dnas else layers, **settings)


def _print_comparison(result: Comparison, as_json: bool) -> None:
    found = result.to_dict()
    if as_json:
        print_json(found)
        return
    units = {key: unit for key, unit in _UNITS.items() if found[key] is not None}
    summary = Table(show_header=False, box=None)
    for key, (name, unit) in units.items():
        summary.add_row(name, f"[bold]{number(found[key])}[/bold]", unit.format(bins=result.num_bins))
    if result.kid is not None:
        spread = f", ± {number(result.kid_std)} over subsets" if result.kid_std else ""
        summary.add_row("kid", f"[bold]{number(result.kid)}[/bold]", f"of layer {list(result.neurons)[-1]}{spread}")
    if result.interval is not None:
        interval, floor = result.interval, number(result.noise_floor)
        sure = f"{interval.confidence:.0%}: {number(interval.low)} to {number(interval.high)}"
        summary.add_row("without noise", number(interval.value), sure)
        summary.add_row("noise floor", floor, "between random halves of one set")
    summary.add_row("images", f"{result.num_images['a']} and {result.num_images['b']}", "in A and B")
    ranges = f", ranges {result.ranges}" if result.ranges else ""
    summary.add_row("extractor", result.extractor, f"{result.neurons.total} neurons{ranges}")
    out.print(summary)
    if units:
        layers = table("layer", "neurons", *(name for name, _ in units.values()), title="By layer")
        for layer, figures in result.layers.items():
            layers.add_row(layer, str(result.neurons[layer]), *(number(figures[key]) for key in units))
        out.print("", layers)
    neuron_units = {key: name for key, (name, _) in units.items() if key != "fd"}
    if neuron_units:
        top = table("layer", "neuron", *neuron_units.values(), title="Neurons that differ most")
        for neuron in result.top_neurons():
            top.add_row(neuron["layer"], str(neuron["neuron"]), *(number(neuron[key]) for key in neuron_units))
        out.print("", top)
    if min(result.num_images.values()) < 2:
        talk.print("dna-fd, fd and kid need more than one image on each side.")


def _print_demo(result: Demo) -> None:
    strengths = (f"strength {s}" for s in result.strengths)
    title = f"{result.num_images} photographs against their degraded copies"
    shown = table("degradation", "distance", *strengths, title=title, left=2)
    for name, comparisons in result.comparisons.items():
        shown.add_row(name, "dna-emd", *(number(c.dna_emd) for c in comparisons))
        shown.add_row("", "dna-fd", *(number(c.dna_frechet) for c in comparisons), end_section=True)
    out.print(shown)
