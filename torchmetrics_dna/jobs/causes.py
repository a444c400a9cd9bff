"""Find a change of A's images that explains the difference from B.

Image properties choose candidate changes, and the network then measures how much of the distance each one explains.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

from torchmetrics_dna.images import ImageSource, Reading
from torchmetrics_dna.images.changes import CHANGES, Causes, change_image
from torchmetrics_dna.images.pixels import Decoded, as_bytes, as_rgb
from torchmetrics_dna.images.properties import OF_PIXELS, PROPERTIES, image_properties
from torchmetrics_dna.images.sets import shuffled
from torchmetrics_dna.jobs.groups import partners
from torchmetrics_dna.jobs.job import Job
from torchmetrics_dna.statistics import HistogramStatistic

if TYPE_CHECKING:
    from torchmetrics_dna.dna import HistogramDNA
    from torchmetrics_dna.dna.averaging import Averaging
    from torchmetrics_dna.extractors import DNAExtractor
    from torchmetrics_dna.jobs.measure import Measured
    from torchmetrics_dna.jobs.sides import Sides

    # Name of a change, and its strength: from 0 for no change to 1 for the largest change that is searched.
    Candidate = tuple[str, float]
    # Name of a change, and its amount in the units of the change.
    Change = tuple[str, float]
    # Properties of images, of shape (images, properties).
    Figures = NDArray[np.float64]

# Largest number of images of A whose properties are measured after each change.
CHANGED = 16
# Largest number of images of A, and of B, that the network measures.
CHECKED = 48
# Smallest number of images per set.
LEAST = 10
# Label of the progress bar.
LABEL = "searching for a change that explains the difference (--no-causes skips this)"
# Strengths of each change at which the search begins.
_TRIES = (0.2, 0.5, 0.9)
# Steps that the search takes to both sides of the best strength so far.
_STEPS = (1 / 8, 1 / 16, 1 / 32)
# Number of changes whose strengths are refined.
_RIVALS = 3
# Number of refined changes that the network measures.
_CHECKED_CHANGES = 2
# A second change is searched if more than this share of the distance is left after one change.
_REST = 0.25
# Number of bins of the histograms. The bins of folds are merged to this number if it divides their number.
_BINS = 50
# Quantiles by which distributions of properties are compared: 0.05, 0.15, ..., 0.95.
_QUANTILES = (np.arange(10) + 0.5) / 10
# This is added to the variance of each property, so that a property that hardly varies does not decide alone.
_LEAST_VARIANCE = 1e-6
# This is added to the distance by ranks. Samples of the same distribution differ by about so much.
_LEAST_RANKS = 0.05
# The images of B may be resized if their shorter side is at most this share of the shorter side of A's images.
_RESIZED = 0.95
# Height and width of the middle of an image, in pixels. Properties of larger images are measured in the middle only.
_MIDDLE = 128
# Smallest scale of a resize for which a larger middle is cut out, so that it has the usual size after the resize.
_LEAST_SCALE = 1 / 8
# Worker processes decode the images if an image has at least this number of bytes.
_LARGE = 1 << 22
# Columns of the properties that are compared: those measured from pixels.
_SEEN = [PROPERTIES.index(name) for name in OF_PIXELS]
# A change is accepted if A comes closer to B by more than this number of standard errors.
_CLEAR = 2
# A change is rejected if it explains less than half by more than this number of standard errors.
_REJECTED = 1.64


class ChangedImages(ImageSource):
    """Some images of a source after changes.

    Args:
        source: The source.
        numbers: Indices of the images in the source.
        changes: The changes, in the order in which they are made. There may be none.

    """

    def __init__(self, source: ImageSource, numbers: Sequence[int], changes: Sequence[Change]) -> None:
        super().__init__([source.names[number] for number in numbers], self.decode, LABEL, roots=source.roots)
        self._source = source
        self._chosen = numbers
        self._changes = changes

    @override
    def decode(self, index: int, channels: int = 3) -> Decoded:
        number = self._chosen[index]
        decoded = self._source.decode(number, channels)
        if not self._changes:
            return decoded
        changed = _changed(as_bytes(as_rgb(decoded.pixels)), self._changes, number)[..., :channels]
        if decoded.pixels.dtype == np.uint8:
            return Decoded(changed)
        # The network may require floats if the source has images of floats.
        return Decoded(np.divide(changed, 255, dtype=np.float32))


def _changed(pixels: NDArray[np.uint8], changes: Sequence[Change], seed: int) -> NDArray[np.uint8]:
    """Apply changes to an image, one after another.

    Args:
        pixels: The image.
        changes: The changes.
        seed: Seed of random changes, such as noise.

    """
    for name, amount in changes:
        pixels = change_image(pixels, name, amount, seed)
    return pixels


def find_causes(sides: Sides, a: Measured, b: Measured, in_bins: HistogramDNA) -> Causes | None:
    """Find one or two changes of A's images that explain at least half of the squared distance to B.

    The candidates are the changes after which the image properties of a few images of A are closest to those of B. This
    choice does not need the network. The network then measures images of A after the likeliest change. If this change
    does not explain half of the squared distance, the network measures them after the next one. If much of the distance
    is left, and the properties are much closer after two changes together, the network also measures both together.

    Args:
        sides: The two sets.
        a: Measured values of A, with folds.
        b: Measured values of B, with folds.
        in_bins: The DNA of A in the bins of the comparison, without image properties.

    Returns:
        The changes. None if a set has too few images or is a stream, or if the images are neither grey nor RGB.

    """
    images_a, images_b = sides.images
    if not isinstance(images_a, ImageSource) or not isinstance(images_b, ImageSource):
        return None
    if sides.extractor.why_no_pictures or min(len(a.numbers), len(b.numbers)) < LEAST:
        return None
    numbers_a = _chosen(a)
    numbers_b = _chosen(b)
    if sides.plan.arguments.pairs:
        partner = partners(images_a, images_b, sides.plan.arguments.pairs)
        numbers_b = [partner[number] for number in numbers_a]
    check = _Check(sides, (images_a, images_b), (a, b), (numbers_a, numbers_b), in_bins)
    before = check.apart([])
    if before.square <= 0:
        # There is no distance of which a change could explain half.
        check.report(ends=True)
        return Causes((), (), (0.0,), len(numbers_a))
    choice = _Choice((images_a, images_b), (numbers_a[:CHANGED], numbers_b), sides.extractor)
    search = _search(check, choice, before)
    check.report(ends=True)
    changes = choice.changes(search.explaining)
    all_explain_less = all(_takes_less(before, after) for after in search.checked)
    return Causes(
        names=tuple(name for name, _ in changes),
        amounts=tuple(amount for _, amount in changes),
        bins=tuple(bins * check.width for bins in search.bins),
        num_images=len(numbers_a),
        is_rejected=not search.explaining and all_explain_less,
        likeliest=choice.changes([search.likeliest])[0],
    )


def _chosen(measured: Measured) -> list[int]:
    """Return the indices of the images of a set that take part in the search."""
    return [measured.numbers[i] for i in shuffled(len(measured.numbers))[:CHECKED]]


class _Search(NamedTuple):
    """Result of the search for changes that explain the distance.

    Attributes:
        explaining: Changes that together explain at least half of the squared distance: none, one or two.
        bins: Distance before the changes in ``explaining``, after the first one, and after both.
        checked: Distance after each change, or pair of changes, that the network measured.
        likeliest: The single change after which the image properties are closest to those of B.

    """

    explaining: list[Candidate]
    bins: list[float]
    checked: list[Apart]
    likeliest: Candidate


def _search(check: _Check, choice: _Choice, before: Apart) -> _Search:
    """Measure the likeliest changes with the network, and then perhaps two changes together.

    Args:
        check: Distances measured by the network.
        choice: Choice of changes by image properties.
        before: Distance without a change.

    Returns:
        The changes that explain at least half of the squared distance, perhaps none, with all distances.

    """
    singles = _check_single_changes(check, choice, before)
    checked = [after for _, after in singles]
    likeliest, _ = singles[0]
    one_explains = takes_half(before, checked[-1])
    # If no single change explains the distance, the likeliest one may do so together with a second one.
    first, after_first = singles[-1] if one_explains else singles[0]
    two_changes = _check_two_changes(check, choice, before, first, after_first)
    if two_changes is not None:
        both, after_both = two_changes
        checked.append(after_both)
        second_takes_half_of_rest = takes_half(after_first, after_both)
        # If one change explains half already, both together need no test of their own.
        both_explain = one_explains or takes_half(before, after_both)
        if second_takes_half_of_rest and both_explain:
            return _Search(both, [before.bins, after_first.bins, after_both.bins], checked, likeliest)
    if one_explains:
        return _Search([first], [before.bins, after_first.bins], checked, likeliest)
    return _Search([], [before.bins], checked, likeliest)


def _check_single_changes(check: _Check, choice: _Choice, before: Apart) -> list[tuple[Candidate, Apart]]:
    """Measure the likeliest changes one by one, until one explains at least half of the squared distance.

    Args:
        check: Distances measured by the network.
        choice: Choice of changes by image properties.
        before: Distance without a change.

    Returns:
        Each measured change, the likeliest first, with the distance after it. Only the last one may explain half.

    """
    measured: list[tuple[Candidate, Apart]] = []
    for candidate in choice.likeliest()[:_CHECKED_CHANGES]:
        after = check.apart(choice.changes([candidate]))
        measured.append((candidate, after))
        if takes_half(before, after):
            break
    return measured


def _check_two_changes(
    check: _Check, choice: _Choice, before: Apart, first: Candidate, after_first: Apart
) -> tuple[list[Candidate], Apart] | None:
    """Measure a change together with the likeliest second change.

    Args:
        check: Distances measured by the network.
        choice: Choice of changes by image properties.
        before: Distance without a change.
        first: The change.
        after_first: Distance after this change alone.

    Returns:
        Both changes in the order in which they are made, and the distance after both. None if little of the distance is
        left after the first change, or if no second change brings the properties of A much closer to those of B.

    """
    if after_first.bins <= _REST * before.bins:
        return None
    both = choice.together(first)
    if not both:
        return None
    return both, check.apart(choice.changes(both))


class _Refined(NamedTuple):
    """Best strength of a change, and the distance between the properties of A and B after it."""

    distance: float
    candidate: Candidate


class _Choice:
    """Choice of changes by image properties.

    The properties of a few images of A after changes are compared with the properties of images of B.

    Args:
        sides: Images of A and of B.
        numbers: Indices of the images of A that are changed, and of the images of B.
        extractor: The network.

    """

    def __init__(self, sides: Sequence[ImageSource], numbers: Sequence[Sequence[int]], extractor: DNAExtractor) -> None:
        self._numbers = numbers[0]
        channels = extractor.image_channels
        self._pictures, self._side = _middles(sides[0], numbers[0], channels, _LEAST_SCALE)
        pictures_b, side_b = _middles(sides[1], numbers[1], channels)
        self._b = _properties(pictures_b)
        unchanged = _properties([_middle(picture) for picture in self._pictures])
        self._variance = np.concatenate([unchanged, self._b]).var(0) + _LEAST_VARIANCE
        self._tries = _strengths_to_try(extractor, side_b / self._side)

    def changes(self, candidates: Sequence[Candidate]) -> list[Change]:
        """Convert strengths of changes to amounts."""
        return [(name, CHANGES[name].amount(strength, self._side)) for name, strength in candidates]

    def likeliest(self, made: Sequence[Candidate] = ()) -> list[Candidate]:
        """Return the changes after which the properties of A are closest to those of B, the closest first.

        Args:
            made: Changes that are made in addition, none or one. They are not returned.

        Returns:
            Up to three changes, each with its best strength.

        """
        names_of_made = [name for name, _ in made]
        # Properties of A after each change, at each strength where the search begins.
        figures_of: dict[str, dict[float, Figures]] = {}
        # Smallest distance by ranks of these properties from those of B.
        rank_distances: dict[str, float] = {}
        for name, strengths in self._tries.items():
            if name in names_of_made:
                continue
            figures_of[name] = {strength: self._after([*made, (name, strength)]) for strength in strengths}
            rank_distances[name] = min(squared_ranks(figures, self._b) for figures in figures_of[name].values())
        rivals = sorted(rank_distances, key=rank_distances.__getitem__)[:_RIVALS]
        refined = [self._refined(name, figures_of[name], made) for name in rivals]
        return [rival.candidate for rival in sorted(refined)]

    def together(self, first: Candidate) -> list[Candidate]:
        """Return a change and the likeliest second change, in the order in which they are made.

        The list is empty unless the distance between the properties of A and B is at most a quarter after both changes.
        """
        distance_after_first = self._distance(self._after([first]))
        second = self.likeliest([first])[0]
        name, strength = first
        # The second change may need another strength of the first one.
        refined = self._refined(name, {strength: self._after([first, second])}, [second])
        if refined.distance > distance_after_first / 4:
            return []
        return _in_order([refined.candidate, second])

    def _refined(self, name: str, by_strength: dict[float, Figures], made: Sequence[Candidate]) -> _Refined:
        """Search the strength of a change after which the properties of A are closest to those of B.

        Args:
            name: Name of the change.
            by_strength: Properties of A at the strengths where the search begins.
            made: Changes that are made in addition.

        """
        distances = {strength: self._distance(figures) for strength, figures in by_strength.items()}
        # The strength of a resize follows from the sizes of the images.
        steps = () if name == "resize" else _STEPS
        for step in steps:
            best = min(distances, key=distances.__getitem__)
            for strength in (best - step, best + step):
                if 0 < strength <= 1 and strength not in distances:
                    distances[strength] = self._distance(self._after([*made, (name, strength)]))
        best = min(distances, key=distances.__getitem__)
        return _Refined(distances[best], (name, best))

    def _distance(self, figures: Figures) -> float:
        """Return the distance of properties from those of B.

        It is the product of two distances. The distance by quantiles distinguishes changes. The distance by ranks gives
        more accurate amounts.
        """
        by_quantiles = squared_quantiles(figures, self._b, self._variance)
        by_ranks = squared_ranks(figures, self._b) + _LEAST_RANKS
        return by_quantiles * by_ranks

    def _after(self, candidates: Sequence[Candidate]) -> Figures:
        """Return the properties of the images of A after changes. Large images are measured in their middle."""
        changes = self.changes(_in_order(candidates))
        # The amount of a resize is a percentage of the size.
        scale = min([1.0, *(amount / 100 for name, amount in changes if name == "resize")])
        middles = []
        for picture, number in zip(self._pictures, self._numbers, strict=True):
            # Cut out a larger middle before a resize, so that it has the usual size afterwards.
            changed = _changed(_middle(picture, scale), changes, number)
            middles.append(_middle(changed))
        return _properties(middles)


def _strengths_to_try(extractor: DNAExtractor, scale: float) -> dict[str, tuple[float, ...]]:
    """Return the strengths at which the search begins, for each change that is searched.

    Args:
        extractor: The network.
        scale: Scale by which images of A must be resized to be as small as those of B.

    """
    is_grey = extractor.image_channels == 1
    may_be_resized = extractor.input_size is not None and scale <= _RESIZED
    strengths: dict[str, tuple[float, ...]] = {}
    for name, change in CHANGES.items():
        if is_grey and change.of_colour:
            continue
        if name != "resize":
            strengths[name] = _TRIES
        elif may_be_resized:
            # The sizes of the images give the only strength that fits.
            strengths[name] = (1 - scale,)
    return strengths


def _in_order(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Sort changes by the order in which they are made."""
    return sorted(candidates, key=lambda candidate: list(CHANGES).index(candidate[0]))


