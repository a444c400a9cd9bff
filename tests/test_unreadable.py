"""Folders with damaged files: who goes on without them and says so, who ends with an error, and what a check does."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from networks import Pixels
from PIL import Image

from torchmetrics_dna import Checkpoints, DNAExtractor, Reading, compare, make_dna, monitor, rank, report
from torchmetrics_dna.comparisons import diff, matrix
from torchmetrics_dna.jobs.arguments import Arguments
from torchmetrics_dna.jobs.make import make_files, measure_ranges

pytestmark = pytest.mark.usefixtures("few_relabelings")

EXTRACTOR = DNAExtractor(Pixels(), input_size=8)
COUNT, TRUNCATED = 40, (4, 20, 37)


def written(folder: Path, count: int, truncated: tuple[int, ...], seed: int) -> Path:
    """Write images, some of which lack their second half."""
    folder.mkdir()
    generator = np.random.default_rng(seed)
    for number in range(count):
        pixels = generator.integers(0, 256, (16, 24, 3), dtype=np.uint8)
        path = folder / f"{number:03}.png"
        Image.fromarray(pixels).save(path)
        if number in truncated:
            content = path.read_bytes()
            path.write_bytes(content[: len(content) // 2])
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("sets") / "images", COUNT, TRUNCATED, 0)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("sets") / "sound", 40, (), 1)


def named_in(text: str) -> list[str]:
    """Return the names of the files that a text calls unreadable, each once, in order."""
    return list(dict.fromkeys(re.findall(r"Can't read image '[^']*?(\d+)\.png'", text)))


NAMES = [f"{number:03}" for number in TRUNCATED]
GOING_ON: dict[str, Callable[..., Any]] = {
    "compare, as A": lambda folder, sound, **options: compare(folder, sound, EXTRACTOR, **options),
    "compare, as B": lambda folder, sound, **options: compare(sound, folder, EXTRACTOR, **options),
    "compare with several": lambda folder, sound, **options: compare(folder, {"sound": sound}, EXTRACTOR, **options),
    "matrix": lambda folder, sound, **options: matrix({"a": folder, "b": sound}, EXTRACTOR, **options),
    "diff, as old": lambda folder, sound, **options: diff(folder, sound, EXTRACTOR, **options),
    "diff, as new": lambda folder, sound, **options: diff(sound, folder, EXTRACTOR, **options),
    "rank": lambda folder, sound, **options: rank(folder, feature=EXTRACTOR, **options),
    "rank, as reference": lambda folder, sound, **options: rank(sound, folder, EXTRACTOR, **options),
    "report": lambda folder, sound, **options: report(sound, folder, folder.parent / "page.html", EXTRACTOR, **options),
}
WITH_FIGURES = Reading(num_workers=0)


@pytest.mark.parametrize("name", GOING_ON)
def test_what_compares_goes_on_and_names_each_file(name: str, folder: Path, sound: Path) -> None:
    call = GOING_ON[name]
    with pytest.warns(UserWarning, match=r"^3 images were left out, the first: Can't read image '.*004\.png'"):
        result = call(folder, sound, reading=WITH_FIGURES)
    assert [named_in(line) for line in result.unreadable] == [[each] for each in NAMES]
    assert result.to_dict()["unreadable" if name != "compare with several" else "verdict"]
    table = result.table
    assert "3 images were left out because of read errors" in table.notes
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asked = call(folder, sound, reading=Reading(num_workers=0, skip_unreadable=True))
    assert list(asked.unreadable) == list(result.unreadable)
    with pytest.raises(ValueError, match="Can't read image") as refused:
        call(folder, sound, reading=Reading(num_workers=0, skip_unreadable=False))
    assert named_in(str(refused.value)) == NAMES


def test_monitor_goes_on_and_warns_of_each_file(folder: Path, sound: Path) -> None:
    with pytest.warns(UserWarning, match="it is left out") as warned:
        windows = list(monitor(sound, folder, EXTRACTOR, window=20, learn=2, reading=WITH_FIGURES))
    assert sorted(named_in(" ".join(str(warning.message) for warning in warned))) == NAMES
    assert len(windows) == (COUNT - len(TRUNCATED)) // 20


def files(folder: Path, output: Path, **options: Any) -> Any:
    arguments = Arguments(EXTRACTOR, num_folds=None, **options)
    return make_files(folder, output / "made.dna.npz", ["histogram"], arguments, resume=False, notes="")


STRICT: dict[str, Callable[..., Any]] = {
    "make_dna": lambda folder, _, **options: make_dna(folder, EXTRACTOR, **options),
    "make_files": files,
    "measure_ranges": lambda folder, _, **options: measure_ranges([folder], EXTRACTOR, **options),
    "Checkpoints": lambda folder, output, **options: Checkpoints(folder, output, EXTRACTOR, **options),
}


@pytest.mark.parametrize("batch_size", [1, 7, 200])
@pytest.mark.parametrize("name", STRICT)
def test_what_makes_files_ends_with_an_error_that_names_all(
    name: str, batch_size: int, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="Can't read image") as refused:
        STRICT[name](folder, tmp_path, reading=Reading(batch_size, num_workers=0))
    message = str(refused.value)
    assert named_in(message) == NAMES
    assert message.endswith("; to skip them, pass `skip_unreadable=True`")
    assert "\n" not in message
    assert list(tmp_path.glob("*.npz")) == []


@pytest.mark.outer
@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_error_names_ten_files_at_most(num_workers: int, tmp_path: Path) -> None:
    folder = written(tmp_path / "damaged", 30, tuple(range(3, 25)), 2)
    with pytest.raises(ValueError, match="; and more; to skip them, pass") as refused:
        make_dna(folder, EXTRACTOR, reading=Reading(4, num_workers))
    assert named_in(str(refused.value)) == [f"{number:03}" for number in range(3, 13)]


@pytest.mark.outer
def test_nothing_more_is_read_of_an_iterable_without_an_end() -> None:
    def endless() -> Any:
        yield b"no image"
        while True:
            yield np.zeros((8, 8, 3), np.uint8)

    with pytest.raises(ValueError, match=r"^Can't read image 'image 0': it is not an image file; to skip them"):
        make_dna(endless(), EXTRACTOR, reading=Reading(num_workers=0))


def test_rank_in_a_terminal(folder: Path, cli: Callable[..., Any]) -> None:
    command = ("rank", folder, "--feature", "properties")
    printed = cli(*command, "--format", "json")
    assert len(json.loads(printed.out)["images"]) == COUNT - len(TRUNCATED)
    assert named_in(" ".join(json.loads(printed.out)["unreadable"])) == NAMES
    assert "3 images were left out:" in printed.err
    assert [named_in(line) for line in printed.err.splitlines() if named_in(line)] == [[name] for name in NAMES]
    assert "3 images were left out because of read errors" in cli(*command).out
    assert named_in(cli(*command, "--no-skip-unreadable", code=2).err) == NAMES


CHECKS = {
    "rank": lambda folder, sound: ("rank", folder, "--fail-if-outliers"),
    "compare, --fail-above": lambda folder, sound: ("compare", sound, folder, "--fail-above", "1000"),
    "compare, --fail-if-different": lambda folder, sound: ("compare", sound, folder, "--fail-if-different"),
}


@pytest.mark.parametrize("name", CHECKS)
def test_a_check_fails_unless_leaving_out_was_asked_for(
    name: str, folder: Path, sound: Path, cli: Callable[..., Any]
) -> None:
    command = (*CHECKS[name](folder, sound), "--feature", "properties")
    failed = cli(*command, code=1).err.splitlines()
    assert failed[-1].startswith("Failed: 3 images were left out")
    assert not any(line.startswith("Failed") for line in failed[:-1]), "the check itself passes"
    passed = cli(*command, "--skip-unreadable").err.splitlines()
    assert passed[-1].startswith("Passed")
    assert named_in(" ".join(passed)) == NAMES
    assert named_in(cli(*command, "--no-skip-unreadable", code=2).err) == NAMES


def test_a_check_of_versions_fails_for_damaged_files_alone(folder: Path, cli: Callable[..., Any]) -> None:
    """Both versions are the same folder, so that nothing else has changed."""
    command = ("diff", folder, folder, "--feature", "properties", "--fail-if-changed")
    failed = cli(*command, code=1).err.splitlines()
    assert failed[-2:][0].startswith("Passed: 0 images added")
    assert failed[-1].startswith("Failed: 3 images were left out")
    cli(*command, "--skip-unreadable")
