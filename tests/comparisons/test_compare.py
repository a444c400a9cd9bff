from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pixel_sets
import pytest
import torch
from golden import GOLDEN, load
from networks import Pixels, pixels

from torchmetrics_dna import DNAExtractor, compare, make_dna
from torchmetrics_dna.cli.gates import end_by, gates_of
from torchmetrics_dna.extractors import PRESETS
from torchmetrics_dna.files.visible import p_figure
from torchmetrics_dna.images import Reading
from torchmetrics_dna.reporting.findings import words_and_tables

A, B = GOLDEN / "endtoend" / "a", GOLDEN / "endtoend" / "b"
OFFICIAL_RANGES = GOLDEN / "endtoend" / "activation_ranges.json"


@pytest.mark.parametrize(
    ("value", "high", "expected"),
    [(0.0, 0.5, "below noise, at most 0.5"), (0.0, 0.0, "below noise"), (0.2, 0.5, 0.2)],
)
def test_a_distance_above_0_of_which_nothing_is_left(
    value: float, high: float, expected: object, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"ranges": pixel_sets.RANGES, "num_bins": 40, "metrics": ["dna-emd"]}
    comparison = compare(pixel_sets.A, pixel_sets.B, pixel_sets.EXTRACTOR, **options)
    evidence, layers = comparison["dna-emd"].evidence, list(comparison.neurons)
    assert comparison["dna-emd"].overall.debiased_shown == comparison["dna-emd"].debiased > 0
    interval = replace(evidence.interval, value=value, low=0.0, high=high)
    changed = replace(evidence, interval=interval, layer_intervals=(interval,) * len(layers))
    comparison = replace(comparison, results={"dna-emd": replace(comparison["dna-emd"], evidence=changed)})
    assert {
        figure.debiased_shown for figure in (comparison["dna-emd"].overall, *comparison["dna-emd"].layers.values())
    } == {expected}
    assert comparison["dna-emd"].debiased == comparison.to_dict()["dna_emd_debiased"] == value  # for programs, a number
    end_by(gates_of({"B": comparison}, 0.05, {"fail_above": 1}))
    shown = expected if isinstance(expected, str) else f"{expected:g}"
    assert f"dna-emd without noise of B is {shown}, not above 1." in capsys.readouterr().err


def test_folders_give_the_official_distances(default_extractor: DNAExtractor) -> None:
    golden, reading = load("endtoend/endtoend.npz"), Reading(batch_size=4)
    result = compare(A, B, default_extractor, ranges=OFFICIAL_RANGES, reading=reading, num_folds=None)
    assert result["dna-emd"].value == pytest.approx(float(golden["emd_avg"]), abs=1e-3)
    assert result["dna-fd"].value == pytest.approx(float(golden["nfd64_avg"]), rel=1e-5)
    for layer in golden["layers"]:
        assert result.layers[layer]["dna_emd"] == pytest.approx(float(golden[f"emd_layer-{layer}"]), abs=2e-3)
        assert result.layers[layer]["dna_frechet"] == pytest.approx(float(golden[f"nfd64_layer-{layer}"]), rel=1e-5)
    assert result.num_images == {"a": 7, "b": 5}
    order = np.argsort(-np.concatenate([golden[f"emd_neuron-{layer}"] for layer in golden["layers"]]))[:10]
    located = [default_extractor.neurons.locate(i) for i in order]
    assert [(n["layer"], n["neuron"]) for n in result.top_neurons(by="distance")] == located


@pytest.mark.parametrize("own", [True, False])
def test_dnas_stand_for_sources(own: bool, photos: list[np.ndarray]) -> None:
    extractor, fixed = pixels()
    ranges, shown = ("auto", "auto") if own else (fixed, fixed.digest)
    of_images = compare(photos[:6], photos[6:], extractor, ranges=ranges, num_bins=60)
    a, b = (make_dna(part, extractor, ranges=ranges, num_bins=60) for part in (photos[:6], photos[6:]))
    for result in (compare(a, b), compare(a, np.stack(photos[6:]), extractor), compare(photos[:6], b, extractor)):
        assert result["dna-emd"].value == of_images["dna-emd"].value
        assert ("dna-fd" in result, result.num_bins, result.ranges) == (False, 60, shown)
    bells = [make_dna(part, extractor, kind="gaussian") for part in (photos[:6], photos[6:])]
    assert compare(*bells)["dna-fd"].value == of_images["dna-fd"].value
    assert "dna-emd" not in compare(*bells)
    assert [n["dna_emd"] for n in compare(*bells).top_neurons(2)] == [None, None]
    with pytest.raises(ValueError, match="make both of one kind"):
        compare(a, bells[1])


def test_a_dna_says_which_extractor_the_other_side_needs(photos: list[np.ndarray]) -> None:
    reference = make_dna(photos[:2], layers=["block_0"], num_bins=10)
    result = compare(reference, photos[2:3])
    assert (result.extractor, dict(result.neurons), result.num_bins) == ("efficientnet_lite0", {"block_0": 16}, 10)
    with pytest.raises(ValueError, match="Unknown layer 'block_1'; the layers are: block_0"):
        compare(reference, photos[2:3], layers=["block_1"])


def test_weights(photos: list[np.ndarray]) -> None:
    extractor, ranges = pixels()
    weights = torch.zeros(9)
    weights[4] = 1
    result = compare(photos[:6], photos[6:], extractor, ranges=ranges, neuron_weights=weights)
    assert result["dna-emd"].value == pytest.approx(float(result["dna-emd"].values[4]))
    assert result.layers["mean"]["dna_emd"] == 0
    calls: list[int] = []
    wrong, reading = torch.tensor([0, 0, float("nan"), *[0] * 6]), Reading(progress=lambda *_: calls.append(1))
    with pytest.raises(ValueError, match="neuron 2 has NaN"):
        compare(photos, photos, extractor, ranges=ranges, neuron_weights=wrong, reading=reading)
    assert not calls, "weights are checked before any image is read"


