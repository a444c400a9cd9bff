"""Compare two image sets class by class, in one pass; by labels of folders, a file, a function or a sequence."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from io import StringIO
from itertools import accumulate, chain, pairwise
from pathlib import PurePath
from posixpath import dirname, normpath
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from torchmetrics_dna.comparisons.measured import compare_measured
from torchmetrics_dna.comparisons.several_sets import ManyComparisons
from torchmetrics_dna.functional.features import too_few
from torchmetrics_dna.functional.permutation import rates_of_sorted
from torchmetrics_dna.images import Images, ImageSource, ImageStream
from torchmetrics_dna.images.parquet import labels_of
from torchmetrics_dna.images.paths import is_image_name, lies_in_a_root, natural_key
from torchmetrics_dna.images.sets import by_number
from torchmetrics_dna.images.sources import read_list
from torchmetrics_dna.jobs.arguments import Arguments, only_published
from torchmetrics_dna.jobs.groups import by_names
from torchmetrics_dna.jobs.measure import Measured
from torchmetrics_dna.jobs.processes import gather, rank, world_size
from torchmetrics_dna.jobs.sides import Sides, open_sides
from torchmetrics_dna.options import argument, written

if TYPE_CHECKING:
    from torchmetrics_dna.comparisons.two_sets import Comparison
    from torchmetrics_dna.dna.distances import Distance
    from torchmetrics_dna.jobs.job import Job, Split

    Members = Mapping[str, list[Any]]  # the images of each class
    Total = tuple[Measured, Measured] | None

Classes = str | Callable[[str], object] | Sequence[object]
_COLUMN = "column:"


@dataclass(frozen=True, eq=False, repr=False)
class ClassComparisons(ManyComparisons):
    """Distances between the same classes of two image sets: a mapping of comparisons by class.

    Attributes:
        results: Comparison of each class that both sets have, by class name, without DNAs.
        total: Comparison of all images of these classes together.
        alone: Names of the classes of which only A has images that can be read, and of those of which only B has; they
            are not compared.

    """

    SHOWN_BY: ClassVar[str] = "classes"

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
        q_values: dict[str, float | None] = dict.fromkeys(self)
        p_values = {name: comparison.p_value_of_any for name, comparison in self.items()}
        tested = {name: p for name, p in p_values.items() if p is not None}
        if not tested:
            return q_values
        order = sorted(tested, key=tested.__getitem__)
        rates = rates_of_sorted(torch.tensor([tested[name] for name in order], dtype=torch.float64)).tolist()
        return q_values | dict(zip(order, rates, strict=True))

    @property
    def order(self) -> list[str]:
        """Names of the classes, furthest first, by the debiased distance if there is one."""
        return sorted(self, key=self.figure, reverse=True)

    @property
    def distances(self) -> dict[str, Distance]:
        """All distances that were measured, by name."""
        return {name: result.distance for name, result in self.total.items()}

    def __repr__(self) -> str:
        return f"ClassComparisons({len(self)} classes, furthest {self.order[0]})"


def open_classes(a: Any, b: Any, by: Any, arguments: Arguments) -> tuple[Sides, Sequence[Members]]:
    """Open two image sets whose classes are to be compared, and group the images of each by class.

    ``a`` and ``b`` are images that have an index, or Parquet files. ValueError if arguments are for whole sets, or the
    sets have no class in common.
    """
    for name in ("pairs", "groups", "on"):
        if getattr(arguments, name) not in (None, False):
            raise ValueError(f"{argument(name)} is for whole sets; leave it out, or leave out {written('by')}")
    for name, network in only_published(arguments.metrics):
        raise ValueError(
            f"{argument('by')} is for metrics of one network, but got {name!r}; leave {written('by')} out, or pass"
            f" {written('feature', network)} and a distance"
        )
    sides = open_sides((a, b), arguments)
    for record in sides.plan.distances:
        if not record.kinds:
            raise ValueError(f"{argument('metrics')} takes no {record.name} class by class")
    images = [sides.source(k, "A comparison of classes") for k in range(2)]
    labels_of_sides = by if isinstance(by, tuple) and len(by) == 2 else (by, by)
    members: list[Members] = [by_class(side, labels) for side, labels in zip(images, labels_of_sides, strict=True)]
    in_a, in_b = members
    common = [name for name in in_a if name in in_b]
    if not common:
        raise ValueError(
            f"The two sets have no class in common; their first ones are {next(iter(in_a))!r} and {next(iter(in_b))!r}"
        )
    for side in images:
        if arguments.distributed and isinstance(side, ImageStream):
            raise ValueError(f"{side.label!r} is a stream, so one process must read all its classes; start only one")
    first = sides.plan.distances[0]
    for name in common:
        counts = (len(in_a[name]), len(in_b[name]))
        if min(counts) < first.least:
            raise too_few(f"{first.name} of class {name!r}", first.least, counts)
    return sides, members


def compare_by_class(sides: Sides, of_sides: Sequence[Members], names: tuple[str, str]) -> ClassComparisons:
    """Compare each class of one image set with the same class of another.

    Both sets are read class by class, so only one class of each is in memory at a time. The counts of a class equal
    those of its images measured alone.
    """
    in_a, in_b = of_sides
    arguments = sides.plan.arguments
    common = [name for name in in_a if name in in_b]
    is_same_source = sides.images[0] is sides.images[1]

    def compared(of_a: Measured, of_b: Measured, unreadable: Sequence[str] = ()) -> Comparison:
        comparison = compare_measured(of_a, of_b, sides.plan, names=names)
        lines = [*comparison.unreadable, *unreadable]
        if is_same_source:
            lines = list(dict.fromkeys(lines))
        return replace(comparison, unreadable=lines)

    # Processes share whole classes, so that results do not depend on the number of processes.
    mine = common[rank() :: world_size()] if arguments.distributed else common
    measured = [_by_class(sides.source(k, "Classes"), members, mine, sides.job) for k, members in enumerate(of_sides)]
    results: dict[str, Comparison] = {}
    total: Total = None
    # Numbers of images of the classes that have none in A or in B, and a line for each unreadable image of these.
    empty: dict[str, tuple[int, int]] = {}
    unreadable_of_empty: list[str] = []
    for name, a_class, b_class in zip(mine, *measured, strict=True):
        counts = (a_class.first.num_images, b_class.first.num_images)
        if not all(counts):
            empty[name] = counts
            unreadable_of_empty += [*a_class.unreadable, *b_class.unreadable]
            continue
        results[name] = replace(compared(a_class, b_class), measured=None)
        total = _added(total, (a_class, b_class))
    if arguments.distributed:
        parts = gather((results, total, empty, unreadable_of_empty))
        all_results, totals, all_empty, all_lines = zip(*parts, strict=True)
        merged = _merged(all_results)
        results = {name: merged[name] for name in common if name in merged}
        total = reduce(_added, totals)
        empty = _merged(all_empty)
        unreadable_of_empty = list(chain(*all_lines))
    if total is None:
        raise ValueError(f"No class has images that can be read in both sets, such as: {unreadable_of_empty[0]}")
    alone = []
    for k, members in enumerate(of_sides):
        # A class that is not in the other set is in neither of these mappings.
        left_out = [name for name in members if name not in results]
        alone.append([name for name in left_out if name not in empty or empty[name][k]])
    return ClassComparisons(results, compared(*total, unreadable_of_empty), tuple(alone))


def _merged(parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Merge the mappings of all processes; each class is in that of one process."""
    merged: dict[str, Any] = {}
    for part in parts:
        merged |= part
    return merged


