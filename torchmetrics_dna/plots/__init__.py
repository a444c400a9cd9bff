"""Figures; the only room that knows matplotlib."""

from __future__ import annotations

from statistics import fmean, pstdev
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from torchmetrics_dna.dna.distances import DISTANCES
from torchmetrics_dna.dna.histogram import grouped
from torchmetrics_dna.dna.names import in_words
from torchmetrics_dna.extras import require
from torchmetrics_dna.files.visible import number, visible
from torchmetrics_dna.plots.figure import LINES, STYLES, curve_style, new_figure, plain_axes
from torchmetrics_dna.plots.many import plot_curve, plot_map, plot_matrix, plot_monitor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torchmetrics_dna.dna.evidence import Evidence
    from torchmetrics_dna.sets.comparison import Comparison
    from torchmetrics_dna.sets.demo import Demo
    from torchmetrics_dna.sets.ranking import Ranking

__all__ = [
    "STYLES",
    "curve_style",
    "new_figure",
    "plain_axes",
    "plot_convergence",
    "plot_curve",
    "plot_demo",
    "plot_histograms",
    "plot_layers",
    "plot_map",
    "plot_matrix",
    "plot_monitor",
    "plot_neurons",
    "plot_precision_recall",
    "plot_ranking",
    "versus",
]


def plot_demo(demo: Demo) -> Any:
    """The demonstration as a figure: distances over strength, and what the degradations look like.

    Args:
        demo: From :func:`run_demo`.

    Returns:
        The matplotlib figure.

    Raises:
        ModuleNotFoundError: If matplotlib is missing.

    """
    figure = new_figure(width=10, height=5)
    curves, pictures = figure.subfigures(1, 2, width_ratios=(1, 1))
    axes = curves.subplots(2, 1, sharex=True)
    strengths = (0, *demo.strengths)
    for i, (name, comparisons) in enumerate(demo.comparisons.items()):
        for axis, distance in zip(axes, ("dna-emd", "dna-fd"), strict=True):
            axis.plot(strengths, [0, *(c.value(distance) for c in comparisons)], label=name, **curve_style(i))
            axis.set_ylabel(DISTANCES[distance].label)
    axes[0].set_title(f"{demo.num_images} photographs against degraded copies", loc="left", fontsize=11)
    axes[1].set(xlabel="strength of the degradation", xticks=strengths)
    axes[0].legend(frameon=False)
    for axis in axes:
        axis.set_ylim(bottom=0)
        plain_axes(axis)
    _pictures(pictures, demo)
    return figure


def _check(given: Any) -> None:
    """TypeError unless it is a comparison, such as for two DNAs."""
    if not hasattr(given, "evidence"):
        raise TypeError(f"Expected a comparison, as compare(a, b) gives it, but got {type(given).__name__}")


def plot_layers(comparison: Comparison) -> Any:
    """Layer profile: how far the two sets are apart in each layer, from the first layer to the last.

    Returns:
        The matplotlib figure; a row of bars for each distance that there is, with that of all as a line. Where there is
        evidence, beside each bar what is left of it without noise, and what chance gives to all as a dotted line.

    """
    _check(comparison)
    shown = comparison.records("neuron", "layer")
    layers = list(comparison.neurons)
    figure = new_figure(width=max(7.5, 0.35 * len(layers) + 3.5), height=1.2 + 2.3 * len(shown))
    for i, (axis, record) in enumerate(zip(figure.subplots(len(shown), squeeze=False)[:, 0], shown, strict=True)):
        whole, *parts = (comparison.value(record.name, layer) for layer in (None, *layers))
        colour, evidence = curve_style(i)["color"], comparison.evidence.get(record.name)
        axis.axhline(whole, color="black", linestyle="--", linewidth=1, label=f"all: {number(whole)}")
        if evidence is None:
            axis.bar(layers, parts, color=colour, width=0.7)
        else:
            _bars_and_what_is_left(axis, layers, parts, evidence, colour)
        axis.set_ylabel(record.label.replace(" (", "\n("))
        axis.tick_params(axis="x", labelrotation=45 if len(layers) > 6 else 0)
        plain_axes(axis)
        axis.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1, 1))
    figure.suptitle(versus(comparison), x=0.01, ha="left", fontsize=11)
    return figure


