"""The package: light imports, metrics that stand alone, everything public there and documented."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml
from torchmetrics import Metric

import torchmetrics_dna

PACKAGE = Path(torchmetrics_dna.__file__).parent
ROOT = Path(__file__).parents[1]  # of the checkout, also where the package is installed elsewhere
HEAVY = (
    "torchmetrics", "timm", "torchvision", "matplotlib", "typer", "rich", "PIL", "skimage", "torch._dynamo", "sympy",
)  # fmt: skip
ABOVE = ("cli", "comparisons", "jobs", "loops", "reporting", "singles")
STATEMENTS = (
    "import torchmetrics_dna",
    "import torchmetrics_dna.jobs.make, torchmetrics_dna.comparisons.compare, torchmetrics_dna.singles.rank",
    "import numpy as np; images = np.zeros((8, 64, 64, 3), np.uint8); network = {'layers': ['block_0']};"
    "torchmetrics_dna.comparisons.compare.compare(images, images + 9, causes=False, **network)",
    "import torchmetrics",
    "from torchmetrics_dna import DNAEMD, compare",
)
METRICS_ALONE = f"""
for name in [name for name in sys.modules if name.partition(".")[0] == "torchmetrics_dna"]:
    del sys.modules[name]
sys.modules.update(dict.fromkeys({[*(f"torchmetrics_dna.{room}" for room in ABOVE), "typer", "rich"]}))
import torch
from torchmetrics_dna import DNAEMD, ActivationRange, DNAExtractor, DNAFrechet, DNARealism, LayerFrechetDistance
from torchmetrics_dna.metrics import PRDC
real, fake = torch.randint(0, 256, (2, 6, 3, 40, 40), dtype=torch.uint8)
network = DNAExtractor(layers=["block_0"])
for kind in (DNAEMD, DNAFrechet, LayerFrechetDistance, PRDC):
    metric = kind(network)
    metric.update(real, real=True)
    metric.update(fake, real=False)
    assert metric.compute() is not None
    realism = DNARealism(network, reference=metric.to_dna(real=True)) if kind is DNAEMD else realism
