"""Make a dictionary of changes: the effects of blur, compression and others on each neuron, measured on images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from typing_extensions import override

from torchmetrics_dna.dna.changes import ChangeDictionary
from torchmetrics_dna.images import ImageSource
from torchmetrics_dna.images.base import indexed
from torchmetrics_dna.images.changes import CHANGES, STRENGTHS, change_image
from torchmetrics_dna.images.pixels import Decoded, as_bytes
from torchmetrics_dna.images.properties import LAYER
from torchmetrics_dna.jobs.arguments import Arguments, taking
from torchmetrics_dna.jobs.features import SpatialMeans
from torchmetrics_dna.jobs.processes import gather, in_step, rank, world_size
from torchmetrics_dna.jobs.sides import open_sides

if TYPE_CHECKING:
    from torchmetrics_dna.extractors import DNAExtractor
    from torchmetrics_dna.images import Source
    from torchmetrics_dna.jobs.job import Job
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
        self._last: tuple[int, Decoded] | None = None

    @override
    def decode(self, index: int, channels: int = 3) -> Decoded:
        place, number = divmod(index, 1 + len(_STEPS))
        if self._last is None or self._last[0] != place:
            self._last = place, self._source.decode(place, channels)
        image = self._last[1]
        return Decoded(change_image(as_bytes(image.pixels), *_STEPS[number - 1], seed=index)) if number else image


@taking("layers", "reading", "distributed")
def make_changes(source: Source, feature: Feature | None = None, **options: Any) -> ChangeDictionary:
    """Make a dictionary of changes from 111 versions of each image: unchanged, and with each change in each strength.

    Args:
        source: At least 20 images, better a hundred, similar to those to be compared; see
            :func:`make_dna`.
        feature: As for :func:`make_dna`.
        options: Some of :class:`Arguments`, as the signature shows.

    Raises:
        ValueError: If an argument is wrong, there are fewer than 20 images, or one can't be read.

    """
    what, arguments = "A dictionary of changes", Arguments(feature, num_folds=None, **options)
    with in_step(arguments.distributed):
        sides = open_sides([source], arguments, [])
        images = indexed(sides.source(0, what), what)
        if len(images) < _LEAST:
            raise ValueError(f"{what} takes at least {_LEAST} images, but got {len(images)}")
        if sides.extractor.image_channels != 3:
            raise ValueError(
                f"{what} takes RGB images, but {sides.extractor.why_no_pictures or 'images have 1 channel'}"
            )
        if LAYER in sides.extractor.neurons:
            raise ValueError(f"{what} is of a network's neurons; leave `properties` out")
        job = sides.job.also(means=SpatialMeans(sides.extractor.neurons))
        means, sums = _measure(images.split(rank(), world_size()) if arguments.distributed else images, job)
        shares = gather((means, sums)) if arguments.distributed else [(means, sums)]
        means = torch.cat([means for means, _ in shares])
        sums = torch.stack([sums for _, sums in shares]).sum(0)
        if len(means) < _LEAST:
            raise ValueError(f"Only {len(means)} images could be read, but a dictionary takes at least {_LEAST}")
        return _dictionary(means, sums, sides.extractor)


def _measure(images: ImageSource, job: Job) -> tuple[Tensor, Tensor]:
    """Return means of each unchanged image, ``(images, N)``, and sums over images by step, ``(C * S, N)``."""
    clean: list[Tensor] = []
    sums = torch.zeros(len(_STEPS), job.extractor.neurons.total, dtype=torch.float64)
    forms = 1 + len(_STEPS)
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
