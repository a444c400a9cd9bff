"""Where in single images some neurons are excited most and least."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from typing_extensions import override

from torchmetrics_dna.extractors.classes import LAYER as CLASSIFIED
from torchmetrics_dna.images.boxes import cells_of
from torchmetrics_dna.statistics.rows import ImageRows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from torchmetrics_dna.extractors.classes import Classifier


@dataclass(frozen=True, eq=False)
class Extremes:
    """What n neurons gave for single images.

    Attributes:
        numbers: Where the images stand in their source, ascending.
        values: Largest and smallest activation, float32, ``(images, n, 2)``.
        cells: Where each of these is, in shares of the network's input: left, top, right and bottom,
            ``(images, n, 2, 4)``.
        means: Spatial means, ``(images, n)``.
        probabilities: Of the classes, ``(images, classes)``; of none without a classifier.

    """

    numbers: Sequence[int]
    values: Tensor
    cells: Tensor
    means: Tensor
    probabilities: Tensor

    @classmethod
    def of(cls, numbers: Sequence[int], rows: Tensor, num_neurons: int) -> Extremes:
        """Take apart what :class:`NeuronExtremes` gives for each image."""
        sizes = [2 * num_neurons, 8 * num_neurons, num_neurons]
        values, cells, means, probabilities = torch.split(rows, [*sizes, rows.shape[1] - sum(sizes)], 1)
        each = (len(rows), num_neurons)
        return cls(numbers, values.reshape(*each, 2), cells.reshape(*each, 2, 4), means, probabilities)


class NeuronExtremes(ImageRows):
    """A row for each image of the extremes of n neurons, see :class:`Extremes`.

    Args:
        neurons: Layer and number of each neuron.
        input_size: Height and width of the network's input.
        classifier: Of the extractor, for the probabilities of classes.

    """

    def __init__(
        self,
        neurons: Sequence[tuple[str, int]],
        input_size: tuple[int, int] | None,
        classifier: Classifier | None = None,
    ) -> None:
        super().__init__()
        self._neurons, self._input_size, self._classifier = neurons, input_size, classifier
        self._columns: dict[str, list[int]] = {}
        for column, (layer, _) in enumerate(neurons):
            self._columns.setdefault(layer, []).append(column)

    @override
    def rows(self, activations: Mapping[str, Tensor]) -> Tensor:
        chosen = {
            layer: (columns, activations[layer][:, [self._neurons[column][1] for column in columns]])
            for layer, columns in self._columns.items()
        }
        count = len(next(iter(activations.values())))
        parts = [part.flatten(1) for part in _of_batch(chosen, count, self._input_size)]
        if self._classifier is not None:
            parts.append(self._classifier.probabilities(activations[CLASSIFIED]).cpu())
        return torch.cat(parts, 1)


def _of_batch(
    chosen: Mapping[str, tuple[list[int], Tensor]], num_images: int, size: tuple[int, int] | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Values, cells and means of a batch, as in :class:`Extremes`.

    Args:
        chosen: For each layer, columns of the result, and the activations that belong there, ``(B, c, *positions)``.
        num_images: B.
        size: Height and width of the network's input.

    """
    width = sum(len(columns) for columns, _ in chosen.values())
    values, cells = torch.zeros(num_images, width, 2), torch.zeros(num_images, width, 2, 4)
    means = torch.zeros(num_images, width)
    for columns, activations in chosen.values():
        given = activations.float()
        parts = cells_of(given.shape[2:], size)
        given = given.flatten(2) if given.ndim > 2 else given[..., None]
        means[:, columns] = given.mean(2).cpu()
        for end, sign in enumerate((1, -1)):
            most = (sign * given).amax(2)
            values[:, columns, end] = sign * most.cpu()
            cells[:, columns, end] = parts[_middle_of(sign * given == most[..., None], parts).cpu()]
    return values, cells, means


def _middle_of(reached: Tensor, parts: Tensor) -> Tensor:
    """Of the positions that reach an extreme, the one nearest to their common middle.

    Many may: a neuron is often 0 almost everywhere, and the first of such positions is just a corner.

    Args:
        reached: Which positions do, ``(B, c, positions)``.
        parts: The cell of each position, ``(positions, 4)``.

    Returns:
        Shape ``(B, c)``.

    """
    middles = ((parts[:, :2] + parts[:, 2:]) / 2).to(reached.device)
    weights = reached.float()
    common = weights @ middles / weights.sum(2, keepdim=True)
    away = sum((middles[:, axis] - common[..., axis, None]) ** 2 for axis in (0, 1))
    assert isinstance(away, torch.Tensor)
    return torch.where(reached, away, torch.inf).argmin(2)