def _middle(picture: NDArray[np.uint8], scale: float = 1.0) -> NDArray[np.uint8]:
    """Return the middle of a large image, or all of a small one.

    The middle starts at a multiple of 8 pixels, so that it has the same JPEG blocks as the image.

    Args:
        picture: The image.
        scale: Scale of a later resize. The middle is larger by its inverse.

    """
    most = round(_MIDDLE / scale)
    top, left = (max(0, (size - most) // 16 * 8) for size in picture.shape[:2])
    return picture[top : top + most, left : left + most]


def _middles(
    source: ImageSource, numbers: Sequence[int], channels: int, scale: float = 1.0
) -> tuple[list[NDArray[np.uint8]], float]:
    """Decode images one by one.

    Returns:
        The middle of each image, and the median of the shorter sides of the whole images.

    """
    middles: list[NDArray[np.uint8]] = []
    sides: list[int] = []
    for number in numbers:
        picture = as_bytes(as_rgb(source.decode(number, channels).pixels))
        # The copy lets the large image be freed.
        middles.append(_middle(picture, scale).copy())
        sides.append(min(picture.shape[:2]))
    return middles, float(np.median(sides))


def _properties(pictures: Sequence[NDArray[np.uint8]]) -> Figures:
    """Measure the properties of images, ``(images, properties)``."""
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for i, picture in enumerate(pictures):
        by_shape.setdefault(picture.shape, []).append(i)
    properties = np.zeros((len(pictures), len(_SEEN)))
    for numbers in by_shape.values():
        batch = torch.from_numpy(np.stack([pictures[i] for i in numbers])).movedim(3, 1)
        properties[numbers] = image_properties(batch)[:, _SEEN].numpy()
    return properties


def squared_ranks(a: Figures, b: Figures) -> float:
    """Return a rank distance between the properties of two sets.

    All images of A are paired with all images of B. For each property, the share of pairs is counted in which the value
    of A is smaller. Ties count half. The distance is the sum over properties of the squared difference between this
    share and one half.

    Example:
        >>> squared_ranks(np.array([[1.0], [2.0]]), np.array([[2.0], [3.0]]))
        0.140625

    """
    below = (a[:, None] < b).mean((0, 1)) + (a[:, None] == b).mean((0, 1)) / 2
    return float(((below - 0.5) ** 2).sum())


def squared_quantiles(a: Figures, b: Figures, variance: NDArray[np.float64]) -> float:
    """Return a distance between the quantiles of properties of two sets.

    The distance is the sum of the squared differences of ten quantiles, each divided by the variance of its property.
    """
    differences = np.quantile(a, _QUANTILES, axis=0) - np.quantile(b, _QUANTILES, axis=0)
    return float((differences**2 / variance).sum())


class _Check:
    """Distances of A from B after changes of A's images, measured by the network.

    Args:
        sides: The two sets.
        images: Images of A and of B.
        measured: Measured values of A and of B, with folds.
        numbers: Indices of the images that the network measures, of A and of B.
        in_bins: The DNA of A in the bins of the comparison, without image properties.

    """

    def __init__(
        self,
        sides: Sides,
        images: tuple[ImageSource, ImageSource],
        measured: tuple[Measured, Measured],
        numbers: tuple[Sequence[int], Sequence[int]],
        in_bins: HistogramDNA,
    ) -> None:
        self._extractor = sides.extractor.without_properties()
        self._images = images
        self._measured = measured
        self._numbers = numbers
        self._averaging = sides.plan.averaging
        self._paired = bool(sides.plan.arguments.pairs)
        first_image = images[0].decode(numbers[0][0], sides.extractor.image_channels)
        self._reading = _reading_for(first_image, sides.plan.arguments.reading or Reading())
        # Number of images that were measured so far.
        self._done = 0
        self._has_fixed_bins = not in_bins.self_ranging
        ranges = in_bins.known_ranges
        self._ranges = ranges if self._has_fixed_bins else replace(ranges, margin="widen")
        # Folds of each side that have images.
        self._folds: list[list[Any]] = []
        for side in measured:
            folds = side.dnas["histogram"].select(list(in_bins.neurons)).folds
            self._folds.append(_with_images(folds))
        self._num_folds = len(measured[0].dnas["histogram"].folds)
        bins_of_fold = self._folds[0][0].num_bins
        self._bins = _BINS if bins_of_fold % _BINS == 0 else bins_of_fold
        # Width of a merged bin, in bins of the comparison.
        self.width = in_bins.num_bins / self._bins
        self._b = self._shares(1, [])

    def apart(self, changes: Sequence[Change]) -> Apart:
        """Measure the distance of A from B after changes of A's images."""
        a = self._shares(0, changes)
        sides = (a.less(self._b),) if self._paired else (a, self._b)
        return Apart(sides, self._averaging)

    def report(self, num_images: int = 0, *, ends: bool = False) -> None:
        """Report the progress of the search.

        Args:
            num_images: Number of images that were measured in a pass that has not ended.
            ends: Whether the search ends.

        """
        num_done = self._done + num_images
        if self._reading.progress is None or num_done == 0:
            return
        # At most four passes over the images of A are expected.
        total = num_done if ends else max(num_done, 4 * len(self._numbers[0]))
        self._reading.progress(LABEL, num_done, total)

    def _shares(self, k: int, changes: Sequence[Change]) -> Shares:
        """Return the cumulative histograms of the folds of side ``k``, after changes if it is A."""
        if changes or not self._can_use_folds_of_comparison(k):
            folds = self._measured_folds(k, changes)
        else:
            folds = self._folds[k]
        counts = torch.stack([fold.counts.unflatten(1, (self._bins, -1)).sum(2) for fold in folds])
        return Shares.of(counts, torch.tensor([fold.num_images for fold in folds]))

    def _can_use_folds_of_comparison(self, k: int) -> bool:
        """Return whether the folds of side ``k`` that the comparison has measured can be used again.

        Their bins must be fixed. The folds of A must hold the chosen images only. Those of B may hold more images,
        unless the sets are pairs.
        """
        if not self._has_fixed_bins:
            return False
        is_b = k == 1
        if is_b and not self._paired:
            return True
        return len(self._numbers[k]) == len(self._measured[k].numbers)

    def _measured_folds(self, k: int, changes: Sequence[Change]) -> list[Any]:
        """Measure the chosen images of side ``k`` after changes. Each image keeps its fold of the comparison."""
        side = self._measured[k]
        fold_of_image = dict(zip(side.numbers, side.rows["folds"].tolist(), strict=True))
        images = ChangedImages(self._images[k], self._numbers[k], changes)
        job = Job(
            self._extractor,
            {"histogram": HistogramStatistic(self._extractor, self._bins, self._ranges, self._num_folds)},
            replace(self._reading, progress=lambda _, done, __: self.report(done)),
            self._num_folds,
            folds=[fold_of_image[number] for number in self._numbers[k]],
        )
        (split,) = job.run(images)
        self._done += len(images)
        return _with_images(job.values(split)["histogram"].folds)


def _with_images(folds: Sequence[Any]) -> list[Any]:
    """Return the folds that have images."""
    return [fold for fold in folds if fold.num_images]


def _reading_for(image: Decoded, reading: Reading) -> Reading:
    """Return the options for reading images like this one. Small images are decoded without worker processes."""
    if reading.num_workers is None and image.pixels.nbytes < _LARGE:
        # Starting workers would take longer than decoding the images.
        return replace(reading, num_workers=0)
    return reading


class Shares(NamedTuple):
    """Cumulative histograms of the folds of a set, and sums over the folds.

    Attributes:
        shares: Cumulative share of each bin, for each fold and neuron, float64, ``(folds, N, bins)``.
        images: Number of images of each fold, ``(folds,)``.
        total: Sum over folds of the shares times the number of images, ``(N, bins)``.
        squares: Sum over folds and bins of the squared shares times the number of images, ``(N,)``.

    """

    shares: Tensor
    images: Tensor
    total: Tensor
    squares: Tensor

    @classmethod
    def of(cls, counts: Tensor, images: Tensor) -> Shares:
        """Compute the cumulative histograms of folds.

        Args:
            counts: Histograms of the folds, ``(folds, N, bins)``.
            images: Number of images of each fold, ``(folds,)``.

        """
        counts = counts.double()
        shares = counts / counts.sum(2, keepdim=True)
        # The last cumulative share is always 1, so it is left out.
        cumulative = shares.cumsum(2)[..., :-1]
        return cls._of(cumulative, images.to(counts))

    @classmethod
    def _of(cls, shares: Tensor, images: Tensor) -> Shares:
        total = torch.einsum("fnk,f->nk", shares, images)
        squares = shares.square().sum(2).T @ images
        return cls(shares, images, total, squares)

    def less(self, other: Shares) -> Shares:
        """Subtract the shares of another set, whose folds hold the partners of these images."""
        return self._of(self.shares - other.shares, self.images)

    def mean_and_noise(self, without: int | None) -> tuple[Tensor, Tensor]:
        """Return the mean of the shares over images, and the sampling variance of this mean.

        Args:
            without: Fold to leave out; None to use all folds.

        Returns:
            The mean, ``(N, bins)``, and its unbiased variance, summed over bins, ``(N,)``.

        """
        num_images = self.images.sum()
        total = self.total
        squares = self.squares
        num_folds = len(self.images)
        if without is not None:
            num_left_out = self.images[without]
            shares = self.shares[without]
            num_images = num_images - num_left_out
            total = total - num_left_out * shares
            squares = squares - num_left_out * shares.square().sum(1)
            num_folds -= 1
        mean = total / num_images
        variance = (squares / num_images - mean.square().sum(1)) / (num_folds - 1)
        return mean, variance


@dataclass(frozen=True, eq=False)
class Apart:
    """Distance of two sets.

    Attributes:
        sides: Folds of both sets. For pairs, the folds of the differences of partners only.
        averaging: Average of the neurons, for which a debiased distance exists.

    Example:
        >>> from torchmetrics_dna.dna.averaging import PLAIN
        >>> one = torch.tensor([1, 1])
        >>> a, b = torch.tensor([[[3, 1, 0]], [[1, 3, 0]]]), torch.tensor([[[0, 1, 3]], [[0, 3, 1]]])
        >>> Apart((Shares.of(a, one), Shares.of(b, one)), PLAIN).bins <= 1
        True

    """

    sides: tuple[Shares, ...]
    averaging: Averaging

    @property
    def bins(self) -> float:
        """Debiased dna-emd.

        The biased dna-emd is multiplied by the square root of the ratio of the debiased to the biased squared distance.
        """
        figures = self._figures
        if not figures.biased_square:
            return 0.0
        share = max(0.0, figures.square) / figures.biased_square
        return float(figures.biased_emd * share**0.5)

    @property
    def square(self) -> float:
        """Debiased squared distance.

        It is the squared difference of the cumulative histograms, summed over bins, and averaged over neurons. The
        estimate is unbiased, so it is negative about half of the time if the sets do not differ.
        """
        return self._figures.square

    @cached_property
    def left_out(self) -> list[Tensor]:
        """Debiased squared distances without one fold, for the jackknife.

        The first tensor has one value for each fold of A, and the second tensor one for each fold of B. For pairs,
        there is one tensor, since a fold is left out in both sets.
        """
        squares_of_sides = []
        for side, folds in enumerate(self.sides):
            squares = [self._distance(side, fold).square for fold in range(len(folds.images))]
            squares_of_sides.append(torch.tensor(squares, dtype=torch.float64))
        return squares_of_sides

    @cached_property
    def _figures(self) -> _Distances:
        return self._distance()

    def _distance(self, side: int | None = None, fold: int | None = None) -> _Distances:
        """Compute the distances, perhaps without a fold.

        Args:
            side: Side whose fold is left out; None to use all folds.
            fold: Number of the fold.

        """
        means: list[Tensor] = []
        variances: list[Tensor] = []
        for k, folds in enumerate(self.sides):
            mean, variance = folds.mean_and_noise(fold if k == side else None)
            means.append(mean)
            variances.append(variance)
        # For pairs, the only side holds the differences.
        difference = means[0] if len(means) == 1 else means[0] - means[1]
        biased_square = difference.square().sum(1)
        square = biased_square - torch.stack(variances).sum(0)
        return _Distances(
            square=self._mean_over_neurons(square),
            biased_emd=self._mean_over_neurons(difference.abs().sum(1)),
            biased_square=self._mean_over_neurons(biased_square),
        )

    def _mean_over_neurons(self, values: Tensor) -> float:
        return float(self.averaging.terms(values).mean())


class _Distances(NamedTuple):
    """Distances of two sets, averaged over neurons.

    Attributes:
        square: Debiased squared distance.
        biased_emd: dna-emd that is not debiased.
        biased_square: Squared distance that is not debiased.

    """

    square: float
    biased_emd: float
    biased_square: float


def takes_half(before: Apart, after: Apart) -> bool:
    """Return whether a change of A explains at least half of the squared distance to B.

    The squared distances of independent effects add up. So a difference in content, which no change removes, does not
    hide the share that a change explains.

    A jackknife over folds tests whether A is significantly closer to B after the change. The folds hold the same images
    before and after the change. Their content hardly changes, so the sampling noise of the content cancels.

    Args:
        before: Distance before the change.
        after: Distance after the change.

    """
    is_clear = before.square - after.square > _CLEAR * _error(before, after, 1)
    return is_clear and before.square > 0 and after.square <= before.square / 2


def _takes_less(before: Apart, after: Apart) -> bool:
    """Return whether a change explains significantly less than half of the squared distance."""
    return after.square - before.square / 2 > _REJECTED * _error(before, after, 0.5)


def _error(before: Apart, after: Apart, share: float) -> float:
    """Return the jackknife standard error of a change of the squared distance.

    Args:
        before: Distance before the change.
        after: Distance after the change.
        share: Factor of the squared distance before the change. The one after the change is subtracted from it.

    """
    variance = 0.0
    for squares_before, squares_after in zip(before.left_out, after.left_out, strict=True):
        gain = share * squares_before - squares_after
        num_folds = len(gain)
        variance += float((gain - gain.mean()).square().sum()) * (num_folds - 1) / num_folds
    return float(variance**0.5)
