"""The engine on Ray: actors do the work, tasks merge."""

from __future__ import annotations

import os
import pickle
import platform
import warnings
from collections import Counter, deque
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import torch

from torchmetrics_dna.extras import require
from torchmetrics_dna.files.damage import reason_of
from torchmetrics_dna.jobs.engine import Engine, LostError, Session, Work
from torchmetrics_dna.kernels.memory import keep_freed_memory
from torchmetrics_dna.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_MOST_LOSSES = 5  # of workers over one number, or before one has begun
_MOST_CALLS = 4  # that are not done: what they take is in the memory of the cluster
_PATIENCE = 60.0  # seconds


class RayEngine(Engine):
    """Workers in a Ray cluster: this process's, one that it can find, or one of this machine alone.

    Args:
        address: Such as ``"ray://head:10001"``. None for the cluster that this process is connected to, else that of
            ``RAY_ADDRESS``, else one that runs on this machine, else a new one.
        actors: How many workers there are at most; by default as many as the cluster has room for.
        cpus: Cores of each.
        gpus: GPUs of each; by default 1 if the cluster has any, else 0. Shares such as 0.5 let workers share one.

    Raises:
        ValueError: If a number is out of range.

    """

    def __init__(
        self, address: str | None = None, *, actors: int | None = None, cpus: int = 1, gpus: float | None = None
    ) -> None:
        for name, value, least in (("actors", actors, 1), ("cpus", cpus, 1), ("gpus", gpus, 0)):
            if value is not None and value < least:
                raise ValueError(f"Setting `{name}` of ray expected to be at least {least}, but got {value}")
        self.address = address
        self.actors, self.cpus, self.gpus = actors, cpus, gpus

    @contextmanager
    def open(self) -> Iterator[Session]:
        """As for any engine; a cluster that was started for it is stopped."""
        ray = require("ray", "ray")
        connected = ray.is_initialized()
        with ExitStack() as undo:
            if not connected:
                undo.callback(ray.shutdown)
                try:
                    self._connect(ray, undo)
                except Exception as err:  # of as many types as there are reasons
                    where = f"the Ray cluster {self.address!r}" if self.address else "a Ray cluster"
                    raise ConnectionError(f"Can't connect to {where}: {reason_of(err)}; see that it runs") from err
            session = _RaySession(ray, self)
            undo.callback(session.end)
            yield session

    def _connect(self, ray: Any, undo: ExitStack) -> None:
        """Join a cluster, or where none was named and none runs, start one that nobody else can reach."""
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}  # our output may be for programs
        address = self.address or os.environ.get("RAY_ADDRESS")
        if address is None and require("ray._private.services", "ray").canonicalize_bootstrap_address(None) is None:
            undo.enter_context(_closed())
            address, options["include_dashboard"] = "local", False
        ray.init(address, **options)


@contextmanager
def _closed() -> Iterator[None]:
    """Have a new cluster listen on loopback alone, as Ray does by itself on macOS and Windows, and ask for a token."""
    constants, config = require("ray._private.ray_constants", "ray"), require("ray._raylet", "ray").Config
    settings = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": os.environ.get("RAY_AUTH_MODE", "token")}
    before = {name: os.environ.get(name) for name in settings}
    is_open = constants.ENABLE_RAY_CLUSTER
    os.environ |= settings  # for its processes; here they were read before
    constants.ENABLE_RAY_CLUSTER = False
    config.initialize("")
    try:
        yield
    finally:
        constants.ENABLE_RAY_CLUSTER = is_open
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
        config.initialize("")


