"""How much a file may ask of its reader: pixels, bytes, headers, names; asked before memory is taken for them."""

from __future__ import annotations

import os

MAX_PIXELS = "TORCHMETRICS_DNA_MAX_PIXELS"  # an environment variable, which reaches worker processes by itself
MOST_HEADER = 1 << 22  # bytes that describe one thing: a DNA, an array, a member of a tar
MOST_FILES = 1_000_000  # of one pattern
_DEFAULT_PIXELS = "160000000"  # above the 151 megapixels of the largest camera sensors
_LIFT = f"to read it, set the environment variable {MAX_PIXELS} to a larger number"
# beyond this an honest file does not shrink, but a zip bomb does
_FREE, _MOST_RATIO = 64_000_000, 100


def max_pixels() -> int:
    """The most pixels that an image may have."""
    limit = os.environ.get(MAX_PIXELS, _DEFAULT_PIXELS)
    if not limit.isdecimal():
        raise ValueError(f"Environment variable {MAX_PIXELS} expected to be a number, but got {limit!r}")
    return int(limit)


def most_bytes() -> int:
    """The most bytes that an image may have, packed or not: 4 for each pixel."""
    return 4 * max_pixels()


def check_pixels(pixels: int) -> None:
    """ValueError if an image has more pixels than are allowed."""
    if pixels > max_pixels():
        raise ValueError(beyond(f"Image size ({pixels} pixels) exceeds limit of {max_pixels()} pixels"))


def beyond(fault: str) -> str:
    """A fault that the environment variable lifts, with that remedy."""
    return f"{fault}; {_LIFT}"


def check_size(num_bytes: int) -> None:
    """ValueError if a file, or what a packed one claims to hold, is larger than an image may be."""
    if num_bytes > most_bytes():
        raise ValueError(
            beyond(f"it has {num_bytes} bytes, more than {most_bytes()} (4 for each pixel that is allowed)")
        )


def check_header(num_bytes: float, what: str) -> None:
    """ValueError if what only describes content is longer than any that is needed."""
    if num_bytes > MOST_HEADER:
        raise ValueError(f"{what} has {num_bytes:.0f} bytes or more, expected {MOST_HEADER} at most; write it anew")


def check_files(count: int, pattern: str) -> None:
    """ValueError if a pattern stands for more files than are read as one set."""
    if count > MOST_FILES:
        raise ValueError(f"{pattern!r} stands for {count:,} files, expected {MOST_FILES:,} at most; check its numbers")


def most_unpacked(file_size: int) -> int:
    """The most bytes that an honest packed file of some size unpacks to."""
    return _FREE + _MOST_RATIO * file_size


def check_unpacked(file_size: int, num_bytes: int) -> None:
    """ValueError if what a file says to hold is more than its own size justifies."""
    if num_bytes > most_unpacked(file_size):
        raise ValueError(f"it would unpack from {file_size} to {num_bytes} bytes, as a zip bomb does")
