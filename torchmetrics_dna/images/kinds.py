"""Kinds of files that images are in: a record of each, and their registry; imports no torch, so that help is fast."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from torchmetrics_dna.images.extensions import EXTENSIONS
from torchmetrics_dna.registry import Lazy, Registry

if TYPE_CHECKING:
    from torchmetrics_dna.images.reading import Reading
    from torchmetrics_dna.images.sets import Images


class FileKind(NamedTuple):
    """A kind of file that images are in.

    Attributes:
        name: What it is called where the kinds are listed.
        suffixes: How names of such files end, in lower case.
        opener: Function that opens some files of the kind as one set; it takes them, what to call the set, and how to
            read.
        options: Which of ``"column"`` and ``"fps"`` apply to it.
        arrays: Function of a file and the column, if it is given, that returns the arrays in it by name, which may be
            inputs that are no images, such as embeddings. None if it has none.

    """

    name: str
    suffixes: tuple[str, ...]
    opener: Callable[[Sequence[str], str, Reading], Images]
    options: tuple[str, ...] = ()
    arrays: Callable[[str, str | None], Mapping[str, Any]] | None = None

    def open(self, files: Sequence[str], label: str, reading: Reading) -> Images:
        """Open files as one set of images, called ``label``."""
        images = self.opener(files, label, reading)
        # Arrays in .npy files have no names, so no column can be chosen.
        has_options = not all(file.endswith(".npy") for file in files)
        images.options = frozenset(self.options) if has_options else frozenset()
        return images


def _by(function: str) -> Lazy:
    return Lazy(f"torchmetrics_dna.images.{function}")


def _of_arrays(opener: str, arrays: str) -> tuple[Lazy, tuple[str, ...], Lazy]:
    return _by(opener), ("column",), _by(arrays)


_VIDEOS = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg")
LIST = FileKind(".txt with one path or address a line", (".txt",), _by("sources:open_lists"))
IMAGE = FileKind("image file", EXTENSIONS, _by("sources:open_images"))
KINDS = Registry(
    "suffix",
    (
        FileKind(".zip", (".zip",), _by("archives:open_zips")),
        LIST,
        FileKind(
            ".npy or .npz of (B, H, W, C)", (".npy", ".npz"), *_of_arrays("arrays:open_arrays", "arrays:read_arrays")
        ),
        FileKind(".tar", (".tar", ".tgz", ".gz", ".bz2", ".xz"), _by("archives:open_tars"), ("column",)),
        FileKind(".parquet", (".parquet",), *_of_arrays("parquet:open_parquet", "parquet:read_lists")),
        FileKind(".safetensors", (".safetensors",), *_of_arrays("arrays:refuse_embeddings", "arrays:read_safetensors")),
        FileKind("video", _VIDEOS, _by("video:open_videos"), ("fps",)),
        IMAGE,
    ),
    lambda kind: kind.suffixes,
)


def unquoted(words: Sequence[str]) -> str:
    """Return what to do about several image files, as a shell makes them of a pattern; nothing for other words."""
    are_images = all(word.lower().endswith(EXTENSIONS) and Path(word).is_file() for word in words)
    if len(words) < 2 or not are_images:
        return ""
    first = Path(words[0])
    pattern = str(first.with_name(f"*{first.suffix}"))
    return f"for one set of image files quote the pattern, such as {pattern!r}"
