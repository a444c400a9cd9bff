"""Find a change of A that explains a difference: image properties choose it, and the network checks it."""

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

    # Name of a change, and its place between none (0) and most (1).
    Place = tuple[str, float]
    # Name of a change, and its amount.
    Change = tuple[str, float]
    # Properties of images, (images, properties).
    Figures = NDArray[np.float64]

# Number of images of A whose properties choose a change, and that the network sees after it, at most.
CHANGED = 16
CHECKED = 48
# Smallest number of images per set.
LEAST = 10
# Label of the progress.
LABEL = "searching for a change that explains the difference (--no-causes skips this)"
# Amounts where the search of each change begins, as places between none and most.
_TRIES = (0.2, 0.5, 0.9)
# Steps to either side of the best place so far.
_STEPS = (1 / 8, 1 / 16, 1 / 32)
# Number of changes whose amounts are refined, and of those that the network then checks.
_RIVALS = 3
_CHECKED = 2
# A second change is searched if one change leaves at least this share of the difference.
_REST = 0.25
# Number of bins of histograms, if those of folds can be merged to so many.
_BINS = 50
# Deciles' middles, by which distributions of properties are compared.
_QUANTILES = (np.arange(10) + 0.5) / 10
# Smallest variance of a property, so that one that hardly varies does not decide alone.
_LEAST_VARIANCE = 1e-6
# About the squared difference of ranks between samples of one distribution.
_LEAST_RANKS = 0.05
# B is taken for resized if its shorter side is at most this share of A's.
_RESIZED = 0.95
# Larger images are measured in their middle, of so many pixels.
_MIDDLE = 128
# Smallest scale of a resize for which the middle is enlarged, so that it has as many pixels afterwards.
_LEAST_SCALE = 1 / 8
# Worker processes decode images from this number of bytes on.
_LARGE = 1 << 22
_SEEN = [PROPERTIES.index(name) for name in OF_PIXELS]
# Standard errors by which a change is accepted, and by which each of the checked changes is rejected.
_CLEAR = 2
_REJECTED = 1.64


class ChangedImages(ImageSource):
    """Some images of a source after some changes."""

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
        # The network gets floats for images of floats, and may take nothing else.
        return Decoded(np.divide(changed, 255, dtype=np.float32))


def _changed(pixels: NDArray[np.uint8], changes: Sequence[Change], seed: int) -> NDArray[np.uint8]:
    """Return an image after changes, one after another."""
    for name, amount in changes:
        pixels = change_image(pixels, name, amount, seed)
    return pixels


def find_causes(sides: Sides, a: Measured, b: Measured, in_bins: HistogramDNA) -> Causes | None:
    """Find one or two changes of A's images that explain at least half of the squared distance to B.

    Image properties of a few images of A after many changes choose the candidates, which costs no pass of the network.
    The network then measures images of A after the likeliest change, and after the next one if the first does not
    explain half. It measures them after two changes if much of the distance is left, and if the properties are much
    closer after both.

    Args:
        sides: The two sets.
        a: What was measured of A, with folds.
        b: What was measured of B, with folds.
        in_bins: The DNA of A, of the network's neurons, in the bins of the comparison.

    Returns:
        The changes. None unless there are enough images in both sets, grey or RGB and with an index.

    """
    images_a, images_b = sides.images
    if not isinstance(images_a, ImageSource) or not isinstance(images_b, ImageSource):
        return None
    if sides.extractor.why_no_pictures or min(len(a.numbers), len(b.numbers)) < LEAST:
        return None
    numbers_a = [a.numbers[i] for i in shuffled(len(a.numbers))[:CHECKED]]
    numbers_b = [b.numbers[i] for i in shuffled(len(b.numbers))[:CHECKED]]
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
    (likeliest_change,) = choice.changes([search.likeliest])
    return Causes(
        tuple(name for name, _ in changes),
        tuple(amount for _, amount in changes),
        tuple(bins * check.width for bins in search.bins),
        len(numbers_a),
        not search.explaining and all(_takes_less(before, after) for after in search.checked),
        likeliest_change,
    )


