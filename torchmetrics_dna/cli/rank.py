"""Commands for single images and chosen neurons."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import torchmetrics_dna.cli.options as o
from torchmetrics_dna.cli.console import (
    PROCESSES,
    check_figure,
    check_output,
    check_sources,
    out,
    print_unreadable,
    progress,
    rich_table,
    talk,
)
from torchmetrics_dna.cli.help import Command
from torchmetrics_dna.cli.measuring import measures_images, with_progress
from torchmetrics_dna.cli.output import FormatOption, Printout, ResultFile, format_for, write
from torchmetrics_dna.files.tables import Table

if TYPE_CHECKING:
    from torchmetrics_dna.dna import HistogramDNA
    from torchmetrics_dna.dna.neuron_weights import NeuronWeights
    from torchmetrics_dna.files.tables import Cell
    from torchmetrics_dna.singles.ranking import Ranking

Output = Annotated[Path, o.option("The file of neuron weights to write.", "-o", "--output")]
Pairs = Annotated[
    list[str],
    typer.Argument(metavar="FILES", help="Pairs of histogram DNA files: with, without, with, without and so on."),
]
Name = Annotated[str, o.option("What to call the weights.")]

# columns of the table, in order
_HEADERS = {
    "rank": "rank",
    "score": "score",
    "dna_emd": "dna-emd",
    "share_worse": "worse",
    "image": "image",
    "nearest_ratio": "ratio",
    "nearest": "nearest",
}

weights = typer.Typer(help="Choose or learn which neurons count.", no_args_is_help=True)


@measures_images()
def rank(
    images: o.Images,
    reference: Annotated[str, o.option("A DNA file, or images; one image ranks the others by likeness to it.")],
    score: Annotated[
        str | None,
        o.option(
            "outlier: images that are off; local: images with a place that is off; contrast: images of the reference's"
            " kind; or distance."
        ),
    ] = None,
    contrast: Annotated[
        str | None, o.option("What else to compare with: pool (all IMAGES), a DNA file, or other images.")
    ] = None,
    nearest: Annotated[
        str | None, o.option("Images, or a saved index: show each image's nearest among them, to find copies.")
    ] = None,
    save_index: Annotated[Path | None, o.option("Save the index of --nearest (.features.npz).")] = None,
    neuron_weights: o.NeuronWeightsFile = None,
    top: Annotated[int | None, o.option("Show so many of the best ones only.", min=1)] = None,
    worst: Annotated[int | None, o.option("Show so many of the worst ones only.", min=1)] = None,
    grid: Annotated[Path | None, o.output_option("Draw a contact sheet, below images of the reference.")] = None,
    maps: Annotated[bool, o.output_option("Show in the contact sheet where images are off.", "--maps")] = False,
    form: FormatOption = None,
    output: ResultFile = None,
    **options: Any,
) -> None:
    """Rank images by how far each of them is from a reference's own images, or by how close it is to the reference."""
    check_sources(images, reference)
    form = format_for(form, output)
    if top is not None and worst is not None:
        raise ValueError("Expected --top or --worst, but got both; leave one out")
    if score not in (None, "outlier", "local", "contrast", "distance"):
        raise ValueError(f"Option --score expected to be outlier, local, contrast or distance, but got {score!r}")
    if grid is not None:
        check_figure(grid)
    elif maps:
        raise ValueError("Option --maps goes with --grid, the contact sheet that shows them; give both")
    if save_index is not None:
        if nearest is None:
            raise ValueError("Option --save-index goes with --nearest, which says of which images; give both")
        check_output(save_index, ".npz")
    from torchmetrics_dna.images.sources import open_indexed
    from torchmetrics_dna.singles.rank import rank as rank_images

    options |= {
        "score": score,
        "contrast": contrast,
        "nearest": nearest,
        "neuron_weights": neuron_weights,
    }
    with progress() as report:
        packed = with_progress(options, report)
        source = images if grid is None else open_indexed(images, "A contact sheet", packed["reading"])
        ranking = rank_images(source, reference, distributed=PROCESSES > 1, **packed)
    write(_output_of(ranking, reference, contrast, ranking.rows(top, worst)), form, output)
    for notice in ranking.notices:
        talk.print(notice)
    print_unreadable(ranking.unreadable)
    _write(ranking, save_index, grid, maps)


def _write(ranking: Ranking, save_index: Path | None, grid: Path | None, maps: bool) -> None:
    """Write the requested files, in the first process."""
    from torchmetrics_dna.jobs.processes import rank as process_rank

    if process_rank() != 0:
        return
    if save_index is not None and ranking.index is not None:
        ranking.index.save(save_index)
        talk.print(f"{save_index}: {ranking.index!r}")
    if grid is not None:
        from torchmetrics_dna.plots import plot_ranking

        plot_ranking(ranking, maps=maps).savefig(grid)
        talk.print(f"The contact sheet is in {grid}")


