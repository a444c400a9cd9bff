"""One pass over an image set: every kind of DNA that is asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from torchmetrics_dna.dna import GaussianDNA, HistogramDNA
from torchmetrics_dna.images.loader import load_batches
from torchmetrics_dna.images.sources import open_source
from torchmetrics_dna.processes import gather, rank, world_size
from torchmetrics_dna.tally import MomentTally, Tally, histogram_tally

if TYPE_CHECKING:
    import os

    from torchmetrics_dna.extractors import DNAExtractor
    from torchmetrics_dna.images import ImageSource, Source
    from torchmetrics_dna.ranges import ActivationRanges
    from torchmetrics_dna.tally import Side

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
    distributed: bool


@dataclass(frozen=True)
class Loading:
    """How images are read.

    Args:
        batch_size: Images in a batch.
        num_workers: Processes that decode images; None: one per core up to 8, none for a few images.
        exif_orientation: Turn images as their EXIF tag says. The official implementation does not.
        skip_unreadable: Leave out images that can't be read, instead of stopping.
        progress: Called after each batch with the name of the source, the number of images done, and that of all.
        distributed: Share the images among the processes of torch.distributed; all must make the same call, and all
            get the same result.

    Raises:
        ValueError: If a number is out of range.

    """

    batch_size: int = 32
    num_workers: int | None = None
    exif_orientation: bool = False
    skip_unreadable: bool = False
    progress: Progress | None = None
    distributed: bool = False

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
        ranges: Activation ranges of the histograms, the path of a file of them, or ``"auto"``;
            None for the packaged ones, or else ``"auto"``.
        loading: How images are read.

    Raises:
        ValueError: If there are no images, one can't be read, or activations are not finite.

    """
    images = open_source(source, loading.exif_orientation)
    tallies: dict[Kind, Tally[Any]] = {}
    if "histogram" in kinds:
        tallies["histogram"] = histogram_tally(extractor, num_bins, ranges)
    if "gaussian" in kinds:
        tallies["gaussian"] = MomentTally(extractor)
    sides = {kind: tally.empty(extractor.device) for kind, tally in tallies.items()}
    unreadable: list[str] = []
    if loading.distributed:
        _in_step(lambda: _run(images.shard(rank(), world_size()), extractor, tallies, sides, unreadable, loading))
        for kind, tally in tallies.items():
            tally.all_reduce_(sides[kind])
        unreadable = [line for lines in gather(unreadable) for line in lines]
    else:
        _run(images, extractor, tallies, sides, unreadable, loading)
    if len(unreadable) == len(images):
        raise ValueError(f"None of the {len(images)} images could be read; the first: {unreadable[0]}")
    dnas = {kind: tally.to_dna(sides[kind]).to("cpu") for kind, tally in tallies.items()}
    return Measured(dnas.get("histogram"), dnas.get("gaussian"), unreadable)


def _run(
    images: ImageSource,
    extractor: DNAExtractor,
    tallies: dict[Kind, Tally[Any]],
    sides: dict[Kind, Side],
    unreadable: list[str],
    loading: Loading,
) -> None:
    """Add all images to the sides, and what can't be read to ``unreadable``."""
    done = 0
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
            activations = extractor(batch.images.to(extractor.device, non_blocking=True))
            for kind, tally in tallies.items():
                tally.add_(sides[kind], activations, len(batch.images))
        done += len(batch.images) + len(batch.unreadable)
        if loading.progress:
            loading.progress(images.label, done, len(images))


def _in_step(run: Callable[[], None]) -> None:
    """Run, and raise the first error of any process in all of them, so that none waits for one that gave up."""
    error: Exception | None = None
    try:
        run()
    except (ValueError, RuntimeError, OSError) as err:
        error = err
    first = next((err for err in gather(error) if err is not None), None)
    if first is not None:
        raise first
