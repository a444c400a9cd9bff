"""Watch a stream of images: windows of it against a reference, and whether they have changed."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch

from torchmetrics_dna.dna import DNA
from torchmetrics_dna.dna.distances import DISTANCES, resolve_distances
from torchmetrics_dna.files.visible import number
from torchmetrics_dna.functional.conformal import ConformalEvidence
from torchmetrics_dna.images import ImageSource, Reading, open_source
from torchmetrics_dna.jobs.job import Job
from torchmetrics_dna.jobs.measure import measure
from torchmetrics_dna.jobs.sides import open_side
from torchmetrics_dna.statistics.resolve import resolve

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence

    from torchmetrics_dna.dna.distance import Kind
    from torchmetrics_dna.images import Images, Source
    from torchmetrics_dna.neurons.ranges import ActivationRanges
    from torchmetrics_dna.statistics.resolve import Feature

LEARN = 20  # windows
Order = Literal["random", "source"]
_SEED = 0  # of the random order


@dataclass(frozen=True)
class Window:
    """What was found of one window of a stream.

    Attributes:
        number: From 1 on.
        first: Name of its first image.
        last: Of its last one.
        distance: Which distance it is.
        value: How far the window is from the reference, with what noise adds to it.
        high: What 95 % of the windows before it are below; None for the first.
        evidence: How much speaks for a change since the windows that were learned; None while they are.
        changed: Whether that has ever been enough.
        seed: Of the random order in which its images were drawn; None where they came in the order of the source.

    """

    number: int
    first: str
    last: str
    distance: str
    value: float
    high: float | None
    evidence: float | None
    changed: bool
    seed: int | None = None

    def __str__(self) -> str:
        """One line for people."""
        figure = f"window {self.number}: {self.distance} {number(self.value)}"
        if self.evidence is None:
            return f"{figure}, learning"
        told = "changed" if self.changed else "no change"
        return f"{figure} (95% before below {number(self.high)}), evidence {self.evidence:.3g}: {told}"

    def to_dict(self) -> dict[str, Any]:
        """Likewise, in plain types."""
        return asdict(self)


class Monitor:
    """Says of each window of a stream whether the stream has changed, with false alarms under control at all times.

    The first windows are learned: they are what is usual. As long as no later window comes from elsewhere, the chance
    of ever saying "changed" is at most ``level``, however many windows come; see
    :class:`~torchmetrics_dna.functional.conformal.ConformalEvidence`. That holds where images come in no order: frames
    of one video, or day and night, are a change.

    Args:
        learn: How many windows to learn, at least 2.
        level: Chance of a false alarm.
        distance: What figures are called.

    Raises:
        ValueError: If a number is out of range.

    """

    def __init__(self, learn: int = LEARN, level: float = 0.05, distance: str = "dna-emd") -> None:
        if not isinstance(learn, int) or learn < 2:
            raise ValueError(f"Argument `learn` expected to be an integer of at least 2, but got {learn!r}")
        if not 0 < level < 1:
            raise ValueError(f"Argument `level` expected to be between 0 and 1, but got {level}")
        self.learn, self.level, self.distance = learn, level, distance
        self.count, self.changed = 0, False
        self._evidence = ConformalEvidence()

    def add(self, value: float, first: str = "", last: str = "") -> Window:
        """Judge the next window by its distance from the reference."""
        self.count += 1
        high = self._evidence.usual(0.95) if self.count > 1 else None
        evidence = None
        if self.count <= self.learn:
            self._evidence.learn(value)
        else:
            evidence = self._evidence.add(value)
            self.changed = self.changed or evidence >= 1 / self.level
        return Window(self.count, first, last, self.distance, value, high, evidence, self.changed)


def monitor(
    reference: Source | DNA,
    source: Source,
    feature: Feature | None = None,
    *,
    window: int = 500,
    learn: int = LEARN,
    level: float = 0.05,
    order: Order = "random",
    layers: Sequence[str] | None = None,
    num_bins: int | None = None,
    ranges: ActivationRanges | str | os.PathLike[str] | None = None,
    reading: Reading | None = None,
) -> Iterator[Window]:
    """Watch a stream of images, window by window, and give what is found of each as soon as it is full.

    Args:
        reference: A DNA, or the path of one, from which windows are measured; or images, whose DNA is made first.
        source: The images, see :func:`make_dna`; an iterator, a video or another stream gives them in the order of
            time. What is left at the end makes no window.
        feature: As for :func:`make_dna`; by default what made the reference.
        window: Images in a window.
        learn: As for :class:`Monitor`, and so is ``level``.
        level: Chance of a false alarm, however long the stream.
        order: Of images that have an index, such as those of a folder or an array: ``"random"``, since their names or
            numbers need not follow time, and windows of one subject after the other would be changes; no change over
            time shows then. ``"source"`` if their order is that of time. Streams keep their order.
        layers: Which layers.
        num_bins: Bins of each neuron's histogram.
        ranges: Activation ranges.
        reading: Options for reading the images.

    Raises:
        ValueError: If an argument is wrong or does not fit the reference.

    Example:
        >>> import numpy as np
        >>> images = np.random.default_rng(0).integers(0, 200, (64, 40, 50, 3), dtype=np.uint8)
        >>> images[48:] //= 4
        >>> found = list(monitor(images[:16], images, window=4, learn=10, order="source", layers=["block_0"]))
        >>> len(found), found[11].changed, found[-1].changed
        (16, False, True)

    """
    if not isinstance(window, int) or window < 1:
        raise ValueError(f"Argument `window` expected to be an integer of at least 1, but got {window!r}")
    if order not in get_args(Order):
        raise ValueError(f"Argument `order` expected to be one of {get_args(Order)}, but got {order!r}")
    side = open_side(reference, layers, ranges, reading)
    known = [side] if isinstance(side, DNA) else []
    record = resolve_distances(None if known else ["dna-emd"], known)[0]
    watch = Monitor(learn, level, record.name)  # which says what is wrong before the first image
    wanted = feature, layers, num_bins, ranges
    kind: Kind = known[0].kind if known else record.kinds[0]  # type: ignore[assignment]
    way = resolve(*wanted, known, histograms=kind == "histogram", to_gpu=True)
    job = Job.for_dnas(way, [kind], reading)
    images, seed = open_source(source, reading), None  # before the reference is measured, since it may not be there
    base = way.dnas[0] if known else measure(job, side).any  # type: ignore[arg-type]
    if order == "random" and isinstance(images, ImageSource):
        seed = _SEED
        images = images.take(torch.randperm(len(images), generator=torch.Generator().manual_seed(seed)).tolist())
    return _watched(watch, base, images, job, window, seed)


def _watched(watch: Monitor, reference: DNA, images: Images, job: Job, size: int, seed: int | None) -> Iterator[Window]:
    record = DISTANCES[watch.distance]
    for split in job.run(images, size=size):
        (dna,) = job.dnas(split).values()
        result = record.result(reference, dna, with_evidence=False)
        yield replace(watch.add(result.value, split.first, split.last), seed=seed)
