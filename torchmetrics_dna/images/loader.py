"""Load batches of decoded and resized images. Worker processes decode the images."""

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
from torchmetrics_dna.images.pixels import DEEP_WHITE, TURNED, Pixels
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

# Maximum number of unreadable images that an error names.
_MOST_NAMED = 10
# Number of images below which starting worker processes costs more time than it saves.
_FEW = 64
# Maximum default number of worker processes.
_MOST_WORKERS = 8
# A warning reports dark images if their largest value is at most this share of the range of 16 bits. The values of
# 14-bit images take a share of 0.25.
_FEW_BITS = 0.25


@dataclass(frozen=True, eq=False)
class Batch:
    """Batch of images of a source.

    Attributes:
        images: Readable images ``(B, C, H, W)``. Resized images are float32 in [0, 1]. Images that are not resized
            keep their dtype. Inputs other than images have the structure of the example.
        unreadable: One error message per unreadable image.
        error: Error message if the images differ in shape or dtype, so that no batch can be made of them.
        properties: Properties of the original images, one row per image and one column per property. None if
            properties are not measured.
        numbers: Index of each readable image in its source. In a stream, the number of its entry.
        names: Name of each readable image.
        notes: Values that the ``notes`` callback returned, by name, each of shape ``(B, ...)``.
        ends: True if this batch is the last one of a part of the source.
        losses: Statements about dropped parts of the images, see :class:`~torchmetrics_dna.images.pixels.Decoded`.
        share_of_16_bits: Largest value of the 16-bit images, as a share of the range of 16 bits. 1 if the batch has
            other images.

    """

    images: Inputs
    unreadable: list[str]
    error: str | None = None
    properties: Tensor | None = None
    numbers: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    notes: Mapping[str, Tensor] = field(default_factory=dict)
    ends: bool = False
    losses: frozenset[str] = frozenset()
    share_of_16_bits: float = 0.0

    def pin_memory(self) -> Batch:
        """Copy the tensors to page-locked memory, from which they are copied to a GPU asynchronously.

        A :class:`~torch.utils.data.DataLoader` calls this method if it was created with ``pin_memory=True``.
        """
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

    The images of an indexed source are read and decoded by worker processes. A stream of files is read in this process,
    and its images are decoded by the workers. All other streams are both read and decoded in this process. Images
    that are decoded already, such as video frames, are resized by threads of this process. Only a small number of
    full-size images is in memory at the same time.

    Args:
        source: The images.
        size: Height and width of the resized images. None to keep the size of the images, which must then all be equal.
        crop: Crop before the resize, see :func:`resize_image`.
        resize: Resize method, see :func:`resize_image`.
        reading: Options for reading the images, such as the batch size. The last batch of a part may be smaller.
        channels: Number of channels of the decoded images.
        properties: Whether to measure properties of the images.
        notes: Callback that receives the pixels of each image, as :func:`decode_image` returns them. It returns values
            by name.
        parts: Ranges of image indices, or of shards of a stream. No batch contains images of two parts, so that the
            results for one part do not depend on the other parts. By default, all images are one part.
        window: Number of images per window. Each part is cut into windows, and no batch contains images of two windows.
            A complete window does not wait for the first image of the next window.
        pin_memory: Whether to copy batches to page-locked memory, for a network on a GPU.

    Yields:
        The batches, in the order of the images.

    Warns:
        UserWarning: Once, if an alpha channel that is not opaque is dropped, or an EXIF rotation is ignored. Also if
            all images use only a small part of the range of 16 bits.

    Raises:
        ValueError: If an image or a shard is unreadable and ``reading`` does not skip unreadable images. Also if images
            differ in size and are not resized.

    """
    reading = reading or Reading()
    if source.example is None:
        prepare(source.count)
    dataset = _Decoded(
        source=source,
        size=size,
        crop=crop,
        resize=resize,
        channels=channels,
        properties=properties,
        notes=notes,
    )
    # Use an iterator, because `_named` reads the batches after the first one with unreadable images.
    batches = iter(decoded(_data_loader(dataset, reading, parts, window, pin_memory)))
    reported_losses: set[str] = set()
    share_of_16_bits = 0.0
    for batch in batches:
        if batch.error:
            raise ValueError(batch.error)
        if batch.unreadable and not reading.skip_unreadable:
            raise ValueError(refusal(_named(batch, batches, source)))
        _warn_of_losses(batch.losses - reported_losses, source.label)
        reported_losses |= batch.losses
        share_of_16_bits = max(share_of_16_bits, batch.share_of_16_bits)
        yield batch
    if 0 < share_of_16_bits <= _FEW_BITS:
        _warn_of_dark_images(share_of_16_bits, source.label)


def _data_loader(
    dataset: _Decoded, reading: Reading, parts: Sequence[range] | None, window: int | None, pin_memory: bool
) -> DataLoader[Any]:
    """Return a loader of the batches of a dataset. The other arguments are those of :func:`load_batches`."""
    source = dataset.source
    num_workers = _num_workers(source, reading)
    items_by_part = _items_of_parts(source, parts)
    is_decoded_stream_of_files = isinstance(source, ImageStream) and source.of_files and source.decoded
    if is_decoded_stream_of_files:
        # Threads of this process resize these images, so there are no worker processes.
        load_in_threads = partial(_in_threads, dataset.load, num_workers)
        chunks = _chunks(map(load_in_threads, items_by_part), window, reading.batch_size)
        num_processes = 0
    else:
        chunks = _chunks(items_by_part, window, reading.batch_size)
        num_processes = num_workers
    return DataLoader(
        Sent(dataset),
        batch_size=None,
        sampler=chunks,
        num_workers=num_processes,
        worker_init_fn=begin,
        pin_memory=pin_memory,
    )


def _chunks(items_by_part: Iterator[Iterable[Any]], window: int | None, batch_size: int) -> Iterator[_Chunk]:
    """Split the items of each part into chunks, one for each batch.

    Args:
        items_by_part: Items of each part.
        window: Number of items per window. No chunk has items of two windows. None if parts are not cut into windows.
        batch_size: Maximum number of items per chunk.

    """
    # No chunk has items of two groups.
    groups = items_by_part
    if window is not None:
        groups = chain.from_iterable(_windows(items, window) for items in items_by_part)
    # Use a generator expression: the variable of a loop would keep the images of a chunk in memory until the next
    # chunk is read.
    return chain.from_iterable(chunked(items, batch_size) for items in groups)


def _warn_of_losses(losses: Iterable[str], label: str) -> None:
    """Warn of parts that were dropped from images of a source."""
    # The warning has no number of images: only the images of this pass and this process could be counted.
    for loss in sorted(losses):
        remedy = ""
        if loss == TURNED:
            remedy = f"; to rotate them, pass {written('exif_orientation', True)}"
        warn(f"Images of {label!r} {loss}{remedy}")


def _warn_of_dark_images(share_of_16_bits: float, label: str) -> None:
    """Warn that the images of a source use only a small share of the range of 16 bits."""
    # Suggest the largest integer with as many bits as the images use.
    white = 2 ** round(share_of_16_bits * DEEP_WHITE).bit_length() - 1
    warn(
        f"Images of {label!r} use {100 * share_of_16_bits:.2g}% of 16 bits, so that a network sees them nearly black;"
        f" pass the value of a white pixel, such as {white}, as {written('scale')}",
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


def _named(first: Batch, later_batches: Iterable[Batch], source: Images) -> list[str]:
    """Return the error messages of unreadable images.

    Batches after the first are read until there are more messages than an error names.
    """
    lines = list(first.unreadable)
    # An object of this process may be endless, so read no more of it.
    is_object_stream = isinstance(source, ImageStream) and not source.of_files
    if is_object_stream:
        return lines
    for batch in later_batches:
        if len(lines) > _MOST_NAMED:
            break
        lines += batch.unreadable
    return lines


def refusal(lines: Sequence[str]) -> str:
    """Return the text of an error about unreadable images.

    Args:
        lines: One error message per unreadable image.

    """
    text = "; ".join(lines[:_MOST_NAMED])
    if len(lines) > _MOST_NAMED:
        text += "; and more"
    has_remedy = any("; " in line for line in lines)
    if has_remedy:
        return text
    return f"{text}; to skip them, pass {written('skip_unreadable', True)}"


def cores() -> int:
    """Return the number of cores available to this process.

    This is the number of cores in its CPU affinity. On systems without CPU affinity, all cores are counted.
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def default_workers(num_images: int) -> int:
    """Return the default number of processes that decode images.

    The number is 0 for fewer than 64 images. It is also 0 in a process that may not start other processes, such as a
    worker of a ``multiprocessing.Pool``. Otherwise, there is one worker per core, from 1 to 8. The cores available to
    this process are first divided among the processes of torchrun on this machine. Idle workers cost nothing, because
    they wait for the network.

    Example:
        >>> default_workers(10)
        0

    """
    if num_images < _FEW or multiprocessing.current_process().daemon:
        return 0
    num_processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    cores_per_process = max(1, cores() // num_processes)
    return min(_MOST_WORKERS, cores_per_process)


class _Chunk(NamedTuple):
    """Items of a batch.

    Attributes:
        items: Indices of images, entries of a stream, or loaded images.
        ends: True if a part ends with this chunk.

    """

    items: Sequence[Any]
    ends: bool


def _items_of_parts(source: Images, parts: Sequence[range] | None) -> Iterator[Iterable[Any]]:
    """Yield the items of each part: indices of images, or entries of a stream."""
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
    """Load items in order. Each thread loads one item at a time. With 0 threads, this thread loads the items."""
    if not threads:
        yield from map(load, items)
        return
    with ThreadPoolExecutor(threads) as pool:
        # At most one item per thread and one more are pending, which limits the memory of loaded items.
        pending: deque[Future[Any]] = deque()
        for item in items:
            pending.append(pool.submit(load, item))
            if len(pending) > threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _windows(items: Iterable[Any], size: int) -> Iterator[Iterable[Any]]:
    """Split items into windows: yield one iterator over each ``size`` items.

    All windows read from the same iterator. Exhaust each window before you request the next window.
    """
    remaining = iter(items)
    for first in remaining:
        yield chain([first], islice(remaining, size - 1))


def chunked(items: Iterable[Any], size: int) -> Iterator[_Chunk]:
    """Split items into chunks of at most ``size``.

    A chunk of a single item is avoided if possible, because networks may round the activations of a single image
    differently.

    Example:
        >>> [len(chunk.items) for chunk in chunked(range(9), 4)]
        [4, 3, 2]

    """
    pending: list[Any] = []
    for item in items:
        pending.append(item)
        # Yield a full chunk only if two more items follow it, so that a later chunk need not have a single item.
        if len(pending) == size + 2:
            yield _Chunk(pending[:size], False)
            pending = pending[size:]
    if len(pending) > size:
        # One item is too many for a single chunk, so leave two items for the last chunk. For a size of up to 2, one of
        # the two chunks has a single item in any case.
        size_of_chunk = size - 1 if size > 2 else size
        yield _Chunk(pending[:size_of_chunk], False)
        pending = pending[size_of_chunk:]
    yield _Chunk(pending, True)


class _Sample(NamedTuple):
    """Preprocessed image with its metadata. Its fields are those of a :class:`Batch`, for one image."""

    number: int
    name: str
    image: Inputs
    properties: Tensor | None
    notes: Mapping[str, Tensor]
    losses: Sequence[str]
    share_of_16_bits: float


@dataclass(frozen=True)
class _Decoded(Dataset["Batch"]):
    """Dataset of batches, indexed by chunks.

    Batches hold error messages for unreadable images. The errors are not raised here, because a worker process would
    change the type and the text of an exception.
    """

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
        messages = [item for item in loaded if isinstance(item, str)]
        error = self._error_of_formats(samples)
        if error:
            return Batch(torch.empty(0), [], error)
        if not samples:
            return Batch(torch.empty(0), messages, ends=chunk.ends)
        return _stacked(samples, messages, chunk.ends)

    def _error_of_formats(self, samples: Sequence[_Sample]) -> str:
        """Return the error message for images of different shapes or dtypes. The text is empty if there are none."""
        shapes: set[str] = set()
        dtypes: set[str] = set()
        for sample in samples:
            tensors = tensors_of(sample.image)
            shapes.add(" ".join(str(tuple(tensor.shape)) for tensor in tensors))
            dtypes.add(" ".join(str(tensor.dtype) for tensor in tensors))
        if len(shapes) > 1:
            return self._format_error("shape", shapes)
        if len(dtypes) > 1:
            return self._format_error("type", dtypes)
        return ""

    def _format_error(self, difference: str, values: set[str]) -> str:
        """Return the error message for images that differ in their shape or type, with two of the values."""
        listed = " and ".join(sorted(values)[:2]).replace("torch.", "")
        return (
            f"{self._noun.capitalize()}s differ in {difference} ({listed}); pass the extractor an `input_size`, or pass"
            f" {written('batch_size', 1)}"
        )

    @property
    def _noun(self) -> str:
        """Noun for an item of the source."""
        return "image" if self.source.example is None else self.source.example.noun

    def load(self, item: int | Entry | _Sample | str) -> _Sample | str:
        """Load an image by its index or its entry in a stream. Return an item that is loaded already as it is.

        Returns:
            The image, or an error message if it is unreadable.

        """
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
            return self._sample(item, number, name)
        except Exception as err:
            # Damaged files make Pillow raise errors of any type.
            return unreadable(name, err, self._noun)

    def _sample(self, item: int | Entry, number: int, name: str) -> _Sample:
        """Decode and preprocess an image. Errors are of any type."""
        source: Any = self.source
        decoded_image = source.decode(item, self.channels)
        pixels = decoded_image.pixels
        # Inputs other than images have an example. They have no properties, and are not resized.
        is_image = source.example is None
        notes = {} if self.notes is None else self.notes(pixels)
        properties = None
        if is_image and self.properties:
            properties = properties_of(pixels, decoded_image.file)
        return _Sample(
            number=number,
            name=name,
            image=self._resized(pixels) if is_image else pixels,
            properties=properties,
            notes=notes,
            losses=decoded_image.losses,
            share_of_16_bits=decoded_image.share_of_16_bits,
        )

    def _resized(self, pixels: Pixels) -> Tensor:
        """Return the pixels ``(H, W, C)`` of an image as a tensor ``(C, H, W)``, resized if there is a size."""
        if self.size is None:
            return torch.from_numpy(pixels.transpose(2, 0, 1).copy())
        return torch.from_numpy(resize_image(pixels, self.size, self.crop, self.resize))


def _stacked(samples: Sequence[_Sample], messages: list[str], ends: bool) -> Batch:
    """Return a batch of images of one shape and dtype.

    Args:
        samples: The images.
        messages: One error message per unreadable image.
        ends: Whether a part of the source ends with this batch.

    """
    images = mapped(lambda *tensors: torch.stack(tensors), *(sample.image for sample in samples))
    measured = [sample.properties for sample in samples if sample.properties is not None]
    properties = torch.stack(measured) if measured else None
    notes = {}
    for name in samples[0].notes:
        notes[name] = torch.stack([sample.notes[name] for sample in samples])
    losses = frozenset(chain.from_iterable(sample.losses for sample in samples))
    return Batch(
        images,
        messages,
        properties=properties,
        numbers=[sample.number for sample in samples],
        names=[sample.name for sample in samples],
        notes=notes,
        ends=ends,
        losses=losses,
        share_of_16_bits=max(sample.share_of_16_bits for sample in samples),
    )
