"""Images that are beyond all others by a property: those of a reference, or of their own folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from typing import NamedTuple

import torch
from torch import Tensor

from torchmetrics_dna.images.numbers import FAULTS as NUMBER_FAULTS
from torchmetrics_dna.images.numbers import RECORDS as NUMBERS
from torchmetrics_dna.images.properties import FAULTS, OF_PIXELS, PROPERTIES, RECORDS

# Smallest number of images of a reference. If none of them has one colour, at most 26% of its kind do (95% bound).
LEAST = 10
# Smallest number of images of a reference with which images are judged one by one by more than a single colour.
LEAST_OF_SINGLE = 40
# Smallest number of images that are judged relative to each other, without a reference.
LEAST_IN_FOLDER = 15
# Expected number of sound images of a folder with a tail as far out as the smallest fault that is flagged: in a list,
# and in a check.
IN_LIST = 0.2
IN_GATE = 0.05
# Smallest distance of a layer that counts: of its mean, in means, or of the logarithm of its size.
_LEAST_OF_LAYER = 0.1
# Expected number of flagged sound images relative to a reference.
_LEVEL = 0.05
# Levels of the first image that is far beyond all, and of others. Such an image is farther by this factor than usual.
_LEVELS = (0.005, 0.02)
_MORE = 1.5
# Largest number of images without colour that are not flagged. If a domain has few such images, all of them may be in
# one set.
_MOST_GREY = 2
# P-value of a property that is named as the reason for an image which other evidence flags.
CLEAR = 0.003
# The tail is one image of this number, and has a smallest number of images.
_SHARE = 20
_FEWEST = 5
# One fault may be in one of this number of images of a folder. The folder is searched for so many rounds.
_TOGETHER = 10
_ROUNDS = 3
# Share of flat areas beyond which sharpness has no meaning: there is hardly an edge to measure.
_FLAT = 0.95
# Smallest standard deviation of a transformed property.
_TINY = 0.01
# Saturation of an image without colour at most, and of each image of a reference with colours at least.
GREY = 0.004
_OF_GREY = 0.012
# Largest contrast of images of one colour, and largest brightness of black ones; and the same for the reference.
_PLAIN = (0.01, 0.05)
_NEARLY_PLAIN = (0.03, 0.1)
_NAMES = [key[:-2] for key in FAULTS]
_SIGNS = torch.tensor([1.0 if key.endswith("+") else -1.0 for key in FAULTS], dtype=torch.float64)
_LEAST, _PLAINLY, _MAYBE = torch.tensor(
    [(fault.least, fault.plain, fault.maybe) for fault in FAULTS.values()], dtype=torch.float64
).T
# Number of directions in which an image may be flagged.
_DIRECTIONS = int((~_MAYBE.isnan()).sum())


class _Directions(NamedTuple):
    """Directions of properties in which an image may be an outlier.

    Attributes:
        names: Reason of each direction.
        least: Smallest distance that counts in each direction, float64, ``(directions,)``.
        number: Number of directions in which an image may be flagged.
        gap: Smallest distance of a flagged image from the extreme of the others, in distances of this extreme from the
            median.

    """

    names: Sequence[str]
    least: Tensor
    number: int
    gap: float = 1.0


_OF_IMAGES = _Directions(tuple(FAULTS), _LEAST, _DIRECTIONS)


class Outlier(NamedTuple):
    """Image that is beyond all others, and why.

    Attributes:
        image: Its row.
        reason: A property with its direction, such as ``"sharpness -"``; or a fact: ``"all black"``, ``"all white"``,
            ``"one colour"`` or ``"no colour"``; or the layer that shows it most, of several, and else nothing.
        value: The property of the image, as :func:`~torchmetrics_dna.images.properties.image_properties` gives it.
        low: The smallest value in the reference, or of the images of the folder that are not outliers.
        high: The largest one.

    """

    image: int
    reason: str
    value: float
    low: float
    high: float

    @property
    def is_fact(self) -> bool:
        """True if it is of one colour or value, whatever the others are."""
        return self.reason in ("all black", "all white", "one colour", "all zero", "one value")


def outliers_by_properties(reference: Tensor, images: Tensor) -> list[Outlier]:
    r"""Flag images that are far beyond all images of a reference by a property, each with its reason.

    An image is flagged if it has one colour, and no image of the reference nearly has. With at least 40 images in the
    reference, there are two more reasons:

    - Three or more images have no colour, but all images of the reference have some.
    - An image is far beyond the reference in one of d directions that are faults, such as dark, blurred or blocky.

    The second reason is a test on transformed properties. Let n be the number of images in the reference,
    :math:`k = \max(5, n / 20)`, u the (k + 1)-th most extreme value in the reference, and e the mean excess of the k
    more extreme values over u. An image with the value x has the p-value
    :math:`p = k / n \, (1 + (x - u) / (k e))^{-k}`, which is exact for exponential tails. For m images,
    :math:`c = d m p`. An image is flagged in either of two cases:

    - The value itself is plainly faulty, :math:`c \le 0.05`, and the image exceeds the extreme of the reference by at
      least the distance of this extreme from the median.
    - The value itself may be faulty, :math:`c \le 0.005`, and the image exceeds the extreme by 1.5 times this distance.
      If another image is flagged already, :math:`c \le 0.02` is enough. This does not increase the share of sets of
      the reference's distribution in which an image is flagged.

    Args:
        reference: Properties of the reference's images, ``(n, properties)``, of
            :func:`~torchmetrics_dna.images.properties.image_properties`, of 10 images at least.
        images: Those of the images, ``(m, properties)``.

    Returns:
        The images, in their order.

    Raises:
        ValueError: If an argument has another shape, values that are not finite, or the reference too few images.

    Example:
        >>> from torchmetrics_dna.images.properties import image_properties
        >>> noise = torch.randint(0, 256, (41, 3, 32, 32), generator=torch.Generator().manual_seed(0)).byte()
        >>> reference, dark = image_properties(noise[:40]), image_properties(noise[40:] // 29)
        >>> outliers_by_properties(reference, dark)[0].reason
        'brightness -'

    """
    for name, side, least in (("reference", reference, LEAST), ("images", images, 0)):
        if side.shape[1:] != (len(PROPERTIES),) or len(side) < least or not side.isfinite().all():
            raise ValueError(
                f"Argument `{name}` expected to be finite properties of {least} images or more, shape"
                f" (images, {len(PROPERTIES)}), but got shape {tuple(side.shape)}"
            )
    reference = reference.cpu()
    images = images.cpu()
    facts = _facts(reference, images)
    reasons: dict[int, str] = {}
    if len(reference) >= LEAST_OF_SINGLE:
        reasons = _beyond_reference(reference, images, has_facts=bool(facts))
    reasons |= facts
    return [_outlier(reasons[row], images[row], row, reference) for row in sorted(reasons)]


def _beyond_reference(reference: Tensor, images: Tensor, has_facts: bool) -> dict[int, str]:
    """Return the images that are far beyond a reference in a direction, with their reasons, by row.

    Args:
        reference: Properties of the reference's images.
        images: Properties of the images.
        has_facts: Whether an image is flagged already.

    """
    median_sharpness = _median_sharpness(reference)
    reference_values = _turned(_with_edges(reference, median_sharpness))
    values = _turned(_with_edges(images, median_sharpness))
    p_values, gaps = _p_values_and_gaps(values, reference_values.sort(0, descending=True).values)
    is_plain_fault, may_be_fault = _reached(images)
    expected = p_values * len(images) * _DIRECTIONS
    flagged = is_plain_fault & (gaps > 1) & (expected <= _LEVEL)
    # An image that only may be faulty must be far beyond all others.
    expected_of_maybe = expected.where(may_be_fault & (gaps > _MORE), inf)
    level_of_first, level_of_others = _LEVELS
    has_flagged = has_facts or bool((flagged | (expected_of_maybe <= level_of_first)).any())
    flagged |= expected_of_maybe <= (level_of_others if has_flagged else level_of_first)
    return _chosen(p_values, flagged)


def outliers_in_folder(images: Tensor, level: float | None) -> list[Outlier]:
    r"""Flag images that are far beyond the other images of their folder by a property, in their order.

    Images of one colour are flagged. Let a be the number of all others. If a is at least 15, the r most extreme images
    in a direction are compared with the other a - r images, for each r up to a tenth of a. The rule is that of
    :func:`outliers_by_properties` with n = a - r and m = a. All r images are flagged if the r-th is plainly faulty and
    :math:`c \le` ``level``. The most extreme image is also flagged if it may be faulty and :math:`c \le 0.02`. Images
    that are not flagged are compared again, twice. The default level is ``IN_LIST`` for at least 40 images, else
    ``IN_GATE``.
    """
    if level is None:
        level = IN_LIST if len(images) >= LEAST_OF_SINGLE else IN_GATE
    facts = {}
    for row, properties in enumerate(images):
        fact = _fact(properties, _PLAIN)
        if fact:
            facts[row] = fact
    values = _turned(_with_edges(images, _median_sharpness(images)))
    is_plain_fault, may_be_fault = _reached(images)
    return _in_rounds(images, facts, values, is_plain_fault, may_be_fault, level, _OF_IMAGES)


def outlier_inputs(numbers: Tensor, layers: Mapping[str, Tensor], level: float = IN_LIST) -> list[Outlier]:
    r"""Flag inputs other than images that are far beyond the others of their set, in their order.

    Inputs with only one value are flagged. The rule for all others is that of :func:`outliers_in_folder`, with two
    differences: every value may be flagged, since numbers have no limit beyond which they are faulty by themselves. And
    an input must exceed the extreme of the others by 1.5 times the distance of this extreme from the median.

    Args:
        numbers: Numbers of each input, ``(n, numbers)``, see :mod:`torchmetrics_dna.images.numbers`.
        layers: Means of the neurons of each layer, ``(n, neurons)``. Their mean and their norm are tested as well.
        level: Expected number of sound inputs of a set with a tail as far out as that of a flagged one.

    """
    columns = dict(zip(NUMBERS, numbers.double().T, strict=True))
    facts = _facts_of_inputs(columns)
    all_directions = _directions_of_numbers(columns) + _directions_of_layers(layers)
    values = torch.stack([direction.values for direction in all_directions], 1)
    varies = values.amax(0) > values.amin(0)
    varying_columns = varies.nonzero()[:, 0].tolist()
    varying = [all_directions[column] for column in varying_columns]
    directions = _Directions(
        names=[direction.name for direction in varying],
        least=torch.tensor([direction.least for direction in varying]).double(),
        number=len(varying),
        gap=_MORE,
    )
    # There are no limits of what is plainly faulty, so each value counts as if it were.
    is_plain_fault = torch.ones(len(numbers), len(varying), dtype=torch.bool)
    may_be_fault = ~is_plain_fault
    return _in_rounds(numbers, facts, values[:, varying_columns], is_plain_fault, may_be_fault, level, directions)


class _Direction(NamedTuple):
    """Direction in which inputs that are no images may be outliers.

    Attributes:
        name: Reason that is given for an outlier.
        values: Values of the inputs, larger is worse, float64, ``(n,)``.
        least: Smallest distance that counts.

    """

    name: str
    values: Tensor
    least: float


def _facts_of_inputs(columns: Mapping[str, Tensor]) -> dict[int, str]:
    """Return the row of each input that has only one value, with this fact in words."""
    is_constant = columns["spread"] == 0
    is_zero = columns["mean"] == 0
    facts = {}
    for row in is_constant.nonzero()[:, 0].tolist():
        facts[row] = "all zero" if is_zero[row] else "one value"
    return facts


def _directions_of_numbers(columns: Mapping[str, Tensor]) -> list[_Direction]:
    """Return the directions of the numbers of inputs: each number may be too high or too low."""
    spread = columns["spread"]
    varying_spread = spread[spread != 0]
    unit = varying_spread.quantile(0.5) if len(varying_spread) else 1.0
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
    """Return the directions of layers: the mean and the size of a layer's neurons may each be too high or too low."""
    directions = []
    for layer, means in layers.items():
        # If there is a single layer, its name is no reason.
        name = layer if len(layers) > 1 else ""
        mean = means.double().mean(1)
        size = means.double().square().mean(1).sqrt()
        for values in (mean / mean.abs().quantile(0.5).clamp(min=1e-12), (size + 1e-9).log()):
            directions.append(_Direction(name, values, _LEAST_OF_LAYER))
            directions.append(_Direction(name, -values, _LEAST_OF_LAYER))
    return directions


def _in_rounds(
    images: Tensor,
    facts: dict[int, str],
    values: Tensor,
    is_plain_fault: Tensor,
    may_be_fault: Tensor,
    level: float,
    directions: _Directions,
) -> list[Outlier]:
    """Return images, or other inputs, of a folder with a fact, and those that are far beyond the others.

    Each of several rounds compares the images that no earlier round has flagged.

    Args:
        images: Properties of the images, or numbers of the other inputs, ``(n, properties)``.
        facts: Facts of images, by row.
        values: Values in each direction, larger is worse, ``(n, directions)``.
        is_plain_fault: Whether the property of an image is plainly faulty by itself, bool, ``(n, directions)``.
        may_be_fault: Whether it may be faulty by itself, bool, ``(n, directions)``.
        level: Expected number of sound images with a tail as far out as one that is flagged.
        directions: The directions.

    """
    reasons = dict(facts)
    for _ in range(_ROUNDS):
        rest = [row for row in range(len(images)) if row not in reasons]
        if len(rest) >= LEAST_IN_FOLDER:
            flagged = _outermost(values[rest], is_plain_fault[rest], may_be_fault[rest], level, directions)
            reasons |= {rest[row]: reason for row, reason in flagged.items()}
    others = [row for row in range(len(images)) if row not in reasons]
    properties_of_others = images[others] if others else images
    return [_outlier(reasons[row], images[row], row, properties_of_others) for row in sorted(reasons)]


def standardized_properties(images: Tensor, unit: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return properties of the pixels, transformed and divided by a unit, and the unit.

    Args:
        images: Properties of images, ``(B, properties)``.
        unit: Standard deviations of the transformed properties of a reference; by default those of these images.

    """
    transformed = torch.stack([_column(images, name) for name in OF_PIXELS], 1)
    if unit is None:
        unit = transformed.std(0).clamp(min=_TINY)
    return transformed / unit, unit


class PropertyTails:
    """Tail probabilities of single images in a reference's properties, in the directions that are faults.

    Args:
        own: Properties of the reference's own images, ``(n, properties)``, at least three.

    Attributes:
        own_p_values: Those of :meth:`p_values` of the reference's own images, each compared with all others.

    """

    def __init__(self, own: Tensor) -> None:
        self._sharpness = _median_sharpness(own)
        ordered, order = _turned(_with_edges(own, self._sharpness)).sort(0, descending=True)
        count = len(ordered)
        self._tail = tail_of(count)
        self._share_of_tail = self._tail / count
        self._limit = ordered[self._tail]
        self._excess = _mean_excess(ordered[: self._tail].sum(0), self._limit, self._tail)
        p_values = _left_out_p_values(ordered)
        self.own_p_values = torch.empty_like(p_values).scatter_(0, order, p_values)

    def p_values(self, images: Tensor) -> Tensor:
        """Return the tail probability of each image in each direction, float64, ``(B, directions)``."""
        values = _turned(_with_edges(images, self._sharpness))
        return _p_of_tail(values - self._limit, self._excess, self._tail, self._share_of_tail)

    def to(self, device: torch.device) -> PropertyTails:
        """Return the tails on another device."""
        moved = object.__new__(PropertyTails)
        for name, value in vars(self).items():
            setattr(moved, name, value.to(device) if isinstance(value, Tensor) else value)
        return moved


def _left_out_p_values(ordered: Tensor) -> Tensor:
    """Return the tail probability of each value of sorted columns among the other values of its column."""
    num_others = len(ordered) - 1
    tail = tail_of(num_others)
    rank = torch.arange(len(ordered))[:, None]
    # If an image of the tail is left out, the next one takes its place.
    limit = torch.where(rank <= tail, ordered[tail + 1], ordered[tail])
    total = torch.where(rank < tail, ordered[: tail + 1].sum(0) - ordered, ordered[:tail].sum(0))
    return _p_of_tail(ordered - limit, _mean_excess(total, limit, tail), tail, tail / num_others)


def tail_of(count: int) -> int:
    """Return the number of images in the tail of ``count`` images: one of 20, but at least 5 if there are more."""
    return min(max(_FEWEST, round(count / _SHARE)), count - 1)


def _mean_excess(total: Tensor, limit: Tensor, tail: int) -> Tensor:
    """Return the mean excess over the limit of tails with this total, a column for each direction of a property."""
    return torch.maximum(total / tail - limit, _LEAST / 3)


def _p_of_tail(excess: Tensor, mean_excess: Tensor, tail: int, share: float) -> Tensor:
    """Return the probability of an excess over the limit beyond which this share of images is."""
    return share * (1 + excess.clamp(min=0) / (tail * mean_excess)) ** -tail


def _column(side: Tensor, name: str) -> Tensor:
    """Return a property, transformed so that its tails are about exponential, float64."""
    values = side[:, PROPERTIES.index(name)].double()
    tails = RECORDS[name].tails
    return values if tails is None else tails(values)


def _turned(side: Tensor) -> Tensor:
    """Return a column for each direction, transformed, in which larger is worse."""
    columns = zip(_NAMES, _SIGNS.tolist(), strict=True)
    return torch.stack([sign * _column(side, name) for name, sign in columns], 1)


def _median_sharpness(side: Tensor) -> Tensor:
    """Return the median sharpness of images, float64."""
    return side[:, PROPERTIES.index("sharpness")].double().quantile(0.5)


def _with_edges(side: Tensor, median_sharpness: Tensor) -> Tensor:
    """Return properties with this sharpness for images without edges, whose own sharpness has no meaning."""
    sharpness = PROPERTIES.index("sharpness")
    has_no_edges = side[:, PROPERTIES.index("flat areas")] > _FLAT
    with_edges = side.clone()
    with_edges[:, sharpness] = torch.where(has_no_edges, median_sharpness.to(side), side[:, sharpness])
    return with_edges


def _reached(side: Tensor) -> tuple[Tensor, Tensor]:
    """Return whether images are plainly faulty, and whether they may be, by the values of their properties alone.

    Both are bool, ``(B, directions)``.
    """
    values = side[:, [PROPERTIES.index(name) for name in _NAMES]].double() * _SIGNS
    is_plain_fault = values >= _PLAINLY * _SIGNS
    may_be_fault = values >= _MAYBE * _SIGNS
    return is_plain_fault, may_be_fault


def _p_values_and_gaps(values: Tensor, ordered: Tensor, least: Tensor = _LEAST) -> tuple[Tensor, Tensor]:
    """Compare images with others.

    Args:
        values: Values of the images, ``(B, directions)``.
        ordered: Values of the others, each column in descending order, ``(n, directions)``.
        least: Smallest distance that counts in each direction.

    Returns:
        The p-value of each image in each direction, and the distance by which it exceeds the extreme of the others, in
        distances of this extreme from the median.

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


def _outermost(
    values: Tensor, is_plain_fault: Tensor, may_be_fault: Tensor, level: float, directions: _Directions
) -> dict[int, str]:
    """Return the images that are far beyond all others, alone or with up to a tenth of them, with reasons, by row.

    The arguments are those of :func:`_in_rounds`.
    """
    ordered, order = values.sort(dim=0, descending=True, stable=True)
    is_plain_fault = is_plain_fault.gather(0, order)
    may_be_fault = may_be_fault.gather(0, order)
    p_values = torch.full_like(values, inf)
    for count in range(1, len(values) // _TOGETHER + 1):
        # The outermost images stand against the others if the last one of them does.
        last = slice(count - 1, count)
        others = ordered[count:]
        p_values_of_last, gaps = _p_values_and_gaps(ordered[last], others, directions.least)
        expected = p_values_of_last * len(values) * directions.number
        flagged = is_plain_fault[last] & (gaps > directions.gap) & (expected <= level)
        if count == 1:
            flagged |= may_be_fault[last] & (gaps > _MORE) & (expected <= _LEVELS[1])
        columns = flagged[0].nonzero()[:, 0].tolist()
        if columns:
            p_values_of_all, _ = _p_values_and_gaps(ordered[:count], others, directions.least)
        for column in columns:
            outermost = order[:count, column]
            p_values[outermost, column] = p_values_of_all[:, column]
    return _chosen(p_values, p_values.isfinite(), directions.names)


def _chosen(p_values: Tensor, flagged: Tensor, names: Sequence[str] = _OF_IMAGES.names) -> dict[int, str]:
    """Return the direction of the smallest p-value among the flagged ones of an image, by row."""
    smallest = torch.where(flagged, p_values, inf).argmin(1).tolist()
    rows = flagged.any(1).nonzero()[:, 0].tolist()
    return {row: names[smallest[row]] for row in rows}


def _facts(reference: Tensor, images: Tensor) -> dict[int, str]:
    """Return facts of images, such as "all black", that hold for no image of the reference, by row."""
    facts: dict[int, str] = {}
    grey: dict[int, str] = {}
    facts_of_reference = {_fact(values, _NEARLY_PLAIN) for values in reference} - {""}
    saturation = PROPERTIES.index("saturation")
    has_colour = len(reference) >= LEAST_OF_SINGLE and bool((reference[:, saturation] >= _OF_GREY).all())
    for row, values in enumerate(images):
        fact = _fact(values, _PLAIN)
        # An image of one colour is no fault if the reference has any such image, whatever its colour.
        is_usual = bool(facts_of_reference) if fact == "one colour" else fact in facts_of_reference
        if fact and not is_usual:
            facts[row] = fact
        elif values[saturation] <= GREY and has_colour:
            grey[row] = "no colour"
    if len(grey) > _MOST_GREY:
        facts |= grey
    return facts


def _fact(values: Tensor, limits: tuple[float, float]) -> str:
    """Return the fact of an image of one colour; empty for others.

    Args:
        values: Properties of the image, ``(properties,)``.
        limits: Largest contrast of an image of one colour, and largest brightness of a black one.

    """
    largest_contrast, largest_of_black = limits
    contrast = float(values[PROPERTIES.index("contrast")])
    brightness = float(values[PROPERTIES.index("brightness")])
    if contrast > largest_contrast:
        return ""
    if brightness < largest_of_black:
        return "all black"
    if brightness > 1 - largest_of_black:
        return "all white"
    return "one colour"


def extreme_property(p_values: Tensor, row: int, images: Tensor, others: Tensor) -> Outlier:
    """Return the property in whose tail an image is farthest, with its value and the range of others."""
    reason = _OF_IMAGES.names[int(p_values[row].argmin())]
    return _outlier(reason, images[row], row, others)


def _outlier(reason: str, values: Tensor, row: int, others: Tensor) -> Outlier:
    """Return an image with the property of its reason, and the range of this property among others."""
    if reason == "no colour":
        name = "saturation"
    elif reason[-1] in "+-":
        name = reason[:-2]
    else:
        # Images of one colour have no contrast.
        name = "contrast"
    # Inputs that are no images have numbers instead of properties.
    column = [*NUMBERS].index(name) if name in NUMBERS else PROPERTIES.index(name)
    values_of_others = others[:, column]
    return Outlier(row, reason, float(values[column]), float(values_of_others.min()), float(values_of_others.max()))
