"""Counts by every way, under one signature, against numpy and the official ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from accelerator import Accelerator
from cuts import every_cut, in_parts
from golden import channels_first, load
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from layouts import LAYOUTS, laid_out
from torch import Tensor
from without_numba import without_numba

from torchmetrics_dna import ActivationRanges
from torchmetrics_dna.binning import Activations, Bins, FoldCounts, bins_within, counting, cuda, histogram
from torchmetrics_dna.compiled import Postponed
from torchmetrics_dna.extras import optional
from torchmetrics_dna.functional import activation_histogram, dna_realism, dna_realism_map
from torchmetrics_dna.neurons import Neurons

Count = Callable[[Tensor, Activations, Bins], None]
TRITON_DEVICE = "cuda" if torch.cuda.is_available() else "cpu"  # the CPU where Triton interprets, see conftest


def by_torch(counts: Tensor, activations: Activations, bins: Bins) -> None:
    activations.check()
    for rows, layer in activations.placed():
        histogram.add_layer_(counts[rows], layer, bins.take(rows))


def by_numba(counts: Tensor, activations: Activations, bins: Bins) -> None:
    assert activations.compiled_for(bins.num_bins)
    counting.add_counts_(counts, activations, bins)


def by_triton(counts: Tensor, activations: Activations, bins: Bins) -> None:
    if not torch.cuda.is_available():
        pytest.importorskip("triton", "3.9", reason="older interpreters round a fused operation twice")
    activations.check()
    on_device = counts.to(TRITON_DEVICE)
    bins = bins.to(torch.device(TRITON_DEVICE))
    for rows, layer in activations.placed():
        cuda.add_layer_(on_device[rows], layer.to(TRITON_DEVICE), bins.take(rows))
    counts.copy_(on_device)


WAYS: dict[str, Count] = {"torch": by_torch, "numba": by_numba, "triton": by_triton}


def histogram_by(way: str, activations: Tensor, low: Tensor, high: Tensor, num_bins: int) -> Tensor:
    """Count a histogram like ``activation_histogram``, by one of ``WAYS``."""
    counts = torch.zeros(activations.shape[1], num_bins, dtype=torch.int64)
    WAYS[way](counts, Activations({"activations": activations}), bins_within(low, high, num_bins))
    return counts


def by_numpy(values: np.ndarray, low: np.ndarray, high: np.ndarray, num_bins: int) -> np.ndarray:
    """Count by Section 4 and Eq. (1), (2) in float64, without torch, neuron by neuron."""
    counts = np.zeros((values.shape[1], num_bins), np.int64)
    for neuron in range(values.shape[1]):
        centre, half = (low[neuron] + high[neuron]) / 2, (high[neuron] - low[neuron]) / 2 + 1e-8
        z = np.clip((values[:, neuron].astype(np.float64) - centre) / half, -1, 1)
        bins = np.minimum(np.floor((z + 1) * num_bins / 2), num_bins - 1).astype(int)
        np.add.at(counts[neuron], bins, 1)
    return counts


def check(way: str, values: np.ndarray | Tensor, low: Any, high: Any, num_bins: int) -> None:
    """Assert that counts by a way are those of numpy; ends may be one number for all neurons."""
    values = torch.as_tensor(values)
    ends = [torch.as_tensor(end).double().expand(values.shape[1]) for end in (low, high)]
    expected = by_numpy(values.double().numpy(), *(end.numpy() for end in ends), num_bins)
    np.testing.assert_array_equal(histogram_by(way, values, *ends, num_bins).numpy(), expected)


_INTERPRETED = pytest.param("triton", marks=pytest.mark.outer)  # takes seconds
every_way = pytest.mark.parametrize("way", ["torch", "numba", _INTERPRETED])
every_way_in_the_gate = pytest.mark.parametrize(
    "way", ["torch", "numba", pytest.param("triton", marks=pytest.mark.slow)]
)


def ways_and_layouts(few: set[str]) -> pytest.MarkDecorator:
    """Each way with each layout; Triton in the gate with few of them."""
    pairs = [(way, layout) for way in WAYS for layout in LAYOUTS]
    marks = {("triton", layout): pytest.mark.slow if layout in few else pytest.mark.outer for layout in LAYOUTS}
    cases = [pytest.param(*pair, marks=[marks[pair]] if pair in marks else []) for pair in pairs]
    return pytest.mark.parametrize(("way", "layout"), cases)


def bounds_of(values: Tensor, times: int = 1) -> tuple[Tensor, Tensor]:
    """Ends of bins that leave some values out, for each neuron others."""
    count = times * values.shape[1]
    return torch.linspace(-2, -1, count).double(), torch.linspace(1, 2, count).double()


def golden_bounds(golden: dict[str, np.ndarray], layer: str) -> tuple[Tensor, Tensor]:
    low, high = (torch.from_numpy(golden[f"range_{end}-{layer}"]) for end in ("min", "max"))
    return ActivationRanges(low, high, Neurons({layer: len(low)}), "scale").bounds()


@pytest.mark.parametrize("num_bins", [1000, 50, 7])
@every_way
def test_counts_equal_the_official_ones_cell_by_cell(num_bins: int, way: str) -> None:
    histograms, distances = load("histogram.npz"), load("distances.npz")
    files = [(histograms, [("acts", "counts")], layer) for layer in histograms["layers"]]
    files += [(distances, [("acts_A", "counts_A"), ("acts_B", "counts_B")], layer) for layer in distances["layers"]]
    for golden, sets, layer in files:
        low, high = golden_bounds(golden, layer)
        for acts, counts in sets:
            values = channels_first(golden[f"{acts}-{layer}"], str(golden[f"layout-{layer}"]))
            actual = histogram_by(way, values, low, high, num_bins)
            np.testing.assert_array_equal(actual.numpy(), golden[f"{counts}-B{num_bins}-{layer}"])


finite = st.floats(-1e6, 1e6, width=32)


@every_way_in_the_gate
@given(
    arrays(np.float32, st.tuples(st.integers(0, 3), st.just(5), st.integers(1, 9)), elements=finite),
    arrays(np.float64, 5, elements=st.floats(-1e5, 1e5)),
    arrays(np.float64, 5, elements=st.floats(0, 1e5)),
    st.sampled_from([1, 2, 7, 1000, 65536]),
)
@settings(max_examples=20)
def test_counts_equal_numpy(way: str, values: np.ndarray, low: np.ndarray, span: np.ndarray, num_bins: int) -> None:
    check(way, values, low, low + span, num_bins)


@every_way_in_the_gate
@given(st.data(), st.sampled_from([1, 2, 7, 1000, 65536]), st.booleans())
@settings(max_examples=20)
def test_values_on_and_beside_edges(way: str, data: st.DataObject, num_bins: int, dead: bool) -> None:
    low = data.draw(st.floats(-1e3, 1e3, width=32))
    high = low if dead else low + data.draw(st.floats(2**-10, 1e3, width=32))
    edges = low + (high - low) * np.arange(min(num_bins, 100) + 1) / min(num_bins, 100)
    near = np.concatenate([edges, np.nextafter(edges.astype(np.float32), np.inf), [low, high, 0.0, -0.0, 3e38, -3e38]])
    check(way, near.astype(np.float32)[None, None], low, high, num_bins)


@every_way
@pytest.mark.parametrize(("low", "high"), [(-4.0, 4.0), (-0.1, 6.3), (99.7, 101.1), (-2e-7, 3e-7), (-1e30, 2e30)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_so_close_to_edges_that_float32_could_err(
    way: str, dtype: type[np.floating], low: float, high: float
) -> None:
    steps = np.arange(-6, 7)[:, None] * np.spacing(np.float32(max(abs(low), abs(high))))
    edges = (low + (high - low) * np.arange(1001) / 1000) + steps * (1 if dtype is np.float32 else 0.1)
    # an image each, since one that is near an edge saves its neighbours
    check(way, edges.astype(dtype).reshape(-1, 1), low, high, 1000)


@ways_and_layouts({"channels last", "tokens", "a window"})
def test_any_layout_and_precision_without_changing_the_input(way: str, layout: str) -> None:
    for dtype in (torch.float32, torch.float16, torch.bfloat16, torch.float64):
        values = laid_out(layout, dtype)
        before = values.clone()
        check(way, values, *bounds_of(values), 30)
        assert torch.equal(values, before)


@every_cut
@pytest.mark.parametrize("way", ["numba", "torch"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_images_also_count_in_wider_bins_of_their_folds(layout: str, way: str, cut: str) -> None:
    num_bins = 300 if cut == "one by one" else 6
    values = laid_out(layout, torch.float32)
    low, high = (end.repeat(2) for end in bounds_of(values))
    keys = torch.from_numpy(np.random.default_rng(0).integers(3, size=len(values)))
    whole = torch.zeros(len(low), num_bins, dtype=torch.int64)
    counts = torch.zeros(3, len(low) + 1, num_bins // 3, dtype=torch.int64)  # a fold's counts may lie apart
    folds = FoldCounts(counts[:, :-1], bins_within(low, high, num_bins // 3), keys)
    with without_numba(way == "torch"):
        counting.add_counts_(whole, Activations(*in_parts(values, cut)), bins_within(low, high, num_bins), folds)
    both = torch.cat([values * 2, values], 1).numpy()
    np.testing.assert_array_equal(whole, by_numpy(both, low.numpy(), high.numpy(), num_bins))
    for key, fold in enumerate(counts):
        expected = by_numpy(both[keys.numpy() == key], low.numpy(), high.numpy(), num_bins // 3)
        np.testing.assert_array_equal(fold[:-1], expected)
        assert not fold[-1].any()


@pytest.mark.outer  # interprets
@pytest.mark.parametrize("sizes", [{"_PROGRAMS": 1}, {"_PROGRAMS": 10**6}, {"_CELLS": 0}])
@pytest.mark.parametrize("layout", ["convolution", "channels last", "tokens", "a window", "every other token"])
def test_tiles_and_programs_change_nothing(layout: str, sizes: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ({"_TILE": 64, "_LEAST_TILES": 1, "_IMAGES": 4} | sizes).items():
        monkeypatch.setattr(cuda, name, value)
    values = laid_out(layout, torch.float32)
    check("triton", values, *bounds_of(values), 30)


@every_way
@pytest.mark.parametrize("num_bins", [400_000, 3_000_000])
def test_more_bins_than_pairs_of_float32_tell_apart(way: str, num_bins: int) -> None:
    numbers = np.random.default_rng(0).integers(1, num_bins, 3000)
    edges = (-0.1 + 6.4 * numbers / num_bins).astype(np.float32)
    beside = [np.nextafter(edges, np.float32(end)) for end in (-np.inf, np.inf)]
    check(way, np.concatenate([edges, *beside])[None, None], -0.1, 6.3, num_bins)


@every_way
@pytest.mark.parametrize("strides", [(2**30, 3, 1), (3, 2**30, 1), (3, 1, 2**30)])
def test_offsets_beyond_32_bits(way: str, strides: tuple[int, int, int], tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(2 * (2**31 + 9))
    memory = torch.from_file(str(path), shared=True, size=2**31 + 9, dtype=torch.float16)
    values = memory.as_strided((3, 3, 3), strides)
    values.copy_(torch.randn(3, 3, 3, generator=torch.Generator().manual_seed(0)))
    check(way, values, -2, 2, 30)


@every_way
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64])
@pytest.mark.parametrize(
    ("exponents", "first"),
    [
        ([0, -3, 5, -60, 80, -99, 100, 3], [-20, 0, -3, -7, -1, 0, 2**20, -(2**24) + 5000]),  # in single precision
        ([0, -3, 5, -60, 80, -160, 10, 3], [-20, 0, -3, -7, -1, 0, 5, 0]),
        ([0, -3, 5, -60, 80, -99, 10, 3], [-20, 0, -3, -7, -1, 0, 2**30 + 1, -(2**25) + 1]),
    ],
)
def test_bins_of_grids(way: str, dtype: torch.dtype, exponents: list[int], first: list[int]) -> None:
    """Widths are powers of two: values lie on edges, below the smallest normal number, and far beyond the bins."""
    widths, starts = 2.0 ** torch.tensor(exponents).double(), torch.tensor(first).double()
    steps = torch.arange(-25, 70).double()
    edges = (starts[:, None] + steps) * widths[:, None]
    beside = [torch.nextafter(edges.float(), torch.tensor(end)).double() for end in (-torch.inf, torch.inf)]
    extreme = torch.tensor([0.0, -0.0, 1e-45, -1e-45, 1e-30, -1e-30, 6e4, -6e4]).double().expand(8, -1)
    values = torch.cat([edges, *beside, extreme], 1).to(dtype)
    values = torch.where(values.isfinite(), values, 0)[None]
    numbers = np.floor(values[0].double().numpy() / widths[:, None].numpy()) - starts[:, None].numpy()
    for num_bins in (40, 4000):
        counts = torch.zeros(8, num_bins, dtype=torch.int64)
        WAYS[way](counts, Activations({"x": values}), Bins(torch.zeros(8).double(), widths, starts, 0.0, 1.0, num_bins))
        expected = [np.bincount(row, minlength=num_bins) for row in numbers.clip(0, num_bins - 1).astype(int)]
        np.testing.assert_array_equal(counts.numpy(), expected)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_a_bin_counts_beyond_16_bits(memory_format: torch.memory_format) -> None:
    values = torch.zeros(3, 2, 250, 300).contiguous(memory_format=memory_format)
    values[1, 1, 7:] = 1
    counts = histogram_by("numba", values, torch.zeros(2), torch.ones(2), 5)
    assert counts.tolist() == [[225_000, 0, 0, 0, 0], [225_000 - 243 * 300, 0, 0, 0, 243 * 300]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@every_way
def test_every_number_of_half_precision(way: str, dtype: torch.dtype) -> None:
    values = torch.arange(2**16).to(torch.uint16).view(dtype)
    values = values[values.isfinite()][None, None]
    largest = float(values.double().abs().max() / 3)
    for low, high in ((-1, 1), (-1e-6, 2e-6), (-largest, largest)):
        check(way, values, low, high, 1000)


def test_parts_of_several_layouts_are_counted_by_several_threads() -> None:
    """No count is lost if two parts of a batch, whose layouts in memory differ, have activations in the same bins."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(14, 37, 14, 13, generator=generator)
    channels_last = images.contiguous(memory_format=torch.channels_last)
    activations = Activations({"x": images[:6]}, {"x": channels_last[6:12]}, {"x": images[12:]})
    bins = bins_within(torch.full((37,), -2.5), torch.full((37,), 3.0), 100)
    expected = by_numpy(images.numpy(), np.full(37, -2.5), np.full(37, 3.0), 100)
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        for _ in range(200):
            counts = torch.zeros(37, 100, dtype=torch.int64)
            by_numba(counts, activations, bins)
            np.testing.assert_array_equal(counts.numpy(), expected)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("way", "threads"), [("torch", 2), ("numba", 1), ("numba", 2), ("numba", 5)])
