"""Single images for the page of a comparison.

They are random samples of both sets, outliers, and the images of each set that are least similar to the other set.
"""

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
    from torchmetrics_dna.jobs.groups import Pairs
    from torchmetrics_dna.jobs.sides import Sides

# Number of random images per set.
_DRAWN = 8
# Number of least similar images per set. Each image goes through the network once more, to compute its heat map.
_UNLIKE = 6
# Largest number of outliers of B that are shown with heat maps.
_MOST_OUTLIERS = 12
# Largest width and height of a shown image, in pixels.
_SIDE = 256
# Largest share of the values of difference images that their amplification may clip.
_CLIPPED = 0.01
_OTHER_SIDE = {"a": "b", "b": "a"}


class ShownImage(NamedTuple):
    """Image that a page shows.

    Attributes:
        name: Name of the image, relative to its source.
        picture: Pillow image, at most 256 pixels wide and high.
        heat: Heat map that shows where the image is unlike the other set, see
            :func:`~torchmetrics_dna.functional.heat`, ``(side, side)``. None for an image without a map, such as a
            random image.
        why: Reason why the image is flagged as an outlier, in words; empty if it is not flagged.

    """

    name: str
    picture: Image.Image
    heat: Tensor | None = None
    why: str = ""


@dataclass(frozen=True, eq=False)
class Gallery:
    """Single images of the two sets of a comparison.

    In all dictionaries of images, the key ``"a"`` or ``"b"`` is the set.

    Attributes:
        settings: Descriptions of both sets, and other settings, in words, by name.
        strips: Images that were drawn at random. Of two sets with the same number of images, images with the same
            numbers are drawn. If the images correspond, pairs are drawn. A set has no entry if it is a DNA.
        differences: Absolute differences of the drawn pairs; empty unless the images correspond.
        gain: Factor by which the differences are multiplied.
        changed: The drawn images of A after the changes that explain the difference; empty if no change explains it.
        twins: Near-duplicates that both sets share; empty if the comparison reports no shared images.
        outliers: Outliers of B, at most 12.
        unlike: Images of each set that are least similar to the other set, the least similar first. Empty if a test
            finds no significant difference, or if a set has fewer than 10 images or no spatial means.
        crop: Part of an image that is the network's input. The heat maps cover this part.

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
    """Choose the single images of both sets that a page shows.

    Each image has an outlier score against the other set, and a score against the rest of its own set. The least
    similar images are those with the largest difference of both scores. The scores are computed from the spatial means
    that were kept for the test of outliers. So only the images that are shown go through the network again, for their
    heat maps.

    Args:
        sides: The two sets, from :func:`~torchmetrics_dna.jobs.sides.open_sides`. A set that is a DNA has no images to
            show. No images are shown if they are neither grey nor RGB.
        comparison: Comparison of the sets, from :func:`~torchmetrics_dna.comparisons.compare.compare_sides`.

    Returns:
        The images.

    Raises:
        ValueError: If a set is a stream, or if an image can't be read.

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
    is_turned = any(images_of_side.source.exif_orientation for images_of_side in images.values())
    settings["turned by their EXIF tag"] = "yes" if is_turned else "no"
    with in_step(sides.plan.arguments.distributed):
        return _gallery(sides, comparison, images, settings)


def _gallery(sides: Sides, comparison: Comparison, images: Mapping[str, _Images], settings: dict[str, str]) -> Gallery:
    """Choose and read the images that are shown."""
    pairs = sides.plan.arguments.pairs
    if pairs:
        drawn = _drawn_pairs(images["a"], images["b"], pairs)
        gain, differences = _differences(images, drawn)
    else:
        drawn = _drawn(images)
        gain, differences = 1, []
    extractor = _extractor_of_maps(sides, comparison)
    outliers, unlike = _outliers_and_unlike(sides, comparison, images, extractor)
    return Gallery(
        settings=settings,
        strips={side: images[side].all_shown(numbers) for side, numbers in drawn.items()},
        differences=differences,
        gain=gain,
        changed=_changed_images(images, drawn, comparison),
        twins=_twins(images, comparison),
        outliers=outliers,
        unlike=unlike,
        crop=extractor.crop,
    )


def _extractor_of_maps(sides: Sides, comparison: Comparison) -> DNAExtractor:
    """Return the extractor of heat maps. It leaves out image properties, because they have no positions."""
    if comparison.properties is None:
        return sides.extractor
    return sides.extractor.without_properties()


