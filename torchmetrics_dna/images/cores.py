"""How many cores there are."""

from __future__ import annotations

import os


def cores() -> int:
    """Cores that this process may use: those that a container or ``taskset`` leaves; not every system tells."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
