"""Text from outside (notes, names of layers, extractors and files) is shown, and does nothing."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import Command
from PIL import Image
from rich.text import Text

import torchmetrics_dna.cli.console as console
from torchmetrics_dna import ActivationRanges
from torchmetrics_dna.dna import HistogramDNA
from torchmetrics_dna.files.visible import visible
from torchmetrics_dna.neurons import Neurons

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
        captured = cli("rank", ".", *options, "--format", form)
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
    assert console.numbers([15.0, 11.03, 0.1468, None]) == ["15.00  ", "11.03  ", " 0.1468", " -     "]
    assert console.numbers([0.0, 123456.0], 11) == ["          0", "    123,456"]
    shown = console.rich_table(["layer", "n", "dna-emd"], [["a", 1280, 15.0], ["b", 7, 0.1468]], "title")
    with console.out.capture() as captured:
        console.out.print(shown, Text("[x]"))
    lines = [line for line in captured.get().splitlines() if line.startswith("│")]
    cells = [" a     ", " 1,280 ", " 15.00   "], [" b     ", "     7 ", "  0.1468 "]
    assert [line.strip("│").split("│") for line in lines] == [*cells]
