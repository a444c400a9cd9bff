"""What the command ``compare`` prints of classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torchmetrics_dna.cli.console import out, print_csv, print_json, print_markdown, table, talk
from torchmetrics_dna.files.visible import p_figure

if TYPE_CHECKING:
    from torchmetrics_dna.comparisons.class_comparisons import ClassComparisons


def print_classes(found: ClassComparisons, form: str | None) -> None:
    """Print a table, the class that is furthest first; or json, csv or Markdown."""
    if form == "json":
        print_json(found.to_dict())
    elif form == "csv":
        print_csv(found.rows())
    elif form == "markdown":
        print_markdown(*_cells(found), found.verdict)
    else:
        out.print(found.verdict)
        out.print()
        out.print(table(*_cells(found), f"{len(found)} classes"))
    for side, names in zip("AB", found.alone, strict=True):
        if names:
            talk.print(f"Only {side} has {len(names)} more: {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}.")


def _cells(found: ClassComparisons) -> tuple[list[str], list[list[Any]]]:
    from torchmetrics_dna.dna.distances import DISTANCES

    names = {result.distance.key: name for name, result in found.total.items()}
    p, debiased = found.total[found.distance].p_value, f"{DISTANCES[found.distance].key}_debiased"
    rows = [*found.rows(), found.row("all together", found.total, p, None)]
    for row, one in zip(rows, [*(found[name] for name in found.order), found.total], strict=True):
        row[debiased] = one[found.distance].overall.debiased_shown
    known = {debiased: "without noise", "p_holm": "p (Holm)", "q_value": "q"}
    known = {key: name for key, name in known.items() if any(row[key] is not None for row in rows)}
    header = ["class", "images of A", "of B", *names.values(), *known.values()]
    cells = [
        [row["class"], row["images_a"], row["images_b"]]
        + [row[key] for key in names]
        + [row[key] if name == "without noise" else p_figure(row[key]) for key, name in known.items()]
        for row in rows
    ]
    return header, cells
