"""Cost of the evidence for a distance: the test, counting in folds beside plain counting, and files that keep folds.

    python tests/benchmarks/evidence.py [--images 100] [--rounds 3] [--threads 2]

Counts are drawn at random, as many as some images of a ViT give, and spatial means for fd, as many as the default
extractor gives. The rest is of photographs and that extractor: ``update`` of 32 images with and without folds in one
run, and files with and without folds.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from timing import in_turns

from torchmetrics_dna import DNAEMD, ActivationRanges, DNAExtractor, make_dna
from torchmetrics_dna.demo import photographs
from torchmetrics_dna.dna import HistogramDNA
from torchmetrics_dna.dna.distances import DISTANCES
from torchmetrics_dna.dna.evidence import weigh_evidence
from torchmetrics_dna.dna.features import Features
from torchmetrics_dna.dna.folded import plan_for
from torchmetrics_dna.neurons import Neurons

POSITIONS, FOLDS = 197, 20


def drawn(total: int, num_images: int, seed: int) -> HistogramDNA:
    """A DNA in folds, of random counts: 1000 bins, and 100 in the folds."""
    generator = torch.Generator().manual_seed(seed)
    neurons = Neurons({f"layer {i}": total // 8 for i in range(7)} | {"layer 7": total - 7 * (total // 8)})
    ranges = ActivationRanges(torch.zeros(total), torch.ones(total), neurons)
    images_per_fold = num_images // FOLDS
    folds = []
    for _ in range(FOLDS):
        counts = torch.zeros(total, 100, dtype=torch.int64)
        values = torch.randint(0, 100, (total, images_per_fold * POSITIONS), generator=generator)
        counts.scatter_add_(1, values, torch.ones_like(values))
        folds.append(HistogramDNA(counts, neurons, ranges, images_per_fold, "drawn"))
    counts_of_all = sum(fold.counts for fold in folds).repeat_interleave(10, 1) // 10
    return HistogramDNA(counts_of_all, neurons, ranges, FOLDS * images_per_fold, "drawn", folds=tuple(folds))


def features(neurons: Neurons, num_images: int, seed: int) -> Features:
    """Spatial means, drawn at random."""
    generator = torch.Generator().manual_seed(seed)
    return Features(torch.randn(num_images, neurons.total, generator=generator), neurons, "drawn")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    record = DISTANCES["dna-emd"]
    print(f"| {arguments.threads} threads | median |\n|---|---|")
    for total in (2064, 9984):
        a, b = (drawn(total, arguments.images, seed) for seed in (0, 1))
        values = a.distances(b)

        def weigh(a: HistogramDNA = a, b: HistogramDNA = b, values: torch.Tensor = values) -> None:
            weigh_evidence(values, record.folded(a, b), record.power)

        seconds = in_turns(arguments.rounds, test=weigh)["test"]
        held = sum(fold.counts.nbytes for fold in a.folds)
        print(f"| evidence of {total} neurons, {FOLDS} folds a side | {median(seconds):.2f} s |")
        print(f"| folds of a side | {held / 1e6:.0f} MB |")
    extractor = DNAExtractor()
    of_layers = DISTANCES["fd"]
    for images in (50, 200, 380):
        a_features, b_features = (features(extractor.neurons, images, seed) for seed in (0, 1))
        zeros, folds = torch.zeros(len(extractor.neurons), dtype=torch.float64), torch.arange(images) % FOLDS
        fd_arguments = a_features, b_features, (folds, folds), plan_for(extractor.neurons, [images] * 2)

        def weigh_fd(fd_arguments: tuple[Any, ...] = fd_arguments, values: torch.Tensor = zeros) -> None:
            weigh_evidence(values, of_layers.folded(*fd_arguments), of_layers.power)

        seconds_taken = median(in_turns(1, fd=weigh_fd)["fd"])
        print(f"| evidence of fd, {images} images a side | {seconds_taken:.2f} s |")
    photos = photographs(64)
    images = torch.stack([torch.tensor(photo.tolist(), dtype=torch.uint8) for photo in photos[:32]]).permute(0, 3, 1, 2)
    # an extractor each, for metrics on one share a forward pass
    plain, folded = DNAEMD(extractor), DNAEMD(DNAExtractor(), num_folds=FOLDS)
    seconds = in_turns(
        arguments.rounds, plain=lambda: plain.update(images, True), folded=lambda: folded.update(images, True)
    )
    ratio = median(seconds["folded"]) / median(seconds["plain"])
    print(f"| `update` of 32 images with folds, over that without | {ratio:.3f} |")
    dna = make_dna(photos, extractor, num_folds=FOLDS)
    with tempfile.TemporaryDirectory() as folder:
        for name, value in (("with folds", dna), ("without", replace(dna, folds=()))):
            path = Path(folder) / "x.dna.npz"
            seconds_taken = median(in_turns(arguments.rounds, save=lambda v=value, p=path: v.save(p))["save"])
            print(
                f"| file of 64 images {name} | {path.stat().st_size / 1e6:.2f} MB, written in {seconds_taken:.2f} s |"
            )


if __name__ == "__main__":
    main()
