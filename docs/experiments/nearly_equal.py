"""Which images of two sets `compare` calls nearly alike: pages, forms and charts of one layout, and changed copies.

    pip install "torchmetrics-dna[demo]" scikit-learn
    python docs/experiments/nearly_equal.py

Of each kind, two sets are drawn by other seeds, or are halves of one, and changed copies are made of the first. The
limits were set on pages, forms, charts and tiles of other fonts, words and seeds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import data
import numpy as np
import results
import torch
from copies import jpeg
from likeness import mirror, noise
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from torchmetrics_dna.images.likeness import near_duplicates, thumbnail

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.random import Generator
    from numpy.typing import NDArray

    Picture = NDArray[np.uint8]

SIDE, SET, SEED = 320, 50, 100
MIXED = "half size, a third of a set"
CORNERS = "corners of textures, 32 px"
COLOURS = 432  # values of a thumbnail in colour
NEAR = 5.0  # RMS difference of these, which was the whole test before details were compared


def scanned(drawing: Image.Image, random: Generator) -> Picture:
    grey = np.asarray(drawing, float)[..., None] + random.normal(0, 4, (*drawing.size[::-1], 1))
    return grey.clip(0, 255).astype(np.uint8).repeat(3, 2)


def words(random: Generator, count: int) -> list[str]:
    """Words of an English text, from a random place on."""
    text = str(np.__doc__) + " ".join(str(getattr(np, name).__doc__) for name in sorted(np.__all__)[::5])
    listed = text.split()
    start = int(random.integers(len(listed) - count))
    return listed[start : start + count]


def page(random: Generator, size: int) -> Picture:
    """Text in one column."""
    drawing = Image.new("L", (SIDE, SIDE), 240)
    pen, font, place = ImageDraw.Draw(drawing), ImageFont.load_default(size), 20.0
    line = ""
    for word in words(random, 900):
        if pen.textlength(f"{line} {word}", font) > SIDE - 40:
            pen.text((20, place), line, 40, font)
            line, place = "", place + 1.4 * size
        if place > SIDE - 40:
            break
        line = f"{line} {word}"[:90].strip()
    return scanned(drawing, random)


def form(random: Generator) -> Picture:
    """Fields of a table with names, filled in."""
    drawing = Image.new("L", (SIDE, SIDE), 250)
    pen, font = ImageDraw.Draw(drawing), ImageFont.load_default(11)
    for row in range(14):
        for left in (10, 165):
            pen.rectangle((left, 10 + 21 * row, left + 145, 28 + 21 * row), outline=110)
            pen.text((left + 4, 12 + 21 * row), f"Item {row}", 50, font)
            pen.text((left + 60, 12 + 21 * row), " ".join(words(random, 2))[:12], 20, font)
    return scanned(drawing, random)


def chart(random: Generator, kind: str) -> Picture:
    figure = Figure((3.2, 3.2), dpi=100)
    axes = figure.subplots()
    if kind == "steps":
        axes.step(range(30), random.normal(size=30).cumsum())
    else:
        axes.scatter(*random.uniform(size=(2, 60)), s=9, c="tab:red")
    axes.set(title="Measured", xlabel="time", ylabel="value")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def halves(pictures: list[Picture]) -> tuple[list[Picture], list[Picture]]:
    return pictures[::2], pictures[1::2]


def load(quick: bool) -> dict[str, tuple[list[Picture], list[Picture]]]:
    """Two sets of each kind."""
    count = 12 if quick else SET
    draws: dict[str, Callable[[Generator], Picture]] = {
        "pages, 10 px": lambda random: page(random, 10),
        "pages, 13 px": lambda random: page(random, 13),
        "forms": form,
        "charts, steps": lambda random: chart(random, "steps"),
        "charts, dots": lambda random: chart(random, "dots"),
    }
    sets = {
        name: tuple([draw(np.random.default_rng([SEED, side, i])) for i in range(count)] for side in range(2))
        for name, draw in draws.items()
    }
    photographs = data.at_hand(2 * count) if quick else data.wallpapers(256)[0][::4]
    sets["forms and photographs"] = tuple(
        [*forms[: count // 2], *photos[: count // 2]]
        for forms, photos in zip(sets["forms"], halves(photographs), strict=True)
    )
    sets["photographs"] = halves(photographs[: 2 * count])
    if not quick:
        sets["emoji"] = halves([data.picture(path, 64) for path in data.drawn_by("emojione")[0][: 2 * count]])
        sets[CORNERS] = halves([picture[:32, :32] for picture in data.textures()[0][: 2 * count]])
    return sets


def resized(share: float) -> Callable[[Picture], Picture]:
    def change(picture: Picture) -> Picture:
        height, width = (round(side * share) for side in picture.shape[:2])
        return np.asarray(Image.fromarray(picture).resize((width, height)))

    return change


CHANGES: dict[str, Callable[[Picture], Picture]] = {
    "JPEG of quality 50": jpeg(50), "half size": resized(0.5), "one and a half": resized(1.5), "mirrored": mirror,
    "noise of 10 of 255": noise,
}  # fmt: skip


def found(images: list[Picture], others: list[Picture], count: int | None = None) -> tuple[float, float]:
    """Shares of the first images that have a near-duplicate among others: by colours alone, and by details, too."""
    a, b = (torch.stack([thumbnail(np.ascontiguousarray(picture)) for picture in side]) for side in (images, others))
    before = torch.cdist(a[:, :COLOURS].float(), b[:, :COLOURS].float()).amin(1) <= NEAR * COLOURS**0.5
    rows = near_duplicates(a, b)
    assert rows is not None
    return float(before[:count].float().mean()), float((rows >= 0)[:count].float().mean())


def main() -> None:
    arguments = results.parser(__doc__).parse_args()
    folder = results.begin(arguments)
    shares: dict[str, dict[str, tuple[float, float]]] = {}
    for name, (first, second) in load(arguments.quick).items():
        shares[name] = {"others": found(second, first)}
        shares[name] |= {
            change: found([changed(picture) for picture in first], first) for change, changed in CHANGES.items()
        }
        third = len(first) // 3
        mixed = [*map(CHANGES["half size"], first[:third]), *second[third:]]
        shares[name][MIXED] = found(mixed, first, third)
        print(name, shares[name], flush=True)
    rows = [
        [name, *(f"{results.percent(before)}, now {results.percent(now)}" for before, now in of.values())]
        for name, of in shares.items()
    ]
    drawn = [of["others"] for name, of in shares.items() if name.startswith(("pages", "forms", "charts"))]
    lost = [
        before - now
        for name, of in shares.items()
        for change, (before, now) in of.items()
        if change != "others" and name != CORNERS
    ]
    before, now = (results.percent(max(share[i] for share in drawn)) for i in range(2))
    tiny = shares.get(CORNERS, {})
    of_tiny = ""
    if tiny:
        quality = next(iter(CHANGES))
        (others_before, others_now), (copies_before, copies_now) = (
            map(results.percent, tiny[case]) for case in ("others", quality)
        )
        of_tiny = (
            f" The method is worst for {CORNERS}. Of different ones, {others_before} were reported, and now"
            f" {others_now}. Of copies with {quality}, {copies_before} were found, and now {copies_now}."
        )
    results.write(
        folder,
        "nearly_equal",
        here=f"Up to {before} of different pages, forms and charts were reported as near-duplicates when only"
        f" thumbnails of 12 pixels were compared. Now at most {now} of them are reported. In the worst case, the share"
        f" of changed copies that are found is {results.percent(max(0, *lost))} lower than before. Mirrored copies are"
        f" found now, too.{of_tiny}",
        tables=[results.table(["nearly alike", "others", *CHANGES, MIXED], rows)],
        seeds=f"{SEED}, of pages, forms and charts",
        data=["scikit-learn"] if arguments.quick else [data.EMOJIONE, *data.WALLPAPERS, data.TEXTURES],
    )


if __name__ == "__main__":
    main()
