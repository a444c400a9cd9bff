"""Tune the allocator of the C library."""

from __future__ import annotations

from functools import cache

import torch

_BLOCK = 2**25 - 2**16  # bytes, just below the largest block from whose release glibc learns


@cache
def keep_freed_memory() -> None:
    """Let glibc keep up to 64 MiB that a forward pass frees, which otherwise is mapped again for the next.

    It keeps twice as much as the largest mapped block that was released, unless the user set `MALLOC_*`. Most networks'
    buffers are smaller, so that their memory is returned and mapped anew, page by page, several times in a pass.
    """
    torch.empty(_BLOCK, dtype=torch.uint8, device="cpu")  # never written to, so it takes no memory
