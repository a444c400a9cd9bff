"""Checkpoints of a training run against one reference: a folder of their DNAs, a curve and a table."""

from __future__ import annotations

import hashlib
import os
import re
import weakref
from collections.abc import Sized
from contextlib import suppress
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

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
from torchmetrics_dna.images.objects import is_pipeline_output
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
    from torchmetrics_dna.jobs.sides import Sides
    from torchmetrics_dna.statistics.setup import Feature

_REFERENCE = "reference.dna.npz"
_HELD_OUT = "held_out.dna.npz"
# Largest number of images of a set whose pixels are digested, to detect that the folder has a DNA of other images.
_MOST_DIGESTED = 64
# File names of the DNAs that are no checkpoints, each with the noun for its images in errors.
_NOUNS = {_REFERENCE: "reference", _HELD_OUT: "held-out set"}
# A DNA that this class measured has a digest of its pixels, with this prefix, as its notes.
_PIXELS = "pixels "
# The object that holds the lock of each folder.
_OWNERS: weakref.WeakValueDictionary[Path, Checkpoints] = weakref.WeakValueDictionary()
# Pattern of the file names of checkpoints.
_STEP = re.compile(r"step_(\d+)\.dna\.npz")


class _Contents(NamedTuple):
    """What is compared to decide whether two DNAs are of the same images.

    Attributes:
        num_images: Number of images.
        digest: Digest of the pixels or of the DNA, as it is printed in errors; empty if unknown.

    """

    num_images: int
    digest: str


