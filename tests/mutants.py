"""Draw faults of one line over all rooms, run the tests that reach them, and print which were seen.

    python tests/mutants.py --seed 1 --count 60

A seed draws the same faults while their lines are the same, whatever changes elsewhere. Tests run in copies of the
working tree, in the temporary folder, where it is also kept which lines each test reaches: what has been seen of a test
file holds until that file changes. Needs the extra ``test``.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parents[1]
PACKAGE = "torchmetrics_dna"
HANG = 1800  # seconds after which a test that waits counts as hanging, whatever else the machine does
# imported once, before processes fork from this one
IMPORTS = """torch torchmetrics timm torchvision numba scipy.stats scipy.optimize PIL.Image hypothesis jinja2 rich typer
matplotlib.pyplot"""

# faults that change nothing a user can see: file, function, line before and after, and why
EQUIVALENT: dict[str, str] = {}

_COMPARISONS = {
    ast.Lt: ("<", "<="), ast.LtE: ("<=", "<"), ast.Gt: (">", ">="), ast.GtE: (">=", ">"), ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="), ast.Is: ("is", "is not"), ast.IsNot: ("is not", "is"), ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
}  # fmt: skip
_TERMS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod)


@dataclass(frozen=True)
class Fault:
    """One changed line."""

    path: str
    line: int
    kind: str
    function: str  # "" for the module's own lines
    before: str
    after: str

    @property
    def key(self) -> str:
        """What it is called while its line is the same: ``file, function: before -> after``."""
        return (
            f"{self.path.removeprefix(PACKAGE + '/')}, {self.function}: {self.before.strip()} -> {self.after.strip()}"
        )

    @property
    def room(self) -> str:
        """Folder of the package, or its root."""
        parts = Path(self.path).parts
        return parts[1] if len(parts) > 2 else ""


# --- draw


class _Places(ast.NodeVisitor):
    """All faults of a file."""

    def __init__(self, path: str, source: str) -> None:
        self.path, self.lines, self.names = path, source.splitlines(), []
        self.faults: list[Fault] = []
        self.visit(ast.parse(source))

    def add(self, kind: str, first: tuple[int, int], last: tuple[int, int], text: str) -> None:
        """Add a fault that puts a text in place of what stands between two positions of a line."""
        line = self.lines[first[0] - 1].encode()
        after = (line[: first[1]] + text.encode() + line[last[1] :]).decode()
        if first[0] == last[0]:
            self.faults.append(Fault(self.path, first[0], kind, ".".join(self.names), line.decode(), after))

    def text(self, first: tuple[int, int], last: tuple[int, int]) -> str:
        return self.lines[first[0] - 1].encode()[first[1] : last[1]].decode() if first[0] == last[0] else ""

    def visit(self, node: ast.AST) -> None:
        if method := getattr(self, f"of_{type(node).__name__}", None):
            method(node)
        named = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        if named:
            self.names.append(node.name)
        for name, value in ast.iter_fields(node):
            if name not in {"annotation", "returns"} and not isinstance(node, ast.JoinedStr):  # its places are not told
                for child in value if isinstance(value, list) else [value]:
                    if isinstance(child, ast.AST) and not getattr(child, "is_default", False):
                        self.visit(child)
        if named:
            self.names.pop()

    def of_Compare(self, node: ast.Compare) -> None:  # noqa: N802
        for left, operator, right in zip([node.left, *node.comparators], node.ops, node.comparators, strict=False):
            old, new = _COMPARISONS[type(operator)]
            between = self.text(_end(left), _start(right))
            self.add("comparison", _end(left), _start(right), between.replace(old, new, 1))

    def of_BoolOp(self, node: ast.BoolOp) -> None:  # noqa: N802
        old, new = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        for left, right in zip(node.values, node.values[1:], strict=False):
            self.add("boolean", _end(left), _start(right), self.text(_end(left), _start(right)).replace(old, new, 1))

    def of_UnaryOp(self, node: ast.UnaryOp) -> None:  # noqa: N802
        if isinstance(node.op, ast.Not):
            self.add("boolean", _start(node), _start(node.operand), "")

    def of_Constant(self, node: ast.Constant, kind: str = "") -> None:  # noqa: N802
        if isinstance(node.value, bool):
            self.add(kind or "boolean", _start(node), _end(node), str(not node.value))
        elif isinstance(node.value, int):
            self.add(kind or "integer", _start(node), _end(node), str(node.value + 1))
        elif kind and isinstance(node.value, float):
            self.add(kind, _start(node), _end(node), repr(2 * node.value))

    def of_BinOp(self, node: ast.BinOp) -> None:  # noqa: N802
        if isinstance(node.op, _TERMS) and not isinstance(node.left, ast.Constant | ast.JoinedStr):
            between = self.text(_end(node.left), _start(node.right))
            closed = re.match(r"\)*", between)
            self.add("term", _end(node.left), _end(node.right), closed[0] if closed else "")

    def of_Call(self, node: ast.Call) -> None:  # noqa: N802
        for keyword in node.keywords:
            if keyword.arg == "strict":
                keyword.value.is_default = True
                continue
            (line, first), (_, last) = _start(keyword), _end(keyword)
            text = self.lines[line - 1].encode()
            if after := re.match(rb",\s*", text[last:]):
                last += len(after[0])
            elif ahead := re.search(rb",\s*$", text[:first]):
                first -= len(ahead[0])
            self.add("keyword left out", (line, first), (_end(keyword)[0], last), "")
        for one, two in zip(node.args, node.args[1:], strict=False):
            between = self.text(_end(one), _start(two))
            swapped = self.text(_start(two), _end(two)) + between + self.text(_start(one), _end(one))
            self.add("arguments swapped", _start(one), _end(two), swapped if between else "(")
        if isinstance(node.func, ast.Attribute | ast.Name) and ast.unparse(node.func).endswith("suppress"):
            for caught in node.args:
                self.add("except", _start(caught), _end(caught), "ZeroDivisionError")

    def of_ExceptHandler(self, node: ast.ExceptHandler) -> None:  # noqa: N802
        if node.type is not None:
            self.add("except", _start(node.type), _end(node.type), "ZeroDivisionError")

    def of_arguments(self, node: ast.arguments) -> None:
        self._defaults([*node.defaults, *node.kw_defaults])

    def of_ClassDef(self, node: ast.ClassDef) -> None:  # noqa: N802
        self._defaults([field.value for field in node.body if isinstance(field, ast.AnnAssign)])

    def _defaults(self, values: list[ast.expr | None]) -> None:
        for value in values:
            if isinstance(value, ast.Constant):
                self.of_Constant(value, "default")
                value.is_default = True  # type: ignore[attr-defined]


def _start(node: Any) -> tuple[int, int]:
    return node.lineno, node.col_offset


def _end(node: Any) -> tuple[int, int]:
    return node.end_lineno, node.end_col_offset


def _rank(*words: object) -> str:
    return hashlib.sha256(repr(words).encode()).hexdigest()


def draw(seed: int, tree: Path = HERE) -> Iterator[Fault]:
    """Yield faults, from one room after the other, and each time of a kind drawn for it.

    A fault's place in the order depends on the seed and on the fault alone, and not on what else there is.
    """
    rooms: dict[str, dict[str, list[Fault]]] = {}
    for path in sorted((tree / PACKAGE).rglob("*.py")):
        for fault in _Places(str(path.relative_to(tree)), path.read_text()).faults:
            rooms.setdefault(fault.room, {}).setdefault(fault.kind, []).append(fault)
    for kinds in rooms.values():
        for faults in kinds.values():
            faults.sort(key=lambda fault: _rank(seed, fault.key, fault.line), reverse=True)
    for turn in range(sum(len(faults) for kinds in rooms.values() for faults in kinds.values())):
        for room in sorted(rooms, key=lambda room: _rank(seed, turn, room)):
            for kind in sorted(rooms[room], key=lambda kind: _rank(seed, turn, room, kind)):
                faults = rooms[room][kind]
                while faults and not _is_other_code(faults[-1], tree):
                    faults.pop()
                if faults:
                    yield faults.pop()
                    break


def changed(fault: Fault, tree: Path) -> str:
    """Return the text of a file with a fault."""
    lines = (tree / fault.path).read_text().splitlines()
    return "\n".join([*lines[: fault.line - 1], fault.after, *lines[fault.line :], ""])


def _is_other_code(fault: Fault, tree: Path) -> bool:
    try:
        return ast.dump(ast.parse(changed(fault, tree))) != ast.dump(ast.parse((tree / fault.path).read_text()))
    except SyntaxError:
        return False


# --- which lines each test reaches


class Recorder:
    """Writes for each file of tests which lines each test reaches, with its processor time."""

    def __init__(self, folder: Path, tree: Path) -> None:
        import coverage

        self.folder, self.tree = folder, tree
        self.coverage = coverage.Coverage(data_file=None, source=[str(tree / PACKAGE)], config_file=False)
        self.wide: dict[str, dict[str, set[int]]] = {}  # what fixtures reach that serve several tests
        self.tests: dict[str, Any] = {}
        self.failed: set[str] = set()
        self.coverage.start()
        self.context = ""

    def switch(self, context: str) -> None:
        self.context = context
        self.coverage.switch_context(context)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
        self.switch(item.nodeid)
        began = time.process_time()
        yield
        definitions = getattr(item, "_fixtureinfo", None)
        uses = (
            [
                _fixture(each)
                for many in definitions.name2fixturedefs.values()
                for each in many
                if each.scope != "function"
            ]
            if definitions
            else []
        )
        self.tests[item.nodeid] = [time.process_time() - began, uses]
        if nextitem is None or nextitem.path != item.path:
            self.write(item.path)
            with (self.folder.parent / "progress").open("a") as file:
                print(time.strftime("%X"), round(time.process_time()), item.path.relative_to(self.tree), file=file)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any, request: Any) -> Iterator[None]:
        before = self.context
        if fixturedef.scope != "function":
            self.switch("fixture " + _fixture(fixturedef))
        yield
        self.switch(before)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.outcome != "passed":  # also where it is skipped
            self.failed.add(report.nodeid)

    def write(self, path: Path) -> None:
        self.coverage.stop()
        data, reached, texts = self.coverage.get_data(), {}, {}
        for file in data.measured_files():
            name = str(Path(file).relative_to(self.tree))
            texts[name] = _kept(self.folder, Path(file).read_text())
            for line, contexts in data.contexts_by_lineno(file).items():
                for context in contexts:
                    reached.setdefault(context, {}).setdefault(name, set()).add(line)
        self.wide |= {
            name.removeprefix("fixture "): lines for name, lines in reached.items() if name.startswith("fixture ")
        }
        tests = {}
        for test, (seconds, uses) in self.tests.items():
            lines: dict[str, set[int]] = {}
            for part in [reached.get(test, {}), *(self.wide.get(use, {}) for use in uses)]:
                for name, numbers in part.items():
                    lines.setdefault(name, set()).update(numbers)
            if test not in self.failed:
                tests[test] = [round(seconds, 3), {name: _bits(numbers) for name, numbers in lines.items()}]
        content = {"text": _digest(path.read_text()), "files": texts, "tests": tests, "left out": sorted(self.failed)}
        target = self.folder / (str(path.relative_to(self.tree)).replace("/", "+") + ".json")
        target.with_suffix(".part").write_text(json.dumps(content))
        target.with_suffix(".part").rename(target)
        self.tests, self.failed = {}, set()
        self.coverage.erase()
        self.coverage.start()


def _fixture(definition: Any) -> str:
    return f"{definition.baseid}::{definition.argname}"


def _bits(numbers: set[int]) -> str:
    return f"{sum(1 << number for number in numbers):x}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _kept(folder: Path, text: str) -> str:
    """Keep a text under its digest, and return that."""
    if not (path := folder / f"{_digest(text)}.txt").exists():
        path.write_text(text)
    return _digest(text)


# --- processes, which fork from one that has imported everything but the package


def copied(target: Path) -> Path:
    """Bring a copy of the working tree up to date."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=HERE, capture_output=True, text=True, check=True
    )
    names = {name for name in listed.stdout.splitlines() if (HERE / name).is_file()}
    for path in [path for path in target.rglob("*.py") if str(path.relative_to(target)) not in names]:
        path.unlink()
    for name in names:
        source, place = HERE / name, target / name
        if not place.exists() or source.read_bytes() != place.read_bytes():
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, place)
    return target


