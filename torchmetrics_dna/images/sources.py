"""Open image sets of all types: folders, lists, image files, archives, datasets, objects in memory and streams."""

from __future__ import annotations

import codecs
import os
import re
import stat
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Union

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from torchmetrics_dna.files.damage import refusing
from torchmetrics_dna.images.extensions import EXTENSIONS
from torchmetrics_dna.images.inputs import Example, check_not_sparse, check_rows, is_table, tensors_of
from torchmetrics_dna.images.kinds import IMAGE, KINDS, LIST, FileKind
from torchmetrics_dna.images.noun import ROW
from torchmetrics_dna.images.objects import (
    check_column,
    has_index,
    is_pipeline_output,
    is_row,
    open_array,
    open_inputs,
    open_iterable,
    open_sequence,
)
from torchmetrics_dna.images.paths import (
    check_address,
    expand,
    files_below,
    is_address,
    is_image_name,
    missing,
    natural_key,
    open_file,
    public,
    public_names,
    suffix_of,
)
from torchmetrics_dna.images.pixels import check_no_address, is_image_file, stamp_of
from torchmetrics_dna.images.reading import Reading
from torchmetrics_dna.images.sets import Images, ImageSource, ImageStream, joined
from torchmetrics_dna.options import argument, written

if TYPE_CHECKING:
    from torch.utils.data import DataLoader, Dataset, IterableDataset


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


# Number of lines at the beginning of a text file that are checked. If one of them is an existing file, the text file is
# a list of images.
_NUM_FIRST_LINES = 10


def _files() -> str:
    """Return the supported types of files and folders as a text."""
    return f"a folder, {', '.join(KINDS)}"


def open_source(source: Source, reading: Reading | None = None, example: Example | None = None) -> Images:
    """Open a set of images.

    Args:
        source: The images, in one of these forms:

            - A folder. It is searched recursively, in natural order, without hidden files and folders. Each file counts
              once, even if several links lead to it.
            - A ``.zip``, which is searched in the same way.
            - A ``.txt`` in UTF-8 with one path or address per line. Paths are relative to the file.
            - An image file, a video, a ``.parquet``, a ``.tar`` (also compressed, also of WebDataset), or a ``.npy`` or
              ``.npz`` with an array ``(B, H, W, C)``.
            - The address of one of these (``https://``, ``s3://``, ``gs://``, ``hf://``).
            - A pattern of several files of the same format: ``shards/{000..099}.tar``, ``shards/*.tar``.
            - An array ``(B, H, W, C)`` or a tensor ``(B, C, H, W)``. Arrays and tensors have the network's number of
              channels. For RGB, they may also have 1 channel. Their dtype is uint8, uint16, or floating point with
              values in [0, 1].
            - A sequence or a map-style dataset. Each item is a path, an address, the bytes of a file, a Pillow image,
              an array ``(H, W, C)`` or a tensor ``(C, H, W)``. An item may also be a dict with one of these, or a tuple
              that begins with one.
            - An iterable of images or batches: a ``DataLoader``, an ``IterableDataset``, an iterator, or a function
              without arguments that is called until it returns None.
        reading: Options for reading the images.
        example: Structure of the inputs of a network whose inputs are not images. The source is then a batch of such
            inputs, a sequence or map-style dataset of single inputs, or an iterable of inputs or batches. It may also
            be files with one array of inputs each: ``.npy``, ``.npz``, ``.safetensors``, or a column of lists in
            ``.parquet``.

    Returns:
        An ``ImageSource``, or an ``ImageStream`` if the images can't be accessed by index.

    Raises:
        FileNotFoundError: If the path does not exist.
        PermissionError: If a folder may not be read.
        ModuleNotFoundError: If the package for the format of a file, or for an address, is missing.
        ValueError: If there are no images, the format of a file is not supported, or there is no such column.
        TypeError: If ``source`` has another type.

    Example:
        >>> rows = [{"label": 0, "image": np.zeros((4, 5, 3), np.uint8)}]
        >>> open_source(rows)[0].shape
        (4, 5, 3)

    """
    if isinstance(source, (ImageSource, ImageStream)):
        return source
    reading = reading or Reading()
    if example is not None:
        return _open_inputs(source, example, reading)
    # Remove the callback, because it might not be picklable when the images are sent to worker processes.
    reading = replace(reading, progress=None)
    if isinstance(source, (str, os.PathLike)):
        path = os.fspath(source)
        label = public(path)
        opened = _open_path(path, reading)
        opened.place = _place(path), reading.column, reading.fps, reading.exif_orientation, reading.scale
    else:
        label = f"{type(source).__name__} of images"
        opened = _open_object(source, label, reading)
    opened.exif_orientation = reading.exif_orientation
    opened.scale = reading.scale
    if isinstance(opened, ImageSource) and not opened.names:
        raise ValueError(_no_images(label, is_path=isinstance(source, (str, os.PathLike))))
    return opened


