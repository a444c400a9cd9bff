"""Measure spatial means of images in several preparations at once."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

from torchmetrics_dna.extractors.guard import normalising_by_batch
from torchmetrics_dna.images.preparations import PreparedImages
from torchmetrics_dna.jobs.features import SpatialMeans
from torchmetrics_dna.jobs.job import Job, check_any_read

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from torchmetrics_dna.extractors import DNAExtractor
    from torchmetrics_dna.images import ImageSource, Reading
    from torchmetrics_dna.images.preparations import Preparation

_UNSCALED = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)


def measure_prepared(
    source: ImageSource,
    preparations: Sequence[Preparation],
    extractor: DNAExtractor,
    reading: Reading,
    *,
    dtype: str | None = None,
    by_batch: bool = False,
) -> tuple[list[Tensor], list[str]]:
    """Measure the spatial means of images in several preparations, by one pass over them.

    With ``by_batch``, batch norms take the mean and variance of each batch, and there is a pass for each preparation.

    Returns:
        Features of each preparation, float32, ``(images, n)``, and a line for each image that was left out.

    """
    if by_batch and len(preparations) > 1:
        passes = [
            measure_prepared(source, [each], extractor, reading, dtype=dtype, by_batch=True) for each in preparations
        ]
        return [features for parts, _ in passes for features in parts], passes[0][1]
    assert extractor.input_size is not None
    mean, std = extractor.mean or _UNSCALED[0], extractor.std or _UNSCALED[1]
    images = PreparedImages(source, preparations, extractor.input_size, mean, std)
    network = extractor.of_prepared(dtype, reading.batch_size if by_batch else None)
    job = Job(network, {"features": SpatialMeans(network.neurons)}, reading)
    with normalising_by_batch(network.network) if by_batch else nullcontext():
        (split,) = job.run(images)
    check_any_read(split.num_images + len(split.unreadable), split.unreadable, source.label)
    rows: Tensor = job.values(split)["features"]
    count = len(preparations)
    return [rows[i::count] for i in range(count)], list(dict.fromkeys(split.unreadable))
