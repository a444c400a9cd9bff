"""report as a user meets it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import COMMAND, run
from golden import GOLDEN
from pages import Page

A, B = str(GOLDEN / "endtoend" / "a"), str(GOLDEN / "endtoend" / "b")


def test_a_page_and_the_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "report.html"
    options = ("--layers", "block_0,block_3", "--num-bins", "200")
    assert run(monkeypatch, "report", A, B, "-o", output, *options, "--scored", "4") == 0
    captured = capsys.readouterr()
    assert f"The report is in {output}" in "".join(captured.err.splitlines())
    page = Page(output.read_text(encoding="utf-8"))
    assert " ".join(captured.out.split()) in " ".join(page.text.split())
    assert f"{A} (7 images)" in " ".join(page.text.split())
    assert "Of 4 images drawn at random from the 5" in page.text
    assert ["bins of a histogram", "200"] in page.rows
    assert not any(A in (image["alt"] or "") for image in page.all("img")), "names are told within their folder"
    assert run(monkeypatch, "compare", A, B, *options, "--json") == 0
    expected = json.loads(capsys.readouterr().out)
    assert f"dna-emd is {expected['dna_emd']:.4g} bins" in page.text


def test_files_of_dnas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "a.dna.npz"
    assert run(monkeypatch, "make", A, "--layers", "block_0", "-o", file) == 0
    assert run(monkeypatch, "report", file, B, "-o", tmp_path / "x.html") == 0
    page = Page((tmp_path / "x.html").read_text(encoding="utf-8"))
    assert str(file) in page.text
    assert ["A", "a DNA"] in page.rows
    assert run(monkeypatch, "report", file, B, "-o", tmp_path / "nowhere" / "x.html") == 2
    assert "There is no folder" in capsys.readouterr().err


@pytest.mark.slow
def test_torchrun_writes_the_same_page(tmp_path: Path) -> None:
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", *COMMAND[1:]]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    pages = []
    for name, start in (("one", COMMAND), ("two", launch)):
        output = tmp_path / f"{name}.html"
        command = [*start, "report", A, B, "-o", str(output), "--layers", "block_0", "--batch-size", "1"]
        subprocess.run(command, capture_output=True, check=True, env=environment, timeout=300)
        pages.append(Page(output.read_text(encoding="utf-8")))
    one, two = pages
    assert one.data == two.data
    assert [row for row in one.rows if row[0] != "made"] == [row for row in two.rows if row[0] != "made"]
    assert one.all("img") == two.all("img")
