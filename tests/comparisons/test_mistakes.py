"""Wrong arguments are told before the first image is measured."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from pixel_sets import EXTRACTOR, A, B

from torchmetrics_dna import compare, make_dna, monitor, report
from torchmetrics_dna.images import Reading

NUMBERS, SETS, PAIR = count(), {"far": B, "near": A[::-1], "real": A}, (A[:8], A[8:16])
READING = Reading(progress=pytest.fail)


def two(*sides: Any, **options: Any) -> Any:
    return compare(*(sides or (A, B)), EXTRACTOR, reading=READING, **options)


def windows(**options: Any) -> Any:
    return monitor(A, B, EXTRACTOR, reading=READING, **options)


def page(**options: Any) -> Any:
    return report(A, B, **{"output": "x.html", "feature": EXTRACTOR, "reading": READING} | options)


MISTAKES: list[tuple[Callable[[], object], str]] = [
    (lambda: two(A, {}), "`b` expected to have one set"),
    (lambda: two(A, SETS, by="folder"), "`by` is for two sets"),
    (lambda: two(A, SETS, held_out="test"), "`held_out` expected to be one of far, near, real, but got 'test'"),
    (
        lambda: two(A, {"far": B}, held_out="far"),
        "no set to compare with the held-out set 'far'; pass one more",
    ),
    (lambda: two(A, B, held_out="far"), "expected to be the name of one of several sets, but got 'far'"),
    (lambda: two(A, SETS, held_out="far", pairs=True), "`held_out` is for independent images"),
    (lambda: two(pairs=True), "has 23 and .* has 17"),
    (lambda: two(pairs="names"), "expected to be True, 'name' or a function of an image's name, but got 'names'"),
    (lambda: two(A[:8], A[:7], pairs="name"), "finds no partner in .* for 1 image of .*, such as 'image 7'"),
    (lambda: two(*PAIR, pairs=lambda _: next(NUMBERS)), r"for no image of .*: \d+ is none of \d+, ...; use the same"),
    (lambda: two(*PAIR, pairs=lambda _: "x"), "gives 'x' to 8 images of .*"),
    (lambda: two(by="folder", pairs=True), "`pairs` is for whole sets; omit it, or omit `by`"),
    (lambda: compare(A, B, metrics="fid", by="folder", reading=READING), "`by` is for metrics of one network, but got"),
    (lambda: two(by="folder", metrics="kid"), "`metrics` takes no kid class by class"),
    (lambda: two(by=[1, 2, 3]), "`by` has 3 classes, but .* has 23 images"),
    (lambda: two(by=(["x"] * 23, ["y"] * 17)), "no class in common; their first ones are 'x' and 'y'"),
    (lambda: two(by=(["x"] + ["y"] * 22, ["y"] * 16 + ["x"]), metrics="dna-fd"), "to compute dna-fd of class 'x'"),
    (lambda: compare(A, B, {"crop": "center"}, metrics="fid", reading=READING), "`crop` is 'center', but fid brings"),
    (
        lambda: compare(A, B, num_bins=9, metrics="fid", reading=READING),
        "`num_bins` is for metrics such as dna-emd, but got fid alone",
    ),
    (lambda: windows(window=0), "`window` expected"),
    (lambda: windows(window=1000), "`window` is 1000, but .* has "),
    (lambda: windows(learn=1), "`learn` expected to be an integer of at least 2"),
    (lambda: windows(order="name"), r"`order` expected to be one of 'random', 'source', but got 'name'"),
    (lambda: windows(level=0), "`level` expected to be between 0 and 1"),
    (lambda: page(format="pdf"), "markdown, latex, html, but got 'pdf'"),
    (lambda: page(batchsize=3), "'batchsize'"),
    (lambda: page(output="nowhere/x.html"), "There is no folder"),
    (
        lambda: compare(make_dna(A[:2], EXTRACTOR), A, layers=["x"], reading=READING),
        "Unknown layer 'x'; the layers are",
    ),
]


@pytest.mark.parametrize(("call", "message"), MISTAKES)
def test_a_mistake_is_told(
    call: Callable[[], object], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ValueError, TypeError, RuntimeError, FileNotFoundError), match=message):
        call()
    assert not list(tmp_path.iterdir())
