"""Engine on Ray: actors share the splits."""

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
from torchmetrics_dna.jobs.engine import Engine, Work
from torchmetrics_dna.kernels.memory import keep_freed_memory
from torchmetrics_dna.version import __version__

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

_MOST_LOSSES = 5  # of workers at one number, or before the first one starts
_PATIENCE = 60.0  # seconds


class RayEngine(Engine):
    """Engine with workers in a Ray cluster: a connected, named or running one, or a new one on this machine.

    Args:
        address: Address such as ``"ray://head:10001"``. None for the cluster that this process is connected to, else
            that of ``RAY_ADDRESS``, else one that runs on this machine, else a new one.
        actors: Maximum number of workers; by default as many as the cluster has room for.
        cpus: Number of cores of each worker.
        gpus: Number of GPUs of each worker; by default 1 if the cluster has any, else 0. Fractions such as 0.5 let
            workers share one.

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

    def run(self, work: Work, numbers: Sequence[int]) -> Generator[tuple[int, Any], None, None]:
        """Run the work as for any engine; a cluster started for it is stopped."""
        ray = require("ray", "ray")
        try:
            pickled = require("ray.cloudpickle", "ray").dumps(work)
        except Exception as err:  # whatever pickle meets
            raise ValueError(
                f"{work.label!r} or its extractor lives in this process and can't be sent to others ({reason_of(err)});"
                " give files or addresses, and a named extractor or a module that can be pickled"
            ) from err
        with self._connected(ray):
            actors, resources = self._room(ray.cluster_resources())
            yield from _shared(ray, ray.put(pickled), resources, actors, numbers)

    def _room(self, cluster: dict[str, float]) -> tuple[int, dict[str, float]]:
        """Return the maximum number of actors in a cluster, and the resources of each."""
        gpus = float("GPU" in cluster) if self.gpus is None else self.gpus
        room = int(cluster.get("CPU", 0) // self.cpus)
        room = min(room, int(cluster.get("GPU", 0) // gpus)) if gpus else room
        return self.actors or max(1, room), {"num_cpus": self.cpus, "num_gpus": gpus}

    @contextmanager
    def _connected(self, ray: Any) -> Iterator[None]:
        if ray.is_initialized():
            yield
            return
        with ExitStack() as undo:
            undo.callback(ray.shutdown)
            try:
                self._connect(ray, undo)
            except Exception as err:  # Ray raises many types
                where = f"the Ray cluster {self.address!r}" if self.address else "a Ray cluster"
                raise ConnectionError(f"Can't connect to {where}: {reason_of(err)}; see that it runs") from err
            yield

    def _connect(self, ray: Any, undo: ExitStack) -> None:
        """Connect to a cluster; if none is named and none runs, start one that is closed to others."""
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}  # our output may be for programs
        address = self.address or os.environ.get("RAY_ADDRESS")
        if address is None and require("ray._private.services", "ray").canonicalize_bootstrap_address(None) is None:
            undo.enter_context(_closed())
            address, options["include_dashboard"] = "local", False
        ray.init(address, **options)


@contextmanager
def _closed() -> Iterator[None]:
    """Make a new cluster listen on loopback only, as Ray's default on macOS and Windows, and require a token."""
    constants, config = require("ray._private.ray_constants", "ray"), require("ray._raylet", "ray").Config
    settings = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": os.environ.get("RAY_AUTH_MODE", "token")}
    before = {name: os.environ.get(name) for name in settings}
    is_open = constants.ENABLE_RAY_CLUSTER
    os.environ |= settings  # for its processes; this one has read its environment already
    constants.ENABLE_RAY_CLUSTER = False
    config.initialize("")
    try:
        yield
    finally:
        constants.ENABLE_RAY_CLUSTER = is_open
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
        config.initialize("")


def _shared(
    ray: Any, work: Any, resources: dict[str, float], most: int, numbers: Sequence[int]
) -> Generator[tuple[int, Any], None, None]:
    """Share numbers among at most ``most`` actors, each with one number at a time.

    A lost actor is replaced, and its number requeued. Ray's own retries are no substitute: they are used up within
    seconds after a node dies, and without a limit, a split that kills its worker is retried forever.
    """
    worker = ray.remote(**resources, max_restarts=0, max_task_retries=0)(_Worker)
    waiting, failed, losses = deque(numbers), dict[int, Exception](), Counter[int | None]()
    calls: dict[Any, tuple[Any, int | None]] = {}  # actor and its number, None while it starts
    try:
        while True:
            working = [number for _, number in calls.values() if number is not None]
            if not waiting and all(number > min(failed, default=number) for number in working):
                break
            while len(calls) < min(most, len(waiting) + len(working)):
                actor = worker.remote()
                calls[actor.begin.remote(work, os.getcwd(), __version__)] = actor, None  # noqa: PTH109
            finished, _ = ray.wait([*calls], num_returns=1, timeout=_PATIENCE)
            if not finished and not working:
                free = ray.available_resources()
                warnings.warn(
                    f"No Ray worker has started for {_PATIENCE:.0f} s: the cluster has {free.get('CPU', 0):g} CPU,"
                    f" {free.get('GPU', 0):g} GPU free; waiting for more",
                    stacklevel=2,
                )
            for call in finished:
                actor, number = calls.pop(call)
                try:
                    result = ray.get(call)
                except ray.exceptions.RayError as err:
                    _kill(ray, actor)
                    cause = getattr(err, "cause", None)
                    if not isinstance(cause, Exception) or isinstance(cause, ray.exceptions.RayError):
                        losses[number] += 1
                        if losses[number] > _MOST_LOSSES:
                            raise _lost(number, losses[number], cause or err) from err
                        if number is not None and number < min(failed, default=number + 1):
                            waiting.appendleft(number)
                    elif number is None:
                        raise cause from err
                    else:
                        failed[number] = cause
                        waiting = deque(each for each in waiting if each < number)  # requeued ones still run
                    continue
                del losses[number]
                if waiting:  # before yielding, so that the actor works while the caller does
                    following = waiting.popleft()
                    calls[actor.do.remote(following)] = actor, following
                else:
                    _kill(ray, actor)  # frees its resources for others
                if number is not None:
                    yield number, result
                del result
    finally:
        for actor, _ in calls.values():
            _kill(ray, actor)
    if failed:
        raise failed[min(failed)]


class _Worker:
    """Class of the Ray actors."""

    def begin(self, pickled: bytes, folder: str, version: str) -> None:
        """Set up as in the driver's process, whose relative paths then work."""
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


def _kill(ray: Any, actor: Any) -> None:
    with suppress(Exception):  # it may be gone, or cut off
        ray.kill(actor)


def _lost(number: int | None, times: int, cause: Exception) -> RuntimeError:
    what = "before it began" if number is None else f"at part {number}"
    return RuntimeError(
        f"Ray has lost {times} workers {what} ({reason_of(cause)}); see that they have enough memory, and"
        " torchmetrics-dna as here"
    )
