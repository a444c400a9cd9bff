"""Decode an image of any form to grey, RGB or bands, or refuse it, and detect changes of it without decoding."""

from __future__ import annotations

import os
import re
import stat
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from importlib import import_module
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError
from torch import Tensor

from torchmetrics_dna.files.damage import beyond, check_pixels, check_size, max_pixels, most_bytes
from torchmetrics_dna.images.paths import is_address, read_address
from torchmetrics_dna.images.tensors import (
    HIGHEST,
    LOWEST,
    ArrayFormat,
    check_unmasked,
    in_digits,
    own_network,
    scale_remedy,
)

Pixels: TypeAlias = "NDArray[np.uint8 | np.float32]"  # (H, W, C)

DEEP_WHITE = 65535  # of 16 bits
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # of ITU-R 601, as Pillow's
_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")  # of HEIC
_JXL = b"\xff\x0a", b"\0\0\0\x0cJXL "
_BITS, _PHOTOMETRIC, _ORIENTATION, _SAMPLES, _EXTRA, _FORMAT = 258, 262, 274, 277, 338, 339  # tags of TIFF
_TIFFS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # how they begin
_SEPARATE = 2  # planar configuration, of bands one after the other
_TYPES = ("uint8", "uint16", "float16", "float32", "float64")  # of bands
_PLUGINS = {"HEIC": ("pillow-heif", "pillow_heif"), "JPEG XL": ("pillow-jxl-plugin", "pillow_jxl")}


class FileFacts(NamedTuple):
    """Format, such as ``"JPEG"``, and size of the file of an image."""

    format: str
    num_bytes: int


def unwrapped(image: Any) -> Any:
    """Return the content of an image without containers.

    An image may be first in a tuple, the bytes of a file, ``{"bytes": ..., "path": ...}`` with either of them, or an
    address, whose file is read.
    """
    if isinstance(image, (tuple, list)) and image:
        image = image[0]
    if isinstance(image, Mapping) and is_file(image):
        image = image["path"] if image.get("bytes") is None else image["bytes"]
    if is_address(image):
        image = read_address(image, most_bytes())
    if isinstance(image, (bytes, bytearray, memoryview)):
        check_size(len(image))
        image = BytesIO(image)
    return image


def is_file(item: Mapping[Any, Any]) -> bool:
    """True for ``{"bytes": ..., "path": ...}`` or a part of it: the format of an image in Arrow and Parquet."""
    return bool(item) and item.keys() <= {"bytes", "path"}


def stamp_of(fetch: Callable[[int], Any], index: int) -> str:
    """Return a text that changes with an image: size and time of a file, or a checksum; empty for an address."""
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


_ALPHA = "have an alpha channel, which is dropped"
TURNED = "have an EXIF rotation, which is ignored"


class Decoded(NamedTuple):
    """Pixels of an image, and what they do not show."""

    pixels: Pixels
    lost: tuple[str, ...] = ()  # what was left out, in words for a set: an alpha channel, an EXIF rotation
    file: FileFacts | None = None  # None if it was in memory
    used: float = 1.0  # share of 16 bits that its largest value takes; 1 for other images


def decode_image(image: Any, channels: int = 3, exif_orientation: bool = False, scale: float | None = None) -> Decoded:
    """Decode an image of any form to an array ``(H, W, channels)``: uint8, or float32 in [0, 1].

    For 1 or 3 channels, other colour spaces are converted by Pillow, grey is repeated or RGB becomes grey, and alpha is
    dropped. Other numbers are bands, as they are. 16-bit grey and arrays of uint16 become float32, divided by 65535, or
    by ``scale`` and clipped.

    Raises:
        ValueError: If it has another number of channels, can't be read without a loss, or has no 16 bits to scale.
        TypeError: If it is no image.

    """
    image = unwrapped(image)
    if isinstance(image, (np.ndarray, Tensor)):
        return _scaled(Decoded(_of_array(image, channels)), "uint16" in ArrayFormat.of(image).dtype, scale)
    facts = None
    if isinstance(image, (str, os.PathLike, BytesIO)):
        num_bytes = image.getbuffer().nbytes if isinstance(image, BytesIO) else _checked_size(image)
        if channels not in (1, 3) and _start(image, 4) in _TIFFS:
            return decode_image(_read_bands(image, channels, exif_orientation), channels, scale=scale)
        with opened(image) as file:
            _check_depth(file, channels)
            file.load()
            image, facts = file, FileFacts(file.format or "", num_bytes)
    if not isinstance(image, Image.Image):
        raise TypeError(f"expected a path, Pillow image, array or tensor, but got {type(image).__name__}")
    if facts is None and isinstance(image, ImageFile.ImageFile):  # what Pillow opened, and has not converted
        _check_depth(image, channels)
    is_turned = False
    with suppress(Exception):  # of a damaged tag, which is ignored
        is_turned = image.getexif().get(_ORIENTATION) in range(2, 9)
    if is_turned and exif_orientation:
        image = ImageOps.exif_transpose(image)
    if image.mode == "La":
        image = image.convert("LA")  # Pillow can't convert La to RGB
    if image.mode in ("P", "PA") and image.has_transparency_data:
        image = image.convert("RGBA")  # same colours, without the warning of a direct conversion
    elif image.mode == "P" and channels != 3:
        image = image.convert("RGB")
    lost = {_ALPHA: channels in (1, 3) and _has_alpha(image), TURNED: is_turned and not exif_orientation}
    decoded = Decoded(_of_picture(image, channels), tuple(what for what, is_lost in lost.items() if is_lost), facts)
    return _scaled(decoded, image.mode.startswith("I") and channels in (1, 3), scale)


