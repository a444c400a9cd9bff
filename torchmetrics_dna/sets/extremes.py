"""Where in single images some neurons are excited most and least."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from torchmetrics_dna.extractors.classes import LAYER as CLASSIFIED
from torchmetrics_dna.images.boxes import cells_of
from torchmetrics_dna.sets.loading import activate, check_any_read
from torchmetrics_dna.sets.processes import gather

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from torchmetrics_dna.extractors import DNAExtractor
    from torchmetrics_dna.extractors.classes import Classifier
    from torchmetrics_dna.images import ImageSource
    from torchmetrics_dna.sets.loading import Loading


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

    numbers: list[int]
    values: Tensor
    cells: Tensor
    means: Tensor
    probabilities: Tensor


def find_extremes(
    images: ImageSource,
    numbers: Sequence[int],
    extractor: DNAExtractor,
    neurons: Sequence[tuple[str, int]],
    loading: Loading,
    classifier: Classifier | None = None,
) -> Extremes:
    """Run some images of a source through an extractor, and keep only the extremes of some neurons.

    Args:
        images: The source.
        numbers: Which of its images.
        extractor: The network.
        neurons: Layer and number of each neuron.
        loading: How images are read; the processes of a distributed run share them, and all get the same.
        classifier: Of the extractor, for the probabilities of classes.

    Raises:
        ValueError: If an image can't be read, or none.

    """
    mine = [numbers[place] for place in loading.share(len(numbers))]
    by_layer: dict[str, list[int]] = {}
    for column, (layer, _) in enumerate(neurons):
        by_layer.setdefault(layer, []).append(column)
    read: list[int] = []
    unreadable: list[str] = []
    parts: list[list[Tensor]] = []
    for places, activations, left_out in activate(images.take(mine), extractor, loading):
        if places:
            chosen = {
                layer: (columns, activations[layer][:, [neurons[column][1] for column in columns]])
                for layer, columns in by_layer.items()
            }
            head = None if classifier is None else classifier.probabilities(activations[CLASSIFIED]).cpu()
            some = [*_of_batch(chosen, len(places), extractor.input_size)]
            parts.append([*some, torch.zeros(len(places), 0) if head is None else head])
        del activations
        read += [mine[place] for place in places]
        unreadable += left_out
    shares = gather((read, unreadable, parts)) if loading.distributed else [(read, unreadable, parts)]
    check_any_read(len(numbers), [line for _, lines, _ in shares for line in lines])
    every = torch.tensor([number for some, _, _ in shares for number in some])
    joined = [torch.cat(tensors) for tensors in zip(*(part for _, _, some in shares for part in some), strict=True)]
    order = every.argsort()
    return Extremes(every[order].tolist(), *(values[order] for values in joined))


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