def _by_class(images: Images, members: Members, names: Sequence[str], job: Job) -> Iterator[Measured]:
    """Measure classes one after another in one pass over their images; those of a stream are all in memory."""
    in_turn: Iterable[Split]
    if isinstance(images, ImageStream):
        class_of = {image: name for name in names for image in members[name]}
        splits = job.run_by(images, lambda part: [class_of.get(image) for image in part.names], names)
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
    return total[0].merge(more[0]), total[1].merge(more[1])


def by_class(images: Images, by: Classes) -> dict[str, list[int]] | dict[str, list[str]]:
    """Group images by class; classes are in natural order.

    Args:
        images: The images.
        by: ``"folder"``: the folder right below that of all images. The path of a ``.csv`` with an image's name, or
            path, and its class in each row. ``"column:NAME"``: a column of Parquet files. A function of an image's
            name. Or a sequence of classes, one for each image.

    Returns:
        The source indices of the images of each class; the names of the images if ``images`` is a stream.

    Raises:
        FileNotFoundError: If the file of labels does not exist.
        ValueError: If ``by`` is none of these, an image has no class, or two in the file of labels, or ``images`` is a
            stream and ``by`` no column.

    Example:
        >>> from torchmetrics_dna.images import ImageSource
        >>> by_class(ImageSource(["x/dog/1.png", "x/cat/1.png", "x/dog/2.png"], str, "x"), "folder")
        {'cat': [1], 'dog': [0, 2]}

    """
    if isinstance(images, ImageStream):
        if not isinstance(by, str) or not by.startswith(_COLUMN):
            raise ValueError(f"{by_number(images, 'A comparison of classes')}; of Parquet files, give 'column:NAME'")
        labelled: Iterable[tuple[Any, str]] = labels_of(images, by.removeprefix(_COLUMN)).items()
    else:
        labelled = enumerate(_labels(images, by))
    classes: dict[str, list[Any]] = {}
    for image, name in labelled:
        classes.setdefault(name, []).append(image)
    return {name: classes[name] for name in sorted(classes, key=natural_key)}


