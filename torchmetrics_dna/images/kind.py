"""Record of a kind of image file; each kind has one, in a file of its own."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from torchmetrics_dna.images.addresses import is_address, public
from torchmetrics_dna.images.base import Images, ImageSource, ImageStream, Shard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torchmetrics_dna.images.reading import Reading


_READERS = 4  # of files at addresses


class Kind(NamedTuple):
    """A kind of file that images are in.

    Attributes:
        name: What it is called where the kinds are listed.
        suffixes: How names of such files end, in lower case.
        open: Opens some files of the kind as one set; takes them, what to call the set, and how to read.
        choices: Which of ``"column"`` and ``"fps"`` have a meaning for it.

    """

    name: str
    suffixes: tuple[str, ...]
    open: Callable[[Sequence[str], str, Reading], Images]
    choices: tuple[str, ...] = ()


def stream_of(
    files: Sequence[str],
    label: str,
    reading: Reading,
    read: Callable[[str, Reading], Iterator[tuple[str, Any]]],
    **settings: Any,
) -> ImageStream:
    """A stream with a shard for each file, as ``read`` gives its images by their names in it.

    Settings are those of :class:`ImageStream`.

    Files at addresses are read ahead, several at a time, for a server makes one wait.
    """
    shards = [Shard(public(file), partial(_named, read, file, reading), file) for file in files]
    settings = {"readers": _READERS if any(map(is_address, files)) else 0, **settings}
    return ImageStream(shards, label, reading.exif_orientation, **settings)


def _named(
    read: Callable[[str, Reading], Iterator[tuple[str, Any]]], file: str, reading: Reading
) -> Iterator[tuple[str, Any]]:
    for name, image in read(file, reading):
        yield f"{public(file)}/{name}", image


def joined(sources: Sequence[ImageSource], label: str, reading: Reading) -> ImageSource:
    """The images of several sources as those of one."""
    if len(sources) == 1:
        return sources[0]
    places = [(k, i) for k, source in enumerate(sources) for i in range(len(source))]
    names = [sources[k].names[i] for k, i in places]
    fetch, stamp = partial(_fetch_joined, sources, places), partial(_stamp_joined, sources, places)
    roots = {root for source in sources for root in source.roots}
    return ImageSource(names, fetch, label, reading.exif_orientation, stamp, roots)


def _fetch_joined(sources: Sequence[ImageSource], places: Sequence[tuple[int, int]], index: int) -> Any:
    k, i = places[index]
    return sources[k].fetch(i)


def _stamp_joined(sources: Sequence[ImageSource], places: Sequence[tuple[int, int]], index: int) -> str:
    k, i = places[index]
    stamp = sources[k].stamp
    return stamp(i) if stamp else ""