def _place(path: str) -> str:
    """Return a path that is the same for all spellings of a local path. An address is returned as it is."""
    return path if is_address(path) else os.path.realpath(path)


def _no_images(label: str, *, is_path: bool) -> str:
    """Return the error message for a source without images.

    For a folder with files of another supported format, such as videos, the message suggests a pattern of these files.
    """
    text = f"There are no images in {label!r}"
    if is_path:
        text += f"; looked for {', '.join(EXTENSIONS)}"
    for kind in KINDS.values():
        if kind in (LIST, IMAGE):
            continue
        for suffix in kind.suffixes:
            if any(Path(label).glob(f"*{suffix}")):
                return f"{text}; for the files in it, pass {Path(label) / f'*{suffix}'}"
    return text


def _open_inputs(source: Source, example: Example, reading: Reading) -> Images:
    """Open a set of inputs other than images: an object, or a path of files."""
    if isinstance(source, (str, os.PathLike)):
        return _open_files_of_inputs(os.fspath(source), example, reading)
    inputs = open_inputs(source, f"{type(source).__name__} of {example.noun}s", example, reading)
    if inputs is None:
        raise TypeError(
            "Expected inputs like the example of the network: a batch, list, dataset, DataLoader or iterable, but"
            f" got {type(source).__name__}"
        )
    return inputs


def _open_files_of_inputs(path: str, example: Example, reading: Reading) -> Images:
    """Open files with one array of inputs each as one set."""
    names: set[str] = set()
    batches: list[Any] = []
    for file in expand(path):
        name, batch = _inputs_in(file, example, reading.column)
        names.add(name)
        batches.append(batch)
    opened = open_inputs(_concatenated(batches, example), public(path), example, reading)
    # The result is None only for objects other than arrays and tensors.
    assert opened is not None
    # The array of a .npy file has no name, so the option `column` does not apply to it.
    is_unnamed = "" in names
    opened.options = frozenset() if is_unnamed else frozenset({"column"})
    opened.place = _place(path), reading.column
    return opened


def _concatenated(batches: list[Any], example: Example) -> Any:
    """Return all inputs of several batches as one batch. Batches are tensors if the example is one, or else arrays."""
    if len(batches) == 1:
        return batches[0]
    if isinstance(example.like, Tensor):
        return torch.cat(batches)
    return np.concatenate(batches)


def _inputs_in(file: str, example: Example, column: str | None) -> tuple[str, Any]:
    """Return the name and the values of the array of inputs in a file. The name is empty for the array of a ``.npy``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the suffix of the file is not that of a format of arrays, or the file has no such array. The
            message has the name of the file. For a missing array, it also has a list of the existing arrays.

    """
    kind = KINDS.find(suffix_of(file))
    if kind is None or kind.arrays is None:
        suffixes = ", ".join(_suffixes_of_arrays())
        raise ValueError(
            f"The extractor ({written('feature')}) takes {example.noun}s, but {public(file)!r} is no file of them; pass"
            f" {suffixes}, or for pictures a network, such as clip_im_vit_b16"
        )
    if not is_address(file) and not Path(file).exists():
        raise missing(file)
    with refusing(public(file), f"{example.noun}s"):
        arrays = kind.arrays(file, column)
        num_axes = tensors_of(example.like)[0].ndim
        name = _name_of_inputs(arrays, num_axes, column, file)
        array = arrays[name]
        if example.noun == ROW:
            check_rows(array)
        batch = example.batch(array) if isinstance(example.like, Tensor) else array
        return name, batch


