"""Watch the weights of a network: whether they changed, and their digest."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterable, Mapping, Sequence
from operator import is_
from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from torchmetrics_dna.extractors.modules import unwrapped, version_of

_SAMPLES = 16  # values of each tensor
# Integer types of torch, by the size of a value, that numpy has, too. It lacks bfloat16.
_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
# Hash of the names of the tensors that a digest is of, for errors of this process.
_NAMES: dict[str, int] = {}


class _Parts(NamedTuple):
    """Modules of a network, what they held when they were listed, and all parameters and buffers."""

    modules: list[nn.Module]
    held: list[Any]
    parameters: list[Tensor]
    buffers: list[Tensor]


class _Samples(NamedTuple):
    """Sampled values of tensors."""

    places: list[Any]  # address and dtype of each tensor
    views: list[NDArray[Any]]  # of a few values of each tensor in memory of the CPU
    without_view: list[Tensor]


class Watch:
    """Parameters and buffers of a network, and whether their values changed, told in less than a millisecond.

    Walking through a network takes milliseconds. So its modules are listed once, and again if one of them holds another
    module or tensor than before. With ``samples``, values may change unseen by torch's version counters, as by writes
    to ``.data``.
    """

    def __init__(self, network: nn.Module, samples: bool) -> None:
        self.network = network
        self._has_samples = samples
        self._parts = _Parts([], [], [], [])
        self._samples = _Samples([], [], [])
        # Values of the tensors, as of a snapshot, and their digest.
        self._digest: tuple[Hashable, str] | None = None

    def __reduce__(self) -> Any:
        return Watch, (self.network, self._has_samples)

    @property
    def parameters(self) -> list[Tensor]:
        """Parameters that the network has now."""
        return self._current_parts().parameters

    @property
    def tensors(self) -> list[Tensor]:
        """Parameters and buffers that the network has now."""
        parts = self._current_parts()
        return [*parts.parameters, *parts.buffers]

    @property
    def digest(self) -> str:
        """Digest of parameters and buffers, 16 hexadecimal digits; computed anew where they changed."""
        values = self.snapshot(waits=True)
        if self._digest is not None and self._digest[0] == values:
            return self._digest[1]
        network = unwrapped(self.network)
        tensors = network.state_dict()
        for name, buffer in network.named_buffers():
            tensors.setdefault(name, buffer)
        digest = digest_of(tensors)
        self._digest = values, digest
        _NAMES[digest] = hash(tuple(tensors))
        return digest

    def snapshot(self, waits: bool = False) -> Hashable:
        """Return a value that is equal as long as all tensors are: addresses, torch's version counters, samples.

        On devices other than the CPU values are sampled only if the host may wait (``waits``).
        """
        tensors = self.tensors
        places = [(tensor.data_ptr(), tensor.dtype) for tensor in tensors]
        counters = tuple(map(version_of, tensors))
        if not self._has_samples:
            return *places, counters
        # A view is used only as long as its tensor is in the same place: it keeps the memory, which may be another's.
        if self._samples.places != places:
            self._samples = _sampled(tensors, places)
        values: list[Any] = [view.tobytes() for view in self._samples.views]
        for tensor in self._samples.without_view:
            if waits or tensor.device.type == "cpu":
                flat = tensor.detach().flatten()
                values.append(tuple(flat[:: _step(len(flat))].tolist()))
        return *places, counters, *values

    def _current_parts(self) -> _Parts:
        parts = self._parts
        held_now = _held_by(parts.modules)
        is_current = len(held_now) == len(parts.held) and all(map(is_, held_now, parts.held))
        if not parts.modules or not is_current:
            modules = list(self.network.modules())
            parameters: list[Tensor] = list(self.network.parameters())
            buffers = list(self.network.buffers())
            self._parts = _Parts(modules, _held_by(modules), parameters, buffers)
        return self._parts


def names_differ(*digests: str) -> bool:
    """True if digests of weights, as far as they were computed in this process, are of tensors with other names."""
    return len({_NAMES[digest] for digest in digests if digest in _NAMES}) > 1


def digest_of(tensors: Mapping[Any, Any]) -> str:
    """Return the digest of named tensors, 16 hexadecimal digits."""
    sha = hashlib.sha256()
    for name, tensor in tensors.items():
        # The state of a module may hold other things, too.
        if isinstance(tensor, Tensor):
            sha.update(str(name).encode())
            sha.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return sha.hexdigest()[:16]


def _held_by(modules: Iterable[nn.Module]) -> list[Any]:
    """Return submodules, parameters and buffers of modules."""
    return [
        value
        for module in modules
        for values in (module._modules, module._parameters, module._buffers)
        for value in values.values()
    ]


def _sampled(tensors: Sequence[Tensor], places: list[Any]) -> _Samples:
    """Take views of a few values of each tensor."""
    views = []
    without_view = []
    for tensor in tensors:
        if not _has_view(tensor):
            without_view.append(tensor)
        elif tensor.numel():
            views.append(_view_of_values(tensor))
    return _Samples(places, views, without_view)


def _has_view(tensor: Tensor) -> bool:
    """True for a tensor on the CPU whose values lie one beside the other."""
    if type(tensor) not in (Tensor, nn.Parameter) or tensor.device.type != "cpu":
        return False
    if tensor.is_contiguous():
        return True
    return tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last)


def _view_of_values(tensor: Tensor) -> NDArray[Any]:
    """Return a view of evenly spaced values, whatever their order in the tensor."""
    count = tensor.numel()
    step = _step(count)
    values = tensor.detach().as_strided(((count - 1) // step + 1,), (step,))
    size = tensor.element_size()
    if size in _BITS:
        values = values.view(_BITS[size])
    return values.numpy()


def _step(count: int) -> int:
    """Return the distance of samples among so many values."""
    return count // _SAMPLES + 1
