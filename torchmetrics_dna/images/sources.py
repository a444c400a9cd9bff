"""Where images come from: a folder, a zip, a list file, or things in memory, all as one kind of dataset."""

from __future__ import annotations

import os
import re
import zipfile
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any, Union

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import Dataset

ImageLike = Union[str, "os.PathLike[str]", Image.Image, NDArray[Any], Tensor]
Source = Union[ImageLike, Sequence[ImageLike], "Dataset[Any]"]

RGBImage = NDArray[np.uint8 | np.float32]

_UNREADABLE = (
    OSError,
    ValueError,
    SyntaxError,  # Pillow, on some broken PNG files
    RuntimeError,  # zipfile, on encrypted members
    zipfile.BadZipFile,
    zlib.error,
    Image.DecompressionBombError,
)
EXTENSIONS = (
    ".avif",
    ".bmp",
    ".gif",
    ".jp2",
    ".jpeg",
    ".jpg",
    ".pbm",
    ".pgm",
    ".png",
    ".ppm",
    ".tif",
    ".tiff",
    ".webp",
)


class ImageSource(Dataset["RGBImage"]):
    """Images by number, each decoded to RGB when asked for.

    Args:
        names: What to call each image in messages and reports.
        fetch: Gives what image ``i`` is made of: a path, a file, a Pillow image, an array or a tensor.
        label: What to call the whole.
        exif_orientation: Turn images as their EXIF tag says. The official implementation does not.

    """

    def __init__(
        self, names: Sequence[str], fetch: Callable[[int], Any], label: str, exif_orientation: bool = False
    ) -> None:
        self.names = names
        self.label = label
        self.exif_orientation = exif_orientation
        self._fetch = fetch

    def take(self, numbers: Sequence[int]) -> ImageSource:
        """Some of the images, by number, in this order."""
        fetch = partial(_fetch_taken, self._fetch, numbers)
        return ImageSource([self.names[i] for i in numbers], fetch, self.label, self.exif_orientation)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> RGBImage:
        """Image ``index`` as :func:`to_rgb` gives it; ValueError with its name if it can't be read."""
        try:
            return to_rgb(self._fetch(index), self.exif_orientation)
        except _UNREADABLE as err:
            reason = "it is not an image file" if isinstance(err, UnidentifiedImageError) else err
            raise ValueError(f"Can't read image {self.names[index]!r}: {reason}") from err


def open_source(source: Source, exif_orientation: bool = False) -> ImageSource:
    """Open a set of images.

    Args:
        source: A folder (searched recursively; hidden files and folders left out; natural order), a
            ``.zip`` (likewise), a ``.txt`` with one path a line (relative to that file), one image file;
            a sequence of paths, Pillow images, arrays ``(H, W, 3)`` or tensors ``(3, H, W)``; an array
            ``(B, H, W, 3)`` or tensor ``(B, 3, H, W)``; a map-style dataset that gives any of these,
            alone or first in a tuple. Arrays and tensors are uint8, or floating point in [0, 1].
        exif_orientation: Turn images as their EXIF tag says. The official implementation does not.

    Raises:
        FileNotFoundError: If the path does not exist.
        ValueError: If there are no images.
        TypeError: If it is none of these.

    """
    if isinstance(source, ImageSource):
        return source
    label = os.fspath(source) if isinstance(source, (str, os.PathLike)) else f"{type(source).__name__} of images"
    if isinstance(source, (str, os.PathLike)):
        names, fetch = _open_path(Path(source))
    elif isinstance(source, Image.Image):
        names, fetch = ["image 0"], [source].__getitem__
    elif hasattr(source, "__getitem__") and hasattr(source, "__len__"):
        if isinstance(source, (np.ndarray, Tensor)) and source.ndim < 4:
            source = source[None]
        names, fetch = _names(source), source.__getitem__
    else:
        raise TypeError(
            "Expected images as a folder, .zip, .txt, image file, sequence, array or map-style dataset,"
            f" but got {type(source).__name__}"
        )
    if not names:
        raise ValueError(f"There are no images in {label!r}; looked for {', '.join(EXTENSIONS)}")
    return ImageSource(names, fetch, label, exif_orientation)


def _fetch_taken(fetch: Callable[[int], Any], numbers: Sequence[int], index: int) -> Any:
    return fetch(numbers[index])


