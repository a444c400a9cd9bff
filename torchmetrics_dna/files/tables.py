"""Tables of results, rendered as comma-separated values, Markdown, LaTeX and html."""

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
# Text of a cell that counts as a number: a number with its error or interval, a p-value such as "≤ 0.001", or a dash.
_NUMBER = re.compile(r"(≤ )?-?[\d.,]*(e[+-]\d+)?%?( ± [\d.,]+(e[+-]\d+)?)?( ?[\[(][\d.,e+ -]+\])?( n\.s\.)?")
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "≤": r"$\leq$",
    "±": r"$\pm$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    # In the default font encoding of LaTeX, the next three characters would be printed as other characters.
    "<": "$<$",
    ">": "$>$",
    "|": "$|$",
    "²": "$^2$",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}


@dataclass(frozen=True)
class Table:
    """Table of results for people to read.

    Attributes:
        header: Name of each column.
        rows: Cells of each row: a text (str), a count (int), a number (float), or None for a dash.
        title: Title above the table.
        notes: Lines of text below the table.
        bold: Row and column of each cell that is printed in bold.

    """

    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    title: str = ""
    notes: Sequence[str] = ()
    bold: Collection[tuple[int, int]] = ()

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, Cell]], title: str = "", notes: Sequence[str] = ()) -> Table:
        """Make a table from rows, which are dicts from a column to its cell.

        Columns in which all cells are None are left out.

        Example:
            >>> Table.of([{"set": "a", "p": None}, {"set": "b", "p": None}]).header
            ['set']

        """
        header = []
        for column in rows[0]:
            has_cells = any(row[column] is not None for row in rows)
            if has_cells:
                header.append(column)
        cells_of_rows = [[row[column] for column in header] for row in rows]
        return cls(header, cells_of_rows, title, notes)

    def without(self, column: str) -> Table:
        """Return the table without the column of this name. A table without such a column is not changed."""
        columns = [i for i, name in enumerate(self.header) if name != column]
        return replace(
            self,
            header=[self.header[i] for i in columns],
            rows=[[row[i] for i in columns] for row in self.rows],
            bold={(row, columns.index(i)) for row, i in self.bold if i in columns},
        )

    def markdown(self) -> str:
        r"""Render the table as Markdown. Columns of numbers are aligned to the right.

        Example:
            >>> print(Table(["set", "dna-emd"], [["real_2", 0.12345]]).markdown())
            | set | dna-emd |
            | --- | --: |
            | real\_2 | 0.123 |

        """
        header, *rows = self._marked(escaped_markdown, "**{}**")
        marks = ["--:" if are_numbers else "---" for are_numbers in self._are_numbers()]
        lines = [f"| {' | '.join(line)} |" for line in (header, marks, *rows)]
        notes = [f"\n{escaped_markdown(note)}" for note in self.notes]
        return "\n".join(lines + notes)

    def latex(self) -> str:
        r"""Render the table as a LaTeX ``tabular`` with rules of the booktabs package. Notes are a paragraph below it.

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
        cells_of_lines = self._marked(escaped_latex, r"\textbf{{{}}}")
        header, *rows = [" & ".join(cells) + r" \\" for cells in cells_of_lines]
        alignment = "".join("r" if are_numbers else "l" for are_numbers in self._are_numbers())
        lines = [rf"\begin{{tabular}}{{{alignment}}}", r"\toprule", header, r"\midrule"]
        for row in rows:
            # A bracket or a star at the start of a row needs protection. Otherwise, LaTeX would read it as an option of
            # the line break above.
            starts_as_option = row.startswith(("[", "*"))
            lines.append("{}" + row if starts_as_option else row)
        lines += [r"\bottomrule", r"\end{tabular}"]
        if self.notes:
            # Use a paragraph, because LaTeX does not break a long note in a cell into lines.
            lines += [r"\par\smallskip", r"{\footnotesize\noindent"]
            lines += [escaped_latex(note) for note in self.notes]
            lines.append(r"\par}")
        return "\n".join(lines)

    def html(self) -> str:
        """Render the table as html, with its title as the caption. All text is escaped.

        Columns of numbers are aligned to the right.

        Example:
            >>> print(Table(["set"], [["<i>a"]]).html())
            <table><thead><tr><th style="text-align: left">set</th></tr></thead><tbody>
            <tr><td style="text-align: left">&lt;i&gt;a</td></tr>
            </tbody></table>

        """
        alignments = ["right" if are_numbers else "left" for are_numbers in self._are_numbers()]
        header, *rows = self._marked(_escaped_html, "<b>{}</b>")
        caption = f"<caption>{_escaped_html(self.title)}</caption>" if self.title else ""
        head = _html_row(header, alignments, "th")
        body = "\n".join(_html_row(cells, alignments, "td") for cells in rows)
        notes = "".join(f"<p>{_escaped_html(note)}</p>" for note in self.notes)
        return f"<table>{caption}<thead>{head}</thead><tbody>\n{body}\n</tbody></table>{notes}"

    def _lines(self) -> list[list[str]]:
        """Return the header and all rows as lists of texts, one per cell."""
        lines = [list(self.header)]
        for row in self.rows:
            lines.append([f"{cell:,}" if isinstance(cell, int) else number(cell) for cell in row])
        return lines

    def _marked(self, escaped: Callable[[str], str], mark: str) -> list[list[str]]:
        """Return the header and all rows as lists of texts, one per cell, in the syntax of a document format.

        Args:
            escaped: Function that escapes a text.
            mark: Format of a cell in bold.

        """
        header, *rows = [list(map(escaped, line)) for line in self._lines()]
        for row, column in self.bold:
            rows[row][column] = mark.format(rows[row][column])
        return [header, *rows]

    def _are_numbers(self) -> list[bool]:
        """Return True for each column in which all cells are numbers, see ``_NUMBER``."""
        _, *rows = self._lines()
        if not rows:
            return [False] * len(self.header)
        columns = zip(*rows, strict=True)
        return [all(map(_NUMBER.fullmatch, column)) for column in columns]


def _html_row(cells: Sequence[str], alignments: Sequence[str], tag: str) -> str:
    """Return a row of an html table from escaped cells. The tag of a cell is "td", or "th" in the header."""
    html = ""
    for cell, alignment in zip(cells, alignments, strict=True):
        html += f'<{tag} style="text-align: {alignment}">{cell}</{tag}>'
    return f"<tr>{html}</tr>"


def _escaped_html(text: str) -> str:
    """Escape a text for html, control characters included."""
    return escape(visible(text))


def as_markdown(sentences: Sequence[str], tables: Sequence[Table]) -> str:
    """Render sentences, followed by tables with their titles, as Markdown."""
    paragraphs = [escaped_markdown(sentence) for sentence in sentences]
    for table in tables:
        if table.title:
            paragraphs.append(escaped_markdown(table.title))
        paragraphs.append(table.markdown())
    return "\n\n".join(paragraphs) + "\n"


def as_html(sentences: Sequence[str], tables: Sequence[Table]) -> str:
    """Render sentences, followed by tables, as html. All text is escaped."""
    paragraphs = [f"<p>{sentence_in_html(sentence)}</p>" for sentence in sentences]
    rendered_tables = [table.html() for table in tables]
    return "\n".join(paragraphs + rendered_tables)


def sentence_in_html(sentence: str) -> str:
    """Render a sentence as html. Text between backticks is rendered as code.

    Example:
        >>> print(sentence_in_html("a<b: use `diff`"))
        a&lt;b: use <code>diff</code>

    """
    return re.sub("`([^`]+)`", r"<code>\1</code>", _escaped_html(sentence))


def as_csv(records: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()) -> str:
    """Render records as comma-separated values. Numbers have their full precision.

    Texts that a spreadsheet would evaluate as a formula are quoted.

    Args:
        records: Rows, which are dicts from a column to its value. All rows have the same columns.
        columns: Order of the columns. By default, that of the first row.

    Example:
        >>> print(as_csv([{"image": "=1+1.png", "score": 0.1}]), end="")
        image,score
        '=1+1.png,0.1

    """
    text = io.StringIO()
    writer = csv.DictWriter(text, columns or list(records[0]), lineterminator="\n")
    writer.writeheader()
    for record in records:
        writer.writerow({column: _without_formula(value) for column, value in record.items()})
    return text.getvalue()


def escaped_markdown(text: str) -> str:
    """Escape a text so that Markdown and html syntax in it has no effect."""
    shown = visible(text)
    for sign in "\\`*_[]<>|#":
        shown = shown.replace(sign, f"\\{sign}")
    return shown


def escaped_latex(text: str) -> str:
    r"""Escape the text of a cell so that LaTeX commands in it have no effect.

    Numbers are typeset with a minus sign and powers of ten, and their intervals in a smaller font. A single dash, which
    stands for a missing number, becomes an en dash.

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
    # An exponent such as "e-05" becomes a power of ten.
    powers = re.sub(r"e([+-])0*(\d+)", lambda m: rf"$\cdot10^{{{m[1].strip('+')}{m[2]}}}$", escaped)
    # A dash before a digit is a minus sign.
    with_minus = re.sub(r"(^| )-(?=\d)", r"\1$-$", powers)
    # An interval follows a space, and begins with a bracket.
    return re.sub(r" ([\[(].*[\])])", r" {\\scriptsize \1}", with_minus)


def _without_formula(value: Any) -> Any:
    """Quote a text that a spreadsheet would evaluate as a formula. Return other types of values as they are."""
    if not isinstance(value, str):
        return value
    if value.startswith(("=", "+", "-", "@")):
        return f"'{visible(value)}"
    return visible(value)
