"""Neuron activation coverage (NAC) beside the scores of :func:`rank`: which single pictures are off?

    pip install "torchmetrics-dna[demo]" scikit-learn
    python docs/experiments/activation_coverage.py

Five kinds that chose nothing. NAC (Liu et al., ICLR 2024, arXiv 2306.02879) is of the default network with its
classifier, by the settings of its authors' code for ResNet on ImageNet: of the pooled features alone, their default, or
of four layers. "Scaled" is of four layers, each as steep as its reference's states are spread, with the bins of the
first. All scores know the same pictures of the reference. Each picture is measured once; a draw takes some for
the reference, others for an album, and spoilt ones of yet others. ``--activations FOLDER`` keeps the measurements.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import results
import torch
from kinds_held_out import AT_HAND, NUMBERS, packages, pictures
from outliers import FAULTS, Fault, by_place
from sklearn.metrics import roc_auc_score
from torch import Tensor

from torchmetrics_dna import DNAExtractor
from torchmetrics_dna.functional.outliers import (
    gaussians_of_means,
    layers_for_outliers,
    neighbourhoods,
    outlier_scores,
)
from torchmetrics_dna.images.resize import resize_image

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Picture = NDArray[np.uint8]

COUNT, SPOILT, REFERENCE, CLEAN, FAULTY, DRAWS, BATCH = 300, 60, 150, 60, 20, 40, 10
LOCAL, HEAD = "block_2", "head"
# of each layer how many pictures fill a bin, bins, and steepness: ResNet's avgpool, layer3, layer2 and layer1, at the
# same strides
SETTINGS = {
    HEAD: (10, 50, 3000.0),
    "block_4": (500, 50, 300.0),
    "block_2": (50, 500, 0.01),
    "block_1": (5000, 1000, 1.0),
}
NAC = ("NAC, pooled features", "NAC, four layers", "NAC, scaled")
SCORES = ("outlier score", "local score", *NAC)


def noisy(picture: Picture, number: int, *_: object, deviation: float = 20) -> Picture:
    noise = np.random.default_rng(number).normal(0, deviation, picture.shape)
    return (picture + noise).round().clip(0, 255).astype(np.uint8)


CHOSEN = ("blur 1 px", "blur 2 px", "JPEG 20", "inverted", "another kind", "block 1/5")
PLANTED = {"noise 20": Fault(noisy)} | {name: FAULTS[name] for name in CHOSEN}


class Measured(NamedTuple):
    """Values of pictures, a row each: spatial means by layer, places of one layer, and NAC's products by layer."""

    means: dict[str, Tensor]
    places: Tensor
    products: dict[str, Tensor]

    def take(self, rows: Tensor) -> Measured:
        means, products = ({layer: x[rows] for layer, x in of.items()} for of in (self.means, self.products))
        return Measured(means, self.places[rows], products)


def measure(images: Sequence[Picture], extractor: DNAExtractor) -> Measured:
    """Run pictures through the network and its classifier, and back."""
    parts = [_measure(images[first : first + BATCH], extractor) for first in range(0, len(images), BATCH)]
    means, products = (
        {layer: torch.cat([getattr(part, of)[layer] for part in parts]) for layer in getattr(parts[0], of)}
        for of in ("means", "products")
    )
    return Measured(means, torch.cat([part.places for part in parts]), products)


def _measure(images: Sequence[Picture], extractor: DNAExtractor) -> Measured:
    network, maps = extractor.network, dict[str, Tensor]()
    hooks = [
        module.register_forward_hook(lambda _, __, output, layer=f"block_{i}": maps.update({layer: output}))
        for i, module in enumerate(network.blocks)
    ]
    resized = np.stack([resize_image(image, (224, 224)) for image in images])
    inputs = (2 * torch.from_numpy(resized) - 1).requires_grad_()
    with torch.enable_grad():
        pooled = network(inputs).mean((2, 3))
        logs = network.classifier(pooled).log_softmax(1)
        layers = {HEAD: pooled} | {layer: maps[layer] for layer in SETTINGS if layer != HEAD}
        gradients = torch.autograd.grad(-logs.mean(1).sum(), list(layers.values()))
    for hook in hooks:
        hook.remove()
    sums = [x.detach().flatten(2).sum(2) if x.ndim > 2 else x.detach() for x in (*layers.values(), *gradients)]
    products = {layer: sums[i] * sums[i + len(layers)] for i, layer in enumerate(layers)}
    means = {layer: x.detach().double().mean((2, 3)) for layer, x in maps.items()}
    return Measured(means, neighbourhoods(maps[LOCAL].detach()).float(), products)


