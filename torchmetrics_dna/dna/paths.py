"""Distinguish our DNA files from those of the official implementation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os


def is_official(path: str | os.PathLike[str]) -> bool:
    """True if a path is either of the two files of the official implementation, or their stem and no file itself."""
    from torchmetrics_dna.files.container import is_container  # by numpy, which a missing path does not need

    pair = vdna_pair(path)
    return pair is not None and not is_container(pair[1])


def vdna_pair(path: str | os.PathLike[str]) -> tuple[Path, Path] | None:
    """Return the ``.json`` and ``.npz`` of a path that is either of them or their stem; None unless both exist."""
    path = Path(path)
    if path.is_file():  # an existing file is never a stem
        if path.suffix not in (".json", ".npz"):
            return None
        path = path.with_suffix("")
    pair = Path(f"{path}.json"), Path(f"{path}.npz")
    return pair if all(file.is_file() for file in pair) else None


def check_dna_file(path: str | os.PathLike[str]) -> None:
    """Raise FileNotFoundError unless a file or an official pair exists."""
    if not Path(path).is_file() and not is_official(path):
        if Path(path).is_dir():
            raise FileNotFoundError(f"{str(path)!r} is a folder, not a DNA file; make the DNA of its images first")
        raise FileNotFoundError(
            f"There is no DNA file {str(path)!r}, nor an official {Path(path).name}.json with {Path(path).name}.npz"
        )
