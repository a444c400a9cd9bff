"""Processor seconds and peak memory as jobs grow: images, classes, sets, folds and neurons.

    python tests/benchmarks/growth.py [--quick] [-o docs/growth.png]

Images are crops of photographs, 32 pixels wide; the network has two convolutions. Each run is a process of its own,
with one thread; its seconds leave out imports and a small job of the same kind, its peak is of the whole process.
"""

from __future__ import annotations

import argparse
import math
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from torchmetrics_dna import DNAExtractor, Reading, compare, make_dna
from torchmetrics_dna.comparisons import matrix
from torchmetrics_dna.demo import photographs

SIDE = 32  # pixels
EACH = 40  # images of a class or set
HERE = Reading(num_workers=0)


class Crops:
    """Dataset of crops of photographs, cut when they are read."""

    def __init__(self, count: int, first: int = 0) -> None:
        self.count, self.first = count, first
        self.photographs = sources()

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> np.ndarray:
        if not 0 <= index < self.count:
            raise IndexError(index)
        number = (index + self.first) * 7919
        photograph = self.photographs[number % len(self.photographs)]
        y, x = (number // 5 % (photograph.shape[0] - SIDE), number // 3 % (photograph.shape[1] - SIDE))
        return photograph[y : y + SIDE, x : x + SIDE]


@cache
def sources() -> list[np.ndarray]:
    return photographs(12)


@cache
def extractor(neurons: int = 32) -> DNAExtractor:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 16, 3, 2), nn.ReLU(), nn.Conv2d(16, neurons, 3, 4), nn.ReLU())
    return DNAExtractor(network, layers=["3"], input_size=SIDE, mean=(0.5,) * 3, std=(0.25,) * 3)


def dna(count: int, first: int, num_folds: int | None = 20, neurons: int = 32) -> Any:
    return make_dna(Crops(count, first), extractor(neurons), num_folds=num_folds, reading=HERE)


def of_make(images: int) -> Callable[[], object]:
    return partial(make_dna, Crops(images), extractor(), reading=HERE)


def of_compare(images: int) -> Callable[[], object]:
    return partial(compare, Crops(images), Crops(images, images), extractor(), reading=HERE)


def of_classes(classes: int) -> Callable[[], object]:
    count = EACH * classes
    labels = [f"{i % classes:03}" for i in range(count)]
    return partial(compare, Crops(count), Crops(count, count), extractor(), by=(labels, labels), reading=HERE)


def of_sets(sets: int) -> Callable[[], object]:
    reference, *others = (dna(EACH, EACH * i) for i in range(sets + 1))
    return partial(compare, reference, {f"{i:03}": other for i, other in enumerate(others)})


def of_matrix(sets: int) -> Callable[[], object]:
    return partial(matrix, {f"{i:03}": dna(EACH, EACH * i, None) for i in range(max(2, sets))})


def of_folds(folds: int) -> Callable[[], object]:
    return partial(compare, *(dna(2 * folds, first, folds) for first in (0, 2 * folds)))


def of_neurons(neurons: int) -> Callable[[], object]:
    return partial(compare, *(dna(200, first, neurons=neurons) for first in (0, 200)))


IMAGES = (1_000, 10_000, 100_000)
JOBS: dict[str, tuple[str, Callable[[int], Callable[[], object]], tuple[int, ...], int]] = {
    # label of the axis, the job, its sizes, the size that is not counted
    "make": ("images", of_make, IMAGES, 100),
    "compare": ("images a side", of_compare, IMAGES, 100),
    "compare by class": (f"classes of {EACH} images", of_classes, (1, 4, 16, 64), 1),
    "compare with sets": ("DNAs", of_sets, (2, 20, 200), 1),
    "matrix": ("DNAs", of_matrix, (2, 20, 200), 2),
    "compare, folds": ("folds of 2 images", of_folds, (20, 200, 2000), 20),
    "compare, neurons": ("neurons", of_neurons, (20, 200, 2000), 20),
}


def run(name: str, size: int) -> None:
    """Print the processor seconds of one job and the peak memory of this process, in MB."""
    torch.set_num_threads(1)
    _, job, _, small = JOBS[name]
    job(small)()
    call = job(size)
    start = time.process_time()
    call()
    seconds = time.process_time() - start
    print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6)


def draw(results: dict[str, list[tuple[int, float, float]]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.3 * len(results), 4.6), layout="constrained")
    for column, (name, rows) in enumerate(results.items()):
        sizes, seconds, peaks = zip(*rows, strict=True)
        for row, (values, label) in enumerate(((seconds, "processor seconds"), (peaks, "peak memory, MB"))):
            axis = figure.add_subplot(2, len(results), 1 + column + row * len(results))
            axis.plot(sizes, values, "o-", color="#0072B2")
            axis.set_xscale("log")
            axis.spines[["top", "right"]].set_visible(False)
            if row == 0:
                axis.set_yscale("log")
                straight = [values[-1] * size / sizes[-1] for size in sizes]
                axis.plot(sizes, straight, ":", color="grey", label="proportional")
                axis.set_title(name, loc="left", fontsize=10)
            else:
                axis.set_ylim(0, max(peak for rows in results.values() for _, _, peak in rows) * 1.1)
                axis.set_xlabel(JOBS[name][0])
            if column == 0:
                axis.set_ylabel(label)
            if column == row == 0:
                axis.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=90)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="omit the largest size of each job")
    parser.add_argument("--jobs", nargs="+", choices=JOBS, default=list(JOBS))
    parser.add_argument("-o", "--output", type=Path, help="figure")
    parser.add_argument("--alone", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.alone:
        run(arguments.alone[0], int(arguments.alone[1]))
        return
    results: dict[str, list[tuple[int, float, float]]] = {}
    print(f"{'job':20} {'size':>22} {'seconds':>9} {'peak, MB':>9}  growth of seconds, bytes more for each")
    for name in arguments.jobs:
        label, _, sizes, _ = JOBS[name]
        rows = results.setdefault(name, [])
        for size in sizes[:-1] if arguments.quick else sizes:
            command = [sys.executable, __file__, "--alone", name, str(size)]
            printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            seconds, peak = map(float, printed.split()[-2:])
            rows.append((size, seconds, peak))
            growth = ""
            if len(rows) > 1:
                (size_a, seconds_a, peak_a), (size_b, seconds_b, peak_b) = rows[-2:]
                power = math.log(seconds_b / seconds_a) / math.log(size_b / size_a)
                growth = f"size^{power:.2f}, {(peak_b - peak_a) * 1e6 / (size_b - size_a):,.0f}"
            print(f"{name:20} {f'{size:,} {label}':>22} {seconds:9.2f} {peak:9.0f}  {growth}", flush=True)
    if arguments.output:
        draw(results, arguments.output)


if __name__ == "__main__":
    main()
