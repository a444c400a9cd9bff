"""The one limit of time in tests: against what never ends, on a machine that has ten times as much to do."""

from __future__ import annotations

import time
from collections.abc import Callable

HANG = 1800  # seconds; no measure of anything


def until(condition: Callable[[], bool]) -> bool:
    """Wait for what other threads or processes will bring about; return whether they did."""
    end = time.monotonic() + HANG
    while not (holds := condition()) and time.monotonic() < end:
        time.sleep(0.01)
    return holds
