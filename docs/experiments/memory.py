"""How much memory a description of a data set takes: the paper's Table 1, and the same for this package's files.

    pip install "torchmetrics-dna[demo]" scikit-learn
    python docs/experiments/memory.py

Sizes in theory are of 70,000 images and 8 bytes a number, as in the paper. Files are those of some photographs, grown
to 70,000: histograms are smoothed and drawn from again, of features an image takes its share, and the size of the
others does not depend on how many images there are. The ViT-B/16 has random weights: only its shape is the paper's.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import data
import numpy as np
import results
import timm
import torch
from matplotlib.figure import Figure
from torch.nn.functional import avg_pool1d

from torchmetrics_dna import DNAEMD, DNAExtractor, DNAFrechet, LayerFrechetDistance

if TYPE_CHECKING:
    from torchmetrics_dna.dna import HistogramDNA

IMAGES, BINS, BYTES = 70_000, 1000, 8
ROWS = {
    "features": "N · n · S",
    "spatially averaged features": "N · n",
    "DNA of Gaussians": "2 · n",
    "DNA of histograms": "B · n",
    "Gaussians of layers, for fd": "n + n (n + 1) / 2 a layer",
}
PAPER = {  # by row: in theory, observed
    "features": ("1.10 TB", "-"),
    "spatially averaged features": ("5.59 GB", "2.91 GB"),
    "DNA of Gaussians": ("159 kB", "84.7 kB"),
    "DNA of histograms": ("79.9 MB", "14.8 MB"),
}


@dataclass
class Sizes:
    """Bytes of each row of the table: in theory, and of files where some were written."""

    theory: dict[str, float]
    files: dict[str, float]


def sizes(extractor: DNAExtractor, num_photographs: int) -> Sizes:
    """Bytes of one extractor's descriptions of the photographs."""
    photographs = data.at_hand(num_photographs)
    neurons, widths = extractor.neurons.total, list(extractor.neurons.values())
    numbers = {
        "features": IMAGES * extractor.bytes_per_image / 4,
        "spatially averaged features": IMAGES * neurons,
        "DNA of Gaussians": 2 * neurons,
        "DNA of histograms": BINS * neurons,
        "Gaussians of layers, for fd": sum(n + n * (n + 1) // 2 for n in widths),
    }
    with tempfile.TemporaryDirectory() as folder:
        files = dict(zip(list(ROWS)[1:], written(extractor, photographs, Path(folder)), strict=True))
    return Sizes({row: BYTES * number for row, number in numbers.items()}, files)


def written(extractor: DNAExtractor, photographs: list[np.ndarray], folder: Path) -> list[float]:
    """Write the files, all from one pass, and give their bytes in the order of the rows."""
    metrics = [DNAFrechet(extractor), DNAEMD(extractor, num_bins=BINS), LayerFrechetDistance(extractor)]
    means = []
    for images in data.batch(photographs).split(8):
        for metric in metrics:
            metric.update(images, real=True)
        means.append(torch.cat([x.flatten(2).mean(2) for x in extractor(images).values()], 1).numpy())
    gaussian, histogram, layers = (metric.to_dna(real=True) for metric in metrics)
    np.savez_compressed(folder / "features.npz", np.concatenate(means))
    for name, dna in (("gaussian", gaussian), ("histogram", grown(histogram)), ("layers", layers)):
        dna.save(folder / f"{name}.npz")
    found = [(folder / f"{name}.npz").stat().st_size for name in ("features", "gaussian", "histogram", "layers")]
    return [found[0] / len(photographs) * IMAGES, *found[1:]]


def grown(dna: HistogramDNA) -> HistogramDNA:
    """Histograms as of ``IMAGES`` images, drawn from these after some smoothing."""
    smooth = avg_pool1d(dna.counts.double()[None], 21, 1, 10)[0].numpy()
    totals = dna.counts.sum(1).numpy() * IMAGES // dna.num_images
    random = np.random.default_rng(0)
    counts = [random.multinomial(total, row / row.sum()) for total, row in zip(totals, smooth, strict=True)]
    return replace(dna, counts=torch.from_numpy(np.stack(counts)), num_images=IMAGES)


def readable(number: float | None) -> str:
    """Bytes in the largest unit of which there is at least one."""
    if number is None:
        return "-"
    for unit in ("B", "kB", "MB", "GB"):
        if number < 999.5:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} TB"


def draw(found: dict[str, Sizes]) -> Figure:
    figure = Figure(figsize=(10, 4), layout="constrained")
    figure.suptitle(f"Memory for {IMAGES:,} images")
    for axis, (name, sides) in zip(
        figure.subplots(1, len(found), sharex=True, sharey=True), found.items(), strict=True
    ):
        for shift, (label, values, colour) in enumerate(
            (
                ("in theory", sides.theory, results.COLOURS["second"]),
                ("in a file", sides.files, results.COLOURS["dna-emd"]),
            )
        ):
            places = [list(ROWS).index(row) + 0.38 * shift - 0.19 for row in values]
            bars = axis.barh(places, list(values.values()), 0.36, color=colour, label=label)
            axis.bar_label(bars, [readable(value) for value in values.values()], padding=3, fontsize=8)
        axis.set_xscale("log")
        axis.set_xlim(1e4, 1e14)
        axis.set_yticks(range(len(ROWS)), ROWS)
        axis.set_title(name, loc="left", fontsize=11)
        axis.set_xlabel("bytes")
        axis.spines[["top", "right"]].set_visible(False)
    axis.invert_yaxis()
    figure.legend(*axis.get_legend_handles_labels(), loc="outside lower right", ncols=2, frameon=False)
    return figure


def main() -> None:
    parser = results.parser(__doc__)
    arguments = parser.parse_args()
    folder = results.begin(arguments)
    torch.manual_seed(0)
    vit = "vit_tiny_patch16_224" if arguments.quick else "vit_base_patch16_224"
    several = {
        f"{'ViT-Ti' if arguments.quick else 'ViT-B'}/16": (
            DNAExtractor(timm.create_model(vit)),
            8 if arguments.quick else 32,
        ),
        "efficientnet_lite0, the default": (DNAExtractor("efficientnet_lite0"), 8 if arguments.quick else 64),
    }
    found = {}
    for name, (extractor, num_photographs) in several.items():
        positions = extractor.bytes_per_image / 4 / extractor.neurons.total
        found[f"{name}: n = {extractor.neurons.total:,}, S = {positions:.0f}"] = sizes(extractor, num_photographs)
    header = [
        "",
        "numbers",
        "paper: theory",
        "paper: file",
        *(f"{name}: {what}" for name in found for what in ("theory", "file")),
    ]
    rows = [
        [
            row,
            count,
            *PAPER.get(row, ("-", "-")),
            *(readable(x.get(row)) for s in found.values() for x in (s.theory, s.files)),
        ]
        for row, count in ROWS.items()
    ]
    paper, default = (list(found.values())[number].files["DNA of histograms"] for number in (0, -1))
    results.write(
        folder,
        "memory",
        paper="a DNA of histograms takes 14.8 MB whatever the number of images, where features take 1.10 TB.",
        here=(
            f"the file of a network of that shape takes {readable(paper)}, and that of the default extractor"
            f" {readable(default)}; Gaussians of layers, which fd needs, grow with the square of the layers' width."
        ),
        tables=[results.table(header, rows)],
        figures={"": draw(found)},
        seeds="0, of the random weights and of the drawn histograms",
        data=["scikit-image's photographs"],
    )


if __name__ == "__main__":
    main()
