"""Every pair of options of make_dna, compare and rank meets once; each row is what numpy makes of the activations."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from covering import Row, covering, title
from PIL import Image
from slowly import (
    BINS_OF_FOLDS,
    LAYERS,
    Activations,
    Polynomials,
    check_evidence,
    emd_of_any_range,
    emd_within,
    extractor,
    frechet,
    gaussian_dna,
    given_ranges,
    histogram_dna,
    in_folds,
    layer_frechet,
    moments,
    observed,
    of_neurons,
    outliers,
    realism,
    some_images,
)
from torch import Tensor

from torchmetrics_dna import ActivationRanges, NeuronWeights, compare, load_dna, make_dna, rank
from torchmetrics_dna.comparisons.two_sets import Comparison
from torchmetrics_dna.dna import DNA
from torchmetrics_dna.dna.averaging import Averaging
from torchmetrics_dna.dna.distances import DISTANCES
from torchmetrics_dna.dna.histogram import in_same_bins
from torchmetrics_dna.dna.result import Result
from torchmetrics_dna.files.visible import number, p_figure
from torchmetrics_dna.images import Reading
from torchmetrics_dna.images.properties import image_properties
from torchmetrics_dna.plots import plot_layers
from torchmetrics_dna.reporting.figures import debiased_in_words, interval_in_words
from torchmetrics_dna.reporting.several_sets import evidence_table
from torchmetrics_dna.statistics.folds import content_folds, group_folds

GROUPS = "abcdefghijkabcdil"
SETS = {"a": some_images(17, 0), "b": some_images(17, 1, 130), "others": some_images(8, 2, 200)}
NUMBERS = {"folder": re.compile(r"(\d\d)_\w\.png$"), "arrays": re.compile(r"(\d+)$")}  # of an image, in its name
SOURCES = ("list", "folder", "npy")
NETWORK: dict[str, Any] = {
    "layers": ("all", "some", "one"),
    "module": (False, True),
    "reading": (None, Reading(3, 0)),
}
OF_HISTOGRAMS: dict[str, Any] = {"num_bins": (None, 7, 250), "ranges": (None, "auto", "given", "file")}
WEIGHTS = (None, "tensor", "file")


@pytest.fixture(autouse=True)
def few_relabelings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchmetrics_dna.dna.evidence.NUM_RELABELINGS", 99)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sets as folders of images and as arrays, a file of ranges, and of weights."""
    path = tmp_path_factory.mktemp("sets")
    for name, imgs in SETS.items():
        (path / name).mkdir()
        for index, (image, group) in enumerate(zip(pictures(imgs), GROUPS, strict=False)):
            Image.fromarray(image).save(path / name / f"{index:02}_{group}.{'png' if name == 'a' else 'bmp'}")
        for count in (14, 17):
            np.save(path / f"{name}{count}.npy", pictures(imgs)[:count])
    given_ranges().save(path / "ranges.json")
    return path


def pictures(imgs: Tensor) -> np.ndarray:
    return imgs.permute(0, 2, 3, 1).numpy().copy()


def source(name: str, kind: str, folder: Path, count: int = 17) -> Any:
    """A set of images as a source of a kind."""
    if kind == "folder":
        paths = sorted((folder / name).iterdir())
        return folder / name if count >= len(paths) else list(map(str, paths[:count]))
    if kind == "npy":
        return folder / f"{name}{count}.npy"
    images = pictures(SETS[name])[:count]
    return list(images) if kind == "list" else images


def shared(row: Row, folder: Path) -> dict[str, Any]:
    """The arguments that the functions share."""
    given = {
        name: row[name] for name in ("num_bins", "reading", "num_folds", "confidence") if row.get(name) is not None
    }
    given["feature"] = extractor(row["layers"])
    if row["module"]:
        given |= {"feature": Polynomials(), "layers": LAYERS[row["layers"]]}
    if row["ranges"] is not None:
        given["ranges"] = {"auto": "auto", "given": given_ranges(), "file": folder / "ranges.json"}[row["ranges"]]
    if row.get("weights") is not None:
        own, weights = extractor(row["layers"]), weights_of(row)
        given["neuron_weights"] = weights
        if row["weights"] == "file":
            NeuronWeights(weights, own.neurons, own.name, own.weights_digest).save(folder / "weights.npz")
            given["neuron_weights"] = folder / "weights.npz"
    return given


