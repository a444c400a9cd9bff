"""Test of which of several sets is an outlier, since it differs from all others together."""

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
    from torchmetrics_dna.dna.distances import Distance
    from torchmetrics_dna.jobs.measure import Measured
    from torchmetrics_dna.jobs.plan import Plan

# Smallest number of sets. If two sets differ, neither of them is the outlier.
LEAST_SETS = 3
# Level of the test for a further outlier, after one was found.
FURTHER = 0.02
# At most one of this number of sets is flagged. If more sets differ, it is undecided which of them are the outliers.
_SETS_PER_OUTLIER = 4
# Largest number of folds of all sets together.
_MOST_FOLDS = 160
# Largest product of the number of partitions and the number of sets, which bounds the time of a test.
_MOST_ROWS = 6400
# Smallest and largest number of partitions.
_FEWEST_PARTITIONS = 200
_MOST_PARTITIONS = 400


@dataclass(frozen=True)
class OutlierSets:
    """Outliers among several sets: sets that differ from all others together.

    Attributes:
        num_sets: Number of all sets.
        p_value: P-value of the test of whether any set differs; None without a test.
        outliers: P-value of each set that differs significantly, by name. Empty if no set differs, or if more than a
            quarter of the sets differ.
        p_of_rest: P-value of the test of whether any of the unflagged sets differs; None if no set is flagged.
        properties: Properties in which the first flagged set is beyond each other set, the clearest first.
        why_untested: Reason why there is no test; empty if there is one.

    """

    num_sets: int
    p_value: float | None = None
    outliers: Mapping[str, float] = field(default_factory=dict)
    p_of_rest: float | None = None
    properties: Sequence[PropertyDifference] = ()
    why_untested: str = ""

    def __post_init__(self) -> None:
        # Differences that were read from a file are plain tuples.
        properties = [PropertyDifference(*difference) for difference in self.properties]
        object.__setattr__(self, "properties", properties)

    def to_dict(self) -> dict[str, Any]:
        """Return all fields in plain types, ready for json."""
        properties = []
        for difference in self.properties:
            fields = difference._asdict()
            if difference.range_of_others:
                fields["range_of_others"] = list(difference.range_of_others)
            properties.append(fields)
        return asdict(self) | {"properties": properties}


