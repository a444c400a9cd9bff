"""Which images of a set are unlike another set's own, or the others of their own set, and why?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from torchmetrics_dna.dna import DNA
from torchmetrics_dna.functional.odd import (
    IN_GATE,
    IN_LIST,
    LEAST,
    LEAST_IN_FOLDER,
    LEAST_OF_SINGLE,
    Odd,
    clear_reasons,
    odd_by_properties,
    odd_in_folder,
    odd_inputs,
    standard_properties,
)
from torchmetrics_dna.functional.outliers import (
    FewOff,
    few_are_off,
    fewest_images,
    gaussians_of_means,
    left_out_distances,
    left_out_scores,
    outlier_distance,
    split_means,
)
from torchmetrics_dna.functional.permutation import SIGNIFICANT
from torchmetrics_dna.images import Images, ImageSource
from torchmetrics_dna.images.noun import is_identity
from torchmetrics_dna.images.numbers import NUMBERS
from torchmetrics_dna.images.properties import LAYER
from torchmetrics_dna.words.verdict import Off, beside_others, which_are_off, why_off

if TYPE_CHECKING:
    from torchmetrics_dna.jobs.measure import Measured
    from torchmetrics_dna.jobs.sides import Sides
    from torchmetrics_dna.neurons.index import Neurons

_LEVELS = (0.005, 0.03)  # of the test of a few: without a name by a property, and with one


@dataclass(frozen=True, eq=False)
class OddImages:
    """Images of a set that are beyond a reference, with reasons, and a test of whether a few of the others are off.

    Attributes:
        names: Names of the images, the furthest first by the network's outlier score, as in a ranking.
        numbers: Their indices in their source; in a stream, running numbers.
        scores: How far they are by network and properties: the root of the mean of both squares, of the outlier score
            and the same distance of the properties, in deviations of the reference; without properties the outlier
            score. Float64, ``(B,)``.
        typical: These scores of the reference's own images, each left out of the reference, ``(n,)``.
        single: Images that a property shows to be off, see :func:`~torchmetrics_dna.functional.odd_by_properties`.
        beyond: Of the others, those whose score is beyond all of ``typical``, with the property, or else the layer, by
            which they are furthest.
        has_properties: True if properties were measured.
        surely: Places of those that a gate takes, of images that are judged beside the others of their own set; None
            beside a reference.

    """

    names: list[str]
    numbers: list[int]
    scores: Tensor
    typical: Tensor
    single: list[Odd] = field(default_factory=list)
    beyond: list[Odd] = field(default_factory=list)
    has_properties: bool = False
    surely: list[int] | None = None

    @cached_property
    def few_off(self) -> FewOff | None:
        """Test of whether some of the others are unlike the reference's own; None if there are none.

        Its p-value is ten times that of :func:`~torchmetrics_dna.functional.few_are_off`, since it is one question of
        several; 5/3 times once a property names an image, by which no more equal sets get a name.
        """
        named, level = {odd[0] for odd in self.single}, _LEVELS[bool(self.single)]
        others = [place for place in range(len(self.names)) if place not in named]
        if not others or self.is_alone:
            return None
        few = few_are_off(self.scores[others], self.typical)
        p_value, fewest = few.p_value * SIGNIFICANT / level, fewest_images(len(others), len(self.typical), level)
        return few._replace(p_value=min(1.0, p_value), fewest=fewest)

    @cached_property
    def named(self) -> list[Odd]:
        """Images that are off, those of one colour or value and then the furthest first: ``single``, and ``beyond``.

        The latter if the test finds that a few are.
        """
        odd = (Odd(*each) for each in [*self.single, *self.beyond * self._finds_few])  # those of a file are tuples
        return sorted(odd, key=lambda each: (not each.is_fact, each.image))

    @property
    def is_alone(self) -> bool:
        """True if they were judged beside the others of their own set, without a reference."""
        return self.surely is not None

    @property
    def surely_off(self) -> list[str]:
        """Names of those that a gate takes."""
        return self.off if self.surely is None else [self.names[place] for place in self.surely]

    @property
    def too_few(self) -> int | None:
        """Number of images beside which each is judged singly, if there are fewer."""
        least = LEAST_IN_FOLDER if self.is_alone else LEAST_OF_SINGLE
        return least if len(self.typical) < least else None

    @property
    def _finds_few(self) -> bool:
        return self.few_off is not None and self.few_off.p_value <= SIGNIFICANT

    @property
    def off(self) -> list[str]:
        """Names of the images that are off, in the order of :attr:`named`."""
        return [self.names[odd.image] for odd in self.named]

    def reasons(self, reference: str = "the reference", *, short: bool = False) -> dict[int, str]:
        """Return why images are off, in words or in a few, by their number."""
        others = "the others" if self.is_alone else reference
        return {
            self.numbers[odd.image]: why_off(odd, others, short=short or (self.is_alone and " " not in odd.reason[-2:]))
            for odd in self.named  # beside the others, a fact says nothing of these
        }

    def figures(self, noun: str = "image") -> Off:
        """Return the figures that sentences on these images say; the noun is what the images are."""
        finds_more = self._finds_few and not self.beyond
        single = {odd[0] for odd in self.single}
        return Off(
            named=list(zip(self.off, self.named, strict=True)),
            total=len(self.names),
            p_value=self.few_off and self.few_off.p_value,
            fewest=self.few_off and self.few_off.fewest,
            by_test=len(self.beyond) * self._finds_few,
            maybe=[name for place, name in enumerate(self.names) if finds_more and place not in single],
            least=self.too_few if self.has_properties else None,
            is_alone=self.is_alone,
            has_properties=self.has_properties,
            noun=noun,
        )

    def sentence(self, reference: str, noun: str) -> str:
        """Return which images are off, and why; and the result of the test of the others, line by line."""
        figures = self.figures(noun)
        lines = beside_others(figures) if self.is_alone else which_are_off(figures, reference)
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return the images, with why they are off, and the result of the test of the others, in plain types."""
        few = self.few_off
        return {
            "p_value": few and few.p_value,
            "fewest": few and few.fewest,
            "images": self.off,
            "reasons": list(self.reasons().values()),
        }


