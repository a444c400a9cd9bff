"""Demonstration: compare photographs with degraded copies, and with other photographs that are blurred or black."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from torchmetrics_dna.comparisons.compare import compare
from torchmetrics_dna.dna.distances import DISTANCES
from torchmetrics_dna.extractors import DNAExtractor
from torchmetrics_dna.extras import require
from torchmetrics_dna.images import open_source
from torchmetrics_dna.images.changes import change_image
from torchmetrics_dna.images.reading import Progress, Reading
from torchmetrics_dna.jobs.causes import LABEL as SEARCHING
from torchmetrics_dna.options import argument
from torchmetrics_dna.plots.figures import curve_style, new_figure, plain_axes

if TYPE_CHECKING:
    from torchmetrics_dna.comparisons.two_sets import Comparison

PHOTOGRAPHS = (
    "astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "grass.png", "gravel.png",
    "hubble_deep_field.jpg", "moon.png", "motorcycle_left.png", "retina.jpg", "rocket.jpg",
)  # fmt: skip
STRENGTHS = (1, 2, 3, 4)
_COMPARED = STRENGTHS[1:]
# Width and height of a crop in pixels.
_SIDE = 192
# Index of the photograph that is shown as an example, which is a cat.
_EXAMPLE = 3
# Number of photographs per set in the comparison in which one photograph is black.
_OTHERS = 40
Picture = NDArray[np.uint8]
#: For each degradation, its unit, and a function that returns the amount for a strength.
AMOUNTS: dict[str, tuple[str, Callable[[int], float]]] = {
    "blur": ("{} px", lambda strength: 2.0 ** (strength - 2)),
    "noise": ("{} grey levels", lambda strength: 3 * 2**strength),
    "JPEG": ("quality {}", lambda strength: 100 // 2**strength),
}


@dataclass(frozen=True, eq=False)
class Demo:
    """Results of the demonstration.

    Attributes:
        num_images: Number of photographs.
        strengths: Strengths of degradation.
        comparisons: For each degradation, one comparison per strength.
        others: Comparisons with other photographs, by a description of both sets. In the first comparison, the other
            photographs are blurred. In the second, one of them is black.
        examples: For each degradation, one photograph, first unchanged and then at each strength.

    """

    num_images: int
    strengths: tuple[int, ...]
    comparisons: dict[str, list[Comparison]]
    others: dict[str, Comparison]
    examples: dict[str, list[Picture]]

    @staticmethod
    def amount(degradation: str, strength: int) -> str:
        """Return the amount of a degradation with its unit, such as ``"2 px"``."""
        unit, amount = AMOUNTS[degradation]
        return unit.format(f"{amount(strength):g}")


def photographs(num_images: int) -> list[Picture]:
    """Return random crops of the photographs of scikit-image, RGB, uint8. The seed is fixed.

    Raises:
        ModuleNotFoundError: If scikit-image is missing.
        ValueError: If ``num_images`` is below 2.

    """
    if num_images < 2:
        raise ValueError(f"{argument('num_images')} expected to be an integer larger than 1, but got {num_images}")
    folder = Path(require("skimage", "demo").__file__).parent / "data"
    originals: list[NDArray[Any]] = [open_source(folder / name)[0] for name in PHOTOGRAPHS]
    random = np.random.default_rng(0)
    crops: list[Picture] = []
    for i in range(num_images):
        image = originals[i % len(originals)]
        height, width = image.shape[:2]
        top = random.integers(0, height - _SIDE, endpoint=True)
        left = random.integers(0, width - _SIDE, endpoint=True)
        crops.append(image[top : top + _SIDE, left : left + _SIDE])
    return crops


def blur(image: Picture, strength: int) -> Picture:
    """Apply a Gaussian blur of 0.5 to 4 pixels."""
    return change_image(image, "blur", AMOUNTS["blur"][1](strength))


def noise(image: Picture, strength: int) -> Picture:
    """Add Gaussian noise with a standard deviation of 6 to 48 grey levels."""
    added = np.random.default_rng(strength).normal(0, AMOUNTS["noise"][1](strength), image.shape)
    return (image + added).clip(0, 255).astype(np.uint8)


def jpeg(image: Picture, strength: int) -> Picture:
    """Compress to JPEG of quality 50, 25, 12 and 6."""
    return change_image(image, "JPEG compression", AMOUNTS["JPEG"][1](strength))


DEGRADATIONS = {"blur": blur, "noise": noise, "JPEG": jpeg}


def run_demo(num_images: int = 8, progress: Progress | None = None) -> Demo:
    """Compare photographs with changed copies and with other photographs, and print the summaries.

    Args:
        num_images: Number of photographs with copies, 2 or more.
        progress: Function that is called with a label, the number of images that have been measured, and the total.

    """
    images = photographs(num_images)
    sets = _degraded_sets(images)
    sets_of_others = _sets_of_others()
    num_others = sum(len(a) + len(b) for a, b in sets_of_others.values())
    total = num_images * (1 + len(sets)) + num_others
    reading = Reading(progress=_of_all_sets(progress, total))
    extractor = DNAExtractor("efficientnet_lite0")
    compared = compare(images, sets, extractor, metrics=["dna-emd", "dna-fd"], num_folds=None, reading=reading)
    comparisons: dict[str, list[Comparison]] = {}
    for name in DEGRADATIONS:
        set_names = [_name_of_set(name, strength) for strength in _COMPARED]
        comparisons[name] = [replace(compared[set_name], names=("photographs", set_name)) for set_name in set_names]
    others: dict[str, Comparison] = {}
    for description, (a, b) in sets_of_others.items():
        others[description] = compare(a, b, extractor, reading=reading)
    examples = _examples_of(images[_EXAMPLE % num_images])
    return Demo(num_images, _COMPARED, comparisons, others, examples)


def _degraded_sets(images: list[Picture]) -> dict[str, list[Picture]]:
    """Return a degraded copy of all images for each degradation and strength, by the name of the set."""
    sets: dict[str, list[Picture]] = {}
    for name, change in DEGRADATIONS.items():
        for strength in _COMPARED:
            sets[_name_of_set(name, strength)] = [change(image, strength) for image in images]
    return sets


def _examples_of(image: Picture) -> dict[str, list[Picture]]:
    """Return an image, unchanged and at each strength, for each degradation."""
    examples: dict[str, list[Picture]] = {}
    for name, change in DEGRADATIONS.items():
        examples[name] = [image, *(change(image, strength) for strength in _COMPARED)]
    return examples


def _of_all_sets(progress: Progress | None, total: int) -> Progress:
    """Return a function that reports the progress in a set as progress in all sets, with this total of images."""
    finished = 0

    def count(source: str, done: int, size: int | None) -> None:
        nonlocal finished
        # The search for a candidate change measures images again. Their number is unknown before, so it is not counted.
        if progress is None or source == SEARCHING:
            return
        progress("images through the network", finished + done, total)
        if done == size:
            finished += done

    return count


def _name_of_set(degradation: str, strength: int) -> str:
    """Return the name of the set of photographs with a degradation."""
    return f"{degradation}, {Demo.amount(degradation, strength)}"


def _sets_of_others() -> dict[str, tuple[Picture, list[Picture]]]:
    """Return pairs of sets of different photographs, by a description of both sets."""
    pictures = np.stack(photographs(2 * _OTHERS))
    a = pictures[:_OTHERS]
    b = pictures[_OTHERS:]
    num_blurred = 3 * _OTHERS // 4
    blurred = [blur(image, 3) for image in b[:num_blurred]]
    with_black = [*b[:-1], np.zeros_like(b[-1])]
    blurred_description = f"A: {num_blurred} photographs. B: {num_blurred} others, blurred by {Demo.amount('blur', 3)}."
    black_description = f"A: {_OTHERS} photographs. B: {_OTHERS} others, the last of them, image {_OTHERS - 1}, black."
    return {blurred_description: (a[:num_blurred], blurred), black_description: (a, with_black)}


def plot_demo(demo: Demo) -> Any:
    """Plot the demonstration: distances over strengths, and an example of each degradation.

    Args:
        demo: The results of :func:`run_demo`.

    Returns:
        The matplotlib figure. It can be read on a phone.

    Raises:
        ModuleNotFoundError: If matplotlib is missing.

    """
    num_rows = len(demo.comparisons)
    figure = new_figure(width=6, height=2.8 + 1.75 * num_rows)
    above, below = figure.subfigures(2, 1, height_ratios=(2.8, 1.75 * num_rows))
    _plot_distances(above, demo)
    _plot_examples(below, demo)
    return figure


def _plot_distances(figure: Any, demo: Demo) -> None:
    """Plot the distance over the strength, as a curve for each degradation."""
    num_columns = 1 + len(demo.strengths)
    axis = figure.subplots()
    for i, (name, comparisons) in enumerate(demo.comparisons.items()):
        values = [0, *(comparison["dna-emd"].value for comparison in comparisons)]
        axis.plot(range(num_columns), values, label=name, linewidth=2.5, markersize=8, **curve_style(i))
    axis.set_title(f"{demo.num_images} photographs against degraded copies", loc="left", fontsize=14)
    axis.set_ylabel(DISTANCES["dna-emd"].label, fontsize=13)
    axis.set_xticks(range(num_columns), ["original", *(str(column) for column in range(1, num_columns))])
    axis.set_xlabel("strength of the degradation", fontsize=13)
    axis.set_ylim(bottom=0)
    axis.tick_params(labelsize=13)
    axis.legend(frameon=False, fontsize=13)
    plain_axes(axis)


def _plot_examples(figure: Any, demo: Demo) -> None:
    """Show an example in a grid, with one row per degradation and one column per strength."""
    shape = (len(demo.examples), 1 + len(demo.strengths))
    grid = figure.subplots(*shape, gridspec_kw={"wspace": 0.03, "hspace": 0.03}, squeeze=False)
    for row, (name, examples) in zip(grid, demo.examples.items(), strict=True):
        row[0].set_ylabel(name, fontsize=13)
        titles = ["original", *(demo.amount(name, strength) for strength in demo.strengths)]
        for cell, picture, title in zip(row, examples, titles, strict=True):
            cell.imshow(picture)
            cell.set(xticks=[], yticks=[])
            cell.set_title(title, fontsize=12)
