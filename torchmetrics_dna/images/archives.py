"""Images in archives: zip files, tar files (also compressed ones), and shards of WebDataset."""

from __future__ import annotations

import os
import posixpath
import stat
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from functools import partial
from importlib import import_module
from io import BufferedReader, BytesIO
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from typing_extensions import override

from torchmetrics_dna.files.container import plain_member
from torchmetrics_dna.files.damage import check_header, check_size, check_unpacked, refusing
from torchmetrics_dna.images.paths import Names, is_address, is_image_member, natural_key, open_file, public, roots_in
from torchmetrics_dna.images.sets import Images, ImageSource, joined, stream_of

if TYPE_CHECKING:
    from torchmetrics_dna.images.reading import Reading

# Value of the argument `column` that selects all images of a sample.
_ALL = "*"
# Modules that decompress tar files, by the first bytes of the file. Unlike tarfile, these modules verify checksums.
_PACKINGS = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\xfd7zXZ": "lzma"}
# Types of tar headers with additional content, such as a long name. tarfile reads the whole content into memory.
_LONG = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
# Number of bytes that are read at a time.
_CHUNK = 1 << 20
# Maximum number of columns that an error lists.
_MOST_COLUMNS = 10
_NOT_PLAIN = (
    "it is a link, a sparse file or a device; pack what it leads to: `tar --dereference --hard-dereference`, or `zip`"
    " without `-y`"
)
_CUT = "it is no tar, or damaged, or has been cut off; copy it anew"


def open_zips(files: Sequence[str], label: str, _: Reading) -> ImageSource:
    """Open the images of zip files as one set. Hidden files and folders are left out, as in a folder."""
    sources = []
    for archive in map(_Zip, files):
        name = public(archive.path)
        names = Names(archive.names, f"{name}/")
        roots = roots_in(name, archive.names)
        sources.append(ImageSource(names, archive.fetch, name, archive.stamp, roots))
    return joined(sources, label)


def open_tars(files: Sequence[str], label: str, reading: Reading) -> Images:
    """Open the images of tar files as one set.

    A single local file without compression is indexed: only its headers are read. Other tar files are streams, because
    an index would require reading their whole content first.
    """
    path = files[0]
    if len(files) > 1 or is_address(path) or _is_packed(path):
        return stream_of(files, label, reading, _stream)
    with refusing(path, "a tar"):
        places_by_member = _index_of_tar(path, reading.column)
    members = sorted(places_by_member, key=natural_key)
    # Use an array to save memory, because there may be millions of images.
    places = np.array([places_by_member[member] for member in members], np.int64).reshape(-1, 2)
    return ImageSource(
        Names(members, f"{path}/"),
        partial(_fetch, path, places),
        path,
        partial(_stamp, path, places),
        roots_in(path, members),
    )


def _index_of_tar(path: str, column: str | None) -> dict[str, tuple[int, int]]:
    """Return the offset and the size of each image in a tar file without compression, by its name.

    The size is -1 for a member that is not a plain file.
    """
    places = dict[str, tuple[int, int]]()
    for name, info, _ in _images(path, column):
        size = info.size if _is_plain(info) else -1
        places[name] = (info.offset_data, size)
    return places


def _add_name(name: str, earlier: set[str]) -> None:
    """Check the name of a file in an archive, and add it to the set of earlier names.

    Raises:
        ValueError: If the name is a duplicate, or lies outside of the archive.

    """
    path = posixpath.normpath(name)
    if path.startswith("../"):
        raise ValueError(f"its file {name!r} leads out of it; pack it anew, from the folder that all files are in")
    # When the archive is unpacked, the last of several files of one name replaces the others.
    if path in earlier:
        raise ValueError(f"it has {path!r} twice; pack it anew, each file once")
    earlier.add(path)


