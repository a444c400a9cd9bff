"""Single inputs that are no images: their numbers, and those that are odd beside others."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import nn

from torchmetrics_dna import DNAExtractor, Reading, compare, rank
from torchmetrics_dna.functional.flagging import outlier_inputs
from torchmetrics_dna.images.numbers import GRID, RECORDS, input_numbers

SHAPES: dict[str, tuple[int, ...]] = {"a vector": (50,), "a map": (6, 7), "a volume": (2, 5, 6, 7), "flat": (1, 1, 9)}


def surely(count: float) -> float:
    return max(0.0, count - 2 * np.sqrt(count))


def plain(x: np.ndarray, axes: int) -> dict[str, float]:
    """The numbers in numpy's float64, from their definitions."""
    x = x.astype(np.float64)
    values = x[np.isfinite(x)]
    counts = np.unique(values, return_counts=True)[1]
    last = [axis for axis in range(-1, -1 - min(axes, x.ndim), -1) if x.shape[axis] > 1]
    steps = [np.abs(np.diff(x, axis=axis)).ravel() for axis in last]
    found = {
        "mean": values.mean(),
        "spread": values.std(),
        "smallest value": values.min(),
        "largest value": values.max(),
        "share of zeros": surely((values == 0).sum()) / len(values),
        "share of its most frequent value": surely(counts.max()) / len(values),
        "roughness": np.nanmean(np.concatenate(steps)) / values.std() if steps else 0.0,
    }
    for axis in (-1, -2, -3):
        halves = np.array_split(x, 2, axis) if axis in last else (np.zeros(1), np.zeros(1))
        found[f"difference of halves along axis {axis}"] = (
            np.nanmean(halves[0]) - np.nanmean(halves[1])
        ) / values.std()
    return found


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int64, np.uint8])
@pytest.mark.parametrize("axes", [3, 0])
@pytest.mark.parametrize("shape", SHAPES)
def test_numbers(shape: str, axes: int, dtype: Any) -> None:
    x = np.random.default_rng(0).integers(0, 9, SHAPES[shape]).astype(dtype)
    expected = plain(x, axes)
    assert list(expected) == list(RECORDS)
    found = input_numbers((torch.zeros(3), torch.tensor(x)), axes)  # of the larger part
    np.testing.assert_allclose(found, [*expected.values()], rtol=1e-12, atol=1e-15)
    if dtype == np.float32:
        x.flat[3] = np.nan
        np.testing.assert_allclose(input_numbers(torch.tensor(x), axes), [*plain(x, axes).values()], rtol=1e-12)


