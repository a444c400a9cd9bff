"""Convert errors of damaged files to one kind of error."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from reprlib import repr as brief
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

_MOST_REASON = 300


@contextmanager
def refusing(path: str | os.PathLike[str], what: str) -> Iterator[None]:
    """Convert any error of parsing a file to a ValueError of one line that names the file and the expected format.

    Parsers raise too many types to list: zipfile alone has ten, and numpy passes on errors of Python's tokenizer. An
    OSError is unchanged if the system can't read the file.
    """
    try:
        yield
    except Exception as err:
        if isinstance(err, OSError) and err.filename is not None:
            raise
        reason = truncated(" ".join(str(err).split()))
        if type(err) is not ValueError:
            reason = f"it is damaged ({type(err).__name__}: {reason})"
        raise ValueError(f"Can't read {str(path)!r} as {what}: {reason}") from err


def truncated(text: str) -> str:
    """Truncate a foreign text to 300 characters; a server may send any length."""
    return text if len(text) <= _MOST_REASON else f"{text[:_MOST_REASON]}..."


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
