"""A pool of processes that tests share: they are started once, and import torch once.

``run`` joins some of them into a gloo group and calls a function in each. ``call`` leaves the group to the function.
Functions stand beside the tests that give them. After a failure or a death the next call starts new processes.
"""

from __future__ import annotations

import atexit
import datetime
import importlib.util
import io
import multiprocessing
import pickle
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from functools import cache
from multiprocessing import connection
from pathlib import Path
from typing import Any, NamedTuple

import torch
from limits import HANG
from torch import distributed as dist

ROOT = Path(__file__).parents[2]
GRACE = 5.0  # for processes whose peer has failed, which may hear of that before the tests do


class Outcome(NamedTuple):
    """End of a function in one process: its value, the traceback of its error, or the exit code of a death."""

    value: Any = None
    error: str | None = None
    exit_code: int | None = None


def run(world: int, function: Callable[..., object], *arguments: object) -> None:
    """Call ``function(rank, world, *arguments)`` in as many processes of one gloo group.

    Raises:
        AssertionError: With the tracebacks of all that failed.

    """
    with tempfile.TemporaryDirectory() as folder:
        meeting = f"{folder}/store"
        outcomes = call([(_in_group, (rank, world, meeting, function, arguments)) for rank in range(world)])
    for rank, outcome in enumerate(outcomes):
        assert outcome.exit_code is None, f"process {rank} of {world} died, exit code {outcome.exit_code}"


def call(tasks: Sequence[tuple[Callable[..., object], tuple[object, ...]]]) -> list[Outcome]:
    """Call each function with its arguments, in a process each.

    Args:
        tasks: A function and its arguments for each process. A function that leaves the process in a state that
            others would notice is followed by :func:`end_all`.

    Raises:
        AssertionError: With the tracebacks of all that failed, or if some do not end in time.

    """
    # a function and its module are named in what is pickled, which a process imports from the file
    contents = [pickle.dumps(task) for task in tasks]
    if not all(member.process.is_alive() for member in _members):
        end_all()
    while len(_members) < len(tasks):
        _members.append(_Member())
    members = _members[: len(tasks)]
    for member, content in zip(members, contents, strict=True):
        member.pipe.send_bytes(content)
    outcomes: dict[int, Outcome] = {}
    end = time.monotonic() + HANG
    while len(outcomes) < len(tasks):
        pipes = {member.pipe: i for i, member in enumerate(members) if i not in outcomes}
        ready = connection.wait(list(pipes), max(0.0, end - time.monotonic()))
        if not ready:
            break
        for pipe in ready:
            outcome = outcomes[pipes[pipe]] = members[pipes[pipe]].receive()
            if outcome.error is not None:
                end = min(end, time.monotonic() + GRACE)
    failed = {i: outcome.error for i, outcome in sorted(outcomes.items()) if outcome.error is not None}
    if failed or len(outcomes) < len(tasks) or any(outcome.exit_code is not None for outcome in outcomes.values()):
        end_all()
    assert not failed, "\n".join(f"process {i} of {len(tasks)} failed:\n{error}" for i, error in failed.items())
    assert len(outcomes) == len(tasks), f"of {len(tasks)} processes, only {sorted(outcomes)} ended in {HANG} s"
    return [outcomes[i] for i in range(len(tasks))]


def end_all() -> None:
    """End the processes; the next call starts new ones."""
    while _members:
        member = _members.pop()
        member.process.kill()
        member.process.join()
        member.pipe.close()


@cache
def _context() -> multiprocessing.context.ForkServerContext:
    """Context whose processes are forked from one that has imported torch and the package, and has no threads."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([
        "torch.distributed.fsdp", "torch.distributed.nn", "torchmetrics", "torchmetrics_dna.metrics",
        "typer", "rich", "pytest", "hypothesis", "processes", "makers",
    ])  # fmt: skip
    return context


class _Member:
    """A process of the pool, as the tests' process sees it."""

    def __init__(self) -> None:
        self.pipe, child_end = _context().Pipe()
        self.process = _context().Process(target=_serve, args=(child_end,))
        self.process.start()
        child_end.close()

    def receive(self) -> Outcome:
        try:
            return pickle.loads(self.pipe.recv_bytes())
        except EOFError:
            self.process.join()
            return Outcome(exit_code=self.process.exitcode)


_members: list[_Member] = []
# before multiprocessing's own, which waits for processes that nobody ends
atexit.register(end_all)


class _Unpickler(pickle.Unpickler):
    """Unpickler that imports test modules from their files, as pytest does."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        if module_name.startswith("tests.") and module_name not in sys.modules:
            path = ROOT.joinpath(*module_name.split(".")).with_suffix(".py")
            spec = importlib.util.spec_from_file_location(module_name, path)
            module = sys.modules[module_name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        return super().find_class(module_name, global_name)


def _serve(pipe: connection.Connection) -> None:
    """Do one task after another, until the tests' process is gone."""
    torch.set_num_threads(1)
    # workers of loaders start as in any process, not from the server that this one was forked from, which takes seconds
    multiprocessing.set_start_method(multiprocessing.get_all_start_methods()[0], force=True)
    while True:
        try:
            content = pipe.recv_bytes()
        except EOFError:
            return
        try:
            function, arguments = _Unpickler(io.BytesIO(content)).load()
            outcome = Outcome(function(*arguments))
        except BaseException:  # also pytest's own, which are no Exceptions
            outcome = Outcome(error=traceback.format_exc())
        sys.stdout.flush()
        sys.stderr.flush()
        pipe.send_bytes(pickle.dumps(outcome))


def _in_group(
    rank: int, world: int, meeting: str, function: Callable[..., object], arguments: tuple[object, ...]
) -> None:
    dist.init_process_group(
        "gloo",
        init_method=f"file://{meeting}",
        rank=rank,
        world_size=world,
        timeout=datetime.timedelta(seconds=HANG),
    )
    try:
        function(rank, world, *arguments)
        dist.barrier()
    finally:
        dist.destroy_process_group()
