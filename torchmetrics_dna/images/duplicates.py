"""Find images that are the same: equal ones by digests of their pixels, near-duplicates by small thumbnails.

Near-duplicates are frames of a clip or copies. Images of hardly more than one colour, such as blank tiles, look alike
without being copies; they are left out.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from torchmetrics_dna.images.inputs import tensors_of
from torchmetrics_dna.images.loader import load_batches
from torchmetrics_dna.images.pixels import as_bytes, as_rgb

if TYPE_CHECKING:
    from torchmetrics_dna.images.base import ImageSource
    from torchmetrics_dna.images.inputs import Inputs
    from torchmetrics_dna.images.pixels import Pixels
    from torchmetrics_dna.images.reading import Reading

_ANY_SIZE = (8, 8)  # images must be resized to something
_SIDE = 12
THUMBNAIL = 3 * _SIDE**2  # values of a thumbnail
_NEAR = 5.0  # RMS difference, of 256 levels: frames 1 pixel of 200 apart; 2 of 120 photographs
_BLANK = 2.0  # RMS difference from one colour, of 256 levels: the plainest of 120 photographs has 3.0
MOST = 20_000  # images of a side, which take 7 seconds on two cores
_ROWS = 1024  # images at a time


class Content(NamedTuple):
    """Digests of the readable images of a set."""

    numbers: list[int]  # indices in the source
    digests: list[bytes]  # of the decoded pixels of each
    unreadable: list[str]  # one line for each image that can't be read


def contents(images: ImageSource, reading: Reading, channels: int = 3) -> Content:
    """Digest the pixels of all images, decoded to so many channels."""
    content = Content([], [], [])
    for batch in load_batches(images, _ANY_SIZE, reading=reading, channels=channels, notes=digest_note):
        content.unreadable.extend(batch.unreadable)
        if batch.numbers:
            content.numbers.extend(batch.numbers)
            content.digests.extend(row.numpy().tobytes() for row in batch.notes["digest"])
        if reading.progress is not None:
            done = len(content.numbers) + len(content.unreadable)
            reading.progress(f"contents of {images.label}", done, len(images))
    return content


def digest_of(image: Pixels | Inputs) -> bytes:
    """Return 16 bytes that tell an image ``(H, W, C)``, or another input, from those of other pixels."""
    blake = hashlib.blake2b(digest_size=16)
    for part in [image] if isinstance(image, np.ndarray) else tensors_of(image):
        bits = part if isinstance(part, np.ndarray) else part.cpu().reshape(-1).view(torch.uint8).numpy()
        blake.update(f"{part.dtype} {tuple(part.shape)} ".encode() + bits.tobytes())
    return blake.digest()


def digest_note(image: Pixels | Inputs) -> dict[str, Tensor]:
    """Return the digest of an image, or another input, as a note of a job."""
    return {"digest": torch.frombuffer(bytearray(digest_of(image)), dtype=torch.uint8)}


def thumbnail(image: Pixels) -> Tensor:
    """Reduce an image, grey or RGB, uint8 or in [0, 1], to a thumbnail, uint8, shape ``(THUMBNAIL,)``."""
    step = max(1, min(image.shape[:2]) // 256)
    pixels = np.ascontiguousarray(as_rgb(as_bytes(image[::step, ::step])))
    small = Image.fromarray(pixels).resize((_SIDE, _SIDE), Image.Resampling.BOX)
    return torch.from_numpy(np.asarray(small).reshape(-1).copy())


def near_duplicates(thumbnails: Tensor, others: Tensor, apart: Tensor | None = None) -> int | None:
    """Count the images that have a near-duplicate among others; None if there are more than ``MOST``.

    Images of one colour are none.

    Thumbnails are uint8, ``(n, THUMBNAIL)`` and ``(m, THUMBNAIL)``. With ``apart``, the folds of both, ``(n + m,)``,
    only images of different folds are compared.
    """
    if max(len(thumbnails), len(others)) > MOST:
        return None
    count, shown, others_shown = 0, _has_content(thumbnails), _has_content(others)
    if apart is not None:
        apart = torch.cat([apart[: len(thumbnails)][shown], apart[len(thumbnails) :][others_shown]])
    thumbnails, others = thumbnails[shown], others[others_shown]
    b = others.float() - 128
    squares = b.square().sum(1)
    for start in range(0, len(thumbnails), _ROWS):
        a = thumbnails[start : start + _ROWS].float() - 128
        near = (a.square().sum(1)[:, None] + squares - 2 * a @ b.T) <= _NEAR**2 * THUMBNAIL
        if apart is not None:
            near &= apart[start : start + len(a), None] != apart[len(thumbnails) :]
        count += int(near.any(1).sum())
    return count


def _has_content(thumbnails: Tensor) -> Tensor:
    """True for images of more than one colour."""
    colours = thumbnails.reshape(len(thumbnails), _SIDE**2, 3).float()
    deviations: Tensor = (colours - colours.mean(1, keepdim=True)).square().mean((1, 2)).sqrt()
    return deviations > _BLANK
