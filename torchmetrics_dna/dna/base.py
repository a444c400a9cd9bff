"""Base class of all kinds of DNA: origin, file, merging and comparability."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import cached_property
from inspect import isabstract
from reprlib import repr as brief
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
from typing_extensions import Self, override

from torchmetrics_dna.dna.codec import Encoded, Joined, Stored
from torchmetrics_dna.dna.identity import check_same, differences, identity
from torchmetrics_dna.files.container import content_digest
from torchmetrics_dna.files.damage import check_type
from torchmetrics_dna.files.visible import images_in_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import torch
    from torch import Tensor

    from torchmetrics_dna.neurons.index import Neurons

_D = TypeVar("_D", bound="DNA")


class TooFewImagesError(RuntimeError):
    """A side holds too few images for the distance that was asked for."""


class _Counted:
    """A field of every DNA; no dataclass, so that each kind puts it where it reads well."""

    num_images: int


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class DNA(_Counted, Stored, ABC):
    """The per-neuron statistics of an image or a set of images.

    Args:
        weights_digest: Digest of the extractor's weights; None if unknown.
        preparation: How images were prepared for the extractor: resize, input size, crop, mean, std; as far as known.
        notes: Whatever a user wants to say about it; kept in files.
        folds: The DNAs of disjoint folds of the images, from which a test and an interval follow; or none.

    """

    weights_digest: str | None = None
    preparation: Mapping[str, Any] | None = None
    notes: str = ""
    folds: tuple[DNA, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.num_images < 2**63:
            raise ValueError(
                f"Argument `num_images` expected to be from 0 to 2^63 - 1, but got {brief(self.num_images)}"
            )
        if self.folds and (
            sum(fold.num_images for fold in self.folds) != self.num_images
            or any(fold.neurons != self.neurons or fold.extractor != self.extractor for fold in self.folds)
        ):
            raise ValueError(
                f"Argument `folds` expected to share out {self.num_images} images of {self.neurons!r}, but got"
                f" {brief(self.folds)}"
            )

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits of all that it is; notes, names of ranges and folds left out."""
        return content_digest(*self._encode()[:2])

    @property
    def of_unknown_images(self) -> bool:
        """True if the number of images is not known, and ``num_images`` is 0."""
        return False

    @property
    def origin(self) -> dict[str, Any]:
        """Keyword arguments that another DNA of the same images has in common with this one."""
        return {"weights_digest": self.weights_digest, "preparation": self.preparation, "notes": self.notes}

    def to(self, device: torch.device | str) -> Self:
        """The same DNA on a device."""
        return replace(self._moved(device), folds=tuple(fold._moved(device) for fold in self.folds))

    @abstractmethod
    def _moved(self, device: torch.device | str) -> Self:
        """The same DNA on a device, but for its folds."""

    def select(self, layers: Sequence[str] | None = None, neurons: Sequence[int] | Tensor | None = None) -> Self:
        """The DNA of some layers or flat neuron indices, in this DNA's order."""
        positions = self.neurons.positions(layers, neurons)
        return self._take_all(positions, self.neurons.take(positions))

    def restrict(self, neurons: Neurons) -> Self:
        """The DNA of an extractor's layers, in its order; ValueError if a layer is missing or has other neurons."""
        if neurons == self.neurons:
            return self
        try:
            return self._take_all(self.neurons.find(neurons), neurons)
        except ValueError as err:
            raise ValueError(f"{self!r} does not fit, {err}; give the extractor that made it") from err

    @abstractmethod
    def distances(self, other: Self) -> Tensor:
        """The distance of each neuron or layer, float64; ValueError if the two do not fit together."""

    def matches(self, other: DNA) -> bool:
        """True if the two may be merged and compared."""
        return not differences(self._identity(), other._identity())

    def merge(self, *others: Self) -> Self:
        """The DNA of all images together.

        Raises:
            ValueError: If the DNAs do not fit together.

        """
        return merged((self, *others))

    def __add__(self, other: Self) -> Self:
        return self.merge(other) if isinstance(other, DNA) else NotImplemented

    def __radd__(self, other: Literal[0]) -> Self:
        return self if type(other) is int and other == 0 else NotImplemented  # where sum() starts

    @abstractmethod
    def _take(self, positions: Tensor, neurons: Neurons) -> Self:
        """The DNA of ``neurons``, which are at flat indices ``positions``; of one that has no folds."""

    def _take_all(self, positions: Tensor, neurons: Neurons) -> Self:
        taken = replace(self, folds=())._take(positions, neurons)
        return replace(taken, folds=tuple(fold._take(positions, neurons) for fold in self.folds))

    @classmethod
    @override
    def _kinds(cls) -> dict[str, type[Self]]:
        return {each.kind: each for each in (cls.__subclasses__() if isabstract(cls) else [cls])}

    @override
    def _encode(self) -> Encoded:
        described, arrays, remarks = super()._encode()
        layers = described.pop("layers")  # the order of keys is part of the bytes of a file
        described |= {"preparation": self.preparation, "layers": layers, "num_images": self.num_images}
        return described, arrays, remarks | {"notes": self.notes}

    @override
    def _encode_all(self) -> Encoded:
        described, arrays, remarks = self._encode()
        if self.folds:
            described = {**described, "folds": []}
        for number, fold in enumerate(self.folds):
            own, inner, _ = fold._encode()
            described["folds"].append({key: value for key, value in own.items() if described.get(key) != value})
            # ranges that are given are those of the whole
            shared = {name for name in inner if name in arrays and np.array_equal(inner[name], arrays[name])}
            arrays = arrays | {f"folds/{number}/{name}": inner[name] for name in inner if name not in shared}
        return described, arrays, remarks

    @classmethod
    @override
    def _decode(cls, header: dict[str, Any], arrays: Joined, **fields: Any) -> Self:
        fields |= {
            "num_images": check_type("num_images", header["dna"]["num_images"], int),
            "preparation": check_type("preparation", header["dna"]["preparation"], dict, NoneType),
            "notes": check_type("notes", header.get("notes", ""), str),
        }
        described = check_type("folds", header["dna"].get("folds", []), list)
        kinds = DNA._kinds()
        folds = []
        for number, own in enumerate(described):
            of_fold = {**header["dna"], **check_type("fold", own, dict), "folds": []}
            inner = {**header, "notes": "", "dna": of_fold}
            folds.append(kinds[of_fold["kind"]]._decode(inner, arrays.of_fold(number)))
        return super()._decode(header, arrays, folds=tuple(folds), **fields)

    @abstractmethod
    def _absorb(self, other: Self) -> dict[str, Any]:
        """The fields that change when another DNA is added; what is large is changed in place."""

    def _copy(self) -> Self:
        """The same DNA without folds, with a copy of what :meth:`_absorb` changes in place."""
        return self

    def _identity(self, **more: Any) -> dict[str, Any]:
        """All that must be equal in DNAs that are merged or compared."""
        return identity(self.extractor, self.weights_digest, self.preparation, self.neurons, self.kind, **more)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({images_in_words(self.num_images)}, {self.extractor!r}, {self.neurons!r})"

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return self  # it is a value


