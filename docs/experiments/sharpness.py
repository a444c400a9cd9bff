"""Does `sharpness` fall with blur, and from which value is a picture blurred?

    pip install "torchmetrics-dna[demo]" scikit-learn
    python docs/experiments/sharpness.py

Ten sorts of pictures, up to 100 of each. Four sorts choose the dead zone and both limits: crops of wallpapers,
screenshots, playing cards and game art. Six others report: game shots, textures, icons, landscapes, renders of
buildings and crops of photographs. Each sort is taken in its colours and in grey, because the channels of a grey
picture are rounded alike, so that rounding leaves larger steps. Each picture is blurred by a Gaussian of 1, 2, 4, 8 and
16 px.

The dead zone is the smallest with which the median sharpness of no sort rises from one blur to the next. The limit of
what is plainly blurred is the largest hundredth below which at most 5 % of the sharp pictures of the four sorts lie,
and the limit of what may be blurred is 0.02 above it. The shift of the logarithm was chosen with all sorts in view:
half of it finds a little more, and flags more sharp pictures of the six sorts. A picture with more than 95 % of flat
areas has hardly an edge, so that it is never below a limit, as in the package.

Whether a picture is flagged depends on the others, too. So 60 folders are drawn of each sort, with one blurred picture
among 59 sharp ones, and 60 albums of 40 pictures beside a reference of 99. The rule of ``outliers_in_folder`` and of
``outliers_by_properties`` is written here once more, for sharpness alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import data
import numpy as np
import odd_pictures
import one_folder
import results
from PIL import Image, ImageFilter
from sklearn.metrics import roc_auc_score

from torchmetrics_dna.images.properties import DEAD_ZONE, FAULTS, PROPERTIES, WINDOW, properties_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Picture = NDArray[np.uint8]
    Table = dict[str, NDArray[np.float64]]  # by sort of picture: sharpness, (pictures, blurs, dead zones)

MOST = 100  # pictures of a sort
BLURS = (0, 1, 2, 4, 8, 16)  # pixels
DEAD_ZONES = (0, 1, 2, 3)  # grey levels
CHOSEN = DEAD_ZONES.index(DEAD_ZONE // 1000)
LIMITS = [round(0.01 * step, 2) for step in range(1, 15)]
OLD_LIMITS = {"plain": 0.11, "maybe": 0.14}  # of version 2 of the definitions, without a dead zone
WRONG = 0.05  # share of the sharp pictures that may lie below the plain limit
DRAWS, FOLDER, ALBUM = 60, 60, 40
DIRECTIONS = 10  # of properties in which a picture can be flagged
LEAST = 0.05  # distance from the others that counts
#: Dead zone, shift of the logarithm, and both limits: version 2, what is tried, and the package's own.
TRIED = (
    (0, 0.02, 0.11, 0.14),
    *((1, shift, *limits) for shift in (0.01, 0.02) for limits in ((0.07, 0.10), (0.09, 0.10), (0.10, 0.12))),
    *((2, shift, *limits) for shift in (0.005, 0.01, 0.02) for limits in ((0.03, 0.05), (0.05, 0.07), (0.07, 0.09))),
)
FLAT = 0.95
MARGIN = 64  # pixels around the measured window, from which blur reaches into it


def choosing(random: np.random.Generator) -> dict[str, list[Picture]]:
    """Return pictures of the four sorts that choose."""
    share = "usr/share"
    screens = odd_pictures.SCREENSHOTS.folder() / share / "gimp/3.0/help/en/images"
    games = odd_pictures.CARDS.folder() / share / "games/pysolfc"
    files = [path for package in odd_pictures.WALLPAPERS for path in (package.folder() / share).rglob("*.*")]
    wallpapers = [path for path in sorted(files) if path.suffix in (".jpg", ".png") and not path.is_symlink()]
    return {
        "wallpapers": odd_pictures.crops(wallpapers, random),
        "screenshots": odd_pictures.opened(sorted(screens.rglob("*.png")), random, 64),
        "cards": odd_pictures.opened(sorted(games.rglob("*.gif")), random, 56),
        "game art": odd_pictures.opened(data.game_art(), random, 48),
    }


def reporting(random: np.random.Generator) -> dict[str, list[Picture]]:
    """Return pictures of the six sorts that report."""
    buildings = odd_pictures.BUILDINGS.folder() / "usr/share"
    return {
        **{name: one_folder.pictures_of(name) for name in ("game shots", "textures", "icons", "landscapes")},
        "buildings": odd_pictures.opened(sorted(buildings.rglob("images/tiles/*.png")), random),
        "photographs": odd_pictures.crops(data.backgrounds(), random),
    }


def middle(picture: Picture) -> Picture:
    """Return the part of a picture that its sharpness and its blur depend on."""
    most = WINDOW + 2 * MARGIN
    top, left = (max(0, (size - most) // 2) for size in picture.shape[:2])
    return np.ascontiguousarray(picture[top : top + most, left : left + most])


def in_grey(picture: Picture) -> Picture:
    grey = (picture @ [0.299, 0.587, 0.114]).round().astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def blurred(picture: Picture, pixels: float) -> Picture:
    if not pixels:
        return picture
    return np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(pixels)))


def sharpness(picture: Picture, dead_zone: float) -> float:
    """Return the mean Laplacian beyond a dead zone over the mean step between neighbours, of the middle."""
    top, left = (max(0, (size - WINDOW) // 16 * 8) for size in picture.shape[:2])
    window = picture[top : top + WINDOW, left : left + WINDOW].astype(float)
    grey = window @ [0.299, 0.587, 0.114]
    step = np.abs(np.diff(grey, axis=1)).mean() + np.abs(np.diff(grey, axis=0)).mean()
    across = grey[1:-1, 2:] - 2 * grey[1:-1, 1:-1] + grey[1:-1, :-2]
    down = grey[2:, 1:-1] - 2 * grey[1:-1, 1:-1] + grey[:-2, 1:-1]
    beyond = np.maximum(np.abs(across + down) - dead_zone, 0)
    return float(beyond.mean() / max(4 * step, 0.001))


def measured(pictures: Sequence[Picture]) -> NDArray[np.float64]:
    """Return the sharpness of pictures with an edge after each blur by each dead zone; NaN if nearly all is flat."""
    values = np.full((len(pictures), len(BLURS), len(DEAD_ZONES)), np.nan)
    for number, picture in enumerate(pictures):
        for column, pixels in enumerate(BLURS):
            changed = blurred(picture, pixels)
            properties = dict(zip(PROPERTIES, properties_of(np.array(changed)).tolist(), strict=True))
            if properties["flat areas"] > FLAT:
                continue
            values[number, column] = [sharpness(changed, zone) for zone in DEAD_ZONES]
            assert abs(values[number, column, CHOSEN] - properties["sharpness"]) < 1e-5
    return values


def shares_below(values: NDArray[np.float64], limit: float, zone: int) -> NDArray[np.float64]:
    """Return the share of pictures of a sort below a limit after each blur; flat pictures are never below."""
    return np.mean(values[:, :, zone] <= limit, axis=0)


def mean_below(table: Table, limit: float, zone: int) -> NDArray[np.float64]:
    """Return the mean of these shares over sorts."""
    return np.mean([shares_below(values, limit, zone) for values in table.values()], axis=0)


def plain_limit(table: Table, zone: int) -> float:
    """Return the largest limit below which hardly any sharp picture lies."""
    few = [limit for limit in LIMITS if mean_below(table, limit, zone)[0] <= WRONG]
    return max(few, default=np.nan)


def areas(values: NDArray[np.float64], zone: int) -> list[float]:
    """Return the area under the ROC curve that separates sharp pictures of a sort from those of each blur."""
    sharp = values[:, 0, zone]
    sharp = sharp[~np.isnan(sharp)]
    found = []
    for column in range(1, len(BLURS)):
        soft = values[:, column, zone]
        soft = soft[~np.isnan(soft)]
        is_sharp = np.r_[np.ones(len(sharp)), np.zeros(len(soft))]
        found.append(float(roc_auc_score(is_sharp, np.r_[sharp, soft])))
    return found


def is_flagged(value: float, others: NDArray[np.float64], in_folder: bool, tried: tuple[float, ...]) -> bool:
    """Return whether a picture is flagged as blurred beside others, by the package's rule for one property."""
    _, shift, plain, maybe = tried
    ordered = np.sort(-np.log(others + shift))[::-1]
    blur = -np.log(value + shift)
    tail = max(5, round(len(ordered) / 20))
    excess = max(float((ordered[:tail] - ordered[tail]).mean()), LEAST / 3)
    p = tail / len(ordered) * (1 + max(0.0, blur - ordered[tail]) / (tail * excess)) ** -tail
    gap = (blur - ordered[0]) / max(ordered[0] - float(np.median(ordered)), LEAST)
    chance = p * (FOLDER if in_folder else ALBUM) * DIRECTIONS
    levels = (0.2, 0.02) if in_folder else (0.05, 0.005)
    is_plain = value <= plain and gap > 1 and chance <= levels[0]
    return is_plain or (value <= maybe and gap > 1.5 and chance <= levels[1])


