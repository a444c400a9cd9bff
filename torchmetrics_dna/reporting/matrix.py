"""Distances between several sets, all against all, in sentences, tables and records."""

from __future__ import annotations

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
# Number of sets that a sentence names at most.
_MOST_NAMES = 4


def sentences(matrix: DistanceMatrix) -> list[str]:
    """Return which sets differ from the others together, and in what; for two sets, how far they are apart."""
    if matrix.outliers is not None:
        return outlier_sets(matrix.outliers)
    value = float(matrix.distances[matrix.distance][0, 1])
    in_words = distance_in_words(DISTANCES[matrix.distance], value)
    return [f"Between the two sets: {matrix.distance} {in_words}, not debiased."]


def outlier_sets(test: OutlierSets) -> list[str]:
    """Return which sets differ from the others together, and the properties in which the first of them differs."""
    if test.p_value is None:
        return [f"The sets were not tested for outliers: {test.why_untested}."]
    p = p_figure(test.p_value, "p")
    if not test.outliers and test.p_value > SIGNIFICANT:
        return [f"None of {test.num_sets} sets differs significantly from the others together ({p})."]
    if not test.outliers:
        return [
            f"The {test.num_sets} sets differ significantly ({p}).",
            "More than one of them does, so no set can be named.",
        ]
    names = list(test.outliers)
    others = f"the other {test.num_sets - len(names)} sets together"
    if len(names) == 1:
        differ = f"{names[0]} differs significantly from {others}"
    else:
        shown = names[:_MOST_NAMES]
        if len(shown) < len(names):
            shown.append(f"{len(names) - len(shown)} more")
        differ = f"{', '.join(shown[:-1])} and {shown[-1]} differ significantly from {others}"
    explanation = Explanation(test.p_value, list(test.properties), names=("the others", names[0]))
    return [f"{differ} ({p}). No other set does.", *what_was_measured(explanation)]


def table(matrix: DistanceMatrix) -> Table:
    """Return the matrix, one row per set in the order of the tree."""
    unit = " (bins)" if DISTANCES[matrix.distance].unit == "bins" else ""
    title = f"{matrix.distance}{unit}, not debiased; {len(matrix.names)} sets in the order of their tree"
    header = ["set", f"{matrix.noun}s", *(matrix.names[i] for i in matrix.order)]
    notes = [*matrix.notes, *note_of_left_out(matrix.unreadable)]
    return Table(header, [[*row.values()] for row in matrix.rows()], title, notes)


def tables(matrix: DistanceMatrix) -> list[Table]:
    """Return the matrix."""
    return [matrix.table]


def narrow_table(matrix: DistanceMatrix) -> Table:
    """Return the matrix for a terminal: columns numbered like rows; for more than 10 sets, the closest and farthest."""
    full = matrix.table
    names = [matrix.names[i] for i in matrix.order]
    rows: list[list[Cell]] = []
    if len(names) <= _MOST_COLUMNS:
        columns = [str(number) for number in range(1, len(names) + 1)]
        for i, (name, images, *values) in enumerate(full.rows):
            figures: list[Any] = [None if j == i else value for j, value in enumerate(values)]
            rows.append([f"{i + 1} {name}", images, *figures])
    else:
        columns = ["closest", "distance", "farthest", "distance", "mean of all"]
        for i, (name, images, *values) in enumerate(full.rows):
            others: list[Any] = sorted((value, j) for j, value in enumerate(values) if j != i)
            mean = sum(value for value, _ in others) / len(others)
            smallest, closest = others[0]
            largest, farthest = others[-1]
            rows.append([name, images, names[closest], smallest, names[farthest], largest, mean])
    return replace(full, header=[*full.header[:2], *columns], rows=rows)


def rows(matrix: DistanceMatrix) -> list[dict[str, Any]]:
    """Return the matrix in plain types, one row per set in the order of the tree; ``"to b"`` has distances to b."""
    values = matrix.distances[matrix.distance]
    order = matrix.order
    rows = []
    for i in order:
        row = {"set": matrix.names[i], "num_images": matrix.num_images[i]}
        row |= {f"to {matrix.names[j]}": float(values[i, j]) for j in order}
        rows.append(row)
    return rows


def whole(matrix: DistanceMatrix) -> dict[str, Any]:
    """Return all results in plain types, ready for json; matrices are in the given order of the sets."""
    return {
        "sets": list(matrix.names),
        "num_images": list(matrix.num_images),
        "extractor": matrix.extractor,
        "distance": matrix.distance,
        "notes": list(matrix.notes),
        "verdict": matrix.verdict,
        "outlier_sets": matrix.outliers and matrix.outliers.to_dict(),
        "distances": {name: values.tolist() for name, values in matrix.distances.items()},
        "layers": {
            name: {layer: values.tolist() for layer, values in layers.items()} for name, layers in matrix.layers.items()
        },
        "order": matrix.order,
        "linkage": matrix.linkage.tolist(),
        "unreadable": list(matrix.unreadable),
    }
