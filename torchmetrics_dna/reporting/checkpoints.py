"""The checkpoints of a training run against one reference: a folder of their DNAs, a curve and a table."""

from __future__ import annotations

import csv
import re
import warnings
from collections.abc import Sized
from contextlib import suppress
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torchmetrics_dna.dna import DNA, check_comparable
from torchmetrics_dna.dna.evidence import NUM_FOLDS
from torchmetrics_dna.dna.load import load_dna
from torchmetrics_dna.files.atomic import replacing
from torchmetrics_dna.files.visible import images_in_words
from torchmetrics_dna.images import ImageSource
from torchmetrics_dna.images.base import left_out_in_words
from torchmetrics_dna.images.sources import check_used
from torchmetrics_dna.plots import plot_curve
from torchmetrics_dna.sets.compare import compare
from torchmetrics_dna.sets.comparisons import Comparisons
from torchmetrics_dna.sets.loading import Loading
from torchmetrics_dna.sets.measure import measure
from torchmetrics_dna.sets.processes import gather, in_step, rank, world_size
from torchmetrics_dna.sets.sides import open_side
from torchmetrics_dna.tally.folds import check_num_folds
from torchmetrics_dna.tally.resolve import device_for, resolve

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from typing_extensions import Unpack

    from torchmetrics_dna.extractors import DNAExtractor
    from torchmetrics_dna.images import Images, Source
    from torchmetrics_dna.neurons.ranges import ActivationRanges
    from torchmetrics_dna.sets.comparison import Comparison
    from torchmetrics_dna.sets.loading import SetOptions
    from torchmetrics_dna.tally.resolve import Feature

_REFERENCE = "reference.dna.npz"
_STEP = re.compile(r"step_(\d+)\.dna\.npz")


