"""Neurons that react to JPEG and blur artefacts: find degraded photographs by the distance of each to clean ones.

    pip install "torchmetrics-dna[demo]" scikit-learn
    python docs/examples/artefact_neurons.py  # in a clone, on Debian or Ubuntu; else with --data FOLDER

Three splits of the photographs take about eight minutes on one core; --seeds 0 runs one split. Neurons and their number
are chosen on one half of the photographs. A quarter is the clean reference. The rest, not used to choose, are
the queries: as many clean as degraded ones, so that chance gives an area under precision-recall of about 0.5. Nothing
else is tuned; each baseline is shown in every variant. SSIM has fewer references than the others, since it is slow.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import average_precision_score
from torch import Tensor

from torchmetrics_dna import DNAExtractor, make_dna
from torchmetrics_dna.demo import DEGRADATIONS
from torchmetrics_dna.dna import HistogramDNA
from torchmetrics_dna.functional import dna_emd, dna_realism, select_neurons
from torchmetrics_dna.images import Reading

sys.path.append(str(Path(__file__).parents[1] / "experiments"))
import baselines
import data

SIDE = 224  # the extractor's own input size, so that no resizing softens an artefact
NUMBERS = [2**i for i in range(11)]  # how many neurons to try; the table has a row for all neurons anyway
CONDITIONS = [(name, strength) for name in ("JPEG", "blur") for strength in (1, 2, 3)]
TITLES = ["JPEG 50", "JPEG 25", "JPEG 12", "blur 0.5", "blur 1", "blur 2"]  # quality; standard deviation in pixels
SSIM_REFERENCES = 5

Scores = dict[str, Tensor]  # by method, a score of each query: higher if it looks degraded


def load(paths: list[Path]) -> Tensor:
    """All photographs, clean and in each condition: uint8, (1 + conditions, photographs, 3, SIDE, SIDE)."""
    clean = [data.picture(path, SIDE) for path in paths]
    degraded = [[DEGRADATIONS[d](picture, s) for picture in clean] for d, s in CONDITIONS]
    return torch.stack([data.batch(pictures) for pictures in (clean, *degraded)])


def average_precisions(scores: Tensor) -> list[float]:
    """Of each condition, from scores (1 + conditions, photographs): half are clean and half degraded, then swapped."""
    clean, *conditions = scores.unflatten(1, (2, -1)).numpy()
    truth = np.repeat([0, 1], clean.shape[1])
    precisions = [
        [average_precision_score(truth, [*clean[h], *degraded[1 - h]]) for h in (0, 1)] for degraded in conditions
    ]
    return np.mean(precisions, axis=1).tolist()


def dna_of(images: Tensor, extractor: DNAExtractor) -> HistogramDNA:
    dna = make_dna(list(images), extractor, reading=Reading(num_workers=0))
    assert isinstance(dna, HistogramDNA)
    return dna


def equal_weights(neurons: Tensor, total: int) -> Tensor:
    return torch.zeros(total, dtype=torch.float64).index_fill(0, neurons, 1 / len(neurons))


def dna_scores(queries: Tensor, clean: HistogramDNA, extractor: DNAExtractor, weights: dict[str, Tensor]) -> Scores:
    """dna-emd of each query alone to the clean images, for each choice of weights."""
    bounds, scores = clean.known_ranges.bounds(), []
    for batch in queries.flatten(0, 1).split(8):
        activations = extractor(batch)
        scores.append(torch.stack([dna_realism(activations, clean.counts, *bounds, w) for w in weights.values()]))
    return dict(zip(weights, torch.cat(scores, 1).unflatten(1, queries.shape[:2]), strict=True))


def choose_neurons(images: Tensor, extractor: DNAExtractor) -> Tensor:
    """The neurons that differ most between clean and degraded; as many as find single images best."""
    clean, *conditions = (dna_of(some, extractor) for some in images)
    distances = torch.stack([dna_emd(clean.counts, other.counts, reduction="none") for other in conditions])
    first, second = images.chunk(2, dim=1)
    second = second[:, : second.shape[1] // 2 * 2]
    neurons = {str(k): select_neurons(distances, k) for k in NUMBERS}
    weights = {k: equal_weights(chosen, clean.neurons.total) for k, chosen in neurons.items()}
    scores = dna_scores(second, dna_of(first[0], extractor), extractor, weights)
    return neurons[max(scores, key=lambda k: np.mean(average_precisions(scores[k])))]


def baseline_scores(queries: Tensor, clean: Tensor, extractor: DNAExtractor) -> Scores:
    """Distances to the clean images, to the nearest and on average, and rarity scores."""
    known = extractor(clean)
    known_vectors = baselines.perceptual_vectors(known)
    batches: dict[str, list[Tensor]] = {}
    for batch in queries.flatten(0, 1).split(8):
        activations = extractor(batch)
        pairs = {
            "pixel L2": baselines.pixel_distances(batch, clean),
            "SSIM": baselines.ssim_distances(batch, clean[:SSIM_REFERENCES]),
            "perceptual distance": baselines.perceptual_distances(
                baselines.perceptual_vectors(activations), known_vectors
            ),
        }
        scores = {f"{name}, nearest": distances.amin(1) for name, distances in pairs.items()}
        scores |= {f"{name}, mean": distances.mean(1) for name, distances in pairs.items()}
        for layer, k in (("head", 3), ("head", 10), ("block_6", 3), ("block_6", 10)):
            pooled, known_pooled = (x[layer].flatten(2).mean(2) for x in (activations, known))
            scores[f"rarity score, {layer}, k = {k}"] = baselines.rarity(pooled, known_pooled, k)
        for name, score in scores.items():
            batches.setdefault(name, []).append(score)
    return {name: torch.cat(parts).unflatten(0, queries.shape[:2]) for name, parts in batches.items()}


def run(images: Tensor, extractor: DNAExtractor, seed: int) -> dict[str, list[float]]:
    """Average precisions of each method in each condition."""
    order = torch.randperm(images.shape[1], generator=torch.Generator().manual_seed(seed))
    half, quarter = len(order) // 2, len(order) // 4
    queried = order[half + quarter :][: quarter // 2 * 2]
    chosen = choose_neurons(images[:, order[:half]], extractor)
    print(f"seed {seed}: {len(chosen)} neurons chosen on {half} photographs")
    clean, queries = images[0, order[half : half + quarter]], images[:, queried]
    total = extractor.neurons.total
    every = {"chosen": chosen, "all": torch.arange(total)}
    weights = {f"dna-emd, {name} neurons": equal_weights(some, total) for name, some in every.items()}
    scores = dna_scores(queries, dna_of(clean, extractor), extractor, weights)
    return {name: average_precisions(s) for name, s in (scores | baseline_scores(queries, clean, extractor)).items()}


def main() -> None:
    parser = argparse.ArgumentParser(description="Finding degraded photographs with neurons chosen for it")
    parser.add_argument(
        "--data", type=Path, help=f"folder of PNG photographs; default: those of {data.PHOTOGRAPHS.name}"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the split of photographs")
    arguments = parser.parse_args()
    images = load(sorted(arguments.data.rglob("*.png")) if arguments.data else data.photographs())
    print(f"{images.shape[1]} photographs")
    extractor = DNAExtractor("efficientnet_lite0")
    runs = [run(images, extractor, seed) for seed in arguments.seeds]
    titles = [*TITLES, "mean", *(f"seed {seed}" for seed in arguments.seeds)]
    print(f"{'':29}" + "".join(f"{title:>9}" for title in titles))
    for name in runs[0]:
        table = np.array([run[name] for run in runs])  # (seeds, conditions)
        print(f"{name:29}" + "".join(f"{x:9.3f}" for x in [*table.mean(0), table.mean(), *table.mean(1)]))


if __name__ == "__main__":
    main()
