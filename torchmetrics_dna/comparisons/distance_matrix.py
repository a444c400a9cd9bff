"""Distances between several sets, all against all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from torchmetrics_dna.comparisons.outlier_sets import LEAST_SETS, OutlierSets, find_outlier_sets, in_fewer_folds
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
from torchmetrics_dna.jobs.sides import Sides, open_sides
from torchmetrics_dna.options import argument
from torchmetrics_dna.plots import plot_matrix

if TYPE_CHECKING:
    from torchmetrics_dna.dna.distances import Distance
    from torchmetrics_dna.images import Source
    from torchmetrics_dna.jobs.plan import Plan
    from torchmetrics_dna.statistics.setup import Feature

# Caveat of a matrix with self-ranging histograms.
_COMMON_BINS = (
    "Bins divide the range of all these sets together. In a comparison of two sets, they divide the range of A."
)


@dataclass(frozen=True, eq=False, repr=False)
class DistanceMatrix(Shown):
    """Distances between several sets, all against all.

    Attributes:
        names: Names of the sets.
        num_images: Number of images of each set.
        distances: Symmetric matrix of each distance, by name of the distance, float64, ``(K, K)``; not debiased.
        layers: Matrices of each layer, ``{distance: {layer: (K, K)}}``. The matrices of a distance are empty if the
            distance has no values of layers.
        extractor: Name of the extractor.
        unreadable: One line for each image that was left out.
        notes: Caveats, one line each, such as the range that bins divide.
        outliers: Test of which sets are outliers, since they differ from all others together; None for two sets.
        noun: What was compared: ``"image"``, ``"row"`` or ``"input"``.

    """

    SHOWN_BY: ClassVar[str] = "matrix"

    names: Sequence[str]
    num_images: Sequence[int]
    distances: Mapping[str, Tensor]
    layers: Mapping[str, Mapping[str, Tensor]]
    extractor: str
    unreadable: Sequence[str] = ()
    notes: Sequence[str] = ()
    outliers: OutlierSets | None = None
    noun: str = "image"

    @property
    def distance(self) -> str:
        """Name of the distance that orders the sets. It is dna-emd if that was measured, else the first distance."""
        return next(iter(self.distances))

    @cached_property
    def linkage(self) -> Any:
        """Hierarchical clustering of the sets by average linkage, in scipy's format, ``(K - 1, 4)``.

        The leaves are ordered so that neighbouring sets are close (``optimal_ordering``).

        Raises:
            ModuleNotFoundError: If scipy is missing.

        """
        hierarchy = require("scipy.cluster.hierarchy", "plot")
        num_sets = len(self.names)
        rows, columns = torch.triu_indices(num_sets, num_sets, 1)
        condensed = self.distances[self.distance][rows, columns]
        return hierarchy.linkage(condensed.numpy(), "average", optimal_ordering=True)

    @property
    def order(self) -> list[int]:
        """Indices of the sets in the order of the leaves of the clustering."""
        return [int(i) for i in require("scipy.cluster.hierarchy", "plot").leaves_list(self.linkage)]

    def plot(self) -> Any:
        """Plot a heat map and the dendrogram of the sets, see :func:`~torchmetrics_dna.plots.plot_matrix`."""
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
    """Compare several sets, all against all, such as plates, scanners or versions, and test which one is an outlier.

    Each set is measured once. With ``num_folds``, three or more sets of about equal size are tested: does any of them
    differ from all others together? See ``outliers`` of the result. If ``groups`` are given, the test permutes groups.

    Args:
        sets: Images, DNAs, or paths of DNA files, by name of the set. Or a sequence of paths. The names of the sets are
            then the paths without the folders that they have in common.
        feature: As for :func:`compare`.
        options: Those :class:`Arguments` that the signature shows. The default of ``metrics`` is dna-emd. If there are
            several metrics, dna-emd orders the sets if it is among them, otherwise the first distance. With
            ``ranges="auto"``, bins divide the range of all sets together.

    Raises:
        ValueError: As for :func:`compare`; also if there are fewer than two sets, or two sets of the same name.
        RuntimeError: As for :func:`compare`.

    Example:
        >>> import numpy as np
        >>> grey = {str(level): np.full((6, 40, 50, 3), level, np.uint8) for level in (0, 40, 200)}
        >>> distances = matrix(grey, layers=["block_0"])
        >>> distances.distances["dna-emd"].shape, distances.num_images
        (torch.Size([3, 3]), [6, 6, 6])

    """
    sets_by_name = dict(sets) if isinstance(sets, Mapping) else by_name(sets)
    num_sets = len(sets_by_name)
    if num_sets < 2:
        raise ValueError(f"Argument `sets` expected to have at least two sets, but got {num_sets}")
    arguments = Arguments(feature, **options)
    with in_step(arguments.distributed):
        opening = arguments.skipping_unreadable()
        sides = open_sides(list(sets_by_name.values()), opening, with_properties=num_sets >= LEAST_SETS)
        plan = sides.plan
        distances = plan.distances if arguments.metrics is not None else plan.distances[:1]
        _check_distances(distances, sides)
        measured = [in_fewer_folds(sides.measured(k), num_sets) for k in range(num_sets)]
    result = _compare_all(dict(zip(sets_by_name, measured, strict=True)), distances, plan)
    warn_of_left_out(result.unreadable, arguments.reading)
    return result


def _check_distances(distances: Sequence[Distance], sides: Sides) -> None:
    """Raise an error if one of the metrics is a score, or if a set has too few images for a distance."""
    for distance in distances:
        if distance.higher_is_better:
            raise ValueError(f"{argument('metrics')} takes distances, but {distance.name} is none")
    for distance in distances:
        sides.check_enough(distance)


def _compare_all(sets: Mapping[str, Measured], distances: Sequence[Distance], plan: Plan) -> DistanceMatrix:
    """Compare measured sets, all against all, and test which one is an outlier."""
    num_sets = len(sets)
    measured = list(sets.values())
    if plan.has_properties:
        # As in a comparison of two sets, image properties do not enter the distances of the network.
        measured = [side.select(plan.neurons) for side in measured]
    dna = measured[0].first
    matrices: dict[str, Tensor] = {}
    matrices_of_layers: dict[str, dict[str, Tensor]] = {}
    for distance in distances:
        averaging = plan.averaging if distance.granularity == "neuron" else PLAIN
        results = [Result(distance, values, dna.neurons, averaging) for values in _pairs(distance, measured)]
        matrices[distance.name] = _square([result.value for result in results], num_sets)
        matrices_of_layers[distance.name] = _matrices_of_layers(results, num_sets)
    outlier_sets = None
    if num_sets >= LEAST_SETS:
        outlier_sets = find_outlier_sets(sets, plan, matrices[distances[0].name])
    return DistanceMatrix(
        names=list(sets),
        num_images=[side.first.num_images for side in measured],
        distances=matrices,
        layers=matrices_of_layers,
        extractor=dna.extractor,
        unreadable=unreadable_of(measured),
        notes=_notes(distances, dna),
        outliers=outlier_sets,
        noun=noun_of(dna),
    )


def _matrices_of_layers(results: Sequence[Result], num_sets: int) -> dict[str, Tensor]:
    """Return the matrix of each layer. The results of the pairs are in the order of the upper triangle."""
    matrices = {}
    for layer in results[0].layers:
        matrices[layer] = _square([result.layers[layer].value for result in results], num_sets)
    return matrices


def _notes(distances: Sequence[Distance], dna: DNA) -> list[str]:
    """Return the caveats of the matrix. The DNA may be that of any set."""
    is_self_ranging = isinstance(dna, HistogramDNA) and dna.self_ranging
    if is_self_ranging and any(distance.unit == "bins" for distance in distances):
        return [_COMMON_BINS]
    return []


def _square(values: Sequence[float], num_sets: int) -> Tensor:
    """Return the symmetric matrix of distances. The values of the pairs are in the order of the upper triangle."""
    upper = torch.triu_indices(num_sets, num_sets, 1)
    square = torch.zeros(num_sets, num_sets, dtype=torch.float64)
    square[*upper] = torch.tensor(values, dtype=torch.float64)
    return square + square.T


def _pairs(distance: Distance, measured: Sequence[Measured]) -> Tensor:
    """Return the distances of all pairs, one row per pair.

    Columns are neurons, ``(pairs, N)``, or layers, ``(pairs, layers)``. A distance of sets has one column.
    """
    inputs: list[Any] = [side.input_of(distance) for side in measured]
    if not distance.kinds:
        values = [distance.of_features(a.values, b.values)[0] for a, b in combinations(inputs, 2)]
        return torch.tensor(values, dtype=torch.float64)[:, None]
    for dna in inputs[1:]:
        check_comparable(inputs[0], dna)
        check_enough(inputs[0], dna, distance.name, distance.least)
    if distance.pairwise is not None:
        return distance.pairwise(inputs)
    return torch.stack([distance.between(a, b) for a, b in combinations(inputs, 2)])
