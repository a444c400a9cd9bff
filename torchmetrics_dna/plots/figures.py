"""Figures of comparisons of two or several sets, and of windows of a stream, in one style."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import product
from math import ceil, nan
from textwrap import fill
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from torchmetrics_dna.checks import brief
from torchmetrics_dna.dna.distances import DISTANCES
from torchmetrics_dna.dna.histogram import grouped
from torchmetrics_dna.extras import require
from torchmetrics_dna.files.visible import images_in_words, number, visible
from torchmetrics_dna.images.properties import neuron_in_words

if TYPE_CHECKING:
    from torchmetrics_dna.dna.distances import Distance
    from torchmetrics_dna.dna.evidence import Evidence
    from torchmetrics_dna.dna.result import Result

    # These classes are defined in packages that import this package, so they can't be imported here.
    Comparison = Any
    Comparisons = Any
    DistanceMatrix = Any
    Window = Any

#: Colours of Okabe and Ito's palette, which colour-blind people can distinguish. Each has a marker for print in grey.
STYLES = (("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^"), ("#CC79A7", "D"), ("#E69F00", "v"))
# Line styles. The second style is used when all colours have been used, and so on.
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1)))
# Largest number of characters of a name in a legend.
_LEGEND = 30
# Largest number of characters of a name at an axis.
_TICK = 30
# Largest number of sets of a matrix whose cells are large enough for numbers.
_WRITTEN = 12
# Number of neurons whose histograms are drawn by default, and number of them per row.
_NEURONS = 6
_NEURONS_PER_ROW = 3
# Width of the title of a histogram in inches.
_TITLE_WIDTH = 2.6
# Largest number of bars of a histogram. A histogram with more bins is drawn with groups of bins.
_BARS = 40
_SHARE_LABEL = "share of positions (%)"


def curve_style(i: int) -> dict[str, Any]:
    """Return the style of the i-th curve. The line style changes when all colours of the palette have been used."""
    colour, marker = STYLES[i % len(STYLES)]
    return {"color": colour, "marker": marker, "linestyle": LINES[i // len(STYLES) % len(LINES)]}


def plain_axes(axis: Any) -> None:
    """Hide the upper and right side of the frame, and draw faint horizontal grid lines."""
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", alpha=0.3)


def new_figure(width: float, height: float) -> Any:
    """Return an empty figure of this size in inches.

    Raises:
        ModuleNotFoundError: If matplotlib is missing.

    """
    # A library must not use pyplot, because pyplot keeps figures alive and opens windows.
    return require("matplotlib.figure", "plot").Figure(figsize=(width, height), dpi=120, layout="constrained")


def given_axes(ax: Any, names: Sequence[str], noun: str, remedy: str) -> list[Any]:
    """Return the axes that the user passed as a list.

    Args:
        ax: Axes, or an array or a list of axes.
        names: Names of what is drawn, one for each axes.
        noun: Noun for a name in errors.
        remedy: Remedy in errors.

    Raises:
        ValueError: If the number of axes is wrong.

    """
    axes = list(np.asarray(ax, dtype=object).ravel())
    if len(axes) != len(names):
        expected = f"{len(names)} axes, one for each {noun} ({', '.join(names)})"
        raise ValueError(f"Argument `ax` expected to be {expected}, but got {len(axes)}; {remedy}")
    return axes


def put_title(figure_or_axes: Any, text: str, width: float, size: float = 11) -> None:
    """Set the title of a figure or of axes, left-aligned, and wrapped to a width in inches."""
    # About 115 / size characters fit into an inch.
    num_characters = max(20, int(115 * width / size))
    lines = [fill(line, num_characters, break_on_hyphens=False) for line in text.split("\n")]
    wrapped = "\n".join(lines)
    if hasattr(figure_or_axes, "suptitle"):
        figure_or_axes.suptitle(wrapped, x=0.01, ha="left", fontsize=size, parse_math=False)
    else:
        figure_or_axes.set_title(wrapped, loc="left", fontsize=size, parse_math=False)


def plot_layers(
    comparison: Comparison, distance: str | None = None, *, names: tuple[str, str] | None = None, ax: Any = None
) -> Any:
    """Plot a layer profile: the distance between the two sets in each layer, from the first layer to the last.

    Args:
        comparison: A comparison of histograms, Gaussians, or Gaussians of layers.
        distance: Name of the distance; by default all distances, each in its own axes.
        names: Names of A and B; by default those of the comparison.
        ax: Matplotlib axes to draw in, one for each distance; by default those of a new figure.

    Returns:
        The matplotlib figure. For each distance, it has a bar for each layer, and a line for the overall distance. With
        evidence, it also has debiased bars with confidence intervals, the overall interval as a band, and the null mean
        as a dotted line.

    Raises:
        ValueError: If there is no such distance, or the number of ``ax`` is wrong.

    """
    shown = _results_of_layers(comparison, distance)
    if ax is None:
        # Inches for each layer beside the legend, and for each distance below the title.
        width = max(7.5, 0.35 * len(comparison.neurons) + 4)
        height = 1.2 + 2.3 * len(shown)
        axes = _new_axes(comparison, names, (width, height), len(shown))
    else:
        axes = given_axes(ax, [result.distance.name for result in shown], "distance", "or pass `distance`")
        width = axes[0].get_window_extent().width / axes[0].figure.dpi
        put_title(axes[0], versus(comparison, names), width, size=9)
    for i, (axis, result) in enumerate(zip(axes, shown, strict=True)):
        _profile(axis, result, curve_style(i)["color"])
        # Put the unit on a line of its own.
        axis.set_ylabel(result.distance.label.replace(" (", "\n("))
        _turn_long_labels(axis, list(comparison.neurons))
        plain_axes(axis)
        axis.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1, 1))
    return axes[0].figure


def _results_of_layers(comparison: Comparison, distance: str | None) -> list[Result]:
    """Return the results of a comparison that have layers: that of one distance, or with None those of all.

    Raises:
        ValueError: If there is no such result.

    """
    results = comparison.of_granularity("neuron", "layer")
    chosen = [result for result in results if distance in (None, result.distance.name, result.distance.key)]
    if not chosen:
        known_names = "none; compare histograms or Gaussians"
        if results:
            known_names = ", ".join(result.distance.name for result in results)
        raise ValueError(f"The comparison has these distances of layers: {known_names}; got {distance!r}")
    return chosen


def _new_axes(
    comparison: Comparison, names: tuple[str, str] | None, size: tuple[float, float], rows: int, columns: int = 1
) -> list[Any]:
    """Return the axes of a new figure, whose title contains the names of both sets."""
    figure = new_figure(*size)
    put_title(figure, versus(comparison, names), size[0])
    return list(figure.subplots(rows, columns, squeeze=False).flat)


def _turn_long_labels(axis: Any, labels: Sequence[str]) -> None:
    """Turn the labels of the horizontal axis if they do not fit side by side."""
    # About 45 characters fit side by side.
    if len(" ".join(labels)) <= 45:
        return
    axis.tick_params(axis="x", labelrotation=45)
    for label in axis.get_xticklabels():
        label.set(ha="right", rotation_mode="anchor")


def _profile(axis: Any, result: Result, colour: str) -> None:
    """Draw one distance: a bar for each layer, and lines for the overall distance and its null mean."""
    overall = result.value
    values = [figure.value for figure in result.layers.values()]
    x = np.arange(len(values))
    axis.set_xticks(x, map(visible, result.layers))
    axis.axhline(overall, color="black", linestyle="--", linewidth=1, label=f"all: {number(overall)}")
    if result.evidence is None:
        axis.bar(x, values, color=colour, width=0.7)
        return
    # Draw two bars side by side. Layers are 1 apart.
    left = x - 0.2
    right = x + 0.2
    axis.bar(left, values, color=colour, alpha=0.4, width=0.38, label="not debiased")
    axis.bar(right, result.evidence.layers.numpy(), color=colour, width=0.38, label="debiased")
    _draw_intervals(axis, right, result, result.evidence)
    if result.null_mean is not None:
        label = f"all, null mean: {number(result.null_mean)}"
        axis.axhline(result.null_mean, color="black", linestyle=":", linewidth=1, label=label)


def _draw_intervals(axis: Any, x: Any, result: Result, evidence: Evidence) -> None:
    """Draw the interval of each layer at x as an error bar, and the interval of the overall distance as a band."""
    interval = evidence.interval
    if not interval:
        return
    # Lengths of each error bar below and above the debiased distance.
    lengths = np.full((2, len(evidence.layer_intervals)), nan)
    for i, layer_interval in enumerate(evidence.layer_intervals):
        if layer_interval:
            lengths[0, i] = layer_interval.value - layer_interval.low
            lengths[1, i] = layer_interval.high - layer_interval.value
    style = {"linestyle": "", "color": "black", "elinewidth": 1, "capsize": 2, "label": f"{interval.ci} of each"}
    axis.errorbar(x, evidence.layers.numpy(), lengths, **style)
    if result.few_differ is not None:
        axis.plot([], [], linestyle="", label=f"all: {result.few_differ.in_words}")
    else:
        label = f"all, debiased: {number(interval.value)}\n({interval.in_words})"
        axis.axhspan(interval.low, interval.high, color="black", alpha=0.08, linewidth=0, label=label)


def plot_histograms(
    comparison: Comparison,
    neurons: Sequence[tuple[str, int]] | None = None,
    *,
    names: tuple[str, str] | None = None,
    ax: Any = None,
) -> Any:
    """Plot the histograms of single neurons in both sets.

    Args:
        comparison: A comparison of histograms.
        neurons: Layer and number of each neuron; by default the first six of ``comparison.top_neurons``.
        names: Names of A and B; by default those of the comparison.
        ax: Matplotlib axes to draw in, one for each neuron; by default those of a new figure.

    Returns:
        The matplotlib figure.

    Raises:
        ValueError: If there is no such neuron, no histograms were compared, or the number of ``ax`` is wrong.

    """
    chosen = _chosen_neurons(comparison, neurons)
    if ax is None:
        axes = _new_axes_of_neurons(comparison, names, len(chosen))
    else:
        axes = given_axes(ax, [f"{layer} {neuron}" for layer, neuron in chosen], "neuron", "or pass `neurons`")
    for axis, neuron in zip(axes, chosen, strict=False):
        _draw_histograms(axis, comparison, neuron, names)
    # The last row of a new figure may have more axes than neurons.
    for axis in axes[len(chosen) :]:
        axis.set_visible(False)
    figure = axes[0].figure
    if ax is None:
        figure.supylabel(_SHARE_LABEL, fontsize=10)
        handles_and_labels = axes[0].get_legend_handles_labels()
        legend = figure.legend(*handles_and_labels, loc="outside lower left", ncols=2, frameon=False, fontsize=9)
    else:
        axes[0].set_ylabel(_SHARE_LABEL)
        legend = axes[0].legend(frameon=False, fontsize=8)
    # A name of a set may have dollar signs.
    for text in legend.get_texts():
        text.set_parse_math(False)
    return figure


def _chosen_neurons(comparison: Comparison, neurons: Sequence[tuple[str, int]] | None) -> Sequence[tuple[str, int]]:
    """Return the neurons that the user passed, or else the first ones of ``comparison.top_neurons``.

    Raises:
        ValueError: If the argument is no list of pairs.

    """
    if not neurons:
        return [(neuron["layer"], neuron["neuron"]) for neuron in comparison.top_neurons(_NEURONS)]
    are_pairs = all(isinstance(neuron, Sequence) and len(neuron) == 2 for neuron in neurons)
    if not are_pairs:
        raise ValueError(f"Argument `neurons` expected to be pairs as ('head', 3), but got {brief(neurons)}")
    return neurons


def _new_axes_of_neurons(comparison: Comparison, names: tuple[str, str] | None, num_neurons: int) -> list[Any]:
    """Return the axes of a new figure with a grid of histograms; the last row may have more axes than neurons."""
    rows = ceil(num_neurons / _NEURONS_PER_ROW)
    columns = min(_NEURONS_PER_ROW, num_neurons)
    # Inches for each histogram and its labels, and for the title.
    width = max(6, 0.5 + 3 * columns)
    height = 1.2 + 2.6 * rows
    return _new_axes(comparison, names, (width, height), rows, columns)


def _draw_histograms(axis: Any, comparison: Comparison, neuron: tuple[str, int], names: tuple[str, str] | None) -> None:
    """Draw the histograms of one neuron in both sets."""
    index = comparison.neurons.index(*neuron)
    a, b = comparison.aligned([index])
    shares, nums_groups, ends = grouped(a, b, _BARS)
    # Each of these tensors has a row for each neuron, and there is a single neuron here.
    num_bars = int(nums_groups[0])
    low, high = ends[0].tolist()
    edges = np.linspace(low, high, num_bars + 1)
    for i, name in enumerate(names or comparison.names):
        percentages = (100 * shares[0, i, :num_bars]).numpy()
        style = {"color": STYLES[i][0], "linestyle": LINES[i], "label": _label_in_legend(name)}
        axis.stairs(percentages, edges, baseline=None, **style)
    title = f"{visible(neuron_in_words(*neuron))}\n{_distance_of_neuron(comparison, index)}"
    put_title(axis, title, _TITLE_WIDTH, size=8)
    # The axis of a neuron with a single activation has a width of 1.
    limits = (low, high) if low < high else (low - 0.5, high + 0.5)
    # The scale is logarithmic, because many neurons are inactive at most positions.
    axis.set(xlim=limits, yscale="log", xlabel="activation")
    plain_axes(axis)


def _distance_of_neuron(comparison: Comparison, index: int) -> str:
    """Return the dna-emd of a neuron as text, with its q-value if there is a test."""
    emd = comparison["dna-emd"]
    text = f"{number(float(emd.values[index]))} bins"
    if emd.evidence is not None and emd.evidence.test is not None:
        text += f", q = {float(emd.evidence.test.q[index]):.2g}"
    return text


def _label_in_legend(name: str) -> str:
    """Return the name of a set for a legend, shortened to its last characters if it is long."""
    label = visible(name)
    if len(label) > _LEGEND:
        label = f"…{label[1 - _LEGEND :]}"
    # matplotlib hides labels that begin with an underscore.
    return f" {label}" if label.startswith("_") else label


def versus(comparison: Comparison, names: tuple[str, str] | None = None) -> str:
    """Return a title with the names of both sets, their numbers of images, and the extractor."""
    sets = []
    for name, count in zip(names or comparison.names, comparison.num_images.values(), strict=True):
        size = images_in_words(count, comparison.noun) if count else f"unknown {comparison.noun}s"
        sets.append(f"{visible(name)} ({size})")
    a, b = sets
    return f"{a} against {b}, {comparison.extractor}"


class _Point(NamedTuple):
    """The distance of one set in a curve.

    Attributes:
        x: Number in the name of the set, or its place among the sets.
        value: The distance.
        low: Lower end of its interval; None without an interval.
        high: Upper end of its interval; None without an interval.

    """

    x: float
    value: float
    low: float | None
    high: float | None


def plot_curve(comparisons: Comparisons) -> Any:
    """Plot the distances of several sets from one reference, over the numbers in their names, or side by side.

    Returns:
        The matplotlib figure. With folds of images, it has debiased distances with intervals, else biased distances.
        The best set is highlighted. A dotted line marks the distance of the held-out set.

    """
    names = [name for name in comparisons if name != comparisons.held_out]
    distance = comparisons[names[0]][comparisons.distance].distance
    # If one set has no debiased distance, biased distances are drawn for all sets, including the held-out set.
    is_debiased = all(row.get(f"{distance.key}_debiased") is not None for row in comparisons.rows())
    points = _points_of(comparisons, names, distance.key, is_debiased)
    best = comparisons.best
    figure = new_figure(width=max(6, 0.5 * len(names) + 3), height=4)
    axis = figure.subplots()
    if comparisons.positions:
        _draw_line(axis, points)
    for name, point in zip(names, points, strict=True):
        _draw_point(axis, point, is_best=name == best)
    if comparisons.held_out is not None:
        _draw_held_out(axis, comparisons, distance, is_debiased)
    axis.set_ylabel(f"{distance.label}, debiased" if is_debiased else distance.label)
    _set_positions(axis, names, comparisons.positions)
    axis.set_ylim(bottom=0)
    plain_axes(axis)
    text = f"{len(names)} sets against {visible(comparisons.reference)}; best: {visible(best)}"
    put_title(figure, text, figure.get_figwidth())
    return figure


def _points_of(comparisons: Comparisons, names: Sequence[str], key: str, is_debiased: bool) -> list[_Point]:
    """Return the points of sets in a curve; ``key`` is the key of the distance."""
    rows = [row for row in comparisons.rows() if row["set"] in names]
    positions = comparisons.positions or range(len(names))
    points = []
    for x, row in zip(positions, rows, strict=True):
        if is_debiased:
            points.append(_Point(x, row[f"{key}_debiased"], row[f"{key}_low"], row[f"{key}_high"]))
        else:
            points.append(_Point(x, row[key], None, None))
    return points


def _draw_line(axis: Any, points: Sequence[_Point]) -> None:
    """Connect the points by a line, from left to right."""
    ordered = sorted(points, key=lambda point: point.x)
    colour, _ = STYLES[0]
    axis.plot([point.x for point in ordered], [point.value for point in ordered], color=colour, linewidth=1)


def _draw_point(axis: Any, point: _Point, is_best: bool) -> None:
    """Draw a point, with its interval as an error bar."""
    colour, marker = STYLES[1] if is_best else STYLES[0]
    # Lengths of the error bar below and above the point.
    lengths = None
    if point.low is not None and point.high is not None:
        lengths = [[max(point.value - point.low, 0)], [max(point.high - point.value, 0)]]
    axis.errorbar([point.x], [point.value], lengths, capsize=3, linestyle="", color=colour, marker=marker)


def _draw_held_out(axis: Any, comparisons: Comparisons, distance: Distance, is_debiased: bool) -> None:
    """Draw a line at the distance of the held-out set."""
    overall = comparisons[comparisons.held_out][distance.name].overall
    level = overall.debiased if is_debiased else overall.value
    axis.axhline(level, color="black", linestyle=":", label=visible(comparisons.held_out))
    axis.legend(frameon=False)


def _set_positions(axis: Any, names: Sequence[str], positions: Sequence[float] | None) -> None:
    """Label the horizontal axis of a curve: by the names of sets, or by what the numbers in the names mean."""
    if positions is None:
        axis.set_xticks(range(len(names)), [visible(name)[-_TICK:] for name in names], rotation=30, ha="right")
        return
    axis.set_xlabel(_word_before_number(names) or "number in the name of the set")
    # On a linear axis, the smaller numbers would be too close to each other.
    if max(positions) > 20 * max(min(positions), 1):
        axis.set_xscale("symlog")


def _word_before_number(names: Sequence[str]) -> str:
    """Return the word before the last number of the names, such as "step"; empty if the names have different words."""
    # Replace each name by the letters before its last number. Punctuation may stand in between, as in "step-0100.dna".
    words = {re.sub(r"^.*?([^\W\d_]*)[\W_]*\d+(\.\d+)?\D*$", r"\1", name) for name in names}
    return words.pop() if len(words) == 1 else ""


def plot_matrix(matrix: DistanceMatrix) -> Any:
    """Plot a heat map of all distances, ordered by hierarchical clustering, and the tree of clusters above it.

    Returns:
        The matplotlib figure. With up to 12 sets, the distances are written into the cells.

    Raises:
        ModuleNotFoundError: If matplotlib or scipy is missing.

    """
    order = matrix.order
    count = len(matrix.names)
    in_order = matrix.distances[matrix.distance][order][:, order]
    # The diagonal has no distances, so its cells stay white.
    values = in_order.clone().fill_diagonal_(nan).numpy()
    names = [visible(matrix.names[i])[-_TICK:] for i in order]
    # Inches of the heat map with the names, beside the colour bar and below the title and the tree.
    size = min(max(4.0, 0.42 * count + 1.5), 16)
    figure = new_figure(width=size + 2.5, height=size + 1.3)
    tree, axis = figure.subplots(2, 1, sharex=True, height_ratios=(1, 6))
    _draw_tree(tree, matrix)
    picture = axis.imshow(values, cmap="cividis", aspect="auto")
    axis.set_xticks(range(count), names, rotation=90)
    axis.set_yticks(range(count), names)
    if count <= _WRITTEN:
        # The colours below the middle of the scale are dark.
        middle = (picture.norm.vmin + picture.norm.vmax) / 2
        _write_distances(axis, values, middle)
    figure.colorbar(picture, ax=[tree, axis], label=DISTANCES[matrix.distance].label, aspect=30)
    put_title(figure, f"{count} sets, all against all", size + 2.5)
    return figure


def _draw_tree(axis: Any, matrix: DistanceMatrix) -> None:
    """Draw the tree of the hierarchical clustering, with one leaf above each column of the heat map."""
    dendrogram = require("scipy.cluster.hierarchy", "plot").dendrogram(matrix.linkage, no_plot=True)
    for positions, heights in zip(dendrogram["icoord"], dendrogram["dcoord"], strict=True):
        # scipy puts leaves at 5, 15, 25, ...
        columns = [(position - 5) / 10 for position in positions]
        axis.plot(columns, heights, color="black", linewidth=1)
    axis.set(ylim=(0, None), yticks=[])
    axis.spines[["top", "right", "left", "bottom"]].set_visible(False)
    axis.tick_params(axis="x", length=0, labelbottom=False)


def _write_distances(axis: Any, values: Any, middle: float) -> None:
    """Write distances into the cells of a heat map, white in the dark cells, whose values are below ``middle``."""
    for i, j in product(range(len(values)), repeat=2):
        text = "-" if i == j else f"{values[i, j]:.3g}"
        colour = "white" if values[i, j] < middle else "black"
        axis.text(j, i, text, ha="center", va="center", fontsize=8, color=colour)


def plot_monitor(windows: Sequence[Window]) -> Any:
    """Plot windows of a stream: the distance of each window from the reference, and below it the evidence for a change.

    Args:
        windows: From :func:`~torchmetrics_dna.monitor`.

    Returns:
        The matplotlib figure.

    """
    figure = new_figure(width=8, height=5)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    _draw_distances(above, windows)
    _draw_evidence(below, windows)
    for axis in (above, below):
        plain_axes(axis)
    put_title(figure, f"{len(windows)} windows of a stream", 8)
    return figure


def _draw_distances(axis: Any, windows: Sequence[Window]) -> None:
    """Draw the distance of each window, and a line below which 95% of the earlier windows are."""
    _draw_windows(axis, [window for window in windows if not window.changed], STYLES[0], "no change")
    _draw_windows(axis, [window for window in windows if window.changed], STYLES[1], "changed")
    numbers = [window.number for window in windows]
    highs = [nan if window.high is None else window.high for window in windows]
    axis.plot(numbers, highs, color="black", linewidth=1, linestyle=":", label="95% of earlier windows are below")
    axis.set_ylabel(DISTANCES[windows[0].distance].label)
    axis.legend(frameon=False, fontsize=9)


def _draw_windows(axis: Any, windows: Sequence[Window], style: tuple[str, str], label: str) -> None:
    """Draw the distances of windows as markers; ``style`` is a colour with its marker."""
    colour, marker = style
    numbers = [window.number for window in windows]
    values = [window.value for window in windows]
    axis.plot(numbers, values, color=colour, marker=marker, linestyle="", markersize=4, label=label)


def _draw_evidence(axis: Any, windows: Sequence[Window]) -> None:
    """Draw the evidence for a change after each window, and a line at the evidence that is enough for an alarm."""
    numbers = [window.number for window in windows]
    evidence = [nan if window.evidence is None else window.evidence for window in windows]
    enough = windows[0].enough
    axis.plot(numbers, evidence, color=STYLES[0][0], linewidth=1)
    axis.axhline(enough, color=STYLES[1][0], linestyle="--", linewidth=1, label=f"enough ({enough:g})")
    axis.set(yscale="log", ylabel="evidence", xlabel="window")
    axis.legend(frameon=False, fontsize=9, loc="upper left")
