from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

ALLOCATE = """
import resource
import torch
from torchmetrics_dna.__main__ import _keep_freed_memory

_keep_freed_memory()
torch.ones(5_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.ones(5_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no such settings")
@pytest.mark.parametrize(("chosen", "kept"), [({}, True), ({"MALLOC_TRIM_THRESHOLD_": "131072"}, False)])
def test_freed_memory_is_kept_unless_the_user_decides(chosen: dict[str, str], kept: bool) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", ALLOCATE], capture_output=True, text=True, check=True, env=environment | chosen
    )
    # ten times 20 MB, in pages of 4 KiB unless the kernel gives huge ones
    assert (int(done.stdout) < 50) is kept
