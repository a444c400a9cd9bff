"""Sources are opened once, and only after the arguments were checked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from small_protocols import make_small

from torchmetrics_dna import compare, make_dna, monitor, rank
from torchmetrics_dna.comparisons import diff, matrix
from torchmetrics_dna.images import sources

LAYERS = {"layers": ["block_0"]}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, str]:
    """Make three folders of images."""
    folder = tmp_path_factory.mktemp("folders")
    pixels = np.random.default_rng(0).integers(0, 256, (3, 12, 32, 32, 3), np.uint8)
    for name, images in zip("abc", pixels, strict=True):
        (folder / name).mkdir()
        for i, image in enumerate(images):
            Image.fromarray(image).save(folder / name / f"{i}.png")
    return tuple(str(folder / name) for name in "abc")


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the folders that were opened since the start of the test."""
    names: list[str] = []
    open_folder = sources.open_folder

    def record(path: str) -> Any:
        names.append(Path(path).name)
        return open_folder(path)

    monkeypatch.setattr(sources, "open_folder", record)
    return names


# Calls of functions with three folders, and the folders that they open.
CALLS: dict[str, tuple[Callable[[str, str, str], Any], str]] = {
    "three networks": (lambda a, b, _: compare(a, b, metrics=["dna-emd", "fid", "cmmd"], causes=False), "ab"),
    "one set twice": (lambda a, b, _: compare(a, {"x": b, "y": b, "z": f"{a}"}, causes=False, **LAYERS), "ab"),
    "classes": (lambda a, b, _: compare(a, b, by=lambda name: "one", **LAYERS), "ab"),
    "all with all": (lambda a, b, c: matrix([a, b, c], **LAYERS), "abc"),
    "versions": (lambda a, b, _: diff(a, b, **LAYERS), "ab"),
    "a reference": (lambda a, b, _: rank(a, b, **LAYERS), "ab"),
    "a reference with an index": (lambda a, b, _: rank(a, b, nearest=b, **LAYERS), "ab"),
    "a pool": (lambda a, b, _: rank(a, b, score="contrast", **LAYERS), "ab"),
    "no reference": (lambda a, _, __: rank(a, **LAYERS), "a"),
    "a stream": (lambda a, b, _: list(monitor(a, b, window=4, learn=2, **LAYERS)), "ab"),
    "a DNA": (lambda a, _, __: make_dna(a, kind=["histogram", "gaussian"], **LAYERS), "a"),
}


@pytest.mark.parametrize("name", CALLS)
def test_each_source_is_opened_once(
    name: str, folders: tuple[str, str, str], opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_small(monkeypatch)
    monkeypatch.setattr("torchmetrics_dna.dna.evidence.NUM_RELABELINGS", 99)
    call, expected = CALLS[name]
    call(*folders)
    assert sorted(opened) == list(expected)


# Calls with a wrong argument, and what the error names.
MISTAKES: dict[str, tuple[Callable[[str, str, str], Any], str]] = {
    "confidence": (lambda a, b, _: compare(a, b, confidence=2), "`confidence`"),
    "number of bins": (lambda a, b, _: compare(a, b, num_bins=1), "`num_bins`"),
    "number of folds": (lambda a, b, _: compare(a, b, num_folds=4), "`num_folds`"),
    "pairs without folds": (lambda a, b, _: compare(a, b, pairs=True, num_folds=None), "`pairs`"),
    "pairs and groups": (lambda a, b, _: compare(a, b, pairs=True, groups="folder"), "`pairs`"),
    "groups without folds": (lambda a, b, _: compare(a, b, groups="folder", num_folds=None), "`groups`"),
    "unknown metric": (lambda a, b, _: compare(a, b, metrics=["emd"]), "`metrics`"),
    "a metric that brings its network": (lambda a, b, _: compare(a, b, metrics=["fid"], **LAYERS), "'fid'"),
    "an argument that would be ignored": (lambda a, b, _: compare(a, b, metrics=["fid"], num_bins=9), "`num_bins`"),
    "classes and pairs": (lambda a, b, _: compare(a, b, by="folder", pairs=True), "`pairs`"),
    "classes of several sets": (lambda a, b, c: compare(a, {"b": b, "c": c}, by="folder"), "`by`"),
    "unknown held-out set": (lambda a, b, c: compare(a, {"b": b, "c": c}, held_out="d"), "`held_out`"),
    "all with all": (lambda a, b, c: matrix([a, b, c], num_folds=1), "`num_folds`"),
    "one set": (lambda a, _, __: matrix([a]), "`sets`"),
    "unknown score": (lambda a, b, _: rank(a, b, score="best"), "`score`"),
    "an argument of another score": (lambda a, b, _: rank(a, b, score="outlier", contrast=b), "`contrast`"),
    "window": (lambda a, b, _: list(monitor(a, b, window=0)), "`window`"),
    "warm-up": (lambda a, b, _: list(monitor(a, b, learn=1)), "`learn`"),
    "unknown kind": (lambda a, _, __: make_dna(a, kind="bell"), "`kind`"),
    "groups of a DNA without folds": (lambda a, _, __: make_dna(a, groups="folder"), "`groups`"),
    "versions": (lambda a, b, _: diff(a, b, num_folds=1), "`num_folds`"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_wrong_argument_fails_before_a_source_is_opened(
    name: str, folders: tuple[str, str, str], opened: list[str]
) -> None:
    call, message = MISTAKES[name]
    with pytest.raises(ValueError, match=message):
        call(*folders)
    assert opened == []
