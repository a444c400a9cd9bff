"""ChangeDictionary: mean shifts of an extractor's neurons under named changes of images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Self, override

from torchmetrics_dna.dna.codec import ByLayer, Encoded, Stored, split_arrays
from torchmetrics_dna.dna.identity import check_same, identity
from torchmetrics_dna.extractors.presets import PRESETS
from torchmetrics_dna.files.damage import check_type
from torchmetrics_dna.functional.changes import ChangeFit, fit_changes
from torchmetrics_dna.images.changes import CHANGES

if TYPE_CHECKING:
    import os
    from pathlib import Path

    from torchmetrics_dna.neurons.index import Neurons

LEAST_EXPLAINED = 0.5  # of a shift, below which no change is named; shifts between kinds of pictures reach 0.49


class NamedChange(NamedTuple):
    """Named change of images and its strength, from 0 to 5."""

    name: str
    strength: float

    @property
    def in_words(self) -> str:
        """Description with the amount; the name alone for a change that is not one of ``CHANGES``."""
        change = CHANGES.get(self.name)
        return self.name if change is None else change.in_words(self.strength)


@dataclass(frozen=True, eq=False, repr=False)
class ChangeDictionary(Stored):
    """Mean shift of each neuron under named changes of images, such as blur, at several strengths.

    Args:
        shifts: Mean activation of changed images less that of the images as they were, float64, shape ``(C, S, N)``.
        spread: Standard deviation over images of a neuron's mean activation, float64, shape ``(N,)``.
        content: Variation between images: principal components of their mean activations divided by ``spread``, each
            scaled to its standard deviation, float64, shape ``(K, N)``.
        names: Names of the changes.
        num_images: Number of images that were changed.
        neurons: The N neurons, in order.
        extractor: Name of the extractor.
        weights_digest: Digest of the extractor's own weights; None if unknown.

    Raises:
        ValueError: If shapes do not fit, a number is not finite, or a spread is not above 0.

    """

    kind: ClassVar[str] = "changes"

    shifts: Tensor
    spread: Tensor
    content: Tensor
    names: tuple[str, ...]
    num_images: int
    neurons: Neurons
    extractor: str
    weights_digest: str | None = None

    def __post_init__(self) -> None:
        total, shape = self.neurons.total, tuple(self.shifts.shape)
        fits = len(shape) == 3 and shape[0] == len(self.names) and {shape[2], self.content.shape[-1]} == {total}
        if not fits or tuple(self.spread.shape) != (total,):
            raise ValueError(
                f"Shifts expected to have shape ({len(self.names)}, strengths, {total}), and spread ({total},), but got"
                f" {shape} and {tuple(self.spread.shape)}"
            )
        finite = all(bool(values.isfinite().all()) for values in (self.shifts, self.spread, self.content))
        if not finite or bool((self.spread <= 0).any()):
            raise ValueError("Expected finite shifts, spread and content, and a spread above 0")

    def fit(self, shift: Tensor, neurons: Neurons) -> ChangeFit:
        """Fit changes to the mean shift of a subset of the neurons; all layers have equal weight.

        Raises:
            ValueError: If a neuron is not in the dictionary.

        """
        positions = self.neurons.find(neurons)
        scale = self._scale(neurons)
        paths, content = (values[..., positions] * scale for values in (self.shifts, self.content * self.spread))
        return fit_changes(shift.double().cpu() * scale, paths, content)

    def explain(self, shift: Tensor, neurons: Neurons) -> tuple[list[NamedChange], float] | None:
        """Decompose a shift into named changes and an unexplained share; no changes are named if that is too large.

        Args:
            shift: Mean activation of B less that of A, shape ``(N,)``.
            neurons: The neurons of ``shift``. Layers whose neurons are not exactly those of the dictionary are left
                out; None is returned if no layer is left.

        """
        own = {name: self.neurons.numbers(name) for name in self.neurons}
        layers = [name for name in neurons if own.get(name) == neurons.numbers(name)]
        if not layers:
            return None
        positions = neurons.positions(layers)
        fit = self.fit(shift[positions], neurons.take(positions))
        named = [NamedChange(self.names[change], strength) for change, strength in fit.changes]
        return (named if 1 - fit.unexplained >= LEAST_EXPLAINED else []), fit.unexplained

    def _scale(self, neurons: Neurons) -> Tensor:
        """Return factors that scale shifts to unit noise per neuron and equal weight per layer."""
        widths = torch.tensor(list(neurons.values())).double()
        layers = (1 / (widths * len(widths)).sqrt()).repeat_interleave(widths.long())
        return layers / self.spread[self.neurons.find(neurons)]

    @override
    def _encode(self) -> Encoded:
        described, _, _ = super()._encode()
        described |= {"changes": list(self.names), "num_images": self.num_images}
        fields = {"shift": self.shifts.flatten(0, 1).T, "spread": self.spread, "content": self.content.T}
        arrays = {
            key: a for name, values in fields.items() for key, a in split_arrays(name, self.neurons, values).items()
        }
        return described, arrays, {}

    @classmethod
    @override
    def _decode(cls, header: dict[str, Any], arrays: ByLayer, **fields: Any) -> Self:
        names = tuple(check_type("change", name, str) for name in check_type("changes", header["dna"]["changes"], list))
        shifts, content = (
            torch.from_numpy(np.concatenate(list(arrays.parts(field).values()))).T for field in ("shift", "content")
        )
        if not names or shifts.dim() != 2 or len(shifts) % len(names):
            raise ValueError(f"{len(names)} changes do not fit shifts of shape {tuple(shifts.shape)}")
        return super()._decode(
            header,
            arrays,
            shifts=shifts.contiguous().view(len(names), -1, shifts.shape[1]),
            spread=arrays.flat("spread"),
            content=content.contiguous(),
            names=names,
            num_images=check_type("num_images", header["dna"]["num_images"], int),
            **fields,
        )

    def __repr__(self) -> str:
        return (
            f"ChangeDictionary({len(self.names)} changes in {self.shifts.shape[1]} strengths, {self.num_images} images,"
            f" {self.extractor!r})"
        )


def changes_for(
    source: ChangeDictionary | str | os.PathLike[str] | None, extractor: str, weights_digest: str | None = None
) -> ChangeDictionary | None:
    """Return the dictionary of changes for an extractor: ``source``, or else the one packaged with the extractor.

    Raises:
        ValueError: If ``source`` is for another extractor, or other weights of it.

    """
    if source is None:
        preset = PRESETS.get(extractor)
        dictionary = None if preset is None or preset.changes is None else _packaged(preset.changes)
        return dictionary if dictionary is not None and weights_digest in (None, dictionary.weights_digest) else None
    dictionary = source if isinstance(source, ChangeDictionary) else ChangeDictionary.load(source)
    check_same(
        f"{dictionary!r} can't be used here",
        identity(**dictionary.origin),
        identity(extractor, weights_digest),
    )
    return dictionary


@lru_cache(maxsize=2)
def _packaged(path: Path) -> ChangeDictionary:
    return ChangeDictionary.load(path)
