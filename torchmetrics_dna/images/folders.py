"""Folders, lists and single files of images."""

from __future__ import annotations

import codecs
import os
import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from torchmetrics_dna.images.addresses import files_below, is_address, open_file, public, public_names
from torchmetrics_dna.images.base import ImageSource, joined
from torchmetrics_dna.images.names import is_image_name, natural_key
from torchmetrics_dna.images.pixels import stamp_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torchmetrics_dna.images.reading import Reading

_FIRST = 10  # lines of a list, one of which has to be a file


def open_folder(path: str, reading: Reading) -> ImageSource:
    """Open all images in a folder, in natural order, without hidden files and folders.

    Each is opened once: by its own path, or else by the first link to it.
    """
    images: list[str] = []
    visited: dict[str, str] = {}  # path of each folder by its real path
    roots, file_links = [str(Path(path))], list[str]()
    for start in roots:  # grows in the loop
        for folder_path, folders, files in os.walk(start, onerror=refuse):
            real = os.path.realpath(folder_path)
            if real in visited:
                folders.clear()
                continue
            visited[real] = folder_path
            folders[:] = sorted((name for name in folders if not name.startswith(".")), key=natural_key)
            roots += [folder for name in folders if _is_link(folder := _join(folder_path, name))]
            for file in (_join(folder_path, name) for name in files if is_image_name(name)):
                (file_links if _is_link(file) else images).append(file)
    linked: dict[str, str] = {}
    for link in sorted(file_links, key=natural_key):
        real, _, name = os.path.realpath(link).rpartition(os.sep)
        is_listed = real in visited and is_image_name(name) and os.path.isfile(link)  # noqa: PTH113
        if not is_listed:
            linked.setdefault(f"{real}{os.sep}{name}", link)
    images += linked.values()
    images.sort(key=lambda file: natural_key(file.replace(os.sep, "/")))
    return open_files(images, path, reading, [path])


def open_remote_folder(path: str, reading: Reading) -> ImageSource:
    """Open all images in a folder at an address, in natural order."""
    root, files = files_below(path)
    images = [file for file in files if is_image_name(file.rpartition("/")[2])]
    return open_files(sorted(images, key=natural_key), path, reading, [root])


def open_files(files: Sequence[str], label: str, reading: Reading, roots: Sequence[str] = ()) -> ImageSource:
    """Open image files, in this order."""
    fetch, names = files.__getitem__, files if roots else public_names(files)
    return ImageSource(names, fetch, label, reading.exif_orientation, partial(stamp_of, fetch), roots)


def open_lists(lists: Sequence[str], label: str, reading: Reading) -> ImageSource:
    """Open the image files of lists with one path per line, relative to the list."""
    sources = []
    for name in lists:
        lines = filter(None, map(str.strip, read_list(name).splitlines()))
        within = f"{name.rpartition('/')[0]}/{{}}".format if is_address(name) else Path(name).parent.joinpath
        files = [line if is_address(line) else str(within(line)) for line in lines]
        first = files[:_FIRST]
        if first and not any(is_address(file) or os.path.lexists(file) for file in first):
            raise ValueError(
                f"{public(name)!r} is read as a list of images, a path a line, but there is no file {first[0]!r}; give"
                " paths from the list's own folder"
            )
        sources.append(open_files(files, public(name), reading))
    return joined(sources, label, reading)


def open_images(files: Sequence[str], pattern: str, reading: Reading) -> ImageSource:
    """Open image files that match a pattern; their names are below its folders without wildcards."""
    fixed = os.path.dirname(re.split(r"[*?\[{]", pattern)[0])  # noqa: PTH120
    return open_files(files, pattern, reading, () if is_address(pattern) else [fixed])


def refuse(err: OSError) -> NoReturn:
    """Raise an error that names the unreadable path."""
    raise type(err)(f"Can't read {str(err.filename)!r}: {err.strerror}") from err


def read_list(path: str) -> str:
    """Read a text in UTF-8, or with a byte order mark; ValueError in another encoding."""
    with open_file(path, forwards=True) as file:
        data = file.read()
    encoding = "utf-8-sig"
    if data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):  # which begins with that of UTF-16
        encoding = "utf-32"
    elif data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:  # UTF-16 without a byte order mark; no path contains it
        raise ValueError(f"List {public(path)!r} is not in UTF-8; save it as UTF-8")
    return text


# pathlib takes ten times the time and memory, and there may be millions of files
def _join(folder: str, name: str) -> str:
    return os.path.join(folder, name).removeprefix(f"{os.curdir}{os.sep}")  # noqa: PTH118


def _is_link(path: str) -> bool:
    return os.path.islink(path)  # noqa: PTH114
