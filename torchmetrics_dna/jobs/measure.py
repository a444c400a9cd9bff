"""Measure all requested statistics of an image set in one pass."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from torchmetrics_dna.dna import DNA, LayerGaussianDNA
from torchmetrics_dna.dna.base import merged
from torchmetrics_dna.dna.features import Features
from torchmetrics_dna.dna.fid_statistics import is_unnamed
from torchmetrics_dna.images import Images, ImageSource
from torchmetrics_dna.images.noun import noun_of
from torchmetrics_dna.jobs.job import Job, Share, Split, check_any_read
from torchmetrics_dna.jobs.on_ray import finish_on_ray
from torchmetrics_dna.jobs.parts import Parts
from torchmetrics_dna.jobs.processes import gather, in_step, rank, world_size
from torchmetrics_dna.statistics.rows import SpatialMeans

if TYPE_CHECKING:
    from torchmetrics_dna.dna.distances import Distance
    from torchmetrics_dna.neurons.index import Neurons


@dataclass(frozen=True, eq=False)
class Measured:
    """Values measured in one pass over an image set."""

    # No file of a result has these.
    UNSAVED: ClassVar[tuple[str, ...]] = ("numbers", "names", "rows", "features")

    dnas: dict[str, DNA]  # DNAs of each requested kind, all of the same images; with folds, if the job has folds
    unreadable: list[str]  # one line for each image that was left out
    numbers: Sequence[int] = ()  # source indices of readable images, ascending; rows follow their order
    names: Sequence[str] = ()  # names of these images
    rows: Mapping[str, Tensor] = field(default_factory=dict)  # other values of each image, by statistic; "folds"
    features: Features | None = None  # spatial means of the images, if the job has them

    @property
    def folds(self) -> Tensor | None:
        """Fold of each image, or None without folds."""
        return self.rows.get("folds")

    @property
    def thumbnails(self) -> Tensor | None:
        """Thumbnails of the images, uint8, ``(images, n)``, or None without folds."""
        return self.rows.get("thumbnails")

    @property
    def first(self) -> DNA:
        """First of the DNAs, for what all have in common."""
        return next(iter(self.dnas.values()))

    def rows_in(self, other: Measured) -> Tensor | None:
        """Return the row of each image in another set that has equal pixels or values, -1 for none.

        None unless digests of both were kept.
        """
        if "digest" not in self.rows or "digest" not in other.rows:
            return None
        theirs, own = ([bytes(row) for row in side.rows["digest"].numpy()] for side in (other, self))
        rows = {digest: i for i, digest in reversed([*enumerate(theirs)])}
        return torch.tensor([rows.get(digest, -1) for digest in own])

    def input_of(self, distance: Distance) -> Any:
        """Return what a distance needs: a DNA, or features of its or the last layer; None if it was not measured."""
        if not distance.kinds:
            layer = distance.layer or list(self.first.neurons)[-1]
            return None if self.features is None else self.features.select([layer])
        layers = self.dnas.get("layer-gaussian")
        if distance.kinds[0] == "gaussian" and isinstance(layers, LayerGaussianDNA):
            return self.dnas.get("gaussian", layers.to_gaussian())
        dna = self.dnas.get(distance.kinds[0])
        return dna if dna is None or distance.layer is None or is_unnamed(dna) else dna.select([distance.layer])

    def select(self, neurons: Neurons) -> Measured:
        """Return a copy with DNAs of these neurons only; per-image values are unchanged."""
        return replace(self, dnas={kind: dna.select(neurons=neurons) for kind, dna in self.dnas.items()})

    def merge(self, other: Measured) -> Measured:
        """Return the DNAs of both sets of images together; per-image values are left out."""
        dnas = {kind: merged([dna, other.dnas[kind]]) for kind, dna in self.dnas.items()}
        return Measured(dnas, self.unreadable + other.unreadable)

    def without_folds(self) -> Measured:
        """Return a copy without folds, which take most of the memory."""
        return Measured({kind: replace(dna, folds=()) for kind, dna in self.dnas.items()}, self.unreadable)


def unreadable_of(sides: Iterable[Measured]) -> list[str]:
    """Return one line for each image that was left out; a set that was measured once is told once."""
    lists = {id(side.unreadable): side.unreadable for side in sides}
    return [line for lines in lists.values() for line in lines]


def measure(
    job: Job, images: Images, *, distributed: bool = False, own: bool = False, on: str | None = None
) -> Measured:
    """Run all images through a job once; ValueError if there are none, or one can't be read or is not finite.

    Args:
        job: The job.
        images: The images.
        distributed: Share the images among the processes of torch.distributed; all get the same result.
        own: Whether each process has images of its own; with ``distributed``, all are measured as one set.
        on: Ray cluster that measures them, which was checked, see :func:`finish_on_ray`.

    """
    distributed &= world_size() > 1
    with in_step(distributed):
        if on is not None:
            with TemporaryDirectory() as folder:
                parts = Parts(Path(folder), images, job)
                shares = list(finish_on_ray(parts, on))
                return _measured(job, images, dict(parts.merged()), shares)
        # in one part, too, so that numbers count these images, which may have been taken from others
        share = images.split(rank(), world_size()) if distributed and not own else images.split(0, 1)
        (split,) = job.run(share, whole=images)
        if distributed:
            # An error of one process is an error of all.
            gather(None)
            for name, statistic in job.statistics.items():
                statistic.reduce_(split.states[name])
        values, read = job.dnas_and_share(split)
        return _measured(job, images, values, gather(read) if distributed else [read])


def measured_of(job: Job, images: Images, split: Split) -> Measured:
    """Return what a split of an image set holds."""
    values, share = job.dnas_and_share(split)
    return _measured(job, images, values, [share])


def _measured(job: Job, images: Images, dnas: dict[str, DNA], shares: Sequence[Share]) -> Measured:
    """Put together what was read of an image set, in the order of the source."""
    unreadable = sorted(line for share in shares for line in share.unreadable)
    num_images = sum(share.num_images for share in shares) + len(unreadable)
    check_any_read(num_images, unreadable, images.label, noun_of(job.extractor))
    numbers = torch.tensor([number for share in shares for number in share.numbers], dtype=torch.int64)
    names = [name for share in shares for name in share.names]
    order = numbers.argsort()
    # The rows of an empty share have another shape and can't be concatenated.
    read = [share for share in shares if share.numbers]
    row_names = [*read[0].rows] if read else []
    rows = {name: torch.cat([share.rows[name] for share in read])[order] for name in row_names}
    dnas = job.with_sample(dnas, rows)
    in_order = numbers[order].tolist() if isinstance(images, ImageSource) else list(range(len(numbers)))
    names = [names[i] for i in order.tolist()]
    features = None
    statistic = job.statistics.get("features")
    if isinstance(statistic, SpatialMeans) and "features" in rows:
        means = rows.pop("features")
        pictures = rows.pop("pictures", None)
        features = Features(means, statistic.neurons, names=names, pictures=pictures, **job.extractor.origin)
    return Measured(dnas, unreadable, in_order, names, rows, features)
