from __future__ import annotations

import numpy as np
import pytest
import torch
from layouts import LAYOUTS, laid_out

from torchmetrics_dna.binning.activations import Activations, split_extremes


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("layout", [layout for layout in LAYOUTS if layout not in ("no images", "no positions")])
def test_extremes_of_any_layout(layout: str, dtype: torch.dtype) -> None:
    values = laid_out(layout, dtype)
    of_neurons = [neuron.double() for neuron in values.unbind(1)]
    # another layer first, so that neurons are numbered across layers
    batch = Activations({"first": torch.tensor([[-3.0, 4.0]] * len(values)).to(dtype), "second": values})
    low, high = split_extremes(batch.extremes)
    np.testing.assert_array_equal(low, [-3, 4, *(neuron.min() for neuron in of_neurons)])
    np.testing.assert_array_equal(high, [-3, 4, *(neuron.max() for neuron in of_neurons)])


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("layout", ["convolution", "channels last", "tokens", "pooled", "many positions", "a window"])
@pytest.mark.parametrize("known", ["nothing", "extremes", "means"])
def test_a_value_that_is_not_finite_is_refused_wherever_it_is(layout: str, bad: float, known: str) -> None:
    values = laid_out(layout, torch.float32)
    for place in (0, values.numel() // 2, values.numel() - 1):
        spoilt = values.clone()
        spoilt[np.unravel_index(place, tuple(values.shape))] = bad
        batch = Activations({"good": values, "spoilt": spoilt})
        if known == "extremes":
            assert not batch.extremes.isfinite().all()
        elif known == "means":
            assert not batch.means("spoilt").isfinite().all()
        for wait in ({}, {"wait": True}, {"wait": False}):  # on the CPU there is nothing to wait for
            with pytest.raises(ValueError, match="Layer 'spoilt' gives activations that are NaN or infinite"):
                batch.check(**wait)


def test_a_check_waits_for_a_device_unless_it_is_said_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = Activations({"spoilt": torch.full((2, 3), float("nan"))})
    monkeypatch.setattr(Activations, "device", torch.device("cuda"))
    batch.check(wait=False)
    for wait in ({}, {"wait": True}):
        with pytest.raises(ValueError, match="Layer 'spoilt' gives activations that are NaN or infinite"):
            batch.check(**wait)
