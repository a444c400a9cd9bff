"""Is something of a set missing in another? Clusters of all images, and the largest excess of one set among them.

    pip install "torchmetrics-dna[demo]" scikit-learn
    python docs/experiments/missing.py

Emoji of two makers, tiles of wallpapers, textures of a game, and digits chose nothing. Each has groups: makers'
categories, wallpapers, folders, digits. In a draw, one group is left out of B, or made rare. All images are clustered
by their spatial means, and the largest excess of A among the clusters is tested by permutation of the labels, which
leaves the clusters as they are. No such test is part of the package. ``--activations FOLDER`` keeps the measurements.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import data
import numpy as np
import results
import torch
from few_off import by_kernel, percent, whole_groups
from kinds_held_out import measured
from sklearn.cluster import KMeans

from torchmetrics_dna import DNAExtractor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kinds_held_out import Kind
    from torch import Tensor

CLUSTERS, COMPONENTS, RELABELINGS = (4, 6, 9, 13), 30, 1000
LEVEL_SIZES, LEVEL_DRAWS, DRAWS = ((50, 50), (100, 100), (200, 200), (50, 200)), 25, 100
TESTS = ("clusters", "KID, all layers", "energy")


@dataclass(frozen=True)
class Cell:
    """What B lacks: a group, all of it or but for a share, of so many groups of a kind."""

    kind: str
    groups: int
    kept: float
    images: int

    @property
    def name(self) -> str:
        of = f"one of {self.groups} groups of {self.kind}"
        return of if not self.kept else f"{of}, but for {results.percent(self.kept)}"


CELLS = (
    Cell("digits", 5, 0, 100),
    Cell("digits", 5, 0.2, 100),
    Cell("digits", 10, 0, 100),
    Cell("fluent", 5, 0, 100),
    Cell("fluent", 8, 0, 200),
    Cell("emojione", 5, 0, 100),
    Cell("textures", 5, 0, 100),
    Cell("textures", 12, 0, 100),
    Cell("wallpapers", 25, 0, 100),
)


def standardised(means: Tensor) -> Tensor:
    return (means - means.mean(0)) / means.std(0).clamp(min=1e-9)


def clusters_of(standard: Tensor) -> list[Tensor]:
    """Members of each cluster, ``(images, k)`` of 0 and 1, for each number of clusters k."""
    spreads, directions = torch.linalg.eigh(standard @ standard.T)  # principal components, from inner products
    values = (directions[:, -COMPONENTS:] * spreads[-COMPONENTS:].clamp(min=0).sqrt()).numpy()
    found = []
    for number in CLUSTERS:
        if number < len(values):
            labels = KMeans(number, n_init=2, random_state=0).fit_predict(values)
            found.append(torch.nn.functional.one_hot(torch.from_numpy(labels).long(), number).double())
    return found


def largest_excess(members: Sequence[Tensor], count: int, generator: torch.Generator) -> tuple[float, Tensor]:
    """P-value of the largest excess of the first ``count`` images in a cluster, and those of them that are in it."""
    every = torch.cat(list(members), 1)
    total = len(every)
    labels = torch.zeros(RELABELINGS, total, dtype=torch.float64)
    labels.scatter_(1, torch.rand(RELABELINGS, total, generator=generator).argsort(1)[:, :count], 1)
    labels[0] = torch.arange(total) < count
    share = every.mean(0)
    of_a = labels @ every
    error = (share * (1 - share) * (1 / count + 1 / (total - count))).sqrt().clamp(min=1e-9)
    excess = (of_a / count - (every.sum(0) - of_a) / (total - count)) / error
    largest = excess.amax(1)
    chosen = every[:count, excess[0].argmax()].nonzero()[:, 0]
    return float((largest >= largest[0] - 1e-9).double().mean()), chosen


def draw(cell: Cell, kind: Kind, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Images of A and of B, and which of A are of the group that B lacks; it is drawn from the largest groups."""
    names, sizes = np.unique(kind.groups, return_counts=True)
    largest = names[np.argsort(-sizes, kind="stable")[: cell.groups]]
    lost = largest[int(torch.randint(len(largest), (1,), generator=generator))]
    own = torch.from_numpy(np.isin(kind.groups, largest).nonzero()[0])
    order = own[torch.randperm(len(own), generator=generator)]
    a, rest = order[: cell.images], order[cell.images :]
    is_lost = torch.from_numpy(kind.groups == lost)
    stays = ~is_lost[rest] | (torch.rand(len(rest), generator=generator) < cell.kept)
    return a, rest[stays][: cell.images], is_lost[a]


