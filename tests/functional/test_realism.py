from __future__ import annotations

from itertools import accumulate

import numpy as np
import pytest
import torch
from cuts import every_cut, in_parts
from golden import channels_first, load
from layouts import laid_out
from torch import Tensor

from torchmetrics_dna.binning import Activations, bins_within
from torchmetrics_dna.functional import activation_histogram, dna_emd, dna_realism, dna_realism_map, heat
from torchmetrics_dna.functional.realism import realism_of

pytestmark = pytest.mark.usefixtures("way")

GOLDEN = load("histogram.npz")


def bounds(layer: str) -> tuple[Tensor, Tensor]:
    return tuple(torch.from_numpy(GOLDEN[f"range_{end}-{layer}"]) * 1.2 for end in ("min", "max"))


def emd(counts_a: Tensor, counts_b: Tensor, weights: Tensor | None = None) -> float:
    """Area between cumulative shares by numpy, as the mean over neurons or their weighted sum."""
    shares = [counts.numpy().cumsum(1) / counts.numpy().sum(1, keepdims=True) for counts in (counts_a, counts_b)]
    areas = np.abs(shares[0] - shares[1]).sum(1)
    return float(areas.mean() if weights is None else areas @ weights.numpy())


@pytest.mark.parametrize("bins", [1000, 7])
@pytest.mark.parametrize("layer", GOLDEN["layers"].tolist())
def test_a_score_is_a_distance_and_a_contrast_the_difference_of_two(layer: str, bins: int) -> None:
    activations = channels_first(GOLDEN[f"acts-{layer}"], str(GOLDEN[f"layout-{layer}"]))
    reference = torch.from_numpy(GOLDEN[f"counts-B{bins}-{layer}"])
    pool = activation_histogram(activations[1:], *bounds(layer), bins)
    scores = dna_realism(activations, reference, *bounds(layer))
    contrasted = dna_realism(activations, reference, *bounds(layer), contrast_counts=pool)
    for image, score, difference in zip(activations, scores, contrasted, strict=True):
        counts = activation_histogram(image[None], *bounds(layer), bins)
        assert float(score) == pytest.approx(emd(counts, reference), abs=1e-9)
        assert float(difference) == pytest.approx(emd(counts, reference) - emd(counts, pool), abs=1e-9)
    with pytest.raises(ValueError, match="`contrast_counts` expected to have the shape"):
        dna_realism(activations, reference, *bounds(layer), contrast_counts=pool[:, 1:])


@every_cut
@pytest.mark.parametrize("layout", ["convolution", "channels last", "tokens", "pooled", "a window", "no images"])
def test_parts_score_like_the_whole(layout: str, cut: str) -> None:
    values = laid_out(layout, torch.float32)
    neurons = 2 * values.shape[1]
    reference = torch.randint(1, 9, (neurons, 30), generator=torch.Generator().manual_seed(0))
    bounds = torch.full((neurons,), -2.0), torch.full((neurons,), 2.0)
    expected = dna_realism({"double": values * 2, "activations": values}, reference, *bounds)
    parts = realism_of(Activations(*in_parts(values, cut)), reference[None], bins_within(*bounds, 30), weights=None)[0]
    torch.testing.assert_close(parts, expected, rtol=0, atol=1e-12)


@pytest.mark.usefixtures("one_thread")
def test_many_neurons_score_alike_on_any_number_of_threads() -> None:
    generator = torch.Generator().manual_seed(0)
    activations = torch.rand(3, 70_001, 2, generator=generator)
    reference = torch.randint(1, 99, (70_001, 5), generator=generator)
    bounds = torch.zeros(70_001), torch.ones(70_001)
    scores, distance = dna_realism(activations, reference, *bounds), dna_emd(reference, reference.flip(1))
    torch.testing.assert_close(distance, dna_emd(reference, reference.flip(1), reduction="none").mean())
    for threads in (2, 3):
        torch.set_num_threads(threads)
        assert torch.equal(dna_realism(activations, reference, *bounds), scores)
        assert torch.equal(dna_realism(activations[:1], reference, *bounds), scores[:1])
        assert torch.equal(dna_emd(reference, reference.flip(1)), distance)


