"""Are odd pictures of an album named, and with the right reason?

    pip install "torchmetrics-dna[demo]" scikit-learn cleanvision
    python docs/experiments/odd_pictures.py

Kinds at full and unequal sizes. By six of them, nebulae, screenshots, cards, clip art, pieces of a game and crops of
wallpapers, two properties were given up; four chose nothing: charts, renders of buildings, emoji, crops of photographs.
Some pictures of an album are spoilt, each in another of ten ways. Each picture is measured once; a draw takes other
pictures for the reference and the album, and asks what :func:`rank` asks, and what it asked before: the test of outlier
scores alone, which named as many as it told. Without cleanvision, that is left out. ``--activations FOLDER`` keeps the
measurements.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import data
import numpy as np
import results
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from torchmetrics_dna import DNAExtractor
from torchmetrics_dna.comparisons.outliers import Outliers, find_outliers
from torchmetrics_dna.functional import outlier_test
from torchmetrics_dna.functional.outliers import (
    gaussians_of_means,
    layers_for_outliers,
    left_out_scores,
    outlier_scores,
    split_means,
)
from torchmetrics_dna.images import Reading, open_source
from torchmetrics_dna.images.properties import LAYER, property_note
from torchmetrics_dna.jobs.job import Job
from torchmetrics_dna.jobs.measure import Measured, measure
from torchmetrics_dna.statistics.rows import SpatialMeans

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from torchmetrics_dna.neurons import Neurons

    Picture = NDArray[np.uint8]

GAVE_UP, NEW = "six", "new"  # groups of kinds
POOL, SPOILT, DRAWS = 280, 20, 40  # pictures of a kind; of them in each way; draws of each number of spoilt ones
ALBUM, REFERENCE = (40, 81), (40, 201)  # images, of which a draw takes a number
NEBULAE, SCREENSHOTS, CARDS = (
    data.Package("apt", name) for name in ("stellarium-data", "gimp-help-en", "pysolfc-cardsets")
)
WALLPAPERS = tuple(
    data.Package("apt", name) for name in ("ukui-wallpapers", "phosh-wallpapers", "lomiri-wallpapers-16.04")
)
CHARTS, BUILDINGS = (data.Package("apt", name) for name in ("python-matplotlib-doc", "lincity-ng-data"))
ISSUES = ("dark", "light", "blurry", "low_information", "grayscale")  # those that a single picture has
RIGHT = {
    "black": {"all black"},
    "one colour": {"one colour", "all black", "all white"},
    "blur": {"sharpness -"},
    "noise": {"noise +", "colours +"},
    "pixels": {"pixelation +"},
    "JPEG 5": {"blockiness +"},
    "grey": {"no colour", "saturation -"},
    "overexposed": {"bright pixels +", "brightness +"},
    "dark": {"dark pixels +", "brightness -"},
}
SORTS = (*RIGHT, "other kind")


def spoil(picture: Picture, sort: str, random: np.random.Generator) -> Picture:
    """Spoil a picture; lengths grow with pictures above 128 pixels."""
    height, width = picture.shape[:2]
    scale, values = max(1.0, min(height, width) / 128), picture.astype(float)
    if sort == "black":
        return np.zeros_like(picture)
    if sort == "one colour":
        return np.broadcast_to(random.integers(0, 256, 3), picture.shape).astype(np.uint8)
    if sort == "blur":
        blur = ImageFilter.GaussianBlur(random.uniform(2, 4) * scale)
        return np.asarray(Image.fromarray(picture).filter(blur))
    if sort == "noise":
        values += random.normal(0, random.uniform(25, 50), picture.shape)
    if sort == "pixels":
        size = random.uniform(5, 10) * scale
        small = Image.fromarray(picture).resize((max(1, round(width / size)), max(1, round(height / size))))
        return np.asarray(small.resize((width, height), Image.Resampling.NEAREST))
    if sort == "JPEG 5":
        file = BytesIO()
        Image.fromarray(picture).save(file, "JPEG", quality=5)
        return np.asarray(Image.open(file))
    if sort == "grey":
        values[:] = values @ np.array([[0.299], [0.587], [0.114]])
    if sort == "overexposed":
        values = values * random.uniform(1.7, 2.3) + 50
    if sort == "dark":
        values *= random.uniform(0.08, 0.16)
    return values.round().clip(0, 255).astype(np.uint8)


def opened(paths: Sequence[Path], random: np.random.Generator, least: int = 48) -> list[Picture]:
    """Pictures drawn from files, on white, without small ones, doubles and those of hardly more than one colour."""
    kept: dict[bytes, Picture] = {}
    for number in random.permutation(len(paths)).tolist():
        with Image.open(paths[number]) as file:
            rgba = file.convert("RGBA")
        pixels = np.asarray(Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB"))
        if min(pixels.shape[:2]) >= least and pixels.mean(2).std() > 4:
            kept.setdefault(pixels.tobytes(), pixels)
        if len(kept) == POOL:
            break
    return list(kept.values())


def crops(paths: Sequence[Path], random: np.random.Generator) -> list[Picture]:
    """Crops of 300 to 1,000 pixels a side."""
    found = []
    for path in paths:
        with Image.open(path) as file:
            picture = np.asarray(file.convert("RGB"))
        for _ in range(-(-POOL // len(paths))):
            height, width = (int(random.integers(300, min(1001, extent + 1))) for extent in picture.shape[:2])
            top, left = (
                int(random.integers(extent - size + 1))
                for extent, size in zip(picture.shape[:2], (height, width), strict=True)
            )
            crop = picture[top : top + height, left : left + width]
            if crop.mean(2).std() > 4:
                found.append(crop.copy())
    return [found[i] for i in random.permutation(len(found))[:POOL]]


def pictures_of(group: str) -> dict[str, list[Picture]]:
    random = np.random.default_rng(0)
    if group == "quick":
        tiles = [tile for picture in data.at_hand(40) for tile in (picture, picture[::-1, ::-1].copy())]
        return {"photographs": tiles, "digits": data.at_hand(80, "digits")}
    if group == NEW:
        return {
            "charts": opened(sorted((CHARTS.folder() / "usr/share").rglob("html/_images/*.png")), random, 64),
            "buildings": opened(sorted((BUILDINGS.folder() / "usr/share").rglob("images/tiles/*.png")), random),
            "emoji": opened(data.drawn_by("fluent")[0], random),
            "photographs": crops(data.backgrounds(), random),
        }
    share = "usr/share"
    of_nebulae = NEBULAE.folder() / share / "stellarium/nebulae/default"
    screens = SCREENSHOTS.folder() / share / "gimp/3.0/help/en/images"
    games = CARDS.folder() / share / "games/pysolfc"
    files = [path for package in WALLPAPERS for path in (package.folder() / share).rglob("*.*")]
    photographs = [path for path in sorted(files) if path.suffix in (".jpg", ".png") and not path.is_symlink()]
    return {
        "nebulae": opened(sorted(of_nebulae.glob("*.png")), random),
        "screenshots": opened(sorted(screens.rglob("*.png")), random, 64),
        "cards": opened(sorted(games.rglob("*.gif")), random, 56),
        "clip art": opened(data.drawings(), random, 64),
        "game art": opened(data.game_art(), random, 32),
        "wallpapers": crops(photographs, random),
    }


@dataclass
class Kind:
    """Measurements of a kind: of the pictures, then of those spoilt in each way, and which these are of."""

    means: Tensor
    properties: Tensor
    flagged: NDArray[np.bool_] | None  # by cleanvision
    origins: NDArray[np.int64]  # (ways, spoilt)

    @property
    def count(self) -> int:
        return len(self.means) - self.origins.size

    def measured(self, rows: Sequence[int]) -> Measured:
        numbers = list(range(len(rows)))
        return Measured(
            {}, [], numbers, [*map(str, numbers)], {"means": self.means[rows], LAYER: self.properties[rows]}
        )


def measured_kinds(folder: Path | None, extractor: DNAExtractor, neurons: Neurons, group: str) -> dict[str, Kind]:
    """Measure all pictures of a group of kinds, or read what was measured."""
    file = None if folder is None else folder / f"odd_pictures_{group}.pt"
    if file is not None and file.exists():
        return {name: Kind(*values) for name, values in torch.load(file, weights_only=False).items()}
    kinds, pools = {}, pictures_of(group)
    for name, other in zip(pools, [*pools][1:] + [*pools][:1], strict=True):
        random, pool = np.random.default_rng(1), pools[name]
        pictures, origins = list(pool), []
        for sort in SORTS:
            origins.append(random.permutation(len(pool))[: 3 if group == "quick" else SPOILT])
            for i in origins[-1].tolist():
                foreign = pools[other][i % len(pools[other])]
                pictures.append(foreign if sort == "other kind" else spoil(pool[i], sort, random))
        statistics = {"means": SpatialMeans(neurons, [*neurons])}
        job = Job(extractor, statistics, Reading(num_workers=0), notes=[property_note])
        rows = measure(job, open_source(pictures)).rows
        kinds[name] = Kind(rows["means"], rows[LAYER], by_cleanvision(pictures), np.array(origins))
        print(name, len(pool), "pictures", flush=True)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.save({name: list(vars(kind).values()) for name, kind in kinds.items()}, file)
    return kinds


def by_cleanvision(pictures: Iterable[Picture]) -> NDArray[np.bool_] | None:
    """Which pictures cleanvision finds an issue of."""
    if find_spec("cleanvision") is None:
        return None
    from cleanvision import Imagelab

    with TemporaryDirectory() as folder:
        for i, picture in enumerate(pictures):
            Image.fromarray(picture).save(f"{folder}/{i:05}.png", compress_level=1)
        lab = Imagelab(data_path=folder)
        lab.find_issues({issue: {} for issue in ISSUES}, n_jobs=1, verbose=False)
        issues = lab.issues.sort_index()
    return issues[[f"is_{issue}_issue" for issue in ISSUES]].to_numpy().any(1)


@dataclass
class Album:
    """What was named in an album."""

    kind: str
    sorts: Sequence[str]  # of its spoilt images, the first ones
    named: dict[str, set[int]]  # rows, by method
    reasons: dict[int, str]  # of the package, by row
    clean: int


def odd_of(reference: Measured, album: Measured, neurons: Neurons) -> Outliers:
    odd = find_outliers(reference, album, album, neurons=neurons, rows=None)  # type: ignore[arg-type]  # of names it takes its own
    assert odd is not None
    return odd


def before(reference: Measured, album: Measured, neurons: Neurons) -> set[int]:
    """Return what the test of outlier scores alone named."""
    of_reference, of_album = (split_means(side.rows["means"], neurons) for side in (reference, album))
    scores = outlier_scores(of_album, gaussians_of_means(of_reference))
    few = outlier_test(scores, left_out_scores(of_reference))
    about = max(1, round(few.share * len(scores))) if few.p_value <= 0.05 else 0
    return set(scores.argsort(descending=True)[:about].tolist())


def draw(name: str, kind: Kind, num_spoilt: int, neurons: Neurons, random: np.random.Generator) -> Album:
    """Draw a reference and an album, and ask all methods."""
    ways = random.permutation(len(SORTS))[:num_spoilt].tolist()
    chosen = [int(random.integers(kind.origins.shape[1])) for _ in ways]
    spoilt = [kind.count + way * kind.origins.shape[1] + i for way, i in zip(ways, chosen, strict=True)]
    out = {int(kind.origins[way, i]) for way, i in zip(ways, chosen, strict=True)}
    left = [i for i in random.permutation(kind.count).tolist() if i not in out]
    size = min(int(random.integers(*ALBUM)), len(left) - ALBUM[0])
    rows = spoilt + left[: size - num_spoilt]
    of_reference = left[size - num_spoilt :][: int(random.integers(*REFERENCE))]
    reference, album = kind.measured(of_reference), kind.measured(rows)
    odd = odd_of(reference, album, neurons)
    single = {odd.numbers[each.image] for each in odd.single}
    named = {
        "before": before(reference, album, neurons),
        "properties": single,
        "now": {odd.numbers[each.image] for each in odd.named},
    }
    if kind.flagged is not None:
        named["cleanvision"] = set(np.flatnonzero(kind.flagged[rows]).tolist())
    reasons = {odd.numbers[each.image]: each.reason for each in odd.named}
    return Album(name, [SORTS[way] for way in ways], named, reasons, len(rows) - num_spoilt)


def figures(albums: Sequence[Album], method: str) -> tuple[float, float, float]:
    """Share of spoilt images named, other images named in an album, and share of albums with one."""
    total = sum(len(album.sorts) for album in albums)
    right = sum(row < len(album.sorts) for album in albums for row in album.named[method])
    wrong = [sum(row >= len(album.sorts) for row in album.named[method]) for album in albums]
    return right / max(total, 1), float(np.mean(wrong)), float(np.mean(np.array(wrong) > 0))


def by_number(albums: Sequence[Album], methods: Sequence[str]) -> str:
    """Table of what is named, by the number of spoilt images."""
    rows = []
    for count in sorted({len(album.sorts) for album in albums}):
        chosen = [album for album in albums if len(album.sorts) == count]
        cells = []
        for method in methods:
            share, wrong, any_wrong = figures(chosen, method)
            worst = max(
                (figures([a for a in chosen if a.kind == kind], method)[2], kind) for kind in {a.kind for a in chosen}
            )
            cells.append(f"{share:.2f} / {wrong:.2f}" if count else f"{any_wrong:.2f}, {worst[1]} {worst[0]:.2f}")
        rows.append([count or "0: albums with a name, the worst kind", *cells, len(chosen)])
    return results.table(["spoilt", *methods, "albums"], rows)


def by_kind(albums: Sequence[Album]) -> str:
    """Table of each kind: false names of clean albums, and what is found of one, three and eight."""
    rows = []
    for kind in dict.fromkeys(album.kind for album in albums):
        of_kind = [album for album in albums if album.kind == kind]
        clean, spoilt = ([a for a in of_kind if bool(a.sorts) == with_any] for with_any in (False, True))
        shares = [f"{figures(clean, method)[2]:.2f}" for method in ("before", "properties", "now")]
        found = [f"{figures(spoilt, method)[0]:.2f}" for method in ("before", "properties", "now")]
        rows.append([kind, *shares, *found])
    header = ["kind", "clean albums with a name: before", "by properties", "now"]
    return results.table([*header, "spoilt named: before", "by properties", "now"], rows)


def by_sort(albums: Sequence[Album], methods: Sequence[str]) -> tuple[str, dict[str, float]]:
    """Table of each way of spoiling: share named, and share of reasons that are right."""
    rows, right = [], dict[str, float]()
    for sort in SORTS:
        places = [(album, album.sorts.index(sort)) for album in albums if sort in album.sorts]
        if not places:
            continue
        shares = [np.mean([place in album.named[method] for album, place in places]) for method in methods]
        told = [album.reasons[place] for album, place in places if place in album.reasons]
        right[sort] = float(np.mean([reason in RIGHT.get(sort, {reason}) for reason in told])) if told else 0.0
        reason = f"{right[sort]:.2f}" if sort in RIGHT else "-"
        rows.append([sort, *(f"{share:.2f}" for share in shares), reason, len(places)])
    return results.table(["spoilt by", *methods, "reason right", "images"], rows), right


def in_words(albums: Sequence[Album], num_kinds: int) -> str:
    """What is named in the clean albums of a group, and of one, three and eight spoilt images in others."""
    clean, *spoilt = ([album for album in albums if len(album.sorts) == count] for count in (0, 1, 3, 8))
    now, before = ([figures(part, method) for part in spoilt] for method in ("now", "before"))
    return (
        f"In {num_kinds} domains, an image is flagged in {results.percent(figures(clean, 'now')[2])} of clean albums."
        " If one, three or eight images of an album are corrupted,"
        f" {results.percents([share for share, _, _ in now])} of them are flagged (by the test of outlier scores alone:"
        f" {results.percents([share for share, _, _ in before])})."
    )


def main() -> None:
    parser = results.parser(__doc__)
    parser.add_argument("--activations", type=Path, help="folder that keeps what was measured")
    arguments = parser.parse_args()
    folder, quick = results.begin(arguments), arguments.quick
    extractor = DNAExtractor("efficientnet_lite0")
    neurons = extractor.neurons.take(extractor.neurons.positions(layers_for_outliers(extractor.neurons)))
    albums, flagged, k = dict[str, list[Album]](), True, 0
    for group in ["quick"] if quick else [GAVE_UP, NEW]:
        albums[group] = []
        for name, kind in measured_kinds(arguments.activations, extractor, neurons, group).items():
            flagged &= kind.flagged is not None
            for count in (0, 1, 3, 8):
                random = np.random.default_rng([k, count])
                albums[group] += [draw(name, kind, count, neurons, random) for _ in range(2 if quick else DRAWS)]
            k += 1
            print(name, flush=True)
    groups = [*albums][::-1]  # those that chose nothing first
    methods = ["before", "properties", "now", *["cleanvision"] * flagged]
    every = [album for group in groups for album in albums[group]]
    of_sorts, right = by_sort(every, methods)
    tables = [*(by_number(albums[group], methods) for group in groups), of_sorts, by_kind(every)]
    here = " ".join(in_words(albums[group], len({album.kind for album in albums[group]})) for group in groups)
    told = [reason in RIGHT[sort] for album in every for row, sort in enumerate(album.sorts)
            if sort in RIGHT and (reason := album.reasons.get(row)) is not None]  # fmt: skip
    here += (
        f" The reported reason is right for {results.percent(float(np.mean(told)))} of the flagged images. It is right"
        f" least often for the fault {min((right[sort], sort) for sort in RIGHT if sort in right)[1]}."
    )
    results.write(
        folder,
        "odd_pictures",
        here=here,
        tables=tables,
        seeds="0 of the pictures, 1 of what is spoilt, and the kind and number of each draw",
        data=["pictures of scikit-image and scikit-learn"] if quick else [CHARTS, BUILDINGS, data.FLUENT,
              *data.BACKGROUNDS, NEBULAE, SCREENSHOTS, CARDS, data.DRAWINGS, data.GAME_ART, *WALLPAPERS],
    )  # fmt: skip


if __name__ == "__main__":
    main()
