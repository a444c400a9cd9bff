from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.covariance import OAS

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
