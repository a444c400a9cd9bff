"""Did a step of a pipeline change the images? What 10 to 30 pairs show, beside FID, KID and SSIM.

    pip install "torchmetrics-dna[demo]" scikit-learn tifffile
    python docs/experiments/pipelines.py

Tiles of photographs, icons and renders, 128 pixels at most, as :func:`compare` sees them by default, and the same after
one step. Kinds, steps and numbers were fixed before the first run. Each picture is measured once. A draw takes so many
pictures; pairs have a fold each. For the level, both sides of a pair get noise of 2.5 grey levels of its own, or
a picture and its JPEG are exchanged at random.

FID and KID are of the features of the last layer, whose images they do not pair: p is the share of 200 draws from both
sides together, with replacement, that are as far apart. SSIM of a pair is at most 1, so a sign test rejects as soon as
pixels differ. LPIPS takes weights that no package ships. As in ``pairs.py``, a test has 200 relabelings, and histograms
have 25 bins.
"""

from __future__ import annotations

from functools import cache, partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import causes
import data
import numpy as np
import results
import torch
from matplotlib.figure import Figure
from PIL import Image
from significance import RECORD, RELABELINGS, Images, Measure, remember
from torchmetrics.functional.image import structural_similarity_index_measure

from torchmetrics_dna.dna import evidence as asked
from torchmetrics_dna.dna.averaging import PLAIN
from torchmetrics_dna.dna.distances import DISTANCES
from torchmetrics_dna.dna.features import Features
from torchmetrics_dna.dna.folded import plan_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from significance import Picture
    from torch import Tensor

    from torchmetrics_dna.dna.result import Result

SIZES, KINDS, POOL, SIDE, COARSE, RESAMPLES = (10, 20, 30), ("landscapes", "icons", "renders"), 100, 128, 4, 200
LAYER = "head"
WORDS = {"landscapes": "photographs", "icons": "icons", "renders": "renders", "digits": "digits"}


