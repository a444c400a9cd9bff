"""Images that are beyond all of a reference by a property, each judged by itself."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from torchmetrics_dna.images.properties import FAULTS, OF_PIXELS, PROPERTIES, RECORDS

LEAST = 10  # images of a reference; with none of one colour, these are 26 % of its kind at most (95 %)
LEAST_OF_SINGLE = 40  # images of a reference beside which others than those of one colour are judged one by one
_LEVELS = (0.005, 0.02)  # of the first image of a set to be named; of others, once there is one
_MOST_GREY = 2  # images without colour that are no fault: of a kind with few, all may be on one side
_CLEAR = 0.003  # p of a property that is the reason of an image, which other evidence shows to be off
_FAR = 1.5  # times the distance of the reference's extreme from its median, beyond that
_SHARE, _FEWEST = 20, 5  # images of the tail: one of 20, but 5 at least
_TINY = 0.01  # deviation of a transformed property at least
_PLAIN, _NEARLY_PLAIN = (0.01, 0.05), (0.03, 0.1)  # contrast of images of one colour; brightness of black ones
GREY, _OF_GREY = 0.004, 0.012  # saturation of an image without colour, and of all of the reference


class Odd(NamedTuple):
    """Image that is beyond a reference, and why.

    Attributes:
        image: Its row.
        reason: A property with its direction, such as ``"sharpness -"``; or a fact: ``"all black"``, ``"all white"``,
            ``"one colour"`` or ``"no colour"``.
        value: The property of the image, as :func:`~torchmetrics_dna.images.properties.image_properties` gives it.
        low: The smallest value in the reference.
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
    :math:`p = k / n \, (1 + (x - u) / (k e))^{-k}`, exact for exponential tails. Named are images of the m with
    :math:`d m p \le 0.005` that are beyond the extreme of the reference by 1.5 times its distance from the median. Once
    an image is named, 0.02 is enough for others: no more sets of the reference's kind get a name by that.

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
        >>> reference, dark = image_properties(noise[:40]), image_properties(noise[40:] // 9)
        >>> odd_by_properties(reference, dark)[0].reason
        'brightness -'

    """
    for name, side, least in (("reference", reference, LEAST), ("images", images, 0)):
        if side.shape[1:] != (len(PROPERTIES),) or len(side) < least or not side.isfinite().all():
            raise ValueError(
                f"Argument `{name}` expected to be finite properties of {least} images or more, shape"
                f" (images, {len(PROPERTIES)}), but got shape {tuple(side.shape)}"
            )
    p_values, is_far = _tails(reference, images)
    corrected = torch.where(is_far, p_values * images.shape[0] * len(FAULTS), torch.inf)
    facts, reasons = _facts(reference, images), dict[int, str]()
    if len(reference) >= LEAST_OF_SINGLE:
        level = _LEVELS[bool(facts) or bool((corrected <= _LEVELS[0]).any())]
        reasons = _chosen(p_values, corrected <= level)
    reasons |= facts
    return [_odd(reasons[row], row, reference, images) for row in sorted(reasons)]


def clear_reasons(reference: Tensor, images: Tensor) -> dict[int, Odd]:
    """Return the property that tells most plainly why an image is off, by row, where one does."""
    p_values, is_far = _tails(reference, images, far=0)
    reasons = _chosen(p_values, is_far & (p_values <= _CLEAR))
    return {row: _odd(reason, row, reference, images) for row, reason in reasons.items()}


def standard_properties(reference: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the properties of the pixels of both, transformed, in deviations of the reference, a column each."""
    sides = [torch.stack([_column(side, name) for name in OF_PIXELS], 1) for side in (reference, images)]
    deviation = sides[0].std(0).clamp(min=_TINY)
    return sides[0] / deviation, sides[1] / deviation


def _column(side: Tensor, name: str) -> Tensor:
    values, tails = side[:, PROPERTIES.index(name)].double(), RECORDS[name].tails
    return values if tails is None else tails(values)


def _tails(reference: Tensor, images: Tensor, far: float = _FAR) -> tuple[Tensor, Tensor]:
    """Return p-values of images in all directions, and whether they are far beyond the extreme, a column each."""
    both = [
        torch.stack([_column(side, key[:-2]) * (1 if key.endswith("+") else -1) for key in FAULTS], 1)
        for side in (reference, images)
    ]
    ordered, values = both[0].sort(0).values, both[1]
    floors = torch.tensor([fault.least for fault in FAULTS.values()], dtype=torch.float64)
    count, tail = len(ordered), max(_FEWEST, round(len(ordered) / _SHARE))
    extreme, limit, median = ordered[-1], ordered[-tail - 1], ordered.quantile(0.5, 0)
    excess = torch.maximum((ordered[-tail:] - limit).mean(0), floors / 3)
    p_values = tail / count * (1 + (values - limit).clamp(min=0) / (tail * excess)) ** -tail
    return p_values, values - extreme > far * torch.maximum(extreme - median, floors)


def _chosen(p_values: Tensor, named: Tensor) -> dict[int, str]:
    """Return the direction of the smallest p-value among the named ones of an image, by row."""
    smallest = torch.where(named, p_values, torch.inf).argmin(1).tolist()
    return {row: [*FAULTS][smallest[row]] for row in named.any(1).nonzero()[:, 0].tolist()}


def _facts(reference: Tensor, images: Tensor) -> dict[int, str]:
    """Return what images are and no image of the reference is, by row."""
    facts: dict[int, str] = {}
    columns = [PROPERTIES.index(name) for name in ("contrast", "brightness", "saturation")]
    of_reference = reference[:, columns].tolist()
    plain = {_plain(contrast, brightness, _NEARLY_PLAIN) for contrast, brightness, _ in of_reference} - {""}
    has_colour = len(reference) >= LEAST_OF_SINGLE and all(saturation >= _OF_GREY for *_, saturation in of_reference)
    grey = dict[int, str]()
    for row, (contrast, brightness, saturation) in enumerate(images[:, columns].tolist()):
        fact = _plain(contrast, brightness, _PLAIN)
        if fact and not plain & ({fact} if fact != "one colour" else plain):
            facts[row] = fact
        elif saturation <= GREY and has_colour:
            grey[row] = "no colour"
    return facts | grey if len(grey) > _MOST_GREY else facts


def _plain(contrast: float, brightness: float, limits: tuple[float, float]) -> str:
    """Return what an image of one colour is; empty for others."""
    if contrast > limits[0]:
        return ""
    return "all black" if brightness < limits[1] else "all white" if brightness > 1 - limits[1] else "one colour"


def _odd(reason: str, row: int, reference: Tensor, images: Tensor) -> Odd:
    name = {"no colour": "saturation"}.get(reason, reason[:-2] if reason[-1] in "+-" else "contrast")
    values = reference[:, PROPERTIES.index(name)]
    return Odd(row, reason, float(images[row, PROPERTIES.index(name)]), float(values.min()), float(values.max()))
