"""Images in archives: zips, tars, packed or not, and shards of WebDataset."""

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
# Modules that unpack compressed tars, by the first bytes of the file. Unlike tarfile, they verify checksums.
_PACKINGS = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\xfd7zXZ": "lzma"}
# Types of headers whose content, such as a long name, tarfile reads into memory.
_LONG = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
# Bytes that are read at a time: enough for few calls, and little memory.
_CHUNK = 1 << 20
# Columns of a tar that an error lists at most.
_MOST_COLUMNS = 10
_NOT_PLAIN = (
    "it is a link, a sparse file or a device; pack what it leads to: `tar --dereference --hard-dereference`, or `zip`"
    " without `-y`"
)
_CUT = "it is no tar, or damaged, or has been cut off; copy it anew"


def open_zips(files: Sequence[str], label: str, _: Reading) -> ImageSource:
    """Open the images of zips, searched like folders."""
    sources = []
    for archive in map(_Zip, files):
        name = public(archive.path)
        names = Names(archive.names, f"{name}/")
        roots = roots_in(name, archive.names)
        sources.append(ImageSource(names, archive.fetch, name, archive.stamp, roots))
    return joined(sources, label)


def open_tars(files: Sequence[str], label: str, reading: Reading) -> Images:
    """Open the images of tars.

    A single local unpacked tar is indexed first, by reading only its headers. Several or packed tars are streams, since
    indexing them means reading all of them.
    """
    path = files[0]
    if len(files) > 1 or is_address(path) or _is_packed(path):
        return stream_of(files, label, reading, _stream)
    with refusing(path, "a tar"):
        places_by_member = _index_of_tar(path, reading.column)
    members = sorted(places_by_member, key=natural_key)
    # An array is compact, and there may be millions of images.
    places = np.array([places_by_member[member] for member in members], np.int64).reshape(-1, 2)
    return ImageSource(
        Names(members, f"{path}/"),
        partial(_fetch, path, places),
        path,
        partial(_stamp, path, places),
        roots_in(path, members),
    )


def _index_of_tar(path: str, column: str | None) -> dict[str, tuple[int, int]]:
    """Return the offset and the size of each image of an unpacked tar by its name; size -1 if it is not plain."""
    places = dict[str, tuple[int, int]]()
    for name, info, _ in _images(path, column):
        size = info.size if _is_plain(info) else -1
        places[name] = (info.offset_data, size)
    return places


def _add(name: str, files: set[str]) -> None:
    """Add a file of an archive to the earlier ones; ValueError if it is a duplicate, or leads out of the archive."""
    path = posixpath.normpath(name)
    if path.startswith("../"):
        raise ValueError(f"its file {name!r} leads out of it; pack it anew, from the folder that all files are in")
    # When the archive is unpacked, the last of several files of one name replaces the others.
    if path in files:
        raise ValueError(f"it has {path!r} twice; pack it anew, each file once")
    files.add(path)


class _Zip:
    """Images of a zip, reopened in every process, since file positions must not be shared."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._opened: dict[int, zipfile.ZipFile] = {}
        files: set[str] = set()
        with open_file(path) as file, refusing(public(path), "a zip"), zipfile.ZipFile(file) as archive:
            self.names = sorted(filter(is_image_member, archive.namelist()), key=natural_key)
            for name in self.names:
                _add(name, files)

    def fetch(self, index: int) -> BytesIO:
        member = plain_member(self._archive(), self.names[index])
        if stat.S_ISLNK(member.external_attr >> 16):
            raise ValueError(_NOT_PLAIN)
        check_size(member.file_size)
        check_unpacked(member.compress_size, member.file_size)
        with self._archive().open(member) as file:
            # Without a limit, `read` would go beyond the size that the header claims, if the claim is false.
            return BytesIO(file.read(member.file_size))

    def stamp(self, index: int) -> str:
        member = self._archive().getinfo(self.names[index])
        return f"{member.file_size} {member.CRC:08x}"

    def _archive(self) -> zipfile.ZipFile:
        process = os.getpid()
        if process not in self._opened:
            # A ZipFile closes the file itself if it is made from a path.
            file: Any = open_file(self.path) if is_address(self.path) else self.path
            self._opened[process] = zipfile.ZipFile(file)
        return self._opened[process]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": {}}


def _fetch(path: str, places: np.ndarray[Any, Any], index: int) -> BytesIO:
    """Read an image of an unpacked tar at its place: its offset, and its size, or -1 if it is not plain."""
    offset, size = places[index].tolist()
    if size < 0:
        raise ValueError(_NOT_PLAIN)
    check_size(size)
    # The file is reopened because processes must not share a file position.
    with Path(path).open("rb") as file:
        file.seek(offset)
        content = file.read(size)
    if len(content) < size:
        raise ValueError(_CUT)
    return BytesIO(content)


def _stamp(path: str, places: np.ndarray[Any, Any], index: int) -> str:
    offset, size = places[index].tolist()
    return f"{size} {offset} {Path(path).stat().st_mtime_ns}"


def _stream(path: str, reading: Reading) -> Iterator[tuple[str, Any]]:
    """Yield the name and the content of each image of a tar, or its name and the error if it can't be read."""
    # The compressed size of a single member is unknown, but it is at most the size of the whole file.
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
    """Raise ValueError unless a member of a tar of this size (None if unknown) is a plain file of plausible size."""
    if not _is_plain(info):
        raise ValueError(_NOT_PLAIN)
    check_size(info.size)
    if file_size is not None:
        check_unpacked(file_size, info.size)


