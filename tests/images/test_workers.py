"""Batches are whole and in order, whoever decodes them; workers start by any method, and Ctrl-C is not lost."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import in_processes
from limits import HANG
from PIL import Image
from torch.utils.data import Dataset

from torchmetrics_dna.__main__ import main
from torchmetrics_dna.images import Reading, open_source
from torchmetrics_dna.images.loader import default_workers, load_batches


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
    class Faulty(Dataset):
        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int) -> np.ndarray:
            if index:
                raise error
            return np.zeros((3, 4, 3), np.uint8)

    with pytest.raises(ValueError, match=f"^Can't read image 'image 1': {told}; to skip them"):
        list(
            load_batches(
                open_source(Faulty()), (8, 8), reading=Reading(num_workers=num_workers), notes=None, channels=3
            )
        )


def test_images_that_are_not_resized_must_be_equally_large(photos: list[np.ndarray]) -> None:
    (batch,) = load_batches(open_source(photos), None, reading=None, notes=None, channels=3)
    np.testing.assert_array_equal(batch.images.numpy(), np.stack(photos).transpose(0, 3, 1, 2))
    with pytest.raises(ValueError, match=r"Images differ in shape \(\(3, 192, 100\) and \(3, 192, 192\)\)"):
        list(
            load_batches(
                open_source([photos[0], photos[1][:, :100]]),
                None,
                reading=Reading(skip_unreadable=True),
                notes=None,
                channels=3,
            )
        )


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
        open_source(photos[:4]),
        (8, 8),
        pin_memory=True,
        reading=Reading(num_workers=num_workers),
        notes=None,
        channels=3,
    ):
        assert batch.images.is_pinned()


BEGIN = """
import multiprocessing, os, sys
from pathlib import Path
import numpy as np
import torch
from PIL import Image
from torchmetrics_dna import DNAExtractor, make_dna

multiprocessing.set_start_method(os.environ["METHOD"], force=True)
print("begins", flush=True)

class Own:
    def __len__(self):
        return 66
    def __getitem__(self, i):
        Path("processes", str(os.getpid())).touch()
        return np.asarray(Image.open(f"photos/{i:02}.png"))

def measure(images=None):
    network = torch.nn.Conv2d(3, 1, 1)
    torch.nn.init.ones_(network.weight), torch.nn.init.zeros_(network.bias)
    extractor = DNAExtractor(network, input_size=(12, 12))
    mean = make_dna(Own() if images is None else images, extractor, kind="gaussian").mean.item()
    Path("processes", str(os.getpid())).unlink(missing_ok=True)
    print(f"{mean:.5f}", len(os.listdir("processes")) > 0, flush=True)
"""
GUARD = "if __name__ == '__main__':\n    "
MEAN = 3 * np.mean([3 * i for i in range(66)]) / 255
# how a script starts, what it does, and why its images are not decoded by workers that are not forked
STARTS = {
    "guarded": (["script.py"], f"{GUARD}measure()", ""),
    "bare": (["script.py"], "logger = __name__\nmeasure()", "would run this script anew"),
    "bare, -m": (["-m", "script"], "measure()", "would run this script anew"),
    "imported by a script": (["imports.py"], "measure()", "would run this script anew"),
    "stdin": (["-"], "measure('photos')", "can't import this script, '<stdin>'"),
    "-c": (["-c", BEGIN + "measure()"], "", "can't open these images (Can't get attribute 'Own'"),
    "lambda": (["script.py"], f"{GUARD}own = Own(); own.x = lambda: 0; measure(own)", "can't be sent these images (C"),
    "in guard": (["script.py"], f"{GUARD}class In(Own): pass\n    measure(In())", "can't open these images (Can't get"),
    "pool": (["script.py"], f"{GUARD}multiprocessing.Pool(1).apply(measure)", ""),
}  # fmt: skip


@pytest.mark.outer
@pytest.mark.parametrize(
    ("method", "start"),
    [("fork", "guarded"), ("fork", "bare"), *itertools.product(["forkserver", "spawn"], STARTS)],
)
def test_scripts_work_by_any_start_method(method: str, start: str, tmp_path: Path) -> None:
    """Processes that are not forked import the main script, and may not find in it what the images need."""
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip("not on this platform")
    arguments, end, reason = STARTS[start]
    (tmp_path / "processes").mkdir()
    (tmp_path / "photos").mkdir()
    for i in range(66):
        Image.new("RGB", (12, 12), (3 * i, 3 * i, 3 * i)).save(tmp_path / f"photos/{i:02}.png")
    (tmp_path / "script.py").write_text(BEGIN + end)
    (tmp_path / "imports.py").write_text("import script")
    process = subprocess.run(
        [sys.executable, "-W", "always::UserWarning", *arguments],
        env={**os.environ, "METHOD": method}, cwd=tmp_path, input=BEGIN + end if arguments == ["-"] else None,
        capture_output=True, text=True, check=True, timeout=HANG,
    )  # fmt: skip
    told = reason if method != "fork" else ""
    # on a busy machine, Python's own tracker of semaphores may miss that one was freed
    lines = [line for line in process.stderr.splitlines() if "resource_tracker" not in line]
    warnings = [line for line in lines if "Warning: " in line]
    assert len(warnings) == bool(told), process.stderr
    assert told in process.stderr
    *begins, result = process.stdout.splitlines()
    assert result == f"{MEAN:.5f} {not told and start != 'pool'}"
    if "open" not in told and (told or method == "fork"):
        assert begins == ["begins"]


def interrupted() -> None:
    """Run the command line with Ctrl-C in the instant in which a worker is forked."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background jobs ignore
    os.register_at_fork(after_in_parent=lambda: os.kill(os.getpid(), signal.SIGINT))
    main()


@pytest.mark.outer
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a fork")
def test_ctrl_c_while_workers_start_is_not_lost(
    tmp_path: Path, photo_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photo_folder)
    output = in_processes(
        tmp_path, "make", ".", "-o", tmp_path / "x.dna.npz", "--num-workers", 2, "--layers", "block_0",
        program=interrupted, world=1,
    )  # fmt: skip
    assert output.codes == [130], output.stderr
    assert "torchmetrics-dna: interrupted" in output.stderr
    assert not list(tmp_path.glob("x.dna.npz*"))
