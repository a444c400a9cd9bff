"""Start the worker processes of a loader."""

from __future__ import annotations

import ast
import multiprocessing
import signal
import sys
import threading
import warnings
from contextlib import contextmanager, suppress
from pathlib import Path
from pickle import PicklingError
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch.utils.data import DataLoader


def started(loader: DataLoader[Any]) -> Iterator[Any]:
    """Start the workers of a loader, and return the iterator over its batches.

    Without workers, and with a warning, if these would run this script anew, or can't be sent the images.
    """
    if loader.num_workers and multiprocessing.get_start_method() != "fork" and _would_run_anew():
        _do_without(loader, "would run this script anew", "put what it does under `if __name__ == '__main__':`")
    try:
        with _uninterrupted(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Got pickle error")  # torch's, as it raises that error
            return iter(loader)
    except (AttributeError, PicklingError, TypeError) as err:  # of pickle, which starts no worker then
        if not loader.num_workers:
            raise
        _do_without(loader, f"can't be sent these images ({err})", "give classes and functions of modules")
        return iter(loader)


def _do_without(loader: DataLoader[Any], reason: str, remedy: str) -> None:
    warnings.warn(
        f"Worker processes {reason}, so images are decoded in this process; for workers, {remedy}", stacklevel=3
    )
    loader.num_workers = 0


def _would_run_anew() -> bool:
    """True if the main thread is in a statement of the main script that a process which imports it would run, too."""
    main, line = vars(sys.modules["__main__"]), 0
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    while frame is not None:
        if frame.f_globals is main and frame.f_code.co_name == "<module>":
            line = frame.f_lineno
        frame = frame.f_back
    statements: list[ast.stmt] = []
    with suppress(OSError, SyntaxError, ValueError):
        statements = ast.parse(Path(main.get("__file__", "")).read_bytes()).body
    current = [each for each in statements if each.lineno <= line <= (each.end_lineno or each.lineno)]
    names = [
        node.id
        for each in current
        if isinstance(each, ast.If)
        for node in ast.walk(each.test)
        if isinstance(node, ast.Name)
    ]
    return bool(current) and "__name__" not in names


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C back in this block: functions that Python calls as it forks drop any exception."""
    # handlers are set by the main thread, and of Python's kind, or None
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) is None:
        yield
        return
    held: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: held.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if held:
            signal.raise_signal(signal.SIGINT)
