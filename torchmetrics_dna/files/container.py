"""Reader and writer of the container of DNA files: an npz file of arrays and one json header.

A file that is truncated, damaged or changed raises an error when it is read. The container is specified in
docs/format.md.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Callable, Iterable, Mapping
from math import prod
from pathlib import Path
from threading import Lock
from typing import IO, Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from torchmetrics_dna.files.atomic import replacing
from torchmetrics_dna.files.damage import (
    MOST_HEADER,
    check_header,
    check_type,
    check_unpacked,
    most_unpacked,
    parse_json,
    refusing,
)

FORMAT = "torchmetrics_dna"
# Versions of the format. Version 2 has folds of images.
VERSIONS = (1, 2)
Arrays = dict[str, NDArray[Any]]

# Suffixes of other file formats.
_OTHERS = (".json", ".csv", ".html", ".pt", ".pkl")
_HEADER = "dna.json"
_MARK = b"sha256:"
# Number of hexadecimal digits of a checksum.
_SUM = 64
# Number of bytes of the mark and the checksum at the end of a file.
_TAIL = len(_MARK) + _SUM
# Maximum number of lists and objects in a header. Each takes 30 times the memory of its text.
_MOST_NESTED = 100_000
# Lock for parsing headers of arrays. numpy parses them as literals, and CPython before 3.11.8 and 3.12.3 may fail to
# parse literals in two threads at once (gh-106905).
_PARSING = Lock()
# Number of bytes that are read at a time for the checksum.
_CHUNK = 1 << 20
# Compression level of arrays. Files are at most 2% larger than at the highest level, in less than half the time.
_LEVEL = 4


def content_digest(dna: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> str:
    """Return the digest of a DNA: 16 hexadecimal digits of the SHA-256 of its description and its arrays."""
    sha = hashlib.sha256(json.dumps(dna, sort_keys=True, separators=(",", ":")).encode())
    for name in sorted(arrays):
        sha.update(f"\n{name}\n".encode())
        sha.update(np.ascontiguousarray(arrays[name]).data)
    return sha.hexdigest()[:16]


def write_container(
    path: str | os.PathLike[str], dna: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], **remarks: Any
) -> None:
    """Write a DNA file. Equal content gives equal bytes.

    Args:
        path: Path of the file. An existing file is replaced when the new file is complete.
        dna: Description of the DNA, as json values.
        arrays: ``uint8`` or ``float64`` arrays by name.
        remarks: Further keys of the header, which are not a part of the digest.

    Raises:
        OSError: If the file can't be written.
        ValueError: If the file name has the suffix of another format, or the header is too long.

    """
    if Path(path).suffix in _OTHERS:
        raise ValueError(
            f"Expected the name of a .npz file, but got {str(path)!r}; `torchmetrics_dna.reporting.write` writes pages"
            " and tables"
        )
    header = {
        "format": FORMAT,
        "format_version": VERSIONS[1] if "folds" in dna else VERSIONS[0],
        "digest": content_digest(dna, arrays),
        **remarks,
        "dna": dna,
        "arrays": _declared(arrays),
    }
    text = json.dumps(header, indent=1, ensure_ascii=False).encode()
    _check_header(text)
    unpacked_size = sum(array.nbytes for array in arrays.values())
    with replacing(path) as temporary:
        _write_zip(temporary, text, arrays, _LEVEL)
        is_like_zip_bomb = unpacked_size > most_unpacked(temporary.stat().st_size)
        if is_like_zip_bomb:
            # Arrays that are compressed so well would be refused when they are read. Write them without compression.
            _write_zip(temporary, text, arrays, level=0)


def read_container(path: str | os.PathLike[str], what: str) -> tuple[dict[str, Any], Arrays]:
    """Read the header and the arrays of a DNA file, and check that they are unchanged since they were written.

    No content of a file is executed. A file can't take more memory than :func:`most_unpacked` allows for its size.

    Args:
        path: Path of the file.
        what: Expected content of the file, for error messages.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is not a DNA file, is damaged or manipulated, or has a newer format version.

    """
    with refusing(path, what), Path(path).open("rb") as file:
        _check_sum(file)
        with zipfile.ZipFile(file) as archive:
            header = _read_header(archive)
            names = list(header["arrays"])
            members = sorted(info.filename for info in archive.infolist())
            expected_members = sorted([_HEADER, *(f"{name}.npy" for name in names)])
            if members != expected_members:
                raise ValueError(f"its members are not those that its {_HEADER} lists")
            arrays = _read_arrays(archive, names)
        if _declared(arrays) != header["arrays"]:
            raise ValueError(f"its arrays are not those that its {_HEADER} lists")
        if content_digest(header["dna"], arrays) != header["digest"]:
            raise ValueError("its content is not what its digest says")
    return header, arrays


def read_npz(path: str | os.PathLike[str], names: Iterable[str]) -> Arrays:
    """Read only these arrays of an npz file, by name. Errors are of any type, so call it within :func:`refusing`."""
    with zipfile.ZipFile(path) as archive:
        return _read_arrays(archive, names)


def read_npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read the header of an npy array at the current position of a file.

    Returns:
        The shape, whether the array is in Fortran order, and the dtype.

    Raises:
        ValueError: If there is no array, or its header is damaged or too long. A header that is too long is not read.

    """
    try:
        version = npy.read_magic(file)
    except ValueError as err:
        raise ValueError("it does not begin as a .npy array does") from err
    if version == (1, 0):
        return _parsed_header(npy.read_array_header_1_0, file)
    # A header of version 1.0 has at most 64 kB. Headers of later versions may claim any size.
    length = file.read(4)
    size = int.from_bytes(length, "little")
    check_header(size, "the header of its array")
    return _parsed_header(npy.read_array_header_2_0, io.BytesIO(length + file.read(size)))


