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

_LEVEL = 0.03  # of the test of a few
_PRICE = 3  # factor of p of the second question; with 2, no fewer images could be shown among equal numbers


@dataclass(frozen=True, eq=False)
class OddImages:
    """Images of a set that are beyond a reference, with reasons, and a test of whether a few of the others are off.

    Attributes:
        names: Names of the images, the furthest first.
        numbers: Their indices in their source; in a stream, running numbers.
        scores: How far they are by network and properties: the root of the mean of both squares, of the outlier score
            and the same distance of the properties, in deviations of the reference; without properties the outlier
            score. Float64, ``(B,)``.
        typical: These scores of the reference's own images, each left out of the reference, ``(n,)``.
        single: Images that a property shows to be off, see :func:`~torchmetrics_dna.functional.odd_by_properties`.
        beyond: Of the others, those whose score is beyond all of ``typical``, with the property, or else the layer, by
            which they are furthest.
        whole: P-value of the test that the sets do not differ as a whole; None if that was not asked.
        has_properties: True if properties were measured.

    """

    names: list[str]
    numbers: list[int]
    scores: Tensor
    typical: Tensor
    single: list[Odd] = field(default_factory=list)
    beyond: list[Odd] = field(default_factory=list)
    whole: float | None = None
    has_properties: bool = False

    @cached_property
    def few_off(self) -> FewOff | None:
        """Test of whether some of the others are unlike the reference's own, not corrected; None if there are none."""
        named = {odd[0] for odd in self.single}
        others = [place for place in range(len(self.names)) if place not in named]
        return few_are_off(self.scores[others], self.typical) if others else None

    @property
    def p_value(self) -> float | None:
        """P-value of this test, which alone pays for both questions if the whole was tested, too.

        It is three times as large, or that of the whole if this is smaller: once the sets are shown to differ, only one
        question is left. In equal sets either finds something in at most 1.33 times as many draws as the first alone.
        """
        if self.few_off is None or self.whole is None:
            return self.few_off and self.few_off.p_value
        return max(self.few_off.p_value, min(self.whole, _PRICE * self.few_off.p_value))

    @property
    def level(self) -> float:
        """P-value of the test, not corrected, up to which it names images."""
        return _LEVEL if self.whole is None or self.whole <= SIGNIFICANT else _LEVEL / _PRICE

    @cached_property
    def named(self) -> list[Odd]:
        """Images that are off, the furthest first: ``single``, and ``beyond`` if the test finds that a few are."""
        odd = [Odd(*each) for each in [*self.single, *self.beyond * self._finds_few]]  # those of a file are tuples
        return sorted(odd, key=lambda each: each.image)

    @property
    def _finds_few(self) -> bool:
        return self.few_off is not None and self.few_off.p_value <= self.level

    @property
    def off(self) -> list[str]:
        """Names of the images that are off, the furthest first."""
        return [self.names[odd.image] for odd in self.named]

    def reasons(self, reference: str = "the reference", *, short: bool = False) -> dict[int, str]:
        """Return why images are off, in words or in a few, by their number."""
        return {self.numbers[odd.image]: why_off(odd, reference, short=short) for odd in self.named}

    @property
    def fewest(self) -> int | None:
        """Number of images that are enough for the test if they are much further away than all others; None if none."""
        return fewest_images(len(self.names) - len(self.single), len(self.typical), self.level)

    @property
    def _figures(self) -> Off:
        """Figures that a sentence on these images says."""
        few, num_others = self.few_off, len(self.names) - len(self.single)
        named, about = {odd.image for odd in self.named}, 0 if few is None else max(1, round(few.share * num_others))
        maybe = [name for place, name in enumerate(self.names) if place not in named][:about]
        return Off(
            named=list(zip(self.off, self.named, strict=True)),
            total=len(self.names),
            p_value=self.p_value,
            fewest=self.fewest,
            by_test=len(self.beyond) * self._finds_few,
            maybe=maybe if self._finds_few and not self.beyond else [],
            least=LEAST_OF_SINGLE if self.has_properties and len(self.typical) < LEAST_OF_SINGLE else None,
        )

    def sentence(self, reference: str) -> str:
        """Return which images are off, and why; and the result of the test of the others, line by line."""
        return "\n".join(which_are_off(self._figures, reference))

    def to_dict(self) -> dict[str, Any]:
        """Return the images and the result of the test in plain types: p is corrected."""
        few = dict.fromkeys(FewOff._fields) if self.few_off is None else self.few_off._asdict()
        return few | {
            "p_value": self.p_value,
            "fewest": self.fewest,
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
    whole: float | None = None,
    *,
    neurons: Neurons,
    foreign: Tensor | None = None,
) -> OddImages | None:
    """Find the images of B that are off from their spatial means and properties; None without means, or if A is small.

    Args:
        a: The reference.
        b: The images.
        images: Source of B.
        whole: P-value of the test of whether the sets differ as a whole.
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
    joint = [outlier_distance(side) for side in (typical, scores)]
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
    order = joint[1].argsort(descending=True, stable=True).tolist()
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
        whole,
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
