"""What counting costs on top of a forward pass, and beside the official way of counting.

    python tests/benchmarks/update.py [--batch-size 16] [--rounds 9]

Everything is measured in one run, in turns, and told as ratios of medians, so that a machine whose speed drifts
does not matter. Memory is what torch allocates beyond what lives already, at its peak.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from statistics import median

import timm
import torch
from timing import in_turns
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from torchmetrics_dna import DNAEMD, ActivationRanges, DNAExtractor, DNAFrechet, DNARealism
from torchmetrics_dna.binning import add_counts_
from torchmetrics_dna.demo import photographs

SHAPES = {
    "ViT tokens 16x197x768": (16, 768, 197),
    "conv 32x24x56x56": (32, 24, 56, 56),
    "conv 32x16x112x112": (32, 16, 112, 112),
    "conv 32x1280x7x7": (32, 1280, 7, 7),
}


def peak_bytes(call: Callable[[], object]) -> int:
    """Most memory that torch holds during a call, beyond what it held before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as prof:
        call()
    now = peak = 0
    events = [e for e in prof.profiler.kineto_results.events() if e.name() == "[memory]"]
    for event in sorted(events, key=lambda e: e.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return peak


def official_way(activations: Tensor, low: Tensor, high: Tensor, num_bins: int) -> Tensor:
    """Normalise all in float64, clamp, then one histc per neuron, as published."""
    shape = (1, -1) + (1,) * (activations.ndim - 2)
    centre, half = ((low + high) / 2).view(shape), ((high - low) / 2 + 1e-8).view(shape)
    scaled = ((activations.double() - centre) / half).clamp(-1, 1)
    neurons = range(activations.shape[1])
    return torch.stack([torch.histc(scaled[:, i], num_bins, min=-1, max=1) for i in neurons]).long()


def update_cost(name: str, make: Callable[[], DNAExtractor], images: Tensor, rounds: int) -> None:
    # an extractor for each, or the passes would be shared
    extractor = make()
    ranges = ActivationRanges.observe(extractor(images))
    emd, frechet, auto = DNAEMD(make(), ranges=ranges), DNAFrechet(make()), DNAEMD(make(), ranges="auto")
    auto.update(images, real=True)
    emd.update(images, real=True)
    realism = DNARealism(make(), reference=emd.to_dna(True))
    seconds = in_turns(
        rounds,
        bare=lambda: extractor(images),
        emd=lambda: emd.update(images, real=True),
        auto=lambda: auto.update(images, real=True),
        frechet=lambda: frechet.update(images, real=True),
        realism=lambda: realism.update(images),
    )
    over = {
        metric: median(u / b for u, b in zip(seconds[metric], seconds["bare"], strict=True)) - 1
        for metric in ("emd", "auto", "frechet", "realism")
    }
    bare = median(seconds["bare"]) / len(images) * 1e3
    print(
        f"{name:24} {bare:9.1f} {over['emd']:+12.1%} {over['auto']:+16.1%} {over['frechet']:+14.1%}"
        f" {over['realism']:+14.1%}"
    )


def memory_cost(name: str, extractor: DNAExtractor, images: Tensor) -> None:
    activations = extractor(images)
    ranges = ActivationRanges.observe(activations)
    counts = torch.zeros(extractor.neurons.total, 1000, dtype=torch.int64)
    found = peak_bytes(lambda: add_counts_(counts, activations, *ranges.bounds()))
    largest = max(x.numel() for x in activations.values()) * 8
    print(f"{name:24} {found / 2**20:9.1f} {largest / 2**20:22.1f} {counts.numel() * 8 / 2**20:10.1f}")


def counting_cost(name: str, shape: tuple[int, ...], rounds: int) -> None:
    activations = torch.randn(shape)
    if len(shape) == 3:  # as a transformer gives them: neurons last in memory
        activations = activations.transpose(1, 2).contiguous().transpose(1, 2)
    low, high = (torch.full(shape[1:2], end, dtype=torch.float64) for end in (-4, 4))
    counts = torch.zeros(shape[1], 1000, dtype=torch.int64)
    seconds = in_turns(
        rounds,
        ours=lambda: add_counts_(counts, {"x": activations}, low, high),
        official=lambda: official_way(activations, low, high, 1000),
    )
    ours, official = (median(seconds[way]) / activations.numel() * 1e9 for way in ("ours", "official"))
    print(f"{name:24} {ours:9.2f} {official:12.2f} {official / ours:8.1f}")


def vit() -> DNAExtractor:
    torch.manual_seed(0)
    return DNAExtractor(timm.create_model("vit_base_patch16_224", pretrained=False))


def main() -> None:
    parser = argparse.ArgumentParser(description="What counting costs")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    photos = torch.stack([torch.from_numpy(p) for p in photographs(arguments.batch_size)]).permute(0, 3, 1, 2)
    images = torch.nn.functional.interpolate(photos.float(), (224, 224), mode="bilinear").byte()
    extractors = {
        "efficientnet_lite0": lambda: DNAExtractor("efficientnet_lite0"),
        "vit_base_patch16_224": vit,
    }
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {arguments.batch_size} images in a batch\n")
    print(f"{'update':24} {'bare, ms':>9} {'DNAEMD':>12} {'self-ranging':>16} {'DNAFrechet':>14} {'DNARealism':>14}")
    for name, make in extractors.items():
        update_cost(name, make, images, arguments.rounds)
    print(f"\n{'memory, MiB':24} {'peak':>9} {'largest layer float64':>22} {'counts':>10}")
    for name, make in extractors.items():
        memory_cost(name, make(), images)
    print(f"\n{'ns per activation':24} {'ours':>9} {'official':>12} {'ratio':>8}")
    for name, shape in SHAPES.items():
        counting_cost(name, shape, arguments.rounds)


if __name__ == "__main__":
    main()
