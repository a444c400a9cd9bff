"""Save results and load them: plain values as json, tensors and DNAs as arrays, in the container format of DNAs."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from importlib import import_module
from math import isfinite
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from torchmetrics_dna.dna import DNA
from torchmetrics_dna.dna.codec import ByLayer, Stored
from torchmetrics_dna.dna.distances import DISTANCES, Distance
from torchmetrics_dna.extras import require
from torchmetrics_dna.files.container import Arrays, below, read_container, write_container
from torchmetrics_dna.files.damage import parse_json, refusing
from torchmetrics_dna.neurons.index import Neurons
from torchmetrics_dna.version import __version__

_KIND = "result"
# Name of the array that has the json of a result as bytes.
_TEXT = "values"
# Type of the array in a file for each dtype of tensors.
_STORED = {"bool": "|u1", "uint8": "|u1", "int64": "<f8", "float32": "<f8", "float64": "<f8"}
_DTYPES = {name: getattr(torch, name) for name in _STORED}
# float64 represents all integers up to this number exactly.
_MOST_INTEGER = 2**53
# Module of each class of results. It is imported when a file is read.
_HOMES = {
    "Averaging": "dna.averaging",
    "Causes": "images.changes",
    "ClassComparisons": "comparisons.classes",
    "Comparison": "comparisons.two_sets",
    "Comparisons": "comparisons.several_sets",
    "DistanceMatrix": "comparisons.distance_matrix",
    "Evidence": "dna.evidence",
    "FartherTest": "dna.evidence",
    "Interval": "dna.evidence",
    "Jackknife": "dna.evidence",
    "Measured": "jobs.measure",
    "Nearest": "singles.nearest",
    "Outliers": "comparisons.outliers",
    "OutlierSets": "comparisons.outlier_sets",
    "PermutationTest": "functional.permutation",
    "PixelDifferences": "images.pixel_differences",
    "Ranking": "singles.ranking",
    "Result": "dna.result",
    "Versions": "comparisons.versions",
}
# Current names of classes and fields that have other names in files of version 0.3.
_EARLIER_CLASSES = {"OddImages": "Outliers", "OddSets": "OutlierSets"}
_EARLIER_FIELDS = {"further": "farther", "lacks": "why_untested", "odd": "outliers"}


class Saved:
    """Base class of results that can be saved. They are dataclasses of plain values, tensors, DNAs and results."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the result to one file, without images. Name the file ``*.result.npz``.

        Verdicts, tables, plots and reports can later be made from the file. Equal results of the same release give
        equal bytes.

        Raises:
            OSError: If the file can't be written. An existing file then stays as it was.

        """
        encoder = _Encoder()
        text = json.dumps(encoder.encode(self), allow_nan=False)
        arrays = {_TEXT: np.frombuffer(text.encode(), np.uint8), **encoder.arrays}
        write_container(path, {"kind": _KIND}, arrays, written_by=f"torchmetrics-dna {__version__}")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a file that :meth:`save` wrote.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file is damaged, was written by another version, or holds another class.

        """
        header, arrays = read_container(path, "a result, as its `save` writes it")
        if header["dna"].get("kind") != _KIND:
            raise ValueError(f"{str(path)!r} holds no result; load_dna reads DNA files")
        with refusing(path, f"a result of torchmetrics-dna {__version__}, written by {header.get('written_by')}"):
            value = _Decoder(arrays).decode(parse_json(arrays[_TEXT].tobytes(), dict))
        if not isinstance(value, cls):
            raise ValueError(f"{str(path)!r} holds a {type(value).__name__}, expected a {cls.__name__}")
        return value

    def to_dataframe(self) -> Any:
        """Return ``rows()`` as a pandas data frame.

        Raises:
            ModuleNotFoundError: If pandas is missing.

        """
        return require("pandas", "pandas").DataFrame(self.rows())  # type: ignore[attr-defined]


def _registered(name: str, is_published: bool) -> Distance | None:
    """Return the registered distance of this name, or the published metric of this name; None if there is none."""
    record = DISTANCES.get(name)
    if record is None or not is_published:
        return record
    return record.as_published


