"""Make DNA files of large image sets: in parts, by one process or several, and resume after an interruption."""

from __future__ import annotations

import hashlib
import json
import re
from collections import ChainMap
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torchmetrics_dna.dna.base import merged
from torchmetrics_dna.dna.identity import check_same
from torchmetrics_dna.dna.load import load_dna
from torchmetrics_dna.files.atomic import check_folder, replacing
from torchmetrics_dna.files.damage import check_type, read_json, refusing
from torchmetrics_dna.files.locks import Lock
from torchmetrics_dna.images import ImageSource, ImageStream
from torchmetrics_dna.images.sources import check_used
from torchmetrics_dna.sets.groups import group_names
from torchmetrics_dna.sets.loading import activate_noted, check_any_read
from torchmetrics_dna.sets.measure import Pass, measure
from torchmetrics_dna.sets.processes import gather, in_step, rank, world_size

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from torchmetrics_dna.dna import DNA
    from torchmetrics_dna.dna.distances import Kind
    from torchmetrics_dna.extractors import DNAExtractor
    from torchmetrics_dna.images import Source
    from torchmetrics_dna.neurons.ranges import ActivationRanges
    from torchmetrics_dna.sets.groups import Groups
    from torchmetrics_dna.sets.loading import Loading
    from torchmetrics_dna.tally import Side

_MOST_PARTS = 32  # enough to share among processes, and few enough that writing them costs little
_FORMAT = "parts of a torchmetrics_dna"
_JOB, _LOCK = "job.json", "torchmetrics-dna.lock"
_FILE = r"(job\.json|\d\d\.json|\d\d\.[a-z-]+\.dna\.npz)"
_OURS = re.compile(rf"{_FILE}|\.{_FILE}\.\d+|{re.escape(_LOCK)}")  # some may be half written


def make_files(
    source: Source,
    output: str | os.PathLike[str],
    extractor: DNAExtractor,
    kinds: Sequence[Kind],
    num_bins: int,
    ranges: ActivationRanges | str | os.PathLike[str] | None,
    loading: Loading,
    *,
    num_folds: int | None = None,
    groups: Groups | None = None,
    resume: bool = False,
    notes: str = "",
) -> tuple[dict[str, Path], list[str]]:
    """Write the DNA of an image set to files, all kinds from one pass.

    The images are measured in parts, which lie in the folder ``OUTPUT.parts`` until the whole is written. Which
    images are in a part does not depend on how many processes there are, nor does the order in which parts are merged,
    so the files are the same to the last byte. The folder is locked until then, so that no other job mixes with it.

    Args:
        source: See :func:`open_source`.
        output: Where to write; with several kinds, ``x.dna.npz`` stands for ``x.histogram.dna.npz`` and so on.
        extractor: As for :class:`Pass`, and so are kinds, bins and ranges.
        kinds: Which DNAs to make.
        num_bins: Bins of the histograms.
        ranges: Activation ranges of the histograms.
        loading: How images are read; if ``distributed``, all processes must see the same folder.
        num_folds: Keep so many folds of images apart in the files, so that they can be tested; none by default.
        groups: Which images share a fold, see :func:`group_names`; by default those of equal pixels.
        resume: Resume from the finished parts of an interrupted call.
        notes: Kept in the files.

    Returns:
        The file of each kind, and one line for each image that was left out.

    Raises:
        FileNotFoundError: If the images or the folder to write to are not there.
        FileExistsError: If something is at ``output`` that is not a file.
        ValueError: If there are no images, one can't be read, or activations are not finite; if a stream is to be
            resumed; if there are finished
            parts and ``resume`` is False, or they are of another job or of other images; if the folder of parts holds
            something else, or another process makes parts in it.

    """
    with in_step():
        images = loading.open(source)
        check_used(loading.reading, images)
        run = Pass(extractor, kinds, num_bins, ranges, loading, num_folds, groups)
        run.begin(images)
        paths = output_paths(Path(output), kinds)
        if isinstance(images, ImageStream):
            return paths, _measure_stream(images, run, list(kinds), paths, resume, notes)
        parts = Parts(Path(f"{output}.parts"), len(images), loading.batch_size, list(kinds))
    try:
        with in_step():
            if rank() == 0:
                parts.begin(_job(images, run), resume)
            missing = gather(parts.missing())[0]  # as it was before any process finished a part
            parts.measure(images, run, missing[rank() :: world_size()])
            gather(None)  # wait until all parts are there
            unreadable = parts.unreadable()
            check_any_read(len(images), unreadable)
            gather(None)  # wait until all have read them, since they are removed next
            if rank() == 0:
                for kind, path in paths.items():
                    replace(parts.merged(kind), notes=notes).save(path)
                parts.remove()
    finally:
        parts.end()
    return paths, unreadable


def _measure_stream(
    images: ImageStream, run: Pass, kinds: Sequence[Kind], paths: dict[str, Path], resume: bool, notes: str
) -> list[str]:
    """Write the DNAs of a stream, which is measured in one go; gives a line for each image that was left out."""
    if resume:
        raise ValueError(
            f"{images.label!r} is a stream, which has no parts to resume from; leave out `resume`, or make a DNA of"
            " each of its shards, and merge them"
        )
    loading = replace(run.loading, distributed=world_size() > 1)
    found = measure(images, run.extractor, kinds, *run.counting, loading, run.num_folds, run.groups)
    if rank() == 0:
        for kind, path in paths.items():
            replace(found.dnas[kind], notes=notes).save(path)
    return found.unreadable


