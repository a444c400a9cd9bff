"""Functions need torch and numpy alone."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import pytest

from torchmetrics_dna import functional

FOLDER = "torchmetrics_dna.functional"
OTHERS = (
    "PIL", "huggingface_hub", "jinja2", "matplotlib", "numba", "rich", "safetensors", "scipy", "timm", "torchmetrics",
    "torchvision", "typer",
)  # fmt: skip


@pytest.mark.outer  # starts a process
def test_all_files_import_without_other_packages() -> None:
    names = [name for _, name, _ in pkgutil.iter_modules(functional.__path__, f"{FOLDER}.")]
    assert len(names) > 10
    code = f"import importlib, sys\nsys.modules.update(dict.fromkeys({OTHERS}))\n" + "".join(
        f"importlib.import_module({name!r})\n" for name in names
    )
    call = f"import torch\nassert {FOLDER}.dna_emd(torch.eye(2)[:1], torch.eye(2)[1:]) == 1\n"
    code += f"import warnings\nwarnings.simplefilter('ignore')  # numba is missing\nimport {FOLDER}\n{call}"
    subprocess.run([sys.executable, "-c", code], check=True)
