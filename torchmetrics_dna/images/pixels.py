"""Decode an image of any form to grey, RGB or bands, or refuse it, and detect changes of it without decoding."""

from __future__ import annotations

import os
import re
import stat
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
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

# Pixels of an image, (H, W, C).
Pixels: TypeAlias = "NDArray[np.uint8 | np.float32]"

# Value of white in 16 bits.
DEEP_WHITE = 65535
# Weights of red, green and blue in grey, of ITU-R 601, as in Pillow.
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
# Brands in the header of HEIC files.
_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")
# First bytes of JPEG XL files.
_JXL = b"\xff\x0a", b"\0\0\0\x0cJXL "
# Tags of TIFF.
_BITS = 258
_PHOTOMETRIC = 262
_ORIENTATION = 274
_SAMPLES = 277
_EXTRA = 338
_FORMAT = 339
# Values of these tags.
_WHITE_IS_ZERO = 0
_IS_RGB = 2
_IS_SIGNED = 2
_UNSPECIFIED = 0
# Planar configuration of a TIFF whose bands are stored one after the other.
_SEPARATE = 2
# First bytes of TIFF files.
_TIFFS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# Types of bands that are read.
_TYPES = ("uint8", "uint16", "float16", "float32", "float64")
# Package and module of Pillow's plugins, by format.
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
        if isinstance(image, Image.Image):
            is_unloaded = bool(getattr(image, "fp", None))
            file_name = getattr(image, "filename", None)
            image = file_name if is_unloaded and file_name else np.asarray(image)
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
    except Exception:
        # The error is reported when the image is read.
        return "unreadable"


_ALPHA = "have an alpha channel, which is dropped"
TURNED = "have an EXIF rotation, which is ignored"


class Decoded(NamedTuple):
    """Pixels of an image, and facts that they do not show.

    Attributes:
        pixels: The pixels, ``(H, W, C)``.
        lost: Parts that were dropped, in words for a set of images: an alpha channel, an EXIF rotation.
        file: Format and size of its file; None if it was in memory.
        used: Share of 16 bits that its largest value takes; 1 for images without 16 bits.

    """

    pixels: Pixels
    lost: tuple[str, ...] = ()
    file: FileFacts | None = None
    used: float = 1.0


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
        is_deep = "uint16" in ArrayFormat.of(image).dtype
        return _scaled(Decoded(_of_array(image, channels)), is_deep, scale)
    facts = None
    if isinstance(image, (str, os.PathLike, BytesIO)):
        num_bytes = image.getbuffer().nbytes if isinstance(image, BytesIO) else _checked_size(image)
        if channels not in (1, 3) and _start(image, 4) in _TIFFS:
            bands = _read_bands(image, channels, exif_orientation)
            return decode_image(bands, channels, scale=scale)
        with opened(image) as file:
            _check_depth(file, channels)
            file.load()
        facts = FileFacts(file.format or "", num_bytes)
        image = file
    elif isinstance(image, ImageFile.ImageFile):
        # Pillow has opened a file, and has not converted the image since.
        _check_depth(image, channels)
    if not isinstance(image, Image.Image):
        raise TypeError(f"expected a path, Pillow image, array or tensor, but got {type(image).__name__}")
    is_turned = _is_turned(image)
    if is_turned and exif_orientation:
        image = ImageOps.exif_transpose(image)
    image = _in_usual_mode(image, channels)
    lost = []
    if channels in (1, 3) and _has_alpha(image):
        lost.append(_ALPHA)
    if is_turned and not exif_orientation:
        lost.append(TURNED)
    is_deep = image.mode.startswith("I") and channels in (1, 3)
    return _scaled(Decoded(_of_picture(image, channels), tuple(lost), facts), is_deep, scale)


def _is_turned(image: Image.Image) -> bool:
    """True if the EXIF tag of an image says that it is rotated or mirrored."""
    try:
        return image.getexif().get(_ORIENTATION) in range(2, 9)
    except Exception:
        # A damaged tag is ignored.
        return False


