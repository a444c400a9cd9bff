"""Find duplicates and near-duplicates of images, and compute the similarity of images.

Duplicates have equal digests of their pixels.

Near-duplicates are similar frames of a clip, or copies of an image, mirrored or not. They have nearly equal thumbnails
and the same details. Thumbnails alone are not enough: pages with different words, or charts of different data, may have
nearly equal thumbnails. Images with a nearly uniform colour, such as blank tiles, are never near-duplicates.

The similarity (``likeness``) of two images is the correlation of their pixels after alignment. The images may have
different sizes. The similarity is also computed for mirror images and crops. Compression, noise, blur, resizing,
brightness and contrast hardly change the similarity, but colours do. It is NaN if two images correlate, but one of them
has no content: its colour is nearly uniform, or it is a smooth gradient.
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
    """Sizes and thresholds of this module. Differences are in grey levels from 0 to 255.

    The values for near-duplicates were chosen by docs/experiments/nearly_equal.py, with pages, forms, charts and tiles,
    and with changed copies of them. The values for similarity were chosen by docs/experiments/likeness.py, with
    photographs, drawings and portraits.
    """

    # Near-duplicates.

    # Height and width of a colour thumbnail.
    colour_side: int = 12
    # Height and width of a greyscale thumbnail, which shows details.
    grey_side: int = 24
    # Largest RMS difference of colour thumbnails. Frames that are moved by 1 of 200 pixels have this difference, and so
    # do 2 of 120 photographs.
    most_difference: float = 5.0
    # Largest RMS difference of colour thumbnails, relative to the contrast of the thumbnail with less contrast.
    most_relative_difference: float = 0.5
    # Smallest correlation of details, without the details that are common to a set. Copies of half the size have a
    # larger correlation, and forms with different entries have 0.61.
    least_detail_correlation: float = 0.75
    # Smallest correlation of all details. It is required because all details of frames of a static camera are common.
    least_full_detail_correlation: float = 0.95
    # Smallest number of images of a set from which its common details are computed. In smaller sets, the images of the
    # other set are used, too.
    least_images: int = 10
    # RMS of details below which they are ignored, because compression would determine their correlation. That of forms
    # is 3.0.
    least_details: float = 2.0
    # RMS difference from the mean colour, up to which an image is left out. The smallest of 120 photographs is 3.0.
    least_contrast: float = 2.0
    # Number of images of the first set that are compared at a time. This limits the memory of the distances.
    rows_at_once: int = 512
    # Factor for the thresholds of prefilters, which must not exclude a pair because of rounding.
    rounding: float = 1.001

    # Similarity.

    # Height and width at which images are compared.
    compared_side: int = 16
    # Sizes of the crops that are tried first, as shares of the image, and the number of offsets along each axis.
    crops: tuple[tuple[float, int], ...] = ((0.9, 3), (0.8, 4), (0.7, 4))
    # Steps of size and offset by which the best crop is refined, as shares of the image.
    steps: tuple[float, ...] = (0.06, 0.03, 0.015, 0.0075)
    # Smallest correlation for which the best crop is refined. With a smaller correlation, two images are not similar.
    least_correlation: float = 0.7
    # RMS difference from a smooth gradient, up to which an image has no content.
    least_deviation: float = 2.0


_SETTINGS = _Settings()
# Number of values of a colour thumbnail. They precede those of the greyscale thumbnail.
_COLOURS = 3 * _SETTINGS.colour_side**2
# Number of values of both thumbnails of an image.
THUMBNAIL = _COLOURS + _SETTINGS.grey_side**2
# Height and width of a small picture, and the number of its values.
SIDE = 32
PICTURE = 3 * SIDE**2
# Maximum number of images of a set in which near-duplicates are searched. The time grows with the square of the number.
MOST = 20_000
# Size to which images are resized when digests are computed. It has no effect, because digests are those of the
# original images.
_ANY_SIZE = (8, 8)


class _Alignment(NamedTuple):
    """Alignment of pairs of pictures: a crop of one picture, and the whole other picture as its target.

    Attributes:
        correlations: Correlation of each crop with its target, ``(pairs,)``.
        crops: Position and size of each crop, see :func:`_cut`, ``(pairs, 4)``.
        targets: Values of the whole other pictures, mirrored or not, ``(pairs, values)``.
        pictures: The pictures that are cropped, ``(pairs, 3, SIDE, SIDE)``.

    """

    correlations: Tensor
    crops: Tensor
    targets: Tensor
    pictures: Tensor

    def take(self, pairs: Tensor) -> _Alignment:
        """Select pairs by their index."""
        return _Alignment(*(field[pairs] for field in self))


def _cut(pictures: Tensor, crops: Tensor) -> Tensor:
    """Cut a crop out of each picture, and reduce the crops to the size at which pictures are compared.

    Args:
        pictures: The pictures, ``(n, 3, SIDE, SIDE)``.
        crops: Width, height, offset to the right and offset downwards of each crop, as shares of the picture,
            ``(n, 4)``. An offset is that of the centre. A single row is used for all pictures.

    Returns:
        The values of the reduced crops, ``(n, values)``.

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
    """Return the crops that are tried first, one per row. The first row is the whole picture."""
    crops = [(1.0, 1.0, 0.0, 0.0)]
    for scale, num_offsets in _SETTINGS.crops:
        offsets = np.linspace(scale - 1, 1 - scale, num_offsets).tolist()
        crops += [(scale, scale, right, down) for right in offsets for down in offsets]
    return torch.tensor(crops)


