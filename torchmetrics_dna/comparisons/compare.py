"""Compare image sets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, overload

from torchmetrics_dna.comparisons.class_comparisons import ClassComparisons, compare_classes
from torchmetrics_dna.comparisons.compare_measured import compare_measured
from torchmetrics_dna.comparisons.comparisons import Comparisons, label, names_of
from torchmetrics_dna.comparisons.odd_images import odd_images
from torchmetrics_dna.comparisons.scale import check_held_out
from torchmetrics_dna.dna import DNA
from torchmetrics_dna.dna.distances import check_distances, resolve_distances
from torchmetrics_dna.dna.evidence import has_negative
from torchmetrics_dna.dna.load import is_dna_path
from torchmetrics_dna.extractors import DNAExtractor
from torchmetrics_dna.extras import without_numba
from torchmetrics_dna.images.pixels import is_file
from torchmetrics_dna.images.properties import LAYER
from torchmetrics_dna.jobs.arguments import ALL, Arguments, taking
from torchmetrics_dna.jobs.causes import can_be_found, find_causes
from torchmetrics_dna.jobs.processes import in_step
from torchmetrics_dna.jobs.protocols import by_network, only_published, saying_how_else
from torchmetrics_dna.jobs.sides import Sides, example_of, open_sides

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torchmetrics_dna.comparisons.classes import Classes
    from torchmetrics_dna.comparisons.comparison import Comparison
    from torchmetrics_dna.images import Source
    from torchmetrics_dna.jobs.measure import Measured
    from torchmetrics_dna.statistics.setup import Feature

    Side = Source | DNA
    ByClass = Classes | tuple[Sequence[object], Sequence[object]]
    Check = Callable[[Sequence[Sides], Sequence[str]], None]  # of the opened sides of each network, and their names


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
    """Measure how far two image sets are apart: by dna-emd and dna-fd, or by the distances in ``metrics``.

    Args:
        a: Images, see :func:`make_dna`; or a DNA, or a path that :func:`load_dna` accepts, whose kind,
            extractor, layers, bins and ranges then hold for ``b``.
        b: As ``a``; or several by name, such as checkpoints: each is compared with ``a``, and measured once.
        feature: A :class:`DNAExtractor`, or its ``feature``; a name runs on CUDA if there is a GPU.
        by: Compare class by class, such as generated cats with real cats: ``"folder"`` (the folder right below that of
            all images), the path of a ``.csv`` with an image and its class in each row, ``"column:NAME"`` of Parquet
            files, a function of an image's name, or a pair of sequences, the classes of A's images and of B's. One
            class of each set is in memory at a time; of Parquet files all are.
        held_out: Name of the set in ``b`` that holds real images which no model saw: how many times as far each other
            set is from ``a`` as these is then told, for all distances with folds of images.
        options: All other :class:`Arguments`. With ``distributed`` and ``by``, processes share classes. Without
            ``feature`` and ``layers``, the ``metrics`` ``"fid"``, ``"kid"``, ``"is"``, ``"sfid"``, ``"precision"``,
            ``"recall"``, ``"fd-dinov2"``, ``"fd-dinov2-edm2"`` and ``"cmmd"`` are as published, by networks of their
            own, with a pass for each. Of several sets, dna-emd decides which is nearest, or else the first distance.

    Returns:
        A :class:`Comparison`; of several sets :class:`Comparisons`, and with ``by`` :class:`ClassComparisons`.

    Raises:
        ValueError: If an argument is wrong, there are no images, one can't be read, two DNAs do not fit together, or a
            DNA lacks the input of a distance; if there are no sets, an image has no class, or the sets have no
            class in common.
        RuntimeError: If a side has only one image, unless dna-emd is among the distances.

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
    return compare_with_arguments(a, b, Arguments(feature, **options), by=by, held_out=held_out)


def compare_with_arguments(
    a: Any,
    b: Any,
    arguments: Arguments,
    *,
    by: ByClass | None = None,
    held_out: str | None = None,
    check: Check | None = None,
) -> Comparison | Comparisons | ClassComparisons:
    """Compare as :func:`compare` does; ``check`` may refuse the sides that were opened, before an image is read."""
    sets = b if isinstance(b, Mapping) and not is_file(b) and not _is_batch(b, arguments) else None
    check_held_out(held_out, sets or ())
    if held_out is not None and arguments.pairs:
        raise ValueError("Argument `held_out` is for independent images; leave it out, or leave out `pairs`")
    if by is not None:
        if sets is not None:
            raise ValueError("Argument `by` is for two sets; leave it out, or compare each pair by itself")
        if arguments.pairs:
            raise ValueError("Argument `pairs` is for whole sets; leave it out, or compare the classes one by one")
        for name, network in only_published(arguments.metrics):
            raise ValueError(
                f"Argument `by` is for metrics of one network, but got {name!r}; leave it out, or give the feature"
                f" {network!r} and a distance"
            )
        return compare_classes(a, b, by, arguments, check)
    if sets is None:
        return compare_with_first((a, b), names_of(a, b), arguments, check)[0]
    if not sets:
        raise ValueError("Argument `b` expected to have one set at least, but got none")
    check_distances(arguments.metrics, "A comparison of several sets")
    names = label(a, "the reference"), *sets
    compared = compare_with_first((a, *sets.values()), names, arguments, check)
    return Comparisons(names[0], dict(zip(sets, compared, strict=True)), held_out)


