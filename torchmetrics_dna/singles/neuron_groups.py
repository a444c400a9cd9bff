"""Which neurons to show: a mixture of layers, and one of those that move together."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

TOGETHER = 0.8  # correlation, of either sign
EVIDENT = 0.05  # q of a neuron that counts as one with evidence
ENOUGH = 8  # images, with fewer of which correlations say nothing


def mixed(neurons: Sequence[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """The first neurons, at most half of them of one layer as long as others have evidence; in their order.

    Args:
        neurons: As :meth:`Comparison.top_neurons` gives them: a ``layer`` and ``q``, which is None without a test.
        count: How many at most.

    Example:
        >>> neurons = [{"layer": layer, "q": q} for layer, q in (("x", 0.01), ("x", 0.01), ("y", 0.04), ("y", 0.5))]
        >>> mixed(neurons, 2)
        [{'layer': 'x', 'q': 0.01}, {'layer': 'y', 'q': 0.04}]

    """
    most, of_layer = max(1, count // 2), Counter[str]()
    chosen: list[int] = []
    for i, neuron in enumerate(neurons):
        evident = neuron["q"] is None or neuron["q"] <= EVIDENT
        if len(chosen) < count and evident and of_layer[neuron["layer"]] < most:
            of_layer[neuron["layer"]] += 1
            chosen.append(i)
    taken = set(chosen)
    rest = [i for i in range(len(neurons)) if i not in taken]
    return [neurons[i] for i in sorted(chosen + rest[: count - len(chosen)])]


def move_together(sides: Sequence[Tensor]) -> dict[int, list[int]]:
    """Neurons that move together, by the first of them.

    Taken in their order, one joins the first before it whose values correlate with its own, over the images of all
    sides, each less the mean of its side: else what tells the sides apart would tie all neurons.

    Args:
        sides: What each of n neurons gave for each image of a side, ``(images, n)``.

    Returns:
        For the first neuron of each group, by its column, the columns of the others.

    Example:
        >>> rising = torch.arange(8.0)
        >>> move_together([torch.stack([rising, rising % 2, 5 - 2 * rising], 1)])
        {0: [2], 1: []}

    """
    values = torch.cat([side.double() - side.double().mean(0) for side in sides])
    lengths = values.norm(dim=0)
    scaled = values / lengths.clamp(min=1e-12)
    together = (scaled.T @ scaled).abs() >= TOGETHER
    groups: dict[int, list[int]] = {}
    for column in range(values.shape[1]):
        first = next((one for one in groups if len(values) >= ENOUGH and together[one, column]), None)
        if first is None:
            groups[column] = []
        else:
            groups[first].append(column)
    return groups
