"""DNA files of large image sets: made in parts, by one process or several, and gone on with after an interruption."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torchmetrics_dna.atomic import check_folder, replacing
from torchmetrics_dna.dna_files import merge_files
from torchmetrics_dna.images import open_source
from torchmetrics_dna.measure import Pass, check_any_read, in_step
from torchmetrics_dna.processes import gather, rank, world_size

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from torchmetrics_dna.dna import DNA
    from torchmetrics_dna.extractors import DNAExtractor
    from torchmetrics_dna.images import ImageSource, Source
    from torchmetrics_dna.measure import Kind, Loading
    from torchmetrics_dna.ranges import ActivationRanges

_MOST_PARTS = 32  # enough to share among processes, and few enough that writing them costs little


def make_files(
    source: Source | ImageSource,
    output: str | os.PathLike[str],
    extractor: DNAExtractor,
    kinds: Sequence[Kind],
    num_bins: int,
    ranges: ActivationRanges | str | os.PathLike[str] | None,
    loading: Loading,
    *,
    resume: bool = False,
    notes: str = "",
) -> tuple[dict[str, Path], list[str]]:
    """Write the DNA of an image set to files, all kinds from one pass.

    The images are measured in parts, which lie in the folder ``OUTPUT.parts`` until the whole is written. Which
    images are in a part does not depend on how many processes there are, nor does the order in which parts are merged,
    so the files are the same to the last byte.

    Args:
        source: See :func:`open_source`.
        output: Where to; with several kinds, ``x.dna.npz`` stands for ``x.histogram.dna.npz`` and so on.
        extractor: The network, on the device where it is to run.
        kinds: Which DNAs to make.
        num_bins: Bins of the histograms.
        ranges: Activation ranges of the histograms, the path of a file of them, or ``"auto"``;
            None for the packaged ones, or else ``"auto"``.
        loading: How images are read; if ``distributed``, all processes must see the same folder.
        resume: Go on from the parts that an interrupted call left.
        notes: Kept in the files.

    Returns:
        The file of each kind, and one line for each image that was left out.

    Raises:
        FileNotFoundError: If the images or the folder to write to are not there.
        ValueError: If there are no images, one can't be read, activations are not finite, there are parts though
            ``resume`` is False, or parts of another job.

    """
    images = open_source(source, loading.exif_orientation)
    run = Pass(extractor, kinds, num_bins, ranges, loading)
    paths = output_paths(Path(output), kinds)
    parts = Parts(Path(f"{output}.parts"), len(images), loading.batch_size, list(kinds))
    in_step(lambda: parts.begin(_job(images, run), resume) if rank() == 0 else None)
    missing = gather(parts.missing())[0]  # as it was before anyone finished one
    try:
        in_step(lambda: parts.measure(images, run, missing[rank() :: world_size()]))
        run.close()  # merging needs that memory
        unreadable = parts.unreadable()
        check_any_read(len(images), unreadable)
        gather(None)  # nobody reads parts any more when they are removed
        if rank() == 0:
            for kind, path in paths.items():
                replace(parts.merged(kind), notes=notes).save(path)
            parts.remove()
    finally:
        if rank() == 0:
            parts.remove_if_unfinished()
    return paths, unreadable


def output_paths(output: Path, kinds: Sequence[str]) -> dict[str, Path]:
    """Where the DNA of each kind goes; FileNotFoundError if there is no such folder."""
    check_folder(output)
    if len(kinds) == 1:
        return {kinds[0]: output}
    suffix = next((end for end in (".dna.npz", ".npz") if output.name.endswith(end)), "")
    stem = output.name.removesuffix(suffix)
    return {kind: output.with_name(f"{stem}.{kind}{suffix}") for kind in kinds}


class Parts:
    """The parts of a job, on disk.

    Args:
        folder: Where they lie.
        num_images: Of the whole.
        batch_size: Parts hold whole batches, so that batches are the same whoever measures which part.
        kinds: Which DNAs each part has.

    """

    def __init__(self, folder: Path, num_images: int, batch_size: int, kinds: list[str]) -> None:
        self.folder = folder
        self.kinds = kinds
        batches = -(-num_images // batch_size)
        size = batch_size * -(-batches // _MOST_PARTS)
        self._images = [range(first, min(first + size, num_images)) for first in range(0, num_images, size)]

    def begin(self, job: dict[str, Any], resume: bool) -> None:
        """Make the folder; ValueError if there is one already, unless it is of this job and is to be gone on with."""
        record = self.folder / "job.json"
        finished = len(list(self.folder.glob("[0-9][0-9].json")))
        if not finished:
            self.folder.mkdir(exist_ok=True)
            with replacing(record) as temporary:
                temporary.write_text(json.dumps(job), encoding="utf-8")
            return
        if not resume:
            raise ValueError(
                f"{str(self.folder)!r} has {finished} finished parts of an interrupted run: go on from them with"
                " --resume, or delete that folder"
            )
        earlier = json.loads(record.read_text(encoding="utf-8"))
        for what, value in job.items():
            if earlier.get(what) != value:
                raise ValueError(
                    f"The parts in {str(self.folder)!r} are of another job, whose {what} differ: {earlier.get(what)},"
                    f" now {value}; delete that folder, or give the same arguments"
                )

    def missing(self) -> list[int]:
        """Numbers of the parts that are not finished."""
        return [part for part in range(len(self._images)) if not self._record(part).is_file()]

    def measure(self, images: ImageSource, run: Pass, parts: Sequence[int]) -> None:
        """Make some parts, in one go through their images."""
        ends, end = {}, 0
        for part in parts:
            end += len(self._images[part])
            ends[end] = part
        if not ends:
            return
        left_out: list[str] = []
        for done, lines in run.run(images.take([i for part in parts for i in self._images[part]])):
            left_out += lines
            if done in ends:
                self._finish(ends[done], run.dnas(), left_out)
                run.restart()
                left_out = []

    def unreadable(self) -> list[str]:
        """One line for each image that was left out, of all parts."""
        records = [self._record(part) for part in range(len(self._images))]
        absent = [record.name for record in records if not record.is_file()]
        if absent:
            raise FileNotFoundError(
                f"{str(self.folder)!r} has no {absent[0]}, which another process has made; all need the same folder"
            )
        return [line for record in records for line in json.loads(record.read_text(encoding="utf-8"))]

    def merged(self, kind: str) -> DNA:
        """The DNA of all parts, in their order."""
        return merge_files([self._path(part, kind) for part in range(len(self._images))])

    def remove(self) -> None:
        """Delete all parts."""
        shutil.rmtree(self.folder)

    def remove_if_unfinished(self) -> None:
        """Leave nothing behind where there is nothing to go on from."""
        if self.folder.is_dir() and len(self.missing()) == len(self._images):
            self.remove()

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
    names = hashlib.sha256("\n".join(images.names).encode()).hexdigest()[:16]
    settings = {kind: tally.configuration for kind, tally in run.tallies.items()}
    job = {
        "images (digest of their names)": f"{len(images)} {names}",
        "batch sizes": run.loading.batch_size,
        "settings": settings,
        "EXIF orientations": images.exif_orientation,
    }
    return dict(json.loads(json.dumps(job)))
