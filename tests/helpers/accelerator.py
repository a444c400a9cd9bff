"""Accelerator that this machine has not: the CPU computes, but torch sees a device ``cuda``, and waits are recorded.

The host of a real one only queues work. What asks for a value, or for a shape that depends on values, waits until all
of it is done; so does a copy between host and device, unless it is said not to.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any, Self

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

# as on CUDA: their result, or its shape, is a value that the host must know
WAITING = {
    "_local_scalar_dense", "_unique", "_unique2", "bincount", "equal", "is_nonzero", "item", "masked_select", "nonzero",
    "unique_consecutive", "unique_dim",
}  # fmt: skip
_COPIES = {"_to_copy", "copy_"}


def mapped(change: Callable[[Tensor], object], value: Any) -> Any:
    """Return arguments or a result of an operation, with each tensor changed."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        return {name: mapped(change, part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return (list if isinstance(value, list) else tuple)([mapped(change, part) for part in value])
    return value


@cache
def is_composite(func: Any) -> bool:
    return torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd")


class WaitsError(RuntimeError):
    """The host would wait for the device."""


class DeviceTensor(Tensor):
    """A tensor of the device, computed on the CPU."""

    on_cpu: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, on_cpu: Tensor) -> Self:
        like = {"strides": on_cpu.stride(), "storage_offset": on_cpu.storage_offset(), "dtype": on_cpu.dtype}
        tensor: Self = torch.Tensor._make_wrapper_subclass(cls, on_cpu.shape, device="cuda:0", **like)
        tensor.on_cpu = on_cpu
        return tensor

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError(f"{func} ran outside of the device")


class Accelerator(TorchDispatchMode):
    """Dispatch mode under which torch sees such a device.

    Args:
        float64: True if the device has numbers of 64 bits.

    Attributes:
        waits: Operations that the host waited for.
        peak: Most bytes that tensors of the device held at once, since :meth:`rest`.

    """

    def __init__(self, float64: bool = True) -> None:
        super().__init__()
        self._mode_key = torch._C._TorchDispatchModeKey.FAKE  # so that torch looks for no driver
        self.waits, self.peak, self._float64, self._live, self._strict = list[str](), 0, float64, 0, False
        self._storages: set[int] = set()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        if torch.version.cuda is None:
            self._refuse("torch is built for the CPU alone, and takes no tensor of another device")
        if not hasattr(torch._C, "_ensureCUDADeviceGuardSet"):
            self._refuse("torch is too old to take tensors of a device that has no driver")
        torch._C._ensureCUDADeviceGuardSet()
        self._stack.enter_context(_Literals())
        super().__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self._stack.close()

    @staticmethod
    def _refuse(reason: str) -> None:
        if "PYTEST_CURRENT_TEST" in os.environ:
            import pytest

            pytest.skip(reason)
        raise RuntimeError(reason)

    def rest(self) -> None:
        """Start the peak anew, beyond the tensors that are held now."""
        self.peak = self._live = 0

    @contextmanager
    def never_waits(self) -> Iterator[None]:
        """Raise WaitsError within this block where the host would wait."""
        self._strict = True
        try:
            yield
        finally:
            self._strict = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tensors: list[Tensor] = []
        mapped(tensors.append, (args, kwargs))
        ours = {id(tensor.on_cpu): tensor for tensor in tensors if isinstance(tensor, DeviceTensor)}
        target = kwargs.get("device")
        on_device = bool(ours) if target is None else torch.device(target).type == "cuda"
        if func.overloadpacket.__name__ in ("is_pinned", "pin_memory", "_pin_memory"):
            return False if func.overloadpacket.__name__ == "is_pinned" else args[0].clone()
        if not ours and not on_device:
            return func(*args, **kwargs)
        if is_composite(func):
            super().__enter__()  # in inference mode, torch leaves such operations in one piece
            try:
                return func.decompose(*args, **kwargs)
            finally:
                super().__exit__(None, None, None)
        self._look(func, args, kwargs, tensors, on_device)
        if target is not None and on_device:
            kwargs = kwargs | {"device": "cpu"}
        inner_args, inner_kwargs = mapped(
            lambda tensor: tensor.on_cpu if isinstance(tensor, DeviceTensor) else tensor, (args, kwargs)
        )
        if kwargs.get("pin_memory"):
            inner_kwargs.pop("pin_memory")
        result = func(*inner_args, **inner_kwargs)
        if func.overloadpacket.__name__ == "copy_":
            return args[0]
        return mapped(lambda tensor: self._wrapped(tensor, ours), result) if on_device else result

    def _look(self, func: Any, args: Any, kwargs: Any, tensors: list[Tensor], on_device: bool) -> None:
        """Record the waits of an operation; RuntimeError for what no device does."""
        name = func.overloadpacket.__name__
        of_host = [tensor for tensor in tensors if not isinstance(tensor, DeviceTensor)]
        if name in _COPIES:
            source = args[1] if name == "copy_" else args[0]
            between = isinstance(source, DeviceTensor) != (
                isinstance(args[0], DeviceTensor) if name == "copy_" else on_device
            )
            blocking = not (kwargs.get("non_blocking") or (name == "copy_" and len(args) > 2 and args[2]))
            self._note(between and blocking, f"{name} between host and device")
        elif name in ("index", "index_put_", "index_put"):
            indices = [index for index in args[1] if index is not None]
            self._note(any(not isinstance(index, DeviceTensor) for index in indices), f"{name} by indices of the host")
            self._note(any(index.dtype in (torch.bool, torch.uint8) for index in indices), f"{name} by a mask")
        elif any(tensor.ndim for tensor in of_host) and not name.endswith("_like"):
            raise RuntimeError(f"Expected all tensors to be on the same device, but {func} got some of the host")
        self._note(name in WAITING or (name == "repeat_interleave" and "output_size" not in kwargs), name)

    def _note(self, waits: bool, operation: str) -> None:
        if waits:
            self.waits.append(operation)
            if self._strict:
                raise WaitsError(f"The host waits for the device: {operation}")

    def _wrapped(self, on_cpu: Tensor, ours: dict[int, DeviceTensor]) -> Tensor:
        if id(on_cpu) in ours:
            return ours[id(on_cpu)]
        if not self._float64 and on_cpu.dtype == torch.float64:
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64")
        self._weigh(on_cpu.untyped_storage())
        with torch.inference_mode(False):  # or torch would count the versions of views in vain
            return DeviceTensor(on_cpu)

    def _weigh(self, storage: Any) -> None:
        address, size = storage._cdata, storage.nbytes()
        if address in self._storages:
            return
        self._storages.add(address)
        self._live += size
        self.peak = max(self.peak, self._live)
        weakref.finalize(storage, self._free, address, size)

    def _free(self, address: int, size: int) -> None:
        self._storages.discard(address)
        self._live -= size


class _Literals(TorchFunctionMode):
    """Mode in which ``torch.tensor`` makes a tensor on the host and sends it, and ``tolist`` fetches it."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        device = kwargs.get("device")
        if func is torch.tensor and device is not None and torch.device(device).type != "cpu":
            return func(*args, **{**kwargs, "device": "cpu"}).to(device)
        if func is Tensor.tolist and isinstance(args[0], DeviceTensor):
            return args[0].cpu().tolist()
        return func(*args, **kwargs)
