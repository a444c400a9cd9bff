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

_ALL = "*"
_PACKINGS = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\xfd7zXZ": "lzma"}  # which check their sums, unlike tarfile
_LONG = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
_CHUNK = 1 << 20  # bytes at a time
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
        entries = [
            (name, info.offset_data, info.size if _is_plain(info) else -1)
            for name, info, _ in _images(path, reading.column)
        ]
    entries.sort(key=lambda image: natural_key(image[0]))
    places = np.array([place for _, *place in entries], np.int64).reshape(-1, 2)  # compact, for millions
    members = [name for name, *_ in entries]
    fetch, stamp = partial(_fetch, path, places), partial(_stamp, path, places)
    names, roots = Names(members, f"{path}/"), roots_in(path, members)
    return ImageSource(names, fetch, path, stamp, roots)


def _add(name: str, files: set[str]) -> None:
    """Add a file of an archive to those before; ValueError unless it is in the archive, and once."""
    path = posixpath.normpath(name)
    if path.startswith("../"):
        raise ValueError(f"its file {name!r} leads out of it; pack it anew, from the folder that all files are in")
    if path in files:  # unpacked, the last one would take the place of the others
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
            return BytesIO(file.read(member.file_size))  # bounded: `read()` alone would exceed a false size

    def stamp(self, index: int) -> str:
        member = self._archive().getinfo(self.names[index])
        return f"{member.file_size} {member.CRC:08x}"

    def _archive(self) -> zipfile.ZipFile:
        archive = self._opened.get(os.getpid())
        if archive is None:
            # of a path, the archive closes the file
            file: Any = open_file(self.path) if is_address(self.path) else self.path
            archive = self._opened[os.getpid()] = zipfile.ZipFile(file)
        return archive

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": {}}


def _fetch(path: str, places: np.ndarray[Any, Any], index: int) -> BytesIO:
    """Read an image of an unpacked tar at its place: its offset, and its size, or -1 if it is not plain."""
    offset, size = places[index].tolist()
    if size < 0:
        raise ValueError(_NOT_PLAIN)
    check_size(size)
    with Path(path).open("rb") as file:  # reopened: processes must not share a file position
        file.seek(offset)
        content = file.read(size)
    if len(content) < size:
        raise ValueError(_CUT)
    return BytesIO(content)


def _stamp(path: str, places: np.ndarray[Any, Any], index: int) -> str:
    offset, size = places[index].tolist()
    return f"{size} {offset} {Path(path).stat().st_mtime_ns}"


def _stream(path: str, reading: Reading) -> Iterator[tuple[str, Any]]:
    """Yield the images of a tar, or why one can't be read."""
    # A packed tar does not tell how small a member is packed, but it is no larger than the file.
    most_packed = None if is_address(path) else Path(path).stat().st_size
    for name, info, archive in _images(path, reading.column):
        try:
            if not _is_plain(info):
                raise ValueError(_NOT_PLAIN)  # noqa: TRY301
            check_size(info.size)
            if most_packed is not None:
                check_unpacked(most_packed, info.size)
        except ValueError as err:
            yield name, err
        else:
            file: Any = archive.extractfile(info)
            yield name, BytesIO(file.read())


def _images(path: str, column: str | None) -> Iterator[tuple[str, tarfile.TarInfo, tarfile.TarFile]]:
    """Yield the headers of the images of a tar; ValueError if it has duplicate files, or nothing in the column.

    WebDataset stores the files of a sample next to each other: ``7.jpg``, ``7.json`` and ``7.mask.png`` share the name
    up to the first dot, and the rest is the column. ``"*"`` takes all images, and so does None, if each sample has one.
    """
    files, columns = set[str](), set[str]()
    last_sample = last_part = ""
    for info, archive in _members(path):
        if info.isdir():
            continue
        place = PurePosixPath(info.name)
        stem, _, part = place.name.partition(".")
        sample = str(place.parent / stem)
        if column in (None, _ALL):
            is_image = is_image_member(info.name)
        else:
            columns.add(part)
            is_image = bool(stem) and part.lower() == str(column).lower()
        if not is_image:
            continue
        # names such as 7.1.png and 7.2.png are those of plain files
        are_parts = sample == last_sample and part != last_part and not ("." in part and "." in last_part)
        if column is None and are_parts:
            raise ValueError(
                f"sample {sample!r} has several images, {last_part} and {part}; choose one by `column`, such as"
                f" {last_part!r}, or take all by '*'"
            )
        last_sample, last_part = sample, part
        _add(info.name, files)
        yield info.name, info, archive
    if columns and not files:
        listed = ", ".join(sorted(columns)[:10])
        raise ValueError(f"There is no column {column!r} in {public(path)!r}, which has {listed}")


def _is_plain(info: tarfile.TarInfo) -> bool:
    """True for a file whose bytes are all in a row."""
    return info.isreg() and not info.issparse()


def _members(path: str) -> Iterator[tuple[tarfile.TarInfo, tarfile.TarFile]]:
    """Yield the headers of a tar in order; a file is read before the next header, or not at all."""
    with _buffered(path) as buffered:
        packing = _packing(buffered)
        file: Any = import_module(packing).open(buffered) if packing else buffered
        mode: Any = "r|" if packing or is_address(path) else "r:"
        with tarfile.open(fileobj=file, mode=mode, tarinfo=_Header, bufsize=_CHUNK) as archive:
            while info := archive.next():
                archive.members = []  # type: ignore[attr-defined]  # tarfile would keep all headers
                yield info, archive
            rest: Any = archive.fileobj
            while block := rest.read(_CHUNK):  # to the end, where checksums of packed files are
                if block.count(0) < len(block):
                    raise ValueError("it goes on after its end mark, as joined tars do; join what is in them")


class _Header(tarfile.TarInfo):
    """Header of a tar: tarfile takes a damaged or missing one for the end, and reads long names of any size."""

    @classmethod
    @override
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(tarfile_)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as err:
            raise tarfile.ReadError(_CUT) from err

    def _proc_member(self, tarfile_: tarfile.TarFile) -> Any:  # all versions call it before they read on
        if self.size < 0:
            raise tarfile.ReadError(_CUT)
        if self.type in _LONG:
            check_header(self.size, "the header of a file of it")
        return super()._proc_member(tarfile_)  # type: ignore[misc]


def _buffered(path: str) -> BufferedReader:
    file: Any = open_file(path, forwards=True)
    return file if isinstance(file, BufferedReader) else BufferedReader(file, _CHUNK)


def _packing(file: BufferedReader) -> str | None:
    """Return the module that unpacks a file, which is not read; None if it is not packed."""
    start = file.peek(6)
    return next((module for mark, module in _PACKINGS.items() if start.startswith(mark)), None)


def _is_packed(path: str) -> bool:
    with _buffered(path) as file:
        return _packing(file) is not None
