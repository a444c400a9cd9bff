"""NeuronHistogram: the histogram of one neuron, as packages of UHI's protocol plot it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple, overload

import numpy as np
from typing_extensions import override

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Traits(NamedTuple):
    """Traits of an axis: a range that neither wraps around nor is of single values."""

    circular: bool = False
    discrete: bool = False


@dataclass(frozen=True, eq=False)
class Axis(Sequence[tuple[float, float]]):
    """Bins of a neuron: a sequence of their lower and upper edges.

    Attributes:
        edges: Edges, in activations, shape ``(num_bins + 1,)``.
        label: Name of the neuron.
        traits: Traits of the axis.

    """

    edges: NDArray[np.float64]
    label: str
    traits: ClassVar[Traits] = Traits()

    @override
    def __len__(self) -> int:
        return len(self.edges) - 1

    @overload
    def __getitem__(self, index: int) -> tuple[float, float]: ...
    @overload
    def __getitem__(self, index: slice) -> list[tuple[float, float]]: ...
    @override
    def __getitem__(self, index: int | slice) -> tuple[float, float] | list[tuple[float, float]]:
        return list(zip(self.edges[:-1].tolist(), self.edges[1:].tolist(), strict=True))[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Axis) and np.array_equal(self.edges, other.edges)

    __hash__ = object.__hash__


@dataclass(frozen=True, eq=False)
class NeuronHistogram:
    """Histogram of one neuron: a ``PlottableHistogram`` of `UHI <https://uhi.readthedocs.io>`_, which mplhep plots.

    Attributes:
        axes: Its only axis.
        kind: ``"COUNT"``: values are counts.

    """

    axes: tuple[Axis]
    _counts: NDArray[np.float64]
    kind: str = "COUNT"

    def values(self) -> NDArray[np.float64]:
        """Return the counts, shape ``(num_bins,)``."""
        return self._counts

    counts = values

    def variances(self) -> None:
        """Return None: activations of one image are not independent, so no variance follows from counts."""
