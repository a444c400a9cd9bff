"""Names of image files, and their natural order."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Collection, Iterable, Sequence
from operator import eq
from pathlib import PurePosixPath
from typing import Any, overload

EXTENSIONS = (
    ".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jpeg", ".jpg", ".jxl", ".pbm", ".pgm", ".png",
    ".ppm", ".tif", ".tiff", ".webp",
)  # fmt: skip


def is_image_name(name: str) -> bool:
    """True for the name of an image file that is not hidden."""
    return not name.startswith(".") and name.lower().endswith(EXTENSIONS)


def is_image_member(member: str) -> bool:
    """True for the path of an image in an archive that is neither hidden nor in a hidden folder."""
    parts = PurePosixPath(member).parts
    hidden = any((part.startswith(".") and part not in (".", "..")) or part == "__MACOSX" for part in parts)
    return bool(parts) and not member.endswith("/") and not hidden and is_image_name(parts[-1])


def natural_key(name: str) -> str:
    """Return a sort key that puts ``img2`` before ``img10``, and ``img02`` before both.

    The key is one string, since there may be millions: numbers are prefixed with their number of digits, and precede
    text.

    Example:
        >>> sorted(["img10", "img2"], key=natural_key)
        ['img2', 'img10']

    """
    parts = [_key(part) if part.isdecimal() else f"\2{part}" for part in re.split(r"(\d+)", name) if part]
    return "".join([*parts, "\0", name])


def _key(digits: str) -> str:
    significant = (digits if digits.isascii() else "".join(str(int(digit)) for digit in digits)).lstrip("0")
    return f"\1{chr(len(significant))}{significant}"


def names_below(names: Sequence[str], roots: Collection[str] = (), paths: Any = os.path) -> list[str]:
    """Return the names of files below the folder or archive of ``roots`` that each is in, with ``/`` between folders.

    The spelling of paths does not matter, as in ``./x`` and ``x//y``. Without roots, names are those below the folder
    that all files share.

    Args:
        names: Paths or addresses.
        roots: Folders and archives.
        paths: The rules of paths, :mod:`posixpath` or :mod:`ntpath`; by default those of this system.

    Raises:
        ValueError: If a name is below none of the roots.

    Example:
        >>> names_below(["data/cat/1.png", "data/dog/2.png"], ["./data//"]), names_below(["x/cat/1.png", "x/2.png"])
        (['cat/1.png', 'dog/2.png'], ['cat/1.png', '2.png'])

    """
    whole = [paths.normpath(name) for name in names]
    if not roots:
        if len({paths.isabs(name) for name in whole}) > 1:
            whole = [paths.abspath(name) for name in whole]
        try:
            roots = [paths.commonpath({paths.dirname(name) for name in whole} or {""})]
        except ValueError:  # they are on several drives of Windows
            return [name.replace(paths.sep, "/") for name in whole]
    folders = {paths.normcase(paths.normpath(root)) for root in roots}
    folders = {"" if folder == paths.curdir else folder for folder in folders}
    begins: dict[str, int] = {}  # of names below their root, by folder
    below: list[str] = []
    for name in whole:
        folder = paths.dirname(name)
        if folder not in begins:
            begins[folder] = len(_root_of(folder, folders, paths))
        below.append(name[begins[folder] :].lstrip(paths.sep).replace(paths.sep, "/"))
    return below


def roots_in(archive: str, members: Iterable[str]) -> list[str]:
    """Return an archive, and the folder in it that all members share if there is one: names are below that.

    Example:
        >>> roots_in("./x.zip", ["photos/cat/1.png", "./photos/2.png"]), roots_in("x.zip", ["1.png", "photos/2.png"])
        (['x.zip', 'x.zip/photos'], ['x.zip'])

    """
    folders = {posixpath.normpath(f"{archive}/{folder}") for folder in {posixpath.dirname(name) for name in members}}
    root = posixpath.normpath(archive)
    return list(dict.fromkeys((root, posixpath.commonpath(folders or {root}))))


def lies_in_a_root(folder: str, roots: Collection[str]) -> bool:
    """True if a folder is below one of the roots, as spelled."""
    above = posixpath.dirname(folder)
    return above in roots or (above != folder and lies_in_a_root(above, roots))


def _root_of(folder: str, roots: set[str], paths: Any) -> str:
    """Return the nearest root that a folder is, or is in."""
    root, above = folder, paths.dirname(folder)
    while paths.normcase(root) not in roots:
        if root == above:
            raise ValueError(
                f"{folder!r} is not below {' or '.join(sorted(map(repr, roots))[:3])}, the source of images"
            )
        root, above = above, paths.dirname(above)
    return root


class Names(Sequence[str]):
    """Lazy sequence of names, since there may be millions: a selection of other names, with a prefix.

    Example:
        >>> list(Names(["a.png", "b.png", "c.png"], "x.tar/", [2, 0]))
        ['x.tar/c.png', 'x.tar/a.png']

    """

    def __init__(self, names: Sequence[str], start: str = "", chosen: Sequence[int] | None = None) -> None:
        self._names, self._start = names, start
        self._chosen = range(len(names)) if chosen is None else chosen

    def __len__(self) -> int:
        return len(self._chosen)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Names: ...
    def __getitem__(self, index: int | slice) -> str | Names:
        if isinstance(index, slice):
            return Names(self._names, self._start, self._chosen[index])
        return f"{self._start}{self._names[self._chosen[index]]}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(eq, self, other))