assert len(realism(fake)) == 6
ActivationRange(network)(real)
print("alone")
"""


@pytest.mark.slow
def test_imports_are_light_and_metrics_need_nothing_above_them() -> None:
    code = "import sys\n" + "".join(
        f"{statement}\nprint(*[name for name in {HEAVY} if name in sys.modules])\n" for statement in STATEMENTS
    )
    process = subprocess.run([sys.executable, "-c", code + METRICS_ALONE], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    *lines, last = process.stdout.splitlines()
    alone, started, compared, upstream, used = (set(line.split()) for line in lines)
    assert not alone
    # what the commands use starts without torchmetrics, which takes seconds
    assert not {"torchmetrics", "timm", "torchvision", "torch._dynamo", "sympy"} & (started | compared)
    assert not {"timm", "matplotlib", "typer"} & (used - upstream)
    assert "torchmetrics" in upstream, "the checks above can fail"
    assert last == "alone"


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


#: Rooms from the ground up; those of one floor do not import each other.
FLOORS = (
    {"options"}, {"compiled", "extras", "files", "registry", "version"}, {"neurons"}, {"images"},
    {"binning", "extractors"}, {"functional"}, {"dna"}, {"plots", "statistics", "words"}, {"jobs", "metrics"},
    {"comparisons"}, {"singles"}, {"demo", "loops", "reporting"}, {"cli"},
)  # fmt: skip


def test_a_file_imports_only_from_rooms_below_its_own() -> None:
    """Wherever an import stands: of types and within functions, too."""
    floor = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
    for path in PACKAGE.rglob("*.py"):
        room = path.relative_to(PACKAGE).with_suffix("").parts[0]
        for node in ast.walk(parsed(path)) if room[0] != "_" else ():
            names: list[str] = []
            if isinstance(node, ast.ImportFrom):
                assert not node.level, f"{path.relative_to(PACKAGE)} has a relative import"
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            for name in names:
                package, *home = name.split(".")
                if package == PACKAGE.name and home[0] in floor and home[0] != room:
                    assert floor[home[0]] < floor[room], f"{path.relative_to(PACKAGE)} imports {name}"


def test_public_names_are_there() -> None:
    assert set(torchmetrics_dna.__all__) <= set(dir(torchmetrics_dna))
    for name in torchmetrics_dna.__all__:
        assert getattr(torchmetrics_dna, name).__name__ == name
        assert getattr(torchmetrics_dna, name).__doc__
    # a function keeps its name whichever module was imported first
    importlib.import_module("torchmetrics_dna.comparisons.compare")
    assert callable(torchmetrics_dna.compare)
    with pytest.raises(AttributeError, match="nonsense"):
        torchmetrics_dna.nonsense  # noqa: B018


def test_dataclasses_are_frozen_and_values_of_tensors_not_compared_field_by_field() -> None:
    """A generated `__eq__` would ask whether a tensor of several values is true; what nothing sets is frozen."""
    nodes = [node for path in PACKAGE.rglob("*.py") for node in ast.walk(parsed(path))]
    bases = {ast.unparse(base) for node in nodes if isinstance(node, ast.ClassDef) for base in node.bases}
    stored = {node.attr for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)}
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.ClassDef) and any("dataclass" in ast.unparse(each) for each in node.decorator_list):
                names = {ast.unparse(each.target) for each in node.body if isinstance(each, ast.AnnAssign)}
                is_frozen = any("frozen=True" in ast.unparse(each) for each in node.decorator_list)
                assert is_frozen or names & stored or node.name in bases, f"{path}: {node.name} can be frozen"
                fields = [ast.unparse(each.annotation) for each in node.body if isinstance(each, ast.AnnAssign)]
                compares = not any("eq=False" in ast.unparse(each) for each in node.decorator_list)
                has_own = any(isinstance(each, ast.FunctionDef) and each.name == "__eq__" for each in node.body)
                assert not (compares and any("Tensor" in each.split(" | ") for each in fields)) or has_own, (
                    f"{path}: {node.name}"
                )


def _names_for_users() -> set[str]:
    """Names that pages list or call, and those by which torch calls."""
    pages = [path for pattern in ("*.md", "*.rst", "examples/**/*.py") for path in (ROOT / "docs").rglob(pattern)]
    text = "\n".join(page.read_text(encoding="utf-8") for page in [*pages, ROOT / "README.md"])
    modules = map(importlib.import_module, [PACKAGE.name, *re.findall(r"automodule:: (\S+)", text)])
    listed = [name for module in modules for name in getattr(module, "__all__", ())]
    listed += re.findall(r"\w+", " ".join(re.findall(r":members: (.*)", text)))
    return {*listed, *re.findall(r"(\w+)\(", text), *re.findall(r"[:.](\w+)(?:`|$)", text, re.MULTILINE), *dir(Metric)}


def _with_defaults(owner: ast.Module | ast.ClassDef) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield how each function or dataclass is called, its parameters by position, and those with a default."""
    for node in owner.body:
        decorators = [ast.unparse(each) for each in getattr(node, "decorator_list", ())]
        if isinstance(node, ast.FunctionDef):
            names = [each.arg for each in [*node.args.posonlyargs, *node.args.args]]
            optional = names[len(names) - len(node.args.defaults) :]
            by_keyword = zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
            optional += [each.arg for each, value in by_keyword if value]
            is_bound = isinstance(owner, ast.ClassDef) and "staticmethod" not in decorators
            yield getattr(owner, "name", "") if node.name == "__init__" else node.name, names[is_bound:], optional
        elif isinstance(node, ast.ClassDef) and re.search(
            "dataclass|NamedTuple", f"{decorators} {list(map(ast.unparse, node.bases))}"
        ):
            fields = [each for each in node.body if isinstance(each, ast.AnnAssign)]
            fields = [each for each in fields if "ClassVar" not in ast.unparse(each.annotation)]
            yield (
                node.name,
                [ast.unparse(each.target) for each in fields],
                [ast.unparse(each.target) for each in fields if each.value],
            )


