"""Find where a set is off by the mean of its images' maps.

    pip install "torchmetrics-dna[demo]" scikit-learn
    python docs/experiments/mean_maps.py

A is 30 images of a domain, B 30 others, and 40 more are the reference. B's lowest eighth is spoilt, or all of it, or
nothing. The mean map of B minus that of A is averaged over nine regions: four edges, four corners and the centre. The
largest t-statistic of a region against the whole image is tested by 199 relabelings of images. If p <= 0.05, and the
region's mean is at least four times that of the rest, its name is given. Seven domains chose this rule.
"""

from __future__ import annotations

from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING

import data
import numpy as np
import outliers
import results
import torch
from matplotlib.figure import Figure
from PIL import Image, ImageFilter
from torch import Tensor

from torchmetrics_dna import DNAExtractor, DNARealism, make_dna
from torchmetrics_dna.functional import heat
from torchmetrics_dna.images import Reading

if TYPE_CHECKING:
    from collections.abc import Callable

Picture = np.ndarray
NUM_REFERENCE, NUM_SIDE, RELABELINGS, DRAWS = 40, 30, 199, 20
CELLS = 28  # of a map, in each direction
PLACES = ("upper edge", "lower edge", "left edge", "right edge",
          "upper left", "upper right", "lower left", "lower right", "centre")  # fmt: skip
LOWER, NONE = "lower edge", "nothing"
TIMES = 4.0  # of the rest's mean


def blurred(picture: Picture, pixels: float) -> Picture:
    return np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(pixels)))


def noisy(picture: Picture) -> Picture:
    noise = np.random.default_rng(int(picture.sum())).normal(0, 10, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def darker(picture: Picture, by: int) -> Picture:
    return np.clip(picture.astype(int) - by, 0, 255).astype(np.uint8)


def compressed(picture: Picture) -> Picture:
    file = BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=20)
    return np.asarray(Image.open(file))


def below(picture: Picture, change: Callable[[Picture], Picture]) -> Picture:
    """Change the lowest eighth."""
    rows = max(2, round(len(picture) / 8))
    return np.concatenate([picture[:-rows], change(picture)[-rows:]])


EDGE = {
    "blur of 2 px": partial(blurred, pixels=2), "noise of 10": noisy,
    "darker by 40": partial(darker, by=40), "black": partial(darker, by=255),
}  # fmt: skip
WHOLE = {
    "blur of 1 px": partial(blurred, pixels=1), "JPEG of quality 20": compressed, "noise of 10": noisy,
    "inverted": lambda picture: 255 - picture,
}  # fmt: skip
FAULTS: dict[str, Callable[[Picture], Picture]] = {
    NONE: lambda picture: picture,
    **{f"lowest eighth: {name}": partial(below, change=change) for name, change in EDGE.items()},
    **{f"whole: {name}": change for name, change in WHOLE.items()},
}


def maps_of(pictures: list[Picture], realism: DNARealism) -> Tensor:
    """Maps of pictures, ``(B, CELLS, CELLS)``."""
    return torch.cat([heat(realism.map(batch), side=CELLS) for batch in data.batch(pictures).split(10)])


def regions(maps: Tensor) -> Tensor:
    """Mean of each region, ``(B, 9)``; regions are a seventh of the side wide, corners two."""
    edge, corner = CELLS // 7, 2 * CELLS // 7
    first, last, middle = slice(corner), slice(-corner, None), slice(corner, -corner)
    rows = [slice(edge), slice(-edge, None), slice(None), slice(None), first, first, last, last, middle]
    columns = [slice(None), slice(None), slice(edge), slice(-edge, None), first, last, first, last, middle]
    return torch.stack([maps[:, down, across].mean((1, 2)) for down, across in zip(rows, columns, strict=True)], 1)


def place_of(a: Tensor, b: Tensor, generator: torch.Generator) -> str | None:
    """The region in which B's maps are further off than A's, or None."""
    maps = torch.cat([a, b])
    uneven = regions(maps) - maps.mean((1, 2))[:, None]
    of_b = torch.zeros(RELABELINGS + 1, len(maps), dtype=torch.float64)
    of_b[0, len(a) :] = 1
    for row in of_b[1:]:
        row[torch.randperm(len(maps), generator=generator)[: len(b)]] = 1
    mean_a, mean_b = (1 - of_b) @ uneven / len(a), of_b @ uneven / len(b)
    squares = (uneven**2).sum(0) - len(a) * mean_a**2 - len(b) * mean_b**2
    t = (mean_b - mean_a) / (squares / (len(maps) - 2) * (1 / len(a) + 1 / len(b))).clamp(min=1e-12).sqrt()
    place = int(t[0].argmax())
    difference = b.mean(0) - a.mean(0)
    inside = regions(difference[None])[0, place]
    size = 1 / 7 if place < 4 else 9 / 49 if PLACES[place] == "centre" else 4 / 49  # of the image
    rest = (difference.mean() - size * inside) / (1 - size)
    p = float((t.amax(1) >= t[0].amax() - 1e-9).double().mean())
    return PLACES[place] if p <= 0.05 and inside >= TIMES * rest else None


