"""The command line in this process, and how to start it in another."""

from __future__ import annotations

import os
import runpy
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from processes import multiprocessing

from torchmetrics_dna.__main__ import main

COMMAND = [sys.executable, "-m", "torchmetrics_dna"]


def torchrun(*arguments: object, script: Path | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
    """A command, or a script around it, in two processes of one thread each."""
    what = COMMAND[1:] if script is None else [str(script)]
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", *what]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [*launch, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=120)
    assert not (check and done.returncode), done.stderr
    return done


class Said(NamedTuple):
    """Exit codes of processes, and what all of them said, one after the other."""

    codes: list[int]
    stdout: str
    stderr: str


def in_processes(
    folder: Path, *arguments: object, before: Callable[[], object] = int, program: Callable[[], object] = main
) -> Said:
    """A command, or another program, in two processes as torchrun starts them, but forked; rank 1 does this before."""
    with socket.socket() as found:
        found.bind(("localhost", 0))
        place = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(found.getsockname()[1]), "WORLD_SIZE": "2"}
    words = ["torchmetrics-dna", *map(str, arguments)]
    started = multiprocessing.start_processes(
        _begin,
        (folder, words, {**os.environ, **place}, before, program),
        nprocs=2,
        join=False,
        start_method="forkserver",
    )
    for process in started.processes:
        process.join(120)
    out, err = ("".join((folder / f"{rank}.{name}").read_text() for rank in "01") for name in ("out", "err"))
    return Said([process.exitcode for process in started.processes], out, err)


def _begin(
    rank: int,
    folder: Path,
    words: list[str],
    environment: dict[str, str],
    before: Callable[[], object],
    program: Callable[[], object],
) -> None:
    os.environ |= environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    torch.set_num_threads(1)
    for number, name in ((1, "out"), (2, "err")):
        with (folder / f"{rank}.{name}").open("wb") as file:
            os.dup2(file.fileno(), number)
    sys.argv = words
    if rank == 1:
        before()
    program()


def run_script(path: Path) -> None:
    """A program beside others that it imports."""
    sys.path.insert(0, str(path.parent))
    runpy.run_path(str(path), run_name="__main__")


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """The exit code of a command."""
    monkeypatch.setattr(sys, "argv", ["torchmetrics-dna", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_:
        main()
    return int(exit_.value.code or 0)
