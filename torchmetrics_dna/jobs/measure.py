"""Measure an image set in one pass: every statistic that is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch

from torchmetrics_dna.dna import LayerGaussianDNA
from torchmetrics_dna.dna.features import Features
from torchmetrics_dna.images import ImageSource, open_source
from torchmetrics_dna.jobs.elsewhere import check_elsewhere, measure_elsewhere
from torchmetrics_dna.jobs.features import SpatialMeans
from torchmetrics_dna.jobs.loading import check_any_read, share_of
from torchmetrics_dna.jobs.processes import gather, in_step

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from torchmetrics_dna.dna import DNA
    from torchmetrics_dna.dna.distance import Distance
    from torchmetrics_dna.images import Images, Source
    from torchmetrics_dna.jobs.engine import Engine
    from torchmetrics_dna.jobs.job import Job, Split
    from torchmetrics_dna.statistics import State


@dataclass(frozen=True, eq=False)
class Measured:
    """Values measured in one pass over an image set.

    Attributes:
        dnas: A DNA of each kind that was asked for, all of the same images; with folds, if they were kept apart.
        unreadable: One line for each image that was left out.
        numbers: Where the images that could be read stand in the source, in ascending order, as all that is of each;
            those of a stream are counted. Empty where nothing is kept of single images.
        names: What these images are called.
        kept: What else was kept of each image, by name; with folds, also ``"folds"`` and ``"thumbnails"``.
        features: Spatial means of the images, if they were kept.
        states: What statistics of single images hold beside their rows, by name.

    """

    dnas: dict[str, DNA]
    unreadable: list[str]
    numbers: Sequence[int] = ()
    names: Sequence[str] = ()
    kept: Mapping[str, Tensor] = field(default_factory=dict)
    features: Features | None = None
    states: Mapping[str, State] = field(default_factory=dict)

    @property
    def folds(self) -> Tensor | None:
        """The fold of each image, if folds were kept."""
        return self.kept.get("folds")

    @property
    def thumbnails(self) -> Tensor | None:
        """Of the images, if folds were kept, uint8, ``(images, n)``."""
        return self.kept.get("thumbnails")

    @property
    def any(self) -> DNA:
        """One of the DNAs."""
        return next(iter(self.dnas.values()))

    def input_of(self, distance: Distance) -> Any:
        """Return the input a distance needs, a DNA or features of the last layer; None if it was not measured."""
        if not distance.kinds:
            return None if self.features is None else self.features.select(list(self.any.neurons)[-1:])
        layers = self.dnas.get("layer-gaussian")
        if distance.kinds[0] == "gaussian" and isinstance(layers, LayerGaussianDNA):
            return self.dnas.get("gaussian", layers.to_gaussian())
        return self.dnas.get(distance.kinds[0])

    def select(self, layers: Sequence[str]) -> Measured:
        """The same with the DNAs of some layers; what was kept of images stays as it is."""
        return replace(self, dnas={kind: dna.select(layers) for kind, dna in self.dnas.items()})

    def without_folds(self) -> Measured:
        """The same without folds, which take more than all else."""
        return Measured({kind: replace(dna, folds=()) for kind, dna in self.dnas.items()}, self.unreadable)


def measure(
    job: Job, source: Source, *, distributed: bool = False, own: bool = False, on: Engine | str | None = None
) -> Measured:
    """Run all images of a source through a job once.

    Args:
        job: The job.
        source: Images, see :func:`open_source`.
        distributed: Share the images among the processes of torch.distributed; all get the same result.
        own: With ``distributed``, each process gives images of its own; all are measured as one set.
        on: Engine that measures them on other machines, see :func:`engine_of`.

    Raises:
        ValueError: If there are no images, one can't be read, or activations are not finite.

    """
    with in_step(distributed):
        images = open_source(source, job.reading)
        if on is not None:
            return _measure_elsewhere(job, images, on)
        (split,) = job.run(share_of(images) if distributed and not own else images.split(0, 1), whole=images)
        unreadable, num_images = split.unreadable, split.num_images
        if distributed:
            shares = gather((unreadable, num_images))
            unreadable, num_images = [line for lines, _ in shares for line in lines], sum(count for _, count in shares)
            for name, statistic in job.statistics.items():
                statistic.reduce_(split.states[name])
        check_any_read(num_images + len(unreadable), unreadable, images.label)
        values = job.values(split)
        rows = {name: values.pop(name) for name, statistic in job.statistics.items() if statistic.by_image}
        # rows are copied in order, so the state must not keep them
        states = {name: {key: t for key, t in split.states[name].items() if key != "rows"} for name in rows}
        rows |= _notes(job, split)
        numbers, names, kept = _in_order(rows, split, images, distributed)
        features = _features(job, kept, names)
        return Measured(values, sorted(unreadable), numbers, names, kept, features, states)


def _features(job: Job, kept: dict[str, Tensor], names: Sequence[str]) -> Features | None:
    """Take the features out of what was kept of each image; None if they were not."""
    statistic = job.statistics.get("features")
    if not isinstance(statistic, SpatialMeans) or "features" not in kept:
        return None
    extractor = job.extractor
    origin = extractor.name, extractor.weights_digest, extractor.preparation
    return Features(kept.pop("features"), statistic.neurons, *origin, names)


def _measure_elsewhere(job: Job, images: Images, engine: Engine | str) -> Measured:
    if rows := [name for name, statistic in job.statistics.items() if statistic.by_image]:
        raise ValueError(
            f"Argument `on` makes nothing but DNAs, but {', '.join(rows)} of single images are needed; leave it out"
        )
    check_elsewhere(images)
    return Measured(*measure_elsewhere(images, job, engine))


def _notes(job: Job, split: Split) -> dict[str, Tensor]:
    """The fold and the thumbnail of each image, if folds are kept."""
    if job.num_folds is None:
        return {}
    none = {"folds": torch.zeros(0, dtype=torch.int64), "thumbnails": torch.zeros(0, dtype=torch.uint8)}
    return none | {name: torch.cat(batches) for name, batches in split.notes.items()}


def _in_order(
    rows: dict[str, Tensor], split: Split, images: Images, distributed: bool
) -> tuple[list[int], list[str], dict[str, Tensor]]:
    """Numbers and names of all images, and what is known of each, in their order, whichever process read it."""
    mine = split.numbers, split.names, rows
    shares = gather(mine) if distributed else [mine]
    every = torch.tensor([number for some, _, _ in shares for number in some], dtype=torch.int64)
    order = every.argsort()
    numbers = every[order].tolist() if isinstance(images, ImageSource) else list(range(len(every)))
    names = [name for _, some, _ in shares for name in some]
    # nobody's share is joined with what has another shape, of no images
    kept = {
        name: torch.cat([known[name] for some, _, known in shares if some or len(shares) == 1])[order]
        for name in (rows if len(every) else ())
    }
    return numbers, [names[i] for i in order.tolist()], kept
