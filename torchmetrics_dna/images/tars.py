"""Images in tar archives: plain ones, packed ones, and the shards of WebDataset."""

from __future__ import annotations

import tarfile
from array import array
from functools import partial
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any

from typing_extensions import override

from torchmetrics_dna.files.damage import refusing
from torchmetrics_dna.images.addresses import is_address
from torchmetrics_dna.images.base import Images, ImageSource
from torchmetrics_dna.images.kind import Kind, stream_of
from torchmetrics_dna.images.names import Names, is_image_member, natural_key
from torchmetrics_dna.images.pixels import check_size
from torchmetrics_dna.images.places import open_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torchmetrics_dna.images.base import Reading

_ALL = "*"


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
    found: dict[str, int] = {}
    offsets, sizes = array("q"), array("q")  # of all that are taken: there may be millions
    choice = _Choice(reading.column)
    with refusing(path, "a tar"), tarfile.open(path, "r:", tarinfo=_Header) as archive:
        for member in archive:
            archive.members = []  # type: ignore[attr-defined]  # which tarfile keeps of all that it has seen
            if member.isreg() and choice.takes(member.name):  # of a name that comes twice, the last one counts
                found[member.name] = len(sizes)
                offsets.append(member.offset_data)
                sizes.append(member.size)
    if not found and choice.seen:
        raise ValueError(choice.none(path))
    names = sorted(found, key=natural_key)
    order = array("q", (found[name] for name in names))
    where = array("q", (offsets[i] for i in order)), array("q", (sizes[i] for i in order))
    fetch, stamp = partial(_fetch, path, *where), partial(_stamp, path, *where)
    return ImageSource(Names(names, f"{path}/"), fetch, path, reading.exif_orientation, stamp)


def _fetch(path: str, offsets: array[int], sizes: array[int], index: int) -> BytesIO:
    check_size(sizes[index])
    with Path(path).open("rb") as file:  # anew each time: a process must not move another one's position
        file.seek(offsets[index])
        return BytesIO(file.read(sizes[index]))


def _stamp(path: str, offsets: array[int], sizes: array[int], index: int) -> str:
    return f"{sizes[index]} {offsets[index]} {Path(path).stat().st_mtime_ns}"


def _read(path: str, reading: Reading) -> Iterator[tuple[str, Any]]:
    """The images of a tar from its first byte to its last."""
    choice, any_image = _Choice(reading.column), False
    with (
        open_file(path, forwards=True) as file,
        tarfile.open(fileobj=file, mode="r|*", tarinfo=_Header) as archive,
    ):
        for member in archive:
            archive.members = []  # type: ignore[attr-defined]  # which tarfile keeps of all that it has seen
            if member.isreg() and choice.takes(member.name):
                any_image = True
                yield f"{path}/{member.name}", _content(archive.extractfile(member), member.size)
    if not any_image and choice.seen:
        raise ValueError(choice.none(path))


def _content(file: IO[bytes] | None, size: int) -> BytesIO | ValueError:
    """A file, or why it is not read."""
    assert file is not None
    try:
        check_size(size)
    except ValueError as err:
        return err
    data = file.read(size)
    if len(data) < size:
        raise ValueError("it has been cut off; copy it anew")
    return BytesIO(data)


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
        # names such as 7.1.png and 7.2.png are those of plain files
        if self._column is None and before and before[0] == key and not ("." in before[1] and "." in column):
            raise ValueError(
                f"sample {key!r} has several images, {before[1]} and {column}; choose one by `column`, such as"
                f" {before[1]!r}, or take all by '*'"
            )
        return True

    def none(self, path: str) -> str:
        """What to say if no file was chosen."""
        return f"There is no column {self._column!r} in {path!r}, which has {', '.join(sorted(self.seen)[:10])}"


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


_EOFHeaderError: type[Exception] = tarfile.EOFHeaderError  # type: ignore[attr-defined]
_HeaderError, _ReadError = tarfile.HeaderError, tarfile.ReadError


def _is_packed(path: str) -> bool:
    with Path(path).open("rb") as file:
        start = file.read(6)
    return start.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd"))