def _scaled(decoded: Decoded, is_deep: bool, scale: float | None) -> Decoded:
    """Return an image by its own white, or what it uses of the usual one, if it has 16 bits."""
    if scale is None:
        return decoded._replace(used=float(np.max(decoded.pixels))) if is_deep else decoded
    if not is_deep:
        raise ValueError("it has no integers of 16 bits, so no scale applies to it")
    return decoded._replace(pixels=(decoded.pixels * np.float32(DEEP_WHITE / scale)).clip(0, 1))


def as_bytes(image: Pixels) -> NDArray[np.uint8]:
    """Round an image of floats in [0, 1] to bytes; return bytes as they are."""
    return image.astype(np.uint8, copy=False) if image.dtype == np.uint8 else (image * 255).round().astype(np.uint8)


def _of_array(image: NDArray[Any] | Tensor, channels: int) -> Pixels:
    check_unmasked(image, "it")
    ArrayFormat.of(image).check("it", 3, channels)
    if isinstance(image, Tensor):
        image = image.detach().cpu()
        image = image.float() if image.is_floating_point() else image  # NumPy has no bfloat16
        image = (image.movedim(0, -1) if image.ndim == 3 else image).numpy()
    pixels: NDArray[Any] = image[..., None] if image.ndim == 2 else image
    if pixels.dtype.name == "uint16":  # of any byte order
        pixels = np.divide(pixels, DEEP_WHITE, dtype=np.float32)
    elif pixels.dtype != np.uint8:
        pixels = _in_unit_range(pixels).astype(np.float32)
    return _with_channels(pixels, channels)


def as_rgb(pixels: Pixels) -> Pixels:
    """Repeat grey; return RGB as it is."""
    return pixels if pixels.shape[2] == 3 else pixels.repeat(3, 2)


def _with_channels(pixels: Pixels, channels: int) -> Pixels:
    """Repeat grey for RGB; convert RGB to grey as Pillow does."""
    if pixels.shape[2] == channels:
        return pixels
    if channels == 3:
        return as_rgb(pixels)
    if pixels.dtype == np.uint8:
        return np.array(Image.fromarray(np.ascontiguousarray(pixels)).convert("L"))[..., None]
    return (pixels @ _LUMA)[..., None].clip(0, 1)


def _of_picture(image: Image.Image, channels: int) -> Pixels:
    """Return the pixels of a Pillow image as grey, RGB, or its bands as they are."""
    if channels not in (1, 3):
        number = len(image.getbands())
        if number != channels:
            raise ValueError(
                f"it has {number} channel{'s' * (number > 1)} ({image.mode}), but the network takes {channels}; give"
                f" arrays or TIFFs of {channels} channels, or {own_network(number)}"
            )
        return np.array(image)
    if _is_deep(image):  # Pillow would clip it at 255
        shades = np.asarray(image)[..., None]
        if image.mode == "F":
            return _with_channels(_in_unit_range(shades).astype(np.float32), channels)
        low, high = int(shades.min()), int(shades.max())
        if low < 0 or high > DEEP_WHITE:
            raise ValueError(f"its integer pixels must lie in [0, {DEEP_WHITE}], but got {low} to {high}")
        return _with_channels(np.divide(shades, DEEP_WHITE, dtype=np.float32), channels)
    if channels == 3:
        return np.array(image if image.mode == "RGB" else image.convert("RGB"))
    if image.mode not in ("1", "L", "LA"):
        image = image.convert("RGB")
    return np.array(image if image.mode == "L" else image.convert("L"))[..., None]


def _is_deep(image: Image.Image) -> bool:
    return image.mode == "F" or image.mode.startswith("I")


def _has_alpha(image: Image.Image) -> bool:
    """True if a pixel is not opaque."""
    if not image.has_transparency_data or _is_deep(image):
        return False
    image = image if image.mode in ("LA", "RGBA") else image.convert("RGBA")
    lowest: Any = image.getchannel("A").getextrema()[0]
    return bool(lowest < 255)


