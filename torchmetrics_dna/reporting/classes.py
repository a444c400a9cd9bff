"""The comparison of two sets class by class in sentences, tables and records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torchmetrics_dna.files.tables import Cell, Table
from torchmetrics_dna.files.visible import number, p_figure
from torchmetrics_dna.functional.permutation import SIGNIFICANT
from torchmetrics_dna.images.sets import note_of_left_out
from torchmetrics_dna.reporting.figures import debiased_cells, debiased_in_words
from torchmetrics_dna.reporting.several_sets import figures_of

if TYPE_CHECKING:
    from torchmetrics_dna.comparisons.classes import ClassComparisons
    from torchmetrics_dna.comparisons.two_sets import Comparison


def sentences(classes: ClassComparisons) -> list[str]:
    """Return sentences on the number of classes that differ, and on the farthest class, as one text in a list."""
    count = len(classes)
    q_values = {name: q for name, q in classes.q_values.items() if q is not None}
    if not q_values:
        farthest = classes.order[0]
        figure = _figure_in_words(classes, farthest, is_tested=False)
        return [f"Of {count} classes, {farthest} differs most ({figure}). No class was tested."]
    different = [name for name in classes.order if name in q_values and q_values[name] <= SIGNIFICANT]
    if not different:
        return [f"None of {count} classes differs significantly (q ≤ {SIGNIFICANT:g})."]
    # Classes are in the order of their distances, the farthest first.
    farthest = different[0]
    figure = _figure_in_words(classes, farthest, is_tested=True)
    verb = "differs" if len(different) == 1 else "differ"
    how_many = f"{len(different)} of {count} classes {verb} significantly (q ≤ {SIGNIFICANT:g})."
    return [f"{how_many} The largest difference is in {farthest} ({figure})."]


def _figure_in_words(classes: ClassComparisons, name: str, *, is_tested: bool) -> str:
    """Return the distance of a class, debiased if there is a test."""
    result = classes[name][classes.distance]
    if result.few_differ is not None:
        return result.few_differ.in_words
    value = debiased_in_words(result.overall) if is_tested else classes.figure(name)
    return f"{classes.distance} {number(value)}"


def table(classes: ClassComparisons) -> Table:
    """Return the table of the classes, the farthest first. The last row is about all classes together."""
    p_holm, q_values = classes.p_holm, classes.q_values
    rows = [_row(classes, name, classes[name], p_holm[name], q_values[name]) for name in classes.order]
    rows.append(_row(classes, "all together", classes.total, classes.total.p_value_of_any, None))
    return Table.of(rows, f"{len(classes)} classes", note_of_left_out(classes.unreadable))


def _row(
    classes: ClassComparisons, name: str, comparison: Comparison, p_holm: float | None, q: float | None
) -> dict[str, Cell]:
    """Return the row of a class, or of all classes together.

    Args:
        classes: The classes.
        name: Name of the class.
        comparison: Comparison of the class.
        p_holm: P-value, corrected for the number of classes; None without a test.
        q: False discovery rate; None without a test, and for all classes together.

    """
    values: dict[str, Cell] = {}
    for distance in classes.total:
        # A class may have too few images for a distance.
        values[distance] = comparison[distance].value if distance in comparison else None
    corrected = p_holm if q is None else q
    debiased, _ = debiased_cells(comparison[classes.distance], corrected)
    return {
        "class": name,
        "images of A": comparison.num_images["a"],
        "of B": comparison.num_images["b"],
        **values,
        "debiased": debiased,
        # A column with only None is left out.
        "p (Holm)": None if p_holm is None else p_figure(p_holm),
        "q": None if q is None else p_figure(q),
    }


def tables(classes: ClassComparisons) -> list[Table]:
    """Return the table of the classes."""
    return [classes.table]


def rows(classes: ClassComparisons) -> list[dict[str, Any]]:
    """Return one record per class in plain types, the farthest first."""
    p_holm, q_values = classes.p_holm, classes.q_values
    return [
        {
            "class": name,
            "images_a": classes[name].num_images["a"],
            "images_b": classes[name].num_images["b"],
            **figures_of(classes, classes[name]),
            "p_holm": p_holm[name],
            "q_value": q_values[name],
        }
        for name in classes.order
    ]


def whole(classes: ClassComparisons) -> dict[str, Any]:
    """Return all results in plain types, ready for json."""
    return {
        "distance": classes.distance,
        "verdict": classes.verdict,
        "classes": classes.rows(),
        "only_in_a": list(classes.alone[0]),
        "only_in_b": list(classes.alone[1]),
        "total": classes.total.to_dict(),
        "comparisons": {name: comparison.to_dict() for name, comparison in classes.items()},
    }
