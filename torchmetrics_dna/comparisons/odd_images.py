"""Which images of a set are unlike another set's own, and why? The second question of a comparison, and a ranking's."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from torchmetrics_dna.dna import DNA
from torchmetrics_dna.functional.odd import (
    LEAST,
    LEAST_OF_SINGLE,
    Odd,
    clear_reasons,
    odd_by_properties,
    standard_properties,
)
from torchmetrics_dna.functional.outliers import (
    FewOff,
    few_are_off,
    fewest_images,
    gaussians_of_means,
    left_out_distances,
    outlier_distance,
    split_means,
)
from torchmetrics_dna.functional.permutation import SIGNIFICANT
from torchmetrics_dna.images import ImageSource
from torchmetrics_dna.images.properties import LAYER
from torchmetrics_dna.words.verdict import Off, which_are_off, why_off

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from torchmetrics_dna.images import Images
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

    """

    names: list[str]
    numbers: list[int]
    scores: Tensor
    typical: Tensor
    single: list[Odd] = field(default_factory=list)
    beyond: list[Odd] = field(default_factory=list)
    has_properties: bool = False

    @cached_property
    def few_off(self) -> FewOff | None:
        """Test of whether some of the others are unlike the reference's own; None if there are none.

        Its p-value is ten times that of :func:`~torchmetrics_dna.functional.few_are_off`, since it is one question of
        several; 5/3 times once a property names an image, by which no more equal sets get a name.
        """
        named, level = {odd[0] for odd in self.single}, _LEVELS[bool(self.single)]
        others = [place for place in range(len(self.names)) if place not in named]
        if not others:
            return None
        few = few_are_off(self.scores[others], self.typical)
        p_value, fewest = few.p_value * SIGNIFICANT / level, fewest_images(len(others), len(self.typical), level)
        return few._replace(p_value=min(1.0, p_value), fewest=fewest)

    @cached_property
    def named(self) -> list[Odd]:
        """Images that are off, the furthest first: ``single``, and ``beyond`` if the test finds that a few are."""
        odd = [Odd(*each) for each in [*self.single, *self.beyond * self._finds_few]]  # those of a file are tuples
        return sorted(odd, key=lambda each: each.image)

    @property
    def _finds_few(self) -> bool:
        return self.few_off is not None and self.few_off.p_value <= SIGNIFICANT

    @property
    def off(self) -> list[str]:
        """Names of the images that are off, the furthest first."""
        return [self.names[odd.image] for odd in self.named]

    def reasons(self, reference: str = "the reference", *, short: bool = False) -> dict[int, str]:
        """Return why images are off, in words or in a few, by their number."""
        return {self.numbers[odd.image]: why_off(odd, reference, short=short) for odd in self.named}

    @property
    def _figures(self) -> Off:
        """Figures that a sentence on these images says."""
        finds_more = self._finds_few and not self.beyond
        order = self.scores.argsort(descending=True, stable=True).tolist() if finds_more else []
        named = {odd.image for odd in self.named}
        return Off(
            named=list(zip(self.off, self.named, strict=True)),
            total=len(self.names),
            p_value=self.few_off and self.few_off.p_value,
            fewest=self.few_off and self.few_off.fewest,
            by_test=len(self.beyond) * self._finds_few,
            maybe=[self.names[place] for place in order if place not in named],
            least=LEAST_OF_SINGLE if self.has_properties and len(self.typical) < LEAST_OF_SINGLE else None,
        )

    def sentence(self, reference: str) -> str:
        """Return which images are off, and why; and the result of the test of the others, line by line."""
        return "\n".join(which_are_off(self._figures, reference))

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
    foreign: Tensor | None = None,
) -> OddImages | None:
    """Find the images of B that are off from their spatial means and properties; None without means, or if A is small.

    Args:
        a: The reference.
        b: The images.
        images: Source of B.
        neurons: Neurons that means were kept of.
        foreign: True for images of B that are not the reference's own, ``(B,)``; by default all.

    """
    of_a, of_b = means_by_layer(a, neurons), means_by_layer(b, neurons)
    places = list(range(len(b.numbers))) if foreign is None else foreign.nonzero()[:, 0].tolist()
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
    order = by_network[1].argsort(descending=True, stable=True).tolist()
    names, most = _names(images, b), float(joint[0].max())
    beyond = list[Odd]()
    for place, row in enumerate(order):
        if row not in single and float(joint[1][row]) > most:
            layer = max(zip(layers, far, strict=True), key=lambda pair: pair[1][row])[0]
            beyond.append(clear.get(row, Odd(row, layer, 0, 0, 0))._replace(image=place))
    return OddImages(
        [names[places[row]] for row in order],
        [b.numbers[places[row]] for row in order],
        joint[1][order],
        joint[0],
        [single[row]._replace(image=place) for place, row in enumerate(order) if row in single],
        beyond,
        has_properties,
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
