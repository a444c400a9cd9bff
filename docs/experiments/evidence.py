"""What does each distance see, and what not? dna-emd beside dna-fd, fd, KID and MIND, on the same features.

    pip install "torchmetrics-dna[demo]" scikit-learn
    python docs/experiments/evidence.py
    python docs/experiments/evidence.py --only changes

Each picture goes through the default extractor once, by itself or for a change: all distances are of that pass. dna-emd
and dna-fd are of all layers, fd, KID and MIND of the last one's spatial means; "projected" is dna-emd of 32 random
projections of each layer alone. Where a table has ratios, 1 is the null: the mean distance of equal sets of that size.
Nothing here chose anything: the projections were chosen on clip art, which is not shown. 3 GB of memory.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, partial
from hashlib import sha256
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import data
import numpy as np
import results
import torch
from checkpoints import generated, pictures
from corruptions import CHANGES, STRENGTHS, change_image
from matplotlib.figure import Figure
from PIL import Image
from significance import remember
from sklearn.datasets import load_digits
from torch import Tensor

from torchmetrics_dna import DNAExtractor
from torchmetrics_dna.dna import HistogramDNA
from torchmetrics_dna.dna.averaging import PLAIN
from torchmetrics_dna.dna.distances import DISTANCES
from torchmetrics_dna.dna.evidence import weigh_evidence
from torchmetrics_dna.functional import activation_histogram, dna_emd, dna_frechet, layer_frechet_distance, mind
from torchmetrics_dna.functional.features import kernel_distance
from torchmetrics_dna.neurons import Neurons

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Picture = NDArray[np.uint8]
    Row = dict[str, Any]

BINS, FOLDS, DIRECTIONS, RECORD = 100, 10, 32, DISTANCES["dna-emd"]
NOISELESS, PROJECTED = "dna-emd without noise", "dna-emd, projected"
NAMES = ("dna-emd", NOISELESS, PROJECTED, "dna-fd", "fd", "KID", "MIND")
COLOURS = dict(zip(NAMES, ("dna-emd", "second", "third", "dna-fd", "fd", "KID", "other"), strict=True))


@dataclass
class Sizes:
    """How large a run is."""

    side: int = 128  # pixels
    images: int = 60  # of photographs, a side
    of_modes: int = 120  # emoji, a side
    draws: int = 10
    steady: tuple[int, ...] = (10, 20, 50, 100, 200)
    steps: tuple[int, ...] = (200, 800, 3200)
    names: tuple[str, ...] = tuple(CHANGES)
    strengths: tuple[int, ...] = STRENGTHS
    rows: int = 400  # of synthetic features


QUICK = Sizes(64, 4, 10, 1, (4,), (1, 2), ("blur",), (1, 5), 20)


@dataclass
class Set:
    """Of each image its histograms, int16 ``(images, N, BINS)``, and its spatial means ``(images, N)``."""

    counts: Tensor
    means: Tensor
    neurons: Neurons

    def __len__(self) -> int:
        return len(self.counts)

    def __getitem__(self, chosen: Tensor) -> Set:
        return Set(self.counts[chosen], self.means[chosen], self.neurons)

    def __add__(self, other: Set) -> Set:
        return Set(torch.cat([self.counts, other.counts]), torch.cat([self.means, other.means]), self.neurons)

    def select(self, projected: bool) -> tuple[Neurons, Tensor]:
        layers = [layer for layer in self.neurons if layer.endswith(":projected") == projected]
        places = self.neurons.positions(layers)
        return self.neurons.take(places), places

    def dna(self, neurons: Neurons, places: Tensor) -> HistogramDNA:
        folds = torch.arange(len(self)) % FOLDS  # images come in random order
        parts = [self.counts[folds == fold][:, places].sum(0, dtype=torch.int64) for fold in range(FOLDS)]
        made = [HistogramDNA(part, neurons, None, int((folds == i).sum()), "x") for i, part in enumerate(parts)]
        return HistogramDNA(torch.stack(parts).sum(0), neurons, None, len(self), "x", folds=tuple(made))


@cache
def extractor_of(side: int) -> DNAExtractor:
    return DNAExtractor("efficientnet_lite0", input_size=side)


class Measure:
    """From pictures to sets; bounds of histograms are those of the pictures that it is given first."""

    def __init__(self, side: int) -> None:
        self.extractor = extractor_of(side)
        self.bounds: dict[str, tuple[Tensor, Tensor]] = {}

    def __call__(self, pictures: Sequence[Picture], mix: bool = False) -> Set:
        """With ``mix``, half of each layer's neurons are those of the next image."""
        parts = [self.extractor(data.batch(list(pictures[i : i + 8]))) for i in range(0, len(pictures), 8)]
        activations = {layer: torch.cat([part[layer] for part in parts]) for layer in parts[0]}
        for values in activations.values() if mix else ():
            half = torch.randperm(values.shape[1], generator=torch.Generator().manual_seed(5))[::2]
            values[:, half] = values[:, half].roll(1, 0)
        return histograms(activations, self.bounds)


