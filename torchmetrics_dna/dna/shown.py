"""Base class of results that are shown as sentences and tables."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

from torchmetrics_dna.dna.saving import Saved
from torchmetrics_dna.files.tables import as_html

if TYPE_CHECKING:
    from torchmetrics_dna.files.tables import Table


class Shown(Saved):
    """Base class of results. A result holds figures. A module of ``reporting`` turns them into sentences and tables."""

    #: Name of the module of ``reporting`` that shows results of this class.
    SHOWN_BY: ClassVar[str]

    @property
    def _shown_by(self) -> Any:
        """Module of ``reporting`` that shows the result."""
        # The module imports the class of the result, so it is imported when a result is first shown.
        return import_module(f"torchmetrics_dna.reporting.{self.SHOWN_BY}")

    @property
    def verdict_lines(self) -> list[str]:
        """Result as a list of at most four sentences."""
        lines: list[str] = self._shown_by.sentences(self)
        return lines

    @property
    def verdict(self) -> str:
        """Result as a text of at most four sentences, one per line."""
        return "\n".join(self.verdict_lines)

    @property
    def table(self) -> Table:
        """Result as a table."""
        table: Table = self._shown_by.table(self)
        return table

    @property
    def tables(self) -> list[Table]:
        """Result as several tables, including :attr:`table`."""
        tables: list[Table] = self._shown_by.tables(self)
        return tables

    def rows(self) -> list[dict[str, Any]]:
        """Return the result as records in plain types. These are the rows of a csv file."""
        rows: list[dict[str, Any]] = self._shown_by.rows(self)
        return rows

    def to_dict(self) -> dict[str, Any]:
        """Return the whole result in plain types. This is the content of a json file."""
        whole: dict[str, Any] = self._shown_by.whole(self)
        return whole

    def __str__(self) -> str:
        return self.verdict or repr(self)

    def _repr_html_(self) -> str:
        return as_html(self.verdict_lines, [self.table])
