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
# Usual names of columns of images, the most likely ones first.
_LIKELY = ("image", "img", "jpg", "jpeg", "png", "webp", "pixel_values", "picture", "photo")


def open_array(images: Any, label: str) -> ImageSource:
    """Open an array ``(B, H, W, C)`` or tensor ``(B, C, H, W)``, or one image of either."""
    check_unmasked(images, "Images")
    array = ArrayFormat.of(images)
    array.check("Images", 4)
    if images.ndim < 4:
        images = images[None]
    return replace(_by_number(images, images.__getitem__, label), arrays={"": array})


def open_inputs(source: Any, label: str, example: Example, reading: Reading) -> ImageSource | ImageStream | None:
    """Open inputs that are no images: a batch, a sequence of inputs, or a stream of inputs or batches.

    Returns None for other objects. Errors of a batch as of :meth:`Example.batch`.
    """
    if isinstance(source, (str, bytes, os.PathLike)):
        return None
    check_not_sparse(source, example.noun)
    batch = example.batch(source)
    if batch is not None:
        return _inputs(count_of(batch), partial(_row_of, batch), label, example)
    if by_index(source) and not isinstance(source, Mapping):
        return _inputs(len(source), source.__getitem__, label, example)
    settings = {"options": frozenset({"num_images"}), "example": example}
    return _stream(source, label, example.singles, example.noun, reading.num_images, **settings)


def _inputs(count: int, fetch: Callable[[int], Any], label: str, example: Example) -> ImageSource:
    """Return inputs by number, with their names."""
    names = [f"{example.noun} {i}" for i in range(count)]
    return ImageSource(names, fetch, label, options=frozenset(), example=example)


def by_index(source: Any) -> bool:
    """True for a sequence or a map-style dataset; loaders and iterable datasets may have a length, too."""
    has_index = hasattr(source, "__getitem__") and hasattr(source, "__len__")
    return has_index and not isinstance(source, (DataLoader, IterableDataset))


def _row_of(inputs: Any, index: int) -> Any:
    """Return one input of a batch."""
    return mapped(itemgetter(index), inputs)


def open_sequence(source: Any, label: str, reading: Reading) -> ImageSource:
    """Open a sequence or map-style dataset of images, or of rows with one image each."""
    first: Any = None
    # An error is reported when the image is read.
    with suppress(Exception):
        if len(source):
            first = source[0]
    if not is_row(first):
        return _by_number(source, source.__getitem__, label)
    column = find_column(first, reading.column, label, tells=True)
    fetch = partial(_fetch_column, source, column)
    return replace(_by_number(source, fetch, label), options=frozenset({"column"}))


def _by_number(source: Any, fetch: Callable[[int], Any], label: str) -> ImageSource:
    """Return images by number; paths are the names of images in a list."""
    names = [f"image {i}" for i in range(len(source))]
    # Names and stamps of a dataset would load its images.
    if isinstance(source, (list, tuple)):
        for i, image in enumerate(source):
            if isinstance(image, (str, os.PathLike)):
                names[i] = str(image)
    stamp = None
    if isinstance(source, (list, tuple, np.ndarray, Tensor)):
        stamp = partial(stamp_of, fetch)
    return ImageSource(public_names(names), fetch, label, stamp, options=frozenset())


def _fetch_column(source: Any, column: str, index: int) -> Any:
    """Return the value of a column in one row."""
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
    """Open a stream of an iterable or a function; None for other objects.

    Args:
        source: The iterable or function.
        label: Name of the set.
        singles: Function that yields the single images of an item.
        word: Noun for a single image.
        count: Number of images to take at most; None for all.
        settings: More arguments of :class:`ImageStream`.

    """
    shards: list[Callable[[], Iterator[Any]]]
    # Datasets of Hugging Face consist of shards.
    if hasattr(source, "shard") and getattr(source, "num_shards", 1) > 1 and count is None:
        parts = [source.shard(num_shards=source.num_shards, index=k) for k in range(source.num_shards)]
        shards = [partial(iter, part) for part in parts]
    elif isinstance(source, Iterator):
        shards = [_Once(source)]
    elif hasattr(source, "__iter__"):
        shards = [partial(iter, source)]
    elif callable(source):
        shards = [_Calls(source)]
    else:
        return None
    read = []
    for k, shard in enumerate(shards):
        start = f"shard {k}, {word}" if len(shards) > 1 else word
        read.append(Shard(label, partial(_images, shard, singles, start, count)))
    stream = ImageStream(read, label, count, of_files=False, **settings)
    if isinstance(source, DataLoader) and not isinstance(source.dataset, IterableDataset):
        stream.only_whole = _why_only_whole(source)
    return stream


