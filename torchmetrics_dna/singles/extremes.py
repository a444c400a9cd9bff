"""Positions in single images that excite neurons most and least."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from typing_extensions import override

from torchmetrics_dna.images.cells import cells_of
from torchmetrics_dna.statistics.rows import ImageRows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Extremes:
    """Extremes of n neurons in single images.

    Attributes:
        values: Largest and smallest activation, float32, ``(images, n, 2)``.
        cells: Position of each of these, as fractions of the network's input: left, top, right and bottom,
            ``(images, n, 2, 4)``.

    """

    values: Tensor
    cells: Tensor

    @classmethod
    def of(cls, rows: Tensor, num_neurons: int) -> Extremes:
        """Split the rows of :class:`NeuronExtremes`."""
        values, cells = rows.tensor_split([2 * num_neurons], 1)
        each = (len(rows), num_neurons)
        return cls(values.reshape(*each, 2), cells.reshape(*each, 2, 4))


class NeuronExtremes(ImageRows):
    """Per-image statistic of the extremes of n neurons, see :class:`Extremes`.

    Args:
        neurons: Layer and number of each neuron.
        input_size: Height and width of the network's input.

    """

    def __init__(self, neurons: Sequence[tuple[str, int]], input_size: tuple[int, int] | None) -> None:
        super().__init__()
        self._neurons, self._input_size = neurons, input_size
        self._columns: dict[str, list[int]] = {}
        for column, (layer, _) in enumerate(neurons):
            self._columns.setdefault(layer, []).append(column)

    @override
    def rows(self, activations: Mapping[str, Tensor]) -> Tensor:
        count, width = len(next(iter(activations.values()))), len(self._neurons)
        values, cells = torch.zeros(count, width, 2), torch.zeros(count, width, 2, 4)
        for layer, columns in self._columns.items():
            of_layer = activations[layer][:, [self._neurons[column][1] for column in columns]].float()
            parts = cells_of(of_layer.shape[2:], self._input_size)
            of_layer = of_layer.flatten(2) if of_layer.ndim > 2 else of_layer[..., None]
            for end, sign in enumerate((1, -1)):
                most = (sign * of_layer).amax(2)
                values[:, columns, end] = sign * most.cpu()
                cells[:, columns, end] = parts[_middle_of(sign * of_layer == most[..., None], parts).cpu()]
        return torch.cat([values.flatten(1), cells.flatten(1)], 1)


def _middle_of(reached: Tensor, parts: Tensor) -> Tensor:
    """Return the position nearest to the centroid of all positions that reach an extreme.

    There may be many: a neuron is often 0 almost everywhere, and the first of such positions is just a corner.

    Args:
        reached: Mask of the positions that reach the extreme, ``(B, c, positions)``.
        parts: Cell of each position, ``(positions, 4)``.

    Returns:
        Shape ``(B, c)``.

    """
    middles = ((parts[:, :2] + parts[:, 2:]) / 2).to(reached.device)
    weights = reached.float()
    centroid = weights @ middles / weights.sum(2, keepdim=True)
    distances = sum((middles[:, axis] - centroid[..., axis, None]) ** 2 for axis in (0, 1))
    assert isinstance(distances, torch.Tensor)
    return torch.where(reached, distances, torch.inf).argmin(2)
