"""Find duplicates and near-duplicates of images, and compute the similarity of pictures.

Duplicates have equal digests of their pixels.

Near-duplicates are frames of a clip, or copies, mirrored or not. They have nearly equal thumbnails and the same
details. Pages of different words and charts of different figures are therefore no near-duplicates, although their
thumbnails may be. Images of hardly more than one colour, such as blank tiles, are never near-duplicates.

The similarity (``likeness``) of two pictures of any size is the correlation of their pixels after alignment. It is
computed for the mirrored picture and for crops, too. Compression, noise, blur, resizing, brightness and contrast hardly
change it. Colours do. It is NaN for pictures that show nothing: hardly more than one colour, or a smooth gradient.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
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


@dataclass(frozen=True)
class _Settings:
    """Sizes and limits of this module.

    Those of near-duplicates were chosen by docs/experiments/nearly_equal.py, on pages, forms, charts and tiles, and on
    changed copies of these. Those of similarity were chosen by docs/experiments/likeness.py, on photographs, drawings
    and portraits. Differences are in grey levels of 256.
    """

    # Near-duplicates.

    # Pixels of a side of a thumbnail in colour.
    colour_side: int = 12
    # Pixels of a side of a thumbnail in grey, for details.
    grey_side: int = 24
    # Largest RMS difference of colours. Frames that are 1 pixel of 200 apart reach it, and so do 2 of 120 photographs.
    most_difference: float = 5.0
    # The same limit relative to the contrast of the picture with less contrast.
    most_relative_difference: float = 0.5
    # Smallest correlation of details that the set does not have in common. Copies of half the size have more, and
    # forms that are filled in differently have 0.61.
    least_detail_correlation: float = 0.75
    # Smallest correlation of all details. Frames of a camera at rest have only details in common.
    least_full_detail_correlation: float = 0.95
    # Number of images of a set from which its common details are computed without the other set.
    least_images: int = 10
    # RMS of details below which compression decides how they correlate. Forms have 3.0.
    least_details: float = 2.0
    # RMS difference from one colour, up to which an image is left out. The smallest of 120 photographs is 3.0.
    least_contrast: float = 2.0
    # Images of the first set that are compared at a time. This bounds the memory of the distances.
    rows_at_once: int = 512
    # Factor of limits for prefilters, which must not exclude a pair because of rounding.
    rounding: float = 1.001

    # Similarity.

    # Pixels of a side at which pictures are compared.
    compared_side: int = 16
    # Sides of the crops that are tried first, as shares of the picture, and the number of offsets along each axis.
    crops: tuple[tuple[float, int], ...] = ((0.9, 3), (0.8, 4), (0.7, 4))
    # Steps of size and offset by which the best crop is refined, as shares of the picture.
    steps: tuple[float, ...] = (0.06, 0.03, 0.015, 0.0075)
    # Correlation from which the best crop is refined. Below it, two pictures are not similar.
    least_correlation: float = 0.7
    # RMS difference from a smooth gradient, up to which a picture shows nothing.
    least_deviation: float = 2.0


_SETTINGS = _Settings()
# Number of values of a thumbnail in colour, which come first.
_COLOURS = 3 * _SETTINGS.colour_side**2
# Number of values of a thumbnail in colour and in grey.
THUMBNAIL = _COLOURS + _SETTINGS.grey_side**2
# Pixels of a side of a small picture, and the number of its values.
SIDE = 32
PICTURE = 3 * SIDE**2
# Number of images of a set up to which near-duplicates are searched: the time grows with its square.
MOST = 20_000
# Digests need no resized images, but loading requires a size.
_ANY_SIZE = (8, 8)


class _Alignment(NamedTuple):
    """Crops of pictures and the targets that they are compared with, one per pair of pictures.

    Attributes:
        correlations: Correlation of each crop and its target, ``(pairs,)``.
        crops: The crops, see :func:`_cut`, ``(pairs, 4)``.
        targets: The other pictures as a whole, mirrored or not, ``(pairs, values)``.
        pictures: The pictures that are cropped, ``(pairs, 3, SIDE, SIDE)``.

    """

    correlations: Tensor
    crops: Tensor
    targets: Tensor
    pictures: Tensor

    def take(self, pairs: Tensor) -> _Alignment:
        """Select pairs by their index."""
        return _Alignment(*(part[pairs] for part in self))


def _cut(pictures: Tensor, crops: Tensor) -> Tensor:
    """Cut a crop out of each picture ``(n, 3, SIDE, SIDE)``, and reduce it to ``(n, values)``.

    A crop is a row of width, height, and offset of its centre to the right and down, as shares of the picture. A single
    row is used for all pictures.
    """
    width, height, right, down = crops.expand(len(pictures), 4).unbind(1)
    zero = torch.zeros_like(width)
    first_row = torch.stack([width, zero, right], -1)
    second_row = torch.stack([zero, height, down], -1)
    transforms = torch.stack([first_row, second_row], -2)
    grid = affine_grid(transforms, [len(pictures), 3, SIDE, SIDE], align_corners=False)
    cut = grid_sample(pictures, grid, align_corners=False, padding_mode="border")
    return avg_pool2d(cut, SIDE // _SETTINGS.compared_side).flatten(1)


@cache
def _all_crops() -> Tensor:
    """Return the crops that are tried first, one per row; the first is the whole picture."""
    crops = [(1.0, 1.0, 0.0, 0.0)]
    for scale, num_offsets in _SETTINGS.crops:
        offsets = np.linspace(scale - 1, 1 - scale, num_offsets).tolist()
        crops += [(scale, scale, right, down) for right in offsets for down in offsets]
    return torch.tensor(crops)


@cache
def _smooth() -> Tensor:
    """Return an orthonormal basis of polynomials of degree 2 in each channel, ``(18, values)``."""
    axis = torch.linspace(-1, 1, _SETTINGS.compared_side, dtype=torch.float64)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    terms = torch.stack([torch.ones_like(x), x, y, x * y, x.square(), y.square()]).flatten(1)
    basis = torch.linalg.qr(terms.T).Q.T
    return torch.kron(torch.eye(3, dtype=torch.float64), basis).float()


def small(image: Pixels, side: int) -> Tensor:
    """Reduce an image to a few pixels.

    Args:
        image: Grey or RGB image ``(H, W, C)``, uint8 or in [0, 1].
        side: Height and width of the result.

    Returns:
        The pixels, uint8, ``(3 * side**2,)``: all of red, then green, then blue.

    """
    # Skipping pixels is fast, and 256 pixels per side are enough for the averages that follow.
    step = max(1, min(image.shape[:2]) // 256)
    pixels = np.ascontiguousarray(as_rgb(as_bytes(image[::step, ::step])))
    reduced = Image.fromarray(pixels).resize((side, side), Image.Resampling.BOX)
    channels_first = np.asarray(reduced).transpose(2, 0, 1)
    return torch.from_numpy(channels_first.reshape(-1).copy())


def small_picture(image: Pixels) -> Tensor:
    """Reduce an image to the small picture from which its similarity to others is computed, ``(PICTURE,)``."""
    return small(image, SIDE)


def thumbnail(image: Pixels) -> Tensor:
    """Reduce an image to the thumbnails that find near-duplicates, in colour and in grey, ``(THUMBNAIL,)``."""
    side = _SETTINGS.grey_side
    fine = small(image, side).view(3, side, side).float()
    in_colour = avg_pool2d(fine, side // _SETTINGS.colour_side)
    in_grey = fine.mean(0)
    return torch.cat([in_colour.flatten(), in_grey.flatten()]).round().to(torch.uint8)


def likeness(a: Tensor, b: Tensor) -> Tensor:
    """Compute the similarity of pairs of small pictures.

    The similarity is the largest correlation of the pixels of both, over mirrored pictures and over crops of either.
    For similar pictures, it is the smaller of this correlation and the correlation of the pixels without their smooth
    gradients.

    Args:
        a: Small pictures, uint8, ``(pairs, PICTURE)``.
        b: The other picture of each pair, likewise.

    Returns:
        Similarities from -1 to 1, float32, ``(pairs,)``; NaN where a picture shows nothing.

    Example:
        >>> picture = torch.randint(0, 256, (1, PICTURE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        >>> mirrored = picture.view(3, SIDE, SIDE).flip(2).reshape(1, -1)
        >>> likeness(picture, mirrored)
        tensor([1.])

    """
    first = a.view(-1, 3, SIDE, SIDE).float()
    second = b.view(-1, 3, SIDE, SIDE).float()
    alignment = _better(_aligned(first, second), _aligned(second, first))
    similarities = alignment.correlations
    similar = (similarities > _SETTINGS.least_correlation).nonzero()[:, 0]
    if len(similar) == 0:
        return similarities
    refined = _refined(alignment.take(similar))
    crops = _cut(refined.pictures, refined.crops)
    of_details = _correlation(_detail(refined.targets), _detail(crops), _SETTINGS.least_deviation)
    similarities[similar] = torch.minimum(refined.correlations, of_details)
    return similarities


def _aligned(whole: Tensor, pictures: Tensor) -> _Alignment:
    """Find the crop of each picture that correlates most with the whole of another picture, or its mirror image."""
    crops = _all_crops()
    targets = _cut(whole, crops[:1])
    mirrored_targets = _cut(whole.flip(3), crops[:1])
    all_correlations = []
    for crop in crops[:, None]:
        cut = _cut(pictures, crop)
        all_correlations.append(_correlation(targets, cut))
        all_correlations.append(_correlation(mirrored_targets, cut))
    correlations, best = torch.stack(all_correlations).max(0)
    is_mirrored = best % 2 == 1
    best_targets = torch.where(is_mirrored[:, None], mirrored_targets, targets)
    return _Alignment(correlations, crops[best // 2], best_targets, pictures)


def _better(a: _Alignment, b: _Alignment) -> _Alignment:
    """Return the alignment with the larger correlation of each pair."""
    is_second = b.correlations > a.correlations
    parts = []
    for of_a, of_b in zip(a, b, strict=True):
        condition = is_second.view(-1, *[1] * (of_a.ndim - 1))
        parts.append(torch.where(condition, of_b, of_a))
    return _Alignment(*parts)


def _refined(alignment: _Alignment) -> _Alignment:
    """Improve crops by coordinate search: change a size or an offset by a step wherever this raises the correlation."""
    correlations = alignment.correlations
    crops = alignment.crops
    for step, column, sign in product(_SETTINGS.steps, range(4), (1, -1)):
        moved = crops.clone()
        moved[:, column] += sign * step
        sizes = moved[:, :2].clamp_(max=1)
        offsets = moved[:, 2:]
        # A crop must lie within the picture.
        moved[:, 2:] = torch.minimum(offsets.abs(), 1 - sizes) * offsets.sign()
        moved_correlations = _correlation(alignment.targets, _cut(alignment.pictures, moved))
        is_better = moved_correlations > correlations
        crops = torch.where(is_better[:, None], moved, crops)
        correlations = torch.where(is_better, moved_correlations, correlations)
    return alignment._replace(correlations=correlations, crops=crops)


def _detail(values: Tensor) -> Tensor:
    """Subtract the smooth gradients of pictures, ``(n, values)``."""
    return values - values @ _smooth().T @ _smooth()


def _correlation(a: Tensor, b: Tensor, least_deviation: float = 0.0) -> Tensor:
    """Compute the correlation of corresponding rows.

    If ``least_deviation`` is above 0, it is NaN where the standard deviation of a row is not larger.
    """
    a = a - a.mean(1, keepdim=True)
    b = b - b.mean(1, keepdim=True)
    norms_a = a.norm(dim=1)
    norms_b = b.norm(dim=1)
    correlations: Tensor = (a * b).sum(1) / (norms_a * norms_b).clamp(min=1e-6)
    if least_deviation == 0:
        return correlations
    shows_nothing = torch.minimum(norms_a, norms_b) <= least_deviation * a.shape[1] ** 0.5
    return torch.where(shows_nothing, torch.nan, correlations)


class Content(NamedTuple):
    """Digests of the readable images of a set.

    Attributes:
        numbers: Indices of the images in the source.
        digests: Digest of the decoded pixels of each image.
        unreadable: One line for each image that can't be read.

    """

    numbers: list[int]
    digests: list[bytes]
    unreadable: list[str]


def contents(images: ImageSource, reading: Reading, channels: int) -> Content:
    """Compute the digests of all images, decoded to so many channels."""
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
    """Return a digest of 16 bytes of the type, shape and values of an image ``(H, W, C)`` or another input."""
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
    """Find a near-duplicate of each image among others.

    Details that all images of a set have in common, such as the lines of a form, are ignored, unless all details of two
    images are equal.

    Args:
        thumbnails: Thumbnails of the images, uint8, ``(n, THUMBNAIL)``.
        others: Thumbnails of the others, uint8, ``(m, THUMBNAIL)``.
        folds: Fold of each of the images, then of each of the others, ``(n + m,)``. Images of the same fold are not
            compared. By default, all images are compared with all others.

    Returns:
        The row of a near-duplicate of each image among the others, -1 for none, ``(n,)``. None if there are more than
        ``MOST`` of either.

    """
    if max(len(thumbnails), len(others)) > MOST:
        return None
    if folds is None:
        folds = torch.arange(len(thumbnails) + len(others))
    duplicates = torch.full((len(thumbnails),), -1)
    images = _by_brightness(thumbnails, folds[: len(thumbnails)])
    candidates = _by_brightness(others, folds[len(thumbnails) :])
    if not len(images.rows) or not len(candidates.rows):
        return duplicates
    common = _common_details(images, candidates)
    common_of_candidates = _common_details(candidates, images, is_second=True)
    for start in range(0, len(images.rows), _SETTINGS.rows_at_once):
        part = images.take(slice(start, start + _SETTINGS.rows_at_once))
        window = candidates.take(_of_similar_brightness(part, candidates))
        is_close = torch.cdist(part.coarse, window.coarse) <= _MOST_COARSE
        is_close &= part.folds[:, None] != window.folds
        part = part.take(is_close.any(1).nonzero()[:, 0])
        window = window.take(is_close.any(0).nonzero()[:, 0])
        if not len(part.rows):
            continue
        # Of equal candidates, the first one of the set is found.
        window = window.take(window.rows.argsort())
        distances = _duplicate_distances(part, window, common, common_of_candidates)
        smallest, columns = distances.min(1)
        duplicates[part.rows] = torch.where(smallest <= _MOST_SQUARED, window.rows[columns], -1)
    return duplicates


# Largest Euclidean distance of reduced thumbnails of near-duplicates, and their largest squared distance of colours.
_MOST_COARSE = _SETTINGS.most_difference * _COLOURS**0.5 * _SETTINGS.rounding
_MOST_SQUARED = _SETTINGS.most_difference**2 * _COLOURS


class _Thumbnails(NamedTuple):
    """Thumbnails of a set, from dark to bright, without those of hardly more than one colour.

    Attributes:
        rows: Their rows in the set.
        values: Their values, uint8, ``(n, THUMBNAIL)``.
        folds: Fold of each.
        sums: Sum of the colours of each.
        coarse: Reduced colours, see :func:`_coarse`.

    """

    rows: Tensor
    values: Tensor
    folds: Tensor
    sums: Tensor
    coarse: Tensor

    @property
    def colours(self) -> Tensor:
        """Values of the thumbnails in colour, float32, from -128 to 127."""
        return self.values[:, :_COLOURS].float() - 128

    @property
    def grey(self) -> Tensor:
        """Values of the thumbnails in grey, float32."""
        return self.values[:, _COLOURS:].float()

    def take(self, entries: slice | Tensor) -> _Thumbnails:
        """Select entries, in this order."""
        return _Thumbnails(*(part[entries] for part in self))


def _by_brightness(thumbnails: Tensor, folds: Tensor) -> _Thumbnails:
    """Sort thumbnails by brightness, and leave out those of hardly more than one colour."""
    rows = (_deviations(thumbnails) > _SETTINGS.least_contrast).nonzero()[:, 0]
    rows = rows[thumbnails[rows, :_COLOURS].sum(1).argsort()]
    values = thumbnails[rows]
    return _Thumbnails(rows, values, folds[rows], values[:, :_COLOURS].sum(1), _coarse(values))


def _of_similar_brightness(part: _Thumbnails, candidates: _Thumbnails) -> slice:
    """Return the range of candidates whose brightness allows them to be near-duplicates of a part of the images.

    Near-duplicates have a similar sum of colours, which excludes most pairs without computing their distance.
    """
    margin = _SETTINGS.most_difference * _COLOURS + 1
    darkest_and_brightest = part.sums[[0, -1]] + torch.tensor([-1, 1]) * margin
    first, last = torch.searchsorted(candidates.sums, darkest_and_brightest).tolist()
    return slice(first, last)


def _deviations(thumbnails: Tensor) -> Tensor:
    """Return the RMS difference of each thumbnail from its mean colour, in grey levels."""
    colours = thumbnails[:, :_COLOURS].reshape(len(thumbnails), 3, _SETTINGS.colour_side**2).float()
    deviations: Tensor = (colours - colours.mean(2, keepdim=True)).square().mean((1, 2)).sqrt()
    return deviations


def _coarse(thumbnails: Tensor) -> Tensor:
    """Reduce thumbnails to fewer values, ``(n, values)``, whose distances are lower bounds of those of colours.

    Mirroring a thumbnail does not change these values.
    """
    side = _SETTINGS.colour_side
    colours = thumbnails[:, :_COLOURS].reshape(-1, 3, side, side).float() - 128
    symmetric = (colours + colours.flip(3))[..., : side // 2]
    # Each value is the sum of 8 pixels divided by the root of 8. Pooling 2 x 2 sums of 2 pixels divides by 4.
    return (avg_pool2d(symmetric, 2) * 2**0.5).flatten(1)


def _common_details(thumbnails: _Thumbnails, others: _Thumbnails, is_second: bool = False) -> Tensor:
    """Return the mean of the thumbnails in grey, or the mean of both sets if there are too few thumbnails.

    ``is_second`` tells which set comes first in that mean, since the order of a sum changes its last bit.
    """
    grey = thumbnails.grey
    if len(grey) < _SETTINGS.least_images:
        both = [others.grey, grey] if is_second else [grey, others.grey]
        grey = torch.cat(both)
    return grey.mean(0)


def _duplicate_distances(
    images: _Thumbnails, candidates: _Thumbnails, common: Tensor, common_of_candidates: Tensor
) -> Tensor:
    """Return squared distances of colours, ``(n, m)``; infinite for pairs of one fold, or with other details."""
    a = images.colours
    b = candidates.colours
    distances = a.square().sum(1)[:, None] + b.square().sum(1) - 2 * _products(a, b, _SETTINGS.colour_side)
    contrast = torch.minimum(_deviations(images.values)[:, None], _deviations(candidates.values))
    is_excluded = images.folds[:, None] == candidates.folds
    is_excluded |= distances > (_SETTINGS.most_relative_difference * contrast).square() * _COLOURS
    is_close = distances.masked_fill(is_excluded, torch.inf) <= _MOST_SQUARED
    # Details are only compared for images with a close candidate, and for candidates with a close image.
    rows = is_close.any(1)
    columns = is_close.any(0)
    has_same_details = _have_same_details(images.grey[rows], candidates.grey[columns], common, common_of_candidates)
    is_compared = rows[:, None] & columns
    is_duplicate = is_compared.masked_scatter(is_compared, has_same_details) & ~is_excluded
    return distances.masked_fill(~is_duplicate, torch.inf)


def _have_same_details(grey: Tensor, other_grey: Tensor, common: Tensor, other_common: Tensor) -> Tensor:
    """Return whether each pair of thumbnails in grey has the same details, or one of them has none, ``(n, m)``."""
    side = _SETTINGS.grey_side
    own_details = _details(grey - common)
    other_own_details = _details(other_grey - other_common)
    are_same = _products(own_details, other_own_details, side) >= _SETTINGS.least_detail_correlation
    full_correlations = _products(_details(grey), _details(other_grey), side)
    are_same |= full_correlations >= _SETTINGS.least_full_detail_correlation
    both_have_details = own_details.any(1)[:, None] & other_own_details.any(1)
    return are_same | ~both_have_details


def _details(fine: Tensor) -> Tensor:
    """Return the details of thumbnails in grey that their colours lack, ``(n, values)``, of norm 1; 0 for too few."""
    side = _SETTINGS.grey_side
    pictures = fine.view(-1, 1, side, side)
    smooth = avg_pool2d(pictures, 2).repeat_interleave(2, 2).repeat_interleave(2, 3)
    details = (pictures - smooth).flatten(1)
    norms = details.norm(dim=1, keepdim=True)
    return torch.where(norms > _SETTINGS.least_details * side, details / norms, 0)


def _products(a: Tensor, b: Tensor, side: int) -> Tensor:
    """Return scalar products of pictures of ``side`` pixels, ``(n, m)``; those of mirrored pictures where larger.

    A picture is the sum of a symmetric and an antisymmetric part, and a product the sum of the products of these parts.
    Mirroring one picture changes the sign of the second product.
    """
    symmetric_a, antisymmetric_a = _symmetric_parts(a, side)
    symmetric_b, antisymmetric_b = _symmetric_parts(b, side)
    return (symmetric_a @ symmetric_b.T + (antisymmetric_a @ antisymmetric_b.T).abs()) / 2


def _symmetric_parts(values: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Return the left halves of the symmetric and of the antisymmetric parts of pictures, times 2."""
    pictures = values.view(len(values), values.shape[1] // side, side)
    left = pictures[..., : side // 2]
    right = pictures.flip(2)[..., : side // 2]
    return (left + right).flatten(1), (left - right).flatten(1)
