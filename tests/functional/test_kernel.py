"""Kernel distance, against torchmetrics used directly and against the formula in float64."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torchmetrics.image.kid import KernelInceptionDistance

from torchmetrics_dna.functional.kernel import kernel_distance

_generator = torch.Generator().manual_seed(0)
A, B = (torch.randn(count, 20, generator=_generator).relu() + 0.1 * i for i, count in enumerate((70, 70)))


def formula(a: np.ndarray, b: np.ndarray) -> float:
    """The unbiased squared MMD under the kernel (x'y / n + 1)^3."""

    def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return (x @ y.T / x.shape[1] + 1) ** 3

    within = sum((kernel(x, x).sum() - np.trace(kernel(x, x))) / (len(x) * (len(x) - 1)) for x in (a, b))
    return float(within - 2 * kernel(a, b).mean())


def test_of_all_images_it_is_the_formula() -> None:
    mean, deviation = kernel_distance(A, B)
    assert mean == pytest.approx(formula(A.double().numpy(), B.double().numpy()), rel=1e-9)
    assert deviation == 0


@pytest.mark.parametrize("counts", [(70, 40), (40, 70)])
def test_of_subsets_it_is_torchmetrics(counts: tuple[int, int]) -> None:
    a, b = A[: counts[0]], B[: counts[1]]
    metric = KernelInceptionDistance(nn.Identity(), subsets=100, subset_size=40)
    metric.update(a, real=True)
    metric.update(b, real=False)
    torch.manual_seed(0)
    mean, deviation = metric.compute()
    assert kernel_distance(a, b) == (pytest.approx(float(mean), rel=1e-4), pytest.approx(float(deviation), rel=1e-4))
    assert deviation > 0


def test_large_sets_are_drawn_from_in_subsets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchmetrics_dna.functional.kernel.SUBSET_SIZE", 30)
    mean, deviation = kernel_distance(A, B)
    assert deviation > 0
    assert mean == pytest.approx(formula(A.double().numpy(), B.double().numpy()), abs=deviation)


def test_it_warns_of_nothing_and_leaves_the_random_state_alone() -> None:
    state = torch.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first = kernel_distance(A, B[:40])
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(5)
    assert kernel_distance(A, B[:40]) == first


def test_one_image_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="is required for both sides to compute kid, but got 70 and 1"):
        kernel_distance(A, B[:1])
