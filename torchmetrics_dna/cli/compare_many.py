"""Output of the command ``compare`` for several sets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torchmetrics_dna.cli.console import out, print_csv, print_json, print_markdown, table
from torchmetrics_dna.dna.distances import DISTANCES
from torchmetrics_dna.files.visible import p_figure

if TYPE_CHECKING:
    from torchmetrics_dna.comparisons.comparisons import Comparisons


def print_comparisons(comparisons: Comparisons, form: str | None) -> None:
    """Print the best set and a table; or json, csv or Markdown."""
    if form == "json":
        print_json(comparisons.to_dict())
    elif form == "csv":
        print_csv(comparisons.rows())
    elif form == "markdown":
        header, rows = _cells(comparisons, True)
        print_markdown(header, rows, comparisons.verdict)
    else:
        out.print(comparisons.verdict)
        out.print()
        header, rows = _cells(comparisons, False)
        out.print(table(header, rows, f"{len(rows)} sets against {comparisons.reference}"))


def _cells(comparisons: Comparisons, intervals: bool) -> tuple[list[str], list[list[Any]]]:
    """Return header and rows, with a mark on the best set; intervals only on request, since they are wide."""
    key = DISTANCES[comparisons.distance].key
    names = {DISTANCES[name].key: name for comparison in comparisons.values() for name in comparison}
    rows = comparisons.rows()
    has_folds = any(row[f"{key}_debiased"] is not None for row in rows)
    has_test = any(row["p_value"] is not None for row in rows)
    header = ["set", "images", *names.values()]
    header += ["without noise"] * has_folds + ["interval"] * (has_folds and intervals)
    header += ["p (Holm)", "p (best nearer)"] if has_test else []
    cells = []
    for row in rows:
        line = [f"{row['set']}{' (best)' if row['best'] else ''}", row["num_images"], *(row[name] for name in names)]
        if has_folds:
            figure = comparisons[row["set"]][comparisons.distance].overall
            line += [figure.debiased_shown, figure.interval.ends if figure.interval else "-"][: 1 + intervals]
        if has_test:
            line += [p_figure(row["p_holm"]), p_figure(row["p_best_is_nearer"])]
        cells.append(line)
    return header, cells
