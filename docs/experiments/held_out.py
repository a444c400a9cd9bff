"""Does the interval of "x held-out" hold the true ratio, and how does the ratio change with the number of images?

    pip install "torchmetrics-dna[demo]" scikit-learn
    python docs/experiments/held_out.py

Emoji, tiles of wallpapers, and digits are real images; those of another maker, textures and a GAN's samples are others.
Each picture is measured once at 64 pixels, by neurons drawn at random of each layer. The pictures of a kind are the
population: sets are drawn from it with replacement, so the true ratio is known. A held-out set is real images of which
some are others, so that its distance is known, and not 0. ``--activations FOLDER`` keeps the measurements.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import data
import numpy as np
import results
import torch
from kinds_held_out import packages, pictures
from matplotlib.figure import Figure
from PIL import Image, ImageFilter
from significance import jpeg, remember
from torch import Tensor

from torchmetrics_dna import DNAExtractor
from torchmetrics_dna.dna import evidence as asked
from torchmetrics_dna.dna.averaging import PLAIN
from torchmetrics_dna.dna.evidence import ratio_of, weigh_evidence
from torchmetrics_dna.dna.folded import Cumulative, FoldedSides, frechet_of_folds

sys.path.append(str(Path(__file__).parents[1] / "examples"))
from gan_checkpoints import training

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from torchmetrics_dna.dna.evidence import Evidence

    Picture = NDArray[np.uint8]

SIDE, OF_A_LAYER, BINS, FOLDS, RELABELINGS = 64, 6, 25, 20, 100
NUMBERS = {"fluent": 500, "emojione": 400, "wallpapers": 450, "textures": 400}
STEPS, DIGITS = (200, 800, 3200), 400
KINDS = {  # real images, others in the held-out set, others in the set that is compared
    "emoji": ("fluent", "emojione", "wallpapers"),
    "photographs": ("wallpapers", "textures", "fluent"),
    "digits": ("digits", "GAN, 3200 steps", "GAN, 200 steps"),
}
AT_HAND = ("wallpapers", "textures", "digits")  # photographs, digits and digits
RATIOS, SIZES, MANY = (1, 1.5, 3, 10), (20, 50, 200), (50, 100, 200, 500, 1000)
UNEQUAL = ((50, 50, 200), (200, 50, 200), (200, 200, 50), (1000, 50, 200))  # reference, set, held-out
OF_A_CELL = ("covered", "lies above", "below", "with an end", "told", "median", "median of low")
POWERS = {"dna-emd": 2, "dna-fd": 1}
Mix = tuple[tuple[str, float], ...]  # shares of kinds of pictures


@dataclass(frozen=True)
class Images:
    """Histograms of each picture ``(images, N, BINS)``, float32, and spatial means ``(images, N)``, float64."""

    counts: Tensor
    means: Tensor

    def take(self, chosen: Tensor) -> Images:
        return Images(self.counts[chosen], self.means[chosen])


class Measure:
    """From pictures to histograms of some neurons of each layer."""

    def __init__(self, folder: Path | None, quick: bool) -> None:
        self.extractor = DNAExtractor("efficientnet_lite0", input_size=SIDE)
        self.folder, self.quick = folder, quick
        generator = torch.Generator().manual_seed(0)
        self.chosen = {
            layer: torch.randperm(count, generator=generator)[:OF_A_LAYER]
            for layer, count in self.extractor.neurons.items()
        }
        self.kinds: dict[str, Images] = {}

    @property
    def slices(self) -> list[slice]:
        return [slice(i, i + OF_A_LAYER) for i in range(0, OF_A_LAYER * len(self.chosen), OF_A_LAYER)]

    def __getitem__(self, kind: str) -> Images:
        if kind not in self.kinds:
            path = None if self.folder is None else self.folder / f"{kind}.pt"
            if path is not None and path.exists():
                counts, means = torch.load(path)
            else:
                counts, means = self.measured(drawn(kind, self.quick))
                if path is not None:
                    torch.save((counts, means), path)
            self.kinds[kind] = Images(counts.float(), means.double())
        return self.kinds[kind]

    def measured(self, some: Sequence[Picture]) -> tuple[Tensor, Tensor]:
        low, high = (bound.double() for bound in self.extractor.ranges.bounds())
        counts, means = [], []
        for start in range(0, len(some), 32):
            found = self.extractor(data.batch(list(some[start : start + 32])))
            of_images = []
            for layer, rows in self.extractor.neurons.slices.items():
                chosen = self.chosen[layer]
                values = found[layer][:, chosen].flatten(2).double()
                of_images.append((histograms(values, low[rows][chosen], high[rows][chosen]), values.mean(2).float()))
            counts.append(torch.cat([each for each, _ in of_images], 1))
            means.append(torch.cat([each for _, each in of_images], 1))
        return torch.cat(counts), torch.cat(means)


def histograms(values: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Counts of each picture and neuron, int16; ``values`` have shape ``(images, n, positions)``."""
    places = (values - low[:, None]) / (high - low)[:, None] * BINS
    bins = places.floor().clamp(0, BINS - 1).long()
    return torch.zeros(*values.shape[:2], BINS, dtype=torch.int64).scatter_add_(2, bins, torch.ones_like(bins)).short()


