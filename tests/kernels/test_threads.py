from __future__ import annotations

import subprocess
import sys
import threading

import pytest
import torch

from torchmetrics_dna.kernels import threads
from torchmetrics_dna.kernels.threads import in_threads


@pytest.fixture(params=["torch", "pool"], autouse=True)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """On torch's threads, and where they can't be had."""
    if request.param == "pool":
        monkeypatch.setattr(threads, "_torch_parallel", lambda: None)
    elif threads._torch_parallel() is None:
        pytest.skip("torch runs on another OpenMP library")
    return request.param


@pytest.fixture(params=[1, 2, 5], autouse=True)
def count(request: pytest.FixtureRequest) -> int:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_every_task_is_called_once() -> None:
    assert sorted(in_threads(lambda i=i: i for i in range(1000))) == list(range(1000))
    assert in_threads([]) == []


def test_as_many_threads_as_torch_has(count: int) -> None:
    barrier = threading.Barrier(count)

    def meet() -> int:
        barrier.wait(timeout=60)  # which only that many threads at once can leave
        return threading.get_ident()

    assert len(set(in_threads([meet] * count))) == count


def test_errors_arrive_and_do_no_harm() -> None:
    def fail() -> None:
        raise RuntimeError("broken")

    for _ in range(3):
        with pytest.raises(RuntimeError, match="broken"):
            in_threads([fail] * 8)
        assert len(in_threads([lambda: 1] * 8)) == 8


def test_torch_goes_on_as_before() -> None:
    values = torch.arange(1_000_000.0)
    expected = values.sum()
    in_threads([lambda: torch.arange(100_000.0).sum()] * 8)
    assert values.sum() == expected


@pytest.mark.parametrize("count", [2], indirect=True)
def test_a_forked_process_has_threads_too(kind: str) -> None:
    code = f"""
import os, torch
from torchmetrics_dna.kernels import threads
if {kind == "pool"}:
    threads._torch_parallel = lambda: None
torch.set_num_threads(2)
torch.ones(10**6).sum()
assert sum(threads.in_threads([lambda: 1] * 4)) == 4
child = os.fork()
if not child:
    os._exit(sum(threads.in_threads([lambda: 1] * 4)))
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 4
"""
    subprocess.run([sys.executable, "-Wignore", "-c", code], check=True, timeout=120)
