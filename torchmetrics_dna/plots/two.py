"""Figures of two sets: differences by layer, and histograms of neurons."""

from __future__ import annotations

from math import nan
from typing import TYPE_CHECKING, Any

import numpy as np

from torchmetrics_dna.dna.histogram import grouped
from torchmetrics_dna.files.visible import images_in_words, number, visible
from torchmetrics_dna.images.properties import neuron_in_words
from torchmetrics_dna.plots.figure import STYLES, curve_style, given_axes, new_figure, plain_axes, put_title

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torchmetrics_dna.comparisons.comparison import Comparison
    from torchmetrics_dna.dna.result import Result

_LEGEND = 30  # characters of a name


def _check(comparison: object) -> None:
    """Raise TypeError unless it is a comparison, such as for two DNAs."""
    if not hasattr(comparison, "of_grain"):
        raise TypeError(f"Expected a comparison, as compare(a, b) gives it, but got {type(comparison).__name__}")


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
    _check(comparison)
    results = comparison.of_grain("neuron", "layer")
    shown = [result for result in results if distance in (None, result.distance.name, result.distance.key)]
    if not shown:
        known = ", ".join(result.distance.name for result in results) or "none; compare histograms or Gaussians"
        raise ValueError(f"The comparison has these distances of layers: {known}; got {distance!r}")
    layers, size = list(comparison.neurons), (max(7.5, 0.35 * len(comparison.neurons) + 4), 1.2 + 2.3 * len(shown))
    if ax is None:
        axes = _new_axes(comparison, names, size, len(shown))
    else:
        axes = given_axes(ax, [result.distance.name for result in shown], "distance", "or give `distance`")
        _title_axes(axes[0], comparison, names)
    for i, (axis, result) in enumerate(zip(axes, shown, strict=True)):
        _profile(axis, result, curve_style(i)["color"])
        axis.set_ylabel(result.distance.label.replace(" (", "\n("))
        if len(" ".join(layers)) > 45:  # as much as fits into a row
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


def _title_axes(axis: Any, comparison: Comparison, names: tuple[str, str] | None) -> None:
    put_title(axis, versus(comparison, names), axis.get_window_extent().width / axis.figure.dpi, size=9)


def _profile(axis: Any, result: Result, colour: str) -> None:
    """Draw bars of one distance, layer by layer."""
    layers = list(result.layers)
    overall, values = result.value, [figure.value for figure in result.layers.values()]
    x, evidence = np.arange(len(layers)), result.evidence
    axis.set_xticks(x, map(visible, layers))
    axis.axhline(overall, color="black", linestyle="--", linewidth=1, label=f"all: {number(overall)}")
    if evidence is None:
        axis.bar(x, values, color=colour, width=0.7)
        return
    axis.bar(x - 0.2, values, color=colour, alpha=0.4, width=0.38, label="with noise")
    axis.bar(x + 0.2, evidence.layers.numpy(), color=colour, width=0.38, label="without noise")
    if interval := evidence.interval:
        sure = f"{interval.level} interval"
        ends = [(ci.value - ci.low, ci.high - ci.value) if ci else (nan, nan) for ci in evidence.layer_intervals]
        style = {"linestyle": "", "color": "black", "elinewidth": 1, "capsize": 2, "label": f"{sure} of each"}
        axis.errorbar(x + 0.2, evidence.layers.numpy(), np.array(ends).T, **style)
        if result.without_shift:
            axis.plot([], [], linestyle="", label=f"all: {result.without_shift}")
        else:
            debiased_label = f"all, without noise: {number(interval.value)}\n({sure} {interval.ends})"
            axis.axhspan(interval.low, interval.high, color="black", alpha=0.08, linewidth=0, label=debiased_label)
    if result.by_chance is not None:
        by_chance = f"all, by chance: {number(result.by_chance)}"
        axis.axhline(result.by_chance, color="black", linestyle=":", linewidth=1, label=by_chance)


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
    _check(comparison)
    chosen = neurons or [(neuron["layer"], neuron["neuron"]) for neuron in comparison.top_neurons(6)]
    rows, columns = -(-len(chosen) // 3), min(3, len(chosen))
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
    index, emd = comparison.neurons.index(*neuron), comparison["dna-emd"]
    a, b = comparison.aligned([index])
    shares, used, ends = (values[0] for values in grouped(a, b, 40))
    low, high = ends.tolist()
    edges = np.linspace(low, high, int(used) + 1)
    for share, name, (colour, _), style in zip(
        shares[:, :used], names or comparison.names, STYLES, ("-", "--"), strict=False
    ):
        label = visible(name) if len(visible(name)) <= _LEGEND else f"…{visible(name)[1 - _LEGEND :]}"
        label = f" {label}" if label.startswith("_") else label  # matplotlib would hide it
        axis.stairs((100 * share).numpy(), edges, color=colour, linestyle=style, label=label, baseline=None)
    figures = f"{number(float(emd.values[index]))} bins"
    if emd.evidence is not None and emd.evidence.test is not None:
        figures += f", q = {float(emd.evidence.test.q[index]):.2g}"
    put_title(axis, f"{visible(neuron_in_words(*neuron))}\n{figures}", 2.6, size=8)
    # log scale, since many neurons are inactive at most positions
    limits = (low, high) if low < high else (low - 0.5, high + 0.5)  # of a neuron that never varies
    axis.set(xlim=limits, yscale="log", xlabel="activation")
    plain_axes(axis)


def versus(comparison: Comparison, names: tuple[str, str] | None = None) -> str:
    """Return a title that names both sets, their numbers of images and the extractor."""
    a, b = (
        f"{visible(name)} ({images_in_words(count) if count else 'unknown images'})"
        for name, count in zip(names or comparison.names, comparison.num_images.values(), strict=True)
    )
    return f"{a} against {b}, {comparison.extractor}"