def enlarged(picture: Picture) -> Picture:
    """Three quarters of the size, and back."""
    size = picture.shape[1::-1]
    small = Image.fromarray(picture).resize([side * 3 // 4 for side in size], Image.Resampling.LANCZOS)
    return np.asarray(small.resize(size, Image.Resampling.LANCZOS))


def made(name: str, amount: float) -> Callable[[Picture, int], Picture]:
    return lambda picture, i: causes.MADE[name](picture, amount, i)


STEPS: dict[str, Callable[[Picture, int], Picture]] = {
    "noise of 1 grey level": made("noise", 1),
    "noise of 2.5 grey levels": made("noise", 2.5),
    "noise of 5 grey levels": made("noise", 5),
    "JPEG 95": made("JPEG compression", 95),
    "JPEG 90": made("JPEG compression", 90),
    "JPEG 75": made("JPEG compression", 75),
    "resize to 75 % and back": lambda picture, _: enlarged(picture),
    "gamma 1.02": lambda picture, _: causes.rounded(255 * (picture / 255) ** 1.02),
}
OTHER_NOISE = "other noise of 2.5 grey levels"
CONTROLS = {
    "noise on both sides": ("noise of 2.5 grey levels", OTHER_NOISE, False),
    "JPEG 90, exchanged": ("", "JPEG 90", True),
}


@cache
def pictures(kind: str, step: str, quick: bool) -> list[Picture]:
    if quick:
        every = data.at_hand(40, kind)
    else:
        every, _ = causes.pictures(kind)
        every = [np.ascontiguousarray(picture[-SIDE:, :SIDE]) for picture in every[:POOL]]
    if step == OTHER_NOISE:
        return [STEPS["noise of 2.5 grey levels"](picture, 10_000 + i) for i, picture in enumerate(every)]
    return [STEPS[step](picture, i) for i, picture in enumerate(every)] if step else every


measure = cache(Measure)


@cache
def measured(kind: str, step: str, quick: bool) -> Images:
    images = measure()(pictures(kind, step, quick))
    return Images(images.counts.unflatten(2, (-1, COARSE)).sum(3, dtype=torch.int16), images.means)


@cache
def similar(kind: str, steps: tuple[str, str], quick: bool) -> list[float]:
    """SSIM of each picture after one step and after another."""
    a, b = (data.batch(pictures(kind, step, quick)).float() for step in steps)
    return structural_similarity_index_measure(a, b, data_range=255.0, reduction="none").tolist()


def sign_test(values: list[float]) -> float:
    """Two-sided p-value that values are below 1 as often as above; those that are 1 don't count."""
    number = sum(value != 1 for value in values)
    return min(1.0, 2.0 ** (1 - number))


def frechet(a: Tensor, b: Tensor) -> Tensor:
    """FID of features ``(..., images, neurons)``: singular values of a small matrix give the trace of the root."""
    centred = [side - side.mean(-2, keepdim=True) for side in (a, b)]
    scales = [(side.shape[-2] - 1) ** -0.5 for side in (a, b)]
    traces = sum(scale**2 * side.square().sum((-1, -2)) for side, scale in zip(centred, scales, strict=True))
    product = scales[0] * scales[1] * centred[0] @ centred[1].mT
    means = (a.mean(-2) - b.mean(-2)).square().sum(-1)
    return means + traces - 2 * torch.linalg.svdvals(product).sum(-1)


def kernel(a: Tensor, b: Tensor) -> Tensor:
    """KID of features, unbiased."""
    size, width = a.shape[-2:]
    within = sum(
        ((side @ side.mT / width + 1) ** 3).tril(-1).sum((-1, -2)) * 2 / (size * (size - 1)) for side in (a, b)
    )
    return within - 2 * ((a @ b.mT / width + 1) ** 3).mean((-1, -2))


def resampled(distance: Callable[[Tensor, Tensor], Tensor], a: Tensor, b: Tensor, generator: torch.Generator) -> float:
    """Share of draws from both sides together, with replacement, that are as far apart."""
    both = torch.cat([a, b])
    chosen = torch.randint(len(both), (RESAMPLES, 2, len(a)), generator=generator)
    drawn = distance(both[chosen[:, 0]], both[chosen[:, 1]])
    return (1 + float((drawn >= distance(a, b)).sum())) / (1 + RESAMPLES)


def by_pairs(a: Images, b: Images, chosen: Tensor) -> dict[str, Result]:
    """Results of pairs, of a fold each: of all neurons, and of the features of the last layer."""
    folds, rows = torch.arange(len(chosen)), measure().layers[LAYER]
    neurons = measure().extractor.neurons
    of_layer = neurons.take(neurons.positions([LAYER]))
    dnas = [measure().in_folds(side, chosen, folds) for side in (a, b)]
    features = [Features(side.means[chosen][:, rows].float(), of_layer, "efficientnet_lite0") for side in (a, b)]
    fd, kid = DISTANCES["fd"], DISTANCES["kid"]
    plan = plan_for(of_layer, [len(chosen)] * 2, by_fold=True, tested=True, name="fd")
    tested = fd.folded(*features, (folds, folds), plan).as_pairs()
    return {
        "dna-emd": RECORD.result(*dnas, paired=True),
        "fd": asked.weigh_evidence(
            torch.zeros(1, dtype=torch.float64), tested, fd.power, averaging=PLAIN, confidence=0.95
        ),
        "kid": kid.result(*features, folded=kid.folded(*features, (folds, folds)), paired=True),
    }


def p_of(result: Result) -> float:
    return float(result.test.p_value if hasattr(result, "test") else result.p_value)


def draws(kind: str, steps: tuple[str, str], exchanged: bool, size: int, number: int, quick: bool) -> list[dict]:
    """P-values of each method, and the value of pairs without noise, in thousandths of a range."""
    a, b = (measured(kind, step, quick) for step in steps)
    generator, found = torch.Generator().manual_seed(size), []
    rows = measure().layers[LAYER]
    for _ in range(number):
        order = torch.randperm(len(a), generator=generator)
        chosen, others = order[:size], order[size : 2 * size]
        first, second = a, b
        if exchanged:
            stays = torch.rand(len(a), generator=generator) < 0.5
            first = Images(*(torch.where(stays.view(-1, *[1] * (x.dim() - 1)), x, y) for x, y in both_of(a, b)))
            second = Images(*(torch.where(stays.view(-1, *[1] * (x.dim() - 1)), y, x) for x, y in both_of(a, b)))
        paired = by_pairs(first, second, chosen)
        interval = paired["dna-emd"].interval
        scale = 1000 * COARSE / 100
        features = first.means[chosen][:, rows].double(), second.means[chosen][:, rows].double()
        ssim = similar(kind, steps, quick)
        apart = RECORD.result(
            *(measure().in_folds(side, some, torch.arange(size)) for side, some in ((first, chosen), (second, others)))
        )
        found.append(
            {
                **{f"{name}, pairs": p_of(result) for name, result in paired.items()},
                "dna-emd, other images": apart.p_value,
                "FID, bootstrap": resampled(frechet, *features, generator),
                "KID, bootstrap": resampled(kernel, *features, generator),
                "SSIM, sign test": sign_test([ssim[i] for i in chosen.tolist()]),
                "value": scale * interval.value,
                "layer": max(paired["dna-emd"].layers.items(), key=lambda item: item[1].value)[0],
            }
        )
    return found


def both_of(a: Images, b: Images) -> list[tuple[Tensor, Tensor]]:
    return [(a.counts, b.counts), (a.means, b.means)]


METHODS = (
    "dna-emd, pairs", "fd, pairs", "kid, pairs", "dna-emd, other images", "FID, bootstrap", "KID, bootstrap",
    "SSIM, sign test",
)  # fmt: skip


def shares(cells: list[list[dict]], method: str) -> str:
    figures = [f"{100 * np.mean([row[method] <= 0.05 for row in rows]):.0f}" for rows in cells]
    return ", ".join(figures if len(set(figures)) > 1 else figures[:1])


def draw(found: dict[str, dict[int, list[dict]]], sizes: tuple[int, ...]) -> Figure:
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    figure.suptitle("Share of draws in which a step is found, over eight steps, by images a side")
    axis = figure.subplots()
    colours = [*results.COLOURS.values()][: len(METHODS)]
    for method, colour, marker in zip(METHODS, colours, "osDv^Px", strict=True):
        heights = [
            100 * float(np.mean([row[method] <= 0.05 for step in STEPS for row in found[step][size]])) for size in sizes
        ]
        axis.plot(sizes, heights, color=colour, marker=marker, label=method)
    results.finish_powers(figure, axis, sizes, "pairs, or images a side")
    return figure


def main() -> None:
    parser = results.parser(__doc__)
    parser.add_argument("--draws", type=int, default=6, help="of each step, kind and number")
    parser.add_argument("--controls", type=int, default=66, help="of each control and number, over all kinds")
    arguments = parser.parse_args()
    folder, quick = results.begin(arguments), arguments.quick
    asked.NUM_RELABELINGS = 40 if quick else RELABELINGS
    sizes, kinds = ((10,), ("digits",)) if quick else (SIZES, KINDS)
    number, controls = (1, 2) if quick else (arguments.draws, -(-arguments.controls // len(kinds)))
    script = sha256(Path(__file__).read_bytes()).hexdigest()[:8]
    keep = partial(remember, None if quick else data.CACHE / f"pipelines-{script}-{number}-{controls}.json")
    questions = {step: ("", step, False) for step in STEPS} | CONTROLS
    found: dict[str, dict[int, list[dict]]] = {}
    for name, (before, after, exchanged) in questions.items():
        of_each = controls if name in CONTROLS else number
        for size in sizes:
            found.setdefault(name, {})[size] = [
                row
                for kind in kinds
                for row in keep(
                    f"{name}, {kind}, {size}",
                    partial(draws, kind, (before, after), exchanged, size, of_each, quick),
                )
            ]
    header = [f"p ≤ 0.05 (% of draws) with {', '.join(map(str, sizes))} images per set", *METHODS]
    rows = [
        [f"{name} (control)" if name in CONTROLS else name, *(shares(list(of.values()), method) for method in METHODS)]
        for name, of in found.items()
    ]
    values = []
    for step in STEPS:
        layers = [row["layer"] for size in sizes for row in found[step][size]]
        furthest = max(set(layers), key=layers.count)
        cells = [[row["value"] for row in found[step][size]] for size in sizes]
        often = results.percent(layers.count(furthest) / len(layers))
        values.append([step, *(f"{np.mean(c):.2f} ± {np.std(c):.2f}" for c in cells), f"{furthest} ({often})"])
    of_pairs = [float(np.mean([row["dna-emd, pairs"] <= 0.05 for row in found[s][n]])) for s in STEPS for n in sizes]
    alarms = [
        100 * float(np.mean([row["dna-emd, pairs"] <= 0.05 for row in found[c][n]])) for c in CONTROLS for n in sizes
    ]
    results.write(
        folder,
        "pipelines",
        here=(
            f"With pairs, dna-emd detects a step in {100 * min(of_pairs):.0f} to {100 * max(of_pairs):.0f}% of draws,"
            " depending on the step and the number of pairs. In the controls, it reports a difference in"
            f" {results.span(alarms, '.1f')}% of draws."
        ),
        tables=[
            results.table(header, rows),
            results.table(
                ["debiased dna-emd, mean ± deviation of draws", *(f"{n} pairs" for n in sizes), "furthest layer"],
                values,
            ),
        ],
        figures={"": draw(found, sizes)},
        seeds=f"of draws: the number of pairs; {number} draws of each step, kind and number, {controls} of controls",
        data=["scikit-learn"] if quick else [*map(str, data.BACKGROUNDS), causes.ICONS, causes.RENDERS],
    )


if __name__ == "__main__":
    main()
