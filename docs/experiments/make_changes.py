"""Make the dictionary of changes that is packaged with `efficientnet_lite0`.

It measures what 22 changes do to photographs and drawings, from packages that anyone can install:

    pip install torchmetrics-dna[demo] scikit-learn
    python docs/experiments/make_changes.py -o efficientnet_lite0.changes.npz

Downloads go to a cache folder (Debian packages by name, so this needs a Debian machine). Set --most to a small number
for a quick look.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import data
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.progress import Progress

from torchmetrics_dna.demo import photographs
from torchmetrics_dna.images import Reading
from torchmetrics_dna.jobs.make_changes import make_changes

SIDE = 256  # pixels of a crop
Picture = NDArray[np.uint8]


def crops(path: Path, rng: np.random.Generator) -> list[Picture]:
    """Two crops of a large photograph, each at a scale of its own."""
    with Image.open(path) as file:
        photograph = file.convert("RGB")
    found = []
    for _ in range(2):
        scale = int(rng.integers(320, 800)) / min(photograph.size)
        small = photograph.resize([round(extent * scale) for extent in photograph.size], Image.Resampling.LANCZOS)
        left, top = (int(rng.integers(0, extent - SIDE)) for extent in small.size)
        found.append(np.asarray(small.crop((left, top, left + SIDE, top + SIDE))))
    return found


def pictures() -> list[Picture]:
    """60 crops of scikit-image's photographs, 58 of desktop backgrounds, and 60 drawings on white."""
    rng = np.random.default_rng(1)
    large = [crop for path in data.backgrounds() for crop in crops(path, rng)]
    drawn = data.drawings()
    drawings = [data.picture(drawn[i], SIDE) for i in np.random.default_rng(2).permutation(len(drawn))[:60]]
    return [*photographs(60), *large, *drawings]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=Path("efficientnet_lite0.changes.npz"))
    parser.add_argument("--most", type=int, help="of the pictures, every so manieth that so many are left")
    arguments = parser.parse_args()
    chosen = pictures()
    if arguments.most:
        chosen = chosen[:: max(1, len(chosen) // arguments.most)][: arguments.most]
    with Progress() as bars:
        bar = bars.add_task("pictures", total=None)
        found = make_changes(
            chosen, reading=Reading(progress=lambda _, done, of: bars.update(bar, completed=done, total=of))
        )
    found.save(arguments.output)
    print(found)


if __name__ == "__main__":
    main()
