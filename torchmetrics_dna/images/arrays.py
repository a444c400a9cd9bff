"""Arrays of images in ``.npy`` and ``.npz`` files, such as the sample batches that ADM publishes."""

from __future__ import annotations

import os
import struct
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from torchmetrics_dna.files.container import plain_member, read_npy_header
from torchmetrics_dna.files.damage import check_pixels, check_size, most_bytes, refusing
from torchmetrics_dna.images.objects import check_column
from torchmetrics_dna.images.paths import is_address, open_file, public, suffix_of
from torchmetrics_dna.images.pixels import stamp_of
from torchmetrics_dna.images.sets import Images, ImageSource, joined, stream_of
from torchmetrics_dna.images.tensors import EMBEDDINGS, ArrayFormat, held_by
from torchmetrics_dna.options import written

if TYPE_CHECKING:
    from torchmetrics_dna.images.reading import Reading

# Name that numpy.savez gives to an array without a name. The sample batches of ADM have this name.
_USUAL = "arr_0"
_CUT = "it has been cut off; copy it anew"
# Number of bytes that are read at a time.
_CHUNK = 1 << 20
# Beginning of the local header of a zip member, with the lengths of its name and its extra field (section 4.3.7 of the
# zip specification).
_LOCAL = struct.Struct("<26xHH")


class _Stored(NamedTuple):
    """Location and format of an array in a file.

    Attributes:
        path: Path or address of the file.
        shape: Shape of the array: a batch of images, or a single image.
        dtype: Dtype of the array.
        is_fortran: Whether the array is in Fortran order.
        offset: Position of the first value in the file, in bytes. None if the array can't be memory-mapped.

    """

    path: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    is_fortran: bool
    offset: int | None

    @property
    def num_images(self) -> int:
        """Number of images in the array."""
        return self.shape[0] if len(self.shape) == 4 else 1

    def fetch(self, index: int) -> NDArray[Any]:
        """Read an image from the memory-mapped file."""
        order: Any = "F" if self.is_fortran else "C"
        # Map the file anew for each image. This is fast, because only the image itself is read.
        array = np.memmap(self.path, self.dtype, "r", self.offset or 0, self.shape, order)
        return np.array(array[index] if array.ndim == 4 else array)

    def stamp(self, _: int = 0) -> str:
        """Return a text that changes if the file changes."""
        return stamp_of([self.path].__getitem__, 0)


def open_arrays(files: Sequence[str], label: str, reading: Reading) -> Images:
    """Open the arrays of images in files as one set.

    Local arrays without compression are memory-mapped. If any array is compressed or at an address, all are streamed.
    """
    arrays: dict[str, _Stored] = {}
    formats: dict[str, ArrayFormat] = {}
    for file in files:
        array = _stored(file, reading.column)
        arrays[file] = array
        formats[public(file)] = ArrayFormat(array.shape, held_by(array.dtype))
    if any(array.offset is None for array in arrays.values()):
        count = sum(array.num_images for array in arrays.values())
        return stream_of(files, label, reading, _read, count=count, decoded=True, arrays=formats)
    sources = []
    for file, array in arrays.items():
        _check_sum(file, reading.column, array.stamp())
        names = [f"{file}/{i}" for i in range(array.num_images)]
        sources.append(ImageSource(names, array.fetch, file, array.stamp, [file]))
    return replace(joined(sources, label), arrays=formats)


def read_arrays(path: str, column: str | None) -> dict[str, Any]:
    """Read all arrays of numbers in a file.

    Args:
        path: Path or address of a ``.npy`` or ``.npz`` file.
        column: Name of the required array, or None.

    Returns:
        The arrays by name. The name is empty for the array of a ``.npy`` file, which is memory-mapped if it is local.

    Raises:
        ValueError: If there are no arrays of numbers, or the array named ``column`` does not hold numbers.

    """
    with open_file(path) as file:
        if suffix_of(path) == ".npy":
            return {"": _read_npy(path, file)}
        with zipfile.ZipFile(file) as archive:
            arrays, types_of_others = _read_npz(archive)
    has_other_type = column in types_of_others
    if arrays and not has_other_type:
        return arrays
    # If an array is required, the error lists this array only.
    listed = [f"{name} ({type_})" for name, type_ in types_of_others.items() if column in (None, name)]
    raise ValueError(f"it has no arrays of numbers, but {', '.join(listed) or 'none'}")


