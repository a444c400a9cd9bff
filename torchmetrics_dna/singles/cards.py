"""Neuron cards: the parts of images that excite a neuron most and least, in A and in B."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from torchmetrics_dna.dna import DNA
from torchmetrics_dna.extractors.classes import classifier_of
from torchmetrics_dna.images import Reading
from torchmetrics_dna.images.cells import window
from torchmetrics_dna.images.properties import LAYER
from torchmetrics_dna.jobs.job import Job
from torchmetrics_dna.jobs.measure import measure
from torchmetrics_dna.jobs.processes import in_step
from torchmetrics_dna.jobs.sides import open_indexed_sides
from torchmetrics_dna.singles.class_shares import class_shares_of
from torchmetrics_dna.singles.extremes import Extremes, NeuronExtremes
from torchmetrics_dna.singles.neuron_groups import mixed, move_together

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torchmetrics_dna.comparisons.comparison import Comparison
    from torchmetrics_dna.extractors import DNAExtractor
    from torchmetrics_dna.images import ImageSource, Source
    from torchmetrics_dna.images.cells import Box
    from torchmetrics_dna.jobs.measure import Measured
    from torchmetrics_dna.singles.class_shares import Classes
    from torchmetrics_dna.statistics.rows import ImageRows

NUM_NEURONS, NUM_IMAGES = 12, 256
MOST, LEAST = 6, 3  # crops of a side
_CANDIDATES = 5  # for each card


class ImageCrop(NamedTuple):
    """Crop of an image.

    Attributes:
        image: Name of the image.
        number: Index of the image in its source.
        box: Left, top, right and bottom, as fractions of the original image.
        activation: The largest activation of the neuron in the image, or the smallest.

    """

    image: str
    number: int
    box: Box
    activation: float


class OtherNeuron(NamedTuple):
    """Neuron that correlates with that of a card."""

    layer: str
    neuron: int
    name: str


@dataclass(frozen=True)
class Card:
    """Card of one neuron.

    Attributes:
        layer: Name of its layer.
        neuron: Its number within the layer.
        name: Its name, or again its number.
        z: Its distance above the null mean, in null standard deviations; None without a test.
        p_value: P-value, corrected for the number of neurons; None without a test.
        q: False discovery rate; None without a test.
        higher: The side where it is more active on average, ``"a"`` or ``"b"``; None if neither.
        others: Neurons that correlate with it and have no card of their own.
        most: By side, ``"a"`` or ``"b"``: crops that excite it most, strongest first.
        least: By side: crops that excite it least, weakest first.

    """

    layer: str
    neuron: int
    name: str
    z: float | None
    p_value: float | None
    q: float | None
    higher: str | None
    others: list[OtherNeuron]
    most: dict[str, list[ImageCrop]]
    least: dict[str, list[ImageCrop]]


@dataclass(frozen=True, eq=False)
class Cards:
    """Neuron cards, those with the most evidence first.

    Attributes:
        cards: One card for each group of neurons.
        classes: Classes that the network predicts; None unless it is sure, see :func:`make_cards`.
        images: Sources of the sides that are images, ``"a"``, ``"b"`` or both.
        looked_at: Measured samples of these images, by side.

    """

    cards: list[Card]
    classes: Classes | None
    images: dict[str, ImageSource]
    looked_at: dict[str, Measured]

    @property
    def num_images(self) -> dict[str, int]:
        """Number of images in the sample of each side."""
        return {side: len(sample.numbers) for side, sample in self.looked_at.items()}


def make_cards(
    a: Source | DNA,
    b: Source | DNA,
    found: Comparison,
    extractor: DNAExtractor,
    *,
    num_neurons: int = NUM_NEURONS,
    num_images: int = NUM_IMAGES,
    seed: int = 0,
    keep: Callable[[str], Mapping[str, ImageRows]] | None = None,
    reading: Reading | None = None,
    distributed: bool = False,
) -> Cards:
    """Make cards of the neurons that differ most clearly, by one more pass over samples of the images.

    Candidates are the neurons with the most evidence (without a test: with the largest distance), five for each card.
    Correlated neurons form a group: in order of evidence, a neuron joins the first group whose first neuron's largest
    activations per image correlate with its own by 0.8 or more, or -0.8 or less, over the images of both sides, centred
    by side. (The difference between A and B would correlate all of them otherwise.) With fewer than 8 images, each
    neuron is a group. A group has one card, of the neuron with the most evidence. No layer has more than half of the
    cards, as long as others have neurons with q of 0.05 or less. Properties of images are left out.

    A card shows crops of up to 6 images of a side that excite the neuron most, by their largest activation, and of 3 of
    the others that excite it least, by their smallest (ties: by their largest).

    The classes are those of the default extractor's own classifier, if it has its packaged weights and the layer
    ``head``. They are left out unless the median over images of the top probability is above 0.3 on both sides, since
    the network is not sure otherwise. No class is named unless a permutation test over images, of the sum of all
    differences, has a p-value of 0.05 or less.

    Args:
        a: Images, or a DNA or the path of one, whose side has no crops.
        b: As ``a``.
        found: The comparison of both, from :func:`compare`.
        extractor: The extractor of the comparison.
        num_neurons: Maximum number of cards.
        num_images: Number of images to sample from each side.
        seed: Seed of the samples.
        keep: Function from ``"a"`` or ``"b"`` to further per-image statistics of the sample, by name.
        reading: Options for reading the images.
        distributed: Share the images among the processes of torch.distributed; all get the same result.

    Raises:
        ValueError: If neither side is images, the comparison has no distances of neurons, a number is out of range, or
            an image can't be read.

    Example:
        >>> import numpy as np
        >>> from torchmetrics_dna import DNAExtractor, compare
        >>> black, white = np.zeros((2, 40, 50, 3), np.uint8), np.full((2, 40, 50, 3), 255, np.uint8)
        >>> extractor = DNAExtractor(layers=["block_0"])
        >>> cards = make_cards(black, white, compare(black, white, extractor), extractor, num_neurons=2).cards
        >>> len(cards), [crop.image for crop in cards[0].most["a"]]
        (2, ['image 0', 'image 1'])

    """
    with in_step(distributed):
        images = open_images(a, b, reading)
        _check(found, extractor, num_neurons, num_images)
        candidates = mixed(_by_evidence(found), _CANDIDATES * num_neurons)
        columns = [(neuron["layer"], neuron["neuron"]) for neuron in candidates]
        classifier = classifier_of(extractor) if len(images) == 2 else None
        samples: dict[str, Measured] = {}
        for side, source in images.items():
            statistics = {
                "extremes": NeuronExtremes(columns, extractor.input_size, classifier),
                **(keep(side) if keep else {}),
            }
            samples[side] = _look(
                source,
                _draw(len(source), num_images, seed),
                Job(extractor, statistics, reading or Reading()),
                distributed,
            )
        extremes = {side: Extremes.of(s.numbers, s.rows["extremes"], len(columns)) for side, s in samples.items()}
        groups = move_together([side_extremes.values[..., 0] for side_extremes in extremes.values()])
        shown = mixed([candidates[first] for first in groups], num_neurons)
        crops = _Crops(images, extremes, extractor)
        cards = [
            _card(candidates, column, groups[column], crops)
            for column in groups
            if any(candidates[column] is neuron for neuron in shown)
        ]
        classes = (
            None
            if classifier is None
            else class_shares_of(extremes["a"].probabilities, extremes["b"].probabilities, classifier.names)
        )
        return Cards(cards, classes, images, samples)


def open_images(a: Source | DNA, b: Source | DNA, reading: Reading | None = None) -> dict[str, ImageSource]:
    """Open the sides that are images, by ``"a"`` and ``"b"``; ValueError if neither is, or one is a stream."""
    sides = open_indexed_sides((a, b), "A card", reading=reading)
    images = {name: side for name, side in zip("ab", sides, strict=True) if not isinstance(side, DNA)}
    if not images:
        raise ValueError("Cards show images, but A and B are both DNAs; give the images of at least one side")
    return images


def _check(found: Comparison, extractor: DNAExtractor, num_neurons: int, num_images: int) -> None:
    for name, value in (("num_neurons", num_neurons), ("num_images", num_images)):
        if value < 1:
            raise ValueError(f"Argument `{name}` expected to be at least 1, but got {value}")
    if not found.of_grain("neuron"):
        raise ValueError(
            f"Cards take a distance of neurons, but the comparison has {', '.join(found)}; add dna-emd to its `metrics`"
        )
    if missing := [layer for layer in found.neurons if layer not in extractor.neurons]:
        raise ValueError(
            f"The comparison has layer {missing[0]!r}, but the extractor has {', '.join(extractor.neurons)}; give the"
            " extractor that it was made with"
        )
    if list(found.neurons) == [LAYER]:
        raise ValueError("Cards show neurons of a network, but only properties were compared; give an extractor")


def _by_evidence(comparison: Comparison) -> list[dict[str, Any]]:
    """Return all neurons of the network, those that differ most clearly first."""
    return [neuron for neuron in comparison.top_neurons(comparison.neurons.total) if neuron["layer"] != LAYER]


def _draw(count: int, num_images: int, seed: int) -> list[int]:
    """Draw indices of images, ascending."""
    drawn = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    numbers: list[int] = drawn[:num_images].sort().values.tolist()
    return numbers


def _look(source: ImageSource, numbers: list[int], job: Job, distributed: bool) -> Measured:
    """Measure the images of a source with these indices."""
    measured = measure(job, source.take(numbers), distributed=distributed)
    return replace(measured, numbers=[numbers[i] for i in measured.numbers])


class _Crops:
    """Crops of the sampled images, around extremes of a neuron."""

    def __init__(
        self, images: Mapping[str, ImageSource], extremes: Mapping[str, Extremes], extractor: DNAExtractor
    ) -> None:
        self.sides = list(images)
        self._images, self._extremes, self._crop = images, extremes, extractor.crop
        self._sizes: dict[tuple[str, int], tuple[int, int]] = {}

    def of(self, side: str, column: int) -> tuple[list[ImageCrop], list[ImageCrop]]:
        """Return the crops that excite a neuron most, and those of other images that excite it least."""
        largest, smallest = self._extremes[side].values[:, column].T.tolist()
        indices = range(len(largest))
        count = min(MOST, -(-2 * len(indices) // 3))
        most = sorted(indices, key=lambda i: -largest[i])[:count]
        rest = [i for i in indices if i not in most]
        least = sorted(rest, key=lambda i: (smallest[i], largest[i]))[:LEAST]
        return [self._cut(side, i, column, 0) for i in most], [self._cut(side, i, column, 1) for i in least]

    def _cut(self, side: str, index: int, column: int, end: int) -> ImageCrop:
        extremes, images = self._extremes[side], self._images[side]
        number = extremes.numbers[index]
        left, top, right, bottom = extremes.cells[index, column, end].tolist()
        box = window((left, top, right, bottom), *self._size(side, number), self._crop)
        return ImageCrop(images.names[number], number, box, float(extremes.values[index, column, end]))

    def _size(self, side: str, number: int) -> tuple[int, int]:
        """Return height and width of an image; each is read only once."""
        if (side, number) not in self._sizes:
            height, width = self._images[side][number].shape[:2]
            self._sizes[side, number] = height, width
        return self._sizes[side, number]


def _card(candidates: Sequence[dict[str, Any]], column: int, others: Sequence[int], crops: _Crops) -> Card:
    neuron = candidates[column]
    shift = neuron["shift"] or 0
    by_side = {side: crops.of(side, column) for side in crops.sides}
    return Card(
        neuron["layer"],
        neuron["neuron"],
        neuron["name"],
        neuron["z"],
        neuron["p_value"],
        neuron["q"],
        ("b" if shift > 0 else "a") if shift else None,
        [OtherNeuron(*(candidates[i][key] for key in ("layer", "neuron", "name"))) for i in others],
        {side: most for side, (most, _) in by_side.items()},
        {side: least for side, (_, least) in by_side.items()},
    )
