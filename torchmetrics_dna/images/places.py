"""Where files are: on this machine, or at an address that fsspec reads; one, or many by a pattern."""

from __future__ import annotations

import itertools
import os
import re
import sys
from glob import glob
from math import prod
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, cast
from urllib.parse import urlsplit

from torchmetrics_dna.files.limits import check_files
from torchmetrics_dna.images.addresses import asking, is_address, system_of
from torchmetrics_dna.images.names import natural_key

if TYPE_CHECKING:
    from collections.abc import Iterator

_RANGE = re.compile(r"(\d{1,18})\.\.(\d{1,18})")


def suffix_of(path: str) -> str:
    """The ending of a file's name, in lower case; of an address, without its query.

    Example:
        >>> suffix_of("https://host/photos.TAR?token=x.png")
        '.tar'

    """
    name = PurePosixPath(urlsplit(path).path if path.startswith("http") and is_address(path) else path).name
    return os.path.splitext(name)[1].lower()  # noqa: PTH122


def expand(pattern: str) -> list[str]:
    """The files that a pattern stands for: ``{a,b}`` and ``{000..999}`` are spelled out, ``*`` is looked up.

    A file of just that name comes first.

    Raises:
        FileNotFoundError: If nothing matches.
        ValueError: If braces stand for more files than are read as one set.

    Example:
        >>> expand("shards/{08..11}.tar")
        ['shards/08.tar', 'shards/09.tar', 'shards/10.tar', 'shards/11.tar']

    """
    if not is_address(pattern) and os.path.lexists(pattern):
        return [pattern]
    found: list[str] = []
    for text in _spelled_out(pattern):
        wild = "*" in text if is_address(text) else any(sign in text for sign in "*?[")
        found += sorted(_looked_up(text), key=natural_key) if wild else [text]
    if not found:
        raise FileNotFoundError(f"There are no files {pattern!r}")
    return list(dict.fromkeys(found))


def is_folder(address: str) -> bool:
    """Whether an address is that of a folder with files in it."""
    with asking(address):
        system, path = system_of(address)
        return not address.startswith("http") and bool(system.isdir(path))


def files_below(address: str) -> list[str]:
    """The addresses of all files in a folder."""
    with asking(address):
        system, path = system_of(address)
        return [system.unstrip_protocol(found) for found in system.find(path)]


def check_there(path: str) -> None:
    """FileNotFoundError, or OSError, unless there is a file at a path or address."""
    if is_address(path):
        with asking(path):
            system, where = system_of(path)
            system.info(where)
    elif not Path(path).is_file():
        raise FileNotFoundError(f"There is no file {path!r}")


def open_file(path: str, *, forwards: bool = False) -> BinaryIO:
    """Open a file of this machine, or at an address.

    Args:
        path: Where it is.
        forwards: It will be read from the first byte to the last, so a server need not know how to give parts.

    Raises:
        FileNotFoundError: If there is none.
        OSError: If it can't be read.
        ModuleNotFoundError: If a package is missing that such an address takes.

    """
    if not is_address(path):
        return Path(path).open("rb")
    with asking(path):
        system, where = system_of(path)
        settings = {"block_size": 0} if forwards and path.startswith("http") else {}
        return cast("BinaryIO", system.open(where, "rb", **settings))


def read_address(address: str, most: int) -> bytes:
    """The bytes of a file at an address, but not more than one beyond ``most``."""
    with open_file(address, forwards=True) as file, asking(address):
        parts, size = [], 0
        while size <= most and (part := file.read(min(1 << 20, most + 1 - size))):
            parts.append(part)
            size += len(part)
        return b"".join(parts)


def forget_threads(worker: int = 0) -> None:  # noqa: ARG001
    """To be called in a forked process, where the thread that fsspec waits for is gone, which old ones don't see."""
    asyn = sys.modules.get("fsspec.asyn")
    if asyn is not None and not hasattr(asyn, "reset_after_fork"):
        asyn.iothread[0] = asyn.loop[0] = None
        asyn.reset_lock()


def _spelled_out(pattern: str) -> Iterator[str]:
    parts = re.split(r"\{([^{}]*)\}", pattern)
    choices = [_choices(part, pattern) if place % 2 else [part] for place, part in enumerate(parts)]
    check_files(prod(map(len, choices)), pattern)
    return map("".join, itertools.product(*choices))


def _choices(inner: str, pattern: str) -> list[str]:
    """What stands between braces, spelled out."""
    if found := _RANGE.fullmatch(inner):
        first, last = found.groups()
        width = len(first) if first.startswith("0") else 0
        check_files(int(last) - int(first) + 1, pattern)
        return [f"{number:0{width}}" for number in range(int(first), int(last) + 1)]
    return inner.split(",") if "," in inner else [f"{{{inner}}}"]


def _looked_up(pattern: str) -> list[str]:
    if not is_address(pattern):
        return glob(pattern, recursive=True)  # noqa: PTH207
    with asking(pattern):
        system, path = system_of(pattern)
        return [system.unstrip_protocol(found) for found in system.glob(path)]
