"""Convert errors of damaged files to one kind of error."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from reprlib import repr as brief
from typing import Any

# Number of characters of a reason that is quoted in an error.
_MOST_REASON = 300
# Formats of files by their first bytes.
_BEGINNINGS = {b"PK": "a .npz or .zip", b"\x89PNG": "an image", b"\xff\xd8": "an image", b"{": "json", b"[": "json"}


@contextmanager
def refusing(path: str | os.PathLike[str], what: str) -> Iterator[None]:
    """Convert any error of parsing a file to a ValueError of one line that names the file and the expected format.

    Parsers raise too many types to list: zipfile alone has ten, and numpy passes on errors of Python's tokenizer. An
    OSError is unchanged if the system can't read the file.
    """
    try:
        yield
    except Exception as err:
        if isinstance(err, FileNotFoundError):
            raise FileNotFoundError(f"There is no file {str(path)!r}; expected {what}") from err
        if isinstance(err, OSError) and err.filename is not None:
            raise
        reason = truncated(" ".join(str(err).split()))
        other_kind = _other_kind(path, err)
        if other_kind:
            reason = f"it is {other_kind}"
        elif type(err) is not ValueError:
            reason = f"it is damaged ({type(err).__name__}: {reason})"
        raise ValueError(f"Can't read {str(path)!r} as {what}: {reason}") from err


def _other_kind(path: str | os.PathLike[str], err: Exception) -> str:
    """Return the format of a file that could not be read as text or as an archive; empty if it is unknown."""
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
    """Truncate a text from outside to 300 characters; a server may send any length."""
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
    """Return the first line of an error that is not empty, or else its type; libraries may append pages of text."""
    for line in str(err).splitlines():
        text = line.strip()
        if text:
            return truncated(text)
    return type(err).__name__


def read_json(path: str | os.PathLike[str], kind: type) -> Any:
    """Read an object or list from a json file; call it within :func:`refusing`."""
    return parse_json(Path(path).read_bytes(), kind)


def parse_json(text: bytes, kind: type) -> Any:
    """Parse an object or list of json."""
    return check_type("content", json.loads(text.decode()), kind)


def check_type(name: str, value: Any, *types: type) -> Any:
    """Return the value if its type is exactly one of ``types`` (True is no integer); ValueError otherwise."""
    if type(value) not in types:
        expected = " or ".join(kind.__name__ for kind in types)
        raise ValueError(f"its {name} is {brief(value)}, expected {expected}")
    return value


# Name of an environment variable, so that worker processes inherit it.
MAX_PIXELS = "TORCHMETRICS_DNA_MAX_PIXELS"
# Largest number of bytes of the header of a DNA, an array or a tar member.
MOST_HEADER = 1 << 22
# Largest number of files per pattern.
MOST_FILES = 1_000_000
# The largest camera sensors have 151 megapixels.
_DEFAULT_PIXELS = "160000000"
_LIFT = f"to read it, set the environment variable {MAX_PIXELS} to a larger number"
# Number of bytes that a file may always unpack to.
_FREE = 64_000_000
# Compression ratio above which a file is taken for a zip bomb.
_MOST_RATIO = 100


def max_pixels() -> int:
    """Return the maximum number of pixels of an image."""
    limit = os.environ.get(MAX_PIXELS, _DEFAULT_PIXELS)
    if not limit.isdecimal():
        raise ValueError(f"Environment variable {MAX_PIXELS} expected to be a number, but got {limit!r}")
    return int(limit)


def most_bytes() -> int:
    """Return the maximum number of bytes of an image, compressed or not: 4 per pixel."""
    return 4 * max_pixels()


def check_pixels(pixels: int) -> None:
    """Raise ValueError if an image has too many pixels."""
    if pixels > max_pixels():
        raise ValueError(beyond(f"Image size ({pixels} pixels) exceeds limit of {max_pixels()} pixels"))


def beyond(fault: str) -> str:
    """Append the remedy, the environment variable, to an error text."""
    return f"{fault}; {_LIFT}"


def check_size(num_bytes: int) -> None:
    """Raise ValueError if a file, or its claimed uncompressed size, exceeds the limit of an image."""
    if num_bytes > most_bytes():
        raise ValueError(
            beyond(f"it has {num_bytes} bytes, more than {most_bytes()} (4 for each pixel that is allowed)")
        )


def check_header(num_bytes: float, what: str) -> None:
    """Raise ValueError if a header exceeds the limit."""
    if num_bytes > MOST_HEADER:
        raise ValueError(f"{what} has {num_bytes:.0f} bytes or more, expected {MOST_HEADER} at most")


def check_files(count: int, pattern: str) -> None:
    """Raise ValueError if a pattern expands to too many files."""
    if count > MOST_FILES:
        raise ValueError(f"{pattern!r} stands for {count:,} files, expected {MOST_FILES:,} at most")


def most_unpacked(file_size: int) -> int:
    """Return the maximum plausible uncompressed size of a file."""
    return _FREE + _MOST_RATIO * file_size


def check_unpacked(file_size: int, num_bytes: int) -> None:
    """Raise ValueError if the claimed uncompressed size of a file is implausible."""
    if num_bytes > most_unpacked(file_size):
        raise ValueError(f"it would unpack from {file_size} to {num_bytes} bytes, as a zip bomb does")
