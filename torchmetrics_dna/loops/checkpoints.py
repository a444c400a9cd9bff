"""Checkpoints of a training run against one reference: a folder of their DNAs, a curve and a table."""

from __future__ import annotations

import hashlib
import os
import re
import weakref
from collections.abc import Sized
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from filelock import Timeout

from torchmetrics_dna.checks import brief
from torchmetrics_dna.comparisons.compare import compare
from torchmetrics_dna.comparisons.several_sets import Comparisons
from torchmetrics_dna.dna import DNA, check_comparable
from torchmetrics_dna.dna.load import load_dna
from torchmetrics_dna.files.atomic import file_lock, replacing, unlock
from torchmetrics_dna.files.tables import as_csv
from torchmetrics_dna.files.visible import images_in_words
from torchmetrics_dna.images import Images, ImageSource, Source
from torchmetrics_dna.images.likeness import digest_of
from torchmetrics_dna.images.objects import is_output
from torchmetrics_dna.images.pixels import as_bytes
from torchmetrics_dna.images.sets import left_out_in_words
from torchmetrics_dna.images.sources import check_used
from torchmetrics_dna.jobs.arguments import Arguments, taking
from torchmetrics_dna.jobs.measure import measure
from torchmetrics_dna.jobs.processes import gather, in_step, rank, world_size
from torchmetrics_dna.jobs.sides import open_each, open_sides
from torchmetrics_dna.plots import plot_curve
from torchmetrics_dna.statistics.base import check_num_folds
from torchmetrics_dna.warning import warn

if TYPE_CHECKING:
    from torchmetrics_dna.comparisons.two_sets import Comparison
    from torchmetrics_dna.dna.distances import Kind
    from torchmetrics_dna.extractors import DNAExtractor
    from torchmetrics_dna.functional.improvement import Improvement
    from torchmetrics_dna.statistics.setup import Feature

_REFERENCE = "reference.dna.npz"
_HELD_OUT = "held_out.dna.npz"
# Number of images of a reference whose pixels are compared with those of its DNA.
_MOST_DIGESTED = 64
# Names of the DNAs in a folder, and what they are in errors.
_WHAT = {_REFERENCE: "reference", _HELD_OUT: "held-out set"}
# The notes of a reference that was measured here begin with this.
_PIXELS = "pixels "
# Owners of the locks of folders.
_OWNERS: weakref.WeakValueDictionary[Path, Checkpoints] = weakref.WeakValueDictionary()
# Name of the file of a checkpoint.
_STEP = re.compile(r"step_(\d+)\.dna\.npz")


