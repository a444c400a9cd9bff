"""Image sets in, DNAs and distances out."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast, get_args

import torch
from torch import Tensor, nn

from torchmetrics_dna.dna import DNA, HistogramDNA, LayerGaussianDNA
from torchmetrics_dna.dna_files import is_dna_path, load_dna
from torchmetrics_dna.extractors import DNAExtractor
from torchmetrics_dna.functional.reduction import check_weights, weigh_and_reduce
from torchmetrics_dna.images import open_source
from torchmetrics_dna.measure import Kind, Loading, LoadingOptions, Measured, measure
from torchmetrics_dna.reference import DEFAULT_BINS, DEFAULT_FEATURE, extractor_of

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from typing_extensions import Unpack

    from torchmetrics_dna.images import ImageSource, Source
    from torchmetrics_dna.neurons import Neurons
    from torchmetrics_dna.ranges import ActivationRanges

Feature = str | nn.Module | DNAExtractor


@dataclass(frozen=True, repr=False)
class Comparison:
    """How far two image sets A and B are apart, and where.

    Attributes:
        neurons: The neurons, in the order of the tensors below.
        neuron_emd: Earth Mover's Distance of each neuron, in bins, shape ``(N,)``; None without histograms.
        neuron_frechet: Fréchet distance of each neuron, in squared activations; None without Gaussians or
            with only one image on a side.
        layer_frechet: Multivariate Fréchet distance (fd) of each layer, in squared activations; None without
            Gaussians of layers.
        num_images: Images of ``a`` and of ``b``.
        extractor: Name of the extractor.
        num_bins: Bins of the histograms, or None.
        ranges: Name or digest of the activation ranges, or None.
        neuron_weights: The weights of Eq. (5), or None for the plain mean.
        unreadable: One line for each image that was left out.

    """

    neurons: Neurons
    neuron_emd: Tensor | None
    neuron_frechet: Tensor | None
    layer_frechet: Tensor | None
    num_images: dict[str, int]
    extractor: str
    num_bins: int | None = None
    ranges: str | None = None
    neuron_weights: Tensor | None = None
    unreadable: list[str] = field(default_factory=list)

    @property
    def dna_emd(self) -> float | None:
        """Earth Mover's Distance over all neurons (dna-emd), in bins."""
        return self._figure(self.neuron_emd)

    @property
    def dna_frechet(self) -> float | None:
        """1-D Fréchet distance over all neurons (dna-fd), in squared activations."""
        return self._figure(self.neuron_frechet)

    @property
    def fd(self) -> float | None:
        """Fréchet distance (fd), the mean over layers, in squared activations."""
        return None if self.layer_frechet is None else float(self.layer_frechet.mean())

    @property
    def layers(self) -> dict[str, dict[str, float | None]]:
        """The distances of each layer."""
        return {
            layer: {
                "dna_emd": self._figure(self.neuron_emd, where),
                "dna_frechet": self._figure(self.neuron_frechet, where),
                "fd": None if self.layer_frechet is None else float(self.layer_frechet[i]),
            }
            for i, (layer, where) in enumerate(self.neurons.slices.items())
        }

    def top_neurons(self, k: int = 10) -> list[dict[str, Any]]:
        """The k neurons that differ most, by dna-emd where there is one, each with its layer, number and distances."""
        by = self.neuron_emd if self.neuron_emd is not None else self.neuron_frechet
        if by is None:
            return []
        top = by.topk(min(k, len(by))).indices.tolist()
        return [
            {
                **dict(zip(("layer", "neuron"), self.neurons.locate(i), strict=True)),
                "dna_emd": None if self.neuron_emd is None else float(self.neuron_emd[i]),
                "dna_frechet": None if self.neuron_frechet is None else float(self.neuron_frechet[i]),
            }
            for i in top
        ]

    def to_dict(self) -> dict[str, Any]:
        """Everything but the per-neuron tensors, in plain types, ready for json."""
        return {
            "dna_emd": self.dna_emd,
            "dna_frechet": self.dna_frechet,
            "fd": self.fd,
            "layers": self.layers,
            "top_neurons": self.top_neurons(),
            "num_images": self.num_images,
            "extractor": self.extractor,
            "num_bins": self.num_bins,
            "ranges": self.ranges,
            "unreadable": self.unreadable,
        }

    def _figure(self, distances: Tensor | None, where: slice = slice(None)) -> float | None:
        if distances is None:
            return None
        return float(weigh_and_reduce(distances, self.neuron_weights, "none")[where].mean())

    def __repr__(self) -> str:
        return (
            f"Comparison(dna_emd={self.dna_emd}, dna_frechet={self.dna_frechet}, fd={self.fd},"
            f" num_images={self.num_images}, extractor={self.extractor!r})"
        )


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
    if kind not in get_args(Kind):
        raise ValueError(f"Argument `kind` expected to be one of {get_args(Kind)}, but got {kind!r}")
    extractor = _extractor(feature, layers, device)
    measured = measure(source, extractor, [kind], num_bins, ranges, Loading(**loading))
    if measured.unreadable:
        warnings.warn(
            f"{len(measured.unreadable)} images were left out, the first: {measured.unreadable[0]}", stacklevel=2
        )
    return measured.any


