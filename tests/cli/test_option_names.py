"""Messages name options where a command prints them, and arguments where Python raises them."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import Command
from PIL import Image

from torchmetrics_dna import compare, make_dna, rank
from torchmetrics_dna.comparisons import matrix

NETWORK: dict[str, Any] = {"layers": ["block_0"]}
NOISE = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), np.uint8)
COARSE = NOISE[:, :4, :4].repeat(8, 1).repeat(8, 2)
NEARLY_COARSE = COARSE // 2 * 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make four sets of images, one of them near-duplicates of another, and a DNA without folds."""
    folder = tmp_path_factory.mktemp("sets")
    for name, images in (("a", NOISE), ("b", 255 - NOISE), ("coarse", COARSE), ("nearly", NEARLY_COARSE)):
        (folder / name).mkdir()
        for i, image in enumerate(images):
            Image.fromarray(image).save(folder / name / f"{name}{i}.png")
    make_dna(NOISE, **NETWORK).save(folder / "a.dna.npz")
    return folder


# What a command prints, with its exit code, and the same message in Python.
CASES: dict[str, tuple[str, int, str, Callable[[], Any], str]] = {
    "no folds": (
        "compare a b --num-folds 0",
        0,
        "no folds of images were kept (--num-folds 0)",
        lambda: compare(NOISE, 255 - NOISE, num_folds=None, **NETWORK),
        "no folds of images were kept (`num_folds=None`)",
    ),
    "a DNA without folds": (
        "compare a.dna.npz b",
        0,
        "a.dna.npz has no folds (keep them with --num-folds 20)",
        lambda: compare(make_dna(NOISE, **NETWORK), 255 - NOISE),
        "A has no folds (keep them with `num_folds=20`)",
    ),
    "copies": (
        "compare coarse nearly",
        0,
        "pass --no-copies",
        lambda: compare(COARSE, NEARLY_COARSE, **NETWORK),
        "pass `copies=False`",
    ),
    "too few folds": (
        "compare a b --num-folds 2",
        2,
        "Option --num-folds expected to be an integer of at least 5, but got 2; for no folds, pass --num-folds 0",
        lambda: compare(NOISE, NOISE, num_folds=2),
        "Argument `num_folds` expected to be an integer of at least 5, but got 2; for no folds, pass `num_folds=None`",
    ),
    "pairs and folds": (
        "compare a b --pairs order --num-folds 0",
        2,
        "Option --pairs can't be combined with --num-folds 0",
        lambda: compare(NOISE, NOISE, pairs=True, num_folds=None),
        "Argument `pairs` can't be combined with `num_folds=None`",
    ),
    "pairs without a name in common": (
        "compare a b --pairs name",
        2,
        "pair them by their order with --pairs order",
        lambda: compare(NOISE, 255 - NOISE, pairs=lambda _: object(), **NETWORK),
        "Argument `pairs` finds a partner in",
    ),
    "classes and groups": (
        "compare a b --by folder --groups folder",
        2,
        "Option --groups is for whole sets; omit it, or omit --by",
        lambda: compare(NOISE, NOISE, by="folder", groups="folder", **NETWORK),
        "Argument `groups` is for whole sets; omit it, or omit `by`",
    ),
    "classes of a published metric": (
        "compare a b --by folder --metrics fid",
        2,
        "Option --by is for metrics of one network, but got 'fid'; omit --by, or pass --feature inception_fid and",
        lambda: compare(NOISE, NOISE, by="folder", metrics=["fid"]),
        "omit `by`, or pass `feature='inception_fid'` and",
    ),
    "a value above all": (
        "compare a b --all --num-folds 300",
        2,
        "Option --num-folds expected to be at most 20 for sets of 12",
        lambda: matrix([NOISE, 255 - NOISE], num_folds=300, **NETWORK),
        "Argument `num_folds` expected to be at most 20 for sets of 12",
    ),
    "bins of a DNA": (
        "compare a.dna.npz b --num-bins 7",
        2,
        "Option --num-bins is 7, but the given DNA has 1000 bins; omit --num-bins to take these",
        lambda: compare(make_dna(NOISE, **NETWORK), NOISE, num_bins=7),
        "Argument `num_bins` is 7, but the given DNA has 1000 bins; omit `num_bins` to take these",
    ),
    "a histogram as the reference": (
        "rank b --reference a.dna.npz --score local",
        2,
        "Option --reference expected to be images for the score 'local'",
        lambda: rank(NOISE, make_dna(NOISE, **NETWORK), score="local"),
        "Argument `reference` expected to be images for the score 'local'",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_command_names_options_and_python_names_arguments(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, cli: Command
) -> None:
    command, code, printed, call, raised = CASES[name]
    monkeypatch.chdir(folder)
    layers = [] if "dna.npz" in command or "fid" in command else ["--layers", "block_0"]
    output = cli(*shlex.split(command), *layers, "--no-causes" if command[0] == "c" else "--skip-unreadable", code=code)
    assert printed in " ".join(f"{output.out} {output.err}".split())
    try:
        result = call()
    except (ValueError, TypeError) as error:
        message = str(error)
    else:
        message = " ".join([result.verdict, *result.notices])
    assert raised in message
