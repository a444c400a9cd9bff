"""Whether the weights of a network changed, told in less than a millisecond."""

from __future__ import annotations

from operator import is_
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

_SAMPLES = 16  # values of each tensor


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
        counters = tuple((t.data_ptr(), None if t.is_inference() else t._version, t.dtype) for t in tensors)
        sampled = [each for each in tensors if waits or each.device.type == "cpu"] if self._samples else []
        return counters, _values(sampled)

    def sample_on(self, device: torch.device) -> Tensor:
        """Return a number that depends on a value of each tensor on a device, int64, ``(1,)``, without waiting."""
        tensors = [each for each in self.tensors if each.device == device]
        local = [each.to_local() if hasattr(each, "to_local") else each for each in tensors]  # of what FSDP shards
        real = [each for each in local if each.numel() and each.layout is torch.strided and not each.is_complex()]
        values = [each.detach().as_strided((1,), (1,)).double() for each in real]
        bits = torch.cat([*values, torch.zeros(1, dtype=torch.float64, device=device)]).view(torch.int64)
        factors = torch.arange(1, 2 * len(bits), 2, device=device)  # odd, so that no bit is lost
        return (bits * factors).sum(0, keepdim=True) >> 2  # so that its negative is a number, too


def _held_by(modules: Sequence[nn.Module]) -> list[Any]:
    """Return submodules, parameters and buffers of modules."""
    return [
        value
        for module in modules
        for values in (module._modules, module._parameters, module._buffers)
        for value in values.values()
    ]


def _values(tensors: Sequence[Tensor]) -> Hashable:
    """Return values of each tensor, at equal distances in memory."""
    by_dtype: dict[Any, list[Tensor]] = {}
    others: list[Any] = []
    with torch.no_grad():
        for tensor in tensors:
            step = tensor.numel() // _SAMPLES + 1
            if type(tensor) not in (Tensor, nn.Parameter) or tensor.device.type != "cpu" or not _is_dense(tensor):
                others.append(tuple(tensor.detach().flatten()[::step].tolist()))
            elif tensor.numel():
                count = (tensor.numel() - 1) // step + 1
                by_dtype.setdefault(tensor.dtype, []).append(tensor.as_strided((count,), (step,)))
        sampled = [torch.cat(pieces).view(torch.uint8).numpy().tobytes() for pieces in by_dtype.values()]
    return (*sampled, *others)


def _is_dense(tensor: Tensor) -> bool:
    return tensor.is_contiguous() or (tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last))