def drawn(kind: str, quick: bool) -> list[Picture]:
    """Pictures of a kind, 64 pixels wide; with a comma, of a checkpoint or changed ones."""
    base, _, change = kind.partition(", ")
    if base == "GAN":
        return digits(quick)[int(change.split()[0])]
    if base == "digits":
        some = digits(quick)[0]
    elif quick:
        some = [resized(picture) for picture in data.at_hand(40, "photographs" if base == "wallpapers" else "digits")]
    else:
        some = [resized(picture) for picture in pictures(base, NUMBERS[base])[0]]
    return [CHANGES[change](picture) for picture in some]


@cache
def digits(quick: bool) -> dict[int, list[Picture]]:
    """Real digits (0), and what a GAN that never saw them draws after so many steps."""
    real, checkpoints = training(STEPS, 40 if quick else DIGITS)
    found = {0: real, **dict(checkpoints)}
    return {step: [resized(image.permute(1, 2, 0).numpy()) for image in images] for step, images in found.items()}


def resized(picture: Picture) -> Picture:
    return np.asarray(Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.LANCZOS))


def blurred(picture: Picture) -> Picture:
    return np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(1)))


CHANGES: dict[str, Callable[[Picture], Picture]] = {
    "": np.asarray,
    "JPEG 60": partial(jpeg, quality=60),
    "blur of 1 px": blurred,
}


def mixed(measure: Measure, mix: Mix, size: int, generator: torch.Generator) -> Images:
    """A set drawn with replacement, in a random order."""
    shares = torch.tensor([share for _, share in mix])
    kinds = torch.multinomial(shares, size, replacement=True, generator=generator)
    parts = []
    for number, (kind, _) in enumerate(mix):
        pool = measure[kind]
        parts.append(pool.take(torch.randint(len(pool.means), (int((kinds == number).sum()),), generator=generator)))
    order = torch.randperm(size, generator=generator)
    return Images(torch.cat([part.counts for part in parts]), torch.cat([part.means for part in parts])).take(order)


