"""Is CUDA right, and how fast? All tests that use a GPU, then speeds, in one command: a line of json for each figure.

    python tests/benchmarks/cuda.py [--row docs/stability.md] [--figures checks exactness counting updates computing]

It runs from a checkout, also where this package is not installed; weights are random. `--row` appends the run to a
table. `--dry` rehearses on the CPU.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from statistics import median

if __name__ != "__main__":  # beside this file, torch looks for NVIDIA's module of that name
    raise ImportError("this is a program; run it by its path")
ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path[:1] = [
        str(ROOT),
        str(ROOT / "tests" / "helpers"),
    ]  # not this folder, or NVIDIA's `cuda` would be this file
    if "--dry" in sys.argv:
        os.environ["TRITON_INTERPRET"] = "1"

import timm  # noqa: E402
import torch  # noqa: E402
from networks import Convolutions  # noqa: E402
from torch import Tensor  # noqa: E402

from torchmetrics_dna import (  # noqa: E402
    DNAEMD,
    ActivationRanges,
    DNAExtractor,
    DNAFrechet,
    DNARealism,
    LayerFrechetDistance,
)
from torchmetrics_dna.binning import bins_within, cuda, histogram  # noqa: E402

Figures = dict[str, object]
BINS = 1000
NETWORKS = {
    "ViT-B/16": "vit_base_patch16_224",
    "ViT-L/16": "vit_large_patch16_224",
    "ResNet-50": "resnet50",
    "efficientnet_lite0": "efficientnet_lite0",
}
SHAPES = {  # activations of 64 images, as networks leave them
    "ViT tokens 64x768x197": ((64, 768, 197), (0, 2, 1)),
    "conv 64x24x56x56": ((64, 24, 56, 56), (0, 1, 2, 3)),
    "the same, channels last": ((64, 24, 56, 56), (0, 2, 3, 1)),
    "conv 64x2048x7x7": ((64, 2048, 7, 7), (0, 1, 2, 3)),
    "pooled 256x2048": ((256, 2048), (0, 1)),
}
REPEATS = 10  # of each comparison of counts: a race may show in one of many


def seconds(rounds: int, dry: bool, **calls: Callable[[], object]) -> dict[str, list[float]]:
    """Time each call once in every round, by events of the device, after two rounds that do not count."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    left_out = 0 if dry else 2
    for turn in range(rounds + left_out):
        for name, call in calls.items():
            if dry:
                start = time.perf_counter()
                call()
                spent = time.perf_counter() - start
            else:
                begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
                torch.cuda.synchronize()
                begin.record()
                call()
                end.record()
                torch.cuda.synchronize()
                spent = begin.elapsed_time(end) / 1e3
            if turn >= left_out:
                times[name].append(spent)
    return times


def by_histc(activations: Tensor) -> Tensor:
    """The published way: a `histc` for each neuron, in float64."""
    scaled = (activations.double() / 4).clamp(-1, 1)
    return torch.stack([torch.histc(scaled[:, i], BINS, min=-1, max=1) for i in range(scaled.shape[1])])


def counting(dry: bool) -> Iterable[tuple[str, Figures]]:
    """Nanoseconds an activation, beside a copy on the device, for variants of the kernels too."""
    device = "cpu" if dry else "cuda"
    for (label, (shape, order)), dtype in (
        (shape, dtype) for shape in SHAPES.items() for dtype in (torch.float32, torch.bfloat16)
    ):
        if dry and (label != "pooled 256x2048" or dtype is not torch.float32):
            continue
        label, shape = ("rehearsal 16x8", (16, 8)) if dry else (label, shape)
        x = torch.randn([shape[axis] for axis in order], device=device).to(dtype)
        x = x.permute([order.index(axis) for axis in range(len(shape))])
        ends = (torch.full(shape[1:2], end, dtype=torch.float64, device=device) for end in (-4, 4))
        bins, state = bins_within(*ends, BINS), torch.zeros(shape[1], BINS, dtype=torch.int64, device=device)
        target = torch.empty_like(x)
        calls: dict[str, Callable[[], object]] = {
            "copy": partial(target.copy_, x),
            "aminmax": partial(torch.aminmax, x),
            "triton": partial(cuda.add_layer_, state, x, bins),
            "torch": partial(histogram.add_layer_, state, x, bins),
            "histc": partial(by_histc, x),
        }
        times = seconds(1 if dry else 15, dry, **calls)
        yield (
            f"{label}, {str(dtype)[6:]}",
            {name: round(median(durations) / x.numel() * 1e9, 4) for name, durations in times.items()}
            | variants(dry, partial(cuda.add_layer_, state, x, bins), x.numel()),
        )


