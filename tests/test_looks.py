"""Figures look as they did when people looked at them: sizes, colours, places and styles of all that is drawn."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Any

import numpy as np
import pytest
import recorded
import torch
from matplotlib.axes import Axes
from matplotlib.collections import Collection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Text

from torchmetrics_dna import DNAExtractor, compare, rank
from torchmetrics_dna.comparisons.distance_matrix import matrix
from torchmetrics_dna.comparisons.monitor import Window
from torchmetrics_dna.demo import DEGRADATIONS, Demo, plot_demo
from torchmetrics_dna.metrics import DNAEMD
from torchmetrics_dna.plots import plot_histograms, plot_layers, plot_monitor


class Scaled(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        return {name: images * scale for name, scale in (("first", 1.0), ("second", 0.5))}


def some(seed: int, count: int = 12, brighter: int = 0) -> list[np.ndarray]:
    return [*np.random.default_rng(seed).integers(brighter, 150 + brighter, (count, 8, 8, 3), dtype=np.uint8)]


def extractor(names: tuple[str, ...] = ("first", "second")) -> DNAExtractor:
    return DNAExtractor(Scaled(), layers=list(names), input_size=8)


SETS: dict[str, Any] = {"run_1": some(2, brighter=60), "run_2": some(3, brighter=20), "run_30": some(4)}


def compared() -> Any:
    return compare(some(0), some(1, brighter=40), extractor(), causes=False)


def several(**more: Any) -> Any:
    sets = SETS | more
    return compare(some(0), sets, extractor(), causes=False, held_out=next(iter(more), None))


def windows() -> list[Window]:
    highs = [None, 3.0, 3.0]
    return [
        Window(i + 1, "a", "b", "dna-emd", 2.0 + i, highs[i], highs[i], changed=i > 1, enough=20.0, seed=None)
        for i in range(3)
    ]


def plotted_metric(**options: Any) -> Figure:
    metric = DNAEMD(extractor(), num_folds=6, **options)
    metric.update(torch.tensor(np.stack(some(0))).movedim(3, 1), real=True)
    metric.update(torch.tensor(np.stack(some(1, brighter=40))).movedim(3, 1), real=False)
    return metric.plot()[0]


def demo() -> Figure:
    comparison, photographs = compared(), some(0, 3)
    names = list(DEGRADATIONS)
    return plot_demo(Demo(12, (1, 2), {n: [comparison] * 2 for n in names}, {}, dict.fromkeys(names, photographs)))


FIGURES: dict[str, Callable[[], Figure]] = {
    "layers": lambda: plot_layers(compared()),
    "layers of few images": lambda: plot_layers(compare(some(0, 2), some(1, 2), extractor(), causes=False), "dna-fd"),
    "layers in axes": lambda: plot_layers(compared(), "dna-emd", ax=Figure(figsize=(6, 3)).subplots()),
    "histograms": lambda: plot_histograms(compared(), [("first", 0), ("first", 2), ("second", 0), ("second", 1)]),
    "histograms in axes": lambda: plot_histograms(compared(), [("first", 0)], ax=Figure().subplots()),
    "several": lambda: several().plot(),
    "several, held out": lambda: several(held=some(5)).plot(),
    "matrix": lambda: matrix(SETS, extractor()).plot(),
    "monitor": lambda: plot_monitor(windows()),
    "ranking": lambda: rank(some(1, 5), some(0), extractor()).plot(columns=3),
    "ranking, maps": lambda: rank(some(1, 3), some(0), extractor()).plot(columns=4, maps=True),
    "metric": plotted_metric,
    "metric, debiased": lambda: plotted_metric(debias=True),
    "demo": demo,
}


def _colour(value: Any) -> str:
    return "none" if isinstance(value, str) and value == "none" else to_hex(value, keep_alpha=True)


def _of(artist: Any) -> dict[str, Any] | None:
    """What is set of an artist, and not what follows from its values."""
    if isinstance(artist, Text) and artist.get_text().strip():
        text = re.sub(r"-?\d[\d.e+-]*", "#", artist.get_text())
        return {
            "text": text, "size": artist.get_fontsize(), "colour": _colour(artist.get_color()),
            "rotation": artist.get_rotation(), "at": (artist.get_ha(), artist.get_va(), artist.get_rotation_mode()),
            "math": artist.get_parse_math(),
        }  # fmt: skip
    if isinstance(artist, Line2D) and len(artist.get_xdata()):
        return {
            "colour": _colour(artist.get_color()), "style": artist.get_linestyle(), "width": artist.get_linewidth(),
            "marker": str(artist.get_marker()), "size": artist.get_markersize(), "points": len(artist.get_xdata()),
        }  # fmt: skip
    if isinstance(artist, Patch):
        width = getattr(artist, "get_width", lambda: 0)()
        return {
            "face": _colour(artist.get_facecolor()), "edge": _colour(artist.get_edgecolor()),
            "style": artist.get_linestyle(), "width": (artist.get_linewidth(), f"{width:.2g}"),
        }  # fmt: skip
    if isinstance(artist, Collection):
        return {
            "colours": [_colour(c) for c in artist.get_edgecolor()],
            "widths": [float(width) for width in artist.get_linewidth()],
        }
    if isinstance(artist, AxesImage):
        return {"map": artist.get_cmap().name, "shape": artist.get_array().shape, "extent": artist.get_extent()}
    return None


_TICKS = {name: name for name in ("labelrotation", "length", "gridOn")}
_TICKS |= {"bottom": "left", "labelbottom": "labelleft", "left": "left", "labelleft": "labelleft"}  # by version


def _of_axes(axes: Axes) -> dict[str, Any]:
    ticks = {
        side: {_TICKS[name]: value for name, value in axis.get_tick_params().items() if name in _TICKS}
        for side, axis in (("x", axes.xaxis), ("y", axes.yaxis))
    }
    return {
        "visible": axes.get_visible(), "scales": (axes.get_xscale(), axes.get_yscale()), "ticks": ticks,
        "frame": "".join(side[0] for side, spine in axes.spines.items() if spine.get_visible()),
        "from 0": bool(axes.get_ylim()[0] == 0), "aspect": axes.get_aspect(),
        "legend": axes.get_legend() and (axes.get_legend().get_frame_on(), axes.get_legend()._loc),
    }  # fmt: skip


def _lines(figure: Figure) -> Iterator[str]:
    """A line for each artist, below its axes."""
    figure.draw_without_rendering()
    yield f"{figure.get_figwidth():.4g} x {figure.get_figheight():.4g} inches, {figure.dpi:g} dpi"
    whole = [figure, *figure.subfigs]
    for holder in (*whole, *(axes for part in whole for axes in part.axes)):
        if isinstance(holder, Axes):
            ticks = {id(artist) for axis in (holder.xaxis, holder.yaxis) for artist in axis.findobj()}
            labels = {id(holder.xaxis.label), id(holder.yaxis.label)}
            artists = [each for each in holder.findobj() if id(each) not in ticks - labels]
            yield "axes " + "; ".join(f"{key} {value}" for key, value in _of_axes(holder).items())
        else:
            artists = [*holder.texts, *(each for legend in holder.legends for each in legend.findobj())]
            artists += [each for each in (holder._suptitle, holder._supylabel, holder._supxlabel) if each]
        for artist in artists:
            if artist.get_visible() and (said := _of(artist)):
                alpha = "" if artist.get_alpha() is None or np.ndim(artist.get_alpha()) else f" {artist.get_alpha():g}"
                figures = "; ".join(f"{key} {value}" for key, value in said.items())
                yield f"  {type(artist).__name__}{alpha}: {figures!r}"


def looks(name: str) -> list[str]:
    lines = groupby(_lines(FIGURES[name]()))
    return [*(f"{line} x{count}" if (count := len([*same])) > 1 else line for line, same in lines)]


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_looks_as_it_did(name: str) -> None:
    recorded.check("looks", name, looks(name))
