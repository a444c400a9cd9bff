"""Choose the extractor, bins and ranges for counting images, from the arguments and from DNAs to compare with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn

from torchmetrics_dna.binning.histogram import check_num_bins
from torchmetrics_dna.dna import DNA, HistogramDNA
from torchmetrics_dna.dna.fid_statistics import FEATURE, is_unnamed, named
from torchmetrics_dna.dna.identity import Identity, check_same
from torchmetrics_dna.extractors import DNAExtractor
from torchmetrics_dna.images.properties import VERSION
from torchmetrics_dna.images.resize import RESIZES
from torchmetrics_dna.neurons.ranges import ActivationRanges, Ranges
from torchmetrics_dna.options import argument, written
from torchmetrics_dna.statistics.histogram import HistogramStatistic, SelfRangingStatistic
from torchmetrics_dna.statistics.moments import CrossMomentStatistic, MomentStatistic

if TYPE_CHECKING:
    from torchmetrics_dna.dna.distances import Kind
    from torchmetrics_dna.dna.features import Features
    from torchmetrics_dna.statistics.base import DNAStatistic

# A dict has the arguments of an extractor that is built later.
Feature = str | nn.Module | DNAExtractor | dict[str, Any]
DEFAULT_FEATURE = "efficientnet_lite0"
# Number of bins of each histogram, as in the paper.
DEFAULT_BINS = 1000
# Arguments of DNAExtractor that are part of a preparation.
_ARGUMENTS = ("resize", "input_size", "crop", "mean", "std", "dtype", "channels")


class Setup(NamedTuple):
    """Extractor, bins and ranges that images are counted with, and the DNAs that they are compared with.

    Attributes:
        extractor: The extractor.
        num_bins: Number of bins of histograms.
        ranges: Activation ranges of histograms; ``"auto"`` for histograms that determine their own.
        dnas: The DNAs, of the extractor's layers in their order.

    """

    extractor: DNAExtractor
    num_bins: int
    ranges: ActivationRanges | str
    dnas: tuple[DNA, ...]

    def statistic(self, kind: Kind, num_folds: int | None = None) -> DNAStatistic[Any]:
        """Return the statistic of DNAs of a representation; histograms have these bins and ranges."""
        if kind == "gaussian":
            return MomentStatistic(self.extractor, num_folds)
        if kind == "layer-gaussian":
            return CrossMomentStatistic(self.extractor, num_folds=num_folds)
        if isinstance(self.ranges, str):
            return SelfRangingStatistic(self.extractor, self.num_bins, num_folds)
        return HistogramStatistic(self.extractor, self.num_bins, self.ranges, num_folds)


def set_up(
    feature: Feature | None,
    layers: Sequence[str] | None = None,
    num_bins: int | None = None,
    ranges: Ranges = None,
    dnas: Sequence[DNA] = (),
    *,
    histograms: bool = True,
    to_gpu: bool = False,
    with_properties: bool = False,
) -> Setup:
    """Build an extractor with its network, and choose bins and ranges, for metrics, functions and commands.

    A given argument is used. If it contradicts a DNA, an error reports both values. Other values follow from the DNAs,
    or are defaults.

    Args:
        feature: A name, a module, an extractor, or a dict of its arguments; by default that of the DNAs, else
            ``efficientnet_lite0``.
        layers: Names of the layers, in order; not with an extractor, which has its own.
        num_bins: Bins of each neuron's histogram; by default those of the DNAs, else 1000.
        ranges: Activation ranges, the path of a file of them, or ``"auto"``; by default those of the DNAs, else those
            packaged with the extractor, else ``"auto"``.
        dnas: DNAs that images are to be compared with.
        histograms: Whether histograms are made; if not, default ranges are not loaded.
        to_gpu: Move a named network to CUDA, if there is a GPU, unless a device is given.
        with_properties: Measure properties of images, too, unless the feature says otherwise.

    Raises:
        TypeError: If an argument has a wrong type.
        ValueError: If an argument has a wrong value, or two don't fit together.

    """
    bins = _agree_on_bins(num_bins, dnas)
    named_dnas = [dna for dna in dnas if not is_unnamed(dna)]
    # Statistics of an unnamed network are taken as those of FID.
    default = FEATURE if dnas and not named_dnas else DEFAULT_FEATURE
    extractor = _extractor(feature, layers, named_dnas, default, to_gpu)
    if with_properties:
        extractor = extractor.with_properties()
    origin = {"extractor": extractor.name, "weights_digest": extractor.weights_digest}
    dnas = [named(dna, extractor.neurons, **origin) for dna in dnas]
    for dna in dnas:
        check_made_by(dna, extractor)
    dnas = [dna.restrict(extractor.neurons) for dna in dnas]
    given_ranges: ActivationRanges | str | None = None
    if ranges is not None:
        given_ranges = extractor.resolve_ranges(ranges) or "auto"
    if isinstance(given_ranges, ActivationRanges):
        dnas = [_with_missing_ranges(dna, given_ranges) for dna in dnas]
    chosen_ranges = _agree_on_ranges(given_ranges, dnas)
    if chosen_ranges is None and histograms:
        chosen_ranges = extractor.resolve_ranges()
    return Setup(extractor, bins, chosen_ranges or "auto", tuple(dnas))


def _with_missing_ranges(dna: DNA, ranges: ActivationRanges) -> DNA:
    """Return a histogram of an official file with ranges, which such files do not keep. Return other DNAs unchanged."""
    if isinstance(dna, HistogramDNA) and dna.ranges is None:
        return replace(dna, ranges=ranges)
    return dna


def _agree_on_ranges(ranges: ActivationRanges | str | None, dnas: Sequence[DNA]) -> ActivationRanges | str | None:
    """Return the ranges that argument and DNAs agree on, None without any; ValueError if they do not agree."""
    candidates: list[ActivationRanges | str] = []
    if ranges is not None:
        candidates.append(ranges)
    for dna in dnas:
        if isinstance(dna, HistogramDNA):
            candidates.append("auto" if dna.self_ranging else dna.known_ranges)
    if not candidates:
        return None
    labels = [candidate if isinstance(candidate, str) else candidate.digest for candidate in candidates]
    for label in labels[1:]:
        if label != labels[0]:
            raise ValueError(
                f"{argument('ranges')} is {labels[0]}, but the given DNA was counted within {label}; leave"
                f" {written('ranges')} out to take these"
            )
    return candidates[0]


def check_of_dnas(dnas: Sequence[DNA], feature: Feature | None, num_bins: int | None) -> None:
    """Raise ValueError if only DNAs are given, and an argument for images differs from their values."""
    _agree_on_bins(num_bins, dnas)
    settings = given_arguments(feature)
    feature = settings.pop("feature", None)
    name = feature.name if isinstance(feature, DNAExtractor) else feature
    for dna in dnas:
        if name not in (None, dna.extractor) and not is_unnamed(dna):
            raise ValueError(f"{argument('feature')} is {name!r}, but the given DNA was made by {dna.extractor!r}")
    for setting in settings.keys() - {"device", "layers"}:
        raise ValueError(f"{argument(setting)} is for images, but only DNAs are given")


def _extractor(
    feature: Feature | None, layers: Sequence[str] | None, dnas: Sequence[DNA], default: str, to_gpu: bool
) -> DNAExtractor:
    """Return the extractor for named DNAs; ``default`` is the feature if there are no DNAs and no feature."""
    if isinstance(feature, DNAExtractor):
        if layers is not None:
            raise ValueError("Argument `layers` goes with a named feature; give it to the DNAExtractor")
        return feature
    settings = given_arguments(feature)
    network: Any = settings.pop("feature", None)
    layers = settings.pop("layers", layers)
    # A module stays where the user has put it.
    if to_gpu and torch.cuda.is_available() and not isinstance(network, nn.Module):
        settings = {"device": "cuda"} | settings
    if not dnas:
        return DNAExtractor(default if network is None else network, layers=layers, **settings)
    dna = dnas[0]
    for layer in layers or []:
        if layer not in dna.neurons:
            raise ValueError(f"Unknown layer {layer!r}; the layers of the DNA are: {', '.join(dna.neurons)}")
    if network is None or network == dna.extractor:
        return extractor_of(dna, layers, **settings)
    if isinstance(network, str):
        raise ValueError(
            f"{argument('feature')} is {network!r}, but the given DNA was made by {dna.extractor!r};"
            f" leave {written('feature')} out to take that"
        )
    return DNAExtractor(network, layers=layers or list(dna.neurons), **settings)


def given_arguments(feature: Feature | None) -> dict[str, Any]:
    """Return the arguments of an extractor that are given."""
    arguments = feature if isinstance(feature, dict) else {"feature": feature}
    return {name: value for name, value in arguments.items() if value is not None}


def _agree_on_bins(num_bins: int | None, dnas: Sequence[DNA]) -> int:
    """Return the number of bins that argument and DNAs agree on; ValueError if they do not agree."""
    if num_bins is not None:
        check_num_bins(num_bins)
    bins_of_dnas = [dna.num_bins for dna in dnas if isinstance(dna, HistogramDNA)]
    for bins in bins_of_dnas:
        if num_bins is not None and num_bins != bins:
            raise ValueError(
                f"{argument('num_bins')} is {num_bins}, but the given DNA has {bins} bins;"
                f" leave {written('num_bins')} out to take these"
            )
        if bins != bins_of_dnas[0]:
            raise ValueError(
                f"The given DNAs have {bins_of_dnas[0]} and {bins} bins; make both with as many, or take fewer bins of"
                " one by rebin()"
            )
    if bins_of_dnas:
        return bins_of_dnas[0]
    return num_bins or DEFAULT_BINS


def extractor_of(dna: DNA | Features, layers: Sequence[str] | None = None, **settings: Any) -> DNAExtractor:
    """Build the extractor that made a DNA, with its layers and its preparation of images as far as they are known.

    Args:
        dna: The DNA, or features.
        layers: Names of the layers; None for those of the DNA.
        settings: Further arguments of :class:`DNAExtractor`, which replace those of the DNA.

    Raises:
        ValueError: If an argument is wrong, or no extractor has this name.

    """
    preparation = dna.preparation or {}
    arguments = {name: preparation[name] for name in _ARGUMENTS if preparation.get(name) is not None}
    if "input_size" in arguments:
        arguments["input_size"] = tuple(arguments["input_size"])
    # Without a size, images were not resized, or an official file does not record the size.
    if "input_size" not in arguments or arguments.get("resize") not in RESIZES:
        arguments.pop("resize", None)
    arguments |= settings
    try:
        return DNAExtractor(dna.extractor, layers=layers or list(dna.neurons), **arguments)
    except ValueError as err:
        raise ValueError(
            f"Can't build the extractor {dna.extractor!r} of this DNA; give it as {written('feature')}: {err}"
        ) from err


def check_made_by(dna: DNA | Features, extractor: DNAExtractor) -> None:
    """Raise ValueError if a DNA has another extractor, weights or preparation of images; unknown values match any."""
    version = (dna.preparation or {}).get("properties", VERSION)
    if version != VERSION and extractor.has_properties:
        raise ValueError(
            f"The DNA has image properties by version {version} of their definitions, but this release measures by"
            f" version {VERSION}; make the DNA again"
        )
    check_same(
        f"The given DNA and {written('feature')} don't fit",
        Identity.of(**dna.origin),
        identity_beside(dna, extractor),
        remedy=f"; leave {written('feature')} and its options out to take the DNA's",
    )


def identity_beside(dna: DNA | Features, extractor: DNAExtractor) -> Identity:
    """Return the identity of an extractor, with a fingerprint of the same input as that of a DNA."""
    fingerprint = None
    if dna.fingerprint:
        fingerprint = extractor.take_fingerprint(dna.fingerprint["input"])
    return Identity.of(extractor.name, extractor.weights_digest, extractor.preparation, fingerprint)
