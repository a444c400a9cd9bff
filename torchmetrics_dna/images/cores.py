"""Number of available cores."""

from __future__ import annotations

import os


def cores() -> int:
    """Return the number of cores available to this process: its CPU affinity where supported, else all cores."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
