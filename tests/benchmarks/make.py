"""`make` beside the official code and beside the bare pass of the network: wall time and peak memory.

    python tests/benchmarks/make.py [--images 240] [--rounds 3]

The images are JPEGs of 512 x 512 pixels, crops of photographs that scikit-image ships. Each run is a process of its
own, in turns, and what is timed comes after its imports:

- make: our function, with its default settings,
- bare: timm's network over images that are resized already, with channels last, in parts of 4 or 8,
- official: `vdna` of PyPI, if it is installed, with 2 workers.

ResNet-50 has random weights; all ways but the bare ones count the 1000 bins of all blocks within the same ranges. The
official code asks a hub for weights and ranges, and a GPU for the images: here it gets them from files and the CPU.
"""

from __future__ import annotations

import argparse
import importlib.util
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import timm
import torch
from timing import peak_mebibytes, write_photographs

from torchmetrics_dna import DNAExtractor, make_dna
from torchmetrics_dna.images import open_source
from torchmetrics_dna.images.loader import load_batches

COLOURS = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
BLOCKS = [f"layer{stage}.{i}" for stage, count in enumerate((3, 4, 6, 3), 1) for i in range(count)]


def resnet(folder: Path) -> DNAExtractor:
    return DNAExtractor(
        "resnet50", weights_path=folder / "weights.pth", layers=BLOCKS, input_size=224, resize="clean", **COLOURS
    )


def prepare(folder: Path) -> None:
    torch.manual_seed(0)
    weights = timm.create_model("resnet50").state_dict()
    torch.save(weights, folder / "weights.pth")
    theirs = {name: weight for name, weight in weights.items() if not name.startswith("fc.")}
    torch.save({"model_state_dict": theirs}, folder / "official.pth")
    make_dna(folder / "images", resnet(folder), ranges="auto").ranges.save(folder / "ranges.json")
    text = (folder / "ranges.json").read_text()
    (folder / "official.json").write_text(re.sub(r"(layer\d)\.(\d)", r"\1_\2", text))


def way(folder: Path, network: str, name: str) -> Callable[[], object]:
    """Prepare a way; return what is timed."""
    images = folder / "images"
    kind, _, number = name.partition(" ")
    if kind == "make":
        if network == "default":
            extractor = DNAExtractor()
            return lambda: make_dna(images, extractor)
        extractor = resnet(folder)
        return lambda: make_dna(images, extractor, ranges=folder / "ranges.json")
    if kind == "bare":
        model = timm.create_model("tf_efficientnet_lite0" if network == "default" else network).eval()
        model.to(memory_format=torch.channels_last)
        batches = [
            batch.images.contiguous(memory_format=torch.channels_last)
            for batch in load_batches(open_source(images), (224, 224), reading=None, notes=None, channels=3)
        ]
        parts = [part for batch in batches for part in batch.split(int(number))]

        def bare() -> None:
            with torch.inference_mode():
                for part in parts:
                    model(part)

        return bare
    import vdna.networks.random_resnet50 as theirs
    from vdna import VDNAProcessor

    theirs.hf_hub_download = lambda repo_id, filename: folder / f"official{Path(filename).suffix}"
    torch.Tensor.cuda = lambda tensor, **_: tensor
    return lambda: VDNAProcessor().make_vdna(
        str(images), feat_extractor_name="rand_resnet50", device="cpu", num_workers=int(number), verbose=False
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="`make` beside the official code and the bare pass")
    parser.add_argument("--images", type=int, default=240)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        folder, *names = arguments.child
        call = way(Path(folder), *names)
        start = time.perf_counter()
        call()
        print(time.perf_counter() - start, peak_mebibytes())
        return
    ways = [(network, name) for network in ("default", "resnet50") for name in ("make", "bare 4", "bare 8")]
    if importlib.util.find_spec("vdna"):
        ways += [("resnet50", "official 2")]
    seconds: dict[tuple[str, str], list[float]] = {key: [] for key in ways}
    mebibytes = dict.fromkeys(ways, 0.0)
    draw = random.Random(0)
    with TemporaryDirectory() as folder:
        images = Path(folder, "images")
        images.mkdir()
        write_photographs(images, arguments.images)
        prepare(Path(folder))
        for _ in range(arguments.rounds):
            for key in draw.sample(ways, len(ways)):
                command = [sys.executable, __file__, "--child", folder, *key]
                output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
                duration, memory = map(float, output.split()[-2:])
                seconds[key].append(duration)
                mebibytes[key] = max(mebibytes[key], memory)
    print(f"{arguments.images} images, torch {torch.__version__}, {torch.get_num_threads()} threads")
    for (network, name), durations in seconds.items():
        share = median(own / other for own, other in zip(seconds[network, "make"], durations, strict=True))
        print(
            f"{network:10}{name:12}{median(durations):7.1f} s ({min(durations):.1f} to {max(durations):.1f})"
            f"{mebibytes[network, name]:8.0f} MiB   make takes {share:.2f} of it"
        )


if __name__ == "__main__":
    main()