def by_hand(numbers: np.ndarray, means: dict[str, np.ndarray], level: float) -> set[int]:
    """Rows that the rule names, written out: one loop for each column, sign and number of outermost rows."""
    names = list(RECORDS)
    facts = set(np.flatnonzero(numbers[:, names.index("spread")] == 0).tolist())
    unit = np.median([row[1] for i, row in enumerate(numbers) if i not in facts])
    columns: list[tuple[np.ndarray, float]] = []
    for k, name in enumerate(names):
        x = numbers[:, k]
        if name in ("mean", "smallest value", "largest value"):
            columns.append((x / unit, 0.1))
        elif name in ("spread", "roughness"):
            columns.append((np.log(x + 1e-12), 0.1))
        elif name.startswith("share"):
            columns.append((np.log((x + 0.05) / (1.05 - x)), 0.2))
        else:
            columns.append((x, 0.1))
    for of_layer in means.values():
        mean = of_layer.mean(1)
        columns += [(mean / np.median(np.abs(mean)), 0.1), (np.log(np.sqrt((of_layer**2).mean(1)) + 1e-9), 0.1)]
    columns = [(sign * x, least) for x, least in columns if x.max() > x.min() for sign in (1, -1)]
    named: set[int] = set()
    for _ in range(3):
        rest = [i for i in range(len(numbers)) if i not in facts | named]
        if len(rest) < 15:
            break
        new: set[int] = set()
        for x, least in columns:
            order = sorted(rest, key=lambda i: -x[i])
            for count in range(1, len(rest) // 10 + 1):
                others = sorted((x[i] for i in order[count:]), reverse=True)
                k = max(5, round(len(others) / 20))
                limit, median = others[k], np.median(others)
                excess = max(np.mean(others[:k]) - limit, least / 3)
                last = x[order[count - 1]]
                p = k / len(others) * (1 + max(last - limit, 0) / (k * excess)) ** -k
                far = last - others[0] > 1.5 * max(others[0] - median, least)
                if far and p * len(rest) * len(columns) <= level:
                    new |= set(order[:count])
        named |= new
    return facts | named


def volumes(count: int, seed: int, side: int = 12) -> np.ndarray:
    """Smooth fields of several brightness, with noise."""
    rng = np.random.default_rng(seed)
    fields = [gaussian_filter(rng.normal(size=(side,) * 3), 1.5) for _ in range(count)]
    return np.stack([10 * rng.uniform(0.9, 1.1) * (x / x.std() + 0.2 * rng.normal()) for x in fields]).astype(
        np.float32
    )[:, None]


@pytest.mark.parametrize("dtype", [np.float16, np.int8])
def test_one_zero_by_chance_is_not_odd(dtype: Any) -> None:
    named = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        steps = 32 if dtype == np.float16 else 16
        x = (np.round(rng.normal(size=(70, 16)) * 2 * steps) / (steps if dtype == np.float16 else 1)).astype(dtype)
        clean = torch.stack([input_numbers(torch.tensor(row), 0) for row in x])
        named.append(bool(outlier_inputs(clean, {})))
        x[5, :8] = 0
        clean[5] = input_numbers(torch.tensor(x[5]), 0)
        assert 5 in {odd.image for odd in outlier_inputs(clean, {})}
    assert sum(named) <= 2


SPOIL: dict[str, tuple[Callable[[np.ndarray], np.ndarray], str]] = {
    "empty": (np.zeros_like, "is all zero"),
    "constant": (lambda x: np.full_like(x, 3.5), "has a single value"),
    "doubled": (lambda x: 3 * x, "has a larger"),
    "spike": (lambda x: np.where(np.arange(x.size).reshape(x.shape) == 7, 1000, x), "has a larger largest value"),
    "half empty": (lambda x: np.where(np.arange(x.shape[-1]) < 6, x, 0), "has a larger share of"),
}


@pytest.mark.parametrize("seed", range(6))
def test_the_rule(seed: int) -> None:
    clean = volumes(25, seed)
    spoilt = clean.copy()
    for i, (change, _) in enumerate(SPOIL.values()):
        if i % 3 != seed % 3:
            spoilt[4 * i] = change(spoilt[4 * i])
    rng = np.random.default_rng(seed)
    means = {"a": 1 + 0.05 * rng.normal(size=(25, 4)), "b": rng.normal(size=(25, 3)) + 5}
    means["a"][3] *= 1 + seed % 2
    for side in (clean, spoilt, spoilt[:16]):
        numbers = torch.stack([input_numbers(torch.tensor(x), axes=GRID) for x in side])
        layers = {layer: values[: len(side)] for layer, values in means.items()}
        for level in (0.2, 0.05):
            found = outlier_inputs(numbers, {layer: torch.tensor(values) for layer, values in layers.items()}, level)
            assert {odd.image for odd in found} == by_hand(numbers.numpy(), layers, level)


def network() -> DNAExtractor:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv3d(1, 6, 3), nn.ReLU(), nn.Conv3d(6, 8, 3), nn.ReLU())
    return DNAExtractor(net, inputs="any", example=torch.zeros(2, 1, 12, 12, 12), layers=["1", "3"])


