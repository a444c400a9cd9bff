"""Encode values for files, and decode them: a description, arrays and remarks."""

from __future__ import annotations

import os
from base64 import b64decode
from collections.abc import Mapping
from functools import cached_property
from reprlib import repr as brief
from types import NoneType
from typing import Any, ClassVar, NamedTuple, Self
from urllib.parse import quote

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from torchmetrics_dna.dna.identity import check_model_named
from torchmetrics_dna.files.container import Arrays, below, content_digest, read_container, write_container
from torchmetrics_dna.files.damage import check_type, refusing
from torchmetrics_dna.images.paths import writing
from torchmetrics_dna.neurons.index import Neurons
from torchmetrics_dna.version import __version__

# Types of images in fingerprints.
_DTYPES_OF_IMAGES = ("uint8", "float16", "bfloat16", "float32", "float64")
# The sizes of inputs in fingerprints are below this number. Otherwise, a file could demand an input of any size.
_SIZE_LIMIT = 1 << 13
# Number of bytes of the four float32 numbers of a layer in a fingerprint.
_BYTES_PER_LAYER = 16
# Description in json types, arrays by name, and remarks. Remarks do not enter the digest.
Encoded = tuple[dict[str, Any], Arrays, dict[str, Any]]


class Stored:
    """Base class of immutable values with a file format. Each value is about the neurons of an extractor."""

    kind: ClassVar[str]
    neurons: Neurons
    extractor: str
    weights_digest: str | None
    # Fingerprints are compared within rounding, so they do not enter the digest.
    fingerprint: Mapping[str, Any] | None = None

    @property
    def origin(self) -> dict[str, Any]:
        """Extractor, and digest of its weights. For values of images, also their preparation and the fingerprint."""
        names = ("extractor", "weights_digest", "preparation", "fingerprint")
        return {name: getattr(self, name) for name in names if hasattr(self, name)}

    @cached_property
    def digest(self) -> str:
        """Digest of the content, 16 hexadecimal digits. It ignores notes, names of ranges, and folds."""
        described, arrays, _ = self._encode()
        return content_digest(described, arrays)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the value to one file, in :doc:`this format </format>`.

        Name files of DNAs ``*.dna.npz``, and files of neuron weights ``*.weights.npz``. The path may be an address,
        such as ``s3://bucket/x.dna.npz``.

        Raises:
            OSError: If the file can't be written. An existing file then stays as it was.
            ValueError: If the value was computed from embeddings, and their model is not named.

        """
        check_model_named(getattr(self, "extractor", ""))
        described, arrays, remarks = self._encode_all()
        with writing(path) as local:
            write_container(local, described, arrays, written_by=f"torchmetrics-dna {__version__}", **remarks)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a file that :meth:`save` wrote.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file has another format or representation, or is damaged.

        """
        representations = cls._representations()
        header, arrays = read_container(path, f"a file of {cls.__name__}")
        kind = header["dna"].get("kind")
        if not isinstance(kind, str) or kind not in representations:
            expected = " or ".join(map(repr, representations))
            raise ValueError(f"{str(path)!r} holds {brief(kind)}, expected {expected}")
        with refusing(path, "a DNA file"):
            layers = check_type("layers", header["dna"].get("layers"), list)
            if not layers:
                raise ValueError("its header lists no layers")
            return representations[kind]._decode(header, ByLayer(arrays, Neurons.from_list(layers)))

    @classmethod
    def _representations(cls) -> dict[str, type[Self]]:
        """Return the classes that :meth:`load` accepts, by ``kind``."""
        return {cls.kind: cls}

    def _encode(self) -> Encoded:
        """Return a JSON-serializable description, arrays by name, and remarks. Subclasses add their own."""
        origin = self.origin
        described = {"kind": self.kind, "extractor": origin["extractor"], "weights": origin["weights_digest"]}
        if "preparation" in origin:
            described["preparation"] = origin["preparation"]
        described["layers"] = self.neurons.to_list()
        fingerprint = origin.get("fingerprint")
        remarks = {"fingerprint": dict(fingerprint)} if fingerprint else {}
        return described, {}, remarks

    def _encode_all(self) -> Encoded:
        """Encode the value with its folds. :meth:`_encode` leaves folds out."""
        return self._encode()

    @classmethod
    def _decode(cls, header: dict[str, Any], arrays: ByLayer, **fields: Any) -> Self:
        """Build the value that :meth:`_encode_all` encoded.

        Args:
            header: Header of the file.
            arrays: Arrays of the file.
            fields: Fields that a subclass has decoded.

        """
        described = header["dna"]
        fields["neurons"] = arrays.neurons
        fields["extractor"] = check_type("extractor", described["extractor"], str)
        fields["weights_digest"] = check_type("weights", described["weights"], str, NoneType)
        if "preparation" in described:
            fields["preparation"] = check_type("preparation", described["preparation"], dict, NoneType)
        if "fingerprint" in header:
            fields["fingerprint"] = _checked_fingerprint(header["fingerprint"])
        return cls(**fields)

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return self


