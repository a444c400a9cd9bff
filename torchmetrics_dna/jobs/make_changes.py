"""Make a dictionary of changes: the effects of blur, compression and others on each neuron, measured on images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from typing_extensions import override

from torchmetrics_dna.dna.changes import ChangeDictionary
from torchmetrics_dna.images import ImageSource, Reading
from torchmetrics_dna.images.changes import CHANGES, STRENGTHS, change_image
from torchmetrics_dna.images.pixels import as_bytes
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
_COMPONENTS = 5  # principal components of the content of images


class ChangedImages(ImageSource):
    """Images of a source, each unchanged and then in all changes and strengths; each is decoded once."""

    def __init__(self, source: ImageSource) -> None:
        names = [name for name in source.names for _ in range(1 + len(_STEPS))]
        super().__init__(names, self.decode, source.label, source.exif_orientation, roots=source.roots)
        self._source = source
        self._last: tuple[int, RGBImage] | None = None

    @override
    def decode(self, index: int) -> RGBImage:
        place, number = divmod(index, 1 + len(_STEPS))
        if self._last is None or self._last[0] != place:
            self._last = place, self._source.decode(place)
        image = self._last[1]
        return change_image(as_bytes(image), *_STEPS[number - 1], seed=index) if number else image


def make_changes(
    source: Source,
    feature: Feature | None = None,
    *,
    layers: Sequence[str] | None = None,
    reading: Reading | None = None,
    distributed: bool = False,
) -> ChangeDictionary:
    """Make a dictionary of changes from 111 versions of each image: unchanged, and with each change in each strength.

    Args:
        source: At least 20 images, better a hundred, similar to those to be compared; see
            :func:`make_dna`.
        feature: A :class:`DNAExtractor`, or its ``feature``.
        layers: Names of the layers, if ``feature`` is not an extractor.
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
        means = torch.cat([means for means, _ in shares])
        sums = torch.stack([sums for _, sums in shares]).sum(0)
        if len(means) < _LEAST:
            raise ValueError(f"Only {len(means)} images could be read, but a dictionary takes at least {_LEAST}")
        return _dictionary(means, sums, extractor)


def _measure(images: ImageSource, extractor: DNAExtractor, reading: Reading) -> tuple[Tensor, Tensor]:
    """Return means of each unchanged image, ``(images, N)``, and sums over images by step, ``(C * S, N)``."""
    clean: list[Tensor] = []
    sums = torch.zeros(len(_STEPS), extractor.neurons.total, dtype=torch.float64)
    forms = 1 + len(_STEPS)
    job = Job(extractor, {"means": SpatialMeans(extractor.neurons)}, reading)
    for split in job.run(ChangedImages(images), [range(i * forms, (i + 1) * forms) for i in range(len(images))]):
        if len(split.numbers) < forms:  # a version can't be read
            continue
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
    spread = spread.clamp(min=least)  # a neuron silent on these images would outweigh all others
    neurons = extractor.neurons
    widths = torch.tensor(list(neurons.values()))
    weights = (1 / widths.double().sqrt()).repeat_interleave(widths)  # all layers get the same weight
    centered = (means - means.mean(0)) / spread * weights / (len(means) - 1) ** 0.5
    _, sizes, components = torch.linalg.svd(centered, full_matrices=False)
    # few images or neurons would otherwise be explained completely
    count = min(_COMPONENTS, len(means) // 2, neurons.total // 4)
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
    """Round to 11 significant bits, enough for a fit, so that files compress well."""
    mantissa, exponent = torch.frexp(values)
    return torch.ldexp((mantissa * 2048).round() / 2048, exponent)
