"""Explain the difference between two DNAs, by image properties that differ and by changes of images."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from torchmetrics_dna.dna.shared import as_gaussian, has_means, shared_neurons
from torchmetrics_dna.functional.permutation import SIGNIFICANT, PermutationTest
from torchmetrics_dna.images.changes import CHANGES, Causes
from torchmetrics_dna.images.properties import BANDS, LAYER, neuron_name
from torchmetrics_dna.words.explanation import Explanation, PropertyDifference

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torchmetrics_dna.dna.base import DNA

# Largest number of properties that an explanation names.
_MAX_PROPERTIES = 6
# Without a test, a property differs if its means differ by at least this many standard deviations.
_MIN_EFFECT = 0.5
# A change can only be guessed if it affects one of the clearest properties. This is the number of properties that are
# considered, among the properties that any change affects.
_CLEAREST = 2
# Without a test, an explanation needs this many images per set.
_LEAST_UNTESTED = 10
_NOT_MEASURED = "What differs was not measured: use `DNAExtractor(..., properties=True)`"
_NO_PICTURES = "`top_neurons()` of compare names the neurons that differ"


def explain(
    a: DNA,
    b: DNA,
    test: PermutationTest | None = None,
    names: tuple[str, str] = ("A", "B"),
    properties: list[PropertyDifference] | None = None,
    causes: Causes | None = None,
    why_untested: str = "",
    p_value: float | None = None,
) -> Explanation:
    """Explain how two DNAs of the same extractor differ.

    The explanation contains no properties and no changes if the test finds no difference. Without a test, both sets
    must have at least 10 images.

    Args:
        a: DNA of A, in any representation.
        b: DNA of B.
        test: Test of a per-neuron distance between A and B.
        names: Names of A and B.
        properties: Image properties that differ. By default, they are computed from the DNAs. The DNAs then have
            properties as neurons.
        causes: Changes that were tested on images of A.
        why_untested: Reason why there is no test, in words. Empty if there is a test, or if no test was requested.
        p_value: P-value of the difference. The default is the p-value of ``test``.

    Returns:
        The explanation.

    """
    if p_value is None and test is not None:
        p_value = test.p_value
    is_unmeasured = properties is None and LAYER not in a.neurons
    unmeasured = _why_unmeasured(a) if is_unmeasured else ""
    explanation = Explanation(p_value, [], names=names, unmeasured=unmeasured, why_untested=why_untested)
    if not _is_worth_explaining(a, b, explanation):
        return explanation
    if properties is None:
        properties = property_differences(a, b, test)
    explanation = replace(explanation, properties=properties)
    if causes is None:
        return explanation
    return _with_causes(explanation, causes)


def _why_unmeasured(dna: DNA) -> str:
    """Return the reason why no image properties were measured, and a remedy."""
    preparation = dna.preparation or {}
    are_images = "inputs" not in preparation and "channels" not in preparation
    return _NOT_MEASURED if are_images else _NO_PICTURES


def _is_worth_explaining(a: DNA, b: DNA, explanation: Explanation) -> bool:
    """True if the sets differ significantly, or if there is no test but enough images to describe a difference."""
    if not has_means(a) or not has_means(b):
        return False
    if explanation.differs is not None:
        return explanation.differs
    if explanation.why_untested:
        return False
    return all(dna.has_unknown_size or dna.num_images >= _LEAST_UNTESTED for dna in (a, b))


def _with_causes(explanation: Explanation, causes: Causes) -> Explanation:
    """Add the changes that explain the difference, or else the likeliest change unless it was ruled out."""
    directions = {measured.name: measured.direction for measured in explanation.properties}
    explanation = replace(explanation, is_searched=True)
    if causes.names:
        is_contradicted = any(_agreement(name, directions) < 0 for name in causes.names)
        return explanation if is_contradicted else replace(explanation, causes=causes)
    if causes.is_rejected:
        return explanation
    return replace(explanation, is_rejected=False, guess=_guess(causes, directions))


def _agreement(change: str, directions: Mapping[str, int]) -> int:
    """Return whether the measured properties agree with a change.

    Args:
        change: Name of the change.
        directions: Direction of each measured property, see :attr:`PropertyDifference.direction`.

    Returns:
        1 if the affected property differs in the direction of the change, -1 if it differs in the opposite direction,
        and 0 otherwise.

    """
    measured = directions.get(CHANGES[change].affected, 0)
    return measured * CHANGES[change].direction


def _guess(causes: Causes, directions: Mapping[str, int]) -> Causes | None:
    """Return the likeliest change, if one of the clearest properties agrees with it; else None.

    Args:
        causes: The changes that were tested.
        directions: Direction of each property that differs, the clearest first.

    """
    if causes.likeliest is None:
        return None
    change, amount = causes.likeliest
    if _agreement(change, directions) <= 0:
        return None
    affected = {candidate.affected for candidate in CHANGES.values()}
    clearest = [name for name in directions if name in affected][:_CLEAREST]
    if CHANGES[change].affected not in clearest:
        return None
    return replace(causes, names=(change,), amounts=(amount,))


class _Candidate(NamedTuple):
    """Property that may differ.

    Attributes:
        evidence: ``z`` of the property in the test; without a test, the size of the effect.
        difference: The property in both sets.

    """

    evidence: float
    difference: PropertyDifference


def property_differences(a: DNA, b: DNA, test: PermutationTest | None) -> list[PropertyDifference]:
    """Return the image properties, or the numbers of bands, that differ, the clearest first.

    With a test, a property differs if its false discovery rate is small. Without a test, it differs if the effect is
    large. If a test finds a difference in all properties together but in no single one, the clearest property is
    returned.
    """
    layer = next((layer for layer in (LAYER, BANDS) if layer in a.neurons), None)
    if layer is None:
        return []
    candidates = sorted(_candidates(a, b, layer, test), key=lambda candidate: -candidate.evidence)
    different = [candidate.difference for candidate in candidates if _differs(candidate)]
    if not different and test is not None and test.p_value <= SIGNIFICANT:
        different = [candidates[0].difference]
    return different[:_MAX_PROPERTIES]


def _differs(candidate: _Candidate) -> bool:
    """True if a property differs significantly or, without a test, by a large effect."""
    q = candidate.difference.q
    if q is None:
        return candidate.evidence >= _MIN_EFFECT
    return q <= SIGNIFICANT


def _candidates(a: DNA, b: DNA, layer: str, test: PermutationTest | None) -> Iterator[_Candidate]:
    """Yield each property of a layer that both DNAs have."""
    neurons_of_layer = a.neurons.slices[layer]
    shared = shared_neurons(a, b).numbers(layer)
    gaussian_a = as_gaussian(a.select([layer]).to("cpu"))
    gaussian_b = as_gaussian(b.select([layer]).to("cpu"))
    for i, neuron in enumerate(gaussian_a.neurons.numbers(layer)):
        if neuron not in shared:
            continue
        difference = PropertyDifference(
            name=neuron_name(layer, neuron),
            a=float(gaussian_a.mean[i]),
            b=float(gaussian_b.mean[i]),
            spread_a=math.sqrt(gaussian_a.var[i]),
            spread_b=math.sqrt(gaussian_b.var[i]),
            q=None if test is None else float(test.q[neurons_of_layer][i]),
        )
        evidence = abs(difference.effect) if test is None else float(test.z[neurons_of_layer][i])
        yield _Candidate(evidence, difference)
