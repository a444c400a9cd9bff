from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from cuts import every_cut, in_parts
from golden import channels_first, load
from layouts import LAYOUTS, laid_out
from torch import Tensor

from torchmetrics_dna import DNAExtractor, DNAFrechet
from torchmetrics_dna.binning import Activations
from torchmetrics_dna.binning.moments import image_moments, mean_and_variance
from torchmetrics_dna.dna import GaussianDNA
from torchmetrics_dna.neurons import Neurons

pytestmark = pytest.mark.usefixtures("way")


def moments_of(activations: Tensor) -> Tensor:
    """Sums of a single layer's spatial means and their squares, ``(4, n)``."""
    return image_moments(Activations({"activations": activations})).sum(0)


@pytest.mark.parametrize("side", ["A", "B"])
def test_moments_give_the_official_gaussians(side: str) -> None:
    golden = load("distances.npz")
    for layer in golden["layers"]:
        acts = channels_first(golden[f"acts_{side}-{layer}"], str(golden[f"layout-{layer}"]))
        dna = GaussianDNA.from_moments(moments_of(acts), Neurons({layer: acts.shape[1]}), len(acts), "golden")
        # the official means are taken in float32
        np.testing.assert_allclose(dna.mean, golden[f"lg_mu_{side}-{layer}"], rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(dna.var, np.diag(golden[f"lg_sigma_{side}-{layer}"]), rtol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("layout", [layout for layout in LAYOUTS if layout != "no positions"])
def test_means_of_any_layout(layout: str, dtype: torch.dtype) -> None:
    acts = laid_out(layout, dtype)
    expected = acts.double().flatten(2).mean(2) if acts.ndim > 2 else acts.double()
    np.testing.assert_allclose(Activations({"x": acts}).means("x"), expected, rtol=1e-12, atol=1e-13)


@every_cut
def test_parts_are_some_images_after_others(cut: str) -> None:
    acts = laid_out("channels last", torch.float32)
    means = acts.double().flatten(2).mean(2)
    both_layers = torch.cat([2 * means, means], 1)
    coarse, squares, rest, beyond = image_moments(Activations(*in_parts(acts, cut))).unbind(1)
    np.testing.assert_allclose(coarse + rest, both_layers, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(squares + beyond, both_layers.square(), rtol=1e-12, atol=1e-13)
    assert (rest.abs() <= 2.0**-14 * both_layers.abs()).all()


def test_a_small_spread_on_a_large_mean_is_kept() -> None:
    # a one-pass sum in float32 loses 1 % of this variance
    values = 8 + 0.05 * np.random.default_rng(0).standard_normal((10_000, 1))
    acts = torch.from_numpy(values.astype(np.float32))
    dna = GaussianDNA.from_moments(moments_of(acts), Neurons({"a": 1}), len(acts), "x")
    np.testing.assert_allclose(dna.var[0], values.astype(np.float32).astype(np.float64).var(ddof=1), rtol=1e-9)


draw = np.random.default_rng(0).standard_normal
LARGE_MEANS = {
    "9 copies of one image": np.full(9, 11_697.123456),
    "copies of two": np.repeat([11_697.123456, 11_697.123457], [7, 4]),
    "a spread of 1e-6": 1e3 + 1e-3 * draw(3_000),
    "about a power of two": 8_192 + 1e-2 * draw(500),
    "negative": -1e6 + draw(1_000),
    "of all sizes": draw(2_000) * 10.0 ** np.random.default_rng(1).integers(-9, 9, 2_000),
    "one image": np.array([11_697.123456]),
    "zeros": np.zeros(5),
}


@pytest.mark.parametrize("name", LARGE_MEANS)
def test_moments_do_not_cancel(name: str) -> None:
    """Against exact fractions; in any order and in any parts, such as those of processes."""
    values = LARGE_MEANS[name]
    exact = [Fraction(float(value)) for value in values]
    mean = sum(exact) / len(exact)
    var = sum((value - mean) ** 2 for value in exact) / max(1, len(exact) - 1)
    for order in (slice(None), slice(None, None, -1)):
        for begin in (0, 1, len(values) // 3):
            parts = [torch.from_numpy(part.copy())[:, None] for part in np.split(values[order], [begin])]
            sums = torch.stack([moments_of(part) for part in parts if len(part)]).sum(0)
            got_mean, got_var = mean_and_variance(sums, len(values))
            np.testing.assert_allclose(got_mean, [float(mean)], rtol=1e-13, atol=1e-13 * np.abs(values).max())
            deviation = np.sqrt(float(var))
            np.testing.assert_allclose(got_var.sqrt(), [deviation], rtol=1e-9, atol=1e-9 * abs(float(mean)))


def test_copies_of_one_image_have_no_deviation() -> None:
    """Where the activations of an image are large: bytes, as they are, of a network that sums 100 of them."""
    network = torch.nn.Conv2d(3, 2, 5, bias=False)
    torch.nn.init.ones_(network.weight)
    images = torch.randint(100, 256, (1, 3, 8, 9), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    extractor = DNAExtractor(network, input_size=(8, 9), mean=(0.0,) * 3, std=(1 / 255,) * 3)
    metric = DNAFrechet(extractor, num_folds=5)
    for count in (1, 5, 3):
        metric.update(images.repeat(count, 1, 1, 1), real=True)
    dna = metric.to_dna(real=True)
    assert dna.mean.min() > 11_697
    for each in (dna, *dna.folds):
        assert each.var.sqrt().max() <= 1e-9 * dna.mean.max()
