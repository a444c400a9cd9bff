"""Choose the extractor, bins and ranges with which images are counted, from arguments and from DNAs."""

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

# A dict contains the arguments of an extractor that is built later.
Feature = str | nn.Module | DNAExtractor | dict[str, Any]
DEFAULT_FEATURE = "efficientnet_lite0"
# Number of bins of each histogram, as in the paper.
DEFAULT_BINS = 1000
# Arguments of DNAExtractor that the preparation of a DNA stores.
_ARGUMENTS = ("resize", "input_size", "crop", "mean", "std", "dtype", "channels")


class Setup(NamedTuple):
    """Extractor, bins and ranges with which images are counted, and the DNAs with which they are compared.

    Attributes:
        extractor: The extractor.
        num_bins: Number of bins of histograms.
        ranges: Activation ranges of histograms; ``"auto"`` for histograms that determine their own ranges.
        dnas: The DNAs, with the layers of the extractor in its order.

    """

    extractor: DNAExtractor
    num_bins: int
    ranges: ActivationRanges | str
    dnas: tuple[DNA, ...]

    def statistic(self, kind: Kind, num_folds: int | None = None) -> DNAStatistic[Any]:
        """Return the statistic whose values are DNAs of a representation; histograms use these bins and ranges."""
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

    An argument that is passed is used. If it contradicts a DNA, the error reports both values. If an argument is not
    passed, its value is that of the DNAs, or else a default.

    Args:
        feature: Name of a network, a module, an extractor, or a dict of arguments of an extractor. By default the
            extractor of the DNAs, or else ``efficientnet_lite0``.
        layers: Names of the layers, in order. An extractor has its own layers, so this argument can't be combined with
            one.
        num_bins: Number of bins of each neuron's histogram; by default that of the DNAs, or else 1000.
        ranges: Activation ranges, the path of their file, or ``"auto"``. By default the ranges of the DNAs, or else the
            ranges that are packaged with the extractor, or else ``"auto"``.
        dnas: DNAs with which images are compared.
        histograms: Whether images are counted in histograms. If not, default ranges are not loaded.
        to_gpu: Whether to move a named network to CUDA, if there is a GPU and no device is passed.
        with_properties: Whether to measure image properties, too, unless the feature specifies this.

    Raises:
        TypeError: If an argument has a wrong type.
        ValueError: If an argument has a wrong value, or two arguments contradict each other.

    """
    bins = _agree_on_bins(num_bins, dnas)
    named_dnas = [dna for dna in dnas if not is_unnamed(dna)]
    # A file of statistics for FID may not name its network. It is assumed to be the network of FID.
    default = FEATURE if dnas and not named_dnas else DEFAULT_FEATURE
    extractor = _extractor(feature, layers, named_dnas, default, to_gpu)
    if with_properties:
        extractor = extractor.with_properties()
    fitted_dnas = _fitted(dnas, extractor)
    given_ranges: ActivationRanges | str | None = None
    if ranges is not None:
        given_ranges = extractor.resolve_ranges(ranges) or "auto"
    if isinstance(given_ranges, ActivationRanges):
        fitted_dnas = [_with_missing_ranges(dna, given_ranges) for dna in fitted_dnas]
    chosen_ranges = _agree_on_ranges(given_ranges, fitted_dnas)
    if chosen_ranges is None and histograms:
        chosen_ranges = extractor.resolve_ranges()
    return Setup(extractor, bins, chosen_ranges or "auto", tuple(fitted_dnas))


def _fitted(dnas: Sequence[DNA], extractor: DNAExtractor) -> list[DNA]:
    """Return the DNAs with the layers of an extractor in its order, and with its name if they have none.

    Raises:
        ValueError: If a DNA was not made by the extractor.

    """
    origin = {"extractor": extractor.name, "weights_digest": extractor.weights_digest}
    named_dnas = [named(dna, extractor.neurons, **origin) for dna in dnas]
    for dna in named_dnas:
        check_made_by(dna, extractor)
    return [dna.restrict(extractor.neurons) for dna in named_dnas]


def _with_missing_ranges(dna: DNA, ranges: ActivationRanges) -> DNA:
    """Add ranges to a histogram from a file of vdna, because such files do not contain ranges.

    Other DNAs are returned unchanged.
    """
    if isinstance(dna, HistogramDNA) and dna.ranges is None:
        return replace(dna, ranges=ranges)
    return dna


def _agree_on_ranges(ranges: ActivationRanges | str | None, dnas: Sequence[DNA]) -> ActivationRanges | str | None:
    """Return the ranges on which argument and DNAs agree, or None if there are none.

    Raises:
        ValueError: If they disagree.

    """
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
                f"{argument('ranges')} is {labels[0]}, but the given DNA was counted within {label};"
                f" omit {written('ranges')} to take these"
            )
    return candidates[0]


def check_of_dnas(dnas: Sequence[DNA], feature: Feature | None, num_bins: int | None) -> None:
    """Check the arguments of a comparison of DNAs alone, in which no images are measured.

    Raises:
        ValueError: If an argument contradicts a DNA, or is only for images.

    """
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
    """Return the extractor that was passed, or build the extractor of a feature or of named DNAs.

    Args:
        feature: As for :func:`set_up`.
        layers: Names of the layers; None for those of the extractor or of the DNAs.
        dnas: DNAs with the name of their extractor.
        default: Name of the network if there are no DNAs and no feature.
        to_gpu: As for :func:`set_up`.

    """
    if isinstance(feature, DNAExtractor):
        if layers is not None:
            raise ValueError("Argument `layers` requires a named feature; pass it to the DNAExtractor")
        return feature
    settings = given_arguments(feature)
    network: Any = settings.pop("feature", None)
    layers = settings.pop("layers", layers)
    # A module stays on the device where the user has put it.
    if to_gpu and torch.cuda.is_available() and not isinstance(network, nn.Module):
        settings.setdefault("device", "cuda")
    if not dnas:
        return DNAExtractor(default if network is None else network, layers=layers, **settings)
    return _extractor_for(dnas[0], network, layers, settings)


def _extractor_for(dna: DNA, network: Any, layers: Sequence[str] | None, settings: dict[str, Any]) -> DNAExtractor:
    """Build the extractor of images that are compared with a DNA.

    Raises:
        ValueError: If the arguments contradict the DNA.

    """
    for layer in layers or []:
        if layer not in dna.neurons:
            raise ValueError(f"Unknown layer {layer!r}; the layers of the DNA are: {', '.join(dna.neurons)}")
    if network is None or network == dna.extractor:
        return extractor_of(dna, layers, **settings)
    if isinstance(network, str):
        raise ValueError(
            f"{argument('feature')} is {network!r}, but the given DNA was made by {dna.extractor!r};"
            f" omit {written('feature')} to take that"
        )
    return DNAExtractor(network, layers=layers or list(dna.neurons), **settings)


def given_arguments(feature: Feature | None) -> dict[str, Any]:
    """Return the arguments of an extractor, without those that are None."""
    arguments = feature if isinstance(feature, dict) else {"feature": feature}
    return {name: value for name, value in arguments.items() if value is not None}


def _agree_on_bins(num_bins: int | None, dnas: Sequence[DNA]) -> int:
    """Return the number of bins on which argument and DNAs agree.

    Raises:
        ValueError: If they disagree.

    """
    if num_bins is not None:
        check_num_bins(num_bins)
    bins_of_dnas = [dna.num_bins for dna in dnas if isinstance(dna, HistogramDNA)]
    for bins in bins_of_dnas:
        if num_bins is not None and num_bins != bins:
            raise ValueError(
                f"{argument('num_bins')} is {num_bins}, but the given DNA has {bins} bins;"
                f" omit {written('num_bins')} to take these"
            )
        if bins != bins_of_dnas[0]:
            raise ValueError(
                f"The given DNAs have {bins_of_dnas[0]} and {bins} bins; make both with as many, or take fewer bins of"
                " one by rebin()"
            )
    if bins_of_dnas:
        return bins_of_dnas[0]
    return DEFAULT_BINS if num_bins is None else num_bins


def extractor_of(dna: DNA | Features, layers: Sequence[str] | None = None, **settings: Any) -> DNAExtractor:
    """Build the extractor that made a DNA, with its layers, and with its preparation of images if that is known.

    Args:
        dna: The DNA, or features.
        layers: Names of the layers; None for those of the DNA.
        settings: Further arguments of :class:`DNAExtractor`. They replace the settings of the DNA.

    Raises:
        ValueError: If an argument is wrong, or no network has the name that the DNA stores.

    """
    preparation = dna.preparation or {}
    arguments = {name: preparation[name] for name in _ARGUMENTS if preparation.get(name) is not None}
    if "input_size" in arguments:
        arguments["input_size"] = tuple(arguments["input_size"])
    # If the size is missing, images were not resized, or the file is one of vdna, which does not contain the size.
    has_known_resize = "input_size" in arguments and arguments.get("resize") in RESIZES
    if not has_known_resize:
        arguments.pop("resize", None)
    arguments |= settings
    try:
        return DNAExtractor(dna.extractor, layers=layers or list(dna.neurons), **arguments)
    except ValueError as err:
        raise ValueError(
            f"Can't build the extractor {dna.extractor!r} of this DNA; pass it as {written('feature')}: {err}"
        ) from err


def check_made_by(dna: DNA | Features, extractor: DNAExtractor) -> None:
    """Raise ValueError if extractor, weights or preparation of a DNA differ from those of an extractor.

    This includes the version of the definitions of image properties. Values that the DNA does not store are not
    compared.
    """
    preparation = dna.preparation or {}
    version_of_properties = preparation.get("properties", VERSION)
    if version_of_properties != VERSION and extractor.has_properties:
        raise ValueError(
            f"The DNA has image properties by version {version_of_properties} of their definitions, but this release"
            f" measures by version {VERSION}; make the DNA again"
        )
    check_same(
        f"The given DNA and {written('feature')} don't fit",
        Identity.of(**dna.origin),
        identity_of_extractor(dna, extractor),
        remedy=f"; omit {written('feature')} and its options to take the DNA's",
    )


def identity_of_extractor(dna: DNA | Features, extractor: DNAExtractor) -> Identity:
    """Return the identity of an extractor, with a fingerprint of the input that the fingerprint of a DNA used."""
    fingerprint = None
    if dna.fingerprint:
        fingerprint = extractor.take_fingerprint(dna.fingerprint["input"])
    return Identity.of(extractor.name, extractor.weights_digest, extractor.preparation, fingerprint)
