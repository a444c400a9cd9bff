"""Registry of the figures of a distance, such as its value and its p-value, for json, csv and tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torchmetrics_dna.files.visible import bins_in_words, number, p_figure
from torchmetrics_dna.functional.permutation import SIGNIFICANT

if TYPE_CHECKING:
    from torchmetrics_dna.dna.distances import Distance
    from torchmetrics_dna.dna.evidence import Interval
    from torchmetrics_dna.dna.result import Finding, Result
    from torchmetrics_dna.files.tables import Cell


@dataclass(frozen=True)
class Figure:
    """Registry entry of a figure.

    Args:
        heading: Heading of the column of the figure in tables.
        keys: Attributes of a :class:`~torchmetrics_dna.dna.result.Finding` that contain the figure. JSON and CSV list
            all of them.
        tables: Names of the tables that show the figure: ``"two sets"`` and ``"layers"``.
        cell: Function that returns the cell of a finding in a table. By default, the cell is the first attribute.
        meaning: Note below a table that shows the figure; empty for none.

    """

    heading: str
    keys: tuple[str, ...]
    tables: tuple[str, ...] = ()
    cell: Callable[[Finding], Cell] | None = None
    meaning: str = ""

    def cell_of(self, finding: Finding) -> Cell:
        """Return the cell of a finding."""
        if self.cell is not None:
            return self.cell(finding)
        value: Cell = getattr(finding, self.keys[0])
        return value


def debiased_in_words(finding: Finding) -> Cell:
    """Return the debiased distance, or "within sampling noise" if only the debiased distance is 0.

    A bare 0 next to a small p-value would look like no difference.
    """
    if finding.interval is None or finding.interval.value != 0 or finding.value == 0:
        return finding.debiased
    if finding.interval.high > 0:
        return f"within sampling noise, at most {number(finding.interval.high)}"
    return "within sampling noise"


def interval_in_words(interval: Interval | None) -> str:
    """Return both ends of an interval; a dash if there is no interval, or if both ends are 0."""
    if interval is None or interval.high == 0:
        return "-"
    return interval.ends


def distance_in_words(distance: Distance, value: float) -> str:
    """Return a distance as a text. Distances in bins have their unit."""
    return bins_in_words(value) if distance.unit == "bins" else number(value)


def debiased_cells(result: Result, p_value: float | None) -> tuple[Cell, str]:
    """Return the cells of the debiased distance and its interval.

    If the difference is significant but the distance is at most the null mean, the first cell has the number of neurons
    or layers that differ.

    Args:
        result: Result of the distance.
        p_value: Corrected p-value of the difference; None without a test.

    """
    if p_value is not None and p_value <= SIGNIFICANT and result.few_differ is not None:
        return result.few_differ.in_words, "-"
    return debiased_in_words(result.overall), interval_in_words(result.interval)


#: All figures, in the order of columns.
FIGURES = (
    Figure("value", ("value",), ("two sets",)),
    Figure("±", ("error",)),
    Figure("debiased", ("debiased",), ("two sets", "layers"), debiased_in_words),
    Figure("interval", ("low", "high"), ("two sets", "layers"), lambda finding: interval_in_words(finding.interval)),
    Figure(
        "null mean",
        ("null_mean",),
        ("two sets",),
        meaning="Null mean: the mean distance of samples of the same distribution, of this size.",
    ),
    Figure(
        "ratio to null",
        ("ratio_to_null",),
        ("two sets",),
        meaning="Ratio to null: the value divided by the null mean.",
    ),
    Figure("p", ("p_value",), ("two sets", "layers"), lambda finding: p_figure(finding.p_value)),
)


def cells_of(finding: Finding, table: str) -> dict[str, Cell]:
    """Return the cells of a finding in a table by heading; ``table`` is ``"two sets"`` or ``"layers"``."""
    return {figure.heading: figure.cell_of(finding) for figure in FIGURES if table in figure.tables}


def meanings_of(rows: Sequence[Mapping[str, Cell]]) -> list[str]:
    """Return the notes on the columns of a table. Columns without values have no notes."""
    notes: list[str] = []
    for figure in FIGURES:
        has_values = any(row.get(figure.heading) is not None for row in rows)
        if figure.meaning and has_values:
            notes.append(figure.meaning)
    return notes


def values_of(finding: Finding) -> dict[str, Any]:
    """Return all figures of a finding by key, in plain types."""
    return {key: getattr(finding, key) for figure in FIGURES for key in figure.keys}


def values_by_distance(findings: Mapping[str, Finding | None]) -> dict[str, Any]:
    """Return the figures of several distances in one record.

    Args:
        findings: Findings by key of the distance; None for a distance that was not measured.

    Returns:
        The values, such as ``dna_emd``, and all other figures, such as ``dna_emd_debiased``. The figures of a distance
        that was not measured are None.

    """
    record: dict[str, Any] = {}
    for distance, finding in findings.items():
        for figure in FIGURES:
            for key in figure.keys:
                name = distance if key == "value" else f"{distance}_{key}"
                record[name] = None if finding is None else getattr(finding, key)
    return record
