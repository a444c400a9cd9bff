"""Images in tar archives: plain ones, packed ones, and the shards of WebDataset."""

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
from torchmetrics_dna.images.addresses import is_address
from torchmetrics_dna.images.archives import NOT_REGULAR, Listing, leads_nowhere
from torchmetrics_dna.images.base import Images, ImageSource
from torchmetrics_dna.images.kind import Kind, stream_of
from torchmetrics_dna.images.names import Names, is_image_member, natural_key
from torchmetrics_dna.images.places import open_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torchmetrics_dna.images.base import Reading

_ALL = "*"
_PACKINGS = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\xfd7zXZ": "lzma", b"\x28\xb5\x2f\xfd": "compression.zstd"}
_CHUNK = 1 << 20


def open_tars(files: Sequence[str], label: str, reading: Reading) -> Images:
    """The images of some tars.

    One of this machine that is not packed is looked through first, which reads no more than its headers, so that it has
    an index like a zip. Shards are many, and packed tars have to be unpacked to be looked through: they are streams.
    """
    if len(files) == 1 and not is_address(files[0]) and not _is_packed(files[0]):
        return _open_one(files[0], reading)
    return stream_of(files, label, reading, _read)


TAR = Kind(".tar", (".tar", ".tgz", ".gz", ".bz2", ".xz"), open_tars, ("column",))


def _open_one(path: str, reading: Reading) -> ImageSource:
    with refusing(path, "a tar"):
        index = _Index(path, reading.column)
    return ImageSource(Names(index.names, f"{path}/"), index.fetch, path, reading.exif_orientation, index.stamp)


class _Member(NamedTuple):
    """A file of a tar: where its bytes begin, how many it has, and the stretches of them that are stored if not all."""

    offset: int
    size: int
    stretches: list[tuple[int, int]] | None = None


class _Index:
    """Where each image of a tar that is not packed is."""

    def __init__(self, path: str, column: str | None) -> None:
        self._path = path
        self._offsets, self._sizes = array("q"), array("q")  # there may be millions
        self._sparse: dict[int, list[tuple[int, int]]] = {}
        self._faults: dict[int, str] = {}
        found: list[str] = []
        for name, member, _ in _images(path, column):
            if isinstance(member, str):
                self._faults[len(found)] = member
                member = _Member(0, 0)
            if member.stretches is not None:
                self._sparse[len(found)] = member.stretches
            found.append(name)
            self._offsets.append(member.offset)
            self._sizes.append(member.size)
        self._order = array("q", sorted(range(len(found)), key=lambda number: natural_key(found[number])))
        self.names = [found[number] for number in self._order]

    def fetch(self, index: int) -> BytesIO:
        number = self._order[index]
        if number in self._faults:
            raise ValueError(self._faults[number])
        member = _Member(self._offsets[number], self._sizes[number], self._sparse.get(number))
        with Path(self._path).open("rb") as file:  # anew each time: a process must not move another one's position
            file.seek(member.offset)
            return _content(file, member)

    def stamp(self, index: int) -> str:
        number = self._order[index]
        return f"{self._sizes[number]} {self._offsets[number]} {Path(self._path).stat().st_mtime_ns}"


def _read(path: str, reading: Reading) -> Iterator[tuple[str, Any]]:
    """The images of a tar from its first byte to its last."""
    for name, member, file in _images(path, reading.column):
        image: Any
        try:
            image = ValueError(member) if isinstance(member, str) else _content(file, member)
        except ValueError as err:
            image = err
        yield f"{path}/{name}", image


def _images(path: str, column: str | None) -> Iterator[tuple[str, _Member | str, _Forwards]]:
    """Each image of a tar, or why it can't be read, and the file at its first byte; links at the end, in a second pass.

    Raises:
        ValueError: If the tar is damaged, has a file twice, or nothing in the column.

    """
    choice, listing, any_image = _Choice(column), Listing(), False
    for info, file in _members(path):
        if info.isdir():
            continue
        is_image = choice.takes(info.name)
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
    """All that is in a tar, in order, and the file that it is read from; what is read of that is not missed."""
    with open_file(path, forwards=True) as opened:
        file = _Forwards(opened, seeks=not is_address(path))
        with tarfile.open(fileobj=cast("BinaryIO", file), mode="r:", tarinfo=_Header) as archive:
            while (info := archive.next()) is not None:
                archive.members = []  # type: ignore[attr-defined]  # which tarfile keeps of all that it has seen
                if (
                    info.size < 0 or archive.offset <= info.offset
                ):  # which some versions of tarfile follow back, for ever
                    raise ValueError("it is damaged: a file ends before it begins; copy it anew")
                if "\0" in info.name:
                    raise ValueError("it is damaged: a name has a zero in it; copy it anew")
                file.left = inf
                yield info, file
                file.left = MOST_HEADER
        file.check_end()