def pytest_in(tree: Path, arguments: list[str], plugin: Any, log: Path, limit: float | None = None) -> int | None:
    """Run pytest on a tree in a process of its own, and return its exit code, or None where it took too long.

    Args:
        tree: A copy of the working tree.
        arguments: Of pytest.
        plugin: A function that returns a plugin, called in the process.
        log: What pytest prints.
        limit: Seconds of processor time; a process that waits has :data:`HANG` seconds.

    """
    process = os.fork()
    if not process:
        code = 70
        try:
            os.setsid()
            _settle(tree, log, limit)
            words = [
                "-n",
                "0",
                "-p",
                "no:cacheprovider",
                "-q",
                "--tb=no", "-W", "ignore::pytest.PytestAssertRewriteWarning",
                "--rootdir",
                str(tree),
                "-c",
                str(tree / "pyproject.toml"),
            ]
            code = int(pytest.main([*words, *arguments], plugins=[plugin()]))
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    until = time.monotonic() + HANG
    while not (ended := os.waitpid(process, os.WNOHANG))[0] and time.monotonic() < until:
        time.sleep(0.05)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process, signal.SIGKILL)  # it, or what it has left
    return os.waitstatus_to_exitcode(ended[1]) if ended[0] else None


def _settle(tree: Path, log: Path, limit: float | None) -> None:
    os.chdir(tree)
    sys.path[:] = [str(tree), *(path for path in sys.path if Path(path or ".").resolve() != HERE / "tests")]
    os.environ |= {"PYTHONPATH": str(tree), "CI": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_CPU, (int(limit), int(limit) + 5))
    resource.setrlimit(resource.RLIMIT_DATA, (16 << 30, 16 << 30))
    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
