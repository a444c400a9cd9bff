"""Weights with which a distance ignores one attribute and keeps to the others: Table 2 of the paper, on emoji.

    pip install torchmetrics-dna
    python ignore_attribute.py [--cache CACHE] [--seed 0]

CACHE is a folder that keeps what is downloaded (four npm packages by name, so this wants npm) and measured. The
attributes are who drew an emoji and what kind of thing it shows; skin-tone variants are left out. Weights are learned
from half of the emoji and judged on the other half: an emoji is in the same half whoever drew it. More than 100 %
removed is a weighted distance below 0. Ten minutes on two cores, then a minute and a half for another --seed; 3 GB.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from torchmetrics_dna import DNAExtractor
from torchmetrics_dna.functional import (
    activation_histogram,
    dna_emd,
    dna_frechet,
    layer_frechet_distance,
    learn_neuron_weights,
    sensitivity_deviation,
)

MAKERS = ("apple", "facebook", "google", "twitter")
FOLDS = 16  # of the emoji of each category; half of them are for learning
BINS = 1000
LEAST = 400  # images in each half that an attribute must have to be a target

DRAWN = 2  # folds of a draw

Key = tuple[str, str, int]  # maker, category, fold
Folds = tuple[int, ...]


def fetch(cache: Path) -> dict[str, Path]:
    """Folder of each maker's package."""
    for maker in MAKERS:
        name = f"emoji-datasource-{maker}"
        if not (cache / name / "package").exists():
            subprocess.run(["npm", "pack", "--silent", f"{name}@16.0.0"], cwd=cache, check=True)
            (cache / name).mkdir(exist_ok=True)
            subprocess.run(["tar", "xzf", f"{name}-16.0.0.tgz", "-C", name], cwd=cache, check=True)
    return {maker: cache / f"emoji-datasource-{maker}" / "package" for maker in MAKERS}


def sort_out(packages: dict[str, Path]) -> dict[Key, list[Path]]:
    """Images by maker, category and fold."""
    emoji = json.loads((packages[MAKERS[0]] / "emoji.json").read_text(encoding="utf-8"))
    files: dict[str, list[str]] = {}
    for one in sorted(emoji, key=lambda one: one["unified"]):
        if one["category"] != "Component":  # bare skin tones, five of them
            files.setdefault(one["category"], []).append(one["image"])
    blocks = {}
    for category, names in sorted(files.items()):
        random.Random(0).shuffle(names)
        for maker, package in packages.items():
            paths = [package / "img" / maker / "64" / name for name in names]  # some makers lack some
            for fold in range(FOLDS):
                blocks[maker, category, fold] = [path for path in paths[fold::FOLDS] if path.exists()]
    return blocks


def on_white(path: Path) -> Tensor:
    """An image; what lies under full transparency differs by maker and is not to be seen."""
    with Image.open(path) as file:
        drawing = file.convert("RGBA")
    whole = Image.alpha_composite(Image.new("RGBA", drawing.size, "white"), drawing).convert("RGB")
    return torch.from_numpy(np.array(whole)).permute(2, 0, 1).contiguous()


def measure(extractor: DNAExtractor, paths: list[Path], file: Path) -> tuple[Tensor, Tensor]:
    """Histograms, and the spatial means of each image; kept in a file."""
    if not file.exists():
        low, high = (extractor.neurons.split(bound) for bound in extractor.ranges.bounds())
        found = extractor(torch.stack([on_white(path) for path in paths]))
        counts = [activation_histogram(values, low[name], high[name], BINS) for name, values in found.items()]
        means = [values.flatten(2).mean(2) for values in found.values()]
        unfinished = file.with_suffix(".tmp.npz")
        np.savez_compressed(unfinished, counts=torch.cat(counts).int().numpy(), means=torch.cat(means, 1).numpy())
        unfinished.rename(file)
    with np.load(file) as arrays:
        return torch.from_numpy(arrays["counts"]), torch.from_numpy(arrays["means"]).double()


