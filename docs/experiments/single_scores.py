"""Does the outlier score order single images: corrupted ones of a folder, degraded ones, and checkpoints of a GAN?

    pip install "torchmetrics-dna[demo]" scikit-learn
    python docs/experiments/single_scores.py

The script compares the outlier score (three surprisals: network, image properties and the smallest tail probability of
a property) with the network's outlier distance alone, which older versions used, on the same draws. Eight sorts of
pictures, 64 pixels wide, have chosen nothing about the score. The strengths of the degradations were fixed before the
first run.

1. A folder of 60 pictures has 0, 1, 3 or 8 corrupted ones. How many of these are among the five highest scores?
2. 120 clean pictures are the reference. 20 others are degraded in twelve ways at four strengths. How well does a score
   separate degraded pictures from clean ones, and does it order the strengths of one picture? How many clean pictures
   are beyond the 95th percentile of the reference's own scores?
3. Generators are stopped at five moments of their training. Does the mean score order the moments, and is it lowest for
   real images that the generator never saw?

Each picture is measured once. The draws use the kept spatial means and properties. ``--activations FOLDER`` keeps the
measurements for a later run.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import checkpoints
import data
import numpy as np
import odd_pictures
import results
import torch
from PIL import Image, ImageFilter, ImageOps
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from torchmetrics_dna import DNAExtractor, DNARealism, make_dna
from torchmetrics_dna.functional.flagging import outliers_in_folder
from torchmetrics_dna.functional.outlier_score import OutlierReference, Unusualness, percentiles
from torchmetrics_dna.functional.outliers import (
    gaussians_of_means,
    layers_for_outliers,
    left_out_by_layer,
    outlier_distance,
    split_means,
)
from torchmetrics_dna.images import Reading, open_source
from torchmetrics_dna.images.properties import LAYER, image_properties, property_note
from torchmetrics_dna.jobs.job import Job
from torchmetrics_dna.jobs.measure import measure
from torchmetrics_dna.statistics.outliers import outlier_reference
from torchmetrics_dna.statistics.rows import SpatialMeans

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from torchmetrics_dna.neurons import Neurons

    Picture = NDArray[np.uint8]
    Values = dict[str, Tensor]  # of images, by score

SIDE, BATCH, NUM_BINS = 64, 50, 25
KNOWN = "reference"
COUNTS = (1, 3, 8)  # corrupted pictures in a folder
OLD, TAIL, NEW, DISTANCE = "network's outlier distance", "smallest tail p", "outlier score", "dna-emd (distance)"
QUICK_SORTS = ("photographs", "digits")
FAULTS = ("blur", "JPEG 5", "noise", "dark", "overexposed", "low contrast", "grey", "pixels", "other content")
#: Amounts of four strengths of each degradation, at 64 pixels.
DEGRADATIONS: dict[str, tuple[float, ...]] = {
    "blur": (0.5, 1, 2, 4),  # pixels of standard deviation
    "motion blur": (3, 5, 9, 17),  # pixels
    "noise": (5, 10, 20, 40),  # grey levels
    "salt and pepper": (0.5, 1, 3, 10),  # per cent of pixels
    "JPEG": (40, 20, 10, 5),  # quality
    "pixels": (2, 3, 4, 8),  # pixels per block
    "dark": (0.7, 0.5, 0.3, 0.15),  # factor
    "overexposed": (1.3, 1.6, 2.0, 2.6),  # factor
    "low contrast": (0.8, 0.6, 0.4, 0.2),  # share of the contrast that is left
    "grey": (25, 50, 75, 100),  # per cent of the colour that is lost
    "wrong colours": (10, 20, 40, 80),  # per cent of gain in red and loss in blue
    "pasted piece": (5, 10, 20, 40),  # per cent of the area, from another picture of the same sort
}


@dataclass(frozen=True)
class Size:
    """Numbers of pictures and draws."""

    pool: int = 200  # clean pictures of a sort
    corrupted: int = 20  # of these, corrupted by each fault
    folder: int = 60
    clean_folders: int = 40
    draws_of_one: int = 8  # of each fault
    draws_of_more: int = 40
    degraded: int = 40  # pictures that are degraded in all ways
    shown: int = 20  # of these, in one draw
    reference: int = 120
    small_reference: int = 50
    draws: int = 4
    draws_of_percentiles: int = 40
    steps: tuple[int, ...] = checkpoints.STEPS
    seeds: int = 3
    real: int = 200  # held-out images, and images of each checkpoint
    known: int = 256  # real images of the reference


QUICK = Size(
    pool=40, corrupted=2, folder=24, clean_folders=2, draws_of_one=1, draws_of_more=2, degraded=3, shown=2,
    reference=24, small_reference=16, draws=1, draws_of_percentiles=2, steps=(5, 10), seeds=1, real=6, known=24,
)  # fmt: skip


def pictures_of(name: str, count: int) -> list[Picture]:
    """Return pictures of a sort, 64 pixels wide and high."""
    random, share = np.random.default_rng(0), "usr/share"
    if name == "textures":
        textures, _ = data.textures()
        found = [textures[i] for i in random.permutation(len(textures))]
    elif name == "photographs":
        found = odd_pictures.crops(data.backgrounds(), random)
    else:
        paths = {
            "emoji": lambda: data.drawn_by("fluent")[0],
            "stamps": data.photographs,
            "clip art": data.drawings,
            "cards": lambda: sorted((odd_pictures.CARDS.folder() / share / "games/pysolfc").rglob("*.gif")),
            "charts": lambda: sorted((odd_pictures.CHARTS.folder() / share).rglob("html/_images/*.png")),
            "nebulae": lambda: sorted((odd_pictures.NEBULAE.folder() / share).rglob("nebulae/default/*.png")),
        }
        found = odd_pictures.opened(paths[name](), random)
    return small(found)[:count]


SORTS = ("textures", "photographs", "emoji", "stamps", "clip art", "cards", "charts", "nebulae")


def at_hand(count: int) -> dict[str, list[Picture]]:
    """Return pictures for a quick run."""
    photographs, digits = data.at_hand(count), data.at_hand(count, "digits")
    return dict(zip(QUICK_SORTS, (small(photographs), small(digits)), strict=True))


def small(pictures: Sequence[Picture]) -> list[Picture]:
    """Return the middle squares of pictures, resized; without duplicates and nearly uniform pictures."""
    kept: dict[bytes, Picture] = {}
    for picture in pictures:
        square = np.asarray(ImageOps.fit(Image.fromarray(picture), (SIDE, SIDE)))
        if square.mean(2).std() > 4:
            kept.setdefault(square.tobytes(), square)
    return list(kept.values())


def rounded(values: NDArray[np.float64]) -> Picture:
    return values.round().clip(0, 255).astype(np.uint8)


def corrupt(picture: Picture, fault: str, other: Picture, random: np.random.Generator) -> Picture:
    """Corrupt a picture of a folder; the strength is random within the limits of ``odd_pictures.spoil``."""
    if fault == "other content":
        return other
    if fault == "low contrast":
        return rounded(picture.mean() + (picture - picture.mean()) * random.uniform(0.2, 0.4))
    return odd_pictures.spoil(picture, fault, random)


def degrade(picture: Picture, name: str, amount: float, other: Picture, random: np.random.Generator) -> Picture:
    """Degrade a picture by one of :data:`DEGRADATIONS`."""
    image, values = Image.fromarray(picture), picture.astype(float)
    grey = values @ np.array([[0.299], [0.587], [0.114]])
    if name == "blur":
        return np.asarray(image.filter(ImageFilter.GaussianBlur(amount)))
    if name == "motion blur":
        reach = int(amount) // 2
        padded = np.pad(values, ((0, 0), (reach, reach), (0, 0)), mode="edge")
        return rounded(np.mean([padded[:, i : i + SIDE] for i in range(2 * reach + 1)], 0))
    if name == "noise":
        return rounded(values + random.normal(0, amount, picture.shape))
    if name == "salt and pepper":
        drawn = random.random((SIDE, SIDE, 1)) * 100
        return np.where(drawn < amount / 2, 0, np.where(drawn < amount, 255, picture)).astype(np.uint8)
    if name == "JPEG":
        file = BytesIO()
        image.save(file, "JPEG", quality=int(amount))
        return np.asarray(Image.open(file))
    if name == "pixels":
        fewer = image.resize((round(SIDE / amount),) * 2, Image.Resampling.BOX)
        return np.asarray(fewer.resize((SIDE, SIDE), Image.Resampling.NEAREST))
    if name in ("dark", "overexposed"):
        return rounded(values * amount)
    if name == "low contrast":
        return rounded(values.mean() + (values - values.mean()) * amount)
    if name == "grey":
        return rounded(values + (grey - values) * amount / 100)
    if name == "wrong colours":
        return rounded(values * [1 + amount / 100, 1, 1 - amount / 100])
    assert name == "pasted piece"
    side = round(SIDE * (amount / 100) ** 0.5)
    top, left = random.integers(0, SIDE - side + 1, 2)
    pasted = picture.copy()
    pasted[top : top + side, left : left + side] = other[top : top + side, left : left + side]
    return pasted


@dataclass
class Sort:
    """Measurements of a sort: its clean pictures, the corrupted ones, and the degraded ones."""

    means: Tensor
    properties: Tensor
    clean: int
    corrupted: dict[str, list[tuple[int, int]]]  # by fault: the clean picture, and the row of the corrupted one
    degraded: NDArray[np.int64]  # rows: (pictures, degradations, strengths); the pictures are the first clean ones
    distances: list[Tensor]  # dna-emd of each draw: of the pictures shown, and of these degraded
    foreign: list[int]  # rows of clean pictures of another sort


def measured_sort(
    k: int, pools: Mapping[str, list[Picture]], name: str, extractor: DNAExtractor, neurons: Neurons, size: Size
) -> Sort:
    """Corrupt, degrade and measure the pictures of a sort."""
    names, pool = list(pools), pools[name]
    others = pools[names[(names.index(name) + 1) % len(names)]]
    random, pictures = np.random.default_rng([1, k]), list(pool)
    corrupted: dict[str, list[tuple[int, int]]] = {}
    for fault in FAULTS:
        for i in random.permutation(len(pool))[: size.corrupted].tolist():
            corrupted.setdefault(fault, []).append((i, len(pictures)))
            pictures.append(corrupt(pool[i], fault, others[i % len(others)], random))
    degraded = np.zeros((size.degraded, len(DEGRADATIONS), 4), np.int64)
    for i in range(size.degraded):
        other = pool[size.degraded + i % (len(pool) - size.degraded)]
        for j, (degradation, amounts) in enumerate(DEGRADATIONS.items()):
            seed = int(random.integers(2**31))
            for strength, amount in enumerate(amounts):
                # The same seed for all strengths: a pasted piece stays near its place, and noise keeps its pattern.
                again = np.random.default_rng(seed)
                degraded[i, j, strength] = len(pictures)
                pictures.append(degrade(pool[i], degradation, amount, other, again))
    foreign = [*range(len(pictures), len(pictures) + min(len(others), size.degraded))]
    pictures += others[: len(foreign)]
    job = Job(extractor, {"means": SpatialMeans(neurons, [*neurons])}, Reading(num_workers=0), notes=[property_note])
    rows = measure(job, open_source(pictures)).rows
    sort = Sort(rows["means"], rows[LAYER], len(pool), corrupted, degraded, [], foreign)
    for draw in range(size.draws):
        reference, shown = drawn_reference(sort, [k, draw], size)
        wanted = [*shown, *sort.degraded[shown].ravel().tolist()]
        distances = by_distance([pictures[i] for i in reference], [pictures[i] for i in wanted], extractor)
        sort.distances.append(distances)
    return sort


def by_distance(reference: Sequence[Picture], pictures: Sequence[Picture], extractor: DNAExtractor) -> Tensor:
    """Return the paper's distance of single pictures to a reference."""
    dna = make_dna(list(reference), extractor, num_bins=NUM_BINS, reading=Reading(num_workers=0))
    metric = DNARealism(extractor, reference=dna, score="distance")
    for batch in data.batch(list(pictures)).split(BATCH):
        metric.update(batch)
    return metric.compute()