def ask(cell: Cell, kind: Kind, draws: int) -> tuple[list[list[float]], list[float], list[int]]:
    """P-values by test, the share of the named images that are of the lost group, and the number of images of B."""
    generator = torch.Generator().manual_seed(1000 * cell.images + cell.groups)
    p_values, right, sizes = [], [], []
    for _ in range(draws):
        a, b, is_lost = draw(cell, kind, generator)
        standard = standardised(kind.means[torch.cat([a, b])])
        p, named = largest_excess(clusters_of(standard), len(a), generator)
        kernel = (standard @ standard.T / standard.shape[1] + 1) ** 3
        others = (by_kernel(each, len(a), generator) for each in (kernel, -torch.cdist(standard, standard)))
        p_values.append([p, *others])
        sizes.append(len(b))
        if p <= 0.05:
            right.append(float(is_lost[named].double().mean()))
    return p_values, right, sizes


def alarms(kind: Kind, sizes: tuple[int, int], draws: int, whole: bool = False) -> list[float]:
    """P-values of equal sets; with ``whole``, each group is on one side."""
    generator = torch.Generator().manual_seed(1000 * sizes[0] + sizes[1])
    p_values = []
    for _ in range(draws):
        if whole:
            sides = whole_groups(kind, sizes, generator)
        else:
            sides = torch.randperm(len(kind.means), generator=generator)[: sum(sizes)].split(sizes)
        standard = standardised(kind.means[torch.cat(list(sides))])
        p_values.append(largest_excess(clusters_of(standard), len(sides[0]), generator)[0])
    return p_values


def main() -> None:
    parser = results.parser(__doc__)
    parser.add_argument("--activations", type=Path, help="folder that keeps what was measured")
    arguments = parser.parse_args()
    folder, quick = results.begin(arguments), arguments.quick
    kinds = measured(arguments.activations, DNAExtractor("efficientnet_lite0"), quick)
    plain = {name: kind for name, kind in kinds.items() if "," not in name}
    sizes, of_level, draws = (((10, 10),), 2, 2) if quick else (LEVEL_SIZES, LEVEL_DRAWS, DRAWS)
    level = [p for kind in plain.values() for size in sizes for p in alarms(kind, size, of_level)]
    grouped = alarms(plain["digits" if quick else "wallpapers"], (4, 4) if quick else (100, 100), draws, whole=True)
    rows, powers = [], []
    for cell in (Cell("digits", 3, 0, 6),) if quick else CELLS:
        p_values, right, of_b = ask(cell, plain[cell.kind], draws)
        power = (np.array(p_values) <= 0.05).mean(0)
        powers.append(power)
        named = f"{np.mean(right):.2f}" if right else "-"
        rows.append([cell.name, f"{cell.images}, {np.median(of_b):.0f}", *(f"{x:.2f}" for x in power), named])
        print(rows[-1], flush=True)
    ahead = sum(power[0] > max(power[1:]) for power in powers)
    false_alarms, of_groups = (np.array(p_values) <= 0.05 for p_values in (level, grouped))
    results.write(
        folder,
        "missing",
        here=(
            f"false alarms at 5 % are {percent(false_alarms)} of {len(level):,} draws of equal sets. The largest excess"
            f" among clusters finds what is missing in {results.span([power[0] for power in powers])} of the draws of a"
            f" cell, and more than KID and the energy test in {ahead} of {len(powers)} cells. If each wallpaper is on"
            f" one side, equal sets have p ≤ 0.05 in {percent(of_groups)} of {len(grouped)} draws."
        ),
        tables=[results.table(["B lacks", "A, B", *TESTS, "named right"], rows)],
        seeds=(
            "of draws: 1,000 times the images of A, and the groups or images of B;"
            f" {of_level} draws of each cell of the level, {draws} of power"
        ),
        data=["scikit-learn's digits", "scikit-image's photographs"] if quick else [
            data.FLUENT, data.EMOJIONE, *data.WALLPAPERS, data.TEXTURES, "scikit-learn's digits",
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()