def plot_neurons(
    comparison: Comparison, distance: str | None = None, by: Literal["evidence", "distance"] = "evidence"
) -> Any:
    """Heat map: how clearly every neuron differs, a row for each layer, in the order of that within it.

    Args:
        comparison: Of histograms or Gaussians.
        distance: Which distance; by default dna-emd where there is one.
        by: ``"evidence"``: by z, the distance less what chance gives, in standard deviations of chance.
            ``"distance"``: by the distance itself. Without a test, by the distance.

    Returns:
        The matplotlib figure.

    Raises:
        ValueError: If the comparison has no such distance of neurons.

    """
    _check(comparison)
    records = {record.name: record for record in comparison.records("neuron")}
    record = records.get(distance or next(iter(records), ""))
    if record is None:
        there = ", ".join(records) or "none; compare histograms or Gaussians"
        raise ValueError(f"The comparison has these distances of neurons: {there}; got {distance!r}")
    values, label = comparison.found[record.name], record.label
    evidence = comparison.evidence.get(record.name)
    if by == "evidence" and evidence is not None and evidence.test is not None:
        values, label = evidence.test.z, f"{record.name}: z (deviations above chance)"
    rows = {layer: part.sort(descending=True).values for layer, part in comparison.neurons.split(values).items()}
    # few neurons differ by much; a quantile's and a root's scale leave the others something to see
    largest = max(float(values.quantile(0.99)) or float(values.max()), 0)
    scale = require("matplotlib.colors", "plot").PowerNorm(0.5, vmin=0, vmax=largest)
    figure = new_figure(width=8, height=1.4 + 0.32 * len(rows))
    axes = figure.subplots(len(rows), 1, squeeze=False)[:, 0]
    for axis, (layer, part) in zip(axes, rows.items(), strict=True):
        picture = axis.imshow(part[None].clamp(min=0).numpy(), aspect="auto", cmap="cividis", norm=scale)
        axis.set_yticks([0], [f"{layer} ({len(part)})"])
        axis.set_xticks([])
    figure.suptitle(versus(comparison), x=0.01, ha="left", fontsize=11)
    axes[-1].set_xlabel("neurons of the layer, from the one that differs most to the one that differs least")
    figure.colorbar(picture, ax=axes.tolist(), label=label, aspect=12, extend="max")
    return figure