def weights_of(row: Row) -> Tensor | None:
    if row.get("weights") is None:
        return None
    return torch.arange(extractor(row["layers"]).neurons.total, dtype=torch.float64) / 7 + 0.1


def fixed(row: Row) -> ActivationRanges | None:
    """Ranges of the histograms; None if these find their own."""
    return given_ranges().restrict(extractor(row["layers"]).neurons) if row["ranges"] in ("given", "file") else None


def ends_of(ranges: ActivationRanges) -> list[tuple[float, float]]:
    return list(zip(ranges.minimum.tolist(), ranges.maximum.tolist(), strict=True))


def dna_of(row: Row, activations: Activations, of_image: Tensor | None, kind: str) -> DNA:
    """The DNA of activations, counted slowly, with folds if images have one."""
    num_bins = row["num_bins"] or 1000
    whole = partial(histogram_dna, ranges=fixed(row), num_bins=num_bins)
    part = partial(histogram_dna, ranges=fixed(row), num_bins=BINS_OF_FOLDS[num_bins])
    if kind != "histogram":
        whole = part = gaussian_dna
    return whole(activations) if of_image is None else in_folds(activations, of_image, whole, part)


def same(a: DNA, b: DNA) -> None:
    assert a.num_images == b.num_images
    if a.kind == "histogram":
        # self-ranging folds are on the grid of the whole
        assert torch.equal(*(each.counts for each in in_same_bins(a, b)))
    else:
        a = a.to_gaussian() if a.kind == "layer-gaussian" else a
        torch.testing.assert_close((a.mean, a.var), (b.mean, b.var), rtol=1e-9, atol=1e-15)


MADE = covering(
    {
        **NETWORK,
        **OF_HISTOGRAMS,
        "source": SOURCES,
        "kind": ("histogram", "gaussian", "layer-gaussian"),
        "num_folds": (None, 6, 20),
        "groups": (None, "list", "function"),
        "saved": (False, True),
    },
    lambda row: row["groups"] is None or row["num_folds"] is not None,
)


@pytest.mark.parametrize("row", MADE, ids=title)
def test_make_dna(row: Row, folder: Path) -> None:
    given = shared(row, folder)
    if row["groups"] is not None:
        given["groups"] = list(GROUPS)
        if row["groups"] == "function":
            number = NUMBERS["folder" if row["source"] == "folder" else "arrays"]
            given["groups"] = lambda name: GROUPS[int(number.search(name)[1])]
    made = make_dna(source("a", row["source"], folder), given.pop("feature"), kind=row["kind"], **given)
    if row["saved"]:
        made.save(folder / "x.dna.npz")
        made = load_dna(folder / "x.dna.npz")
    of_image = None
    if row["num_folds"] is not None:
        of_image = content_folds(SETS["a"], row["num_folds"])
        if row["groups"] is not None:
            of_image = group_folds(GROUPS, row["num_folds"])
    expected = dna_of(row, extractor(row["layers"])(SETS["a"]), of_image, row["kind"])
    same(made, expected)
    folds = [fold for fold in made.folds if fold.num_images]
    assert len(folds) == len(expected.folds)
    for fold, counted_fold in zip(folds, expected.folds, strict=True):
        same(fold, counted_fold)


COMPARED = {
    **NETWORK,
    **OF_HISTOGRAMS,
    "weights": WEIGHTS,
    "metrics": (None, "dna-emd", ("dna-fd", "fd"), ("dna-emd", "cmmd", "coverage")),
    "a": (*SOURCES, "dna", "saved"),
    "b": (*SOURCES, "dna", "saved"),
    "num_folds": (None, 20),
    "confidence": (None, 0.8),
    "groups": (None, "list", "prefix"),
    "pairs": (None, True, "name", "function"),
    "several": (False, True),
}


