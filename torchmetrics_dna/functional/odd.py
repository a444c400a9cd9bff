"""Images that are beyond all others by a property: those of a reference, or of their own folder."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from torchmetrics_dna.images.properties import FAULTS, OF_PIXELS, PROPERTIES, RECORDS

if TYPE_CHECKING:
    from collections.abc import Sequence

LEAST = 10  # images of a reference; with none of one colour, these are 26 % of its kind at most (95 %)
LEAST_OF_SINGLE = 40  # images of a reference beside which others than those of one colour are judged one by one
LEAST_IN_FOLDER = 15  # images without a reference, beside each other
IN_LIST, IN_GATE = 1.0, 0.05  # images of a folder, in the mean, with a tail as far out as a plain fault named there
_LEVEL = 0.05  # the same beside a reference
_LEVELS, _MORE = (0.005, 0.02), 1.5  # of the first image that is far beyond all; of others; times the usual distance
_MOST_GREY = 2  # images without colour that are no fault: of a kind with few, all may be on one side
_CLEAR = 0.003  # p of a property that is the reason of an image, which other evidence shows to be off
_SHARE, _FEWEST = 20, 5  # images of the tail: one of 20, but 5 at least
_TOGETHER, _ROUNDS = 10, 3  # images of a folder that one fault may have: one of ten; times that it is looked through
_FLAT = 0.95  # flat areas beyond which sharpness says nothing: there is hardly an edge to measure
_TINY = 0.01  # deviation of a transformed property at least
GREY, _OF_GREY = 0.004, 0.012  # saturation of an image without colour, and of all of the reference
_PLAIN, _NEARLY_PLAIN = (0.01, 0.05), (0.03, 0.1)  # contrast of images of one colour; brightness of black ones
_LIMITED = {name: fault for name, fault in FAULTS.items() if fault.also is not None}


class Odd(NamedTuple):
    """Image that is beyond all others, and why.

    Attributes:
        image: Its row.
        reason: A property with its direction, such as ``"sharpness -"``; or a fact: ``"all black"``, ``"all white"``,
            ``"one colour"`` or ``"no colour"``.
        value: The property of the image, as :func:`~torchmetrics_dna.images.properties.image_properties` gives it.
        low: The smallest value in the reference, or of the images of the folder that are not odd.
        high: The largest one.

    """

    image: int
    reason: str
    value: float
    low: float
    high: float


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
        _check(name, side, least)
    facts, reasons = _facts(reference, images), dict[int, str]()
    if len(reference) >= LEAST_OF_SINGLE:
        of_reference, values = (_turned(_with_edges(side, reference)) for side in (reference, images))
        p_values, gaps = _beyond(values, of_reference.sort(0, descending=True).values)
        chances, (plain, also) = p_values * values.numel(), _reached(images)
        named, chances = plain & (gaps > 1) & (chances <= _LEVEL), chances.where(also & (gaps > _MORE), inf)
        named |= chances <= _LEVELS[bool(facts) or bool((named | (chances <= _LEVELS[0])).any())]
        reasons = _chosen(p_values, named, [*_LIMITED])
    reasons |= facts
    return [_odd(reasons[row], images[row], row, reference) for row in sorted(reasons)]


def odd_in_folder(images: Tensor, level: float | None = None) -> list[Odd]:
    r"""Name images of a folder that are far beyond its other images, each with its reason; there is no reference.

    Images of one colour are named as they are. Of the a others, if these are 15 or more, the r most extreme in a
    direction stand against the other a - r, for each r up to a tenth, by the c of :func:`odd_by_properties` with
    n = a - r and m = a. All r are named if the r-th is plainly faulty, with :math:`c \le` ``level``; the most extreme
    also if it is less plainly faulty, with :math:`c \le 0.02`. Twice, the rest is asked again. So a fault that up to a
    tenth of the images share does not hide itself; one that more share does.

    Args:
        images: Properties of all images, ``(n, properties)``, of
            :func:`~torchmetrics_dna.images.properties.image_properties`.
        level: Largest c of a plain fault, such as 1 for a list to look at, or 0.05 for a gate; by default the one, or
            of fewer than 40 images the other.

    Returns:
        The images, in their order.

    Raises:
        ValueError: If the images have another shape, or values that are not finite.

    Example:
        >>> from torchmetrics_dna.images.properties import image_properties
        >>> noise = torch.randint(0, 256, (40, 3, 32, 32), generator=torch.Generator().manual_seed(0)).byte()
        >>> noise[3], noise[7:9] = 0, noise[7:9] // 29
        >>> [(odd.image, odd.reason) for odd in odd_in_folder(image_properties(noise))]
        [(3, 'all black'), (7, 'brightness -'), (8, 'brightness -')]

    """
    _check("images", images, 0)
    if level is None:
        level = IN_LIST if len(images) >= LEAST_OF_SINGLE else IN_GATE
    reasons = {row: fact for row, values in enumerate(images) if (fact := _fact(values, _PLAIN))}
    turned, (plain, also) = _turned(_with_edges(images, images)), _reached(images)
    for _ in range(_ROUNDS):
        rest = torch.tensor([row for row in range(len(images)) if row not in reasons], dtype=torch.int64)
        if len(rest) < LEAST_IN_FOLDER:
            break
        named = _outermost(turned[rest], plain[rest], also[rest], level)
        if not named:
            break
        reasons |= {int(rest[row]): reason for row, reason in named.items()}
    others = images[[row for row in range(len(images)) if row not in reasons] or slice(None)]
    return [_odd(reasons[row], images[row], row, others) for row in sorted(reasons)]


def clear_reasons(reference: Tensor, images: Tensor) -> dict[int, Odd]:
    """Return the property that tells most plainly why an image is off, by row, where one does."""
    ordered, values = _turned(reference, [*FAULTS]).sort(0, descending=True).values, _turned(images, [*FAULTS])
    p_values, gaps = _beyond(values, ordered, [*FAULTS])
    reasons = _chosen(p_values, (gaps > 0) & (p_values <= _CLEAR), [*FAULTS])
    return {row: _odd(reason, images[row], row, reference) for row, reason in reasons.items()}


def standard_properties(reference: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the properties of the pixels of both, transformed, in deviations of the reference, a column each."""
    sides = [torch.stack([_column(side, name) for name in OF_PIXELS], 1) for side in (reference, images)]
    deviation = sides[0].std(0).clamp(min=_TINY)
    return sides[0] / deviation, sides[1] / deviation