def _is_batch(b: Mapping[str, Any], arguments: Arguments) -> bool:
    example = example_of(arguments)
    return example is not None and example.has_names_of(b)


def compare_with_first(
    sources: Sequence[Any], names: Sequence[str], arguments: Arguments, check: Check | None = None
) -> list[Comparison]:
    """Compare the first set with each of the others, measuring each once by each network of the metrics."""
    with in_step(arguments.distributed):
        opened = open_by_network(sources, arguments)
        if check is not None:
            check(opened, names)
        return compare_opened(opened, names)


def open_by_network(sources: Sequence[Any], arguments: Arguments) -> list[Sides]:
    """Open the sets for each network of the metrics; errors of any come before an image is read."""
    own, *others = by_network(arguments, sources)
    opened = list[Sides]()
    for of_network in (watching_properties(own, sources), *others):
        with saying_how_else(of_network):
            opened.append(open_sides(sources, of_network))
    return opened


def compare_opened(opened: Sequence[Sides], names: Sequence[str]) -> list[Comparison]:
    """Compare the first side with each of the others, which ``names`` call, by all networks together."""
    compared = [compare_sides(sides, names) for sides in opened]
    return [_united(of_networks) for of_networks in zip(*compared, strict=True)]


def compare_sides(sides: Sides, names: Sequence[str]) -> list[Comparison]:
    """Compare the first side with each of the others, which ``names`` call, by one network."""
    with without_numba(sides.is_small):
        of_a = sides.measured(0)
        compared = list[Any]()
        for k, name in enumerate(names[1:], 1):
            of_b, both = sides.measured(k), (names[0], name)
            result = compare_measured(of_a, of_b, sides.distances, sides.arguments, plans=sides.plans, names=both)
            odd = None if result.same_images else odd_images(of_a, of_b, sides.images[k], result.p_value)
            result = replace(result, odd=odd, notices=[*result.notices, *sides.limits])
            compared.append(_with_causes(result, sides, of_a, of_b) if len(names) == 2 else result)
            del of_b  # before the next one is measured
        return compared


def _with_causes(comparison: Comparison, sides: Sides, a: Measured, b: Measured) -> Comparison:
    """Search what causes a difference that the test finds, if that was asked for and can be."""
    arguments, weights = sides.arguments, comparison.neuron_weights
    if not arguments.causes or arguments.on is not None or "dna-emd" not in comparison or has_negative(weights):
        return comparison
    readable = a.numbers, b.numbers
    if LAYER in comparison.neurons or not comparison.explain().differs or not can_be_found(sides, readable):
        return comparison
    with without_numba(False):  # which pays for the many images of the search, however few the sets have
        return replace(comparison, causes=find_causes(sides, comparison.aligned()[0], readable, weights))


def watching_properties(arguments: Arguments, sources: Sequence[Any]) -> Arguments:
    """Return arguments by which properties of images are measured, too, unless it was said otherwise.

    They are if two sets of images are compared by a distance of neurons, however the network was given.
    """
    feature = arguments.feature
    of_images = not any(isinstance(side, DNA) or is_dna_path(side) for side in sources)
    by_neuron = any(record.grain == "neuron" for record in resolve_distances(arguments.metrics or ("dna-emd",), ()))
    if len(sources) != 2 or not of_images or not by_neuron or arguments.neuron_weights is not None:
        return arguments
    if isinstance(feature, DNAExtractor):
        return replace(arguments, feature=feature.with_properties())
    network = feature if isinstance(feature, dict) else {"feature": feature}
    if network.get("properties") is not None:
        return arguments
    return replace(arguments, feature=network | {"properties": True})


def _united(comparisons: Sequence[Comparison]) -> Comparison:
    """Add the distances of other networks to the comparison of the first one."""
    first, *others = comparisons
    if not others:
        return first
    results = {name: result for comparison in comparisons for name, result in comparison.items()}
    notices = dict.fromkeys(notice for comparison in comparisons for notice in comparison.notices)
    return replace(first, results=results, notices=list(notices))
