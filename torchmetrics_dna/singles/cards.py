"""Neuron cards: the parts of images that excite a neuron most and least, in A and in B."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from PIL import Image
from typing_extensions import override

from torchmetrics_dna.dna import DNA
from torchmetrics_dna.images import Reading
from torchmetrics_dna.images.cells import cells_of, window
from torchmetrics_dna.images.pixels import as_bytes
from torchmetrics_dna.images.properties import LAYER
from torchmetrics_dna.jobs.features import Distances
from torchmetrics_dna.jobs.job import Job
from torchmetrics_dna.jobs.measure import measure
from torchmetrics_dna.jobs.processes import in_step
from torchmetrics_dna.jobs.sides import open_indexed_sides
from torchmetrics_dna.statistics.rows import ImageRows

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from torchmetrics_dna.comparisons.comparison import Comparison
    from torchmetrics_dna.extractors import DNAExtractor
    from torchmetrics_dna.images import ImageSource, Source
    from torchmetrics_dna.images.cells import Box, Crop
    from torchmetrics_dna.jobs.measure import Measured
    from torchmetrics_dna.statistics.scores import Scorer

NUM_IMAGES = 256
_NUM_NEURONS = 12
_MOST, _LEAST = 6, 3  # crops of a side
_SIDE = 96  # pixels of a crop's picture
_TOGETHER = 0.8  # correlation, of either sign
_EVIDENT = 0.05  # q of a neuron that counts as one with evidence
_ENOUGH = 8  # images; correlations over fewer are meaningless
_CANDIDATES = 5  # for each card


class ImageCrop(NamedTuple):
    """Crop of an image.

    Attributes:
        image: Name of the image.
        number: Index of the image in its source.
        box: Left, top, right and bottom, as fractions of the original image.
        activation: The largest activation of the neuron in the image, or the smallest.
        picture: Pillow image of the crop, at most 96 pixels wide and high.

    """

    image: str
    number: int
    box: Box
    activation: float
    picture: Image.Image


class OtherNeuron(NamedTuple):
    """Neuron that correlates with that of a card."""

    layer: str
    neuron: int


@dataclass(frozen=True)
class Card:
    """Card of one neuron.

    Attributes:
        layer: Name of its layer.
        neuron: Its number within the layer.
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
        images: Sources of the sides that are images, ``"a"``, ``"b"`` or both.
        samples: Measured samples of these images, by side.

    """

    cards: list[Card]
    images: dict[str, ImageSource]
    samples: dict[str, Measured]

    @property
    def num_images(self) -> dict[str, int]:
        """Number of images in the sample of each side."""
        return {side: len(sample.numbers) for side, sample in self.samples.items()}


def make_cards(
    a: Source | DNA,
    b: Source | DNA,
    comparison: Comparison,
    extractor: DNAExtractor,
    *,
    num_neurons: int = _NUM_NEURONS,
    num_images: int = NUM_IMAGES,
    seed: int = 0,
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

    Args:
        a: Images, or a DNA or the path of one, whose side has no crops.
        b: As ``a``.
        comparison: The comparison of both, from :func:`compare`.
        extractor: The extractor of the comparison.
        num_neurons: Maximum number of cards.
        num_images: Number of images to sample from each side.
        seed: Seed of the samples.
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
        sides = zip("ab", open_indexed_sides((a, b), "A card", reading), strict=True)
        images = {name: side for name, side in sides if not isinstance(side, DNA)}
        if not images:
            raise ValueError("Cards show images, but A and B are both DNAs; give the images of at least one side")
        for name, value in (("num_neurons", num_neurons), ("num_images", num_images)):
            if value < 1:
                raise ValueError(f"Argument `{name}` expected to be at least 1, but got {value}")
        return cards_of(
            images, comparison, extractor, {},
            num_images=num_images, reading=reading, distributed=distributed, num_neurons=num_neurons, seed=seed,
        )  # fmt: skip


def cards_of(
    images: dict[str, ImageSource],
    comparison: Comparison,
    extractor: DNAExtractor,
    scorers: Mapping[str, Scorer],
    *,
    num_images: int,
    reading: Reading | None,
    distributed: bool,
    num_neurons: int = _NUM_NEURONS,
    seed: int = 0,
) -> Cards:
    """Make cards like :func:`make_cards`, of opened images by side.

    The pass also measures ``"distances"`` of the sample of each side that has a scorer.
    """
    _check(comparison, extractor)
    candidates = mixed(_by_evidence(comparison), _CANDIDATES * num_neurons)
    columns = [(neuron["layer"], neuron["neuron"]) for neuron in candidates]
    samples: dict[str, Measured] = {}
    for side, source in images.items():
        statistics: dict[str, ImageRows] = {"extremes": NeuronExtremes(columns, extractor.input_size)}
        if side in scorers:
            statistics["distances"] = Distances(scorers[side])
        drawn = torch.randperm(len(source), generator=torch.Generator().manual_seed(seed))
        numbers = drawn[:num_images].sort().values.tolist()
        job = Job(extractor, statistics, reading or Reading())
        measured = measure(job, source.take(numbers), distributed=distributed)
        samples[side] = replace(measured, numbers=[numbers[i] for i in measured.numbers])
    extremes = {side: Extremes.of(sample.rows["extremes"], len(columns)) for side, sample in samples.items()}
    groups = move_together([side_extremes.values[..., 0] for side_extremes in extremes.values()])
    shown = mixed([candidates[first] for first in groups], num_neurons)
    chosen = [column for column in groups if any(candidates[column] is neuron for neuron in shown)]
    crops = {
        side: _crops(source, samples[side].numbers, extremes[side], chosen, extractor.crop)
        for side, source in images.items()
    }
    cards = [_card(candidates, column, groups[column], crops) for column in chosen]
    return Cards(cards, images, samples)


def cut_out(pixels: NDArray[np.uint8], box: Box) -> Image.Image:
    """Cut a part out of an image ``(H, W, 3)``, at least a pixel, and shrink it to at most 96 pixels a side.

    Args:
        pixels: The image.
        box: Left, top, right and bottom as fractions of the image.

    """
    height, width = pixels.shape[:2]
    left, right = _pixels(box[0], box[2], width)
    top, bottom = _pixels(box[1], box[3], height)
    picture = Image.fromarray(pixels[top:bottom, left:right])
    picture.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    return picture


def _pixels(begin: float, end: float, length: int) -> tuple[int, int]:
    first = min(round(begin * length), length - 1)
    return first, max(first + 1, round(end * length))


def _check(comparison: Comparison, extractor: DNAExtractor) -> None:
    if not comparison.of_grain("neuron"):
        raise ValueError(
            f"Cards take a distance of neurons, but the comparison has {', '.join(comparison)}; add dna-emd to its"
            " `metrics`"
        )
    if missing := [layer for layer in comparison.neurons if layer not in extractor.neurons]:
        raise ValueError(
            f"The comparison has layer {missing[0]!r}, but the extractor has {', '.join(extractor.neurons)}; give the"
            " extractor that it was made with"
        )
    if list(comparison.neurons) == [LAYER]:
        raise ValueError("Cards show neurons of a network, but only properties were compared; give an extractor")


def _by_evidence(comparison: Comparison) -> list[dict[str, Any]]:
    """Return all neurons of the network, those that differ most clearly first."""
    return [neuron for neuron in comparison.top_neurons(comparison.neurons.total) if neuron["layer"] != LAYER]


def _crops(
    images: ImageSource, numbers: Sequence[int], extremes: Extremes, columns: Iterable[int], crop: Crop
) -> dict[int, tuple[list[ImageCrop], list[ImageCrop]]]:
    """Cut out what excites neurons most, and what of other images excites them least; each image is read once.

    Args:
        images: All images of the side.
        numbers: Indices of the sampled ones.
        extremes: Their extremes.
        columns: Columns of the neurons in the extremes.
        crop: Part of an image that the network sees.

    """
    chosen = {column: _most_and_least(extremes, column) for column in columns}
    ends: dict[int, list[tuple[int, int]]] = {}  # by image of the sample: columns, and 0 for most or 1 for least
    for column, parts in chosen.items():
        for end, part in enumerate(parts):
            for i in part:
                ends.setdefault(i, []).append((column, end))
    crops: dict[tuple[int, int, int], ImageCrop] = {}
    for i, of_image in ends.items():
        name, number = images.names[numbers[i]], numbers[i]
        pixels = as_bytes(images[number])
        for column, end in of_image:
            left, top, right, bottom = extremes.cells[i, column, end].tolist()
            box = window((left, top, right, bottom), pixels.shape[0], pixels.shape[1], crop)
            activation = float(extremes.values[i, column, end])
            crops[column, end, i] = ImageCrop(name, number, box, activation, cut_out(pixels, box))
    return {
        column: ([crops[column, 0, i] for i in most], [crops[column, 1, i] for i in least])
        for column, (most, least) in chosen.items()
    }


def _most_and_least(extremes: Extremes, column: int) -> tuple[list[int], list[int]]:
    """Return the images of the sample that excite a neuron most, and those of the others that excite it least."""
    largest, smallest = extremes.values[:, column].T.tolist()
    indices = range(len(largest))
    most = sorted(indices, key=lambda i: -largest[i])[: min(_MOST, -(-2 * len(indices) // 3))]
    rest = [i for i in indices if i not in most]
    return most, sorted(rest, key=lambda i: (smallest[i], largest[i]))[:_LEAST]


def _card(
    candidates: Sequence[dict[str, Any]],
    column: int,
    others: Sequence[int],
    crops: Mapping[str, Mapping[int, tuple[list[ImageCrop], list[ImageCrop]]]],
) -> Card:
    neuron = candidates[column]
    shift = neuron["shift"] or 0
    return Card(
        neuron["layer"],
        neuron["neuron"],
        neuron["z"],
        neuron["p_value"],
        neuron["q"],
        ("b" if shift > 0 else "a") if shift else None,
        [OtherNeuron(*(candidates[i][key] for key in ("layer", "neuron"))) for i in others],
        {side: of_side[column][0] for side, of_side in crops.items()},
        {side: of_side[column][1] for side, of_side in crops.items()},
    )


def mixed(neurons: Sequence[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """Return the first neurons in order, at most half of one layer as long as others have evidence.

    Args:
        neurons: From :meth:`Comparison.top_neurons`: dicts with ``layer`` and ``q``, which is None without a test.
        count: Maximum number of neurons.

    Example:
        >>> neurons = [{"layer": layer, "q": q} for layer, q in (("x", 0.01), ("x", 0.01), ("y", 0.04), ("y", 0.5))]
        >>> mixed(neurons, 2)
        [{'layer': 'x', 'q': 0.01}, {'layer': 'y', 'q': 0.04}]

    """
    most, of_layer = max(1, count // 2), Counter[str]()
    chosen: list[int] = []
    for i, neuron in enumerate(neurons):
        evident = neuron["q"] is None or neuron["q"] <= _EVIDENT
        if len(chosen) < count and evident and of_layer[neuron["layer"]] < most:
            of_layer[neuron["layer"]] += 1
            chosen.append(i)
    taken = set(chosen)
    rest = [i for i in range(len(neurons)) if i not in taken]
    return [neurons[i] for i in sorted(chosen + rest[: count - len(chosen)])]


def move_together(sides: Sequence[Tensor]) -> dict[int, list[int]]:
    """Group correlated neurons.

    In order, a neuron joins the first group whose first neuron correlates with it over the images of all sides, centred
    by side: the difference between the sides would correlate all neurons otherwise.

    Args:
        sides: Values of n neurons for each image of a side, ``(images, n)``.

    Returns:
        Column of the first neuron of each group, mapped to the columns of the others.

    Example:
        >>> rising = torch.arange(8.0)
        >>> move_together([torch.stack([rising, rising % 2, 5 - 2 * rising], 1)])
        {0: [2], 1: []}

    """
    values = torch.cat([side.double() - side.double().mean(0) for side in sides])
    lengths = values.norm(dim=0)
    scaled = values / lengths.clamp(min=1e-12)
    together = (scaled.T @ scaled).abs() >= _TOGETHER
    groups: dict[int, list[int]] = {}
    for column in range(values.shape[1]):
        first = next((leader for leader in groups if len(values) >= _ENOUGH and together[leader, column]), None)
        if first is None:
            groups[column] = []
        else:
            groups[first].append(column)
    return groups


@dataclass(frozen=True, eq=False)
class Extremes:
    """Extremes of n neurons in single images.

    Attributes:
        values: Largest and smallest activation, float32, ``(images, n, 2)``.
        cells: Position of each of these, as fractions of the network's input: left, top, right and bottom,
            ``(images, n, 2, 4)``.

    """

    values: Tensor
    cells: Tensor

    @classmethod
    def of(cls, rows: Tensor, num_neurons: int) -> Extremes:
        """Split the rows of :class:`NeuronExtremes`."""
        values, cells = rows.tensor_split([2 * num_neurons], 1)
        each = (len(rows), num_neurons)
        return cls(values.reshape(*each, 2), cells.reshape(*each, 2, 4))


class NeuronExtremes(ImageRows):
    """Per-image statistic of the extremes of n neurons, see :class:`Extremes`.

    Args:
        neurons: Layer and number of each neuron.
        input_size: Height and width of the network's input.

    """

    def __init__(self, neurons: Sequence[tuple[str, int]], input_size: tuple[int, int] | None) -> None:
        super().__init__()
        self._neurons, self._input_size = neurons, input_size
        self._columns: dict[str, list[int]] = {}
        for column, (layer, _) in enumerate(neurons):
            self._columns.setdefault(layer, []).append(column)

    @override
    def rows(self, activations: Mapping[str, Tensor]) -> Tensor:
        count, width = len(next(iter(activations.values()))), len(self._neurons)
        values, cells = torch.zeros(count, width, 2), torch.zeros(count, width, 2, 4)
        for layer, columns in self._columns.items():
            of_layer = activations[layer][:, [self._neurons[column][1] for column in columns]].float()
            parts = cells_of(of_layer.shape[2:], self._input_size)
            of_layer = of_layer.flatten(2) if of_layer.ndim > 2 else of_layer[..., None]
            for end, sign in enumerate((1, -1)):
                most = (sign * of_layer).amax(2)
                values[:, columns, end] = sign * most.cpu()
                cells[:, columns, end] = parts[_middle_of(sign * of_layer == most[..., None], parts).cpu()]
        return torch.cat([values.flatten(1), cells.flatten(1)], 1)


def _middle_of(reached: Tensor, parts: Tensor) -> Tensor:
    """Return the position nearest to the centroid of all positions that reach an extreme.

    There may be many: a neuron is often 0 almost everywhere, and the first of such positions is just a corner.

    Args:
        reached: Mask of the positions that reach the extreme, ``(B, c, positions)``.
        parts: Cell of each position, ``(positions, 4)``.

    Returns:
        Shape ``(B, c)``.

    """
    middles = ((parts[:, :2] + parts[:, 2:]) / 2).to(reached.device)
    weights = reached.float()
    centroid = weights @ middles / weights.sum(2, keepdim=True)
    distances = sum((middles[:, axis] - centroid[..., axis, None]) ** 2 for axis in (0, 1))
    assert isinstance(distances, torch.Tensor)
    return torch.where(reached, distances, torch.inf).argmin(2)
