"""Terms of the html pages, each with an explanation in one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

# ``{noun}`` stands for the type of the compared inputs, such as "image".
_MEANINGS = {
    "layer": "A step of the network between its input and its output.",
    "neuron": "A channel of a layer: its activations at all positions of all {noun}s of a set form one histogram.",
    "bin": "One of the intervals of equal width into which the range of a neuron's activations is divided.",
    "dna-emd": "The earth mover's distance between the histograms of a neuron in both sets, averaged over all neurons.",
    "p": "The probability of a difference at least as large if both sets were samples of the same distribution.",
    "q": "The expected share of false positives among all rows with a p-value that is as small or smaller.",
    "debiased": "An estimate of the distance between unlimited sets: the distance without the part that sampling noise"
    " adds.",
    "95% CI": "An interval around the debiased distance that contains the true distance with a confidence of 95%.",
    "null mean": "The mean distance of two sets of this size that are samples of the same distribution.",
    "Holm": "A correction for the number of tests: if no set differs, any corrected p is 0.05 or less in at most 5% of"
    " cases.",
    "percentile": "The share of the reference's own {noun}s that are less unusual than this {noun}.",
}


class Term(NamedTuple):
    """Term of a page.

    Attributes:
        name: The term.
        anchor: Identifier of its explanation within a page.
        meaning: Explanation in one sentence.

    """

    name: str
    anchor: str
    meaning: str


def terms_of(names: Sequence[str], noun: str) -> list[Term]:
    """Return the terms with these names. ``noun`` is the type of the compared inputs, such as "image"."""
    return [Term(name, anchor_of(name), _MEANINGS[name].format(noun=noun)) for name in names]


def anchor_of(name: str) -> str:
    """Return the identifier of a term's explanation.

    Example:
        >>> anchor_of("null mean"), anchor_of("95% CI")
        ('term-null-mean', 'term-95-ci')

    """
    return "term-" + name.lower().replace("%", "").replace(" ", "-")
