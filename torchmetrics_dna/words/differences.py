"""Find what differs between two DNAs: properties of images, and a change that explains it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

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
# Without a test, a property is named if its means differ by this many standard deviations.
_MIN_EFFECT = 0.5
# A change is only a guess if it moves one of this many of the clearest properties that changes move.
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

    Nothing is named if the test finds no difference or, without a test, if a set has fewer than 10 images.

    Args:
        a: DNA of A, in any representation.
        b: DNA of B.
        test: Test of a per-neuron distance between them.
        names: Names of A and B.
        properties: Properties of images that differ, if they were not measured as neurons of these DNAs.
        causes: Changes of A's images that were searched.
        p_value: P-value that the sets differ; by default that of the test.
        why_untested: Why there is no test, in words; empty if there is one, or none was requested.

    """
    if p_value is None and test is not None:
        p_value = test.p_value
    explanation = Explanation(p_value, [], names=names, why_untested=why_untested)
    if properties is None and LAYER not in a.neurons:
        explanation = replace(explanation, unmeasured=_why_unmeasured(a))
    if not _is_worth_explaining(a, b, explanation):
        return explanation
    if properties is None:
        properties = property_differences(a, b, test)
    explanation = replace(explanation, properties=properties)
    if causes is None:
        return explanation
    return _with_causes(explanation, causes)


def _why_unmeasured(dna: DNA) -> str:
    """Return why no properties of images were measured, and what to do."""
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
    """Add the changes that explain the difference, or the likeliest one if none of them is ruled out."""
    directions = {measured.name: measured.direction for measured in explanation.properties}
    explanation = replace(explanation, is_searched=True)
    if causes.names:
        is_contradicted = any(_agreement(name, directions) < 0 for name in causes.names)
        return explanation if is_contradicted else replace(explanation, causes=causes)
    if causes.is_rejected:
        return explanation
    return replace(explanation, is_rejected=False, guess=_guess(causes, directions))


def _agreement(change: str, moved: Mapping[str, int]) -> int:
    """Return 1 if the property that a change moves was measured to move in its direction, -1 if against it, else 0."""
    # A move is a property and a sign.
    move = CHANGES[change].moves
    direction = moved.get(move[:-2], 0)
    return -direction if move.endswith("-") else direction


def _guess(causes: Causes, moved: Mapping[str, int]) -> Causes | None:
    """Return the likeliest change, if it moves one of the clearest properties as it was measured; else None."""
    if causes.likeliest is None or _agreement(causes.likeliest[0], moved) <= 0:
        return None
    moved_by_changes = {change.moves[:-2] for change in CHANGES.values()}
    clearest = [name for name in moved if name in moved_by_changes][:_CLEAREST]
    if CHANGES[causes.likeliest[0]].moves[:-2] not in clearest:
        return None
    return replace(causes, names=causes.likeliest[:1], amounts=causes.likeliest[1:])


def property_differences(a: DNA, b: DNA, test: PermutationTest | None) -> list[PropertyDifference]:
    """Return the properties of images, or the numbers of bands, that differ: by a test, or else by effect size.

    The clearest comes first. If the test finds a difference between all of them together but in no single one, the
    clearest is returned.
    """
    layer = next((layer for layer in (LAYER, BANDS) if layer in a.neurons), None)
    if layer is None:
        return []
    # Pairs of evidence and property.
    different: list[tuple[float, PropertyDifference]] = []
    others: list[tuple[float, PropertyDifference]] = []
    for evidence, measured in _measured_properties(a, b, layer, test):
        has_effect = measured.q is None and evidence >= _MIN_EFFECT
        is_significant = measured.q is not None and measured.q <= SIGNIFICANT
        if has_effect or is_significant:
            different.append((evidence, measured))
        else:
            others.append((evidence, measured))
    if not different and test is not None and test.p_value <= SIGNIFICANT:
        different = [max(others, key=lambda pair: pair[0])]
    different.sort(key=lambda pair: -pair[0])
    return [measured for _, measured in different[:_MAX_PROPERTIES]]


def _measured_properties(
    a: DNA, b: DNA, layer: str, test: PermutationTest | None
) -> Iterator[tuple[float, PropertyDifference]]:
    """Yield each property that both DNAs have, after its evidence: z, or without a test the effect size."""
    columns = a.neurons.slices[layer]
    shared = shared_neurons(a, b).numbers(layer)
    gaussian_a = as_gaussian(a.select([layer]).to("cpu"))
    gaussian_b = as_gaussian(b.select([layer]).to("cpu"))
    for i, column in enumerate(gaussian_a.neurons.numbers(layer)):
        if column not in shared:
            continue
        measured = PropertyDifference(
            name=neuron_name(layer, column),
            a=float(gaussian_a.mean[i]),
            b=float(gaussian_b.mean[i]),
            spread_a=math.sqrt(gaussian_a.var[i]),
            spread_b=math.sqrt(gaussian_b.var[i]),
            q=None if test is None else float(test.q[columns][i]),
        )
        evidence = abs(measured.effect) if test is None else float(test.z[columns][i])
        yield evidence, measured
