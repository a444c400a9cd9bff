"""Load batches of resized images, decoded by worker processes."""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from torchmetrics_dna.images.fast import prepare
from torchmetrics_dna.images.inputs import Inputs, mapped, tensors_of
from torchmetrics_dna.images.pixels import DEEP_WHITE, TURNED
from torchmetrics_dna.images.properties import properties_of
from torchmetrics_dna.images.reading import Reading
from torchmetrics_dna.images.resize import Resize, resize_image
from torchmetrics_dna.images.sets import Entry, Images, ImageSource, ImageStream, unreadable
from torchmetrics_dna.images.workers import Sent, begin, decoded
from torchmetrics_dna.options import written
from torchmetrics_dna.warning import warn

if TYPE_CHECKING:
    from torchmetrics_dna.images.cells import Crop

    Notes = Callable[[Any], Mapping[str, Tensor]]

# Number of unreadable images that an error names.
_MOST_NAMED = 10
# Number of images below which starting worker processes costs more time than it saves.
_FEW = 64
# Share of the range of 16 bits up to which a warning says that images are dark. Images of 14 bits use 0.25.
_FEW_BITS = 0.25


@dataclass(frozen=True, eq=False)
class Batch:
    """Batch of images of a source.

    Attributes:
        images: Images ``(B, C, H, W)``, float32 in [0, 1]; of their own type if they are not resized. Other inputs have
            the structure of the example.
        unreadable: One line for each image that can't be read.
        error: Reason why the readable images can't be stacked.
        properties: Properties of the original images, a column each; None if they are not measured.
        numbers: Indices in the source; in a stream, numbers of entries.
        names: Names of the readable images.
        notes: Values of the ``notes`` callback, by name, ``(B, ...)``.
        ends: True if a part of the source ends with this batch.
        lost: Parts of the images that were dropped, see :class:`~torchmetrics_dna.images.pixels.Decoded`.
        used: Largest share of 16 bits that an image uses.

    """

    images: Inputs
    unreadable: list[str]
    error: str | None = None
    properties: Tensor | None = None
    numbers: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    notes: Mapping[str, Tensor] = field(default_factory=dict)
    ends: bool = False
    lost: frozenset[str] = frozenset()
    used: float = 0.0

    def pin_memory(self) -> Batch:
        """Copy to page-locked memory, for asynchronous transfer to a GPU; called by DataLoader."""
        properties = None if self.properties is None else self.properties.pin_memory()
        return replace(self, images=mapped(Tensor.pin_memory, self.images), properties=properties)


def load_batches(
    source: Images,
    size: tuple[int, int] | None,
    crop: Crop = "none",
    resize: Resize = "clean",
    *,
    reading: Reading | None,
    channels: int,
    properties: bool = False,
    notes: Notes | None,
    parts: Sequence[range] | None = None,
    window: int | None = None,
    pin_memory: bool = False,
) -> Iterator[Batch]:
    """Decode and resize all images, in order.

    Streams of files are read in this process and decoded by the workers. Other streams are both read and decoded in
    this process. Images that are decoded already, such as frames of a video, are resized here by as many threads, so
    that only a few full images are held.

    Args:
        source: The images.
        size: Height and width; None to leave images as they are, in which case all must have the same size.
        crop: Crop before the resize, see :func:`resize_image`.
        resize: Method of resizing, see there.
        reading: Options for reading them. The last batch may be smaller.
        channels: Number of channels to decode images to.
        properties: Whether to measure properties of the images, too.
        notes: Callback that maps each image, as :func:`decode_image` gives it, to values by name.
        parts: Ranges of images, or of shards of a stream, that no batch crosses, so that results for a part do not
            depend on the others. By default everything is one part.
        window: Number of images of windows that parts are cut into; a full window does not wait for the next image.
        pin_memory: Whether to copy batches to page-locked memory, for a network on a GPU.

    Warns:
        UserWarning: Once, if images have an alpha channel that is not opaque, which is dropped, or an EXIF rotation,
            which is ignored; if all use a small part of 16 bits.

    Raises:
        ValueError: If an image or a shard is unreadable (unless skipped), or sizes differ without a resize.

    """
    reading = reading or Reading()
    dataset = _Decoded(source, size, crop, resize, channels, properties, notes)
    items = _items_of_parts(source, parts)
    num_workers = _num_workers(source, reading)
    if isinstance(source, ImageStream) and source.of_files and source.decoded:
        items = map(partial(_in_threads, dataset.load, num_workers), items)
        num_workers = 0
    if window is not None:
        items = chain.from_iterable(_windows(part, window) for part in items)
    if source.example is None:
        prepare(source.count)
    loader: DataLoader[Any] = DataLoader(
        Sent(dataset),
        batch_size=None,
        # A loop with a variable would keep the images of a chunk in memory until the next chunk is read.
        sampler=chain.from_iterable(chunked(part, reading.batch_size) for part in items),
        num_workers=num_workers,
        worker_init_fn=begin,
        pin_memory=pin_memory,
    )
    warned: set[str] = set()
    used = 0.0
    batches = iter(decoded(loader))
    for batch in batches:
        if batch.error:
            raise ValueError(batch.error)
        if batch.unreadable and not reading.skip_unreadable:
            # Objects of this process may have no end, so nothing more is read of them.
            later_batches = batches if isinstance(source, ImageSource) or source.of_files else ()
            raise ValueError(refusal(_named(batch, later_batches)))
        # The warning has no number of images: only those of this pass and this process could be counted.
        for what in sorted(batch.lost - warned):
            remedy = ""
            if what == TURNED:
                remedy = f"; to rotate them, pass {written('exif_orientation', True)}"
            warn(f"Images of {source.label!r} {what}{remedy}")
        warned |= batch.lost
        used = max(used, batch.used)
        yield batch
    if 0 < used <= _FEW_BITS:
        white = 2 ** round(used * DEEP_WHITE).bit_length() - 1
        warn(
            f"Images of {source.label!r} use {100 * used:.2g}% of 16 bits, so that a network sees them nearly black;"
            f" give what is white in them, such as {white}, as {written('scale')}",
        )


