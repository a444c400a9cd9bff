"""What does each statistic of the test find, and how far is the distance without noise off? On emoji, by simulation.

    pip install "torchmetrics-dna[demo]" scikit-learn
    python docs/experiments/test_and_value.py

Emoji of apple, at 64 pixels, are one population; the other is saved as JPEG, blurred, drawn by another maker, partly
photographs, or lacks one class of five. A draw takes different images for A and for B, shares them out to 20 folds at
random, and asks what :func:`compare` asks, with 200 relabelings instead of 1000 and histograms of 25 bins instead of
100. Beside it stands what was computed before: a test without the layers' shift, and the distance debiased by the
jackknife alone. Tables of histograms and the draws of each cell are kept in the cache, so that several processes
(``--cells``) share the work.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zlib import crc32

import data
import numpy as np
import results
import torch
from matplotlib.figure import Figure
from PIL import Image, ImageFilter
from significance import BINS, RECORD, RELABELINGS, SIDE, Measure, jpeg, random_folds
from torch import Tensor

from torchmetrics_dna.dna import HistogramDNA
from torchmetrics_dna.dna import evidence as asked
from torchmetrics_dna.dna.averaging import Averaging
from torchmetrics_dna.dna.evidence import weigh_evidence
from torchmetrics_dna.functional.permutation import layer_shifts, standardised
from torchmetrics_dna.functional.student import student_quantile

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from significance import Picture

COARSE, FOLDS, TIE = 4, 20, 1e-9
SIZES = (20, 50, 100, 200)
CLASSES = ("Animals & Nature", "Food & Drink", "Travel & Places", "Objects", "Symbols")
GONE = 1  # of the classes
SHARES = (0.05, 0.1, 0.2)  # of the images of B that are photographs
VERSIONS = ("apple", "apple, JPEG 95", "apple, blur 0.3", "apple, noise")
STATISTICS = ("layers", "neurons", "shift of a layer", "layers or neurons (before)", "all three")
SCALE = 1000 * COARSE / BINS  # bins of 1000 in a bin of these histograms


def saved(quality: int) -> Callable[[Picture], Picture]:
    return lambda picture: jpeg(picture, quality)


def blurred(radius: float) -> Callable[[Picture], Picture]:
    return lambda picture: np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(radius)))


def noisy(picture: Picture) -> Picture:
    """Of each value one grey level less, the same, or one more."""
    random = np.random.default_rng(crc32(picture.tobytes()))
    return (picture.astype(int) + random.integers(-1, 2, picture.shape)).clip(0, 255).astype(np.uint8)


CHANGES: dict[str, Callable[[Picture], Picture]] = {
    "": np.asarray, "JPEG 95": saved(95), "JPEG 90": saved(90), "blur 0.3": blurred(0.3), "blur 0.5": blurred(0.5),
    "noise": noisy,
}  # fmt: skip


class Tables:
    """Histograms of each image, int16 ``(images, N, BINS / COARSE)``, by the name of its population."""

    def __init__(self, quick: bool) -> None:
        self.quick, self.measure = quick, Measure(input_size=SIDE)
        self.layers = [*self.measure.layers.values()]
        if quick:
            digits, photographs = data.at_hand(48, "digits"), [p[:SIDE, :SIDE] for p in data.at_hand(8)]
            self._of = {"apple": digits, "google": [255 - digit for digit in digits], "photographs": photographs}
            self.classes = np.array([CLASSES[i % len(CLASSES)] for i in range(48)])
        else:
            apple, google = ({one.name: one for one in data.emoji(maker)} for maker in ("apple", "google"))
            both = [name for name in apple if name in google]
            self.classes = np.array([apple[name].category for name in both])
            drawn = {maker: [of[name].path for name in both] for maker, of in (("apple", apple), ("google", google))}
            self._of = {**drawn, "photographs": data.photographs()}

    @cache  # noqa: B019
    def __getitem__(self, name: str) -> Tensor:
        kept = data.CACHE / f"histograms-{sha256(name.encode()).hexdigest()[:8]}-{SIDE}-{BINS // COARSE}.npy"
        if self.quick or not kept.exists():
            made = self._make(name)
            if self.quick:
                return made
            np.save(kept, made.numpy())
        return torch.from_numpy(np.load(kept))

    def _make(self, name: str) -> Tensor:
        population, _, change = name.partition(", ")
        pictures = [data.picture(p, SIDE) if isinstance(p, Path) else p for p in self._of[population]]
        counts = self.measure([CHANGES[change](picture) for picture in pictures]).counts
        return counts.unflatten(2, (-1, COARSE)).sum(3, dtype=torch.int16)

    def dna(self, images: Tensor, folds: Tensor) -> HistogramDNA:
        """The DNA of some images, in these folds."""
        held = torch.zeros(int(folds.max()) + 1, *images.shape[1:])
        held.view(len(held), -1).index_add_(0, folds, images.flatten(1).float())
        sizes = folds.bincount(minlength=len(held)).tolist()
        parts = [self._dna(counts.long(), size) for counts, size in zip(held, sizes, strict=True) if size]
        return replace(self._dna(held.sum(0).long(), len(images)), folds=tuple(parts))

    def _dna(self, counts: Tensor, size: int) -> HistogramDNA:
        return HistogramDNA(counts, self.measure.extractor.neurons, self.measure.ranges, size, "efficientnet_lite0")


@dataclass
class Cell:
    """A population of B, drawn so often at this size of A and of B.

    Attributes:
        draw: Function of a generator and the two sizes that gives images and folds of A and of B.
        truth: Distance between the populations, in bins of 1000; None if only the level is asked for.
        sizes: Images of A and of B.
        draws: Number of draws.
        signed: Whether neurons have random weights of both signs.

    """

    draw: Callable[[torch.Generator, int, int], tuple[Tensor, Tensor, Tensor, Tensor]]
    truth: Callable[[], float] | None
    sizes: tuple[int, int]
    draws: int
    signed: bool = False


def cumulative(images: Tensor) -> Tensor:
    counts = sum(part.double().sum(0) for part in images.split(200))
    return counts.cumsum(1) / counts.sum(1, keepdim=True)


def far(a: Tensor, b: Tensor) -> float:
    """Of two populations, given by their cumulative shares."""
    return float((a - b).abs().sum(1).mean()) * SCALE


def cells(tables: Tables, draws: int) -> dict[str, Cell]:
    """By name, which ends with the sizes."""
    quick, total = tables.quick, len(tables.classes)
    sizes = (10,) if quick else SIZES
    by_class = [np.flatnonzero(tables.classes == name) for name in CLASSES]

    def other(name: str) -> Any:
        def draw(generator: torch.Generator, a: int, b: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
            order = torch.randperm(total, generator=generator)
            images = tables["apple"][order[:a]], tables[name][order[a : a + b]]
            return *images, random_folds(a, FOLDS, generator), random_folds(b, FOLDS, generator)

        return draw

    def mixed(share: float) -> Any:
        def draw(generator: torch.Generator, a: int, b: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
            first, second, *folds = other("apple")(generator, a, b)
            strangers = (torch.rand(b, generator=generator) < share).nonzero()[:, 0]
            photographs = tables["photographs"]
            second = second.clone()
            chosen = torch.randperm(len(photographs), generator=generator)[: len(strangers)]
            second[strangers[: len(chosen)]] = photographs[chosen]
            return first, second, *folds

        return draw

    def gone(generator: torch.Generator, a: int, b: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        pools = [torch.from_numpy(c)[torch.randperm(len(c), generator=generator)] for c in by_class]
        number_a = torch.randint(len(CLASSES), (a,), generator=generator)
        number_b = torch.randint(len(CLASSES) - 1, (b,), generator=generator)
        number_b += number_b >= GONE
        chosen = [
            torch.cat([pool[(numbers == k).cumsum(0)[numbers == k] - 1] for k, pool in enumerate(part)])
            for numbers, part in ((number_a, pools), (number_b, [pool.flip(0) for pool in pools]))
        ]
        return *(tables["apple"][c] for c in chosen), *(random_folds(n, FOLDS, generator) for n in (a, b))

    def grouped(generator: torch.Generator, a: int, b: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        order = torch.randperm(total, generator=generator)[: (a + b) // len(VERSIONS)]
        images = torch.stack([tables[name][order] for name in VERSIONS], 1)
        parts = images.split([a // len(VERSIONS), b // len(VERSIONS)])
        folds = [random_folds(len(part), FOLDS, generator).repeat_interleave(len(VERSIONS)) for part in parts]
        return *(part.flatten(0, 1) for part in parts), *folds

    def truth_of(name: str) -> Callable[[], float]:
        return lambda: far(cumulative(tables["apple"]), cumulative(tables[name]))

    def truth_mixed(share: float) -> Callable[[], float]:
        return lambda: share * far(cumulative(tables["apple"]), cumulative(tables["photographs"]))

    def truth_gone() -> float:
        of_class = torch.stack([cumulative(tables["apple"][torch.from_numpy(c)]) for c in by_class])
        left = torch.arange(len(CLASSES)) != GONE
        return far(of_class.mean(0), of_class[left].mean(0))

    kinds: dict[str, tuple[Any, Callable[[], float]]] = {
        "no difference": (other("apple"), lambda: 0.0),
        "JPEG 90": (other("apple, JPEG 90"), truth_of("apple, JPEG 90")),
        "blur 0.5": (other("apple, blur 0.5"), truth_of("apple, blur 0.5")),
        "another maker": (other("google"), truth_of("google")),
        **{f"{100 * share:.0f} % photographs": (mixed(share), truth_mixed(share)) for share in SHARES},
        "one class of five gone": (gone, truth_gone),
    }
    made = {
        f"{name}, {size}": Cell(draw, truth, (size, size), draws * (4 if name == "no difference" else 1))
        for name, (draw, truth) in kinds.items()
        for size in sizes
    }
    unequal = ((10, 12),) if quick else ((50, 100), (50, 200), (100, 400))
    made |= {f"no difference, {a} and {b}": Cell(other("apple"), None, (a, b), 4 * draws) for a, b in unequal}
    for size in (10,) if quick else (50, 100):
        name = f"no difference, weights of both signs, {size}"
        made[name] = Cell(other("apple"), None, (size, size), 4 * draws, signed=True)
    size = 40 if quick else 200
    made[f"no difference, groups of {len(VERSIONS)}, {size}"] = Cell(grouped, None, (size, size), 4 * draws)
    return made


def drawn(tables: Tables, cell: Cell, seed: int) -> dict[str, list[float]]:
    """Figures of all draws of a cell, by name."""
    generator = torch.Generator().manual_seed(seed)
    figures: dict[str, list[float]] = {}
    for _ in range(cell.draws):
        a, b, folds_a, folds_b = cell.draw(generator, *cell.sizes)
        of_draw = asked_of(tables, tables.dna(a, folds_a), tables.dna(b, folds_b), generator if cell.signed else None)
        for name, value in of_draw.items():
            figures.setdefault(name, []).append(value)
    if cell.truth is not None:
        figures["truth"] = [cell.truth()]
    return figures


def asked_of(tables: Tables, a: HistogramDNA, b: HistogramDNA, signs: torch.Generator | None) -> dict[str, float]:
    """What one draw gives: p-values, values and intervals, as now and as before."""
    unions, relabeled = RECORD.folded(a, b), {"in_a": torch.empty(0)}

    def distances(in_a: Tensor, in_b: Tensor) -> Tensor:
        of_call = unions.distances(in_a, in_b)
        if len(in_a) > len(relabeled["in_a"]):  # by folds left out and by halves there are fewer
            relabeled.update(in_a=in_a, distances=of_call)
        return of_call

    weights = None
    if signs is not None:
        signed = torch.rand(a.neurons.total, generator=signs) < 0.5
        weights = torch.where(signed, 1.0, -1.0).double() / len(signed)
    found = weigh_evidence(
        a.distances(b), replace(unions, distances=distances), RECORD.power, Averaging(weights), confidence=0.95
    )
    figures = statistics(tables, unions, relabeled["in_a"], relabeled["distances"])
    figures["p"] = found.test.p_value
    if signs is not None:
        return figures
    left, spread = found.jackknife.left, found.jackknife.variance**0.5
    reach = student_quantile(0.975, found.jackknife.freedom) * spread
    before = [SCALE * max(0, left + end) ** 0.5 for end in (0, -reach, reach)]
    now = [SCALE * x for x in (found.interval.value, found.interval.low, found.interval.high)]
    names = ("value before", "low before", "high before", "value", "low", "high")
    return figures | dict(zip(names, [*before, *now], strict=True))


def statistics(tables: Tables, unions: Any, in_a: Tensor, distances: Tensor) -> dict[str, float]:
    """p-value of each statistic by itself, and of the two that were there before."""
    sizes = torch.cat([unions.sizes_a, unions.sizes_b]).double()
    images = in_a.double() @ sizes
    scale = (images * (sizes.sum() - images)).sqrt()[:, None]
    z = standardised(distances * scale)
    shifts = layer_shifts(unions.shifts(in_a, ~in_a) * scale, tables.layers, weights=None)
    largest = [standardised(torch.stack([z[:, rows].mean(1) for rows in tables.layers], 1)), z, standardised(shifts)]
    layer, neuron, shift = standardised(torch.stack([each.amax(1) for each in largest], 1)).T
    kinds = dict(zip(STATISTICS, (layer, neuron, shift, torch.maximum(layer, neuron)), strict=False))
    return {name: float((x >= x[0] - TIE * x[0].abs()).double().mean()) for name, x in kinds.items()}


def share(p: Sequence[float]) -> str:
    return f"{100 * np.mean(np.array(p) <= 0.05):.1f}".removesuffix(".0") + " %"


def tables_of(found: dict[str, dict[str, list[float]]]) -> list[str]:
    levels = {name: cell for name, cell in found.items() if name.startswith("no difference")}
    powers = {name: cell for name, cell in found.items() if name not in levels}
    columns = [*STATISTICS[:-1], "p"]
    valued = {name: cell for name, cell in found.items() if "truth" in cell}
    measures = [f"{x}, {when}" for x in ("RMSE", "mean", "zeros", "coverage") for when in ("before", "now")]
    return [
        *(
            results.table(
                [title, *STATISTICS, "draws"],
                [[name, *(share(cell[c]) for c in columns), len(cell["p"])] for name, cell in part.items()],
            )
            for title, part in (("p ≤ 0.05: level", levels), ("p ≤ 0.05: power", powers))
        ),
        results.table(
            ["without noise, in bins", "truth", *measures, "p and interval disagree, before"],
            [[name, *value_row(cell)] for name, cell in valued.items()],
        ),
    ]


def value_row(cell: dict[str, list[float]]) -> list[str]:
    truth = cell["truth"][0]
    row, p = [f"{truth:.2f}"], np.array(cell["p"])
    values = [np.array(cell[f"value{when}"]) for when in (" before", "")]
    held = [
        np.mean((np.array(cell[f"low{when}"]) <= truth) & (truth <= np.array(cell[f"high{when}"])))
        for when in (" before", "")
    ]
    row += [f"{np.sqrt(np.mean((value - truth) ** 2)):.2f}" for value in values]
    row += [f"{value.mean():.2f}" for value in values]
    row += [f"{100 * np.mean(value == 0):.0f} %" for value in values]
    row += [f"{x:.2f}" for x in held]
    return [*row, f"{100 * np.mean((p <= 0.05) != (np.array(cell['low before']) > 0)):.0f} %"]


def draw(found: dict[str, dict[str, list[float]]]) -> Figure:
    """Plot errors over the number of images, a panel for each population of B."""
    errors: dict[str, dict[int, tuple[float, float]]] = {}
    for name, cell in found.items():
        if "truth" in cell:
            kind, _, size = name.rpartition(", ")
            before, now = (np.array(cell[f"value{when}"]) - cell["truth"][0] for when in (" before", ""))
            errors.setdefault(kind, {})[int(size)] = np.sqrt(np.mean(before**2)), np.sqrt(np.mean(now**2))
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    figure.suptitle("How far the distance without noise is off (RMSE): before and now")
    axes = figure.subplots(2, 4, sharex=True, sharey=True)
    for axis, (kind, of_size) in zip(axes.flat, errors.items(), strict=True):
        for i, (label, colour, marker) in enumerate((("before", "dna-fd", "s"), ("now", "dna-emd", "o"))):
            axis.plot(
                [*of_size], [x[i] for x in of_size.values()], marker=marker, color=results.COLOURS[colour], label=label
            )
        axis.set(xscale="log", ylim=(0, None))
        axis.set_title(kind, fontsize=10)
        axis.set_xticks([*of_size], [str(size) for size in of_size])
        axis.minorticks_off()
        axis.spines[["top", "right"]].set_visible(False)
    figure.supxlabel("images a side", fontsize=10)
    figure.supylabel("bins", fontsize=10)
    axes[0, -1].legend(frameon=False)
    return figure


def summary(found: dict[str, dict[str, list[float]]]) -> str:
    levels = [100 * np.mean(np.array(c["p"]) <= 0.05) for name, c in found.items() if name.startswith("no difference")]
    valued = [cell for cell in found.values() if "truth" in cell]
    before, now = (
        np.mean([np.sqrt(np.mean((np.array(c[f"value{when}"]) - c["truth"][0]) ** 2)) for c in valued])
        for when in (" before", "")
    )
    return (
        f"At a level of 5%, the test gives a false alarm in {results.span(levels, '.1f')}% of draws. The error of the"
        f" debiased distance is {now:.2f} bins (RMSE, mean of {len(valued)} cells). With the jackknife alone, it is"
        f" {before:.2f} bins."
    )


def main() -> None:
    parser = results.parser(__doc__)
    parser.add_argument("--draws", type=int, default=100, help="of each cell; level takes four times as many")
    parser.add_argument("--cells", help="draw those of this number of this many, such as 0/2, and write no page")
    arguments = parser.parse_args()
    folder, quick = results.begin(arguments), arguments.quick
    asked.NUM_RELABELINGS = 40 if quick else RELABELINGS
    tables, draws = Tables(quick), 2 if quick else arguments.draws
    script = sha256(Path(__file__).read_bytes()).hexdigest()[:8]
    kept = data.CACHE / f"test_and_value-{script}-{draws}"
    found, number = {}, 0
    part, parts = map(int, arguments.cells.split("/")) if arguments.cells else (0, 1)
    for number, (name, cell) in enumerate(cells(tables, draws).items()):
        if number % parts != part:
            continue
        file = kept / f"{name}.json"
        if quick or not file.exists():
            figures = drawn(tables, cell, number)
            if not quick:
                kept.mkdir(exist_ok=True, parents=True)
                file.write_text(json.dumps(figures), encoding="utf-8")
                print(name, share(figures["p"]), flush=True)
        found[name] = figures if quick else json.loads(file.read_text(encoding="utf-8"))
    if arguments.cells:
        return
    results.write(
        folder,
        "test_and_value",
        here=summary(found),
        tables=tables_of(found),
        figures={"": draw(found)},
        seeds=f"of draws: the number of the cell; {draws} draws of each, {4 * draws} of levels",
        data=["scikit-image", "scikit-learn"]
        if quick
        else [data.EMOJI["apple"], data.EMOJI["google"], data.PHOTOGRAPHS],
    )


if __name__ == "__main__":
    main()