def _check(name: str, side: Tensor, least: int) -> None:
    if side.shape[1:] != (len(PROPERTIES),) or len(side) < least or not side.isfinite().all():
        raise ValueError(
            f"Argument `{name}` expected to be finite properties of {least} images or more, shape"
            f" (images, {len(PROPERTIES)}), but got shape {tuple(side.shape)}"
        )


def _column(side: Tensor, name: str) -> Tensor:
    values, tails = side[:, PROPERTIES.index(name)].double(), RECORDS[name].tails
    return values if tails is None else tails(values)


def _turned(side: Tensor, directions: Sequence[str] = tuple(_LIMITED)) -> Tensor:
    """Return a column for each direction, transformed, in which larger is worse."""
    return torch.stack([_column(side, key[:-2]) * (1 if key.endswith("+") else -1) for key in directions], 1)


def _with_edges(side: Tensor, others: Tensor) -> Tensor:
    """Return properties in which images without edges have the median sharpness of the others."""
    sharpness, flat = (PROPERTIES.index(name) for name in ("sharpness", "flat areas"))
    side, median = side.clone(), others[:, sharpness].double().quantile(0.5).to(side) if len(others) else inf
    side[side[:, flat] > _FLAT, sharpness] = median
    return side


def _reached(side: Tensor) -> list[Tensor]:
    """Return whether images are plainly faulty, and whether they may be, by the values of their properties alone."""
    signs = [1 if key.endswith("+") else -1 for key in _LIMITED]
    values = torch.stack([side[:, PROPERTIES.index(key[:-2])].double() for key in _LIMITED], 1) * torch.tensor(signs)
    limits = zip(*((fault.plain, fault.also) for fault in _LIMITED.values()), strict=True)
    return [
        values >= torch.tensor([inf if limit is None else limit * sign for limit, sign in zip(row, signs, strict=True)])
        for row in limits
    ]


