"""Errors of damaged files, and limits on the size of files and images.

Parsers raise errors of many types, which :func:`refusing` converts to ValueError. The limits protect against zip bombs.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from reprlib import repr as brief
from typing import Any

# Maximum number of characters of a text from outside that an error quotes.
_MOST_REASON = 300
# File format by the first bytes of a file.
_BEGINNINGS = {b"PK": "a .npz or .zip", b"\x89PNG": "an image", b"\xff\xd8": "an image", b"{": "json", b"[": "json"}


@contextmanager
def refusing(path: str | os.PathLike[str], what: str) -> Iterator[None]:
    """Convert errors that are raised while a file is parsed to errors of one line with the name of the file.

    Errors of any type are converted to ValueError, because parsers raise too many types to list. For example, zipfile
    raises ten types, and numpy may raise errors of Python's tokenizer. Errors of the operating system are the
    exception: see the first two errors below.

    Args:
        path: Path of the file.
        what: Expected format of the file, for the message.

    Raises:
        FileNotFoundError: If the file does not exist.
        OSError: If the error of the operating system names a file, such as one without read permission. This error is
            not changed.
        ValueError: If another error is raised.

    """
    try:
        yield
    except FileNotFoundError as err:
        raise FileNotFoundError(f"There is no file {str(path)!r}; expected {what}") from err
    except Exception as err:
        if isinstance(err, OSError) and err.filename is not None:
            raise
        raise ValueError(f"Can't read {str(path)!r} as {what}: {_why_refused(path, err)}") from err


def _why_refused(path: str | os.PathLike[str], err: Exception) -> str:
    """Describe why a file can't be parsed, as the end of an error message."""
    other_kind = _other_kind(path, err)
    if other_kind:
        return f"it is {other_kind}"
    reason = truncated(" ".join(str(err).split()))
    # This package raises plain ValueErrors, whose messages describe the file. Parsers raise subclasses and other types.
    is_of_this_package = type(err) is ValueError
    if is_of_this_package:
        return reason
    return f"it is damaged ({type(err).__name__}: {reason})"


def _other_kind(path: str | os.PathLike[str], err: Exception) -> str:
    """Return the format of a file that is not in the expected format. The text is empty if the format is unknown.

    Only errors of decoding text and of opening a zip archive are evidence of another format.
    """
    if not isinstance(err, (UnicodeDecodeError, zipfile.BadZipFile)) or not Path(path).is_file():
        return ""
    with Path(path).open("rb") as file:
        start = file.read(8)
    # A file that begins as a zip file but can't be read as one is damaged.
    if start.startswith(b"PK") and isinstance(err, zipfile.BadZipFile):
        return ""
    for beginning, words in _BEGINNINGS.items():
        if start.startswith(beginning):
            return words
    return ""


def truncated(text: str) -> str:
    """Truncate a text from outside to 300 characters. For example, the error message of a server may be long."""
    if len(text) <= _MOST_REASON:
        return text
    return f"{text[:_MOST_REASON]}..."


def reason_of(err: Exception) -> str:
    """Describe an error in one short line.

    Example:
        >>> reason_of(KeyError("image"))
        "KeyError: 'image'"

    """
    reason = " ".join(str(err).split())
    if not reason or isinstance(err, LookupError):
        reason = f"{type(err).__name__}: {reason}".removesuffix(": ")
    return truncated(reason)


def first_line(err: Exception) -> str:
    """Return the first line of an error message that is not empty. Return the type of an error without a message.

    Some libraries append pages of text to a message.
    """
    for line in str(err).splitlines():
        text = line.strip()
        if text:
            return truncated(text)
    return type(err).__name__


def read_json(path: str | os.PathLike[str], kind: type) -> Any:
    """Read an object or a list from a json file.

    Args:
        path: Path of the file.
        kind: Expected type, ``dict`` or ``list``.

    Raises:
        Exception: If the file can't be read or parsed. Use :func:`refusing` to convert the error.

    """
    return parse_json(Path(path).read_bytes(), kind)


