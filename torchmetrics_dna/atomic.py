"""Files that are there whole, or not at all."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A path to write to, whose file takes the place of ``path`` once it is complete.

    However writing ends, nothing else is left behind, and a file that was at ``path`` stays until it is replaced.

    Raises:
        FileNotFoundError: If the folder does not exist.

    """
    path = Path(path)
    check_folder(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as err:
        if err.filename in (None, str(temporary)):
            err.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def check_folder(path: Path) -> None:
    """FileNotFoundError unless there is a folder for a file to be written to."""
    if not path.parent.is_dir():
        raise FileNotFoundError(f"There is no folder {str(path.parent)!r} to write {path.name!r} to; make it first")
