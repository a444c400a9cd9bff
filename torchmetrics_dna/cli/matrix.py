"""Command that compares several sets, all against all."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads it
from typing import TYPE_CHECKING, Annotated, Any

import typer

import torchmetrics_dna.cli.options as o
from torchmetrics_dna.cli.console import (
    PROCESSES,
    check_figure,
    check_sources,
    out,
    print_csv,
    print_json,
    print_markdown,
    print_unreadable,
    progress,
    table,
    talk,
)
from torchmetrics_dna.cli.measuring import measures_images, with_progress

if TYPE_CHECKING:
    from torchmetrics_dna.comparisons.distance_matrix import DistanceMatrix

_WIDE = 10  # sets; a full matrix of more is too wide for a terminal


@measures_images()
def matrix(
    sets: Annotated[list[str], typer.Argument(metavar="SETS", help=f"Two sets or more; each: {o.SIDE}")],
    metrics: o.Metrics = None,
    neuron_weights: o.NeuronWeightsFile = None,
    heatmap: Annotated[Path | None, o.output_option("Draw all distances, and the tree of the sets.")] = None,
    as_csv: Annotated[bool, o.output_option("Print comma-separated values.", "--csv")] = False,
    as_markdown: Annotated[bool, o.output_option("Print a Markdown table.", "--markdown")] = False,
    as_json: o.Json = False,
    **options: Any,
) -> None:
    """Compare several image sets, or DNAs of them, all against all."""
    from torchmetrics_dna.comparisons import matrix as compare_all
    from torchmetrics_dna.extras import require

    check_sources(*sets)
    form = o.one_form(csv=as_csv, markdown=as_markdown, json=as_json)
    require("scipy", "plot")
    if heatmap is not None:
        check_figure(heatmap)
    with progress() as report:
        packed = with_progress(options, report) | {"metrics": o.names(metrics), "neuron_weights": neuron_weights}
        distances = compare_all(sets, distributed=PROCESSES > 1, **packed)
    _print(distances, form)
    _draw(distances, heatmap)
    print_unreadable(distances.unreadable)


def _print(distances: DistanceMatrix, form: str | None) -> None:
    rows = distances.rows()
    if form == "json":
        print_json(distances.to_dict())
    elif form == "csv":
        print_csv(rows)
    elif form == "markdown":
        print_markdown(list(rows[0]), [[*row.values()] for row in rows], distances.verdict)
    else:
        out.print(distances.verdict)
        out.print()
        columns, cells = _near(rows) if len(rows) > _WIDE else _all(rows)
        out.print(table(columns, cells, f"{distances.distance}, {len(rows)} sets in the order of their tree"))


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


def _draw(distances: DistanceMatrix, heatmap: Path | None) -> None:
    from torchmetrics_dna.jobs.processes import rank

    if rank() != 0 or heatmap is None:
        return
    from torchmetrics_dna.plots import plot_matrix

    plot_matrix(distances).savefig(heatmap)
    talk.print(f"The heat map is in {heatmap}")
