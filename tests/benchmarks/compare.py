"""`compare`, causes, copies and `make` beside the bare pass of a network: processor time and peak memory.

    python tests/benchmarks/compare.py [--images 120] [--few 12] [--causes 40 300] [--copies 20000] [--make 240]
        [--old FOLDER] [--rounds 5] [--threads 1]

The images are JPEGs of 400 x 300 pixels, those of B blurred. Each run is a process of its own, in turns, and what is
timed, with the time of its worker processes, comes after its imports; a first round, which compiles, does not count:

- bare NAME: Pillow decodes and resizes, timm's network NAME with channels last takes parts of 4,
- compare, causes: our function with its default settings, without and with causes; warm: the third call of a process,
- old: the same `compare` by the package in FOLDER, such as a checkout of an earlier commit,
- copies: the search for near-duplicates of both sides and within each, among crops of photographs,
- make: `make_dna` by ResNet-50 with random weights.
"""

from __future__ import annotations

import argparse
import os
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

from torchmetrics_dna import DNAExtractor, compare, make_dna
from torchmetrics_dna.demo import photographs
from torchmetrics_dna.images.likeness import near_duplicates, thumbnail


def bare(name: str, folders: list[Path]) -> Callable[[], object]:
    network = timm.create_model(name).eval().to(memory_format=torch.channels_last)
    files = [file for folder in folders for file in sorted(folder.iterdir())]

    def call() -> None:
        with torch.inference_mode():
            for i in range(0, len(files), 4):
                pictures = [Image.open(file).convert("RGB").resize((224, 224)) for file in files[i : i + 4]]
                batch = torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures]))
                network(batch.movedim(3, 1).float().div_(127.5).sub_(1))

    return call


def copies(count: int) -> Callable[[], object]:
    """The three searches of a comparison, of thumbnails that are made from so many crops a side beforehand."""
    draw, pictures, sides = np.random.default_rng(0), photographs(96), []
    for _ in "ab":
        crops = []
        for number in range(count):
            picture = pictures[number % len(pictures)]
            side = int(draw.integers(48, min(picture.shape[:2]) + 1))
            top, left = (int(draw.integers(0, length - side + 1)) for length in picture.shape[:2])
            crops.append(thumbnail(np.ascontiguousarray(picture[top : top + side, left : left + side])))
        sides.append(torch.stack(crops))
    a, b = sides
    folds = (torch.arange(count) % 20).repeat(2)
    return lambda: (near_duplicates(b, a), near_duplicates(a, a, folds), near_duplicates(b, b, folds))


def call_of(name: str, folder: Path, count: int) -> Callable[[], object]:
    """Prepare a way; return what is timed."""
    kind, _, network = name.partition(" ")
    sides = [folder / side for side in "ab"]
    if kind == "bare":
        return bare(network, sides[:1] if network == "resnet50" else sides)
    if kind == "copies":
        return copies(count)
    if kind == "make":
        torch.manual_seed(0)
        torch.save(timm.create_model("resnet50").state_dict(), weights := folder / "weights.pth")
        extractor = DNAExtractor("resnet50", weights_path=weights)
        return lambda: make_dna(sides[0], extractor, ranges="auto")
    call = lambda: compare(*sides, causes=kind == "causes").verdict  # noqa: E731
    for _ in range(2 * (kind == "warm")):
        call()
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
    parser.add_argument("--few", type=int, default=12, help="a side, first and third call of a process")
    parser.add_argument("--copies", type=int, default=20_000, help="thumbnails a side")
    parser.add_argument("--make", type=int, default=240, help="images for ResNet-50")
    parser.add_argument("--old", type=Path, help="folder of an earlier version of this package")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        torch.set_num_threads(arguments.threads)
        name, folder, number = arguments.child
        call = call_of(name, Path(folder), int(number))
        start = processor_seconds()
        call()
        print(processor_seconds() - start, peak_mebibytes())
        return
    bases: dict[tuple[int, str], list[str]] = {}  # what a way is a multiple of
    bases[arguments.images, "compare"] = [f"bare {name}" for name in ("efficientnet_lite0", "tf_efficientnet_lite0")]
    bases |= {
        (arguments.few, name): ["old"] if name == "compare" and arguments.old else [] for name in ("compare", "warm")
    }
    for count in arguments.causes:
        bases |= {(count, "compare"): ["old"] * bool(arguments.old), (count, "causes"): ["compare"]}
    bases |= {(arguments.copies, "copies"): [], (arguments.make, "make"): ["bare resnet50"]}
    bases = {way: base for way, base in bases.items() if way[0]}
    ways = [*dict.fromkeys([*((count, base) for (count, _), of_way in bases.items() for base in of_way), *bases])]
    figures: dict[tuple[int, str], list[list[float]]] = {way: [] for way in ways}
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    draw = random.Random(0)
    with TemporaryDirectory() as folder:
        environment["PYTHONPYCACHEPREFIX"] = folder  # as of packages that pip has installed
        for count in {count for count, name in ways if name != "copies"}:
            for seed, side in enumerate("ab"):
                Path(folder, str(count)).mkdir(exist_ok=True)
                write_photographs(Path(folder, str(count), side), count, (400, 300), seed, blur=2 * seed)
        for turn in range(arguments.rounds + 1):
            for count, name in draw.sample(ways, len(ways)):
                command = [sys.executable, __file__, "--threads", str(arguments.threads), "--child", name]
                output = subprocess.run(
                    [*command, str(Path(folder, str(count))), str(count)],
                    stdout=subprocess.PIPE,
                    text=True,
                    check=True,
                    env=environment | ({"PYTHONPATH": str(arguments.old)} if name == "old" else {}),
                ).stdout
                seconds, memory = (float(word) for word in output.split()[-2:])
                print(f"round {turn}: {count} {name}: {seconds:.2f} s", file=sys.stderr)
                figures[count, name] += [[seconds, memory]] * bool(turn)
    print(f"torch {torch.__version__}, {arguments.threads} threads, medians of {arguments.rounds}, images a side")
    for (count, name), runs in figures.items():
        seconds, memory = (median(values) for values in zip(*runs, strict=True))
        words = ""
        for base in bases.get((count, name), ()):
            ratio = median(own / other for (own, _), (other, _) in zip(runs, figures[count, base], strict=True))
            words += f"  {ratio:.2f} of {base}"
        print(f"{count:6} {name:28}{seconds:8.2f} s of a processor {memory:7.0f} MiB{words}")


if __name__ == "__main__":
    main()
