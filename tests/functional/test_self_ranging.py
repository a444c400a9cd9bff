"""Distances between self-ranging histograms, against numpy in float64 on the values that were counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slowly
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from torchmetrics_dna import DNAEMD, DNAExtractor, compare, load_dna, make_dna, rank
from torchmetrics_dna.comparisons import matrix
from torchmetrics_dna.dna import HistogramDNA
from torchmetrics_dna.dna.folded import folded_emd

SCALES = 1e-30, 1e-12, 1e-3, 1.0, 1e6, 1e30
NARROW = 0.1, 1e-3, 1e-6
Pair = tuple[np.ndarray, np.ndarray]

# numbers of very different size, constants, zeros, and signs of both kinds
value = st.one_of(
    st.floats(-(2.0**100), 2.0**100, width=32),
    st.floats(-2, 2, width=32),
    st.integers(-3, 3).map(float),
    st.sampled_from([0.0, 3.25, -(2.0**-66)]),
)
columns = st.integers(1, 12).flatmap(lambda rows: arrays(np.float32, (rows, 2), elements=value))


def dna_of(rows: Any, num_bins: int = 1000, **kwargs: Any) -> HistogramDNA:
    return make_dna(rows, "identity:m", ranges="auto", num_bins=num_bins, **kwargs)


def as_counted(rows: Any) -> np.ndarray:
    """Rows as they are counted: in float32 at most."""
    return torch.as_tensor(rows).float().double().numpy()


def integrals(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Area between the exact shares of each column, in thousandths of the bounds of A."""
    return np.array(
        [1000 * slowly.integral(x, y, *slowly.own_bounds(x.min(), x.max())) for x, y in zip(a.T, b.T, strict=True)]
    )


