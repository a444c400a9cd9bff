"""What do tests and rankings see in data that are no photographs? Six kinds, each by a network that takes it as it is.

    pip install "torchmetrics-dna[demo,video]" scikit-learn tifffile
    python docs/experiments/not_photographs.py

Networks, changes and numbers were fixed before the first run. Networks have random weights, but for a classifier of
digits, trained on other digits, and the decoder of a small autoencoder, trained on other photographs. Each input is
measured once: what is drawn, compared and ranked are its activations, which a module hands on. For the network of
photographs, digits and slices become 8-bit pictures, which it resizes to 224 pixels.
"""

from __future__ import annotations

from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import data
import numpy as np
import other_inputs
import results
import torch
from significance import Measure, draw_many, remember
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from torchmetrics_dna import DNAExtractor, compare, rank
from torchmetrics_dna.dna import evidence as asked

if TYPE_CHECKING:
    from collections.abc import Callable

    from other_inputs import Items

SIDE, RELABELINGS, FOLDS, SEED = 40, 200, 20, 0
REFERENCE, RANKED, CHANGED = 100, 100, 5
Activations = tuple[Tensor, ...]  # of each layer, ``(inputs, n, *positions)``


class Convolutions(nn.Sequential):
    """Three convolutions, for images of any number of channels."""

    def __init__(self, channels: int) -> None:
        torch.manual_seed(SEED)
        super().__init__(
            nn.Conv2d(channels, 16, 3, 1, 1), nn.ReLU(),
            nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(),
            nn.Conv2d(32, 64, 3, 2, 1), nn.ReLU(),
        )  # fmt: skip


class PointNet(nn.Module):
    """Each point by itself, then the largest values of all points."""

    def __init__(self) -> None:
        torch.manual_seed(SEED)
        super().__init__()
        self.of_points = nn.Sequential(nn.Conv1d(3, 32, 1), nn.ReLU(), nn.Conv1d(32, 64, 1), nn.ReLU())
        self.of_cloud = nn.Sequential(nn.Linear(64, 64), nn.ReLU())

    def forward(self, points: Tensor) -> dict[str, Tensor]:
        of_points = self.of_points(points)
        return {"points": of_points, "cloud": self.of_cloud(of_points.amax(2))}


class Known(nn.Module):
    """Hands on activations that were measured before."""

    def forward(self, *layers: Tensor) -> dict[str, Tensor]:
        return {str(number): layer for number, layer in enumerate(layers)}


def classifier() -> nn.Module:
    """Convolutions trained on the digits that are not drawn."""
    network, digits = Convolutions(1), load_digits()
    images = torch.from_numpy(digits.images[:-800].astype(np.float32) / 16)[:, None]
    both = nn.Sequential(network, nn.Flatten(), nn.Linear(256, 10))
    labels = torch.from_numpy(digits.target[:-800])
    other_inputs.fit(both, lambda rows: cross_entropy(both(images[rows]), labels[rows]), len(images))
    return network


def take(activations: Activations, rows: Tensor) -> Activations:
    return tuple(layer[rows] for layer in activations)


def shares(plain: Activations, changed: Activations, draws: int) -> list[float]:
    """Per cent of draws of two sides with p of 0.05 or less: both plain, and one changed."""
    generator, extractor = torch.Generator().manual_seed(SEED), known(plain)
    found = {"level": 0.0, "power": 0.0}
    for _ in range(draws):
        a, b = torch.randperm(len(plain[0]), generator=generator)[: 2 * SIDE].split(SIDE)
        sides = {"level": take(plain, b), "power": take(changed, b)}
        for name, tested in compare(take(plain, a), sides, extractor, metrics=["dna-emd"], num_folds=FOLDS).items():
            found[name] += 100 * (tested.p_value <= 0.05) / draws
    return list(found.values())


def areas(plain: Activations, changed: Activations, draws: int) -> list[float]:
    """Area under the ROC curve of the outlier score in draws of a reference and of ranked inputs: mean, ends."""
    generator, extractor = torch.Generator().manual_seed(SEED), known(plain)
    found: list[float] = []
    for _ in range(draws):
        rows = torch.randperm(len(plain[0]), generator=generator)
        reference, ranked = rows[:REFERENCE], rows[REFERENCE:][:RANKED]
        off, rest = ranked[:CHANGED], ranked[CHANGED:]
        pool = tuple(torch.cat(both) for both in zip(take(changed, off), take(plain, rest), strict=True))
        ranking = rank(pool, take(plain, reference), extractor)
        found.append(float(roc_auc_score(np.array(ranking.numbers) < CHANGED, ranking.scores)))
    return [float(np.mean(found)), min(found), max(found)]


