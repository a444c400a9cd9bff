"""Guard a network that others use too: one thread at a time runs it, and what a pass changes is restored."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from threading import Lock, RLock
from typing import TYPE_CHECKING, Any, cast
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
    with torch.inference_mode(is_own), torch.no_grad(), _IEEE_FLOAT32:
        for module in training:
            module.training = False
        try:
            yield
        finally:
            for module in training:
                module.training = True


@contextmanager
def float32_by_default() -> Iterator[None]:
    """Make new tensors float32 within the context, such as weights while a parent is built in half precision."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


class _Precision:
    """Context in which float32 is IEEE's, not TF32 or bfloat16, whatever the process is set to.

    The settings are those of the process, so they are restored once the last of its threads is done. torch has them
    twice: as of old, and since 2.9 for each backend. Code that reads them while the two don't agree gets an error, so
    both are set. Where the user's don't agree, reading them is an error, and the old ones stay.
    """

    def __init__(self) -> None:
        self._lock, self._inside, self._restore = Lock(), 0, ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._restore = self._set()
            self._inside += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._restore.close()

    def _set(self) -> ExitStack:
        """Set all; return the context whose end restores them."""
        backends, has_cuda = cast("Any", torch.backends), torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
        each = [backends.cuda.matmul, *([backends.cudnn.conv, backends.cudnn.rnn] if has_cuda else [])]
        each += [getattr(backends.mkldnn, name, None) for name in ("matmul", "conv", "rnn")]
        matmul = _or_none(torch.get_float32_matmul_precision)
        restore = ExitStack()
        for backend in each:  # restored last
            if hasattr(backend, "fp32_precision"):
                restore.callback(setattr, backend, "fp32_precision", backend.fp32_precision)
        if matmul not in (None, "highest"):
            restore.callback(torch.set_float32_matmul_precision, matmul)
            torch.set_float32_matmul_precision("highest")
        if has_cuda and _or_none(lambda: backends.cudnn.allow_tf32):
            restore.callback(setattr, backends.cudnn, "allow_tf32", True)
            backends.cudnn.allow_tf32 = False
        for backend in each:
            if hasattr(backend, "fp32_precision") and backend.fp32_precision not in ("none", "ieee"):
                backend.fp32_precision = "ieee"
        return restore


_IEEE_FLOAT32 = _Precision()


def _or_none(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except RuntimeError:
        return None
