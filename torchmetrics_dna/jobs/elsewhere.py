"""The parts of a job, measured and merged by an engine."""

from __future__ import annotations

import os
import platform
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from torchmetrics_dna.images import ImageStream
from torchmetrics_dna.images.addresses import is_address
from torchmetrics_dna.jobs.engine import Engine, LostError, Session, Work
from torchmetrics_dna.jobs.loading import check_any_read, count_images
from torchmetrics_dna.jobs.on_ray import RayEngine
from torchmetrics_dna.jobs.parts import RUN, Packed, Parts, in_runs, merge_packed, parts_of, unpacked
from torchmetrics_dna.jobs.processes import world_size

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from torchmetrics_dna.dna import DNA
    from torchmetrics_dna.extractors import DNAExtractor
    from torchmetrics_dna.images import Images, Reading
    from torchmetrics_dna.jobs.job import Job

_ATTEMPTS = 10
_SETTINGS = {"actors": int, "cpus": int, "gpus": float}


def engine_of(engine: Engine | str) -> Engine:
    """The engine that an argument names.

    Args:
        engine: ``"ray"``, or the address of a cluster, ``"ray://HOST:PORT"``; after a ``?`` may follow the settings of
            :class:`RayEngine`, such as ``"ray?actors=8&cpus=2"``. Or an engine.

    Raises:
        ValueError: If it names none.

    Example:
        >>> engine_of("ray://head:10001?gpus=1").address
        'ray://head:10001'

    """
    if isinstance(engine, Engine):
        return engine
    name, _, query = str(engine).partition("?")
    given = dict(parse_qsl(query, keep_blank_values=True))
    if name != "ray" and not (name.startswith("ray://") and name != "ray://"):
        raise ValueError(f"Argument `on` expected to be 'ray' or 'ray://HOST:PORT', but got {engine!r}")
    settings: dict[str, Any] = {}
    for key, value in given.items():
        try:
            settings[key] = _SETTINGS[key](value)
        except (KeyError, ValueError):
            raise ValueError(
                f"Argument `on` has the setting {f'{key}={value}'!r}, expected a number for any of"
                f" {', '.join(_SETTINGS)}"
            ) from None
    return RayEngine(None if name == "ray" else name, **settings)


def check_elsewhere(images: Images) -> None:
    """Check that other processes can read images.

    Raises:
        ValueError: If they are a stream that lives in this process, or this is one of several processes.

    """
    if isinstance(images, ImageStream) and not images.of_files:
        raise ValueError(f"{images.label!r} lives in this process, so an engine can't read it; give files or addresses")
    if world_size() > 1:
        raise ValueError("Argument `on` has workers of its own, but torchrun has started several processes; give one")


def measure_elsewhere(images: Images, job: Job, engine: Engine | str) -> tuple[dict[str, DNA], list[str]]:
    """The DNA of each kind, and a line for each image that was left out; as :func:`make_files` makes them."""
    with TemporaryDirectory() as folder:
        parts = Parts(Path(folder), parts_of(images, job.reading.batch_size), list(job.statistics))
        return dict(make_elsewhere(images, job, parts, engine)), parts.unreadable()


def make_elsewhere(images: Images, job: Job, parts: Parts, engine: Engine | str) -> Iterator[tuple[str, DNA]]:
    """Finish the parts of a job on an engine, and merge them there.

    Each part that gets finished comes to this machine's disk, so that none is measured twice, whatever is lost.

    Args:
        images: The images.
        job: How they are measured; its extractor is on the CPU meanwhile.
        parts: Where finished parts are kept.
        engine: The engine, see :func:`engine_of`.

    Returns:
        The DNA of each kind, one after the other.

    Raises:
        ValueError: If an image can't be read, none could be, or images or extractor can't be sent elsewhere.
        Exception: As :meth:`Session.map` raises it.

    """
    missing = parts.missing()
    told = Told(images, job.reading, [parts.parts[part] for part in missing])
    with session_for(job.extractor, engine) as session:
        tree = _Tree(session, parts)
        for part, packed in session.map(_MakeParts(images, job, parts), missing):
            parts.put(part, packed)
            tree.grow(part)
            told.add(parts.seen(part))
        told.end()
        unreadable = parts.unreadable()
        check_any_read(parts.num_read() + len(unreadable), unreadable, images.label)
        merged = tree.merged()
    return unpacked(merged)


