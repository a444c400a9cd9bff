"""One pass over an image set: every kind of DNA that is asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypedDict

import torch

from torchmetrics_dna.binning import add_counts_, add_moments_
from torchmetrics_dna.binning.histogram import check_num_bins
from torchmetrics_dna.dna import GaussianDNA, HistogramDNA
from torchmetrics_dna.images.loader import load_batches
from torchmetrics_dna.images.sources import open_source

if TYPE_CHECKING:
    import os

    from torchmetrics_dna.extractors import DNAExtractor
    from torchmetrics_dna.images import ImageSource, Source
    from torchmetrics_dna.ranges import ActivationRanges

DNA = HistogramDNA | GaussianDNA
Kind = Literal["histogram", "gaussian"]
Progress = Callable[[str, int, int], None]


class LoadingOptions(TypedDict, total=False):
    """Keyword arguments that say how images are read; see :class:`Loading`."""

    batch_size: int
    num_workers: int | None
    exif_orientation: bool
    skip_unreadable: bool
    progress: Progress | None


@dataclass(frozen=True)
class Loading:
    """How images are read.

    Args:
        batch_size: Images in a batch.
        num_workers: Processes that decode images; None: one per core up to 8, none for a few images.
        exif_orientation: Turn images as their EXIF tag says. The official implementation does not.
        skip_unreadable: Leave out images that can't be read, instead of stopping.
        progress: Called after each batch with the name of the source, the number of images done, and that of all.

    Raises:
        ValueError: If a number is out of range.

    """

    batch_size: int = 32
    num_workers: int | None = None
    exif_orientation: bool = False
    skip_unreadable: bool = False
    progress: Progress | None = None

    def __post_init__(self) -> None:
        for name, value, least in (("batch_size", self.batch_size, 1), ("num_workers", self.num_workers or 0, 0)):
            if not isinstance(value, int) or value < least:
                raise ValueError(f"Argument `{name}` expected to be an integer of at least {least}, but got {value!r}")


@dataclass(frozen=True)
class Measured:
    """What one pass over an image set found.

    Attributes:
        histogram: The histogram DNA, if asked for.
        gaussian: The Gaussian DNA, if asked for.
        unreadable: One line for each image that was left out.

    """

    histogram: HistogramDNA | None
    gaussian: GaussianDNA | None
    unreadable: list[str]

    @property
    def num_images(self) -> int:
        """How many images were measured."""
        dna = self.histogram or self.gaussian
        return dna.num_images if dna else 0


def measure(
    source: Source | ImageSource,
    extractor: DNAExtractor,
    kinds: Sequence[Kind],
    num_bins: int,
    ranges: ActivationRanges | str | os.PathLike[str] | None,
    loading: Loading,
) -> Measured:
    """Run all images of a source through an extractor once.

    Args:
        source: See :func:`open_source`.
        extractor: The network, on the device where it is to run.
        kinds: Which DNAs to make.
        num_bins: Bins of the histograms.
        ranges: Activation ranges of the histograms, or the path of a file of them; None for the packaged ones.
        loading: How images are read.

    Raises:
        ValueError: If there are no images, one can't be read, or activations are not finite.

    """
    images = open_source(source, loading.exif_orientation)
    tally = _Tally(extractor, kinds, num_bins, ranges)
    unreadable: list[str] = []
    for batch in load_batches(
        images,
        extractor.input_size,
        extractor.crop,
        batch_size=loading.batch_size,
        num_workers=loading.num_workers,
        skip_unreadable=loading.skip_unreadable,
    ):
        unreadable += batch.unreadable
        if len(batch.images):
            tally.add(batch.images)
        if loading.progress:
            loading.progress(images.label, tally.num_images + len(unreadable), len(images))
    if not tally.num_images:
        raise ValueError(f"None of the {len(images)} images could be read; the first: {unreadable[0]}")
    return Measured(tally.histogram(), tally.gaussian(), unreadable)


class _Tally:
    """Running statistics of one image set."""

    def __init__(
        self,
        extractor: DNAExtractor,
        kinds: Sequence[Kind],
        num_bins: int,
        ranges: ActivationRanges | str | os.PathLike[str] | None,
    ) -> None:
        self.extractor = extractor
        self.num_images = 0
        device, neurons = extractor.device, extractor.neurons.total
        self.counts = self.moments = None
        if "histogram" in kinds:
            check_num_bins(num_bins)
            self.ranges = extractor.resolve_ranges(ranges)
            self.low, self.high = (bound.to(device) for bound in self.ranges.bounds())
            self.counts = torch.zeros(neurons, num_bins, dtype=torch.int64, device=device)
        if "gaussian" in kinds:
            self.moments = torch.zeros(2, neurons, dtype=torch.float64, device=device)

    def add(self, imgs: torch.Tensor) -> None:
        activations = self.extractor(imgs.to(self.extractor.device, non_blocking=True))
        if self.counts is not None:
            add_counts_(self.counts, activations, self.low, self.high)
        if self.moments is not None:
            add_moments_(self.moments, activations)
        self.num_images += len(imgs)

    def histogram(self) -> HistogramDNA | None:
        if self.counts is None:
            return None
        return HistogramDNA(
            self.counts.cpu(), self.extractor.neurons, self.ranges, self.num_images, self.extractor.name
        )

    def gaussian(self) -> GaussianDNA | None:
        if self.moments is None:
            return None
        return GaussianDNA.from_moments(
            self.moments.cpu(), self.extractor.neurons, self.num_images, self.extractor.name
        )
