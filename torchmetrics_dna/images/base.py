"""The two kinds of image sets: those with an index, and streams, whose images come one after the other."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from textwrap import shorten
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from PIL import UnidentifiedImageError
from torch.utils.data import Dataset

from torchmetrics_dna.files.damage import reason_of
from torchmetrics_dna.files.visible import images_in_words
from torchmetrics_dna.images.ahead import read_ahead
from torchmetrics_dna.images.names import Names
from torchmetrics_dna.images.pixels import file_facts, to_rgb

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from torchmetrics_dna.images.pixels import FileFacts, RGBImage

_SHARD_BITS = 40  # of an image's number in a stream, below those of its shard

_BROKEN = "Can't read images of"  # how it is told of a shard

CHOICES = frozenset({"column", "fps"})

Progress = Callable[[str, int, "int | None"], None]


@dataclass(frozen=True)
class Reading:
    """Options for reading images.

    Args:
        batch_size: Images in a batch.
        num_workers: Processes that decode images; None: one for each core that this process may use, up to 8 and
            shared with the other processes of torchrun, and none for a few images.
        column: Location of each image in a row of several values: a key of dicts, a column of Parquet, an array of an
            ``.npz``, an extension in a tar. None to detect it.
        fps: Frames of videos to take for each second; None for all.
        exif_orientation: Turn images as their EXIF tag says. The official implementation does not.
        skip_unreadable: Leave out images that can't be read, and the rest of a stream's file that can't be read on,
            instead of stopping.
        progress: Callback after each batch, with the name of the source, the number of images done, and that of all, or
            None of a stream that does not know it.

    Raises:
        ValueError: If a value is out of range.

    Example:
        >>> Reading(batch_size=64, column="image").num_workers is None
        True

    """

    batch_size: int = 32
    num_workers: int | None = None
    column: str | None = None
    fps: float | None = None
    exif_orientation: bool = False
    skip_unreadable: bool = False
    progress: Progress | None = None

    def __post_init__(self) -> None:
        for name, value, least in (("batch_size", self.batch_size, 1), ("num_workers", self.num_workers or 0, 0)):
            if not isinstance(value, int) or value < least:
                raise ValueError(f"Argument `{name}` expected to be an integer of at least {least}, but got {value!r}")
        if self.fps is not None and not self.fps > 0:
            raise ValueError(f"Argument `fps` expected to be above 0, but got {self.fps!r}")


class ImageSource(Dataset["RGBImage"]):
    """Images by number, each decoded to RGB when asked for.

    Args:
        names: What to call each image in messages and reports.
        fetch: Gives what image ``i`` is made of: a path, a file, a Pillow image, an array or a tensor.
        label: What to call the whole.
        exif_orientation: Turn images as their EXIF tag says. The official implementation does not.
        stamp: Gives what tells whether image ``i`` has changed; None where nothing does but reading it.

    Attributes:
        numbers: Where the images stand in the source that they were taken of; their own numbers if they were not.
        uses: Which of the choices of :class:`Reading` had a meaning when it was opened; all where nobody knows.

    """

    uses: frozenset[str] = CHOICES

    def __init__(
        self,
        names: Sequence[str],
        fetch: Callable[[int], Any],
        label: str,
        exif_orientation: bool = False,
        stamp: Callable[[int], str] | None = None,
    ) -> None:
        self.names = names
        self.label = label
        self.exif_orientation = exif_orientation
        self.stamp = stamp
        self.numbers: Sequence[int] = range(len(names))
        self._fetch = fetch

    def take(self, numbers: Sequence[int]) -> ImageSource:
        """Some of the images, by number, in this order."""
        fetch = partial(_fetch_taken, self._fetch, numbers)
        taken = ImageSource(Names(self.names, chosen=numbers), fetch, self.label, self.exif_orientation)
        taken.numbers = numbers
        return taken

    def split(self, part: int, parts: int) -> ImageSource:
        """One of ``parts`` equal parts: every so many images."""
        return self.take(range(part, len(self), parts))

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> RGBImage:
        """Image ``index`` as :func:`to_rgb` gives it; ValueError with its name if it can't be read."""
        name = self.names[index]
        try:
            return self.decode(index)
        except Exception as err:  # broken files make Pillow raise all kinds of things
            raise ValueError(unreadable(name, err)) from err

    def fetch(self, index: int) -> Any:
        """What image ``index`` is made of."""
        return self._fetch(index)

    def decode(self, index: int) -> RGBImage:
        """As ``self[index]``, but with the errors as they are."""
        return to_rgb(self._fetch(index), self.exif_orientation)

    def file_facts(self, index: int) -> FileFacts | None:
        """Format and size of the file of image ``index``; None where it is in memory."""
        return file_facts(self._fetch(index))


class Entry(NamedTuple):
    """An image of a stream, not decoded yet.

    Attributes:
        number: Rises along the stream, but with gaps, so that any part of it knows those of its images.
        name: What to call it.
        image: What it is made of: a file, a Pillow image, an array or a tensor; or the error that stands in its way.

    """

    number: int
    name: str
    image: Any


class Shard(NamedTuple):
    """A part of a stream that can be read by itself.

    Attributes:
        label: What to call it in messages.
        read: Gives the name of each image and what it is made of, from the first one on each time.

    """

    label: str
    read: Callable[[], Iterator[tuple[str, Any]]]


