"""Guard a network that others use too: one thread at a time runs it, and what a pass changes is restored."""

from __future__ import annotations

from contextlib import contextmanager
from threading import Lock, RLock
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import nn

_LOCKS: WeakKeyDictionary[nn.Module, Any] = WeakKeyDictionary()
_LOCKS_LOCK = Lock()


def lock_of(network: nn.Module) -> Any:
    """Return the lock shared by all extractors of a network; no attribute of these, since locks can't be pickled."""
    with _LOCKS_LOCK:
        return _LOCKS.setdefault(network, RLock())


@contextmanager
def borrowing(network: nn.Module, is_own: bool) -> Iterator[None]:
    """Run a network within the context: in evaluation mode, without gradients, in IEEE float32.

    A network of ours stays in evaluation mode, and runs in inference mode. A module of the user's does not: tensors
    that it keeps from such a pass could not be used in training. Its flags are restored.
    """
    if is_own and network.training:
        network.eval()
    # set flags directly: `train` and `eval` of a user's module may have side effects
    training = [] if is_own else [module for module in network.modules() if module.training]
    with torch.inference_mode(is_own), torch.no_grad(), _ieee_float32():
        for module in training:
            module.training = False
        try:
            yield
        finally:
            for module in training:
                module.training = True


@contextmanager
def _ieee_float32() -> Iterator[None]:
    """Compute in float32 as IEEE has it within the context, not in TF32 or bfloat16, whatever the process is set to.

    torch has these settings twice: as of old, and since 2.9 for each backend. Code that reads them while the two don't
    agree gets an error, so both are set. Where the user's don't agree, reading them is an error, and the old ones stay.
    """
    backends: Any = torch.backends
    matmul = _or_none(torch.get_float32_matmul_precision)
    tf32 = torch.cuda.is_initialized() and _or_none(lambda: backends.cudnn.allow_tf32)  # type: ignore[no-untyped-call]
    each = [backends.cuda.matmul]
    each += [backends.cudnn.conv, backends.cudnn.rnn] if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    each += [getattr(backends.mkldnn, name, None) for name in ("matmul", "conv", "rnn")]
    before = [(backend, backend.fp32_precision) for backend in each if hasattr(backend, "fp32_precision")]
    try:
        if matmul not in (None, "highest"):
            torch.set_float32_matmul_precision("highest")
        if tf32:
            backends.cudnn.allow_tf32 = False
        for backend, precision in before:
            if precision not in ("none", "ieee"):
                backend.fp32_precision = "ieee"
        yield
    finally:
        if matmul not in (None, "highest"):
            torch.set_float32_matmul_precision(matmul)
        if tf32:
            backends.cudnn.allow_tf32 = True
        for backend, precision in before:
            if backend.fp32_precision != precision:
                backend.fp32_precision = precision


def _or_none(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except RuntimeError:
        return None
