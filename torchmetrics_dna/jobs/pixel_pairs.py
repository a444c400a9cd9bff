"""Compare the pixels of the pairs of two sets, without a network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from torchmetrics_dna.images import ImageSource, Reading
from torchmetrics_dna.images.pixel_differences import Bytes, PixelDifferences, compare_pixels
from torchmetrics_dna.images.pixels import as_bytes
from torchmetrics_dna.images.sets import shuffled
from torchmetrics_dna.jobs.groups import partners

if TYPE_CHECKING:
    from torchmetrics_dna.jobs.measure import Measured
    from torchmetrics_dna.jobs.sides import Sides

# Label of the progress.
LABEL = "comparing the pixels of pairs"
# Largest number of pairs that are compared, since each pair must be decoded again. A sample of more pairs is enough to
# find a difference that all pairs share.
MOST_PAIRS = 1_000


def pixels_of_pairs(sides: Sides, k: int, a: Measured) -> PixelDifferences | None:
    """Compare the pixels of the first side and of side ``k``, pair by pair.

    If there are more than 1,000 pairs, a random sample of 1,000 pairs is compared.

    Args:
        sides: The opened sides, which need not be pairs.
        k: Number of the second side.
        a: Measured values of the first side. Only images whose partners can be read have values.

    Returns:
        The differences. None if the sides are not pairs, if a side is a DNA or a stream, or if the images are neither
        grey nor RGB.

    """
    images_a = sides.images[0]
    images_b = sides.images[k]
    pairs = sides.plan.arguments.pairs
    if not pairs or sides.extractor.why_no_pictures:
        return None
    if not isinstance(images_a, ImageSource) or not isinstance(images_b, ImageSource):
        return None
    partner = partners(images_a, images_b, pairs)
    sample = shuffled(len(a.numbers))[:MOST_PAIRS]
    # Decode the images in the order of their source.
    numbers = [a.numbers[row] for row in sorted(sample)]
    reading = sides.plan.arguments.reading or Reading()
    pairs_of_pixels = _decoded_pairs((images_a, images_b), numbers, partner, sides.extractor.image_channels, reading)
    return compare_pixels(pairs_of_pixels, num_total=len(a.numbers))


def _decoded_pairs(
    images: tuple[ImageSource, ImageSource],
    numbers: Sequence[int],
    partner: Sequence[int],
    channels: int,
    reading: Reading,
) -> Iterator[tuple[Bytes, Bytes]]:
    """Yield both images of each pair as uint8 arrays.

    Args:
        images: Images of both sides.
        numbers: Indices of the images of the first side.
        partner: Index in the second side of the partner of each image of the first side.
        channels: Number of channels of the decoded images.
        reading: Options for reading, with the callback for the progress.

    """
    images_a, images_b = images
    for num_done, number in enumerate(numbers, 1):
        pixels_a = as_bytes(images_a.decode(number, channels).pixels)
        pixels_b = as_bytes(images_b.decode(partner[number], channels).pixels)
        if reading.progress is not None:
            reading.progress(LABEL, num_done, len(numbers))
        yield np.ascontiguousarray(pixels_a), np.ascontiguousarray(pixels_b)