def parse_json(text: bytes, kind: type) -> Any:
    """Parse an object or a list from a json text. Arguments and errors are those of :func:`read_json`."""
    return check_type("content", json.loads(text.decode()), kind)


def check_type(name: str, value: Any, *types: type) -> Any:
    """Return a value if its type is one of ``types``. An instance of a subclass is not accepted: True is no integer.

    Raises:
        ValueError: If the value has another type. ``name`` is its name in the message.

    """
    if type(value) not in types:
        expected = " or ".join(kind.__name__ for kind in types)
        raise ValueError(f"its {name} is {brief(value)}, expected {expected}")
    return value


# Environment variable with the maximum number of pixels. Worker processes inherit environment variables.
MAX_PIXELS = "TORCHMETRICS_DNA_MAX_PIXELS"
# Maximum size in bytes of the header of a DNA file, an array or a tar member.
MOST_HEADER = 1 << 22
# Maximum number of files that match a pattern.
MOST_FILES = 1_000_000
# Default maximum number of pixels of an image. The largest camera sensors have 151 megapixels.
_DEFAULT_PIXELS = "160000000"
_LIFT = f"to read it, set the environment variable {MAX_PIXELS} to a larger number"
# Number of bytes to which any file may be unpacked, whatever its compression ratio.
_FREE = 64_000_000
# Compression ratio above which larger files are taken for zip bombs.
_MOST_RATIO = 100


def max_pixels() -> int:
    """Return the maximum number of pixels of an image.

    Raises:
        ValueError: If the environment variable is not a number.

    """
    limit = os.environ.get(MAX_PIXELS, _DEFAULT_PIXELS)
    if not limit.isdecimal():
        raise ValueError(f"Environment variable {MAX_PIXELS} expected to be a number, but got {limit!r}")
    return int(limit)


def most_bytes() -> int:
    """Return the maximum size of an image in bytes: 4 per pixel. The limit also applies to a compressed image file."""
    return 4 * max_pixels()


def check_pixels(pixels: int) -> None:
    """Raise ValueError if an image has too many pixels."""
    if pixels > max_pixels():
        raise ValueError(beyond(f"Image size ({pixels} pixels) exceeds limit of {max_pixels()} pixels"))


def beyond(fault: str) -> str:
    """Append a remedy to an error message: to set the environment variable to a larger number."""
    return f"{fault}; {_LIFT}"


def check_size(num_bytes: int) -> None:
    """Raise ValueError if an image file, or its uncompressed content, exceeds the maximum size of an image."""
    if num_bytes > most_bytes():
        raise ValueError(
            beyond(f"it has {num_bytes} bytes, more than {most_bytes()} (4 for each pixel that is allowed)")
        )


def check_header(num_bytes: float, what: str) -> None:
    """Raise ValueError if a header exceeds its maximum size. ``what`` describes the header in the message."""
    if num_bytes > MOST_HEADER:
        raise ValueError(f"{what} has {num_bytes:.0f} bytes or more, expected {MOST_HEADER} at most")


def check_files(count: int, pattern: str) -> None:
    """Raise ValueError if a pattern expands to too many files."""
    if count > MOST_FILES:
        raise ValueError(f"{pattern!r} stands for {count:,} files, expected {MOST_FILES:,} at most")


def most_unpacked(file_size: int) -> int:
    """Return the size in bytes to which a file of ``file_size`` bytes may be unpacked."""
    return _FREE + _MOST_RATIO * file_size


def check_unpacked(file_size: int, num_bytes: int) -> None:
    """Raise ValueError if a file would be unpacked to more bytes than :func:`most_unpacked` returns."""
    if num_bytes > most_unpacked(file_size):
        raise ValueError(f"it would unpack from {file_size} to {num_bytes} bytes, as a zip bomb does")