class _RaySession(Session):
    def __init__(self, ray: Any, engine: RayEngine) -> None:
        self._ray = ray
        self._tasks: dict[Callable[..., Any], Any] = {}
        self._calls: list[Any] = []
        self._pools: list[_Pool] = []
        resources = ray.cluster_resources()
        gpus = float("GPU" in resources) if engine.gpus is None else engine.gpus
        room = int(resources.get("CPU", 0) // engine.cpus)
        room = min(room, int(resources.get("GPU", 0) // gpus)) if gpus else room
        self._actors = engine.actors or max(1, room)
        self._resources = {"num_cpus": engine.cpus, "num_gpus": gpus}

    def map(self, work: Work, numbers: Sequence[int]) -> Iterator[tuple[int, Any]]:
        try:
            pickled = require("ray.cloudpickle", "ray").dumps(work)
        except Exception as err:  # whatever pickle meets
            raise ValueError(
                f"{work.label!r} or its extractor lives in this process and can't be sent to others ({reason_of(err)});"
                " give files or addresses, and a named extractor or a module that can be pickled"
            ) from err
        pool = _Pool(self._ray, self._ray.put(pickled), self._resources, min(self._actors, len(numbers)))
        self._pools.append(pool)
        yield from pool.map(numbers)

    def put(self, value: Any) -> Any:
        return self._ray.put(value)

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        if function not in self._tasks:
            # no core is asked for, since workers may hold all of them
            self._tasks[function] = self._ray.remote(num_cpus=0, max_retries=-1, scheduling_strategy="SPREAD")(function)
        while len(self._calls) >= _MOST_CALLS:
            _, self._calls = self._ray.wait(self._calls, num_returns=1, fetch_local=False)
        self._calls.append(self._tasks[function].remote(*arguments))
        return self._calls[-1]

    def get(self, handle: Any) -> Any:
        try:
            return self._ray.get(handle)
        except self._ray.exceptions.RayError as err:
            cause = _cause(err)
            if isinstance(cause, self._ray.exceptions.RayError):
                raise LostError(reason_of(cause)) from err
            raise cause from err

    def end(self) -> None:
        """Let go of all that is kept."""
        for pool in self._pools:
            pool.end()
        self._calls.clear()


class _Pool:
    """Actors that share numbers; each has one at a time, and none stays without any."""

    def __init__(self, ray: Any, work: Any, resources: dict[str, float], size: int) -> None:
        self._ray, self._work, self._size = ray, work, size
        # a lost actor is not restarted but replaced: its own restart may wait for ever for room that others have
        self._actor = ray.remote(**resources, max_restarts=0, max_task_retries=0)(_Worker)
        self._starting: dict[Any, Any] = {}
        self._busy: dict[Any, tuple[Any, int]] = {}
        self._waiting: deque[int] = deque()
        self._losses: Counter[int | None] = Counter()
        self._failed: dict[int, Exception] = {}

    def map(self, numbers: Sequence[int]) -> Iterator[tuple[int, Any]]:
        self._waiting.extend(numbers)
        while self._waiting or self._unsettled():
            self._start()
            done, _ = self._ray.wait([*self._starting, *self._busy], num_returns=1, timeout=_PATIENCE)
            if not done and not self._busy:
                warnings.warn(
                    f"No Ray worker has started for {_PATIENCE:.0f} s: the cluster has"
                    f" {_told(self._ray.available_resources())} free; waiting for more",
                    stacklevel=2,
                )
            for ref in done:
                actor, number = self._starting.pop(ref, None), None
                if actor is None:
                    actor, number = self._busy.pop(ref)
                found = self._result(ref, actor, number)
                if found is _LOST:
                    continue
                self._losses.pop(number, None)
                self._give(actor)  # before whoever iterates takes its time
                if number is not None and number not in self._failed:
                    yield number, found
        if self._failed:
            raise self._failed[min(self._failed)]

    def _unsettled(self) -> bool:
        """True if a number is being worked on whose result counts: all, or those below the lowest that failed."""
        return any(number < min(self._failed, default=number + 1) for _, number in self._busy.values())

    def _start(self) -> None:
        """Start as many actors as there is work for."""
        while len(self._starting) + len(self._busy) < min(self._size, len(self._waiting) + len(self._busy)):
            actor = self._actor.remote()
            self._starting[actor.begin.remote(self._work, os.getcwd(), __version__)] = actor  # noqa: PTH109

    def _give(self, actor: Any) -> None:
        """Give an actor the next number, or let it go, so that its room is for others."""
        if self._waiting:
            number = self._waiting.popleft()
            self._busy[actor.do.remote(number)] = actor, number
        else:
            self._ray.kill(actor)

    def _result(self, ref: Any, actor: Any, number: int | None) -> Any:
        """Result of an actor, or ``_LOST`` if the actor died; its number is then queued again."""
        try:
            return self._ray.get(ref)
        except self._ray.exceptions.RayError as err:
            cause = _cause(err)
            if not isinstance(cause, self._ray.exceptions.RayError):
                if number is None:
                    raise cause from err
                self._failed[number] = cause
                self._waiting.clear()
                return None
            self._lose(actor, number, cause)
            return _LOST

    def _lose(self, actor: Any, number: int | None, cause: Exception) -> None:
        with suppress(Exception):  # it may be gone, or cut off
            self._ray.kill(actor)
        self._losses[number] += 1
        if self._losses[number] > _MOST_LOSSES:
            what = "before it began" if number is None else f"at part {number}"
            raise RuntimeError(
                f"Ray has lost {self._losses[number]} workers {what} ({reason_of(cause)}); see that they have enough"
                " memory, and torchmetrics-dna as here"
            ) from cause
        if number is not None and number < min(self._failed, default=number + 1):
            self._waiting.appendleft(number)

    def end(self) -> None:
        for actor in [*self._starting.values(), *(actor for actor, _ in self._busy.values())]:
            with suppress(Exception):
                self._ray.kill(actor)


_LOST = object()


class _Worker:
    """Body of an actor."""

    def begin(self, pickled: bytes, folder: str, version: str) -> None:
        """Get ready, as in the driver's process: relative paths are below its folder."""
        host = platform.node()
        if version != __version__:
            raise ValueError(f"{host} has torchmetrics-dna {__version__}, expected {version}; install that there")
        with suppress(OSError):
            os.chdir(folder)
        try:
            self._work: Work = pickle.loads(pickled)
        except Exception as err:  # whatever pickle meets
            raise ValueError(
                f"{host} can't unpickle the images or the extractor ({reason_of(err)}); install there what is here"
            ) from err
        ray = require("ray", "ray")
        cores = int(ray.get_runtime_context().get_assigned_resources().get("CPU", 1))
        torch.set_num_threads(cores)
        keep_freed_memory()
        self._work.begin("cuda" if ray.get_gpu_ids() else "cpu", cores)

    def do(self, number: int) -> Any:
        return self._work(number)


def _cause(err: Exception) -> Exception:
    """The error of what ran, if it was that, else Ray's own."""
    cause = getattr(err, "cause", None)
    return cause if isinstance(cause, Exception) else err


def _told(resources: dict[str, float]) -> str:
    return ", ".join(f"{resources.get(name, 0):g} {name}" for name in ("CPU", "GPU"))