class Told:
    """Reports progress by what parts say that they have seen."""

    def __init__(self, images: Images, reading: Reading, parts: Sequence[range]) -> None:
        self._label, self._progress = images.label, reading.progress
        self._done, self._total = 0, count_images(images, parts)

    def add(self, images: int) -> None:
        """So many more are done."""
        self._done += images
        if self._progress:
            self._progress(self._label, self._done, self._total)

    def end(self) -> None:
        """All are done."""
        if self._progress and self._total is None and self._done:
            self._progress(self._label, self._done, self._done)


class ImageWork(Work):
    """Work on images in parts."""

    def __init__(self, images: Images, extractor: DNAExtractor, reading: Reading, parts: Sequence[range]) -> None:
        self.label = images.label
        self.images, self.extractor, self.parts = images, extractor, parts
        self.reading = replace(reading, progress=None)

    def begin(self, device: str, cores: int) -> None:
        """Move the network; cores that it leaves decode images."""
        check_there(self.images)
        self.extractor.to(device)
        if self.reading.num_workers is None:
            self.reading = replace(self.reading, num_workers=cores - 1)


class _MakeParts(ImageWork):
    """Measures whole parts, as one process does."""

    def __init__(self, images: Images, job: Job, parts: Parts) -> None:
        super().__init__(images, job.extractor, job.reading, parts.parts)
        self._job, self._kinds = replace(job, reading=self.reading), parts.kinds

    def __call__(self, number: int) -> Packed:
        with TemporaryDirectory() as folder:
            parts = Parts(Path(folder), self.parts, self._kinds)
            parts.measure(self.images, replace(self._job, reading=self.reading), [number])
            return parts.pack(number)


class _Tree:
    """Merges runs of parts as soon as they are finished, and at the end runs of runs, all elsewhere."""

    def __init__(self, session: Session, parts: Parts) -> None:
        self._session, self._parts = session, parts
        self._runs: dict[int, Any] = {}
        self._missing = set(parts.missing())

    def grow(self, part: int) -> None:
        """Take a finished part."""
        self._missing.discard(part)
        first = part - part % RUN
        run = range(first, min(first + RUN, len(self._parts.parts)))
        if not self._missing.intersection(run):
            self._run(run)

    def merged(self) -> dict[str, bytes]:
        """All parts as one, by kind; anew from the disk if what was merged is lost."""
        for _ in range(_ATTEMPTS - 1):
            try:
                return self._merged()
            except LostError:
                self._runs.clear()
        return self._merged()

    def _merged(self) -> dict[str, bytes]:
        found: dict[str, bytes] = self._session.get(in_runs(range(len(self._parts.parts)), self._run, self._merge))
        return found

    def _run(self, run: range) -> Any:
        if run[0] not in self._runs:
            self._runs[run[0]] = self._merge(self._session.put(self._parts.pack(part).dnas) for part in run)
        return self._runs[run[0]]

    def _merge(self, handles: Iterable[Any]) -> Any:
        return self._session.call(merge_packed, *handles)


def check_there(images: Images) -> None:
    """FileNotFoundError unless this machine has the first file of a set, or at least its folder."""
    try:
        found = images.shards[0].label if isinstance(images, ImageStream) else images.fetch(0)
    except FileNotFoundError as err:
        found = err.filename
    except Exception:  # what is wrong with an image is said where it is read
        return
    if not isinstance(found, (str, os.PathLike)) or is_address(found):
        return
    if not Path(found).exists() and not Path(found).parent.is_dir():
        raise FileNotFoundError(
            f"{platform.node()!r} does not have {str(found)!r}; give a folder that all machines share, or an address"
        )


@contextmanager
def session_for(extractor: DNAExtractor, engine: Engine | str) -> Iterator[Session]:
    """The engine at work; the network is on the CPU meanwhile, since not all machines can unpickle another device's."""
    device = extractor.device
    extractor.to("cpu")
    try:
        with engine_of(engine).open() as session:
            yield session
    finally:
        extractor.to(device)
