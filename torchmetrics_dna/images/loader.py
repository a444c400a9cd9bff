"""Batches of resized images from a source, decoded by worker processes."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info

from torchmetrics_dna.images.base import Entry, ImageSource, ImageStream, unreadable
from torchmetrics_dna.images.pixels import file_facts, to_rgb
from torchmetrics_dna.images.places import forget_threads
from torchmetrics_dna.images.properties import image_properties
from torchmetrics_dna.images.resize import Crop, Resize, resize_image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from torchmetrics_dna.images.base import Images
    from torchmetrics_dna.images.pixels import FileFacts, RGBImage

    Notes = Callable[[RGBImage], Mapping[str, Tensor]]

_SKIP = "; to leave out such images, set `skip_unreadable=True`, or `--skip-unreadable` in the command"
_FEW = 64  # images below which starting worker processes costs more than it saves


@dataclass(frozen=True)
class Batch:
    """Some images of a source.

    Attributes:
        images: Shape ``(B, 3, H, W)``: float32 in [0, 1], or as they were where they are not resized.
        unreadable: What is wrong with the images that could not be read, one line each.
        readable: Which images of the batch, by number, the readable ones are.
        error: Why the readable ones make no batch, if they don't; or why a stream can't be read on.
        properties: Of the images before they were resized, ``(B, 21)``, if they were asked for.
        numbers: Where the readable ones stand in the source; in a stream, the numbers of their entries.
        names: What they are called.
        notes: What was noted of them before they were resized, by name, ``(B, ...)``.

    """

    images: Tensor
    unreadable: list[str]
    readable: list[int]
    error: str | None = None
    properties: Tensor | None = None
    numbers: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    notes: Mapping[str, Tensor] = field(default_factory=dict)


def load_batches(
    source: Images,
    size: tuple[int, int] | None,
    crop: Crop = "none",
    resize: Resize = "clean",
    *,
    batch_size: int = 32,
    num_workers: int | None = None,
    skip_unreadable: bool = False,
    properties: bool = False,
    notes: Notes | None = None,
) -> Iterator[Batch]:
    """Decode and resize all images, in order; those of a stream that workers share in any order.

    Args:
        source: The images.
        size: Height and width; None leaves images as they are, so all must be equally large.
        crop: See :func:`resize_image`.
        resize: Likewise.
        batch_size: Images in a batch; the last may be smaller.
        num_workers: Processes that decode; None: see :func:`default_workers`. None for a stream that must be read in
            this process.
        skip_unreadable: Leave out, and report, images that can't be read.
        properties: Measure properties of the images, too.
        notes: What to note of each image, as :func:`to_rgb` gives it, by name.

    Raises:
        ValueError: If an image can't be read (unless left out), a stream can't be read on, or sizes differ where
            nothing is resized.

    """
    make = _Make(size, crop, resize, properties, notes)
    dataset: Dataset[Any]
    if isinstance(source, ImageStream):
        dataset, num_workers = _Streamed(source, make), _workers_for(source, num_workers)
    else:
        dataset = _Decoded(source, make)
        num_workers = default_workers(len(source)) if num_workers is None else num_workers
    loader: DataLoader[Any] = DataLoader(
        dataset, batch_size=batch_size, num_workers=num_workers, collate_fn=_collate, worker_init_fn=forget_threads
    )
    for batch in loader:
        if batch.error:
            raise ValueError(batch.error)
        if batch.unreadable and not skip_unreadable:
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
    # cores that a container or `taskset` leaves; not every system tells
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(8, max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))


def _workers_for(stream: ImageStream, num_workers: int | None) -> int:
    if not stream.in_workers:
        return 0
    if num_workers is not None:
        return num_workers
    found = default_workers(_FEW if stream.count is None else stream.count)
    return found if stream.most_workers is None else min(found, stream.most_workers)


class _Made(NamedTuple):
    """An image as the network takes it, and what is known of it."""

    number: int
    name: str
    image: Tensor
    properties: Tensor | None
    notes: Mapping[str, Tensor]


class _Ended(NamedTuple):
    """Why a stream can't be read on: workers bury exceptions."""

    error: str


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


class _Decoded(Dataset["_Made | str"]):
    """Images of a source as tensors; a message for one that can't be read, since workers bury exceptions."""

    def __init__(self, source: ImageSource, make: _Make) -> None:
        self.source, self.make = source, make

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> _Made | str:
        name = self.source.names[index]
        try:
            return self.make(index, name, self.source.decode(index), lambda: self.source.file_facts(index))
        except Exception as err:
            return unreadable(name, err)


class _Streamed(IterableDataset["_Made | str | _Ended"]):
    """Likewise of a stream, of which each worker reads a part."""

    def __init__(self, stream: ImageStream, make: _Make) -> None:
        self.stream, self.make = stream, make

    def __iter__(self) -> Iterator[_Made | str | _Ended]:
        worker = get_worker_info() if self.stream.in_workers else None
        part = self.stream if worker is None else self.stream.split(worker.id, worker.num_workers)
        try:
            for entry in part:
                yield self._made(entry)
        except ValueError as err:
            yield _Ended(str(err))

    def _made(self, entry: Entry) -> _Made | str:
        if isinstance(entry.image, Exception):
            return unreadable(entry.name, entry.image)
        try:
            image = to_rgb(entry.image, self.stream.exif_orientation)
            return self.make(entry.number, entry.name, image, lambda: file_facts(entry.image))
        except Exception as err:
            return unreadable(entry.name, err)


def _collate(items: list[_Made | str | _Ended]) -> Batch:
    made = [item for item in items if isinstance(item, _Made)]
    images = [item.image for item in made]
    ended = next((item.error for item in items if isinstance(item, _Ended)), None)
    unreadable = [item for item in items if isinstance(item, str)]
    kinds = {(tuple(image.shape[1:]), image.dtype) for image in images}
    if ended is None and len(kinds) > 1:
        sizes = " and ".join(f"{height} x {width}" for (height, width), _ in sorted(kinds, key=str)[:2])
        ended = f"Images differ in size ({sizes}); give the extractor an `input_size`"
    if ended is not None:
        return Batch(torch.empty(0), [], [], ended)
    known = [item.properties for item in made if item.properties is not None]
    return Batch(
        torch.stack(images) if images else torch.empty(0),
        unreadable,
        [i for i, item in enumerate(items) if isinstance(item, _Made)],
        None,
        torch.stack(known) if known else None,
        [item.number for item in made],
        [item.name for item in made],
        {name: torch.stack([item.notes[name] for item in made]) for name in (made[0].notes if made else ())},
    )
