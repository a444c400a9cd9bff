"""The command line in this process, and how to start it in another."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from torchmetrics_dna.__main__ import main

COMMAND = [sys.executable, "-m", "torchmetrics_dna"]


def torchrun(*arguments: object, check: bool = True) -> subprocess.CompletedProcess[str]:
    """A command in two processes of one thread each."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", *COMMAND[1:]]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [*launch, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=120)
    assert not (check and done.returncode), done.stderr
    return done


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """The exit code of a command."""
    monkeypatch.setattr(sys, "argv", ["torchmetrics-dna", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_:
        main()
    return int(exit_.value.code or 0)
