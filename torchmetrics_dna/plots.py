"""Figures; the only file that knows matplotlib."""

from __future__ import annotations

from statistics import fmean, pstdev
from typing import TYPE_CHECKING, Any

import torch

from torchmetrics_dna.extras import require

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from torchmetrics_dna.sets.comparison import Comparison
    from torchmetrics_dna.sets.demo import Demo
    from torchmetrics_dna.sets.rank import Ranking

# Okabe and Ito's colours, which colour-blind readers can tell apart, each with a marker for black and white print
_STYLES = (("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^"), ("#CC79A7", "D"), ("#E69F00", "v"))
_LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1)))
_UNITS = {
    "dna_emd": "dna-emd\n(bins)",
    "dna_frechet": "dna-fd\n(squared activations)",
    "fd": "fd\n(squared activations)",
}


def plot_demo(demo: Demo) -> Any:
    """The demonstration as a figure: distances over strength, and what the degradations look like.

    Args:
        demo: From :func:`run_demo`.

    Returns:
        The matplotlib figure.

    Raises:
        ModuleNotFoundError: If matplotlib is missing.

    """
    figure = _figure(width=10, height=5)
    curves, pictures = figure.subfigures(1, 2, width_ratios=(1, 1))
    axes = curves.subplots(2, 1, sharex=True)
    strengths = (0, *demo.strengths)
    for i, (name, comparisons) in enumerate(demo.comparisons.items()):
        for axis, values in zip(
            axes, ([c.dna_emd for c in comparisons], [c.dna_frechet for c in comparisons]), strict=True
        ):
            axis.plot(strengths, [0, *values], label=name, **_style(i))
    axes[0].set_title(f"{demo.num_images} photographs against degraded copies", loc="left", fontsize=11)
    axes[0].set_ylabel("dna-emd (bins)")
    axes[1].set_ylabel("dna-fd (squared activations)")
    axes[1].set_xlabel("strength of the degradation")
    axes[1].set_xticks(strengths)
    axes[0].legend(frameon=False)
    for axis in axes:
        axis.set_ylim(bottom=0)
        _plain(axis)
    _pictures(pictures, demo)
    return figure


def plot_layers(comparison: Comparison) -> Any:
    """Layer profile: how far the two sets are apart in each layer, from the first layer to the last.

    Returns:
        The matplotlib figure; a row of bars for each distance that there is, with that of all as a line.

    """
    whole = comparison.to_dict()
    shown = [key for key in _UNITS if whole[key] is not None]
    layers = list(comparison.layers)
    figure = _figure(width=max(6.0, 0.35 * len(layers) + 2), height=1.2 + 2.3 * len(shown))
    for axis, key, (colour, _) in zip(
        figure.subplots(len(shown), 1, squeeze=False)[:, 0], shown, _STYLES, strict=False
    ):
        axis.bar(layers, [comparison.layers[layer][key] for layer in layers], color=colour, width=0.7)
        axis.axhline(whole[key], color="black", linestyle="--", linewidth=1, label=f"all: {whole[key]:.4g}")
        axis.set_ylabel(_UNITS[key])
        axis.tick_params(axis="x", labelrotation=45 if len(layers) > 6 else 0)
        _plain(axis)
        axis.legend(frameon=False)
    figure.suptitle(_versus(comparison), x=0.01, ha="left", fontsize=11)
    return figure