def _in_usual_mode(image: Image.Image, channels: int) -> Image.Image:
    """Convert an image of a mode from which Pillow can't convert further, or only with a warning or a loss."""
    if image.mode == "La":
        # Pillow can't convert La to RGB.
        return image.convert("LA")
    if image.mode in ("P", "PA") and image.has_transparency_data:
        # The colours are the same as of a direct conversion, but without its warning.
        return image.convert("RGBA")
    if image.mode == "P" and channels != 3:
        return image.convert("RGB")
    return image


def _scaled(decoded: Decoded, is_deep: bool, scale: float | None) -> Decoded:
    """Scale an image of 16 bits to its own white, or note the share of 16 bits that it uses."""
    if scale is None:
        if not is_deep:
            return decoded
        return decoded._replace(used=float(np.max(decoded.pixels)))
    if not is_deep:
        raise ValueError("it has no integers of 16 bits, so no scale applies to it")
    factor = np.float32(DEEP_WHITE / scale)
    return decoded._replace(pixels=(decoded.pixels * factor).clip(0, 1))


def as_bytes(image: Pixels) -> NDArray[np.uint8]:
    """Round an image of floats in [0, 1] to bytes; return bytes as they are."""
    if image.dtype == np.uint8:
        return image.astype(np.uint8, copy=False)
    return (image * 255).round().astype(np.uint8)


def _of_array(image: NDArray[Any] | Tensor, channels: int) -> Pixels:
    """Return the pixels of an array ``(H, W, C)`` or ``(H, W)``, or of a tensor ``(C, H, W)`` or ``(H, W)``."""
    check_unmasked(image, "it")
    ArrayFormat.of(image).check("it", 3, channels)
    if isinstance(image, Tensor):
        image = image.detach().cpu()
        if image.is_floating_point():
            # NumPy has no bfloat16.
            image = image.float()
        if image.ndim == 3:
            image = image.movedim(0, -1)
        image = image.numpy()
    pixels: NDArray[Any] = image[..., None] if image.ndim == 2 else image
    # The name is the same for both byte orders.
    if pixels.dtype.name == "uint16":
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
        num_bands = len(image.getbands())
        if num_bands != channels:
            raise ValueError(
                f"it has {_channels_in_words(num_bands)} ({image.mode}), but the network takes {channels}; give"
                f" arrays or TIFFs of {channels} channels, or {own_network(num_bands)}"
            )
        return np.array(image)
    if _is_deep(image):
        # Pillow would clip these values at 255.
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


def _channels_in_words(count: int) -> str:
    """Format a number of channels."""
    return "1 channel" if count == 1 else f"{count} channels"


def _is_deep(image: Image.Image) -> bool:
    """True for images of 16 or 32 bits, and of floats."""
    return image.mode == "F" or image.mode.startswith("I")


def _has_alpha(image: Image.Image) -> bool:
    """True if a pixel is not opaque."""
    if not image.has_transparency_data or _is_deep(image):
        return False
    if image.mode not in ("LA", "RGBA"):
        image = image.convert("RGBA")
    lowest: Any = image.getchannel("A").getextrema()[0]
    return bool(lowest < 255)


