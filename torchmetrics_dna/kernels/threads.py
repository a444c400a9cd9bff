"""Run tasks that release the GIL in torch's own threads.

Torch's threads spin for milliseconds after an operation, so other threads would compete with them for the cores just
when the network is done.
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
_ROWS = 256  # rows per task


def in_threads(tasks: Iterable[Callable[[], _T]]) -> list[_T]:
    """Call all tasks, in any order, on ``torch.get_num_threads()`` threads, including this one.

    Returns:
        Results, in any order.

    Raises:
        BaseException: The first error of a task; remaining tasks are not called.

    Example:
        >>> sorted(in_threads([lambda: 1, lambda: 2]))
        [1, 2]

    """
    pending = deque(tasks)
    done: list[_T] = []
    errors: list[BaseException] = []

    def work(_: Any = None) -> None:
        while pending and not errors:
            try:
                task = pending.popleft()  # atomic
            except IndexError:
                return
            try:
                done.append(task())
            except BaseException as error:
                errors.append(error)

    threads = min(torch.get_num_threads(), len(pending))
    if threads <= 1:
        work()
    elif (parallel := _torch_parallel()) and os.getpid() == _PROCESS:  # its threads do not survive a fork
        parallel(_CALLBACK(work), None, threads, 0)
    else:
        futures = [_pool(os.getpid()).submit(work) for _ in range(threads - 1)]
        work()
        for future in futures:
            future.result()
    if errors:
        raise errors[0]
    return done


def in_rows(kernel: Callable[..., None], *arrays: Any) -> None:
    """Call a kernel on chunks of rows of arrays, in these threads."""
    in_threads(
        partial(kernel, *(array[first : first + _ROWS] for array in arrays))
        for first in range(0, len(arrays[0]), _ROWS)
    )


@cache
def _torch_parallel() -> Any:
    """Return ``GOMP_parallel`` of the OpenMP library that torch uses; None for another library."""
    packaged = Path(torch.__file__).parent
    for path in [*packaged.glob("lib/libgomp*"), *packaged.parent.glob("torch.libs/libgomp*")]:
        try:
            return ctypes.CDLL(str(path)).GOMP_parallel
        except (OSError, AttributeError):
            continue
    return None


@lru_cache(maxsize=1)
def _pool(process: int) -> ThreadPoolExecutor:  # noqa: ARG001 - cache key: a forked process needs a new pool
    return ThreadPoolExecutor(thread_name_prefix="torchmetrics_dna")
