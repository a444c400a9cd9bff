"""Table of the values that stay equal to the last bit, and of the errors of the others, measured in one run.

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
    feature = name if name == NETWORKS[0] else timm.create_model(name, pretrained=False)
    return DNAExtractor(feature)


def in_other_layout(name: str) -> DNAExtractor:
    """A named network with contiguous weights, which run channels last otherwise; a module with the reverse."""
    extractor = network(name)
    extractor(pictures()[:1])  # arranges the weights of a named network
    named = name == NETWORKS[0]
    extractor.network.to(memory_format=torch.contiguous_format if named else torch.channels_last)
    return extractor


def pictures() -> Tensor:
    return torch.stack([torch.from_numpy(photo) for photo in photographs(18)]).permute(0, 3, 1, 2).contiguous()


def measure(extractor: DNAExtractor, reference: str, order: Tensor, batch: int) -> Values:
    """Counts and scores of half of the pictures against the DNA of the other half."""
    images = pictures()[9:]
    emd, realism = DNAEMD(extractor, reference=reference), DNARealism(extractor, reference=reference)
    for indices in order.split(batch):
        emd.update(images[indices], real=False)
        realism.update(images[indices], indices=indices)
    return dict(zip(VALUES, (emd.to_dna(False).counts, emd.compute(), realism.compute()), strict=True))


def process(rank: int, world: int, name: str, folder: str) -> None:
    """Run one process of several; rank 0 writes its values to a file."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=world)
    values = measure(network(name), f"{folder}/reference.dna.npz", torch.arange(rank, 9, world), 4)
    if not rank:
        torch.save(values, f"{folder}/values")
    dist.barrier()
    dist.destroy_process_group()


def in_processes(world: int, name: str, folder: str) -> Values:
    Path(folder, "meeting").unlink(missing_ok=True)
    mp.spawn(process, (world, name, folder), nprocs=world)
    return torch.load(f"{folder}/values")


def difference(actual: Tensor, expected: Tensor) -> str:
    """Describe the difference: "equal", or the number of values that differ and the largest error."""
    error = (actual - expected).abs()
    if not error.any():
        return "equal"
    most = f"{float(error.max()):.0e}" if error.is_floating_point() else int(error.max())
    return f"{int((error > 0).sum())} of {error.numel():,}, by {most}"


def compare(name: str, folder: str) -> dict[str, list[str]]:
    """Return ``{way: difference of each value}``."""
    torch.set_num_threads(1)
    extractor, reference, in_order = network(name), f"{folder}/reference.dna.npz", torch.arange(9)
    images = pictures()[:9]
    ranges = extractor.ranges or ActivationRanges.observe(extractor(images))
    make_dna(images, extractor, ranges=ranges).save(reference)
    expected = measure(extractor, reference, in_order, 4)
    values_of_way: dict[str, Values] = {}
    for batch in range(1, 10):
        values_of_way[f"batches of {batch}"] = measure(extractor, reference, in_order, batch)
    values_of_way["backwards"] = measure(extractor, reference, in_order.flip(0), 4)
    values_of_way["shuffled"] = measure(extractor, reference, torch.randperm(9), 5)
    for threads in (1, 2, 4):
        torch.set_num_threads(threads)
        for batch in (1, 9):
            values_of_way[f"{threads} threads, batches of {batch}"] = measure(extractor, reference, in_order, batch)
    for world in (1, 2, 4):
        values_of_way[f"{world} processes"] = in_processes(world, name, folder)
    torch.set_num_threads(1)
    values_of_way["other layout of weights"] = measure(in_other_layout(name), reference, in_order, 4)
    os.environ["NUMBA_CACHE_DIR"] = f"{folder}/numba"
    for cache in ("cold", "warm"):
        values_of_way[f"numba cache {cache}"] = in_processes(1, name, folder)
    del os.environ["NUMBA_CACHE_DIR"]
    return {way: [difference(values[key], expected[key]) for key in VALUES] for way, values in values_of_way.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description="Values that stay equal")
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
