"""Download files from the Hugging Face hub and from URLs.

Files of the hub are cached by huggingface_hub, and files of other URLs are stored in the cache of torch.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from pathlib import Path
from reprlib import repr as brief
from typing import Any, NamedTuple

from torchmetrics_dna.files.atomic import replacing
from torchmetrics_dna.files.damage import first_line

PREFIX = "hub:"
_SCHEMES = ("https://", "http://")
_REFERENCE = re.compile(r"hub:(?P<kind>datasets/|)(?P<repo>[^/@]+/[^/@]+)(@(?P<revision>[^/]+))?/(?P<file>.+)")
_REMEDY = "pass its local path instead"


def is_reference(path: object) -> bool:
    """Return True if a path is a reference for :func:`fetch` rather than a local path."""
    return isinstance(path, (str, os.PathLike)) and str(path).startswith((PREFIX, *_SCHEMES))


def fetch(reference: str, *, sha256: str = "", is_fixed: bool = False, remedy: str = _REMEDY) -> Path:
    """Return the path of a file in the cache. If the cached file is missing or damaged, download it and check it.

    Args:
        reference: Reference to the file. It is an address, ``https://...``, or ``hub:OWNER/REPO/path/in/repo``. The
            repository may be followed by a revision, as in ``hub:OWNER/REPO@main/path``. A dataset repository is
            written as ``hub:datasets/OWNER/REPO/path``.
        sha256: Expected SHA-256 of the file, or its first digits. If it is empty, a file of the hub is checked against
            the hash that the hub provides.
        is_fixed: Whether the file never changes. If True, the hub is not queried for a newer version of a cached file.
        remedy: Advice on how to use a copy of the file from elsewhere, for the error message.

    Raises:
        ValueError: If ``reference`` has another form.
        OSError: If the file can't be fetched. For example, there is no such file, no access, no network or no space
            left, or the file is truncated or has a wrong hash. Also if ``HF_HUB_OFFLINE`` is set and the file is not in
            the cache. No part of the file is left in the cache.

    """
    from huggingface_hub.errors import HFValidationError

    # Raise the error for a reference of another form here, because the errors below are converted.
    location = _Location.of(reference)
    try:
        if location.hub_arguments is None:
            return _from_address(reference, sha256)
        return _from_hub(location.hub_arguments, sha256, is_fixed)
    except HFValidationError as err:
        raise ValueError(f"{reference!r} names no file of a hub repository: {err}") from err
    except Exception as err:
        # Errors of httpx, urllib and others have no common base class.
        raise OSError(
            f"Can't fetch {location.file_name!r} of {location.place} ({first_line(err)}); download it where there is a"
            f" network, and {remedy}"
        ) from err


class _Location(NamedTuple):
    """Location of a file.

    Attributes:
        file_name: Name of the file in error messages.
        place: Place of the file in error messages: its address or its hub repository.
        hub_arguments: Arguments of huggingface_hub; None for a file at an address.

    """

    file_name: str
    place: str
    hub_arguments: dict[str, Any] | None

    @classmethod
    def of(cls, reference: str) -> _Location:
        """Parse a reference. Raise ValueError if it has another form than :func:`fetch` expects."""
        if reference.startswith(_SCHEMES):
            return cls(reference.rpartition("/")[2], reference, None)
        arguments = _hub_arguments(reference)
        return cls(arguments["filename"], f"the hub repository {arguments['repo_id']!r}", arguments)


def cached(reference: str) -> Path | None:
    """Return the path of a file in the cache, without network access. Return None if the file is not in the cache."""
    if reference.startswith(_SCHEMES):
        path = _checkpoint(reference)
        return path if path.is_file() else None
    from huggingface_hub import try_to_load_from_cache

    cached_path = try_to_load_from_cache(**_hub_arguments(reference))
    return Path(cached_path) if isinstance(cached_path, str) else None


def _hub_arguments(reference: str) -> dict[str, Any]:
    """Return the arguments of huggingface_hub for a reference.

    Raises:
        ValueError: If the reference does not begin with ``hub:`` or has no path.

    """
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise ValueError(f"Expected hub:OWNER/REPO/path or hub:OWNER/REPO@REVISION/path, but got {reference!r}")
    kind = "dataset" if match["kind"] else "model"
    return {"repo_id": match["repo"], "filename": match["file"], "repo_type": kind, "revision": match["revision"]}


def _from_hub(arguments: dict[str, Any], sha256: str, is_fixed: bool) -> Path:
    """Return the path of a file of the hub in the cache, see :func:`fetch`.

    Args:
        arguments: Arguments of huggingface_hub.
        sha256: As for :func:`fetch`.
        is_fixed: As for :func:`fetch`.

    """
    from huggingface_hub import hf_hub_download

    intact_path = _intact_in_cache(arguments, sha256)
    if intact_path is None:
        _check_connection(arguments)
    elif is_fixed:
        return intact_path
    # If the hub has no newer version, or can't be reached, this is the path of the cached file.
    path = Path(hf_hub_download(**arguments))
    if path != intact_path:
        check_content(path, sha256)
    return path


def _intact_in_cache(arguments: dict[str, Any], sha256: str) -> Path | None:
    """Return the path of a file of the hub in the cache; None if it is not there or has another hash.

    Raises:
        OSError: If the file has another hash and can't be downloaded again, because the hub is in offline mode.

    """
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.constants import HF_HUB_OFFLINE

    cached_path = try_to_load_from_cache(**arguments)
    if isinstance(cached_path, str) and _is_intact(Path(cached_path), sha256, offline=HF_HUB_OFFLINE):
        return Path(cached_path)
    return None


def _is_intact(path: Path, sha256: str, *, offline: bool) -> bool:
    """Return True if a cached file has the expected hash. Delete a file with another hash.

    Raises:
        OSError: If the file has another hash and can't be downloaded again, because the hub is in offline mode.

    """
    try:
        check_content(path, sha256)
    except OSError:
        if offline:
            raise
        return False
    return True


def _check_connection(arguments: dict[str, Any]) -> None:
    """Raise an error if the hub does not respond. Without this check, hf_hub_download retries for half a minute."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.constants import HF_HUB_ETAG_TIMEOUT
    from huggingface_hub.utils import http_backoff

    url = hf_hub_url(**arguments)
    http_backoff("HEAD", url, max_retries=1, retry_on_status_codes=(), timeout=HF_HUB_ETAG_TIMEOUT)


