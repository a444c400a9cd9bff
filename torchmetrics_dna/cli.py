"""The command line: results on stdout, talk and progress on stderr."""

from __future__ import annotations

import json
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torchmetrics_dna.comparison import Comparison
    from torchmetrics_dna.demo import Demo
    from torchmetrics_dna.measure import Progress as Report

app = typer.Typer(
    help="Visual DNA: compare image sets neuron by neuron.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
out, talk = Console(highlight=False), Console(stderr=True, highlight=False)


class Crop(Enum):
    """What to cut out of images before they are resized."""

    NONE = "none"
    CENTER = "center"


def _option(text: str, *names: str) -> Any:
    return typer.Option(*names, help=text)


_IMAGES = "Folder, .zip, .txt with one path a line, or image file."
ImagesA = Annotated[str, typer.Argument(metavar="A", help=_IMAGES)]
ImagesB = Annotated[str, typer.Argument(metavar="B", help=_IMAGES)]
Feature = Annotated[str, _option("Extractor: a preset, or the name of a timm model.")]
Layers = Annotated[str | None, _option("Layers, separated by commas. [default: the extractor's]")]
NumBins = Annotated[int, _option("Bins of each neuron's histogram.")]
Ranges = Annotated[str | None, _option("File of activation ranges, or auto. [default: packaged, else auto]")]
WeightsPath = Annotated[Path | None, _option("Local file of the extractor's weights.")]
CropOption = Annotated[Crop, _option("Cut out of images before they are resized.")]
ExifOrientation = Annotated[bool, _option("Turn images as their EXIF tag says.", "--exif-orientation")]
SkipUnreadable = Annotated[
    bool, _option("Leave out, and name at the end, images that can't be read.", "--skip-unreadable")
]
BatchSize = Annotated[int, _option("Images in a batch.")]
NumWorkers = Annotated[int | None, _option("Processes that decode images. [default: one per core up to 8]")]
Device = Annotated[str | None, _option("Such as cpu or cuda:1. [default: CUDA if there is one]")]
Json = Annotated[bool, _option("Print json.", "--json")]


@app.callback()
def _root() -> None:
    pass


@app.command()
def compare(
    a: ImagesA,
    b: ImagesB,
    feature: Feature = "efficientnet_lite0",
    layers: Layers = None,
    num_bins: NumBins = 1000,
    ranges: Ranges = None,
    weights_path: WeightsPath = None,
    crop: CropOption = Crop.NONE,
    exif_orientation: ExifOrientation = False,
    skip_unreadable: SkipUnreadable = False,
    batch_size: BatchSize = 32,
    num_workers: NumWorkers = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Compare two image sets by dna-emd and dna-fd."""
    from torchmetrics_dna.comparison import compare as compare_sets
    from torchmetrics_dna.extractors import DNAExtractor
    from torchmetrics_dna.processes import joined, rank, world_size

    extractor = DNAExtractor(feature, layers=_names(layers), weights_path=weights_path, crop=crop.value)
    with joined() as own_device, _progress(silent=rank() > 0) as report:
        result = compare_sets(
            a,
            b,
            extractor.to(device or own_device),
            num_bins=num_bins,
            ranges=ranges,
            batch_size=batch_size,
            num_workers=num_workers,
            exif_orientation=exif_orientation,
            skip_unreadable=skip_unreadable,
            progress=report,
            distributed=world_size() > 1,
        )
        if rank() > 0:
            return
    if as_json:
        out.print_json(json.dumps(result.to_dict()))
    else:
        _print_comparison(result)
    if result.unreadable:
        talk.print(f"{len(result.unreadable)} images were left out:")
        for line in result.unreadable:
            talk.print(f"  {line}", markup=False)


@app.command()
def demo(
    output: Annotated[Path, _option("Where the figure goes.", "-o", "--output")] = Path("demo.png"),
    num_images: Annotated[int, _option("Photographs to compare with their degraded copies.")] = 32,
) -> None:
    """Compare photographs with degraded copies of rising strength, and plot how the distances rise."""
    from torchmetrics_dna.demo import run_demo
    from torchmetrics_dna.plots import plot_demo

    with _progress() as report:
        result = run_demo(num_images, report)
    _print_demo(result)
    plot_demo(result).savefig(output)
    talk.print(f"The figure is in {output}", markup=False)


@contextmanager
def _progress(silent: bool = False) -> Iterator[Report]:
    """A bar on stderr for each source that reports."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=talk, disable=silent) as bars:
        tasks: dict[str, TaskID] = {}

        def report(source: str, done: int, total: int) -> None:
            if source not in tasks or bars.tasks[tasks[source]].finished:
                tasks[source] = bars.add_task(source, total=total)
            bars.update(tasks[source], completed=done)

        yield report


def _names(layers: str | None) -> list[str] | None:
    return None if layers is None else [name.strip() for name in layers.split(",")]


def _print_comparison(result: Comparison) -> None:
    summary = Table(show_header=False, box=None)
    summary.add_row("dna-emd", f"[bold]{_number(result.dna_emd)}[/bold]", f"bins of {result.num_bins}")
    summary.add_row("dna-fd", f"[bold]{_number(result.dna_frechet)}[/bold]", "squared activations")
    summary.add_row("images", f"{result.num_images['a']} and {result.num_images['b']}", "in A and B")
    summary.add_row("extractor", result.extractor, f"{result.neurons.total} neurons, ranges {result.ranges}")
    layers = Table("layer", "neurons", "dna-emd", "dna-fd", title="By layer", title_justify="left")
    for layer, figures in result.layers.items():
        layers.add_row(layer, str(result.neurons[layer]), _number(figures["dna_emd"]), _number(figures["dna_frechet"]))
    top = Table("layer", "neuron", "dna-emd", "dna-fd", title="Neurons that differ most", title_justify="left")
    for neuron in result.top_neurons():
        top.add_row(neuron["layer"], str(neuron["neuron"]), _number(neuron["dna_emd"]), _number(neuron["dna_frechet"]))
    for table in (layers, top):
        for column in table.columns[1:]:
            column.justify = "right"
    out.print(summary, "", layers, "", top)
    if result.dna_frechet is None:
        talk.print("dna-fd needs more than one image on each side.")


def _print_demo(result: Demo) -> None:
    table = Table(
        "degradation",
        "distance",
        *(f"strength {s}" for s in result.strengths),
        title=f"{result.num_images} photographs against their degraded copies",
        title_justify="left",
    )
    for name, comparisons in result.comparisons.items():
        table.add_row(name, "dna-emd", *(_number(c.dna_emd) for c in comparisons))
        table.add_row("", "dna-fd", *(_number(c.dna_frechet) for c in comparisons), end_section=True)
    for column in table.columns[2:]:
        column.justify = "right"
    out.print(table)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
