"""Checks of counting and metrics on CUDA; each raises AssertionError if it fails. See cuda.py.

A rehearsal without a GPU interprets the kernels, and the CPU stands in for the device of the metrics.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from itertools import product
from unittest.mock import patch

import torch
from accelerator import Accelerator
from forms import FORMS, values
from layouts import LAYOUTS, laid_out
from makers import FAKE, REAL, emd, frechet, layer_frechet
from networks import Convolutions, Pixels
from torch import Tensor
from torch import distributed as dist
from torch import multiprocessing as mp

from torchmetrics_dna import DNAEMD, ActivationRanges, DNAExtractor, SharedCollection
from torchmetrics_dna.binning import Activations, bins_within, histogram

MIB = 2**20
Findings = dict[str, object]


@contextmanager
def device(dry: bool) -> Iterator[Accelerator | None]:
    """Provide CUDA, or an accelerator that the CPU stands in for."""
    if not dry:
        yield None
        return
    with patch("torchmetrics_dna.binning.counting.optional", lambda _: None), Accelerator() as accelerator:
        yield accelerator


@contextmanager
def watched(accelerator: Accelerator | None) -> Iterator[None]:
    """Raise an error within this block if the host waits for the device."""
    if accelerator is not None:
        with accelerator.never_waits():
            yield
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def triton_counts(values: Tensor, low: Tensor, high: Tensor, num_bins: int, device_name: str) -> Tensor:
    """Count by the kernels; return counts on the CPU."""
    from torchmetrics_dna.binning import cuda

    counts = torch.zeros(values.shape[1], num_bins, dtype=torch.int64, device=device_name)
    cuda.add_layer_(counts, values.to(device_name), bins_within(low.to(device_name), high.to(device_name), num_bins))
    return counts.cpu()


def counts(dry: bool) -> Findings:
    """The kernels against the reference on the CPU: layouts, precisions, bins."""
    dtypes = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
    cases = list(product(LAYOUTS, dtypes, (1, 7, 1000, 4095, 5000)))
    cases = cases[1::150] if dry else cases
    for layout, dtype, num_bins in cases:
        activations = laid_out(layout, dtype)
        low, high = (torch.linspace(a, b, activations.shape[1]).double() for a, b in ((-2, -1), (1, 2)))
        expected = torch.zeros(len(low), num_bins, dtype=torch.int64)
        histogram.add_layer_(expected, activations, bins_within(low, high, num_bins))
        actual = triton_counts(activations, low, high, num_bins, "cpu" if dry else "cuda")
        assert torch.equal(actual, expected), f"{layout}, {dtype}, {num_bins} bins"
    return {"cases": len(cases)}


def huge(dry: bool) -> Findings:
    """A layer of more than 2^31 activations, and more programs than an axis of a grid other than the first may have."""
    images, positions = (3, 1 << 8) if dry else (1 << 13, 1 << 16)
    for shape in ((images, 4, positions), (images, positions, 4)):
        activations = torch.zeros(shape, dtype=torch.float16, device="cpu" if dry else "cuda")
        activations[-1] = 1
        activations = activations if shape[1] == 4 else activations.transpose(1, 2)
        ends = torch.full((4,), -0.5).double(), torch.full((4,), 1.5).double()
        actual = triton_counts(activations, *ends, 4, str(activations.device))
        assert actual.tolist() == [[0, (images - 1) * positions, positions, 0]] * 4
    return {"activations": images * positions * 4}


def metrics(dry: bool) -> Findings:
    """Each metric in each form: values of the CPU, no wait in `update` after the first ones, bad batches refused."""
    forms = list(FORMS.items())[:: 12 if dry else 1]
    with device(dry) as accelerator:
        for name, form in forms:
            make, feed = form.make, form.feed
            on_gpu, on_cpu = make(normalize=True).to("cuda"), make(normalize=True)
            for turn, (imgs, real) in enumerate([(REAL / 255, True), (FAKE / 255, False), (FAKE / 510, False)]):
                on_device = imgs.to("cuda")
                with watched(accelerator) if turn == 2 else nullcontext():
                    feed(on_gpu, on_device, real)
                feed(on_cpu, imgs, real)
            for value, expected in zip(values(on_gpu), values(on_cpu), strict=True):
                torch.testing.assert_close(
                    value, expected, rtol=1e-6, atol=1e-9, msg=lambda text, name=name: name + text
                )
            bad = torch.full_like(on_device, 2.0)
            with watched(accelerator):
                feed(on_gpu, bad, False)
            try:
                on_gpu.compute()
            except ValueError:
                continue
            raise AssertionError(f"{name} did not refuse images that are not in [0, 1]")
    return {"forms": [name for name, _ in forms]}


def half(dry: bool) -> Findings:
    """Autocast: the histogram on the device is that of the same activations on the CPU."""
    with device(dry):
        dtype = None if dry else "bfloat16"  # what stands in for a device knows no autocast, and no weights
        network, layers = (Pixels(), None) if dry else (Convolutions(), ["stem", "body"])
        extractor = DNAExtractor(network, layers=layers, input_size=64, dtype=dtype)
        images = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8).to("cuda")
        activations = {layer: x.cpu() for layer, x in extractor(images).items()}
        ranges = ActivationRanges.observe(activations)
        metric = DNAEMD(extractor, ranges=ranges, num_bins=100).to("cuda")
        metric.update(images, real=True)
        actual = metric.to_dna(True).counts.cpu()
    expected = torch.zeros_like(actual)
    bins = bins_within(*ranges.bounds(), 100)
    for rows, layer in Activations(activations).placed():
        histogram.add_layer_(expected[rows], layer, bins.take(rows))
    assert torch.equal(actual, expected)
    return {"activations": sorted({str(x.dtype) for x in activations.values()})}


def graphs(dry: bool) -> Findings:
    """`update` in a CUDA graph that is replayed with other images."""
    if dry:
        return {"left out": "a CUDA graph needs a GPU"}
    for make in (emd, partial(emd, ranges="auto"), frechet, layer_frechet):
        metric, expected = make(compute_with_cache=False).to("cuda"), make().to("cuda")
        images = REAL.to("cuda")
        metric.update(images, real=True)
        metric.update(images, real=False)
        side, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            metric.update(images, real=False)  # a first one outside, as torch asks
        torch.cuda.current_stream().wait_stream(side)
        metric.reset()
        with torch.cuda.graph(graph):
            metric.update(images, real=False)
        metric.update(REAL.to("cuda"), real=True)
        expected.update(REAL.to("cuda"), real=True)
        for step in range(3):
            images.copy_(REAL // (step + 2))
            graph.replay()
            expected.update(images.clone(), real=False)
        torch.testing.assert_close(metric.compute(), expected.compute(), rtol=1e-9, atol=0)
    return {"metrics": 4}


def streams(dry: bool) -> Findings:
    """`update` on a stream of the user's."""
    if dry:
        return {"left out": "streams need a GPU"}
    metric, expected = emd().to("cuda"), emd()
    side, images = torch.cuda.Stream(), [REAL.to("cuda"), FAKE.to("cuda")]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(20):
            metric.update(images[0], real=True)
            metric.update(images[1], real=False)
    torch.cuda.current_stream().wait_stream(side)
    expected.update(REAL, real=True)
    expected.update(FAKE, real=False)
    assert metric.compute().cpu() == expected.compute()
    return {"updates": 40}