def edges(bins: int) -> Tensor:
    """The authors' edges of bins: denser towards 1/2 than equal ones."""
    lower = np.log(np.linspace(1, 1000**0.5, bins // 2)) / np.log(1000)
    both = np.concatenate([lower[:-1], (1 - lower)[::-1]])
    both[-1] += 0.01
    return torch.from_numpy(np.append(both, 1.2))


def uncovered(reference: Tensor, queries: Tensor, least: int, bins: int, steepness: float) -> Tensor:
    """1 less the coverage of the neurons' states: the mean over neurons of how full the bin of each state is."""
    in_reference, in_queries = (
        torch.bucketize((steepness * x.double()).sigmoid(), edges(bins), right=True) - 1 for x in (reference, queries)
    )
    counts = torch.zeros(bins - 1, in_reference.shape[1])
    counts.scatter_add_(0, in_reference, torch.ones(in_reference.shape))
    return 1 - (counts / least).clamp(max=1).gather(0, in_queries).mean(1)


def scores_of(reference: Measured, queries: Measured) -> dict[str, Tensor]:
    """All scores, higher for what is off."""
    small = layers_for_outliers({layer: x.shape[1] for layer, x in reference.means.items()})
    gaussians = gaussians_of_means({layer: reference.means[layer] for layer in small})
    products = {layer: (reference.products[layer], queries.products[layer]) for layer in SETTINGS}
    of_layers = {layer: uncovered(*of, *SETTINGS[layer]) for layer, of in products.items()}
    scaled = [uncovered(*of, *SETTINGS[HEAD][:2], 1 / float(of[0].std())) for of in products.values()]
    values = (
        outlier_scores(queries.means, gaussians),
        by_place(reference.places, queries.places),
        of_layers[HEAD],
        torch.stack(list(of_layers.values())).mean(0),
        torch.stack(scaled).mean(0),
    )
    return dict(zip(SCORES, values, strict=True))


def areas(
    plain: Measured, spoilt: dict[str, Measured], sizes: tuple[int, int, int], draws: int
) -> dict[tuple[str, str], list[float]]:
    """Areas under the ROC curve by score and fault, one for each draw; the first of the plain ones are those spoilt."""
    found: dict[tuple[str, str], list[float]] = {}
    num_spoilt = len(next(iter(spoilt.values())).places)
    (reference, clean, faulty), generator = sizes, torch.Generator().manual_seed(0)
    truth = np.repeat([0, 1], [clean, faulty])
    for _ in range(draws):
        order = num_spoilt + torch.randperm(len(plain.places) - num_spoilt, generator=generator)
        off = torch.randperm(num_spoilt, generator=generator)[:faulty]
        of_reference = plain.take(order[:reference])
        of_clean = scores_of(of_reference, plain.take(order[reference : reference + clean]))
        for fault, measured in spoilt.items():
            of_faulty = scores_of(of_reference, measured.take(off))
            for score in SCORES:
                both = torch.cat([of_clean[score], of_faulty[score]])
                found.setdefault((score, fault), []).append(float(roc_auc_score(truth, both)))
    return found


def main() -> None:
    parser = results.parser(__doc__)
    parser.add_argument("--activations", type=Path, help="folder that keeps what was measured")
    arguments = parser.parse_args()
    folder, quick = results.begin(arguments), arguments.quick
    numbers = AT_HAND if quick else NUMBERS
    count, num_spoilt, draws = (40, 8, 2) if quick else (COUNT, SPOILT, DRAWS)
    sizes = (20, 10, 4) if quick else (REFERENCE, CLEAN, FAULTY)
    extractor = DNAExtractor("efficientnet_lite0")
    names, found = list(numbers), dict[str, dict[tuple[str, str], list[float]]]()
    for i, name in enumerate(names):
        kept = None if arguments.activations is None else arguments.activations / f"coverage_{name}.pt"
        if kept is None or not kept.exists():
            own, foreign = (pictures(of, numbers[of])[0][:count] for of in (name, names[(i + 1) % len(names)]))
            spoil = {fault: [of.spoil(x, k, own, foreign) for k, x in enumerate(own[:num_spoilt])]
                     for fault, of in PLANTED.items()}  # fmt: skip
            measured = [measure(images, extractor) for images in (own, *spoil.values())]
            if kept is not None:
                torch.save([tuple(each) for each in measured], kept)
        else:
            measured = [Measured(*each) for each in torch.load(kept)]
        found[name] = areas(measured[0], dict(zip(PLANTED, measured[1:], strict=True)), sizes, draws)
        print(name, flush=True)
    mean = {key: float(np.mean([of[key] for of in found.values()])) for key in next(iter(found.values()))}
    rows = [
        [score, *(f"{mean[score, fault]:.2f}" for fault in PLANTED),
         f"{np.mean([mean[score, fault] for fault in PLANTED]):.3f}"] for score in SCORES
    ]  # fmt: skip
    by_kind = [
        [name, score, *(f"{np.mean(of[score, fault]):.2f} ({np.std(of[score, fault]):.2f})" for fault in PLANTED)]
        for name, of in found.items() for score in SCORES
    ]  # fmt: skip
    best = {name: max(float(np.mean([of[score, fault] for fault in PLANTED])) for score in NAC)
            for name, of in found.items()}  # fmt: skip
    ours = {name: float(np.mean([of[SCORES[0], fault] for fault in PLANTED])) for name, of in found.items()}
    cells = [(np.mean(of[SCORES[0], fault]), max(np.mean(of[score, fault]) for score in NAC))
             for of in found.values() for fault in PLANTED]  # fmt: skip
    results.write(
        folder,
        "activation_coverage",
        here=(
            f"The mean area over {len(PLANTED)} faults is {results.span(list(ours.values()))} for the outlier score,"
            f" depending on the domain. For the best of three forms of NAC, it is {results.span(list(best.values()))}."
            f" NAC has the larger area in {sum(theirs > own for own, theirs in cells)} of {len(cells)} combinations of"
            " domain and fault."
        ),
        tables=[
            results.table(["area", *PLANTED, "mean"], rows),
            results.table(["kind", "score: mean area (deviation of draws)", *PLANTED], by_kind),
        ],
        seeds=f"0 of the draws, {draws} of each cell, and of the pictures; the picture's number for noise and blocks",
        data=packages(quick),
    )  # fmt: skip


if __name__ == "__main__":
    main()