def _suffixes_of_arrays() -> list[str]:
    """Return the suffixes of all file formats that may hold arrays of inputs."""
    suffixes: list[str] = []
    for kind in KINDS.values():
        if kind.arrays is not None:
            suffixes += kind.suffixes
    return suffixes


def _name_of_inputs(arrays: Mapping[str, Any], num_axes: int, column: str | None, file: str) -> str:
    """Return the name of the array of inputs in a file.

    Args:
        arrays: Arrays by name. The name is empty for the array of a ``.npy``.
        num_axes: Number of axes of a batch of inputs.
        column: Name of the array. None for the only array with ``num_axes`` axes.
        file: Path of the file, for errors.

    Raises:
        ValueError: If there is no such array, or several.

    """
    if "" in arrays:
        return ""
    if column is not None:
        check_column(arrays, column, file)
        return column
    names = [name for name, array in arrays.items() if array.ndim == num_axes]
    if not names:
        listed = ", ".join(f"{name} of shape {tuple(array.shape)}" for name, array in arrays.items()) or "none"
        raise ValueError(f"it has no array of {num_axes} axes, but {listed}")
    if len(names) > 1:
        raise ValueError(
            f"it has {len(names)} arrays of {num_axes} axes, of {', '.join(names)}; name one by {written('column')}"
        )
    return names[0]


def check_used(reading: Reading, *opened: object) -> None:
    """Raise ValueError if ``column``, ``fps`` or ``num_images`` is set, but applies to none of the opened sources."""
    sources = [images for images in opened if isinstance(images, (ImageSource, ImageStream))]
    for option, noun in (("column", "columns"), ("fps", "frames"), ("num_images", "iterables or functions")):
        value = getattr(reading, option)
        is_used = any(option in source.options for source in sources)
        if value is not None and not is_used:
            labels = " and ".join(repr(source.label) for source in sources) or "what was given"
            raise ValueError(f"{argument(option)} is {value!r}, but there are no {noun} in {labels}")


def _open_object(source: Any, label: str, reading: Reading) -> Images:
    """Open an object other than a path."""
    _refuse_misused(source)
    # A mapping is an image of a dataset of Hugging Face that was not decoded: its bytes, or its path.
    is_single_image = isinstance(source, (Image.Image, bytes, bytearray, Mapping))
    if is_single_image:
        return open_sequence([source], label, reading)
    if isinstance(source, (np.ndarray, Tensor)):
        return open_array(source, label)
    if has_index(source):
        return open_sequence(source, label, reading)
    stream = open_iterable(source, label, reading)
    if stream is not None:
        return stream
    remedy = "; pass its attribute `images`" if is_pipeline_output(source) else ""
    raise TypeError(
        f"Expected images as {_files()}, a sequence of images, an array, a tensor, a dataset, an iterable, or a"
        f" function that returns them, but got {type(source).__name__}{remedy}"
    )


def _refuse_misused(source: Any) -> None:
    """Raise TypeError for an object that contains images, but must be passed in another form."""
    if is_row(source):
        names = ", ".join(map(str, source)) or "nothing"
        raise TypeError(
            f"Expected images, but got a {type(source).__name__} with {names}; pass the value of one of these names"
        )
    check_not_sparse(source, "image")
    if is_table(source):
        raise TypeError(
            "Expected images, but got a DataFrame; pass the column that has them, as `list(table['image'])`"
        )
    if hasattr(source, "read"):
        raise TypeError(f"Expected images, but got an open {type(source).__name__}; pass its name, or its `read()`")


def _open_path(text: str, reading: Reading) -> Images:
    """Open a path, an address, or a pattern of several files.

    Raises:
        ValueError: If the files have different formats.

    """
    files = expand(text)
    if not is_address(text):
        _check_local(text, files)
        if len(files) == 1 and Path(files[0]).is_dir():
            return open_folder(files[0])
    kind = _common_kind(text, files)
    if kind is None:
        return _open_unknown_suffix(text, files)
    if is_address(files[0]):
        # Check only the first address, because a check takes a request.
        check_address(files[0])
    return kind.open(files, public(text), reading)


