"""Images in memory or in a dataset, and streams from a DataLoader, an iterable, an iterator or a function."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from io import BytesIO
from itertools import chain, islice
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, SequentialSampler

from torchmetrics_dna.images.inputs import Example, check_not_sparse, count_of, mapped
from torchmetrics_dna.images.paths import is_image_name, public, public_names
from torchmetrics_dna.images.pixels import is_file, is_image_file, stamp_of
from torchmetrics_dna.images.sets import ImageSource, ImageStream, Shard
from torchmetrics_dna.images.tensors import ArrayFormat, check_unmasked
from torchmetrics_dna.options import written
from torchmetrics_dna.warning import warn

if TYPE_CHECKING:
    from torchmetrics_dna.images.reading import Reading

_ANEW = "give a list, or a function that makes it anew"
_LIKELY = ("image", "img", "jpg", "jpeg", "png", "webp", "pixel_values", "picture", "photo")


def open_array(images: Any, label: str) -> ImageSource:
    """Open an array ``(B, H, W, C)`` or tensor ``(B, C, H, W)``, or one image of either."""
    check_unmasked(images, "Images")
    array = ArrayFormat.of(images)
    array.check("Images", 4)
    images = images if images.ndim == 4 else images[None]
    return replace(_by_number(images, images.__getitem__, label), arrays={"": array})


def open_inputs(source: Any, label: str, example: Example, reading: Reading) -> ImageSource | ImageStream | None:
    """Open inputs that are no images: a batch, a sequence of inputs, or a stream of inputs or batches.

    Returns None for other objects. Errors of a batch as of :meth:`Example.batch`.
    """
    if isinstance(source, (str, bytes, os.PathLike)):
        return None
    check_not_sparse(source, example.noun)
    if (batch := example.batch(source)) is not None:
        return _inputs(count_of(batch), partial(_row_of, batch), label, example)
    if by_index(source) and not isinstance(source, Mapping):
        return _inputs(len(source), source.__getitem__, label, example)
    settings = {"options": frozenset({"num_images"}), "example": example}
    return _stream(source, label, example.singles, example.noun, reading.num_images, **settings)


def _inputs(count: int, fetch: Callable[[int], Any], label: str, example: Example) -> ImageSource:
    names = [f"{example.noun} {i}" for i in range(count)]
    return ImageSource(names, fetch, label, options=frozenset(), example=example)


def by_index(source: Any) -> bool:
    """True for a sequence or a map-style dataset; loaders and iterable datasets may have a length, too."""
    by_index = hasattr(source, "__getitem__") and hasattr(source, "__len__")
    return by_index and not isinstance(source, (DataLoader, IterableDataset))


def _row_of(inputs: Any, index: int) -> Any:
    return mapped(itemgetter(index), inputs)


def open_sequence(source: Any, label: str, reading: Reading) -> ImageSource:
    """Open a sequence or map-style dataset of images, or of rows with one image each."""
    row: Any = None
    with suppress(Exception):  # reported when it is read
        row = source[0] if len(source) else None
    if not is_row(row):
        return _by_number(source, source.__getitem__, label)
    fetch = partial(_fetch_column, source, find_column(row, reading.column, label, tells=True))
    return replace(_by_number(source, fetch, label), options=frozenset({"column"}))


def _by_number(source: Any, fetch: Callable[[int], Any], label: str) -> ImageSource:
    # names and stamps of a dataset would load its images
    entries = source if isinstance(source, (list, tuple)) else [None] * len(source)
    names = public_names([str(e) if isinstance(e, (str, os.PathLike)) else f"image {i}" for i, e in enumerate(entries)])
    stamp = partial(stamp_of, fetch) if isinstance(source, (list, tuple, np.ndarray, Tensor)) else None
    return ImageSource(names, fetch, label, stamp, options=frozenset())


def _fetch_column(source: Any, column: str, index: int) -> Any:
    return source[index][column]


def open_iterable(source: Any, label: str, reading: Reading) -> ImageStream | None:
    """Open a stream of images, or batches of images, from an iterable or a function; None for other objects.

    It is read in this process. A function is called until it returns None or raises StopIteration; if it returns an
    iterator, that is read.
    """
    singles = partial(_single, column=_Column(reading.column, label))
    options = frozenset({"column", "num_images"})
    return _stream(source, label, singles, "image", reading.num_images, options=options)


def _stream(
    source: Any, label: str, singles: Callable[[Any], Iterator[Any]], word: str, count: int | None, **settings: Any
) -> ImageStream | None:
    """Open a stream, of whose items ``singles`` yields the single images, ``count`` at most; ``word`` names one."""
    if hasattr(source, "shard") and getattr(source, "num_shards", 1) > 1 and count is None:  # a dataset of Hugging Face
        parts = [source.shard(num_shards=source.num_shards, index=k) for k in range(source.num_shards)]
        shards: list[Callable[[], Iterator[Any]]] = [partial(iter, part) for part in parts]
    elif isinstance(source, Iterator):
        shards = [_Once(source)]
    elif hasattr(source, "__iter__"):
        shards = [partial(iter, source)]
    elif callable(source):
        shards = [_Calls(source)]
    else:
        return None
    read = [
        Shard(label, partial(_images, shard, singles, f"shard {k}, {word}" if len(shards) > 1 else word, count))
        for k, shard in enumerate(shards)
    ]
    stream = ImageStream(read, label, count, of_files=False, **settings)
    if isinstance(source, DataLoader) and not isinstance(source.dataset, IterableDataset):
        samplers = [source.sampler, getattr(source, "batch_sampler", None)]
        samplers.append(getattr(samplers[-1], "sampler", None))
        in_order = SequentialSampler, BatchSampler, type(None)
        if own := [type(sampler).__name__ for sampler in samplers if type(sampler) not in in_order]:
            stream.only_whole = (
                f"the order of its DataLoader, by a {own[0]}, may differ from process to process; give one with"
                " shuffle=False and no sampler, or its dataset"
            )
    return stream


class _Once:
    """Iterator, which can be read only once."""

    def __init__(self, iterator: Iterator[Any]) -> None:
        self._iterator: Iterator[Any] | None = iterator

    def __call__(self) -> Iterator[Any]:
        iterator, self._iterator = self._iterator, None
        if iterator is None:
            raise ValueError(f"an iterator can be read but once, and it has been; {_ANEW}")
        return iterator


class _Calls:
    """Iterator over the return values of a function without arguments."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function
        self._ended = False

    def __call__(self) -> Iterator[Any]:
        if self._ended:
            raise ValueError(f"the function has given all that it has; {_ANEW}")
        while True:
            try:
                value = self._function()
            except StopIteration:
                value = None
            if isinstance(value, Iterator):  # a new one each time
                yield from value
                return
            self._ended = True  # it may be left before its end
            if value is None:
                return
            yield value


