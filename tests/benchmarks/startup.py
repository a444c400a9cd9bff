"""Time of commands beside their unavoidable work: ``python tests/benchmarks/startup.py [start | small | make]``.

``start``: commands that need no network. ``small``: ``compare`` of two folders of 8 images, beside a process that
imports torch and timm and sends as many images through the same network. ``make``: 240 JPEGs of 512 px and a ResNet-50
of random weights, less what importing torch and timm takes, beside its forward passes alone. Whole processes, in turns;
medians, and the median ratio, by the clock and by processor time, which a busy machine changes less.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
from PIL import Image
from skimage import data

COMMAND = [sys.executable, "-m", "torchmetrics_dna"]
FORWARD = """
import sys, time
import timm, torch

name, count, size = sys.argv[1], int(sys.argv[2]), 4
network = timm.create_model(name).eval()
batch = torch.rand(size, 3, 224, 224)
start = time.perf_counter()
with torch.inference_mode():
    for _ in range(count // size):
        network(batch)
print(time.perf_counter() - start)
"""
WEIGHTS = "import sys, timm, torch; torch.save(timm.create_model('resnet50').state_dict(), sys.argv[1])"


def write_photographs(folder: Path, count: int, size: int, quality: int) -> Path:
    """Crops of photographs as JPEGs."""
    folder.mkdir()
    draw = np.random.default_rng(0)
    photographs = [getattr(data, name)() for name in ("astronaut", "chelsea", "coffee", "rocket")]
    for number in range(count):
        photograph = photographs[number % 4]
        y, x = (draw.integers(0, extent - 299) for extent in photograph.shape[:2])
        crop = Image.fromarray(photograph[y : y + 300, x : x + 300]).resize((size, size))
        crop.save(folder / f"{number:03}.jpg", quality=quality)
    return folder


class Cost(NamedTuple):
    """Seconds of a process by the clock and of processor time, its children included, and its output."""

    clock: float
    processor: float
    printed: str


def cost(command: list[str]) -> Cost:
    """Run a command and return its cost."""
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    assert process.returncode in (0, 2), process.stderr
    return Cost(seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, process.stdout)


def measure_starts(folder: Path) -> None:
    """Measure commands that need no network."""
    photographs = write_photographs(folder / "a", 8, 256, 95)
    cost([*COMMAND, "make", str(photographs), "-o", str(folder / "a.dna.npz")])
    for words in ("--help", "compare --help", "compare a b --nonsense", "make a -o x.txt", "info a.dna.npz"):
        command = [*COMMAND, *words.replace("a.dna.npz", str(folder / "a.dna.npz")).split()]
        clock, processor, _ = zip(*(cost(command) for _ in range(7)), strict=True)
        print(f"{words:24} {statistics.median(clock):.2f} s, of processors {statistics.median(processor):.2f} s")


def measure_small(folder: Path) -> None:
    """Measure ``compare`` of two folders of 8 images, without the first turn, in which numba compiles."""
    folders = [str(write_photographs(folder / name, 8, 256, q)) for name, q in (("a", 95), ("b", 40))]
    forward = [sys.executable, "-c", FORWARD, "tf_efficientnet_lite0", "16"]
    turns = [(cost([*COMMAND, "compare", *folders]), cost(forward)) for _ in range(6)][1:]
    for way in ("clock", "processor"):
        ours, bare = ([getattr(turn[side], way) for turn in turns] for side in (0, 1))
        ratio = statistics.median(a / b for a, b in zip(ours, bare, strict=True))
        median = statistics.median(ours), statistics.median(bare)
        print(f"by {way}: compare {median[0]:.2f} s, imports and forward passes {median[1]:.2f} s, ratio {ratio:.2f}")


def measure_make(folder: Path) -> None:
    """Measure ``make`` of 240 images."""
    photographs = write_photographs(folder / "a", 240, 512, 90)
    weights = str(folder / "resnet50.pth")
    subprocess.run([sys.executable, "-c", WEIGHTS, weights], check=True)
    make = [*COMMAND, "make", str(photographs), "-o", str(folder / "a.dna.npz")]
    make += ["--feature", "resnet50", "--weights-path", weights]
    for _ in range(3):
        forward = float(cost([sys.executable, "-c", FORWARD, "resnet50", "240"]).printed)
        make_seconds, imports = cost(make).clock, cost([sys.executable, "-c", "import timm, torch"]).clock
        ratios = ", ".join(
            f"{(make_seconds - subtracted) / forward:.2f} of them and {subtracted:.1f} s"
            for subtracted in (imports, 3.0)
        )
        print(f"make {make_seconds:.1f} s, forward passes {forward:.1f} s, imports {imports:.1f} s: {ratios}")


if __name__ == "__main__":
    chosen = sys.argv[1:] or ["start", "small", "make"]
    for part, measured in (("start", measure_starts), ("small", measure_small), ("make", measure_make)):
        if part in chosen:
            with TemporaryDirectory() as temporary:
                measured(Path(temporary))
