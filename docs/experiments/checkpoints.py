"""Order checkpoints of a GAN, and tell their images apart, by scores of single images (section 5.4 of the paper).

    pip install "torchmetrics-dna[demo]" scikit-learn
    python docs/experiments/checkpoints.py

A GAN is trained on scikit-learn's digits and stopped at five moments. The truth is the moment: images of a later one
should score better, and real digits that it never saw best of all. 64 images of each are ranked against 256 other real
digits, by the distance alone and in contrast to the pool of all that are ranked. Then a fault is planted in a fifth of
the last checkpoint's images: a bright block in a corner.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import baselines
import numpy as np
import results
import torch
from matplotlib.figure import Figure
from scipy.stats import spearmanr
from singles import BATCH, dna_of
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from torch import Tensor

from torchmetrics_dna import DNAExtractor, make_dna
from torchmetrics_dna.functional import dna_realism
from torchmetrics_dna.functional.outliers import outlier_distance
from torchmetrics_dna.images.properties import image_properties
from torchmetrics_dna.statistics.outliers import outlier_reference

sys.path.append(str(Path(__file__).parents[1] / "examples"))
from gan_loop import NOISE, as_images, networks, train

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import nn

STEPS, SEEDS = (50, 200, 800, 3200, 12_800), 5
NUM_IMAGES, NUM_REFERENCE, FAULTY = 64, 256, 0.2
REAL = "real"
POOL, LAST, PLAIN = "dna-emd, contrast with the pool", "dna-emd, contrast with the last checkpoint", "dna-emd"
OUTLIER, NETWORK = "outlier score", "outlier distance of the network alone"
COLOURS = {PLAIN: "second", POOL: "dna-emd", OUTLIER: "dna-fd", "nearest digit, pixels": "KID"}
Scores = dict[str, dict[str, Tensor]]  # by method and group


def generated(
    digits: Tensor,
    steps: Sequence[int],
    num_images: int,
    make: Callable[[], tuple[nn.Module, nn.Module]] = networks,
) -> dict[str, Tensor]:
    """Return digits drawn by one GAN after so many steps of training; ``make`` creates its two networks."""
    generator, discriminator = make()
    optimizers = [torch.optim.Adam(n.parameters(), lr=2e-4, betas=(0.5, 0.999)) for n in (generator, discriminator)]
    found, done = {}, 0
    for step in steps:
        train(generator, discriminator, digits, step - done, optimizers)
        done = step
        with torch.no_grad():
            found[f"{step} steps"] = generator.eval()(torch.randn(num_images, NOISE))
    return found


def pictures(digits: Tensor) -> Tensor:
    return (as_images(digits) * 255).round().byte()


def scores(groups: dict[str, Tensor], reference: Tensor, extractor: DNAExtractor) -> Scores:
    """Scores of all images of all groups, which are one pool; lower is better."""
    shown, real = torch.cat([pictures(digits) for digits in groups.values()]), pictures(reference)
    last = [name for name in groups if name != REAL][-1]
    counts, pool, latest = (dna_of(some, extractor).counts for some in (real, shown, pictures(groups[last])))
    assert extractor.ranges is not None
    bounds = extractor.ranges.bounds()
    outliers = outlier_reference(make_dna(list(real), extractor, kind="layer-gaussian"))
    known = [extractor(batch) for batch in real.split(BATCH)]
    means = torch.cat([one["head"].mean((2, 3)) for one in known])
    vectors = torch.cat([baselines.perceptual_vectors(one) for one in known])
    parts: dict[str, list[Tensor]] = {}
    for batch in shown.split(BATCH):
        found = extractor(batch)
        head = found["head"].mean((2, 3))
        of_layers = {layer: found[layer].mean((2, 3)) for layer in outliers.gaussians}
        unusual = outliers.compare(of_layers, image_properties(batch))
        for method, values in {
            OUTLIER: outliers.surprisals(unusual).sum(1),
            NETWORK: outlier_distance(unusual.layers),
            PLAIN: dna_realism(found, counts, *bounds),
            POOL: dna_realism(found, counts, *bounds, contrast_counts=pool),
            LAST: dna_realism(found, counts, *bounds, contrast_counts=latest),
            "nearest digit, pixels": baselines.pixel_distances(batch, real).amin(1),
            "nearest digit, SSIM": baselines.ssim_distances(batch, real).amin(1),
            "nearest digit, spatial means": torch.cdist(head, means).amin(1),
            "nearest digit, perceptual loss": baselines.perceptual_distances(
                baselines.perceptual_vectors(found), vectors
            ).amin(1),
            "rarity score": baselines.rarity(head, means, 3),
        }.items():
            parts.setdefault(method, []).append(values.double())
    sizes = [len(digits) for digits in groups.values()]
    every = {method: torch.cat(values).split(sizes) for method, values in parts.items()}
    return {method: dict(zip(groups, values, strict=True)) for method, values in every.items()}


def area(better: Tensor, worse: Tensor) -> float:
    """How often one of the first scores better than one of the second: 0.5 by chance."""
    truth = [0] * len(better) + [1] * len(worse)
    return float(roc_auc_score(truth, torch.cat([better, worse])))


def judge(found: Scores, faulty: Scores) -> dict[str, dict[str, float]]:
    """By method: how well it orders the groups, and tells single images apart."""
    told = {}
    for method, of in found.items():
        names = list(of)
        means = [float(of[name].mean()) for name in names]
        first, *_, last, real = (of[name] for name in names)
        told[method] = {
            "order of the means": float(spearmanr(means, range(len(means), 0, -1)).statistic),
            "real against the last": area(real, last),
            "last against the first": area(last, first),
            "fault in a fifth of the last": area(faulty[method]["right"], faulty[method]["faulty"]),
        }
    return told


def one_seed(
    seed: int, digits: Tensor, steps: Sequence[int], sizes: tuple[int, int], extractor: DNAExtractor
) -> tuple[Scores, Scores]:
    """Scores of the checkpoints of one training, and of its last one's images with a fault in some."""
    torch.manual_seed(seed)
    number, num_reference = sizes
    real, reference, _ = digits[torch.randperm(len(digits))].split([number, num_reference, len(digits) - sum(sizes)])
    seen = digits[[i for i in range(len(digits)) if not (digits[i] == real).all(1).any()]]
    groups = generated(seen, steps, number) | {REAL: real}
    last = groups[f"{steps[-1]} steps"]
    faults = round(FAULTY * number)
    spoilt = last[:faults].clone().view(-1, 8, 8)
    spoilt[:, :2, :2] = 1
    faulty = {"faulty": spoilt.flatten(1), "right": last[faults:]}
    return scores(groups, reference, extractor), scores(faulty, reference, extractor)


