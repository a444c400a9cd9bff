"""Guard a shared network: one thread at a time runs it, and its training flags are restored."""

from __future__ import annotations

from contextlib import contextmanager
from threading import Lock, RLock
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from torch.nn.modules.batchnorm import _BatchNorm

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

_LOCKS: WeakKeyDictionary[nn.Module, Any] = WeakKeyDictionary()
_LOCKS_LOCK = Lock()


def lock_of(network: nn.Module) -> Any:
    """Return the lock shared by all extractors of a network; no attribute of these, since locks can't be pickled."""
    with _LOCKS_LOCK:
        return _LOCKS.setdefault(network, RLock())


@contextmanager
def evaluating(network: nn.Module, forever: bool) -> Iterator[None]:
    """Put a network into evaluation mode within the context, or ``forever``; batch norms keep their statistics."""
    if forever and network.training:
        network.eval()
    # set flags directly: `train` and `eval` of a user's module may have side effects
    training = [] if forever else [module for module in network.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


def batch_norms(network: nn.Module) -> list[_BatchNorm]:
    """Return the batch norms of a network."""
    return [module for module in network.modules() if isinstance(module, _BatchNorm)]


@contextmanager
def normalising_by_batch(network: nn.Module) -> Iterator[None]:
    """Let batch norms take mean and variance of each batch, as in training mode; their statistics stay as they are."""
    norms = batch_norms(network)
    states = [(norm.training, norm.track_running_stats) for norm in norms]

    def begin(norm: Any, _args: Any) -> None:
        norm.training, norm.track_running_stats = True, False

    def end(norm: Any, _args: Any, _output: Any) -> None:
        norm.training, norm.track_running_stats = False, True

    handles = [norm.register_forward_pre_hook(begin) for norm in norms]
    handles += [norm.register_forward_hook(end) for norm in norms]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        for norm, (training, tracks) in zip(norms, states, strict=True):
            norm.training, norm.track_running_stats = training, tracks
