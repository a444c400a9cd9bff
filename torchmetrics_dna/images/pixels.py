"""Decode images of all supported types to greyscale, RGB or bands.

An image that can't be decoded without a loss raises an error. :func:`stamp_of` detects changed images without decoding
them.
"""

from __future__ import annotations

import os
import re
import stat
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
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
# Weights of red, green and blue in a grey value, from ITU-R 601. Pillow uses the same weights.
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
# Brands in the header of HEIC files.
_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")
# First bytes of JPEG XL files.
_JXL = b"\xff\x0a", b"\0\0\0\x0cJXL "
# Numbers of TIFF tags.
_BITS = 258
_PHOTOMETRIC = 262
_ORIENTATION = 274
_SAMPLES = 277
_EXTRA = 338
_FORMAT = 339
# Values of the TIFF tags above.
_WHITE_IS_ZERO = 0
_IS_RGB = 2
_IS_SIGNED = 2
_UNSPECIFIED = 0
# Planar configuration of a TIFF whose bands are stored one after the other.
_SEPARATE = 2
# First bytes of TIFF files.
_TIFFS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# Supported dtypes of TIFF bands.
_TYPES = ("uint8", "uint16", "float16", "float32", "float64")
# Package and module of the Pillow plugin for a file format.
_PLUGINS = {"HEIC": ("pillow-heif", "pillow_heif"), "JPEG XL": ("pillow-jxl-plugin", "pillow_jxl")}


class FileFacts(NamedTuple):
    """Metadata of an image file.

    Attributes:
        format: Format, such as ``"JPEG"``.
        num_bytes: Size of the file in bytes.

    """

    format: str
    num_bytes: int