def can_be_odd(sides: Sides, k: int) -> bool:
    """True if :func:`odd_images` may score the images of side ``k`` against the first, so far as that is known."""
    reference, images = sides.images[0], sides.images[k]
    if isinstance(reference, DNA) or isinstance(images, DNA) or sides.keys[0] == sides.keys[k]:
        return False
    return "means" in sides.jobs[k].statistics and (reference.count is None or reference.count >= LEAST)


def means_by_layer(measured: Measured, neurons: Neurons) -> dict[str, Tensor]:
    """Return the spatial means ``(images, n)`` that were kept of each layer for outlier scores; empty if none were."""
    return split_means(measured.rows["means"], neurons) if "means" in measured.rows else {}


def odd_images(
    a: Measured,
    b: Measured,
    images: Images | DNA,
    *,
    neurons: Neurons,
    rows: Sequence[int] | None,
) -> OddImages | None:
    """Find the images of B that are off from their spatial means and properties; None without means, or if A is small.

    Means were kept of ``neurons``. ``rows`` are the row in A of each image of B that is one of A's own, which is left
    out, and -1 of others; by default, A has none of them. If it has all, each is judged beside A's others.
    """
    places = [place for place in range(len(b.numbers)) if rows is None or rows[place] < 0]
    if rows is not None and not places:
        return _beside_others(a, b, images, neurons, rows)
    of_a, of_b = means_by_layer(a, neurons), means_by_layer(b, neurons)
    if not of_a or not of_b or len(a.numbers) < LEAST or not places:
        return None
    of_b = {layer: means[places] for layer, means in of_b.items()}
    typical, scores = _distances(of_a, of_b)
    layers = list(typical)
    # of each layer, in the unit of the reference's median
    far = [(scores[layer] / typical[layer].quantile(0.5).clamp(min=1e-12)).tolist() for layer in layers]
    joint = by_network = [outlier_distance(side) for side in (typical, scores)]
    single, clear = dict[int, Odd](), dict[int, Odd]()
    has_properties = LAYER in a.rows and LAYER in b.rows
    if has_properties:
        properties = a.rows[LAYER], b.rows[LAYER][places]
        of_properties = _distances(*({LAYER: side} for side in standard_properties(*properties)))
        joint = [
            outlier_distance({"network": side.square(), LAYER: more[LAYER]})
            for side, more in zip(joint, of_properties, strict=True)
        ]
        single = {odd.image: odd for odd in odd_by_properties(*properties)}
        clear = clear_reasons(*properties)
    elif NUMBERS in a.rows and NUMBERS in b.rows:
        single = _beyond_both(a, b, places, of_a, of_b)
    order = by_network[1].argsort(descending=True, stable=True).tolist()
    names, most = _names(images, b), float(joint[0].max())
    beyond = list[Odd]()
    for place, row in enumerate(order):
        if row not in single and float(joint[1][row]) > most:
            layer = max(zip(layers, far, strict=True), key=lambda pair: pair[1][row])[0]
            beyond.append(clear.get(row, Odd(row, layer * (len(layers) > 1), 0, 0, 0))._replace(image=place))
    return OddImages(
        [names[places[row]] for row in order],
        [b.numbers[places[row]] for row in order],
        joint[1][order],
        joint[0],
        [single[row]._replace(image=place) for place, row in enumerate(order) if row in single],
        beyond,
        has_properties,
    )