def test_a_default_of_an_internal_function_is_relied_on_and_overridden() -> None:
    """One that every caller overrides is never used; one that none overrides is a constant."""
    calls: dict[str, list[tuple[int, set[str | None]]]] = {}  # by name: how many by position, and which by keyword
    defined: list[tuple[str, str, list[str], list[str]]] = []
    hidden, assigned = _names_for_users(), set[str]()  # functions of callers that are not seen; fields set afterwards
    for path in sorted(PACKAGE.rglob("*.py")):
        nodes = list(ast.walk(parsed(path)))
        called = {id(node.func) for node in nodes if isinstance(node, ast.Call)}
        for node in nodes:
            name = getattr(node, "attr", getattr(node, "id", ""))
            if isinstance(node, ast.Module | ast.ClassDef):
                defined += [(str(path.relative_to(PACKAGE)), *function) for function in _with_defaults(node)]
            if isinstance(node, ast.ClassDef) and re.search(r"\b(cls|type\(self\))\(", ast.unparse(node)):
                hidden.add(node.name)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                assigned.add(name)
            elif isinstance(node, ast.Name | ast.Attribute) and id(node) not in called and name.islower():
                hidden.add(name)  # passed on
            elif isinstance(node, ast.Call):
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                assigned.update(each.arg or "" for each in node.keywords if name.endswith("replace"))
                calls.setdefault(name, []).append((len(node.args), {each.arg for each in node.keywords}))
                if None in calls[name][-1][1] or any(isinstance(each, ast.Starred) for each in node.args):
                    hidden.add(name)
                if name == "partial":
                    hidden.add(ast.unparse(node.args[0]))
    for path, name, positional, optional in defined:
        for parameter in optional if name in calls and name not in hidden else ():
            place = positional.index(parameter) if parameter in positional else 99
            overrides = {count > place or parameter in keywords for count, keywords in calls[name]}
            overrides |= {True} if parameter in assigned and not name.islower() else set()
            who = "all" if True in overrides else "none"
            assert overrides == {False, True}, f"{path}: {who} of the callers of {name} give {parameter}"


def test_who_we_are_is_told_alike() -> None:
    about = {name: (ROOT / name).read_text(encoding="utf-8") for name in ("CITATION.cff", "docs/reviewers.md")}
    paper = yaml.safe_load(about["CITATION.cff"])["preferred-citation"]
    written = about["docs/reviewers.md"].replace("{", "").replace("}", "")
    assert paper["title"] in written
    assert " and ".join(f"{a['family-names']}, {a['given-names']}" for a in paper["authors"]) in written
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert yaml.safe_load(about["CITATION.cff"])["version"] == torchmetrics_dna.__version__
    assert project["authors"] == [{"name": yaml.safe_load(about["CITATION.cff"])["authors"][0]["name"]}]
    released = str(yaml.safe_load(about["CITATION.cff"])["date-released"])
    changes = (ROOT / "docs" / "changelog.md").read_text(encoding="utf-8")
    assert f"## [{torchmetrics_dna.__version__}] - {released}" in changes.splitlines()


def test_the_gate_knows_what_each_outer_test_guards() -> None:
    if not (ROOT / ".ci" / "run").exists():
        pytest.skip("an sdist has no gate")
    table = (ROOT / ".ci" / "run").read_text(encoding="utf-8").partition("guards='\n")[2].partition("\n'")[0]
    files = [
        path.relative_to(ROOT).as_posix()
        for folder in (ROOT / PACKAGE.name, ROOT / "docs", ROOT / "tests")
        for path in folder.rglob("*")
    ]
    named: set[str] = set()
    for pattern, *tests in map(str.split, table.splitlines()):
        named.update(tests)
        assert any(re.match(pattern, file) for file in files), f"nothing is called {pattern}"
    marker = re.compile(r"mark\.outer\b")
    outer = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "tests").rglob("test_*.py")
        if marker.search(path.read_text(encoding="utf-8"))
    }
    assert named == outer
