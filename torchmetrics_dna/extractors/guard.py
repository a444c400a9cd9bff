"""Guard a network that others use too: one thread at a time runs it, and what a pass changes is restored."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from threading import RLock, get_ident
from typing import Any, TypeVar, cast
from weakref import WeakKeyDictionary, WeakSet

import torch
from torch import nn

_Result = TypeVar("_Result")
# All locks of this package.
_ALL: WeakSet[Any] = WeakSet()


def new_lock() -> Any:
    """Return a reentrant lock that a forked process has free, if another thread held it at the fork."""
    lock = RLock()
    _ALL.add(lock)
    return lock


_LOCKS: WeakKeyDictionary[nn.Module, Any] = WeakKeyDictionary()
_LOCKS_LOCK = new_lock()


def lock_of(network: nn.Module) -> Any:
    """Return the lock that all extractors of a network share.

    It is no attribute of an extractor, because locks can't be pickled.
    """
    with _LOCKS_LOCK:
        if network not in _LOCKS:
            _LOCKS[network] = new_lock()
        return _LOCKS[network]


def borrowed(network: nn.Module, is_own: bool, run: Callable[..., _Result], *arguments: Any) -> _Result:
    """Call a function that runs a network: in evaluation mode, without gradients, in IEEE float32.

    It is no context manager, whose end an interrupt may put off until its traceback is collected.

    A network of ours stays in evaluation mode, and runs in inference mode. A module of the user's does not: tensors
    that it keeps from such a pass could not be used in training. Its flags are restored.
    """
    if is_own and network.training:
        network.eval()
    training = []
    if not is_own:
        # Set flags directly: `train` and `eval` of a user's module may have side effects.
        training = [module for module in network.modules() if module.training]
    this_pass = object()
    with torch.inference_mode(is_own), torch.no_grad():
        try:
            _IEEE_FLOAT32.enter(this_pass)
            for module in training:
                module.training = False
            return run(*arguments)
        finally:
            for module in training:
                module.training = True
            try:
                _IEEE_FLOAT32.leave(this_pass)
            except BaseException:
                # An interrupt may come here, too, after the pass is done.
                _IEEE_FLOAT32.leave(this_pass)
                raise


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
    """Passes in which float32 is IEEE's, not TF32 or bfloat16, whatever the process is set to.

    The settings are those of the process, so they are restored once the last of its passes is done. torch has each
    setting twice: an older one, and since 2.9 one for each backend. Code that reads the older setting while the two do
    not agree gets an error, so both are set. If the user's settings do not agree, the older one stays.
    """

    def __init__(self) -> None:
        self._lock = new_lock()
        # Thread of each pass.
        self._threads: dict[object, int] = {}
        # Functions that restore the settings, in the order in which these were set.
        self._restore: list[Callable[[], object]] = []

    def enter(self, this_pass: object) -> None:
        """Begin a pass, which must be left, also if this raises."""
        with self._lock:
            if not self._threads:
                self._set()
            self._threads[this_pass] = get_ident()

    def leave(self, this_pass: object) -> None:
        """End a pass, if it has not ended."""
        with self._lock:
            self._threads.pop(this_pass, None)
            self._restore_if_idle()

    def forget_other_threads(self) -> None:
        """End the passes of threads that a forked process does not have."""
        this_thread = get_ident()
        self._threads = {each: thread for each, thread in self._threads.items() if thread == this_thread}
        self._restore_if_idle()

    def _restore_if_idle(self) -> None:
        """Restore the settings if no pass is running."""
        if not self._threads:
            for restore in reversed(self._restore):
                restore()
            self._restore = []

    def _set(self) -> None:
        """Set the precision; note how to restore each setting before it changes, because an interrupt may come."""
        backends = cast("Any", torch.backends)
        has_cuda = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
        operators = _operators_with_precision(has_cuda)
        matmul = _or_none(torch.get_float32_matmul_precision)
        self._restore = []
        for operator in operators:
            self._restore.append(partial(setattr, operator, "fp32_precision", operator.fp32_precision))
        if matmul not in (None, "highest"):
            self._restore.append(partial(torch.set_float32_matmul_precision, matmul))
            torch.set_float32_matmul_precision("highest")
        if has_cuda and _or_none(lambda: backends.cudnn.allow_tf32):
            self._restore.append(partial(setattr, backends.cudnn, "allow_tf32", True))
            backends.cudnn.allow_tf32 = False
        for operator in operators:
            if operator.fp32_precision not in ("none", "ieee"):
                operator.fp32_precision = "ieee"


def _operators_with_precision(has_cuda: bool) -> list[Any]:
    """Return the operators of torch's backends that have a precision of their own, as they do since torch 2.9."""
    backends = cast("Any", torch.backends)
    operators = [backends.cuda.matmul]
    if has_cuda:
        operators += [getattr(backends.cudnn, name, None) for name in ("conv", "rnn")]
    operators += [getattr(backends.mkldnn, name, None) for name in ("matmul", "conv", "rnn")]
    return [operator for operator in operators if hasattr(operator, "fp32_precision")]


_IEEE_FLOAT32 = _Precision()


def _or_none(read: Callable[[], Any]) -> Any:
    """Return what a function reads; None where torch raises an error because settings do not agree."""
    try:
        return read()
    except RuntimeError:
        return None


def _after_fork() -> None:
    """Release the locks of threads that this process does not have, as Python does with its own locks."""
    for lock in list(_ALL):
        if not lock._is_owned():
            lock._at_fork_reinit()
    _IEEE_FLOAT32.forget_other_threads()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
