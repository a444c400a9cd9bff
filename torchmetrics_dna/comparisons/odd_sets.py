"""Which of several sets differs from the others together?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from torchmetrics_dna.comparisons.measured import why_untested
from torchmetrics_dna.comparisons.two_sets import SHARED
from torchmetrics_dna.dna.base import merged
from torchmetrics_dna.dna.evidence import Relabeled, test_relabeled
from torchmetrics_dna.dna.shared import as_gaussian, shared_neurons
from torchmetrics_dna.files.visible import images_in_words
from torchmetrics_dna.functional.permutation import (
    LEAST_FOLDS,
    SIGNIFICANT,
    UNEQUAL,
    PermutationTest,
    most_unlike,
    partitions,
)
from torchmetrics_dna.images.likeness import near_duplicates
from torchmetrics_dna.images.noun import noun_of
from torchmetrics_dna.images.properties import LAYER, PROPERTIES
from torchmetrics_dna.words.differences import property_differences
from torchmetrics_dna.words.explanation import PropertyDifference

if TYPE_CHECKING:
    from torchmetrics_dna.dna import DNA
    from torchmetrics_dna.jobs.measure import Measured
    from torchmetrics_dna.jobs.plan import Plan

# Of two sets, none is the outlier.
LEAST_SETS = 3
# Level of the test for another set, once one is set aside.
FURTHER = 0.02
# At most one in four sets is flagged. If more sets differ, it is undecided which of them are the outliers.
_NAMED = 4
# Largest number of folds of all sets together.
_FOLDS = 160
# Limit on the number of partitions times sets, and the smallest and largest number of partitions.
_ROWS = 6400
_FEWEST = 200
_MOST = 400


@dataclass(frozen=True)
class OddSets:
    """Those of several sets that differ from the others together.

    Attributes:
        num_sets: Number of the sets.
        p_value: P-value of the test that any differs; None without a test.
        odd: Sets that differ, by name, with the p-values by which each was named; empty if none is shown to, and if
            more than a quarter do.
        p_of_rest: P-value of the test that any of the rest differs; None if no set is named.
        properties: Properties of the first of these that are beyond those of each other set, the clearest first.
        lacks: What a test lacks; empty if there is one.

    """

    num_sets: int
    p_value: float | None = None
    odd: Mapping[str, float] = field(default_factory=dict)
    p_of_rest: float | None = None
    properties: Sequence[PropertyDifference] = ()
    lacks: str = ""

    def __post_init__(self) -> None:
        # Those that were read from a file are lists.
        object.__setattr__(self, "properties", [PropertyDifference(*each) for each in self.properties])

    def to_dict(self) -> dict[str, Any]:
        """Return all in plain types, ready for json."""
        properties = [each._asdict() | {"theirs": each.theirs and list(each.theirs)} for each in self.properties]
        return asdict(self) | {"properties": properties}


def in_fewer_folds(side: Measured, num_sets: int) -> Measured:
    """Merge folds of one of many sets, and leave out empty ones, so that the test of all takes little memory."""

    def merged_folds(dna: DNA) -> DNA:
        filled = [fold for fold in dna.folds if fold.num_images]
        number = min(len(filled), max(LEAST_FOLDS, _FOLDS // num_sets))
        return replace(dna, folds=tuple(merged(filled[i::number]) for i in range(number)))

    return replace(side, dnas={kind: merged_folds(dna) for kind, dna in side.dnas.items()})


def odd_sets(sets: Mapping[str, Measured], plan: Plan, distances: Tensor) -> OddSets:
    """Test whether any of several sets differs from all others together, and name those that do.

    Folds of all sets are dealt anew; the statistic is the largest, over sets, of the evidence of network and properties
    together that a set differs from the others. Once a set is named, the rest is tested without it, at 0.02. If more
    than a quarter of the sets differ, none is named.

    Args:
        sets: Three or more measured sets by name, with folds.
        plan: What was asked of them; the first of its distances of neurons is tested.
        distances: Distances between the sets, ``(K, K)``, 0 for the same images.

    """
    record = next((record for record in plan.distances if record.grain == "neuron" and record.folded), None)
    if record is None or record.folded is None:
        return OddSets(len(sets), lacks=f"{plan.distances[0].name} has no such test, but dna-emd has one")
    lacks = _lacks(sets, plan, distances)
    if lacks:
        return OddSets(len(sets), lacks=lacks)
    # The order of the names makes partitions, and so p-values, independent of the order that was given.
    left = sorted(sets)
    odd: dict[str, float] = {}
    properties: list[PropertyDifference] = []
    p_value = 1.0
    while True:
        num_partitions = min(_MOST, max(_FEWEST, _ROWS // len(left)))
        masks = partitions([len(sets[name].first.folds) for name in left], num_partitions).flatten(0, 1)
        parts = [plan.neurons]
        if plan.has_properties:
            parts.append(shared_neurons(*(sets[name].input_of(record).select([LAYER]) for name in left)))
        tests: list[PermutationTest] = []
        for neurons in parts:
            dnas = [sets[name].input_of(record).select(neurons=neurons) for name in left]
            folded = record.folded(*_two_sides(dnas))
            # Only neurons of the network have weights; they are the first part.
            weights = None if tests else plan.averaging.weights
            tests.append(test_relabeled(folded, Relabeled.of(folded, masks), record.power, weights))
        place, p_of_any = most_unlike(tests, len(left))
        p_value = p_value if odd else p_of_any
        if p_of_any > (FURTHER if odd else SIGNIFICANT):
            return OddSets(len(sets), p_value, odd, p_of_any if odd else None, properties)
        if len(odd) == max(1, len(sets) // _NAMED):
            return OddSets(len(sets), p_value)
        if not odd and plan.has_properties:
            # Properties are the last part, so `folded` and `dnas` are theirs.
            of_place = Relabeled.of(folded, masks.roll(-place, 0))
            properties = _beyond(dnas, place, test_relabeled(folded, of_place, record.power, None))
        odd[left.pop(place)] = p_of_any


def _lacks(sets: Mapping[str, Measured], plan: Plan, distances: Tensor) -> str:
    """Say what the test lacks; empty if there is one."""
    names = list(sets)
    sides = list(sets.values())
    noun = noun_of(sides[0].first)
    untested = why_untested(sides, plan, names)
    if untested.reason:
        return untested.reason
    sizes = [side.first.num_images for side in sides]
    if max(sizes) > UNEQUAL * min(sizes):
        largest = images_in_words(max(sizes), noun)
        return f"the largest set has {largest}, more than {UNEQUAL:g} times as many as the smallest ({min(sizes):,})"
    # The identity matrix excludes the distance of each set to itself.
    same = (distances + torch.eye(len(names)) == 0).nonzero().tolist()
    if same:
        first, second = same[0]
        return f"{names[first]} and {names[second]} are the same {noun}s"
    thumbnails = [side.thumbnails for side in sides if side.thumbnails is not None]
    if not plan.arguments.copies or len(thumbnails) < len(sides):
        return ""
    of_sets = torch.arange(len(sides)).repeat_interleave(torch.tensor([len(of_set) for of_set in thumbnails]))
    rows = near_duplicates(torch.cat(thumbnails), torch.cat(thumbnails), torch.cat([of_sets, of_sets]))
    if rows is None:
        return ""
    counts = of_sets[rows >= 0].bincount(minlength=len(sides)).tolist()
    for name, size, count in zip(names, sizes, counts, strict=True):
        if count > SHARED * size:
            return f"{count:,} of {images_in_words(size)} in {name} are near-duplicates of images in other sets"
    return ""


def _two_sides(dnas: Sequence[DNA]) -> list[DNA]:
    """Return the folds of the first set and those of all others, each as one DNA with the ranges of all together."""
    whole: Any = merged(replace(dna, folds=()) for dna in dnas)
    folds = dnas[0].folds, tuple(chain(*(dna.folds for dna in dnas[1:])))
    return [replace(whole, num_images=sum(fold.num_images for fold in side), folds=side) for side in folds]


def _beyond(dnas: Sequence[DNA], place: int, test: PermutationTest) -> list[PropertyDifference]:
    """Return the properties of one set that are beyond those of each other, the clearest first."""
    others = [replace(dna, folds=()) for i, dna in enumerate(dnas) if i != place]
    low, high = torch.stack([as_gaussian(dna).mean for dna in others]).aminmax(dim=0)
    beyond = []
    for difference in property_differences(merged(others), dnas[place], test):
        neuron = dnas[0].neurons.index(LAYER, PROPERTIES.index(difference.name))
        lowest = float(low[neuron])
        highest = float(high[neuron])
        if not lowest <= difference.b <= highest:
            beyond.append(difference._replace(theirs=(lowest, highest)))
    return beyond
