"""One pass over an image set: every kind of DNA that is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

from torchmetrics_dna.extractors.cpu import cut
from torchmetrics_dna.images.loader import load_batches
from torchmetrics_dna.images.sources import open_source
from torchmetrics_dna.neurons.ranges import ActivationRanges
from torchmetrics_dna.sets.features import Features
from torchmetrics_dna.sets.processes import gather, heed, in_step, rank, world_size
from torchmetrics_dna.tally import CrossMomentTally, DNATally, MomentTally, RangeTally, Side, histogram_tally
from torchmetrics_dna.tally.folds import FoldedImages, FoldedTally

if TYPE_CHECKING:
    import os

    from torch import Tensor

    from torchmetrics_dna.dna import DNA, HistogramDNA
    from torchmetrics_dna.dna.distances import Kind
    from torchmetrics_dna.extractors import DNAExtractor
    from torchmetrics_dna.images import Crop, ImageSource, Source
    from torchmetrics_dna.neurons.ranges import FixedMargin

Progress = Callable[[str, int, int], None]


class LoadingOptions(TypedDict, total=False):
    """Keyword arguments that say how images are read; see :class:`Loading`."""

    batch_size: int
    num_workers: int | None
    exif_orientation: bool
    skip_unreadable: bool
    progress: Progress | None
    distributed: bool


class SetOptions(LoadingOptions, total=False):
    """Those, and keyword arguments of a named extractor; see :class:`DNAExtractor`."""

    weights_path: str | os.PathLike[str] | None
    crop: Crop | None


@dataclass(frozen=True)
class Loading:
    """How images are read.

    Args:
        batch_size: Images in a batch.
        num_workers: Processes that decode images; None: one for each core that this process may use, up to 8 and
            shared with the other processes of torchrun, and none for a few images.
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

    @classmethod
    def of(cls, function: str, given: LoadingOptions) -> Loading:
        """From the keyword arguments of a function.

        Raises:
            TypeError: As Python's own, if there is no such argument.
            ValueError: If a number is out of range.

        """
        known = list(LoadingOptions.__annotations__)
        for name in given:
            if name not in known:
                close = get_close_matches(name, known, 1)
                hint = (
                    f"; did you mean {close[0]!r}?"
                    if close
                    else f"; those that say how to read images: {', '.join(known)}"
                )
                raise TypeError(f"{function}() got an unexpected keyword argument {name!r}{hint}")
        return cls(**given)

    def __post_init__(self) -> None:
        for name, value, least in (("batch_size", self.batch_size, 1), ("num_workers", self.num_workers or 0, 0)):
            if not isinstance(value, int) or value < least:
                raise ValueError(f"Argument `{name}` expected to be an integer of at least {least}, but got {value!r}")


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


def split_options(options: SetOptions) -> tuple[LoadingOptions, dict[str, Any]]:
    """How images are read, and the arguments of the extractor."""
    loading: Any = dict(options)
    return loading, {name: loading.pop(name, None) for name in ("weights_path", "crop")}


class MeasuredRanges(NamedTuple):
    """What one pass over image sets found out about activation ranges.

    Attributes:
        ranges: Of all images, and those that were known before.
        num_images: How many images were measured.
        unreadable: One line for each image that was left out.

    """

    ranges: ActivationRanges
    num_images: int
    unreadable: list[str]


