"""Why an image is flagged, in words."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from torchmetrics_dna.images.numbers import FAULTS as NUMBER_FAULTS
from torchmetrics_dna.images.numbers import RECORDS as NUMBERS
from torchmetrics_dna.images.properties import FAULTS, RECORDS

if TYPE_CHECKING:
    from torchmetrics_dna.functional.odd import Odd

#: What is said of an image for a reason of :class:`~torchmetrics_dna.functional.odd.Odd`; ``{}`` is the reference.
REASONS = {
    "all black": "is all black",
    "all white": "is all white",
    "one colour": "is of one colour; none of {} is",
    "no colour": "has no colour; every image of {} has",
    "all zero": "is all zero",
    "one value": "is of one value",
    **{name: fault.words for name, fault in (FAULTS | NUMBER_FAULTS).items()},
}
# In short, a reason ends before these words, which lead to the reference.
_SHORT = ", |; | than any of"
_PLURALS = {"is": "are", "has": "have", "shows": "show"}


def extreme_in_words(odd: Odd) -> str:
    """Say in what property or layer an image is most extreme, with its value and the range of the others."""
    name = odd.reason[:-2] if odd.reason[-1:] in ("+", "-") else odd.reason
    record = RECORDS.get(name)
    if record is None:
        value, low, high = (f"{each:.3g}" for each in (odd.value, odd.low, odd.high))
        distance = f"distance in {name}:" if name else "distance"
        return f"{distance} {value} (others {low} to {high})"
    value, low, high = (record.in_words(each) for each in (odd.value, odd.low, odd.high))
    return f"{name} {value} (others {low} to {high})"


def why_flagged(odd: Odd, reference: str, *, short: bool) -> str:
    """Say why an image is flagged: its property with that of the reference, or the layer where it is furthest."""
    phrase = reason_in_words(odd.reason, reference, short=short)
    # A reason is a property and a sign.
    name = odd.reason[:-2]
    record = RECORDS.get(name) or NUMBERS.get(name)
    if short or odd.reason not in REASONS or record is None:
        return phrase
    value, low, high = map(record.in_words, (odd.value, odd.low, odd.high))
    return f"{phrase} ({name} {value}; theirs {low} to {high})"


def reason_in_words(reason: str, reference: str, *, short: bool) -> str:
    """Return what is said of an image for a reason, in short without details."""
    unlike = f"is unlike {{}}, most of all in {reason}" if reason else "is unlike {}"
    phrase = REASONS.get(reason, unlike)
    if short:
        phrase = re.split(_SHORT, phrase)[0]
    return phrase.format(reference)


def in_plural(phrase: str) -> str:
    """Return what is said of one image, said of several."""
    verb, _, rest = phrase.partition(" ")
    return f"{_PLURALS[verb]} {rest}"
