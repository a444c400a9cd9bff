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

_TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{8}")


def final_name(name: str) -> str:
    """Return the name of the file that a temporary one was to replace, or of a file that is none."""
    match = _TEMPORARY.fullmatch(name)
    return match[1] if match else name


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path, whose file replaces ``path`` atomically after it is flushed to disk.

    On errors, the temporary file is removed and an existing file at ``path`` is unchanged, whose mode the new one gets;
    until then nobody else may read it. For a symbolic link, its target is replaced or created. Errors are those of
    :func:`check_folder`.
    """
    check_folder(Path(path))
    path = Path(os.path.realpath(path))
    # unique, since other threads may write the same file; as `final_name` knows it
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
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
        if err.filename == str(temporary) or (err.filename is None and err.errno is not None):
            err.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)
    with suppress(OSError):  # not supported on every system; the file is in place
        _flush(path.parent)


def check_folder(path: Path) -> None:
    """Check that a file can be written to a path.

    Raises FileNotFoundError if the folder does not exist, PermissionError if it is not writable, FileExistsError if
    something other than a file exists there, such as a folder or a device.
    """
    path = Path(os.path.realpath(path)) if path.is_symlink() else path  # keep the given path for messages otherwise
    if not path.parent.is_dir():
        raise FileNotFoundError(f"There is no folder {str(path.parent)!r} to write {path.name!r} to")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise PermissionError(f"The folder {str(path.parent)!r} may not be written to")
    if path.is_symlink() or (path.exists() and not path.is_file()):  # still a link only if it is cyclic
        raise FileExistsError(f"{str(path)!r} is a folder or a device, expected a file")


def _flush(path: Path) -> None:
    """Flush a file, or the entries of a folder, to disk."""
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def file_lock(path: Path) -> FileLock:
    """Return a lock whose ``acquire`` creates a file, with filelock's Timeout if this process or another has it.

    It is not acquired here: who does so must first have it, to release it if interrupted.
    """
    from filelock import FileLock  # takes a moment to import, and warns where there is no fcntl

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
