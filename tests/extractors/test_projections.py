"""Random projections of layers: directions, names and identity, and that they see what single neurons do not."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import Outputs, Pixels
from torch import Tensor

from torchmetrics_dna import (
    DNAEMD,
    ActivationRange,
    DNAExtractor,
    LayerFrechetDistance,
    NeuronWeights,
    compare,
    load_dna,
    make_dna,
)
from torchmetrics_dna.comparisons import matrix
from torchmetrics_dna.demo import photographs

PHOTOS = torch.stack([torch.from_numpy(photo.copy()) for photo in photographs(8)]).permute(0, 3, 1, 2)[..., ::4, ::4]


def extractor(projections: int = 16, seed: int = 0, layers: list[str] | None = None) -> DNAExtractor:
    return DNAExtractor(Pixels(), layers=layers, projections=projections, projection_seed=seed)


def test_directions_are_unit_vectors_of_the_seed() -> None:
    activations = extractor(5, seed=3)(PHOTOS)
    drawn = np.random.default_rng(3).standard_normal((5, 3))
    directions = drawn / np.sqrt((drawn**2).sum(1, keepdims=True))
    for layer in ("colours", "contrast", "mean"):
        values = activations[layer].double().numpy()
        unit = values / np.maximum(np.sqrt((values**2).sum(1, keepdims=True)), 1e-12)
        expected = np.einsum("kn,bn...->bk...", directions, unit)
        np.testing.assert_allclose(activations[f"{layer}:projected"], expected, rtol=0, atol=1e-6)


def test_they_are_layers_that_come_first_or_where_they_are_named() -> None:
    assert list(extractor(4, layers=["mean", "colours"]).neurons.items()) == [
        ("mean:projected", 4), ("colours:projected", 4), ("mean", 3), ("colours", 3),
    ]  # fmt: skip
    chosen = extractor(4, layers=["colours", "colours:mean:projected", "contrast:projected:mean"])
    assert dict(chosen.neurons) == {"colours": 3, "colours:mean:projected": 4, "contrast:projected:mean": 4}
    activations = chosen(PHOTOS)
    projected = extractor(4)(PHOTOS)
    means = projected["contrast:projected"].mean((2, 3))
    torch.testing.assert_close(activations["contrast:projected:mean"], means, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(activations["colours:mean:projected"], projected["mean:projected"], rtol=1e-5, atol=1e-6)


def test_packaged_networks_keep_their_layers_and_round_alike_in_any_batch() -> None:
    plain, projected = DNAExtractor(layers=["block_1"]), DNAExtractor(layers=["block_1"], projections=8)
    photos = PHOTOS[:5]
    activations = projected(photos)
    assert torch.equal(activations["block_1"], plain(photos)["block_1"])
    parts = [projected(photos[:2]), projected(photos[2:])]
    assert torch.equal(activations["block_1:projected"], torch.cat([part["block_1:projected"] for part in parts]))
    assert projected.bytes_per_image - plain.bytes_per_image == 4 * 8 * 56**2
    assert plain.ranges is not None
    assert projected.ranges is None, "ranges are of neurons, not of projections"


def swapped(images: Tensor) -> Tensor:
    """Red of one photograph, green and blue of another: each channel has the values that it had."""
    return torch.cat([images[:, :1], images[:, 1:].roll(1, 0)], 1)


def test_they_see_what_single_neurons_do_not() -> None:
    layers = ["colours:projected", "colours"]
    comparison = compare(PHOTOS, swapped(PHOTOS), extractor(layers=layers), num_bins=100, metrics=["dna-emd"])
    assert comparison.layers["colours"]["dna_emd"] == 0, "neuron by neuron, nothing has changed"
    assert comparison.layers["colours:projected"]["dna_emd"] > 1
    metric = DNAEMD(extractor(layers=layers), num_bins=100, reduction="layer")
    metric.update(PHOTOS, real=True)
    for batch in swapped(PHOTOS).split(3):
        metric.update(batch, real=False)
    values = pickle.loads(pickle.dumps(metric)).compute()
    assert values["colours:projected"] == pytest.approx(comparison.layers["colours:projected"]["dna_emd"], rel=1e-12)


def test_distances_of_layers_leave_them_out_of_the_mean() -> None:
    sides, fewer = (PHOTOS, PHOTOS.roll(1, 1) // 2), ["mean", "colours"]
    plain = compare(*sides, DNAExtractor(Pixels(), layers=fewer), metrics=["fd"], num_bins=50)
    comparison = compare(*sides, extractor(4, layers=fewer), metrics=["fd"], num_bins=50)
    assert comparison["fd"].value == plain["fd"].value
    assert (comparison.p_value, comparison["fd"].debiased, comparison.notices) == (
        plain.p_value,
        plain["fd"].debiased,
        plain.notices,
    )
    assert comparison.p_value is not None
    for layer in fewer:
        assert comparison.layers[layer] == plain.layers[layer]
    assert comparison.layers["mean:projected"]["fd"] > 0, "it is of them, too, by themselves"
    assert comparison.layers["mean:projected"]["fd_p_value"] is None
    metric = LayerFrechetDistance(extractor(4, layers=fewer))
    for images, real in zip(sides, (True, False), strict=True):
        metric.update(images, real=real)
    assert float(metric.compute()) == pytest.approx(plain["fd"].value, rel=1e-9)
    distances = matrix({"a": sides[0], "b": sides[1]}, extractor(4, layers=fewer), metrics=["fd"])
    assert distances.distances["fd"][0, 1] == pytest.approx(plain["fd"].value, rel=1e-9)
    projected = compare(*sides, extractor(4, layers=["mean:projected"]), metrics=["fd"])
    assert projected["fd"].value == pytest.approx(comparison.layers["mean:projected"]["fd"], rel=1e-9)


def test_files_say_count_and_seed(tmp_path: Path) -> None:
    dna = make_dna(PHOTOS[:4], extractor(), num_bins=50)
    dna.save(tmp_path / "a.dna.npz")
    assert load_dna(tmp_path / "a.dna.npz").digest == dna.digest
    merged = dna + make_dna(PHOTOS[4:], extractor(), num_bins=50)
    assert torch.equal(merged.counts, make_dna(PHOTOS, extractor(), num_bins=50).counts)
    for other, message in ((extractor(seed=1), r"\(projection_seed\) differ: 0 and 1"), (extractor(15), "16 and 15")):
        with pytest.raises(ValueError, match=message):
            compare(tmp_path / "a.dna.npz", PHOTOS, other)
        with pytest.raises(ValueError, match="differ"):
            compare(dna, make_dna(PHOTOS, other, num_bins=50))
        assert other.digest != extractor().digest
    weights = NeuronWeights(torch.arange(merged.neurons.total).double(), merged.neurons, merged.extractor)
    assert compare(dna, merged, neuron_weights=weights)["dna-emd"].value > 0
    learned = ActivationRange(extractor())
    learned.update(PHOTOS)
    assert make_dna(PHOTOS, extractor(), ranges=learned.to_ranges(), num_bins=50).ranges is not None


def test_a_layer_of_projections_has_64_unless_said_otherwise() -> None:
    for more, count in (({}, 64), ({"projections": 9}, 9)):
        projected = DNAExtractor(Pixels(), layers=["mean", "mean:projected"], **more)
        assert dict(projected.neurons)["mean:projected"] == count
        assert projected.preparation["projections"] == count


def test_what_is_wrong_is_said_at_once() -> None:
    for call, message in (
        (lambda: extractor(0), "`projections` expected to be an integer of at least 1, but got 0"),
        (lambda: extractor(True), "`projections` expected to be an integer"),
        (lambda: extractor(seed=-1), "`projection_seed` expected to be an integer of at least 0"),
        (lambda: DNAExtractor("properties", projections=3), "`projections` is for layers of a network"),
        (lambda: DNAExtractor(Outputs(lambda x: x.float()), layers=["output:projections"]), "Unknown view"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
