"""Neurons: an ordered, immutable mapping from each layer to its number of neurons."""

from __future__ import annotations

import hashlib
import json
import operator
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, SupportsIndex

if TYPE_CHECKING:
    from torch import Tensor


class Neurons(Mapping[str, int]):
    """Neurons of an extractor. All tensors with one value per neuron have this order.

    Args:
        layers: Number of neurons of each layer, in order. For a selection of the neurons of a layer, pass their indices
            within the layer, in ascending order.

    Raises:
        ValueError: If a layer has no neurons, or indices are not integers, negative, duplicate or not ascending.

    Example:
        >>> neurons = Neurons({"block_0": 16, "head": 1280})
        >>> neurons.total, neurons["head"]
        (1296, 1280)
        >>> neurons.locate(17), neurons.index("head", 1)
        (('head', 1), 17)
        >>> neurons.take(neurons.positions(neurons=[3, 17]))
        Neurons(2 in 2 layers: block_0 1, head 1)

    """

    __slots__ = ("_numbers", "_slices")

    def __init__(self, layers: Mapping[str, SupportsIndex | Sequence[SupportsIndex]]) -> None:
        # Indices of the neurons of each layer within the layer.
        self._numbers = {layer: _numbers(layer, indices) for layer, indices in layers.items()}
        # Slice of each layer in a flat per-neuron tensor.
        self._slices: dict[str, slice] = {}
        start = 0
        for layer, numbers in self._numbers.items():
            self._slices[layer] = slice(start, start + len(numbers))
            start += len(numbers)

    @classmethod
    def from_list(cls, layers: Sequence[Sequence[Any]]) -> Neurons:
        """Return the neurons of a list from :meth:`to_list`.

        Raises:
            ValueError: If a layer occurs twice.

        """
        widths: dict[str, Any] = dict(layers)  # type: ignore[arg-type]
        if len(widths) < len(layers):
            raise ValueError(f"Layers expected to be distinct, but got {[layer for layer, _ in layers]}")
        return cls(widths)

    @property
    def total(self) -> int:
        """Number of neurons in all layers."""
        return sum(self.values())

    @property
    def slices(self) -> dict[str, slice]:
        """Slice of each layer in a flat per-neuron tensor."""
        return dict(self._slices)

    @property
    def digest(self) -> str:
        """Digest of the layers, their order, and the indices of neurons, 16 hexadecimal digits."""
        numbers = [(layer, list(chosen)) for layer, chosen in self._numbers.items()]
        return hashlib.sha256(json.dumps(numbers).encode()).hexdigest()[:16]

    def to_list(self) -> list[list[Any]]:
        """Return a JSON-serializable list ``[[layer, width or indices], ...]``, which :meth:`from_list` reads."""
        layers: list[list[Any]] = []
        for layer, chosen in self._numbers.items():
            is_complete = isinstance(chosen, range)
            layers.append([layer, len(chosen) if is_complete else list(chosen)])
        return layers

    def numbers(self, layer: str) -> Sequence[int]:
        """Return the indices of a layer's neurons within the layer."""
        return self._numbers[layer]

    def index(self, layer: str, number: int) -> int:
        """Return the flat index of the neuron ``number`` of a layer.

        Raises:
            ValueError: If the neuron is not selected.

        """
        if layer not in self or number not in self._numbers[layer]:
            raise ValueError(f"There is no neuron {number} of layer {layer!r} among {self!r}")
        return int(self._slices[layer].start) + self._numbers[layer].index(number)

    def locate(self, index: int) -> tuple[str, int]:
        """Return the layer of a flat index, and the index within the layer.

        Raises:
            IndexError: If it is out of range.

        """
        for layer, columns in self._slices.items():
            if columns.start <= index < columns.stop:
                return layer, self._numbers[layer][index - columns.start]
        raise IndexError(f"Neuron index {index} is out of range for {self.total} neurons")

    def split(self, per_neuron: Tensor) -> dict[str, Tensor]:
        """Split a flat tensor, shape ``(total, ...)``, into one view per layer."""
        return {layer: per_neuron[columns] for layer, columns in self._slices.items()}

    def positions(
        self, layers: Sequence[str] | None = None, neurons: Neurons | Sequence[int] | Tensor | None = None
    ) -> Tensor:
        """Return the flat indices of a selection, int64, ascending.

        Args:
            layers: Layers to keep; None for all.
            neurons: Neurons, or flat indices, to keep; None for all.

        Raises:
            ValueError: If a layer or an index does not exist, or the selection is empty.

        """
        import torch

        # True for each neuron to keep.
        keep = torch.zeros(self.total, dtype=torch.bool)
        for layer in self if layers is None else layers:
            if layer not in self:
                raise ValueError(f"Unknown layer {layer!r}; the layers are: {', '.join(self)}")
            keep[self._slices[layer]] = True
        if neurons is not None:
            indices = self._flat_indices(neurons)
            keep &= torch.zeros_like(keep).index_fill_(0, indices, True)
        positions = keep.nonzero().flatten()
        if len(positions) == 0:
            raise ValueError("The selection holds no neuron")
        return positions

    def _flat_indices(self, neurons: Neurons | Sequence[int] | Tensor) -> Tensor:
        """Return neurons, or flat indices, as flat indices, int64.

        Raises:
            ValueError: If one does not exist.

        """
        import torch

        if isinstance(neurons, Neurons):
            neurons = [self.index(layer, number) for layer in neurons for number in neurons.numbers(layer)]
        indices = torch.as_tensor(neurons, dtype=torch.int64, device="cpu")
        outside = indices[(indices < 0) | (indices >= self.total)]
        if len(outside):
            raise ValueError(f"Neuron index {int(outside[0])} is out of range for {self.total} neurons")
        return indices

    def find(self, neurons: Neurons) -> Tensor:
        """Return the flat indices, within these neurons, of the neurons of an extractor, int64, in its order.

        Raises:
            ValueError: If a layer of the extractor is missing here, or has other neurons here.

        """
        import torch

        for layer, width in neurons.items():
            if layer not in self:
                raise ValueError(f"it has no layer {layer!r} (its layers: {', '.join(self)})")
            if self.numbers(layer) != neurons.numbers(layer):
                if self[layer] == width:
                    raise ValueError(f"it has {width} other neurons in layer {layer!r} than the extractor")
                raise ValueError(f"it has {self[layer]} neurons in layer {layer!r}, but the extractor has {width}")
        flat_indices = torch.arange(self.total)
        return torch.cat([flat_indices[self._slices[layer]] for layer in neurons])

    def take(self, positions: Tensor) -> Neurons:
        """Select neurons by ascending flat indices, such as those of :meth:`positions`."""
        selected: dict[str, Sequence[int]] = {}
        for layer, columns in self._slices.items():
            is_in_layer = (positions >= columns.start) & (positions < columns.stop)
            within_layer = positions[is_in_layer] - columns.start
            if len(within_layer):
                selected[layer] = [self._numbers[layer][i] for i in within_layer.tolist()]
        return Neurons(selected)

    def __getitem__(self, layer: str) -> int:
        return len(self._numbers[layer])

    def __iter__(self) -> Iterator[str]:
        return iter(self._numbers)

    def __len__(self) -> int:
        return len(self._numbers)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Neurons):
            return NotImplemented
        return list(self._numbers.items()) == list(other._numbers.items())

    def __hash__(self) -> int:
        return hash(tuple((layer, tuple(chosen)) for layer, chosen in self._numbers.items()))

    def __reduce__(self) -> tuple[Any, ...]:
        return Neurons, (self._numbers,)

    def __repr__(self) -> str:
        layers = [f"{layer} {width}" for layer, width in self.items()]
        if len(layers) > 6:
            layers[3:-2] = ["..."]
        noun = "layers" if len(self) > 1 else "layer"
        return f"Neurons({self.total} in {len(self)} {noun}: {', '.join(layers)})"