def test_unreadable_images_are_counted_and_named(photo_folder: Path, photos: list[np.ndarray]) -> None:
    extractor, ranges = pixels()
    (photo_folder / "photo5b.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"Can't read image '.*photo5b.png'"):
        compare(photo_folder, photos, extractor, ranges=ranges)
    result = compare(photo_folder, photos, extractor, ranges=ranges, reading=Reading(skip_unreadable=True))
    assert result.num_images == {"a": 12, "b": 12}
    assert result.unreadable == [f"Can't read image {str(photo_folder / 'photo5b.png')!r}: it is not an image file"]
    with pytest.warns(UserWarning, match=r"1 image was left out, the first: .*photo5b.png"):
        make_dna(photo_folder, extractor, ranges=ranges, reading=Reading(skip_unreadable=True))
    for path in photo_folder.glob("photo*.png"):
        path.write_text("no picture")
    with pytest.raises(ValueError, match="None of the 13 images could be read"):
        compare(photo_folder, photos, extractor, ranges=ranges, reading=Reading(skip_unreadable=True))


def test_progress_is_reported_per_source(photos: list[np.ndarray], photo_folder: Path) -> None:
    extractor, ranges = pixels()
    calls: list[tuple[str, int, int]] = []
    reading = Reading(batch_size=5, progress=lambda *a: calls.append(a))
    compare(photo_folder, photos[:3], extractor, ranges=ranges, reading=reading)
    assert [s[1:] for s in calls] == [(5, 12), (10, 12), (12, 12), (3, 3)]
    assert {s[0] for s in calls} == {str(photo_folder), "list of images"}


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
    with pytest.raises(ValueError, match="No histograms were compared"):
        compare(make_dna(a, extractor, kind="gaussian"), make_dna(b, extractor, kind="gaussian")).histograms("mean", 0)


def test_sides_that_share_blank_tiles_are_tested_like_others() -> None:
    images = np.random.default_rng(0).integers(0, 256, (20, 20, 24, 3), np.uint8)
    sides = (np.concatenate([half, np.full((4, 20, 24, 3), 255, np.uint8)]) for half in (images[:10], images[10:]))
    comparison = compare(*sides, pixels()[0])
    assert comparison.copies == 0
    assert not any("share images" in notice or "nearly like" in notice for notice in comparison.notices)


@pytest.mark.parametrize(("shift", "few"), [(2, True), (6, False), (60, False)])
def test_no_row_has_a_value_without_noise_beside_chance_that_gives_more(shift: int, few: bool) -> None:
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
    assert (result.value < result.by_chance) is few
    words = "no shift on average; 1 neuron differs"
    line = dict(zip(comparison.table.header, comparison.table.rows[0], strict=True))
    sentences, (summary, *_) = words_and_tables(comparison)
    legend = [text.get_text() for text in comparison.plot().axes[0].get_legend().get_texts()]
    evidence = dict(zip(several.evidence_table.header, several.evidence_table.rows[0], strict=True))
    for told in (line, evidence):
        assert (told["without noise"] == words, told["interval"] == "-") == (few, few)
    assert summary == comparison.table
    assert sentences == comparison.verdict_lines
    for text in (comparison.verdict, several.verdict, legend[1], repr(result)):
        assert (words in text.replace("No shift", "no shift")) is few
        assert few is not ("without noise" in text)
    assert comparison.verdict.count(p_figure(result.p_value, "p")) == 1
    results = {name: each["dna-emd"] for name, each in classes.items()}
    shown = {name: each.without_shift or each.overall.debiased_shown for name, each in results.items()}
    column = list(classes.table.header).index("without noise")
    assert {row[0]: row[column] for row in classes.table.rows[:2]} == shown
    assert comparison.to_dict()["dna_emd_debiased"] == result.debiased  # for programs, a number
    assert any("for the clearest layer or neuron" in note for note in comparison.table.notes) is (shift == 6)


@pytest.mark.parametrize(
    "spellings",
    [
        (None, "efficientnet_lite0", {}, lambda: DNAExtractor("efficientnet_lite0")),
        (Pixels(), lambda: DNAExtractor(Pixels()), lambda: DNAExtractor(Pixels(), properties=True)),
    ],
    ids=["named", "module"],
)
def test_however_the_network_is_spelt_the_answer_is_the_same(
    spellings: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two sets of noise of other shapes, which properties of the images tell apart."""
    small = replace(PRESETS["efficientnet_lite0"], input_size=(64, 64))
    monkeypatch.setitem(PRESETS, "efficientnet_lite0", small)
    monkeypatch.setattr("torchmetrics_dna.dna.evidence.NUM_RELABELINGS", 99)
    a, b = (np.random.default_rng(seed).integers(0, 256, (20, 24, width, 3)) for seed, width in ((0, 24), (1, 60)))
    sides = [image.astype(np.uint8) for image in a], [image.astype(np.uint8) for image in b]
    answers = []
    for spelt in spellings:
        feature = spelt() if callable(spelt) and not isinstance(spelt, torch.nn.Module) else spelt
        answers.append(compare(*sides, feature))
    assert answers[0].p_value_of_properties <= 0.05
    assert "width" in str(answers[0].explain())
    for answer in answers[1:]:
        assert answer.to_dict() == answers[0].to_dict()
        assert answer.notices == answers[0].notices
    silent = compare(*sides, DNAExtractor(Pixels(), properties=False))
    assert silent.properties is None
