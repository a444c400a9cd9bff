"""Triton's kernel compiles for GPUs: the interpreter, in which counts are tested, takes more than the compiler does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from limits import HANG

SCRIPT = Path(__file__).parents[1] / "helpers" / "compile_kernels.py"


@pytest.mark.outer
@pytest.mark.parametrize(("gpu", "count"), [("75", 8), ("90", 12)])
def test_the_kernel_compiles_for_gpus_and_takes_few_instructions(gpu: str, count: int) -> None:
    pytest.importorskip("triton", "3.8", reason="older ones count histograms by votes of threads")
    # a process of its own, for Triton is imported either to interpret or to compile
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["PYTHONPATH"] = str(SCRIPT.parents[2])
    command = [sys.executable, SCRIPT, gpu]
    process = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=HANG)
    assert process.returncode == 0, process.stderr[-2000:]
    lines = [line.split() for line in process.stdout.splitlines()]
    assert len(lines) == count
    # with one kernel a layout and float64 alone, 105 to 119
    most = {"maps": 42, "maps-auto": 26, "tokens": 54, "tokens-global": 60}
    for _, _, layout, shared, registers, local, instructions, float64 in lines:
        assert int(shared) <= 48 * 1024  # what every GPU has
        assert int(registers) <= 128  # two programs of a processor
        assert int(local) <= 300
        assert float(instructions) <= most[layout]
        assert int(float64) <= 8, "of 16 activations"
