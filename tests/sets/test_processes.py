"""Processes that work together fail together, with the error of the one that failed, and end in peace."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import one_rank
import pytest
import workers
from commands import in_processes, torchrun
from processes import run

ONE_RANK = Path(one_rank.__file__)

GROUP = """
from pathlib import Path
from torch import distributed

import torchmetrics_dna.{module}

threads = lambda: set(Path("/proc/self/task").iterdir())
before = threads()
distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
of_group = threads() - before
import timm

assert of_group and of_group <= threads()
distributed.destroy_process_group()
assert not of_group & threads()
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux, to see the threads of a process")
@pytest.mark.parametrize("module", ["metrics", "sets.processes"])
def test_no_thread_outlives_its_group(module: str) -> None:
    """One that does aborts the process when it exits, now and then."""
    code = GROUP.format(module=module)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_fails_in_one_process_fails_in_all(tmp_path: Path) -> None:
    run(2, workers.failures, tmp_path)


@pytest.fixture
def shared(photo_folder: Path) -> Path:
    return photo_folder.rename(photo_folder.with_name("shared"))


def told(stderr: str) -> list[str]:
    return [line for line in stderr.splitlines() if line.startswith("torchmetrics-dna: ")]


@pytest.mark.parametrize(
    ("what", "line"),
    [
        (one_rank.elsewhere, "rank 1: There is no file or folder 'elsewhere'"),
        (
            one_rank.bug,
            "TypeError: rank 1: unsupported operand (this is unexpected; TORCHMETRICS_DNA_DEBUG=1 in the"
            " environment shows its trace)",
        ),
    ],
)
def test_the_true_error_of_one_rank_is_told_once(
    what: Callable[[], None], line: str, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shared.parent)
    start = time.monotonic()
    said = in_processes(tmp_path, "compare", "shared", "shared", "--layers", "block_0", before=what)
    assert said.codes == [2, 2]
    assert time.monotonic() - start < 60, "long before gloo's 30 minutes"
    assert told(said.stderr) == [f"torchmetrics-dna: {line}"]


@pytest.mark.slow
def test_torchrun_ends_all_when_one_dies(shared: Path) -> None:
    failed = torchrun("compare", shared, shared, "--layers", "block_0", script=ONE_RANK, check=False)
    assert failed.returncode != 0
    # the other one is ended before it sees that, or sees it first
    assert ["Another process has ended" in line for line in told(failed.stderr)] in ([], [True])
    assert sorted(re.findall(r"  exitcode +: (-?\d+)", failed.stderr)) in (["-15", "-9"], ["-9", "2"])


def test_those_who_stay_tell_that_one_is_gone(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without torchrun, which tells and ends them; here the one is gone that held what they share, too."""
    monkeypatch.chdir(shared.parent)
    without_first = partial(one_rank.without, "0")
    said = in_processes(tmp_path, "compare", "shared", "shared", "--layers", "block_0", program=without_first)
    assert said.codes == [-signal.SIGKILL, 2]
    assert len(told(said.stderr)) == 1
    assert "Another process has ended before its work was done" in told(said.stderr)[0]
    assert "Traceback" not in said.stderr