def _numbers(layer: str, indices: Any) -> Sequence[int]:
    """Return the indices of a layer's neurons, from their number or from indices.

    Raises:
        ValueError: If the layer has no neurons, or indices are not integers, negative, duplicate or not ascending.

    """
    numbers = _converted(layer, indices)
    if not numbers:
        raise ValueError(f"Layer {layer!r} has no neurons")
    is_ascending = isinstance(numbers, range) or all(a < b for a, b in pairwise(numbers))
    if not is_ascending or numbers[0] < 0 or numbers[-1] >= sys.maxsize:
        raise ValueError(f"Neuron numbers of layer {layer!r} must be ascending, distinct and not negative")
    # A complete layer is always a range, so that equal selections compare equal.
    is_complete = numbers[-1] == len(numbers) - 1
    return range(len(numbers)) if is_complete else numbers


def _converted(layer: str, indices: Any) -> Sequence[int]:
    """Convert a number of neurons to a range, or indices of any integer type except bool to a tuple of int."""
    # numpy and torch have their own types of integers and arrays, whose `tolist` returns int or a list.
    plain = indices.tolist() if hasattr(indices, "tolist") else indices
    try:
        if hasattr(plain, "__index__"):
            return range(_integer(plain))
        return tuple(_integer(index) for index in plain)
    except TypeError as err:
        raise ValueError(
            f"Layer {layer!r} expected a number of neurons, or their numbers, but got {indices!r}"
        ) from err


def _integer(number: Any) -> int:
    """Return a number as int.

    Raises:
        TypeError: If it is a bool, or not an integer.

    """
    if isinstance(number, bool):
        raise TypeError("it is a bool")
    return operator.index(number)
