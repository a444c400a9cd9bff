"""Nouns for the measured items: images, rows of embeddings, or other inputs. This module does not import torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Name of the feature that uses embeddings without a network. A colon and the name of the model that computed the
# embeddings may follow.
IDENTITY = "identity"
ROW = "row"


def is_identity(feature: object) -> bool:
    """Return True for the feature that uses embeddings, with or without the name of a model.

    Example:
        >>> is_identity("identity"), is_identity("identity:clip-vit-b32"), is_identity("resnet18")
        (True, True, False)

    """
    return isinstance(feature, str) and feature.partition(":")[0] == IDENTITY


def noun_of(made: Any) -> str:
    """Return the noun for the measured items: ``"image"``, ``"row"`` (of embeddings), or ``"input"``.

    Args:
        made: A feature, an extractor, or an object with the name of an extractor and its preparation, such as a DNA.
            A feature may also be the value of ``"feature"`` in a dict.

    Example:
        >>> noun_of("identity:clip-vit-b32"), noun_of({"feature": "resnet18"}), noun_of(None)
        ('row', 'image', 'image')

    """
    if isinstance(made, Mapping):
        made = made.get("feature")
    if getattr(made, "example", None) is not None:
        return str(made.example.noun)
    if is_identity(getattr(made, "extractor", made)):
        return ROW
    preparation = getattr(made, "preparation", None)
    if preparation and "inputs" in preparation:
        return "input"
    return "image"


def value_of(noun: str) -> str:
    """Return the noun for the only value of a constant image or input, as in "an image of a single colour".

    Example:
        >>> value_of("image"), value_of("row"), value_of("input")
        ('colour', 'value', 'value')

    """
    return "colour" if noun == "image" else "value"
