from __future__ import annotations

from itertools import accumulate

import numpy as np
import pytest
import torch
from golden import channels_first, load
from scipy.stats import wasserstein_distance
from torch import Tensor

from torchmetrics_dna.functional import dna_realism, dna_realism_map

GOLDEN = load("histogram.npz")


def bounds(layer: str) -> tuple[Tensor, Tensor]:
    return tuple(torch.from_numpy(GOLDEN[f"range_{end}-{layer}"]) * 1.2 for end in ("min", "max"))


def bins_of(values: np.ndarray, low: float, high: float, num_bins: int) -> np.ndarray:
    scaled = (np.clip((values - (low + high) / 2) / ((high - low) / 2 + 1e-8), -1, 1) + 1) * num_bins / 2
    return np.minimum(np.floor(scaled), num_bins - 1).astype(int)


def costs_by_transport(bins: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Move sorted activations to the sorted bins of the reference, in steps that divide both, by a loop."""
    size = np.lcm(len(bins), counts.sum())
    targets = np.repeat(np.repeat(np.arange(len(counts)), counts), size // counts.sum())
    order = np.argsort(bins, kind="stable")
    each = np.empty(len(bins))
    each[order] = np.abs(targets.reshape(len(bins), -1) - bins[order, None]).mean(1)
    return np.array([each[bins == own].mean() for own in bins])  # equal activations pay alike


@pytest.mark.parametrize("num_bins", [1000, 50, 7])
@pytest.mark.parametrize("layer", GOLDEN["layers"].tolist())
def test_the_mean_of_a_map_is_the_score(layer: str, num_bins: int) -> None:
    activations = channels_first(GOLDEN[f"acts-{layer}"], str(GOLDEN[f"layout-{layer}"]))
    reference = torch.from_numpy(GOLDEN[f"counts-B{num_bins}-{layer}"])
    pool = reference.flip(1) + reference
    weights = torch.from_numpy(np.random.default_rng(0).normal(size=len(reference)))
    for options in ({}, {"weights": weights}, {"contrast_counts": pool}):
        scores = dna_realism(activations, reference, *bounds(layer), **options)
        maps = dna_realism_map(activations, reference, *bounds(layer), **options)["activations"]
        assert maps.shape == (len(activations), *activations.shape[2:])
        np.testing.assert_allclose(maps.flatten(1).mean(1) if maps.ndim > 1 else maps, scores, rtol=0, atol=1e-9)
    # without the package's own score: scipy's distance between the bins of image and reference
    low, high = bounds(layer)
    maps = dna_realism_map(activations[:1], reference, low, high)["activations"]
    values = activations[0].flatten(1) if activations.ndim > 2 else activations[0][:, None]
    expected = [
        wasserstein_distance(
            bins_of(own.double().numpy(), float(low[i]), float(high[i]), num_bins), range(num_bins), None, reference[i]
        )
        for i, own in enumerate(values)
    ]
    assert float(maps.mean()) == pytest.approx(np.mean(expected), abs=1e-9)


@pytest.mark.parametrize("positions", [(), (7,), (3, 4), (2, 3, 2)])
def test_each_position_pays_for_its_own_activation(positions: tuple[int, ...]) -> None:
    random = np.random.default_rng(0)
    layers = {"a": torch.rand(2, 3, *positions), "b": torch.rand(2, 2, *positions).round(decimals=1)}
    counts = random.integers(0, 3, (5, 10))
    counts[:, 4] += 1
    weights = random.normal(size=5)
    maps = dna_realism_map(
        layers, torch.from_numpy(counts), torch.zeros(5), torch.ones(5), weights=torch.from_numpy(weights)
    )
    starts = dict(zip(layers, accumulate([0, 3]), strict=True))
    for layer, values in layers.items():
        for image in range(2):
            neurons = values[image].flatten(1) if positions else values[image][:, None]
            expected = sum(
                weights[starts[layer] + i]
                * costs_by_transport(bins_of(own.double().numpy(), 0, 1, 10), counts[starts[layer] + i])
                for i, own in enumerate(neurons)
            )
            np.testing.assert_allclose(maps[layer][image].flatten(), expected, rtol=0, atol=1e-9)


def test_references_without_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="A neuron of the reference has no counts"):
        dna_realism_map(torch.rand(1, 1, 2), torch.zeros(1, 5, dtype=torch.int64), torch.zeros(1), torch.ones(1))
    with pytest.raises(ValueError, match="NaN or infinite"):
        dna_realism_map(torch.full((1, 1, 2), torch.nan), torch.ones(1, 5).long(), torch.zeros(1), torch.ones(1))
