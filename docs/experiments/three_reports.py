"""Write the three reports of the guide: copies of photographs, two makers' emoji, and a GAN's digits.

    pip install "torchmetrics-dna[demo]" scikit-learn
    python docs/experiments/three_reports.py FOLDER

Pictures come from Debian and npm packages by name, into a cache folder. --quick takes fewer of them, all from
scikit-image and scikit-learn, and trains the GAN for a moment only.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import data
import numpy as np
import torch
from checkpoints import generated, pictures
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

from torchmetrics_dna import report

Pictures = list[NDArray[np.uint8]]


def write(folder: Path, some: Pictures, ending: str = "png", **options: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i, picture in enumerate(some):
        Image.fromarray(picture).save(folder / f"{i:03}.{ending}", **options)
    return folder


def copies(folder: Path, quick: bool) -> tuple[Path, Path]:
    """Photographs, and the same ones saved as JPEG."""
    photographs = data.at_hand(12) if quick else [data.picture(path) for path in data.photographs()]
    return write(folder / "photographs", photographs), write(folder / "saved again", photographs, "jpg", quality=40)


def emoji(folder: Path, quick: bool) -> tuple[Path, Path]:
    """The same 500 emoji by two makers."""
    if quick:
        return write(folder / "apple", data.at_hand(12)), write(folder / "google", data.at_hand(12, "digits"))
    found = {maker: {one.name: one.path for one in data.emoji(maker)} for maker in ("apple", "google")}
    names = sorted(set(found["apple"]) & set(found["google"]))[::3][:500]
    sides = {maker: [data.picture(paths[name]) for name in names] for maker, paths in found.items()}
    return write(folder / "apple", sides["apple"]), write(folder / "google", sides["google"])


def digits(folder: Path, quick: bool) -> tuple[Path, Path]:
    """Real digits, and those that a GAN draws early in its training."""
    torch.manual_seed(0)
    real = torch.tensor(load_digits().images, dtype=torch.float32).flatten(1) / 16
    count, steps = (12, 10) if quick else (300, 800)
    made = generated(real, [steps], count)[f"{steps} steps"]
    sides = [list(pictures(some).permute(0, 2, 3, 1).numpy()) for some in (real[:count], made)]
    return write(folder / "real digits", sides[0]), write(folder / "digits of a GAN", sides[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    for make in (copies, emoji, digits):
        folder = arguments.folder / make.__name__
        a, b = make(folder, arguments.quick)
        pairs = "name" if make is copies else None
        found = report(a, b, f"{folder}.html", names=(a.name, b.name), pairs=pairs)
        print(f"{folder}.html: {found.explain((a.name, b.name))}")


if __name__ == "__main__":
    main()
