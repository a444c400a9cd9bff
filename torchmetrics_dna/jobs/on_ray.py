"""Measure the parts of a job on Ray, in tasks that Ray repeats if a worker is lost."""

from __future__ import annotations

import os
import pickle
import platform
import re
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch

from torchmetrics_dna.extras import require
from torchmetrics_dna.files.damage import reason_of
from torchmetrics_dna.images import Images, ImageStream
from torchmetrics_dna.images.paths import is_address
from torchmetrics_dna.jobs.job import Share, count_images
from torchmetrics_dna.jobs.processes import world_size
from torchmetrics_dna.options import argument, written
from torchmetrics_dna.version import __version__

if TYPE_CHECKING:
    from torchmetrics_dna.dna import DNA
    from torchmetrics_dna.jobs.parts import Parts

# Number of workers that may be lost at one part before it is an error.
_LOSSES = 5
_CLUSTER = re.compile(r"(ray|ray://[^?]+)(?:[?&]cpus=([1-9]\d*)|[?&]gpus=(\d*\.?\d+))*")


def check_on_ray(on: str, images: Images) -> None:
    """Raise ValueError unless ``on`` names a cluster that can read these images, and there is one process here."""
    if not _CLUSTER.fullmatch(str(on)):
        expected = "'ray' or 'ray://HOST:PORT', perhaps with cores and GPUs of each task, 'ray?cpus=8&gpus=1'"
        remedy = f"a GPU here is a {written('device')}"
        raise ValueError(f"{argument('on')} expected to be {expected}, but got {on!r}; {remedy}")
    if isinstance(images, ImageStream) and not images.of_files:
        raise ValueError(f"{images.label!r} lives in this process, so Ray can't read it; give files or addresses")
    if world_size() > 1:
        raise ValueError(f"{argument('on')} has workers of its own, but torchrun has started several processes")


def finish_on_ray(parts: Parts, on: str) -> Iterator[Share]:
    """Measure the missing parts of a job on Ray, put them in their folder in order, and yield the results of each part.

    Args:
        parts: The parts.
        on: ``"ray"`` for the cluster of ``RAY_ADDRESS``, one that runs on this machine, or else a new one; or
            ``"ray://HOST:PORT"``. Cores and GPUs of each task may follow: ``"ray?cpus=8&gpus=1"``.

    Raises:
        ConnectionError: If the cluster can't be reached.
        RuntimeError: If workers are lost repeatedly.
        Exception: The error of the first part that failed.

    """
    match = _CLUSTER.fullmatch(on)
    assert match is not None
    address, cpus, gpus = match.groups()
    numbers = parts.missing()
    images = parts.images
    progress = parts.job.reading.progress or (lambda *_: None)
    num_done = 0
    total = count_images(images, [parts.ranges[number] for number in numbers])
    if not numbers:
        return
    if "RAY_ADDRESS" not in os.environ:
        # A new cluster listens on loopback only.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    ray = require("ray", "ray")
    work = _pickled(ray, parts)
    with ExitStack() as stack:
        if not ray.is_initialized():
            _connect(ray, address, on)
            stack.callback(ray.shutdown)
        # By default, a task has one core, and one GPU if the cluster has any.
        num_cpus = int(cpus or 1)
        num_gpus = float("GPU" in ray.cluster_resources() if gpus is None else gpus)
        task = ray.remote(num_cpus=num_cpus, num_gpus=num_gpus, max_retries=_LOSSES, max_calls=0)(_finished)
        folder = os.getcwd()  # noqa: PTH109
        shared_work = ray.put(work)
        calls = [
            task.remote(parts.ranges[number], shared_work, folder, __version__, num_cpus, num_gpus)
            for number in numbers
        ]
        stack.callback(lambda: [ray.cancel(call, force=True) for call in calls])
        for number, call in zip(numbers, calls, strict=True):
            dnas, share = _result_of(ray, call, number)
            parts.put(number, dnas, share)
            num_done += share.num_images + len(share.unreadable)
            progress(images.label, num_done, total)
            yield share
    if total is None and num_done:
        progress(images.label, num_done, num_done)


