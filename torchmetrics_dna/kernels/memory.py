"""How the C library keeps memory."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h


def keep_freed_memory() -> None:
    """Let glibc keep what a forward pass frees for the next one, which else is mapped anew, page by page."""
    if any(name.startswith("MALLOC_") for name in os.environ):
        return  # the user has decided
    with suppress(AttributeError, TypeError, OSError):  # another C library
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, 20 << 20)  # a little more than the largest of the default network
        libc.mallopt(_M_TRIM_THRESHOLD, 80 << 20)  # more is faster by little, and costs as much memory
