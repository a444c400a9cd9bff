"""Output of the command ``compare`` for classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torchmetrics_dna.cli.console import out, print_csv, print_json, print_markdown, table, talk
from torchmetrics_dna.files.visible import p_figure

if TYPE_CHECKING:
    from torchmetrics_dna.comparisons.class_comparisons import ClassComparisons


def print_classes(comparisons: ClassComparisons, form: str | None) -> None:
    """Print a table, furthest class first; or json, csv or Markdown."""
    if form == "json":
        print_json(comparisons.to_dict())
    elif form == "csv":
        print_csv(comparisons.rows())
    elif form == "markdown":
        print_markdown(*_cells(comparisons), comparisons.verdict)
    else:
        out.print(comparisons.verdict)
        out.print()
        out.print(table(*_cells(comparisons), f"{len(comparisons)} classes"))
    for side, names in zip("AB", comparisons.alone, strict=True):
        if names:
            talk.print(f"Only {side} has {len(names)} more: {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}.")


def _cells(comparisons: ClassComparisons) -> tuple[list[str], list[list[Any]]]:
    from torchmetrics_dna.dna.distances import DISTANCES

    names = {result.distance.key: name for name, result in comparisons.total.items()}
    p, debiased = comparisons.total[comparisons.distance].p_value, f"{DISTANCES[comparisons.distance].key}_debiased"
    rows = [*comparisons.rows(), comparisons.row("all together", comparisons.total, p, None)]
    for row, comparison in zip(
        rows, [*(comparisons[name] for name in comparisons.order), comparisons.total], strict=True
    ):
        row[debiased] = comparison[comparisons.distance].overall.debiased_shown
    columns = {debiased: "without noise", "p_holm": "p (Holm)", "q_value": "q"}
    columns = {key: name for key, name in columns.items() if any(row[key] is not None for row in rows)}
    header = ["class", "images of A", "of B", *names.values(), *columns.values()]
    cells = [
        [row["class"], row["images_a"], row["images_b"]]
        + [row[key] for key in names]
        + [row[key] if name == "without noise" else p_figure(row[key]) for key, name in columns.items()]
        for row in rows
    ]
    return header, cells