class Checkpoints:
    """Scores of the checkpoints of a training run against one reference, with their DNAs in a folder.

    The folder holds ``reference.dna.npz``, ``held_out.dna.npz`` if there are such images, ``step_001000.dna.npz`` and
    so on, ``checkpoints.csv``, and ``curve.png`` if matplotlib is installed. A resumed training with the same folder
    continues from its files.

    A folder belongs to one run: the first ``add`` locks it, for as long as this object lives.

    With ``distributed=True``, all processes of torch.distributed make the same calls: they share the images of the
    reference, each adds images of its own, and process 0 writes to its folder, which all see.

    Args:
        reference: Images, which are measured once and kept in the folder, or a DNA or the path of one, of any kind;
            give it folds for a test and for debiased values (``make_dna(..., num_folds=20)``).
        folder: Folder of the files; created if it does not exist.
        feature: As for :func:`compare`.
        held_out: Real images that the model does not see, or a DNA of them, likewise kept: the table says how many
            times as far as these each checkpoint is.
        options: Some of :class:`Arguments`, as the signature shows.

    Attributes:
        reference: The DNA of the reference.
        held_out: The DNA of the held-out images, or None.
        folder: Folder of the files.

    Raises:
        ValueError: As for :func:`make_dna`; if the folder holds another reference, by the number of images and the
            pixels of 64 of them. Images without an index are not read again, so they are not checked.

    Example:
        >>> import numpy as np, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     checkpoints = Checkpoints(np.full((6, 40, 50, 3), 90, np.uint8), folder, layers=["block_0"])
        ...     for step, level in ((100, 250), (200, 100)):
        ...         comparison = checkpoints.add(step, np.full((6, 40, 50, 3), level, np.uint8))
        ...     checkpoints.comparisons.best, comparison.num_images, sorted(comparison.scalars())[:2]
        ('step_000200', {'a': 6, 'b': 6}, ['dna/block_0/dna_emd', 'dna/dna_emd'])

        >>> generator = np.random.default_rng(0)
        >>> real, early, late = (generator.integers(0, most, (30, 32, 32, 3), np.uint8) for most in (256, 64, 256))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     checkpoints = Checkpoints(real, folder, layers=["block_0"])
        ...     for step, generated in ((100, early), (200, late)):
        ...         comparison = checkpoints.add(step, generated)
        ...     checkpoints.improvement.name, checkpoints.improvement.scalars()["dna/last_improvement"]
        ('step_000200', 200.0)

    """

    @taking("layers", "num_bins", "ranges", "num_folds", "reading", "distributed")
    def __init__(
        self,
        reference: Source | DNA,
        folder: str | os.PathLike[str],
        feature: Feature | None = None,
        *,
        held_out: Source | DNA | None = None,
        **options: Any,
    ) -> None:
        arguments = Arguments(feature, **options)
        if rank() and not arguments.distributed:
            raise ValueError(
                f"This is process {rank()} of {world_size()}, which would all write to {str(folder)!r}; give"
                " distributed=True in all of them, or leave it to process 0"
            )
        if arguments.num_folds is not None:
            check_num_folds(arguments.num_folds)
        self._distributed = arguments.distributed and world_size() > 1
        # Arguments with which the images of checkpoints are opened.
        self._arguments = Arguments(feature, reading=arguments.reading)
        self._comparisons: dict[int, Comparison] = {}
        self._is_replaced = False
        with in_step(self._distributed):
            self.folder = Path(folder)
            present = self._prepare_folder()
            saved = load_dna(self.folder / _REFERENCE) if _REFERENCE in present else None
            saved_held_out = load_dna(self.folder / _HELD_OUT) if _HELD_OUT in present else None
            self._lock = file_lock(self.folder / ".lock")
            (opened,) = open_each([reference], arguments)
            # A saved DNA stands for the images, so that they are not measured again.
            dna = opened if isinstance(opened, DNA) else saved
            kind = "histogram" if dna is None else dna.kind
            sides = open_sides([opened if dna is None else dna], arguments, [cast("Kind", kind)])
            self._job = sides.job
            self.reference = self._checked(_REFERENCE, saved, opened, sides.images[0])
            self.held_out = saved_held_out
            if held_out is not None:
                (opened,) = open_each([held_out], self._arguments)
                dna = opened if isinstance(opened, DNA) else saved_held_out
                self.held_out = self._checked(_HELD_OUT, saved_held_out, opened, opened if dna is None else dna)
            self._of_held_out: Comparison | None = None
            if self.held_out is not None:
                self._of_held_out = compare(self.reference, self.held_out)

    def _prepare_folder(self) -> list[str]:
        """Create the folder, and return the names of the DNAs in it. All processes take the folder of process 0."""
        if rank() == 0:
            self.folder.mkdir(parents=True, exist_ok=True)
        # This is read before any process writes a file.
        present = [name for name in _WHAT if (self.folder / name).exists()]
        if self._distributed:
            # Other processes may have been given another folder, such as a temporary one.
            self.folder, present = gather((self.folder.absolute(), present))[0]
        return present

    @property
    def extractor(self) -> DNAExtractor:
        """Extractor of the activations."""
        return self._job.extractor

    @property
    def num_folds(self) -> int | None:
        """Number of folds of images."""
        return self._job.num_folds

    @property
    def comparisons(self) -> Comparisons:
        """Comparisons with all checkpoints in the folder, by the names of their files, in the order of steps.

        Warns:
            UserWarning: If a file is left out: damaged, or of another extractor, layers, bins or ranges.

        Raises:
            ValueError: If there are none.

        """
        steps: set[int] = set()
        for path in self.folder.iterdir():
            match = _STEP.fullmatch(path.name)
            # Other spellings of a step, such as with leading zeros, are not of these checkpoints.
            if match is not None and path.name == _file(int(match[1])):
                steps.add(int(match[1]))
        for step in sorted(steps - self._comparisons.keys()):
            path = self.folder / _file(step)
            try:
                comparison = compare(self.reference, path)
            except (ValueError, OSError) as err:
                # A bad file must not end a training.
                warn(f"The checkpoint {str(path)!r} is left out: {err}")
                continue
            names = ("the reference", _name(step))
            self._comparisons[step] = replace(comparison, measured=None, names=names)
        comparable = sorted(steps & self._comparisons.keys())
        if not comparable:
            raise ValueError(f"There are no checkpoints in {str(self.folder)!r} yet")
        sets = {_name(step): self._comparisons[step] for step in comparable}
        if self._of_held_out is None:
            return Comparisons("the reference", sets)
        return Comparisons("the reference", sets | {"held-out": self._of_held_out}, "held-out")

    @property
    def improvement(self) -> Improvement | None:
        """Last checkpoint that is significantly closer to the reference than the last such checkpoint before it.

        Its ``scalars()`` are for a logger. None without folds of images. It warns and raises as :attr:`comparisons`.
        """
        return self.comparisons.improvement

    def add(self, step: int, images: Source | DNA) -> Comparison:
        """Score a checkpoint, keep its DNA, and draw the curve anew.

        Args:
            step: Position in the training, such as the number of steps so far; an earlier file of it is replaced.
            images: Generated images: any as for :func:`make_dna`, also an iterator of batches or the output of a
                pipeline of diffusers; a path, which processes share; or a DNA of all of them.

        Returns:
            The comparison with the reference; its ``scalars()`` are for a logger.

        Raises:
            ValueError: As for :func:`make_dna`; if a DNA does not fit the reference; if another run has the folder.
            RuntimeError: If dna-fd or fd is requested of one image.

        """
        if not isinstance(step, int) or step < 0:
            raise ValueError(f"Argument `step` expected to be an integer of at least 0, but got {brief(step)}")
        with in_step(self._distributed):
            if rank() == 0:
                self._hold_folder()
            has_own_images = not isinstance(images, (str, os.PathLike))
            if is_output(images):
                images = iter([images])
            elif self._distributed and isinstance(images, Sized) and not len(images):
                # One of several processes may have no images.
                images = iter(())
            (opened,) = open_each([images], self._arguments)
            dna = opened.to("cpu") if isinstance(opened, DNA) else self._measure(opened, has_own_images)
            check_comparable(self.reference, dna)
            comparison = replace(compare(self.reference, dna), names=("the reference", _name(step)))
            # If this is interrupted, an earlier comparison of the step does not belong to the new file.
            self._comparisons.pop(step, None)
            if rank() == 0:
                dna.save(self.folder / _file(step))
            # The file holds the DNA.
            self._comparisons[step] = replace(comparison, measured=None)
            if rank() == 0:
                self._write_results()
        return comparison

    def _write_results(self) -> None:
        """Write the table and the curve of all checkpoints."""
        comparisons = self.comparisons
        with replacing(self.folder / "checkpoints.csv") as path:
            path.write_text(as_csv(comparisons.rows()), encoding="utf-8", newline="")
        # Scores do not need matplotlib, so the curve is left out without it.
        with suppress(ModuleNotFoundError):
            figure = plot_curve(comparisons)
            with replacing(self.folder / "curve.png") as path:
                figure.savefig(path, format="png")

    def _checked(self, name: str, saved: DNA | None, opened: Images | DNA, resolved: Images | DNA) -> DNA:
        """Return a DNA of the folder, or measure and save it.

        Args:
            name: Name of its file.
            saved: The DNA in the file; None without a file.
            opened: The images or the DNA that were passed.
            resolved: A DNA of them, or the images if they must be measured.

        Raises:
            ValueError: If the DNA in the file is of other images.

        """
        notes = ""
        # Notes of another form are those of a file that was written elsewhere.
        was_measured_here = saved is None or saved.notes.startswith(_PIXELS)
        if isinstance(opened, ImageSource) and was_measured_here:
            notes = _pixels_of(opened, self.extractor.image_channels)
        dna = resolved.to("cpu") if isinstance(resolved, DNA) else replace(self._measure(resolved), notes=notes)
        if saved is None:
            if rank() == 0:
                dna.save(self.folder / name)
            return dna
        if isinstance(opened, ImageSource):
            count = saved.num_images if self._job.reading.skip_unreadable else len(opened)
            self._check_same(name, (saved.num_images, saved.notes), (count, notes or saved.notes))
        self._check_same(name, _described(saved), _described(dna))
        return dna

    def _check_same(self, name: str, saved: tuple[int, str], new: tuple[int, str]) -> None:
        """Raise ValueError unless number of images and digest of a DNA in the folder are those of the new one."""
        if saved == new:
            return
        texts = []
        for count, digest in (saved, new):
            size = images_in_words(count)
            texts.append(f"{size}, {digest}" if digest else size)
        raise ValueError(
            f"Another {_WHAT[name]} is in {str(self.folder / name)!r}: of {texts[0]}, but got {texts[1]}; choose"
            " another folder"
        )

    def _hold_folder(self) -> None:
        """Lock the folder, or take the lock over from an earlier object of this process; ValueError if it is held.

        The owner changes last, so that an interrupted call can be made again.
        """
        if self._is_replaced:
            raise ValueError(f"A later Checkpoints of this process has taken over {str(self.folder)!r}")
        earlier = _OWNERS.get(self.folder.resolve())
        if earlier is self and self._lock.is_locked:
            return
        self._check_same(_REFERENCE, _described(load_dna(self.folder / _REFERENCE)), _described(self.reference))
        if earlier is not None:
            self._lock = earlier._lock
        self._release = weakref.finalize(self, unlock, self._lock)
        if earlier is not None and earlier is not self:
            earlier._release.detach()
            earlier._is_replaced = True
        if not self._lock.is_locked:
            try:
                self._lock.acquire()
            except Timeout as err:
                raise ValueError(f"Another run adds checkpoints to {str(self.folder)!r}") from err
        _OWNERS[self.folder.resolve()] = self

    def _measure(self, images: Images, has_own_images: bool = False) -> DNA:
        """Measure images; if ``has_own_images``, each process has images of its own, else they share the images."""
        check_used(self._job.reading, images)
        measured = measure(self._job, images, distributed=self._distributed, own=has_own_images)
        lines = measured.unreadable
        if lines:
            warn(f"{left_out_in_words(lines)}, the first: {lines[0]}")
        return measured.first

    def __repr__(self) -> str:
        return f"Checkpoints({str(self.folder)!r}, reference {self.reference!r})"


def _name(step: int) -> str:
    """Return the name of a checkpoint."""
    return f"step_{step:06}"


def _file(step: int) -> str:
    """Return the name of the file of a checkpoint."""
    return f"{_name(step)}.dna.npz"


def _described(dna: DNA) -> tuple[int, str]:
    """Return the number of images and the digest of a DNA."""
    return dna.num_images, f"digest {dna.digest}"


def _pixels_of(images: ImageSource, channels: int) -> str:
    """Return a digest of up to 64 evenly spaced images, decoded to so many channels, or of other inputs."""
    sha = hashlib.sha256()
    step = -(-len(images) // _MOST_DIGESTED)
    for i in range(0, len(images), step):
        try:
            image = images.decode(i, channels).pixels
        except Exception as err:
            # Damaged files make Pillow raise errors of any type.
            sha.update(type(err).__name__.encode())
            continue
        sha.update(digest_of(image if images.example else as_bytes(image)))
    return f"{_PIXELS}{sha.hexdigest()[:16]}"
