"""Triton's kernels compile for GPUs: the interpreter, in which counts are tested, takes more than the compiler does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "helpers" / "compile_kernels.py"


@pytest.mark.slow
def test_kernels_compile_for_gpus() -> None:
    # a process of its own, for Triton is imported either to interpret or to compile
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["PYTHONPATH"] = str(SCRIPT.parents[2])
    process = subprocess.run([sys.executable, SCRIPT], env=environment, capture_output=True, text=True, timeout=300)
    assert process.returncode == 0, process.stderr[-2000:]
    lines = [line.split() for line in process.stdout.splitlines()]
    assert [line[0] for line in lines] == ["_count_rows"] * 2 + ["_count_columns"] * 2
    for _, _, shared, code, divisions in lines:
        assert int(shared) <= 48 * 1024  # what every GPU has
        assert int(code) > 0
        assert int(divisions) > 0  # rounded right, as torch divides
