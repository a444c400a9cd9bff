"""Threads that read ahead, and worker processes that decode batches, by whatever method these start."""

from __future__ import annotations

import ast
import multiprocessing
import pickle
import signal
import sys
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from itertools import islice
from multiprocessing import resource_tracker
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from queue import Empty, Full, Queue
from threading import Event, Thread
from traceback import walk_stack
from typing import Any, Generic, TypeVar

from torch.utils.data import DataLoader, Dataset

from torchmetrics_dna.files.damage import reason_of
from torchmetrics_dna.images.paths import forget_threads
from torchmetrics_dna.warning import warn

_T = TypeVar("_T")
# Number of items that a reader holds at most. An item may be a frame of some MB.
_QUEUE_SIZE = 8
# Seconds between two checks of a reader if it was stopped.
_SECONDS = 0.1
# Item of a reader after the last one.
_END = object()
_MODULES = "give classes and functions of modules"


def decoded(loader: DataLoader[Any]) -> Iterator[Any]:
    """Yield the batches of a loader of a :class:`Sent` dataset.

    They are decoded in this process, with a warning, if workers would run this script anew, can't start, or can't be
    sent the dataset.
    """
    is_warned = False
    for batch in _start(loader):
        if not isinstance(batch, _Undone):
            yield batch
            continue
        if not is_warned:
            _warn(f"can't open these images ({batch.reason})", _MODULES)
            is_warned = True
        yield loader.dataset[batch.item]


def _start(loader: DataLoader[Any]) -> Iterator[Any]:
    """Start the workers of a loader, and return the iterator over its batches. Without workers, set their number to 0.

    Raises:
        Exception: If a loader without workers can't be iterated over.

    """
    is_sent = loader.num_workers > 0 and multiprocessing.get_start_method() != "fork"
    obstacle = _obstacle() if is_sent else None
    if obstacle is not None:
        _warn(*obstacle)
        loader.num_workers = 0
        is_sent = False
    # torch warns of the error that it raises. Warnings are only ignored where that can happen, because Python then
    # forgets which ones it has shown.
    hidden_warnings = warnings.catch_warnings(action="ignore") if is_sent else nullcontext()
    try:
        with _uninterrupted(), hidden_warnings:
            return iter(loader)
    except Exception as err:
        if not loader.num_workers:
            raise
        if isinstance(err, AttributeError | pickle.PicklingError | TypeError):
            _warn(f"can't be sent these images ({reason_of(err)})", _MODULES)
        else:
            _warn(f"can't start ({reason_of(err)})", "start them in a process that may")
    loader.num_workers = 0
    return iter(loader)


def begin(worker: int) -> None:  # noqa: ARG001
    """Make a worker ready: it may be interrupted from now on, and has connections of its own."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    forget_threads()


class Sent(Dataset[Any]):
    """Dataset that is sent to workers; one that can't open it says so instead of ending."""

    def __init__(self, dataset: Dataset[Any]) -> None:
        self._dataset = dataset

    def __getitem__(self, item: Any) -> Any:
        return self._dataset[item]

    def __reduce__(self) -> tuple[Callable[[bytes], Dataset[Any]], tuple[bytes]]:
        return _opened, (bytes(ForkingPickler.dumps(self._dataset)),)


def _opened(content: bytes) -> Dataset[Any]:
    """Unpickle a dataset in a worker."""
    try:
        return Sent(pickle.loads(content))
    except Exception as err:
        # For example, the script may define a class of the dataset under its guard, where a worker does not find it.
        return _Unopened(reason_of(err))


@dataclass(frozen=True)
class _Undone:
    """Item that a worker without a dataset returns in place of its batch."""

    item: Any
    reason: str


@dataclass(frozen=True)
class _Unopened(Dataset[Any]):
    """Dataset of a worker that can't open the dataset it was sent."""

    reason: str

    def __getitem__(self, item: Any) -> _Undone:
        return _Undone(item, self.reason)


def _warn(reason: str, remedy: str) -> None:
    warn(f"Worker processes {reason}, so images are decoded in this process; for workers, {remedy}")


def _obstacle() -> tuple[str, str] | None:
    """Return why a process can't import the main script before it works, and the remedy, if so."""
    main = sys.modules["__main__"]
    # It is None in notebooks and for `python -c`.
    path: str | None = getattr(main, "__file__", None)
    if path is None:
        return None
    if str(getattr(main.__spec__, "name", "")).endswith("__main__"):
        # Workers do not import the main module of a package.
        return None
    try:
        nodes = list(ast.walk(ast.parse(Path(path).read_bytes())))
    except (OSError, SyntaxError, ValueError):
        return f"can't import this script, {path!r}", "run it from a file"
    guards = [node for node in nodes if isinstance(node, ast.If | ast.IfExp) and _names_itself(node.test)]
    for innermost_frame in sys._current_frames().values():
        for frame, line in walk_stack(innermost_frame):
            is_of_script = frame.f_globals is vars(main) and frame.f_code.co_name == "<module>"
            is_guarded = any(guard.lineno <= line <= (guard.end_lineno or 0) for guard in guards)
            if is_of_script and not is_guarded:
                return "would run this script anew", "put what it does under `if __name__ == '__main__':`"
    return None


def _names_itself(test: ast.expr) -> bool:
    """True if a condition uses ``__name__``."""
    return any(isinstance(node, ast.Name) and node.id == "__name__" for node in ast.walk(test))


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C back in this block: functions that Python calls as it forks drop any exception."""
    # Only the main thread can set handlers. A handler that was not set from Python is None and can't be restored.
    is_main_thread = threading.current_thread() is threading.main_thread()
    if not is_main_thread or signal.getsignal(signal.SIGINT) is None:
        yield
        return
    held_back: list[int] = []
    previous_handler = signal.signal(signal.SIGINT, lambda number, _: held_back.append(number))
    is_blocked = multiprocessing.get_start_method() == "spawn" and hasattr(signal, "pthread_sigmask")
    if is_blocked:
        # The tracker unblocks the signal when it starts, so start the tracker before the signal is blocked.
        resource_tracker.ensure_running()
        # New processes inherit the block, so they print no traces while they import.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        if is_blocked:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        signal.signal(signal.SIGINT, previous_handler)
        if held_back:
            signal.raise_signal(signal.SIGINT)


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
            for source in islice(remaining, readers - len(running)):
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
        # Free the buffered items.
        with suppress(Empty):
            while True:
                self._items.get_nowait()
        # Wait a second at most, because the thread may be blocked on a server that does not answer.
        self._thread.join(1)

    def _run(self) -> None:
        """Read the iterator to its end, or until the thread is stopped."""
        try:
            for item in self._source:
                if not self._put(item):
                    return
            self._put(_END)
        except BaseException as err:
            # It is raised again where the items are read.
            self._put(None, err)

    def _put(self, item: Any, error: BaseException | None = None) -> bool:
        """Wait for room in the queue and add an item; False if stopped."""
        while not self._stopped.is_set():
            with suppress(Full):
                self._items.put((item, error), timeout=_SECONDS)
                return True
        return False
