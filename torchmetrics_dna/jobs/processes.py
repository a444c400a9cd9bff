"""Processes that share the work of one command, as started by torchrun."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple, TypeVar

import torch
from torch import distributed as dist

if dist.is_available():
    # Functions of this module hold the group that exists when they are imported, by timm among others, as a default
    # argument. That group can't be destroyed, and its threads abort the process at exit. So this import comes before
    # any group exists.
    import torch.distributed.nn

_T = TypeVar("_T")
# Current collective step of this process.
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
    """Raise the error of one process in all of them, so that none waits for it.

    A process that fails joins the next :func:`gather` of the others with its error in place of a value. So a gather
    must precede any other collective call. A nested step is part of the outer one, and ends without a gather.

    Args:
        shared: Whether all processes take this step; if not, this is a no-op.

    Raises:
        Exception: The error of the lowest rank that failed, as its nearest built-in type, with the rank in its
            message unless all failed alike, and as its attribute ``from_rank``.

    """
    global _step
    if not shared or not _several():
        yield
        return
    outermost = _step is None
    step = _step = _step or _Step()
    try:
        yield
        if outermost:
            gather(None)
    except _OtherFailedError:
        gather(None)
        raise
    except Exception as err:
        if not hasattr(err, "from_rank"):
            step.fail()
            _exchange(None, err)
        raise
    finally:
        if outermost:
            _step = None


def raise_if_peer_failed() -> None:
    """Raise if another process has failed in this step; checks at most once a second."""
    if _step is not None:
        _step.raise_if_peer_failed()


@contextmanager
def joined(report: Callable[[Exception], None]) -> Iterator[None]:
    """Initialize the process group of torchrun, and exit with the same code as the other processes: 2 after an error.

    Args:
        report: Function that is called with the error, in one process.

    """
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    # The output may be for programs, but the C++ code of gloo in torch 2.8 prints on stdout.
    stdout = os.dup(1)
    os.dup2(2, 1)
    try:
        dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo")
    finally:
        os.dup2(stdout, 1)
        os.close(stdout)
    try:
        with in_step():
            yield
    except Exception as err:
        origin = getattr(err, "from_rank", None)
        if origin == rank() or (origin is None and _first_to_report()):
            report(err)
        if origin is not None:
            # torchrun kills the others when one exits, so wait until the error is reported and exit with our own code.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            with suppress(RuntimeError):
                dist.barrier()
        raise SystemExit(2) from None
    finally:
        dist.destroy_process_group()


class _OtherFailedError(Exception):
    """Another process has failed; the next gather raises its error."""


class _Failure(NamedTuple):
    """Error in a form that other processes can raise."""

    kind: type[Exception]
    message: str

    @classmethod
    def of(cls, error: Exception) -> _Failure:
        # Types of other packages may be missing in other processes, or need other arguments.
        for kind in type(error).__mro__:
            with suppress(TypeError):
                if kind.__module__ == "builtins" and str(kind("x")) == "x":
                    break
        plain = kind is type(error) or issubclass(kind, (OSError, RuntimeError, ValueError))
        message = str(error) if plain and str(error) else f"{type(error).__name__}: {error}".removesuffix(": ")
        return cls(RuntimeError if kind is Exception else kind, message)


class _Step:
    """Flag in the store of the group for a failure, which busy processes poll."""

    def __init__(self) -> None:
        self._store = _store()
        # The number of the step is the same in all processes.
        number = self._store.add(f"torchmetrics_dna/steps/{rank()}", 1)
        self._failed = f"torchmetrics_dna/failed/{number}"
        # Time of the last check.
        self._last_check = float("-inf")

    def fail(self) -> None:
        with suppress(RuntimeError):
            self._store.set(self._failed, "1")

    def raise_if_peer_failed(self) -> None:
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
    exchanged: list[Any] = [None] * world_size()
    try:
        dist.all_gather_object(exchanged, (value, error and _Failure.of(error)))
    except RuntimeError as err:
        if error is not None:
            raise error from error.__cause__
        raise RuntimeError(f"Another process has ended before its work was done ({err})") from err
    failures = {number: failure for number, (_, failure) in enumerate(exchanged) if failure}
    if failures:
        first, (kind, message) = next(iter(failures.items()))
        alike = len(failures) == world_size() and len(set(failures.values())) == 1
        raised = kind(message if alike else f"rank {first}: {message}")
        raised.from_rank = first
        raise raised from error
    return [value for value, _ in exchanged]


def _first_to_report() -> bool:
    try:
        return bool(_store().add("torchmetrics_dna/told", 1) == 1)
    except RuntimeError:
        # The process that held the store is gone.
        return True


def _store() -> Any:
    """Return the store of the default group, which works without the other processes."""
    return dist.distributed_c10d._get_default_store()


def _several() -> bool:
    return dist.is_available() and dist.is_initialized()