def _common_kind(text: str, files: Sequence[str]) -> FileKind | None:
    """Return the format of all files of a path or pattern. Return None if all files have the same unknown suffix.

    Raises:
        ValueError: If the files have different formats.

    """
    first_by_suffix: dict[str, str] = {}
    for file in files:
        first_by_suffix.setdefault(_suffix(file), file)
    kind = KINDS.find(_suffix(files[0]))
    if kind is None and len(first_by_suffix) == 1:
        return None
    # Without a known format of the first file, all files count as files of other formats.
    suffixes = () if kind is None else kind.suffixes
    files_of_other_kinds = [file for suffix, file in first_by_suffix.items() if suffix not in suffixes]
    if not files_of_other_kinds:
        return kind
    two_files = sorted({files[0], *files_of_other_kinds})[:2]
    listed = ", ".join(public(file) for file in two_files)
    raise ValueError(f"The files {public(text)!r} are of several kinds, such as {listed}")


def _check_local(text: str, files: Sequence[str]) -> None:
    """Check the files of a local path or pattern.

    Args:
        text: The path or pattern.
        files: The files that match it.

    Raises:
        FileNotFoundError: If a file does not exist.
        PermissionError: If a file may not be read.
        ValueError: If a file is not a regular file. A single folder is allowed.

    """
    for file in files:
        try:
            mode = os.stat(file).st_mode  # noqa: PTH116
        except (FileNotFoundError, NotADirectoryError):
            check_no_address(text)
            raise missing(file) from None
        except OSError as err:
            refuse(err)
        is_single_folder = stat.S_ISDIR(mode) and len(files) == 1
        if not stat.S_ISREG(mode) and not is_single_folder:
            raise ValueError(f"{file!r} is not a regular file; pass {_files()}")


def _open_unknown_suffix(text: str, files: Sequence[str]) -> ImageSource:
    """Open a folder at an address, or image files with an unknown suffix.

    Raises:
        ValueError: If the first local file is not an image.

    """
    first = files[0]
    if is_address(first):
        folder = files_below(first) if len(files) == 1 else None
        if folder is not None:
            root, files_in_folder = folder
            images = [file for file in files_in_folder if is_image_name(file.rpartition("/")[2])]
            return open_files(sorted(images, key=natural_key), first, [root])
        check_address(first)
    elif not is_image_file(first):
        raise ValueError(f"{first!r} is no source of images; pass {_files()} ({', '.join(EXTENSIONS)} or another)")
    return open_files(files, public(text))


def _suffix(file: str) -> str:
    """Return the suffix of a file, or its last two suffixes if a registered format has these, such as ``.nii.gz``."""
    suffix = suffix_of(file)
    stem = file[: len(file) - len(suffix)]
    last_two = suffix_of(stem) + suffix
    return last_two if KINDS.find(last_two) else suffix


# This function and the next ones use strings and os.path, because there may be millions of files. With pathlib, they
# would take ten times as much time and memory.
def open_folder(path: str) -> ImageSource:
    """Open all images in a folder and its subfolders, in natural order, without hidden files and folders.

    Each image file is opened once. If the folder has the file itself, links to the file are ignored. Otherwise, the
    first link to the file is used.
    """
    images: list[str] = []
    file_links: list[str] = []
    visited: set[str] = set()
    for folder, real_path, names in _folders_below(path):
        visited.add(real_path)
        for name in names:
            if not is_image_name(name):
                continue
            file = _join(folder, name)
            if os.path.islink(file):  # noqa: PTH114
                file_links.append(file)
            else:
                images.append(file)
    images += _links_to_others(file_links, visited)
    images.sort(key=lambda file: natural_key(file.replace(os.sep, "/")))
    return open_files(images, path, [path])


def _folders_below(path: str) -> Iterator[tuple[str, str, list[str]]]:
    """Yield the path, the real path and the file names of a folder and its subfolders, without hidden folders.

    Links to folders are followed. Each folder is visited once.
    """
    visited: set[str] = set()
    # Links to folders are added to the roots, because os.walk does not follow them.
    roots = deque([str(Path(path))])
    while roots:
        for folder, subfolders, names in os.walk(roots.popleft(), onerror=refuse):
            real_path = os.path.realpath(folder)
            if real_path in visited:
                subfolders.clear()
                continue
            visited.add(real_path)
            yield folder, real_path, names
            # Modify the list in place, because os.walk visits the folders that remain in it, in its order.
            shown_subfolders = [name for name in subfolders if not name.startswith(".")]
            subfolders[:] = sorted(shown_subfolders, key=natural_key)
            for name in subfolders:
                subfolder = _join(folder, name)
                if os.path.islink(subfolder):  # noqa: PTH114
                    roots.append(subfolder)


