"""Do error bars of fd cover the distance of the populations? By simulation, beside the bootstrap and FID-infinity.

    pip install "torchmetrics-dna[demo]" scikit-learn
    python docs/experiments/error_bars.py

A population is a law of features: Gaussian, heavy-tailed (Student's t with 10 degrees of freedom) or skewed
(exponential), mixed by a random matrix; or the spatial means of clip art and emoji in the default extractor, drawn with
replacement. Its distance from a reference, a mean and a covariance, is exact. A draw is so many images. The estimator
was chosen on other laws (Student's t with 9 degrees of freedom, lognormal), other matrices and seeds, and on no real
activations. 2 GB of memory.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import data
import numpy as np
import results
import torch
from torch import Tensor

from torchmetrics_dna import DNAExtractor
from torchmetrics_dna.functional import layer_frechet_distance, layer_frechet_estimate
from torchmetrics_dna.functional.student import student_quantile

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Draw = Callable[[int, torch.Generator], Tensor]  # so many images

SIDE, RESAMPLES, SIZES_OF_LINE = 64, 50, 15
LAYERS = {16: "block_0", 64: "block_3", 256: "block_6"}  # whose first neurons are taken
HEADER = ("law", "neurons", "images", "fd", "bias / se", "left / se", "se / deviation", "cover, raw", "cover", "draws")


@dataclass
class Population:
    """A law of features, the reference, and the distance between them."""

    draw: Draw
    reference: tuple[Tensor, Tensor]
    distance: float

    @classmethod
    def of(cls, draw: Draw, mean: Tensor, cov: Tensor, *reference: Tensor) -> Population:
        return cls(draw, (reference[0], reference[1]), float(layer_frechet_distance(mean, cov, *reference)))


def standard(law: str, shape: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Independent numbers of mean 0 and variance 1; of Student's t, a row has one scale."""
    if law == "skewed":
        return torch.empty(shape, dtype=torch.float64).exponential_(generator=generator) - 1
    normal = torch.randn(shape, generator=generator, dtype=torch.float64)
    if law == "Gaussian":
        return normal
    freedom = 10
    squares = torch.randn(shape[0], freedom, generator=generator, dtype=torch.float64).square().sum(1, keepdim=True)
    return normal * ((freedom - 2) / squares).sqrt()


