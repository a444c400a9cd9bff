"""In whatever order sets, classes and images are given, what is told of each by its name is the same everywhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from networks import Pixels

from torchmetrics_dna import DNAExtractor, compare
from torchmetrics_dna.comparisons import Comparisons, DistanceMatrix, diff, matrix
from torchmetrics_dna.comparisons.class_comparisons import ClassComparisons
from torchmetrics_dna.files.tables import Table

EXTRACTOR = DNAExtractor(Pixels(), input_size=8)
OPTIONS: dict[str, Any] = {"ranges": "auto", "num_bins": 64}
ORDERS = ([0, 1, 2, 3], [3, 1, 0, 2], [2, 0, 3, 1])
Told = dict[Any, Any]


def images(shift: int, seed: int, count: int = 12) -> np.ndarray:
    return np.random.default_rng(seed).normal(90 + shift, 25, (count, 8, 8, 3)).clip(0, 255).astype(np.uint8)


REFERENCE = images(0, 9, 20)
SHARES = np.concatenate([REFERENCE[:8], images(90, 2, 5)])
SETS = {"near": images(4, 1), "shares": SHARES, "x 3": images(60, 3), "far": images(90, 4)}


def by_first(table: Table | None) -> Told:
    """Return the rows of a table by their first cell, each by its column."""
    assert table is not None
    return {row[0]: dict(zip(table.header, row, strict=True)) for row in table.rows}


def of_curve(comparisons: Comparisons) -> Told:
    """Return what the figure says of each set, by the name at its tick: height, ends of the interval, and marker."""
    (axis,) = comparisons.plot().axes
    told = {}
    for tick, label, (points, _, (bars,)) in zip(
        axis.get_xticks(), axis.get_xticklabels(), axis.containers, strict=True
    ):
        assert points.get_xdata() == tick
        ends = bars.get_segments()[0][:, 1].tolist()
        told[label.get_text()] = [float(points.get_ydata()[0]), *ends], points.get_marker(), points.get_color()
    return told


def of_heat_map(made: DistanceMatrix) -> Told:
    """Return the figures of each cell, by the names at its row and column: the text, and the value of its colour."""
    axis = next(axis for axis in made.plot().axes if axis.images)
    columns, rows = (
        {tick: label.get_text() for tick, label in zip(at(), labels(), strict=True)}
        for at, labels in (
            (axis.get_xticks, axis.get_xticklabels),
            (axis.get_yticks, axis.get_yticklabels),
        )
    )
    texts = {text.get_position(): text.get_text() for text in axis.texts}
    values = axis.images[0].get_array()
    return {
        (row, column): (texts[x, y], None if x == y else float(values[y, x]))
        for x, column in columns.items()
        for y, row in rows.items()
    }


def of_sets(order: list[int]) -> Told:
    names = [list(SETS)[i] for i in order]
    made = compare(REFERENCE, {name: SETS[name] for name in names}, EXTRACTOR, **OPTIONS)
    assert list(made) == names
    values = made.to_dict()
    assert [row.pop("set") for row in made.to_dict()["sets"]] == names
    evidence = {tuple(row[:2]): row for row in made.evidence_table.rows}
    rows = {row["set"]: row for row in values.pop("sets")}
    bold = {(made.table.rows[row][0], made.table.header[column]) for row, column in made.table.bold}
    return {**values, "rows": rows, "table": by_first(made.table), "evidence": evidence, "curve": of_curve(made),
            "bold": bold, "p": made.p_values, "holm": made.p_holm, "html": sorted(made._repr_html_())}  # fmt: skip


def of_matrix(order: list[int]) -> Told:
    names = [list(SETS)[i] for i in order]
    made = matrix({name: SETS[name] for name in names}, EXTRACTOR, metrics=["dna-emd", "fd"], **OPTIONS)
    values = made.to_dict()
    assert values["sets"] == names
    pairs = {
        (what, *layer, a, b): value
        for what, layers in (("all", {(name,): m for name, m in values["distances"].items()}),
                             ("layer", {(n, k): m for n, by in values["layers"].items() for k, m in by.items()}))
        for layer, square in layers.items()
        for a, row in zip(names, square, strict=True)
        for b, value in zip(names, row, strict=True)
    }  # fmt: skip
    nearest = made.verdict.replace(",", "").split(" are ")
    said = [{name for name in names if name in part} for part in nearest]
    return {"pairs": pairs, "images": dict(zip(names, values["num_images"], strict=True)), "said": said,
            "rows": {row["set"]: row for row in made.rows()}, "table": by_first(made.table),
            "map": of_heat_map(made), "heights": sorted(made.linkage[:, 2])}  # fmt: skip


def of_classes(order: list[int]) -> Told:
    """Four classes, whose images come in this order."""
    names = list(SETS)
    sides = [[SETS[names[i]] for i in order], [images(30 * i, 40 + i, 6 + i) for i in order]]
    labels = [[names[i] for i, part in zip(order, side, strict=True) for _ in part] for side in sides]
    made = compare(*map(np.concatenate, sides), EXTRACTOR, by=tuple(labels), **OPTIONS)
    assert isinstance(made, ClassComparisons)
    values = made.to_dict()
    rows = {row["class"]: row for row in values.pop("classes")}
    return {**values, "rows": rows, "table": by_first(made.table), "q": made.q_values, "holm": made.p_holm}


def of_versions(order: list[int]) -> Told:
    """Images are told by their names; here the first value of each, which is its own."""
    old, new = images(0, 7, 4), np.concatenate([images(0, 7, 4)[1:], images(60, 8, 1)])

    def name_of(number: str, version: np.ndarray) -> int:
        return int(version[int(number.removeprefix("image "))].sum())

    old, new = old[order], new[order[::-1]]
    made = diff(old, new, EXTRACTOR, **OPTIONS)
    changed = {name_of(name, new) for name in (*made.added, *made.edited)}
    return {"changed": changed, "whole": made.whole.to_dict(), "added": made.of_added.to_dict()}


def same(a: Any, b: Any) -> bool:
    """True for equal values; figures up to the rounding of sums in another order."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == pytest.approx(b, rel=1e-9, abs=1e-9) if isinstance(a, float) else a == b


