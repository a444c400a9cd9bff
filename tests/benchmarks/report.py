"""How much longer a report takes than the comparison that it shows.

    python tests/benchmarks/report.py [--sizes 100 500] [--rounds 3]

Two folders of crops of the photographs that scikit-image ships, those of the second blurred. Both calls run in turns.
What a report adds is a part for each image, and a part that does not depend on how many there are: the interval, the
noise floor, the page. Two sizes tell them apart, and so what 5,000 images a side would take, of which 256 are looked
at one by one; here as large a share of them is. Told in seconds of processor time, own and of the loaders, which
other work on the machine disturbs less, and in seconds of the clock.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from PIL import Image

from torchmetrics_dna import DNAExtractor, compare, report
from torchmetrics_dna.demo import blur, photographs
from torchmetrics_dna.reporting.build import NUM_SCORED

LARGE = 5000


def seconds(call: Callable[[], object]) -> tuple[float, float]:
    """Processor time, and time of the clock."""
    before, start = os.times(), time.perf_counter()
    call()
    return sum(os.times()[:4]) - sum(before[:4]), time.perf_counter() - start


def measured(folder: Path, size: int, rounds: int) -> dict[str, tuple[float, float]]:
    """Medians of both calls."""
    a, b = folder / f"a{size}", folder / f"b{size}"
    for side, photos in ((a, photographs(size)), (b, [blur(photo, 3) for photo in photographs(2 * size)[size:]])):
        side.mkdir()
        for i, photo in enumerate(photos):
            Image.fromarray(photo).save(side / f"{i}.png")
    extractor = DNAExtractor("efficientnet_lite0")
    scored = max(1, round(NUM_SCORED * size / LARGE))
    calls = {
        "compare": lambda: compare(a, b, extractor),
        "report": lambda: report(a, b, folder / "x.html", extractor, num_scored=scored),
    }
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for turn in range(rounds + 1):
        for name, call in calls.items():
            found = seconds(call)
            if turn:  # the first one warms up
                taken[name].append(found)
    return {name: (median(t[0] for t in times), median(t[1] for t in times)) for name, times in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description="What a report costs on top of a comparison")
    parser.add_argument("--sizes", type=int, nargs=2, default=(100, 500), help="images a side")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; processor time (time of the clock) in s\n")
    print(f"{'images a side':>13} {'compare':>18} {'report':>18} {'longer by':>18}")
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for size in arguments.sizes:
            times = measured(Path(folder), size, arguments.rounds)
            columns = [f"{cpu:.1f} ({wall:.1f})" for cpu, wall in (times["compare"], times["report"])]
            over = [r / c - 1 for c, r in zip(times["compare"], times["report"], strict=True)]
            print(f"{size:13,} {columns[0]:>18} {columns[1]:>18} {f'{over[0]:.1%} ({over[1]:.1%})':>18}", flush=True)
            found.append({name: pair[0] for name, pair in times.items()})
    (few, many), (one, two) = arguments.sizes, found
    slope = {name: (two[name] - one[name]) / (many - few) for name in one}
    at = {name: one[name] + slope[name] * (LARGE - few) for name in one}
    over = at["report"] / at["compare"] - 1
    print(f"{LARGE:13,} {at['compare']:18.1f} {at['report']:18.1f} {over:18.1%}, by the line through both")


if __name__ == "__main__":
    main()
