"""Jobs: how image sets become statistics, in the only loop over activations."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from torchmetrics_dna.dna import DNA
from torchmetrics_dna.images import ImageSource, Reading
from torchmetrics_dna.jobs.groups import grouping
from torchmetrics_dna.jobs.loading import activate
from torchmetrics_dna.statistics import (
    CrossMomentStatistic,
    DNAStatistic,
    MomentStatistic,
    Statistic,
    histogram_statistic,
)
from torchmetrics_dna.statistics.folds import FoldedStatistic, ImageNotes, bins_of_folds, group_folds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from torch import Tensor

    from torchmetrics_dna.dna.distance import Kind
    from torchmetrics_dna.extractors import DNAExtractor
    from torchmetrics_dna.images import Images
    from torchmetrics_dna.jobs.groups import Groups
    from torchmetrics_dna.jobs.loading import Activated
    from torchmetrics_dna.statistics import State
    from torchmetrics_dna.statistics.resolve import Resolved


@dataclass(eq=False)
class Split:
    """Measured state of a part of an image set.

    Attributes:
        states: The state of each statistic, by name.
        unreadable: One line for each image that was left out.
        num_images: Number of images that were read.
        first: Name of the first of these; empty if there is none.
        last: Name of the last one.
        numbers: Positions of these in their source, where rows or folds of images are kept; those of a stream are
            counted.
        names: Their names, likewise.
        notes: Folds and thumbnails of batches, by name, if folds are kept.

    """

    states: dict[str, State]
    unreadable: list[str] = field(default_factory=list)
    num_images: int = 0
    first: str = ""
    last: str = ""
    numbers: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    notes: dict[str, list[Tensor]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Job:
    """Maps splits of an image set to statistics.

    A split is a range of images, or of shards of a stream. A whole set is one split; a file of an interrupted job, a
    class, and a window of a stream are splits.

    Args:
        extractor: The network, on the device where it is to run.
        statistics: How images add up, by name.
        reading: Options for reading the images.
        num_folds: How many folds of images the statistics keep apart; None for none.
        groups: Which images share a fold, see :func:`group_names`; by default those of equal pixels.

    """

    extractor: DNAExtractor
    statistics: Mapping[str, Statistic]
    reading: Reading
    num_folds: int | None = None
    groups: Groups | None = None

    @classmethod
    def for_dnas(
        cls,
        resolved: Resolved,
        kinds: Sequence[Kind],
        reading: Reading | None = None,
        num_folds: int | None = None,
        groups: Groups | None = None,
    ) -> Job:
        """A job whose statistics are DNAs, by their kinds.

        Args:
            resolved: The network, and the bins and ranges of histograms.
            kinds: Kinds of DNA to make.
            reading: Options for reading the images.
            num_folds: Number of folds of images to keep apart; None for none.
            groups: Which images share a fold.

        """
        extractor, num_bins, ranges = resolved.extractor, resolved.num_bins, resolved.ranges

        def statistic(kind: Kind) -> Statistic:
            makers: dict[str, tuple[Callable[[], DNAStatistic[Any]], Callable[[], DNAStatistic[Any]]]] = {
                "histogram": (
                    lambda: histogram_statistic(extractor, num_bins, ranges),
                    lambda: histogram_statistic(extractor, bins_of_folds(num_bins), ranges),
                ),
                "gaussian": (lambda: MomentStatistic(extractor), lambda: MomentStatistic(extractor)),
                "layer-gaussian": (lambda: CrossMomentStatistic(extractor), lambda: MomentStatistic(extractor)),
            }
            whole, of_fold = makers[kind]
            return whole() if num_folds is None else FoldedStatistic(whole(), of_fold(), num_folds)

        return cls(extractor, {kind: statistic(kind) for kind in kinds}, reading or Reading(), num_folds, groups)

    def also(self, **statistics: Statistic) -> Job:
        """The same with more statistics."""
        return replace(self, statistics={**self.statistics, **statistics})

    def run(
        self,
        images: Images,
        splits: Sequence[range] | None = None,
        *,
        size: int | None = None,
        whole: Images | None = None,
    ) -> Iterator[Split]:
        """Measure splits, one after the other; delete each before the next is asked for, or two are in memory.

        Args:
            images: The images.
            splits: Which images, or shards of a stream, each split has; None for all in one.
            size: Images of a split instead, which is given as soon as it has them; what is left at the end is not.
            whole: What the images are a share of, where groups of images go by their numbers.

        Raises:
            ValueError: If images have no such groups, one can't be read, or activations are not finite.

        """
        split: Split | None = None
        for part, folds in self._activated(images, splits, size, whole or images):
            begin, ends = 0, part.ends
            while begin < len(part.places):
                split = split or self.empty()
                end = len(part.places) if size is None else min(len(part.places), begin + size - split.num_images)
                self._add_(split, images, part, slice(begin, end), folds)
                begin = end
                if split.num_images == size:
                    yield split
                    split = None
            if size is None:
                split = split or self.empty()
                split.unreadable += part.left_out
            del part, folds
            if splits is not None and ends:
                assert split is not None
                yield split
                split = None  # before the next one has its own: counts may be large
        if splits is None and size is None:
            yield split or self.empty()

    def run_by(self, images: Images, class_of: Callable[[str], str | None], classes: Sequence[str]) -> dict[str, Split]:
        """Measure all classes in one pass, all in memory; images of no class are left out.

        Args:
            images: The images.
            class_of: The class of an image, by its name.
            classes: All of them.

        """
        splits = {name: self.empty() for name in classes}
        for part, folds in self._activated(images, None, None, images):
            labels = [class_of(name) for name in part.names]
            for label in filter(None, dict.fromkeys(labels)):
                chosen = [i for i, other in enumerate(labels) if other == label]
                self._add_(splits[label], images, part, chosen, folds)
            splits[classes[0]].unreadable += part.left_out
            del part, folds
        return splits

    def empty(self) -> Split:
        """A split of no images."""
        return Split({name: statistic.empty(self.extractor.device) for name, statistic in self.statistics.items()})

    def values(self, split: Split) -> dict[str, Any]:
        """The value of each statistic; DNAs on the CPU, and may be views of the split."""
        values = {name: statistic.value(split.states[name]) for name, statistic in self.statistics.items()}
        return {name: value.to("cpu") if isinstance(value, DNA) else value for name, value in values.items()}

    def dnas(self, split: Split) -> dict[str, DNA]:
        """The DNAs among the values."""
        return {name: value for name, value in self.values(split).items() if isinstance(value, DNA)}

    @property
    def keeps_rows(self) -> bool:
        """True if something is kept of each image."""
        return self.num_folds is not None or any(statistic.by_image for statistic in self.statistics.values())

    def _activated(
        self, images: Images, splits: Sequence[range] | None, size: int | None, whole: Images
    ) -> Iterator[tuple[Activated, Tensor | None]]:
        """Activations of parts of batches, and the folds of their images."""
        if splits is not None and not splits:
            return
        group_of = grouping(whole, self.groups) if self.num_folds is not None else None
        notes = None if self.num_folds is None else ImageNotes(None if group_of else self.num_folds)
        for part in activate(images, self.extractor, self.reading, notes, splits, size):
            if self.num_folds is None or not part.places:
                folds = None
            elif group_of is None:
                folds = part.notes["folds"]
            else:
                folds = group_folds([*map(group_of, _numbers(images, part.places), part.names)], self.num_folds)
            yield part, folds
            del part

    def _add_(
        self, split: Split, images: Images, part: Activated, chosen: slice | list[int], folds: Tensor | None
    ) -> None:
        """Add some images of a part in place."""
        activations = {layer: values[chosen] for layer, values in part.activations.items()}  # views of a slice
        places, names = (_some(values, chosen) for values in (part.places, part.names))
        for name, statistic in self.statistics.items():
            if isinstance(statistic, FoldedStatistic) and folds is not None:
                statistic.add_keyed_(split.states[name], [activations], folds[chosen])
            else:
                statistic.add_(split.states[name], [activations], len(places))
        split.num_images += len(places)
        split.first, split.last = split.first or names[0], names[-1]
        if folds is not None:
            split.notes.setdefault("folds", []).append(folds[chosen])
            split.notes.setdefault("thumbnails", []).append(part.notes["thumbnails"][chosen])
        if self.keeps_rows:  # or else a long stream would leave long lists
            split.numbers += _numbers(images, places)
            split.names += names


def _numbers(images: Images, places: Sequence[int]) -> list[int]:
    """Numbers of images in the source that they were taken of; of a stream, where they stand in it."""
    return [images.numbers[i] for i in places] if isinstance(images, ImageSource) else list(places)


def _some(values: Sequence[Any], chosen: slice | list[int]) -> Sequence[Any]:
    return values[chosen] if isinstance(chosen, slice) else [values[i] for i in chosen]
