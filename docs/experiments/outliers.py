"""Which images of a pool are off, and where? Faults are planted, and scores of single images look for them.

    pip install "torchmetrics-dna[demo]" scikit-learn
    python docs/experiments/outliers.py

Each of fourteen domains gives reference images and a pool of others. 5 or 20 % of the pool are spoilt by one of ten
faults: seven of the whole image, three in a block of it. The score is chosen on seven domains, and reported on the
seven others, which chose nothing. Scores that need no pool are computed once for each image; those that contrast
reference and pool, for each pool.
"""

from __future__ import annotations

import io
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import data
import numpy as np
import results
import skimage
import torch
from matplotlib.figure import Figure
from PIL import Image, ImageFilter
from sklearn.covariance import OAS
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import KFold
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from torch.nn.functional import interpolate

from torchmetrics_dna import DNAExtractor, make_dna, rank
from torchmetrics_dna.binning import Activations
from torchmetrics_dna.functional import activation_histogram, dna_emd, heat
from torchmetrics_dna.functional.outliers import (
    LayerGaussian,
    layers_for_outliers,
    neighbourhoods,
    outlier_distance,
)
from torchmetrics_dna.images import Reading
from torchmetrics_dna.images.properties import image_properties

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Picture = NDArray[np.uint8]

NUM_REFERENCE, NUM_POOL, NUM_FAULTY, BATCH = 200, 80, 40, 8
NUM_BINS = 1000
SHARES, DRAWS, POOL_DRAWS = (0.05, 0.2), 4, 1
LOCAL = "block_2"
FIRST = "outlier score"
PATCHES = 2000  # in the memory bank


# Domains


def texture(name: str, number: int) -> list[Picture]:
    """Crops of one photograph: of its left half for the reference, of its right half for the pool."""
    page = np.asarray(Image.open(Path(skimage.__file__).parent / "data" / f"{name}.png").convert("RGB"))
    random, half = np.random.default_rng(0), page.shape[1] // 2
    crops = []
    for i in range(number):
        left = int(random.integers(0, half - 64)) + (half if i >= number - NUM_POOL else 0)
        top = int(random.integers(0, page.shape[0] - 64))
        crops.append(page[top : top + 64, left : left + 64])
    return crops


def tiles(number: int) -> list[Picture]:
    """Tiles of landscapes, shrunk to 640 pixels."""
    every = []
    for path in data.backgrounds():
        with Image.open(path) as file:
            small = file.convert("RGB")
        small.thumbnail((640, 640))
        page = np.asarray(small)
        corners = ((y, x) for y in range(0, page.shape[0] - 127, 128) for x in range(0, page.shape[1] - 127, 128))
        every += [page[y : y + 128, x : x + 128] for y, x in corners]
    return some(every, number)


def faces(number: int) -> list[Picture]:
    """Aligned faces of 25 pixels, from scikit-image's subset of LFW, which has 100."""
    grey = np.load(Path(skimage.__file__).parent / "data" / "lfw_subset.npy")[:100]
    return some([np.stack([(face * 255).astype(np.uint8)] * 3, -1) for face in grey], number)


def some(pictures: Sequence[Picture], number: int) -> list[Picture]:
    return [pictures[i] for i in np.random.default_rng(0).permutation(len(pictures))[:number]]


def of_files(paths: Sequence[Path], side: int, number: int) -> list[Picture]:
    return [data.picture(Path(path), side) for path in np.random.default_rng(0).permutation(np.array(paths))[:number]]


def of_maker(maker: str, number: int) -> list[Picture]:
    return of_files([one.path for one in data.emoji(maker)], 64, number)


