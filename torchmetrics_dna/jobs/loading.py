"""Read images, and run them through an extractor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

from torchmetrics_dna.extractors.cpu import cut
from torchmetrics_dna.images import ImageSource, ImageStream
from torchmetrics_dna.images.base import Reading
from torchmetrics_dna.images.loader import load_batches
from torchmetrics_dna.images.sources import open_indexed, open_source
from torchmetrics_dna.jobs.processes import heed, rank, world_size

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping, Sequence

    from torch import Tensor

    from torchmetrics_dna.extractors import DNAExtractor
    from torchmetrics_dna.images import Crop, Images, Source
    from torchmetrics_dna.images.loader import Notes
    from torchmetrics_dna.jobs.engine import Engine

Progress = Callable[[str, int, "int | None"], None]
_OF_EXTRACTOR = ("weights_path", "crop", "properties", "projections")
_FEW = 64  # images, which torch alone is done with before compiled functions are loaded, which takes a second
_ELSEWHERE = ("make_dna", "compare")  # what takes an engine


class LoadingOptions(TypedDict, total=False):
    """Keyword arguments that say how images are read; see :class:`Loading`."""

    batch_size: int
    num_workers: int | None
    exif_orientation: bool
    column: str | None
    fps: float | None
    skip_unreadable: bool
    progress: Progress | None
    distributed: bool
    engine: Engine | str | None


class SetOptions(LoadingOptions, total=False):
    """:class:`LoadingOptions`, and keyword arguments of a named extractor; see :class:`DNAExtractor`."""

    weights_path: str | os.PathLike[str] | None
    crop: Crop | None
    properties: bool | None
    projections: int | None


@dataclass(frozen=True)
class Loading:
    """Options for reading images.

    Args:
        batch_size: Images in a batch.
        num_workers: Processes that decode images; None: one for each core that this process may use, up to 8 and
            shared with the other processes of torchrun, and none for a few images.
        exif_orientation: Turn images as their EXIF tag says. The official implementation does not.
        column: Where images are in dicts, ``.parquet``, ``.npz`` and samples of a tar; by default it is found.
        fps: Frames of a video to take for each second; all by default.
        skip_unreadable: Leave out images that can't be read, and the rest of a stream's file that can't be read on,
            instead of stopping.
        progress: Called after each batch with the name of the source, the number of images done, and that of all, or
            None of a stream that does not know it.
        distributed: Share the images among the processes of torch.distributed; all must make the same call, and all
            get the same result.
        engine: What measures the images on other machines, see :func:`engine_of`.
        own: Whether each process gives images of its own, where they are ``distributed``; all are measured as one set.

    Raises:
        ValueError: If a number is out of range.

    """

    batch_size: int = 32
    num_workers: int | None = None
    exif_orientation: bool = False
    column: str | None = None
    fps: float | None = None
    skip_unreadable: bool = False
    progress: Progress | None = None
    distributed: bool = False
    engine: Engine | str | None = None
    own: bool = False

    @classmethod
    def of(cls, function: str, options: SetOptions) -> tuple[Loading, dict[str, Any]]:
        """Split the keyword arguments of a function into how images are read, and those of the extractor.

        Raises:
            TypeError: If there is no such argument, as Python says it.
            ValueError: If a number is out of range.

        """
        given: dict[str, Any] = dict(options)
        settings = {name: given.pop(name, None) for name in _OF_EXTRACTOR}
        known = list(LoadingOptions.__annotations__)
        if unknown := [name for name in given if name not in known]:
            close = get_close_matches(unknown[0], known, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"those that say how to read images: {', '.join(known)}"
            raise TypeError(f"{function}() got an unexpected keyword argument {unknown[0]!r}; {hint}")
        if given.get("engine") is not None and function not in _ELSEWHERE:
            raise ValueError(
                f"Argument `engine` is for {', '.join(_ELSEWHERE)}, but {function} takes more than DNAs; leave it out"
            )
        return cls(**given), settings

    def __post_init__(self) -> None:
        for name, value, least in (("batch_size", self.batch_size, 1), ("num_workers", self.num_workers or 0, 0)):
            if not isinstance(value, int) or value < least:
                raise ValueError(f"Argument `{name}` expected to be an integer of at least {least}, but got {value!r}")

        _ = self.reading

    @property
    def reading(self) -> Reading:
        """Options for taking images out of what holds them."""
        return Reading(self.exif_orientation, self.column, self.fps)

    def alone(self) -> Loading:
        """The same for a worker of an engine."""
        return replace(self, progress=None, distributed=False, engine=None)

    def for_cores(self, cores: int) -> Loading:
        """The same where so many cores may be used: unless it is said, one runs the network, and the others decode."""
        return replace(self, num_workers=cores - 1) if self.num_workers is None else self

    def open(self, source: Source) -> Images:
        """Open images in this way; see :func:`open_source`."""
        return open_source(source, self.exif_orientation, column=self.column, fps=self.fps)

    def open_indexed(self, source: Source, what: str) -> ImageSource:
        """Open images that are taken by number; see :func:`open_indexed`."""
        return open_indexed(source, what, self.reading)

    def share(self, num_images: int) -> range:
        """The numbers of the images that this process measures."""
        return range(rank(), num_images, world_size()) if self.distributed else range(num_images)

    def share_of(self, images: Images) -> Images:
        """The images that this process measures.

        Raises:
            ValueError: If they are a stream that gives each process a part of its own already.

        """
        if not self.distributed or self.own or world_size() == 1:
            return images.split(0, 1)
        if not isinstance(images, ImageSource) and images.only_whole:
            raise ValueError(f"{images.label!r} can't be shared among processes, since {images.only_whole}")
        return images.split(rank(), world_size())


def number_of(images: Images) -> int | None:
    """Number of images; None of a stream that does not know it."""
    return images.count if isinstance(images, ImageStream) else len(images)


def are_few(images: Images) -> bool:
    """True if loading compiled functions would take longer than the work."""
    number = number_of(images)
    return number is not None and number <= _FEW


class Activated(NamedTuple):
    """Some images that went through an extractor.

    Attributes:
        places: Where those that could be read stand among the images; of a stream, the numbers of their entries.
        activations: Of these, ``{layer: (B, n, *positions)}``.
        left_out: A line for each image that was left out.
        names: What those that could be read are called.
        notes: What was noted of these, ``(B, ...)``, by name.
        ends: Whether a part of the images ends with these.

    """

    places: list[int]
    activations: dict[str, Tensor]
    left_out: list[str]
    names: list[str]
    notes: Mapping[str, Tensor]
    ends: bool


def activate(
    images: Images,
    extractor: DNAExtractor,
    loading: Loading,
    notes: Notes | None = None,
    parts: Sequence[range] | None = None,
    window: int | None = None,
) -> Iterator[Activated]:
    """Run images through an extractor, part by part.

    On the CPU, a part is what goes through the network at once; else it is a batch. Delete its activations before the
    next part is asked for, so that there are never two.

    Args:
        images: The images.
        extractor: The network.
        loading: How images are read.
        notes: What to note of each image, see :func:`load_batches`.
        parts: Which images or shards to take, likewise.
        window: Images after which not to wait for more, likewise.

    """
    done, total = 0, count_images(images, parts)
    run = partial(extractor, resized=extractor.input_size is not None)
    most = extractor.images_at_once if extractor.device.type == "cpu" else loading.batch_size
    for batch in load_batches(
        images,
        extractor.input_size,
        extractor.crop,
        extractor.resize,
        batch_size=loading.batch_size,
        num_workers=loading.num_workers,
        skip_unreadable=loading.skip_unreadable,
        properties=extractor.has_properties,
        notes=notes,
        parts=parts,
        window=window,
        pin_memory=extractor.device.type == "cuda",
    ):
        pixels = batch.images.to(extractor.device, non_blocking=True)
        more = [] if batch.properties is None else [batch.properties.to(extractor.device, non_blocking=True)]
        numbers, left_out = batch.numbers, batch.unreadable
        for part in cut(len(numbers), most):
            heed()
            given = [pixels[part], *(values[part] for values in more)]
            noted = {name: values[part] for name, values in batch.notes.items()}
            ends = batch.ends and part.stop == len(numbers)
            yield Activated(numbers[part], run(*given) if numbers else {}, left_out, batch.names[part], noted, ends)
            left_out = []
        done += len(numbers) + len(batch.unreadable)
        if loading.progress:
            loading.progress(images.label, done, total)
    if loading.progress and total is None and done:
        loading.progress(images.label, done, done)


def count_images(images: Images, parts: Sequence[range] | None) -> int | None:
    """Number of images in some parts, or None of a stream that does not know it."""
    if isinstance(images, ImageSource):
        return len(images) if parts is None else sum(map(len, parts))
    return images.count if parts is None or sum(map(len, parts)) == len(images.shards) else None


def check_any_read(num_images: int, unreadable: Sequence[str], label: str = "") -> None:
    """Raise ValueError if all images were left out, or there were none."""
    if unreadable and len(unreadable) == num_images:
        raise ValueError(f"None of the {num_images} images could be read; the first: {unreadable[0]}")
    if not num_images:
        raise ValueError(f"There are no images in {label!r}")
