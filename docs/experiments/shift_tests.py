"""MAGDiff and classifiers beside our test: do two sets of pictures differ?

    pip install "torchmetrics-dna[demo]" scikit-learn
    python docs/experiments/shift_tests.py

Five kinds that chose nothing, with groups of pictures (makers' categories, folders, digits). B is of other pictures
than A, all changed, or a fifth of another kind. MAGDiff (Hensel et al., NeurIPS 2023, arXiv 2305.13271) is of the
default network's classifier: the distance of each picture's activation graph from the mean graph of each group, of
pictures on neither side; a Kolmogorov-Smirnov test of each group, corrected by Bonferroni. C2ST (Lopez-Paz and Oquab,
ICLR 2017, arXiv 1610.06545) is a logistic regression on spatial means of half of the pictures, with a binomial test of
its accuracy on the others; "in two folds" is the classifier of few_off.py. Each picture is measured once. Our test is
that of dna-fd, since dna-emd takes histograms, eight times as long. ``--activations FOLDER`` keeps what was measured.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import results
import torch
from activation_coverage import noisy
from few_off import by_classifier, by_folds
from kinds_held_out import AT_HAND, NUMBERS, kept, packages, pictures
from PIL import Image, ImageFilter
from scipy.stats import binomtest, ks_2samp
from significance import jpeg
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from torchmetrics_dna import DNAExtractor
from torchmetrics_dna.dna import evidence

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Picture = NDArray[np.uint8]
    PValues = dict[tuple[int, str], dict[str, list[float]]]  # by images a side and shift, by test

RELABELINGS = 200
GROUPS, LEAST = 10, 5  # with a mean graph, the largest; pictures that they have
EQUAL, MIXED, SHARE = "equal", "a fifth of another kind", 5
OURS = "folds, dna-fd"
TESTS = (OURS, "MAGDiff", "C2ST", "C2ST in two folds")


class Sizes(NamedTuple):
    """How large a run is."""

    training: int = 100  # pictures for mean graphs
    changed: int = 100  # of the others
    plain: int = 220
    sides: tuple[int, ...] = (20, 60)
    draws: int = 40
    null_draws: int = 100


QUICK = Sizes(12, 10, 18, (8,), 2, 2)


def blurred(picture: Picture, _: int, pixels: float) -> Picture:
    return np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(pixels)))


CHANGES: dict[str, Callable[[Picture, int], Picture]] = {
    "blur 0.5 px": partial(blurred, pixels=0.5),
    "blur 1 px": partial(blurred, pixels=1),
    "noise 5": partial(noisy, deviation=5),
    "noise 20": noisy,
    "JPEG 90": lambda picture, _: jpeg(picture, 90),
    "JPEG 50": lambda picture, _: jpeg(picture, 50),
}


def by_graphs(a: Tensor, b: Tensor, training: Tensor, groups: NDArray[np.str_], weight: Tensor) -> float:
    """P-value of MAGDiff, of pooled features; ``weight`` is the classifier's, ``(classes, n)``."""
    names, counts = np.unique(groups, return_counts=True)
    largest = names[np.argsort(-counts, kind="stable")[: min(GROUPS, int((counts >= LEAST).sum()) or 1)]]
    means = torch.stack([training[torch.from_numpy(groups == name)].mean(0) for name in largest])
    # an edge of the graph is an activation times a weight, so the norm over edges is one over activations
    norms = weight.double().norm(dim=0)
    to_means = [torch.cdist(side * norms, means * norms).numpy() for side in (a, b)]
    p_values = [ks_2samp(*(side[:, i] for side in to_means)).pvalue for i in range(len(means))]
    return float(min(1, min(p_values) * len(means)))


def by_half(a: Tensor, b: Tensor, generator: torch.Generator) -> float:
    """P-value of the accuracy of a classifier on the half of both sides that it was not trained on."""
    both, labels = torch.cat([a, b]), torch.arange(len(a) + len(b)) >= len(a)
    halves = torch.cat([torch.randperm(len(side), generator=generator) % 2 for side in (a, b)]).bool()
    seen = both[halves]
    both = (both - seen.mean(0)) / seen.std(0).clamp(min=1e-9)
    model = LogisticRegression(C=0.01, max_iter=200).fit(both[halves].numpy(), labels[halves].numpy())
    right = model.predict(both[~halves].numpy()) == labels[~halves].numpy()
    return float(binomtest(int(right.sum()), len(right), alternative="greater").pvalue)


