"""Are a few images of a set unlike another's? Level and power of the test of outlier scores, and how many it counts.

    pip install "torchmetrics-dna[demo]" scikit-learn
    python docs/experiments/few_off.py

Emoji of two makers, tiles of wallpapers, textures of a game, and digits chose nothing. The score above which images are
counted was chosen on letters and icons. Each picture is measured once; a draw takes different pictures for the
reference and for the set, replaces some of the set by others, and asks what :func:`rank` asks, and the two questions of
:func:`compare`, the first by dna-fd. ``--activations FOLDER`` keeps the measurements.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import results
import torch
from kinds_held_out import Kind, measured, packages
from matplotlib.figure import Figure
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from torchmetrics_dna import DNAExtractor
from torchmetrics_dna.comparisons.outliers import Outliers
from torchmetrics_dna.dna import GaussianDNA, evidence
from torchmetrics_dna.dna.averaging import PLAIN
from torchmetrics_dna.dna.distances import DISTANCES
from torchmetrics_dna.dna.evidence import weigh_evidence
from torchmetrics_dna.functional import OutlierTest, outlier_test
from torchmetrics_dna.functional.outliers import (
    gaussians_of_means,
    layers_for_outliers,
    left_out_scores,
    outlier_scores,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from torchmetrics_dna.neurons import Neurons

SIZES = ((50, 50), (100, 100), (200, 200), (50, 200), (200, 50), (300, 100))  # of the reference, of the set
SIZES_OF_NEAR = ((100, 100), (50, 200))  # of sets with near copies
LEVEL_DRAWS, DRAWS, RELABELINGS = 25, 100, 200
FOLDS = 20
NEAR = 0.1  # of the deviation of pictures, between near copies


@dataclass
class Cell:
    """A set in which some images are of another kind."""

    kind: str
    other: str
    odd: int
    reference: int
    images: int

    @property
    def name(self) -> str:
        odd = f"{self.odd} {self.other}"
        return odd if self.other.startswith(self.kind) else f"{odd} among {self.kind}"


CELLS = (
    Cell("fluent", "wallpapers", 5, 100, 100),
    Cell("fluent", "wallpapers", 5, 50, 50),
    Cell("fluent", "wallpapers", 2, 400, 100),
    Cell("emojione", "wallpapers", 10, 200, 200),
    Cell("digits", "digits, blurred", 5, 100, 100),
    Cell("fluent", "fluent, blurred", 10, 200, 200),
    Cell("fluent", "emojione", 10, 100, 100),
    Cell("fluent", "emojione", 20, 200, 100),
    Cell("wallpapers", "textures", 20, 100, 100),
    Cell("textures", "textures, JPEG", 5, 100, 100),
)
QUICK = (Cell("digits", "photographs", 3, 15, 12),)
TESTS = ("outlier scores", "in compare", "folds, dna-fd", "KID, all layers", "energy", "classifier")
OWN = 2  # of these are ours: alone, and as the second question


@dataclass
class Draws:
    """Of many draws: p-values by test, the tests of outlier scores, and of the images named the share that is odd."""

    p: dict[str, list[float]] = field(default_factory=dict)
    found: list[OutlierTest] = field(default_factory=list)
    right: list[float] = field(default_factory=list)

    def power(self, test: str) -> float:
        return float(np.mean(np.array(self.p[test]) <= 0.05))


def scores_of(reference: Tensor, images: Tensor, neurons: Neurons) -> tuple[Tensor, Tensor]:
    """Outlier scores of the images, and of the reference's own, each left out: what :func:`rank` has."""
    layers = layers_for_outliers(neurons)
    of_images, of_reference = (
        {layer: side[:, neurons.slices[layer]] for layer in layers} for side in (images, reference)
    )
    return outlier_scores(of_images, gaussians_of_means(of_reference)), left_out_scores(of_reference)


def second_question(scores: Tensor, typical: Tensor) -> float:
    """P-value of the second question of :func:`compare`, which is one of several."""
    numbers = list(range(len(scores)))
    test = Outliers([*map(str, numbers)], numbers, scores, typical).outlier_test
    return 1.0 if test is None else test.p_value


