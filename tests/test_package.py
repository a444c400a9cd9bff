"""The package: light imports, metrics that stand alone, everything public there and documented."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
import tomllib
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

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
    {"options", "warning"}, {"checks"}, {"compiled", "extras", "files", "registry", "version"}, {"neurons"}, {"images"},
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


def test_every_import_is_declared() -> None:
    """Each package that a module imports is one of the dependencies, or of an extra for users."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    requirements = [*project["dependencies"]]
    for extra, more in project["optional-dependencies"].items():
        if extra not in ("docs", "test"):
            requirements += more
    declared = {canonicalize_name(Requirement(each).name) for each in requirements}
    distributions = packages_distributions()
    for path in PACKAGE.rglob("*.py"):
        imported = set[str]()
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.ImportFrom):
                imported.add(str(node.module).partition(".")[0])
            elif isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
        for name in imported - set(sys.stdlib_module_names) - {PACKAGE.name}:
            assert declared & {canonicalize_name(each) for each in distributions[name]}, f"{path}: {name}"


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