def test_threads_change_nothing_and_layers_may_be_large(way: str, threads: int) -> None:
    generator = torch.Generator().manual_seed(0)
    layers = {
        "wide": torch.randn(8, 40, 197, generator=generator).transpose(1, 2),
        "large": torch.randn(4, 6, 120, 130, generator=generator),
        "small": torch.randn(8, 3, generator=generator),
    }
    layers = {layer: values if len(values) == 8 else values.repeat(2, 1, 1, 1) for layer, values in layers.items()}
    neurons = sum(values.shape[1] for values in layers.values())
    bins = bins_within(torch.full((neurons,), -2.0), torch.full((neurons,), 2.5), 100)
    expected = np.concatenate(
        [by_numpy(v.numpy(), np.full(v.shape[1], -2.0), np.full(v.shape[1], 2.5), 100) for v in layers.values()]
    )
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        counts = torch.ones(neurons, 100, dtype=torch.int64)
        WAYS[way](counts, Activations(layers), bins)
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(counts.numpy() - 1, expected)


@every_way_in_the_gate
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize(("bad", "num_bins"), [(float("nan"), 2), (float("inf"), 10), (-float("inf"), 2)])
def test_values_that_are_not_finite_change_nothing(way: str, num_bins: int, bad: float, dtype: torch.dtype) -> None:
    good, spoilt = torch.ones(2, 3, 4, dtype=dtype), torch.zeros(2, 2, dtype=dtype)
    spoilt[1, 1] = bad
    counts = torch.full((5, num_bins), 7)
    bins = bins_within(torch.zeros(5), torch.ones(5), num_bins)
    batch = Activations({"good": good, "spoilt": torch.zeros_like(spoilt)}, {"good": good, "spoilt": spoilt})
    with pytest.raises(ValueError, match="Layer 'spoilt' gives activations that are NaN or infinite"):
        WAYS[way](counts, batch, bins)
    assert (counts == 7).all()