def projected(activations: Tensor) -> Tensor:
    """The neurons of each position, divided by their norm, on random directions: ``(B, DIRECTIONS, *positions)``."""
    rows = np.random.default_rng(0).standard_normal((DIRECTIONS, activations.shape[1]))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    unit = torch.nn.functional.normalize(activations.float(), dim=1)
    return torch.einsum("kn,bn...->bk...", torch.from_numpy(rows).float(), unit)


def histograms(activations: dict[str, Tensor], bounds: dict[str, tuple[Tensor, Tensor]]) -> Set:
    """Histograms of each image, within bounds that are filled in by whoever comes first: the range and 20 % more.

    Projections of each layer come first.
    """
    activations = {f"{layer}:projected": projected(x) for layer, x in activations.items()} | activations
    neurons = Neurons({layer: x.shape[1] for layer, x in activations.items()})
    images = len(next(iter(activations.values())))
    counts = torch.zeros(images, neurons.total, BINS, dtype=torch.int16)
    for layer, values in activations.items():
        flat = values.flatten(2) if values.ndim > 2 else values[..., None]
        if layer not in bounds:
            low, high = flat.amin((0, 2)).double(), flat.amax((0, 2)).double()
            bounds[layer] = low - (high - low) / 10, high + (high - low) / 10
        for i, one in enumerate(flat.split(1)):
            counts[i, neurons.slices[layer]] = activation_histogram(one, *bounds[layer], BINS).short()
    means = torch.cat([x.flatten(2).mean(2) if x.ndim > 2 else x for x in activations.values()], 1)
    return Set(counts, means.double(), neurons)


def distances(a: Set, b: Set) -> dict[str, float]:
    (plain, places), (_, projected) = a.select(False), a.select(True)
    one, other = (side.dna(plain, places) for side in (a, b))
    found = one.distances(other)
    unions = replace(RECORD.folded(one, other), num_relabelings=0)  # for no test is asked
    evidence = weigh_evidence(found, unions, RECORD.power, averaging=PLAIN, confidence=0.95)
    means = [side.means[:, places] for side in (a, b)]
    last = [side.means[:, -list(a.neurons.values())[-1] :] for side in (a, b)]
    sums = [side.counts[:, projected].sum(0, dtype=torch.int64) for side in (a, b)]
    turned = torch.linalg.qr(torch.cat(last).T)[0]  # to what the images span, which leaves fd as it is
    moments = [moment for side in last for moment in ((side @ turned).mean(0), (side @ turned).T.cov())]
    spreads = [moment for side in means for moment in (side.mean(0), side.var(0))]
    values = (
        found.mean(), np.nan if evidence is None else evidence.debiased, dna_emd(*sums), dna_frechet(*spreads),
        layer_frechet_distance(*moments), kernel_distance(*last)[0], mind(*last, num_projections=200),
    )  # fmt: skip
    return {name: float(value) for name, value in zip(NAMES, values, strict=True)}


def rows_of(found: dict[str, list[dict[str, float]]], null: list[dict[str, float]]) -> Row:
    """Means of draws over that of the null, and by how many deviations of the null they are above it.

    KID of the null is taken as absolute, since it is about 0; what is without noise goes over plain dna-emd.
    """
    base = {name: float(np.mean([abs(draw[name]) for draw in null])) for name in NAMES}
    base[NOISELESS] = base["dna-emd"]
    centre, spread = ({name: float(of([draw[name] for draw in null])) for name in NAMES} for of in (np.mean, np.std))
    rows: Row = {}
    for case, draws in found.items():
        mean = {name: float(np.mean([draw[name] for draw in draws])) for name in NAMES}
        above = {name: (mean[name] - centre[name]) / spread[name] if spread[name] else None for name in NAMES}
        rows[case] = {name: (mean[name] / (base[name] or np.nan), above[name]) for name in NAMES}
    return rows


