"""LayerFrechetDistance: all that is particular to it; tests/metrics/test_contract.py has the rest."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from golden import GOLDEN, load
from makers import EXTRACTOR, FAKE, REAL, fed, frechet, layer_frechet
from networks import random_images
from scipy.linalg import sqrtm
from torch import Tensor
from torchmetrics.image.fid import FrechetInceptionDistance

from torchmetrics_dna import DNAExtractor, LayerFrechetDistance
from torchmetrics_dna.images import open_source
from torchmetrics_dna.images.resize import resize_image

LAYERS = list(EXTRACTOR.neurons)


def expected(a: Tensor, b: Tensor) -> list[float]:
    """Eq. E7 of each layer of Pixels, by numpy and scipy."""
    distances = []
    for layer in (lambda x: x.mean((2, 3)), lambda x: (x[:, :, -1] - x[:, :, 0]).mean(2) / (x.shape[2] - 1)):
        x, y = (layer(images.numpy().astype(np.float64)) for images in (a, b))
        root = np.trace(np.real(sqrtm(np.cov(x.T) @ np.cov(y.T))))
        distances.append(
            np.square(x.mean(0) - y.mean(0)).sum() + np.trace(np.cov(x.T)) + np.trace(np.cov(y.T)) - 2 * root
        )
    return [distances[0], distances[1], distances[0]]  # the third layer is the spatial mean of the first


def test_it_equals_scipy() -> None:
    values = fed(layer_frechet(reduction="none")).compute()
    np.testing.assert_allclose(values, expected(REAL, FAKE), rtol=1e-6)
    torch.testing.assert_close(fed(layer_frechet()).compute(), values.mean())
    by_layer = fed(layer_frechet(reduction="layer")).compute()
    assert by_layer == dict(zip(LAYERS, values, strict=True))


def test_the_diagonals_give_dna_fd() -> None:
    dnas = [fed(layer_frechet()).to_dna(real).to_gaussian() for real in (True, False)]
    torch.testing.assert_close(dnas[0].distances(dnas[1]).mean(), fed(frechet()).compute(), rtol=1e-9, atol=0)


def test_of_one_layer_it_is_fid() -> None:
    extractor = DNAExtractor("efficientnet_lite0", layers=["block_0"])
    ours, fid = LayerFrechetDistance(extractor), FrechetInceptionDistance(extractor.pooled("block_0"))
    fid.set_dtype(torch.float64)
    for metric in (ours, fid):
        fed(metric, random_images(40, 0, (64, 64)), random_images(30, 1, (64, 64)) // 2)
    assert float(ours.compute()) == pytest.approx(float(fid.compute()), rel=1e-6)


def test_layer_weights_are_taken_as_they_are() -> None:
    values = fed(layer_frechet(reduction="none")).compute()
    weights = torch.tensor([0.5, -1.0, 2.0])
    by_name = {"mean": 2.0, "colours": 0.5, "contrast": -1.0}
    for layer_weights in (weights, by_name):
        metric = fed(layer_frechet(layer_weights=layer_weights))
        torch.testing.assert_close(metric.compute(), (weights.double() * values).sum())
        terms = fed(layer_frechet(layer_weights=layer_weights, reduction="layer")).compute()
        torch.testing.assert_close(torch.stack(list(terms.values())).mean(), metric.compute())


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"colours": 1.0}, "expected to have the layers colours, contrast, mean, but got colours"),
        ({}, "but got none"),
        (torch.ones(9), r"Layer weights expected to have shape \(3,\), but got \(9,\)"),
        (dict.fromkeys(LAYERS, float("nan")), "Layer weights expected to be finite, but layer 0 has NaN"),
    ],
)
def test_bad_weights(weights: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        layer_frechet(layer_weights=weights)


@pytest.mark.parametrize(("sides", "prefix"), [(("a", "b"), ""), (("fd_a", "fd_b"), "fdset_")])
def test_official_distances_of_pictures(sides: tuple[str, str], prefix: str, default_extractor: DNAExtractor) -> None:
    golden = load("endtoend/endtoend.npz")
    metric = LayerFrechetDistance(default_extractor, normalize=True, reduction="layer")
    for side in sides:
        pictures = [resize_image(image, (224, 224)) for image in open_source(GOLDEN / "endtoend" / side)]
        for batch in torch.from_numpy(np.stack(pictures)).split(8):
            metric.update(batch, real=side == sides[0])
    for layer, value in metric.compute().items():
        full_rank = prefix and bool(golden[f"fdset_full_rank-{layer}"])
        for by in ("vdna", "exact"):
            official = float(golden[f"{prefix}fd_layer_{by}-{layer}"])
            assert float(value) == pytest.approx(official, rel=1e-6 if full_rank else 1e-5)
