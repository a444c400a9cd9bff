"""Share work among torch's own threads, for code that releases Python's lock.

After an operation torch's threads wait for the next one busily, for milliseconds, so any other threads would have to
share the processor's cores with them just when the network is done.
"""

from __future__ import annotations

import ctypes
import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_T = TypeVar("_T")
_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_PROCESS = os.getpid()
_ROWS = 256  # that are worth a task of their own


def in_threads(tasks: Iterable[Callable[[], _T]]) -> list[_T]:
    """Call all tasks, in any order, on ``torch.get_num_threads()`` threads, this one included.

    Returns:
        What they gave, in any order.

    Raises:
        BaseException: What a task raised; others may not have been called then.

    Example:
        >>> sorted(in_threads([lambda: 1, lambda: 2]))
        [1, 2]

    """
    waiting = deque(tasks)
    done: list[_T] = []
    errors: list[BaseException] = []

    def work(_: Any = None) -> None:
        while waiting and not errors:
            try:
                task = waiting.popleft()  # one thread at a time, by itself
            except IndexError:
                return
            try:
                done.append(task())
            except BaseException as error:
                errors.append(error)

    threads = min(torch.get_num_threads(), len(waiting))
    if threads <= 1:
        work()
    elif (parallel := _torch_parallel()) and os.getpid() == _PROCESS:  # after a fork its threads are gone
        parallel(_CALLBACK(work), None, threads, 0)
    else:
        others = [_pool(os.getpid()).submit(work) for _ in range(threads - 1)]
        work()
        for other in others:
            other.result()
    if errors:
        raise errors[0]
    return done


def in_rows(kernel: Callable[..., None], *arrays: Any) -> None:
    """Call compiled code on all rows of arrays, some at a time, on these threads."""
    in_threads(
        partial(kernel, *(array[first : first + _ROWS] for array in arrays))
        for first in range(0, len(arrays[0]), _ROWS)
    )


@cache
def _torch_parallel() -> Any:
    """``GOMP_parallel`` of the OpenMP library that torch runs on; None if it runs on another."""
    packaged = Path(torch.__file__).parent
    for path in [*packaged.glob("lib/libgomp*"), *packaged.parent.glob("torch.libs/libgomp*")]:
        try:
            return ctypes.CDLL(str(path)).GOMP_parallel
        except (OSError, AttributeError):
            continue
    return None


@lru_cache(maxsize=1)
def _pool(process: int) -> ThreadPoolExecutor:  # noqa: ARG001 - a forked process has no threads but its first
    return ThreadPoolExecutor(thread_name_prefix="torchmetrics_dna")
