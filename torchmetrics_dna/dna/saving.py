"""Save results and load them: plain values as json, tensors as arrays, in the container of DNA files."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Self

from torchmetrics_dna.dna import DNA
from torchmetrics_dna.dna.changes import ChangeDictionary
from torchmetrics_dna.dna.codec import Joined, Stored
from torchmetrics_dna.dna.distance import Distance, Result
from torchmetrics_dna.dna.distances import DISTANCES, PROTOCOLS
from torchmetrics_dna.dna.evidence import Evidence, Interval
from torchmetrics_dna.dna.jackknife import Jackknife
from torchmetrics_dna.files.container import Arrays, read_container, write_container
from torchmetrics_dna.files.damage import check_type, parse_json, refusing
from torchmetrics_dna.functional.permutation import PermutationTest
from torchmetrics_dna.neurons.index import Neurons
from torchmetrics_dna.version import __version__

if TYPE_CHECKING:
    import os

_T = TypeVar("_T")
KIND, _TEXT = "result", "values"
_DTYPES = {
    str(dtype).removeprefix("torch."): (dtype, np.dtype(stored))
    for dtype, stored in (
        (torch.bool, "|u1"), (torch.uint8, "|u1"), (torch.int64, "<f8"), (torch.float32, "<f8"), (torch.float64, "<f8"),
    )
}  # fmt: skip
_MOST_INTEGER = 2**53  # that float64 holds exactly
_CLASSES: dict[str, type] = {each.__name__: each for each in (Result, Evidence, Interval, Jackknife, PermutationTest)}


def part_of_results(kind: type[_T]) -> type[_T]:
    """Let a dataclass be saved as part of results."""
    _CLASSES[kind.__name__] = kind
    return kind


class Saved:
    """Base of results that can be saved: dataclasses of plain values, tensors, DNAs and other results."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        part_of_results(cls)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the result to one file, without images; name it ``*.result.npz``.

        Words, tables, plots and reports can be made from the file later. Equal results of one release give equal bytes.

        Raises:
            OSError: If the file can't be written; an existing one then stays as it was.

        """
        encoder = _Encoder()
        text = json.dumps({"root": encoder.encode(self), "objects": encoder.objects}, allow_nan=False)
        arrays = {_TEXT: np.frombuffer(text.encode(), np.uint8), **encoder.arrays}
        write_container(path, {"kind": KIND}, arrays, written_by=f"torchmetrics-dna {__version__}")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a file that :meth:`save` wrote.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file is damaged, or holds something else.

        """
        header, arrays = read_container(path)
        if header["dna"].get("kind") != KIND:
            raise ValueError(f"{str(path)!r} holds no result; load_dna reads DNA files")
        with refusing(path, "a result"):
            content = parse_json(arrays[_TEXT].tobytes(), dict)
            decoder = _Decoder(arrays)
            for entry in check_type("objects", content["objects"], list):
                decoder.objects.append(decoder.object_of(entry))
            value = decoder.decode(content["root"])
        if not isinstance(value, cls):
            raise ValueError(f"{str(path)!r} holds a {type(value).__name__}, expected a {cls.__name__}")
        return value

    def to_dataframe(self) -> Any:
        """Return ``rows()`` as a pandas data frame.

        Raises:
            ModuleNotFoundError: If pandas is missing.

        """
        import pandas as pd

        return pd.DataFrame(self.rows())  # type: ignore[attr-defined]


