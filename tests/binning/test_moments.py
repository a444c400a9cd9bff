from __future__ import annotations

import numpy as np
import pytest
import torch
from cuts import every_cut, in_parts
from golden import channels_first, load
from layouts import LAYOUTS, laid_out
from torch import Tensor

from torchmetrics_dna.binning import Activations
from torchmetrics_dna.binning.moments import image_moments
from torchmetrics_dna.dna import GaussianDNA
from torchmetrics_dna.neurons import Neurons

pytestmark = pytest.mark.usefixtures("way")


def moments_of(activations: Tensor) -> Tensor:
    """Sums and sums of squares of a single layer's spatial means, ``(2, n)``."""
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
    moments = image_moments(Activations(*in_parts(acts, cut)))
    np.testing.assert_allclose(moments, torch.stack([both_layers, both_layers.square()], 1), rtol=1e-12, atol=1e-13)


def test_a_small_spread_on_a_large_mean_is_kept() -> None:
    # a one-pass sum in float32 loses 1 % of this variance
    values = 8 + 0.05 * np.random.default_rng(0).standard_normal((10_000, 1))
    acts = torch.from_numpy(values.astype(np.float32))
    dna = GaussianDNA.from_moments(moments_of(acts), Neurons({"a": 1}), len(acts), "x")
    np.testing.assert_allclose(dna.var[0], values.astype(np.float32).astype(np.float64).var(ddof=1), rtol=1e-9)