def known(activations: Activations) -> DNAExtractor:
    return DNAExtractor(Known(), inputs="any", example=take(activations, torch.arange(1)))


def by_its_network(make: Callable[[], Items], network: Callable[[], nn.Module], draws: int, ranks: int) -> list[float]:
    """Level, power and areas by a network that takes the inputs as they are."""
    items, module = make(), network()
    layers = [name for name, part in module.named_children() if isinstance(part, nn.ReLU)] or None
    extractor = DNAExtractor(module, inputs="any", example=items[0][:1], layers=layers)
    plain, changed = (tuple(extractor(inputs).values()) for inputs in items)
    return [*shares(plain, changed, draws), *areas(plain, changed, ranks)]


def by_photographs(make: Callable[[], Items], size: int, draws: int, ranks: int) -> list[float]:
    """Level, power and areas by the network of photographs, of the inputs as grey pictures."""
    measure = Measure(input_size=size)
    pictures = ([np.stack([image[0]] * 3, -1) for image in (inputs * 255).byte().numpy()] for inputs in make())
    plain, changed = map(measure, pictures)
    found = [100 * draw_many(measure, plain, other, SIDE, FOLDS, draws).alarms() for other in (plain, changed)]
    means = (tuple(images.means[:, rows] for rows in measure.layers.values()) for images in (plain, changed))
    return [*found, *areas(*means, ranks)]


KINDS = {  # with the change, and networks by their weights; None for that of photographs
    "digits": (
        other_inputs.digits, "blur of 0.5 of 8 pixels",
        {"random": partial(Convolutions, 1), "other digits": classifier, "photographs": None},
    ),
    "MR slices of 16 bits": (
        other_inputs.slices, "window a tenth wider", {"random": partial(Convolutions, 1), "photographs": None},
    ),
    "six spectral bands": (other_inputs.bands, "one band a tenth weaker", {"random": partial(Convolutions, 6)}),
    "spectrograms of speech": (other_inputs.spectrograms, "noise 30 dB below", {"random": partial(Convolutions, 1)}),
    "latents of photographs": (
        other_inputs.latents, "JPEG of quality 50", {"their decoder": lambda: other_inputs.autoencoder()[0][1]},
    ),
    "point clouds of toy bricks": (other_inputs.points, "jitter of 0.02 of the radius", {"random": PointNet}),
}  # fmt: skip


def main() -> None:
    parser = results.parser(__doc__)
    parser.add_argument("--draws", type=int, default=200, help="of levels and powers")
    arguments = parser.parse_args()
    folder, quick = results.begin(arguments), arguments.quick
    asked.NUM_RELABELINGS = 40 if quick else RELABELINGS
    draws, ranks, size = (2, 2, 64) if quick else (arguments.draws, 40, 224)
    scripts = sha256(b"".join(Path(file).read_bytes() for file in (__file__, other_inputs.__file__)))
    kept = partial(remember, None if quick else data.CACHE / f"not_photographs-{scripts.hexdigest()[:8]}-{draws}.json")
    found: dict[tuple[str, str], list[float]] = {}
    for kind in ("digits",) if quick else KINDS:
        make, _, networks = KINDS[kind]
        for weights, network in networks.items():
            ask = partial(by_photographs, make, size) if network is None else partial(by_its_network, make, network)
            found[kind, weights] = kept(f"{kind}, {weights}", partial(ask, draws, ranks))
    levels, powers, means = zip(*(values[:3] for values in found.values()), strict=True)
    results.write(
        folder,
        "not_photographs",
        here=f"With {SIDE} inputs per set and no change, p ≤ 0.05 in {results.span(levels, '.1f')}% of draws. A change"
        f" to all inputs is detected in {results.span(powers, '.1f')}% of draws. If {CHANGED} of {RANKED} inputs are"
        f" changed, the area under the ROC curve of the outlier score is {results.span(means)}.",
        tables=[
            results.table(
                ["inputs", "weights", "change", "no change: p ≤ 0.05", "change: p ≤ 0.05", "area, 5 of 100 changed"],
                [
                    [
                        *key,
                        KINDS[key[0]][1],
                        *(f"{share:.1f} %" for share in of[:2]),
                        "{:.2f} ({:.2f} to {:.2f})".format(*of[2:]),
                    ]
                    for key, of in found.items()
                ],
            )
        ],
        seeds=f"{SEED}, of weights, inputs and draws; {draws} draws of two sides, {ranks} of rankings",
        data=["scikit-learn"] if quick else ["scikit-learn", *other_inputs.PACKAGES],
    )


if __name__ == "__main__":
    main()
