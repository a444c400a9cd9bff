"""What only a GPU shows, and the command that measures its speed; counts and metrics have tests that use it, too."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from makers import FAKE, REAL, emd, frechet, layer_frechet
from networks import Convolutions
from torch import distributed as dist
from torch import multiprocessing as mp

from torchmetrics_dna import DNAEMD, ActivationRanges, DNAExtractor
from torchmetrics_dna.binning import Activations, bins_within, histogram

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "tests" / "benchmarks" / "cuda.py"


@pytest.mark.outer
def test_the_command_rehearses_on_the_cpu(tmp_path: Path) -> None:
    table = tmp_path / "stability.md"
    shutil.copy(ROOT / "docs" / "stability.md", table)
    call = [sys.executable, SCRIPT, "--dry", "--row", table]
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    *_, table_of_runs = table.read_text().split("\n## ")
    head, _, *rows = [line.split(" | ") for line in table_of_runs.splitlines() if line.startswith("|")]
    assert len(rows[-1]) == len(head)
    assert rows[-1][5:7] == ["10", "rehearsed"]
    _, *figures = (json.loads(line) for line in done.stdout.splitlines())
    assert {name.partition(":")[0] for figure in figures for name in figure} == {
        "checks",
        "exactness",
        "counting",
        "updates",
        "computing",
    }


@pytest.mark.cuda
@pytest.mark.parametrize("last", [False, True])
def test_a_layer_of_more_than_32_bits_count(last: bool) -> None:
    """With more programs than an axis of a grid other than the first may have."""
    from torchmetrics_dna.binning import cuda

    shape = (1 << 13, 1 << 16, 4) if last else (1 << 13, 4, 1 << 16)
    activations = torch.zeros(shape, dtype=torch.float16, device="cuda")
    activations[-1] = 1
    counts = torch.zeros(4, 4, dtype=torch.int64, device="cuda")
    bins = bins_within(*(torch.full((4,), end, dtype=torch.float64, device="cuda") for end in (-0.5, 1.5)), 4)
    cuda.add_layer_(counts, activations.transpose(1, 2) if last else activations, bins)
    assert counts.tolist() == [[0, ((1 << 13) - 1) << 16, 1 << 16, 0]] * 4


@pytest.mark.cuda
def test_under_autocast_counts_are_those_of_the_same_activations() -> None:
    extractor = DNAExtractor(Convolutions(), layers=["stem", "body"], input_size=64, dtype="bfloat16")
    images = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8, device="cuda")
    extractor.to("cuda")
    activations = {layer: x.cpu() for layer, x in extractor(images).items()}
    ranges = ActivationRanges.observe(activations)
    metric = DNAEMD(extractor, ranges=ranges, num_bins=100).to("cuda")
    metric.update(images, real=True)
    expected, bins = torch.zeros(14, 100, dtype=torch.int64), bins_within(*ranges.bounds(), 100)
    for rows, layer in Activations(activations).placed():
        histogram.add_layer_(expected[rows], layer, bins.take(rows))
    assert torch.equal(metric.to_dna(True).counts.cpu(), expected)


@pytest.mark.cuda
@pytest.mark.parametrize("make", [emd, partial(emd, ranges="auto"), frechet, layer_frechet])
def test_a_graph_is_replayed_with_other_images(make: partial[DNAEMD]) -> None:
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
    for each in (metric, expected):
        each.update(REAL.to("cuda"), real=True)
    for step in range(3):
        images.copy_(REAL // (step + 2))
        graph.replay()
        expected.update(images.clone(), real=False)
    torch.testing.assert_close(metric.compute(), expected.compute(), rtol=1e-9, atol=0)


@pytest.mark.cuda
def test_on_a_stream_of_the_users() -> None:
    metric, expected, images = emd().to("cuda"), emd(), [REAL.to("cuda"), FAKE.to("cuda")]
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(20):
            metric.update(images[0], real=True)
            metric.update(images[1], real=False)
    torch.cuda.current_stream().wait_stream(side)
    expected.update(REAL, real=True)
    expected.update(FAKE, real=False)
    assert metric.compute().cpu() == expected.compute()


@pytest.mark.cuda
@pytest.mark.parametrize(("way", "most"), [("triton", 1), ("torch", 128)])
def test_counting_takes_little_memory(way: str, most: int) -> None:
    """In MiB, beyond activations and state."""
    activations = torch.randn(256, 768, 197, device="cuda")
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
    assert (torch.cuda.max_memory_allocated() - before) / 2**20 < most


def one_of_two(rank: int, backend: str) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29541"}
    dist.init_process_group(backend, rank=rank, world_size=2)
    try:
        metric, single = emd().to("cuda"), emd(sync_on_compute=False)
        for real, images in ((True, REAL), (False, FAKE)):
            metric.update(images[rank::2].to("cuda"), real=real)
            single.update(images, real=real)
        assert metric.compute().cpu() == single.compute()
    finally:
        dist.destroy_process_group()


@pytest.mark.cuda
def test_two_processes_on_one_gpu_find_what_one_finds() -> None:
    mp.spawn(one_of_two, ("gloo",), nprocs=2)  # NCCL refuses two processes on one GPU