def _images(
    items: Callable[[], Iterable[Any]], singles: Callable[[Any], Iterator[Any]], start: str, count: int | None
) -> Iterator[tuple[str, Any]]:
    """Split items into single images, with their names, which begin with ``start`` unless they are paths.

    With a ``count``, these are so many, and no further item is asked for; a warning says if there are fewer.
    """
    number = 0
    for image in islice(chain.from_iterable(map(singles, items())), count):
        yield public(image) if isinstance(image, str) else f"{start} {number}", image
        number += 1
    if count is not None and number < count:
        warn(f"There are {number} {start}s, fewer than the {count} of `num_images`")


def _single(item: Any, column: _Column) -> Iterator[Any]:
    """Yield the images of an item: itself, or those of a batch, of a row, or of a pipeline's output."""
    if is_output(item):
        item = item.images
    if is_row(item):
        item = column(item)
    if isinstance(item, (tuple, list)) and item and (isinstance(item, tuple) or _is_batch(item[0])):
        item = item[0]  # images come first, labels after them
    if _is_batch(item):
        yield from item
    elif isinstance(item, list):
        for element in item:
            yield column(element)
    else:
        yield column(item)


def is_output(item: Any) -> bool:
    """True for the output of a pipeline, whose images are its attribute; a dataset may well have one of that name."""
    is_source = hasattr(item, "__getitem__") or hasattr(item, "__iter__") or callable(item)
    return hasattr(item, "images") and (isinstance(item, Mapping) or not is_source)


