"""Figures: titles, units, legends, and three pictures as baselines. The demonstration."""

from __future__ import annotations

import io
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from all_results import EXTRACTOR, FIXED, A, B, C
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.testing.compare import compare_images
from matplotlib.testing.decorators import remove_ticks_and_titles
from matplotlib.text import Text
from PIL import Image

from torchmetrics_dna import DNAExtractor, compare, make_dna, rank
from torchmetrics_dna.comparisons.monitor import Window
from torchmetrics_dna.comparisons.two_sets import Comparison
from torchmetrics_dna.demo import AMOUNTS, DEGRADATIONS, STRENGTHS, Demo, blur, photographs, plot_demo, run_demo
from torchmetrics_dna.images import open_source
from torchmetrics_dna.plots import plot_histograms, plot_layers, plot_monitor, versus
from torchmetrics_dna.plots.figures import put_title

LAYERS = ["block_0", "block_1", "block_2"]
PHOTOS = photographs(20)
BLURRED = [blur(photo, strength=4) for photo in PHOTOS]


def drawn(figure: object) -> np.ndarray:
    buffer = io.BytesIO()
    figure.savefig(buffer)
    return np.asarray(Image.open(buffer).convert("RGB"))


@pytest.fixture(scope="module")
def comparison() -> object:
    return compare(PHOTOS, BLURRED, layers=LAYERS, causes=False)


def without_evidence(comparison: Comparison) -> Comparison:
    return replace(comparison, results={name: replace(result, evidence=None) for name, result in comparison.items()})


def test_layer_profile(comparison: object) -> None:
    """Bars and legends are those of comparisons/test_every_pair.py."""
    figure = plot_layers(comparison)
    emd, interval = figure.axes[0], comparison.interval
    band = emd.patches[-1]
    assert [band.get_y(), band.get_y() + band.get_height()] == [interval.low, interval.high]
    intervals = [comparison["dna-emd"].layers[layer].interval for layer in LAYERS]
    whiskers = emd.collections[0].get_segments()
    np.testing.assert_allclose([[low, high] for (_, low), (_, high) in whiskers], [[i.low, i.high] for i in intervals])
    assert comparison["dna-emd"].null_mean in [line.get_ydata()[0] for line in emd.lines]
    assert [axis.get_ylabel() for axis in figure.axes] == ["dna-emd\n(bins)", "dna-fd\n(squared activations)"]
    assert figure.get_suptitle().count("(20 images)") == 2
    assert drawn(figure).std() > 1


def test_histogram_pairs(comparison: object) -> None:
    figure = plot_histograms(comparison)
    assert len(figure.axes) == 6
    first = comparison.top_neurons(1)[0]
    assert figure.axes[0].get_title(loc="left").startswith(f"{first['layer']} neuron {first['neuron']}\n")
    assert figure.axes[0].get_title(loc="left").endswith(f" bins, q = {first['q']:.2g}")
    single = plot_histograms(without_evidence(comparison), [("block_0", 3)])
    assert single.axes[0].get_title(loc="left").endswith(" bins")
    a, b = single.axes[0].patches
    assert a.get_data().values.sum() == pytest.approx(100)
    assert b.get_data().values.sum() == pytest.approx(100)
    assert [text.get_text() for text in single.legends[0].get_texts()] == ["A", "B"]
    assert drawn(figure).std() > 1


def test_names_of_the_user_and_axes_of_the_user(comparison: object) -> None:
    names = "runs/$a$/" + 60 * "x", "_" + 60 * "y"
    own = Figure(figsize=(14, 6), layout="constrained").subplots(2, 3)
    assert plot_layers(comparison, names=names, ax=own[0, :2]) is own[0, 0].figure
    plot_layers(comparison, "dna-fd", names=names, ax=own[0, 2])
    plot_histograms(comparison, [("block_2", 3), ("block_0", 1)], names=names, ax=own[1, 1:])
    assert own[0, 2].get_ylabel() == "dna-fd\n(squared activations)"
    assert [text.get_text() for text in own[1, 1].get_legend().get_texts()] == ["…" + 29 * "x", "…" + 29 * "y"]
    figures = [own[0, 0].figure, plot_layers(comparison, names=names)]
    for figure in [*figures, plot_histograms(comparison, [("block_2", 3)], names=names)]:
        figure.draw_without_rendering()
        titles = [axis._left_title for axis in figure.axes] + [figure._suptitle] * (figure._suptitle is not None)
        texts = [title.get_text() for title in titles if "against" in title.get_text()]
        assert texts
        assert all("".join(text.split()).count(side) == 1 for text in texts for side in (60 * "x", 60 * "y"))
        width = figure.bbox.width
        assert all(title.get_window_extent().x1 <= width for title in titles)
    assert plot_layers(comparison)._suptitle.get_text() == versus(comparison), "no line is broken that fits"
    unnamed = compare(make_dna(PHOTOS[:2], layers=["block_0"]), BLURRED[:2])
    assert [word for word in versus(unnamed).split() if "(" not in word and ")" not in word][::2] == ["A", "B"]
    with pytest.raises(ValueError, match=r"`ax` .* 2 axes, one for each distance \(dna-emd, dna-fd\), but got 1; or"):
        plot_layers(comparison, ax=own[0, 0])
    with pytest.raises(ValueError, match="has these distances of layers: dna-emd, dna-fd; got 'fd'"):
        plot_layers(comparison, "fd")