def compare_fits(row: Row) -> bool:
    dnas, folders = {"dna", "saved"} & {row["a"], row["b"]}, row["a"] == row["b"] == "folder"
    if dnas and (row["metrics"] not in ("dna-emd", ("dna-fd", "fd")) or row["groups"] or row["pairs"]):
        return False
    if ((row["groups"] or row["pairs"]) and row["num_folds"] is None) or (row["groups"] and row["pairs"]):
        return False
    if row["several"] and (row["pairs"] or row["groups"] == "list"):
        return False
    return folders or (row["groups"] != "prefix" and row["pairs"] not in ("name", "function"))


@pytest.mark.outer
@pytest.mark.parametrize("row", covering(COMPARED, compare_fits), ids=title)
def test_compare(row: Row, folder: Path) -> None:
    given, count = shared(row, folder), 17 if row["pairs"] else 14
    counts, feature = {"a": 17, "b": count}, given.pop("feature")
    kind = "histogram" if row["metrics"] == "dna-emd" else "layer-gaussian"
    sides: dict[str, Any] = {}
    for name in "ab":
        sides[name] = source(name, "array" if row[name] in ("dna", "saved") else row[name], folder, counts[name])
        if row[name] in ("dna", "saved"):
            own = {key: given[key] for key in ("layers", "num_bins", "ranges") if key in given}
            sides[name] = make_dna(sides[name], feature, kind=kind, num_folds=row["num_folds"], **own)
            if row[name] == "saved":
                sides[name].save(folder / f"{name}.dna.npz")
                sides[name] = folder / f"{name}.dna.npz"
    given |= {"num_folds": row["num_folds"], "metrics": row["metrics"]}
    if row["groups"]:
        given["groups"] = (
            "prefix:[0-9]+_(.)" if row["groups"] == "prefix" else (list(GROUPS[:17]), list(GROUPS[:count]))
        )
    if row["pairs"]:
        given["pairs"] = (lambda name: Path(name).stem) if row["pairs"] == "function" else row["pairs"]
    b = {"other": source("others", "folder", folder), "b": sides["b"]} if row["several"] else sides["b"]
    if {row["a"], row["b"]} <= {"dna", "saved"} and not row["several"]:
        given.pop("layers", None)
        feature = None
    compared = compare(sides["a"], b, feature, **given)
    comparison = compared["b"] if row["several"] else compared
    activations = [extractor(row["layers"])(SETS[name][: counts[name]]) for name in "ab"]
    asked = row["metrics"] or ("dna-emd", "dna-fd")
    slow = {
        metric: check(row, metric, comparison[metric], *activations, counts)
        for metric in ([asked] if isinstance(asked, str) else asked)
    }
    assert comparison.num_images == counts
    figures = {DISTANCES[name].key: told(result) for name, result in slow.items() if result is not None}
    agree(comparison, row, figures)
    if row["several"]:
        document, (at,) = compared.to_dict(), [each for each in compared.rows() if each["set"] == "b"]
        assert document["comparisons"]["b"] == comparison.to_dict()
        assert document["sets"] == compared.rows()
        for key, of_distance in figures.items():
            assert [at.get(f"{key}{end}") for end in ("", "_debiased", "_low", "_high", "_p_value")] == near(
                of_distance["overall"]
            )
        evidence = evidence_table(compared)
        rows = {} if evidence is None else {line[0]: line for line in evidence.rows if line[1] == "b"}
        tested = [name for name, result in slow.items() if result is not None and result.evidence is not None]
        for name in tested:
            assert [number(rows[name][3]), rows[name][4]] == shown_of(slow[name])


def shown_of(slow: Result) -> list[str]:
    """The debiased distance and its interval as tables show them."""
    if slow.few_differ is not None:
        return [slow.few_differ.in_words, "-"]
    return [number(debiased_in_words(slow.overall)), interval_in_words(slow.interval)]


def near(figures: list[float | None]) -> list[Any]:
    return [each if each is None else pytest.approx(each, rel=1e-6, abs=1e-9, nan_ok=True) for each in figures]


def told(slow: Result) -> dict[str, Any]:
    """What every output has to say of a distance: plain, debiased, ends of the interval and p, of all and of layers."""
    figures = {None: slow.overall, **slow.layers}
    ends = {
        layer: (each.interval and each.interval.low, each.interval and each.interval.high)
        for layer, each in figures.items()
    }
    by_layer = {layer: [each.value, each.debiased, *ends[layer], each.p_value] for layer, each in figures.items()}
    return {"name": slow.distance.name, "overall": by_layer.pop(None), "layers": by_layer, "slow": slow}


