"""Measure an image set in one pass: every kind of DNA that is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch

from torchmetrics_dna.dna.unions import ImageFeatures
from torchmetrics_dna.images.sources import open_source
from torchmetrics_dna.sets.groups import group_names
from torchmetrics_dna.sets.loading import activate, check_any_read
from torchmetrics_dna.sets.processes import gather, in_step
from torchmetrics_dna.tally import CrossMomentTally, DNATally, MomentTally, Side, histogram_tally
from torchmetrics_dna.tally.folds import FoldedImages, FoldedTally, bins_of_folds

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

    from torchmetrics_dna.dna import DNA
    from torchmetrics_dna.dna.distances import Kind
    from torchmetrics_dna.extractors import DNAExtractor
    from torchmetrics_dna.images import ImageSource, Source
    from torchmetrics_dna.neurons.ranges import ActivationRanges
    from torchmetrics_dna.sets.features import PerImage
    from torchmetrics_dna.sets.groups import Groups
    from torchmetrics_dna.sets.loading import Loading


@dataclass(frozen=True, eq=False)
class Measured:
    """What one pass over an image set found.

    Attributes:
        dnas: A DNA of each kind that was asked for, all of the same images; with folds, if they were kept apart.
        unreadable: One line for each image that was left out.
        numbers: Where the images that could be read stand in the source, in ascending order, as all that is of each.
        kept: What was kept of each image, by name; with folds, also ``"folds"`` and ``"thumbnails"``.

    """

    dnas: dict[str, DNA]
    unreadable: list[str]
    numbers: Sequence[int] = ()
    kept: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def features(self) -> ImageFeatures | None:
        """Spatial means of the last layer, and the fold of each image, if they were kept."""
        return ImageFeatures(self.kept["features"], self.folds) if "features" in self.kept else None

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

    def select(self, layers: Sequence[str]) -> Measured:
        """The same of some layers; of images, spatial means of these and all else as it is."""
        total, positions = self.any.neurons.total, self.any.neurons.positions(layers)
        means = {name: values[:, positions] for name, values in self.kept.items() if values.shape[1:] == (total,)}
        dnas = {kind: dna.select(layers) for kind, dna in self.dnas.items()}
        return replace(self, dnas=dnas, kept={**self.kept, **means})

    def without_folds(self) -> Measured:
        """The same without folds, which take more than all else."""
        return Measured({kind: replace(dna, folds=()) for kind, dna in self.dnas.items()}, self.unreadable)


class Pass:
    """How images run through an extractor, and add up to a DNA of each kind.

    It holds no counts: :meth:`empty` makes new ones, a side for each kind, which the other methods take.

    Args:
        extractor: The network, on the device where it is to run.
        kinds: Which DNAs to make.
        num_bins: Bins of the histograms.
        ranges: Activation ranges of the histograms, the path of a file of them, or ``"auto"``;
            None for the packaged ones, or else ``"auto"``.
        loading: How images are read.
        num_folds: Keep so many folds of images apart.
        groups: Which images share a fold, see :func:`group_names`; by default those of equal pixels.

    """

    def __init__(
        self,
        extractor: DNAExtractor,
        kinds: Sequence[Kind],
        num_bins: int,
        ranges: ActivationRanges | str | os.PathLike[str] | None,
        loading: Loading,
        num_folds: int | None = None,
        groups: Groups | None = None,
    ) -> None:
        # how all images add up, and those of a fold
        makers: dict[Kind, tuple[Callable[[], DNATally[Any]], Callable[[], DNATally[Any]]]] = {
            "histogram": (
                lambda: histogram_tally(extractor, num_bins, ranges),
                lambda: histogram_tally(extractor, bins_of_folds(num_bins), ranges),
            ),
            "gaussian": (lambda: MomentTally(extractor), lambda: MomentTally(extractor)),
            "layer-gaussian": (lambda: CrossMomentTally(extractor), lambda: MomentTally(extractor)),
        }
        self.tallies: dict[Kind, DNATally[Any]] = {}
        for kind in kinds:
            whole, of_fold = makers[kind]
            self.tallies[kind] = whole() if num_folds is None else FoldedTally(whole(), of_fold(), num_folds)
        self.extractor, self.loading = extractor, loading
        self.num_folds, self.groups = num_folds, groups

    def open(self, images: ImageSource, share: Sequence[int]) -> ImageSource:
        """The images of a share, each of which will know its fold if folds are kept."""
        taken = images.take(share)
        if self.num_folds is None:
            return taken
        names = None if self.groups is None else group_names(images, self.groups)
        return FoldedImages(taken, self.num_folds, names and [names[i] for i in share])

    def empty(self) -> dict[Kind, Side]:
        """The sides of no images."""
        return {kind: tally.empty(self.extractor.device) for kind, tally in self.tallies.items()}

    def add_(
        self, sides: dict[Kind, Side], activations: dict[str, Tensor], images: ImageSource, places: list[int]
    ) -> None:
        """Add a batch in place: the images at these places of what :meth:`open` gave."""
        for kind, tally in self.tallies.items():
            if isinstance(tally, FoldedTally) and isinstance(images, FoldedImages):
                tally.add_folded_(sides[kind], [activations], images.folds[places])
            else:
                tally.add_(sides[kind], [activations], len(places))

    def to_dnas(self, sides: dict[Kind, Side]) -> dict[str, DNA]:
        """The DNA of each side, on the CPU; may be a view of it."""
        return {kind: tally.to_dna(sides[kind]).to("cpu") for kind, tally in self.tallies.items()}


def measure(
    source: Source | ImageSource,
    extractor: DNAExtractor,
    kinds: Sequence[Kind],
    num_bins: int,
    ranges: ActivationRanges | str | os.PathLike[str] | None,
    loading: Loading,
    num_folds: int | None = None,
    groups: Groups | None = None,
    keep: Mapping[str, PerImage] | None = None,
) -> Measured:
    """Run all images of a source through an extractor once; arguments as for :class:`Pass`.

    What is to ``keep`` of single images is named; ``"features"`` are those of :class:`Features`.

    Raises:
        ValueError: If there are no images, one can't be read, or activations are not finite.

    """
    with in_step(loading.distributed):
        images = open_source(source, loading.exif_orientation)
        run = Pass(extractor, kinds, num_bins, ranges, loading, num_folds, groups)
        mine = loading.share(len(images))
        share = run.open(images, mine)
        sides, keep = run.empty(), keep or {}
        unreadable: list[str] = []
        read: list[int] = []
        for places, activations, left_out in activate(share, extractor, loading):
            if places:
                run.add_(sides, activations, share, places)
                for one in keep.values():
                    one.add(activations)
            del activations
            read += places
            unreadable += left_out
        if loading.distributed:
            unreadable = [line for lines in gather(unreadable) for line in lines]
            for kind, tally in run.tallies.items():
                tally.all_reduce_(sides[kind])
        check_any_read(len(images), unreadable)
        dnas = run.to_dnas(sides)
        of_images = {name: one.values(dnas) for name, one in keep.items()}
        if isinstance(share, FoldedImages):
            of_images |= {"folds": share.folds[read], "thumbnails": share.thumbnails[read]}
        numbers, kept = _in_order(of_images, [mine[place] for place in read], loading.distributed)
        return Measured(dnas, sorted(unreadable), numbers, kept)


def _in_order(
    of_images: dict[str, Tensor], numbers: list[int], distributed: bool
) -> tuple[list[int], dict[str, Tensor]]:
    """The numbers of all images, and what is known of each, in the order of the source, whichever process saw it."""
    shares = gather((numbers, of_images)) if distributed else [(numbers, of_images)]
    every = torch.tensor([number for some, _ in shares for number in some])
    order = every.argsort()
    return every[order].tolist(), {name: torch.cat([known[name] for _, known in shares])[order] for name in of_images}
