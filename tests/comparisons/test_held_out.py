"""Distances beside those of held-out images: the ratio, its interval, and what can't be said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import Command
from networks import Pixels
from PIL import Image
from scipy import stats

from torchmetrics_dna import DNAExtractor, compare, make_dna
from torchmetrics_dna.comparisons.comparisons import Comparisons

EXTRACTOR = DNAExtractor(Pixels(), input_size=8)
OPTIONS: dict[str, Any] = {"ranges": "auto", "num_bins": 100}
EMD = OPTIONS | {"metrics": ["dna-emd"]}


def images(shift: int, seed: int, count: int = 60) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(90 + shift, 25, (count, 8, 8, 3))
    return (noise + np.random.default_rng(seed + 1).normal(0, 15, (count, 1, 1, 3))).clip(0, 255).astype(np.uint8)


TRAIN, SAME, OTHER = images(0, 0), images(0, 2, 90), images(30, 4)
MODELS = {"far": images(80, 6), "near": images(24, 8, 40), "real": images(0, 12)}


def against(held_out: np.ndarray, **options: Any) -> Comparisons:
    return compare(TRAIN, {**MODELS, "validation": held_out}, EXTRACTOR, held_out="validation", **EMD | options)


@pytest.fixture(scope="module")
def other() -> Comparisons:
    return against(OTHER, metrics=None)


def variance(pseudo: np.ndarray, times: np.ndarray) -> float:
    """Of a mean of pseudo-values of folds of unequal size (Busing et al., 1999)."""
    return float(((pseudo - (pseudo / times).sum()) ** 2 / (times - 1)).mean())


@pytest.mark.parametrize("few", [False, True])
@pytest.mark.parametrize("name", ["dna-emd", "dna-fd"])
def test_the_ratio_is_that_of_distances_without_noise(other: Comparisons, name: str, few: bool) -> None:
    other, power = against(OTHER[:9], metrics=None) if few else other, {"dna-emd": 2, "dna-fd": 1}[name]
    far, near = (other[each][name].evidence for each in ("far", "validation"))
    ratio = other.ratios(name)["far"]
    assert ratio.value == pytest.approx(far.interval.value / near.interval.value)
    (a, b), (c, d) = ([side[0].numpy() for side in each.jackknife.sides] for each in (far, near))
    times, of_far, of_near = (side[1].numpy() for side in (*far.jackknife.sides, near.jackknife.sides[1]))
    freedom = near.jackknife.freedom if few else far.jackknife.freedom
    assert freedom < (far if few else near).jackknife.freedom
    for end in (ratio.low, ratio.high):  # where a test of the ratio begins to reject
        at = end**power
        noise = variance(a - at * c, times) + variance(b, of_far) + at**2 * variance(d, of_near)
        statistic = abs(far.centre - at * near.centre) / noise**0.5
        assert statistic == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-3)
    assert ratio.low < ratio.value < ratio.high


def test_the_held_out_set_is_no_candidate(other: Comparisons) -> None:
    assert other.best == "real"
    assert other.p_values["validation"] is None
    assert set(other.ratios()) == set(MODELS)
    lean = compare(TRAIN, {"far": MODELS["far"], "validation": OTHER}, EXTRACTOR, held_out="validation", **EMD)
    ratio = lean.ratios()["far"]
    assert lean.verdict.endswith(
        f"far is {ratio.value:.2g} times as far from the reference as the held-out validation (95 % {ratio.low:.2g} to"
        f" {ratio.high:.2g})."
    )
    row = lean.rows()[0]
    assert [row[f"dna_emd_x_held_out{end}"] for end in ("", "_low", "_high")] == [ratio.value, ratio.low, ratio.high]
    assert lean.to_dict()["held_out"] == "validation"
    assert Comparisons("a", {}, "v").held_out == "v"
    table = lean.evidence_table
    for text in (table.markdown(), table.latex(), table.html()):
        assert f"{ratio.value:.2g} ({ratio.low:.2g} to {ratio.high:.2g})" in text


def test_without_a_difference_there_is_no_upper_end_and_no_number_of_noise() -> None:
    same = against(SAME)
    assert same["validation"].p_value > 0.05
    ratios = same.ratios()
    assert ratios["real"] is None
    assert ratios["far"].value is None
    assert ratios["far"].high is None
    assert 1 < ratios["near"].low < ratios["far"].low
    assert str(ratios["far"]) == f"at least {ratios['far'].low:.2g}"
    assert "times as far" not in same.verdict  # of the best, which can't be told from the reference either
    nearest = compare(TRAIN, {"near": MODELS["near"], "held": SAME}, EXTRACTOR, held_out="held", **EMD).verdict
    assert "near is at least " in nearest
    assert nearest.endswith("as the held-out held (95 %), which can't be told from the reference.")


@pytest.mark.parametrize(
    ("generated", "held_out", "folds", "sharing"),
    [
        (MODELS["far"], OTHER, 20, None),
        (MODELS["far"], OTHER, None, ""),
        (MODELS["far"], TRAIN[:50], 20, "held"),
        (TRAIN // 4 * 4 + 2, OTHER, 20, "gen"),
        (TRAIN, OTHER, 20, "gen"),
        (TRAIN[:40] // 4 * 4 + 2, TRAIN[20:], 20, "gen and held"),
        (SAME, images(0, 50), 20, ""),
    ],
)
@pytest.mark.parametrize("sets", [1, 2])
def test_the_verdict_tells_of_the_held_out_set_or_why_not(
    generated: np.ndarray, held_out: np.ndarray, folds: int | None, sharing: str | None, sets: int
) -> None:
    further = {} if sets == 1 else {"further": images(95, 14)}
    given = {"gen": generated, **further, "held": held_out}
    result = compare(TRAIN, given, EXTRACTOR, held_out="held", num_folds=folds, **EMD)
    *_, last = (sentence for sentence in result.verdict.replace(". ", ".\n").splitlines())
    if further and np.array_equal(generated, TRAIN):
        assert result.verdict.startswith("gen: the same images as the reference")
        last, sharing = last.replace("further", "gen"), None  # which is the nearest of the others
    assert ("can't be said" in last) is (sharing is not None)
    assert not sharing or result.ratios()["gen"] is None
    assert last.startswith("How far gen is beside the held-out held" if sharing is not None else "gen is ")
    assert ("shares images with" in last) is bool(sharing)
    assert not sharing or f"the reference shares images with {sharing}, or" in last
    assert result.to_dict()["verdict"] == result.verdict


def test_a_reference_without_folds_is_exact() -> None:
    reference = make_dna(TRAIN, EXTRACTOR, **OPTIONS)
    sets = {"far": MODELS["far"], "held": OTHER}
    ratio = compare(reference, sets, held_out="held", feature=EXTRACTOR).ratios()["far"]
    folded = compare(TRAIN, sets, EXTRACTOR, held_out="held", **EMD).ratios()["far"]
    assert ratio.value == pytest.approx(folded.value, rel=0.1)


@pytest.mark.parametrize(
    ("sets", "held_out", "options", "message"),
    [
        (MODELS, "test", {}, "`held_out` expected to be one of far, near, real, but got 'test'"),
        ({"far": OTHER}, "far", {}, "There is no other set beside the held-out 'far'"),
        (OTHER, "far", {}, "one of several sets, which `b` gives by name, but got 'far'"),
        (MODELS, "far", {"pairs": True}, "`held_out` is for independent images"),
    ],
)
def test_wrong_calls(sets: Any, held_out: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compare(TRAIN, sets, EXTRACTOR, held_out=held_out, **options)


def test_times_chance_is_of_halves_of_a(other: Comparisons) -> None:
    """Two samples like A, of the same sizes, are so far apart; it does not grow with the distance of B."""
    expected = [
        compare(images(0, seed), images(0, seed + 2), EXTRACTOR, num_folds=None, **EMD)["dna-emd"].value
        for seed in range(20, 60, 4)
    ]
    result = other["far"]["dna-emd"]
    assert result.by_chance == pytest.approx(np.mean(expected), rel=0.35)
    assert result.times_chance == pytest.approx(result.value / result.by_chance)
    assert result.evidence.null > 2 * result.by_chance  # relabelings still differ
    assert other["real"]["dna-emd"].times_chance is None


def test_the_command(tmp_path: Path, cli: Command) -> None:
    for name, each in {"train": TRAIN, "gen": MODELS["far"], "val": OTHER}.items():
        (tmp_path / name).mkdir()
        for i, image in enumerate(each[:12]):
            Image.fromarray(image).save(tmp_path / name / f"{i}.png")
    train, generated, held = (tmp_path / name for name in ("train", "gen", "val"))
    options = "--layers", "block_0", "--format", "json"
    added = json.loads(cli("compare", train, generated, "--held-out", held, *options).out)
    listed = json.loads(cli("compare", train, generated, held, "--held-out", held, "--fail-above", 1e3, *options).out)
    assert added | {"gates": listed["gates"]} == listed
    assert [row["set"] for row in added["sets"]] == ["gen", added["held_out"]] == ["gen", "val"]
    assert "dna_emd_x_held_out_low" in added["sets"][0]