def plot_histograms(comparison: Comparison, neurons: Sequence[tuple[str, int]] | None = None) -> Any:
    """Pairs of histograms: what some neurons gave for the two sets.

    Args:
        comparison: Of histograms.
        neurons: Layer and number of each neuron; by default the six that differ most clearly.

    Returns:
        The matplotlib figure.

    """
    _check(comparison)
    chosen = neurons or [(neuron["layer"], neuron["neuron"]) for neuron in comparison.top_neurons(6)]
    evidence = comparison.evidence.get("dna-emd")
    rows = -(-len(chosen) // 3)
    figure = new_figure(width=9.5, height=0.8 + 2.4 * rows)
    axes = figure.subplots(rows, min(3, len(chosen)), squeeze=False).flatten()
    for axis, (layer, neuron) in zip(axes, chosen, strict=False):
        place = comparison.neurons.index(layer, neuron)
        shares, used, ends = (values[0] for values in grouped(*comparison.aligned([place]), 40))
        low, high = ends.tolist()
        edges = np.linspace(low, high, int(used) + 1)
        for share, name, (colour, _), style in zip(shares[:, :used], "AB", STYLES, ("-", "--"), strict=False):
            axis.stairs((100 * share).numpy(), edges, color=colour, linestyle=style, label=name, baseline=None)
        called = visible(in_words(layer, neuron, comparison.neuron_names))
        told = f"{called}: {number(float(comparison.found['dna-emd'][place]))} bins"
        if evidence is not None and evidence.test is not None:
            told += f", q = {float(evidence.test.q[place]):.2g}"
        axis.set_title(told, fontsize=8, loc="left")
        axis.set(xlim=(low, high), yscale="log")  # a dead zone takes most positions of many neurons
        plain_axes(axis)
    for axis in axes[len(chosen) :]:
        axis.set_visible(False)
    axes[0].legend(frameon=False)
    figure.supxlabel("activation", fontsize=10)
    figure.supylabel("share of positions (%)", fontsize=10)
    figure.suptitle(versus(comparison), x=0.01, ha="left", fontsize=11)
    return figure


def _bars_and_what_is_left(axis: Any, layers: list[str], parts: Sequence[Any], evidence: Evidence, colour: str) -> None:
    places = np.arange(len(layers))
    axis.bar(places - 0.2, parts, color=colour, alpha=0.4, width=0.38, label="with noise")
    left = "without noise" + (f" (all: {number(evidence.debiased)})" if evidence.interval else "")
    axis.bar(places + 0.2, evidence.layers.numpy(), color=colour, width=0.38, label=left)
    axis.set_xticks(places, layers)
    if evidence.null is not None:
        by_chance = f"all, by chance: {number(evidence.null)}"
        axis.axhline(evidence.null, color="black", linestyle=":", linewidth=1, label=by_chance)


def plot_convergence(numbers: Sequence[int], values: Mapping[str, Sequence[Sequence[float]]], unit: str = "") -> Any:
    """How distances settle as the number of images grows.

    Args:
        numbers: Numbers of images.
        values: For each distance and number, the values of several draws.
        unit: Of the values.

    Returns:
        The matplotlib figure: means as lines, standard deviations as bands, the last mean as a dotted line.

    """
    figure = new_figure(width=6, height=4)
    axis = figure.subplots()
    for i, (name, draws) in enumerate(values.items()):
        means = [fmean(draw) for draw in draws]
        spreads = [pstdev(draw) for draw in draws]
        style = curve_style(i)
        axis.plot(numbers, means, label=name, **style)
        low, high = ([m + sign * s for m, s in zip(means, spreads, strict=True)] for sign in (-1, 1))
        axis.fill_between(numbers, low, high, color=style["color"], alpha=0.2, linewidth=0)
        axis.axhline(means[-1], color=style["color"], linestyle=":", linewidth=1)
    axis.set(xscale="log", xlabel="number of images", ylabel=f"distance ({unit})" if unit else "distance")
    axis.set_title("Mean and standard deviation over draws of images", loc="left", fontsize=11)
    plain_axes(axis)
    axis.legend(frameon=False)
    return figure


def plot_precision_recall(curves: Mapping[str, tuple[Sequence[float], Sequence[float], float]]) -> Any:
    """Precision over recall of several scores.

    Args:
        curves: For each score its precision, recall, and the area under the curve.

    Returns:
        The matplotlib figure.

    """
    figure = new_figure(width=5.5, height=4.5)
    axis = figure.subplots()
    for i, (name, (precision, recall, area)) in enumerate(curves.items()):
        # without markers, which would cover steps this small
        line = {**curve_style(i), "marker": None, "linestyle": LINES[(i + i // len(STYLES)) % len(LINES)]}
        axis.step(recall, precision, where="post", label=f"{name}: {area:.3f}", **line)
    axis.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    axis.set_title("Precision and recall, with the area under the curve", loc="left", fontsize=11)
    plain_axes(axis)
    axis.legend(frameon=False, loc="lower left")
    return figure


def plot_ranking(ranking: Ranking, columns: int = 8) -> Any:
    """Contact sheet: the images of the best scores, those in the middle and the worst, with their scores.

    Args:
        ranking: From :func:`rank`.
        columns: How many images in each row.

    Returns:
        The matplotlib figure.

    """
    count = len(ranking.scores)
    columns = min(columns, count)
    starts = {"best": 0, "middle": (count - columns) // 2, "worst": count - columns}
    figure = new_figure(width=1.25 * columns + 0.4, height=5.2)
    axes = figure.subplots(3, columns, squeeze=False)
    for (name, start), row in zip(starts.items(), axes, strict=True):
        for place, axis in enumerate(row, start):
            axis.imshow(ranking.images[ranking.numbers[place]])
            axis.set(xticks=[], yticks=[])
            axis.set_title(f"{place + 1}: {number(float(ranking.scores[place]))}", fontsize=8)
            # the end of a name tells images of a folder apart
            axis.set_xlabel(visible(ranking.names[place])[-22:], fontsize=6, parse_math=False)
        row[0].set_ylabel(name)
    by = "their distance to the reference"
    if ranking.contrast is not None:
        by = "how much closer they are to the reference than to the contrast"
    title = f"{count} images by {by}: rank, {DISTANCES['dna-emd'].label}, name"
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    return figure


def versus(comparison: Comparison) -> str:
    """What was compared, for a title."""
    a, b = comparison.num_images.values()
    return f"A ({a} images) against B ({b} images), {comparison.extractor}"


def _pictures(figure: Any, demo: Demo) -> None:
    axes = figure.subplots(
        len(demo.examples), len(demo.shown), gridspec_kw={"wspace": 0.03, "hspace": 0.03}, squeeze=False
    )
    for row, (name, examples) in enumerate(demo.examples.items()):
        for axis, picture in zip(axes[row], examples, strict=True):
            axis.imshow(picture)
            axis.set(xticks=[], yticks=[])
        axes[row, 0].set_ylabel(name)
    for axis, strength in zip(axes[0], demo.shown, strict=True):
        axis.set_title("original" if strength == 0 else f"strength {strength}", fontsize=10)
