"""The house: light imports, data flowing one way, everything public there and documented."""

from __future__ import annotations

import ast
import functools
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import torchmetrics_dna

PACKAGE = Path(torchmetrics_dna.__file__).parent
# a file imports only from rooms before its own
ROOMS = (
    "version",
    "extras",
    "kernels",
    "files",
    "images",
    "neurons",
    "binning",
    "extractors",
    "functional",
    "dna",
    "tally",
    "metrics",
    "sets",
    "plots",
    "reporting",
    "cli",
    "__main__",
)
HEAVY = ("torchmetrics", "timm", "torchvision", "matplotlib", "typer", "rich", "PIL", "skimage")


@functools.cache
def loaded_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*[m for m in {HEAVY} if m in sys.modules])"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_importing_loads_nothing_heavy_that_torchmetrics_does_not() -> None:
    assert loaded_by("import torchmetrics_dna") <= loaded_by("import torchmetrics")
    assert not {"timm", "matplotlib", "typer"} & (
        loaded_by("from torchmetrics_dna import DNAEMD, compare") - loaded_by("import torchmetrics")
    )
    # what the commands use starts without torchmetrics, which takes seconds
    started = "import torchmetrics_dna.sets.make_files, torchmetrics_dna.sets.compare, torchmetrics_dna.sets.rank"
    assert not {"torchmetrics", "timm", "torchvision"} & loaded_by(started)


def test_the_check_above_can_fail() -> None:
    assert "timm" in loaded_by("import torchmetrics_dna, timm")


def test_public_names_are_there() -> None:
    assert set(torchmetrics_dna.__all__) <= set(dir(torchmetrics_dna))
    for name in torchmetrics_dna.__all__:
        assert getattr(torchmetrics_dna, name).__name__ == name
        assert getattr(torchmetrics_dna, name).__doc__
    # a function keeps its name whichever module was imported first
    importlib.import_module("torchmetrics_dna.sets.compare")
    assert callable(torchmetrics_dna.compare)
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        torchmetrics_dna.nonsense  # noqa: B018


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
    return {name for name in found if name.split(".")[0] == "torchmetrics_dna"}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_data_flows_one_way(path: Path) -> None:
    if path == PACKAGE / "__init__.py":
        return
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for name in imports(path):
        assert name != "torchmetrics_dna", "nothing imports the package's own __init__"
        assert ROOMS.index(name.split(".")[1]) <= ROOMS.index(room), f"{path.name} imports {name}"


def test_no_import_goes_round_in_a_circle() -> None:
    paths = {".".join(p.relative_to(PACKAGE.parent).with_suffix("").parts): p for p in PACKAGE.rglob("*.py")}
    paths = {name.removesuffix(".__init__"): path for name, path in paths.items()}
    paths.pop("torchmetrics_dna")  # which loads lazily
    needs = {}
    for name, path in paths.items():
        # at import time only: what functions import on use, and type checkers alone, makes no circle
        top = [node for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.ImportFrom)]
        found = {node.module for node in top} | {f"{node.module}.{a.name}" for node in top for a in node.names}
        needs[name] = (found & paths.keys()) - {name}
    while ready := {name for name, wanted in needs.items() if not wanted}:
        needs = {name: wanted - ready for name, wanted in needs.items() if name not in ready}
    assert not needs, f"a circle through {sorted(needs)}"


def test_only_plots_knows_matplotlib() -> None:
    knowing = {path.name for path in PACKAGE.rglob("*.py") if "matplotlib." in path.read_text(encoding="utf-8")}
    assert knowing <= {"plots.py"}


def test_files_and_functions_stay_short() -> None:
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        # what numba compiles is one file, since its cache does not see changes across files
        assert path.parent.name == "kernels" or text.count("\n") <= 350, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                doc = ast.get_docstring(node, clean=False)
                lines = node.end_lineno - node.lineno + 1 - (doc.count("\n") + 1 if doc else 0)
                assert lines <= 45, f"{path}: {node.name} has {lines} lines"