def test_images_of_more_positions_than_16_bits_count() -> None:
    activations = torch.zeros(2, 3, 250, 300)
    activations[1] = 1
    reference = torch.tensor([[1, 0, 0, 3]] * 3)
    # bins away: a quarter or three quarters of the reference, three bins each
    assert dna_realism(activations, reference, torch.zeros(3), torch.ones(3)).tolist() == [2.25, 0.75]


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


@pytest.mark.parametrize("num_bins", [1000, 7])
@pytest.mark.parametrize("layer", GOLDEN["layers"].tolist())
def test_the_mean_of_a_map_is_the_score(layer: str, num_bins: int) -> None:
    activations = channels_first(GOLDEN[f"acts-{layer}"], str(GOLDEN[f"layout-{layer}"]))
    reference = torch.from_numpy(GOLDEN[f"counts-B{num_bins}-{layer}"])
    weights = torch.from_numpy(np.random.default_rng(0).normal(size=len(reference)))
    for options in ({}, {"weights": weights}, {"contrast_counts": reference.flip(1) + reference}):
        scores = dna_realism(activations, reference, *bounds(layer), **options)
        maps = dna_realism_map(activations, reference, *bounds(layer), **options)["activations"]
        assert maps.shape == (len(activations), *activations.shape[2:])
        np.testing.assert_allclose(maps.flatten(1).mean(1) if maps.ndim > 1 else maps, scores, rtol=0, atol=1e-9)


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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"low": torch.zeros(3)}, "Expected bounds of the 2 neurons"),
        ({"activations": torch.zeros(1, 1, 2)}, r"of the 2 neurons that the reference has, but got \[\(1, 1, 2\)\]"),
        ({"activations": torch.full((1, 2, 2), torch.nan)}, "'activations' gives activations that are NaN or infinite"),
        ({"reference_counts": torch.tensor([[1, 1], [0, 0]])}, "A neuron of the reference has no counts"),
        ({"reference_counts": torch.ones(2).long()}, r"expected to have shape \(N, num_bins\), but got \(2,\)"),
        ({"weights": torch.ones(3)}, r"expected to have shape \(2,\)"),
    ],
)
def test_bad_input(changes: dict[str, Tensor], message: str) -> None:
    names = ("activations", "reference_counts", "low", "high")
    values = torch.zeros(1, 2, 2), torch.ones(2, 2).long(), torch.zeros(2), torch.ones(2)
    for score in (dna_realism, dna_realism_map):
        with pytest.raises(ValueError, match=message):
            score(**dict(zip(names, values, strict=True)) | changes)


@pytest.mark.parametrize("side", [7, 56])
def test_means_are_kept_whatever_the_layout(side: int) -> None:
    generator = torch.Generator().manual_seed(0)
    maps = {
        "grid": torch.rand(2, 8, 8, generator=generator),
        "odd": torch.rand(2, 5, 3, generator=generator),
        "tokens": torch.rand(2, 17, generator=generator),  # a class token and 4 x 4 patches
        "pooled": torch.rand(2, generator=generator),
        "volume": torch.rand(2, 2, 3, 4, generator=generator),
    }
    joined = heat(maps, side=side)
    assert joined.shape == (2, side, side)
    expected = sum(values.double().reshape(2, -1).mean(1) for values in maps.values())
    np.testing.assert_allclose(joined.mean((1, 2)), expected, rtol=1e-6)
    with pytest.raises(ValueError, match="the map of a layer or more, but got none"):
        heat({}, side=side)


def test_positions_stay_where_they_are() -> None:
    grid = torch.zeros(1, 4, 4)
    grid[0, 1, 2] = 16
    expected = np.kron(grid[0].numpy(), np.ones((2, 2)))
    np.testing.assert_allclose(heat({"a": grid}, side=8)[0], expected, atol=1e-6)
    tokens = torch.cat([torch.tensor([[17.0]]), grid.flatten(1)], 1)
    np.testing.assert_allclose(heat({"a": tokens}, side=4)[0], 1 + grid[0].numpy() * 16 / 17, rtol=1e-6)
