from __future__ import annotations

import numpy as np
import pytest
import torch
from golden import channels_first, load
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

from torchmetrics_dna import ActivationRanges, Neurons
from torchmetrics_dna.binning import add_counts_
from torchmetrics_dna.functional import activation_histogram


def golden_bounds(golden: dict[str, np.ndarray], layer: str) -> tuple[Tensor, Tensor]:
    low, high = (torch.from_numpy(golden[f"range_{end}-{layer}"]) for end in ("min", "max"))
    return ActivationRanges(low, high, Neurons({layer: len(low)}), "scale").bounds()


@pytest.mark.parametrize("name", ["histogram.npz", "distances.npz"])
@pytest.mark.parametrize("num_bins", [1000, 50, 7])
def test_counts_equal_the_official_ones_cell_by_cell(name: str, num_bins: int) -> None:
    golden = load(name)
    sets = [("acts", "counts")] if name == "histogram.npz" else [("acts_A", "counts_A"), ("acts_B", "counts_B")]
    for layer in golden["layers"]:
        low, high = golden_bounds(golden, layer)
        for acts, counts in sets:
            values = channels_first(golden[f"{acts}-{layer}"], str(golden[f"layout-{layer}"]))
            found = activation_histogram(values, low, high, num_bins)
            np.testing.assert_array_equal(found.numpy(), golden[f"{counts}-B{num_bins}-{layer}"])


def test_batches_add_up_to_the_official_counts() -> None:
    golden = load("histogram.npz")
    layers = [str(layer) for layer in golden["layers"]]
    acts = {la: channels_first(golden[f"acts-{la}"], str(golden[f"layout-{la}"])) for la in layers}
    low, high = (torch.cat(ends) for ends in zip(*(golden_bounds(golden, la) for la in layers), strict=True))
    counts = torch.zeros(len(low), 1000, dtype=torch.int64)
    start = 0
    for size in golden["batch_sizes"]:
        add_counts_(counts, {la: acts[la][start : start + size] for la in layers}, low, high)
        start += size
    np.testing.assert_array_equal(counts.numpy(), np.concatenate([golden[f"counts-B1000-{la}"] for la in layers]))


def by_numpy(values: np.ndarray, low: np.ndarray, high: np.ndarray, num_bins: int) -> np.ndarray:
    """Section 4 and Eq. (1), (2), written out once more, without torch and neuron by neuron."""
    counts = np.zeros((values.shape[1], num_bins), np.int64)
    for neuron in range(values.shape[1]):
        centre, half = (low[neuron] + high[neuron]) / 2, (high[neuron] - low[neuron]) / 2 + 1e-8
        z = np.clip((values[:, neuron].astype(np.float64) - centre) / half, -1, 1)
        bins = np.minimum(np.floor((z + 1) * num_bins / 2), num_bins - 1).astype(int)
        np.add.at(counts[neuron], bins, 1)
    return counts


finite = st.floats(-1e6, 1e6, width=32)


@given(
    arrays(np.float32, st.tuples(st.integers(1, 3), st.just(4), st.integers(1, 9)), elements=finite),
    arrays(np.float64, 4, elements=st.floats(-1e5, 1e5)),
    arrays(np.float64, 4, elements=st.floats(0, 1e5)),
    st.sampled_from([1, 2, 7, 1000, 65536]),
)
@settings(deadline=None)
def test_counts_equal_numpy(values: np.ndarray, low: np.ndarray, span: np.ndarray, num_bins: int) -> None:
    found = activation_histogram(*map(torch.from_numpy, (values, low, low + span)), num_bins)
    np.testing.assert_array_equal(found.numpy(), by_numpy(values, low, low + span, num_bins))


@given(
    arrays(np.float32, st.tuples(st.integers(2, 6), st.just(3), st.integers(1, 5)), elements=finite),
    st.data(),
)
@settings(deadline=None)
def test_counts_do_not_depend_on_order_or_split(values: np.ndarray, data: st.DataObject) -> None:
    acts = torch.from_numpy(values)
    low, high = torch.full((3,), -100.0).double(), torch.full((3,), 50.0).double()
    whole = activation_histogram(acts, low, high, 20)
    order = torch.tensor(data.draw(st.permutations(range(len(acts)))))
    cut = data.draw(st.integers(0, len(acts)))
    parts = [activation_histogram(acts[order][part], low, high, 20) for part in (slice(cut), slice(cut, None))]
    torch.testing.assert_close(parts[0] + parts[1], whole, rtol=0, atol=0)


@pytest.mark.parametrize("chunk", [1, 5, 64, 10**9])
def test_counts_do_not_depend_on_chunks(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    acts = torch.randn(4, 6, 3, 5)
    low, high = torch.full((6,), -2.0).double(), torch.full((6,), 2.0).double()
    expected = by_numpy(acts.flatten(2).numpy(), low.numpy(), high.numpy(), 30)
    monkeypatch.setattr("torchmetrics_dna.binning.chunks._CHUNK", chunk)
    np.testing.assert_array_equal(activation_histogram(acts, low, high, 30).numpy(), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_counted_as_the_numbers_they_are(dtype: torch.dtype) -> None:
    acts = torch.randn(2, 4, 50).to(dtype)
    low, high = torch.full((4,), -1.5).double(), torch.full((4,), 1.7).double()
    expected = by_numpy(acts.double().numpy(), low.numpy(), high.numpy(), 100)
    np.testing.assert_array_equal(activation_histogram(acts, low, high, 100).numpy(), expected)


def test_inputs_stay_as_they_are_also_when_float64_and_strided() -> None:
    acts = torch.randn(5, 7, 3, dtype=torch.float64).transpose(1, 2)
    before = acts.clone()
    low, high = torch.full((3,), -1.0).double(), torch.ones(3).double()
    activation_histogram(acts, low, high, 10)
    assert torch.equal(acts, before)
    assert low.tolist() == [-1, -1, -1]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite_change_nothing(bad: float) -> None:
    good, spoilt = torch.zeros(2, 3, 4), torch.zeros(2, 2)
    spoilt[1, 1] = bad
    counts = torch.zeros(5, 10, dtype=torch.int64)
    with pytest.raises(ValueError, match="Layer 'spoilt' gives activations that are NaN or infinite"):
        add_counts_(counts, {"good": good, "spoilt": spoilt}, torch.zeros(5).double(), torch.ones(5).double())
    assert not counts.any()


def test_no_images_no_counts() -> None:
    assert not activation_histogram(torch.empty(0, 2, 3), torch.zeros(2), torch.ones(2), 4).any()


@pytest.mark.parametrize(
    ("shape", "ends", "num_bins", "message"),
    [
        ((2, 3), 2, 4, r"but got \(2, 3\), \(2,\) and \(2,\)"),
        ((3,), 3, 4, r"but got \(3,\)"),
        ((2, 3), 3, 0, "Argument `num_bins` expected to be integer larger than 0, but got 0"),
        ((2, 3), 3, 2.0, "but got 2.0"),
        ((2, 3), 3, True, "but got True"),
    ],
)
def test_errors(shape: tuple[int, ...], ends: int, num_bins: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        activation_histogram(torch.zeros(shape), torch.zeros(ends), torch.ones(ends), num_bins)
