"""report as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path

from commands import Command
from golden import GOLDEN
from pages import Page

A, B = str(GOLDEN / "endtoend" / "a"), str(GOLDEN / "endtoend" / "b")


def test_a_page_and_the_verdict(tmp_path: Path, cli: Command) -> None:
    output = tmp_path / "report.html"
    options = ("--layers", "block_0,block_3")
    captured = cli("compare", A, B, "-o", output, *options)
    assert f"The page is in {output}" in "".join(captured.err.splitlines())
    page = Page(output.read_text(encoding="utf-8"))
    words = " ".join(page.text.split())
    headline, rest = " ".join(captured.out.split()).split(". ", 1)
    assert words.startswith(f"b against a {headline}.")
    assert rest.partition(" Images of b against")[0] in words
    assert "A a (7 images)" in words
    assert ["bins of a histogram", "1000"] in page.rows
    assert not any(A in (image["alt"] or "") for image in page.all("img")), "names are told within their folder"
    expected = json.loads(cli("compare", A, B, *options, "--format", "json").out)
    assert next(row for row in page.rows if row[0] == "dna-emd")[1] == f"{expected['dna_emd']:.4g}"
    assert next(row for row in page.rows if row[0] == "A")[1] == f"images, {A}"


def test_files_of_dnas(tmp_path: Path, cli: Command) -> None:
    file = tmp_path / "a.dna.npz"
    cli("make", A, "--layers", "block_0", "-o", file)
    cli("compare", file, B, "-o", tmp_path / "x.html")
    page = Page((tmp_path / "x.html").read_text(encoding="utf-8"))
    assert str(file) in page.text
    assert ["A", "a DNA"] in page.rows
