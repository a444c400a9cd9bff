"""Size of a DNA file and time to write and read it, beside a file of the official code.

    python tests/benchmarks/files.py [--images 48] [--rounds 3]

The DNA is that of a ViT-B/16 (9984 neurons, 1000 bins), with random weights, over crops of photographs that
scikit-image ships. For large sets, its histograms are smoothed and drawn from again, as many activations as 5,000 and
50,000 images give. The official way is ``numpy.savez_compressed`` of int32 counts.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
import timm
import torch
from timing import in_turns
from torch.nn.functional import avg_pool1d

from torchmetrics_dna import ActivationRanges, DNAExtractor, make_dna
from torchmetrics_dna.demo import photographs
from torchmetrics_dna.dna import HistogramDNA

POSITIONS = 197


def measured(num_images: int) -> HistogramDNA:
    """The DNA of some photographs, within ranges that were seen on all of them."""
    torch.manual_seed(0)
    network = timm.create_model("vit_base_patch16_224", pretrained=False)
    extractor = DNAExtractor(network, layers=[*(f"blocks.{i}" for i in range(12)), "norm"])
    photos = photographs(num_images)
    ranges = make_dna(photos, extractor, ranges="auto").ranges
    return make_dna(photos, extractor, ranges=ActivationRanges(ranges.minimum, ranges.maximum, ranges.neurons))


def drawn(dna: HistogramDNA, num_images: int) -> HistogramDNA:
    """The DNA of more images, from the smoothed histograms of a few."""
    smooth = avg_pool1d(dna.counts.double()[None], 21, 1, 10)[0].numpy()
    shares = smooth / smooth.sum(1, keepdims=True)
    random = np.random.default_rng(0)
    counts = np.stack([random.multinomial(num_images * POSITIONS, row / row.sum()) for row in shares])
    return replace(dna, counts=torch.from_numpy(counts), num_images=num_images)


def official_write(dna: HistogramDNA, path: Path) -> None:
    np.savez_compressed(path, **{layer: counts.numpy().astype(np.int32) for layer, counts in dna.by_layer().items()})


def official_read(path: Path) -> dict[str, torch.Tensor]:
    with np.load(path) as file:
        return {layer: torch.from_numpy(file[layer]) for layer in file.files}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    dna_of_few = measured(arguments.images)
    print(f"{'images':>7}  {'':8}  {'MB':>6}  {'write s':>8}  {'read s':>7}")
    for dna in (dna_of_few, drawn(dna_of_few, 5_000), drawn(dna_of_few, 50_000)):
        with tempfile.TemporaryDirectory() as folder:
            report(dna, Path(folder, "x.dna.npz"), Path(folder, "x.npz"), arguments.rounds)


def report(dna: HistogramDNA, ours: Path, official: Path, rounds: int) -> None:
    write = in_turns(rounds, ours=lambda: dna.save(ours), official=lambda: official_write(dna, official))
    read = in_turns(rounds, ours=lambda: HistogramDNA.load(ours), official=lambda: official_read(official))
    for name, path in (("ours", ours), ("official", official)):
        size, seconds = path.stat().st_size / 1e6, [median(turns[name]) for turns in (write, read)]
        print(f"{dna.num_images:>7}  {name:8}  {size:6.2f}  {seconds[0]:8.2f}  {seconds[1]:7.2f}")


if __name__ == "__main__":
    main()
