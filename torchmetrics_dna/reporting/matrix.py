"""The distances between all pairs of sets in sentences, tables and records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torchmetrics_dna.dna.distances import DISTANCES
from torchmetrics_dna.files.tables import Cell, Table
from torchmetrics_dna.files.visible import p_figure
from torchmetrics_dna.functional.permutation import SIGNIFICANT
from torchmetrics_dna.images.sets import note_of_left_out
from torchmetrics_dna.reporting.figures import distance_in_words
from torchmetrics_dna.words.explanation import Explanation, what_was_measured

if TYPE_CHECKING:
    from torchmetrics_dna.comparisons.distance_matrix import DistanceMatrix
    from torchmetrics_dna.comparisons.outlier_sets import OutlierSets

# Largest number of sets whose full matrix fits the width of a terminal.
_MOST_COLUMNS = 10
# Largest number of sets that a sentence names.
_MOST_NAMES = 4


def sentences(matrix: DistanceMatrix) -> list[str]:
    """Return sentences on the sets that differ from all other sets. For two sets, return their distance."""
    if matrix.outliers is not None:
        return outlier_sets(matrix.outliers)
    value = float(matrix.distances[matrix.distance][0, 1])
    in_words = distance_in_words(DISTANCES[matrix.distance], value)
    return [f"Between the two sets: {matrix.distance} {in_words}, not debiased."]


def outlier_sets(test: OutlierSets) -> list[str]:
    """Return sentences on the sets that differ from all other sets together.

    The last sentence is about the properties in which the first of these sets differs.
    """
    if test.p_value is None:
        return [f"The sets were not tested for outliers: {test.why_untested}."]
    p = p_figure(test.p_value, "p")
    if test.outliers:
        names = list(test.outliers)
        explanation = Explanation(test.p_value, list(test.properties), names=("the others", names[0]))
        return [
            f"{_sets_that_differ(names, test.num_sets)} ({p}). No other set does.",
            *what_was_measured(explanation),
        ]
    if test.p_value <= SIGNIFICANT:
        return [
            f"The {test.num_sets} sets differ significantly ({p}).",
            "More than one of them does, so no set can be named.",
        ]
    return [f"None of {test.num_sets} sets differs significantly from the others together ({p})."]


def _sets_that_differ(names: Sequence[str], num_sets: int) -> str:
    """Return the clause that the sets with these names differ from the others; ``num_sets`` is the number of all."""
    others = f"the other {num_sets - len(names)} sets together"
    if len(names) == 1:
        return f"{names[0]} differs significantly from {others}"
    shown = list(names[:_MOST_NAMES])
    if len(shown) < len(names):
        shown.append(f"{len(names) - len(shown)} more")
    return f"{', '.join(shown[:-1])} and {shown[-1]} differ significantly from {others}"


def table(matrix: DistanceMatrix) -> Table:
    """Return the table of the matrix, with one row per set. The sets are in the order of their tree."""
    unit = " (bins)" if DISTANCES[matrix.distance].unit == "bins" else ""
    title = f"{matrix.distance}{unit}, not debiased; {len(matrix.names)} sets in the order of their tree"
    header = ["set", f"{matrix.noun}s", *(matrix.names[i] for i in matrix.order)]
    notes = [*matrix.notes, *note_of_left_out(matrix.unreadable)]
    return Table(header, [list(row.values()) for row in matrix.rows()], title, notes)


def tables(matrix: DistanceMatrix) -> list[Table]:
    """Return the table of the matrix."""
    return [matrix.table]


def narrow_table(matrix: DistanceMatrix) -> Table:
    """Return the table of the matrix in a form that fits the width of a terminal.

    Up to 10 sets have numbers as headings of their columns. For more sets, the table has only the closest set, the
    farthest set and the mean distance.
    """
    full = matrix.table
    if len(matrix.names) <= _MOST_COLUMNS:
        return _with_numbered_columns(full)
    return _with_closest_and_farthest(full, [matrix.names[i] for i in matrix.order])


def _with_numbered_columns(full: Table) -> Table:
    """Return the table of the matrix with numbers in place of names as headings of columns."""
    rows: list[list[Cell]] = []
    for i, (name, num_images, *values) in enumerate(full.rows):
        # The distance of a set to itself is not shown.
        values[i] = None
        rows.append([f"{i + 1} {name}", num_images, *values])
    numbers = [str(i + 1) for i in range(len(rows))]
    return replace(full, header=[*full.header[:2], *numbers], rows=rows)


def _with_closest_and_farthest(full: Table, names: Sequence[str]) -> Table:
    """Return the closest set, the farthest set and the mean distance of each set; ``names`` are in order of rows."""
    rows: list[list[Cell]] = []
    for i, (name, num_images, *values) in enumerate(full.rows):
        others: list[Any] = sorted((value, j) for j, value in enumerate(values) if j != i)
        mean = sum(value for value, _ in others) / len(others)
        smallest, closest = others[0]
        largest, farthest = others[-1]
        rows.append([name, num_images, names[closest], smallest, names[farthest], largest, mean])
    columns = ["closest", "distance", "farthest", "distance", "mean of all"]
    return replace(full, header=[*full.header[:2], *columns], rows=rows)


def rows(matrix: DistanceMatrix) -> list[dict[str, Any]]:
    """Return one record per set in plain types, in the order of the tree.

    The key ``"to b"`` has the distance to the set with the name ``b``.
    """
    values = matrix.distances[matrix.distance]
    order = matrix.order
    rows = []
    for i in order:
        row = {"set": matrix.names[i], "num_images": matrix.num_images[i]}
        row |= {f"to {matrix.names[j]}": float(values[i, j]) for j in order}
        rows.append(row)
    return rows


def whole(matrix: DistanceMatrix) -> dict[str, Any]:
    """Return all results in plain types, ready for json. Matrices have the original order of the sets."""
    by_layer: dict[str, dict[str, Any]] = {}
    for distance, layers in matrix.layers.items():
        by_layer[distance] = {layer: values.tolist() for layer, values in layers.items()}
    return {
        "sets": list(matrix.names),
        "num_images": list(matrix.num_images),
        "extractor": matrix.extractor,
        "distance": matrix.distance,
        "notes": list(matrix.notes),
        "verdict": matrix.verdict,
        "outlier_sets": None if matrix.outliers is None else matrix.outliers.to_dict(),
        "distances": {name: values.tolist() for name, values in matrix.distances.items()},
        "layers": by_layer,
        "order": matrix.order,
        "linkage": matrix.linkage.tolist(),
        "unreadable": list(matrix.unreadable),
    }
