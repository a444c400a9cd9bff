"""Several processes that share the work of one command, as torchrun starts them."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import distributed as dist

if TYPE_CHECKING:
    from collections.abc import Iterator

if dist.is_available():
    # Its functions take the group that there is when they are imported (by timm, for one) for their default, and keep
    # it: threads of a group that nobody can end abort the process when it exits. So they are imported before any is.
    import torch.distributed.nn

_T = TypeVar("_T")


def rank() -> int:
    """This process's number; 0 where there is only one."""
    return dist.get_rank() if _several() else 0


def world_size() -> int:
    """How many processes there are."""
    return dist.get_world_size() if _several() else 1


def gather(value: _T) -> list[_T]:
    """The values of all processes, by rank."""
    if not _several():
        return [value]
    values: list[_T | None] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values  # type: ignore[return-value]


@contextmanager
def joined() -> Iterator[str]:
    """Join the processes that torchrun has started, if it has; gives the device for this one."""
    cuda = torch.cuda.is_available()
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield "cuda" if cuda else "cpu"
        return
    device = f"cuda:{os.environ['LOCAL_RANK']}" if cuda else "cpu"
    if cuda:
        torch.cuda.set_device(device)
    dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo")
    try:
        yield device
    finally:
        dist.destroy_process_group()


def _several() -> bool:
    return dist.is_available() and dist.is_initialized()
