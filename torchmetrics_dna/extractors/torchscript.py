"""Read the tensors of a TorchScript archive, such as CLIP's official weights, without running its code."""

from __future__ import annotations

import pickle
import zipfile
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def is_torchscript(path: Path) -> bool:
    """True if the file is an archive that ``torch.jit.save`` wrote."""
    return zipfile.is_zipfile(path) and any(
        name.endswith("/constants.pkl") for name in zipfile.ZipFile(path).namelist()
    )


def torchscript_state(path: Path) -> dict[str, Tensor]:
    """Return parameters and buffers by their full names.

    Raises:
        pickle.UnpicklingError: If the archive has objects other than modules, tensors and plain values.

    """
    with zipfile.ZipFile(path) as archive:
        data = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
        with archive.open(data) as file:
            module = _Reader(file, archive, data.removesuffix(".pkl")).load()
    return dict(_tensors(module, ""))


class _Module(dict[str, Any]):
    """Attributes of a scripted module, in place of any class."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.update(state)


class _Reader(pickle.Unpickler):
    def __init__(self, file: Any, archive: zipfile.ZipFile, folder: str) -> None:
        super().__init__(file)
        self._archive, self._folder = archive, folder

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("__torch__"):
            return _Module
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        if (module, name) in _ALLOWED_CALLS:
            return _ALLOWED_CALLS[module, name]
        raise pickle.UnpicklingError(f"{module}.{name} is no tensor")

    def persistent_load(self, pid: Any) -> Tensor:
        _, dtype, key, *_ = pid
        return torch.frombuffer(bytearray(self._archive.read(f"{self._folder}/{key}")), dtype=dtype)


def _rebuild(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    return storage.as_strided(size, stride, offset)


_STORAGES = {
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "IntStorage": torch.int32,
    "LongStorage": torch.int64,
}
_ALLOWED_CALLS = {("torch._utils", "_rebuild_tensor_v2"): _rebuild, ("collections", "OrderedDict"): dict}


def _tensors(module: _Module, prefix: str) -> Iterator[tuple[str, Tensor]]:
    for name, value in module.items():
        if isinstance(value, Tensor):
            yield prefix + name, value
        elif isinstance(value, _Module):
            yield from _tensors(value, f"{prefix}{name}.")
