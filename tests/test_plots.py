"""Figures say what they show: titles, units, legends; how they look is looked at by people."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from torchmetrics_dna import compare, make_dna, rank
from torchmetrics_dna.plots import (
    plot_convergence,
    plot_demo,
    plot_histograms,
    plot_layers,
    plot_neurons,
    plot_precision_recall,
    plot_ranking,
)
from torchmetrics_dna.sets.demo import Demo, blur, photographs

LAYERS = ["block_0", "block_3", "head"]
PHOTOS = photographs(20)
BLURRED = [blur(photo, strength=4) for photo in PHOTOS]


def drawn(figure: object) -> np.ndarray:
    buffer = io.BytesIO()
    figure.savefig(buffer)
    return np.asarray(Image.open(buffer).convert("RGB"))


@pytest.fixture(scope="module")
def comparison() -> object:
    return compare(PHOTOS, BLURRED, layers=LAYERS)


def test_layer_profile(comparison: object) -> None:
    figure = plot_layers(comparison)
    emd, frechet = figure.axes
    plain, left = ([comparison.layers[layer][key] for layer in LAYERS] for key in ("dna_emd", "dna_emd_debiased"))
    assert [bar.get_height() for bar in emd.patches] == [*plain, *left]
    assert comparison.null in [line.get_ydata()[0] for line in emd.lines]
    assert emd.get_ylabel() == "dna-emd\n(bins)"
    assert frechet.get_ylabel() == "dna-fd\n(squared activations)"
    assert [text.get_text() for text in emd.get_legend().get_texts()] == [
        f"all: {comparison.dna_emd:.4g}",
        f"all, by chance: {comparison.null:.4g}",
        "with noise",
        f"without noise (all: {comparison.dna_emd_debiased:.4g})",
    ]
    assert "A (20 images) against B (20 images), efficientnet_lite0" in figure.get_suptitle()
    untested = plot_layers(replace(comparison, evidence={})).axes[0]
    assert [bar.get_height() for bar in untested.patches] == plain
    assert [text.get_text() for text in untested.get_legend().get_texts()] == [f"all: {comparison.dna_emd:.4g}"]
    assert drawn(figure).std() > 1
    layer_gaussians = (make_dna(side, layers=LAYERS[:2], kind="layer-gaussian") for side in (PHOTOS[:6], BLURRED[:6]))
    assert [axis.get_ylabel() for axis in plot_layers(compare(*layer_gaussians)).axes][1] == "fd\n(squared activations)"


def test_neuron_heat_map(comparison: object) -> None:
    figure = plot_neurons(comparison, by="distance")
    z = comparison.evidence["dna-emd"].test.z.clamp(min=0)
    clear = plot_neurons(comparison)
    for drawn_by, known, label in (
        (figure, comparison.neuron_emd, "dna-emd (bins)"),
        (clear, z, "dna-emd: z (deviations above chance)"),
        (plot_neurons(replace(comparison, evidence={})), comparison.neuron_emd, "dna-emd (bins)"),
    ):
        *rows, bar = drawn_by.axes
        for axis, layer in zip(rows, LAYERS, strict=True):
            values = axis.images[0].get_array()[0]
            assert np.array_equal(values, comparison.neurons.split(known)[layer].sort(descending=True).values)
        assert bar.get_ylabel() == label
    *rows, _ = figure.axes
    shown = np.concatenate([axis.images[0].norm(axis.images[0].get_array()[0]) for axis in rows])
    assert (shown < 1).mean() == pytest.approx(0.99, abs=0.01)  # no neuron alone sets the scale
    assert drawn(figure).std() > 1


def test_histogram_pairs(comparison: object) -> None:
    figure = plot_histograms(comparison)
    assert len(figure.axes) == 6
    first = comparison.top_neurons(1)[0]
    assert figure.axes[0].get_title(loc="left").startswith(f"{first['layer']} neuron {first['neuron']}: ")
    assert figure.axes[0].get_title(loc="left").endswith(f" bins, q = {first['q']:.2g}")
    one = plot_histograms(replace(comparison, evidence={}), [("block_0", 3)])
    assert one.axes[0].get_title(loc="left").endswith(" bins")
    a, b = one.axes[0].patches
    assert a.get_data().values.sum() == pytest.approx(100)
    assert b.get_data().values.sum() == pytest.approx(100)
    assert [text.get_text() for text in one.axes[0].get_legend().get_texts()] == ["A", "B"]
    assert drawn(figure).std() > 1


@pytest.mark.parametrize("plot", [plot_layers, plot_neurons, plot_histograms])
def test_what_is_not_a_comparison(plot: object) -> None:
    with pytest.raises(TypeError, match=r"Expected a comparison, as compare\(a, b\) gives it, but got list"):
        plot(PHOTOS)


def test_convergence_curve() -> None:
    draws = {"dna-emd": [[1.0, 3.0], [2.0, 2.0]], "fd": [[8.0, 8.0], [5.0, 5.0]]}
    axis = plot_convergence([10, 100], draws, "bins").axes[0]
    assert list(axis.lines[0].get_ydata()) == [2, 2]
    assert axis.get_xlabel() == "number of images"
    assert axis.get_ylabel() == "distance (bins)"
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["dna-emd", "fd"]


def test_precision_recall() -> None:
    figure = plot_precision_recall({"all": ([0.5, 1, 1], [1, 0.5, 0], 0.75), "ten": ([1, 1, 1], [1, 0.5, 0], 1.0)})
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["all: 0.750", "ten: 1.000"]
    assert drawn(figure).std() > 1


@pytest.mark.parametrize("kind", ["convergence", "precision and recall", "demo"])
def test_every_curve_is_drawn_and_differs_by_more_than_colour(kind: str) -> None:
    names = [f"curve {i}" for i in range(12)]
    if kind == "convergence":
        axis = plot_convergence([10, 100], {name: [[1.0, 3.0], [2.0, 2.0]] for name in names}).axes[0]
    elif kind == "demo":
        one = compare(PHOTOS[:2], BLURRED[:2], layers=["block_0"])
        examples = dict.fromkeys(names, PHOTOS[:1])
        axis = plot_demo(Demo(2, (1,), {name: [one] for name in names}, examples, (0,))).axes[0]
    else:
        axis = plot_precision_recall({name: ([0.5, 1], [1, 0], 0.75) for name in names}).axes[0]
    lines = [line for line in axis.lines if line.get_label() in names or line.get_label()[:-7] in names]
    assert len(lines) == len(axis.get_legend().get_texts()) == 12
    for colour in {line.get_color() for line in lines}:
        alike = [line for line in lines if line.get_color() == colour]
        assert len({(line.get_marker(), str(line._unscaled_dash_pattern)) for line in alike}) == len(alike)
    firsts = {(line.get_marker(), str(line._unscaled_dash_pattern)) for line in lines[:5]}
    assert len(firsts) == 5  # also in black and white


def test_contact_sheet() -> None:
    ranking = rank([*PHOTOS[:6], *BLURRED[:6]], PHOTOS[0], layers=["block_0"])
    figure = plot_ranking(ranking, columns=3)
    titles = [axis.get_title() for axis in figure.axes]
    assert titles[0] == f"1: {float(ranking.scores[0]):.4g}"
    assert [int(title.split(":")[0]) for title in titles] == [1, 2, 3, 5, 6, 7, 10, 11, 12]
    assert (figure.axes[0].get_ylabel(), figure.axes[0].get_xlabel()) == ("best", ranking.names[0])
    assert np.array_equal(figure.axes[0].images[0].get_array(), PHOTOS[0])
    assert drawn(plot_ranking(rank(PHOTOS[:2], PHOTOS[0], layers=["block_0"]))).std() > 1
