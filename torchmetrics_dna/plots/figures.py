"""Figures of two sets, of several, and of windows of a stream, in one style."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import product
from math import nan
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from torchmetrics_dna.checks import brief
from torchmetrics_dna.dna.distances import DISTANCES
from torchmetrics_dna.dna.histogram import grouped
from torchmetrics_dna.extras import require
from torchmetrics_dna.files.visible import images_in_words, number, visible
from torchmetrics_dna.images.properties import neuron_in_words

if TYPE_CHECKING:
    from torchmetrics_dna.dna.result import Result

    # These classes are in packages above this one, so they can't be imported.
    Comparison = Any
    Comparisons = Any
    DistanceMatrix = Any
    Window = Any

#: Okabe and Ito's colour-blind safe palette, each colour with a marker for black and white print.
STYLES = (("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^"), ("#CC79A7", "D"), ("#E69F00", "v"))
# Line styles, in the order of their use.
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1)))
# Number of characters of a name in a legend.
_LEGEND = 30
# Number of sets up to which a matrix has figures in its cells; those of more do not fit.
_WRITTEN = 12


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
    # A library must not use pyplot, because pyplot keeps figures alive and opens windows.
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
    # About 115 / size characters fit into an inch.
    num_characters = max(20, int(115 * width / size))
    text = "\n".join(fill(line, num_characters, break_on_hyphens=False) for line in text.split("\n"))
    if hasattr(on, "suptitle"):
        on.suptitle(text, x=0.01, ha="left", fontsize=size, parse_math=False)
    else:
        on.set_title(text, loc="left", fontsize=size, parse_math=False)


def plot_layers(
    comparison: Comparison, distance: str | None = None, *, names: tuple[str, str] | None = None, ax: Any = None
) -> Any:
    """Plot a layer profile: the distance of the two sets in each layer, from the first layer to the last.

    Args:
        comparison: A comparison of histograms, Gaussians, or Gaussians of layers.
        distance: Name of the distance; by default all, each in axes of its own.
        names: Names of A and B; by default those of the comparison.
        ax: Matplotlib axes to draw in, one for each distance; by default those of a new figure.

    Returns:
        The matplotlib figure; bars by layer for each distance, with the overall distance as a line. With evidence also
        debiased bars with confidence intervals, the overall interval as a band, and the null mean as a dotted line.

    Raises:
        ValueError: If there is no such distance, or the number of ``ax`` is wrong.

    """
    results = comparison.of_granularity("neuron", "layer")
    shown = [result for result in results if distance in (None, result.distance.name, result.distance.key)]
    if not shown:
        names_of_all = ", ".join(result.distance.name for result in results) or "none; compare histograms or Gaussians"
        raise ValueError(f"The comparison has these distances of layers: {names_of_all}; got {distance!r}")
    layers = list(comparison.neurons)
    size = (max(7.5, 0.35 * len(comparison.neurons) + 4), 1.2 + 2.3 * len(shown))
    if ax is None:
        axes = _new_axes(comparison, names, size, len(shown))
    else:
        axes = given_axes(ax, [result.distance.name for result in shown], "distance", "or give `distance`")
        width = axes[0].get_window_extent().width / axes[0].figure.dpi
        put_title(axes[0], versus(comparison, names), width, size=9)
    for i, (axis, result) in enumerate(zip(axes, shown, strict=True)):
        _profile(axis, result, curve_style(i)["color"])
        axis.set_ylabel(result.distance.label.replace(" (", "\n("))
        # About 45 characters fit into a row.
        if len(" ".join(layers)) > 45:
            axis.tick_params(axis="x", labelrotation=45)
            for label in axis.get_xticklabels():
                label.set(ha="right", rotation_mode="anchor")
        plain_axes(axis)
        axis.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1, 1))
    return axes[0].figure


def _new_axes(
    comparison: Comparison, names: tuple[str, str] | None, size: tuple[float, float], rows: int, columns: int = 1
) -> list[Any]:
    """Return the axes of a new figure, whose title names both sets."""
    figure = new_figure(*size)
    put_title(figure, versus(comparison, names), size[0])
    return list(figure.subplots(rows, columns, squeeze=False).flat)


def _profile(axis: Any, result: Result, colour: str) -> None:
    """Draw bars of one distance, layer by layer."""
    layers = list(result.layers)
    overall = result.value
    values = [figure.value for figure in result.layers.values()]
    x = np.arange(len(layers))
    evidence = result.evidence
    axis.set_xticks(x, map(visible, layers))
    axis.axhline(overall, color="black", linestyle="--", linewidth=1, label=f"all: {number(overall)}")
    if evidence is None:
        axis.bar(x, values, color=colour, width=0.7)
        return
    axis.bar(x - 0.2, values, color=colour, alpha=0.4, width=0.38, label="not debiased")
    axis.bar(x + 0.2, evidence.layers.numpy(), color=colour, width=0.38, label="debiased")
    interval = evidence.interval
    if interval:
        ends = []
        for ci in evidence.layer_intervals:
            ends.append((ci.value - ci.low, ci.high - ci.value) if ci else (nan, nan))
        style = {"linestyle": "", "color": "black", "elinewidth": 1, "capsize": 2, "label": f"{interval.ci} of each"}
        axis.errorbar(x + 0.2, evidence.layers.numpy(), np.array(ends).T, **style)
        if result.few_differ is not None:
            axis.plot([], [], linestyle="", label=f"all: {result.few_differ.in_words}")
        else:
            debiased_label = f"all, debiased: {number(interval.value)}\n({interval.in_words})"
            axis.axhspan(interval.low, interval.high, color="black", alpha=0.08, linewidth=0, label=debiased_label)
    if result.null_mean is not None:
        label = f"all, null mean: {number(result.null_mean)}"
        axis.axhline(result.null_mean, color="black", linestyle=":", linewidth=1, label=label)


def plot_histograms(
    comparison: Comparison,
    neurons: Sequence[tuple[str, int]] | None = None,
    *,
    names: tuple[str, str] | None = None,
    ax: Any = None,
) -> Any:
    """Plot the histograms of neurons in both sets.

    Args:
        comparison: A comparison of histograms.
        neurons: Layer and number of each neuron; by default the six that differ most clearly.
        names: Names of A and B; by default those of the comparison.
        ax: Matplotlib axes to draw in, one for each neuron; by default those of a new figure.

    Returns:
        The matplotlib figure.

    Raises:
        ValueError: If there is no such neuron, no histograms were compared, or the number of ``ax`` is wrong.

    """
    are_pairs = all(isinstance(neuron, Sequence) and len(neuron) == 2 for neuron in neurons or ())
    if not are_pairs:
        raise ValueError(f"Argument `neurons` expected to be pairs as ('head', 3), but got {brief(neurons)}")
    chosen = neurons or [(neuron["layer"], neuron["neuron"]) for neuron in comparison.top_neurons(6)]
    rows = -(-len(chosen) // 3)
    columns = min(3, len(chosen))
    if ax is None:
        axes = _new_axes(comparison, names, (max(6, 0.5 + 3 * columns), 1.2 + 2.6 * rows), rows, columns)
        axes[0].figure.supylabel("share of positions (%)", fontsize=10)
    else:
        axes = given_axes(ax, [f"{layer} {neuron}" for layer, neuron in chosen], "neuron", "or give `neurons`")
    for axis, neuron in zip(axes, chosen, strict=False):
        _pair(axis, comparison, neuron, names)
    for axis in axes[len(chosen) :]:
        axis.set_visible(False)
    if ax is None:
        shown = axes[0].get_legend_handles_labels()
        legend = axes[0].figure.legend(*shown, loc="outside lower left", ncols=2, frameon=False, fontsize=9)
    else:
        axes[0].set_ylabel("share of positions (%)")
        legend = axes[0].legend(frameon=False, fontsize=8)
    for text in legend.get_texts():
        text.set_parse_math(False)
    return axes[0].figure


def _pair(axis: Any, comparison: Comparison, neuron: tuple[str, int], names: tuple[str, str] | None) -> None:
    """Draw the two histograms of one neuron."""
    index = comparison.neurons.index(*neuron)
    emd = comparison["dna-emd"]
    a, b = comparison.aligned([index])
    shares, num_groups, ends = (values[0] for values in grouped(a, b, 40))
    low, high = ends.tolist()
    edges = np.linspace(low, high, int(num_groups) + 1)
    for share, name, (colour, _), style in zip(
        shares[:, :num_groups], names or comparison.names, STYLES, ("-", "--"), strict=False
    ):
        label = visible(name)
        if len(label) > _LEGEND:
            label = f"…{label[1 - _LEGEND :]}"
        if label.startswith("_"):
            # matplotlib hides labels that begin with an underscore.
            label = f" {label}"
        axis.stairs((100 * share).numpy(), edges, color=colour, linestyle=style, label=label, baseline=None)
    figures = f"{number(float(emd.values[index]))} bins"
    if emd.evidence is not None and emd.evidence.test is not None:
        figures += f", q = {float(emd.evidence.test.q[index]):.2g}"
    put_title(axis, f"{visible(neuron_in_words(*neuron))}\n{figures}", 2.6, size=8)
    # A neuron that never varies has a bin of width 1.
    limits = (low, high) if low < high else (low - 0.5, high + 0.5)
    # The scale is logarithmic, since many neurons are inactive at most positions.
    axis.set(xlim=limits, yscale="log", xlabel="activation")
    plain_axes(axis)


def versus(comparison: Comparison, names: tuple[str, str] | None = None) -> str:
    """Return a title that names both sets, their numbers of images and the extractor."""
    sets = []
    for name, count in zip(names or comparison.names, comparison.num_images.values(), strict=True):
        size = images_in_words(count, comparison.noun) if count else f"unknown {comparison.noun}s"
        sets.append(f"{visible(name)} ({size})")
    a, b = sets
    return f"{a} against {b}, {comparison.extractor}"


def plot_curve(comparisons: Comparisons) -> Any:
    """Plot distances of several sets from one reference, over the numbers in their names, or side by side.

    Returns:
        The matplotlib figure: debiased distances with intervals if there are folds, else biased ones. The best set is
        highlighted, and a line is at the distance of the held-out set.

    """
    names = [name for name in comparisons if name != comparisons.held_out]
    record = comparisons[names[0]][comparisons.distance].distance
    rows = [row for row in comparisons.rows() if row["set"] in names]
    # Sets without folds have no debiased distance. The level of the held-out set is of the same figure as the others.
    is_debiased = all(row.get(f"{record.key}_debiased") is not None for row in comparisons.rows())
    values = [row[f"{record.key}_debiased" if is_debiased else record.key] for row in rows]
    best = names.index(comparisons.best)
    positions = comparisons.positions
    x = positions or list(range(len(names)))
    colour, _ = STYLES[0]
    highlight, _ = STYLES[1]
    figure = new_figure(width=max(6, 0.5 * len(names) + 3), height=4)
    axis = figure.subplots()
    if positions:
        order = sorted(range(len(names)), key=x.__getitem__)
        axis.plot([x[i] for i in order], [values[i] for i in order], color=colour, linewidth=1)
    for i, row in enumerate(rows):
        # Lengths of the error bar below and above the value.
        ends = None
        if is_debiased and row[f"{record.key}_low"] is not None:
            below = max(values[i] - row[f"{record.key}_low"], 0)
            above = max(row[f"{record.key}_high"] - values[i], 0)
            ends = [[below], [above]]
        style = {"color": highlight, "marker": "s"} if i == best else {"color": colour, "marker": "o"}
        axis.errorbar([x[i]], [values[i]], ends, capsize=3, linestyle="", **style)
    if comparisons.held_out is not None:
        overall = comparisons[comparisons.held_out][record.name].overall
        level = overall.debiased if is_debiased else overall.value
        axis.axhline(level, color="black", linestyle=":", label=visible(comparisons.held_out))
        axis.legend(frameon=False)
    axis.set_ylabel(f"{record.label}, debiased" if is_debiased else record.label)
    if positions is None:
        axis.set_xticks(x, [visible(name)[-30:] for name in names], rotation=30, ha="right")
    else:
        axis.set_xlabel(_word_before_number(names) or "number in the name of the set")
        if max(x) > 20 * max(min(x), 1):
            axis.set_xscale("symlog")
    axis.set_ylim(bottom=0)
    plain_axes(axis)
    text = f"{len(names)} sets against {visible(comparisons.reference)}; best: {visible(names[best])}"
    put_title(figure, text, figure.get_figwidth())
    return figure


def _word_before_number(names: Sequence[str]) -> str:
    """Return the word before the last number of a name, such as "step"; empty if it is not the same in all names."""
    words = {re.sub(r"^.*?([^\W\d_]*)[\W_]*\d+(\.\d+)?\D*$", r"\1", name) for name in names}
    return words.pop() if len(words) == 1 else ""


def plot_matrix(matrix: DistanceMatrix) -> Any:
    """Plot a heat map of all distances, ordered by hierarchical clustering, with the tree above it.

    Returns:
        The matplotlib figure; distances are written into the cells of up to 12 sets.

    Raises:
        ModuleNotFoundError: If matplotlib or scipy is missing.

    """
    order = matrix.order
    record = DISTANCES[matrix.distance]
    count = len(matrix.names)
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
    if count <= _WRITTEN:
        for i, j in product(range(count), repeat=2):
            text = "-" if i == j else f"{values[i, j]:.3g}"
            colour = "white" if values[i, j] < middle else "black"
            axis.text(j, i, text, ha="center", va="center", fontsize=8, color=colour)
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
    highs = [nan if window.high is None else window.high for window in windows]
    evidence = [nan if window.evidence is None else window.evidence for window in windows]
    figure = new_figure(width=8, height=5)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    usual, dot = STYLES[0]
    alarm, square = STYLES[1]
    for changed, colour, marker, name in ((False, usual, dot, "no change"), (True, alarm, square, "changed")):
        chosen = [window for window in windows if window.changed == changed]
        x = [window.number for window in chosen]
        values = [window.value for window in chosen]
        above.plot(x, values, color=colour, marker=marker, linestyle="", markersize=4, label=name)
    above.plot(numbers, highs, color="black", linewidth=1, linestyle=":", label="95% of earlier windows are below")
    above.set_ylabel(DISTANCES[windows[0].distance].label)
    above.legend(frameon=False, fontsize=9)
    below.plot(numbers, evidence, color=usual, linewidth=1)
    enough = windows[0].enough
    below.axhline(enough, color=alarm, linestyle="--", linewidth=1, label=f"enough ({enough:g})")
    below.set(yscale="log", ylabel="evidence", xlabel="window")
    below.legend(frameon=False, fontsize=9, loc="upper left")
    for axis in (above, below):
        plain_axes(axis)
    put_title(figure, f"{len(windows)} windows of a stream", 8)
    return figure
