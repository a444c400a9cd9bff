"""Where images come from: a folder, a zip, a list file, or things in memory, all as one kind of dataset."""

from __future__ import annotations

import codecs
import os
import re
import stat
import zipfile
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NoReturn, Union

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import Dataset

from torchmetrics_dna.images.pixels import (
    check_array,
    check_no_address,
    check_size,
    file_facts,
    is_image_file,
    to_rgb,
)

if TYPE_CHECKING:
    from torchmetrics_dna.images.pixels import FileFacts, RGBImage

ImageLike = Union[str, "os.PathLike[str]", Image.Image, NDArray[Any], Tensor]
Source = Union[ImageLike, Sequence[ImageLike], "Dataset[Any]"]

EXTENSIONS = (
    ".avif",
    ".bmp",
    ".gif",
    ".jfif",
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
_FILES = "a folder, .zip, .txt with one path a line, image file"
_MARKS = (  # UTF-32 first: its mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class ImageSource(Dataset["RGBImage"]):
    """Images by number, each decoded to RGB when asked for.

    Args:
        names: What to call each image in messages and reports.
        fetch: Gives what image ``i`` is made of: a path, a file, a Pillow image, an array or a tensor.
        label: What to call the whole.
        exif_orientation: Turn images as their EXIF tag says. The official implementation does not.
        stamp: Gives what tells whether image ``i`` has changed; None where nothing does but reading it.

    """

    def __init__(
        self,
        names: Sequence[str],
        fetch: Callable[[int], Any],
        label: str,
        exif_orientation: bool = False,
        stamp: Callable[[int], str] | None = None,
    ) -> None:
        self.names = names
        self.label = label
        self.exif_orientation = exif_orientation
        self.stamp = stamp
        self._fetch = fetch

    def take(self, numbers: Sequence[int]) -> ImageSource:
        """Some of the images, by number, in this order."""
        fetch = partial(_fetch_taken, self._fetch, numbers)
        return ImageSource([self.names[i] for i in numbers], fetch, self.label, self.exif_orientation)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> RGBImage:
        """Image ``index`` as :func:`to_rgb` gives it; ValueError with its name if it can't be read."""
        name = self.names[index]
        try:
            return self.decode(index)
        except Exception as err:  # broken files make Pillow raise all kinds of things
            raise ValueError(unreadable(name, err)) from err

    def decode(self, index: int) -> RGBImage:
        """As ``self[index]``, but with the errors as they are."""
        return to_rgb(self._fetch(index), self.exif_orientation)

    def file_facts(self, index: int) -> FileFacts | None:
        """Format and size of the file of image ``index``; None where it is in memory."""
        return file_facts(self._fetch(index))


def unreadable(name: str, err: Exception) -> str:
    """What is wrong with an image, in one line."""
    reason = " ".join(str(err).split())
    if isinstance(err, UnidentifiedImageError):
        reason = "it is not an image file"
        if name.lower().endswith((".tif", ".tiff")):
            reason = "it is not a TIFF that Pillow reads; save it with 8 or 16 bits and 1, 3 or 4 channels"
    elif not reason or isinstance(err, LookupError):
        reason = f"{type(err).__name__}: {reason}".removesuffix(": ")
    return f"Can't read image {name!r}: {reason}"


def open_source(source: Source, exif_orientation: bool = False) -> ImageSource:
    """Open a set of images.

    Args:
        source: A folder (searched recursively, in natural order; hidden files and folders are left out; each file
            counts once, whatever links to it), a ``.zip`` (likewise), a ``.txt`` in UTF-8 with one path a line
            (relative to that file), one image file; a sequence of paths, Pillow images, arrays ``(H, W, 3)`` or
            tensors ``(3, H, W)``; an array ``(B, H, W, 3)`` or tensor ``(B, 3, H, W)``; a map-style dataset that
            gives any of these, alone or first in a tuple. Arrays and tensors have 1, 3 or 4 channels, and are uint8,
            or floating point in [0, 1].
        exif_orientation: Turn images as their EXIF tag says. The official implementation does not.

    Raises:
        FileNotFoundError: If the path does not exist.
        PermissionError: If a folder may not be read.
        ValueError: If there are no images, or what is there is no source of images.
        TypeError: If it is none of these.

    """
    if isinstance(source, ImageSource):
        return source
    label = os.fspath(source) if isinstance(source, (str, os.PathLike)) else f"{type(source).__name__} of images"
    if isinstance(source, (str, os.PathLike)):
        names, fetch = _open_path(label)
    elif isinstance(source, Image.Image):
        names, fetch = ["image 0"], [source].__getitem__
    elif hasattr(source, "__getitem__") and hasattr(source, "__len__"):
        if isinstance(source, (np.ndarray, Tensor)):
            check_array(source, "Images", 4)
            source = source if source.ndim == 4 else source[None]
        names, fetch = _names(source), source.__getitem__
    else:
        raise TypeError(
            f"Expected images as {_FILES}, sequence of images, array, tensor or map-style dataset, but got"
            f" {type(source).__name__}"
        )
    if not names:
        raise ValueError(f"There are no images in {label!r}; looked for {', '.join(EXTENSIONS)}")
    return ImageSource(names, fetch, label, exif_orientation, _stamp_for(source, fetch))


def _fetch_taken(fetch: Callable[[int], Any], numbers: Sequence[int], index: int) -> Any:
    return fetch(numbers[index])


def _open_path(text: str) -> tuple[list[str], Callable[[int], Any]]:
    path = Path(text)
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116
    except (FileNotFoundError, NotADirectoryError):
        check_no_address(text)
        raise FileNotFoundError(f"There is no file or folder {text!r}") from None
    except OSError as err:
        _refuse(err)
    if stat.S_ISDIR(mode):
        found = sorted(_walk(path), key=lambda p: natural_key(p.relative_to(path).as_posix()))
        return _paths(found)
    if not stat.S_ISREG(mode):
        raise ValueError(f"{text!r} is not a regular file; give {_FILES}")
    if path.suffix.lower() == ".zip":
        archive = _Zip(path)
        return archive.names, archive.open
    if path.suffix.lower() == ".txt":
        lines = [line.strip() for line in _read_list(path).splitlines()]
        # an address stays as it is, so that it is refused by its name
        return _paths([line if "://" in line else path.parent / line for line in lines if line])
    if not _is_image(path.name) and not is_image_file(path):
        raise ValueError(f"{text!r} is no source of images; give {_FILES} ({', '.join(EXTENSIONS)} or another)")
    return _paths([path])


def _refuse(err: OSError) -> NoReturn:
    raise type(err)(f"Can't read {str(err.filename)!r}: {err.strerror}") from err


def _read_list(path: Path) -> str:
    data = path.read_bytes()
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8-sig")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:  # no path holds it, but UTF-16 without a mark does
        raise ValueError(f"List {str(path)!r} is not in UTF-8; save it as UTF-8")
    return text


def _walk(folder: Path) -> list[Path]:
    """Images in a folder, each once: where it lies below the folder, or else by way of the first link to it."""
    found: dict[str, Path] = {}
    visited: set[str] = set()
    to_folders, to_files = [folder], []
    for start in to_folders:  # which grows
        for where, folders, files in os.walk(start, onerror=_refuse):
            real = os.path.realpath(where)
            if real in visited:
                folders.clear()
                continue
            visited.add(real)
            folders[:] = sorted((name for name in folders if not name.startswith(".")), key=natural_key)
            to_folders += [path for name in folders if (path := Path(where, name)).is_symlink()]
            for path in (Path(where, name) for name in files if _is_image(name)):
                if path.is_symlink():
                    to_files.append(path)
                else:
                    found[f"{real}{os.sep}{path.name}"] = path
    for path in sorted(to_files, key=lambda p: natural_key(str(p))):
        found.setdefault(os.path.realpath(path), path)
    return list(found.values())


def _paths(paths: Sequence[str | Path]) -> tuple[list[str], Callable[[int], Any]]:
    return [str(path) for path in paths], paths.__getitem__


def _is_image(name: str) -> bool:
    return not name.startswith(".") and name.lower().endswith(EXTENSIONS)


def natural_key(name: str) -> list[tuple[int, int | str]]:
    """Sort key under which ``img2`` comes before ``img10``; ``img02``, which counts alike, before both."""
    parts = [(0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"(\d+)", name) if part]
    return [*parts, (-1, name)]


def _stamp_for(source: Any, fetch: Callable[[int], Any]) -> Callable[[int], str] | None:
    """See :class:`ImageSource`; datasets are not asked, since that would load their images."""
    archive = getattr(fetch, "__self__", None)
    if isinstance(archive, _Zip):
        return archive.stamp
    known = (str, os.PathLike, Image.Image, list, tuple, np.ndarray, Tensor)
    return partial(_stamp, fetch) if isinstance(source, known) else None


def _stamp(fetch: Callable[[int], Any], index: int) -> str:
    """Size and time of a file, or a checksum of what is in memory."""
    image = fetch(index)
    if isinstance(image, (tuple, list)) and image:
        image = image[0]
    try:
        if isinstance(image, Image.Image):  # one that is not loaded yet is as its file
            image = (getattr(image, "fp", None) and getattr(image, "filename", None)) or np.asarray(image)
        if isinstance(image, (str, os.PathLike)):
            found = Path(image).stat()
            return f"{found.st_size} {found.st_mtime_ns}"
        if isinstance(image, Tensor):
            image = image.detach().cpu().numpy()
        array = np.ascontiguousarray(image)
        if array.dtype.hasobject:
            return ""
        return f"{array.dtype} {array.shape} {zlib.crc32(array.data):08x}"
    except Exception:  # what is wrong with it is said where it is read
        return "unreadable"


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
        self._members = sorted(filter(self._wanted, dict.fromkeys(members)), key=natural_key)
        self.names = [f"{path}/{member}" for member in self._members]

    @staticmethod
    def _wanted(member: str) -> bool:
        parts = PurePosixPath(member).parts
        hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
        return not member.endswith("/") and not hidden and _is_image(parts[-1])

    def open(self, index: int) -> BytesIO:
        archive = self._archive()
        member = archive.getinfo(self._members[index])
        check_size(member.file_size)
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            # zipfile unpacks others without bounds
            raise ValueError(f"it is packed by method {member.compress_type} of zip; pack it by deflate")
        with archive.open(member) as file:
            # unpacks no more than is asked for, where `read()` alone would go beyond a size that is not true
            return BytesIO(file.read(member.file_size))

    def stamp(self, index: int) -> str:
        member = self._archive().getinfo(self._members[index])
        return f"{member.file_size} {member.CRC:08x}"

    def _archive(self) -> zipfile.ZipFile:
        archive = self._open.get(os.getpid())
        if archive is None:
            archive = self._open[os.getpid()] = zipfile.ZipFile(self.path)
        return archive

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}