def _in_unit_range(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return floating point pixels clamped to [0, 1]; ValueError if one lies more than 0.001 beyond."""
    low, high = float(pixels.min()), float(pixels.max())
    if not (low >= LOWEST and high <= HIGHEST):  # also true of NaN
        got = f"{in_digits(low)} to {in_digits(high)}"
        remedy = scale_remedy(low, high, clamp="clip")
        raise ValueError(f"its floating point pixels must lie in [0, 1], but got {got}{remedy}")
    if low < 0 or high > 1:
        pixels = pixels.clip(0, 1)
    return pixels


class _Limit(int):
    """Limit above which Pillow refuses, instead of above twice the limit: ``2 * limit`` is the limit itself."""

    def __rmul__(self, _: int) -> int:
        return int(self)


_SWAPPING = Lock()  # while Pillow's limit is ours
if hasattr(os, "register_at_fork"):  # a process must not be forked while another thread has the lock
    os.register_at_fork(before=_SWAPPING.acquire, after_in_parent=_SWAPPING.release, after_in_child=_SWAPPING.release)


@contextmanager
def opened(file: str | os.PathLike[str] | BytesIO) -> Iterator[Image.Image]:
    """Open an image file, not decoded yet, with our limit of pixels in place of Pillow's; ValueError beyond it."""
    limit = _Limit(max_pixels())
    try:
        with _SWAPPING:
            pillows, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, limit
            try:
                image = _open(file)
            finally:
                Image.MAX_IMAGE_PIXELS = pillows
        with image:
            yield image
    except Image.DecompressionBombError as err:
        raise ValueError(beyond(str(err).split(",")[0])) from err


def _open(file: str | os.PathLike[str] | BytesIO) -> Image.Image:
    """Open an image file; HEIC and JPEG XL take plugins of Pillow, imported when a file needs them."""
    try:
        return Image.open(file)
    except UnidentifiedImageError:
        start = _start(file, 12)
        is_heic = start[4:8] == b"ftyp" and start[8:12] in _BRANDS
        if not is_heic and not start.startswith(_JXL):
            raise
    kind = "HEIC" if is_heic else "JPEG XL"
    package, name = _PLUGINS[kind]
    plugin = _plugin(name, kind, package)
    if kind == "HEIC":
        plugin.register_heif_opener()
    return Image.open(file)


def _plugin(name: str, kind: str, package: str) -> Any:
    """Import the module that a kind of file needs; ValueError with its package if that is missing."""
    try:
        return import_module(name)
    except ModuleNotFoundError as err:
        raise ValueError(f"it is {kind}, which takes another package: `pip install {package}`") from err


def is_image_file(path: str | os.PathLike[str] | BytesIO) -> bool:
    """True if the content of a file is an image."""
    try:
        with opened(path):
            return True
    except UnidentifiedImageError:
        return False
    except Exception:  # reported when the file is read
        return True


def _checked_size(path: str | os.PathLike[str]) -> int:
    """Return the size of a file; ValueError if it must not be opened: FIFOs block, devices never end."""
    try:
        status = os.stat(path)  # noqa: PTH116
    except FileNotFoundError:
        check_no_address(path)
        raise FileNotFoundError("there is no such file") from None
    if stat.S_ISDIR(status.st_mode):
        raise ValueError("it is a folder, not an image; give it by itself, or several sets in a dict: {'b': 'b/'}")
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("it is not a regular file")
    check_size(status.st_size)
    return status.st_size


def check_no_address(path: str | os.PathLike[str]) -> None:
    """Raise ValueError if a path that does not exist is an address made a ``Path``, which drops a slash."""
    text = os.fspath(path)
    if re.match("[A-Za-z][A-Za-z0-9+.-]+:/", text):
        raise ValueError(f"{text!r} is an address that was made a path; give it as a string")


def _start(file: str | os.PathLike[str] | BytesIO, size: int) -> bytes:
    """Return the first bytes of a file."""
    with nullcontext(file) if isinstance(file, BytesIO) else Path(file).open("rb") as content:
        content.seek(0)
        return content.read(size)


def _read_bands(file: str | os.PathLike[str] | BytesIO, channels: int, exif_orientation: bool) -> NDArray[Any]:
    """Read the bands of a TIFF, ``(H, W, channels)``, in its type; ValueError if it has another number of them."""
    tifffile = _plugin("tifffile", "a TIFF of bands", "tifffile")
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


def _check_depth(image: Any, channels: int) -> None:
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
        _refuse(
            {
                f"{image.n_frames} pages; save the one that is meant, or give its `copy()`": image.n_frames > 1,
                f"{samples} channels; expected 1, 3 or 4, or {own_network(samples)}": samples > 4
                or (samples == 2 and image.mode == "L"),
                f"{bits}-bit {'signed ' * signed}integers; expected 8 or 16 bits without a sign": signed
                or (image.mode != "F" and bits in (12, 32)),
                "shades of which white is 0; save it with black as 0": _is_deep(image) and tags.get(_PHOTOMETRIC) == 0,
                f"a fourth channel that is no alpha; save it without, or give {own_network(4)}": samples == 4
                and channels in (1, 3)
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
