"""A network that others hold too: one thread at a time runs it, and its modes are left as they were."""

from __future__ import annotations

from contextlib import contextmanager
from threading import Lock, RLock
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

_LOCKS: WeakKeyDictionary[nn.Module, Any] = WeakKeyDictionary()
_ONE_AT_A_TIME = Lock()


def lock_of(network: nn.Module) -> Any:
    """The lock for all extractors of a network, in any thread; no attribute of theirs, since it can't be pickled."""
    with _ONE_AT_A_TIME:
        return _LOCKS.setdefault(network, RLock())


@contextmanager
def evaluating(network: nn.Module, forever: bool) -> Iterator[None]:
    """Evaluation mode, so that batch norms keep their statistics; for ever, or until all is as it was before."""
    if forever and network.training:
        network.eval()
    # the flags alone: `train` and `eval` of a user's module may do more
    training = [] if forever else [module for module in network.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True
