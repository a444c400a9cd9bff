"""Image sets: indexed sources, and streams."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from PIL import UnidentifiedImageError
from torch.utils.data import Dataset

from torchmetrics_dna.files.damage import reason_of, refusing
from torchmetrics_dna.files.visible import images_in_words
from torchmetrics_dna.images.paths import Names, is_address, names_below, public
from torchmetrics_dna.images.pixels import Decoded, Pixels, decode_image
from torchmetrics_dna.images.workers import read_ahead
from torchmetrics_dna.warning import warn

if TYPE_CHECKING:
    from torchmetrics_dna.images.inputs import Example
    from torchmetrics_dna.images.reading import Reading
    from torchmetrics_dna.images.tensors import ArrayFormat

# Number of lower bits of an entry's number in a stream. They hold the number of the image within its shard.
_SHARD_BITS = 40
# Beginning of errors of shards.
_BROKEN = "Can't read images of"
# Number of files at addresses that are read at the same time, because each waits for a server.
_READERS = 4

# Options for reading that only apply to some sources.
OPTIONS = frozenset({"column", "fps"})


@dataclass(eq=False, repr=False)
class ImageSource(Dataset["Pixels"]):
    """Indexed images, decoded on access.

    Args:
        names: Name of each image in messages and reports.
        fetch: Function that returns the content of image ``i``: a path, a file, a Pillow image, an array or a tensor.
        label: Name of the set.
        stamp: Function that returns a text that changes with image ``i``; None if changes can't be detected cheaply.
        roots: Folders, archives and folders in these that the names are below, each below the nearest; if empty, the
            folder that all files share.
        options: Those among :data:`OPTIONS` that apply to this source; all if unknown.
        example: What its items are, if these are no images.
        arrays: Formats of the arrays of images that it consists of, by file, or ``""`` for one in memory.
        exif_orientation: Whether to rotate images by their EXIF tag. The official implementation does not.
        scale: Value of white in images of 16 bits; None for 65535.

    Attributes:
        numbers: Indices of the images in the source that they were taken from; their own if this is that source.
        whole: The source that they were taken from; None if this is that source.
        place: Equal for sources that were opened from one path or address in the same way; None without a path.

    """

    names: Sequence[str]
    fetch: Callable[[int], Any]
    label: str
    stamp: Callable[[int], str] | None = None
    roots: Collection[str] = ()
    options: frozenset[str] = OPTIONS
    example: Example | None = None
    arrays: Mapping[str, ArrayFormat] = field(default_factory=dict)
    exif_orientation: bool = False
    scale: float | None = None

    def __post_init__(self) -> None:
        self.numbers: Sequence[int] = range(len(self.names))
        self.whole: ImageSource | None = None
        self.place: object = None

    def take(self, numbers: Sequence[int]) -> ImageSource:
        """Select images by index, in this order."""
        fetch = partial(_of_chosen, self.fetch, numbers)
        stamp = None if self.stamp is None else partial(_of_chosen, self.stamp, numbers)
        selected = replace(self, names=Names(self.names, chosen=numbers), fetch=fetch, stamp=stamp)
        selected.numbers = numbers
        selected.whole = self
        return selected

    def drawn(self, count: int) -> ImageSource:
        """Select so many images at random, always the same, in their order."""
        return self.take(sorted(shuffled(len(self))[:count]))

    def numbers_in(self, other: ImageSource) -> Sequence[int] | None:
        """Return the index of each image in another source that this is, or is a part of; None if it is neither."""
        if are_same(self, other):
            return range(len(self))
        if self.whole is None:
            return None
        numbers = self.whole.numbers_in(other)
        if numbers is None:
            return None
        return [numbers[i] for i in self.numbers]

    def split(self, part: int, parts: int) -> ImageSource:
        """Select one of ``parts`` equal parts: every ``parts``-th image."""
        return self.take(range(part, len(self), parts))

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def relative_names(self) -> list[str]:
        """Name of each image below its source, see :func:`names_below`: the same in a copy of the source elsewhere."""
        if self.whole is None:
            return names_below(self.names, self.roots)
        # Without roots, names are relative to the folder that all files share, and a part may share another folder.
        names = self.whole.relative_names
        return [names[i] for i in self.numbers]

    @property
    def count(self) -> int:
        """Number of images; that of a stream may be unknown, None."""
        return len(self)

    def __getitem__(self, index: int) -> Pixels:
        """Decode image ``index`` to RGB by :func:`decode_image`; ValueError with its name if unreadable."""
        try:
            return self.decode(index).pixels
        except Exception as err:
            # Damaged files make Pillow raise errors of any type.
            raise ValueError(unreadable(self.names[index], err)) from err

    def decode(self, index: int, channels: int = 3) -> Decoded:
        """Decode image ``index`` to so many channels by :func:`decode_image`, with its errors; or another input."""
        content = self.fetch(index)
        if self.example is not None:
            return Decoded(self.example.single(content))
        return decode_image(content, channels, self.exif_orientation, self.scale)


class Entry(NamedTuple):
    """Undecoded image of a stream.

    Attributes:
        number: Its number. Numbers increase, with gaps between shards, so that each shard can be numbered on its own.
        name: Its name.
        image: A file, Pillow image, array or tensor; or the error by which there is none.

    """

    number: int
    name: str
    image: Any


class Shard(NamedTuple):
    """Part of a stream that can be read on its own.

    Attributes:
        label: Its name in messages.
        read: Function that returns a new iterator over names and images. Names are those in the file, if it is one.
        file: Path or address of its file; empty for an object.

    """

    label: str
    read: Callable[[], Iterator[tuple[str, Any]]]
    file: str = ""


class BrokenShardError(ValueError):
    """Raised if a shard can't be read, or not further; the message says where and why."""


