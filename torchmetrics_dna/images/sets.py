"""Image sets: sources, whose images are accessed by index, and streams, whose images are read in order."""

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

# Number of bits of the number of an entry in a stream that hold the number of the image within its shard. The higher
# bits hold the number of the shard.
_SHARD_BITS = 40
# Beginning of the error messages of shards.
_BROKEN = "Can't read images of"
# Number of files at addresses that are read at the same time, because reading mostly waits for a server.
_READERS = 4

# Names of the options for reading that only apply to some sources.
OPTIONS = frozenset({"column", "fps"})


@dataclass(eq=False, repr=False)
class ImageSource(Dataset["Pixels"]):
    """Images that are accessed by index. An image is decoded when it is accessed.

    Args:
        names: Name of each image in messages and reports.
        fetch: Function that returns the content of the image at an index: a path, a file, a Pillow image, an array or a
            tensor.
        label: Name of the set.
        stamp: Function that returns a text for the image at an index. The text changes if the image changes. None if
            changes can't be detected fast.
        roots: Folders and archives that contain the images. In :attr:`relative_names`, names are relative to their
            innermost root. Without roots, names are relative to the folder that all files share.
        options: Options among :data:`OPTIONS` that apply to this source. By default, all of them.
        example: Structure of the items if they are not images.
        arrays: Format of each array of images that this source consists of, by the path of its file. The path of an
            array in memory is empty.
        exif_orientation: Whether to rotate images by their EXIF tag. The reference implementation does not.
        scale: Value of white in 16-bit images; None for 65535.

    Attributes:
        numbers: Index of each image in the source ``whole``. If ``whole`` is None, the index in this source.
        whole: Source from which the images were selected. None if the images were not selected from another source.
        place: Value that is equal for sources that were opened from the same path with the same options. None for a
            source without a path.

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
        fetch = partial(_call_for_selected, self.fetch, numbers)
        stamp = None if self.stamp is None else partial(_call_for_selected, self.stamp, numbers)
        selected = replace(self, names=Names(self.names, chosen=numbers), fetch=fetch, stamp=stamp)
        selected.numbers = numbers
        selected.whole = self
        return selected

    def drawn(self, count: int) -> ImageSource:
        """Select ``count`` images at random. The selection is always the same, and keeps the order of the images."""
        return self.take(sorted(shuffled(len(self))[:count]))

    def numbers_in(self, other: ImageSource) -> Sequence[int] | None:
        """Return the index of each image in another source, of which this source is a selection.

        Return None if this source is neither the other source nor a selection of it.
        """
        if are_same(self, other):
            return range(len(self))
        if self.whole is None:
            return None
        numbers = self.whole.numbers_in(other)
        if numbers is None:
            return None
        return [numbers[i] for i in self.numbers]

    def split(self, part: int, parts: int) -> ImageSource:
        """Select one of ``parts`` parts of nearly equal size. A part consists of every ``parts``-th image."""
        return self.take(range(part, len(self), parts))

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def relative_names(self) -> list[str]:
        """Name of each image relative to its root, see :func:`names_below`.

        The relative names do not change if the source is moved.
        """
        if self.whole is None:
            return names_below(self.names, self.roots)
        # Use the names in the whole source: the selected files may share another folder than all files.
        names = self.whole.relative_names
        return [names[i] for i in self.numbers]

    @property
    def count(self) -> int:
        """Number of images. For a stream, this is None if the number is unknown."""
        return len(self)

    def __getitem__(self, index: int) -> Pixels:
        """Decode an image to RGB, see :func:`decode_image`.

        Raises:
            ValueError: If the image is unreadable. The message has the name of the image.

        """
        try:
            return self.decode(index).pixels
        except Exception as err:
            # Damaged files make Pillow raise errors of any type.
            raise ValueError(unreadable(self.names[index], err)) from err

    def decode(self, index: int, channels: int = 3) -> Decoded:
        """Decode an image to this number of channels, see :func:`decode_image`. Other inputs are returned as they are.

        Errors are those of :func:`decode_image`.
        """
        content = self.fetch(index)
        if self.example is not None:
            return Decoded(self.example.single(content))
        return decode_image(content, channels, self.exif_orientation, self.scale)


class Entry(NamedTuple):
    """Image of a stream that is not decoded yet.

    Attributes:
        number: Number of the image. The numbers in a stream increase. There are gaps between the numbers of two shards,
            so that the images of a shard can be numbered before those of earlier shards are counted.
        name: Name of the image.
        image: A file, Pillow image, array or tensor. For an unreadable image, the error.

    """

    number: int
    name: str
    image: Any


class Shard(NamedTuple):
    """Part of a stream that can be read on its own.

    Attributes:
        label: Name of the shard in messages.
        read: Function that returns a new iterator over pairs of a name and an image. For a file, names are relative to
            the file.
        file: Path or address of the file; empty for an object in memory.

    """

    label: str
    read: Callable[[], Iterator[tuple[str, Any]]]
    file: str = ""


class BrokenShardError(ValueError):
    """Error of a shard that can't be read, or only in part. The message has the position and the reason."""