def _content(file: _Forwards | BinaryIO, member: _Member) -> BytesIO:
    """A file of a tar, of which the first byte is next."""
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
    """A tar, packed or not, read forwards, and with no more memory for headers than any that is needed.

    Attributes:
        left: How many bytes may be read before the next file begins.

    """

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

    def seek(self, place: int) -> None:
        if self._seeks:
            self._file.seek(place)
            self._at = place
        while self._at < place and (skipped := self._file.read(min(_CHUNK, place - self._at))):
            self._at += len(skipped)

    def check_end(self) -> None:
        """ValueError if anything but zeros follows; whatever packs it checks its sum when all is read."""
        while block := self._file.read(_CHUNK):
            if block.count(0) < len(block):
                raise ValueError("it goes on after its end mark, as damaged or joined tars do; copy or join it anew")


class _Choice:
    """Which files of a tar are its images.

    WebDataset puts what belongs to a sample side by side: ``7.jpg``, ``7.json`` and ``7.mask.png``, whose names are the
    same up to the first dot of the file, and whose column is what follows it.

    Args:
        column: Take that one of each sample; ``"*"`` all images of each; None all images, if there is one of each.

    """

    def __init__(self, column: str | None) -> None:
        self._column = column
        self._last: tuple[str, str] | None = None
        self.seen: set[str] = set()

    def takes(self, name: str) -> bool:
        """Whether a file is an image; to be asked for all of them, in their order."""
        path = PurePosixPath(name)
        sample, _, column = path.name.partition(".")
        if self._column not in (None, _ALL):
            self.seen.add(column)
            return column.lower() == str(self._column).lower() and not path.name.startswith(".")
        if not is_image_member(name):
            return False
        key = str(path.parent / sample)
        before, self._last = self._last, (key, column)
        if self._column is None and before and before[0] == key and _are_parts(before[1], column):
            raise ValueError(
                f"sample {key!r} has several images, {before[1]} and {column}; choose one by `column`, such as"
                f" {before[1]!r}, or take all by '*'"
            )
        return True

    def none(self, path: str) -> str:
        """What to say if no file was chosen."""
        return f"There is no column {self._column!r} in {path!r}, which has {', '.join(sorted(self.seen)[:10])}"


def _are_parts(one: str, other: str) -> bool:
    """Whether two columns are of a sample; names such as 7.1.png and 7.2.png are those of plain files."""
    return one != other and not ("." in one and "." in other)


class _Header(tarfile.TarInfo):
    """What comes before each file; a tar that ends or breaks without its end mark is an error, not an end."""

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
        if not member.pax_headers and self.type != _GLOBAL:  # which older versions of tarfile pass over
            raise _ReadError("it is damaged: a header of its pax format says nothing; copy it anew")
        return member


_GLOBAL = tarfile.XGLTYPE
_EOFHeaderError: type[Exception] = tarfile.EOFHeaderError  # type: ignore[attr-defined]
_HeaderError, _ReadError = tarfile.HeaderError, tarfile.ReadError


def _is_packed(path: str) -> bool:
    with Path(path).open("rb") as file:
        return _packing(file.read(6)) is not None


def _packing(start: bytes) -> str | None:
    """The module that unpacks what begins like this; None if it is not packed."""
    return next((module for mark, module in _PACKINGS.items() if start.startswith(mark)), None)


def _unpacking(packing: str, file: BinaryIO) -> IO[bytes]:
    try:
        module = import_module(packing)
    except ModuleNotFoundError as err:
        raise ValueError(f"it is packed by {packing.rpartition('.')[2]}, which this Python lacks; unpack it") from err
    return cast("IO[bytes]", module.open(file))
