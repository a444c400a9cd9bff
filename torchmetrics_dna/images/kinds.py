"""File formats of images, and their registry. This module does not import torch, so that help texts appear fast."""

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
    """File format of images.

    Attributes:
        name: Name of the format in messages.
        suffixes: Suffixes of the files, in lower case.
        opener: Function that opens files of the format as one set. Its arguments are the paths of the files, the label
            of the set, and the options for reading.
        options: Names of the options that apply to the format, out of ``"column"`` and ``"fps"``.
        arrays: Function that returns the arrays in a file by name. The arrays may be inputs other than images, such as
            embeddings. Its arguments are the path of the file, and the column or None. None for a format without
            arrays.

    """

    name: str
    suffixes: tuple[str, ...]
    opener: Callable[[Sequence[str], str, Reading], Images]
    options: tuple[str, ...] = ()
    arrays: Callable[[str, str | None], Mapping[str, Any]] | None = None

    def open(self, files: Sequence[str], label: str, reading: Reading) -> Images:
        """Open files as one set of images with the name ``label``."""
        images = self.opener(files, label, reading)
        # The array of a .npy file has no name, so the option `column` does not apply to it.
        has_options = not all(file.endswith(".npy") for file in files)
        images.options = frozenset(self.options) if has_options else frozenset()
        return images


def _function(path: str) -> Lazy:
    """Return a function of this package that is imported when it is first called.

    Args:
        path: Module and name of the function, such as ``"sources:open_lists"``.

    """
    return Lazy(f"torchmetrics_dna.images.{path}")


def _format_of_arrays(name: str, suffixes: tuple[str, ...], opener: str, arrays: str) -> FileKind:
    """Return a format whose files may hold several arrays, each with a name."""
    return FileKind(name, suffixes, _function(opener), ("column",), _function(arrays))


_VIDEOS = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg")
LIST = FileKind(".txt with one path or address per line", (".txt",), _function("sources:open_lists"))
IMAGE = FileKind("image file", EXTENSIONS, _function("sources:open_images"))
KINDS = Registry(
    "suffix",
    (
        FileKind(".zip", (".zip",), _function("archives:open_zips")),
        LIST,
        _format_of_arrays(".npy or .npz of (B, H, W, C)", (".npy", ".npz"), "arrays:open_arrays", "arrays:read_arrays"),
        FileKind(".tar", (".tar", ".tgz", ".gz", ".bz2", ".xz"), _function("archives:open_tars"), ("column",)),
        _format_of_arrays(".parquet", (".parquet",), "parquet:open_parquet", "parquet:read_lists"),
        _format_of_arrays(".safetensors", (".safetensors",), "arrays:refuse_embeddings", "arrays:read_safetensors"),
        FileKind("video", _VIDEOS, _function("video:open_videos"), ("fps",)),
        IMAGE,
    ),
    lambda kind: kind.suffixes,
)


def unquoted(words: Sequence[str]) -> str:
    """Return a remedy if all words are paths of image files. The text is empty if they are not.

    A shell replaces a pattern without quotes by the paths of the files that match it.
    """
    are_images = all(word.lower().endswith(EXTENSIONS) and Path(word).is_file() for word in words)
    if len(words) < 2 or not are_images:
        return ""
    first = Path(words[0])
    pattern = str(first.with_name(f"*{first.suffix}"))
    return f"for one set of image files quote the pattern, such as {pattern!r}"
