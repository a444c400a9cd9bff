"""Functions for any module: its device and dtype, the module it wraps, its submodules, and torch's random state."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

import torch
from torch import Tensor, nn

from torchmetrics_dna.extractors.compiled import WRAPPED

_MOST_LISTED = 40  # submodules


def device_of(network: nn.Module) -> torch.device:
    """Return the device of the first parameter or buffer, or the CPU if there is none."""
    for tensor in chain(network.parameters(), network.buffers()):
        return tensor.device
    return torch.device("cpu")


def own_dtype(network: nn.Module) -> torch.dtype:
    """Return the dtype of the first floating point parameter, or float32 if there is none."""
    for parameter in network.parameters():
        if parameter.is_floating_point():
            return parameter.dtype
    return torch.float32


def unwrapped(network: nn.Module) -> nn.Module:
    """Return the module within wrappers such as those of ``torch.compile`` and ``DataParallel``.

    The wrapped module computes the same. A wrapper has another class, and adds a prefix to the names of submodules.
    """
    while True:
        is_parallel = isinstance(network, (nn.DataParallel, nn.parallel.DistributedDataParallel))
        inner = "module" if is_parallel else WRAPPED
        if inner not in dict(network.named_children()):
            return network
        network = network.get_submodule(inner)


def version_of(tensor: Tensor) -> int | None:
    """Return torch's counter of writes to a tensor, or None for inference tensors, which have no counter."""
    return None if tensor.is_inference() else tensor._version


def submodules_in_words(network: nn.Module) -> str:
    """List the names of the submodules of a network. For a large network, list only those at the top level.

    Example:
        >>> submodules_in_words(nn.Sequential(nn.Sequential(nn.ReLU()), nn.Flatten()))
        '0, 0.0, 1'

    """
    names = [name for name, _ in network.named_modules() if name]
    if len(names) <= _MOST_LISTED:
        return ", ".join(names) or "none"
    top_level_names = [name for name, _ in network.named_children()]
    listed_names = top_level_names[:_MOST_LISTED]
    return f"{', '.join(listed_names)}, and {len(names) - len(listed_names)} within them (`named_modules()`)"


@contextmanager
def same_random_numbers(network: nn.Module, seed: int | None = None) -> Iterator[None]:
    """Restore torch's random state after the context.

    Args:
        network: Network that runs in the context. The random state of its device is restored, too.
        seed: Seed to set at the beginning of the context, or None to continue with the current random state.

    """
    device = device_of(network)
    cuda_devices = []
    if device.type == "cuda" and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        cuda_devices = [device]
    with torch.random.fork_rng(cuda_devices):
        if seed is not None:
            torch.default_generator.manual_seed(seed)
            for cuda_device in cuda_devices:
                torch.cuda.default_generators[cuda_device.index or 0].manual_seed(seed)
        yield
