"""The command that finds the choices behind a value."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from commands import run
from PIL import Image

from torchmetrics_dna import compare, make_dna
from torchmetrics_dna.demo import blur, photographs
from torchmetrics_dna.dna.fid_statistics import save_fid_statistics


@pytest.mark.slow
def test_the_quality_of_jpeg_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    photos = [np.ascontiguousarray(photo[:64, :96]) for photo in photographs(16)]
    dna = make_dna(photos[:8], layers=["block_0"], kind="layer-gaussian", num_folds=None)
    save_fid_statistics(dna, "reference.npz")
    Path("samples").mkdir()
    copies = []
    for i, photo in enumerate(photos[8:]):
        Image.fromarray(blur(photo, 1)).save(f"samples/{i}.png")
        file = BytesIO()
        Image.fromarray(blur(photo, 1)).save(file, "JPEG", quality=75)
        copies.append(np.array(Image.open(file)))
    values = [
        compare(dna, images, layers=["block_0"], metrics="fd", num_folds=None)["fd"].value
        for images in ("samples", copies)
    ]
    command = ["reconcile", "samples", "reference.npz", "--metric", "fd", "--layers", "block_0", "--claimed"]
    assert run(monkeypatch, *command, f"{values[0]:.4f}") == 0
    assert capsys.readouterr().out.startswith("Nothing to reconcile: fd is ")
    assert run(monkeypatch, *command, f"{values[1]:.5f}", "-o", "result.json") == 0
    result = json.loads(Path("result.json").read_text())
    assert result["explanations"] == [["images are saved as JPEG of quality 75 first"]]
    assert "It is " in result["verdict"]
    assert [row["explains"] for row in result["values"]].count(True) == 1
