"""Start the worker processes of a loader."""

from __future__ import annotations

import multiprocessing
import sys
import warnings
from contextlib import suppress
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
        with warnings.catch_warnings():
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
    """True if the main script does not ask for its name, so that a process which imports it would run it, too."""
    with suppress(OSError, TypeError):
        return b"__name__" not in Path(getattr(sys.modules["__main__"], "__file__", None)).read_bytes()
    return False
