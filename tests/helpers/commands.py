"""Run the command line in this process or in others."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TextIO
from unittest.mock import patch

import processes
import pytest
from limits import HANG

import torchmetrics_dna.cli.console  # it reads COLUMNS once, before a test sets it
from torchmetrics_dna.__main__ import main

COMMAND = [sys.executable, "-m", "torchmetrics_dna"]


def torchrun(*arguments: object, script: Path | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a command, or a script around it, in two processes of one thread each."""
    program = COMMAND[1:] if script is None else [str(script)]
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", *program]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [*launch, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=HANG)
    assert not (check and result.returncode), result.stderr
    return result


class Output(NamedTuple):
    """Exit codes and concatenated output of processes."""

    codes: list[int]
    stdout: str
    stderr: str


def in_processes(
    folder: Path,
    *arguments: object,
    before: Callable[[], object] = int,
    program: Callable[[], object] = main,
    world: int = 2,
) -> Output:
    """Run a command, or another program, in two processes as torchrun does; rank 1 calls ``before`` first.

    Their output is in files of the folder. With ``world=1`` the program runs in a single other process.
    """
    with socket.socket() as free:
        free.bind(("localhost", 0))
        place = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": str(world)}
    words = ["torchmetrics-dna", *map(str, arguments)]
    tasks = [
        (_program, (rank, folder, Path.cwd(), words, {**os.environ, **place}, before, program)) for rank in range(world)
    ]
    outcomes = processes.call(tasks)
    out, err = ("".join((folder / f"{rank}.{name}").read_text() for rank in range(world)) for name in ("out", "err"))
    codes = [outcome.value if outcome.exit_code is None else outcome.exit_code for outcome in outcomes]
    if before is not int or program is not main or any(codes):
        processes.end_all()  # they have other signal handlers now, patches, or settings of other packages
    return Output(codes, out, err)


def _program(
    rank: int,
    folder: Path,
    place: Path,
    words: list[str],
    environment: dict[str, str],
    before: Callable[[], object],
    program: Callable[[], object],
) -> int:
    """Run a program with its output in files, and return its exit code."""
    os.chdir(place)
    for name in [name for name in sys.modules if name.startswith("torchmetrics_dna.cli")]:
        del sys.modules[name]  # they read the rank when they are imported
    vars(torchmetrics_dna).pop("cli", None)  # or else modules find each other's first copies
    environment = environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    with (
        patch.dict(os.environ, environment, clear=True), patch.object(sys, "argv", words),
        into_file(sys.stdout, folder / f"{rank}.out"), into_file(sys.stderr, folder / f"{rank}.err"),
    ):  # fmt: skip
        try:
            if rank == 1:
                before()
            program()
        except SystemExit as exit_:
            return int(exit_.code or 0)
    return 0


@contextmanager
def into_file(stream: TextIO, path: Path) -> Iterator[None]:
    """Redirect a stream of the process to a file, also for C++."""
    stream.flush()
    number = stream.fileno()
    before = os.dup(number)
    with path.open("wb") as file:
        os.dup2(file.fileno(), number)
    try:
        yield
    finally:
        stream.flush()
        os.dup2(before, number)
        os.close(before)


Command = Callable[..., Any]  # the fixture ``cli``, which returns what is printed


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Run a command, and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["torchmetrics-dna", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_:
        main()
    return int(exit_.value.code or 0)