def _outliers_and_unlike(
    sides: Sides, comparison: Comparison, images: Mapping[str, _Images], extractor: DNAExtractor
) -> tuple[list[ShownImage], dict[str, list[ShownImage]]]:
    """Return the outliers of B, and the images of each set that are least similar to the other set, with heat maps."""
    measured = {"a": sides.measured(0), "b": sides.measured(1)}
    means = {side: means_by_layer(measured_side, sides.plan.neurons) for side, measured_side in measured.items()}
    references = _references(means)
    # Reasons of flagged images by number. Only images of B are flagged.
    reasons: dict[str, dict[int, str]] = {"a": {}, "b": {}}
    if comparison.outliers is not None:
        reasons["b"] = comparison.outliers.reasons(comparison.names[0])
    outliers: list[ShownImage] = []
    if reasons["b"]:
        scorer = OutlierScorer(references["a"], extractor)
        outliers = _with_maps(images["b"], list(reasons["b"])[:_MOST_OUTLIERS], scorer, reasons["b"])
    num_images = min(len(measured_side.numbers) for measured_side in measured.values())
    have_means = all(means.values())
    if not have_means or num_images < LEAST or comparison.differs is False:
        return outliers, {}
    unlike: dict[str, list[ShownImage]] = {}
    for side, measured_side in measured.items():
        reference = references[_OTHER_SIDE[side]]
        numbers = [measured_side.numbers[row] for row in _least_like(means[side], reference)]
        unlike[side] = _with_maps(images[side], numbers, OutlierScorer(reference, extractor), reasons[side])
    return outliers, unlike


def _references(means: Mapping[str, Mapping[str, Tensor]]) -> dict[str, OutlierReference]:
    """Return the reference of outlier scores of each set; none for a set of fewer than three images.

    Args:
        means: Spatial means of the images of each set, ``{layer: (images, n)}``; empty if they were not kept.

    """
    references: dict[str, OutlierReference] = {}
    for side, means_of_side in means.items():
        num_images = min((len(means_of_layer) for means_of_layer in means_of_side.values()), default=0)
        # Each image is compared with the Gaussian of the other images, which requires at least two other images.
        if num_images > 2:
            own_distances = left_out_by_layer(means_of_side)
            references[side] = OutlierReference(gaussians_of_means(means_of_side), own_distances)
    return references


class _Images(dict[int, Pixels]):
    """Images of a set by number. Images that were read are kept, so that no image is decoded twice."""

    def __init__(self, source: ImageSource) -> None:
        super().__init__()
        self.source = source

    def __missing__(self, number: int) -> Pixels:
        self[number] = self.source[number]
        return self[number]

    def can_read(self, number: int) -> bool:
        """True if there is an image with this number that can be read. The image is then kept."""
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
        """Return an image in the size that a page shows."""
        return ShownImage(self.source.relative_names[number], _shrunk(self[number]))

    def all_shown(self, numbers: Iterable[int]) -> list[ShownImage]:
        """Return images in the size that a page shows."""
        return [self.shown(number) for number in numbers]


def _shrunk(pixels: Pixels) -> Image.Image:
    """Return a Pillow image of the size that a page shows."""
    picture = Image.fromarray(as_bytes(pixels))
    picture.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    return picture


def _with_maps(
    images: _Images, numbers: Iterable[int], scorer: OutlierScorer, reasons: Mapping[int, str]
) -> list[ShownImage]:
    """Return images with the heat maps of their outlier scores. Flagged images also have their reasons.

    Args:
        images: The images of a set.
        numbers: Numbers of the images to return. Unreadable images are left out.
        scorer: Scorer against the other set.
        reasons: Reasons of flagged images, by number.

    """
    readable = list(images.readable(numbers))
    pixels = open_source([images[number] for number in readable])
    shown = []
    for number, heat in zip(readable, heat_maps(scorer, pixels), strict=True):
        shown.append(images.shown(number)._replace(heat=heat, why=reasons.get(number, "")))
    return shown


def _least_like(means: Mapping[str, Tensor], reference: OutlierReference) -> list[int]:
    """Return the rows of the images that are least similar to a reference, compared with the rest of their own set.

    Args:
        means: Spatial means of the images of the set, ``{layer: (images, n)}``.
        reference: The reference, computed from the images of the other set.

    """
    contrasts = outlier_scores(means, reference.gaussians) - left_out_scores(means)
    rows: list[int] = contrasts.argsort(descending=True, stable=True)[:_UNLIKE].tolist()
    return rows


