"""Images in memory or in a dataset, and streams of images from a DataLoader, an iterable, an iterator or a function."""

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

# Remedy for an iterator or a function that can be read only once.
_ANEW = "pass a list, or a function that returns a new iterator"
# Usual names of columns of images, the most likely first.
_USUAL_NAMES = ("image", "img", "jpg", "jpeg", "png", "webp", "pixel_values", "picture", "photo")


def open_array(images: Any, label: str) -> ImageSource:
    """Open images in an array ``(B, H, W, C)`` or a tensor ``(B, C, H, W)``. A single image has no axis ``B``."""
    check_unmasked(images, "Images")
    array_format = ArrayFormat.of(images)
    array_format.check("Images", 4)
    if images.ndim < 4:
        images = images[None]
    return replace(_by_number(images, images.__getitem__, label), arrays={"": array_format})


def open_inputs(source: Any, label: str, example: Example, reading: Reading) -> ImageSource | ImageStream | None:
    """Open inputs other than images: a batch, a sequence of inputs, or a stream of inputs or batches.

    Args:
        source: The inputs.
        label: Name of the set.
        example: Structure of the inputs.
        reading: Options for reading.

    Returns:
        The inputs. None if ``source`` is of another type.

    Raises:
        TypeError: If a batch has another structure than the example.
        ValueError: If a batch does not fit the example, see :meth:`Example.check`.

    """
    if isinstance(source, (str, bytes, os.PathLike)):
        return None
    check_not_sparse(source, example.noun)
    batch = example.batch(source)
    if batch is not None:
        return _inputs(count_of(batch), partial(_row_of, batch), label, example)
    if has_index(source) and not isinstance(source, Mapping):
        return _inputs(len(source), source.__getitem__, label, example)
    options = frozenset({"num_images"})
    return _stream(source, label, example.singles, example.noun, reading.num_images, options=options, example=example)


def _inputs(count: int, fetch: Callable[[int], Any], label: str, example: Example) -> ImageSource:
    """Return a source of inputs. Their names are the noun of the example and their index."""
    names = [f"{example.noun} {i}" for i in range(count)]
    return ImageSource(names, fetch, label, options=frozenset(), example=example)


def has_index(source: Any) -> bool:
    """Return True for a sequence or a map-style dataset."""
    # A DataLoader or an IterableDataset has no index, even if it has a length.
    is_loaded_in_order = isinstance(source, (DataLoader, IterableDataset))
    return hasattr(source, "__getitem__") and hasattr(source, "__len__") and not is_loaded_in_order


def _row_of(inputs: Any, index: int) -> Any:
    """Return the input at an index of a batch."""
    return mapped(itemgetter(index), inputs)


def open_sequence(source: Any, label: str, reading: Reading) -> ImageSource:
    """Open a sequence or a map-style dataset of images, or of dicts with one image each."""
    first = _first_item(source)
    if not is_row(first):
        return _by_number(source, source.__getitem__, label)
    column = find_column(first, reading.column, label, warns=True)
    fetch = partial(_fetch_column, source, column)
    return replace(_by_number(source, fetch, label), options=frozenset({"column"}))


def _first_item(source: Any) -> Any:
    """Return the first item of a sequence or a dataset. Return None if there is none, or if it can't be read."""
    # Ignore an error here, because it is reported when the item is read.
    with suppress(Exception):
        if len(source):
            return source[0]
    return None


def _by_number(source: Any, fetch: Callable[[int], Any], label: str) -> ImageSource:
    """Return a source of the images that ``fetch`` returns by index. In a list, paths are the names of their images."""
    names = [f"image {i}" for i in range(len(source))]
    # A dataset has neither paths as names nor stamps, because they would require loading all of its images.
    if isinstance(source, (list, tuple)):
        for i, image in enumerate(source):
            if isinstance(image, (str, os.PathLike)):
                names[i] = str(image)
    stamp = None
    if isinstance(source, (list, tuple, np.ndarray, Tensor)):
        stamp = partial(stamp_of, fetch)
    return ImageSource(public_names(names), fetch, label, stamp, options=frozenset())


def _fetch_column(source: Any, column: str, index: int) -> Any:
    """Return the value of a column in the row at an index."""
    return source[index][column]


def open_iterable(source: Any, label: str, reading: Reading) -> ImageStream | None:
    """Open a stream of images, or of batches of images, from an iterable or a function.

    The stream is read in this process. A function is called until it returns None or raises StopIteration. If a
    function returns an iterator, the images of the iterator are read instead.

    Returns:
        The stream. None if ``source`` is neither iterable nor callable.

    """
    singles = partial(_single, column=_Column(reading.column, label))
    options = frozenset({"column", "num_images"})
    return _stream(source, label, singles, "image", reading.num_images, options=options)


