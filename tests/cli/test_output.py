"""Results in each format, on stdout and in files; text from outside is shown, and does nothing."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import Command, run
from hypothesis import given
from hypothesis import strategies as st
from pages import Page
from PIL import Image
from rich.text import Text

import torchmetrics_dna.cli.console as console
from torchmetrics_dna import ActivationRanges
from torchmetrics_dna.demo import blur, noise, photographs
from torchmetrics_dna.dna import HistogramDNA
from torchmetrics_dna.files.tables import Table, as_csv
from torchmetrics_dna.files.visible import visible
from torchmetrics_dna.jobs.make import make_dna
from torchmetrics_dna.neurons import Neurons

# what cells may have of LaTeX
_COMMANDS = re.compile(
    r"\\(textbackslash|textasciitilde|textasciicircum)\{\}|\\[&%$#_{}]|^\{\}(?=[\[*])"
    r"|\$(-|<|>|\||\\leq|\\pm|\\uparrow|\\downarrow|\^2|\\cdot10\^\{-?\d+\})\$"
)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, photos = tmp_path_factory.mktemp("files"), [photo[:96, :96] for photo in photographs(8)]
    sets = {"a": photos, "b": [blur(photo, 3) for photo in photos], "c": [noise(photo, 3) for photo in photos]}
    for name, images in sets.items():
        make_dna(images, layers=["block_0", "block_1"], num_folds=8).save(folder / f"{name}.dna.npz")
    return folder


RESULTS = {
    "compare": ["compare", "a.dna.npz", "b.dna.npz"],
    "compare several": ["compare", "a.dna.npz", "b.dna.npz", "c.dna.npz"],
    "all with all": ["compare", "--all", "a.dna.npz", "b.dna.npz", "c.dna.npz"],
    "info": ["info", "a.dna.npz"],
    "extractors": ["info"],
}


@pytest.mark.parametrize("arguments", RESULTS.values(), ids=RESULTS)
def test_each_result_in_each_format(
    arguments: list[str], files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Command
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = [str(files / word) if word.endswith(".npz") else word for word in arguments]
    printed = {}
    for suffix, form in (("txt", "text"), ("json", "json"), ("csv", "csv"), ("md", "markdown"), ("tex", "latex")):
        printed[form] = cli(*arguments, "--format", form).out
        path = tmp_path / f"result.{suffix}"
        captured = cli(*arguments, "-o", path)
        assert "".join(captured.out.split()) in "".join(printed["text"].split())
        lacks_sentences = form in ("csv", "latex") and "compare" in arguments
        assert bool(captured.out) == lacks_sentences, "what a file lacks is printed"
        assert f"The result is in {path}" in captured.err
        text = path.read_text(encoding="utf-8")
        if form == "text":  # lines of a file are as long as they need be
            assert re.sub(r"\W", "", text)[:60] == re.sub(r"\W", "", printed[form])[:60]
        else:
            assert text == printed[form]
    assert json.loads(printed["json"])
    rows = list(csv.reader(io.StringIO(printed["csv"])))
    assert len(rows) > 1
    assert {len(row) for row in rows} == {len(rows[0])}
    widths = [line.count(" | ") for line in printed["markdown"].splitlines() if line.startswith("| ")]
    assert len(widths) >= 3
    tables = re.findall(r"\\begin\{tabular\}\{([lr]+)\}\n\\toprule\n(.*?)\\bottomrule\n", printed["latex"], re.DOTALL)
    assert tables
    for alignment, body in tables:
        assert {line.count(" & ") for line in body.splitlines() if line.endswith(r"\\")} == {len(alignment) - 1}
    assert "The page is in x.html" in cli(*arguments, "-o", "x.html").err
    page = Page(Path("x.html").read_text(encoding="utf-8"))
    assert len(page.rows) >= len(tables)
    assert cli(*arguments, "--format", "html").out.startswith("<!doctype html>")


@given(st.lists(st.lists(TEXTS, min_size=2, max_size=2), min_size=1, max_size=4))
def test_no_text_breaks_out_of_its_cell(rows: list[list[str]]) -> None:
    table = Table(["name", "value"], rows)
    markdown = table.markdown().splitlines()
    assert len(markdown) == 2 + len(rows)
    assert all(len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) == 3 for line in markdown)
    latex = table.latex().splitlines()
    assert len(latex) == 6 + len(rows)
    plain = [_COMMANDS.sub("", line) for line in latex[4:-2]]
    assert all(re.fullmatch(r"[^&%$#_{}~^\\]* & [^&%$#_{}~^\\]* \\\\", line) for line in plain)


def test_a_table_as_latex_is_set_as_in_print() -> None:
    rows = [["kid_1", -1.2e-5, "0.10 ± 0.02", None], ["[b", 3.0, "0.20 [0.1, 0.3] n.s.", 2.5]]
    table = Table(["set", "kid ↓", "is ↑", "fid"], rows, notes=["100 % of B", "p > 0.05"], bold={(1, 1)})
    begin, *lines = table.latex().splitlines()
    tabular, notes = lines[:-6], lines[-6:]
    assert begin == r"\begin{tabular}{lrrr}"
    assert notes == [
        *(r"\end{tabular}", r"\par\smallskip", r"{\footnotesize\noindent"),
        *(r"100 \% of B", "p $>$ 0.05", r"\par}"),
    ]
    cells = [line.removesuffix(r" \\").split(" & ") for line in tabular]
    assert cells == [
        [r"\toprule"], ["set", r"kid $\downarrow$", r"is $\uparrow$", "fid"],
        [r"\midrule"], [r"kid\_1", r"$-$1.2$\cdot10^{-5}$", r"0.10 $\pm$ 0.02", "--"],
        ["{}[b", r"\textbf{3}", r"0.20 {\scriptsize [0.1, 0.3]} n.s.", "2.5"], [r"\bottomrule"],
    ]  # fmt: skip
    assert table.markdown().splitlines()[3:] == [
        r"| \[b | **3** | 0.20 \[0.1, 0.3\] n.s. | 2.5 |", "", "100 % of B", "", r"p \> 0.05",
    ]  # fmt: skip
    assert "<b>3</b>" in table.html()
    assert table.html().endswith("</table><p>100 % of B</p><p>p &gt; 0.05</p>")
    assert table.without("kid ↓").bold == set()
    assert table.without("set").bold == {(1, 0)}


@given(st.lists(st.tuples(TEXTS, st.floats(allow_nan=False)), min_size=1, max_size=4))
def test_csv_is_exact_and_has_no_formulas(rows: list[tuple[str, float]]) -> None:
    text = as_csv([{"name": name, "value": value} for name, value in rows])
    read = list(csv.DictReader(io.StringIO(text)))
    assert [float(row["value"]) for row in read] == [value for _, value in rows]
    assert not any(row["name"].startswith(("=", "+", "-", "@")) for row in read)


@pytest.mark.parametrize(
    ("encoding", "form"),
    [("ascii", form) for form in ("text", "markdown", "latex", "csv", "json")]
    + [("cp1252", "text"), ("cp932", "latex")],
)
def test_no_encoding_of_the_output_loses_a_result(
    encoding: str, form: str, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that output is redirected to has such an encoding on Windows, and where no locale is set."""
    monkeypatch.chdir(files)
    streams = {name: io.TextIOWrapper(io.BytesIO(), encoding, newline="") for name in ("stdout", "stderr")}
    for name, stream in streams.items():
        monkeypatch.setattr(sys, name, stream)
    dnas = ("a.dna.npz", "b.dna.npz", "c.dna.npz")
    for number in (2, 3)[encoding != "ascii" :]:
        assert run(monkeypatch, "compare", *dnas[:number], "--fail-if-different", "--format", form) == 1
    for stream in streams.values():
        stream.flush()
    output, errors = (stream.buffer.getvalue().decode(encoding) for stream in streams.values())
    assert "b.dna.npz" in output
    assert "Failed: " in errors
    assert r"\u" not in output + errors
    if encoding == "ascii" and form in ("text", "markdown"):
        assert "significantly, p <= 0.05" in " ".join(output.split())


