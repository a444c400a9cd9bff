"""Measure the parts of a job on Ray, in tasks that Ray repeats if a worker is lost."""

from __future__ import annotations

import os
import pickle
import platform
import re
from collections.abc import Iterator, Sequence
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
    from torchmetrics_dna.jobs.job import Job
    from torchmetrics_dna.jobs.parts import Parts

# Number of times that Ray repeats a part whose worker was lost.
_LOSSES = 5
# Address of a cluster, perhaps with the cores and GPUs of each task.
_CLUSTER = re.compile(r"(ray|ray://[^?]+)(?:[?&]cpus=([1-9]\d*)|[?&]gpus=(\d*\.?\d+))*")


def check_on_ray(on: str, images: Images) -> None:
    """Check that images can be measured on a Ray cluster.

    Args:
        on: The cluster, see :func:`finish_on_ray`.
        images: The images.

    Raises:
        ValueError: If ``on`` does not name a cluster, the images are a stream that lives in this process, or torchrun
            has started several processes.

    """
    if not _CLUSTER.fullmatch(str(on)):
        expected = "'ray' or 'ray://HOST:PORT', perhaps with cores and GPUs of each task, 'ray?cpus=8&gpus=1'"
        remedy = f"a GPU here is a {written('device')}"
        raise ValueError(f"{argument('on')} expected to be {expected}, but got {on!r}; {remedy}")
    if isinstance(images, ImageStream) and not images.of_files:
        raise ValueError(f"{images.label!r} lives in this process, so Ray can't read it; pass files or addresses")
    if world_size() > 1:
        raise ValueError(f"{argument('on')} has workers of its own, but torchrun has started several processes")


def finish_on_ray(parts: Parts, on: str) -> Iterator[Share]:
    """Measure the missing parts of a job on Ray, and write them to the folder of the job in order.

    Args:
        parts: The parts of the job.
        on: ``"ray"`` or ``"ray://HOST:PORT"``. ``"ray"`` is the cluster of the environment variable ``RAY_ADDRESS``.
            Without the variable, it is a cluster that runs on this machine, or else a new one. Cores and GPUs of each
            task may follow: ``"ray?cpus=8&gpus=1"``.

    Yields:
        The images that were read in each part.

    Raises:
        ConnectionError: If the cluster can't be reached.
        RuntimeError: If workers are lost repeatedly.
        Exception: The error of the first part that failed.

    """
    numbers = parts.missing()
    if not numbers:
        return
    label = parts.images.label
    progress = parts.job.reading.progress or (lambda *_: None)
    num_done = 0
    total = count_images(parts.images, [parts.ranges[number] for number in numbers])
    for share in _measure_on_ray(parts, numbers, on):
        num_done += share.num_images + len(share.unreadable)
        progress(label, num_done, total)
        yield share
    if total is None and num_done:
        progress(label, num_done, num_done)


def _measure_on_ray(parts: Parts, numbers: Sequence[int], on: str) -> Iterator[Share]:
    """Measure parts of a job in tasks of a cluster, and write them to the folder of the job in order.

    Args:
        parts: The parts of the job.
        numbers: Numbers of the parts to measure.
        on: The cluster, see :func:`finish_on_ray`.

    Yields:
        The images that were read in each part.

    """
    match = _CLUSTER.fullmatch(on)
    # This form was checked by check_on_ray.
    assert match is not None
    address, cpus, gpus = match.groups()
    if "RAY_ADDRESS" not in os.environ:
        # A new cluster then listens on loopback only.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    ray = require("ray", "ray")
    work = _pickled(ray, parts)
    with ExitStack() as stack:
        if not ray.is_initialized():
            _connect(ray, None if address == "ray" else address, on)
            stack.callback(ray.shutdown)
        # By default, a task has one core, and one GPU if the cluster has any.
        num_cpus = int(cpus or 1)
        num_gpus = float("GPU" in ray.cluster_resources() if gpus is None else gpus)
        calls = _submit(ray, [parts.ranges[number] for number in numbers], work, num_cpus, num_gpus)
        # Tasks that still run after an error are cancelled.
        stack.callback(_cancel, ray, calls)
        for number, call in zip(numbers, calls, strict=True):
            dnas, share = _result_of(ray, call, number)
            parts.put(number, dnas, share)
            yield share


def _connect(ray: Any, address: str | None, on: str) -> None:
    """Connect to a cluster.

    Args:
        ray: The module.
        address: Address of the cluster; None for the default one.
        on: The cluster in the user's words.

    Raises:
        ConnectionError: If the cluster can't be reached.

    """
    try:
        # Ray does not log, since stdout may be for programs.
        ray.init(address, log_to_driver=False, logging_level="ERROR")
    except Exception as err:
        # Ray raises errors of many types.
        raise ConnectionError(f"Can't connect to {on!r}: {reason_of(err)}") from err


