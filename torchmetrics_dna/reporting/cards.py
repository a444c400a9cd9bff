"""Neuron cards as a part of a page."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from torchmetrics_dna.dna.names import in_words
from torchmetrics_dna.files.visible import images_in_words
from torchmetrics_dna.images.properties import PROPERTIES, image_properties
from torchmetrics_dna.reporting.drawing import as_bytes, data_uri, name_within

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from torch import Tensor

    from torchmetrics_dna.images import ImageSource
    from torchmetrics_dna.images.cells import Box
    from torchmetrics_dna.singles.cards import Card, Cards, ImageCrop
    from torchmetrics_dna.singles.class_shares import Classes

_SIDE = 96  # pixels of a crop
_LARGEST = 6000  # bytes of a crop, so that a page of twelve cards stays under 2 MB
_QUALITIES = (75, 50, 25, 10)
_NAMED = 6  # neurons that move together with that of a card

_MOST_CARDS = 3  # that are not folded
_LEAST_CROPS = 4  # of a side, to say that sides look different
# by which crops of two sides look different
_VISIBLE = ("brightness", "contrast", "saturation", "red against green", "blue against yellow", "sharpness")


class CropPicture(NamedTuple):
    """Picture of a crop: a data URI, and its visible properties, shape ``(6,)``."""

    uri: str
    properties: Tensor


Pictures = dict[tuple[str, int, "Box"], CropPicture]


def describe_cards(cards: Cards, explained: bool) -> dict[str, Any]:
    """Return the input of the macro ``cards`` of ``cards.html``: texts, numbers, and pictures as data URIs.

    At most three cards are to be shown, the others folded. One is shown if a neuron of its group has a name, or if the
    crops of A and of B look different, unless a named change explains the difference.

    Args:
        cards: Cards from :func:`~torchmetrics_dna.singles.cards.make_cards`; their images are read once more.
        explained: Whether a named change, such as blur, explains the difference.

    """
    pictures = _pictures(cards)
    chosen = [card for card in cards.cards if _has_name(card) or (not explained and look_different(card, pictures))][
        :_MOST_CARDS
    ]
    described = [describe_card(card) | {"sides": _sides(card, pictures, cards.images)} for card in cards.cards]
    is_chosen = [any(card is shown for shown in chosen) for card in cards.cards]
    return {
        "how": _how(cards),
        "shown": [card for card, shown in zip(described, is_chosen, strict=True) if shown],
        "folded": [card for card, shown in zip(described, is_chosen, strict=True) if not shown],
        "classes": None if cards.classes is None else describe_classes(cards.classes),
    }


def look_different(card: Card, pictures: Pictures) -> bool:
    """True if a visible property separates all crops of A that excite the neuron most from all those of B."""
    sides = [
        torch.stack([pictures[side, crop.number, crop.box].properties for crop in crops])
        for side, crops in card.most.items()
        if len(crops) >= _LEAST_CROPS
    ]
    if len(sides) < 2:
        return False
    (low_a, high_a), (low_b, high_b) = ((values.amin(0), values.amax(0)) for values in sides)
    return bool(((high_a < low_b) | (high_b < low_a)).any())


def _has_name(card: Card) -> bool:
    names = [(card.name, card.neuron), *((similar.name, similar.neuron) for similar in card.others)]
    return any(name != str(number) for name, number in names)


def _how(cards: Cards) -> str:
    samples = " and ".join(
        f"{images_in_words(count)} of {side.upper()}"
        + (f" (of {len(cards.images[side]):,})" if count < len(cards.images[side]) else "")
        for side, count in cards.num_images.items()
    )
    return (
        "A card shows the parts of images that excite one neuron most, the strongest first, and those that excite it"
        f" least, among {samples}."
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


def _sides(card: Card, pictures: Pictures, images: Mapping[str, ImageSource]) -> dict[str, Any]:
    """Return the crops of a card that excite the neuron most and least, by side."""

    def entries(side: str, crops: list[ImageCrop]) -> list[dict[str, Any]]:
        return [
            {
                "image": name_within(images[side], crop.image),
                "activation": crop.activation,
                "picture": pictures[side, crop.number, crop.box].uri,
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
        pixels = as_bytes(cards.images[side][number])
        pictures |= {(side, number, box): crop_picture(pixels, box) for box in boxes}
    return pictures


def crop_picture(pixels: NDArray[np.uint8], box: Box) -> CropPicture:
    """Draw a part of an image, at most 96 pixels wide and high, as a JPEG of about 6,000 bytes or less.

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
    properties = image_properties(torch.tensor(np.asarray(picture)).permute(2, 0, 1)[None])[0]
    return CropPicture(data_uri(file.getvalue(), "jpeg"), properties[[PROPERTIES.index(name) for name in _VISIBLE]])


def _pixels(begin: float, end: float, length: int) -> tuple[int, int]:
    """Return the pixel range of a fraction of a side, at least one pixel."""
    first = min(round(begin * length), length - 1)
    return first, max(first + 1, round(end * length))
