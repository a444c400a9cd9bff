"""What do pairs of images show that independent images do not? On emoji, by simulation.

    pip install "torchmetrics-dna[demo]" scikit-learn
    python docs/experiments/pairs.py

Emoji of apple, at 64 pixels, and the same ones saved as JPEG, blurred, or with noise of one grey level. A draw takes
some pictures and compares them with their changed versions, as :func:`compare` does with ``pairs``: up to 50 pairs have
a fold each, more are shared out to 20 folds. Beside it, as many changed versions of other pictures. For false alarms,
original and changed version of each pair are exchanged at random. As in ``test_and_value.py``, which made the tables of
histograms, a test has 200 relabelings, and histograms have 25 bins.
"""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import data
import numpy as np
import results
import torch
from matplotlib.figure import Figure
from significance import RECORD, RELABELINGS, random_folds
from test_and_value import FOLDS, SCALE, Tables, cumulative, far, share

from torchmetrics_dna.dna import evidence as asked
from torchmetrics_dna.jobs.groups import FEW

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

CHANGES = ("JPEG 95", "JPEG 90", "blur 0.3", "blur 0.5", "noise")
SIZES, UNPAIRED, EXCHANGED = (5, 10, 20, 50, 100), (20, 50), (10, 20, 50)
TRUTH = 1000  # pairs


def side_by_side(tables: Tables, a: Tensor, b: Tensor, generator: torch.Generator) -> dict[str, float]:
    """Of pairs."""
    size = len(a)
    folds = torch.arange(size) if size <= FEW else random_folds(size, FOLDS, generator)
    found = RECORD.result(tables.dna(a, folds), tables.dna(b, folds), paired=True)
    return {"p": found.p_value, **dict(zip(("value", "low", "high"), ends(found.interval), strict=True))}


def apart(tables: Tables, a: Tensor, b: Tensor, generator: torch.Generator) -> dict[str, float]:
    """Of independent images."""
    folds = (random_folds(len(a), FOLDS, generator) for _ in "ab")
    found = RECORD.result(*(tables.dna(side, fold) for side, fold in zip((a, b), folds, strict=True)))
    return {"p": found.p_value, **dict(zip(("value", "low", "high"), ends(found.interval), strict=True))}


def ends(interval: asked.Interval) -> list[float]:
    return [SCALE * x for x in (interval.value, interval.low, interval.high)]


def draw_many(tables: Tables, change: str, kind: str, size: int, draws: int) -> dict[str, list[float]]:
    plain, changed = tables["apple"], tables[f"apple, {change}"]
    generator, figures = torch.Generator().manual_seed(size), dict[str, list[float]]()
    for _ in range(draws):
        order = torch.randperm(len(plain), generator=generator)
        if kind == "independent":
            found = apart(tables, plain[order[:size]], changed[order[size : 2 * size]], generator)
        else:
            a, b = plain[order[:size]], changed[order[:size]]
            if kind == "exchanged":
                kept = (torch.rand(size, generator=generator) < 0.5)[:, None, None]
                a, b = torch.where(kept, a, b), torch.where(kept, b, a)
            found = side_by_side(tables, a, b, generator)
        for name, value in found.items():
            figures.setdefault(name, []).append(value)
    return figures


def truth_of(tables: Tables, change: str) -> float:
    some = torch.randperm(len(tables["apple"]), generator=torch.Generator().manual_seed(0))[:TRUTH]
    return far(cumulative(tables["apple"][some]), cumulative(tables[f"apple, {change}"][some]))


def value_cells(found: dict[str, list[float]], truth: float) -> str:
    value, low, high = (np.array(found[name]) for name in ("value", "low", "high"))
    held = np.mean((low <= truth) & (truth <= high))
    return f"{value.mean():.2f} ± {value.std():.2f}, {held:.2f}"


def draw(found: dict[str, dict[str, list[float]]], sizes: Sequence[int], unpaired: Sequence[int]) -> Figure:
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    figure.suptitle("Share of draws in which the test finds a change: pairs (lines), independent images (dotted)")
    axis = figure.subplots()
    colours = [results.COLOURS[name] for name in ("dna-emd", "dna-fd", "fd", "KID", "other")]
    for change, colour in zip(CHANGES, colours, strict=True):
        for kind, numbers, line in (("pairs", sizes, "o-"), ("independent", unpaired, "s:")):
            heights = [100 * np.mean(np.array(found[f"{change}, {kind}, {n}"]["p"]) <= 0.05) for n in numbers]
            axis.plot(numbers, heights, line, color=colour, label=change if kind == "pairs" else None)
    results.finish_powers(figure, axis, sizes, "pairs, or images a side")
    return figure


