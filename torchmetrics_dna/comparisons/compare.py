"""Compare image sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, overload

from torchmetrics_dna.comparisons.classes import ClassComparisons, compare_by_class, open_classes
from torchmetrics_dna.comparisons.measured import add_held_out_tests, compare_measured
from torchmetrics_dna.comparisons.outliers import find_outliers
from torchmetrics_dna.comparisons.several_sets import Comparisons, check_held_out, label, names_of
from torchmetrics_dna.dna.distances import Distance, check_distances, record_of, resolve_distances
from torchmetrics_dna.images.pixels import is_file
from torchmetrics_dna.images.sets import warn_of_left_out
from torchmetrics_dna.jobs.arguments import ALL, Arguments, by_network, taking
from torchmetrics_dna.jobs.causes import find_causes
from torchmetrics_dna.jobs.pixel_pairs import pixels_of_pairs
from torchmetrics_dna.jobs.processes import in_step
from torchmetrics_dna.jobs.sides import Sides, example_of, open_each, plan_sides
from torchmetrics_dna.options import argument, written

if TYPE_CHECKING:
    from torchmetrics_dna.comparisons.classes import Classes, Members
    from torchmetrics_dna.comparisons.outliers import Outliers
    from torchmetrics_dna.comparisons.two_sets import Comparison
    from torchmetrics_dna.dna import DNA
    from torchmetrics_dna.dna.result import Result
    from torchmetrics_dna.images import Source
    from torchmetrics_dna.jobs.measure import Measured
    from torchmetrics_dna.statistics.setup import Feature

    Side = Source | DNA
    ByClass = Classes | tuple[Sequence[object], Sequence[object]]


@overload
def compare(
    a: Source, b: Source, feature: Feature | None = None, *, by: ByClass, **options: Any
) -> ClassComparisons: ...
@overload
def compare(
    a: Side, b: Mapping[str, Side], feature: Feature | None = None, *, held_out: str | None = None, **options: Any
) -> Comparisons: ...
@overload
def compare(a: Side, b: Side, feature: Feature | None = None, **options: Any) -> Comparison: ...
@taking(*ALL)
def compare(
    a: Side,
    b: Side | Mapping[str, Side],
    feature: Feature | None = None,
    *,
    by: ByClass | None = None,
    held_out: str | None = None,
    **options: Any,
) -> Comparison | Comparisons | ClassComparisons:
    """Measure the distance between two image sets, by dna-emd and dna-fd or by the distances in ``metrics``.

    Args:
        a: Images, see :func:`make_dna`. Or a DNA, or a path that :func:`load_dna` accepts. The representation,
            extractor, layers, bins and ranges of a DNA are then used for ``b``, too.
        b: As ``a``. Or several sets by name, such as checkpoints. Each set is measured once, and compared with ``a``.
        feature: A :class:`DNAExtractor`, or its ``feature``. A network that is given by name runs on CUDA if there is a
            GPU.
        by: Classes, to compare the sets class by class, such as generated cats with real cats:

            - ``"folder"``: the class is the folder directly below the folder of all images.
            - The path of a ``.csv``: each row has an image and its class.
            - ``"column:NAME"``: the class is a column of Parquet files.
            - A function: it returns the class for the name of an image.
            - A pair of sequences: they have the classes of the images of A and of B.

            One class of each set is in memory at a time. For Parquet files, all classes are in memory.
        held_out: Name of the set in ``b`` that holds real images which no model was trained on. The distances of the
            other sets are then reported relative to the distance of this set, for all distances with folds of images.
        options: All other :class:`Arguments`. With ``distributed`` and ``by``, processes share classes. Without
            ``feature`` and ``layers``, the ``metrics`` ``"fid"``, ``"kid"``, ``"is"``, ``"sfid"``, ``"precision"``,
            ``"recall"``, ``"fd-dinov2"``, ``"fd-dinov2-edm2"`` and ``"cmmd"`` use the networks of their publications,
            with one pass per network. With several sets, the closest set has the smallest dna-emd. If dna-emd is not
            measured, it has the smallest first distance.

    Returns:
        A :class:`Comparison`. With several sets :class:`Comparisons`, with ``by`` :class:`ClassComparisons`.

    Raises:
        ValueError: If an argument is wrong, there are no sets or no images, or an image can't be read. For DNAs, also
            if they are not comparable, or do not support a distance. With ``by``, also if an image has no class, or the
            sets have no class in common.
        RuntimeError: If a set has only one image, unless dna-emd is among the distances.

    Example:
        >>> import numpy as np
        >>> black, white = np.zeros((2, 40, 50, 3), np.uint8), np.full((2, 40, 50, 3), 255, np.uint8)
        >>> result = compare(black, white, layers=["block_0", "head"])
        >>> result["dna-emd"].value > 1, result.num_images
        (True, {'a': 2, 'b': 2})
        >>> results = compare(black, {"black": black, "white": white}, layers=["block_0"])
        >>> results.best
        'black'

    """
    arguments = Arguments(feature, **options)
    with in_step(arguments.distributed):
        result = open_sets(a, b, arguments, by=by, held_out=held_out).compared()
    warn_of_left_out(result.unreadable, arguments.reading)
    return result


@dataclass(frozen=True, eq=False)
class Opened:
    """Sets that were opened and checked together, before an image is read.

    Attributes:
        networks: The same sets, prepared for each network of the metrics. The first network also measures properties.
        names: Names of the sets. The first set is the reference.
        is_one: True if one set is compared with the reference. False for several sets by name.
        held_out: Name of the set of held-out images; None if there is none.
        classes: Images of each class in both sets; empty unless the sets are compared class by class.

    """

    networks: Sequence[Sides]
    names: Sequence[str]
    is_one: bool = True
    held_out: str | None = None
    classes: Sequence[Members] = ()

    def compared(self) -> Comparison | Comparisons | ClassComparisons:
        """Compare each other set with the reference. Each set is measured once by each network of the metrics."""
        if self.classes:
            return compare_by_class(self.networks[0], self.classes, (self.names[0], self.names[1]))
        # For each network, the comparison of each other set.
        by_network: list[list[Comparison]] = []
        for number, sides in enumerate(self.networks):
            # Pixels do not depend on the network.
            is_first = number == 0
            by_network.append(compare_sides(sides, self.names, self.held_out, with_pixels=is_first))
        comparisons: dict[str, Comparison] = {}
        for k, name in enumerate(self.names[1:]):
            comparisons[name] = _merge_networks([of_network[k] for of_network in by_network])
        if self.is_one:
            return comparisons[self.names[1]]
        return Comparisons(self.names[0], comparisons, self.held_out)


def _merge_networks(comparisons: Sequence[Comparison]) -> Comparison:
    """Merge comparisons of the same two sets by several networks.

    The results and notices of all networks are kept. All other values are those of the first network.
    """
    results: dict[str, Result] = {}
    # A dictionary keeps each notice once, in order.
    notices: dict[str, None] = {}
    for comparison in comparisons:
        results |= comparison.results
        notices |= dict.fromkeys(comparison.notices)
    return replace(comparisons[0], results=results, notices=list(notices))


def open_sets(
    a: Any,
    b: Any,
    arguments: Arguments,
    *,
    by: ByClass | None = None,
    held_out: str | None = None,
    names: tuple[str, str] | None = None,
) -> Opened:
    """Open the sets of :func:`compare` once, and prepare them for each network of the metrics.

    Args:
        a: The reference, as for :func:`compare`.
        b: One set, or several sets by name, as for :func:`compare`.
        arguments: The arguments.
        by: Classes of the images, as for :func:`compare`.
        held_out: Name of the set of real images that no model was trained on.
        names: Names of two sets; by default their paths.

    Raises:
        ValueError: If an argument is wrong, before a set is opened. Or if the sets do not fit the arguments, before an
            image is read.

    """
    arguments = arguments.skipping_unreadable()
    sets = _sets_by_name(b, arguments)
    check_held_out(held_out, sets or ())
    if held_out is not None and arguments.pairs:
        raise ValueError(f"{argument('held_out')} is for independent images; omit it, or omit {written('pairs')}")
    if sets is None:
        names_of_two = names_of(a, b) if names is None else names
        return _open_two_sets(a, b, arguments, by, names_of_two)
    if names is not None:
        raise ValueError("Argument `names` is for two sets, but got several, which have names")
    if by is not None:
        raise ValueError(f"{argument('by')} is for two sets; omit it, or compare each pair by itself")
    return _open_several_sets(a, sets, arguments, held_out)


def _open_two_sets(a: Any, b: Any, arguments: Arguments, by: ByClass | None, names: tuple[str, str]) -> Opened:
    """Open two sets, which are compared as a whole or class by class."""
    if by is not None:
        sides, classes = open_classes(a, b, by, arguments)
        return Opened([sides], names, classes=classes)
    return Opened(_open_for_networks([a, b], arguments, with_properties=True), names)


def _open_several_sets(a: Any, sets: Mapping[str, Any], arguments: Arguments, held_out: str | None) -> Opened:
    """Open the reference and several sets that are compared with it."""
    if not sets:
        raise ValueError("Argument `b` expected to have one set at least, but got none")
    check_distances(arguments.metrics, "A comparison of several sets")
    with_properties = len(sets) == 1 or held_out is not None
    networks = _open_for_networks([a, *sets.values()], arguments, with_properties=with_properties)
    if held_out is not None:
        _check_held_out_is_different(held_out, list(sets), networks[0].keys[1:])
    return Opened(networks, [label(a, "the reference"), *sets], is_one=False, held_out=held_out)


def _sets_by_name(b: Any, arguments: Arguments) -> Mapping[str, Any] | None:
    """Return ``b`` if it holds several sets by name; None if it is one set."""
    if not isinstance(b, Mapping):
        return None
    example = example_of(arguments)
    is_batch = example is not None and example.has_names_of(b)
    if is_batch or is_file(b):
        return None
    return b


def _open_for_networks(sources: Sequence[Any], arguments: Arguments, *, with_properties: bool) -> list[Sides]:
    """Open sets once, and prepare them for each network of the metrics.

    Args:
        sources: The sets.
        arguments: The arguments.
        with_properties: True if image properties may be measured.

    Returns:
        The opened sets, prepared for each network.

    Raises:
        OSError: If the weights of a network can't be read or downloaded.

    """
    arguments_by_network = by_network(arguments, sources)
    for network_arguments in arguments_by_network:
        # Unknown names raise an error before a set is opened.
        resolve_distances(network_arguments.metrics, [])
    opened = open_each(sources, arguments)
    sides_by_network: list[Sides] = []
    for number, network_arguments in enumerate(arguments_by_network):
        # Properties do not depend on the network, so they are measured in the pass of the first network alone.
        measures_properties = with_properties and number == 0
        try:
            sides = plan_sides(opened, network_arguments, with_properties=measures_properties)
        except OSError as err:
            remedy = _instead_of_published(arguments, network_arguments)
            if remedy is None:
                raise
            raise OSError(f"{err}; for the default network instead, pass {remedy}") from err
        sides_by_network.append(sides)
    return sides_by_network


def _instead_of_published(arguments: Arguments, network_arguments: Arguments) -> str | None:
    """Return arguments with which the default network replaces the network of a published metric.

    They are a remedy if that network can't be downloaded. None if the metrics have no distance of the default network,
    or if the network is not that of a published metric.

    Args:
        arguments: All arguments.
        network_arguments: The arguments for the network that can't be downloaded.

    """
    is_published = any(isinstance(metric, Distance) and metric.protocol for metric in network_arguments.metrics or ())
    names = _distances_of_default_network(arguments)
    if not is_published or not names:
        return None
    feature = written("feature", "efficientnet_lite0")
    return f"{feature} with {written('metrics', ','.join(names))}"


def _distances_of_default_network(arguments: Arguments) -> list[str]:
    """Return the names of the distances of the default network that measure the same as the metrics, each once."""
    names: list[str] = []
    for metric in arguments.metrics or ():
        distance = record_of(metric)
        if not distance:
            continue
        if distance.protocol is None:
            names.append(distance.name)
        elif distance.granularity == "layer":
            # Published metrics such as FID are Fréchet distances of a layer.
            names.append("fd")
    # A dictionary keeps each name once, in order.
    return list(dict.fromkeys(names))


def _check_held_out_is_different(held_out: str, names: Sequence[str], keys: Sequence[object]) -> None:
    """Raise ValueError if another set has the same images as the held-out set."""
    key_of_set = dict(zip(names, keys, strict=True))
    for name, key in key_of_set.items():
        if name != held_out and key == key_of_set[held_out]:
            raise ValueError(
                f"{argument('held_out')} is {held_out!r}, the same images as {name!r}; pass real images that no"
                " model was trained on"
            )


def compare_sides(
    sides: Sides, names: Sequence[str], held_out: str | None = None, *, with_pixels: bool = True
) -> list[Comparison]:
    """Compare the first set with each other set, by one network.

    Args:
        sides: The sets.
        names: Names of the sets.
        held_out: Name of the set of held-out images; None if there is none.
        with_pixels: True if the pixels of pairs are compared, too.

    """
    a = sides.measured(0)
    comparisons: dict[str, Comparison] = {}
    measured_held_out: Measured | None = None
    others = [name for name in names[1:] if name != held_out]
    # The held-out set comes first, since the distances of all other sets are compared with its distance.
    order = others if held_out is None else [held_out, *others]
    for name in order:
        k = names.index(name, 1)
        b = sides.measured(k)
        comparison = _compare_with_side(sides, k, a, b, (names[0], name), with_pixels=with_pixels)
        if name == held_out:
            measured_held_out = b
        elif held_out is not None and measured_held_out is not None:
            comparison = add_held_out_tests(comparison, comparisons[held_out], (a, b, measured_held_out))
        comparisons[name] = comparison
        # Free the memory of this set before the next one is measured.
        del b
    return [comparisons[name] for name in names[1:]]


def _compare_with_side(
    sides: Sides, k: int, a: Measured, b: Measured, names: tuple[str, str], *, with_pixels: bool
) -> Comparison:
    """Compare the first set with set ``k``: distances, outliers, pixels of pairs, and causes of the difference."""
    plan = sides.plan
    comparison = compare_measured(a, b, plan, names=names)
    outliers = None
    pixels = None
    if a is not b:
        outliers = _find_outliers(sides, k, a, b, shares_images=comparison.shares_images)
        if with_pixels:
            pixels = pixels_of_pairs(sides, k, a)
    comparison = replace(comparison, outliers=outliers, pixels=pixels, notices=[*comparison.notices, *plan.limits])
    is_explained = pixels is not None and pixels.change is not None
    if plan.has_causes and comparison.differs and not is_explained:
        a_in_bins, _ = comparison.aligned()
        comparison = replace(comparison, causes=find_causes(sides, a, b, a_in_bins))
    return comparison


def _find_outliers(sides: Sides, k: int, a: Measured, b: Measured, *, shares_images: bool) -> Outliers | None:
    """Find the outliers among the images of set ``k``, relative to A or within the set."""
    neurons = sides.plan.neurons
    if not shares_images:
        return find_outliers(a, b, sides.images[k], neurons=neurons, rows=None)
    # The reference shares images with B, and so their faults. Each image is compared with the others of its own set.
    own_rows = range(len(b.numbers))
    return find_outliers(b, b, sides.images[k], neurons=neurons, rows=own_rows)