class _Encoder:
    """Turn values into json, and objects into a list, each once, so that what is shared stays shared.

    Attributes:
        objects: Tensors, DNAs and dataclasses; each refers only to those before it.
        arrays: Their arrays.

    """

    def __init__(self) -> None:
        self.objects: list[Any] = []
        self.arrays: Arrays = {}
        self._numbers: dict[int, int] = {}
        self._alive: list[Any] = []  # ids are of living objects only

    def encode(self, value: Any) -> Any:
        """Return a value in json's types."""
        if value is None or isinstance(value, (bool, int, str)):
            return value
        if isinstance(value, float):
            return value if abs(value) < float("inf") else {"float": repr(value)}
        if isinstance(value, list):
            return [self.encode(item) for item in value]
        if isinstance(value, tuple):
            return {"tuple": [self.encode(item) for item in value]}
        if isinstance(value, Mapping) and not isinstance(value, Neurons) and not is_dataclass(value):
            return {"dict": [[self.encode(key), self.encode(item)] for key, item in value.items()]}
        if id(value) not in self._numbers:
            entry = self._entry(value)
            self._numbers[id(value)] = len(self.objects)
            self.objects.append(entry)
            self._alive.append(value)
        return {"object": self._numbers[id(value)]}

    def _entry(self, value: Any) -> dict[str, Any]:
        if isinstance(value, Tensor):
            return {"tensor": self._stored(value)}
        if isinstance(value, Neurons):
            return {"neurons": value.to_list()}
        if isinstance(value, Distance):
            return {"distance": value.name, "published": value.protocol is not None}
        if isinstance(value, Stored):
            described, arrays, remarks = value._encode_all()
            place = f"objects/{len(self.objects)}/"
            self.arrays |= {place + name: array for name, array in arrays.items()}
            return {"stored": described, "remarks": remarks}
        kind = type(value)
        if _CLASSES.get(kind.__name__) is not kind:
            raise TypeError(f"A result with a {kind.__name__} can't be saved")
        left_out = getattr(kind, "UNSAVED", ())
        names = [each.name for each in fields(kind) if each.name not in left_out]
        return {"class": kind.__name__, "fields": {name: self.encode(getattr(value, name)) for name in names}}

    def _stored(self, tensor: Tensor) -> list[str]:
        """Store a tensor, and return its dtype and the name of its array."""
        name = str(tensor.dtype).removeprefix("torch.")
        if name not in _DTYPES or (tensor.dtype == torch.int64 and (tensor.abs() > _MOST_INTEGER).any()):
            raise TypeError(f"A result with a tensor of {name}, or of integers beyond 2^53, can't be saved")
        place = f"tensors/{len(self.arrays)}"
        self.arrays[place] = np.ascontiguousarray(tensor.cpu().numpy().astype(_DTYPES[name][1]))
        return [name, place]


class _Decoder:
    """Turn what :class:`_Encoder` made into values again; any exception means that the file is wrong."""

    def __init__(self, arrays: Arrays) -> None:
        self.objects: list[Any] = []
        self._arrays = arrays

    def decode(self, value: Any) -> Any:
        """Return a value from json's types."""
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
        if tag != "object" or not 0 <= content < len(self.objects):
            raise ValueError(f"it has no {tag} {content!r}")
        return self.objects[content]

    def object_of(self, entry: dict[str, Any]) -> Any:
        """Return the object of an entry."""
        if "tensor" in entry:
            name, place = entry["tensor"]
            return torch.from_numpy(self._arrays[place].copy()).to(_DTYPES[name][0])
        if "neurons" in entry:
            return Neurons.from_list(entry["neurons"])
        if "distance" in entry:
            return (PROTOCOLS if entry["published"] else DISTANCES)[entry["distance"]]
        if "stored" in entry:
            described, place = entry["stored"], f"objects/{len(self.objects)}/"
            own = {name.removeprefix(place): array for name, array in self._arrays.items() if name.startswith(place)}
            kinds: dict[str, type[Stored]] = {**DNA._kinds(), **ChangeDictionary._kinds()}
            joined = Joined(own, Neurons.from_list(described["layers"]))
            return kinds[described["kind"]]._decode({"dna": described, **entry["remarks"]}, joined)
        kind, values = _CLASSES[entry["class"]], entry["fields"]
        decoded = {name: self.decode(value) for name, value in values.items()}
        for each in fields(kind):
            if each.name in decoded:
                _check_field(kind, each.name, str(each.type), decoded[each.name])
        return kind(**decoded)


_TYPES: dict[str, tuple[type, ...]] = {
    "None": (type(None),), "bool": (bool,), "int": (int,), "float": (float, int), "str": (str,), "Tensor": (Tensor,),
    "dict": (dict,), "list": (list,), "tuple": (tuple,), "Mapping": (dict,), "Sequence": (list, tuple),
    "Neurons": (Neurons,), "Distance": (Distance,), "DNA": (DNA,), "ChangeDictionary": (ChangeDictionary,),
    "Score": (str,),
}  # fmt: skip


def _check_field(kind: type, name: str, annotation: str, value: Any) -> None:
    """ValueError if a value is not of the annotated type; types of what is in lists and tuples are not checked."""
    expected: tuple[type, ...] = ()
    for part in re.sub(r"\[.*\]", "", annotation).split(" | "):
        expected += _TYPES.get(part) or (_CLASSES[part],)
    if not isinstance(value, expected) or (isinstance(value, bool) and bool not in expected):
        raise ValueError(f"`{name}` of a {kind.__name__} is a {type(value).__name__}, expected {annotation}")
