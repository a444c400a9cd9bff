"""Distances between several sets, all against all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from torchmetrics_dna.comparisons.odd_sets import LEAST_SETS, OddSets, in_fewer_folds, odd_sets
from torchmetrics_dna.comparisons.several_sets import by_name
from torchmetrics_dna.dna import DNA, HistogramDNA
from torchmetrics_dna.dna.averaging import PLAIN
from torchmetrics_dna.dna.base import check_comparable, check_enough
from torchmetrics_dna.dna.result import Result
from torchmetrics_dna.dna.shown import Shown
from torchmetrics_dna.extras import require
from torchmetrics_dna.images.noun import noun_of
from torchmetrics_dna.images.sets import warn_of_left_out
from torchmetrics_dna.jobs.arguments import Arguments, taking
from torchmetrics_dna.jobs.measure import Measured, unreadable_of
from torchmetrics_dna.jobs.processes import in_step
from torchmetrics_dna.jobs.sides import open_sides
from torchmetrics_dna.options import argument
from torchmetrics_dna.plots import plot_matrix

if TYPE_CHECKING:
    from torchmetrics_dna.dna.distances import Distance
    from torchmetrics_dna.images import Source
    from torchmetrics_dna.statistics.setup import Feature

_OF_ALL = "Bins divide the range of all these sets together. In a comparison of two sets, they divide the range of A."


@dataclass(frozen=True, eq=False, repr=False)
class DistanceMatrix(Shown):
    """Distances between several sets, all against all.

    Attributes:
        names: Names of the sets.
        num_images: Number of images of each.
        distances: Matrix of each distance by name, float64, ``(K, K)``: symmetric, 0 on the diagonal; not debiased.
        layers: Matrices of each layer, ``{distance: {layer: (K, K)}}``, for distances that are known by layer.
        extractor: Name of the extractor.
        unreadable: One line for each image that was left out.
        notes: Caveats, one line each: of histograms that find their own ranges, what their bins are.
        odd: Test of which sets differ from the others together; None of two sets.
        noun: What is compared, as in :class:`Ranking`.

    """

    SHOWN_BY: ClassVar[str] = "matrix"

    names: Sequence[str]
    num_images: Sequence[int]
    distances: Mapping[str, Tensor]
    layers: Mapping[str, Mapping[str, Tensor]]
    extractor: str
    unreadable: Sequence[str] = ()
    notes: Sequence[str] = ()
    odd: OddSets | None = None
    noun: str = "image"

    @property
    def distance(self) -> str:
        """Name of the distance that orders the sets: dna-emd if it was measured, else the first."""
        return next(iter(self.distances))

    @cached_property
    def linkage(self) -> Any:
        """Hierarchical clustering of the sets by mean distances, in scipy's format, ``(K - 1, 4)``.

        Branches are flipped so that neighbouring leaves are close (``optimal_ordering``).

        Raises:
            ModuleNotFoundError: If scipy is missing.

        """
        hierarchy = require("scipy.cluster.hierarchy", "plot")
        condensed = self.distances[self.distance][tuple(torch.triu_indices(len(self.names), len(self.names), 1))]
        return hierarchy.linkage(condensed.numpy(), "average", optimal_ordering=True)

    @property
    def order(self) -> list[int]:
        """Numbers of the sets in the order of the tree."""
        return [int(i) for i in require("scipy.cluster.hierarchy", "plot").leaves_list(self.linkage)]

    def plot(self) -> Any:
        """Plot a heat map and the tree of the sets, see :func:`~torchmetrics_dna.plots.plot_matrix`."""
        return plot_matrix(self)

    def __repr__(self) -> str:
        return f"DistanceMatrix({len(self.names)} sets, {', '.join(self.distances)})"


@taking(
    *("metrics", "layers", "num_bins", "ranges", "neuron_weights", "num_folds", "groups", "copies", "reading"),
    "distributed",
)
def matrix(
    sets: Mapping[str, Source | DNA] | Sequence[Source | DNA], feature: Feature | None = None, **options: Any
) -> DistanceMatrix:
    """Compare several sets, all against all, such as plates, scanners or versions, and test which one is odd.

    Each is measured once. Of three sets or more, of about equal size, ``num_folds`` gives a test of which differs from
    all others together, see ``odd`` of the result; ``groups`` are its unit.

    Args:
        sets: Images, or DNAs or paths of them, by name; or a sequence: their paths then are their names, without the
            folders they have in common.
        feature: As for :func:`compare`.
        options: Some of :class:`Arguments`, as the signature shows. Of the ``metrics``, dna-emd orders the sets if it
            is among them, else the first; by default it is the only one. With ``ranges="auto"``, bins divide the range
            of all sets together.

    Raises:
        ValueError: As for :func:`compare`; if there are fewer than two sets, or two of one name.
        RuntimeError: As for :func:`compare`.

    Example:
        >>> import numpy as np
        >>> grey = {str(level): np.full((6, 40, 50, 3), level, np.uint8) for level in (0, 40, 200)}
        >>> distances = matrix(grey, layers=["block_0"])
        >>> distances.distances["dna-emd"].shape, distances.num_images
        (torch.Size([3, 3]), [6, 6, 6])

    """
    named = dict(sets) if isinstance(sets, Mapping) else by_name(sets)
    if len(named) < 2:
        raise ValueError(f"Argument `sets` expected to have two sets at least, but got {len(named)}")
    arguments = Arguments(feature, **options)
    with in_step(arguments.distributed):
        opening = arguments.skipping_unreadable()
        sides = open_sides(list(named.values()), opening, with_properties=len(named) >= LEAST_SETS)
        distances = sides.plan.distances if arguments.metrics is not None else sides.plan.distances[:1]
        for record in distances:
            if record.higher_is_better:
                raise ValueError(f"{argument('metrics')} takes distances, but {record.name} is none")
        for record in distances:
            sides.check_enough(record)
        whole = [in_fewer_folds(sides.measured(k), len(named)) for k in range(len(named))]
    # As in a comparison, properties of images that are measured beside a network are no part of its distances.
    measured = [side.select(sides.plan.neurons) for side in whole] if sides.plan.has_properties else whole
    dna = measured[0].first
    matrices: dict[str, Tensor] = {}
    by_layer: dict[str, dict[str, Tensor]] = {}
    for record in distances:
        averaging = sides.plan.averaging if record.grain == "neuron" else PLAIN
        results = [Result(record, values, dna.neurons, averaging) for values in _pairs(record, measured)]
        matrices[record.name] = _square([result.value for result in results], len(named))
        by_layer[record.name] = {
            layer: _square([result.layers[layer].value for result in results], len(named))
            for layer in results[0].layers
        }
    notes = []
    is_self_ranging = isinstance(dna, HistogramDNA) and dna.self_ranging
    if is_self_ranging and any(record.unit == "bins" for record in distances):
        notes.append(_OF_ALL)
    unreadable = unreadable_of(measured)
    warn_of_left_out(unreadable, arguments.reading)
    odd = None
    if len(named) >= LEAST_SETS:
        odd = odd_sets(dict(zip(named, whole, strict=True)), sides.plan, next(iter(matrices.values())))
    num_images = [side.first.num_images for side in measured]
    return DistanceMatrix(
        list(named), num_images, matrices, by_layer, dna.extractor, unreadable, notes, odd, noun_of(dna)
    )


def _square(values: Sequence[float], num_sets: int) -> Tensor:
    """Return the symmetric matrix of the distances of all pairs, which are in the order of the upper triangle."""
    upper = torch.triu_indices(num_sets, num_sets, 1)
    square = torch.zeros(num_sets, num_sets, dtype=torch.float64)
    square[*upper] = torch.tensor(values, dtype=torch.float64)
    return square + square.T


def _pairs(record: Distance, measured: Sequence[Measured]) -> Tensor:
    """Return the distances of each pair: by neuron ``(pairs, N)``, layer ``(pairs, layers)`` or set ``(pairs, 1)``."""
    inputs: list[Any] = [side.input_of(record) for side in measured]
    if not record.kinds:
        values = [record.of_features(a.values, b.values)[0] for a, b in combinations(inputs, 2)]
        return torch.tensor(values, dtype=torch.float64)[:, None]
    for dna in inputs[1:]:
        check_comparable(inputs[0], dna)
        check_enough(inputs[0], dna, record.name, record.least)
    if record.pairwise is not None:
        return record.pairwise(inputs)
    return torch.stack([record.between(a, b) for a, b in combinations(inputs, 2)])
