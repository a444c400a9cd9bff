"""Monitor a stream of images: compare windows of the stream with a reference, and detect a change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from torchmetrics_dna.checks import check_one_of
from torchmetrics_dna.comparisons.conformal import ConformalEvidence
from torchmetrics_dna.dna import DNA
from torchmetrics_dna.dna.distances import DISTANCES
from torchmetrics_dna.dna.load import is_dna_path
from torchmetrics_dna.files.visible import images_in_words, number
from torchmetrics_dna.images import Images, ImageSource, Source
from torchmetrics_dna.images.noun import noun_of
from torchmetrics_dna.images.sets import shuffled
from torchmetrics_dna.jobs.arguments import Arguments, taking
from torchmetrics_dna.jobs.measure import Measured
from torchmetrics_dna.jobs.sides import open_sides
from torchmetrics_dna.options import argument
from torchmetrics_dna.warning import warn

if TYPE_CHECKING:
    from torchmetrics_dna.dna.distances import Distance
    from torchmetrics_dna.jobs.job import Job
    from torchmetrics_dna.statistics.setup import Feature

# Default number of windows of the warm-up.
LEARN = 10
Order = Literal["random", "source"]
# Seed of the random order of images that have an index.
_SEED = 0


@dataclass(frozen=True)
class Window:
    """Result of one window of a stream.

    Attributes:
        number: Number of the window, from 1.
        first: Name of the first image of the window.
        last: Name of the last image of the window.
        distance: Name of the distance.
        value: Distance of the window from the reference, not debiased.
        high: 95% quantile of the values of earlier windows; None for the first window.
        evidence: Evidence for a change since the warm-up; None during the warm-up.
        changed: True if the evidence has reached ``enough`` in this window or in an earlier window.
        enough: Evidence that reports a change: 1 divided by the bound on the probability of a false alarm.
        seed: Seed of the random order of the images; None if the images came in the order of the source.

    """

    number: int
    first: str
    last: str
    distance: str
    value: float
    high: float | None
    evidence: float | None
    changed: bool
    enough: float = 20.0
    seed: int | None = None

    def __str__(self) -> str:
        """Return a description in one line."""
        figure = f"window {self.number}: {self.distance} {number(self.value)}"
        if self.evidence is None:
            return f"{figure}, warm-up"
        state = "changed" if self.changed else "no change"
        evidence = f"evidence {self.evidence:.3g} of {self.enough:g}"
        return f"{figure} (95% of earlier windows are below {number(self.high)}), {evidence}: {state}"

    def to_dict(self) -> dict[str, Any]:
        """Return the fields in plain types."""
        return asdict(self)


class Monitor:
    """Change detector for windows of a stream, with a bound on false alarms for any number of windows.

    The first windows, the warm-up, define what is normal. If no later window differs in distribution, the probability
    of ever reporting a change is at most ``level``. See
    :class:`~torchmetrics_dna.comparisons.conformal.ConformalEvidence`. The bound assumes that images come in random
    order. Frames of one video, or day and night, count as a change.

    Args:
        learn: Number of windows of the warm-up, at least 2.
        level: Bound on the probability of a false alarm.
        distance: Name of the distance in the results.

    Raises:
        ValueError: If a number is out of range.

    """

    def __init__(self, learn: int = LEARN, level: float = 0.05, distance: str = "dna-emd") -> None:
        if not isinstance(learn, int) or learn < 2:
            raise ValueError(f"{argument('learn')} expected to be an integer of at least 2, but got {learn!r}")
        if not 0 < level < 1:
            raise ValueError(f"{argument('level')} expected to be between 0 and 1, but got {level}")
        self.learn = learn
        self.level = level
        self.distance = distance
        self.count = 0
        self.changed = False
        self._evidence = ConformalEvidence()

    def add(self, value: float, first: str = "", last: str = "") -> Window:
        """Add the next window by its distance from the reference, and return its result."""
        self.count += 1
        high = self._evidence.usual(0.95) if self.count > 1 else None
        evidence = None
        if self.count <= self.learn:
            self._evidence.learn(value)
        else:
            evidence = self._evidence.add(value)
            self.changed = self.changed or evidence >= 1 / self.level
        return Window(
            number=self.count,
            first=first,
            last=last,
            distance=self.distance,
            value=value,
            high=high,
            evidence=evidence,
            changed=self.changed,
            enough=1 / self.level,
        )


@taking("layers", "num_bins", "ranges", "reading")
def monitor(
    reference: Source | DNA,
    source: Source,
    feature: Feature | None = None,
    *,
    window: int = 200,
    learn: int = LEARN,
    level: float = 0.05,
    order: Order = "random",
    **options: Any,
) -> Iterator[Window]:
    """Monitor a stream of images, and yield the result of each window as soon as it is full.

    Args:
        reference: DNA with which windows are compared, or the path of a DNA, or images.
        source: The images, see :func:`make_dna`. A stream, such as an iterator or a video, yields images in the order
            of time. An incomplete last window is dropped.
        feature: As for :func:`make_dna`. The default is the extractor of the reference.
        window: Number of images in a window.
        learn: Number of windows of the warm-up, at least 2.
        level: Bound on the probability of a false alarm, for a stream of any length.
        order: Order of images that have an index, such as those of a folder or an array. The default is ``"random"``,
            since a source that is sorted by subject would look like changes. A random order hides changes over time.
            Use ``"source"`` if the images are sorted by time. Streams keep their order.
        options: Those :class:`Arguments` that the signature shows.

    Warns:
        UserWarning: For each image that can't be read, if such images are skipped.

    Raises:
        ValueError: If an argument is wrong or does not fit the reference.

    Example:
        >>> import numpy as np
        >>> images = np.random.default_rng(0).integers(0, 200, (64, 40, 50, 3), dtype=np.uint8)
        >>> images[48:] //= 4
        >>> windows = list(monitor(images[:16], images, window=4, learn=10, order="source", layers=["block_0"]))
        >>> len(windows), windows[11].changed, windows[-1].changed
        (16, False, True)

    """
    if not isinstance(window, int) or window < 1:
        raise ValueError(f"{argument('window')} expected to be an integer of at least 1, but got {window!r}")
    check_one_of("order", order, Order)
    # The detector is made before images are opened, so that a wrong argument fails immediately.
    detector = Monitor(learn, level)
    is_dna = isinstance(reference, DNA) or is_dna_path(reference)
    # The kind of a DNA determines which distance is computed.
    metrics = None if is_dna else ["dna-emd"]
    arguments = Arguments(feature, metrics, num_folds=None, **options)
    sides = open_sides((reference, source), arguments.skipping_unreadable())
    images = sides.source(1, "After a reference, such as a DNA, a monitor")
    distance = sides.plan.distances[0]
    _check_window(window, images, distance, noun_of(sides.extractor))
    detector.distance = distance.name
    measured = sides.measured(0)
    _warn_of_unreadable(measured.unreadable)
    images_in_order, seed = _in_order(images, order)
    # If the stream is the reference itself, it has the same unreadable images.
    is_reference_itself = sides.images[0] is sides.images[1]
    already_named = measured.unreadable if is_reference_itself else []
    return _watched(
        detector, measured, images_in_order, sides.job, window=window, seed=seed, already_named=already_named
    )


def _in_order(images: Images, order: Order) -> tuple[Images, int | None]:
    """Return the images in the requested order, and the seed of a random order; None for the order of the source.

    Streams keep their order.
    """
    if order == "random" and isinstance(images, ImageSource):
        return images.take(shuffled(len(images))), _SEED
    return images, None


def _warn_of_unreadable(lines: Iterable[str]) -> None:
    """Give a warning for each image that can't be read."""
    for line in lines:
        warn(f"{line}; it is left out")


