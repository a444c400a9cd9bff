"""Figures for the page of concepts, from photographs of scikit-image and blurred copies of them.

python concept_figures.py -o ../concepts
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse

from torchmetrics_dna import DNAExtractor, compare, make_dna
from torchmetrics_dna.demo import blur, photographs
from torchmetrics_dna.dna import HistogramDNA
from torchmetrics_dna.plots import plot_layers

if TYPE_CHECKING:
    from torchmetrics_dna.comparisons import Comparison

A, B = {"color": "#0072B2", "linestyle": "-"}, {"color": "#D55E00", "linestyle": "--"}  # Okabe and Ito's
LAYERS = ("block_0", "block_2", "block_4", "block_6")
NEURON = ("block_1", 1)  # whose histograms are shown
NAMES = "photographs", "blurred photographs"
PAIR = ("block_1", 11, 23)  # two neurons whose spatial means are correlated


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=Path(), help="folder for the pictures")
    folder = parser.parse_args().output
    folder.mkdir(exist_ok=True)
    photos = photographs(24)
    blurred = [blur(photo, strength=3) for photo in photos]
    extractor = DNAExtractor()
    result = compare(photos, blurred, extractor, num_folds=None)
    figures = {
        "neurons": neurons_of(extractor, photos[3]),
        "emd": emd_of(result),
        "self_ranging": self_ranging(photos, extractor),
        "gaussians": gaussians(photos, blurred, extractor),
        "layers": plot_layers(result, names=NAMES),
    }
    for name, figure in figures.items():
        figure.savefig(folder / f"{name}.png", dpi=100, pil_kwargs={"optimize": True})


def neurons_of(extractor: DNAExtractor, photo: np.ndarray) -> Figure:
    """One photograph, and the activation maps of the first neurons of some layers."""
    activations = extractor(torch.from_numpy(photo.copy()).permute(2, 0, 1)[None])
    figure = Figure(figsize=(7.6, 2.9), layout="constrained")
    picture, maps = figure.subfigures(1, 2, width_ratios=(1, 3.7))
    axis = picture.subplots()
    axis.imshow(photo)
    axis.set_title("one image", fontsize=11)
    axis.axis("off")
    grid = maps.subplots(3, len(LAYERS))
    for column, layer in zip(grid.T, LAYERS, strict=True):
        _, width, *positions = activations[layer].shape
        column[0].set_title(f"{layer}: {width} neurons\n{positions[0]} by {positions[1]} positions", fontsize=8)
        for number, axis in enumerate(column):
            axis.imshow(activations[layer][0, number].numpy(), cmap="cividis")
            axis.set_xticks([])
            axis.set_yticks([])
    for number, axis in enumerate(grid[:, 0]):
        axis.set_ylabel(f"neuron {number}", fontsize=8)
    return figure


def emd_of(result: Comparison) -> Figure:
    """A neuron's histograms of both sets; the area between their cumulative shares is the neuron's EMD."""
    share_a, share_b, edges = (values.numpy() for values in result.histograms(*NEURON))
    emd = float(result["dna-emd"].values[result.neurons.index(*NEURON)])
    figure = Figure(figsize=(9.5, 3.6), layout="constrained")
    shares, cumulative = figure.subplots(1, 2)
    groups = np.arange(0, len(share_a), 10)  # ten bins drawn as one
    for share, style, name in ((share_a, A, "photographs"), (share_b, B, "blurred")):
        shares.stairs(100 * np.add.reduceat(share, groups), edges[::10], label=name, baseline=None, **style)
        cumulative.stairs(share.cumsum(), edges, label=name, baseline=None, **style)
    cumulative.fill_between(edges[1:], share_a.cumsum(), share_b.cumsum(), step="pre", color="0.8", linewidth=0)
    filled = edges[:-1][share_a + share_b > 1e-4]
    titles = (f"{NEURON[0]} neuron {NEURON[1]}: its histograms", f"the area between is its EMD: {emd:.3g} bins")
    for axis, title, unit in zip((shares, cumulative), titles, ("share (%)", "cumulative share"), strict=True):
        axis.set_xlim(filled[0], filled[-1])
        axis.set_title(title, fontsize=11, loc="left")
        axis.set_ylabel(unit)
        axis.legend(frameon=False)
        _plain(axis)
    return figure


def self_ranging(photos: list[np.ndarray], extractor: DNAExtractor) -> Figure:
    """A neuron's self-ranging histogram of more and more images."""
    figure = Figure(figsize=(9.5, 2.9), layout="constrained")
    sets = (photos[8:9], [photos[8], photos[1]], photos)  # the moon, which has few details; with bricks; all
    for axis, images in zip(figure.subplots(1, 3, sharex=True), sets, strict=True):
        dna = make_dna(images, extractor, num_bins=24, ranges="auto")
        assert isinstance(dna, HistogramDNA)
        one = dna.select(neurons=[0])
        counts, edges = one.counts[0].numpy(), one.bin_edges()[0].numpy()
        axis.stairs(100 * counts / counts.sum(), edges, fill=True, color=A["color"], alpha=0.4)
        axis.stairs(100 * counts / counts.sum(), edges, color=A["color"])
        for edge in edges:
            axis.axvline(edge, color="0.6", linewidth=0.5, ymax=0.04)
        number = "1 image" if len(images) == 1 else f"{len(images)} images"
        axis.set_title(f"{number}: bins are {edges[1] - edges[0]:g} wide", fontsize=11, loc="left")
        axis.set_ylabel("share (%)")
        _plain(axis)
    return figure


def gaussians(photos: list[np.ndarray], blurred: list[np.ndarray], extractor: DNAExtractor) -> Figure:
    """Spatial means of two neurons: Gaussians of each alone, and of both together."""
    layer, *pair = PAIR
    figure = Figure(figsize=(9.5, 3.8), layout="constrained")
    alone, together = figure.subplots(1, 2, sharex=True, sharey=True)
    for images, style, marker, name in ((photos, A, "o", "photographs"), (blurred, B, "s", "blurred")):
        batch = torch.stack([torch.from_numpy(image.copy()) for image in images]).permute(0, 3, 1, 2)
        means = extractor(batch)[layer][:, pair].double().mean((2, 3))
        cov = torch.cov(means.T)
        for axis, matrix in ((alone, cov.diag().diag()), (together, cov)):
            axis.scatter(*means.T.numpy(), s=14, color=style["color"], marker=marker, alpha=0.6, linewidth=0)
            values, vectors = torch.linalg.eigh(matrix)
            angle = float(torch.rad2deg(torch.atan2(vectors[1, 1], vectors[0, 1])))
            width, height = (4 * values.flip(0).sqrt()).tolist()  # two standard deviations to either side
            axis.add_patch(Ellipse(means.mean(0).numpy(), width, height, angle=angle, fill=False, label=name, **style))
    titles = ("dna-fd: each neuron's mean and variance", "fd: covariances, too")
    for axis, title in zip((alone, together), titles, strict=True):
        axis.set_title(title, fontsize=11, loc="left")
        axis.set_ylabel(f"mean of {layer} neuron {pair[1]}")
        axis.legend(frameon=False)
        _plain(axis)
        axis.set_xlabel(f"mean of {layer} neuron {pair[0]}")
    return figure


def _plain(axis: Any) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.set_xlabel("activation")


if __name__ == "__main__":
    main()
