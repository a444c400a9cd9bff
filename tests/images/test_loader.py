from __future__ import annotations

import os
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from torchmetrics_dna.images import Reading, open_source
from torchmetrics_dna.images.loader import default_workers, load_batches
from torchmetrics_dna.images.resize import resize_image


@pytest.mark.parametrize(("num_workers", "packed"), [(0, False), (2, True)])
def test_batches_hold_all_images_in_order(photo_folder: Path, num_workers: int, packed: bool) -> None:
    source = open_source(photo_folder)
    expected = [resize_image(image, (50, 60)) for image in source]
    if packed:
        with zipfile.ZipFile(photo_folder / "all.zip", "w") as archive:
            for name in source.names:
                archive.write(name, Path(name).name)
        source = open_source(photo_folder / "all.zip")
    batches = list(load_batches(source, (50, 60), reading=Reading(batch_size=5, num_workers=num_workers)))
    assert [len(batch.images) for batch in batches] == [5, 5, 2]
    np.testing.assert_array_equal(torch.cat([batch.images for batch in batches]).numpy(), np.stack(expected))


@pytest.mark.parametrize("num_workers", [0, 1])
def test_unreadable_images_stop_the_run_or_are_reported(photo_folder: Path, num_workers: int) -> None:
    (photo_folder / "photo3b.png").write_text("no picture")
    source = open_source(photo_folder)
    with pytest.raises(ValueError, match=r"^Can't read image '.*photo3b.png': it is not an image file; to leave out"):
        list(load_batches(source, (8, 8), reading=Reading(num_workers=num_workers)))
    batches = list(
        load_batches(source, (8, 8), reading=Reading(batch_size=4, num_workers=num_workers, skip_unreadable=True))
    )
    assert sum(len(batch.images) for batch in batches) == 12
    left_out = [re.findall("image ('.*'):", line)[0] for batch in batches for line in batch.unreadable]
    assert left_out == [repr(str(photo_folder / "photo3b.png"))]


@pytest.mark.parametrize(
    ("error", "told", "num_workers"),
    [
        (KeyError("image"), "KeyError: 'image'", 0),
        (MemoryError(), "MemoryError", 1),
        (IndexError("no such row"), "IndexError: no such row", 0),
        (TypeError("two\n  lines"), "two lines", 0),
    ],
)
def test_errors_of_any_kind_name_their_image(error: Exception, told: str, num_workers: int) -> None:
    with pytest.raises(ValueError, match=f"^Can't read image 'image 1': {told}; to leave out"):
        list(load_batches(open_source(Faulty(error)), (8, 8), reading=Reading(num_workers=num_workers)))


class Faulty(Dataset):
    """A dataset with a fault of its own."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> np.ndarray:
        if index:
            raise self.error
        return np.zeros((3, 4, 3), np.uint8)


def test_images_that_are_not_resized_must_be_equally_large(photos: list[np.ndarray]) -> None:
    (batch,) = load_batches(open_source(photos), None)
    np.testing.assert_array_equal(batch.images.numpy(), np.stack(photos).transpose(0, 3, 1, 2))
    with pytest.raises(ValueError, match=r"Images differ in shape \(\(3, 192, 100\) and \(3, 192, 192\)\)"):
        list(load_batches(open_source([photos[0], photos[1][:, :100]]), None, reading=Reading(skip_unreadable=True)))


@pytest.mark.parametrize(
    ("images", "cores", "processes", "expected"),
    [(63, 4, 1, 0), (64, 4, 1, 4), (64, 1, 1, 1), (64, 64, 1, 8), (64, 8, 2, 4), (64, 2, 4, 1), (64, 64, 4, 8)],
)
def test_workers_are_as_many_as_the_cores_that_may_be_used(
    images: int, cores: int, processes: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 1000)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    assert default_workers(images) == expected
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    assert default_workers(images) == expected


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("num_workers", [0, 1])
def test_batches_are_pinned(photos: list[np.ndarray], num_workers: int) -> None:
    for batch in load_batches(
        open_source(photos[:4]), (8, 8), pin_memory=True, reading=Reading(num_workers=num_workers)
    ):
        assert batch.images.is_pinned()
