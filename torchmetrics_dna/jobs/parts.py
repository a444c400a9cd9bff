"""The finished parts of a job, in a folder: so that it can be shared, and resumed after an interruption."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from torchmetrics_dna.dna.base import merged
from torchmetrics_dna.dna.identity import check_same
from torchmetrics_dna.dna.load import load_dna
from torchmetrics_dna.files.atomic import replacing
from torchmetrics_dna.files.damage import check_type, read_json, refusing
from torchmetrics_dna.files.locks import Lock
from torchmetrics_dna.images import ImageStream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from torchmetrics_dna.dna import DNA
    from torchmetrics_dna.images import Images
    from torchmetrics_dna.jobs.job import Job

_MOST_PARTS = 32  # enough to share among processes, and few enough that writing them costs little
_MOST_OF_SHARDS = 1000  # of 0.5 to 3 MB each on disk with the default extractor
FORMAT = "parts of a torchmetrics_dna"
_JOB, _LOCK = "job.json", "torchmetrics-dna.lock"
_FILE = r"(job\.json|\d{2,3}\.json|\d{2,3}\.[a-z-]+\.dna\.npz)"
_OURS = re.compile(rf"{_FILE}|\.{_FILE}\.\d+|{re.escape(_LOCK)}")  # some may be half written
RUN = 16  # neighbours that are merged at a time
_T = TypeVar("_T")


class Packed(NamedTuple):
    """The files of a finished part, as their bytes.

    Attributes:
        record: How many images it has, and what was left out.
        dnas: The DNA of each kind.

    """

    record: bytes
    dnas: dict[str, bytes]


def parts_of(images: Images, batch_size: int) -> list[range]:
    """Images, or shards of a stream, of each part.

    Parts hold whole batches or shards, so that batches are the same whoever measures which part.

    Example:
        >>> from torchmetrics_dna.images import open_source
        >>> parts_of(open_source(["a.png"] * 70), batch_size=32)
        [range(0, 32), range(32, 64), range(64, 70)]

    """
    if isinstance(images, ImageStream):
        count, size = len(images.shards), -(-len(images.shards) // _MOST_OF_SHARDS)
    else:
        count, batches = len(images), -(-len(images) // batch_size)
        size = batch_size * -(-batches // _MOST_PARTS)
    return [range(first, min(first + size, count)) for first in range(0, count, size)]


def in_runs(numbers: range, of_run: Callable[[range], _T], merge: Callable[[Iterable[_T]], _T]) -> _T:
    """Merge parts in a tree that depends on nothing but how many there are: sums of floats depend on their order.

    Args:
        numbers: Those of the parts, from 0.
        of_run: What up to 16 neighbours are together.
        merge: What up to 16 neighbouring runs are together, and then runs of these.

    Example:
        >>> in_runs(range(40), lambda run: f"{run[0]}-{run[-1]}", " ".join)
        '0-15 16-31 32-39'

    """
    if len(numbers) <= RUN:
        return of_run(numbers)
    size = RUN
    while size * RUN < len(numbers):
        size *= RUN
    return merge(in_runs(numbers[first : first + size], of_run, merge) for first in range(0, len(numbers), size))


def merge_packed(*parts: Mapping[str, bytes]) -> dict[str, bytes]:
    """Merge the DNAs of parts, kind by kind, in their order; two of a kind are in memory at a time."""
    with TemporaryDirectory() as name:
        path, found = Path(name, "x.dna.npz"), {}
        for kind in parts[0]:
            merged(_unpacked(part[kind], path) for part in parts).save(path)
            found[kind] = path.read_bytes()
    return found


def unpacked(dnas: Mapping[str, bytes]) -> Iterator[tuple[str, DNA]]:
    """The DNAs that were packed, one after the other, by their kinds."""
    with TemporaryDirectory() as name:
        for kind, content in dnas.items():
            yield kind, _unpacked(content, Path(name, "x.dna.npz"))


def _unpacked(content: bytes, path: Path) -> DNA:
    path.write_bytes(content)
    return load_dna(path)


class Parts:
    """The parts of a job, on disk.

    Args:
        folder: Where the parts are kept.
        parts: Which images or shards each part has, see :func:`parts_of`.
        kinds: Which DNAs each part has.

    """

    def __init__(self, folder: Path, parts: Sequence[range], kinds: list[str]) -> None:
        self.folder, self.kinds = folder, kinds
        self.parts = parts
        self._lock: Lock | None = None

    def begin(self, job: dict[str, Any], resume: bool) -> None:
        """Make the folder, or resume in it, and lock it.

        Raises:
            ValueError: If it holds something else, another process uses it, its parts are of another job, or it has
                finished parts and ``resume`` is False.

        """
        self._check_ours()
        self.folder.mkdir(exist_ok=True)
        try:
            lock = Lock(self.folder / _LOCK)
        except BlockingIOError as err:
            raise ValueError(
                f"Another process is making parts in {str(self.folder)!r}; wait for it, or choose another output"
            ) from err
        try:
            self._begin(job, resume)
        except BaseException:
            self._leave(lock)
            raise
        self._lock = lock

    def _begin(self, job: dict[str, Any], resume: bool) -> None:
        finished = len(list(self.folder.glob("[0-9]*.json")))
        if not finished:
            with replacing(self.folder / _JOB) as temporary:
                temporary.write_text(json.dumps(job), encoding="utf-8")
            return
        if not resume:
            raise ValueError(
                f"{str(self.folder)!r} has {finished} finished parts of an interrupted run: resume from them with"
                " --resume, or delete that folder"
            )
        check_same(
            f"The parts in {str(self.folder)!r} are of another job",
            dict.fromkeys(job, "none") | self._job(),
            job,
            remedy="; delete that folder, or give the same arguments",
        )

    def end(self) -> None:
        """Unlock the folder; remove what is in it if no part is finished."""
        if self._lock is None:
            return
        if len(self.missing()) == len(self.parts):
            self.remove()
        self._leave(self._lock)
        self._lock = None

    def _leave(self, lock: Lock) -> None:
        lock.release()
        with suppress(OSError):  # it is not empty
            self.folder.rmdir()

    def missing(self) -> list[int]:
        """Numbers of the parts that are not finished."""
        return [part for part in range(len(self.parts)) if not self._record(part).is_file()]

    def measure(self, images: Images, job: Job, parts: Sequence[int]) -> None:
        """Make some parts, in one pass over their images."""
        left = iter(parts)
        for split in job.run(images, [self.parts[part] for part in parts]):
            self._finish(next(left), job.dnas(split), split.unreadable, split.num_images)
            del split

    def unreadable(self) -> list[str]:
        """One line for each image or shard that was left out, of all parts."""
        return [line for record in self._records() for line in record["unreadable"]]

    def num_read(self) -> int:
        """Number of images that were read for all parts."""
        return sum(record["num_images"] for record in self._records())

    def seen(self, part: int) -> int:
        """Number of images of a finished part, including unreadable ones."""
        record = self._read(part)
        return int(record["num_images"]) + len(record["unreadable"])

    def _records(self) -> Iterator[dict[str, Any]]:
        return map(self._read, range(len(self.parts)))

    def _read(self, part: int) -> dict[str, Any]:
        record = self._record(part)
        if not record.is_file():
            raise FileNotFoundError(
                f"{str(self.folder)!r} has no {record.name}, which another process has made; all need the same folder"
            )
        with refusing(record, "a list of images"):
            found: dict[str, Any] = read_json(record, dict)
            check_type("num_images", found.get("num_images"), int)
            for line in check_type("unreadable", found.get("unreadable"), list):
                check_type("lines", line, str)
        return found

    def merged(self, kind: str) -> DNA:
        """Merge the DNAs of all parts, in runs; beside those of a run and of runs, one is in memory at a time."""
        return in_runs(range(len(self.parts)), partial(self._merged_run, kind), merged)

    def _merged_run(self, kind: str, numbers: range) -> DNA:
        return merged(load_dna(self._path(part, kind)) for part in numbers)

    def pack(self, part: int) -> Packed:
        """The files of a finished part."""
        dnas = {kind: self._path(part, kind).read_bytes() for kind in self.kinds}
        return Packed(self._record(part).read_bytes(), dnas)

    def put(self, part: int, packed: Packed) -> None:
        """Finish a part by its files, which were made elsewhere."""
        for kind, content in packed.dnas.items():
            with replacing(self._path(part, kind)) as temporary:
                temporary.write_bytes(content)
        with replacing(self._record(part)) as temporary:  # last, since it says that the part is there
            temporary.write_bytes(packed.record)

    def remove(self) -> None:
        """Delete all parts, and nothing that someone else has put there."""
        for path in sorted(self.folder.iterdir()):  # the job after its parts
            if _OURS.fullmatch(path.name) and path.name != _LOCK:
                path.unlink()

    def _check_ours(self) -> None:
        """Raise ValueError if the folder holds anything that this module has not made."""
        if not self.folder.exists():
            return
        found = sorted(path.name for path in self.folder.iterdir()) if self.folder.is_dir() else ["."]
        other = [name for name in found if not _OURS.fullmatch(name)]
        if not other and _JOB in found:
            self._job()
        elif not other:
            other = [name for name in found if re.fullmatch(_FILE, name)]
        if other:
            raise ValueError(
                f"{str(self.folder)!r} is not a folder of parts, or something else is in it ({other[0]!r}); move it"
                " away, or choose another output"
            )

    def _job(self) -> dict[str, Any]:
        """Read what the finished parts have in common."""
        record = self.folder / _JOB
        with refusing(record, "the job of parts"):
            job: dict[str, Any] = read_json(record, dict)
            if job.get("format") != FORMAT:
                raise ValueError(f"its format is {job.get('format')!r}, expected {FORMAT!r}; move its folder away")
        return job

    def _finish(self, part: int, dnas: dict[str, DNA], unreadable: list[str], num_images: int) -> None:
        for kind, dna in dnas.items():
            dna.save(self._path(part, kind))
        with replacing(self._record(part)) as temporary:  # last, since it says that the part is there
            temporary.write_text(json.dumps({"num_images": num_images, "unreadable": unreadable}), encoding="utf-8")

    def _path(self, part: int, kind: str) -> Path:
        return self.folder / f"{part:02}.{kind}.dna.npz"

    def _record(self, part: int) -> Path:
        return self.folder / f"{part:02}.json"
