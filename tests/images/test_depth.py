"""Colours of more than 8 bits are refused, up to the last value that 8 bits hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from torchmetrics_dna.images import open_source


def ppm(path: Path, largest: int) -> Path:
    """Write an image of one colour whose values go up to ``largest``."""
    values = np.full((4, 5, 3), largest, ">u2" if largest > 255 else "u1")
    path.write_bytes(b"P6\n5 4\n%d\n" % largest + values.tobytes())
    return path


def test_one_value_more_than_8_bits_hold(tmp_path: Path) -> None:
    (fine,) = open_source([str(ppm(tmp_path / "fine.ppm", 255))])
    assert (fine == 255).all()
    with pytest.raises(ValueError, match="it has colours of 16 bits"):
        open_source([str(ppm(tmp_path / "deep.ppm", 256))]).decode(0)