TUNED: dict[str, Callable[[int], list[Picture]]] = {
    "stamps": lambda number: of_files(data.photographs(), 128, number),
    "landscapes": tiles,
    "apple's emoji": partial(of_maker, "apple"),
    "google's emoji": partial(of_maker, "google"),
    "letters": lambda number: some(data.letters(400, 64), number),
    "gravel": partial(texture, "gravel"),
    "icons": lambda number: of_files(data.icons(), 48, number),
}
REPORTED: dict[str, Callable[[int], list[Picture]]] = {
    "photographs": lambda number: data.at_hand(number),
    "facebook's emoji": partial(of_maker, "facebook"),
    "twitter's emoji": partial(of_maker, "twitter"),
    "digits": lambda number: some(data.at_hand(1797, "digits"), number),
    "grass": partial(texture, "grass"),
    "brick": partial(texture, "brick"),
    "faces": faces,
}
AT_HAND = ("photographs", "digits")


# Faults


class Fault(NamedTuple):
    """A fault: a function of a picture, its number, the pool and pictures of another domain."""

    spoil: Callable[[Picture, int, list[Picture], list[Picture]], Picture]
    share: float = 0  # of the side, if it is a block
    pasted: bool = False


def blurred(pixels: float) -> Fault:
    blur = ImageFilter.GaussianBlur(pixels)
    return Fault(lambda picture, *_: np.asarray(Image.fromarray(picture).filter(blur)))


def compressed(picture: Picture, *_: object) -> Picture:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=20)
    return np.asarray(Image.open(file))


def of_another_kind(picture: Picture, number: int, _: list[Picture], others: list[Picture]) -> Picture:
    other = Image.fromarray(others[number % len(others)])
    return np.asarray(other.resize(picture.shape[1::-1], Image.Resampling.BICUBIC))


def duplicated(picture: Picture, *_: object) -> Picture:
    half, spoilt = picture.shape[1] // 2, picture.copy()
    spoilt[:, -half:] = spoilt[:, :half]
    return spoilt


def place_of(number: int, side: int, share: float) -> tuple[slice, slice]:
    """Rows and columns of the block of a picture."""
    size = max(2, round(side * share))
    top, left = np.random.default_rng([number, round(100 * share)]).integers(0, side - size, 2)
    return slice(top, top + size), slice(left, left + size)


def block(share: float, pasted: bool = False) -> Fault:
    """A block of one colour, or of another picture of the pool."""

    def spoil(picture: Picture, number: int, pool: list[Picture], _: list[Picture]) -> Picture:
        rows, columns = place_of(number, len(picture), share)
        spoilt, colour = picture.copy(), np.random.default_rng([number, 7]).integers(0, 256, 3)
        other = pool[(number + 7) % len(pool)]
        spoilt[rows, columns] = other[columns, rows] if pasted else colour
        return spoilt

    return Fault(spoil, share, pasted)


WHOLE = {
    "blur 1 px": blurred(1),
    "blur 2 px": blurred(2),
    "blur 4 px": blurred(4),
    "JPEG 20": Fault(compressed),
    "inverted": Fault(lambda picture, *_: 255 - picture),
    "another kind": Fault(of_another_kind),
    "halves alike": Fault(duplicated),
}
BLOCKS = {"block 1/5": block(0.2), "block 1/10": block(0.1), "pasted 1/5": block(0.2, pasted=True)}
FAULTS = WHOLE | BLOCKS


# Features


class Features(NamedTuple):
    """Values of pictures, one row each; means, quantiles and largest by layer."""

    means: dict[str, Tensor]
    quantiles: dict[str, Tensor]
    largest: dict[str, Tensor]
    histograms: Tensor
    places: dict[str, Tensor]
    properties: Tensor

    @classmethod
    def of(cls, pictures: Sequence[Picture], extractor: DNAExtractor) -> Features:
        """Run pictures through the network once."""
        rows: list[Features] = []
        for first in range(0, len(pictures), BATCH):
            imgs = data.batch(list(pictures[first : first + BATCH]))
            found = extractor(imgs)
            ordered = {layer: x.flatten(2).sort(2).values for layer, x in found.items() if x.shape[1] <= 512}
            middle = {layer: [int(q * (x.shape[2] - 1)) for q in (0.1, 0.5, 0.9)] for layer, x in ordered.items()}
            rows.append(
                cls(
                    {layer: Activations(found).means(layer) for layer in found},
                    {layer: x[..., middle[layer]].flatten(1).double() for layer, x in ordered.items()},
                    {layer: x[..., -1].double() for layer, x in ordered.items()},
                    histograms_of(found, extractor),
                    {layer: neighbourhoods(found[layer]).float() for layer in ("block_2", "block_3")},
                    image_properties(imgs)[:, 3:18].double(),
                )
            )
        return cls(*(_joined(parts) for parts in zip(*rows, strict=True)))

    def take(self, chosen: Sequence[int]) -> Features:
        return Features(*({k: v[chosen] for k, v in x.items()} if isinstance(x, dict) else x[chosen] for x in self))

    def with_some(self, other: Features, chosen: Sequence[int]) -> Features:
        """A pool in which some pictures are replaced by the first ones of another set."""
        mine, theirs = ([*self], [*other])
        return Features(*(_replaced(a, b, chosen) for a, b in zip(mine, theirs, strict=True)))


