"""The list of extractors, as a user sees it on a terminal of 80 columns, and as a program reads it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path

from commands import COMMAND

from torchmetrics_dna.extractors import PRESETS


def listed(home: Path, *options: str) -> str:
    places = {"HF_HOME": str(home), "TORCH_HOME": str(home), "COLUMNS": "80"}
    command = [*COMMAND, "info", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **places})
    assert "is on this machine" in done.stderr or options
    return done.stdout


def test_the_list_says_what_there_is_and_what_is_here(tmp_path: Path) -> None:
    text = listed(tmp_path)
    lines = {line.split()[0]: line for line in text.splitlines() if line and not line.startswith(" ")}
    assert all(len(line) <= 80 for line in text.splitlines())
    assert set(PRESETS) < set(lines)
    assert lines["mugs_vit_large"].split()[1:] == ["25", "25,600", "224", "bramtoula", "bramtoula", "Apache-2.0"]
    assert lines["efficientnet_lite0"].count("✓") == 2
    assert text.count("✓") == 2
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    address = hashlib.sha256(PRESETS["vgg16"].weights.encode()).hexdigest()[:16]
    (tmp_path / "hub" / "checkpoints" / f"{address}-vgg16-397923af.pth").touch()
    by_name = {entry["name"]: entry for entry in json.loads(listed(tmp_path, "--format", "json"))}
    assert list(by_name) == list(PRESETS)
    assert [name for name, entry in by_name.items() if entry["weights_here"]] == ["efficientnet_lite0", "vgg16"]
    assert by_name["vgg16"]["layers"]["relu_5_3"] == 512
    assert by_name["vgg16"]["ranges"] == "hub:bramtoula/visual-dna-models/VGG/vgg16/activation_ranges.json"
    assert not by_name["vgg16"]["ranges_here"]
