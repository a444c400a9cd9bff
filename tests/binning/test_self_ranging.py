from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

from torchmetrics_dna import DNAExtractor
from torchmetrics_dna.binning import Activations, add_counts_
from torchmetrics_dna.binning.self_ranging import Grid, dyadic_grid
from torchmetrics_dna.statistics import SelfRangingStatistic

pytestmark = pytest.mark.usefixtures("way")

# numbers of very different size, constants, zeros, and signs of both kinds
value = st.one_of(
    st.floats(-(2.0**100), 2.0**100, width=32), st.floats(-2, 2, width=32), st.sampled_from([0.0, 3.25, -(2.0**-66)])
)
samples = arrays(np.float32, st.tuples(st.integers(1, 7), st.just(3), st.integers(1, 3)), elements=value)
bins = st.sampled_from([2, 3, 8, 100])


def counted(values: np.ndarray, num_bins: int) -> tuple[Grid, Tensor]:
    acts = torch.from_numpy(values)
    grid = dyadic_grid(acts.amin((0, 2)).double(), acts.amax((0, 2)).double(), num_bins)
    counts = torch.zeros(3, num_bins, dtype=torch.int64)
    add_counts_(counts, Activations({"a": acts[:, :2], "b": acts[:, 2:]}), grid.bins(num_bins))
    return grid, counts


@settings(max_examples=40)
@given(samples, bins)
def test_counts_equal_numpy_on_the_finest_grid_that_holds_the_data(values: np.ndarray, num_bins: int) -> None:
    grid, counts = counted(values, num_bins)
    for neuron in range(3):
        x = values[:, neuron].ravel().astype(np.float64)
        width, start = 2.0 ** int(grid.exponent[neuron]), int(grid.start[neuron])
        index = np.floor(x / width) - start
        assert index.min() == 0
        np.testing.assert_array_equal(np.bincount(index.astype(int), minlength=num_bins), counts[neuron])
        finest = max(np.frexp(np.abs(x).max())[1] - 40, -160) if x.any() else -160
        if grid.exponent[neuron] > finest:  # one step finer would not do
            half = np.floor(x / (width / 2))
            assert half.max() - half.min() >= num_bins


class Echo(torch.nn.Module):
    """Network whose activations are its images."""

    def forward(self, imgs: Tensor) -> Tensor:
        return imgs


@given(st.lists(samples, min_size=1, max_size=4), bins)
@example([np.zeros((1, 3, 1), np.float32), -np.zeros((1, 3, 1), np.float32)], 2)
@settings(max_examples=20)
def test_a_statistic_depends_on_the_data_alone(parts: list[np.ndarray], num_bins: int) -> None:
    statistic = SelfRangingStatistic(DNAExtractor(Echo(), input_size=4), num_bins)
    batches = [{"output": torch.from_numpy(part)} for part in parts]
    one_by_one, merged = statistic.empty("cpu"), statistic.empty("cpu")
    for batch in batches:
        statistic.add_(one_by_one, Activations(batch))
    for batch in reversed(batches):
        single = statistic.empty("cpu")
        statistic.add_(single, Activations(batch))
        statistic.merge_(merged, single)
    assert all(torch.equal(one_by_one[name], merged[name]) for name in statistic.fields)
    grown = statistic.value(one_by_one, statistic.extractor.origin)
    whole = np.concatenate([part.swapaxes(0, 1).reshape(3, -1) for part in parts], 1)[None]
    assert torch.equal(grown.counts, counted(whole, num_bins)[1])
    united = [statistic.value(side, statistic.extractor.origin) for side in (merged, statistic.empty("cpu"))]
    assert united[1].merge(united[0]).digest == grown.digest