class Checkpoints:
    """Scores of the checkpoints of a training run against one reference, with their DNAs in a folder.

    The folder contains ``reference.dna.npz``, a file such as ``step_001000.dna.npz`` for each checkpoint, and the table
    ``checkpoints.csv``. With held-out images, it also contains ``held_out.dna.npz``. If matplotlib is installed, it
    contains the figure ``curve.png``. A resumed training with the same folder continues from these files.

    A folder belongs to one run. The first call of :meth:`add` locks the folder for the lifetime of this object.

    With ``distributed=True``, all processes of torch.distributed must make the same calls. They share the images of the
    reference. Each process adds its own generated images. Process 0 writes the files, and all processes need access to
    its folder.

    Args:
        reference: Images, a DNA of any representation, or the path of a DNA file. Images are measured once, and their
            DNA is saved in the folder. For tests and debiased values, a DNA needs folds, as from
            ``make_dna(..., num_folds=20)``.
        folder: Folder of the files; created if it does not exist.
        feature: As for :func:`compare`.
        held_out: Real images on which the model is not trained, or a DNA of them. Their DNA is saved in the folder,
            too. The table then has the distance of each checkpoint relative to that of the held-out images.
        options: Arguments of :class:`Arguments` that the signature lists.

    Attributes:
        reference: The DNA of the reference.
        held_out: The DNA of the held-out images, or None.
        folder: Folder of the files.

    Raises:
        ValueError: As for :func:`make_dna`. Also if the folder has a DNA of another reference or other held-out images.
            The number of images and the pixels of up to 64 images are compared. Images without an index, such as those
            of an iterator, are not compared, because they are not read again.

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
        _check_processes(folder, arguments.distributed)
        if arguments.num_folds is not None:
            check_num_folds(arguments.num_folds)
        self._distributed = arguments.distributed and world_size() > 1
        # Arguments with which the images of checkpoints are opened.
        self._arguments = Arguments(feature, reading=arguments.reading)
        # Comparisons of the reference with checkpoints, by step.
        self._comparisons: dict[int, Comparison] = {}
        # True if a later object of this process has taken over the folder.
        self._is_replaced = False
        with in_step(self._distributed):
            self.folder = Path(folder)
            saved = self._load_folder()
            self._lock = file_lock(self.folder / ".lock")
            (opened,) = open_each([reference], arguments)
            sides = _sides_of(opened, saved.get(_REFERENCE), arguments)
            self._job = sides.job
            self.reference = self._checked(_REFERENCE, saved.get(_REFERENCE), opened, sides.images[0])
            self.held_out = self._open_held_out(held_out, saved.get(_HELD_OUT))
            self._comparison_with_held_out: Comparison | None = None
            if self.held_out is not None:
                self._comparison_with_held_out = compare(self.reference, self.held_out)

    def _load_folder(self) -> dict[str, DNA]:
        """Create the folder, and load the DNAs of reference and held-out images, by file name, if they are there.

        All processes use the folder of process 0.
        """
        if rank() == 0:
            self.folder.mkdir(parents=True, exist_ok=True)
        # The folder is listed before any process writes a file.
        names = [name for name in _NOUNS if (self.folder / name).exists()]
        if self._distributed:
            # Other processes may have been given another folder, such as a temporary one.
            self.folder, names = gather((self.folder.absolute(), names))[0]
        return {name: load_dna(self.folder / name) for name in names}

    def _open_held_out(self, held_out: Source | DNA | None, saved: DNA | None) -> DNA | None:
        """Return the DNA of the held-out images, or None if there are none.

        Args:
            held_out: Images or DNA that the user passed. If None, the DNA in the folder is used.
            saved: The DNA in the folder, or None if there is none.

        """
        if held_out is None:
            return saved
        (opened,) = open_each([held_out], self._arguments)
        return self._checked(_HELD_OUT, saved, opened, _saved_or_opened(opened, saved))

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
        """Comparisons of the reference with all checkpoints in the folder, in the order of steps.

        The name of each is that of its file without the ending. The held-out images, if there are any, come last.

        Warns:
            UserWarning: If a file is left out, because it is damaged, or has another extractor, layers, bins or ranges.

        Raises:
            ValueError: If the folder has no checkpoints.

        """
        steps = self._steps_in_folder()
        for step in sorted(steps - self._comparisons.keys()):
            self._compare_file(step)
        comparable_steps = sorted(steps & self._comparisons.keys())
        if not comparable_steps:
            raise ValueError(f"There are no checkpoints in {str(self.folder)!r} yet")
        sets = {_name(step): self._comparisons[step] for step in comparable_steps}
        if self._comparison_with_held_out is None:
            return Comparisons("the reference", sets)
        return Comparisons("the reference", sets | {"held-out": self._comparison_with_held_out}, "held-out")

    def _steps_in_folder(self) -> set[int]:
        """Return the steps of all checkpoints that have a file in the folder."""
        steps: set[int] = set()
        for path in self.folder.iterdir():
            match = _STEP.fullmatch(path.name)
            # This class writes the number of a step with a fixed number of digits. Ignore files with more or fewer
            # digits.
            if match is not None and path.name == _file(int(match[1])):
                steps.add(int(match[1]))
        return steps

    def _compare_file(self, step: int) -> None:
        """Compare the checkpoint in a file with the reference; warn if that is not possible."""
        path = self.folder / _file(step)
        try:
            comparison = compare(self.reference, path)
        except (ValueError, OSError) as err:
            # A bad file must not end a training.
            warn(f"The checkpoint {str(path)!r} is left out: {err}")
            return
        names = ("the reference", _name(step))
        self._comparisons[step] = replace(comparison, measured=None, names=names)

    @property
    def improvement(self) -> Improvement | None:
        """The last checkpoint that is significantly closer to the reference than the best one before it.

        It is None without folds of images. Its ``scalars()`` are for a logger. Warnings and errors are those of
        :attr:`comparisons`.
        """
        return self.comparisons.improvement

    def add(self, step: int, images: Source | DNA) -> Comparison:
        """Compare a checkpoint with the reference, save its DNA, and write the table and the curve again.

        Args:
            step: Position in the training, such as the number of steps so far. An earlier file of the same step is
                replaced.
            images: Generated images in any form that :func:`make_dna` accepts, such as an iterator of batches or the
                output of a diffusers pipeline. Or a DNA of these images. With several processes, each passes its own
                images, but the images at a path are shared.

        Returns:
            The comparison with the reference. Its ``scalars()`` are for a logger.

        Raises:
            ValueError: As for :func:`make_dna`. Also if a DNA does not fit the reference, or if another run has locked
                the folder.
            RuntimeError: If the distance is dna-fd or fd, but there is only one image.

        """
        if not isinstance(step, int) or step < 0:
            raise ValueError(f"Argument `step` expected to be an integer of at least 0, but got {brief(step)}")
        with in_step(self._distributed):
            if rank() == 0:
                self._hold_folder()
            dna = self._dna_of_checkpoint(images)
            check_comparable(self.reference, dna)
            comparison = replace(compare(self.reference, dna), names=("the reference", _name(step)))
            # After an interrupt, an earlier comparison of this step would not belong to the new file.
            self._comparisons.pop(step, None)
            if rank() == 0:
                dna.save(self.folder / _file(step))
            # The DNA is in the file, so the memory for it is freed.
            self._comparisons[step] = replace(comparison, measured=None)
            if rank() == 0:
                self._write_results()
        return comparison

    def _dna_of_checkpoint(self, images: Source | DNA) -> DNA:
        """Return the DNA of generated images; measure them if they are no DNA."""
        # Processes share the images at a path. Other images belong to the process that passes them.
        has_own_images = not isinstance(images, (str, os.PathLike))
        if is_pipeline_output(images):
            images = iter([images])
        elif self._distributed and isinstance(images, Sized) and not len(images):
            # One of several processes may have no images.
            images = iter(())
        (opened,) = open_each([images], self._arguments)
        if isinstance(opened, DNA):
            return opened.to("cpu")
        return self._measure(opened, has_own_images)

    def _write_results(self) -> None:
        """Write the table and the curve of all checkpoints."""
        comparisons = self.comparisons
        with replacing(self.folder / "checkpoints.csv") as path:
            path.write_text(as_csv(comparisons.rows()), encoding="utf-8", newline="")
        # Without matplotlib, the curve is left out.
        with suppress(ModuleNotFoundError):
            figure = plot_curve(comparisons)
            with replacing(self.folder / "curve.png") as path:
                figure.savefig(path, format="png")

    def _checked(self, name: str, saved: DNA | None, opened: Images | DNA, resolved: Images | DNA) -> DNA:
        """Return the DNA of reference or held-out images, which is the DNA in the folder, or else is saved there.

        Args:
            name: Name of the file.
            saved: The DNA in the file; None without a file.
            opened: The images or the DNA that the user passed.
            resolved: The DNA to return, or the images if they must be measured.

        Raises:
            ValueError: If the DNA in the file is of other images.

        """
        notes = self._notes_of(opened, saved)
        if isinstance(resolved, DNA):
            dna = resolved.to("cpu")
        else:
            measured = self._measure(resolved)
            dna = replace(measured, notes=notes)
        if saved is None:
            if rank() == 0:
                dna.save(self.folder / name)
            return dna
        if isinstance(opened, ImageSource):
            self._check_images(name, saved, len(opened), notes)
        self._check_same(name, _contents_of(saved), _contents_of(dna))
        return dna

    def _notes_of(self, opened: Images | DNA, saved: DNA | None) -> str:
        """Return the digest of the pixels of images; empty for a DNA, and if the DNA in the file has no such digest."""
        if not isinstance(opened, ImageSource):
            return ""
        # The notes of a DNA file that was copied into the folder are not a digest of pixels.
        if saved is not None and not saved.notes.startswith(_PIXELS):
            return ""
        return _digest_of_pixels(opened, self.extractor.image_channels)

    def _check_images(self, name: str, saved: DNA, num_images: int, notes: str) -> None:
        """Raise ValueError unless the DNA in a file is of these images; without notes, only numbers are compared."""
        # The number of readable images is unknown before they are read.
        if self._job.reading.skip_unreadable:
            num_images = saved.num_images
        saved_images = _Contents(saved.num_images, saved.notes)
        self._check_same(name, saved_images, _Contents(num_images, notes or saved.notes))

    def _check_same(self, name: str, saved: _Contents, new: _Contents) -> None:
        """Raise ValueError if the DNA in a file has other contents than those that the user passed."""
        if saved == new:
            return
        texts = []
        for contents in (saved, new):
            size = images_in_words(contents.num_images)
            texts.append(f"{size}, {contents.digest}" if contents.digest else size)
        raise ValueError(
            f"Another {_NOUNS[name]} is in {str(self.folder / name)!r}: of {texts[0]}, but got {texts[1]}; choose"
            " another folder"
        )

    def _hold_folder(self) -> None:
        """Lock the folder, or take its lock over from an earlier object of this process.

        The owner of the folder changes last, so that an interrupted call can be repeated.

        Raises:
            ValueError: If another process has locked the folder, or a later object of this process has taken it over.

        """
        if self._is_replaced:
            raise ValueError(f"A later Checkpoints of this process has taken over {str(self.folder)!r}")
        owner = _OWNERS.get(self.folder.resolve())
        if owner is self and self._lock.is_locked:
            return
        # Another run may have written another reference since this object was made.
        saved = load_dna(self.folder / _REFERENCE)
        self._check_same(_REFERENCE, _contents_of(saved), _contents_of(self.reference))
        earlier = None if owner is self else owner
        if earlier is not None:
            self._lock = earlier._lock
        # From here on, this object releases the lock when it is garbage-collected, and an earlier object does not.
        self._release = weakref.finalize(self, unlock, self._lock)
        if earlier is not None:
            earlier._release.detach()
            earlier._is_replaced = True
        self._lock_folder()
        _OWNERS[self.folder.resolve()] = self

    def _lock_folder(self) -> None:
        """Lock the folder, unless this process has locked it; raise ValueError if another process has."""
        if self._lock.is_locked:
            return
        try:
            self._lock.acquire()
        except Timeout as err:
            raise ValueError(f"Another run adds checkpoints to {str(self.folder)!r}") from err

    def _measure(self, images: Images, has_own_images: bool = False) -> DNA:
        """Measure images. Processes share the images, unless ``has_own_images``: then each passes its own images."""
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


def _check_processes(folder: str | os.PathLike[str], distributed: bool) -> None:
    """Raise ValueError if several processes would write to one folder without working together."""
    if rank() and not distributed:
        raise ValueError(
            f"This is process {rank()} of {world_size()}, which would all write to {str(folder)!r}; pass"
            " distributed=True in all of them, or leave it to process 0"
        )


def _saved_or_opened(opened: Images | DNA, saved: DNA | None) -> Images | DNA:
    """Return the saved DNA in place of images, so that they are not measured again; else what the user passed."""
    if isinstance(opened, DNA) or saved is None:
        return opened
    return saved


def _sides_of(opened: Images | DNA, saved: DNA | None, arguments: Arguments) -> Sides:
    """Prepare to measure images; the only side is the reference."""
    reference = _saved_or_opened(opened, saved)
    kind = reference.kind if isinstance(reference, DNA) else "histogram"
    return open_sides([reference], arguments, [cast("Kind", kind)])


def _contents_of(dna: DNA) -> _Contents:
    """Return the number of images and the digest of a DNA."""
    return _Contents(dna.num_images, f"digest {dna.digest}")


def _digest_of_pixels(images: ImageSource, channels: int) -> str:
    """Return a digest of up to 64 evenly spaced images, decoded to this number of channels, or of other inputs."""
    sha = hashlib.sha256()
    # Round up, so that at most _MOST_DIGESTED images are digested.
    step = ceil(len(images) / _MOST_DIGESTED)
    for i in range(0, len(images), step):
        try:
            image = images.decode(i, channels).pixels
        except Exception as err:
            # Damaged files make Pillow raise errors of any type.
            sha.update(type(err).__name__.encode())
            continue
        sha.update(digest_of(image if images.example else as_bytes(image)))
    return f"{_PIXELS}{sha.hexdigest()[:16]}"
