"""The command line in this process, and how to start it in another."""

from __future__ import annotations

import sys

import pytest

from torchmetrics_dna.__main__ import main

COMMAND = [sys.executable, "-m", "torchmetrics_dna"]


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """The exit code of a command."""
    monkeypatch.setattr(sys, "argv", ["torchmetrics-dna", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_:
        main()
    return int(exit_.value.code or 0)
