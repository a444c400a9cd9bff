"""fd of populations, estimated from samples, and Student's t, against scipy and finite differences."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.linalg import sqrtm
from scipy.stats import t as student

from torchmetrics_dna.demo import photographs
from torchmetrics_dna.functional import FrechetEstimate, layer_frechet_estimate
from torchmetrics_dna.functional.student import fieller, student_quantile

Array = NDArray[np.float64]
EPSILON = 1e-5


@cache
def colours(count: int) -> Array:
    """Of each photograph its mean colour, and how bright its upper half is, from 0 to 1."""
    photos = np.stack(photographs(count)).astype(np.float64) / 255
    return np.concatenate([photos.mean((1, 2)), photos[:, : photos.shape[1] // 2].mean((1, 2, 3))[:, None]], 1)


def fd(mean_a: Array, cov_a: Array, mean_b: Array, cov_b: Array) -> float:
    root = np.real(sqrtm(cov_a @ cov_b)).trace()
    return float(np.square(mean_a - mean_b).sum() + cov_a.trace() + cov_b.trace() - 2 * root)


def moments(images: Array) -> tuple[Array, Array]:
    return images.mean(0), np.cov(images.T)


def estimate(a: Any, b: Any, *folds: Any) -> FrechetEstimate:
    sides = [
        torch.from_numpy(side) if isinstance(side, np.ndarray) else tuple(map(torch.from_numpy, side))
        for side in (a, b)
    ]
    return layer_frechet_estimate(sides[0], sides[1], *folds)


def derivative(images: Array, image: int, other: tuple[Array, Array]) -> float:
    """Of fd by the weight of one image, by finite differences."""
    unbiased = np.cov(images.T) - np.cov(images.T, ddof=0)

    def at(epsilon: float) -> float:
        weights = np.full(len(images), (1 - epsilon) / len(images))
        weights[image] += epsilon
        cov = np.cov(images.T, aweights=weights, ddof=0)
        return fd(weights @ images, cov + unbiased, *other)

    return (at(EPSILON) - at(-EPSILON)) / (2 * EPSILON)


@pytest.mark.parametrize("both", [False, True], ids=["statistics", "samples"])
def test_influence_is_the_derivative_by_an_images_weight(both: bool) -> None:
    images = colours(70)
    a, b = images[:40], images[40:] * 0.8
    estimated = estimate(a, b if both else moments(b))
    assert float(estimated.value) == pytest.approx(fd(*moments(a), *moments(b)), rel=1e-8)
    for influence, own, other in zip(estimated.influences, (a, b), (b, a), strict=True):
        if own is b and not both:
            assert influence is None
            continue
        expected = np.array([derivative(own, i, moments(other)) for i in range(len(own))])
        np.testing.assert_allclose(influence, expected - expected.mean(), rtol=1e-4, atol=1e-6 * abs(expected).max())


def test_bias_against_a_fit_written_out() -> None:
    images = colours(120)
    sides = [images[:50], images[50:] * 0.8]
    folds = [np.arange(len(side)) * 7 % 20 for side in sides]
    value = fd(*moments(sides[0]), *moments(sides[1]))
    estimated = estimate(*sides, tuple(map(torch.from_numpy, folds)))
    rises: list[tuple[int, float, float]] = []
    for group, parts in (
        (0, [[2 * k, 2 * k + 1] for k in range(10)]),
        (1, [range(0, 20, 2), range(1, 20, 2)]),
        (1, [[k for k in range(20) if k // 2 % 2 == half] for half in (0, 1)]),
    ):
        for part in parts:
            out = [np.isin(of_side, list(part)) for of_side in folds]
            rest = [side[~mask] for side, mask in zip(sides, out, strict=True)]
            linear = [
                float(phi[mask].sum()) / (~mask).sum() for phi, mask in zip(estimated.influences, out, strict=True)
            ]
            more = np.mean([len(mask) / (~mask).sum() - 1 for mask in out])
            rises.append((group, more, fd(*moments(rest[0]), *moments(rest[1])) - value + sum(linear)))
    rows = [[np.mean([f(x) for group, x, _ in rises if group == k]) for f in (lambda x: x, lambda x: x * x + 2 * x)]
            for k in (0, 1)]  # fmt: skip
    first, second = np.linalg.solve(rows, [np.mean([y for group, _, y in rises if group == k]) for k in (0, 1)])
    assert float(estimated.bias) == pytest.approx(first + second, rel=1e-6)
    assert float(estimated.debiased) == pytest.approx(value - first - second, rel=1e-6)


def test_what_can_not_be_estimated_is_refused() -> None:
    images = torch.rand(20, 3)
    statistics = images.mean(0), images.T.cov()
    with pytest.raises(ValueError, match="features of one side at least"):
        layer_frechet_estimate(statistics, statistics)
    with pytest.raises(ValueError, match=r"more images than neurons, but got \(3, 3\)"):
        layer_frechet_estimate(images[:3], statistics)
    with pytest.raises(ValueError, match="finite features"):
        layer_frechet_estimate(images / 0, statistics)
    with pytest.raises(ValueError, match="5 or more, one for each of 20 images, but got 4 of 20"):
        layer_frechet_estimate(images, statistics, (torch.arange(20) % 4, None))
    with pytest.raises(ValueError, match="means \\(n,\\) and covariances"):
        layer_frechet_estimate(images, (statistics[0][:2], statistics[1]))


@pytest.mark.parametrize("denominator", [5.0, 1.0, 0.1, -2.0])
@pytest.mark.parametrize("numerator", [9.0, 0.3])
@pytest.mark.parametrize("covariance", [0.0, 0.05, -0.05])
def test_it_holds_the_ratios_that_a_test_does_not_reject(
    numerator: float, denominator: float, covariance: float
) -> None:
    low, high = fieller(numerator, denominator, (0.2, 0.1), covariance, 2.0)
    ratios = np.linspace(0, 400, 400_001)
    above = max(numerator, 0) - ratios * max(denominator, 0)
    kept = ratios[np.abs(above) <= 2 * np.sqrt(0.2 - 2 * ratios * covariance + ratios**2 * 0.1)]
    assert low == pytest.approx(kept[0], abs=2e-3)
    if high is None:
        assert kept[-1] == 400
    else:
        assert high == pytest.approx(kept[-1], abs=2e-3)


def test_nothing_is_known_of_two_that_may_be_0() -> None:
    assert fieller(0.1, 0.1, (1.0, 1.0), covariance=0.0, quantile=1.96) == (0.0, None)


@pytest.mark.parametrize("freedom", [1, 2.3, 4, 4.7, 9, 18, 1000, np.inf])
@pytest.mark.parametrize("probability", [0.025, 0.5, 0.75, 0.95, 0.975, 0.995, 0.9995])
def test_students_t(probability: float, freedom: float) -> None:
    assert student_quantile(probability, freedom) == pytest.approx(
        student.ppf(probability, freedom), rel=1e-8, abs=1e-12
    )
