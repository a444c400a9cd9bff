"""What a damaged file does to its reader, turned into one error."""

from __future__ import annotations

import json
from collections import Counter
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
    """Raise ValueError, in one line that names the file, for whatever goes wrong in reading what it holds.

    Parsers fail in too many ways to list: zipfile alone has ten, numpy lets some of Python's own tokenizer through.

    Args:
        path: The file.
        what: What it is read as.

    Raises:
        OSError: As it was, if the system can't give what is in the file.
        ValueError: For all else.

    """
    try:
        yield
    except Exception as err:
        if isinstance(err, OSError) and err.filename is not None:
            raise
        reason = shortened(" ".join(str(err).split()))
        if type(err) is not ValueError:
            reason = f"it is damaged ({type(err).__name__}: {reason})"
        raise ValueError(f"Can't read {str(path)!r} as {what}: {reason}") from err


def shortened(text: str) -> str:
    """The first 300 characters of a text that others wrote; a server may send any length."""
    return text if len(text) <= _MOST_REASON else f"{text[:_MOST_REASON]}..."


def reason_of(err: Exception) -> str:
    """What went wrong, in one short line.

    Example:
        >>> reason_of(KeyError("image"))
        "KeyError: 'image'"

    """
    reason = " ".join(str(err).split())
    if not reason or isinstance(err, LookupError):
        reason = f"{type(err).__name__}: {reason}".removesuffix(": ")
    return shortened(reason)


def read_json(path: str | os.PathLike[str], kind: type) -> Any:
    """The object or list in a json file; to be called within :func:`refusing`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: Or something else, if it holds anything else, or a key twice.

    """
    return parse_json(Path(path).read_bytes(), kind)


def parse_json(text: bytes, kind: type) -> Any:
    """Likewise, of what was read."""
    return check_type("content", json.loads(text.decode(), object_pairs_hook=_once), kind)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise ValueError(f"it has the key {twice!r} twice")
    return found


def check_type(name: str, value: Any, *types: type) -> Any:
    """The value, if it is of one of these types to the letter (True is no integer); ValueError otherwise."""
    if type(value) not in types:
        expected = " or ".join(kind.__name__ for kind in types)
        raise ValueError(f"its {name} is {brief(value)}, expected {expected}")
    return value
