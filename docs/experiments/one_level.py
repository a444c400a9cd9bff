"""Of equal halves, how many get a sentence that says a difference? What is shown of slight changes, and beside held-out
images?

    pip install "torchmetrics-dna[demo]" scikit-learn
    python docs/experiments/one_level.py --activations FOLDER

Nine kinds that chose nothing. Each picture is measured once, at 64 pixels, and kept in FOLDER; a draw adds those of its
sets up in 25 bins, which change no level, and asks what :func:`compare` asks, by the same functions. Some draws are
made again at 224 pixels in 1,000 bins, as :func:`compare` has them. "Before": each question by itself, network,
properties and single images at 0.05, a few at 0.01.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import causes
import data
import numpy as np
import odd_pictures
import results
import torch
from torch import Tensor

from torchmetrics_dna import DNAExtractor
from torchmetrics_dna.binning import Activations
from torchmetrics_dna.comparisons.measured import add_held_out_tests, compare_measured
from torchmetrics_dna.comparisons.outliers import find_outliers
from torchmetrics_dna.dna import HistogramDNA, evidence
from torchmetrics_dna.dna.averaging import PLAIN
from torchmetrics_dna.dna.distances import DISTANCES
from torchmetrics_dna.dna.evidence import ratio_of
from torchmetrics_dna.functional import flagging
from torchmetrics_dna.functional.outliers import layers_for_outliers, outlier_test
from torchmetrics_dna.functional.permutation import SIGNIFICANT
from torchmetrics_dna.images.properties import FAULTS, LAYER, PROPERTIES, RECORDS, properties_of
from torchmetrics_dna.images.resize import resize_image
from torchmetrics_dna.jobs.arguments import Arguments
from torchmetrics_dna.jobs.measure import Measured
from torchmetrics_dna.jobs.plan import Plan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from causes import Picture
    from numpy.typing import NDArray

    from torchmetrics_dna.comparisons.two_sets import Comparison

BINS, MOST, BATCH, SIDE = 1000, 200, 16, 64
HEDGEHOGS, TEXTURES, ELEMENTARY = (
    data.Package("apt", name) for name in ("hedgewars-data", "scorched3d-data", "elementary-xfce-icon-theme")
)
CHARTS = data.Package("apt", "python-sklearn-doc")
CHANGES = {
    "JPEG 50": ("JPEG compression", 50),
    "blur 0.7": ("blur", 0.7),
    "darker by 8 %": ("darker", 8),
    "grey": ("less saturation", 100),
    "darker by 20 %": ("darker", 20),  # of which_set.py
}


@cache
def pictures(kind: str) -> list[Picture]:
    """So many different pictures of a kind at most, in random order."""
    random = np.random.default_rng(0)
    if kind in ("icons", "renders", "landscapes", "digits"):
        found = causes.pictures(kind)[0]
    elif kind == "wallpapers":
        found = [tile for tile in data.wallpapers()[0] if tile.std() > 4]
    else:
        package, pattern, least = {
            "hedgehogs": (HEDGEHOGS, "Graphics/**/*.png", 32),
            "textures": (TEXTURES, "textures/**/*.*", 64),
            "elementary": (ELEMENTARY, "*/48/*.png", 32),
            "charts": (CHARTS, "_images/*.png", 64),
        }[kind]
        files = sorted(path for path in package.folder().rglob(pattern) if path.suffix in (".png", ".jpg", ".bmp"))
        found = odd_pictures.opened([path for path in files if not path.is_symlink()], random, least)
    found = [thumbnail(picture) for picture in found if min(picture.shape[:2]) >= 24]
    # those of one colour are always named
    distinct = [*{picture.tobytes(): picture for picture in found if picture.mean(2).std() > 4}.values()]
    return [distinct[i] for i in random.permutation(len(distinct))[:MOST].tolist()]


def thumbnail(picture: Picture) -> Picture:
    """A picture of 320 pixels at most, its middle."""
    height, width = picture.shape[:2]
    top, left = max(0, height - 320) // 2, max(0, width - 320) // 2
    return np.ascontiguousarray(picture[top : top + 320, left : left + 320])


KINDS = (
    "landscapes", "icons", "textures", "charts", "renders", "hedgehogs", "elementary", "wallpapers", "digits"
)  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """Measurements of each picture of a kind."""

    flat: NDArray[np.int32]  # neuron times bins plus bin, of all pictures one after the other
    counts: NDArray[np.uint16]  # activations there
    ends: NDArray[np.int64]  # of each picture in both, from 0
    means: Tensor  # spatial means of the network's neurons, float32 (images, N)
    properties: Tensor  # float32 (images, properties)

    def __len__(self) -> int:
        return len(self.means)


class Measure:
    """Measurements of kinds, from a folder or made for it."""

    def __init__(self, folder: Path, side: int = SIDE) -> None:
        self.network, self.folder, self.side = DNAExtractor(input_size=side), folder / str(side), side
        self.folder.mkdir(parents=True, exist_ok=True)

    @cache  # noqa: B019 as long as the program
    def __call__(self, kind: str, change: str = "") -> Kind:
        path = self.folder / f"{kind}, {change or 'unchanged'}.npz".replace(" %", "")
        if not path.exists():
            some = pictures(kind)
            if change:
                made, amount = CHANGES[change]
                some = [causes.MADE[made](picture, amount, i) for i, picture in enumerate(some)]
            temporary = path.with_suffix(".part.npz")
            np.savez(temporary, **self.measured(some))
            temporary.rename(path)
            print(path.stem, len(some), flush=True)
        with np.load(path) as stored:
            flat, counts, ends, means, properties = (stored[name] for name in stored)
        return Kind(flat, counts, ends, torch.from_numpy(means), torch.from_numpy(properties))

    def measured(self, some: Sequence[Picture]) -> dict[str, NDArray]:
        flat, counts, means, network = [], [], [], self.network
        low, high = (bound.double() for bound in network.ranges.bounds())
        middle, half = (low + high) / 2, (high - low) / 2 + 1e-8
        for start in range(0, len(some), BATCH):
            batch = np.stack([resize_image(picture, (self.side, self.side)) for picture in some[start : start + BATCH]])
            activations = network(torch.from_numpy(batch))
            of_batch = Activations(activations)
            means.append(torch.cat([of_batch.means(layer) for layer in of_batch.layers], 1).float().numpy())
            bins = []
            for layer, rows in network.neurons.slices.items():
                values = activations[layer].flatten(2).double()
                scaled = ((values - middle[rows, None]) / half[rows, None]).clamp(-1, 1)
                bins.append(((scaled + 1) * (BINS / 2)).floor().clamp(max=BINS - 1).int().numpy())
            for i in range(len(batch)):
                of_image = [
                    (each[i] + BINS * np.arange(rows.start, rows.stop, dtype=np.int32)[:, None]).ravel()
                    for each, rows in zip(bins, network.neurons.slices.values(), strict=True)
                ]
                cells = np.bincount(np.concatenate(of_image))
                flat.append(np.flatnonzero(cells).astype(np.int32))
                counts.append(cells[flat[-1]].astype(np.uint16))
        return {
            "flat": np.concatenate(flat),
            "counts": np.concatenate(counts),
            "ends": np.cumsum([0, *map(len, flat)]),
            "means": np.concatenate(means),
            "properties": torch.stack([properties_of(picture) for picture in some]).numpy(),
        }


Part = tuple[str, str, "NDArray[np.int64]"]  # kind, change and pictures of it, which count from its first measured one
FOLDS, COARSE = 20, 25
RELABELINGS = 1000


class Sets:
    """Sets of measured pictures, and comparisons of them by the functions that :func:`compare` calls."""

    def __init__(self, measure: Measure, bins: int) -> None:
        self.measure, self.bins, evidence.NUM_RELABELINGS = measure, bins, RELABELINGS
        self.ranges = DNAExtractor(properties=True).ranges
        self.neurons, self.network = self.ranges.neurons, measure.network.neurons
        self.flagged_names = self.network.positions(layers_for_outliers(self.network))
        self.plan = Plan(Arguments(copies=False), [DISTANCES["dna-emd"]], self.network, True, PLAIN)

    def measured(self, parts: Sequence[Part], folds: NDArray[np.int64]) -> Measured:
        """A set whose pictures are in these folds."""
        counts = np.zeros((FOLDS, self.neurons.total, self.bins), np.int64)
        of_properties, of_network = np.split(counts, [self.neurons.slices[LAYER].stop], 1)  # which come first
        properties = torch.cat([self.measure(kind, change).properties[rows] for kind, change, rows in parts])
        means = torch.cat([self.measure(kind, change).means[rows] for kind, change, rows in parts])
        places = [(self.measure(kind, change), row) for kind, change, rows in parts for row in rows.tolist()]
        for fold in range(FOLDS):
            of_fold = [place for place, its in zip(places, folds.tolist(), strict=True) if its == fold]
            slices = [(kind, slice(*kind.ends[row : row + 2].tolist())) for kind, row in of_fold]
            if slices:
                cells = np.concatenate([kind.flat[where] for kind, where in slices])
                cells = cells // BINS * self.bins + cells % BINS * self.bins // BINS
                weights = np.concatenate([kind.counts[where] for kind, where in slices])
                sums = np.bincount(cells, weights, of_network[fold].size).astype(np.int64)
                of_network[fold] += sums.reshape(of_network[fold].shape)
        columns = (properties.double() * self.bins).long().clamp(max=self.bins - 1).numpy()
        np.add.at(of_properties, (folds[:, None], np.arange(columns.shape[1]), columns), 1)
        sizes = np.bincount(folds, minlength=FOLDS).tolist()
        arguments = self.neurons, self.ranges
        every = [
            HistogramDNA(torch.from_numpy(of_fold), *arguments, size, "efficientnet_lite0").rebin(min(self.bins, 100))
            for of_fold, size in zip(counts, sizes, strict=True)  # as folds of an image set are
        ]
        whole = torch.from_numpy(counts.sum(0))
        dna = HistogramDNA(whole, *arguments, len(folds), "efficientnet_lite0", folds=tuple(every))
        rows = {"folds": torch.from_numpy(folds), "means": means[:, self.flagged_names], LAYER: properties}
        numbers = list(range(len(folds)))
        return Measured({"histogram": dna}, [], numbers, [f"image {number}" for number in numbers], rows)

    def mean(self, kind: str, change: str) -> Tensor:
        """Shares of all pictures of a kind in the bins of the network's neurons, float64 (N, bins)."""
        of_kind = self.measure(kind, change)
        cells = of_kind.flat // BINS * self.bins + of_kind.flat % BINS * self.bins // BINS
        counts = np.bincount(cells, of_kind.counts, self.network.total * self.bins)
        shares = torch.from_numpy(counts).view(self.network.total, self.bins)
        return shares / shares.sum(1, keepdim=True)

    def compared(self, a: Measured, b: Measured) -> Comparison:
        return compare_measured(a, b, self.plan)