def test_words_with_hyphens_stay_whole_in_a_title() -> None:
    put_title(figure := Figure(), " ".join(["half-a-tone"] * 40), width=2)
    assert {*figure.get_suptitle().split()} == {"half-a-tone"}
    assert len(figure.get_suptitle().splitlines()) > 10


def test_every_curve_is_drawn_and_differs_by_more_than_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"curve {i}" for i in range(12)]
    single = compare(PHOTOS[:2], BLURRED[:2], layers=["block_0"])
    examples = dict.fromkeys(names, PHOTOS[:2])
    monkeypatch.setattr("torchmetrics_dna.demo.AMOUNTS", dict.fromkeys(names, AMOUNTS["blur"]))
    axis = plot_demo(Demo(2, (1,), {name: [single] for name in names}, {}, examples)).axes[0]
    lines = [line for line in axis.lines if line.get_label() in names]
    assert len(lines) == len(axis.get_legend().get_texts()) == 12
    for colour in {line.get_color() for line in lines}:
        alike = [line for line in lines if line.get_color() == colour]
        assert len({(line.get_marker(), str(line._unscaled_dash_pattern)) for line in alike}) == len(alike)
    firsts = {(line.get_marker(), str(line._unscaled_dash_pattern)) for line in lines[:5]}
    assert len(firsts) == 5  # also in black and white


def test_contact_sheet(tmp_path: Path) -> None:
    (tmp_path / "none.png").write_text("no image")
    ranking = rank([*PHOTOS[:6], *BLURRED[:6]], PHOTOS[:2], layers=["block_0"], score="contrast")
    sheet = ranking.plot(columns=3)
    references = sheet.axes[:3]
    assert [axis.get_visible() for axis in references] == [True, True, False]
    assert [axis.get_xlabel() for axis in references[:2]] == ["image 0", "image 1"]
    assert all(
        np.array_equal(axis.images[0].get_array(), photo) for axis, photo in zip(references, PHOTOS[:2], strict=False)
    )
    assert references[0].get_ylabel() == "reference"
    broken = replace(ranking, reference_images=open_source([tmp_path / "none.png"]))
    figure = broken.plot(columns=3)  # as for a DNA
    titles = [axis.get_title() for axis in figure.axes]
    assert titles == [axis.get_title() for axis in sheet.axes[3:]]
    assert titles[0] == f"1: {float(ranking.scores[0]):#.3g}"
    assert [int(title.split(":")[0]) for title in titles] == [1, 2, 3, 5, 6, 7, 10, 11, 12]
    assert (figure.axes[0].get_ylabel(), figure.axes[0].get_xlabel()) == ("best", ranking.names[0])
    best = [*PHOTOS[:6], *BLURRED[:6]][ranking.numbers[0]]
    assert np.array_equal(figure.axes[0].images[0].get_array(), best)
    assert drawn(sheet).std() > 1
    of_dna = rank(PHOTOS[:2], make_dna(PHOTOS[:2], layers=["block_0"]), score="distance")
    assert of_dna.reference_images is None
    title = " ".join(of_dna.plot()._suptitle.get_text().split())
    assert "2 images" in title
    assert "in bins" in title


