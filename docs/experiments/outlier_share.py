"""Does the interval of the share of outliers hold the share of corrupted images? What OutlierShare returns, by draws.

    pip install "torchmetrics-dna[demo]" scikit-learn
    python docs/experiments/outlier_share.py

Digits, emoji of a maker and tiles of wallpapers. Each picture, and each of its corrupted versions, is measured once, in
two layers and by image properties. A draw takes different pictures for the reference and the set, corrupts some of the
set in one way, and estimates their share. Either each image is corrupted with a probability, as by a generator that
often fails, or exactly this share of the set is. The network, the faults and their strengths were fixed before the
first run.
``--activations FOLDER`` keeps the measurements.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import results
import torch
from corruptions import change_image
from data import EMOJIONE, WALLPAPERS, batch
from kinds_held_out import pictures
from torch import Tensor

from torchmetrics_dna import DNAExtractor
from torchmetrics_dna.binning import Activations
from torchmetrics_dna.functional.outlier_score import OutlierReference
from torchmetrics_dna.functional.outliers import gaussians_of_means, left_out_by_layer, share_beyond, share_limit
from torchmetrics_dna.images.properties import image_properties
from torchmetrics_dna.images.resize import resize_image

LAYERS = ("block_0", "block_3")
NUMBERS = {"digits": 1700, "emojione": 1700, "wallpapers": 450}
SIZES = {  # of the reference, of the set
    "digits": ((100, 100), (100, 500), (700, 700)),
    "emojione": ((100, 100), (100, 500), (700, 700)),
    "wallpapers": ((100, 100), (200, 200)),
}
FAULTS = ("black", "noise", "blur", "JPEG compression")
CLEAR = FAULTS[:2]
STRENGTH = 5
SHARES = (0.0, 0.05, 0.2)
DRAWS = 300
Estimate = tuple[float, float, float]
Row = list[str]


@dataclass
class Measured:
    """Measurements of pictures."""

    means: dict[str, Tensor]
    properties: Tensor

    def take(self, numbers: Tensor) -> Measured:
        return Measured({layer: means[numbers] for layer, means in self.means.items()}, self.properties[numbers])


def corrupted(picture: np.ndarray, fault: str, seed: int) -> np.ndarray:
    """A picture with a fault, or as it is."""
    if not fault:
        return picture
    if fault == "black":
        return picture // 30
    return change_image(picture, fault, STRENGTH, seed)


def measure(name: str, fault: str, number: int, extractor: DNAExtractor, folder: Path | None) -> Measured:
    """Measure pictures of a kind, from the folder if they are there."""
    path = None if folder is None else folder / f"{name} {fault}.pt"
    if path is not None and path.exists():
        return Measured(*torch.load(path))
    images = [corrupted(picture, fault, seed) for seed, picture in enumerate(pictures(name, number)[0])]
    means: dict[str, list[Tensor]] = {layer: [] for layer in LAYERS}
    properties = []
    for first in range(0, len(images), 32):
        part = images[first : first + 32]
        activations = Activations(extractor(torch.from_numpy(np.stack([resize_image(p, (96, 96)) for p in part]))))
        for layer in LAYERS:
            means[layer].append(activations.means(layer).double())
        properties.append(torch.cat([image_properties(batch([picture])) for picture in part]))
    found = Measured({layer: torch.cat(parts) for layer, parts in means.items()}, torch.cat(properties))
    if path is not None:
        torch.save((found.means, found.properties), path)
    return found


def shares_of_draw(
    clean: Measured, faulty: dict[str, Measured], sizes: tuple[int, int], generator: torch.Generator
) -> dict[tuple[str, float], tuple[Estimate, Estimate]]:
    """Estimate each true share of each fault, with a random and with a fixed number, all of one reference and set."""
    num_reference, num_images = sizes
    order = torch.randperm(len(clean.properties), generator=generator)
    chosen = order[num_reference : num_reference + num_images]
    own = clean.take(order[:num_reference])
    reference = OutlierReference(gaussians_of_means(own.means), left_out_by_layer(own.means), own.properties)
    limit = share_limit(reference.own_scores)
    uniform = torch.rand(num_images, generator=generator)
    place = (torch.arange(num_images) + 0.5) / num_images

    def is_beyond(images: Measured) -> Tensor:
        return reference.scores(images.means, images.properties) > limit

    beyond = is_beyond(clean.take(chosen))
    estimate = share_beyond(int(beyond.sum()), num_images, num_reference)
    estimates = {("none", 0.0): (estimate, estimate)}
    for fault, measured in faulty.items():
        beyond_if_faulty = is_beyond(measured.take(chosen))
        for share in SHARES[1:]:
            numbers = [int(torch.where(drawn < share, beyond_if_faulty, beyond).sum()) for drawn in (uniform, place)]
            at_random, fixed = (share_beyond(number, num_images, num_reference) for number in numbers)
            estimates[fault, share] = at_random, fixed
    return estimates


def row(kind: str, sizes: tuple[int, int], fault: str, share: float, draws: list[tuple[Estimate, Estimate]]) -> Row:
    """Return one row of the table."""
    at_random, fixed = (np.array(estimates) for estimates in zip(*draws, strict=True))
    above = at_random[:, 1] > share + 1e-9
    below = at_random[:, 2] < share - 1e-9
    covered_if_fixed = (fixed[:, 1] <= share + 1e-9) & (fixed[:, 2] >= share - 1e-9)
    return [
        kind, f"{sizes[0]}, {sizes[1]}", fault, f"{share:.2f}", f"{at_random[:, 0].mean():.3f}",
        f"{1 - above.mean() - below.mean():.3f}", f"{above.mean():.3f}", f"{below.mean():.3f}",
        f"{covered_if_fixed.mean():.3f}", f"{(at_random[:, 2] - at_random[:, 1]).mean():.2f}", str(len(draws)),
    ]  # fmt: skip


def main() -> None:
    parser = results.parser(__doc__)
    parser.add_argument("--activations", type=Path, help="folder that keeps what was measured")
    arguments = parser.parse_args()
    folder, quick = results.begin(arguments), arguments.quick
    extractor = DNAExtractor("efficientnet_lite0", layers=list(LAYERS), input_size=96)
    numbers = {"digits": 60} if quick else NUMBERS
    rows = []
    for kind, number in numbers.items():
        clean = measure(kind, "", number, extractor, arguments.activations)
        faulty = {fault: measure(kind, fault, number, extractor, arguments.activations) for fault in FAULTS}
        for sizes in ((25, 20),) if quick else SIZES[kind]:
            generator = torch.Generator().manual_seed(1000 * sizes[0] + sizes[1])
            draws = [shares_of_draw(clean, faulty, sizes, generator) for _ in range(3 if quick else DRAWS)]
            for fault, share in draws[0]:
                rows.append(row(kind, sizes, fault, share, [draw[fault, share] for draw in draws]))
            print(results.table([""] * len(rows[0]), rows[-9:]), flush=True)
    header = [
        "kind", "reference, set", "fault", "true share", "mean estimate", "coverage", "interval above",
        "interval below", "coverage, fixed number", "width", "draws",
    ]  # fmt: skip
    by_share = {
        share: [float(each[5]) for each in rows if float(each[3]) == share and each[2] in ("none", *CLEAR)]
        for share in SHARES
    }
    others = [float(each[5]) for each in rows if each[2] in FAULTS[2:]]
    here = (
        f"Without corrupted images, the interval contains the true share in {results.span(by_share[0.0], '.3f')} of"
        f" draws, depending on domain and size. If 5% of the images are black or have strong noise, it does so in"
        f" {results.span(by_share[0.05], '.3f')}. If 20% are, it does so in {results.span(by_share[0.2], '.3f')}. For"
        f" blur and JPEG compression, it does so in {results.span(others, '.3f')}."
    )
    results.write(
        folder,
        "outlier_share",
        here=here,
        tables=[results.table(header, rows)],
        seeds=f"of draws: 1,000 times the reference's images, and those of the set; {DRAWS} draws of each row",
        data=["scikit-learn's digits"] if quick else ["scikit-learn's digits", EMOJIONE, *WALLPAPERS],
    )


if __name__ == "__main__":
    main()
