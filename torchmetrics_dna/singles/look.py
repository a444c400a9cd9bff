"""Single images of a comparison: the only pass that looks at them one by one, for what a report shows."""

from __future__ import annotations

import math
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from typing_extensions import override

from torchmetrics_dna.dna import DNA, HistogramDNA, LayerGaussianDNA
from torchmetrics_dna.dna.explanation import in_words
from torchmetrics_dna.images import Reading, open_source
from torchmetrics_dna.images.base import indexed
from torchmetrics_dna.images.cells import cells_of, window
from torchmetrics_dna.images.pixels import as_bytes
from torchmetrics_dna.images.properties import LAYER, PROPERTIES, image_properties
from torchmetrics_dna.jobs.groups import partners
from torchmetrics_dna.jobs.job import Job
from torchmetrics_dna.jobs.measure import measure
from torchmetrics_dna.jobs.processes import in_step
from torchmetrics_dna.singles.ranking import heat_maps
from torchmetrics_dna.statistics.outliers import LocalMomentStatistic, LocalScorer, local_layer
from torchmetrics_dna.statistics.rows import Distances, ImageRows, contrasted
from torchmetrics_dna.statistics.scores import Scorer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from torchmetrics_dna.binning import Activations
    from torchmetrics_dna.comparisons.comparison import Comparison
    from torchmetrics_dna.extractors import DNAExtractor
    from torchmetrics_dna.images import ImageSource
    from torchmetrics_dna.images.cells import Box, Crop
    from torchmetrics_dna.images.pixels import RGBImage
    from torchmetrics_dna.jobs.measure import Measured
    from torchmetrics_dna.jobs.sides import Sides

NUM_IMAGES = 256
_NUM_NEURONS = 12  # that have a card
_CANDIDATES = 5  # for each card
_MOST, _LEAST = 6, 3  # crops of a side on a card
_TOGETHER = 0.8  # correlation, of either sign
_ENOUGH = 8  # images; correlations over fewer are meaningless
_EVIDENT = 0.05  # q of a neuron that counts as one with evidence
_DRAWN = 8  # images of a strip
_UNLIKE = 6  # images least like the other side; each goes through the network once more, for its map
_ODD = 12  # images of B that are off
_CROP, _THUMBNAIL = 96, 160  # pixels of the longer side
_CLIPPED = 0.01  # of the values of the differences, at most
_LEAST_CROPS = 4  # of a side, to say that sides look different
_VISIBLE = [
    PROPERTIES.index(name)
    for name in ("brightness", "contrast", "saturation", "red against green", "blue against yellow", "sharpness")
]


class Picture(NamedTuple):
    """Image of a set.

    Attributes:
        name: Its name below its source.
        picture: Pillow image, at most 160 pixels wide and high.
        heat: Where it is unlike the other set, see :func:`~torchmetrics_dna.functional.heat`, ``(side, side)``; None
            for an image that was drawn at random.

    """

    name: str
    picture: Image.Image
    heat: Tensor | None = None


class ImageCrop(NamedTuple):
    """Crop of an image.

    Attributes:
        name: Name of the image below its source.
        number: Index of the image in its source.
        box: Left, top, right and bottom, as fractions of the original image.
        activation: The largest activation of the neuron in the image, or the smallest.
        picture: Pillow image of the crop, at most 96 pixels wide and high.

    """

    name: str
    number: int
    box: Box
    activation: float
    picture: Image.Image


@dataclass(frozen=True)
class Card:
    """Card of one neuron.

    Attributes:
        layer: Name of its layer.
        neuron: Its number within the layer.
        higher: The side where it is more active on average, ``"a"`` or ``"b"``; None if neither.
        others: Layer and number of the neurons that correlate with it and have no card of their own.
        most: By side, ``"a"`` or ``"b"``: crops that excite it most, strongest first.
        least: By side: crops that excite it least, weakest first.

    """

    layer: str
    neuron: int
    higher: str | None
    others: list[tuple[str, int]]
    most: dict[str, list[ImageCrop]]
    least: dict[str, list[ImageCrop]]

    @property
    def called(self) -> str:
        """Name of the neuron with its layer."""
        return in_words(self.layer, self.neuron)

    @property
    def look_different(self) -> bool:
        """True if a visible property separates all crops of A that excite the neuron most from all those of B."""
        sides = [
            torch.stack([_visible_properties(crop.picture) for crop in crops])
            for crops in self.most.values()
            if len(crops) >= _LEAST_CROPS
        ]
        if len(sides) < 2:
            return False
        (low_a, high_a), (low_b, high_b) = ((values.amin(0), values.amax(0)) for values in sides)
        return bool(((high_a < low_b) | (high_b < low_a)).any())


