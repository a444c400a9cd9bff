"""Run the splits of a job on an engine."""

from __future__ import annotations

import os
import platform
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from torchmetrics_dna.images import ImageStream
from torchmetrics_dna.images.addresses import is_address
from torchmetrics_dna.jobs.engine import Engine, Work
from torchmetrics_dna.jobs.job import count_images
from torchmetrics_dna.jobs.on_ray import RayEngine
from torchmetrics_dna.jobs.parts import Finished, Parts
from torchmetrics_dna.jobs.processes import world_size

if TYPE_CHECKING:
    from torchmetrics_dna.images import Images

_SETTINGS = {"actors": int, "cpus": int, "gpus": float}


def engine_of(engine: Engine | str) -> Engine:
    """Return the engine of this name.

    Args:
        engine: ``"ray"``, or the address of a cluster, ``"ray://HOST:PORT"``; after a ``?``, settings of
            :class:`RayEngine`, such as ``"ray?actors=8&cpus=2"``. Or an engine itself.

    Raises:
        ValueError: If there is no such engine, or a setting is wrong.

    Example:
        >>> engine_of("ray://head:10001?gpus=1").address
        'ray://head:10001'

    """
    if isinstance(engine, Engine):
        return engine
    name, _, query = str(engine).partition("?")
    if name != "ray" and not (name.startswith("ray://") and name != "ray://"):
        raise ValueError(f"Argument `on` expected to be 'ray' or 'ray://HOST:PORT', but got {engine!r}")
    settings: dict[str, Any] = {}
    for key, value in parse_qsl(query, keep_blank_values=True):
        try:
            settings[key] = _SETTINGS[key](value)
        except (KeyError, ValueError):
            raise ValueError(
                f"Argument `on` has the setting {f'{key}={value}'!r}, expected a number for any of"
                f" {', '.join(_SETTINGS)}"
            ) from None
    return RayEngine(None if name == "ray" else name, **settings)


def check_elsewhere(images: Images) -> None:
    """Raise ValueError unless workers of an engine can read these images, and there is one process here."""
    if isinstance(images, ImageStream) and not images.of_files:
        raise ValueError(f"{images.label!r} lives in this process, so an engine can't read it; give files or addresses")
    if world_size() > 1:
        raise ValueError("Argument `on` has workers of its own, but torchrun has started several processes; give one")


def finish_elsewhere(parts: Parts, engine: Engine | str) -> None:
    """Measure the missing parts of a job on an engine, and report progress; errors are those of :meth:`Engine.run`.

    Each is saved on this machine's disk once it is finished, so that none is measured twice after a loss. The extractor
    is on the CPU meanwhile, since a machine without its device can't unpickle it.
    """
    numbers, images, extractor = parts.missing(), parts.images, parts.job.extractor
    if not numbers:
        return
    device, progress = extractor.device, parts.job.reading.progress
    done, total = 0, count_images(images, [parts.ranges[number] for number in numbers])
    extractor.to("cpu")
    try:
        with closing(engine_of(engine).run(_SplitWork(parts), numbers)) as results:
            for number, result in results:
                parts.put(number, result)
                done += result.num_images + len(result.unreadable)
                if progress:
                    progress(images.label, done, total)
    finally:
        extractor.to(device)
    if progress and total is None and done:
        progress(images.label, done, done)


class _SplitWork(Work):
    """Work that runs splits as a single process would."""

    def __init__(self, parts: Parts) -> None:
        self.label = parts.images.label
        self._images, self._splits = parts.images, parts.ranges
        self._job = replace(parts.job, reading=replace(parts.job.reading, progress=None))

    def begin(self, device: str, cores: int) -> None:
        """Move the network to the device; the other cores decode images."""
        check_reachable(self._images)
        self._job.extractor.to(device)
        if self._job.reading.num_workers is None:
            self._job = replace(self._job, reading=replace(self._job.reading, num_workers=cores - 1))

    def __call__(self, number: int) -> Finished:
        (split,) = self._job.run(self._images, [self._splits[number]])
        files = {}
        with TemporaryDirectory() as folder:  # as files, DNAs are many times smaller than counts in memory
            for kind, dna in self._job.values(split).items():
                path = Path(folder, f"{kind}.dna.npz")
                dna.save(path)
                files[kind] = path.read_bytes()
        return Finished(files, split.num_images, split.unreadable)


def check_reachable(images: Images) -> None:
    """Raise FileNotFoundError unless this machine has the first file of a set, or at least its folder."""
    try:
        file = images.shards[0].file if isinstance(images, ImageStream) else images.fetch(0)
    except FileNotFoundError as err:
        file = err.filename
    except Exception:  # errors of images are raised when they are read
        return
    if not isinstance(file, (str, os.PathLike)) or is_address(file):
        return
    if not Path(file).exists() and not Path(file).parent.is_dir():
        raise FileNotFoundError(
            f"{platform.node()!r} does not have {str(file)!r}; give a folder that all machines share, or an address"
        )