class _Search(NamedTuple):
    """Changes that the network has measured, and those that explain the distance.

    Attributes:
        explaining: Changes that explain at least half of the squared distance together: none, one or two.
        bins: Distance before these changes, and after each of them.
        checked: Distances after all measured changes.
        likeliest: The likeliest single change.

    """

    explaining: list[Place]
    bins: list[float]
    checked: list[Apart]
    likeliest: Place


def _search(check: _Check, choice: _Choice, before: Apart) -> _Search:
    """Measure the likeliest changes by the network until one explains half, and then two changes together."""
    after_one: dict[Place, Apart] = {}
    for place in choice.likeliest()[:_CHECKED]:
        after_one[place] = check.apart(choice.changes([place]))
        if takes_half(before, after_one[place]):
            break
    likeliest = next(iter(after_one))
    last = next(reversed(after_one))
    one_explains = takes_half(before, after_one[last])
    first = last if one_explains else likeliest
    once = after_one[first]
    checked = list(after_one.values())
    if once.bins > _REST * before.bins:
        both = choice.together(first)
        if both:
            twice = check.apart(choice.changes(both))
            checked.append(twice)
            if takes_half(once, twice) and (one_explains or takes_half(before, twice)):
                return _Search(both, [before.bins, once.bins, twice.bins], checked, likeliest)
    if one_explains:
        return _Search([first], [before.bins, once.bins], checked, likeliest)
    return _Search([], [before.bins], checked, likeliest)


class _Choice:
    """Choice of changes by properties of images: those of a few images of A after changes, compared with those of B."""

    def __init__(self, sides: Sequence[ImageSource], numbers: Sequence[Sequence[int]], extractor: DNAExtractor) -> None:
        self._numbers = numbers[0]
        channels = extractor.image_channels
        self._pictures, self._side = _middles(sides[0], numbers[0], channels, _LEAST_SCALE)
        of_b, side_of_b = _middles(sides[1], numbers[1], channels)
        self._b = _properties(of_b)
        unchanged = _properties([_middle(picture) for picture in self._pictures])
        self._variance = np.concatenate([unchanged, self._b]).var(0) + _LEAST_VARIANCE
        left_out = {name for name, change in CHANGES.items() if change.of_colour and channels == 1}
        # Scale to which A's images would have been resized to be as small as B's.
        resized = side_of_b / self._side
        if extractor.input_size is None or resized > _RESIZED:
            left_out.add("resize")
        self._tries: dict[str, tuple[float, ...]] = {name: _TRIES for name in CHANGES if name not in left_out}
        if "resize" in self._tries:
            # The sizes give the only place that fits.
            self._tries["resize"] = (1 - resized,)

    def changes(self, places: Sequence[Place]) -> list[Change]:
        """Return changes with their amounts."""
        return [(name, CHANGES[name].amount(place, self._side)) for name, place in places]

    def likeliest(self, made: Sequence[Place] = ()) -> list[Place]:
        """Return the changes after which A's properties are closest to B's, one place of each, the closest first.

        Args:
            made: A change that is made in addition. It is not returned.

        """
        by_rank: dict[str, float] = {}
        by_place: dict[str, dict[float, Figures]] = {}
        for name, tries in self._tries.items():
            if name not in dict(made):
                by_place[name] = {place: self._after([*made, (name, place)]) for place in tries}
                by_rank[name] = min(squared_ranks(figures, self._b) for figures in by_place[name].values())
        best = sorted(by_rank, key=by_rank.__getitem__)[:_RIVALS]
        return [place for _, place in sorted(self._refined(name, by_place[name], made) for name in best)]

    def together(self, first: Place) -> list[Place]:
        """Return a change with the likeliest second one, in the order in which they are made.

        The list is empty if the properties of A are not much nearer to B's after both.
        """
        alone = self._distance(self._after([first]))
        second = self.likeliest([first])[0]
        distance, first = self._refined(first[0], {first[1]: self._after([first, second])}, [second])
        return _in_order([first, second]) if distance <= alone / 4 else []

    def _refined(self, name: str, by_place: dict[float, Figures], made: Sequence[Place]) -> tuple[float, Place]:
        """Return the least distance of a change's places near those that were tried, with its place."""
        distances = {place: self._distance(figures) for place, figures in by_place.items()}
        # The sizes of the images give the place of a resize.
        steps = () if name == "resize" else _STEPS
        for step in steps:
            best = min(distances, key=distances.__getitem__)
            for place in (best - step, best + step):
                if 0 < place <= 1 and place not in distances:
                    distances[place] = self._distance(self._after([*made, (name, place)]))
        best = min(distances, key=distances.__getitem__)
        return distances[best], (name, best)

    def _distance(self, figures: Figures) -> float:
        """Combine both distances: quantiles distinguish changes, and ranks give more accurate amounts."""
        by_quantiles = squared_quantiles(figures, self._b, self._variance)
        by_ranks = squared_ranks(figures, self._b) + _LEAST_RANKS
        return by_quantiles * by_ranks

    def _after(self, places: Sequence[Place]) -> Figures:
        """Return the properties of the images of A after changes, of the middle of large ones."""
        changes = self.changes(_in_order(places))
        scale = min([1.0, *(amount / 100 for name, amount in changes if name == "resize")])
        middles = []
        for picture, number in zip(self._pictures, self._numbers, strict=True):
            # Before a resize, the middle is larger.
            changed = _changed(_middle(picture, scale), changes, number)
            middles.append(_middle(changed))
        return _properties(middles)