def histograms_of(activations: dict[str, Tensor], extractor: DNAExtractor) -> Tensor:
    """Counts of each image, ``(B, N, bins)``, int16."""
    low, high = extractor.ranges.bounds()
    layers, first = [], 0
    for values in activations.values():
        bounds = low[first : first + values.shape[1]], high[first : first + values.shape[1]]
        layers.append(torch.stack([activation_histogram(image[None], *bounds, NUM_BINS) for image in values]))
        first += values.shape[1]
    return torch.cat(layers, 1).short()


def distances(of_set: Tensor, of_images: Tensor) -> Tensor:
    """dna-emd of each image to a set of images."""
    counts = of_set.sum(0)
    return torch.stack([dna_emd(image, counts) for image in of_images])


def _joined(parts: Sequence[Tensor | dict[str, Tensor]]) -> Tensor | dict[str, Tensor]:
    first = parts[0]
    if isinstance(first, dict):
        return {layer: torch.cat([part[layer] for part in parts]) for layer in first}
    return torch.cat(list(parts))


def _replaced(a: Tensor | dict[str, Tensor], b: Tensor | dict[str, Tensor], chosen: Sequence[int]) -> object:
    if isinstance(a, dict):
        return {layer: _replaced(a[layer], b[layer], chosen) for layer in a}
    replaced = a.clone()
    replaced[chosen] = b[chosen]
    return replaced


# Scores without a pool: of pictures, given the reference


def by_layer(reference: dict[str, Tensor], queries: dict[str, Tensor], layers: Sequence[str]) -> Tensor:
    """The outlier distance of some values of each layer."""
    distances = {}
    for layer in layers:
        known = reference[layer]
        gaussian = LayerGaussian.of(known.mean(0), torch.cov(known.T), len(known))
        distances[layer] = gaussian.distances(queries[layer])
    return outlier_distance(distances)


def at_once(reference: dict[str, Tensor], queries: dict[str, Tensor], layers: Sequence[str]) -> Tensor:
    """One Mahalanobis distance for all these layers."""
    known, asked = (torch.cat([values[layer] for layer in layers], 1) for values in (reference, queries))
    return LayerGaussian.of(known.mean(0), torch.cov(known.T), len(known)).distances(asked)


def nearest(reference: dict[str, Tensor], queries: dict[str, Tensor], layers: Sequence[str]) -> Tensor:
    """Distance to the nearest reference image, each layer standardised."""
    scores = []
    for layer in layers:
        deviations = reference[layer].std(0).clamp(min=1e-6)
        known, asked = reference[layer] / deviations, queries[layer] / deviations
        own = torch.cdist(known, known).fill_diagonal_(torch.inf).amin(1)
        scores.append(torch.cdist(asked, known).amin(1) / own.median().clamp(min=1e-9))
    return torch.stack(scores).mean(0)


def largest_z(reference: dict[str, Tensor], queries: dict[str, Tensor], layers: Sequence[str]) -> Tensor:
    known, asked = (torch.cat([values[layer] for layer in layers], 1) for values in (reference, queries))
    return ((asked - known.mean(0)) / known.std(0).clamp(min=1e-6)).abs().amax(1)