@dataclass(frozen=True, eq=False)
class Pictures:
    """Single images of the two sides of a comparison, as plain images and numbers.

    Attributes:
        settings: What was looked at, in words, by name.
        strips: Images drawn at random, by side, ``"a"``, ``"b"`` or both: of equal sides the same numbers, or partners.
        differences: Absolute differences of these partners; empty unless images correspond.
        gain: Factor by which the differences are multiplied.
        num_images: Number of images of each side that were looked at one by one; empty if none were, as where the test
            shows no difference, where they have nothing to show.
        cards: One card for each group of neurons, those with the most evidence first.
        unlike: Images of each side that are least like the other side, the furthest first.
        odd: Images of B that are off, the furthest first, at most 12: by their distance from A's own images, and where.
        crop: Part of an image that the network sees, which the heat maps are of.

    """

    settings: dict[str, str]
    strips: dict[str, list[Picture]] = field(default_factory=dict)
    differences: list[Picture] = field(default_factory=list)
    gain: int = 1
    num_images: dict[str, int] = field(default_factory=dict)
    cards: list[Card] = field(default_factory=list)
    unlike: dict[str, list[Picture]] = field(default_factory=dict)
    odd: list[Picture] = field(default_factory=list)
    crop: Crop = "none"


def look(sides: Sides, comparison: Comparison, num_images: int = NUM_IMAGES) -> Pictures:
    """Look at single images of both sides, by one more pass over samples of them.

    Candidates for cards are the neurons with the most evidence (without a test: with the largest distance), five for
    each card. Correlated neurons form a group: in order of evidence, a neuron joins the first group whose first
    neuron's largest activations per image correlate with its own by 0.8 or more, or -0.8 or less, over the images of
    both sides, centred by side. (The difference between A and B would correlate all of them otherwise.) With fewer than
    8 images, each neuron is a group. A group has one card, of the neuron with the most evidence. No layer has more than
    half of the cards, as long as others have neurons with q of 0.05 or less. Properties of images have none.

    A card shows crops of up to 6 images of a side that excite the neuron most, by their largest activation, and of 3 of
    the others that excite it least, by their smallest (ties: by their largest).

    Args:
        sides: The two sides, from :func:`~torchmetrics_dna.jobs.sides.open_sides`. A DNA has no images to show, nor
            have images that are neither grey nor RGB.
        comparison: Their comparison by dna-emd, from :func:`~torchmetrics_dna.comparisons.compare.compare_sides`.
        num_images: Number of images to sample from each side, with a fixed seed.

    Raises:
        ValueError: If a side is a stream, ``num_images`` is below 1, the comparison is without dna-emd, or an image
            can't be read.

    Example:
        >>> import numpy as np
        >>> from torchmetrics_dna.comparisons.compare import compare_sides
        >>> from torchmetrics_dna.jobs.arguments import Arguments
        >>> from torchmetrics_dna.jobs.sides import open_sides
        >>> black, white = np.zeros((2, 40, 50, 3), np.uint8), np.full((2, 40, 50, 3), 255, np.uint8)
        >>> sides = open_sides((black, white), Arguments(layers=["block_0"]))
        >>> cards = look(sides, compare_sides(sides, ("black", "white"))[0]).cards
        >>> len(cards), [crop.name for crop in cards[0].most["a"]]
        (12, ['image 0', 'image 1'])

    """
    if num_images < 1:
        raise ValueError(f"Argument `num_images` expected to be at least 1, but got {num_images}")
    if "dna-emd" not in comparison:
        raise ValueError(f"Images are looked at by dna-emd, but got a comparison by {', '.join(comparison)}; add it")
    opened = dict(zip("ab", sides.images, strict=True))
    images = {
        side: _Images(indexed(source, "A report")) for side, source in opened.items() if not isinstance(source, DNA)
    }
    settings = {side.upper(): f"images, {images[side].source.label}" if side in images else "a DNA" for side in opened}
    if images and (reason := sides.extractor.why_no_pictures):
        settings["pictures"], images = f"none, since {reason}", {}
    if not images:
        return Pictures(settings)
    is_turned = any(of_side.source.exif_orientation for of_side in images.values())
    settings["turned by their EXIF tag"] = "yes" if is_turned else "no"
    arguments = sides.arguments
    with in_step(arguments.distributed):
        paired = partners(images["a"].source, images["b"].source, arguments.pairs) if arguments.pairs else None
        drawn = _drawn(images, paired)
        strips = {side: [images[side].picture(i) for i in numbers] for side, numbers in drawn.items()}
        gain, differences = (1, list[Picture]()) if paired is None else _differences(images, drawn)
        extractor = sides.extractor
        if comparison.properties is not None:
            extractor = extractor.without_properties()
        job = Job(extractor, {}, arguments.reading or Reading())
        odd = _odd(images, comparison, job, num_images, distributed=arguments.distributed)
        pictures = Pictures(settings, strips, differences, gain, odd=odd, crop=extractor.crop)
        if comparison.explain().differs is False:
            return pictures
        settings["images looked at one by one"] = f"{num_images} of each side at most, drawn with seed 0"
        neurons = [n for n in comparison.top_neurons(comparison.neurons.total) if n["layer"] != LAYER]
        candidates = mixed(neurons, _CANDIDATES * _NUM_NEURONS)
        extremes = NeuronExtremes([(n["layer"], n["neuron"]) for n in candidates], extractor.input_size)
        samples: dict[str, Measured] = {}
        unlike: dict[str, list[Picture]] = {}
        for side, of_side in images.items():
            scorer = _scorer(comparison, extractor, side)
            numbers = _sampled(of_side, num_images)
            of_sample = job.also(extremes=extremes, distances=Distances(scorer))
            measured = measure(of_sample, of_side.source.take(numbers), distributed=arguments.distributed)
            samples[side] = replace(measured, numbers=[numbers[i] for i in measured.numbers])
            unlike[side] = _unlike(of_side, samples[side], scorer)
        return replace(
            pictures,
            num_images={side: len(sample.numbers) for side, sample in samples.items()},
            cards=_cards(images, samples, extremes, candidates, extractor.crop),
            unlike=unlike,
        )


