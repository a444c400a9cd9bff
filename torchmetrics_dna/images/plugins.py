"""Image formats that need a plugin of Pillow, imported when a file needs it."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from PIL import Image, UnidentifiedImageError

if TYPE_CHECKING:
    import os
    from io import BytesIO


class _Plugin(NamedTuple):
    format: str
    package: str
    module: str
    register: str  # a function of the module, if importing it is not enough


_HEIF = _Plugin("HEIC", "pillow-heif", "pillow_heif", "register_heif_opener")
_JXL = _Plugin("JPEG XL", "pillow-jxl-plugin", "pillow_jxl", "")
_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")


def open_image(file: str | os.PathLike[str] | BytesIO) -> Image.Image:
    """Open an image by ``PIL.Image.open``, including HEIC and JPEG XL if their plugins are installed.

    Raises:
        UnidentifiedImageError: If the file is not an image.
        ValueError: If it needs a plugin that is not installed.

    """
    try:
        return Image.open(file)
    except UnidentifiedImageError:
        plugin = _plugin_of(_start(file))
        if plugin is None:
            raise
    try:
        module = import_module(plugin.module)
    except ModuleNotFoundError as err:
        raise ValueError(f"it is {plugin.format}, which takes another package: `pip install {plugin.package}`") from err
    if plugin.register:
        getattr(module, plugin.register)()
    return Image.open(file)


def _start(file: str | os.PathLike[str] | BytesIO) -> bytes:
    if isinstance(file, str) or hasattr(file, "__fspath__"):
        with Path(file).open("rb") as opened:
            return opened.read(12)
    file.seek(0)
    start = file.read(12)
    file.seek(0)
    return start


def _plugin_of(start: bytes) -> _Plugin | None:
    if start[4:8] == b"ftyp" and start[8:12] in _BRANDS:
        return _HEIF
    return _JXL if start.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL ")) else None
