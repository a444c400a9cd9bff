"""Images that belong together: groups within a set, such as the frames of a clip, and pairs of two sets."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence
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
# Largest number of pairs for which each pair is a fold of its own.
FEW = 50
_PREFIX = "prefix:"
_T = TypeVar("_T")


def grouping(images: Images, groups: Groups | None) -> Callable[[int, str], object] | None:
    """Return a function of the number and name of an image that returns its group; None without groups.

    Without groups, images with equal pixels belong together. In a stream with folders, each folder is then a group.

    Raises:
        ValueError: If the groups do not fit the images, see :func:`group_names`. Also if the groups are a sequence and
            the images are a stream, since the images of a stream are unknown before they are read.

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
            f"{argument('groups')} is a sequence, but {images.label!r} is a stream; pass 'folder', 'prefix:REGEX' or a"
            " function of an image's name"
        )
    group_of = _group_of(groups)
    return lambda _, name: group_of(name)


def group_names(images: ImageSource, groups: Groups) -> list[object]:
    """Return the group of each image.

    Args:
        images: The images.
        groups: Rule for the group of an image. ``"folder"`` is the folder of the image. ``"prefix:REGEX"`` is the match
            of the regular expression at the beginning of the file name, or its first group in brackets. The rule can
            also be a function of the image's name, or a sequence with the group of each image.

    Raises:
        ValueError: If there is no such rule, or the rule does not apply to an image.

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
    """Return the group of each image.

    Args:
        names: Names of the images.
        numbers: Index of each image in its source.
        groups: Rule for the group of an image, see :func:`group_names`.

    """
    if callable(groups) or isinstance(groups, str):
        return by_names("groups", _group_of(groups), names)
    return [groups[number] for number in numbers]


def by_names(parameter: str, function: Callable[[str], _T], names: Sequence[str]) -> list[_T]:
    """Apply a function of the user to each name.

    Args:
        parameter: Argument that the function was passed as, for the error message.
        function: The function.
        names: Names of the images.

    Raises:
        ValueError: If the function fails. The message has the name.

    """
    values: list[_T] = []
    for name in names:
        try:
            values.append(function(name))
        except (LookupError, TypeError, AttributeError) as err:
            raise ValueError(f"{argument(parameter)} fails for {name!r}: {reason_of(err)}") from err
    return values


def _group_of(groups: str | Callable[[str], object]) -> Callable[[str], object]:
    """Return a function of an image's name that returns its group.

    Raises:
        ValueError: If ``groups`` is a text that names no rule.

    """
    if callable(groups):
        return groups
    if groups == "folder":
        return lambda name: str(PurePath(name).parent)
    if not groups.startswith(_PREFIX) or groups == _PREFIX:
        raise ValueError(f"{argument('groups')} expected to be 'folder' or 'prefix:REGEX', but got {groups!r}")
    return partial(_matched, groups.removeprefix(_PREFIX))


def _matched(expression: str, name: str) -> str:
    """Match the beginning of a file name, and return the match or its first group in brackets.

    Raises:
        ValueError: If the name does not match, or the expression is no regular expression.

    """
    file_name = PurePath(name).name
    try:
        match = re.match(expression, file_name)
    except re.error as err:
        raise ValueError(f"{argument('groups')} has no regular expression, {expression!r}: {err}") from err
    if match is None:
        raise ValueError(
            f"{expression!r} matches nothing at the beginning of {file_name!r}, the name without folders; pass another"
            " expression, or 'folder'"
        )
    has_brackets = match.re.groups > 0
    return match[1] if has_brackets else match[0]


def folds_of_pairs(sides: Sequence[Images | DNA], pairs: Pairs, num_folds: int) -> tuple[list[list[int]], int]:
    """Assign the images of all sides to folds, so that the images of a pair share a fold.

    Args:
        sides: The sides.
        pairs: Rule of the pairs, see :class:`Arguments`.
        num_folds: Number of folds. Up to 50 pairs have a fold each instead.

    Returns:
        The fold of each image, for each side, and the number of folds.

    Raises:
        ValueError: If there is no such rule, a side is a DNA or a stream, or an image has no partner.

    """
    sources = _sources_of_pairs(sides)
    keys_of_sides = [keys_of_pairs(source, pairs) for source in sources]
    first_keys = keys_of_sides[0]
    for source, keys in zip(sources[1:], keys_of_sides[1:], strict=True):
        _check_partners(sources[0], source, first_keys, keys)
    if len(first_keys) > FEW:
        return [group_folds(keys, num_folds).tolist() for keys in keys_of_sides], num_folds
    # Each pair is a fold of its own.
    fold_of_key = {key: fold for fold, key in enumerate(sorted(first_keys, key=str))}
    folds = [[fold_of_key[key] for key in keys] for keys in keys_of_sides]
    return folds, max(LEAST_FOLDS, len(fold_of_key))


def _sources_of_pairs(sides: Sequence[Images | DNA]) -> list[ImageSource]:
    """Return the sides, after a check that their images have numbers.

    Raises:
        ValueError: If a side is a DNA or a stream.

    """
    sources: list[ImageSource] = []
    for side in sides:
        if not isinstance(side, ImageSource):
            raise ValueError(
                f"{argument('pairs')} takes images by number on all sides, but got a DNA or a stream, such as a"
                f" DataLoader; pass its dataset, or omit {written('pairs')}"
            )
        sources.append(side)
    return sources


def partners(a: ImageSource, b: ImageSource, pairs: Pairs) -> list[int]:
    """Return the index in B of the partner of each image of A.

    The pairs must have been checked by :func:`folds_of_pairs`.
    """
    number_in_b = {key: number for number, key in enumerate(keys_of_pairs(b, pairs))}
    return [number_in_b[key] for key in keys_of_pairs(a, pairs)]


def keys_of_pairs(images: ImageSource, pairs: Pairs) -> Sequence[object]:
    """Return a key for each image, which is equal to the key of its partner.

    Args:
        images: The images.
        pairs: Rule of the pairs, see :class:`Arguments`.

    Raises:
        ValueError: If there is no such rule.

    """
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
    """Raise ValueError unless each image has exactly one partner.

    Args:
        a: Images of A.
        b: Images of B.
        keys_a: Keys of the images of A, see :func:`keys_of_pairs`. A range means that images are paired by order.
        keys_b: Keys of the images of B.

    """
    if isinstance(keys_a, range):
        if len(keys_a) != len(keys_b):
            raise ValueError(
                f"Images are paired by their order, but {a.label!r} has {len(keys_a):,} and {b.label!r} has"
                f" {len(keys_b):,}; omit those without a partner, or pass {written('pairs', 'name')}"
            )
        return
    _check_unique(a, keys_a)
    _check_unique(b, keys_b)
    common_keys = set(keys_a) & set(keys_b)
    if not common_keys:
        raise ValueError(
            f"{argument('pairs')} finds a partner in {b.label!r} for no image of {a.label!r}: {keys_a[0]!r} is none"
            f" of {keys_b[0]!r}, ...; use the same name for partners, or pair them by their order with"
            f" {written('pairs', True)}"
        )
    _check_none_alone(a, b, keys_a, common_keys)
    _check_none_alone(b, a, keys_b, common_keys)


def _check_none_alone(
    images: ImageSource, opposite: ImageSource, keys: Sequence[object], common_keys: Collection[object]
) -> None:
    """Raise ValueError if an image has no partner.

    Args:
        images: Images of one side.
        opposite: Images of the other side.
        keys: Keys of the images of the one side.
        common_keys: Keys that both sides have.

    """
    alone = [name for name, key in zip(images.names, keys, strict=True) if key not in common_keys]
    if alone:
        raise ValueError(
            f"{argument('pairs')} finds no partner in {opposite.label!r} for {images_in_words(len(alone))} of"
            f" {images.label!r}, such as {alone[0]!r}"
        )


def _check_unique(images: ImageSource, keys: Sequence[object]) -> None:
    """Raise ValueError if several images have the same key."""
    key, count = Counter(keys).most_common(1)[0]
    if count > 1:
        raise ValueError(f"{argument('pairs')} gives {key!r} to {count} images of {images.label!r}")
