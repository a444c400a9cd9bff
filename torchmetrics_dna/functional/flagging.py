"""Flag images with an extreme property, relative to the images of a reference or of the same folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf, nan
from typing import NamedTuple

import torch
from torch import Tensor

from torchmetrics_dna.images.numbers import FAULTS as NUMBER_FAULTS
from torchmetrics_dna.images.numbers import RECORDS as NUMBERS
from torchmetrics_dna.images.properties import FAULTS, OF_PIXELS, PROPERTIES, RECORDS

# Smallest number of images in a reference. If none of 10 images has a single colour, at most 26% of the images of their
# distribution do (95% confidence bound).
LEAST = 10
# Smallest number of images in a reference for more checks of single images than the check for a single colour.
LEAST_OF_SINGLE = 40
# Smallest number of images in a folder that are compared with each other, without a reference.
LEAST_IN_FOLDER = 15
# Level of significance for folders: the largest expected number of images without a fault with values as extreme as
# those of a flagged image. The levels are for a list of images, and for a check.
IN_LIST = 0.2
IN_GATE = 0.05
# Smallest distance for the statistics of a layer. For the mean, it is relative to the typical mean. For the size, it is
# a difference of logarithms.
_LEAST_OF_LAYER = 0.1
# The same level relative to a reference, for images whose values are plainly faulty by themselves.
_LEVEL_OF_PLAIN_FAULT = 0.05
# The same level for images whose values may be faulty by themselves, if no image is flagged yet.
_LEVEL_OF_FIRST_POSSIBLE_FAULT = 0.005
# The same level for such images if another image is flagged.
_LEVEL_OF_FURTHER_POSSIBLE_FAULT = 0.02
# Smallest distance of such images from the extreme of the others, in distances of this extreme from the median.
_GAP_OF_POSSIBLE_FAULT = 1.5
# Largest number of images without colour that are not flagged. A domain may have a few such images, and all of them may
# be in one set.
_MOST_GREY = 2
# Largest p-value of a property that is reported as the reason for an image that was flagged for another reason.
CLEAR = 0.003
# The tail consists of the most extreme 1 / 20 of the images, but of at least 5 images.
_TAIL_DIVISOR = 20
_LEAST_TAIL = 5
# Up to 1 / 10 of the images of a folder may have the same fault.
_GROUP_DIVISOR = 10
# Number of times that a folder is searched for outliers.
_ROUNDS = 3
# Largest share of flat areas for which sharpness is measured. Images with more flat areas have hardly any edges.
_MOST_FLAT_AREAS = 0.95
# Smallest standard deviation of a transformed property.
_LEAST_DEVIATION = 0.01
# Largest saturation of an image without colour.
GREY = 0.004
# Smallest saturation of the images of a reference, if all of its images have colours.
_LEAST_SATURATION_OF_COLOURS = 0.012


class _OneColour(NamedTuple):
    """Limits for images of one colour.

    Attributes:
        contrast: Largest contrast of an image of one colour.
        brightness: Largest brightness of a black image. A white image has at least 1 minus this brightness.

    """

    contrast: float
    brightness: float


_ONE_COLOUR = _OneColour(contrast=0.01, brightness=0.05)
# Limits for images of a reference, which are wider.
_NEARLY_ONE_COLOUR = _OneColour(contrast=0.03, brightness=0.1)
# Property, or number of inputs other than images, that shows why a fact holds.
_PROPERTY_OF_FACT = {
    "all black": "contrast",
    "all white": "contrast",
    "one colour": "contrast",
    "no colour": "saturation",
    "all zero": "spread",
    "one value": "spread",
}
# Property of each direction, such as "sharpness" for "sharpness -".
_NAMES = [key[:-2] for key in FAULTS]
# Sign of each direction: -1 if small values are faults.
_SIGNS = torch.tensor([1.0 if key.endswith("+") else -1.0 for key in FAULTS], dtype=torch.float64)
# For each direction: the smallest distance that counts, the limit of plain faults, and the limit of possible faults.
_LEAST_DISTANCE, _PLAIN_FAULT, _POSSIBLE_FAULT = torch.tensor(
    [(fault.least, fault.plain, fault.maybe) for fault in FAULTS.values()], dtype=torch.float64
).T
# Number of directions in which an image may be flagged.
_NUM_DIRECTIONS = int((~_POSSIBLE_FAULT.isnan()).sum())


class _Directions(NamedTuple):
    """Directions of properties in which an image may be an outlier.

    Attributes:
        names: Reason for flagging an image in each direction.
        least: Smallest distance that counts in each direction, float64, ``(directions,)``.
        number: Number of directions in which an image may be flagged.
        gap: Smallest distance of a flagged image from the extreme of the other images. Its unit is the distance of this
            extreme from the median.

    """

    names: Sequence[str]
    least: Tensor
    number: int
    gap: float = 1.0


_OF_IMAGES = _Directions(tuple(FAULTS), _LEAST_DISTANCE, _NUM_DIRECTIONS)


class _Values(NamedTuple):
    """Values of images, or of other inputs, in each direction.

    Attributes:
        values: Values, float64, ``(n, directions)``. Larger values are more extreme.
        is_plain_fault: Whether each value is plainly faulty by itself, bool, ``(n, directions)``.
        may_be_fault: Whether each value may be faulty by itself, bool, ``(n, directions)``.

    """

    values: Tensor
    is_plain_fault: Tensor
    may_be_fault: Tensor

    def take(self, rows: Sequence[int]) -> _Values:
        """Return the values of some images."""
        return _Values(self.values[rows], self.is_plain_fault[rows], self.may_be_fault[rows])


class Outlier(NamedTuple):
    """Flagged image, with the reason.

    Attributes:
        image: Row of the image.
        reason: Property with its direction, such as ``"sharpness -"``, or one of the facts ``"all black"``, ``"all
            white"``, ``"one colour"`` and ``"no colour"``. For inputs that are not images, the reason is a number with
            its direction, ``"all zero"``, ``"one value"``, or a layer. It is empty if there is only one layer.
        value: Value of this property for the image, see
            :func:`~torchmetrics_dna.images.properties.image_properties`. If the reason is a layer, this and the next
            two values are NaN.
        low: Smallest value of this property in the reference, or in the images of the folder that are not flagged.
        high: Largest value of this property in the same images.

    """

    image: int
    reason: str
    value: float
    low: float
    high: float

    @property
    def is_fact(self) -> bool:
        """True if the image has a single colour or value. Then it is flagged whatever the other images are like."""
        return self.reason in ("all black", "all white", "one colour", "all zero", "one value")


def outliers_by_properties(reference: Tensor, images: Tensor) -> list[Outlier]:
    r"""Flag images with a property that is far outside the range of a reference, each with its reason.

    An image is flagged if it has a single colour, and no image of the reference has nearly a single colour. If the
    reference has at least 40 images, there are two more reasons:

    - Three or more images have no colour, but all images of the reference have colours.
    - A property of an image is far outside the range of the reference, in one of d directions that are faults, such as
      dark, blurred or blocky.

    The last reason is a test on transformed properties. Let n be the number of images in the reference, and
    :math:`k = \max(5, n / 20)`. Let u be the (k + 1)-th most extreme value in the reference, and e the mean excess of
    the k more extreme values over u. An image with the value x has the p-value
    :math:`p = k / n \, (1 + (x - u) / (k e))^{-k}`, which is exact for exponential tails. For m images,
    :math:`c = d m p` is the expected number of images with such a value. An image is flagged in either of two cases:

    - The value is plainly faulty by itself, :math:`c \le 0.05`, and the image exceeds the extreme of the reference by
      more than the distance of this extreme from the median.
    - The value may be faulty by itself, :math:`c \le 0.005`, and the image exceeds the extreme by more than 1.5 times
      this distance. If another image is flagged already, :math:`c \le 0.02` is enough. This exception does not increase
      the share of sets from the reference's distribution in which an image is flagged.

    Args:
        reference: Properties of at least 10 images of the reference, ``(n, properties)``, see
            :func:`~torchmetrics_dna.images.properties.image_properties`.
        images: Properties of the images to check, ``(m, properties)``.

    Returns:
        The flagged images, in their order.

    Raises:
        ValueError: If an argument has another shape or values that are not finite, or the reference has too few images.

    Example:
        >>> from torchmetrics_dna.images.properties import image_properties
        >>> noise = torch.randint(0, 256, (41, 3, 32, 32), generator=torch.Generator().manual_seed(0)).byte()
        >>> reference, dark = image_properties(noise[:40]), image_properties(noise[40:] // 29)
        >>> outliers_by_properties(reference, dark)[0].reason
        'brightness -'

    """
    _check_properties("reference", reference, LEAST)
    _check_properties("images", images, 0)
    reference = reference.cpu()
    images = images.cpu()
    facts = _facts(reference, images)
    reasons: dict[int, str] = {}
    if len(reference) >= LEAST_OF_SINGLE:
        reasons = _beyond_reference(reference, images, has_facts=bool(facts))
    reasons |= facts
    return [_outlier(reasons[row], images[row], row, reference) for row in sorted(reasons)]


def _check_properties(name: str, properties: Tensor, least: int) -> None:
    """Raise ValueError unless an argument holds finite properties of at least ``least`` images."""
    is_valid = properties.shape[1:] == (len(PROPERTIES),) and len(properties) >= least
    if not is_valid or not properties.isfinite().all():
        raise ValueError(
            f"Argument `{name}` expected to be finite properties of {least} images or more, shape"
            f" (images, {len(PROPERTIES)}), but got shape {tuple(properties.shape)}"
        )


def _beyond_reference(reference: Tensor, images: Tensor, has_facts: bool) -> dict[int, str]:
    """Flag the images that are far outside the range of a reference in a direction.

    Args:
        reference: Properties of the reference's images.
        images: Properties of the images.
        has_facts: Whether an image is flagged already.

    Returns:
        Reason for each flagged image, by row.

    """
    median_sharpness = _median_sharpness(reference)
    reference_values = _by_direction(_with_median_sharpness(reference, median_sharpness))
    ordered_reference = reference_values.sort(0, descending=True).values
    values = _by_direction(_with_median_sharpness(images, median_sharpness))
    p_values, gaps = _p_values_and_gaps(values, ordered_reference)
    # Expected number of images with such values, if all images are from the reference's distribution.
    expected = p_values * len(images) * _NUM_DIRECTIONS
    is_plain_fault, may_be_fault = _compare_with_limits(images)
    is_far_plain_fault = is_plain_fault & (gaps > _OF_IMAGES.gap)
    # If a value may be faulty, but is not plainly faulty, the image must be farther outside the range.
    is_far_possible_fault = may_be_fault & (gaps > _GAP_OF_POSSIBLE_FAULT)
    flagged = is_far_plain_fault & (expected <= _LEVEL_OF_PLAIN_FAULT)
    flagged |= is_far_possible_fault & (expected <= _LEVEL_OF_FIRST_POSSIBLE_FAULT)
    if has_facts or flagged.any():
        flagged |= is_far_possible_fault & (expected <= _LEVEL_OF_FURTHER_POSSIBLE_FAULT)
    return _reasons(p_values, flagged)


def outliers_in_folder(images: Tensor, level: float | None) -> list[Outlier]:
    r"""Flag images with a property that is far outside the range of the other images of their folder, in their order.

    Images of a single colour are flagged. Let a be the number of all other images. If a is at least 15, the r most
    extreme images in a direction are compared with the other a - r images, for each r up to a tenth of a. The rule is
    that of :func:`outliers_by_properties` with n = a - r and m = a. All r images are flagged if the r-th image is
    plainly faulty and :math:`c \le` ``level``. The most extreme image is also flagged if its value may be faulty and
    :math:`c \le 0.02`. The comparison is repeated twice with the images that are not flagged.

    Args:
        images: Properties of the images, ``(n, properties)``.
        level: Level of significance: the largest expected number of images without a fault with values as extreme as
            those of a flagged image. By default, ``IN_LIST`` for at least 40 images, and ``IN_GATE`` for fewer.

    """
    if level is None:
        level = IN_LIST if len(images) >= LEAST_OF_SINGLE else IN_GATE
    facts = {}
    for row, properties in enumerate(images):
        fact = _fact(properties, _ONE_COLOUR)
        if fact:
            facts[row] = fact
    values = _by_direction(_with_median_sharpness(images, _median_sharpness(images)))
    is_plain_fault, may_be_fault = _compare_with_limits(images)
    return _in_rounds(images, facts, _Values(values, is_plain_fault, may_be_fault), level, _OF_IMAGES)


def outlier_inputs(numbers: Tensor, layers: Mapping[str, Tensor], level: float = IN_LIST) -> list[Outlier]:
    r"""Flag inputs other than images that are far outside the range of the other inputs of their set, in their order.

    Inputs with a single value are flagged. For all other inputs, the rule is that of :func:`outliers_in_folder`, with
    two differences:

    - Every value may be flagged, because there are no limits above which a number is faulty by itself.
    - An input must exceed the extreme of the other inputs by more than 1.5 times the distance of this extreme from the
      median.

    Args:
        numbers: Numbers of each input, ``(n, numbers)``, see :mod:`torchmetrics_dna.images.numbers`.
        layers: Spatial means of each layer, ``(n, neurons)``. Their mean and their norm are tested, too.
        level: Level of significance: the largest expected number of inputs without a fault with values as extreme as
            those of a flagged input.

    """
    columns = dict(zip(NUMBERS, numbers.double().T, strict=True))
    facts = _facts_of_inputs(columns)
    all_directions = _directions_of_numbers(columns) + _directions_of_layers(layers)
    all_values = torch.stack([direction.values for direction in all_directions], 1)
    # A number that is equal for all inputs flags none of them, so it is no direction.
    varying = (all_values.amax(0) > all_values.amin(0)).nonzero()[:, 0].tolist()
    directions = _directions_of_inputs([all_directions[column] for column in varying])
    varying_values = all_values[:, varying]
    # Numbers have no limits for plain faults, so each value counts as plainly faulty by itself.
    is_plain_fault = torch.ones_like(varying_values, dtype=torch.bool)
    values = _Values(varying_values, is_plain_fault, may_be_fault=~is_plain_fault)
    return _in_rounds(numbers, facts, values, level, directions)


class _Direction(NamedTuple):
    """Direction in which inputs other than images may be outliers.

    Attributes:
        name: Reason for flagging an outlier.
        values: Values of the inputs, float64, ``(n,)``. Larger values are more extreme.
        least: Smallest distance that counts.

    """

    name: str
    values: Tensor
    least: float


def _directions_of_inputs(directions: Sequence[_Direction]) -> _Directions:
    """Return the names and the smallest distances of several directions together."""
    return _Directions(
        names=[direction.name for direction in directions],
        least=torch.tensor([direction.least for direction in directions]).double(),
        number=len(directions),
        gap=_GAP_OF_POSSIBLE_FAULT,
    )


def _facts_of_inputs(columns: Mapping[str, Tensor]) -> dict[int, str]:
    """Return ``"all zero"`` or ``"one value"`` for each input that has a single value, by row."""
    is_constant = columns["spread"] == 0
    is_zero = columns["mean"] == 0
    facts = {}
    for row in is_constant.nonzero()[:, 0].tolist():
        facts[row] = "all zero" if is_zero[row] else "one value"
    return facts


def _directions_of_numbers(columns: Mapping[str, Tensor]) -> list[_Direction]:
    """Return two directions for each number of the inputs, because the number may be too high or too low."""
    spread = columns["spread"]
    nonzero_spread = spread[spread != 0]
    unit = nonzero_spread.quantile(0.5) if len(nonzero_spread) else 1.0
    directions = []
    for name, record in NUMBERS.items():
        column = columns[name]
        values = column / unit if record.tails is None else record.tails(column)
        high = f"{name} +"
        low = f"{name} -"
        directions.append(_Direction(high, values, NUMBER_FAULTS[high].least))
        directions.append(_Direction(low, -values, NUMBER_FAULTS[low].least))
    return directions


def _directions_of_layers(layers: Mapping[str, Tensor]) -> list[_Direction]:
    """Return four directions for each layer: the mean and the size of its neurons may each be too high or too low."""
    directions = []
    for layer, means in layers.items():
        # The name of the only layer would not explain anything.
        name = layer if len(layers) > 1 else ""
        mean = means.double().mean(1)
        relative_mean = mean / mean.abs().quantile(0.5).clamp(min=1e-12)
        size = means.double().square().mean(1).sqrt()
        log_size = (size + 1e-9).log()
        for values in (relative_mean, log_size):
            directions.append(_Direction(name, values, _LEAST_OF_LAYER))
            directions.append(_Direction(name, -values, _LEAST_OF_LAYER))
    return directions


def _in_rounds(
    images: Tensor, facts: dict[int, str], values: _Values, level: float, directions: _Directions
) -> list[Outlier]:
    """Flag images of a folder, or other inputs of a set, in several rounds.

    Each round compares the images that no earlier round has flagged.

    Args:
        images: Properties of the images, or numbers of the other inputs, ``(n, properties)``.
        facts: Reason for each image that is flagged before the first round, by row.
        values: Values of the images in each direction.
        level: Level of significance: the largest expected number of images without a fault with values as extreme as
            those of a flagged image.
        directions: The directions.

    """
    reasons = dict(facts)
    for _ in range(_ROUNDS):
        unflagged = _rows_without_reason(len(images), reasons)
        if len(unflagged) >= LEAST_IN_FOLDER:
            new_reasons = _outermost(values.take(unflagged), level, directions)
            reasons |= {unflagged[row]: reason for row, reason in new_reasons.items()}
    others = _rows_without_reason(len(images), reasons)
    properties_of_others = images[others] if others else images
    return [_outlier(reasons[row], images[row], row, properties_of_others) for row in sorted(reasons)]


def _rows_without_reason(count: int, reasons: Mapping[int, str]) -> list[int]:
    """Return the rows of the images that are not flagged."""
    return [row for row in range(count) if row not in reasons]


def standardized_properties(images: Tensor, unit: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Transform the properties that are measured on pixels, and divide them by their standard deviation.

    Args:
        images: Properties of images, ``(B, properties)``.
        unit: Standard deviations of the transformed properties of a reference. By default, those of these images are
            used.

    Returns:
        The transformed and divided properties, and the standard deviations by which they were divided.

    """
    transformed = torch.stack([_column(images, name) for name in OF_PIXELS], 1)
    if unit is None:
        unit = transformed.std(0).clamp(min=_LEAST_DEVIATION)
    return transformed / unit, unit


class PropertyTails:
    """Tails of a reference's properties, in the directions that are faults. They give tail probabilities of images.

    Args:
        own: Properties of at least three of the reference's own images, ``(n, properties)``.

    Attributes:
        own_p_values: Tail probabilities of the reference's own images, each compared with all others, see
            :meth:`p_values`.

    """

    def __init__(self, own: Tensor) -> None:
        self._sharpness = _median_sharpness(own)
        values = _by_direction(_with_median_sharpness(own, self._sharpness))
        ordered, order = values.sort(0, descending=True)
        count = len(ordered)
        self._tail = tail_of(count)
        self._share_of_tail = self._tail / count
        self._limit = ordered[self._tail]
        self._excess = _mean_excess(ordered[: self._tail].sum(0), self._limit, self._tail)
        p_values = _left_out_p_values(ordered)
        # Return the p-values to the order of the images.
        self.own_p_values = torch.empty_like(p_values).scatter_(0, order, p_values)

    def p_values(self, images: Tensor) -> Tensor:
        """Return the tail probability of each image in each direction, float64, ``(B, directions)``."""
        values = _by_direction(_with_median_sharpness(images, self._sharpness))
        return _p_of_tail(values - self._limit, self._excess, self._tail, self._share_of_tail)

    def to(self, device: torch.device) -> PropertyTails:
        """Return the tails on another device."""
        # The constructor would compute all attributes again.
        moved = object.__new__(PropertyTails)
        for name, value in vars(self).items():
            setattr(moved, name, value.to(device) if isinstance(value, Tensor) else value)
        return moved


def _left_out_p_values(ordered: Tensor) -> Tensor:
    """Return the tail probability of each value relative to the other values of its column.

    Args:
        ordered: Values in each direction, each column in descending order, ``(n, directions)``.

    """
    num_others = len(ordered) - 1
    tail = tail_of(num_others)
    rank = torch.arange(len(ordered))[:, None]
    # If an image of the tail is left out, the next image moves up into the tail.
    limit = torch.where(rank <= tail, ordered[tail + 1], ordered[tail])
    total = torch.where(rank < tail, ordered[: tail + 1].sum(0) - ordered, ordered[:tail].sum(0))
    return _p_of_tail(ordered - limit, _mean_excess(total, limit, tail), tail, tail / num_others)


def tail_of(count: int) -> int:
    """Return the number of images in the tail of ``count`` images.

    The tail is a twentieth of the images, but at least 5 images, and never all images.
    """
    return min(max(_LEAST_TAIL, round(count / _TAIL_DIVISOR)), count - 1)


def _mean_excess(total: Tensor, limit: Tensor, tail: int) -> Tensor:
    """Return the mean excess of the values in a tail over its limit, for each direction of a property.

    Args:
        total: Sum of the values in the tail.
        limit: Largest value that is not in the tail.
        tail: Number of images in the tail.

    """
    return torch.maximum(total / tail - limit, _LEAST_DISTANCE / 3)


def _p_of_tail(excess: Tensor, mean_excess: Tensor, tail: int, share: float) -> Tensor:
    """Return the probability that an image exceeds the limit of the tail by at least ``excess``.

    Args:
        excess: Excess of a value over the limit.
        mean_excess: Mean excess of the images in the tail.
        tail: Number of images in the tail.
        share: Share of all images that are in the tail.

    """
    return share * (1 + excess.clamp(min=0) / (tail * mean_excess)) ** -tail


def _column(side: Tensor, name: str) -> Tensor:
    """Return a property of images, transformed so that its tails are about exponential, float64.

    Args:
        side: Properties of the images, ``(B, properties)``.
        name: Name of the property.

    """
    values = side[:, PROPERTIES.index(name)].double()
    tails = RECORDS[name].tails
    return values if tails is None else tails(values)


def _by_direction(side: Tensor) -> Tensor:
    """Return transformed properties of images, one column per direction, in which larger values are more extreme."""
    columns = zip(_NAMES, _SIGNS.tolist(), strict=True)
    return torch.stack([sign * _column(side, name) for name, sign in columns], 1)


def _median_sharpness(side: Tensor) -> Tensor:
    """Return the median sharpness of images, float64."""
    return side[:, PROPERTIES.index("sharpness")].double().quantile(0.5)


def _with_median_sharpness(side: Tensor, median_sharpness: Tensor) -> Tensor:
    """Return properties in which images without edges have the median sharpness, because theirs has no meaning."""
    sharpness = PROPERTIES.index("sharpness")
    has_no_edges = side[:, PROPERTIES.index("flat areas")] > _MOST_FLAT_AREAS
    with_edges = side.clone()
    with_edges[:, sharpness] = torch.where(has_no_edges, median_sharpness.to(side), side[:, sharpness])
    return with_edges


def _compare_with_limits(side: Tensor) -> tuple[Tensor, Tensor]:
    """Compare the properties of images with fixed limits.

    Returns:
        Whether each property is plainly faulty by itself, and whether it may be faulty by itself. Both are bool,
        ``(B, directions)``.

    """
    # With the sign of its direction, a larger value is more extreme. A limit of NaN is never reached.
    values = side[:, [PROPERTIES.index(name) for name in _NAMES]].double() * _SIGNS
    is_plain_fault = values >= _PLAIN_FAULT * _SIGNS
    may_be_fault = values >= _POSSIBLE_FAULT * _SIGNS
    return is_plain_fault, may_be_fault


def _p_values_and_gaps(values: Tensor, ordered: Tensor, least: Tensor = _LEAST_DISTANCE) -> tuple[Tensor, Tensor]:
    """Compare images with other images.

    Args:
        values: Values of the images, ``(B, directions)``.
        ordered: Values of the other images, each column in descending order, ``(n, directions)``.
        least: Smallest distance that counts in each direction.

    Returns:
        p-value of each image in each direction, and gap by which it exceeds the extreme of the other images. The unit
        of the gap is the distance of this extreme from the median.

    """
    count = len(ordered)
    tail = tail_of(count)
    extreme = ordered[0]
    limit = ordered[tail]
    median = (ordered[(count - 1) // 2] + ordered[count // 2]) / 2
    excess = torch.maximum((ordered[:tail] - limit).mean(0), least / 3)
    p_values = _p_of_tail(values - limit, excess, tail, tail / count)
    gaps = (values - extreme) / torch.maximum(extreme - median, least)
    return p_values, gaps


def _outermost(values: _Values, level: float, directions: _Directions) -> dict[int, str]:
    """Flag images that are far outside the range of the others, alone or in groups of up to a tenth of all images.

    For the arguments, see :func:`_in_rounds`.

    Returns:
        Reason for each flagged image, by row.

    """
    ordered, order = values.values.sort(dim=0, descending=True, stable=True)
    values_in_order = _Values(ordered, values.is_plain_fault.gather(0, order), values.may_be_fault.gather(0, order))
    # A value has a finite p-value if it is flagged. A larger group replaces the p-values of a smaller one.
    p_values = torch.full_like(ordered, inf)
    for size in range(1, len(ordered) // _GROUP_DIVISOR + 1):
        columns = _flagged_columns(values_in_order, size, level, directions)
        if not columns:
            continue
        p_values_of_group, _ = _p_values_and_gaps(ordered[:size], ordered[size:], directions.least)
        for column in columns:
            outermost = order[:size, column]
            p_values[outermost, column] = p_values_of_group[:, column]
    return _reasons(p_values, p_values.isfinite(), directions.names)


def _flagged_columns(values: _Values, size: int, level: float, directions: _Directions) -> list[int]:
    """Return the numbers of the directions in which the group of the ``size`` most extreme images is flagged.

    The group is flagged if its last image is far enough from all other images.

    Args:
        values: Values of all images, each column in descending order.
        size: Number of images in the group.
        level: Level of significance.
        directions: The directions.

    """
    # The slice keeps the axis of the images.
    last = slice(size - 1, size)
    others = values.values[size:]
    p_values, gaps = _p_values_and_gaps(values.values[last], others, directions.least)
    expected = p_values * len(values.values) * directions.number
    flagged = values.is_plain_fault[last] & (gaps > directions.gap) & (expected <= level)
    if size == 1:
        is_extreme = (gaps > _GAP_OF_POSSIBLE_FAULT) & (expected <= _LEVEL_OF_FURTHER_POSSIBLE_FAULT)
        flagged |= values.may_be_fault[last] & is_extreme
    columns: list[int] = flagged[0].nonzero()[:, 0].tolist()
    return columns


def _reasons(p_values: Tensor, flagged: Tensor, names: Sequence[str] = _OF_IMAGES.names) -> dict[int, str]:
    """Return the reason for each flagged image: the direction with the smallest p-value.

    Args:
        p_values: p-value of each image in each direction, ``(B, directions)``.
        flagged: Whether an image is flagged in a direction, bool, ``(B, directions)``.
        names: Name of each direction.

    Returns:
        Name of the direction, by row.

    """
    smallest = torch.where(flagged, p_values, inf).argmin(1).tolist()
    rows = flagged.any(1).nonzero()[:, 0].tolist()
    return {row: names[smallest[row]] for row in rows}


def _facts(reference: Tensor, images: Tensor) -> dict[int, str]:
    """Return facts of images, such as "all black", that hold for no image of the reference, by row."""
    facts_of_reference = {_fact(values, _NEARLY_ONE_COLOUR) for values in reference}
    # An empty text means that an image has several colours.
    facts_of_reference.discard("")
    facts: dict[int, str] = {}
    for row, values in enumerate(images):
        fact = _fact(values, _ONE_COLOUR)
        if fact and not _is_usual(fact, facts_of_reference):
            facts[row] = fact
    rows_without_colour = [row for row in _unusual_grey_rows(reference, images) if row not in facts]
    if len(rows_without_colour) > _MOST_GREY:
        facts |= dict.fromkeys(rows_without_colour, "no colour")
    return facts


def _unusual_grey_rows(reference: Tensor, images: Tensor) -> list[int]:
    """Return the rows of images without colour. The list is empty unless all images of a reference have colours.

    The reference needs at least 40 images.
    """
    saturation = PROPERTIES.index("saturation")
    reference_has_colours = bool((reference[:, saturation] >= _LEAST_SATURATION_OF_COLOURS).all())
    if len(reference) < LEAST_OF_SINGLE or not reference_has_colours:
        return []
    rows: list[int] = (images[:, saturation] <= GREY).nonzero()[:, 0].tolist()
    return rows


def _is_usual(fact: str, facts_of_reference: set[str]) -> bool:
    """Return True if a fact of an image is no fault, because it also holds for images of the reference."""
    # The colour does not matter: a single colour is usual if the reference has black or white images.
    if fact == "one colour":
        return bool(facts_of_reference)
    return fact in facts_of_reference


def _fact(values: Tensor, limits: _OneColour) -> str:
    """Return ``"all black"``, ``"all white"`` or ``"one colour"`` for an image of one colour, else an empty text.

    Args:
        values: Properties of the image, ``(properties,)``.
        limits: Limits for images of one colour.

    """
    contrast = float(values[PROPERTIES.index("contrast")])
    brightness = float(values[PROPERTIES.index("brightness")])
    if contrast > limits.contrast:
        return ""
    if brightness < limits.brightness:
        return "all black"
    if brightness > 1 - limits.brightness:
        return "all white"
    return "one colour"


def extreme_property(p_values: Tensor, row: int, images: Tensor, others: Tensor) -> Outlier:
    """Return the most extreme property of an image as its reason, with the range of this property in other images.

    Args:
        p_values: Tail probabilities of images, ``(B, directions)``, see :class:`PropertyTails`.
        row: Row of the image.
        images: Properties of the images, ``(B, properties)``.
        others: Properties of the other images, ``(n, properties)``.

    """
    reason = _OF_IMAGES.names[int(p_values[row].argmin())]
    return _outlier(reason, images[row], row, others)


def _outlier(reason: str, values: Tensor, row: int, others: Tensor) -> Outlier:
    """Return a flagged image with the value of the property of its reason, and the range of this property in others.

    Args:
        reason: Reason for flagging the image.
        values: Properties of the image, ``(properties,)``.
        row: Row of the image.
        others: Properties of the other images, ``(n, properties)``.

    """
    name = _PROPERTY_OF_FACT.get(reason)
    if reason.endswith((" +", " -")):
        name = reason[:-2]
    if name is None:
        # The reason is a layer. An image has many activations in a layer, so there is no single value.
        return Outlier(row, reason, nan, nan, nan)
    # Inputs other than images have numbers instead of properties.
    column = [*NUMBERS].index(name) if name in NUMBERS else PROPERTIES.index(name)
    values_of_others = others[:, column]
    return Outlier(row, reason, float(values[column]), float(values_of_others.min()), float(values_of_others.max()))
