"""NeuronHistogram: the histogram of one neuron, as packages of UHI's protocol plot it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from typing_extensions import Self

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Traits(NamedTuple):
    """Traits of an axis: a range that neither wraps around nor is of single values."""

    circular: bool = False
    discrete: bool = False


class Axis(tuple[tuple[float, float], ...]):
    """Bins of a neuron: the lower and upper edge of each, in activations.

    Attributes:
        edges: Edges, shape ``(num_bins + 1,)``.
        label: Name of the neuron.
        traits: Traits of the axis.

    """

    edges: NDArray[np.float64]
    label: str
    traits = Traits()

    def __new__(cls, edges: NDArray[np.float64], label: str) -> Self:
        """Make the axis of the edges ``(num_bins + 1,)``."""
        axis = super().__new__(cls, zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))
        axis.edges, axis.label = edges, label
        return axis

    def __getnewargs__(self) -> tuple[NDArray[np.float64], str]:
        return self.edges, self.label


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