def _why_only_whole(loader: DataLoader[Any]) -> str:
    """Return the reason why a loader can't be split among processes; empty if it reads its dataset in order."""
    batch_sampler = getattr(loader, "batch_sampler", None)
    for sampler in (loader.sampler, batch_sampler, getattr(batch_sampler, "sampler", None)):
        if type(sampler) not in (SequentialSampler, BatchSampler, type(None)):
            return (
                f"the order of its DataLoader, by a {type(sampler).__name__}, may differ from process to process; give"
                " one with shuffle=False and no sampler, or its dataset"
            )
    return ""


class _Once:
    """Iterator, which can be read only once."""

    def __init__(self, iterator: Iterator[Any]) -> None:
        self._iterator: Iterator[Any] | None = iterator

    def __call__(self) -> Iterator[Any]:
        iterator = self._iterator
        if iterator is None:
            raise ValueError(f"an iterator can be read but once, and it has been; {_ANEW}")
        self._iterator = None
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
            # A function that returns an iterator makes a new one each time, so it can be read again.
            if isinstance(value, Iterator):
                yield from value
                return
            # This is set before the end, because the reader may stop early.
            self._ended = True
            if value is None:
                return
            yield value


def _images(
    items: Callable[[], Iterable[Any]], singles: Callable[[Any], Iterator[Any]], start: str, count: int | None
) -> Iterator[tuple[str, Any]]:
    """Split items into single images with names. Names begin with ``start``, but paths are names themselves.

    With a ``count``, only so many images are taken, and no further item is read. A warning says if there are fewer.
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
    # In a tuple, and in a list that begins with a batch, images come first and labels after them.
    has_labels = isinstance(item, tuple) or (isinstance(item, list) and len(item) > 0 and _is_batch(item[0]))
    if has_labels and len(item) > 0:
        item = item[0]
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
    """True for an array or tensor of several images."""
    return isinstance(item, (np.ndarray, Tensor)) and item.ndim == 4


class _Column:
    """Extractor of images from rows, by a column that is detected in the first row unless it is given."""

    def __init__(self, column: str | None, label: str) -> None:
        self._column = column
        self._label = label
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
    """Return the name of the column of images.

    Args:
        row: The first row.
        column: Name of the column; None for a column with a usual name, or else the only one that holds an image.
        label: Name of the rows in errors.
        tells: Whether to warn if other columns hold images, too.

    Raises:
        ValueError: If there is no such column, or several.

    Example:
        >>> find_column({"label": 3, "img": np.zeros((4, 5, 3), np.uint8)}, None, "rows")
        'img'

    """
    if column is not None:
        check_column(row, column, label)
        return column
    name_it = f"name it by {written('column')}"
    holding_images = [name for name, value in row.items() if _is_image(value)]
    # Columns with a usual name may hold None in this row, or an array of two axes, which would be boxes elsewhere.
    by_lower_name = {}
    for name, value in row.items():
        if value is None or _is_image(value, least_axes=2):
            by_lower_name[name.lower()] = name
    for usual_name in _LIKELY:
        if usual_name not in by_lower_name:
            continue
        chosen = by_lower_name[usual_name]
        others = [name for name in holding_images if name != chosen]
        if tells and others:
            warn(f"{label!r} has several columns of images; {chosen!r} is read, not {', '.join(others)}; {name_it}")
        return chosen
    if len(holding_images) == 1:
        return holding_images[0]
    if holding_images:
        what = f"are several columns that hold an image ({', '.join(holding_images)})"
    else:
        what = "is no column that holds an image"
    raise ValueError(f"There {what} in {label!r}, which has {_listed(row)}; {name_it}")


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
    """List names of columns."""
    return ", ".join(map(str, columns)) or "none"