def plot_neurons(comparison: Comparison) -> Any:
    """Heat map: the distance of every neuron, a row for each layer, in the order of their distances within it.

    Returns:
        The matplotlib figure.

    Raises:
        ValueError: If the comparison has no distances of neurons.

    """
    distances = comparison.neuron_emd if comparison.neuron_emd is not None else comparison.neuron_frechet
    if distances is None:
        raise ValueError("The comparison has no distances of neurons; compare histograms or Gaussians")
    unit = "dna-emd (bins)" if comparison.neuron_emd is not None else "dna-fd (squared activations)"
    rows = {layer: part.sort(descending=True).values for layer, part in comparison.neurons.split(distances).items()}
    # few neurons differ by much; the root of the distances leaves the others something to see
    scale = require("matplotlib.colors", "plot").PowerNorm(0.5, vmin=0, vmax=float(distances.max()))
    figure = _figure(width=8, height=1.4 + 0.32 * len(rows))
    axes = figure.subplots(len(rows), 1, squeeze=False)[:, 0]
    for axis, (layer, values) in zip(axes, rows.items(), strict=True):
        picture = axis.imshow(values[None].numpy(), aspect="auto", cmap="cividis", norm=scale)
        axis.set_yticks([0], [f"{layer} ({len(values)})"])
        axis.set_xticks([])
    axes[0].set_title(f"{_versus(comparison)}, neuron by neuron", loc="left", fontsize=11)
    axes[-1].set_xlabel("neurons of the layer, from the one that differs most to the one that differs least")
    figure.colorbar(picture, ax=axes.tolist(), label=unit, aspect=12)
    return figure