def flagged(values: NDArray[np.float64], in_folder: bool, tried: tuple[float, ...]) -> NDArray[np.float64]:
    """Return the shares of draws in which the picture is flagged: first the least sharp clean one, then each blur."""
    random, zone = np.random.default_rng(0), DEAD_ZONES.index(int(tried[0]))
    counts = np.zeros(len(BLURS))
    for _ in range(DRAWS):
        order = random.permutation(len(values))
        rest = values[order[1 : FOLDER if in_folder else None], 0, zone]
        median = np.nanmedian(rest)
        rest = np.sort(np.where(np.isnan(rest), median, rest))
        counts[0] += is_flagged(rest[0], rest[1:], in_folder, tried)
        for column in range(1, len(BLURS)):
            value = values[order[0], column, zone]
            counts[column] += is_flagged(median if np.isnan(value) else value, rest, in_folder, tried)
    return counts / DRAWS


def by_rule(table: Table, tries: Sequence[tuple[float, ...]], title: str) -> str:
    """Return the table of what the whole rule flags with each dead zone, shift and limits, a mean over sorts."""
    rows = []
    for tried in tries:
        for where in ("folder", "beside a reference"):
            shares = np.array([flagged(values, where == "folder", tried) for values in table.values()])
            clean = f"{shares[:, 0].mean():.3f}, {shares[:, 0].max():.2f}"
            rows.append([*tried, where, clean, *figures(shares[:, 1:].mean(axis=0)), f"{shares[:, 1:].mean():.3f}"])
    header = [title, "shift", "plain", "maybe", "", "clean ones, the worst sort"]
    return results.table([*header, *(f"{pixels} px" for pixels in BLURS[1:]), "mean"], rows)


