"""Images in archives: zips, tars, packed or not, and shards of WebDataset."""

from __future__ import annotations

import os
import posixpath
import stat
import tarfile
import zipfile
from array import array
from importlib import import_module
from io import BufferedReader, BytesIO
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any, BinaryIO, cast

from typing_extensions import Self, override

from torchmetrics_dna.files.damage import reason_of, refusing
from torchmetrics_dna.files.limits import check_header, check_size
from torchmetrics_dna.images.addresses import asking, is_address, open_file, public
from torchmetrics_dna.images.base import Images, ImageSource
from torchmetrics_dna.images.kind import Kind, joined, stream_of
from torchmetrics_dna.images.names import Names, is_image_member, natural_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torchmetrics_dna.images.reading import Reading

_ALL = "*"
_PACKINGS = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\xfd7zXZ": "lzma"}
_LONG = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
_CHUNK = 1 << 20
_LINK = "it is a link; pack what it leads to: `tar --dereference --hard-dereference`, or `zip` without `-y`"
_CUT = "it is no tar, or damaged, or has been cut off; copy it anew"


def open_zips(files: Sequence[str], label: str, reading: Reading) -> ImageSource:
    """Open the images of zips, searched like folders."""
    sources = []
    for archive in map(_Zip, files):
        name = public(archive.path)
        names = Names(archive.names, f"{name}/")
        sources.append(ImageSource(names, archive.open, name, reading.exif_orientation, archive.stamp, [name]))
    return joined(sources, label, reading)


def open_tars(files: Sequence[str], label: str, reading: Reading) -> Images:
    """Open the images of tars.

    A single local unpacked tar is indexed first, by reading only its headers. Several or packed tars are streams, since
    indexing them means reading all of them.
    """
    path = files[0]
    if len(files) > 1 or is_address(path) or _is_packed(path):
        return stream_of(files, label, reading, _read)
    with refusing(path, "a tar"):
        index = _Index(path, reading.column)
    names = Names(index.names, f"{path}/")
    return ImageSource(names, index.fetch, path, reading.exif_orientation, index.stamp, [path])


ZIP = Kind(".zip", (".zip",), open_zips)
TAR = Kind(".tar", (".tar", ".tgz", ".gz", ".bz2", ".xz"), open_tars, ("column",))


class _Once:
    """Check that no file of an archive comes twice: unpacked, the last one would take the place of the others."""

    def __init__(self) -> None:
        self._paths = set[str]()

    def add(self, name: str) -> None:
        path = posixpath.normpath(name)
        if path in self._paths:
            raise ValueError(f"it has {path!r} twice; pack it anew, each file once")
        self._paths.add(path)