def unwrapped(image: Any) -> Any:
    """Return the content of an image without its containers.

    The image may be the first item of a tuple, or a dict ``{"bytes": ..., "path": ...}`` with at least one value. If
    its content is an address, the file at the address is read. The bytes of a file are returned as a ``BytesIO``.
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
    """Return True for a dict with no other keys than ``"bytes"`` and ``"path"``.

    This is the format of an image in Arrow and Parquet files.
    """
    return bool(item) and item.keys() <= {"bytes", "path"}


def stamp_of(fetch: Callable[[int], Any], index: int) -> str:
    """Return a text that changes if an image changes.

    The text has the size and modification time of a file, or the checksum of an image in memory. It is empty for an
    address and for an array of Python objects.

    Args:
        fetch: Function that returns the image at an index.
        index: Index of the image.

    """
    try:
        return _stamp(fetch(index))
    except Exception:
        # The error is reported when the image is read.
        return "unreadable"


def _stamp(image: Any) -> str:
    """Return a text that changes if an image changes, see :func:`stamp_of`. Errors are of any type."""
    if is_address(image):
        return ""
    image = unwrapped(image)
    if isinstance(image, Image.Image):
        image = _file_or_pixels(image)
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


def _file_or_pixels(image: Image.Image) -> Any:
    """Return the path of a Pillow image that was opened from a path and is not loaded yet. Else, return its pixels."""
    is_unloaded = bool(getattr(image, "fp", None))
    path = getattr(image, "filename", None)
    if is_unloaded and path:
        return path
    return np.asarray(image)


# Statements about parts of images that are dropped, see `Decoded`.
_ALPHA = "have an alpha channel, which is dropped"
TURNED = "have an EXIF rotation, which is ignored"


class Decoded(NamedTuple):
    """Decoded image and its metadata.

    Attributes:
        pixels: The pixels, ``(H, W, C)``.
        losses: Statements about parts that were dropped: an alpha channel, an EXIF rotation. In a message, their
            subject is a set of images.
        file: Format and size of the image file. None if the image was in memory.
        share_of_16_bits: Largest value of a 16-bit image, as a share of the range of 16 bits. 1 for other images, and
            for images with a ``scale``.

    """

    pixels: Pixels
    losses: tuple[str, ...] = ()
    file: FileFacts | None = None
    share_of_16_bits: float = 1.0


def decode_image(image: Any, channels: int = 3, exif_orientation: bool = False, scale: float | None = None) -> Decoded:
    """Decode an image of any supported type to an array ``(H, W, channels)`` of uint8, or of float32 in [0, 1].

    For 1 or 3 channels, Pillow converts other colour spaces, and alpha channels are dropped. Greyscale is repeated for
    3 channels, and RGB is converted to greyscale for 1 channel. For other numbers of channels, the bands of the image
    are returned without a conversion. 16-bit greyscale images and uint16 arrays become float32. They are divided by
    65535, or by ``scale`` and then clipped.

    Args:
        image: Path, address or bytes of an image file, Pillow image, array ``(H, W, C)`` or tensor ``(C, H, W)``. It
            may be wrapped as in :func:`unwrapped`.
        channels: Number of channels of the result.
        exif_orientation: Whether to rotate the image by its EXIF tag.
        scale: Value of white in a 16-bit image. None for 65535.

    Raises:
        ValueError: If the image has another number of channels or can't be decoded without a loss. Also if ``scale`` is
            set for an image that does not have 16 bits.
        TypeError: If it is not an image.

    """
    image = unwrapped(image)
    if isinstance(image, (np.ndarray, Tensor)):
        return _decode_array(image, channels, scale)
    if isinstance(image, (str, os.PathLike, BytesIO)):
        return _decode_file(image, channels, exif_orientation, scale)
    if isinstance(image, ImageFile.ImageFile):
        # Pillow has opened a file, and has not converted the image since.
        _check_depth(image, channels)
    if not isinstance(image, Image.Image):
        raise TypeError(f"expected a path, Pillow image, array or tensor, but got {type(image).__name__}")
    return _decode_picture(image, channels, exif_orientation, scale)


def _decode_array(array: NDArray[Any] | Tensor, channels: int, scale: float | None) -> Decoded:
    """Decode an array or a tensor. Arguments and errors are those of :func:`decode_image`."""
    has_16_bits = "uint16" in ArrayFormat.of(array).dtype
    return _scaled(Decoded(_of_array(array, channels)), has_16_bits, scale)


def _decode_file(
    file: str | os.PathLike[str] | BytesIO, channels: int, exif_orientation: bool, scale: float | None
) -> Decoded:
    """Decode an image file. Arguments and errors are those of :func:`decode_image`."""
    num_bytes = file.getbuffer().nbytes if isinstance(file, BytesIO) else _checked_size(file)
    if channels not in (1, 3) and _start(file, 4) in _TIFFS:
        bands = _read_bands(file, channels, exif_orientation)
        return _decode_array(bands, channels, scale)
    with opened(file) as picture:
        _check_depth(picture, channels)
        picture.load()
    decoded = _decode_picture(picture, channels, exif_orientation, scale)
    return decoded._replace(file=FileFacts(picture.format or "", num_bytes))


def _decode_picture(image: Image.Image, channels: int, exif_orientation: bool, scale: float | None) -> Decoded:
    """Decode a Pillow image. Arguments and errors are those of :func:`decode_image`."""
    losses = []
    if _is_turned(image):
        if exif_orientation:
            image = ImageOps.exif_transpose(image)
        else:
            losses.append(TURNED)
    image = _in_usual_mode(image, channels)
    if channels in (1, 3) and _has_alpha(image):
        losses.append(_ALPHA)
    has_16_bits = image.mode.startswith("I") and channels in (1, 3)
    return _scaled(Decoded(_of_picture(image, channels), tuple(losses)), has_16_bits, scale)


def _is_turned(image: Image.Image) -> bool:
    """Return True if an image must be rotated or mirrored according to its EXIF tag."""
    try:
        return image.getexif().get(_ORIENTATION) in range(2, 9)
    except Exception:
        # A damaged tag is ignored.
        return False


def _in_usual_mode(image: Image.Image, channels: int) -> Image.Image:
    """Convert an image to a mode that Pillow converts to greyscale and RGB without an error, a warning or a loss."""
    if image.mode == "La":
        # Pillow can't convert La to RGB.
        return image.convert("LA")
    if image.mode in ("P", "PA") and image.has_transparency_data:
        # A direct conversion to RGB gives the same colours, but Pillow warns.
        return image.convert("RGBA")
    if image.mode == "P" and channels != 3:
        return image.convert("RGB")
    return image


def _scaled(decoded: Decoded, has_16_bits: bool, scale: float | None) -> Decoded:
    """Return an image in which ``scale``, the value of white of its 16-bit file, has the value 1.

    Without a scale, white has the value 65535, and the pixels are not changed. For a 16-bit image, the result then has
    the share of 16 bits that the image uses.

    Raises:
        ValueError: If there is a scale, but the image does not have 16 bits.

    """
    if scale is None:
        if not has_16_bits:
            return decoded
        return decoded._replace(share_of_16_bits=float(np.max(decoded.pixels)))
    if not has_16_bits:
        raise ValueError("it has no integers of 16 bits, so no scale applies to it")
    # The pixels have been divided by DEEP_WHITE when they were decoded.
    factor = np.float32(DEEP_WHITE / scale)
    return decoded._replace(pixels=(decoded.pixels * factor).clip(0, 1))


def as_bytes(image: Pixels) -> NDArray[np.uint8]:
    """Convert an image of floats in [0, 1] to uint8, with rounding. A uint8 image is returned as it is."""
    if image.dtype == np.uint8:
        return image.astype(np.uint8, copy=False)
    return (image * 255).round().astype(np.uint8)


def _of_array(image: NDArray[Any] | Tensor, channels: int) -> Pixels:
    """Return the pixels of an array ``(H, W, C)`` or ``(H, W)``, or of a tensor ``(C, H, W)`` or ``(H, W)``."""
    check_unmasked(image, "it")
    ArrayFormat.of(image).check("it", 3, channels)
    array = _array_of(image) if isinstance(image, Tensor) else image
    pixels: NDArray[Any] = array[..., None] if array.ndim == 2 else array
    # Compare the name of the dtype, because it is the same for both byte orders.
    if pixels.dtype.name == "uint16":
        pixels = np.divide(pixels, DEEP_WHITE, dtype=np.float32)
    elif pixels.dtype != np.uint8:
        pixels = _in_unit_range(pixels).astype(np.float32)
    return _with_channels(pixels, channels)


def _array_of(image: Tensor) -> NDArray[Any]:
    """Convert a tensor ``(C, H, W)`` or ``(H, W)`` to an array ``(H, W, C)`` or ``(H, W)``."""
    image = image.detach().cpu()
    if image.is_floating_point():
        # Convert to float32, because NumPy has no bfloat16.
        image = image.float()
    if image.ndim == 3:
        image = image.movedim(0, -1)
    array: NDArray[Any] = image.numpy()
    return array


def as_rgb(pixels: Pixels) -> Pixels:
    """Convert a greyscale image to RGB by repeating its channel. An RGB image is returned as it is."""
    return pixels if pixels.shape[2] == 3 else pixels.repeat(3, 2)


def _with_channels(pixels: Pixels, channels: int) -> Pixels:
    """Convert greyscale to RGB by repeating its channel, or RGB to greyscale with Pillow's weights."""
    if pixels.shape[2] == channels:
        return pixels
    if channels == 3:
        return as_rgb(pixels)
    if pixels.dtype == np.uint8:
        return np.array(Image.fromarray(np.ascontiguousarray(pixels)).convert("L"))[..., None]
    return (pixels @ _LUMA)[..., None].clip(0, 1)


