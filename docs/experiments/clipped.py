"""Are clipped density and coverage the share of good pictures? With plain ones beside them.

    pip install "torchmetrics-dna[demo]" scikit-learn
    python docs/experiments/clipped.py

Five kinds that chose nothing, by the default network's last layer. A share of the fake pictures is of another kind, or
5 of the real ones are. Each picture is measured once; no draw has a picture on both sides. ``--activations FOLDER``
keeps the measurements.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import results
import torch
from kinds_held_out import AT_HAND, NUMBERS, kept, packages, pictures
from torch import Tensor

from torchmetrics_dna import DNAExtractor
from torchmetrics_dna.functional import prdc

if TYPE_CHECKING:
    from numpy.typing import NDArray

GOOD, DRAWS, SIDE, OUTLIERS = (1.0, 0.9, 0.75, 0.5, 0.25, 0.0), 30, 200, 5
SCORES = ("clipped_density", "clipped_coverage", "density", "coverage", "precision", "recall")


def some(name: str, number: int) -> list[NDArray[np.uint8]]:
    return pictures(name, number)[0]


def drawn(kind: Tensor, other: Tensor, good: float, outliers: int, side: int, draws: int) -> dict[str, list[float]]:
    """Values of draws, of equal numbers of pictures."""
    generator = torch.Generator().manual_seed(side)
    found: dict[str, list[float]] = {score: [] for score in SCORES}
    for _ in range(draws):
        own, foreign = (torch.randperm(len(of), generator=generator) for of in (kind, other))
        real, fake = kind[own[:side]], kind[own[side : side + round(good * side)]]
        fake = torch.cat([fake, other[foreign[: side - len(fake)]]])
        real = torch.cat([real[outliers:], other[foreign[len(foreign) - outliers :]]])
        for score, value in prdc(real, fake).items():
            found[score].append(float(value))
    return found


def main() -> None:
    parser = results.parser(__doc__)
    parser.add_argument("--activations", type=Path, help="folder that keeps what was measured")
    arguments = parser.parse_args()
    folder, quick = results.begin(arguments), arguments.quick
    numbers, side, draws = (AT_HAND, 15, 2) if quick else (NUMBERS, SIDE, DRAWS)
    extractor = DNAExtractor("efficientnet_lite0")
    last = list(extractor.neurons.values())[-1]
    means = {
        name: kept(arguments.activations, name, partial(some, name, number), extractor)[:, -last:]
        for name, number in numbers.items()
    }
    names, found = list(means), dict[tuple[str, float, int], dict[str, list[float]]]()
    for i, name in enumerate(names):
        for good, outliers in (*((good, 0) for good in GOOD), (1.0, OUTLIERS if not quick else 1)):
            asked = means[name], means[names[(i + 1) % len(names)]], good, outliers, side, draws
            found[name, good, outliers] = drawn(*asked)
    cases = list(dict.fromkeys((good, outliers) for _, good, outliers in found))
    labels = [f"{good:g}" + f"; {outliers} real ones of another kind" * bool(outliers) for good, outliers in cases]

    def cell(score: str, good: float, outliers: int) -> str:
        of_kinds = [float(np.mean(found[name, good, outliers][score])) for name in names]
        return f"{np.mean(of_kinds):.2f} ({results.span(of_kinds)})"

    rows = [[label, *(cell(score, *case) for score in SCORES)] for label, case in zip(labels, cases, strict=True)]
    by_kind = [
        [name, label, *(f"{np.mean(values):.2f} ({np.std(values):.2f})" for values in found[name, *case].values())]
        for name in names
        for label, case in zip(labels, cases, strict=True)
    ]

    def off(score: str) -> str:
        """How far the mean of draws is off the share, at most, over kinds."""
        most = {name: max(abs(np.mean(found[name, good, 0][score]) - good) for good in GOOD) for name in names}
        return f"{results.span(list(most.values()))}"

    results.write(
        folder,
        "clipped",
        here=(
            f"With {side} pictures per set, the mean of the draws is compared with the true share of good pictures. For"
            f" clipped density, the largest error over all shares is {off('clipped_density')}, depending on the domain."
            f" For clipped coverage, it is {off('clipped_coverage')}. For coverage that is not clipped, it is"
            f" {off('coverage')}."
        ),
        tables=[
            results.table(["share of good ones: mean (by kind)", *SCORES], rows),
            results.table(["kind", "share of good ones: mean (deviation of draws)", *SCORES], by_kind),
        ],
        seeds=f"{side} of the draws, {draws} of each cell; 0 of pictures",
        data=packages(quick),
    )  # fmt: skip


if __name__ == "__main__":
    main()
