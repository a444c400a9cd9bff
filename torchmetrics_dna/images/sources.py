"""Open image sets of all kinds: files, datasets, objects in memory and streams."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Union

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from torchmetrics_dna.images.addresses import (
    check_address,
    expand,
    is_address,
    is_folder,
    missing,
    place_of,
    public,
    suffix_of,
)
from torchmetrics_dna.images.base import Images, ImageSource, ImageStream, indexed
from torchmetrics_dna.images.folders import open_files, open_folder, open_remote_folder, refuse
from torchmetrics_dna.images.names import EXTENSIONS
from torchmetrics_dna.images.objects import (
    by_index,
    is_output,
    is_row,
    open_array,
    open_image,
    open_inputs,
    open_iterable,
    open_sequence,
)
from torchmetrics_dna.images.pixels import check_no_address, is_image_file
from torchmetrics_dna.images.reading import Reading
from torchmetrics_dna.registry import Lazy, Registry

if TYPE_CHECKING:
    from torch.utils.data import DataLoader, Dataset, IterableDataset

    from torchmetrics_dna.images.inputs import Example

ImageLike = Union[str, "os.PathLike[str]", bytes, Image.Image, NDArray[Any], Tensor, Mapping[str, Any]]
Source = Union[
    ImageLike,
    Sequence[ImageLike],
    "Dataset[Any]",
    "IterableDataset[Any]",
    "DataLoader[Any]",
    Iterable[Any],
    Callable[[], Any],
    ImageSource,
    ImageStream,
]


class Kind(NamedTuple):
    """A kind of file that images are in.

    Attributes:
        name: What it is called where the kinds are listed.
        suffixes: How names of such files end, in lower case.
        open: Function that opens some files of the kind as one set; it takes them, what to call the set, and how to
            read.
        choices: Which of ``"column"`` and ``"fps"`` have a meaning for it.

    """

    name: str
    suffixes: tuple[str, ...]
    open: Callable[[Sequence[str], str, Reading], Images]
    choices: tuple[str, ...] = ()


def _by(function: str) -> Lazy:
    return Lazy(f"torchmetrics_dna.images.{function}")


LIST = Kind(".txt with one path or address a line", (".txt",), _by("folders:open_lists"))
IMAGE = Kind("image file", EXTENSIONS, _by("folders:open_images"))
_VIDEOS = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg")
KINDS = Registry(
    "suffix",
    (
        Kind(".zip", (".zip",), _by("archives:open_zips")),
        LIST,
        Kind(".npy or .npz of (B, H, W, C)", (".npy", ".npz"), _by("arrays:open_arrays"), ("column",)),
        Kind(".tar", (".tar", ".tgz", ".gz", ".bz2", ".xz"), _by("archives:open_tars"), ("column",)),
        Kind(".parquet", (".parquet",), _by("parquet:open_parquet"), ("column",)),
        Kind("video", _VIDEOS, _by("video:open_videos"), ("fps",)),
        IMAGE,
    ),
    lambda kind: kind.suffixes,
)


def _files() -> str:
    return f"a folder, {', '.join(KINDS)}"


def open_source(source: Source, reading: Reading | None = None, example: Example | None = None) -> Images:
    """Open a set of images.

    Args:
        source: A folder (searched recursively, in natural order, without hidden files and folders; each file counts
            once, however many links lead to it), a ``.zip`` (searched the same way), a ``.txt`` in UTF-8 with one path
            or address per line (relative to that file), one image file; ``.npy`` and ``.npz`` of ``(B, H, W, C)``,
            ``.tar`` (also compressed, also of WebDataset), ``.parquet``, a video. Each may be an address (``https://``,
            ``s3://``, ``gs://``, ``hf://``), or a pattern of several files of a kind: ``shards/{000..099}.tar``,
            ``shards/*.tar``. Or a sequence of paths, addresses, bytes of files, Pillow images, arrays ``(H, W, C)``,
            tensors ``(C, H, W)`` or dicts that hold one; an array ``(B, H, W, C)`` or tensor ``(B, C, H, W)``; a
            map-style dataset of any of these, alone or first in a tuple. Arrays and tensors have the network's number
            of channels (for RGB also 1), and are uint8, uint16, or floating point in [0, 1]. Or an iterable of images
            or batches: a ``DataLoader``, an ``IterableDataset``, an iterator, or a function without arguments that is
            called until it returns None.
        reading: Options for reading them.
        example: What the network takes instead of images; the set is then a batch of such inputs, a sequence or
            map-style dataset of single inputs, or an iterable of inputs or batches.

    Returns:
        An ``ImageSource``, or an ``ImageStream`` if there is no random access.

    Raises:
        FileNotFoundError: If the path does not exist.
        PermissionError: If a folder may not be read.
        ModuleNotFoundError: If the package for the kind of file or address is missing.
        ValueError: If there are no images, the file is not a source of images, or there is no such column.
        TypeError: If ``source`` has another type.

    Example:
        >>> rows = [{"label": 0, "image": np.zeros((4, 5, 3), np.uint8)}]
        >>> open_source(rows)[0].shape
        (4, 5, 3)

    """
    if isinstance(source, (ImageSource, ImageStream)):
        return source
    if example is not None:
        inputs = open_inputs(source, f"{type(source).__name__} of inputs", example)
        if inputs is None:
            raise TypeError(
                "Expected inputs like the example of the network: a batch, list, dataset, DataLoader or iterable, but"
                f" got {type(source).__name__}; load files, such as by `numpy.load(path, mmap_mode='r')`"
            )
        return inputs
    reading = replace(reading or Reading(), progress=None)  # a callback could not be sent along with the images
    place = None
    if isinstance(source, (str, os.PathLike)):
        label = public(os.fspath(source))
        opened, uses = _open_path(os.fspath(source), reading)
        place = place_of(source), reading.column, reading.fps, reading.exif_orientation
    else:
        label = f"{type(source).__name__} of images"
        opened, uses = _open_object(source, label, reading)
    opened.uses, opened.place = frozenset(uses), place
    if isinstance(opened, ImageSource) and not opened.names:
        suffixes = [suffix for kind in KINDS.values() if kind not in (LIST, IMAGE) for suffix in kind.suffixes]
        present = next((suffix for suffix in suffixes if any(Path(label).glob(f"*{suffix}"))), None)
        remedy = f"; for the files in it, give {Path(label) / f'*{present}'}" if present else ""
        raise ValueError(f"There are no images in {label!r}; looked for {', '.join(EXTENSIONS)}{remedy}")
    return opened


def open_indexed(source: Source, what: str, reading: Reading | None = None) -> ImageSource:
    """Open images with random access; ValueError for a stream, with ``what`` needs it, such as "A report"."""
    return indexed(open_source(source, reading), what)


def check_used(reading: Reading, *opened: object) -> None:
    """Raise ValueError if ``column`` or ``fps`` is set, but applies to nothing that was opened."""
    sources = [images for images in opened if isinstance(images, (ImageSource, ImageStream))]
    for name, what in (("column", "columns"), ("fps", "frames")):
        value = getattr(reading, name)
        if value is not None and not any(name in source.uses for source in sources):
            labels = " and ".join(repr(source.label) for source in sources) or "what was given"
            raise ValueError(f"Argument `{name}` is {value!r}, but there are no {what} in {labels}; leave it out")


def _open_object(source: Any, label: str, reading: Reading) -> tuple[Images, Sequence[str]]:
    """Open an object other than a path; return the names of options that apply, too."""
    if is_row(source):
        raise TypeError(
            f"Expected images, but got a {type(source).__name__} with {', '.join(map(str, source)) or 'nothing'};"
            " give what is under one of these names"
        )
    if isinstance(source, (Image.Image, bytes, bytearray, Mapping)):
        return open_image(source, label, reading), ()
    if isinstance(source, (np.ndarray, Tensor)):
        return open_array(source, label, reading), ()
    if by_index(source):
        images, of_rows = open_sequence(source, label, reading)
        return images, ("column",) if of_rows else ()
    stream = open_iterable(source, label, reading)
    if stream is not None:
        return stream, ("column",)
    raise TypeError(
        f"Expected images as {_files()}, sequence of images, array, tensor, dataset, iterable, or function that gives"
        f" them, but got {type(source).__name__}{'; give its `images`' if is_output(source) else ''}"
    )


def _open_path(text: str, reading: Reading) -> tuple[Images, Sequence[str]]:
    """Open a path, an address or a pattern; return the names of options that apply, too."""
    files = expand(text)
    for path in [] if is_address(text) else files:
        try:
            mode = os.stat(path).st_mode  # noqa: PTH116
        except (FileNotFoundError, NotADirectoryError):
            check_no_address(text)
            raise missing(path) from None
        except OSError as err:
            refuse(err)
        if not stat.S_ISREG(mode) and not (stat.S_ISDIR(mode) and len(files) == 1):
            raise ValueError(f"{path!r} is not a regular file; give {_files()}")
    if len(files) == 1 and not is_address(text) and Path(files[0]).is_dir():
        return open_folder(files[0], reading), ()
    suffixes = {suffix_of(file): file for file in reversed(files)}
    kind = KINDS.find(suffix_of(files[0]))
    if kind is None and len(suffixes) == 1:  # a folder at an address, or image files without a known suffix
        path = files[0]
        if is_address(path):
            if len(files) == 1 and is_folder(path):
                return open_remote_folder(path, reading), ()
            check_address(path)
        elif not is_image_file(path):
            raise ValueError(f"{path!r} is no source of images; give {_files()} ({', '.join(EXTENSIONS)} or another)")
        return open_files(files, public(text), reading), ()
    unfit = [file for suffix, file in suffixes.items() if kind is None or suffix not in kind.suffixes]
    if kind is None or unfit:
        examples = ", ".join(map(public, sorted({files[0], *unfit})[:2]))
        raise ValueError(f"The files {public(text)!r} are of several kinds, such as {examples}; give those of one kind")
    if is_address(files[0]):
        check_address(files[0])  # checking all may take long
    return kind.open(files, public(text), reading), kind.choices
