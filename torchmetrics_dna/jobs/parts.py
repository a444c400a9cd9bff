"""Parts of a job, kept in a folder so that processes can share the job and resume it after an interruption."""

from __future__ import annotations

import hashlib
import json
import re
from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from torchmetrics_dna.dna.base import merged
from torchmetrics_dna.dna.identity import Identity, check_same
from torchmetrics_dna.dna.load import load_dna
from torchmetrics_dna.files.atomic import file_lock, final_name, replacing, unlock
from torchmetrics_dna.files.damage import check_type, read_json, refusing
from torchmetrics_dna.images import Images, ImageStream
from torchmetrics_dna.images.noun import noun_of
from torchmetrics_dna.images.pixels import stamp_of
from torchmetrics_dna.jobs.groups import group_names
from torchmetrics_dna.jobs.job import Job, Share, check_any_read
from torchmetrics_dna.options import written

if TYPE_CHECKING:
    from torchmetrics_dna.dna import DNA

# Largest number of parts of a source with an index: enough for many processes, but few files to write.
_MOST_PARTS = 32
# Largest number of parts of a stream. With the default extractor, a part takes 0.5 to 3 MB on disk.
_MOST_OF_SHARDS = 1000
_FORMAT = "parts of a torchmetrics_dna"
_JOB = "job.json"
_LOCK = "torchmetrics-dna.lock"
_OURS = re.compile(r"job\.json|\d{2,3}\.json|\d{2,3}\.[a-z-]+\.dna\.npz")


def parts_of(images: Images, batch_size: int) -> list[range]:
    """Return the range of images, or of shards of a stream, of each part.

    Each part holds whole batches or whole shards, so that batches do not depend on the process that measures a part.

    Example:
        >>> from torchmetrics_dna.images import open_source
        >>> parts_of(open_source(["a.png"] * 70), batch_size=32)
        [range(0, 32), range(32, 64), range(64, 70)]

    """
    if isinstance(images, ImageStream):
        count = len(images.shards)
        size = ceil(count / _MOST_OF_SHARDS)
    else:
        count = len(images)
        num_batches = ceil(count / batch_size)
        size = batch_size * ceil(num_batches / _MOST_PARTS)
    return [range(first, min(first + size, count)) for first in range(0, count, size)]


def _described(images: Images, job: Job) -> dict[str, Any]:
    """Return a description of a job, in json types. Parts can be merged only if their jobs have equal descriptions."""
    sha = hashlib.sha256()
    for text in _texts_of_images(images, job):
        sha.update(text.encode(errors="surrogatepass"))
    count = len(images.shards) if isinstance(images, ImageStream) else len(images)
    identities = [statistic.identity for statistic in job.statistics.values() if not statistic.by_image]
    properties = [identity.properties for identity in identities]
    # Merge the properties of all kinds. If several kinds have a property, the value of the first one is used.
    return dict(ChainMap(*properties)) | {
        "kinds": [identity.settings["kinds"] for identity in identities],
        "format": _FORMAT,
        "images (digest of names, sizes and times)": f"{count} {sha.hexdigest()[:16]}",
        "batch sizes": job.reading.batch_size,
        "EXIF orientations": images.exif_orientation,
        "scale": images.scale or "usual",
        # These must not be None, which means that the value is unknown.
        "column": job.reading.column or "found",
        "fps": job.reading.fps or "all",
    }


def _texts_of_images(images: Images, job: Job) -> Iterator[str]:
    """Yield a text for each image, or for each file of a stream. It differs if the image or its group has changed."""
    if isinstance(images, ImageStream):
        groups_of_shards = job.groups if isinstance(job.groups, str) else ""
        yield f"shards\n{groups_of_shards}"
        for shard in images.shards:
            yield f"{shard.label}\n{stamp_of([shard.file].__getitem__, 0)}"
        return
    groups: Sequence[object] = [""] * len(images)
    if job.groups is not None:
        groups = group_names(images, job.groups)
    for i, (name, group) in enumerate(zip(images.names, groups, strict=True)):
        stamp = images.stamp(i) if images.stamp else ""
        yield f"{name}\n{stamp}\n{group}"


