"""How far dna-mind, from histograms, is from mind, from features, and how long both take.

    python tests/benchmarks/mind.py [--draws 3] [--images 50 200]

Features are spatial means of the default extractor for emoji of npm's emoji-datasource-google and -twitter at 64
pixels (as in docs/experiments). A draw takes so many at random: "equal" are two sets of one maker, "other" are of both,
never of the same emoji. Errors are relative to mind of the same images: their mean over draws, and the largest.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from statistics import mean, median

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[2] / "docs" / "experiments"))
from data import emoji

from torchmetrics_dna import DNAExtractor
from torchmetrics_dna.functional import mind
from torchmetrics_dna.sets.features import Features
from torchmetrics_dna.sets.job import Job
from torchmetrics_dna.sets.loading import Loading
from torchmetrics_dna.sets.measure import measure
from torchmetrics_dna.tally import SlicedTally

LAYERS, BINS = ("block_0", "head"), (100, 250, 1000, 4000)


def features(maker: str, count: int) -> dict[str, Tensor]:
    """Of each layer, ``(images, n)``, of so many emoji at random, the same of each maker."""
    extractor = DNAExtractor(layers=LAYERS)
    paths = [str(one.path) for one in emoji(maker)]
    paths = [paths[i] for i in torch.randperm(len(paths), generator=torch.Generator().manual_seed(0))[:count].tolist()]
    job = Job(extractor, {"means": Features(all_layers=True)}, Loading(batch_size=32))
    found = measure(job, paths).kept["means"]
    return dict(zip(LAYERS, found.split(list(extractor.neurons.values()), 1), strict=True))


def from_histograms(layer: str, sides: tuple[Tensor, Tensor], num_bins: int) -> float:
    tally = SlicedTally(DNAExtractor(layers=[layer]), num_bins)
    dnas = []
    for rows in sides:
        side = tally.empty("cpu")
        for batch in rows.split(32):
            tally.add_(side, [{layer: batch}], len(batch))
        dnas.append(tally.value(side))
    return float(dnas[0].distances(dnas[1])[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--images", type=int, nargs="+", default=[50, 200])
    options = parser.parse_args()
    torch.set_num_threads(1)
    makers = [features(maker, 2 * max(options.images)) for maker in ("google", "twitter")]
    for layer in LAYERS:
        for images in options.images:
            for kind, (a, b) in (("equal", (0, 0)), ("other", (0, 1))):
                seconds: list[float] = []
                errors: dict[int, list[float]] = {num_bins: [] for num_bins in BINS}
                for seed in range(options.draws):
                    order = torch.randperm(len(makers[0][layer]), generator=torch.Generator().manual_seed(seed))
                    sides = makers[a][layer][order[:images]], makers[b][layer][order[images : 2 * images]]
                    exact = float(mind(*sides))
                    for num_bins in BINS:
                        start = time.perf_counter()
                        errors[num_bins].append(from_histograms(layer, sides, num_bins) / exact - 1)
                        seconds.append(time.perf_counter() - start)
                cells = [f"{mean(e):+.2%} ({max(e, key=abs):+.2%})" for e in errors.values()]
                print(f"{layer}, {images} images, {kind}: {', '.join(cells)}; {median(seconds):.2f} s", flush=True)


if __name__ == "__main__":
    main()
