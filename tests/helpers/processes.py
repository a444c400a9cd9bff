"""Real processes that talk over gloo."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path

import torch
from torch import distributed as dist
from torch import multiprocessing

# processes are forked from one that has imported all this, which takes a second processor for seconds each time
multiprocessing.set_forkserver_preload([
    "torch.distributed.fsdp", "timm", "torchmetrics", "torchmetrics_dna.metrics", "pytest",
])  # fmt: skip


def run(world: int, worker: Callable[..., None], folder: Path, *arguments: object) -> None:
    """Call ``worker(rank, world, *arguments)`` in as many processes; errors of any of them are raised here."""
    meeting = folder / f"{worker.__name__}-{world}"
    multiprocessing.start_processes(
        _start, (world, worker, str(meeting), arguments), nprocs=world, start_method="forkserver"
    )


def _start(rank: int, world: int, worker: Callable[..., None], meeting: str, arguments: tuple[object, ...]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{meeting}",
        rank=rank,
        world_size=world,
        timeout=datetime.timedelta(seconds=60),
    )
    try:
        worker(rank, world, *arguments)
        dist.barrier()
    finally:
        dist.destroy_process_group()
