"""Single images of a comparison, for its page: samples of both sides, outliers, and those least like the other side."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from torchmetrics_dna.comparisons.outliers import means_by_layer
from torchmetrics_dna.dna import DNA
from torchmetrics_dna.functional.flagging import LEAST
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
    from torchmetrics_dna.extractors import DNAExtractor
    from torchmetrics_dna.images.cells import Crop
    from torchmetrics_dna.jobs.sides import Sides

# Number of images of a strip.
_DRAWN = 8
# Number of images per set that are least like the other set. Each goes through the network once more, for its map.
_UNLIKE = 6
# Number of outliers of B that are shown, also with maps.
_MOST_OUTLIERS = 12
# Pixels of the longer side of a shown image.
_SIDE = 256
# The gain of difference images clips at most this share of their values.
_CLIPPED = 0.01
_OTHER_SIDE = {"a": "b", "b": "a"}


class ShownImage(NamedTuple):
    """Image that a page shows.

    Attributes:
        name: Its name below its source.
        picture: Pillow image, at most 256 pixels wide and high.
        heat: Map of where it is unlike the other set, see :func:`~torchmetrics_dna.functional.heat`,
            ``(side, side)``; None for an image that was drawn at random.
        why: Reason why it is flagged, in words; empty if it is not flagged.

    """

    name: str
    picture: Image.Image
    heat: Tensor | None = None
    why: str = ""


@dataclass(frozen=True, eq=False)
class Gallery:
    """Single images of the two sides of a comparison, as Pillow images and numbers.

    Attributes:
        settings: Description of each side in words, and settings, by name.
        strips: Images drawn at random, by side, ``"a"``, ``"b"`` or both. If both sides have the same number of
            images, images with the same numbers are drawn; if images correspond, the partners are drawn.
        differences: Absolute differences of these partners; empty unless images correspond.
        gain: Factor by which the differences are multiplied.
        changed: The drawn images of A after the candidate changes.
        twins: Near-duplicates in both sides, by side; empty unless the sets share so many that the comparison reports
            it.
        outliers: Outliers of B, at most 12.
        unlike: Images of each side that are least like the other side, the most unlike first; empty if the sets do not
            differ significantly, or if there are no spatial means of both sides.
        crop: Part of an image that the network sees. The heat maps cover this part.

    """

    settings: dict[str, str]
    strips: dict[str, list[ShownImage]] = field(default_factory=dict)
    differences: list[ShownImage] = field(default_factory=list)
    gain: int = 1
    changed: list[ShownImage] = field(default_factory=list)
    twins: dict[str, list[ShownImage]] = field(default_factory=dict)
    outliers: list[ShownImage] = field(default_factory=list)
    unlike: dict[str, list[ShownImage]] = field(default_factory=dict)
    crop: Crop = "none"


def look(sides: Sides, comparison: Comparison) -> Gallery:
    """Choose the single images of both sides that a page shows.

    An image is least like the other side if its outlier score against the other side exceeds its score against the rest
    of its own side most. Both scores are computed from the spatial means that were kept for the test of outliers. So
    only the images that are shown go through the network once more, for their maps.

    Args:
        sides: The two sides, from :func:`~torchmetrics_dna.jobs.sides.open_sides`. No images are shown of a side that
            is a DNA, or whose images are neither grey nor RGB.
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
    images: dict[str, _Images] = {}
    settings: dict[str, str] = {}
    for side, source in zip("ab", sides.images, strict=True):
        if isinstance(source, DNA):
            settings[side.upper()] = "a DNA"
        else:
            images[side] = _Images(indexed(source, "A report"))
            settings[side.upper()] = f"{comparison.noun}s, {source.label}"
    if not images:
        return Gallery(settings)
    reason = sides.extractor.why_no_pictures
    if reason:
        settings["pictures"] = f"none, since {reason}"
        return Gallery(settings)
    is_turned = any(of_side.source.exif_orientation for of_side in images.values())
    settings["turned by their EXIF tag"] = "yes" if is_turned else "no"
    with in_step(sides.plan.arguments.distributed):
        return _gallery(sides, comparison, images, settings)


