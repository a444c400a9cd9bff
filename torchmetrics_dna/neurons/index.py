"""Which neurons a DNA speaks of: an ordered, frozen ``{layer: width}``."""

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
    """The neurons of an extractor, in the order of every flat per-neuron tensor of this package.

    Args:
        layers: For each layer, in order, its number of neurons; or, where only some of its neurons are
            meant, their numbers within the layer, ascending.

    Raises:
        ValueError: If a layer has no neurons, or its numbers are no integers, negative, repeated or not ascending.

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
        numbers: dict[str, Sequence[int]] = {}
        for layer, width in layers.items():
            chosen = _numbers(layer, width)
            if not chosen:
                raise ValueError(f"Layer {layer!r} has no neurons; leave the layer out")
            ascending = isinstance(chosen, range) or all(a < b for a, b in pairwise(chosen))
            if not ascending or chosen[0] < 0 or chosen[-1] >= sys.maxsize:
                raise ValueError(f"Neuron numbers of layer {layer!r} must be ascending, distinct and not negative")
            # one spelling for "all of them", so that equal selections compare equal
            numbers[layer] = range(len(chosen)) if chosen[-1] == len(chosen) - 1 else chosen
        self._numbers = numbers
        self._slices: dict[str, slice] = {}
        start = 0
        for layer, chosen in numbers.items():
            self._slices[layer] = slice(start, start + len(chosen))
            start += len(chosen)

    @classmethod
    def from_list(cls, layers: Sequence[Sequence[Any]]) -> Neurons:
        """The inverse of :meth:`to_list`; ValueError if there is none."""
        found: dict[str, Any] = dict(layers)  # type: ignore[arg-type]
        if len(found) < len(layers):
            raise ValueError(f"Layers expected to be distinct, but got {[layer for layer, _ in layers]}")
        return cls(found)

    @property
    def total(self) -> int:
        """Number of neurons in all layers."""
        return sum(self.values())

    @property
    def slices(self) -> dict[str, slice]:
        """Where each layer lies in a flat per-neuron tensor."""
        return dict(self._slices)

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that change with any layer, number or their order."""
        numbers = [(layer, list(chosen)) for layer, chosen in self._numbers.items()]
        return hashlib.sha256(json.dumps(numbers).encode()).hexdigest()[:16]

    def to_list(self) -> list[list[Any]]:
        """``[[layer, width or numbers], ...]``, in json's types; :meth:`from_list` takes it back."""
        return [
            [layer, len(chosen) if isinstance(chosen, range) else list(chosen)]
            for layer, chosen in self._numbers.items()
        ]

    def numbers(self, layer: str) -> Sequence[int]:
        """The numbers, within the layer, of its neurons."""
        return self._numbers[layer]

    def index(self, layer: str, number: int) -> int:
        """Flat index of neuron ``number`` of ``layer``; ValueError if it is not among these neurons."""
        if layer not in self or number not in self._numbers[layer]:
            raise ValueError(f"There is no neuron {number} of layer {layer!r} among {self!r}")
        return int(self._slices[layer].start) + self._numbers[layer].index(number)

    def locate(self, index: int) -> tuple[str, int]:
        """Layer, and number within it, of the neuron at a flat index; IndexError if there is none."""
        for layer, where in self._slices.items():
            if where.start <= index < where.stop:
                return layer, self._numbers[layer][index - where.start]
        raise IndexError(f"Neuron index {index} is out of range for {self.total} neurons")

    def split(self, per_neuron: Tensor) -> dict[str, Tensor]:
        """Views of a flat tensor, shape ``(total, ...)``, layer by layer."""
        return {layer: per_neuron[where] for layer, where in self._slices.items()}

    def positions(self, layers: Sequence[str] | None = None, neurons: Sequence[int] | Tensor | None = None) -> Tensor:
        """Flat indices of a selection, int64, ascending.

        Args:
            layers: Keep these layers only.
            neurons: Keep these flat indices only.

        Raises:
            ValueError: If a layer or an index is not there, or nothing is left.

        """
        import torch

        keep = torch.zeros(self.total, dtype=torch.bool)
        for layer in self if layers is None else layers:
            if layer not in self:
                raise ValueError(f"Unknown layer {layer!r}; the layers are: {', '.join(self)}")
            keep[self._slices[layer]] = True
        if neurons is not None:
            chosen = torch.as_tensor(neurons, dtype=torch.int64, device="cpu")
            outside = chosen[(chosen < 0) | (chosen >= self.total)]
            if len(outside):
                raise ValueError(f"Neuron index {int(outside[0])} is out of range for {self.total} neurons")
            keep &= torch.zeros_like(keep).index_fill_(0, chosen, True)
        found = keep.nonzero().flatten()
        if len(found) == 0:
            raise ValueError("The selection holds no neuron; choose at least one")
        return found

    def find(self, neurons: Neurons) -> Tensor:
        """Flat indices, among these, of an extractor's neurons, int64, in its order.

        Raises:
            ValueError: If a layer is not among these, or has other neurons.

        """
        import torch

        for layer, width in neurons.items():
            if layer not in self:
                raise ValueError(f"it has no layer {layer!r} (its layers: {', '.join(self)})")
            if self.numbers(layer) != neurons.numbers(layer):
                raise ValueError(f"it has {self[layer]} neurons in layer {layer!r}, but the extractor has {width}")
        every = torch.arange(self.total)
        return torch.cat([every[self._slices[layer]] for layer in neurons])

    def take(self, positions: Tensor) -> Neurons:
        """The neurons at ascending flat indices, as from :meth:`positions`."""
        taken: dict[str, Sequence[int]] = {}
        for layer, where in self._slices.items():
            inside = positions[(positions >= where.start) & (positions < where.stop)] - where.start
            if len(inside):
                taken[layer] = [self._numbers[layer][i] for i in inside.tolist()]
        return Neurons(taken)

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
        return f"Neurons({self.total} in {len(self)} layer{'s' * (len(self) > 1)}: {', '.join(layers)})"


def _numbers(layer: str, given: Any) -> Sequence[int]:
    """The neuron numbers that are given by how many there are or one by one, as any kind of integer but bool."""
    plain = given.tolist() if hasattr(given, "tolist") else given  # of numpy and torch
    try:
        return range(_integer(plain)) if hasattr(plain, "__index__") else tuple(map(_integer, plain))
    except TypeError as err:
        raise ValueError(f"Layer {layer!r} expected a number of neurons, or their numbers, but got {given!r}") from err


def _integer(number: Any) -> int:
    if isinstance(number, bool):
        raise TypeError("it is a bool")
    return operator.index(number)