def drawn_reference(sort: Sort, seed: Sequence[int], size: Size) -> tuple[list[int], list[int]]:
    """Draw pictures of a reference, and others that are shown degraded."""
    random = np.random.default_rng([2, *seed])
    shown = random.permutation(size.degraded)[: size.shown].tolist()
    rest = np.setdiff1d(np.arange(sort.clean), shown)
    return random.permutation(rest)[: size.reference].tolist(), shown


def kept(
    folder: Path, pools: Mapping[str, list[Picture]], extractor: DNAExtractor, neurons: Neurons, size: Size
) -> Iterator[tuple[str, Sort]]:
    """Measure all sorts, or read what was measured before."""
    for k, name in enumerate(pools):
        file = folder / f"single_scores_{name}.pt"
        if file.exists():
            yield name, Sort(**torch.load(file, weights_only=False))
            continue
        sort = measured_sort(k, pools, name, extractor, neurons, size)
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(vars(sort), file)
        print(name, sort.clean, "pictures,", len(sort.means), "with changed ones", flush=True)
        yield name, sort


def reference_of(sort: Sort, rows: Sequence[int], neurons: Neurons) -> OutlierReference:
    means = split_means(sort.means[rows], neurons)
    return OutlierReference(gaussians_of_means(means), left_out_by_layer(means), sort.properties[rows])