def named(pictures: list[Picture], extractor: DNAExtractor, draws: int) -> tuple[dict[str, list[str | None]], Tensor]:
    """The places that are named, by fault, one of each draw; and the difference of the mean maps for each fault."""
    reference, rest = pictures[:NUM_REFERENCE], pictures[NUM_REFERENCE:]
    dna = make_dna(reference, extractor, kind="layer-gaussian", reading=Reading(num_workers=0))
    realism = DNARealism(extractor, reference=dna)
    clean = maps_of(rest, realism)
    places, differences = {}, []
    for fault, spoil in FAULTS.items():
        spoilt = clean if fault == NONE else maps_of([spoil(picture) for picture in rest], realism)
        places[fault] = []
        for draw in range(draws):
            generator = torch.Generator().manual_seed(draw)
            order = torch.randperm(len(rest), generator=generator)
            a, b = order[: len(rest) // 2], order[len(rest) // 2 : 2 * (len(rest) // 2)]
            places[fault].append(place_of(clean[a], spoilt[b], generator))
        differences.append(spoilt[b].mean(0) - clean[a].mean(0))
    return places, torch.stack(differences)


def plot(differences: Tensor, domain: str) -> Figure:
    """The mean map of B minus that of A, of one draw in one domain."""
    shown = {NONE: "equal sets", "lowest eighth: noise of 10": "noise in the lowest eighth",
             "whole: noise of 10": "noise everywhere"}  # fmt: skip
    figure = Figure(figsize=(8.4, 2.9), layout="constrained")
    panels = figure.subplots(1, len(shown))
    maps = [differences[list(FAULTS).index(fault)] for fault in shown]
    limit = float(maps[1].abs().amax())
    for axis, values, title in zip(panels, maps, shown.values(), strict=True):
        picture = axis.imshow(values.numpy(), cmap="PuOr_r", vmin=-limit, vmax=limit)
        axis.set_title(title, loc="left", fontsize=10)
        axis.set_axis_off()
    figure.colorbar(picture, ax=panels, extend="both", label="squared outlier score: B minus A")
    figure.suptitle(f"Mean map of {NUM_SIDE} {domain} minus that of {NUM_SIDE} others", fontsize=12)
    return figure


def shares(found: dict[str, dict[str, list[str | None]]], fault: str) -> dict[str, tuple[float, float]]:
    """How often the lower edge and another place are named, by domain."""
    return {
        domain: (places[fault].count(LOWER) / len(places[fault]),
                 sum(place not in (LOWER, None) for place in places[fault]) / len(places[fault]))
        for domain, places in found.items()
    }  # fmt: skip


def table(found: dict[str, dict[str, list[str | None]]]) -> str:
    rows = []
    for fault in FAULTS:
        cells = shares(found, fault)
        rows.append(
            [fault, *(f"{lower:.0%} / {elsewhere:.0%}".replace("%", " %") for lower, elsewhere in cells.values())]
        )
    return results.table(["lower edge named / another place", *found], rows)


def conclude(found: dict[str, dict[str, list[str | None]]]) -> str:
    """Write the text about the results, means over domains."""
    lower, elsewhere = ({fault: float(np.mean([pair[k] for pair in shares(found, fault).values()])) for fault in FAULTS}
                    for k in (0, 1))  # fmt: skip
    edges, wholes = ([fault for fault in FAULTS if fault.startswith(kind)] for kind in ("lowest", "whole"))
    placed = ", ".join(f"{results.percent(lower[fault])} ({fault[15:]})" for fault in edges)
    return (
        "Some draws corrupt the lowest eighth of the images. The share of these draws in which the lower edge is"
        f" reported is {placed}. Another part of the image is reported in at most"
        f" {results.percent(max(elsewhere[fault] for fault in edges))}. If the whole image is corrupted, a part is"
        f" reported in {results.percent(max(lower[fault] + elsewhere[fault] for fault in wholes))} of the draws. If"
        f" nothing is corrupted, a part is reported in {results.percent(lower[NONE] + elsewhere[NONE])}."
    )


def main() -> None:
    arguments = results.parser(__doc__).parse_args()
    folder = results.begin(arguments)
    extractor, draws = DNAExtractor("efficientnet_lite0"), 2 if arguments.quick else DRAWS
    groups = []
    for domains in (outliers.TUNED, outliers.REPORTED):
        chosen = {name: domains[name] for name in domains if not arguments.quick or name in outliers.AT_HAND}
        found = {}
        for name, make in chosen.items():
            pictures = make(NUM_REFERENCE + (8 if arguments.quick else 2 * NUM_SIDE))
            found[name], differences = named(pictures, extractor, draws)
            figure = plot(differences, name)  # the last one stays
            print(name, flush=True)
        groups.append(found)
    tuned, reported = groups
    results.write(
        folder,
        "mean_maps",
        here=conclude(reported),
        tables=[table(reported), *(["Domains that chose the rule:", table(tuned)] if tuned else [])],
        figures={"": figure},
        seeds=f"0 to {draws - 1}, of which images are A and B",
        data=["scikit-image", "scikit-learn"] if arguments.quick else [
            data.PHOTOGRAPHS, *data.BACKGROUNDS, *data.EMOJI.values(), data.ICONS, "matplotlib's fonts",
            "scikit-learn's digits", "scikit-image's photographs, textures and faces",
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()
