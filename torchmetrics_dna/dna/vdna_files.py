"""Find the two files of the reference implementation (vdna): a ``.json`` and an ``.npz`` of the same name.

This module does not import torch.
"""

from __future__ import annotations

import os
from pathlib import Path

from torchmetrics_dna.files.container import is_container


def is_vdna_path(path: str | os.PathLike[str]) -> bool:
    """Return True if a path is either of the two files of vdna, or their path without a suffix."""
    pair = vdna_pair(path)
    return pair is not None and not is_container(pair[1])


def vdna_pair(path: str | os.PathLike[str]) -> tuple[Path, Path] | None:
    """Return the ``.json`` and the ``.npz``, given either file or their path without suffix; None unless both exist."""
    stem = Path(path)
    # The path of an existing file must be that of one of the two files.
    if stem.is_file():
        if stem.suffix not in (".json", ".npz"):
            return None
        stem = stem.with_suffix("")
    described = Path(f"{stem}.json")
    arrays = Path(f"{stem}.npz")
    if not described.is_file() or not arrays.is_file():
        return None
    return described, arrays