@cache
def _smooth() -> Tensor:
    """Return an orthonormal basis of the smooth gradients, ``(18, values)``.

    Smooth gradients are polynomials of degree 2 in each channel.
    """
    axis = torch.linspace(-1, 1, _SETTINGS.compared_side, dtype=torch.float64)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    terms = torch.stack([torch.ones_like(x), x, y, x * y, x.square(), y.square()]).flatten(1)
    basis = torch.linalg.qr(terms.T).Q.T
    return torch.kron(torch.eye(3, dtype=torch.float64), basis).float()


def small(image: Pixels, side: int) -> Tensor:
    """Reduce an image to a small square.

    Args:
        image: Greyscale or RGB image ``(H, W, C)``, uint8 or floating point in [0, 1].
        side: Height and width of the result.

    Returns:
        The pixels, uint8, ``(3 * side**2,)``: all values of red, then of green, then of blue.

    """
    # Skip pixels first, which is fast. At least 256 pixels per side are enough for the averages that follow.
    step = max(1, min(image.shape[:2]) // 256)
    pixels = np.ascontiguousarray(as_rgb(as_bytes(image[::step, ::step])))
    reduced = Image.fromarray(pixels).resize((side, side), Image.Resampling.BOX)
    channels_first = np.asarray(reduced).transpose(2, 0, 1)
    return torch.from_numpy(channels_first.reshape(-1).copy())


def small_picture(image: Pixels) -> Tensor:
    """Reduce an image to the small picture ``(PICTURE,)`` from which its similarity to other images is computed."""
    return small(image, SIDE)


def thumbnail(image: Pixels) -> Tensor:
    """Reduce an image to its colour and greyscale thumbnails ``(THUMBNAIL,)``, which detect near-duplicates."""
    side = _SETTINGS.grey_side
    fine = small(image, side).view(3, side, side).float()
    in_colour = avg_pool2d(fine, side // _SETTINGS.colour_side)
    in_grey = fine.mean(0)
    return torch.cat([in_colour.flatten(), in_grey.flatten()]).round().to(torch.uint8)


def likeness(a: Tensor, b: Tensor) -> Tensor:
    """Compute the similarity of pairs of small pictures.

    The similarity is the correlation of the pixels after alignment. The alignment with the largest correlation is
    chosen, among crops of either picture and their mirror images. For similar pictures, the correlation of the pixels
    without smooth gradients is computed, too, and the smaller correlation is returned.

    Args:
        a: First small picture of each pair, uint8, ``(pairs, PICTURE)``.
        b: Second small picture of each pair, uint8, ``(pairs, PICTURE)``.

    Returns:
        Similarities from -1 to 1, float32, ``(pairs,)``. NaN for similar pictures of which one has no content.

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
    detail_correlations = _correlation(
        _without_gradients(refined.targets), _without_gradients(crops), _SETTINGS.least_deviation
    )
    similarities[similar] = torch.minimum(refined.correlations, detail_correlations)
    return similarities


def _aligned(whole: Tensor, pictures: Tensor) -> _Alignment:
    """Find the crop of each picture that has the largest correlation with the whole other picture, or its mirror image.

    Args:
        whole: The other picture of each pair, ``(pairs, 3, SIDE, SIDE)``.
        pictures: The picture of each pair that is cropped, ``(pairs, 3, SIDE, SIDE)``.

    """
    crops = _all_crops()
    targets = _cut(whole, crops[:1])
    mirrored_targets = _cut(whole.flip(3), crops[:1])
    all_correlations = []
    for crop in crops[:, None]:
        cut = _cut(pictures, crop)
        all_correlations.append(_correlation(targets, cut))
        all_correlations.append(_correlation(mirrored_targets, cut))
    correlations, best = torch.stack(all_correlations).max(0)
    # Each crop has two successive correlations, of which the second one is with the mirror image.
    is_mirrored = best % 2 == 1
    best_targets = torch.where(is_mirrored[:, None], mirrored_targets, targets)
    return _Alignment(correlations, crops[best // 2], best_targets, pictures)


def _better(a: _Alignment, b: _Alignment) -> _Alignment:
    """Return the alignment with the larger correlation for each pair."""
    is_b_better = b.correlations > a.correlations
    fields = []
    for field_of_a, field_of_b in zip(a, b, strict=True):
        condition = is_b_better.view(-1, *[1] * (field_of_a.ndim - 1))
        fields.append(torch.where(condition, field_of_b, field_of_a))
    return _Alignment(*fields)


def _refined(alignment: _Alignment) -> _Alignment:
    """Improve crops by a coordinate search.

    Each size and offset is changed by a step. The change is kept for the crops whose correlation increases.
    """
    correlations = alignment.correlations
    crops = alignment.crops
    for step, column, sign in product(_SETTINGS.steps, range(4), (1, -1)):
        new_crops = _changed(crops, column, sign * step)
        new_correlations = _correlation(alignment.targets, _cut(alignment.pictures, new_crops))
        is_better = new_correlations > correlations
        crops = torch.where(is_better[:, None], new_crops, crops)
        correlations = torch.where(is_better, new_correlations, correlations)
    return alignment._replace(correlations=correlations, crops=crops)


def _changed(crops: Tensor, column: int, change: float) -> Tensor:
    """Return the crops with a change of one size or offset. The sizes and offsets are limited to those of the picture.

    Args:
        crops: Position and size of each crop, see :func:`_cut`, ``(n, 4)``.
        column: Column of the size or offset.
        change: Number that is added to this column.

    """
    changed = crops.clone()
    changed[:, column] += change
    sizes = changed[:, :2].clamp(max=1)
    offsets = changed[:, 2:]
    largest_offsets = 1 - sizes
    limited_offsets = torch.minimum(offsets.abs(), largest_offsets) * offsets.sign()
    return torch.cat([sizes, limited_offsets], 1)


def _without_gradients(values: Tensor) -> Tensor:
    """Subtract the smooth gradients from the values of pictures, ``(n, values)``."""
    return values - values @ _smooth().T @ _smooth()


def _correlation(a: Tensor, b: Tensor, least_deviation: float = 0.0) -> Tensor:
    """Compute the correlation of each row of ``a`` with the same row of ``b``.

    If ``least_deviation`` is above 0, the correlation is NaN unless the standard deviations of both rows are larger.
    """
    centred_a = a - a.mean(1, keepdim=True)
    centred_b = b - b.mean(1, keepdim=True)
    norms_a = centred_a.norm(dim=1)
    norms_b = centred_b.norm(dim=1)
    products = (centred_a * centred_b).sum(1)
    # A lower limit of the divisor avoids 0 / 0. The correlation of a row of equal values is 0.
    correlations: Tensor = products / (norms_a * norms_b).clamp(min=1e-6)
    if least_deviation == 0:
        return correlations
    # The norm of centred values is their standard deviation, multiplied by the root of their number.
    least_norm = least_deviation * a.shape[1] ** 0.5
    is_without_content = torch.minimum(norms_a, norms_b) <= least_norm
    return torch.where(is_without_content, torch.nan, correlations)


class Content(NamedTuple):
    """Digests of the readable images of a set.

    Attributes:
        numbers: Index of each readable image in the source.
        digests: Digest of the decoded pixels of each readable image.
        unreadable: One error message per unreadable image.

    """

    numbers: list[int]
    digests: list[bytes]
    unreadable: list[str]


def contents(images: ImageSource, reading: Reading, channels: int) -> Content:
    """Compute the digests of all images, decoded to this number of channels."""
    content = Content([], [], [])
    for batch in load_batches(images, _ANY_SIZE, reading=reading, channels=channels, notes=digest_note):
        content.unreadable.extend(batch.unreadable)
        # A batch without readable images has no digests.
        if batch.numbers:
            content.numbers.extend(batch.numbers)
            content.digests.extend(row.numpy().tobytes() for row in batch.notes["digest"])
        if reading.progress is not None:
            done = len(content.numbers) + len(content.unreadable)
            reading.progress(f"contents of {images.label}", done, len(images))
    return content


def digest_of(image: Pixels | Inputs) -> bytes:
    """Return a digest of 16 bytes of an image ``(H, W, C)`` or another input.

    The digest depends on the dtype, shape and values of each array or tensor.
    """
    blake = hashlib.blake2b(digest_size=16)
    arrays: list[Any] = [image] if isinstance(image, np.ndarray) else tensors_of(image)
    for array in arrays:
        blake.update(f"{array.dtype} {tuple(array.shape)} ".encode())
        blake.update(_bytes_of(array))
    return blake.digest()


def _bytes_of(array: Pixels | Tensor) -> bytes:
    """Return the values of an array or a tensor as bytes, in C order."""
    if isinstance(array, Tensor):
        # Make the tensor contiguous, because only contiguous values can be viewed as bytes.
        return array.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    return array.tobytes()


def digest_note(image: Pixels | Inputs) -> dict[str, Tensor]:
    """Return the digest of an image or another input as a note of a job."""
    return {"digest": torch.frombuffer(bytearray(digest_of(image)), dtype=torch.uint8)}


def near_duplicates(thumbnails: Tensor, others: Tensor, folds: Tensor | None = None) -> Tensor | None:
    """Find a near-duplicate of each image among other images.

    Details that all images of a set have in common, such as the lines of a form, are ignored, unless all details of two
    images are equal.

    Args:
        thumbnails: Thumbnails of the images, uint8, ``(n, THUMBNAIL)``.
        others: Thumbnails of the other images, uint8, ``(m, THUMBNAIL)``.
        folds: Fold of each image, followed by the fold of each other image, ``(n + m,)``. Images of the same fold are
            not compared. By default, each image has a fold of its own.

    Returns:
        The row of a near-duplicate in ``others`` for each image, or -1 if there is none, ``(n,)``. None if either set
        has more than ``MOST`` images.

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
    common_of_images = _common_details(images, candidates)
    common_of_candidates = _common_details(candidates, images, others_first=True)
    for start in range(0, len(images.rows), _SETTINGS.rows_at_once):
        part = images.take(slice(start, start + _SETTINGS.rows_at_once))
        close_images, close_candidates = _prefiltered(part, candidates)
        if not len(close_images.rows):
            continue
        distances = _duplicate_distances(close_images, close_candidates, common_of_images, common_of_candidates)
        smallest_distances, nearest = distances.min(1)
        is_duplicate = smallest_distances <= _MOST_SQUARED
        duplicates[close_images.rows] = torch.where(is_duplicate, close_candidates.rows[nearest], -1)
    return duplicates


# Largest Euclidean distance of the coarse values of near-duplicates.
_MOST_COARSE = _SETTINGS.most_difference * _COLOURS**0.5 * _SETTINGS.rounding
# Largest squared distance of the colour thumbnails of near-duplicates.
_MOST_SQUARED = _SETTINGS.most_difference**2 * _COLOURS


class _Thumbnails(NamedTuple):
    """Thumbnails of a set, sorted by brightness. Images with a nearly uniform colour are left out.

    Attributes:
        rows: Row of each image in the set.
        values: Thumbnails of each image, uint8, ``(n, THUMBNAIL)``.
        folds: Fold of each image.
        sums: Sum of the values of each colour thumbnail.
        coarse: Coarse values of each image, see :func:`_coarse`.

    """

    rows: Tensor
    values: Tensor
    folds: Tensor
    sums: Tensor
    coarse: Tensor

    @property
    def colours(self) -> Tensor:
        """Colour thumbnails, float32, with values from -128 to 127."""
        return self.values[:, :_COLOURS].float() - 128

    @property
    def grey(self) -> Tensor:
        """Greyscale thumbnails, float32."""
        return self.values[:, _COLOURS:].float()

    def take(self, entries: slice | Tensor) -> _Thumbnails:
        """Select entries, in this order."""
        return _Thumbnails(*(field[entries] for field in self))


def _by_brightness(thumbnails: Tensor, folds: Tensor) -> _Thumbnails:
    """Sort thumbnails by brightness. Images with a nearly uniform colour are left out."""
    rows = (_deviations(thumbnails) > _SETTINGS.least_contrast).nonzero()[:, 0]
    rows = rows[thumbnails[rows, :_COLOURS].sum(1).argsort()]
    values = thumbnails[rows]
    return _Thumbnails(rows, values, folds[rows], values[:, :_COLOURS].sum(1), _coarse(values))


def _prefiltered(images: _Thumbnails, candidates: _Thumbnails) -> tuple[_Thumbnails, _Thumbnails]:
    """Select the images and the candidates that may be near-duplicates, by their brightness and coarse values.

    This excludes most pairs without computing the distance of their colour thumbnails. The selected candidates are in
    the order of their set, so that the first of several equal candidates is found.
    """
    similar = candidates.take(_of_similar_brightness(images, candidates))
    is_close = torch.cdist(images.coarse, similar.coarse) <= _MOST_COARSE
    is_close &= images.folds[:, None] != similar.folds
    close_images = images.take(is_close.any(1).nonzero()[:, 0])
    close_candidates = similar.take(is_close.any(0).nonzero()[:, 0])
    return close_images, close_candidates.take(close_candidates.rows.argsort())


def _of_similar_brightness(images: _Thumbnails, candidates: _Thumbnails) -> slice:
    """Return the range of candidates whose brightness is close enough to that of the images."""
    margin = _SETTINGS.most_difference * _COLOURS + 1
    darkest_and_brightest = images.sums[[0, -1]] + torch.tensor([-1, 1]) * margin
    first, last = torch.searchsorted(candidates.sums, darkest_and_brightest).tolist()
    return slice(first, last)


def _deviations(thumbnails: Tensor) -> Tensor:
    """Return the RMS difference of each colour thumbnail from its mean colour, in grey levels."""
    colours = thumbnails[:, :_COLOURS].reshape(len(thumbnails), 3, _SETTINGS.colour_side**2).float()
    deviations: Tensor = (colours - colours.mean(2, keepdim=True)).square().mean((1, 2)).sqrt()
    return deviations


def _coarse(thumbnails: Tensor) -> Tensor:
    """Reduce colour thumbnails to fewer values, ``(n, values)``.

    The distance of these values is a lower bound of the distance of the colour thumbnails. The values do not change if
    an image is mirrored.
    """
    side = _SETTINGS.colour_side
    colours = thumbnails[:, :_COLOURS].reshape(-1, 3, side, side).float() - 128
    symmetric = (colours + colours.flip(3))[..., : side // 2]
    # Each value is the sum of 8 pixels divided by the root of 8. Pooling 2 x 2 sums of 2 pixels divides by 4.
    return (avg_pool2d(symmetric, 2) * 2**0.5).flatten(1)


def _common_details(thumbnails: _Thumbnails, others: _Thumbnails, others_first: bool = False) -> Tensor:
    """Return the mean of the greyscale thumbnails of a set. If the set is too small, return the mean of both sets.

    Args:
        thumbnails: The set.
        others: The other set.
        others_first: Whether the other set precedes this set in the mean of both sets. The order of a sum changes its
            last bit, so it must not depend on the set.

    """
    grey = thumbnails.grey
    if len(grey) < _SETTINGS.least_images:
        both = [others.grey, grey] if others_first else [grey, others.grey]
        return torch.cat(both).mean(0)
    return grey.mean(0)


def _duplicate_distances(
    images: _Thumbnails, candidates: _Thumbnails, common_of_images: Tensor, common_of_candidates: Tensor
) -> Tensor:
    """Return the squared distance between the colour thumbnails of each image and each candidate, ``(n, m)``.

    The distance is infinite if both images are in the same fold, their details differ, or their distance is large
    relative to their contrast.

    Args:
        images: Thumbnails of the images.
        candidates: Thumbnails of the candidates.
        common_of_images: Common details of the images.
        common_of_candidates: Common details of the candidates.

    """
    distances = _squared_distances(images.colours, candidates.colours)
    contrast = torch.minimum(_deviations(images.values)[:, None], _deviations(candidates.values))
    most_distances = (_SETTINGS.most_relative_difference * contrast).square() * _COLOURS
    is_excluded = (images.folds[:, None] == candidates.folds) | (distances > most_distances)
    is_close = (distances <= _MOST_SQUARED) & ~is_excluded
    # To save time, compare details only for images with a close candidate, and for candidates with a close image.
    rows = is_close.any(1).nonzero()[:, 0]
    columns = is_close.any(0).nonzero()[:, 0]
    has_same_details = torch.zeros_like(is_excluded)
    has_same_details[rows[:, None], columns] = _have_same_details(
        images.grey[rows], candidates.grey[columns], common_of_images, common_of_candidates
    )
    is_duplicate = has_same_details & ~is_excluded
    return distances.masked_fill(~is_duplicate, torch.inf)


def _squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """Return the squared distance of each colour thumbnail in ``a`` from each in ``b``, or from its mirror image.

    The smaller squared distance of both is returned, ``(n, m)``.
    """
    return a.square().sum(1)[:, None] + b.square().sum(1) - 2 * _products(a, b, _SETTINGS.colour_side)


def _have_same_details(grey: Tensor, other_grey: Tensor, common: Tensor, other_common: Tensor) -> Tensor:
    """Return True for each pair of greyscale thumbnails that have the same details, ``(n, m)``.

    This is also True if one of them has no details other than the common details of its set.

    Args:
        grey: Greyscale thumbnails.
        other_grey: The other greyscale thumbnails.
        common: Common details of the set of the thumbnails.
        other_common: Common details of the set of the other thumbnails.

    """
    side = _SETTINGS.grey_side
    specific_details = _details(grey - common)
    other_specific_details = _details(other_grey - other_common)
    correlations = _products(specific_details, other_specific_details, side)
    full_correlations = _products(_details(grey), _details(other_grey), side)
    are_same = correlations >= _SETTINGS.least_detail_correlation
    are_same |= full_correlations >= _SETTINGS.least_full_detail_correlation
    both_have_details = specific_details.any(1)[:, None] & other_specific_details.any(1)
    return are_same | ~both_have_details


def _details(fine: Tensor) -> Tensor:
    """Return the details of greyscale thumbnails, ``(n, values)``: the differences from the mean of 2 x 2 pixels.

    The details of a thumbnail are divided by their norm. They are 0 if their norm is too small.
    """
    side = _SETTINGS.grey_side
    pictures = fine.view(-1, 1, side, side)
    means = avg_pool2d(pictures, 2).repeat_interleave(2, 2).repeat_interleave(2, 3)
    details = (pictures - means).flatten(1)
    norms = details.norm(dim=1, keepdim=True)
    return torch.where(norms > _SETTINGS.least_details * side, details / norms, 0)


def _products(a: Tensor, b: Tensor, side: int) -> Tensor:
    """Return the scalar product of each picture in ``a`` with each picture in ``b``, or with its mirror image.

    The larger product of both is returned, ``(n, m)``.

    A picture is the sum of a symmetric and an antisymmetric part. The product of two pictures is the sum of the
    products of these parts. If one picture is mirrored, the product of the antisymmetric parts changes its sign.
    """
    symmetric_a, antisymmetric_a = _symmetric_parts(a, side)
    symmetric_b, antisymmetric_b = _symmetric_parts(b, side)
    return (symmetric_a @ symmetric_b.T + (antisymmetric_a @ antisymmetric_b.T).abs()) / 2


def _symmetric_parts(values: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Return the symmetric and the antisymmetric part of each picture, times 2. Only the left half is returned."""
    pictures = values.view(len(values), values.shape[1] // side, side)
    left = pictures[..., : side // 2]
    right = pictures.flip(2)[..., : side // 2]
    return (left + right).flatten(1), (left - right).flatten(1)
