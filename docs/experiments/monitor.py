"""How often does a monitor cry wolf, and how soon does it see a change? By simulation, on emoji and photographs.

    pip install "torchmetrics-dna[demo]" scikit-learn
    python docs/experiments/monitor.py

Half of the pictures are the reference, the other half the stream: windows of it are drawn with replacement, so that
nothing changes; then all are saved as JPEG of quality 60 or blurred by 1 px, or a fifth is of another kind. Pictures
are measured as in held_out.py. The same windows are judged by the bets of :func:`monitor`, and by those that it had
before: on ranks among all windows so far, which changed ones enter. Bets were chosen on normal numbers.
``--activations FOLDER`` keeps the measurements.
"""

from __future__ import annotations

import random
from bisect import bisect_left, bisect_right, insort
from math import log
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import data
import numpy as np
import results
import torch
from held_out import Measure
from matplotlib.figure import Figure

from torchmetrics_dna.comparisons.conformal import ConformalEvidence
from torchmetrics_dna.comparisons.monitor import LEARN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

NEURONS, WINDOWS, LONGEST, ENOUGH = 16, (200, 500), 40, 20
KINDS = {"fluent": "emojione", "wallpapers": "textures"}  # emoji and another maker's, photographs and textures
BEFORE, NOW = "ranks among all", "what came before"


class GrowingRanks:
    """Bets on the rank of each figure among all so far: a conformal p-value."""

    def __init__(self) -> None:
        self._sorted: list[float] = []
        self._random = random.Random(0)
        self._left = 1.0
        self._powers = np.array([0.1, 0.3, 0.5, 0.8])
        self._by_power, self._by_start = np.zeros(4), np.zeros(0)

    def learn(self, figure: float) -> None:
        insort(self._sorted, figure)

    def add(self, figure: float) -> float:
        above = len(self._sorted) - bisect_right(self._sorted, figure)
        equal = bisect_right(self._sorted, figure) - bisect_left(self._sorted, figure) + 1
        p, count = (above + (1 - self._random.random()) * equal) / (len(self._sorted) + 1), len(self._sorted)
        begun = len(self._by_start) + 2
        stake = 1 / (2.109743 * begun * log(begun) ** 2)
        self._left -= stake
        self._by_power = (self._by_power + stake) * self._powers * p ** (self._powers - 1)
        self._by_start = np.append(self._by_start, stake)
        largest = np.arange(len(self._by_start), 0, -1) / (count + 1)
        self._by_start *= 0.1 + np.where(p <= largest, 0.9 / largest, 0)
        self.learn(figure)
        return float(self._by_power.mean() + self._by_start.sum()) / 2 + self._left


BETS = {BEFORE: GrowingRanks, NOW: ConformalEvidence}


def scores(reference: Tensor, images: Tensor, numbers: Tensor) -> Tensor:
    """dna-emd of each window, ``numbers`` of its images ``(windows, size)``, from the cumulative reference, in bins."""
    found = []
    for some in numbers.split(200):
        times = torch.zeros(len(some), len(images)).scatter_add_(1, some, torch.ones(some.shape))
        shares = (times @ images.flatten(1)).view(-1, *images.shape[1:]).cumsum(2)
        found.append((shares / shares[:, :, -1:] - reference).abs().sum(2).mean(1))
    return torch.cat(found)


def cumulative(counts: Tensor) -> Tensor:
    total = counts.double().sum(0).cumsum(1)
    return (total / total[:, -1:]).float()


def first_alarm(bets: str, figures: Sequence[float]) -> int | None:
    """The window, from 1 on, that is the first to be called changed."""
    evidence = BETS[bets]()
    for figure in figures[:LEARN]:
        evidence.learn(figure)
    return next((i for i, figure in enumerate(figures[LEARN:], 1) if evidence.add(figure) >= ENOUGH), None)


def false_alarms(counts: Tensor, runs: int, windows: int, size: int) -> dict[str, int]:
    """How many streams without a change are ever called changed."""
    generator = torch.Generator().manual_seed(0)
    neurons = torch.randperm(counts.shape[1], generator=generator)[:NEURONS]
    few = counts[:, neurons]
    half, alarms = len(few) // 2, dict.fromkeys(BETS, 0)
    for _ in range(runs):
        order = torch.randperm(len(few), generator=generator)
        numbers = torch.randint(len(few) - half, (windows, size), generator=generator)
        figures = scores(cumulative(few[order[:half]]), few[order[half:]], numbers).tolist()
        for bets in BETS:
            alarms[bets] += first_alarm(bets, figures) is not None
    return alarms