def resolution(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """What the bins leave open of these integrals.

    A share is known at both ends of a bin, so it can't be off by more than the share of the values in that bin.
    """
    result = []
    for x, y in zip(a.T, b.T, strict=True):
        low, high = slowly.own_bounds(x.min(), x.max())
        unknown = 0.0
        for values in (x, y):
            edges = slowly.dyadic_edges(values.min(), values.max(), 1000)
            within = edges.clip(values.min(), values.max()).clip(low, high)
            unknown += slowly.counted_between(values, edges) @ np.diff(within) / len(values)
        result.append(1000 * unknown / (high - low))
    return np.array(result)


@settings(max_examples=60)
@given(columns, columns, st.sampled_from([2, 3, 8, 40, 100]))
def test_the_distance_is_that_of_the_definition(way: str, a: np.ndarray, b: np.ndarray, num_bins: int) -> None:
    distances = dna_of(a, num_bins).distances(dna_of(b, num_bins))
    expected = [
        slowly.emd_of_any_range(x, y, num_bins, float(x.min()), float(x.max())) for x, y in zip(a.T, b.T, strict=True)
    ]
    np.testing.assert_allclose(distances, expected, rtol=1e-6, atol=1e-6)


def pairs_that_bins_show(scale: float, a: int, b: int) -> dict[str, Pair]:
    """Columns of which each set's bins show where the values of the other set's range lie."""
    random = np.random.default_rng(0)
    pairs = {
        "two constants": (np.full(a, 0.3), np.full(b, 0.7)),
        "a constant rises from 0": (np.zeros(a), np.ones(b)),
        "a constant falls from 0": (np.zeros(a), -np.ones(b)),
        "a dead ReLU wakes": (np.zeros(a), np.abs(random.normal(size=b)) + 0.1),
        "a dead ReLU wakes in two rows": (np.zeros(a), np.where(np.arange(b) < 2, 0.8, 0)),
        "nearly constant, and rises": (1 + 1e-2 * random.random(a), 1.1 + 1e-2 * random.random(b)),
        "a range beside another one": (random.random(a), 2 + random.random(b)),
    }
    for part in NARROW:
        pairs[f"a range of {part} rises to a constant"] = part * random.random(a), np.ones(b)
        pairs[f"a range of {part} falls to a constant"] = part * random.random(a), -np.ones(b)
        pairs[f"a range of {part} rises to another one"] = part * random.random(a), 0.5 + random.random(b)
        pairs[f"a range of {part} falls to another one"] = part * random.random(a), -0.5 - random.random(b)
    return {f"{name}, {scale:g}": (scale * x, scale * y) for name, (x, y) in pairs.items()}


def pairs_of_any_kind(scale: float, a: int, b: int) -> dict[str, Pair]:
    """Columns of which values of one set may lie in one bin of the other."""
    random = np.random.default_rng(1)
    x, y = random.normal(size=a), random.normal(size=b)
    pairs = {
        "shifted": (x, y + 0.5),
        "far from 0": (1000 + x, 1000.2 + y),
        "a constant within a range": (np.zeros(a), y),
        "ReLUs": (np.maximum(x, 0), np.maximum(y + 0.3, 0)),
        "a dead ReLU wakes": (np.zeros(a), np.maximum(y, 0)),
        "nearly constant within a range": (0.2 + 1e-5 * x, y),
        "nearly constant, and rises": (1 + 1e-5 * x, 1.001 + 1e-5 * y),
    }
    for part in NARROW:
        pairs[f"a range of {part} within a range"] = 0.2 + part * x, y
        pairs[f"a ReLU of {part} within a ReLU"] = part * np.maximum(x, 0), np.maximum(y, 0)
        pairs[f"a range of {part} within an outlier's"] = part * x, np.append(part * y[:-1], 1)
    return {f"{name}, {scale:g}": (scale * x, scale * y) for name, (x, y) in pairs.items()}


def as_rows(pairs: dict[str, Pair], dtype: torch.dtype) -> tuple[Any, Any]:
    return tuple(torch.tensor(np.stack(side, 1)).to(dtype) for side in zip(*pairs.values(), strict=True))


DTYPES = torch.float32, torch.float64, torch.bfloat16
SIZES = (100, 100), (150, 70)


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_columns_are_as_far_apart_as_the_integral_says(way: str, dtype: torch.dtype, sizes: tuple[int, int]) -> None:
    """114 pairs of columns, in either direction: 0.1 % of the integral.

    Values of bfloat16 are multiples of powers of two. So they are at the lower edges of bins, not spread in them, which
    adds up to half of what bins leave open.
    """
    pairs = {name: pair for scale in SCALES for name, pair in pairs_that_bins_show(scale, *sizes).items()}
    assert len(pairs) == 114
    a, b = as_rows(pairs, dtype)
    for real, fake in ((a, b), (b, a)):
        distances = dna_of(real).distances(dna_of(fake)).numpy()
        sides = as_counted(real), as_counted(fake)
        expected = integrals(*sides)
        limit = 1e-3 * expected
        if dtype == torch.bfloat16:
            limit = np.maximum(limit, resolution(*sides) / 2)
        off = np.abs(distances - expected) - limit
        assert off.max() < 1e-9, list(pairs)[int(off.argmax())]


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_no_distance_is_further_off_than_bins_leave_open(way: str, dtype: torch.dtype, sizes: tuple[int, int]) -> None:
    pairs = {name: pair for scale in SCALES for name, pair in pairs_of_any_kind(scale, *sizes).items()}
    a, b = as_rows(pairs, dtype)
    for real, fake in ((a, b), (b, a)):
        distances = dna_of(real).distances(dna_of(fake)).numpy()
        sides = as_counted(real), as_counted(fake)
        off = np.abs(distances - integrals(*sides)) - resolution(*sides)
        assert off.max() < 1e-6, list(pairs)[int(off.argmax())]


@pytest.mark.parametrize("outlier", [1e-2, 3.0, 1e6, -1e6])
def test_an_outlier_does_not_move_the_other_values(way: str, outlier: float) -> None:
    """Rows that both sets have are in the same places, although one set has far wider bins."""
    random = np.random.default_rng(2)
    rows = np.stack([random.normal(size=80), np.maximum(random.normal(size=80), 0), np.zeros(80), np.full(80, 0.3)], 1)
    a, b = (rows.astype(np.float32), np.append(rows, [[outlier] * 4], 0).astype(np.float32))
    for real, fake in ((a, b), (b, a)):
        distances = dna_of(real).distances(dna_of(fake)).numpy()
        assert (distances <= 1000 / 81 + 1e-9).all()


COLUMNS = {3: (0.0, 1.0), 5: (1.0, 0.0), 7: (-3e8, 3e8), 9: (1e-30, 2e-30)}


def sets(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows whose columns are alike, but for those that are constant in each set."""
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(rows, 12, generator=generator, dtype=torch.float64) for rows in (100, 140))
    for column, (of_a, of_b) in COLUMNS.items():
        a[:, column], b[:, column] = of_a, of_b
    return a.to(dtype), b.to(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_constant_column_that_differs_is_found(dtype: torch.dtype) -> None:
    a, b = sets(dtype)
    for real, fake in ((a, b), (b, a)):
        result = compare(real, fake, "identity:m")["dna-emd"]
        assert result.values[[*COLUMNS]].tolist() == [500] * 4
        assert result.evidence.neurons[[*COLUMNS]].tolist() == pytest.approx([500] * 4, rel=1e-3)
        found = (result.evidence.test.neurons <= 0.05).nonzero()[:, 0].tolist()
        assert set(COLUMNS) <= set(found)
        assert result.evidence.test.p_value <= 0.001


def test_a_column_that_is_constant_in_one_set_is_found() -> None:
    random = np.random.default_rng(0)
    a, b = random.normal(size=(100, 6)).astype(np.float32), random.normal(size=(120, 6)).astype(np.float32)
    a[:, 1], a[:, 4] = 0, 1e-6 * a[:, 4]
    for real, fake in ((a, b), (b, a)):
        test = compare(real, fake, "identity:m")["dna-emd"].evidence.test
        assert (test.neurons[[1, 4]] <= 0.05).all()
        assert (test.neurons[[0, 2, 3, 5]] > 0.05).all()


@pytest.mark.parametrize("constant", [0.0, 1e-30, 0.3, -3e8, 1e9, 3e30])
def test_equal_constants_are_no_distance_apart(way: str, constant: float) -> None:
    a, b = (np.random.default_rng(seed).normal(size=(60, 3)).astype(np.float32) for seed in (0, 1))
    a[:, 1] = b[:, 1] = constant
    result = compare(a, b, "identity:m")["dna-emd"]
    assert result.values[1] == 0
    assert result.evidence.test.neurons[1] > 0.05
    assert not rank(b, dna_of(a), "identity:m", score="distance").scores.isnan().any()


@pytest.mark.parametrize("num_folds", [None, 5])
def test_folds_files_merges_and_metrics_have_the_same_distances(tmp_path: Path, num_folds: int | None) -> None:
    a, b = sets(torch.float32)
    expected = dna_of(a).distances(dna_of(b))
    parts = [dna_of(part, num_folds=num_folds) for part in (a[:30], a[30:31], a[31:])]
    merged = parts[0].merge(*parts[1:])
    merged.save(tmp_path / "a.dna.npz")
    loaded = load_dna(tmp_path / "a.dna.npz")
    of_b = dna_of(b, num_folds=num_folds)
    for dna in (merged, loaded, loaded.to("cpu")):
        assert torch.equal(dna.distances(of_b), expected)
    extractor = DNAExtractor("identity:m", inputs="any", example=a[:2])
    metric = DNAEMD(extractor, reduction="none", num_folds=num_folds)
    metric.update(b[:50], real=False)
    metric.update(a, real=True)
    metric.update(b[50:], real=False)
    assert torch.equal(metric.compute(), expected)
    if num_folds is not None:
        whole = [folded_emd(side, of_b) for side in (merged, loaded, dna_of(a, num_folds=num_folds))]
        is_a = (torch.arange(len(whole[0].sizes_a) + len(whole[0].sizes_b)) < len(whole[0].sizes_a))[None]
        of_folds = [folded.distances(is_a, ~is_a) for folded in whole]
        assert torch.equal(of_folds[0], of_folds[1])
        torch.testing.assert_close(of_folds[0], of_folds[2], rtol=0, atol=10)  # a bin of folds
        # the distance does not change when the sets exchange all folds
        torch.testing.assert_close(whole[0].distances(~is_a, is_a), of_folds[0])
        torch.testing.assert_close(of_folds[0][0, [*COLUMNS]], torch.full((4,), 500.0, dtype=torch.float64))


def test_all_pairs_of_sets_have_one_unit() -> None:
    a, b = sets(torch.float32)
    c = b.clone()
    c[:, 3] = 2
    result = matrix({"a": dna_of(a), "b": dna_of(b), "c": dna_of(c)})
    sides = {name: as_counted(rows) for name, rows in (("a", a), ("b", b), ("c", c))}
    everything = np.concatenate([*sides.values()])
    bounds = [slowly.own_bounds(x.min(), x.max()) for x in everything.T]
    for i, x in enumerate(sides.values()):
        for j, y in enumerate(sides.values()):
            expected = [1000 * slowly.integral(p, q, *ends) for p, q, ends in zip(x.T, y.T, bounds, strict=True)]
            assert float(result.distances["dna-emd"][i, j]) == pytest.approx(np.mean(expected), rel=1e-3)


@pytest.mark.parametrize("scale", SCALES)
def test_one_row_is_as_far_as_with_fixed_bounds(way: str, scale: float) -> None:
    """Values above and below the range of the reference count alike, also beside a column without spread."""
    random = np.random.default_rng(3)
    reference = np.stack(
        [random.random(200), np.zeros(200), np.full(200, 0.3), np.maximum(random.normal(size=200), 0)], 1
    )
    rows = np.array([[0.5, 0, 0.3, 0], [5, 1, 0.4, 9], [-5, -1, 0.2, -9], [1.05, 1e-6, 0.3, 0.2], [-0.05, 0, 0.301, 1]])
    reference, rows = (scale * reference).astype(np.float32), (scale * rows).astype(np.float32)
    for of_column, of_rows in zip(reference.T, rows.T, strict=True):
        # in C order: one value per row
        x, y = (np.ascontiguousarray(values).reshape(-1, 1) for values in (of_column, of_rows))
        ranking = rank(y, dna_of(x), "identity:m", score="distance")
        bounds = slowly.own_bounds(float(x.min()), float(x.max()))
        sets = [slowly.counted_inside(values.astype(np.float64), *bounds, 1000) for values in (x, *y)]
        expected = np.array([slowly.emd(sets[0], one) for one in sets[1:]])
        # values of the reference are spread in its own bins, of which two are at most four bins of its bounds
        np.testing.assert_allclose(ranking.scores, expected[ranking.numbers], atol=2)


@pytest.mark.parametrize("scale", [0.01, 1, 4, 300])
def test_the_null_mean_does_not_depend_on_the_range_of_b(scale: float) -> None:
    random = np.random.default_rng(0)
    a, b = (random.normal(size=(60, 8)).astype(np.float32) for _ in range(2))
    options = {"feature": "identity:m", "metrics": ["dna-emd"], "causes": False}
    samples = [
        compare(*random.normal(size=(2, 60, 8)).astype(np.float32), num_folds=None, **options) for _ in range(10)
    ]
    expected = np.mean([each["dna-emd"].value for each in samples])
    assert compare(a, scale * b, **options)["dna-emd"].null_mean == pytest.approx(expected, rel=0.15)