def _sampled(images: _Images, num_images: int) -> list[int]:
    """Return the numbers of so many images of a side, drawn with a fixed seed."""
    chosen = torch.randperm(len(images.source), generator=torch.Generator().manual_seed(0))
    return chosen[:num_images].sort().values.tolist()


def _odd(
    images: Mapping[str, _Images], comparison: Comparison, job: Job, num_images: int, *, distributed: bool
) -> list[Picture]:
    """Return the images of B that are off; their maps are of local scores, against places of a sample of A."""
    if comparison.odd is None or not comparison.odd.off:
        return []
    numbers = list(images["b"].readable(comparison.odd.numbers[: min(len(comparison.odd.off), _ODD)]))
    extractor = job.extractor
    layer = local_layer(extractor)
    if layer is None:
        return [images["b"].picture(number) for number in numbers]
    sample = images["a"].source.take(_sampled(images["a"], num_images))
    local = LocalMomentStatistic(extractor, layer)
    places = measure(job.also(local=local), sample, distributed=distributed).dnas["local"]
    assert isinstance(places, LayerGaussianDNA)
    heats = heat_maps(LocalScorer(places, extractor), open_source([images["b"][number] for number in numbers]))
    return [images["b"].picture(number, heat) for number, heat in zip(numbers, heats, strict=True)]


def _scorer(comparison: Comparison, extractor: DNAExtractor, side: str) -> Scorer:
    """Return the scorer of images of a side: distances from the other side and from its own."""
    assert comparison.measured is not None
    references = list[HistogramDNA]()
    for measured in comparison.measured[:: -1 if side == "a" else 1]:
        dna = measured.dnas["histogram"]
        assert isinstance(dna, HistogramDNA)
        references.append(replace(dna.restrict(extractor.neurons), folds=()))
    return Scorer(references, extractor, comparison.neuron_weights)


class _Images:
    """Images of a side by number. Those that are shown whole are kept, so that none is decoded twice."""

    def __init__(self, source: ImageSource) -> None:
        self.source = source
        self._kept: dict[int, RGBImage] = {}

    def __getitem__(self, number: int) -> RGBImage:
        return self._kept[number] if number in self._kept else self.source[number]

    def keep(self, number: int) -> RGBImage:
        self._kept[number] = self[number]
        return self._kept[number]

    def readable(self, numbers: Iterable[int]) -> Iterator[int]:
        """Keep images and yield their numbers, without those that can't be read, or that there are not."""
        for number in numbers:
            with suppress(ValueError):
                if number < len(self.source):
                    self.keep(number)
            if number in self._kept:
                yield number

    def picture(self, number: int, heat: Tensor | None = None) -> Picture:
        return Picture(self.source.relative_names[number], shrunk(self[number], _THUMBNAIL), heat)


def shrunk(pixels: RGBImage, side: int) -> Image.Image:
    """Return a Pillow image of at most so many pixels a side."""
    picture = Image.fromarray(as_bytes(pixels))
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    return picture


