from __future__ import annotations

import numpy as np
import pytest
import torch
from golden import load
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import wasserstein_distance

from torchmetrics_dna.functional import dna_emd

pytestmark = pytest.mark.usefixtures("way")


@pytest.mark.parametrize("num_bins", [1000, 50, 7])
@pytest.mark.parametrize("prefix", ["", "special-"])
def test_official_distances(num_bins: int, prefix: str) -> None:
    golden = load("distances.npz")
    pairs = []
    for layer in golden[f"{prefix}layers"]:
        a, b = (torch.from_numpy(golden[f"{prefix}counts_{s}-B{num_bins}-{layer}"]) for s in "AB")
        neuron = dna_emd(a, b, reduction="none")
        np.testing.assert_allclose(neuron, golden[f"{prefix}emd_neuron-B{num_bins}-{layer}"], rtol=0, atol=1e-9)
        np.testing.assert_allclose(dna_emd(a, b), golden[f"{prefix}emd_layer-B{num_bins}-{layer}"], rtol=0, atol=1e-9)
        pairs.append((a, b))
    a, b = (torch.cat(side) for side in zip(*pairs, strict=True))
    np.testing.assert_allclose(dna_emd(a, b), golden[f"{prefix}emd_avg-B{num_bins}"], rtol=0, atol=1e-9)


histograms = arrays(np.int64, st.tuples(st.just(3), st.just(9)), elements=st.integers(0, 1000)).filter(
    lambda counts: counts.sum(1).all()
)


@settings(max_examples=25)
@given(histograms, histograms)
def test_scipy_agrees(a: np.ndarray, b: np.ndarray) -> None:
    bins = np.arange(9.0)
    distances = dna_emd(torch.from_numpy(a), torch.from_numpy(b), reduction="none")
    by_scipy = [wasserstein_distance(bins, bins, p, q) for p, q in zip(a, b, strict=True)]
    np.testing.assert_allclose(distances, by_scipy, atol=1e-9)


def test_large_counts_and_many_neurons(monkeypatch: pytest.MonkeyPatch) -> None:
    a = torch.zeros(5, 4, dtype=torch.int64)
    a[:, 0], a[:, 1] = 2**40, 1
    b = torch.zeros_like(a)
    b[:, 3] = 2**33
    monkeypatch.setattr("torchmetrics_dna.functional.emd._CHUNK", 8)
    np.testing.assert_allclose(dna_emd(a, b, reduction="none"), [3 - 1 / (2**40 + 1)] * 5, rtol=1e-15)


def test_weights_are_those_of_the_paper() -> None:
    a, b = torch.eye(4, dtype=torch.int64), torch.eye(4, dtype=torch.int64).flip(1)
    distances = dna_emd(a, b, reduction="none")
    weights = torch.tensor([0.1, -0.2, 0.3, 0.0])
    torch.testing.assert_close(dna_emd(a, b, weights), (weights.double() * distances).sum())
    torch.testing.assert_close(dna_emd(a, b, torch.full((4,), 0.25)), dna_emd(a, b))
    torch.testing.assert_close(dna_emd(a, b, weights, "none").mean(), dna_emd(a, b, weights))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.ones(2, 3), torch.ones(2, 4)), r"but got \(2, 3\) and \(2, 4\)"),
        ((torch.tensor([[1, 1], [0, 0]]), torch.ones(2, 2)), "Neuron 1 has no counts"),
        ((torch.tensor([[1, 1], [2**62, 2**62]]), torch.ones(2, 2).long()), r"Neuron 1 .* more than the 2\^53"),
        ((torch.ones(2, 3), torch.ones(2, 3), torch.ones(3)), r"shape \(2,\), but got \(3,\)"),
        ((torch.ones(2, 3), torch.ones(2, 3), torch.tensor([1, float("nan")])), "neuron 1 has NaN"),
        ((torch.ones(2, 3), torch.ones(2, 3), None, "sum"), "`reduction` .* but got 'sum'"),
    ],
)
def test_errors(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dna_emd(*arguments)