def _gallery(sides: Sides, comparison: Comparison, images: Mapping[str, _Images], settings: dict[str, str]) -> Gallery:
    """Choose and read the images that are shown."""
    pairs = sides.plan.arguments.pairs
    partners_of_a = None
    if pairs:
        partners_of_a = partners(images["a"].source, images["b"].source, pairs)
    drawn = _drawn(images, partners_of_a)
    strips = {side: images[side].all_shown(numbers) for side, numbers in drawn.items()}
    differences: list[ShownImage] = []
    gain = 1
    if partners_of_a is not None:
        gain, differences = _differences(images, drawn)
    changed: list[ShownImage] = []
    causes = comparison.explain().causes
    if causes and "a" in images:
        changed = _after_changes(images["a"], drawn["a"], list(zip(causes.names, causes.amounts, strict=True)))
    extractor = sides.extractor
    if comparison.properties is not None:
        # Properties of images have no positions, so they are left out of the maps.
        extractor = extractor.without_properties()
    outliers, unlike = _outliers(sides, comparison, images, extractor)
    twins = _twins(images, comparison)
    return Gallery(settings, strips, differences, gain, changed, twins, outliers, unlike, extractor.crop)


def _outliers(
    sides: Sides, comparison: Comparison, images: Mapping[str, _Images], extractor: DNAExtractor
) -> tuple[list[ShownImage], dict[str, list[ShownImage]]]:
    """Return the outliers of B, and the images of each side that are least like the other side, with maps."""
    measured = {"a": sides.measured(0), "b": sides.measured(1)}
    means = {side: means_by_layer(of_side, sides.plan.neurons) for side, of_side in measured.items()}
    references: dict[str, OutlierReference] = {}
    for side, means_of_side in means.items():
        if means_of_side and len(measured[side].numbers) > 2:
            distances = left_out_by_layer(means_of_side)
            references[side] = OutlierReference(gaussians_of_means(means_of_side), distances)
    reasons: dict[int, str] = {}
    if comparison.outliers is not None:
        reasons = comparison.outliers.reasons(comparison.names[0])
    outliers: list[ShownImage] = []
    if reasons:
        scorer = OutlierScorer(references["a"], extractor)
        outliers = _with_maps(images["b"], list(reasons)[:_MOST_OUTLIERS], scorer, reasons)
    unlike: dict[str, list[ShownImage]] = {}
    has_enough = all(means.values()) and min(len(of_side.numbers) for of_side in measured.values()) >= LEAST
    if not has_enough or comparison.differs is False:
        return outliers, unlike
    for side, of_side in measured.items():
        reference = references[_OTHER_SIDE[side]]
        numbers = [of_side.numbers[row] for row in _least_like(means[side], reference)]
        scorer = OutlierScorer(reference, extractor)
        unlike[side] = _with_maps(images[side], numbers, scorer, reasons if side == "b" else {})
    return outliers, unlike


class _Images(dict[int, Pixels]):
    """Images of a side by number. Those that are shown are kept, so that none is decoded twice."""

    def __init__(self, source: ImageSource) -> None:
        super().__init__()
        self.source = source

    def __missing__(self, number: int) -> Pixels:
        self[number] = self.source[number]
        return self[number]

    def can_read(self, number: int) -> bool:
        """Read an image; False if it can't be read, or if there is no image with this number."""
        if number >= len(self.source):
            return False
        try:
            self[number]
        except ValueError:
            return False
        return True

    def readable(self, numbers: Iterable[int]) -> Iterator[int]:
        """Yield the numbers of images that can be read."""
        return filter(self.can_read, numbers)

    def shown(self, number: int) -> ShownImage:
        """Return an image as a page shows it."""
        return ShownImage(self.source.relative_names[number], _shrunk(self[number]))

    def all_shown(self, numbers: Iterable[int]) -> list[ShownImage]:
        """Return images as a page shows them."""
        return [self.shown(number) for number in numbers]


def _shrunk(pixels: Pixels) -> Image.Image:
    """Return a Pillow image of the size that a page shows."""
    picture = Image.fromarray(as_bytes(pixels))
    picture.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    return picture


