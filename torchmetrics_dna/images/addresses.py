"""Read and write files at addresses, such as ``s3://bucket/x``, by fsspec."""

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
    from collections.abc import Iterator, Sequence

_ADDRESS = re.compile("[A-Za-z][A-Za-z0-9+.-]+://")
_USER = re.compile(r"(?<=://)[^/@\s'\"]*@")
_QUERY = re.compile(r"(https?://[^?#\s'\"]*)[?#][^\s'\"]*")
_PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "http": "aiohttp", "https": "aiohttp"}
_BUCKETS = ("s3", "s3a", "gs", "gcs")  # object stores, without folders that could be missing


def is_address(path: object) -> TypeGuard[str]:
    """True if a path is an address, such as ``s3://bucket/photos.tar``."""
    return isinstance(path, str) and _ADDRESS.match(path) is not None


def public(text: str) -> str:
    """Remove credentials and the query, such as a signature, from addresses in a text that is shown.

    Example:
        >>> public("https://me:secret@host/a.png?X-Amz-Signature=1f and s3://bucket/a?.png")
        'https://host/a.png and s3://bucket/a?.png'

    """
    return _QUERY.sub(r"\1", _USER.sub("", text))


def public_names(files: Sequence[str]) -> list[str]:
    """Return the names of files as they are shown; with their numbers if only a query tells them apart."""
    names = [public(file) for file in files]
    return names if len(set(names)) == len(set(files)) else [f"{name}#{i}" for i, name in enumerate(names)]


def system_of(address: str, doing: str = "read") -> tuple[Any, str]:
    """Return the file system of an address and the path in it; call it within :func:`asking`.

    Raises ModuleNotFoundError if the package for the protocol is missing, ValueError if the protocol is unknown.
    """
    protocol = address.partition("://")[0].lower()
    if protocol in _PACKAGES:
        require(_PACKAGES[protocol], "remote")
    core = require("fsspec.core", "remote")
    try:
        return cast("tuple[Any, str]", core.url_to_fs(address))
    except ImportError as err:
        raise ModuleNotFoundError(f"To {doing} {public(address)!r}: {reason_of(err)}") from err
    except ValueError as err:
        if "Protocol not known" not in str(err):
            raise
        raise _UnknownError(
            f"{public(address)!r} is an address of an unknown kind; expected https://, s3://, gs://, hf:// or another"
            " that fsspec knows"
        ) from err


@contextmanager
def asking(address: str, doing: str = "read") -> Iterator[None]:
    """Convert errors of other packages to one line that names the address; a no-op for paths.

    Raises:
        FileNotFoundError: If nothing exists at the address.
        OSError: For all other errors.
        ModuleNotFoundError: Unchanged.

    """
    if not is_address(address):
        yield
        return
    try:
        yield
    except FileNotFoundError as err:
        cause = err.__cause__  # fsspec maps every HTTP error to a missing file
        if getattr(cause, "status", 404) in (404, 410) or not isinstance(cause, Exception):
            raise FileNotFoundError(f"There is nothing at {public(address)!r}; check the address") from err
        raise OSError(f"Can't {doing} {public(address)!r}: {type(cause).__name__}: {public(reason_of(cause))}") from err
    except (ModuleNotFoundError, _UnknownError):
        raise
    except Exception as err:
        raise OSError(f"Can't {doing} {public(address)!r}: {type(err).__name__}: {public(reason_of(err))}") from err


class _UnknownError(ValueError):
    """Raised for an address with an unknown protocol."""


def check_writable(path: str | os.PathLike[str]) -> None:
    """Check in advance, as far as possible, that a file can be written to a path or an address.

    Raises FileNotFoundError if there is no such folder or bucket, FileExistsError if something other than a file exists
    there, OSError if the server fails or the place is not writable; others as of :func:`system_of`.
    """
    if not is_address(path):
        check_folder(Path(path))
        return
    protocol = path.partition("://")[0].lower()
    if protocol in ("http", "https"):
        raise OSError(f"Can't write {public(path)!r}: a web server only gives files; choose another output")
    with asking(path, "write"):
        system, remote_path = system_of(path, "write")
        exists = protocol not in _BUCKETS or system.exists(remote_path.partition("/")[0])
    if not exists:
        raise FileNotFoundError(
            f"There is no bucket to write {public(path)!r} to, or it does not answer; make it first, or check"
            " credentials"
        )


@contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a local path to write to; for an address, the file is uploaded when the context exits."""
    if not is_address(path):
        yield Path(path)
        return
    with TemporaryDirectory() as folder:
        local = Path(folder, PurePosixPath(path).name)
        yield local
        with asking(path, "write"):
            system, remote_path = system_of(path, "write")
            if path.partition("://")[0].lower() not in _BUCKETS:
                system.makedirs(system._parent(remote_path), exist_ok=True)
            system.put_file(str(local), remote_path)


def download(address: str, path: str | os.PathLike[str]) -> None:
    """Download a file at an address to a path; errors as of :func:`asking`."""
    with asking(address):
        system, remote_path = system_of(address)
        system.get_file(remote_path, str(path))
