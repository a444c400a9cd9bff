"""Overhead of a report over the comparison that it shows: ``python tests/benchmarks/report.py``.

Two folders of crops of the photographs that scikit-image ships, those of the second blurred. Both commands run at once,
a core each, then once more with cores swapped: so a machine whose speed drifts slows down both. With 5,000 images a
side, that takes a quarter of an hour. Linux only, with two cores at least.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import mean

from PIL import Image

from torchmetrics_dna.demo import blur, photographs

COMMANDS = {"compare": (), "report": ("-o", "page.html")}


def run(command: str, core: int, folder: Path, seconds: dict[str, float]) -> None:
    """Time a command on a core."""
    line = ["taskset", "--cpu-list", str(core), sys.executable, "-m", "torchmetrics_dna", "compare", "a", "b"]
    start = time.perf_counter()
    subprocess.run([*line, *COMMANDS[command]], cwd=folder, check=True, capture_output=True)
    seconds[command] = time.perf_counter() - start


def write(folder: Path, size: int) -> None:
    """Write the images of both sides."""
    photos = photographs(2 * size)
    for side, images in (("a", photos[::2]), ("b", [blur(photo, 3) for photo in photos[1::2]])):
        (folder / side).mkdir()
        for i, photo in enumerate(images):
            Image.fromarray(photo).save(folder / side / f"{i}.png", compress_level=1)


def main() -> None:
    parser = argparse.ArgumentParser(description="Overhead of a report over a comparison")
    parser.add_argument("--size", type=int, default=5000, help="images a side")
    size = parser.parse_args().size
    cores = sorted(os.sched_getaffinity(0))[:2]
    overheads = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, size)
        for order in (cores, cores[::-1]):
            seconds: dict[str, float] = {}
            threads = [
                threading.Thread(target=run, args=(command, core, folder, seconds))
                for command, core in zip(COMMANDS, order, strict=True)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            overheads.append(seconds["report"] / seconds["compare"] - 1)
            times = ", ".join(f"{command} {seconds[command]:.1f} s" for command in COMMANDS)
            print(f"{size:,} images a side, a core each: {times}", flush=True)
    print(f"a report takes {mean(overheads):.1%} longer ({overheads[0]:+.1%}, {overheads[1]:+.1%})")


if __name__ == "__main__":
    main()
