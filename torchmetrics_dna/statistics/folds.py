"""Assign each image to a fold, by a hash of its pixels or of the name of its group."""

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
# Multipliers of the hash. They are those of random number generators with this modulus (Lehmer generators).
_TENSOR_MULTIPLIER = 16_807
_SUM_MULTIPLIER = 48_271
_HASH_MULTIPLIER = 69_621
# Approximate number of values that are sampled from a large image, so that hashing takes about a millisecond.
_PIXELS = 2**18


def input_notes(inputs: Any, num_folds: int | None) -> dict[str, Tensor]:
    """Return values that are computed from one input before it is batched.

    Args:
        inputs: One input of a network, without the batch axis.
        num_folds: Number of folds by content; None if folds are not assigned by content.

    Returns:
        A dict with the ``"digest"`` of the input, and its fold as ``"folds"`` if folds are assigned by content.

    """
    notes = digest_note(inputs)
    if num_folds is not None:
        batch = mapped(lambda tensor: tensor[None], inputs)
        notes["folds"] = content_folds(batch, num_folds, of_images=False)[0]
    return notes


def image_notes(image: Pixels, num_folds: int | None) -> dict[str, Tensor]:
    """Return values that are computed from one image before it is resized.

    Args:
        image: The image, ``(H, W, C)``.
        num_folds: Number of folds by content; None if folds are not assigned by content.

    Returns:
        A dict with the ``"thumbnails"`` of a grey or RGB image, and its fold as ``"folds"`` if folds are assigned by
        content.

    """
    notes = {}
    if image.shape[2] in (1, 3):
        notes["thumbnails"] = thumbnail(image)
    if num_folds is not None:
        step = _step(image.size)
        # The method `copy` makes the transposed pixels contiguous.
        pixels = image[::step, ::step].transpose(2, 0, 1).copy()
        notes["folds"] = content_folds(torch.from_numpy(pixels)[None], num_folds)[0]
    return notes


def group_folds(groups: Sequence[Hashable], num_folds: int) -> Tensor:
    """Return the fold of each image, ``(B,)``. Images of one group share a fold.

    The fold depends only on a digest of the group, not on batch, order or process.
    """
    folds = [_fold_of_group(group, num_folds) for group in groups]
    return torch.tensor(folds, dtype=torch.int64)


def _fold_of_group(group: Hashable, num_folds: int) -> int:
    """Return the fold of a group, from a digest of its name."""
    # The text of a tensor would contain its device.
    name = str(group.tolist() if isinstance(group, Tensor) else group)
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[:6], "big") % num_folds


def _step(size: int) -> int:
    """Return the stride of sampled rows and columns, for an image of ``size`` values."""
    return max(1, math.isqrt(size // _PIXELS))


def content_folds(imgs: Any, num_folds: int, of_images: bool = True) -> Tensor:
    """Return the fold of each image, ``(B,)``. Images of equal pixels share a fold.

    The fold depends only on a hash of the pixels, not on batch, order or process. Metrics and :func:`compare` use this
    function, so that an image has the same fold in both.

    Args:
        imgs: Images before resizing, ``(B, C, H, W)``, uint8, or floating point in [0, 1]; or other inputs.
        num_folds: Number of folds.
        of_images: True for images; False for other inputs, whose bits are hashed.

    """
    tensors = tensors_of(imgs)
    if not len(tensors[0]):
        return torch.zeros(0, dtype=torch.int64)
    hashes: Any = 0
    for tensor in tensors:
        values = tensor.cpu() if lacks_float64(tensor.device) else tensor
        hashed_values = _levels(values) if of_images else [_bits(values)]
        hashes = (hashes * _TENSOR_MULTIPLIER + _hashed(hashed_values)) % _PRIME
    # The last three digits of a hash have no effect on the fold.
    folds: Tensor = (hashes // 1_000 % num_folds).cpu()
    return folds


def _hashed(tensors: Sequence[Tensor]) -> Tensor:
    """Return a hash of each image, ``(B,)``, from one or several tensors ``(B, ...)`` of equal shapes."""
    first = tensors[0]
    places = _places(first[0].numel(), first.device)
    hashes = []
    # Images are hashed one at a time, since float64 takes eight times the memory of uint8.
    for i in range(len(first)):
        # Sums are below 2^53, so they are exact.
        sums = [tensor[i].flatten().double() @ places for tensor in tensors]
        total = torch.stack(sums).sum().long()
        hashes.append(total % _PRIME * _SUM_MULTIPLIER % _PRIME)
    return torch.stack(hashes) * _HASH_MULTIPLIER % _PRIME


@lru_cache(maxsize=4)
def _places(count: int, device: torch.device) -> Tensor:
    """Return the numbers from 1 to ``count``, float64."""
    return torch.arange(1, count + 1, dtype=torch.float64, device=device)


def _levels(imgs: Tensor) -> list[Tensor]:
    """Return a sample of the pixels as levels of 8 bits, and for float32 and float64 also the remainders to 16 bits."""
    step = _step(imgs[0].numel())
    imgs = imgs[..., ::step, ::step]
    if imgs.dtype == torch.uint8:
        return [imgs]
    # The network gets clamped values, too.
    imgs = imgs.clamp(0, 1)
    levels = imgs.float().mul(255).round()
    if imgs.dtype not in (torch.float32, torch.float64):
        return [levels]
    # Images of 16 bits may differ by less than a level of 8 bits.
    remainders = (imgs * 65535).round() - 257 * levels
    return [levels, remainders]


def _bits(values: Tensor) -> Tensor:
    """Return the bytes of each input, ``(B, bytes)``, or the bytes of a sample of its values if there are many."""
    rows = values.detach().reshape(len(values), -1)
    step = 1 + rows.shape[1] // _PIXELS
    return rows[:, ::step].contiguous().view(torch.uint8)
