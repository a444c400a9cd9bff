"""The command that checks CUDA and measures its speed: its checks on a GPU, and its rehearsal anywhere."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parent / "benchmarks" / "cuda.py"


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr(sys, "path", list(sys.path))
    spec = importlib.util.spec_from_file_location("cuda_command", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.outer
def test_the_command_rehearses_on_the_cpu(command: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = ["counts", "huge", "metrics", "half", "graphs", "shared_pass", "updates", "counting", "computing"]
    monkeypatch.setattr(sys, "argv", ["cuda.py", "-o", str(tmp_path / "out"), "--dry", "--steps", *steps])
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert command.main() == 0
    results = json.loads((tmp_path / "out" / "cuda.json").read_text())
    assert not [outcome for kind in ("checks", "figures") for outcome in results[kind].items() if "error" in outcome[1]]
    assert [name for name, outcome in results["checks"].items() if outcome["passed"]] == [
        "counts", "huge", "metrics", "half", "shared_pass",
    ]  # fmt: skip
    page = (tmp_path / "out" / "cuda.md").read_text()
    assert "| graphs | left out |" in page
    assert "| updates | bare call, ms |" in page
    assert (tmp_path / "out" / "cuda.png").stat().st_size > 5000


def test_a_step_that_fails_stops_no_other(command: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command.find_checkout()
    checks = importlib.import_module("benchmarks.cuda_checks")

    def fail(dry: bool) -> None:
        raise AssertionError("3 bins of 7 are wrong")

    monkeypatch.setitem(checks.CHECKS, "counts", fail)
    monkeypatch.setattr(sys, "argv", ["cuda.py", "-o", str(tmp_path), "--dry", "--steps", "counts", "shared_pass"])
    assert command.main() == 1
    results = json.loads((tmp_path / "cuda.json").read_text())["checks"]
    assert results["counts"]["error"] == "AssertionError: 3 bins of 7 are wrong"
    assert results["shared_pass"]["passed"]


@pytest.mark.cuda
@pytest.mark.parametrize("step", ["counts", "huge", "metrics", "half", "graphs", "streams", "memory", "processes"])
def test_on_a_gpu(step: str, command: ModuleType) -> None:
    command.find_checkout()
    importlib.import_module("benchmarks.cuda_checks").CHECKS[step](False)