def memory(dry: bool) -> Findings:
    """Peak memory of counting on the device beyond activations and state; see docs/numbers.md."""
    if dry:
        return {"left out": "the allocator of a GPU says it; the test suite asks what stands in for one"}
    activations = torch.randn(256, 768, 197, device="cuda")
    mebibytes = {}
    for way in ("triton", "torch"):
        state = torch.zeros(768, 1000, dtype=torch.int64, device="cuda")
        bins = bins_within(torch.full((768,), -4.0, device="cuda"), torch.full((768,), 4.0, device="cuda"), 1000)
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        if way == "triton":
            from torchmetrics_dna.binning import cuda

            cuda.add_layer_(state, activations, bins)
        else:
            histogram.add_layer_(state, activations, bins, state.new_ones(()))
        torch.cuda.synchronize()
        mebibytes[way] = round((torch.cuda.max_memory_allocated() - before) / MIB, 1)
    assert mebibytes["triton"] < 1
    assert mebibytes["torch"] < 128
    return {"MiB beyond activations": mebibytes}


def shared_pass(dry: bool) -> Findings:
    """Three metrics on one extractor: one pass of the network for a batch."""
    passes = 0
    network = Pixels()

    def count(_: object, args: tuple[torch.Tensor]) -> None:
        nonlocal passes
        passes += len(args[0]) > 1  # a fingerprint is of one

    network.register_forward_pre_hook(count)
    with device(dry):
        extractor = DNAExtractor(network, input_size=32)
        members = {name: DNAEMD(extractor, ranges="auto", num_bins=20) for name in "abc"}
        sharing = SharedCollection(members, compute_groups=False).to("cuda")
        passes = 0
        images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8).to("cuda")
        sharing.update(images, real=True)
    assert passes == 1
    return {"passes": passes}


def _one_of_two(rank: int, backend: str, device_name: str) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29541"}
    dist.init_process_group(backend, rank=rank, world_size=2)
    try:
        metric, single = emd().to(device_name), emd(sync_on_compute=False)
        for real, images in ((True, REAL), (False, FAKE)):
            metric.update(images[rank::2].to(device_name), real=real)
            single.update(images, real=real)
        assert metric.compute().cpu() == single.compute()
    finally:
        dist.destroy_process_group()


def processes(dry: bool) -> Findings:
    """Two processes on one GPU find what one finds: by NCCL if it allows that, else by gloo with tensors on CUDA."""
    errors = {}
    for backend in ("gloo",) if dry else ("nccl", "gloo"):
        try:
            mp.spawn(_one_of_two, (backend, "cpu" if dry else "cuda"), nprocs=2)
        except Exception as err:  # NCCL refuses two processes on one GPU
            errors[backend] = " ".join(str(err).split())[-200:]
        else:
            return {"backend": backend, "refused": errors}
    raise AssertionError(f"no backend: {errors}")


CHECKS: dict[str, Callable[[bool], Findings]] = {
    check.__name__: check for check in (counts, huge, metrics, half, graphs, streams, memory, shared_pass, processes)
}