def check_comparable(first: DNA, *others: DNA) -> None:
    """ValueError, naming both, unless all DNAs are of one kind, extractor, neurons, bins and bounds."""
    check_same("These DNAs can't be merged or compared", *(dna._identity() for dna in (first, *others)))


def check_enough(a: DNA, b: DNA, distance: str, least: int = 2) -> None:
    """RuntimeError unless both DNAs are of at least ``least`` images, 1 or 2."""
    if any(dna.num_images < least and not dna.of_unknown_images for dna in (a, b)):
        raise TooFewImagesError(
            f"{'At least' if least == 1 else 'More than'} one image is required for both sides to compute {distance},"
            f" but got {a.num_images} and {b.num_images}"
        )


def merged(dnas: Iterable[_D]) -> _D:
    """The DNA of all images, a new one; if an iterator makes them, two are in memory at a time.

    Raises:
        ValueError: If the DNAs do not fit together.

    """
    left = iter(dnas)
    first = next(left)
    total, folds = replace(first, folds=())._copy(), [fold._copy() for fold in first.folds]
    del first
    for dna in left:
        check_comparable(total, dna)
        if len(folds) != len(dna.folds):
            warnings.warn("Not all DNAs have as many folds, so the merged one has none", stacklevel=2)
            folds = []
        folds = [
            replace(fold, **fold._absorb(other)) for fold, other in zip(folds, dna.folds[: len(folds)], strict=True)
        ]
        total = replace(
            total,
            **total._absorb(dna),
            notes="\n".join(dict.fromkeys([*total.notes.splitlines(), *dna.notes.splitlines()])),
            weights_digest=total.weights_digest or dna.weights_digest,
            preparation={**(dna.preparation or {}), **(total.preparation or {})} or None,
        )
        del dna  # before the next is made
    return replace(total, folds=tuple(folds))
