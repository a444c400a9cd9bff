"""Triton's kernel proves itself on each form of layers before it counts alone: as it is, and made wrong on purpose."""

from __future__ import annotations

import importlib.util
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from accelerator import Accelerator, DeviceTensor, mapped
from layouts import laid_out
from torch import Tensor

from torchmetrics_dna import extras
from torchmetrics_dna.binning import Bins, bins_within, counting, cuda, histogram

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
FAULTS = {  # what is changed in the kernel's text, and what is said of the counts of `spread`
    "one cell": (
        "(number < num_bins) & (neuron_of",
        "(number < num_bins - 1) & (neuron_of",
        r"1 of 36 cells, first in bin 11 of neuron 2: 7, not 8\)",
    ),
    "a race": (  # programs that all add to what was there before any of them: the last one's sum stays
        "tl.atomic_add(target, histogram.to(tl.int64)",
        "tl.store(target, 7 + histogram.to(tl.int64)",
        r"\d+ of 36 cells, first in bin 0 of neuron 0: \d+, not \d+\)",
    ),
    "an error": (
        "groups = tl.cdiv(neurons, columns)\n    c",
        "groups = no_such_name\n    c",
        r"NameError.*no_such_name",
    ),
}


class Gpu:
    """The interface of the stand-in for a GPU, whose waits can be forbidden, but are not listed."""

    waits: tuple[str, ...] = ()

    @contextmanager
    def never_waits(self) -> Iterator[None]:
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode("default")


def a_device() -> AbstractContextManager[Any]:
    """A GPU, or else the stand-in."""
    return nullcontext(Gpu()) if torch.cuda.is_available() else Accelerator()


Use = Callable[[ModuleType], list[int]]


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Iterator[Use]:
    """In a process in which nothing is proven or given up, count by these kernels; the list has images of each call.

    Without a GPU the interpreter takes the tensors behind the stand-in's.
    """

    def take(kernels: ModuleType) -> list[int]:
        calls: list[int] = []

        def on_cpu(value: Any) -> Any:
            return value.on_cpu if isinstance(value, DeviceTensor) else value

        def add_layer_(counts: Tensor, layer: Tensor, bins: Bins) -> None:
            calls.append(len(layer))
            kernels.add_layer_(on_cpu(counts), on_cpu(layer), Bins(*mapped(on_cpu, tuple(bins))))

        shown = SimpleNamespace(add_layer_=add_layer_)
        monkeypatch.setattr(extras, "_imported", lambda *_: shown)
        return calls

    if not torch.cuda.is_available():
        pytest.importorskip("triton", "3.9", reason="older interpreters round a fused operation twice")
    counting._PROVEN.clear()
    yield take
    counting._PROVEN.clear()
    extras._given_up.discard("triton")


