"""Single images of a comparison, for its page: samples of both sides, odd images, and those least like the other."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from torchmetrics_dna.comparisons.odd_images import means_by_layer
from torchmetrics_dna.dna import DNA
from torchmetrics_dna.functional.odd import LEAST
from torchmetrics_dna.functional.outlier_score import OutlierReference
from torchmetrics_dna.functional.outliers import (
    gaussians_of_means,
    left_out_by_layer,
    left_out_scores,
    outlier_scores,
)
from torchmetrics_dna.images import ImageSource, open_source
from torchmetrics_dna.images.changes import change_image
from torchmetrics_dna.images.pixels import Pixels, as_bytes, as_rgb
from torchmetrics_dna.images.sets import indexed, shuffled
from torchmetrics_dna.jobs.groups import partners
from torchmetrics_dna.jobs.processes import in_step
from torchmetrics_dna.singles.ranking import heat_maps
from torchmetrics_dna.statistics.outliers import OutlierScorer

if TYPE_CHECKING:
    from torch import Tensor

    from torchmetrics_dna.comparisons.two_sets import Comparison
    from torchmetrics_dna.images.cells import Crop
    from torchmetrics_dna.jobs.sides import Sides

# Number of images of a strip.
_DRAWN = 8
# Number of images per set that are least like the other set. Each goes through the network once more, for its map.
_UNLIKE = 6
# Number of odd images of B that are shown, also with maps.
_ODD = 12
# Pixels of the longer side of a shown image.
_SIDE = 160
# The gain of difference images clips at most this share of their values.
_CLIPPED = 0.01


class ShownImage(NamedTuple):
    """Image that a page shows.

    Attributes:
        name: Its name below its source.
        picture: Pillow image, at most 160 pixels wide and high.
        heat: Where it is unlike the other set, see :func:`~torchmetrics_dna.functional.heat`, ``(side, side)``; None
            for an image that was drawn at random.
        why: Why it is off, in words; empty if it is not named.

    """

    name: str
    picture: Image.Image
    heat: Tensor | None = None
    why: str = ""


@dataclass(frozen=True, eq=False)
class Gallery:
    """Single images of the two sides of a comparison, as plain images and numbers.

    Attributes:
        settings: What the sides are, in words, by name.
        strips: Images drawn at random, by side, ``"a"``, ``"b"`` or both: of equal sides the same numbers, or partners.
        differences: Absolute differences of these partners; empty unless images correspond.
        gain: Factor by which the differences are multiplied.
        changed: The images of A after the changes that are named as the cause.
        twins: Images of both sides that look alike, by side; empty unless the sets share so many that it is said.
        odd: Odd images of B, at most 12.
        unlike: Images of each side that are least like the other side, the furthest first; empty where the test shows
            no difference, and without spatial means of both sides.
        crop: Part of an image that the network sees, which the heat maps are of.

    """

    settings: dict[str, str]
    strips: dict[str, list[ShownImage]] = field(default_factory=dict)
    differences: list[ShownImage] = field(default_factory=list)
    gain: int = 1
    changed: list[ShownImage] = field(default_factory=list)
    twins: dict[str, list[ShownImage]] = field(default_factory=dict)
    odd: list[ShownImage] = field(default_factory=list)
    unlike: dict[str, list[ShownImage]] = field(default_factory=dict)
    crop: Crop = "none"


def look(sides: Sides, comparison: Comparison) -> Gallery:
    """Choose the single images of both sides that a page shows.

    Images least like the other side are those whose outlier score against it exceeds most that against their own side,
    without them. Both are of the spatial means that were kept for the test of odd images, so only the images that are
    shown go through the network once more, for their maps.

    Args:
        sides: The two sides, from :func:`~torchmetrics_dna.jobs.sides.open_sides`. A DNA has no images to show, nor
            have images that are neither grey nor RGB.
        comparison: Their comparison, from :func:`~torchmetrics_dna.comparisons.compare.compare_sides`.

    Raises:
        ValueError: If a side is a stream, or an image can't be read.

    Example:
        >>> import numpy as np
        >>> from torchmetrics_dna.comparisons.compare import compare_sides
        >>> from torchmetrics_dna.jobs.arguments import Arguments
        >>> from torchmetrics_dna.jobs.sides import open_sides
        >>> black, white = np.zeros((2, 40, 50, 3), np.uint8), np.full((2, 40, 50, 3), 255, np.uint8)
        >>> sides = open_sides((black, white), Arguments(layers=["block_0"]))
        >>> gallery = look(sides, compare_sides(sides, ("black", "white"))[0])
        >>> [image.name for image in gallery.strips["a"]]
        ['image 0', 'image 1']

    """
    opened = dict(zip("ab", sides.images, strict=True))
    images = {
        side: _Images(indexed(source, "A report")) for side, source in opened.items() if not isinstance(source, DNA)
    }
    settings: dict[str, str] = {}
    for side in opened:
        settings[side.upper()] = f"{comparison.noun}s, {images[side].source.label}" if side in images else "a DNA"
    if not images:
        return Gallery(settings)
    reason = sides.extractor.why_no_pictures
    if reason:
        settings["pictures"] = f"none, since {reason}"
        return Gallery(settings)
    is_turned = any(of_side.source.exif_orientation for of_side in images.values())
    settings["turned by their EXIF tag"] = "yes" if is_turned else "no"
    arguments = sides.plan.arguments
    with in_step(arguments.distributed):
        paired = partners(images["a"].source, images["b"].source, arguments.pairs) if arguments.pairs else None
        drawn = _drawn(images, paired)
        strips = {side: [images[side].shown(i) for i in numbers] for side, numbers in drawn.items()}
        gain, differences = (1, list[ShownImage]()) if paired is None else _differences(images, drawn)
        # The same set again has no twins.
        alike = comparison.twins if comparison.shares_images else []
        twins = dict(zip("ab", zip(*alike, strict=True), strict=True)) if alike else {}
        causes = comparison.explain().causes
        changed: list[ShownImage] = []
        if causes and "a" in images:
            changed = _after_changes(images["a"], drawn["a"], list(zip(causes.names, causes.amounts, strict=True)))
        extractor = sides.extractor if comparison.properties is None else sides.extractor.without_properties()
        measured = {side: sides.measured(k) for k, side in enumerate("ab")}
        means = {side: means_by_layer(of_side, sides.plan.neurons) for side, of_side in measured.items()}
        references = {
            side: OutlierReference(gaussians_of_means(of_side), left_out_by_layer(of_side))
            for side, of_side in means.items()
            if of_side and len(measured[side].numbers) > 2
        }
        opposite = {"a": "b", "b": "a"}

        def with_maps(side: str, numbers: Sequence[int]) -> list[ShownImage]:
            """Return images of a side, with maps of their outlier scores against the other side."""
            readable = list(images[side].readable(numbers))
            pixels = open_source([images[side][number] for number in readable])
            heats = heat_maps(OutlierScorer(references[opposite[side]], extractor), pixels)
            why = {} if side == "a" else reasons
            shown = [images[side].shown(number, heat) for number, heat in zip(readable, heats, strict=True)]
            return [image._replace(why=why.get(i, "")) for i, image in zip(readable, shown, strict=True)]

        reasons = {} if comparison.odd is None else comparison.odd.reasons(comparison.names[0])
        odd = with_maps("b", list(reasons)[:_ODD]) if reasons else []
        unlike = dict[str, list[ShownImage]]()
        enough = all(means.values()) and min(len(of_side.numbers) for of_side in measured.values()) >= LEAST
        if enough and comparison.differs is not False:
            for side, of_side in measured.items():
                gaussians_of_other = references[opposite[side]].gaussians
                contrasts = outlier_scores(means[side], gaussians_of_other) - left_out_scores(means[side])
                order = contrasts.argsort(descending=True, stable=True)[:_UNLIKE].tolist()
                unlike[side] = with_maps(side, [of_side.numbers[i] for i in order])
        of_twins = {side: [images[side].shown(i) for i in images[side].readable(of)] for side, of in twins.items()}
        return Gallery(settings, strips, differences, gain, changed, of_twins, odd, unlike, extractor.crop)


class _Images(dict[int, Pixels]):
    """Images of a side by number. Those that are shown are kept, so that none is decoded twice."""

    def __init__(self, source: ImageSource) -> None:
        super().__init__()
        self.source = source

    def __missing__(self, number: int) -> Pixels:
        self[number] = self.source[number]
        return self[number]

    def readable(self, numbers: Iterable[int]) -> Iterator[int]:
        """Read images and yield their numbers, without those that can't be read, or that there are not."""
        for number in numbers:
            with suppress(ValueError):
                if number < len(self.source):
                    self[number]
                    yield number

    def shown(self, number: int, heat: Tensor | None = None) -> ShownImage:
        return ShownImage(self.source.relative_names[number], _shrunk(self[number]), heat)


