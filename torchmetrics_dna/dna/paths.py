"""What a path means: a DNA file of ours, or files of the official implementation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from torchmetrics_dna.files.container import is_container

if TYPE_CHECKING:
    import os


def is_official(path: str | os.PathLike[str]) -> bool:
    """Whether a path means files of the official implementation: it is one of the two, or their stem and no file."""
    pair = vdna_pair(path)
    return pair is not None and not is_container(pair[1])


def vdna_pair(path: str | os.PathLike[str]) -> tuple[Path, Path] | None:
    """The ``.json`` and ``.npz`` that a path means, be it one of them or their stem; None unless both are there."""
    path = Path(path)
    if path.is_file():  # what it names, unless that is one of the two
        if path.suffix not in (".json", ".npz"):
            return None
        path = path.with_suffix("")
    pair = Path(f"{path}.json"), Path(f"{path}.npz")
    return pair if all(file.is_file() for file in pair) else None


def check_there(path: str | os.PathLike[str]) -> None:
    """FileNotFoundError unless there is a file, or official ones."""
    if not Path(path).is_file() and not is_official(path):
        raise FileNotFoundError(
            f"There is no DNA file {str(path)!r}, nor an official {Path(path).name}.json with {Path(path).name}.npz"
        )
