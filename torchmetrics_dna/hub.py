"""Files from the Hugging Face hub, through its cache."""

from __future__ import annotations

import re
from pathlib import Path

PREFIX = "hub:"
_REFERENCE = re.compile(r"hub:(?P<kind>datasets/|)(?P<repo>[^/@]+/[^/@]+)(@(?P<revision>[^/]+))?/(?P<file>.+)")


def fetch(reference: str) -> Path:
    """The local copy of a file of a hub repository; fetched if the cache lacks it.

    Args:
        reference: ``hub:OWNER/REPO/path/in/repo``; a revision may follow the repository as in
            ``hub:OWNER/REPO@main/path``, and a repository of datasets is ``hub:datasets/OWNER/REPO/path``.

    Raises:
        ValueError: If it is no such reference.
        OSError: If the file can't be had: not there, no access, no network, or ``HF_HUB_OFFLINE`` is set and it is
            not in the cache.

    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise ValueError(f"Expected hub:OWNER/REPO/path or hub:OWNER/REPO@REVISION/path, but got {reference!r}")
    try:
        kind = "dataset" if match["kind"] else "model"
        return Path(hf_hub_download(match["repo"], match["file"], repo_type=kind, revision=match["revision"]))
    except HFValidationError as err:
        raise ValueError(f"{reference!r} names no hub repository: {err}") from err
    except (HfHubHTTPError, OSError) as err:
        raise OSError(
            f"Can't fetch {match['file']!r} of the hub repository {match['repo']!r} ({_first_line(err)});"
            " download it where there is a network, and give its local path instead"
        ) from err


def _first_line(err: Exception) -> str:
    return next((line.strip() for line in str(err).splitlines() if line.strip()), type(err).__name__)