def by_zone(table: Table) -> str:
    """Return the table of how well each dead zone separates sharp from blurred pictures, and of its limits."""
    rows = []
    for zone, levels in enumerate(DEAD_ZONES):
        by_blur = np.mean([areas(values, zone) for values in table.values()], axis=0)
        rise = largest_rise(table, zone)
        rows.append(
            [levels, f"{rise:.3f}", *figures(by_blur, ".3f"), f"{by_blur.mean():.4f}", plain_limit(table, zone)]
        )
    header = ["dead zone in grey levels, sorts that choose", "largest rise", *(f"{pixels} px" for pixels in BLURS[1:])]
    header += ["mean area", "limit with 5 % of the sharp ones"]
    return results.table(header, rows)


def figures(values: Sequence[float] | NDArray[np.float64], form: str = ".2f") -> list[str]:
    return [format(value, form) for value in values]


def medians(table: Table) -> str:
    """Return the table of the median sharpness after each blur."""
    rows = []
    for name, values in table.items():
        for zone in (0, CHOSEN):
            by_blur = np.nanmedian(values[:, :, zone], axis=0)
            rows.append([name, f"{DEAD_ZONES[zone]} grey levels", *figures(by_blur, ".3f")])
    return results.table(["median sharpness", "dead zone", *(f"{pixels} px" for pixels in BLURS)], rows)


