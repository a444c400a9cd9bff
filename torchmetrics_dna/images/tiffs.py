"""TIFF files: which of them Pillow decodes correctly, and bands, which it does not read."""

from __future__ import annotations

from contextlib import nullcontext
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from torchmetrics_dna.files.limits import check_pixels, check_size
from torchmetrics_dna.images.layouts import own_network

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

_BITS, _PHOTOMETRIC, _ORIENTATION, _SAMPLES, _EXTRA, _FORMAT = 258, 262, 274, 277, 338, 339  # tags
_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_SEPARATE = 2  # planar configuration
_TYPES = ("uint8", "uint16", "float16", "float32", "float64")


def head(file: str | os.PathLike[str] | BytesIO, size: int) -> bytes:
    """Return the first bytes of a file."""
    with nullcontext(file) if isinstance(file, BytesIO) else Path(file).open("rb") as content:
        content.seek(0)
        return content.read(size)


def is_tiff(file: str | os.PathLike[str] | BytesIO) -> bool:
    """True for the content of a TIFF file."""
    return head(file, 4) in _STARTS


def read_bands(file: str | os.PathLike[str] | BytesIO, channels: int, exif_orientation: bool) -> NDArray[Any]:
    """Read the bands of a TIFF, ``(H, W, channels)``, in its type; ValueError if it has another number of them."""
    try:
        tifffile: Any = import_module("tifffile")
    except ModuleNotFoundError as err:
        raise ValueError("it is a TIFF of bands, which takes another package: `pip install tifffile`") from err
    if isinstance(file, BytesIO):
        file.seek(0)
    with tifffile.TiffFile(file) as tiff:
        page, samples = tiff.pages.first, tiff.pages.first.samplesperpixel
        is_turned = exif_orientation and getattr(page.tags.get(_ORIENTATION), "value", 1) != 1
        _refuse(
            {
                f"{len(tiff.pages)} pages; save one that has all bands": len(tiff.pages) > 1,
                f"{samples} channel{'s' * (samples > 1)}, but the network takes {channels}; give images of {channels}"
                f" channels, or {own_network(samples)}": samples != channels,
                f"bands of type {page.dtype}; save them as uint8, uint16 or floats in [0, 1]": str(page.dtype)
                not in _TYPES,
                "bands that its orientation tag turns; save it upright": is_turned,
            }
        )
        check_pixels(page.imagelength * page.imagewidth)
        check_size(page.nbytes)
        pixels: NDArray[Any] = page.asarray()
        return np.moveaxis(pixels, 0, -1) if page.planarconfig == _SEPARATE else pixels


def check_depth(image: Any) -> None:
    """Raise ValueError unless Pillow decodes an opened file correctly and without a loss.

    It keeps the upper 8 bits of colours of 16 bits; grey has all.
    """
    settings = image.tile[0][3] if image.tile else ""
    is_deep = ";16" in str(settings)
    if image.format == "PPM" and isinstance(settings, tuple):
        is_deep = settings[-1] > 255
    if image.format == "TIFF":
        tags = image.tag_v2
        bits, samples = max(tags.get(_BITS, (1,))), tags.get(_SAMPLES, 1)
        signed = 2 in tags.get(_FORMAT, ())
        is_grey = image.mode == "F" or image.mode.startswith("I")
        _refuse(
            {
                f"{image.n_frames} pages; save the one that is meant": image.n_frames > 1,
                f"{samples} channels; expected 1, 3 or 4, or {own_network(samples)}": samples > 4
                or (samples == 2 and image.mode == "L"),
                f"{bits}-bit {'signed ' * signed}integers; expected 8 or 16 bits without a sign": signed
                or (image.mode != "F" and bits in (12, 32)),
                "shades of which white is 0; save it with black as 0": is_grey and tags.get(_PHOTOMETRIC) == 0,
                f"a fourth channel that is no alpha; save it without, or give {own_network(4)}": samples == 4
                and tags.get(_PHOTOMETRIC) == 2
                and tags.get(_EXTRA, (0,))[0] == 0,
            }
        )
        is_deep = bits > 8
    if is_deep and len(image.getbands()) > 1:
        raise ValueError(
            "it has colours of 16 bits, of which Pillow reads 8; save it with 8 bits, or give arrays of uint16"
        )


def _refuse(faults: dict[str, bool]) -> None:
    """Raise ValueError for the first fault that is present."""
    for fault, is_present in faults.items():
        if is_present:
            raise ValueError(f"it is a TIFF with {fault}")
