"""Whether the weights of a network changed, told in less than a millisecond."""

from __future__ import annotations

from operator import is_
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from numpy.typing import NDArray

_SAMPLES = 16  # values of each tensor
_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # which numpy has, too
_CHANNELS_LAST = torch.channels_last


class Watch:
    """Parameters and buffers of a network, and a version of their values.

    Walking through a network takes milliseconds. So its modules are listed once, and again if one of them holds another
    module or tensor than before.

    Args:
        network: The network.
        samples: Whether values may change unseen by torch's version counters, as by writes to ``.data``.

    """

    def __init__(self, network: nn.Module, samples: bool) -> None:
        self.network, self._samples = network, samples
        self._listed: tuple[list[nn.Module], list[Any], list[Tensor], list[Tensor]] = ([], [], [], [])
        # addresses and types of tensors, views of their values, and tensors without views
        self._sampled: tuple[list[Any], list[list[NDArray[Any]]], list[Tensor]] = ([], [], [])

    def __reduce__(self) -> Any:
        return Watch, (self.network, self._samples)

    @property
    def parameters(self) -> list[Tensor]:
        """Parameters that the network has now."""
        return self._list()[0]

    @property
    def tensors(self) -> list[Tensor]:
        """Parameters and buffers that the network has now."""
        parameters, buffers = self._list()
        return [*parameters, *buffers]

    def _list(self) -> tuple[list[Tensor], list[Tensor]]:
        modules, held, parameters, buffers = self._listed
        now = _held_by(modules)
        if not modules or len(now) != len(held) or not all(map(is_, now, held)):
            modules = list(self.network.modules())
            parameters, buffers = list(self.network.parameters()), list(self.network.buffers())
            self._listed = modules, _held_by(modules), parameters, buffers
        return parameters, buffers

    def version(self, waits: bool = False) -> Hashable:
        """Return a value that is equal as long as all tensors are: addresses, torch's version counters, samples.

        On devices other than the CPU values are sampled only if the host may wait (``waits``).
        """
        tensors = self.tensors
        places = [(tensor.data_ptr(), tensor.dtype) for tensor in tensors]
        counters = tuple(map(version_of, tensors))
        if not self._samples:
            return *places, counters
        sampled = self._sampled
        if sampled[0] != places:  # until then, views hold memory that a tensor may have left
            self._sampled = sampled = places, *_views(tensors)
        values = [np.concatenate(views).tobytes() for views in sampled[1]]
        others = [_sample_of(tensor) for tensor in sampled[2] if waits or tensor.device.type == "cpu"]
        return *places, counters, *values, *others


def version_of(tensor: Tensor) -> int | None:
    """Return torch's counter of writes to a tensor; None for one of inference mode, which has none."""
    return None if tensor.is_inference() else tensor._version


def _held_by(modules: Sequence[nn.Module]) -> list[Any]:
    """Return submodules, parameters and buffers of modules."""
    return [
        value
        for module in modules
        for values in (module._modules, module._parameters, module._buffers)
        for value in values.values()
    ]


def _views(tensors: Sequence[Tensor]) -> tuple[list[list[NDArray[Any]]], list[Tensor]]:
    """Return views of values of each tensor on the CPU, by size of a value, and the tensors that have none."""
    views: dict[int, list[NDArray[Any]]] = {}
    others = []
    for tensor in tensors:
        is_dense = tensor.is_contiguous() or (tensor.ndim == 4 and tensor.is_contiguous(memory_format=_CHANNELS_LAST))
        if type(tensor) not in (Tensor, nn.Parameter) or tensor.device.type != "cpu" or not is_dense:
            others.append(tensor)
        elif count := tensor.numel():
            step, size = count // _SAMPLES + 1, tensor.element_size()
            values = tensor.detach().as_strided(((count - 1) // step + 1,), (step,))
            views.setdefault(size, []).append(values.view(_BITS[size]).numpy() if size in _BITS else values.numpy())
    return list(views.values()), others


def _sample_of(tensor: Tensor) -> tuple[float, ...]:
    flat = tensor.detach().flatten()
    return tuple(flat[:: len(flat) // _SAMPLES + 1].tolist())