class Repeats(nn.Module):
    """Three neurons that detect inputs whose values repeat after five positions."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        repeats = (x[..., 5:] * x[..., :-5]).mean((1, 2))
        return 1 + repeats[:, None] * torch.tensor([1.0, 2.0, 3.0])


def test_an_input_may_be_flagged_by_the_only_layer() -> None:
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(25, 1, 64)).astype(np.float32)
    inputs[7, 0] = np.tile(rng.normal(size=5), 13)[:64] + 0.1 * rng.normal(size=64)
    inputs[7] /= inputs[7].std()
    extractor = DNAExtractor(Repeats(), inputs="any", example=torch.zeros(2, 1, 64))
    ranking = rank(torch.tensor(inputs), feature=extractor)
    assert ranking.reasons == {7: "is unusual"}
    assert "input 7 is unusual compared with the others." in str(ranking.verdict)


@pytest.mark.parametrize("what", SPOIL)
def test_an_odd_input_is_named(what: str) -> None:
    (change, words), a, b = SPOIL[what], volumes(25, 7), volumes(25, 8)
    b[6] = change(b[6])
    ranking = rank(torch.tensor(b), feature=network())
    assert ranking.flagged_names == ["input 6"]
    [reason] = ranking.reasons.values()
    assert words in reason
    assert "image" not in "".join([str(ranking.verdict), *ranking.notices])
    assert "a flipped or rotated input" in str(ranking.verdict)
    compared: Any = compare(torch.tensor(a), torch.tensor(b), network())
    assert compared.outliers.flagged_names[0] == "input 6"
    assert words in compared.outliers.reasons("A")[6]
    assert json.loads(json.dumps(compared.to_dict()))["outliers"]["images"][0] == "input 6"


def test_it_is_said_what_can_not_be_detected() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (15, 40, 40, 3), dtype=np.uint8)
    of_images = str(rank(list(noise), layers=["block_0"]).verdict)
    assert "can't detect faults that more than a tenth of the images share" in of_images
    assert "watermarks, or other content." in of_images
    assert of_images.endswith("A reference of about 16 sound images (`--reference`) reveals more faults.")
    of_rows = str(rank(np.random.default_rng(0).normal(size=(15, 6)), feature="identity").verdict)
    assert of_rows.endswith("can't detect faults that more than a tenth of the rows share, or other content.")


def test_what_both_sides_have_is_no_fact() -> None:
    a, b = volumes(25, 7), volumes(25, 8)
    a[3], b[6] = 0, 0
    odd: Any = compare(torch.tensor(a), torch.tensor(b), network()).outliers
    assert "input 6" not in odd.flagged_names


def test_one_that_is_not_finite_is_named() -> None:
    b = volumes(25, 8)
    b[6, 0, 3, 3, 3] = np.nan
    with pytest.raises(ValueError, match="Can't read input 'input 6': it has values that are NaN or infinite"):
        rank(torch.tensor(b), feature=network(), reading=Reading(skip_unreadable=False))
    ranking = rank(torch.tensor(b), feature=network(), reading=Reading(skip_unreadable=True))
    assert len(ranking.names) == 24
    assert "input 6" in ranking.unreadable[0]


def test_a_network_that_takes_nan_gets_it() -> None:
    class Cleaned(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.nan_to_num(x)

    x = torch.randn(20, 3, 4)
    x[5, 0, 0] = torch.nan
    assert len(rank(x, feature=DNAExtractor(Cleaned(), inputs="any", example=torch.zeros(2, 3, 4))).names) == 20


def test_the_layer_that_differs_most_is_named() -> None:
    result = compare(torch.tensor(volumes(40, 1)), torch.tensor(volumes(40, 2) * 1.5), network())
    test = result["dna-emd"].evidence.test  # type: ignore[union-attr]
    means = {layer: float(test.z[columns].mean()) for layer, columns in result.neurons.slices.items()}  # type: ignore[union-attr]
    assert f"The difference is largest in layer {max(means, key=lambda layer: means[layer])}." in result.verdict
    assert "image" not in result.verdict
