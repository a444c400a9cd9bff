"""Processes that share the work of one command, as started by torchrun."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple, TypeVar, cast

import torch
from torch import distributed as dist

if dist.is_available():
    # Functions of this module store the process group that exists when the module is imported. A stored group can't be
    # destroyed, and its threads abort the process at exit. timm and other packages import the module later, so import
    # it here, before any group exists.
    import torch.distributed.nn

_T = TypeVar("_T")
# Current step of this process, see in_step; None outside of a step.
_step: _Step | None = None


def rank() -> int:
    """Return the rank of this process; 0 if there is only one."""
    return dist.get_rank() if _several() else 0


def world_size() -> int:
    """Return the number of processes."""
    return dist.get_world_size() if _several() else 1


def gather(value: _T) -> list[_T]:
    """Gather the values of all processes, by rank. The error of one process is raised in all.

    Raises:
        RuntimeError: If a process has ended.

    """
    return _exchange(value, None) if _several() else [value]


@contextmanager
def in_step(shared: bool = True) -> Iterator[None]:
    """Raise the error of one process in all processes, so that no process waits for the failed one.

    A process that fails joins the next :func:`gather` of the others with its error instead of a value. Call
    :func:`gather` before any other collective function, so that errors are raised before it. A nested step is part of
    the outer step, and ends without a gather.

    Args:
        shared: Whether all processes take this step. If False, the context manager does nothing.

    Raises:
        Exception: The error of the lowest rank that failed. Its type is the nearest built-in type. The message has the
            rank, unless all processes failed with the same error. The attribute ``from_rank`` is the rank.

    """
    global _step
    if not shared or not _several():
        yield
        return
    is_outermost = _step is None
    if _step is None:
        _step = _Step()
    step = _step
    try:
        yield
        if is_outermost:
            # Wait until all processes have ended the step, and raise the error of a process that fails.
            gather(None)
    except _OtherFailedError:
        # This raises the error of the process that failed.
        gather(None)
        raise
    except Exception as err:
        # All processes have the errors with a rank. An error of this process is sent to the others.
        is_of_this_process = not hasattr(err, "from_rank")
        if is_of_this_process:
            step.fail()
            _exchange(None, err)
        raise
    finally:
        if is_outermost:
            _step = None


def raise_if_peer_failed() -> None:
    """Raise an error if another process has failed in this step. The store is read at most once per second."""
    if _step is not None:
        _step.raise_if_peer_failed()


@contextmanager
def joined(report: Callable[[Exception], None]) -> Iterator[None]:
    """Initialize the process group of torchrun, and destroy it at the end.

    Args:
        report: Function that is called with an error of the block. Only one process calls it.

    Raises:
        SystemExit: With code 2 in all processes, after an error in any of them.

    """
    _init_process_group()
    try:
        with in_step():
            yield
    except Exception as err:
        # An error without a rank was not raised in all processes, for example if another process has ended.
        origin = getattr(err, "from_rank", None)
        is_reporter = _first_to_report() if origin is None else origin == rank()
        if is_reporter:
            report(err)
        if origin is not None:
            # torchrun kills all processes when one exits. Wait until the error is reported, so that each process exits
            # with its own code.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            with suppress(RuntimeError):
                dist.barrier()
        raise SystemExit(2) from None
    finally:
        dist.destroy_process_group()


def _init_process_group() -> None:
    """Initialize the process group of torchrun. Each process uses the GPU of its local rank, if there are GPUs."""
    has_cuda = torch.cuda.is_available()
    if has_cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    # The output may be for programs, but the C++ code of gloo in torch 2.8 prints on stdout. Print on stderr meanwhile.
    stdout = os.dup(1)
    os.dup2(2, 1)
    try:
        dist.init_process_group("cpu:gloo,cuda:nccl" if has_cuda else "gloo")
    finally:
        os.dup2(stdout, 1)
        os.close(stdout)


class _OtherFailedError(Exception):
    """Signal that another process has failed. The next gather raises the error of that process."""


class _Failure(NamedTuple):
    """Error in a form that other processes can raise: a built-in type and a message."""

    kind: type[Exception]
    message: str

    @classmethod
    def of(cls, error: Exception) -> _Failure:
        """Convert an error to its nearest built-in type. The message begins with the original type if it is needed."""
        # Types of other packages may be missing in other processes, or need other arguments.
        kind = next(kind for kind in type(error).__mro__ if _takes_message(kind))
        is_clear = kind is type(error) or issubclass(kind, (OSError, RuntimeError, ValueError))
        message = str(error)
        if not is_clear or not message:
            message = f"{type(error).__name__}: {error}".removesuffix(": ")
        return cls(RuntimeError if kind is Exception else kind, message)


def _takes_message(kind: type) -> bool:
    """Return whether a type is a built-in exception whose only argument is its message."""
    if kind.__module__ != "builtins":
        return False
    try:
        return str(kind("x")) == "x"
    except TypeError:
        return False


class _Step:
    """Step that all processes take. The store of the process group has a flag, which is set if a process fails."""

    def __init__(self) -> None:
        self._store = _store()
        # The number of the step is the same in all processes.
        number = self._store.add(f"torchmetrics_dna/steps/{rank()}", 1)
        self._failed = f"torchmetrics_dna/failed/{number}"
        # Time at which the flag was read last.
        self._last_check = float("-inf")

    def fail(self) -> None:
        """Set the flag."""
        with suppress(RuntimeError):
            self._store.set(self._failed, "1")

    def raise_if_peer_failed(self) -> None:
        """Raise an error if the flag is set. The flag is read at most once per second."""
        if time.monotonic() - self._last_check < 1:
            return
        self._last_check = time.monotonic()
        try:
            failed = self._store.check([self._failed])
        except RuntimeError:
            # The process that held the store is gone.
            failed = True
        if failed:
            raise _OtherFailedError


def _exchange(value: _T, error: Exception | None) -> list[_T]:
    """Gather the values of all processes by rank, or raise the error of the first process that has one.

    Args:
        value: Value of this process.
        error: Error of this process, or None.

    """
    exchanged: list[Any] = [None] * world_size()
    own_failure = None if error is None else _Failure.of(error)
    try:
        dist.all_gather_object(exchanged, (value, own_failure))
    except RuntimeError as err:
        if error is not None:
            raise error from error.__cause__
        raise RuntimeError(f"Another process has ended before its work was done ({err})") from err
    failures = {number: failure for number, (_, failure) in enumerate(exchanged) if failure is not None}
    if failures:
        raise _error_of(failures) from error
    return [value for value, _ in exchanged]


def _error_of(failures: Mapping[int, _Failure]) -> Exception:
    """Return the error of the lowest rank, with its rank as the attribute ``from_rank``.

    Args:
        failures: Failure of each process that has failed, by its rank.

    """
    first_rank = min(failures)
    failure = failures[first_rank]
    all_failed_alike = len(failures) == world_size() and len(set(failures.values())) == 1
    message = failure.message if all_failed_alike else f"rank {first_rank}: {failure.message}"
    error: Any = failure.kind(message)
    error.from_rank = first_rank
    return cast("Exception", error)


def _first_to_report() -> bool:
    """Return whether no other process has called this function before."""
    try:
        return bool(_store().add("torchmetrics_dna/told", 1) == 1)
    except RuntimeError:
        # The process that held the store is gone.
        return True


def _store() -> Any:
    """Return the store of the default process group. Reading it does not wait for other processes."""
    return dist.distributed_c10d._get_default_store()


def _several() -> bool:
    """Return whether a process group is initialized."""
    return dist.is_available() and dist.is_initialized()