def by_folds(reference: Tensor, images: Tensor, neurons: Neurons, generator: torch.Generator) -> float:
    """P-value of the test of :func:`compare`, by dna-fd."""
    sides = []
    for side in (reference, images):
        folds = torch.randint(FOLDS, (len(side),), generator=generator)
        of_folds = [gaussian(side[folds == fold], neurons) for fold in folds.unique()]
        sides.append(gaussian(side, neurons, tuple(of_folds)))
    record = DISTANCES["dna-fd"]
    weighed = weigh_evidence(
        sides[0].distances(sides[1]), record.folded(*sides), record.power, averaging=PLAIN, confidence=0.95
    )
    return 1.0 if weighed is None else weighed.test.p_value


def gaussian(means: Tensor, neurons: Neurons, folds: tuple[GaussianDNA, ...] = ()) -> GaussianDNA:
    moments = torch.stack([means.sum(0), means.square().sum(0)])
    return GaussianDNA.from_moments(moments, neurons, len(means), "means", folds=folds)


def by_kernel(kernel: Tensor, count: int, generator: torch.Generator) -> float:
    """P-value of the unbiased MMD of the first ``count`` rows and the others, by permutation of the labels."""
    total = len(kernel)
    labels = torch.zeros(RELABELINGS, total, dtype=torch.float64)
    chosen = torch.rand(RELABELINGS, total, generator=generator).argsort(1)[:, :count]
    labels.scatter_(1, chosen, 1)
    labels[0] = torch.arange(total) < count
    pairs = kernel - kernel.diag().diag()
    a, b = labels, 1 - labels
    within = ((a @ pairs) * a).sum(1) / count / (count - 1)
    others = total - count
    within = within + ((b @ pairs) * b).sum(1) / others / (others - 1)
    mmd = within - 2 * ((a @ pairs) * b).sum(1) / count / others
    return float((mmd >= mmd[0] - 1e-12 * mmd[0].abs()).double().mean())


def by_classifier(standard: Tensor, count: int, generator: torch.Generator) -> float:
    """P-value of the difference of scores of a classifier that saw the other half, by permutation of the labels."""
    labels = (torch.arange(len(standard)) >= count).numpy()
    halves = torch.rand(len(standard), generator=generator).argsort() % 2
    scores = torch.zeros(len(standard), dtype=torch.float64)
    for half in (0, 1):
        seen, asked = (halves != half).numpy(), (halves == half).numpy()
        if len(set(labels[seen])) == 2:
            model = LogisticRegression(C=0.01, max_iter=200).fit(standard[seen], labels[seen])
            scores[asked] = torch.from_numpy(model.decision_function(standard[asked]))
    drawn = torch.rand(RELABELINGS, len(scores), generator=generator).argsort(1)[:, count:]
    drawn[0] = torch.arange(count, len(scores))
    sums = scores[drawn].sum(1)
    return float((sums >= sums[0] - 1e-12).double().mean())