def ask(
    plain: Tensor, others: Tensor, shift: str, side: int, sizes: Sizes, groups: NDArray[np.str_],
    extractor: DNAExtractor,
) -> dict[str, list[float]]:  # fmt: skip
    """Draw sides, and ask all tests; ``others`` are changed ones of the first, or of another kind."""
    generator, weight = torch.Generator().manual_seed(side), extractor.network.classifier.weight.detach()
    pooled, pool = slice(-weight.shape[1], None), torch.cat([plain, others])
    p_values: dict[str, list[float]] = {test: [] for test in TESTS}
    for _ in range(sizes.null_draws if shift == EQUAL else sizes.draws):
        order = torch.randperm(sizes.plain, generator=generator)
        of_a, of_b = order[:side], order[side : 2 * side]
        if shift in CHANGES:
            of_b = torch.randperm(sizes.changed, generator=generator)[:side]
            of_a = order[~torch.isin(order, of_b)][:side]
            of_b = of_b + len(plain)
        elif shift == MIXED:
            of_b[: side // SHARE] = len(plain) + torch.randperm(len(others), generator=generator)[: side // SHARE]
        a, b = pool[of_a], pool[of_b]
        both = torch.cat([a, b])
        standard = (both - both.mean(0)) / both.std(0).clamp(min=1e-9)
        training, their_groups = plain[-sizes.training :, pooled], groups[-sizes.training :]
        found = (
            by_folds(a, b, extractor.neurons, generator),
            by_graphs(a[:, pooled], b[:, pooled], training, their_groups, weight),
            by_half(a, b, generator),
            by_classifier(standard, side, generator),
        )
        for test, p in zip(TESTS, found, strict=True):
            p_values[test].append(p)
    return p_values


def of_kind(
    name: str, other: str, numbers: dict[str, int], sizes: Sizes, folder: Path | None, extractor: DNAExtractor
) -> PValues:
    """P-values of all shifts of a kind; training pictures are its last."""
    (images, groups), count = pictures(name, numbers[name]), sizes.plain + sizes.training

    def measured(of: str, some: Callable[[], list[Picture]]) -> Tensor:
        return kept(folder, of, some, extractor).double()

    plain = measured(name, lambda: images)[:count]
    p_values: PValues = {}
    for shift in (EQUAL, *CHANGES, MIXED):
        others = plain[:0]
        if shift in CHANGES:
            changed = partial(map, CHANGES[shift], images[: sizes.changed], range(sizes.changed))
            others = measured(f"{name}, {shift}", lambda changed=changed: list(changed()))
        elif shift == MIXED:
            others = measured(other, lambda: pictures(other, numbers[other])[0])
        for side in sizes.sides:
            p_values[side, shift] = ask(plain, others, shift, side, sizes, np.array(groups[:count]), extractor)
            print(name, side, shift, {test: shares(p) for test, p in p_values[side, shift].items()}, flush=True)
    return p_values


def shares(p_values: Sequence[float]) -> float:
    return float(np.mean(np.array(p_values) <= 0.05))


def main() -> None:
    parser = results.parser(__doc__)
    parser.add_argument("--activations", type=Path, help="folder that keeps what was measured")
    arguments = parser.parse_args()
    folder, quick = results.begin(arguments), arguments.quick
    evidence.NUM_RELABELINGS = RELABELINGS
    numbers, sizes = (AT_HAND, QUICK) if quick else (NUMBERS, Sizes())
    names, extractor = list(numbers), DNAExtractor("efficientnet_lite0")
    found = {
        name: of_kind(name, names[(i + 1) % len(names)], numbers, sizes, arguments.activations, extractor)
        for i, name in enumerate(names)
    }

    def row(shift: str, side: int, kinds: Sequence[str]) -> list[float]:
        return [float(np.mean([shares(found[kind][side, shift][test]) for kind in kinds])) for test in TESTS]

    shifts, rows, by_kind = (EQUAL, *CHANGES, MIXED), [], []
    for shift in shifts:
        cells = [row(shift, side, names) for side in sizes.sides]
        rows.append([shift, *(" / ".join(f"{of[i]:.2f}" for of in cells) for i in range(len(TESTS)))])
        by_kind += [[name, side, shift, *(f"{x:.2f}" for x in row(shift, side, [name]))]
                    for name in names for side in sizes.sides]  # fmt: skip
    cells = [row(shift, side, [name]) for shift in shifts[1:] for side in sizes.sides for name in names]
    rivals = range(1, len(TESTS))
    ahead, behind = ([sum(sign * (of[0] - of[i]) > 0 for of in cells) for i in rivals] for sign in (1, -1))
    counts = [
        f"Compared with {TESTS[i]}, its power is higher in {more} of them and lower in {less}."
        for i, more, less in zip(rivals, ahead, behind, strict=True)
    ]
    alarms = [np.mean([row(EQUAL, side, names)[i] for side in sizes.sides]) for i in range(len(TESTS))]
    results.write(
        folder,
        "shift_tests",
        here=(
            f"The test of dna-fd is compared with three others in {len(cells)} combinations of domain, shift and number"
            f" of images. {' '.join(counts)} At a level of 5%, it gives a false alarm in {alarms[0]:.1%} of"
            f" {sizes.null_draws * len(names) * len(sizes.sides)} draws. The others do so in"
            f" {', '.join(f'{share:.1%} ({TESTS[i]})' for i, share in zip(rivals, alarms[1:], strict=True))}."
        ),
        tables=[
            results.table([f"p ≤ 0.05, {' / '.join(map(str, sizes.sides))} a side", *TESTS], rows),
            results.table(["kind", "a side", "shift", *TESTS], by_kind),
        ],
        seeds=(
            f"of draws the images a side; {sizes.draws} draws of each cell, {sizes.null_draws} of equal sets;"
            " 0 of pictures; the picture's number for noise"
        ),
        data=packages(quick),
    )  # fmt: skip


if __name__ == "__main__":
    main()