def _beyond(
    values: Tensor, ordered: Tensor, directions: Sequence[str] = tuple(_LIMITED), left_out: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return p of images ``(m, d)`` beside others ``(n, d)``, in descending order, and how far these are beyond.

    The distance is in that of the extreme from the median. Of the others the first do not count, ``(m,)`` many.
    """
    floors = torch.tensor([FAULTS[key].least for key in directions], dtype=torch.float64)
    first = torch.zeros(1, dtype=torch.int64) if left_out is None else left_out
    count = len(ordered) - first
    tail = (count / _SHARE).round().long().clamp(min=_FEWEST)
    sums = torch.cat([torch.zeros_like(ordered[:1]), ordered.cumsum(0)])
    extreme, limit = ordered[first], ordered[first + tail]
    median = (ordered[first + (count - 1) // 2] + ordered[first + count // 2]) / 2
    count, size = count[:, None].double(), tail[:, None].double()
    excess = torch.maximum((sums[first + tail] - sums[first]) / size - limit, floors / 3)
    p_values = size / count * (1 + (values - limit).clamp(min=0) / (size * excess)) ** -size
    return p_values, (values - extreme) / torch.maximum(extreme - median, floors)


def _outermost(turned: Tensor, plain: Tensor, also: Tensor, level: float) -> dict[int, str]:
    """Return the images that stand against all others, alone or with up to a tenth of them, and the reasons, by row."""
    ordered, order = turned.sort(dim=0, descending=True, stable=True)
    left_out = torch.arange(1, len(turned) // _TOGETHER + 1)
    p_values, gaps = _beyond(ordered[: len(left_out)], ordered, left_out=left_out)
    plain, also = (reached.gather(0, order)[: len(left_out)] for reached in (plain, also))
    chances = p_values * turned.numel()
    named = plain & (gaps > 1) & (chances <= level)
    named[0] |= (also & (gaps > _MORE) & (chances <= _LEVELS[1]))[0]
    of_images = torch.full(turned.shape, inf, dtype=torch.float64)
    for j in range(turned.shape[1]):
        if named[:, j].any():
            most = left_out[named[:, j]][-1:]  # they are named together
            together = order[: int(most), j]
            of_images[together, j] = _beyond(turned[together], ordered, left_out=most)[0][:, j]
    return _chosen(of_images, of_images.isfinite(), [*_LIMITED])


def _chosen(p_values: Tensor, named: Tensor, directions: Sequence[str]) -> dict[int, str]:
    """Return the direction of the smallest p-value among the named ones of an image, by row."""
    smallest = torch.where(named, p_values, torch.inf).argmin(1).tolist()
    return {row: directions[smallest[row]] for row in named.any(1).nonzero()[:, 0].tolist()}


def _facts(reference: Tensor, images: Tensor) -> dict[int, str]:
    """Return what images are and no image of the reference is, by row."""
    facts, grey = dict[int, str](), dict[int, str]()
    of_reference = {_fact(values, _NEARLY_PLAIN) for values in reference} - {""}
    saturation = PROPERTIES.index("saturation")
    has_colour = len(reference) >= LEAST_OF_SINGLE and bool((reference[:, saturation] >= _OF_GREY).all())
    for row, values in enumerate(images):
        fact = _fact(values, _PLAIN)
        if fact and not of_reference & ({fact} if fact != "one colour" else of_reference):
            facts[row] = fact
        elif values[saturation] <= GREY and has_colour:
            grey[row] = "no colour"
    return facts | grey if len(grey) > _MOST_GREY else facts


def _fact(values: Tensor, limits: tuple[float, float]) -> str:
    """Return what an image of one colour is; empty for others."""
    contrast, brightness = (float(values[PROPERTIES.index(name)]) for name in ("contrast", "brightness"))
    if contrast > limits[0]:
        return ""
    return "all black" if brightness < limits[1] else "all white" if brightness > 1 - limits[1] else "one colour"


def _odd(reason: str, values: Tensor, row: int, others: Tensor) -> Odd:
    name = {"no colour": "saturation"}.get(reason, reason[:-2] if reason[-1] in "+-" else "contrast")
    column = PROPERTIES.index(name)
    return Odd(row, reason, float(values[column]), float(others[:, column].min()), float(others[:, column].max()))
