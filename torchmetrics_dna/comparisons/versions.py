"""Two versions of a data set: added and removed images, and their distance from the images in both versions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from torchmetrics_dna.comparisons.measured import compare_measured
from torchmetrics_dna.dna.shown import Shown
from torchmetrics_dna.images import ImageSource, Reading, Source
from torchmetrics_dna.images.likeness import contents, digest_note
from torchmetrics_dna.images.noun import noun_of
from torchmetrics_dna.images.sets import indexed, warn_of_left_out
from torchmetrics_dna.jobs.arguments import Arguments, taking
from torchmetrics_dna.jobs.measure import Measured, measure, measured_of
from torchmetrics_dna.jobs.sides import Sides, open_sides

if TYPE_CHECKING:
    from torchmetrics_dna.comparisons.two_sets import Comparison
    from torchmetrics_dna.images.likeness import Content
    from torchmetrics_dna.jobs.job import Activated, Job, Split
    from torchmetrics_dna.statistics.setup import Feature


@dataclass(frozen=True, eq=False, repr=False)
class Versions(Shown):
    """Differences between two versions of a data set.

    Attributes:
        num_images: Number of images of the old version and of the new version.
        added: Names of images that only the new version has. Images are the same if their pixels are.
        removed: Names of images that only the old version has.
        renamed: Old and new name of each image that has different names in the two versions.
        edited: Names of images whose pixels changed. They are not listed as added or removed.
        whole: Comparison of the new version with the old version. It has no test, since the versions share images. None
            if both versions have the same images.
        of_added: Comparison of the added images with the images in both versions; None if either set is empty. Edited
            images count as added, with their new pixels.
        of_removed: Comparison of the removed images with the images in both versions; None if either set is empty.
            Edited images count as removed, with their old pixels.
        unreadable: One line for each image that was left out.
        noun: What was compared: ``"image"``, ``"row"`` or ``"input"``.

    """

    SHOWN_BY: ClassVar[str] = "versions"

    num_images: tuple[int, int]
    added: Sequence[str]
    removed: Sequence[str]
    renamed: Sequence[tuple[str, str]]
    edited: Sequence[str]
    whole: Comparison | None
    of_added: Comparison | None
    of_removed: Comparison | None
    unreadable: Sequence[str]
    noun: str = "image"

    def __repr__(self) -> str:
        numbers = f"{len(self.added)} added, {len(self.removed)} removed, {len(self.edited)} edited"
        return f"Versions({numbers} of {self.num_images[0]} {self.noun}s)"


@taking("layers", "num_bins", "ranges", "num_folds", "reading")
def diff(old: Source, new: Source, feature: Feature | None = None, **options: Any) -> Versions:
    """Compare two versions of a data set: find the added and removed images, and compare them with those in both.

    Images are the same if their decoded pixels are the same, whatever the names of their files. Old images are read
    once. Added images are read twice: once to find them, once to measure them.

    Args:
        old: Images that have an index, see :func:`make_dna`.
        new: As ``old``.
        feature: As for :func:`compare`.
        options: Those :class:`Arguments` that the signature shows.

    Raises:
        ValueError: If an argument is wrong, if there are no images, or if an image can't be read.

    Example:
        >>> import numpy as np
        >>> grey = np.stack([np.full((40, 50, 3), level, np.uint8) for level in range(0, 200, 20)])
        >>> print(diff(grey[:8], grey[2:], layers=["block_0"]).verdict.splitlines()[0])
        8 images before, 8 images now: 6 the same, 2 added, 2 removed.

    """
    purpose = "A comparison of versions"
    arguments = Arguments(feature, **options)
    sides = open_sides((old, new), arguments.skipping_unreadable())
    reading = sides.plan.arguments.reading or Reading()
    old_images = indexed(sides.source(0, purpose), purpose)
    new_images = indexed(sides.source(1, purpose), purpose)
    new_contents = contents(new_images, reading, sides.extractor.image_channels)
    job = replace(sides.job, notes=[digest_note])
    matches, splits = _match_old_images(job, old_images, new_contents)
    unreadable = _take_unreadable(splits["kept"])
    # Unreadable images of a source that is both versions are listed once.
    if new_images is not old_images:
        unreadable = unreadable + new_contents.unreadable
    parts = _measure_parts(matches, splits, job, old_images, new_images, sides)
    whole = _compare_whole(parts, sides)
    warn_of_left_out(unreadable, arguments.reading)
    names = _NamesOfChanges.of(matches, old_images, new_images)
    return Versions(
        num_images=(len(matches.same) + len(matches.only_old), len(new_contents.numbers)),
        added=names.added,
        removed=names.removed,
        renamed=names.renamed,
        edited=names.edited,
        whole=whole,
        of_added=_compare_parts(parts.kept, parts.added, sides),
        of_removed=_compare_parts(parts.kept, parts.removed, sides),
        unreadable=unreadable,
        noun=noun_of(sides.extractor),
    )


def _match_old_images(job: Job, old_images: ImageSource, new_contents: Content) -> tuple[_Matches, Mapping[str, Split]]:
    """Measure the old images, and match each of them with a new image while it is read.

    Returns:
        The matches, and what was measured of the images that were kept and of those that were removed.

    """
    matches = _Matches(new_contents)
    splits = job.run_by(old_images, matches.kept_or_removed, ("kept", "removed"))
    return matches, splits


def _take_unreadable(split: Split) -> list[str]:
    """Return the errors of unreadable images, and remove them: the comparisons must not list these images again."""
    unreadable = list(split.unreadable)
    split.unreadable = []
    return unreadable


class _NamesOfChanges(NamedTuple):
    """Names of images that differ between two versions. The fields are those of :class:`Versions`."""

    added: list[str]
    removed: list[str]
    renamed: list[tuple[str, str]]
    edited: list[str]

    @classmethod
    def of(cls, matches: _Matches, old_images: ImageSource, new_images: ImageSource) -> _NamesOfChanges:
        """Name the images without a match, and the matched images whose names differ."""
        old_names = old_images.names
        new_names = new_images.names
        if old_images.roots and new_images.roots:
            # An image has the same name in both versions if names are relative to the folder of each version.
            old_names = old_images.relative_names
            new_names = new_images.relative_names
        removed = [old_names[i] for i in matches.only_old]
        added = [new_names[j] for j in matches.only_new]
        # An edited image has other pixels under the same name.
        edited = set(removed) & set(added)
        return cls(
            added=[name for name in added if name not in edited],
            removed=[name for name in removed if name not in edited],
            renamed=[(old_names[i], new_names[j]) for i, j in matches.same if old_names[i] != new_names[j]],
            edited=[name for name in removed if name in edited],
        )


class _Parts(NamedTuple):
    """Images in both versions, only in the old version, and only in the new version; None if there are none."""

    kept: Measured | None
    removed: Measured | None
    added: Measured | None


def _measure_parts(
    matches: _Matches,
    splits: Mapping[str, Split],
    job: Job,
    old_images: ImageSource,
    new_images: ImageSource,
    sides: Sides,
) -> _Parts:
    """Measure the added images, and collect what was measured of the old images.

    Args:
        matches: The images with and without a match.
        splits: States of the ``"kept"`` and of the ``"removed"`` images of the old version.
        job: Job that measured the old images.
        old_images: Images of the old version.
        new_images: Images of the new version.
        sides: Both versions.

    """
    kept: Measured | None = None
    removed: Measured | None = None
    added: Measured | None = None
    if matches.same:
        kept = measured_of(job, old_images, splits["kept"])
    if matches.only_old:
        removed = measured_of(job, old_images, splits["removed"])
    if matches.only_new:
        added = measure(sides.job, new_images.take(matches.only_new))
    return _Parts(kept, removed, added)


def _compare_whole(parts: _Parts, sides: Sides) -> Comparison | None:
    """Compare the new version with the old version; None if both have the same images."""
    if parts.removed is None and parts.added is None:
        return None
    old_version = _merge_without_folds(parts.kept, parts.removed)
    new_version = _merge_without_folds(parts.kept, parts.added)
    return _compare_parts(old_version, new_version, sides)


def _compare_parts(a: Measured | None, b: Measured | None, sides: Sides) -> Comparison | None:
    """Compare two sets of images; None if one of them is empty."""
    if a is None or b is None:
        return None
    return compare_measured(a, b, sides.plan)


class _Matches:
    """Matches of old and new images with the same pixels. Each new image is matched once.

    Attributes:
        same: Index of the old image and of the new image of each match.
        only_old: Indices of the old images without a match.

    """

    def __init__(self, new: Content) -> None:
        self.same: list[tuple[int, int]] = []
        self.only_old: list[int] = []
        # Indices of unmatched new images by the digest of their pixels. The first image is at the end, for `pop`.
        self._unmatched = defaultdict[bytes, list[int]](list)
        for number, digest in zip(reversed(new.numbers), reversed(new.digests), strict=True):
            self._unmatched[digest].append(number)

    @property
    def only_new(self) -> list[int]:
        """Indices of the new images without a match."""
        return sorted(chain(*self._unmatched.values()))

    def kept_or_removed(self, part: Activated) -> list[str]:
        """Match the old images of a batch, and return ``"kept"`` or ``"removed"`` for each."""
        labels = []
        for number, row in zip(part.places, part.notes.get("digest", ()), strict=True):
            unmatched = self._unmatched[row.numpy().tobytes()]
            if unmatched:
                self.same.append((number, unmatched.pop()))
                labels.append("kept")
            else:
                self.only_old.append(number)
                labels.append("removed")
        return labels


def _merge_without_folds(a: Measured | None, b: Measured | None) -> Measured | None:
    """Merge two sets of images, without folds, since a test is not valid for versions that share images."""
    if a is not None and b is not None:
        return a.merge(b).without_folds()
    not_empty = a or b
    return None if not_empty is None else not_empty.without_folds()
