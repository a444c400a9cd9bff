"""How much longer a report takes than the comparison that it shows: ``python tests/benchmarks/report.py``.

Two folders of crops of the photographs that scikit-image ships, those of the second blurred. Both calls run at once,
a core each, then once more with cores swapped: so a machine whose speed drifts slows down both. With 5,000 images
a side, that takes a quarter of an hour. Linux only, with two cores at least.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from statistics import mean

import torch
from PIL import Image
from torch import multiprocessing as mp

from torchmetrics_dna import DNAExtractor, compare, report
from torchmetrics_dna.demo import blur, photographs

CALLS = ("compare", "report")


def run(call: str, core: int, folder: Path, seconds: dict[str, float]) -> None:
    """One call on one core, after a small one that does not count."""
    os.sched_setaffinity(0, {core})
    torch.set_num_threads(1)
    extractor, page = DNAExtractor(), folder / f"{core}.html"
    report(*photos(20), page, extractor)
    start = time.perf_counter()
    if call == "compare":
        compare(folder / "a", folder / "b", extractor)
    else:
        report(folder / "a", folder / "b", page, extractor)
    seconds[call] = time.perf_counter() - start


def photos(size: int) -> tuple[list[object], list[object]]:
    some = photographs(2 * size)
    return some[::2], [blur(photo, 3) for photo in some[1::2]]


def main() -> None:
    parser = argparse.ArgumentParser(description="What a report costs on top of a comparison")
    parser.add_argument("--size", type=int, default=5000, help="images a side")
    size = parser.parse_args().size
    cores = sorted(os.sched_getaffinity(0))[:2]
    longer = []
    with tempfile.TemporaryDirectory() as name, mp.Manager() as manager:
        folder = Path(name)
        for side, some in zip("ab", photos(size), strict=True):
            (folder / side).mkdir()
            for i, photo in enumerate(some):
                Image.fromarray(photo).save(folder / side / f"{i}.png", compress_level=1)
        for order in (cores, cores[::-1]):
            seconds = manager.dict()
            processes = [
                mp.get_context("spawn").Process(target=run, args=(c, k, folder, seconds))
                for c, k in zip(CALLS, order, strict=True)
            ]
            for process in processes:
                process.start()
            for process in processes:
                process.join()
            longer.append(seconds["report"] / seconds["compare"] - 1)
            print(
                f"{size:,} images a side, a core each:", ", ".join(f"{c} {seconds[c]:.1f} s" for c in CALLS), flush=True
            )
    print(f"a report takes {mean(longer):.1%} longer ({longer[0]:+.1%}, {longer[1]:+.1%})")


if __name__ == "__main__":
    main()
