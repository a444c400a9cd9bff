"""Threads that read ahead, and worker processes that decode batches, for all start methods of processes."""

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
from types import ModuleType
from typing import Any, Generic, TypeVar

from torch.utils.data import DataLoader, Dataset

from torchmetrics_dna.files.damage import reason_of
from torchmetrics_dna.images.paths import forget_threads
from torchmetrics_dna.warning import warn

_T = TypeVar("_T")
# Maximum number of items that a reader buffers. An item may be a video frame of several MB.
_QUEUE_SIZE = 8
# Time in seconds after which a waiting reader checks again if it was stopped.
_SECONDS = 0.1
# Item that a reader appends after its last item.
_END = object()
# Remedy for objects that can't be sent to worker processes.
_MODULES = "pass classes and functions of modules"


def decoded(loader: DataLoader[Any]) -> Iterator[Any]:
    """Yield the batches of a loader, whose dataset is a :class:`Sent`.

    If worker processes can't be used, the batches are decoded in this process, with a warning. Workers can't be used if
    they would run the main script again, can't start, or can't unpickle the dataset.
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
    """Start the workers of a loader, and return the iterator over its batches.

    If no workers can be used, warn and set the number of workers to 0.

    Raises:
        Exception: If an iterator without workers can't be made.

    """
    is_pickled = loader.num_workers > 0 and multiprocessing.get_start_method() != "fork"
    obstacle = _obstacle() if is_pickled else None
    if obstacle is not None:
        _warn(*obstacle)
        loader.num_workers = 0
    if loader.num_workers == 0:
        return iter(loader)
    # Hide the warning with which torch precedes an error of pickling. Do this only if the error is possible, because
    # Python shows other warnings again after warnings were hidden.
    hidden_warnings = warnings.catch_warnings(action="ignore") if is_pickled else nullcontext()
    try:
        with _uninterrupted(), hidden_warnings:
            return iter(loader)
    except (AttributeError, pickle.PicklingError, TypeError) as err:
        _warn(f"can't be sent these images ({reason_of(err)})", _MODULES)
    except Exception as err:
        _warn(f"can't start ({reason_of(err)})", "start them in a process that may")
    loader.num_workers = 0
    return iter(loader)


def begin(worker: int) -> None:  # noqa: ARG001
    """Prepare a worker process: unblock interrupts, and reset the connections that it inherited."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    forget_threads()


class Sent(Dataset[Any]):
    """Dataset that is sent to worker processes.

    If a worker can't unpickle the dataset, its items are replaced by :class:`_Undone`. The worker does not end.
    """

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
        # For example, a class may be defined below `if __name__ == "__main__":`, where a worker does not find it.
        return _Unopened(reason_of(err))


@dataclass(frozen=True)
class _Undone:
    """Result of a worker that can't unpickle the dataset, in place of a batch.

    Attributes:
        item: Item of the loader from which the batch is to be made.
        reason: Reason why the worker can't unpickle the dataset.

    """

    item: Any
    reason: str


@dataclass(frozen=True)
class _Unopened(Dataset[Any]):
    """Dataset of a worker that can't unpickle the actual dataset."""

    reason: str

    def __getitem__(self, item: Any) -> _Undone:
        return _Undone(item, self.reason)


def _warn(reason: str, remedy: str) -> None:
    """Warn that images are decoded in this process."""
    warn(f"Worker processes {reason}, so images are decoded in this process; for workers, {remedy}")


def _obstacle() -> tuple[str, str] | None:
    """Return why a worker process can't import the main script, and the remedy. Return None if it can."""
    main = sys.modules["__main__"]
    # The path is None in notebooks and for `python -c`.
    path: str | None = getattr(main, "__file__", None)
    if path is None:
        return None
    if str(getattr(main.__spec__, "name", "")).endswith("__main__"):
        # Workers do not import the main module of a package.
        return None
    try:
        script = ast.parse(Path(path).read_bytes())
    except (OSError, SyntaxError, ValueError):
        return f"can't import this script, {path!r}", "run it from a file"
    if _runs_without_guard(main, script):
        return "would run this script anew", "put what it does under `if __name__ == '__main__':`"
    return None


