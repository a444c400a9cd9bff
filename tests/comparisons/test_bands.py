"""Bands of inputs that are no images: their mean and deviation, tested beside the network, and named."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from torchmetrics_dna import DNAExtractor, compare
from torchmetrics_dna.images.inputs import Example
from torchmetrics_dna.images.properties import BANDS

BAND = 3


class Network(nn.Module):
    """Whole numbers and floating point of any precision, in tuples too; NaN counts as 0."""

    def forward(self, x: torch.Tensor, _: Any = None) -> torch.Tensor:
        return torch.nan_to_num(x.float()).flatten(2).std(2)


def bands(count: int, seed: int, shape: tuple[int, ...], dtype: Any = np.float32, of_band: float = 0.0) -> Any:
    """Inputs of five bands, each at a level of its own that varies between inputs."""
    rng = np.random.default_rng(seed)
    levels = 300 + 40 * rng.normal(size=(count, 5, *[1] * len(shape)))
    x = levels + 60 * rng.normal(size=(count, 5, *shape))
    x[:, BAND] += of_band
    return torch.tensor(x.astype(dtype))


def extractor(example: Any) -> DNAExtractor:
    return DNAExtractor(Network(), inputs="any", example=example)


def numbers(x: Any) -> np.ndarray:
    """Mean and deviation of each band, in turn, in float64: ``(inputs, 10)``."""
    values = x.numpy().astype(np.float64).reshape(len(x), 5, -1)
    values[~np.isfinite(values)] = np.nan
    return np.stack([np.nanmean(values, 2), np.nanstd(values, 2)], 2).reshape(len(x), 10)


def rises(text: str) -> bool:
    """True if a text says that the mean of the spoilt band is higher in B."""
    change = re.search(rf"mean of band {BAND} (\S+) → (\S*\d)", text)
    return change is not None and float(change[1]) < float(change[2])


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.int16])
@pytest.mark.parametrize("shapes", [((6, 7), (9, 5)), ((4, 5, 3), (3, 6, 4))])
def test_numbers(shapes: Any, dtype: Any) -> None:
    a, b = bands(31, 0, shapes[0], dtype), bands(24, 1, shapes[1], dtype, of_band=60)
    if dtype == np.float32:
        b[2, 1].flatten()[4] = torch.inf  # is left out
        a[7, 4, 0] = torch.nan
    result = compare(a, b, extractor(a[:2]))
    of_bands: Any = result.properties
    assert dict(of_bands.neurons) == {BANDS: 10}
    of_a, of_b = numbers(a), numbers(b)
    for side, expected in zip(of_bands.measured, (of_a, of_b), strict=True):
        np.testing.assert_allclose(side.first.mean, expected.mean(0), rtol=1e-12)
        np.testing.assert_allclose(side.first.var, expected.var(0, ddof=1), rtol=1e-9)
    frechet = (of_a.mean(0) - of_b.mean(0)) ** 2 + (of_a.std(0, ddof=1) - of_b.std(0, ddof=1)) ** 2
    np.testing.assert_allclose(of_bands["dna-fd"].values, frechet, rtol=1e-9)
    shown = [f"{side[:, 2 * BAND].mean():.2g}" for side in (of_a, of_b)]
    assert f"mean of band {BAND} {' → '.join(shown)}" in result.verdict
    first = result.to_dict()["properties"][0]
    assert (first["layer"], first["neuron"], first["name"]) == (BANDS, 2 * BAND, f"mean of band {BAND}")
    assert first["shift"] == pytest.approx(of_b[:, 2 * BAND].mean() - of_a[:, 2 * BAND].mean())
    assert result.p_value_of_properties == of_bands["dna-fd"].p_value <= 0.01


def test_the_largest_tensor_counts_and_sides_by_length() -> None:
    a, b = bands(20, 0, (6, 7)), bands(33, 1, (6, 7))
    b[:, BAND] = 300 + 2 * (b[:, BAND] - 300)
    result = compare(
        (a, torch.zeros(20, 2, 2, 3)), (b, torch.zeros(33, 2, 2, 3)), extractor((a[:2], torch.zeros(2, 2, 2, 3)))
    )
    assert f"deviation of band {BAND}" in result.verdict
    assert "image" not in f"{result.verdict} {result.explain()}"


@pytest.mark.parametrize("dtypes", [(np.uint8, np.uint8), (np.uint8, np.float32)])
def test_images_of_other_channels(dtypes: Any) -> None:
    a, b = ((bands(n, n, (9, 8), of_band=shift) / 800).clip(0, 1).numpy() for n, shift in ((25, 0), (34, 90)))
    sides = [
        np.moveaxis(np.round(x * 255) if dtype == np.uint8 else x, 1, 3)
        for x, dtype in zip((a, b), dtypes, strict=True)
    ]
    a, b = (x.astype(dtype) for x, dtype in zip(sides, dtypes, strict=True))
    of = DNAExtractor(nn.Conv2d(5, 4, 3), channels=5, mean=[0] * 5, std=[1] * 5)
    result = compare([*a], [*b], of)
    of_bands: Any = result.properties
    for side, x in zip(of_bands.measured, (a, b), strict=True):
        expected = numbers(torch.tensor(np.moveaxis(x, 3, 1) / (255 if x.dtype == np.uint8 else 1)))
        np.testing.assert_allclose(side.first.mean, expected.mean(0), rtol=1e-6)
        np.testing.assert_allclose(side.first.var, expected.var(0, ddof=1), rtol=1e-5)
    assert rises(str(result.explain()))


def test_pairs() -> None:
    a = bands(24, 0, (6, 7))
    b = a + 0.1 * torch.randn(a.shape, generator=torch.Generator().manual_seed(0))
    b[:, BAND] += 15
    result = compare(a, b, extractor(a[:2]), pairs=True)
    assert rises(result.verdict)
    assert result.p_value_of_properties is not None
    assert result.p_value_of_properties <= 0.01


def test_equal_sets_name_no_band() -> None:
    for seed in range(0, 20, 2):
        a, b = bands(24, seed, (6, 7)), bands(30, seed + 1, (6, 7))
        result = compare(a, b, extractor(a[:2]))
        assert ("Measured" in result.verdict) <= bool(result.differs)
        if not result.differs:
            assert "band" not in f"{result.verdict} {result.explain()}"


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((2, 5, 6, 7), 5), ((2, 2, 6, 7, 8), 2), ((2, 1, 6, 7), 0), ((2, 257, 6, 7), 0), ((2, 5, 6), 0), ((2, 16), 0)],
)
def test_what_has_bands(shape: tuple[int, ...], expected: int) -> None:
    assert Example.of((torch.zeros(2, 3), torch.zeros(shape))).bands == expected


def test_where_there_are_none(tmp_path: Any) -> None:
    a, b = bands(20, 0, (6, 7)), bands(20, 1, (6, 7), of_band=200)
    of = extractor(a[:2])
    cases: list[Any] = [
        compare(a, b, of, num_folds=None),  # without a test
        compare(a, b, of, neuron_weights=torch.ones(5)),
        compare(a, {"b": b, "c": b}, of)["b"],
        compare(a, a, of),
        compare(a, torch.cat([b, bands(1, 2, (6, 7)).where(torch.arange(5)[:, None, None] > 0, torch.nan)]), of),
        compare(a, b[:1], of),
    ]
    for result in cases:
        assert result.properties is None
        assert "band" not in f"{result.verdict} {result.to_dict()}".replace("bandwidth", "")
    path = tmp_path / "result.npz"
    result = compare(a, b, of, groups=([*range(20)], [*range(20)]))
    result.save(path)
    assert "band 3" in type(result).load(path).verdict
