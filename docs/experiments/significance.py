"""Can tests, debiased distances and lists of neurons be trusted? On emoji and photographs, by simulation.

    pip install "torchmetrics-dna[demo]" scikit-learn
    python docs/experiments/significance.py

The test's statistic was chosen on emoji of one maker (twitter); all that is shown here is of others, which chose
nothing: emoji of google and photographs. Each image is measured once, in 100 bins, at 64 pixels or for power at 224, as
:func:`compare` does. A draw takes images at
random without replacement, shares them out to folds at random, and asks what :func:`compare` asks, with 200 relabelings
instead of 1000. 4 GB of memory.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, replace
from functools import cache, partial
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import data
import numpy as np
import results
import torch
from matplotlib.figure import Figure
from PIL import Image, ImageFilter
from torch import Tensor

from torchmetrics_dna import DNAExtractor
from torchmetrics_dna.dna import HistogramDNA
from torchmetrics_dna.dna import evidence as asked
from torchmetrics_dna.dna.averaging import PLAIN
from torchmetrics_dna.dna.distances import DISTANCES
from torchmetrics_dna.dna.evidence import weigh_evidence
from torchmetrics_dna.dna.folded import kernel_of_folds
from torchmetrics_dna.functional import activation_histogram, dna_frechet, layer_frechet_distance
from torchmetrics_dna.statistics.folds import group_folds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from torchmetrics_dna.dna.evidence import Evidence

    Picture = NDArray[np.uint8]

BINS, SIDE, RELABELINGS = 100, 64, 200
SIZES = (10, 20, 50, 100, 200)
PLANTED, SHIFT = 100, 3  # neurons that are changed, and by how many bins
ENLARGED = 800  # emoji for power, which the network sees at its own size: changes are slight
CLIPS, FRAMES, OF_A_SIDE = 40, 40, 10
RECORD = DISTANCES["dna-emd"]


def jpeg(picture: Picture, quality: int = 90) -> Picture:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    with Image.open(file) as opened:
        return np.asarray(opened.convert("RGB"))


def blur(picture: Picture) -> Picture:
    return np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(0.5)))


CHANGES = {"": np.asarray, "JPEG of quality 90": jpeg, "blur of 0.5 pixels": blur}


@dataclass
class Images:
    """Of each image its histograms, int16 ``(images, N, BINS)``, and its spatial means ``(images, N)``."""

    counts: Tensor
    means: Tensor

    def __len__(self) -> int:
        return len(self.counts)


class Measure:
    """From pictures to histograms of each."""

    def __init__(self, **settings: int) -> None:
        self.extractor = DNAExtractor("efficientnet_lite0", **settings)
        self.ranges = self.extractor.ranges
        self.layers = self.extractor.neurons.slices

    def __call__(self, pictures: Sequence[Picture]) -> Images:
        low, high = self.ranges.bounds()
        counts = torch.zeros(len(pictures), self.extractor.neurons.total, BINS, dtype=torch.int16)
        means = []
        for start in range(0, len(pictures), 16):
            found = self.extractor(data.batch(list(pictures[start : start + 16])))
            for layer, rows in self.layers.items():
                for i, values in enumerate(found[layer].split(1), start):
                    counts[i, rows] = activation_histogram(values, low[rows], high[rows], BINS).short()
            means.append(torch.cat([x.flatten(2).mean(2) for x in found.values()], 1))
        return Images(counts, torch.cat(means))

    def in_folds(self, images: Images, chosen: Tensor, folds: Tensor) -> HistogramDNA:
        """The DNA of some images, in these folds."""
        held = torch.zeros(int(folds.max()) + 1, *images.counts.shape[1:], dtype=torch.float32)
        held.view(len(held), -1).index_add_(0, folds, images.counts[chosen].flatten(1).float())
        sizes = folds.bincount(minlength=len(held)).tolist()
        parts = [self._dna(counts.long(), size) for counts, size in zip(held, sizes, strict=True) if size]
        return replace(self._dna(held.sum(0).long(), len(chosen)), folds=tuple(parts))

    def _dna(self, counts: Tensor, size: int) -> HistogramDNA:
        return HistogramDNA(counts, self.extractor.neurons, self.ranges, size, self.extractor.name)


def evidence(a: HistogramDNA, b: HistogramDNA) -> Evidence | None:
    return weigh_evidence(a.distances(b), RECORD.folded(a, b), RECORD.power, averaging=PLAIN, confidence=0.95)


def random_folds(count: int, num_folds: int, generator: torch.Generator) -> Tensor:
    """As pixels share images out: folds are not of equal size."""
    return torch.randint(num_folds, (count,), generator=generator)


@dataclass
class Draws:
    """Of many draws: p-values, how many neurons are called significant, and how many of these are false."""

    p: list[float]
    any_neuron: list[bool]
    false_share: list[float]

    def alarms(self) -> float:
        return float(np.mean(np.array(self.p) <= 0.05))


def draw_many(
    measure: Measure, a: Images, b: Images, size: int, num_folds: int, draws: int, changed: Tensor | None = None
) -> Draws:
    """Different images on both sides; ``changed`` are neurons that truly differ."""
    generator = torch.Generator().manual_seed(size * 100 + num_folds)
    found = Draws([], [], [])
    for _ in range(draws):
        order = torch.randperm(len(a), generator=generator)[: 2 * size]
        sides = (
            measure.in_folds(images, chosen, random_folds(size, num_folds, generator))
            for images, chosen in ((a, order[:size]), (b, order[size:]))
        )
        test = evidence(*sides).test
        true = torch.zeros(len(test.q), dtype=torch.bool) if changed is None else changed
        listed = test.q <= 0.05
        found.p.append(test.p_value)
        found.any_neuron.append(bool((test.neurons[~true] <= 0.05).any()))
        found.false_share.append(float((listed & ~true).sum() / max(1, int(listed.sum()))))
    return found


def level_of(measure: Measure, name: str, images: Images, size: int, num_folds: int, draws: int) -> list[str]:
    found = draw_many(measure, images, images, size, num_folds, draws)
    shares = found.alarms(), np.mean(found.any_neuron), np.mean(found.false_share)
    return [name, f"{size}", f"{num_folds}", *(f"{100 * x:.1f} %" for x in shares), f"{draws}"]


def remember(path: Path | None, key: str, compute: Callable[[], Any]) -> Any:
    """What was computed before, or else what is computed now: a full run takes an hour, and may be interrupted."""
    known = json.loads(path.read_text(encoding="utf-8")) if path is not None and path.exists() else {}
    if key not in known:
        known[key] = compute()
        print(key, known[key], flush=True)
        if path is not None:
            path.write_text(json.dumps(known), encoding="utf-8")
    return known[key]


def powers(
    measure: Measure, sets: dict[str, tuple[Images, dict[str, Images]]], sizes: Sequence[int], draws: int
) -> list:
    rows = []
    for name, (plain, others) in sets.items():
        for change, degraded in others.items():
            for size in sizes:
                found = [
                    f"{100 * draw_many(measure, plain, degraded, size, folds, draws).alarms():.0f} %"
                    for folds in (10, 20)
                ]
                rows.append([name, change, f"{size}", *found, f"{draws}"])
    return rows


def planted(measure: Measure, images: Images, draws: int, size: int) -> list[list[str]]:
    """Of the first ten neurons, how many are among those that were changed: their values moved by some bins."""
    hits: dict[str, list[float]] = {"by evidence (z)": [], "by size (dna-emd)": []}
    false, found_share = [], []
    for seed in range(draws):
        generator = torch.Generator().manual_seed(seed)
        alive = (images.counts[:200, :, 1:-1].sum((0, 2)) > 0).nonzero()[:, 0]
        changed = alive[torch.randperm(len(alive), generator=generator)[:PLANTED]]
        order = torch.randperm(len(images), generator=generator)[: 2 * size]
        other = images.counts[order[size:]].clone()
        moved = other[:, changed].roll(SHIFT, 2)
        moved[:, :, BINS - 1] += moved[:, :, :SHIFT].sum(2, dtype=torch.int16)  # what would leave stays in the last bin
        moved[:, :, :SHIFT] = 0
        other[:, changed] = moved
        a = measure.in_folds(images, order[:size], random_folds(size, 20, generator))
        b = measure.in_folds(Images(other, images.means), torch.arange(size), random_folds(size, 20, generator))
        test, emd = evidence(a, b).test, a.distances(b)
        true = torch.zeros(len(emd), dtype=torch.bool)
        true[changed] = True
        for name, by in (("by evidence (z)", test.z), ("by size (dna-emd)", emd)):
            hits[name].append(float(true[by.topk(10).indices].double().mean()))
        listed = test.q <= 0.05
        false.append(float((listed & ~true).sum() / max(1, int(listed.sum()))))
        found_share.append(float((listed & true).sum() / PLANTED))
    rows = [[name, f"{100 * np.mean(share):.0f} %"] for name, share in hits.items()]
    rows.append(["false among those with q ≤ 0.05", f"{100 * np.mean(false):.1f} %"])
    rows.append(["of the changed ones found so", f"{100 * np.mean(found_share):.0f} %"])
    return rows


def distances(measure: Measure, a: HistogramDNA, b: HistogramDNA, means_a: Tensor, means_b: Tensor) -> list[float]:
    """Debiased dna-emd, then the plain distances."""
    record = RECORD
    unions = replace(record.folded(a, b))
    found = weigh_evidence(a.distances(b), unions, record.power, averaging=PLAIN, confidence=0.95)
    x, y = means_a.double(), means_b.double()
    last = list(measure.layers.values())[-1]
    folds = torch.cat([torch.zeros(len(x)), torch.ones(len(y))]).long()
    sides = torch.tensor([[True, False]]), torch.tensor([[False, True]])
    return [
        found.debiased,
        float(a.distances(b).mean()),
        float(dna_frechet(x.mean(0), x.var(0), y.mean(0), y.var(0))),
        float(layer_frechet_distance(x[:, last].mean(0), x[:, last].T.cov(), y[:, last].mean(0), y[:, last].T.cov())),
        float(kernel_of_folds(torch.cat([x[:, last], y[:, last]]), folds, *sides)),
    ]


NAMES = ("dna-emd, debiased", "dna-emd", "dna-fd", "fd, last layer", "KID, last layer")


def biases(
    measure: Measure, pairs: dict[str, tuple[Images, Images]], sizes: Sequence[int], draws: int
) -> dict[str, list[Any]]:
    """By how much distances of few images are off that of all, in percent: ``(draws, sizes, distances)``."""
    found = {}
    for name, (some, reference) in pairs.items():
        generator = torch.Generator().manual_seed(0)
        every = torch.arange(len(reference))
        fixed = measure.in_folds(reference, every, random_folds(len(reference), 20, generator))
        every = torch.arange(len(some))
        whole = measure.in_folds(some, every, random_folds(len(some), 20, generator))
        full = torch.tensor(distances(measure, whole, fixed, some.means, reference.means))
        values = torch.empty(draws, len(sizes), len(NAMES))
        for i in range(draws):
            for j, size in enumerate(sizes):
                chosen = torch.randperm(len(some), generator=generator)[:size]
                few = measure.in_folds(some, chosen, random_folds(size, 20, generator))
                values[i, j] = torch.tensor(distances(measure, few, fixed, some.means[chosen], reference.means))
        found[name] = (100 * (values / full - 1)).tolist()
    return found


def clips(measure: Measure, pictures: list[Picture], draws: int, of_a_side: int, length: int) -> list[list[str]]:
    """Clips that differ from clip to clip, but not from side to side."""
    wide = [np.asarray(Image.fromarray(p).resize((SIDE + length, SIDE))) for p in pictures]
    images = measure([p[:, i : i + SIDE] for p in wide for i in range(length)])
    clip = np.repeat(np.arange(len(wide)), length)
    rows = []
    for grouped in (False, True):
        generator, p = torch.Generator().manual_seed(0), []
        for _ in range(draws):
            drawn = torch.randperm(len(wide), generator=generator)
            sides = []
            for some in (drawn[:of_a_side], drawn[of_a_side : 2 * of_a_side]):
                chosen = torch.from_numpy(np.flatnonzero(np.isin(clip, some.numpy())))
                folds = group_folds(clip[chosen].tolist(), 20) if grouped else random_folds(len(chosen), 20, generator)
                sides.append(measure.in_folds(images, chosen, folds))
            found = evidence(*sides)
            if found is not None:  # groups fill five folds of a side
                p.append(found.test.p_value)
        rows.append(
            ["each clip one group" if grouped else "not grouped", f"{100 * np.mean(np.array(p) <= 0.05):.1f} %"]
        )
    p = []
    for k in range(len(wide)):  # one clip, cut in two
        frames, generator = torch.arange(length) + k * length, torch.Generator().manual_seed(k)
        halves = [measure.in_folds(images, half, random_folds(len(half), 20, generator)) for half in frames.chunk(2)]
        p.append(evidence(*halves).test.p_value)
    rows.append(["one clip cut in two, not grouped", f"{100 * np.mean(np.array(p) <= 0.05):.1f} %"])
    rows.append(["one clip cut in two, grouped", "no test: each side has one group"])
    return rows


def draw(found: dict, sizes: Sequence[int]) -> Figure:
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    figure.suptitle("How far distances of few images are off that of all, mean of the draws")
    colours = ("#000000", *(results.COLOURS[name.split(",")[0]] for name in NAMES[1:]))
    axes = np.atleast_1d(figure.subplots(1, len(found), sharey=True))
    for axis, (name, off) in zip(axes, found.items(), strict=True):
        for i, (label, colour, marker) in enumerate(zip(NAMES, colours, "Dosv^", strict=True)):
            axis.plot(sizes, off.mean(0)[:, i], color=colour, marker=marker, label=label, linewidth=2 if i == 0 else 1)
        axis.axhspan(-7, 7, color="0.9", label="within 7 %")
        axis.set(xscale="log", xlabel="images", title=name)
        axis.set_yscale("symlog", linthresh=20)
        axis.set_yticks([-100, -10, 0, 10, 100, 1000], ["-100", "-10", "0", "10", "100", "1000"])
        axis.set_xticks(sizes, [str(size) for size in sizes])
        axis.minorticks_off()
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("off the value of all (%)")
    axes[-1].legend(frameon=False, fontsize=8)
    return figure


def pictures(quick: bool) -> tuple[dict[str, list[Picture]], list[object]]:
    if quick:
        crops = [np.asarray(Image.fromarray(p).resize((SIDE, SIDE))) for p in data.at_hand(24)]
        return {"emoji": data.at_hand(48, "digits"), "photographs": crops, "others": crops}, ["scikit-image"]
    drawn = {maker: [data.picture(one.path) for one in data.emoji(maker)] for maker in ("google", "facebook")}
    photographs = [data.picture(path, SIDE) for path in data.photographs()]
    there = [data.EMOJI["google"], data.EMOJI["facebook"], data.PHOTOGRAPHS]
    return {"emoji": drawn["google"], "photographs": photographs, "others": drawn["facebook"]}, there


def main() -> None:
    parser = results.parser(__doc__)
    parser.add_argument("--draws", type=int, default=500, help="of levels")
    arguments = parser.parse_args()
    folder = results.begin(arguments)
    quick = arguments.quick
    asked.NUM_RELABELINGS = 40 if quick else RELABELINGS
    given, origin = pictures(quick)
    measure, large = Measure(input_size=SIDE), Measure()
    measured = cache(lambda name: measure(given[name]))  # what was remembered needs no images
    enlarged = cache(lambda change: large([CHANGES[change](p) for p in given["emoji"][::2][:ENLARGED]]))
    script = sha256(Path(__file__).read_bytes()).hexdigest()[:8]  # after any change, all is computed anew
    kept = partial(remember, None if quick else data.CACHE / f"significance-{script}.json")

    def degraded() -> dict[str, Images]:
        return {name: enlarged(name) for name in CHANGES if name}

    level = []
    for name, size, num_folds in product(("emoji", "photographs"), (12,) if quick else (50, 100, 400), (10, 20)):
        if 2 * size <= len(given[name]):
            draws = 2 if quick else arguments.draws
            compute = lambda n=name, s=size, f=num_folds, d=draws: level_of(measure, n, measured(n), s, f, d)  # noqa: E731
            level.append(kept(f"{name} {size} {num_folds}", compute))
    few = 2 if quick else 200
    power = kept(
        "power", lambda: powers(large, {"emoji": (enlarged(""), degraded())}, (12,) if quick else (50, 100), few)
    )
    top = kept("planted", lambda: planted(measure, measured("emoji"), 2 if quick else 100, 12 if quick else 100))
    sizes, times = (SIZES[:2], 2) if quick else (SIZES, 10)
    pairs = {"emoji of two makers": ("emoji", "others"), "photographs to emoji": ("photographs", "emoji")}
    off = kept(
        "bias", lambda: biases(measure, {n: tuple(map(measured, pair)) for n, pair in pairs.items()}, sizes, times)
    )
    off = {name: torch.tensor(values) for name, values in off.items()}
    filmed = given["photographs"][: 10 if quick else CLIPS]
    clip = kept("clips", lambda: clips(measure, filmed, *((3, 5, 16) if quick else (100, OF_A_SIDE, FRAMES))))
    worst = max(float(values.mean(0)[1:, 0].abs().max()) for values in off.values())
    alarms = [float(row[3].rstrip(" %")) for row in level]
    results.write(
        folder,
        "significance",
        here=(
            f"At a level of 5%, the test gives a false alarm in {min(alarms):.1f} to {max(alarms):.1f}% of draws. With"
            f" {sizes[1]} images per set or more, the mean of the debiased dna-emd over the draws is within"
            f" {worst:.1f}% of its value for all images."
        ),
        tables=[
            results.table(
                [
                    "no difference",
                    "images a side",
                    "folds",
                    "p ≤ 0.05",
                    "any neuron p ≤ 0.05",
                    "false among q ≤ 0.05",
                    "draws",
                ],
                level,
            ),
            results.table(["difference", "", "images a side", "found, 10 folds", "found, 20 folds", "draws"], power),
            results.table(
                [f"{PLANTED} neurons moved by {SHIFT} bins of {BINS}", "of the first ten, truly changed"], top
            ),
            *(
                results.table(
                    [f"{name}: off the value of all", *(f"{n} images" for n in sizes)],
                    [[label, *(f"{x:+.0f} %" for x in values.mean(0)[:, i])] for i, label in enumerate(NAMES)],
                )
                for name, values in off.items()
            ),
            results.table([f"clips of {FRAMES} frames, no difference", "p ≤ 0.05"], clip),
        ],
        figures={"": draw(off, sizes)},
        seeds="of draws: the number of images and of folds; 0 and on elsewhere",
        data=origin,
    )


if __name__ == "__main__":
    main()
