"""Selection of neurons to show: from several layers, and one of each group of correlated neurons."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

TOGETHER = 0.8  # correlation, of either sign
EVIDENT = 0.05  # q of a neuron that counts as one with evidence
ENOUGH = 8  # images; correlations over fewer are meaningless


def mixed(neurons: Sequence[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """Return the first neurons in order, at most half of one layer as long as others have evidence.

    Args:
        neurons: From :meth:`Comparison.top_neurons`: dicts with ``layer`` and ``q``, which is None without a test.
        count: Maximum number of neurons.

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
    """Group correlated neurons.

    In order, a neuron joins the first group whose first neuron correlates with it over the images of all sides, centred
    by side: the difference between the sides would correlate all neurons otherwise.

    Args:
        sides: Values of n neurons for each image of a side, ``(images, n)``.

    Returns:
        Column of the first neuron of each group, mapped to the columns of the others.

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
        first = next((leader for leader in groups if len(values) >= ENOUGH and together[leader, column]), None)
        if first is None:
            groups[column] = []
        else:
            groups[first].append(column)
    return groups