def _of_picture(image: Image.Image, channels: int) -> Pixels:
    """Return the pixels of a Pillow image as greyscale or RGB. For other numbers of channels, return its bands.

    Raises:
        ValueError: If the number of bands differs from ``channels``, or values lie outside of the supported range.

    """
    if channels not in (1, 3):
        return _bands_of_picture(image, channels)
    if _is_deep(image):
        return _with_channels(_deep_shades(image), channels)
    if channels == 3:
        return np.array(_in_mode(image, "RGB"))
    if image.mode not in ("1", "L", "LA"):
        # Convert colours to RGB first. Pillow's direct conversion of some modes gives other grey values.
        image = _in_mode(image, "RGB")
    return np.array(_in_mode(image, "L"))[..., None]


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    """Return an image in a mode. An image that has this mode is returned as it is, because Pillow would copy it."""
    return image if image.mode == mode else image.convert(mode)


def _bands_of_picture(image: Image.Image, channels: int) -> Pixels:
    """Return all bands of a Pillow image without a conversion. Raise ValueError for another number of bands."""
    num_bands = len(image.getbands())
    if num_bands != channels:
        raise ValueError(
            f"it has {_channels_in_words(num_bands)} ({image.mode}), but the network takes {channels}; pass"
            f" arrays or TIFFs of {channels} channels, or {own_network(num_bands)}"
        )
    return np.array(image)


