"""Which images are called copies: re-encoded, blurred, cropped and mirrored ones, and others that never were.

    pip install "torchmetrics-dna[demo]" scikit-learn
    python docs/experiments/copies.py

Of each domain, some pictures are an index of spatial means, and others are looked up in it, as they are and as changed
copies of pictures that are in it. The limit, half of the usual distance, was set before any of this was measured.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import data
import numpy as np
import results
import torch
from matplotlib.figure import Figure
from PIL import Image, ImageFilter
from singles import BATCH

from torchmetrics_dna import DNAExtractor
from torchmetrics_dna.dna.features import Features
from torchmetrics_dna.singles.nearest import COPY, Nearest, find_nearest

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Picture = NDArray[np.uint8]

SIDE, SEED = 64, 0
OTHERS = "other pictures of the domain"


def jpeg(quality: int) -> Callable[[Picture], Picture]:
    def change(picture: Picture) -> Picture:
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "JPEG", quality=quality)
        with Image.open(file) as opened:
            return np.asarray(opened.convert("RGB"))

    return change


def blur(picture: Picture) -> Picture:
    return np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(0.7)))


def shrink(picture: Picture) -> Picture:
    return np.asarray(Image.fromarray(picture).resize((SIDE * 3 // 4, SIDE * 3 // 4)).resize((SIDE, SIDE)))


def crop(picture: Picture) -> Picture:
    edge = SIDE // 20
    return np.asarray(Image.fromarray(picture[edge:-edge, edge:-edge]).resize((SIDE, SIDE)))


def mirror(picture: Picture) -> Picture:
    return picture[:, ::-1].copy()


def noise(picture: Picture) -> Picture:
    random = np.random.default_rng(SEED)
    return (picture + random.normal(0, 5, picture.shape)).clip(0, 255).astype(np.uint8)


CHANGES: dict[str, Callable[[Picture], Picture]] = {
    "JPEG of quality 90": jpeg(90), "JPEG of quality 50": jpeg(50), "shrunk to 3/4 and back": shrink,
    "blur of 0.7 pixels": blur, "noise of 5 of 255": noise, "a tenth cropped": crop, "mirrored": mirror,
}  # fmt: skip


def features(pictures: list[Picture], extractor: DNAExtractor) -> Features:
    """Features of the last layer."""
    means = torch.cat([extractor(batch)["head"].mean((2, 3)) for batch in data.batch(pictures).split(BATCH)])
    neurons = extractor.neurons.take(extractor.neurons.positions(["head"]))
    return Features(means, neurons, extractor.name, names=[f"{number}" for number in range(len(means))])


def load(quick: bool) -> dict[str, list[Picture]]:
    """Pictures of some domains in a random order."""
    if quick:
        return {"digits": data.at_hand(40, "digits")}
    paths = {"photographs": data.photographs(), "drawings": data.drawings()[::9], "icons": data.icons()}
    paths["facebook's emoji"] = [one.path for one in data.emoji("facebook")]
    random = np.random.default_rng(SEED)
    chosen = {name: [some[i] for i in random.permutation(len(some))[:200]] for name, some in paths.items()}
    return {name: [data.picture(path, SIDE) for path in some] for name, some in chosen.items()}


def look_up(pictures: list[Picture], extractor: DNAExtractor) -> dict[str, Nearest]:
    """The nearest pictures of the first half to those of the other, and to changed copies of its own."""
    known, others = pictures[: len(pictures) // 2], pictures[len(pictures) // 2 :]
    index = features(known, extractor)
    asked = {OTHERS: others} | {name: [change(one) for one in known] for name, change in CHANGES.items()}
    return {name: find_nearest(features(some, extractor), index, themselves=None) for name, some in asked.items()}


def plot(found: dict[str, dict[str, Nearest]]) -> Figure:
    """Plot how ratios are distributed, a panel for each domain."""
    figure = Figure(figsize=(3.2 * len(found) + 2, 3.8), layout="constrained")
    figure.suptitle("How near pictures are to the nearest one of an index, by what is usual there")
    for axis, (name, of) in zip(np.atleast_1d(figure.subplots(1, len(found), sharey=True)), found.items(), strict=True):
        for place, one in enumerate(of.values()):
            jitter = np.linspace(-0.25, 0.25, len(one.ratios))
            axis.plot(one.ratios, place + jitter, ".", markersize=3, color=results.COLOURS["dna-emd"], alpha=0.6)
        axis.set_yticks(range(len(of)), list(of))
        axis.axvline(COPY, color=results.COLOURS["dna-fd"], linestyle="--", label="called a copy below this")
        axis.set_title(name, loc="left", fontsize=10)
        axis.set_xlabel("ratio of distances")
        axis.invert_yaxis()
        axis.spines[["top", "right"]].set_visible(False)
    figure.axes[0].legend(frameon=False, fontsize=8)
    return figure


def main() -> None:
    arguments = results.parser(__doc__).parse_args()
    folder = results.begin(arguments)
    extractor = DNAExtractor("efficientnet_lite0")
    found = {name: look_up(pictures, extractor) for name, pictures in load(arguments.quick).items()}
    shares = {name: {kind: float(one.copies.float().mean()) for kind, one in of.items()} for name, of in found.items()}
    wrong = [of[OTHERS] for of in shares.values()]
    rows = [[kind, *(results.percent(of[kind]) for of in shares.values())] for kind in (OTHERS, *CHANGES)]
    lost = [kind for kind in CHANGES if min(of[kind] for of in shares.values()) < 0.9]
    results.write(
        folder,
        "copies",
        here=f"Of the pictures that are no copies, {results.percent(min(wrong))} to {results.percent(max(wrong))} are"
        " reported as copies, depending on the domain. At least 90% of the copies are found in every domain, except for"
        f" these changes: {', '.join(lost) or 'none'}.",
        tables=[results.table(["called copies", *shares], rows)],
        figures={"": plot(found)},
        seeds=f"{SEED}, of pictures and noise",
        data=["scikit-learn"] if arguments.quick else [
            data.PHOTOGRAPHS, data.DRAWINGS, data.ICONS, data.EMOJI["facebook"],
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()