def _check_window(window: int, images: Images, distance: Distance, noun: str) -> None:
    """Raise ValueError if the source has fewer images than a window, or a window has too few for the distance."""
    if isinstance(images, ImageSource) and len(images) < window:
        raise ValueError(
            f"{argument('window')} is {window}, but {images.label!r} has {images_in_words(len(images), noun)}"
        )
    if window < distance.least:
        raise ValueError(f"{argument('window')} is {window}, which is too few {noun}s for {distance.name}")


def _watched(
    detector: Monitor,
    reference: Measured,
    images: Images,
    job: Job,
    *,
    window: int,
    seed: int | None,
    already_named: Sequence[str],
) -> Iterator[Window]:
    """Yield the result of each window.

    Args:
        detector: The detector.
        reference: The reference.
        images: The images.
        job: Job that measures the images.
        window: Number of images in a window.
        seed: Seed of the order of the images; None if they come in the order of the source.
        already_named: Lines of unreadable images about which a warning was already given.

    """
    distance = DISTANCES[detector.distance]
    for split in job.run(images, size=window):
        _warn_of_unreadable(line for line in split.unreadable if line not in already_named)
        if split.num_images < window:
            break
        measured = Measured(job.values(split), [])
        result = distance.result(reference.input_of(distance), measured.input_of(distance), with_evidence=False)
        yield replace(detector.add(result.value, split.first, split.last), seed=seed)
