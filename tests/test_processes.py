"""Processes end in peace."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

GROUP = """
from pathlib import Path
from torch import distributed

import torchmetrics_dna.{module}

distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
import timm

threads = lambda: [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
assert any("gloo" in name for name in threads()), threads()
distributed.destroy_process_group()
assert not any("gloo" in name for name in threads()), threads()
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux, to see the threads of a process")
@pytest.mark.parametrize("module", ["metrics", "processes"])
def test_no_thread_outlives_its_group(module: str) -> None:
    """One that does aborts the process when it exits, now and then."""
    code = GROUP.format(module=module)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