def _stream(
    source: Any, label: str, singles: Callable[[Any], Iterator[Any]], word: str, count: int | None, **settings: Any
) -> ImageStream | None:
    """Open a stream from an iterable or a function.

    Args:
        source: The iterable or function.
        label: Name of the set.
        singles: Function that yields the single images of an item.
        word: Noun for a single image.
        count: Maximum number of images; None for all.
        settings: Further arguments of :class:`ImageStream`.

    Returns:
        The stream. None if ``source`` is neither iterable nor callable.

    """
    # A dataset of Hugging Face can have several shards.
    has_shards = hasattr(source, "shard") and getattr(source, "num_shards", 1) > 1
    if has_shards and count is None:
        shards = _shards_of_dataset(source, label, singles, word)
    else:
        items = _items_of(source)
        if items is None:
            return None
        shards = [Shard(label, partial(_images, items, singles, word, count))]
    stream = ImageStream(shards, label, count, of_files=False, **settings)
    if isinstance(source, DataLoader) and not isinstance(source.dataset, IterableDataset):
        stream.only_whole = _why_only_whole(source)
    return stream


def _shards_of_dataset(dataset: Any, label: str, singles: Callable[[Any], Iterator[Any]], word: str) -> list[Shard]:
    """Return the shards of a dataset of Hugging Face. Other arguments are those of :func:`_stream`."""
    shards = []
    for k in range(dataset.num_shards):
        items = partial(iter, dataset.shard(num_shards=dataset.num_shards, index=k))
        shards.append(Shard(label, partial(_images, items, singles, f"shard {k}, {word}", None)))
    return shards


def _items_of(source: Any) -> Callable[[], Iterator[Any]] | None:
    """Return a function that iterates over an iterable, or over the values of a function.

    Return None if the source is neither.
    """
    if isinstance(source, Iterator):
        return _Once(source)
    if hasattr(source, "__iter__"):
        return partial(iter, source)
    if callable(source):
        return _Calls(source)
    return None


def _why_only_whole(loader: DataLoader[Any]) -> str:
    """Return the reason why a loader can't be split among processes.

    The text is empty for a loader that reads its dataset in order, because it can be split.
    """
    batch_sampler = getattr(loader, "batch_sampler", None)
    samplers = (loader.sampler, batch_sampler, getattr(batch_sampler, "sampler", None))
    for sampler in samplers:
        # Compare exact types, because a subclass may read the dataset in another order.
        if sampler is not None and type(sampler) not in (SequentialSampler, BatchSampler):
            return (
                f"the order of its DataLoader, by a {type(sampler).__name__}, may differ from process to process; pass"
                " one with shuffle=False and no sampler, or its dataset"
            )
    return ""


class _Once:
    """Function that returns an iterator once. The second call raises ValueError: an iterator can't be read twice."""

    def __init__(self, iterator: Iterator[Any]) -> None:
        self._iterator: Iterator[Any] | None = iterator

    def __call__(self) -> Iterator[Any]:
        iterator = self._iterator
        if iterator is None:
            raise ValueError(f"an iterator can be read only once, and it has been read; {_ANEW}")
        self._iterator = None
        return iterator