def in_fewer_folds(side: Measured, num_sets: int) -> Measured:
    """Merge folds of a set, so that a test of many sets takes little memory. Empty folds are left out."""
    most_folds = max(LEAST_FOLDS, _MOST_FOLDS // num_sets)
    dnas: dict[str, DNA] = {}
    for kind, dna in side.dnas.items():
        filled = [fold for fold in dna.folds if fold.num_images]
        num_folds = min(len(filled), most_folds)
        folds = [merged(filled[i::num_folds]) for i in range(num_folds)]
        dnas[kind] = replace(dna, folds=tuple(folds))
    return replace(side, dnas=dnas)


def find_outlier_sets(sets: Mapping[str, Measured], plan: Plan, distances: Tensor) -> OutlierSets:
    """Test if any of several sets differs from all others together, and flag the sets that do.

    The test permutes the folds of all sets. The statistic of a set is the evidence that it differs from the others, by
    network and properties together. The statistic of the test is the maximum over all sets. After a set is flagged, the
    remaining sets are tested without it, at level 0.02. If more than a quarter of the sets differ, none is flagged.

    Args:
        sets: Three or more measured sets by name, with folds.
        plan: Plan of the sets. The test uses the first distance that has a value for each neuron.
        distances: Distances between the sets, ``(K, K)``; 0 for the same images.

    """
    distance = _tested_distance(plan)
    if distance is None:
        return OutlierSets(len(sets), why_untested=f"{plan.distances[0].name} has no such test, but dna-emd has one")
    why_untested = _reason_without_test(sets, plan, distances)
    if why_untested:
        return OutlierSets(len(sets), why_untested=why_untested)
    # The order of the names makes partitions, and so p-values, independent of the order of the argument.
    remaining = sorted(sets)
    most_outliers = max(1, len(sets) // _SETS_PER_OUTLIER)
    tests = _Tests.of([sets[name] for name in remaining], distance, plan)
    p_value = tests.p_value
    if p_value > SIGNIFICANT:
        return OutlierSets(len(sets), p_value)
    properties = tests.properties_beyond()
    outliers: dict[str, float] = {}
    while len(outliers) < most_outliers:
        flagged = remaining.pop(tests.clearest_set)
        outliers[flagged] = tests.p_value
        tests = _Tests.of([sets[name] for name in remaining], distance, plan)
        if tests.p_value > FURTHER:
            # None of the remaining sets differs.
            return OutlierSets(len(sets), p_value, outliers, p_of_rest=tests.p_value, properties=properties)
    # More sets differ than can be outliers, so it is undecided which sets are outliers.
    return OutlierSets(len(sets), p_value)


def _tested_distance(plan: Plan) -> Distance | None:
    """Return the first distance of neurons that has a test; None if the plan has none."""
    for distance in plan.distances:
        if distance.granularity == "neuron" and distance.folded:
            return distance
    return None


@dataclass(frozen=True, eq=False)
class _Tests:
    """Tests of each of several sets against all others together.

    Attributes:
        distance: The distance.
        masks: Folds of each set in each partition, ``(partitions * sets, folds)``.
        dnas_of_properties: Image properties of each set; empty if they were not measured.
        clearest_set: Index of the set that differs most clearly from the others.
        p_value: P-value of the test of whether any set differs from the others.

    """

    distance: Distance
    masks: Tensor
    dnas_of_properties: Sequence[DNA]
    clearest_set: int
    p_value: float

    @classmethod
    def of(cls, sets: Sequence[Measured], distance: Distance, plan: Plan) -> _Tests:
        """Test each set against all others together, by the network and by image properties."""
        num_partitions = min(_MOST_PARTITIONS, max(_FEWEST_PARTITIONS, _MOST_ROWS // len(sets)))
        masks = partitions([len(side.first.folds) for side in sets], num_partitions).flatten(0, 1)
        dnas_of_network, dnas_of_properties = _dnas_to_test([side.input_of(distance) for side in sets], plan)
        tests = [_test(distance, dnas_of_network, masks, plan.averaging.weights)]
        if dnas_of_properties:
            tests.append(_test(distance, dnas_of_properties, masks, None))
        clearest_set, p_value = most_unlike(tests, len(sets))
        return cls(distance, masks, dnas_of_properties, clearest_set, p_value)

    def properties_beyond(self) -> list[PropertyDifference]:
        """Return the properties of the clearest set that are beyond those of each other set, the clearest first."""
        if not self.dnas_of_properties:
            return []
        # Move the masks of the clearest set to the first row, which is the observed one.
        masks = self.masks.roll(-self.clearest_set, 0)
        test = _test(self.distance, self.dnas_of_properties, masks, None)
        return _properties_outside_others(self.dnas_of_properties, self.clearest_set, test)


def _dnas_to_test(dnas: Sequence[DNA], plan: Plan) -> tuple[list[DNA], list[DNA]]:
    """Split DNAs into the neurons of the network and the image properties.

    The second list is empty if image properties were not measured.
    """
    dnas_of_network = [dna.select(neurons=plan.neurons) for dna in dnas]
    if not plan.has_properties:
        return dnas_of_network, []
    neurons = shared_neurons(*(dna.select([LAYER]) for dna in dnas))
    return dnas_of_network, [dna.select(neurons=neurons) for dna in dnas]


def _test(distance: Distance, dnas: Sequence[DNA], masks: Tensor, weights: Tensor | None) -> PermutationTest:
    """Test the first set against all others together, over partitions of the folds of all sets."""
    assert distance.folded is not None
    folded = distance.folded(*_two_sides(dnas))
    return test_relabeled(folded, Relabeled.of(folded, masks), distance.power, weights)


def _reason_without_test(sets: Mapping[str, Measured], plan: Plan, distances: Tensor) -> str:
    """Return the reason why there is no test; empty if there is one."""
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
    if not plan.arguments.copies:
        return ""
    counts = _near_duplicates_in_other_sets(sides)
    for name, size, count in zip(names, sizes, counts, strict=True):
        if count > SHARED * size:
            return f"{count:,} of {images_in_words(size)} in {name} are near-duplicates of images in other sets"
    return ""


def _near_duplicates_in_other_sets(sides: Sequence[Measured]) -> list[int]:
    """Return the number of images of each set that are near-duplicates of images in other sets; 0 if not searched."""
    not_searched = [0] * len(sides)
    thumbnails = [side.thumbnails for side in sides if side.thumbnails is not None]
    if len(thumbnails) < len(sides):
        return not_searched
    all_thumbnails = torch.cat(thumbnails)
    sizes = torch.tensor([len(thumbnails_of_set) for thumbnails_of_set in thumbnails])
    # Images of the same set are not compared.
    set_of_image = torch.arange(len(sides)).repeat_interleave(sizes)
    rows = near_duplicates(all_thumbnails, all_thumbnails, torch.cat([set_of_image, set_of_image]))
    if rows is None:
        return not_searched
    counts: list[int] = set_of_image[rows >= 0].bincount(minlength=len(sides)).tolist()
    return counts


def _two_sides(dnas: Sequence[DNA]) -> list[DNA]:
    """Return the first set, and all others together, as two DNAs in folds. Both have the ranges of all sets."""
    whole: Any = merged(replace(dna, folds=()) for dna in dnas)
    folds_of_first = dnas[0].folds
    folds_of_others = tuple(chain(*(dna.folds for dna in dnas[1:])))
    sides: list[DNA] = []
    for folds in (folds_of_first, folds_of_others):
        num_images = sum(fold.num_images for fold in folds)
        sides.append(replace(whole, num_images=num_images, folds=folds))
    return sides


def _properties_outside_others(dnas: Sequence[DNA], place: int, test: PermutationTest) -> list[PropertyDifference]:
    """Return the properties in which the set at ``place`` is beyond each other set, the clearest first."""
    others = [replace(dna, folds=()) for i, dna in enumerate(dnas) if i != place]
    low, high = torch.stack([as_gaussian(dna).mean for dna in others]).aminmax(dim=0)
    beyond = []
    for difference in property_differences(merged(others), dnas[place], test):
        neuron = dnas[0].neurons.index(LAYER, PROPERTIES.index(difference.name))
        lowest = float(low[neuron])
        highest = float(high[neuron])
        if not lowest <= difference.b <= highest:
            beyond.append(difference._replace(range_of_others=(lowest, highest)))
    return beyond
