"""What each of two processes computes in ``tests/metrics/test_two_processes.py``; a process imports it by this name."""

from __future__ import annotations

import datetime

import torch
from limits import HANG
from networks import pixels, random_images
from torch import Tensor
from torch import distributed as dist

from torchmetrics_dna import DNAEMD, DNAFrechet

EXTRACTOR, RANGES = pixels()
# Images of 16 pixels have exact means, so that even sums of squares do not depend on the order of images.
SIZE = (4, 4)
REAL = random_images(7, 0, SIZE)
FAKE = random_images(5, 1, SIZE) // 2


def make_metrics() -> dict[str, DNAEMD | DNAFrechet]:
    return {
        "dna-emd": DNAEMD(EXTRACTOR, ranges=RANGES, num_bins=40),
        "dna-emd with its own ranges": DNAEMD(EXTRACTOR, ranges="auto", num_bins=40),
        "dna-emd of layers": DNAEMD(EXTRACTOR, ranges=RANGES, num_bins=40, reduction="layer"),
        "dna-fd": DNAFrechet(EXTRACTOR),
    }


def values_of(real: Tensor, fake: Tensor) -> dict[str, Tensor | dict[str, Tensor]]:
    """Return the value of each metric after updates with batches of two images, across processes if there are any."""
    values = {}
    for name, metric in make_metrics().items():
        for batch in real.split(2):
            metric.update(batch, real=True)
        for batch in fake.split(2):
            metric.update(batch, real=False)
        values[name] = metric.compute()
    return values


def values_of_rank(rank: int, meeting: str) -> dict[str, Tensor | dict[str, Tensor]]:
    """Join the group of two processes, and return the values of this process, which has a share of the images."""
    torch.set_num_threads(1)
    timeout = datetime.timedelta(seconds=HANG)
    dist.init_process_group("gloo", store=dist.FileStore(meeting, 2), rank=rank, world_size=2, timeout=timeout)
    try:
        return values_of(REAL[rank::2], FAKE[rank::2])
    finally:
        dist.destroy_process_group()