def _labels(images: ImageSource, by: Classes) -> list[str]:
    if by == "folder":
        return [_folder(*names, images) for names in zip(images.relative_names, images.names, strict=True)]
    if isinstance(by, str) and by.endswith(".csv"):
        return _labels_in(by, images.names)
    if callable(by):
        return [str(label) for label in by_names("by", by, images.names)]
    if isinstance(by, str):
        raise ValueError(
            f"{argument('by')} expected to be 'folder' or the path of a .csv of labels, as these are no Parquet files,"
            f" but got {by!r}"
        )
    if len(by) != len(images):
        raise ValueError(f"{argument('by')} has {len(by)} classes, but {images.label!r} has {len(images)} images")
    return [str(name) for name in by]


def _folder(name: str, whole_name: str, images: ImageSource) -> str:
    folder, _, rest = name.partition("/")
    if rest:
        return folder
    if len(images.roots) > 1 and lies_in_a_root(dirname(normpath(whole_name)), images.roots):
        # All images of this root are in one folder, as in an archive of one class: the folder is the class.
        return PurePath(whole_name).parent.name
    raise ValueError(f"{name!r} lies in no folder of its class below {images.label!r}; give a .csv of labels")


def _labels_in(path: str, names: Sequence[str]) -> list[str]:
    """Read the class of each image, which a file has by name or by any end of the path, of which the longest counts."""
    rows = [row for row in csv.reader(StringIO(read_list(path), newline="")) if row]
    has_header = bool(rows) and not is_image_name(PurePath(rows[0][0]).name)
    if has_header:
        rows = rows[1:]
    short = next((row for row in rows if len(row) < 2), None)
    if short is not None or not rows:
        raise ValueError(f"{path!r} expected to have an image and its class in each row, but got {short or 'no rows'}")
    labels: dict[str, str] = {}
    for row in rows:
        name = PurePath(row[0].strip()).as_posix()
        label = row[1].strip()
        if labels.setdefault(name, label) != label:
            raise ValueError(f"{path!r} has {name!r} twice, as {labels[name]!r} and as {label!r}")
    return [labels[_end_in(labels, name, path)] for name in names]


def _end_in(labels: Mapping[str, str], name: str, path: str) -> str:
    """Return the longest end of an image's path that has a label; ValueError if none has."""
    parts = PurePath(name).parts
    for begin in range(len(parts)):
        end = "/".join(parts[begin:]).replace("//", "/")
        if end in labels:
            return end
    raise ValueError(f"{path!r} has no class for {name!r}; add a row, or leave the image out")