def values_of(reference: OutlierReference, images: Unusualness) -> Values:
    """Return what each score says of images; larger is more unusual."""
    assert images.tails is not None
    return {
        OLD: outlier_distance(images.layers),
        TAIL: -images.tails.amin(1).log(),
        NEW: reference.surprisals(images).sum(1),
    }


def compared(reference: OutlierReference, sort: Sort, rows: Sequence[int], neurons: Neurons) -> Values:
    means, properties = split_means(sort.means[rows], neurons), sort.properties[rows]
    return values_of(reference, reference.compare(means, properties))


@dataclass
class Folder:
    """A drawn folder: the faults of its first pictures, and for each score whether these are among the worst five."""

    sort: str
    faults: list[str]
    found: dict[str, list[bool]]
    flagged: int  # pictures that are in the package's list


def draw_folder(
    name: str, sort: Sort, faults: list[str], random: np.random.Generator, size: Size, neurons: Neurons
) -> Folder:
    chosen = [sort.corrupted[fault][random.integers(len(sort.corrupted[fault]))] for fault in faults]
    originals = [original for original, _ in chosen]
    clean = np.setdiff1d(np.arange(sort.clean), originals)
    rows = [row for _, row in chosen]
    rows += random.permutation(clean)[: size.folder - len(faults)].tolist()
    reference = reference_of(sort, rows, neurons)
    found = {}
    for score, values in values_of(reference, reference.own).items():
        worst = values.argsort(descending=True, stable=True)[:5].tolist()
        found[score] = [row in worst for row in range(len(faults))]
    flagged = outliers_in_folder(sort.properties[rows], level=None)
    return Folder(name, faults, found, len(flagged))


