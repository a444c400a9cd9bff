"""How activations add up to a DNA, or to ranges: what a running state holds, how it grows, merges and is reduced.

A tally holds no state itself. The state of one set of images, its *side*, is a dict of flat tensors: metrics register
them with torchmetrics, ``measure`` keeps them in a variable. The last entry of the first tensor counts images.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch import distributed as dist

from torchmetrics_dna.dna import DNA
from torchmetrics_dna.dna.origin import identity_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torchmetrics_dna.binning.layouts import Parts
    from torchmetrics_dna.extractors import DNAExtractor

Side = dict[str, Tensor]
_D = TypeVar("_D", bound=DNA)


class Field(NamedTuple):
    """One flat tensor of a side: how long, of which type, and what it holds at first."""

    size: int
    dtype: torch.dtype
    fill: float


class Tally(ABC):
    """How one kind of state is made, grows, merges and is reduced.

    Args:
        extractor: Gives names and neurons.
        more: What else must be equal for two sides to be merged, as :func:`identity` takes it.

    """

    kind: ClassVar[str]
    additive: ClassVar[bool] = True  # whether two sides are merged by adding their tensors up

    def __init__(self, extractor: DNAExtractor, **more: Any) -> None:
        self.extractor, self._more = extractor, more
        self.neurons = extractor.neurons

    @property
    def origin(self) -> dict[str, Any]:
        """What made the activations, with the weights as they are now."""
        names = ("weights_digest", "preparation")
        return {"extractor": self.extractor.name} | {name: getattr(self.extractor, name) for name in names}

    @property
    def configuration(self) -> dict[str, Any]:
        """All that must be equal for two sides to be merged."""
        return identity_of(self.extractor, kind=self.kind, **self._more)

    @property
    @abstractmethod
    def fields(self) -> dict[str, Field]:
        """The tensors of a side, by name."""

    def empty(self, device: torch.device | str) -> Side:
        """The side of no images."""
        return {
            name: torch.full((field.size,), field.fill, dtype=field.dtype, device=device)
            for name, field in self.fields.items()
        }

    @abstractmethod
    def add_(self, side: Side, parts: Parts, num_images: int) -> None:
        """Add a batch in place; ValueError, and nothing added, if an activation is not finite.

        Args:
            side: What it is added to.
            parts: Activations of some of its images after others, each ``{layer: (b, n, *positions)}``.
            num_images: How many images it has.

        """

    def merge_(self, side: Side, other: Side) -> None:
        """Add another side in place."""
        for name in self.fields:
            side[name] += other[name].to(side[name].device)

    def put_before_(self, side: Side, earlier: Side) -> None:
        """Add a side of images that came earlier, in place; as :meth:`merge_`, unless images have an order."""
        self.merge_(side, earlier)

    def joined(self, sides: Sequence[Side], device: torch.device) -> Side:
        """One side of those of all processes."""
        total = self.empty(device)
        for side in sides:
            self.merge_(total, side)
        return total

    def all_reduce_(self, side: Side, group: Any = None) -> None:
        """Add the sides of all processes in place, one all-reduce for each tensor."""
        for name in self.fields:
            dist.all_reduce(side[name], group=group)


class DNATally(Tally, Generic[_D]):
    """A tally whose sides are DNAs."""

    @abstractmethod
    def to_dna(self, side: Side) -> _D:
        """The DNA of a side; may be a view of it."""
