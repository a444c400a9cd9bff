"""Detect changes of a network's weights, and compute their digest."""

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
# Integer type by the size of a value in bytes. Values are read as integers, because numpy does not support bfloat16.
_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
# Hash of the tensor names for each digest that this process has computed. It makes error messages more precise.
_NAMES: dict[str, int] = {}


class _Parts(NamedTuple):
    """Modules, parameters and buffers of a network at the time when they were listed.

    Attributes:
        modules: All modules.
        contents: Direct submodules, parameters and buffers of all modules.
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
        views: View of a few values of each tensor that is in the memory of the CPU.
        without_view: Tensors without such a view.

    """

    places: list[Any]
    views: list[NDArray[Any]]
    without_view: list[Tensor]


class Watch:
    """Parameters and buffers of a network, with a fast way to detect that their values changed.

    Detecting a change takes less than a millisecond, but iterating over all modules of a network takes several. So the
    modules are listed once. They are listed again if a module has other submodules, parameters or buffers than before.

    Args:
        network: The network.
        samples: Whether to compare sampled values, too. torch's version counters miss some changes, such as writes to
            ``.data``.

    """

    def __init__(self, network: nn.Module, samples: bool) -> None:
        self.network = network
        self._has_samples = samples
        self._parts = _Parts([], [], [], [])
        self._samples = _Samples([], [], [])
        # Snapshot of the weights when the digest was last computed, and the digest.
        self._digest: tuple[Hashable, str] | None = None

    def __reduce__(self) -> Any:
        return Watch, (self.network, self._has_samples)

    @property
    def parameters(self) -> list[Tensor]:
        """Current parameters of the network."""
        return self._current_parts().parameters

    @property
    def tensors(self) -> list[Tensor]:
        """Current parameters and buffers of the network."""
        parts = self._current_parts()
        return [*parts.parameters, *parts.buffers]

    @property
    def digest(self) -> str:
        """Digest of the parameters and buffers, 16 hexadecimal digits. It is computed again if they changed."""
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
        """Return a value that stays equal until a tensor changes.

        The value consists of addresses, torch's version counters, and sampled values.

        Args:
            waits: Whether to sample values on devices other than the CPU, too, which is a device sync.

        """
        tensors = self.tensors
        places = [(tensor.data_ptr(), tensor.dtype) for tensor in tensors]
        counters = tuple(map(version_of, tensors))
        if not self._has_samples:
            return *places, counters
        # Views refer to fixed addresses, so they must be taken again if a tensor is at another address.
        if self._samples.places != places:
            self._samples = _sampled(tensors, places)
        values: list[Any] = [view.tobytes() for view in self._samples.views]
        for tensor in self._samples.without_view:
            if waits or tensor.device.type == "cpu":
                flat = tensor.detach().flatten()
                values.append(tuple(flat[:: _step(len(flat))].tolist()))
        return *places, counters, *values

    def _current_parts(self) -> _Parts:
        """Return the modules, parameters and buffers of the network. They are listed again if they changed."""
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
    """True if the digests belong to weights with different tensor names.

    Digests that were not computed in this process are ignored.
    """
    names = {_NAMES[digest] for digest in digests if digest in _NAMES}
    return len(names) > 1


def digest_of(tensors: Mapping[Any, Any]) -> str:
    """Return the digest of named tensors, 16 hexadecimal digits."""
    sha = hashlib.sha256()
    for name, tensor in tensors.items():
        # The state dict of a module may also have values that are not tensors.
        if isinstance(tensor, Tensor):
            sha.update(str(name).encode())
            sha.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return sha.hexdigest()[:16]


def _contents_of(modules: Iterable[nn.Module]) -> list[Any]:
    """Return the direct submodules, parameters and buffers of all modules."""
    contents: list[Any] = []
    for module in modules:
        contents += module._modules.values()
        contents += module._parameters.values()
        contents += module._buffers.values()
    return contents


def _sampled(tensors: Sequence[Tensor], places: list[Any]) -> _Samples:
    """Return views of a few values of each tensor that can have such a view."""
    views = []
    without_view = []
    for tensor in tensors:
        if not _has_view(tensor):
            without_view.append(tensor)
        elif tensor.numel():
            views.append(_view_of_values(tensor))
    return _Samples(places, views, without_view)


def _has_view(tensor: Tensor) -> bool:
    """True for a plain tensor on the CPU without gaps between its values in memory."""
    if type(tensor) not in (Tensor, nn.Parameter) or tensor.device.type != "cpu":
        return False
    if tensor.is_contiguous():
        return True
    return tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last)


def _view_of_values(tensor: Tensor) -> NDArray[Any]:
    """Return a view of values that are evenly spaced in the memory of a tensor."""
    count = tensor.numel()
    step = _step(count)
    values = tensor.detach().as_strided(((count - 1) // step + 1,), (step,))
    size = tensor.element_size()
    if size in _BITS:
        values = values.view(_BITS[size])
    return values.numpy()


def _step(count: int) -> int:
    """Return the distance between the sampled values of a tensor with ``count`` values."""
    return count // _SAMPLES + 1
