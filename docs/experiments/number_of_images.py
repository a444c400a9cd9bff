"""How many images a distance needs: the paper's section 5.2 and Fig. 5, with emoji against clip art.

    pip install "torchmetrics-dna[demo]" scikit-learn
    python docs/experiments/number_of_images.py

The reference is every third piece of clip art. More and more emoji are compared with it, from ten to all of 6,050; the
rest is for a reference line, the distance between emoji and other emoji. Pictures are shuffled and measured ten at a
time, and a subset is a random draw of such tens, larger ones with the smaller ones in them. 1.7 GB of memory, of which
the histograms of all subsets take most.
"""

from __future__ import annotations

import random
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import data
import results
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torchmetrics.image.kid import KernelInceptionDistance

from torchmetrics_dna import DNAExtractor
from torchmetrics_dna.functional import activation_histogram, dna_emd, dna_frechet, layer_frechet_distance

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

SIZES = (10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
TEN, BINS, SIDE = 10, 1000, 64
DISTANCES = {
    "dna-emd": "bins",
    "dna-fd": "squared activations",
    "fd, all layers": "squared activations",
    "fd, last layer": "squared activations",
    "KID, last layer": "",
}
NEAR = 0.05  # of the full value

Pictures = list["NDArray[np.uint8]"]


@dataclass
class Images:
    """The statistics of a set of images: histograms, and the spatial means of each image."""

    counts: Tensor
    means: Tensor


def measured(pictures: Iterator[NDArray[np.uint8]] | Pictures, extractor: DNAExtractor) -> Iterator[Images]:
    """Yield pictures in tens."""
    low, high = (extractor.neurons.split(bound) for bound in extractor.ranges.bounds())
    ten: Pictures = []
    for picture in pictures:
        ten.append(picture)
        if len(ten) == TEN:
            found = extractor(data.batch(ten))
            counts = [activation_histogram(values, low[name], high[name], BINS) for name, values in found.items()]
            yield Images(torch.cat(counts).int(), torch.cat([x.flatten(2).mean(2) for x in found.values()], 1))
            ten = []


def whole(parts: Iterator[Images]) -> Images:
    """Join several sets into one."""
    first = next(parts)
    means = [first.means]
    for part in parts:
        first.counts += part.counts
        means.append(part.means)
    return Images(first.counts, torch.cat(means))


def subsets(parts: Iterator[Images], total: int, sizes: list[int], seeds: int) -> tuple[Tensor, Tensor, Tensor]:
    """The statistics of what each larger subset adds to the next smaller one.

    Returns:
        Histograms ``(seeds, sizes, N, bins)``; spatial means ``(total, N)``; for each seed and image, the first subset
        that has the image, ``(seeds, total)``.

    """
    tens = total // TEN
    first_in = torch.stack([torch.randperm(tens, generator=torch.Generator().manual_seed(s)) for s in range(seeds)])
    first_in = torch.bucketize(first_in, torch.tensor(sizes) // TEN, right=True)
    counts, means = None, []
    for number, part in enumerate(parts):
        if counts is None:
            counts = torch.zeros(seeds, len(sizes), *part.counts.shape, dtype=torch.int32)
        for seed, subset in enumerate(first_in[:, number].tolist()):
            counts[seed, subset] += part.counts
        means.append(part.means)
    return counts, torch.cat(means), first_in.repeat_interleave(TEN, 1)


def kernel_distance(a: Tensor, b: Tensor) -> float:
    """KID by torchmetrics, over five subsets of 1000 images or of as many as there are."""
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.filterwarnings("ignore", "Metric `Kernel Inception Distance` will save all", UserWarning)
        torch.default_generator.manual_seed(0)
        metric = KernelInceptionDistance(nn.Identity(), subsets=5, subset_size=min(1000, len(a), len(b)))
        metric.update(a, real=True)
        metric.update(b, real=False)
        return float(metric.compute()[0])


class Reference:
    """One side of all comparisons."""

    def __init__(self, images: Images, layers: dict[str, slice]) -> None:
        self.images, self.layers = images, layers
        self.means = images.means.double()
        self.covariances = {name: self.means[:, rows].T.cov() for name, rows in layers.items()}

    def distances(self, other: Images) -> list[float]:
        """All distances of ``DISTANCES``."""
        means, mine = other.means.double(), self.means
        fds = [
            layer_frechet_distance(mine[:, rows].mean(0), self.covariances[name], means[:, rows].mean(0), covariance)
            for name, rows in self.layers.items()
            for covariance in (means[:, rows].T.cov(),)
        ]
        last = list(self.layers.values())[-1]
        return [
            float(dna_emd(self.images.counts, other.counts)),
            float(dna_frechet(mine.mean(0), mine.var(0), means.mean(0), means.var(0))),
            float(torch.stack(fds).mean()),
            float(fds[-1]),
            kernel_distance(self.images.means[:, last], other.means[:, last]),
        ]


def compare(reference: Reference, counts: Tensor, means: Tensor, first_in: Tensor) -> Tensor:
    """Distances of each subset, ``(seeds, sizes, distances)``; the last subset is all images for every seed."""
    seeds, sizes = counts.shape[:2]
    found = torch.empty(seeds, sizes, len(DISTANCES), dtype=torch.float64)
    for seed in range(seeds):
        so_far = torch.zeros_like(counts[0, 0])
        for size in range(sizes):
            so_far += counts[seed, size]
            if seed and size == sizes - 1:
                found[seed, size] = found[0, size]
            else:
                found[seed, size] = torch.tensor(reference.distances(Images(so_far, means[first_in[seed] <= size])))
    return found


def needed(values: Tensor, sizes: list[int]) -> tuple[int, int]:
    """How many images it takes for the mean of the seeds, and for every seed, to stay within 5 % of the final value."""
    off = values / values[0, -1] - 1
    inside = torch.stack([off.mean(0).abs() <= NEAR, (off.abs() <= NEAR).all(0)])
    lasting = inside.flip(1).int().cumprod(1).sum(1)
    return tuple(sizes[-int(number)] for number in lasting)


def draw(found: Tensor, lines: list[list[float]], sizes: list[int]) -> Figure:
    figure = Figure(figsize=(12, 6.5), layout="constrained")
    figure.suptitle(f"Distance of emoji to clip art by the number of emoji, {len(found)} seeds")
    axes = figure.subplots(2, 3)
    colours = [results.COLOURS[name.split(",")[0]] for name in DISTANCES]
    for number, (axis, (name, unit)) in enumerate(zip(axes.flat, DISTANCES.items(), strict=False)):
        values = found[..., number]
        full = float(values[0, -1])
        axis.axhspan(full * (1 - NEAR), full * (1 + NEAR), color="0.9", label="within 5 %")
        axis.axhline(full, color="black", linestyle="--", linewidth=1, label="all emoji to clip art")
        axis.axhline(lines[number], color="black", linestyle=":", linewidth=1, label="emoji to other emoji")
        axis.errorbar(
            sizes, values.mean(0), values.std(0), color=colours[number], marker="o", markersize=4, capsize=3, label=name
        )
        axis.set_xscale("log")
        axis.set_title(name, loc="left")
        axis.set_ylabel(f"distance ({unit})" if unit else "distance")
        axis.set_ylim(bottom=min(0, float((values.mean(0) - values.std(0)).min())))
        axis.set_xlabel("emoji")
        axis.spines[["top", "right"]].set_visible(False)
    handles, labels = axes.flat[0].get_legend_handles_labels()
    axes.flat[-1].axis("off")
    axes.flat[-1].legend(handles, [*labels[:3], "mean and deviation"], loc="center", frameon=False)
    return figure


def rounded(value: float, digits: int) -> str:
    """So many digits, without an exponent."""
    return f"{float(f'{value:.{digits}g}'):,g}"


def report(found: Tensor, lines: list[float], sizes: list[int]) -> tuple[str, list[str]]:
    """Write the text about the results, and the tables."""
    enough = {name: needed(found[..., number], sizes) for number, name in enumerate(DISTANCES)}
    mean, deviation = found.mean(0), found.std(0)
    rows = [
        [f"{size:,}", *(f"{rounded(m, 3)} ± {rounded(d, 2)}" for m, d in zip(mean[i], deviation[i], strict=True))]
        for i, size in enumerate(sizes[:-1])
    ]
    rows += [
        [f"all {sizes[-1]:,}", *(rounded(value, 3) for value in found[0, -1])],
        ["emoji to emoji", *(rounded(line, 3) for line in lines)],
        ["mean within 5 % from", *(f"{enough[name][0]:,}" for name in DISTANCES)],
        ["all seeds within 5 % from", *(f"{enough[name][1]:,}" for name in DISTANCES)],
    ]
    emd, *fds = (enough[name] for name in ("dna-emd", "fd, all layers", "fd, last layer"))
    here = (
        f"A distance is called stable if it is within 5% of its value for all {sizes[-1]:,} emoji. On average over the"
        f" seeds, dna-emd is stable from {emd[0]:,} images on. With every single seed, it is stable from {emd[1]:,}"
        f" images on. For fd over all layers, these numbers are {fds[0][0]:,} and {fds[0][1]:,}. For fd of the last"
        f" layer, they are {fds[1][0]:,} and {fds[1][1]:,}."
    )
    return here, [results.table(["emoji", *DISTANCES], rows)]


def sources(quick: bool) -> tuple[Iterator[NDArray[np.uint8]], Pictures | list[data.Emoji], list[object]]:
    """The reference, the images of which subsets are taken, and where they come from."""
    if quick:
        here = ["scikit-image's photographs", "scikit-learn's digits"]
        return iter(data.at_hand(20)), data.at_hand(60, "digits"), here
    clip_art = (data.picture(path, SIDE) for path in data.drawings()[::3])
    emoji = [one for maker in data.MAKERS for one in data.emoji(maker)]
    return clip_art, emoji, [data.DRAWINGS, *data.EMOJI.values()]


def main() -> None:
    parser = results.parser(__doc__)
    parser.add_argument("--seeds", type=int, default=10, help="how many")
    arguments = parser.parse_args()
    folder = results.begin(arguments)
    extractor = DNAExtractor("efficientnet_lite0", input_size=SIDE)
    reference, shuffled, origin = sources(arguments.quick)
    random.Random(0).shuffle(shuffled)
    total = len(shuffled) * 4 // 5 // TEN * TEN
    sizes = [size for size in SIZES if size < total] + [total]

    def opened(some: list) -> Iterator[NDArray[np.uint8]]:
        return (data.picture(one.path) if isinstance(one, data.Emoji) else one for one in some)

    side = Reference(whole(measured(reference, extractor)), extractor.neurons.slices)
    print(f"{len(side.means)} images of reference", flush=True)
    others = whole(measured(opened(shuffled[total:]), extractor))
    parts = subsets(measured(opened(shuffled[:total]), extractor), total, sizes, arguments.seeds)
    print(f"{total} images measured", flush=True)
    found = compare(side, *parts)
    everything = Images(parts[0][0].sum(0), parts[1])
    lines = Reference(others, extractor.neurons.slices).distances(everything)
    here, tables = report(found, lines, sizes)
    results.write(
        folder,
        "number_of_images",
        paper="ADE20K is compared with more and more images of COCO. fd is stable from 10,000 images on,"
        " and dna-emd from 400.",
        here=here,
        tables=tables,
        figures={"": draw(found, lines, sizes)},
        seeds=f"0 to {arguments.seeds - 1}, of the subsets",
        data=origin,
    )


if __name__ == "__main__":
    main()