def draw_folders(k: int, name: str, sort: Sort, size: Size, neurons: Neurons) -> list[Folder]:
    """Draw all folders of a sort."""
    folders = []
    for count in (0, *COUNTS):
        random = np.random.default_rng([3, k, count])
        if count == 0:
            draws: list[list[str]] = [[]] * size.clean_folders
        elif count == 1:
            draws = [[fault] for fault in FAULTS for _ in range(size.draws_of_one)]
        else:
            draws = [random.permutation(FAULTS)[:count].tolist() for _ in range(size.draws_of_more)]
        folders += [draw_folder(name, sort, faults, random, size, neurons) for faults in draws]
    return folders


def mean_and_error(values: Sequence[float], form: str = ".2f") -> str:
    """Return the mean over sorts of pictures, and its standard error."""
    error = float(np.std(values, ddof=1) / len(values) ** 0.5) if len(values) > 1 else np.nan
    return f"{np.mean(values):{form}} ± {error:{form}}"


def share_found(folders: Sequence[Folder], score: str, count: int, sort: str = "", fault: str = "") -> float:
    """Return the share of corrupted pictures among the worst five."""
    every = [
        is_found
        for folder in folders
        if len(folder.faults) == count and sort in ("", folder.sort)
        for of, is_found in zip(folder.faults, folder.found[score], strict=True)
        if fault in ("", of)
    ]
    return float(np.mean(every))


