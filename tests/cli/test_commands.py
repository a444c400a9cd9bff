"""compare, ranges and help as a user meets them."""

from __future__ import annotations

import importlib
import inspect
import io
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dnas
import numpy as np
import pytest
import torch
import typer
from commands import Command, in_processes
from golden import GOLDEN, load
from pages import Page
from PIL import Image

import torchmetrics_dna.cli.console as console
from torchmetrics_dna import ActivationRanges, DNAExtractor, Reading, demo, make_dna
from torchmetrics_dna.cli import app
from torchmetrics_dna.cli.options import USUAL
from torchmetrics_dna.images import ImageStream
from torchmetrics_dna.images.kinds import KINDS
from torchmetrics_dna.jobs.arguments import Arguments

END = GOLDEN / "endtoend"
A, B, OFFICIAL = END / "a", END / "b", END / "activation_ranges.json"


def test_figures_for_programs(monkeypatch: pytest.MonkeyPatch, cli: Command) -> None:
    options = ("compare", A, B, "--layers", "block_0,block_1", "--metrics")
    out, talk = cli(*options, "dna-emd,dna-fd,fd,kid", "--ranges", OFFICIAL, "--format", "json")
    printed, golden = json.loads(out), load("endtoend/endtoend.npz")
    assert set(printed) >= {"extractor", "ranges"}
    assert (printed["num_images"], printed["num_bins"]) == ({"a": 7, "b": 5}, 1000)
    for layer, figures in printed["layers"].items():
        assert figures["dna_emd"] == pytest.approx(float(golden[f"emd_layer-{layer}"]), abs=2e-3)
        assert figures["fd"] == pytest.approx(float(golden[f"fd_layer_exact-{layer}"]), rel=1e-5)
        assert figures["dna_fd"] == pytest.approx(float(golden[f"nfd64_layer-{layer}"]), rel=1e-5)
    assert printed["kid_std"] > 0
    assert len(printed["top_neurons"]) == 10
    assert talk.startswith(f"{A}: 7 of 7\n{B}: 5 of 5\n")

    monkeypatch.setattr(console.out, "width", 80)
    text = cli(*options, "fd, kid").out
    assert all(word in text for word in ("fd", "kid", "of layer block_1, ±", "over subsets"))
    assert not any(word in text for word in ("dna-emd", "dna-fd", "Neurons that differ most"))
    assert "By layer" not in text, "fd is not shown to differ (p = 0.055)"
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.outer
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("command", [("compare", A, B, "--ranges", "auto"), ("rank", A, "--reference", B)])
def test_processes_share_the_images(command: tuple[object, ...], tmp_path: Path, cli: Command) -> None:
    options = [*command, "--format", "json", "--batch-size", "1", "--layers", "block_0"]
    expected, shared = (
        _flat(json.loads(cli(*options).out)),
        _flat(json.loads((output := in_processes(tmp_path, *options)).stdout)),
    )
    assert f"{A}: 4 of 4 (first of 2 processes)" in output.stderr
    assert len(shared) > 20
    rel = 1e-9 if command[0] == "compare" else 1e-6
    # sums of floating point may differ in their last digits, counts do not
    sums = {key for key, value in expected.items() if re.search("dna_fd|score", key) and isinstance(value, float)}
    assert shared == {key: pytest.approx(v, rel=rel) if key in sums else v for key, v in expected.items()}


def _flat(content: object, key: str = "") -> dict[str, object]:
    """The figures of nested dicts and lists, by the names on the way to them."""
    if isinstance(content, (dict, list)):
        items = content.items() if isinstance(content, dict) else enumerate(content)
        return {name: value for k, inner in items for name, value in _flat(inner, f"{key}/{k}").items()}
    return {key: content}


