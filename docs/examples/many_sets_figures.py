"""Figures for the page of many sets, from photographs of scikit-image and copies of them.

python many_sets_figures.py -o ..
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

from torchmetrics_dna import DNAExtractor, monitor
from torchmetrics_dna.comparisons import matrix
from torchmetrics_dna.demo import blur, jpeg, noise, photographs
from torchmetrics_dna.plots import plot_matrix, plot_monitor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=Path(), help="folder for the pictures")
    parser.add_argument("--images", type=int, default=32, help="of each set")
    arguments = parser.parse_args()
    size, extractor = arguments.images, DNAExtractor()
    photos = photographs(9 * size)
    random.Random(0).shuffle(photos)  # crops of a photograph follow each other at equal distances
    parts = [photos[i::9] for i in range(9)]  # no crop is in two of them
    sets = {f"photographs {i}": parts.pop() for i in (1, 2, 3)}
    for name, change in {"blurred": blur, "noisy": noise, "JPEG": jpeg}.items():
        sets |= {f"{name}, strength {s}": [change(photo, s) for photo in parts.pop()] for s in (2, 4)}
    heatmap = plot_matrix(matrix(sets, extractor))
    stream = photographs(18 * size)
    random.Random(1).shuffle(stream)
    changed = [jpeg(photo, 4) for photo in stream[: 2 * size]]
    reference, watched = stream[2 * size : 4 * size], stream[4 * size :] + changed
    windows = monitor(reference, watched, extractor, window=8, learn=20, order="source")
    for name, figure in {"matrix": heatmap, "monitor": plot_monitor(list(windows))}.items():
        figure.savefig(arguments.output / f"{name}.png", dpi=100, pil_kwargs={"optimize": True})


if __name__ == "__main__":
    main()
