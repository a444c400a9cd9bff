"""Which images are called copies by their pixels: changed ones, and others that never were.

    pip install "torchmetrics-dna[demo]" scikit-learn
    python docs/experiments/likeness.py

Of each kind, some pictures are a set; others, and changed copies of pictures of the set, are compared with it. The
limit was set on the first three kinds.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import data
import numpy as np
import results
import torch
from kinds_held_out import pictures
from PIL import Image, ImageFilter

from torchmetrics_dna.images.likeness import SIDE, likeness, small_picture
from torchmetrics_dna.singles.nearest import ALIKE, NEAR

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Picture = NDArray[np.uint8]

SIZE, SET, OTHERS, COPIES, CANDIDATES = 128, 150, 100, 60, 6
TUNED = ("photographs", "drawings", "facebook")


def drawn(picture: Picture) -> np.random.Generator:
    return np.random.default_rng(int(picture.sum()) % 2**31)


def jpeg(picture: Picture, quality: int) -> Picture:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    with Image.open(file) as opened:
        return np.asarray(opened.convert("RGB"))


def crop(picture: Picture, share: float) -> Picture:
    height, width = (round(side * share) for side in picture.shape[:2])
    random = drawn(picture)
    top, left = random.integers(picture.shape[0] - height + 1), random.integers(picture.shape[1] - width + 1)
    return picture[top : top + height, left : left + width]


def mirror(picture: Picture) -> Picture:
    return picture[:, ::-1].copy()


def noise(picture: Picture) -> Picture:
    return (picture + drawn(picture).normal(0, 10, picture.shape)).clip(0, 255).astype(np.uint8)


def half(picture: Picture) -> Picture:
    return np.asarray(Image.fromarray(picture).resize((picture.shape[1] // 2, picture.shape[0] // 2)))


def blur(picture: Picture) -> Picture:
    return np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(1)))


def hue(picture: Picture) -> Picture:
    shifted = np.asarray(Image.fromarray(picture).convert("HSV")).copy()
    shifted[..., 0] += 40
    return np.asarray(Image.fromarray(shifted, "HSV").convert("RGB"))


CHANGES: dict[str, Callable[[Picture], Picture]] = {
    "JPEG of quality 40": lambda picture: jpeg(picture, 40), "JPEG of quality 20": lambda picture: jpeg(picture, 20),
    "half size": half, "blur of 1 pixel": blur, "noise of 10 of 255": noise, "mirrored": mirror,
    "nine tenths of the sides": lambda picture: crop(picture, 0.9),
    "four fifths": lambda picture: crop(picture, 0.8), "seven tenths": lambda picture: crop(picture, 0.7),
    "four fifths, mirrored, JPEG 40": lambda picture: jpeg(mirror(crop(picture, 0.8)), 40),
}  # fmt: skip


def load(quick: bool) -> dict[str, list[Picture]]:
    """Pictures of some kinds in a random order."""
    if quick:
        return {"digits": pictures("digits", 40)[0]}
    paths = {"photographs": data.photographs(), "drawings": data.drawings()[::9]}
    paths["facebook"] = [one.path for one in data.emoji("facebook")]
    for maker in ("fluent", "emojione"):
        paths[maker] = data.drawn_by(maker)[0]
    chosen = {
        name: [data.picture(some[i], SIZE) for i in np.random.default_rng(0).permutation(len(some))[: 2 * SET]]
        for name, some in paths.items()
    }
    return chosen | {name: pictures(name, 2 * SET)[0] for name in ("wallpapers", "textures", "digits")}


def small(some: list[Picture]) -> torch.Tensor:
    return torch.stack([small_picture(picture) for picture in some])


def most_alike(others: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Likeness of each to the most similar ones of a set, by pictures of a quarter of the side."""
    coarse = [
        torch.nn.functional.avg_pool2d(side.view(-1, 3, SIDE, SIDE).float(), 4).flatten(1) for side in (others, known)
    ]
    a, b = (torch.nn.functional.normalize(side - side.mean(1, keepdim=True), dim=1) for side in coarse)
    candidates = (a @ b.T).topk(min(CANDIDATES, len(known)), 1).indices
    pairs = likeness(others.repeat_interleave(candidates.shape[1], 0), known[candidates.flatten()])
    return pairs.view(candidates.shape).nan_to_num(-1).amax(1)


def main() -> None:
    arguments = results.parser(__doc__).parse_args()
    folder = results.begin(arguments)
    shares: dict[str, dict[str, float]] = {}
    for name, every in load(arguments.quick).items():
        half_of_all = len(every) // 2
        known, others = every[:half_of_all], every[half_of_all:][:OTHERS]
        wrong = most_alike(small(others), small(known))
        some = known[:COPIES]
        of = {"others, called copies": float((wrong >= ALIKE).float().mean())}
        of["others, called near"] = float(((wrong >= NEAR) & (wrong < ALIKE)).float().mean())
        for change, changed in CHANGES.items():
            of[change] = float((likeness(small([changed(one) for one in some]), small(some)) >= ALIKE).float().mean())
        turned = likeness(small([hue(one) for one in some]), small(some))
        of["other hue, called copies"] = float((turned >= ALIKE).float().mean())
        shares[name] = of
        print(name, of, flush=True)
    held_out = {name: of for name, of in shares.items() if name not in TUNED}
    rows = [[row, *(results.percent(of[row]) for of in shares.values())] for row in next(iter(shares.values()))]
    wrong = [of["others, called copies"] for of in held_out.values()]
    results.write(
        folder,
        "likeness",
        here=f"The results are for the domains that were not used to choose the limit ({', '.join(held_out)}). Of"
        f" different pictures, {results.percent(min(wrong))} to {results.percent(max(wrong))} are reported as copies."
        " Of copies with JPEG of quality 40,"
        f" {results.percent(min(of['JPEG of quality 40'] for of in held_out.values()))} to"
        f" {results.percent(max(of['JPEG of quality 40'] for of in held_out.values()))} are found.",
        tables=[results.table(["called copies", *shares], rows)],
        seeds="0, of pictures; of crops and noise, the sum of a picture's pixels",
        data=["scikit-learn"] if arguments.quick else [
            data.PHOTOGRAPHS, data.DRAWINGS, data.EMOJI["facebook"], data.FLUENT, data.EMOJIONE, *data.WALLPAPERS,
            data.TEXTURES, "scikit-learn's digits",
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()
