"""Name the cause of a difference by making it: change images of A, and see how much nearer to B they come."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from typing_extensions import override

from torchmetrics_dna.functional.causes import Apart, Folds, takes_half
from torchmetrics_dna.images import ImageSource, Reading
from torchmetrics_dna.images.changes import CHANGES, change_image
from torchmetrics_dna.images.pixels import Decoded, as_bytes, as_rgb
from torchmetrics_dna.images.sets import shuffled
from torchmetrics_dna.jobs.groups import partners
from torchmetrics_dna.jobs.job import Job
from torchmetrics_dna.statistics import histogram_statistic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor

    from torchmetrics_dna.dna import HistogramDNA
    from torchmetrics_dna.images.reading import Progress
    from torchmetrics_dna.jobs.sides import Sides

    Place = tuple[str, float]  # name of a change, and place between none of it and most
    Change = tuple[str, float]  # name of a change, and its amount
    Distance = Callable[[Sequence[Sequence[Place]]], Sequence[float]]

CHANGED, UNCHANGED = 16, 48  # images of A that choose changes and amounts; images of B then, and of each side to check
LEAST = 10  # images of a side
_FOLDS, _BINS = 8, 50
_STEPS = (1 / 4, 1 / 8, 1 / 16, 1 / 32)  # of places, each to either side of the best one
_RIVALS = 2  # steps that the two best changes take, before the best alone
_REST = 0.25  # of the difference that one change leaves, from which on a second is searched
_KEPT = 1 << 28  # bytes of decoded images


@dataclass(frozen=True)
class Causes:
    """Changes that were made to images of A, and how near to B they came; without names if none took half.

    Attributes:
        names: Names of one change, or of two in the order in which they were made; empty for none.
        amounts: Their amounts, see ``torchmetrics_dna.images.changes.CHANGES``.
        bins: dna-emd without noise between images of A and of B that did not choose them: without a change, with the
            one that takes more, and with both.
        num_images: Number of these images of A.

    """

    names: tuple[str, ...]
    amounts: tuple[float, ...]
    bins: tuple[float, ...]
    num_images: int

    @property
    def in_words(self) -> str:
        """The changes, as in "a blur of about 1.1 px and noise of about 4 grey levels"."""
        pairs = zip(self.names, self.amounts, strict=True)
        return " and ".join(CHANGES[name].in_words(amount) for name, amount in pairs)


class ChangedImages(ImageSource):
    """Some images of a source in several variants, each after some changes; all of a variant before the next."""

    def __init__(self, source: ImageSource, numbers: Sequence[int], variants: Sequence[Sequence[Change]]) -> None:
        names = [source.names[number] for _ in variants for number in numbers]
        super().__init__(names, self.decode, source.label, roots=source.roots)
        self._source, self._chosen, self._variants = source, numbers, variants
        self._kept: dict[tuple[int, int], Decoded] = {}

    @override
    def decode(self, index: int, channels: int = 3) -> Decoded:
        variant, place = divmod(index, len(self._chosen))
        number = self._chosen[place]
        decoded = self._kept.get((number, channels)) or self._source.decode(number, channels)
        if sum(picture.pixels.nbytes for picture in self._kept.values()) < _KEPT:
            self._kept[number, channels] = decoded
        changes = self._variants[variant]
        if not changes:
            return decoded
        pixels = as_bytes(as_rgb(decoded.pixels))
        for name, amount in changes:
            pixels = change_image(pixels, name, amount, number)
        return Decoded(pixels[..., :channels])

    def again(self, variants: Sequence[Sequence[Change]]) -> ChangedImages:
        """Return other variants of the same images; those that were decoded are kept."""
        changed = ChangedImages(self._source, self._chosen, variants)
        changed._kept = self._kept
        return changed


def find_causes(sides: Sides, a: HistogramDNA, readable: Sequence[Sequence[int]], weights: Tensor | None) -> Causes:
    """Find the one or two changes of A's images that take half of the squared distance to B, if there are such.

    Args:
        sides: A and B, indexed images both.
        a: DNA of A, of the network's neurons.
        readable: Numbers of the images of A and of B that can be read.
        weights: Weights of the neurons, none below 0; None for the plain mean.

    """
    search = _Search(sides, a, readable, weights)
    causes = search.causes()
    search.tell(ends=True)
    return causes


def can_be_found(sides: Sides, readable: Sequence[Sequence[int]]) -> bool:
    """True if the images of both sides are at hand, grey or RGB, and enough."""
    indexed = all(isinstance(side, ImageSource) for side in sides.images)
    return indexed and not sides.extractor.why_no_pictures and min(map(len, readable)) >= LEAST


class _Search:
    """Images that choose and images that check, and the network that measures both."""

    def __init__(
        self, sides: Sides, a: HistogramDNA, readable: Sequence[Sequence[int]], weights: Tensor | None
    ) -> None:
        arguments, (images_a, images_b) = sides.arguments, sides.images
        assert isinstance(images_a, ImageSource)
        assert isinstance(images_b, ImageSource)
        self._extractor, self._weights = sides.extractor.without_properties(), weights
        self._reading, self._paired = arguments.reading or Reading(), bool(arguments.pairs)
        self._label, self._done = f"changed {images_a.label}", 0
        ranges = a.known_ranges
        self._ranges = replace(ranges, margin="widen") if a.self_ranging else ranges
        self._num_bins = a.num_bins
        chosen, checked = _halves(readable[0], CHANGED)
        if arguments.pairs:
            partner = partners(images_a, images_b, arguments.pairs)
            of_b = [partner[i] for i in chosen], [partner[i] for i in checked]
        else:
            of_b = _halves(readable[1], UNCHANGED)
        self._choosing, self._checking = (ChangedImages(images_a, numbers, []) for numbers in (chosen, checked))
        self._num_images, self._channels = len(checked), sides.extractor.image_channels
        self._b = [next(self._measured(ChangedImages(images_b, numbers, [[]]))) for numbers in of_b]
        pictures = [self._choosing.again([[]]).decode(i, self._channels).pixels for i in range(len(chosen))]
        self._side = float(np.median([min(picture.shape[:2]) for picture in pictures]))
        if self._reading.num_workers is None and sum(picture.nbytes for picture in pictures) < _KEPT / 4:
            self._reading = replace(self._reading, num_workers=0)  # to start workers takes longer

    def causes(self) -> Causes:
        tries = [(name, place) for name in self._names() for place in CHANGES[name].tries]
        first = nearest(tries, self._chosen_by)
        before, once = self._checked([[], [first]])
        if not takes_half(before, once):
            return Causes((), (), self._bins(before), self._num_images)
        named, bins = [first], self._bins(before, once)
        if once.bins > _REST * before.bins:
            others = [(name, CHANGES[name].tries[0]) for name in self._names() if name != first[0]]
            second = nearest(others, self._chosen_by, [first])
            both = _in_order([nearest([first], self._chosen_by, [second], _STEPS[-2:]), second])
            (twice,) = self._checked([both])
            if takes_half(once, twice):
                named, bins = both, self._bins(before, once, twice)
        changes = self._changes(named)
        return Causes(
            tuple(name for name, _ in changes), tuple(amount for _, amount in changes), bins, self._num_images
        )

    def tell(self, num_images: int = 0, *, ends: bool = False) -> None:
        """Report progress."""
        progress: Progress | None = self._reading.progress
        if progress is not None:
            progress(self._label, self._done + num_images, self._done if ends else None)

    def _names(self) -> list[str]:
        """Return the changes that the network can see, and whose images it takes."""
        left_out = {name for name, change in CHANGES.items() if change.of_colour and self._channels == 1}
        if self._extractor.input_size is None:
            left_out.add("resize")
        return [name for name in CHANGES if name not in left_out]

    def _changes(self, places: Sequence[Place]) -> list[Change]:
        return [(name, CHANGES[name].amount(place, self._side)) for name, place in places]

    def _chosen_by(self, variants: Sequence[Sequence[Place]]) -> list[float]:
        return [apart.square for apart in self._apart(self._choosing, variants, self._b[0])]

    def _checked(self, variants: Sequence[Sequence[Place]]) -> list[Apart]:
        return list(self._apart(self._checking, variants, self._b[1]))

    def _apart(self, images: ChangedImages, variants: Sequence[Sequence[Place]], b: Folds) -> Iterator[Apart]:
        for a in self._measured(images.again([self._changes(places) for places in variants])):
            yield Apart((a.less(b),) if self._paired else (a, b), self._weights)

    def _bins(self, *distances: Apart) -> tuple[float, ...]:
        return tuple(each.bins * self._num_bins / _BINS for each in distances)

    def _measured(self, images: ChangedImages) -> Iterator[Folds]:
        """Yield the folds of each variant."""
        statistic = histogram_statistic(self._extractor, _BINS, self._ranges, _FOLDS)
        reading = replace(self._reading, progress=lambda _, done, __: self.tell(done))
        size = len(images) // len(images._variants)
        folds = [number % size % _FOLDS for number in range(len(images))]
        job = Job(self._extractor, {"histogram": statistic}, reading, _FOLDS, folds=folds)
        splits = [range(first, first + size) for first in range(0, len(images), size)]
        for split in job.run(images, splits):
            filled = [fold for fold in job.values(split)["histogram"].folds if fold.num_images]
            counts = torch.stack([fold.counts for fold in filled])
            yield Folds.of(counts, torch.tensor([fold.num_images for fold in filled]))
        self._done += len(images)


def _halves(numbers: Sequence[int], most: int) -> tuple[list[int], list[int]]:
    """Draw images that choose, at most so many or half, and others that check."""
    order = shuffled(len(numbers))
    count = min(most, len(numbers) // 2)
    return [numbers[i] for i in order[:count]], [numbers[i] for i in order[count:][:UNCHANGED]]


def _in_order(places: Sequence[Place]) -> list[Place]:
    """Put changes in the order in which they are made."""
    return sorted(places, key=lambda place: list(CHANGES).index(place[0]))


def nearest(
    tries: Sequence[Place], distance: Distance, made: Sequence[Place] = (), steps: Sequence[float] = _STEPS
) -> Place:
    """Search the change of least distance: of all tries the two best, then ever closer to either side of these.

    Args:
        tries: Changes and places to begin with.
        distance: Function of some variants of images, each some changes.
        made: Changes that are made, too.
        steps: How far to go to either side of the best place of a change, one after the other.

    Example:
        >>> places = [("blur", 1 / 3), ("noise", 1 / 3), ("hue", 1 / 3)]
        >>> name, place = nearest(places, lambda variants: [abs(v[0][1] - 0.5) - (v[0][0] == "blur") for v in variants])
        >>> name, round(place, 1)
        ('blur', 0.5)

    """
    measured: dict[Place, float] = {}

    def measure(places: Sequence[Place]) -> None:
        measured.update(zip(places, distance([_in_order([*made, place]) for place in places]), strict=True))

    def best(name: str = "") -> Place:
        return min((place for place in measured if name in ("", place[0])), key=measured.__getitem__)

    measure(tries)
    rivals = list(dict.fromkeys(name for name, _ in sorted(measured, key=measured.__getitem__)))[:2]
    for round_, step in enumerate(steps):
        around = [best(name) for name in (rivals if round_ < _RIVALS else [best()[0]])]
        sides = [(name, place + side) for name, place in around for side in (-step, step)]
        measure([place for place in sides if 0 < place[1] <= 1 and place not in measured])
    return best()