# Figures of a row of csv.
CSV = ("value", "debiased", "low", "high", "p_value")
# Figures that layers do not have.
ONLY_OF_ALL = ("null_mean", "ratio_to_null")


def agree(comparison: Comparison, row: Row, figures: dict[str, Any]) -> None:
    """Check that json, rows, scalars, tables, words and figure all tell these figures, of the options of the row."""
    document, scalars, rows = comparison.to_dict(), comparison.scalars("x/"), comparison.rows()
    ends = ("", "_debiased", "_p_value")
    level = f"{100 * (row['confidence'] or 0.95):g}% CI"
    summary = {line[0]: dict(zip(comparison.table.header, line, strict=True)) for line in comparison.table.rows}
    sentences, tables = comparison.verdict_lines, comparison.tables
    by_layer = [table for table in tables if table.title == "By layer"]
    assert len(by_layer) == (comparison.explain().differs is not False)
    layers_table = [dict(zip(table.header, line, strict=True)) for table in by_layer for line in table.rows]
    axes = dict(zip(figures, plot_layers(comparison).axes, strict=False))
    for key, of_distance in figures.items():
        name, overall, slow = of_distance["name"], of_distance["overall"], of_distance["slow"]
        chosen = [overall[place] for place in (0, 1, 4)]
        assert [document.get(f"{key}{end}") for end in ends] == near(chosen)
        assert document[f"{key}_ratio_to_null"] == near([slow.ratio_to_null])[0]
        assert [scalars.get(f"x/{key}{end}") for end in ends] == near(chosen)
        by_layer = {each["layer"]: [each[figure] for figure in CSV] for each in rows if each["distance"] == name}
        assert list(by_layer) == [None, *of_distance["layers"]]
        (of_all,) = (each for each in rows if each["distance"] == name and each["layer"] is None)
        assert [of_all[figure] for figure in ONLY_OF_ALL] == near([getattr(slow, name) for name in ONLY_OF_ALL])
        assert by_layer.pop(None) == near(overall)
        for line, (layer, expected) in zip(layers_table, of_distance["layers"].items(), strict=False):
            assert (line["layer"], line[name]) == (layer, *near(expected[:1]))
        for layer, expected in of_distance["layers"].items():
            chosen = [expected[place] for place in (0, 1, 4)]
            assert by_layer[layer] == near(expected)
            assert [document["layers"][layer].get(f"{key}{end}") for end in ends] == near(chosen)
            assert [scalars.get(f"x/{layer}/{key}{end}") for end in ends] == near(chosen)
            if slow.evidence is not None:
                interval = [document["layers"][layer][f"{key}_{end}"] for end in ("low", "high")]
                assert interval == near(expected[2:4])
        line, legend = summary[name], [text.get_text() for text in axes[key].get_legend().get_texts()]
        assert [line["value"]] == near(overall[:1])
        assert (line["unit"].split(", ")[1]) == f"{'mean' if row['weights'] is None else 'weighted sum'} over neurons"
        bars = [bar.get_height() for bar in axes[key].patches[: len(by_layer)]]
        assert bars == near([expected[0] for expected in of_distance["layers"].values()])
        assert legend[0] == f"all: {number(overall[0])}"
        assert [tick.get_text() for tick in axes[key].get_xticklabels()] == list(by_layer)
        if slow.evidence is not None:
            assert (line["p"], line["interval"]) == (p_figure(overall[4]), shown_of(slow)[1])
            assert number(line["debiased"]) == shown_of(slow)[0]
            assert any(level in text for text in legend)
            assert slow.few_differ or f"all, debiased: {number(overall[1])}\n({level}" in legend[1]
    assert ("as pairs" in comparison.table.notes[0]) is bool(row["pairs"]) is document["paired"]
    tested = [each["slow"].p_value for each in figures.values() if each["slow"].p_value is not None]
    explanation, first = comparison.explain(), tested[0] if tested else None
    assert [comparison.p_value, document["p_value"]] == near([first] * 2)
    answer = first
    if first is not None and comparison.properties is not None:
        answer, of_properties = joint(comparison.test.overall, comparison.properties.test.overall)
        assert document["p_value_of_properties"] == pytest.approx(of_properties)
    assert [explanation.p_value, comparison.p_value_of_any, document["p_value_of_any"]] == near([answer] * 3)
    assert explanation.differs is document["differs"] is (None if answer is None else answer <= 0.05)
    if "dna_emd" in figures:
        assert document["verdict"] == comparison.verdict
        assert sentences == comparison.verdict_lines
        assert answer is None or p_figure(answer, "p").removeprefix("p ") in comparison.verdict
        assert ("CI" not in comparison.verdict) or level in comparison.verdict


