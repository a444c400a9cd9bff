"""Find near-duplicates, such as frames of a clip or copies, by small thumbnails.

Images of hardly more than one colour, such as blank tiles, look alike without being copies; they are left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from torchmetrics_dna.images.pixels import as_bytes

if TYPE_CHECKING:
    from torchmetrics_dna.images.pixels import RGBImage

_SIDE = 12
THUMBNAIL = 3 * _SIDE**2  # values of a thumbnail
_NEAR = 5.0  # RMS difference, of 256 levels: frames 1 pixel of 200 apart; 2 of 120 photographs
_BLANK = 2.0  # RMS difference from one colour, of 256 levels: the plainest of 120 photographs has 3.0
MOST = 20_000  # images of a side, which take 7 seconds on two cores
_ROWS = 1024


def thumbnail(image: RGBImage) -> Tensor:
    """Reduce an image ``(H, W, 3)``, uint8 or in [0, 1], to a thumbnail, uint8, shape ``(THUMBNAIL,)``."""
    step = max(1, min(image.shape[:2]) // 256)
    pixels = np.ascontiguousarray(as_bytes(image[::step, ::step]))
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
