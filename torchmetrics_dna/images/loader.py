"""Batches of resized images from a source, decoded by worker processes."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from torchmetrics_dna.images.base import ImageSource, ImageStream, Reading, unreadable
from torchmetrics_dna.images.cores import cores
from torchmetrics_dna.images.pixels import file_facts, to_rgb
from torchmetrics_dna.images.places import forget_threads
from torchmetrics_dna.images.properties import image_properties
from torchmetrics_dna.images.resize import Crop, Resize, resize_image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from torchmetrics_dna.images.base import Entry, Images
    from torchmetrics_dna.images.pixels import FileFacts, RGBImage

    Notes = Callable[[RGBImage], Mapping[str, Tensor]]

_SKIP = "; to leave out such images, give `skip_unreadable=True`"
_FEW = 64  # images below which starting worker processes costs more than it saves


@dataclass(frozen=True)
class Batch:
    """Some images of a source.

    Attributes:
        images: Shape ``(B, 3, H, W)``: float32 in [0, 1], or as they were where they are not resized.
        unreadable: What is wrong with the images that could not be read, one line each.
        error: Why the readable ones make no batch, if they don't.
        properties: Of the images before they were resized, ``(B, 21)``, if they were asked for.
        numbers: Where the readable ones stand in the source; in a stream, the numbers of their entries.
        names: What they are called.
        notes: What was noted of them before they were resized, by name, ``(B, ...)``.
        ends: Whether a part of the source ends with it.

    """

    images: Tensor
    unreadable: list[str]
    error: str | None = None
    properties: Tensor | None = None
    numbers: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    notes: Mapping[str, Tensor] = field(default_factory=dict)
    ends: bool = False

    def pin_memory(self) -> Batch:
        """The same in page-locked memory, from which a GPU copies while the host goes on; DataLoader asks for it."""
        properties = None if self.properties is None else self.properties.pin_memory()
        return replace(self, images=self.images.pin_memory(), properties=properties)


def load_batches(
    source: Images,
    size: tuple[int, int] | None,
    crop: Crop = "none",
    resize: Resize = "clean",
    reading: Reading | None = None,
    *,
    properties: bool = False,
    notes: Notes | None = None,
    parts: Sequence[range] | None = None,
    window: int | None = None,
    pin_memory: bool = False,
) -> Iterator[Batch]:
    """Decode and resize all images, in order.

    Streams are read in this process, and decoded by the workers.

    Args:
        source: The images.
        size: Height and width; None leaves images as they are, so all must be equally large.
        crop: See :func:`resize_image`.
        resize: Likewise.
        reading: Options for reading them. The last batch may be smaller; a stream that lives in this process is decoded
            there, whatever the number of workers.
        properties: Measure properties of the images, too.
        notes: What to note of each image, as :func:`to_rgb` gives it, by name.
        parts: The images to take, by number, or the shards of a stream: no batch has images of two parts, so that what
            becomes of a part does not depend on the others. By default all of them as one part.
        window: Cut parts into windows of so many images; the last batch of one does not wait for the next image.
        pin_memory: Put batches into page-locked memory, for a network on a GPU.

    Raises:
        ValueError: If an image or a shard can't be read (unless left out), or sizes differ where nothing is resized.

    """
    reading = reading or Reading()
    loader: DataLoader[Any] = DataLoader(
        _Decoded(source, _Make(size, crop, resize, properties, notes)),
        batch_size=None,
        sampler=_Chunks(source, reading.batch_size, parts, window),
        num_workers=_workers_for(source, reading.num_workers),
        collate_fn=_as_it_is,  # type: ignore[arg-type]  # which is for what the dataset gives
        worker_init_fn=forget_threads,
        pin_memory=pin_memory,
    )
    for batch in loader:
        if batch.error:
            raise ValueError(batch.error)
        if batch.unreadable and not reading.skip_unreadable:
            raise ValueError(batch.unreadable[0] + _SKIP)
        yield batch


def default_workers(num_images: int) -> int:
    """Processes that decode images, unless it is said how many.

    None for a few images; else one for each core that this process may use, up to 8, where the processes that torchrun
    has started on this machine share the cores. Workers wait while the network is behind, so idle ones cost nothing.

    Example:
        >>> default_workers(10)
        0

    """
    if num_images < _FEW:
        return 0
    return min(8, max(1, cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))


def _workers_for(source: Images, num_workers: int | None) -> int:
    if isinstance(source, ImageStream):
        if not source.of_files:
            return 0
        return default_workers(_FEW if source.count is None else source.count) if num_workers is None else num_workers
    return default_workers(len(source)) if num_workers is None else num_workers


class _Chunk(NamedTuple):
    """Items of one batch.

    Attributes:
        items: Numbers of images, or entries of a stream.
        ends: True if a part ends with them.

    """

    items: Sequence[Any]
    ends: bool


class _Chunks:
    """All chunks of a source, part by part."""

    def __init__(self, source: Images, size: int, parts: Sequence[range] | None, window: int | None = None) -> None:
        self.source, self.size, self.parts, self.window = source, size, parts, window

    def __iter__(self) -> Iterator[_Chunk]:
        for part in self._of_stream(self.source) if isinstance(self.source, ImageStream) else self._of_source():
            for items in [part] if self.window is None else _windows(part, self.window):
                yield from chunked(items, self.size)

    def _of_source(self) -> Sequence[range]:
        return [range(len(self.source))] if self.parts is None else self.parts  # type: ignore[arg-type]

    def _of_stream(self, stream: ImageStream) -> Iterator[Iterable[Entry]]:
        if self.parts is None:
            yield stream
            return
        shards = stream.read(chain.from_iterable(self.parts))
        for part in self.parts:
            yield chain.from_iterable(islice(shards, len(part)))


def _windows(items: Iterable[Any], size: int) -> Iterator[Iterable[Any]]:
    """Cut into windows, each to be used up before the next; the first item of one is asked for when it is wanted."""
    rest = iter(items)
    for first in rest:
        yield chain([first], islice(rest, size - 1))


def chunked(items: Iterable[Any], size: int) -> Iterator[_Chunk]:
    """Cut into chunks of so many; none has a single one, if that can be, for which networks may round otherwise.

    Example:
        >>> [len(chunk.items) for chunk in chunked(range(9), 4)]
        [4, 3, 2]

    """
    waiting: list[Any] = []
    for item in items:
        waiting.append(item)
        if len(waiting) == size + 2:
            yield _Chunk(waiting[:size], False)
            waiting = waiting[size:]
    if len(waiting) > size:
        first = size - 1 if size > 2 else size
        yield _Chunk(waiting[:first], False)
        waiting = waiting[first:]
    yield _Chunk(waiting, True)


class _Made(NamedTuple):
    """An image as the network takes it, and what is known of it."""

    number: int
    name: str
    image: Tensor
    properties: Tensor | None
    notes: Mapping[str, Tensor]


class _Make:
    """Makes tensors of decoded images."""

    def __init__(
        self, size: tuple[int, int] | None, crop: Crop, resize: Resize, properties: bool, notes: Notes | None
    ) -> None:
        self.size, self.crop, self.resize, self.properties, self.notes = size, crop, resize, properties, notes

    def __call__(self, number: int, name: str, image: RGBImage, facts: Callable[[], FileFacts | None]) -> _Made:
        noted = {} if self.notes is None else self.notes(image)
        if self.size is None:
            made = torch.from_numpy(image.transpose(2, 0, 1).copy())
        else:
            made = torch.from_numpy(resize_image(image, self.size, self.crop, self.resize))
        found = None
        if self.properties:
            pixels = torch.from_numpy(image.transpose(2, 0, 1)[None].copy())
            found = image_properties(pixels, facts())[0]
        return _Made(number, name, made, found, noted)


class _Decoded(Dataset["Batch"]):
    """Batches by their chunks, as workers make them; messages for what can't be read, since workers bury exceptions."""

    def __init__(self, source: Images, make: _Make) -> None:
        self.source, self.make = source, make

    def __getitem__(self, chunk: _Chunk) -> Batch:
        one = self._of_stream if isinstance(self.source, ImageStream) else self._of_source
        return _collate([one(item) for item in chunk.items], chunk.ends)

    def _of_source(self, index: int) -> _Made | str:
        assert isinstance(self.source, ImageSource)
        source, name = self.source, self.source.names[index]
        try:
            return self.make(index, name, source.decode(index), lambda: source.file_facts(index))
        except Exception as err:
            return unreadable(name, err)

    def _of_stream(self, entry: Entry) -> _Made | str:
        if isinstance(entry.image, Exception):
            return unreadable(entry.name, entry.image)
        try:
            image = to_rgb(entry.image, self.source.exif_orientation)
            return self.make(entry.number, entry.name, image, lambda: file_facts(entry.image))
        except Exception as err:
            return unreadable(entry.name, err)


def _as_it_is(batch: Batch) -> Batch:
    return batch


def _collate(items: list[_Made | str], ends: bool) -> Batch:
    made = [item for item in items if isinstance(item, _Made)]
    images = [item.image for item in made]
    unreadable = [item for item in items if isinstance(item, str)]
    kinds = {(tuple(image.shape[1:]), image.dtype) for image in images}
    if len(kinds) > 1:
        sizes = " and ".join(f"{height} x {width}" for (height, width), _ in sorted(kinds, key=str)[:2])
        told = f"Images differ in size ({sizes}); give the extractor an `input_size`"
        return Batch(torch.empty(0), [], told)
    known = [item.properties for item in made if item.properties is not None]
    return Batch(
        torch.stack(images) if images else torch.empty(0),
        unreadable,
        None,
        torch.stack(known) if known else None,
        [item.number for item in made],
        [item.name for item in made],
        {name: torch.stack([item.notes[name] for item in made]) for name in (made[0].notes if made else ())},
        ends,
    )
