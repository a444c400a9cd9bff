"""Image sets in, DNAs and distances out."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, get_args

import torch
from torch import Tensor, nn

from torchmetrics_dna.dna import DNA, HistogramDNA
from torchmetrics_dna.dna.jackknife import check_confidence
from torchmetrics_dna.dna.load import is_dna_path, load_dna
from torchmetrics_dna.dna.neuron_weights import NeuronWeights, resolve_weights
from torchmetrics_dna.extractors import DNAExtractor
from torchmetrics_dna.images import open_source
from torchmetrics_dna.metrics.reference import DEFAULT_BINS, DEFAULT_FEATURE, extractor_of
from torchmetrics_dna.sets.comparison import Comparison, compare_measured, with_interval
from torchmetrics_dna.sets.distances import kinds_for, resolve_distances
from torchmetrics_dna.sets.measure import Kind, Loading, LoadingOptions, Measured, measure
from torchmetrics_dna.sets.processes import in_step

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from typing_extensions import Unpack

    from torchmetrics_dna.images import ImageSource, Source
    from torchmetrics_dna.neurons.ranges import ActivationRanges

Feature = str | nn.Module | DNAExtractor
NUM_FOLDS = 10  # of a confidence interval


def make_dna(
    source: Source,
    feature: Feature = DEFAULT_FEATURE,
    *,
    kind: Kind = "histogram",
    layers: Sequence[str] | None = None,
    num_bins: int = DEFAULT_BINS,
    ranges: ActivationRanges | str | os.PathLike[str] | None = None,
    device: str | torch.device | None = None,
    **loading: Unpack[LoadingOptions],
) -> DNA:
    """The DNA of an image set (section 3.2 of the paper).

    Args:
        source: A folder, zip, list file, image file, or images in memory; see :func:`open_source`.
        feature: What describes the images; see :class:`DNAExtractor`, which may be given itself.
        kind: ``"histogram"``, ``"gaussian"`` or ``"layer-gaussian"``.
        layers: Which layers, if ``feature`` is not an extractor.
        num_bins: Bins of each neuron's histogram.
        ranges: Activation ranges, the path of a file of them, or ``"auto"`` for histograms that find their own; by
            default those packaged with the extractor, or else ``"auto"``.
        device: Where the network runs. Default: where a given extractor is, else CUDA if there is one.
        loading: ``batch_size``, ``num_workers``, ``exif_orientation``, ``skip_unreadable``, ``progress``,
            ``distributed``; see
            :class:`Loading`.

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
    options = Loading.of("make_dna", loading)
    with in_step(options.distributed):
        if kind not in get_args(Kind):
            raise ValueError(f"Argument `kind` expected to be one of {get_args(Kind)}, but got {kind!r}")
        measured = measure(source, build_extractor(feature, layers, device), [kind], num_bins, ranges, options)
    if left_out := measured.unreadable:
        were = "1 image was" if len(left_out) == 1 else f"{len(left_out)} images were"
        warnings.warn(f"{were} left out, the first: {left_out[0]}", stacklevel=2)
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
    confidence: float | None = None,
    device: str | torch.device | None = None,
    **loading: Unpack[LoadingOptions],
) -> Comparison:
    """How far two image sets are apart, by dna-emd and dna-fd, or by the distances that are asked for.

    Args:
        a: Images, see :func:`make_dna`; or a DNA, or the path of one as :func:`load_dna` takes it, whose kind,
            extractor, layers, bins and ranges then hold for ``b``.
        b: Likewise.
        feature: What describes the images; see :class:`DNAExtractor`, which may be given itself.
        metrics: Any of ``"dna-emd"``, ``"dna-fd"``, ``"fd"`` and ``"kid"``, all from one pass over the images. By
            default the first two, or what the DNAs that are given allow. kid is of the last layer's spatial means,
            which are kept for it, ``(images, n)`` in float32.
        layers: Which layers, if ``feature`` is not an extractor; also which to take of a DNA.
        num_bins: Bins of each neuron's histogram; 1000 by default.
        ranges: Activation ranges, the path of a file of them, or ``"auto"`` for histograms that find their own; by
            default those packaged with the extractor, or else ``"auto"``.
        neuron_weights: Weights of Eq. (5): :class:`NeuronWeights`, the path of a file of them, or shape ``(N,)``; by
            default the plain mean.
        confidence: Give a confidence interval of dna-emd, such as 0.95, and the noise floor. The images are kept
            apart in 10 folds for that, by their pixels as in :class:`DNAEMD`. At least 5 must hold images, as with 20
            images a side they do. A side that is a DNA is taken for exact.
        device: Where the network runs. Default: where a given extractor is, else CUDA if there is one.
        loading: As for :func:`make_dna`.

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
    options = Loading.of("compare", loading)
    with in_step(options.distributed):
        # both are opened before either is measured, so that a mistake in b does not cost the time that a takes
        opened = [open_side(side, layers, ranges, options.exif_orientation) for side in (a, b)]
        given = [side for side in opened if isinstance(side, DNA)]
        _check_bins(num_bins, given)
        distances = resolve_distances(metrics, given)
        if confidence is not None:
            _check_interval(confidence, distances, any_images=len(given) < len(opened))
        if len(given) == len(opened):
            return compare_measured(_as_measured(given[0]), _as_measured(given[1]), neuron_weights, distances)
        for dna in given:
            if isinstance(dna, HistogramDNA):
                num_bins, ranges = dna.num_bins, ranges or dna.known_ranges
        extractor = extractor_for(given, feature, layers, device)
        resolve_weights(neuron_weights, extractor.neurons, extractor.name, extractor.weights)  # before time is spent
        bins = DEFAULT_BINS if num_bins is None else num_bins
        folds = None if confidence is None else NUM_FOLDS
        first, second = (
            _as_measured(side)
            if isinstance(side, DNA)
            else measure(side, extractor, kinds_for(distances), bins, ranges, options, folds, "kid" in distances)
            for side in opened
        )
        found = compare_measured(first, second, neuron_weights, distances)
        return found if confidence is None else with_interval(found, confidence)


def _check_bins(num_bins: int | None, dnas: Sequence[DNA]) -> None:
    """ValueError unless histograms that are given have as many bins as are asked for."""
    for dna in dnas:
        if num_bins is not None and isinstance(dna, HistogramDNA) and dna.num_bins != num_bins:
            raise ValueError(
                f"These DNAs can't be compared, their numbers of bins differ: {dna.num_bins} and {num_bins}; leave out"
                " `num_bins`, which then is that of the DNA"
            )


def _check_interval(confidence: float, distances: Sequence[str], any_images: bool) -> None:
    """ValueError unless a confidence interval can be given."""
    check_confidence(confidence)
    if "dna-emd" not in distances:
        raise ValueError(f"Argument `confidence` is for dna-emd, but got {', '.join(distances)}; add it to `metrics`")
    if not any_images:
        raise ValueError("Argument `confidence` takes images on a side at least; DNA files don't tell them apart")


def open_side(
    side: Source | DNA,
    layers: Sequence[str] | None = None,
    ranges: ActivationRanges | str | os.PathLike[str] | None = None,
    exif_orientation: bool = False,
) -> ImageSource | DNA:
    """What one side of a comparison is: images, or a DNA, of which ``layers`` are taken."""
    if is_dna_path(side):
        side = load_dna(side, None if ranges == "auto" else ranges)
    if isinstance(side, DNA):
        return side if layers is None else side.select(layers)
    return open_source(side, exif_orientation)


def extractor_for(
    dnas: Sequence[DNA],
    feature: Feature | None,
    layers: Sequence[str] | None = None,
    device: str | torch.device | None = None,
) -> DNAExtractor:
    """The extractor with which images can be compared with some DNAs, on its device; theirs unless one is given."""
    for dna in dnas:
        if feature is None:
            feature, layers = extractor_of(dna), None
        elif not isinstance(feature, DNAExtractor):
            layers = list(dna.neurons)
    return build_extractor(feature or DEFAULT_FEATURE, layers, device)


def build_extractor(feature: Feature, layers: Sequence[str] | None, device: str | torch.device | None) -> DNAExtractor:
    """The extractor of arguments ``feature``, ``layers`` and ``device``, on its device."""
    if isinstance(feature, DNAExtractor):
        if layers is not None:
            raise ValueError("Argument `layers` goes with a named feature; give the layers to the DNAExtractor")
        return feature if device is None else feature.to(device)
    return DNAExtractor(feature, layers=layers).to(device or ("cuda" if torch.cuda.is_available() else "cpu"))


def _as_measured(dna: DNA) -> Measured:
    return Measured({dna.kind: dna}, [])
