"""Decode an image of any form to RGB, or refuse it, and detect changes of it without decoding."""

from __future__ import annotations

import os
import re
import stat
import zlib
from collections.abc import Mapping
from contextlib import contextmanager, nullcontext
from importlib import import_module
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from torchmetrics_dna.files.limits import beyond, check_size, max_pixels, most_bytes
from torchmetrics_dna.images.addresses import is_address, read_address
from torchmetrics_dna.images.tensors import scale_remedy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

RGBImage: TypeAlias = "NDArray[np.uint8 | np.float32]"

_CHANNELS = (1, 3, 4)
_BITS, _PHOTOMETRIC, _SAMPLES, _EXTRA, _FORMAT = 258, 262, 277, 338, 339  # tags of TIFF
_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")  # of HEIC
_JXL = b"\xff\x0a", b"\0\0\0\x0cJXL "
_PLUGINS = {"HEIC": ("pillow-heif", "pillow_heif"), "JPEG XL": ("pillow-jxl-plugin", "pillow_jxl")}
# (is tensor, number of axes) -> (axis of channels in the other layout, conversion to ours)
_MOVES = {
    (False, 3): (0, "imgs.transpose(1, 2, 0)"),
    (False, 4): (1, "imgs.transpose(0, 2, 3, 1)"),
    (True, 3): (2, "imgs.permute(2, 0, 1)"),
    (True, 4): (3, "imgs.permute(0, 3, 1, 2)"),
}


class FileFacts(NamedTuple):
    """Format, such as ``"JPEG"``, and size of the file of an image."""

    format: str
    num_bytes: int


def file_facts(image: Any) -> FileFacts | None:
    """Return format and size of a path or the bytes of a file; None for an image in memory."""
    image = unwrapped(image)
    if not isinstance(image, (str, os.PathLike, BytesIO)):
        return None
    size = image.getbuffer().nbytes if isinstance(image, BytesIO) else Path(image).stat().st_size
    with opened(image) as file:
        return FileFacts(file.format or "", size)


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


def to_rgb(image: Any, exif_orientation: bool = False) -> RGBImage:
    """Decode an image of any form to an array ``(H, W, 3)``: uint8, or float32 in [0, 1].

    Alpha is dropped, other colour spaces are converted by Pillow, grey is repeated, 16-bit grey becomes float32.
    """
    image = unwrapped(image)
    if isinstance(image, (np.ndarray, Tensor)):
        return _array_to_rgb(image)
    if isinstance(image, (str, os.PathLike)):
        _check_file(image)
    if isinstance(image, (str, os.PathLike, BytesIO)):
        with opened(image) as file:
            if file.format == "TIFF":
                _check_tiff(file)
            _check_depth(file)
            file.load()
            image = file
    if not isinstance(image, Image.Image):
        raise TypeError(f"expected a path, Pillow image, array or tensor, but got {type(image).__name__}")
    if exif_orientation:
        image = ImageOps.exif_transpose(image)
    if image.mode == "F" or image.mode.startswith("I"):
        return _shades_to_rgb(image)
    if image.mode == "La":
        image = image.convert("LA")  # Pillow can't convert La to RGB
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # same colours, without the warning of a direct conversion
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def as_bytes(image: RGBImage) -> NDArray[np.uint8]:
    """Round an image of floats in [0, 1] to bytes; return bytes as they are."""
    return image.astype(np.uint8, copy=False) if image.dtype == np.uint8 else (image * 255).round().astype(np.uint8)


def check_array(images: NDArray[Any] | Tensor, what: str, most_axes: int) -> None:
    """Raise ValueError with a remedy unless shape and dtype are those of an image, or of a 4-D batch of images."""
    tensor, shape = isinstance(images, Tensor), tuple(images.shape)
    got = f"but got shape {shape} and type {images.dtype}"
    channels = 1 if len(shape) == 2 else shape[-3 if tensor else -1] if len(shape) > 2 else 0
    if not 2 <= len(shape) <= most_axes or channels not in _CHANNELS or 0 in shape[-3:]:
        single, several = ("(C, H, W)", "(B, C, H, W)") if tensor else ("(H, W, C)", "(B, H, W, C)")
        axes = several if most_axes == 4 else single
        raise ValueError(f"{what} must have shape {axes} with C = 1, 3 or 4, {got}{_layout_remedy(images, most_axes)}")
    kind = str(images.dtype).removeprefix("torch.")
    if kind != "uint8" and not kind.startswith(("float", "bfloat")):
        remedies = {"uint16": "imgs / 65535", "bool": "imgs * 1.0"}
        to_uint8 = "imgs.to(torch.uint8)" if tensor else 'imgs.astype("uint8")'
        remedy = remedies.get(kind, to_uint8 if "int" in kind else "")
        raise ValueError(
            f"{what} must be uint8, or floating point in [0, 1], {got}" + (f"; give `{remedy}`" if remedy else "")
        )


def _layout_remedy(images: NDArray[Any] | Tensor, most_axes: int) -> str:
    tensor, axes = isinstance(images, Tensor), images.ndim
    if axes == 4 and most_axes == 3:
        return "; give one image at a time"
    axis, remedy = _MOVES.get((tensor, axes), (0, ""))
    if axes in (3, 4) and images.shape[axis] not in _CHANNELS:
        remedy = "" if axes == 4 else "imgs[:, None]" if tensor else "imgs[..., None]"
    return f"; give `{remedy}`" if remedy else ""


