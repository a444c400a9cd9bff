"""How all figures look."""

from __future__ import annotations

from typing import Any

from torchmetrics_dna.extras import require

#: Okabe and Ito's colours, which colour-blind readers can tell apart, each with a marker for black and white print.
STYLES = (("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^"), ("#CC79A7", "D"), ("#E69F00", "v"))
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1)))


def curve_style(i: int) -> dict[str, Any]:
    """How one of several curves is drawn; past the palette's end, in other lines than those before."""
    colour, marker = STYLES[i % len(STYLES)]
    return {"color": colour, "marker": marker, "linestyle": LINES[i // len(STYLES) % len(LINES)]}


def plain_axes(axis: Any) -> None:
    """Leave out the frame, and draw a faint grid."""
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", alpha=0.3)


def new_figure(width: float, height: float) -> Any:
    """An empty figure, in inches; ModuleNotFoundError if matplotlib is missing."""
    # not pyplot: it keeps figures alive and opens windows, which a library must not
    return require("matplotlib.figure", "plot").Figure(figsize=(width, height), dpi=120, layout="constrained")
