"""Tables of results as comma-separated values, Markdown, LaTeX and html."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from torchmetrics_dna.files.visible import number, visible

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Cell = str | int | float | None

_NUMBER = re.compile(r"(≤ )?-?[\d.,]*(e[+-]\d+)? ?%?")
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "≤": r"$\leq$",
    "±": r"$\pm$",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}


@dataclass(frozen=True)
class Table:
    """Rows under a header, for people to read.

    Attributes:
        header: Names of the columns.
        rows: Cells: words (str), counts (int), or figures (float, None for a dash).
        title: Line above the table.

    """

    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    title: str = ""

    def without(self, column: str) -> Table:
        """Return the table without a column, if it has it."""
        columns = [i for i, name in enumerate(self.header) if name != column]
        return Table([self.header[i] for i in columns], [[row[i] for i in columns] for row in self.rows], self.title)

    def markdown(self) -> str:
        r"""Render as Markdown, numbers to the right.

        Example:
            >>> print(Table(["set", "dna-emd"], [["real_2", 0.12345]]).markdown())
            | set | dna-emd |
            | --- | --: |
            | real\_2 | 0.1235 |

        """
        header, *rows = ([escaped_markdown(text) for text in line] for line in self._lines())
        marks = ["--:" if are_numbers else "---" for are_numbers in self._are_numbers()]
        return "\n".join(f"| {' | '.join(line)} |" for line in (header, marks, *rows))

    def latex(self) -> str:
        r"""Render as a LaTeX ``tabular`` of the package booktabs.

        Example:
            >>> print(Table(["set", "dna-emd"], [["real_2", 0.12345]]).latex())
            \begin{tabular}{lr}
            \toprule
            set & dna-emd \\
            \midrule
            real\_2 & 0.1235 \\
            \bottomrule
            \end{tabular}

        """
        header, *rows = (" & ".join(map(_escaped_latex, line)) + r" \\" for line in self._lines())
        alignment = "".join("r" if are_numbers else "l" for are_numbers in self._are_numbers())
        begin, end = rf"\begin{{tabular}}{{{alignment}}}", r"\end{tabular}"
        return "\n".join([begin, r"\toprule", header, r"\midrule", *rows, r"\bottomrule", end])

    def html(self) -> str:
        """Render as an html table with its title as the caption, numbers to the right; all text is escaped.

        Example:
            >>> print(Table(["set"], [["<i>a"]]).html())
            <table><thead><tr><th style="text-align: left">set</th></tr></thead><tbody>
            <tr><td style="text-align: left">&lt;i&gt;a</td></tr>
            </tbody></table>

        """
        sides = ["right" if are_numbers else "left" for are_numbers in self._are_numbers()]

        def row(line: list[str], tag: str) -> str:
            cells = zip(line, sides, strict=True)
            return "".join(f'<{tag} style="text-align: {side}">{escape(visible(cell))}</{tag}>' for cell, side in cells)

        header, *rows = self._lines()
        caption = f"<caption>{escape(visible(self.title))}</caption>" if self.title else ""
        body = "\n".join(f"<tr>{row(line, 'td')}</tr>" for line in rows)
        return f"<table>{caption}<thead><tr>{row(header, 'th')}</tr></thead><tbody>\n{body}\n</tbody></table>"

    def _lines(self) -> list[list[str]]:
        """Return the cells of the header and of all rows as texts."""
        return [[*self.header], *([_text(cell) for cell in row] for row in self.rows)]

    def _are_numbers(self) -> list[bool]:
        """Return whether all cells of each column are numbers, dashes or p-values such as "≤ 0.001"."""
        columns = zip(*self._lines()[1:], strict=True)
        return [all(map(_NUMBER.fullmatch, column)) for column in columns] or [False] * len(self.header)


def notebook_html(sentence: str, table: Table) -> str:
    """Return what a notebook shows of a result: a sentence above a table."""
    return f"<p>{escape(visible(sentence))}</p>\n{table.html()}"


def as_csv(records: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()) -> str:
    """Render records as comma-separated values, in full precision; no cell is a formula to a spreadsheet.

    Args:
        records: Rows by column; all have the same columns.
        columns: The columns; by default those of the first record.

    Example:
        >>> print(as_csv([{"image": "=1+1.png", "score": 0.1}]), end="")
        image,score
        '=1+1.png,0.1

    """
    text = io.StringIO()
    writer = csv.DictWriter(text, columns or list(records[0]), lineterminator="\n")
    writer.writeheader()
    for record in records:
        writer.writerow({key: _plain(value) if isinstance(value, str) else value for key, value in record.items()})
    return text.getvalue()


def escaped_markdown(text: str) -> str:
    """Escape text from outside, so that neither Markdown nor html in it takes effect."""
    shown = visible(text)
    for sign in "\\`*_[]<>|#":
        shown = shown.replace(sign, f"\\{sign}")
    return shown


def _escaped_latex(text: str) -> str:
    return "".join(_LATEX.get(sign, sign) for sign in visible(text))


def _text(cell: Cell) -> str:
    return f"{cell:,}" if isinstance(cell, int) else number(cell)


def _plain(text: str) -> str:
    return ("'" if text.startswith(("=", "+", "-", "@")) else "") + visible(text)
