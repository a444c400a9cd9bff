"""Images that a page shows: some drawn at random, the differences of partners, and those least like the other side."""

from __future__ import annotations

import math
import re
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from torchmetrics_dna.images.pixels import as_bytes
from torchmetrics_dna.jobs.features import contrasted
from torchmetrics_dna.reporting.drawing import heat_picture, place_of, thumbnail
from torchmetrics_dna.singles.ranking import heat_maps

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from torchmetrics_dna.images import ImageSource
    from torchmetrics_dna.singles.cards import Cards
    from torchmetrics_dna.statistics.scores import ImageScorer

    Pixels = NDArray[np.uint8]

_UNLIKE = 6  # images least like the other side; each goes through the network once more, for its map
_MAPPED = (0.01, 0.99)  # quantiles of the maps of a side: ends of their scale, beyond which are few places
_FLAT = 1e-9  # spread of a flat map, relative to the largest value: rounding
_MOST = 8  # images of a strip
_CLIPPED = 0.01  # of the values of the differences, at most


class StripImage(NamedTuple):
    """Image of a strip: its name, and a thumbnail as a data URI."""

    name: str
    picture: str


class Strips(NamedTuple):
    """Strips of images.

    Attributes:
        sides: Images drawn at random, by side: of equal sides the same numbers, or else partners.
        differences: Absolute differences of partners; empty unless images correspond.
        gain: Factor by which the differences are multiplied.

    """

    sides: dict[str, list[StripImage]]
    differences: list[StripImage]
    gain: int


def make_strips(cards: Cards, partners: Sequence[int] | None) -> Strips:
    """Draw images of each side with one permutation of numbers, and make thumbnails.

    Args:
        cards: Cards, which hold the images that could be read.
        partners: Index in B of the partner of each image of A; None unless images correspond.

    """
    order = torch.randperm(max(map(len, cards.images.values())), generator=torch.Generator().manual_seed(0)).tolist()
    readable = {side: set(sample.numbers) for side, sample in cards.samples.items()}
    if partners is None:
        drawn = {side: [i for i in order if i in readable[side]][:_MOST] for side in cards.images}
        sides = {side: _thumbnails([_read(cards.images[side], i) for i in numbers]) for side, numbers in drawn.items()}
        return Strips(sides, [], 1)
    a, b = cards.images["a"], cards.images["b"]
    pairs = list(islice(_read_pairs(a, b, order, readable["a"], partners), _MOST))
    sides = {side: _thumbnails([pair[i] for pair in pairs]) for i, side in enumerate("ab")}
    differences = [_difference(first, second) for (_, first), (_, second) in pairs]
    gain = _gain(differences)
    amplified = [np.minimum(gain * difference.astype(int), 255).astype(np.uint8) for difference in differences]
    names = [name for _, (name, _) in pairs]
    return Strips(sides, _thumbnails(list(zip(names, amplified, strict=True))), gain)


def _read_pairs(
    a: ImageSource, b: ImageSource, order: Sequence[int], readable: set[int], partners: Sequence[int]
) -> Iterator[tuple[tuple[str, Pixels], tuple[str, Pixels]]]:
    """Read pairs of images in this order; those of which one can't be read are left out."""
    for i in order:
        if i in readable:
            with suppress(ValueError):
                yield _read(a, i), _read(b, partners[i])


def _read(source: ImageSource, number: int) -> tuple[str, Pixels]:
    return source.relative_names[number], as_bytes(source[number])


def _thumbnails(images: Sequence[tuple[str, Pixels]]) -> list[StripImage]:
    return [StripImage(name, thumbnail(image)) for name, image in images]


def _difference(a: Pixels, b: Pixels) -> Pixels:
    """Return the absolute difference of two images, in the size of the smaller."""
    height, width = min(a.shape[:2], b.shape[:2], key=math.prod)
    resized = [
        np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC), dtype=int)
        for image in (a, b)
    ]
    difference: Pixels = np.abs(resized[1] - resized[0]).astype(np.uint8)
    return difference


def _gain(differences: Sequence[NDArray[Any]]) -> int:
    """Return the largest power of two that clips no more than a hundredth of the values."""
    values = np.concatenate([difference.ravel() for difference in differences])
    largest = float(np.quantile(values, 1 - _CLIPPED))
    return int(2 ** max(0, math.floor(math.log2(255 / max(largest, 1)))))


def least_like(cards: Cards, side: str, scorer: ImageScorer) -> dict[str, Any]:
    """Return the sampled images of a side that are least like the other side, and their maps on one scale.

    Args:
        cards: Cards, which hold the samples, with their ``"distances"`` to the other side and to their own.
        side: ``"a"`` or ``"b"``.
        scorer: Scorer that measured them.

    """
    images, sample = cards.images[side], cards.samples[side]
    order = contrasted(sample.rows["distances"]).argsort(stable=True).flip(0)[:_UNLIKE].tolist()
    numbers = [sample.numbers[i] for i in order]
    maps = heat_maps(scorer, images, numbers)
    ends, shown = _ends(maps), []
    for number, heat in zip(numbers, maps, strict=True):
        name, pixels = images.relative_names[number], images[number]
        shown.append(
            {
                "name": name,
                "parts": re.findall(r"[^/_.-]*[/_.-]?", name),
                "picture": thumbnail(pixels),
                "map": ends and heat_picture(pixels, heat, ends, scorer.extractor.crop),
                "where": place_of(heat),
            }
        )
    counts = {"count": len(sample.names), "whole": len(images)}
    return {"letter": side, "images": shown, "ends": ends, **counts}


def _ends(maps: Tensor) -> tuple[float, float] | None:
    """Return the ends of the scale of maps; None if all are flat, as those of layers without positions are."""
    spread = maps.amax((1, 2)) - maps.amin((1, 2))
    if bool((spread <= _FLAT * maps.abs().amax()).all()):
        return None
    low, high = maps.flatten().quantile(torch.tensor(_MAPPED, dtype=maps.dtype)).tolist()
    return low, high
