"""Models of several seeds, against scipy and numpy."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from networks import pixels

from torchmetrics_dna import compare
from torchmetrics_dna.comparisons import Comparisons, Seeds

EXTRACTOR, RANGES = pixels()
LEVELS = {"far": (150, 152, 155), "near": (134, 135, 134, 136), "as far": (150, 148, 157)}


def images(seed: int, brightness: float) -> np.ndarray:
    draw = np.random.default_rng(seed)
    return draw.normal(brightness, 30, (60, 8, 8, 3)).clip(0, 255).astype(np.uint8)


REAL = images(0, 120)
SETS = {
    f"runs/{model}/seed_{i}": images(100 * number + i, level)
    for number, (model, levels) in enumerate(LEVELS.items(), 1)
    for i, level in enumerate(levels)
}


@pytest.fixture(scope="module")
def comparisons() -> Comparisons:
    return compare(REAL, SETS, EXTRACTOR, ranges=RANGES, num_bins=40)


@pytest.mark.parametrize(("distance", "power"), [("dna-emd", 2), ("dna-fd", 1)])
def test_figures_are_those_of_numpy_and_scipy(comparisons: Comparisons, distance: str, power: int) -> None:
    chosen = {name: replace(each, results={distance: each[distance]}) for name, each in comparisons.items()}
    seeds, centres = Seeds.of(Comparisons("real", chosen)), {}
    for model, names in seeds.items():
        results = [comparisons[name][distance] for name in names]
        debiased = np.array([result.debiased for result in results])
        centres[model] = debiased**power
        assert seeds.mean(model) == pytest.approx(np.mean(debiased**power) ** (1 / power))
        # by the delta method, so nearly the deviation of the distances themselves
        assert seeds.between(model) == pytest.approx(debiased.std(ddof=1), rel=0.05)
        variances = [result.evidence.jackknife.variance for result in results]
        assert seeds.within(model) == pytest.approx(
            np.mean(variances) ** 0.5 / (power * seeds.mean(model) ** (power - 1))
        )
    assert seeds.order[0] == "runs/near"
    p_values = {
        model: scipy.stats.ttest_ind(centres["runs/near"], values, equal_var=False).pvalue
        for model, values in centres.items()
        if model != "runs/near"
    }
    smaller, larger = sorted(p_values, key=p_values.__getitem__)
    expected = {smaller: 2 * p_values[smaller], larger: max(2 * p_values[smaller], p_values[larger])}
    assert seeds.p_values.pop("runs/near") is None
    assert {model: seeds.p_values[model] for model in expected} == pytest.approx(expected, rel=1e-7)


def test_words_table_and_file(comparisons: Comparisons, tmp_path: Path) -> None:
    seeds = Seeds.of(comparisons)
    second, third = seeds.order[1:]
    p = seeds.p_values[second]
    assert seeds.verdict == (
        f"runs/near is nearest to the reference (dna-emd {seeds.mean('runs/near'):.4g}, of 4 seeds), and nearer than"
        f" {second} by more than seeds differ (p = {p:.2g})."
    )
    assert [row[:2] for row in seeds.table.rows] == [["runs/near", 4], [second, 3], [third, 3]]
    assert json.loads(json.dumps(seeds.to_dict(), allow_nan=False)) == seeds.to_dict()
    assert repr(seeds) == "Seeds(3 models, nearest runs/near)"
    seeds.save(tmp_path / "a.result.npz")
    assert Seeds.load(tmp_path / "a.result.npz").to_dict() == seeds.to_dict()


def test_models_within_their_seeds_are_not_ordered(comparisons: Comparisons) -> None:
    chosen = {name: each for name, each in comparisons.items() if "far" in name}
    seeds = Seeds.of(Comparisons("real", chosen), lambda name: name.split("/")[1])
    assert set(seeds) == {"far", "as far"}
    assert seeds.p_values[seeds.order[1]] > 0.05
    assert "by no more than seeds differ" in seeds.verdict


def test_equal_seeds(comparisons: Comparisons) -> None:
    """Without any deviation, models that differ surely do, and equal ones do not; nothing divides by zero."""
    same, other = comparisons["runs/far/seed_0"], comparisons["runs/near/seed_0"]
    names = ("a/0", "a/1", "b/0", "b/1")
    for parts, p in (((same, same, other, other), 0), ((same,) * 4, 1)):
        seeds = Seeds.of(Comparisons("real", dict(zip(names, parts, strict=True))))
        assert seeds.p_values[seeds.order[1]] == p
        assert seeds.between("a") == 0


def test_nothing_left_of_a_distance_has_no_deviation() -> None:
    sets = {f"{model}/{i}": images(7 * i + len(model), 120) for model in ("a", "bb", "ccc", "dddd") for i in (1, 2)}
    seeds = Seeds.of(compare(REAL, sets, EXTRACTOR, ranges=RANGES, num_bins=40))
    zero = [model for model in seeds if not seeds.mean(model)]
    assert zero
    assert seeds.between(zero[0]) is None
    assert seeds.within(zero[0]) is None
    assert json.dumps(seeds.to_dict(), allow_nan=False)


def test_mistakes_are_told(comparisons: Comparisons) -> None:
    with pytest.raises(ValueError, match="two models at least with two seeds each, but got one model; name sets"):
        Seeds.of(comparisons, lambda _: "model")
    with pytest.raises(ValueError, match="but got one seed of 'runs/far/seed_0'"):
        Seeds.of(comparisons, str)
    with pytest.raises(ValueError, match="which take folds; leave out `num_folds`"):
        Seeds.of(compare(REAL, SETS, EXTRACTOR, ranges=RANGES, num_bins=40, num_folds=None))
