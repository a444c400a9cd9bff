"""Time of commands beside their unavoidable work: ``python tests/benchmarks/startup.py [start | small | make]``.

``start``: commands that need no network. ``small``: ``compare`` of two folders of 8 images, beside a process that
imports torch and timm and sends as many images through the same network. ``make``: 240 JPEGs of 512 px and a ResNet-50
of random weights, then the default extractor, beside importing torch and timm and the forward passes of timm's network
in batches of 4 and of 30; and a ResNet-50 with all 16 blocks, beside the official code if that is there (``pip install
vdna``). Whole processes, in turns; medians, and the median ratio, by the clock and by processor time, which a busy
machine changes less.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import NamedTuple

import numpy as np
from PIL import Image
from skimage import data

COMMAND = [sys.executable, "-m", "torchmetrics_dna"]
FORWARD = """
import sys, time
import timm, torch

name, count, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
network = timm.create_model(name).eval()
batch = torch.rand(size, 3, 224, 224)
start = time.perf_counter()
with torch.inference_mode():
    for _ in range(count // size):
        network(batch)
print(time.perf_counter() - start)
"""
WEIGHTS = """
import sys, timm, torch, torchvision
torch.save(timm.create_model("resnet50").state_dict(), sys.argv[1])
state = torchvision.models.resnet50().state_dict()
state = {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}
torch.save({"model_state_dict": state}, sys.argv[2])
"""
OFFICIAL = """
import sys, torch
from vdna import VDNAProcessor
from vdna.networks import random_resnet50

photographs, weights, ranges, output = sys.argv[1:]
random_resnet50.hf_hub_download = lambda repo_id, filename: weights if filename.endswith(".pth") else ranges
torch.Tensor.cuda = lambda tensor, **_: tensor  # its ResNets move images to CUDA, whatever the device
processor = VDNAProcessor()
dna = processor.make_vdna(photographs, -1, False, "rand_resnet50", device="cpu", num_workers=2, verbose=False)
dna.save(output)
"""
DEFAULT = "tf_efficientnet_lite0", ["efficientnet_lite0"]  # timm's name, and arguments
BLOCKS = {"layer1": (3, 256), "layer2": (4, 512), "layer3": (6, 1024), "layer4": (3, 2048)}  # and neurons of each


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
    """Cost of a process with its children, and its output.

    Attributes:
        clock: Seconds by the clock.
        processor: Seconds of processor time.
        peak: Peak memory of the largest of them, in MB.
        printed: Output.

    """

    clock: float
    processor: float
    peak: float
    printed: str


def cost(command: list[str]) -> Cost:
    """Run a command and return its cost."""
    with TemporaryFile("w+") as output:
        begin = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, stderr=output)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        printed = output.read()
    assert process.returncode in (0, 2), printed
    return Cost(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e6, printed)


def measure_starts(folder: Path) -> None:
    """Measure commands that need no network."""
    photographs = write_photographs(folder / "a", 8, 256, 95)
    cost([*COMMAND, "make", str(photographs), "-o", str(folder / "a.dna.npz")])
    for words in ("--help", "compare --help", "compare a b --nonsense", "make a -o x.txt", "info a.dna.npz"):
        command = [*COMMAND, *words.replace("a.dna.npz", str(folder / "a.dna.npz")).split()]
        clock, processor, _, _ = zip(*(cost(command) for _ in range(7)), strict=True)
        print(f"{words:24} {statistics.median(clock):.2f} s, of processors {statistics.median(processor):.2f} s")


def measure_small(folder: Path) -> None:
    """Measure ``compare`` of two folders of 8 images, without the first turn, in which numba compiles."""
    folders = [str(write_photographs(folder / name, 8, 256, q)) for name, q in (("a", 95), ("b", 40))]
    forward = [sys.executable, "-c", FORWARD, "tf_efficientnet_lite0", "16", "4"]
    turns = [(cost([*COMMAND, "compare", *folders]), cost(forward)) for _ in range(6)][1:]
    for way in ("clock", "processor"):
        ours, bare = ([getattr(turn[side], way) for turn in turns] for side in (0, 1))
        ratio = statistics.median(a / b for a, b in zip(ours, bare, strict=True))
        median = statistics.median(ours), statistics.median(bare)
        print(f"by {way}: compare {median[0]:.2f} s, imports and forward passes {median[1]:.2f} s, ratio {ratio:.2f}")


def measure_make(folder: Path) -> None:
    """Measure ``make`` of 240 images."""
    photographs = str(write_photographs(folder / "a", 240, 512, 90))
    weights, of_blocks, ranges = (str(folder / name) for name in ("resnet50.pth", "weights.pth", "ranges.json"))
    subprocess.run([sys.executable, "-c", WEIGHTS, weights, of_blocks], check=True)
    write_ranges(Path(ranges))
    make = [*COMMAND, "make", photographs, "-o", str(folder / "a.dna.npz"), "--feature"]
    ours = [*make, "rand_resnet50", "--weights-path", of_blocks, "--ranges", ranges]
    official = [sys.executable, "-c", OFFICIAL, photographs, of_blocks, ranges, str(folder / "official")]
    for _ in range(3):
        for name, feature in (("resnet50", ["resnet50", "--weights-path", weights]), DEFAULT):
            command = [sys.executable, "-c", FORWARD, name, "240"]
            passes = [float(cost([*command, size]).printed.split()[-1]) for size in ("4", "30")]
            made = cost([*make, *feature])
            imports = cost([sys.executable, "-c", "import timm, torch"]).clock
            of_both = [made.clock / (seconds + imports) for seconds in passes]
            print(
                f"make {made.clock:.1f} s, imports {imports:.1f} s, forward passes of timm's {name} in batches of 4 and"
                f" 30: {passes[0]:.1f} and {passes[1]:.1f} s; {of_both[0]:.2f} and {of_both[1]:.2f} of both; peak"
                f" {made.peak:.0f} MB"
            )
        blocks = cost(ours)
        print(f"make of 16 blocks {blocks.clock:.1f} s, peak {blocks.peak:.0f} MB", end="", flush=True)
        if find_spec("vdna"):
            theirs = cost(official)
            ratio = blocks.clock / theirs.clock
            print(f"; official code {theirs.clock:.1f} s, peak {theirs.peak:.0f} MB: {ratio:.2f} of its time", end="")
        print(flush=True)


def write_ranges(path: Path) -> None:
    """Write ranges in the official form."""
    layers = {f"{stage}_{i}": neurons for stage, (depth, neurons) in BLOCKS.items() for i in range(depth)}
    ends = {
        key: {layer: dict.fromkeys(map(str, range(neurons)), end) for layer, neurons in layers.items()}
        for key, end in (("mins_per_neuron", -1.0), ("maxs_per_neuron", 5.0))
    }
    path.write_text(json.dumps(ends))


if __name__ == "__main__":
    chosen = sys.argv[1:] or ["start", "small", "make"]
    for part, measured in (("start", measure_starts), ("small", measure_small), ("make", measure_make)):
        if part in chosen:
            with TemporaryDirectory() as temporary:
                measured(Path(temporary))
