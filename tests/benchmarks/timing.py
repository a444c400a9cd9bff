"""Fair timing: everything in turns, in one run."""

from __future__ import annotations

import random
import time
from collections.abc import Callable


def in_turns(rounds: int, **calls: Callable[[], object]) -> dict[str, list[float]]:
    """Seconds of each call, once in every round, in an order drawn anew, after a round that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    draw = random.Random(0)
    for turn in range(rounds + 1):
        for name, call in draw.sample(list(calls.items()), len(calls)):
            start = time.perf_counter()
            call()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return seconds