def test_an_image_that_is_left_out_is_one_line_however_long(capsys: pytest.CaptureFixture[str]) -> None:
    line = f"Can't read image '{'long name ' * 40}.png'"
    console.print_unreadable([line])
    assert line in capsys.readouterr().err


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are text elsewhere")
@pytest.mark.parametrize("form", ["text", "json", "csv"])
def test_names_that_are_not_utf_8(
    form: str, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    odd = os.fsdecode(b"caf\xe9.dna.npz")
    paths = [tmp_path / name for name in ("a.dna.npz", "b.dna.npz", odd)]
    for path, name in zip(paths, "abc", strict=True):
        shutil.copy(files / f"{name}.dna.npz", path)
    assert run(monkeypatch, "compare", *paths, "--format", form) == 0
    printed = capfdbinary.readouterr().out.decode()
    if form == "json":
        parsed = json.loads(printed)
        assert [record["set"] for record in parsed["sets"]] == ["b.dna.npz", r"caf\xe9.dna.npz"]
        json.dumps(parsed, ensure_ascii=False).encode()  # no half of a pair
    else:
        assert "xe9" in printed
    output = tmp_path / "result.csv"
    assert run(monkeypatch, "compare", *paths, "-o", output) == 0
    assert r"caf\xe9.dna.npz" in output.read_text(encoding="utf-8")


ACTS = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202egnp.exe\u2066\r\n"
MARKUP = "[/foo][bold]x[/bold] :smile: https://a.b [link=https://c.d]"
HOSTILE = MARKUP + ACTS
# what may reach a terminal: neither controls nor what turns the direction of reading
SHOWN = re.compile("[^\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]*")


def words(text: str) -> str:
    """Without borders and line breaks of tables."""
    return "".join(re.sub(r"[│┃\s]", "", text).split())


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    for shown in (console.out, console.talk):
        monkeypatch.setattr(shown, "_width", 400)


@pytest.fixture(scope="module")
def dnas(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two DNA files that anyone could have written."""
    folder = tmp_path_factory.mktemp("dnas")
    neurons = Neurons({f"layer {HOSTILE}": 3, "plain": 2})
    ranges = ActivationRanges(torch.zeros(5), torch.ones(5), neurons, name=f"ranges {HOSTILE}")
    paths = [folder / "a.dna.npz", folder / f"{MARKUP.replace('/', '')}\x1b[2J.npz"]
    for path in paths:
        counts = torch.randint(0, 9, (5, 4), generator=torch.Generator().manual_seed(len(path.name)))
        counts[:, 0] += 100 - counts.sum(1)
        HistogramDNA(counts, neurons, ranges, num_images=3, extractor=f"net {HOSTILE}", notes=f"notes {HOSTILE}").save(
            path
        )
    return paths


@pytest.mark.usefixtures("wide")
@pytest.mark.parametrize(
    ("command", "code", "shown"),
    [
        (["info", "B"], 0, ("layer", "net", "ranges", "notes")),
        (["compare", "A", "B"], 0, ("layer", "net")),
        (["merge", "A", "B", "-o", "m.npz"], 0, ("layer", "net", "ranges")),
        (["convert", "B", "official"], 0, ("layer", "net", "ranges")),
        (["compare", "A", "B", "-o", "r.html"], 0, ()),
        (["convert", "A", "official", "--ranges", "nowhere\x1b[2J"], 2, ()),
        (["compare", "A", "B", "--layers", HOSTILE], 2, ()),
    ],
)
def test_commands_show_it(
    command: list[str],
    code: int,
    shown: tuple[str, ...],
    dnas: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cli: Command,
) -> None:
    monkeypatch.chdir(tmp_path)
    files = {"A": dnas[0], "B": dnas[1]}
    captured = cli(*(files.get(word, word) for word in command), code=code)
    for text in captured:
        assert SHOWN.fullmatch(text), text
    for what in shown:
        assert words(f"{what} {visible(HOSTILE)}") in words(captured.out + captured.err).replace("\\\\", "\\"), what


# `--fail-if-outliers` is in test_rank.py
GATES = {
    "compare A B --fail-if-different": 1,
    "compare A B --fail-above 1000": 0,
    "compare A B --fail-above 0.0001 --fail-if-different": 1,
    "compare A A2 --fail-unless-below 900": 0,
    "diff A_folder B_folder --fail-if-changed --layers block_0": 1,
    "diff A_folder A_folder --fail-if-changed --layers block_0": 0,
}


@pytest.mark.parametrize("command", GATES)
def test_json_holds_what_was_asked_of_a_result(
    command: str, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Command
) -> None:
    monkeypatch.chdir(tmp_path)
    places = {"A": files / "a.dna.npz", "B": files / "b.dna.npz", "A2": files / "c.dna.npz"}
    for name, photos in (("A_folder", photographs(12)), ("B_folder", [blur(photo, 1) for photo in photographs(12)])):
        (tmp_path / name).mkdir()
        for i, photo in enumerate(photos):
            Image.fromarray(photo[:48, :48]).save(tmp_path / name / f"{i}.png")
    words, code = command.split(), GATES[command]
    printed = cli(*(places.get(word, word) for word in words), "-o", "x.json", code=code).err
    gates = json.loads((tmp_path / "x.json").read_text())["gates"]
    assert [gate["option"] for gate in gates] == [word for word in words if word.startswith("--fail")]
    assert all(gate["passed"] for gate in gates) == (code == 0)
    for gate in gates:
        assert all(" ".join(line.split()) in " ".join(printed.split()) for line in gate["lines"])


def test_json_holds_the_exact_text(dnas: list[Path], cli: Command) -> None:
    printed = cli("info", dnas[0], "--format", "json").out
    assert printed.isascii()
    assert SHOWN.fullmatch(printed)
    description = json.loads(printed)
    assert (description["notes"], description["extractor"]) == (f"notes {HOSTILE}", f"net {HOSTILE}")
    assert list(description["layers"]) == [f"layer {HOSTILE}", "plain"]


@pytest.mark.usefixtures("wide")
def test_names_of_ranked_images(
    tmp_path: Path, photos: list[np.ndarray], monkeypatch: pytest.MonkeyPatch, cli: Command
) -> None:
    monkeypatch.chdir(tmp_path)
    names = [
        "=1+1.png",
        "+a.png",
        "-b.png",
        "@c.png",
        'plain, "quoted".png',
        f"{HOSTILE.replace('/', '')}.png",
        "broken\x1b[2J.png",
    ]
    for name, photo in zip(names, photos, strict=False):
        Image.fromarray(photo).save(name)
    Path(names[-1]).write_text("no picture")
    options = ("--reference", names[0], "--layers", "block_0", "--skip-unreadable")
    printed = {}
    for form in ("csv", "json", "text"):
        captured = cli("rank", ".", *options, "--worst", "6", "--format", form)
        for text in captured:
            assert SHOWN.fullmatch(text), text
        assert "1 image was left out:" in captured.err
        printed[form] = captured.out
    exact = {row["image"]: row["score"] for row in json.loads(printed["json"])["images"]}
    assert set(exact) == set(names[:-1])
    rows = {row["image"]: float(row["score"]) for row in csv.DictReader(io.StringIO(printed["csv"]))}
    safe = {name: f"'{name}" for name in names[:4]} | {names[4]: names[4], names[5]: visible(names[5])}
    assert rows == {safe[name]: score for name, score in exact.items()}
    assert all(words(visible(name)) in words(printed["text"]) for name in exact)


def test_what_is_not_text_is_made_visible() -> None:
    every = "".join(map(chr, range(0x3000))) + "".join(map(chr, range(0xD800, 0xE000)))
    assert SHOWN.fullmatch(visible(every))
    harmless = "Grüße, 日本, العربية, עברית, 👩‍🔬 “x” \\n"
    assert visible(harmless) == harmless
    assert visible(f"a\n{ACTS}").encode().decode("unicode_escape") == f"a\n{ACTS}"


def test_decimal_points_are_below_each_other() -> None:
    assert console.numbers([15.0, 11.03, 0.1468, None]) == ["15.0  ", "11.0  ", " 0.147", " -    "]
    assert console.numbers([0.0, 123456.0], 11) == ["          0", "    123,456"]
    shown = console.rich_table(["layer", "n", "dna-emd"], [["a", 1280, 15.0], ["b", 7, 0.1468]], "title")
    with console.out.capture() as captured:
        console.out.print(shown, Text("[x]"))
    lines = [line for line in captured.get().splitlines() if line.startswith("│")]
    cells = [" a     ", " 1,280 ", "  15.0   "], [" b     ", "     7 ", "   0.147 "]
    assert [line.strip("│").split("│") for line in lines] == [*cells]
