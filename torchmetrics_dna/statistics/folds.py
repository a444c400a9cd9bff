"""The fold of each image: by a hash of its pixels, or by its group."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Hashable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from torchmetrics_dna.images.inputs import mapped, tensors_of
from torchmetrics_dna.images.likeness import digest_note, thumbnail
from torchmetrics_dna.images.tensors import lacks_float64

if TYPE_CHECKING:
    from torchmetrics_dna.images.pixels import Pixels

# Modulus of the hash: the Mersenne prime 2**31 - 1.
_PRIME = 2_147_483_647
# Number of pixels that are sampled from a large image, so that hashing takes about a millisecond.
_PIXELS = 2**18


def input_notes(inputs: Any, num_folds: int | None) -> dict[str, Tensor]:
    """Return the ``"digest"`` of one input, without the batch axis, and its ``"folds"`` if folds depend on content."""
    notes = digest_note(inputs)
    if num_folds is not None:
        batch = mapped(lambda tensor: tensor[None], inputs)
        notes["folds"] = content_folds(batch, num_folds, of_images=False)[0]
    return notes


def image_notes(image: Pixels, num_folds: int | None) -> dict[str, Tensor]:
    """Return notes on an image ``(H, W, C)``, not resized.

    They are its ``"thumbnails"`` if it is grey or RGB, and its ``"folds"`` by content if these are so many.
    """
    notes = {}
    if image.shape[2] in (1, 3):
        notes["thumbnails"] = thumbnail(image)
    if num_folds is not None:
        step = _step(image.size)
        # The copy is contiguous.
        pixels = image[::step, ::step].transpose(2, 0, 1).copy()
        notes["folds"] = content_folds(torch.from_numpy(pixels)[None], num_folds)[0]
    return notes


def group_folds(groups: Sequence[Hashable], num_folds: int) -> Tensor:
    """Return the fold of each image by a digest of its group, ``(B,)``, independent of batch, order and process."""
    # a tensor's text has its device
    names = [group.tolist() if isinstance(group, Tensor) else group for group in groups]
    digests = [hashlib.sha256(str(name).encode(errors="surrogatepass")).digest() for name in names]
    return torch.tensor([int.from_bytes(digest[:6], "big") % num_folds for digest in digests], dtype=torch.int64)


def _step(size: int) -> int:
    """Return the stride of sampled rows and columns for an image of ``size`` numbers."""
    return max(1, math.isqrt(size // _PIXELS))


def content_folds(imgs: Any, num_folds: int, of_images: bool = True) -> Tensor:
    """Return the fold of each image by a hash of its pixels, shape ``(B,)``, independent of batch, order and process.

    Metrics and :func:`compare` share this function, so that an image has the same fold in both.

    Args:
        imgs: Original images, not resized, ``(B, C, H, W)``, uint8, or floating point in [0, 1]; or other inputs.
        num_folds: Number of folds.
        of_images: False for other inputs, whose bits are hashed.

    """
    tensors = tensors_of(imgs)
    if not len(tensors[0]):
        return torch.zeros(0, dtype=torch.int64)
    hashes: Any = 0
    for tensor in tensors:
        on_device = tensor.cpu() if lacks_float64(tensor.device) else tensor
        parts = _levels(on_device) if of_images else [_bits(on_device)]
        hashes = (hashes * 16_807 + _hashed(parts)) % _PRIME
    folds: Tensor = (hashes // 1_000 % num_folds).cpu()
    return folds


def _hashed(parts: Sequence[Tensor]) -> Tensor:
    """Return a hash of each row of some tensors of one shape."""
    places = _places(parts[0][0].numel(), parts[0].device)
    hashes = []
    # Rows are taken one at a time, since float64 takes eight times the memory of uint8.
    for i in range(len(parts[0])):
        # Sums are below 2^53, so they are exact.
        sums = [part[i].flatten().double() @ places for part in parts]
        total = torch.stack(sums).sum().long()
        hashes.append(total % _PRIME * 48_271 % _PRIME)
    return torch.stack(hashes) * 69_621 % _PRIME


@lru_cache(maxsize=4)
def _places(count: int, device: torch.device) -> Tensor:
    """Return the numbers from 1, float64."""
    return torch.arange(1, count + 1, dtype=torch.float64, device=device)


def _levels(imgs: Tensor) -> list[Tensor]:
    """Return a sample of the pixels as levels of 8 bits, and the rest of levels of 16 bits for floating point."""
    step = _step(imgs[0].numel())
    imgs = imgs[..., ::step, ::step]
    if imgs.dtype == torch.uint8:
        return [imgs]
    # The network also gets clamped values.
    imgs = imgs.clamp(0, 1)
    levels = imgs.float().mul(255).round()
    if imgs.dtype not in (torch.float32, torch.float64):
        return [levels]
    # Images of 16 bits may differ by less than a level of 8 bits.
    rest = (imgs * 65535).round() - 257 * levels
    return [levels, rest]


def _bits(values: Tensor) -> Tensor:
    """Return the bytes of each row, or of a sample of its values if there are many."""
    rows = values.detach().reshape(len(values), -1)
    step = 1 + rows.shape[1] // _PIXELS
    return rows[:, ::step].contiguous().view(torch.uint8)