@dataclass(eq=False, repr=False)
class ImageStream:
    """Images that are read in order. They can't be accessed by index, and their number may be unknown.

    Args:
        shards: Parts of the stream, in order.
        label: Name of the set.
        count: Number of images; None if it is unknown.
        of_files: Whether shards are files. A file can be read again, also by other processes, and the rest of a damaged
            file can be skipped. False for objects of this process.
        in_folders: Whether the images of a shard belong together, such as frames of a video.
        decoded: Whether images are decoded already. They are then too large to be sent to worker processes.
        readers: Number of threads that read ahead. Each thread reads one shard.
        only_whole: Reason why the stream can't be split among processes. Empty if it can be split.
        options: Options among :data:`OPTIONS` that apply to this stream. By default, all of them.
        example: Structure of the items if they are not images.
        arrays: As for :class:`ImageSource`.
        exif_orientation: As for :class:`ImageSource`.
        scale: As for :class:`ImageSource`.

    Attributes:
        place: As for :class:`ImageSource`.

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
    # Number of the first shard or image of this part of the stream, and step to the next one.
    _part: tuple[int, int] = (0, 1)
    place: object = field(default=None, init=False)

    def split(self, part: int, parts: int) -> ImageStream:
        """Select one of ``parts`` parts of the stream.

        A part consists of every ``parts``-th shard. If there are fewer shards than parts, it consists of every
        ``parts``-th image.

        Raises:
            ValueError: If the stream can't be split among processes.

        """
        if parts > 1 and self.only_whole:
            raise ValueError(f"{self.label!r} can't be shared among processes, since {self.only_whole}")
        first, step = self._part
        count = None
        if self.count is not None:
            # Round up. The number is approximate, because parts may differ in their number of images.
            count = -(-self.count // parts)
        return replace(self, count=count, _part=(first + step * part, step * parts))

    def __iter__(self) -> Iterator[Entry]:
        """Iterate over the entries of this part of the stream, in order."""
        first, step = self._part
        # Split the stream by shards if there are enough, so that each shard is read only once.
        if len(self.shards) >= step:
            shards = self.read(range(first, len(self.shards), step))
            return itertools.chain.from_iterable(shards)
        all_entries = itertools.chain.from_iterable(self.read(range(len(self.shards))))
        return itertools.islice(all_entries, first, None, step)

    def read(self, numbers: Iterable[int]) -> Iterator[Iterator[Entry]]:
        """Read shards by number, and yield an iterator over the entries of each shard.

        For a damaged file, the last entry holds the error.

        Raises:
            BrokenShardError: If an object of this process can't be read.

        """
        return read_ahead(map(self._read, numbers), self.readers)

    def _read(self, number: int) -> Iterator[Entry]:
        """Yield the entries of a shard."""
        shard = self.shards[number]
        entry_number = number << _SHARD_BITS
        last_name = ""
        try:
            for name, image in shard.read():
                entry_number += 1
                last_name = f"{shard.label}/{name}" if shard.file else name
                yield Entry(entry_number, last_name, image)
        except Exception as err:
            # Readers of file formats raise errors of many types.
            after = f" after {last_name!r}" if last_name else ""
            error = BrokenShardError(f"{_BROKEN} {shard.label!r}{after}: {reason_of(err)}")
            if not self.of_files:
                raise error from err
            yield Entry(entry_number + 1, shard.label, error)

    def decode(self, entry: Entry, channels: int = 3) -> Decoded:
        """Decode an entry to this number of channels, see :func:`decode_image`. Other inputs are returned as they are.

        An error in the entry is raised. Other errors are those of :func:`decode_image`.
        """
        if isinstance(entry.image, Exception):
            raise entry.image
        if self.example is not None:
            return Decoded(entry.image)
        return decode_image(entry.image, channels, self.exif_orientation, self.scale)

    def __getitem__(self, index: int) -> Pixels:
        """Raise ValueError, because the images of a stream can't be accessed by index."""
        return indexed(self, "This")[index]


Images = ImageSource | ImageStream


def shuffled(count: int) -> list[int]:
    """Return the numbers below ``count`` in a random order, which is drawn with seed 0."""
    order: list[int] = torch.randperm(count, generator=torch.Generator().manual_seed(0)).tolist()
    return order


def are_same(a: object, b: object) -> bool:
    """Return True if two sets have the same images.

    The sets must be the same object, or have been opened from the same path with the same options. In the second case,
    the names of the files must be equal, too: the files at a path may change in the meantime.
    """
    if a is b:
        return True
    if isinstance(a, ImageSource) and isinstance(b, ImageSource):
        return _have_same_place(a, b) and a.relative_names == b.relative_names
    if isinstance(a, ImageStream) and isinstance(b, ImageStream):
        return _have_same_place(a, b) and [shard.file for shard in a.shards] == [shard.file for shard in b.shards]
    return False