def main() -> None:
    parser = results.parser(__doc__)
    parser.add_argument("--draws", type=int, default=50, help="of each cell; of exchanged pairs four times as many")
    arguments = parser.parse_args()
    folder, quick = results.begin(arguments), arguments.quick
    asked.NUM_RELABELINGS = 40 if quick else RELABELINGS
    tables, draws = Tables(quick), 2 if quick else arguments.draws
    sizes, unpaired, exchanged = ((6, 8), (10,), (6,)) if quick else (SIZES, UNPAIRED, EXCHANGED)
    script = sha256(Path(__file__).read_bytes()).hexdigest()[:8]
    kept = data.CACHE / f"pairs-{script}-{draws}"
    kept.mkdir(exist_ok=True, parents=True)
    cells = [(change, "pairs", size) for size in sizes for change in CHANGES]
    cells += [("JPEG 90", "exchanged", size) for size in exchanged]
    cells += [(change, "independent", size) for size in unpaired for change in CHANGES]
    found = {}
    for change, kind, size in cells:
        name = f"{change}, {kind}, {size}"
        file = kept / f"{name}.json"
        if quick or not file.exists():
            figures = draw_many(tables, change, kind, size, draws * (4 if kind == "exchanged" else 1))
            if not quick:
                file.write_text(json.dumps(figures), encoding="utf-8")
                print(name, share(figures["p"]), flush=True)
        found[name] = figures if quick else json.loads(file.read_text(encoding="utf-8"))
    truth = {change: truth_of(tables, change) for change in CHANGES}
    enough = [size for size in sizes if size >= 20] or sizes
    seen = [change for change in CHANGES if truth[change]]  # digits are the same after JPEG
    off = {
        size: max(abs(np.mean(found[f"{change}, pairs, {size}"]["value"]) / truth[change] - 1) for change in seen)
        for size in enough
    }
    levels = [100 * np.mean(np.array(found[f"JPEG 90, exchanged, {size}"]["p"]) <= 0.05) for size in exchanged]
    results.write(
        folder,
        "pairs",
        here=(
            f"If the original and the changed image of each pair are exchanged at random, p ≤ 0.05 in"
            f" {results.span(levels, '.1f')}% of draws. The mean of the debiased distance over the draws differs from"
            f" the distance of {TRUTH:,} pairs by at most"
            f" {', '.join(f'{100 * x:.0f}% with {size} pairs' for size, x in off.items())}."
        ),
        tables=[
            results.table(
                ["found: p ≤ 0.05", *(f"{n} pairs" for n in sizes), *(f"{n} independent" for n in unpaired)],
                [
                    [
                        change,
                        *(share(found[f"{change}, pairs, {n}"]["p"]) for n in sizes),
                        *(share(found[f"{change}, independent, {n}"]["p"]) for n in unpaired),
                    ]
                    for change in CHANGES
                ],
            ),
            results.table(
                ["pairs, exchanged at random", "p ≤ 0.05", "draws"],
                [[n, f"{level:.1f} %", 4 * draws] for n, level in zip(exchanged, levels, strict=True)],
            ),
            results.table(
                [
                    "without noise: mean ± deviation of draws, coverage",
                    f"{TRUTH:,} pairs",
                    *(f"{n} pairs" for n in sizes),
                    *(f"{n} independent" for n in unpaired),
                ],
                [
                    [
                        change,
                        f"{truth[change]:.2f}",
                        *(value_cells(found[f"{change}, pairs, {n}"], truth[change]) for n in sizes),
                        *(value_cells(found[f"{change}, independent, {n}"], truth[change]) for n in unpaired),
                    ]
                    for change in CHANGES
                ],
            ),
        ],
        figures={"": draw(found, sizes, unpaired)},
        seeds=f"of draws: the number of pairs; {draws} draws of each cell",
        data=["scikit-image", "scikit-learn"] if quick else [data.EMOJI["apple"], data.EMOJI["google"]],
    )


if __name__ == "__main__":
    main()
