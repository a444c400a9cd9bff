"""Groups of images that belong together: frames of a clip, crops of a picture, slices of a patient."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import PurePath
from typing import TYPE_CHECKING

from torchmetrics_dna.images import ImageSource

if TYPE_CHECKING:
    from torchmetrics_dna.images import Images

Groups = str | Callable[[str], object] | Sequence[object]
_PREFIX = "prefix:"


def grouping(images: Images, groups: Groups | None) -> Callable[[int, str], object] | None:
    """Return a function (index, name) -> group, or None to group by pixel content; errors as of :func:`group_names`.

    The images of a stream are not known, so it can't have a sequence of groups.
    """
    if isinstance(images, ImageSource):
        if groups is None:
            return None
        names = group_names(images, groups)
        return lambda number, _: names[number]
    if groups is None and images.in_folders:
        groups = "folder"
    if groups is None:
        return None
    if not callable(groups) and not isinstance(groups, str):
        raise ValueError(
            f"Argument `groups` is a sequence, but {images.label!r} is a stream; give 'folder', 'prefix:REGEX' or a"
            " function of an image's name"
        )
    group_of = _group_of(groups)
    return lambda _, name: group_of(name)


def group_names(images: ImageSource, groups: Groups) -> list[object]:
    """Return the group of each image.

    Args:
        images: The images.
        groups: ``"folder"``: the folder of the image. ``"prefix:REGEX"``: the match of the expression at the beginning
            of the file's name, or its first group in brackets. A function of the image's name. Or a sequence of groups,
            one for each image.

    Raises:
        ValueError: If ``groups`` is none of these, or an image has no group.

    Example:
        >>> from torchmetrics_dna.images import ImageSource
        >>> images = ImageSource(["clips/a_01.png", "clips/a_02.png", "clips/b_01.png"], str, "clips")
        >>> group_names(images, "prefix:[a-z]+")
        ['a', 'a', 'b']

    """
    names = images.names
    if not callable(groups) and not isinstance(groups, str):
        if len(groups) != len(names):
            raise ValueError(f"Argument `groups` has {len(groups)} names, but {images.label!r} has {len(names)} images")
        return list(groups)
    return [*map(_group_of(groups), names)]


def _group_of(groups: str | Callable[[str], object]) -> Callable[[str], object]:
    """Return the function from an image's name to its group."""
    if callable(groups):
        return groups
    if groups == "folder":
        return lambda name: str(PurePath(name).parent)
    if not groups.startswith(_PREFIX):
        raise ValueError(f"Argument `groups` expected to be 'folder' or 'prefix:REGEX', but got {groups!r}")
    return partial(_matched, groups.removeprefix(_PREFIX))


def _matched(expression: str, name: str) -> str:
    try:
        match = re.match(expression, PurePath(name).name)
    except re.error as err:
        raise ValueError(f"Argument `groups` has no regular expression, {expression!r}: {err}") from err
    if match is None:
        raise ValueError(f"{expression!r} matches nothing at the beginning of {name!r}; give another expression")
    return match[1] if match.re.groups else match[0]
