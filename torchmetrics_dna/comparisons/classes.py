"""Compare two image sets class by class, in one pass over their images."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from io import StringIO
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

    # Images of each class: their source indices, or the names of the images of a stream.
    Members = Mapping[str, list[Any]]

Classes = str | Callable[[str], object] | Sequence[object]
_COLUMN = "column:"


@dataclass(frozen=True, eq=False, repr=False)
class ClassComparisons(ManyComparisons):
    """Distances between the same classes of two image sets: a mapping of comparisons by class.

    Attributes:
        results: Comparison of each class that both sets have, by class name. These comparisons hold no DNAs.
        total: Comparison of all images of these classes together.
        alone: Names of the classes that have readable images only in A, then of those that have them only in B. These
            classes are not compared.

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
        """False discovery rate of each class (Benjamini and Hochberg, 1995); None without a test.

        The rates are computed from the p-values of the permutation tests of the classes.
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
        """Names of the classes by decreasing distance. Distances are debiased if possible."""
        return sorted(self, key=self.figure, reverse=True)

    @property
    def distances(self) -> dict[str, Distance]:
        """All distances that were measured, by name."""
        return {name: result.distance for name, result in self.total.items()}

    def __repr__(self) -> str:
        return f"ClassComparisons({len(self)} classes, furthest {self.order[0]})"


def open_classes(a: Any, b: Any, by: Any, arguments: Arguments) -> tuple[Sides, Sequence[Members]]:
    """Open two image sets, and group the images of each set by class.

    Args:
        a: Images that have an index, or Parquet files.
        b: As ``a``.
        by: Classes of the images, as for :func:`compare`.
        arguments: The arguments.

    Raises:
        ValueError: If an argument is only for whole sets, the sets have no class in common, or a class has too few
            images.

    """
    _check_arguments(arguments)
    sides = open_sides((a, b), arguments)
    for distance in sides.plan.distances:
        if not distance.kinds:
            raise ValueError(f"{argument('metrics')} takes no {distance.name} class by class")
    purpose = "A comparison of classes"
    images_a = sides.source(0, purpose)
    images_b = sides.source(1, purpose)
    is_pair = isinstance(by, tuple) and len(by) == 2
    labels_of_a, labels_of_b = by if is_pair else (by, by)
    members_a = by_class(images_a, labels_of_a)
    members_b = by_class(images_b, labels_of_b)
    common = _classes_in_common(members_a, members_b)
    for images in (images_a, images_b):
        if arguments.distributed and isinstance(images, ImageStream):
            raise ValueError(f"{images.label!r} is a stream, so one process must read all its classes; start only one")
    for name in common:
        _check_size(name, (len(members_a[name]), len(members_b[name])), sides.plan.distances[0])
    return sides, (members_a, members_b)


def _check_size(name: str, counts: tuple[int, int], distance: Distance) -> None:
    """Raise RuntimeError if a class has too few images in A or in B for a distance."""
    if min(counts) < distance.least:
        raise too_few(f"{distance.name} of class {name!r}", distance.least, counts)


def _classes_in_common(members_a: Members, members_b: Members) -> list[str]:
    """Return the names of the classes that both sets have; ValueError if there are none."""
    common = [name for name in members_a if name in members_b]
    if not common:
        first_of_a = next(iter(members_a))
        first_of_b = next(iter(members_b))
        raise ValueError(
            f"The two sets have no class in common; their first ones are {first_of_a!r} and {first_of_b!r}"
        )
    return common


def _check_arguments(arguments: Arguments) -> None:
    """Raise ValueError if an argument is only for whole sets, or a metric brings its own network."""
    for name in ("pairs", "groups", "on"):
        if getattr(arguments, name) not in (None, False):
            raise ValueError(f"{argument(name)} is for whole sets; omit it, or omit {written('by')}")
    for name, network in only_published(arguments.metrics):
        raise ValueError(
            f"{argument('by')} is for metrics of one network, but got {name!r}; omit {written('by')}, or pass"
            f" {written('feature', network)} and a distance"
        )


@dataclass(frozen=True)
class _Part:
    """Comparisons of the classes that one process measures.

    Attributes:
        results: Comparison of each class, by name.
        total: Images of A and images of B, over all compared classes together; None if no class was compared.
        empty: Numbers of readable images in A and in B, by name of the class, for classes without readable images in A
            or in B.
        unreadable_of_empty: One line for each unreadable image of a class in ``empty``.

    """

    results: dict[str, Comparison]
    total: tuple[Measured, Measured] | None
    empty: dict[str, tuple[int, int]]
    unreadable_of_empty: list[str]


def compare_by_class(sides: Sides, members_of_sides: Sequence[Members], names: tuple[str, str]) -> ClassComparisons:
    """Compare each class of one image set with the same class of another set.

    Both sets are read class by class, so only one class of each set is in memory at a time. A class is counted as if
    its images were measured alone.

    Args:
        sides: The two image sets.
        members_of_sides: The images of each class, of A and of B.
        names: Names of the sets.

    Raises:
        ValueError: If no class has readable images in both sets.

    """
    members_a, members_b = members_of_sides
    common = [name for name in members_a if name in members_b]
    if sides.plan.arguments.distributed:
        # Processes share whole classes, so that results do not depend on the number of processes.
        parts = gather(_compare_classes(sides, members_of_sides, common[rank() :: world_size()], names))
        part = _merge_parts(parts, common)
    else:
        part = _compare_classes(sides, members_of_sides, common, names)
    if part.total is None:
        raise ValueError(f"No class has images that can be read in both sets, such as: {part.unreadable_of_empty[0]}")
    alone = (_classes_alone(members_a, 0, part), _classes_alone(members_b, 1, part))
    total = _compare_measured(sides, part.total, names, part.unreadable_of_empty)
    return ClassComparisons(part.results, total, alone)


def _classes_alone(members: Members, k: int, part: _Part) -> list[str]:
    """Return the names of the classes that have readable images only in set ``k``, of which these are the members."""
    alone = []
    for name in members:
        if name in part.results:
            continue
        # A class of both sets without a result has no readable images in at least one of them.
        has_readable_images = name not in part.empty or part.empty[name][k] > 0
        if has_readable_images:
            alone.append(name)
    return alone


def _compare_classes(
    sides: Sides, members_of_sides: Sequence[Members], classes: Sequence[str], names: tuple[str, str]
) -> _Part:
    """Measure these classes one after another in both sets, and compare each of them."""
    results: dict[str, Comparison] = {}
    total: tuple[Measured, Measured] | None = None
    empty: dict[str, tuple[int, int]] = {}
    unreadable_of_empty: list[str] = []
    members_a, members_b = members_of_sides
    measured_a = _by_class(sides.source(0, "Classes"), members_a, classes, sides.job)
    measured_b = _by_class(sides.source(1, "Classes"), members_b, classes, sides.job)
    for name, a, b in zip(classes, measured_a, measured_b, strict=True):
        if a.first.num_images and b.first.num_images:
            comparison = _compare_measured(sides, (a, b), names)
            results[name] = replace(comparison, measured=None)
            total = _merge_totals(total, (a, b))
        else:
            empty[name] = (a.first.num_images, b.first.num_images)
            unreadable_of_empty += [*a.unreadable, *b.unreadable]
    return _Part(results, total, empty, unreadable_of_empty)


def _compare_measured(
    sides: Sides, measured: tuple[Measured, Measured], names: tuple[str, str], unreadable: Sequence[str] = ()
) -> Comparison:
    """Compare images of both sets, and add lines for further unreadable images."""
    a, b = measured
    comparison = compare_measured(a, b, sides.plan, names=names)
    lines = [*comparison.unreadable, *unreadable]
    if sides.images[0] is sides.images[1]:
        # Both sets are one source, so each line occurs twice.
        lines = list(dict.fromkeys(lines))
    return replace(comparison, unreadable=lines)


def _merge_parts(parts: Sequence[_Part], order: Sequence[str]) -> _Part:
    """Merge the parts of all processes. Each class is in one part."""
    results: dict[str, Comparison] = {}
    total: tuple[Measured, Measured] | None = None
    empty: dict[str, tuple[int, int]] = {}
    unreadable_of_empty: list[str] = []
    for part in parts:
        results |= part.results
        total = _merge_totals(total, part.total)
        empty |= part.empty
        unreadable_of_empty += part.unreadable_of_empty
    in_order = {name: results[name] for name in order if name in results}
    return _Part(in_order, total, empty, unreadable_of_empty)


def _merge_totals(
    first: tuple[Measured, Measured] | None, second: tuple[Measured, Measured] | None
) -> tuple[Measured, Measured] | None:
    """Merge two pairs of sets. None means no images."""
    if first is None or second is None:
        return first or second
    return first[0].merge(second[0]), first[1].merge(second[1])


def _by_class(images: Images, members: Members, classes: Sequence[str], job: Job) -> Iterator[Measured]:
    """Yield each class after it is measured, in one pass over the images."""
    if isinstance(images, ImageStream):
        splits = _splits_of_stream(images, members, classes, job)
    else:
        splits = _splits_of_files(images, members, classes, job)
    for split in splits:
        yield Measured(job.values(split), split.unreadable)
        # Free the memory of this class before the next one is measured.
        del split


def _splits_of_stream(images: ImageStream, members: Members, classes: Sequence[str], job: Job) -> Iterator[Split]:
    """Yield the classes of a stream. The images come in any order, so the states of all classes are in memory."""
    class_of = {image: name for name in classes for image in members[name]}

    def classes_of(part: Any) -> list[str | None]:
        """Return the class of each image of a batch; None for images of other classes."""
        return [class_of.get(image) for image in part.names]

    splits = job.run_by(images, classes_of, classes)
    for name in classes:
        yield splits.pop(name)


def _splits_of_files(images: ImageSource, members: Members, classes: Sequence[str], job: Job) -> Iterator[Split]:
    """Yield the classes of images that have an index. All images of a class are read before the next class."""
    order: list[Any] = []
    ranges = []
    for name in classes:
        begin = len(order)
        order += members[name]
        ranges.append(range(begin, len(order)))
    yield from job.run(images.take(order), ranges)


def by_class(images: Images, by: Classes) -> dict[str, list[int]] | dict[str, list[str]]:
    """Group images by class. The classes are in natural order.

    Args:
        images: The images.
        by: The classes, in one of these forms:

            - ``"folder"``: the class is the folder directly below the folder of all images.
            - The path of a ``.csv``: each row has the name or the path of an image, and its class.
            - ``"column:NAME"``: the class is a column of Parquet files.
            - A function: it returns the class for the name of an image.
            - A sequence: it has the class of each image.

    Returns:
        The source indices of the images of each class. For a stream, the names of the images.

    Raises:
        FileNotFoundError: If the file of labels does not exist.
        ValueError: If ``by`` has another form, if an image has no class or two classes, or if ``images`` is a stream
            and ``by`` is not a column.

    Example:
        >>> from torchmetrics_dna.images import ImageSource
        >>> by_class(ImageSource(["x/dog/1.png", "x/cat/1.png", "x/dog/2.png"], str, "x"), "folder")
        {'cat': [1], 'dog': [0, 2]}

    """
    if isinstance(images, ImageStream):
        if not isinstance(by, str) or not by.startswith(_COLUMN):
            raise ValueError(f"{by_number(images, 'A comparison of classes')}; of Parquet files, pass 'column:NAME'")
        labelled: Iterable[tuple[Any, str]] = labels_of(images, by.removeprefix(_COLUMN)).items()
    else:
        labelled = enumerate(_labels(images, by))
    classes: dict[str, list[Any]] = {}
    for image, name in labelled:
        classes.setdefault(name, []).append(image)
    return {name: classes[name] for name in sorted(classes, key=natural_key)}


def _labels(images: ImageSource, by: Classes) -> list[str]:
    """Return the class of each image, for each form of ``by`` other than a column, see :func:`by_class`."""
    if isinstance(by, str):
        return _labels_by_text(images, by)
    if callable(by):
        return [str(label) for label in by_names("by", by, images.names)]
    if len(by) != len(images):
        raise ValueError(f"{argument('by')} has {len(by)} classes, but {images.label!r} has {len(images)} images")
    return [str(name) for name in by]


def _labels_by_text(images: ImageSource, by: str) -> list[str]:
    """Return the class of each image, by its folder or from a ``.csv`` of labels."""
    if by == "folder":
        names = zip(images.relative_names, images.names, strict=True)
        return [_folder(relative_name, full_name, images) for relative_name, full_name in names]
    if by.endswith(".csv"):
        return _labels_in(by, images.names)
    raise ValueError(
        f"{argument('by')} expected to be 'folder' or the path of a .csv of labels, but got {by!r};"
        " only Parquet files have columns"
    )


def _folder(name: str, whole_name: str, images: ImageSource) -> str:
    """Return the folder of an image directly below the folder of all images.

    Args:
        name: Name of the image, relative to the folder of all images.
        whole_name: Whole path of the image.
        images: All images.

    Raises:
        ValueError: If the image is in no such folder.

    """
    folder, _, name_in_folder = name.partition("/")
    if name_in_folder:
        return folder
    if len(images.roots) > 1 and lies_in_a_root(dirname(normpath(whole_name)), images.roots):
        # There are several roots, such as one archive per class, and the images of this root are in one folder.
        return PurePath(whole_name).parent.name
    raise ValueError(f"{name!r} lies in no folder of its class below {images.label!r}; pass a .csv of labels")


def _labels_in(path: str, names: Sequence[str]) -> list[str]:
    """Read the class of each image from a ``.csv``. In the file, any end of the path of an image may be its name."""
    labels: dict[str, str] = {}
    for row in _rows_of_csv(path):
        name = PurePath(row[0].strip()).as_posix()
        label = row[1].strip()
        if labels.setdefault(name, label) != label:
            raise ValueError(f"{path!r} has {name!r} twice, as {labels[name]!r} and as {label!r}")
    return [labels[_end_in(labels, name, path)] for name in names]


def _rows_of_csv(path: str) -> list[list[str]]:
    """Read the rows of a ``.csv`` of labels without its header, and check that each has two cells or more."""
    rows = [row for row in csv.reader(StringIO(read_list(path), newline="")) if row]
    has_header = bool(rows) and not is_image_name(PurePath(rows[0][0]).name)
    if has_header:
        rows = rows[1:]
    expected = f"{path!r} expected to have an image and its class in each row"
    if not rows:
        raise ValueError(f"{expected}, but got no rows")
    for row in rows:
        if len(row) < 2:
            raise ValueError(f"{expected}, but got {row}")
    return rows


def _end_in(labels: Mapping[str, str], name: str, path: str) -> str:
    """Return the longest end of the path of an image that has a label; ValueError if no end has a label."""
    parts = PurePath(name).parts
    for begin in range(len(parts)):
        end = "/".join(parts[begin:]).replace("//", "/")
        if end in labels:
            return end
    raise ValueError(f"{path!r} has no class for {name!r}; add a row, or omit the image")
