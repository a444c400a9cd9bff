"""Reasons why images are flagged as outliers, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from torchmetrics_dna.images.numbers import FAULTS as NUMBER_FAULTS
from torchmetrics_dna.images.numbers import RECORDS as NUMBERS
from torchmetrics_dna.images.properties import FAULTS, RECORDS

if TYPE_CHECKING:
    from torchmetrics_dna.functional.flagging import Outlier

# Verbs in the singular, and their plurals.
_PLURAL_VERBS = {"is": "are", "has": "have", "looks": "look", "shows": "show"}


class Statement(NamedTuple):
    """Statement about flagged images.

    Attributes:
        verb: Verb of the statement, in the singular.
        words: Words after the verb.
        details: Words that only the full statement adds. ``{}`` stands for the name of the reference.

    """

    verb: str
    words: str
    details: str = ""


#: Statements by the ``reason`` of an :class:`~torchmetrics_dna.functional.flagging.Outlier`.
REASONS = {
    "all black": Statement("is", "all black"),
    "all white": Statement("is", "all white"),
    "one colour": Statement("has", "a single colour", ", unlike all of {}"),
    "no colour": Statement("has", "no colour", ", unlike all of {}"),
    "all zero": Statement("is", "all zero"),
    "one value": Statement("has", "a single value"),
}
REASONS |= {name: Statement(fault.verb, fault.words, fault.details) for name, fault in (FAULTS | NUMBER_FAULTS).items()}


def extreme_in_words(outlier: Outlier) -> str:
    """Return the property or layer in which an image is most extreme.

    The text also has the value of the image, and the range of the values of the other images.
    """
    # The reason is a layer, or a property and the sign of its direction.
    name = outlier.reason.removesuffix(" +").removesuffix(" -")
    record = RECORDS.get(name)
    if record is not None:
        value, low, high = (record.in_words(number) for number in (outlier.value, outlier.low, outlier.high))
        return f"{name} {value} (others {low} to {high})"
    value, low, high = (f"{number:.3g}" for number in (outlier.value, outlier.low, outlier.high))
    distance = f"distance in {name}:" if name else "distance"
    return f"{distance} {value} (others {low} to {high})"


def why_flagged(outlier: Outlier, reference: str, *, short: bool) -> str:
    """Return the reason why an image is flagged, in words.

    If the reason is a property, the text also has the value of the image and the range of the reference.

    Args:
        outlier: The image.
        reference: Name of the reference, or "the others".
        short: Whether to return only the short reason, without the value and the reference.

    """
    if short:
        return short_reason(outlier.reason)
    reason = full_reason(outlier.reason, reference)
    # A reason that is a property ends in a space and a sign.
    name = outlier.reason[:-2]
    record = RECORDS.get(name) or NUMBERS.get(name)
    if outlier.reason not in REASONS or record is None:
        return reason
    value, low, high = (record.in_words(number) for number in (outlier.value, outlier.low, outlier.high))
    return f"{reason} ({name} {value}; in {reference} {low} to {high})"


def short_reason(reason: str, count: int = 1) -> str:
    """Return the statement about images that are flagged for the same reason, without the reference.

    Args:
        reason: The ``reason`` of the images.
        count: Number of the images.

    Example:
        >>> short_reason("all black"), short_reason("sharpness -", count=2), short_reason("block_4")
        ('is all black', 'are much more blurred', 'is unusual in block_4')

    """
    statement = _statement(reason)
    verb = statement.verb if count == 1 else _PLURAL_VERBS[statement.verb]
    return f"{verb} {statement.words}"


def full_reason(reason: str, reference: str, count: int = 1) -> str:
    """Return the statement about images that are flagged for the same reason, compared with the reference.

    Args:
        reason: The ``reason`` of the images.
        reference: Name of the reference.
        count: Number of the images.

    Example:
        >>> full_reason("sharpness -", "photos"), full_reason("block_4", "photos", count=2)
        ('is much more blurred than all of photos', 'are unusual in block_4 compared with photos')

    """
    return short_reason(reason, count) + _statement(reason).details.format(reference)


def _statement(reason: str) -> Statement:
    """Return the statement for a reason, which is a fault, the name of a layer, or empty for the only layer."""
    if reason in REASONS:
        return REASONS[reason]
    words = f"unusual in {reason}" if reason else "unusual"
    return Statement("is", words, " compared with {}")
