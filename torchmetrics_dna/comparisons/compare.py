"""Compare image sets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypedDict, overload

from torchmetrics_dna.comparisons.class_comparisons import ClassComparisons, compare_classes
from torchmetrics_dna.comparisons.compare_measured import compare_measured
from torchmetrics_dna.comparisons.comparisons import Comparisons, label, names_of
from torchmetrics_dna.dna.distances import check_distances
from torchmetrics_dna.extras import without_numba
from torchmetrics_dna.functional.permutation import NUM_FOLDS
from torchmetrics_dna.images.pixels import is_file
from torchmetrics_dna.jobs.processes import in_step
from torchmetrics_dna.jobs.protocols import by_network, only_published
from torchmetrics_dna.jobs.sides import Arguments, Sides, open_sides

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from torch import Tensor
    from typing_extensions import Unpack

    from torchmetrics_dna.comparisons.classes import Classes
    from torchmetrics_dna.comparisons.comparison import Comparison
    from torchmetrics_dna.dna import DNA
    from torchmetrics_dna.dna.changes import ChangeDictionary
    from torchmetrics_dna.dna.neuron_weights import NeuronWeights
    from torchmetrics_dna.images import Reading, Source
    from torchmetrics_dna.jobs.groups import Groups, Pairs
    from torchmetrics_dna.neurons.ranges import ActivationRanges
    from torchmetrics_dna.statistics.resolve import Feature

    Side = Source | DNA
    ByClass = Classes | tuple[Sequence[object], Sequence[object]]


class Options(TypedDict, total=False):
    """Keyword arguments of :func:`compare`."""

    metrics: Sequence[str] | None
    layers: Sequence[str] | None
    num_bins: int | None
    ranges: ActivationRanges | str | os.PathLike[str] | None
    neuron_weights: NeuronWeights | Tensor | str | os.PathLike[str] | None
    changes: ChangeDictionary | str | os.PathLike[str] | None
    confidence: float
    num_folds: int | None
    groups: Groups | tuple[Groups, ...] | None
    pairs: Pairs | None
    reading: Reading | None
    distributed: bool
    on: str | None


@overload
def compare(
    a: Source, b: Source, feature: Feature | None = None, *, by: ByClass, **options: Unpack[Options]
) -> ClassComparisons: ...


@overload
def compare(
    a: Side, b: Mapping[str, Side], feature: Feature | None = None, *, by: None = None, **options: Unpack[Options]
) -> Comparisons: ...


@overload
def compare(
    a: Side, b: Side, feature: Feature | None = None, *, by: None = None, **options: Unpack[Options]
) -> Comparison: ...


def compare(
    a: Side,
    b: Side | Mapping[str, Side],
    feature: Feature | None = None,
    *,
    metrics: Sequence[str] | None = None,
    layers: Sequence[str] | None = None,
    num_bins: int | None = None,
    ranges: ActivationRanges | str | os.PathLike[str] | None = None,
    neuron_weights: NeuronWeights | Tensor | str | os.PathLike[str] | None = None,
    changes: ChangeDictionary | str | os.PathLike[str] | None = None,
    confidence: float = 0.95,
    num_folds: int | None = NUM_FOLDS,
    by: ByClass | None = None,
    groups: Groups | tuple[Groups, ...] | None = None,
    pairs: Pairs | None = None,
    reading: Reading | None = None,
    distributed: bool = False,
    on: str | None = None,
) -> Comparison | Comparisons | ClassComparisons:
    """Measure how far two image sets are apart: by dna-emd and dna-fd, or by the distances in ``metrics``.

    Args:
        a: Images, see :func:`make_dna`; or a DNA, or a path that :func:`load_dna` accepts, whose kind,
            extractor, layers, bins and ranges then hold for ``b``.
        b: As ``a``; or several by name, such as checkpoints: each is compared with ``a``, and measured once.
        feature: A :class:`DNAExtractor`, or its ``feature``; a name runs on CUDA if there is a GPU.
        metrics: Any of ``"dna-emd"``, ``"dna-fd"``, ``"fd"``, ``"kid"``, ``"mind"``, ``"cmmd"``,
            ``"precision"``, ``"recall"``, ``"density"`` and ``"coverage"``, all from one pass over the images. Without
            ``feature`` and ``layers``, ``"fid"``, ``"kid"``, ``"is"``, ``"sfid"``, ``"precision"``, ``"recall"``,
            ``"fd-dinov2"``, ``"fd-dinov2-edm2"`` and ``"cmmd"`` are as published, by networks of their own, with a
            pass for each. By default the first two, or those that the given DNAs support. Of several sets, dna-emd
            decides which is nearest, or else the first distance. Those from ``"kid"`` on are of the last layer's
            spatial means, which are kept for them, ``(images, n)`` in float32; for evidence of fd, those of all layers
            are.
        layers: Names of the layers, if ``feature`` is not an extractor; also selects from a DNA.
        num_bins: Bins of each neuron's histogram; 1000 by default.
        ranges: Activation ranges, the path of a file of them, or ``"auto"`` for histograms that find their own; by
            default those packaged with the extractor, or else ``"auto"``.
        neuron_weights: Weights of Eq. (5): :class:`NeuronWeights`, the path of a file of them, or shape ``(N,)``; by
            default the plain mean.
        changes: Effects of named changes of images, such as blur, on the neurons, from :func:`make_changes`, or the
            path of a file of them, for :meth:`Comparison.explain`; by default those packaged with the extractor.
        confidence: Level of the confidence intervals.
        num_folds: Number of folds of images, for debiased distances, intervals, and tests of whether distances are more
            than noise; at least 5, or None for none. An image's fold depends on its pixels, as in :class:`DNAEMD`;
            tests need images in at least 5 folds. A DNA has the folds of its file; without folds it is taken as exact,
            and there is no test.
        by: Compare class by class, such as generated cats with real cats: ``"folder"`` (the folder right below that of
            all images), the path of a ``.csv`` with an image and its class in each row, ``"column:NAME"`` of Parquet
            files, a function of an image's name, or a pair of sequences, the classes of A's images and of B's. One
            class of each set is in memory at a time; of Parquet files all are.
        groups: Images that belong together (frames of a clip, crops of a picture) and share a fold: ``"folder"``,
            ``"prefix:REGEX"``, a function of an image's name, or a tuple with a sequence of groups for each side; see
            :func:`group_names`.
        pairs: Whether images of the sides correspond, as originals and their compressed, enlarged, denoised or
            translated versions do: True if they do in their order; ``"name"``: by their names below the source, without
            the ending; or a function of an image's name that gives the same for both. What a pair has in common then
            adds no noise, so that 10 pairs show what takes hundreds of independent images.
        reading: Options for reading the images.
        distributed: Share the images, or with ``by`` the classes, among the processes of torch.distributed; all must
            make the same call, and all get the same result.
        on: Ray cluster that measures the images, such as ``"ray"``, see :func:`finish_on_ray`.

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
    arguments = Arguments(
        feature, metrics, layers, num_bins, ranges, neuron_weights, changes, confidence, num_folds,
        groups, pairs, reading, distributed, on,
    )  # fmt: skip
    sets = b if isinstance(b, Mapping) and not is_file(b) else None
    if by is not None:
        if sets is not None:
            raise ValueError("Argument `by` is for two sets; leave it out, or compare each pair by itself")
        if pairs:
            raise ValueError("Argument `pairs` is for whole sets; leave it out, or compare the classes one by one")
        if (alone := only_published(metrics)) is not None and alone.protocol is not None:
            raise ValueError(
                f"Argument `by` is for metrics of one network, but got {alone.name!r}; leave it out, or give the"
                f" feature {alone.protocol.feature!r} and a distance"
            )
        return compare_classes(a, b, by, arguments)
    if sets is None:
        return compare_with_first((a, b), names_of(a, b), *by_network(arguments, (a, b)))[0]
    if not sets:
        raise ValueError("Argument `b` expected to have one set at least, but got none")
    check_distances(metrics, "A comparison of several sets")
    names = label(a, "the reference"), *sets
    sides = a, *sets.values()
    compared = compare_with_first(sides, names, *by_network(arguments, sides))
    return Comparisons(names[0], dict(zip(sets, compared, strict=True)))


