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
    from collections.abc import Mapping

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
    lacks: str = "",
    p_value: float | None = None,
) -> Explanation:
    """Explain how two DNAs of the same extractor differ.

    Nothing is named where the test finds no difference or, without a test, for fewer than 10 images on a side.

    Args:
        a: DNA of A, of any kind.
        b: DNA of B.
        test: Test of a per-neuron distance between them.
        names: Names of A and B.
        properties: Properties of images that differ, if they were not measured as neurons of these DNAs.
        causes: Changes of A's images that were searched.
        p_value: P-value that the sets differ; by default that of the test.
        lacks: What a test lacks, in words; empty if there is one, or none was wanted.

    """
    if p_value is None and test is not None:
        p_value = test.p_value
    plain = Explanation(p_value, [], names=names, lacks=lacks)
    if properties is None and LAYER not in a.neurons:
        are_pictures = not {"inputs", "channels"} & {*(a.preparation or {})}
        plain = replace(plain, unmeasured=_NOT_MEASURED if are_pictures else _NO_PICTURES)
    is_small = any(not dna.has_unknown_size and dna.num_images < _LEAST_UNTESTED for dna in (a, b))
    if not (has_means(a) and has_means(b)) or (p_value is None and (is_small or lacks)):
        return plain
    if p_value is not None and p_value > SIGNIFICANT:
        return plain
    if properties is None:
        properties = property_differences(a, b, test)
    if causes is None:
        return replace(plain, properties=properties)
    moved = {each.name: each.direction for each in properties}
    is_contradicted = any(_agreement(name, moved) < 0 for name in causes.names)
    is_rejected = bool(causes.names) or causes.is_rejected
    return replace(
        plain,
        properties=properties,
        causes=causes if causes.names and not is_contradicted else None,
        is_searched=True,
        is_rejected=is_rejected,
        guess=None if is_rejected else _guess(causes, moved),
    )


def _agreement(change: str, moved: Mapping[str, int]) -> int:
    """Return 1 if a property was measured as a change moves it, -1 if the other way round, else 0."""
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
    """Return the properties of images, or the numbers of bands, that differ, by a test or else by effect size.

    The clearest comes first. If the test finds a difference of all together, but of none by itself, the clearest stands
    for it.
    """
    layer = next((layer for layer in (LAYER, BANDS) if layer in a.neurons), None)
    if layer is None:
        return []
    columns = a.neurons.slices[layer]
    shared = shared_neurons(a, b).numbers(layer)
    gaussian_a, gaussian_b = (as_gaussian(dna.select([layer]).to("cpu")) for dna in (a, b))
    differences: list[tuple[float, PropertyDifference]] = []
    others: list[tuple[float, PropertyDifference]] = []
    for i, column in enumerate(gaussian_a.neurons.numbers(layer)):
        if column not in shared:
            continue
        of_property = PropertyDifference(
            neuron_name(layer, column),
            float(gaussian_a.mean[i]),
            float(gaussian_b.mean[i]),
            math.sqrt(gaussian_a.var[i]),
            math.sqrt(gaussian_b.var[i]),
            None if test is None else float(test.q[columns][i]),
        )
        if of_property.q is None or test is None:
            evidence = abs(of_property.effect)
            differs = evidence >= _MIN_EFFECT
        else:
            evidence = float(test.z[columns][i])
            differs = of_property.q <= SIGNIFICANT
        (differences if differs else others).append((evidence, of_property))
    if not differences and test is not None and test.p_value <= SIGNIFICANT:
        differences = [max(others, key=lambda pair: pair[0])]
    differences.sort(key=lambda pair: -pair[0])
    return [of_property for _, of_property in differences[:_MAX_PROPERTIES]]
