"""Make a dictionary of changes: what blur, compression and others do to each neuron, measured on images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from torchmetrics_dna.dna.changes import ChangeDictionary
from torchmetrics_dna.images import ImageSource, Reading
from torchmetrics_dna.images.changes import CHANGES, STRENGTHS, change_image
from torchmetrics_dna.images.properties import LAYER
from torchmetrics_dna.images.sources import open_indexed
from torchmetrics_dna.jobs.features import SpatialMeans
from torchmetrics_dna.jobs.job import Job
from torchmetrics_dna.jobs.processes import gather, in_step, rank, world_size
from torchmetrics_dna.statistics.resolve import resolve

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torchmetrics_dna.extractors import DNAExtractor
    from torchmetrics_dna.images import Source
    from torchmetrics_dna.images.pixels import RGBImage
    from torchmetrics_dna.statistics.resolve import Feature

_STEPS = [(name, strength) for name in CHANGES for strength in STRENGTHS]
_LEAST = 20  # images
_COMPONENTS = 5  # in which images differ by what they show


class ChangedImages(ImageSource):
    """Each image of a source as it is, then in all changes and strengths.

    Args:
        source: The images.

    """

    def __init__(self, source: ImageSource) -> None:
        names = [name for name in source.names for _ in range(1 + len(_STEPS))]
        super().__init__(names, source._fetch, source.label, source.exif_orientation)
        self._last: tuple[int, RGBImage] | None = None

    @override
    def decode(self, index: int) -> RGBImage:
        number, step = divmod(index, 1 + len(_STEPS))
        if self._last is None or self._last[0] != number:  # one after the other, so an image is decoded once
            self._last = number, super().decode(number)
        image = self._last[1]
        if not step:
            return image
        pixels = (image * 255).round() if image.dtype == np.float32 else image
        return change_image(pixels.astype(np.uint8), *_STEPS[step - 1], seed=index)


def make_changes(
    source: Source,
    feature: Feature | None = None,
    *,
    layers: Sequence[str] | None = None,
    reading: Reading | None = None,
    distributed: bool = False,
) -> ChangeDictionary:
    """Make a dictionary of changes: 111 passes over the images, one as they are and one for each change and strength.

    Args:
        source: At least 20 images, better a hundred, such as those that are to be compared look; see
            :func:`make_dna`.
        feature: What describes the images; see :class:`DNAExtractor`, which may be given itself.
        layers: Which layers, if ``feature`` is not an extractor.
        reading: Options for reading the images.
        distributed: Share the images among the processes of torch.distributed; all get the same result.

    Raises:
        ValueError: If an argument is wrong, there are fewer than 20 images, or one can't be read.

    """
    with in_step(distributed):
        images = open_indexed(source, "A dictionary of changes", reading)
        if len(images) < _LEAST:
            raise ValueError(f"A dictionary of changes takes at least {_LEAST} images, but got {len(images)}")
        extractor = resolve(feature, layers, histograms=False, to_gpu=True).extractor
        if LAYER in extractor.neurons:
            raise ValueError("A dictionary of changes is of a network's neurons; leave `properties` out")
        means, sums = _measure(
            images.split(rank(), world_size()) if distributed else images, extractor, reading or Reading()
        )
        shares = gather((means, sums)) if distributed else [(means, sums)]
        means, sums = torch.cat([mean for mean, _ in shares]), torch.stack([some for _, some in shares]).sum(0)
        if len(means) < _LEAST:
            raise ValueError(f"Only {len(means)} images could be read, but a dictionary takes at least {_LEAST}")
        return _dictionary(means, sums, extractor)


def _measure(images: ImageSource, extractor: DNAExtractor, reading: Reading) -> tuple[Tensor, Tensor]:
    """Mean activations of each image as it is, ``(images, N)``; sums over images for each step, ``(C * S, N)``."""
    clean: list[Tensor] = []
    sums = torch.zeros(len(_STEPS), extractor.neurons.total, dtype=torch.float64)
    forms = 1 + len(_STEPS)
    job = Job(extractor, {"means": SpatialMeans(extractor.neurons)}, reading)
    for split in job.run(ChangedImages(images), [range(i * forms, (i + 1) * forms) for i in range(len(images))]):
        for number, means in zip(split.numbers, job.values(split)["means"].double(), strict=True):
            step = number % forms
            if step:
                sums[step - 1] += means
            else:
                clean.append(means)
    return torch.stack(clean) if clean else sums[:0], sums


def _dictionary(means: Tensor, sums: Tensor, extractor: DNAExtractor) -> ChangeDictionary:
    spread = means.std(0)
    least = float(spread[spread > 0].median()) * 1e-3 if bool((spread > 0).any()) else 1.0
    spread = spread.clamp(min=least)  # of a neuron that is silent on these images, or it would outweigh all others
    neurons = extractor.neurons
    widths = torch.tensor(list(neurons.values()))
    weights = (1 / widths.double().sqrt()).repeat_interleave(widths)  # so that layers weigh the same
    apart = (means - means.mean(0)) / spread * weights / (len(means) - 1) ** 0.5
    _, sizes, components = torch.linalg.svd(apart, full_matrices=False)
    count = min(_COMPONENTS, len(means) // 2, neurons.total // 4)  # or nothing would be left of few
    content = sizes[:count, None] * components[:count] / weights
    shifts = (sums / len(means) - means.mean(0)).view(len(CHANGES), len(STRENGTHS), -1)
    return ChangeDictionary(
        _rounded(shifts),
        _rounded(spread),
        _rounded(content),
        tuple(CHANGES),
        len(means),
        neurons,
        extractor.name,
        extractor.weights_digest,
    )


def _rounded(values: Tensor) -> Tensor:
    """With 11 significant bits, which is plenty for a fit, so that files are small."""
    mantissa, exponent = torch.frexp(values)
    return torch.ldexp((mantissa * 2048).round() / 2048, exponent)