class _Encoder:
    """Encoder of values as json, and of tensors and DNAs as ``arrays``.

    None, truth values, integers, texts, finite floats and lists stay as they are. Any other value becomes a dictionary
    with one key, the name of its type. An object that several values share is written once. Later references to the
    object are its number. An object gets its number after the objects that it contains.

    Attributes:
        arrays: Arrays that were encoded, by name.

    """

    def __init__(self) -> None:
        self.arrays: Arrays = {}
        # Number and value of each encoded object, by its id. The value is kept alive, since ids of freed objects are
        # reused.
        self._seen: dict[int, tuple[int, Any]] = {}

    def encode(self, value: Any) -> Any:
        """Return a value in json types."""
        if value is None or isinstance(value, (bool, int, str)):
            return value
        if isinstance(value, float):
            if not isfinite(value):
                return {"float": repr(value)}
            return value
        if isinstance(value, list):
            return [self.encode(item) for item in value]
        if isinstance(value, tuple):
            return {"tuple": [self.encode(item) for item in value]}
        # Neurons and some results are mappings, too, but they are encoded as objects.
        is_object = isinstance(value, Neurons) or is_dataclass(value)
        if isinstance(value, Mapping) and not is_object:
            return {"dict": [[self.encode(key), self.encode(item)] for key, item in value.items()]}
        return self._encode_object(value)

    def _encode_object(self, value: Any) -> dict[str, Any]:
        """Return the entry of an object, or its number if the object was encoded before."""
        if id(value) in self._seen:
            number, _ = self._seen[id(value)]
            return {"again": number}
        entry = self._entry(value)
        number = len(self._seen)
        self._seen[id(value)] = (number, value)
        return entry

    def _entry(self, value: Any) -> dict[str, Any]:
        """Return the entry of an object that was not encoded before: a dictionary of its tag and its content."""
        if isinstance(value, Tensor):
            return {"tensor": self._encode_tensor(value)}
        if isinstance(value, Neurons):
            return {"neurons": value.to_list()}
        if isinstance(value, Distance):
            return {"distance": [value.name, value.protocol is not None, *self._changed(value)]}
        if isinstance(value, Stored):
            described, arrays, remarks = value._encode_all()
            place = self._next_place()
            self.arrays |= {f"{place}/{name}": array for name, array in arrays.items()}
            return {"stored": [described, remarks, place]}
        class_name = type(value).__name__
        if class_name not in _HOMES:
            raise TypeError(f"A result with a {class_name} can't be saved")
        unsaved = getattr(value, "UNSAVED", ())
        names = [field.name for field in fields(value) if field.name not in unsaved]
        return {class_name: {name: self.encode(getattr(value, name)) for name in names}}

    def _encode_tensor(self, tensor: Tensor) -> list[str]:
        """Add the array of a tensor to ``arrays``. Return the dtype of the tensor and the name of the array."""
        dtype = str(tensor.dtype).removeprefix("torch.")
        if dtype not in _STORED or (dtype == "int64" and (tensor.abs() > _MOST_INTEGER).any()):
            raise TypeError(f"A result with a tensor of {dtype}, or of integers beyond 2^53, can't be saved")
        place = self._next_place()
        self.arrays[place] = np.ascontiguousarray(tensor.cpu().numpy().astype(_STORED[dtype]))
        return [dtype, place]

    def _next_place(self) -> str:
        """Return an unused name for an array, or for the folder of the arrays of a DNA."""
        return str(len(self.arrays))

    def _changed(self, record: Distance) -> list[Any]:
        """Return the fields in which a distance differs from the registered distance of the same name.

        They are one dictionary in a list. The list is empty if no field differs.
        """
        message = f"A result of {record.name} by functions that no registered distance has can't be saved"
        registered = _registered(record.name, record.protocol is not None)
        if registered is None:
            raise TypeError(message)
        changed = {}
        for field in fields(record):
            value = getattr(record, field.name)
            if value == getattr(registered, field.name):
                continue
            if not isinstance(value, (bool, int, str)):
                raise TypeError(message)
            changed[field.name] = value
        return [self.encode(changed)] if changed else []


class _Decoder:
    """Decoder of values that :class:`_Encoder` encoded. Any exception means that the file is damaged."""

    def __init__(self, arrays: Arrays) -> None:
        self._arrays = arrays
        # Objects in the order in which they were encoded.
        self._objects: list[Any] = []

    def decode(self, value: Any) -> Any:
        """Return the value that was encoded in these json types."""
        if isinstance(value, list):
            return [self.decode(item) for item in value]
        if not isinstance(value, dict):
            return value
        ((tag, content),) = value.items()
        if tag == "float":
            return float(content)
        if tag == "tuple":
            return tuple(self.decode(item) for item in content)
        if tag == "dict":
            return {self.decode(key): self.decode(item) for key, item in content}
        if tag == "again":
            return self._objects[content]
        decoded = self._object(tag, content)
        self._objects.append(decoded)
        return decoded

    def _object(self, tag: str, content: Any) -> Any:
        """Return the object of an entry."""
        if tag == "tensor":
            dtype, place = content
            return torch.from_numpy(self._arrays[place].copy()).to(_DTYPES[dtype])
        if tag == "neurons":
            return Neurons.from_list(content)
        if tag == "distance":
            return self._distance(content)
        if tag == "stored":
            described, remarks, place = content
            representation = DNA._representations()[described["kind"]]
            arrays = ByLayer(below(self._arrays, f"{place}/"), Neurons.from_list(described["layers"]))
            return representation._decode({"dna": described, **remarks}, arrays)
        class_name = _EARLIER_CLASSES.get(tag, tag)
        if class_name not in _HOMES:
            raise ValueError(f"it holds a {tag!r}, which this version does not know")
        module = import_module(f"torchmetrics_dna.{_HOMES[class_name]}")
        result_class = getattr(module, class_name)
        decoded = {_EARLIER_FIELDS.get(name, name): self.decode(item) for name, item in content.items()}
        return result_class(**decoded)

    def _distance(self, content: list[Any]) -> Distance:
        """Return the registered distance of an entry, with the fields that were encoded as different."""
        name, is_published, *changed = content
        record = _registered(name, is_published)
        if record is None:
            raise ValueError(f"no distance {name!r} is registered; import the module that does")
        if not changed:
            return record
        changed_fields = self.decode(changed[0])
        for field, value in changed_fields.items():
            # Types are compared exactly, because True and False are integers.
            if type(value) is not type(getattr(record, field)):
                raise ValueError(f"the fields of the distance {name!r} do not have the expected types")
        return replace(record, **changed_fields)