def cut(path: Path, count: int, side: int, random: np.random.Generator) -> list[Picture]:
    """Crops of a large photograph, of half its height, shrunk."""
    with Image.open(path) as file:
        file.thumbnail((1200, 1200))
        whole = file.convert("RGB")
    length = whole.height // 2
    corners = [(int(random.integers(whole.width - length)), int(random.integers(length))) for _ in range(count)]
    return [
        np.asarray(whole.crop((x, y, x + length, y + length)).resize((side, side), Image.Resampling.LANCZOS))
        for x, y in corners
    ]


def landscapes(sizes: Sizes, quick: bool) -> list[Picture]:
    """Photographs of one size, in random order."""
    random = np.random.default_rng(0)
    if quick:
        found = [picture[: sizes.side, : sizes.side] for picture in data.at_hand(2 * sizes.images)]
    else:
        paths = data.backgrounds()
        found = [crop for path in paths for crop in cut(path, -(-2 * sizes.images // len(paths)), sizes.side, random)]
    return [found[i] for i in random.permutation(len(found))]


def emoji(maker: str, quick: bool) -> dict[str, list[Picture]]:
    """Emoji by category, those with the most first, in random order."""
    if quick:
        digits, labels = data.at_hand(400, "digits"), load_digits().target[:400]
        return {str(i): [digit for digit, label in zip(digits, labels, strict=True) if label == i] for i in range(8)}
    found: dict[str, list[Path]] = {}
    for one in data.emoji(maker):
        found.setdefault(one.category, []).append(one.path)
    random = np.random.default_rng(0)
    ordered = sorted(found.items(), key=lambda item: -len(item[1]))
    return {name: [data.picture(paths[i]) for i in random.permutation(len(paths))] for name, paths in ordered}


def split(total: int, size: int, seed: int) -> tuple[Tensor, Tensor]:
    order = torch.randperm(total, generator=torch.Generator().manual_seed(seed))
    return order[:size], order[size : 2 * size]


def changes(sizes: Sizes, quick: bool) -> Row:
    """How many of the changes move a distance further with each strength."""
    photos, measure = landscapes(sizes, quick), Measure(sizes.side)
    some = photos[: sizes.images]
    same, others = measure(some), measure(photos[sizes.images : 2 * sizes.images])
    rises = {against: dict.fromkeys(NAMES, 0) for against in ("same", "other")}
    for name in sizes.names:
        made = [measure([change_image(photo, name, s, i) for i, photo in enumerate(some)]) for s in sizes.strengths]
        for against, reference in (("same", same), ("other", others)):
            found = [distances(reference, one) for one in made]
            for distance in NAMES:
                values = [one[distance] for one in found]
                rises[against][distance] += all(low < high for low, high in pairwise(values))
    return rises


def steady(sizes: Sizes, quick: bool) -> Row:
    """Distances of few images over that of all, mean and deviation of draws."""
    makers = [[picture for kind in emoji(maker, quick).values() for picture in kind] for maker in ("google", "twitter")]
    most, measure = 2 * sizes.steady[-1], Measure(64)
    order = np.random.default_rng(1).permutation(min(map(len, makers)))[: 2 * most]
    a, b = (measure([maker[i] for i in half]) for maker, half in zip(makers, np.array_split(order, 2), strict=True))
    whole, found = distances(a, b), {}
    for size in sizes.steady:
        draws = [distances(a[split(len(a), size, i)[0]], b[split(len(b), size, 50 + i)[0]]) for i in range(sizes.draws)]
        shares = {name: [draw[name] / (whole[name] or np.nan) for draw in draws] for name in NAMES}
        found[str(size)] = {name: (float(np.mean(x)), float(np.std(x))) for name, x in shares.items()}
    return found


def checkpoints(sizes: Sizes, quick: bool) -> Row:
    """Of draws, how often images of the later checkpoint are nearer to real digits than those of the one before."""
    torch.manual_seed(0)
    digits = torch.from_numpy(load_digits().data / 16).float()[torch.randperm(1797)]
    count, measure = (20 if quick else 200), Measure(64)
    real = measure(list(pictures(digits[1300 : 1300 + 2 * count]).permute(0, 2, 3, 1).numpy()))
    made = generated(digits[:1300], sizes.steps, count)
    sets = [measure(list(pictures(one).permute(0, 2, 3, 1).numpy())) for one in made.values()]
    found: Row = {}
    for i, (earlier, later) in enumerate(pairwise(sets)):
        for size in (10, 20, 50) if not quick else (6,):
            right = dict.fromkeys(NAMES, 0.0)
            for draw in range(2 * sizes.draws):
                reference = real[split(len(real), size, draw)[0]]
                one, other = (distances(reference, side[split(count, size, 90 + draw)[0]]) for side in (earlier, later))
                for name in NAMES:
                    right[name] += (other[name] < one[name]) / (2 * sizes.draws)
            found[f"{sizes.steps[i]} or {sizes.steps[i + 1]} steps, {size} images"] = right
    return found


def modes(sizes: Sizes, quick: bool) -> Row:
    """Sets of emoji with modes that are missing, invented or unequal, repeats and copies, over the null."""
    kinds, measure, size = list(emoji("google", quick).values()), Measure(64), sizes.of_modes
    each = size // 5
    pools = [measure(kind[: each + (size if i == 0 else 2 * each)]) for i, kind in enumerate(kinds[:6])]
    found: dict[str, list[dict[str, float]]] = {}
    for draw in range(sizes.draws):
        shuffled = [pool[split(len(pool), len(pool), draw)[0]] for pool in pools]
        reference = sum((pool[torch.arange(each)] for pool in shuffled[1:5]), shuffled[0][torch.arange(each)])

        def mixed(*counts: int, pools: list[Set] = shuffled) -> Set:
            kept = [pool[torch.arange(each, each + n)] for pool, n in zip(pools, counts, strict=False) if n]
            whole = sum(kept[1:], kept[0])
            return whole[split(len(whole), len(whole), 7)[0]]

        few = mixed(*[max(1, each // 8)] * 5)
        cases = {
            "equal": mixed(*[each] * 5),
            "one of five modes missing": mixed(2 * each, each, each, each),
            "three of five modes missing": mixed(4 * each, each),
            "an invented mode, 10 %": mixed(*[each] * 4, each // 2, each - each // 2),
            "an invented mode, 20 %": mixed(*[each] * 4, 0, each),
            "one mode three times as often": mixed(3 * each, *[each // 2] * 4),
            "a few images, again and again": few[torch.arange(5 * each) % len(few)],
            "copies of the reference": reference,
        }
        for case, made in cases.items():
            found.setdefault(case, []).append(distances(reference[split(len(reference), len(reference), 3)[0]], made))
    return rows_of(found, found["equal"])


def dependence(sizes: Sizes, quick: bool) -> Row:
    """Halves of pictures, or half of the neurons, from another image, over the null."""
    photos, measure = landscapes(sizes, quick), Measure(sizes.side)
    found: dict[str, list[dict[str, float]]] = {}
    for draw in range(sizes.draws):
        a, b = ([photos[i] for i in some] for some in split(2 * sizes.images, sizes.images, draw))
        middle = sizes.side // 2
        halves = [np.concatenate([b[i][:, :middle], b[i - 1][:, middle:]], 1) for i in range(len(b))]
        reference = measure(a)
        cases = {
            "equal": measure(b),
            "halves of pictures": measure(halves),
            "half of the neurons": measure(b, mix=True),
        }
        for case, made in cases.items():
            found.setdefault(case, []).append(distances(reference, made))
    return rows_of(found, found["equal"])


def sanity(sizes: Sizes, quick: bool) -> Row:  # noqa: ARG001
    """In how many draws a distance of synthetic features does what a distance should."""
    wide, rows = 64, sizes.rows
    found: Row = {}
    for draw in range(sizes.draws):
        generator = torch.Generator().manual_seed(draw)

        def normal(rows: int = rows, generator: torch.Generator = generator) -> Tensor:
            return torch.randn(rows, wide, generator=generator)

        def against(a: Tensor, *others: Tensor) -> list[dict[str, float]]:
            bounds: dict[str, tuple[Tensor, Tensor]] = {}
            reference = histograms({"x": a}, bounds)
            return [distances(reference, histograms({"x": other}, bounds)) for other in others]

        a, null, ones = normal(), normal(), torch.zeros(wide)
        ones[0] = 1
        outlier = null.clone()
        outlier[0] = 10
        centres = 4 * normal(8)

        def of_modes(weights: Tensor, centres: Tensor = centres, generator: torch.Generator = generator) -> Tensor:
            kinds = torch.multinomial(weights, rows, replacement=True, generator=generator)
            return centres[kinds] + normal()

        dropped = [torch.tensor([1.0] * (8 - k) + [0.0] * k) for k in (0, 2, 4, 6)]
        fading = [torch.tensor([1.0] + [1 - k / 4] * 7) for k in range(4)]
        ball = normal()
        ball *= wide**0.5 / ball.norm(dim=1, keepdim=True)
        scale = 1 + 999 * ones
        rises = {
            "rises with a shift of the mean": against(a, *(null + shift / 10 for shift in range(0, 5, 2))),
            "rises with the deviation": against(a, *(null * (1 + k / 5) for k in range(4))),
            "rises as modes go, one after another": against(of_modes(dropped[0]), *map(of_modes, dropped)),
            "rises as modes fade, all at once": against(of_modes(fading[0]), *map(of_modes, fading)),
        }
        twice = {
            "sees one dimension of 64 that is shifted by 1": against(a, null, null + ones),
            "sees a shift beside a dimension of 1,000 times the scale": against(
                a * scale, null * scale, (null + 0.3) * scale
            ),
            "sees a sphere against a Gaussian of the same mean and covariance": against(a, null, ball),
        }  # fmt: skip
        heeds = against(a, null, outlier)
        for name in NAMES:
            passed = {case: all(x[name] < y[name] for x, y in pairwise(v)) for case, v in rises.items()}
            base = "dna-emd" if name == NOISELESS else name
            passed |= {case: v[1][name] > 2 * abs(v[0][base]) for case, v in twice.items()}
            passed["is not ruled by one outlier in 400"] = heeds[1][name] < 2 * abs(heeds[0][base])
            for case, good in passed.items():
                found.setdefault(case, dict.fromkeys(NAMES, 0))[name] += int(good)
    return found


def gaming(sizes: Sizes, quick: bool) -> Row:
    """How much a set comes nearer by no better pictures, but as many of each class as the reference has."""
    real, other, measure = emoji("google", quick), emoji("twitter", quick), Measure(64)
    kinds, each = list(real)[:5], sizes.of_modes // 5
    reference = measure([picture for kind in kinds for picture in real[kind][:each]])
    pool = {kind: measure(other[kind][each : each + (2 if i else 4) * each]) for i, kind in enumerate(kinds)}
    found: dict[str, list[dict[str, float]]] = {}
    for draw in range(sizes.draws):

        def some(counts: Sequence[int], draw: int = draw) -> Set:
            parts = [one[split(len(one), n, draw)[0]] for one, n in zip(pool.values(), counts, strict=True)]
            whole = sum(parts[1:], parts[0])
            return whole[split(len(whole), len(whole), 1)[0]]

        found.setdefault("classes unequal", []).append(distances(reference, some([3 * each] + [each // 2] * 4)))
        found.setdefault("as in the reference", []).append(distances(reference, some([each] * 5)))
    return rows_of(found, found["classes unequal"])


def jpeg(picture: Picture, quality: int) -> Picture:
    file = BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    with Image.open(file) as opened:
        return np.asarray(opened.convert("RGB"))


def resized(picture: Picture, way: Image.Resampling) -> Picture:
    """To half its size, and back by Lanczos."""
    image = Image.fromarray(picture)
    small = image.resize((image.width // 2, image.height // 2), way)
    return np.asarray(small.resize(image.size, Image.Resampling.LANCZOS))


def pipelines(sizes: Sizes, quick: bool) -> Row:
    """The same photographs, saved or resized in another way, over the null of others."""
    photos, measure = landscapes(sizes, quick), Measure(sizes.side)
    some = photos[: sizes.images]
    reference, found = measure(some), {}
    cases: dict[str, Callable[[Picture], Picture]] = {
        "JPEG of quality 95": partial(jpeg, quality=95),
        "JPEG of quality 75": partial(jpeg, quality=75),
        "JPEG of quality 50": partial(jpeg, quality=50),
        "7 bits": lambda picture: picture // 2 * 2 + 1,
        "5 bits": lambda picture: picture // 8 * 8 + 4,
        "halved by Lanczos": partial(resized, way=Image.Resampling.LANCZOS),
        "halved, bilinear": partial(resized, way=Image.Resampling.BILINEAR),
        "halved by nearest pixels": partial(resized, way=Image.Resampling.NEAREST),
    }
    for case, change in cases.items():
        found[case] = [distances(reference, measure([change(photo) for photo in some]))]
    null = [distances(reference, measure(photos[sizes.images : 2 * sizes.images]))]
    return rows_of(found, null)


ROWS: dict[str, tuple[str, Callable[[Sizes, bool], Row]]] = {
    "changes": ("How many changes of photographs move it further at each of 5 strengths", changes),
    "steady": ("Few images over 400: mean (deviation) of draws", steady),
    "checkpoints": ("How often the later of two checkpoints of a GAN is nearer", checkpoints),
    "modes": ("Modes of emoji: the distance over that of equal sets (deviations above it)", modes),
    "dependence": (
        "Only the dependence changes: the distance over that of equal sets (deviations above it)",
        dependence,
    ),
    "sanity": ("Synthetic features: in how many draws it does what it should", sanity),
    "gaming": ("Class histograms: the distance after choosing classes, over that before (deviations above it)", gaming),
    "pipelines": ("Pipelines: the distance over that of other photographs", pipelines),
}


def cell(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"{value[0]:.2f}" + ("" if value[1] is None else f" ({value[1]:.2f})")
    return f"{value}" if isinstance(value, int) else f"{value:.2f}"


def table_of(name: str, found: Row) -> str:
    rows = [[case, *(cell(values[distance]) for distance in NAMES)] for case, values in found.items()]
    return f"**{ROWS[name][0]}**, by `--only {name}`\n\n" + results.table(["", *NAMES], rows)


def figure_of(found: Row) -> Figure:
    """What distances find where modes or dependence change, a marker for each distance."""
    figure = Figure(figsize=(9.5, 5), layout="constrained")
    figure.suptitle("How far each distance is above that of equal sets", x=0.01, ha="left", fontsize=11)
    axis = figure.subplots()
    cases = [case for case in found if case != "equal"]
    shifts = np.linspace(-0.3, 0.3, len(NAMES))
    for (name, colour), marker, shift in zip(COLOURS.items(), "oPXsDv^", shifts, strict=True):
        values = [found[case][name][1] or 0 for case in cases]
        look = {"color": results.COLOURS[colour], "label": name, "ms": 6, "mec": "black", "mew": 0.4}
        axis.plot(values, np.arange(len(cases)) + shift, marker, **look)
    axis.axvspan(-2, 2, color="0.93", lw=0)
    axis.set_xscale("symlog", linthresh=5)
    axis.set_xticks(ticks := (-30, -10, -2, 0, 2, 10, 30), map(str, ticks))
    axis.set_yticks(range(len(cases)), cases)
    axis.invert_yaxis()
    axis.set_xlabel("standard deviations of equal sets; grey: within two of them, where nothing is seen")
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.tick_params(axis="y", length=0)
    axis.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def main() -> None:
    parser = results.parser(__doc__)
    parser.add_argument("--only", choices=ROWS, help="print one table and write no page")
    arguments = parser.parse_args()
    folder, quick = results.begin(arguments), arguments.quick
    script = sha256(Path(__file__).read_bytes()).hexdigest()[:8]
    kept = None if quick else data.CACHE / f"evidence-{script}.json"
    sizes = QUICK if quick else Sizes()
    found = {
        name: remember(kept, name, partial(compute, sizes, quick))
        for name, (_, compute) in ROWS.items()
        if arguments.only in (None, name)
    }
    if arguments.only:
        print(table_of(arguments.only, found[arguments.only]))
        return
    blind, seen = (
        {name: found["dependence"][case][name][0] for name in NAMES}
        for case in ("half of the neurons", "halves of pictures")
    )
    results.write(
        folder,
        "evidence",
        here=(
            "Each distance is divided by its mean for two samples of the same distribution. If half of the neurons come"
            f" from another image, this ratio is {blind['dna-emd']:.2f} for dna-emd, {blind[PROJECTED]:.2f} for dna-emd"
            f" of projections and {blind['fd']:.2f} for fd. If each picture consists of halves of two pictures, the"
            f" ratio is {seen['dna-emd']:.2f}, {seen[PROJECTED]:.2f} and {seen['fd']:.2f}. No distance detects that a"
            " set consists of copies of the reference."
        ),
        tables=[table_of(name, rows) for name, rows in found.items()],
        figures={"": figure_of(found["modes"] | found["dependence"])},
        seeds=f"0 to {sizes.draws - 1} of draws, {sizes.draws} of each cell, or 1 of changes and pipelines",
        data=["scikit-learn"] if quick else [*data.BACKGROUNDS, data.EMOJI["google"], data.EMOJI["twitter"]],
    )


if __name__ == "__main__":
    main()
