"""Fair timing: everything in turns, in one run; and photographs as files."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable
from pathlib import Path


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


def peak_mebibytes() -> float:
    """Peak memory of this process on Linux; `ru_maxrss` begins with that of the process that started it."""
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert peak
    return int(peak[1]) / 1024