def by_properties(reference: Tensor, queries: Tensor) -> Tensor:
    scaler = StandardScaler().fit(reference)
    estimate = OAS().fit(scaler.transform(reference))
    return torch.from_numpy(estimate.mahalanobis(scaler.transform(queries)))


def by_place(reference: Tensor, queries: Tensor) -> Tensor:
    """The largest distance of a place from all places of the reference."""
    places = reference.movedim(1, 3).flatten(0, 2).double()
    gaussian = LayerGaussian.of(places.mean(0), torch.cov(places.T), len(places))
    return gaussian.local_map(queries.double()).flatten(1).amax(1)


def padim(reference: Tensor, queries: Tensor) -> Tensor:
    """PaDiM (Defard et al., 2021): a Gaussian for each position, with 0.01 on the diagonal."""
    known, asked = reference.flatten(2).double(), queries.flatten(2).double()
    offsets = known - known.mean(0)
    covariances = torch.einsum("bcp,bdp->pcd", offsets, offsets) / (len(known) - 1)
    inverse = torch.linalg.inv(covariances + 0.01 * torch.eye(known.shape[1]))
    offsets = asked - known.mean(0)
    return torch.einsum("bcp,pcd,bdp->bp", offsets, inverse, offsets).amax(1)


def patchcore(reference: dict[str, Tensor], queries: dict[str, Tensor]) -> Tensor:
    """PatchCore (Roth et al., 2022) of blocks 2 and 3, with a bank of random patches in place of a coreset."""

    def patches(values: dict[str, Tensor]) -> Tensor:
        size = values["block_2"].shape[2:]
        both = torch.cat([values["block_2"], interpolate(values["block_3"], size)], 1)[:, :, ::2, ::2]
        return both.flatten(2).transpose(1, 2)

    bank = patches(reference).flatten(0, 1)
    bank = bank[torch.randperm(len(bank), generator=torch.Generator().manual_seed(0))[:PATCHES]]
    return torch.stack([torch.cdist(picture, bank).amin(1).amax() for picture in patches(queries)])


def alone(reference: Features, queries: Features) -> dict[str, Tensor]:
    """All scores that need no pool."""
    small = layers_for_outliers({layer: x.shape[1] for layer, x in reference.means.items()})
    means = reference.means, queries.means
    return {
        FIRST: by_layer(*means, small),
        "blocks 0 to 4 only": by_layer(*means, small[:5]),
        "all layers": by_layer(*means, list(reference.means)),
        "blocks 0 to 4 at once": at_once(*means, small[:5]),
        "of quantiles": by_layer(reference.quantiles, queries.quantiles, small),
        "of largest": by_layer(reference.largest, queries.largest, small),
        "nearest image": nearest(*means, small),
        "largest z of neurons": largest_z(*means, small),
        "properties": by_properties(reference.properties, queries.properties),
        "dna-emd": distances(reference.histograms, queries.histograms),
        "local score": by_place(reference.places[LOCAL], queries.places[LOCAL]),
        "PaDiM": padim(reference.places[LOCAL], queries.places[LOCAL]),
        "PatchCore": patchcore(reference.places, queries.places),
    }


# Scores in a pool


def classified(reference: Features, pool: Features) -> Tensor:
    """Log odds of the pool by logistic regression on spatial means, layers balanced, in three folds of the pool."""
    layers = layers_for_outliers({layer: x.shape[1] for layer, x in reference.means.items()})
    sides = []
    for side in (reference, pool):
        parts = [
            (side.means[layer] - reference.means[layer].mean(0))
            / (reference.means[layer].std(0).clamp(min=1e-6) * reference.means[layer].shape[1] ** 0.5)
            for layer in layers
        ]
        sides.append(torch.cat(parts, 1).numpy())
    known, asked = sides
    odds = torch.empty(len(asked), dtype=torch.float64)
    for train, test in KFold(3, shuffle=True, random_state=0).split(asked):
        truth = [0] * len(known) + [1] * len(train)
        model = LogisticRegression(C=1.0, max_iter=200, class_weight="balanced")
        model.fit(np.concatenate([known, asked[train]]), truth)
        odds[test] = torch.from_numpy(model.decision_function(asked[test]))
    return odds