def _connect(ray: Any, address: str, on: str) -> None:
    """Connect to a cluster of Ray, or start one on this machine.

    Args:
        ray: The module.
        address: ``"ray"`` for the cluster of the environment, or the address of a cluster.
        on: The argument that names the cluster, for the error.

    Raises:
        ConnectionError: If the cluster can't be reached.

    """
    try:
        # Ray does not log, since stdout may be for programs.
        ray.init(None if address == "ray" else address, log_to_driver=False, logging_level="ERROR")
    except Exception as err:
        # Ray raises many types.
        raise ConnectionError(f"Can't connect to {on!r}: {reason_of(err)}") from err


def _result_of(ray: Any, call: Any, number: int) -> tuple[Any, Share]:
    """Wait for a call that measures a part, and return the DNAs of the part and its share of the job.

    Raises:
        RuntimeError: If Ray lost the call.
        Exception: The error of the part, if it failed.

    """
    try:
        result = ray.get(call)
    except ray.exceptions.RayError as err:
        raise RuntimeError(
            f"Ray could not measure part {number} ({reason_of(err)}); see that its machines have enough memory,"
            " and what is installed here"
        ) from err
    if isinstance(result, Exception):
        raise result
    dnas, share = result
    return dnas, share


def _pickled(ray: Any, parts: Parts) -> bytes:
    """Pickle job and images, with the network on the CPU: a machine without its device can't unpickle it."""
    job = parts.job
    device = job.extractor.device
    job.extractor.to("cpu")
    try:
        silent = replace(job, reading=replace(job.reading, progress=None))
        return bytes(ray.cloudpickle.dumps((silent, parts.images)))
    except Exception as err:
        # Objects raise errors of any type when they are pickled.
        raise ValueError(
            f"{parts.images.label!r} or its extractor can't be sent to workers ({reason_of(err)}); give files or"
            " addresses, and a named extractor or a module that can be pickled"
        ) from err
    finally:
        job.extractor.to(device)


def _finished(
    part: range, work: bytes, folder: str, version: str, cpus: int, gpus: float
) -> tuple[dict[str, bytes], Share] | Exception:
    """Measure a part in a worker, in the folder of the driver, and return the error if images have one."""
    if version != __version__:
        raise ValueError(f"{platform.node()} has torchmetrics-dna {__version__}, expected {version}")
    # This machine may not have that folder, and may not need it.
    with suppress(OSError):
        os.chdir(folder)
    job, images = pickle.loads(work)
    torch.set_num_threads(cpus)
    job.extractor.to("cuda" if gpus else "cpu")
    if job.reading.num_workers is None:
        job = replace(job, reading=replace(job.reading, num_workers=cpus - 1))
    try:
        file: Any = images.shards[0].file if isinstance(images, ImageStream) else images.fetch(0)
    except Exception as err:
        # The image raises this error again when it is read.
        file = getattr(err, "filename", None)
    if isinstance(file, (str, os.PathLike)) and not is_address(file) and not Path(file).parent.is_dir():
        # Without this error, all images would be left out.
        remedy = "give a folder that all machines share, or an address"
        return FileNotFoundError(f"{platform.node()!r} does not have {str(file)!r}; {remedy}")
    try:
        (split,) = job.run(images, [part])
        dnas, share = job.dnas_and_share(split)
        return {kind: _file_of(dna) for kind, dna in dnas.items()}, share
    except Exception as err:
        # An error of any image is raised in the driver.
        return err


def _file_of(dna: DNA) -> bytes:
    """Return the file of a DNA, which is many times smaller than counts in memory."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "part.dna.npz")
        dna.save(path)
        return path.read_bytes()
