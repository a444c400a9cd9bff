"""A package of someone else's, installed, adds a network, a distance and a kind of file to the commands."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from torchmetrics_dna.dna.distances import DISTANCES
from torchmetrics_dna.extractors import PRESETS
from torchmetrics_dna.images.kinds import KINDS
from torchmetrics_dna.images.properties import RECORDS as PROPERTIES
from torchmetrics_dna.registry import Registry
from torchmetrics_dna.reporting.document import FORMATS

CODE = """
from dataclasses import replace
import numpy as np
from torchmetrics_dna.dna.distances import DISTANCES, Distance
from torchmetrics_dna.extractors.presets import PRESETS
from torchmetrics_dna.images.arrays import open_arrays
from torchmetrics_dna.images.kinds import KINDS, FileKind

def apart(a, b):
    return (a.mean - b.mean).abs()

def open_raw(files, label, reading):
    from torchmetrics_dna.images import open_source
    images = np.concatenate([np.fromfile(file, np.uint8).reshape(-1, 16, 16, 3) for file in files])
    return open_source(images, reading)

PRESETS.register(replace(PRESETS["efficientnet_lite0"], name="mine", input_size=(96, 96)))
DISTANCES.register(Distance("apart", "apart", "act.", "Difference of means", "neuron", ("gaussian",), 2, apart))
KINDS.register(FileKind(".raw of 16 x 16", (".raw",), open_raw))
"""


@pytest.mark.outer
@pytest.mark.slow
def test_an_installed_package_adds_its_own(tmp_path: Path) -> None:
    (tmp_path / "my_package.py").write_text(CODE)
    about = tmp_path / "my_package-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[torchmetrics_dna]\nmine = my_package\n")
    random = np.random.default_rng(0)
    for name in "ab":
        random.integers(0, 256, (12, 16, 16, 3)).astype(np.uint8).tofile(tmp_path / f"{name}.raw")
    command = ["compare", "a.raw", "b.raw", "--feature", "mine", "--layers", "block_0", "--metrics", "dna-emd,apart"]
    done = subprocess.run(
        [sys.executable, "-m", "torchmetrics_dna", *command, "--format", "json"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["apart"] > 0
    assert result["num_images"] == {"a": 12, "b": 12}
    assert result["extractor"] == "mine"


@pytest.mark.parametrize(
    ("registry", "record", "taken"),
    [
        (PRESETS, PRESETS["vgg16"], "preset 'vgg16'"),
        (DISTANCES, replace(DISTANCES["fd"], name="DNA_EMD", key="mine"), "distance 'DNA_EMD'"),
        (KINDS, KINDS["video"]._replace(name="mine"), "suffix '.mp4'"),
    ],
)
def test_names_that_are_taken(registry: Registry[Any], record: Any, taken: str) -> None:
    with pytest.raises(ValueError, match=f"The {taken} is there already"):
        registry.register(record)
    assert "mine" not in registry


@pytest.mark.parametrize(
    "registry",
    [PRESETS, DISTANCES, KINDS, FORMATS, PROPERTIES],
    ids=["presets", "distances", "kinds", "formats", "properties"],
)
def test_each_name_of_a_record_is_its_own(registry: Registry[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A record is refused that shares one name alone, at whichever place; and found by each."""
    names_of, mine = registry._names, object()
    for record in list(registry.values()):
        assert all(registry.find(name) is record for name in names_of(record))
        for place, taken in enumerate(names_of(record)):
            names = [f"{name}-of-mine" for name in names_of(record)]
            names[place] = taken

            def of_any(each: Any, names: list[str] = names) -> Any:
                return names if each is mine else names_of(each)

            monkeypatch.setattr(registry, "_names", of_any)
            with pytest.raises(ValueError, match=f"{re.escape(repr(taken))} is there already"):
                registry.register(mine)
            assert mine not in registry.values()
