"""What is said of 24 pairs of sets of kinds that no page shows? Each verdict is read and judged by hand.

    pip install "torchmetrics-dna[demo]"
    python docs/experiments/verdicts.py FOLDER

FOLDER keeps the results, so that another wording of the same figures takes no measuring.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from causes import after, halves
from PIL import Image, ImageDraw, ImageFont

from torchmetrics_dna import compare
from torchmetrics_dna.comparisons.two_sets import Comparison

if TYPE_CHECKING:
    from causes import Picture

SIDE, DRAW = 40, 7
WORDS = "the of and to in is that for it as was with be by on not he his but at are this have from or had an"
BLUR, JPEG, DARK, SHARP, NOISE = (
    ((name, amount),)
    for name, amount in (("blur", 1.5), ("JPEG compression", 20), ("darker", 40), ("sharper", 150), ("noise", 12))
)


def scans(first: int, faded: float = 1) -> list[Picture]:
    """Pages of words at random, in grey, with noise of their own."""
    font, pages = ImageFont.load_default(13), []
    for seed in range(first, first + SIDE):
        random, page = np.random.default_rng(seed), Image.new("L", (256, 320), 255)
        for line in range(18):
            ImageDraw.Draw(page).text((14, 12 + 16 * line), " ".join(random.choice(WORDS.split(), 8)), 20, font)
        grey = 255 - faded * (255 - np.asarray(page, float)) + random.normal(0, 3, (320, 256))
        pages.append(np.repeat(grey.round().clip(0, 255).astype(np.uint8)[..., None], 3, 2))
    return pages


def pairs() -> dict[str, tuple[list[Picture], list[Picture]]]:
    kinds = ("icons", "flags", "renders", "maps", "landscapes", "sprites")
    of = {kind: tuple(side[:SIDE] for side in halves(kind, DRAW)) for kind in kinds}
    found = {
        f"{kind}, {what}": (of[kind][0], after(of[kind][1], done))
        for kind, what, done in (
            ("icons", "blurred by 1.5 px", BLUR), ("icons", "JPEG of quality 20", JPEG), ("icons", "40 % darker", DARK),
            ("flags", "sharpened by 150 %", SHARP), ("flags", "equal", ()),
            ("renders", "blurred by 1.5 px", BLUR), ("renders", "JPEG of quality 20", JPEG), ("renders", "equal", ()),
            ("maps", "40 % darker", DARK), ("maps", "sharpened by 150 %", SHARP),
            ("landscapes", "blurred by 1.5 px", BLUR), ("landscapes", "noise of 12 grey levels", NOISE),
            ("sprites", "JPEG of quality 20", JPEG),
        )
    }  # fmt: skip
    for kind in ("flags", "maps"):
        a, b = of[kind]
        found[f"{kind}, one black"] = a, [*b[:-1], np.zeros_like(b[-1])]
    for kind, done in (("renders", (("blur", 6),)), ("landscapes", (("noise", 40),))):
        a, b = of[kind]
        found[f"{kind}, 4 of 40 with {done[0][0]} of {done[0][1]}"] = a, [*b[:-4], *after(b[-4:], done)]
    found["maps, copies"] = of["maps"][0], [*of["maps"][0][: SIDE // 2], *of["maps"][1][: SIDE // 2]]
    found["icons against flags"] = of["icons"][0], of["flags"][1]
    found["sprites against icons"] = of["sprites"][0], of["icons"][1]
    found["flags, equal, 12 a side"] = of["flags"][0][:12], of["flags"][1][:12]
    found["sprites, 40 % darker, 12 a side"] = of["sprites"][0][:12], after(of["sprites"][1][:12], DARK)
    found["scans, equal"] = scans(0), scans(1000)
    found["scans, faded by 50 %"] = scans(0), scans(1000, 0.5)
    return found


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(exist_ok=True)
    for name, (a, b) in pairs().items():
        path = folder / f"{name.replace(' %', '').replace(',', '').replace(' ', '_')}.result.npz"
        if not path.exists():
            compare(a, b).save(path)
        result = Comparison.load(path)
        print(name, *result.verdict.splitlines(), *result.notices, "", sep="\n", flush=True)


if __name__ == "__main__":
    main()