def compare(
    a: Source | DNA,
    b: Source | DNA,
    feature: Feature | None = None,
    *,
    layers: Sequence[str] | None = None,
    num_bins: int | None = None,
    ranges: ActivationRanges | str | os.PathLike[str] | None = None,
    neuron_weights: Tensor | None = None,
    device: str | torch.device | None = None,
    **loading: Unpack[LoadingOptions],
) -> Comparison:
    """How far two image sets are apart, by dna-emd and dna-fd.

    Args:
        a: Images, see :func:`make_dna`; or a DNA, or the path of one as :func:`load_dna` takes it, whose kind,
            extractor, layers, bins and ranges then hold for ``b``.
        b: Likewise.
        feature: What describes the images; see :class:`DNAExtractor`, which may be given itself.
        layers: Which layers, if ``feature`` is not an extractor; also which to take of a DNA.
        num_bins: Bins of each neuron's histogram; 1000 by default.
        ranges: Activation ranges, the path of a file of them, or ``"auto"`` for histograms that find their own; by
            default those packaged with the extractor, or else ``"auto"``.
        neuron_weights: Weights of Eq. (5), shape ``(N,)``; by default the plain mean.
        device: Where the network runs. Default: where a given extractor is, else CUDA if there is one.
        loading: As for :func:`make_dna`.

    Raises:
        ValueError: If an argument is wrong, there are no images, one can't be read, or two DNAs do not fit together.

    Example:
        >>> import numpy as np
        >>> black, white = np.zeros((2, 40, 50, 3), np.uint8), np.full((2, 40, 50, 3), 255, np.uint8)
        >>> result = compare(black, white, layers=["block_0", "head"])
        >>> result.dna_emd > 1, result.num_images
        (True, {'a': 2, 'b': 2})

    """
    options = Loading(**loading)
    # both are opened before either is measured, so that a mistake in b does not cost the time that a takes
    opened = [open_side(side, layers, ranges, options.exif_orientation) for side in (a, b)]
    given = [side for side in opened if isinstance(side, DNA)]
    if len(given) == len(opened):
        return compare_measured(_as_measured(given[0]), _as_measured(given[1]), neuron_weights)
    kinds: Sequence[Kind] = ("histogram", "gaussian")
    for dna in given:
        kinds = [cast("Kind", dna.kind)]
        if feature is None:
            feature, layers = extractor_of(dna), None
        elif not isinstance(feature, DNAExtractor):
            layers = list(dna.neurons)
        if isinstance(dna, HistogramDNA):
            num_bins, ranges = num_bins or dna.num_bins, ranges or dna.known_ranges
    extractor = _extractor(feature or DEFAULT_FEATURE, layers, device)
    if neuron_weights is not None:
        check_weights(neuron_weights, extractor.neurons.total)
    bins = DEFAULT_BINS if num_bins is None else num_bins
    first, second = (
        _as_measured(side) if isinstance(side, DNA) else measure(side, extractor, kinds, bins, ranges, options)
        for side in opened
    )
    return compare_measured(first, second, neuron_weights)


def _as_measured(dna: DNA) -> Measured:
    return Measured({dna.kind: dna}, [])


def compare_measured(a: Measured, b: Measured, neuron_weights: Tensor | None = None) -> Comparison:
    """As :func:`compare`, for two sets that were measured before.

    Raises:
        ValueError: If they have no kind of DNA in common, or do not fit together.

    """
    common: dict[str, tuple[DNA, DNA]] = {}
    for kind in get_args(Kind):
        one, other = _of_kind(a, kind), _of_kind(b, kind)
        if one is not None and other is not None:
            common[kind] = (one, other)
    if not common:
        raise ValueError(f"Can't compare a {a.any.kind} DNA with a {b.any.kind} DNA; make both of one kind")
    found: dict[str, Tensor] = {}
    for kind, (one, other) in common.items():
        # one image has no variance, and that is no reason to withhold the other distance
        if "histogram" not in found or min(one.num_images, other.num_images) > 1:
            found[kind] = one.distances(other)
    dna, histogram = a.any, a.dnas.get("histogram")
    weights = None if neuron_weights is None else check_weights(neuron_weights, dna.neurons.total)
    return Comparison(
        dna.neurons,
        found.get("histogram"),
        found.get("gaussian"),
        found.get("layer-gaussian"),
        {"a": a.any.num_images, "b": b.any.num_images},
        dna.extractor,
        histogram.num_bins if isinstance(histogram, HistogramDNA) else None,
        histogram.ranges.label if isinstance(histogram, HistogramDNA) and histogram.ranges else None,
        weights,
        a.unreadable + b.unreadable,
    )


def _of_kind(measured: Measured, kind: str) -> DNA | None:
    """The DNA of a kind; variances are the diagonals of covariances."""
    layers = measured.dnas.get("layer-gaussian")
    if kind == "gaussian" and isinstance(layers, LayerGaussianDNA):
        return measured.dnas.get(kind, layers.to_gaussian())
    return measured.dnas.get(kind)


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


def _extractor(feature: Feature, layers: Sequence[str] | None, device: str | torch.device | None) -> DNAExtractor:
    if isinstance(feature, DNAExtractor):
        if layers is not None:
            raise ValueError("Argument `layers` goes with a named feature; give the layers to the DNAExtractor")
        return feature if device is None else feature.to(device)
    return DNAExtractor(feature, layers=layers).to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