def _drawn(images: Mapping[str, _Images], paired: Sequence[int] | None) -> dict[str, list[int]]:
    """Draw images of each side with one permutation of numbers, or those of A with their partners."""
    most = max(len(of_side.source) for of_side in images.values())
    order = torch.randperm(most, generator=torch.Generator().manual_seed(0)).tolist()
    if paired is None:
        return {side: list(islice(of_side.readable(order), _DRAWN)) for side, of_side in images.items()}
    of_a = (i for i in images["a"].readable(order) if list(images["b"].readable([paired[i]])))
    numbers = list(islice(of_a, _DRAWN))
    return {"a": numbers, "b": [paired[i] for i in numbers]}


def _differences(images: Mapping[str, _Images], drawn: Mapping[str, Sequence[int]]) -> tuple[int, list[Picture]]:
    """Return differences of partners, and the power of two by which they are multiplied.

    It is the largest that clips no more than a hundredth of the values. A difference has the size of the smaller image.
    """
    differences: list[NDArray[np.int64]] = []
    for numbers in zip(drawn["a"], drawn["b"], strict=True):
        pair = [as_bytes(images[side][number]) for side, number in zip("ab", numbers, strict=True)]
        height, width = min((pixels.shape[:2] for pixels in pair), key=math.prod)
        a, b = (
            np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC), dtype=int)
            for pixels in pair
        )
        differences.append(np.abs(b - a))
    values = np.concatenate([np.zeros(1), *(difference.ravel() for difference in differences)])
    gain = int(2 ** max(0, math.floor(math.log2(255 / max(float(np.quantile(values, 1 - _CLIPPED)), 1)))))
    names = [images["b"].source.relative_names[number] for number in drawn["b"]]
    amplified = [np.minimum(gain * difference, 255).astype(np.uint8) for difference in differences]
    return gain, [Picture(name, shrunk(pixels, _THUMBNAIL)) for name, pixels in zip(names, amplified, strict=True)]


def _unlike(images: _Images, sample: Measured, scorer: Scorer) -> list[Picture]:
    """Return the sampled images that are least like the other side: by their distance to it, less that to their own."""
    order = contrasted(sample.rows["distances"]).argsort(stable=True).flip(0)[:_UNLIKE].tolist()
    numbers = [sample.numbers[i] for i in order]
    heats = heat_maps(scorer, open_source([images.keep(number) for number in numbers]))
    return [images.picture(number, heat) for number, heat in zip(numbers, heats, strict=True)]


def _cards(
    images: Mapping[str, _Images],
    samples: Mapping[str, Measured],
    extremes: NeuronExtremes,
    candidates: Sequence[Mapping[str, Any]],
    crop: Crop,
) -> list[Card]:
    """Return a card for each group of the candidates, which are the columns of the extremes."""
    measured = {side: extremes.unpacked(sample.rows["extremes"]) for side, sample in samples.items()}
    groups = move_together([values[..., 0] for values, _ in measured.values()])
    shown = {id(neuron) for neuron in mixed([candidates[first] for first in groups], _NUM_NEURONS)}
    chosen = [column for column in groups if id(candidates[column]) in shown]
    crops = {
        side: _crops(images[side], sample.numbers, *measured[side], chosen, crop) for side, sample in samples.items()
    }
    cards = []
    for column in chosen:
        shift = candidates[column]["shift"] or 0
        higher = ("b" if shift > 0 else "a") if shift else None
        most, least = ({side: of_side[column][end] for side, of_side in crops.items()} for end in (0, 1))
        others = [extremes.chosen[other] for other in groups[column]]
        cards.append(Card(*extremes.chosen[column], higher, others, most, least))
    return cards


def _crops(
    images: _Images, numbers: Sequence[int], values: Tensor, cells: Tensor, columns: Iterable[int], crop: Crop
) -> dict[int, tuple[list[ImageCrop], list[ImageCrop]]]:
    """Cut out what excites each neuron most, and what of other images excites it least; each image is read once.

    ``numbers`` are of the sampled images, whose extremes and cells of :meth:`NeuronExtremes.unpacked` are the others.
    """
    chosen = {column: _most_and_least(values[:, column]) for column in columns}
    ends: dict[int, list[tuple[int, int]]] = {}  # by image of the sample: columns, and 0 for most or 1 for least
    for column, parts in chosen.items():
        for end, part in enumerate(parts):
            for i in part:
                ends.setdefault(i, []).append((column, end))
    crops: dict[tuple[int, int, int], ImageCrop] = {}
    for i, of_image in ends.items():
        number = numbers[i]
        name, pixels = images.source.relative_names[number], as_bytes(images[number])
        for column, end in of_image:
            left, top, right, bottom = cells[i, column, end].tolist()
            box = window((left, top, right, bottom), pixels.shape[0], pixels.shape[1], crop)
            crops[column, end, i] = ImageCrop(name, number, box, float(values[i, column, end]), cut_out(pixels, box))
    return {
        column: ([crops[column, 0, i] for i in most], [crops[column, 1, i] for i in least])
        for column, (most, least) in chosen.items()
    }


