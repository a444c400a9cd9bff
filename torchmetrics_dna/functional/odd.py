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
# Number of images without colour that are still faults. If a kind has few, all of these may be in one set.
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
    names: Sequence[str]  # reason of each direction
    least: Tensor  # smallest distance that counts in each
    number: int  # number of those in which an image may be flagged
    gap: float = 1.0  # times the distance of the extreme from the median


_OF_IMAGES = _Directions(tuple(FAULTS), _LEAST, _DIRECTIONS)


class Odd(NamedTuple):
    """Image that is beyond all others, and why.

    Attributes:
        image: Its row.
        reason: A property with its direction, such as ``"sharpness -"``; or a fact: ``"all black"``, ``"all white"``,
            ``"one colour"`` or ``"no colour"``; or the layer that shows it most, of several, and else nothing.
        value: The property of the image, as :func:`~torchmetrics_dna.images.properties.image_properties` gives it.
        low: The smallest value in the reference, or of the images of the folder that are not odd.
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


def odd_by_properties(reference: Tensor, images: Tensor) -> list[Odd]:
    r"""Name images that a property shows to be far beyond all of a reference, each with its reason.

    An image is of one colour, and none of the reference is nearly so. Beside 40 images of the reference or more, three
    or more may also be without colour where all of these have some, or an image far beyond them in one of d directions
    that are faults, such as dark, blurred or blocky. With n images in the reference, :math:`k = \max(5, n / 20)`, u the
    value of the (k + 1)-th most extreme of these and e their mean excess over it, all transformed, an image at x has
    :math:`p = k / n \, (1 + (x - u) / (k e))^{-k}`, exact for exponential tails. Of m images those are named that are
    plainly faulty by the property's own value, with :math:`c = d m p \le 0.05`, and beyond the extreme of the reference
    by its distance from the median; or less plainly faulty, with :math:`c \le 0.005`, and beyond by 1.5 times that.
    Once an image is named, 0.02 is enough for others: no more sets of the reference's kind get a name by that.

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
        >>> odd_by_properties(reference, dark)[0].reason
        'brightness -'

    """
    for name, side, least in (("reference", reference, LEAST), ("images", images, 0)):
        if side.shape[1:] != (len(PROPERTIES),) or len(side) < least or not side.isfinite().all():
            raise ValueError(
                f"Argument `{name}` expected to be finite properties of {least} images or more, shape"
                f" (images, {len(PROPERTIES)}), but got shape {tuple(side.shape)}"
            )
    reference, images = reference.cpu(), images.cpu()
    facts = _facts(reference, images)
    reasons: dict[int, str] = {}
    if len(reference) >= LEAST_OF_SINGLE:
        median = _median_sharpness(reference)
        ordered, values = (_turned(_with_edges(side, median)) for side in (reference, images))
        p_values, gaps = _beyond(values, ordered.sort(0, descending=True).values)
        plain, maybe = _reached(images)
        chances = p_values * len(images) * _DIRECTIONS
        named = plain & (gaps > 1) & (chances <= _LEVEL)
        # What may be a fault must be far beyond all others.
        chances = chances.where(maybe & (gaps > _MORE), inf)
        has_others = bool(facts) or bool((named | (chances <= _LEVELS[0])).any())
        named |= chances <= (_LEVELS[1] if has_others else _LEVELS[0])
        reasons = _chosen(p_values, named)
    reasons |= facts
    return [_odd(reasons[row], images[row], row, reference) for row in sorted(reasons)]


def odd_in_folder(images: Tensor, level: float | None) -> list[Odd]:
    r"""Name images, by their properties, that are far beyond the others of their folder, in their order.

    Images of one colour are named as they are. Of the a others, if these are 15 or more, the r most extreme in a
    direction stand against the other a - r, for each r up to a tenth, by the c of :func:`odd_by_properties` with
    n = a - r and m = a. All r are named if the r-th is plainly faulty, with :math:`c \le` ``level``; the most extreme
    also if it is less plainly faulty, with :math:`c \le 0.02`. The rest is asked again, twice. The level is that of a
    list to look at by default, or of fewer than 40 images that of a gate.
    """
    if level is None:
        level = IN_LIST if len(images) >= LEAST_OF_SINGLE else IN_GATE
    reasons = {row: fact for row, values in enumerate(images) if (fact := _fact(values, _PLAIN))}
    return _in_rounds(
        images, reasons, _turned(_with_edges(images, _median_sharpness(images))), *_reached(images), level, _OF_IMAGES
    )


def odd_inputs(numbers: Tensor, layers: Mapping[str, Tensor], level: float = IN_LIST) -> list[Odd]:
    r"""Name inputs that are no images, far beyond the others of their set, in their order.

    Inputs of one value are named as they are. Others are by the rule of :func:`odd_in_folder`, without limits of what
    is plainly faulty, but beyond the extreme by 1.5 times its distance from the median.

    Args:
        numbers: Numbers of each, ``(n, numbers)``, see :mod:`torchmetrics_dna.images.numbers`.
        layers: Means of the neurons of each layer, ``(n, neurons)``, whose mean and size count, too.
        level: Inputs of a set, in the mean, with a tail as far out as one that is named.

    """
    columns = dict(zip(NUMBERS, numbers.double().T, strict=True))
    plain = columns["spread"] == 0
    zero = columns["mean"] == 0
    facts = {row: "all zero" if zero[row] else "one value" for row in plain.nonzero()[:, 0].tolist()}
    unit = columns["spread"][~plain].quantile(0.5) if len(facts) < len(numbers) else 1.0
    turned = [
        columns[name] / unit if record.tails is None else record.tails(columns[name])
        for name, record in NUMBERS.items()
    ]
    for means in layers.values():
        mean = means.double().mean(1)
        size = means.double().square().mean(1).sqrt()
        turned += [mean / mean.abs().quantile(0.5).clamp(min=1e-12), (size + 1e-9).log()]
    names = [*NUMBER_FAULTS]
    least = [fault.least for fault in NUMBER_FAULTS.values()]
    for layer in layers:
        # Mean and size of a layer may each be too high or too low. A single layer has no name.
        names += [layer if len(layers) > 1 else ""] * 4
        least += [_LEAST_OF_LAYER] * 4
    values = torch.stack([side for column in turned for side in (column, -column)], 1)
    varied = (values.amax(0) > values.amin(0)).nonzero()[:, 0].tolist()
    of = _Directions([names[i] for i in varied], torch.tensor(least).double()[varied], len(varied), _MORE)
    may_be = torch.ones(len(numbers), len(varied), dtype=torch.bool)
    return _in_rounds(numbers, facts, values[:, varied], may_be, ~may_be, level, of)


def _in_rounds(
    images: Tensor,
    reasons: dict[int, str],
    values: Tensor,
    plain: Tensor,
    maybe: Tensor,
    level: float,
    of: _Directions,
) -> list[Odd]:
    """Return the images that have reasons, and those that are outermost among the others, again without these."""
    for _ in range(_ROUNDS):
        rest = [row for row in range(len(images)) if row not in reasons]
        if len(rest) >= LEAST_IN_FOLDER:
            named = _outermost(values[rest], plain[rest], maybe[rest], level, of)
            reasons |= {rest[row]: reason for row, reason in named.items()}
    others = images[[row for row in range(len(images)) if row not in reasons] or slice(None)]
    return [_odd(reasons[row], images[row], row, others) for row in sorted(reasons)]


def standardized_properties(images: Tensor, unit: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return properties of the pixels, transformed and divided by a unit, and that unit, which a set's deviations are.

    Args:
        images: Properties of images, ``(B, properties)``.
        unit: Deviations of the transformed properties of a reference; by default those of these images.

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
        others = count - 1
        tail = tail_of(others)
        rank = torch.arange(count)[:, None]
        # If an image of the tail is left out, the next one takes its place.
        limit = torch.where(rank <= tail, ordered[tail + 1], ordered[tail])
        total = torch.where(rank < tail, ordered[: tail + 1].sum(0) - ordered, ordered[:tail].sum(0))
        p_values = _p_of_tail(ordered - limit, _mean_excess(total, limit, tail), tail, tail / others)
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


def tail_of(count: int) -> int:
    """Return how many of so many images are the tail of a distribution: one of 20, but at least 5 if there are more."""
    return min(max(_FEWEST, round(count / _SHARE)), count - 1)


def _mean_excess(total: Tensor, limit: Tensor, tail: int) -> Tensor:
    """Return the mean excess over the limit of tails with this total, a column for each direction of a property."""
    return torch.maximum(total / tail - limit, _LEAST / 3)


def _p_of_tail(excess: Tensor, mean_excess: Tensor, tail: int, share: float) -> Tensor:
    """Return the probability of an excess over the limit beyond which this share of images is."""
    return share * (1 + excess.clamp(min=0) / (tail * mean_excess)) ** -tail


def _column(side: Tensor, name: str) -> Tensor:
    values = side[:, PROPERTIES.index(name)].double()
    tails = RECORDS[name].tails
    return values if tails is None else tails(values)


def _turned(side: Tensor) -> Tensor:
    """Return a column for each direction, transformed, in which larger is worse."""
    columns = zip(_NAMES, _SIGNS.tolist(), strict=True)
    return torch.stack([sign * _column(side, name) for name, sign in columns], 1)


def _median_sharpness(side: Tensor) -> Tensor:
    return side[:, PROPERTIES.index("sharpness")].double().quantile(0.5)


def _with_edges(side: Tensor, median_sharpness: Tensor) -> Tensor:
    """Return properties in which images without edges have this sharpness, since theirs has no meaning."""
    sharpness, flat = (PROPERTIES.index(name) for name in ("sharpness", "flat areas"))
    side = side.clone()
    without = side[:, flat] > _FLAT
    side[:, sharpness] = torch.where(without, median_sharpness.to(side), side[:, sharpness])
    return side


def _reached(side: Tensor) -> tuple[Tensor, Tensor]:
    """Return whether images are plainly faulty, and whether they may be, by the values of their properties alone."""
    values = side[:, [PROPERTIES.index(name) for name in _NAMES]].double() * _SIGNS
    return values >= _PLAINLY * _SIGNS, values >= _MAYBE * _SIGNS


def _beyond(values: Tensor, ordered: Tensor, least: Tensor = _LEAST) -> tuple[Tensor, Tensor]:
    """Return p of images beside others, which are in descending order, and how far these are beyond.

    That is in distances of the extreme from the median.
    """
    count = len(ordered)
    tail = tail_of(count)
    extreme = ordered[0]
    limit = ordered[tail]
    median = (ordered[(count - 1) // 2] + ordered[count // 2]) / 2
    excess = torch.maximum((ordered[:tail] - limit).mean(0), least / 3)
    p_values = _p_of_tail(values - limit, excess, tail, tail / count)
    return p_values, (values - extreme) / torch.maximum(extreme - median, least)


def _outermost(values: Tensor, plain: Tensor, maybe: Tensor, level: float, of: _Directions) -> dict[int, str]:
    """Return the images that stand against all others, alone or with up to a tenth of them, and the reasons, by row."""
    ordered, order = values.sort(dim=0, descending=True, stable=True)
    plain, maybe = plain.gather(0, order), maybe.gather(0, order)
    p_values = torch.full_like(values, inf)
    for count in range(1, len(values) // _TOGETHER + 1):
        last = slice(count - 1, count)
        others = ordered[count:]
        of_last, gaps = _beyond(ordered[last], others, of.least)
        chances = of_last * len(values) * of.number
        named = plain[last] & (gaps > of.gap) & (chances <= level)
        if count == 1:
            named |= maybe[last] & (gaps > _MORE) & (chances <= _LEVELS[1])
        for column in named[0].nonzero()[:, 0].tolist():  # all up to the last one, together
            together = order[:count, column]
            p_values[together, column] = _beyond(ordered[:count], others, of.least)[0][:, column]
    return _chosen(p_values, p_values.isfinite(), of.names)


def _chosen(p_values: Tensor, named: Tensor, names: Sequence[str] = _OF_IMAGES.names) -> dict[int, str]:
    """Return the direction of the smallest p-value among the named ones of an image, by row."""
    smallest = torch.where(named, p_values, inf).argmin(1).tolist()
    return {row: names[smallest[row]] for row in named.any(1).nonzero()[:, 0].tolist()}


def _facts(reference: Tensor, images: Tensor) -> dict[int, str]:
    """Return what images are and no image of the reference is, by row."""
    facts: dict[int, str] = {}
    grey: dict[int, str] = {}
    of_reference = {_fact(values, _NEARLY_PLAIN) for values in reference} - {""}
    saturation = PROPERTIES.index("saturation")
    has_colour = len(reference) >= LEAST_OF_SINGLE and bool((reference[:, saturation] >= _OF_GREY).all())
    for row, values in enumerate(images):
        fact = _fact(values, _PLAIN)
        # An image of one colour is no fault if the reference has any such image, whatever its colour.
        is_usual = bool(of_reference) if fact == "one colour" else fact in of_reference
        if fact and not is_usual:
            facts[row] = fact
        elif values[saturation] <= GREY and has_colour:
            grey[row] = "no colour"
    return facts | grey if len(grey) > _MOST_GREY else facts


def _fact(values: Tensor, limits: tuple[float, float]) -> str:
    """Return what an image of one colour is; empty for others."""
    contrast, brightness = (float(values[PROPERTIES.index(name)]) for name in ("contrast", "brightness"))
    if contrast > limits[0]:
        return ""
    if brightness < limits[1]:
        return "all black"
    if brightness > 1 - limits[1]:
        return "all white"
    return "one colour"


def extreme_property(p_values: Tensor, row: int, images: Tensor, others: Tensor) -> Odd:
    """Return the property in whose tail an image is farthest, with its value and the range of others."""
    reason = _OF_IMAGES.names[int(p_values[row].argmin())]
    return _odd(reason, images[row], row, others)


def _odd(reason: str, values: Tensor, row: int, others: Tensor) -> Odd:
    if reason == "no colour":
        name = "saturation"
    elif reason[-1] in "+-":
        name = reason[:-2]
    else:
        # Images of one colour have no contrast.
        name = "contrast"
    column = [*NUMBERS].index(name) if name in NUMBERS else PROPERTIES.index(name)
    return Odd(row, reason, float(values[column]), float(others[:, column].min()), float(others[:, column].max()))