def _images(path: str, column: str | None) -> Iterator[tuple[str, tarfile.TarInfo, tarfile.TarFile]]:
    """Yield the names, headers and archive of the images of a tar.

    WebDataset stores the files of a sample next to each other. ``7.jpg``, ``7.json`` and ``7.mask.png`` are one sample:
    they share the name up to the first dot. The rest of the name is the column. The column ``"*"`` selects all images.
    So does None, but then each sample may have only one image.

    Raises:
        ValueError: If a file is a duplicate, a sample has several images, or no file is in the column.

    """
    files = set[str]()
    columns_seen = set[str]()
    last_name = ""
    for info, archive in _members(path):
        if info.isdir():
            continue
        if column in (None, _ALL):
            is_image = is_image_member(info.name)
        else:
            _, column_of_file = _sample_and_column(info.name)
            columns_seen.add(column_of_file)
            is_hidden = PurePosixPath(info.name).name.startswith(".")
            is_image = not is_hidden and column_of_file.lower() == str(column).lower()
        if not is_image:
            continue
        if column is None:
            _check_not_of_one_sample(last_name, info.name)
        last_name = info.name
        _add(info.name, files)
        yield info.name, info, archive
    if columns_seen and not files:
        listed = ", ".join(sorted(columns_seen)[:_MOST_COLUMNS])
        raise ValueError(f"There is no column {column!r} in {public(path)!r}, which has {listed}")


def _sample_and_column(name: str) -> tuple[str, str]:
    """Split the name of a file in a tar at the first dot of its last part, as WebDataset does.

    Example:
        >>> _sample_and_column("train/7.mask.png")
        ('train/7', 'mask.png')

    """
    path = PurePosixPath(name)
    stem, _, column = path.name.partition(".")
    return str(path.parent / stem), column


def _check_not_of_one_sample(first: str, second: str) -> None:
    """Raise ValueError if two images that follow each other in a tar are parts of one sample."""
    first_sample, first_column = _sample_and_column(first)
    sample, column = _sample_and_column(second)
    # Names such as 7.1.png and 7.2.png are numbered files rather than columns.
    are_numbered = "." in column and "." in first_column
    if first and sample == first_sample and column != first_column and not are_numbered:
        raise ValueError(
            f"sample {sample!r} has several images, {first_column} and {column}; choose a column, such as"
            f" {first_column!r}, or '*' for all"
        )


def _is_plain(info: tarfile.TarInfo) -> bool:
    """True for a file whose bytes are all in a row."""
    return info.isreg() and not info.issparse()


def _members(path: str) -> Iterator[tuple[tarfile.TarInfo, tarfile.TarFile]]:
    """Yield the headers of a tar in order. The file of a header can only be read before the next header is yielded."""
    with _buffered(path) as buffered:
        packing = _packing(buffered)
        file: Any = import_module(packing).open(buffered) if packing else buffered
        mode: Any = "r|" if packing or is_address(path) else "r:"
        with tarfile.open(fileobj=file, mode=mode, tarinfo=_Header, bufsize=_CHUNK) as archive:
            while info := archive.next():
                # Otherwise tarfile keeps all headers in memory.
                archive.members = []  # type: ignore[attr-defined]
                yield info, archive
            # Reading to the end verifies the checksum of a packed file.
            rest: Any = archive.fileobj
            while block := rest.read(_CHUNK):
                if block.count(0) < len(block):
                    raise ValueError("it goes on after its end mark, as joined tars do; join what is in them")


class _Header(tarfile.TarInfo):
    """Header of a tar that raises an error if it is damaged, missing, or too long.

    tarfile itself treats a damaged or missing header as the end of the archive, and reads long names of any size.
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

    # All versions of tarfile call this method before they read further.
    def _proc_member(self, tarfile_: tarfile.TarFile) -> Any:
        if self.size < 0:
            raise tarfile.ReadError(_CUT)
        if self.type in _LONG:
            check_header(self.size, "the header of a file of it")
        return super()._proc_member(tarfile_)  # type: ignore[misc]


def _buffered(path: str) -> BufferedReader:
    file: Any = open_file(path, forwards=True)
    return file if isinstance(file, BufferedReader) else BufferedReader(file, _CHUNK)


def _packing(file: BufferedReader) -> str | None:
    """Return the module that unpacks a file, without reading from it; None if it is not packed."""
    start = file.peek(6)
    for mark, module in _PACKINGS.items():
        if start.startswith(mark):
            return module
    return None


def _is_packed(path: str) -> bool:
    with _buffered(path) as file:
        return _packing(file) is not None
