"""Memory of many classes, with the default extractor: read class by class.

    python tests/benchmarks/classes.py --classes 100 1000

Each class has two images a side, which the network sees at 64 pixels, since neurons and bins are as many as ever; each
run is a process of its own, and peaks are of the whole process.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from typing import Any

import numpy as np

SIDE, EACH = 64, 2  # pixels, and images of a class and side


def images(count: int, seed: int) -> np.ndarray:
    """Images of slowly changing colours; their content does not matter here."""
    levels = np.random.default_rng(seed).integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)
    return levels.repeat(SIDE // 4, 1).repeat(SIDE // 4, 2)


def read_by_class(classes: int) -> Any:
    from torchmetrics_dna import DNAExtractor, Reading, compare

    by = np.repeat(np.arange(classes), EACH).tolist()
    extractor, reading = DNAExtractor(input_size=SIDE), Reading(num_workers=0)
    comparisons = compare(
        images(len(by), 0), images(len(by), 1), extractor, by=(by, by), num_folds=None, reading=reading
    )
    return f"total dna-emd {comparisons.total['dna-emd'].value:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    runs = {"compare by class, 1,000 bins": read_by_class}
    if arguments.alone:
        start = time.perf_counter()
        summary = runs[arguments.alone](arguments.classes[0])
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        seconds = time.perf_counter() - start
        print(f"| {arguments.alone} | {arguments.classes[0]} | {peak:.2f} GB | {seconds:.0f} s | {summary} |")
        return
    print("| way | classes | peak | took | |\n|---|--:|--:|--:|---|", flush=True)
    for name in runs:
        for count in arguments.classes:
            subprocess.run([sys.executable, __file__, "--alone", name, "--classes", str(count)], check=True)


if __name__ == "__main__":
    main()
