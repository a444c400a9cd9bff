from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import binom, hypergeom, median_abs_deviation, permutation_test
from sklearn.covariance import OAS

from torchmetrics_dna.functional import OutlierTest, outlier_test, score_limit
from torchmetrics_dna.functional.outliers import (
    LayerGaussian,
    layers_for_outliers,
    left_out_distances,
    outlier_distance,
)


def correlated(images: int, neurons: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.normal(size=(images, neurons)) @ random.normal(size=(neurons, neurons)) + 3


def by_sklearn(means: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Squared distances per neuron, by sklearn's estimator with the unbiased covariance."""
    unbiased = len(means) / (len(means) - 1)
    return OAS().fit(means).mahalanobis(queries) / unbiased / means.shape[1]


@pytest.mark.parametrize(("images", "neurons"), [(50, 4), (8, 20), (3, 2)])
def test_distances_are_those_of_sklearn(images: int, neurons: int) -> None:
    means, queries = correlated(images, neurons), correlated(6, neurons, 1)
    gaussian = LayerGaussian.of(torch.from_numpy(means.mean(0)), torch.from_numpy(np.cov(means.T)), images)
    distances = gaussian.distances(torch.from_numpy(queries))
    np.testing.assert_allclose(distances, by_sklearn(means, queries), rtol=1e-5)
    assert torch.equal(gaussian.distances(torch.from_numpy(queries[2:3])), distances[2:3])
    assert gaussian.distances(torch.from_numpy(queries[:0])).shape == (0,)


@pytest.mark.parametrize(("images", "neurons"), [(50, 4), (8, 20), (30, 25)])
def test_each_image_is_left_out(images: int, neurons: int) -> None:
    means = correlated(images, neurons)
    expected = [by_sklearn(np.delete(means, i, 0), means[i : i + 1])[0] for i in range(images)]
    np.testing.assert_allclose(left_out_distances(torch.from_numpy(means)), expected, rtol=1e-5)


def test_equal_images_are_not_divided_by_zero() -> None:
    means = torch.full((5, 3), 2.0)
    assert left_out_distances(means).tolist() == [0] * 5
    gaussian = LayerGaussian.of(means[0], torch.zeros(3, 3), 5)
    assert gaussian.distances(means[:1]).tolist() == [0]
    assert gaussian.distances(means[:1] + 1).isfinite().all()


@pytest.mark.parametrize("positions", [(), (6,), (3, 4)])
def test_the_mean_of_a_map_is_the_squared_distance(positions: tuple[int, ...]) -> None:
    means = correlated(40, 5)
    gaussian = LayerGaussian.of(torch.from_numpy(means.mean(0)), torch.from_numpy(np.cov(means.T)), 40)
    activations = torch.rand(3, 5, *positions)
    spatial = activations.double().flatten(2).mean(2) if positions else activations.double()
    maps = gaussian.map(activations)
    assert maps.shape == (3, *positions)
    np.testing.assert_allclose(
        maps.flatten(1).mean(1) if positions else maps, by_sklearn(means, spatial.numpy()), rtol=1e-5
    )


def test_layers_are_joined() -> None:
    assert layers_for_outliers({"a": 16, "b": 512, "c": 1280}) == ["a", "b"]
    assert layers_for_outliers({"a": 768, "b": 768}) == ["a", "b"]
    joined = outlier_distance({"a": torch.tensor([1.0, 4.0]), "b": torch.tensor([1.0, 14.0])})
    assert joined.tolist() == [1, 3]


def few(scores: np.ndarray, typical: np.ndarray) -> OutlierTest:
    return outlier_test(torch.from_numpy(scores.copy()), torch.from_numpy(typical.copy()))


def drawn(seed: int, images: int, reference: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores of both sides from one distribution."""
    scores = np.exp(np.random.default_rng(seed).gumbel(0, 0.2, images + reference))
    return scores[:images], scores[images:]


@pytest.mark.parametrize(("images", "reference", "odd"), [(5, 7, 0), (5, 7, 3), (7, 5, 1), (2, 9, 0), (2, 9, 1)])
def test_p_is_that_of_all_relabelings(images: int, reference: int, odd: int) -> None:
    scores, typical = drawn(odd, images, reference)
    scores[:odd] *= 3
    logs = np.log(np.concatenate([scores, typical]))
    squares = np.clip((logs - np.median(logs)) / median_abs_deviation(logs) / 1.4826, 0, None) ** 2
    sides = (squares[:images], squares[images:])
    exact = permutation_test(sides, lambda b, _: b.sum(), n_resamples=np.inf, alternative="greater").pvalue
    assert few(scores, typical).p_value == pytest.approx(exact, abs=4 * binom(1000, exact).std() / 1000 + 0.001)


@pytest.mark.parametrize(("images", "reference", "odd"), [(100, 100, 20), (40, 200, 0), (50, 30, 50), (8, 3, 1)])
def test_the_share_is_storeys(images: int, reference: int, odd: int) -> None:
    scores, typical = drawn(1, images, reference)
    scores[:odd] *= 9
    beyond = np.mean(scores > np.quantile(typical, 0.9))
    share = np.clip(1 - (1 - beyond) / 0.9, 0, 1)
    error = np.hypot(binom(images, beyond).std() / images, (1 - share) * binom(reference, 0.1).std() / reference) / 0.9
    _, *estimate, _ = few(scores, typical)
    np.testing.assert_allclose(estimate, [share, max(0, share - 2 * error), min(1, share + 2 * error)], atol=1e-12)


@pytest.mark.parametrize(("images", "reference", "expected"), [(100, 100, 5), (100, 400, 2), (1, 19, 1), (2, 3, None)])
def test_fewer_images_can_not_be_shown(images: int, reference: int, expected: int | None) -> None:
    total = images + reference
    p_values = [float(hypergeom(total, count, images).pmf(count)) for count in range(1, images + 1)]
    enough = [count for count, p in enumerate(p_values, 1) if p <= 0.05 + 1e-12]
    scores, typical = drawn(2, images, reference)
    assert few(scores, typical).fewest == next(iter(enough), None) == expected


def test_a_limit_takes_enough_scores() -> None:
    for typical, share, message in (
        (torch.ones(9), 0.05, "at least 0.1 with 9 images in the reference, but got 0.05; pass more images"),
        (torch.ones(9), 1.0, "`share` expected to be above 0 and below 1, but got 1.0"),
        (torch.ones(2, 2), 0.5, r"`typical` expected to be finite scores of shape \(images,\), but got shape \(2, 2\)"),
        (None, 0.5, "but got None"),
    ):
        with pytest.raises(ValueError, match=message):
            score_limit(typical, share)


def test_what_are_no_scores() -> None:
    right = torch.ones(3)
    for scores, typical, message in (
        (right[:0], right, r"`scores` expected to have shape \(images,\), but got \(0,\)"),
        (right, right[None], r"`typical` expected to have shape \(images,\), but got \(1, 3\)"),
        (right - 2, right, "`scores` expected to be 0 or more, but got -1"),
        (right, right / 0, "`typical` expected to be 0 or more, but got inf"),
    ):
        with pytest.raises(ValueError, match=message):
            outlier_test(scores, typical)
