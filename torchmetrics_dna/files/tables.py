"""Tables of results as comma-separated values, Markdown, LaTeX and html."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Any

from torchmetrics_dna.files.visible import number, visible

Cell = str | int | float | None
# A number with its error or interval, a p-value such as "≤ 0.001", or a dash.
_NUMBER = re.compile(r"(≤ )?-?[\d.,]*(e[+-]\d+)?%?( ± [\d.,]+(e[+-]\d+)?)?( ?[\[(][\d.,e+ -]+\])?( n\.s\.)?")
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "≤": r"$\leq$",
    "±": r"$\pm$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    # The default encoding of LaTeX's fonts has other signs in the place of these.
    "<": "$<$",
    ">": "$>$",
    "|": "$|$",
    "²": "$^2$",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}


@dataclass(frozen=True)
class Table:
    """Rows under a header, for people to read.

    Attributes:
        header: Names of the columns.
        rows: Cells by row: words (str), counts (int), or figures (float, None for a dash).
        title: Title above the table.
        notes: Lines below the table.
        bold: Row and column of each cell in bold.

    """

    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    title: str = ""
    notes: Sequence[str] = ()
    bold: Collection[tuple[int, int]] = ()

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, Cell]], title: str = "", notes: Sequence[str] = ()) -> Table:
        """Make a table of rows of cells by column; columns without any cell are left out.

        Example:
            >>> Table.of([{"set": "a", "p": None}, {"set": "b", "p": None}]).header
            ['set']

        """
        header = [column for column in rows[0] if any(row[column] is not None for row in rows)]
        return cls(header, [[row[column] for column in header] for row in rows], title, notes)

    def without(self, column: str) -> Table:
        """Return the table without a column, if it has it."""
        columns = [i for i, name in enumerate(self.header) if name != column]
        return replace(
            self,
            header=[self.header[i] for i in columns],
            rows=[[row[i] for i in columns] for row in self.rows],
            bold={(row, columns.index(i)) for row, i in self.bold if i in columns},
        )

    def markdown(self) -> str:
        r"""Render as Markdown, numbers to the right.

        Example:
            >>> print(Table(["set", "dna-emd"], [["real_2", 0.12345]]).markdown())
            | set | dna-emd |
            | --- | --: |
            | real\_2 | 0.123 |

        """
        header, *rows = self._marked(escaped_markdown, "**{}**")
        marks = ["--:" if are_numbers else "---" for are_numbers in self._are_numbers()]
        lines = [f"| {' | '.join(line)} |" for line in (header, marks, *rows)]
        return "\n".join([*lines, *(f"\n{escaped_markdown(note)}" for note in self.notes)])

    def latex(self) -> str:
        r"""Render as a LaTeX ``tabular`` of the package booktabs, with the notes in a paragraph below it.

        Example:
            >>> print(Table(["set", "dna-emd"], [["real_2", 0.12345]], notes=["100% of B"]).latex())
            \begin{tabular}{lr}
            \toprule
            set & dna-emd \\
            \midrule
            real\_2 & 0.123 \\
            \bottomrule
            \end{tabular}
            \par\smallskip
            {\footnotesize\noindent
            100\% of B
            \par}

        """
        header, *rows = (" & ".join(line) + r" \\" for line in self._marked(escaped_latex, r"\textbf{{{}}}"))
        alignment = "".join("r" if are_numbers else "l" for are_numbers in self._are_numbers())
        lines = [rf"\begin{{tabular}}{{{alignment}}}", r"\toprule", header, r"\midrule"]
        # LaTeX would read a bracket or a star after the end of a row as an option of that end.
        lines += ["{}" + row if row.startswith(("[", "*")) else row for row in rows]
        lines += [r"\bottomrule", r"\end{tabular}"]
        if self.notes:
            # A cell of the table would not break a long note into lines.
            lines += [r"\par\smallskip", r"{\footnotesize\noindent"]
            lines += [escaped_latex(note) for note in self.notes]
            lines.append(r"\par}")
        return "\n".join(lines)

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
            return "".join(f'<{tag} style="text-align: {side}">{cell}</{tag}>' for cell, side in cells)

        header, *rows = self._marked(lambda text: escape(visible(text)), "<b>{}</b>")
        caption = f"<caption>{escape(visible(self.title))}</caption>" if self.title else ""
        body = "\n".join(f"<tr>{row(line, 'td')}</tr>" for line in rows)
        notes = "".join(f"<p>{escape(visible(note))}</p>" for note in self.notes)
        return f"<table>{caption}<thead><tr>{row(header, 'th')}</tr></thead><tbody>\n{body}\n</tbody></table>{notes}"

    def _lines(self) -> list[list[str]]:
        """Return the cells of the header and of all rows as texts."""
        lines = [list(self.header)]
        for row in self.rows:
            lines.append([f"{cell:,}" if isinstance(cell, int) else number(cell) for cell in row])
        return lines

    def _marked(self, escaped: Callable[[str], str], mark: str) -> list[list[str]]:
        """Return the header and all rows with cells escaped; ``mark`` formats cells in bold."""
        header, *rows = ([escaped(text) for text in line] for line in self._lines())
        for row, column in self.bold:
            rows[row][column] = mark.format(rows[row][column])
        return [header, *rows]

    def _are_numbers(self) -> list[bool]:
        """Return whether all cells of each column are numbers, dashes or p-values such as "≤ 0.001"."""
        _, *rows = self._lines()
        if not rows:
            return [False] * len(self.header)
        columns = zip(*rows, strict=True)
        return [all(map(_NUMBER.fullmatch, column)) for column in columns]


def as_markdown(sentences: Sequence[str], tables: Sequence[Table]) -> str:
    """Render sentences, and tables with their titles, as Markdown."""
    parts = [escaped_markdown(sentence) for sentence in sentences]
    for table in tables:
        if table.title:
            parts.append(escaped_markdown(table.title))
        parts.append(table.markdown())
    return "\n\n".join(parts) + "\n"


def as_html(sentences: Sequence[str], tables: Sequence[Table]) -> str:
    """Render sentences and tables as html; all text is escaped."""
    paragraphs = [f"<p>{sentence_in_html(sentence)}</p>" for sentence in sentences]
    return "\n".join([*paragraphs, *(table.html() for table in tables)])


def sentence_in_html(sentence: str) -> str:
    """Render a sentence as html, with what is between backticks as code.

    Example:
        >>> print(sentence_in_html("a<b: use `diff`"))
        a&lt;b: use <code>diff</code>

    """
    return re.sub("`([^`]+)`", r"<code>\1</code>", escape(visible(sentence)))


def as_csv(records: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()) -> str:
    """Render records as comma-separated values, in full precision; no cell is a formula to a spreadsheet.

    All have the same columns, by default those of the first.

    Example:
        >>> print(as_csv([{"image": "=1+1.png", "score": 0.1}]), end="")
        image,score
        '=1+1.png,0.1

    """
    text = io.StringIO()
    writer = csv.DictWriter(text, columns or list(records[0]), lineterminator="\n")
    writer.writeheader()
    for record in records:
        cells = {key: _without_formula(value) if isinstance(value, str) else value for key, value in record.items()}
        writer.writerow(cells)
    return text.getvalue()


def escaped_markdown(text: str) -> str:
    """Escape text from outside, so that neither Markdown nor html in it takes effect."""
    shown = visible(text)
    for sign in "\\`*_[]<>|#":
        shown = shown.replace(sign, f"\\{sign}")
    return shown


def escaped_latex(text: str) -> str:
    r"""Escape the text of a cell, so that no command in it takes effect.

    Numbers get a minus and powers of ten, their intervals are small, and a dash alone is longer.

    Example:
        >>> print(escaped_latex("-1.2e-05 ± 3e-06"), escaped_latex("a-b_1"), escaped_latex("-"))
        $-$1.2$\cdot10^{-5}$ $\pm$ 3$\cdot10^{-6}$ a-b\_1 --
        >>> print(escaped_latex("4.94 [1.5, 7.98]"))
        4.94 {\scriptsize [1.5, 7.98]}

    """
    escaped = "".join(_LATEX.get(sign, sign) for sign in visible(text))
    if text == "-":
        return "--"
    if not text or not _NUMBER.fullmatch(text):
        return escaped
    powers = re.sub(r"e([+-])0*(\d+)", lambda m: rf"$\cdot10^{{{m[1].strip('+')}{m[2]}}}$", escaped)
    with_minus = re.sub(r"(^| )-(?=\d)", r"\1$-$", powers)
    return re.sub(r" ([\[(].*[\])])", r" {\\scriptsize \1}", with_minus)


def _without_formula(text: str) -> str:
    """Quote a text that a spreadsheet would take for a formula."""
    if text.startswith(("=", "+", "-", "@")):
        return f"'{visible(text)}"
    return visible(text)