def to_rgb(image: Any, exif_orientation: bool = False) -> RGBImage:
    """Anything that can be an image, as an array ``(H, W, 3)``: uint8, or float32 in [0, 1].

    Alpha is dropped, palettes and CMYK are converted by Pillow, grey is repeated, 16-bit grey becomes float32.
    """
    if isinstance(image, (tuple, list)) and image:
        image = image[0]
    if isinstance(image, Tensor):
        image = image.detach().cpu()
        image = (image.movedim(0, -1) if image.ndim == 3 else image).numpy()
    if isinstance(image, np.ndarray):
        return _array_to_rgb(image)
    if isinstance(image, (str, os.PathLike, BytesIO)):
        with Image.open(image) as file:
            file.load()
            image = file
    if not isinstance(image, Image.Image):
        raise TypeError(f"Expected an image as a path, Pillow image, array or tensor, but got {type(image).__name__}")
    if exif_orientation:
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        # 16-bit grey: Pillow's own conversion clips at 255, which leaves an almost white image
        return _array_to_rgb((np.asarray(image).astype(np.float32) / 65535).clip(0, 1))
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # the same colours, without Pillow's warning about doing it in one step
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def _array_to_rgb(image: NDArray[Any]) -> RGBImage:
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4) or 0 in image.shape:
        raise ValueError(f"expected a picture of 1, 3 or 4 channels, but got shape {image.shape}")
    image = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image[..., :3]
    if image.dtype == np.uint8:
        return image
    if not np.issubdtype(image.dtype, np.floating):
        raise ValueError(f"expected uint8, or floating point in [0, 1], but got {image.dtype}")
    if not (image.min() >= 0 and image.max() <= 1):
        raise ValueError(f"floating point pixels must lie in [0, 1], but got {image.min():g} to {image.max():g}")
    return image.astype(np.float32)


def _open_path(path: Path) -> tuple[list[str], Callable[[int], Any]]:
    if path.is_dir():
        return _paths(sorted(_walk(path), key=lambda p: natural_key(p.relative_to(path).as_posix())))
    if not path.exists():
        raise FileNotFoundError(f"There is no file or folder {str(path)!r}")
    if path.suffix.lower() == ".zip":
        archive = _Zip(path)
        return archive.names, archive.open
    if path.suffix.lower() == ".txt":
        lines = path.read_text(encoding="utf-8").splitlines()
        return _paths([path.parent / line.strip() for line in lines if line.strip()])
    return _paths([path])


def _walk(folder: Path) -> list[Path]:
    found: list[Path] = []
    visited: set[str] = set()
    for where, folders, files in os.walk(folder, followlinks=True):
        # a link may lead back to where the walk has been
        folders[:] = [name for name in folders if not name.startswith(".") and os.path.realpath(where) not in visited]
        visited.add(os.path.realpath(where))
        found += [Path(where, name) for name in files if _is_image(name)]
    return found


def _paths(paths: list[Path]) -> tuple[list[str], Callable[[int], Any]]:
    return [str(path) for path in paths], paths.__getitem__


def _is_image(name: str) -> bool:
    return not name.startswith(".") and name.lower().endswith(EXTENSIONS)


def natural_key(name: str) -> list[tuple[int, int | str]]:
    """Sort key under which ``img2`` comes before ``img10``."""
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"(\d+)", name) if part]


def _names(source: Any) -> list[str]:
    # only plain sequences are looked into: asking a dataset or an array for its entries would load them
    entries = source if isinstance(source, (list, tuple)) else [None] * len(source)
    return [str(e) if isinstance(e, (str, os.PathLike)) else f"image {i}" for i, e in enumerate(entries)]


class _Zip:
    """Images of an archive; every process opens it anew, since file positions must not be shared."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._open: dict[int, zipfile.ZipFile] = {}
        try:
            with zipfile.ZipFile(path) as archive:
                members = archive.namelist()
        except zipfile.BadZipFile as err:
            raise ValueError(f"{str(path)!r} is not a readable zip archive: {err}") from err
        self._members = sorted(filter(self._wanted, members), key=natural_key)
        self.names = [f"{path}/{member}" for member in self._members]

    @staticmethod
    def _wanted(member: str) -> bool:
        parts = PurePosixPath(member).parts
        hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
        return not member.endswith("/") and not hidden and _is_image(parts[-1])

    def open(self, index: int) -> BytesIO:
        archive = self._open.get(os.getpid())
        if archive is None:
            archive = self._open[os.getpid()] = zipfile.ZipFile(self.path)
        return BytesIO(archive.read(self._members[index]))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}
