"""The command line in this process, and how to start it in another."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

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


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """The exit code of a command."""
    monkeypatch.setattr(sys, "argv", ["torchmetrics-dna", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_:
        main()
    return int(exit_.value.code or 0)
