"""Open and list files on this machine or at addresses, by path or pattern."""

from __future__ import annotations

import itertools
import os
import re
import sys
from contextlib import suppress
from glob import glob
from math import prod
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, cast
from urllib.parse import urlsplit

from torchmetrics_dna.files.limits import check_files
from torchmetrics_dna.images.addresses import asking, is_address, public, system_of
from torchmetrics_dna.images.names import natural_key

if TYPE_CHECKING:
    from collections.abc import Iterator

_RANGE = re.compile(r"(\d{1,18})\.\.(\d{1,18})")


def missing(path: str) -> FileNotFoundError:
    """Return the error for a local path that does not exist; it names one beside it that differs by case alone."""
    with suppress(OSError):
        alike = sorted(p for p in Path(path).parent.iterdir() if p.name.lower() == Path(path).name.lower())
        if alike:
            return FileNotFoundError(f"There is no file or folder {path!r}; there is {str(alike[0])!r}")
    return FileNotFoundError(f"There is no file or folder {path!r}")


def suffix_of(path: str) -> str:
    """Return the suffix of a file's name, in lower case; for an address, without its query.

    Example:
        >>> suffix_of("https://host/photos.TAR?token=x.png")
        '.tar'

    """
    name = PurePosixPath(urlsplit(path).path if path.startswith("http") and is_address(path) else path).name
    return os.path.splitext(name)[1].lower()  # noqa: PTH122


def expand(pattern: str) -> list[str]:
    """Expand a pattern to files: ``{a,b}`` and ``{000..999}`` are enumerated, ``*`` is matched; not an existing file.

    Raises FileNotFoundError if nothing matches, ValueError if braces expand to more files than the limit of one set.

    Example:
        >>> expand("shards/{08..11}.tar")
        ['shards/08.tar', 'shards/09.tar', 'shards/10.tar', 'shards/11.tar']

    """
    if not is_address(pattern) and os.path.lexists(pattern):
        return [pattern]
    files: list[str] = []
    for text in _spelled_out(pattern):
        has_wildcard = "*" in text if is_address(text) else any(sign in text for sign in "*?[")
        files += sorted(_looked_up(text), key=natural_key) if has_wildcard else [text]
    if not files:
        raise FileNotFoundError(f"There are no files {public(pattern)!r}")
    return list(dict.fromkeys(files))


def is_folder(address: str) -> bool:
    """True if an address is a non-empty folder."""
    with asking(address):
        system, path = system_of(address)
        return not address.startswith("http") and bool(system.isdir(path))


def files_below(address: str) -> tuple[str, list[str]]:
    """Return the address of a folder as those of all files in it begin, and these."""
    with asking(address):
        system, path = system_of(address)
        return system.unstrip_protocol(path), [system.unstrip_protocol(file) for file in system.find(path)]


def check_address(address: str) -> None:
    """Raise FileNotFoundError, or OSError, unless there is something at an address."""
    with asking(address):
        system, path = system_of(address)
        system.info(path)


def open_file(path: str, *, forwards: bool = False) -> BinaryIO:
    """Open a file on this machine, or at an address; errors as of :func:`asking`.

    A file that is only read ``forwards`` does not need a server that supports range requests.
    """
    if not is_address(path):
        return Path(path).open("rb")
    with asking(path):
        system, remote_path = system_of(path)
        settings = {"block_size": 0} if forwards and path.startswith("http") else {}
        return cast("BinaryIO", system.open(remote_path, "rb", **settings))


def read_address(address: str, most: int) -> bytes:
    """Read a file at an address, up to ``most + 1`` bytes."""
    with open_file(address, forwards=True) as file, asking(address):
        parts, size = [], 0
        while size <= most and (part := file.read(min(1 << 20, most + 1 - size))):
            parts.append(part)
            size += len(part)
        return b"".join(parts)


def forget_threads(worker: int = 0) -> None:  # noqa: ARG001
    """Reset fsspec in a forked process, where its thread is gone, which old versions don't detect."""
    asyn = sys.modules.get("fsspec.asyn")
    if asyn is not None and not hasattr(asyn, "reset_after_fork"):
        asyn.iothread[0] = asyn.loop[0] = None
        asyn.reset_lock()


def _spelled_out(pattern: str) -> Iterator[str]:
    parts = re.split(r"\{([^{}]*)\}", pattern)
    choices = [_choices(part, pattern) if i % 2 else [part] for i, part in enumerate(parts)]
    check_files(prod(map(len, choices)), public(pattern))
    return map("".join, itertools.product(*choices))


def _choices(inner: str, pattern: str) -> list[str]:
    """Enumerate the content of braces."""
    if match := _RANGE.fullmatch(inner):
        first, last = match.groups()
        width = len(first) if first.startswith("0") else 0
        check_files(int(last) - int(first) + 1, public(pattern))
        return [f"{number:0{width}}" for number in range(int(first), int(last) + 1)]
    return inner.split(",") if "," in inner else [f"{{{inner}}}"]


def _looked_up(pattern: str) -> list[str]:
    if not is_address(pattern):
        return glob(pattern, recursive=True)  # noqa: PTH207
    with asking(pattern):
        system, path = system_of(pattern)
        return [system.unstrip_protocol(file) for file in system.glob(path)]