def plot_histograms(comparison: Comparison, neurons: Sequence[tuple[str, int]] | None = None) -> Any:
    """Pairs of histograms: what some neurons gave for the two sets.

    Args:
        comparison: Of histograms.
        neurons: Layer and number of each neuron; by default the six that differ most.

    Returns:
        The matplotlib figure.

    """
    chosen = neurons or [(neuron["layer"], neuron["neuron"]) for neuron in comparison.top_neurons(6)]
    rows = -(-len(chosen) // 3)
    figure = _figure(width=9.5, height=0.8 + 2.4 * rows)
    axes = figure.subplots(rows, min(3, len(chosen)), squeeze=False).flatten()
    for axis, (layer, number) in zip(axes, chosen, strict=False):
        *shares, edges = _grouped(*comparison.histograms(layer, number))
        for share, name, (colour, _), style in zip(shares, "AB", _STYLES, ("-", "--"), strict=False):
            axis.stairs((100 * share).numpy(), edges.numpy(), color=colour, linestyle=style, label=name, baseline=None)
        emd = float(comparison.neuron_emd[comparison.neurons.index(layer, number)])  # type: ignore[index]
        axis.set_title(f"{layer} neuron {number}: {emd:.4g} bins", fontsize=9, loc="left")
        filled = (shares[0] + shares[1]).nonzero().flatten()
        axis.set_xlim(float(edges[filled[0]]), float(edges[filled[-1] + 1]))
        axis.set_yscale("log")  # a dead zone takes most positions of many neurons
        _plain(axis)
    for axis in axes[len(chosen) :]:
        axis.set_visible(False)
    axes[0].legend(frameon=False)
    figure.supxlabel("activation", fontsize=10)
    figure.supylabel("share of positions (%)", fontsize=10)
    figure.suptitle(_versus(comparison), x=0.01, ha="left", fontsize=11)
    return figure


def plot_convergence(numbers: Sequence[int], values: Mapping[str, Sequence[Sequence[float]]], unit: str = "") -> Any:
    """How distances settle as the number of images grows.

    Args:
        numbers: Numbers of images.
        values: For each distance and number, the values of several draws.
        unit: Of the values.

    Returns:
        The matplotlib figure: means as lines, standard deviations as bands, the last mean as a dotted line.

    """
    figure = _figure(width=6, height=4)
    axis = figure.subplots()
    for i, (name, draws) in enumerate(values.items()):
        means = [fmean(draw) for draw in draws]
        spreads = [pstdev(draw) for draw in draws]
        style = _style(i)
        axis.plot(numbers, means, label=name, **style)
        low, high = ([m + sign * s for m, s in zip(means, spreads, strict=True)] for sign in (-1, 1))
        axis.fill_between(numbers, low, high, color=style["color"], alpha=0.2, linewidth=0)
        axis.axhline(means[-1], color=style["color"], linestyle=":", linewidth=1)
    axis.set_xscale("log")
    axis.set_xlabel("number of images")
    axis.set_ylabel(f"distance ({unit})" if unit else "distance")
    axis.set_title("Mean and standard deviation over draws of images", loc="left", fontsize=11)
    _plain(axis)
    axis.legend(frameon=False)
    return figure


def plot_precision_recall(curves: Mapping[str, tuple[Sequence[float], Sequence[float], float]]) -> Any:
    """Precision over recall of several scores.

    Args:
        curves: For each score its precision, recall, and the area under the curve.

    Returns:
        The matplotlib figure.

    """
    figure = _figure(width=5.5, height=4.5)
    axis = figure.subplots()
    for i, (name, (precision, recall, area)) in enumerate(curves.items()):
        # without markers, which would cover steps this small
        line = {**_style(i), "marker": None, "linestyle": _LINES[(i + i // len(_STYLES)) % len(_LINES)]}
        axis.step(recall, precision, where="post", label=f"{name}: {area:.3f}", **line)
    axis.set_xlabel("recall")
    axis.set_ylabel("precision")
    axis.set_xlim(0, 1)
    axis.set_ylim(0, 1.02)
    axis.set_title("Precision and recall, with the area under the curve", loc="left", fontsize=11)
    _plain(axis)
    axis.legend(frameon=False, loc="lower left")
    return figure


def plot_ranking(ranking: Ranking, columns: int = 8) -> Any:
    """Contact sheet: the closest images to the reference, those in the middle and the furthest, with their scores.

    Args:
        ranking: From :func:`rank`.
        columns: How many images in each row.

    Returns:
        The matplotlib figure.

    """
    count = len(ranking.scores)
    columns = min(columns, count)
    starts = {"closest": 0, "middle": (count - columns) // 2, "furthest": count - columns}
    figure = _figure(width=1.25 * columns + 0.4, height=5.2)
    axes = figure.subplots(3, columns, squeeze=False)
    for (name, start), row in zip(starts.items(), axes, strict=True):
        for place, axis in enumerate(row, start):
            axis.imshow(ranking.images[ranking.numbers[place]])
            axis.set_xticks([])
            axis.set_yticks([])
            axis.set_title(f"{place + 1}: {float(ranking.scores[place]):.4g}", fontsize=8)
        row[0].set_ylabel(name)
    title = f"{count} images by their distance to the reference: rank and dna-emd (bins)"
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    return figure


def _grouped(a: Tensor, b: Tensor, edges: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Shares of two histograms in bins wide enough to draw: about 40 over where they have something."""
    filled = (a + b).nonzero().flatten()
    first, count = int(filled[0]), int(filled[-1] - filled[0]) + 1
    size = max(1, count // 40)
    groups = -(-count // size)
    places = torch.arange(count) // size
    sums = [torch.zeros(groups).double().index_add_(0, places, side[first : first + count]) for side in (a, b)]
    last = torch.tensor([min(first + k * size, first + count) for k in range(groups + 1)])
    return sums[0], sums[1], edges[last]


def _versus(comparison: Comparison) -> str:
    a, b = comparison.num_images.values()
    return f"A ({a} images) against B ({b} images), {comparison.extractor}"


def _style(number: int) -> dict[str, Any]:
    """How one of several curves is drawn; past the palette's end, in other lines than those before."""
    colour, marker = _STYLES[number % len(_STYLES)]
    return {"color": colour, "marker": marker, "linestyle": _LINES[number // len(_STYLES) % len(_LINES)]}


def _plain(axis: Any) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", alpha=0.3)


def _pictures(figure: Any, demo: Demo) -> None:
    axes = figure.subplots(
        len(demo.examples), len(demo.shown), gridspec_kw={"wspace": 0.03, "hspace": 0.03}, squeeze=False
    )
    for row, (name, examples) in enumerate(demo.examples.items()):
        for axis, picture in zip(axes[row], examples, strict=True):
            axis.imshow(picture)
            axis.set_xticks([])
            axis.set_yticks([])
        axes[row, 0].set_ylabel(name)
    for axis, strength in zip(axes[0], demo.shown, strict=True):
        axis.set_title("original" if strength == 0 else f"strength {strength}", fontsize=10)


def _figure(width: float, height: float) -> Any:
    # not pyplot: it keeps figures alive and opens windows, which a library must not
    return require("matplotlib.figure", "plot").Figure(figsize=(width, height), dpi=120, layout="constrained")