def tables_of_folders(folders: Sequence[Folder]) -> tuple[list[str], dict[str, list[float]], float]:
    """Return the tables of folders, the shares found by each score, and the share of clean folders with a flag."""
    sorts = list(dict.fromkeys(folder.sort for folder in folders))
    scores = (OLD, TAIL, NEW)
    by_count, rows = {}, []
    for score in scores:
        by_sort = [[share_found(folders, score, count, sort) for sort in sorts] for count in COUNTS]
        by_count[score] = [float(np.mean(shares)) for shares in by_sort]
        rows.append([score, *map(mean_and_error, by_sort)])
    numbers = [sum(len(folder.faults) == count for folder in folders) for count in COUNTS]
    rows.append(["folders", *numbers])
    header = [f"share of {count} corrupted, ± standard error over sorts" for count in COUNTS]
    main = results.table(["worst five by", *header], rows)
    by_fault = [
        [fault, *(f"{share_found(folders, score, 1, fault=fault):.2f}" for score in scores)] for fault in FAULTS
    ]
    clean = {sort: [bool(f.flagged) for f in folders if f.sort == sort and not f.faults] for sort in sorts}
    by_sort_rows = []
    for sort in sorts:
        cells = []
        for score in scores:
            cells.append(" / ".join(f"{share_found(folders, score, count, sort):.2f}" for count in COUNTS))
        by_sort_rows.append([sort, *cells, f"{np.mean(clean[sort]):.3f}"])
    flagged = [float(np.mean(values)) for values in clean.values()]
    total = sum(map(len, clean.values()))
    by_sort_rows.append(["all", *[""] * len(scores), f"{mean_and_error(flagged, '.3f')} of {total} folders"])
    tables = [
        main,
        results.table(["one corrupted by", *scores], by_fault),
        results.table(
            ["1 / 3 / 8 corrupted, among the worst five", *scores, "clean folders with a flagged image"], by_sort_rows
        ),
    ]
    return tables, by_count, float(np.mean(flagged))


def area(clean: Tensor, worse: Tensor) -> float:
    """Return how often a worse image has the higher score: 0.5 by chance."""
    truth = [0] * len(clean) + [1] * len(worse)
    return float(roc_auc_score(truth, torch.cat([clean, worse])))


def in_order(values: Tensor) -> float:
    """Return the share of pairs of columns, of all rows, in ascending order; equal values count one half."""
    pairs = [
        (values[:, i] < values[:, j]).double() + (values[:, i] == values[:, j]).double() / 2
        for i, j in combinations(range(values.shape[1]), 2)
    ]
    return float(torch.stack(pairs).mean())


def draw_degraded(k: int, sort: Sort, size: Size, neurons: Neurons) -> dict[str, dict[str, NDArray[np.float64]]]:
    """Return, by score: areas (draws, degradations, strengths), order (draws, degradations), area of another sort."""
    told: dict[str, dict[str, list[NDArray[np.float64]]]] = {}
    for draw in range(size.draws):
        rows, shown = drawn_reference(sort, [k, draw], size)
        reference = reference_of(sort, rows, neurons)
        wanted = [*shown, *sort.degraded[shown].ravel().tolist()]
        scores = compared(reference, sort, wanted, neurons) | {DISTANCE: sort.distances[draw]}
        foreign = compared(reference, sort, sort.foreign, neurons)
        for score, values in scores.items():
            clean, changed = values[: len(shown)], values[len(shown) :].view(len(shown), len(DEGRADATIONS), 4)
            areas = [[area(clean, column) for column in of_one.T] for of_one in changed.transpose(0, 1)]
            order = [in_order(of_one) for of_one in changed.transpose(0, 1)]
            of_foreign = area(clean, foreign[score]) if score in foreign else np.nan
            for what, value in {"areas": areas, "order": order, "foreign": of_foreign}.items():
                told.setdefault(score, {}).setdefault(what, []).append(np.array(value))
    return {score: {what: np.array(values) for what, values in of.items()} for score, of in told.items()}


def beyond_percentile(k: int, sort: Sort, count: int, size: Size, neurons: Neurons) -> dict[str, float]:
    """Return the share of clean pictures beyond the 95th percentile of the own scores of a reference."""
    random, shares = np.random.default_rng([4, k, count]), dict[str, list[float]]()
    for _ in range(size.draws_of_percentiles):
        order = random.permutation(sort.clean).tolist()
        reference = reference_of(sort, order[:count], neurons)
        own, values = values_of(reference, reference.own), compared(reference, sort, order[count:], neurons)
        for score in (OLD, NEW):
            beyond = percentiles(values[score], own[score]) > 95
            shares.setdefault(score, []).append(float(beyond.double().mean()))
    return {score: float(np.mean(of)) for score, of in shares.items()}


