"""Make the reports that the first page of the site shows, from folders of digits and photographs.

    pip install "torchmetrics-dna[demo]" scikit-learn
    python docs/live_reports.py docs/_live

The reports compare three steps of a GAN's training and held-out digits with real digits, the last step alone with real
digits, compressed photographs with their originals, and an album of which six photographs are corrupted with other
photographs. The commands run as that page shows them. It takes some minutes on two cores, offline. The site is built
with the reports if `docs/_live` is there.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits

from torchmetrics_dna.demo import blur, jpeg, noise, photographs

sys.path.append(str(Path(__file__).parent / "examples"))
from gan_checkpoints import as_bytes, drawn, write

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torchmetrics_dna.demo import Picture

STEPS = (800, 3200, 12_800)
COMMANDS = (
    "torchmetrics-dna compare real/ step_800/ step_3200/ step_12800/ validation/ --held-out validation/ -o steps.html",
    "torchmetrics-dna compare real/ step_12800/ -o gan.html",
    "torchmetrics-dna compare photos/ compressed/ --pairs name -o copies.html",
    "torchmetrics-dna compare photos/ album/ -o odd.html",
)


def digits(folder: Path, count: int, length: int) -> None:
    """Write real digits, other real digits, and digits of a GAN trained on neither, at three steps of its training."""
    torch.manual_seed(0)
    every = torch.from_numpy(load_digits().data).float() / 16
    real, validation, trained = every[torch.randperm(len(every))].split([count, count, len(every) - 2 * count])
    write(as_bytes(real), folder / "real")
    write(as_bytes(validation), folder / "validation")
    made = drawn(trained, [step * length // STEPS[-1] for step in STEPS], count)
    for step, (_, images) in zip(STEPS, made, strict=True):
        write(images, folder / f"step_{step}")


def photos(folder: Path, count: int) -> None:
    """Write photographs, the same ones saved as JPEG of quality 25, and others of which six are corrupted."""
    pictures = photographs(2 * count)
    album = pictures[count:]
    album[0], album[2], album[3] = blur(album[0], strength=4), np.zeros_like(album[2]), noise(album[3], strength=4)
    album[5], album[8], album[9] = np.full_like(album[5], 200), noise(album[8], strength=4), 255 - album[9]
    save(pictures[:count], folder / "photos")
    save([jpeg(picture, strength=2) for picture in pictures[:count]], folder / "compressed")
    save(album, folder / "album")


def save(pictures: Sequence[Picture], folder: Path) -> None:
    folder.mkdir()
    for i, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / f"{i:03}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the reports are in its folder reports/")
    parser.add_argument("--digits", type=int, default=256, help="of each set")
    parser.add_argument("--photos", type=int, default=60, help="of each set, 10 or more")
    parser.add_argument("--length", type=int, default=STEPS[-1], help="of the GAN's training; named 12,800 steps")
    arguments = parser.parse_args()
    reports = arguments.folder / "reports"
    reports.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        digits(Path(folder), arguments.digits, arguments.length)
        photos(Path(folder), arguments.photos)
        for command in COMMANDS:
            words = shlex.split(command)
            subprocess.run([sys.executable, "-m", "torchmetrics_dna", *words[1:]], cwd=folder, check=True)
            (reports / words[-1]).write_bytes((Path(folder) / words[-1]).read_bytes())


if __name__ == "__main__":
    main()
