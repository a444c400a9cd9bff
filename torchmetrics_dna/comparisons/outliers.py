"""Images of a set that are outliers relative to a reference, or to the other images of the set, with reasons."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
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

# Level of the test for a small number of outliers, if no property flags an image, and if a property does.
_LEVEL_ALONE = 0.01
_LEVEL_WITH_NAMES = 0.03


@dataclass(frozen=True, eq=False)
class Outliers:
    """Images of a set that are outliers relative to a reference, and a test for a small number of further outliers.

    Attributes:
        names: Names of the images, the most unusual image first.
        numbers: Indices of the images in their source. In a stream, the first image has the number 0.
        scores: Outlier scores, see :class:`~torchmetrics_dna.DNARealism`; float64, ``(B,)``.
        typical: Scores of the reference's own images, ``(n,)``. Each image was scored without itself in the reference.
        single: Images that a property flags, see :func:`~torchmetrics_dna.functional.outliers_by_properties`.
        beyond: Images that no property flags, and whose score is larger than all scores in ``typical``. The reason is
            the property in which the image is most extreme, or else the layer.
        extremes: Property or layer in which each image is most extreme, with the value of the image and the range of
            the other images. It does not mean that something is wrong with the image.
        has_properties: True if properties were measured.
        surely: Positions in ``names`` of the images that fail a check in CI. None if the images were compared with a
            reference, and not with the other images of their own set.

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

    def __post_init__(self) -> None:
        # Images that were read from a file are plain tuples.
        for name in ("single", "beyond", "extremes"):
            object.__setattr__(self, name, [Outlier(*outlier) for outlier in getattr(self, name)])

    @cached_property
    def outlier_test(self) -> OutlierTest | None:
        """Test for a small number of outliers among the images that no property flags.

        This is one of several tests of the summary, so the p-value of
        :func:`~torchmetrics_dna.functional.outlier_test` is multiplied by 5. If a property flags an image, the summary
        reports an outlier anyway, so the p-value is multiplied by 5/3 only. None if there is no reference, or if
        properties flag all images.
        """
        unflagged = self._unflagged
        if not unflagged or self.is_alone:
            return None
        level = _LEVEL_WITH_NAMES if self.single else _LEVEL_ALONE
        few = outlier_test(self.scores[unflagged], self.typical)
        # The p-value is scaled, since it is compared with the usual level, not with this one.
        p_value = min(1.0, few.p_value * SIGNIFICANT / level)
        return few._replace(p_value=p_value, fewest=fewest_images(len(unflagged), len(self.typical), level))

    @property
    def _unflagged(self) -> list[int]:
        """Positions in ``names`` of the images that no property flags."""
        flagged = {outlier.image for outlier in self.single}
        return [place for place in range(len(self.names)) if place not in flagged]

    @cached_property
    def share(self) -> OutlierTest | None:
        """Estimate of the share of outliers among all images; None if it is not significantly above 0."""
        if self.is_alone or not len(self.scores):
            return None
        share = outlier_test(self.scores, self.typical)
        return share if share.low > 0 and share.p_value <= SIGNIFICANT else None

    @cached_property
    def named(self) -> list[Outlier]:
        """Flagged images in the order of ``names``. They are ``single``, and ``beyond`` if the test finds outliers."""
        flagged = [*self.single, *self.beyond] if self._finds_few else self.single
        return sorted(flagged, key=lambda outlier: outlier.image)

    @property
    def is_alone(self) -> bool:
        """True if the images were compared with the other images of their own set, without a reference."""
        return self.surely is not None

    @property
    def surely_flagged(self) -> list[str]:
        """Names of the images that fail a check in CI."""
        return self.flagged_names if self.surely is None else [self.names[place] for place in self.surely]

    @property
    def too_few(self) -> int | None:
        """Number of images to compare with that is needed to flag single images; None if there are enough."""
        least = LEAST_IN_FOLDER if self.is_alone else LEAST_OF_SINGLE
        return least if len(self.typical) < least else None

    @property
    def _finds_few(self) -> bool:
        """True if the test finds a small number of outliers among the images that no property flags."""
        return self.outlier_test is not None and self.outlier_test.p_value <= SIGNIFICANT

    @property
    def flagged_names(self) -> list[str]:
        """Names of the flagged images, in the order of :attr:`named`."""
        return [self.names[outlier.image] for outlier in self.named]

    def reasons(self, reference: str = "the reference", *, short: bool = False) -> dict[int, str]:
        """Return the reason why each flagged image is flagged, by the number of the image.

        Args:
            reference: Name of the reference.
            short: If True, values and the name of the reference are left out.

        """
        others = "the others" if self.is_alone else reference
        reasons: dict[int, str] = {}
        for outlier in self.named:
            # A fact about one image, such as a single colour, makes no statement about the others of its set.
            is_of_property = outlier.reason.endswith((" +", " -"))
            is_fact_alone = self.is_alone and not is_of_property
            reasons[self.numbers[outlier.image]] = why_flagged(outlier, others, short=short or is_fact_alone)
        return reasons

    @property
    def flagged(self) -> list[tuple[str, Outlier]]:
        """Name of each flagged image, with its reason."""
        return list(zip(self.flagged_names, self.named, strict=True))

    @property
    def num_by_test(self) -> int:
        """Number of flagged images that the test for a small number of outliers finds."""
        return len(self.beyond) if self._finds_few else 0

    @property
    def candidates(self) -> list[str]:
        """Names of the images among which the test finds outliers, if it can't say which images they are.

        Empty if an image is beyond all images of the reference, since that image is then flagged.
        """
        if not self._finds_few or self.beyond:
            return []
        return [self.names[place] for place in self._unflagged]

    def to_dict(self) -> dict[str, Any]:
        """Return the flagged images with reasons, and the test of all other images, in plain types."""
        few = self.outlier_test
        return {
            "p_value": None if few is None else few.p_value,
            "fewest": None if few is None else few.fewest,
            "images": self.flagged_names,
            "reasons": list(self.reasons().values()),
        }


