"""Print the distances of known changes, to compare your own distances with, as Markdown tables.

    pip install "torchmetrics-dna[demo]" scikit-learn
    python reference_values.py            # photographs of scikit-image and digits of scikit-learn
    python reference_values.py my_folder  # your own images

Each draw selects two disjoint sets of images at random. A is the first set. B is the second set, unchanged or changed
in a known way.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from importlib.metadata import version
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageFilter
from rich.console import Console
from rich.progress import track

from torchmetrics_dna import DNAExtractor, compare, make_dna
from torchmetrics_dna.images import open_source

if TYPE_CHECKING:
    from torchmetrics_dna.dna.result import Result

METRICS = {"dna-emd": "histogram", "dna-fd": "gaussian"}
DIGIT_SIDE = 128  # pixels


def as_jpeg(image: Image.Image) -> Image.Image:
    file = BytesIO()
    image.save(file, "JPEG", quality=75)
    return Image.open(file)


def half_size_and_back(image: Image.Image) -> Image.Image:
    half_size = (max(1, image.width // 2), max(1, image.height // 2))
    small = image.resize(half_size, Image.Resampling.BICUBIC)
    return small.resize(image.size, Image.Resampling.BICUBIC)


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "another half of the same images": lambda image: image,
    "JPEG of quality 75": as_jpeg,
    "blurred by 1 px": lambda image: image.filter(ImageFilter.GaussianBlur(1)),
    "half size and back": half_size_and_back,
}


def packaged_images(num_images: int) -> dict[str, Sequence[np.ndarray]]:
    """Return images that installable packages contain: crops of photographs, and all digits, enlarged."""
    from sklearn.datasets import load_digits

    from torchmetrics_dna.demo import photographs

    digits = []
    for digit in load_digits().images:
        small = Image.fromarray((16 * digit).clip(0, 255).astype(np.uint8))
        enlarged = small.resize((DIGIT_SIDE, DIGIT_SIDE), Image.Resampling.BICUBIC)
        digits.append(np.asarray(enlarged.convert("RGB")))
    return {"photographs": photographs(2 * num_images), "digits": digits}


def measure(images: Sequence[np.ndarray], num_images: int, seed: int) -> dict[tuple[str, str], Result]:
    """Return the result of each change and metric for one draw."""
    order = np.random.default_rng(seed).permutation(len(images))
    extractor = DNAExtractor()
    kinds = list(METRICS.values())
    a = make_dna((images[i] for i in order[:num_images]), extractor, kind=kinds, num_folds=20)
    results = {}
    for name, change in CHANGES.items():
        changed = (change(Image.fromarray(images[i])) for i in order[num_images : 2 * num_images])
        b = make_dna(changed, extractor, kind=kinds, num_folds=20)
        for metric, kind in METRICS.items():
            results[name, metric] = compare(a[kind], b[kind])[metric]
    return results


def cells(results: list[Result]) -> list[str]:
    """Return the debiased distance of the first draw, its interval, and the range over all draws."""
    first = results[0].interval
    distances = [result.debiased for result in results]
    if first is None or None in distances:  # too few images
        return ["-", "-", "-"]
    return [f"{first.value:.3g}", first.ends, f"{min(distances):.3g} to {max(distances):.3g}"]


def print_table(draws: list[dict[tuple[str, str], Result]]) -> None:
    header = ["B is"]
    for metric in METRICS:
        header += [f"{metric}, seed 0", "95% CI", f"seeds 0 to {len(draws) - 1}"]
    print("|", " | ".join(header), "|")
    print("|---" + "|--:" * (len(header) - 1) + "|")
    for name in CHANGES:
        row = [name]
        for metric in METRICS:
            row += cells([results[name, metric] for results in draws])
        print("|", " | ".join(row), "|")


def main() -> None:
    parser = argparse.ArgumentParser(description="Distances of known changes, as Markdown tables")
    parser.add_argument("folder", nargs="?", help="your own images, in place of those of packages")
    parser.add_argument("--images", type=int, default=200, help="number of images per set")
    parser.add_argument("--draws", type=int, default=5, help="number of draws; their seeds are 0, 1, 2, ...")
    arguments = parser.parse_args()
    packages = ["torchmetrics-dna", "torch", "pillow"]
    if arguments.folder is None:
        pools = packaged_images(arguments.images)
        packages += ["scikit-image", "scikit-learn"]
    else:
        pools = {arguments.folder: open_source(arguments.folder)}
    print(", ".join(f"{package} {version(package)}" for package in packages))
    progress = Console(stderr=True)
    for name, images in pools.items():
        num_images = min(arguments.images, len(images) // 2)
        seeds = track(range(arguments.draws), name, console=progress)
        draws = [measure(images, num_images, seed) for seed in seeds]
        print(f"\n{name}: {num_images} images per set\n")
        print_table(draws)


if __name__ == "__main__":
    main()
