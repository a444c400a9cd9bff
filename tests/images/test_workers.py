"""Worker processes: a script is not run anew in them, and Ctrl-C is not lost as they start."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from commands import in_processes

from torchmetrics_dna.__main__ import main

BEGIN = """
import multiprocessing, os, sys
import numpy as np
import torch
from torchmetrics_dna.images import Reading, open_source
from torchmetrics_dna.images.loader import load_batches

multiprocessing.set_start_method(sys.argv[1], force=True)
print("begins", flush=True)

def mean(images):
    batches = load_batches(open_source(images), (8, 8), reading=Reading(2, num_workers=1), notes=note)
    batches = list(batches)
    workers = {int(pid) for batch in batches for pid in batch.notes["process"]} - {os.getpid()}
    print(f"{torch.cat([batch.images for batch in batches]).mean():.6f}", len(workers), flush=True)

def note(image):
    return {"process": torch.tensor(os.getpid())}

images = [np.full((9, 9, 3), level, np.uint8) for level in range(0, 250, 50)]

class Local:
    def __init__(self):
        self.changed = lambda i: images[i]
    def __len__(self):
        return len(images)
    def __getitem__(self, i):
        return self.changed(i)
"""
BARE = "logger = __name__\nmean(images)\n"
GUARDED = "if __name__ == '__main__':\n    mean(images)\n"
LAMBDA = "if __name__ == '__main__':\n    mean(Local())\n"
MEAN = "0.392157"  # of the levels 0, 50, 100, 150, 200


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
@pytest.mark.parametrize(
    ("end", "workers", "runs", "told"),
    [
        (
            BARE,
            0,
            1,
            "would run this script anew, so images are decoded in this process; for workers, put what it does",
        ),
        (GUARDED, 1, 2, ""),
        (LAMBDA, 0, 1, "can't be sent these images (Can't "),
    ],
    ids=["bare", "guarded", "lambda"],
)
def test_a_script_begins_its_work_once(
    method: str, end: str, workers: int, runs: int, told: str, tmp_path: Path
) -> None:
    """Where workers are not forked, they import the script."""
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip("not on this platform")
    (tmp_path / "script.py").write_text(BEGIN + end)
    command = [sys.executable, "-W", "always::UserWarning", "script.py", method]
    process = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=200)
    assert process.stdout.splitlines() == ["begins"] * runs + [f"{MEAN} {workers}"]
    warnings = [line for line in process.stderr.splitlines() if "Warning: " in line]
    assert len(warnings) == bool(told), process.stderr
    assert told in process.stderr


def interrupted() -> None:
    """Run the command line with Ctrl-C in the instant in which a worker is forked."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background jobs ignore
    os.register_at_fork(after_in_parent=lambda: os.kill(os.getpid(), signal.SIGINT))
    main()


@pytest.mark.slow
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
