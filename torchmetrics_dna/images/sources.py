"""Open image sets of all kinds: folders, lists and files of images, archives, datasets, objects in memory, streams."""

from __future__ import annotations

import codecs
import os
import re
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
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
from torchmetrics_dna.images.kinds import IMAGE, KINDS, LIST
from torchmetrics_dna.images.noun import ROW
from torchmetrics_dna.images.objects import (
    by_index,
    check_column,
    is_output,
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


_FIRST = 10  # lines of a list, one of which has to be a file


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
            map-style dataset of single inputs, an iterable of inputs or batches, or files of one array of them:
            ``.npy``, ``.npz``, ``.safetensors``, a column of lists in ``.parquet``.

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
    if example is not None and isinstance(source, (str, os.PathLike)):
        return _open_inputs_of(os.fspath(source), example, reading or Reading())
    if example is not None:
        inputs = open_inputs(source, f"{type(source).__name__} of {example.noun}s", example, reading or Reading())
        if inputs is None:
            raise TypeError(
                "Expected inputs like the example of the network: a batch, list, dataset, DataLoader or iterable, but"
                f" got {type(source).__name__}"
            )
        return inputs
    reading = replace(reading or Reading(), progress=None)  # a callback could not be sent along with the images
    if isinstance(source, (str, os.PathLike)):
        path = os.fspath(source)
        label, opened = public(path), _open_path(path, reading)
        place = path if is_address(path) else os.path.realpath(path)
        opened.place = place, reading.column, reading.fps, reading.exif_orientation, reading.scale
    else:
        label = f"{type(source).__name__} of images"
        opened = _open_object(source, label, reading)
    opened.exif_orientation, opened.scale = reading.exif_orientation, reading.scale
    if isinstance(opened, ImageSource) and not opened.names:
        suffixes = [suffix for kind in KINDS.values() if kind not in (LIST, IMAGE) for suffix in kind.suffixes]
        present = next((suffix for suffix in suffixes if any(Path(label).glob(f"*{suffix}"))), None)
        remedy = f"; for the files in it, give {Path(label) / f'*{present}'}" if present else ""
        looked = f"; looked for {', '.join(EXTENSIONS)}" if isinstance(source, (str, os.PathLike)) else ""
        raise ValueError(f"There are no images in {label!r}{looked}{remedy}")
    return opened


def _open_inputs_of(path: str, example: Example, reading: Reading) -> Images:
    """Open files of one array of inputs that are no images, each or all together."""
    names, batches = set[str](), list[Any]()
    for file in expand(path):
        name, batch = _inputs_in(file, example, reading.column)
        names.add(name)
        batches.append(batch)
    whole = batches[0]
    if len(batches) > 1:
        whole = torch.cat(batches) if isinstance(example.like, Tensor) else np.concatenate(batches)
    opened = open_inputs(whole, public(path), example, reading)
    assert opened is not None  # for an array
    # The array of a .npy file has no name, so that no column can be chosen.
    opened.options = frozenset(() if "" in names else ("column",))
    opened.place = path if is_address(path) else os.path.realpath(path), reading.column
    return opened


def _inputs_in(file: str, example: Example, column: str | None) -> tuple[str, Any]:
    """Return the name and the values of the array of inputs in a file; ValueError that names the file and its content.

    The name is empty in a file of one array.
    """
    kind = KINDS.find(suffix_of(file))
    if kind is None or kind.arrays is None:
        listed = ", ".join(suffix for kind in KINDS.values() if kind.arrays is not None for suffix in kind.suffixes)
        what = f"The extractor ({written('feature')}) takes {example.noun}s, but {public(file)!r} is no file of them"
        raise ValueError(f"{what}; give {listed}, or for pictures a network, such as clip_im_vit_b16")
    if not is_address(file) and not Path(file).exists():
        raise missing(file)
    with refusing(public(file), f"{example.noun}s"):
        arrays = kind.arrays(file, column)
        name = _name_of_inputs(arrays, tensors_of(example.like)[0].ndim, column, file)
        array = arrays[name]
        if example.noun == ROW:
            check_rows(array)
        if not isinstance(example.like, Tensor):
            return name, array
        return name, example.batch(array)


def _name_of_inputs(arrays: Mapping[str, Any], axes: int, column: str | None, file: str) -> str:
    """Return the name of the array of inputs among those of a file: the column, or the only one with so many axes."""
    if "" in arrays:
        return ""
    if column is not None:
        check_column(arrays, column, file)
        return column
    names = [name for name, array in arrays.items() if array.ndim == axes]
    if not names:
        listed = ", ".join(f"{name} of shape {tuple(array.shape)}" for name, array in arrays.items())
        raise ValueError(f"it has no array of {axes} axes, but {listed}")
    if len(names) > 1:
        raise ValueError(
            f"it has {len(names)} arrays of {axes} axes, of {', '.join(names)}; name one by {written('column')}"
        )
    return names[0]


def check_used(reading: Reading, *opened: object) -> None:
    """Raise ValueError if ``column``, ``fps`` or ``num_images`` is set, but applies to nothing that was opened."""
    sources = [images for images in opened if isinstance(images, (ImageSource, ImageStream))]
    for name, what in (("column", "columns"), ("fps", "frames"), ("num_images", "iterables or functions")):
        value = getattr(reading, name)
        if value is not None and not any(name in source.options for source in sources):
            labels = " and ".join(repr(source.label) for source in sources) or "what was given"
            raise ValueError(f"{argument(name)} is {value!r}, but there are no {what} in {labels}")


def _open_object(source: Any, label: str, reading: Reading) -> Images:
    """Open an object other than a path."""
    if is_row(source):
        raise TypeError(
            f"Expected images, but got a {type(source).__name__} with {', '.join(map(str, source)) or 'nothing'};"
            " give what is under one of these names"
        )
    check_not_sparse(source, "image")
    if is_table(source):
        raise TypeError(
            "Expected images, but got a DataFrame; pass the column that has them, as `list(table['image'])`"
        )
    if isinstance(source, (Image.Image, bytes, bytearray, Mapping)):
        return open_sequence([source], label, reading)
    if isinstance(source, (np.ndarray, Tensor)):
        return open_array(source, label)
    if hasattr(source, "read"):
        raise TypeError(f"Expected images, but got an open {type(source).__name__}; give its name, or its `read()`")
    if by_index(source):
        return open_sequence(source, label, reading)
    stream = open_iterable(source, label, reading)
    if stream is not None:
        return stream
    raise TypeError(
        f"Expected images as {_files()}, sequence of images, array, tensor, dataset, iterable, or function that gives"
        f" them, but got {type(source).__name__}{'; give its `images`' if is_output(source) else ''}"
    )


def _open_path(text: str, reading: Reading) -> Images:
    """Open a path, an address or a pattern."""
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
        return open_folder(files[0])
    suffixes = {_suffix(file): file for file in reversed(files)}
    kind = KINDS.find(_suffix(files[0]))
    if kind is None and len(suffixes) == 1:  # a folder at an address, or image files without a known suffix
        path = files[0]
        if is_address(path):
            if len(files) == 1 and (folder := files_below(path)):
                root, below = folder
                images = [file for file in below if is_image_name(file.rpartition("/")[2])]
                return open_files(sorted(images, key=natural_key), path, [root])
            check_address(path)
        elif not is_image_file(path):
            raise ValueError(f"{path!r} is no source of images; give {_files()} ({', '.join(EXTENSIONS)} or another)")
        return open_files(files, public(text))
    unfit = [file for suffix, file in suffixes.items() if kind is None or suffix not in kind.suffixes]
    if kind is None or unfit:
        examples = ", ".join(map(public, sorted({files[0], *unfit})[:2]))
        raise ValueError(f"The files {public(text)!r} are of several kinds, such as {examples}")
    if is_address(files[0]):
        check_address(files[0])  # checking all may take long
    return kind.open(files, public(text), reading)


def _suffix(file: str) -> str:
    """Return the suffix of a file, or the last two if a kind has these, such as those of packed volumes."""
    suffix = suffix_of(file)
    both = suffix_of(file[: len(file) - len(suffix)]) + suffix
    return both if KINDS.find(both) else suffix


def open_folder(path: str) -> ImageSource:
    """Open all images in a folder, in natural order, without hidden files and folders.

    Each is opened once: by its own path, or else by the first link to it.
    """
    images: list[str] = []
    visited: dict[str, str] = {}  # path of each folder by its real path
    roots, file_links = [str(Path(path))], list[str]()
    for start in roots:  # grows in the loop
        for folder_path, folders, files in os.walk(start, onerror=refuse):
            real = os.path.realpath(folder_path)
            if real in visited:
                folders.clear()
                continue
            visited[real] = folder_path
            folders[:] = sorted((name for name in folders if not name.startswith(".")), key=natural_key)
            roots += [folder for name in folders if os.path.islink(folder := _join(folder_path, name))]  # noqa: PTH114
            for file in (_join(folder_path, name) for name in files if is_image_name(name)):
                (file_links if os.path.islink(file) else images).append(file)  # noqa: PTH114
    linked: dict[str, str] = {}
    for link in sorted(file_links, key=natural_key):
        real, _, name = os.path.realpath(link).rpartition(os.sep)
        is_listed = real in visited and is_image_name(name) and os.path.isfile(link)  # noqa: PTH113
        if not is_listed:
            linked.setdefault(f"{real}{os.sep}{name}", link)
    images += linked.values()
    images.sort(key=lambda file: natural_key(file.replace(os.sep, "/")))
    return open_files(images, path, [path])


def open_files(files: Sequence[str], label: str, roots: Sequence[str] = ()) -> ImageSource:
    """Open image files, in this order."""
    fetch, names = files.__getitem__, files if roots else public_names(files)
    return ImageSource(names, fetch, label, partial(stamp_of, fetch), roots, frozenset())


def open_lists(lists: Sequence[str], label: str, _: Reading) -> ImageSource:
    """Open the image files of lists with one path per line, relative to the list."""
    sources = []
    for name in lists:
        lines = filter(None, map(str.strip, read_list(name).splitlines()))
        within = f"{name.rpartition('/')[0]}/{{}}".format if is_address(name) else Path(name).parent.joinpath
        files = [line if is_address(line) else str(within(line)) for line in lines]
        first = files[:_FIRST]
        if first and not any(is_address(file) or os.path.lexists(file) for file in first):
            raise ValueError(
                f"{public(name)!r} is read as a list of images, a path a line, but there is no file {first[0]!r}; give"
                " paths from the list's own folder"
            )
        sources.append(open_files(files, public(name)))
    return joined(sources, label)


def open_images(files: Sequence[str], pattern: str, _: Reading) -> ImageSource:
    """Open image files that match a pattern; their names are below its folders without wildcards."""
    fixed = os.path.dirname(re.split(r"[*?\[{]", pattern)[0])  # noqa: PTH120
    return open_files(files, pattern, () if is_address(pattern) else [fixed])


def refuse(err: OSError) -> NoReturn:
    """Raise an error that names the unreadable path."""
    raise type(err)(f"Can't read {str(err.filename)!r}: {err.strerror}") from err


def read_list(path: str) -> str:
    """Read a text in UTF-8, or with a byte order mark; ValueError in another encoding."""
    with open_file(path, forwards=True) as file:
        data = file.read()
    encoding = "utf-8-sig"
    if data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):  # which begins with that of UTF-16
        encoding = "utf-32"
    elif data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:  # UTF-16 without a byte order mark; no path contains it
        raise ValueError(f"List {public(path)!r} is not in UTF-8")
    return text


# pathlib takes ten times the time and memory, and there may be millions of files
def _join(folder: str, name: str) -> str:
    return os.path.join(folder, name).removeprefix(f"{os.curdir}{os.sep}")  # noqa: PTH118