def _deep_shades(image: Image.Image) -> NDArray[np.float32]:
    """Return the pixels ``(H, W, 1)`` of a greyscale image of integers or floats as float32 in [0, 1].

    Pillow's own conversion would clip the values at 255.

    Raises:
        ValueError: If integers lie outside of the range of 16 bits, or floats outside of [0, 1].

    """
    shades = np.asarray(image)[..., None]
    if image.mode == "F":
        return _in_unit_range(shades).astype(np.float32)
    low, high = int(shades.min()), int(shades.max())
    if low < 0 or high > DEEP_WHITE:
        raise ValueError(f"its integer pixels must lie in [0, {DEEP_WHITE}], but got {low} to {high}")
    scaled: NDArray[np.float32] = np.divide(shades, DEEP_WHITE, dtype=np.float32)
    return scaled


def _channels_in_words(count: int) -> str:
    """Format a number of channels."""
    return "1 channel" if count == 1 else f"{count} channels"


def _is_deep(image: Image.Image) -> bool:
    """Return True for images whose pixels are integers of more than 8 bits, or floats."""
    return image.mode == "F" or image.mode.startswith("I")


def _has_alpha(image: Image.Image) -> bool:
    """Return True if at least one pixel is not opaque."""
    if not image.has_transparency_data or _is_deep(image):
        return False
    if image.mode not in ("LA", "RGBA"):
        image = image.convert("RGBA")
    lowest: Any = image.getchannel("A").getextrema()[0]
    return bool(lowest < 255)


def _in_unit_range(pixels: NDArray[Any]) -> NDArray[Any]:
    """Clamp floating point pixels to [0, 1].

    Raises:
        ValueError: If a pixel is NaN, or lies more than 0.001 outside of [0, 1].

    """
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
    """Integer that stays the same if it is multiplied.

    Pillow only warns of images that exceed its limit. It raises an error for images that exceed twice its limit. With
    this integer as the limit, Pillow raises an error for each image that exceeds the limit.
    """

    def __rmul__(self, _: int) -> int:
        return int(self)


# Lock that is held while Pillow's limit of pixels is replaced by the limit of this package.
_SWAPPING = Lock()
# A process must not be forked while another thread holds the lock.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_SWAPPING.acquire, after_in_parent=_SWAPPING.release, after_in_child=_SWAPPING.release)


@contextmanager
def opened(file: str | os.PathLike[str] | BytesIO) -> Iterator[Image.Image]:
    """Open an image file without decoding it.

    The limit of pixels is that of this package, :func:`~torchmetrics_dna.files.damage.max_pixels`, instead of Pillow's.

    Raises:
        ValueError: If the image has more pixels.

    """
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
    """Open an image file. The Pillow plugins for HEIC and JPEG XL are imported when a file needs them.

    Raises:
        PIL.UnidentifiedImageError: If the format of the file is unknown.
        ValueError: If the package of the plugin is not installed.

    """
    try:
        return Image.open(file)
    except UnidentifiedImageError:
        start = _start(file, 12)
        is_heic = start[4:8] == b"ftyp" and start[8:12] in _BRANDS
        if not is_heic and not start.startswith(_JXL):
            raise
    kind = "HEIC" if is_heic else "JPEG XL"
    package, module = _PLUGINS[kind]
    plugin = _plugin(module, kind, package)
    # The plugin for JPEG XL registers itself when it is imported.
    if is_heic:
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
    """Return True if the content of a file is an image. A file that can't be read is taken for an image."""
    try:
        with opened(path):
            return True
    except UnidentifiedImageError:
        return False
    except Exception:
        # The error is reported when the file is read.
        return True


def _checked_size(path: str | os.PathLike[str]) -> int:
    """Return the size of a file in bytes.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is too large, or not a regular file. Reading a FIFO would block, and a device may be
            endless.

    """
    try:
        status = os.stat(path)  # noqa: PTH116
    except FileNotFoundError:
        check_no_address(path)
        raise FileNotFoundError("there is no such file") from None
    if stat.S_ISDIR(status.st_mode):
        raise ValueError("it is a folder, not an image; pass it by itself, or several sets in a dict: {'b': 'b/'}")
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("it is not a regular file")
    check_size(status.st_size)
    return status.st_size


