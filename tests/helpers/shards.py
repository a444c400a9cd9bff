"""Images that processes share, and assertions about them."""

from __future__ import annotations

import torch
from networks import random_images
from torch import Tensor
from torchmetrics.utilities.distributed import gather_all_tensors

MANY = random_images(11, 9)
CROWD, CROWD_FAKE = random_images(40, 11), random_images(40, 12) // 2


def shard(images: Tensor, rank: int, world: int) -> Tensor:
    """Shard of a rank, of unequal sizes; the last rank gets none."""
    if rank == world - 1:
        return images[:0]
    return images[rank :: world - 1]


def equal_everywhere(value: Tensor) -> None:
    assert all(torch.equal(gathered, value) for gathered in gather_all_tensors(value))


def agree(value: Tensor, expected: Tensor) -> None:
    """Assert that a value is equal on all processes, to the last bit, and to one process's value, to the last count."""
    equal_everywhere(value)
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)
