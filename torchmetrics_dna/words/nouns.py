"""What inputs are called: sentences are written of images, and said of rows of embeddings or of other inputs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

_IMAGES = (
    r"(?<![\w/\\.'\"-])([Aa])?(?:n )?(?<!RGB )([Ii])mage(s?)(?![\w/\\\"-]|\.\w|'(?!s\b))"  # neither in names nor paths
)
_ALSO = {"of one colour": "of one value", "other pixels": "other values"}


def spoken(text: str, noun: str, names: Sequence[str] = ()) -> str:
    """Return a text about images as one about others; names, such as those of sets, stay as they are, and paths do.

    Example:
        >>> spoken("An odd image of images.npy is an image of 100 images", "row", ["images.npy"])
        'An odd row of images.npy is a row of 100 rows'

    """
    if noun == "image":
        return text
    end = "n" if noun[0] in "aeiou" else ""
    unchanged = "|".join(re.escape(name) for name in sorted(names, reverse=True) if name) or "(?!)"

    def said(match: re.Match[str]) -> str:
        name, article, first, plural = match.groups("")
        called = noun.capitalize() if first == "I" else noun
        return name or f"{f'{article}{end} ' if article else ''}{called}{plural}"

    text = re.sub(f"({unchanged})|{_IMAGES}", said, text)
    for words, others in _ALSO.items():
        text = text.replace(words, others)
    return text


@contextmanager
def speaking(noun: str) -> Iterator[None]:
    """Say errors of this block of what is measured."""
    try:
        yield
    except (TypeError, ValueError, RuntimeError) as err:
        if err.args and isinstance(err.args[0], str):
            err.args = spoken(err.args[0], noun), *err.args[1:]
        raise
