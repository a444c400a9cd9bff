"""Draw `ranking.png`: the most unusual images of an album in the order of `rank`, and which of them are flagged.

    python which_are_off.py -o ranking.png

Of 60 crops of photographs six are corrupted. 60 other crops are the reference. The six most unusual images are above
the line, in their order. Corrupted images that come later are below it. It takes 10 s on one core, offline.
"""

from __future__ import annotations

import argparse
from io import BytesIO
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

from torchmetrics_dna import rank
from torchmetrics_dna.demo import blur, noise, photographs

if TYPE_CHECKING:
    from torchmetrics_dna.singles import Ranking

COUNT, COLUMNS, COLOURS = 60, 3, 80
WIDTH, SIDE, HEAD, LINE = 800, 240, 60, 34  # pixels: twice those at which it is shown
FONT = 19  # points: 26 pixels, which are 13 at half the width
CORRUPTED = {0: "blurred", 2: "black", 3: "noise", 5: "grey", 8: "noise", 9: "inverted"}


def album() -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return the reference, and the images of which six are corrupted."""
    pictures = photographs(2 * COUNT)
    images = pictures[COUNT:]
    images[0], images[2], images[3] = (
        blur(images[0], strength=4),
        np.zeros_like(images[2]),
        noise(images[3], strength=4),
    )
    images[5], images[8], images[9] = np.full_like(images[5], 200), noise(images[8], strength=4), 255 - images[9]
    return pictures[:COUNT], images


def captions_of(ranking: Ranking) -> dict[int, str]:
    """Return the place of each image, with its most extreme property or layer, and whether it is flagged."""
    captions = {}
    for place, (number, extreme) in enumerate(zip(ranking.numbers, ranking.most_extreme, strict=True), 1):
        value, _, _ = extreme.partition(" (")
        flagged = " FLAGGED" if number in ranking.reasons else ""
        captions[number] = f"{place}. {value}{flagged}"
    return captions


def draw(images: list[np.ndarray], ranking: Ranking) -> Figure:
    """Draw the most unusual images in their order, a line, and the corrupted ones that come later."""
    captions = captions_of(ranking)
    first, later = ranking.numbers[: len(CORRUPTED)], ranking.numbers[len(CORRUPTED) :]
    parts = [(f"The {len(first)} most unusual of {len(images)} images", first)]
    missed = [number for number in later if number in CORRUPTED]
    if missed:
        parts.append((f"Corrupted too, but later in the order: {len(missed)}", missed))
    lines = {number: wrap(captions[number], 18) for _, numbers in parts for number in numbers}
    tall = [SIDE + 20 + LINE * max(len(lines[number]) for number in numbers) for _, numbers in parts]
    rows = [-(-len(numbers) // COLUMNS) for _, numbers in parts]
    top = height = sum(HEAD + each * count for each, count in zip(tall, rows, strict=True))
    figure = Figure(figsize=(WIDTH / 100, height / 100), dpi=100)
    for (heading, numbers), row_height in zip(parts, tall, strict=True):
        if top < height:
            figure.add_artist(Line2D([0.01, 0.99], [top / height] * 2, color="black", linewidth=2))
        figure.text(0.01, (top - 40) / height, heading, size=FONT, weight="bold")
        top -= HEAD
        for place, number in enumerate(numbers):
            row, column = divmod(place, COLUMNS)
            left, low = (10 + column * WIDTH / COLUMNS) / WIDTH, (top - row * row_height - SIDE) / height
            axes = figure.add_axes((left, low, SIDE / WIDTH, SIDE / height))
            axes.imshow(images[number])
            axes.set_axis_off()
            figure.text(left, low - 8 / height, "\n".join(lines[number]), size=FONT, va="top")
        top -= row_height * -(-len(numbers) // COLUMNS)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Save it in few colours, which small noise needs most of a file for."""
    buffer = BytesIO()
    figure.savefig(buffer)
    Image.open(buffer).convert("RGB").quantize(COLOURS).save(path, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=Path("ranking.png"))
    arguments = parser.parse_args()
    reference, images = album()
    ranking = rank(images, reference)
    print(ranking.verdict)
    save(draw(images, ranking), arguments.output)


if __name__ == "__main__":
    main()