def tables_of_degraded(
    told: Mapping[str, dict[str, dict[str, NDArray[np.float64]]]],
) -> tuple[list[str], dict[str, tuple[float, float]]]:
    """Return the tables of degraded pictures; and by score, the mean area and the mean order."""
    scores, rows, means = (OLD, TAIL, NEW, DISTANCE), [], {}
    for score in scores:
        of = [sort[score] for sort in told.values()]
        areas, order, foreign = ([each[what].mean() for each in of] for what in ("areas", "order", "foreign"))
        by_strength = np.mean([each["areas"] for each in of], (0, 1, 2))
        strengths = " / ".join(f"{value:.2f}" for value in by_strength)
        other = "-" if np.isnan(foreign).all() else mean_and_error(foreign)
        rows.append([score, mean_and_error(areas, ".3f"), strengths, mean_and_error(order, ".3f"), other])
        means[score] = float(np.mean(areas)), float(np.mean(order))
    header = ["score", "area, clean against degraded, ± standard error over sorts", "strength 1 / 2 / 3 / 4"]
    tables = [results.table([*header, "pairs of strengths of one picture in order", "area, another sort"], rows)]
    by_way = []
    for j, name in enumerate(DEGRADATIONS):
        cells = []
        for score in (OLD, NEW):
            of = [sort[score] for sort in told.values()]
            cells.append(f"{np.mean([each['areas'][:, j] for each in of]):.3f}")
            cells.append(f"{np.mean([each['order'][:, j] for each in of]):.2f}")
        by_way.append([name, *cells])
    columns = [f"{score}: {what}" for score in (OLD, NEW) for what in ("area", "order")]
    tables.append(results.table(["degradation", *columns], by_way))
    by_sort = []
    for name, of_sort in told.items():
        cells = [f"{of_sort[score]['areas'].mean():.3f}; {of_sort[score]['order'].mean():.2f}" for score in scores]
        by_sort.append([name, *cells])
    tables.append(results.table(["sort: area; order", *scores], by_sort))
    return tables, means


def table_of_percentiles(shares: Mapping[int, Mapping[str, Mapping[str, float]]]) -> str:
    """Return the table of clean pictures beyond the 95th percentile, by number of images in the reference."""
    rows = []
    for score in (OLD, NEW):
        cells = []
        for of_sorts in shares.values():
            values = {name: of[score] for name, of in of_sorts.items()}
            worst = max(values, key=lambda name: abs(values[name] - 0.05))
            cells.append(f"{mean_and_error([*values.values()], '.3f')}; farthest from .05: {worst} {values[worst]:.3f}")
        rows.append([score, *cells])
    return results.table(["clean pictures beyond the 95th percentile", *(f"reference of {n}" for n in shares)], rows)


def convolutional() -> tuple[nn.Module, nn.Module]:
    """Return a convolutional generator of 8 x 8 pictures, and a discriminator."""
    generator = nn.Sequential(
        nn.Linear(checkpoints.NOISE, 512), nn.Unflatten(1, (128, 2, 2)), nn.BatchNorm2d(128), nn.ReLU(),
        nn.ConvTranspose2d(128, 64, 4, 2, 1), nn.BatchNorm2d(64), nn.ReLU(),
        nn.ConvTranspose2d(64, 1, 4, 2, 1), nn.Sigmoid(), nn.Flatten(),
    )  # fmt: skip
    discriminator = nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 64, 4, 2, 1), nn.LeakyReLU(0.2), nn.Dropout(0.3),
        nn.Conv2d(64, 128, 4, 2, 1), nn.LeakyReLU(0.2), nn.Flatten(), nn.Dropout(0.3), nn.Linear(512, 1),
    )  # fmt: skip
    return generator, discriminator


def digits() -> Tensor:
    return torch.from_numpy(load_digits().data).float() / 16


def letters() -> Tensor:
    """Return 8 x 8 letters of many scripts and fonts, white on black."""
    pages = data.letters(2394, 32)  # each letter in each font once
    shrunk = [
        np.asarray(Image.fromarray(255 - page).convert("L").resize((8, 8), Image.Resampling.BOX)) for page in pages
    ]
    return torch.from_numpy(np.stack(shrunk)).flatten(1).float() / 255


