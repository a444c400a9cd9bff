"""Measure the cost of counting, updates, scores and distances: the figures of docs/numbers.md, in one run.

    python tests/benchmarks/performance.py [--rounds 9] [--sections counting update ...]

Calls take turns. Figures are medians, or medians of the ratio to the bare call of the same turn, so that a machine
whose speed drifts does not matter. malloc is set as the command line sets it; `loop.py` has a user's loop.
"""

from __future__ import annotations

import argparse
import resource
from collections.abc import Callable
from functools import partial
from statistics import median

import timm
import torch
from timing import in_turns
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance

from torchmetrics_dna import DNAEMD, ActivationRanges, DNAExtractor, DNAFrechet, DNARealism, make_dna
from torchmetrics_dna.binning import Activations, add_counts_, bins_within, histogram
from torchmetrics_dna.demo import photographs
from torchmetrics_dna.extractors.cpu import keep_freed_memory
from torchmetrics_dna.functional import dna_emd
from torchmetrics_dna.functional.emd import emd_of_rows

BINS = 1000
SHAPES = {
    "ViT tokens 16x197x768": (16, 768, 197),
    "conv 32x24x56x56": (32, 24, 56, 56),
    "conv 32x16x112x112": (32, 16, 112, 112),
    "conv 32x1280x7x7": (32, 1280, 7, 7),
}


def networks() -> dict[str, Callable[[], DNAExtractor]]:
    def build(name: str) -> Callable[[], DNAExtractor]:
        def make() -> DNAExtractor:
            torch.manual_seed(0)
            return DNAExtractor(timm.create_model(name, pretrained=False))

        return make

    return {
        "efficientnet_lite0": DNAExtractor,
        "vit_base_patch16_224": build("vit_base_patch16_224"),
        "resnet50": build("resnet50"),
    }


def official_way(activations: Tensor, low: Tensor, high: Tensor, num_bins: int) -> Tensor:
    """Normalise all in float64, clamp, then one histc per neuron, as published."""
    shape = (1, -1) + (1,) * (activations.ndim - 2)
    centre, half = ((low + high) / 2).view(shape), ((high - low) / 2 + 1e-8).view(shape)
    scaled = ((activations.double() - centre) / half).clamp(-1, 1)
    neurons = range(activations.shape[1])
    return torch.stack([torch.histc(scaled[:, i], num_bins, min=-1, max=1) for i in neurons]).long()


def plain_way(counts: Tensor, activations: Activations, bins: object) -> None:
    activations.check()
    for rows, layer in activations.placed():
        histogram.add_layer_(counts[rows], layer, bins.take(rows))


def layer_of(shape: tuple[int, ...]) -> Tensor:
    activations = torch.randn(shape)
    if len(shape) == 3:  # as a transformer gives them: neurons last in memory
        activations = activations.transpose(1, 2).contiguous().transpose(1, 2)
    return activations


def counting(rounds: int) -> None:
    ways = f"{'read':>7} {'numba':>7} {'torch':>7} {'official':>9} {'numba is':>10} {'torch is':>10}"
    print(f"\n{'ns per activation':24} {ways}")
    for name, shape in SHAPES.items():
        for last in (False, True):
            if last and len(shape) == 3:
                continue
            x = layer_of(shape)
            x = x.to(memory_format=torch.channels_last) if last else x
            low, high = (torch.full(shape[1:2], end, dtype=torch.float64) for end in (-4, 4))
            bins = bins_within(low, high, BINS)
            counts = torch.zeros(shape[1], BINS, dtype=torch.int64)
            seconds = in_turns(
                rounds,
                read=lambda x=x: torch.aminmax(x),
                numba=lambda x=x, c=counts, b=bins: add_counts_(c, Activations({"x": x}), b),
                torch=lambda x=x, c=counts, b=bins: plain_way(c, Activations({"x": x}), b),
                official=lambda x=x, lo=low, hi=high: official_way(x, lo, hi, BINS),
            )
            read, ours, plain, official = (median(times) / x.numel() * 1e9 for times in seconds.values())
            label = name + (" last" if last else "")
            print(
                f"{label:24} {read:7.2f} {ours:7.2f} {plain:7.2f} {official:9.2f} {official / ours:8.0f} x"
                f" {official / plain:8.1f} x"
            )


def pictures(count: int) -> Tensor:
    photos = torch.stack([torch.from_numpy(photo) for photo in photographs(count)]).permute(0, 3, 1, 2)
    return nn.functional.interpolate(photos.float(), (224, 224), mode="bilinear").byte()


