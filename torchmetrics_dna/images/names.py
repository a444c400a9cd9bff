"""Which names are those of images, and in which order they stand."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

EXTENSIONS = (
    ".avif",
    ".bmp",
    ".gif",
    ".jfif",
    ".jp2",
    ".jpeg",
    ".jpg",
    ".pbm",
    ".pgm",
    ".png",
    ".ppm",
    ".tif",
    ".tiff",
    ".webp",
)


def is_image_name(name: str) -> bool:
    """Whether a file's name is that of an image that is not hidden."""
    return not name.startswith(".") and name.lower().endswith(EXTENSIONS)


def is_image_member(member: str) -> bool:
    """Whether a path in an archive is that of an image that is not hidden, nor in a hidden folder."""
    parts = PurePosixPath(member).parts
    hidden = any((part.startswith(".") and part != ".") or part == "__MACOSX" for part in parts)
    return bool(parts) and not member.endswith("/") and not hidden and is_image_name(parts[-1])


def natural_key(name: str) -> list[tuple[int, int | str]]:
    """Sort key under which ``img2`` comes before ``img10``; ``img02``, which counts alike, before both.

    Example:
        >>> sorted(["img10", "img2"], key=natural_key)
        ['img2', 'img10']

    """
    parts = [(0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"(\d+)", name) if part]
    return [*parts, (-1, name)]
