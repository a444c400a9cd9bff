"""Guard a shared network: one thread at a time runs it, and settings that a forward pass changes are restored."""

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
# All locks that this module created.
_ALL: WeakSet[Any] = WeakSet()


def new_lock() -> Any:
    """Return a reentrant lock that is released in a forked process if another thread held it during the fork."""
    lock = RLock()
    _ALL.add(lock)
    return lock


_LOCKS: WeakKeyDictionary[nn.Module, Any] = WeakKeyDictionary()
_LOCKS_LOCK = new_lock()


def lock_of(network: nn.Module) -> Any:
    """Return the lock that all extractors of a network share.

    The lock is not an attribute of an extractor, because locks can't be pickled.
    """
    with _LOCKS_LOCK:
        if network not in _LOCKS:
            _LOCKS[network] = new_lock()
        return _LOCKS[network]


def borrowed(network: nn.Module, is_own: bool, run: Callable[..., _Result], *arguments: Any) -> _Result:
    """Call a function that runs a network: in evaluation mode, without gradients, in IEEE float32.

    This is not a context manager. After an interrupt, the exit of a context manager may be delayed until the traceback
    is garbage-collected.

    Args:
        network: The network.
        is_own: Whether the package built the network. Such a network runs in inference mode, and stays in evaluation
            mode. The user's module does not run in inference mode, because tensors that it keeps from the pass could
            then not be used in training. Its training flags are restored.
        run: Function to call.
        arguments: Arguments of the function.

    Returns:
        The result of ``run``.

    """
    if is_own and network.training:
        network.eval()
    modules_in_training = []
    if not is_own:
        modules_in_training = [module for module in network.modules() if module.training]
    with torch.inference_mode(is_own), torch.no_grad():
        try:
            # Set flags directly: `train` and `eval` of the user's module may have side effects.
            for module in modules_in_training:
                module.training = False
            return _in_ieee_float32(run, *arguments)
        finally:
            for module in modules_in_training:
                module.training = True


def _in_ieee_float32(run: Callable[..., _Result], *arguments: Any) -> _Result:
    """Return the result of a function that is called while the precision is IEEE float32."""
    this_pass = object()
    try:
        _IEEE_FLOAT32.enter(this_pass)
        return run(*arguments)
    finally:
        try:
            _IEEE_FLOAT32.leave(this_pass)
        except BaseException:
            # An interrupt may also come while the settings are restored: restore the rest.
            _IEEE_FLOAT32.leave(this_pass)
            raise


@contextmanager
def float32_by_default() -> Iterator[None]:
    """Make new tensors float32 within the context.

    Without it, the weights of a network would have the default dtype, which is half precision while some models are
    built.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


class _Precision:
    """Precision of all running forward passes: IEEE float32, instead of TF32 or bfloat16.

    The settings hold for the whole process, so they are restored when the last pass ends. torch has each setting twice:
    an older one, and since 2.9 one per backend. Reading the older setting raises an error if both disagree, so both are
    set here. If the user's two settings disagree, the older setting is not changed.
    """

    def __init__(self) -> None:
        self._lock = new_lock()
        # Thread of each running pass.
        self._threads: dict[object, int] = {}
        # Functions that restore the settings, in the order of the changes.
        self._restore: list[Callable[[], object]] = []

    def enter(self, this_pass: object) -> None:
        """Begin a pass. The caller must call ``leave`` afterwards, even if this method raises an error."""
        with self._lock:
            if not self._threads:
                self._set_to_float32()
            self._threads[this_pass] = get_ident()

    def leave(self, this_pass: object) -> None:
        """End a pass; do nothing to passes that have already ended."""
        with self._lock:
            self._threads.pop(this_pass, None)
            self._restore_if_idle()

    def forget_other_threads(self) -> None:
        """End the passes of all other threads, which do not exist in a forked process."""
        this_thread = get_ident()
        self._threads = {running: thread for running, thread in self._threads.items() if thread == this_thread}
        self._restore_if_idle()

    def _restore_if_idle(self) -> None:
        """Restore the settings if no pass is running."""
        if not self._threads:
            for restore in reversed(self._restore):
                restore()
            self._restore = []

    def _set_to_float32(self) -> None:
        """Set the precision to IEEE float32.

        The function that restores a setting is recorded before the setting changes, because an interrupt may come in
        between.
        """
        has_cuda = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
        operators = _operators_with_precision(has_cuda)
        self._restore = []
        # The older settings also change those of the operators, so the operators are recorded first.
        for operator in operators:
            self._restore.append(partial(setattr, operator, "fp32_precision", operator.fp32_precision))
        self._set_older_settings(has_cuda)
        for operator in operators:
            # An operator with "none" takes the setting of its backend.
            if operator.fp32_precision not in ("none", "ieee"):
                operator.fp32_precision = "ieee"

    def _set_older_settings(self, has_cuda: bool) -> None:
        """Set the older settings to IEEE float32, unless the user's settings disagree."""
        cudnn = cast("Any", torch.backends).cudnn
        matmul_precision = _unless_settings_disagree(torch.get_float32_matmul_precision)
        if matmul_precision is not None and matmul_precision != "highest":
            self._restore.append(partial(torch.set_float32_matmul_precision, matmul_precision))
            torch.set_float32_matmul_precision("highest")
        if has_cuda and _unless_settings_disagree(lambda: cudnn.allow_tf32):
            self._restore.append(partial(setattr, cudnn, "allow_tf32", True))
            cudnn.allow_tf32 = False


def _operators_with_precision(has_cuda: bool) -> list[Any]:
    """Return the operators of torch's backends that have their own precision setting (torch 2.9 and later)."""
    backends = cast("Any", torch.backends)
    operators = [backends.cuda.matmul]
    if has_cuda:
        operators += [getattr(backends.cudnn, name, None) for name in ("conv", "rnn")]
    operators += [getattr(backends.mkldnn, name, None) for name in ("matmul", "conv", "rnn")]
    return [operator for operator in operators if hasattr(operator, "fp32_precision")]


_IEEE_FLOAT32 = _Precision()


def _unless_settings_disagree(read: Callable[[], Any]) -> Any:
    """Return an older setting; None if torch raises an error, because the setting disagrees with that of a backend."""
    try:
        return read()
    except RuntimeError:
        return None


def _after_fork() -> None:
    """Release the locks that other threads of the parent process held, as Python does with its own locks."""
    for lock in list(_ALL):
        if not lock._is_owned():
            lock._at_fork_reinit()
    _IEEE_FLOAT32.forget_other_threads()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
