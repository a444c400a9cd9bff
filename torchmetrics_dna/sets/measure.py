"""Measure an image set in one pass: every kind of DNA that is asked for."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch

from torchmetrics_dna.dna.unions import ImageFeatures
from torchmetrics_dna.images import ImageSource
from torchmetrics_dna.sets.elsewhere import check_elsewhere, measure_elsewhere
from torchmetrics_dna.sets.groups import grouping
from torchmetrics_dna.sets.loading import activate_noted, check_any_read
from torchmetrics_dna.sets.processes import gather, in_step
from torchmetrics_dna.tally import CrossMomentTally, DNATally, MomentTally, Side, SlicedTally, histogram_tally
from torchmetrics_dna.tally.folds import FoldedTally, ImageNotes, bins_of_folds, group_folds

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

    from torchmetrics_dna.dna import DNA
    from torchmetrics_dna.dna.distances import Kind
    from torchmetrics_dna.extractors import DNAExtractor
    from torchmetrics_dna.images import Images, Source
    from torchmetrics_dna.neurons.ranges import ActivationRanges
    from torchmetrics_dna.sets.features import PerImage
    from torchmetrics_dna.sets.groups import Groups
    from torchmetrics_dna.sets.loading import Activated, Loading


@dataclass(frozen=True, eq=False)
class Measured:
    """What one pass over an image set found.

    Attributes:
        dnas: A DNA of each kind that was asked for, all of the same images; with folds, if they were kept apart.
        unreadable: One line for each image that was left out.
        numbers: Where the images that could be read stand in the source, in ascending order, as all that is of each;
            those of a stream are counted. Empty where nothing is kept of single images.
        names: What these images are called.
        kept: What was kept of each image, by name; with folds, also ``"folds"`` and ``"thumbnails"``.

    """

    dnas: dict[str, DNA]
    unreadable: list[str]
    numbers: Sequence[int] = ()
    names: Sequence[str] = ()
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
        positions = self.any.neurons.positions(layers)
        dnas = {kind: dna.select(layers) for kind, dna in self.dnas.items()}
        kept = {name: values[:, positions] if name == "means" else values for name, values in self.kept.items()}
        return replace(self, dnas=dnas, kept=kept)

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
        makers: dict[Kind, tuple[Callable[[], DNATally[Any]], Callable[[], DNATally[Any]] | None]] = {
            "histogram": (
                lambda: histogram_tally(extractor, num_bins, ranges),
                lambda: histogram_tally(extractor, bins_of_folds(num_bins), ranges),
            ),
            "gaussian": (lambda: MomentTally(extractor), lambda: MomentTally(extractor)),
            "layer-gaussian": (lambda: CrossMomentTally(extractor), lambda: MomentTally(extractor)),
            "sliced": (lambda: SlicedTally(extractor, num_bins), None),
        }
        self.tallies: dict[Kind, DNATally[Any]] = {}
        for kind in kinds:
            whole, of_fold = makers[kind]
            if num_folds is None or of_fold is None:
                self.tallies[kind] = whole()
            else:
                self.tallies[kind] = FoldedTally(whole(), of_fold(), num_folds)
        self.extractor, self.loading = extractor, loading
        self.counting = num_bins, ranges
        self.num_folds, self.groups = num_folds, groups

    @property
    def folded(self) -> bool:
        """Whether folds are kept."""
        return self.num_folds is not None

    def begin(self, images: Images) -> None:
        """Get ready for images, of which others may follow.

        Raises:
            ValueError: If they have no such groups.

        """
        self._group_of = grouping(images, self.groups) if self.folded else None
        self.notes = ImageNotes(None if self._group_of else self.num_folds) if self.folded else None

    def folds(self, part: Activated, numbers: Sequence[int]) -> Tensor | None:
        """The fold of each image of a part, whose numbers are those of the images that it began with; None without."""
        if self.num_folds is None or not part.places:
            return None
        if self._group_of is None:
            return part.notes["folds"]
        return group_folds([*map(self._group_of, numbers, part.names)], self.num_folds)

    def by(self, loading: Loading) -> Pass:
        """The same for images that are read otherwise."""
        other = copy(self)
        other.loading = loading
        return other

    def empty(self) -> dict[Kind, Side]:
        """The sides of no images."""
        return {kind: tally.empty(self.extractor.device) for kind, tally in self.tallies.items()}

    def add_(
        self, sides: dict[Kind, Side], activations: dict[str, Tensor], num_images: int, folds: Tensor | None
    ) -> None:
        """Add a part in place, of so many images in these folds."""
        for kind, tally in self.tallies.items():
            if isinstance(tally, FoldedTally) and folds is not None:
                tally.add_folded_(sides[kind], [activations], folds)
            else:
                tally.add_(sides[kind], [activations], num_images)

    def to_dnas(self, sides: dict[Kind, Side]) -> dict[str, DNA]:
        """The DNA of each side, on the CPU; may be a view of it."""
        return {kind: tally.to_dna(sides[kind]).to("cpu") for kind, tally in self.tallies.items()}


def measure(
    source: Source,
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
        images = loading.open(source)
        run = Pass(extractor, kinds, num_bins, ranges, loading, num_folds, groups)
        run.begin(images)
        if loading.engine is not None:
            return _measure_elsewhere(images, run, keep)
        share = loading.share_of(images)
        sides, keep = run.empty(), keep or {}
        unreadable: list[str] = []
        seen = _Seen()
        for part in activate_noted(share, extractor, loading, run.notes):
            numbers = [share.numbers[i] for i in part.places] if isinstance(share, ImageSource) else part.places
            folds = run.folds(part, numbers)
            if numbers:
                run.add_(sides, part.activations, len(numbers), folds)
                for one in keep.values():
                    one.add(part.activations)
                seen.add(part, numbers, folds, bool(keep))
            unreadable += part.left_out
            del part
        num_read = seen.count
        if loading.distributed:
            shares = gather((unreadable, num_read))
            unreadable, num_read = [line for lines, _ in shares for line in lines], sum(count for _, count in shares)
            for kind, tally in run.tallies.items():
                tally.all_reduce_(sides[kind])
        check_any_read(num_read + len(unreadable), unreadable, images.label)
        dnas = run.to_dnas(sides)
        of_images = {**{name: one.values(dnas) for name, one in keep.items()}, **seen.notes(run.folded)}
        return Measured(dnas, sorted(unreadable), *_in_order(of_images, seen, images, loading.distributed))


def check_folds_of(kinds: Sequence[Kind], num_folds: int | None) -> None:
    """ValueError if folds are to be kept of a kind of DNA that has none."""
    if num_folds and "sliced" in kinds:
        raise ValueError("DNAs of kind 'sliced' have no folds, since no test takes them; make these without folds")


def _measure_elsewhere(images: Images, run: Pass, keep: Mapping[str, PerImage] | None) -> Measured:
    if keep:
        raise ValueError(
            f"Argument `engine` makes nothing but DNAs, but {', '.join(keep)} of single images are needed; leave it out"
        )
    check_elsewhere(images)
    return Measured(*measure_elsewhere(images, run))


class _Seen:
    """What is known of the images that this process has read, in the order in which it has."""

    def __init__(self) -> None:
        self.count = 0
        self.numbers: list[int] = []
        self.names: list[str] = []
        self._folds: list[Tensor] = []
        self._thumbnails: list[Tensor] = []

    def add(self, part: Activated, numbers: Sequence[int], folds: Tensor | None, keeps: bool) -> None:
        self.count += len(numbers)
        if folds is not None:
            self._folds.append(folds)
            self._thumbnails.append(part.notes["thumbnails"])
        if folds is not None or keeps:  # or else a long stream would leave long lists
            self.numbers += numbers
            self.names += part.names

    def notes(self, folded: bool) -> dict[str, Tensor]:
        if not folded:
            return {}
        if not self._folds:
            return {"folds": torch.zeros(0, dtype=torch.int64), "thumbnails": torch.zeros(0, dtype=torch.uint8)}
        return {"folds": torch.cat(self._folds), "thumbnails": torch.cat(self._thumbnails)}


def _in_order(
    of_images: dict[str, Tensor], seen: _Seen, images: Images, distributed: bool
) -> tuple[list[int], list[str], dict[str, Tensor]]:
    """Numbers and names of all images, and what is known of each, in their order, whichever process saw it."""
    given = seen.numbers, seen.names, of_images
    shares = gather(given) if distributed else [given]
    every = torch.tensor([number for some, _, _ in shares for number in some], dtype=torch.int64)
    order = every.argsort()
    numbers = every[order].tolist() if isinstance(images, ImageSource) else list(range(len(every)))
    names = [name for _, some, _ in shares for name in some]
    # nobody's share is joined with what has another shape, of no images
    kept = {
        name: torch.cat([known[name] for some, _, known in shares if some or len(shares) == 1])[order]
        for name in (of_images if len(every) else ())
    }
    return numbers, [names[i] for i in order.tolist()], kept
