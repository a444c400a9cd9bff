"""Draw faults of one line over all rooms, run the tests that reach them, and print which were seen.

    python tests/mutants.py --seed 1 --count 60

A seed draws the same faults while their lines are the same, whatever changes elsewhere. Tests run in copies of the
working tree, in the temporary folder, where it is also kept which lines each test reaches: what has been seen of a test
file holds until that file changes. Where no inner test sees a fault, those run that the gate would add for its file: the
slow ones of its room, and the outer ones that guard it. Needs the extra ``test``.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import difflib
import hashlib
import importlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parent / "helpers"))  # as pytest does
from limits import HANG

HERE = Path(__file__).resolve().parents[1]
PACKAGE = "torchmetrics_dna"
STATIC = ("tests/test_package.py", "tests/test_defaults.py")  # what they read, they do not reach
# imported once, before processes fork from this one
IMPORTS = """coverage torch torchmetrics timm torchvision numba scipy.stats scipy.optimize PIL.Image hypothesis jinja2 rich typer
matplotlib.pyplot"""

# faults that change nothing of which anything is said: file, function, line before and after, and why
# ruff: noqa: E501 - they stand whole
EQUIVALENT = {
    "extractors/cpu.py, _never_alone.replaced: return convolve(input.expand(2, *input.shape[1:]), weight, *args, **kwargs)[:1] -> return convolve(input.expand(3, *input.shape[1:]), weight, *args, **kwargs)[:1]": "any number but one will do",
    'singles/ranking.py, heat_maps: job = Job(mapper.extractor, {"heat": ImageRows(maps)}, Reading(num_workers=0)) -> job = Job(mapper.extractor, {"heat": ImageRows(maps)}, Reading(num_workers=1))': "the same images, read beside",
    "extractors/build.py, : _SIZE_WITHOUT_NETWORK = 16, 16  # pixels; images are loaded at some size -> _SIZE_WITHOUT_NETWORK = 17, 16  # pixels; images are loaded at some size": "any size will do",
    "extractors/build.py, : _SIZE_WITHOUT_NETWORK = 16, 16  # pixels; images are loaded at some size -> _SIZE_WITHOUT_NETWORK = 16, 17  # pixels; images are loaded at some size": "any size will do",
    "binning/cpu.py, _work: def _work(activations: Activations, num_bins: int = 1, beside: int = 0) -> Iterator[tuple[list[Tensor], slice, Task]]: -> def _work(activations: Activations, num_bins: int = 1, beside: int = 1) -> Iterator[tuple[list[Tensor], slice, Task]]:": "tasks of other lengths: the work of threads, and none of its results",
    "extractors/cpu.py, _batch_norm: training: bool = False,  # noqa: ARG001 - networks stay in evaluation mode -> training: bool = True,  # noqa: ARG001 - networks stay in evaluation mode": "not used: networks stay in evaluation mode",
    "metrics/counted_with.py, CountedWith.length_of_state: room = _BEGIN + 256 + sum(len(json.dumps(layer)) + _OF_LAYER for layer in layers)  # and for another precision -> room = _BEGIN + 257 + sum(len(json.dumps(layer)) + _OF_LAYER for layer in layers)  # and for another precision": "room that is spare",
}

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
        elif isinstance(node.value, int):  # one more of a thousand is nothing of which anything is said
            larger = node.value + 1 if node.value < 1000 else 2 * node.value
            self.add(kind or "integer", _start(node), _end(node), str(larger))
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
        commutes = ast.unparse(node.func).rpartition(".")[2] in {"maximum", "minimum", "max", "min", "equal"}
        for one, two in zip(node.args, node.args[1:], strict=False) if not commutes else ():
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
        self.coverage.set_option("run:disable_warnings", ["no-data-collected"])  # of files that reach no line
        self.wide: dict[
            str, dict[str, set[int]]
        ] = {}  # what serves several tests: wider fixtures, imports of test files
        self.tests: dict[str, Any] = {}
        self.failed: set[str] = set()
        self.coverage.start()
        self.context = ""

    def switch(self, context: str) -> None:
        self.context = context
        self.coverage.switch_context(context)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_make_collect_report(self, collector: pytest.Collector) -> Iterator[None]:
        if isinstance(collector, pytest.Module):  # whose parameters may be made by the package
            self.switch(f"collect {collector.path}")
        yield
        self.switch("")

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
        self.tests[item.nodeid] = [time.process_time() - began, [*uses, f"collect {item.path}"]]
        if nextitem is None or nextitem.path != item.path:
            self.write(item.path)
            with (self.folder.parent / "progress").open("a") as file:
                print(time.strftime("%X"), round(time.process_time()), item.path.relative_to(self.tree), file=file)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any, request: Any) -> Iterator[None]:
        before = self.context
        if fixturedef.scope != "function":
            self.switch(_fixture(fixturedef))
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
        self.wide |= {name: lines for name, lines in reached.items() if name.startswith(("fixture ", "collect "))}
        tests = {}
        for test, (seconds, uses) in self.tests.items():
            lines: dict[str, set[int]] = {}
            for part in [reached.get(test, {}), *(self.wide.get(use, {}) for use in uses)]:
                for name, numbers in part.items():
                    lines.setdefault(name, set()).update(numbers)
                    if name not in texts:
                        texts[name] = _kept(self.folder, (self.tree / name).read_text())
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
    return f"fixture {definition.baseid}::{definition.argname}"


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
    command = ["git", "ls-files", "-co", "--exclude-standard"]
    listed = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=True)
    names = {name for name in listed.stdout.splitlines() if (HERE / name).is_file()}
    for path in [path for path in target.rglob("*.py") if str(path.relative_to(target)) not in names]:
        path.unlink()
    for name in names:
        source, place = HERE / name, target / name
        if not place.exists() or source.read_bytes() != place.read_bytes():
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, place)
    return target


def pytest_in(tree: Path, arguments: list[str], plugin: Callable[[], Any], log: Path) -> None:
    """Run pytest on a tree in a process of its own, for at most :data:`HANG` seconds.

    Args:
        tree: A copy of the working tree.
        arguments: Of pytest.
        plugin: A function that returns a plugin, called in the process.
        log: What pytest prints.

    """
    process = os.fork()
    if not process:
        try:
            os.setsid()
            _settle(tree, log)
            quiet = ["-n", "0", "-p", "no:cacheprovider", "-q", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
            pytest.main([*quiet, "--rootdir", str(tree), "-c", str(tree / "pyproject.toml"), *arguments], [plugin()])
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    until = time.monotonic() + HANG
    while not os.waitpid(process, os.WNOHANG)[0] and time.monotonic() < until:
        time.sleep(0.05)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process, signal.SIGKILL)  # it, or what it has left


def _settle(tree: Path, log: Path) -> None:
    os.chdir(tree)
    sys.path[:] = [str(tree), *(path for path in sys.path if Path(path or ".").resolve() != HERE / "tests")]
    os.environ |= {"PYTHONPATH": str(tree), "CI": "1"}  # by which hypothesis tries the same examples each time
    sys.dont_write_bytecode = False
    resource.setrlimit(resource.RLIMIT_DATA, (16 << 30, 16 << 30))
    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)


def in_processes(number: int, work: Callable[[int], None]) -> None:
    """Do a part of the work in each of so many processes."""
    started = []
    for part in range(number):
        if not (process := os.fork()):
            try:
                work(part)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(0)
        started.append(process)
    for process in started:
        os.waitpid(process, 0)


def collect(cache: Path, processes: int) -> None:
    """Record the lines that tests reach, of files that are new or were changed since."""
    folder, tree = cache / "covered", copied(cache / "tree")
    folder.mkdir(exist_ok=True)
    examples = [path for path in (tree / PACKAGE).rglob("*.py") if ">>> " in path.read_text()]
    paths = sorted([*(tree / "tests").rglob("test_*.py"), *examples])
    files = [str(path.relative_to(tree)) for path in paths]
    missing = [file for file in files if not _is_recorded(folder, tree, file)]
    if missing:
        print(f"recording which lines {len(missing)} of {len(files)} files of tests reach", file=sys.stderr)

    def record(part: int) -> None:
        if missing[part::processes]:
            pytest_in(tree, missing[part::processes], lambda: Recorder(folder, tree), cache / f"record-{part}.log")

    in_processes(processes, record)
    for log in (cache / f"record-{part}.log" for part in range(processes)):
        if missing and log.exists() and "INTERNALERROR" in log.read_text():
            sys.exit(f"Not all files were recorded; {log} says why")


def _is_recorded(folder: Path, tree: Path, file: str) -> bool:
    path = folder / (file.replace("/", "+") + ".json")
    return path.exists() and json.loads(path.read_text())["text"] == _digest((tree / file).read_text())


# --- which tests reach a fault


def functions(source: str) -> dict[str, set[int]]:
    """Lines of the body of each function, by qualified name."""
    lines: dict[str, set[int]] = {}

    def walk(node: ast.AST, names: tuple[str, ...]) -> None:
        for child in ast.iter_child_nodes(node):
            inner = names
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                inner = (*names, child.name)
                if not isinstance(child, ast.ClassDef):
                    lines[".".join(inner)] = set(range(child.body[0].lineno, (child.end_lineno or 0) + 1))
            walk(child, inner)

    walk(ast.parse(source), ())
    return lines


def tests_of(fault: Fault, cache: Path, records: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Return the tests that reach a line, with their seconds: those of its room first, and then the fastest.

    What is not in a function is reached by whatever reaches a function of its class, or of its file, and is used by any
    test of its room. All tests of its room are also taken where no record reaches a line, as of what is compiled, or
    runs in other processes.
    """
    source = (HERE / fault.path).read_text()
    bodies = functions(source)
    wanted = {fault.line} if (is_inside := any(fault.line in lines for lines in bodies.values())) else set()
    owner = fault.function
    while not wanted:
        inside = [
            lines for name, lines in bodies.items() if name == owner or name.startswith(f"{owner}." if owner else "")
        ]
        wanted = set().union(*inside)
        if not owner:
            break
        owner = owner.rpartition(".")[0]
    then: dict[str, set[int]] = {}  # these lines in the texts of which lines were recorded
    reached = []
    for record in records.values():
        if (digest := record["files"].get(fault.path)) is None:
            continue
        if digest not in then:
            then[digest] = _lines_then(source, (cache / "covered" / f"{digest}.txt").read_text(), wanted)
        mask = sum(1 << line for line in then[digest])
        for test, (seconds, files) in record["tests"].items():
            if int(files.get(fault.path, "0"), 16) & mask:
                reached.append((not _is_of_room(test, fault.room), seconds, test))
    if not (reached and is_inside):
        own = f"tests/test_{fault.room or Path(fault.path).stem.strip('_')}.py"  # of rooms without a folder
        reached += [
            (False, seconds, test)
            for file, record in records.items()
            for test, (seconds, _) in record["tests"].items()
            if file == own or (fault.room and file.startswith("tests/") and _is_of_room(test, fault.room))
        ]
    reached += [
        (False, seconds, test)
        for file in STATIC
        if file in records
        for test, (seconds, _) in records[file]["tests"].items()
    ]
    return [(test, seconds) for _, seconds, test in sorted(set(reached))]


