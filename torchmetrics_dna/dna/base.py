"""What every DNA has: where it is from, what it may be merged and compared with, and its file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from reprlib import repr as brief
from types import NoneType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Self

from torchmetrics_dna.dna.identity import check_same, differences, identity
from torchmetrics_dna.files.container import Arrays, content_digest, read_container, write_container
from torchmetrics_dna.files.damage import check_type, refusing
from torchmetrics_dna.neurons.index import Neurons
from torchmetrics_dna.version import __version__

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

_D = TypeVar("_D", bound="DNA")


class TooFewImagesError(RuntimeError):
    """A side holds too few images for the distance that was asked for."""


class _Fields:
    """Fields of every DNA; no dataclass, so that each kind puts them where they read well."""

    neurons: Neurons
    num_images: int
    extractor: str


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class DNA(_Fields, ABC):
    """The per-neuron statistics of an image or a set of images.

    Args:
        weights_digest: Digest of the extractor's weights; None if unknown.
        preparation: How images were prepared for the extractor: resize, input size, crop, mean, std; as far as known.
        notes: Whatever a user wants to say about it; kept in files.

    """

    kind: ClassVar[str]

    weights_digest: str | None = None
    preparation: Mapping[str, Any] | None = None
    notes: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.num_images < 2**63:
            raise ValueError(
                f"Argument `num_images` expected to be from 0 to 2^63 - 1, but got {brief(self.num_images)}"
            )

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits of all that it is; notes and names of ranges left out."""
        return content_digest(*self._packed())

    @property
    def origin(self) -> dict[str, Any]:
        """Keyword arguments that another DNA of the same images has in common with this one."""
        return {"weights_digest": self.weights_digest, "preparation": self.preparation, "notes": self.notes}

    @abstractmethod
    def to(self, device: torch.device | str) -> Self:
        """The same DNA on a device."""

    def select(self, layers: Sequence[str] | None = None, neurons: Sequence[int] | Tensor | None = None) -> Self:
        """The DNA of some layers or flat neuron indices, in this DNA's order."""
        positions = self.neurons.positions(layers, neurons)
        return self._take(positions, self.neurons.take(positions))

    def restrict(self, neurons: Neurons) -> Self:
        """The DNA of an extractor's layers, in its order; ValueError if a layer is missing or has other neurons."""
        if neurons == self.neurons:
            return self
        try:
            return self._take(self.neurons.find(neurons), neurons)
        except ValueError as err:
            raise ValueError(f"{self!r} does not fit, {err}; give the extractor that made it") from err

    @abstractmethod
    def distances(self, other: Self) -> Tensor:
        """The distance of each neuron or layer, float64; ValueError if the two do not fit together."""

    def matches(self, other: DNA) -> bool:
        """Whether the two may be merged and compared."""
        return not differences(self._identity(), other._identity())

    def merge(self, *others: Self) -> Self:
        """The DNA of all images together.

        Raises:
            ValueError: If the DNAs do not fit together.

        """
        check_comparable(self, *others)
        return reduce(absorb, others, self._copied())

    def __add__(self, other: Self) -> Self:
        return self.merge(other) if isinstance(other, DNA) else NotImplemented

    def __radd__(self, other: Literal[0]) -> Self:
        return self if type(other) is int and other == 0 else NotImplemented  # where sum() starts

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it to one file, by custom ``*.dna.npz``; the format is described in docs/format.md.

        Raises:
            OSError: If it can't be written. A file that was there before stays as it was then.

        """
        dna, arrays = self._packed()
        write_container(path, dna, arrays, **self._remarks())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a file that :meth:`save` wrote.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is no such file, a damaged one, or one of another kind of DNA.

        """
        header, arrays = read_container(path)
        kind = header["dna"].get("kind")
        if kind != cls.kind:
            raise ValueError(
                f"{str(path)!r} holds a DNA of kind {brief(kind)}, expected {cls.kind!r}; load_dna reads any kind"
            )
        return cls.unpacked(path, header, arrays)

    @classmethod
    def unpacked(cls, path: str | os.PathLike[str], header: Mapping[str, Any], arrays: Arrays) -> Self:
        """The DNA that a container's header and arrays describe; ValueError that names the path if there is none."""
        dna = header["dna"]
        with refusing(path, "a DNA file"):
            neurons = Neurons.from_list(dna["layers"])
            common = {
                "neurons": neurons,
                "num_images": check_type("num_images", dna["num_images"], int),
                "extractor": check_type("extractor", dna["extractor"], str),
                "weights_digest": check_type("weights", dna["weights"], str, NoneType),
                "preparation": check_type("preparation", dna["preparation"], dict, NoneType),
                "notes": check_type("notes", header.get("notes", ""), str),
            }
            return cls._from_file(header, Joined(arrays, neurons), common)

    def _packed(self) -> tuple[dict[str, Any], Arrays]:
        """What the DNA is, in json's types, and its arrays by name."""
        dna = {
            "kind": self.kind,
            "extractor": self.extractor,
            "weights": self.weights_digest,
            "preparation": self.preparation,
            "layers": self.neurons.to_list(),
            "num_images": self.num_images,
        }
        more, arrays = self._to_file()
        return dna | more, arrays

    def _remarks(self) -> dict[str, Any]:
        return {"written_by": f"torchmetrics-dna {__version__}", "notes": self.notes}

    @abstractmethod
    def _take(self, positions: Tensor, neurons: Neurons) -> Self:
        """The DNA of ``neurons``, which are at flat indices ``positions``."""

    @abstractmethod
    def _to_file(self) -> tuple[dict[str, Any], Arrays]:
        """What this kind has beyond the rest."""

    @classmethod
    @abstractmethod
    def _from_file(cls, header: Mapping[str, Any], arrays: Joined, common: dict[str, Any]) -> Self:
        """The inverse."""

    @abstractmethod
    def _absorbed(self, other: Self) -> dict[str, Any]:
        """The fields that change when another DNA is added; what is large is changed in place."""

    def _copied(self) -> Self:
        """The same DNA, with its own copy of what :meth:`_absorbed` changes in place."""
        return self

    def _identity(self, **more: Any) -> dict[str, Any]:
        """What must be equal in DNAs that are merged or compared."""
        return identity(self.extractor, self.weights_digest, self.preparation, self.neurons, self.kind, **more)

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return self  # it is a value


