"""Files that are there whole, or not at all."""

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
    """A path to write to, whose file takes the place of ``path`` once it is complete and on the disk.

    However writing ends, nothing else is left behind, and a file that was at ``path`` stays until it is replaced. A
    symbolic link stays: the file that it points to is replaced, or made where there is none yet.

    Raises:
        FileNotFoundError: If the folder does not exist.
        PermissionError: If this user may not write to it.
        FileExistsError: If something is there that is not a file.

    """
    check_folder(Path(path))
    path = Path(os.path.realpath(path))
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")  # other threads may write the same file
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
    with suppress(OSError):  # not every system can do it, and the file is in its place
        _flush(path.parent)


def check_folder(path: Path) -> None:
    """Check that a file can be written to a path: its folder can be, and nothing but a file is there already.

    Raises:
        FileNotFoundError: If the folder does not exist.
        PermissionError: If this user may not write to it.
        FileExistsError: If something is there that is not a file, such as a folder or a device.

    """
    path = Path(os.path.realpath(path)) if path.is_symlink() else path  # else a message has the path that was given
    if not path.parent.is_dir():
        raise FileNotFoundError(f"There is no folder {str(path.parent)!r} to write {path.name!r} to; make it first")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise PermissionError(f"The folder {str(path.parent)!r} may not be written to; choose another output")
    if path.is_symlink() or (path.exists() and not path.is_file()):  # a link only if it leads back to itself
        raise FileExistsError(f"{str(path)!r} is a folder or a device, expected a file; choose another output")


def _flush(path: Path) -> None:
    """Have a file, or the names in a folder, on the disk."""
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
