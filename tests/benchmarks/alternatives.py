"""What three less plain ways of doing things gain over the plain ones: a table, measured in one run.

    python tests/benchmarks/alternatives.py [--rounds 9]

- threads: tasks on torch's own OpenMP threads (kernels/threads.py), against a pool of threads, after a forward pass;
- parts: a batch's parts read as one array (binning/cpu_tiles.py), against a call for each part;
- few columns: the root of a covariance of low rank from random directions (functional/layer_frechet.py), against
  eigenvectors.

Calls take turns; what is told are medians, and the median ratio of the same turn.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from statistics import median
from unittest.mock import patch

import torch
from timing import in_turns

from torchmetrics_dna import DNAEMD, DNAExtractor
from torchmetrics_dna.binning import bins_within, cpu
from torchmetrics_dna.functional import layer_frechet, layer_frechet_distance
from torchmetrics_dna.kernels import threads

BINS = 1000


def compared(name: str, rounds: int, ours: Callable[[], object], plain: Callable[[], object]) -> None:
    seconds = in_turns(rounds, ours=ours, plain=plain)
    ratio = median(b / a for a, b in zip(seconds["ours"], seconds["plain"], strict=True))
    ours_ms, plain_ms = (median(times) * 1e3 for times in (seconds["ours"], seconds["plain"]))
    print(f"| {name} | {ours_ms:.1f} | {plain_ms:.1f} | {ratio:.2f} |", flush=True)


def on_threads(rounds: int) -> None:
    extractor = DNAExtractor()
    images = torch.randint(0, 256, (16, 3, 224, 224), dtype=torch.uint8)

    def update(metric: DNAEMD, parallel: bool) -> None:
        with patch.object(threads, "_torch_parallel", threads._torch_parallel if parallel else lambda: None):
            metric.update(images, real=True)

    metric = DNAEMD(extractor)
    count = torch.get_num_threads()
    compared(
        f"threads: `update` of 16 images, {count} threads",
        rounds,
        lambda: update(metric, True),
        lambda: update(metric, False),
    )


def in_parts(rounds: int) -> None:
    activations = DNAExtractor().in_parts(torch.randint(0, 256, (32, 3, 224, 224), dtype=torch.uint8))
    neurons = sum(layer.shape[1] for layer in activations[0].values())
    low, high = (torch.full((neurons,), end, dtype=torch.float64) for end in (-4, 4))
    bins, counts = bins_within(low, high, BINS), torch.zeros(neurons, BINS, dtype=torch.int64)

    def one_by_one() -> None:
        for part in activations:
            cpu.add_counts_(counts, [part], bins)

    name = f"parts: counts of 32 images in {len(activations)} parts"
    compared(name, rounds, lambda: cpu.add_counts_(counts, activations, bins), one_by_one)


def few_columns(rounds: int) -> None:
    for neurons, images in ((1280, 200), (2048, 200), (2048, 500)):
        a, b = (torch.randn(images, neurons, dtype=torch.float64) for _ in range(2))
        given = a.mean(0), a.T.cov(), b.mean(0), b.T.cov()

        def plain(given: tuple[torch.Tensor, ...] = given) -> None:
            with patch.object(layer_frechet, "_few_columns", lambda *_: None):
                layer_frechet_distance(*given)

        name = f"few columns: fd of {neurons} neurons, {images} images"
        compared(name, max(1, rounds // 3), lambda given=given: layer_frechet_distance(*given), plain)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    torch.manual_seed(0)
    print("| what | ms | plain, ms | plain over ours |\n|---|---|---|---|")
    for part in (on_threads, in_parts, few_columns):
        part(rounds)
