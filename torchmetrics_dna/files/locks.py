"""Locks between processes, released when their process ends in any way."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from filelock import FileLock


def lock(path: Path) -> FileLock:
    """Lock a file that is created for it; filelock's Timeout if it is held, by this process or another."""
    held = FileLock(path, timeout=0, thread_local=False)  # it may be released by another thread, at the end
    held.acquire()
    return held


def unlock(held: FileLock) -> None:
    """Delete the file of a lock, then release it; nothing in a forked process, which does not hold it."""
    if not held.is_locked:
        return
    with suppress(OSError):  # Windows deletes no open file
        Path(held.lock_file).unlink()
    held.release()
