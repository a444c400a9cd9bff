"""Two versions of a data set: which images came and went, and what that did."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from torchmetrics_dna.comparisons.compare_measured import compare_measured
from torchmetrics_dna.dna.base import merged
from torchmetrics_dna.dna.changes import ChangeDictionary, changes_for
from torchmetrics_dna.dna.distances import kinds_for, resolve_distances
from torchmetrics_dna.files.visible import images_in_words, number, p_in_words
from torchmetrics_dna.functional.permutation import NUM_FOLDS, SIGNIFICANT
from torchmetrics_dna.images import Reading
from torchmetrics_dna.images.contents import Content, contents, in_common
from torchmetrics_dna.jobs.job import Job
from torchmetrics_dna.jobs.measure import Measured, measure
from torchmetrics_dna.jobs.sides import open_indexed_images
from torchmetrics_dna.statistics.resolve import resolve

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from torchmetrics_dna.comparisons.comparison import Comparison
    from torchmetrics_dna.dna.distance import Distance
    from torchmetrics_dna.images import ImageSource, Source
    from torchmetrics_dna.neurons.ranges import ActivationRanges
    from torchmetrics_dna.statistics.resolve import Feature


@dataclass(frozen=True, eq=False, repr=False)
class Versions:
    """What differs between two versions of a data set.

    Attributes:
        num_images: How many images the old version has, and the new one.
        added: Names of images that only the new version has, by their pixels.
        removed: Names of images that only the old version had.
        renamed: Old and new name of images that both have, where these differ.
        edited: Names of images that have other pixels than before; these are not among those added and removed.
        whole: The new version against the old one, without tests: they share images. None if they hold the same ones.
        of_added: The images that were added, or edited as they are now, against those that both have; None where one of
            the two has none.
        of_removed: Likewise, those that were removed, or edited as they were.
        unreadable: One line for each image that was left out.

    """

    num_images: tuple[int, int]
    added: Sequence[str]
    removed: Sequence[str]
    renamed: Sequence[tuple[str, str]]
    edited: Sequence[str]
    whole: Comparison | None
    of_added: Comparison | None
    of_removed: Comparison | None
    unreadable: Sequence[str]

    @property
    def sentences(self) -> list[str]:
        """What differs, in words."""
        old, new = self.num_images
        told = [
            f"{images_in_words(old)} before, {images_in_words(new)} now:"
            f" {old - len(self.removed) - len(self.edited):,} the same, {len(self.added):,} added,"
            f" {len(self.removed):,} removed."
        ]
        if self.renamed:
            told.append(f"{images_in_words(len(self.renamed))} the same under another name.")
        if self.edited:
            told.append(f"{images_in_words(len(self.edited))} edited: other pixels under the same name.")
        if self.whole is not None:
            told.append(f"The new version is {self._figure(self.whole)} from the old one, noise included.")
        for what, found in (("added", self.of_added), ("removed", self.of_removed)):
            what += " or edited" if self.edited else ""
            told += [] if found is None else [self._against_kept(what, found), *found.explain(("kept", what)).sentences]
        return told

    def to_dict(self) -> dict[str, Any]:
        """All that was found, in plain types, ready for json."""
        parts = {"whole": self.whole, "of_added": self.of_added, "of_removed": self.of_removed}
        return {
            "num_images": {"old": self.num_images[0], "new": self.num_images[1]},
            "added": list(self.added),
            "removed": list(self.removed),
            "renamed": [list(pair) for pair in self.renamed],
            "edited": list(self.edited),
            "words": self.sentences,
            **{name: None if found is None else found.to_dict() for name, found in parts.items()},
            "unreadable": list(self.unreadable),
        }

    def _figure(self, found: Comparison) -> str:
        result = next(iter(found.values()))
        return f"{result.distance.name} {number(result.value)}"

    def _against_kept(self, what: str, found: Comparison) -> str:
        p = found.p_value
        if p is None:
            return f"The images {what} are {self._figure(found)} from those kept, noise included; too few for a test."
        differ = "differ" if p <= SIGNIFICANT else "do not differ by more than chance"
        return f"The images {what} {differ} from those kept ({self._figure(found)}, {p_in_words(p)})."

    def __repr__(self) -> str:
        numbers = f"{len(self.added)} added, {len(self.removed)} removed, {len(self.edited)} edited"
        return f"Versions({numbers} of {self.num_images[0]} images)"


def compare_versions(
    old: Source,
    new: Source,
    feature: Feature | None = None,
    *,
    layers: Sequence[str] | None = None,
    num_bins: int | None = None,
    ranges: ActivationRanges | str | os.PathLike[str] | None = None,
    changes: ChangeDictionary | str | os.PathLike[str] | None = None,
    num_folds: int = NUM_FOLDS,
    reading: Reading | None = None,
) -> Versions:
    """Say which images came and went between two versions of a data set, and how these differ from those kept.

    Images are the same if their decoded pixels are, whatever their files are called. Each is measured once.

    Args:
        old: Images that have an index, see :func:`make_dna`.
        new: Likewise.
        feature: As for :func:`compare`, and so are all that follow.
        layers: Which layers.
        num_bins: Bins of each neuron's histogram.
        ranges: Activation ranges.
        changes: What named changes of images do to the neurons.
        num_folds: Folds of images that are kept apart, for tests; 0 for none.
        reading: Options for reading the images.

    Raises:
        ValueError: If an argument is wrong, there are no images, or one can't be read.

    Example:
        >>> import numpy as np
        >>> grey = np.stack([np.full((40, 50, 3), level, np.uint8) for level in range(0, 200, 20)])
        >>> print(compare_versions(grey[:8], grey[2:], layers=["block_0"]).sentences[0])
        8 images before, 8 images now: 6 the same, 2 added, 2 removed.

    """
    sides = open_indexed_images((old, new), "A comparison of versions", reading)
    distances = resolve_distances(None, [])
    way = resolve(feature, layers, num_bins, ranges, to_gpu=True)
    known = changes_for(changes, way.extractor.name, way.extractor.weights_digest)
    old_images, new_images = sides
    met = _meet(old_images, new_images, reading or Reading())
    kinds = kinds_for(distances)
    job = Job.for_dnas(way, kinds, reading, num_folds or None)
    both, removed, added = (
        measure(job, side.take(some)) if some else None
        for side, some in ((old_images, met.kept), (old_images, met.gone), (new_images, met.came))
    )
    against = partial(_against, distances=distances, changes=known)
    whole = against(_joined(both, removed), _joined(both, added)) if met.gone or met.came else None
    return replace(met.found, whole=whole, of_added=against(both, added), of_removed=against(both, removed))


@dataclass(frozen=True)
class _Met:
    """Numbers of the images that both versions have, that only the old and only the new one has; and what to say."""

    kept: list[int]
    gone: list[int]
    came: list[int]
    found: Versions


def _meet(old: ImageSource, new: ImageSource, reading: Reading) -> _Met:
    one, other = (_contents(side, reading) for side in (old, new))
    pairs = in_common(one.digests, other.digests)
    same = [(one.numbers[i], other.numbers[j]) for i, j in pairs]
    gone = sorted(set(one.numbers) - {i for i, _ in same})
    came = sorted(set(other.numbers) - {j for _, j in same})
    names, new_names = _short_names(old), _short_names(new)
    lost, gained = [names[i] for i in gone], [new_names[j] for j in came]
    renamed = [(names[i], new_names[j]) for i, j in same if names[i] != new_names[j]]
    counts = len(one.numbers), len(other.numbers)
    both = {*lost} & {*gained}
    edited = [name for name in lost if name in both]
    added, removed = ([name for name in some if name not in both] for some in (gained, lost))
    found = Versions(counts, added, removed, renamed, edited, None, None, None, one.unreadable + other.unreadable)
    return _Met([i for i, _ in same], gone, came, found)


def _contents(images: ImageSource, reading: Reading) -> Content:
    def progress(done: int) -> None:
        if reading.progress is not None:
            reading.progress(f"contents of {images.label}", done, len(images))

    return contents(images, reading, progress)


def _short_names(images: ImageSource) -> list[str]:
    """Names below what they are in, so that two versions call the same image alike."""
    return [name.removeprefix(images.label).lstrip("/") for name in images.names]


def _joined(one: Measured | None, other: Measured | None) -> Measured | None:
    """All images of two parts, without folds: two versions share those of the first."""
    if one is None or other is None:
        whole = one or other
        return whole and whole.without_folds()
    dnas = {kind: replace(merged([dna, other.dnas[kind]]), folds=()) for kind, dna in one.dnas.items()}
    return Measured(dnas, [])


def _against(
    one: Measured | None, other: Measured | None, distances: Sequence[Distance], changes: ChangeDictionary | None
) -> Comparison | None:
    if one is None or other is None:
        return None
    return replace(compare_measured(one, other, distances=distances), changes=changes)
