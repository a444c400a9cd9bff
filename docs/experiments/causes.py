"""Do `compare`'s headlines name what was done to pictures of six kinds, and nothing where nothing was done?

    pip install "torchmetrics-dna[demo]" scikit-learn tifffile
    python docs/experiments/causes.py

Twenty changed sets, six of equal halves, six of other subjects and six of other kinds; A and B never share a picture.
What was done to B is written here, by other functions than those of the package. Changes, strengths, kinds and numbers
were fixed before the first run, and no kind was looked at while the search was written: it was tried on icons and the
photographs of the demonstration. That a cause takes half of the squared distance, and not of the bins, was chosen after
a first run on most of these sets, on nine pairs of other pictures: playing cards, sprites, icons, stamps, histology.
What is changed of A goes through the network once for all sets of a kind.
"""

from __future__ import annotations

import json
from functools import cache, partial
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import data
import numpy as np
import other_inputs
import results
from PIL import Image
from scipy.ndimage import gaussian_filter
from sklearn.datasets import load_digits

from torchmetrics_dna import compare
from torchmetrics_dna.jobs import causes as searched
from torchmetrics_dna.jobs import sides as opened
from torchmetrics_dna.jobs.causes import Shares

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray
    from torch import Tensor

    Picture = NDArray[np.uint8]
    Done = tuple[tuple[str, float], ...]

SIDE, SEED = 50, 0
KINDS = ("photographs", "emoji", "drawings", "digits", "textures", "satellite")


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
    "brighter": lambda picture, levels, _: rounded(picture + levels),
    "less contrast": lambda picture, percent, _: rounded(
        picture.mean() + (picture - picture.mean()) * (1 - percent / 100)
    ),
    "less saturation": lambda picture, percent, _: rounded(
        picture + (picture @ [0.299, 0.587, 0.114] - picture.transpose(2, 0, 1)).transpose(1, 2, 0) * percent / 100
    ),
    "resize": shrunk,
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
#: What an earlier version, 43b2a4e, named by a dictionary of shifts that was measured on other photographs.
DICTIONARY = {
    "photographs, JPEG compression 40": "JPEG compression and cooler",
    "photographs, darker 30 + noise 10": "noise",
    "drawings, noise 10": "noise and speckle noise",
    "digits, darker 30": "darker",
    "drawings against digits": "blur and vignette",
}


