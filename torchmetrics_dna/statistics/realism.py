"""Statistic of scores of single images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from typing_extensions import override

from torchmetrics_dna.statistics.base import Field, State, rows_of
from torchmetrics_dna.statistics.nonfinite import note_refused_
from torchmetrics_dna.statistics.rows import RowStatistic

if TYPE_CHECKING:
    from torchmetrics_dna.binning import Activations
    from torchmetrics_dna.statistics.scores import ImageScorer


class RealismStatistic(RowStatistic):
    """Scores of single images: outlier scores, distances to a reference, or differences of two distances.

    A state has the lists ``scores``, float64, ``(b,)``, and ``indices``, int64, ``(b,)``, -1 if not given, which stay
    on the CPU.

    Args:
        scorer: Scorer with a reference, or with a reference and a contrast.
        more: Further values that must be equal for two states to be merged.

    """

    kind = "realism"

    def __init__(self, scorer: ImageScorer, **more: Any) -> None:
        super().__init__(scorer.extractor, **more)
        self.scorer = scorer

    @property
    @override
    def row_fields(self) -> dict[str, Field]:
        return {
            "scores": Field(0, torch.float64, reduction="cat"),
            "indices": Field(0, torch.int64, reduction="cat", on_host=True),
        }

    @override
    def add_(self, state: State, activations: Activations, keys: Tensor | None = None) -> None:
        """Add a batch in place; ``keys`` are the indices of images in their data set, -1 if not given.

        Raises:
            ValueError: If only some batches have indices, or activations are not finite.

        """
        keys = torch.full((len(activations),), -1) if keys is None else keys
        before = next((rows for rows in rows_of(state, "indices") if len(rows)), keys)
        check_indexed(torch.stack([before[0], keys[0]]))
        scores = self.score(activations)
        note_refused_(state["refused"], activations)
        rows_of(state, "scores").append(scores)
        rows_of(state, "indices").append(keys)  # a copy to the device would sync

    def score(self, activations: Activations) -> Tensor:
        """Score a batch, float64, shape ``(B,)``; on a device NaN, if a layer is not finite."""
        scores = self.scorer(activations)
        return scores[0] if len(scores) == 1 else scores[0] - scores[1]

    @override
    def value(self, state: State) -> Tensor:
        """Return the scores, float64, by ascending index, each image once; without indices in order of addition.

        Raises:
            ValueError: If images were refused.
            ValueError: If only some images have indices, such as those of some processes.

        """
        scores = self.in_order(state)
        return scores[self._once(state).to(scores.device)]

    def in_order(self, state: State) -> Tensor:
        """Return the scores, float64, in order of addition, whatever the indices; ValueError if images were refused."""
        self.check_refused(state)
        return self.joined_rows(state, "scores")

    def indices(self, state: State) -> Tensor:
        """Return the index of each image of :meth:`value`, on the CPU; without indices, its number."""
        once, indices = self._once(state), self.joined_rows(state, "indices").cpu()
        return once if (indices < 0).any() else indices[once]

    def _once(self, state: State) -> Tensor:
        """Return positions of the images by ascending index, each image once; without indices in order of addition."""
        indices = self.joined_rows(state, "indices").cpu()
        check_indexed(indices)
        if (indices < 0).any():
            return torch.arange(len(indices))
        order = indices.argsort(stable=True)
        first = torch.ones_like(order, dtype=torch.bool)
        first[1:] = indices[order][1:] != indices[order][:-1]
        return order[first]


def check_indexed(indices: Tensor) -> None:
    """Raise ValueError if only some images have indices."""
    has_index = indices >= 0
    if has_index.any() and not has_index.all():
        raise ValueError(
            "Argument `indices` expected in every call or in none, on all processes alike, since repeated images can't"
            " be told otherwise; give them everywhere"
        )
