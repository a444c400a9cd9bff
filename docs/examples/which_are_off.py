"""Draw `ranking.png`: which images of an album `rank` names, why, and where it stops.

    python which_are_off.py -o ranking.png

Of 60 crops of photographs six are spoilt, beside 60 others as the reference. Each of the six is shown: above the line
if it is named, with the reason, and else below. It takes 10 s on one core, offline.
"""

from __future__ import annotations

import argparse
from io import BytesIO
from pathlib import Path
from textwrap import wrap

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

from torchmetrics_dna import rank
from torchmetrics_dna.demo import blur, noise, photographs

COUNT, COLUMNS, COLOURS = 60, 3, 80
WIDTH, SIDE, HEAD, LINE = 800, 240, 60, 34  # pixels: twice those at which it is shown
FONT = 19  # points: 26 pixels, which are 13 at half the width
SPOILT = {0: "blurred", 2: "black", 3: "noise", 5: "grey", 8: "noise", 9: "inverted"}


def album() -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The reference, and the images of which six are spoilt."""
    pictures = photographs(2 * COUNT)
    images = pictures[COUNT:]
    images[0], images[2], images[3] = (
        blur(images[0], strength=4),
        np.zeros_like(images[2]),
        noise(images[3], strength=4),
    )
    images[5], images[8], images[9] = np.full_like(images[5], 200), noise(images[8], strength=4), 255 - images[9]
    return pictures[:COUNT], images


def draw(images: list[np.ndarray], order: list[int], reasons: dict[int, str]) -> Figure:
    """Images that are named, with the reason, a line, and the spoilt ones that are not."""
    named = [number for number in order if number in reasons]
    missed = [number for number in order if number in SPOILT and number not in reasons]
    parts = [(f"Named, {len(named)} of {len(images)}, with the reason", named, reasons)]
    if missed:
        parts.append((f"Spoilt as well, but not named: {len(missed)}", missed, SPOILT))
    captions = [[wrap(texts[number].partition(" (")[0], 18) for number in numbers] for _, numbers, texts in parts]
    tall = [SIDE + 20 + LINE * max(map(len, lines)) for lines in captions]  # of a row of each part
    top = height = sum(HEAD + row * -(-len(lines) // COLUMNS) for row, lines in zip(tall, captions, strict=True))
    figure = Figure(figsize=(WIDTH / 100, height / 100), dpi=100)
    for (heading, numbers, _), lines, row_height in zip(parts, captions, tall, strict=True):
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
            figure.text(left, low - 8 / height, "\n".join(lines[place]), size=FONT, va="top")
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
    save(draw(images, ranking.numbers, ranking.reasons), arguments.output)


if __name__ == "__main__":
    main()