def update(rounds: int) -> None:
    images = pictures(16)
    columns = ("bare again", "in parts", "DNAEMD", "auto", "debias", "DNARealism", "DNAFrechet", "FID")
    print(f"\n{'update, 16 images':24} {'bare, ms':>9}" + "".join(f"{name:>12}" for name in columns))
    for name, make in networks().items():
        bare = make()
        ranges = ActivationRanges.observe(bare(images))
        emd = DNAEMD(make(), ranges=ranges)
        emd.update(images, real=True)
        layer = list(bare.neurons)[-1]
        # an extractor for each, or the passes would be shared
        calls = {
            "DNAEMD": emd,
            "auto": DNAEMD(make(), ranges="auto"),
            "debias": DNAEMD(make(), ranges=ranges, debias=True),  # keeps folds of images
            "DNARealism": DNARealism(make(), reference=emd.to_dna(True)),
            "DNAFrechet": DNAFrechet(make()),
            "FID": FrechetInceptionDistance(make().pooled(layer)),
        }
        seconds = in_turns(
            rounds,
            **dict.fromkeys(("bare", "bare again"), partial(bare, images)),
            **{"in parts": lambda bare=bare: [part.clear() for part in bare.in_parts(images)]},
            **{
                key: (lambda m=metric: m.update(images))
                if key == "DNARealism"
                else (lambda m=metric: m.update(images, True))
                for key, metric in calls.items()
            },
        )
        ratios = [median(u / b for u, b in zip(seconds[key], seconds["bare"], strict=True)) - 1 for key in columns]
        print(f"{name:24} {median(seconds['bare']) * 1e3:9.1f}" + "".join(f"{ratio:+12.1%}" for ratio in ratios))
    computing(images, rounds)


def computing(images: Tensor, rounds: int) -> None:
    print(f"\n{'compute, ms':24}" + "".join(f"{name:>12}" for name in ("DNAEMD", "auto", "DNAFrechet", "FID")))
    for name, make in networks().items():
        extractor = make()
        ranges = ActivationRanges.observe(extractor(images))
        metrics = [
            DNAEMD(extractor, ranges=ranges, compute_with_cache=False),
            DNAEMD(extractor, ranges="auto", compute_with_cache=False),
            DNAFrechet(extractor, compute_with_cache=False),
            FrechetInceptionDistance(extractor.pooled(list(extractor.neurons)[-1]), compute_with_cache=False),
        ]
        for metric in metrics:
            for real in (True, False):
                metric.update(images.flip(0 if real else 3), real)
        seconds = in_turns(min(rounds, 5), **{str(i): metric.compute for i, metric in enumerate(metrics)})
        print(f"{name:24}" + "".join(f"{median(times) * 1e3:12.1f}" for times in seconds.values()))


def scores(rounds: int) -> None:
    """Scores of 32 images."""
    images = pictures(32)
    emd = DNAEMD(DNAExtractor())
    emd.update(images, real=True)
    dna = emd.to_dna(True)
    bare = DNAExtractor()
    ways = {"distance": None, "contrast with a DNA": dna}
    metrics = {
        name: DNARealism(DNAExtractor(), reference=dna, contrast=way, compute_with_cache=False)
        for name, way in ways.items()
    }
    of_layers = make_dna(images, DNAExtractor(), kind="layer-gaussian")
    metrics["outlier"] = DNARealism(DNAExtractor(), reference=of_layers, compute_with_cache=False)

    def score(metric: DNARealism) -> None:
        metric.reset()
        metric.update(images)
        metric.compute()

    calls = {name: partial(score, metric) for name, metric in metrics.items()}
    seconds = in_turns(rounds, bare=partial(bare, images), again=partial(bare, images), **calls)
    print(f"\nscores of 32 images, default extractor; bare call {median(seconds['bare']) * 1e3:.0f} ms")
    for name in ("again", *calls):
        rounds_of = list(zip(seconds[name], seconds["distance"], seconds["bare"], strict=True))
        ratio, beyond = median(u / b for u, _, b in rounds_of) - 1, median((u - d) / b for u, d, b in rounds_of)
        print(f"{name:24} {ratio:+9.1%} beyond the bare call, {beyond:+.1%} of it beyond the distance")


def distance(rounds: int) -> None:
    a, b = (torch.randint(0, 9, (9984, BINS)) for _ in "ab")
    dna_emd(a[:2], b[:2])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    dna_emd(a, b)
    growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    seconds = in_turns(rounds, numba=lambda: dna_emd(a, b), torch=lambda: emd_of_rows(a, b))
    times = {name: median(values) * 1e3 for name, values in seconds.items()}
    print(f"\ndna_emd, 9984 x {BINS}: {times['numba']:.1f} ms, {growth:.1f} MiB above its inputs", end="")
    print(f"; torch {times['torch']:.0f} ms")


SECTIONS = {
    "counting": counting,
    "update": update,
    "scores": scores,
    "distance": distance,
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Cost of counting")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    arguments = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, medians of {arguments.rounds}")
    keep_freed_memory()
    for section in arguments.sections:
        SECTIONS[section](arguments.rounds)


if __name__ == "__main__":
    main()