def _read_npz(archive: zipfile.ZipFile) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the arrays of numbers in an archive by name, and the types of values in all other arrays by name."""
    arrays = dict[str, Any]()
    types_of_others = dict[str, str]()
    for member_name in archive.namelist():
        if not member_name.endswith(".npy"):
            continue
        name = member_name.removesuffix(".npy")
        member = plain_member(archive, member_name)
        with archive.open(member) as content:
            _, _, dtype = read_npy_header(content)
        if not _is_of_numbers(dtype):
            types_of_others[name] = held_by(dtype)
            continue
        with archive.open(member) as content:
            arrays[name] = npy.read_array(content)
    return arrays, types_of_others


def _read_npy(path: str, file: BinaryIO) -> NDArray[Any]:
    """Read the array of an open ``.npy`` file. The array of a local file is memory-mapped."""
    shape, _, dtype = read_npy_header(file)
    if not _is_of_numbers(dtype):
        raise ValueError(f"it holds {held_by(dtype)} of shape {shape}, expected numbers")
    _check_length(file, file.tell() + dtype.itemsize * prod(shape))
    # An array without values can't be memory-mapped.
    if prod(shape) and not is_address(path):
        array: NDArray[Any] = np.load(path, mmap_mode="r")
        return array
    file.seek(0)
    return npy.read_array(file)


def _check_length(file: BinaryIO, end: int) -> None:
    """Raise ValueError if a file ends before the position ``end``. The position in the file is then its end."""
    if file.seek(0, os.SEEK_END) < end:
        raise ValueError(_CUT)


def _is_of_numbers(dtype: np.dtype[Any]) -> bool:
    """Return True for booleans and for integer, floating point and complex numbers."""
    return dtype.kind in "biufc"


def read_safetensors(path: str, _: str | None) -> dict[str, Any]:
    """Read all tensors of a ``.safetensors`` file by name."""
    from safetensors.torch import load

    with open_file(path) as file:
        return load(file.read())


def refuse_embeddings(files: Sequence[str], *_: object) -> Images:
    """Raise ValueError, because ``.safetensors`` files hold embeddings instead of images."""
    raise ValueError(f"{public(files[0])!r} holds no images; {EMBEDDINGS}")


def holds_images(path: str | os.PathLike[str]) -> bool:
    """Return True if a local ``.npz`` file may hold images or other inputs.

    The file must have an array with at least two axes. A file with an array ``mu`` has the statistics of an FID, unless
    it also has the array ``arr_0``.
    """
    try:
        with Path(path).open("rb") as file, zipfile.ZipFile(file) as archive:
            axes = _axes(archive)
        if f"{_USUAL}.npy" in axes:
            return True
        has_fid_statistics = "mu.npy" in axes
        return not has_fid_statistics and max(axes.values(), default=0) >= 2
    except Exception:
        # The error is reported when the file is read.
        return False


@contextmanager
def _opened(path: str, column: str | None) -> Iterator[tuple[BinaryIO, IO[bytes], zipfile.ZipInfo | None]]:
    """Open a file and its array of images.

    Yields:
        The file, a file of the array alone, and the entry of the array in the archive. For a ``.npy`` file, both files
        are the same, and the entry is None.

    """
    is_npy = suffix_of(path) == ".npy"
    with open_file(path, forwards=is_npy) as file:
        if is_npy:
            yield file, file, None
            return
        with zipfile.ZipFile(file) as archive:
            info = plain_member(archive, _member(archive, column, path))
            with archive.open(info) as member:
                yield file, member, info


def _stored(path: str, column: str | None) -> _Stored:
    """Return the location and format of the array of images in a file.

    Raises:
        ValueError: If the array does not hold images, or its values are not complete.

    """
    with refusing(public(path), "an array of images"), _opened(path, column) as (file, array, info):
        shape, is_fortran, dtype = read_npy_header(array)
        _check_format(shape, dtype)
        offset = None if is_address(path) else _offset_in_file(file, array, info)
        if offset is not None:
            _check_length(file, offset + dtype.itemsize * prod(shape))
        # Without a memory map, the images are read one after the other, which requires the order of C.
        elif is_fortran:
            raise ValueError("its first axis is not the outermost; save `numpy.ascontiguousarray(imgs)`")
    return _Stored(path, shape, dtype, is_fortran, offset)


def _check_format(shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Raise ValueError unless an array is an image or a batch of images that are not too large."""
    images = ArrayFormat(shape, held_by(dtype))
    images.check("Images", 4)
    height_and_width = shape[-3:][:2]
    check_pixels(prod(height_and_width))
    bytes_of_image = dtype.itemsize * prod(shape[-3:])
    # If a single image is too large, the array is more likely a batch of greyscale images. Report the shape instead.
    if len(shape) == 3 and bytes_of_image > most_bytes():
        images.check("Images", 4, channels=3)
    check_size(bytes_of_image)


