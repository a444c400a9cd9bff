"""All sets against all, and whatever the order of sets, classes and images, the same of each by its name."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import Command
from matplotlib.colors import to_rgb
from networks import Pixels
from scipy.spatial.distance import squareform
from scipy.stats import wasserstein_distance

from torchmetrics_dna import ActivationRanges, DNAExtractor, compare, make_dna
from torchmetrics_dna.comparisons import Comparisons, DistanceMatrix, diff, matrix
from torchmetrics_dna.comparisons.classes import ClassComparisons
from torchmetrics_dna.files.tables import Table
from torchmetrics_dna.plots import plot_matrix
from torchmetrics_dna.reporting.several_sets import evidence_table
from torchmetrics_dna.reporting.two_sets import described_value

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
    evidence = {tuple(row[:2]): row for row in evidence_table(made).rows}
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
    return {"pairs": pairs, "images": dict(zip(names, values["num_images"], strict=True)), "said": made.verdict,
            "rows": {row["set"]: row for row in made.rows()}, "table": by_first(made.table),
            "map": of_heat_map(made), "outliers": made.outliers.to_dict(),
            "heights": sorted(made.linkage[:, 2])}  # fmt: skip


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


@pytest.mark.outer
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
    assert "not tested, because shares shares images" in made.verdict


# all sets against all

FOUR = {"a": images(0, 0), "b": images(60, 1), "c'2": images(5, 2, 20), "d": images(70, 3)}
FIXED: dict[str, Any] = {"num_bins": 64}


@pytest.fixture(scope="module")
def compared() -> DistanceMatrix:
    return matrix(FOUR, EXTRACTOR, metrics=["dna-emd", "dna-fd", "fd", "kid"], ranges="auto", **FIXED)


@pytest.mark.parametrize("weighted", [False, True])
def test_figures_are_those_of_single_comparisons(compared: DistanceMatrix, weighted: bool) -> None:
    names, metrics, options = list(FOUR), ["dna-fd", "fd", "kid"], {"ranges": "auto", **FIXED}
    if weighted:
        learned = make_dna(np.concatenate(list(FOUR.values())), EXTRACTOR, ranges="auto", **FIXED).known_ranges
        ranges = ActivationRanges(learned.minimum, learned.maximum, learned.neurons)
        options |= {"ranges": ranges, "neuron_weights": torch.linspace(-0.2, 0.5, EXTRACTOR.neurons.total)}
        metrics = ["dna-emd", "dna-fd"]
        compared = matrix(FOUR, EXTRACTOR, metrics=metrics, **options)
        assert not compared.notes
    for i, j in combinations(range(4), 2):
        pair = compare(FOUR[names[i]], FOUR[names[j]], EXTRACTOR, metrics=metrics, num_folds=None, **options)
        for name in metrics:
            assert float(compared.distances[name][i, j]) == pytest.approx(pair[name].value, rel=1e-12)
            for layer, values in compared.layers[name].items():
                assert float(values[i, j]) == pytest.approx(pair[name].layers[layer].value, rel=1e-12)
    for values in compared.distances.values():
        assert torch.equal(values, values.T)
        assert not values.diagonal().any()
    assert compared.num_images == [12, 12, 20, 12]


def test_one_ruler_for_self_ranging_histograms(compared: DistanceMatrix) -> None:
    dnas = {name: make_dna(images, EXTRACTOR, ranges="auto", **FIXED) for name, images in FOUR.items()}
    of_dnas = matrix(dnas)
    assert torch.equal(of_dnas.distances["dna-emd"], compared.distances["dna-emd"])
    activations = [EXTRACTOR(torch.tensor(imgs).movedim(3, 1)).values() for imgs in FOUR.values()]
    raw = [[neuron.flatten() for layer in layers for neuron in layer.movedim(1, 0)] for layers in activations]
    for i, j in combinations(range(4), 2):
        expected = []
        for n, (a, b) in enumerate(zip(raw[i], raw[j], strict=True)):
            all_values = torch.cat([values[n] for values in raw])
            width = float(all_values.max() - all_values.min()) * 1.2 / FIXED["num_bins"]  # of a bin, with the margin
            expected.append(wasserstein_distance(a, b) / width)
        # an activation is known to within a bin of the grid
        assert float(of_dnas.distances["dna-emd"][i, j]) == pytest.approx(np.mean(expected), rel=0.01, abs=0.1)


def test_tree(compared: DistanceMatrix) -> None:
    """That of the figure joins sets at the heights of scipy's."""
    assert sorted(map(frozenset, (compared.order[:2], compared.order[2:])), key=min) == [{0, 2}, {1, 3}]
    tree, _, bar = plot_matrix(compared).axes
    assert sorted(max(line.get_ydata()) for line in tree.lines) == pytest.approx(sorted(compared.linkage[:, 2]))
    feet = [x for line in tree.lines for x, y in zip(*line.get_data(), strict=True) if y == 0]
    assert sorted(set(feet)) == [0, 1, 2, 3]
    assert bar.get_ylabel() == "dna-emd (bins)"


def test_numbers_in_cells_are_legible() -> None:
    """Text has a contrast of at least 4 to 1 with its cell, by the luminance of WCAG 2."""
    values = torch.from_numpy(squareform(np.arange(1.0, 22)))
    figure = plot_matrix(DistanceMatrix(list("abcdefg"), [1] * 7, {"kid": values}, {}, ""))
    axis = next(axis for axis in figure.axes if axis.images)
    (picture,) = axis.images
    assert len(axis.texts) == 49

    def luminance(colour: Any) -> float:
        red, green, blue = ((c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4) for c in to_rgb(colour))
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    for text in axis.texts:
        if (number := text.get_text()) != "-":
            dark, light = sorted((luminance(text.get_color()), luminance(picture.cmap(picture.norm(float(number))))))
            assert (light + 0.05) / (dark + 0.05) >= 4, number


def test_the_unit_of_self_ranging_histograms_is_told(compared: DistanceMatrix) -> None:
    """The same two sets have two values, which are of other bins."""
    pair = compare(FOUR["a"], FOUR["b"], EXTRACTOR, ranges="auto", num_folds=None, **FIXED)
    values = pair["dna-emd"].value, float(compared.distances["dna-emd"][0, 1])
    assert values[0] != pytest.approx(values[1], rel=1e-3)
    assert "of the range of A" in described_value(pair, pair["dna-emd"])
    assert ["all these sets" in note for note in compared.notes] == [True]
    assert compared.table.notes == compared.to_dict()["notes"] == compared.notes


def test_many_sets_are_told_by_their_neighbours(tmp_path: Path, cli: Command) -> None:
    dna = make_dna(FOUR["a"], EXTRACTOR, ranges="auto", **FIXED)
    for i in range(11):
        dna.save(tmp_path / f"{i}.dna.npz")
    assert "closest" in cli("compare", "--all", *sorted(tmp_path.iterdir()), "--plot", tmp_path / "x.png").out
    assert (tmp_path / "x.png").stat().st_size > 5_000