def check_no_address(path: str | os.PathLike[str]) -> None:
    """Raise ValueError if a path that does not exist is an address that was converted to a ``Path``.

    The conversion to a ``Path`` replaces ``//`` by ``/``, so that the address is invalid.
    """
    text = os.fspath(path)
    if re.match("[A-Za-z][A-Za-z0-9+.-]+:/", text):
        raise ValueError(f"{text!r} is an address that was made a path; pass it as a string")


def _start(file: str | os.PathLike[str] | BytesIO, size: int) -> bytes:
    """Return the first bytes of a file."""
    if isinstance(file, BytesIO):
        return bytes(file.getbuffer()[:size])
    with Path(file).open("rb") as content:
        return content.read(size)


def _read_bands(file: str | os.PathLike[str] | BytesIO, channels: int, exif_orientation: bool) -> NDArray[Any]:
    """Read the bands of a TIFF, ``(H, W, channels)``, in their own dtype.

    Raises:
        ValueError: If the TIFF has another number of bands, several pages, another dtype, or too many pixels.

    """
    tifffile = _plugin("tifffile", "a TIFF of bands", "tifffile")
    if isinstance(file, BytesIO):
        file.seek(0)
    with tifffile.TiffFile(file) as tiff:
        page = tiff.pages.first
        if len(tiff.pages) > 1:
            raise _tiff_with(f"{len(tiff.pages)} pages; save one that has all bands")
        _check_bands(page, channels, exif_orientation)
        pixels: NDArray[Any] = page.asarray()
        return np.moveaxis(pixels, 0, -1) if page.planarconfig == _SEPARATE else pixels


def _check_bands(page: Any, channels: int, exif_orientation: bool) -> None:
    """Raise ValueError unless a page of a TIFF has this number of bands, and a supported dtype and size."""
    samples = page.samplesperpixel
    if samples != channels:
        raise _tiff_with(
            f"{_channels_in_words(samples)}, but the network takes {channels}; pass images of {channels}"
            f" channels, or {own_network(samples)}"
        )
    if str(page.dtype) not in _TYPES:
        raise _tiff_with(f"bands of type {page.dtype}; save them as uint8, uint16 or floats in [0, 1]")
    # A TIFF without this tag is upright, which is orientation 1.
    orientation = getattr(page.tags.get(_ORIENTATION), "value", 1)
    if exif_orientation and orientation != 1:
        raise _tiff_with("bands that its orientation tag turns; save it upright")
    check_pixels(page.imagelength * page.imagewidth)
    check_size(page.nbytes)


def _tiff_with(fault: str) -> ValueError:
    """Return the error for a TIFF that can't be read."""
    return ValueError(f"it is a TIFF with {fault}")


def _check_depth(image: Any, channels: int) -> None:
    """Raise ValueError unless Pillow decodes an opened file correctly and without a loss.

    Pillow keeps all bits of 16-bit greyscale images. It keeps only the upper 8 bits of 16-bit colour images.
    """
    if image.format == "TIFF":
        _check_tiff(image, channels)
    if _is_of_deep_file(image) and len(image.getbands()) > 1:
        raise ValueError(
            "it has colours of 16 bits, of which Pillow reads 8; save it with 8 bits, or pass arrays of uint16"
        )


def _is_of_deep_file(image: Any) -> bool:
    """Return True if the file of an opened image has more than 8 bits per channel."""
    if image.format == "TIFF":
        return bool(max(image.tag_v2.get(_BITS, (1,))) > 8)
    # Settings of Pillow's decoder. They have the layout of the file's pixels, such as "RGB;16B".
    settings = image.tile[0][3] if image.tile else ""
    if image.format == "PPM" and isinstance(settings, tuple):
        largest_value = settings[-1]
        return bool(largest_value > 255)
    return ";16" in str(settings)


def _check_tiff(image: Any, channels: int) -> None:
    """Raise ValueError if Pillow would not decode an opened TIFF correctly."""
    tags = image.tag_v2
    bits = max(tags.get(_BITS, (1,)))
    samples = tags.get(_SAMPLES, 1)
    if image.n_frames > 1:
        raise _tiff_with(f"{image.n_frames} pages; save the one that is meant, or pass its `copy()`")
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
        raise _tiff_with(f"a fourth channel that is no alpha; save it without, or pass {own_network(4)}")
