"""Set up what images are counted with: an extractor, bins and ranges, by arguments and by DNAs to compare with."""

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
    """Extractor, bins and ranges that images are counted with, and the DNAs that they are compared with, which fit."""

    extractor: DNAExtractor
    num_bins: int
    ranges: ActivationRanges | str  # "auto" for histograms that find their own
    dnas: tuple[DNA, ...]  # DNAs of the extractor's layers, in their order

    def statistic(self, kind: Kind, num_folds: int | None = None) -> DNAStatistic[Any]:
        """Return the statistic of DNAs of a kind; histograms have this many bins, within these ranges."""
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
    """Build an extractor, with its network, and settle on bins and ranges, for metrics, functions and commands.

    A given argument wins, or raises an error with both values if it contradicts a DNA. Others follow from the DNAs, or
    have defaults.

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
    of_networks = [dna for dna in dnas if not is_unnamed(dna)]
    default = FEATURE if dnas and not of_networks else DEFAULT_FEATURE
    extractor = _extractor(feature, layers, of_networks, default, to_gpu)
    extractor = extractor.with_properties() if with_properties else extractor
    origin = {"extractor": extractor.name, "weights_digest": extractor.weights_digest}
    dnas = [named(dna, extractor.neurons, **origin) for dna in dnas]
    for dna in dnas:
        check_made_by(dna, extractor)
    fitting = [dna.restrict(extractor.neurons) for dna in dnas]
    requested = None if ranges is None else extractor.resolve_ranges(ranges) or "auto"
    counted = [] if requested is None else [requested]
    for i, dna in enumerate(fitting):
        if isinstance(dna, HistogramDNA):
            if dna.ranges is None and isinstance(requested, ActivationRanges):  # official files don't keep theirs
                fitting[i] = dna = replace(dna, ranges=requested)
            counted.append("auto" if dna.self_ranging else dna.known_ranges)
    labels = [each if isinstance(each, str) else each.digest for each in counted]
    for label in labels[1:]:
        if label != labels[0]:
            raise ValueError(
                f"{argument('ranges')} is {labels[0]}, but the given DNA was counted within {label}; leave"
                f" {written('ranges')} out to take these"
            )
    if not counted:
        counted = [(extractor.resolve_ranges() if histograms else None) or "auto"]
    return Setup(extractor, bins, counted[0], tuple(fitting))


def check_of_dnas(dnas: Sequence[DNA], feature: Feature | None, num_bins: int | None) -> None:
    """Raise ValueError unless arguments for images, where there are only DNAs, repeat values of these."""
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
    for layer in layers or []:
        if layer not in dnas[0].neurons:
            raise ValueError(f"Unknown layer {layer!r}; the layers of the DNA are: {', '.join(dnas[0].neurons)}")
    if network is None or network == dnas[0].extractor:
        return extractor_of(dnas[0], layers, **settings)
    if isinstance(network, str):
        raise ValueError(
            f"{argument('feature')} is {network!r}, but the given DNA was made by {dnas[0].extractor!r};"
            f" leave {written('feature')} out to take that"
        )
    return DNAExtractor(network, layers=layers or list(dnas[0].neurons), **settings)


def given_arguments(feature: Feature | None) -> dict[str, Any]:
    """Return the arguments of an extractor that are given."""
    arguments = feature if isinstance(feature, dict) else {"feature": feature}
    return {name: value for name, value in arguments.items() if value is not None}


def _agree_on_bins(num_bins: int | None, dnas: Sequence[DNA]) -> int:
    """Return the number of bins that argument and DNAs agree on; ValueError if they do not."""
    if num_bins is not None:
        check_num_bins(num_bins)
    all_bins = [dna.num_bins for dna in dnas if isinstance(dna, HistogramDNA)]
    for bins in all_bins:
        if num_bins not in (None, bins):
            raise ValueError(
                f"{argument('num_bins')} is {num_bins}, but the given DNA has {bins} bins;"
                f" leave {written('num_bins')} out to take these"
            )
        if bins != all_bins[0]:
            raise ValueError(
                f"The given DNAs have {all_bins[0]} and {bins} bins; make both with as many, or take fewer bins of one"
                " by rebin()"
            )
    return all_bins[0] if all_bins else num_bins or DEFAULT_BINS


def extractor_of(dna: DNA | Features, layers: Sequence[str] | None = None, **settings: Any) -> DNAExtractor:
    """Build the extractor that made a DNA, with its layers and its preparation of images as far as they are known.

    ``settings`` are further arguments of :class:`DNAExtractor`; ValueError if one is wrong, or nothing has its name.
    """
    arguments = {
        key: value
        for key, value in (dna.preparation or {}).items()
        if key in _ARGUMENTS and value is not None and (key != "resize" or value in RESIZES)
    }
    # without a size, images were not resized, or an official file does not record the size
    if "input_size" not in arguments:
        arguments.pop("resize", None)
    else:
        arguments["input_size"] = tuple(arguments["input_size"])
    try:
        return DNAExtractor(dna.extractor, layers=layers or list(dna.neurons), **(arguments | settings))
    except ValueError as err:
        raise ValueError(
            f"Can't build the extractor {dna.extractor!r} of this DNA; give it as {written('feature')}: {err}"
        ) from err


def check_made_by(dna: DNA | Features, extractor: DNAExtractor) -> None:
    """Raise ValueError if a DNA has another extractor, weights or preparation of images; what is unknown matches."""
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