def _in_unit_range(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return floating point pixels clamped to [0, 1]; ValueError if one lies more than 0.001 beyond."""
    low = float(pixels.min())
    high = float(pixels.max())
    # The condition is negated so that it also finds NaN.
    if not (low >= LOWEST and high <= HIGHEST):
        got = f"{in_digits(low)} to {in_digits(high)}"
        remedy = scale_remedy(low, high, clamp="clip")
        raise ValueError(f"its floating point pixels must lie in [0, 1], but got {got}{remedy}")
    if low < 0 or high > 1:
        pixels = pixels.clip(0, 1)
    return pixels


class _Limit(int):
    """Limit of which the double is the limit itself. Pillow only warns up to twice its limit, and refuses above."""

    def __rmul__(self, _: int) -> int:
        return int(self)


# Lock that is held while our limit is in place of Pillow's.
_SWAPPING = Lock()
# A process must not be forked while another thread holds the lock.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_SWAPPING.acquire, after_in_parent=_SWAPPING.release, after_in_child=_SWAPPING.release)


@contextmanager
def opened(file: str | os.PathLike[str] | BytesIO) -> Iterator[Image.Image]:
    """Open an image file, not decoded yet, with our limit of pixels in place of Pillow's; ValueError beyond it."""
    limit = _Limit(max_pixels())
    try:
        with _SWAPPING:
            limit_of_pillow = Image.MAX_IMAGE_PIXELS
            Image.MAX_IMAGE_PIXELS = limit
            try:
                image = _open(file)
            finally:
                Image.MAX_IMAGE_PIXELS = limit_of_pillow
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
    """Import the plugin module of a file format.

    Raises:
        ValueError: If its package is not installed.

    """
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
    except Exception:
        # The error is reported when the file is read.
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
        page = tiff.pages.first
        samples = page.samplesperpixel
        orientation = getattr(page.tags.get(_ORIENTATION), "value", 1)
        if len(tiff.pages) > 1:
            raise _tiff_with(f"{len(tiff.pages)} pages; save one that has all bands")
        if samples != channels:
            raise _tiff_with(
                f"{_channels_in_words(samples)}, but the network takes {channels}; give images of {channels}"
                f" channels, or {own_network(samples)}"
            )
        if str(page.dtype) not in _TYPES:
            raise _tiff_with(f"bands of type {page.dtype}; save them as uint8, uint16 or floats in [0, 1]")
        if exif_orientation and orientation != 1:
            raise _tiff_with("bands that its orientation tag turns; save it upright")
        check_pixels(page.imagelength * page.imagewidth)
        check_size(page.nbytes)
        pixels: NDArray[Any] = page.asarray()
        return np.moveaxis(pixels, 0, -1) if page.planarconfig == _SEPARATE else pixels


def _tiff_with(fault: str) -> ValueError:
    """Return the error for a TIFF that can't be read."""
    return ValueError(f"it is a TIFF with {fault}")


def _check_depth(image: Any, channels: int) -> None:
    """Raise ValueError unless Pillow decodes an opened file correctly and without a loss.

    Pillow keeps the upper 8 bits of colours of 16 bits, and all bits of grey.
    """
    settings = image.tile[0][3] if image.tile else ""
    is_deep = ";16" in str(settings)
    if image.format == "PPM" and isinstance(settings, tuple):
        largest_value = settings[-1]
        is_deep = largest_value > 255
    if image.format == "TIFF":
        _check_tiff(image, channels)
        is_deep = max(image.tag_v2.get(_BITS, (1,))) > 8
    if is_deep and len(image.getbands()) > 1:
        raise ValueError(
            "it has colours of 16 bits, of which Pillow reads 8; save it with 8 bits, or give arrays of uint16"
        )


def _check_tiff(image: Any, channels: int) -> None:
    """Raise ValueError if Pillow would decode an opened TIFF in another way than it is meant."""
    tags = image.tag_v2
    bits = max(tags.get(_BITS, (1,)))
    samples = tags.get(_SAMPLES, 1)
    if image.n_frames > 1:
        raise _tiff_with(f"{image.n_frames} pages; save the one that is meant, or give its `copy()`")
    drops_a_channel = samples == 2 and image.mode == "L"
    if samples > 4 or drops_a_channel:
        raise _tiff_with(f"{samples} channels; expected 1, 3 or 4, or {own_network(samples)}")
    if _IS_SIGNED in tags.get(_FORMAT, ()):
        raise _tiff_with(f"{bits}-bit signed integers; expected 8 or 16 bits without a sign")
    if image.mode != "F" and bits in (12, 32):
        raise _tiff_with(f"{bits}-bit integers; expected 8 or 16 bits without a sign")
    if _is_deep(image) and tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        raise _tiff_with("shades of which white is 0; save it with black as 0")
    has_fourth_channel = samples == 4 and channels in (1, 3) and tags.get(_PHOTOMETRIC) == _IS_RGB
    if has_fourth_channel and tags.get(_EXTRA, (0,))[0] == _UNSPECIFIED:
        raise _tiff_with(f"a fourth channel that is no alpha; save it without, or give {own_network(4)}")