@weights.command(
    cls=Command, epilog="torchmetrics-dna weights select sharp.dna.npz blurred.dna.npz -o blur.weights.npz"
)
def select(
    pairs: Pairs,
    output: Output,
    k: Annotated[int, o.option("How many neurons.", "-k")] = 10,
    name: Name = "",
) -> None:
    """Choose the neurons that differ most between two DNAs, or most consistently between several pairs."""
    check_output(output, ".npz")
    import torch

    from torchmetrics_dna.dna.names import name_of
    from torchmetrics_dna.dna.neuron_weights import NeuronWeights
    from torchmetrics_dna.functional import select_neurons

    loaded = _load_pairs(pairs)
    dna = loaded[0][0]
    distances = torch.stack([a.distances(b) for a, b in loaded])
    chosen = select_neurons(distances, k)
    chosen_weights = NeuronWeights.of_neurons(chosen, dna.neurons, dna.extractor, dna.weights_digest, name)
    rows: list[list[str | float | None]] = []
    for index in chosen[:20].tolist():
        layer, number = dna.neurons.locate(index)
        rows.append([layer, name_of(layer, number), float(distances[:, index].mean())])
    out.print(rich_table(["layer", "neuron", "dna-emd"], rows, f"{len(chosen)} most sensitive neurons"))
    _save(chosen_weights, output)


@weights.command(
    cls=Command,
    epilog="torchmetrics-dna weights learn day_a.dna.npz night_a.dna.npz city.dna.npz sea.dna.npz -o day.weights.npz",
)
def learn(
    pairs: Pairs,
    output: Output,
    held_out: Annotated[
        list[str] | None, o.option("DNA files of other images, for all pairs in the same order; say it once a file.")
    ] = None,
    nonnegative: Annotated[bool, o.option("Keep weights from going below 0.", "--nonnegative")] = False,
    seed: Annotated[int, o.option("Of the draws.")] = 0,
    name: Name = "",
) -> None:
    """Learn weights that ignore the first pair's difference and keep to those of the others."""
    check_output(output, ".npz")
    import torch

    from torchmetrics_dna.dna.neuron_weights import NeuronWeights
    from torchmetrics_dna.functional import learn_neuron_weights, sensitivity_deviation

    loaded = _load_pairs(pairs)
    if len(loaded) < 2:
        raise ValueError("Learning takes at least two pairs of files: the first to ignore, the others to keep to")
    distances = torch.stack([a.distances(b) for a, b in loaded])
    held_out_distances = torch.stack([a.distances(b) for a, b in _load_pairs(held_out)]) if held_out else None
    if held_out_distances is not None and len(held_out_distances) != len(distances):
        raise ValueError(f"Option --held-out expected {2 * len(distances)} files, but got {len(held_out or [])}")
    with progress() as report:
        learned = learn_neuron_weights(
            distances[0],
            distances[1:],
            held_out=None if held_out_distances is None else (held_out_distances[0], held_out_distances[1:]),
            nonnegative=nonnegative,
            seed=seed,
            progress=lambda done, steps: report("learning", done, steps),
        )
    columns = ["pair", "taken away"] + (["on held-out images"] if held_out_distances is not None else [])
    parts = [sensitivity_deviation(side, learned) for side in (distances, held_out_distances) if side is not None]
    rows = [
        [f"{with_} {without}", *(f"{float(part[i]):6.1%}" for part in parts)]
        for i, (with_, without) in enumerate(zip(pairs[::2], pairs[1::2], strict=True))
    ]
    out.print(rich_table(columns, rows, "Share of each distance that the weights take away"))
    _save(NeuronWeights.like(learned, loaded[0][0], name), output)


def _output_of(ranking: Ranking, reference: str, contrast: str | None, records: list[dict[str, Any]]) -> Printout:
    question = ranking.question.replace("the contrast", contrast or "the pool of all")
    headers = [header for key, header in _HEADERS.items() if key in records[0]]
    if ranking.score == "distance":
        headers[1] = "dna-emd"
    cells: list[list[Cell]] = [[_cell(key, record[key]) for key in _HEADERS if key in record] for record in records]
    title = f"{len(ranking.names)} images {question.replace('the reference', reference)}"
    return Printout(records, records, [], [Table(headers, cells, title)])


def _cell(key: str, value: Any) -> Any:
    if key == "share_worse":
        return f"{value:4.0%}"
    return f"{value:.3g}" if isinstance(value, float) else value


def _load_pairs(paths: list[str]) -> list[tuple[HistogramDNA, HistogramDNA]]:
    """Load histogram DNAs, and pair them in order."""
    from torchmetrics_dna.dna import HistogramDNA
    from torchmetrics_dna.dna.load import load_dna

    if len(paths) % 2:
        raise ValueError(f"Expected pairs of DNA files, but got {len(paths)} files; give one with and one without each")
    dnas = []
    for path in paths:
        dna = load_dna(path)
        if not isinstance(dna, HistogramDNA):
            raise ValueError(f"{path!r} is {dna!r}, expected a DNA of kind 'histogram'")
        dnas.append(dna)
    return list(zip(dnas[::2], dnas[1::2], strict=True))


def _save(neuron_weights: NeuronWeights, output: Path) -> None:
    neuron_weights.save(output)
    talk.print(f"{output}: {neuron_weights!r}")
