"""Make DNAs of image sets, and compare them."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any, get_args

from torchmetrics_dna.dna import DNA
from torchmetrics_dna.dna.changes import ChangeDictionary, changes_for
from torchmetrics_dna.dna.distances import Kind, kinds_for, resolve_distances
from torchmetrics_dna.dna.evidence import NUM_FOLDS, check_confidence
from torchmetrics_dna.dna.fid_statistics import is_unnamed, named
from torchmetrics_dna.dna.layer_unions import Plan, plan_for
from torchmetrics_dna.dna.load import is_dna_path, load_dna
from torchmetrics_dna.dna.names import resolve_names
from torchmetrics_dna.dna.neuron_weights import NeuronWeights, resolve_weights
from torchmetrics_dna.extractors import PRESETS
from torchmetrics_dna.extractors.without_properties import network_of
from torchmetrics_dna.images import ImageSource, ImageStream
from torchmetrics_dna.images.base import by_number, left_out_in_words
from torchmetrics_dna.images.sources import check_used
from torchmetrics_dna.sets.compare_measured import compare_measured
from torchmetrics_dna.sets.elsewhere import check_elsewhere
from torchmetrics_dna.sets.features import Features, PerImage
from torchmetrics_dna.sets.loading import Loading, SetOptions
from torchmetrics_dna.sets.measure import Measured, measure
from torchmetrics_dna.sets.processes import in_step
from torchmetrics_dna.tally.folds import check_num_folds
from torchmetrics_dna.tally.resolve import check_of_dnas, device_for, resolve

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence

    import torch
    from torch import Tensor
    from typing_extensions import Unpack

    from torchmetrics_dna.dna.distances import Distance
    from torchmetrics_dna.dna.names import GivenNames
    from torchmetrics_dna.extractors import DNAExtractor
    from torchmetrics_dna.images import Images, Source
    from torchmetrics_dna.neurons.index import Neurons
    from torchmetrics_dna.neurons.ranges import ActivationRanges
    from torchmetrics_dna.sets.comparison import Comparison
    from torchmetrics_dna.sets.groups import Groups
    from torchmetrics_dna.tally.resolve import Feature


def make_dna(
    source: Source,
    feature: Feature | None = None,
    *,
    kind: Kind = "histogram",
    layers: Sequence[str] | None = None,
    num_bins: int | None = None,
    ranges: ActivationRanges | str | os.PathLike[str] | None = None,
    num_folds: int | None = None,
    groups: Groups | None = None,
    device: str | torch.device | None = None,
    **options: Unpack[SetOptions],
) -> DNA:
    """Make the DNA of an image set (section 3.2 of the paper).

    Args:
        source: A folder, a file of images (zip, tar, Parquet, array, list, video), an address or a pattern of these,
            a dataset, images in memory, or what gives them one after the other; see :func:`open_source`.
        feature: What describes the images; see :class:`DNAExtractor`, which may be given itself.
        kind: ``"histogram"``, ``"gaussian"`` or ``"layer-gaussian"``.
        layers: Which layers, if ``feature`` is not an extractor.
        num_bins: Bins of each neuron's histogram; 1000 by default.
        ranges: Activation ranges, the path of a file of them, or ``"auto"`` for histograms that find their own; by
            default those packaged with the extractor, or else ``"auto"``.
        num_folds: Keep so many folds of images apart, at least 5, such as 20: so that :func:`compare` can test.
        groups: Which images share a fold; see :func:`group_names`.
        device: Where the network runs. Default: where a given extractor is, else CUDA if there is one.
        options: How images are read: ``batch_size``, ``num_workers``, ``exif_orientation``, ``column``, ``fps``,
            ``skip_unreadable``, ``progress``, ``distributed``, ``engine``, see :class:`Loading`; and of a named feature
            ``weights_path``, ``crop``, ``properties`` and ``projections``, see :class:`DNAExtractor`.

    Returns:
        A :class:`HistogramDNA`, :class:`GaussianDNA` or :class:`LayerGaussianDNA`, on the CPU.

    Raises:
        ValueError: If an argument is wrong, there are no images, or one can't be read.

    Example:
        >>> import numpy as np
        >>> make_dna([np.zeros((40, 50, 3), np.uint8)], layers=["head"])
        HistogramDNA(1 images, 'efficientnet_lite0', 1000 bins, Neurons(1280 in 1 layers: head 1280), ranges \
efficientnet_lite0)

    """
    loading, settings = Loading.of("make_dna", options)
    with in_step(loading.distributed):
        if kind not in get_args(Kind):
            raise ValueError(f"Argument `kind` expected to be one of {get_args(Kind)}, but got {kind!r}")
        where = device_for(feature, device)
        way = resolve(feature, layers, num_bins, ranges, histograms=kind == "histogram", device=where, **settings)
        images = loading.open(source)
        check_used(loading.reading, images)
        measured = measure(images, way.extractor, [kind], way.num_bins, way.ranges, loading, num_folds, groups)
    if left_out := measured.unreadable:
        warnings.warn(f"{left_out_in_words(left_out)}, the first: {left_out[0]}", stacklevel=2)
    return measured.any


def compare(
    a: Source | DNA,
    b: Source | DNA,
    feature: Feature | None = None,
    *,
    metrics: Sequence[str] | None = None,
    layers: Sequence[str] | None = None,
    num_bins: int | None = None,
    ranges: ActivationRanges | str | os.PathLike[str] | None = None,
    neuron_weights: NeuronWeights | Tensor | str | os.PathLike[str] | None = None,
    neuron_names: GivenNames | None = None,
    changes: ChangeDictionary | str | os.PathLike[str] | None = None,
    confidence: float = 0.95,
    num_folds: int = NUM_FOLDS,
    groups: Groups | tuple[Groups, Groups] | None = None,
    device: str | torch.device | None = None,
    **options: Unpack[SetOptions],
) -> Comparison:
    """Measure how far two image sets are apart: by dna-emd and dna-fd, or by the distances in ``metrics``.

    Args:
        a: Images, see :func:`make_dna`; or a DNA, or the path of one as :func:`load_dna` takes it, whose kind,
            extractor, layers, bins and ranges then hold for ``b``.
        b: Likewise.
        feature: What describes the images; see :class:`DNAExtractor`, which may be given itself.
        metrics: Any of ``"dna-emd"``, ``"dna-fd"``, ``"fd"``, ``"kid"``, ``"mind"`` and ``"cmmd"``, all from one pass
            over the images. By default the first two, or what the DNAs that are given allow. The last three are of the
            last layer's spatial means, which are kept for them, ``(images, n)`` in float32; for evidence of fd, those
            of all layers are.
        layers: Which layers, if ``feature`` is not an extractor; also which to take of a DNA.
        num_bins: Bins of each neuron's histogram; 1000 by default.
        ranges: Activation ranges, the path of a file of them, or ``"auto"`` for histograms that find their own; by
            default those packaged with the extractor, or else ``"auto"``.
        neuron_weights: Weights of Eq. (5): :class:`NeuronWeights`, the path of a file of them, or shape ``(N,)``; by
            default the plain mean.
        neuron_names: What to call neurons where they are shown: ``{layer: {number: text}}``, or the path of a json
            file of it.
        changes: What named changes of images, such as blur, do to the neurons, from :func:`make_changes`, or the path
            of a file of it, for :meth:`Comparison.explain`; by default what is packaged with the extractor, if any.
        confidence: Level of the confidence intervals.
        num_folds: Folds of images that are kept apart, from which follow the debiased distances, intervals, and tests
            of whether distances are more than noise; at least 5, or 0 for none. An image's fold goes by
            its pixels, as in :class:`DNAEMD`; tests need images in at least 5 folds. A DNA has the folds of its file,
            or none: then it is taken as exact, and there is no test.
        groups: Which images belong together (frames of a clip, crops of a picture) and share a fold: ``"folder"``,
            ``"prefix:REGEX"``, a function of an image's name, or a pair of sequences, a group for each image of A and
            of B; see :func:`group_names`.
        device: Where the network runs. Default: where a given extractor is, else CUDA if there is one.
        options: As for :func:`make_dna`.

    Raises:
        ValueError: If an argument is wrong, there are no images, one can't be read, two DNAs do not fit together, or a
            DNA does not have what a distance takes.
        RuntimeError: If a side has but one image, unless dna-emd is among the distances.

    Example:
        >>> import numpy as np
        >>> black, white = np.zeros((2, 40, 50, 3), np.uint8), np.full((2, 40, 50, 3), 255, np.uint8)
        >>> result = compare(black, white, layers=["block_0", "head"])
        >>> result.dna_emd > 1, result.num_images
        (True, {'a': 2, 'b': 2})

    """
    given = feature, metrics, layers, num_bins, ranges, neuron_weights, neuron_names, changes, confidence, num_folds
    return compare_sides("compare", (a, b), *given, groups, device, options)[0]


def compare_sides(
    function: str,
    sides: Sequence[Source | DNA],
    feature: Feature | None,
    metrics: Sequence[str] | None,
    layers: Sequence[str] | None,
    num_bins: int | None,
    ranges: ActivationRanges | str | os.PathLike[str] | None,
    neuron_weights: NeuronWeights | Tensor | str | os.PathLike[str] | None,
    neuron_names: GivenNames | None,
    changes: ChangeDictionary | str | os.PathLike[str] | None,
    confidence: float,
    num_folds: int,
    groups: Groups | tuple[Groups, ...] | None,
    device: str | torch.device | None,
    options: SetOptions,
) -> list[Comparison]:
    """Compare the first side with each of the others in turn, each measured once; arguments as for :func:`compare`."""
    loading, settings = Loading.of(function, options)
    with in_step(loading.distributed):
        # all are opened before one is measured, so that a mistake in the last does not cost the time that others take
        opened = _open_sides(sides, layers, ranges, loading)
        given, plan = [side for side in opened if isinstance(side, DNA)], None
        distances = resolve_distances(metrics, given)
        _check_certainty(confidence, num_folds)
        if len(given) == len(opened):
            check_of_dnas(given, feature, num_bins, settings)
            words = _words(neuron_names, changes, given[0])
            measured: Iterator[Measured] = map(_as_measured, given)
        else:
            kinds, settings["device"] = kinds_for(distances), device_for(feature, device)
            way = resolve(feature, layers, num_bins, ranges, given, histograms="histogram" in kinds, **settings)
            resolve_weights(neuron_weights, way.extractor.neurons, way.extractor.name, way.extractor.weights_digest)
            words = _words(neuron_names, changes, way.extractor)
            if loading.engine is None:  # which keeps nothing of single images
                plan = _plan_for_fd(opened, distances, way.extractor.neurons, num_folds, neuron_weights is None)
            given_for, known = (way.num_bins, way.ranges, loading, num_folds or None), iter(way.dnas)
            measured = (
                _as_measured(next(known))
                if isinstance(side, DNA)
                else measure(side, way.extractor, kinds, *given_for, grouped, _kept_for(distances, plan))
                for side, grouped in zip(opened, _groups_of_sides(groups, len(opened)), strict=True)
            )
        first = next(measured)
        asked = neuron_weights, distances, confidence, plan
        return [replace(compare_measured(first, other, *asked), **words) for other in measured]


def _check_certainty(confidence: float, num_folds: int) -> None:
    check_confidence(confidence)
    if num_folds:
        check_num_folds(num_folds)


def _words(
    names: GivenNames | None, changes: ChangeDictionary | str | os.PathLike[str] | None, of: DNA | DNAExtractor
) -> dict[str, Any]:
    """Names of neurons and changes of images, checked; names of a preset's other layers are left out."""
    extractor = of.extractor if isinstance(of, DNA) else of.name
    others = PRESETS[extractor].neurons if extractor in PRESETS else None
    return {
        "neuron_names": resolve_names(names, of.neurons, others),
        "changes": changes_for(changes, extractor, of.weights_digest),
    }