def _twins(images: Mapping[str, _Images], comparison: Comparison) -> dict[str, list[ShownImage]]:
    """Return the near-duplicates of both sets; none if the comparison reports no shared images."""
    if not comparison.shares_images or not comparison.twins:
        return {}
    numbers_of_a = [number_of_a for number_of_a, _ in comparison.twins]
    numbers_of_b = [number_of_b for _, number_of_b in comparison.twins]
    a, b = images["a"], images["b"]
    return {"a": a.all_shown(a.readable(numbers_of_a)), "b": b.all_shown(b.readable(numbers_of_b))}


def _changed_images(
    images: Mapping[str, _Images], drawn: Mapping[str, Sequence[int]], comparison: Comparison
) -> list[ShownImage]:
    """Return the drawn images of A after the changes that explain the difference; empty if no change explains it."""
    causes = comparison.explain().causes
    if causes is None or not causes.names or "a" not in images:
        return []
    changes = list(zip(causes.names, causes.amounts, strict=True))
    return _after_changes(images["a"], drawn["a"], changes)


def _after_changes(images: _Images, numbers: Sequence[int], changes: Sequence[tuple[str, float]]) -> list[ShownImage]:
    """Apply changes to images, and return the changed images.

    Args:
        images: The images of a set.
        numbers: Numbers of the images to change.
        changes: Name and amount of each change.

    """
    changed = []
    for number in numbers:
        picture = as_bytes(as_rgb(images[number]))
        for name, amount in changes:
            picture = change_image(picture, name, amount, number)
        changed.append(images.shown(number)._replace(picture=_shrunk(picture)))
    return changed


def _drawn(images: Mapping[str, _Images]) -> dict[str, list[int]]:
    """Draw the numbers of random images of each set."""
    # One permutation for both sets draws the same numbers from sets of the same size.
    order = shuffled(max(len(images_of_side.source) for images_of_side in images.values()))
    drawn: dict[str, list[int]] = {}
    for side, images_of_side in images.items():
        drawn[side] = list(islice(images_of_side.readable(order), _DRAWN))
    return drawn


def _drawn_pairs(images_of_a: _Images, images_of_b: _Images, pairs: Pairs) -> dict[str, list[int]]:
    """Draw the numbers of the images of random pairs. Both images of a pair have the same position in the lists.

    Args:
        images_of_a: The images of A.
        images_of_b: The images of B.
        pairs: Rule of the pairs.

    """
    partners_of_a = partners(images_of_a.source, images_of_b.source, pairs)
    order = shuffled(max(len(images_of_a.source), len(images_of_b.source)))
    numbers_of_a: list[int] = []
    numbers_of_b: list[int] = []
    for number in images_of_a.readable(order):
        partner = partners_of_a[number]
        if images_of_b.can_read(partner):
            numbers_of_a.append(number)
            numbers_of_b.append(partner)
        if len(numbers_of_a) == _DRAWN:
            break
    return {"a": numbers_of_a, "b": numbers_of_b}


def _differences(images: Mapping[str, _Images], drawn: Mapping[str, Sequence[int]]) -> tuple[int, list[ShownImage]]:
    """Compute the absolute differences of pairs of images, and amplify them.

    Returns:
        The factor, see :func:`_gain`, and the amplified differences.

    """
    differences = []
    for number_of_a, number_of_b in zip(drawn["a"], drawn["b"], strict=True):
        differences.append(_difference(as_bytes(images["a"][number_of_a]), as_bytes(images["b"][number_of_b])))
    gain = _gain(differences)
    shown = []
    for number, difference in zip(drawn["b"], differences, strict=True):
        amplified = np.minimum(gain * difference, 255).astype(np.uint8)
        shown.append(ShownImage(images["b"].source.relative_names[number], _shrunk(amplified)))
    return gain, shown


def _gain(differences: Sequence[NDArray[np.int64]]) -> int:
    """Return the largest power of two by which differences can be multiplied so that at most 1% of them are clipped."""
    # The zero gives the quantile a value if no pairs were drawn.
    values = np.concatenate([np.zeros(1), *(difference.ravel() for difference in differences)])
    largest_unclipped = max(float(np.quantile(values, 1 - _CLIPPED)), 1)
    exponent = math.floor(math.log2(255 / largest_unclipped))
    gain: int = 2 ** max(0, exponent)
    return gain


def _difference(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the absolute difference of two images, in the size of the smaller one."""
    height, width = min(a.shape[:2], b.shape[:2], key=math.prod)
    size = (width, height)
    resized_a = Image.fromarray(a).resize(size, Image.Resampling.BICUBIC)
    resized_b = Image.fromarray(b).resize(size, Image.Resampling.BICUBIC)
    difference: NDArray[np.int64] = np.asarray(resized_b, dtype=int) - np.asarray(resized_a, dtype=int)
    return np.abs(difference)
