"""Reading ahead changes neither what comes nor its order, and keeps little."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchmetrics_dna.images.workers import read_ahead


def threads() -> int:
    return sum("_run" in thread.name for thread in threading.enumerate())


@given(st.lists(st.lists(st.integers(), max_size=5), max_size=6), st.integers(0, 3))
def test_all_comes_in_order(lists: list[list[int]], readers: int) -> None:
    assert [list(items) for items in read_ahead(map(iter, lists), readers)] == lists


@pytest.mark.parametrize("readers", [1, 3])
def test_little_is_read_ahead_and_threads_end(readers: int) -> None:
    begun, yielded = [0] * 9, [0] * 9
    before = threads()

    def numbers(k: int) -> Iterator[int]:
        begun[k] += 1
        for i in range(1000):
            yielded[k] += 1
            yield i

    streams = read_ahead(map(numbers, range(9)), readers)
    assert list(next(streams)) == list(range(1000))
    second = next(streams)
    assert next(second) == 0
    time.sleep(0.3)
    assert sum(begun) == readers + 1
    assert max(yielded[1:]) <= 32 + 2
    assert threads() == before + readers
    del second
    streams.close()
    time.sleep(0.3)
    assert threads() == before