def _shrunk(pixels: Pixels) -> Image.Image:
    """Return a Pillow image of at most so many pixels a side as a page shows."""
    picture = Image.fromarray(as_bytes(pixels))
    picture.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    return picture


def _after_changes(images: _Images, numbers: Sequence[int], changes: Sequence[tuple[str, float]]) -> list[ShownImage]:
    """Return images after changes, each with its amount; none if there are no changes."""
    if not changes:
        return []
    changed = []
    for number in numbers:
        picture = as_bytes(as_rgb(images[number]))
        for name, amount in changes:
            picture = change_image(picture, name, amount, number)
        changed.append(images.shown(number)._replace(picture=_shrunk(picture)))
    return changed


def _drawn(images: Mapping[str, _Images], paired: Sequence[int] | None) -> dict[str, list[int]]:
    """Draw images of each side with one permutation of numbers, or those of A with their partners."""
    most = max(len(of_side.source) for of_side in images.values())
    order = shuffled(most)
    if paired is None:
        return {side: list(islice(of_side.readable(order), _DRAWN)) for side, of_side in images.items()}
    of_a = (i for i in images["a"].readable(order) if list(images["b"].readable([paired[i]])))
    numbers = list(islice(of_a, _DRAWN))
    return {"a": numbers, "b": [paired[i] for i in numbers]}


def _differences(images: Mapping[str, _Images], drawn: Mapping[str, Sequence[int]]) -> tuple[int, list[ShownImage]]:
    """Return differences of partners, and the power of two by which they are multiplied.

    It is the largest that clips no more than a hundredth of the values. A difference has the size of the smaller image.
    """
    differences: list[NDArray[np.int64]] = []
    for numbers in zip(drawn["a"], drawn["b"], strict=True):
        pair = [as_bytes(images[side][number]) for side, number in zip("ab", numbers, strict=True)]
        height, width = min((pixels.shape[:2] for pixels in pair), key=math.prod)
        a, b = (
            np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC), dtype=int)
            for pixels in pair
        )
        differences.append(np.abs(b - a))
    values = np.concatenate([np.zeros(1), *(difference.ravel() for difference in differences)])
    gain = int(2 ** max(0, math.floor(math.log2(255 / max(float(np.quantile(values, 1 - _CLIPPED)), 1)))))
    names = [images["b"].source.relative_names[number] for number in drawn["b"]]
    amplified = [np.minimum(gain * difference, 255).astype(np.uint8) for difference in differences]
    return gain, [ShownImage(name, _shrunk(pixels)) for name, pixels in zip(names, amplified, strict=True)]
