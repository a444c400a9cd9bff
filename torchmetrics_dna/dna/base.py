"""Base class of all representations of DNA."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from inspect import isabstract
from reprlib import repr as brief
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeVar

import numpy as np
from torch import Tensor
from typing_extensions import override

from torchmetrics_dna.dna.codec import ByLayer, Encoded, Stored
from torchmetrics_dna.dna.identity import Identity, check_same
from torchmetrics_dna.files.damage import check_type
from torchmetrics_dna.files.tables import Table, as_html
from torchmetrics_dna.files.visible import images_in_words
from torchmetrics_dna.functional.features import TooFewImagesError as TooFewImagesError
from torchmetrics_dna.functional.features import too_few
from torchmetrics_dna.images.noun import noun_of
from torchmetrics_dna.options import written
from torchmetrics_dna.warning import warn

if TYPE_CHECKING:
    import torch

    from torchmetrics_dna.neurons.index import Neurons

_D = TypeVar("_D", bound="DNA")


class _Counted:
    """Declaration of ``num_images``. It is no dataclass field, so that each representation chooses its position."""

    num_images: int


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class DNA(_Counted, Stored, ABC):
    """Per-neuron statistics of an image or a set of images.

    Args:
        weights_digest: Digest of the extractor's weights; None if unknown.
        preparation: Image preprocessing: resize, input size, crop, mean, std. Values may be missing; None if unknown.
        fingerprint: Fingerprint of a user's module, see :meth:`DNAExtractor.take_fingerprint`; None if unknown.
        notes: Free text, which is kept in files.
        folds: DNAs of disjoint folds of the images, for tests and intervals; empty without folds.

    """

    #: Name of the distance that :meth:`distances` computes.
    distance_name: ClassVar[str]
    #: Smallest number of images for this distance.
    least_images: ClassVar[int]

    weights_digest: str | None = None
    preparation: Mapping[str, Any] | None = None
    fingerprint: Mapping[str, Any] | None = None
    notes: str = ""
    folds: tuple[DNA, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.num_images < 2**63:
            raise ValueError(
                f"Argument `num_images` expected to be from 0 to 2^63 - 1, but got {brief(self.num_images)}"
            )
        if not self.folds:
            return
        are_same_images = sum(fold.num_images for fold in self.folds) == self.num_images
        are_same_neurons = all(fold.neurons == self.neurons for fold in self.folds)
        are_same_extractor = all(fold.extractor == self.extractor for fold in self.folds)
        if not are_same_images or not are_same_neurons or not are_same_extractor:
            raise ValueError(
                f"Argument `folds` expected to share out {self.num_images} images of {self.neurons!r}, but got"
                f" {brief(self.folds)}"
            )

    @property
    def has_unknown_size(self) -> bool:
        """True if the number of images is unknown. ``num_images`` is then 0."""
        return False

    @property
    def device(self) -> torch.device:
        """Device of the tensors."""
        return next(value.device for value in vars(self).values() if isinstance(value, Tensor))

    def to(self, device: torch.device | str) -> Self:
        """Return a copy of this DNA on a device."""
        values = {field.name: _moved(getattr(self, field.name), device) for field in fields(self)}
        return replace(self, **values)

    def select(
        self, layers: Sequence[str] | None = None, neurons: Neurons | Sequence[int] | Tensor | None = None
    ) -> Self:
        """Select layers or neurons. The neurons keep their order in this DNA.

        Args:
            layers: Names of layers.
            neurons: Neurons, or flat indices of neurons.

        """
        positions = self.neurons.positions(layers, neurons)
        return self._take_all(positions, self.neurons.take(positions))

    def restrict(self, neurons: Neurons) -> Self:
        """Select the neurons of an extractor, in the order of the extractor.

        Raises:
            ValueError: If a layer is missing or has different neurons.

        """
        if neurons == self.neurons:
            return self
        try:
            return self._take_all(self.neurons.find(neurons), neurons)
        except ValueError as err:
            remedy = "pass the extractor that made it"
            if "properties" in neurons and "properties" not in self.neurons:
                remedy = f"omit {written('properties')}, or make it with these"
            raise ValueError(f"{self!r} does not fit, {err}; {remedy}") from err

    def distances(self, other: Self) -> Tensor:
        """Compute the distances to another DNA of the same representation, float64.

        - :class:`HistogramDNA`: the Earth Mover's Distance of each neuron, ``(N,)``, in bins. Between self-ranging
          DNAs, the unit is the bin that this DNA would have with fixed bounds: its range with the usual margin.
        - :class:`GaussianDNA`: the Fréchet distance of each neuron, ``(N,)``, in squared activations.
        - :class:`LayerGaussianDNA`: the multivariate Fréchet distance (fd) of each layer, ``(layers,)``, in squared
          activations.

        Raises:
            ValueError: If representation, extractor, neurons, bins or bounds differ, or if a neuron has no counts.
            RuntimeError: If a DNA has too few images: none for histograms, fewer than two for a Fréchet distance.

        """
        check_comparable(self, other)
        check_enough(self, other, self.distance_name, self.least_images)
        return self._distances(other)

    @abstractmethod
    def _distances(self, other: Self) -> Tensor:
        """Compute the distances to a DNA, which was checked to be comparable and to have enough images."""

    def merge(self, *others: Self) -> Self:
        """Merge DNAs of disjoint sets of images.

        Raises:
            ValueError: If the DNAs are not comparable.

        """
        return merged((self, *others))

    def __add__(self, other: Self) -> Self:
        return self.merge(other) if isinstance(other, DNA) else NotImplemented

    def __radd__(self, other: Literal[0]) -> Self:
        # `sum` of DNAs starts with 0.
        return self if type(other) is int and other == 0 else NotImplemented

    @abstractmethod
    def _take(self, positions: Tensor, neurons: Neurons) -> Self:
        """Select neurons of a DNA without folds.

        Args:
            positions: Flat indices of the neurons in this DNA.
            neurons: The selected neurons.

        """

    def _take_all(self, positions: Tensor, neurons: Neurons) -> Self:
        """Select neurons of a DNA and of its folds; the arguments are those of :meth:`_take`."""
        selected = replace(self, folds=())._take(positions, neurons)
        folds = tuple(fold._take(positions, neurons) for fold in self.folds)
        return replace(selected, folds=folds)

    @classmethod
    @override
    def _representations(cls) -> dict[str, type[Self]]:
        # Subclasses are known after their modules are imported. The module of HistogramDNA imports the other modules.
        import torchmetrics_dna.dna.histogram  # noqa: F401

        classes = cls.__subclasses__() if isabstract(cls) else [cls]
        return {representation.kind: representation for representation in classes}

    @override
    def _encode(self) -> Encoded:
        described, arrays, remarks = super()._encode()
        return {**described, "num_images": self.num_images}, arrays, {"notes": self.notes, **remarks}

    @override
    def _encode_all(self) -> Encoded:
        described, arrays_of_whole, remarks = self._encode()
        if not self.folds:
            return described, arrays_of_whole, remarks
        # Only items and arrays in which a fold differs from the whole DNA are stored. Ranges, for instance, are often
        # the same.
        described_folds = []
        arrays = dict(arrays_of_whole)
        for number, fold in enumerate(self.folds):
            described_fold, arrays_of_fold, _ = fold._encode()
            own_items = {key: value for key, value in described_fold.items() if described.get(key) != value}
            described_folds.append(own_items)
            for name, array in arrays_of_fold.items():
                is_shared = name in arrays_of_whole and np.array_equal(array, arrays_of_whole[name])
                if not is_shared:
                    arrays[f"folds/{number}/{name}"] = array
        return {**described, "folds": described_folds}, arrays, remarks

    @classmethod
    @override
    def _decode(cls, header: dict[str, Any], arrays: ByLayer, **fields: Any) -> Self:
        described = header["dna"]
        folds = []
        for number, described_fold in enumerate(check_type("folds", described.get("folds", []), list)):
            # A fold stores only the items in which it differs from the whole DNA.
            all_items = {**described, **check_type("fold", described_fold, dict), "folds": []}
            header_of_fold = {**header, "notes": "", "dna": all_items}
            representation = DNA._representations()[all_items["kind"]]
            folds.append(representation._decode(header_of_fold, arrays.of_fold(number)))
        fields["num_images"] = check_type("num_images", described["num_images"], int)
        fields["notes"] = check_type("notes", header.get("notes", ""), str)
        fields["folds"] = tuple(folds)
        return super()._decode(header, arrays, **fields)

    @abstractmethod
    def _absorb(self, other: Self) -> dict[str, Any]:
        """Add another DNA, and return the fields that change. Large tensors are updated in place."""

    def _copy(self) -> Self:
        """Return a copy whose tensors :meth:`_absorb` may update in place."""
        return self

    @property
    def identity(self) -> Identity:
        """Properties that must be equal in DNAs that are merged or compared."""
        return Identity.of(**self.origin, neurons=self.neurons, kind=self.kind, **self._own_settings)

    @property
    def _own_settings(self) -> dict[str, Any]:
        """Settings of the identity that only this representation has."""
        return {}

    def _repr_html_(self) -> str:
        return as_html([repr(self)], [Table(["layer", "neurons"], list(self.neurons.items()))])

    def __repr__(self) -> str:
        size = "unknown size" if self.has_unknown_size else images_in_words(self.num_images, noun_of(self))
        return f"{type(self).__name__}({size}, {self.extractor!r}, {self.neurons!r})"


def _moved(value: Any, device: torch.device | str) -> Any:
    """Move the value of a field of a DNA to a device."""
    if isinstance(value, (Tensor, DNA)):
        return value.to(device)
    if isinstance(value, dict):
        return {key: _moved(item, device) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(_moved(item, device) for item in value)
    return value


def check_comparable(first: DNA, *others: DNA) -> None:
    """Raise ValueError unless all DNAs share representation, extractor, neurons, bins and bounds."""
    identities = [dna.identity for dna in (first, *others)]
    remedy = "; make both by the same call"
    check_same("These DNAs can't be merged or compared", *identities, remedy=remedy)


def check_enough(a: DNA, b: DNA, distance: str, least: int) -> None:
    """Raise TooFewImagesError unless both DNAs have at least ``least`` images."""
    if any(dna.num_images < least and not dna.has_unknown_size for dna in (a, b)):
        raise too_few(distance, least, (a.num_images, b.num_images))


def merged(dnas: Iterable[_D]) -> _D:
    """Merge comparable DNAs into a new DNA. If ``dnas`` is an iterator, at most two DNAs are in memory at a time."""
    remaining = iter(dnas)
    first = next(remaining)
    total = replace(first, folds=())._copy()
    folds = [fold._copy() for fold in first.folds]
    # Free the first DNA before the iterator makes the next one.
    del first
    for dna in remaining:
        check_comparable(total, dna)
        folds = _merged_folds(total, folds, dna)
        lines_of_notes = [*total.notes.splitlines(), *dna.notes.splitlines()]
        preparation = {**(dna.preparation or {}), **(total.preparation or {})}
        total = replace(
            _added(total, dna),
            # A dictionary keeps each line once, in order.
            notes="\n".join(dict.fromkeys(lines_of_notes)),
            weights_digest=total.weights_digest or dna.weights_digest,
            fingerprint=total.fingerprint or dna.fingerprint,
            preparation=preparation or None,
        )
        # Free the DNA before the iterator makes the next one.
        del dna
    return replace(total, folds=tuple(folds))


def _merged_folds(total: DNA, folds: list[DNA], dna: DNA) -> list[DNA]:
    """Add the folds of a DNA to the folds of the total, and return them; an empty list if their numbers differ.

    A total or a DNA without images may have another number of folds: the folds of the other one are returned.

    Args:
        total: The merged DNA.
        folds: Folds of the merged DNA, whose tensors may change.
        dna: DNA that is added.

    """
    if len(folds) == len(dna.folds):
        return [_added(fold, added) for fold, added in zip(folds, dna.folds, strict=True)]
    if _is_empty(total):
        return [fold.to(total.device)._copy() for fold in dna.folds]
    if not _is_empty(dna):
        warn("Not all DNAs have as many folds, so the merged one has none")
        return []
    return folds


def _added(total: _D, dna: _D) -> _D:
    """Add a DNA to a total without folds, whose tensors may change.

    If one of the DNAs has no images, the sum has exactly the values of the other DNA.
    """
    if _is_empty(dna):
        return total
    if _is_empty(total):
        return replace(dna.to(total.device), folds=())._copy()
    return replace(total, **total._absorb(dna))


def _is_empty(dna: DNA) -> bool:
    """Return True if a DNA has no images."""
    return not dna.num_images and not dna.has_unknown_size
