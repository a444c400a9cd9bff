"""Locks between processes, released when their process ends in any way."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from filelock import FileLock


def file_lock(path: Path) -> FileLock:
    """Return a lock whose ``acquire`` creates a file, with filelock's Timeout if this process or another has it.

    It is not acquired here: who does so must first have it, to release it if interrupted.
    """
    return FileLock(path, timeout=0, thread_local=False)  # it may be released by another thread, at the end


def unlock(held: FileLock) -> None:
    """Delete the file of a lock, then release it; nothing in a forked process, which does not hold it."""
    if not held.is_locked:
        return
    try:
        with suppress(OSError):  # Windows deletes no open file
            Path(held.lock_file).unlink()
    finally:
        held.release(force=True)  # however often it was acquired