@pytest.mark.parametrize("told", [of_sets, of_matrix, of_classes, of_versions], ids=lambda told: told.__name__)
def test_by_name_all_is_the_same(told: Callable[[list[int]], Told]) -> None:
    first, *others = map(told, ORDERS)
    for other in others:
        for key in first:
            assert same(first[key], other[key]), key


def test_what_stands_at_a_name_is_of_that_set() -> None:
    """Against each set alone: the heat map, the curve and the verdict."""
    several = compare(REFERENCE, SETS, EXTRACTOR, **OPTIONS)
    for name, ((height, low, high), *_) in of_curve(several).items():
        alone = compare(REFERENCE, SETS[name], EXTRACTOR, **OPTIONS)["dna-emd"]
        assert height == pytest.approx(alone.debiased)
        assert (low, high) == pytest.approx((min(alone.interval.low, height), max(alone.interval.high, height)))
    cells = of_heat_map(matrix(SETS, EXTRACTOR, metrics=["dna-fd"], **OPTIONS))
    for (a, b), (text, value) in cells.items():
        assert (text == "-") == (a == b)
        if a != b:
            alone = compare(SETS[a], SETS[b], EXTRACTOR, metrics=["dna-fd"], num_folds=None, **OPTIONS)["dna-fd"].value
            assert (text, value) == (f"{alone:.3g}", pytest.approx(alone))


@pytest.mark.parametrize("second_shares", [False, True])
def test_the_verdict_names_the_set_that_shares_images(second_shares: bool) -> None:
    """The best set alone has to be sure; a second one that shares images with the reference makes it unsure, too."""
    apart = images(4, 1) if second_shares else SETS["far"]
    shares = SHARES if second_shares else SHARES[:9]
    made = compare(REFERENCE, {"apart": apart, "shares": shares}, EXTRACTOR, **OPTIONS)
    assert [made[name].shares_images for name in made] == [False, True]
    assert made.best == ("apart" if second_shares else "shares")
    assert "be said: shares shares images" in made.verdict
