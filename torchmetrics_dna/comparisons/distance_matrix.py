"""DistanceMatrix: the distances between several sets."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch

from torchmetrics_dna.extras import require
from torchmetrics_dna.files.visible import number

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor


@dataclass(frozen=True, eq=False, repr=False)
class DistanceMatrix:
    """Distances between several sets, all against all.

    Attributes:
        names: Names of the sets.
        num_images: Number of images of each.
        distances: Matrix of each distance by name, float64, ``(K, K)``: symmetric, 0 on the diagonal; not debiased.
        layers: Matrices of each layer, ``{distance: {layer: (K, K)}}``, for distances that are known by layer.
        extractor: Name of the extractor.
        unreadable: One line for each image that was left out.

    """

    names: Sequence[str]
    num_images: Sequence[int]
    distances: Mapping[str, Tensor]
    layers: Mapping[str, Mapping[str, Tensor]]
    extractor: str
    unreadable: Sequence[str] = ()

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

    @property
    def verdict(self) -> str:
        """One sentence that names the nearest two sets and the furthest two."""
        values, count = self.distances[self.distance], len(self.names)
        rows, columns = torch.triu_indices(count, count, 1)
        pairs = values[rows, columns]

        def pair(k: int) -> str:
            a, b = self.names[int(rows[k])], self.names[int(columns[k])]
            return f"{a} and {b} ({self.distance} {number(float(pairs[k]))})"

        if count == 2:
            return f"The two sets are {number(float(pairs[0]))} apart by {self.distance}."
        return (
            f"Of {count} sets, {pair(int(pairs.argmin()))} are nearest to each other, {pair(int(pairs.argmax()))} are"
            " furthest apart."
        )

    def rows(self) -> list[dict[str, Any]]:
        """Return the matrix in plain types, one row per set in the order of the tree."""
        values, order = self.distances[self.distance], self.order
        return [
            {"set": self.names[i], "num_images": self.num_images[i]}
            | {self.names[j]: float(values[i, j]) for j in order}
            for i in order
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return all results in plain types, ready for json; matrices are in the given order of the sets."""
        return {
            "sets": list(self.names),
            "num_images": list(self.num_images),
            "extractor": self.extractor,
            "distance": self.distance,
            "distances": {name: values.tolist() for name, values in self.distances.items()},
            "layers": {
                name: {layer: values.tolist() for layer, values in layers.items()}
                for name, layers in self.layers.items()
            },
            "order": self.order,
            "linkage": self.linkage.tolist(),
        }

    def __repr__(self) -> str:
        return f"DistanceMatrix({len(self.names)} sets, {', '.join(self.distances)})"
