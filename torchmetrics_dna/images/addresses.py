"""Addresses of files, such as ``s3://bucket/x``, which fsspec reads and writes."""

from __future__ import annotations

import re
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeGuard, cast

from torchmetrics_dna.extras import require
from torchmetrics_dna.files.atomic import check_folder
from torchmetrics_dna.files.damage import reason_of

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

_ADDRESS = re.compile("[A-Za-z][A-Za-z0-9+.-]+://")
_PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "http": "aiohttp", "https": "aiohttp"}
_BUCKETS = ("s3", "s3a", "gs", "gcs")  # which have no folders that could be missing


def is_address(path: object) -> TypeGuard[str]:
    """Whether a path is an address, such as ``s3://bucket/photos.tar``."""
    return isinstance(path, str) and _ADDRESS.match(path) is not None


def system_of(address: str, doing: str = "read") -> tuple[Any, str]:
    """The file system of an address, of this process, and the path there; to be called within :func:`asking`.

    Raises:
        ModuleNotFoundError: If a package is missing that such an address takes.
        ValueError: If nobody knows such addresses.

    """
    protocol = address.partition("://")[0].lower()
    if protocol in _PACKAGES:
        require(_PACKAGES[protocol], "remote")
    core = require("fsspec.core", "remote")
    try:
        return cast("tuple[Any, str]", core.url_to_fs(address))
    except ImportError as err:
        raise ModuleNotFoundError(f"To {doing} {address!r}: {reason_of(err)}") from err
    except ValueError as err:
        if "Protocol not known" not in str(err):
            raise
        raise _UnknownError(
            f"{address!r} is an address of an unknown kind; expected https://, s3://, gs://, hf:// or another that"
            " fsspec knows"
        ) from err


@contextmanager
def asking(address: str, doing: str = "read") -> Iterator[None]:
    """Whatever goes wrong in other packages, as an error of one line that names the address; for paths, nothing.

    Raises:
        FileNotFoundError: If there is nothing there.
        OSError: For all else.
        ModuleNotFoundError: As it was.

    """
    if not is_address(address):
        yield
        return
    try:
        yield
    except FileNotFoundError as err:
        cause = err.__cause__  # fsspec calls whatever a web server answers a missing file
        if getattr(cause, "status", 404) in (404, 410) or not isinstance(cause, Exception):
            raise FileNotFoundError(f"There is nothing at {address!r}; check the address") from err
        raise OSError(f"Can't {doing} {address!r}: {type(cause).__name__}: {reason_of(cause)}") from err
    except (ModuleNotFoundError, _UnknownError):
        raise
    except Exception as err:
        raise OSError(f"Can't {doing} {address!r}: {type(err).__name__}: {reason_of(err)}") from err


class _UnknownError(ValueError):
    """An address of a kind that nobody knows."""


def check_writable(path: str | os.PathLike[str]) -> None:
    """Check, as far as can be known before, that a file can be written to a path or an address.

    Raises:
        FileNotFoundError: If there is no such folder or bucket.
        FileExistsError: If something is there that is not a file.
        OSError: If it can't be asked, or can't be written to.
        ModuleNotFoundError: If a package is missing that such an address takes.
        ValueError: If nobody knows such addresses.

    """
    if not is_address(path):
        check_folder(Path(path))
        return
    protocol = path.partition("://")[0].lower()
    if protocol in ("http", "https"):
        raise OSError(f"Can't write {path!r}: a web server only gives files; choose another output")
    with asking(path, "write"):
        system, where = system_of(path, "write")
        there = protocol not in _BUCKETS or system.exists(where.partition("/")[0])
    if not there:
        raise FileNotFoundError(
            f"There is no bucket to write {path!r} to, or it does not answer; make it first, or check credentials"
        )


@contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A path to write a file to; if ``path`` is an address, the file goes there once it is complete.

    Raises:
        OSError: If it can't be written.

    """
    if not is_address(path):
        yield Path(path)
        return
    with TemporaryDirectory() as folder:
        local = Path(folder, PurePosixPath(path).name)
        yield local
        with asking(path, "write"):
            system, where = system_of(path, "write")
            if path.partition("://")[0].lower() not in _BUCKETS:
                system.makedirs(system._parent(where), exist_ok=True)
            system.put_file(str(local), where)


def download(address: str, path: str | os.PathLike[str]) -> None:
    """Read a file at an address to a path.

    Raises:
        FileNotFoundError: If there is none.
        OSError: If it can't be read.

    """
    with asking(address):
        system, where = system_of(address)
        system.get_file(where, str(path))