def _have_same_place(a: Images, b: Images) -> bool:
    """Return True if two sets were opened from the same path with the same options."""
    return a.place is not None and a.place == b.place


def by_number(stream: ImageStream, what: str) -> str:
    """Return the error message if ``what``, such as "A report", needs to access the images of a stream by index."""
    return (
        f"{what} takes images by number, but {stream.label!r} is a stream, which returns them one after the other; save"
        " its images in a folder or a .zip, or pass a list or a dataset with an index"
    )


def indexed(images: Images, what: str) -> ImageSource:
    """Return images that can be accessed by index.

    Args:
        images: The images.
        what: Name of the function that accesses them by index, such as "A report".

    Raises:
        ValueError: If the images are a stream.

    """
    if isinstance(images, ImageStream):
        raise ValueError(by_number(images, what))
    return images


def check_channels(images: Images, channels: int) -> None:
    """Raise ValueError if arrays of images have another number of channels than the images of a network.

    Only images whose format is known in advance are checked.
    """
    for file, array_format in images.arrays.items():
        # The error names the file. An array in memory has no file.
        with refusing(file, "an array of images") if file else nullcontext():
            array_format.check("Images", 4, channels)


def unreadable(name: str, err: Exception, noun: str = "image") -> str:
    """Return a message of one line for the error of an image or a shard."""
    if isinstance(err, BrokenShardError):
        return str(err)
    return f"Can't read {noun} {name!r}: {_why_unreadable(name, err)}"


def _why_unreadable(name: str, err: Exception) -> str:
    """Return the reason why an image can't be read, as a text of one line."""
    if not isinstance(err, UnidentifiedImageError):
        return reason_of(err)
    if name.lower().endswith((".tif", ".tiff")):
        return (
            "it is not a TIFF that Pillow reads; save it with 8 or 16 bits and 1, 3 or 4 channels; others take a"
            " DNAExtractor of your own network with as many `channels`"
        )
    return "it is not an image file"


def left_out_in_words(lines: Sequence[str]) -> str:
    """Return the number of skipped images and files as a sentence.

    Args:
        lines: Messages of the errors, see :func:`unreadable`.

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
    """Warn of images that were skipped by default. There is no warning if the user set ``skip_unreadable``."""
    if lines and (reading is None or reading.skip_unreadable is None):
        warn(f"{left_out_in_words(lines)}, the first: {lines[0]}")


def note_of_left_out(lines: Sequence[str]) -> list[str]:
    """Return the note of a table about skipped images. The list is empty if all images were readable."""
    if not lines:
        return []
    return [f"{left_out_in_words(lines)} because of read errors"]


def _call_for_selected(function: Callable[[int], Any], numbers: Sequence[int], index: int) -> Any:
    """Call a function of a source for one of several selected images; ``numbers`` are the numbers of all of these."""
    return function(numbers[index])


def joined(sources: Sequence[ImageSource], label: str) -> ImageSource:
    """Return one source with the images of several sources."""
    if len(sources) == 1:
        return sources[0]
    places: list[tuple[int, int]] = []
    names: list[str] = []
    roots: set[str] = set()
    for source_number, source in enumerate(sources):
        places += [(source_number, i) for i in range(len(source))]
        names += source.names
        roots.update(source.roots)
    fetch = partial(_call_for_joined, [source.fetch for source in sources], places)
    # Changes of the joined images can be detected only if they can be detected in all sources.
    stamps = [source.stamp for source in sources if source.stamp is not None]
    stamp = None
    if len(stamps) == len(sources):
        stamp = partial(_call_for_joined, stamps, places)
    return ImageSource(names, fetch, label, stamp, roots)


def _call_for_joined(functions: Sequence[Callable[[int], Any]], places: Sequence[tuple[int, int]], index: int) -> Any:
    """Call a function for an image of joined sources.

    Args:
        functions: Function of each source.
        places: Number of the source of each image, and index of the image in this source.
        index: Index of the image in the joined sources.

    """
    source_number, index_in_source = places[index]
    return functions[source_number](index_in_source)


def stream_of(
    files: Sequence[str],
    label: str,
    reading: Reading,
    read: Callable[[str, Reading], Iterator[tuple[str, Any]]],
    **settings: Any,
) -> ImageStream:
    """Return a stream with one shard per file. If there are addresses, several files are read ahead at the same time.

    Args:
        files: Paths or addresses of the files.
        label: Name of the set.
        reading: Options for reading.
        read: Function that yields the name and the content of each image in a file.
        settings: Further arguments of :class:`ImageStream`.

    """
    shards = [Shard(public(file), partial(read, file, reading), file) for file in files]
    has_address = any(is_address(file) for file in files)
    settings.setdefault("readers", _READERS if has_address else 0)
    return ImageStream(shards, label, **settings)