def joint(*statistics: Tensor) -> tuple[float, float]:
    """P-values of the least p-value of several statistics of the same relabelings, and of the last one."""
    p_values = [[np.mean(x >= each - 1e-9 * max(1, abs(each))) for each in x] for x in (s.numpy() for s in statistics)]
    least = np.min(p_values, axis=0)
    return float(np.mean(least <= least[0])), p_values[-1][0]


def check(row: Row, metric: str, result: Any, a: Activations, b: Activations, counts: dict[str, int]) -> Result | None:
    """Check value, test and interval of a distance, and return the slow one; of those of features its value alone."""
    last = [of_last_layer(side) for side in (a, b)]
    if metric in FEATURE_DISTANCES:
        assert result.value == pytest.approx(FEATURE_DISTANCES[metric](*last), rel=1e-6)
        return None
    if metric == "fd":
        means = [[x.double().reshape(len(x), x.shape[1], -1).mean(2).numpy() for x in side.values()] for side in (a, b)]
        expected = [layer_frechet(*pair) for pair in zip(*means, strict=True)]
        assert [float(value) for value in result.layer_means.values()] == pytest.approx(expected, rel=1e-6, abs=1e-12)
        return None
    pairs = list(zip(of_neurons(a), of_neurons(b), strict=True))
    if metric == "dna-emd":
        num_bins, ranges = row["num_bins"] or 1000, fixed(row)
        ends = ends_of(observed(a) if ranges is None else ranges)
        distances = [
            emd_of_any_range(x, y, num_bins, *of) if ranges is None else emd_within(x, y, *of, num_bins)
            for (x, y), of in zip(pairs, ends, strict=True)
        ]
    else:
        distances = [frechet(*moments(x), *moments(y)) for x, y in pairs]
    weights = weights_of(row)
    expected = float(np.mean(distances) if weights is None else np.dot(weights.numpy(), distances))
    assert result.value == pytest.approx(expected, rel=1e-9)
    dnas = []
    for name, side in (("a", a), ("b", b)):
        of_image = row["num_folds"] and content_folds(SETS[name][: counts[name]], row["num_folds"])
        if row["groups"]:
            of_image = group_folds(GROUPS[: counts[name]], row["num_folds"])
        if row["pairs"]:
            of_image = torch.arange(counts[name])
            if row["pairs"] is True:  # in the order of their numbers as text
                of_image = torch.tensor(sorted(range(17), key=str)).argsort()
        dnas.append(dna_of(row, side, of_image, "histogram" if metric == "dna-emd" else "gaussian"))
    confidence, paired = row["confidence"] or 0.95, bool(row["pairs"])
    slow = DISTANCES[metric].result(*dnas, Averaging(weights), confidence=confidence, paired=paired)
    assert (result.evidence is None) is (slow.evidence is None) is (row["num_folds"] is None)
    if slow.evidence is not None:
        check_evidence(result.evidence, slow.evidence)
    return slow


def of_last_layer(activations: Activations) -> np.ndarray:
    """Spatial means, in float32 as features are kept."""
    values = list(activations.values())[-1]
    return values.double().reshape(len(values), values.shape[1], -1).mean(2).float().double().numpy()


