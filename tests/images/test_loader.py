from __future__ import annotations

import os
import pickle
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


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("packed", [False, True])
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
    with pytest.raises(
        ValueError,
        match=r"^Can't read image '.*photo3b.png': it is not an image file; "
        "to leave out such images, give `skip_unreadable=True`$",
    ):
        list(load_batches(source, (8, 8), reading=Reading(num_workers=num_workers)))
    batches = list(
        load_batches(source, (8, 8), reading=Reading(batch_size=4, num_workers=num_workers, skip_unreadable=True))
    )
    assert sum(len(batch.images) for batch in batches) == 12
    left_out = [re.findall("image '(.*)':", line)[0] for batch in batches for line in batch.unreadable]
    assert left_out == [str(photo_folder / "photo3b.png")]


class Faulty(Dataset):
    """A dataset with a fault of its own."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> np.ndarray:
        if index:
            raise ERRORS[self.error]
        return np.zeros((3, 4, 3), np.uint8)


ERRORS = {
    "KeyError: 'image'": KeyError("image"),
    "MemoryError": MemoryError(),
    "IndexError: no such row": IndexError("no such row"),
    "two lines": TypeError("two\n  lines"),
}


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize("error", ERRORS)
def test_errors_of_any_kind_name_their_image(num_workers: int, error: str) -> None:
    faulty = Faulty()
    faulty.error = error
    with pytest.raises(ValueError, match=f"^Can't read image 'image 1': {error}; to leave out"):
        list(load_batches(open_source(faulty), (8, 8), reading=Reading(num_workers=num_workers)))


def test_errors_of_the_resize_name_their_image(photos: list[np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchmetrics_dna.images.loader.resize_image", lambda *_: np.zeros(-1))
    (batch,) = load_batches(open_source(photos[:1]), (8, 8), reading=Reading(skip_unreadable=True))
    assert batch.unreadable == ["Can't read image 'image 0': negative dimensions are not allowed"]


def test_images_that_are_not_resized_must_be_equally_large(photos: list[np.ndarray]) -> None:
    (batch,) = load_batches(open_source(photos), None)
    np.testing.assert_array_equal(batch.images.numpy(), np.stack(photos).transpose(0, 3, 1, 2))
    with pytest.raises(ValueError, match=r"Images differ in size \(192 x 100 and 192 x 192\)"):
        list(load_batches(open_source([photos[0], photos[1][:, :100]]), None, reading=Reading(skip_unreadable=True)))


def test_sources_can_be_sent_to_worker_processes(photo_folder: Path) -> None:
    with zipfile.ZipFile(photo_folder / "all.zip", "w") as archive:
        archive.write(photo_folder / "photo0.png", "a.png")
    source = open_source(photo_folder / "all.zip")
    first = source[0]
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(source))[0], first)


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


def test_what_goes_to_a_gpu_is_pinned(photos: list[np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    (batch,) = load_batches(open_source(photos[:2]), (8, 8), properties=True)
    pinned: list[torch.Tensor] = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: pinned.append(tensor) or tensor.clone())
    pinned_batch = batch.pin_memory()
    assert [len(tensor) for tensor in pinned] == [2, 2]
    assert torch.equal(pinned_batch.images, batch.images)
    assert torch.equal(pinned_batch.properties, batch.properties)
    assert pinned_batch.names == batch.names


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("num_workers", [0, 1])
def test_batches_are_pinned(photos: list[np.ndarray], num_workers: int) -> None:
    for batch in load_batches(
        open_source(photos[:4]), (8, 8), pin_memory=True, reading=Reading(num_workers=num_workers)
    ):
        assert batch.images.is_pinned()
