"""Distances between unions of folds, against numpy in float64 on the content of the unions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from torch import Tensor

from torchmetrics_dna.demo import photographs
from torchmetrics_dna.dna.folded import (
    Cumulative,
    cmmd_of_folds,
    frechet_of_folds,
    kernel_of_folds,
    layer_frechet_of_folds,
    shift_of_folds,
)
from torchmetrics_dna.functional import layer_frechet_distance

FOLDS = 6


def memberships(seed: int, rest: bool) -> tuple[Tensor, Tensor]:
    """Draw the folds of each side; each side has some, and without ``rest`` some folds are on neither."""
    random = np.random.default_rng(seed)
    sides = np.stack([random.permutation([0, 0, 1, 1, 0 if rest else 2, 1 if rest else 2]) for _ in range(5)])
    return torch.from_numpy(sides == 0), torch.from_numpy(sides == 1)


@settings(max_examples=30)
@given(st.integers(0, 1000), st.booleans())
def test_histograms(seed: int, rest: bool) -> None:
    random = np.random.default_rng(seed)
    counts = torch.from_numpy(random.integers(0, 9, (FOLDS, 4, 7)))
    counts[:, :, 0] += 1
    in_a, in_b = memberships(seed, rest)
    distances = Cumulative.of(counts).emd(in_a, in_b)
    for row, a, b in zip(distances, in_a, in_b, strict=True):
        sides = [counts[side].sum(0).numpy() for side in (a, b)]
        x, y = ((side / side.sum(1, keepdims=True)).cumsum(1) for side in sides)
        np.testing.assert_allclose(row, np.abs(x - y).sum(1), rtol=1e-7, atol=1e-12)


@settings(max_examples=30)
@given(st.integers(0, 1000), st.integers(1, 10**6))
def test_histograms_in_proportion_are_no_distance_apart(seed: int, factor: int) -> None:
    """The spread of a dead neuron is 0, not a rounding error."""
    random = np.random.default_rng(seed)
    shares = torch.from_numpy(random.integers(0, 1000, (3, 5)) + 1)
    counts = torch.stack([shares * factor * size for size in (1, 3, 7, 2, 5, 11)])
    assert not Cumulative.of(counts).emd(*memberships(seed, True)).any()


@settings(max_examples=30)
@given(st.integers(0, 1000), st.booleans())
def test_shifts_are_differences_of_means(seed: int, rest: bool) -> None:
    """Against means of the histograms' mass at the middle of each bin; the distance is never less."""
    random = np.random.default_rng(seed)
    counts = random.integers(0, 9, (FOLDS, 4, 7))
    counts[:, :, 0] += 1
    counts[:, 3] = np.eye(7, dtype=int)[2] * random.integers(1, 9, (FOLDS, 1))  # a dead neuron
    in_a, in_b = memberships(seed, rest)
    shifts = shift_of_folds(*Cumulative.of(torch.from_numpy(counts)).sums(), in_a, in_b)
    distances = Cumulative.of(torch.from_numpy(counts)).emd(in_a, in_b)
    for row, a, b in zip(shifts.numpy(), in_a.numpy(), in_b.numpy(), strict=True):
        means = [counts[side].sum(0) @ np.arange(7) / counts[side].sum((0, 2)) for side in (a, b)]
        np.testing.assert_allclose(row, means[1] - means[0], atol=1e-12)
    assert (shifts.abs() <= distances + 1e-12).all()
    assert not shifts[:, 3].any()


@settings(max_examples=30)
@given(st.integers(0, 1000), st.booleans(), st.sampled_from([0.0, 1e6]))
def test_gaussians(seed: int, rest: bool, offset: float) -> None:
    random = np.random.default_rng(seed)
    sizes = random.integers(1, 5, FOLDS)
    images = [random.normal(offset, 2, (size, 3)) for size in sizes]
    means = torch.tensor(np.stack([fold.mean(0) for fold in images]))
    variances = torch.tensor(np.stack([fold.var(0, ddof=1) if len(fold) > 1 else np.zeros(3) for fold in images]))
    in_a, in_b = memberships(seed, rest)
    distances = frechet_of_folds(means, variances, torch.from_numpy(sizes), in_a, in_b)
    for row, *sides in zip(distances, in_a, in_b, strict=True):
        a, b = (np.concatenate([fold for fold, inside in zip(images, side, strict=True) if inside]) for side in sides)
        expected = (a.mean(0) - b.mean(0)) ** 2 + (a.std(0, ddof=1) - b.std(0, ddof=1)) ** 2
        np.testing.assert_allclose(row, expected, rtol=1e-8, atol=1e-8)


def test_one_image_has_no_variance() -> None:
    means, sizes = torch.arange(3.0, dtype=torch.float64)[:, None], torch.ones(3)
    sides = torch.tensor([[True, False, False]]), torch.tensor([[False, True, True]])
    assert frechet_of_folds(means, torch.zeros(3, 1, dtype=torch.float64), sizes, *sides).isnan().all()