def cmmd(a: np.ndarray, b: np.ndarray) -> float:
    """A thousand times the squared maximum mean discrepancy of directions, with a Gaussian kernel of width 10."""
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
    kernels = [np.exp(-((x[:, None] - y) ** 2).sum(2) / 200).mean() for x, y in ((a, a), (b, b), (a, b))]
    return 1000 * (kernels[0] + kernels[1] - 2 * kernels[2])


def coverage(a: np.ndarray, b: np.ndarray) -> float:
    """Share of A's images with one of B nearer than the fifth neighbour in A."""
    own, across = (np.linalg.norm(a[:, None] - x, axis=2) for x in (a, b))
    return float((across.min(1) < np.sort(own, 1)[:, 5]).mean())


FEATURE_DISTANCES = {"cmmd": cmmd, "coverage": coverage}
RANKED = {
    **NETWORK,
    **OF_HISTOGRAMS,
    "weights": WEIGHTS,
    "images": SOURCES,
    "reference": (*SOURCES, "dna", "saved"),
    "score": (None, "outlier", "distance", "contrast"),
    "contrast": (None, "pool", "array", "dna"),
    "nearest": (None, "folder", "reference"),
}


def rank_fits(row: Row) -> bool:
    of_emd = row["num_bins"] or row["ranges"] or row["weights"] or row["contrast"]
    if row["nearest"] == "reference" and row["reference"] in ("dna", "saved"):
        return False
    if row["score"] == "outlier":
        return not of_emd
    if row["score"] == "distance":
        return row["contrast"] is None
    return True


@pytest.mark.outer
@pytest.mark.parametrize("row", covering(RANKED, rank_fits), ids=title)
def test_rank(row: Row, folder: Path) -> None:
    given, network = shared(row, folder), extractor(row["layers"])
    feature, of_emd = given.pop("feature"), row["num_bins"] or row["ranges"] or row["weights"] or row["contrast"]
    score = row["score"] or ("contrast" if of_emd else "outlier")
    kind = "layer-gaussian" if score == "outlier" else "histogram"
    own = {key: given[key] for key in ("layers", "num_bins", "ranges") if key in given}
    reference = source("a", "array" if row["reference"] in ("dna", "saved") else row["reference"], folder)
    if row["reference"] in ("dna", "saved"):
        reference = make_dna(reference, feature, kind=kind, **own)
        if row["score"] is None and kind == "layer-gaussian":
            score = "outlier"
        if row["reference"] == "saved":
            reference.save(folder / "reference.dna.npz")
            reference = folder / "reference.dna.npz"
    if row["contrast"] is not None:
        given["contrast"] = "pool" if row["contrast"] == "pool" else pictures(SETS["b"])
        if row["contrast"] == "dna":
            given["contrast"] = make_dna(given["contrast"], feature, **own)
    if row["nearest"] is not None:
        given["nearest"] = folder / "b" if row["nearest"] == "folder" else reference
    ranking = rank(source("others", row["images"], folder), reference, feature, score=row["score"], **given)
    images, sets = network(SETS["others"]), [network(SETS["a"])]
    if score == "contrast":
        sets.append(network(SETS["b"]) if row["contrast"] in ("array", "dna") else images)
    if score == "outlier":
        properties = image_properties(SETS["a"]), image_properties(SETS["others"])
        expected, rtol = outliers(images, sets[0], properties), 1e-4
    else:
        ranges = fixed(row)
        ends, num_bins = None if ranges is None else ends_of(ranges), row["num_bins"] or 1000
        of_neuron, weights = realism(images, sets, ends, num_bins), weights_of(row)
        summed, rtol = of_neuron.mean(2) if weights is None else of_neuron @ weights.numpy(), 1e-9
        expected = summed[0] - summed[1] if score == "contrast" else summed[0]
    order = np.argsort(-expected if score == "outlier" else expected, kind="stable")
    assert ranking.score == score
    assert ranking.numbers == order.tolist()
    np.testing.assert_allclose(ranking.scores, expected[order], rtol=rtol)
    if row["nearest"] is not None:
        among = of_last_layer(network(SETS["b"]) if row["nearest"] == "folder" else sets[0])
        apart = np.linalg.norm(of_last_layer(images)[:, None] - among, axis=2).min(1)
        np.testing.assert_allclose(ranking.nearest.distances, apart[order], rtol=1e-5)