def _checked_fingerprint(content: Any) -> dict[str, Any]:
    """Return the fingerprint of a file; ValueError if it can't be compared, or its input would take much memory."""
    fingerprint: dict[str, Any] = check_type("fingerprint", content, dict)
    form = check_type("input", fingerprint.get("input"), list)
    if not _is_form_of_image(form) and not _is_form_of_digest(form):
        raise ValueError(f"its fingerprint is of {brief(form)}, expected a dtype, height and width, or a digest")
    check_type("tolerance", fingerprint.get("tolerance"), float)
    layers = check_type("layers", fingerprint.get("layers"), dict)
    for layer, numbers in layers.items():
        check_type("numbers", numbers, str)
        if len(b64decode(numbers, validate=True)) != _BYTES_PER_LAYER:
            raise ValueError(f"its fingerprint of layer {layer!r} is {brief(numbers)}")
    return fingerprint


def _is_form_of_image(form: list[Any]) -> bool:
    """Return True if the input of a fingerprint is an image: a dtype, a height and a width."""
    if len(form) != 3 or form[0] not in _DTYPES_OF_IMAGES:
        return False
    return all(_is_size(number) and number > 0 for number in form[1:])


def _is_form_of_digest(form: list[Any]) -> bool:
    """Return True if the input of a fingerprint is described by a digest, perhaps with a number."""
    if len(form) not in (1, 2) or not isinstance(form[0], str):
        return False
    return all(_is_size(number) for number in form[1:])


def _is_size(number: Any) -> bool:
    """Return True for an integer from 0 to ``_SIZE_LIMIT - 1``. True and False do not count as integers."""
    return isinstance(number, int) and not isinstance(number, bool) and 0 <= number < _SIZE_LIMIT


class ByLayer(NamedTuple):
    """Arrays of a container, in which each layer has its own arrays.

    Attributes:
        arrays: All arrays by name.
        neurons: The layers and their numbers of neurons.

    """

    arrays: Arrays
    neurons: Neurons

    def of_fold(self, number: int) -> ByLayer:
        """Return the arrays of a fold. Arrays that the fold does not store are those of the whole DNA."""
        arrays_of_fold = below(self.arrays, f"folds/{number}/")
        return ByLayer({**self.arrays, **arrays_of_fold}, self.neurons)

    def field_of_layers(self, field: str) -> dict[str, NDArray[Any]]:
        """Return the array of a field for each layer."""
        return {layer: self.arrays[array_name(field, layer)] for layer in self.neurons}

    def flat(self, field: str) -> Tensor:
        """Return a field with one number per neuron, over all layers, float64, ``(N,)``."""
        array_of_layer = self.field_of_layers(field)
        for layer, array in array_of_layer.items():
            if array.shape != (self.neurons[layer],) or array.dtype != np.float64:
                raise ValueError(f"{field} of layer {layer!r} is {array.dtype} of shape {array.shape}")
        return torch.from_numpy(np.concatenate(list(array_of_layer.values())))


def array_name(field: str, layer: str) -> str:
    """Return the name of a layer's array in a container."""
    return f"{field}/{quote(layer, safe='')}"


def split_arrays(field: str, neurons: Neurons, values: Tensor) -> Arrays:
    """Split a tensor with one value per neuron into one array per layer."""
    arrays = {}
    for layer, values_of_layer in neurons.split(values.cpu()).items():
        arrays[array_name(field, layer)] = values_of_layer.contiguous().numpy()
    return arrays


def to_planes(counts: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Split counts ``(n, num_bins)`` into planes of bytes ``(bytes, n, num_bins)``, the least significant plane first.

    There are only as many planes as the largest count needs. Bytes of equal significance compress better and faster
    together.
    """
    values = np.ascontiguousarray(counts, "<i8")
    largest = int(values.max(initial=0))
    # Round up to whole bytes.
    num_planes = max(1, (largest.bit_length() + 7) // 8)
    all_bytes = values.view(np.uint8).reshape(*values.shape, 8)
    planes = all_bytes[..., :num_planes].transpose(2, 0, 1)
    return np.ascontiguousarray(planes)


def check_planes(planes: NDArray[Any], shape: tuple[int, int], num_values: int) -> None:
    """Raise ValueError unless the planes have this shape, and the counts of each neuron add up to ``num_values``."""
    if planes.ndim != 3 or planes.shape[1:] != shape or planes.dtype != np.uint8 or not 1 <= len(planes) <= 8:
        raise ValueError(f"its counts are {planes.dtype} of shape {planes.shape}, expected uint8, up to 8 of {shape}")
    # The highest bit of the eighth plane would be the sign of an int64.
    if len(planes) == 8 and planes[7].max(initial=0) > 127:
        raise ValueError("its counts are larger than 2^63 - 1")
    sums = np.zeros(shape[0], np.int64)
    for significance, plane in enumerate(planes):
        sums += plane.sum(1, dtype=np.int64) << (8 * significance)
    if np.any(sums != num_values):
        raise ValueError(f"its counts of a layer do not add up to {num_values} values")
