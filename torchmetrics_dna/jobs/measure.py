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
    """Values measured in one pass over an image set.

    Attributes:
        dnas: DNAs of each requested kind, all of the same images; with folds, if the job has folds.
        unreadable: One line for each image that was left out.
        numbers: Source indices of the readable images, ascending. Rows follow this order.
        names: Names of these images.
        rows: Other values of each image, by name of the statistic or note, such as ``"folds"``.
        features: Spatial means of the images, if the job keeps them.

    """

    # No file of a result has these.
    UNSAVED: ClassVar[tuple[str, ...]] = ("numbers", "names", "rows", "features")

    dnas: dict[str, DNA]
    unreadable: list[str]
    numbers: Sequence[int] = ()
    names: Sequence[str] = ()
    rows: Mapping[str, Tensor] = field(default_factory=dict)
    features: Features | None = None

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
        """First of the DNAs, for values that all have in common."""
        return next(iter(self.dnas.values()))

    def rows_in(self, other: Measured) -> Tensor | None:
        """Return the row of each image in another set that has equal pixels or values, -1 for none.

        None unless digests of both were kept.
        """
        if "digest" not in self.rows or "digest" not in other.rows:
            return None
        first_row: dict[bytes, int] = {}
        for i, digest in enumerate(other.rows["digest"].numpy()):
            first_row.setdefault(digest.tobytes(), i)
        rows = [first_row.get(digest.tobytes(), -1) for digest in self.rows["digest"].numpy()]
        return torch.tensor(rows)

    def input_of(self, distance: Distance) -> Any:
        """Return what a distance needs: a DNA, or features of its or the last layer; None if it was not measured."""
        if not distance.kinds:
            if self.features is None:
                return None
            return self.features.select([distance.layer or list(self.first.neurons)[-1]])
        kind = distance.kinds[0]
        if kind == "gaussian" and kind not in self.dnas:
            layers = self.dnas.get("layer-gaussian")
            return layers.to_gaussian() if isinstance(layers, LayerGaussianDNA) else None
        dna = self.dnas.get(kind)
        if dna is None or distance.layer is None or is_unnamed(dna):
            return dna
        return dna.select([distance.layer])

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
    """Return one line for each image that was left out. A set that was measured once is listed once."""
    lines_by_list = {id(side.unreadable): side.unreadable for side in sides}
    return [line for lines in lines_by_list.values() for line in lines]


def measure(
    job: Job, images: Images, *, distributed: bool = False, own: bool = False, on: str | None = None
) -> Measured:
    """Run all images through a job once.

    Args:
        job: The job.
        images: The images.
        distributed: Share the images among the processes of torch.distributed; all get the same result.
        own: Whether each process has images of its own; with ``distributed``, all are measured as one set.
        on: Ray cluster that measures them, which was checked, see :func:`finish_on_ray`.

    Raises:
        ValueError: If there are no images, one can't be read, or its activations are not finite.

    """
    distributed = distributed and world_size() > 1
    with in_step(distributed):
        if on is not None:
            with TemporaryDirectory() as folder:
                parts = Parts(Path(folder), images, job)
                shares = list(finish_on_ray(parts, on))
                return _measured(job, images, dict(parts.merged()), shares)
        # One process splits the images, too, so that their numbers start at 0: they may be some images of a source.
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