def answered(sets: Sets, a: Sequence[Part], b: Sequence[Part], random: np.random.Generator) -> dict[str, Any]:
    """P-values and numbers of odd images of one draw, now and before."""
    sides = [sets.measured(parts, random.integers(0, FOLDS, sum(len(rows) for *_, rows in parts))) for parts in (a, b)]
    result = sets.compared(*sides)
    of_b = find_outliers(*sides, sides[1], neurons=sets.network, rows=None)  # type: ignore[arg-type]  # of names it takes its own
    assert of_b is not None
    assert of_b.outlier_test is not None
    assert result.p_value_of_properties is not None
    single = before(*(side.rows[LAYER] for side in sides))
    left = [place for place in range(len(of_b.names)) if of_b.numbers[place] not in single]
    few = outlier_test(of_b.scores[left], of_b.typical).p_value if left else 1.0
    return {
        "network": result.p_value,
        "properties": result.p_value_of_properties,
        "answer": result.p_value_of_any,
        "single": len(of_b.single),
        "few": of_b.outlier_test.p_value,
        "named": len(of_b.named),
        "single before": len(single),
        "few before": few,
    }


def before(reference: Tensor, images: Tensor) -> set[int]:
    """Rows that were named by properties before: at 0.05, and a single one without colour."""
    if len(reference) < flagging.LEAST_OF_SINGLE:
        return set()
    p_values, gaps = beyond_tail(by_direction(reference), by_direction(images))
    named = ((gaps > 1.5) & (p_values * len(images) * len(FAULTS) <= SIGNIFICANT)).any(1)
    column = PROPERTIES.index("saturation")
    if (reference[:, column] >= 0.012).all():
        named |= images[:, column] <= flagging.GREY
    of_one_colour = {each.image for each in flagging.outliers_by_properties(reference, images) if each.is_fact}
    return {*named.nonzero()[:, 0].tolist()} | of_one_colour