def made_wrong(fault: str, folder: Path) -> ModuleType:
    """The kernel's file with one line changed, and small tiles, each of a program of its own."""
    changes = [FAULTS[fault][:2], ("_TILE = 4096", "_TILE = 16"), ("_PROGRAMS = 512", "_PROGRAMS = 1 << 30")]
    text = Path(cuda.__file__).read_text(encoding="utf-8")
    for right, wrong in changes:
        assert text.count(right) == 1
        text = text.replace(right, wrong)
    path = folder / "wrong_kernel.py"
    path.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("wrong_kernel", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def bins_of(neurons: int, is_grid: bool = False) -> Bins:
    if is_grid:
        half = torch.full((neurons,), 0.5, dtype=torch.float64)
        return Bins(torch.zeros_like(half), half, -6 * torch.ones_like(half), 0.0, 1.0, NUM_BINS)
    return bins_within(-torch.ones(neurons), torch.ones(neurons), NUM_BINS)


def counted(layer: Tensor, bins: Bins) -> Tensor:
    """Counts of a layer on the CPU, by the oracle."""
    counts = torch.zeros(layer.shape[1], NUM_BINS, dtype=torch.int64)
    histogram.add_layer_(counts, layer, bins)
    return counts


def spread() -> Tensor:
    """A layer of three neurons that reach all bins but the last, which one value of the last neuron reaches."""
    layer = torch.rand(4, 3, 50, generator=torch.Generator().manual_seed(0)) * 1.8 - 0.99
    layer[3, 2, 7] = 0.95
    return layer


@pytest.mark.slow
@pytest.mark.parametrize(("layout", "dtype", "is_grid"), FORMS)
def test_a_form_is_proven_by_its_first_layer_with_one_wait(
    layout: str, dtype: torch.dtype, is_grid: bool, use: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, by_torch = use(cuda), list[int]()
    monkeypatch.setattr(counting, "count_by_torch_", lambda *each: by_torch.append(1) or histogram.add_layer_(*each))
    layer = laid_out(layout, dtype)
    bins = bins_of(layer.shape[1], is_grid)
    with a_device() as device:
        on_device, sent = bins.to(torch.device("cuda")), layer.to("cuda")
        counts = torch.full((layer.shape[1], NUM_BINS), 7, device="cuda")
        before = len(device.waits)
        counting.add_layer_(counts, sent, on_device)
        assert list(device.waits[before:]) == ["equal"] * isinstance(device, Accelerator)
        with device.never_waits():
            for _ in range(2):
                counting.add_layer_(counts, sent, on_device)
        result = counts.cpu()
    assert torch.equal(result, 3 * counted(layer, bins) + 7)
    assert (len(calls), len(by_torch)) == (3, 1)
    assert len(counting._PROVEN) == 1


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_kernel_is_found_said_once_and_never_counts(fault: str, use: Use, tmp_path: Path) -> None:
    calls, layer, bins = use(made_wrong(fault, tmp_path)), spread(), bins_of(3)
    with a_device(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        counts = torch.full((3, NUM_BINS), 7, device="cuda")
        for _ in range(3):
            counting.add_layer_(counts, layer.to("cuda"), bins.to(torch.device("cuda")))
        result = counts.cpu()
    assert torch.equal(result, 3 * counted(layer, bins) + 7)
    (warning,) = caught
    assert re.search(FAULTS[fault][2], str(warning.message))
    assert "TORCHMETRICS_DNA_TRITON=0" in str(warning.message)
    assert len(calls) == 1
    assert not counting._PROVEN


@pytest.mark.slow
def test_a_form_that_was_proven_says_nothing_of_others(use: Use, tmp_path: Path) -> None:
    """The fault is where no value of the first form is: only the second one finds it."""
    calls, bins = use(made_wrong("one cell", tmp_path)), bins_of(3)
    first, second = spread().clamp(max=0.8), spread().double()
    with a_device():
        counts = torch.zeros((3, NUM_BINS), dtype=torch.int64, device="cuda")
        counting.add_layer_(counts, first.to("cuda"), bins.to(torch.device("cuda")))
        with pytest.warns(UserWarning, match=r"torch\.float64 on cuda:0 differ from torch's in 1 of 36 cells"):
            counting.add_layer_(counts, second.to("cuda"), bins.to(torch.device("cuda")))
        counting.add_layer_(counts, first.to("cuda"), bins.to(torch.device("cuda")))
        result = counts.cpu()
    assert torch.equal(result, 2 * counted(first, bins) + counted(second, bins))
    assert len(calls) == 2


@pytest.mark.slow
def test_values_that_are_not_finite_prove_nothing(use: Use) -> None:
    """They may count in any bin, and metrics leave them out."""
    use(cuda)
    layer, bins = spread(), bins_of(3).to(torch.device("cpu"))
    spoilt = layer.clone()
    spoilt[0, 1, 3] = torch.nan
    with a_device():
        on_device = bins.to(torch.device("cuda"))
        counts = torch.zeros((3, NUM_BINS), dtype=torch.int64, device="cuda")
        counting.add_layer_(counts, spoilt.to("cuda"), on_device)
        counts.zero_()
        counting.add_layer_(counts, layer.to("cuda"), on_device)
        result = counts.cpu()
    assert torch.equal(result, counted(layer, bins))
    assert "triton" not in extras._given_up


def test_memory_that_is_used_up_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def add_layer_(*_: object) -> None:
        raise torch.OutOfMemoryError("no memory")

    monkeypatch.setattr(extras, "_imported", lambda *_: SimpleNamespace(add_layer_=add_layer_))
    with a_device():
        counts, layer = torch.zeros((3, NUM_BINS), dtype=torch.int64, device="cuda"), spread().to("cuda")
        bins = bins_of(3).to(torch.device("cuda"))
        with pytest.raises(torch.OutOfMemoryError, match="no memory"):
            counting.add_layer_(counts, layer, bins)
    assert "triton" not in extras._given_up


def test_a_variable_switches_triton_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHMETRICS_DNA_TRITON", "0")
    monkeypatch.setattr(cuda, "add_layer_", lambda *_: pytest.fail("Triton counts"))
    extras._imported.cache_clear()
    layer, bins = spread(), bins_of(3)
    try:
        with a_device():
            counts = torch.zeros((3, NUM_BINS), dtype=torch.int64, device="cuda")
            counting.add_layer_(counts, layer.to("cuda"), bins.to(torch.device("cuda")))
            result = counts.cpu()
    finally:
        extras._imported.cache_clear()
    assert torch.equal(result, counted(layer, bins))