def is_row(item: Any) -> bool:
    """True for a row of several values, one of which is an image."""
    return isinstance(item, Mapping) and not is_file(item)


def _is_batch(item: Any) -> bool:
    return isinstance(item, (np.ndarray, Tensor)) and item.ndim == 4


class _Column:
    """Extractor of images from rows, by a column that is detected in the first row unless it is given."""

    def __init__(self, column: str | None, label: str) -> None:
        self._column, self._label = column, label
        self._resolved: str | None = None

    def __call__(self, item: Any) -> Any:
        """Return the image in a row; other items are images themselves."""
        if not is_row(item):
            return item
        if self._resolved is None:
            self._resolved = find_column(item, self._column, self._label)
        if self._resolved not in item:
            raise ValueError(f"its row has no column {self._resolved!r}, but {_listed(item)}")
        return item[self._resolved]


def find_column(row: Mapping[str, Any], column: str | None, label: str, tells: bool = False) -> str:
    """Return the name of the column of images; ``label`` names the rows in errors.

    If none is given, it is a common name, or else the only column with an image; ValueError if there is none, or it is
    ambiguous. With ``tells``, a warning names the columns that hold images, too.

    Example:
        >>> find_column({"label": 3, "img": np.zeros((4, 5, 3), np.uint8)}, None, "rows")
        'img'

    """
    if column is not None:
        check_column(row, column, label)
        return column
    holding = [name for name, value in row.items() if _is_image(value)]
    lower = {name.lower(): name for name, value in row.items() if value is None or _is_image(value, least_axes=2)}
    if usual := [lower[name] for name in _LIKELY if name in lower]:
        if tells and (others := [name for name in holding if name != usual[0]]):
            warn(
                f"{label!r} has several columns of images; {usual[0]!r} is read, not {', '.join(others)};"
                f" name it by {written('column')}",
            )
        return usual[0]
    if len(holding) == 1:
        return holding[0]
    what = (
        f"are several columns that hold an image ({', '.join(holding)})"
        if holding
        else "is no column that holds an image"
    )
    raise ValueError(f"There {what} in {label!r}, which has {_listed(row)}; name it by {written('column')}")


def check_column(columns: Iterable[str], column: str, label: str) -> None:
    """Raise ValueError that lists the columns unless ``column`` is one of them."""
    columns = list(columns)
    if column not in columns:
        raise ValueError(
            f"There is no column {column!r} in {label!r}, which has {_listed(columns)}; name it by {written('column')}"
        )


def _is_image(value: Any, least_axes: int = 3) -> bool:
    """True if a value may be an image or a batch of images; with two axes, it may also be boxes."""
    if isinstance(value, Mapping):
        return is_file(value) and any(value.values())
    if isinstance(value, (bytes, bytearray)):
        return is_image_file(BytesIO(value))
    if isinstance(value, (str, os.PathLike)):
        return is_image_name(os.path.basename(value))  # noqa: PTH119
    if isinstance(value, (np.ndarray, Tensor)):
        return least_axes <= value.ndim <= 4
    if isinstance(value, list) and value:
        return not isinstance(value[0], list) and _is_image(value[0], least_axes)
    return isinstance(value, Image.Image)


def _listed(columns: Iterable[str]) -> str:
    return ", ".join(map(str, columns)) or "none"
