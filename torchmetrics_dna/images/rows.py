"""Find the column of images in rows of several values."""

from __future__ import annotations

import os
from collections.abc import Mapping
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from torch import Tensor

from torchmetrics_dna.images.names import is_image_name
from torchmetrics_dna.images.pixels import is_image_file

if TYPE_CHECKING:
    from collections.abc import Iterable

_LIKELY = ("image", "img", "jpg", "jpeg", "png", "webp", "pixel_values", "picture", "photo")
_NAME_IT = "name it by `column`"


def find_column(row: Mapping[str, Any], column: str | None, label: str) -> str:
    """Return the name of the column of images; ``label`` names the rows in errors.

    If none is given, it is a common name, or else the only column with an image.

    Raises:
        ValueError: If there is none, or it is ambiguous.

    Example:
        >>> find_column({"label": 3, "img": np.zeros((4, 5, 3), np.uint8)}, None, "rows")
        'img'

    """
    if column is not None:
        check_column(row, column, label)
        return column
    holding = [name for name, value in row.items() if _is_image(value)]
    lower = {name.lower(): name for name, value in row.items() if value is None or _is_image(value, least_axes=2)}
    if usual := [lower[name] for name in _LIKELY if name in lower]:
        return usual[0]
    if len(holding) == 1:
        return holding[0]
    what = f"several columns that hold an image ({', '.join(holding)})" if holding else "no column that holds an image"
    raise ValueError(f"There is {what} in {label!r}, which has {_listed(row)}; {_NAME_IT}")


def check_column(columns: Iterable[str], column: str, label: str) -> None:
    """Raise ValueError that lists the columns unless ``column`` is one of them."""
    columns = list(columns)
    if column not in columns:
        raise ValueError(f"There is no column {column!r} in {label!r}, which has {_listed(columns)}; {_NAME_IT}")


class Column:
    """Extractor of images from rows, by a column that is detected in the first row unless it is given."""

    def __init__(self, column: str | None, label: str) -> None:
        self._column, self._label = column, label
        self._resolved: str | None = None

    def __call__(self, item: Any) -> Any:
        """Return the image in a row; other items are images themselves."""
        if not isinstance(item, Mapping) or is_file(item):
            return item
        if self._resolved is None:
            self._resolved = find_column(item, self._column, self._label)
        if self._resolved not in item:
            raise ValueError(f"its row has no column {self._resolved!r}, but {_listed(item)}")
        return item[self._resolved]


def is_file(item: Mapping[Any, Any]) -> bool:
    """True for ``{"bytes": ..., "path": ...}`` or a part of it: the format of an image in Arrow and Parquet."""
    return bool(item) and item.keys() <= {"bytes", "path"}


def _is_image(value: Any, least_axes: int = 3) -> bool:
    """True if a value may be an image or a batch of images; with two axes, it may also be boxes."""
    if isinstance(value, Mapping):
        return is_file(value) and any(value.values())
    if isinstance(value, (bytes, bytearray)):
        return is_image_file(BytesIO(value))
    if isinstance(value, (str, os.PathLike)):
        return is_image_name(os.path.basename(value))  # noqa: PTH119
    if isinstance(value, (np.ndarray, Tensor)):
        return least_axes <= value.ndim <= 4
    if isinstance(value, list) and value:
        return not isinstance(value[0], list) and _is_image(value[0], least_axes)
    return isinstance(value, Image.Image)


def _listed(columns: Iterable[str]) -> str:
    return ", ".join(map(str, columns)) or "none"