def in_pool(reference: Features, pool: Features) -> dict[str, Tensor]:
    """Scores that contrast the pool with the reference."""
    to_reference, to_pool = (distances(side.histograms, pool.histograms) for side in (reference, pool))
    contrast, odds = to_reference - to_pool, classified(reference, pool)
    both = sum((x - x.mean()) / x.std() for x in (contrast, odds))
    return {"contrast": contrast, "classifier": odds, "contrast + classifier": both}


# Measurements


class Area(NamedTuple):
    """Area under the ROC curve, and the share of faulty ones among the k first, for k faulty ones in the pool."""

    area: float
    precision: float


def judge(scores: Tensor, faulty: Sequence[int]) -> Area:
    truth = np.zeros(len(scores), dtype=int)
    truth[list(faulty)] = 1
    first = scores.argsort(descending=True)[: len(faulty)]
    return Area(float(roc_auc_score(truth, scores)), float(truth[first].mean()))


Found = dict[tuple[str, str, float], list[Area]]  # by score, fault and share


def measure(
    pictures: list[Picture], others: list[Picture], extractor: DNAExtractor, num_pool: int, num_faulty: int
) -> Found:
    """Plant each fault in pools of one domain, and look for it by each score."""
    reference = Features.of(pictures[:-num_pool], extractor)
    pool = pictures[-num_pool:]
    clean = Features.of(pool, extractor)
    of_clean, found = alone(reference, clean), dict[tuple[str, str, float], list[Area]]()
    for name, fault in FAULTS.items():
        spoilt = [fault.spoil(picture, i, pool, others) for i, picture in enumerate(pool[:num_faulty])]
        features = Features.of(spoilt, extractor)
        of_spoilt = alone(reference, features)
        for share in SHARES:
            for draw in range(DRAWS):
                faulty = np.random.default_rng(draw).permutation(num_faulty)[: max(1, round(share * num_pool))].tolist()
                for score, values in of_clean.items():
                    mixed = values.clone()
                    mixed[faulty] = of_spoilt[score][faulty].to(mixed)
                    found.setdefault((score, name, share), []).append(judge(mixed, faulty))
                if draw < POOL_DRAWS and name in WHOLE:
                    whole = clean.with_some(features, faulty)
                    for score, values in in_pool(reference, whole).items():
                        found.setdefault((score, name, share), []).append(judge(values, faulty))
    return found


def maps_of(
    pictures: list[Picture], extractor: DNAExtractor, num_pool: int, number: int
) -> dict[str, dict[str, float]]:
    """Area of pixels within planted blocks, by map and fault: 0.5 by chance."""
    reference, pool = pictures[:-num_pool], pictures[-num_pool:]
    reading = Reading(num_workers=0)
    areas: dict[str, dict[str, float]] = {}
    for name, fault in BLOCKS.items():
        spoilt = [fault.spoil(picture, i, pool, pool) for i, picture in enumerate(pool[:number])]
        truth = []
        for i, picture in enumerate(spoilt):
            mask = torch.zeros(1, 1, *picture.shape[:2])
            mask[0, 0][place_of(i, len(picture), fault.share)] = 1
            truth.append(interpolate(mask, (56, 56), mode="area")[0, 0] > 0.5)
        for score in ("local", "distance"):
            ranking = rank(spoilt, reference, extractor, score=score, reading=reading)
            places = [ranking.numbers.index(i) for i in range(number)]
            pairs = zip(truth, ranking.maps(places), strict=True)
            areas.setdefault(score, {})[name] = float(np.mean([area_of(mask, shown) for mask, shown in pairs]))
        gaussians = outlier_map(reference, spoilt, extractor)
        pairs = zip(truth, gaussians, strict=True)
        areas.setdefault("outlier", {})[name] = float(np.mean([area_of(mask, shown) for mask, shown in pairs]))
    return areas


def area_of(mask: Tensor, shown: Tensor) -> float:
    return float(roc_auc_score(mask.flatten(), shown.flatten())) if mask.any() else 0.5


