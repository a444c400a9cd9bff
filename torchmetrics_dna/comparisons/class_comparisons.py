"""Compare two image sets class by class, in one pass."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce
from itertools import accumulate, chain, pairwise
from typing import TYPE_CHECKING, Any

import torch

from torchmetrics_dna.comparisons.classes import by_class
from torchmetrics_dna.comparisons.compare_measured import compare_measured
from torchmetrics_dna.comparisons.comparisons import ManyComparisons
from torchmetrics_dna.dna.base import too_few
from torchmetrics_dna.dna.distances import resolve_distances
from torchmetrics_dna.extras import without_numba
from torchmetrics_dna.files.tables import Table
from torchmetrics_dna.files.visible import number, p_figure
from torchmetrics_dna.functional.permutation import SIGNIFICANT, rates_of_sorted
from torchmetrics_dna.images import ImageStream
from torchmetrics_dna.jobs.measure import Measured
from torchmetrics_dna.jobs.processes import gather, rank, world_size
from torchmetrics_dna.jobs.protocols import only_published
from torchmetrics_dna.jobs.sides import open_sides

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from torchmetrics_dna.comparisons.comparison import Comparison
    from torchmetrics_dna.dna.distance import Distance
    from torchmetrics_dna.files.tables import Cell
    from torchmetrics_dna.images import Images
    from torchmetrics_dna.jobs.arguments import Arguments
    from torchmetrics_dna.jobs.job import Job, Split
    from torchmetrics_dna.jobs.sides import Sides

    Members = Mapping[str, list[Any]]  # the images of each class
    Total = tuple[Measured, Measured] | None


@dataclass(frozen=True, eq=False, repr=False)
class ClassComparisons(ManyComparisons):
    """Distances between the same classes of two image sets: a mapping of comparisons by class.

    Attributes:
        results: Comparison of each class that both sets have, by class name, without DNAs.
        total: Comparison of all images of these classes together.
        alone: Names of the classes of which only A has images that can be read, and of those of which only B has; they
            are not compared.

    """

    results: Mapping[str, Comparison]
    total: Comparison
    alone: tuple[Sequence[str], ...]

    @property
    def unreadable(self) -> list[str]:
        """One line for each image that was left out."""
        return self.total.unreadable

    @property
    def q_values(self) -> dict[str, float | None]:
        """False discovery rate of each class (Benjamini and Hochberg, 1995), None without a test.

        From the p-values of the classes' own permutation tests.
        """
        tested = {name: p for name, comparison in self.items() if (p := comparison[self.distance].p_value) is not None}
        order = sorted(tested, key=tested.__getitem__)
        rates = rates_of_sorted(torch.tensor([tested[name] for name in order], dtype=torch.float64)).tolist()
        return dict.fromkeys(self) | dict(zip(order, rates, strict=True)) if order else dict.fromkeys(self)

    @property
    def order(self) -> list[str]:
        """Names of the classes, furthest first, by the debiased distance if there is one."""
        return sorted(self, key=self._figure, reverse=True)

    @property
    def verdict(self) -> str:
        """One sentence: the number of classes that differ, and the furthest class."""
        count, q_values = len(self), self.q_values
        if all(q is None for q in q_values.values()):
            first = self.order[0]
            return f"Of {count} classes, {first} is furthest ({self.distance} {number(self._figure(first))})."
        different = [name for name in self.order if (q := q_values[name]) is not None and q <= SIGNIFICANT]
        if not different:
            return f"Of {count} classes, none differs by more than chance (q ≤ {SIGNIFICANT:g})."
        differ = f"{len(different)} differ{'s' if len(different) == 1 else ''}"
        figure = number(self[different[0]][self.distance].shown)
        most = f"{different[0]} most ({self.distance} {figure})"
        return f"Of {count} classes, {differ} (q ≤ {SIGNIFICANT:g}), {most}."

    @property
    def table(self) -> Table:
        """The classes, furthest first, and all together."""
        names, distance = self.order, self.distance
        results = [*(self[name] for name in names), self.total]
        columns: dict[str, Sequence[Cell]] = {
            "class": [*names, "all together"],
            "images of A": [result.num_images["a"] for result in results],
            "of B": [result.num_images["b"] for result in results],
            **{name: [r[name].value if name in r else None for r in results] for name in self.total},
        }
        if any(result[distance].interval for result in results):
            columns["without noise"] = [result[distance].shown for result in results]
        tests = {"p (Holm)": (self.p_holm, self.total[distance].p_value), "q": (self.q_values, None)}
        for title, (of_classes, of_total) in tests.items():
            values = [*(of_classes[name] for name in names), of_total]
            if any(value is not None for value in values):
                columns[title] = list(map(p_figure, values))
        return Table(list(columns), list(zip(*columns.values(), strict=True)), f"{len(self)} classes")

    def rows(self) -> list[dict[str, Any]]:
        """Return one record per class in plain types, furthest first."""
        p_holm, q_values = self.p_holm, self.q_values
        return [
            {
                "class": name,
                "images_a": self[name].num_images["a"],
                "images_b": self[name].num_images["b"],
                **self._record(self[name], p_holm[name]),
                "q_value": q_values[name],
            }
            for name in self.order
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return all results in plain types, ready for json."""
        return {
            "distance": self.distance,
            "verdict": self.verdict,
            "classes": self.rows(),
            "only_in_a": list(self.alone[0]),
            "only_in_b": list(self.alone[1]),
            "total": self.total.to_dict(),
            "comparisons": {name: comparison.to_dict() for name, comparison in self.items()},
        }

    @property
    def _distances(self) -> dict[str, Distance]:
        return {name: result.distance for name, result in self.total.items()}

    def __repr__(self) -> str:
        return f"ClassComparisons({len(self)} classes, furthest {self.order[0]})"