def test_contact_sheet_of_outliers() -> None:
    images = [*PHOTOS[:6], *BLURRED[:6]]
    ranking = rank(images, PHOTOS[:4], layers=["block_2"])
    figure = ranking.plot(columns=4, maps=True)
    assert [axis.get_ylabel() for axis in figure.axes[::4]] == ["reference", "most unusual", "where", "next", "where"]
    titles = [axis.get_title().split(":")[0] for axis in (*figure.axes[4:8], *figure.axes[12:16])]
    assert titles == [str(i) for i in range(1, 9)]
    shown = ranking.maps([0, 1, 2, 3])
    for axis, heat_map in zip(figure.axes[8:12], shown, strict=True):
        picture, drawn_map = axis.images
        expected = (heat_map - shown.min()) / (shown.max() - shown.min())
        np.testing.assert_allclose(drawn_map.get_alpha(), expected)
        height, width = picture.get_array().shape
        assert drawn_map.get_extent() == [0, width, height, 0]
    assert drawn(figure).std() > 1
    square = DNAExtractor(layers=["block_2"], crop="center")
    wide = [np.concatenate([photo, photo], 1) for photo in PHOTOS[:3]]
    axis = rank(wide, PHOTOS[:4], square).plot(maps=True).axes[6]
    height, width = wide[0].shape[:2]
    assert axis.images[1].get_extent() == [(width - height) // 2, (width + height) // 2, height, 0]
    assert len(rank(BLURRED[:1], PHOTOS[:4], square).plot().axes) == 2


@pytest.mark.outer
@pytest.mark.usefixtures("of_any_value")  # photographs of 96 pixels differ as well
def test_distances_rise_with_the_strength_of_every_degradation() -> None:
    counts: list[tuple[int, int]] = []
    demo = run_demo(4, lambda _, done, of: counts.append((done, of)))
    assert all(done <= of for done, of in counts)
    assert counts[-1][0] == counts[-1][1]
    for comparisons in demo.comparisons.values():
        for figures in ([c["dna-emd"].value for c in comparisons], [c["dna-fd"].value for c in comparisons]):
            assert figures[0] > 0
            assert figures == sorted(figures)
    *_, black = demo.others.values()
    assert black.outliers.flagged_names == ["image 39"]
    axes = [axis for part in plot_demo(demo).subfigs for axis in part.axes]
    assert axes[0].get_ylabel() == "dna-emd (bins)"
    assert [line.get_label() for line in axes[0].lines] == list(DEGRADATIONS)


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_degradations_grow(name: str) -> None:
    photo = photographs(3)[0]
    errors = [np.abs(DEGRADATIONS[name](photo, s).astype(float) - photo).mean() for s in STRENGTHS]
    assert errors == sorted(errors)
    assert errors[0] > 0


def test_without_scikit_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(ModuleNotFoundError, match=r"needs skimage.*pip install .*'scikit-image>=0.22'.* extra 'demo'"):
        photographs(3)


def test_points_and_lines_of_a_stream_are_under_the_names_of_what_they_are() -> None:
    values, highs, evidence = [3.0, 1.0, 4.0, 1.5, 9.0], [None, 3.0, 3.0, 4.0, 4.0], [None, 0.5, 2.0, 30.0, 7.0]
    windows = [
        Window(i + 1, "a", "b", "dna-emd", values[i], highs[i], evidence[i], changed=i > 2, enough=20.0, seed=None)
        for i in range(5)
    ]
    above, below = plot_monitor(windows).axes
    lines = {line.get_label(): line.get_xydata().tolist() for axis in (above, below) for line in axis.lines}
    assert lines["no change"] == [[1, 3.0], [2, 1.0], [3, 4.0]]
    assert lines["changed"] == [[4, 1.5], [5, 9.0]]
    high = next(points for name, points in lines.items() if "earlier windows" in name)
    assert high[1:] == [[i + 1, highs[i]] for i in range(1, 5)]
    assert below.lines[0].get_xydata().tolist()[1:] == [[i + 1, evidence[i]] for i in range(1, 5)]
    assert [y for _, y in lines["enough (20)"]] == [20.0, 20.0]


BASELINES = Path(__file__).parent / "data" / "plots"
# Root mean square in grey levels: 0 between matplotlib 3.9 and 3.11, 8 or more with other data.
TOLERANCE = 2


def save_without_texts(figure: Figure, path: Path) -> None:
    """Save a small picture of a figure in which no font and no version of the layout engine matters."""
    figure.set_layout_engine("none")
    for axis in figure.axes:
        axis.set(xlabel="", ylabel="")
    for text in [*figure.findobj(Text), *figure.findobj(Legend)]:
        text.set_visible(False)
    remove_ticks_and_titles(figure)
    figure.savefig(path, dpi=40)


def windows_of(values: list[float]) -> list[Window]:
    windows = []
    for number, value in enumerate(values, start=1):
        changed = value > 3.0
        windows.append(
            Window(number, "a", "b", "dna-emd", value, 3.0, 10.0 * value, changed=changed, enough=20.0, seed=None)
        )
    return windows


# What each plot is drawn from, and other data.
PLOTTED: dict[str, tuple[Callable[[], Figure], Callable[[], Figure]]] = {
    "layers": (
        lambda: plot_layers(compare(A, B, EXTRACTOR, **FIXED)),
        lambda: plot_layers(compare(A, C, EXTRACTOR, **FIXED)),
    ),
    "histograms": (
        lambda: plot_histograms(compare(A, C, EXTRACTOR, **FIXED), [("mean", 0), ("colours", 1)]),
        lambda: plot_histograms(compare(C, A, EXTRACTOR, **FIXED), [("mean", 0), ("colours", 1)]),
    ),
    "monitor": (
        lambda: plot_monitor(windows_of([1.0, 2.0, 1.5, 4.0, 5.0])),
        lambda: plot_monitor(windows_of([5.0, 4.0, 1.5, 2.0, 1.0])),
    ),
}


@pytest.mark.usefixtures("few_relabelings")
@pytest.mark.parametrize("name", PLOTTED)
def test_a_plot_looks_like_its_baseline(name: str, tmp_path: Path) -> None:
    """After an intended change, run this test with ``RECORD=1`` and look at the pictures in ``data/plots``."""
    baseline, same, other = BASELINES / f"{name}.png", tmp_path / "same.png", tmp_path / "other.png"
    plot, plot_other = PLOTTED[name]
    save_without_texts(plot(), same)
    save_without_texts(plot_other(), other)
    if os.environ.get("RECORD"):
        shutil.copy(same, baseline)
    assert compare_images(str(baseline), str(same), TOLERANCE) is None
    assert compare_images(str(baseline), str(other), TOLERANCE) is not None, "other data look the same"
