"""Images that come one after the other: from a DataLoader, an iterable, an iterator or a function."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler

from torchmetrics_dna.images.base import ImageStream, Shard
from torchmetrics_dna.images.rows import Column, is_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from torchmetrics_dna.images.base import Reading

_ANEW = "give a list, or a function that makes it anew"


def open_iterable(source: Any, label: str, reading: Reading) -> ImageStream | None:
    """A stream of what gives images, or batches of them, one after the other; None if it gives nothing.

    It is read in this process. Of a function the answers are taken until one is None, or it raises StopIteration; if
    it returns an iterator, that is what is read.
    """
    if hasattr(source, "shard") and getattr(source, "num_shards", 1) > 1:  # of Hugging Face
        shards: list[Callable[[], Iterator[Any]]] = [partial(_part_of, source, k) for k in range(source.num_shards)]
    elif isinstance(source, Iterator):
        shards = [_Once(source)]
    elif hasattr(source, "__iter__"):
        shards = [partial(iter, source)]
    elif callable(source):
        shards = [_Calls(source)]
    else:
        return None
    read = [Shard(label, partial(_images, shard, label, reading)) for shard in shards]
    stream = ImageStream(read, label, reading.exif_orientation, of_files=False)
    if isinstance(source, DataLoader) and isinstance(source.sampler, DistributedSampler):
        stream.only_whole = "its DataLoader has a DistributedSampler; give one that goes through all images"
    return stream


def _part_of(source: Any, number: int) -> Iterator[Any]:
    return iter(source.shard(num_shards=source.num_shards, index=number))


class _Once:
    """An iterator, which can be read but once."""

    def __init__(self, iterator: Iterator[Any]) -> None:
        self._iterator: Iterator[Any] | None = iterator

    def __call__(self) -> Iterator[Any]:
        found, self._iterator = self._iterator, None
        if found is None:
            raise ValueError(f"an iterator can be read but once, and it has been; {_ANEW}")
        return found


class _Calls:
    """What a function gives, call by call."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function
        self._ended = False

    def __call__(self) -> Iterator[Any]:
        if self._ended:
            raise ValueError(f"the function has given all that it has; {_ANEW}")
        while True:
            try:
                found = self._function()
            except StopIteration:
                found = None
            if isinstance(found, Iterator):  # which it makes anew each time
                yield from found
                return
            if found is None:
                self._ended = True
                return
            yield found


def _images(items: Callable[[], Iterable[Any]], label: str, reading: Reading) -> Iterator[tuple[str, Any]]:
    """Single images of batches and others, and what to call them."""
    column, number = Column(reading.column, label), 0
    for item in items():
        for image in _single(item, column):
            yield image if isinstance(image, str) else f"image {number}", image
            number += 1


def _single(item: Any, column: Column) -> Iterator[Any]:
    """The images of one item: itself, those of a batch, those in a row, or those of a pipeline's output."""
    if not isinstance(item, (np.ndarray, Tensor)) and hasattr(item, "images"):
        item = item.images
    if isinstance(item, Mapping) and not is_file(item):
        item = column(item)
    if isinstance(item, (tuple, list)) and item and (isinstance(item, tuple) or _is_batch(item[0])):
        item = item[0]  # images come first, labels after them
    if _is_batch(item):
        yield from item
    elif isinstance(item, list):
        for one in item:
            yield column(one)
    else:
        yield column(item)


def _is_batch(item: Any) -> bool:
    return isinstance(item, (np.ndarray, Tensor)) and item.ndim == 4
