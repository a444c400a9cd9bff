"""Check arguments. This module imports little, so that commands start quickly."""

from __future__ import annotations

from collections.abc import Sized
from typing import Any, get_args

from torchmetrics_dna.options import argument

# Largest number of characters of a value in an error message.
_LONGEST = 80


def brief(value: object) -> str:
    """Return a value in one short line for an error message. A long value is described by its type and size.

    Example:
        >>> brief("x"), brief(list(range(100)))
        ("'x'", 'a list of 100')

    """
    type_name = type(value).__name__
    article = "an" if type_name[0] in "AEIOUaeiou" else "a"
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple):
        return f"{article} {type_name} of shape {tuple(shape)}"
    text = " ".join(repr(value).split())
    if len(text) <= _LONGEST:
        return text
    if isinstance(value, str):
        return f"{text[:_LONGEST]}..."
    if isinstance(value, Sized):
        return f"{article} {type_name} of {len(value)}"
    return f"{article} {type_name}"


def check_bool(name: str, value: object) -> None:
    """Raise ValueError unless an argument is a bool."""
    if not isinstance(value, bool):
        raise ValueError(f"{argument(name)} expected to be a bool, but got {brief(value)}")


def check_one_of(name: str, value: object, choices: Any) -> None:
    """Raise ValueError unless an argument is one of the values of a ``Literal``.

    Args:
        name: Name of the argument.
        value: Its value.
        choices: The ``Literal``.

    """
    allowed = get_args(choices)
    # The value may be a tensor or a list, for which the operator `in` would fail.
    if not isinstance(value, str) or value not in allowed:
        expected = ", ".join(map(repr, allowed))
        raise ValueError(f"{argument(name)} expected to be one of {expected}, but got {brief(value)}")
