"""Figures of several sets: over the numbers in their names, and all against all."""

from __future__ import annotations

from math import nan
from typing import TYPE_CHECKING, Any

from torchmetrics_dna.dna.distances import DISTANCES
from torchmetrics_dna.extras import require
from torchmetrics_dna.files.visible import visible
from torchmetrics_dna.plots.figure import STYLES, new_figure, plain_axes, put_title

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torchmetrics_dna.comparisons.comparisons import Comparisons
    from torchmetrics_dna.comparisons.distance_matrix import DistanceMatrix
    from torchmetrics_dna.comparisons.monitor import Window

_WRITTEN = 12  # sets; figures of more do not fit into the cells


def plot_curve(comparisons: Comparisons) -> Any:
    """Plot distances of several sets from one reference, over the numbers in their names, or side by side.

    Returns:
        The matplotlib figure: debiased distances with intervals if there are folds, else plain ones; the best set is
        highlighted, and a line is at the distance of the held-out set.

    """
    names = [name for name in comparisons if name != comparisons.held_out]
    record = comparisons[names[0]][comparisons.distance].distance
    positions, best = comparisons.positions, names.index(comparisons.best)
    x = positions or list(range(len(names)))
    rows = [row for row in comparisons.rows() if row["set"] in names]
    debiased = all(row.get(f"{record.key}_debiased") is not None for row in rows)  # else some have no folds
    values = [row[f"{record.key}_debiased" if debiased else record.key] for row in rows]
    order = sorted(range(len(names)), key=x.__getitem__)
    figure = new_figure(width=max(6, 0.5 * len(names) + 3), height=4)
    axis, (colour, _), (highlight, _) = figure.subplots(), STYLES[0], STYLES[1]
    if positions:
        axis.plot([x[i] for i in order], [values[i] for i in order], color=colour, linewidth=1)
    for i, row in enumerate(rows):
        low, high = (row[f"{record.key}_{end}"] if debiased else None for end in ("low", "high"))
        ends = None if low is None else [[max(values[i] - low, 0)], [max(high - values[i], 0)]]
        style = {"color": highlight, "marker": "s"} if i == best else {"color": colour, "marker": "o"}
        axis.errorbar([x[i]], [values[i]], ends, capsize=3, linestyle="", **style)
    if comparisons.held_out is not None:
        figure_of_it = comparisons[comparisons.held_out][record.name].overall
        level = figure_of_it.debiased if debiased else figure_of_it.value
        axis.axhline(level, color="black", linestyle=":", label=visible(comparisons.held_out))
        axis.legend(frameon=False)
    axis.set_ylabel(record.label + (", without noise" if debiased else ""))
    if positions is None:
        axis.set_xticks(x, [visible(name)[-30:] for name in names], rotation=30, ha="right")
    else:
        axis.set_xlabel("number in the name of the set")
        if max(x) > 20 * max(min(x), 1):
            axis.set_xscale("symlog")
    axis.set_ylim(bottom=0)
    plain_axes(axis)
    text = f"{len(names)} sets against {visible(comparisons.reference)}; best: {visible(names[best])}"
    put_title(figure, text, figure.get_figwidth())
    return figure


def plot_matrix(matrix: DistanceMatrix) -> Any:
    """Plot a heat map of all distances, ordered by hierarchical clustering, with the tree above it.

    Returns:
        The matplotlib figure; distances are written into the cells of up to 12 sets.

    Raises:
        ModuleNotFoundError: If matplotlib or scipy is missing.

    """
    order, record, count = matrix.order, DISTANCES[matrix.distance], len(matrix.names)
    values = matrix.distances[matrix.distance][order][:, order].clone().fill_diagonal_(nan).numpy()
    names = [visible(matrix.names[i])[-30:] for i in order]
    size = min(max(4.0, 0.42 * count + 1.5), 16)
    figure = new_figure(width=size + 2.5, height=size + 1.3)
    tree, axis = figure.subplots(2, 1, sharex=True, height_ratios=(1, 6))
    drawn = require("scipy.cluster.hierarchy", "plot").dendrogram(matrix.linkage, no_plot=True)
    for positions, heights in zip(drawn["icoord"], drawn["dcoord"], strict=True):
        # scipy puts leaves at 5, 15, 25, ...
        tree.plot([(position - 5) / 10 for position in positions], heights, color="black", linewidth=1)
    tree.set(ylim=(0, None), yticks=[])
    tree.spines[["top", "right", "left", "bottom"]].set_visible(False)
    tree.tick_params(axis="x", length=0, labelbottom=False)
    picture = axis.imshow(values, cmap="cividis", aspect="auto")
    middle = (picture.norm.vmin + picture.norm.vmax) / 2
    axis.set_xticks(range(count), names, rotation=90)
    axis.set_yticks(range(count), names)
    for i in range(count if count <= _WRITTEN else 0):
        for j in range(count):
            colour = "white" if values[i, j] < middle else "black"
            axis.text(
                j, i, "-" if i == j else f"{values[i, j]:.3g}", ha="center", va="center", fontsize=8, color=colour
            )
    figure.colorbar(picture, ax=[tree, axis], label=record.label, aspect=30)
    put_title(figure, f"{count} sets, all against all", size + 2.5)
    return figure


def plot_monitor(windows: Sequence[Window]) -> Any:
    """Plot windows of a stream: the distance of each from the reference, and below, the evidence for a change.

    Args:
        windows: From :func:`~torchmetrics_dna.monitor`.

    Returns:
        The matplotlib figure.

    """
    numbers = [window.number for window in windows]
    figure = new_figure(width=8, height=5)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    (usual, dot), (alarm, square) = STYLES[:2]
    for changed, colour, marker, name in ((False, usual, dot, "no change"), (True, alarm, square, "changed")):
        chosen = [window for window in windows if window.changed == changed]
        x, values = [window.number for window in chosen], [window.value for window in chosen]
        above.plot(x, values, color=colour, marker=marker, linestyle="", markersize=4, label=name)
    highs = [nan if window.high is None else window.high for window in windows]
    above.plot(numbers, highs, color="black", linewidth=1, linestyle=":", label="95 % of windows before are below")
    above.set_ylabel(DISTANCES[windows[0].distance].label)
    above.legend(frameon=False, fontsize=9)
    below.plot(numbers, [nan if w.evidence is None else w.evidence for w in windows], color=usual, linewidth=1)
    enough = windows[0].enough
    below.axhline(enough, color=alarm, linestyle="--", linewidth=1, label=f"enough ({enough:g})")
    below.set(yscale="log", ylabel="evidence", xlabel="window")
    below.legend(frameon=False, fontsize=9, loc="upper left")
    for axis in (above, below):
        plain_axes(axis)
    put_title(figure, f"{len(windows)} windows of a stream", 8)
    return figure