class Joined:
    """Arrays of a container that lie in it layer by layer."""

    def __init__(self, arrays: Arrays, neurons: Neurons) -> None:
        self._arrays, self._neurons = arrays, neurons

    def parts(self, field: str) -> dict[str, np.ndarray[Any, Any]]:
        """One array for each layer."""
        return {layer: self._arrays[array_name(field, layer)] for layer in self._neurons}

    def flat(self, field: str) -> Tensor:
        """One number for each neuron, float64."""
        parts = self.parts(field)
        for layer, part in parts.items():
            if part.shape != (self._neurons[layer],) or part.dtype != np.float64:
                raise ValueError(f"{field} of layer {layer!r} is {part.dtype} of shape {part.shape}")
        return torch.from_numpy(np.concatenate(list(parts.values())))


def array_name(field: str, layer: str) -> str:
    """What an array of one layer is called in a container."""
    from urllib.parse import quote

    return f"{field}/{quote(layer, safe='')}"


def split_arrays(field: str, neurons: Neurons, values: Tensor) -> Arrays:
    """The arrays of a flat per-neuron tensor, layer by layer."""
    parts = neurons.split(values.cpu())
    return {array_name(field, layer): part.contiguous().numpy() for layer, part in parts.items()}


def check_comparable(first: DNA, *others: DNA) -> None:
    """ValueError, naming both, unless all DNAs are of one kind, extractor, neurons, bins and bounds."""
    check_same("These DNAs can't be merged or compared", *(dna._identity() for dna in (first, *others)))


def check_enough(a: DNA, b: DNA, distance: str, least: int = 2) -> None:
    """RuntimeError unless both DNAs are of at least one image, or of more than one."""
    if min(a.num_images, b.num_images) < least:
        raise TooFewImagesError(
            f"{'At least' if least == 1 else 'More than'} one image is required for both sides to compute {distance},"
            f" but got {a.num_images} and {b.num_images}"
        )


def absorb(one: _D, other: _D) -> _D:
    """The DNA of all images of both, in the memory of the first, which must not be used any more.

    Raises:
        ValueError: If the DNAs do not fit together.

    """
    check_comparable(one, other)
    notes = "\n".join(dict.fromkeys([*one.notes.splitlines(), *other.notes.splitlines()]))
    preparation = {**(other.preparation or {}), **(one.preparation or {})} or None
    digest = one.weights_digest or other.weights_digest
    return replace(one, **one._absorbed(other), notes=notes, weights_digest=digest, preparation=preparation)
