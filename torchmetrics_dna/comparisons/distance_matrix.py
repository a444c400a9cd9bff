"""DistanceMatrix: how far several sets are from each other."""

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
    """How far several sets are from each other, all against all.

    Attributes:
        names: What the sets are called.
        num_images: How many images each has.
        distances: For each distance, by name, float64, ``(K, K)``: symmetric, 0 on the diagonal; as they are, with what
            noise adds to each.
        layers: Likewise of each layer, ``{distance: {layer: (K, K)}}``; of distances that layers have.
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
        """Name of the distance by which sets are ordered, which is dna-emd if it was found, else the first one."""
        return next(iter(self.distances))

    @cached_property
    def linkage(self) -> Any:
        """Hierarchical clustering of the sets by mean distances, in scipy's format, ``(K - 1, 4)``.

        Branches are turned so that neighbours are near each other (``optimal_ordering``).

        Raises:
            ModuleNotFoundError: If scipy is missing.

        """
        hierarchy = require("scipy.cluster.hierarchy", "plot")
        condensed = self.distances[self.distance][tuple(torch.triu_indices(len(self.names), len(self.names), 1))]
        return hierarchy.linkage(condensed.numpy(), "average", optimal_ordering=True)

    @property
    def order(self) -> list[int]:
        """The sets in the order of the tree."""
        return [int(i) for i in require("scipy.cluster.hierarchy", "plot").leaves_list(self.linkage)]

    @property
    def verdict(self) -> str:
        """Which two sets are nearest and which are furthest, in one sentence."""
        values, count = self.distances[self.distance], len(self.names)
        rows, columns = torch.triu_indices(count, count, 1)
        pairs = values[rows, columns]

        def told(k: int) -> str:
            one, other = self.names[int(rows[k])], self.names[int(columns[k])]
            return f"{one} and {other} ({self.distance} {number(float(pairs[k]))})"

        if count == 2:
            return f"The two sets are {number(float(pairs[0]))} apart by {self.distance}."
        return (
            f"Of {count} sets, {told(int(pairs.argmin()))} are nearest to each other, {told(int(pairs.argmax()))} are"
            " furthest apart."
        )

    def rows(self) -> list[dict[str, Any]]:
        """The matrix in plain types, a row for each set in the order of the tree."""
        values, order = self.distances[self.distance], self.order
        return [
            {"set": self.names[i], "num_images": self.num_images[i]}
            | {self.names[j]: float(values[i, j]) for j in order}
            for i in order
        ]

    def to_dict(self) -> dict[str, Any]:
        """All that was found, in plain types, ready for json; matrices in the order in which sets were given."""
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
