"""Faults of one line are drawn by a seed, and the tests that reach a line are found where it stands now."""

from __future__ import annotations

import ast
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

SOURCE = """
LEAST = 4


class Box:
    size: int = 3

    def fits(self, values, *, strict=False, half=False):
        try:
            return len(values) - 1 < self.size and not half
        except TypeError:
            return pow(self.size, max(2, 1)) == min(values, key=abs)
"""
KINDS = {"arguments swapped", "boolean", "comparison", "default", "except", "integer", "keyword left out", "term"}


@pytest.fixture(scope="module")
def mutants() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mutants", Path(__file__).with_name("mutants.py"))
    module = sys.modules["mutants"] = importlib.util.module_from_spec(spec)  # where dataclasses look it up
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def tree(mutants: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for room in ("a", "b"):
        (tmp_path / mutants.PACKAGE / room).mkdir(parents=True)
        (tmp_path / mutants.PACKAGE / room / "x.py").write_text(SOURCE)
    monkeypatch.setattr(mutants, "HERE", tmp_path)
    return tmp_path


def test_a_draw_depends_on_the_seed_and_its_lines_alone(mutants: ModuleType, tree: Path) -> None:
    faults = list(mutants.draw(1, tree))
    assert {fault.kind for fault in faults} == KINDS
    assert [fault.room for fault in faults[:2]] in (["a", "b"], ["b", "a"])
    assert len({(fault.path, fault.line, fault.after) for fault in faults}) == len(faults) > 20
    assert not any("max(1, 2)" in fault.after for fault in faults)  # the same
    for fault in faults:
        lines, other = SOURCE.splitlines(), mutants.changed(fault, tree).splitlines()
        assert [i for i, pair in enumerate(zip(lines, other, strict=True), 1) if pair[0] != pair[1]] == [fault.line]
        assert ast.dump(ast.parse(SOURCE)) != ast.dump(ast.parse("\n".join(other)))
    assert list(mutants.draw(1, tree)) == faults
    assert list(mutants.draw(2, tree)) != faults
    (tree / mutants.PACKAGE / "b" / "y.py").write_text("def new(x):\n    return x + 1\n")
    keys = [fault.key for fault in mutants.draw(1, tree) if fault.path.endswith("a/x.py")]
    assert keys == [fault.key for fault in faults if fault.path.endswith("a/x.py")]


def test_tests_are_found_by_lines_that_have_moved(mutants: ModuleType, tree: Path) -> None:
    path = f"{mutants.PACKAGE}/a/x.py"
    folder = tree / "covered"
    folder.mkdir()
    body, caught = SOURCE.splitlines().index("            return len(values) - 1 < self.size and not half") + 1, 12
    tests = {name: [seconds, {path: f"{1 << line:x}"}] for name, seconds, line in
             (("tests/a/t.py::slow", 2, body), ("tests/a/t.py::fast", 1, body), ("tests/b/t.py::other", 0.1, body),
              ("tests/a/t.py::rare", 0.5, caught))}  # fmt: skip
    record = {"files": {path: mutants._kept(folder, SOURCE)}}
    records = {
        f"tests/{room}/t.py": record | {"tests": {name: tests[name] for name in tests if f"/{room}/" in name}}
        for room in "ab"
    }
    (tree / path).write_text("# a line more\n" + SOURCE)
    reached = {}
    for fault in mutants.draw(1, tree):
        if fault.room == "a":
            reached[fault.kind, fault.line - 1] = [name for name, _ in mutants.tests_of(fault, tree, records)]
    fast_first = ["tests/a/t.py::fast", "tests/a/t.py::slow", "tests/b/t.py::other"]
    assert reached["comparison", body] == fast_first
    assert reached["comparison", caught] == ["tests/a/t.py::rare"]
    everything = ["tests/a/t.py::rare", *fast_first]
    assert reached["integer", 2] == reached["default", 6] == reached["default", 8] == everything
    (tree / mutants.PACKAGE / "options.py").write_text(SOURCE)
    records["tests/test_options.py"] = {"files": {}, "tests": {"tests/test_options.py::any": [3, {}]}}
    faults = {fault.path: fault for fault in mutants.draw(1, tree)}
    of_b, of_root = (faults[f"{mutants.PACKAGE}/{name}"] for name in ("b/x.py", "options.py"))
    assert mutants.tests_of(of_b, tree, records) == [("tests/b/t.py::other", 0.1)], "of what no record reaches"
    assert mutants.tests_of(of_root, tree, records) == [("tests/test_options.py::any", 3)]


RECORDED = """
import pytest
from torchmetrics_dna.x import fits, grown


@pytest.fixture(scope="module")
def size():
    return fits(2)


@pytest.mark.parametrize("value", [grown(1)])
def test_made_at_import(value):
    assert value == 2


def test_of_a_fixture(size):
    assert size
"""


@pytest.mark.slow
def test_what_imports_and_fixtures_reach_is_of_their_tests(tmp_path: Path) -> None:
    tree, folder = tmp_path / "tree", tmp_path / "covered"
    (tree / "torchmetrics_dna").mkdir(parents=True)
    (tree / "torchmetrics_dna" / "x.py").write_text(
        "def grown(x):\n    return x + 1\n\n\ndef fits(x):\n    return x < 3\n"
    )
    (tree / "torchmetrics_dna" / "__init__.py").touch()
    for name, text in (("test_x.py", RECORDED), ("test_y.py", "def test_of_nothing():\n    pass\n")):
        (tree / name).write_text(text)
    folder.mkdir()
    (tree / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    program = f"""
import sys
from pathlib import Path
sys.path[:0] = [{str(Path(__file__).parent)!r}, {str(Path(__file__).parent / "helpers")!r}, {str(tree)!r}]
import mutants, pytest
folder, tree = Path({str(folder)!r}), Path({str(tree)!r})
arguments = ["-q", "-p", "no:cacheprovider", "--rootdir", str(tree), str(tree)]
sys.exit(pytest.main(arguments, [mutants.Recorder(folder, tree)]))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=tree, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads((folder / "test_x.py.json").read_text())
    reached = {test: int(files["torchmetrics_dna/x.py"], 16) for test, (_, files) in record["tests"].items()}
    by_import, by_fixture = reached["test_x.py::test_made_at_import[2]"], reached["test_x.py::test_of_a_fixture"]
    assert (by_import >> 2 & 1, by_import >> 6 & 1) == (1, 0)
    assert (by_fixture >> 2 & 1, by_fixture >> 6 & 1) == (1, 1)
    assert json.loads((folder / "test_y.py.json").read_text())["tests"]["test_y.py::test_of_nothing"][1] == {}
