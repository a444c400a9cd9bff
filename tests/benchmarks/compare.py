"""`compare` beside the bare pass of its network, and the search for causes beside none: processor time and peak memory.

    python tests/benchmarks/compare.py [--images 120] [--causes 40 300] [--rounds 3] [--threads 1]

The images are JPEGs of 400 x 300 pixels, those of B blurred. Each run is a process of its own, in turns, and what is
timed, with the time of its worker processes, comes after its imports:

- bare: Pillow decodes and resizes, timm's network with channels last takes parts of 4,
- compare: our function with its default settings, with and without causes.
"""

from __future__ import annotations

import argparse
import random
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import timm
import torch
from PIL import Image
from timing import peak_mebibytes, write_photographs

from torchmetrics_dna import compare


def bare(folders: list[Path]) -> Callable[[], object]:
    network = timm.create_model("tf_efficientnet_lite0").eval().to(memory_format=torch.channels_last)
    files = [file for folder in folders for file in sorted(folder.iterdir())]

    def call() -> None:
        with torch.inference_mode():
            for i in range(0, len(files), 4):
                pictures = [Image.open(file).convert("RGB").resize((224, 224)) for file in files[i : i + 4]]
                batch = torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures]))
                network(batch.movedim(3, 1).float().div_(127.5).sub_(1))

    return call


def processor_seconds() -> float:
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="`compare` beside the bare pass")
    parser.add_argument("--images", type=int, default=120, help="a side, without causes")
    parser.add_argument("--causes", type=int, nargs="*", default=[40, 300], help="a side, with and without causes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        torch.set_num_threads(arguments.threads)
        name, folder = arguments.child
        sides = [Path(folder, side) for side in "ab"]
        call = bare(sides) if name == "bare" else lambda: compare(*sides, causes=name == "causes").verdict
        start = processor_seconds()
        call()
        print(processor_seconds() - start, peak_mebibytes())
        return
    ways = [(arguments.images, name) for name in ("bare", "compare")]
    ways += [(count, name) for count in arguments.causes for name in ("compare", "causes")]
    ways = [*dict.fromkeys(ways)]
    figures: dict[tuple[int, str], list[list[float]]] = {way: [] for way in ways}
    draw = random.Random(0)
    with TemporaryDirectory() as folder:
        for count in {count for count, _ in ways}:
            for seed, side in enumerate("ab"):
                Path(folder, str(count)).mkdir(exist_ok=True)
                write_photographs(Path(folder, str(count), side), count, (400, 300), seed, blur=2 * seed)
        for _ in range(arguments.rounds):
            for count, name in draw.sample(ways, len(ways)):
                command = [sys.executable, __file__, "--threads", str(arguments.threads), "--child", name]
                output = subprocess.run(
                    [*command, str(Path(folder, str(count)))], stdout=subprocess.PIPE, text=True, check=True
                ).stdout
                figures[count, name].append([float(word) for word in output.split()[-2:]])
    print(f"torch {torch.__version__}, {arguments.threads} threads, medians of {arguments.rounds}, images a side")
    for (count, name), runs in figures.items():
        base = figures.get((count, "bare" if count == arguments.images else "compare"), runs)
        ratio = median(own / other for (own, _), (other, _) in zip(runs, base, strict=True))
        seconds, memory = (median(values) for values in zip(*runs, strict=True))
        print(f"{count:6} {name:8}{seconds:8.1f} s of a processor {memory:7.0f} MiB {ratio:6.2f}")


if __name__ == "__main__":
    main()
