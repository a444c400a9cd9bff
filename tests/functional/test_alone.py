"""Functions lift out: with torch and numpy alone, and with the few files that they name."""

from __future__ import annotations

import subprocess
import sys

import pytest
from house import PACKAGE, modules

FOLDER = "torchmetrics_dna.functional"
OTHERS = (
    "PIL", "huggingface_hub", "jinja2", "matplotlib", "numba", "rich", "safetensors", "scipy", "timm", "torchmetrics",
    "torchvision", "typer",
)  # fmt: skip
COMPILED = f"{FOLDER}.cpu"  # numba's part, of which the others do without
# files of other folders, which all import torch and numpy alone
NEIGHBOURS = {
    "emd": {"binning.bins", "extras"},
    "heat": {"images.cells"},
    "pairwise": {"binning.bins", "extras", "kernels.threads"},
    "realism": {"binning.bins", "binning.histogram", "binning.layouts", "binning.single_rows", "extras"},
    "realism_map": {"binning.bins", "binning.histogram", "binning.layouts", "binning.single_rows", "extras"},
}


@pytest.mark.slow  # starts a process
def test_all_files_import_without_other_packages() -> None:
    names = sorted(set(modules("functional")) - {COMPILED})
    assert len(names) > 15
    code = f"import importlib, sys\nsys.modules.update(dict.fromkeys({OTHERS}))\n" + "".join(
        f"importlib.import_module({name!r})\n" for name in names
    )
    call = f"import torch\nassert {FOLDER}.dna_emd(torch.eye(2)[:1], torch.eye(2)[1:]) == 1\n"
    code += f"import warnings\nwarnings.simplefilter('ignore')  # numba is missing\nimport {FOLDER}\n{call}"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=PACKAGE.parent)


def test_few_files_of_other_folders_are_needed() -> None:
    needs = modules()
    for name in needs.keys() - {COMPILED}:
        if not name.startswith(f"{FOLDER}."):
            continue
        needed, ahead = set(), [name]
        while ahead:
            new = needs.get(ahead.pop(), set()) - needed
            needed |= new
            ahead += new
        outside = {each.removeprefix("torchmetrics_dna.") for each in needed if not each.startswith(FOLDER)}
        assert outside == NEIGHBOURS.get(name.rpartition(".")[2], set()), name
