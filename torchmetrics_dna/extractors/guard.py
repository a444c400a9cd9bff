"""Guard a shared network: one thread at a time runs it, and its training flags are restored."""

from __future__ import annotations

from contextlib import contextmanager
from threading import Lock, RLock
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

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