def simulated(law: str, neurons: int, seed: int = 1) -> Population:
    """Features with a spectrum that falls as 1/k, against a reference of turned, rescaled and shifted ones."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(neurons, neurons, generator=generator, dtype=torch.float64)
    basis = torch.linalg.qr(mixing).Q
    turned = torch.linalg.qr(basis + 0.3 * torch.randn(neurons, neurons, generator=generator).double() / neurons**0.5).Q
    spectrum = 1 / torch.arange(1, neurons + 1, dtype=torch.float64)
    spectrum = spectrum / spectrum.mean()
    scales = torch.exp(0.2 * torch.randn(neurons, generator=generator, dtype=torch.float64))
    factor = turned * (spectrum * scales).sqrt()
    mean = 0.1 * torch.randn(neurons, generator=generator, dtype=torch.float64)

    def draw(count: int, of_draw: torch.Generator) -> Tensor:
        return mean + standard(law, (count, neurons), of_draw) @ factor.T

    reference = torch.zeros(neurons, dtype=torch.float64), (basis * spectrum) @ basis.T
    return Population.of(draw, mean, factor @ factor.T, *reference)


def activations(quick: bool) -> tuple[dict[int, Tensor], dict[int, Tensor], Sequence[object]]:
    """Spatial means of the pool and of the reference, by number of neurons; and where the pictures are from."""
    if quick:
        sides, origin = [data.at_hand(24), data.at_hand(24, "digits")], ["scikit-image", "scikit-learn"]
        pictures = [[picture[:SIDE, :SIDE] for picture in side] for side in sides]
        extractor = DNAExtractor(layers=["block_0"])
    else:
        twitter, google = ([emoji.path for emoji in data.emoji(maker)] for maker in ("twitter", "google"))
        paths = [[*data.drawings(), *twitter], google]
        pictures = [[data.picture(path, SIDE) for path in side] for side in paths]
        origin = [data.DRAWINGS, data.EMOJI["twitter"], data.EMOJI["google"]]
        extractor = DNAExtractor(layers=[*LAYERS.values()])
    means = [measured(side, extractor) for side in pictures]
    pool, reference = ({n: side[layer][:, :n] for n, layer in LAYERS.items() if layer in side} for side in means)
    return pool, reference, origin


def measured(pictures: Sequence[np.ndarray], extractor: DNAExtractor) -> dict[str, Tensor]:
    """The spatial means of each layer, ``(images, n)``, float64."""
    parts: list[dict[str, Tensor]] = []
    for i in range(0, len(pictures), 64):
        layers = extractor(data.batch(list(pictures[i : i + 64])))
        parts.append({layer: values.flatten(2).mean(2).double() for layer, values in layers.items()})
    return {layer: torch.cat([part[layer] for part in parts]) for layer in parts[0]}


def resampled(pool: Tensor, reference: Tensor) -> Population:
    """Images of a pool, drawn with replacement, against the moments of others."""

    def draw(count: int, generator: torch.Generator) -> Tensor:
        return pool[torch.randint(len(pool), (count,), generator=generator)]

    return Population.of(draw, pool.mean(0), pool.T.cov(correction=0), reference.mean(0), reference.T.cov())


def coverage(population: Population, images: int, draws: int) -> list[str]:
    """A row of the table of coverage, from ``fd`` on."""
    values, left, errors = [], [], []
    for seed in range(draws):
        estimate = layer_frechet_estimate(
            population.draw(images, torch.Generator().manual_seed(seed)), population.reference
        )
        values.append(float(estimate.value))
        left.append(float(estimate.debiased))
        errors.append(float(estimate.standard_error))
    off, raw, error = np.array(left) - population.distance, np.array(values) - population.distance, np.array(errors)
    t = student_quantile(0.975, images - 1)
    covers = [np.mean(np.abs(differences) < t * error) for differences in (raw, off)]
    return [
        f"{population.distance:.3g}", f"{raw.mean() / error.mean():.2f}", f"{off.mean() / error.mean():.2f}",
        f"{error.mean() / off.std(ddof=1):.2f}", *(f"{share:.3f}" for share in covers), str(draws),
    ]  # fmt: skip


def rivals(population: Population, images: int, draws: int) -> list[list[str]]:
    """The estimate, the bootstrap, and FID-infinity, a line through fd of subsets over 1/images: bias, width, time."""
    offs: dict[str, list[float]] = {}
    widths: dict[str, list[float]] = {}
    seconds: dict[str, float] = {}

    def fd(features: Tensor) -> float:
        return float(layer_frechet_distance(features.mean(0), features.T.cov(), *population.reference))

    def estimate(features: Tensor, _: torch.Generator) -> tuple[float, float]:
        found = layer_frechet_estimate(features, population.reference)
        return float(found.debiased), 2 * 1.96 * float(found.standard_error)

    def bootstrap(features: Tensor, generator: torch.Generator) -> tuple[float, float]:
        drawn = [fd(features[torch.randint(images, (images,), generator=generator)]) for _ in range(RESAMPLES)]
        return fd(features), 2 * 1.96 * float(np.std(drawn, ddof=1))

    def infinity(features: Tensor, generator: torch.Generator) -> tuple[float, float]:
        sizes = np.linspace(images / 5, images, SIZES_OF_LINE).astype(int)
        drawn = [fd(features[torch.randperm(images, generator=generator)[:size]]) for size in sizes]
        (_, end), cov = np.polyfit(1 / sizes, drawn, 1, cov=True)
        return float(end), 2 * 1.96 * float(cov[1, 1] ** 0.5)

    for seed in range(draws):
        features = population.draw(images, torch.Generator().manual_seed(seed))
        for name, method in (("estimate", estimate), ("bootstrap", bootstrap), ("FID-infinity", infinity)):
            begin = time.process_time()
            value, width = method(features, torch.Generator().manual_seed(seed))
            seconds[name] = seconds.get(name, 0) + time.process_time() - begin
            offs.setdefault(name, []).append(value - population.distance)
            widths.setdefault(name, []).append(width)
    return [
        [
            name, f"{np.mean(off):.3f}", f"{np.std(off, ddof=1):.3f}", f"{np.mean(widths[name]):.3f}",
            f"{np.mean(np.abs(off) < np.array(widths[name]) / 2):.2f}", f"{seconds[name] / draws:.2f}",
        ]
        for name, off in offs.items()
    ]  # fmt: skip


def main() -> None:
    arguments = results.parser(__doc__)
    arguments.add_argument("--draws", type=int, default=200)
    options = arguments.parse_args()
    folder, quick = results.begin(options), options.quick
    draws = 4 if quick else options.draws
    neurons, sizes, rival = ((4, 16), (100,), (16, 100)) if quick else ((16, 64, 256), (2_000, 10_000), (64, 2_000))
    pool, reference, origin = activations(quick)
    rows = []
    for n in neurons:
        populations = {law: simulated(law, n) for law in ("Gaussian", "heavy-tailed", "skewed")}
        if n in pool:
            populations["activations"] = resampled(pool[n], reference[n])
        for name, population in populations.items():
            for images in sizes:
                rows.append([name, n, images, *coverage(population, images, draws)])
                print(*rows[-1], flush=True)
    compared = rivals(simulated("Gaussian", rival[0]), rival[1], max(4, draws // 4))
    raw, covered = ([float(row[HEADER.index(name)]) for row in rows] for name in ("cover, raw", "cover"))
    worst = max(rows, key=lambda row: abs(float(row[HEADER.index("left / se")])))
    left = abs(float(worst[HEADER.index("left / se")]))
    results.write(
        folder,
        "error_bars",
        here="The 95% interval of the debiased fd contains the distance of the populations in"
        f" {results.percents(covered)} of draws. An interval of the same width around fd itself does so in"
        f" {results.percents(raw)}. The remaining bias of the debiased fd is at most {left:.2f} standard errors"
        f" ({worst[0]}, {worst[1]} neurons, {worst[2]:,}"
        " images).",
        tables=[
            results.table(HEADER, rows),
            results.table(("method", "bias", "deviation", "width", "covers", "seconds"), compared),
        ],
        seeds=f"0 to {draws - 1} of draws, 1 of the mixing matrices",
        data=["simulated", *origin],
    )


if __name__ == "__main__":
    main()