def _with_maps(
    images: _Images, numbers: Iterable[int], scorer: OutlierScorer, reasons: Mapping[int, str]
) -> list[ShownImage]:
    """Return images with maps of their outlier scores, and with the reasons of those that are flagged."""
    readable = list(images.readable(numbers))
    pixels = open_source([images[number] for number in readable])
    shown = []
    for number, heat in zip(readable, heat_maps(scorer, pixels), strict=True):
        shown.append(images.shown(number)._replace(heat=heat, why=reasons.get(number, "")))
    return shown


def _least_like(means: Mapping[str, Tensor], reference: OutlierReference) -> list[int]:
    """Return the rows of the images that are less like a reference than like the rest of their own set.

    Args:
        means: Spatial means of the images of the set, ``{layer: (images, n)}``.
        reference: The reference, made of the images of the other set.

    """
    contrasts = outlier_scores(means, reference.gaussians) - left_out_scores(means)
    rows: list[int] = contrasts.argsort(descending=True, stable=True)[:_UNLIKE].tolist()
    return rows


def _twins(images: Mapping[str, _Images], comparison: Comparison) -> dict[str, list[ShownImage]]:
    """Return the near-duplicates of both sides; none if the two sides are the same set."""
    if not comparison.shares_images or not comparison.twins:
        return {}
    numbers_of_a, numbers_of_b = zip(*comparison.twins, strict=True)
    a, b = images["a"], images["b"]
    return {"a": a.all_shown(a.readable(numbers_of_a)), "b": b.all_shown(b.readable(numbers_of_b))}


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


def _drawn(images: Mapping[str, _Images], partners_of_a: Sequence[int] | None) -> dict[str, list[int]]:
    """Draw images of each side with one permutation of numbers, or images of A with their partners in B."""
    most = max(len(of_side.source) for of_side in images.values())
    order = shuffled(most)
    if partners_of_a is None:
        return {side: list(islice(of_side.readable(order), _DRAWN)) for side, of_side in images.items()}
    numbers_of_a: list[int] = []
    numbers_of_b: list[int] = []
    for number in images["a"].readable(order):
        partner = partners_of_a[number]
        if images["b"].can_read(partner):
            numbers_of_a.append(number)
            numbers_of_b.append(partner)
        if len(numbers_of_a) == _DRAWN:
            break
    return {"a": numbers_of_a, "b": numbers_of_b}


def _differences(images: Mapping[str, _Images], drawn: Mapping[str, Sequence[int]]) -> tuple[int, list[ShownImage]]:
    """Return absolute differences of partners, multiplied by a power of two, and this factor.

    The factor is the largest that clips no more than a hundredth of the values.
    """
    differences = []
    for number_of_a, number_of_b in zip(drawn["a"], drawn["b"], strict=True):
        differences.append(_difference(as_bytes(images["a"][number_of_a]), as_bytes(images["b"][number_of_b])))
    values = np.concatenate([np.zeros(1), *(difference.ravel() for difference in differences)])
    largest_unclipped = max(float(np.quantile(values, 1 - _CLIPPED)), 1)
    exponent = math.floor(math.log2(255 / largest_unclipped))
    gain = 2 ** max(0, exponent)
    shown = []
    for number, difference in zip(drawn["b"], differences, strict=True):
        amplified = np.minimum(gain * difference, 255).astype(np.uint8)
        shown.append(ShownImage(images["b"].source.relative_names[number], _shrunk(amplified)))
    return gain, shown


def _difference(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the absolute difference of two images, in the size of the smaller one."""
    height, width = min(a.shape[:2], b.shape[:2], key=math.prod)
    size = (width, height)
    resized_a = Image.fromarray(a).resize(size, Image.Resampling.BICUBIC)
    resized_b = Image.fromarray(b).resize(size, Image.Resampling.BICUBIC)
    difference: NDArray[np.int64] = np.asarray(resized_b, dtype=int) - np.asarray(resized_a, dtype=int)
    return np.abs(difference)