def by_limit(table: Table, title: str) -> str:
    """Return the table of the share of pictures below each limit by each dead zone, its mean over sorts."""
    rows = [["0 grey levels", limit, *figures(mean_below(table, limit, 0))] for limit in OLD_LIMITS.values()]
    for zone in range(1, len(DEAD_ZONES)):
        rows += [
            [f"{DEAD_ZONES[zone]} grey levels", limit, *figures(mean_below(table, limit, zone))] for limit in LIMITS
        ]
    return results.table([title, "limit", *(f"{pixels} px" for pixels in BLURS)], rows)


def by_sort(table: Table, limits: dict[str, float]) -> str:
    """Return the table of the share of pictures below the old and the new limits, by sort."""
    rows = []
    for name, values in table.items():
        for which, limit in limits.items():
            old = shares_below(values, OLD_LIMITS[which], 0)
            new = shares_below(values, limit, CHOSEN)
            pairs = zip(figures(old), figures(new), strict=True)
            rows.append([name, which, *(f"{before} → {now}" for before, now in pairs)])
    header = ["share below the limit, before → now", "limit", *(f"{pixels} px" for pixels in BLURS)]
    return results.table(header, rows)


def largest_rise(table: Table, zone: int) -> float:
    """Return the largest rise of the median sharpness of a sort from one blur to the next; 0 if it always falls."""
    steps = [np.diff(np.nanmedian(values[:, :, zone], axis=0)).max() for values in table.values()]
    return max(0.0, float(max(steps)))


def main() -> None:
    arguments = results.parser(__doc__).parse_args()
    folder = results.begin(arguments)
    if arguments.quick:
        groups = [{"photographs": data.at_hand(20)}, {"photographs": data.at_hand(40)[20:]}]
    else:
        groups = [choosing(np.random.default_rng(0)), reporting(np.random.default_rng(1))]
    tables: list[Table] = []
    for group in groups:
        table: Table = {}
        for name, pictures in group.items():
            parts = [middle(picture) for picture in pictures[:MOST]]
            table[name] = measured(parts)
            table[f"{name}, grey"] = measured([in_grey(part) for part in parts])
        tables.append(table)
    choice, report = tables
    limits = {name: FAULTS["sharpness -"]._asdict()[name] for name in OLD_LIMITS}
    counts = [[name, len(values)] for table in tables for name, values in table.items()]
    own = (DEAD_ZONES[CHOSEN], 0.01, *limits.values())
    now, before = (
        np.mean([flagged(values, True, tried) for values in report.values()], axis=0) for tried in (own, TRIED[0])
    )
    here = (
        f"In {len(report) // 2} domains, in colour and grey, the median sharpness rises by at most"
        f" {largest_rise(report, CHOSEN):.3f} from one strength of blur to the next (without a dead zone:"
        f" {largest_rise(report, 0):.3f}). If one of {FOLDER} pictures of a folder is blurred by 2 to 16 px, it is"
        f" flagged in {results.percents(now[2:].tolist())} of folders (before:"
        f" {results.percents(before[2:].tolist())}). A sharp picture is flagged in {now[0]:.1%} of clean folders"
        f" (before: {before[0]:.1%})."
    )
    packages = [
        *odd_pictures.WALLPAPERS, odd_pictures.SCREENSHOTS, odd_pictures.CARDS, data.GAME_ART, one_folder.SHOTS,
        one_folder.TEXTURES, one_folder.ICONS, one_folder.LAND, odd_pictures.BUILDINGS, *data.BACKGROUNDS,
    ]  # fmt: skip
    results.write(
        folder,
        "sharpness",
        here=here,
        tables=[
            medians(report),
            by_rule(report, [TRIED[0], own], "flagged, six sorts, dead zone"),
            by_sort(report, limits),
            by_zone(choice),
            by_rule(choice, TRIED, "flagged, sorts that choose, dead zone"),
            by_rule(report, TRIED, "flagged, sorts that report, dead zone"),
            by_limit(choice, "share below the limit, sorts that choose"),
            by_limit(report, "share below the limit, sorts that report"),
            medians(choice),
            results.table(["sort", "pictures"], counts),
        ],
        seeds="0 and 1 of which pictures and crops are taken",
        data=["scikit-image"] if arguments.quick else packages,
    )


if __name__ == "__main__":
    main()