class Checkpoints:
    """Scores checkpoints while a model trains, each against the same reference, and keeps their DNAs in a folder.

    The folder holds ``reference.dna.npz``, ``step_001000.dna.npz`` and so on, ``checkpoints.csv``, and ``curve.png`` if
    matplotlib is installed. A training that is resumed with the same folder goes on with what is there.

    With ``distributed=True``, all processes of torch.distributed make the same calls: they share the images of the
    reference, each adds images of its own, and process 0 writes to its folder, which all see.

    Args:
        reference: Images, which are measured once and kept in the folder, or a DNA or the path of one, of any kind;
            give it folds for a test and for values without noise (``make_dna(..., num_folds=20)``).
        folder: Where files go; it is made where there is none.
        feature: As for :func:`compare`, and so are all that follow.
        layers: Which layers.
        num_bins: Bins of each neuron's histogram.
        ranges: Activation ranges.
        num_folds: Folds of images that are kept apart; 0 for none.
        device: Where the network runs.
        options: As for :func:`make_dna`, without ``engine``.

    Attributes:
        reference: The DNA of the reference.
        folder: Where files go.

    Raises:
        ValueError: As for :func:`make_dna`; if the folder holds another reference.

    Example:
        >>> import numpy as np, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     checkpoints = Checkpoints(np.full((6, 40, 50, 3), 90, np.uint8), folder, layers=["block_0"])
        ...     for step, level in ((100, 250), (200, 100)):
        ...         found = checkpoints.add(step, np.full((6, 40, 50, 3), level, np.uint8))
        ...     checkpoints.comparisons.best, found.num_images, sorted(found.scalars())[:2]
        ('step_000200', {'a': 6, 'b': 6}, ['dna/block_0/dna_emd', 'dna/dna_emd'])

    """

    def __init__(
        self,
        reference: Source | DNA,
        folder: str | PathLike[str],
        feature: Feature | None = None,
        *,
        layers: Sequence[str] | None = None,
        num_bins: int | None = None,
        ranges: ActivationRanges | str | PathLike[str] | None = None,
        num_folds: int = NUM_FOLDS,
        device: str | torch.device | None = None,
        **options: Unpack[SetOptions],
    ) -> None:
        loading, settings = Loading.of("Checkpoints", options)
        if rank() and not loading.distributed:
            raise ValueError(
                f"This is process {rank()} of {world_size()}, which would all write to {str(folder)!r}; give"
                " distributed=True in all of them, or leave it to process 0"
            )
        if num_folds:
            check_num_folds(num_folds)
        self._loading = replace(loading, distributed=loading.distributed and world_size() > 1)
        self.num_folds = num_folds
        self._found: dict[int, Comparison] = {}
        with in_step(self._loading.distributed):
            self.folder, kept = self._open_folder(Path(folder))
            given = open_side(reference, ranges=ranges, loading=self._loading)
            dnas = [dna for dna in (given, kept) if isinstance(dna, DNA)][:1]
            histograms = not dnas or dnas[0].kind == "histogram"
            where = device_for(feature, device)
            self._way = resolve(
                feature, layers, num_bins, ranges, dnas, histograms=histograms, device=where, **settings
            )
            if kept is not None:
                self._check_kept(kept, given)
            if isinstance(given, DNA) or dnas:
                self.reference = self._way.dnas[0].to("cpu")
            else:
                self.reference = self._measure(given, "histogram", self._loading)
            if kept is None and rank() == 0:
                self.reference.save(self.folder / _REFERENCE)

    @property
    def extractor(self) -> DNAExtractor:
        """What describes the images."""
        return self._way.extractor

    @property
    def comparisons(self) -> Comparisons:
        """The comparisons with all checkpoints in the folder, by the names of their files, in the order of steps.

        Raises:
            ValueError: If there are none, or a file is of another extractor, layers, bins or ranges.

        """
        files = {int(match[1]): path for path in self.folder.iterdir() if (match := _STEP.fullmatch(path.name))}
        if not files:
            raise ValueError(f"There are no checkpoints in {str(self.folder)!r} yet; add one")
        for step in files.keys() - self._found:
            self._found[step] = replace(compare(self.reference, files[step]), measured=None)
        return Comparisons("the reference", {_name(step): self._found[step] for step in sorted(files)})

    def add(self, step: int, images: Source | DNA) -> Comparison:
        """Score a checkpoint, keep its DNA, and draw the curve anew.

        Args:
            step: When it is in the training, such as the number of steps so far; one that is there already is replaced.
            images: What it has generated: any images as for :func:`make_dna`, also batches one after the other or the
                output of a pipeline of diffusers; a path, which processes share; or a DNA of all of them.

        Returns:
            How far they are from the reference; its ``scalars()`` are for a logger.

        Raises:
            ValueError: As for :func:`make_dna`; if a DNA does not fit the reference.
            RuntimeError: If dna-fd or fd is asked of one image.

        """
        if not isinstance(step, int) or step < 0:
            raise ValueError(f"Argument `step` expected to be an integer of at least 0, but got {step!r}")
        with in_step(self._loading.distributed):
            given = self._open(images)
            if isinstance(given, DNA):
                dna = given.to("cpu")
            else:
                own = not isinstance(images, (str, PathLike))
                dna = self._measure(given, self.reference.kind, replace(self._loading, own=own))
            check_comparable(self.reference, dna)
            found = compare(self.reference, dna)
            if rank() == 0:
                dna.save(self.folder / f"{_name(step)}.dna.npz")
            self._found[step] = replace(found, measured=None)  # which holds what the file does
            if rank() == 0:
                self._write(self.comparisons)
        return found

    def _open_folder(self, folder: Path) -> tuple[Path, DNA | None]:
        """The folder of process 0, and the reference that it holds, from before any process writes one."""
        if rank() == 0:
            folder.mkdir(parents=True, exist_ok=True)
        is_there = (folder / _REFERENCE).exists()
        if self._loading.distributed:  # others may have another one, such as a temporary folder
            folder, is_there = gather((folder.absolute(), is_there))[0]
        return folder, load_dna(folder / _REFERENCE) if is_there else None

    def _check_kept(self, kept: DNA, given: Images | DNA) -> None:
        """ValueError if the folder holds another reference than the one that is given, as far as that is known."""
        if isinstance(given, ImageSource) and len(given) != kept.num_images and not self._loading.skip_unreadable:
            asked, found = map(images_in_words, (len(given), kept.num_images))
        elif kept.digest != (dna := self._way.dnas[0]).digest:
            asked, found = (f"{images_in_words(one.num_images)}, digest {one.digest}" for one in (dna, kept))
        else:
            return
        path = str(self.folder / _REFERENCE)
        raise ValueError(f"Another reference is in {path!r}: of {found}, but got {asked}; choose another folder")

    def _open(self, images: Source | DNA) -> Images | DNA:
        """What a checkpoint has generated, which may be nothing in one of several processes."""
        if hasattr(images, "images"):  # a pipeline's output
            images = iter([images])
        elif self._loading.distributed and isinstance(images, Sized) and not len(images):
            images = iter(())
        return open_side(images, loading=self._loading)

    def _measure(self, images: Images, kind: Any, loading: Loading) -> DNA:
        check_used(loading.reading, images)
        way = self._way
        found = measure(images, way.extractor, [kind], way.num_bins, way.ranges, loading, self.num_folds or None)
        if lines := found.unreadable:
            warnings.warn(f"{left_out_in_words(lines)}, the first: {lines[0]}", stacklevel=3)
        return found.any

    def _write(self, comparisons: Comparisons) -> None:
        rows = comparisons.rows()
        with replacing(self.folder / "checkpoints.csv") as path, path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        with suppress(ModuleNotFoundError):  # matplotlib is not needed to score
            figure = plot_curve(comparisons)
            with replacing(self.folder / "curve.png") as path:
                figure.savefig(path, format="png")

    def __repr__(self) -> str:
        return f"Checkpoints({str(self.folder)!r}, reference {self.reference!r})"


def _name(step: int) -> str:
    return f"step_{step:06}"
