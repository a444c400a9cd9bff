"""Fair timing: everything in turns, in one run."""

from __future__ import annotations

import time
from collections.abc import Callable


def in_turns(rounds: int, **calls: Callable[[], object]) -> dict[str, list[float]]:
    """Seconds of each call, one after the other in every round, after one that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return seconds
