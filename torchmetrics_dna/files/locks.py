"""Locks between processes, released when their process ends in any way."""

from __future__ import annotations

import os
import sys
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

if sys.platform != "win32":
    import fcntl

_held: set[int] = set()


class Lock:
    """Lock on a file that is created for it and deleted on release; a no-op on Windows.

    Raises:
        BlockingIOError: If the lock is held, by this process or another.

    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle = -1
        while sys.platform != "win32" and not self._is_at_path():  # it may be deleted between opening and locking
            self.release()
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            self._acquire()
            _held.add(self._handle)

    def release(self) -> None:
        """Delete the file, then release the lock."""
        if self._handle < 0:
            return
        if self._is_at_path():
            self._path.unlink()
        _held.discard(self._handle)
        os.close(self._handle)
        self._handle = -1

    def _acquire(self) -> None:
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._handle)
            self._handle = -1
            raise
        except OSError as err:  # some file systems of clusters have no locks
            warnings.warn(
                f"{str(self._path)!r} can't be locked ({err}); see that nobody else writes there", stacklevel=3
            )

    def _is_at_path(self) -> bool:
        try:
            return self._handle >= 0 and os.path.samestat(os.fstat(self._handle), self._path.stat())
        except FileNotFoundError:
            return False


def _forget() -> None:
    """Close the handles that a forked process, such as a worker, inherited: else it would hold the locks, too."""
    for handle in _held:
        os.close(handle)
    _held.clear()


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_forget)
