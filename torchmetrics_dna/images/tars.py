"""Images in tar archives: plain, compressed, and shards of WebDataset."""

from __future__ import annotations

import posixpath
import tarfile
from array import array
from importlib import import_module
from io import BufferedReader, BytesIO
from math import inf
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast

from typing_extensions import override

from torchmetrics_dna.files.damage import refusing
from torchmetrics_dna.files.limits import MOST_HEADER, check_header, check_size
from torchmetrics_dna.images.addresses import is_address, public
from torchmetrics_dna.images.archives import NOT_REGULAR, Listing, leads_nowhere
from torchmetrics_dna.images.base import Images, ImageSource
from torchmetrics_dna.images.kind import Kind, stream_of
from torchmetrics_dna.images.names import Names, is_image_member, natural_key
from torchmetrics_dna.images.places import open_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torchmetrics_dna.images.reading import Reading

_ALL = "*"
_PACKINGS = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\xfd7zXZ": "lzma", b"\x28\xb5\x2f\xfd": "compression.zstd"}
_CHUNK = 1 << 20


def open_tars(files: Sequence[str], label: str, reading: Reading) -> Images:
    """Open the images of tars.

    A single local uncompressed tar is indexed first, by reading only its headers. Several or compressed tars are
    streams, since indexing them means reading all of them.
    """
    path = files[0]
    if len(files) > 1 or is_address(path) or _is_packed(path):
        return stream_of(files, label, reading, _read)
    with refusing(path, "a tar"):
        index = _Index(path, reading.column)
    names = Names(index.names, f"{path}/")
    return ImageSource(names, index.fetch, path, reading.exif_orientation, index.stamp, [path])


TAR = Kind(".tar", (".tar", ".tgz", ".gz", ".bz2", ".xz"), open_tars, ("column",))


class _Member(NamedTuple):
    """File of a tar: offset and size of its bytes, and the stored ranges if it is sparse."""

    offset: int
    size: int
    stretches: list[tuple[int, int]] | None = None


class _Index:
    """Index of the images of an uncompressed tar."""

    def __init__(self, path: str, column: str | None) -> None:
        self._path = path
        self._offsets, self._sizes = array("q"), array("q")  # compact, for millions
        self._sparse: dict[int, list[tuple[int, int]]] = {}
        self._faults: dict[int, str] = {}
        names: list[str] = []
        for name, member, _ in _images(path, column):
            if isinstance(member, str):
                self._faults[len(names)] = member
                member = _Member(0, 0)
            if member.stretches is not None:
                self._sparse[len(names)] = member.stretches
            names.append(name)
            self._offsets.append(member.offset)
            self._sizes.append(member.size)
        self._order = array("q", sorted(range(len(names)), key=lambda number: natural_key(names[number])))
        self.names = [names[number] for number in self._order]

    def fetch(self, index: int) -> BytesIO:
        number = self._order[index]
        if number in self._faults:
            raise ValueError(self._faults[number])
        member = _Member(self._offsets[number], self._sizes[number], self._sparse.get(number))
        with Path(self._path).open("rb") as file:  # reopened: processes must not share a file position
            file.seek(member.offset)
            return _content(file, member)

    def stamp(self, index: int) -> str:
        number = self._order[index]
        return f"{self._sizes[number]} {self._offsets[number]} {Path(self._path).stat().st_mtime_ns}"


def _read(path: str, reading: Reading) -> Iterator[tuple[str, Any]]:
    """Stream the images of a tar."""
    for name, member, file in _images(path, reading.column):
        image: Any
        try:
            image = ValueError(member) if isinstance(member, str) else _content(file, member)
        except ValueError as err:
            image = err
        yield name, image


def _images(path: str, column: str | None) -> Iterator[tuple[str, _Member | str, _Forwards]]:
    """Yield each image, or its error, and the file at its first byte; linked images follow in a second pass.

    ValueError if the tar is damaged, has duplicate files, or nothing in the column.
    """
    choice, listing, any_image = _Choice(column), Listing(), False
    for info, file in _members(path):
        if info.isdir():
            continue
        is_image = choice.is_image(info.name)
        any_image |= is_image
        if info.issym() or info.islnk():
            listing.link(info.name, info.linkname, image=is_image, hard=info.islnk())
        elif is_image:
            listing.add(info.name)
            yield info.name, _member(info) if info.isreg() else NOT_REGULAR, file
    if not any_image and choice.seen:
        raise ValueError(choice.none(path))
    if not (linked := listing.linked()):
        return
    for info, file in _members(path):
        for name in linked.pop(posixpath.normpath(info.name), ()) if info.isreg() else ():
            yield name, _member(info), file
    for target, names in linked.items():
        for name in names:
            yield name, leads_nowhere(target), file


def _member(info: tarfile.TarInfo) -> _Member:
    return _Member(info.offset_data, info.size, cast("list[tuple[int, int]] | None", info.sparse))