def added_by_the_gate(fault: Fault) -> list[str]:
    """Return the files whose slow and outer tests the gate adds where the file of a fault has changed."""
    table = (HERE / ".ci" / "run").read_text(encoding="utf-8").partition("guards='\n")[2].partition("\n'")[0]
    rows = [line.split() for line in table.splitlines()]
    guarding = {test for pattern, *tests in rows if re.match(pattern, fault.path) for test in tests}
    texts = {path: path.read_text() for path in (HERE / "tests" / fault.room).glob("test_*.py")}
    if not fault.room:  # tests of everything, of which those count that name the file
        texts = {path: text for path, text in texts.items() if re.search(rf"\b{Path(fault.path).stem}\b", text)}
    slow = {str(path.relative_to(HERE)) for path, text in texts.items() if "mark.slow" in text}
    return sorted(guarding | slow)


def _is_of_room(test: str, room: str) -> bool:
    return Path(test.partition("::")[0]).parts[1:-1] == ((room,) if room else ())


def _lines_then(now: str, then: str, wanted: set[int]) -> set[int]:
    if now == then:
        return wanted
    matcher = difflib.SequenceMatcher(None, now.splitlines(), then.splitlines(), autojunk=False)
    of_line = {a + k + 1: b + k + 1 for a, b, size in matcher.get_matching_blocks() for k in range(size)}
    return {of_line[line] for line in wanted if line in of_line}


