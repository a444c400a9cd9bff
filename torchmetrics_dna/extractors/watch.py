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

# Number of sampled values of each tensor.
_SAMPLES = 16
# Integer types of torch, by the size of a value, that numpy has, too. It lacks bfloat16.
_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
# For each digest, the hash of the names of its tensors, for errors of this process.
_NAMES: dict[str, int] = {}


class _Parts(NamedTuple):
    """Modules of a network, what they held when they were listed, and all parameters and buffers.

    Attributes:
        modules: All modules.
        contents: Submodules, parameters and buffers of these modules.
        parameters: All parameters.
        buffers: All buffers.

    """

    modules: list[nn.Module]
    contents: list[Any]
    parameters: list[Tensor]
    buffers: list[Tensor]


class _Samples(NamedTuple):
    """Sampled values of tensors.

    Attributes:
        places: Address and dtype of each tensor.
        views: Views of a few values of each tensor in memory of the CPU.
        without_view: Tensors that have no view.

    """

    places: list[Any]
    views: list[NDArray[Any]]
    without_view: list[Tensor]


class Watch:
    """Parameters and buffers of a network, with a check in less than a millisecond of whether their values changed.

    Walking through a network takes milliseconds. So its modules are listed once, and again if one of them holds another
    module or tensor than before.

    Args:
        network: The network.
        samples: Whether to sample values. Torch's version counters miss some changes, such as writes to ``.data``.

    """

    def __init__(self, network: nn.Module, samples: bool) -> None:
        self.network = network
        self._has_samples = samples
        self._parts = _Parts([], [], [], [])
        self._samples = _Samples([], [], [])
        # Digest that was computed last, after the snapshot of the values that it belongs to.
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
        """Digest of parameters and buffers, 16 hexadecimal digits; computed again if they changed."""
        snapshot = self.snapshot(waits=True)
        if self._digest is not None and self._digest[0] == snapshot:
            return self._digest[1]
        network = unwrapped(self.network)
        tensors = network.state_dict()
        for name, buffer in network.named_buffers():
            tensors.setdefault(name, buffer)
        digest = digest_of(tensors)
        self._digest = snapshot, digest
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
        # A view keeps the memory of its tensor, so it is used only as long as the tensor is in this place.
        if self._samples.places != places:
            self._samples = _sampled(tensors, places)
        values: list[Any] = [view.tobytes() for view in self._samples.views]
        for tensor in self._samples.without_view:
            if waits or tensor.device.type == "cpu":
                flat = tensor.detach().flatten()
                values.append(tuple(flat[:: _step(len(flat))].tolist()))
        return *places, counters, *values

    def _current_parts(self) -> _Parts:
        """Return the parts of the network, listed again if they changed."""
        parts = self._parts
        contents = _contents_of(parts.modules)
        is_current = len(contents) == len(parts.contents) and all(map(is_, contents, parts.contents))
        if not parts.modules or not is_current:
            modules = list(self.network.modules())
            parameters: list[Tensor] = list(self.network.parameters())
            buffers = list(self.network.buffers())
            self._parts = _Parts(modules, _contents_of(modules), parameters, buffers)
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


def _contents_of(modules: Iterable[nn.Module]) -> list[Any]:
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
    """True for a tensor on the CPU whose values lie next to each other in memory."""
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
    """Return the distance between samples of ``count`` values."""
    return count // _SAMPLES + 1