def _links_to_others(links: Sequence[str], visited: Collection[str]) -> list[str]:
    """Return one link to each file that is not itself an image in one of the visited folders.

    A link without a target is returned, too, so that an error is reported when the image is read.

    Args:
        links: Paths of links to files.
        visited: Real paths of the visited folders.

    """
    by_target: dict[str, str] = {}
    for link in sorted(links, key=natural_key):
        target = os.path.realpath(link)
        folder, _, name = target.rpartition(os.sep)
        is_opened_itself = folder in visited and is_image_name(name) and os.path.isfile(link)  # noqa: PTH113
        if not is_opened_itself:
            by_target.setdefault(target, link)
    return list(by_target.values())


def _join(folder: str, name: str) -> str:
    """Join a folder and a name. A ``./`` at the beginning is removed."""
    return os.path.join(folder, name).removeprefix(f"{os.curdir}{os.sep}")  # noqa: PTH118


def open_files(files: Sequence[str], label: str, roots: Sequence[str] = ()) -> ImageSource:
    """Open image files as one set, in this order. Names are below ``roots``, see :class:`ImageSource`."""
    fetch = files.__getitem__
    names = files if roots else public_names(files)
    return ImageSource(names, fetch, label, partial(stamp_of, fetch), roots, frozenset())


def open_lists(lists: Sequence[str], label: str, _: Reading) -> ImageSource:
    """Open the image files of lists. A list has one path or address per line, relative to the folder of the list.

    Raises:
        ValueError: If none of the first lines of a list is an existing file.

    """
    sources = []
    for list_name in lists:
        lines = [line.strip() for line in read_list(list_name).splitlines()]
        files = [_path_in_list(line, list_name) for line in lines if line]
        first_files = files[:_NUM_FIRST_LINES]
        has_existing_file = any(is_address(file) or os.path.lexists(file) for file in first_files)
        if first_files and not has_existing_file:
            raise ValueError(
                f"{public(list_name)!r} is read as a list of images, a path a line, but there is no file"
                f" {first_files[0]!r}; pass paths from the list's own folder"
            )
        sources.append(open_files(files, public(list_name)))
    return joined(sources, label)


def _path_in_list(line: str, list_name: str) -> str:
    """Return the path or the address of the file that a line of a list names."""
    if is_address(line):
        return line
    if is_address(list_name):
        folder = list_name.rpartition("/")[0]
        return f"{folder}/{line}"
    return str(Path(list_name).parent.joinpath(line))


def open_images(files: Sequence[str], pattern: str, _: Reading) -> ImageSource:
    """Open the image files that match a pattern. Names are below the folder that precedes the first wildcard."""
    if is_address(pattern):
        return open_files(files, pattern)
    before_wildcards = re.split(r"[*?\[{]", pattern)[0]
    root = os.path.dirname(before_wildcards)  # noqa: PTH120
    return open_files(files, pattern, [root])


def refuse(err: OSError) -> NoReturn:
    """Raise an error of the same type, with the unreadable path in its message."""
    raise type(err)(f"Can't read {str(err.filename)!r}: {err.strerror}") from err


def read_list(path: str) -> str:
    """Read a text file in UTF-8. With a byte order mark, UTF-16 and UTF-32 are supported, too.

    Raises:
        ValueError: If the text has another encoding.

    """
    with open_file(path, forwards=True) as file:
        data = file.read()
    encoding = _encoding_of(data)
    message = f"List {public(path)!r} is not in UTF-8"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        raise ValueError(message) from None
    # No path contains a null character. UTF-16 without a byte order mark contains them if it is decoded as UTF-8.
    if "\0" in text:
        raise ValueError(message)
    return text


def _encoding_of(data: bytes) -> str:
    """Return the encoding of a text by its byte order mark. Without a mark, this is UTF-8."""
    # Test for UTF-32 first, because its mark begins with that of UTF-16.
    if data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    return "utf-8-sig"