def _plan_for_fd(
    sides: Sequence[Images | DNA], distances: Sequence[Distance], neurons: Neurons, num_folds: int, split: bool
) -> Plan | None:
    """What can be said of fd; None where it is not asked for, or a side has no single images or no folds."""
    sizes = [_count(side) for side in sides if not isinstance(side, DNA)]
    if not any(record.by_image for record in distances) or not num_folds or len(sizes) < len(sides):
        return None
    neurons = (split and network_of(neurons)) or neurons
    known = [size for size in sizes if size is not None]
    if len(known) < len(sizes):
        return Plan(
            False, (), ("fd has no test and no value without noise here, since a stream does not say how long it is",)
        )
    return plan_for(neurons, known, num_folds)


def _count(images: Images) -> int | None:
    return images.count if isinstance(images, ImageStream) else len(images)


def _kept_for(distances: Sequence[Distance], plan: Plan | None) -> dict[str, PerImage]:
    """What distances take of single images."""
    kept: dict[str, PerImage] = {}
    if any(not record.kinds for record in distances):
        kept["features"] = Features()
    if plan is not None and plan.anything:
        kept["means"] = Features(all_layers=True)
    return kept


def _groups_of_sides(groups: Groups | tuple[Groups, ...] | None, count: int) -> Sequence[Groups | None]:
    if groups is None or isinstance(groups, str) or callable(groups):
        return [groups] * count
    if isinstance(groups, tuple) and len(groups) == count:
        return groups
    raise ValueError(
        f"Argument `groups` expected to be a tuple of {count} sequences, one for each side, but got another"
    )