def draw(cell: Cell, kinds: dict[str, Kind], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Reference and set, whose first images are the odd ones; no picture is on both sides."""
    kind, other = kinds[cell.kind].means, kinds[cell.other].means
    odd = torch.randperm(len(other), generator=generator)[: cell.odd]
    left = torch.arange(len(kind))
    if cell.other.startswith(cell.kind):
        left = left[~torch.isin(left, odd)]
    plain = left[torch.randperm(len(left), generator=generator)][: cell.reference + cell.images - cell.odd]
    return kind[plain[: cell.reference]], torch.cat([other[odd], kind[plain[cell.reference :]]])


def ask(cell: Cell, kinds: dict[str, Kind], neurons: Neurons, draws: int) -> Draws:
    """Ask all tests in many draws."""
    generator = torch.Generator().manual_seed(1000 * cell.reference + cell.images)
    asked = Draws({test: [] for test in TESTS})
    for _ in range(draws):
        reference, images = draw(cell, kinds, generator)
        scores, typical = scores_of(reference, images, neurons)
        found, whole = outlier_test(scores, typical), by_folds(reference, images, neurons, generator)
        both = torch.cat([reference, images])
        standard = (both - both.mean(0)) / both.std(0).clamp(min=1e-9)
        p_values = (
            found.p_value,
            second_question(scores, typical),
            whole,
            by_kernel((standard @ standard.T / standard.shape[1] + 1) ** 3, len(reference), generator),
            by_kernel(-torch.cdist(standard, standard), len(reference), generator),
            by_classifier(standard, len(reference), generator),
        )
        for test, p in zip(TESTS, p_values, strict=True):
            asked.p[test].append(p)
        asked.found.append(found)
        if found.p_value <= 0.05:
            named = scores.argsort(descending=True)[: max(1, round(found.share * cell.images))]
            asked.right.append(float((named < cell.odd).double().mean()))
    return asked


def alarms(
    kind: Kind, sizes: tuple[int, int], neurons: Neurons, draws: int, choose: Callable[..., Sequence[Tensor]]
) -> list[tuple[float, float, float]]:
    """P-values of equal sets: of the test of outlier scores, of folds, and of the second question."""
    generator = torch.Generator().manual_seed(1000 * sizes[0] + sizes[1])
    p_values = []
    for _ in range(draws):
        reference, images = (kind.means[chosen] for chosen in choose(kind, sizes, generator))
        scores, typical = scores_of(reference, images, neurons)
        whole = by_folds(reference, images, neurons, generator)
        p_values.append((outlier_test(scores, typical).p_value, whole, second_question(scores, typical)))
    return p_values


def at_random(kind: Kind, sizes: tuple[int, int], generator: torch.Generator) -> Sequence[Tensor]:
    return torch.randperm(len(kind.means), generator=generator)[: sum(sizes)].split(sizes)


def whole_groups(kind: Kind, sizes: tuple[int, int], generator: torch.Generator) -> Sequence[Tensor]:
    """Each group is on one side, as clips may be."""
    groups = np.unique(kind.groups)
    shuffled = groups[torch.randperm(len(groups), generator=generator).numpy()]
    halves = shuffled[::2], shuffled[1::2]
    sides = [torch.from_numpy(np.isin(kind.groups, half).nonzero()[0]) for half in halves]
    return [
        side[torch.randperm(len(side), generator=generator)[:size]] for side, size in zip(sides, sizes, strict=True)
    ]


def with_near_copies(kind: Kind) -> Kind:
    """Half of the pictures, and a near copy of each."""
    half = kind.means[: len(kind.means) // 2]
    noise = torch.randn(half.shape, generator=torch.Generator().manual_seed(0), dtype=half.dtype)
    return Kind(torch.cat([half, half + NEAR * half.std(0) * noise]), np.tile(kind.groups[: len(half)], 2))


def power_row(cell: Cell, asked: Draws) -> list[str]:
    return [cell.name, f"{cell.reference}, {cell.images}", *(f"{asked.power(test):.2f}" for test in TESTS)]


def share_row(cell: Cell, asked: Draws) -> list[str]:
    counts = np.array([[x * cell.images for x in found[1:4]] for found in asked.found])
    shown = np.array([found.p_value <= 0.05 for found in asked.found])
    covered = np.array([covers(found, cell) for found in asked.found])
    told = ["-"] * 3
    if shown.any():
        told = [f"{counts[shown, 0].mean():.1f}", f"{covered[shown].mean():.2f}", f"{np.mean(asked.right):.2f}"]
    sides = f"{cell.reference}, {cell.images}"
    about = f"{counts[:, 0].mean():.1f}", f"{counts[:, 0].std():.1f}", f"{covered.mean():.2f}"
    return [cell.name, sides, *about, *told, f"{shown.sum()}"]


def covers(found: OutlierTest, cell: Cell) -> bool:
    """True if the range holds the true share."""
    return found.low - 1e-9 <= cell.odd / cell.images <= found.high + 1e-9


def percent(significant: NDArray[np.bool_]) -> str:
    """The share of draws."""
    return f"{significant.mean():.1%}"


def alarmed(p_values: Sequence[tuple[float, float, float]]) -> list[NDArray[np.bool_]]:
    """Draws in which each test, and either question of :func:`compare`, finds something."""
    alone, first, second = (np.array(p_values) <= 0.05).T
    return [alone, first, second, first | second]


def level_table(level: dict[tuple[str, tuple[int, int]], list[tuple[float, float, float]]]) -> str:
    """False alarms by kind and by size."""
    kinds, sizes = (list(dict.fromkeys(keys)) for keys in zip(*level, strict=True))
    rows = []
    for chosen in (*kinds, *sizes, None):
        p_values = [p for key, of_cell in level.items() if chosen is None or chosen in key for p in of_cell]
        name = "all" if chosen is None else chosen if isinstance(chosen, str) else f"{chosen[0]}, {chosen[1]} images"
        rows.append([name, *map(percent, alarmed(p_values)), f"{len(p_values)}"])
    header = ["false alarms", "outlier scores", "compare: differs", "compare: a few are off", "either", "draws"]
    return results.table(header, rows)


def plot(asked: dict[str, Draws]) -> Figure:
    """Plot power of all tests, a row for each cell."""
    figure = Figure(figsize=(9, 0.45 * len(asked) + 1.2), layout="constrained")
    figure.suptitle("Share of draws in which a test finds odd images")
    axis = figure.subplots()
    colours = ("dna-emd", "second", "dna-fd", "KID", "fd", "other")
    for test, colour in zip(TESTS, colours, strict=True):
        powers = [draws.power(test) for draws in asked.values()]
        axis.plot(powers, range(len(asked)), "o", color=results.COLOURS[colour], label=test)
    axis.axvline(0.05, color="0.6", linewidth=0.8)
    axis.set_yticks(range(len(asked)), list(asked))
    axis.invert_yaxis()
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def main() -> None:
    parser = results.parser(__doc__)
    parser.add_argument("--activations", type=Path, help="folder that keeps what was measured")
    arguments = parser.parse_args()
    folder, quick = results.begin(arguments), arguments.quick
    evidence.NUM_RELABELINGS = RELABELINGS
    extractor = DNAExtractor("efficientnet_lite0")
    neurons = extractor.neurons
    kinds = measured(arguments.activations, extractor, quick)
    plain = {name: kind for name, kind in kinds.items() if "," not in name}
    sizes, of_level, draws = (((15, 12),), 4, 3) if quick else (SIZES, LEVEL_DRAWS, DRAWS)
    near = {f"{name}, near copies": with_near_copies(plain[name]) for name in ("digits", "fluent") if name in plain}
    level = {
        (name, size): alarms(kind, size, neurons, of_level, at_random)
        for name, kind in (plain | near).items()
        for size in (sizes if quick or name in plain else SIZES_OF_NEAR)
    }
    tables = [level_table(level)]
    print(tables[0], flush=True)
    clips, size = ("digits", (4, 4)) if quick else ("wallpapers", (100, 100))
    grouped = alarms(plain[clips], size, neurons, draws, whole_groups)
    asked = []
    for cell in QUICK if quick else CELLS:
        asked.append((cell, ask(cell, kinds, neurons, draws)))
        print(power_row(*asked[-1]), share_row(*asked[-1]), flush=True)
    tables.append(results.table(["the set has", "reference, set", *TESTS], [power_row(*one) for one in asked]))
    told = ["about, where p ≤ 0.05", "in its range", "right of those named", "draws"]
    header = ["the set has", "reference, set", "about", "its deviation", "in its range", *told]
    tables.append(results.table(header, [share_row(*one) for one in asked]))
    rivals = [max(found.power(test) for test in TESTS[OWN:]) for _, found in asked]
    powers = [found.power(TESTS[0]) for _, found in asked]
    ahead = sum(power > rival for power, rival in zip(powers, rivals, strict=True))
    ranges = [covers(found, cell) for cell, of_cell in asked for found in of_cell.found if found.p_value <= 0.05]
    of_all = alarmed([p for of_cell in level.values() for p in of_cell])
    results.write(
        folder,
        "few_off",
        here=(
            f"At a level of 5%, the test of outlier scores gives a false alarm in {percent(of_all[0])} of"
            f" {len(of_all[0]):,} draws in which both sets are samples of the same distribution. In the same draws,"
            f" `compare` reports a difference in {percent(of_all[1])}, a small number of outliers in"
            f" {percent(of_all[2])}, and one of both in {percent(of_all[3])}. The test of outlier scores has a higher"
            f" power than the best of {len(TESTS) - OWN} others in {ahead} of {len(asked)} cases. Its power is"
            f" {results.span(powers)}, and that of the best other test {results.span(rivals)}. If the test is"
            " significant, the reported range contains the number of replaced images in"
            f" {results.percent(float(np.mean(ranges or [0])))} of draws. If all tiles of a wallpaper are in the same"
            f" set, p ≤ 0.05 in {percent(alarmed(grouped)[0])} of {len(grouped)} draws without a difference."
        ),
        tables=tables,
        figures={"": plot({f"{cell.name} ({cell.reference}, {cell.images})": found for cell, found in asked})},
        seeds=(
            "of draws: 1,000 times the reference's images, and those of the set;"
            f" {of_level} draws of each cell of the level, {draws} of power"
        ),
        data=packages(quick),
    )  # fmt: skip


if __name__ == "__main__":
    main()