class Parts:
    """Parts of a job that makes DNAs. The files of finished parts are in a folder.

    Args:
        folder: The folder. It need not exist.
        images: The images, which :func:`parts_of` cuts into parts.
        job: The job.

    """

    def __init__(self, folder: Path, images: Images, job: Job) -> None:
        self.folder = folder
        self.images = images
        self.job = job
        self.ranges = parts_of(images, job.reading.batch_size)
        self._lock: FileLock | None = None
        self._has_begun = False

    def begin(self, resume: bool) -> None:
        """Create and lock the folder, or resume from the parts in it. Call :meth:`end` afterwards, even after an error.

        Args:
            resume: Whether to resume from finished parts.

        Raises:
            ValueError: If the folder holds other files, another process uses it, its parts are those of another job, or
                it has finished parts and ``resume`` is False.

        """
        description = _described(self.images, self.job)
        self._check_ours()
        self._acquire_lock()
        num_finished = len(list(self.folder.glob("[0-9]*.json")))
        if num_finished and not resume:
            raise ValueError(
                f"{str(self.folder)!r} has {num_finished} finished parts of an interrupted run: resume from them with"
                f" {written('resume', True)}, or delete that folder"
            )
        if num_finished:
            self._check_same_job(description)
        self._has_begun = True
        if not num_finished:
            with replacing(self.folder / _JOB) as temporary:
                temporary.write_text(json.dumps(description), encoding="utf-8")

    def _check_same_job(self, description: Mapping[str, Any]) -> None:
        """Raise ValueError if the finished parts are those of a job with another description."""
        # A property that the folder does not store counts as a difference.
        earlier_description = dict.fromkeys(description, "none") | self._job()
        check_same(
            f"The parts in {str(self.folder)!r} are of another job",
            Identity.of_settings(earlier_description),
            Identity.of_settings(description),
            remedy="; delete that folder, or pass the same arguments",
        )

    def _acquire_lock(self) -> None:
        """Create the folder and lock it. Raise ValueError if another process has locked it."""
        self._lock = file_lock(self.folder / _LOCK)
        self.folder.mkdir(exist_ok=True)
        try:
            self._lock.acquire()
        except Timeout as err:
            raise ValueError(
                f"Another process is making parts in {str(self.folder)!r}; wait for it, or choose another output"
            ) from err

    def end(self) -> None:
        """Unlock the folder. If no part is finished, delete the files of the job."""
        if self._lock is None:
            return
        try:
            if self._has_begun and len(self.missing()) == len(self.ranges):
                self.remove()
        finally:
            unlock(self._lock)
        # The folder stays if it is not empty.
        with suppress(OSError):
            self.folder.rmdir()
        self._lock = None

    def missing(self) -> list[int]:
        """Return the numbers of the parts that are not finished."""
        return [part for part in range(len(self.ranges)) if not self._record(part).is_file()]

    def measure(self, parts: Sequence[int]) -> None:
        """Measure these parts in one pass over their images, and write their files."""
        remaining = iter(parts)
        for split in self.job.run(self.images, [self.ranges[part] for part in parts]):
            self.put(next(remaining), *self.job.dnas_and_share(split))
            # Free the counts before the next part is measured.
            del split

    def put(self, part: int, dnas: Mapping[str, DNA | bytes], share: Share) -> None:
        """Write the files of a part.

        The record with the numbers of images is written last, since it marks the part as finished.

        Args:
            part: Number of the part.
            dnas: DNA of each kind, or the content of its file.
            share: Images that were read in the part.

        """
        for kind, dna in dnas.items():
            if isinstance(dna, bytes):
                with replacing(self._path(part, kind)) as temporary:
                    temporary.write_bytes(dna)
            else:
                dna.save(self._path(part, kind))
        record = {"num_images": share.num_images, "unreadable": share.unreadable}
        with replacing(self._record(part)) as temporary:
            temporary.write_text(json.dumps(record), encoding="utf-8")

    def unreadable(self) -> list[str]:
        """Return one line for each image or shard of any part that could not be read."""
        return [line for record in self._records() for line in record["unreadable"]]

    def merged(self) -> Iterator[tuple[str, DNA]]:
        """Merge the DNAs of all parts, one kind after another.

        A kind is merged when the iterator reaches it. At most two DNAs are in memory at a time.

        Returns:
            Iterator over the kinds and their DNAs.

        Raises:
            ValueError: If no image could be read.

        """
        unreadable = self.unreadable()
        num_images = sum(record["num_images"] for record in self._records())
        noun = noun_of(self.job.extractor)
        check_any_read(num_images + len(unreadable), unreadable, self.images.label, noun)
        kinds = [name for name, statistic in self.job.statistics.items() if not statistic.by_image]
        return ((kind, self._merged_kind(kind)) for kind in kinds)

    def _merged_kind(self, kind: str) -> DNA:
        """Load and merge the DNAs of one kind from all parts."""
        paths = [self._path(part, kind) for part in range(len(self.ranges))]
        return merged(map(load_dna, paths))

    def _records(self) -> Iterator[dict[str, Any]]:
        """Read and check the record of each part.

        Raises:
            FileNotFoundError: If a part is not finished.
            ValueError: If a record is damaged.

        """
        for record in map(self._record, range(len(self.ranges))):
            if not record.is_file():
                raise FileNotFoundError(
                    f"{str(self.folder)!r} has no {record.name}, which another process has made; all need the same"
                    " folder"
                )
            with refusing(record, "a list of images"):
                content: dict[str, Any] = read_json(record, dict)
                check_type("num_images", content.get("num_images"), int)
                for line in check_type("unreadable", content.get("unreadable"), list):
                    check_type("lines", line, str)
            yield content

    def remove(self) -> None:
        """Delete the files of the job. Other files stay."""

        def order(path: Path) -> tuple[bool, bool]:
            # A record marks a part as finished, so records are deleted first. The description of the job comes last.
            return path.name == _JOB, path.suffix != ".json"

        for path in sorted(self.folder.iterdir(), key=order):
            # Temporary files of interrupted writes are deleted, too.
            if _OURS.fullmatch(final_name(path.name)):
                path.unlink()

    def _check_ours(self) -> None:
        """Raise ValueError if the path of the folder exists but is no folder of parts."""
        if not self.folder.exists():
            return
        if not self.folder.is_dir():
            raise ValueError(f"{str(self.folder)!r} is not a folder of parts, since something else is in it (a file)")
        names = sorted(path.name for path in self.folder.iterdir())
        if _JOB in names:
            self._job()
            return
        # Interrupted writes leave hidden files.
        foreign = [name for name in names if name != _LOCK and not name.startswith(".")]
        if foreign:
            raise ValueError(
                f"{str(self.folder)!r} is not a folder of parts, since something else is in it ({foreign[0]})"
            )

    def _job(self) -> dict[str, Any]:
        """Read the description of the job that the finished parts belong to."""
        record = self.folder / _JOB
        with refusing(record, "the job of parts"):
            job: dict[str, Any] = read_json(record, dict)
            if job.get("format") != _FORMAT:
                raise ValueError(f"its format is {job.get('format')!r}, expected {_FORMAT!r}; move its folder away")
        return job

    def _path(self, part: int, kind: str) -> Path:
        """Return the path of a DNA of a part."""
        return self.folder / f"{part:02}.{kind}.dna.npz"

    def _record(self, part: int) -> Path:
        """Return the path of the record of a part."""
        return self.folder / f"{part:02}.json"
