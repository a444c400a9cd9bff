"""Which values stay equal to the last bit, and how far others move: a table, measured in one run.

    python tests/benchmarks/exactness.py [--networks efficientnet_lite0 vit_tiny_patch16_224]

All is compared with batches of four in order, on one thread, in one process whose numba cache is warm.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import timm
import torch
from torch import Tensor
from torch import distributed as dist
from torch import multiprocessing as mp

from torchmetrics_dna import DNAEMD, ActivationRanges, DNAExtractor, DNARealism, make_dna
from torchmetrics_dna.demo import photographs

NETWORKS = ("efficientnet_lite0", "vit_tiny_patch16_224")
VALUES = ("counts", "dna-emd", "realism")
Values = dict[str, Tensor]


def network(name: str) -> DNAExtractor:
    torch.manual_seed(0)
    return DNAExtractor(name if name == NETWORKS[0] else timm.create_model(name, pretrained=False))


def pictures() -> Tensor:
    return torch.stack([torch.from_numpy(photo) for photo in photographs(18)]).permute(0, 3, 1, 2).contiguous()


def measure(extractor: DNAExtractor, reference: str, order: Tensor, batch: int) -> Values:
    """Counts and scores of half of the pictures against the DNA of the other half."""
    images = pictures()[9:]
    emd, realism = DNAEMD(extractor, reference=reference), DNARealism(extractor, reference=reference)
    for some in order.split(batch):
        emd.update(images[some], real=False)
        realism.update(images[some], indices=some)
    return dict(zip(VALUES, (emd.to_dna(False).counts, emd.compute(), realism.compute()), strict=True))


def process(rank: int, world: int, name: str, folder: str) -> None:
    """One process of several; the first one's values go to a file."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=world)
    found = measure(network(name), f"{folder}/reference.dna.npz", torch.arange(rank, 9, world), 4)
    if not rank:
        torch.save(found, f"{folder}/values")
    dist.barrier()
    dist.destroy_process_group()


def in_processes(world: int, name: str, folder: str) -> Values:
    Path(folder, "meeting").unlink(missing_ok=True)
    mp.spawn(process, (world, name, folder), nprocs=world)
    return torch.load(f"{folder}/values")


def told(found: Tensor, expected: Tensor) -> str:
    """Whether values are equal, or how many differ and by how much."""
    off = (found - expected).abs()
    if not off.any():
        return "equal"
    most = f"{float(off.max()):.0e}" if off.is_floating_point() else int(off.max())
    return f"{int((off > 0).sum())} of {off.numel():,}, by {most}"


def compare(name: str, folder: str) -> dict[str, list[str]]:
    """``{way: what is told of each value}``."""
    torch.set_num_threads(1)
    extractor, reference, in_order = network(name), f"{folder}/reference.dna.npz", torch.arange(9)
    images = pictures()[:9]
    ranges = extractor.ranges or ActivationRanges.observe(extractor(images))
    make_dna(images, extractor, ranges=ranges).save(reference)
    expected = measure(extractor, reference, in_order, 4)
    found: dict[str, Values] = {}
    for batch in range(1, 10):
        found[f"batches of {batch}"] = measure(extractor, reference, in_order, batch)
    found["backwards"] = measure(extractor, reference, in_order.flip(0), 4)
    found["shuffled"] = measure(extractor, reference, torch.randperm(9), 5)
    for threads in (1, 2, 4):
        torch.set_num_threads(threads)
        for batch in (1, 9):
            found[f"{threads} threads, batches of {batch}"] = measure(extractor, reference, in_order, batch)
    for world in (1, 2, 4):
        found[f"{world} processes"] = in_processes(world, name, folder)
    os.environ["NUMBA_CACHE_DIR"] = f"{folder}/numba"
    for cache in ("cold", "warm"):
        found[f"numba cache {cache}"] = in_processes(1, name, folder)
    del os.environ["NUMBA_CACHE_DIR"]
    return {way: [told(values[key], expected[key]) for key in VALUES] for way, values in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description="Which values stay equal")
    parser.add_argument("--networks", nargs="+", default=NETWORKS)
    names = parser.parse_args().networks
    columns = []
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            columns.append(compare(name, folder))
    print(f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}\n")
    print("| |" + "".join(f" {name}: {value} |" for name in names for value in VALUES))
    print("|---" * (1 + len(names) * len(VALUES)) + "|")
    for way in columns[0]:
        print(f"| {way} |" + "".join(f" {cell} |" for column in columns for cell in column[way]))


if __name__ == "__main__":
    main()
