"""All sets against all: figures of single pairs, a symmetric matrix and its tree."""

from __future__ import annotations

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
from torchmetrics_dna.comparisons import DistanceMatrix, matrix
from torchmetrics_dna.plots import plot_matrix

EXTRACTOR = DNAExtractor(Pixels(), input_size=8)


def images(shift: int, seed: int, count: int = 12) -> np.ndarray:
    return np.random.default_rng(seed).normal(90 + shift, 25, (count, 8, 8, 3)).clip(0, 255).astype(np.uint8)


SETS = {"a": images(0, 0), "b": images(60, 1), "c'2": images(5, 2, 20), "d": images(70, 3)}
FIXED: dict[str, Any] = {"num_bins": 64}


@pytest.fixture(scope="module")
def compared() -> DistanceMatrix:
    return matrix(SETS, EXTRACTOR, metrics=["dna-emd", "dna-fd", "fd", "kid"], ranges="auto", **FIXED)


@pytest.mark.parametrize("weighted", [False, True])
def test_figures_are_those_of_single_comparisons(compared: DistanceMatrix, weighted: bool) -> None:
    names, metrics, options = list(SETS), ["dna-fd", "fd", "kid"], {"ranges": "auto", **FIXED}
    if weighted:
        learned = make_dna(np.concatenate(list(SETS.values())), EXTRACTOR, ranges="auto", **FIXED).known_ranges
        ranges = ActivationRanges(learned.minimum, learned.maximum, learned.neurons)
        options |= {"ranges": ranges, "neuron_weights": torch.linspace(-0.2, 0.5, EXTRACTOR.neurons.total)}
        metrics = ["dna-emd", "dna-fd"]
        compared = matrix(SETS, EXTRACTOR, metrics=metrics, **options)
        assert not compared.notes
    for i, j in combinations(range(4), 2):
        pair = compare(SETS[names[i]], SETS[names[j]], EXTRACTOR, metrics=metrics, num_folds=None, **options)
        for name in metrics:
            assert float(compared.distances[name][i, j]) == pytest.approx(pair[name].value, rel=1e-12)
            for layer, values in compared.layers[name].items():
                assert float(values[i, j]) == pytest.approx(pair[name].layers[layer].value, rel=1e-12)
    for values in compared.distances.values():
        assert torch.equal(values, values.T)
        assert not values.diagonal().any()
    assert compared.num_images == [12, 12, 20, 12]


def test_one_ruler_for_self_ranging_histograms(compared: DistanceMatrix) -> None:
    dnas = {name: make_dna(images, EXTRACTOR, ranges="auto", **FIXED) for name, images in SETS.items()}
    of_dnas = matrix(dnas)
    assert torch.equal(of_dnas.distances["dna-emd"], compared.distances["dna-emd"])
    activations = [EXTRACTOR(torch.tensor(imgs).movedim(3, 1)).values() for imgs in SETS.values()]
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
    of_pairs = {frozenset(map(list(SETS).__getitem__, pair)) for pair in ((0, 2), (1, 3))}
    nearest = compared.verdict.partition("nearest")[0]
    assert any(all(f"{name} " in nearest for name in pair) for pair in of_pairs)


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
    pair = compare(SETS["a"], SETS["b"], EXTRACTOR, ranges="auto", num_folds=None, **FIXED)
    values = pair["dna-emd"].value, float(compared.distances["dna-emd"][0, 1])
    assert values[0] != pytest.approx(values[1], rel=1e-3)
    assert "of the range of A" in pair.about(pair["dna-emd"])
    assert ["all these sets" in note for note in compared.notes] == [True]
    assert compared.table.notes == compared.to_dict()["notes"] == compared.notes


def test_many_sets_are_told_by_their_neighbours(tmp_path: Path, cli: Command) -> None:
    dna = make_dna(SETS["a"], EXTRACTOR, ranges="auto", **FIXED)
    for i in range(11):
        dna.save(tmp_path / f"{i}.dna.npz")
    assert "nearest" in cli("compare", "--all", *sorted(tmp_path.iterdir()), "--plot", tmp_path / "x.png").out
    assert (tmp_path / "x.png").stat().st_size > 5_000
