from __future__ import annotations

import numpy as np
import pytest
import torch
from golden import load
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from torchmetrics_dna.functional import dna_frechet


@pytest.mark.parametrize("prefix", ["", "special-"])
def test_official_distances(prefix: str) -> None:
    golden = load("distances.npz")
    all_gaussians = []
    for layer in golden[f"{prefix}layers"]:
        gaussians = []
        for side in "AB":
            gaussians.append(torch.from_numpy(golden[f"{prefix}lg_mu_{side}-{layer}"]))
            gaussians.append(torch.from_numpy(golden[f"{prefix}lg_sigma_{side}-{layer}"]).diagonal())
        neuron = dna_frechet(*gaussians, reduction="none")
        # where a tiny variance sits on a large mean the official form cancels, hence the absolute part
        np.testing.assert_allclose(neuron, golden[f"{prefix}nfd64_neuron-{layer}"], rtol=1e-6, atol=1e-12)
        np.testing.assert_allclose(dna_frechet(*gaussians), golden[f"{prefix}nfd64_layer-{layer}"], rtol=1e-6)
        all_gaussians.append(gaussians)
    joined = [torch.cat(part) for part in zip(*all_gaussians, strict=True)]
    np.testing.assert_allclose(dna_frechet(*joined), golden[f"{prefix}nfd64_avg"], rtol=1e-6)


means = arrays(np.float64, 5, elements=st.floats(-1e3, 1e3))
variances = arrays(np.float64, 5, elements=st.floats(0, 1e3))


@settings(max_examples=40)
@given(means, variances, means, variances)
def test_equation_and_metric_laws(mean_a: np.ndarray, var_a: np.ndarray, mean_b: np.ndarray, var_b: np.ndarray) -> None:
    a, b = map(torch.from_numpy, (mean_a, var_a)), map(torch.from_numpy, (mean_b, var_b))
    a, b = tuple(a), tuple(b)
    distances = dna_frechet(*a, *b, reduction="none")
    expected = (mean_a - mean_b) ** 2 + var_a + var_b - 2 * np.sqrt(var_a * var_b)
    np.testing.assert_allclose(distances, expected, rtol=1e-9, atol=1e-9)
    assert (distances >= 0).all()
    assert torch.equal(distances, dna_frechet(*b, *a, reduction="none"))
    assert dna_frechet(*a, *a) == 0


def test_weights_are_those_of_the_paper() -> None:
    arguments = (torch.tensor([0.0, 1.0]), torch.ones(2), torch.tensor([2.0, 4.0]), torch.ones(2))
    assert dna_frechet(*arguments, torch.tensor([1.0, -0.5])) == 4 - 4.5
    assert dna_frechet(*arguments, torch.tensor([1.0, -0.5]), "none").tolist() == [8, -9]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.ones(2), torch.ones(2), torch.ones(3), torch.ones(3)), "of one shape"),
        ((torch.ones(2), torch.ones(2), torch.ones(2), torch.tensor([1, float("nan")])), "negative or NaN"),
        ((torch.ones(2), torch.ones(2), torch.tensor([1, float("nan")]), torch.ones(2)), "neuron 1 has NaN"),
        ((*[torch.ones(2)] * 4, torch.ones(1)), r"shape \(2,\)"),
        ((*[torch.ones(2)] * 4, None, "layer"), "but got 'layer'"),
    ],
)
def test_errors(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dna_frechet(*arguments)
