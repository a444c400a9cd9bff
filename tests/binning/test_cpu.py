"""Compiled counting: wherever code is kept, on any number of threads, in threads and forked processes of a user."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cold_and_warm
import pytest
import torch
from limits import HANG

from torchmetrics_dna.binning import cpu
from torchmetrics_dna.functional import activation_histogram

ACTIVATIONS = torch.randn(64, 40, 30, 30, generator=torch.Generator().manual_seed(0))
BOUNDS = torch.full((40,), -3.0), torch.full((40,), 3.0)
COUNT = """
import os, torch
from torchmetrics_dna.functional import activation_histogram
torch.set_num_threads(2)
values, low, high = torch.randn(64, 40, 30, 30), torch.full((40,), -3.0), torch.full((40,), 3.0)
expected = activation_histogram(values, low, high, 50)
"""


def run(code: str, **environment: str) -> None:
    paths = os.pathsep.join([str(Path(cpu.__file__).parents[2]), *sys.path])
    command = [sys.executable, "-Wignore", "-c", COUNT + code]
    subprocess.run(command, env=os.environ | {"PYTHONPATH": paths} | environment, check=True, timeout=HANG)


def test_threads_of_a_user_may_count_at_once() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        expected = activation_histogram(ACTIVATIONS, *BOUNDS, 50)
        with ThreadPoolExecutor(4) as pool:
            results = list(pool.map(lambda _: activation_histogram(ACTIVATIONS, *BOUNDS, 50), range(12)))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(counts, expected) for counts in results)


@pytest.mark.outer  # starts processes
def test_a_forked_process_counts_too() -> None:
    run("""
child = os.fork()
if not child:
    os._exit(not torch.equal(activation_histogram(values, low, high, 50), expected))
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert torch.equal(activation_histogram(values, low, high, 50), expected)
""")


@pytest.mark.outer  # compiles
def test_without_a_place_for_a_cache_code_is_compiled_all_the_same() -> None:
    run("""
from torchmetrics_dna.extras import optional
assert optional("binning.cpu") is not None
assert expected.sum() == values.numel()
""", NUMBA_CACHE_LOCATOR_CLASSES="IPythonCacheLocator")  # fmt: skip


@pytest.mark.outer
def test_results_are_the_same_compiled_here_or_loaded_from_the_disk(tmp_path: Path) -> None:
    cold_run = os.environ.get("COLD_RUN")  # what it printed to whoever filled the folder that NUMBA_CACHE_DIR names
    paths = os.pathsep.join([str(Path(cpu.__file__).parents[2]), *sys.path])
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    if cold_run is None:
        environment["NUMBA_CACHE_DIR"] = str(tmp_path)

    def show() -> str:
        command = [sys.executable, cold_and_warm.__file__]
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout

    (*cold, compiled, not_called), (*warm, loaded, _) = (
        (show() if cold_run is None else Path(cold_run).read_text(encoding="utf-8")).splitlines(),
        show().splitlines(),
    )
    assert len(cold) == 23
    assert "_distance" in compiled
    assert not_called == "not called"
    assert loaded == "compiled here"
    assert warm == cold
