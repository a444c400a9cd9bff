"""Figures; the only subpackage that uses matplotlib."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from torchmetrics_dna.dna.distances import DISTANCES
from torchmetrics_dna.files.visible import shortened, three_digits, visible
from torchmetrics_dna.images.cells import central_square
from torchmetrics_dna.plots.figure import STYLES, curve_style, new_figure, plain_axes, put_title
from torchmetrics_dna.plots.many import plot_curve, plot_matrix, plot_monitor
from torchmetrics_dna.plots.two import plot_histograms, plot_layers, plot_neurons, versus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from torchmetrics_dna.images import ImageSource
    from torchmetrics_dna.images.cells import Crop
    from torchmetrics_dna.plots.results import DemoLike, RankingLike

__all__ = [
    "STYLES",
    "curve_style",
    "new_figure",
    "plain_axes",
    "plot_curve",
    "plot_demo",
    "plot_histograms",
    "plot_layers",
    "plot_matrix",
    "plot_monitor",
    "plot_neurons",
    "plot_ranking",
    "versus",
]


NO_IMAGES = "A ranking that was loaded has no images to show; rank them again"


def plot_demo(demo: DemoLike) -> Any:
    """Plot the demonstration: distances over strength, and an example of each degradation; readable on a phone.

    Args:
        demo: From :func:`run_demo`.

    Returns:
        The matplotlib figure.

    Raises:
        ModuleNotFoundError: If matplotlib is missing.

    """
    num_rows, num_columns = len(demo.comparisons), 1 + len(demo.strengths)
    figure = new_figure(width=6, height=2.8 + 1.75 * num_rows)
    above, below = figure.subfigures(2, 1, height_ratios=(2.8, 1.75 * num_rows))
    axis = above.subplots()
    for i, (name, comparisons) in enumerate(demo.comparisons.items()):
        values = [0, *(comparison["dna-emd"].value for comparison in comparisons)]
        axis.plot(range(num_columns), values, label=name, linewidth=2.5, markersize=8, **curve_style(i))
    axis.set_title(f"{demo.num_images} photographs against degraded copies", loc="left", fontsize=14)
    axis.set_ylabel(DISTANCES["dna-emd"].label, fontsize=13)
    axis.set_xticks(range(num_columns), ["original", *"123456789"[: num_columns - 1]])
    axis.set_xlabel("strength of the degradation", fontsize=13)
    axis.set_ylim(bottom=0)
    axis.tick_params(labelsize=13)
    axis.legend(frameon=False, fontsize=13)
    plain_axes(axis)
    grid = below.subplots(num_rows, num_columns, gridspec_kw={"wspace": 0.03, "hspace": 0.03}, squeeze=False)
    for row, (name, examples) in zip(grid, demo.examples.items(), strict=True):
        row[0].set_ylabel(name, fontsize=13)
        titles = ["original", *(demo.amount(name, strength) for strength in demo.strengths)]
        for cell, picture, title in zip(row, examples, titles, strict=True):
            cell.imshow(picture)
            cell.set(xticks=[], yticks=[])
            cell.set_title(title, fontsize=12)
    return figure


def plot_ranking(ranking: RankingLike, columns: int = 8, maps: bool = False) -> Any:
    """Plot a contact sheet below examples of the reference.

    Outlier and local scores have two rows of the worst images; others the best, middle and worst.

    Args:
        ranking: From :func:`rank`. If the reference is images, evenly spaced examples are read for the sheet.
        columns: Number of images in each row.
        maps: Whether to show below each row where its images are off, by :meth:`Ranking.maps`.

    Returns:
        The matplotlib figure.

    Raises:
        ValueError: If the ranking was loaded.

    """
    if ranking.images is None or ranking.mapper is None:
        raise ValueError(NO_IMAGES)
    count = len(ranking.scores)
    columns = min(columns, count)
    last = count - columns
    starts = {"best": 0, "middle": last // 2, "worst": last}
    if ranking.worst_first:
        starts = {"worst": 0} | ({"next": min(columns, last)} if last else {})
    examples = _some(ranking.reference_images, columns)
    num_rows = bool(examples) + (1 + maps) * len(starts)
    figure = new_figure(width=1.25 * columns + 0.4, height=0.4 + 1.6 * num_rows)
    rows = iter(figure.subplots(num_rows, columns, squeeze=False))
    if examples:
        row = next(rows)
        row[0].set_ylabel("reference")
        for axis, (name, image) in zip(row, examples + [("", None)] * columns, strict=False):
            _show(axis, image, "", name)
    for name, start in starts.items():
        row, places = next(rows), range(start, start + columns)
        row[0].set_ylabel(name)
        pictures = [ranking.images[ranking.numbers[place]] for place in places]
        for place, axis, picture in zip(places, row, pictures, strict=True):
            _show(axis, picture, f"{place + 1}: {three_digits(float(ranking.scores[place]))}", ranking.names[place])
        if maps:
            _show_maps(next(rows), pictures, ranking.maps(places), ranking.mapper.extractor.crop)
    unit = "" if ranking.worst_first else " in bins"
    title = f"{count} images {ranking.question}: rank, score{unit}, name"
    put_title(figure, title, 1.25 * columns + 0.4)
    return figure


def _show_maps(row: Any, pictures: Sequence[Any], maps: Tensor, crop: Crop) -> None:
    """Draw heat maps in red over grey images, all on one scale: what is higher is less transparent."""
    row[0].set_ylabel("where")
    low, high = float(maps.min()), float(maps.max())
    opacities = ((maps - low) / max(high - low, 1e-9)).numpy()
    for axis, picture, opacity in zip(row, pictures, opacities, strict=True):
        height, width = picture.shape[:2]
        top, left, side = central_square(height, width) if crop == "center" else (0, 0, None)
        extent = (left, left + (side or width), top + (side or height), top)
        axis.imshow(picture.mean(2), cmap="gray", vmin=-255, vmax=255)
        axis.imshow(np.ones_like(opacity), cmap="Reds", vmin=0, vmax=1.3, alpha=opacity, extent=extent)
        axis.set(xticks=[], yticks=[], xlim=(0, width), ylim=(height, 0))


def _some(images: ImageSource | None, most: int) -> list[tuple[str, Any]]:
    """Return names and pixels of evenly spaced images; unreadable ones are left out."""
    chosen: list[tuple[str, Any]] = []
    if images is not None:
        for index in np.linspace(0, len(images) - 1, min(most, len(images)), dtype=int).tolist():
            with suppress(ValueError):
                chosen.append((images.names[index], images[index]))
    return chosen


def _show(axis: Any, image: Any, title: str, name: str) -> None:
    """Draw an image with its name, cut in the middle; hide the axes for None."""
    axis.set_visible(image is not None)
    if image is not None:
        axis.imshow(image)
        axis.set(xticks=[], yticks=[])
        axis.set_title(title, fontsize=8)
        axis.set_xlabel(shortened(visible(name), 22), fontsize=6, parse_math=False)