def _in_order(places: Sequence[Place]) -> list[Place]:
    """Put changes in the order in which they are made."""
    return sorted(places, key=lambda place: list(CHANGES).index(place[0]))


def _middle(picture: NDArray[np.uint8], scale: float = 1.0) -> NDArray[np.uint8]:
    """Return the middle of a large image, of at most so many pixels after a resize, with its blocks of 8 pixels."""
    most = round(_MIDDLE / scale)
    top, left = (max(0, (size - most) // 16 * 8) for size in picture.shape[:2])
    return picture[top : top + most, left : left + most]


def _middles(
    source: ImageSource, numbers: Sequence[int], channels: int, scale: float = 1.0
) -> tuple[list[NDArray[np.uint8]], float]:
    """Decode images one by one, and return the middle of each, and the median of their shorter sides."""
    middles: list[NDArray[np.uint8]] = []
    sides: list[int] = []
    for number in numbers:
        picture = as_bytes(as_rgb(source.decode(number, channels).pixels))
        # The copy lets the large image be freed.
        middles.append(_middle(picture, scale).copy())
        sides.append(min(picture.shape[:2]))
    return middles, float(np.median(sides))


def _properties(pictures: Sequence[NDArray[np.uint8]]) -> Figures:
    """Measure properties of pixels, ``(images, properties)``."""
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for i, picture in enumerate(pictures):
        by_shape.setdefault(picture.shape, []).append(i)
    properties = np.zeros((len(pictures), len(_SEEN)))
    for numbers in by_shape.values():
        batch = torch.from_numpy(np.stack([pictures[i] for i in numbers])).movedim(3, 1)
        properties[numbers] = image_properties(batch)[:, _SEEN].numpy()
    return properties


def squared_ranks(a: Figures, b: Figures) -> float:
    """Sum over properties the squares of the share of pairs in which A's is smaller, less one half.

    Example:
        >>> squared_ranks(np.array([[1.0], [2.0]]), np.array([[2.0], [3.0]]))
        0.140625

    """
    below = (a[:, None] < b).mean((0, 1)) + (a[:, None] == b).mean((0, 1)) / 2
    return float(((below - 0.5) ** 2).sum())


def squared_quantiles(a: Figures, b: Figures, variance: NDArray[np.float64]) -> float:
    """Sum over properties the squared differences of ten quantiles, divided by the variance of the property."""
    differences = np.quantile(a, _QUANTILES, axis=0) - np.quantile(b, _QUANTILES, axis=0)
    return float((differences**2 / variance).sum())


class _Check:
    """Distances of A to B after changes of A's images, by the network."""

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
        self._reading = sides.plan.arguments.reading or Reading()
        # Number of images that were measured.
        self._done = 0
        pixels = images[0].decode(numbers[0][0], sides.extractor.image_channels).pixels
        if self._reading.num_workers is None and pixels.nbytes < _LARGE:
            # Starting workers takes longer than decoding small images here.
            self._reading = replace(self._reading, num_workers=0)
        ranges = in_bins.known_ranges
        self._ranges = replace(ranges, margin="widen") if in_bins.self_ranging else ranges
        all_folds = [side.dnas["histogram"].select(list(in_bins.neurons)).folds for side in measured]
        self._num_folds = len(all_folds[0])
        # Folds with images, of each side.
        self._folds: list[list[Any]] = [[fold for fold in folds if fold.num_images] for folds in all_folds]
        bins_of_fold = self._folds[0][0].num_bins
        self._bins = _BINS if bins_of_fold % _BINS == 0 else bins_of_fold
        # Width of a fold's bin, in bins of the comparison.
        self.width = in_bins.num_bins / self._bins
        # Folds that were measured are used again if they have these bins. A's must hold the chosen images alone. B's
        # may hold others too, unless the sets are pairs.
        has_all_of_a, has_all_of_b = (
            len(chosen) == len(side.numbers) for side, chosen in zip(measured, numbers, strict=True)
        )
        is_fixed = not in_bins.self_ranging
        self._is_whole = (is_fixed and has_all_of_a, is_fixed and (has_all_of_b or not self._paired))
        self._b = self._shares(1, [])

    def apart(self, changes: Sequence[Change]) -> Apart:
        """Measure how far A is from B after changes."""
        a = self._shares(0, changes)
        sides = (a.less(self._b),) if self._paired else (a, self._b)
        return Apart(sides, self._averaging)

    def report(self, num_images: int = 0, *, ends: bool = False) -> None:
        """Report progress."""
        num_done = self._done + num_images
        if self._reading.progress is None or num_done == 0:
            return
        # At most four passes over the images of A are expected.
        total = num_done if ends else max(num_done, 4 * len(self._numbers[0]))
        self._reading.progress(LABEL, num_done, total)

    def _shares(self, k: int, changes: Sequence[Change]) -> Shares:
        """Return the folds of a side: those that were measured, if they are of these images in these bins."""
        folds = self._folds[k]
        if changes or not self._is_whole[k]:
            of_number = dict(zip(self._measured[k].numbers, self._measured[k].rows["folds"].tolist(), strict=True))
            images = ChangedImages(self._images[k], self._numbers[k], changes)
            job = Job(
                self._extractor,
                {"histogram": HistogramStatistic(self._extractor, self._bins, self._ranges, self._num_folds)},
                replace(self._reading, progress=lambda _, done, __: self.report(done)),
                self._num_folds,
                folds=[of_number[number] for number in self._numbers[k]],
            )
            (split,) = job.run(images)
            folds = [fold for fold in job.values(split)["histogram"].folds if fold.num_images]
            self._done += len(images)
        counts = torch.stack([fold.counts.unflatten(1, (self._bins, -1)).sum(2) for fold in folds])
        return Shares.of(counts, torch.tensor([fold.num_images for fold in folds]))


class Shares(NamedTuple):
    """Cumulative histograms of the folds of a set, and their sums."""

    # Shares of each fold, float64, (folds, N, bins).
    shares: Tensor
    # Number of images of each fold, (folds,).
    images: Tensor
    # Sum of shares times images, (N, bins).
    total: Tensor
    # Sum of squared shares times images, also over bins, (N,).
    squares: Tensor

    @classmethod
    def of(cls, counts: Tensor, images: Tensor) -> Shares:
        """Take histograms of folds, ``(folds, N, bins)``, and the number of images of each, ``(folds,)``."""
        counts = counts.double()
        shares = counts / counts.sum(2, keepdim=True)
        # The last cumulative share is 1 for all.
        cumulative = shares.cumsum(2)[..., :-1]
        return cls._of(cumulative, images.to(counts))

    @classmethod
    def _of(cls, shares: Tensor, images: Tensor) -> Shares:
        total = torch.einsum("fnk,f->nk", shares, images)
        squares = shares.square().sum(2).T @ images
        return cls(shares, images, total, squares)

    def less(self, other: Shares) -> Shares:
        """Return the differences of folds that hold the same pairs."""
        return self._of(self.shares - other.shares, self.images)

    def mean_and_noise(self, without: int | None) -> tuple[Tensor, Tensor]:
        """Return the mean over images, ``(N, bins)``, and its unbiased variance, summed over bins, ``(N,)``.

        ``without`` is a fold to leave out.
        """
        images = self.images.sum()
        total = self.total
        squares = self.squares
        count = len(self.images)
        if without is not None:
            size = self.images[without]
            shares = self.shares[without]
            images = images - size
            total = total - size * shares
            squares = squares - size * shares.square().sum(1)
            count -= 1
        mean = total / images
        return mean, (squares / images - mean.square().sum(1)) / (count - 1)


@dataclass(frozen=True, eq=False)
class Apart:
    """Distance of two sets: from the folds of both, or from those of the differences of pairs.

    Example:
        >>> from torchmetrics_dna.dna.averaging import PLAIN
        >>> one = torch.tensor([1, 1])
        >>> a, b = torch.tensor([[[3, 1, 0]], [[1, 3, 0]]]), torch.tensor([[[0, 1, 3]], [[0, 3, 1]]])
        >>> Apart((Shares.of(a, one), Shares.of(b, one)), PLAIN).bins <= 1
        True

    """

    # Folds of both sets, or of the differences of pairs.
    sides: tuple[Shares, ...]
    # Average of the neurons, for which a debiased distance exists.
    averaging: Averaging

    @property
    def bins(self) -> float:
        """Debiased dna-emd, which is the biased one times the root of the debiased share of its square."""
        square, emd, with_noise = self._figures
        if not with_noise:
            return 0.0
        share = max(0.0, square) / with_noise
        return float(emd * share**0.5)

    @property
    def square(self) -> float:
        """Squared difference of the cumulative histograms, summed over bins, its debiased mean over neurons.

        It is unbiased, so it is negative about half of the time where nothing differs.
        """
        return self._figures[0]

    @cached_property
    def left_out(self) -> list[Tensor]:
        """The same without each fold of A, and without each of B; of pairs, without each fold of both."""
        return [
            torch.tensor([self._distance(side, fold)[0] for fold in range(len(folds.images))], dtype=torch.float64)
            for side, folds in enumerate(self.sides)
        ]

    @cached_property
    def _figures(self) -> tuple[float, float, float]:
        return self._distance()

    def _distance(self, side: int = -1, fold: int = 0) -> tuple[float, float, float]:
        """Return the debiased squared distance, and dna-emd and the squared distance with it."""
        parts = [folds.mean_and_noise(fold if k == side else None) for k, folds in enumerate(self.sides)]
        difference = parts[0][0] if len(parts) == 1 else parts[0][0] - parts[1][0]
        with_noise = difference.square().sum(1)
        square = with_noise - torch.stack([noise for _, noise in parts]).sum(0)

        def mean(values: Tensor) -> float:
            return float(self.averaging.terms(values).mean())

        return mean(square), mean(difference.abs().sum(1)), mean(with_noise)


def takes_half(before: Apart, after: Apart) -> bool:
    """Return whether a change of A clearly brings it closer to B, to at most half of the squared distance before.

    The squares of independent effects add up. So a difference in content, which no change of A removes, does not hide
    the share that a change explains.

    A jackknife over folds tests whether A comes closer. The folds are the same before and after the change, so the
    sampling noise of the content, which hardly changes, cancels.
    """
    is_clear = before.square - after.square > _CLEAR * _error(before, after, 1)
    return is_clear and before.square > 0 and after.square <= before.square / 2


def _takes_less(before: Apart, after: Apart) -> bool:
    """Return whether a change clearly explains less than half of the squared distance."""
    return after.square - before.square / 2 > _REJECTED * _error(before, after, 0.5)


def _error(before: Apart, after: Apart, share: float) -> float:
    """Return the standard error of a share of the squared distance before, less that after, by the jackknife."""
    gains = [share * far - near for far, near in zip(before.left_out, after.left_out, strict=True)]
    variance = sum(float((gain - gain.mean()).square().sum()) * (len(gain) - 1) / len(gain) for gain in gains)
    return float(variance**0.5)