def exactness(dry: bool) -> Iterable[tuple[str, Figures]]:
    """Cells that differ from the oracle's on the CPU, in repeated counts of a layer, also where three bins have all."""
    device = "cpu" if dry else "cuda"
    ends = [torch.full((1,), end, dtype=torch.float64) for end in (-4, 4)]
    for (label, (shape, order)), dtype in (
        (shape, dtype) for shape in SHAPES.items() for dtype in (torch.float32, torch.bfloat16, torch.float16)
    ):
        if dry and (label != "pooled 256x2048" or dtype is not torch.float32):
            continue
        label, shape = ("rehearsal 16x8", (16, 8)) if dry else (label, shape)
        for values, sign in (("normal", False), ("three values", True)):
            x = torch.randn([shape[axis] for axis in order], generator=torch.Generator().manual_seed(0)) * 2
            x = (x.sign() if sign else x).to(dtype).permute([order.index(axis) for axis in range(len(shape))])
            expected = torch.zeros(shape[1], BINS, dtype=torch.int64)
            histogram.add_layer_(expected, x, bins_within(*(end.expand(shape[1]) for end in ends), BINS))
            bins = bins_within(*(end.expand(shape[1]).to(device) for end in ends), BINS)
            x, differing = x.to(device), 0
            for _ in range(REPEATS):
                state = torch.zeros(shape[1], BINS, dtype=torch.int64, device=device)
                cuda.add_layer_(state, x, bins)
                differing += int((state.cpu() != expected).sum())
            yield (
                f"{label}, {str(dtype)[6:]}, {values}",
                {"repeats": REPEATS, "cells that differ": differing, "exit code": int(differing > 0)},
            )


def variants(dry: bool, call: Callable[[], object], count: int) -> Figures:
    """The kernel with other sizes of tiles and programs: what to choose them by."""
    figures: Figures = {}
    names = ("_TILE", "_WARPS", "_PROGRAMS", "_LEAST_TILES", "_CELLS", "_REGISTERS")
    usual = {name: getattr(cuda, name) for name in names}
    all_changes = [
        {"_TILE": 2048},
        {"_TILE": 8192},
        {"_PROGRAMS": 256},
        {"_PROGRAMS": 2048},
        {"_LEAST_TILES": 8},
        {"_TILE": 8192, "_WARPS": 16},
        {"_CELLS": 0},
        {"_CELLS": 4096},
        {"_CELLS": 16384},
        {"_REGISTERS": 80},
        {"_REGISTERS": 255},
    ]
    for changes in all_changes[:: 8 if dry else 1]:
        with suppress(Exception):  # a variant may not compile
            for name, value in (usual | changes).items():
                setattr(cuda, name, value)
            spent = median(seconds(1 if dry else 7, dry, call=call)["call"])
            figures["triton with " + ", ".join(f"{name} {value}" for name, value in changes.items())] = round(
                spent / count * 1e9, 4
            )
    for name, value in usual.items():
        setattr(cuda, name, value)
    return figures


def extractor_of(name: str, dtype: str | None, dry: bool) -> DNAExtractor:
    """A network with random weights, which counts as any other."""
    torch.manual_seed(0)
    if dry:
        return DNAExtractor(Convolutions(), layers=["stem", "body"], input_size=32)
    return DNAExtractor(timm.create_model(NETWORKS[name], pretrained=False), dtype=dtype)


def metrics_on(extractor: DNAExtractor, images: Tensor) -> dict[str, object]:
    """The metrics whose `update` is timed, each on an extractor that it shares with none."""
    ranges = ActivationRanges.observe({layer: x.cpu().float() for layer, x in extractor(images[:8]).items()})
    reference = DNAEMD(extractor, ranges=ranges, sync_on_compute=False).to(images.device)
    reference.update(images, real=True)
    metrics = {
        "DNAEMD": DNAEMD(extractor, ranges=ranges),
        "auto": DNAEMD(extractor, ranges="auto"),
        "DNAFrechet": DNAFrechet(extractor),
        "LayerFrechetDistance": LayerFrechetDistance(extractor),
        "DNARealism": DNARealism(extractor, reference=reference.to_dna(True).to("cpu")),
    }
    return {name: metric.to(images.device) for name, metric in metrics.items()}


def updates(dry: bool) -> Iterable[tuple[str, Figures]]:
    """Overhead of `update` over a bare pass of the network, and the profiler's counts of one call."""
    batches = [(name, dtype, batch) for name in NETWORKS for dtype in ("bfloat16", None) for batch in (32, 256)]
    batches.insert(0, ("ViT-B/16", "bfloat16", 64))  # the bound of 5 %
    for name, dtype, batch in batches[: 1 if dry else None]:
        extractor = extractor_of(name, dtype, dry)
        images = torch.randint(0, 256, (4 if dry else batch, 3, 224, 224), dtype=torch.uint8)
        images = images if dry else images.cuda()
        metrics = metrics_on(extractor, images)
        calls: dict[str, Callable[[], object]] = {"bare": partial(_bare, extractor, images)}
        for label, metric in metrics.items():
            calls[label] = partial(_updated, metric, images, label)
        times = seconds(1 if dry else 9, dry, **calls)
        bare = median(times.pop("bare"))
        figures: Figures = {"bare call, ms": round(bare * 1e3, 3)}
        for label, durations in times.items():
            figures[f"{label}, added"] = f"{(median(durations) / bare - 1) * 100:+.1f} %"
            figures[f"{label}, profile"] = profile(calls[label], dry)
        network = "a small network" if dry else f"{name}, {dtype or 'float32'}"
        yield f"{network}, batch {len(images)}", figures


