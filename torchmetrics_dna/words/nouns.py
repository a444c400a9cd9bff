"""What inputs are called: sentences are written of images, and said of rows of embeddings or of other inputs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from torchmetrics_dna.images.inputs import is_identity

if TYPE_CHECKING:
    from torchmetrics_dna.dna.base import DNA

_IMAGES = r"\b(a)?(?:n )?(?<!RGB )image(s?)\b"


def noun_of(made: DNA) -> str:
    """Return what a DNA was made of: ``"image"``, ``"row"`` of embeddings, or another ``"input"``."""
    if is_identity(made.extractor):
        return "row"
    return "input" if "inputs" in (made.preparation or {}) else "image"


def spoken(text: str, noun: str, names: Sequence[str] = ()) -> str:
    """Return a text about images as one about others; names, such as those of sets, stay as they are.

    Example:
        >>> spoken("An odd image of images.npy is an image of 100 images", "row", ["images.npy"])
        'An odd row of images.npy is a row of 100 rows'

    """
    if noun == "image":
        return text
    article = "an" if noun[0] in "aeiou" else "a"
    unchanged = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True) if name)
    pattern = re.compile(f"({unchanged})|{_IMAGES}" if unchanged else f"(?!)()|{_IMAGES}")
    said = pattern.sub(lambda m: m[1] or f"{f'{article} ' if m[2] else ''}{noun}{m[3]}", text)
    return said.replace("of one colour", "of one value")