def _runs_without_guard(main: ModuleType, script: ast.Module) -> bool:
    """Return True if a line of the main script is running that would also run if the script was imported.

    This is a line at the level of the module outside of ``if __name__ == "__main__":``.
    """
    guards = [node for node in ast.walk(script) if isinstance(node, ast.If | ast.IfExp) and _names_itself(node.test)]
    for innermost_frame in sys._current_frames().values():
        for frame, line in walk_stack(innermost_frame):
            is_of_script = frame.f_globals is vars(main) and frame.f_code.co_name == "<module>"
            is_guarded = any(guard.lineno <= line <= (guard.end_lineno or 0) for guard in guards)
            if is_of_script and not is_guarded:
                return True
    return False


def _names_itself(test: ast.expr) -> bool:
    """Return True if a condition contains the variable ``__name__``."""
    return any(isinstance(node, ast.Name) and node.id == "__name__" for node in ast.walk(test))


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Delay an interrupt (Ctrl-C) to the end of the block, in which processes are started.

    When Python forks a process, exceptions of its handlers are ignored, so that an interrupt would be lost.
    """
    # Only the main thread can set signal handlers. A handler that was not set by Python code is None, and can't be
    # restored.
    is_main_thread = threading.current_thread() is threading.main_thread()
    if not is_main_thread or signal.getsignal(signal.SIGINT) is None:
        yield
        return
    delayed_signals: list[int] = []
    previous_handler = signal.signal(signal.SIGINT, lambda number, _: delayed_signals.append(number))
    try:
        with _blocked_for_spawned_processes():
            yield
    finally:
        signal.signal(signal.SIGINT, previous_handler)
        if delayed_signals:
            signal.raise_signal(signal.SIGINT)


@contextmanager
def _blocked_for_spawned_processes() -> Iterator[None]:
    """Block an interrupt (Ctrl-C) in the processes that are spawned in the block, until they unblock it.

    Otherwise, an interrupt would print their tracebacks while they import. Processes that are not spawned are not
    affected, and neither are those of systems without signal masks.
    """
    if multiprocessing.get_start_method() != "spawn" or not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # Start the resource tracker first, because it unblocks the signal when it starts.
    resource_tracker.ensure_running()
    # Block the signal in this process, because new processes inherit its mask.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def read_ahead(sources: Iterable[Iterator[_T]], readers: int) -> Iterator[Iterator[_T]]:
    """Yield iterators over the items of each source, in order, while threads read the next sources ahead.

    Exhaust each iterator before you request the next iterator.

    Args:
        sources: Iterators, each of which is read by one thread.
        readers: Number of threads. Each thread buffers up to 8 items. With 0, no items are read ahead.

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
            # The caller has read this iterator to its end, because it requests the next one.
            running.popleft().stop()
    finally:
        for reader in running:
            reader.stop()


class _Reader(Generic[_T]):
    """Thread that reads an iterator into a queue of limited size."""

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
        """Stop the thread."""
        self._stopped.set()
        # Empty the queue to free the memory of the buffered items.
        with suppress(Empty):
            while True:
                self._items.get_nowait()
        # Wait for one second at most, because the thread may be waiting for a server that does not respond.
        self._thread.join(1)

    def _run(self) -> None:
        """Read the iterator to its end, or until the thread is stopped."""
        try:
            for item in self._source:
                if not self._put(item):
                    return
            self._put(_END)
        except BaseException as err:
            # Pass the error on. It is raised again in the thread that reads the items.
            self._put(None, err)

    def _put(self, item: Any, error: BaseException | None = None) -> bool:
        """Wait for space in the queue and add an item. Return False if the reader was stopped."""
        while not self._stopped.is_set():
            with suppress(Full):
                self._items.put((item, error), timeout=_SECONDS)
                return True
        return False
