"""Which images two sets have in common, by their pixels, whatever their files are called or how they are packed."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from torchmetrics_dna.images.loader import load_batches

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from torchmetrics_dna.images.base import ImageSource, Reading
    from torchmetrics_dna.images.pixels import RGBImage

_ANY_SIZE = (8, 8)  # images must be resized to something


@dataclass(frozen=True)
class Content:
    """What each readable image of a set holds.

    Attributes:
        numbers: Where they stand in the source.
        digests: Of their decoded pixels, one each.
        unreadable: One line for each image that can't be read.

    """

    numbers: list[int]
    digests: list[bytes]
    unreadable: list[str]


def contents(
    images: ImageSource, reading: Reading | None = None, progress: Callable[[int], None] | None = None
) -> Content:
    """Digest the pixels of all images.

    Args:
        images: The images.
        reading: Options for reading them.
        progress: Callback after each batch, with the number of images done.

    Raises:
        ValueError: If an image can't be read, unless such are left out.

    """
    found = Content([], [], [])
    for batch in load_batches(images, _ANY_SIZE, reading=reading, notes=_digest):
        found.unreadable.extend(batch.unreadable)
        if batch.numbers:
            found.numbers.extend(batch.numbers)
            found.digests.extend(row.numpy().tobytes() for row in batch.notes["digest"])
        if progress is not None:
            progress(len(found.numbers) + len(found.unreadable))
    return found


def in_common(old: Sequence[bytes], new: Sequence[bytes]) -> list[tuple[int, int]]:
    """Pairs of places with equal digests, each place in one pair at most, the first with the first.

    Example:
        >>> in_common([b"a", b"b", b"a"], [b"a", b"c", b"a", b"a"])
        [(0, 0), (2, 2)]

    """
    waiting = defaultdict[bytes, list[int]](list)
    for place in reversed(range(len(new))):
        waiting[new[place]].append(place)
    return [(place, waiting[digest].pop()) for place, digest in enumerate(old) if waiting[digest]]


def _digest(image: RGBImage) -> dict[str, Tensor]:
    pixels = np.ascontiguousarray(image)
    shape = f"{pixels.dtype} {pixels.shape} ".encode()
    digest = hashlib.blake2b(shape + pixels.tobytes(), digest_size=16).digest()
    return {"digest": torch.frombuffer(bytearray(digest), dtype=torch.uint8)}
