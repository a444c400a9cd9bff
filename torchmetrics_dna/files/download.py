"""Fetch files from the Hugging Face hub and from plain addresses, through the caches of huggingface_hub and torch."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from pathlib import Path
from reprlib import repr as brief
from typing import Any

from torchmetrics_dna.files.atomic import replacing
from torchmetrics_dna.files.damage import first_line

PREFIX = "hub:"
_SCHEMES = ("https://", "http://")
_REFERENCE = re.compile(r"hub:(?P<kind>datasets/|)(?P<repo>[^/@]+/[^/@]+)(@(?P<revision>[^/]+))?/(?P<file>.+)")
_REMEDY = "give its local path instead"


def is_reference(path: object) -> bool:
    """True if a path is a reference for :func:`fetch`, not a local path."""
    return isinstance(path, (str, os.PathLike)) and str(path).startswith((PREFIX, *_SCHEMES))


def fetch(reference: str, *, sha256: str = "", is_fixed: bool = False, remedy: str = _REMEDY) -> Path:
    """Return the local copy of a file; if the cache lacks it, or has it damaged, download and check it.

    Args:
        reference: ``hub:OWNER/REPO/path/in/repo``; a revision may follow the repository as in
            ``hub:OWNER/REPO@main/path``, and a repository of datasets is ``hub:datasets/OWNER/REPO/path``.
            Or an address, ``https://...``.
        sha256: SHA-256 of the file, or its first digits, if known; the hub provides that of its files.
        is_fixed: Whether the file never changes, so that the hub is not queried for a newer one.
        remedy: Use of a copy from elsewhere, for the error message.

    Raises:
        ValueError: If ``reference`` has another form.
        OSError: If the file can't be fetched: missing, no access, no network, no space, truncated, a wrong hash, or
            ``HF_HUB_OFFLINE`` is set and the cache lacks it. Nothing of it is then left in the cache.

    """
    from huggingface_hub.errors import HFValidationError

    is_address = reference.startswith(_SCHEMES)
    if is_address:
        file_name = reference.rpartition("/")[2]
        place = reference
    else:
        parts = _parts(reference)
        file_name = parts["filename"]
        place = f"the hub repository {parts['repo_id']!r}"
    try:
        if is_address:
            return _from_address(reference, sha256)
        return _from_hub(parts, sha256, is_fixed)
    except HFValidationError as err:
        raise ValueError(f"{reference!r} names no file of a hub repository: {err}") from err
    except Exception as err:
        # Errors of httpx, urllib and others have no common base class.
        raise OSError(
            f"Can't fetch {file_name!r} of {place} ({first_line(err)}); download it where there is a network, and"
            f" {remedy}"
        ) from err


def cached(reference: str) -> Path | None:
    """Return the local copy of a file, or None if the cache lacks it; without network access."""
    if reference.startswith(_SCHEMES):
        path = _checkpoint(reference)
        return path if path.is_file() else None
    from huggingface_hub import try_to_load_from_cache

    local = try_to_load_from_cache(**_parts(reference))
    return Path(local) if isinstance(local, str) else None


def _parts(reference: str) -> dict[str, Any]:
    """Parse a reference into arguments of huggingface_hub."""
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise ValueError(f"Expected hub:OWNER/REPO/path or hub:OWNER/REPO@REVISION/path, but got {reference!r}")
    kind = "dataset" if match["kind"] else "model"
    return {"repo_id": match["repo"], "filename": match["file"], "repo_type": kind, "revision": match["revision"]}


def _from_hub(parts: dict[str, Any], sha256: str, is_fixed: bool) -> Path:
    """Return the local copy of a file of the hub, see :func:`fetch`; ``parts`` are arguments of huggingface_hub."""
    from huggingface_hub import hf_hub_download, hf_hub_url, try_to_load_from_cache
    from huggingface_hub.constants import HF_HUB_ETAG_TIMEOUT, HF_HUB_OFFLINE
    from huggingface_hub.utils import http_backoff

    cached_path = try_to_load_from_cache(**parts)
    intact_path: Path | None = None
    if isinstance(cached_path, str) and _is_intact(Path(cached_path), sha256, HF_HUB_OFFLINE):
        intact_path = Path(cached_path)
    if intact_path is not None and is_fixed:
        # The file of a fixed reference never changes, so the hub need not be asked for a newer one.
        return intact_path
    if intact_path is None:
        # Fail fast without a server, because hf_hub_download retries for half a minute. Any answer will do.
        http_backoff("HEAD", hf_hub_url(**parts), max_retries=1, retry_on_status_codes=(), timeout=HF_HUB_ETAG_TIMEOUT)
    path = Path(hf_hub_download(**parts))
    if path != intact_path:
        check_content(path, sha256)
    return path


def _is_intact(path: Path, sha256: str, offline: bool) -> bool:
    """True if a cached file has the expected hash; otherwise delete it, and raise OSError if offline."""
    try:
        check_content(path, sha256)
    except OSError:
        if offline:
            raise
        return False
    return True


def check_content(path: Path, sha256: str) -> None:
    """Verify the hash of a cached file, or that in its name for the hub; delete the file and raise OSError if wrong."""
    content = hashlib.sha256()
    expected = sha256
    blob = path.resolve()
    # In the hub's cache, only the targets of symlinks are named by their hash.
    is_hashed = path.is_symlink() and len(blob.name) in (40, 64)
    if is_hashed and not sha256:
        expected = blob.name
        # Small files are named by the hash of their git blob, large files by their SHA-256.
        if len(expected) == 40:
            content = hashlib.sha1(f"blob {blob.stat().st_size}\0".encode(), usedforsecurity=False)
    if not expected:
        return
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            content.update(chunk)
    if not content.hexdigest().startswith(expected):
        path.unlink()
        if is_hashed:
            blob.unlink(missing_ok=True)
        raise OSError(f"its hash is {content.hexdigest()[:16]}..., but {expected[:16]}... was expected")


def _from_address(address: str, sha256: str) -> Path:
    """Return the local copy of a file at an address, see :func:`fetch`."""
    from urllib.request import Request, urlopen

    import torch
    from huggingface_hub.constants import HF_HUB_OFFLINE

    path = _checkpoint(address)
    if path.is_file() and _is_intact(path, sha256, HF_HUB_OFFLINE):
        return path
    if HF_HUB_OFFLINE:
        raise OSError(f"HF_HUB_OFFLINE is set, and {path} is not there")
    path.parent.mkdir(parents=True, exist_ok=True)
    with urlopen(Request(address, method="HEAD")) as answer:
        size = answer.headers.get("Content-Length")
    if size is not None and not size.isdecimal():
        raise OSError(f"the server says that its Content-Length is {brief(size)}, expected a number of bytes")
    with replacing(path) as temporary:
        torch.hub.download_url_to_file(address, str(temporary))
        if size is not None and temporary.stat().st_size != int(size):
            raise OSError(f"the connection was cut after {temporary.stat().st_size} of {size} bytes")
        check_content(temporary, sha256)
    return path


def _checkpoint(address: str) -> Path:
    """Return the path of a file in torch's cache, by torch's rule but without importing torch.

    The name begins with a hash of the address, since torch's own names collide for files of the same name.
    """
    torch = sys.modules.get("torch")
    if torch is not None:
        hub = Path(torch.hub.get_dir())
    else:
        home = os.getenv("TORCH_HOME", Path(os.getenv("XDG_CACHE_HOME", "~/.cache"), "torch"))
        hub = Path(home).expanduser() / "hub"
    name = re.split("[?#]", address)[0].rpartition("/")[2]
    return hub / "checkpoints" / f"{hashlib.sha256(address.encode()).hexdigest()[:16]}-{name[-100:]}"