def output_paths(output: Path, kinds: Sequence[str]) -> dict[str, Path]:
    """Where the DNA of each kind goes; FileNotFoundError or FileExistsError if it can't be written there."""
    paths = {kinds[0]: output}
    if len(kinds) > 1:
        suffix = next((end for end in (".dna.npz", ".npz") if output.name.endswith(end)), "")
        stem = output.name.removesuffix(suffix)
        paths = {kind: output.with_name(f"{stem}.{kind}{suffix}") for kind in kinds}
    for path in paths.values():
        check_folder(path)
    return paths


class Parts:
    """The parts of a job, on disk.

    Args:
        folder: Where the parts are kept.
        num_images: How many images the job has.
        batch_size: Parts hold whole batches, so that batches are the same whoever measures which part.
        kinds: Which DNAs each part has.

    """

    def __init__(self, folder: Path, num_images: int, batch_size: int, kinds: list[str]) -> None:
        self.folder = folder
        self.kinds = kinds
        self._lock: Lock | None = None
        batches = -(-num_images // batch_size)
        size = batch_size * -(-batches // _MOST_PARTS)
        self._images = [range(first, min(first + size, num_images)) for first in range(0, num_images, size)]

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
        finished = len(list(self.folder.glob("[0-9][0-9].json")))
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
        if len(self.missing()) == len(self._images):
            self.remove()
        self._leave(self._lock)
        self._lock = None

    def _leave(self, lock: Lock) -> None:
        lock.release()
        with suppress(OSError):  # it is not empty
            self.folder.rmdir()

    def missing(self) -> list[int]:
        """Numbers of the parts that are not finished."""
        return [part for part in range(len(self._images)) if not self._record(part).is_file()]

    def measure(self, images: ImageSource, run: Pass, parts: Sequence[int]) -> None:
        """Make some parts, in one pass over their images."""
        ends, end = {}, 0
        for part in parts:
            end += len(self._images[part])
            ends[end] = part
        if not ends:
            return
        share = images.take([i for part in parts for i in self._images[part]])
        done, left_out = 0, list[str]()
        sides: dict[Kind, Side] | None = None
        for one in activate_noted(share, run.extractor, run.loading, run.notes):
            sides = sides or run.empty()
            if one.places:
                numbers = [share.numbers[i] for i in one.places]
                run.add_(sides, one.activations, len(numbers), run.folds(one, numbers))
            left_out += one.left_out
            done += len(one.places) + len(one.left_out)
            del one
            if done in ends:
                self._finish(ends[done], run.to_dnas(sides), left_out)
                sides, left_out = None, []  # before the next part has its own: counts may be large

    def unreadable(self) -> list[str]:
        """One line for each image that was left out, of all parts."""
        records = [self._record(part) for part in range(len(self._images))]
        absent = [record.name for record in records if not record.is_file()]
        if absent:
            raise FileNotFoundError(
                f"{str(self.folder)!r} has no {absent[0]}, which another process has made; all need the same folder"
            )
        lines: list[str] = []
        for record in records:
            with refusing(record, "a list of images"):
                lines += [check_type("lines", line, str) for line in read_json(record, list)]
        return lines

    def merged(self, kind: str) -> DNA:
        """Merge the DNAs of all parts, in their order."""
        return merged(load_dna(self._path(part, kind)) for part in range(len(self._images)))

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
            if job.get("format") != _FORMAT:
                raise ValueError(f"its format is {job.get('format')!r}, expected {_FORMAT!r}; move its folder away")
        return job

    def _finish(self, part: int, dnas: dict[str, DNA], unreadable: list[str]) -> None:
        for kind, dna in dnas.items():
            dna.save(self._path(part, kind))
        with replacing(self._record(part)) as temporary:  # last, since it says that the part is there
            temporary.write_text(json.dumps(unreadable), encoding="utf-8")

    def _path(self, part: int, kind: str) -> Path:
        return self.folder / f"{part:02}.{kind}.dna.npz"

    def _record(self, part: int) -> Path:
        return self.folder / f"{part:02}.json"


def _job(images: ImageSource, run: Pass) -> dict[str, Any]:
    """What parts must have in common, in json's types."""
    sha = hashlib.sha256()
    groups = [""] * len(images) if run.groups is None else group_names(images, run.groups)
    for i, (name, group) in enumerate(zip(images.names, groups, strict=True)):
        told = f"{name}\n{images.stamp(i) if images.stamp else ''}\n{group}"
        sha.update(told.encode(errors="surrogatepass"))
    tallies = [tally.configuration for tally in run.tallies.values()]
    return dict(ChainMap(*tallies)) | {
        "kinds": [tally["kinds"] for tally in tallies],
        "format": _FORMAT,
        "images (digest of names, sizes and times)": f"{len(images)} {sha.hexdigest()[:16]}",
        "batch sizes": run.loading.batch_size,
        "EXIF orientations": images.exif_orientation,
    }
