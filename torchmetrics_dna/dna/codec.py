"""Encode values for files, and decode them: a description, arrays and remarks."""

from __future__ import annotations

from reprlib import repr as brief
from types import NoneType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from typing_extensions import Self

from torchmetrics_dna.files.container import Arrays, read_container, write_container
from torchmetrics_dna.files.damage import check_type, refusing
from torchmetrics_dna.neurons.index import Neurons
from torchmetrics_dna.version import __version__

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray
    from torch import Tensor

Encoded = tuple[dict[str, Any], Arrays, dict[str, Any]]


class Stored:
    """Base class of values with a file format, about the neurons of an extractor."""

    kind: ClassVar[str]
    neurons: Neurons
    extractor: str
    weights_digest: str | None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the value to one file, in :doc:`this format </format>`.

        Name files of DNAs ``*.dna.npz``, and those of neuron weights ``*.weights.npz``. The path may be an address,
        such as ``s3://bucket/x.dna.npz``.

        Raises:
            OSError: If it can't be written; an existing file then stays as it was.

        """
        from torchmetrics_dna.images.addresses import writing

        described, arrays, remarks = self._encode_all()
        with writing(path) as local:
            write_container(local, described, arrays, written_by=f"torchmetrics-dna {__version__}", **remarks)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a file that :meth:`save` wrote.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file has another format or kind, or is damaged.

        """
        kinds = cls._kinds()
        header, arrays = read_container(path)
        kind = header["dna"].get("kind")
        if not isinstance(kind, str) or kind not in kinds:
            raise ValueError(
                f"{str(path)!r} holds {brief(kind)}, expected {' or '.join(map(repr, kinds))};"
                " load_dna reads a DNA of any kind"
            )
        with refusing(path, "a DNA file"):
            return kinds[kind]._decode(header, Joined(arrays, Neurons.from_list(header["dna"]["layers"])))

    @classmethod
    def _kinds(cls) -> dict[str, type[Self]]:
        """Return the classes that :meth:`load` accepts, by kind."""
        return {cls.kind: cls}

    def _encode(self) -> Encoded:
        """Return a JSON-serializable description, arrays by name, and remarks; subclasses add theirs."""
        described = {"kind": self.kind, "extractor": self.extractor, "weights": self.weights_digest}
        return described | {"layers": self.neurons.to_list()}, {}, {}

    def _encode_all(self) -> Encoded:
        """Encode the value with its folds, which :meth:`_encode` leaves out."""
        return self._encode()

    @classmethod
    def _decode(cls, header: dict[str, Any], arrays: Joined, **fields: Any) -> Self:
        """Invert :meth:`_encode_all`; ``fields`` are those that a subclass has decoded."""
        fields |= {
            "neurons": arrays.neurons,
            "extractor": check_type("extractor", header["dna"]["extractor"], str),
            "weights_digest": check_type("weights", header["dna"]["weights"], str, NoneType),
        }
        return cls(**fields)


class Joined:
    """Arrays of a container, stored layer by layer."""

    def __init__(self, arrays: Arrays, neurons: Neurons) -> None:
        self._arrays, self.neurons = arrays, neurons

    def of_fold(self, number: int) -> Joined:
        """Return the arrays of a fold; those it does not store are shared with the whole DNA."""
        prefix = f"folds/{number}/"
        own = {name.removeprefix(prefix): array for name, array in self._arrays.items() if name.startswith(prefix)}
        return Joined({**self._arrays, **own}, self.neurons)

    def of_neurons(self, neurons: Neurons) -> Joined:
        """Return the same arrays for other neurons of the same layers."""
        return Joined(self._arrays, neurons)

    def parts(self, field: str) -> dict[str, NDArray[Any]]:
        """Return the array of each layer."""
        return {layer: self._arrays[array_name(field, layer)] for layer in self.neurons}

    def single(self, name: str) -> NDArray[Any] | None:
        """Return an array that belongs to no layer; None if there is none of this name."""
        return self._arrays.get(name)

    def flat(self, field: str) -> Tensor:
        """Concatenate a field over layers: one number per neuron, float64."""
        import torch

        parts = self.parts(field)
        for layer, part in parts.items():
            if part.shape != (self.neurons[layer],) or part.dtype != np.float64:
                raise ValueError(f"{field} of layer {layer!r} is {part.dtype} of shape {part.shape}")
        return torch.from_numpy(np.concatenate(list(parts.values())))


def array_name(field: str, layer: str) -> str:
    """Return the name of a layer's array in a container."""
    from urllib.parse import quote

    return f"{field}/{quote(layer, safe='')}"


def split_arrays(field: str, neurons: Neurons, values: Tensor) -> Arrays:
    """Split a flat per-neuron tensor into one array per layer."""
    parts = neurons.split(values.cpu())
    return {array_name(field, layer): part.contiguous().numpy() for layer, part in parts.items()}