def can_have_outliers(sides: Sides, k: int) -> bool:
    """Return True if :func:`find_outliers` may score set ``k`` relative to the first set. Neither is measured yet."""
    reference = sides.images[0]
    images = sides.images[k]
    if isinstance(reference, DNA) or isinstance(images, DNA):
        return False
    if sides.keys[0] == sides.keys[k] or MEANS not in sides.jobs[k].statistics:
        return False
    return reference.count is None or reference.count >= LEAST


def means_by_layer(measured: Measured, neurons: Neurons) -> dict[str, Tensor]:
    """Return the spatial means of each layer, ``(images, n)``, for outlier scores; empty if they were not kept."""
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
        neurons: The neurons whose spatial means were kept.
        rows: For each image of B, its row in A if it is one of A's own images, otherwise -1. A's own images are left
            out. If all images of B are A's own, each is compared with the other images of A. By default, no image of B
            is in A.
        reference: The reference of outlier scores, if it was already made from A.

    Returns:
        The outliers. None if spatial means were not kept, or if A has too few images.

    """
    means_a = means_by_layer(a, neurons)
    means_b = means_by_layer(b, neurons)
    if not means_a or not means_b:
        return None
    if reference is None:
        if len(a.numbers) <= 2:
            return None
        own_properties = a.rows[LAYER] if _have_properties(a, b) else None
        reference = OutlierReference(gaussians_of_means(means_a), left_out_by_layer(means_a), own_properties)
    if rows is None:
        return _outliers_relative_to(a, b, images, reference, neurons)
    new_rows = [row_of_b for row_of_b in range(len(b.numbers)) if rows[row_of_b] < 0]
    if not new_rows:
        return _outliers_within(a, b, images, reference, rows)
    return _outliers_relative_to(a, _take(b, new_rows), images, reference, neurons)


def _have_properties(a: Measured, b: Measured) -> bool:
    """Return True if the image properties of both sets were measured."""
    return LAYER in a.rows and LAYER in b.rows


def _take(measured: Measured, rows: Sequence[int]) -> Measured:
    """Return a copy with the values of some images only. The DNAs are unchanged."""
    return replace(
        measured,
        numbers=[measured.numbers[row] for row in rows],
        names=[measured.names[row] for row in rows],
        rows={name: values[rows] for name, values in measured.rows.items()},
    )


def _outliers_relative_to(
    a: Measured, b: Measured, images: Images | DNA, reference: OutlierReference, neurons: Neurons
) -> Outliers | None:
    """Compare all images of B with all images of A; None if A has too few images, or B has none.

    Args:
        a: The reference, measured.
        b: The images, measured.
        images: Source of the images of B.
        reference: The reference of outlier scores.
        neurons: The neurons whose spatial means were kept.

    """
    if len(a.numbers) < LEAST or len(b.numbers) == 0:
        return None
    has_properties = _have_properties(a, b)
    properties = b.rows[LAYER] if has_properties else None
    unusual = reference.compare(means_by_layer(b, neurons), properties)
    scores = reference.surprisals(unusual).sum(1)
    flagged_by_property = _flagged_by_property(a, b, neurons)
    extremes = _extremes(reference, unusual, properties, a.rows.get(LAYER))
    beyond = _beyond_all(reference, unusual, scores, extremes, flagged_by_property)
    names = _names(images, b)
    # Rows of the images, the most unusual image first.
    order = scores.argsort(descending=True, stable=True).tolist()
    return Outliers(
        names=[names[row] for row in order],
        numbers=[b.numbers[row] for row in order],
        scores=scores[order],
        typical=reference.own_scores,
        single=_in_order(flagged_by_property, order),
        beyond=_in_order(beyond, order),
        extremes=[extremes[row]._replace(image=place) for place, row in enumerate(order)],
        has_properties=has_properties,
    )


def _in_order(outlier_of_row: Mapping[int, Outlier], order: Sequence[int]) -> list[Outlier]:
    """Return the outliers among the rows in this order, each with its place in the order."""
    in_order = []
    for place, row in enumerate(order):
        if row in outlier_of_row:
            in_order.append(outlier_of_row[row]._replace(image=place))
    return in_order


def _beyond_all(
    reference: OutlierReference,
    images: Unusualness,
    scores: Tensor,
    extremes: Sequence[Outlier],
    flagged: Collection[int],
) -> dict[int, Outlier]:
    """Return the images whose score is larger than the scores of all images of the reference, by row.

    Args:
        reference: The reference of outlier scores.
        images: The images, compared with the reference.
        scores: Scores of the images.
        extremes: Property or layer in which each image is most extreme.
        flagged: Rows of images that are left out, because a property flags them.

    """
    largest_own_score = float(reference.own_scores.max())
    beyond: dict[int, Outlier] = {}
    for row, score in enumerate(scores.tolist()):
        if row not in flagged and score > largest_own_score:
            beyond[row] = _reason_beyond(extremes[row], images, row, reference)
    return beyond


def _flagged_by_property(a: Measured, b: Measured, neurons: Neurons) -> dict[int, Outlier]:
    """Return the images of B that a property flags relative to A, by row.

    Inputs that are no pictures have numbers instead of properties.

    Args:
        a: The reference, measured.
        b: The images, measured.
        neurons: The neurons whose spatial means were kept.

    """
    if _have_properties(a, b):
        flagged = outliers_by_properties(a.rows[LAYER], b.rows[LAYER])
        return {outlier.image: outlier for outlier in flagged}
    if NUMBERS in a.rows and NUMBERS in b.rows:
        return _flagged_inputs(a, b, neurons)
    return {}


def _extremes(
    reference: OutlierReference,
    images: Unusualness,
    properties: Tensor | None,
    own_properties: Tensor | None,
    *,
    are_own: bool = False,
) -> list[Outlier]:
    """Return the property, or else the layer, in which each image is most extreme.

    Args:
        reference: The reference of outlier scores.
        images: The images, compared with the reference.
        properties: Properties of the images, ``(images, properties)``.
        own_properties: Properties of the reference's own images.
        are_own: True if the images are the reference's own. Each is then compared with the other images.

    """
    surprisals = reference.surprisals(images)
    if images.tails is None or properties is None or own_properties is None:
        return [_extreme_layer(reference, images, row, is_own=are_own) for row in range(len(surprisals))]
    extremes = []
    for row in range(len(surprisals)):
        if _is_extreme_by_property(surprisals[row], images.tails[row]):
            others = own_properties[_mask_of_others(reference, row, is_own=are_own)]
            extremes.append(extreme_property(images.tails, row, properties, others))
        else:
            extremes.append(_extreme_layer(reference, images, row, is_own=are_own))
    return extremes


def _mask_of_others(reference: OutlierReference, row: int, *, is_own: bool) -> Tensor:
    """Return the mask of the reference's own images with which an image is compared, bool, ``(n,)``.

    Args:
        reference: The reference of outlier scores.
        row: Row of the image.
        is_own: True if the image is one of the reference's own images. It is then not compared with itself.

    """
    is_other = torch.ones(len(reference.own_scores), dtype=torch.bool)
    if is_own:
        is_other[row] = False
    return is_other


def _is_extreme_by_property(surprisals: Tensor, tails: Tensor) -> bool:
    """Return True if an image is more unusual by a property than by the activations of the network.

    Args:
        surprisals: Surprisals by the network, by all properties, and by the most unusual property, ``(3,)``.
        tails: Tail probability of the image in each direction of a property.

    """
    by_network, _, by_property = surprisals.tolist()
    return by_property >= by_network or float(tails.min()) <= CLEAR


def _extreme_layer(reference: OutlierReference, images: Unusualness, row: int, *, is_own: bool) -> Outlier:
    """Return an image as an outlier by the layer in which it is farthest from the reference.

    The value of the outlier is the distance of the image, in medians of the distances of the reference's own images.

    Args:
        reference: The reference of outlier scores.
        images: The images, compared with the reference.
        row: Row of the image.
        is_own: True if the image is one of the reference's own images.

    """
    has_several_layers = len(reference.gaussians) > 1
    is_other = _mask_of_others(reference, row, is_own=is_own)
    layers = []
    for layer, squares_of_own in reference.own.layers.items():
        square = images.layers[layer][row]
        squares_of_others = squares_of_own[is_other]
        # Distances of exactly 0 would make the ratios infinite.
        median_square = squares_of_others.quantile(0.5).clamp(min=1e-12)
        value = (square / median_square).sqrt().item()
        low = (squares_of_others.min() / median_square).sqrt().item()
        high = (squares_of_others.max() / median_square).sqrt().item()
        # The outlier is explained by its layer. The name of the only layer would explain nothing.
        name = layer if has_several_layers else ""
        layers.append(Outlier(row, name, value, low, high))
    return max(layers, key=lambda outlier: outlier.value)


def _reason_beyond(extreme: Outlier, images: Unusualness, row: int, reference: OutlierReference) -> Outlier:
    """Return the reason why an image is beyond all images of the reference: a clear property, or else a layer."""
    is_property = extreme.reason[-1:] in ("+", "-")
    if is_property and not extreme.low <= extreme.value <= extreme.high:
        assert images.tails is not None
        if float(images.tails[row].min()) <= CLEAR:
            return extreme
    return _extreme_layer(reference, images, row, is_own=False)


def _flagged_inputs(a: Measured, b: Measured, neurons: Neurons) -> dict[int, Outlier]:
    """Return the inputs of B that are outliers among all inputs of A and B, by row.

    A fact about an input of B, such as a single value, does not count if an input of A has it, too. The arguments are
    those of :func:`_flagged_by_property`.
    """
    # The inputs of A come first.
    numbers = torch.cat([a.rows[NUMBERS], b.rows[NUMBERS]])
    layers: dict[str, Tensor] = {}
    if not is_identity(a.first.extractor):
        means_b = means_by_layer(b, neurons)
        for layer, means_of_layer in means_by_layer(a, neurons).items():
            layers[layer] = torch.cat([means_of_layer, means_b[layer]])
    outliers_of_both = outlier_inputs(numbers, layers)
    num_of_a = len(a.numbers)
    outliers_of_a = [outlier for outlier in outliers_of_both if outlier.image < num_of_a]
    outliers_of_b = [outlier for outlier in outliers_of_both if outlier.image >= num_of_a]
    reasons_of_a = {outlier.reason for outlier in outliers_of_a}
    flagged: dict[int, Outlier] = {}
    for outlier in outliers_of_b:
        is_usual_fact = outlier.is_fact and outlier.reason in reasons_of_a
        if not is_usual_fact:
            row = outlier.image - num_of_a
            flagged[row] = outlier._replace(image=row)
    return flagged


def _outliers_within(
    a: Measured, b: Measured, images: Images | DNA, reference: OutlierReference, rows: Sequence[int]
) -> Outliers:
    """Compare images with the other images of their own set, which is the reference.

    Args:
        a: The set, measured.
        b: Those images of the set that are compared, measured.
        images: Source of the images of B.
        reference: The reference of outlier scores, made from A.
        rows: Row in A of each image of B.

    """
    flagged, failing = _flagged_in_own_set(a)
    outlier_of_row = {outlier.image: outlier for outlier in flagged}
    failing_rows = {outlier.image for outlier in failing}
    properties = a.rows.get(LAYER)
    extremes = _extremes(reference, reference.own, properties, properties, are_own=True)
    scores = reference.own_scores[rows]
    # Rows of the images in B and in A, the most unusual image first.
    order_in_b = scores.argsort(descending=True, stable=True).tolist()
    order_in_a = [rows[row] for row in order_in_b]
    names = _names(images, b)
    return Outliers(
        names=[names[row] for row in order_in_b],
        numbers=[b.numbers[row] for row in order_in_b],
        scores=scores[order_in_b],
        typical=reference.own_scores,
        single=_in_order(outlier_of_row, order_in_a),
        extremes=[extremes[row]._replace(image=place) for place, row in enumerate(order_in_a)],
        has_properties=properties is not None or NUMBERS in a.rows,
        surely=[place for place, row in enumerate(order_in_a) if row in failing_rows],
    )


def _flagged_in_own_set(a: Measured) -> tuple[list[Outlier], list[Outlier]]:
    """Return the outliers of a set among its own images: those that are listed, and those that fail a check in CI."""
    properties = a.rows.get(LAYER)
    if properties is not None:
        return outliers_in_folder(properties, None), outliers_in_folder(properties, IN_GATE)
    numbers = a.rows.get(NUMBERS)
    if numbers is None:
        return [], []
    layers = {} if is_identity(a.first.extractor) else split_means(a.rows[MEANS], a.first.neurons)
    return outlier_inputs(numbers, layers, IN_LIST), outlier_inputs(numbers, layers, IN_GATE)


def _names(images: Images | DNA, measured: Measured) -> Sequence[str]:
    """Return the names of the images, relative to the folder of their source if it has one."""
    if isinstance(images, ImageSource):
        names = images.relative_names
        return [names[number] for number in measured.numbers]
    return measured.names