def _offset_in_file(file: BinaryIO, array: IO[bytes], member: zipfile.ZipInfo | None) -> int | None:
    """Return the position in a file at which the values of an array begin. Return None for a compressed array.

    Args:
        file: The ``.npy`` or ``.npz`` file.
        array: The file of the array alone. Its header was read already.
        member: The entry of the array in a ``.npz`` file. None for a ``.npy`` file.

    """
    offset = array.tell()
    if member is None:
        return offset
    if member.compress_type != zipfile.ZIP_STORED:
        return None
    # Read the length of the local header from the file, because its extra field may differ from that of the entry.
    file.seek(member.header_offset)
    name_length, extra_length = _LOCAL.unpack(file.read(_LOCAL.size))
    header_length: int = _LOCAL.size + name_length + extra_length
    return offset + member.header_offset + header_length


# The stamp is an argument, and so a part of the cache key, so that a changed file is checked again.
@lru_cache(64)
def _check_sum(path: str, column: str | None, stamp: str) -> None:  # noqa: ARG001
    """Raise ValueError if the checksum of an array in an ``.npz`` file is wrong. Memory maps do not verify it."""
    with refusing(path, "an array of images"), _opened(path, column) as (_, array, info):
        # A .npy file has no checksum.
        if info is None:
            return
        # zipfile verifies the checksum when the array was read to its end.
        while array.read(_CHUNK):
            pass


def _member(archive: zipfile.ZipFile, column: str | None, path: str) -> str:
    """Return the name of the archive member with the array of images.

    The array is ``column``, or else ``arr_0``, or else the only array with four axes.

    Raises:
        ValueError: If there is no such array.

    """
    names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
    if column is not None:
        check_column(names, column, path)
        return f"{column}.npy"
    if _USUAL in names:
        return f"{_USUAL}.npy"
    if "dna.json" in archive.namelist():
        where = "; a DNA is read from this machine, or as hub:OWNER/REPO/path" if is_address(path) else ""
        raise ValueError(f"it is a DNA file, but images are expected{where}")
    candidates = [name for name, axes in _axes(archive).items() if axes == 4]
    if len(candidates) != 1:
        raise ValueError(
            f"it has no array {_USUAL!r}, but {', '.join(names) or 'none'}; name the one of images by"
            f" {written('column')}"
        )
    return candidates[0]


def _axes(archive: zipfile.ZipFile) -> dict[str, int]:
    """Return the number of axes of each array, by the name of its archive member."""
    axes = dict[str, int]()
    for name in archive.namelist():
        if name.endswith(".npy"):
            with archive.open(plain_member(archive, name)) as member:
                shape, _, _ = read_npy_header(member)
            axes[name] = len(shape)
    return axes


def _read(path: str, reading: Reading) -> Iterator[tuple[str, Any]]:
    """Yield the index and the pixels of each image of an array. Only one image is in memory at a time."""
    with _opened(path, reading.column) as (_, file, _):
        shape, _, dtype = read_npy_header(file)
        if len(shape) == 3:
            shape = (1, *shape)
        num_images, *shape_of_image = shape
        size = dtype.itemsize * prod(shape_of_image)
        for i in range(num_images):
            data = _read_exactly(file, size)
            yield str(i), np.frombuffer(data, dtype).reshape(shape_of_image)
        # Read beyond the last image, so that zipfile verifies the checksum.
        if file.read(1):
            raise ValueError("it goes on after its last image; copy it anew")


def _read_exactly(file: IO[bytes], size: int) -> bytes:
    """Read ``size`` bytes. A single call of ``read`` may return fewer bytes.

    Raises:
        ValueError: If the file ends before.

    """
    data = b""
    while len(data) < size:
        block = file.read(size - len(data))
        if not block:
            raise ValueError(_CUT)
        data += block
    return data
