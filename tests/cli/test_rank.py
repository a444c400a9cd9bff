"""rank as a user meets them."""

from __future__ import annotations

import csv
import io
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from commands import COMMAND, Command
from golden import GOLDEN
from PIL import Image

import torchmetrics_dna.cli.console as console
from torchmetrics_dna import make_dna
from torchmetrics_dna.demo import photographs

A, B = GOLDEN / "endtoend" / "a", GOLDEN / "endtoend" / "b"


def test_a_table_csv_json_and_a_sheet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Command) -> None:
    monkeypatch.setattr(console.out, "width", 80)
    reference, grid = tmp_path / "plain.dna.npz", tmp_path / "grid.png"
    make_dna(photographs(8), layers=["block_0", "block_1"]).save(reference)
    captured = cli("rank", A, "--reference", reference, "--format", "csv", "--plot", grid)
    rows = list(csv.DictReader(io.StringIO(captured.out)))
    assert [row["rank"] for row in rows] == [str(i) for i in range(1, 8)]
    assert {Path(row["image"]).name for row in rows} == {path.name for path in A.iterdir()}
    assert "The contact sheet is in" in captured.err
    with Image.open(grid) as sheet:
        assert sheet.width > 500
    why = "Ranked by contrast: a histogram DNA allows no outlier score"
    printed = cli("rank", A, "--reference", reference).out
    assert [why in captured.err, printed.startswith(why), "layer-gaussian" in printed] == [True] * 3
    best = json.loads(cli("rank", A, "--reference", reference, "--format", "json", "--top", "2").out)["images"]
    assert [row["image"] for row in best] == [row["image"] for row in rows[:2]]
    assert best[0]["score"] == pytest.approx(float(rows[0]["score"]))
    query = str(next(A.iterdir()))
    for score, title in (
        ("distance", "7 images by their distance to"),
        ("contrast", "7 images by how much closer they are to"),
        ("outlier", "7 images by how unusual they are among"),
        ("local", "7 images by the place that is least like"),
    ):
        reference = query if score in ("distance", "contrast") else B
        printed = cli("rank", A, "--reference", reference, "--layers", "block_0", "--score", score).out
        assert title in printed
        assert (printed[0].isspace(), why in printed) == (False, False)
        assert max(map(len, printed.splitlines())) <= 80


def test_the_worst_with_maps(tmp_path: Path, cli: Command) -> None:
    grid, reference = tmp_path / "grid.png", tmp_path / "reference"
    reference.mkdir()
    for i, photo in enumerate(photographs(11)):
        Image.fromarray(photo).save(reference / f"{i}.png")
    options = ("rank", A, "--reference", reference, "--layers", "block_0", "--format", "json")
    captured = cli(*options, "--plot", grid, "--maps")
    document = json.loads(captured.out)
    rows, verdict = document["images"], document["verdict"].replace("\n", " ")
    assert [row["score"] for row in rows] == sorted([row["score"] for row in rows], reverse=True)
    assert "properties flag only" in verdict
    assert 0.001 <= document["outliers"]["p_value"] <= 1
    for form in ("markdown", "latex"):  # once, on stderr where tables have no room for it
        streams = [" ".join(text.split()) for text in cli(*options[:-1], form)]  # a narrow terminal breaks lines
        assert [text.count(verdict) for text in streams] == ([0, 1] if form == "latex" else [1, 0])
    with Image.open(grid) as sheet:
        assert sheet.height > 500
    for end, expected in (("--worst", rows[:2]), ("--top", rows[:-3:-1])):
        assert json.loads(cli(*options, end, "2").out)["images"] == expected


def test_copies_a_contrast_and_an_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Command) -> None:
    monkeypatch.setattr(console.out, "width", 80)
    index = tmp_path / "x.features.npz"
    options = ["rank", A, "--reference", A, "--layers", "block_0", "--contrast", B]
    captured = cli(*options, "--nearest", A, "--save-index", index)  # of itself: no image is its own neighbour
    assert "look like copies" not in captured.err
    assert "Features(7 images" in " ".join(captured.err.split())
    assert all(name in captured.out for name in ("score", "dna-emd", "percent", "copy?", "likeness", "nearest"))
    assert max(map(len, captured.out.splitlines())) <= 80
    rows = json.loads(cli(*options, "--nearest", index, "--format", "json").out)["images"]
    assert all(row["copy"] and row["nearest"] == row["image"] for row in rows)


def test_what_is_odd_in_a_folder_is_a_gate(tmp_path: Path, cli: Command) -> None:
    random = np.random.default_rng(0)
    for name, count in (("clean", 16), ("few", 14), ("spoilt", 16)):
        (tmp_path / name).mkdir()
        for i in range(count):
            pixels = random.integers(60, 200, (24, 24, 3), np.uint8) * (name != "spoilt" or i > 0)
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / name / f"{i}.png")
    asked = ("--layers", "block_0", "--fail-if-outliers")
    clean = cli("rank", tmp_path / "clean", *asked)
    assert "No image is flagged." in clean.out
    assert "Passed: no image of" in clean.err
    assert "These are the first 5. All are in the file of -o ranking.csv." in clean.out
    spoilt = cli("rank", tmp_path / "spoilt", *asked, code=1)
    assert "0.png is all black." in spoilt.out
    assert "has 1 outlier. The most unusual image is 0.png." in " ".join(spoilt.err.split())
    assert "but" in cli("rank", tmp_path / "few", *asked, code=2).err  # only facts were judged
    beside = "rank", tmp_path / "spoilt", "--reference", tmp_path / "clean", "--layers", "block_0"
    assert "These are the first 5. All are in the file of -o ranking.csv." in cli(*beside).out
    for command in (("rank", tmp_path / "spoilt", "--layers", "block_0"), beside):
        _, _, *rows = [line for line in cli(*command, "--format", "markdown").out.splitlines() if line[:1] == "|"]
        assert (len(rows), "0.png" in rows[0].replace("\\", "")) == (5, True)
    half = cli("rank", tmp_path / "clean", "--reference", tmp_path / "clean", *asked)
    assert half.out.splitlines()[0] == clean.out.splitlines()[0]


@pytest.mark.outer  # starts processes
def test_notices_of_a_folder_name_options(tmp_path: Path) -> None:
    for name in ("turned", "deep"):
        (tmp_path / name).mkdir()
    exif = Image.Exif()
    exif[274] = 6
    for i in range(3):
        Image.new("RGB", (30, 20), (90 * i, 0, 0)).save(tmp_path / "turned" / f"{i}.jpg", exif=exif)
        Image.fromarray(np.full((20, 30), 4095 - 900 * i, np.uint16)).save(tmp_path / "deep" / f"{i}.png")
    for folder, options, notice in (
        ("turned", (), "have an EXIF rotation, which is ignored; to rotate them, pass --exif-orientation"),
        ("deep", (), "nearly black; pass the value of a white pixel, such as 4095, as --scale"),
        ("turned", ("--exif-orientation",), ""),
        ("deep", ("--scale", "4095"), ""),
    ):
        command = [*COMMAND, "rank", str(tmp_path / folder), "--layers", "block_0", *options]
        err = subprocess.run(command, capture_output=True, text=True, check=True).stderr
        assert [line.endswith(notice) for line in err.splitlines() if "Images of" in line] == [True] * bool(notice)