def patches() -> Tensor:
    """Return 8 x 8 patches of scikit-image's photographs in grey, shrunk to 24 pixels."""
    found = []
    for photograph in data.at_hand(300):
        grey = np.asarray(Image.fromarray(photograph).convert("L").resize((24, 24), Image.Resampling.BOX))
        found += [grey[top : top + 8, left : left + 8] for top in (0, 8, 16) for left in (0, 8, 16)]
    return torch.from_numpy(np.stack(found)).flatten(1).float() / 255


GENERATORS: dict[str, tuple[Callable[[], Tensor], Callable[[], tuple[nn.Module, nn.Module]]]] = {
    "digits": (digits, checkpoints.networks),
    "digits, convolutional": (digits, convolutional),
    "letters": (letters, checkpoints.networks),
    "patches of photographs": (patches, checkpoints.networks),
}


def trained(folder: Path, name: str, seed: int, size: Size) -> dict[str, Tensor]:
    """Train a generator, or read what it drew; return its reference, images of its checkpoints, and held-out real ones.

    The generator never saw the held-out images. They are the last group.
    """
    file = folder / f"single_scores_{name}_{seed}.pt"
    if file.exists():
        return torch.load(file, weights_only=True)
    load, networks = GENERATORS[name]
    torch.manual_seed(seed)
    every = load().unique(dim=0)
    every = every[torch.randperm(len(every))]
    real, seen = every[: size.real], every[size.real :]
    groups = {KNOWN: seen[: size.known]}
    groups |= checkpoints.generated(seen, size.steps, size.real, networks)
    groups[checkpoints.REAL] = real
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(groups, file)
    return groups


def scores_of(groups: Mapping[str, Tensor], extractor: DNAExtractor) -> dict[str, Values]:
    """Return, by score, the scores of images of each group compared with the reference."""
    known, reading = list(checkpoints.pictures(groups[KNOWN])), Reading(num_workers=0)
    of_layers = make_dna(known, extractor, kind="layer-gaussian", reading=reading)
    histogram = make_dna(known, extractor, num_bins=NUM_BINS, reading=reading)
    metrics = {
        NEW: DNARealism(extractor, reference=of_layers, score="outlier"),
        DISTANCE: DNARealism(extractor, reference=histogram, score="distance"),
    }
    reference = outlier_reference(of_layers)
    scores: dict[str, Values] = {OLD: {}, NEW: {}, DISTANCE: {}}
    for group in [*groups][1:]:
        shown = checkpoints.pictures(groups[group])
        found = extractor(shown)
        means = {layer: found[layer].mean((2, 3)) for layer in reference.gaussians}
        unusual = reference.compare(means, image_properties(shown))
        scores[OLD][group] = outlier_distance(unusual.layers)
        for score, metric in metrics.items():
            scores[score][group] = metric(shown)
    return scores


def table_of_checkpoints(trainings: Mapping[str, Sequence[dict[str, Values]]]) -> tuple[str, dict[str, list[bool]]]:
    """Return the table of mean scores; and by score, whether all means of each training are in order."""
    rows, right = [], dict[str, list[bool]]()
    for name, seeds in trainings.items():
        for score in (OLD, NEW, DISTANCE):
            means = torch.stack([torch.stack([values.mean() for values in of[score].values()]) for of in seeds])
            lowest = [bool(of_seed.argmin() == len(of_seed) - 1) for of_seed in means]
            ordered = [bool((of_seed.diff() < 0).all()) for of_seed in means]
            areas = [area(*[*of[score].values()][:-3:-1]) for of in seeds]
            row = [name, score, *(f"{value:.3g}" for value in means.mean(0).tolist()), f"{in_order(-means):.2f}"]
            rows.append(
                [*row, f"{sum(ordered)} of {len(seeds)}", f"{sum(lowest)} of {len(seeds)}", results.span(areas)]
            )
            right.setdefault(score, []).extend(ordered)
    groups = [*next(iter(trainings.values()))[0][NEW]]
    header = ["generator", "mean", *groups[:-1], "held-out real", "pairs in order", "all in order", "real lowest"]
    return results.table([*header, "area, real against the last"], rows), right


