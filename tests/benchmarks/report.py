"""How much longer a report takes than the comparison that it shows: ``python tests/benchmarks/report.py``.

Two folders of crops of the photographs that scikit-image ships, those of the second blurred; both calls run in turns.
With the sizes of the default, 5,000 images a side, one round takes ten minutes on two cores.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from statistics import median

import torch
from PIL import Image
from timing import in_turns

from torchmetrics_dna import DNAExtractor, compare, report
from torchmetrics_dna.demo import blur, photographs


def main() -> None:
    parser = argparse.ArgumentParser(description="What a report costs on top of a comparison")
    parser.add_argument("--size", type=int, default=5000, help="images a side")
    parser.add_argument("--rounds", type=int, default=1)
    arguments = parser.parse_args()
    extractor = DNAExtractor()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photos = photographs(2 * arguments.size)
        for side, some in (("a", photos[::2]), ("b", [blur(photo, 3) for photo in photos[1::2]])):
            (folder / side).mkdir()
            for i, photo in enumerate(some):
                Image.fromarray(photo).save(folder / side / f"{i}.png", compress_level=1)
        seconds = in_turns(
            arguments.rounds,
            compare=lambda: compare(folder / "a", folder / "b", extractor),
            report=lambda: report(folder / "a", folder / "b", folder / "x.html", extractor),
        )
    longer = median(r / c for c, r in zip(*seconds.values(), strict=True)) - 1
    print(f"{arguments.size:,} images a side, torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(", ".join(f"{name} {median(times):.1f} s" for name, times in seconds.items()) + f": {longer:+.1%}")


if __name__ == "__main__":
    main()
