"""Measure an image set in one pass: every kind of DNA that is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torchmetrics_dna.images.sources import open_source
from torchmetrics_dna.sets.features import Features
from torchmetrics_dna.sets.loading import activate, check_any_read
from torchmetrics_dna.sets.processes import gather, in_step
from torchmetrics_dna.tally import CrossMomentTally, DNATally, MomentTally, Side, histogram_tally
from torchmetrics_dna.tally.folds import FoldedImages, FoldedTally

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from torchmetrics_dna.dna import DNA, HistogramDNA
    from torchmetrics_dna.dna.distances import Kind
    from torchmetrics_dna.extractors import DNAExtractor
    from torchmetrics_dna.images import ImageSource, Source
    from torchmetrics_dna.neurons.ranges import ActivationRanges
    from torchmetrics_dna.sets.loading import Loading


@dataclass(frozen=True, eq=False)
class Measured:
    """What one pass over an image set found.

    Attributes:
        dnas: A DNA of each kind that was asked for, all of the same images.
        unreadable: One line for each image that was left out.
        folds: The histogram DNAs of disjoint folds of the images, if they were kept apart.
        features: Spatial means of the last layer, ``(images, n)``, in the order of the images, if they were kept.

    """

    dnas: dict[str, DNA]
    unreadable: list[str]
    folds: list[HistogramDNA] = field(default_factory=list)
    features: Tensor | None = None

    @property
    def any(self) -> DNA:
        """One of the DNAs."""
        return next(iter(self.dnas.values()))


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
        num_folds: Keep the histograms of so many folds of images apart.

    """

    def __init__(
        self,
        extractor: DNAExtractor,
        kinds: Sequence[Kind],
        num_bins: int,
        ranges: ActivationRanges | str | os.PathLike[str] | None,
        loading: Loading,
        num_folds: int | None = None,
    ) -> None:
        def histograms() -> DNATally[Any]:
            tally = histogram_tally(extractor, num_bins, ranges)
            return tally if num_folds is None else FoldedTally(tally, num_folds)

        makers: dict[Kind, Callable[[], DNATally[Any]]] = {
            "histogram": histograms,
            "gaussian": lambda: MomentTally(extractor),
            "layer-gaussian": lambda: CrossMomentTally(extractor),
        }
        self.tallies = {kind: makers[kind]() for kind in kinds}
        self.extractor = extractor
        self.loading = loading

    def empty(self) -> dict[Kind, Side]:
        """The sides of no images."""
        return {kind: tally.empty(self.extractor.device) for kind, tally in self.tallies.items()}

    def add_(
        self, sides: dict[Kind, Side], activations: dict[str, Tensor], num_images: int, folds: Tensor | None = None
    ) -> None:
        """Add a batch in place; ``folds``, shape ``(B,)``, says which fold each image belongs to."""
        for kind, tally in self.tallies.items():
            if folds is not None and isinstance(tally, FoldedTally):
                tally.add_folded_(sides[kind], [activations], folds)
            else:
                tally.add_(sides[kind], [activations], num_images)

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
    keep_features: bool = False,
) -> Measured:
    """Run all images of a source through an extractor once; arguments as for :class:`Pass`.

    With ``keep_features``, the spatial means of the last layer are kept for each image.

    Raises:
        ValueError: If there are no images, one can't be read, or activations are not finite.

    """
    with in_step(loading.distributed):
        images = open_source(source, loading.exif_orientation)
        run = Pass(extractor, kinds, num_bins, ranges, loading, num_folds)
        numbers = loading.share(len(images))
        share, folds = images.take(numbers), None
        if num_folds is not None:
            share = folded = FoldedImages(share, num_folds)
            folds = folded.folds
        sides, features = run.empty(), Features() if keep_features else None
        unreadable: list[str] = []
        for places, activations, left_out in activate(share, extractor, loading):
            if places:
                run.add_(sides, activations, len(places), None if folds is None else folds[places])
                if features is not None:
                    features.add(activations, [numbers[place] for place in places])
            del activations
            unreadable += left_out
        if loading.distributed:
            unreadable = [line for lines in gather(unreadable) for line in lines]
            for kind, tally in run.tallies.items():
                tally.all_reduce_(sides[kind])
            if features is not None:
                features.gather()
        check_any_read(len(images), unreadable)
        histograms = run.tallies.get("histogram")
        parts = histograms.to_folds(sides["histogram"]) if isinstance(histograms, FoldedTally) else []
        return Measured(
            run.to_dnas(sides),
            sorted(unreadable),
            [part.to("cpu") for part in parts],
            None if features is None else features.in_order(),
        )
