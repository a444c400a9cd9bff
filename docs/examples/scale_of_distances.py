"""How large a distance is: known changes of photographs, as a Markdown table for the page of the numbers.

    pip install "torchmetrics-dna[demo]" scikit-learn
    python scale_of_distances.py [--images 100] [--seeds 0 1 2]

Both sides are crops of the photographs that scikit-image ships, shared out at random; each row changes B's alone. The
table gives the mean over the draws and, in brackets, the least and the most.
"""

from __future__ import annotations

import argparse
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from torchmetrics_dna import DNAExtractor, compare, make_dna
from torchmetrics_dna.demo import blur, jpeg, noise, photographs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Picture = NDArray[np.uint8]

CHANGES: dict[str, Callable[[Picture], Picture]] = {
    "other photographs": lambda picture: picture,
    "brighter by a half": lambda picture: (picture * 1.5).clip(0, 255).astype(np.uint8),
    "grey": lambda picture: picture.mean(2, keepdims=True).repeat(3, 2).astype(np.uint8),
    "noise of 6 grey levels": lambda picture: noise(picture, 1),
    "JPEG of quality 50": lambda picture: jpeg(picture, 1),
    "JPEG of quality 12": lambda picture: jpeg(picture, 3),
    "blurred by half a pixel": lambda picture: blur(picture, 1),
    "blurred by 1 pixel": lambda picture: blur(picture, 2),
    "blurred by 4 pixels": lambda picture: blur(picture, 4),
}
DIGITS = [
    np.asarray(Image.fromarray((16 * image).clip(0, 255).astype(np.uint8)).resize((128, 128)).convert("RGB"))
    for image in load_digits().images
]


def variants(rest: list[Picture], draw: np.random.Generator) -> dict[str, list[Picture]]:
    """B in every way, by name."""
    sets = {name: [change(picture) for picture in rest] for name, change in CHANGES.items()}
    digits = [DIGITS[i] for i in draw.permutation(len(DIGITS))[: len(rest)]]
    for share in (5, 1):
        some = len(rest) // share
        sets[f"one of {share} a digit" if share > 1 else "digits"] = digits[:some] + rest[some:]
    return sets


def measure(images: int, seed: int) -> dict[str, tuple[float, float, float]]:
    """Of one draw: the distance, without noise, and p."""
    draw = np.random.default_rng(seed)
    pictures = photographs(2 * images)
    order = draw.permutation(len(pictures))
    sides = [[pictures[i] for i in some] for some in (order[:images], order[images:])]
    extractor = DNAExtractor()
    a = make_dna(sides[0], extractor, num_folds=20)
    distances = {}
    for name, b in variants(sides[1], draw).items():
        result = compare(a, make_dna(b, extractor, num_folds=20))
        distances[name] = (result["dna-emd"].value, result["dna-emd"].debiased, result.p_value)
    return distances


def spread(values: Sequence[float | None]) -> str:
    if None in values:  # too few images
        return "-"
    return f"{fmean(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def largest(values: Sequence[float | None]) -> str:
    return "-" if None in values else f"{max(values):.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=100, help="of each side")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    draws = [measure(arguments.images, seed) for seed in arguments.seeds]
    print("| B is | dna-emd | without noise | largest p |\n|---|--:|--:|--:|")
    for name in draws[0]:
        plain, debiased, p = zip(*(draw[name] for draw in draws), strict=True)
        print(f"| {name} | {spread(plain)} | {spread(debiased)} | {largest(p)} |")


if __name__ == "__main__":
    main()
