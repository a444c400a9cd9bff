"""Processes that work together fail together, with the error of the one that failed, and exit cleanly."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import one_rank
import pytest
from commands import in_processes, torchrun
from limits import HANG
from makers import EXTRACTOR, FAKE, REAL
from processes import run
from torch import distributed as dist

from torchmetrics_dna import compare, make_dna, report
from torchmetrics_dna import rank as rank_images
from torchmetrics_dna.jobs.make import measure_ranges
from torchmetrics_dna.jobs.processes import gather, in_step, raise_if_peer_failed

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
@pytest.mark.outer
@pytest.mark.parametrize("module", ["metrics", "jobs.processes"])
def test_no_thread_outlives_its_group(module: str) -> None:
    """A thread that outlives its group aborts the process when it exits, now and then."""
    code = GROUP.format(module=module)
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr


def failures(rank: int, world: int) -> None:
    """All raise the first error of any, also those who wait or are busy; and go on together after it."""

    class LocalError(ValueError):
        pass

    def busy() -> None:
        end = time.monotonic() + HANG
        while time.monotonic() < end:
            time.sleep(0.01)
            raise_if_peer_failed()
        pytest.fail("never told that another process has failed")

    def waiting() -> None:
        gather(None)
        gather(None)

    errors = (
        (FileNotFoundError(2, "no such file", "x"), FileNotFoundError, r"rank 1: \[Errno 2\] no such file: 'x'"),
        (TypeError("unsupported"), TypeError, "rank 1: unsupported"),
        (OddError("a", "b"), LookupError, r"rank 1: OddError: \('a', 'b'\)"),
        (LocalError("x"), ValueError, "rank 1: x"),
        (MemoryError(), MemoryError, "rank 1: MemoryError"),
        (Exception("x"), RuntimeError, "rank 1: x"),
    )
    for other_ranks, (error, kind, message) in zip((busy, *[waiting] * 5), errors, strict=True):
        with pytest.raises(kind, match=f"^{message}$") as caught, in_step():  # noqa: PT012
            with in_step():
                if rank == 1:
                    raise error
            other_ranks()
        assert (type(caught.value), caught.value.from_rank) == (kind, 1)
        assert caught.value.__cause__ is (error if rank == 1 else None)
    # after the last exchange, such as while it writes
    with pytest.raises(OSError, match="^rank 1: the disk is full$"), in_step():  # noqa: PT012
        gather(None)
        if rank == 1:
            raise OSError("the disk is full")
    with pytest.raises(ValueError, match="^all alike$"), in_step():
        raise ValueError("all alike")
    with pytest.raises(ValueError, match="^rank 0: not alike 0$"), in_step():
        raise ValueError(f"not alike {rank}")
    if rank == 1:
        with pytest.raises(ValueError, match="^alone$"), in_step(shared=False):
            raise ValueError("alone")
    assert gather(rank) == list(range(world))

    nowhere = "nowhere" if rank == 1 else REAL
    for call in (
        lambda: compare(REAL, nowhere, EXTRACTOR, distributed=True),
        lambda: make_dna(nowhere, EXTRACTOR, distributed=True),
        lambda: rank_images(nowhere, REAL, EXTRACTOR, distributed=True),
        lambda: measure_ranges([REAL, nowhere], EXTRACTOR, "widen", distributed=True),
        lambda: report(REAL, nowhere, "x.html", EXTRACTOR, distributed=True),
    ):
        with pytest.raises(FileNotFoundError, match="^rank 1: There is no file or folder 'nowhere'$"):
            call()
    with pytest.raises(ValueError, match="^rank 1: Argument `kind`"):
        make_dna(REAL, EXTRACTOR, kind="histogram" if rank == 0 else "x", distributed=True)
    assert compare(REAL, FAKE, EXTRACTOR, distributed=True).num_images == {"a": len(REAL), "b": len(FAKE)}


def test_what_fails_in_one_process_fails_in_all(tmp_path: Path) -> None:
    run(2, failures)


def test_where_a_process_is_gone_its_own_error_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("connection closed by peer")

    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        monkeypatch.setattr(dist, "all_gather_object", broken)
        with pytest.raises(RuntimeError, match=r"Another process has ended .*connection closed"):
            gather(1)
        with pytest.raises(ValueError, match="its own"), in_step():
            raise ValueError("its own")
    finally:
        dist.destroy_process_group()


@pytest.fixture
def shared(photo_folder: Path) -> Path:
    for photo in sorted(photo_folder.iterdir())[4:]:
        photo.unlink()
    return photo_folder.rename(photo_folder.with_name("shared"))


def error_lines(stderr: str) -> list[str]:
    return [line for line in stderr.splitlines() if line.startswith("torchmetrics-dna: ")]


def test_the_true_error_of_one_rank_is_told_once(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shared.parent)
    output = in_processes(tmp_path, "compare", "shared", "shared", "--layers", "block_0", before=one_rank.bug)
    assert output.codes == [2, 2]
    (line,) = error_lines(output.stderr)
    assert "rank 1: unsupported operand" in line


@pytest.mark.outer
def test_torchrun_ends_all_when_one_dies(shared: Path) -> None:
    process = torchrun("compare", shared, shared, "--layers", "block_0", script=ONE_RANK, check=False)
    assert process.returncode != 0
    # the other one is ended before it sees that, or sees it first
    assert ["Another process has ended" in line for line in error_lines(process.stderr)] in ([], [True])
    assert sorted(re.findall(r"  exitcode +: (-?\d+)", process.stderr)) in (["-15", "-9"], ["-9", "2"])


def test_those_who_stay_tell_that_one_is_gone(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Case without torchrun, which would end them; here, rank 0 dies, which held the shared store, too."""
    monkeypatch.chdir(shared.parent)
    without_first = partial(one_rank.without, "0")
    output = in_processes(tmp_path, "compare", "shared", "shared", "--layers", "block_0", program=without_first)
    assert output.codes == [-signal.SIGKILL, 2]
    assert len(error_lines(output.stderr)) == 1
    assert "Another process has ended" in error_lines(output.stderr)[0]
    assert "Traceback" not in output.stderr


class OddError(KeyError):
    """Error that other processes may not have, and whose constructor needs more than a message."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(first, second)
