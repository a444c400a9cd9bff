"""Atomic writes of files, and lock files."""

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
    """Return the name of the file that a temporary file would have replaced.

    The name of any other file is returned as it is.
    """
    match = _TEMPORARY.fullmatch(name)
    return match[1] if match else name


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path to write to. At the end of the block, the temporary file replaces ``path`` atomically.

    Before that, the temporary file is flushed to disk. If ``path`` exists, the new file gets the mode of the existing
    file. While it is written, only its owner may read it. If the block raises an error, the temporary file is removed
    and an existing file is unchanged. If ``path`` is a symbolic link, its target is replaced or created.

    Raises:
        OSError: If the file can't be written, see :func:`check_folder`.

    """
    check_folder(Path(path))
    path = Path(os.path.realpath(path))
    # Use a unique name, because other threads may write the same file. `final_name` parses this name.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    # Mode of the existing file; None if there is none.
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else None
    try:
        if mode is not None:
            temporary.touch(0o600)
        yield temporary
        _flush(temporary)
        if mode is not None:
            temporary.chmod(mode)
        temporary.replace(path)
    except OSError as err:
        # Report the final file instead of the temporary file. The error of a full disk has no file name.
        is_without_name = err.filename is None and err.errno is not None
        if is_without_name or err.filename == str(temporary):
            err.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)
    # Ignore errors: the file is in place, and not every system can flush a folder.
    with suppress(OSError):
        _flush(path.parent)


def check_folder(path: Path) -> None:
    """Check that a file can be written to a path.

    Raises:
        FileNotFoundError: If the folder does not exist.
        PermissionError: If the folder is not writable.
        FileExistsError: If the path exists but is not a file, such as a folder or a device.

    """
    # Resolve only links, so that messages show other paths as they were passed.
    if path.is_symlink():
        path = Path(os.path.realpath(path))
    if not path.parent.is_dir():
        raise FileNotFoundError(f"There is no folder {str(path.parent)!r} to write {path.name!r} to")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise PermissionError(f"The folder {str(path.parent)!r} may not be written to")
    # A path that is still a link after it was resolved above is a cyclic link.
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise FileExistsError(f"{str(path)!r} is a folder or a device, expected a file")


def _flush(path: Path) -> None:
    """Flush a file to disk. For a folder, flush its list of files."""
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def file_lock(path: Path) -> FileLock:
    """Return a lock that is not acquired yet, so that the caller can release it if ``acquire`` is interrupted.

    The method ``acquire`` creates the file at ``path``. It raises ``filelock.Timeout`` if the lock is held already.
    """
    # Import filelock only here: the import takes a moment, and warns on systems without fcntl.
    from filelock import FileLock

    # Share the lock among threads, because another thread may release it at the end of the process.
    return FileLock(path, timeout=0, thread_local=False)


def unlock(held: FileLock) -> None:
    """Delete the file of a lock, then release the lock. Do nothing if this process does not hold the lock.

    A forked process does not hold the locks of its parent.
    """
    if not held.is_locked:
        return
    try:
        # Ignore errors, because Windows can't delete an open file.
        with suppress(OSError):
            Path(held.lock_file).unlink()
    finally:
        # Release the lock even if it was acquired several times.
        held.release(force=True)