def _parsed_header(read: Callable[[IO[bytes]], Any], file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Parse the header of an array with a function of numpy. Raise ValueError if the header is damaged."""
    try:
        with _PARSING:
            shape, is_fortran, dtype = read(file)
    except ValueError as err:
        raise ValueError("the header of its array is damaged") from err
    return shape, is_fortran, dtype


def below(arrays: Mapping[str, NDArray[Any]], prefix: str) -> Arrays:
    """Return the arrays whose names begin with a prefix. The prefix is removed from the names."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def is_container(path: str | os.PathLike[str]) -> bool:
    """Return True if a file begins as a DNA file: it is a zip archive whose first member is the header.

    The file may still be damaged.
    """
    with Path(path).open("rb") as file:
        # The name of the first member follows its 30 bytes of other values.
        start = file.read(30 + len(_HEADER))
    return start.startswith(b"PK\x03\x04") and start.endswith(_HEADER.encode())


def plain_member(archive: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
    """Return the entry of a zip archive's member.

    Raises:
        ValueError: If there is no such member. Also if the member is compressed by a method other than deflate. For
            other methods, zipfile does not limit the size of unpacked blocks, so that a zip bomb could fill the memory.

    """
    member = archive.NameToInfo.get(name)
    if member is None:
        raise ValueError(f"it has no member {name!r}")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"its member {name!r} is neither stored nor deflated")
    return member


def _declared(arrays: Mapping[str, NDArray[Any]]) -> dict[str, list[Any]]:
    """Return the dtype and shape of each array by name, as written in the header."""
    return {name: [array.dtype.str, list(array.shape)] for name, array in arrays.items()}


def _write_zip(path: Path, header: bytes, arrays: Mapping[str, NDArray[Any]], level: int) -> None:
    """Write the header and the arrays at a compression level, and a checksum at the end."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=level) as archive:
        archive.writestr(_member(_HEADER), header, zipfile.ZIP_DEFLATED, level)
        for name, array in arrays.items():
            info = _member(f"{name}.npy")
            info.compress_type = zipfile.ZIP_DEFLATED
            info._compresslevel = level  # type: ignore[attr-defined]
            # Set the size, because zipfile derives from it if the member needs zip64.
            info.file_size = array.nbytes
            with archive.open(info, "w") as member:
                npy.write_array(member, array, version=(1, 0), allow_pickle=False)
        archive.comment = _MARK + b"0" * _SUM
    # Overwrite the zeros at the end of the comment with the checksum of all bytes before them.
    with path.open("r+b") as file:
        checksum = _sum_before(file, _SUM)
        file.seek(-_SUM, os.SEEK_END)
        file.write(checksum)


def _member(name: str) -> zipfile.ZipInfo:
    """Return the entry of a member of a new file."""
    # Keep the default date, 1 January 1980, so that equal content gives equal bytes.
    info = zipfile.ZipInfo(name)
    # The number 3 stands for Unix. The permissions are those of a Unix file.
    info.create_system = 3
    info.external_attr = 0o644 << 16
    return info


def _check_sum(file: BinaryIO) -> None:
    """Raise ValueError unless a file ends with the mark of DNA files and a valid checksum.

    The checksum is that of all bytes before it.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _TAIL))
    tail = file.read()
    if len(tail) != _TAIL or not tail.startswith(_MARK):
        file.seek(0)
        if file.read(2) != b"PK":
            raise ValueError("it is no .npz file of this package")
        raise ValueError("it does not end in a checksum, so it is truncated, damaged, or another kind of file")
    if _sum_before(file, _SUM) != tail[-_SUM:]:
        raise ValueError("its checksum is wrong, so it was damaged or changed after it was written")