def delays(before: Tensor, after: Tensor, share: float, normal: int, runs: int, size: int) -> dict[str, list[int]]:
    """Windows until a change is seen, LONGEST + 1 if it is not; 0 if an alarm came before it."""
    generator = torch.Generator().manual_seed(normal)
    half, found = len(before) // 2, {bets: list[int]() for bets in BETS}
    for _ in range(runs):
        order = torch.randperm(len(before), generator=generator)
        reference, rest = cumulative(before[order[:half]]), order[half:]
        stream = torch.cat([before[rest], after[rest] if len(after) == len(before) and share == 1 else after])
        count = LEARN + normal + LONGEST
        numbers = torch.randint(len(rest), (count, size), generator=generator)
        replaced = torch.randint(len(rest), len(stream), (count, size), generator=generator)
        changed = torch.rand(count, size, generator=generator) < share
        changed[: LEARN + normal] = False
        figures = scores(reference, stream, torch.where(changed, replaced, numbers)).tolist()
        for bets in BETS:
            alarm = first_alarm(bets, figures)
            found[bets].append(LONGEST + 1 if alarm is None else max(0, alarm - normal))
    return found


def told(found: Sequence[int]) -> list[str]:
    seen = [delay for delay in found if 0 < delay <= LONGEST]
    spread = f"{median(seen):g} ({min(seen)} to {max(seen)})" if seen else "-"
    return [f"{len(seen) / len(found):.0%}", spread, f"{found.count(0) / len(found):.0%}"]


def draw(cases: dict[str, list[int]], size: int) -> Figure:
    figure = Figure(figsize=(6, 3.5), layout="constrained")
    title = f"Share of changes that are detected, by the number of windows of {size} images"
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    axis = figure.subplots()
    for (name, found), colour, marker in zip(cases.items(), ("dna-emd", "dna-fd", "fd"), "os^", strict=False):
        shares = [100 * np.mean([0 < delay <= k for delay in found]) for k in range(1, LONGEST + 1)]
        axis.plot(range(1, LONGEST + 1), shares, color=results.COLOURS[colour], marker=marker, markersize=4, label=name)
    axis.set(xlabel="windows since the change", ylabel="% of draws", ylim=(-3, 103))
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False)
    return figure


def main() -> None:
    parser = results.parser(__doc__)
    parser.add_argument("--activations", type=Path, help="folder that keeps what was measured")
    parser.add_argument("--runs", type=int, default=100, help="streams of 500 windows, of each kind")
    parser.add_argument("--draws", type=int, default=20, help="of each change")
    arguments = parser.parse_args()
    folder, quick = results.begin(arguments), arguments.quick
    runs, windows, draws = (2, 60, 2) if quick else (arguments.runs, 500 + LEARN, arguments.draws)
    sizes, usual = ((6,), (10,)) if quick else (WINDOWS, (0, 10, 100))
    measure = Measure(arguments.activations, quick)
    kinds = {"wallpapers": KINDS["wallpapers"]} if quick else KINDS
    alarms = {kind: false_alarms(measure[kind].counts, runs, windows, sizes[0]) for kind in kinds}
    print(alarms, flush=True)
    found: dict[tuple[str, str, int, int], dict[str, list[int]]] = {}
    for kind, other in kinds.items():
        plain = measure[kind].counts
        changes = {"JPEG 60": 1.0, "blur of 1 px": 1.0, f"a fifth {other}": 0.2}
        for change, share in changes.items():
            after = measure[other if share < 1 else f"{kind}, {change}"].counts
            for size in sizes:
                for normal in usual:
                    key = kind, change, size, normal
                    found[key] = delays(plain, after, share, normal, draws, size)
                    print(key, *map(told, found[key].values()), flush=True)
    count = runs * len(kinds)
    wrong = {bets: sum(of_kind[bets] for of_kind in alarms.values()) for bets in BETS}
    first = next(iter(kinds))
    shown = {change: each[NOW] for (kind, change, size, normal), each in found.items()
             if (kind, size, normal) == (first, sizes[0], usual[-1] if quick else 10)}  # fmt: skip
    fifths = {
        bets: [delay for (_, change, _, _), each in found.items() if "fifth" in change for delay in each[bets]]
        for bets in BETS
    }
    results.write(
        folder,
        "monitor",
        here=(
            f"{count} streams of {windows - LEARN:,} windows have no change. A change was reported in {wrong[NOW]} of"
            f" them, and the bound of 5% allows {0.05 * count:.0f}. If a fifth of the images is of another domain, this"
            f" is detected within {LONGEST} windows in {told(fifths[NOW])[0]} of draws."
        ),
        tables=[
            results.table(
                ["images", "change", "window", "normal", f"seen, {BEFORE}", "after", f"seen, {NOW}", "after", "early"],
                [
                    [kind, change, size, normal, *told(each[BEFORE])[:2], *told(each[NOW])]
                    for (kind, change, size, normal), each in found.items()
                ],
            )
        ],
        figures={"": draw(shown, sizes[0])},
        seeds=f"of draws: the normal windows before a change; {runs} streams of a kind, {draws} draws of a change",
        data=["scikit-learn's digits", "scikit-image's photographs"] if quick else [
            data.FLUENT, data.EMOJIONE, *data.WALLPAPERS, data.TEXTURES,
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()
