"""On CUDA torch counts; a variable chooses Triton's kernel, whose counts equal torch's for each form of layers."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerator import Accelerator, DeviceTensor, mapped
from layouts import laid_out
from torch import Tensor

from torchmetrics_dna.binning import Bins, bins_within, counting, histogram

NUM_BINS = 12
#: Forms of layers: layout, dtype, and whether bins are those of a grid, as of ranges of a set's own.
FORMS = [
    ("convolution", torch.float32, False),
    ("convolution", torch.float32, True),
    ("convolution", torch.float64, False),
    ("tokens", torch.float32, False),
    ("tokens", torch.bfloat16, False),
    ("a window", torch.float16, False),
    ("pooled", torch.float32, True),
]


def a_device() -> AbstractContextManager[Any]:
    """A GPU, or else the stand-in."""
    return nullcontext() if torch.cuda.is_available() else Accelerator()


@pytest.fixture
def batches_of_triton(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Number of images of each call of the kernel; without a GPU the interpreter takes the tensors of the stand-in."""
    if not torch.cuda.is_available():
        pytest.importorskip("triton", "3.9", reason="older interpreters round a fused operation twice")
    from torchmetrics_dna.binning import cuda

    by_kernel, batches = cuda.add_layer_, list[int]()

    def on_cpu(value: Any) -> Any:
        return value.on_cpu if isinstance(value, DeviceTensor) else value

    def add_layer_(counts: Tensor, layer: Tensor, bins: Bins) -> None:
        batches.append(len(layer))
        by_kernel(on_cpu(counts), on_cpu(layer), Bins(*mapped(on_cpu, tuple(bins))))

    monkeypatch.setattr(cuda, "add_layer_", add_layer_)
    return batches


def bins_of(neurons: int, is_grid: bool = False) -> Bins:
    if is_grid:
        half = torch.full((neurons,), 0.5, dtype=torch.float64)
        return Bins(torch.zeros_like(half), half, -6 * torch.ones_like(half), 0.0, 1.0, NUM_BINS)
    return bins_within(-torch.ones(neurons), torch.ones(neurons), NUM_BINS)


def counted_on_device(layer: Tensor, bins: Bins, times: int = 1) -> Tensor:
    """Add the counts of a layer to a state on the device that has counts already."""
    with a_device():
        counts = torch.full((layer.shape[1], NUM_BINS), 7, device="cuda")
        for _ in range(times):
            counting.add_layer_(counts, layer.to("cuda"), bins.to(torch.device("cuda")))
        return counts.cpu()


def counted_by_torch(layer: Tensor, bins: Bins, times: int = 1) -> Tensor:
    counts = torch.full((layer.shape[1], NUM_BINS), 7)
    for _ in range(times):
        histogram.add_layer_(counts, layer, bins)
    return counts


@pytest.mark.parametrize("value", [None, "0", ""])
def test_torch_counts_unless_the_variable_is_1(
    value: str | None, batches_of_triton: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TORCHMETRICS_DNA_TRITON", raising=False)
    if value is not None:
        monkeypatch.setenv("TORCHMETRICS_DNA_TRITON", value)
    layer = laid_out("convolution", torch.float32)
    bins = bins_of(layer.shape[1])
    assert torch.equal(counted_on_device(layer, bins), counted_by_torch(layer, bins))
    assert not batches_of_triton


@pytest.mark.slow
@pytest.mark.parametrize(("layout", "dtype", "is_grid"), FORMS)
def test_triton_counts_what_torch_counts(
    layout: str, dtype: torch.dtype, is_grid: bool, batches_of_triton: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHMETRICS_DNA_TRITON", "1")
    layer = laid_out(layout, dtype)
    bins = bins_of(layer.shape[1], is_grid)
    assert torch.equal(counted_on_device(layer, bins, times=2), counted_by_torch(layer, bins, times=2))
    assert batches_of_triton == [len(layer)] * 2


def test_a_kernel_that_was_chosen_and_fails_is_an_error(
    batches_of_triton: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchmetrics_dna import binning

    def add_layer_(*_: object) -> None:
        raise RuntimeError("Failed to find C compiler")

    monkeypatch.setattr(binning, "cuda", SimpleNamespace(add_layer_=add_layer_))
    monkeypatch.setenv("TORCHMETRICS_DNA_TRITON", "1")
    with pytest.raises(RuntimeError, match="Failed to find C compiler"):
        counted_on_device(torch.zeros(2, 3, 4), bins_of(3))
