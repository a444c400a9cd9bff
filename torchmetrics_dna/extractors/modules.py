"""Questions about any module: its device and dtype, what it wraps, its submodules, and torch's random numbers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

import torch
from torch import Tensor, nn

from torchmetrics_dna.extractors.compiled import WRAPPED

_MOST_LISTED = 40  # submodules


def device_of(network: nn.Module) -> torch.device:
    """Return the device of the first parameter or buffer; the CPU if there is none."""
    for tensor in chain(network.parameters(), network.buffers()):
        return tensor.device
    return torch.device("cpu")


def own_dtype(network: nn.Module) -> torch.dtype:
    """Return the dtype of the first parameter of floating point; float32 if there is none."""
    for parameter in network.parameters():
        if parameter.is_floating_point():
            return parameter.dtype
    return torch.float32


def unwrapped(network: nn.Module) -> nn.Module:
    """Return the module that ``torch.compile``, ``DataParallel`` and the like wrap: it computes the same.

    A wrapper has another class, and a prefix before each name.
    """
    while True:
        is_parallel = isinstance(network, (nn.DataParallel, nn.parallel.DistributedDataParallel))
        inner = "module" if is_parallel else WRAPPED
        if inner not in dict(network.named_children()):
            return network
        network = network.get_submodule(inner)


def version_of(tensor: Tensor) -> int | None:
    """Return torch's counter of writes to a tensor; None for one of inference mode, which has none."""
    return None if tensor.is_inference() else tensor._version


def submodules_in_words(network: nn.Module) -> str:
    """List the submodules of a network; of a large one only those at the top.

    Example:
        >>> submodules_in_words(nn.Sequential(nn.Sequential(nn.ReLU()), nn.Flatten()))
        '0, 0.0, 1'

    """
    names = [name for name, _ in network.named_modules() if name]
    if len(names) <= _MOST_LISTED:
        return ", ".join(names) or "none"
    top = [name for name, _ in network.named_children()]
    shown = top[:_MOST_LISTED]
    return f"{', '.join(shown)}, and {len(names) - len(shown)} within them (`named_modules()`)"


@contextmanager
def same_random_numbers(network: nn.Module, seed: int | None = None) -> Iterator[None]:
    """Put torch's random numbers back after the context, in which they are those of a seed, if one is given."""
    device = device_of(network)
    devices = []
    if device.type == "cuda" and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        devices = [device]
    with torch.random.fork_rng(devices):
        if seed is not None:
            torch.default_generator.manual_seed(seed)
            for each in devices:
                torch.cuda.default_generators[each.index or 0].manual_seed(seed)
        yield
