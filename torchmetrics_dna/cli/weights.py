"""Commands that choose neurons, or learn their weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import torchmetrics_dna.cli.options as o
from torchmetrics_dna.cli.console import check_output, out, progress, rich_table, talk
from torchmetrics_dna.cli.help import Command

if TYPE_CHECKING:
    from torchmetrics_dna.dna import HistogramDNA
    from torchmetrics_dna.dna.neuron_weights import NeuronWeights

Output = Annotated[Path, o.option("The file of neuron weights to write.", "-o", "--output")]
Pairs = Annotated[
    list[str],
    typer.Argument(metavar="FILES", help="Pairs of histogram DNA files: with, without, with, without and so on."),
]

weights = typer.Typer(help="Choose or learn which neurons count.", no_args_is_help=True)


@weights.command(
    cls=Command, epilog="torchmetrics-dna weights select sharp.dna.npz blurred.dna.npz -o blur.weights.npz"
)
def select(
    pairs: Pairs,
    output: Output,
    k: Annotated[int, o.option("How many neurons.", "-k")] = 10,
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
    chosen_weights = NeuronWeights.of_neurons(
        chosen, dna.neurons, dna.extractor, dna.weights_digest, output.name.partition(".")[0]
    )
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
            progress=lambda done, steps: report("learning", done, steps),
        )
    columns = ["pair", "taken away"] + (["on held-out images"] if held_out_distances is not None else [])
    parts = [sensitivity_deviation(side, learned) for side in (distances, held_out_distances) if side is not None]
    rows = [
        [f"{with_} {without}", *(f"{100 * float(part[i]):5.1f} %" for part in parts)]
        for i, (with_, without) in enumerate(zip(pairs[::2], pairs[1::2], strict=True))
    ]
    out.print(rich_table(columns, rows, "Share of each distance that the weights take away"))
    _save(NeuronWeights.like(learned, loaded[0][0], output.name.partition(".")[0]), output)


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
