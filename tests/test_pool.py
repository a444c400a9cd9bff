"""The pool of processes that tests share: an error in one test is that test's, and not met by the next."""

from __future__ import annotations

import os
import signal

import pytest
from processes import call, run
from torch import distributed as dist


def pid(rank: int) -> int:
    return os.getpid()


def add_up(rank: int, world: int) -> None:
    ranks = [0] * world
    dist.all_gather_object(ranks, rank)
    assert ranks == list(range(world))


def fail(rank: int, world: int) -> None:
    if rank == 1:
        raise KeyError("of rank 1")
    dist.barrier()


def die(rank: int) -> str:
    if rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return "alive"


def test_processes_are_new_after_an_error_or_a_death_and_else_the_same() -> None:
    def pids() -> list[int]:
        return [outcome.value for outcome in call([(pid, (rank,)) for rank in range(2)])]

    run(2, add_up)
    first = pids()
    assert first == pids()
    assert len({*first, os.getpid()}) == 3
    with pytest.raises(AssertionError, match=r"(?s)process 1 of 2 failed:.*KeyError: 'of rank 1'"):
        run(2, fail)
    second = pids()
    assert not {*first} & {*second}
    run(2, add_up)
    outcomes = call([(die, (rank,)) for rank in range(2)])
    assert [(outcome.value, outcome.exit_code) for outcome in outcomes] == [("alive", None), (None, -signal.SIGKILL)]
    assert not {*second} & {*pids()}
    run(2, add_up)
