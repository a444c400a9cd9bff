"""Which class each image is of: by its folder, a file of labels, a function of its name, or as given."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, TypeVar

from torchmetrics_dna.images import ImageStream
from torchmetrics_dna.images.base import by_number
from torchmetrics_dna.images.names import is_image_name, natural_key
from torchmetrics_dna.images.parquet import labels_of

if TYPE_CHECKING:
    from torchmetrics_dna.images import Images, ImageSource

Classes = str | Callable[[str], object] | Sequence[object]
_COLUMN = "column:"
_T = TypeVar("_T")


def by_class(images: Images, by: Classes) -> dict[str, list[int]] | dict[str, list[str]]:
    """The numbers of the images of each class, or of a stream their names; classes in natural order.

    Args:
        images: The images.
        by: ``"folder"``: the folder right below that of all images. The path of a ``.csv`` with an image's name, or
            path, and its class in each row. ``"column:NAME"``: a column of Parquet files. A function of an image's
            name. Or the classes themselves, one for each image.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is none of these, or an image has no class; of a stream, for all but a column.

    Example:
        >>> from torchmetrics_dna.images import ImageSource
        >>> by_class(ImageSource(["x/dog/1.png", "x/cat/1.png", "x/dog/2.png"], str, "x"), "folder")
        {'cat': [1], 'dog': [0, 2]}

    """
    if isinstance(images, ImageStream):
        if not isinstance(by, str) or not by.startswith(_COLUMN):
            raise ValueError(f"{by_number(images, 'A comparison of classes')}; of Parquet files, give 'column:NAME'")
        return _gathered(labels_of(images, by.removeprefix(_COLUMN)).items())
    return _gathered(enumerate(_classes(images, by)))


def _gathered(labelled: Iterable[tuple[_T, str]]) -> dict[str, list[_T]]:
    found: dict[str, list[_T]] = {}
    for image, name in labelled:
        found.setdefault(name, []).append(image)
    return {name: found[name] for name in sorted(found, key=natural_key)}


def _classes(images: ImageSource, by: Classes) -> list[str]:
    if by == "folder":
        return [_folder_below(name, images.label) for name in images.names]
    if isinstance(by, str) and by.endswith(".csv"):
        known = _read_labels(by)
        return [_labelled(name, known, by) for name in images.names]
    if callable(by):
        return [str(by(name)) for name in images.names]
    if isinstance(by, str):
        raise ValueError(
            f"Argument `by` expected to be 'folder', the path of a .csv of labels, or 'column:NAME' of Parquet files,"
            f" but got {by!r}"
        )
    if len(by) != len(images):
        raise ValueError(f"Argument `by` has {len(by)} classes, but {images.label!r} has {len(images)} images")
    return [str(name) for name in by]


def _folder_below(name: str, label: str) -> str:
    parts = PurePath(name.removeprefix(label).lstrip("/")).parts
    if len(parts) < 2:
        raise ValueError(f"{name!r} lies in no folder of its class below {label!r}; give a .csv of labels")
    return parts[0]


def _read_labels(path: str) -> dict[str, str]:
    """The class of each image by its name; a row without one is a header if it is the first."""
    with Path(path).open(newline="", encoding="utf-8-sig") as file:
        rows = [row for row in csv.reader(file) if row]
    if rows and rows[0] and not is_image_name(PurePath(rows[0][0]).name):
        rows = rows[1:]
    short = next((row for row in rows if len(row) < 2), None)
    if short is not None or not rows:
        raise ValueError(f"{path!r} expected to have an image and its class in each row, but got {short or 'no rows'}")
    return {row[0].strip(): row[1].strip() for row in rows}


def _labelled(name: str, known: dict[str, str], path: str) -> str:
    """The label of the longest end of a path that has one."""
    parts = PurePath(name).parts
    for begin in range(len(parts)):
        found = known.get("/".join(parts[begin:]).replace("//", "/"))
        if found is not None:
            return found
    raise ValueError(f"{path!r} has no class for {name!r}; add a row, or leave the image out")