class _Calls:
    """Function that returns an iterator over the return values of another function, which has no arguments."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function
        self._ended = False

    def __call__(self) -> Iterator[Any]:
        """Yield the return values, until one is None or the function raises StopIteration.

        If the function returns an iterator, yield the items of this iterator instead.

        Raises:
            ValueError: If values other than an iterator were read before.

        """
        if self._ended:
            raise ValueError(f"the function has given all that it has; {_ANEW}")
        while True:
            value = self._next_value()
            # A function that returns an iterator makes a new one at each call, so it can be read again.
            if isinstance(value, Iterator):
                yield from value
                return
            # Set this before the last value, because the reader may stop early.
            self._ended = True
            if value is None:
                return
            yield value

    def _next_value(self) -> Any:
        """Call the function. Return None if it raises StopIteration."""
        try:
            return self._function()
        except StopIteration:
            return None


def _images(
    items: Callable[[], Iterable[Any]], singles: Callable[[Any], Iterator[Any]], start: str, count: int | None
) -> Iterator[tuple[str, Any]]:
    """Split items into single images, and yield the name and the content of each image.

    Args:
        items: Function that returns the items.
        singles: Function that yields the single images of an item.
        start: Beginning of the names, before the number of an image. An image that is a path or an address has this as
            its name.
        count: Maximum number of images; None for all. No further item is read after the last image.

    Warns:
        UserWarning: If there are fewer images than ``count``.

    """
    images = chain.from_iterable(map(singles, items()))
    number = 0
    for image in islice(images, count):
        name = public(image) if isinstance(image, str) else f"{start} {number}"
        yield name, image
        number += 1
    # If there is a count, the names begin with a noun, such as "image".
    if count is not None and number < count:
        warn(f"There are {number} {start}s, fewer than the {count} of `num_images`")


def _single(item: Any, column: _Column) -> Iterator[Any]:
    """Yield the images of an item of a stream.

    The item is an image, a batch of images, a dict with an image or a batch, or the output of a pipeline.
    """
    if is_pipeline_output(item):
        item = item.images
    if is_row(item):
        item = column(item)
    if _is_followed_by_labels(item):
        item = item[0]
    if _is_batch(item):
        yield from item
    elif isinstance(item, list):
        for element in item:
            yield column(element)
    else:
        yield column(item)


def _is_followed_by_labels(item: Any) -> bool:
    """Return True if the first element of an item has all of its images, and further elements are labels.

    This holds for a tuple, and for a list that begins with a batch. Other lists have one image per element.
    """
    if not isinstance(item, (tuple, list)) or len(item) == 0:
        return False
    return isinstance(item, tuple) or _is_batch(item[0])


def is_pipeline_output(item: Any) -> bool:
    """Return True for the output of a pipeline, which has its images in the attribute ``images``.

    A dataset with an attribute of this name is not an output.
    """
    if not hasattr(item, "images"):
        return False
    # The output of some pipelines is a dict that also has attributes.
    if isinstance(item, Mapping):
        return True
    is_source = hasattr(item, "__getitem__") or hasattr(item, "__iter__") or callable(item)
    return not is_source


def is_row(item: Any) -> bool:
    """Return True for a dict of several values, one of which is an image."""
    return isinstance(item, Mapping) and not is_file(item)


def _is_batch(item: Any) -> bool:
    """Return True for an array or a tensor of several images."""
    return isinstance(item, (np.ndarray, Tensor)) and item.ndim == 4


class _Column:
    """Function that returns the image in a row. Without a column, it is detected in the first row."""

    def __init__(self, column: str | None, label: str) -> None:
        self._column = column
        self._label = label
        self._resolved: str | None = None

    def __call__(self, item: Any) -> Any:
        """Return the image in a row. An item that is not a row is returned as it is."""
        if not is_row(item):
            return item
        if self._resolved is None:
            self._resolved = find_column(item, self._column, self._label)
        if self._resolved not in item:
            raise ValueError(f"its row has no column {self._resolved!r}, but {_listed(item)}")
        return item[self._resolved]


def find_column(row: Mapping[str, Any], column: str | None, label: str, *, warns: bool = False) -> str:
    """Return the name of the column of images.

    Args:
        row: The first row.
        column: Name of the column. If it is None, a column with a usual name is selected, such as "image", or else the
            only column that holds an image.
        label: Name of the rows in errors.
        warns: Whether to warn if other columns hold images, too.

    Raises:
        ValueError: If there is no such column, or several.

    Example:
        >>> find_column({"label": 3, "img": np.zeros((4, 5, 3), np.uint8)}, None, "rows")
        'img'

    """
    if column is not None:
        check_column(row, column, label)
        return column
    remedy = f"name it by {written('column')}"
    image_columns = [name for name, value in row.items() if _is_image(value)]
    usual_column = _column_with_usual_name(row)
    if usual_column is not None:
        others = [name for name in image_columns if name != usual_column]
        if warns and others:
            warn(
                f"{label!r} has several columns of images; {usual_column!r} is read, not {', '.join(others)}; {remedy}"
            )
        return usual_column
    if len(image_columns) == 1:
        return image_columns[0]
    if image_columns:
        fault = f"There are several columns that hold an image ({', '.join(image_columns)})"
    else:
        fault = "There is no column that holds an image"
    raise ValueError(f"{fault} in {label!r}, which has {_listed(row)}; {remedy}")


def _column_with_usual_name(row: Mapping[str, Any]) -> str | None:
    """Return the column with the most likely name of those that may hold an image. Return None if there is none."""
    by_lower_name = {}
    for name, value in row.items():
        # In a column with a usual name, the first image may be missing, and an array of two axes is a greyscale image.
        if value is None or _is_image(value, least_axes=2):
            by_lower_name[name.lower()] = name
    for usual_name in _USUAL_NAMES:
        if usual_name in by_lower_name:
            return by_lower_name[usual_name]
    return None


def check_column(columns: Iterable[str], column: str, label: str) -> None:
    """Raise ValueError if a column does not exist. The message lists the existing columns."""
    columns = list(columns)
    if column not in columns:
        raise ValueError(
            f"There is no column {column!r} in {label!r}, which has {_listed(columns)}; name it by {written('column')}"
        )


def _is_image(value: Any, least_axes: int = 3) -> bool:
    """Return True if a value may be an image or a batch of images.

    An array must have at least ``least_axes`` axes. An array with two axes may also hold something else, such as boxes.
    """
    if isinstance(value, Mapping):
        # A file without bytes and without a path is a missing image.
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
    """Return the names of columns as a text."""
    return ", ".join(map(str, columns)) or "none"
