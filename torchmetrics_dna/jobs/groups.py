"""Images that belong together: groups of a set, such as frames of a clip, and pairs across sides of a comparison."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import PurePath, PurePosixPath
from typing import TYPE_CHECKING, TypeVar

from torchmetrics_dna.files.damage import reason_of
from torchmetrics_dna.files.visible import images_in_words
from torchmetrics_dna.functional.permutation import LEAST_FOLDS
from torchmetrics_dna.images import Images, ImageSource
from torchmetrics_dna.options import argument, written
from torchmetrics_dna.statistics.folds import group_folds

if TYPE_CHECKING:
    from torchmetrics_dna.dna import DNA

Groups = str | Callable[[str], object] | Sequence[object]
Pairs = bool | str | Callable[[str], object]
# Up to this number of pairs, each pair is a fold of its own.
FEW = 50
_PREFIX = "prefix:"
_T = TypeVar("_T")


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
            f"{argument('groups')} is a sequence, but {images.label!r} is a stream; give 'folder', 'prefix:REGEX' or a"
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
    if not callable(groups) and not isinstance(groups, str) and len(groups) != len(names):
        raise ValueError(f"{argument('groups')} has {len(groups)} names, but {images.label!r} has {len(names)} images")
    return groups_of(names, range(len(names)), groups)


def groups_of(names: Sequence[str], numbers: Sequence[int], groups: Groups) -> list[object]:
    """Return the group of each image of these names and numbers."""
    if callable(groups) or isinstance(groups, str):
        return by_names("groups", _group_of(groups), names)
    return [groups[number] for number in numbers]


def by_names(parameter: str, function: Callable[[str], _T], names: Sequence[str]) -> list[_T]:
    """Return what a function of the user's gives for each name; ValueError with the name it fails for."""
    values = list[_T]()
    for name in names:
        try:
            values.append(function(name))
        except (LookupError, TypeError, AttributeError) as err:
            raise ValueError(f"{argument(parameter)} fails for {name!r}: {reason_of(err)}") from err
    return values


def _group_of(groups: str | Callable[[str], object]) -> Callable[[str], object]:
    """Return the function from an image's name to its group."""
    if callable(groups):
        return groups
    if groups == "folder":
        return lambda name: str(PurePath(name).parent)
    if not groups.startswith(_PREFIX) or groups == _PREFIX:
        raise ValueError(f"{argument('groups')} expected to be 'folder' or 'prefix:REGEX', but got {groups!r}")
    return partial(_matched, groups.removeprefix(_PREFIX))


def _matched(expression: str, name: str) -> str:
    try:
        name = PurePath(name).name
        match = re.match(expression, name)
    except re.error as err:
        raise ValueError(f"{argument('groups')} has no regular expression, {expression!r}: {err}") from err
    if match is None:
        where = f"at the beginning of {name!r}, the name without folders"
        raise ValueError(f"{expression!r} matches nothing {where}; give another expression, or 'folder'")
    return match[1] if match.re.groups else match[0]


def folds_of_pairs(sides: Sequence[Images | DNA], pairs: Pairs, num_folds: int) -> tuple[list[list[int]], int]:
    """Return the fold of each image of each side, and the number of folds; both images of a pair share one.

    Many pairs share ``num_folds``, few have a fold each. ValueError if ``pairs`` is of another type, a side has no
    images by number, or an image has no partner.
    """
    sources = list[ImageSource]()
    for side in sides:
        if not isinstance(side, ImageSource):
            raise ValueError(
                f"{argument('pairs')} takes images by number on all sides, but got a DNA or a stream, such as a"
                f" DataLoader; give its dataset, or leave {written('pairs')} out"
            )
        sources.append(side)
    keys = [keys_of_pairs(side, pairs) for side in sources]
    for side, of_side in zip(sources[1:], keys[1:], strict=True):
        _check_partners(sources[0], side, keys[0], of_side)
    if len(keys[0]) > FEW:
        return [group_folds(of_side, num_folds).tolist() for of_side in keys], num_folds
    numbers = {key: i for i, key in enumerate(sorted(keys[0], key=str))}
    return [[numbers[key] for key in of_side] for of_side in keys], max(LEAST_FOLDS, len(numbers))


def partners(a: ImageSource, b: ImageSource, pairs: Pairs) -> list[int]:
    """Return the index of each image's partner in B, for all images of A in order; for sides that were checked."""
    numbers = {key: number for number, key in enumerate(keys_of_pairs(b, pairs))}
    return [numbers[key] for key in keys_of_pairs(a, pairs)]


def keys_of_pairs(images: ImageSource, pairs: Pairs) -> Sequence[object]:
    """Return for each image what it has in common with its partner."""
    if pairs is True:
        return range(len(images))
    if pairs == "name":
        return [str(PurePosixPath(name).with_suffix("")) for name in images.relative_names]
    if not callable(pairs):
        raise ValueError(
            f"{argument('pairs')} expected to be True, 'name' or a function of an image's name, but got {pairs!r}"
        )
    return by_names("pairs", pairs, images.names)


def _check_partners(a: ImageSource, b: ImageSource, keys_a: Sequence[object], keys_b: Sequence[object]) -> None:
    """Raise ValueError unless each image has one partner."""
    if isinstance(keys_a, range):
        if len(keys_a) != len(keys_b):
            raise ValueError(
                f"Images are paired by their order, but {a.label!r} has {len(keys_a):,} and {b.label!r} has"
                f" {len(keys_b):,}; leave out those without a partner, or pass {written('pairs', 'name')}"
            )
        return
    for side, keys in ((a, keys_a), (b, keys_b)):
        key, count = Counter(keys).most_common(1)[0]
        if count > 1:
            raise ValueError(f"{argument('pairs')} gives {key!r} to {count} images of {side.label!r}")
    for side, opposite, keys, partners in ((a, b, keys_a, set(keys_b)), (b, a, keys_b, set(keys_a))):
        alone = [name for name, key in zip(side.names, keys, strict=True) if key not in partners]
        if len(alone) == len(side):
            raise ValueError(
                f"{argument('pairs')} finds a partner in {b.label!r} for no image of {a.label!r}: {keys_a[0]!r} is none"
                f" of {keys_b[0]!r}, ...; give partners the same name, or pair them by their order with"
                f" {written('pairs', True)}"
            )
        if alone:
            raise ValueError(
                f"{argument('pairs')} finds no partner in {opposite.label!r} for {images_in_words(len(alone))} of"
                f" {side.label!r}, such as {alone[0]!r}"
            )