class _Zip:
    """Images of a zip, reopened in every process, since file positions must not be shared."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._open: dict[int, zipfile.ZipFile] = {}
        once = _Once()
        try:
            with asking(path), open_file(path) as file, zipfile.ZipFile(file) as archive:
                self.names = sorted(filter(is_image_member, archive.namelist()), key=natural_key)
            for name in self.names:
                once.add(name)
        except (OSError, ModuleNotFoundError):
            raise
        except Exception as err:  # zipfile raises ten types
            raise ValueError(f"{public(path)!r} is not a readable zip archive: {reason_of(err)}") from err

    def open(self, index: int) -> BytesIO:
        archive = self._archive()
        member = archive.getinfo(self.names[index])
        if stat.S_ISLNK(member.external_attr >> 16):
            raise ValueError(_LINK)
        check_size(member.file_size)
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            # zipfile decompresses other methods without bounds
            raise ValueError(f"it is packed by method {member.compress_type} of zip; pack it by deflate")
        with archive.open(member) as file:
            return BytesIO(file.read(member.file_size))  # bounded: `read()` alone would exceed a false size

    def stamp(self, index: int) -> str:
        member = self._archive().getinfo(self.names[index])
        return f"{member.file_size} {member.CRC:08x}"

    def _archive(self) -> zipfile.ZipFile:
        archive = self._open.get(os.getpid())
        if archive is None:
            # of a path, the archive closes the file
            file: Any = open_file(self.path) if is_address(self.path) else self.path
            archive = self._open[os.getpid()] = zipfile.ZipFile(file)
        return archive

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}


class _Index:
    """Index of the images of an unpacked tar."""

    def __init__(self, path: str, column: str | None) -> None:
        self._path = path
        names, offsets, sizes = list[str](), array("q"), array("q")  # compact, for millions
        self._faults: dict[int, str] = {}
        for name, info, _ in _images(path, column):
            if isinstance(info, str):
                self._faults[len(names)] = info
            names.append(name)
            offsets.append(0 if isinstance(info, str) else info.offset_data)
            sizes.append(0 if isinstance(info, str) else info.size)
        self._order = array("q", sorted(range(len(names)), key=lambda number: natural_key(names[number])))
        self.names = [names[number] for number in self._order]
        self._offsets, self._sizes = offsets, sizes

    def fetch(self, index: int) -> BytesIO:
        number = self._order[index]
        if number in self._faults:
            raise ValueError(self._faults[number])
        check_size(size := self._sizes[number])
        with Path(self._path).open("rb") as file:  # reopened: processes must not share a file position
            file.seek(self._offsets[number])
            content = file.read(size)
        if len(content) < size:
            raise ValueError(_CUT)
        return BytesIO(content)

    def stamp(self, index: int) -> str:
        number = self._order[index]
        return f"{self._sizes[number]} {self._offsets[number]} {Path(self._path).stat().st_mtime_ns}"


def _read(path: str, reading: Reading) -> Iterator[tuple[str, Any]]:
    """Stream the images of a tar."""
    for name, info, archive in _images(path, reading.column):
        image: Any
        try:
            image = _content(archive, info)
        except ValueError as err:
            image = err
        yield name, image


def _content(archive: tarfile.TarFile, info: tarfile.TarInfo | str) -> BytesIO:
    if isinstance(info, str):
        raise ValueError(info)
    check_size(info.size)
    return BytesIO(cast("IO[bytes]", archive.extractfile(info)).read())


def _images(path: str, column: str | None) -> Iterator[tuple[str, tarfile.TarInfo | str, tarfile.TarFile]]:
    """Yield each image of a tar, or why it can't be read.

    ValueError if the tar is damaged, has duplicate files, or nothing in the column.
    """
    choice, once, any_image = _Choice(column), _Once(), False
    for info, archive in _members(path):
        if info.isdir() or not choice.is_image(info.name):
            continue
        any_image = True
        once.add(info.name)
        yield info.name, _plain(info), archive
    if not any_image and choice.seen:
        columns = ", ".join(sorted(choice.seen)[:10])
        raise ValueError(f"There is no column {column!r} in {public(path)!r}, which has {columns}")


def _plain(info: tarfile.TarInfo) -> tarfile.TarInfo | str:
    """Return a file of a tar if all of its bytes are in a row; else why it is not read."""
    if info.issym() or info.islnk():
        return _LINK
    if info.issparse():
        return "it is a sparse file of a tar; pack it without `--sparse`"
    return info if info.isreg() else "it is not a regular file"


def _members(path: str) -> Iterator[tuple[tarfile.TarInfo, tarfile.TarFile]]:
    """Yield the headers of a tar in order; a file is read before the next header, or not at all."""
    with open_file(path, forwards=True) as opened:
        buffered = opened if isinstance(opened, BufferedReader) else BufferedReader(cast("Any", opened), _CHUNK)
        packing = _packing(buffered)
        file = import_module(packing).open(buffered) if packing else buffered
        mode: Any = "r|" if packing or is_address(path) else "r:"
        with tarfile.open(fileobj=file, mode=mode, tarinfo=_Header, bufsize=_CHUNK) as archive:
            while info := archive.next():
                archive.members = []  # type: ignore[attr-defined]  # tarfile would keep all headers
                yield info, archive
            # to the end, where checksums of packed files are
            while block := cast("BinaryIO", archive.fileobj).read(_CHUNK):
                if block.count(0) < len(block):
                    raise ValueError("it goes on after its end mark, as joined tars do; join what is in them")


class _Header(tarfile.TarInfo):
    """Header of a tar: tarfile takes a damaged or missing one for the end, and reads long names of any size."""

    @classmethod
    @override
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            info = super().frombuf(buf, encoding, errors)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as err:
            raise tarfile.ReadError(_CUT) from err
        if info.size < 0:
            raise tarfile.ReadError(_CUT)
        if info.type in _LONG:
            check_header(info.size, "the header of a file of it")
        return info


class _Choice:
    """Filter of the files of a tar that are images.

    WebDataset stores the files of a sample next to each other: ``7.jpg``, ``7.json`` and ``7.mask.png`` share the name
    up to the first dot, and the rest is the column.

    Args:
        column: Column to take of each sample; ``"*"`` for all images; None for all, if each sample has one.

    """

    def __init__(self, column: str | None) -> None:
        self._column = column
        self._last: tuple[str, str] | None = None
        self.seen: set[str] = set()

    def is_image(self, name: str) -> bool:
        """True if a file is an image; call it for all files, in order."""
        path = PurePosixPath(name)
        sample, _, column = path.name.partition(".")
        if self._column not in (None, _ALL):
            self.seen.add(column)
            return column.lower() == str(self._column).lower() and not path.name.startswith(".")
        if not is_image_member(name):
            return False
        key = str(path.parent / sample)
        previous, self._last = self._last, (key, column)
        # names such as 7.1.png and 7.2.png are those of plain files
        are_parts = previous and previous[0] == key and previous[1] != column
        if self._column is None and previous and are_parts and not ("." in previous[1] and "." in column):
            raise ValueError(
                f"sample {key!r} has several images, {previous[1]} and {column}; choose one by `column`, such as"
                f" {previous[1]!r}, or take all by '*'"
            )
        return True


def _packing(file: BinaryIO) -> str | None:
    """Return the module that unpacks a file, which is not read; None if it is not packed."""
    start = cast("BufferedReader", file).peek(6)
    return next((module for mark, module in _PACKINGS.items() if start.startswith(mark)), None)


def _is_packed(path: str) -> bool:
    with open_file(path) as file:
        return _packing(file) is not None