def _num_workers(source: Images, reading: Reading) -> int:
    """Return the number of worker processes, or of threads for a stream of decoded images."""
    if isinstance(source, ImageStream) and not source.of_files:
        return 0
    if reading.num_workers is not None:
        return reading.num_workers
    if source.example is not None:
        # Inputs are in memory, or the workers of a DataLoader load them.
        return 0
    return default_workers(_FEW if source.count is None else source.count)


def _named(first: Batch, later_batches: Iterable[Batch]) -> list[str]:
    """Return a line for each unreadable image of a batch and of later ones, until there are more than are named."""
    lines = list(first.unreadable)
    for batch in later_batches:
        if len(lines) > _MOST_NAMED:
            break
        lines += batch.unreadable
    return lines


def refusal(lines: Sequence[str]) -> str:
    """Return the text of an error about unreadable images, from a line for each."""
    text = "; ".join(lines[:_MOST_NAMED])
    if len(lines) > _MOST_NAMED:
        text += "; and more"
    has_remedy = any("; " in line for line in lines)
    if has_remedy:
        return text
    return f"{text}; to leave out such ones, pass {written('skip_unreadable', True)}"


def cores() -> int:
    """Return the number of cores available to this process: its CPU affinity where supported, else all cores."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def default_workers(num_images: int) -> int:
    """Return the default number of processes that decode images.

    It is 0 for a few images and in a process that may start none, such as of a ``multiprocessing.Pool``, else one per
    core available to this process, up to 8, divided among the processes of torchrun on this machine. Workers wait for
    the network, so idle ones cost nothing.

    Example:
        >>> default_workers(10)
        0

    """
    if num_images < _FEW or multiprocessing.current_process().daemon:
        return 0
    return min(8, max(1, cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))


class _Chunk(NamedTuple):
    """Items of a batch.

    Attributes:
        items: Numbers of images, or entries of a stream, loaded or not.
        ends: True if a part ends with this chunk.

    """

    items: Sequence[Any]
    ends: bool


def _items_of_parts(source: Images, parts: Sequence[range] | None) -> Iterator[Iterable[Any]]:
    """Yield the items of each part: numbers of images, or entries of a stream."""
    if isinstance(source, ImageSource):
        if parts is None:
            parts = [range(len(source))]
        yield from parts
    elif parts is None:
        yield source
    else:
        shards = source.read(chain.from_iterable(parts))
        for part in parts:
            yield chain.from_iterable(islice(shards, len(part)))


def _in_threads(load: Callable[[Any], Any], threads: int, items: Iterable[Any]) -> Iterator[Any]:
    """Load items in order, one for each thread at a time; without threads, in this one."""
    if not threads:
        yield from map(load, items)
        return
    with ThreadPoolExecutor(threads) as pool:
        pending: deque[Future[Any]] = deque()
        for item in items:
            pending.append(pool.submit(load, item))
            if len(pending) > threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _windows(items: Iterable[Any], size: int) -> Iterator[Iterable[Any]]:
    """Yield iterators over the next ``size`` items each, as long as there are items.

    They read from one iterator, so each must be at its end before the next one is asked for.
    """
    remaining = iter(items)
    for first in remaining:
        yield chain([first], islice(remaining, size - 1))


def chunked(items: Iterable[Any], size: int) -> Iterator[_Chunk]:
    """Split into chunks of ``size``, without single items if possible: networks may round single images differently.

    Example:
        >>> [len(chunk.items) for chunk in chunked(range(9), 4)]
        [4, 3, 2]

    """
    pending: list[Any] = []
    for item in items:
        pending.append(item)
        if len(pending) == size + 2:
            yield _Chunk(pending[:size], False)
            pending = pending[size:]
    if len(pending) > size:
        cut = size - 1 if size > 2 else size
        yield _Chunk(pending[:cut], False)
        pending = pending[cut:]
    yield _Chunk(pending, True)


class _Sample(NamedTuple):
    """Preprocessed image with its metadata. The attributes are those of a :class:`Batch`, for one image."""

    number: int
    name: str
    image: Inputs
    properties: Tensor | None
    notes: Mapping[str, Tensor]
    lost: Sequence[str]
    used: float


@dataclass(frozen=True)
class _Decoded(Dataset["Batch"]):
    """Dataset of batches, indexed by chunks; unreadable images become messages, since workers obscure exceptions."""

    source: Images
    size: tuple[int, int] | None
    crop: Crop
    resize: Resize
    channels: int
    properties: bool
    notes: Notes | None

    def __getitem__(self, chunk: _Chunk) -> Batch:
        loaded = [self.load(item) for item in chunk.items]
        samples = [item for item in loaded if isinstance(item, _Sample)]
        unreadable = [item for item in loaded if isinstance(item, str)]
        error = self._difference_of_formats(samples)
        if error:
            return Batch(torch.empty(0), [], error)
        if not samples:
            return Batch(torch.empty(0), unreadable, ends=chunk.ends)
        properties = [sample.properties for sample in samples if sample.properties is not None]
        return Batch(
            mapped(lambda *tensors: torch.stack(tensors), *(sample.image for sample in samples)),
            unreadable,
            properties=torch.stack(properties) if properties else None,
            numbers=[sample.number for sample in samples],
            names=[sample.name for sample in samples],
            notes={note: torch.stack([sample.notes[note] for sample in samples]) for note in samples[0].notes},
            ends=chunk.ends,
            lost=frozenset(what for sample in samples for what in sample.lost),
            used=max(sample.used for sample in samples),
        )

    def _difference_of_formats(self, samples: Sequence[_Sample]) -> str:
        """Return the error text for images of different shapes or types, which can't be stacked; empty if they can."""
        shapes: set[str] = set()
        types: set[str] = set()
        for sample in samples:
            tensors = tensors_of(sample.image)
            shapes.add(" ".join(str(tuple(tensor.shape)) for tensor in tensors))
            types.add(" ".join(str(tensor.dtype) for tensor in tensors))
        if len(shapes) > 1:
            what, values = "shape", shapes
        elif len(types) > 1:
            what, values = "type", types
        else:
            return ""
        listed = " and ".join(sorted(values)[:2]).replace("torch.", "")
        return (
            f"{self._noun.capitalize()}s differ in {what} ({listed}); give the extractor an `input_size`, or pass"
            f" {written('batch_size', 1)}"
        )

    @property
    def _noun(self) -> str:
        """Noun for an item of the source."""
        return "image" if self.source.example is None else self.source.example.noun

    def load(self, item: int | Entry | _Sample | str) -> _Sample | str:
        """Load an image by its number or entry; an item that is loaded already is unchanged."""
        if isinstance(item, (_Sample, str)):
            return item
        source: Any = self.source
        if isinstance(item, Entry):
            number = item.number
            name = item.name
        else:
            number = item
            name = source.names[item]
        try:
            image, lost, file, used = source.decode(item, self.channels)
            notes = {} if self.notes is None else self.notes(image)
            if source.example is not None:
                return _Sample(number, name, image, None, notes, lost, used)
            properties = properties_of(image, file) if self.properties else None
            if self.size is None:
                pixels = image.transpose(2, 0, 1).copy()
            else:
                pixels = resize_image(image, self.size, self.crop, self.resize)
            return _Sample(number, name, torch.from_numpy(pixels), properties, notes, lost, used)
        except Exception as err:
            # Damaged files make Pillow raise errors of any type.
            return unreadable(name, err, self._noun)
