"""Tune the allocator of the C library."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h


def keep_freed_memory() -> None:
    """Let glibc keep memory that a forward pass frees, which otherwise is mapped again, page by page, for the next."""
    if any(name.startswith("MALLOC_") for name in os.environ):
        return  # set by the user
    with suppress(AttributeError, TypeError, OSError):  # another C library
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, 20 << 20)  # just above the largest buffer of the default network
        libc.mallopt(_M_TRIM_THRESHOLD, 80 << 20)  # larger values gain little speed for their memory
