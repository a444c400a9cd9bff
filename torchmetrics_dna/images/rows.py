"""Rows that hold an image among other things: which of their columns it is in."""

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


def find_column(row: Mapping[str, Any], given: str | None, label: str) -> str:
    """The column of the image.

    Args:
        row: One of the rows.
        given: What it is called; None to guess: one of the usual names, or else the only one that holds an image.
        label: What to call the rows.

    Raises:
        ValueError: If there is none, or it can't be told.

    Example:
        >>> find_column({"label": 3, "img": np.zeros((4, 5, 3), np.uint8)}, None, "rows")
        'img'

    """
    if given is not None:
        check_column(row, given, label)
        return given
    holding = [name for name, value in row.items() if _is_image(value)]
    lower = {name.lower(): name for name, value in row.items() if value is None or _is_image(value, least_axes=2)}
    if usual := [lower[name] for name in _LIKELY if name in lower]:
        return usual[0]
    if len(holding) == 1:
        return holding[0]
    what = f"several columns that hold an image ({', '.join(holding)})" if holding else "no column that holds an image"
    raise ValueError(f"There is {what} in {label!r}, which has {_listed(row)}; {_NAME_IT}")


def check_column(columns: Iterable[str], given: str, label: str) -> None:
    """ValueError, which names the columns that there are, if there is no such one."""
    columns = list(columns)
    if given not in columns:
        raise ValueError(f"There is no column {given!r} in {label!r}, which has {_listed(columns)}; {_NAME_IT}")


class Column:
    """Takes images out of rows, once the first of them has shown in which column they are.

    Args:
        given: What it is called; None to guess.
        label: What to call the rows.

    """

    def __init__(self, given: str | None, label: str) -> None:
        self._given, self._label = given, label
        self._found: str | None = None

    def __call__(self, item: Any) -> Any:
        """The image in a row; anything else is an image itself."""
        if not isinstance(item, Mapping) or is_file(item):
            return item
        if self._found is None:
            self._found = find_column(item, self._given, self._label)
        if self._found not in item:
            raise ValueError(f"its row has no column {self._found!r}, but {_listed(item)}")
        return item[self._found]


def is_file(item: Mapping[Any, Any]) -> bool:
    """Whether it is ``{"bytes": ..., "path": ...}`` or one of them: how Arrow and Parquet keep an image."""
    return bool(item) and item.keys() <= {"bytes", "path"}


def _is_image(value: Any, least_axes: int = 3) -> bool:
    """Whether a column may be that of images, or of batches of them; with two axes, it may be boxes as well."""
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
