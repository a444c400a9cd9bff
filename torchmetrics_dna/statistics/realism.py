"""Statistic of scores of single images, with the histograms that a contrast with their pool needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from torch import distributed as dist
from typing_extensions import override

from torchmetrics_dna.binning.layouts import sent
from torchmetrics_dna.binning.single_rows import positions_of
from torchmetrics_dna.statistics.base import Field, State, Statistic, gather_rows, rows_of
from torchmetrics_dna.statistics.nonfinite import check_scores
from torchmetrics_dna.statistics.scores import ImageScorer, Scorer, each_once

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torchmetrics_dna.binning.layouts import Parts


class RealismStatistic(Statistic):
    """Scores of single images: outlier scores, distances to a reference, or differences of two distances.

    A state has lists with an entry for each batch, never changed in place: ``scores``, float64, ``(b,)``; ``indices``,
    int64, ``(b,)``, -1 if not given, on the CPU until they are read; with a pool ``histograms``, ``(b, cells)``. Its
    tensor ``positions``, int64, ``(layers,)``, has the number of activations per neuron of each layer that these
    histograms are of. While there are histograms, scores are distances to the reference; afterwards they are contrasted
    with the pool.

    Args:
        scorer: Scorer with a reference, or with a reference and a contrast.
        pools: Whether to contrast scores with the pool of all images, by a :class:`Scorer` with a reference.
        more: Further values that must be equal for two states to be merged.

    """

    kind = "realism"
    additive = False

    def __init__(self, scorer: ImageScorer, pools: bool, **more: Any) -> None:
        super().__init__(scorer.extractor, **more)
        self.scorer, self.pools = scorer, pools
        self._positions: tuple[Tensor, list[int]] | None = None  # cache: the tensor that was read last, with its values

    @property
    @override
    def fields(self) -> dict[str, Field]:
        fields = {"scores": Field(0, torch.float64, 0), "indices": Field(0, torch.int64, 0)}
        if self.pools:
            fields["histograms"] = Field(0, torch.uint8, 0)
        return fields | {"positions": Field(len(self.neurons), torch.int64, 0)}

    @override
    def empty(self, device: torch.device | str) -> State:
        positions = self.fields["positions"]
        lists = {name: cast("Tensor", []) for name in self._lists}
        return lists | {"positions": torch.zeros(positions.size, dtype=positions.dtype, device=device)}

    @override
    def add_(self, state: State, parts: Parts, num_images: int) -> None:
        self.add_keyed_(state, parts, torch.full((num_images,), -1))

    @override
    def add_keyed_(self, state: State, parts: Parts, keys: Tensor) -> None:
        """Add a batch in place; ``keys`` are the indices of images in their data set, -1 if not given.

        Raises:
            ValueError: If only some batches have indices, or activations are not finite; with a pool, if images have
                other shapes than earlier ones.
            RuntimeError: If the scores are contrasted with their pool already.

        """
        positions = positions_of(parts[0]) if self.pools else []
        self._check_alike(state, bool(keys[0] >= 0), positions)
        if self.pools:
            scores, rows, _ = self._histograms.keep(parts)
            self._set_positions(state, positions)
            rows_of(state, "histograms").append(rows)
        else:
            scores = self.scorer(parts)
        rows_of(state, "scores").append(scores[0] if len(scores) == 1 else scores[0] - scores[1])
        rows_of(state, "indices").append(keys)  # a copy to the device would sync

    @override
    def merge_(self, state: State, other: State) -> None:
        self._join(state, other, len(rows_of(state, "scores")))

    @override
    def put_before_(self, state: State, earlier: State) -> None:
        self._join(state, earlier, 0)

    @override
    def packed(self, state: State) -> dict[str, Tensor]:
        """Return the tensors of a state; histograms as bytes, which every backend of torch.distributed supports."""
        tensors = {name: self._joined(state, name) for name in ("scores", "indices")}
        if self.pools:
            empty = torch.zeros(0, dtype=torch.uint8, device=state["positions"].device)
            rows = [batch.to(empty.device).flatten().view(torch.uint8) for batch in rows_of(state, "histograms")]
            tensors["histograms"] = torch.cat([empty, *rows])
        return tensors | {"positions": state["positions"]}

    @override
    def unpacked(self, tensors: Mapping[str, Tensor]) -> State:
        state = super().unpacked(tensors)
        if self.pools:
            rows, positions = tensors["histograms"], tensors["positions"].tolist()
            dtype = self._histograms.layout(positions).dtype if len(rows) else rows.dtype
            state["histograms"] = cast(
                "Tensor", [rows.view(dtype).view(len(tensors["scores"]), -1)] if len(rows) else []
            )
        return state

    @override
    def joined(self, states: Sequence[State], device: torch.device) -> State:
        """Concatenate the states of all processes, rank by rank."""
        total = self.empty(device)
        for name in self._lists:
            rows_of(total, name).extend(rows.to(device) for state in states for rows in rows_of(state, name))
        total["positions"] = torch.stack([state["positions"].to(device) for state in states]).amax(0)
        return total

    @override
    def reduce_(self, state: State, group: Any = None) -> None:
        """Gather the scores of all processes; only the counts of the pool are reduced, not the histograms gathered."""
        if self.pools:
            indices = gather_rows(self._joined(state, "indices"), group)
            first = sum(map(len, indices[: dist.get_rank(group)]))
            scores = self._contrasted(state, torch.cat(indices), first, group, is_shared=True)
            rows_of(state, "scores")[:] = [scores]
            rows_of(state, "histograms").clear()
        for name in ("scores", "indices"):
            rows_of(state, name)[:] = gather_rows(self._joined(state, name), group)
        dist.all_reduce(state["positions"], op=dist.ReduceOp.MAX, group=group)

    @override
    def value(self, state: State) -> Tensor:
        """Return the scores, float64, by ascending index, each image once; without indices in order of addition.

        Raises:
            ValueError: If activations of images were not finite.

        """
        indices = self._joined(state, "indices")
        is_open = self.pools and rows_of(state, "histograms")
        scores = self._contrasted(state, indices) if is_open else self._joined(state, "scores")
        check_scores(scores)
        return scores[each_once(indices)]

    def indices(self, state: State) -> Tensor:
        """Return the index of each image of :meth:`value`, on the CPU; without indices, its number."""
        indices = self._joined(state, "indices").cpu()
        once = each_once(indices)
        return once if (indices < 0).any() else indices[once]

    @property
    def _histograms(self) -> Scorer:
        """Scorer that keeps histograms, for a pool."""
        assert isinstance(self.scorer, Scorer)
        return self.scorer

    @property
    def _lists(self) -> list[str]:
        return [name for name in self.fields if name != "positions"]

    def _join(self, state: State, other: State, position: int) -> None:
        """Insert the batches of another state at a position, if the states are compatible."""
        if not _count(other, "scores"):
            return
        self._check_open(other)
        positions = self._read_positions(other)
        self._check_alike(state, self._has_indices(other), positions)
        self._set_positions(state, positions)
        device = state["positions"].device
        for name in self._lists:
            batches = [rows if name == "indices" else rows.to(device) for rows in rows_of(other, name)]
            rows_of(state, name)[position:position] = batches

    def _check_alike(self, state: State, has_indices: bool, positions: list[int]) -> None:
        """Raise RuntimeError or ValueError unless images with these positions, with or without indices, fit a state."""
        self._check_open(state)
        if not _count(state, "scores"):
            return
        if self._has_indices(state) != has_indices:
            raise ValueError("Argument `indices` expected in every call or in none")
        before = self._read_positions(state)
        if before != positions:
            raise ValueError(
                f"With contrast='pool', all images expected to give {before} activations for a neuron of"
                f" each layer, as the first ones do, but got {positions}; resize them to one size"
            )

    def _check_open(self, state: State) -> None:
        if self.pools and _count(state, "histograms") != _count(state, "scores"):
            raise RuntimeError(
                "The scores of this state were contrasted with their pool when it was synced, and no image can join it"
                " now; call `reset` first"
            )

    def _read_positions(self, state: State) -> list[int]:
        """Return the positions of a state; cached for the state that was read last, to save device syncs."""
        if not self.pools:
            return []
        positions = state["positions"]
        if self._positions is None or self._positions[0] is not positions:
            self._positions = positions, positions.tolist()
        return self._positions[1]

    def _set_positions(self, state: State, numbers: list[int]) -> None:
        if self.pools and not _count(state, "scores"):
            state["positions"].copy_(sent(torch.tensor(numbers), state["positions"].device))
            self._positions = state["positions"], numbers

    @staticmethod
    def _has_indices(state: State) -> bool:
        return bool(next(rows for rows in rows_of(state, "indices") if len(rows))[0] >= 0)

    def _joined(self, state: State, name: str) -> Tensor:
        """Return the rows of a state as one tensor, on its device."""
        device = state["positions"].device
        empty = torch.zeros(0, dtype=self.fields[name].dtype, device=device)
        return torch.cat([empty, *(rows.to(device) for rows in rows_of(state, name))])

    def _contrasted(
        self, state: State, indices: Tensor, first: int = 0, group: Any = None, is_shared: bool = False
    ) -> Tensor:
        """Return the scores of this process, contrasted with the pool that processes may share.

        ``indices`` are those of the images of all processes, rank by rank; this one's are from ``first`` on.
        """
        scores, device = self._joined(state, "scores"), state["positions"].device
        once = torch.zeros(len(indices), dtype=torch.bool, device=device)
        once[each_once(indices)] = True
        batches = [rows.to(device) for rows in rows_of(state, "histograms")]
        counts = self._histograms.empty_counts().to(device)
        layout = self._histograms.layout(self._read_positions(state))
        chosen = torch.split(once[first : first + len(scores)], [len(rows) for rows in batches])
        for rows, is_chosen in zip(batches, chosen, strict=True):
            layout.add_counts_(counts, rows if is_chosen.all() else rows[is_chosen])
        if is_shared:
            dist.all_reduce(counts, group=group)
        pool = [self._histograms.distances_to(counts, rows, layout) for rows in batches]
        return scores - torch.cat([scores[:0], *pool])


def _count(state: State, name: str) -> int:
    return sum(map(len, rows_of(state, name)))