class _Zip:
    """Images of a zip file. Each process opens the file itself, because processes must not share a file position."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._opened: dict[int, zipfile.ZipFile] = {}
        checked_names: set[str] = set()
        with open_file(path) as file, refusing(public(path), "a zip"), zipfile.ZipFile(file) as archive:
            self.names = sorted(filter(is_image_member, archive.namelist()), key=natural_key)
            for name in self.names:
                _add_name(name, checked_names)

    def fetch(self, index: int) -> BytesIO:
        """Read an image file. Raise ValueError if it is not a plain file, or too large."""
        member = plain_member(self._archive(), self.names[index])
        if stat.S_ISLNK(member.external_attr >> 16):
            raise ValueError(_NOT_PLAIN)
        check_size(member.file_size)
        check_unpacked(member.compress_size, member.file_size)
        with self._archive().open(member) as file:
            # Pass the size as a limit. Without a limit, `read` returns more if the size in the header is wrong.
            return BytesIO(file.read(member.file_size))

    def stamp(self, index: int) -> str:
        """Return a text that changes if an image changes: its size and checksum."""
        member = self._archive().getinfo(self.names[index])
        return f"{member.file_size} {member.CRC:08x}"

    def _archive(self) -> zipfile.ZipFile:
        """Return the open archive of this process."""
        process = os.getpid()
        if process not in self._opened:
            # Pass a local path instead of a file, so that the ZipFile closes the file.
            file: Any = open_file(self.path) if is_address(self.path) else self.path
            self._opened[process] = zipfile.ZipFile(file)
        return self._opened[process]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": {}}


def _fetch(path: str, places: np.ndarray[Any, Any], index: int) -> BytesIO:
    """Read an image of a tar file without compression.

    Args:
        path: Path of the tar file.
        places: Offset and size of each image. The size is -1 for a member that is not a plain file.
        index: Index of the image.

    """
    offset, size = places[index].tolist()
    if size < 0:
        raise ValueError(_NOT_PLAIN)
    check_size(size)
    # Open the file anew, because processes must not share a file position.
    with Path(path).open("rb") as file:
        file.seek(offset)
        content = file.read(size)
    if len(content) < size:
        raise ValueError(_CUT)
    return BytesIO(content)


def _stamp(path: str, places: np.ndarray[Any, Any], index: int) -> str:
    """Return a text that changes if an image changes. Arguments are those of :func:`_fetch`."""
    offset, size = places[index].tolist()
    return f"{size} {offset} {Path(path).stat().st_mtime_ns}"


def _stream(path: str, reading: Reading) -> Iterator[tuple[str, Any]]:
    """Yield the name and the content of each image of a tar file. For an unreadable image, the content is an error."""
    # Compare the size of a member with that of the whole file, because its own compressed size is unknown.
    file_size = None if is_address(path) else Path(path).stat().st_size
    for name, info, archive in _images(path, reading.column):
        try:
            _check_member(info, file_size)
        except ValueError as err:
            yield name, err
            continue
        file: Any = archive.extractfile(info)
        yield name, BytesIO(file.read())


def _check_member(info: tarfile.TarInfo, file_size: int | None) -> None:
    """Raise ValueError unless a member of a tar file is a plain file that is not too large.

    Args:
        info: Header of the member.
        file_size: Size of the tar file in bytes. None if it is unknown.

    """
    if not _is_plain(info):
        raise ValueError(_NOT_PLAIN)
    check_size(info.size)
    if file_size is not None:
        check_unpacked(file_size, info.size)


def _images(path: str, column: str | None) -> Iterator[tuple[str, tarfile.TarInfo, tarfile.TarFile]]:
    """Yield the name and the header of each image of a tar file, and the archive from which the image can be read.

    WebDataset stores the files of a sample next to each other. ``7.jpg``, ``7.json`` and ``7.mask.png`` are one sample:
    they share the name up to the first dot. The text after this dot is the column of a file.

    Args:
        path: Path or address of the tar file.
        column: Column of the images. ``"*"`` and None select images of all columns. With None, each sample may have
            only one image.

    Raises:
        ValueError: If a file is a duplicate, a sample has several images, or no file is in the column.

    """
    names = set[str]()
    previous_name = None
    # Columns of all files, for the error about a missing column. They are only collected if a column is required.
    existing_columns = set[str]()
    is_column_required = column not in (None, _ALL)
    for info, archive in _members(path):
        name = info.name
        if info.isdir():
            continue
        if is_column_required:
            _, column_of_file = _sample_and_column(name)
            existing_columns.add(column_of_file)
        if not _is_selected(name, column):
            continue
        if column is None and previous_name is not None:
            _check_not_of_one_sample(previous_name, name)
        _add_name(name, names)
        previous_name = name
        yield name, info, archive
    if existing_columns and not names:
        listed = ", ".join(sorted(existing_columns)[:_MOST_COLUMNS])
        raise ValueError(f"There is no column {column!r} in {public(path)!r}, which has {listed}")


def _is_selected(name: str, column: str | None) -> bool:
    """Return True if a file of a tar file is an image in the column, see :func:`_images`."""
    if column is None or column == _ALL:
        return is_image_member(name)
    is_hidden = PurePosixPath(name).name.startswith(".")
    _, column_of_file = _sample_and_column(name)
    return not is_hidden and column_of_file.lower() == column.lower()


def _sample_and_column(name: str) -> tuple[str, str]:
    """Split the path of a file in a tar file at the first dot of the file name, as WebDataset does.

    Example:
        >>> _sample_and_column("train/7.mask.png")
        ('train/7', 'mask.png')

    """
    path = PurePosixPath(name)
    stem, _, column = path.name.partition(".")
    return str(path.parent / stem), column


def _check_not_of_one_sample(first: str, second: str) -> None:
    """Raise ValueError if two successive images of a tar file are different columns of the same sample."""
    first_sample, first_column = _sample_and_column(first)
    second_sample, second_column = _sample_and_column(second)
    if first_sample != second_sample or first_column == second_column:
        return
    # Names such as 7.1.png and 7.2.png are numbered files rather than columns.
    if "." in first_column and "." in second_column:
        return
    raise ValueError(
        f"sample {first_sample!r} has several images, {first_column} and {second_column}; choose a column, such as"
        f" {first_column!r}, or '*' for all"
    )


def _is_plain(info: tarfile.TarInfo) -> bool:
    """Return True for a regular file whose content is stored in one piece."""
    return info.isreg() and not info.issparse()


def _members(path: str) -> Iterator[tuple[tarfile.TarInfo, tarfile.TarFile]]:
    """Yield each header of a tar file and the archive, in order.

    The file of a header can only be read before the next header is yielded.
    """
    with _buffered(path) as buffered:
        packing = _packing(buffered)
        file: Any = import_module(packing).open(buffered) if packing else buffered
        mode: Any = "r|" if packing or is_address(path) else "r:"
        with tarfile.open(fileobj=file, mode=mode, tarinfo=_Header, bufsize=_CHUNK) as archive:
            while info := archive.next():
                # Remove the headers that tarfile collects, because they would fill the memory.
                archive.members = []  # type: ignore[attr-defined]
                yield info, archive
            _check_end(archive.fileobj)


def _check_end(file: Any) -> None:
    """Raise ValueError if anything but zeros follows the last member of a tar file.

    The file is read to its end, which also verifies the checksum of a compressed file.
    """
    while block := file.read(_CHUNK):
        num_zeros = block.count(0)
        if num_zeros < len(block):
            raise ValueError("it goes on after its end mark, as joined tars do; join what is in them")


class _Header(tarfile.TarInfo):
    """Header of a member of a tar file, which raises an error if it is damaged, missing or too long.

    The headers of tarfile do not: a damaged or missing header ends the archive, and names of any length are read.
    """

    @classmethod
    @override
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(tarfile_)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as err:
            raise tarfile.ReadError(_CUT) from err

    # Override this private method, because all versions of tarfile call it before they read the content of a header.
    def _proc_member(self, tarfile_: tarfile.TarFile) -> Any:
        if self.size < 0:
            raise tarfile.ReadError(_CUT)
        if self.type in _LONG:
            check_header(self.size, "the header of a file of it")
        return super()._proc_member(tarfile_)  # type: ignore[misc]


def _buffered(path: str) -> BufferedReader:
    """Open a file that is read forwards, with a buffer."""
    file: Any = open_file(path, forwards=True)
    return file if isinstance(file, BufferedReader) else BufferedReader(file, _CHUNK)


def _packing(file: BufferedReader) -> str | None:
    """Return the name of the module that decompresses a file. Return None for a file without compression.

    The position in the file does not change.
    """
    start = file.peek(6)
    for mark, module in _PACKINGS.items():
        if start.startswith(mark):
            return module
    return None


def _is_packed(path: str) -> bool:
    """Return True if a file is compressed."""
    with _buffered(path) as file:
        return _packing(file) is not None
