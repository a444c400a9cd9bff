"""Work shared among as many threads as torch uses, for code that lets go of Python's lock."""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_T = TypeVar("_T")


def in_threads(tasks: Iterable[Callable[[], _T]]) -> list[_T]:
    """Call all tasks, in any order, on ``torch.get_num_threads()`` threads, this one included.

    Returns:
        What they gave, in any order.

    Example:
        >>> sorted(in_threads([lambda: 1, lambda: 2]))
        [1, 2]

    """
    waiting = deque(tasks)

    def work() -> list[_T]:
        done: list[_T] = []
        while True:
            try:
                task = waiting.popleft()  # one thread at a time, by itself
            except IndexError:
                return done
            done.append(task())

    helpers = min(torch.get_num_threads(), len(waiting)) - 1
    others = [_pool(os.getpid()).submit(work) for _ in range(helpers)] if helpers > 0 else []
    done = work()
    for other in others:
        done += other.result()
    return done


@lru_cache(maxsize=1)
def _pool(process: int) -> ThreadPoolExecutor:  # noqa: ARG001 - a forked process has no threads but its first
    return ThreadPoolExecutor(thread_name_prefix="torchmetrics_dna")
