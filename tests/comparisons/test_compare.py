"""Two sets: official figures, words and tables that agree, and the same answer however the network is spelt."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any

import dnas
import numpy as np
import pixel_sets
import pytest
import torch
from golden import GOLDEN, load
from networks import Pixels, pixels
from PIL import Image
from scipy.stats import t as student

from torchmetrics_dna import DNAExtractor, compare, make_dna, report
from torchmetrics_dna.cli.gates import end_by, gates_of
from torchmetrics_dna.comparisons.classes import ClassComparisons
from torchmetrics_dna.comparisons.several_sets import Comparisons
from torchmetrics_dna.comparisons.two_sets import Comparison
from torchmetrics_dna.extractors import PRESETS
from torchmetrics_dna.files.visible import p_figure
from torchmetrics_dna.images import Reading
from torchmetrics_dna.images.changes import Causes
from torchmetrics_dna.images.properties import PROPERTIES
from torchmetrics_dna.reporting.figures import debiased_in_words
from torchmetrics_dna.reporting.several_sets import evidence_table
from torchmetrics_dna.words.differences import explain
from torchmetrics_dna.words.explanation import PropertyDifference

if TYPE_CHECKING:
    from pathlib import Path

A, B = GOLDEN / "endtoend" / "a", GOLDEN / "endtoend" / "b"
OFFICIAL_RANGES = GOLDEN / "endtoend" / "activation_ranges.json"


@pytest.mark.parametrize(
    ("value", "high", "expected"),
    [(0.0, 0.5, "within sampling noise, at most 0.5"), (0.0, 0.0, "within sampling noise"), (0.2, 0.5, 0.2)],
)
def test_a_distance_above_0_of_which_nothing_is_left(
    value: float, high: float, expected: object, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"ranges": pixel_sets.RANGES, "num_bins": 40, "metrics": ["dna-emd"]}
    comparison = compare(pixel_sets.A, pixel_sets.B, pixel_sets.EXTRACTOR, **options)
    evidence, layers = comparison["dna-emd"].evidence, list(comparison.neurons)
    assert debiased_in_words(comparison["dna-emd"].overall) == comparison["dna-emd"].debiased > 0
    interval = replace(evidence.interval, value=value, low=0.0, high=high)
    changed = replace(evidence, interval=interval, layer_intervals=(interval,) * len(layers))
    comparison = replace(comparison, results={"dna-emd": replace(comparison["dna-emd"], evidence=changed)})
    assert {
        debiased_in_words(figure) for figure in (comparison["dna-emd"].overall, *comparison["dna-emd"].layers.values())
    } == {expected}
    assert comparison["dna-emd"].debiased == comparison.to_dict()["dna_emd_debiased"] == value  # for programs, a number
    end_by(gates_of({"B": comparison}, 0.05, {"fail_above": 1}))
    shown = expected if isinstance(expected, str) else f"{expected:g}"
    assert f" is {shown}, not above" in capsys.readouterr().err


def test_folders_give_the_official_distances(default_extractor: DNAExtractor) -> None:
    golden, reading = load("endtoend/endtoend.npz"), Reading(batch_size=4)
    result = compare(A, B, default_extractor, ranges=OFFICIAL_RANGES, reading=reading, num_folds=None)
    assert result["dna-emd"].value == pytest.approx(float(golden["emd_avg"]), abs=1e-3)
    assert result["dna-fd"].value == pytest.approx(float(golden["nfd64_avg"]), rel=1e-5)
    for layer in golden["layers"]:
        assert result.layers[layer]["dna_emd"] == pytest.approx(float(golden[f"emd_layer-{layer}"]), abs=2e-3)
        assert result.layers[layer]["dna_fd"] == pytest.approx(float(golden[f"nfd64_layer-{layer}"]), rel=1e-5)
    assert result.num_images == {"a": 7, "b": 5}
    order = np.argsort(-np.concatenate([golden[f"emd_neuron-{layer}"] for layer in golden["layers"]]))[:10]
    located = [default_extractor.neurons.locate(i) for i in order]
    assert [(n["layer"], n["neuron"]) for n in result.top_neurons(by="distance")] == located


@pytest.mark.parametrize("ranges", ["fixed", "auto"])
def test_shifts_and_histograms_are_those_of_the_activations(photos: list[np.ndarray], ranges: str) -> None:
    extractor, fixed = pixels()
    a, b = photos[:2], [photo // 2 for photo in photos[:2]]
    result = compare(a, b, extractor, ranges=fixed if ranges == "fixed" else "auto")
    for number in range(3):
        means = [np.stack(side)[..., number].mean() for side in (a, b)]
        shift = float(result.mean_shift[result.neurons.index("colours", number)])
        assert shift == pytest.approx(means[1] - means[0], abs=0.6)  # half a bin of each side at most
        *shares, edges = result.histograms("colours", number)
        for share, side in zip(shares, (a, b), strict=True):
            expected, _ = np.histogram(np.stack(side)[..., number], edges.numpy())
            # whole pixels lie on some edges, where rounding may put them a bin lower
            assert np.abs(np.cumsum(share.numpy() - expected / expected.sum())).sum() < 0.05
    bells = compare(*(make_dna(side, extractor, kind="gaussian") for side in (a, b)))
    assert [neuron["dna_emd"] for neuron in bells.top_neurons(2)] == [None, None]
    with pytest.raises(ValueError, match="No histograms were compared"):
        bells.histograms("mean", 0)


@pytest.mark.parametrize(("shift", "few"), [(2, True), (6, False), (60, False)])
def test_no_row_has_a_value_without_noise_beside_chance_that_gives_more(shift: int, few: bool, tmp_path: Path) -> None:
    """Red differs in all images, and the mean over neurons is less than chance alone gives, or more."""
    extractor, ranges = pixels()
    random = np.random.default_rng(0)
    a, b = (random.normal(120, (0, 40, 40), (24, 1, 1, 3)) + random.normal(0, 20, (24, 8, 8, 3)) for _ in range(2))
    a, b = (side.clip(0, 255).astype(np.uint8) for side in (a, b + np.array([shift, 0, 0])))
    options = {"ranges": ranges, "num_bins": 60, "metrics": ["dna-emd"]}
    comparison, several = compare(a, b, extractor, **options), compare(a, {"x": b, "y": b[::-1]}, extractor, **options)
    classes = compare(np.concatenate([a, a]), np.concatenate([b, b]), extractor, by=(["x", "y"] * 24,) * 2, **options)
    result = comparison["dna-emd"]
    assert result.p_value <= 0.05
    assert (result.value < result.null_mean) is few
    words = "no shift on average, but 1 neuron differs"
    line = dict(zip(comparison.table.header, comparison.table.rows[0], strict=True))
    summary = comparison.tables[0]
    of_several = evidence_table(several)
    legend = [text.get_text() for text in comparison.plot().axes[0].get_legend().get_texts()]
    evidence = dict(zip(of_several.header, of_several.rows[0], strict=True))
    for told in (line, evidence):
        assert (told["debiased"] == words, told["interval"] == "-") == (few, few)
    assert summary == comparison.table
    for text in (comparison.verdict, several.verdict, legend[1], repr(result)):
        assert (words in text.replace("No shift", "no shift")) is few
        has_value = "ebiased" in text
        assert few is not has_value
    assert comparison.verdict.count(p_figure(comparison.p_value_of_any, "p")) == 1
    results = {name: each["dna-emd"] for name, each in classes.items()}
    shown = {name: words if each.few_differ else debiased_in_words(each.overall) for name, each in results.items()}
    column = list(classes.table.header).index("debiased")
    assert {row[0]: row[column] for row in classes.table.rows[:2]} == shown
    assert comparison.to_dict()["dna_emd_debiased"] == result.debiased  # for programs, a number
    note = "p of dna-emd tests the clearest layer or neuron, since the mean over all neurons is within sampling noise."
    report(a, b, tmp_path / "x.html", extractor, **options)
    for text in (comparison.table.notes, (tmp_path / "x.html").read_text(encoding="utf-8")):
        assert (note in text) is (shift == 6)
    for p_values in ((0.03, 0.9, 0.9), (0.01, 0.9, 0.9), (0.0166, 0.9, 0.9)):  # of three sets
        tests = [replace(result.evidence, test=replace(result.evidence.test, p_value=p)) for p in p_values]
        three = {
            name: replace(comparison, results={"dna-emd": replace(result, evidence=evidence)}, properties=None)
            for name, evidence in zip("xyz", tests, strict=True)
        }
        for each, p in zip(three.values(), p_values, strict=True):
            vars(each)["p_value_of_any"] = p  # which is of relabelings, too
        of_sets, of_classes = Comparisons("A", three), ClassComparisons(three, comparison, ((), ()))
        shown = words if few and p_values[0] <= 0.0166 else debiased_in_words(result.overall)
        tests_of_sets = evidence_table(of_sets)
        first_row = dict(zip(tests_of_sets.header, tests_of_sets.rows[0], strict=True))
        assert first_row["debiased"] == of_classes.table.rows[0][column] == shown
        assert (first_row["interval"] == "-") is (shown == words)
        assert (of_sets.table.rows[0][2] == "0 (1 neuron differs)") is (shown == words)
        assert (words in of_sets.verdict) is (shown == words)


@pytest.mark.outer
@pytest.mark.parametrize(
    "spellings",
    [
        (None, "efficientnet_lite0", {}, DNAExtractor, lambda: DNAExtractor("efficientnet_lite0")),
        (Pixels(), lambda: DNAExtractor(Pixels()), lambda: DNAExtractor(Pixels(), properties=True)),
    ],
    ids=["named", "module"],
)
def test_however_the_network_is_spelt_the_answer_is_the_same(
    spellings: tuple[object, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cli: Callable[..., Any]
) -> None:
    """Two sets of noise of other shapes, which properties of the images tell apart; a command has names alone."""
    small = replace(PRESETS["efficientnet_lite0"], input_size=(64, 64))
    monkeypatch.setitem(PRESETS, "efficientnet_lite0", small)
    monkeypatch.setattr("torchmetrics_dna.dna.evidence.NUM_RELABELINGS", 99)
    a, b = (np.random.default_rng(seed).integers(0, 256, (20, 24, width, 3)) for seed, width in ((0, 24), (1, 60)))
    sides = tmp_path / "a", tmp_path / "b"
    for side, images in zip(sides, (a, b), strict=True):
        side.mkdir()
        for i, image in enumerate(images):
            Image.fromarray(image.astype(np.uint8)).save(side / f"{i}.png")
    answers = []
    for spelt in spellings:
        feature = spelt() if callable(spelt) and not isinstance(spelt, torch.nn.Module) else spelt
        answers.append(compare(*sides, feature))
    assert answers[0].p_value_of_properties <= 0.05
    assert "width" in str(answers[0].explain())
    if spellings[0] is None:
        told = json.loads(cli("compare", *sides, "--format", "json").out)
        assert told["verdict"] == answers[0].verdict
    for answer in answers[1:]:
        assert answer.to_dict() == answers[0].to_dict()
        assert answer.notices == answers[0].notices
    silent = compare(*sides, DNAExtractor(Pixels(), properties=False))
    assert silent.properties is None


def saved(images: np.ndarray, folder: Path) -> Path:
    folder.mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{i:02}.png")
    return folder


def packed(images: np.ndarray, folder: Path) -> Path:
    np.savez(path := folder.with_suffix(".npz"), images)
    return path


FORMS: dict[str, Callable[[np.ndarray, Path], Any]] = {
    "arrays": lambda images, _: list(images),
    "pillow": lambda images, _: [*map(Image.fromarray, images)],
    "stream": lambda images, _: iter(images),
    "npz": packed,
    "files": saved,
}


SOME_PAIRS = [("files", "files"), ("files", "arrays"), ("npz", "files"), ("stream", "pillow")]
# Each form is A of one comparison at least, and B of another.
OTHER_FORMS = [form for form in FORMS if form != "files"]
ALL_PAIRS = [*product(FORMS, ["files"]), *product(["files"], OTHER_FORMS), ("stream", "pillow")]


@pytest.mark.usefixtures("few_relabelings")
@pytest.mark.parametrize("settings", [{}, {"metrics": ["dna-fd"]}, {"metrics": ["dna-emd"], "num_bins": 7}])
def test_facts_of_files_are_compared_where_both_sides_are_files(settings: dict[str, Any], tmp_path: Path) -> None:
    """By arrays in memory, which have none; a set of files is not all of a kind, so their facts have a test."""
    sets, extractor = (pixel_sets.A, pixel_sets.B), DNAExtractor(Pixels(), properties=True)
    options = {"ranges": "auto", "causes": False} | settings
    expected = compare(*map(list, sets), extractor, **options)
    for forms in SOME_PAIRS if settings else ALL_PAIRS:
        folders = [tmp_path / f"{side} of {' '.join(forms)}" for side in "ab"]
        sides = [FORMS[form](images, folder) for form, images, folder in zip(forms, sets, folders, strict=True)]
        compared = compare(*sides, extractor, **options)
        named = {row["name"] for row in compared.properties.top_neurons(len(PROPERTIES))}
        assert ("bytes per pixel" in named) is (forms == ("files", "files")), forms
        if forms != ("files", "files"):
            assert compared.p_value_of_properties == expected.p_value_of_properties, forms
            assert compared.p_value_of_any == expected.p_value_of_any, forms
        compared.save(tmp_path / "result.npz")
        assert Comparison.load(tmp_path / "result.npz").verdict == compared.verdict


@pytest.mark.usefixtures("few_relabelings")
def test_a_set_must_be_shown_to_be_near() -> None:
    """Each at the full level: the p-value is that of Student's test of the jackknife, on the squared distance."""
    comparison = compare(pixel_sets.A, pixel_sets.B, pixel_sets.EXTRACTOR, metrics=["dna-emd"])
    evidence, interval = comparison["dna-emd"].evidence, comparison.interval
    for limit, passes in ((1.02 * interval.high, True), (0.5 * interval.high, False)):
        statistic = (limit**2 - evidence.upper) / evidence.jackknife.variance**0.5
        p = float(student.sf(statistic, evidence.jackknife.freedom))
        (gate,) = gates_of({"B": comparison}, 0.05, {"fail_unless_below": limit})
        assert gate.passed is passes is (p <= 0.05)
        assert f"({p_figure(p, 'p')}, level 0.05)" in gate.lines[0]
    (gate,) = gates_of({"near": comparison, "far": comparison}, 0.05, {"fail_unless_below": 0.5 * interval.high})
    assert len(gate.lines) == 2
    itself = compare(pixel_sets.A, pixel_sets.A, pixel_sets.EXTRACTOR, metrics=["dna-emd"])
    assert gates_of({"A": itself}, 0.05, {"fail_unless_below": 900.0})[0].passed