def _array_to_rgb(image: NDArray[Any] | Tensor) -> RGBImage:
    check_array(image, "it", 3)
    if isinstance(image, Tensor):
        image = image.detach().cpu()
        image = image.float() if image.is_floating_point() else image  # NumPy has no bfloat16
        image = (image.movedim(0, -1) if image.ndim == 3 else image).numpy()
    if image.ndim == 2:
        image = image[..., None]
    image = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image[..., :3]
    if image.dtype == np.uint8:
        return image
    _check_range(image, "floating point", 1)
    return image.astype(np.float32)


def _shades_to_rgb(image: Image.Image) -> RGBImage:
    """Convert 16-bit or floating-point grey to RGB; Pillow would clip it at 255."""
    shades = np.asarray(image)
    white, kind = (1, "floating point") if image.mode == "F" else (65535, "integer")
    _check_range(shades, kind, white)
    return np.repeat((shades.astype(np.float32) / white)[..., None], 3, axis=2)


def _check_range(pixels: NDArray[Any], kind: str, white: int) -> None:
    low, high = float(pixels.min()), float(pixels.max())
    if not (low >= 0 and high <= white):  # also true of NaN
        remedy = scale_remedy(low, high) if white == 1 else ""
        raise ValueError(f"its {kind} pixels must lie in [0, {white}], but got {low:g} to {high:g}{remedy}")


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
        kind = _kind_of_plugin(file)
        if kind is None:
            raise
    package, name = _PLUGINS[kind]
    try:
        plugin = import_module(name)
    except ModuleNotFoundError as err:
        raise ValueError(f"it is {kind}, which takes another package: `pip install {package}`") from err
    if kind == "HEIC":
        plugin.register_heif_opener()
    return Image.open(file)


def _kind_of_plugin(file: str | os.PathLike[str] | BytesIO) -> str | None:
    with nullcontext(file) if isinstance(file, BytesIO) else Path(file).open("rb") as content:
        content.seek(0)
        start = content.read(12)
    if start[4:8] == b"ftyp" and start[8:12] in _BRANDS:
        return "HEIC"
    return "JPEG XL" if start.startswith(_JXL) else None


def is_image_file(path: str | os.PathLike[str] | BytesIO) -> bool:
    """True if the content of a file is an image."""
    try:
        with opened(path):
            return True
    except UnidentifiedImageError:
        return False
    except Exception:  # reported when the file is read
        return True


def _check_file(path: str | os.PathLike[str]) -> None:
    """Raise ValueError for files that must not be opened: FIFOs block, devices never end."""
    try:
        status = os.stat(path)  # noqa: PTH116
    except FileNotFoundError:
        check_no_address(path)
        raise FileNotFoundError("there is no such file") from None
    if stat.S_ISDIR(status.st_mode):
        raise ValueError("it is a folder, not an image; give a folder by itself, not in a list")
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("it is not a regular file")
    check_size(status.st_size)


def check_no_address(path: str | os.PathLike[str]) -> None:
    """Raise ValueError if a path that does not exist is an address made a ``Path``, which drops a slash."""
    text = os.fspath(path)
    if re.match("[A-Za-z][A-Za-z0-9+.-]+:/", text):
        raise ValueError(f"{text!r} is an address that was made a path; give it as a string")


def _check_depth(image: Any) -> None:
    """Raise ValueError for colours of 16 bits, of which Pillow decodes the upper 8; grey has all."""
    settings = image.tile[0][3] if image.tile else ""
    is_deep = ";16" in str(settings)
    if image.format == "PPM" and isinstance(settings, tuple):
        is_deep = settings[-1] > 255
    if image.format == "TIFF":
        is_deep = max(image.tag_v2.get(_BITS, (1,))) > 8
    if is_deep and len(image.getbands()) > 1:
        raise ValueError(
            "it has colours of 16 bits, of which Pillow reads 8; save it with 8 bits, or give arrays `imgs / 65535`"
        )


def _check_tiff(image: Any) -> None:
    """Raise ValueError unless Pillow decodes a TIFF correctly: one page, supported depth and channels, black as 0."""
    tags = image.tag_v2
    bits, samples = max(tags.get(_BITS, (1,))), tags.get(_SAMPLES, 1)
    signed = 2 in tags.get(_FORMAT, ())
    deep = image.mode == "F" or image.mode.startswith("I")
    faults = {
        f"{image.n_frames} pages; save the one that is meant": image.n_frames > 1,
        f"{samples} channels; expected 1, 3 or 4": samples > 4 or (samples == 2 and image.mode == "L"),
        f"{bits}-bit {'signed ' * signed}integers; expected 8 or 16 bits without a sign": signed
        or (image.mode != "F" and bits in (12, 32)),
        "shades of which white is 0; save it with black as 0": deep and tags.get(_PHOTOMETRIC) == 0,
        "a fourth channel that is no alpha; for a network of 3 channels save those three": samples == 4
        and tags.get(_PHOTOMETRIC) == 2
        and tags.get(_EXTRA, (0,))[0] == 0,
    }
    for fault, is_present in faults.items():
        if is_present:
            raise ValueError(f"it is a TIFF with {fault}")
