"""How often does a monitor cry wolf, and how soon does it see a change? By simulation, on emoji.

    pip install "torchmetrics-dna[demo]" scikit-learn
    python docs/experiments/monitor.py

Half of google's emoji are the reference, the other half the stream: windows of it are drawn with replacement, so that
nothing changes; then emoji saved as JPEG of quality 60, or 10 % of another maker's, or 10 % photographs. Each image is
measured once at 64 pixels, its own size. False alarms: 100 streams of 10,000 windows, by 64 neurons in 25 bins, drawn
at random, since all would take days. Delays: by all neurons in 100 bins. Bets were chosen before, on normal numbers.
"""

from __future__ import annotations

from io import BytesIO
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
import results
import torch
from how_many_images import Pictures
from matplotlib.figure import Figure
from PIL import Image
from significance import SIDE, Measure

from torchmetrics_dna.comparisons.monitor import LEARN, Monitor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

NEURONS, COARSE, WINDOW, LONGEST = 64, 4, 500, 40
JPEG, MIXED, PHOTOGRAPHS = "JPEG of quality 60", "10 % by another maker", "10 % photographs"


def jpeg(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    file = BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=60)
    return np.asarray(Image.open(file).convert("RGB"))


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


def first_alarm(figures: Sequence[float]) -> int | None:
    """The window, from 1 on, that is the first to be called changed."""
    watch = Monitor()
    return next((i for i, figure in enumerate(figures, 1) if watch.add(float(figure)).changed), None)


def false_alarms(counts: Tensor, runs: int, windows: int, size: int) -> list[int | None]:
    generator = torch.Generator().manual_seed(0)
    neurons = torch.randperm(counts.shape[1], generator=generator)[:NEURONS]
    few = counts[:, neurons].float().view(len(counts), len(neurons), -1, COARSE).sum(3)
    half = len(few) // 2
    found = []
    for _ in range(runs):
        order = torch.randperm(len(few), generator=generator)
        numbers = torch.randint(len(few) - half, (windows, size), generator=generator)
        found.append(first_alarm(scores(cumulative(few[order[:half]]), few[order[half:]], numbers).tolist()))
    return found


def delays(before: Tensor, after: Tensor, share: float, normal: int, runs: int, size: int) -> list[int]:
    """Windows until a change is seen, LONGEST + 1 if it is not; 0 if an alarm came before it."""
    generator = torch.Generator().manual_seed(normal)
    half, found = len(before) // 2, []
    for _ in range(runs):
        order = torch.randperm(len(before), generator=generator)
        reference = cumulative(before[order[:half]])
        stream = torch.cat([before[order[half:]], after]).float()
        count = LEARN + normal + LONGEST
        numbers = torch.randint(len(before) - half, (count, size), generator=generator)
        replaced = torch.randint(len(before) - half, len(stream), (count, size), generator=generator)
        changed = torch.rand(count, size, generator=generator) < share
        changed[: LEARN + normal] = False
        alarm = first_alarm(scores(reference, stream, torch.where(changed, replaced, numbers)).tolist())
        found.append(LONGEST + 1 if alarm is None else max(0, alarm - LEARN - normal))
    return found


def told(found: Sequence[int]) -> list[str]:
    seen = [delay for delay in found if 0 < delay <= LONGEST]
    spread = f"{median(seen):g} ({min(seen)} to {max(seen)})" if seen else "-"
    return [f"{100 * len(seen) / len(found):.0f} %", spread, f"{100 * found.count(0) / len(found):.0f} %"]


def draw(cases: dict[str, list[int]]) -> Figure:
    figure = Figure(figsize=(6, 3.5), layout="constrained")
    figure.suptitle(f"Changes seen within so many windows of {WINDOW} images", x=0.01, ha="left", fontsize=11)
    axis = figure.subplots()
    for (name, found), colour, marker in zip(cases.items(), ("dna-emd", "dna-fd", "fd"), "os^", strict=True):
        shares = [100 * np.mean([0 < delay <= k for delay in found]) for k in range(1, LONGEST + 1)]
        axis.plot(range(1, LONGEST + 1), shares, color=results.COLOURS[colour], marker=marker, markersize=4, label=name)
    axis.set(xlabel="windows since the change", ylabel="% of draws", ylim=(-3, 103))
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False)
    return figure


def main() -> None:
    parser = results.parser(__doc__)
    parser.add_argument("--runs", type=int, default=100, help="streams of 10,000 windows")
    parser.add_argument("--draws", type=int, default=20, help="of each change")
    arguments = parser.parse_args()
    folder, quick = results.begin(arguments), arguments.quick
    runs, windows, size, draws = (2, 100, 6, 2) if quick else (arguments.runs, 10_000, WINDOW, arguments.draws)
    given, measure = Pictures.of(quick), Measure(input_size=SIDE)
    plain = measure(given.emoji).counts
    alarms = false_alarms(plain, runs, windows, size)
    changes = (
        (JPEG, [*map(jpeg, given.emoji)], 1.0),
        (MIXED, given.others, 0.1),
        (PHOTOGRAPHS, given.photographs, 0.1),
    )
    found: dict[tuple[str, int], list[int]] = {}
    for name, pictures, share in changes:
        after = measure(pictures).counts
        for normal in (10,) if quick else (10, 100):
            found[name, normal] = delays(plain, after, share, normal, draws, size)
    wrong = sum(alarm is not None for alarm in alarms)
    early = [found[name, 10] for name, _, _ in changes]
    results.write(
        folder,
        "monitor",
        paper="no such question.",
        here=(
            f"{wrong} of {runs} streams of {windows:,} windows without a change was ever called changed; a change to"
            f" {JPEG} is seen in {told(early[0])[1]} windows, {PHOTOGRAPHS} in {told(early[2])[1]}; {MIXED} in"
            f" {told(early[1])[0]} of draws."
        ),
        tables=[
            results.table(
                ["change", "normal windows before", "seen", "windows until then, median (range)", "alarm before it"],
                [[name, normal, *told(delay)] for (name, normal), delay in found.items()],
            )
        ],
        figures={"": draw({name: found[name, 10] for name, _, _ in changes})},
        seeds=f"of draws: the images of the reference and of windows; {runs} streams, {draws} draws of each change",
        data=given.origin,
    )


if __name__ == "__main__":
    main()
