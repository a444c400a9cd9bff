"""Statistics that keep one row per image, such as its features."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch
from torch import Tensor
from typing_extensions import override

from torchmetrics_dna.statistics.base import Field, Gather, Origin, State, Statistic, rows_of
from torchmetrics_dna.statistics.nonfinite import check_refused, note_refused_

if TYPE_CHECKING:
    from torchmetrics_dna.binning import Activations
    from torchmetrics_dna.extractors import DNAExtractor
    from torchmetrics_dna.neurons.index import Neurons


class ImageRows(Statistic):
    """One row per image, in order of addition, on the CPU.

    A state is ``{"rows": [...]}``, a list of tensors ``(b, ...)``. Each process keeps the rows of its own images. The
    caller concatenates the rows of all processes, because only the caller has the order of all images.

    Args:
        rows: Function that computes the rows of a batch, shape ``(B, ...)``.

    """

    by_image: ClassVar[bool] = True

    def __init__(self, rows: Callable[[Activations], Tensor]) -> None:
        # There is no extractor, since rows of different extractors are never merged.
        self._rows = rows

    @property
    @override
    def fields(self) -> dict[str, Field]:
        # Size and dtype of the field are not used, because rows may have any.
        return {"rows": Field(0, torch.float32, reduction="cat")}

    @override
    def add_(self, state: State, activations: Activations, keys: Tensor | None = None) -> None:
        rows_of(state).append(self._rows(activations).cpu())

    @override
    def value(self, state: State, origin: Origin) -> Tensor:
        """Return the rows, ``(images, ...)``; without images, an empty tensor that can be concatenated with rows."""
        rows = rows_of(state)
        if not rows:
            return torch.zeros(0)
        return torch.cat(rows)


class SpatialMeans(ImageRows):
    """Spatial means of the given layers, float32, ``(images, N)``; a job turns them into :class:`Features`."""

    def __init__(self, neurons: Neurons, layers: Sequence[str]) -> None:
        super().__init__(self._means)
        self.neurons = neurons.take(neurons.positions(layers))

    def _means(self, activations: Activations) -> Tensor:
        selected = activations.only(self.neurons)
        means = [selected.means(layer) for layer in self.neurons]
        return torch.cat(means, 1).float()


class RowStatistic(Statistic):
    """Base class of statistics of metrics that keep one row per image, in order of addition.

    A state has lists of tensors ``(b, ...)``, one tensor per batch. These tensors are never changed in place. A state
    also has ``refused``, the number of images that each layer refused, see :mod:`.nonfinite`. Metrics gather the lists
    of all processes.
    """

    @property
    @abstractmethod
    def row_fields(self) -> dict[str, Field]:
        """Layout of the rows in each list, by the name of the list."""

    @property
    @override
    def fields(self) -> dict[str, Field]:
        return self.row_fields | {"refused": Field(len(self.neurons), torch.int64)}

    @override
    def reduce_(self, state: State, group: Any = None, gather: Gather | None = None) -> None:
        # Importing torchmetrics takes time, and only metrics call this function.
        from torchmetrics.utilities.distributed import gather_all_tensors

        # The base class reduces `refused`, and leaves the lists as they are.
        super().reduce_(state, group, gather)
        gather = gather or gather_all_tensors
        for name in self.row_fields:
            rows = self.all_rows(state, name).to(state["refused"].device)
            rows_of_processes = gather(rows, group=group)
            state[name] = cast("Tensor", [self.in_turn(rows_of_processes)])

    def in_turn(self, rows_of_processes: Sequence[Tensor]) -> Tensor:
        """Return the rows of all processes in one order: rank by rank."""
        return torch.cat(list(rows_of_processes))

    def all_rows(self, state: State, name: str) -> Tensor:
        """Return all rows of a list as one tensor, including the rows of refused images."""
        parts = rows_of(state, name)
        if not parts:
            field = self.row_fields[name]
            shape = (0, field.size) if field.size else (0,)
            return torch.zeros(shape, dtype=field.dtype, device=state["refused"].device)
        if len(parts) > 1:
            # Replace the list's tensors, because keeping both forms would take twice the memory.
            parts[:] = [torch.cat([part.to(parts[0].device) for part in parts])]
        return parts[0]


class FeatureStatistic(RowStatistic):
    """Spatial means of one layer, float32, in the list ``features``: one row per image, in order of addition."""

    kind = "features"

    def __init__(self, extractor: DNAExtractor, layer: str) -> None:
        super().__init__(extractor, **{"layers of features": layer})
        self.layer = layer
        self.neurons = extractor.neurons.take(extractor.neurons.positions([layer]))

    @property
    @override
    def row_fields(self) -> dict[str, Field]:
        return {"features": Field(self.neurons.total, torch.float32, reduction="cat")}

    @override
    def add_(self, state: State, activations: Activations, keys: Tensor | None = None) -> None:
        selected = activations.only([self.layer])
        features = selected.means(self.layer).float()
        selected.check(wait=False)
        note_refused_(state["refused"], selected)
        rows_of(state, "features").append(features)

    @override
    def in_turn(self, rows_of_processes: Sequence[Tensor]) -> Tensor:
        """Interleave the rows of all processes, as a distributed sampler assigns images to them."""
        rows = torch.cat(list(rows_of_processes))
        # A stable sort by the position within a process takes one row of each process in turn.
        positions = torch.cat([torch.arange(len(rows_of_process)) for rows_of_process in rows_of_processes])
        order = positions.argsort(stable=True)
        return rows[order.to(rows.device)]

    @override
    def value(self, state: State, origin: Origin) -> Tensor:
        """Return the features of a state, shape ``(images, n)``.

        Raises:
            ValueError: If images were refused.

        """
        check_refused(state["refused"].tolist(), self.neurons)
        return self.all_rows(state, "features")
