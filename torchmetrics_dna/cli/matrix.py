"""Command that compares several sets, all against all."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads it
from typing import TYPE_CHECKING, Annotated, Any

import typer

import torchmetrics_dna.cli.options as o
from torchmetrics_dna.cli.console import PROCESSES, check_figure, check_sources, print_unreadable, rich_table, talk
from torchmetrics_dna.cli.measuring import measures_images, showing_progress
from torchmetrics_dna.cli.output import FormatOption, Printout, ResultFile, format_for, write

if TYPE_CHECKING:
    from torchmetrics_dna.comparisons.distance_matrix import DistanceMatrix

_WIDE = 10  # sets; a full matrix of more is too wide for a terminal


@measures_images("properties")
def matrix(
    sets: Annotated[list[str], typer.Argument(metavar="SETS", help=f"Two sets or more; each: {o.SIDE}")],
    metrics: o.Metrics = None,
    neuron_weights: o.NeuronWeightsFile = None,
    heatmap: Annotated[Path | None, o.output_option("Draw all distances, and the tree of the sets.")] = None,
    form: FormatOption = None,
    output: ResultFile = None,
    **options: Any,
) -> None:
    """Compare several image sets, or DNAs of them, all against all."""
    from torchmetrics_dna.comparisons import matrix as compare_all
    from torchmetrics_dna.extras import require
    from torchmetrics_dna.jobs.processes import rank as process_rank

    check_sources(*sets)
    form = format_for(form, output)
    require("scipy", "plot")
    if heatmap is not None:
        check_figure(heatmap)
    options |= {"metrics": o.names(metrics), "neuron_weights": neuron_weights}
    with showing_progress(options) as packed:
        distances = compare_all(sets, distributed=PROCESSES > 1, **packed)
    write(_output_of(distances), form, output)
    if heatmap is not None and process_rank() == 0:
        from torchmetrics_dna.plots import plot_matrix

        plot_matrix(distances).savefig(heatmap)
        talk.print(f"The heat map is in {heatmap}")
    print_unreadable(distances.unreadable)


def _output_of(distances: DistanceMatrix) -> Printout:
    rows, table = distances.rows(), distances.table
    columns, cells = _near(rows) if len(rows) > _WIDE else _all(rows)
    text = [distances.verdict, "", rich_table(columns, cells, table.title)]
    return Printout(distances.to_dict, distances.rows, [distances.verdict], [table], text)


def _all(rows: list[dict[str, Any]]) -> tuple[list[str], list[list[Any]]]:
    """Return the full matrix, its columns numbered like its rows."""
    cells = [
        [f"{i} {row['set']}", row["num_images"], *(None if column is row else row[column["set"]] for column in rows)]
        for i, row in enumerate(rows, 1)
    ]
    return ["set", "images", *map(str, range(1, len(rows) + 1))], cells


def _near(rows: list[dict[str, Any]]) -> tuple[list[str], list[list[Any]]]:
    """Return the nearest and the furthest set of each."""
    cells = []
    for row in rows:
        distances = {column["set"]: row[column["set"]] for column in rows if column is not row}
        near, far = min(distances, key=distances.__getitem__), max(distances, key=distances.__getitem__)
        mean = sum(distances.values()) / len(distances)
        cells.append([row["set"], row["num_images"], near, distances[near], far, distances[far], mean])
    return ["set", "images", "nearest", "distance", "furthest", "distance", "mean of all"], cells