def compare_with_first(sides: Sequence[Any], names: Sequence[str], *arguments: Arguments) -> list[Comparison]:
    """Compare the first side with each of the others, measuring each once by each network, with its arguments."""
    with in_step(arguments[0].distributed):
        opened = [open_sides(sides, of_network) for of_network in arguments]
        compared = [compare_sides(of_network, names) for of_network in opened]
    return [_united(of_networks) for of_networks in zip(*compared, strict=True)]


def compare_sides(sides: Sides, names: Sequence[str]) -> list[Comparison]:
    """Compare the first side with each of the others, which ``names`` call, by one network."""
    arguments = sides.arguments
    with without_numba(sides.is_small):
        first = sides.measured(0)
        return [
            replace(
                compare_measured(
                    first,
                    sides.measured(k),
                    arguments.neuron_weights,
                    sides.distances,
                    arguments.confidence,
                    sides.plans,
                    bool(arguments.pairs),
                    (names[0], name),
                ),
                changes=sides.changes,
            )
            for k, name in enumerate(names[1:], 1)
        ]


def _united(comparisons: Sequence[Comparison]) -> Comparison:
    """Add the distances of other networks to the comparison of the first one."""
    first, *others = comparisons
    if not others:
        return first
    results = {name: result for comparison in comparisons for name, result in comparison.items()}
    notices = dict.fromkeys(notice for comparison in comparisons for notice in comparison.notices)
    return replace(first, results=results, notices=list(notices))