class Emoji:
    """What was measured, by attribute."""

    def __init__(self, layers: dict[str, slice]) -> None:
        self.layers = layers
        self.means: dict[Key, Tensor] = {}
        self.counts: dict[tuple[str, int], Tensor] = {}

    @property
    def attributes(self) -> list[str]:
        return [*MAKERS, *sorted({category for _, category, _ in self.means})]

    def add(self, key: Key, counts: Tensor, means: Tensor) -> None:
        self.means[key] = means
        for attribute in key[:2]:
            # the histogram of images together is the sum of theirs
            self.counts[attribute, key[2]] = self.counts.get((attribute, key[2]), 0) + counts

    def size(self, attribute: str, folds: Folds) -> int:
        return sum(len(means) for key, means in self.means.items() if attribute in key and key[2] in folds)

    def distances(self, method: str, folds: Folds) -> Tensor:
        """How far images with and without each attribute are apart, ``(attributes, neurons or layers)``."""
        measure = self._by_histograms if method == "dna-emd" else self._by_means
        return torch.stack([measure(method, attribute, folds) for attribute in self.attributes])

    def _by_histograms(self, _: str, attribute: str, folds: Folds) -> Tensor:
        with_it = sum(self.counts[attribute, fold] for fold in folds)
        everything = sum(self.counts[maker, fold] for maker in MAKERS for fold in folds)
        return dna_emd(with_it, everything - with_it, reduction="none")

    def _by_means(self, method: str, attribute: str, folds: Folds) -> Tensor:
        here = {key: means for key, means in self.means.items() if key[2] in folds}
        a, b = (torch.cat([means for key, means in here.items() if (attribute in key) == has]) for has in (True, False))
        if method == "dna-fd":
            return dna_frechet(a.mean(0), a.var(0), b.mean(0), b.var(0), reduction="none")
        pairs = [(a[:, layer], b[:, layer]) for layer in self.layers.values()]
        fds = [layer_frechet_distance(x.mean(0), x.T.cov(), y.mean(0), y.T.cov()) for x, y in pairs]
        return torch.stack(fds)


def judge(learning: Tensor, unseen: Tensor, targets: list[int]) -> Tensor:
    """For each target: its own deviation, and the mean absolute deviation of the others."""
    found = []
    for target in targets:
        others = [number for number in range(len(unseen)) if number != target]
        weights = learn_neuron_weights(learning[target], learning[others])
        deviation = sensitivity_deviation(unseen, weights)
        found.append(torch.stack([deviation[target], deviation[others].abs().mean()]))
    return torch.stack(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "torchmetrics_dna")
    parser.add_argument("--seed", type=int, default=0, help="of the halves")
    arguments = parser.parse_args()
    measured = arguments.cache / "emoji_blocks"
    measured.mkdir(parents=True, exist_ok=True)

    extractor = DNAExtractor("efficientnet_lite0")
    emoji = Emoji(extractor.neurons.slices)
    for key, paths in sort_out(fetch(arguments.cache)).items():
        emoji.add(key, *measure(extractor, paths, measured / f"{'-'.join(map(str, key))}.npz"))
    folds = random.Random(arguments.seed).sample(range(FOLDS), FOLDS)
    half, unseen = tuple(folds[: FOLDS // 2]), tuple(folds[FOLDS // 2 :])
    sizes = [min(emoji.size(attribute, half), emoji.size(attribute, unseen)) for attribute in emoji.attributes]
    targets = [number for number, size in enumerate(sizes) if size >= LEAST]

    print(f"{'':20} target removed   others changed", flush=True)
    for method in ("fd", "dna-fd", "dna-emd"):
        # many small draws: weights that stand on what a few images happen to share do badly on the next ones;
        # the layers are too few to stand on anything of that kind, and fd needs many images
        draws = [half] if method == "fd" else list(combinations(half, DRAWN))
        learning = torch.stack([emoji.distances(method, draw) for draw in draws], 1)
        found = 100 * judge(learning, emoji.distances(method, unseen), targets)
        for target, (removed, changed) in zip(targets, found.tolist(), strict=True):
            print(f"  {emoji.attributes[target]:18} {removed:12.1f} % {changed:14.1f} %")
        missed = (100 - found[:, 0]).abs().mean()
        print(
            f"{method:20} {found[:, 0].mean():12.1f} % {found[:, 1].mean():14.1f} %   off 100 %: {missed:.1f}\n",
            flush=True,
        )


if __name__ == "__main__":
    main()
