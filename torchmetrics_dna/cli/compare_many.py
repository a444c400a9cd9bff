"""What the command ``compare`` prints of several sets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torchmetrics_dna.cli.console import out, print_csv, print_json, print_markdown, table
from torchmetrics_dna.dna.distances import DISTANCES
from torchmetrics_dna.files.visible import number, p_figure

if TYPE_CHECKING:
    from torchmetrics_dna.comparisons.comparisons import Comparisons


def print_comparisons(found: Comparisons, form: str | None) -> None:
    """Print a table, and which set is best; or json, csv or Markdown."""
    if form == "json":
        print_json(found.to_dict())
    elif form == "csv":
        print_csv(found.rows())
    elif form == "markdown":
        header, rows = _cells(found, True)
        print_markdown(header, rows, found.verdict)
    else:
        out.print(found.verdict)
        out.print()
        header, rows = _cells(found, False)
        out.print(table(header, rows, f"{len(rows)} sets against {found.reference}"))


def _cells(found: Comparisons, intervals: bool) -> tuple[list[str], list[list[Any]]]:
    """Header and rows, the best marked; intervals where there is room for them."""
    key = DISTANCES[found.distance].key
    names = {result.distance.key: name for name, result in next(iter(found.values())).items()}
    rows = found.rows()
    sure = any(row[f"{key}_debiased"] is not None for row in rows)
    tested = any(row["p_value"] is not None for row in rows)
    header = ["set", "images", *names.values()]
    header += ["without noise"] * sure + ["interval"] * (sure and intervals)
    header += ["p (Holm)", "p (best nearer)"] if tested else []
    cells = []
    for row in rows:
        line = [f"{row['set']}{' (best)' if row['best'] else ''}", row["num_images"], *(row[name] for name in names)]
        if sure:
            ends = "-" if row["low"] is None else f"{number(row['low'])} to {number(row['high'])}"
            line += [found[row["set"]][found.distance].overall.debiased_shown, ends][: 1 + intervals]
        if tested:
            line += [p_figure(row["p_holm"]), p_figure(row["p_best_is_nearer"])]
        cells.append(line)
    return header, cells
