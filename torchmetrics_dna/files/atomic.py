"""Atomic writes of files."""

from __future__ import annotations

import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filelock import FileLock

# Name of a temporary file: a dot, the name of the file that it replaces, and 8 random hexadecimal digits.
_TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{8}")


def final_name(name: str) -> str:
    """Return the name of the file that a temporary file was to replace; the name of any other file as it is."""
    match = _TEMPORARY.fullmatch(name)
    return match[1] if match else name


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path, whose file replaces ``path`` atomically after it is flushed to disk.

    The new file gets the mode of an existing file at ``path``. Until then only its owner may read it. On errors, the
    temporary file is removed and an existing file is unchanged. For a symbolic link, its target is replaced or created.
    Errors are those of :func:`check_folder`.
    """
    check_folder(Path(path))
    path = Path(os.path.realpath(path))
    # The name is unique, since other threads may write the same file. `final_name` parses it.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    mode = None
    if path.exists():
        mode = stat.S_IMODE(path.stat().st_mode)
    try:
        if mode is not None:
            temporary.touch(0o600)
        yield temporary
        _flush(temporary)
        if mode is not None:
            temporary.chmod(mode)
        temporary.replace(path)
    except OSError as err:
        # The error of a full disk names no file.
        is_unnamed = err.filename is None and err.errno is not None
        if is_unnamed or err.filename == str(temporary):
            err.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)
    # The file is in place. Not every system can flush a folder.
    with suppress(OSError):
        _flush(path.parent)


def check_folder(path: Path) -> None:
    """Check that a file can be written to a path.

    Raises:
        FileNotFoundError: If the folder does not exist.
        PermissionError: If it is not writable.
        FileExistsError: If something other than a file exists there, such as a folder or a device.

    """
    # Other paths are kept as they were passed, for messages.
    if path.is_symlink():
        path = Path(os.path.realpath(path))
    if not path.parent.is_dir():
        raise FileNotFoundError(f"There is no folder {str(path.parent)!r} to write {path.name!r} to")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise PermissionError(f"The folder {str(path.parent)!r} may not be written to")
    # After the resolution above, a path is still a link only if the link is cyclic.
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise FileExistsError(f"{str(path)!r} is a folder or a device, expected a file")


def _flush(path: Path) -> None:
    """Flush a file, or the entries of a folder, to disk."""
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def file_lock(path: Path) -> FileLock:
    """Return a lock whose ``acquire`` creates a file. It raises filelock's Timeout if any process holds the lock.

    The lock is not acquired here, so that the caller can release it if ``acquire`` is interrupted.
    """
    # The import takes a moment, and warns where there is no fcntl.
    from filelock import FileLock

    # Another thread may release the lock at the end of the process, so it is not local to this thread.
    return FileLock(path, timeout=0, thread_local=False)


def unlock(held: FileLock) -> None:
    """Delete the file of a lock, then release it. A forked process does not hold the lock, so it does nothing."""
    if not held.is_locked:
        return
    try:
        # Windows can't delete an open file.
        with suppress(OSError):
            Path(held.lock_file).unlink()
    finally:
        # This releases the lock even if it was acquired several times.
        held.release(force=True)