@dataclass(eq=False, repr=False)
class ImageStream:
    """Sequential images, without random access or, in general, a length.

    Args:
        shards: Parts of the stream, in order.
        label: Name of the set.
        count: Number of images, if known.
        of_files: Whether shards are files, which can be read again, by other processes too, and skipped if damaged.
            False for objects of this process.
        in_folders: Whether images of one shard belong together, such as frames of a video.
        decoded: Whether images are decoded already, so that they are too large to be sent to worker processes.
        readers: Number of threads that read ahead, a shard each.
        only_whole: Reason why it can't be split among processes, if there is one.
        options: Those among :data:`OPTIONS` that apply to this stream; all if unknown.
        example: What its items are, if these are no images.
        arrays: As of an :class:`ImageSource`, and so are ``exif_orientation``, ``scale`` and the attribute ``place``.

    Example:
        >>> stream = ImageStream([Shard("letters", lambda: iter([("a", 1), ("b", 2), ("c", 3)]))], "letters")
        >>> [entry.name for entry in stream], [entry.name for entry in stream.split(0, 2)]
        (['a', 'b', 'c'], ['a', 'c'])

    """

    shards: Sequence[Shard]
    label: str
    count: int | None = None
    of_files: bool = True
    in_folders: bool = False
    decoded: bool = False
    readers: int = 0
    only_whole: str = ""
    options: frozenset[str] = OPTIONS
    example: Example | None = None
    arrays: Mapping[str, ArrayFormat] = field(default_factory=dict)
    exif_orientation: bool = False
    scale: float | None = None
    _part: tuple[int, int] = (0, 1)
    place: object = field(default=None, init=False)

    def split(self, part: int, parts: int) -> ImageStream:
        """Select one of ``parts`` parts, every ``parts``-th shard or else image; ValueError if it is only whole."""
        if parts > 1 and self.only_whole:
            raise ValueError(f"{self.label!r} can't be shared among processes, since {self.only_whole}")
        first, step = self._part
        count = None
        if self.count is not None:
            # The number is approximate, because parts differ by an image or by the sizes of their shards.
            count = -(-self.count // parts)
        return replace(self, count=count, _part=(first + step * part, step * parts))

    def __iter__(self) -> Iterator[Entry]:
        """Iterate over the entries of this part of the stream, in order."""
        first, step = self._part
        # If there are enough shards, no shard is read by two parts.
        if len(self.shards) >= step:
            shards = self.read(range(first, len(self.shards), step))
            return itertools.chain.from_iterable(shards)
        all_entries = itertools.chain.from_iterable(self.read(range(len(self.shards))))
        return itertools.islice(all_entries, first, None, step)

    def read(self, numbers: Iterable[int]) -> Iterator[Iterator[Entry]]:
        """Read shards by number; the last entry of a damaged file is its error. BrokenShardError if an object fails."""
        return read_ahead(map(self._read, numbers), self.readers)

    def _read(self, number: int) -> Iterator[Entry]:
        """Yield the entries of a shard."""
        shard = self.shards[number]
        first_number = number << _SHARD_BITS
        last_name = ""
        i = 0
        try:
            for i, (name, image) in enumerate(shard.read(), 1):
                last_name = f"{shard.label}/{name}" if shard.file else name
                yield Entry(first_number | i, last_name, image)
        except Exception as err:
            # Each format raises errors of its own.
            after = f" after {last_name!r}" if last_name else ""
            error = BrokenShardError(f"{_BROKEN} {shard.label!r}{after}: {reason_of(err)}")
            if not self.of_files:
                raise error from err
            yield Entry(first_number | (i + 1), shard.label, error)

    def decode(self, entry: Entry, channels: int = 3) -> Decoded:
        """Decode an entry to so many channels by :func:`decode_image`, or raise its error; or another input."""
        if isinstance(entry.image, Exception):
            raise entry.image
        if self.example is not None:
            return Decoded(entry.image)
        return decode_image(entry.image, channels, self.exif_orientation, self.scale)

    def __getitem__(self, index: int) -> Pixels:
        """Raise ValueError: a stream has no index."""
        return indexed(self, "This")[index]


Images = ImageSource | ImageStream


def shuffled(count: int) -> list[int]:
    """Return the numbers below ``count`` in an order that is drawn with seed 0."""
    order: list[int] = torch.randperm(count, generator=torch.Generator().manual_seed(0)).tolist()
    return order


def are_same(a: object, b: object) -> bool:
    """True for one source, or two that were opened from one path in the same way while the same images were there."""
    if a is b:
        return True
    if not isinstance(a, (ImageSource, ImageStream)) or not isinstance(b, (ImageSource, ImageStream)):
        return False
    if a.place is None or a.place != b.place:
        return False
    if isinstance(a, ImageSource):
        return isinstance(b, ImageSource) and a.relative_names == b.relative_names
    return isinstance(b, ImageStream) and [shard.file for shard in a.shards] == [shard.file for shard in b.shards]


def by_number(stream: ImageStream, what: str) -> str:
    """Return the error text for random access to a stream."""
    return (
        f"{what} takes images by number, but {stream.label!r} is a stream, which gives them one after the other; save"
        " its images in a folder or a .zip, or give a list or a dataset with an index"
    )


def indexed(images: Images, what: str) -> ImageSource:
    """Return images with random access; ValueError for a stream, with ``what`` needs it, such as "A report"."""
    if isinstance(images, ImageStream):
        raise ValueError(by_number(images, what))
    return images


def check_channels(images: Images, channels: int) -> None:
    """Raise ValueError if arrays of images have other channels than a network takes, so far as they are known."""
    for file, array in images.arrays.items():
        with refusing(file, "an array of images") if file else nullcontext():
            array.check("Images", 4, channels)


def unreadable(name: str, err: Exception, noun: str = "image") -> str:
    """Describe an error of an image or a shard in one line."""
    if isinstance(err, BrokenShardError):
        return str(err)
    reason = reason_of(err)
    if isinstance(err, UnidentifiedImageError):
        reason = "it is not an image file"
        if name.lower().endswith((".tif", ".tiff")):
            reason = (
                "it is not a TIFF that Pillow reads; save it with 8 or 16 bits and 1, 3 or 4 channels; others take a"
                " DNAExtractor of your own network with as many `channels`"
            )
    return f"Can't read {noun} {name!r}: {reason}"


def left_out_in_words(lines: Sequence[str]) -> str:
    """Summarize how much was skipped, from the lines of :func:`unreadable`.

    Example:
        >>> left_out_in_words(["Can't read image 'a.png': ..."] * 2 + ["Can't read images of 'b.tar': ..."])
        '2 images and the rest of 1 file were left out'

    """
    lines_of_images = [line for line in lines if not line.startswith(_BROKEN)]
    num_files = len(lines) - len(lines_of_images)
    texts = []
    if lines_of_images:
        # A line begins with "Can't read" and the noun.
        noun = lines_of_images[0].split()[2]
        texts.append(images_in_words(len(lines_of_images), noun))
    if num_files == 1:
        texts.append("the rest of 1 file")
    elif num_files > 1:
        texts.append(f"the rest of {num_files:,} files")
    verb = "was" if len(lines) == 1 else "were"
    return f"{' and '.join(texts)} {verb} left out"


def warn_of_left_out(lines: Sequence[str], reading: Reading | None) -> None:
    """Warn of images that were left out by default; no warning if that was asked for."""
    if lines and (reading is None or reading.skip_unreadable is None):
        warn(f"{left_out_in_words(lines)}, the first: {lines[0]}")


def note_of_left_out(lines: Sequence[str]) -> list[str]:
    """Return the note of a table whose figures are without unreadable images; none if all could be read."""
    if not lines:
        return []
    return [f"{left_out_in_words(lines)} because of read errors"]


def _of_chosen(function: Callable[[int], Any], numbers: Sequence[int], index: int) -> Any:
    """Call a function of a source with the number of a selected image."""
    return function(numbers[index])


def joined(sources: Sequence[ImageSource], label: str) -> ImageSource:
    """Return the images of several sources as one."""
    if len(sources) == 1:
        return sources[0]
    places = [(k, i) for k, source in enumerate(sources) for i in range(len(source))]
    names = [sources[k].names[i] for k, i in places]
    fetch = partial(_of_one, [source.fetch for source in sources], places)
    stamps = [source.stamp for source in sources if source.stamp]
    stamp = None
    if len(stamps) == len(sources):
        stamp = partial(_of_one, stamps, places)
    roots = {root for source in sources for root in source.roots}
    return ImageSource(names, fetch, label, stamp, roots)


def _of_one(functions: Sequence[Callable[[int], Any]], places: Sequence[tuple[int, int]], index: int) -> Any:
    """Call the function of the source of an image; ``places`` are the source and the number in it of each image."""
    k, i = places[index]
    return functions[k](i)


def stream_of(
    files: Sequence[str],
    label: str,
    reading: Reading,
    read: Callable[[str, Reading], Iterator[tuple[str, Any]]],
    **settings: Any,
) -> ImageStream:
    """Return a stream with a shard for each file. ``read`` yields its images with their names in the file.

    Settings are those of :class:`ImageStream`. Files at addresses are read ahead, several at a time.
    """
    shards = [Shard(public(file), partial(read, file, reading), file) for file in files]
    has_address = any(is_address(file) for file in files)
    settings.setdefault("readers", _READERS if has_address else 0)
    return ImageStream(shards, label, **settings)