def test_what_to_do_next_is_typed_with_the_same_network(tmp_path: Path, cli: Command) -> None:
    a, b = (tmp_path / "a", tmp_path / "b b")
    for level, folder in ((150, a), (250, b)):
        folder.mkdir()
        for i in range(12):
            pixels = np.random.default_rng(level + i).integers(0, level, (24, 24, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{i}.png")
    talk = cli("compare", a, b, "--layers", "block_0", "--num-bins", 50, "--no-causes", "--confidence", 0.8).err
    page = f"compare {a} '{b}' -o page.html --layers block_0 --num-bins 50 --no-causes --confidence 0.8\n"
    assert f"To see the differences in pictures: torchmetrics-dna {page}" in talk
    assert f"To find outliers in B: torchmetrics-dna rank '{b}' --reference {a} --layers block_0\n" in talk


IN_PICTURES = "in pictures: torchmetrics-dna compare a 'b b' -o page.html"
BY_PAIRS = "torchmetrics-dna compare a 'b b' --pairs name"
BY_RANK = "torchmetrics-dna rank 'b b' --reference a"
ORDER = f"To order the images of B by their distance from A: {BY_RANK}"
AS_PAIRS = f"To compare the images as pairs: {BY_PAIRS}"
BOTH = [f"To see the differences {IN_PICTURES}", f"To find outliers in B: {BY_RANK}"]
ONE_OUTLIER, NO_OUTLIERS = SimpleNamespace(flagged_names=["x.png"]), SimpleNamespace(flagged_names=[])
STREAM = object.__new__(ImageStream)


@pytest.mark.parametrize(
    ("differs", "outliers", "changed", "lines"),
    [
        (True, None, {}, BOTH),
        (None, NO_OUTLIERS, {}, BOTH),
        (True, None, {"sides": (STREAM, "b")}, BOTH[1:]),
        (True, None, {"crop": "center"}, [f"{BOTH[0]} --crop center"]),
        (True, None, {"crop": "center", "sides": ("a", STREAM)}, []),
        (
            True,
            None,
            {"sides": (dnas.histogram(), "b")},
            [BOTH[0], ORDER],
        ),
        (False, ONE_OUTLIER, {}, [f"To see these images {IN_PICTURES}"]),
        (False, ONE_OUTLIER, {"sides": ("a", STREAM)}, []),
        (False, NO_OUTLIERS, {}, []),
        (False, None, {}, [f"A comparison hardly detects a small number of outliers. To find them in B: {BY_RANK}"]),
        (False, None, {"crop": "center"}, []),
        (False, None, {"sides": (dnas.histogram(), "b")}, []),
        (True, ONE_OUTLIER, {"sides": ("a", dnas.histogram())}, []),
        (True, None, {"paired": True}, BOTH[:1]),
        (False, None, {"paired": True}, []),
        (True, ONE_OUTLIER, {"copies": 7}, BOTH),
        *((differs, None, {"copies": 8}, [AS_PAIRS]) for differs in (True, False, None)),
        (None, None, {"copies": 8, "crop": "center"}, [f"{AS_PAIRS} --crop center"]),
        (True, ONE_OUTLIER, {"of": {"dna-emd": 0.0}}, []),
        (True, ONE_OUTLIER, {"of": {"fd": 1.0}}, []),
    ],
)
def test_what_to_do_next_is_what_shows_more(
    differs: bool | None, outliers: Any, changed: dict[str, Any], lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Compared(dict[str, Any]):
        noun = "image"

    result = Compared(
        (name, SimpleNamespace(value=value)) for name, value in changed.get("of", {"dna-emd": 2.0}).items()
    )
    result.differs, result.outliers, result.num_images = differs, outliers, {"a": 8, "b": 8}
    result.copies, result.paired = changed.get("copies", 0), changed.get("paired", False)
    options = USUAL | {"reading": Reading(), "feature": {"feature": USUAL["feature"], "crop": changed.get("crop")}}
    printed: list[str] = []
    command = importlib.import_module("torchmetrics_dna.cli.compare")
    monkeypatch.setattr(command, "talk", SimpleNamespace(print=lambda line, **_: printed.append(line)))
    command._suggest_commands(result, "a", "b b", options, changed.get("sides", ("a", "b")))
    assert printed == ([""] if lines else []) + lines


def test_the_demonstration_prints_its_distances_and_draws_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Command
) -> None:
    demos: list[demo.Demo] = []
    run, counted = demo.run_demo, []

    def run_small(num_images: int, progress: Any) -> demo.Demo:
        demos.append(run(num_images, lambda *steps: counted.append(steps[1:]) or progress(*steps)))
        return demos[0]

    monkeypatch.setattr(demo, "DNAExtractor", lambda _: DNAExtractor(layers=["block_0"]))
    for name, smaller in {"_OTHERS": 4, "_SIDE": 64, "_COMPARED": (1, 3)}.items():
        monkeypatch.setattr(demo, name, smaller)
    monkeypatch.setattr(demo, "run_demo", run_small)
    printed, talk = cli("demo", "--num-images", 2, "-o", tmp_path / "x.png")
    cells = [re.split(r"\s*[│┃]\s*", line.strip("│┃ \n")) for line in printed.splitlines()]
    rows = {cell[0]: [float(value) for value in cell[1:]] for cell in cells if ", " in cell[0] and len(cell) == 3}
    compared = [comparison for of_one in demos[0].comparisons.values() for comparison in of_one]
    values = {each.names[1]: [each["dna-emd"].value, each["dna-fd"].value] for each in compared}
    assert rows == {name: pytest.approx(pair, rel=1e-2) for name, pair in values.items()}
    assert "the last of them, image 3, black." in printed
    assert counted[-1] == (2 * (1 + 3 * 2) + 2 * (3 + 4),) * 2, "all that is to be done is done at the end"
    assert (tmp_path / "x.png").stat().st_size > 10_000
    assert f"The figure is in {tmp_path / 'x.png'}" in talk.replace("\n", "")


def test_without_folds(cli: Command) -> None:
    options = ("--layers", "block_0", "--num-folds", "0")
    printed = cli("compare", A, B, *options).out
    assert "was not tested" in " ".join(printed.split())
    assert "not debiased" in " ".join(printed.split())
    assert "Debiased" not in printed
    assert "clearly" not in printed

    assert "Each of 2 files is a set of its own; for one set of image files quote the pattern, such as " in (
        cli("compare", A, *sorted(A.glob("*.jpg"))[:2], *options).err
    )
    printed, talk = cli("compare", A, A, *options)
    verdict = " ".join(printed.partition("\n\n")[0].split())
    assert (verdict[:8], verdict[-22:]) == ("You gave", "B are the same images.")  # and of no shift is anything said
    assert "-o page.html" not in talk

    grouped = cli("compare", A, B, *options[:2], "--groups", "folder", "--format", "json")
    assert json.loads(grouped.out)["p_value"] is None  # all images of a side are in one fold


def test_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    written, now = io.StringIO(), iter([0, 29, 31, 40, 62, 63, 64])
    monkeypatch.setattr(console, "monotonic", lambda: next(now))
    monkeypatch.setattr(console, "talk", console.Console(file=written, force_terminal=False))
    with console.progress() as report:
        for done in (1, 2, 3000, 3001, 9000):
            report("a", done, 9000)
        report("[b]", 1, None)
        report("[b]", 2, 2)
    lines = [line.split(": ") for line in written.getvalue().splitlines()]
    assert lines == [["a", "3,000 of 9,000"], ["a", "9,000 of 9,000"], ["[b]", "2 of 2"]]

    terminal = io.StringIO()
    monkeypatch.setattr(console, "talk", console.Console(file=terminal, force_terminal=True, width=80))
    with console.progress():
        pass
    assert terminal.getvalue() == "", "an error that comes before the first image is one line"
    monkeypatch.setattr(console, "_SHARE", ", of the first")
    with console.progress() as report:
        report("[b]", 2, 2)
    assert "[b], of the first" in terminal.getvalue()
    assert "2/2" in terminal.getvalue()


def test_a_page_and_the_verdict(tmp_path: Path, cli: Command) -> None:
    output, file, options = tmp_path / "report.html", tmp_path / "a.dna.npz", ("--layers", "block_0")
    captured = cli("compare", A, B, "-o", output, *options)
    assert f"The page is in {output}" in "".join(captured.err.splitlines())
    page = Page(output.read_text(encoding="utf-8"))
    assert page.texts["title"] == page.texts["h1"] == ["b compared with a"]
    assert f"b compared with a {captured.out.partition('.')[0]}." in " ".join(page.text.split())
    assert next(row for row in page.rows if row[0] == "A")[1] == f"images, {A}"
    make_dna(A, layers=["block_0"]).save(file)
    cli("compare", file, B, "-o", output)
    page = Page(output.read_text(encoding="utf-8"))
    assert str(file) in page.text
    assert ["A", "a DNA"] in page.rows


def test_official_ranges_and_a_union_with_earlier_ones(tmp_path: Path, cli: Command) -> None:
    first, both = tmp_path / "a.json", tmp_path / "ab.json"
    cli("ranges", A, "-o", first, "--margin", "scale")
    assert "margin 'scale'), 5 images" in " ".join(cli("ranges", first, B, "-o", both, "--margin", "scale").err.split())
    loaded, official = ActivationRanges.load(both), ActivationRanges.load(OFFICIAL)
    assert (loaded.neurons, loaded.margin) == (official.neurons, official.margin)
    for layer, where in official.neurons.slices.items():
        # another processor's float32 arithmetic
        rounding = 1e-5 * float(official.maximum[where].abs().max())
        for mine, theirs in ((loaded.minimum, official.minimum), (loaded.maximum, official.maximum)):
            np.testing.assert_allclose(mine[where], theirs[where], rtol=0, atol=rounding, err_msg=layer)


def test_options_reach_the_extractor_and_the_file_has_the_official_form(tmp_path: Path, cli: Command) -> None:
    by_name = {}
    for name, options in (("plain", ["--device", "cpu"]), ("crop", ["--crop", "center"])):
        arguments = ["--layers", "block_0", "--batch-size", "3", "--num-workers", "0", *options]
        cli("ranges", A, "-o", tmp_path / f"{name}.json", *arguments)
        by_name[name] = ActivationRanges.load(tmp_path / f"{name}.json")
    assert not torch.equal(by_name["plain"].maximum, by_name["crop"].maximum)
    ours, official = (json.loads(path.read_text()) for path in (tmp_path / "plain.json", OFFICIAL))
    assert set(ours) == {*official, "margin"}
    for key in official:
        assert list(ours[key]) == ["block_0"]
        assert list(ours[key]["block_0"]) == list(official[key]["block_0"])


COMMANDS: dict[str, Any] = typer.main.get_command(app).commands


# the function that does the work of a command, and the arguments of a plain call
CALLS = {
    "compare": ("torchmetrics_dna.comparisons.compare.open_sets", ("A", "B")),
    "rank": ("torchmetrics_dna.singles.rank.rank", ("A", "--reference", "B")),
    "monitor": ("torchmetrics_dna.comparisons.monitor.monitor", ("A", "B")),
    "diff": ("torchmetrics_dna.comparisons.diff", ("A", "B")),
    "make": ("torchmetrics_dna.jobs.make.make_files", ("A", "-o", "x.npz")),
    "ranges": ("torchmetrics_dna.jobs.make.measure_ranges", ("A", "-o", "x.json")),
}
NUMBERS = {"num_bins": "7", "num_folds": "6", "fps": "2", "num_workers": "0"}  # those that are None, or may not be 7


@pytest.mark.parametrize("command", CALLS)
def test_each_number_reaches_what_does_the_work(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Command
) -> None:
    function, words = CALLS[command]
    monkeypatch.chdir(tmp_path)
    module, _, name = function.rpartition(".")
    takes = inspect.signature(getattr(importlib.import_module(module), name))
    arguments = [{"A": A, "B": B}.get(word, word) for word in words]
    calls: list[dict[str, object]] = []

    def record(*args: object, **kwargs: object) -> None:
        given = takes.bind(*args, **kwargs).arguments
        for each in [value for value in given.values() if isinstance(value, (Arguments, dict))]:
            given = given | (each if isinstance(each, dict) else vars(each))
        calls.append(given | vars(given.get("reading") or Reading()))
        raise ValueError("enough")

    monkeypatch.setattr(function, record)
    cli(command, *arguments, code=2)
    (plain,) = calls
    usual = {name: each.default for name, each in takes.parameters.items() if type(each.default) in (int, float, str)}
    assert plain == plain | {name: value for name, value in usual.items() if name in plain}, "one default for both"
    numbers = {
        each.opts[0]: each.name
        for each in COMMANDS[command].params
        if each.name in NUMBERS.keys() & plain.keys() or type(plain.get(each.name)) in (int, float)
    }
    for option, number in numbers.items():
        value = NUMBERS.get(number, "7" if type(plain[number]) is int else "0.25")
        cli(command, *arguments, option, value, code=2)
        assert plain[number] != calls[-1][number] == float(value), number
    assert len(numbers) >= 2


def help_of(*words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the help that is printed in a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    app([*words, "--help"], prog_name="torchmetrics-dna", standalone_mode=False)
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    return text


def test_help_lists_each_command_with_a_whole_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, listed = help_of(capsys=capsys, monkeypatch=monkeypatch).partition("Commands ─")
    sentences = dict(re.findall(r"^│ (\w+) +(.*?) *│$", listed, re.MULTILINE))
    assert [*sentences][:5] == ["demo", "compare", "rank", "make", "monitor"]
    assert {*sentences} == {*COMMANDS}
    assert all(sentence.endswith((".", "?")) and "..." not in sentence for sentence in sentences.values())


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_lists_its_options_and_an_example(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = help_of(name, capsys=capsys, monkeypatch=monkeypatch)
    options = {option for parameter in COMMANDS[name].params for option in parameter.opts if option.startswith("--")}
    listed = set(re.findall(r"^│ (?:\* +)?(--[\w-]+)", text, re.MULTILINE))
    assert listed == options | {"--help"}
    assert f"\n Example: torchmetrics-dna {name} " in text


def test_the_list_of_sources_has_each_format_and_commands_name_the_list(
    cli: Command, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = cli("--help-sources").out
    assert max(map(len, text.splitlines())) <= 80
    for kind in KINDS.values():
        assert f"  - {kind.name}" in text
        assert all(suffix in text for suffix in kind.suffixes)
    for name in ("compare", "rank", "make", "monitor", "diff", "info", "convert", "ranges"):
        words = help_of(name, capsys=capsys, monkeypatch=monkeypatch).replace("│", " ").split()
        assert " ".join(words).count("torchmetrics-dna --help-sources") >= 1, name


def test_no_arguments_print_the_whole_help(
    cli: Command, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = help_of(capsys=capsys, monkeypatch=monkeypatch)
    assert cli(code=2).out.strip() == text.strip()