def check_content(path: Path, sha256: str) -> None:
    """Check the hash of a cached file. Delete a file with another hash.

    Without an expected SHA-256, the hash in the file name is expected. Only files of the hub have a hash in their name,
    and other files are not checked.

    Raises:
        OSError: If the file has another hash.

    """
    blob = path.resolve()
    # In the cache of the hub, only the targets of symbolic links are named by their hash. A SHA-1 has 40 digits, and a
    # SHA-256 has 64.
    is_named_by_hash = path.is_symlink() and len(blob.name) in (40, 64)
    if sha256:
        expected = sha256
        actual = _sha256(path)
    elif is_named_by_hash:
        expected = blob.name
        # Small files of the hub are named by the SHA-1 of their git blob, and large files by their SHA-256.
        actual = _git_hash(path) if len(expected) == 40 else _sha256(path)
    else:
        return
    if not actual.startswith(expected):
        path.unlink()
        if is_named_by_hash:
            blob.unlink(missing_ok=True)
        raise OSError(f"its hash is {actual[:16]}..., but {expected[:16]}... was expected")


def _sha256(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _git_hash(path: Path) -> str:
    """Return the SHA-1 of a file as a git blob."""
    content = path.read_bytes()
    header = f"blob {len(content)}\0".encode()
    return hashlib.sha1(header + content, usedforsecurity=False).hexdigest()


def _from_address(address: str, sha256: str) -> Path:
    """Return the path of a file at an address in the cache, see :func:`fetch`."""
    import torch
    from huggingface_hub.constants import HF_HUB_OFFLINE

    path = _checkpoint(address)
    if path.is_file() and _is_intact(path, sha256, offline=HF_HUB_OFFLINE):
        return path
    if HF_HUB_OFFLINE:
        raise OSError(f"HF_HUB_OFFLINE is set, and {path} is not there")
    path.parent.mkdir(parents=True, exist_ok=True)
    expected_size = _content_length(address)
    with replacing(path) as temporary:
        torch.hub.download_url_to_file(address, str(temporary))
        size = temporary.stat().st_size
        if expected_size is not None and size != expected_size:
            raise OSError(f"the connection was cut after {size} of {expected_size} bytes")
        check_content(temporary, sha256)
    return path


def _content_length(address: str) -> int | None:
    """Return the size in bytes that a server reports for a file, or None if it reports no size."""
    from urllib.request import Request, urlopen

    with urlopen(Request(address, method="HEAD")) as response:
        length = response.headers.get("Content-Length")
    if length is None:
        return None
    if not length.isdecimal():
        raise OSError(f"the server says that its Content-Length is {brief(length)}, expected a number of bytes")
    return int(length)


def _checkpoint(address: str) -> Path:
    """Return the path in torch's cache for a file at an address. torch is not imported if it is not loaded.

    The file name begins with a hash of the address. torch's own file names would collide for two addresses that end in
    the same file name.
    """
    torch = sys.modules.get("torch")
    if torch is not None:
        hub = Path(torch.hub.get_dir())
    else:
        home = os.getenv("TORCH_HOME", Path(os.getenv("XDG_CACHE_HOME", "~/.cache"), "torch"))
        hub = Path(home).expanduser() / "hub"
    path_of_address = re.split("[?#]", address)[0]
    name = path_of_address.rpartition("/")[2]
    digest = hashlib.sha256(address.encode()).hexdigest()[:16]
    # File systems limit the length of a name, often to 255 bytes.
    return hub / "checkpoints" / f"{digest}-{name[-100:]}"