def open_side(
    side: Source | DNA,
    layers: Sequence[str] | None = None,
    ranges: ActivationRanges | str | os.PathLike[str] | None = None,
    loading: Loading | None = None,
) -> Images | DNA:
    """Open one side of a comparison: images, or a DNA, from which ``layers`` are selected."""
    if is_dna_path(side):
        side = load_dna(side, None if ranges == "auto" else ranges)
    if isinstance(side, DNA):
        return side if layers is None or is_unnamed(side) else side.select(layers)
    return (loading or Loading()).open(side)


def _open_sides(
    sides: Sequence[Source | DNA],
    layers: Sequence[str] | None,
    ranges: ActivationRanges | str | os.PathLike[str] | None,
    loading: Loading,
) -> list[Images | DNA]:
    opened = [open_side(side, layers, ranges, loading) for side in sides]
    known = next((side for side in opened if isinstance(side, DNA) and not is_unnamed(side)), None)
    if known is not None:
        origin = {"extractor": known.extractor, "weights_digest": known.weights_digest}
        opened = [named(side, known.neurons, **origin) if isinstance(side, DNA) else side for side in opened]
    check_used(loading.reading, *opened)
    for side in opened if loading.engine is not None else ():
        if not isinstance(side, DNA):
            check_elsewhere(side)
    return opened


def open_indexed_sides(
    sides: Sequence[Source | DNA],
    what: str,
    layers: Sequence[str] | None = None,
    ranges: ActivationRanges | str | os.PathLike[str] | None = None,
    loading: Loading | None = None,
) -> list[ImageSource | DNA]:
    """Likewise, all sides, for what takes images by number, such as "A report"; ValueError if one is a stream."""
    found = list[ImageSource | DNA]()
    for opened in _open_sides(sides, layers, ranges, loading or Loading()):
        if isinstance(opened, ImageStream):
            raise ValueError(by_number(opened, what))
        found.append(opened)
    return found


def _as_measured(dna: DNA) -> Measured:
    return Measured({dna.kind: dna}, [])
