from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cold_and_warm
import pytest

from torchmetrics_dna.kernels import compile as numba_compile


def test_without_a_place_for_a_cache_code_is_compiled_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    njit, attempts = numba_compile.njit, []

    def without_locator(**options: Any) -> Any:
        attempts.append(options.pop("cache", False))
        if attempts[-1]:
            raise RuntimeError("cannot cache function: no locator available")
        return njit(**options)

    monkeypatch.setattr(numba_compile, "njit", without_locator)
    assert numba_compile.compiled(lambda x: x + 1)(1) == 2
    assert attempts == [True, False]


@pytest.mark.slow
def test_results_are_the_same_compiled_here_or_loaded_from_the_disk(tmp_path: Path) -> None:
    cold_run = os.environ.get("COLD_RUN")  # what it printed to whoever filled the folder that NUMBA_CACHE_DIR names
    paths = os.pathsep.join([str(Path(numba_compile.__file__).parents[2]), *sys.path])
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    if cold_run is None:
        environment["NUMBA_CACHE_DIR"] = str(tmp_path)

    def run() -> str:
        command = [sys.executable, cold_and_warm.__file__]
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout

    (*cold, compiled, not_called), (*warm, loaded, _) = (
        (run() if cold_run is None else Path(cold_run).read_text(encoding="utf-8")).splitlines(),
        run().splitlines(),
    )
    assert len(cold) == 34
    assert "_distance" in compiled
    assert not_called == "not called"
    assert loaded == "compiled here"
    assert warm == cold
