"""Detect changes of an image without decoding it."""

from __future__ import annotations

import os
import zlib
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from torch import Tensor

from torchmetrics_dna.images.addresses import is_address
from torchmetrics_dna.images.pixels import unwrapped

if TYPE_CHECKING:
    from collections.abc import Callable


def stamp_of(fetch: Callable[[int], Any], index: int) -> str:
    """Return the size and time of a file, or a checksum of an image in memory; empty for an address."""
    try:
        image = fetch(index)
        if is_address(image):
            return ""
        image = unwrapped(image)
        if isinstance(image, Image.Image):  # if not loaded yet, stamp its file
            image = (getattr(image, "fp", None) and getattr(image, "filename", None)) or np.asarray(image)
        if isinstance(image, (str, os.PathLike)):
            status = Path(image).stat()
            return f"{status.st_size} {status.st_mtime_ns}"
        if isinstance(image, BytesIO):
            return f"{image.getbuffer().nbytes} {zlib.crc32(image.getbuffer()):08x}"
        if isinstance(image, Tensor):
            image = image.detach().cpu().numpy()
        array = np.ascontiguousarray(image)
        if array.dtype.hasobject:
            return ""
        return f"{array.dtype} {array.shape} {zlib.crc32(array.data):08x}"
    except Exception:  # reported when the image is read
        return "unreadable"
