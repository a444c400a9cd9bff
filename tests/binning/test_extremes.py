from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from cuts import CUTS, in_parts
from layouts import LAYOUTS, laid_out

from torchmetrics_dna.binning.extremes import activation_extremes, split_extremes
from torchmetrics_dna.extras import without_numba

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True, params=["numba", "torch"])
def _found_by(request: pytest.FixtureRequest) -> Iterator[None]:
    with without_numba(request.param == "torch"):
        yield


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("layout", [layout for layout in LAYOUTS if layout not in ("no images", "no positions")])
def test_extremes_of_any_layout(layout: str, dtype: torch.dtype) -> None:
    values = laid_out(layout, dtype)
    of_neurons = [neuron.double() for neuron in values.unbind(1)]
    # another layer first, so that neurons are numbered across layers
    extremes = activation_extremes([{"first": torch.tensor([[-3.0, 4.0]] * len(values)).to(dtype), "second": values}])
    low, high = split_extremes(extremes)
    np.testing.assert_array_equal(low, [-3, 4, *(neuron.min() for neuron in of_neurons)])
    np.testing.assert_array_equal(high, [-3, 4, *(neuron.max() for neuron in of_neurons)])


@pytest.mark.parametrize("cut", [cut for cut in CUTS if cut != "with an empty part"])  # which has no extremes
def test_extremes_of_parts(cut: str) -> None:
    values = laid_out("convolution", torch.float32)
    low, high = split_extremes(activation_extremes(in_parts(values, cut)))
    flat = values.transpose(0, 1).flatten(1).double()
    np.testing.assert_array_equal(low, torch.cat([2 * flat, flat]).amin(1))
    np.testing.assert_array_equal(high, torch.cat([2 * flat, flat]).amax(1))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("layout", ["convolution", "channels last", "tokens", "pooled", "many positions", "a window"])
def test_a_value_that_is_not_finite_is_refused_wherever_it_is(layout: str, bad: float) -> None:
    values = laid_out(layout, torch.float32)
    for place in (0, values.numel() // 2, values.numel() - 1):
        spoilt = values.clone()
        spoilt[np.unravel_index(place, tuple(values.shape))] = bad
        with pytest.raises(ValueError, match="Layer 'spoilt' gives activations that are NaN or infinite"):
            activation_extremes([{"good": values, "spoilt": spoilt}])