def _most_and_least(values: Tensor) -> tuple[list[int], list[int]]:
    """Return the images that excite a neuron most, and those of the others that excite it least."""
    largest, smallest = values.T.tolist()
    indices = range(len(largest))
    most = sorted(indices, key=lambda i: -largest[i])[: min(_MOST, -(-2 * len(indices) // 3))]
    rest = [i for i in indices if i not in most]
    return most, sorted(rest, key=lambda i: (smallest[i], largest[i]))[:_LEAST]


def cut_out(pixels: NDArray[np.uint8], box: Box) -> Image.Image:
    """Cut a part out of an image ``(H, W, 3)``, at least a pixel, and shrink it to at most 96 pixels a side."""
    height, width = pixels.shape[:2]
    left, top = min(round(box[0] * width), width - 1), min(round(box[1] * height), height - 1)
    right, bottom = max(left + 1, round(box[2] * width)), max(top + 1, round(box[3] * height))
    return shrunk(pixels[top:bottom, left:right], _CROP)


def _visible_properties(picture: Image.Image) -> Tensor:
    return image_properties(torch.tensor(np.asarray(picture)).permute(2, 0, 1)[None])[0][_VISIBLE]


def mixed(neurons: Sequence[Mapping[str, Any]], count: int) -> list[Mapping[str, Any]]:
    """Return the first ``count`` neurons in order, at most half of one layer as long as others have evidence.

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
    """Group neurons that correlate over the images of all sides, from their values ``(images, n)`` for each side.

    Returns the column of the first neuron of each group, mapped to the columns of the others.

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


class NeuronExtremes(ImageRows):
    """Per-image statistic of the largest and the smallest activation of n neurons, and of the cells that have them."""

    def __init__(self, neurons: Sequence[tuple[str, int]], input_size: tuple[int, int] | None) -> None:
        super().__init__()
        self.chosen, self._input_size = neurons, input_size
        self._columns: dict[str, list[int]] = {}
        for column, (layer, _) in enumerate(neurons):
            self._columns.setdefault(layer, []).append(column)

    @override
    def rows(self, activations: Activations) -> Tensor:
        (layers,) = activations.parts
        count, width = len(activations), len(self.chosen)
        values, cells = torch.zeros(count, width, 2), torch.zeros(count, width, 2, 4)
        for layer, columns in self._columns.items():
            of_layer = layers[layer][:, [self.chosen[column][1] for column in columns]].float()
            parts = cells_of(of_layer.shape[2:], self._input_size)
            of_layer = of_layer.flatten(2) if of_layer.ndim > 2 else of_layer[..., None]
            for end, sign in enumerate((1, -1)):
                most = (sign * of_layer).amax(2)
                values[:, columns, end] = sign * most.cpu()
                cells[:, columns, end] = parts[_middle_of(sign * of_layer == most[..., None], parts).cpu()]
        return torch.cat([values.flatten(1), cells.flatten(1)], 1)

    def unpacked(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Split rows into activations ``(images, n, 2)`` and cells ``(images, n, 2, 4)``, fractions of the input."""
        width = len(self.chosen)
        values, cells = rows.tensor_split([2 * width], 1)
        return values.reshape(len(rows), width, 2), cells.reshape(len(rows), width, 2, 4)


def _middle_of(reached: Tensor, parts: Tensor) -> Tensor:
    """Return the position nearest to the centroid of all positions that reach an extreme.

    There may be many: a neuron is often 0 almost everywhere, and the first of such positions is just a corner. From a
    mask of them, ``(B, c, positions)``, and the cell of each position, ``(positions, 4)``; returns ``(B, c)``.
    """
    middles = ((parts[:, :2] + parts[:, 2:]) / 2).to(reached.device)
    weights = reached.float()
    centroid = weights @ middles / weights.sum(2, keepdim=True)
    distances = sum((middles[:, axis] - centroid[..., axis, None]) ** 2 for axis in (0, 1))
    assert isinstance(distances, torch.Tensor)
    return torch.where(reached, distances, torch.inf).argmin(2)
