"""Test of which of several sets differs from the others together."""

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
class OutlierSets:
    """Sets among several that differ from all others together.

    Attributes:
        num_sets: Number of the sets.
        p_value: P-value of the test whether any set differs; None without a test.
        outliers: P-values of the sets that differ significantly, by name. Empty if no set differs, or if more than a
            quarter do.
        p_of_rest: P-value of the test whether any of the other sets differs; None if no set is flagged.
        properties: Properties of the first of these that are beyond those of each other set, the clearest first.
        why_untested: What a test lacks; empty if there is one.

    """

    num_sets: int
    p_value: float | None = None
    outliers: Mapping[str, float] = field(default_factory=dict)
    p_of_rest: float | None = None
    properties: Sequence[PropertyDifference] = ()
    why_untested: str = ""

    def __post_init__(self) -> None:
        # Those that were read from a file are lists.
        object.__setattr__(self, "properties", [PropertyDifference(*each) for each in self.properties])

    def to_dict(self) -> dict[str, Any]:
        """Return all in plain types, ready for json."""
        properties = []
        for difference in self.properties:
            fields = difference._asdict()
            if difference.range_of_others:
                fields["range_of_others"] = list(difference.range_of_others)
            properties.append(fields)
        return asdict(self) | {"properties": properties}


def in_fewer_folds(side: Measured, num_sets: int) -> Measured:
    """Merge folds of one of many sets, and leave out empty ones, so that the test of all takes little memory."""
    most_folds = max(LEAST_FOLDS, _FOLDS // num_sets)
    dnas: dict[str, DNA] = {}
    for kind, dna in side.dnas.items():
        filled = [fold for fold in dna.folds if fold.num_images]
        num_folds = min(len(filled), most_folds)
        folds = [merged(filled[i::num_folds]) for i in range(num_folds)]
        dnas[kind] = replace(dna, folds=tuple(folds))
    return replace(side, dnas=dnas)


def find_outlier_sets(sets: Mapping[str, Measured], plan: Plan, distances: Tensor) -> OutlierSets:
    """Test whether any of several sets differs from all others together, and flag those that do.

    The test permutes the folds of all sets. The statistic of a set is the evidence, of network and properties together,
    that it differs from the others. The statistic of the test is the largest over all sets. Once a set is flagged, the
    rest is tested without it, at level 0.02. If more than a quarter of the sets differ, none is flagged.

    Args:
        sets: Three or more measured sets by name, with folds.
        plan: Their plan. The first of its distances of neurons is tested.
        distances: Distances between the sets, ``(K, K)``, 0 for the same images.

    """
    record = next((record for record in plan.distances if record.granularity == "neuron" and record.folded), None)
    if record is None:
        return OutlierSets(len(sets), why_untested=f"{plan.distances[0].name} has no such test, but dna-emd has one")
    why_untested = _why_untested(sets, plan, distances)
    if why_untested:
        return OutlierSets(len(sets), why_untested=why_untested)
    # The order of the names makes partitions, and so p-values, independent of the order that was given.
    left = sorted(sets)
    outliers: dict[str, float] = {}
    properties: list[PropertyDifference] = []
    p_value = 1.0
    while True:
        num_partitions = min(_MOST, max(_FEWEST, _ROWS // len(left)))
        masks = partitions([len(sets[name].first.folds) for name in left], num_partitions).flatten(0, 1)
        dnas_of_network, dnas_of_properties = _parts([sets[name].input_of(record) for name in left], plan)
        tests = [_test(record, dnas_of_network, masks, plan.averaging.weights)]
        if dnas_of_properties:
            tests.append(_test(record, dnas_of_properties, masks, None))
        place, p_of_any = most_unlike(tests, len(left))
        if not outliers:
            p_value = p_of_any
        if not outliers and p_of_any > SIGNIFICANT:
            return OutlierSets(len(sets), p_value)
        if outliers and p_of_any > FURTHER:
            return OutlierSets(len(sets), p_value, outliers, p_of_any, properties)
        if len(outliers) == max(1, len(sets) // _NAMED):
            return OutlierSets(len(sets), p_value)
        if not outliers and dnas_of_properties:
            test_of_set = _test(record, dnas_of_properties, masks.roll(-place, 0), None)
            properties = _properties_outside_others(dnas_of_properties, place, test_of_set)
        outliers[left.pop(place)] = p_of_any


def _parts(dnas: Sequence[DNA], plan: Plan) -> tuple[list[DNA], list[DNA]]:
    """Return the DNA of each set for the neurons of the network, and for image properties, if they were measured."""
    of_network = [dna.select(neurons=plan.neurons) for dna in dnas]
    if not plan.has_properties:
        return of_network, []
    neurons = shared_neurons(*(dna.select([LAYER]) for dna in dnas))
    return of_network, [dna.select(neurons=neurons) for dna in dnas]


def _test(record: Distance, dnas: Sequence[DNA], masks: Tensor, weights: Tensor | None) -> PermutationTest:
    """Test the first set against all others together, over partitions of their folds."""
    assert record.folded is not None
    folded = record.folded(*_two_sides(dnas))
    return test_relabeled(folded, Relabeled.of(folded, masks), record.power, weights)


def _why_untested(sets: Mapping[str, Measured], plan: Plan, distances: Tensor) -> str:
    """Return what the test lacks; empty if there is one."""
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
    all_thumbnails = torch.cat(thumbnails)
    # Number of the set of each image. Images of one set are not compared.
    sets_of_images = torch.arange(len(sides)).repeat_interleave(torch.tensor([len(of_set) for of_set in thumbnails]))
    rows = near_duplicates(all_thumbnails, all_thumbnails, torch.cat([sets_of_images, sets_of_images]))
    if rows is None:
        return ""
    counts = sets_of_images[rows >= 0].bincount(minlength=len(sides)).tolist()
    for name, size, count in zip(names, sizes, counts, strict=True):
        if count > SHARED * size:
            return f"{count:,} of {images_in_words(size)} in {name} are near-duplicates of images in other sets"
    return ""


def _two_sides(dnas: Sequence[DNA]) -> list[DNA]:
    """Return the folds of the first set and those of all others, each as one DNA with the ranges of all together."""
    whole: Any = merged(replace(dna, folds=()) for dna in dnas)
    folds_of_first = dnas[0].folds
    folds_of_others = tuple(chain(*(dna.folds for dna in dnas[1:])))
    sides: list[DNA] = []
    for folds in (folds_of_first, folds_of_others):
        num_images = sum(fold.num_images for fold in folds)
        sides.append(replace(whole, num_images=num_images, folds=folds))
    return sides


def _properties_outside_others(dnas: Sequence[DNA], place: int, test: PermutationTest) -> list[PropertyDifference]:
    """Return the properties of one set that are beyond those of each other, the clearest first."""
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
