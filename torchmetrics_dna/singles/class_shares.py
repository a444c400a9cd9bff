"""What a network takes the images of two sides for, by its own classifier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

SURE = 0.3  # median top probability on both sides; photographs have 0.43 to 0.65, drawings 0.12
_CLASSES = 5  # of which a side has more
_LEAST_MORE = 0.01  # of a mean probability
_SHARED_OUT, _LEVEL = 1000, 0.05  # ways to share images out between A and B, and the level of that test


class ClassShare(NamedTuple):
    """A class, and its mean probability over the images of A and of B."""

    name: str
    a: float
    b: float


@dataclass(frozen=True)
class Classes:
    """What the network takes the images for.

    Attributes:
        more: For ``"a"`` and ``"b"``, the classes of which that side has more, by how much more.
        top: By side, the median over images of the largest probability.

    """

    more: dict[str, list[ClassShare]]
    top: dict[str, float]


def class_shares_of(a: Tensor, b: Tensor, names: Sequence[str]) -> Classes | None:
    """The classes that differ most; None unless the network knows what it sees on both sides.

    Args:
        a: Probabilities of classes for images of A, ``(images, classes)``.
        b: Likewise of B.
        names: What the classes are called.

    Example:
        >>> cats, dogs = torch.tensor([[0.9, 0.1]]), torch.tensor([[0.2, 0.8]])
        >>> class_shares_of(cats.repeat(9, 1), dogs.repeat(9, 1), ["cat", "dog"]).more["b"][0].name
        'dog'

    """
    top = {side: float(one.amax(1).median()) for side, one in (("a", a), ("b", b))}
    if min(top.values()) <= SURE:
        return None
    a, b = a.double(), b.double()
    if _chance_of(a, b) > _LEVEL:
        return Classes({"a": [], "b": []}, top)
    more: dict[str, list[ClassShare]] = {}
    means_a, means_b = a.mean(0), b.mean(0)
    for side, difference in (("a", means_a - means_b), ("b", means_b - means_a)):
        first = difference.topk(min(_CLASSES, len(names))).indices.tolist()
        chosen = [i for i in first if difference[i] >= _LEAST_MORE]
        more[side] = [ClassShare(names[i], float(means_a[i]), float(means_b[i])) for i in chosen]
    return Classes(more, top)


def _chance_of(a: Tensor, b: Tensor) -> float:
    """p-value of a permutation test: whether mean probabilities of two sets of images differ more than by chance."""
    every, count = torch.cat([a, b]), len(a)
    generator = torch.Generator().manual_seed(0)
    orders = torch.rand(_SHARED_OUT - 1, len(every), generator=generator).argsort(1)
    sides = torch.cat([torch.arange(len(every))[None], orders]) < count
    means = sides.double() @ every / count, (~sides).double() @ every / (len(every) - count)
    apart = (means[0] - means[1]).abs().sum(1)
    return float((apart >= apart[0] * (1 - 1e-9)).double().mean())