def _members(path: str) -> Iterator[tuple[tarfile.TarInfo, _Forwards]]:
    """Yield the headers of a tar in order, and the file at their content, which may be read or not."""
    with open_file(path, forwards=True) as opened:
        file = _Forwards(opened, seeks=not is_address(path))
        with tarfile.open(fileobj=cast("BinaryIO", file), mode="r:", tarinfo=_Header) as archive:
            # of a tar without files, Python 3.10 raises an error at the second call
            for info in iter(archive.next, None) if archive.firstmember else ():  # type: ignore[attr-defined]
                archive.members = []  # type: ignore[attr-defined]  # tarfile would keep all headers
                if info.size < 0 or archive.offset <= info.offset:  # some versions of tarfile loop forever
                    raise ValueError("it is damaged: a file ends before it begins; copy it anew")
                if "\0" in info.name:
                    raise ValueError("it is damaged: a name has a zero in it; copy it anew")
                file.left = inf
                yield info, file
                file.left = MOST_HEADER
        file.check_end()


def _content(file: _Forwards | BinaryIO, member: _Member) -> BytesIO:
    """Read a file of a tar from the current position."""
    check_size(member.size)
    if member.stretches is None:
        return BytesIO(_all_of(file, member.size))
    content = bytearray(member.size)
    for start, length in member.stretches:
        if not 0 <= start <= start + length <= member.size:
            raise ValueError("it is sparse, and its map is damaged; copy it anew")
        content[start : start + length] = _all_of(file, length)
    return BytesIO(content)


def _all_of(file: _Forwards | BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise ValueError("it has been cut off; copy it anew")
    return data


class _Forwards:
    """Sequential reader of a tar, compressed or not; ``left`` bytes may be read before the next file begins."""

    def __init__(self, file: BinaryIO, seeks: bool) -> None:
        buffered = file if isinstance(file, BufferedReader) else BufferedReader(cast("Any", file), _CHUNK)
        packing = _packing(buffered.peek(6))
        self._seeks = seeks and packing is None
        self._file = buffered if packing is None else _unpacking(packing, buffered)
        self._at = 0
        self.left: float = MOST_HEADER

    def tell(self) -> int:
        return self._at

    def read(self, size: int) -> bytes:
        self.left -= size
        check_header(MOST_HEADER - self.left, "the header of a file of it")
        data = self._file.read(size)
        self._at += len(data)
        return data

    def seek(self, position: int) -> None:
        if self._seeks:
            self._file.seek(position)
            self._at = position
        while self._at < position and (skipped := self._file.read(min(_CHUNK, position - self._at))):
            self._at += len(skipped)

    def check_end(self) -> None:
        """Raise ValueError if anything but zeros follows; reading all also verifies checksums of compression."""
        while block := self._file.read(_CHUNK):
            if block.count(0) < len(block):
                raise ValueError("it goes on after its end mark, as damaged or joined tars do; copy or join it anew")


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
        if self._column is None and previous and previous[0] == key and _are_parts(previous[1], column):
            raise ValueError(
                f"sample {key!r} has several images, {previous[1]} and {column}; choose one by `column`, such as"
                f" {previous[1]!r}, or take all by '*'"
            )
        return True

    def none(self, path: str) -> str:
        """Return the error text if no file was chosen."""
        return f"There is no column {self._column!r} in {public(path)!r}, which has {', '.join(sorted(self.seen)[:10])}"


def _are_parts(a: str, b: str) -> bool:
    """True if two columns belong to one sample; names such as 7.1.png and 7.2.png are those of plain files."""
    return a != b and not ("." in a and "." in b)


class _Header(tarfile.TarInfo):
    """Tar member header. A missing end-of-archive marker raises instead of ending the iteration."""

    @classmethod
    @override
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> _Header:
        try:
            return super().fromtarfile(tarfile)
        except _EOFHeaderError:
            raise
        except _HeaderError as err:
            raise _ReadError("it is no tar, or damaged, or has been cut off; copy it anew") from err

    def _proc_pax(self, archive: Any) -> Any:
        member = super()._proc_pax(archive)  # type: ignore[misc]
        if not member.pax_headers and self.type != _GLOBAL:  # ignored by older versions of tarfile
            raise _ReadError("it is damaged: a header of its pax format says nothing; copy it anew")
        return member


_GLOBAL = tarfile.XGLTYPE
_EOFHeaderError: type[Exception] = tarfile.EOFHeaderError  # type: ignore[attr-defined]
_HeaderError, _ReadError = tarfile.HeaderError, tarfile.ReadError


def _is_packed(path: str) -> bool:
    with Path(path).open("rb") as file:
        return _packing(file.read(6)) is not None


def _packing(start: bytes) -> str | None:
    """Return the module that decompresses data with this start; None if it is not compressed."""
    return next((module for mark, module in _PACKINGS.items() if start.startswith(mark)), None)


def _unpacking(packing: str, file: BinaryIO) -> IO[bytes]:
    try:
        module = import_module(packing)
    except ModuleNotFoundError as err:
        raise ValueError(f"it is packed by {packing.rpartition('.')[2]}, which this Python lacks; unpack it") from err
    return cast("IO[bytes]", module.open(file))
