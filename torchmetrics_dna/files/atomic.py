"""Atomic writes of files."""

from __future__ import annotations

import os
import secrets
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path, whose file replaces ``path`` atomically after it is flushed to disk.

    On errors, the temporary file is removed and an existing file at ``path`` is unchanged. For a symbolic link, its
    target is replaced or created. Errors are those of :func:`check_folder`.
    """
    check_folder(Path(path))
    path = Path(os.path.realpath(path))
    # unique, since other threads may write the same file
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        yield temporary
        _flush(temporary)
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
        raise FileNotFoundError(f"There is no folder {str(path.parent)!r} to write {path.name!r} to; make it first")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise PermissionError(f"The folder {str(path.parent)!r} may not be written to; choose another output")
    if path.is_symlink() or (path.exists() and not path.is_file()):  # still a link only if it is cyclic
        raise FileExistsError(f"{str(path)!r} is a folder or a device, expected a file; choose another output")


def _flush(path: Path) -> None:
    """Flush a file, or the entries of a folder, to disk."""
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
