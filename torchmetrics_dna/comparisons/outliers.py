"""Images of a set that are outliers relative to another set, or to the others of their own set, with reasons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from torchmetrics_dna.dna import DNA
from torchmetrics_dna.functional.flagging import (
    CLEAR,
    IN_GATE,
    IN_LIST,
    LEAST,
    LEAST_IN_FOLDER,
    LEAST_OF_SINGLE,
    Outlier,
    extreme_property,
    outlier_inputs,
    outliers_by_properties,
    outliers_in_folder,
)
from torchmetrics_dna.functional.outlier_score import OutlierReference, Unusualness
from torchmetrics_dna.functional.outliers import (
    OutlierTest,
    fewest_images,
    gaussians_of_means,
    left_out_by_layer,
    outlier_test,
    split_means,
)
from torchmetrics_dna.functional.permutation import SIGNIFICANT
from torchmetrics_dna.images import Images, ImageSource
from torchmetrics_dna.images.noun import is_identity
from torchmetrics_dna.images.numbers import NUMBERS
from torchmetrics_dna.images.properties import LAYER
from torchmetrics_dna.jobs.job import MEANS
from torchmetrics_dna.words.reasons import why_flagged

if TYPE_CHECKING:
    from torchmetrics_dna.jobs.measure import Measured
    from torchmetrics_dna.jobs.sides import Sides
    from torchmetrics_dna.neurons.index import Neurons

# Levels of the test of a small number of outliers: if no property flags an image, and if one does.
_LEVEL_ALONE = 0.01
_LEVEL_WITH_NAMES = 0.03


@dataclass(frozen=True, eq=False)
class Outliers:
    """Images of a set that are outliers relative to a reference, and a test for a small number of further outliers.

    Attributes:
        names: Names of the images, the most unusual first, as in a ranking.
        numbers: Indices of the images in their source; in a stream, their numbers in order.
        scores: Outlier scores, see :class:`~torchmetrics_dna.DNARealism`; float64, ``(B,)``.
        typical: Scores of the reference's own images, each left out of the reference, ``(n,)``.
        single: Images that a property flags, see :func:`~torchmetrics_dna.functional.outliers_by_properties`.
        beyond: Other images whose score is above all of ``typical``. Each has the property in which it is farthest, or
            else the layer.
        extremes: The property or layer in which each image is most extreme, with its value and the range of the
            others. It is no claim that something is wrong with the image.
        has_properties: True if properties were measured.
        surely: Positions of the images that fail a check in CI, if images are compared with the others of their set;
            None with a reference.

    """

    names: list[str]
    numbers: list[int]
    scores: Tensor
    typical: Tensor
    single: list[Outlier] = field(default_factory=list)
    beyond: list[Outlier] = field(default_factory=list)
    extremes: list[Outlier] = field(default_factory=list)
    has_properties: bool = False
    surely: list[int] | None = None

    @cached_property
    def outlier_test(self) -> OutlierTest | None:
        """Test for a small number of outliers among the images that no property flags; None if all are flagged.

        Its p-value is five times that of :func:`~torchmetrics_dna.functional.outlier_test`, since it is one of several
        tests. It is 5/3 times that p-value if a property flags an image: the false positive rate of the summary does
        not grow then.
        """
        named = {outlier[0] for outlier in self.single}
        others = [place for place in range(len(self.names)) if place not in named]
        if not others or self.is_alone:
            return None
        level = _LEVEL_WITH_NAMES if self.single else _LEVEL_ALONE
        few = outlier_test(self.scores[others], self.typical)
        # The p-value is scaled so that, like all others, it is compared with the usual level.
        p_value = min(1.0, few.p_value * SIGNIFICANT / level)
        return few._replace(p_value=p_value, fewest=fewest_images(len(others), len(self.typical), level))

    @cached_property
    def share(self) -> OutlierTest | None:
        """Estimate of the share of outliers among all images, if it is significantly above 0."""
        if self.is_alone or not len(self.scores):
            return None
        share = outlier_test(self.scores, self.typical)
        return share if share.low > 0 and share.p_value <= SIGNIFICANT else None

    @cached_property
    def named(self) -> list[Outlier]:
        """Images that are flagged, in their order: ``single``, and ``beyond`` if the test finds a small number."""
        flagged = [*self.single, *self.beyond] if self._finds_few else self.single
        # Those of a file are tuples.
        return sorted((Outlier(*each) for each in flagged), key=lambda each: each.image)

    @property
    def is_alone(self) -> bool:
        """True if the images were compared with the others of their own set, without a reference."""
        return self.surely is not None

    @property
    def surely_flagged(self) -> list[str]:
        """Names of the images that fail a check in CI."""
        return self.flagged_names if self.surely is None else [self.names[place] for place in self.surely]

    @property
    def too_few(self) -> int | None:
        """Number of images that single images need for comparison, if there are fewer; else None."""
        least = LEAST_IN_FOLDER if self.is_alone else LEAST_OF_SINGLE
        return least if len(self.typical) < least else None

    @property
    def _finds_few(self) -> bool:
        return self.outlier_test is not None and self.outlier_test.p_value <= SIGNIFICANT

    @property
    def flagged_names(self) -> list[str]:
        """Names of the images that are flagged, in the order of :attr:`named`."""
        return [self.names[outlier.image] for outlier in self.named]

    def reasons(self, reference: str = "the reference", *, short: bool = False) -> dict[int, str]:
        """Return why images are flagged, by their number.

        Args:
            reference: Name of the reference.
            short: Whether to leave out values and the reference.

        """
        others = "the others" if self.is_alone else reference
        reasons: dict[int, str] = {}
        for outlier in self.named:
            # A fact about one image, such as a single colour, makes no statement about the others of its set.
            is_fact_alone = self.is_alone and " " not in outlier.reason[-2:]
            reasons[self.numbers[outlier.image]] = why_flagged(outlier, others, short=short or is_fact_alone)
        return reasons

    @property
    def flagged(self) -> list[tuple[str, Outlier]]:
        """Names of the images that are flagged, in their order, and why."""
        return list(zip(self.flagged_names, self.named, strict=True))

    @property
    def num_by_test(self) -> int:
        """Number of flagged images that the test for a small number of outliers finds."""
        return len(self.beyond) if self._finds_few else 0

    @property
    def candidates(self) -> list[str]:
        """Names of the images among which the test finds outliers, where none is beyond all of the reference."""
        if not self._finds_few or self.beyond:
            return []
        # Those of a file are tuples.
        single = {outlier[0] for outlier in self.single}
        return [name for place, name in enumerate(self.names) if place not in single]

    def to_dict(self) -> dict[str, Any]:
        """Return the flagged images with reasons, and the result of the test of the others, in plain types."""
        few = self.outlier_test
        return {
            "p_value": None if few is None else few.p_value,
            "fewest": None if few is None else few.fewest,
            "images": self.flagged_names,
            "reasons": list(self.reasons().values()),
        }


def can_have_outliers(sides: Sides, k: int) -> bool:
    """Return whether :func:`find_outliers` may score set ``k`` against the first set, before both are measured."""
    reference = sides.images[0]
    images = sides.images[k]
    if isinstance(reference, DNA) or isinstance(images, DNA):
        return False
    if sides.keys[0] == sides.keys[k] or MEANS not in sides.jobs[k].statistics:
        return False
    return reference.count is None or reference.count >= LEAST


def means_by_layer(measured: Measured, neurons: Neurons) -> dict[str, Tensor]:
    """Return the spatial means of each layer that were kept for outlier scores, ``(images, n)``; empty without them."""
    return split_means(measured.rows[MEANS], neurons) if MEANS in measured.rows else {}


def find_outliers(
    a: Measured,
    b: Measured,
    images: Images | DNA,
    *,
    neurons: Neurons,
    rows: Sequence[int] | None,
    reference: OutlierReference | None = None,
) -> Outliers | None:
    """Find the images of B that are outliers, by spatial means and properties.

    Args:
        a: The reference, measured.
        b: The images, measured.
        images: Source of the images.
        neurons: Those of which means were kept.
        rows: The row in A of each image of B that is one of A's own, and -1 for others. Images of A are left out. If
            all images are those of A, each is compared with the others of A. By default, none is.
        reference: The reference of outlier scores, if it was made from A before.

    Returns:
        The images. None if spatial means were not kept, or A has too few images.

    """
    of_a = means_by_layer(a, neurons)
    of_b = means_by_layer(b, neurons)
    has_properties = LAYER in a.rows and LAYER in b.rows
    if not of_a or not of_b:
        return None
    if reference is None and len(a.numbers) > 2:
        own_properties = a.rows[LAYER] if has_properties else None
        reference = OutlierReference(gaussians_of_means(of_a), left_out_by_layer(of_a), own_properties)
    if reference is None:
        return None
    places = [place for place in range(len(b.numbers)) if rows is None or rows[place] < 0]
    if rows is not None and not places:
        return _beside_others(a, b, images, reference, rows)
    if len(a.numbers) < LEAST or not places:
        return None
    of_b = {layer: means[places] for layer, means in of_b.items()}
    properties = b.rows[LAYER][places] if has_properties else None
    unusual = reference.compare(of_b, properties)
    scores = reference.surprisals(unusual).sum(1)
    single = dict[int, Outlier]()
    if properties is not None:
        single = {outlier.image: outlier for outlier in outliers_by_properties(a.rows[LAYER], properties)}
    elif NUMBERS in a.rows and NUMBERS in b.rows:
        single = _beyond_both(a, b, places, of_a, of_b)
    extremes = _extremes(reference, unusual, properties, a.rows.get(LAYER))
    order = scores.argsort(descending=True, stable=True).tolist()
    most = float(reference.own_scores.max())
    beyond = []
    for place, row in enumerate(order):
        if row not in single and float(scores[row]) > most:
            reason = _reason_beyond(extremes[row], unusual, row, reference)
            beyond.append(reason._replace(image=place))
    names = _names(images, b)
    return Outliers(
        names=[names[places[row]] for row in order],
        numbers=[b.numbers[places[row]] for row in order],
        scores=scores[order],
        typical=reference.own_scores,
        single=[single[row]._replace(image=place) for place, row in enumerate(order) if row in single],
        beyond=beyond,
        extremes=[extremes[row]._replace(image=place) for place, row in enumerate(order)],
        has_properties=has_properties,
    )


def _extremes(
    reference: OutlierReference,
    images: Unusualness,
    properties: Tensor | None,
    own_properties: Tensor | None,
    is_alone: bool = False,
) -> list[Outlier]:
    """Return the property, or else the layer, in which each image is most extreme.

    If ``is_alone``, the images are the reference's own, and each is compared with the others.
    """
    surprisals = reference.surprisals(images)
    extremes = []
    for row in range(len(surprisals)):
        others = torch.arange(len(reference.own_scores)) != (row if is_alone else -1)
        is_property = False
        if images.tails is not None:
            by_network, _, by_tail = surprisals[row].tolist()
            is_property = by_tail >= by_network or float(images.tails[row].min()) <= CLEAR
        if is_property and images.tails is not None and properties is not None and own_properties is not None:
            extremes.append(extreme_property(images.tails, row, properties, own_properties[others]))
        else:
            extremes.append(_extreme_layer(reference, images, row, others))
    return extremes


def _extreme_layer(reference: OutlierReference, images: Unusualness, row: int, others: Tensor) -> Outlier:
    """Return the layer in which an image is farthest, with its distance in medians of the others."""
    layers = []
    for layer, own in reference.own.layers.items():
        of_others = own[others]
        median = of_others.quantile(0.5).clamp(min=1e-12)
        name = layer if len(reference.gaussians) > 1 else ""
        squares = (images.layers[layer][row], of_others.min(), of_others.max())
        value, low, high = ((square / median).sqrt().item() for square in squares)
        layers.append(Outlier(row, name, value, low, high))
    return max(layers, key=lambda outlier: outlier.value)


def _reason_beyond(extreme: Outlier, images: Unusualness, row: int, reference: OutlierReference) -> Outlier:
    """Return the reason why an image is beyond all images of the reference: a clear property, or else a layer."""
    is_property = extreme.reason[-1:] in ("+", "-")
    if is_property and not extreme.low <= extreme.value <= extreme.high:
        assert images.tails is not None
        if float(images.tails[row].min()) <= CLEAR:
            return extreme
    return _extreme_layer(reference, images, row, torch.ones(len(reference.own_scores), dtype=torch.bool))


def _beyond_both(
    a: Measured, b: Measured, places: Sequence[int], of_a: Mapping[str, Tensor], of_b: Mapping[str, Tensor]
) -> dict[int, Outlier]:
    """Return the inputs of B that are outliers among all of A and B, without facts that inputs of A share."""
    count = len(a.numbers)
    numbers = torch.cat([a.rows[NUMBERS], b.rows[NUMBERS][places]])
    layers: dict[str, Tensor] = {}
    if not is_identity(a.first.extractor):
        layers = {layer: torch.cat([means, of_b[layer]]) for layer, means in of_a.items()}
    of_both = outlier_inputs(numbers, layers)
    reasons_of_a = {outlier.reason for outlier in of_both if outlier.image < count}
    of_b_only: dict[int, Outlier] = {}
    for outlier in of_both:
        if outlier.image < count or (outlier.is_fact and outlier.reason in reasons_of_a):
            continue
        row = outlier.image - count
        of_b_only[row] = outlier._replace(image=row)
    return of_b_only


def _beside_others(
    a: Measured, b: Measured, images: Images | DNA, reference: OutlierReference, rows: Sequence[int]
) -> Outliers:
    """Compare images with the others of their own set, which is the reference."""
    properties = a.rows.get(LAYER)
    numbers = a.rows.get(NUMBERS)
    in_list: list[Outlier] = []
    in_gate: list[Outlier] = []
    if properties is not None:
        in_list = outliers_in_folder(properties, None)
        in_gate = outliers_in_folder(properties, IN_GATE)
    elif numbers is not None:
        layers = {} if is_identity(a.first.extractor) else split_means(a.rows[MEANS], a.first.neurons)
        in_list = outlier_inputs(numbers, layers, IN_LIST)
        in_gate = outlier_inputs(numbers, layers, IN_GATE)
    named = {outlier.image: outlier for outlier in in_list}
    surely = {outlier.image for outlier in in_gate}
    extremes = _extremes(reference, reference.own, properties, properties, is_alone=True)
    scores = reference.own_scores[rows]
    names = _names(images, b)
    order = scores.argsort(descending=True, stable=True).tolist()
    return Outliers(
        names=[names[i] for i in order],
        numbers=[b.numbers[i] for i in order],
        scores=scores[order],
        typical=reference.own_scores,
        single=[named[rows[i]]._replace(image=place) for place, i in enumerate(order) if rows[i] in named],
        extremes=[extremes[rows[i]]._replace(image=place) for place, i in enumerate(order)],
        has_properties=properties is not None or numbers is not None,
        surely=[place for place, i in enumerate(order) if rows[i] in surely],
    )


def _names(images: Images | DNA, measured: Measured) -> Sequence[str]:
    """Return the names of the images below their source."""
    if isinstance(images, ImageSource):
        names = images.relative_names
        return [names[number] for number in measured.numbers]
    return measured.names
