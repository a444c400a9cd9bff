"""Which change was done to photographs: as the packaged dictionary names it, and as properties of images show it.

    pip install "torchmetrics-dna[demo]" scikit-learn
    python docs/experiments/named_changes.py

Photographs of things and animals, cut out or whole, none of which is in the dictionary. Every second one, in the order
of their files, was used to choose how the dictionary is made (from which pictures, with how many components of content,
and from which share of explained shift on a change is named); the others, on which all that follows is measured, chose
nothing.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import data
import numpy as np
import results
import torch
from matplotlib.figure import Figure

from torchmetrics_dna import DNAExtractor
from torchmetrics_dna.binning.moments import spatial_means
from torchmetrics_dna.dna.changes import LEAST_EXPLAINED, changes_for
from torchmetrics_dna.images.changes import CHANGES, STRENGTHS
from torchmetrics_dna.images.properties import PROPERTIES, image_properties
from torchmetrics_dna.images.resize import resize_image
from torchmetrics_dna.images.sources import open_source
from torchmetrics_dna.jobs.make_changes import ChangedImages

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

DRAWS, NULL_DRAWS, SEED = 5, 200, 0
STEPS = [(name, strength) for name in CHANGES for strength in STRENGTHS]
# what a person would call the change by, set before anything was measured; the last has no property
RIGHT = {
    "noise": ("noise",), "salt-and-pepper noise": ("noise",), "speckle noise": ("noise",),
    "blur": ("sharpness", "fine detail"), "motion blur": ("sharpness", "fine detail"),
    "JPEG compression": ("blockiness",), "pixelation": ("pixelation", "blockiness"),
    "brighter": ("brightness", "bright pixels"), "darker": ("brightness", "dark pixels"),
    "more contrast": ("contrast", "dark pixels", "bright pixels"), "less contrast": ("contrast",),
    "more saturation": ("saturation",), "less saturation": ("saturation",),
    "hue": ("red against green", "blue against yellow"), "warmer": ("red against green", "blue against yellow"),
    "cooler": ("red against green", "blue against yellow"), "fog": ("brightness", "contrast"),
    "vignette": ("dark corners",), "sharpening": ("sharpness", "fine detail"),
    "fewer colours": ("colours", "flat areas"), "occlusion": ("dark pixels", "flat areas"), "elastic distortion": (),
}  # fmt: skip


class Measured(NamedTuple):
    """Of each image, as it is and after each step: mean activations ``(I, 111, N)``, and properties."""

    means: Tensor
    properties: Tensor


def measure(pictures: list[NDArray[np.uint8]], extractor: DNAExtractor) -> Measured:
    """All changes of all pictures."""
    changed = ChangedImages(open_source(pictures))
    means, properties = [], []
    for first in range(0, len(changed), 1 + len(STEPS)):
        some = [changed[first + i] for i in range(1 + len(STEPS))]
        properties.append(torch.cat([image_properties(torch.tensor(one.transpose(2, 0, 1)[None])) for one in some]))
        resized = torch.from_numpy(np.stack([resize_image(one, (224, 224)) for one in some]))
        found = [torch.cat([spatial_means([v]) for v in extractor(part).values()]) for part in resized.split(37)]
        means.append(torch.cat(found, 1).T)
    return Measured(torch.stack(means), torch.stack(properties).double())


class Named(NamedTuple):
    """What was said of one pair of sets."""

    change: str
    strength: int
    order: list[str]
    explained: float
    found_strength: float | None


def name_all(measured: Measured, extractor: DNAExtractor, same: bool, draws: int, size: int) -> list[Named]:
    """The names that the dictionary gives to each change in each strength, for sets drawn at random."""
    known = changes_for(None, extractor.name)
    assert known is not None
    generator = torch.Generator().manual_seed(SEED)
    found = []
    for step, (name, strength) in enumerate(STEPS, 1):
        for _ in range(draws):
            drawn = torch.randperm(len(measured.means), generator=generator)
            a, b = drawn[:size], drawn[:size] if same else drawn[size : 2 * size]
            fit = known.fit(measured.means[b, step].mean(0) - measured.means[a, 0].mean(0), extractor.neurons)
            order = [known.names[i] for i in fit.alone.argsort().tolist()]
            first = fit.changes[0][1] if fit.changes and known.names[fit.changes[0][0]] == name else None
            found.append(Named(name, strength, order, 1 - fit.unexplained, first))
    return found


def null_shares(measured: Measured, extractor: DNAExtractor, draws: int, size: int) -> list[float]:
    """What the dictionary explains of the shift between two sets of other photographs, none of them changed."""
    known = changes_for(None, extractor.name)
    assert known is not None
    generator = torch.Generator().manual_seed(SEED + 1)
    found = []
    for _ in range(draws):
        drawn = torch.randperm(len(measured.means), generator=generator)
        a, b = drawn[:size], drawn[size : 2 * size]
        shift = measured.means[b, 0].mean(0) - measured.means[a, 0].mean(0)
        found.append(1 - known.fit(shift, extractor.neurons).unexplained)
    return found


def property_orders(measured: Measured, draws: int, size: int) -> dict[str, Counter[tuple[str, ...]]]:
    """The two properties that differ most, by means in standard deviations, for other photographs at strength 3."""
    generator = torch.Generator().manual_seed(SEED + 2)
    found: dict[str, Counter[tuple[str, ...]]] = {}
    for name in CHANGES:
        step = 1 + STEPS.index((name, 3))
        found[name] = Counter()
        for _ in range(draws):
            drawn = torch.randperm(len(measured.properties), generator=generator)
            a, b = measured.properties[drawn[:size], 0], measured.properties[drawn[size : 2 * size], step]
            spread = ((a.var(0, correction=0) + b.var(0, correction=0)) / 2).sqrt().clamp(min=1e-6)
            best = ((b.mean(0) - a.mean(0)).abs() / spread).topk(2).indices.tolist()
            found[name][tuple(PROPERTIES[i] for i in best)] += 1
    return found


def share(values: list[bool]) -> str:
    return results.percent(np.mean(values))


def plot(same: list[Named], other: list[Named]) -> Figure:
    """Share of pairs whose change is named right, by change and strength."""
    figure = Figure(figsize=(9, 6.5), layout="constrained")
    figure.suptitle("Pairs whose change is named right, by change and strength")
    for axis, (what, found) in zip(
        figure.subplots(1, 2, sharey=True), {"same photographs": same, "other photographs": other}.items(), strict=True
    ):
        grid = np.array(
            [
                [
                    np.mean([one.order[0] == name for one in found if (one.change, one.strength) == (name, s)])
                    for s in STRENGTHS
                ]
                for name in CHANGES
            ]
        )
        picture = axis.imshow(grid, vmin=0, vmax=1, cmap="cividis", aspect="auto")
        axis.set_yticks(range(len(CHANGES)), list(CHANGES))
        axis.set_xticks(range(len(STRENGTHS)), [str(s) for s in STRENGTHS])
        axis.set_xlabel("strength")
        axis.set_title(what, fontsize=10)
    figure.colorbar(picture, ax=figure.axes, label="share of pairs", shrink=0.6)
    return figure


def main() -> None:
    arguments = results.parser(__doc__).parse_args()
    folder = results.begin(arguments)
    extractor = DNAExtractor("efficientnet_lite0")
    pictures = data.at_hand(2) if arguments.quick else [data.picture(path) for path in data.photographs()[1::2]]
    size, draws, null_draws = (1, 1, 4) if arguments.quick else (50, DRAWS, NULL_DRAWS)
    measured = measure(pictures, extractor)
    same, other = (name_all(measured, extractor, each, draws, size) for each in (True, False))
    null = null_shares(measured, extractor, null_draws, size)
    silent = float(np.mean([explained < LEAST_EXPLAINED for explained in null]))
    orders = property_orders(measured, draws, size)
    named = {name: bool(set(RIGHT[name]) & set(of.most_common(1)[0][0])) for name, of in orders.items()}
    rows, strengths = [], [f"strength {s}" for s in STRENGTHS]
    for what, found in (("same photographs", same), ("other photographs", other)):
        spoken = [one for one in found if one.explained >= LEAST_EXPLAINED]
        rows.append([
            what, share([one.order[0] == one.change for one in found]),
            share([one.change in one.order[:3] for one in found]),
            *(share([one.order[0] == one.change for one in found if one.strength == s]) for s in STRENGTHS),
            share([one.explained >= LEAST_EXPLAINED for one in found]),
            share([one.order[0] == one.change for one in spoken]) if spoken else "-",
        ])  # fmt: skip
    wrong = Counter((one.change, one.order[0]) for one in other if one.order[0] != one.change)
    mistakes = "; ".join(f"{a} taken for {b} ({n})" for (a, b), n in wrong.most_common(6)) or "none"
    off = [abs(one.found_strength - one.strength) for one in same if one.found_strength is not None]
    results.write(
        folder,
        "named_changes",
        paper="does not name changes.",
        here=f"of pairs of the same photographs, {rows[0][1]} are named right ({rows[0][2]} among the first three), of"
        f" other photographs {rows[1][1]} ({rows[1][2]}); chance is 4.5 %. Strengths are off by"
        f" {np.mean(off) if off else 0:.2f} of 5 on average. Mistakes for other photographs: {mistakes}. Of {len(null)}"
        f" pairs of photographs to which nothing was done, {results.percent(silent)} get no change named. Among the"
        f" two properties that differ most is one that a person would name for {sum(named.values())} of {len(named)}"
        f" changes; not for {', '.join(name for name, right in named.items() if not right) or 'none'}.",
        tables=[
            results.table(
                ["named right", "first", "among three", *strengths, "spoken of", "right then"],
                rows,
            ),
            results.table(
                ["change, strength 3, other photographs", "properties that differ most", "in draws", "right"],
                [[name, ", ".join(of.most_common(1)[0][0]), f"{of.most_common(1)[0][1]} of {draws}",
                  "yes" if named[name] else "no"] for name, of in orders.items()],
            ),
        ],
        figures={"": plot(same, other)},
        seeds=f"{SEED} to {SEED + 2}, of draws",
        data=["scikit-image"] if arguments.quick else [data.PHOTOGRAPHS],
    )  # fmt: skip


if __name__ == "__main__":
    main()
