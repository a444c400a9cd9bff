"""Is what is wrong in one folder named, without a reference, and are clean folders left alone?

    pip install "torchmetrics-dna[demo]" scikit-learn cleanvision
    python docs/experiments/one_folder.py

Six kinds of pictures at their own sizes, none of which chose a limit of :func:`outliers_in_folder`: those were read off
others, where a level of 0.2 named in 6 % of clean folders. Some pictures of a folder of 60 are spoilt, each in another
of thirteen ways, or all in one; in folders of photographs of up to 13 megapixels, one has one of ten faults of a
camera, which are made. Each picture is measured once; a draw takes others. cleanvision, without its checks of size and
duplicates, judges each by itself; if it is not installed, it is left out. ``--activations FOLDER`` keeps the
measurements.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import data
import numpy as np
import odd_pictures
import results
import torch
from PIL import Image, ImageDraw, ImageFilter
from torch import Tensor

from torchmetrics_dna.functional.flagging import IN_GATE, outliers_in_folder
from torchmetrics_dna.images.properties import properties_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    Picture = NDArray[np.uint8]
    Names = dict[int, str]  # the reason of each image that is named

FOLDER, COUNTS, DRAWS, SAME = 60, (0, 1, 3, 8), 40, (2, 3, 6)
POOL, SPOILT = 200, 20  # pictures of a kind; of them in each way
SHOTS, TEXTURES, CHARTS, ICONS, LAND, DRAWINGS = (
    data.Package("apt", name)
    for name in (
        "neverball-data", "colobot-common-textures", "python-sklearn-doc", "elementary-xfce-icon-theme",
        "scorched3d-data", "hedgewars-data",
    )
)  # fmt: skip
RIGHT = odd_pictures.RIGHT | {
    "white": {"all white"},
    "grey": {"saturation -"},
}
SORTS = (*odd_pictures.RIGHT, "white", "inverted", "text", "other kind")
CAMERA = {  # faults, and the reasons that are right, where a property measures them
    "exposed too long": {"bright pixels +", "brightness +"},
    "exposed too short": {"dark pixels +", "brightness -", "all black"},
    "shaken": {"sharpness -"},
    "out of focus": {"sharpness -"},
    "half loaded": set[str](),
    "lens cap": {"all black", "dark pixels +", "brightness -"},
    "finger": set[str](),
    "high sensitivity": {"noise +"},
    "white balance": set[str](),
    "fogged lens": {"contrast -", "sharpness -", "saturation -"},
}
RIGHT |= {sort: reasons for sort, reasons in CAMERA.items() if reasons}
AT_FULL_SIZE, MOST = "photographs at full size", 13_000_000  # pixels
OF_ONE_SORT = ("blur", "noise", "pixels", "JPEG 5", "grey", "dark", "overexposed", "text")


def spoil(picture: Picture, sort: str, random: np.random.Generator) -> Picture:
    if not sort:
        return picture
    if sort in CAMERA:
        return photographed(picture, sort, random)
    if sort == "white":
        return np.full_like(picture, 255)
    if sort == "inverted":
        return 255 - picture
    if sort == "text":
        return written(picture, [f"line {i}: " + "a b c d e f g " * 20 for i in range(200)], "white")
    return odd_pictures.spoil(picture, sort, random)


def photographed(picture: Picture, sort: str, random: np.random.Generator) -> Picture:
    """Give a photograph a fault of a camera or of its file; light is of a gamma of 2.2."""
    height, width = picture.shape[:2]
    if sort == "lens cap":
        return random.normal(3, 2, picture.shape).round().clip(0, 255).astype(np.uint8)
    if sort in ("out of focus", "fogged lens"):
        blur = ImageFilter.GaussianBlur(random.uniform(0.004, 0.01) * min(height, width))
        picture = np.asarray(Image.fromarray(picture).filter(blur))
        if sort == "out of focus":
            return picture
    values = picture.astype(np.float32)
    if sort == "fogged lens":
        values = values * random.uniform(0.25, 0.4) + 140
    elif sort == "high sensitivity":
        values += random.normal(0, random.uniform(25, 40), picture.shape)
    elif sort == "half loaded":
        values[int(height * random.uniform(0.4, 0.7)) :] = 128
    elif sort == "finger":
        rows, columns = np.ogrid[:height, :width]
        distance = np.hypot(rows / height, columns / width) / random.uniform(0.6, 0.8)
        cover = np.clip((1 - distance) * 8, 0, 1)[..., None]
        values += cover * (np.array([150, 80, 60]) - values)
    elif sort == "shaken":
        length, angle = random.uniform(0.01, 0.03) * max(height, width), random.uniform(0, 2 * np.pi)
        steps = np.linspace(-length / 2, length / 2, 17)
        shifts = [(round(step * np.sin(angle)), round(step * np.cos(angle))) for step in steps]
        values = np.mean([np.roll(picture, shift, (0, 1)) for shift in shifts], 0, dtype=np.float32)
    else:
        stops = {"exposed too long": (1.5, 2.5), "exposed too short": (-5, -3), "white balance": (0, 0)}[sort]
        light = (values / 255) ** 2.2 * 2 ** random.uniform(*stops)
        if sort == "white balance":
            light *= [0.5, 0.9, 1.7]
        values = light.clip(0, 1) ** (1 / 2.2) * 255
    return values.round().clip(0, 255).astype(np.uint8)


def written(picture: Picture, lines: Sequence[str], colour: str) -> Picture:
    page = Image.new("RGB", picture.shape[1::-1], colour)
    ImageDraw.Draw(page).multiline_text((8, 8), "\n".join(lines), "black")
    return np.asarray(page)


def pictures_of(name: str) -> list[Picture]:
    """Pictures of a kind, without doubles and those of hardly more than one colour."""
    if name == AT_FULL_SIZE:
        share = (package.folder() / "usr/share" for package in odd_pictures.WALLPAPERS)
        files = sorted(path for folder in share for path in folder.rglob("*.jpg") if not path.is_symlink())
        sizes = {path: prod(Image.open(path).size) for path in [*data.backgrounds(), *files]}
        return odd_pictures.opened([path for path, size in sizes.items() if size <= MOST], np.random.default_rng(0))
    package, pattern, least = {
        "game shots": (SHOTS, "*.jpg", 64),
        "textures": (TEXTURES, "*.png", 64),
        "charts": (CHARTS, "html/_images/*.png", 64),
        "icons": (ICONS, "*/128/*.png", 48),
        "landscapes": (LAND, "*.jpg", 48),
        "drawings": (DRAWINGS, "Themes/*/*.png", 48),
    }[name]
    paths = [path for path in sorted((package.folder() / "usr/share").rglob(pattern)) if not path.is_symlink()]
    pool = odd_pictures.opened([path for path in paths if "thumb" not in path.name], np.random.default_rng(0), least)
    return pool[:POOL]


KINDS = ("game shots", "textures", "charts", "icons", "landscapes", "drawings")


@dataclass
class Kind:
    """Properties of pictures, then of those spoilt in each way; which these are of; what cleanvision finds of each."""

    properties: Tensor
    sorts: list[str]  # of each, empty for those as they are
    origins: NDArray[np.int64]  # the picture that each was
    flagged: NDArray[np.bool_] | None


def measured_kind(folder: Path | None, name: str, quick: bool = False) -> Kind:
    file = None if folder is None else folder / f"one_folder_{name}.pt"
    ways = CAMERA if name == AT_FULL_SIZE else SORTS
    if file is not None and file.exists():
        return Kind(*torch.load(file, weights_only=False))
    random, pool = np.random.default_rng(1), data.at_hand(40) if quick else pictures_of(name)
    others = data.at_hand(20, "digits") if quick or name == "drawings" else pictures_of("drawings")
    count = 2 if quick else SPOILT // (2 if ways is CAMERA else 1)
    sorts, origins, properties = list[str](), list[int](), list[Tensor]()

    def pictures() -> Iterator[Picture]:
        for sort in ("", *ways):
            for i in range(len(pool)) if not sort else random.permutation(len(pool))[:count].tolist():
                made = others[i % len(others)] if sort == "other kind" else spoil(pool[i], sort, random)
                sorts.append(sort)
                origins.append(i)
                properties.append(properties_of(np.ascontiguousarray(made)))
                yield made

    remaining = pictures()
    flagged = odd_pictures.by_cleanvision(remaining)
    deque(remaining, 0)
    kind = Kind(torch.stack(properties), sorts, np.array(origins), flagged)
    print(name, len(pool), "pictures", flush=True)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.save([*vars(kind).values()], file)
    return kind


METHODS: dict[str, Callable[[Tensor], Names]] = {
    "list": lambda properties: {odd.image: odd.reason for odd in outliers_in_folder(properties, level=None)},
    "gate": lambda properties: {odd.image: odd.reason for odd in outliers_in_folder(properties, IN_GATE)},
}


@dataclass
class Drawn:
    """A folder, whose spoilt images come first, and what was named."""

    kind: str
    sorts: list[str]
    rows: list[int]  # of the kind
    named: dict[str, Names]


def draw(name: str, kind: Kind, sorts: Sequence[str], random: np.random.Generator) -> Drawn:
    spoilt: list[int] = []
    for sort in sorts:
        choices = [row for row, of_row in enumerate(kind.sorts) if of_row == sort and row not in spoilt]
        spoilt.append(int(random.choice(choices)))
    clean = [i for i in range(kind.sorts.count("")) if i not in set(kind.origins[spoilt].tolist())]
    size = min(FOLDER, int(0.8 * kind.sorts.count(""))) - len(spoilt)  # of few pictures, not all in each draw
    rows = spoilt + random.permutation(clean)[:size].tolist()
    named = {method: names(kind.properties[rows]) for method, names in METHODS.items()}
    if kind.flagged is not None:
        named["cleanvision"] = dict.fromkeys(np.flatnonzero(kind.flagged[rows]).tolist(), "")
    return Drawn(name, [*sorts], rows, named)


def false_names(folders: Sequence[Drawn], method: str) -> tuple[float, str, int]:
    """Share of folders of a kind with a clean image named, as a mean over kinds; the worst; different images named."""
    shares, different = dict[str, list[bool]](), set[tuple[str, int]]()
    for folder in folders:
        clean = [row for row in folder.named[method] if row >= len(folder.sorts)]
        shares.setdefault(folder.kind, []).append(bool(clean))
        different |= {(folder.kind, folder.rows[row]) for row in clean}
    worst, kind = max((float(np.mean(of_kind)), kind) for kind, of_kind in shares.items())
    return float(np.mean([np.mean(of_kind) for of_kind in shares.values()])), f"{kind} {worst:.2f}", len(different)


def found(folders: Sequence[Drawn], method: str, sort: str | None = None) -> tuple[float, float]:
    """Share of spoilt images named; and of those with a right reason, of sorts that have one."""
    pairs = [(folder, i) for folder in folders for i, each in enumerate(folder.sorts) if sort in (None, each)]
    reasons = [(folder.sorts[i], folder.named[method].get(i)) for folder, i in pairs]
    right = [reason in RIGHT[each] for each, reason in reasons if reason is not None and each in RIGHT]
    return float(np.mean([reason is not None for _, reason in reasons])), float(np.mean(right)) if right else np.nan


def figure(values: Sequence[float], form: str = ".2f") -> str:
    return " / ".join("-" if np.isnan(value) else format(value, form) for value in values)


def main() -> None:
    parser = results.parser(__doc__)
    parser.add_argument("--activations", type=Path, help="folder that keeps what was measured")
    arguments = parser.parse_args()
    folder, quick = results.begin(arguments), arguments.quick
    draws, names = (2, ("at hand",)) if quick else (DRAWS, KINDS)
    by_count: dict[int, list[Drawn]] = {count: [] for count in COUNTS}
    alike: dict[int, list[Drawn]] = {count: [] for count in SAME if not quick or count <= 2}
    for k, name in enumerate(names):
        kind = measured_kind(arguments.activations, name, quick)
        for count, folders in by_count.items():
            random = np.random.default_rng([k, count])
            for _ in range(draws * (3 if count == 1 else 1)):
                folders.append(draw(name, kind, random.permutation(SORTS)[:count].tolist(), random))
        for count, folders in alike.items():
            random = np.random.default_rng([k, count, 1])
            folders += [draw(name, kind, [OF_ONE_SORT[i % 8]] * count, random) for i in range(draws)]
        print(name, flush=True)
    methods = [*METHODS, *["cleanvision"] * ("cleanvision" in by_count[0][0].named)]
    clean = {method: false_names(by_count[0], method) for method in methods}
    table = [
        [
            method,
            f"{clean[method][0]:.3f}, {clean[method][1]}",
            clean[method][2],
            figure([found(by_count[count], method)[0] for count in COUNTS[1:]]),
            "-" if method == "cleanvision" else figure([found(by_count[count], method)[1] for count in COUNTS[1:]]),
            figure([found(folders, method)[0] for folders in alike.values()]),
        ]
        for method in methods
    ]
    header = ["", "clean folders with a name, the worst kind", "different ones", "of 1 / 3 / 8 spoilt, named"]
    tables = [results.table([*header, "reason right", f"of {' / '.join(map(str, alike))} of one sort"], table)]
    sorts = [
        [sort, *(f"{found(by_count[1], method, sort)[0]:.2f}" for method in methods)]
        for sort in SORTS
        if any(sort in each.sorts for each in by_count[1])
    ]
    tables.append(results.table(["one, spoilt by", *methods], sorts))
    if not quick:
        kind, random = measured_kind(arguments.activations, AT_FULL_SIZE), np.random.default_rng(len(names))
        without = [draw(AT_FULL_SIZE, kind, [], random) for _ in range(draws)]
        faulty = {sort: [draw(AT_FULL_SIZE, kind, [sort], random) for _ in range(draws // 2)] for sort in CAMERA}
        rows = [["none: folders with a name", *(f"{false_names(without, method)[0]:.2f}" for method in methods)]]
        for sort, folders in faulty.items():
            rows.append([sort, *(figure(found(folders, method)) for method in methods)])
        header = [f"one of {len(without[0].rows)} photographs: named / reason right", *methods]
        tables.append(results.table(header, rows))
    for_kind: list[list[str]] = []
    for name in names:
        of_kind = [[each for each in by_count[count] if each.kind == name] for count in (0, 1, 8)]
        shares = [
            [false_names(of_kind[0], method)[0], *(found(part, method)[0] for part in of_kind[1:])]
            for method in methods
        ]
        for_kind.append([name, *map(figure, shares)])
    tables.append(results.table(["kind: clean folders / of 1 / of 8", *methods], for_kind))
    named = [found(by_count[count], "list")[0] for count in COUNTS[1:]]
    here = (
        f"In {len(names)} domains, the table flags an image in {clean['list'][0]:.1%} of clean folders. The check"
        f" `--fail-if-outliers` fails for {clean['gate'][0]:.1%} of them. If one, three or eight images of a folder are"
        f" corrupted, {results.percents(named)} of them are flagged."
    )
    if "cleanvision" in methods:
        theirs = [found(by_count[count], "cleanvision")[0] for count in COUNTS[1:]]
        share = results.percent(clean["cleanvision"][0])
        here += (
            f" cleanvision flags {results.percents(theirs)} of the corrupted images, and it flags an image in {share}"
            " of clean folders."
        )
    results.write(
        folder,
        "one_folder",
        here=here,
        tables=tables,
        seeds="1 of what is spoilt, and the kind and number of each draw",
        data=["pictures of scikit-image and scikit-learn"]
        if quick
        else [SHOTS, TEXTURES, CHARTS, ICONS, LAND, DRAWINGS],
    )


if __name__ == "__main__":
    main()
