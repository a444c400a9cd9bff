"""The outputs of the official implementation: where they lie beside the checkout, else the copy kept here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

_BESIDE = Path(__file__).parents[3] / "shared" / "golden"
GOLDEN = _BESIDE if _BESIDE.is_dir() else Path(__file__).parents[1] / "data" / "golden"


def load(name: str) -> dict[str, np.ndarray]:
    """All arrays of a file. The test is skipped if the source archive of a release lacks that file."""
    if not (GOLDEN / name).exists():
        pytest.skip(f"{name} is in the repository only")
    with np.load(GOLDEN / name, allow_pickle=False) as file:
        return dict(file)


def channels_first(activations: np.ndarray, layout: str) -> Tensor:
    """Golden activations with neurons on axis 1."""
    values = torch.from_numpy(activations)
    return values.transpose(1, 2) if layout == "BSC" else values