def outlier_map(reference: list[Picture], pictures: list[Picture], extractor: DNAExtractor) -> Tensor:
    """The outlier score's own shares of positions."""
    dna = make_dna(reference, extractor, kind="layer-gaussian", reading=Reading(num_workers=0))
    moments = dna.by_layer()
    gaussians = {layer: LayerGaussian.of(*moments[layer], dna.num_images) for layer in layers_for_outliers(dna.neurons)}
    shown = []
    for picture in pictures:
        found = extractor(data.batch([picture]))
        shown.append(heat({layer: gaussian.map(found[layer]) for layer, gaussian in gaussians.items()})[0])
    return torch.stack(shown)


def first_example(extractor: DNAExtractor, draws: int) -> list[list[int]]:
    """Places of six spoilt crops among 80: half of them blurred by 4 px, half inverted."""
    crops = data.at_hand(180)
    every = []
    for draw in range(draws):
        spoilt, pool = np.random.default_rng(draw).permutation(80)[:6].tolist(), crops[100:]
        for k, i in enumerate(spoilt):
            pool[i] = WHOLE["inverted" if k % 2 else "blur 4 px"].spoil(pool[i], i, pool, pool)
        ranking = rank(pool, crops[:100], extractor, reading=Reading(num_workers=0))
        every.append(sorted(ranking.numbers.index(i) + 1 for i in spoilt))
    return every


# Page


def mean(found: dict[str, Found], score: str, fault: str, share: float, value: str = "area") -> float:
    """Mean over domains and draws."""
    return float(np.mean([getattr(one, value) for of in found.values() for one in of[score, fault, share]]))


def whole_table(found: dict[str, Found], share: float) -> str:
    scores = list(dict.fromkeys(score for score, _, _ in next(iter(found.values()))))
    rows = []
    for score in scores:
        areas = [mean(found, score, fault, share) for fault in WHOLE]
        precision = np.mean([mean(found, score, fault, share, "precision") for fault in WHOLE])
        rows.append([score, *(f"{area:.2f}" for area in areas), f"**{np.mean(areas):.3f}**", f"{precision:.2f}"])
    return results.table([f"{results.percent(share)} faulty: area", *WHOLE, "mean", "precision"], rows)


def blocks_table(found: dict[str, Found]) -> str:
    """Areas for blocks of one colour, domain by domain."""
    return by_domain(found, ["block 1/5", "block 1/10"], ("local score", "PaDiM", "PatchCore", FIRST))


def by_domain(found: dict[str, Found], faults: Sequence[str], scores: Sequence[str]) -> str:
    rows = []
    for score in scores:
        areas = [np.mean([one.area for fault in faults for one in of[score, fault, 0.05]]) for of in found.values()]
        rows.append([score, *(f"{area:.2f}" for area in areas)])
    return results.table([f"{', '.join(faults)}: area", *found], rows)


def conclude(reported: dict[str, Found], places: list[list[int]]) -> str:
    """Write the text about the results from the numbers."""
    strong = ("blur 2 px", "blur 4 px", "JPEG 20", "inverted", "another kind")

    def whole(score: str) -> str:
        return f"{np.mean([mean(reported, score, fault, 0.05) for fault in strong]):.3f}"

    blocks = ("block 1/5", "block 1/10")
    local = {
        domain: np.mean([one.area for fault in blocks for one in of["local score", fault, 0.05]])
        for domain, of in reported.items()
    }
    hits = sum(place <= 8 for row in places for place in row)
    return (
        "The first areas are means over five faults: blur of 2 px and of 4 px, JPEG, inverted images, and"
        f" images of another domain. If 5% of a pool is corrupted, the area is {whole(FIRST)} for the outlier score,"
        f" {whole('nearest image')} for the distance to the nearest image, {whole('dna-emd')} for dna-emd and"
        f" {whole('contrast')} for the contrast. For blocks of one colour, the area of the local score is"
        f" {results.span(list(local.values()))}, depending on the domain. It is lowest for"
        f" {min(local, key=local.__getitem__)}. In each of {len(places)} further draws, 6 of 80 crops are corrupted."
        f" {hits} of these {6 * len(places)} crops are among the worst eight of their draw."
    )


