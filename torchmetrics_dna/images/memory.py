"""Images in memory or in a map-style dataset."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from torchmetrics_dna.images.base import ImageSource
from torchmetrics_dna.images.pixels import check_array
from torchmetrics_dna.images.rows import find_column, is_file
from torchmetrics_dna.images.stamps import stamp_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from torchmetrics_dna.images.base import Reading


def open_image(image: Any, label: str, reading: Reading) -> ImageSource:
    """Open a single image."""
    fetch = [image].__getitem__
    return ImageSource(["image 0"], fetch, label, reading.exif_orientation, partial(stamp_of, fetch))


def open_array(images: Any, label: str, reading: Reading) -> ImageSource:
    """Open an array ``(B, H, W, C)`` or tensor ``(B, C, H, W)``, or one image of either."""
    check_array(images, "Images", 4)
    images = images if images.ndim == 4 else images[None]
    return _by_number(images, images.__getitem__, label, reading, stamped=True)


def open_sequence(source: Any, label: str, reading: Reading) -> tuple[ImageSource, bool]:
    """Open a sequence or map-style dataset of images, or of rows with one image each; return True with rows."""
    row = _first_row(source)
    stamped = isinstance(source, (list, tuple))  # stamps of a dataset would load its images
    if row is None:
        return _by_number(source, source.__getitem__, label, reading, stamped), False
    fetch = partial(_fetch_column, source, find_column(row, reading.column, label))
    return _by_number(source, fetch, label, reading, stamped), True


def _by_number(source: Any, fetch: Callable[[int], Any], label: str, reading: Reading, stamped: bool) -> ImageSource:
    stamp = partial(stamp_of, fetch) if stamped else None
    return ImageSource(_names(source), fetch, label, reading.exif_orientation, stamp)


def _first_row(source: Any) -> Mapping[str, Any] | None:
    """Return the first item if it is a row, else None; errors are reported when it is read."""
    row = None
    with suppress(Exception):
        row = source[0] if len(source) else None
    return row if isinstance(row, Mapping) and not is_file(row) else None


def _fetch_column(source: Any, column: str, index: int) -> Any:
    return source[index][column]


def _names(source: Any) -> list[str]:
    # only plain sequences have names: indexing a dataset or an array would load its images
    entries = source if isinstance(source, (list, tuple)) else [None] * len(source)
    return [str(e) if isinstance(e, (str, os.PathLike)) else f"image {i}" for i, e in enumerate(entries)]
