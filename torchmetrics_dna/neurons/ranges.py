"""Observed activation ranges of neurons, and their histogram bounds."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import NoneType
from typing import Any, Literal

import torch
from torch import Tensor

from torchmetrics_dna.checks import check_one_of
from torchmetrics_dna.files.atomic import replacing
from torchmetrics_dna.files.damage import check_type, read_json, refusing
from torchmetrics_dna.files.download import fetch, is_reference
from torchmetrics_dna.neurons.index import Neurons
from torchmetrics_dna.options import written

FixedMargin = Literal["scale", "widen"]
Margin = Literal[FixedMargin, "auto"]
# Largest activation, mean or variance; its square is finite in float64. float32 ends at 1e38.
LARGEST = 1e150
_FILE = "activation ranges, json with `mins_per_neuron` and `maxs_per_neuron`, each {layer: {neuron number: value}}"
# "adding a margin of 20%": section 4 (Settings) of the paper.
_MARGIN = 0.2


@dataclass(frozen=True, eq=False, repr=False)
class ActivationRanges:
    """Observed minimum and maximum of each neuron, with the margin rule for histogram bounds.

    Args:
        minimum: Smallest activation of each neuron, shape ``(N,)``; kept as float64.
        maximum: Largest activation of each neuron, shape ``(N,)``; kept as float64.
        neurons: The neurons, in order.
        margin: ``"widen"`` to extend the span by 20 %, half of it at either end. ``"scale"`` to multiply both ends by
            1.2, like the official implementation; this clips the range of neurons with one sign, so use it for official
            ranges only. ``"auto"`` for the ranges of a self-ranging histogram, whose bounds are those of ``"widen"``,
            but whose bins are on a dyadic grid.
        name: Name of the ranges in reports; by default their digest.

    Raises:
        ValueError: If shapes, order or values are wrong, or the rule is unknown.

    Example:
        >>> ranges = ActivationRanges(torch.tensor([-1.0, 0.0]), torch.tensor([1.0, 5.0]), Neurons({"head": 2}))
        >>> low, high = ranges.bounds()
        >>> low.tolist(), high.tolist()
        ([-1.2, -0.5], [1.2, 5.5])

    """

    minimum: Tensor
    maximum: Tensor
    neurons: Neurons
    margin: Margin = "widen"
    name: str | None = None

    def __post_init__(self) -> None:
        check_one_of("margin", self.margin, Margin)
        for field in ("minimum", "maximum"):
            value = getattr(self, field).detach().to("cpu", torch.float64)
            if value.shape != (self.neurons.total,):
                raise ValueError(
                    f"Argument `{field}` expected to have shape ({self.neurons.total},), one value per neuron,"
                    f" but got {tuple(value.shape)}"
                )
            # Adding 0 turns -0.0 into 0.0, so that equal ranges have equal digests.
            object.__setattr__(self, field, value + 0.0)
        bad = ~((self.minimum <= self.maximum) & (self.minimum >= -LARGEST) & (self.maximum <= LARGEST))
        if bad.any():
            first = int(bad.nonzero()[0])
            layer, number = self.neurons.locate(first)
            raise ValueError(
                f"The range of neuron {number} of layer {layer!r} is not one:"
                f" minimum {float(self.minimum[first])}, maximum {float(self.maximum[first])}"
            )

    @classmethod
    def observe(cls, activations: Mapping[str, Tensor], margin: Margin = "widen") -> ActivationRanges:
        """Measure the ranges of activations ``{layer: (B, n, *positions)}``; extend them with :meth:`union`."""
        flat = {layer: x.transpose(0, 1).flatten(1) for layer, x in activations.items()}
        return cls(
            torch.cat([x.amin(1).double() for x in flat.values()]),
            torch.cat([x.amax(1).double() for x in flat.values()]),
            Neurons({layer: len(x) for layer, x in flat.items()}),
            margin,
        )

    def bounds(self) -> tuple[Tensor, Tensor]:
        """Return the lower and upper histogram bounds: the range with its margin, float64, ``(N,)`` each."""
        if self.margin == "scale":
            return self.minimum * (1 + _MARGIN), self.maximum * (1 + _MARGIN)
        extra = (self.maximum - self.minimum) * (_MARGIN / 2)
        return self.minimum - extra, self.maximum + extra

    @property
    def digest(self) -> str:
        """Digest of neurons, values and margin rule, but not of the name, 16 hexadecimal digits."""
        sha = hashlib.sha256(f"{self.margin} {self.neurons.digest}".encode())
        sha.update(torch.stack([self.minimum, self.maximum]).numpy().astype("<f8").tobytes())
        return sha.hexdigest()[:16]

    @property
    def label(self) -> str:
        """Name, or the digest if there is none."""
        return self.name or self.digest

    def union(self, *others: ActivationRanges) -> ActivationRanges:
        """Return the smallest ranges that contain these and the others; ValueError if neurons or margins differ."""
        for ranges in others:
            if ranges.neurons != self.neurons:
                raise ValueError(f"Can't unite ranges of {self.neurons!r} with ranges of {ranges.neurons!r}")
            if ranges.margin != self.margin:
                raise ValueError(f"Can't unite ranges with margin {self.margin!r} and margin {ranges.margin!r}")
        united = (self, *others)
        return ActivationRanges(
            torch.stack([r.minimum for r in united]).amin(0),
            torch.stack([r.maximum for r in united]).amax(0),
            self.neurons,
            self.margin,
        )

    def beside(self, other: ActivationRanges) -> ActivationRanges:
        """Append the ranges of other layers, under the margin rule and the name of these."""
        return replace(
            self,
            minimum=torch.cat([self.minimum, other.minimum]),
            maximum=torch.cat([self.maximum, other.maximum]),
            neurons=Neurons.from_list([*self.neurons.to_list(), *other.neurons.to_list()]),
        )

    def select(
        self, layers: Sequence[str] | None = None, neurons: Sequence[int] | Tensor | None = None
    ) -> ActivationRanges:
        """Return the ranges of some layers, or of neurons by flat index."""
        positions = self.neurons.positions(layers, neurons)
        return self.take(positions, self.neurons.take(positions))

    def take(self, positions: Tensor, neurons: Neurons) -> ActivationRanges:
        """Take the ranges of ``neurons``, at flat indices ``positions``."""
        return replace(self, minimum=self.minimum[positions], maximum=self.maximum[positions], neurons=neurons)

    def restrict(self, neurons: Neurons) -> ActivationRanges:
        """Select the ranges of an extractor with ``neurons``, in its order.

        Raises:
            ValueError: If a layer is missing here or has another number of neurons.

        """
        if neurons == self.neurons:
            return self
        try:
            return self.take(self.neurons.find(neurons), neurons)
        except ValueError as err:
            raise ValueError(
                f"The ranges do not fit, {err}; give ranges of this extractor, or {written('layers')} that they have"
            ) from err

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the official json, plus the margin rule (and the name) under keys that the official code ignores."""
        content: dict[str, Any] = {}
        for key, values in (("mins_per_neuron", self.minimum), ("maxs_per_neuron", self.maximum)):
            layers = {}
            for layer, values_of_layer in self.neurons.split(values).items():
                numbers = [str(number) for number in self.neurons.numbers(layer)]
                layers[layer] = dict(zip(numbers, values_of_layer.tolist(), strict=True))
            content[key] = layers
        content["margin"] = self.margin
        if self.name:
            content["name"] = self.name
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ActivationRanges:
        """Read official json or a file of :meth:`save`; neurons are read by number, in any order.

        The path may be on the Hugging Face hub, as ``hub:OWNER/REPO/path.json``; see :func:`load_dna`.

        Files without a margin rule are official ones, hence ``"scale"``.

        Raises:
            FileNotFoundError: If there is no such file.
            OSError: If the hub can't be reached.
            ValueError: If the file has another format.

        """
        local = fetch(str(path)) if is_reference(path) else Path(path)
        with refusing(path, _FILE):
            content = read_json(local, dict)
            mins = check_type("mins_per_neuron", content["mins_per_neuron"], dict)
            maxs = check_type("maxs_per_neuron", content["maxs_per_neuron"], dict)
            low = _by_layer(mins)
            high = _by_layer(maxs)
            neurons = {layer: list(values) for layer, values in low.items()}
            neurons_of_high = {layer: list(values) for layer, values in high.items()}
            if neurons != neurons_of_high:
                raise ValueError("minima and maxima are of different layers or neurons")
            minimum = [value for layer in neurons for value in low[layer].values()]
            maximum = [value for layer in neurons for value in high[layer].values()]
            return cls(
                torch.tensor(minimum, dtype=torch.float64),
                torch.tensor(maximum, dtype=torch.float64),
                Neurons(neurons),
                margin=content.get("margin", "scale"),
                name=check_type("name", content.get("name"), str, NoneType),
            )

    def __repr__(self) -> str:
        return f"ActivationRanges({self.label}, {self.neurons.total} neurons, margin {self.margin!r})"


# Arguments may also be the path of a file of ranges, or "auto".
Ranges = ActivationRanges | str | os.PathLike[str] | None


def _by_layer(content: dict[str, Any]) -> dict[str, dict[int, float]]:
    """Return the values of each layer, by number of the neuron, ascending."""
    layers = {}
    for layer, by_number in content.items():
        check_type(f"layer {layer!r}", by_number, dict)
        values = {}
        for number in sorted(map(int, by_number)):
            values[number] = float(check_type("value", by_number[str(number)], float, int))
        layers[layer] = values
    return layers