@pytest.mark.usefixtures("few_relabelings")
def test_the_figure_of_what_shares_images_keeps_its_noise() -> None:
    """Half of B are A's own images: what is left of the distance without noise is too small."""
    images = np.random.default_rng(0).integers(0, 200, (60, 8, 8, 3)).astype(np.uint8)
    shared, apart = (
        compare(images[:40], images[part], pixel_sets.EXTRACTOR) for part in (slice(20, 60), slice(40, 60))
    )
    assert [shared.shares_images, apart.shares_images] == [True, False]
    for comparison in (shared, apart):
        result = comparison["dna-emd"]
        assert result.debiased < result.value
        (gate,) = gates_of({"B": comparison}, 0.05, {"fail_above": (result.debiased + result.value) / 2})
        assert gate.passed is (comparison is apart)
        assert f"{result.debiased if comparison is apart else result.value:.3g}" in gate.lines[0]


def test_few_images_get_no_story(photos: list[np.ndarray]) -> None:
    single = compare(photos, photos[3:4], DNAExtractor(layers=["block_0"], properties=True))
    explanation = single.explain()
    assert (explanation.causes, explanation.properties, explanation.differs) == (None, [], None)


@pytest.mark.parametrize(
    ("name", "moved", "up"),
    [
        ("noise", "noise", 1), ("blur", "sharpness", -1), ("resize", "width", -1),
        ("JPEG compression", "blockiness", 1), ("brighter", "brightness", 1), ("darker", "brightness", -1),
        ("more contrast", "contrast", 1), ("less contrast", "contrast", -1), ("more saturation", "saturation", 1),
        ("less saturation", "saturation", -1), ("warmer", "blue against yellow", -1),
        ("cooler", "blue against yellow", 1),
    ],
)  # fmt: skip
def test_a_measured_property_can_contradict(name: str, moved: str, up: int) -> None:
    a = b = dnas.gaussian()
    causes = Causes((name,), (1.0,), (9.0, 1.0), 12)
    for sign, expected in ((up, causes), (-up, None)):
        measured = PropertyDifference(moved, 0.2, 0.2 + sign / 10, 0.05, 0.05, None)
        assert explain(a, b, None, properties=[measured], causes=causes).causes == expected