def by_direction(images: Tensor) -> Tensor:
    """Properties of images, transformed, a column for each direction in which larger values are worse."""
    columns = []
    for direction in FAULTS:
        name, sign = direction[:-2], 1.0 if direction.endswith("+") else -1.0
        values, transform = images[:, PROPERTIES.index(name)].double(), RECORDS[name].tails
        columns.append(sign * (values if transform is None else transform(values)))
    return torch.stack(columns, 1)


def beyond_tail(reference: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
    """P-values of images by the tail of the reference, and how far they are beyond its extreme.

    That distance is in distances of the extreme from the median.
    """
    ordered = reference.sort(0, descending=True).values
    least = torch.tensor([fault.least for fault in FAULTS.values()], dtype=torch.float64)
    count, tail = len(ordered), max(5, round(len(ordered) / 20))
    median = (ordered[(count - 1) // 2] + ordered[count // 2]) / 2
    excess = torch.maximum((ordered[:tail] - ordered[tail]).mean(0), least / 3)
    p_values = tail / count * (1 + (images - ordered[tail]).clamp(min=0) / (tail * excess)) ** -tail
    return p_values, (images - ordered[0]) / torch.maximum(ordered[0] - median, least)


def says(draw: dict[str, Any], now: bool) -> dict[str, bool]:
    """What of an answer says that there is a difference."""
    if now:
        main = draw["answer"] <= SIGNIFICANT
        parts = {
            "network": main and draw["network"] <= SIGNIFICANT,
            "properties": main and draw["properties"] <= SIGNIFICANT,
            "network or properties": main,
            "single images": draw["single"] > 0,
            "a few": draw["few"] <= SIGNIFICANT,
        }
    else:
        network, properties = draw["network"] <= SIGNIFICANT, draw["properties"] <= SIGNIFICANT
        parts = {
            "network": network,
            "properties": properties,
            "network or properties": network or properties,
            "single images": draw["single before"] > 0,
            "a few": draw["few before"] <= (0.03 if network else 0.01),
        }
    return parts | {"any": any(parts.values())}


SIZES = (30, 60, 100)
SHARES = {"JPEG 50": (1, 0.33), "blur 0.7": (1, 0.33), "darker by 8 %": (1, 0.33), "grey": (0.33, 0.1)}


def halves_of(sets: Sets, kind: str, size: int, seed: int) -> dict[str, Any]:
    """Answer of two sets of one kind, of fewer if there are too few."""
    count = len(sets.measure(kind))
    size = min(size, count // 2)
    random = np.random.default_rng([seed, size, KINDS.index(kind)])
    order = random.permutation(count)
    return answered(sets, [(kind, "", order[:size])], [(kind, "", order[size : 2 * size])], random)


def changed(sets: Sets, kind: str, size: int, change: str, share: float, seed: int) -> dict[str, Any]:
    """Answer of two sets of one kind, of which a share of B is changed."""
    first = len(sets.measure(kind)) // 2
    random = np.random.default_rng([seed, size, KINDS.index(kind), [*CHANGES].index(change), round(100 * share)])
    of_a, of_b = random.permutation(first)[:size], random.permutation(len(sets.measure(kind)) - first)[:size]
    spoilt = max(1, round(share * len(of_b)))
    b = [(kind, change, first + of_b[:spoilt]), (kind, "", first + of_b[spoilt:])]
    return answered(sets, [(kind, "", of_a)], [part for part in b if len(part[2])], random)


def beside(sets: Sets, kind: str, change: str, other: tuple[str, str, float], size: int, seed: int) -> dict[str, Any]:
    """What is said of a changed set beside a held-out one, of which a share is of another kind or changed."""
    count = len(sets.measure(kind))
    size = min(size, count // 3)
    random = np.random.default_rng([seed, size, KINDS.index(kind), [*CHANGES].index(change)])
    of_a, of_b, of_held = random.permutation(count)[: 3 * size].reshape(3, size)
    taken = round(other[2] * size)
    foreign = of_held[:taken] if other[0] == kind else random.permutation(len(sets.measure(other[0])))[:taken]
    held = [(other[0], other[1], foreign), (kind, "", of_held[taken:])]
    a, b, c = (
        sets.measured([part for part in parts if len(part[2])], random.integers(0, FOLDS, size))
        for parts in ([(kind, "", of_a)], [(kind, change, of_b)], held)
    )
    near, far = sets.compared(a, c), sets.compared(a, b)
    far = add_held_out_tests(far, near, (a, b, c))
    of_far, of_near = far["dna-emd"].evidence, near["dna-emd"].evidence
    assert of_far is not None
    assert of_near is not None
    ratio, share = ratio_of(of_far, of_near), taken / size
    whole, changed_whole, foreign_whole = (sets.mean(*of) for of in ((kind, ""), (kind, change), other[:2]))
    distances = [
        float((whole - each).cumsum(1).abs().sum(1).mean())
        for each in (changed_whole, share * foreign_whole + (1 - share) * whole)
    ]
    return {
        "answer": far.p_value_of_any,
        "held-out": near.p_value_of_any,
        "ratio": None if ratio is None else ratio.value,
        "low": None if ratio is None else ratio.low,
        "high": None if ratio is None else ratio.high,
        "further": of_far.farther and of_far.farther.p_value,
        "further in any": far.p_value_of_farther,
        "true": distances[0] / distances[1] if distances[1] else None,
    }


PARTS = "halves", "power", "held-out", "full"
FULL = 224, BINS  # pixels and bins
SEEDS = {
    part: range(100, 100 + count) for part, count in zip(PARTS, (12, 2, 2, 1), strict=True)
}  # others chose the rule
CHANGED = ("landscapes", "icons", "textures", "charts", "wallpapers")
Draws = list[dict[str, Any]]


def tasks(sets: Sets, full: Sets, quick: bool) -> Iterator[tuple[str, list[object], Callable[[], dict[str, Any]]]]:
    """All draws: part, what they are of, and how they are made."""
    kinds = KINDS[-1:] if quick else KINDS
    seeds = {part: numbers[: 1 if quick else None] for part, numbers in SEEDS.items()}
    for seed, kind, size in product(seeds["halves"], kinds, SIZES):
        yield "halves", [kind, size, seed], partial(halves_of, sets, kind, size, seed)
    changes = [(change, share) for change, shares in SHARES.items() for share in shares][:: 7 if quick else 1]
    changed_kinds = kinds if quick else CHANGED
    for part, of, sizes in (("power", sets, SIZES[: 1 if quick else 3]), ("full", full, SIZES[1:2])):
        for seed, (change, share), size, kind in product(seeds[part], changes, sizes, changed_kinds):
            yield part, [kind, size, change, share, seed], partial(changed, of, kind, size, change, share, seed)
    for seed, (number, kind), size in product(seeds["held-out"], enumerate(changed_kinds), (36, 66)):
        third = changed_kinds[(number + 2) % len(changed_kinds)]
        for key, other in enumerate(
            ((kind, "", 0.0), (third, "", 0.2), (kind, "darker by 8 %", 1.0), (kind, "blur 0.7", 1.0))
        ):
            change = [*CHANGES][(seed + number + key + (size > 40)) % 4]
            if other[1] != change:
                yield (
                    "held-out", [kind, size, change, list(other), seed],
                    partial(beside, sets, kind, change, other, size, seed),
                )  # fmt: skip


def drawn(folder: Path, sets: Sets, full: Sets, quick: bool) -> dict[str, Draws]:
    """All draws by part; those that the folder has are read."""
    draws: dict[str, Draws] = {part: [] for part in PARTS}
    file = folder / "draws.jsonl"
    kept = {} if not file.exists() else {line["of"]: line for line in map(json.loads, file.open(encoding="utf-8"))}
    for part, of, make in tasks(sets, full, quick):
        name = json.dumps([part, *of])
        if name not in kept:
            kept[name] = {"of": name, "size": of[1], "what": of[2:4], **make()}
            with file.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(kept[name]) + "\n")
            print(name, flush=True)
        draws[part].append(kept[name])
    return draws


def share(draws: Draws, part: str, digits: int = 3) -> str:
    """Share that says a difference by a part of the answer, now (before)."""
    now, past = (np.mean([says(draw, of_today)[part] for draw in draws] or [np.nan]) for of_today in (True, False))
    return f"{now:.{digits}f} ({past:.{digits}f})" if draws else "-"


def table_of_halves(halves: Draws) -> tuple[str, str]:
    """The table of equal halves, and what it says."""
    parts = ("network", "properties", "network or properties", "single images", "a few", "any")
    columns = [("all", halves), *((str(size), [each for each in halves if each["size"] == size]) for size in SIZES)]
    rows = [[part, *(share(of, part) for _, of in columns)] for part in parts]
    header = ["says a difference: now (before)", *(f"{name}: {len(of)} draws" for name, of in columns)]
    now, past = (float(text) for text in share(halves, "any").rstrip(")").split(" ("))
    first, *others = ((name, float(share(of, "any").split()[0])) for name, of in columns[1:])
    by_size = [f"{first[1]:.1%} with {first[0]} images per set", *(f"{part:.1%} with {name}" for name, part in others)]
    return results.table(header, rows), (
        f"If both sets are random halves of one set, a sentence reports a difference in {now:.1%} of {len(halves)}"
        f" draws. This share is {', '.join(by_size[:-1])}, and {by_size[-1]}. Before, the share was {past:.1%}."
    )


def tables_of_others(power: Draws, held: Draws, full: Draws) -> tuple[list[str], str]:
    """Tables of slight changes and of sets beside held-out images, and what they say."""
    tables, rows = list[str](), list[list[object]]()
    for of in dict.fromkeys(json.dumps(each["what"]) for each in power):
        chosen = [each for each in power if json.dumps(each["what"]) == of]
        by_size = [[each for each in chosen if each["size"] == size] for size in SIZES]
        at_full_size = [each for each in full if json.dumps(each["what"]) == of]
        same = [json.dumps(["power", *json.loads(each["of"])[1:]]) for each in at_full_size]
        each_way = [*by_size, chosen, [each for each in chosen if each["of"] in same], at_full_size]
        cells = [share(each, "any", 2) for each in each_way]
        rows.append([*json.loads(of), *cells, share(chosen, "network", 2)])
    header = ["change", "share of B", *SIZES, "all sizes", f"{len(full)} draws", "these at 224 px in 1,000 bins"]
    tables.append(results.table([*header, "the network's own"], rows))
    shown = [each for each in held if each["answer"] is not None and each["answer"] <= SIGNIFICANT]
    truths = {"more of the same": None, "nearer": (1, np.inf), "further": (0, 1)}
    rows, said = [], []
    for name, ends in truths.items():
        chosen = [e for e in shown if (e["true"] is None) is (ends is None)]
        chosen = chosen if ends is None else [e for e in chosen if ends[0] <= e["true"] < ends[1]]
        ratios = [e for e in chosen if e["low"] and (e["high"] is not None or e["low"] >= 1)]
        further, in_any = (
            [e for e in chosen if e[name] is not None and e[name] <= SIGNIFICANT and e not in ratios]
            for name in ("further", "further in any")
        )
        in_any = [e for e in in_any if e not in further]
        above = [e for e in chosen if e["low"] and e["true"] is not None and e["low"] > e["true"]]
        below = [e for e in chosen if e["high"] and e["true"] is not None and e["high"] < e["true"]]
        said += [*ratios, *further, *in_any]
        numbers = (len(each) for each in (ratios, further, in_any, above, below))
        rows.append([name, len(chosen), sum(bool(e["low"]) for e in chosen), *numbers])
    header = [
        "held-out images are",
        "sets that differ",
        "with a lower end",
        "a ratio is told",
        "only that it is further",
        "or in some layer or property",
    ]
    tables.append(results.table([*header, "lower end above the truth", "upper end below it"], rows))
    main, before_it = (np.mean([says(each, now)["any"] for each in power]) for now in (True, False))
    ends = sum(bool(each["low"]) for each in shown)
    return tables, (
        f" If one set is slightly changed, a sentence reports a difference in {results.percent(main)} of {len(power)}"
        f" draws (before: {results.percent(before_it)}). Further draws have held-out images. Of {len(shown)} sets that"
        f" differ significantly from the reference, {ends} have a lower bound of the ratio to the held-out images. For"
        f" {len(said)} of these sets, the summary reports the ratio, or that the set is farther from the reference than"
        " the held-out images are, on average or in some layer or property."
    )


def main() -> None:
    with results.keeping_activations(__doc__) as (folder, quick, place):
        full = Sets(Measure(place, SIDE if quick else FULL[0]), FULL[1])
        draws = drawn(place, Sets(Measure(place), COARSE), full, quick)
        table, here = table_of_halves(draws["halves"])
        others, more = tables_of_others(draws["power"], draws["held-out"], draws["full"])
    results.write(
        folder,
        "one_level",
        here=here + more,
        tables=[table, *others],
        seeds=", ".join(f"{numbers[0]} to {numbers[-1]} of {part}" for part, numbers in SEEDS.items()),
        data=["digits of scikit-learn"] if quick else [
            causes.LANDSCAPES, causes.ICONS, causes.RENDERS, TEXTURES, CHARTS, HEDGEHOGS, ELEMENTARY, *data.WALLPAPERS,
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()