def conclude(
    found: Mapping[str, Sequence[float]],
    flagged: float,
    means: Mapping[str, tuple[float, float]],
    shares: Mapping[int, Mapping[str, Mapping[str, float]]],
    right: Mapping[str, Sequence[bool]],
) -> str:
    """Write the text about the results from the numbers."""
    one, three, eight = (f"{found[NEW][i]:.0%} ({found[OLD][i]:.0%})" for i in range(3))
    beyond = " and ".join(
        f"{np.mean([of[NEW] for of in of_sorts.values()]):.1%} with {count} images"
        for count, of_sorts in shares.items()
    )
    trained = len(right[NEW])
    return (
        f"The values in brackets are for the network's outlier distance alone. If one picture of a folder is"
        f" corrupted, it is among the worst five in {one} of folders. If three pictures are corrupted, {three} of them"
        f" are among the worst five. If eight are corrupted, {eight} are. An image is flagged in {flagged:.1%} of clean"
        f" folders. The area for degraded pictures against clean ones is {means[NEW][0]:.3f} ({means[OLD][0]:.3f}). If"
        f" a picture is degraded in two strengths, the stronger one has the higher score in {means[NEW][1]:.0%}"
        f" ({means[OLD][1]:.0%}) of the pairs. Of the clean pictures, {beyond} in the reference are beyond the 95th"
        " percentile. The mean score puts all checkpoints of a training in the right order, and"
        f" held-out real images last, in {sum(right[NEW])} of {trained} trainings ({sum(right[OLD])} of {trained})."
        f" The paper's distance does so in {sum(right[DISTANCE])} of {trained}."
    )


def main() -> None:
    with results.keeping_activations(__doc__) as (folder, is_quick, activations):
        size = QUICK if is_quick else Size()
        extractor = DNAExtractor("efficientnet_lite0", input_size=SIDE)
        neurons = extractor.neurons.take(extractor.neurons.positions(layers_for_outliers(extractor.neurons)))
        pools = at_hand(size.pool) if is_quick else {name: pictures_of(name, size.pool) for name in SORTS}
        folders, told, counts = list[Folder](), {}, []
        shares: dict[int, dict[str, dict[str, float]]] = {size.small_reference: {}, size.reference: {}}
        for k, (name, sort) in enumerate(kept(activations, pools, extractor, neurons, size)):
            folders += draw_folders(k, name, sort, size, neurons)
            told[name] = draw_degraded(k, sort, size, neurons)
            for count, of_sorts in shares.items():
                of_sorts[name] = beyond_percentile(k, sort, count, size, neurons)
            counts.append([name, sort.clean])
            print(name, flush=True)
        trainings = {}
        for name in ("digits",) if is_quick else GENERATORS:
            trainings[name] = [
                scores_of(trained(activations, name, seed, size), extractor) for seed in range(size.seeds)
            ]
            print(name, flush=True)
        of_folders, found, flagged = tables_of_folders(folders)
        of_degraded, means = tables_of_degraded(told)
        of_checkpoints, right = table_of_checkpoints(trainings)
        first = [of_folders[0], of_degraded[0], table_of_percentiles(shares), of_checkpoints]
        draws = [
            ["folders without corrupted pictures", size.clean_folders],
            ["folders with one, for each fault", size.draws_of_one],
            ["folders with three, and with eight", size.draws_of_more],
            [f"references of {size.reference}, each with {size.shown} degraded pictures", size.draws],
            ["references for the percentiles, of each number of images", size.draws_of_percentiles],
        ]
        amounts = [[name, *amounts] for name, amounts in DEGRADATIONS.items()]
        results.write(
            folder,
            "single_scores",
            here=conclude(found, flagged, means, shares, right),
            tables=[
                *first,
                *of_folders[1:],
                *of_degraded[1:],
                results.table(["draws for each sort of pictures", "number"], draws),
                results.table(["degradation", *(f"strength {strength}" for strength in (1, 2, 3, 4))], amounts),
                results.table(["sort", "pictures"], counts),
            ],
            seeds=f"those of each draw, 1 of the changes, and 0 to {size.seeds - 1} of the trainings",
            data=["pictures of scikit-image and scikit-learn"]
            if is_quick
            else [
                data.TEXTURES, *data.BACKGROUNDS, data.FLUENT, data.PHOTOGRAPHS, data.DRAWINGS, odd_pictures.CARDS,
                odd_pictures.CHARTS, odd_pictures.NEBULAE, "pictures of scikit-image and scikit-learn",
            ],
        )  # fmt: skip


if __name__ == "__main__":
    main()
