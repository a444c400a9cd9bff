"""Several processes that share the work of one command, as torchrun starts them."""

from __future__ import annotations

import os
import signal
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import torch
from torch import distributed as dist

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

if dist.is_available():
    # Its functions keep the group that exists when they are imported (by timm, for one) as their default. It can't be
    # destroyed then, and its threads abort the process when it exits. So they are imported before there is a group.
    import torch.distributed.nn

_T = TypeVar("_T")
_step: _Step | None = None  # the step that this process takes together with the others


def rank() -> int:
    """This process's number; 0 where there is only one."""
    return dist.get_rank() if _several() else 0


def world_size() -> int:
    """Number of processes."""
    return dist.get_world_size() if _several() else 1


def gather(value: _T) -> list[_T]:
    """Gather the values of all processes, by rank; if one has failed, raise its error in all of them.

    Raises:
        RuntimeError: If a process has ended.

    """
    return _exchange(value, None) if _several() else [value]


@contextmanager
def in_step(shared: bool = True) -> Iterator[None]:
    """Raise the error of one process in all of them, so that none waits for it.

    A process that fails takes part in the next :func:`gather` of the others, with its error in place of a value. So a
    gather must come right before any other collective call. A step within a step is part of it, and ends without one.

    Args:
        shared: Whether all processes take this step; if not, nothing is done.

    Raises:
        Exception: The error of the lowest rank that failed, of the nearest type that Python has, with the rank in its
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


def heed() -> None:
    """Stop if another process has failed in this step; asks at most once a second."""
    if _step is not None:
        _step.heed()


@contextmanager
def joined(tell: Callable[[Exception], None]) -> Iterator[None]:
    """Join the processes that torchrun has started, and end like them.

    Args:
        tell: Called in one process with the error of all.

    Raises:
        SystemExit: With code 2, after an error.

    """
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    with _stdout_to_stderr():
        dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo")
    try:
        with in_step():
            yield
    except Exception as err:
        origin = getattr(err, "from_rank", None)
        if origin == rank() or (origin is None and _first_to_tell()):
            tell(err)
        if origin is not None:
            # torchrun ends the others when one has ended: wait until the error is told, and end with our own code
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            with suppress(RuntimeError):
                dist.barrier()
        raise SystemExit(2) from None
    finally:
        dist.destroy_process_group()


@contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """Of C++, too: gloo of torch 2.8 prints that it is connected, and our output may be for programs."""
    stdout = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        os.dup2(stdout, 1)
        os.close(stdout)


class _OtherFailedError(Exception):
    """Another process has failed; the next gather says how."""


class _Failure(NamedTuple):
    """An error that others can raise, too."""

    kind: type[Exception]
    message: str

    @classmethod
    def of(cls, error: Exception) -> _Failure:
        # types of other packages may not be there in the other processes, or take other arguments
        for kind in type(error).__mro__:
            with suppress(TypeError):
                if kind.__module__ == "builtins" and str(kind("x")) == "x":
                    break
        plain = kind is type(error) or issubclass(kind, (OSError, RuntimeError, ValueError))
        message = str(error) if plain and str(error) else f"{type(error).__name__}: {error}".removesuffix(": ")
        return cls(RuntimeError if kind is Exception else kind, message)


class _Step:
    """Mailbox for a failure, which busy processes look into."""

    def __init__(self) -> None:
        self._store = _store()
        number = self._store.add(f"torchmetrics_dna/steps/{rank()}", 1)  # the same in all processes
        self._failed = f"torchmetrics_dna/failed/{number}"
        self._asked = float("-inf")

    def fail(self) -> None:
        with suppress(RuntimeError):
            self._store.set(self._failed, "1")

    def heed(self) -> None:
        if time.monotonic() - self._asked < 1:
            return
        self._asked = time.monotonic()
        try:
            failed = self._store.check([self._failed])
        except RuntimeError:  # the process that held it is gone
            failed = True
        if failed:
            raise _OtherFailedError


def _exchange(value: _T, error: Exception | None) -> list[_T]:
    found: list[Any] = [None] * world_size()
    try:
        dist.all_gather_object(found, (value, error and _Failure.of(error)))
    except RuntimeError as err:
        if error is not None:
            raise error from error.__cause__
        raise RuntimeError(f"Another process has ended before its work was done ({err})") from err
    failures = {number: failure for number, (_, failure) in enumerate(found) if failure}
    if failures:
        first, (kind, message) = next(iter(failures.items()))
        alike = len(failures) == world_size() and len(set(failures.values())) == 1
        raised = kind(message if alike else f"rank {first}: {message}")
        raised.from_rank = first
        raise raised from error
    return [value for value, _ in found]


def _first_to_tell() -> bool:
    try:
        return bool(_store().add("torchmetrics_dna/told", 1) == 1)
    except RuntimeError:  # the process that held it is gone
        return True


def _store() -> Any:
    """The store of the default group, which answers without the other processes."""
    return dist.distributed_c10d._get_default_store()


def _several() -> bool:
    return dist.is_available() and dist.is_initialized()
