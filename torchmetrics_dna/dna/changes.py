"""ChangeDictionary: what named changes of images do to the neurons of an extractor."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Self, override

from torchmetrics_dna.dna.codec import Encoded, Joined, Stored, split_arrays
from torchmetrics_dna.dna.identity import check_same, identity
from torchmetrics_dna.extractors.presets import PRESETS
from torchmetrics_dna.files.damage import check_type
from torchmetrics_dna.functional.changes import ChangeFit, fit_changes

if TYPE_CHECKING:
    import os
    from pathlib import Path

    from torchmetrics_dna.neurons.index import Neurons

LEAST_EXPLAINED = 0.2  # of a shift, below which no change is named


class NamedChange(NamedTuple):
    """A change of images, and how strong it is: from 0 to 5."""

    name: str
    strength: float


@dataclass(frozen=True, eq=False, repr=False)
class ChangeDictionary(Stored):
    """What named changes of images, such as blur, do to neurons: the mean shift of each, in several strengths.

    Args:
        shifts: Mean activation of changed images less that of the images as they were, float64, shape ``(C, S, N)``.
        spread: Standard deviation over images of a neuron's mean activation, float64, shape ``(N,)``.
        content: How images differ by what they show: principal components of their mean activations over ``spread``,
            each as long as its standard deviation, float64, shape ``(K, N)``.
        names: Of the changes.
        num_images: How many images it is from.
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

    @property
    def num_strengths(self) -> int:
        """How many strengths each change has."""
        return self.shifts.shape[1]

    def fit(self, shift: Tensor, neurons: Neurons, most: int = 3, least_gain: float = 0.05) -> ChangeFit:
        """Fit changes to the mean shift of some of the neurons; all layers weigh the same.

        Raises:
            ValueError: If there are other neurons than those of the dictionary.

        """
        places = self.neurons.find(neurons)
        scale = self._scale(neurons)
        paths, content = (values[..., places] * scale for values in (self.shifts, self.content * self.spread))
        return fit_changes(shift.double().cpu() * scale, paths, content, most, least_gain)

    def explain(self, shift: Tensor, neurons: Neurons) -> tuple[list[NamedChange], float] | None:
        """The changes that a shift is made of, and the share that is unexplained; no change where that is too much.

        Args:
            shift: Mean activation of B less that of A, shape ``(N,)``.
            neurons: Those that it is of. Layers of which the dictionary does not have these very neurons are left out;
                with no layer left, there is None.

        """
        own = {name: self.neurons.numbers(name) for name in self.neurons}
        known = [name for name in neurons if own.get(name) == neurons.numbers(name)]
        if not known:
            return None
        places = neurons.positions(known)
        found = self.fit(shift[places], neurons.take(places))
        named = [NamedChange(self.names[change], strength) for change, strength in found.changes]
        return (named if 1 - found.unexplained >= LEAST_EXPLAINED else []), found.unexplained

    def _scale(self, neurons: Neurons) -> Tensor:
        """What a shift is multiplied by, so that noise of a neuron is 1 and layers weigh the same."""
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
    def _decode(cls, header: dict[str, Any], arrays: Joined, **fields: Any) -> Self:
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
            f"ChangeDictionary({len(self.names)} changes in {self.num_strengths} strengths, {self.num_images} images,"
            f" {self.extractor!r})"
        )


def changes_for(
    given: ChangeDictionary | str | os.PathLike[str] | None, extractor: str, weights_digest: str | None = None
) -> ChangeDictionary | None:
    """A dictionary of changes for an extractor: the one that is given, or else what is packaged with the extractor.

    Raises:
        ValueError: If the given one is for another extractor, or other weights of it.

    """
    if given is None:
        preset = PRESETS.get(extractor)
        found = None if preset is None or preset.changes is None else _packaged(preset.changes)
        return found if found is not None and weights_digest in (None, found.weights_digest) else None
    found = given if isinstance(given, ChangeDictionary) else ChangeDictionary.load(given)
    check_same(
        f"{found!r} can't be used here",
        identity(found.extractor, found.weights_digest),
        identity(extractor, weights_digest),
    )
    return found


@lru_cache(maxsize=2)
def _packaged(path: Path) -> ChangeDictionary:
    return ChangeDictionary.load(path)