def in_folds(images: Images, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Counts, means, variances and numbers of images of each fold; an image's fold is drawn at random."""
    folds = torch.randint(FOLDS, (len(images.means),), generator=generator)
    _, folds, sizes = folds.unique(return_inverse=True, return_counts=True)  # type: ignore[no-untyped-call]
    counts = torch.zeros(len(sizes), *images.counts.shape[1:]).index_add_(0, folds, images.counts)
    means, squares = (torch.zeros(len(sizes), images.means.shape[1], dtype=torch.float64) for _ in range(2))
    means = means.index_add_(0, folds, images.means) / sizes[:, None]
    squares.index_add_(0, folds, (images.means - means[folds]).square())
    return counts.long(), means, squares / (sizes - 1).clamp(min=1)[:, None], sizes


def evidence(a: Sequence[Tensor], b: Sequence[Tensor], name: str, slices: Sequence[slice]) -> tuple[Evidence, float]:
    """What :func:`compare` has of two sets in folds, and the plain distance."""
    counts, means, variances, sizes = (torch.cat(pair) for pair in zip(a, b, strict=True))
    emd, frechet = Cumulative.of(counts).emd, partial(frechet_of_folds, means, variances, sizes)
    distances = emd if name == "dna-emd" else frechet
    first = (torch.arange(len(sizes)) < len(a[3]))[None]
    values = distances(first, ~first)[0]
    weighed = weigh_evidence(
        values,
        FoldedSides(distances, a[3], b[3], slices, (False, False)),
        POWERS[name],
        averaging=PLAIN,
        confidence=0.95,
    )
    assert weighed is not None
    return weighed, float(values.mean())


def true_distance(measure: Measure, a: Mix, b: Mix, name: str) -> float:
    """Distance of two populations."""
    moments = []
    for mix in (a, b):
        pools = [(measure[kind], share) for kind, share in mix if share]
        counts = sum(share * pool.counts.double().mean(0) for pool, share in pools)
        mean = sum(share * pool.means.mean(0) for pool, share in pools)
        square = sum(share * pool.means.square().mean(0) for pool, share in pools)
        moments.append((counts.cumsum(1) / counts.sum(1, keepdim=True), mean, (square - mean.square()).sqrt()))
    (shares_a, mean_a, deviation_a), (shares_b, mean_b, deviation_b) = moments
    if name == "dna-emd":
        return float((shares_a - shares_b).abs().sum(1).mean())
    return float(((mean_a - mean_b).square() + (deviation_a - deviation_b).square()).mean())


def mixes(measure: Measure, kinds: tuple[str, str, str], ratio: float) -> tuple[Mix, Mix, Mix]:
    """Of the reference, the set, and the held-out set, such that the ratio of their dna-emd is the given one."""
    real, near, far = kinds
    of_near, of_far = (true_distance(measure, ((real, 1.0),), ((other, 1.0),), "dna-emd") for other in (near, far))
    share = min(1.0, of_far / (ratio * of_near))
    of_set = min(1.0, ratio * share * of_near / of_far)
    return ((real, 1.0),), ((real, 1 - of_set), (far, of_set)), ((real, 1 - share), (near, share))


@dataclass
class Cell:
    """What many draws say of a ratio whose truth is known; the held-out set of an endless one is like the reference."""

    truth: float
    too_high: float  # share of intervals that lie above the truth
    too_low: float
    bounded: float  # share that has an upper end
    told: float  # share that has a ratio, or "at least"
    middle: float  # median ratio, of those that have one
    low: float  # median lower end


def ask(measure: Measure, sets: tuple[Mix, Mix, Mix], sizes: tuple[int, int, int], name: str, draws: int) -> Cell:
    """Draw sets of a ratio whose truth is known, and ask for its interval."""
    generator = torch.Generator().manual_seed(10 * sizes[1] + sizes[0])
    far, near = (true_distance(measure, sets[0], mix, name) for mix in sets[1:])
    truth = far / near if near > 1e-9 else float("inf")
    ratios = []
    for _ in range(draws):
        folds = [
            in_folds(mixed(measure, mix, size, generator), generator) for mix, size in zip(sets, sizes, strict=True)
        ]
        ratios.append(ratio_of(*(evidence(folds[0], other, name, measure.slices)[0] for other in folds[1:])))
    known = [ratio for ratio in ratios if ratio is not None]
    values = [ratio.value for ratio in known if ratio.value is not None]
    return Cell(
        truth,
        sum(ratio.low > truth for ratio in known) / draws,
        sum(ratio.high is not None and ratio.high < truth for ratio in known) / draws,
        len(values) / draws,
        len(known) / draws,
        float(np.median(values)) if values else float("nan"),
        float(np.median([ratio.low for ratio in known])) if known else float("nan"),
    )


def row(cell: Cell) -> list[str]:
    middle = "-" if np.isnan(cell.middle) else f"{cell.middle:.3g}"
    return [
        f"{cell.truth:.3g}".replace("inf", "endless"),
        f"{1 - cell.too_high - cell.too_low:.3f}",
        f"{cell.too_high:.3f}",
        f"{cell.too_low:.3f}",
        f"{cell.bounded:.2f}",
        f"{cell.told:.2f}",
        middle,
        "-" if np.isnan(cell.low) else f"{cell.low:.3g}",
    ]


ON_SCALE = {  # sets on the axis of the picture, and what they are compared with
    "fluent": ("fluent, JPEG 60", "fluent, blur of 1 px", "emojione"),
    "wallpapers": ("wallpapers, JPEG 60", "wallpapers, blur of 1 px", "textures"),
    "digits": ("GAN, 3200 steps", "GAN, 800 steps", "GAN, 200 steps"),
}
IN_WORDS = {
    "fluent, JPEG 60": "emoji, JPEG of quality 60",
    "fluent, blur of 1 px": "emoji, blurred by 1 px",
    "emojione": "emoji of another maker",
    "wallpapers, JPEG 60": "photographs, JPEG of quality 60",
    "wallpapers, blur of 1 px": "photographs, blurred by 1 px",
    "textures": "textures against photographs",
    "GAN, 3200 steps": "digits of a GAN, 3,200 steps",
    "GAN, 800 steps": "digits of a GAN, 800 steps",
    "GAN, 200 steps": "digits of a GAN, 200 steps",
}
SOURCE = 0.3  # of a held-out set of another source that are by another maker


@dataclass
class Step:
    """One number of images: medians over draws, and the 10th and 90th in a hundred."""

    plain: list[float]
    over_chance: list[float]
    ratio: list[float]  # to a held-out set of another source
    least: list[float]  # lower end, with a held-out set like the reference


def grow(measure: Measure, real: str, other: str, size: int, draws: int, source: str | None = None) -> Step:
    """How plain value, value over chance and ratio change with the number of images."""
    generator = torch.Generator().manual_seed(size)
    same: Mix = ((real, 1.0),)
    elsewhere: Mix = ((real, 1 - SOURCE), (source or other, SOURCE))
    figures: list[tuple[float, float, float, float]] = []
    for _ in range(draws):
        a, b, c, d = (
            in_folds(mixed(measure, mix, size, generator), generator)
            for mix in (same, ((other, 1.0),), same, elsewhere)
        )
        weighed, plain = evidence(a, b, "dna-emd", measure.slices)
        like, unlike = (ratio_of(weighed, evidence(a, held, "dna-emd", measure.slices)[0]) for held in (c, d))
        bounded = float("inf") if unlike is None or unlike.value is None else unlike.value
        figures.append((plain * 1000 / BINS, plain / (weighed.chance or 1), bounded, like.low if like else 0.0))
    # a quantile that is a figure of one draw, since some are endless
    kept = [np.quantile(column, (0.5, 0.1, 0.9), method="nearest").tolist() for column in np.array(figures).T]
    return Step(*kept)


def shown(ends: Sequence[float], form: str = ".3g") -> str:
    middle, low, high = (format(end, form).replace("inf", "no upper end") for end in ends)
    return middle if middle == low == high else f"{middle} ({low} to {high})"


def by_layer(measure: Measure, kinds: tuple[str, str]) -> tuple[list[str], list[list[str]]]:
    """Of two populations and changed ones: dna-emd in each of four layers, and the ratio to two held-out sets."""
    first, other = kinds
    real: Mix = ((first, 1.0),)
    sets = [name for name in ON_SCALE.get(first, ()) if name.startswith(f"{first}, ")]
    held_out: dict[str, Mix] = {
        f"{results.percent(SOURCE)} {other}": ((first, 1 - SOURCE), (other, SOURCE)),
        f"all {other}": ((other, 1.0),),
    }
    layers = list(measure.chosen)
    of_layers = [layers.index(layer) for layer in ("block_0", "block_3", "block_6", "head")]

    def distances(mix: Mix) -> list[float]:
        found = []
        for kind_sets in (real, mix):
            pools = [(measure[kind].counts.double().mean(0), share) for kind, share in kind_sets if share]
            counts = sum(share * counts for counts, share in pools)
            found.append(counts.cumsum(1) / counts.sum(1, keepdim=True))
        by_neuron = (found[0] - found[1]).abs().sum(1) * 1000 / BINS
        return [float(by_neuron[measure.slices[i]].mean()) for i in of_layers]

    rows = []
    for name in (*sets, other):
        of_set = distances(((name, 1.0),))
        rows.append([name, "dna-emd (bins)", *(f"{value:.3g}" for value in of_set)])
        for held, mix in held_out.items():
            pairs = zip(of_set, distances(mix), strict=True)
            rows.append([name, f"x held-out, {held}", *(f"{value / below:.2f}" for value, below in pairs)])
    return ["set", "figure", "block_0", "block_3", "block_6", "head"], rows


def plot(steps: dict[tuple[str, str], Step], size: int) -> Figure:
    """One axis from 1: value over chance, and the least ratio to held-out images."""
    figure = Figure(figsize=(8, 0.36 * len(steps) + 1.5), layout="constrained")
    figure.suptitle(f"How many times as far as real images are, with {size} images a side")
    axis = figure.subplots()
    axis.axvline(1, color="0.5", linewidth=1)
    for i, ((real, _), step) in enumerate(steps.items()):
        colour = results.COLOURS[("dna-emd", "dna-fd", "fd")[list(ON_SCALE).index(real)]]
        middle, low, high = step.over_chance
        axis.errorbar([middle], [i], xerr=[[middle - low], [high - middle]], fmt="o", color=colour, capsize=3)
        least = step.least[0]
        if least > 0:
            axis.annotate(
                "", (least * 1.35, i + 0.28), (least, i + 0.28), arrowprops={"arrowstyle": "->", "color": colour}
            )
            axis.plot([least], [i + 0.28], "|", color=colour, markersize=8)
    names = [IN_WORDS.get(other, f"{other} against {real}") for real, other in steps]
    axis.set_yticks(range(len(steps)), names)
    axis.set(
        xscale="log", xlabel="dot: times what chance gives;  arrow: at least so many times as far as held-out images"
    )
    ticks = [1, 2, 3, 5, 10, 20]
    axis.set_xticks(ticks, [f"{tick}" for tick in ticks])
    axis.set_xticks([], minor=True)
    axis.set_xlim(0.8, None)
    axis.spines[["top", "right"]].set_visible(False)
    axis.set_ylim(len(steps) - 0.4, -0.6)
    axis.annotate(
        "real images",
        (1, 1),
        (3, -2),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        color="0.4",
        va="top",
    )
    return figure


def main() -> None:
    parser = results.parser(__doc__)
    parser.add_argument("--activations", type=Path, help="folder that keeps what was measured and found")
    arguments = parser.parse_args()
    folder, quick = results.begin(arguments), arguments.quick
    asked.NUM_RELABELINGS = RELABELINGS
    measure = Measure(arguments.activations, quick)
    kept = None if arguments.activations is None else arguments.activations / "held_out.json"
    draws, sizes, many, few = (3, (20,), (20, 30), 2) if quick else (200, SIZES, MANY, 40)
    kinds = {"photographs": AT_HAND} if quick else KINDS
    cells: dict[tuple[str, str, int, float], Cell] = {}
    asked_of = [
        (name, size) for name in POWERS for size in (sizes if name == "dna-emd" else sizes[len(sizes) // 2 :][:1])
    ]
    for (name, size), kind, ratio in product(asked_of, kinds, RATIOS):
        compute = partial(ask, measure, mixes(measure, kinds[kind], ratio), (size, size, size), name, draws)
        key = f"{kind}, {name}, {size}, {ratio}"
        cells[kind, name, size, ratio] = Cell(**remember(kept, key, lambda compute=compute: asdict(compute())))
    coverage = [
        [kind, name, f"{size}", *(told(cells[kind, name, size, ratio]) for ratio in RATIOS)]
        for kind, (name, size) in product(kinds, asked_of)
    ]
    unequal = []
    for of_sides in ((20, 20, 40),) if quick else UNEQUAL:
        for ratio in RATIOS[2:3]:
            sets = mixes(measure, next(iter(kinds.values())), ratio)
            compute = partial(ask, measure, sets, of_sides, "dna-emd", draws)
            cell = Cell(**remember(kept, f"{of_sides}, {ratio}", lambda compute=compute: asdict(compute())))
            unequal.append([", ".join(map(str, of_sides)), f"{ratio}", *row(cell)[1:]])
    grown = {}
    real, other, source = ("wallpapers", "textures", None) if quick else ("fluent", "wallpapers", "emojione")
    for size in many:
        compute = partial(grow, measure, real, other, size, few, source)
        grown[size] = Step(**remember(kept, f"grow {size}", lambda compute=compute: asdict(compute())))
    scale, on_scale = {}, {"wallpapers": ("textures",)} if quick else ON_SCALE
    at = 20 if quick else 200
    for real, sets in on_scale.items():
        for name in sets:
            compute = partial(grow, measure, real, name, at, few)
            scale[real, name] = Step(**remember(kept, f"{real}, {name}", lambda compute=compute: asdict(compute())))
    covered = [1 - cell.too_high - cell.too_low for cell in cells.values()]
    above = [cell.too_high for cell in cells.values()]
    first, last = (grown[size] for size in (many[0], many[-1]))
    header, layers = by_layer(measure, AT_HAND[:2] if quick else ("fluent", "emojione"))
    results.write(
        folder,
        "held_out",
        here=(
            f"There are {len(cells)} combinations of domain, distance, number of images and true ratio, with {draws}"
            f" draws each. The interval contains the true ratio in {results.percents(covered)} of draws, and lies above"
            f" it in {results.percents(above)}. With {many[-1]:,} instead of {many[0]} images per set, dna-emd is"
            f" {last.plain[0]:.3g} instead of {first.plain[0]:.3g} bins. Its ratio to the null mean is"
            f" {last.over_chance[0]:.3g} instead of {first.over_chance[0]:.3g}. If the held-out set has the"
            f" distribution of the reference, the lower bound of the ratio to held-out is {last.least[0]:.3g} instead"
            f" of {first.least[0]:.3g}."
        ),
        tables=[
            results.table(["images", "distance", "a side", *(f"ratio {ratio}" for ratio in RATIOS)], coverage),
            results.table(
                ["images", "dna-emd (bins)", "x chance", "x held-out, of another source", "at least, held-out like A"],
                [
                    [f"{size:,}", *map(shown, (step.plain, step.over_chance, step.ratio, step.least))]
                    for size, step in grown.items()
                ],
            ),
            results.table(header, layers),
            results.table(
                ["reference, set, held-out", "ratio", *OF_A_CELL],
                unequal,
            ),
            results.table(
                ["images", "distance", "a side", "ratio", *OF_A_CELL],
                [[kind, name, f"{size}", *row(cell)] for (kind, name, size, _), cell in cells.items()],
            ),
        ],
        figures={"": plot(scale, at)},
        seeds=f"of draws: ten times the images of a set and those of the reference; {draws} of each cell, {few} others",
        data=packages(quick),
    )  # fmt: skip


def told(cell: Cell) -> str:
    return f"{1 - cell.too_high - cell.too_low:.2f}, {cell.bounded:.0%} with an end".replace("%", " %")


if __name__ == "__main__":
    main()