def plot(found: dict[str, Found]) -> Figure:
    """Plot areas by fault, a line for each score."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    figure.suptitle("Faults in 5 % of a pool: area under the ROC curve, mean over seven domains")
    axis = figure.subplots()
    shown = {
        FIRST: "dna-emd", "local score": "dna-fd", "contrast": "second", "dna-emd": "other", "nearest image": "fd",
        "PatchCore": "KID",
    }  # fmt: skip
    for score, colour in shown.items():
        faults = WHOLE if score == "contrast" else FAULTS
        areas = [mean(found, score, fault, 0.05) for fault in faults]
        axis.plot(range(len(faults)), areas, marker="o", color=results.COLOURS[colour], label=score)
    axis.axhline(0.5, color="0.6", linewidth=0.8)
    axis.set_xticks(range(len(FAULTS)), [fault.replace(" ", "\n", 1) for fault in FAULTS])
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, ncols=2)
    return figure


def main() -> None:
    arguments = results.parser(__doc__).parse_args()
    folder = results.begin(arguments)
    quick = arguments.quick
    sizes = (12, 8, 6) if quick else (NUM_REFERENCE, NUM_POOL, NUM_FAULTY)
    extractor = DNAExtractor("efficientnet_lite0")
    found: dict[str, dict[str, Found]] = {}
    maps: dict[str, dict[str, dict[str, float]]] = {}
    for part, domains in (("tuned", TUNED), ("reported", REPORTED)):
        names = [name for name in domains if not quick or name in AT_HAND]
        for i, name in enumerate(names):
            pictures = domains[name](sizes[0] + sizes[1])
            num_pool = min(sizes[1], max(4, len(pictures) * 2 // 5))
            others = domains[names[(i + 3) % len(names)]](sizes[0] + sizes[1])[-sizes[1] :]
            num_faulty = min(sizes[2], num_pool)
            found.setdefault(part, {})[name] = measure(pictures, others, extractor, num_pool, num_faulty)
            if part == "reported" and (name in ("digits", "grass", "brick", "faces") or quick):
                maps[name] = maps_of(pictures, extractor, num_pool, 4 if quick else 16)
            print(name, flush=True)
    reported = found["reported"]
    tuned = found.get("tuned", reported)
    places = first_example(extractor, 1 if quick else 5)
    local = ("local score", "PaDiM", "PatchCore", FIRST)
    rivals = (FIRST, "nearest image", "properties", "dna-emd", "contrast", "classifier", "contrast + classifier")
    shown = list(next(iter(maps.values())))
    map_rows = [[score, *(f"{of[score][fault]:.2f}" for of in maps.values() for fault in BLOCKS)] for score in shown]
    results.write(
        folder,
        "outliers",
        here=conclude(reported, places),
        tables=[
            whole_table(reported, 0.05),
            blocks_table(reported),
            whole_table(reported, 0.2),
            f"By domain, whole images:\n\n{by_domain(reported, list(WHOLE)[1:6], rivals)}",
            *(by_domain(reported, [fault], local) for fault in BLOCKS),
            f"Domains on which the scores were chosen:\n\n{whole_table(tuned, 0.05)}",
            by_domain(tuned, ["block 1/5", "block 1/10"], local),
            "Maps, area of the pixels within the block:\n\n"
            + results.table(["map", *(f"{name}, {fault}" for name in maps for fault in BLOCKS)], map_rows),
            f"Ranks of six spoilt crops among 80, by draw: {'; '.join(', '.join(map(str, row)) for row in places)}.",
        ],
        figures={"": plot(reported)},
        seeds=f"0 to {DRAWS - 1}, of which images are faulty; 0 for scores in a pool",
        data=["scikit-image", "scikit-learn"] if quick else [
            data.PHOTOGRAPHS, *data.BACKGROUNDS, *data.EMOJI.values(), data.ICONS, "matplotlib's fonts",
            "scikit-learn's digits", "scikit-image's photographs, textures and faces",
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()
