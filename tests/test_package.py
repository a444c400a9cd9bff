"""The package: light imports, metrics that stand alone, everything public there and documented."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import torchmetrics_dna

PACKAGE = Path(torchmetrics_dna.__file__).parent
ROOT = Path(__file__).parents[1]  # of the checkout, also where the package is installed elsewhere
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
    with pytest.raises(AttributeError, match="nonsense"):
        torchmetrics_dna.nonsense  # noqa: B018


ABOVE = ("cli", "comparisons", "jobs", "reporting", "singles")
METRICS_ALONE = f"""
import sys
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
    print(kind.__name__, metric.compute())
    realism = DNARealism(network, reference=metric.to_dna(real=True)) if kind is DNAEMD else realism
print("DNARealism", realism(fake))
print("ActivationRange", ActivationRange(network)(real))
"""


@pytest.mark.slow
def test_metrics_run_without_what_stands_above_them() -> None:
    process = subprocess.run([sys.executable, "-c", METRICS_ALONE], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    assert process.stdout.startswith("DNAEMD tensor(")


def test_who_we_are_is_told_alike() -> None:
    about = {name: (ROOT / name).read_text(encoding="utf-8") for name in ("CITATION.cff", "docs/citing.md")}
    paper = yaml.safe_load(about["CITATION.cff"])["references"][0]
    written = about["docs/citing.md"].replace("{", "").replace("}", "")
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
        for folder in (ROOT / PACKAGE.name, ROOT / "docs")
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
