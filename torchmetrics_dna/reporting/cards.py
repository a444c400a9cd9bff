"""Neuron cards as a part of a page."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from torchmetrics_dna.dna.explanation import in_words
from torchmetrics_dna.files.visible import images_in_words
from torchmetrics_dna.images.properties import PROPERTIES, image_properties
from torchmetrics_dna.reporting.drawing import data_uri

if TYPE_CHECKING:
    from collections.abc import Mapping

    from PIL import Image
    from torch import Tensor

    from torchmetrics_dna.images import ImageSource
    from torchmetrics_dna.singles.cards import Card, Cards, ImageCrop, OtherNeuron

_LARGEST = 6000  # bytes of a crop, so that a page of twelve cards stays under 2 MB
_QUALITIES = (75, 50, 25, 10)
_NAMED = 6  # neurons that move together with that of a card

_MOST_CARDS = 3  # that are not folded
_LEAST_CROPS = 4  # of a side, to say that sides look different
# by which crops of two sides look different
_VISIBLE = ("brightness", "contrast", "saturation", "red against green", "blue against yellow", "sharpness")


def describe_cards(cards: Cards, explained: bool) -> dict[str, Any]:
    """Return the input of the macro ``cards`` of ``cards.html``: texts, numbers, and pictures as data URIs.

    At most three cards are to be shown, the others folded. One is shown if the crops of A and of B look
    different, unless a named change explains the difference.

    Args:
        cards: Cards from :func:`~torchmetrics_dna.singles.cards.make_cards`.
        explained: Whether a named change, such as blur, explains the difference.

    """
    shown = [i for i, card in enumerate(cards.cards) if not explained and look_different(card)]
    described = [describe_card(card) | {"sides": _sides(card, cards.images)} for card in cards.cards]
    return {
        "how": _how(cards),
        "shown": [described[i] for i in shown[:_MOST_CARDS]],
        "folded": [card for i, card in enumerate(described) if i not in shown[:_MOST_CARDS]],
    }


def look_different(card: Card) -> bool:
    """True if a visible property separates all crops of A that excite the neuron most from all those of B."""
    sides = [
        torch.stack([_visible_properties(crop.picture) for crop in crops])
        for crops in card.most.values()
        if len(crops) >= _LEAST_CROPS
    ]
    if len(sides) < 2:
        return False
    (low_a, high_a), (low_b, high_b) = ((values.amin(0), values.amax(0)) for values in sides)
    return bool(((high_a < low_b) | (high_b < low_a)).any())


def _visible_properties(picture: Image.Image) -> Tensor:
    properties = image_properties(torch.tensor(np.asarray(picture)).permute(2, 0, 1)[None])[0]
    return properties[[PROPERTIES.index(name) for name in _VISIBLE]]


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
    others = [_called(neuron) for neuron in card.others]
    return {
        "called": _called(card),
        "higher": card.higher,
        "z": card.z,
        "q": card.q,
        "others": others[:_NAMED],
        "more": len(others[_NAMED:]),
    }


def _called(neuron: Card | OtherNeuron) -> str:
    return in_words(neuron.layer, neuron.neuron)


def _sides(card: Card, images: Mapping[str, ImageSource]) -> dict[str, Any]:
    """Return the crops of a card that excite the neuron most and least, by side."""

    def entries(side: str, crops: list[ImageCrop]) -> list[dict[str, Any]]:
        return [
            {
                "image": images[side].relative_names[crop.number],
                "activation": crop.activation,
                "picture": as_small_file(crop.picture),
            }
            for crop in crops
        ]

    return {
        side: {"most": entries(side, most), "least": entries(side, card.least[side])}
        for side, most in card.most.items()
    }


def as_small_file(picture: Image.Image) -> str:
    """Return a JPEG of at most about 6,000 bytes as a data URI."""
    for quality in _QUALITIES:
        file = BytesIO()
        picture.save(file, "JPEG", quality=quality)
        if file.tell() <= _LARGEST:
            break
    return data_uri(file.getvalue(), "jpeg")
