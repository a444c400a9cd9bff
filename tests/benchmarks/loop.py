"""`update` of DNAEMD beside timm's bare calls, as a user's loop has them: figures of docs/numbers.md.

    python tests/benchmarks/loop.py [--turns 15] [--networks default resnet50 vit_small_patch16_224]
    python tests/benchmarks/loop.py --growth [--turns 5]

Each line is a process of its own. malloc is as Python has it, or keeps all memory ("kept"): no limit fits some buffers
better than others. A bare call takes a batch whole or in parts, contiguous or with channels last. All calls take turns,
in an order drawn anew; the ratio is the median, over turns, to the bare call whose median is least.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import timm
import torch
from timing import in_turns, peak_mebibytes
from torch import nn

from torchmetrics_dna import DNAEMD, DNAExtractor

NETWORKS = {
    "default": "tf_efficientnet_lite0",
    "resnet50": "resnet50",
    "vit_small_patch16_224": "vit_small_patch16_224",
}
KEPT = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40)}
LAYERS = {"one layer": ["block_3"], "half of the layers": ["block_0", "block_2", "block_4", "block_6"], "all": None}


def bare(network: nn.Module, images: torch.Tensor, most: int) -> Callable[[], None]:
    def call() -> None:
        with torch.inference_mode():
            for part in images.split(most):
                network(part)

    return call


def extractor_of(name: str, network: nn.Module) -> DNAExtractor:
    """The extractor with weights of timm's network; those of the default one have no influence on its time."""
    if name == "default":
        return DNAExtractor()
    with TemporaryDirectory() as folder:
        torch.save(network.state_dict(), weights := Path(folder, "weights.pth"))
        return DNAExtractor(name, weights_path=weights)


def beside_bare_calls(name: str, count: int, turns: int) -> str:
    torch.manual_seed(0)
    images, prepared = torch.randint(0, 256, (count, 3, 224, 224), dtype=torch.uint8), torch.randn(count, 3, 224, 224)
    plain, last = (timm.create_model(NETWORKS[name]).eval() for _ in range(2))
    last.to(memory_format=torch.channels_last)
    extractor = extractor_of(name, plain)
    metric = DNAEMD(extractor, ranges=None if name == "default" else "auto")
    calls: dict[str, Callable[[], object]] = {}
    for most, words in ((count, ""), (4, ", parts of 4"), (8, ", parts of 8")):
        calls[f"contiguous{words}"] = bare(plain, prepared, most)
        calls[f"channels last{words}"] = bare(last, prepared.to(memory_format=torch.channels_last), most)
    bare_calls = list(calls)
    calls |= {"extractor": lambda: extractor(images), "update": lambda: metric.update(images, real=True)}
    seconds = in_turns(turns, **calls)
    fastest = min(bare_calls, key=lambda key: median(seconds[key]))
    ratios = {
        key: median(ours / theirs for ours, theirs in zip(seconds[key], seconds[fastest], strict=True))
        for key in ("extractor", "update")
    }
    minima = min(seconds["update"]) / min(min(seconds[key]) for key in bare_calls)
    of_all = " ".join(f"{median(seconds[key]) / count * 1e3:.1f}" for key in calls)
    return (
        f"{name:22}{count:4} images  {median(seconds['update']) / count * 1e3:7.1f} ms an image"
        f"{ratios['update']:7.2f} ({minima:.2f} of minima){ratios['extractor']:7.2f} the extractor, of {fastest};"
        f" all, ms: {of_all}"
    )


def growth(what: str, number: str, turns: int) -> str:
    """Time an image, and peak memory beyond that of a first update with four images."""
    count, side, layers = (int(number) if what == "images" else 16), (int(number) if what == "pixels" else 224), None
    if what == "layers":
        layers = LAYERS[number]
    images = torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8)
    metric = DNAEMD(layers=layers)
    metric.update(images[:4], real=True)
    before = peak_mebibytes()
    seconds = in_turns(turns, update=lambda: metric.update(images, real=True))["update"]
    return (
        f"{what:8}{number:>20}{median(seconds) / count * 1e3:8.1f} ms an image{peak_mebibytes() - before:8.0f} MiB more"
    )


def in_a_process(environment: dict[str, str], *arguments: object) -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_TUNABLES"))}
    command = [sys.executable, __file__, *map(str, arguments)]
    output = subprocess.run(command, capture_output=True, text=True, check=True, env=clean | environment).stdout
    print(output, end="", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="`update` beside bare calls")
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--images", nargs="+", type=int, default=[16, 32])
    parser.add_argument("--growth", action="store_true")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        name, number = arguments.child
        turns = arguments.turns
        print(growth(name, number, turns) if arguments.growth else beside_bare_calls(name, int(number), turns))
        return
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {arguments.turns} turns")
    turns = ["--turns", arguments.turns]
    if arguments.growth:
        for what, numbers in {"images": (1, 4, 16, 64, 256), "pixels": (224, 512, 1024), "layers": LAYERS}.items():
            for number in numbers:
                in_a_process({}, "--growth", "--child", what, number, *turns)
        return
    for words, environment in (("malloc untouched", {}), ("malloc kept", KEPT)):
        print(words)
        for name in arguments.networks:
            for count in arguments.images:
                in_a_process(environment, "--child", name, count, *turns)


if __name__ == "__main__":
    main()
