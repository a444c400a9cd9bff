"""Neuron cards as a part of a page."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from torchmetrics_dna.dna.names import in_words
from torchmetrics_dna.files.visible import images_in_words
from torchmetrics_dna.reporting.drawing import data_uri

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from torchmetrics_dna.images import ImageSource
    from torchmetrics_dna.images.boxes import Box
    from torchmetrics_dna.singles.cards import Card, Cards, ImageCrop
    from torchmetrics_dna.singles.class_shares import Classes

_SIDE = 96  # pixels of a crop
_LARGEST = 6000  # bytes of a crop, so that a page of twelve cards stays under 2 MB
_QUALITIES = (75, 50, 25, 10)
_NAMED = 6  # neurons that move together with that of a card

Pictures = dict[tuple[str, int, "Box"], str]


def describe_cards(cards: Cards) -> dict[str, Any]:
    """Return the input of the macro ``cards`` of ``cards.html``: texts, numbers, and pictures as data URIs.

    Args:
        cards: Cards from :func:`~torchmetrics_dna.singles.cards.make_cards`; their images are read once more.

    """
    pictures = _pictures(cards)
    folders = {side: f"{Path(source.label)}/" for side, source in cards.images.items()}
    return {
        "how": _how(cards),
        "cards": [describe_card(card) | {"sides": _sides(card, pictures, folders)} for card in cards.cards],
        "classes": None if cards.classes is None else describe_classes(cards.classes),
    }


def _how(cards: Cards) -> str:
    samples = " and ".join(
        f"{images_in_words(count)} of {side.upper()}"
        + (f" (of {len(cards.images[side]):,})" if count < len(cards.images[side]) else "")
        for side, count in cards.num_images.items()
    )
    return (
        "Each card is of one neuron. It shows the parts of images that excite the neuron most, the strongest first, and"
        f" those that excite it least, among {samples}."
    )


def describe_card(card: Card) -> dict[str, Any]:
    """Return the texts and numbers of a card, without its pictures."""
    others = [
        in_words(neuron.layer, neuron.neuron, _named(neuron.layer, neuron.neuron, neuron.name))
        for neuron in card.others
    ]
    return {
        "called": in_words(card.layer, card.neuron, _named(card.layer, card.neuron, card.name)),
        "higher": card.higher,
        "z": card.z,
        "q": card.q,
        "others": others[:_NAMED],
        "more": len(others[_NAMED:]),
    }


def _sides(card: Card, pictures: Pictures, folders: Mapping[str, str]) -> dict[str, Any]:
    """Return the crops of a card that excite the neuron most and least, by side."""

    def entries(side: str, crops: list[ImageCrop]) -> list[dict[str, Any]]:
        return [
            {
                "image": crop.image.removeprefix(folders[side]),
                "activation": crop.activation,
                "picture": pictures[side, crop.number, crop.box],
            }
            for crop in crops
        ]

    return {
        side: {"most": entries(side, most), "least": entries(side, card.least[side])}
        for side, most in card.most.items()
    }


def _named(layer: str, neuron: int, name: str) -> dict[str, dict[int, str]]:
    return {layer: {neuron: name}}


def describe_classes(classes: Classes) -> dict[str, Any]:
    """Return a sentence and the rows of a table on predicted classes."""
    rows = [{**share._asdict(), "more": side} for side, shares in classes.more.items() for share in shares]
    parts = [
        f"more in {side.upper()} of {', '.join(share.name for share in shares)}"
        for side, shares in classes.more.items()
        if shares
    ]
    return {
        "rows": rows,
        "sentence": f"The network's own classifier sees {'; '.join(parts) or 'much the same in both'}.",
    }


def _pictures(cards: Cards) -> Pictures:
    """Draw each crop, by side, index of the image and box; each image is read once."""
    wanted: dict[tuple[str, int], set[Box]] = {}
    for card in cards.cards:
        for part in (card.most, card.least):
            for side, crops in part.items():
                for crop in crops:
                    wanted.setdefault((side, crop.number), set()).add(crop.box)
    pictures: Pictures = {}
    for (side, number), boxes in wanted.items():
        pixels = _read(cards.images, side, number)
        pictures |= {(side, number, box): crop_picture(pixels, box) for box in boxes}
    return pictures


def _read(images: Mapping[str, ImageSource], side: str, number: int) -> NDArray[np.uint8]:
    pixels = images[side][number]
    return np.asarray(pixels if pixels.dtype == np.uint8 else 255 * pixels).round().astype(np.uint8)


def crop_picture(pixels: NDArray[np.uint8], box: Box) -> str:
    """Draw a part of an image, at most 96 pixels wide and high, as the data URI of a JPEG of about 6,000 bytes or less.

    Args:
        pixels: Shape ``(H, W, 3)``.
        box: Left, top, right and bottom as fractions of the image.

    """
    height, width = pixels.shape[:2]
    left, right = _pixels(box[0], box[2], width)
    top, bottom = _pixels(box[1], box[3], height)
    picture = Image.fromarray(pixels[top:bottom, left:right])
    picture.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    for quality in _QUALITIES:
        file = BytesIO()
        picture.save(file, "JPEG", quality=quality)
        if file.tell() <= _LARGEST:
            break
    return data_uri(file.getvalue(), "jpeg")


def _pixels(begin: float, end: float, length: int) -> tuple[int, int]:
    """Return the pixel range of a fraction of a side, at least one pixel."""
    first = min(round(begin * length), length - 1)
    return first, max(first + 1, round(end * length))
