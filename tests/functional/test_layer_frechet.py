from __future__ import annotations

import numpy as np
import pytest
import torch
from golden import load
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from torch import Tensor

from torchmetrics_dna.functional import dna_frechet, layer_frechet_distance

GOLDEN = load("distances.npz")


def moments(samples: np.ndarray) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(samples.mean(0)), torch.from_numpy(np.atleast_2d(np.cov(samples.T)))


def samples(seed: int, count: int, width: int, rank: int | None = None) -> np.ndarray:
    random = np.random.default_rng(seed)
    values = random.normal(size=(count, rank or width))
    return values @ random.normal(size=(rank or width, width)) + random.normal(size=width)


@pytest.mark.parametrize("layer", GOLDEN["layers"].tolist())
def test_official_values(layer: str) -> None:
    a, b = (
        (torch.from_numpy(GOLDEN[f"lg_mu_{s}-{layer}"]), torch.from_numpy(GOLDEN[f"lg_sigma_{s}-{layer}"]))
        for s in "AB"
    )
    assert float(layer_frechet_distance(*a, *b)) == pytest.approx(float(GOLDEN[f"fd_layer-{layer}"]), rel=1e-9)


def test_covariances_of_few_images_need_no_offset() -> None:
    a, b = (moments(GOLDEN[f"singular-acts_{s}"].astype(np.float64)) for s in "AB")
    exact = float(GOLDEN["singular-fd_exact"])
    assert float(layer_frechet_distance(*a, *b)) == pytest.approx(exact, rel=1e-12)
    # the official code adds 1e-6 to the diagonals there
    assert float(layer_frechet_distance(*a, *b)) == pytest.approx(float(GOLDEN["singular-fd_layer_vdna"]), rel=1e-2)


@given(st.integers(0, 10**6), st.integers(1, 12))
@settings(deadline=None)
def test_against_scipys_matrix_square_root(seed: int, width: int) -> None:
    (mean_a, cov_a), (mean_b, cov_b) = moments(samples(seed, 40, width)), moments(samples(seed + 1, 50, width))
    root = np.real(sqrtm((cov_a @ cov_b).numpy()))
    expected = float((mean_a - mean_b).square().sum() + cov_a.trace() + cov_b.trace()) - 2 * np.trace(root)
    assert float(layer_frechet_distance(mean_a, cov_a, mean_b, cov_b)) == pytest.approx(expected, rel=1e-7, abs=1e-7)


@given(st.integers(0, 10**6), st.integers(2, 30), st.integers(1, 40))
@settings(deadline=None)
def test_identity_symmetry_and_bounds(seed: int, count: int, width: int) -> None:
    a, b = moments(samples(seed, count, width)), moments(samples(seed + 1, count + 1, width))
    scale = float(a[1].trace() + b[1].trace())
    assert float(layer_frechet_distance(*a, *a)) <= 1e-12 * scale
    there, back = layer_frechet_distance(*a, *b), layer_frechet_distance(*b, *a)
    assert float(there) >= 0
    assert float(there) == pytest.approx(float(back), rel=1e-9, abs=1e-9 * scale)
    # no less than what the neurons differ by one by one
    alone = dna_frechet(a[0], a[1].diagonal(), b[0], b[1].diagonal(), reduction="none").sum()
    assert float(there) >= float(alone) - 1e-9 * scale


def test_independent_neurons_add_up() -> None:
    mean, var = torch.rand(5).double(), torch.rand(5).double()
    expected = dna_frechet(mean, var, mean + 1, 2 * var, reduction="none").sum()
    assert float(layer_frechet_distance(mean, var.diag(), mean + 1, (2 * var).diag())) == pytest.approx(float(expected))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.zeros(2), torch.eye(2), torch.zeros(3), torch.eye(3)), r"Expected means \(n,\) and covariances"),
        ((torch.zeros(2), torch.eye(2), torch.zeros(2), torch.eye(2) * torch.nan), "Expected finite means"),
    ],
)
def test_bad_moments(arguments: tuple[Tensor, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        layer_frechet_distance(*arguments)
