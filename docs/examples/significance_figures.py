"""Figures for the page on reading the numbers: no, a small and a large difference between crops of photographs.

python significance_figures.py -o ../significance
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from torchmetrics_dna import DNAExtractor, compare, make_dna
from torchmetrics_dna.demo import blur, jpeg, photographs
from torchmetrics_dna.dna.distances import DISTANCES
from torchmetrics_dna.files.visible import p_figure
from torchmetrics_dna.functional.permutation import relabelings

if TYPE_CHECKING:
    from collections.abc import Callable

    from torchmetrics_dna.comparisons import Comparison
    from torchmetrics_dna.dna import HistogramDNA

Picture = NDArray[np.uint8]
CHANCE, FOUND, DEBIASED = "0.75", "#D55E00", "#0072B2"  # Okabe and Ito's
SIDE, SHOWN, FOLDS, LAYER = 80, 3, 20, "block_3"  # images of a side, of which so many are shown
CHANGES: dict[str, tuple[str, Callable[[Picture], Picture]]] = {
    "null": ("other photographs", lambda photo: photo),
    "small": ("other photographs, JPEG of quality 50", lambda photo: jpeg(photo, 1)),
    "large": ("other photographs, blurred by 4 pixels", lambda photo: blur(photo, 4)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=Path(), help="folder for the pictures")
    folder = parser.parse_args().output
    folder.mkdir(exist_ok=True)
    photos = photographs(2 * SIDE)
    # shared out at random: in their own order the two sides would be more alike than chance makes them
    order = np.random.default_rng(0).permutation(len(photos))
    a, rest = ([photos[i] for i in some] for some in (order[:SIDE], order[SIDE:]))
    extractor = DNAExtractor()
    folded = make_dna(a, extractor, num_folds=FOLDS)
    for name, (title, change) in CHANGES.items():
        b = [change(photo) for photo in rest]
        dnas = folded, make_dna(b, extractor, num_folds=FOLDS)
        result = compare(*dnas)
        print(f"{name}: {result.verdict}")
        drawn = figure(result, *dnas, (a[:SHOWN], b[:SHOWN]), title)
        drawn.savefig(folder / f"{name}.png", dpi=90, pil_kwargs={"optimize": True})


def figure(
    result: Comparison, a: HistogramDNA, b: HistogramDNA, pictures: tuple[list[Picture], ...], title: str
) -> Figure:
    """Some images of both sides; and where the distances lie among those that chance gives."""
    made = Figure(figsize=(10, 3.1), layout="constrained")
    left, right = made.subfigures(1, 2, width_ratios=(1, 2))
    for row, name, images in zip(left.subplots(2, SHOWN), "AB", pictures, strict=True):
        for axis, image in zip(row, images, strict=True):
            axis.imshow(image)
            axis.set(xticks=[], yticks=[])
        row[0].set_ylabel(name, rotation=0, labelpad=10)
    left.suptitle(f"B: {title}", fontsize=10, x=0.02, ha="left")
    chance = by_chance(a, b)
    for i, (axis, layer) in enumerate(zip(right.subplots(1, 2), (None, LAYER), strict=True)):
        rows = slice(None) if layer is None else result.neurons.slices[layer]
        axis.hist(chance[:, rows].mean(1), bins=30, color=CHANCE, label="equal sets, by chance")
        axis.axvline(result["dna-emd"].layers[layer].value, color=FOUND, linewidth=2, label="A and B")
        axis.axvline(result["dna-emd"].layers[layer].debiased, color=DEBIASED, linewidth=2, linestyle="--",
                     label="A and B, without noise")  # fmt: skip
        label = p_figure(result["dna-emd"].layers[layer].p_value or 0, "p")
        axis.set_title(f"{layer or 'all neurons'}: {label}", fontsize=10, loc="left")
        axis.set_xlim(left=-0.5)
        axis.set_xlabel("dna-emd (bins)")
        axis.set_yticks([])
        axis.spines[["top", "right", "left"]].set_visible(False)
        if i == 0:
            right.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return made


def by_chance(a: HistogramDNA, b: HistogramDNA) -> NDArray[Any]:
    """Distances of all neurons when folds are shared out at random, ``(relabelings, N)``."""
    unions = DISTANCES["dna-emd"].folded
    assert unions is not None
    folds = unions(a, b)
    in_a = relabelings(len(folds.sizes_a), len(folds.sizes_b))[1:]
    return np.asarray(folds.distances(in_a, ~in_a))


if __name__ == "__main__":
    main()