@pytest.mark.parametrize("module", [histogram, cuda])
@pytest.mark.parametrize("value", [float("nan"), -float("inf")])
def test_on_a_device_values_that_are_not_finite_count_somewhere(module: ModuleType, value: float) -> None:
    counts = torch.zeros((3, 10), dtype=torch.int64, device=TRITON_DEVICE)
    values = torch.full((2, 3, 4), value, device=TRITON_DEVICE)
    bins = bins_within(torch.zeros(3), torch.ones(3), 10).to(torch.device(TRITON_DEVICE))
    if module is cuda and TRITON_DEVICE == "cpu":
        pytest.importorskip("triton", "3.4", reason="older interpreters of triton do not run the kernel")
    if module is cuda or values.is_cuda:
        module.add_layer_(counts, values, bins)
    else:
        with Accelerator():
            on_device = counts.to("cuda")
            module.add_layer_(on_device, values.to("cuda"), bins.to(torch.device("cuda")))
            counts = on_device.cpu()
    assert counts.sum() == 24


def test_the_fast_way_is_taken_where_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    cpu = optional("binning.cpu")
    monkeypatch.setattr(cpu, "add_counts_", lambda *_: calls.append("numba"))
    monkeypatch.setattr(cpu, "_COUNTING", Postponed(cpu._count, work_without=0))
    monkeypatch.setattr(counting, "count_by_torch_", lambda *_: calls.append("torch"))
    ends = torch.zeros(3), torch.ones(3)
    activation_histogram(torch.zeros(1, 3), *ends, 4)
    assert not Activations({"x": torch.zeros(1, 3)}).compiled_for(2**30)
    assert not Activations({"x": torch.zeros(1, 3, device="meta")}).compiled_for(4)
    with without_numba():
        activation_histogram(torch.zeros(1, 3), *ends, 4)
    assert calls == ["numba", "torch"]


