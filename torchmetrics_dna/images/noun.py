"""What is measured: images, rows of embeddings, or other inputs; asked before torch is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

IDENTITY = "identity"  # the feature that takes embeddings as they are; a colon and the model that made them may follow
ROW = "row"


def is_identity(feature: object) -> bool:
    """True for the name of the feature of embeddings, with or without the model that made them.

    Example:
        >>> is_identity("identity"), is_identity("identity:clip-vit-b32"), is_identity("resnet18")
        (True, True, False)

    """
    return isinstance(feature, str) and feature.partition(":")[0] == IDENTITY


def noun_of(made: Any) -> str:
    """Return what was measured: ``"image"``, ``"row"`` of embeddings, or another ``"input"``.

    It is told by a feature, an extractor, or what has the name of one and its preparation, such as a DNA.

    Example:
        >>> noun_of("identity:clip-vit-b32"), noun_of({"feature": "resnet18"}), noun_of(None)
        ('row', 'image', 'image')

    """
    made = made.get("feature") if isinstance(made, Mapping) else made
    if getattr(made, "example", None) is not None:
        return str(made.example.noun)
    if is_identity(getattr(made, "extractor", made)):
        return ROW
    return "input" if "inputs" in (getattr(made, "preparation", None) or {}) else "image"


def value_of(noun: str) -> str:
    """Return what an image, or another input, has only one of if it is constant.

    Example:
        >>> value_of("image"), value_of("row"), value_of("input")
        ('colour', 'value', 'value')

    """
    return "colour" if noun == "image" else "value"