def plot(every: list[Scores]) -> Figure:
    """Plot mean scores over the moments, one line for each seed, for four methods."""
    figure = Figure(figsize=(13, 3.6), layout="constrained")
    figure.suptitle("Mean score of 64 images at five moments of a GAN's training, and of real digits; five trainings")
    for axis, (method, colour) in zip(figure.subplots(1, len(COLOURS)), COLOURS.items(), strict=True):
        for found in every:
            means = [float(values.mean()) for values in found[method].values()]
            axis.plot(range(len(means)), means, marker="o", markersize=4, color=results.COLOURS[colour], alpha=0.8)
        labels = [name.removesuffix(" steps") for name in every[0][method]]
        axis.set_xticks(range(len(labels)), labels)
        axis.set_title(method, loc="left", fontsize=10)
        axis.set_xlabel("steps of training")
        axis.set_ylabel("bins" if method.startswith("dna-emd") else "score" if method == OUTLIER else "L2 of 0 to 255")
        axis.spines[["top", "right"]].set_visible(False)
    return figure


def conclude(told: list[dict[str, dict[str, float]]]) -> str:
    """Write the text about the results from the numbers."""

    def each(method: str, what: str) -> str:
        return results.span([one[method][what] for one in told])

    order, fault = "order of the means", "fault in a fifth of the last"
    return (
        "The first values are rank correlations of the mean score with the true order, depending on the training."
        f" They are {each(POOL, order)} for the contrast with the pool, {each(OUTLIER, order)} for the outlier score"
        f" and {each(PLAIN, order)} for the distance alone. If a fifth of the ranked images has a fault, the area is"
        f" {each(POOL, fault)} for the contrast, {each(OUTLIER, fault)} for the outlier score and {each(PLAIN, fault)}"
        " for the distance alone."
    )


def main() -> None:
    arguments = results.parser(__doc__).parse_args()
    folder = results.begin(arguments)
    quick = arguments.quick
    steps, seeds = ((5, 10), 1) if quick else (STEPS, SEEDS)
    sizes = (5, 8) if quick else (NUM_IMAGES, NUM_REFERENCE)
    digits = torch.from_numpy(load_digits().data).float() / 16
    extractor = DNAExtractor("efficientnet_lite0")
    every, told = [], []
    for seed in range(seeds):
        found, faulty = one_seed(seed, digits, steps, sizes, extractor)
        every.append(found)
        told.append(judge(found, faulty))
        print(f"seed {seed}", flush=True)
    rows = []
    for method in told[0]:
        of_all = {what: [one[method][what] for one in told] for what in told[0][method]}
        rows.append([method, *(f"{np.mean(v):.2f} ({min(v):.2f} to {max(v):.2f})" for v in of_all.values())])
    results.write(
        folder,
        "checkpoints",
        here=conclude(told),
        tables=[results.table(["mean over seeds (lowest to highest)", *told[0][PLAIN]], rows)],
        figures={"": plot(every)},
        seeds=f"0 to {seeds - 1}, of the training, its images and which digits are real ones to rank and reference",
        data=["scikit-learn's digits"],
    )


if __name__ == "__main__":
    main()
