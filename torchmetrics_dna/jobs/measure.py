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
        dnas: DNA of each requested kind. They have folds if the job has.
        unreadable: One line for each image that could not be read.
        numbers: Index of each readable image in its source, in ascending order.
        names: Names of the readable images, in the same order.
        rows: Other values of the readable images, by name of the statistic or note, such as ``"folds"``. Each tensor
            has one row per image, in the same order.
        features: Spatial means of the images, or None if the job does not keep them.

    """

    # Files of results do not contain these fields.
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
        """First of the DNAs, for values that all DNAs share, such as the neurons."""
        return next(iter(self.dnas.values()))

    def rows_in(self, other: Measured) -> Tensor | None:
        """Find for each image an image in another set with equal pixels or values.

        Returns:
            Row of the first such image in the other set, or -1 if there is none, ``(images,)``. None if digests were
            not kept in both sets.

        """
        if "digest" not in self.rows or "digest" not in other.rows:
            return None
        first_row: dict[bytes, int] = {}
        for i, digest in enumerate(other.rows["digest"].numpy()):
            first_row.setdefault(digest.tobytes(), i)
        rows = [first_row.get(digest.tobytes(), -1) for digest in self.rows["digest"].numpy()]
        return torch.tensor(rows)

    def input_of(self, distance: Distance) -> Any:
        """Return the input of a distance, or None if it was not measured.

        The input is a DNA. For a distance of single images, it is the features of one layer: the layer of the distance,
        or else the last layer.
        """
        if not distance.kinds:
            if self.features is None:
                return None
            return self.features.select([distance.layer or list(self.first.neurons)[-1]])
        kind = distance.kinds[0]
        if kind == "gaussian" and kind not in self.dnas:
            # A DNA of kind layer-gaussian includes the Gaussian of each neuron.
            layer_gaussian = self.dnas.get("layer-gaussian")
            return layer_gaussian.to_gaussian() if isinstance(layer_gaussian, LayerGaussianDNA) else None
        dna = self.dnas.get(kind)
        if dna is None or distance.layer is None or is_unnamed(dna):
            return dna
        return dna.select([distance.layer])

    def select(self, neurons: Neurons) -> Measured:
        """Return a copy with DNAs of these neurons only. The values of single images are unchanged."""
        return replace(self, dnas={kind: dna.select(neurons=neurons) for kind, dna in self.dnas.items()})

    def merge(self, other: Measured) -> Measured:
        """Merge the DNAs of two sets of images. The values of single images are left out."""
        dnas = {kind: merged([dna, other.dnas[kind]]) for kind, dna in self.dnas.items()}
        return Measured(dnas, self.unreadable + other.unreadable)

    def without_folds(self) -> Measured:
        """Return a copy of the DNAs without folds, which take most of the memory."""
        return Measured({kind: replace(dna, folds=()) for kind, dna in self.dnas.items()}, self.unreadable)


def unreadable_of(sides: Iterable[Measured]) -> list[str]:
    """Return one line for each image that could not be read. A set that occurs several times is listed once."""
    lines_by_list = {id(side.unreadable): side.unreadable for side in sides}
    return [line for lines in lines_by_list.values() for line in lines]


def measure(
    job: Job, images: Images, *, distributed: bool = False, own: bool = False, on: str | None = None
) -> Measured:
    """Run all images through a job once.

    Args:
        job: The job.
        images: The images.
        distributed: Whether to share the images among the processes of torch.distributed. All processes get the same
            result.
        own: Whether each process has images of its own. With ``distributed``, all of them are measured as one set.
        on: Ray cluster that measures the images, see :func:`finish_on_ray`. It was checked by :func:`check_on_ray`.

    Raises:
        ValueError: If there are no images, an image can't be read, or activations are not finite.

    """
    has_peers = distributed and world_size() > 1
    with in_step(has_peers):
        if on is not None:
            return _measure_on_ray(job, images, on)
        is_shared = has_peers and not own
        # One process splits the images, too, so that their numbers start at 0: they may be some images of a source.
        images_of_process = images.split(rank(), world_size()) if is_shared else images.split(0, 1)
        (split,) = job.run(images_of_process, whole=images)
        if has_peers:
            # Raise the error of another process before the states are reduced.
            gather(None)
            for name, statistic in job.statistics.items():
                statistic.reduce_(split.states[name])
        dnas, share = job.dnas_and_share(split)
        shares = gather(share) if has_peers else [share]
        return _measured(job, images, dnas, shares)


def _measure_on_ray(job: Job, images: Images, on: str) -> Measured:
    """Measure images on a Ray cluster, in parts that are kept in a temporary folder."""
    with TemporaryDirectory() as folder:
        parts = Parts(Path(folder), images, job)
        shares = list(finish_on_ray(parts, on))
        return _measured(job, images, dict(parts.merged()), shares)


def measured_of(job: Job, images: Images, split: Split) -> Measured:
    """Return the values of one split of an image set.

    Args:
        job: The job that measured the split.
        images: The image set.
        split: The split.

    """
    dnas, share = job.dnas_and_share(split)
    return _measured(job, images, dnas, [share])


def _measured(job: Job, images: Images, dnas: dict[str, DNA], shares: Sequence[Share]) -> Measured:
    """Join the values that processes or parts measured, in the order of the source.

    Args:
        job: The job that measured them.
        images: The image set.
        dnas: DNA of all images, by kind.
        shares: Images that each process read, or that were read in each part.

    Raises:
        ValueError: If no image could be read.

    """
    unreadable = sorted(line for share in shares for line in share.unreadable)
    num_images = sum(share.num_images for share in shares) + len(unreadable)
    check_any_read(num_images, unreadable, images.label, noun_of(job.extractor))
    numbers = torch.tensor([number for share in shares for number in share.numbers], dtype=torch.int64)
    order = numbers.argsort()
    # The readable images of a stream get consecutive numbers.
    numbers_in_order = numbers[order].tolist() if isinstance(images, ImageSource) else list(range(len(numbers)))
    all_names = [name for share in shares for name in share.names]
    names = [all_names[i] for i in order.tolist()]
    rows = _joined_rows(shares, order)
    dnas = job.with_sample(dnas, rows)
    features = _pop_features(rows, names, job)
    return Measured(dnas, unreadable, numbers_in_order, names, rows, features)


def _pop_features(rows: dict[str, Tensor], names: list[str], job: Job) -> Features | None:
    """Remove the spatial means and pictures from the values of single images, and return them as features.

    Args:
        rows: Values of single images by name, which are changed in place.
        names: Names of the images.
        job: The job that measured them.

    Returns:
        The features; None if the job keeps none, or no image was read.

    """
    statistic = job.statistics.get("features")
    if not isinstance(statistic, SpatialMeans) or "features" not in rows:
        return None
    means = rows.pop("features")
    pictures = rows.pop("pictures", None)
    return Features(means, statistic.neurons, names=names, pictures=pictures, **job.extractor.origin)


def _joined_rows(shares: Sequence[Share], order: Tensor) -> dict[str, Tensor]:
    """Concatenate the values of single images of all shares, and put the images in this order."""
    # The rows of a share without images have another shape and can't be concatenated.
    with_images = [share for share in shares if share.numbers]
    if not with_images:
        return {}
    return {name: torch.cat([share.rows[name] for share in with_images])[order] for name in with_images[0].rows}