@pytest.mark.parametrize(
    ("moved", "fits"),
    [
        ({"brightness": -1}, True), ({"brightness": 1}, False), ({}, False),
        ({"sharpness": -1, "brightness": -1, "noise": 1}, True),
        ({"sharpness": -1, "noise": 1, "brightness": -1}, False),
        ({"height": 1, "width": -1, "sharpness": -1, "brightness": -1}, False),  # a change of size moves the width
        ({"height": 1, "dark corners": 1, "sharpness": -1, "brightness": -1}, True),  # no change moves the first two
    ],
)  # fmt: skip
def test_a_change_is_a_guess_where_it_moves_one_of_the_two_clearest_properties(
    moved: dict[str, int], fits: bool
) -> None:
    a = b = dnas.gaussian()
    causes = Causes((), (), (9.0,), 12, likeliest=("darker", 30.0))
    measured = [PropertyDifference(name, 0.2, 0.2 + sign / 10, 0.05, 0.05, None) for name, sign in moved.items()]
    guess = explain(a, b, None, properties=measured, causes=causes).guess
    assert (None if guess is None else (guess.names, guess.amounts)) == ((("darker",), (30.0,)) if fits else None)


def test_one_process_may_be_all_that_share_the_images() -> None:
    alone, shared = (
        compare(pixel_sets.A, pixel_sets.B, pixel_sets.EXTRACTOR, distributed=distributed)
        for distributed in (False, True)
    )
    assert shared.to_dict() == alone.to_dict()


@pytest.mark.parametrize(("channels", "beside"), [(1, "properties"), (2, "numbers of bands")])
def test_a_network_of_other_channels_is_compared_with_what_its_images_have(channels: int, beside: str) -> None:
    """Nobody asked for properties, which are of grey and RGB images."""
    images = np.random.default_rng(0).integers(0, 256, (2, 12, 16, 16, channels), np.uint8)
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(channels, 4, 3))
    feature = {"feature": network, "channels": channels, "mean": [0.5] * channels, "std": [0.5] * channels}
    result = compare(*images, feature, layers=["0"])
    assert list(result.properties.neurons) == [beside]
    assert result["dna-emd"].value > 0
