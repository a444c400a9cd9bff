"""Fetch files from the Hugging Face hub and from plain addresses, through the caches of huggingface_hub and torch."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from pathlib import Path
from typing import Any

from torchmetrics_dna.files.atomic import replacing

PREFIX = "hub:"
_SCHEMES = ("https://", "http://")
_REFERENCE = re.compile(r"hub:(?P<kind>datasets/|)(?P<repo>[^/@]+/[^/@]+)(@(?P<revision>[^/]+))?/(?P<file>.+)")
_REMEDY = "give its local path instead"


def is_reference(path: object) -> bool:
    """Whether a path is a reference for :func:`fetch`, not a local path."""
    return isinstance(path, (str, os.PathLike)) and str(path).startswith((PREFIX, *_SCHEMES))


def fetch(reference: str, *, sha256: str = "", remedy: str = _REMEDY) -> Path:
    """Return the local copy of a file; if the cache lacks it, download and check it.

    Args:
        reference: ``hub:OWNER/REPO/path/in/repo``; a revision may follow the repository as in
            ``hub:OWNER/REPO@main/path``, and a repository of datasets is ``hub:datasets/OWNER/REPO/path``.
            Or an address, ``https://...``.
        sha256: First digits of the SHA-256 of what is at an address, if known; the hub gives its own.
        remedy: What to do with a copy from elsewhere, for the error message.

    Raises:
        ValueError: If ``reference`` has another form.
        OSError: If the file can't be fetched: not there, no access, no network, no space, cut short, not what it should
            be, or ``HF_HUB_OFFLINE`` is set and it is not in the cache. Nothing of it is left in the cache then.

    """
    from huggingface_hub.errors import HFValidationError

    at_hub = not reference.startswith(_SCHEMES)
    parts = _parts(reference) if at_hub else {"filename": reference.rpartition("/")[2]}
    try:
        return _from_hub(parts) if at_hub else _from_address(reference, sha256)
    except HFValidationError as err:
        raise ValueError(f"{reference!r} names no file of a hub repository: {err}") from err
    except Exception as err:  # errors of httpx, urllib and others have no common base class
        place = f"the hub repository {parts['repo_id']!r}" if at_hub else reference
        raise OSError(
            f"Can't fetch {parts['filename']!r} of {place} ({_first_line(err)});"
            f" download it where there is a network, and {remedy}"
        ) from err


def cached(reference: str) -> Path | None:
    """Return the local copy of a file, or None if the cache lacks it; the network is not asked."""
    if reference.startswith(_SCHEMES):
        path = _checkpoint(reference)
        return path if path.is_file() else None
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(**_parts(reference))
    return Path(found) if isinstance(found, str) else None


def _parts(reference: str) -> dict[str, Any]:
    """Parse a reference into arguments of huggingface_hub."""
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise ValueError(f"Expected hub:OWNER/REPO/path or hub:OWNER/REPO@REVISION/path, but got {reference!r}")
    kind = "dataset" if match["kind"] else "model"
    return {"repo_id": match["repo"], "filename": match["file"], "repo_type": kind, "revision": match["revision"]}


def _from_hub(parts: dict[str, Any]) -> Path:
    from huggingface_hub import hf_hub_download, hf_hub_url, try_to_load_from_cache
    from huggingface_hub.constants import HF_HUB_ETAG_TIMEOUT
    from huggingface_hub.utils import http_backoff

    before = try_to_load_from_cache(**parts)
    if not isinstance(before, str):
        # where nothing answers, hf_hub_download tries for half a minute; whatever the answer is, it knows what to do
        http_backoff("HEAD", hf_hub_url(**parts), max_retries=1, retry_on_status_codes=(), timeout=HF_HUB_ETAG_TIMEOUT)
    path = Path(hf_hub_download(**parts))
    if str(path) != before:
        _check_content(path)
    return path


def _check_content(path: Path) -> None:
    """Compare a file of the hub's cache with its hash, after which the cache names it; OSError if they differ."""
    blob = path.resolve()
    content = hashlib.sha256()
    if len(blob.name) == 40:  # git's own hash of a small file; large ones have a SHA-256
        content = hashlib.sha1(f"blob {blob.stat().st_size}\0".encode(), usedforsecurity=False)
    elif len(blob.name) != 64:
        return  # without symbolic links, the cache does not name the hash
    with blob.open("rb") as file:
        while chunk := file.read(2**20):
            content.update(chunk)
    if content.hexdigest() != blob.name:
        path.unlink()
        blob.unlink(missing_ok=True)
        raise OSError(f"its hash is {content.hexdigest()[:16]}..., but {blob.name[:16]}... was expected")


def _from_address(address: str, sha256: str) -> Path:
    from urllib.request import Request, urlopen

    import torch
    from huggingface_hub.constants import HF_HUB_OFFLINE

    path = _checkpoint(address)
    if path.is_file():
        return path
    if HF_HUB_OFFLINE:
        raise OSError(f"HF_HUB_OFFLINE is set, and {path} is not there")
    path.parent.mkdir(parents=True, exist_ok=True)
    with urlopen(Request(address, method="HEAD")) as answer:
        size = answer.headers.get("Content-Length")
    with replacing(path) as temporary:
        torch.hub.download_url_to_file(address, str(temporary), sha256 or None)
        if size is not None and temporary.stat().st_size != int(size):
            raise OSError(f"the connection was cut after {temporary.stat().st_size} of {size} bytes")
    return path


def _checkpoint(address: str) -> Path:
    """Where torch and torchvision keep what they download: by torch's own rule, without loading it only for this."""
    torch = sys.modules.get("torch")
    if torch is not None:
        hub = Path(torch.hub.get_dir())
    else:
        home = os.getenv("TORCH_HOME", Path(os.getenv("XDG_CACHE_HOME", "~/.cache"), "torch"))
        hub = Path(home).expanduser() / "hub"
    return hub / "checkpoints" / address.rpartition("/")[2]


def _first_line(err: Exception) -> str:
    return next((line.strip() for line in str(err).splitlines() if line.strip()), type(err).__name__)