def _submit(ray: Any, ranges: Sequence[range], work: bytes, num_cpus: int, num_gpus: float) -> list[Any]:
    """Start a task for each part.

    Args:
        ray: The module.
        ranges: Range of images, or of shards of a stream, of each part.
        work: The pickled job and images.
        num_cpus: Number of cores per task.
        num_gpus: Number of GPUs per task, perhaps a fraction.

    Returns:
        Reference to the result of each task.

    """
    task = ray.remote(num_cpus=num_cpus, num_gpus=num_gpus, max_retries=_LOSSES, max_calls=0)(_finished)
    folder = os.getcwd()  # noqa: PTH109
    # All tasks share one copy of the work.
    shared_work = ray.put(work)
    return [task.remote(part, shared_work, folder, __version__, num_cpus, num_gpus) for part in ranges]


def _cancel(ray: Any, calls: Sequence[Any]) -> None:
    """Cancel tasks. This does nothing for tasks that have ended."""
    for call in calls:
        ray.cancel(call, force=True)


def _result_of(ray: Any, call: Any, number: int) -> tuple[dict[str, bytes], Share]:
    """Wait for the task of a part, and return the files of its DNAs by kind, and the images that it read.

    Args:
        ray: The module.
        call: Reference to the result of the task.
        number: Number of the part.

    Raises:
        RuntimeError: If Ray could not finish the task.
        Exception: The error that the task returned.

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
    """Pickle the job and the images of all parts.

    The network is moved to the CPU meanwhile, since a machine without a GPU could not unpickle it otherwise.

    Raises:
        ValueError: If the job or the images can't be pickled.

    """
    job = parts.job
    device = job.extractor.device
    job.extractor.to("cpu")
    try:
        silent = replace(job, reading=replace(job.reading, progress=None))
        return bytes(ray.cloudpickle.dumps((silent, parts.images)))
    except Exception as err:
        # Pickling an object of another package may raise an error of any type.
        raise ValueError(
            f"{parts.images.label!r} or its extractor can't be sent to workers ({reason_of(err)}); pass files or"
            " addresses, and a named extractor or a module that can be pickled"
        ) from err
    finally:
        job.extractor.to(device)


def _finished(
    part: range, work: bytes, folder: str, version: str, cpus: int, gpus: float
) -> tuple[dict[str, bytes], Share] | Exception:
    """Measure a part in a worker.

    Ray looks this function up by its name in the package of the worker. The name must not change, since a worker with
    another version of the package would then not get to the check of versions.

    Args:
        part: Range of images, or of shards of a stream.
        work: The pickled job and images.
        folder: Working directory of the process that started the task. Paths may be relative to it.
        version: Version of this package in that process.
        cpus: Number of cores of the task.
        gpus: Number of GPUs of the task.

    Returns:
        The files of the DNAs by kind, and the images that were read. If an image has an error, the error is returned,
        since Ray would wrap a raised one.

    Raises:
        ValueError: If the worker has another version of this package.

    """
    if version != __version__:
        raise ValueError(f"{platform.node()} has torchmetrics-dna {__version__}, expected {version}")
    # This machine may lack the folder. Absolute paths and addresses do not need it.
    with suppress(OSError):
        os.chdir(folder)
    job, images = _unpickled(work, cpus, gpus)
    missing_file = _missing_file(images)
    if missing_file is not None:
        # Without this error, all images would be left out.
        remedy = "pass a folder that all machines share, or an address"
        return FileNotFoundError(f"{platform.node()!r} does not have {missing_file!r}; {remedy}")
    try:
        (split,) = job.run(images, [part])
        dnas, share = job.dnas_and_share(split)
        return {kind: _file_of(dna) for kind, dna in dnas.items()}, share
    except Exception as err:
        # The process that started the task raises this error.
        return err


def _unpickled(work: bytes, cpus: int, gpus: float) -> tuple[Job, Images]:
    """Return the job and the images of a task, prepared for the cores and GPUs of the task.

    Args:
        work: The pickled job and images.
        cpus: Number of cores of the task.
        gpus: Number of GPUs of the task.

    """
    job, images = pickle.loads(work)
    torch.set_num_threads(cpus)
    job.extractor.to("cuda" if gpus else "cpu")
    if job.reading.num_workers is None:
        # This process uses one of the cores.
        job = replace(job, reading=replace(job.reading, num_workers=cpus - 1))
    return job, images


def _missing_file(images: Images) -> str | None:
    """Return the path of the first file if this machine does not have the folder of the file; else None."""
    try:
        file: Any = images.shards[0].file if isinstance(images, ImageStream) else images.fetch(0)
    except Exception as err:
        # The job raises this error again when it reads the image.
        file = getattr(err, "filename", None)
    if not isinstance(file, (str, os.PathLike)) or is_address(file) or Path(file).parent.is_dir():
        return None
    return str(file)


def _file_of(dna: DNA) -> bytes:
    """Return the content of a DNA's file. It is many times smaller than the counts in memory."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "part.dna.npz")
        dna.save(path)
        return path.read_bytes()