@cache
def pictures(kind: str) -> tuple[list[Picture], list[str]]:
    """Pictures of a kind in random order, and the group of each: its subject, or the page it was cut from."""
    if kind == "photographs":
        found, groups = data.wallpapers()
    elif kind == "emoji":
        paths, groups = data.drawn_by("fluent")
        found = [data.picture(path, 128) for path in paths]
    elif kind == "drawings":
        paths = [path for path in data.drawings() if path.parent.name in _themes()]
        paths = [paths[i] for i in np.random.default_rng(SEED).permutation(len(paths))[: 8 * SIDE]]
        found, groups = [data.picture(path, 256) for path in paths], [path.parent.name for path in paths]
    elif kind == "digits":
        digits = load_digits()
        small = (255 - digits.images * (255 / 16)).astype(np.uint8)
        found = [np.stack([np.asarray(Image.fromarray(image).resize((64, 64)))] * 3, -1) for image in small]
        groups = ["below five" if digit < 5 else "five and above" for digit in digits.target]
    elif kind == "textures":
        found, groups = data.textures()
    else:
        import tifffile

        scene = tifffile.imread(other_inputs.BANDS.folder() / "usr/lib/R/site-library/stars/tif/L7_ETMs.tif")
        scene = np.moveaxis(scene, 0, 2) if len(scene) == 6 else scene
        found = other_inputs.tiles(np.ascontiguousarray(scene[..., 2::-1]), 32)
        rows = scene.shape[1] // 32
        groups = ["north" if i < len(found) // 2 // rows * rows else "south" for i in range(len(found))]
    order = np.random.default_rng(SEED).permutation(len(found)).tolist()
    return [np.ascontiguousarray(found[i]) for i in order], [groups[i] for i in order]


@cache
def _themes() -> set[str]:
    return {"animals", "food", "people", "buildings", "tools", "transportation", "plants", "recreation", "computer"}


def halves(kind: str) -> tuple[list[Picture], list[Picture]]:
    """A and B of one kind; of photographs, no wallpaper is in both."""
    found, groups = pictures(kind)
    if kind != "photographs":
        return found[:SIDE], found[SIDE : 2 * SIDE]
    names = sorted(set(groups))
    in_a = {names[i] for i in np.random.default_rng(SEED).permutation(len(names))[: len(names) // 2]}
    sides = (
        [picture for picture, group in zip(found, groups, strict=True) if (group in in_a) == side]
        for side in (True, False)
    )
    a, b = (side[:SIDE] for side in sides)
    return a, b


def subjects(kind: str) -> tuple[list[Picture], list[Picture]]:
    """The two largest groups of a kind: of other subjects, or other pages."""
    found, groups = pictures(kind)
    first, second = sorted(set(groups), key=lambda group: (-groups.count(group), group))[:2]
    a, b = (
        [picture for picture, group in zip(found, groups, strict=True) if group == name][:SIDE]
        for name in (first, second)
    )
    return a, b


def after(images: list[Picture], done: Done) -> list[Picture]:
    for name, amount in done:
        images = [MADE[name](image, amount, i) for i, image in enumerate(images)]
    return images


def sets() -> dict[str, tuple[Done, Callable[[], tuple[list[Picture], list[Picture]]]]]:
    """All comparisons by name, with what was done."""

    def changed(kind: str, done: Done) -> tuple[list[Picture], list[Picture]]:
        a, b = halves(kind)
        return a, after(b, done)

    found = {f"{kind}, {words(done)}": (done, partial(changed, kind, done)) for kind in KINDS for done in CHANGED[kind]}
    found |= {f"{kind}, equal halves": ((), partial(halves, kind)) for kind in KINDS}
    found |= {f"{kind}, other subjects": ((), partial(subjects, kind)) for kind in KINDS}
    others = zip(KINDS, (*KINDS[1:], KINDS[0]), strict=True)
    found |= {f"{a} against {b}": ((), lambda a=a, b=b: (halves(a)[0], halves(b)[1])) for a, b in others}
    for kind, names in OF_STRENGTHS.items():
        for name in names:
            for amount in STRENGTHS[name]:
                done = ((name, amount),)
                found[f"{kind}, {words(done)}, amount"] = done, partial(changed, kind, done)
    return found


def words(done: Done) -> str:
    return " + ".join(f"{name} {amount:g}" for name, amount in done)


def is_right(named: list[str], done: Done) -> str:
    """Right if all that was named was done, or looks the same: a smaller picture is a blurred one to the network."""
    alike = {"resize": "blur", "blur": "blur"}
    made, said = ({alike.get(name, name) for name in names} for names in ([name for name, _ in done], named))
    if not said:
        return "right" if not made else "not named"
    return "wrong" if said - made else "right" if said == made else "one of two"


def remember_variants() -> None:
    """Measure each variant of the same pictures once, for all sets in a row that have these as A; count by numba."""
    opened._FEW = 0
    measure = searched._Search._measured
    known: dict[str, dict[str, tuple[Tensor, Tensor]]] = {}

    def remembered(search: Any, images: searched.ChangedImages) -> Iterator[Shares]:
        pictures = b"".join(images._source[number].tobytes() for number in images._chosen)
        key = sha256(pictures).hexdigest()
        if key not in known:
            for old in list(known)[:-4]:
                del known[old]
        of_pictures = known.setdefault(key, {})
        missing = [variant for variant in images._variants if str(variant) not in of_pictures]
        measured = measure(search, images.again(missing)) if missing else ()
        for variant, folds in zip(missing, measured, strict=True):
            of_pictures[str(variant)] = folds.shares.float(), folds.images
        for variant in images._variants:
            shares, sizes = of_pictures[str(variant)]
            yield Shares._of(shares.double(), sizes)

    searched._Search._measured = remembered


def in_words(cell: dict[str, Any], change: str) -> str:
    """Amounts that are named, with the names of other changes than this one."""
    named = zip(cell["names"], cell["amounts"], strict=True)
    return " and ".join(f"{name} {amount:.2g}".removeprefix(f"{change} ") for name, amount in named) or "-"


def main() -> None:
    parser = results.parser(__doc__)
    parser.add_argument("--activations", type=Path, help="json file that keeps what was measured")
    arguments = parser.parse_args()
    folder, kept = results.begin(arguments), arguments.activations
    found = json.loads(kept.read_text("utf-8")) if kept is not None and kept.exists() else {}
    asked = sets()
    if arguments.quick:
        asked = {name: asked[name] for name in ("digits, darker 30", "digits, equal halves")}
    remember_variants()
    for name in sorted(asked, key=lambda name: (name.endswith(", amount"), [name.startswith(kind) for kind in KINDS])):
        _, make = asked[name]
        if name not in found:
            a, b = make()
            few = 20 if arguments.quick else SIDE
            compared = compare(a[:few], b[:few], layers=["block_0"] if arguments.quick else None)
            causes = compared.explain().causes
            found[name] = {
                "names": [] if causes is None else list(causes.names),
                "amounts": [] if causes is None else list(causes.amounts),
                "bins": [] if compared.causes is None else list(compared.causes.bins),
                "p": compared.p_value,
                "headline": compared.explain().headline,
            }
            print(name, found[name], flush=True)
            if kept is not None:
                kept.write_text(json.dumps(found, indent=1), "utf-8")
    rows, judged = [], {}
    for name, (done, _) in asked.items():
        of = found[name]
        if not name.endswith(", amount"):
            judged[name] = is_right(of["names"], done)
            rows.append([name, of["headline"], judged[name], DICTIONARY.get(name, "-")])
    changed = [name for name in judged if asked[name][0]]
    same = [name for name in judged if not asked[name][0]]
    count = {
        verdict: sum(judged[name] == verdict for name in changed)
        for verdict in ("right", "one of two", "not named", "wrong")
    }
    amounts = []
    for kind, changes in OF_STRENGTHS.items():
        for change in changes:
            strengths = STRENGTHS[change]
            cells = [found.get(f"{kind}, {words(((change, amount),))}, amount") for amount in strengths]
            said = [in_words(cell, change) for cell in cells if cell]
            if said:  # not of a quick run
                amounts.append(
                    [kind, change, *(f"{amount:g}: {text}" for amount, text in zip(strengths, said, strict=True))]
                )
    results.write(
        folder,
        "causes",
        here=f"of {len(changed)} changed sets, {count['right']} are named right, {count['one of two']} by one of two"
        f" changes, {count['not named']} not at all and {count['wrong']} wrong. Of {len(same)} sets to which nothing"
        f" was done, {sum(judged[name] == 'right' for name in same)} are left unnamed.",
        tables=[
            results.table(["B", "headline", "right or wrong", "dictionary of photographs"], rows),
            *[results.table(["pictures", "change", *["done: named"] * 3], amounts)] * bool(amounts),
        ],
        seeds=f"{SEED}, of draws; {SIDE} pictures a side, drawn once",
        data=["scikit-learn"] if arguments.quick else [
            *data.WALLPAPERS, data.FLUENT, data.DRAWINGS, "scikit-learn", data.TEXTURES, other_inputs.BANDS
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()