class Pass:
    """One pass of images through an extractor, which adds up to a DNA of each kind.

    Args:
        extractor: The network, on the device where it is to run.
        kinds: Which DNAs to make.
        num_bins: Bins of the histograms.
        ranges: Activation ranges of the histograms, the path of a file of them, or ``"auto"``;
            None for the packaged ones, or else ``"auto"``.
        loading: How images are read.
        num_folds: Keep the histograms of so many folds of images apart.
        keep_features: Keep the spatial means of the last layer.

    """

    def __init__(
        self,
        extractor: DNAExtractor,
        kinds: Sequence[Kind],
        num_bins: int,
        ranges: ActivationRanges | str | os.PathLike[str] | None,
        loading: Loading,
        num_folds: int | None = None,
        keep_features: bool = False,
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
        self._keep_features = keep_features
        self._num_folds = num_folds
        self._sides: dict[Kind, Side] = {}
        self.restart()

    def restart(self) -> None:
        """Forget all images."""
        self.close()  # so that there are never two
        self._sides = {kind: tally.empty(self.extractor.device) for kind, tally in self.tallies.items()}
        self._features = Features() if self._keep_features else None

    def run(self, images: ImageSource, numbers: Sequence[int] | None = None) -> Iterator[tuple[int, list[str]]]:
        """Add images batch by batch; after each, how many were read or left out so far, and what was left out of it.

        Args:
            images: What to add.
            numbers: What each of them is called by; its place if they are not given.

        """
        done = 0
        if self._num_folds is not None:
            images = FoldedImages(images, self._num_folds)
        for places, activations, left_out in activate(images, self.extractor, self.loading):
            heed()
            if places:
                folds = images.folds[places] if isinstance(images, FoldedImages) else None
                self._add(activations, places if numbers is None else [numbers[place] for place in places], folds)
            del activations
            done += len(places) + len(left_out)
            yield done, left_out

    def _add(self, activations: dict[str, Tensor], numbers: list[int], folds: Tensor | None) -> None:
        for kind, tally in self.tallies.items():
            if folds is not None and isinstance(tally, FoldedTally):
                tally.add_folded_(self._sides[kind], [activations], folds)
            else:
                tally.add_(self._sides[kind], [activations], len(numbers))
        if self._features is not None:
            self._features.add(activations, numbers)

    def close(self) -> None:
        """Let go of the counts."""
        self._sides.clear()

    def folds(self) -> list[HistogramDNA]:
        """The histograms of each fold, on the CPU; none where they are not kept apart."""
        tally = self.tallies.get("histogram")
        if not isinstance(tally, FoldedTally):
            return []
        return [fold.to("cpu") for fold in tally.to_folds(self._sides["histogram"])]

    def all_reduce(self) -> None:
        """Add up the images of all processes."""
        for kind, tally in self.tallies.items():
            tally.all_reduce_(self._sides[kind])
        if self._features is not None:
            self._features.gather()

    def dnas(self) -> dict[str, DNA]:
        """The DNAs of all images so far, on the CPU; later images may change them."""
        return {kind: tally.to_dna(self._sides[kind]).to("cpu") for kind, tally in self.tallies.items()}

    def features(self) -> Tensor | None:
        """The features of all images, in their order; None where they are not kept."""
        return None if self._features is None else self._features.in_order()


def activate(
    images: ImageSource, extractor: DNAExtractor, loading: Loading
) -> Iterator[tuple[list[int], dict[str, Tensor], list[str]]]:
    """Part by part: the places of the images that could be read, their activations, and what was left out.

    On the CPU, parts are what goes through the network at once; else they are batches. Whoever asks for the next part
    should have let go of the last one's activations.
    """
    done = 0
    most = extractor.images_at_once if extractor.device.type == "cpu" else loading.batch_size
    for batch in load_batches(
        images,
        extractor.input_size,
        extractor.crop,
        batch_size=loading.batch_size,
        num_workers=loading.num_workers,
        skip_unreadable=loading.skip_unreadable,
    ):
        pixels = batch.images.to(extractor.device, non_blocking=True)
        places, left_out = [done + i for i in batch.readable], batch.unreadable
        for part in cut(len(places), most):
            yield places[part], extractor(pixels[part]) if places else {}, left_out
            left_out = []
        done += len(batch.readable) + len(batch.unreadable)
        if loading.progress:
            loading.progress(images.label, done, len(images))


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

    Raises:
        ValueError: If there are no images, one can't be read, or activations are not finite.

    """
    with in_step(loading.distributed):
        images = open_source(source, loading.exif_orientation)
        run = Pass(extractor, kinds, num_bins, ranges, loading, num_folds, keep_features)
        first, step = (rank(), world_size()) if loading.distributed else (0, 1)
        numbers = range(first, len(images), step)
        unreadable = [line for _, left_out in run.run(images.take(numbers), numbers) for line in left_out]
        if loading.distributed:
            unreadable = [line for lines in gather(unreadable) for line in lines]
            run.all_reduce()
        check_any_read(len(images), unreadable)
        return Measured(run.dnas(), sorted(unreadable), run.folds(), run.features())


def measure_ranges(
    sources: Sequence[Source | ImageSource | ActivationRanges],
    extractor: DNAExtractor,
    margin: FixedMargin,
    loading: Loading,
) -> MeasuredRanges:
    """Run all images of some sources through an extractor once, and see how far each neuron's activations reach.

    Args:
        sources: Image sets, see :func:`open_source`; also ranges that were measured before.
        extractor: The network, on the device where it is to run.
        margin: Rule of the ranges, ``"widen"`` or ``"scale"``; see :class:`ActivationRanges`.
        loading: How images are read.

    Raises:
        ValueError: If a source has no images, one can't be read, activations are not finite, or earlier ranges are of
            other layers or another margin rule.
        RuntimeError: If there are no sources.

    Example:
        >>> from torchmetrics_dna import DNAExtractor
        >>> extractor = DNAExtractor("efficientnet_lite0", layers=["head"])
        >>> black, white = torch.zeros(2, 3, 40, 50), torch.ones(1, 3, 40, 50)
        >>> measure_ranges([black, white], extractor, "widen", Loading()).num_images
        3

    """
    with in_step(loading.distributed):
        tally = RangeTally(extractor, margin)
        side = tally.empty(extractor.device)
        opened = []
        for source in sources:
            if isinstance(source, ActivationRanges):
                tally.add_ranges_(side, source)
            else:
                opened.append(open_source(source, loading.exif_orientation))
        unreadable: list[str] = []
        first, step = (rank(), world_size()) if loading.distributed else (0, 1)
        for images in opened:
            share = images.take(range(first, len(images), step))
            for places, activations, left_out in activate(share, extractor, loading):
                heed()
                if places:
                    tally.add_(side, [activations], len(places))
                del activations
                unreadable.extend(left_out)
        if loading.distributed:
            unreadable = [line for lines in gather(unreadable) for line in lines]
            tally.all_reduce_(side)
        check_any_read(sum(map(len, opened)), unreadable)
        return MeasuredRanges(tally.to_ranges(side), int(side["images"]), unreadable)


def check_any_read(num_images: int, unreadable: Sequence[str]) -> None:
    """ValueError if all images were left out."""
    if unreadable and len(unreadable) == num_images:
        raise ValueError(f"None of the {num_images} images could be read; the first: {unreadable[0]}")