def _bare(extractor: DNAExtractor, images: Tensor) -> None:
    extractor(images)


def _updated(metric: object, images: Tensor, label: str) -> None:
    if label == "DNARealism":
        metric.reset()  # type: ignore[attr-defined]
        metric.update(images)  # type: ignore[attr-defined]
    else:
        metric.update(images, real=False)  # type: ignore[attr-defined]


def profile(call: Callable[[], object], dry: bool) -> Figures:
    """Kernels launched, and times that the host waited, in one call."""
    from torch.profiler import ProfilerActivity

    activities = [ProfilerActivity.CPU] if dry else [ProfilerActivity.CPU, ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profiler:
        call()
    events = profiler.key_averages()
    counts = {event.key: event.count for event in events}
    return {
        "kernels": sum(
            count
            for key, count in counts.items()
            if key in ("cudaLaunchKernel", "cuLaunchKernel", "cuLaunchKernelEx", "cudaLaunchKernelExC")
        ),
        "waits": sum(count for key, count in counts.items() if "Synchronize" in key and "Device" not in key),
        "operators": sum(count for key, count in counts.items() if key.startswith("aten::")),
    }


def computing(dry: bool) -> Iterable[tuple[str, Figures]]:
    """Milliseconds of `compute`."""
    extractor = extractor_of("ViT-B/16", "bfloat16", dry)
    images = torch.randint(0, 256, (8, 3, 224, 224), dtype=torch.uint8)
    images = images if dry else images.cuda()
    for label, metric in metrics_on(extractor, images).items():
        for _ in range(2):
            _updated(metric, images, label)
        if label != "DNARealism":
            metric.update(images // 2, real=True)  # type: ignore[attr-defined]

        def compute(metric: object = metric) -> None:
            metric._computed = None  # type: ignore[attr-defined]
            metric.compute()  # type: ignore[attr-defined]

        spent = median(seconds(1 if dry else 5, dry, call=compute)["call"])
        yield label, {"compute, ms": round(spent * 1e3, 2)}


def checks(dry: bool) -> Iterable[tuple[str, Figures]]:
    """The tests that use a GPU; the exit code of this command is theirs."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "cuda", "-n", "0", *["--collect-only"] * dry]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    yield "pytest -m cuda", {"exit code": done.returncode, "failed": failed, "said": done.stdout.splitlines()[-1:]}


FIGURES = {figure.__name__: figure for figure in (checks, exactness, counting, updates, computing)}


def row_of(command: list[str], device: str, results: dict[str, Figures]) -> str:
    """The run as a row of docs/stability.md."""

    def said_by(*words: str) -> str:
        with suppress(OSError):
            done = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
            return done.stdout.strip().partition("\n")[0]
        return ""

    driver = said_by("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
    commit = f"`{said_by('git', 'rev-parse', '--short=10', 'HEAD')}`"
    commit += " and edits" * bool(said_by("git", "status", "--porcelain", "--untracked-files=no"))
    failed = [name for name, figures in results.items() if figures.get("exit code")]
    figures_said = [
        f"{name.partition(': ')[2]}: {value}" if key == "said" else f"{name.partition(': ')[2]}: {key} {value}"
        for name, figures in results.items()
        for key, value in figures.items()
        if key in ("said", "DNAEMD, added")
    ]
    verdict = "rehearsed" if "rehearsal" in device else "fails" if failed else "passes"
    cells = [device, driver, torch.__version__, commit, f"`{' '.join(command)}`", str(REPEATS), verdict]
    return f"| {' | '.join([*cells, '; '.join([*failed, *figures_said])])} |\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="Checks and speeds on CUDA")
    parser.add_argument("--dry", action="store_true", help="rehearse on the CPU")
    parser.add_argument("--row", type=Path, help="file that a row with this run is appended to")
    parser.add_argument("--figures", nargs="+", choices=FIGURES, default=list(FIGURES))
    arguments = parser.parse_args()
    if not arguments.dry and not torch.cuda.is_available():
        parser.error("torch sees no GPU here; rehearse with --dry")
    device = "CPU, a rehearsal" if arguments.dry else torch.cuda.get_device_name()
    print(json.dumps({"device": device, "torch": torch.__version__, "cuda": torch.version.cuda}), flush=True)
    results: dict[str, Figures] = {}
    for name in arguments.figures:
        for label, figures in FIGURES[name](arguments.dry):
            print(json.dumps({f"{name}: {label}": figures}), flush=True)
            results[f"{name}: {label}"] = figures
    if arguments.row is not None:
        with arguments.row.open("a") as file:
            file.write(row_of(["python", "tests/benchmarks/cuda.py", *sys.argv[1:]], device, results))
    sys.exit(max(int(str(figures.get("exit code", 0))) for figures in results.values()))


main()