def _beyond_both(
    a: Measured, b: Measured, places: Sequence[int], of_a: Mapping[str, Tensor], of_b: Mapping[str, Tensor]
) -> dict[int, Odd]:
    """Return the inputs of B that are odd beside all others of A and B, without facts that inputs of A have, too."""
    numbers, count = torch.cat([a.rows[NUMBERS], b.rows[NUMBERS][places]]), len(a.numbers)
    layers = {layer: torch.cat([means, of_b[layer]]) for layer, means in of_a.items()}
    of_both = odd_inputs(numbers, {} if is_identity(a.first.extractor) else layers)
    of_a_too = {odd.reason for odd in of_both if odd.image < count}
    odd_of_b = [odd._replace(image=odd.image - count) for odd in of_both if odd.image >= count]
    return {odd.image: odd for odd in odd_of_b if not (odd.is_fact and odd.reason in of_a_too)}


def _beside_others(
    a: Measured, b: Measured, images: Images | DNA, neurons: Neurons, rows: Sequence[int]
) -> OddImages | None:
    means = means_by_layer(a, neurons)
    if not means or len(a.numbers) <= 2:
        return None
    typical = left_out_scores(means)
    properties, numbers = a.rows.get(LAYER), a.rows.get(NUMBERS)
    by_level: list[list[Odd]] = [[], []]
    if properties is not None:
        by_level = [odd_in_folder(properties, level) for level in (None, IN_GATE)]
    elif numbers is not None:
        layers = {} if is_identity(a.first.extractor) else means
        by_level = [odd_inputs(numbers, layers, level) for level in (IN_LIST, IN_GATE)]
    named, surely = ({odd.image: odd for odd in each} for each in by_level)
    order, names = typical[rows].argsort(descending=True, stable=True).tolist(), _names(images, b)
    return OddImages(
        [names[i] for i in order],
        [b.numbers[i] for i in order],
        typical[rows][order],
        typical,
        [named[rows[i]]._replace(image=place) for place, i in enumerate(order) if rows[i] in named],
        has_properties=properties is not None or numbers is not None,
        surely=[place for place, i in enumerate(order) if rows[i] in surely],
    )


def _distances(of_a: Mapping[str, Tensor], of_b: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return squared distances per neuron to A, by layer: of A's images, each left out, and of B's."""
    gaussians = gaussians_of_means(of_a)
    own = {layer: left_out_distances(means) for layer, means in of_a.items()}
    return own, {layer: gaussian.distances(of_b[layer].double()) for layer, gaussian in gaussians.items()}


def _names(images: Images | DNA, measured: Measured) -> Sequence[str]:
    """Return the names of the images below their source."""
    if isinstance(images, ImageSource):
        names = images.relative_names
        return [names[number] for number in measured.numbers]
    return measured.names
