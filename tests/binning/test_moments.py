from __future__ import annotations

import numpy as np
import pytest
import torch
from cuts import CUTS, every_cut, in_parts
from golden import channels_first, load
from layouts import LAYOUTS, laid_out
from torch import Tensor

from torchmetrics_dna.binning import add_moments_
from torchmetrics_dna.binning.moments import spatial_means
from torchmetrics_dna.dna import GaussianDNA
from torchmetrics_dna.neurons import Neurons

pytestmark = pytest.mark.usefixtures("way")


def moments_of(activations: Tensor) -> Tensor:
    """Sums and sums of squares of a single layer's spatial means, ``(2, n)``."""
    moments = torch.zeros(2, activations.shape[1], dtype=torch.float64)
    add_moments_(moments, [{"activations": activations}])
    return moments


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
    np.testing.assert_allclose(spatial_means([acts]), expected.T, rtol=1e-12, atol=1e-13)


@every_cut
def test_parts_are_some_images_after_others(cut: str) -> None:
    acts = laid_out("channels last", torch.float32)
    means = acts.double().flatten(2).mean(2)
    np.testing.assert_allclose(spatial_means(CUTS[cut](acts)), means.T, rtol=1e-12, atol=1e-13)
    moments = torch.zeros(2, 2 * acts.shape[1], dtype=torch.float64)
    add_moments_(moments, in_parts(acts, cut))
    both_layers = torch.cat([2 * means, means], 1)
    np.testing.assert_allclose(
        moments, torch.stack([both_layers.sum(0), both_layers.square().sum(0)]), rtol=1e-12, atol=1e-13
    )


def test_a_small_spread_on_a_large_mean_is_kept() -> None:
    # a one-pass sum in float32 loses 1 % of this variance
    values = 8 + 0.05 * np.random.default_rng(0).standard_normal((10_000, 1))
    acts = torch.from_numpy(values.astype(np.float32))
    dna = GaussianDNA.from_moments(moments_of(acts), Neurons({"a": 1}), len(acts), "x")
    np.testing.assert_allclose(dna.var[0], values.astype(np.float32).astype(np.float64).var(ddof=1), rtol=1e-9)
