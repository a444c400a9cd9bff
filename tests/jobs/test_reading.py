"""Every option of reading that changes pixels changes what may be resumed from, and what a folder keeps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import kinds
import numpy as np
import pytest
from engines import StoppedError, stopping
from networks import pixels
from PIL import Image

from torchmetrics_dna import Checkpoints, Reading, make_dna
from torchmetrics_dna.images import ImageSource, open_source
from torchmetrics_dna.jobs.arguments import Arguments
from torchmetrics_dna.jobs.make import make_files

EXTRACTOR, RANGES = pixels()
IMAGES = np.random.default_rng(0).integers(0, 256, (12, 6, 5, 3)).astype(np.uint8)


def turned(folder: Path) -> Path:
    """Images whose EXIF tag turns them."""
    (folder / "turned").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 3
    for number, image in enumerate(IMAGES):
        Image.fromarray(image).save(folder / "turned" / f"{number}.png", exif=exif)
    return folder / "turned"


def two_arrays(folder: Path) -> Path:
    np.savez(folder / "two.npz", a=IMAGES, b=IMAGES[::-1] // 2)
    return folder / "two.npz"


def videos(folder: Path) -> str:
    frames = np.kron(IMAGES, np.ones((8, 8, 1), np.uint8))
    for number in range(3):
        kinds.encoded(folder / f"{number}.mkv", "mpeg4", frames[number:])
    return f"{folder}/*.mkv"


# a source whose pixels the option changes, and two values
CHANGES: dict[str, tuple[Callable[[Path], Any], Any, Any]] = {
    "exif_orientation": (turned, False, True),
    "column": (two_arrays, "a", "b"),
    "fps": (videos, None, 3.0),
}
CHANGE_NO_PIXEL = {"batch_size", "num_workers", "skip_unreadable", "progress"}
every_change = pytest.mark.parametrize("name", CHANGES)


def test_all_options_are_tried() -> None:
    assert {field.name for field in fields(Reading)} == CHANGES.keys() | CHANGE_NO_PIXEL


@every_change
def test_resuming(name: str, tmp_path: Path) -> None:
    make, one, other = CHANGES[name]
    source, reading = make(tmp_path), Reading(3, 0, **{name: one})
    arguments = Arguments(EXTRACTOR, num_bins=40, ranges=RANGES, num_folds=None, reading=reading)
    of_other = replace(arguments, reading=replace(reading, **{name: other}))
    shared = {"num_bins": 40, "ranges": RANGES}
    made = [make_dna(source, EXTRACTOR, reading=each.reading, **shared) for each in (arguments, of_other)]
    assert made[0].digest != made[1].digest
    stop_after = 3 if isinstance(open_source(source, reading), ImageSource) else 25
    stopped = replace(arguments, reading=replace(reading, progress=stopping(stop_after)))
    with pytest.raises(StoppedError):
        make_files(source, tmp_path / "x.dna.npz", ["histogram"], stopped)
    with pytest.raises(ValueError, match="are of another job, their .* differ: "):
        make_files(source, tmp_path / "x.dna.npz", ["histogram"], of_other, resume=True)
    make_files(source, tmp_path / "x.dna.npz", ["histogram"], arguments, resume=True)


@every_change
def test_the_reference_in_a_folder(name: str, tmp_path: Path) -> None:
    make, one, other = CHANGES[name]
    source, reading = make(tmp_path), Reading(3, 0, **{name: one})
    if not isinstance(open_source(source, reading), ImageSource):
        return  # a stream is not read again to be checked
    Checkpoints(source, tmp_path / "run", EXTRACTOR, reading=reading)
    Checkpoints(source, tmp_path / "run", EXTRACTOR, reading=replace(reading, batch_size=5))
    with pytest.raises(ValueError, match="Another reference is in"):
        Checkpoints(source, tmp_path / "run", EXTRACTOR, reading=replace(reading, **{name: other}))