@pytest.mark.parametrize("seed", range(3))
def test_features_against_torchmetrics(seed: int) -> None:
    from torchmetrics.image.kid import poly_mmd

    random = np.random.default_rng(seed)
    features = torch.from_numpy(random.normal(size=(40, 5)))
    folds = torch.from_numpy(random.permutation(np.arange(40) % FOLDS))
    in_a, in_b = memberships(seed, False)
    distances = kernel_of_folds(features, folds, in_a, in_b)
    for value, a, b in zip(distances[:, 0], in_a, in_b, strict=True):
        features_a, features_b = (features[side[folds]] for side in (a, b))
        if len(features_a) == len(features_b):  # which is all that torchmetrics takes
            torch.testing.assert_close(value, poly_mmd(features_a, features_b))
        pairs = (features_a, features_a), (features_b, features_b), (features_a, features_b)
        kernels = [(x @ y.T / 5 + 1) ** 3 for x, y in pairs]
        unbiased = [(k.sum() - k.trace()) / (len(k) * (len(k) - 1)) for k in kernels[:2]]
        torch.testing.assert_close(value, unbiased[0] + unbiased[1] - 2 * kernels[2].mean())


@pytest.mark.parametrize("rest", [True, False])
def test_cmmd(rest: bool) -> None:
    random = np.random.default_rng(0)
    embeddings = torch.from_numpy(random.normal(size=(40, 5)))
    folds = torch.from_numpy(random.permutation(np.arange(40) % FOLDS))
    in_a, in_b = memberships(1, rest)
    distances = cmmd_of_folds(embeddings, folds, in_a, in_b)
    directions = embeddings.numpy() / np.linalg.norm(embeddings.numpy(), axis=1, keepdims=True)
    kernel = np.exp(-cdist(directions, directions, "sqeuclidean") / 200)
    for value, *sides in zip(distances[:, 0].tolist(), in_a[:, folds].numpy(), in_b[:, folds].numpy(), strict=True):
        aa, bb, ab = (kernel[np.ix_(x, y)].mean() for x, y in ((sides[0], sides[0]), (sides[1], sides[1]), sides))
        assert value == pytest.approx(1000 * (aa + bb - 2 * ab), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("distance", [kernel_of_folds, cmmd_of_folds])
def test_a_fold_without_images_counts_for_nothing(distance: Callable[..., torch.Tensor]) -> None:
    features, folds = torch.rand(20, 5, dtype=torch.float64), torch.arange(20) % 4
    sides = torch.tensor([[True, False, True, False]]), torch.tensor([[False, True, False, True]])
    longer = [torch.cat([side, side[:, :1]], 1) for side in sides]
    torch.testing.assert_close(distance(features, folds, *longer), distance(features, folds, *sides))


def root_of(cov: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(cov)
    return vectors * np.sqrt(values.clip(0)) @ vectors.T


@pytest.mark.parametrize(("cells", "rest"), [(1, True), (2, False), (8, True), (8, False)])  # 3, 12, 192 neurons
def test_layers(cells: int, rest: bool) -> None:
    """Products of images and covariances, for more images than neurons and for fewer."""
    photos = np.stack(photographs(24)).astype(np.float64)
    step = photos.shape[1] // cells
    means = photos[:, : step * cells, : step * cells].reshape(24, cells, step, cells, step, 3).mean((2, 4))
    features = means.reshape(24, -1)
    folds = np.random.default_rng(0).permutation(np.arange(24) % FOLDS)
    in_a, in_b = memberships(cells, rest)
    distances = layer_frechet_of_folds(torch.from_numpy(features), torch.from_numpy(folds), in_a, in_b)
    assert distances.dtype == torch.float64
    for value, *sides in zip(distances.tolist(), in_a.numpy(), in_b.numpy(), strict=True):
        moments = [(x.mean(0), np.cov(x.T)) for x in (features[side[folds]] for side in sides)]
        (mean_a, cov_a), (mean_b, cov_b) = moments
        root = root_of(root_of(cov_a) @ cov_b @ root_of(cov_a)).trace()
        expected = np.square(mean_a - mean_b).sum() + cov_a.trace() + cov_b.trace() - 2 * root
        assert value == pytest.approx(expected, rel=1e-6)
        plain = layer_frechet_distance(*(torch.from_numpy(x) for side in moments for x in side))
        assert value == pytest.approx(float(plain), rel=1e-9)


def test_a_side_of_equal_images_has_no_spread() -> None:
    images = torch.tensor([[1.0, 2.0]] * 3 + [[4.0, 6.0]] * 3)
    sides = torch.tensor([[True, False]]), torch.tensor([[False, True]])
    for features in (images, torch.cat([images, torch.zeros(6, 9)], 1)):
        distance = layer_frechet_of_folds(features, torch.arange(6) // 3, *sides)
        torch.testing.assert_close(distance, torch.tensor([25.0], dtype=torch.float64))