def _sum_before(file: BinaryIO, end: int) -> bytes:
    """Return the hexadecimal SHA-256 of a file without its last ``end`` bytes."""
    sha = hashlib.sha256()
    num_left = file.seek(0, os.SEEK_END) - end
    file.seek(0)
    while num_left > 0:
        block = file.read(min(num_left, _CHUNK))
        if not block:
            break
        sha.update(block)
        num_left -= len(block)
    return sha.hexdigest().encode()


def _read_header(archive: zipfile.ZipFile) -> dict[str, Any]:
    """Read the header of a DNA file.

    Raises:
        ValueError: If the header is too long, is not json, or has another format or an unknown version.
        KeyError: If a required key is missing.

    """
    with archive.open(plain_member(archive, _HEADER)) as member:
        text = member.read(MOST_HEADER + 1)
    _check_header(text)
    header: dict[str, Any] = parse_json(text, dict)
    if header["format"] != FORMAT:
        raise ValueError(f"its format is {header['format']!r}, expected {FORMAT!r}")
    if header["format_version"] not in VERSIONS:
        raise ValueError(
            f"its format version is {header['format_version']!r}, and this release reads versions"
            f" {' and '.join(map(str, VERSIONS))}; upgrade torchmetrics-dna"
        )
    for key in ("dna", "arrays"):
        check_type(key, header[key], dict)
    return header


def _check_header(text: bytes) -> None:
    """Raise ValueError if a header has too many bytes, or too many lists and objects."""
    num_brackets = text.count(b"[") + text.count(b"{")
    if len(text) > MOST_HEADER or num_brackets > _MOST_NESTED:
        raise ValueError(
            f"the header {_HEADER} has more than {MOST_HEADER} bytes, or more than {_MOST_NESTED} brackets; shorten"
            " the notes"
        )


def _read_arrays(archive: zipfile.ZipFile, names: Iterable[str]) -> Arrays:
    """Read arrays by name.

    Raises:
        ValueError: If the unpacked arrays are larger than :func:`most_unpacked` allows for the size of their file.

    """
    members = {name: plain_member(archive, f"{name}.npy") for name in names}
    assert archive.fp is not None
    file_size = archive.fp.seek(0, os.SEEK_END)
    check_unpacked(file_size, sum(member.file_size for member in members.values()))
    return {name: _read_array(archive, name, member.file_size) for name, member in members.items()}


def _read_array(archive: zipfile.ZipFile, name: str, size: int) -> NDArray[Any]:
    """Read an array. Raise ValueError if its shape does not agree with the size of its member in bytes."""
    with archive.open(f"{name}.npy") as member:
        shape, is_fortran, dtype = read_npy_header(member)
        expected_size = member.tell() + dtype.itemsize * prod(shape)
        if dtype.hasobject or expected_size != size:
            raise ValueError(f"its array {name!r} does not have {dtype} of shape {shape}")
        # Read to the end, so that zipfile checks the checksum of the member. Never read more, as a zip bomb may follow.
        content = member.read(size)
    return np.frombuffer(content, dtype).reshape(shape, order="F" if is_fortran else "C")
