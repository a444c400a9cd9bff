"""Two versions of a data set: images added and removed, and their distance from those in common."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from torchmetrics_dna.comparisons.measured import compare_measured
from torchmetrics_dna.dna.shown import Shown
from torchmetrics_dna.images import Reading, Source
from torchmetrics_dna.images.likeness import contents, digest_note
from torchmetrics_dna.images.noun import noun_of
from torchmetrics_dna.images.sets import indexed, warn_of_left_out
from torchmetrics_dna.jobs.arguments import Arguments, taking
from torchmetrics_dna.jobs.measure import Measured, measure, measured_of
from torchmetrics_dna.jobs.sides import Sides, open_sides

if TYPE_CHECKING:
    from torchmetrics_dna.comparisons.two_sets import Comparison
    from torchmetrics_dna.images.likeness import Content
    from torchmetrics_dna.jobs.job import Activated
    from torchmetrics_dna.statistics.setup import Feature


@dataclass(frozen=True, eq=False, repr=False)
class Versions(Shown):
    """Differences between two versions of a data set.

    Attributes:
        num_images: Number of images of the old version and of the new one.
        added: Names of images that only the new version has, by their pixels.
        removed: Names of images that only the old version had.
        renamed: Old and new name of images that both have, where these differ.
        edited: Names of images whose pixels changed; they are not listed as added or removed.
        whole: Comparison of the new version with the old one, without tests, since they share images. None if the
            images are the same.
        of_added: Comparison of the added images, and of edited ones as they are now, with those in both versions; None
            if either has no images.
        of_removed: Comparison of the removed images, and of edited ones as they were, with those in both versions.
        unreadable: One line for each image that was left out.
        noun: What is compared, as in :class:`Ranking`.

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

    Images are the same if their decoded pixels are, whatever the names of their files. Old ones are read once; new ones
    that were added are measured after all new ones were looked through.

    Args:
        old: Images that have an index, see :func:`make_dna`.
        new: As ``old``.
        feature: As for :func:`compare`.
        options: Some of :class:`Arguments`, as the signature shows.

    Raises:
        ValueError: If an argument is wrong, there are no images, or one can't be read.

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
    matches = _Matches(new_contents)
    job = replace(sides.job, notes=[digest_note])
    splits = job.run_by(old_images, matches.kept_or_removed, ("kept", "removed"))
    same = matches.same
    only_old = matches.only_old
    matched_new = {number for _, number in same}
    only_new = sorted(set(new_contents.numbers) - matched_new)
    unreadable = splits["kept"].unreadable
    splits["kept"].unreadable = []
    if new_images is not old_images:
        unreadable = unreadable + new_contents.unreadable
    kept: Measured | None = None
    removed: Measured | None = None
    added: Measured | None = None
    if same:
        kept = measured_of(job, old_images, splits["kept"])
    if only_old:
        removed = measured_of(job, old_images, splits["removed"])
    if only_new:
        added = measure(sides.job, new_images.take(only_new))
    whole = None
    if only_old or only_new:
        whole = _compare_parts(_merge_without_folds(kept, removed), _merge_without_folds(kept, added), sides)
    # Names are relative to the folder of each version, so that an image has the same name in both. Lists have no
    # folder.
    are_folders = bool(old_images.roots and new_images.roots)
    old_names = old_images.relative_names if are_folders else old_images.names
    new_names = new_images.relative_names if are_folders else new_images.names
    removed_names = [old_names[i] for i in only_old]
    added_names = [new_names[j] for j in only_new]
    edited = set(removed_names) & set(added_names)
    warn_of_left_out(unreadable, arguments.reading)
    return Versions(
        num_images=(len(same) + len(only_old), len(new_contents.numbers)),
        added=[name for name in added_names if name not in edited],
        removed=[name for name in removed_names if name not in edited],
        renamed=[(old_names[i], new_names[j]) for i, j in same if old_names[i] != new_names[j]],
        edited=[name for name in removed_names if name in edited],
        whole=whole,
        of_added=_compare_parts(kept, added, sides),
        of_removed=_compare_parts(kept, removed, sides),
        unreadable=unreadable,
        noun=noun_of(sides.extractor),
    )


def _compare_parts(a: Measured | None, b: Measured | None, sides: Sides) -> Comparison | None:
    """Compare two parts of the versions; None if one has no images."""
    if a is None or b is None:
        return None
    return compare_measured(a, b, sides.plan)


class _Matches:
    """Old images that are matched with new ones of the same pixels; each new image is matched once.

    Attributes:
        same: Numbers of the old and of the new image of each match.
        only_old: Numbers of the old images without a match.

    """

    def __init__(self, new: Content) -> None:
        self.same: list[tuple[int, int]] = []
        self.only_old: list[int] = []
        # Numbers of the new images with these pixels that have no match yet. The first is at the end, for `pop`.
        self._unmatched = defaultdict[bytes, list[int]](list)
        for number, digest in zip(reversed(new.numbers), reversed(new.digests), strict=True):
            self._unmatched[digest].append(number)

    def kept_or_removed(self, part: Activated) -> list[str]:
        """Match the old images of a batch, and return ``"kept"`` or ``"removed"`` for each."""
        labels = []
        for number, row in zip(part.places, part.notes.get("digest", ()), strict=True):
            in_new = self._unmatched[row.numpy().tobytes()]
            if in_new:
                self.same.append((number, in_new.pop()))
                labels.append("kept")
            else:
                self.only_old.append(number)
                labels.append("removed")
        return labels


def _merge_without_folds(a: Measured | None, b: Measured | None) -> Measured | None:
    """Merge two parts of a version without their folds, since the versions share the images of the first part."""
    if a is not None and b is not None:
        return a.merge(b).without_folds()
    part = a or b
    return None if part is None else part.without_folds()