def test_activations_that_want_a_gradient() -> None:
    values = torch.tensor([[0.1], [0.9]], requires_grad=True)
    assert activation_histogram(values, torch.zeros(1), torch.ones(1), 2).tolist() == [[1, 1]]


@pytest.mark.parametrize(
    ("shape", "ends", "num_bins", "message"),
    [
        ((2, 3), 2, 4, r"but got \(2, 3\), \(2,\) and \(2,\)"),
        ((3,), 3, 4, r"but got \(3,\)"),
        ((2, 3), 3, 0, "Argument `num_bins` expected to be integer larger than 1, but got 0"),
        ((2, 3), 3, 1, "Argument `num_bins` expected to be integer larger than 1, but got 1"),
        ((2, 3), 3, 2.0, "but got 2.0"),
        ((2, 3), 3, True, "but got True"),
    ],
)
def test_errors(shape: tuple[int, ...], ends: int, num_bins: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        activation_histogram(torch.zeros(shape), torch.zeros(ends), torch.ones(ends), num_bins)


@pytest.mark.parametrize(
    ("low", "high", "neuron"),
    [([0.0, 1.0], [1.0, -1.0], 1), ([torch.nan, 0.0], [1.0, 1.0], 0), ([0.0, 0.0], [1.0, torch.inf], 1)],
)
def test_bounds_are_ordered_and_finite(low: list[float], high: list[float], neuron: int) -> None:
    ends = torch.tensor(low), torch.tensor(high)
    with pytest.raises(ValueError, match=f"`low` expected to be at most `high`, both finite, but neuron {neuron} has"):
        activation_histogram(torch.zeros(1, 2), *ends, 4)
    for score in (dna_realism, dna_realism_map):
        with pytest.raises(ValueError, match=f"both finite, but neuron {neuron} has"):
            score(torch.zeros(1, 2, 3), torch.ones(2, 4).long(), *ends)
