"""Find images that are the same, or alike.

Equal ones have equal digests of their pixels. Near-duplicates, which are frames of a clip or copies, mirrored or not,
have nearly equal thumbnails, and the same details: pages of other words, and charts of other figures, are no copies,
however alike they look when small. Images of hardly more than one colour, such as blank tiles, look alike without being
copies, and are left out.

The likeness of two pictures, whatever their size, mirrored or cropped, is the correlation of their pixels, aligned.
Compression, noise, blur, resizing, and other brightness or contrast hardly change it; other colours do. A picture of
hardly more than one colour, or of no more than a smooth gradient, is like any other, so it has none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import affine_grid, avg_pool2d, grid_sample

from torchmetrics_dna.images.inputs import Inputs, tensors_of
from torchmetrics_dna.images.loader import load_batches
from torchmetrics_dna.images.pixels import Pixels, as_bytes, as_rgb

if TYPE_CHECKING:
    from torchmetrics_dna.images.reading import Reading
    from torchmetrics_dna.images.sets import ImageSource

_ANY_SIZE = (8, 8)  # images must be resized to something
_SIDE = 12  # pixels of a thumbnail in colour
_COLOURS = 3 * _SIDE**2  # its values
_FINE = 2 * _SIDE  # pixels of a thumbnail in grey, for details
THUMBNAIL = _COLOURS + _FINE**2  # values of both
_NEAR = 5.0  # RMS difference, of 256 levels: frames 1 pixel of 200 apart; 2 of 120 photographs
_NEAR_OF_PLAIN = 0.5  # the same at most, in deviations of the plainer picture from one colour
_SAME_DETAILS = 0.75  # correlation: copies of half the size, among others, have more; forms filled in otherwise 0.61
_EQUAL_DETAILS = 0.95  # the same of details that all images may have, such as frames of a camera at rest
_SEVERAL = 10  # images of a set, from which what they have in common is that of the set
_NO_DETAILS = 2.0  # RMS, of 256 levels: below it, compression decides how details correlate; forms have 3.0
_BLANK = 2.0  # RMS difference from one colour, of 256 levels: the plainest of 120 photographs has 3.0
MOST = 20_000  # images of a side
_ROWS = 512  # images at a time
_ROUNDED = 1.001  # beyond rounding
SIDE = 32  # pixels of a small picture
PICTURE = 3 * SIDE**2  # its values
_COARSE = SIDE // 2  # pixels at which pictures are compared
_SCALES = {0.9: 3, 0.8: 4, 0.7: 4}  # side of a crop, and the places tried along an axis
_STEPS = (0.06, 0.03, 0.015, 0.0075)  # of scale and place, by which the best crop is searched on
_LIKELY = 0.7  # correlation before the best crop is searched, below which two pictures are not alike
_PLAIN = 2.0  # levels of 256: deviation of pixels from a smooth gradient, below which a picture shows nothing


def _cut(pictures: Tensor, crops: Tensor) -> Tensor:
    """Cut a crop out of each picture ``(n, 3, SIDE, SIDE)``, ``(n, values)``.

    A row of crops is width, height, and offset of the middle to the right and down, as shares of the picture's; one row
    is for all pictures.
    """
    width, height, right, down = crops.expand(len(pictures), 4).unbind(1)
    zero = torch.zeros_like(width)
    rows = [torch.stack(row, -1) for row in ((width, zero, right), (zero, height, down))]
    grid = affine_grid(torch.stack(rows, -2), [len(pictures), 3, SIDE, SIDE], align_corners=False)
    cut = grid_sample(pictures, grid, align_corners=False, padding_mode="border")
    return avg_pool2d(cut, SIDE // _COARSE).flatten(1)


@cache
def _all_crops() -> Tensor:
    """Return the crops that are tried first, a row each; the whole is the first."""
    crops = [(1.0, 1.0, 0.0, 0.0)]
    for scale, places in _SCALES.items():
        offsets = np.linspace(scale - 1, 1 - scale, places).tolist()
        crops += [(scale, scale, right, down) for right in offsets for down in offsets]
    return torch.tensor(crops)


@cache
def _smooth() -> Tensor:
    """Return an orthonormal basis of gradients up to squares, each of one channel, ``(18, values)``."""
    y, x = torch.meshgrid(*(torch.linspace(-1, 1, _COARSE, dtype=torch.float64),) * 2, indexing="ij")
    terms = torch.stack([torch.ones_like(x), x, y, x * y, x.square(), y.square()]).flatten(1)
    basis = torch.linalg.qr(terms.T).Q.T
    return torch.kron(torch.eye(3, dtype=torch.float64), basis).float()


def small(image: Pixels, side: int) -> Tensor:
    """Reduce an image, grey or RGB, uint8 or in [0, 1], to a few pixels: uint8, shape ``(3 * side**2,)``, red first."""
    step = max(1, min(image.shape[:2]) // 256)
    pixels = np.ascontiguousarray(as_rgb(as_bytes(image[::step, ::step])))
    reduced = Image.fromarray(pixels).resize((side, side), Image.Resampling.BOX)
    return torch.from_numpy(np.asarray(reduced).transpose(2, 0, 1).reshape(-1).copy())


def small_picture(image: Pixels) -> Tensor:
    """Reduce an image to the picture whose likeness to others is computed, ``(PICTURE,)``."""
    return small(image, SIDE)


def thumbnail(image: Pixels) -> Tensor:
    """Reduce an image to the thumbnails by which near-duplicates are found, in colour and in grey, ``(THUMBNAIL,)``."""
    fine = small(image, _FINE).view(3, _FINE, _FINE).float()
    return torch.cat([avg_pool2d(fine, 2).flatten(), fine.mean(0).flatten()]).round().to(torch.uint8)


def likeness(a: Tensor, b: Tensor) -> Tensor:
    """Compute the likeness of pairs of small pictures, uint8, ``(pairs, PICTURE)``: float32, ``(pairs,)``.

    From -1 to 1, it is the largest correlation of their pixels over mirrored pictures, and over crops of either; the
    smaller one of that of all pixels and that of what a smooth gradient leaves. NaN where a picture shows nothing.

    Example:
        >>> picture = torch.randint(0, 256, (1, PICTURE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        >>> mirrored = picture.view(3, SIDE, SIDE).flip(2).reshape(1, -1)
        >>> likeness(picture, mirrored)
        tensor([1.])

    """
    first, second = (side.view(-1, 3, SIDE, SIDE).float() for side in (a, b))
    aligned, swapped = _aligned(first, second), _aligned(second, first)
    swaps = swapped[0] > aligned[0]
    best = [torch.where(swaps.view(-1, *[1] * (x.ndim - 1)), y, x) for x, y in zip(aligned, swapped, strict=True)]
    values = best[0]
    likely = (values > _LIKELY).nonzero()[:, 0]
    if not len(likely):
        return values
    correlation, crops, targets, pictures = (part[likely] for part in best)
    for step, axis, sign in product(_STEPS, range(4), (1, -1)):  # move a side or an offset where that is better
        moved = crops.clone()
        moved[:, axis] += sign * step
        moved[:, :2].clamp_(max=1)
        moved[:, 2:] = torch.minimum(moved[:, 2:].abs(), 1 - moved[:, :2]) * moved[:, 2:].sign()
        moved_correlation = _correlation(targets, _cut(pictures, moved))
        better = moved_correlation > correlation
        crops = torch.where(better[:, None], moved, crops)
        correlation = torch.where(better, moved_correlation, correlation)
    details = _correlation(_detail(targets), _detail(_cut(pictures, crops)), _PLAIN)
    values[likely] = torch.minimum(correlation, details)
    return values


def _aligned(whole: Tensor, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Find the crop of each picture that is most like the whole of another, or its mirror image.

    Return the correlation of each pair, the crop, ``(n, 4)``, its target, ``(n, values)``, and the picture.
    """
    crops = _all_crops()
    targets = [_cut(each, crops[:1]) for each in (whole, whole.flip(3))]
    all_correlations = []
    for crop in crops[:, None]:
        cut = _cut(pictures, crop)
        all_correlations += [_correlation(target, cut) for target in targets]
    correlation, best = torch.stack(all_correlations).max(0)
    target = torch.where((best % 2 == 1)[:, None], targets[1], targets[0])
    return correlation, crops[best // 2], target, pictures


def _detail(values: Tensor) -> Tensor:
    """Return what is left of pictures without their smooth gradients."""
    return values - values @ _smooth().T @ _smooth()


def _correlation(a: Tensor, b: Tensor, least: float = 0.0) -> Tensor:
    """Return the correlation of rows; NaN where the deviation of one is ``least`` or less."""
    a, b = (side - side.mean(1, keepdim=True) for side in (a, b))
    norms = a.norm(dim=1), b.norm(dim=1)
    plain = torch.minimum(*norms) <= least * a.shape[1] ** 0.5
    correlation = (a * b).sum(1) / (norms[0] * norms[1]).clamp(min=1e-6)
    return correlation if not least else torch.where(plain, torch.nan, correlation)


class Content(NamedTuple):
    """Digests of the readable images of a set."""

    numbers: list[int]  # indices in the source
    digests: list[bytes]  # of the decoded pixels of each
    unreadable: list[str]  # one line for each image that can't be read


def contents(images: ImageSource, reading: Reading, channels: int) -> Content:
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
    parts: list[Any] = [image] if isinstance(image, np.ndarray) else tensors_of(image)
    for part in parts:
        values = part
        if isinstance(part, Tensor):
            # Only values that lie one after the other can be viewed as bytes. A row of a transposed array does not.
            values = part.cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        blake.update(f"{part.dtype} {tuple(part.shape)} ".encode())
        blake.update(values.tobytes())
    return blake.digest()


def digest_note(image: Pixels | Inputs) -> dict[str, Tensor]:
    """Return the digest of an image, or another input, as a note of a job."""
    return {"digest": torch.frombuffer(bytearray(digest_of(image)), dtype=torch.uint8)}


def near_duplicates(thumbnails: Tensor, others: Tensor, folds: Tensor | None = None) -> Tensor | None:
    """Find a near-duplicate of each image among others: its row, -1 for none; None if there are more than ``MOST``.

    What all images have in common, such as the lines of a form, is no detail by which copies are told, unless all is.
    Thumbnails are uint8, ``(n, THUMBNAIL)`` and ``(m, THUMBNAIL)``. Of images with ``folds``, ``(n + m,)``, only those
    of different ones are compared.
    """
    if max(len(thumbnails), len(others)) > MOST:
        return None
    rows = torch.full((len(thumbnails),), -1)
    folds = torch.arange(len(thumbnails) + len(others)) if folds is None else folds
    at, others_at = map(_by_brightness, (thumbnails, others))
    if not len(at) or not len(others_at):
        return rows
    sides = thumbnails[at], others[others_at]
    of_images, of_others = folds[: len(thumbnails)][at], folds[len(thumbnails) :][others_at]
    sums, other_sums = (side[:, :_COLOURS].sum(1) for side in sides)
    coarse = [_coarse(side) for side in sides]
    fine = [side[:, _COLOURS:].float() for side in sides]
    commons = [(side if len(side) >= _SEVERAL else torch.cat(fine)).mean(0) for side in fine]
    for start in range(0, len(at), _ROWS):
        part = slice(start, start + _ROWS)
        # brightness and coarse colours of copies are near, too, which spares most pairs the rest
        ends = sums[part][[0, -1]] + torch.tensor([-1, 1]) * (_NEAR * _COLOURS + 1)
        window = slice(*torch.searchsorted(other_sums, ends).tolist())
        close = torch.cdist(coarse[0][part], coarse[1][window]) <= _NEAR * _COLOURS**0.5 * _ROUNDED
        close &= of_images[part, None] != of_others[window]
        near, their = start + close.any(1).nonzero()[:, 0], window.start + close.any(0).nonzero()[:, 0]
        if len(near):
            their = their[others_at[their].argsort()]  # the first of equals is found
            together = of_images[near, None] == of_others[their]
            least, nearest = _far(sides[0][near], sides[1][their], commons, together).min(1)
            rows[at[near]] = torch.where(least <= _NEAR**2 * _COLOURS, others_at[their][nearest], -1)
    return rows


def _by_brightness(thumbnails: Tensor) -> Tensor:
    """Return the rows of thumbnails of more than one colour, dark ones first."""
    rows = (_deviations(thumbnails) > _BLANK).nonzero()[:, 0]
    return rows[thumbnails[rows, :_COLOURS].sum(1).argsort()]


def _deviations(thumbnails: Tensor) -> Tensor:
    """Return the deviation of each thumbnail from one colour, of 256 levels."""
    colours = thumbnails[:, :_COLOURS].reshape(len(thumbnails), 3, _SIDE**2).float()
    deviations: Tensor = (colours - colours.mean(2, keepdim=True)).square().mean((1, 2)).sqrt()
    return deviations


def _coarse(thumbnails: Tensor) -> Tensor:
    """Return numbers of each thumbnail that are no further apart than colours are, mirrored or not, ``(n, values)``."""
    colours = thumbnails[:, :_COLOURS].reshape(-1, 3, _SIDE, _SIDE).float() - 128
    even = (colours + colours.flip(3))[..., : _SIDE // 2]
    return (avg_pool2d(even, 2) * 2**0.5).flatten(1)  # means of 8 pixels, times the root of their number


def _far(thumbnails: Tensor, others: Tensor, commons: Sequence[Tensor], together: Tensor) -> Tensor:
    """Return squared distances of colours, ``(n, m)``; infinite for other details, and for images of one fold."""
    sides = thumbnails.float(), others.float()
    a, b = (side[:, :_COLOURS] - 128 for side in sides)
    far = a.square().sum(1)[:, None] + b.square().sum(1) - 2 * _products(a, b, _SIDE)
    plainer = torch.minimum(_deviations(thumbnails)[:, None], _deviations(others))
    together = together | (far > (_NEAR_OF_PLAIN * plainer).square() * _COLOURS)
    near, their = ((far.masked_fill(together, torch.inf) <= _NEAR**2 * _COLOURS).any(axis) for axis in (1, 0))
    fine = sides[0][near, _COLOURS:], sides[1][their, _COLOURS:]
    a, b = (_details(side - common) for side, common in zip(fine, commons, strict=True))
    alike = _products(a, b, _FINE) >= _SAME_DETAILS
    alike |= _products(_details(fine[0]), _details(fine[1]), _FINE) >= _EQUAL_DETAILS
    alike |= ~(a.any(1)[:, None] & b.any(1))
    same = near[:, None] & their
    return far.masked_fill(~same.masked_scatter(same, alike) | together, torch.inf)


def _details(fine: Tensor) -> Tensor:
    """Return details of grey thumbnails, finer than those in colour, ``(n, values)``, of norm 1; 0 where none show."""
    pictures = fine.view(-1, 1, _FINE, _FINE)
    details = (pictures - avg_pool2d(pictures, 2).repeat_interleave(2, 2).repeat_interleave(2, 3)).flatten(1)
    norms = details.norm(dim=1, keepdim=True)
    return torch.where(norms > _NO_DETAILS * _FINE, details / norms, 0)


def _products(a: Tensor, b: Tensor, side: int) -> Tensor:
    """Return products of pictures of ``side`` pixels, ``(n, m)``, as they are or mirrored: the larger ones.

    Mirroring changes the sign of what is odd, so both take no more products than one.
    """
    pictures = [rows.view(len(rows), rows.shape[1] // side, side) for rows in (a, b)]
    halves = [(rows[..., : side // 2], rows.flip(2)[..., : side // 2]) for rows in pictures]
    even, odd = ([(left + sign * right).flatten(1) for left, right in halves] for sign in (1, -1))
    return (even[0] @ even[1].T + (odd[0] @ odd[1].T).abs()) / 2