# --- try


class Chooser:
    """Runs chosen tests in an order, until the first that fails or the time is over, and writes which failed."""

    def __init__(self, tests: Sequence[str] | None, seconds: float, result: Path) -> None:
        self.order = None if tests is None else {test: place for place, test in enumerate(tests)}
        self.seconds, self.result, self.began = seconds, result, time.process_time()
        self.failed: list[str] = []

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        if (order := self.order) is not None:
            items[:] = sorted((item for item in items if item.nodeid in order), key=lambda item: order[item.nodeid])

    def pytest_sessionfinish(self) -> None:
        self.result.write_text("".join(self.failed[:1]))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.failed.append(f"{report.nodeid} (import)")

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self.result.write_text(f"{item.nodeid} (does not end)")
        resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time() + self.seconds) + 1, resource.RLIM_INFINITY))
        signal.alarm(int(5 * self.seconds))  # of what waits for ever
        yield
        signal.alarm(0)
        self.result.write_text("".join(self.failed[:1]))
        if time.process_time() - self.began > self.seconds:
            item.session.shouldstop = "time is over"

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.append(report.nodeid)


def attempt(fault: Fault, tests: Sequence[tuple[str, float]], tree: Path, seconds: float) -> tuple[str, int]:
    """Return the test that sees a fault, or "", and how many were chosen.

    First run the chosen tests of its room, then the others, and then what the gate adds where its file has changed.
    """
    path, result, log = tree / fault.path, tree.with_suffix(".seen"), tree.with_suffix(".log")
    source, stat = path.read_text(), path.stat()
    own = [test for test, _ in tests if _is_of_room(test, fault.room) or test.startswith(STATIC)]
    rest, left = [], seconds
    for test, took in tests[len(own) :]:
        left -= took
        if left > 0:
            rest.append(test)
    files = added_by_the_gate(fault)
    rounds = [([], chosen) for chosen in (own, rest) if chosen] + (
        [(["-m", "slow or outer", *files], None)] if files else []
    )
    passes = set[str]()
    for arguments, chosen in rounds:
        limit = seconds if chosen else 2 * seconds
        while chosen is None or (chosen := [test for test in chosen if test not in passes]):
            result.write_text("the package (import)")  # unless a test is begun
            path.write_text(changed(fault, HERE))
            os.utime(path, (stat.st_atime, stat.st_mtime + 1000 + fault.line))  # so that no compiled file is of it
            where = arguments or list(dict.fromkeys(test.partition("::")[0] for test in chosen or ()))
            pytest_in(
                tree,
                ["-x", *where, *(f"--deselect={test}" for test in passes)],
                partial(Chooser, chosen, limit, result),
                log,
            )
            path.write_text(source)
            os.utime(path, (stat.st_atime, stat.st_mtime))
            seen = result.read_text()
            if not seen:
                break
            if seen.endswith(")"):  # what can't be imported, or does not end
                return seen, len(tests)
            pytest_in(tree, ["-m", "", seen], partial(Chooser, [seen], limit, result), log)
            if not result.read_text():
                return seen + "".join(" (the gate)" for _ in arguments[:1]), len(tests)
            passes.add(seen)  # it fails without the fault, too
    return "", len(tests)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--seconds", type=float, default=120, help="processor time of tests for a fault")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir(), f"{PACKAGE}-mutants"))
    options = parser.parse_args()
    os.environ.setdefault("TRITON_INTERPRET", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for name in IMPORTS.split():
        importlib.import_module(name)
    cache: Path = options.cache
    cache.mkdir(exist_ok=True)
    collect(cache, options.processes)
    faults, equivalent = [], []
    for fault in draw(options.seed):
        (equivalent if fault.key in EQUIVALENT else faults).append(fault)
        if len(faults) == options.count:
            break
    covered = {path.stem.replace("+", "/"): json.loads(path.read_text()) for path in (cache / "covered").glob("*.json")}
    outcomes = cache / "outcomes"
    outcomes.unlink(missing_ok=True)

    def work(part: int) -> None:
        tree = copied(cache / f"work-{part}")
        for number in range(part, len(faults), options.processes):
            seen, count = attempt(faults[number], tests_of(faults[number], cache, covered), tree, options.seconds)
            with outcomes.open("a") as file:
                print(json.dumps([number, seen, count]), file=file)

    in_processes(options.processes, work)
    by_number = {number: rest for number, *rest in map(json.loads, outcomes.read_text().splitlines())}
    for number, fault in enumerate(faults):
        seen, count = by_number.get(number, ("", 0))
        how = seen or ("NOT SEEN" if count else "NOT SEEN, and reached by no test")
        print(f"{number + 1:3} {fault.kind:18} {fault.key}\n{'':23}{how}")
    for fault in equivalent:
        print(f"    equivalent         {fault.key}\n{'':23}{EQUIVALENT[fault.key]}")
    number_seen = sum(bool(seen) for seen, _ in by_number.values())
    by_gate = sum(seen.endswith("(the gate)") for seen, _ in by_number.values())
    print(
        f"{number_seen} of {len(faults)} faults were seen ({number_seen / len(faults):.0%}), {by_gate} of them by slow or"
        f" outer tests alone, seed {options.seed}"
    )


if __name__ == "__main__":
    main()
