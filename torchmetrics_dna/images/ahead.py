"""Read iterators ahead in threads."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_T = TypeVar("_T")
_QUEUE_SIZE = 8  # items of a reader, which may be frames of some MB
_SECONDS = 0.1  # between checks of a reader whether it was stopped
_END = object()


def read_ahead(sources: Iterable[Iterator[_T]], readers: int) -> Iterator[Iterator[_T]]:
    """Yield the same iterators in the same order, while ``readers`` threads read the next ones ahead.

    Exhaust each iterator before the next. Up to 8 items of each are buffered; with no readers nothing is read ahead.

    Example:
        >>> [list(items) for items in read_ahead(iter([iter("ab"), iter("c")]), readers=2)]
        [['a', 'b'], ['c']]

    """
    if not readers:
        yield from sources
        return
    remaining = iter(sources)
    running: deque[_Reader[_T]] = deque()
    try:
        while True:
            while len(running) < readers and (source := next(remaining, None)) is not None:
                running.append(_Reader(source))
            if not running:
                return
            yield iter(running[0])
            running.popleft().stop()
    finally:
        for reader in running:
            reader.stop()


class _Reader(Generic[_T]):
    """Thread that reads an iterator into a bounded queue."""

    def __init__(self, source: Iterator[_T]) -> None:
        self._source = source
        self._items: Queue[tuple[Any, BaseException | None]] = Queue(_QUEUE_SIZE)
        self._stopped = Event()
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[_T]:
        while True:
            item, error = self._items.get()
            if error is not None:
                raise error
            if item is _END:
                return
            yield item

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        with suppress(Empty):  # frees the buffered items
            while True:
                self._items.get_nowait()
        self._thread.join(1)  # not longer: it may be blocked on a server that does not answer

    def _run(self) -> None:
        try:
            for item in self._source:
                if not self._put(item):
                    return
            self._put(_END)
        except BaseException as err:  # raised again in the consumer
            self._put(None, err)

    def _put(self, item: Any, error: BaseException | None = None) -> bool:
        """Wait for room in the queue and add an item; False if stopped."""
        while not self._stopped.is_set():
            with suppress(Full):
                self._items.put((item, error), timeout=_SECONDS)
                return True
        return False
