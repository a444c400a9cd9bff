"""Style of all figures."""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from torchmetrics_dna.extras import require

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Okabe and Ito's colour-blind safe palette, each colour with a marker for black and white print.
STYLES = (("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^"), ("#CC79A7", "D"), ("#E69F00", "v"))
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1)))


def curve_style(i: int) -> dict[str, Any]:
    """Return the style of the i-th curve; after the end of the palette, line styles change."""
    colour, marker = STYLES[i % len(STYLES)]
    return {"color": colour, "marker": marker, "linestyle": LINES[i // len(STYLES) % len(LINES)]}


def plain_axes(axis: Any) -> None:
    """Hide the frame, and draw a faint grid."""
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", alpha=0.3)


def new_figure(width: float, height: float) -> Any:
    """Make an empty figure of this size in inches; ModuleNotFoundError if matplotlib is missing."""
    # not pyplot: it keeps figures alive and opens windows, which a library must not
    return require("matplotlib.figure", "plot").Figure(figsize=(width, height), dpi=120, layout="constrained")


def given_axes(ax: Any, what: Sequence[str], of: str, remedy: str) -> list[Any]:
    """Return the given axes as a list; ValueError unless there is one for each entry of ``what``."""
    axes = list(np.asarray(ax, dtype=object).ravel())
    if len(axes) != len(what):
        expected = f"{len(what)} axes, one for each {of} ({', '.join(what)})"
        raise ValueError(f"Argument `ax` expected to be {expected}, but got {len(axes)}; {remedy}")
    return axes


def put_title(on: Any, text: str, width: float, size: float = 11) -> None:
    """Set the title of a figure or axes, left-aligned, and wrapped to a width in inches."""
    text = "\n".join(fill(line, max(20, int(115 * width / size)), break_on_hyphens=False) for line in text.split("\n"))
    if hasattr(on, "suptitle"):
        on.suptitle(text, x=0.01, ha="left", fontsize=size, parse_math=False)
    else:
        on.set_title(text, loc="left", fontsize=size, parse_math=False)