class BrokenShardError(ValueError):
    """A shard can't be read, or not on; its message says where, and why."""


class ImageStream:
    """Images that come one after the other: there is no number of them, and no way to ask for one of them.

    Args:
        shards: Its parts, in order.
        label: What to call the whole.
        exif_orientation: Turn images as their EXIF tag says. The official implementation does not.
        count: How many images there are, if that is known.
        of_files: Whether its shards are files, named by their labels: they can be read again, by other processes too,
            and one that is broken can be left out. Not so for what lives in this process.
        in_folders: Whether images of one shard belong together, such as frames of a video.
        readers: How many threads read ahead, each a shard.

    Example:
        >>> stream = ImageStream([Shard("letters", lambda: iter([("a", 1), ("b", 2), ("c", 3)]))], "letters")
        >>> [entry.name for entry in stream], [entry.name for entry in stream.split(0, 2)]
        (['a', 'b', 'c'], ['a', 'c'])

    """

    uses: frozenset[str] = CHOICES
    only_whole = ""  # why it can't be shared among processes

    def __init__(
        self,
        shards: Sequence[Shard],
        label: str,
        exif_orientation: bool = False,
        *,
        count: int | None = None,
        of_files: bool = True,
        in_folders: bool = False,
        readers: int = 0,
    ) -> None:
        self.shards = shards
        self.label = label
        self.exif_orientation = exif_orientation
        self.count = count
        self.of_files, self.in_folders, self.readers = of_files, in_folders, readers
        self._part = (0, 1)

    def split(self, part: int, parts: int) -> ImageStream:
        """One of ``parts`` parts: every so many shards if there are enough of them, or else every so many images."""
        first, step = self._part
        taken = object.__new__(type(self))
        taken.__dict__ |= self.__dict__ | {"_part": (first + step * part, step * parts)}
        if self.count is not None:
            taken.count = -(-self.count // parts)  # about
        return taken

    def __iter__(self) -> Iterator[Entry]:
        """The images of its part of the shards, in order, as :meth:`read` gives them."""
        first, step = self._part
        whole = len(self.shards) >= step  # then nobody reads what another one keeps
        shards = self.read(range(first, len(self.shards), step) if whole else range(len(self.shards)))
        entries = itertools.chain.from_iterable(shards)
        return entries if whole else itertools.islice(entries, first, None, step)

    def read(self, numbers: Iterable[int]) -> Iterator[Iterator[Entry]]:
        """The images of some shards, shard by shard; where a file can't be read on, its last entry says so.

        Raises:
            BrokenShardError: If what lives in this process can't be read on, in one line that says where.

        """
        return read_ahead(map(self._read, numbers), self.readers)

    def _read(self, number: int) -> Iterator[Entry]:
        shard, last, i = self.shards[number], "", 0
        try:
            for i, (name, image) in enumerate(shard.read(), 1):
                yield Entry(number << _SHARD_BITS | i, name, image)
                last = name
        except Exception as err:  # of as many types as there are formats
            after = f" after {last!r}" if last else ""
            error = BrokenShardError(f"{_BROKEN} {shard.label!r}{after}: {reason_of(err)}")
            if not self.of_files:
                raise error from err
            yield Entry(number << _SHARD_BITS | (i + 1), shard.label, error)

    def take(self, numbers: Sequence[int]) -> NoReturn:  # noqa: ARG002
        """Not for a stream."""
        raise ValueError(by_number(self, "This"))

    def __getitem__(self, index: int) -> NoReturn:
        """Not for a stream."""
        raise ValueError(by_number(self, "This"))


Images = ImageSource | ImageStream


def by_number(stream: ImageStream, what: str) -> str:
    """What to say where single images are asked for, of what can't give them."""
    return (
        f"{what} takes images by number, but {stream.label!r} is a stream, which gives them one after the other; save"
        " its images in a folder or a .zip, or give a list or a dataset with an index"
    )


def unreadable(name: str, err: Exception) -> str:
    """What is wrong with an image, or a shard, in one line."""
    if isinstance(err, BrokenShardError):
        return str(err)
    reason = shorten(reason_of(err), 500)  # zipfile, for one, quotes what it took for a name
    if isinstance(err, UnidentifiedImageError):
        reason = "it is not an image file"
        if name.lower().endswith((".tif", ".tiff")):
            reason = "it is not a TIFF that Pillow reads; save it with 8 or 16 bits and 1, 3 or 4 channels"
    return f"Can't read image {name!r}: {reason}"


def left_out_in_words(lines: Sequence[str]) -> str:
    """How much was left out, by what :func:`unreadable` says of each.

    Example:
        >>> left_out_in_words(["Can't read image 'a.png': ..."] * 2 + ["Can't read images of 'b.tar': ..."])
        '2 images and the rest of 1 file were left out'

    """
    files = sum(line.startswith(_BROKEN) for line in lines)
    images = len(lines) - files
    told = [images_in_words(images)] if images else []
    told += [f"the rest of {files:,} file{'' if files == 1 else 's'}"] if files else []
    return f"{' and '.join(told)} {'was' if len(lines) == 1 else 'were'} left out"


def _fetch_taken(fetch: Callable[[int], Any], numbers: Sequence[int], index: int) -> Any:
    return fetch(numbers[index])
