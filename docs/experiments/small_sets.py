"""What can be concluded from 12, 24, 60 and 200 images a side? On kinds of pictures that chose nothing.

    pip install "torchmetrics-dna[demo]" scikit-learn tifffile
    python docs/experiments/small_sets.py

Icons and tiles of maps, as :func:`compare` sees them by default; tiles of MR slices and blocks of an MR volume by small
networks with random weights. Sizes and changes were fixed before the first run, but for the noise of MR volumes, added
when their blur was not found. Each picture is measured once. A draw takes different pictures for A and for B, shares
them out to 20 folds at random, and asks what :func:`compare` asks, with 200 relabelings instead of 1000 and histograms
of 25 bins instead of 100. Causes and odd images are asked of :func:`compare` and :func:`rank` themselves. What is found
is kept in the cache, so that an interrupted run goes on.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from functools import cache, partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import causes
import data
import numpy as np
import other_inputs
import results
import torch
from matplotlib.figure import Figure
from scipy.ndimage import gaussian_filter
from significance import BINS, RECORD, RELABELINGS, Images, Measure, random_folds, remember
from torch import Tensor, nn

from torchmetrics_dna import DNAExtractor, compare, rank
from torchmetrics_dna.dna import evidence as asked
from torchmetrics_dna.dna.averaging import PLAIN
from torchmetrics_dna.dna.evidence import weigh_evidence
from torchmetrics_dna.functional import dna_emd

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from significance import Picture

    from torchmetrics_dna.dna import HistogramDNA

    Draw = dict[str, float]

SIZES, FOLDS, SEED = (12, 24, 60, 200), 20, 0
KINDS, POOL = ("icons", "maps"), 420  # pictures of a kind
CHANGES: dict[str, causes.Done] = {
    "JPEG of quality 50": (("JPEG compression", 50),),
    "blur of 1 px": (("blur", 1),),
    "20 % darker": (("darker", 20),),
}
MIXED, SHARE = "a fifth of another kind", 0.2
EQUAL, TRAINED, HELD_OUT = "equal sets", "beside the training images", "beside held-out images"
COARSE = 4  # bins of these histograms in a bin of a draw
SCALE = 1000 * COARSE / BINS  # thousandths of a range in that
ODD: dict[str, causes.Done] = {
    "black": (("darker", 100),), "noise of 25 grey levels": (("noise", 25),), "blur of 3 px": (("blur", 3),)
}  # fmt: skip


@cache
def pictures(kind: str, quick: bool) -> list[Picture]:
    if quick:
        return data.at_hand(40) if kind == "icons" else data.at_hand(40, "digits")
    return causes.pictures(kind)[0][:POOL]


measure = cache(Measure)


@cache
def measured(kind: str, done: causes.Done, quick: bool) -> Images:
    images = measure()(causes.after(pictures(kind, quick), done))
    return Images(images.counts.unflatten(2, (-1, COARSE)).sum(3, dtype=torch.int16), images.means)


@dataclass
class Question:
    """Which pictures of a pool are A and B.

    Attributes:
        parts: Kinds and changes, one after the other in the pool; A's population is the first.
        shares: Of each part in B's population.
        choose: Function of a generator, the pictures of a part and the size of a side, which gives those of A and of B.

    """

    parts: list[tuple[str, causes.Done]]
    shares: list[float]
    choose: Callable[[torch.Generator, int, int], tuple[Tensor, Tensor]]

    def draws(self, size: int, number: int, quick: bool) -> list[Draw]:
        """P-value, value without noise, its interval and the truth, in thousandths of a range, of so many draws."""
        parts = [measured(*part, quick) for part in self.parts]
        pool = Images(*(torch.cat([getattr(part, name) for part in parts]) for name in ("counts", "means")))
        sums = [part.counts.sum(0, dtype=torch.int64) for part in parts]
        populations = [counts / counts.sum(1, keepdim=True) for counts in sums]
        b = sum(share * population for share, population in zip(self.shares, populations, strict=True))
        truth = SCALE * float(dna_emd(populations[0], b))
        generator = torch.Generator().manual_seed(size)
        found = []
        for _ in range(number):
            sides = (
                measure().in_folds(pool, some, random_folds(len(some), FOLDS, generator))
                for some in self.choose(generator, len(parts[0]), size)
            )
            found.append({"truth": truth, **asked_of(*sides)})
        return found


def asked_of(a: HistogramDNA, b: HistogramDNA) -> Draw:
    evidence = weigh_evidence(a.distances(b), RECORD.folded(a, b), RECORD.power, averaging=PLAIN, confidence=0.95)
    interval = evidence.interval
    ends = {"value": interval.value, "low": interval.low, "high": interval.high}
    return {"p": evidence.test.p_value, **{name: SCALE * value for name, value in ends.items()}}


def different(generator: torch.Generator, total: int, size: int, offset: int = 0) -> tuple[Tensor, Tensor]:
    """Pictures of A and of B, none of which shows the same; those of B so far behind in the pool."""
    order = torch.randperm(total, generator=generator)
    return order[:size], offset * total + order[size : 2 * size]


def mixed(generator: torch.Generator, total: int, size: int) -> tuple[Tensor, Tensor]:
    """As :func:`different`, but each picture of B is of the second part by the chance of SHARE."""
    a, b = different(generator, total, size)
    strangers = total + torch.randperm(total, generator=generator)[:size]
    return a, torch.where(torch.rand(size, generator=generator) < SHARE, strangers, b)


def copied(generator: torch.Generator, total: int, size: int, held_out: bool) -> tuple[Tensor, Tensor]:
    """Half of B are pictures of A, the training images, the others blurred; or pictures held out are A.

    With 200 images of A, B has 40: of the 420, so many are left.
    """
    order = torch.randperm(total, generator=generator)
    trained, held, new = order[:size], order[size : 2 * size], order[2 * size : 2 * size + size // 2]
    return held if held_out else trained, torch.cat([trained[: len(new)], total + new])


def questions(kind: str, other: str) -> dict[str, Question]:
    blurred = [(kind, ()), (kind, CHANGES["blur of 1 px"])]
    return {
        EQUAL: Question([(kind, ())], [1], different),
        **{
            name: Question([(kind, ()), (kind, done)], [0, 1], partial(different, offset=1))
            for name, done in CHANGES.items()
        },
        MIXED: Question([(kind, ()), (other, ())], [1 - SHARE, SHARE], mixed),
        **{
            name: Question(blurred, [0.5, 0.5], partial(copied, held_out=name == HELD_OUT))
            for name in (TRAINED, HELD_OUT)
        },
    }


class Convolutions(nn.Sequential):
    """Three convolutions with random weights, in two or three dimensions."""

    def __init__(self, layer: Callable[..., nn.Module]) -> None:
        torch.manual_seed(SEED)
        super().__init__(
            layer(1, 16, 3, 1, 1), nn.ReLU(), layer(16, 32, 3, 2, 1), nn.ReLU(), layer(32, 64, 3, 2, 1), nn.ReLU()
        )


def blocks(change: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> tuple[Tensor, Tensor]:
    """Blocks of 16 x 16 x 16 voxels of a head that show more than air, from 0 to 1; and the same, changed."""
    raw = gzip.decompress((other_inputs.SLICES.folder() / "package/tests/data/sample_image.nii.gz").read_bytes())
    shape = np.frombuffer(raw[42:48], ">i2")[::-1]
    head = np.frombuffer(raw[352 : 352 + int(np.prod(shape, dtype=int))], np.uint8).reshape(shape)
    starts = [range(0, length - 15, 16) for length in shape]
    found = [head[z : z + 16, y : y + 16, x : x + 16] for z in starts[0] for y in starts[1] for x in starts[2]]
    shown = np.stack(other_inputs.some([block for block in found if block.mean() > 20])).astype(np.float32) / 255
    plain, changed = (torch.from_numpy(side)[:, None] for side in (shown, change(shown)))
    return plain, changed


def noisy(volumes: NDArray[np.float32]) -> NDArray[np.float32]:
    return volumes + np.random.default_rng(SEED).normal(0, 0.02, volumes.shape).astype(np.float32)


MEDICAL = {
    "MR slices, a window a tenth wider": (other_inputs.slices, nn.Conv2d),
    "MR volumes, blur of half a voxel": (
        partial(blocks, lambda volumes: gaussian_filter(volumes, (0, 0.5, 0.5, 0.5))),
        nn.Conv3d,
    ),
    "MR volumes, noise of 2 % of white": (partial(blocks, noisy), nn.Conv3d),
}


def medical(name: str, size: int, draws: int) -> dict[str, float]:
    """In which share of draws p is 0.05 or less, without and with the change."""
    make, layer = MEDICAL[name]
    plain, changed = make()
    extractor = DNAExtractor(
        Convolutions(layer), inputs="any", example=plain[:2], layers=["1", "3", "5"], properties=False
    )
    generator, found = torch.Generator().manual_seed(size), {"equal": 0.0, "changed": 0.0}
    for _ in range(draws):
        order = torch.randperm(len(plain), generator=generator)
        for which, source in (("equal", plain), ("changed", changed)):
            result = compare(plain[order[:size]], source[order[size : 2 * size]], extractor)
            found[which] += (result.p_value <= 0.05) / draws
    return found


@dataclass
class Named:
    """What `compare` names as cause, and `rank` as odd, at one size."""

    right: int = 0
    wrong: int = 0
    asked: int = 0
    found: int = 0
    others: int = 0
    odd: int = 0
    albums: int = 0


def named(kind: str, size: int, draws: int, quick: bool) -> dict[str, int]:
    """Ask both of a kind: of one change a draw, and of an album whose first three images are odd."""
    pool, found = pictures(kind, quick), Named()
    for draw in range(draws):
        order = np.random.default_rng([size, draw]).permutation(len(pool))[: 2 * size]
        a, b = ([pool[i] for i in side] for side in np.split(order, 2))
        done = list(CHANGES.values())[(draw + KINDS.index(kind)) % len(CHANGES)]
        said = compare(a, causes.after(b, done)).explain().causes
        names = [] if said is None else list(said.names)
        found.right += causes.is_right(names, done) == "right"
        found.wrong += causes.is_right(names, done) in ("wrong", "one of two")
        found.asked += 1
        album = [*(causes.after([b[i]], done)[0] for i, done in enumerate(ODD.values())), *b[len(ODD) :]]
        reasons = set(rank(album, a).reasons)
        found.found += len(reasons & set(range(len(ODD))))
        found.others += len(reasons - set(range(len(ODD))))
        found.odd += len(ODD)
        found.albums += 1
    return vars(found)


Cell = dict[str, list["Draw"]]  # by kind


def share(rows: Sequence[Draw]) -> float:
    """Of draws in which the test finds a difference."""
    return float(np.mean([row["p"] <= 0.05 for row in rows]))


def every(cell: Cell) -> list[Draw]:
    return [row for rows in cell.values() for row in rows]


def percent(share: float) -> str:
    return f"{share:.0%}"


def draw(found: dict[str, dict[int, Cell]]) -> Figure:
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    figure.suptitle("Share of draws in which the test finds a difference, by images a side")
    axis = figure.subplots()
    colours = [results.COLOURS[name] for name in ("dna-emd", "dna-fd", "fd", "KID", "other")]
    sizes = list(found[EQUAL])
    for name, colour, marker in zip((*CHANGES, MIXED, EQUAL), colours, "osDv^", strict=True):
        shares = [100 * share(every(cell)) for cell in found[name].values()]
        axis.plot(sizes, shares, color=colour, marker=marker, label=name)
    axis.axhline(5, color="black", linestyle=":", linewidth=1, label="allowed of equal sets: 5 %")
    results.finish_powers(figure, axis, sizes, "images a side")
    return figure


def main() -> None:
    parser = results.parser(__doc__)
    parser.add_argument("--draws", type=int, default=20, help="of each cell; twice as many of equal sets")
    arguments = parser.parse_args()
    folder, quick, draws = results.begin(arguments), arguments.quick, 2 if arguments.quick else arguments.draws
    asked.NUM_RELABELINGS = RELABELINGS
    sizes, kinds = SIZES[:1] if quick else SIZES, KINDS
    script = sha256(Path(__file__).read_bytes()).hexdigest()[:8]
    keep = partial(remember, None if quick else data.CACHE / f"small_sets-{script}-{draws}.json")
    found: dict[str, dict[int, Cell]] = {}
    for kind, other in zip(kinds, (*kinds[1:], kinds[0]), strict=True):
        for name, question in questions(kind, other).items():
            for size in sizes:
                compute = partial(question.draws, size, 2 * draws if name == EQUAL else draws, quick)
                cell = found.setdefault(name, {}).setdefault(size, {})
                cell[kind] = keep(f"{name}, {kind}, {size}", compute)
    scans = {} if quick else {
        name: {size: keep(f"{name}, {size}", partial(medical, name, size, draws)) for size in sizes} for name in MEDICAL
    }  # fmt: skip
    sums = {}
    for size in sizes:
        number = 1 if quick or size == max(SIZES) else 3
        words = [keep(f"named, {kind}, {size}", partial(named, kind, size, number, quick)) for kind in kinds]
        sums[size] = {key: sum(of_kind[key] for of_kind in words) for key in words[0]}

    changed = {size: [row for name in (*CHANGES, MIXED) for row in every(found[name][size])] for size in sizes}
    off = {n: np.mean([(row["value"] - row["truth"]) ** 2 for row in rows]) ** 0.5 for n, rows in changed.items()}
    held = {n: np.mean([row["low"] <= row["truth"] <= row["high"] for row in rows]) for n, rows in changed.items()}
    length = {n: np.median([row["high"] - row["low"] for row in rows]) for n, rows in changed.items()}

    def median(name: str, size: int) -> float:
        return float(np.median([row["value"] for row in every(found[name][size])]))

    def told(name: str) -> str:
        return ", ".join(f"{median(name, size):.1f}" for size in sizes)

    def truth(name: str, size: int) -> float:
        return float(np.mean([row["truth"] for row in every(found[name][size])]))

    header = ["images per set", *(f"{size}" for size in sizes)]
    rows = [
        *([name, *(percent(share(every(cell))) for cell in found[name].values())] for name in (*CHANGES, MIXED)),
        ["false alarms", *(percent(share(every(cell))) for cell in found[EQUAL].values())],
        ["error of the distance (RMSE, bins)", *(f"{value:.1f}" for value in off.values())],
        ["length of the interval (median, bins)", *(f"{value:.1f}" for value in length.values())],
        ["interval contains the true value", *(percent(value) for value in held.values())],
    ]
    others = [
        ["causes right; wrong; of", *(f"{s['right']}; {s['wrong']}; {s['asked']}" for s in sums.values())],
        ["odd images named; others; of", *(f"{s['found']}; {s['others']}; {s['odd']}" for s in sums.values())],
        *([name, *(percent(cell["changed"]) for cell in of.values())] for name, of in scans.items()),
    ]
    by_kind = [
        *(
            [f"{name}, {kind}", *(percent(share(cell[kind])) for cell in found[name].values())]
            for name in found
            for kind in kinds
        ),
        *([f"{name}: equal", *(percent(cell["equal"]) for cell in of.values())] for name, of in scans.items()),
    ]
    values = [
        [f"{name}: median value ({truth(name, sizes[0]):.1f} is true)", *(f"{median(name, n):.1f}" for n in sizes)]
        for name in (*CHANGES, MIXED, TRAINED, HELD_OUT)
    ]
    alarms = [100 * share(cell[kind]) for cell in found[EQUAL].values() for kind in kinds]
    alarms_of_scans = [100 * cell["equal"] for of in scans.values() for cell in of.values()]
    results.write(
        folder,
        "small_sets",
        here=(
            f"At a level of 5%, the test gives a false alarm in {results.span(alarms, '.0f')}% of draws of icons or map"
            f" tiles, and in {results.span(alarms_of_scans, '.0f')}% of draws of MR images, depending on the size. In a"
            " further test, half of B are copies of training images, and half are blurred images."
            f" The true distance is {truth(TRAINED, sizes[-1]):.1f} bins. If the training images are the reference, the"
            f" median estimates with {', '.join(map(str, sizes))} images are {told(TRAINED)} bins. If held-out images"
            f" are the reference, they are {told(HELD_OUT)} bins."
        ),
        tables=[results.table(header, some) for some in (rows, others, by_kind, values)],
        figures={"": draw(found)},
        seeds=f"of draws: the images of a side; {draws} draws a kind, {2 * draws} of equal sets; {POOL} pictures each",
        data=["scikit-image", "scikit-learn"] if quick else [
            causes.ICONS, causes.MAPS, other_inputs.SLICES,
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()