def open_classes(a: Any, b: Any, by: Any, arguments: Arguments) -> tuple[Sides, list[Members]]:
    """Open two image sets whose classes are to be compared, and group the images of each by class.

    ``a`` and ``b`` are images that have an index, or Parquet files. ValueError if arguments are for whole sets, or the
    sets have no class in common.
    """
    for name in ("pairs", "groups", "on"):
        if getattr(arguments, name) not in (None, False):
            raise ValueError(f"Argument `{name}` is for whole sets; leave it out, or leave out `by`")
    for name, network in only_published(arguments.metrics):
        raise ValueError(
            f"Argument `by` is for metrics of one network, but got {name!r}; leave it out, or give the feature"
            f" {network!r} and a distance"
        )
    if lacking := [record.name for record in resolve_distances(arguments.metrics, ()) if not record.kinds]:
        raise ValueError(f"Argument `metrics` takes no {lacking[0]} class by class; leave it out")
    sides = open_sides((a, b), arguments)
    images = [sides.source(k, "A comparison of classes") for k in range(2)]
    of_sides = by if isinstance(by, tuple) and len(by) == 2 else (by, by)
    in_a, in_b = classes = [by_class(side, labels) for side, labels in zip(images, of_sides, strict=True)]
    common = [name for name in in_a if name in in_b]
    if not common:
        raise ValueError(
            f"The two sets have no class in common; their first ones are {next(iter(in_a))!r} and {next(iter(in_b))!r}"
        )
    if arguments.distributed and (streams := [side for side in images if isinstance(side, ImageStream)]):
        raise ValueError(f"{streams[0].label!r} is a stream, whose classes one process reads; leave out `distributed`")
    for name in common:
        counts = len(in_a[name]), len(in_b[name])
        if min(counts) < sides.distances[0].least:
            raise too_few(f"{sides.distances[0].name} of class {name!r}", sides.distances[0].least, counts)
    return sides, classes


def compare_classes(sides: Sides, classes: Sequence[Members], names: tuple[str, str]) -> ClassComparisons:
    """Compare each class of one image set with the same class of another.

    Both sets are read class by class, so only one class of each is in memory at a time. The counts of a class equal
    those of its images measured alone.
    """
    (in_a, in_b), arguments, job = classes, sides.arguments, sides.job
    common = [name for name in in_a if name in in_b]
    again = sides.images[0] is sides.images[1]

    def compared(of_a: Measured, of_b: Measured, unreadable: Sequence[str] = ()) -> Comparison:
        comparison = compare_measured(of_a, of_b, sides.distances, arguments, names=names)
        lines = [*comparison.unreadable, *unreadable]
        return replace(comparison, unreadable=list(dict.fromkeys(lines)) if again else lines)

    # processes share whole classes, so that results do not depend on the number of processes
    mine = common[rank() :: world_size()] if arguments.distributed else common
    measured = [_by_class(sides.source(k, "Classes"), members, mine, job) for k, members in enumerate(classes)]
    with without_numba(sides.is_small):
        results: dict[str, Comparison] = {}
        total: Total = None
        empty = dict[str, tuple[int, int]]()  # numbers of images of classes that have none on a side
        of_empty = list[str]()  # a line for each unreadable image of these
        for name, a_class, b_class in zip(mine, *measured, strict=True):
            counts = a_class.any.num_images, b_class.any.num_images
            if not all(counts):
                empty[name] = counts
                of_empty += [*a_class.unreadable, *b_class.unreadable]
                continue
            results[name] = replace(compared(a_class, b_class), measured=None)
            total = _added(total, (a_class, b_class))
        if arguments.distributed:
            shares = gather((results, total, empty, of_empty))
            merged_results = {name: comparison for part, *_ in shares for name, comparison in part.items()}
            results = {name: merged_results[name] for name in common if name in merged_results}
            empty = {name: counts for _, _, part, _ in shares for name, counts in part.items()}
            of_empty = [line for *_, lines in shares for line in lines]
            total = reduce(_added, (of_share for _, of_share, *_ in shares))
        if total is None:
            raise ValueError(f"No class has images that can be read on both sides; the first: {of_empty[0]}")
        of_a, of_b = (
            [name for name in own if name not in other or empty.get(name, (0, 0))[k]]
            for k, (own, other) in enumerate(((in_a, in_b), (in_b, in_a)))
        )
        return ClassComparisons(results, compared(*total, of_empty), (of_a, of_b))


def _by_class(images: Images, members: Members, names: Sequence[str], job: Job) -> Iterator[Measured]:
    """Measure classes one after another in one pass over their images; those of a stream are all in memory."""
    in_turn: Iterable[Split]
    if isinstance(images, ImageStream):
        splits = job.run_by(images, {image: name for name in names for image in members[name]}.get, names)
        in_turn = (splits.pop(name) for name in names)
    else:
        classes = [members[name] for name in names]
        ends = pairwise([0, *accumulate(map(len, classes))])
        in_turn = job.run(images.take(list(chain(*classes))), [range(*pair) for pair in ends])
    for split in in_turn:
        yield Measured(job.values(split), split.unreadable)
        del split


def _added(total: Total, more: Total) -> Total:
    """Merge two pairs of sides."""
    if total is None or more is None:
        return total or more
    return total[0].joined(more[0]), total[1].joined(more[1])
