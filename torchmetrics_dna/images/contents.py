"""Find the images that two sets have in common, by digests of their pixels."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from torchmetrics_dna.images.loader import load_batches

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from torchmetrics_dna.images.base import ImageSource
    from torchmetrics_dna.images.pixels import RGBImage
    from torchmetrics_dna.images.reading import Reading

_ANY_SIZE = (8, 8)  # images must be resized to something


@dataclass(frozen=True)
class Content:
    """Digests of the readable images of a set."""

    numbers: list[int]  # indices in the source
    digests: list[bytes]  # of the decoded pixels of each
    unreadable: list[str]  # one line for each image that can't be read


def contents(images: ImageSource, reading: Reading) -> Content:
    """Digest the pixels of all images."""
    content = Content([], [], [])
    for batch in load_batches(images, _ANY_SIZE, reading=reading, notes=_digest):
        content.unreadable.extend(batch.unreadable)
        if batch.numbers:
            content.numbers.extend(batch.numbers)
            content.digests.extend(row.numpy().tobytes() for row in batch.notes["digest"])
        if reading.progress is not None:
            done = len(content.numbers) + len(content.unreadable)
            reading.progress(f"contents of {images.label}", done, len(images))
    return content


def in_common(old: Sequence[bytes], new: Sequence[bytes]) -> list[tuple[int, int]]:
    """Return pairs of indices with equal digests, matched in order, each index at most once.

    Example:
        >>> in_common([b"a", b"b", b"a"], [b"a", b"c", b"a", b"a"])
        [(0, 0), (2, 2)]

    """
    unmatched = defaultdict[bytes, list[int]](list)
    for index in reversed(range(len(new))):
        unmatched[new[index]].append(index)
    return [(index, unmatched[digest].pop()) for index, digest in enumerate(old) if unmatched[digest]]


def digest_of(image: RGBImage) -> bytes:
    """Return 16 bytes that tell an image ``(H, W, 3)`` from those of other pixels."""
    pixels = np.ascontiguousarray(image)
    return hashlib.blake2b(f"{pixels.dtype} {pixels.shape} ".encode() + pixels.tobytes(), digest_size=16).digest()


def _digest(image: RGBImage) -> dict[str, Tensor]:
    return {"digest": torch.frombuffer(bytearray(digest_of(image)), dtype=torch.uint8)}
