"""Heat maps of some images of a source."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torchmetrics_dna.functional.heat import SIDE
from torchmetrics_dna.images import Reading
from torchmetrics_dna.jobs.features import Heat
from torchmetrics_dna.jobs.job import Job
from torchmetrics_dna.jobs.measure import measure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from torchmetrics_dna.images import ImageSource
    from torchmetrics_dna.statistics.scores import ImageScorer


def heat_maps(mapper: ImageScorer, images: ImageSource, numbers: Sequence[int]) -> Tensor:
    """Map the scores of some images, by one pass over them.

    Args:
        mapper: Scorer of the images.
        images: Source of the images.
        numbers: Their indices in it.

    Returns:
        See :func:`~torchmetrics_dna.functional.heat`, float64, ``(images, side, side)``.

    """
    job = Job(mapper.extractor, {"heat": Heat(mapper)}, Reading(num_workers=0))
    return measure(job, images.take(numbers)).rows["heat"].view(-1, SIDE, SIDE)
