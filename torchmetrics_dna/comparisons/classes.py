"""Class labels of images: from folders, a file of labels, a function of the name, or a sequence."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from io import StringIO
from pathlib import PurePath
from posixpath import dirname, normpath
from typing import TYPE_CHECKING, TypeVar

from torchmetrics_dna.images import ImageStream
from torchmetrics_dna.images.parquet import labels_of
from torchmetrics_dna.images.paths import is_image_name, lies_in_a_root, natural_key
from torchmetrics_dna.images.sets import by_number
from torchmetrics_dna.images.sources import read_list

if TYPE_CHECKING:
    from torchmetrics_dna.images import Images, ImageSource

Classes = str | Callable[[str], object] | Sequence[object]
_COLUMN = "column:"
_T = TypeVar("_T")


def by_class(images: Images, by: Classes) -> dict[str, list[int]] | dict[str, list[str]]:
    """Group images by class; classes are in natural order.

    Args:
        images: The images.
        by: ``"folder"``: the folder right below that of all images. The path of a ``.csv`` with an image's name, or
            path, and its class in each row. ``"column:NAME"``: a column of Parquet files. A function of an image's
            name. Or a sequence of classes, one for each image.

    Returns:
        The source indices of the images of each class; the names of the images if ``images`` is a stream.

    Raises:
        FileNotFoundError: If the file of labels does not exist.
        ValueError: If ``by`` is none of these, an image has no class, or two in the file of labels, or ``images`` is a
            stream and ``by`` no column.

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
    classes: dict[str, list[_T]] = {}
    for image, name in labelled:
        classes.setdefault(name, []).append(image)
    return {name: classes[name] for name in sorted(classes, key=natural_key)}


def _classes(images: ImageSource, by: Classes) -> list[str]:
    if by == "folder":
        return [_folder(*names, images) for names in zip(images.relative_names, images.names, strict=True)]
    if isinstance(by, str) and by.endswith(".csv"):
        labels = _read_labels(by)
        return [_labelled(name, labels, by) for name in images.names]
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


def _folder(name: str, whole_name: str, images: ImageSource) -> str:
    folder, _, rest = name.partition("/")
    if rest:
        return folder
    if len(images.roots) > 1 and lies_in_a_root(dirname(normpath(whole_name)), images.roots):
        return PurePath(whole_name).parent.name  # that all images of an archive are in, which may be of one class
    raise ValueError(f"{name!r} lies in no folder of its class below {images.label!r}; give a .csv of labels")


def _read_labels(path: str) -> dict[str, str]:
    """Read the class of each image by name; a first row without an image name is a header."""
    rows = [row for row in csv.reader(StringIO(read_list(path), newline="")) if row]
    if rows and rows[0] and not is_image_name(PurePath(rows[0][0]).name):
        rows = rows[1:]
    short = next((row for row in rows if len(row) < 2), None)
    if short is not None or not rows:
        raise ValueError(f"{path!r} expected to have an image and its class in each row, but got {short or 'no rows'}")
    labels: dict[str, str] = {}
    for row in rows:
        name, label = PurePath(row[0].strip()).as_posix(), row[1].strip()
        if labels.setdefault(name, label) != label:
            raise ValueError(f"{path!r} has {name!r} twice, as {labels[name]!r} and as {label!r}; leave one row out")
    return labels


def _labelled(name: str, labels: dict[str, str], path: str) -> str:
    """Return the label of the longest suffix of the path that has one."""
    parts = PurePath(name).parts
    for begin in range(len(parts)):
        label = labels.get("/".join(parts[begin:]).replace("//", "/"))
        if label is not None:
            return label
    raise ValueError(f"{path!r} has no class for {name!r}; add a row, or leave the image out")
