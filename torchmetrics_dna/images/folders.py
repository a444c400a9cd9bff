"""Folders of image files, lists of them, and single ones."""

from __future__ import annotations

import codecs
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from torchmetrics_dna.images.addresses import is_address
from torchmetrics_dna.images.base import ImageSource
from torchmetrics_dna.images.kind import Kind, joined
from torchmetrics_dna.images.names import EXTENSIONS, is_image_name, natural_key
from torchmetrics_dna.images.places import files_below, open_file
from torchmetrics_dna.images.stamps import stamp_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torchmetrics_dna.images.base import Reading

_MARKS = (  # UTF-32 first: its mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def open_folder(path: str, reading: Reading) -> ImageSource:
    """All images in a folder, also one at an address, in natural order; hidden files and folders are left out."""
    if is_address(path):
        found = [file for file in files_below(path) if is_image_name(file.rpartition("/")[2])]
        return open_files(sorted(found, key=natural_key), path, reading)
    files = _walk(str(Path(path)))
    files.sort(key=lambda file: natural_key(file.replace(os.sep, "/")))
    return open_files(files, path, reading)


def open_files(files: Sequence[str], label: str, reading: Reading) -> ImageSource:
    """Image files, in this order."""
    fetch = files.__getitem__
    return ImageSource(files, fetch, label, reading.exif_orientation, partial(stamp_of, fetch))


def open_lists(lists: Sequence[str], label: str, reading: Reading) -> ImageSource:
    """Image files that lists name, one a line; paths are relative to their list."""
    return joined([open_files(_listed(name), name, reading) for name in lists], label, reading)


IMAGE = Kind("image file", EXTENSIONS, open_files)
LIST = Kind(".txt with one path or address a line", (".txt",), open_lists)


def refuse(err: OSError) -> NoReturn:
    """Say what can't be read."""
    raise type(err)(f"Can't read {str(err.filename)!r}: {err.strerror}") from err


def _listed(path: str) -> list[str]:
    above = path.rpartition("/")[0] if is_address(path) else Path(path).parent
    lines = [line.strip() for line in _read_list(path).splitlines()]
    return [line if is_address(line) else _below(above, line) for line in lines if line]


def _below(above: str | Path, line: str) -> str:
    return str(above / line) if isinstance(above, Path) else f"{above}/{line}"


def _read_list(path: str) -> str:
    with open_file(path, forwards=True) as file:
        data = file.read()
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8-sig")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:  # no path holds it, but UTF-16 without a mark does
        raise ValueError(f"List {path!r} is not in UTF-8; save it as UTF-8")
    return text


def _walk(folder: str) -> list[str]:
    """Images in a folder, each once: where it lies below the folder, or else by way of the first link to it."""
    found: list[str] = []
    visited: dict[str, str] = {}  # where each folder is, by its real path
    to_folders, to_files = [folder], list[str]()
    for start in to_folders:  # which grows
        for where, folders, files in os.walk(start, onerror=refuse):
            real = os.path.realpath(where)
            if real in visited:
                folders.clear()
                continue
            visited[real] = where
            folders[:] = sorted((name for name in folders if not name.startswith(".")), key=natural_key)
            to_folders += [path for name in folders if _is_link(path := _join(where, name))]
            for path in (_join(where, name) for name in files if is_image_name(name)):
                (to_files if _is_link(path) else found).append(path)
    linked: dict[str, str] = {}
    for path in sorted(to_files, key=natural_key):
        real, _, name = os.path.realpath(path).rpartition(os.sep)
        seen = real in visited and is_image_name(name) and os.path.isfile(path)  # noqa: PTH113
        if not seen:
            linked.setdefault(f"{real}{os.sep}{name}", path)
    return [*found, *linked.values()]


# not by Path, which takes ten times the time and memory, since there may be millions
def _join(folder: str, name: str) -> str:
    return os.path.join(folder, name).removeprefix(f"{os.curdir}{os.sep}")  # noqa: PTH118


def _is_link(path: str) -> bool:
    return os.path.islink(path)  # noqa: PTH114
