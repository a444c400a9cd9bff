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
# Largest allowed activation, mean or variance. Its square is finite in float64.
LARGEST = 1e150
_FILE = "activation ranges, json with `mins_per_neuron` and `maxs_per_neuron`, each {layer: {neuron number: value}}"
# Section 4 (Settings) of the paper: "adding a margin of 20%".
_MARGIN = 0.2


@dataclass(frozen=True, eq=False, repr=False)
class ActivationRanges:
    """Observed minimum and maximum of each neuron, and the margin rule that turns them into histogram bounds.

    Args:
        minimum: Smallest activation of each neuron, shape ``(N,)``; stored as float64.
        maximum: Largest activation of each neuron, shape ``(N,)``; stored as float64.
        neurons: The neurons, in order.
        margin: Margin rule. ``"widen"`` extends the span by 20%, half of it at each end. ``"scale"`` multiplies both
            ends by 1.2, like the reference implementation. If both ends have the same sign, one of the bounds then
            lies inside the range, so use ``"scale"`` only for official ranges. ``"auto"`` is for the ranges of a
            self-ranging histogram. The bounds are those of ``"widen"``, but bin widths are powers of two.
        name: Name of the ranges in reports; by default their digest.

    Raises:
        ValueError: If shapes or values are wrong, a minimum is larger than its maximum, or the rule is unknown.

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
        self._check_values()

    def _check_values(self) -> None:
        """Raise ValueError with the first neuron whose range is wrong."""
        is_valid = (self.minimum <= self.maximum) & (self.minimum >= -LARGEST) & (self.maximum <= LARGEST)
        if is_valid.all():
            return
        first = int((~is_valid).nonzero()[0])
        layer, number = self.neurons.locate(first)
        raise ValueError(
            f"The range of neuron {number} of layer {layer!r} is not one:"
            f" minimum {float(self.minimum[first])}, maximum {float(self.maximum[first])}"
        )

    @classmethod
    def observe(cls, activations: Mapping[str, Tensor], margin: Margin = "widen") -> ActivationRanges:
        """Return the ranges of the activations of one batch, ``{layer: (B, n, *positions)}``.

        Ranges of several batches are combined by :meth:`union`.
        """
        # One row for each neuron.
        rows = {layer: values.transpose(0, 1).flatten(1) for layer, values in activations.items()}
        minimum = torch.cat([values.amin(1).double() for values in rows.values()])
        maximum = torch.cat([values.amax(1).double() for values in rows.values()])
        neurons = Neurons({layer: len(values) for layer, values in rows.items()})
        return cls(minimum, maximum, neurons, margin)

    def bounds(self) -> tuple[Tensor, Tensor]:
        """Return the lower and the upper histogram bounds: the ranges with their margins, float64, ``(N,)`` each."""
        if self.margin == "scale":
            return self.minimum * (1 + _MARGIN), self.maximum * (1 + _MARGIN)
        extra = (self.maximum - self.minimum) * (_MARGIN / 2)
        return self.minimum - extra, self.maximum + extra

    @property
    def digest(self) -> str:
        """Digest of neurons, values and margin rule, 16 hexadecimal digits. The name is not included."""
        sha = hashlib.sha256(f"{self.margin} {self.neurons.digest}".encode())
        sha.update(torch.stack([self.minimum, self.maximum]).numpy().astype("<f8").tobytes())
        return sha.hexdigest()[:16]

    @property
    def label(self) -> str:
        """Name, or the digest if there is none."""
        return self.name or self.digest

    def union(self, *others: ActivationRanges) -> ActivationRanges:
        """Return the smallest ranges that contain these and the other ranges.

        Raises:
            ValueError: If neurons or rules differ.

        """
        for ranges in others:
            if ranges.neurons != self.neurons:
                raise ValueError(f"Can't unite ranges of {self.neurons!r} with ranges of {ranges.neurons!r}")
            if ranges.margin != self.margin:
                raise ValueError(f"Can't unite ranges with margin {self.margin!r} and margin {ranges.margin!r}")
        united = (self, *others)
        return ActivationRanges(
            torch.stack([ranges.minimum for ranges in united]).amin(0),
            torch.stack([ranges.maximum for ranges in united]).amax(0),
            self.neurons,
            self.margin,
        )

    def append(self, other: ActivationRanges) -> ActivationRanges:
        """Return these ranges with the ranges of other layers appended. Margin rule and name stay the same."""
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
        """Return the ranges at the flat indices ``positions``, which are those of ``neurons``."""
        return replace(self, minimum=self.minimum[positions], maximum=self.maximum[positions], neurons=neurons)

    def restrict(self, neurons: Neurons) -> ActivationRanges:
        """Return the ranges of these neurons of an extractor, in the order of its layers.

        Raises:
            ValueError: If a layer has no ranges, or has ranges of other neurons.

        """
        if neurons == self.neurons:
            return self
        try:
            return self.take(self.neurons.find(neurons), neurons)
        except ValueError as err:
            raise ValueError(
                f"The ranges do not fit, {err}; pass ranges of this extractor, or {written('layers')} that they have"
            ) from err

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a json file in the official format.

        The file also contains the margin rule and the name, under keys that the reference implementation ignores.
        """
        content: dict[str, Any] = {
            "mins_per_neuron": self._by_number(self.minimum),
            "maxs_per_neuron": self._by_number(self.maximum),
            "margin": self.margin,
        }
        if self.name:
            content["name"] = self.name
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")

    def _by_number(self, values: Tensor) -> dict[str, dict[str, float]]:
        """Return the value of each neuron, ``{layer: {neuron number: value}}``, as in official json."""
        layers = {}
        for layer, values_of_layer in self.neurons.split(values).items():
            numbers = [str(number) for number in self.neurons.numbers(layer)]
            layers[layer] = dict(zip(numbers, values_of_layer.tolist(), strict=True))
        return layers

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ActivationRanges:
        """Read an official json file, or a file that :meth:`save` has written.

        The neurons of a layer may be in any order in the file, and are sorted by number. Official files contain no
        margin rule, so the rule of a file without one is ``"scale"``.

        Args:
            path: Path of the file. It may be on the Hugging Face hub, as ``hub:OWNER/REPO/path.json``; see
                :func:`load_dna`.

        Raises:
            FileNotFoundError: If the file does not exist.
            OSError: If the hub can't be reached.
            ValueError: If the file has another format.

        """
        local = fetch(str(path)) if is_reference(path) else Path(path)
        with refusing(path, _FILE):
            content = read_json(local, dict)
            mins = check_type("mins_per_neuron", content["mins_per_neuron"], dict)
            maxs = check_type("maxs_per_neuron", content["maxs_per_neuron"], dict)
            minima = _by_layer(mins)
            maxima = _by_layer(maxs)
            numbers = {layer: list(values) for layer, values in minima.items()}
            numbers_of_maxima = {layer: list(values) for layer, values in maxima.items()}
            if numbers != numbers_of_maxima:
                raise ValueError("minima and maxima are of different layers or neurons")
            # The layers of the maxima may be in another order in the file.
            minimum = _concatenated(minima, list(numbers))
            maximum = _concatenated(maxima, list(numbers))
            margin = content.get("margin", "scale")
            name = check_type("name", content.get("name"), str, NoneType)
            return cls(minimum, maximum, Neurons(numbers), margin, name)

    def __repr__(self) -> str:
        return f"ActivationRanges({self.label}, {self.neurons.total} neurons, margin {self.margin!r})"


# Values that arguments named `ranges` accept: ranges, the path of their file, or "auto".
Ranges = ActivationRanges | str | os.PathLike[str] | None


def _by_layer(content: dict[str, Any]) -> dict[str, dict[int, float]]:
    """Return the values of each layer by the number of the neuron, in ascending order."""
    layers = {}
    for layer, by_number in content.items():
        check_type(f"layer {layer!r}", by_number, dict)
        values = {}
        for number in sorted(map(int, by_number)):
            values[number] = float(check_type("value", by_number[str(number)], float, int))
        layers[layer] = values
    return layers


def _concatenated(values: dict[str, dict[int, float]], layers: Sequence[str]) -> Tensor:
    """Return the values of all neurons as one tensor, layer by layer, float64."""
    all_values: list[float] = []
    for layer in layers:
        all_values += values[layer].values()
    return torch.tensor(all_values, dtype=torch.float64)
